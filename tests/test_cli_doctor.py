"""`python -m minidl`: what it starts, what it says when it cannot, and the doctor's table."""
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidl import cli
from minidl import doctor as examination

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with a first lesson, its name awkward on purpose; and the commands that would have been started."""
    root = tmp_path / "my cours é"
    (root / cli.START).parent.mkdir(parents=True)
    (root / cli.START).touch()
    monkeypatch.setattr(cli, "__file__", str(root / "minidl" / "cli.py"))
    return root


@pytest.fixture
def started(monkeypatch):
    """The commands that `lab` would have started."""
    commands = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command, cwd: commands.append((command, cwd)) or 0)
    return commands


@pytest.fixture
def missing(monkeypatch):
    """A function that makes a package look as if it were not installed."""
    versions, specs = importlib.metadata.version, importlib.util.find_spec

    def hide(name, version=None):
        def look(asked):
            if asked != name:
                return versions(asked)
            if version is None:
                raise importlib.metadata.PackageNotFoundError(asked)
            return version

        monkeypatch.setattr(importlib.metadata, "version", look)
        monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == name else specs(asked))

    return hide


def row(name):
    """The doctor's row of that name."""
    return next(check for check in examination.doctor().checks if check.name == name)


def test_lab_opens_the_first_lesson_with_the_course_as_root(course, started):
    assert cli.main(["lab", "--no-browser", "--port", "8899"]) == 0
    (command, cwd), = started
    assert command == [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={course}",
                       "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb", "--no-browser", "--port", "8899"]
    assert cwd == course


def test_lab_finds_the_course_in_the_folder_we_stand_in(course, started, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site-packages" / "minidl" / "cli.py"))
    monkeypatch.chdir(course)
    assert cli.main(["lab"]) == 0
    assert started[0][1] == course


def test_lab_without_lessons_says_to_clone(started, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "minidl" / "cli.py"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab"]) == 1
    assert "Clone the repository" in capsys.readouterr().err
    assert not started


def test_lab_without_jupyter_says_what_to_install(course, started, missing, capsys):
    missing("jupyterlab")
    assert cli.main(["lab"]) == 1
    said = capsys.readouterr().err
    assert "JupyterLab is not installed" in said
    assert f'"{sys.executable}" -m pip install -e ".[lab]"' in said
    assert not started


def test_leaving_jupyter_with_ctrl_c_is_no_error(course, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.subprocess, "call", interrupted)
    assert cli.main(["lab"]) == 0


@pytest.mark.parametrize("argv", [[], ["fly"], ["doctor", "--loud"]])
def test_what_it_does_not_know_ends_with_usage(argv, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert "usage: python -m minidl" in capsys.readouterr().err


def test_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "minidl", "doctor"], capture_output=True, encoding="utf-8", cwd=ROOT,
                          env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("Python")
    assert done.stdout.rstrip().endswith("Ready: everything required is here.")


def test_doctor_prints_on_a_terminal_that_knows_only_ascii():
    done = subprocess.run([sys.executable, "-m", "minidl", "doctor"], capture_output=True, cwd=ROOT,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and descriptors of POSIX")
@pytest.mark.parametrize("command", ["doctor | true", "doctor >&-", "doctor | head -c 1 > /dev/null"])
def test_doctor_minds_no_reader_that_is_gone(command, tmp_path):
    line = f'"{sys.executable}" -c "import time, sys; sys.argv[1:] = [\'doctor\']; time.sleep(0.5); ' \
           f'from minidl.cli import main; sys.exit(main())" {command.removeprefix("doctor")}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stderr == ""


def test_doctor_has_a_row_for_everything():
    names = [check.name for check in examination.doctor().checks]
    assert names == ["Python", "NumPy", "BLAS", "numba", "matplotlib", "ipywidgets", "anywidget", "dot", "GPU"]


def test_bounds_are_those_of_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={".".join(map(str, examination.PYTHON))}"' in text
    assert f'dependencies = ["numpy>={".".join(map(str, examination.NUMPY))}"]' in text


@pytest.mark.parametrize("name", ["numba", "matplotlib", "ipywidgets", "anywidget"])
def test_a_missing_extra_is_optional_and_says_how_to_get_it(name, missing):
    missing(name)
    assert row(name).state == "optional, missing"
    assert f"pip install {name}" in row(name).advice
    assert examination.doctor().required_ok


def test_missing_dot_is_optional(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert row("dot").state == "optional, missing"


def test_found_dot_does_not_show_its_path(monkeypatch):
    monkeypatch.setattr(examination.shutil, "which", {"dot": "/opt/somebody/bin/dot"}.get)
    assert row("dot").state == "ok"
    assert "/opt" not in str(examination.doctor())


@pytest.mark.parametrize(("version", "state"),
                         [("1.26.4", "too old"), (None, "missing"), ("2.0.0rc1", "ok"), ("10.0", "ok")])
def test_numpy_is_required(version, state, missing, monkeypatch):
    missing("numpy", version)
    assert row("NumPy").state == state
    report = examination.doctor()
    assert report.required_ok == (state == "ok")
    if state != "ok":
        assert 'pip install "numpy>=2.0"' in row("NumPy").advice
        assert str(report).endswith("Not ready: mend the rows marked ✗ first.")


def test_doctor_command_fails_when_something_required_is_missing(missing, capsys):
    missing("numpy")
    assert cli.main(["doctor"]) == 1
    assert "✗ missing" in capsys.readouterr().out


def test_old_python_is_said(monkeypatch):
    monkeypatch.setattr(examination.sys, "version_info", (3, 9, 2, "final", 0))
    assert row("Python") == examination.Check("Python", "too old", "3.9.2.", "Install Python 3.11 or newer.")


def test_threads_are_shown(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "OMP_NUM_THREADS=3" in row("BLAS").found


def test_without_cupy_the_gpu_is_optional(monkeypatch):
    def no_gpu(name):
        raise examination.DeviceError("device: 'cuda' was asked for, but CuPy is not installed.\nTry: this <now>.")

    monkeypatch.setattr(examination.backend, "get", no_gpu)
    assert row("GPU").cells == ("GPU", "· optional, missing",
                                "Every lesson runs without. CuPy is not installed. Try: this <now>.")
    assert "Try: this &lt;now&gt;." in examination.doctor()._repr_html_()


@pytest.mark.gpu
def test_with_a_gpu_it_is_named():
    pytest.importorskip("cupy")
    assert "CUDA device" in row("GPU").found


def test_html_is_one_table_with_a_row_for_each_check():
    report = examination.doctor()
    page = report._repr_html_()
    assert page.startswith("<table>") and page.endswith("</table>")
    assert page.count("<tr>") == len(report.checks) + 1
    assert report.verdict in page


def test_doctor_shows_the_same_table_in_every_text():
    report = examination.doctor()
    assert repr(report) == str(report)
    assert len(str(report).splitlines()) == len(report.checks) + 2
