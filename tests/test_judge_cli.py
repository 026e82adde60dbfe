"""The judge's commands from the outside: what they print, what they write, and what they end with."""
import json
import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
click = pytest.importorskip("click")

from minidl import cli as front  # noqa: E402
from minidl.errors import JudgeError  # noqa: E402
from minidl.judge import cli, run, sandbox  # noqa: E402
from minidl.judge.gradebook import Gradebook  # noqa: E402
from tests import judge_class  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("release", "grade", "feedback", "export", "report", "regrade")


@pytest.fixture
def stand_in(monkeypatch):
    """No sandbox: a grader that looks at the student's name, and a machine that can do L3."""
    monkeypatch.setattr(run, "_grade_one", lambda: judge_class.grade)
    monkeypatch.setattr(run, "_spec_version", lambda: judge_class.spec_of)
    monkeypatch.setattr(sandbox, "lacks", lambda level: "")
    return monkeypatch


@pytest.fixture
def course(tmp_path, stand_in, monkeypatch):
    """A released assignment and a folder of submissions; we stand in its folder."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["release", "week1", "-e", "01.1 01.3=5", "--due", "2026-12-04 23:59", "--late", "10"]) == 0
    (notebook,) = (tmp_path / "week1").glob("*.ipynb")
    for name in ("ada", "bert", "=1+1"):
        (tmp_path / "submissions" / name).mkdir(parents=True)
        (tmp_path / "submissions" / name / notebook.name).write_bytes(notebook.read_bytes())
    (tmp_path / "submissions" / "cleo").mkdir()
    (tmp_path / "submissions" / "cleo" / notebook.name).write_text("{", encoding="utf-8")
    return tmp_path


GRADE = ["grade", "submissions", "--gradebook", "grades.db", "--assignment", "week1.assignment.toml", "--workers", "1",
         "--level", "L3"]


def said(capsys, *argv, code=0):
    """What a command printed to stdout; it must end with `code`."""
    capsys.readouterr()
    assert cli.main([str(word) for word in argv]) == code
    return capsys.readouterr().out


def failed(capsys, *argv, code):
    """What a command printed to stderr."""
    capsys.readouterr()
    assert cli.main([str(word) for word in argv]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_class_from_release_to_export(course, capsys):
    out = said(capsys, *GRADE)
    assert re.search(r"week1: 12 answers graded, level L3, in .* s\n.*3 rejected-file.*\nrun \S+ in .*grades.db\n", out)
    assert "4 pages in pages" in said(capsys, "feedback", "--gradebook", "grades.db", "--to", "pages")
    assert len(list((course / "pages").iterdir())) == 4
    text = said(capsys, "export", "--gradebook", "grades.db")
    assert "'=1+1,'=1+1," in text and text.startswith("\ufeffstudent,name,01.1a,01.1b,01.3,points")
    assert "4 students in marks.csv" in said(capsys, "export", "--gradebook", "grades.db", "--format", "canvas",
                                             "--output", "marks.csv")
    assert (course / "marks.csv").read_bytes().startswith(b"Student,ID,SIS User ID,SIS Login ID,Section,week1\r\n")
    out = said(capsys, "report", "--gradebook", "grades.db", "--plot", "report.svg")
    assert out.startswith("week1: 4 students, ") and (course / "report.svg").exists()
    assert "no differences" in said(capsys, "regrade", "submissions", "--gradebook", "grades.db", "--workers", "1")


def test_everything_can_be_said_as_json(course, capsys):
    grade = json.loads(said(capsys, *GRADE, "--json", "--seed", 5))
    assert grade["tasks"] == grade["graded"] == 12 and grade["failed"] == 0 and grade["verdicts"]["rejected-file"] == 3
    with sqlite3.connect("grades.db") as connection:
        assert connection.execute("SELECT seed FROM runs").fetchall() == [("5",)]
    connection.close()
    again = json.loads(said(capsys, *GRADE, "--json", "--run", grade["run"]))
    assert (again["run"], again["kept"], again["graded"]) == (grade["run"], 12, 0)
    book = ["--gradebook", "grades.db", "--json"]
    pages = json.loads(said(capsys, "feedback", *book, "--to", "pages"))
    assert all(Path(path).is_file() for path in pages.values()) and set(pages) == {"ada", "bert", "=1+1", "cleo"}
    marks = json.loads(said(capsys, "export", *book))
    assert {one["student"]: one["out_of"] for one in marks["students"]} == dict.fromkeys(pages, 9)
    report = json.loads(said(capsys, "report", *book))
    assert [item["exercise"] for item in report["items"]] == ["01.1a", "01.1b", "01.3"]
    assert json.loads(said(capsys, "regrade", "submissions", *book, "--workers", 1))["differences"] == []
    release = json.loads(said(capsys, "release", "week2", "-e", "01.3", "--json"))
    assert release["exercises"] == {"01.3": 3} and Path(release["file"]).is_file() and "given" not in release
    error = json.loads(said(capsys, "report", "--gradebook", "none.db", "--json", code=4))
    assert error["exit"] == 4 and "There is no gradebook here" in error["error"]


def test_a_judge_that_fails_ends_with_1(course, capsys, stand_in):
    stand_in.setattr(run, "_grade_one", lambda: judge_class.broken_grade)
    capsys.readouterr()
    assert cli.main(GRADE) == 1
    captured = capsys.readouterr()
    assert "The judge failed on 3 answers" in captured.err and "3 grader-error" in captured.out
    assert "failed on 01.3 of ada: RuntimeError: a bolt fell out" in said(capsys, "report", "--gradebook", "grades.db")


def test_differences_of_a_regrade_end_with_6(course, capsys, stand_in):
    said(capsys, *GRADE, "--seed", 0)
    stand_in.setattr(run, "_grade_one", lambda: lambda *given: replace(judge_class.grade(*given), verdict="memory"))
    out = said(capsys, "regrade", "submissions", "--gradebook", "grades.db", "--workers", 1, code=6)
    assert re.search(r"12 differences\n  =1\+1  01.1a  \S+ \S+ -> memory", out)
    assert not [one for one in Gradebook("grades.db").rows() if one.verdict == "memory"]
    said(capsys, "regrade", "submissions", "--gradebook", "grades.db", "--workers", 1, "--keep", code=6)
    assert len([one for one in Gradebook("grades.db").rows() if one.verdict == "memory"]) == 12


def test_what_is_not_safe_is_refused_with_3(course, capsys):
    unsafe = [*GRADE[:-1], "L0"]
    assert "--insist grades what you trust" in failed(capsys, *unsafe, code=3)
    assert "Without TLS" in failed(capsys, *GRADE, "--cluster", "tcp://10.0.0.1:8786", code=3)
    assert "level L0" in said(capsys, *unsafe, "--insist")


def test_a_gradebook_that_is_none_ends_with_4(course, capsys):
    (course / "cats.db").write_bytes(b"meow" * 1000)
    for where, words in (("cats.db", "cannot be opened"), ("mysql://x/y", "SQLite or PostgreSQL"),
                         ("none.db", "There is no gradebook here")):
        error = failed(capsys, "report", "--gradebook", where, code=4)
        assert words in error and "\nTry: " in error


def test_a_second_writer_ends_with_5(course, capsys):
    with Gradebook("grades.db").writing():
        assert "Somebody else is writing in this gradebook" in failed(capsys, *GRADE, code=5)


def test_a_level_that_cannot_be_had_ends_with_7(course, capsys, stand_in):
    from functools import partial
    real = run._all_alike
    stand_in.setattr(sandbox, "lacks", lambda level: "bubblewrap is not installed")
    stand_in.setattr(run, "_all_alike", lambda crew, level, real_one: partial(real, crew, level)(True))
    error = failed(capsys, *GRADE, code=7)
    assert "Level L3 cannot be had" in error and "bubblewrap is not installed" in error


@pytest.mark.parametrize("argv", [
    ["grade", "nowhere", "--gradebook", "g.db"], ["grade"], ["report"], ["fly"], ["export", "--format", "xls"],
    ["release", "x", "-e", "99.9"], ["release", "x", "-e", "01.3=lots"],
    ["release", "x", "-e", "01.3", "--due", "soon"],
    ["grade", ".", "--gradebook", "g.db", "--assignment", "none.toml"],
    ["grade", ".", "--gradebook", "g.db", "--level", "L9"]])
def test_what_makes_no_sense_ends_with_2(argv, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert failed(capsys, *argv, code=2)


def test_ctrl_c_says_how_to_go_on_and_ends_with_130(course, capsys, stand_in):
    count = []

    def interrupted(*given):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return judge_class.grade(*given)

    stand_in.setattr(run, "_grade_one", lambda: interrupted)
    error = failed(capsys, *GRADE, code=130)
    (begun,) = Gradebook("grades.db").runs()
    assert f"Go on with --run {begun.id}" in error
    assert "8 answers graded, 4 kept from before" in said(capsys, *GRADE, "--run", begun.id)


@pytest.mark.parametrize("argv", [
    ["export", "--output", "nowhere/marks.csv"], ["export", "--output", "."], ["feedback", "--to", "a file"],
    ["report", "--plot", "nowhere/report.svg"], ["report", "--plot", "report.txt"],
])
def test_a_place_that_cannot_be_written_ends_with_2_and_three_lines(course, capsys, argv):
    (course / "a file").touch()
    said(capsys, *GRADE)
    assert 1 <= len(failed(capsys, *argv, "--gradebook", "grades.db", code=2).splitlines()) <= 4
    if argv[-1] != "report.txt":
        assert json.loads(said(capsys, *argv, "--gradebook", "grades.db", "--json", code=2))["exit"] == 2


def test_a_folder_that_cannot_be_made_ends_with_2(capsys, tmp_path):
    (tmp_path / "a file").touch()
    assert "a file" in failed(capsys, "release", tmp_path / "a file" / "week1", "-e", "01.1", code=2)


def test_marks_that_do_not_fit_on_the_disk_leave_the_old_ones(course, capsys, monkeypatch):
    said(capsys, *GRADE)
    said(capsys, "export", "--gradebook", "grades.db", "--output", "marks.csv")
    old = Path("marks.csv").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in failed(capsys, "export", "--gradebook", "grades.db", "--output", "marks.csv", code=2)
    assert Path("marks.csv").read_bytes() == old and not list(course.glob(".marks*"))


def test_the_gradebook_s_name_may_come_from_the_environment(course, capsys, monkeypatch):
    monkeypatch.setenv("MINIDL_GRADEBOOK", "mine.db")
    said(capsys, *[word for word in GRADE if word not in ("--gradebook", "grades.db")])
    assert (course / "mine.db").exists()


def test_a_due_date_in_the_file_has_the_last_word(course, capsys):
    said(capsys, *GRADE, "--seed", 0)
    file = course / "week1.assignment.toml"
    late = file.read_text(encoding="utf-8").replace("2026-12-04", "2020-12-04").replace("percent = 10",
                                                                                        "percent = 100")
    (course / "moved.toml").write_text(late, encoding="utf-8")
    points = [sum(one["points"] for one in json.loads(said(
        capsys, "export", "--gradebook", "grades.db", "--json", "--assignment", name))["students"])
        for name in ("week1", "moved.toml")]
    assert points[0] > 0 == points[1]


# --- the way there --------------------------------------------------------------------------------------------------
def test_the_front_door_knows_the_commands():
    assert set(front.JUDGE) == set(COMMANDS) == set(cli.commands.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command, capsys):
    assert front.main([command, "--help"]) == 0
    assert f"Usage: python -m minidl {command}" in capsys.readouterr().out


def test_every_exit_code_is_written_down():
    listed = {int(code) for code in re.findall(r"^ +(\d+)  \w", cli.__doc__, re.M)}
    assert listed == {cli.DONE, cli.FAILED, cli.USAGE, cli.REFUSED, cli.BOOK, cli.BUSY, cli.DIFFERENT, cli.STOPPED,
                      cli.INTERRUPTED}
    assert dict(cli.CODES)[JudgeError] == cli.STOPPED


@pytest.mark.parametrize("package", ["click", "sqlalchemy"])
def test_without_a_package_the_front_door_says_how_to_get_it(package):
    code = (f"import sys; sys.modules[{package!r}] = None; from minidl.cli import main; "
            "raise SystemExit(main(['grade']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and 'pip install "minidl[judge]"' in done.stderr and "Traceback" not in done.stderr


def test_help_at_the_front_door_names_the_judge(capsys):
    with pytest.raises(SystemExit):
        front.main(["--help"])
    assert "For teachers: release, grade, feedback" in capsys.readouterr().out


def test_lab_and_doctor_need_no_click():
    code = ("import sys; sys.modules['click'] = sys.modules['sqlalchemy'] = None; from minidl.cli import main; "
            "raise SystemExit(main(['doctor']))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0
