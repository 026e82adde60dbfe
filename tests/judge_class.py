"""A class for the judge's tests: submissions, an assignment, and graders that need no sandbox."""
import os
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from minidl.judge.rows import Cell, Row, Submission

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
EXERCISES = ("01.1a", "01.1b", "01.2", "01.3")
VERDICTS = ("ok", "wrong", "timeout", "ok")


@dataclass
class Assignment:
    """The least that a run asks of an assignment."""

    name: str = "week 1"
    exercises: dict = field(default_factory=lambda: dict.fromkeys(EXERCISES, 2.0))


def submission(student="ada", digest="", name="", received=START, path="01_arrays.ipynb", cells=(), fault=""):
    """One submission."""
    return Submission(student, name or student.title(), path, received, digest or f"digest-of-{student}",
                      tuple(Cell(f"answer-{k}", text) for k, text in enumerate(cells)), fault)


def a_class(count):
    """Submissions of `count` students, a minute apart."""
    return [submission(f"student-{k:04d}", received=START + timedelta(minutes=k)) for k in range(count)]


def row(student="ada", exercise="01.2", digest="", verdict="ok", points=2.0, out_of=2.0, message="", seed=7, **more):
    """One row."""
    values = dict(passed=3, cases=3, level="L3", spec="spec-1", seconds=0.25, detail="")
    return Row(student, exercise, digest or f"digest-of-{student}", verdict, points, out_of, message=message, seed=seed,
               **values | more)


def spec_of(exercise):
    """The version of a spec."""
    return f"spec-of-{exercise}"


def grade(submission, exercise, seed, level="L0", limits=None, given=None):
    """A grader whose verdict depends on student, exercise and seed, and on nothing else."""
    if submission.fault:
        return Row(submission.student, exercise, submission.digest, "rejected-file", 0.0, 1.0, 0, 3, submission.fault,
                   level, seed, spec_of(exercise), 0.0)
    verdict = VERDICTS[(sum(map(ord, submission.student + exercise)) + seed) % len(VERDICTS)]
    return Row(submission.student, exercise, submission.digest, verdict, float(verdict == "ok"), 1.0,
               3 * (verdict == "ok"), 3, f"The answer is {verdict}.", level, seed, spec_of(exercise), 0.01)


def slow_grade(submission, exercise, seed, level="L0", limits=None, given=None):
    """As `grade`, after a moment."""
    time.sleep(0.03)
    return grade(submission, exercise, seed, level, limits)


def deadly_grade(submission, exercise, seed, level="L0", limits=None, given=None):
    """As `grade`, but "killer" kills the worker each time, and "once-PATH" only if there is no file PATH yet."""
    first = submission.cells[0].source if submission.cells else ""
    if submission.student == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    if first and not Path(first).exists():
        Path(first).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return grade(submission, exercise, seed, level, limits)


def broken_grade(submission, exercise, seed, level="L0", limits=None, given=None):
    """A grader that raises over one student, though it should never."""
    if submission.student == "ada":
        raise RuntimeError("a bolt fell out")
    return grade(submission, exercise, seed, level, limits)
