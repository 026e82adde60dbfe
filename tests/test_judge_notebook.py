"""Which statements of a notebook an answer needs, and where it is found: honest notebooks come in many states."""
import pytest

from minidl.grading import find
from minidl.judge.pieces import Unreadable, cut, needed, without_magic
from minidl.judge.rows import Cell
from minidl.judge.student import Notebook, run
from minidl.judge.task import grade_one
from tests.judging import handed_in, notebook, written

SEED = 20
BLANK = 'def twice(x):\n    raise NotImplementedError("99.1: your turn")'
RIGHT = "def twice(x):\n    return 2 * x"
WRONG = "def twice(x):\n    return x * x"


def looked_at(*cells, given=(), allowed=None):
    """A notebook of cells (id, text), or texts that have no id."""
    cells = [cell if isinstance(cell, tuple) else ("", cell) for cell in cells]
    return Notebook({"cells": cells, "given": list(given), "exercise": "99.1", "answer": "answer-99-1", "name": "twice",
                     "allowed": allowed})


def answer_of(*cells, given=()):
    seen = looked_at(*cells, given=given)
    assert seen.state == ("readable", "")
    return run(seen)(3)


ANSWER, CHECK = ("answer-99-1", RIGHT), ("check-99-1", 'check("99.1", twice)')


@pytest.mark.parametrize("cells", [
    [ANSWER, CHECK],
    [ANSWER],
    [RIGHT, 'check("99.1", twice)'],
    [("../../etc/passwd", RIGHT)],
    [("answer-99-2", RIGHT), ("answer-99-1", "")],
    [("answer-99-1", RIGHT), ("answer-99-1", "x = 1"), CHECK],
    [("answer-99-1", BLANK), RIGHT, CHECK],
    [("answer-99-1", BLANK), RIGHT],
    [RIGHT, ("answer-99-1", BLANK), CHECK],
    [("answer-99-1", BLANK), CHECK, RIGHT],
    [WRONG, ANSWER, CHECK],
    [ANSWER, CHECK, WRONG],
    [ANSWER, "check('99.1', twice)", WRONG],
    [ANSWER, WRONG.replace("twice", "other"), CHECK],
    [("answer-99-1", WRONG), RIGHT, CHECK],
    ["%%time\n" + RIGHT, CHECK],
    [("answer-99-1", "%matplotlib inline\n!ls\nhelp?\n" + RIGHT), CHECK],
    ["this is no Python", ANSWER, CHECK],
    [("answer-99-1", "twice = lambda x: 2 * x"), CHECK],
    [("answer-99-1", "factor = 2\ndef twice(x):\n    return factor * x"), CHECK],
    ["factor = 2", ("answer-99-1", "def twice(x):\n    return factor * x"), CHECK],
    [("answer-99-1", "def twice(x):\n    return factor * x"), CHECK, "factor = 2"],
    [("answer-99-1", "factor = 2\ndef twice(x):\n    return factor * x"), CHECK, "factor = 3"],
    ["factor = 5", ("answer-99-1", "factor = 2\ndef twice(x):\n    return factor * x"), CHECK],
    ["table = {}\ntable['f'] = 2", ("answer-99-1", "def twice(x):\n    return table['f'] * x"), CHECK],
    ["import math as m", ("answer-99-1", "def twice(x):\n    return m.floor(2.5) * x"), CHECK],
    ["from math import *", ("answer-99-1", "def twice(x):\n    return floor(2.5) * x"), CHECK],
    [("answer-99-1", "class Two:\n    pass"), "Two.n = 2\ndef twice(x):\n    return Two.n * x", CHECK],
    ["import no_such_module\nx = 1 / 0", ANSWER, CHECK],
    ["from functools import cache", ("answer-99-1", "@cache\ndef twice(x):\n    return 2 * x"), CHECK],
    ["if True:\n    f = 2\nelse:\n    f = 3", ("answer-99-1", "def twice(x):\n    return f * x"), CHECK],
    [("answer-99-1", "def twice(x):\n    return 2 * sum([x for _ in range(1)])\nprint(1 / 0)\ntwice(None)"), CHECK],
    [("answer-99-1", "from dataclasses import dataclass\n@dataclass\nclass N:\n    n: 'int' = 2\n"
                     "def twice(x):\n    return N().n * x"), CHECK],
    [("answer-99-1", "import inspect\ndef twice(x):\n    return x * inspect.getsource(twice).count('def')"), CHECK],
    [("answer-99-1", RIGHT.replace("\n", "\r\n")), CHECK],
    ["from __future__ import annotations",
     ("answer-99-1", "def twice(x: Later | None) -> Later:\n    return 2 * x"), CHECK],
    ["from __future__ import annotations, division\nn: Later = 2", "print(1)", "no Python",
     ("answer-99-1", "def twice(x: Later):\n    return n * x"), CHECK],
], ids=range(37))
def test_a_right_answer_is_found(cells):
    assert answer_of(*cells) == 6


def test_what_is_not_needed_does_not_run():
    seen = looked_at("import os\nos._exit(1)", "x = 1 / 0", "y = [1]\ny.append(print('no'))", ANSWER, CHECK)
    assert [piece.text for piece in seen.chosen] == [RIGHT]


def test_a_given_cell_counts_as_it_was_released():
    given = [("begin", "factor = 2\ncheck('99.1', None)")]
    uses = ("answer-99-1", "def twice(x):\n    return factor * x")
    assert answer_of(("begin", "factor = 5"), uses, CHECK, given=given) == 6
    assert answer_of(uses, CHECK, given=given) == 6
    assert answer_of(("begin", "no Python"), uses, CHECK, given=given) == 6
    assert answer_of(("begin", "factor = 2\nhalf = 0.5"), ("answer-99-1", "def twice(x):\n    return x / half"),
                     given=given) == 6, "what a student adds to a given cell is theirs"


def test_what_cannot_be_found_has_a_state():
    assert looked_at().state == looked_at("x = 1", CHECK).state == ("missing", "")
    state, said = looked_at(("answer-99-1", "def twice(x:\n    return 1")).state
    assert state == "unreadable" and said.startswith("line 1: ")
    assert looked_at("def twice(x):\nreturn 1").state[0] == "unreadable"
    assert looked_at(("answer-99-1", "x = '\x00'")).state[0] == "unreadable"
    assert looked_at(("answer-99-1", "(" * 5000 + ")" * 5000)).state[0] == "unreadable"
    assert looked_at(("answer-99-1", "return 1")).state[0] in ("unreadable", "missing")


def test_an_error_of_a_statement_counts_where_it_makes_the_answer():
    with pytest.raises(ZeroDivisionError):
        run(looked_at(("answer-99-1", "twice = 1 / 0")))
    with pytest.raises(NameError):
        answer_of("factor = 1 / 0", ("answer-99-1", "def twice(x):\n    return factor * x"))


@pytest.mark.parametrize(("text", "offence"), [
    ("def twice(x):\n    return x @ ones(len(x))", None),
    ("import numpy as np\ndef twice(x):\n    return np.where(x, x, x)", None),
    ("def twice(x):\n    return x.sum()", "uses `sum`"),
    ("import numpy as np\ntwice = np.sum", "uses `sum`"),
    ("from numpy import sum as ones\ndef twice(x):\n    return ones(x)", "uses `numpy`"),
    ("import numpy.linalg as np\ndef twice(x):\n    return np.where(x)", "uses `numpy.linalg`"),
    ("def ones(x):\n    return x.sum()\ndef twice(x):\n    return ones(x)", "uses `sum`"),
    ("def twice(x: np.ndarray, n: int = 3, *more: 'anything') -> list[float] | None:\n    return x", None),
    ("ones: int = 3\ndef twice(x):\n    return x[ones]", None),
    ("from collections.abc import Callable\ntwice: Callable = lambda x: x[0]", None),
    ("from __future__ import annotations\nones: int = 3\ndef twice(x: Later):\n    return x[ones]", None),
    ("z: int = 3\ndef twice(x):\n    return x[z]", "uses `z`"),
    ("ones: int = sum([3])\ndef twice(x):\n    return x[ones]", "uses `sum`"),
    ("ones: np.where(sum) = 3\ndef twice(x):\n    return x[ones]", "uses `sum`"),
    ("from typing import Any\ndef twice(x: Any):\n    def f(y: float): return y\n    return f(x)", None),
    ("def twice(x: np.where.__setitem__('len', sum)):\n    return x", "uses `__setitem__`"),
    ("def twice(x: (ones := sum)):\n    return ones(x)", "uses `sum`"),
    ("class T:\n    np.where = sum\ndef twice(x: T):\n    return np.where(x)", "uses `__name__`"),
    ("from numpy import sum as ones\ndef twice(x: ones):\n    return ones(x)", "uses `numpy`"),
    ("from numpy import sum as twice", "uses `numpy`"),
    ("def twice(x):\n    while x:\n        x = x - 1\n    return x", "uses a loop"),
    ("def twice(x):\n    while x is not None:\n        x = x - 1", "uses a loop"),
    ("def twice(x):\n    while True:\n        x = x - 1", "uses a loop"),
    ("def twice(x):\n    return x if x else -x", None),
    ("def twice(x):\n    for k in x:\n        pass", "uses a loop"),
    ("def twice(x):\n    return (lambda y: y.sum())(x)", "uses `sum`"),
    ("def twice(x):\n    return eval('x.sum()')", "uses `eval`"),
    ("@staticmethod\ndef twice(x):\n    return x", "uses `staticmethod`"),
    ("def twice(x, f=max):\n    return f(x)", "uses `max`"),
])
def test_the_words_of_a_puzzle_are_kept_wherever_they_stand(text, offence):
    assert looked_at(("answer-99-1", text), allowed=["np", "where", "len", "ones"]).offence == offence


def test_what_the_future_brings_holds_from_there_on_only():
    hinted = "def twice(x: Later):\n    return 2 * x"
    with pytest.raises(NameError, match="Later"):
        answer_of(("answer-99-1", hinted), CHECK, "from __future__ import annotations")
    with pytest.raises(NameError, match="Later"):
        answer_of("from .__future__ import annotations\nfrom math import pi", ("answer-99-1", hinted), CHECK)
    state, said = looked_at(("answer-99-1", "from __future__ import braces\n" + RIGHT)).state
    assert state == "unreadable" and "not a chance" in said


def test_magic_goes_and_lines_stay():
    text = "%%time\nx = 1\n  !ls -l\nfiles = %ls\nprint?\ny = 5 % 3 and 'a?'\n"
    assert without_magic(text) == "pass\nx = 1\n  pass\nfiles = None\npass\ny = 5 % 3 and 'a?'\n"
    with pytest.raises(Unreadable):
        cut("x = = 1")


def test_names_of_a_function_are_its_globals_only():
    pieces = cut("x = 1\ny = 2\ndef f(x):\n    z = x\n    return [y for x in z]\ng = f")
    assert [piece.text for piece in needed("f", pieces)] == ["y = 2", "def f(x):\n    z = x\n    return [y for x in z]"]


# --- through the process ----------------------------------------------------------------------------------------------


def solution(id):
    return next(cell.source for cell in notebook("solutions", id[:2]) if cell.id == f"answer-{id.replace('.', '-')}")


def test_a_notebook_without_ids_and_checks_earns_full_marks():
    cells = [Cell("", cell.source) for cell in notebook("solutions", "09") if not cell.id.startswith("check")]
    assert grade_one(handed_in(cells[::-1]), "09.3", SEED).verdict == "ok"


def test_faults_of_a_notebook_have_their_rows():
    for text, verdict, words in [("def places(n:", "import-error", "is no Python. line 1"),
                                 ("x = 1", "wrong", "has no `places`"),
                                 ("places = undefined", "import-error", "stopped with an error"),
                                 ("import numpy as np\nplaces = 3", "wrong", "stopped with an error"),
                                 ("def places(*a):\n    pass", "wrong", "Not attempted. The answer is None")]:
        row = grade_one(written(find("09.1a"), text), "09.1a", SEED)
        assert (row.verdict, row.points) == (verdict, 0) and words in row.message, row
    row = grade_one(handed_in([], fault="The file is no notebook."), "09.1a", SEED)
    assert (row.verdict, row.message, row.points, row.out_of) == ("rejected-file", "The file is no notebook.", 0, 3)


def test_what_breaks_on_this_side_is_said_and_nothing_is_raised():
    row = grade_one(written(find("09.1a"), "x = 1"), "99.9", SEED)
    assert row.verdict == "grader-error" and "no exercise" in row.detail
    row = grade_one(written(find("09.1a"), "x = 1"), "09.1a", SEED, level="L9")
    assert row.verdict == "grader-error" and "L9" in row.detail and row.points == 0


def test_a_puzzle_that_uses_more_words_is_right_in_values_alone():
    row = grade_one(written(find("01.4b"), "def total(x):\n    return x.sum()"), "01.4b", SEED)
    assert (row.verdict, row.points, row.passed) == ("wrong", 0, row.cases)
    assert row.message.startswith("The values are right, but the answer uses `sum`.")
