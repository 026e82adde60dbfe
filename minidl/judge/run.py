"""A run of the judge: every answer of every submission is graded once, and each row is kept as it comes.

    summary = grade_all(submissions, assignment, Gradebook("grades.db"), level="L3", workers=4)

A task is one exercise of one submission. Its key is a hash of student, file, exercise, version of the spec and seed: a
run that was interrupted goes on with the tasks whose keys have no row yet. A worker that dies costs its task a try; at
the third death the task ends as `grader-error`, and before that it is tried alone, so that no innocent task falls with
a guilty one beside it.
"""
import hashlib
import json
import platform
import re
import secrets
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np

from ..errors import ArgumentError, JudgeError, RefusedError, message
from .crew import WorkerDied, crew_for
from .gradebook import Gradebook, Run, exercise_order, storable
from .rows import Cell, Limits, Row, Submission

DEATHS = 3                          # of workers; then the task is given up
SAFE = ("L1", "L2", "L3")           # levels at which a stranger's code may run
SORRY = "The judge itself failed on this answer. It is not your fault; your teacher can see why."
COMPARED = ("verdict", "points", "out_of", "passed", "cases", "message")
NAMED = re.compile(r"""\b(?:about|answer|check)-(\d\d)-|\bcheck\(\s*["'](\d\d)\.""")


@dataclass(frozen=True)
class Task:
    """One exercise of one submission.

    Attributes:
        key: a hash of student, file, exercise, spec and seed.
        submission: the Submission.
        exercise: the exercise's id.
        spec: the version of its spec.
        given: the cells that were released with it; None for those that come with minidl.
    """

    key: str
    submission: Submission
    exercise: str
    spec: str
    given: tuple[Cell, ...] | None = None


@dataclass
class Summary:
    """What came of a run.

    Attributes:
        run: its id; with it the run can be taken up again, and regraded.
        assignment, level: what was graded, and how students' processes were fenced in.
        tasks: how many there are.
        kept: how many of them had a row before.
        verdicts: {verdict: how many}, of the rows that are new.
        deaths: how many workers died.
        seconds: wall-clock seconds.
    """

    run: str
    assignment: str
    level: str
    tasks: int = 0
    kept: int = 0
    verdicts: dict = field(default_factory=dict)
    deaths: int = 0
    seconds: float = 0.0

    @property
    def graded(self):
        """How many rows are new."""
        return sum(self.verdicts.values())

    def as_dict(self):
        """All of it, for JSON."""
        return asdict(self) | {"graded": self.graded}


@dataclass(frozen=True)
class Difference:
    """What a regrade saw in another way than the run before.

    Attributes:
        before, after: the Rows; `after` is None if the submission is not here any more.
        what: the names of what differs.
    """

    before: Row
    after: Row | None
    what: tuple[str, ...]


def grade_all(submissions: Iterable[Submission], assignment, gradebook: Gradebook, *, level="L0",
              seed: int | None = None, workers=1, cluster: str | None = None, run: str | None = None,
              limits: Limits | None = None, insist=False, grade: Callable[..., Row] | None = None,
              spec_of: Callable[[str], str] | None = None, show: Callable[[Run, int], Any] | None = None) -> Summary:
    """Grade all submissions and keep what comes of it.

    Args:
        submissions: as `collecting.collect` gives them.
        assignment: a `release.Assignment`: its name, and the points of its exercises.
        gradebook: where rows go; nobody else may be writing in it.
        level: how students' processes are fenced in, "L3" to "L0".
        seed: the secret seed; None draws a fresh one. With a seed that a run of this assignment has, that run goes on.
        workers, cluster: who does the work, as for `crew.crew_for`.
        run: the id of a run that shall go on; its seed and level are used.
        limits: how much a student's process may use; None for what the exercises say.
        insist: grade below L1, or through another machine without TLS, all the same.
        grade, spec_of: stand-ins for `task.grade_one` and `task.spec_version`, for tests.
        show: called with the run and the number of tasks; what it returns gets `update(1)` for each row and `close()`
            at the end, as tqdm's bars have it.

    Raises:
        RefusedError: it would not be safe.
        BusyError: somebody else writes in the gradebook.
        ArgumentError: the run to go on with is one of another assignment or seed.
        JudgeError: the cluster is gone, or has other versions, or cannot give the level.
    """
    real, grade, spec_of = grade is None, grade or _grade_one(), cache(spec_of or _spec_version())
    began = time.monotonic()
    submissions = list(submissions)
    with gradebook.writing():
        chosen = _chosen_run(gradebook, assignment, run, seed, level)
        _refuse_unsafe(chosen.level if chosen else level, insist)
        with crew_for(workers, cluster, insist) as crew:
            _all_alike(crew, chosen.level if chosen else level, real)
            chosen = chosen or gradebook.start_run(
                assignment.name, secrets.randbits(64) if seed is None else seed, level, versions(),
                settings=settings(assignment))
            gradebook.add_submissions(submissions)
            tasks = tasks_of(submissions, assignment, chosen.seed, spec_of)
            done = gradebook.tasks(chosen.id)
            summary = Summary(chosen.id, assignment.name, chosen.level, len(tasks), len(done & tasks.keys()))
            left = [task for key, task in tasks.items() if key not in done]
            bar = show(chosen, len(left)) if show else None
            counted: Counter[str] = Counter()
            try:
                for task, row, deaths in work(left, crew, grade, chosen, limits):
                    gradebook.record(chosen.id, worth(row, assignment.exercises[task.exercise]), task.key)
                    counted[row.verdict] += 1
                    summary.deaths += deaths
                    if bar is not None:
                        bar.update(1)
            finally:
                if bar is not None:
                    bar.close()
        gradebook.end_run(chosen.id)
    summary.verdicts, summary.seconds = dict(counted), time.monotonic() - began
    return summary


def regrade(submissions: Iterable[Submission], assignment, gradebook: Gradebook, run: str, *, keep=False, workers=1,
            cluster: str | None = None, limits: Limits | None = None, insist=False,
            grade: Callable[..., Row] | None = None, spec_of: Callable[[str], str] | None = None,
            level: str | None = None, show: Callable[[Run, int], Any] | None = None) -> list[Difference]:
    """Grade again what a run has graded, with the seed that is recorded, and compare.

    With the same versions of minidl, NumPy and the specs nothing differs, except where a time limit was close.

    Args:
        submissions: the same files; those that the run does not know are left out.
        run: the id of the run.
        keep: put the new rows into the gradebook, as a run of their own.
        level: another level than the run's.
        assignment, gradebook, workers, cluster, limits, insist, grade, spec_of, show: as for `grade_all`.

    Returns:
        The differences, in the order of students and exercises.

    Raises:
        As `grade_all`.
    """
    real, grade, spec_of = grade is None, grade or _grade_one(), cache(spec_of or _spec_version())
    before = {(row.student, row.digest, row.exercise): row for row in gradebook.rows(run=run)}
    old = gradebook.run(run)
    again = replace(old, level=level or old.level)
    _refuse_unsafe(again.level, insist)
    tasks = {key: task for key, task in tasks_of(submissions, assignment, old.seed, spec_of).items()
             if _place(task) in before}
    after = {}
    with crew_for(workers, cluster, insist) as crew:
        _all_alike(crew, again.level, real)
        bar = show(again, len(tasks)) if show else None
        try:
            for task, row, _ in work(list(tasks.values()), crew, grade, again, limits):
                after[_place(task)] = worth(row, assignment.exercises[task.exercise]), task
                if bar is not None:
                    bar.update(1)
        finally:
            if bar is not None:
                bar.close()
    if keep:
        with gradebook.writing():
            new = gradebook.start_run(old.assignment, old.seed, again.level, versions(), kind="regrade",
                                      settings=settings(assignment))
            for row, task in after.values():
                gradebook.record(new.id, row, task.key)
            gradebook.end_run(new.id)
    found = (_compared(row, after[place][0] if place in after else None) for place, row in before.items())
    return sorted(filter(None, found), key=lambda d: (d.before.student, exercise_order(d.before.exercise)))


def tasks_of(submissions, assignment, seed, spec_of) -> dict[str, Task]:
    """{key: Task} of all submissions: one for each exercise that a file can hold an answer to.

    The same file, handed in twice by the same student, is one.
    """
    tasks = {}
    for submission in submissions:
        for exercise in exercises_in(submission, assignment.exercises):
            spec = spec_of(exercise)
            key = task_key(submission, exercise, spec, seed)
            tasks[key] = Task(key, submission, exercise, spec, given_for(assignment, exercise))
    return tasks


def given_for(assignment, exercise):
    """The cells that a class got with an exercise, without answers and checks; None if the assignment has no cells."""
    cells = [cell for cell in getattr(assignment, "given", ()) if cell.notebook[:2] == exercise[:2]
             and not cell.id.startswith(("answer-", "check-"))]
    return tuple(Cell(cell.id, cell.source) for cell in cells) or None


def task_key(submission, exercise, spec, seed):
    """The hash that a task is known by, as 64 hexadecimal digits."""
    parts = [storable(submission.student), submission.digest, exercise, spec, str(int(seed))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def exercises_in(submission, exercises):
    """The exercises of an assignment that a file is about.

    A class gets one notebook for each chapter, and an answer to chapter 01 that is not in the notebook of chapter 02 is
    not missing. What speaks of no chapter of the assignment at all may be about any of them.
    """
    chapters = {exercise[:2] for exercise in exercises}
    if len(chapters) > 1:
        words = "\n".join([submission.path.replace("\\", "/").rsplit("/", 1)[-1][:2],
                           *(f"{cell.id}\n{cell.source}" for cell in submission.cells)])
        named = {first or second for first, second in NAMED.findall(words)} | {words[:2]}
        chapters = chapters & named or chapters
    return [exercise for exercise in exercises if exercise[:2] in chapters]


def work(tasks, crew, grade, run, limits=None):
    """Have a crew do all tasks; yields (Task, Row, workers that died over it) as they end, one for each task."""
    waiting, suspects, deaths, flying = deque(tasks), deque(), Counter(), 0
    while waiting or suspects or flying:
        while waiting and flying < crew.slots:
            flying += _give(crew, waiting.popleft(), grade, run, limits)
        if suspects and not flying:
            flying += _give(crew, suspects.popleft(), grade, run, limits)
        task, row, error = crew.next()
        flying -= 1
        if isinstance(error, WorkerDied):
            deaths[task.key] += crew.deaths
            if deaths[task.key] < DEATHS:
                (waiting if deaths[task.key] < DEATHS - 1 else suspects).append(task)
                continue
            row = failed(task, run, f"{deaths[task.key]} workers died over it: {error}")
        elif error is not None:
            row = failed(task, run, f"{type(error).__name__}: {error}")
        elif row.spec not in (task.spec, ""):          # "": the judge failed before it had come to the spec
            raise JudgeError(message("A worker has another version of the exercises than this process.",
                                     [("exercise", task.exercise), ("ours", task.spec), ("theirs", row.spec)],
                                     "the same version of minidl on all workers."))
        yield task, row, deaths.pop(task.key, 0)


def failed(task, run, detail):
    """The Row of a task that the judge could not do."""
    return Row(task.submission.student, task.exercise, task.submission.digest, "grader-error", 0.0, 0.0, 0, 0, SORRY,
               run.level, run.seed, task.spec, 0.0, detail)


def worth(row, points):
    """The row with the points that an assignment gives: a share of them, as the spec's own points were earned."""
    share = row.points / row.out_of if row.out_of > 0 else float(row.verdict == "ok")
    return replace(row, points=round(share * points, 6), out_of=float(points))


def versions():
    """What may change how an answer is graded."""
    return {"minidl": sys.modules["minidl"].__version__, "numpy": np.__version__, "python": platform.python_version()}


def settings(assignment):
    """An assignment as the gradebook keeps it."""
    if hasattr(assignment, "as_dict"):
        return assignment.as_dict()
    return {"name": assignment.name, "exercises": dict(assignment.exercises)}


def _grade_one():
    from .task import grade_one
    return grade_one


def _spec_version():
    from .task import spec_version
    return spec_version


def _give(crew, task, grade, run, limits):
    crew.submit(task, grade, task.submission, task.exercise, run.seed, run.level, limits, task.given)
    return 1


def _place(task):
    return storable(task.submission.student), task.submission.digest, task.exercise


def _compared(before, after):
    if after is None:
        return Difference(before, None, ("missing",))
    what = [name for name in COMPARED if getattr(before, name) != _kept(getattr(after, name))]
    return Difference(before, after, tuple(what + ["spec"] * (before.spec != after.spec))) if what else None


def _kept(value):
    return storable(value) if isinstance(value, str) else value


def _chosen_run(gradebook, assignment, id, seed, level):
    """The run to go on with: the one that is named, or one of the same seed; None for a new one."""
    if id is None:
        fitting = [run for run in gradebook.runs() if run.kind == "grade" and run.seed == seed
                   and run.assignment == storable(assignment.name) and run.level == level]
        return fitting[-1] if fitting and seed is not None else None
    run = gradebook.run(id)
    for name, old, new in (("assignment", run.assignment, storable(assignment.name)), ("kind", run.kind, "grade"),
                           ("seed", run.seed, run.seed if seed is None else seed)):
        if old != new:
            raise ArgumentError(message(f"The run {id} cannot go on: its {name} is another.",
                                        [("of the run", old), ("asked for", new)],
                                        "without --run, which begins a new one."))
    return run


def _refuse_unsafe(level, insist):
    if level not in SAFE and not insist:
        raise RefusedError(message(
            "At this level a submission can read and change whatever you can.",
            [("level", level), ("needed", "L1 or better")],
            "`minidl doctor --sandbox` says how to reach it; --insist grades what you trust."))


def _all_alike(crew, level, real):
    """See that all machines compute alike, and that each can fence a process in as it was asked.

    Raises:
        JudgeError: one cannot. `real` is False for a stand-in, which needs no fence.
    """
    ours = versions()
    for theirs in crew.on_all(versions):
        if theirs != ours:
            raise JudgeError(message("A worker has other versions than this process.",
                                     [("ours", ours), ("theirs", theirs)], "the same environment on all machines."))
    if real:
        from .sandbox import lacks
        missing = next(filter(None, crew.on_all(partial(lacks, level)) or [lacks(level)]), None)
        if missing:
            raise JudgeError(message(f"Level {level} cannot be had where the work is done.", [("because", missing)],
                                     "`minidl doctor --sandbox`, or a lower --level."))
