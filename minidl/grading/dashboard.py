"""The whole course at a glance: chapters, points, and what comes next."""
import html
from collections import defaultdict
from dataclasses import dataclass

from . import record
from .exercise import all_exercises, chapter_title
from .sheets import sheet
from .verdict import MARKS, show

FULL, EMPTY, BAR = "\N{BLACK SQUARE}", "\N{WHITE SQUARE}", 12
STAR = "\N{BLACK STAR}"
SIGNS = {"right": MARKS["right"], "helped": MARKS["right"] + "*", "tried": MARKS["wrong"],
         "open": MARKS["not attempted"]}


@dataclass
class Row:
    """One chapter: its exercises, and how far they are.

    Attributes:
        chapter, title: "01", "Tensors".
        marks: (exercise, "right", "helped", "tried" or "open"); "helped" is right after reading the solution.
    """

    chapter: str
    title: str
    marks: list

    @property
    def points(self):
        """(earned, to be had)."""
        return (sum(e.points for e, state in self.marks if state in ("right", "helped")),
                sum(e.points for e, _ in self.marks))


class Dashboard:
    """The learner's progress, as text and as a table.

    Attributes:
        rows: one Row for each chapter that has exercises.
        next: the first exercise that is not right yet; None at the end.
    """

    def __init__(self):
        done, chapters = record.read(), defaultdict(list)
        for exercise in all_exercises():
            chapters[exercise.chapter].append((exercise, _state(done.get(exercise.id))))
        self.rows = [Row(chapter, chapter_title(chapter), marks) for chapter, marks in chapters.items()]
        self.next = next((e for row in self.rows for e, state in row.marks if state in ("open", "tried")), None)

    @property
    def points(self):
        """(earned, to be had)."""
        return tuple(sum(row.points[k] for row in self.rows) for k in (0, 1))

    def _after(self):
        """What comes next, and what a star means, as lines."""
        if self.next is None:
            lines = ["Everything that there is so far is done."]
        else:
            e, path = self.next, sheet("exercises", self.next.chapter)
            place = f", in exercises/{path.name}" if path else ""
            lines = [f"Next: {e.id} {e.title} ({STAR * e.stars}, about {e.minutes} minutes){place}"]
        if any(state == "helped" for row in self.rows for _, state in row.marks):
            lines.append("* after reading the solution")
        return lines

    def __repr__(self):
        earned, of = self.points
        lines = [f"Your progress: {earned} of {of} points"]
        for row in self.rows:
            got, total = row.points
            full = BAR * got // total
            marks = "  ".join(f"{SIGNS[state]} {e.id}" for e, state in row.marks)
            lines += [f"{row.chapter} {row.title:24} {FULL * full}{EMPTY * (BAR - full)}  {got} of {total} points",
                      *(f"     {line}" for line in _wrapped(marks, 100))]
        return "\n".join([*lines, *self._after()])

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": repr(self), "text/html": self.html}

    @property
    def html(self):
        """A table with a bar for each chapter; the marks below the bar name each exercise when pointed at."""
        earned, of = self.points
        rows = "".join(self._row(row) for row in self.rows)
        after = "".join(f"<div>{html.escape(line)}</div>" for line in self._after())
        return (f'<div style="font-weight:600">Your progress: {earned} of {of} points</div>'
                f'<table style="border:none;margin:6px 0">{rows}</table>{after}')

    def _row(self, row):
        got, total = row.points
        path = sheet("exercises", row.chapter)
        name = html.escape(f"{row.chapter} \N{MIDDLE DOT} {row.title}")
        name = f'<a href="../exercises/{html.escape(path.name)}">{name}</a>' if path else name
        look = 'style="white-space:nowrap;margin-right:8px"'
        marks = " ".join(f'<span {look} title="{html.escape(f"{e.id} {e.title}: {state}")}">'
                         f"{SIGNS[state]}&thinsp;{e.id.split('.')[1]}</span>" for e, state in row.marks)
        bar = (f'<div style="width:220px;border:1px solid #8a8a8a;height:10px"><div style="height:10px;'
               f'width:{100 * got / total:.0f}%;background:#0B63A5"></div></div>')
        side = 'style="text-align:left;vertical-align:top;padding:3px 16px 3px 0"'
        return (f'<tr style="background:none"><td {side}>{name}</td><td {side}>{bar}<div style="max-width:420px;'
                f'font-size:12px;margin-top:3px">{marks}</div></td><td {side}>{got} of {total} points</td></tr>')


def _state(done):
    """One word for what the record says about an exercise."""
    if done is None or not (done.tried or done.right):
        return "open"
    return "tried" if not done.right else "helped" if done.solution else "right"


def _wrapped(text, width):
    """Marks in lines of at most `width` letters, cut between two marks."""
    lines = [""]
    for part in text.split("  "):
        if len(lines[-1]) + len(part) + 2 > width:
            lines.append("")
        lines[-1] += ("  " if lines[-1] else "") + part
    return lines


def progress():
    """Show how far you are: points by chapter, each exercise, and what comes next."""
    show(Dashboard())
