"""Item analysis: how each exercise did in the class, and which mistakes are behind the lost points.

    analysis = analyse(gradebook, assignment)
    print(analysis)                              # a table
    analysis.plot("report.svg")                  # or .png
"""
import statistics
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field

import numpy as np

from ..errors import ArgumentError, JudgeError, message
from ..grading import find
from .gradebook import Gradebook, storable
from .marks import standings
from .rows import VERDICTS

FEW = 5                        # students; below that a correlation says nothing
PERHAPS = "Perhaps this: "     # how a message begins if the mistake is likely and not sure


@dataclass
class Item:
    """How one exercise did.

    Attributes:
        exercise, title: which.
        students: how many handed something in for it, an empty answer included.
        right: how many of them have it right, of the attempts that count.
        blank: how many did not attempt it.
        named: how many have a mistake in it that has a name.
        share: of the points, 0 to 1, before lateness.
        attempts: files for a student, on average.
        verdicts: {verdict: how many}, of the attempts that count.
        mistakes: {message of a named mistake: how many students made it in any attempt}.
        seconds: the median over all attempts, and the longest.
        fits: correlation of its points with those for all other exercises, -1 to 1; near 0 or below, those who know
            the matter do not do better, and the exercise deserves a look. None if there is too little to say.
    """

    exercise: str
    title: str
    students: int = 0
    right: int = 0
    blank: int = 0
    named: int = 0
    share: float = 0.0
    attempts: float = 0.0
    verdicts: dict = field(default_factory=dict)
    mistakes: dict = field(default_factory=dict)
    seconds: tuple = (0.0, 0.0)
    fits: float | None = None


@dataclass
class Analysis:
    """How an assignment did.

    Attributes:
        assignment: its name.
        students: how many handed something in.
        mean, out_of: points on average, after lateness; and what there was to earn.
        items: one for each exercise.
        same: groups of students whose files are the same, byte for byte, and earned something.
        notes: {student: what was noted when their files were read}.
        failed: (student, exercise, detail) where the judge itself failed.
    """

    assignment: str
    students: int
    mean: float
    out_of: float
    items: list[Item]
    same: list[list[str]]
    notes: dict
    failed: list

    def as_dict(self):
        """All of it, for JSON."""
        return asdict(self)

    def __str__(self):
        return "\n".join([f"{self.assignment}: {self.students} students, {self.mean:.1f} of {self.out_of:g} points on "
                          "average", "", *_table(self.items), *self._mistakes(), *self._remarks()])

    def _mistakes(self):
        lines = []
        for item in self.items:
            for text, count in item.mistakes.items():
                lines.append(f"  {item.exercise:<7}{count:>4}  {text}")
        return ["", "Mistakes by name, and how many students made them:", *lines] if lines else []

    def _remarks(self):
        lines = [f"Files that are the same, byte for byte: {', '.join(group)}" for group in self.same]
        lines += [f"{student}: {note}" for student, note in self.notes.items()]
        lines += [f"The judge failed on {exercise} of {student}: {detail}" for student, exercise, detail in self.failed]
        return ["", *lines] if lines else []

    def plot(self, path):
        """Draw what came of each exercise; the file's ending says the kind.

        Raises:
            JudgeError: matplotlib is not installed.
        """
        _draw(self, path)


def analyse(gradebook: Gradebook, assignment) -> Analysis:
    """The item analysis of an assignment."""
    standing = standings(gradebook, assignment)
    rows = defaultdict(list)
    for row in gradebook.rows(storable(assignment.name)):
        rows[row.exercise].append(row)
    items = [_item(exercise, k, rows[exercise], standing) for k, exercise in enumerate(assignment.exercises)]
    of_file = defaultdict(set)
    for found in rows.values():
        for row in found:
            if row.points > 0:
                of_file[row.digest].add(row.student)
    here = {one.student for one in standing}
    notes = defaultdict(list)
    for (student, _), one in gradebook.submissions().items():
        if student in here and one.note not in ["", *notes[student]]:
            notes[student].append(one.note)
    return Analysis(assignment.name, len(standing),
                    statistics.fmean(one.points for one in standing) if standing else 0.0,
                    float(sum(assignment.exercises.values())), items,
                    sorted(sorted(group) for group in of_file.values() if len(group) > 1),
                    {student: " ".join(said) for student, said in sorted(notes.items()) if said},
                    [(one.student, mark.exercise, mark.row.detail) for one in standing for mark in one.marks
                     if mark.row and mark.row.verdict == "grader-error"])


def _item(exercise, place, rows, standing):
    """The Item of one exercise, the `place`-th of the assignment."""
    title, messages = _spec(exercise)
    marks = [one.marks[place] for one in standing if one.marks[place].row]
    item = Item(exercise, title, len(marks))
    if not marks:
        return item
    item.right = sum(mark.row.verdict == "ok" for mark in marks)
    item.blank = sum(mark.blank for mark in marks)
    item.named = sum(_mistake(mark.row, messages) is not None for mark in marks)
    item.share = sum(mark.row.points for mark in marks) / (marks[0].out_of * len(marks)) if marks[0].out_of else 0.0
    item.attempts = sum(mark.attempts for mark in marks) / len(marks)
    counted = Counter(mark.row.verdict for mark in marks)
    item.verdicts = {verdict: counted[verdict] for verdict in VERDICTS if counted[verdict]}
    item.seconds = (round(statistics.median(row.seconds for row in rows), 3), max(row.seconds for row in rows))
    made = defaultdict(set)
    for row in rows:
        if text := _mistake(row, messages):
            made[text].add(row.student)
    item.mistakes = {text: len(who) for text, who in sorted(made.items(), key=lambda pair: -len(pair[1]))}
    item.fits = _correlation([(one.marks[place].row.points, one.points - one.marks[place].points)
                              for one in standing if one.marks[place].row])
    return item


def _mistake(row, messages):
    """The message of the named mistake that a row is about; None if it is about none."""
    text = row.message.removeprefix(PERHAPS)
    return text if row.verdict != "ok" and text in messages else None


def _spec(exercise):
    """The title of an exercise and the messages of its named mistakes."""
    try:
        found = find(exercise)
    except ArgumentError:                                # of another version of minidl
        return "", set()
    return found.title, {storable(mistake.message) for mistake in found.mistakes}


def _correlation(pairs):
    """Pearson's; None if there are few pairs or one side does not vary."""
    values = np.array(pairs, dtype=float).reshape(-1, 2)
    if len(values) < FEW or values.std(axis=0).min() < 1e-9:
        return None
    return round(float(np.corrcoef(values.T)[0, 1]), 2)


def _table(items):
    """The lines of the table for a terminal."""
    head = ("", "right", "points", "files", "fits", "seconds", "what else")
    lines = [head]
    for item in items:
        if not item.students:
            lines.append((item.exercise, "", "", "", "", "", "nothing handed in"))
            continue
        rest = [f"{count} {verdict}" for verdict, count in item.verdicts.items() if verdict not in ("ok", "wrong")]
        rest = [f"{item.blank} not attempted"] * bool(item.blank) + rest
        lines.append((item.exercise, f"{item.right} of {item.students}", f"{100 * item.share:.0f} %",
                      f"{item.attempts:.1f}", "" if item.fits is None else f"{item.fits:+.2f}",
                      f"{item.seconds[0]:.2f}", ", ".join(rest)))
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return ["  ".join([line[0].ljust(widths[0]), *(line[k].rjust(widths[k]) for k in range(1, 6)), line[6]]).rstrip()
            for line in lines]


PARTS = (("right", "positive", ""), ("a mistake with a name", "negative", ""),
         ("wrong in another way", "negative", "//"), ("did not run to its end", "line", "xx"),
         ("not attempted", "panel", ""))


def parts_of(item):
    """How the students of an item divide: right, named mistake, other mistake, stopped or rejected, not attempted."""
    other = max(0, item.verdicts.get("wrong", 0) - item.blank - item.named)
    stopped = item.students - item.right - item.named - other - item.blank
    return item.right, item.named, other, stopped, item.blank


def _draw(analysis, path):
    """A bar for each exercise, divided by what came of it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise JudgeError(message("The plot needs matplotlib, which is not installed.",
                                 try_='pip install "minidl[judge]".')) from None
    from ..viz.theme import LIGHT
    items = analysis.items
    figure = Figure(figsize=(8, 1.7 + 0.34 * len(items)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(items))
    for (label, colour, hatch), widths in zip(PARTS, np.array([parts_of(item) for item in items]).T):
        axes.barh(range(len(items)), widths, left=left, height=0.68, label=label, hatch=hatch,
                  color=LIGHT.paper if hatch else getattr(LIGHT, colour),
                  edgecolor=LIGHT.line if colour == "panel" else getattr(LIGHT, colour), linewidth=0.8)
        left += widths
    axes.set_yticks(range(len(items)), [f"{item.exercise}  {item.title}" for item in items], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(analysis.students, 1))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("students")
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{analysis.assignment}: {analysis.mean:.1f} of {analysis.out_of:g} points on average", fontsize=11)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)
