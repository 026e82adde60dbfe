"""The example class: made, collected in three forms, graded as its table says."""
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minidl.grading import examine
from minidl.judge.collecting import collect, marked_late
from minidl.judge.deadlines import judge_lateness
from minidl.judge.release import Assignment, assignment_file
from minidl.judge.sandbox import best_level
from minidl.judge.task import grade_one
from tests.test_exercises import EXERCISES, leak

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("examples_class_make", ROOT / "examples" / "class" / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

STUDENTS = {f"student{k:02}" for k in range(1, 15)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    make.main(folder)
    return folder


def chapter(submission):
    return submission.path.rsplit("/", 1)[-1][:2]


def tasks(submissions):
    """(submission, exercise) of what is to be graded, without the first attempt of student08."""
    return [(s, id) for s in submissions if "attempt1" not in s.path for id in make.EXERCISES
            if id.startswith(chapter(s)) or not chapter(s).isdigit()]


def test_it_can_be_made_again_in_the_same_place(tmp_path):
    one = make.main(tmp_path)
    assert make.main(tmp_path) == one == Assignment.load(assignment_file(tmp_path / "week1"))
    assert list(one.exercises) == list(make.EXERCISES)


def test_what_the_class_gets_gives_nothing_away(folder):
    mine = [exercise for exercise in EXERCISES if exercise.id in make.EXERCISES]
    for path in [*(folder / "week1").iterdir(), assignment_file(folder / "week1")]:
        assert all(leak(exercise, path.read_text(encoding="utf-8")) is None for exercise in mine), path.name


def test_the_folders_are_collected(folder):
    assignment = Assignment.load(assignment_file(folder / "week1"))
    found = collect(folder / "submitted", assignment="week1")
    assert {s.student for s in found} == STUDENTS and not any(s.note for s in found)
    late = {s.student: judge_lateness(s.received, assignment.due, assignment.late).factor for s in found}
    assert {student: factor for student, factor in late.items() if factor < 1} == {"student07": 0.9, "student14": 0}
    assert [s.path.split("/")[2] for s in found if s.student == "student08"] == ["attempt1"] * 3 + ["attempt2"] * 3
    assert {(s.student, s.fault[:20]) for s in found if s.fault} == {
        ("student12", "The file ends in the"), ("student13", "There is no notebook")}
    wanted = {(s.student, id): make.EXPECTED[s.student, id] for s, id in tasks(found)}
    assert wanted == {key: verdict for key, verdict in make.EXPECTED.items() if verdict}


@pytest.mark.parametrize("name", ["moodle.zip", "canvas.zip"])
def test_the_zips_hold_the_same(folder, name):
    folders = [s for s in collect(folder / "submitted") if "attempt1" not in s.path]
    found = collect(folder / name)
    if name == "canvas.zip":
        assert {s.student for s in found if marked_late(s)} == {"1007", "1014"}
    assert sorted((s.student[-2:], s.digest, s.cells) for s in found if s.cells) == sorted(
        (s.student[-2:], s.digest, s.cells) for s in folders if s.cells)
    assert {s.student for s in found} == {f"10{s.student[-2:]}" for s in folders}
    assert all(s.received is None for s in found)


@pytest.mark.parametrize("id", make.EXERCISES)
def test_its_mistakes_are_known_by_name(id):
    space = {"np": __import__("numpy")}
    exec(make.MISTAKES[id], space)
    verdict = examine(id, [value for value in space.values() if callable(value)][-1])
    assert verdict.mistake and verdict.sure


def graded_as_expected(some):
    wrong = []
    for submission, id in some:
        row = grade_one(submission, id, seed=2026, level="L0")
        if row.verdict != make.EXPECTED[submission.student, id] or (row.points > 0) != (row.verdict == "ok"):
            wrong.append((row.student, id, row.verdict, row.message, row.detail))
    assert not wrong


def test_some_of_it_is_graded_as_expected(folder):
    few = {("student05", "01.4b"), ("student06", "04.1c"), ("student11", "01.1a"), ("student12", "01.1a"),
           ("student13", "09.1a")}
    graded_as_expected([(s, id) for s, id in tasks(collect(folder / "submitted")) if (s.student, id) in few])


def commands():
    """The judge's commands in the teacher's guide that need no other machine."""
    text = (ROOT / "docs" / "teachers_guide.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("    minidl ")]
    return [words[1:] for words in found if "--cluster" not in words and words[1] != "doctor"]


def test_the_guide_names_every_command():
    assert {words[0] for words in commands()} == {"release", "grade", "report", "feedback", "export", "regrade"}


@pytest.mark.slow
def test_the_commands_of_the_guide_run_as_written(tmp_path):
    if best_level()[0] == "L0":
        pytest.skip("no sandbox here, so grading is refused: " + best_level()[1])
    make.main(tmp_path)
    for words in commands():
        done = subprocess.run([sys.executable, "-m", "minidl", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert {"week2", "week2.assignment.toml", "grades.db", "report.svg", "feedback", "marks.csv", "moodle.csv",
            "canvas.csv"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_all_of_it_is_graded_as_expected(folder):
    graded_as_expected(tasks(collect(folder / "submitted")))
