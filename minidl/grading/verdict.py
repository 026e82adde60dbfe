"""What a check saw, in words for a terminal and as a card for a notebook."""
import html
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compare import as_numbers, brief, plain
from .drawing import beside, tells_all

MARKS = {"right": "\N{CHECK MARK}", "wrong": "\N{BALLOT X}", "crashed": "!",
         "slow": "\N{CLOCKWISE OPEN CIRCLE ARROW}", "not attempted": "\N{MIDDLE DOT}"}
EDGE = {"right": "#0B63A5", "not attempted": "#8a8a8a"}          # the other states are vermilion
FAULT = "#C4500A"
LEFT = "text-align:left;vertical-align:top"
MOST_NUMBERS, MOST_LINES = 60, 14


@dataclass
class Verdict:
    """The result of looking at one answer.

    Attributes:
        exercise: the Exercise.
        state: "right", "wrong", "crashed", "slow" or "not attempted".
        case, outcome, expected: the first case that failed, what came of it, and what should have.
        fault: what is wrong, in a sentence.
        mistake: the message of the named mistake, "" if it is none that is known.
        sure: whether the mistake explains every answer that was given.
        passed, cases: how many of the cases were right.
        note: what could not be remembered, and why; usually "".
    """

    exercise: Any
    state: str
    case: Any = None
    outcome: Any = None
    expected: Any = None
    fault: str | None = None
    mistake: str = ""
    sure: bool = False
    passed: int = 0
    cases: int = 0
    note: str = ""

    @property
    def right(self):
        """Whether the answer earned its points."""
        return self.state == "right"

    @property
    def points(self):
        """What it earned."""
        return self.exercise.points if self.right else 0

    @property
    def headline(self):
        """One line: which exercise, and how it went."""
        e = self.exercise
        said = {"right": f"right: {e.points} {'point' if e.points == 1 else 'points'}",
                "wrong": "not yet right", "crashed": "it stopped with an error",
                "slow": f"stopped after {e.seconds:g} seconds", "not attempted": "not yet: your turn"}[self.state]
        return f"{MARKS[self.state]} {e.id} {e.title} \N{EM DASH} {said}"

    def rows(self):
        """(name, text) of everything there is to say below the headline, in letters that every notebook can send."""
        return [(name, str(text).encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in self._rows()]

    def _rows(self):
        if self.state == "right":
            return []
        if self.state == "not attempted":
            return [("", self.fault)] if self.fault and self.outcome and self.outcome.kind == "value" else []
        rows = [(name, written(value)) for name, value in zip(self.exercise.names, self.case or ())]
        rows += self._what_came()
        rows += [("so", self._named())] if self.mistake else []
        return rows + [("help", f'hint("{self.exercise.id}")')]

    def _named(self):
        return self.mistake if self.sure else f"Perhaps this: {self.mistake}"

    def _what_came(self):
        """Rows that say what came of the call, and what should have."""
        if self.outcome is None:                       # no call was needed to see it
            return [("but", self.fault)]
        if self.outcome.kind in ("raised", "slow"):
            what = _spoken(self.outcome.error) if self.outcome.kind == "raised" else "still running"
            steps = [(f"line {line}" if k else "your line", f"{source or '(source not at hand)'}    "
                      f"(line {line}, in {name})") for k, (line, name, source) in enumerate(self.outcome.lines[-1:])]
            return [("got", what), *steps, ("expected", self._wanted())]
        return [("got", written(self.outcome.value)), ("expected", self._wanted()), ("because", self.fault)]

    def _wanted(self):
        if self.expected.kind == "raised":
            kind = next(k.__name__ for k in type(self.expected.error).__mro__ if k.__module__ == "builtins")
            return f"an error: {kind}"
        return written(self.expected.value)

    @property
    def drawing(self):
        """An SVG picture of the answer beside the right one; "" where a picture says no more."""
        if self.state != "wrong" or self.outcome is None or {self.outcome.kind, self.expected.kind} != {"value"}:
            return ""
        own = self.exercise.picture(self.outcome.value, self.expected.value, self.case)
        return own if own is not None else beside(self.outcome.value, self.expected.value)

    @property
    def text(self):
        """Everything, for a terminal."""
        rows = self.rows()
        width = max((len(name) for name, _ in rows), default=0)
        lines = [self.headline]
        for name, value in rows:
            first, *more = value.splitlines() or [""]
            lines += [f"    {name.ljust(width)}  {first}".rstrip(), *(f"    {' ' * width}  {line}" for line in more)]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    @property
    def html(self):
        """Everything, as a card for a notebook."""
        colour = EDGE.get(self.state, FAULT)
        seen = ("got", "expected") if self.drawing and tells_all(self.outcome.value, self.expected.value) else ()
        cells = "".join(
            f'<tr style="background:none"><td style="{LEFT};padding:1px 14px 1px 0;opacity:.75">{html.escape(name)}'
            f'</td><td style="{LEFT};padding:1px 0;{_face(name)}">'
            f"{html.escape(value)}</td></tr>" for name, value in self.rows() if name not in seen)
        table = f'<table style="margin:6px 0 0 0;border:none;font-size:13px">{cells}</table>' if cells else ""
        picture = f'<div style="margin-top:8px">{self.drawing}</div>' if self.drawing else ""
        note = f"<div><small>{html.escape(self.note)}</small></div>" if self.note else ""
        return (f'<div style="border-left:4px solid {colour};padding:4px 12px;margin:4px 0">'
                f'<div style="font-weight:600">{html.escape(self.headline)}</div>{table}{picture}{note}</div>')

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.text, "text/html": self.html}

    def __repr__(self):
        return self.text


def _face(name):
    """Prose in the notebook's letters, code in those for code."""
    return "" if name in ("so", "because", "but", "") else "font-family:monospace;white-space:pre-wrap"


def _spoken(error):
    """An error as Python would say it, without its traceback."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(error):
    """What an error says; nothing if its own `__str__` fails."""
    try:
        return str(error)
    except Exception:
        return ""


def written(value):
    """A value for the reader: small arrays in full, large ones as shape and kind, lists of lists line by line.

    >>> print(written([[1.0, 2.0], [3.0, 4.5]]))
    (1.0, 2.0)
    (3.0, 4.5)
    """
    if isinstance(value, (list, tuple)) and all(isinstance(v, (int, float, str, np.number)) for v in value):
        return brief(tuple(v.item() if isinstance(v, np.generic) else v for v in value), 200)
    value = plain(value)
    if isinstance(value, np.ndarray) or (isinstance(value, list) and as_numbers(value) is not None):
        array = np.asarray(value)
        if array.size > MOST_NUMBERS:
            return f"shape {array.shape}, {array.dtype}"
        if isinstance(value, np.ndarray) and array.ndim and array.size:
            return np.array2string(array, precision=4, suppress_small=True, max_line_width=90)
        if isinstance(value, np.ndarray):
            if array.ndim:
                return f"an empty array of shape {array.shape}"
            return f"{array.item():.6g}" if array.dtype.kind in "biufc" else brief(array.item(), 200)
    if isinstance(value, list) and any(isinstance(v, (np.ndarray, list)) for v in value):
        return "\n".join(written(v) for v in value[:MOST_LINES])
    if isinstance(value, dict):
        return "\n".join(f"{key}:{' ' if chr(10) not in text else chr(10)}{text}" for key, v in value.items()
                         for text in [v if isinstance(v, str) else written(v)])
    if isinstance(value, np.generic):
        value = value.item()
    return brief(value, 200)


def show(thing):
    """Show something with a mime bundle: as a card in a notebook, as text anywhere else."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display
        display(thing)
    else:
        letters = getattr(sys.stdout, "encoding", None) or "utf-8"             # of Windows' own, when sent to a file
        print(str(thing).encode(letters, "replace").decode(letters))
