"""The sandbox: starts a student's process, fenced in as well as this machine can, and ends it whole.

    L3  bubblewrap: namespaces of its own for files, processes and network, a filter of system calls, limits
    L2  Docker or Podman: the same by way of a container
    L1  Landlock: no file but those it needs, no network, the same filter, limits
    L0  a process of its own and limits: for the work of people one trusts (all there is on macOS and Windows)

`launch` starts a process at a level, `best_level` says which one this machine can hold, and `attack` proves it.
Whatever the level, the channel is two pipes, the environment holds nothing of the judge's, and `Box.kill` leaves
nothing behind that the level can hold.
"""
import functools
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ..errors import ArgumentError, SandboxError, message
from . import bubblewrap, container
from .rows import Limits
from .visible import Package, interpreter, landlock_rules, library, open_to_all

LEVELS = ("L3", "L2", "L1", "L0")
MIB = 2**20
CPU_SECONDS = 600            # if the judge itself should hang; else its own clock comes first
FILE_BYTES = 16 * MIB        # one file, and what the process says on its stderr
OPEN_FILES = 64
MANY_FILES = 100             # in the folder to write in
MEMORY_SHARE = 0.75          # a process that ended badly with this much of its memory in use ran out of it
PYTHON = (interpreter(), "-S")       # without site: what is installed beside it stays out of reach
ORDINARY_USER = 1_999_999_999     # nobody's number, for a judge that runs as root
MARK = "MINIDL_BOX"          # in the environment of every process in a box, with the box's own number


class Box:
    """A student's process, fenced in. A context manager that kills it.

    Attributes:
        level: how it is fenced in.
        stdin, stdout: its two pipes, binary and unbuffered: the only channel.
        overfull: True if it was ended for what it wrote in its folder (level 1).
    """

    overfull = False

    def __init__(self, level: str, room: "_Room", process: subprocess.Popen, limits: Limits, report: int | None):
        assert process.stdin is not None and process.stdout is not None
        self.level = level
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = process.stdout
        self._room, self._process, self._limits, self._report = room, process, limits, report
        self._lock = threading.Lock()
        self._code: int | None = None        # as Popen has it: an exit status, or minus a signal
        self._peak = 0.0                     # MiB
        self._errors = b""

    def __enter__(self) -> "Box":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End every process in the box and wait until they are gone. More than once does no harm."""
        with self._lock:
            if self._room.gone:
                return
            self._look()
            self._end_all()
            self._look(block=True)
            self._errors = self._room.read_errors()
            self._close()
            self._room.remove()

    def how_it_ended(self, wait: float = 0.0) -> str:
        """`"exited N"`, `"signal N"`, `"memory"` or `"running"`.

        No kernel tells that a process died of a refused request for memory. "memory" is said of one that ended badly
        and had used three quarters of its limit, or whose last words were a MemoryError: an inference, good enough to
        name a failure and never a reason for points.

        Args:
            wait: seconds to wait for an end that has not come yet (a closed pipe comes a moment before it).
        """
        until = time.monotonic() + wait
        while True:
            with self._lock:
                self._look()
            if self._code is not None or time.monotonic() >= until:
                break
            time.sleep(0.002)
        if self._code is None:
            return "running"
        if self._code and self._out_of_memory():
            return "memory"
        return f"signal {-self._code}" if self._code < 0 else f"exited {self._code}"

    def errors(self, length: int = 2000) -> str:
        """The end of what the process wrote on stderr, for the teacher alone: a student wrote it."""
        text = self._errors if self._room.gone else self._room.read_errors()
        return text[-length:].decode("utf-8", "replace")

    def _out_of_memory(self) -> bool:
        last = self.errors().rstrip().rpartition("\n")[2]
        return self._peak >= MEMORY_SHARE * self._limits.memory_mb or "MemoryError" in last.partition(":")[0]

    def _look(self, block: bool = False) -> None:
        """Take note of the end, if it has come."""
        if self._process.returncode is not None:
            return
        if not hasattr(os, "wait4"):
            self._code = self._process.wait() if block else self._process.poll()
            return
        pid, status, usage = os.wait4(self._process.pid, 0 if block else os.WNOHANG)
        if not pid:
            return
        # Popen would lose the peak of memory; it is told what it would have found.
        self._process.returncode = self._code = os.waitstatus_to_exitcode(status)
        peak, own = _mebibytes(usage.ru_maxrss), _own_peak()
        self._peak = peak if peak > own else 0                 # before it ran Python, it counted as a copy of us

    def _end_all(self) -> None:
        """SIGKILL for every process of the box. One that the filter watches has no children."""
        if os.name == "nt":
            self._process.kill()
        elif self._process.returncode is None:                 # not waited for: the number is still its own
            os.killpg(self._process.pid, signal.SIGKILL)

    def _close(self) -> None:
        for pipe in (self.stdin, self.stdout):
            pipe.close()
        if self._report is not None:
            os.close(self._report)


class _OpenBox(Box):
    """Level 0, where a process can have children (of root, at least) that leave their group."""

    def _end_all(self) -> None:
        super()._end_all()
        while stragglers := _marked(self._room.mark):
            for pid in stragglers:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.001)


class _WatchedBox(Box):
    """A box whose folder to write in is looked at fifty times a second, as no limit of the kernel counts its files.

    At level 1 it lies on the machine's disk, and nothing else bounds what is in it. What is deleted and still open is
    not seen there; the limits on open files and on a file's size bound that.
    """

    def watch(self) -> None:
        """Begin to look. Not before the fence stands: until then the folder may still be the machine's own."""
        threading.Thread(target=self._watch, daemon=True, name="minidl-box").start()

    def _watch(self) -> None:
        while True:
            with self._lock:
                if self._room.gone:
                    return
                self._look()
                if self._code is not None:
                    return
                if self._too_much():
                    self.overfull = True
                    self._end_all()
                    return
            time.sleep(0.02)

    def _too_much(self) -> bool:
        return _overfull(self._room.path / "scratch")


class _ContainerBox(Box):
    """Level 2: the engine's daemon holds the processes, and is asked to end them."""

    name = ""

    def _end_all(self) -> None:
        subprocess.run(container.ending(self.name), capture_output=True)
        super()._end_all()

    def _look(self, block: bool = False) -> None:
        before = self._code
        super()._look(block)
        if before is not None or self._code is None:
            return
        if self._code > 128:                                   # said as a shell does
            self._code = 128 - self._code
        told = subprocess.run(container.question(self.name), capture_output=True, text=True).stdout
        self._peak = float(self._limits.memory_mb) if told.strip() == "true" else 0.0


class _NamespaceBox(_WatchedBox):
    """Level 3: the end of the namespace's first process ends all; it tells of the student's end on the report."""

    _first: int | None = None            # a descriptor of that process: unlike its number, it never means another
    _number = 0

    def _too_much(self) -> bool:
        """Its files are its own and of limited size; their number is seen through the first process."""
        try:
            seen = os.statvfs(f"/proc/{self._number}/root{bubblewrap.SCRATCH}")
        except OSError:                                        # there no more
            return False
        return seen.f_files - seen.f_ffree > MANY_FILES

    def _end_all(self) -> None:
        if self._first is not None:
            try:
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            except ProcessLookupError:
                pass
            _wait_for(self._first, None)                       # it goes last, when no other process is left
        super()._end_all()

    def _look(self, block: bool = False) -> None:
        before = self._code
        super()._look(block)
        if before is not None or self._code is None or self._report is None:
            return
        said = b""
        while part := os.read(self._report, 1000):
            said += part
        match said.split():
            case [b"end", code, peak]:
                self._code, self._peak = int(code), _mebibytes(int(peak))
            case _:                                            # killed as a whole; bubblewrap says it as a shell does
                self._code, self._peak = -signal.SIGKILL, 0.0

    def _close(self) -> None:
        super()._close()
        if self._first is not None:
            os.close(self._first)


class _Room:
    """A folder for one box: what it shows, and the file for what the process says on stderr."""

    def __init__(self, show: Mapping[str, bytes], packages: Sequence[Package]):
        files = {_below(name): content for name, content in show.items()}
        self.path = Path(tempfile.mkdtemp(prefix="minidl-box-"))
        self.mark = os.urandom(16).hex()
        self.gone = False
        self.stderr = tempfile.TemporaryFile()
        self.path.chmod(0o755)
        for name in ("task", "packages", "scratch", "empty"):
            (self.path / name).mkdir()
        for place, content in files.items():
            file = self.path / "task" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.packages = tuple(packages)

    def link_packages(self) -> str:
        """A folder that has the packages by their names, and none beside them; returns what PYTHONPATH is."""
        folder = self.path / "packages"
        try:
            for package in self.packages:
                link = folder / package.path.name
                if not package.without:
                    link.symlink_to(package.path)
                    continue
                link.mkdir()
                for child in package.seen():
                    (link / child.name).symlink_to(child)
        except OSError:                                        # Windows keeps links for administrators
            return os.pathsep.join(dict.fromkeys(str(package.path.parent) for package in self.packages))
        return str(folder)

    def read_errors(self) -> bytes:
        """The last 10,000 bytes of stderr."""
        size = os.fstat(self.stderr.fileno()).st_size
        self.stderr.seek(max(size - 10_000, 0))
        return self.stderr.read(10_000)

    def remove(self) -> None:
        self.stderr.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self.gone = True


def launch(level: str, argv: Sequence[str], *, show: Mapping[str, bytes] | None = None, limits: Limits | None = None,
           python_path: Sequence[Package | Path] | None = None) -> Box:
    """Start Python in a box.

    The process stands in a folder with the files of `show`, may read those, Python and the packages, and has one
    thread and no children. It ends with its judge, and with the thread that called this.

    Args:
        level: "L3", "L2", "L1" or "L0".
        argv: what comes after the interpreter's name, `["student.py"]` or `["-c", "pass"]`; the interpreter is the
            judge's own, without its virtual environment and without `site` (no `exit`, no installed packages).
        show: the files it shall see, by their paths below the folder it stands in.
        limits: memory, and how long the start may take; the wall clock for a case is the caller's.
        python_path: packages and modules it can import; None for `visible.library()`.

    Raises:
        SandboxError: if the level cannot be had here.
    """
    if level not in LEVELS:
        raise ArgumentError(message(f"launch: there is no level {level!r}.", [("levels", ", ".join(LEVELS))],
                                    "Ask best_level() which one this machine can hold."))
    limits = limits or Limits()
    packages = library() if python_path is None else [
        entry if isinstance(entry, Package) else Package(Path(entry)) for entry in python_path]
    room = _Room(show or {}, packages)
    try:
        return _START[level](room, list(argv), limits)
    except BaseException:
        room.remove()
        raise


@functools.cache
def lacks(level: str) -> str:
    """Why a box of this level cannot be had here, found out by starting one; "" if it can."""
    try:
        with launch(level, ["-c", "import numpy; print('here')"]) as box:
            if box.stdout.read() == b"here\n":
                return ""
            return box.errors(300).strip() or f"Python did not start in it: {box.how_it_ended(1)}"
    except (SandboxError, OSError) as error:
        return str(error)


def best_level() -> tuple[str, str]:
    """The strongest level that this machine can hold, and why not the next stronger one ("" for L3)."""
    reason = ""
    for level in LEVELS:
        if not lacks(level):
            return level, reason
        reason = f"{level}: {lacks(level)}"
    raise SandboxError(message("best_level: not even a process of its own can be started.", [("because", reason)],
                               "Run `python -m minidl doctor`."))


def attack(level: str) -> list[tuple[str, bool, str]]:
    """(an attack's name, whether the level held, what was seen) of every attack on it: proof.py."""
    from .proof import attack

    return list(attack(level))


def _start_l0(room: _Room, argv: list[str], limits: Limits) -> Box:
    """A process of its own, with limits where the system has them."""
    env = environment(room.link_packages(), str(room.path / "scratch"), room.mark)
    if os.name == "nt":
        env |= {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
        return Box("L0", room, _popen([*PYTHON, *argv], room, env), limits, None)
    return _fenced(_OpenBox, "L0", room, argv, limits, env, die_with=os.getpid() if sys.platform == "linux" else None)


def _start_l1(room: _Room, argv: list[str], limits: Limits) -> Box:
    """Landlock for files and network, the filter for the rest."""
    scratch = room.path / "scratch"
    env = environment(room.link_packages(), str(scratch), room.mark)
    rules = landlock_rules(room.packages, [room.path / "task", room.path / "packages"], scratch)
    root = os.geteuid() == 0
    needed: list[str | Path] = [interpreter(), room.path, sys.base_prefix, *(package.path for package in room.packages)]
    user = ORDINARY_USER if root and open_to_all(needed) else None
    if user is not None:
        os.chown(scratch, user, user)
    return _fenced(_WatchedBox, "L1", room, argv, limits, env, landlock=rules, seccomp=system_call_filter(), user=user,
                   no_capabilities=root, die_with=os.getpid())


def _start_l2(room: _Room, argv: list[str], limits: Limits) -> Box:
    """A container, and in it the fence, which starts the student's process and watches over it."""
    if container.program() is None:
        raise SandboxError(message("launch: level L2 needs Docker or Podman, and neither is installed.", [],
                                   "Install bubblewrap instead, which gives level L3: sudo apt install bubblewrap."))
    env = environment(container.PACKAGES, container.SCRATCH, room.mark)
    name = f"minidl-box-{room.mark}"
    told = orders(argv, limits, None) | {"argv": [container.PYTHON, "-S", *argv], "seccomp": system_call_filter(),
                                         "init": True}
    engine = container.command(name, room.packages, room.path / "task", room.path / "empty", env, limits.memory_mb)
    process = _popen([*engine, "-I", "-S", "-c", FENCE, json.dumps(told)], room, dict(os.environ))
    box = _ContainerBox("L2", room, process, limits, None)
    box.name = name
    return box


def _start_l3(room: _Room, argv: list[str], limits: Limits) -> Box:
    """bubblewrap, and in it the fence, which starts the student's process and watches over it."""
    if bubblewrap.program() is None:
        raise SandboxError(message("launch: level L3 needs bubblewrap, and it is not installed.", [],
                                   "sudo apt install bubblewrap (or dnf, pacman, or conda install -c conda-forge)."))
    env = environment(bubblewrap.PACKAGES, bubblewrap.SCRATCH, room.mark)
    knowing, info = os.pipe()
    try:
        wrapper = bubblewrap.command(room.packages, room.path / "task", room.path / "empty", info)
        root = os.geteuid() == 0
        return _fenced(_NamespaceBox, "L3", room, argv, limits, env, wrapper, (info,), knowing, init=True,
                       seccomp=system_call_filter(), user=ORDINARY_USER if root else None, no_capabilities=root)
    finally:
        os.close(knowing)


def system_call_filter() -> str:
    """The filter for this machine, in hexadecimal (tools/make_seccomp.py)."""
    file = Path(__file__).with_name(f"seccomp_{platform.machine()}.bpf")
    if sys.platform != "linux" or sys.maxsize < 2**32 or not file.is_file():
        raise SandboxError(message("launch: there is no filter of system calls for this machine.",
                                   [("machine", platform.machine()), ("system", sys.platform)],
                                   "Grade on Linux with a 64-bit Python (x86_64 or aarch64), or at level L0."))
    return file.read_bytes().hex()


def environment(packages: str, scratch: str, mark: str) -> dict[str, str]:
    """The whole environment of a student's process: nothing of the judge's own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PYTHONPATH": packages, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1", "LANG": "C.UTF-8", "PATH": "", "HOME": scratch, "TMPDIR": scratch, MARK: mark, **threads}


def orders(argv: list[str], limits: Limits, report: int | None) -> dict:
    """What the fence is told (fence.py): the limits, and nothing else yet."""
    bounds = {"AS": limits.memory_mb * MIB, "CPU": CPU_SECONDS, "FSIZE": FILE_BYTES, "NOFILE": OPEN_FILES, "NPROC": 0,
              "CORE": 0, "MSGQUEUE": 0}
    return {"argv": [*PYTHON, *argv], "limits": bounds, "report": report, "user": None, "init": False,
            "no_capabilities": False, "die_with": None, "landlock": None, "seccomp": None}


def _fenced(kind: type[Box], level: str, room: _Room, argv: list[str], limits: Limits, env: dict[str, str],
            wrapper: Sequence[str] = (), info: Sequence[int] = (), knowing: int | None = None, **changes) -> Box:
    """Start the fence, in a wrapper or right here, and wait until it stands.

    Args:
        wrapper: a command that starts another.
        info: the descriptor on which the wrapper tells of the first process; it is closed here.
        knowing: the other end of that pipe.
        changes: orders to the fence besides the limits.
    """
    reading, report = os.pipe()
    try:
        fence = [interpreter(), "-I", "-S", "-c", FENCE, json.dumps(orders(argv, limits, report) | changes)]
        process = _popen([*wrapper, *fence], room, env, pass_fds=(report, *info))
    except BaseException:
        os.close(reading)
        raise
    finally:
        for descriptor in (report, *info):
            os.close(descriptor)
    box = kind(level, room, process, limits, reading)
    if isinstance(box, _NamespaceBox) and knowing is not None:
        box._number = _first_process(knowing, limits.start_seconds)
        box._first = os.pidfd_open(box._number) if box._number else None
    return _ready(box)


def _first_process(knowing: int, seconds: float) -> int:
    """The number of the process that bubblewrap tells of, `{"child-pid": 123}` over some lines; 0 if of none."""
    said = b""
    while (line := _read_line(knowing, seconds)):
        said += line
        if b"}" in line:
            return json.loads(said)["child-pid"]
    return 0


def _popen(command: list[str], room: _Room, env: dict[str, str], **more) -> subprocess.Popen:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=room.stderr, bufsize=0,
                            env=env, cwd=room.path / "task", start_new_session=True, **more)


def _ready(box: Box) -> Box:
    """Wait until the fence stands."""
    said = _read_line(box._report, box._limits.start_seconds)
    if said in (b"", b"ready\n"):
        if isinstance(box, _WatchedBox):
            box.watch()
        return box
    fault = "the fence did not stand in time" if said is None else said.decode("utf-8", "replace").strip()
    box.kill()
    raise SandboxError(message(f"launch: a box of level {box.level} cannot be had here.",
                               [("because", fault), ("stderr", box.errors(300).strip() or "(nothing)")],
                               "Run `python -m minidl doctor --sandbox`, which says what is missing."))


def _read_line(descriptor: int | None, seconds: float) -> bytes | None:
    """A line, what came before the pipe was closed, or None if nothing came in time."""
    line, until = b"", time.monotonic() + seconds
    assert descriptor is not None
    while not line.endswith(b"\n"):
        if not _wait_for(descriptor, until - time.monotonic()):
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line


def _wait_for(descriptor: int, seconds: float | None) -> bool:
    """True if the descriptor can be read, or is at its end, before the time is up. `select` stops at number 1024."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(seconds, 0) * 1000))


def _below(name: str) -> Path:
    """A path that stays below the folder it is joined to."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArgumentError(message(f"launch: {name!r} is no path below the folder of the box.", [],
                                    "Name the files of `show` like 'student.py' or 'given/data.npy'."))
    return path


def _marked(mark: str) -> list[int]:
    """The processes that have the box's mark in their environment; nothing where there is no /proc."""
    if sys.platform != "linux":
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark.encode() in file.read():
                        found.append(int(name))
            except OSError:                                    # another user's, or gone
                pass
    return found


def _overfull(folder: Path) -> bool:
    """True if more lies in a folder than an answer can want: as much as level 3 has room for, or many files."""
    size = count = 0
    folders = [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if size > bubblewrap.SCRATCH_BYTES or count > MANY_FILES:
                        return True
        except OSError:                                        # gone meanwhile
            pass
    return False


def _own_peak() -> float:
    import resource

    return _mebibytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _mebibytes(maxrss: int) -> float:
    """What `ru_maxrss` says, in MiB: Linux counts in KiB, macOS in bytes."""
    return maxrss / (MIB if sys.platform == "darwin" else 1024)


FENCE = Path(__file__).with_name("fence.py").read_text(encoding="utf-8")
_START = {"L3": _start_l3, "L2": _start_l2, "L1": _start_l1, "L0": _start_l0}
