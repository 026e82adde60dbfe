"""What an exercise is: one block that holds its reference, its cases and the mistakes it knows by name.

    double = Exercise("99.1", "Twice", points=1, stars=1, minutes=2,
                      hints=("What is 2 + 2?", "Think of a factor.", "The factor is two."))

    @double.reference
    def double_it(x):
        return 2 * x

    @double.cases
    def _(rng):
        yield case(0.0)
        yield case(rng.normal())

    @double.mistake("This is the square. The two agree at 0 and 2 and nowhere else.")
    def squared(x):
        return x * x

Nothing here needs the learner's code: a process of its own can make the cases from a secret seed, compute what is
expected, and compare answers that came as plain arrays.
"""
import copy
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, message
from .cases import Case
from .compare import difference

PUBLIC_SEED = 1
ID = re.compile(r"(\d\d)\.(\d+)([a-z]?)")
HONEST = ("float32", "float64", "list", "tuple", "tensor")

registry: dict[str, "Exercise"] = {}


@dataclass(frozen=True)
class Mistake:
    """A wrong solution that people write, and what to tell them.

    Attributes:
        wrong: the wrong solution; its answers are recognised.
        message: what the learner reads: the name of the mistake, not its cure in code.
    """

    wrong: Callable
    message: str


class Exercise:
    """One exercise, or one part of it.

    Args:
        id: "01.2", or "01.2b" for a part; the parts of an exercise count their mistakes together.
        title: a few words.
        points: what a right answer earns.
        stars: 1 to 3, how hard it is.
        minutes: how long it may take.
        hints: three, each saying more than the one before; none is the answer.
        rtol, atol: how close numbers must be in float64; answers in float32 get what float32 can give.
        seconds: the longest that one case may take.
        allowed: names that an answer may use, if only a few are; loops are then not allowed either.
        divisible: whether a judge gives a share of the points for a share of the cases.
        honest: in which other forms the tests hand in the reference's own answers: "float32", "float64" (arithmetic
            in that precision), "list", "tuple", "tensor". Leave out what makes no sense.

    Attributes:
        mistakes: the named mistakes.
        variants: other honest solutions, which must pass.
        op, adapter: set by `works_as`, for `use`.
    """

    def __init__(self, id, title, *, points, stars, minutes, hints, rtol=1e-6, atol=1e-9, seconds=5.0, allowed=None,
                 divisible=False, honest=HONEST):
        if not ID.fullmatch(id) or id in registry:
            raise ArgumentError(message("Exercise: the id is taken, or not of the form 01.2 or 01.2b.", [("id", id)]))
        self.id, self.title, self.points, self.stars, self.minutes = id, title, points, stars, minutes
        self.hints, self.rtol, self.atol, self.seconds = tuple(hints), rtol, atol, seconds
        self.allowed, self.honest = None if allowed is None else frozenset(allowed), tuple(honest)
        self.divisible = divisible
        self.mistakes, self.variants, self.right = [], [], None
        self.op, self.adapter = "", None
        self._cases = self._observe = self._accept = self._draw = None
        registry[id] = self

    # --- decorators: the pieces of the block ---------------------------------------------------------------------

    def reference(self, function):
        """The right solution. What it returns is expected, and what it raises is expected, too."""
        self.right = function
        return function

    def cases(self, function):
        """A generator `(rng)` of `case(...)`: small and telling ones first, then some drawn from `rng`."""
        self._cases = function
        return function

    def observe(self, function):
        """How to look at an answer: `(answer, *case)` calls it and returns what is compared.

        Needed where the return value does not say all: memory that is shared, calls that are counted, a class.
        """
        self._observe = function
        return function

    def accept(self, function):
        """For questions with many right answers: `(got, expected, *case)` returns what is wrong, or None."""
        self._accept = function
        return function

    def draw(self, function):
        """A picture of a wrong answer: `(got, expected, *case)` returns SVG with a `<title>`, or "" for none."""
        self._draw = function
        return function

    def mistake(self, text):
        """A named mistake: decorate the wrong solution with what to tell the learner."""
        def register(function):
            self.mistakes.append(Mistake(function, text))
            return function
        return register

    def variant(self, function):
        """Another honest solution; the tests hand it in, and it must pass."""
        self.variants.append(function)
        return function

    def works_as(self, op):
        """An answer can stand in for a primitive: decorate `(answer) -> forward(xp, *arrays, **settings)`."""
        def register(function):
            self.op, self.adapter = op, function
            return function
        return register

    # --- what a checker asks --------------------------------------------------------------------------------------

    @property
    def chapter(self):
        """Two digits: "01"."""
        return self.id[:2]

    @property
    def number(self):
        """The id without the letter of a part: "01.4" for "01.4b"."""
        return self.id.rstrip("abcdefghijklmnopqrstuvwxyz")

    @property
    def names(self):
        """The names of a case's values, for the reader."""
        function = self._observe or self.right
        return list(inspect.signature(function).parameters)[1 if self._observe else 0:]

    def make_cases(self, seed=PUBLIC_SEED):
        """The cases for a seed: the same seed, the same cases."""
        cases = list(self._cases(np.random.default_rng(seed)))
        if not cases or not all(isinstance(c, Case) for c in cases):
            raise ArgumentError(message(f"{self.id}: its cases are none, or not all made by case(...).",
                                        try_="yield case(x, y)."))
        return cases

    def answer(self, solution, case):
        """What a solution says to a case. It gets copies, and may do with them what it wants."""
        values = copy.deepcopy(tuple(case))
        return self._observe(solution, *values) if self._observe else solution(*values)

    def fault(self, got, expected, case):
        """What is wrong with an answer, in a sentence; None if nothing. Runs no code of the learner's."""
        if self._accept:
            return self._accept(got, expected, *copy.deepcopy(tuple(case)))
        return difference(got, expected, self.rtol, self.atol)

    def picture(self, got, expected, case):
        """The exercise's own picture as SVG; None if it has none."""
        return self._draw(got, expected, *copy.deepcopy(tuple(case))) if self._draw else None

    def __repr__(self):
        return f"<exercise {self.id} {self.title!r}: {self.points} points, {len(self.mistakes)} named mistakes>"


def find(id) -> Exercise:
    """The exercise with this id.

    Raises:
        ArgumentError: there is none.
    """
    name = str(id)
    wanted = ID.fullmatch(name)
    if wanted and name not in registry:
        _load(wanted[1])
    if name in registry:
        return registry[name]
    near = [other for other in sorted(registry, key=order) if other[:2] == name[:2]] or sorted(_chapters())
    raise ArgumentError(message(f"There is no exercise {id!r}.", [("there are", ", ".join(near))],
                                'the id stands in the check line of the exercise, such as check("01.1a", ...).'))


def all_exercises():
    """Every exercise there is, in order."""
    for chapter in _chapters():
        _load(chapter)
    return [registry[id] for id in sorted(registry, key=order)]


def order(id):
    """Sorts "01.10" behind "01.2"."""
    chapter, number, part = ID.fullmatch(id).groups()
    return int(chapter), int(number), part


def _chapters():
    from . import chapters
    return sorted(m.name[2:] for m in pkgutil.iter_modules(chapters.__path__) if re.fullmatch(r"ch\d\d", m.name))


def _load(chapter) -> Any:
    if chapter in _chapters():
        return importlib.import_module(f"{__package__}.chapters.ch{chapter}")


def chapter_title(chapter):
    """What a chapter is called: `TITLE` of its file; exercises defined elsewhere have none."""
    return getattr(_load(chapter), "TITLE", "more")
