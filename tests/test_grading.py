"""The machinery of the exercises: verdicts, time limits, the record, help, and answers at work.

Each part on an exercise made here; the real ones are looked at in test_exercises.py.
"""
import collections
import contextlib
import importlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import types

import nbformat
import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError
from minidl.grading import (
    Exercise,
    answers,
    check,
    compare,
    drawing,
    examine,
    export_progress,
    find,
    help,
    hint,
    import_progress,
    limit,
    progress,
    record,
    sheets,
    solution,
    use,
    whose,
)
from minidl.grading.allowed import offence
from minidl.grading.cases import case, counted
from minidl.grading.checking import attempt, own_lines
from minidl.grading.compare import difference, plain
from minidl.grading.dashboard import Dashboard
from minidl.grading.exercise import order, registry
from minidl.grading.verdict import written
from minidl.judge import frames
from minidl.viz.source import show
from tools import make_exercises

TABLE = counted(2, 3)


@pytest.fixture(autouse=True)
def _own_record(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_PROGRESS", str(tmp_path / "progress.jsonl"))
    monkeypatch.delenv("MINIDL_CHECK_RAISES", raising=False)
    monkeypatch.setattr(help, "_taken", {})
    answers.passed.clear()
    yield
    answers.passed.clear()
    for op in [name for name, kernel in md.backend.cpu.kernels.items() if getattr(kernel, "owner", "") == "your"]:
        del md.backend.cpu.kernels[op]


@pytest.fixture
def double():
    """An exercise: twice a table, an error for one that is empty."""
    exercise = Exercise("99.1", "Twice", points=2, stars=1, minutes=2, seconds=0.3, hints=("first", "second", "third"))

    @exercise.reference
    def right(x):
        if not x.size:
            raise ValueError("empty")
        return 2 * x

    @exercise.cases
    def _(rng):
        yield case(TABLE)
        yield case(np.zeros(0))
        yield case(rng.normal(size=3))

    @exercise.mistake("This is the square.")
    def _(x):
        return right(x) * x / 2

    @exercise.mistake("An empty table is an error.")
    def _(x):
        return 2 * x

    @exercise.mistake("The sign is wrong.")
    def _(x):
        return -right(x)

    yield exercise
    del registry["99.1"]


def twice(x):
    if not x.size:
        raise ValueError("nothing there")
    return 2 * x


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_right(double):
    verdict = examine("99.1", twice)
    assert (verdict.state, verdict.points, verdict.passed, verdict.cases) == ("right", 2, 3, 3)
    assert verdict.text == "✓ 99.1 Twice — right: 2 points"


def test_wrong_shows_the_case_and_both_values(double):
    verdict = examine("99.1", lambda x: twice(x) + 1)
    assert (verdict.state, verdict.points, verdict.mistake, verdict.passed) == ("wrong", 0, "", 1)
    assert verdict.text.splitlines() == [
        "✗ 99.1 Twice — not yet right",
        "    x         [[1. 2. 3.]",
        "               [4. 5. 6.]]",
        "    got       [[ 3.  5.  7.]",
        "               [ 9. 11. 13.]]",
        "    expected  [[ 2.  4.  6.]",
        "               [ 8. 10. 12.]]",
        "    because   6 of 6 numbers differ, first at [0, 0]: 3, expected 2",
        '    help      hint("99.1")']


def test_a_known_mistake_is_named(double):
    verdict = examine("99.1", lambda x: twice(x) * x / 2)
    assert (verdict.mistake, verdict.sure) == ("This is the square.", True)
    assert "so        This is the square." in verdict.text


def test_a_mistake_that_explains_only_a_part_is_said_with_care(double):
    verdict = examine("99.1", lambda x: -2 * x)                       # the sign, and no error for the empty table
    assert (verdict.mistake, verdict.sure) == ("The sign is wrong.", False)
    assert "Perhaps this: The sign is wrong." in verdict.text


def test_an_error_that_should_come(double):
    verdict = examine("99.1", lambda x: 2 * x)
    assert (verdict.state, verdict.mistake) == ("wrong", "An empty table is an error.")
    assert "expected  an error: ValueError" in verdict.text

    def other_error(x):
        if not x.size:
            raise KeyError("no")
        return 2 * x
    assert examine("99.1", other_error).fault == "it raised KeyError, another kind of error than expected"

    def finer_error(x):
        if not x.size:
            raise md.errors.ShapeError("no")                          # a ValueError, too
        return 2 * x
    assert examine("99.1", finer_error).right


def test_a_crash_shows_the_learners_line_and_no_other(double):
    def helper(x):
        return np.linalg.inv(x)                                       # the learner's last line

    verdict = examine("99.1", lambda x: helper(x))
    assert verdict.state == "crashed"
    assert [source for _, _, source in verdict.outcome.lines][-1].startswith("return np.linalg.inv(x)")
    assert "LinAlgError" in verdict.text and "return np.linalg.inv(x)" in verdict.text
    assert "site-packages" not in verdict.text and "grading" not in verdict.text


def test_a_crash_without_a_line_of_the_learners(double):
    verdict = examine("99.1", lambda: 0)
    assert verdict.state == "crashed" and "takes 0 positional arguments but 1 was given" in verdict.text


@pytest.mark.parametrize("error", [SystemExit(0), RecursionError(), GeneratorExit(), MemoryError(),
                                   ExceptionGroup("a", [ValueError()])], ids=lambda e: type(e).__name__)
def test_whatever_is_raised_is_only_a_crash(double, error):
    def fails(x):
        raise error
    assert examine("99.1", fails).state == "crashed"


def test_endless_recursion_is_a_crash(double):
    def again(x):
        return again(x)
    assert examine("99.1", again).state == "crashed"


def test_not_attempted(double):
    def blank(x):
        raise NotImplementedError("99.1: your turn")

    for answer in (blank, None, ..., lambda x: None):
        verdict = examine("99.1", answer)
        assert (verdict.state, verdict.points) == ("not attempted", 0)
    assert "Is a `return` missing?" in verdict.text


def test_a_value_in_place_of_the_function(double):
    assert "Give check the function itself" in examine("99.1", 3).text


def test_an_answer_may_do_with_its_inputs_what_it_wants(double):
    def in_place(x):
        if not x.size:
            raise ValueError
        x *= 2
        return x
    assert examine("99.1", in_place).right
    assert TABLE[0, 0] == 1


def test_words_that_an_answer_may_use(double):
    double.allowed = {"size", "ValueError"}
    assert examine("99.1", twice).right
    double.allowed = {"ValueError"}
    verdict = examine("99.1", twice)
    assert verdict.state == "wrong" and "the answer uses `size`" in verdict.text


def with_hints(x: list[float]) -> dict:
    def inner(y: float, *more: "int") -> np.ndarray:
        z: set[int] = y
        return z
    return inner(x)


def with_a_hint_that_does_something(x):
    def inner(y: print(1)):
        return y
    return inner(x)


def with_hints_and_more(x):
    def inner(y: float):
        return y.sum()
    return inner(x)


@pytest.mark.parametrize(("function", "said"), [
    (with_hints, None),
    (with_a_hint_that_does_something, "uses `print`"),
    (with_hints_and_more, "uses `sum`"),
    (lambda x: x.sum(), "uses `sum`"),
    (lambda x: [y + 1 for y in x], "uses a loop"),
    (lambda x: (lambda: x.sum())(), "uses `sum`"),
    (lambda x: x @ x, None),
    (max, None),
])
def test_offences(function, said):
    assert offence(function, {"shape"}) == said


def test_other_graders_can_ask_for_an_exception(double, monkeypatch, capsys):
    monkeypatch.setenv("MINIDL_CHECK_RAISES", "1")
    check("99.1", twice)
    with pytest.raises(AssertionError, match="not yet right"):
        check("99.1", lambda x: -twice(x))


def test_an_exercise_that_does_not_exist():
    with pytest.raises(ArgumentError, match="There is no exercise '01.77'") as error:
        find("01.77")
    assert "01.1a, 01.1b, 01.2a" in str(error.value)
    for odd in ("00.1", "x", None, "../etc", "01.1aa", ["01.1a"], 1.1):
        with pytest.raises(ArgumentError):
            find(odd)


def test_two_exercises_cannot_share_an_id(double):
    with pytest.raises(ArgumentError):
        Exercise("99.1", "again", points=1, stars=1, minutes=1, hints=())


def test_order():
    assert sorted(["01.10", "01.2b", "01.2a", "00.3"], key=order) == ["00.3", "01.2a", "01.2b", "01.10"]


# --- many right answers, and answers that must be looked at in another way --------------------------------------------


def test_accept_and_observe():
    exercise = Exercise("99.2", "Any order", points=1, stars=1, minutes=1, hints=("a", "b", "c"))
    try:
        @exercise.reference
        def right(ask, n):
            return [ask(k) for k in range(n)]

        @exercise.observe
        def _(answer, n):
            asked = []
            result = answer(lambda k: asked.append(k) or k, n)
            return result, len(asked)

        @exercise.accept
        def _(got, expected, n):
            return None if sorted(got[0]) == expected[0] and got[1] == n else "not each once"

        @exercise.cases
        def _(rng):
            yield case(4)

        assert exercise.names == ["n"]
        assert examine("99.2", lambda ask, n: [ask(k) for k in reversed(range(n))]).right
        assert examine("99.2", lambda ask, n: [ask(0) for k in range(n)]).fault == "not each once"
        assert not examine("99.2", lambda ask, n: list(range(n))).right
    finally:
        del registry["99.2"]


# --- equality ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("got", "expected"), [
    ([1, 2], np.array([1.0, 2.0])),
    ((1.0, 2), [1, 2]),
    (md.tensor([1.0, 2.0]), np.array([1.0, 2.0])),
    (np.float32(1 / 3), 1 / 3),
    (np.array(3), 3.0),
    (True, 1),
    (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])),
    ((k for k in (1, 2)), (1, 2)),
    ([md.tensor([1.0]), 2], (np.array([1.0]), 2)),
    ([], np.zeros((0, 3))),
    ({"a": [1]}, {"a": np.array([1.0])}),
    (((1, 2), (3,)), [[1, 2], [3]]),
    ("yes", "yes"),
    (None, None),
    (np.array([None, 1], dtype=object), [None, 1]),
])
def test_honest_forms_are_the_same(got, expected):
    assert difference(got, expected) is None


def test_text_among_numbers_is_no_array():
    """NumPy would give each of the short texts the room of the long one: 400 GB."""
    assert difference(["x" * 10**6] + ["y"] * 10**5, np.zeros(3)).startswith("expected numbers, got [")


@pytest.mark.parametrize(("got", "expected", "said"), [
    (np.ones((2, 1)), np.ones(2), "the shape is (2, 1), expected (2,)"),
    ([1.0], 1.0, "the shape is (1,), expected ()"),
    (np.nan, 1.0, "the number differs"),
    (np.inf, 1e308, "the number differs"),
    ([1, 2, 4], [1, 2, 3], "1 of 3 numbers differ, first at [2]: 4, expected 3"),
    (1 + 2j, 1.0, "the numbers are complex, expected real ones"),
    ("1.0", 1.0, "expected numbers, got '1.0'"),
    (None, 1.0, "expected numbers, got None"),
    (np.array(["a"]), np.array([1.0]), "expected numbers, got array(['a'], dtype='<U1')"),
    ([[1, 2], [3]], [[1, 2], [3, 4]], "expected numbers, got [[1, 2], [3]]"),
    ([[1], [2]], [[1], [2], [3]], "the shape is (2, 1), expected (3, 1)"),
    ([1, [2]], [1, [2, 3]], "in value 1: the shape is (1,), expected (2,)"),
    (3, [[1], [1, 2]], "expected 2 values, got 3"),
    ({"a": 1}, {"b": 1}, "the keys are ['a'], expected ['b']"),
    ({"a": 1}, {"a": 2}, "in value 'a': the number differs"),
    ("no", "yes", "got 'no'"),
    (1, None, "got 1"),
    (np.float32(1.01), 1.0, "the number differs"),
    (1 + 1e-5, 1.0, "the number differs"),
    (np.zeros((0, 2)), np.zeros((0, 3)), "the shape is (0, 2), expected (0, 3)"),
])
def test_what_is_not_the_same(got, expected, said):
    assert difference(got, expected) == said


def test_an_answer_that_says_it_equals_everything():
    class Yes:
        def __eq__(self, other):
            return True

    class Liar(np.ndarray):
        def __eq__(self, other):
            return np.ones(self.shape, dtype=bool)

    assert difference(Yes(), 1.0) is not None
    assert difference(Yes(), "yes") is not None
    assert difference(np.zeros(2).view(Liar), np.ones(2)) is not None


class Loud(list):
    def __iter__(self):
        raise SystemExit("out")


class Mute:
    """Says nothing of itself, in every way there is, or stops whoever asks."""

    def __eq__(self, other):
        raise SystemExit("eq")

    def _out(self, *args, **settings):
        raise RuntimeError("no")

    __array__ = __repr__ = __str__ = __len__ = __iter__ = __getattr__ = __hash__ = _out


class Slow:
    def __repr__(self):
        while True:
            pass


class Number(float):
    def __eq__(self, other):
        return True


class Grid(np.ndarray):
    def __array_ufunc__(self, *args, **settings):
        return True

    def __array_function__(self, *args, **settings):
        return True


def deep(levels):
    x = 1.0
    for _ in range(levels):
        x = [x]
    return x


def boxed():
    box = np.empty(3, dtype=object)
    box[0] = Mute()
    return box


@pytest.mark.parametrize("make", [
    Mute, lambda: [Mute(), 1, 2], lambda: {1: Mute()}, boxed, lambda: Loud([1, 2, 3]), lambda: 10**5000,
    lambda: [10**5000] * 3, lambda: deep(400), lambda: np.array("a"), lambda: np.zeros((), dtype=[("a", "f8")]),
    lambda: np.array("2026-01-01", dtype="M8[D]"), lambda: "\ud800", lambda: Number(1), lambda: md.tensor(1.0),
    lambda: np.broadcast_to(0.0, (10**6, 10**6)), lambda: np.zeros((2, 3)).view(Grid), lambda: 1 / 0,
])
def test_what_an_answer_returns_is_only_looked_at(double, make):
    verdict = examine("99.1", lambda x: make())
    assert not verdict.right and verdict.text.encode() and verdict.html.encode()


def test_a_value_that_does_not_end_when_it_is_asked_for_its_text_is_slow(double):
    assert examine("99.1", lambda x: Slow()).state == "slow"


def test_an_error_that_has_no_text_is_a_crash(double):
    def answer(x):
        raise Silent

    assert "Silent" in examine("99.1", answer).text


def test_an_error_in_letters_that_nobody_can_send_is_a_crash(double):
    def answer(x):
        raise ValueError("\ud800")

    assert r"\ud800" in examine("99.1", answer).html.encode().decode()


@pytest.mark.parametrize(("got", "same"), [
    (np.float32(0.5), 0.5), (np.array([1, 2]).view(Grid), np.array([1, 2])), (np.str_("a"), "a"), (Number(2), 2.0),
    (collections.deque([1, 2]), np.array([1, 2])), (memoryview(b"ab"), np.array([97, 98])), ({np.int64(1): 2}, {1: 2}),
])
def test_only_classes_of_pythons_and_numpys_are_left(got, same):
    found = plain(got)
    assert type(found) in (float, str, dict, np.ndarray, np.float32) and difference(found, same) is None


def test_a_single_number_is_no_list_of_lists():
    assert difference(md.tensor(1.0), [[1], [1, 2]]) == "expected 2 values, got array(1., dtype=float32)"


# --- time -------------------------------------------------------------------------------------------------------------


def endless(x):
    while True:
        pass


def stubborn(x):
    while True:
        try:
            for _ in range(10**9):
                pass
        except Exception:
            continue


@pytest.mark.parametrize("answer", [endless, stubborn])
@pytest.mark.parametrize("thread", [False, True])
def test_an_endless_loop_is_stopped_at_the_learners_line(double, answer, thread):
    found = []
    work = lambda: found.append(examine("99.1", answer))              # noqa: E731
    if thread:
        worker = threading.Thread(target=work)
        worker.start(), worker.join()
    else:
        work()
    (verdict,) = found
    assert (verdict.state, verdict.points) == ("slow", 0)
    assert verdict.outcome.lines[-1][1] == answer.__name__
    assert "stopped after 0.3 seconds" in verdict.text and f"in {answer.__name__})" in verdict.text


def test_code_that_catches_everything_is_heard_again(double):
    tries = []

    def deaf(x):
        while len(tries) < 3:
            try:
                while True:
                    pass
            except BaseException:
                tries.append(1)
        while True:
            pass

    assert examine("99.1", deaf).state == "slow"
    assert len(tries) == 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only a signal ends a sleep")
def test_a_sleep_is_stopped(double):
    assert examine("99.1", lambda x: time.sleep(60)).state == "slow"


needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on Windows")


@needs_timers
def test_a_timer_that_was_running_goes_on(double):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 60, 30)
        examine("99.1", twice)
        left, every = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left < 60 and every == 30
        signal.setitimer(signal.ITIMER_REAL, 0.01)               # it is due while the answer has its own limit
        attempt(double, lambda x: time.sleep(0.05), case(TABLE))
        end = time.monotonic() + 5
        while not rung and time.monotonic() < end:
            time.sleep(0.01)
        assert rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@needs_timers
def test_a_limit_within_a_limit_leaves_the_outer_one(double):
    def answer(x):
        attempt(double, twice, case(TABLE))
        endless(x)

    assert examine("99.1", answer).state == "slow"


@needs_timers
def test_a_bell_between_the_block_and_its_end_waits():
    with limit.time_limit(60):
        ring = signal.getsignal(signal.SIGALRM)
        frame = lambda file: types.SimpleNamespace(f_code=types.SimpleNamespace(co_filename=file))     # noqa: E731
        ring(signal.SIGALRM, frame(contextlib.__file__))
        with pytest.raises(limit.TooSlow):
            ring(signal.SIGALRM, frame("<cell 1>"))


@pytest.mark.parametrize("make", [limit._by_signal, limit._by_thread] if hasattr(signal, "setitimer") else [
    limit._by_thread])
def test_what_is_in_time_is_left_alone(make):
    with make(0.05):
        pass
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass


@pytest.mark.parametrize("work", ["pass", "time.sleep(0.3)", "spin()"])
def test_a_limit_in_a_thread_leaves_nothing_behind(work):
    """In a process of its own: what was left behind once made Python hang under a debugger's hook."""
    code = f"""
import sys, threading, time
from minidl.grading.limit import TooSlow, time_limit

def spin():
    while True:
        pass

def limited():
    for _ in range(3):
        try:
            with time_limit(0.1):
                {work}
            heard = False
        except TooSlow:
            heard = True
        assert heard == ({work!r} != "pass")

thread = threading.Thread(target=limited)
thread.start()
thread.join()
sys.settrace(lambda *_: None)
assert (lambda x: x + 1)(1) == 2
sys.settrace(None)
print("whole")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "whole\n", run.stderr


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_says_what_differs(double):
    verdict = examine("99.1", lambda x: twice(x) + np.eye(2, 3) if x.ndim == 2 else twice(x))
    assert "<title>Your answer beside the expected one: 2 of 6 cells differ.</title>" in verdict.drawing
    assert verdict.drawing in verdict.html
    assert verdict._repr_mimebundle_()["text/plain"] == verdict.text


@pytest.mark.parametrize(("got", "expected", "said"), [
    (np.ones((2, 2)), np.ones((2, 3)), "the shapes differ: (2, 2) and (2, 3)"),
    (np.zeros((2, 3, 3)), np.eye(3)[None].repeat(2, 0) * np.arange(2)[:, None, None], "Your answer (plane 1) beside"),
    ([1.0, np.nan], [1.0, 2.0], "1 of 2 cells differ"),
    ({"a": [1, 2], "b": [1, 3]}, {"a": [1, 2], "b": [1, 2]}, "Your answer (b) beside the expected one: 1 of 2"),
])
def test_pictures_of_odd_answers(got, expected, said):
    assert said in drawing.beside(got, expected)


@pytest.mark.parametrize("got", ["no", 3.0, [[1, 2], [3]], np.zeros((70, 70)), np.zeros((0, 3)), None, [1 + 1j, 2]])
def test_no_picture_where_there_is_nothing_to_see(got):
    assert drawing.beside(got, got) == ""


def test_what_a_learner_writes_is_escaped(double):
    card = examine("99.1", lambda x: "<script>alert(1)</script>").html
    assert "<script>" not in card and "&lt;script&gt;" in card


@pytest.mark.parametrize(("value", "said"), [
    ((2, 3), "(2, 3)"), ([np.int64(1), 2], "(1, 2)"), (np.zeros(0), "an empty array of shape (0,)"),
    (np.zeros((9, 9)), "shape (9, 9), float64"), (np.array(2.5), "2.5"), (md.tensor([1.0]), "[1.]"), ("a", "'a'"),
    ((np.zeros(2), 3), "[0. 0.]\n3"), ({"a": 1, "b": (2,)}, "a: 1\nb: (2,)"),
    (np.float32(0.5), "0.5"), (None, "None"),
])
def test_values_are_written_for_people(value, said):
    assert written(value) == said


# --- what is put back -------------------------------------------------------------------------------------------------


def test_settings_of_the_notebook_do_not_count(double):
    @double.observe
    def _(answer, x):
        y = md.tensor(np.append(x, 1.0), requires_grad=True)
        (y * y).sum().backward()
        return answer(x) + y.grad.numpy()[-1] + np.exp(np.float64(-1e4))

    @double.reference
    def right(x):
        return 2 * x

    with np.errstate(all="raise"), md.no_grad():
        verdict = examine("99.1", lambda x: 2 * x)
        assert not md.is_grad_enabled() and np.geterr()["under"] == "raise"
    assert verdict.right
    with np.errstate(all="raise"), md.no_grad():             # nothing is expected to be an error, so none is right
        assert examine("99.1", lambda x: 1 / 0).state == "crashed"


def test_what_an_answer_leaves_changed_is_put_back(double, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sys.stdout, sys.stderr, sys.getrecursionlimit(), os.getcwd(), np.geterr()

    def answer(x):
        np.seterr(all="raise")
        md.set_grad_enabled(False)
        sys.setrecursionlimit(700)
        os.chdir("/")
        sys.stdout = sys.stderr = None
        return twice(x)

    check("99.1", answer)
    assert before == (sys.stdout, sys.stderr, sys.getrecursionlimit(), os.getcwd(), np.geterr())
    assert md.is_grad_enabled() and "right" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no folder that is in use")
def test_a_folder_that_is_gone_stops_nobody(double, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert examine("99.1", twice).right
    assert examine("99.1", lambda x: os.chdir("/") or twice(x)).right


@pytest.mark.parametrize(("letters", "said"), [("cp1252", "? 99.1 Twice"), ("utf-8", "\u2713 99.1 Twice")])
def test_a_place_that_lacks_a_letter_gets_a_question_mark(double, monkeypatch, letters, said):
    found = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(found, encoding=letters, write_through=True))
    check("99.1", twice)
    assert said in found.getvalue().decode(letters)
    progress()
    assert b"Your progress" in found.getvalue()


# --- the record -------------------------------------------------------------------------------------------------------


def test_what_was_right_once_stays_right(double, capsys):
    check("99.1", lambda x: None)
    assert record.read() == {}
    check("99.1", lambda x: -twice(x))
    assert (record.read()["99.1"].tried, record.read()["99.1"].right) == (1, False)
    check("99.1", twice)
    check("99.1", lambda x: -twice(x))
    assert (record.read()["99.1"].tried, record.read()["99.1"].right) == (3, True)


def test_the_record_is_only_ever_added_to(double, capsys):
    check("99.1", twice)
    before = record.path().read_bytes()
    hint("99.1")
    assert record.path().read_bytes().startswith(before)


def test_damaged_and_unknown_lines_are_left_alone(double, capsys):
    strange = (b'{"event": "of a later time", "id": "99.1", "x": 1}\nno json\n[1]\n\xff\xfe\n' + b"[" * 10**5
               + b'\n{"event": "check", "id"')
    record.path().write_bytes(strange)
    check("99.1", twice)
    assert record.path().read_bytes().startswith(strange + b"\n")
    assert record.read()["99.1"].right


def test_two_notebooks_at_once_lose_nothing(tmp_path):
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from minidl.grading import record
        here, start = Path(sys.argv[1]), Path(sys.argv[2])
        here.touch()
        while not start.exists(): time.sleep(0.001)
        for k in range(150): record.remember("hint", "99." + here.name, n=k, text="x" * 2000)
        """)
    start = tmp_path / "start"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / k), str(start)]) for k in "12"]
    while not all((tmp_path / k).exists() for k in "12") and not any(process.poll() for process in both):
        time.sleep(0.01)
    start.touch()
    assert [process.wait() for process in both] == [0, 0]
    lines = [json.loads(line) for line in record.path().read_text(encoding="utf-8").splitlines() if line]
    for k in (1, 2):
        assert [line["n"] for line in lines if line["id"] == f"99.{k}"] == list(range(150))


def test_export_and_import_merge(double, tmp_path, monkeypatch, capsys):
    check("99.1", twice)
    record.remember("unknown", "99.1", kept=True)
    copy = export_progress(tmp_path / "copy.jsonl")
    with pytest.raises(ArgumentError, match="exists already"):
        export_progress(copy)
    assert import_progress(copy) == 0                                 # all of it is here
    monkeypatch.setenv("MINIDL_PROGRESS", str(tmp_path / "new" / "place.jsonl"))
    hint("99.1")
    assert import_progress(copy) == 2
    done = record.read()["99.1"]
    assert (done.right, done.hints) == (True, 1)
    assert '"kept": true' in record.path().read_text(encoding="utf-8")
    (tmp_path / "other.txt").write_text("hello\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match="not a record"):
        import_progress(tmp_path / "other.txt")


def test_a_record_that_cannot_be_written_stops_nobody(double, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MINIDL_PROGRESS", str(tmp_path / "file" / "progress.jsonl"))
    check("99.1", twice)
    assert "right: 2 points\n(Not remembered: progress.jsonl cannot be written" in capsys.readouterr().out
    progress()


def test_a_disk_that_takes_a_part_only_is_full(double, tmp_path, monkeypatch):
    room, write = [30], os.write

    def nearly_full(descriptor, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        count, room[0] = min(len(data), room[0]), room[0] - min(len(data), room[0])
        return write(descriptor, data[:count])

    monkeypatch.setattr(os, "write", nearly_full)
    assert "No space left" in record.remember("check", "99.1", state="right")
    room[0] = 1000
    assert record.remember("check", "99.1", state="right") == "" and record.read()["99.1"].tried == 1


def test_a_user_without_a_home_only_has_no_record(double, monkeypatch, capsys):
    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MINIDL_PROGRESS")
    monkeypatch.setattr(record.Path, "home", homeless)
    check("99.1", twice), hint("99.1")
    assert "no home folder" in capsys.readouterr().out and record.read() == {}


def test_a_record_may_lie_under_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path)), monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MINIDL_PROGRESS", "~/mine.jsonl")
    assert record.path() == tmp_path / "mine.jsonl"


def test_no_record(double, monkeypatch, capsys):
    monkeypatch.setenv("MINIDL_PROGRESS", "off")
    check("99.1", twice)
    assert record.path() is None and record.read() == {}
    for k in ("first", "second", "third", "third"):
        hint("99.1")
        assert k in capsys.readouterr().out


def test_the_record_lies_at_home(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIDL_PROGRESS")
    monkeypatch.setattr(record.Path, "home", lambda: tmp_path)
    assert record.path() == tmp_path / ".minidl" / "progress.jsonl"


# --- help -------------------------------------------------------------------------------------------------------------


def test_each_hint_says_more_and_then_the_solution(double, monkeypatch, capsys):
    monkeypatch.setattr(help, "solution_text", lambda id: "def twice(x): ...")
    solution("99.1")
    assert "There are 3 hints left" in capsys.readouterr().out
    for k, word in enumerate(("first", "second", "third"), start=1):
        hint("99.1")
        assert capsys.readouterr().out.startswith(f"Hint {k} of 3 for 99.1 Twice\n    {word}")
    solution("99.1")
    assert "def twice(x): ..." in capsys.readouterr().out
    assert record.read()["99.1"].solution


def test_the_solution_at_once(double, monkeypatch, capsys):
    solution("01.3", now=True)
    said = capsys.readouterr().out
    assert "def unbroadcast(g, shape):" in said and "SOLUTION" not in said
    monkeypatch.setattr(sheets, "ROOT", sheets.Path("nowhere"))
    monkeypatch.chdir("/")
    solution("01.3", now=True)
    assert "The solutions are not here." in capsys.readouterr().out


def test_after_a_right_answer_the_solution_is_open(double, monkeypatch, capsys):
    monkeypatch.setattr(help, "solution_text", lambda id: "def twice(x): ...")
    check("99.1", twice)
    solution("99.1")
    assert "def twice" in capsys.readouterr().out
    assert not record.read()["99.1"].solution                         # read afterwards: no help was needed


# --- the dashboard ----------------------------------------------------------------------------------------------------


def test_the_dashboard_counts_and_says_what_is_next(capsys):
    empty = Dashboard()
    assert empty.points[0] == 0 and empty.next.id == "01.1a"
    record.remember("check", "01.1a", state="right")
    record.remember("solution", "01.1b")
    record.remember("check", "01.1b", state="right")
    record.remember("check", "01.2a", state="wrong")
    record.remember("check", "77.7", state="right")                   # of a chapter that is not here
    board = Dashboard()
    assert board.points == (4, empty.points[1]) and board.next.id == "01.2a"
    text = repr(board)
    assert "✓ 01.1a  ✓* 01.1b  ✗ 01.2a  · 01.2b" in text and "* after reading the solution" in text
    assert "Next: 01.2a A slice is arithmetic (★★, about 15 minutes), in exercises/01_tensors.ipynb" in text
    assert 'href="../exercises/01_tensors.ipynb"' in board.html
    progress()
    assert capsys.readouterr().out == text + "\n"


ENDLESS = {"range": lambda: range(10**12), "list": lambda: [range(10**6)] * 10**6, "dict": lambda: {1: range(10**12)},
           "map": lambda: map(abs, itertools.count()), "generator": lambda: (k for k in itertools.count())}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("expected", [np.arange(3.0), [1, "a"], {1: 2}, "text", 2.0], ids=repr)
def test_an_answer_without_an_end_is_wrong_before_it_fills_the_memory(kind, expected):
    tracemalloc.start()
    try:
        said = difference(ENDLESS[kind](), expected)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said.endswith(f"got a {kind} of more than 200,000 values") and peak < 50e6


def test_a_key_without_an_end_is_wrong_too():
    assert difference({range(10**12): 1}, {1: 1}).startswith("the keys are ['a range of more than 200,000 values']")


def test_as_many_values_may_be_in_lists_as_the_judge_takes():
    assert compare.MOST_VALUES == frames.MOST_NODES
    assert difference(range(199_999), np.arange(199_999)) is None and len(plain(range(199_999))) == 199_999
    assert difference(range(200_000), np.arange(200_000)) and not difference(np.arange(10**6), np.arange(10**6))


# --- answers at work --------------------------------------------------------------------------------------------------


def expand(x, shape):
    strides = (0,) * (len(shape) - x.ndim) + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides))
    calls.append(shape)
    return np.lib.stride_tricks.as_strided(x, shape, strides)


calls = []


def test_an_answer_computes_inside_minidl(capsys):
    check("01.2c", expand)
    x = md.tensor([[1.0], [2.0]], requires_grad=True)
    with use("01.2c") as mine:
        assert mine.active and whose("expand", "tanh") == "your expand, our tanh" and whose() == "your expand"
        calls.clear()
        y = x.expand(2, 3)
        assert calls == [(2, 3)] and y.tolist() == [[1, 1, 1], [2, 2, 2]]
        y.sum().backward()
        shown = show(md.ops.expand).text
        assert shown.startswith("# your expand, from test_grading.py: it computes now, in place of our forward\n"
                                "def expand(x, shape):")
        assert "# minidl/ops/shape.py" in shown
    assert not show(md.ops.expand).text.startswith("# your")
    assert x.grad.tolist() == [[3], [3]]
    assert whose("expand") == "our expand" and not mine.active


def test_an_answer_can_be_the_way_back_of_an_op(capsys):
    answers.passed["09.3"] = max_pool_back = find("09.3").right
    x = md.randn(2, 3, 6, 6, requires_grad=True)
    md.nn.functional.max_pool2d(x, 2).square().sum().backward()
    ours, x.grad = x.grad.clone(), None
    with use("09.3"):
        md.nn.functional.max_pool2d(x, 2).square().sum().backward()
        assert whose("max_pool2d_unpool") == "your max_pool2d_unpool" and max_pool_back.__name__ == "max_pool_back"
    assert x.grad.tolist() == ours.tolist() and x.grad.dtype == x.dtype and capsys.readouterr().err == ""
    with use("09.3"):
        md.nn.functional.max_pool2d(x, 3, padding=1).sum().backward()
    assert "square windows without border and holes" in capsys.readouterr().err


def test_what_has_not_passed_is_not_put_to_work(capsys):
    assert not use("01.2c").active
    assert "has not passed its check here yet; our expand goes on" in capsys.readouterr().out
    with pytest.raises(ArgumentError, match="does not build an op") as error:
        use("01.1a")
    assert "01.2c (expand)" in str(error.value)


class Silent(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("result", [
    ValueError("oh"), SystemExit("out"), Silent(), np.zeros(7), "text", np.full((2, 2), "a"), np.full((2, 2), None),
], ids=lambda value: type(value).__name__)
def test_a_failing_answer_never_blocks(result, capsys):
    def fails(x, shape):
        if isinstance(result, BaseException):
            raise result
        return result

    answers.passed["01.2c"] = fails
    use("01.2c")
    for _ in range(2):
        assert md.tensor([1.0, 2.0]).expand(2, 2).tolist() == [[1, 2], [1, 2]]
    assert capsys.readouterr().err.count("your expand stopped") == 1   # said once
    with pytest.raises(md.errors.ShapeError):
        md.tensor([1.0, 2.0]).expand(2, 3)                            # the inputs' fault is said by ours


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("answered", ["float64", "float32", "int64", "bool"])
def test_an_answer_leaves_the_dtype_as_the_op_does(dtype, answered, capsys):
    answers.passed["01.2c"] = lambda x, shape: np.broadcast_to(x, shape).astype(answered)
    answers.passed["01.2c"].__name__ = "widened"
    x = md.tensor([1, 0], dtype=dtype)
    with use("01.2c"):
        y = x.expand(2, 2)
    assert y.dtype == x.dtype and y.tolist() == [[1, 0], [1, 0]]
    kinds = "biuf"                                       # a lower kind fits into a higher one, and not back
    refused = kinds.index(np.dtype(answered).kind) > kinds.index(np.dtype(dtype).kind)
    said = capsys.readouterr().err
    assert (f"its result holds {answered}, where {dtype} belongs" in said) if refused else not said


def test_what_is_too_large_for_the_dtype_is_infinite_and_no_warning(capsys):
    answers.passed["01.2c"] = lambda x, shape: np.full(shape, 1e300)
    answers.passed["01.2c"].__name__ = "huge"
    with use("01.2c"):
        assert md.tensor([1.0]).expand(2).tolist() == [np.inf] * 2
    assert capsys.readouterr().err == ""


def test_an_answer_may_use_the_op_it_replaces(capsys):
    answers.passed["01.2c"] = lambda x, shape: md.as_tensor(x).expand(*shape).numpy()
    answers.passed["01.2c"].__name__ = "circular"
    with use("01.2c"):
        assert md.tensor([1.0]).expand(2, 1).tolist() == [[1], [1]]
    assert capsys.readouterr().err == ""


def test_using_twice_and_stopping_gives_back_what_was_there(monkeypatch):
    def numbas(xp, x, *, shape):
        return np.broadcast_to(x, shape)

    monkeypatch.setitem(md.backend.cpu.kernels, "expand", numbas)
    answers.passed["01.2c"] = expand
    use("01.2c")
    use("01.2c").stop()
    assert md.backend.cpu.kernels["expand"] is numbas


def test_an_answer_can_be_asked_for_in_a_later_kernel(tmp_path, monkeypatch, capsys):
    module = tmp_path / "my_answers.py"
    module.write_text(textwrap.dedent('''
        import numpy as np
        from math import prod
        ZERO = 0
        def stride(n, s):
            return ZERO if n == 1 else s
        def expand(x, shape):
            assert prod(shape) >= 0
            strides = (0,) * (len(shape) - x.ndim) + tuple(stride(n, s) for n, s in zip(x.shape, x.strides))
            return np.lib.stride_tricks.as_strided(x, shape, strides)
        '''), encoding="utf-8")
    code = (f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from my_answers import expand\n"
            "from minidl.grading import check; check('01.2c', expand)")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    module.unlink()
    later = ("from minidl.grading import use, whose; import minidl as md; use('01.2c')\n"
             "print(md.tensor([1.]).expand(2, 1).tolist(), whose('expand'))")
    said = subprocess.run([sys.executable, "-c", later], check=True, capture_output=True, text=True).stdout
    assert said == "expand now runs on expand, your answer to 01.2c.\n[[1.0], [1.0]] your expand\n"


@pytest.mark.parametrize("text", ["def expand(x, shape): return x", "this is no Python", "raise ValueError('no')"])
def test_a_kept_answer_that_no_longer_passes_is_not_used(text, capsys):
    record.remember("check", "01.2c", state="right", source=text)
    assert not use("01.2c").active
    assert md.tensor([1.0]).expand(2, 1).shape == (2, 1)


LESSON = """
import numpy as np
from typing import Optional

eps, most, nothing = 1e-5, float("inf"), float("nan")
total, pair, odd = np.zeros(3), (1, "a"), (np.float64(1),)

def helper(x):
    return x

alias = helper

def with_types(x: np.ndarray, k: Optional[int] = None) -> "np.ndarray":
    return x

def with_defaults(x, add=eps, how=helper):
    return how(x) + add

def with_infinity(x):
    return x if x < most else nothing

def with_an_alias(x):
    return alias(x)

def with_an_attribute_like_a_global(x):
    return np.asarray(x).total if pair[0] > 1 else x

def with_a_tuple_of_things(x):
    return odd[0] + x

def older(x):
    return x

first = older

def older(x):
    return first(x)
"""


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    (tmp_path / "lesson_of_a_learner.py").write_text(LESSON)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lesson_of_a_learner")
    del sys.modules["lesson_of_a_learner"]


@pytest.mark.parametrize("name", [name for name in re.findall(r"def (with_\w+)", LESSON) if "tuple" not in name])
def test_what_an_answer_needs_is_kept_with_it(lesson, name):
    answer = getattr(lesson, name)
    assert answers.revived("99.1", answers.source_of(answer))(2.0) == answer(2.0)


def test_hints_that_name_what_does_not_exist_are_kept_as_text(tmp_path, monkeypatch):
    (tmp_path / "lesson_with_hints.py").write_text(
        "from __future__ import annotations\nLater = object()\nk = 2\n"
        "def helper(x: Later) -> Never:\n    return x * k\n"
        "def answer(x: Later, n: Sooner = k):\n    return helper(x) + n\n")
    monkeypatch.syspath_prepend(tmp_path)
    answer = importlib.import_module("lesson_with_hints").answer
    del sys.modules["lesson_with_hints"]
    assert answers.revived("99.1", answers.source_of(answer))(2.0) == answer(2.0) == 6.0


@pytest.mark.parametrize("name", ["with_a_tuple_of_things", "older"])
def test_what_would_not_come_back_the_same_is_not_kept(lesson, name, double):
    assert answers.keep(double, getattr(lesson, name)) == ""


@pytest.mark.parametrize("text", ["x = 1", "raise SystemExit", "def"])
def test_a_text_that_holds_no_answer_is_none(text, capsys):
    assert answers.revived("99.1", text) is None and "could not be read back" in capsys.readouterr().out


def test_what_has_no_text_is_not_kept():
    outside = object()
    for odd in (lambda x: x, max, lambda: outside, type("C", (), {})):
        with pytest.raises((OSError, TypeError, ValueError)):
            answers.source_of(odd)


# --- making the exercise notebooks ------------------------------------------------------------------------------------


@pytest.fixture
def course(tmp_path):
    """A course with a notebook of solutions."""
    v4 = nbformat.v4
    nb = v4.new_notebook(cells=[
        v4.new_markdown_cell("# Title", id="title"),
        v4.new_code_cell("def broadcast_shapes(*shapes):\n    # BEGIN SOLUTION\n    return 1\n    # END SOLUTION\n",
                         id="answer-01-1a", outputs=[v4.new_output("stream", text="old")], execution_count=3),
        v4.new_code_cell('check("01.1a", broadcast_shapes)', id="check-01-1a")])
    (tmp_path / "solutions").mkdir()
    nbformat.write(nb, tmp_path / "solutions" / "01_x.ipynb")
    return tmp_path


def made(course):
    return nbformat.read(course / "exercises" / "01_x.ipynb", as_version=4)


def test_solutions_become_blanks(course, capsys):
    assert make_exercises.main(["--check"], course) == 1
    assert not (course / "exercises").exists()
    assert make_exercises.main([], course) == 0
    title, answer, checked = made(course).cells
    assert answer.source == 'def broadcast_shapes(*shapes):\n    raise NotImplementedError("01.1a: your turn")\n'
    assert answer.outputs == [] and answer.execution_count is None
    assert "generated from solutions/01_x.ipynb" in title.source
    assert made(course).metadata.minidl.generated_from == "solutions/01_x.ipynb"
    assert checked.metadata.nbgrader.points == 2 and answer.metadata.nbgrader.solution
    assert make_exercises.main(["--check"], course) == 0
    assert capsys.readouterr().out.endswith("exercises: up to date with solutions/\n")


def test_what_a_learner_has_written_is_never_written_over(course, capsys):
    make_exercises.main([], course)
    nb = made(course)
    nb.cells[1].source = "def broadcast_shapes(*shapes):\n    return 'mine'"
    path = course / "exercises" / "01_x.ipynb"
    nbformat.write(nb, path)
    mine = path.read_bytes()
    assert make_exercises.main([], course) == 0 and make_exercises.main(["--check"], course) == 1
    assert path.read_bytes() == mine
    assert "exercises/01_x.ipynb has been worked in and is left as it is" in capsys.readouterr().out
    path.write_text("not a notebook", encoding="utf-8")
    make_exercises.main([], course)
    assert path.read_text(encoding="utf-8") == "not a notebook"


def test_a_notebook_that_was_only_run_is_made_anew(course):
    make_exercises.main([], course)
    nb = made(course)
    nb.cells[1].execution_count = 5
    nbformat.write(nb, course / "exercises" / "01_x.ipynb")
    make_exercises.main([], course)
    assert made(course).cells[1].execution_count is None


def test_a_change_in_a_solution_makes_its_exercise_old(course):
    make_exercises.main([], course)
    nb = nbformat.read(course / "solutions" / "01_x.ipynb", as_version=4)
    nb.cells[0].source = "# Another title"
    nbformat.write(nb, course / "solutions" / "01_x.ipynb")
    assert make_exercises.main(["--check"], course) == 1
    make_exercises.main([], course)
    assert made(course).cells[0].source.startswith("# Another title")


def test_a_chapter_can_be_begun_from_its_specs(tmp_path):
    make_exercises.main(["--new", "01_tensors"], tmp_path)
    cells = {name: source for name, _, source in sheets.cells(tmp_path / "solutions" / "01_tensors.ipynb")}
    assert cells["answer-01-2b"] == ("def quarter_turn(x):\n    # BEGIN SOLUTION\n    return x.T[::-1]\n"
                                     "    # END SOLUTION")
    assert cells["check-01-2b"] == 'check("01.2b", quarter_turn)'
    with pytest.raises(SystemExit, match="exists already"):
        make_exercises.main(["--new", "01_tensors"], tmp_path)


def test_blanks_keep_their_indentation():
    source = ("class A:\n    def f(self):\n        # BEGIN SOLUTION\n        if x:\n            y\n"
              "        # END SOLUTION\n"
              "    def g(self):\n        # BEGIN SOLUTION\n        z\n        # END SOLUTION\n")
    turn = 'raise NotImplementedError("99.1: your turn")\n'
    assert sheets.blanked(source, "99.1") == (
        f"class A:\n    def f(self):\n        {turn}    def g(self):\n        {turn}")
    assert sheets.regions(source) == ["        if x:\n            y\n", "        z\n"]


def test_the_lines_of_an_error_are_the_learners(double):
    outcome = attempt(double, lambda x: int("x"), case(TABLE))
    assert own_lines(outcome.error) == outcome.lines and len(outcome.lines) == 1
    assert os.path.basename(__file__) not in examine("99.1", lambda x: int("x")).text


# --- the page about all this ------------------------------------------------------------------------------------------


def test_the_example_on_the_page_is_an_exercise():
    page = (sheets.ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    try:
        exec(code, space := {})
        exercise = space["centre"]
        for honest in (exercise.right, *exercise.variants):
            assert examine("99.1", honest).right
        for mistake in exercise.mistakes:
            assert examine("99.1", mistake.wrong).mistake == mistake.message
    finally:
        registry.pop("99.1", None)
