"""The sandbox: what a student's process sees, how its end is told, and that nothing is left of it."""
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidl.errors import ArgumentError, SandboxError
from minidl.judge import bubblewrap, container, sandbox, visible
from minidl.judge.rows import Limits
from minidl.judge.visible import Package

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the limits and the fence are POSIX's")


def run(level, code, **more):
    """Run a line of Python in a box; (what it printed, how it ended)."""
    with sandbox.launch(level, ["-c", code], **more) as box:
        return box.stdout.read().decode(), box.how_it_ended(10)


# By default each test has one box: a stranger's where it is about strength, else the one that every system has.
@pytest.fixture(params=[pytest.param("L3", marks=pytest.mark.judge), pytest.param("L1", marks=pytest.mark.judge), "L0"])
def level(request):
    return had(request.param)


@pytest.fixture(params=[pytest.param("L3", marks=pytest.mark.judge), "L1"])
def strong(request):
    return had(request.param)


def had(level):
    """The level, if this machine has it."""
    if reason := sandbox.lacks(level):
        pytest.skip(f"{level} cannot be had here: {reason.splitlines()[0]}")
    return level


def test_the_two_pipes_are_the_channel(level):
    with sandbox.launch(level, ["echo.py"], show={"echo.py": b"print(input()[::-1], flush=True); input()"}) as box:
        box.stdin.write(b"abc\n")
        assert box.stdout.read(4) == b"cba\n"
        assert box.how_it_ended() == "running"
    assert box.how_it_ended() == "signal 9"


@pytest.mark.parametrize(("code", "end"), [
    ("pass", "exited 0"),
    ("raise SystemExit(7)", "exited 7"),
    ("raise SystemExit(137)", "exited 137"),               # which a shell would take for a signal
    ("import os; os._exit(0)", "exited 0"),
    ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    ("import os; os.abort()", "signal 6"),
    ("1 / 0", "exited 1"),
    ("x = bytearray(2**40)", "memory"),
    ("x = [bytearray(10**6) for _ in range(10**4)]", "memory"),
    ("import os\ntry: x = [bytearray(10**6) for _ in range(10**4)]\nexcept MemoryError: os._exit(3)", "memory"),
])
def test_the_end_is_told_as_it_was(level, code, end):
    if "_exit(3)" in code and level != "L3" and sandbox._own_peak() > 128:
        pytest.skip("a judge that has used that much itself cannot tell whose peak of memory it sees")
    assert run(level, code, limits=Limits(memory_mb=256)) == ("", end)


def test_memory_used_and_given_back_is_no_memory_death(level):
    assert run(level, "x = bytearray(200 * 2**20); del x", limits=Limits(memory_mb=256)) == ("", "exited 0")


def test_the_process_sees_what_is_shown_and_can_import_the_library(level):
    code = """
import os, numpy, minidl
print(sorted(os.listdir()), open("given/data.txt").read(), float(minidl.tensor([1.0, 2.0]).sum()))
for name in "minidl.grading.exercise", "minidl.judge.rows", "pytest":
    try: __import__(name)
    except ImportError: print(name, "is not there")
"""
    printed, end = run(level, code, show={"given/data.txt": b"7"})
    gone = [f"{name} is not there" for name in ("minidl.grading.exercise", "minidl.judge.rows", "pytest")]
    assert printed.splitlines() == ["['given'] 7 3.0", *gone]
    assert end == "exited 0"


def test_packages_can_be_chosen(level, tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "only_this.py").write_text("x = 5")
    printed, _ = run(level, "import only_this; print(only_this.x)\nimport numpy",
                     python_path=[tmp_path / "a b" / "only_this.py"])
    assert printed == "5\n"


def test_nothing_of_the_judge_is_in_the_environment_or_open(level, monkeypatch):
    monkeypatch.setenv("SECRET", "swordfish")
    held = os.open(__file__, os.O_RDONLY)
    os.set_inheritable(held, True)
    code = """
import os, sys
print(any("swordfish" in value for value in os.environ.values()), sys.argv)
for descriptor in range(3, 64):
    try: os.fstat(descriptor)
    except OSError: continue
    print("open:", descriptor)
"""
    assert run(level, code)[0] == "False ['-c']\n"
    os.close(held)


def test_kill_is_quick_and_total(level):
    code = "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\nprint(1, flush=True)\nwhile 1: pass"
    with sandbox.launch(level, ["-c", code]) as box:
        box.stdout.read(1)
        start = time.monotonic()
        box.kill()
        took = time.monotonic() - start
        box.kill()
    assert took < 5                              # it does not wait for anything; the bound is a machine's hiccup
    assert not sandbox._marked(box._room.mark) and not box._room.path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="found by way of /proc")
def test_a_daemon_does_not_outlive_its_box():
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("daemon", flush=True); time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
    if os.geteuid():
        pytest.skip("an ordinary user cannot fork in a box at all")
    with sandbox.launch("L0", ["-c", code]) as box:
        assert box.stdout.read(7) == b"daemon\n"
        assert len(sandbox._marked(box._room.mark)) == 2
        box.kill()
        assert not sandbox._marked(box._room.mark)


def test_stderr_is_kept_for_the_teacher_and_bounded(level):
    with sandbox.launch(level, ["-c", "import sys\nwhile 1: sys.stderr.write('x' * 10**6)"]) as box:
        box.how_it_ended(20)
        assert set(box.errors()) == {"x"} or "File too large" in box.errors()
        assert os.fstat(box._room.stderr.fileno()).st_size <= sandbox.FILE_BYTES


def test_errors_of_the_caller():
    with pytest.raises(ArgumentError, match=r"no level 'L9'.\n.*L3, L2, L1, L0\nTry: Ask best_level"):
        sandbox.launch("L9", [])
    for name in ("../x", "/etc/x", ""):
        with pytest.raises(ArgumentError, match="no path below the folder of the box"):
            sandbox.launch("L0", [], show={name: b""})


def test_a_fence_that_does_not_stand_is_the_judges_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    fence = "import sys, json, os; os.write(json.loads(sys.argv[1])['report'], b'fault: x')"
    monkeypatch.setattr(sandbox, "FENCE", fence)
    with pytest.raises(SandboxError, match="level L0 cannot be had here.\n.*fault: x"):
        sandbox.launch("L0", ["-c", "pass"])
    assert not list(tmp_path.iterdir())


def test_one_process_and_one_thread(strong):
    code = """
import os, subprocess, threading
for attempt in (os.fork, lambda: subprocess.run(["/bin/true"]), threading.Thread(target=print).start):
    try: print("through:", attempt())
    except (OSError, RuntimeError) as error: print(type(error).__name__)
"""
    assert run(strong, code)[0].split() == ["BlockingIOError", "BlockingIOError", "RuntimeError"]


def test_a_network_of_minidl_learns_in_the_box(strong):
    """The filter and the limits leave what answers need: products of matrices, files in memory, random numbers."""
    code = """
import io
import numpy as np
import minidl as md
from minidl import nn
md.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1))
x = md.tensor(np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32))
y = (x @ x.T)[:, :1]
opt = md.optim.Adam(net.parameters(), lr=0.01)
losses = []
for _ in range(30):
    opt.zero_grad()
    loss = ((net(x) - y) ** 2).mean()
    loss.backward()
    opt.step()
    losses.append(float(loss))
np.save(io.BytesIO(), np.linalg.svd(np.random.normal(size=(300, 300)))[1])
print(losses[-1] < losses[0])
"""
    assert run(strong, code) == ("True\n", "exited 0")


def test_the_filter_stands_at_both_levels(strong):
    """`refused` could also come from file modes; the filter's own answer to a foreign number cannot."""
    code = "import ctypes; ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000))"
    if os.uname().machine != "x86_64":
        pytest.skip("aarch64 has no second set of numbers")
    assert run(strong, code)[1] == "signal 31"


def test_files_in_the_scratch_folder_and_nowhere_else(strong):
    code = """
import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/a", "w") as file: file.write("abc")
    os.replace(folder + "/a", folder + "/b")
    print(open(folder + "/b").read())
here = os.getcwd()
for place in ("/", here, os.environ["PYTHONPATH"], "/dev", "/dev/shm", "/usr/lib", os.path.dirname(os.__file__)):
    try: open(place + "/new", "w"); print(place)
    except OSError: pass
"""
    assert run(strong, code) == ("abc\n", "exited 0")


@pytest.mark.parametrize("code", ["open(f'{folder}/{k}', 'wb').write(b'x' * 10**6)", "os.mkdir(f'{folder}/{k}')"])
def test_who_fills_the_scratch_folder_is_ended_or_stopped(strong, code):
    code = f"import os\nfolder, k = os.environ['TMPDIR'], 0\nwhile True:\n    {code}\n    k += 1"
    with sandbox.launch(strong, ["-c", code]) as box:
        end = box.how_it_ended(30)
        assert end == "signal 9" if box.overfull else "No space left" in box.errors()


def test_level_3_has_neither_proc_nor_terminal():
    printed = run(had("L3"), "import os; print(os.listdir('/'), os.listdir('/dev'))")[0]
    assert "'packages'" in printed and not any(word in printed for word in ("proc", "tty", "shm", "pts", "home'"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word for it is Linux's")
@pytest.mark.parametrize("level", [pytest.param("L3", marks=pytest.mark.judge), "L1",
                                   pytest.param("L0", marks=pytest.mark.judge)])
def test_a_box_ends_with_its_judge(level):
    """SIGKILL for the judge: what it started goes too."""
    code = f"""
import time
from minidl.judge import sandbox
box = sandbox.launch({had(level)!r}, ["-c", "print(1, flush=True)\\nwhile 1: pass"])
box.stdout.read(1)
print(box._room.mark, box._room.path, flush=True)
time.sleep(60)
"""
    judge = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    mark, room = judge.stdout.readline().split()
    try:
        assert sandbox._marked(mark)
        judge.kill()
        judge.wait()
        until = time.monotonic() + 10
        while sandbox._marked(mark) and time.monotonic() < until:
            time.sleep(0.01)
        assert not sandbox._marked(mark)
    finally:
        judge.stdout.close()
        shutil.rmtree(room)


def test_boxes_side_by_side(strong):
    """Threads start and end boxes at the same time; no box hears of another, and no descriptor stays open."""
    from concurrent.futures import ThreadPoolExecutor

    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda k: run(strong, f"print({k}); raise SystemExit({k})"), range(12)))
    assert ends == [(f"{k}\n", f"exited {k}") for k in range(12)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_bubblewrap_from_an_ordinary_user_and_from_root():
    ordinary, root = bubblewrap.namespaces(False), bubblewrap.namespaces(True)
    assert "--unshare-user" in ordinary and "--cap-add" not in ordinary
    assert "--unshare-user" not in root and root.count("--cap-add") == 2
    for words in (ordinary, root):
        assert {"--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--new-session"} <= set(words)


def test_a_python_in_a_folder_with_spaces(tmp_path, strong):
    """minidl, and the folder that is its judge's, may lie anywhere."""
    home = tmp_path / "a b" / "c,d"
    shutil.copytree(ROOT / "minidl", home / "minidl", ignore=shutil.ignore_patterns("__pycache__", "*.npz", "static"))
    code = (f"from minidl.judge import sandbox\nwith sandbox.launch({strong!r}, ['-c', 'import minidl; print(7)']) "
            "as box: print(box.stdout.read(), box.errors())")
    path = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-c", code], cwd=home, env=os.environ | {"PYTHONPATH": path},
                          capture_output=True, text=True)
    assert done.stdout == "b'7\\n' \n", done


def test_the_command_line_of_the_container(tmp_path, monkeypatch):
    """No daemon is asked: what Docker would be told."""
    monkeypatch.setattr(container, "program", lambda: "/usr/bin/docker")
    minidl = Package(tmp_path / "my, own" / "minidl", ("grading", "absent"))
    (minidl.path / "grading").mkdir(parents=True)
    words = container.command("box-1", [Package(tmp_path / "numpy"), minidl], tmp_path / "task", tmp_path / "empty",
                              {"A": "b c"}, 512)
    assert words[:2] == ["/usr/bin/docker", "run"] and words[-2:] == ["/usr/local/bin/python3", "minidl-judge"]
    pairs = set(zip(words, words[1:]))
    assert pairs >= {("--network", "none"), ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"),
                     ("--user", "65534:65534"), ("--memory", "576m"), ("--memory-swap", "576m"), ("--pull", "never"),
                     ("--env", "A=b c"), ("--name", "box-1"), ("--ipc", "none"), ("--workdir", "/task")}
    assert "--read-only" in words and "--privileged" not in words and "--tty" not in words
    mounts = [next(csv.reader([after])) for word, after in pairs if word == "--mount"]
    assert {(mount[1], mount[2]) for mount in mounts} == {
        (f"source={tmp_path}/task", "target=/task"),
        (f"source={minidl.path}", "target=/packages/minidl"),
        (f"source={tmp_path}/empty", "target=/packages/minidl/grading")}
    assert all(mount[0] == "type=bind" and mount[3] == "readonly" for mount in mounts)


def test_a_container_box_is_ended_by_its_name(tmp_path, monkeypatch):
    """An engine that notes what it was told and ends as one does whose container was killed for its memory."""
    engine, told = tmp_path / "docker", tmp_path / "told"
    engine.write_text(f'#!/bin/sh\necho "$1 $2 $3 $4" >> "{told}"\n[ "$1" = inspect ] && echo true\n'
                      '[ "$1" = run ] && exit 137\nexit 0\n')
    engine.chmod(0o755)
    monkeypatch.setattr(container, "program", lambda: str(engine))
    with sandbox.launch("L2", ["-c", "pass"]) as box:
        assert box.how_it_ended(10) == "memory"
        name = box.name
    assert f"rm --force --volumes {name}" in told.read_text()


def test_best_level_is_the_first_that_can_be_had(monkeypatch):
    monkeypatch.setattr(sandbox, "lacks", lambda level: {"L3": "no bwrap", "L2": "no docker"}.get(level, ""))
    assert sandbox.best_level() == ("L1", "L2: no docker")
    monkeypatch.setattr(sandbox, "lacks", lambda level: "")
    assert sandbox.best_level() == ("L3", "")
    monkeypatch.setattr(sandbox, "lacks", lambda level: "no")
    with pytest.raises(SandboxError, match="not even a process of its own"):
        sandbox.best_level()


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(bubblewrap, "program", lambda: None)
    with pytest.raises(SandboxError, match="needs bubblewrap, and it is not installed.\nTry: sudo apt install"):
        sandbox.launch("L3", [])
    monkeypatch.setattr(container, "program", lambda: None)
    with pytest.raises(SandboxError, match="needs Docker or Podman"):
        sandbox.launch("L2", [])
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="no filter of system calls for this machine.\n.*riscv64"):
        sandbox.launch("L1", [])


def test_hidden_packages_are_no_ones_children(tmp_path, monkeypatch):
    """Rules of Landlock count for all that lies below: a folder with something hidden in it is taken apart."""
    for name in ("lib/python3.11/site-packages/secret", "lib/python3.11/json", "lib/other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib" / "python3.11" / "link").symlink_to(tmp_path / "lib")
    monkeypatch.setattr(visible, "hidden_places", lambda: (f"{tmp_path}/lib/python3.11/site-packages",))
    rules = dict(visible._without_hidden(tmp_path / "lib"))
    lib, whole = tmp_path / "lib", visible.READ_FILE | visible.READ_DIR | visible.EXECUTE
    assert rules == {str(lib): visible.READ_DIR, f"{lib}/python3.11": visible.READ_DIR,
                     f"{lib}/python3.11/json": whole, f"{lib}/other": whole}
