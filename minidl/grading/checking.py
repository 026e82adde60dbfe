"""Looking at an answer: call it on each case, compare, and name the mistake if it is a known one.

`examine` does it and says nothing; `check` also shows the verdict and remembers it.
"""
import hashlib
import os
import time
from dataclasses import dataclass, field

from . import record
from .allowed import offence
from .answers import keep
from .compare import difference, plain
from .exercise import PUBLIC_SEED, find
from .limit import TooSlow, time_limit
from .settings import usual_settings
from .traces import own_lines
from .verdict import Verdict, show

SECONDS_FOR_A_NAME = 5.0             # how long to go on after the first fault, to find out which mistake it is
BLANK = (type(None), type(...))


@dataclass(frozen=True)
class Outcome:
    """What came of one call.

    Attributes:
        kind: "value", "raised", "slow" or "blank".
        value: what was returned.
        error: what was raised.
        lines: the learner's own lines on the way to the error, innermost last: `(line number, function, source)`.
    """

    kind: str
    value: object = None
    error: BaseException | None = None
    lines: list = field(default_factory=list)


def check(id, answer):
    """Look at an answer, show what is right or wrong with it, and remember it in the learner's progress.

    Args:
        id: the exercise, such as "01.1a".
        answer: the learner's function (or class, where the exercise asks for one).

    With the environment variable MINIDL_CHECK_RAISES set, anything but "right" also raises AssertionError: other
    graders, which look for an exception, can then use the same cells.
    """
    verdict = examine(id, answer, class_seed())
    verdict.note = _remember(verdict, answer)
    show(verdict)
    if os.environ.get("MINIDL_CHECK_RAISES") and not verdict.right:
        raise AssertionError(verdict.text)


def class_seed():
    """The seed of the cases that `check` draws: the public one, or one for the class that MINIDL_CLASS names.

    The notebooks of `minidl release --class` set it. It is no secret: what counts is drawn from other seeds.
    """
    name = os.environ.get("MINIDL_CLASS", "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") if name else PUBLIC_SEED


def _remember(verdict, answer):
    """Add a line to the record, with the answer's text if a later lesson can put it to work."""
    if verdict.state == "not attempted":
        return ""
    kept = {"source": keep(verdict.exercise, answer)} if verdict.right and verdict.exercise.op else {}
    return record.remember("check", verdict.exercise.id, state=verdict.state, points=verdict.points, **kept)


def examine(id, answer, seed=PUBLIC_SEED) -> Verdict:
    """The verdict on an answer; nothing is shown or stored.

    Args:
        id, answer: as for `check`.
        seed: chooses the random ones among the cases.
    """
    exercise = find(id)
    if type(answer) in BLANK:
        return Verdict(exercise, "not attempted")
    if not callable(answer):
        return Verdict(exercise, "wrong", fault=f"expected a function, got {type(answer).__name__}. Give check the "
                                                "function itself, without calling it.")
    cases = exercise.make_cases(seed)
    expected = [attempt(exercise, exercise.right, case) for case in cases]
    outcomes, faults = _try_all(exercise, answer, cases, expected)
    first = next((k for k, fault in enumerate(faults) if fault), None)
    if first is None:
        return _within_the_rules(exercise, answer, len(cases))
    verdict = _verdict(exercise, cases[first], outcomes[first], expected[first], faults[first])
    if first == 0 and outcomes[0].kind == expected[0].kind == "value" and outcomes[0].value is None:
        verdict.state, verdict.fault = "not attempted", "Your function returned None. Is a `return` missing?"
    if verdict.state in ("wrong", "crashed"):
        verdict.mistake, verdict.sure = name_of_mistake(exercise, cases, outcomes, faults, first)
    verdict.passed, verdict.cases = faults.count(None), len(cases)
    return verdict


def attempt(exercise, answer, case):
    """Call an answer on one case, within the time limit, under the usual settings; all that happens is an Outcome."""
    try:
        with usual_settings(), time_limit(exercise.seconds):
            value = plain(exercise.answer(answer, case))
        return Outcome("value", value)
    except KeyboardInterrupt:
        raise
    except NotImplementedError as error:
        return Outcome("blank", error=error)
    except TooSlow as error:
        return Outcome("slow", error=error, lines=own_lines(error))
    except BaseException as error:           # SystemExit as well: an answer shall not end the learner's kernel
        return Outcome("raised", error=error, lines=own_lines(error))


def fault_of(exercise, outcome, expected, case):
    """What is wrong with an outcome, in a sentence; None if nothing."""
    if outcome.kind != expected.kind:
        return {"value": "a value came back, where an error should be raised",
                "raised": "it raised an error", "slow": "it took too long", "blank": "not written yet"}[outcome.kind]
    if outcome.kind == "raised":
        same = isinstance(outcome.error, _kinds(expected.error))
        return None if same else f"it raised {type(outcome.error).__name__}, another kind of error than expected"
    try:
        return exercise.fault(outcome.value, expected.value, case)
    except Exception as error:                   # a value of a form that the comparison was not made for
        return f"it cannot be compared with what is expected ({type(error).__name__})"


def name_of_mistake(exercise, cases, outcomes, faults, first):
    """(message, sure) of the named mistake whose answers are the learner's; ("", False) if there is none.

    A mistake that agrees on every case is sure. One that agrees where the learner first went wrong, and nowhere is
    better, is likely.
    """
    best, message = 0, ""
    for mistake in exercise.mistakes:
        if not _alike(exercise, outcomes[first], attempt(exercise, mistake.wrong, cases[first])):
            continue                                  # neither sure nor likely: no need to try it on the large cases
        theirs = [attempt(exercise, mistake.wrong, case) for case in cases[:len(outcomes)]]
        agree = [_alike(exercise, one, other) for one, other in zip(outcomes, theirs)]
        if all(agree):
            return mistake.message, True
        score = sum(same for same, fault in zip(agree, faults) if fault)
        if agree[first] and score > best:
            best, message = score, mistake.message
    return message, False


def _try_all(exercise, answer, cases, expected):
    """Outcomes and faults, case by case. After a fault we go on only to learn which mistake it is."""
    outcomes, faults, end = [], [], None
    for case, right in zip(cases, expected):
        outcomes.append(attempt(exercise, answer, case))
        faults.append(fault_of(exercise, outcomes[-1], right, case))
        if faults[-1] and end is None:
            end = time.monotonic() + SECONDS_FOR_A_NAME
        if outcomes[-1].kind in ("slow", "blank") or (end and time.monotonic() > end):
            break
    return outcomes, faults


def _verdict(exercise, case, outcome, expected, fault):
    state = {"value": "wrong", "raised": "crashed", "slow": "slow", "blank": "not attempted"}[outcome.kind]
    if outcome.kind == "raised" and expected.kind == "raised":
        state = "wrong"
    return Verdict(exercise, state, case=case, outcome=outcome, expected=expected, fault=fault)


def _within_the_rules(exercise, answer, count):
    """Right, unless a puzzle's answer uses more than it may."""
    broken = exercise.allowed is not None and offence(answer, exercise.allowed)
    if not broken:
        return Verdict(exercise, "right", passed=count, cases=count)
    fault = (f"The values are right, but the answer {broken}. Allowed are operators, indexing and: "
             f"{', '.join(sorted(exercise.allowed))}.")
    return Verdict(exercise, "wrong", passed=count, cases=count, fault=fault)


def _alike(exercise, one, other):
    """Whether two outcomes are the same."""
    if one.kind != other.kind:
        return False
    if one.kind == "raised":
        return type(one.error) is type(other.error)
    return difference(one.value, other.value, exercise.rtol, exercise.atol) is None


def _kinds(error):
    """What may be raised instead of an error: its kind, or for one of minidl's any ordinary kind that it also is."""
    ordinary = [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return tuple(kind for kind in [type(error), *ordinary] if kind not in (Exception, BaseException, object))
