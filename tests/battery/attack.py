"""A row of the battery: what is handed in, and what must come of it."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from minidl.judge.rows import VERDICTS, Limits

EXERCISE = "09.1b"
NOT_OK = frozenset(VERDICTS) - {"ok", "grader-error"}
SECONDS, START = 1.0, 4.0            # what a case and the start may take where the limit itself is what counts
PATIENCE = 20.0                      # ... and elsewhere: a busy machine may need long for what comes to an end

# The right answer, for those who want to be right, and for attacks: one that gets what it is after gives it, and would
# be seen by its points.
RIGHT = """
def right(layers):
    field, step = 1, 1
    for k, stride, dilation in layers:
        field += (k - 1) * dilation * step
        step *= stride
    return field, step
"""
TRY = RIGHT + """
def receptive_field(layers):
    try:
        got = attack()
    except BaseException:
        got = None
    return right(layers) if got else (7, 7)
"""


@dataclass(frozen=True)
class Attack:
    """What somebody hands in.

    Attributes:
        name: what it is, in words.
        verdicts: the verdict that must come of it, or those that may.
        text: what stands in the cell of the answer. It may use `world`, a dict: see `World.told`.
        hand_in: `(world, notebook)` lays out files and returns the folder or zip that is collected; None for one
            notebook in the folder of a student.
        rows: {student: verdicts of the student's rows}, if more than one row must come of it.
        refused: the name of the error with which the whole is refused, if it must be.
        also: `(world, rows, submissions)` yields what else is wrong.
        start: whether the time to start is what it uses up.
        linger: seconds after which it would do its damage.
        real: whether it succeeds where nothing protects; tried out at level 0, and harmless.
        exercise: another exercise than receptive_field.
    """

    name: str
    verdicts: str | frozenset | set = "wrong"
    text: str = ""
    hand_in: Callable | None = None
    rows: Mapping = field(default_factory=dict)
    refused: str = ""
    also: Callable | None = None
    start: bool = False
    linger: float = 0.0
    real: bool = False
    exercise: str = EXERCISE

    @property
    def expected(self):
        """{student: [the verdicts that each row may have]}"""
        many = self.rows or {"ada": [self.verdicts]}
        return {who: [{one} if isinstance(one, str) else set(one) for one in some] for who, some in many.items()}

    def limits(self, strict=False):
        """How much it may use. `strict`: as little as a calm machine needs, for all."""
        slow = strict or "timeout" in self.verdicts
        return Limits(SECONDS if slow else PATIENCE, START if slow else PATIENCE, memory_mb=768)

    @property
    def budget(self):
        """Seconds that it can use up by the limits."""
        return START if self.start else SECONDS


def tries(rows, **settings):
    """Attacks from {name: the function `attack`, which returns what it got}; one that gets something is seen."""
    return [Attack(name, *_both(what, TRY), **settings) for name, what in rows.items()]


def answers(rows, **settings):
    """Attacks from {name: (verdicts, text that defines receptive_field)}."""
    return [Attack(name, *_both(what, ""), **settings) for name, what in rows.items()]


def _both(what, end):
    verdicts, text = what if isinstance(what, tuple) else ("wrong", what)
    return verdicts, text + end
