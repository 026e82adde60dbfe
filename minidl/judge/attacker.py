"""What a hostile submission would try, run by the judge against its own sandbox (proof.py). It runs inside the box.

Each function is one attack. It returns what it got, or nothing; an error is a refusal. The attacks are real but
bounded, so that they do no harm where the sandbox does not hold: they aim at a folder, a process and a socket that the
judge has set up for them, and a bomb stops when it has shown that nobody stops it.

It stands alone, without minidl, because the box shows it as a file.
"""
import ctypes
import fcntl
import importlib.util
import json
import os
import resource
import socket
import sys
import threading
import time

MANY = 16                                  # processes or threads: more than any answer needs
CALLS = {                                  # on x86_64, on aarch64
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "keyctl": (250, 219), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "setns": (308, 268),
    "memfd_create": (319, 279), "pidfd_open": (434, 434), "socketpair": (53, 199), "execveat": (322, 281),
    "open_tree": (428, 428), "fsopen": (430, 430), "mount_setattr": (442, 442), "shmget": (29, 194),
}
REFUSALS = ("EPERM", "EACCES", "ENOSYS", "EAGAIN")


def fork_bomb(world):
    """A fork bomb"""
    for count in range(MANY):
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
    return f"{MANY} children"


def thread_bomb(world):
    """A thread bomb"""
    for count in range(MANY):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    return f"{MANY} threads"


def memory_bomb(world):
    """A memory bomb"""
    blocks = [bytearray(b"x") * (16 * 2**20) for _ in range(2 * world["memory_mb"] // 16)]
    return f"{16 * len(blocks)} MiB, of {world['memory_mb']} allowed"


def fill_files(world):
    """Filling /tmp and /dev/shm"""
    block, written = b"x" * 2**20, 0
    for folder in (os.environ["TMPDIR"], "/tmp", "/dev/shm", "/dev", "/var/tmp"):
        try:
            for number in range(24):
                with open(os.path.join(folder, f"{world['token']}-{number}"), "wb", buffering=0) as file:
                    for _ in range(12):
                        written += file.write(block)
                if written > 256 * 2**20:
                    return f"{written >> 20} MiB"
        except OSError:
            continue


def many_files(world):
    """Empty files and folders without end"""
    for number in range(20_000):
        os.mkdir(os.path.join(os.environ["TMPDIR"], str(number)))
        os.close(os.open(os.path.join(os.environ["TMPDIR"], str(number), "x"), os.O_CREAT | os.O_WRONLY))
    return "40,000 files and folders"


def endless_file(world):
    """One file without end, on stderr"""
    for _ in range(64):
        os.write(2, b"x" * 2**20)
    return "64 MiB"


def read_reference(world):
    """Reading the reference solutions"""
    here = importlib.util.find_spec("minidl")
    for folder in (world["package"], os.path.dirname(here.origin)):
        for path in ("grading/chapters/ch01.py", "grading/exercise.py", "judge/attacker.py"):
            try:
                with open(os.path.join(folder, path)) as file:
                    return f"{path}: {file.readline()!r}"
            except OSError:
                pass


def read_gradebook(world):
    """Reading home and the gradebook"""
    for look in (lambda: open(world["gradebook"]).read(), lambda: os.listdir(world["folder"]),
                 lambda: os.listdir(world["home"])):
        try:
            found = look()
            if found != world["way_to_python"]:                # empty folders on the way, if Python lies in home
                return f"{found!r:.60}"
        except OSError as error:
            refusal = error
    raise refusal


def write_outside(world):
    """Writing outside, and into the gradebook"""
    tries = [lambda: open(world["gradebook"], "a").write("100 points"), lambda: os.chmod(world["gradebook"], 0o400),
             lambda: os.open(world["gradebook"], os.O_RDONLY | os.O_TRUNC), lambda: os.truncate(world["gradebook"], 0),
             lambda: os.mkdir(os.path.join(world["folder"], "planted")), lambda: os.unlink(world["gradebook"]),
             lambda: os.utime(world["gradebook"], (0, 0))]
    for attempt in tries:
        try:
            attempt()
            return "the gradebook or its folder was changed"
        except OSError as error:
            refusal = error
    raise refusal


def write_library(world):
    """Writing into Python, NumPy, its task"""
    import numpy

    for path in (__file__, os.__file__, numpy.__file__, "new.py"):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            return f"{path} opened for writing"
        except OSError as error:
            refusal = error
    raise refusal


def network(world):
    """The network, sockets of services"""
    for family, address in ((socket.AF_INET, ("127.0.0.1", world["port"])), (socket.AF_UNIX, world["socket"])):
        try:
            with socket.socket(family) as line:
                line.settimeout(2)
                line.connect(address)
                return f"connected to {address}"
        except OSError as error:
            refusal = error
    raise refusal


def daemon(world):
    """A daemon that outlives its box"""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(20)
        os._exit(0)
    os.wait()                              # what is left of it, the judge looks for


def signals(world):
    """Signals to others, kill(-1)"""
    # Signal 0 only asks whether one might. The last way asks the kernel to send one when a pipe can be read.
    for attempt in (lambda: os.kill(world["victim"], 15), lambda: os.kill(-1, 0), lambda: _signal_by_pipe(world)):
        try:
            attempt()
            return "a signal could be sent"
        except OSError as error:
            refusal = error
    raise refusal


def _signal_by_pipe(world):
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, world["victim"])
    fcntl.fcntl(reading, 10, 9)            # F_SETSIG, SIGKILL
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
    os.write(writing, b"x")


def limits_of_others(world):
    """Changing another process's limits"""
    resource.prlimit(world["victim"], resource.RLIMIT_CORE, (0, 0))
    return "the other's limit was changed"


def own_limits(world):
    """Raising its own limits"""
    for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_CPU"):
        try:
            resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return f"{name} is gone"
        except (OSError, ValueError) as error:
            refusal = error
    raise refusal


def unshare(world):
    """unshare and mount"""
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (0x1000_0000, 0x2_0000, 0x4000_0000):          # a namespace of users, of mounts, of the network
        if libc.unshare(flags) == 0:
            return f"a namespace of its own ({flags:#x})"
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def type_on_terminal(world):
    """Typing on the terminal (TIOCSTI)"""
    libc, tiocsti = ctypes.CDLL(None, use_errno=True), 0x5412
    for descriptor in (0, 1, 2, "/dev/tty", "/dev/console"):
        try:
            if isinstance(descriptor, str):
                return f"{descriptor} opened: {os.open(descriptor, os.O_RDWR | os.O_NOCTTY)}"
            # High bits that the kernel drops and a careless filter compares
            for request in (tiocsti, tiocsti | 1 << 32):
                if libc.ioctl(descriptor, ctypes.c_ulong(request), b"\n") == 0:
                    return "a key was typed"
        except OSError as error:
            refusal = error
    raise refusal


def other_processes(world):
    """Other processes' environment, memory"""
    for who in (world["victim"], world["judge"], os.getppid(), 1):
        for what in ("environ", "cmdline", "mem", "maps"):
            try:
                with open(f"/proc/{who}/{what}", "rb") as file:
                    if what == "mem" or file.read(100):
                        return f"/proc/{who}/{what} was read"
            except OSError as error:
                refusal = error
    raise refusal


def calls(world):
    """Calls that no answer needs"""
    import errno

    libc, let_in = ctypes.CDLL(None, use_errno=True), []
    for name, numbers in CALLS.items():
        number = numbers[os.uname().machine == "aarch64"]
        # 99 is no valid first argument for any of them, and no second or third for those that take one
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(99)] * 4)
        if result >= 0 or errno.errorcode[ctypes.get_errno()] not in REFUSALS:
            let_in.append(name)
    return ", ".join(let_in)


def foreign_calls(world):
    """Calls by foreign numbers"""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.uname().machine == "x86_64" and libc.syscall(ctypes.c_long(0x4000_0000 + 39)) > 0:
        return "x32's getpid answered"


def powers_of_root(world):
    """The powers of root"""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0 and any(sets):
        return f"capabilities {sets[0]:#x}"
    os.setuid(0)
    if libc.capget(header, sets) == 0 and any(sets):
        return "capabilities after setuid(0)"


ATTACKS = (fork_bomb, thread_bomb, memory_bomb, fill_files, many_files, endless_file, read_reference, read_gradebook,
           write_outside, write_library, network, daemon, signals, limits_of_others, own_limits, unshare,
           type_on_terminal, other_processes, calls, foreign_calls, powers_of_root)


def main(name, world):
    """Run one attack and print one line: what it got, or how it was refused."""
    attack = next(attack for attack in ATTACKS if attack.__name__ == name)
    try:
        got = attack(world)
        print(f"through: {got}" if got else "nothing got through", flush=True)
    except (OSError, MemoryError, RuntimeError, ValueError) as error:
        print(f"refused: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}", flush=True)
    except BaseException as error:                         # the attacker's own fault, which proves nothing
        print(f"failed: {type(error).__name__}: {error}"[:200], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
