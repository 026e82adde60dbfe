"""Grading one exercise of one submission: the smallest piece of work, and the same on every machine.

The cases and what is expected of them come from the run's secret seed and are kept for the next submission. A student's
process is asked case by case; what it says is compared here, with the comparison that `check` uses. A known mistake is
named in the words of the exercise's author, and nothing of a hidden case is ever told.
"""
import contextlib
import hashlib
import math
import threading
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from ..grading.checking import Outcome, attempt
from ..grading.compare import difference, plain
from ..grading.exercise import Exercise, find
from . import sandbox
from .library import students_library
from .rows import Cell, Limits, Row, Submission
from .sent import answer_name, given_cells, observing, spec_version
from .talk import Ended, Talk

BOOT = "from seat.judge.student import main; main()"
COMMON = {"builtins.Exception", "builtins.BaseException", "builtins.object"}
MANY = 1000                          # parts that any answer may have
RIGHT, BLANK = "Right.", "Not attempted."
MESSAGES = {
    "timeout": "It took too long.",
    "memory": "It needed more memory than there is.",
    "killed": "The process that ran it came to a sudden end.",
    "protocol-error": "It disturbed the process that ran it.",
    "import-error": "The code that defines it stopped with an error, so it could not be called.",
    "grader-error": "The judge could not look at this answer. It is not your fault; your teacher has been told.",
}
ours = threading.Lock()              # references draw from minidl's own random generator: one at a time


@dataclass
class Answer:
    """What came of one case.

    Attributes:
        kind: "value", "raised", "blank" or "large".
        value: what was returned.
        kinds: the names of the classes of the error, its own first.
    """

    kind: str
    value: object = None
    kinds: list = field(default_factory=list)


def cases_seed(seed: int, exercise_id: str) -> int:
    """The seed of an exercise's cases in a run: the same for the whole class, and no other exercise's."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{exercise_id}".encode()).digest()[:8], "big")


def grade_one(submission: Submission, exercise_id: str, seed: int, level: str = "L0", limits: Limits | None = None,
              given: tuple[Cell, ...] | None = None) -> Row:
    """Grade one exercise of one submission.

    Args:
        submission: what was handed in.
        exercise_id: such as "09.2".
        seed: the run's secret seed.
        level: how the student's process is fenced in, "L3" to "L0".
        limits: how much it may use.
        given: the code cells of the notebook as it was released; those of this checkout's notebook if None. The check
            lines in it tell what an answer is called; its cells for answers do not count.

    Returns:
        The row for the gradebook. Nothing is raised: what breaks on this side becomes "grader-error".
    """
    began = time.monotonic()
    row = Row(submission.student, exercise_id, submission.digest, "grader-error", 0.0, 0.0, 0, 0,
              MESSAGES["grader-error"], level, seed, "", 0.0)
    try:
        exercise = find(exercise_id)
        row = replace(row, out_of=float(exercise.points), spec=spec_version(exercise_id))
        row = _graded(row, submission, exercise, limits or Limits(),
                      given_cells(exercise) if given is None else given)
    except Exception as error:
        row = replace(row, detail=f"{type(error).__name__}: {error}"[:300])
    return replace(row, seconds=round(time.monotonic() - began, 3))


def _graded(row, submission, exercise, limits, given):
    if submission.fault:
        return replace(row, verdict="rejected-file", message=submission.fault)
    hidden = hidden_of(exercise.id, row.seed)
    row = replace(row, cases=len(hidden.cases))
    with sandbox.launch(row.level, ["-c", BOOT], limits=limits, python_path=students_library()) as box:
        return _asked(row, Talk(box, limits), hidden, submission, given)


def _asked(row, talk, hidden, submission, given):
    """The row, after the talk with a process that has just been started."""
    exercise, answers = hidden.exercise, []
    try:
        talk.ask(talk.start_left, {"do": "hello"})
    except Ended as end:                          # nothing of the student's has run: it is our fault
        words = " ".join(talk.box.errors(300).split())
        return replace(row, detail=f"the student's process did not start: {end.detail} {words}")
    try:
        said = _looked(talk, exercise, submission, given)
        if said["state"] != "readable":
            return _without_answer(row, said, answer_name(exercise, given))
        offence = said["offence"]
        said, _ = talk.ask(talk.start_left, {"observe": observing(exercise)})
        if said.get("state") != "ran":
            return _not_run(row, said)
        _all_cases(talk, hidden, answers)
    except Ended as end:
        passed = hidden.faults(answers).count(None)
        share = hidden.share(passed) if end.verdict in ("timeout", "memory") else 0.0
        return replace(row, verdict=end.verdict, message=MESSAGES[end.verdict], detail=end.detail, passed=passed,
                       points=row.out_of * share)
    return _judged(row, hidden, answers, offence)


def _looked(talk, exercise, submission, given):
    """What the process says of the notebook before it has run any of it."""
    said, _ = talk.ask(talk.start_left, {
        "cells": [[cell.id, cell.source] for cell in submission.cells],
        "given": [[cell.id, cell.source] for cell in given if not cell.id.startswith(("answer-", "check-"))],
        "exercise": exercise.id,
        "answer": f"answer-{exercise.id.replace('.', '-')}", "name": answer_name(exercise, given),
        "allowed": None if exercise.allowed is None else sorted(exercise.allowed)})
    return said


def _without_answer(row, said, name):
    """The row of a notebook that has nothing to call."""
    if said["state"] == "missing":
        said = f"The notebook has no `{name}`."
        return replace(row, verdict="wrong", message=said, detail="missing")
    return replace(row, verdict="import-error", detail="unreadable",
                   message=f"The code that defines `{name}` is no Python. {said['says'][:200]}")


def _not_run(row, said):
    """The row of a notebook whose statements stopped with an error."""
    if said.get("state") == "blank":
        return replace(row, verdict="wrong", message=BLANK, detail="blank")
    kinds = _kinds_said(said)
    verdict = "memory" if "builtins.MemoryError" in kinds else "import-error"
    return replace(row, verdict=verdict, message=MESSAGES[verdict], detail=kinds[0])


# --- case by case -----------------------------------------------------------------------------------------------------


def _all_cases(talk, hidden, answers):
    """Ask for every case, and add what came of it to `answers`; after a blank there is no need to go on.

    The time limit counts for each case. What still comes after the first fault only serves to name the mistake: for
    that there is as much time as the reference takes for everything, several times over, and never more than the limit.
    """
    seconds = talk.limits.seconds or hidden.exercise.seconds
    end = None
    for k, case in enumerate(hidden.cases):
        left = seconds if end is None else min(seconds, end - time.monotonic())
        try:
            answers.append(hidden.sized(k, _answered(talk, max(left, 0.0), case)))
        except Ended:
            if end is None:
                raise
            return
        if answers[-1].kind == "blank":
            return
        if end is None and hidden.fault(k, answers[-1]) is not None:
            end = time.monotonic() + min(seconds, hidden.patience)


def _answered(talk, seconds, case):
    said, got = talk.ask(seconds, case=tuple(case))
    kind = said.get("state")
    if kind == "value" and "value" in got:
        return Answer("value", plain(got["value"]))
    if kind == "raised":
        kinds = _kinds_said(said)
        if "builtins.MemoryError" in kinds:
            raise Ended("memory", "MemoryError")
        return Answer("raised", kinds=kinds)
    if kind in ("blank", "large"):
        return Answer(kind)
    raise Ended("protocol-error", "a reply that is none")


def _kinds_said(said):
    kinds = said.get("kinds")
    good = isinstance(kinds, list) and kinds and all(isinstance(kind, str) for kind in kinds)
    return [kind[:120] for kind in kinds] if good else ["?"]


def _judged(row, hidden, answers, offence):
    """The row for answers that all came, or came until one was wrong."""
    faults = hidden.faults(answers)
    passed, exercise = faults.count(None), hidden.exercise
    row = replace(row, verdict="wrong", passed=passed, detail="observed" if exercise._observe else "")
    if passed == len(hidden.cases):
        if offence:
            said = (f"The values are right, but the answer {offence[:80]}. Allowed are operators, indexing and: "
                    f"{', '.join(sorted(exercise.allowed))}.")
            return replace(row, message=said)
        return replace(row, verdict="ok", points=row.out_of, message=RIGHT)
    return replace(row, points=row.out_of * hidden.share(passed), message=hidden.message(answers, faults))


# --- what is kept from one submission to the next ---------------------------------------------------------------------


class Hidden:
    """The hidden cases of an exercise for one seed, and what belongs to them.

    Attributes:
        exercise, cases: the exercise, and its cases.
        expected: what comes of the reference.
        patience: seconds that may go into finding a mistake's name, after the first fault.
    """

    def __init__(self, exercise: Exercise, seed: int):
        self.exercise = exercise
        self.cases = exercise.make_cases(cases_seed(seed, exercise.id))
        began = time.monotonic()
        self.expected = [self._ours(exercise.right, k) for k in range(len(self.cases))]
        self.patience = 0.75 + 5 * (time.monotonic() - began)
        if any(one.kind not in ("value", "raised") for one in self.expected):
            raise RuntimeError(f"{exercise.id}: the reference has no answer to a case")
        self._mistakes: dict[tuple[int, int], Outcome] = {}

    def _ours(self, solution, k):
        with quiet():
            return attempt(self.exercise, solution, self.cases[k])

    def mistake(self, m, k):
        """What comes of a mistake in a case."""
        if (m, k) not in self._mistakes:
            self._mistakes[m, k] = self._ours(self.exercise.mistakes[m].wrong, k)
        return self._mistakes[m, k]

    def sized(self, k, answer):
        """The answer to a case; "large" in its place if it has many times the parts that are due.

        To compare takes as long as to send, and there are a dozen mistakes to compare with.
        """
        most = MANY + 10 * parts(self.expected[k].value)
        return Answer("large") if answer.kind == "value" and parts(answer.value, most) > most else answer

    def share(self, passed):
        """The share of the points that so many right cases earn: all or nothing, if the exercise says no other."""
        return passed / len(self.cases) if self.exercise.divisible or passed == len(self.cases) else 0.0

    def faults(self, answers):
        """What is wrong with each answer, None where nothing is."""
        return [self.fault(k, answer) for k, answer in enumerate(answers)]

    def fault(self, k, answer):
        """What is wrong with the answer to a case, in a few words for us; None if nothing."""
        expected = self.expected[k]
        if answer.kind != expected.kind:
            return f"{answer.kind} for {expected.kind}"
        if answer.kind == "raised":
            return None if accepted(expected.error) & set(answer.kinds) else "another error"
        try:
            with quiet():
                return self.exercise.fault(answer.value, expected.value, self.cases[k])
        except Exception as error:                       # a value of a form that the comparison was not made for
            return f"not to be compared: {type(error).__name__}"

    def message(self, answers, faults):
        """What a student reads whose answers are not right."""
        first = next((k for k, fault in enumerate(faults) if fault is not None), 0)
        answer, expected = answers[first], self.expected[first]
        if answer.kind == "blank":
            return BLANK
        if first == 0 and answer.kind == expected.kind == "value" and answer.value is None:
            return f"{BLANK} The answer is None: is a `return` missing?"
        message, sure = self._name(answers, faults, first)
        if message:
            return message if sure else f"Perhaps this: {message}"
        return general(answer, expected)

    def _name(self, answers, faults, first):
        """(message, sure) of the named mistake that gives the same answers: the rule is that of checking.py."""
        best, message = 0, ""
        for m, mistake in enumerate(self.exercise.mistakes):
            if not self._alike(answers[first], self.mistake(m, first)):
                continue
            agree = [self._alike(answer, self.mistake(m, k)) for k, answer in enumerate(answers)]
            if all(agree):
                return mistake.message, True
            score = sum(same for same, fault in zip(agree, faults) if fault is not None)
            if score > best:
                best, message = score, mistake.message
        return message, False

    def _alike(self, answer, theirs):
        if answer.kind != theirs.kind:
            return False
        if answer.kind == "raised":
            return answer.kinds[0] == names_of(theirs.error)[0]
        try:
            with quiet():
                return difference(answer.value, theirs.value, self.exercise.rtol, self.exercise.atol) is None
        except Exception:
            return False


@contextlib.contextmanager
def quiet():
    """One at a time, and with the warnings of a student's process: none that could become an error."""
    with ours, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=128)
def hidden_of(exercise_id: str, seed: int) -> Hidden:
    """The hidden cases of an exercise in a run, made once for this process."""
    return Hidden(find(exercise_id), seed)


def parts(x, most=math.inf):
    """How many values lists and dicts hold, an array's numbers each; counted no further than `most`."""
    if isinstance(x, dict):
        x = list(x.values())
    if not isinstance(x, list):
        return x.size if isinstance(x, np.ndarray) and most == math.inf else 1
    count = len(x)
    for part in x:
        if count > most:
            break
        count += parts(part, most) if isinstance(part, (list, dict)) else 0
    return count


def names_of(error):
    """The names of the classes that an error belongs to, its own first."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]


def accepted(error):
    """The names of classes that may be raised instead of an error: its own, and Python's own that it also is."""
    own, *bases = names_of(error)
    return {own, *(name for name in bases if name.startswith("builtins."))} - COMMON


def general(answer, expected):
    """What there is to say of an answer that is none of the known mistakes."""
    if answer.kind == "large":
        return "The answer is far larger than it should be."
    if answer.kind == expected.kind == "raised":
        return "An error is right here, but of another kind."
    if answer.kind == "raised":
        return "It stopped with an error where a value is due."
    if expected.kind == "raised":
        return "A value came back where an error is due."
    return "Not yet right: some of the hidden cases have another answer."
