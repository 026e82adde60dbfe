"""The sandbox: what a student's process sees, how its end is told, and that nothing is left of it."""
import os
import sys
import time
from pathlib import Path

import pytest

from minidl.errors import ArgumentError, SandboxError
from minidl.judge import sandbox
from minidl.judge.rows import Limits

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the limits and the fence are POSIX's")


def run(level, code, **more):
    """Run a line of Python in a box; (what it printed, how it ended)."""
    with sandbox.launch(level, ["-c", code], **more) as box:
        return box.stdout.read().decode(), box.how_it_ended(10)


@pytest.fixture(params=["L3", "L1", "L0"])
def level(request):
    return had(request.param)


@pytest.fixture(params=["L3", "L1"])
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


def test_a_fence_that_does_not_stand_is_the_judges_fault(monkeypatch):
    fence = "import sys, json, os; os.write(json.loads(sys.argv[1])['report'], b'fault: x')"
    monkeypatch.setattr(sandbox, "FENCE", fence)
    before = set(Path(sandbox.tempfile.gettempdir()).glob("minidl-box-*"))
    with pytest.raises(SandboxError, match="level L0 cannot be had here.\n.*fault: x"):
        sandbox.launch("L0", ["-c", "pass"])
    assert set(Path(sandbox.tempfile.gettempdir()).glob("minidl-box-*")) <= before
