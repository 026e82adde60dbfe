"""An assignment: which exercises, what they are worth, when they are due; and the folder that students get.

`release` writes two things. The folder is for the class: exercise notebooks cut to the chosen exercises, and a README.
The assignment file lies beside the folder, never in it, and is for the teacher: settings that may be edited, and the
released text of every code cell, by which the judge knows what is the class's own. Neither holds a hidden case, a
secret seed or a solution.
"""
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path

from ..errors import ArgumentError, message
from ..grading.exercise import all_exercises, chapter_title, find, order
from ..grading.sheets import answer_cell, exercise_of, sheet
from . import pieces
from .deadlines import COUNTS, NO_POLICY, LatePolicy, due_date, spoken, time_zone

ALWAYS = ("title", "how", "begin", "done", "see-progress")     # cells of a notebook that belong to no exercise
GROUP = re.compile(r"## (\d\d\.\d+) ")                         # the heading over the parts of an exercise
WORTH = re.compile(r"· \d+ points? ·")
TOTAL = re.compile(r"\d+ checks?, \d+ points?( · about [^*\n]*)?")
LINK = re.compile(r"\[([^\]\n]*)\]\((?![a-z]+:)[^)\n]*\)")     # to a file of the course, which the class may not have
ORIGIN = re.compile(r"\s*<!-- generated from .*? -->")
STUB = "raise NotImplementedError("
FORMAT = 1


@dataclass(frozen=True)
class Given:
    """A code cell as it was released.

    Attributes:
        notebook: the file's name.
        id: the cell's id.
        source: its text.
    """

    notebook: str
    id: str
    source: str


@dataclass(frozen=True)
class Assignment:
    """What a class has to do.

    Attributes:
        name: what it is called.
        exercises: {exercise id: points}, in order.
        due: when it is due, in UTC; None for never.
        zone: in which time zone the class lives.
        late: what lateness costs.
        counts: which attempt counts: "best", "last" or "in-time"; `deadlines.which_counts` says more.
        class_id: which class; the cases that its `check` shows are drawn for it.
        extensions: {student: a due date of their own, in UTC}.
        given: every code cell that was released.
    """

    name: str
    exercises: Mapping[str, float]
    due: datetime | None = None
    zone: str = "UTC"
    late: LatePolicy = NO_POLICY
    counts: str = "best"
    class_id: str = ""
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    given: tuple[Given, ...] = ()

    def __post_init__(self):
        if not self.exercises:
            raise ArgumentError(message(f"The assignment {self.name!r} has no exercises.",
                                        try_='exercises={"01.1a": 2}.'))
        for id, points in self.exercises.items():
            find(id)
            if isinstance(points, bool) or not isinstance(points, (int, float)) or not 0 <= points < float("inf"):
                raise ArgumentError(message("Points must be a number from 0 up.",
                                            [("exercise", id), ("points", repr(points))]))
        if self.counts not in COUNTS:
            raise ArgumentError(message("Nobody knows which attempt shall count.", [("counts", repr(self.counts))],
                                        f"one of {', '.join(COUNTS)}."))
        time_zone(self.zone)

    @property
    def out_of(self) -> float:
        """All points there are."""
        return sum(self.exercises.values())

    @property
    def chapters(self) -> list[str]:
        """The chapters that its exercises come from, as two digits."""
        return sorted({id[:2] for id in self.exercises})

    def due_for(self, student) -> datetime | None:
        """When it is due for one student."""
        return self.extensions.get(student, self.due)

    def as_dict(self):
        """Everything as text and numbers; `from_dict` reads it."""
        data = {"format": FORMAT, **{f.name: getattr(self, f.name) for f in fields(self)}}
        return {**data, "exercises": dict(self.exercises), "due": self.due and self.due.isoformat(),
                "late": asdict(self.late), "extensions": {who: due.isoformat() for who, due in self.extensions.items()},
                "given": [asdict(cell) for cell in self.given]}

    @classmethod
    def from_dict(cls, data) -> "Assignment":
        """An assignment from a dict, as `as_dict` or an assignment file has it.

        Raises:
            ArgumentError: something is missing, unknown or of the wrong kind.
        """
        data = dict(data)
        form, zone = data.pop("format", FORMAT), data.get("zone", "UTC")
        unknown = data.keys() - {f.name for f in fields(cls)}
        if form != FORMAT or unknown or not {"name", "exercises"} <= data.keys():
            raise ArgumentError(message(
                "This is not an assignment of this version of minidl.",
                [("format", form), ("unknown", ", ".join(sorted(unknown)) or "nothing"),
                 ("needed", "name, exercises")]))
        try:
            data["late"] = LatePolicy(**data.get("late", {}))
            data["due"] = data.get("due") and due_date(data["due"], zone)
            data["extensions"] = {str(who): due_date(due, zone) for who, due in data.get("extensions", {}).items()}
            data["given"] = tuple(Given(**cell) for cell in data.get("given", ()))
            return cls(**data)
        except (TypeError, AttributeError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(message("The assignment has a part of the wrong kind.", [("because", error)])) from None

    @classmethod
    def load(cls, path) -> "Assignment":
        """An assignment from its file, TOML or JSON.

        Raises:
            ArgumentError: it cannot be read.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise ArgumentError(message("The assignment file cannot be read.",
                                        [("file", path), ("because", error)])) from None
        if not isinstance(data, dict):
            raise ArgumentError(message("The assignment file holds no settings.", [("file", path)]))
        return cls.from_dict(data)

    def save(self, path):
        """Write the assignment file: JSON if the name ends so, otherwise TOML with a word on each setting."""
        path = Path(path)
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False) if path.suffix == ".json" else self._toml()
        path.write_text(text + "\n", encoding="utf-8", newline="\n")

    def _toml(self):
        """The assignment as TOML. Python reads TOML and does not write it; this is all that is needed of it."""
        local = self.due and self.due.astimezone(time_zone(self.zone)).isoformat()
        cut_off = self.late.cut_off_hours
        lines = [
            "# An assignment: for the teacher. Students do not get this file.", f"format = {FORMAT}",
            f"name = {_quoted(self.name)}",
            f"class_id = {_quoted(self.class_id)}",
            f"due = {local}" if local else "# due = 2026-12-04T23:59:00          # local time of the zone",
            f"zone = {_quoted(self.zone)}",
            f"counts = {_quoted(self.counts)}          # which attempt: {', '.join(COUNTS)}",
            "", "[exercises]          # points", *(f"{_quoted(id)} = {p!r}" for id, p in self.exercises.items()),
            "", "[late]", f"grace_minutes = {self.late.grace_minutes!r}",
            f"percent = {self.late.percent!r}          # of the points earned, off for every period begun",
            f"per = {_quoted(self.late.per)}          # hour or day",
            f"cut_off_hours = {cut_off!r}" if cut_off is not None else "# cut_off_hours = 72          # then nothing "
            "counts any more",
            "", "[extensions]          # student = a due date of their own",
            *(f"{_quoted(who)} = {due.isoformat()}" for who, due in self.extensions.items()),
            "", "# What was released, so that the judge knows it again. Not to be edited."]
        for cell in self.given:
            lines += ["", "[[given]]", f"notebook = {_quoted(cell.notebook)}", f"id = {_quoted(cell.id)}",
                      f"source = {_quoted(cell.source, long=True)}"]
        return "\n".join(lines)


def chosen(wanted: str | Iterable[str]) -> list[str]:
    """The ids of exercises from what people write: "04" for a chapter, "01.4" for all its parts, "01.1a" for one.

    Raises:
        ArgumentError: there is no such exercise.

    >>> chosen(["09.1", "09.3"])
    ['09.1a', '09.1b', '09.3']
    """
    words = wanted.replace(",", " ").split() if isinstance(wanted, str) else list(wanted)
    found = set()
    for word in words:
        fitting = {e.id for e in all_exercises() if word in (e.id, e.number, e.chapter)}
        found |= fitting or {find(word).id}              # find knows how to say that there is none
    return sorted(found, key=order)


def release(folder, exercises, *, name="", due=None, zone="UTC", late=NO_POLICY, counts="best", class_id="",
            extensions=None) -> Assignment:
    """Make the folder that a class gets, and beside it the assignment file for the teacher.

    Args:
        folder: where; it must not exist yet, or be empty. The assignment file goes to `assignment_file(folder)`.
        exercises: ids as for `chosen`, or {id: points} for points of your own.
        name: what it is called; the folder's name if nothing is said.
        due, zone: when it is due, as for `deadlines.due_date`.
        late, counts, class_id, extensions: as in `Assignment`.

    Raises:
        ArgumentError: an exercise that is not there, a folder that holds something, a notebook with answers in it.
    """
    folder = Path(os.path.abspath(folder))
    file = assignment_file(folder)
    taken = next((path for path in (folder, file) if path.exists() and not _is_empty(path)), None)
    if taken:
        raise ArgumentError(message("There is something here already; nothing is written over.", [("here", taken)],
                                    "another folder, or take the old one away."))
    points = dict(exercises) if isinstance(exercises, Mapping) else {}
    ids = chosen(exercises)
    own = {who: due_date(when, zone) for who, when in (extensions or {}).items()}
    assignment = Assignment(name or folder.name, {id: points.get(id, find(id).points) for id in ids},
                            due and due_date(due, zone), zone, late, counts, class_id, own)
    notebooks = {path.name: cut(path, assignment) for path in map(_sheet, assignment.chapters)}
    given = [Given(notebook, cell["id"], _text(cell)) for notebook, nb in notebooks.items() for cell in nb["cells"]
             if cell["cell_type"] == "code"]
    assignment = replace(assignment, given=tuple(given))
    folder.mkdir(parents=True, exist_ok=True)
    for notebook, nb in notebooks.items():
        text = json.dumps(nb, indent=1, ensure_ascii=False)
        (folder / notebook).write_text(text + "\n", encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(readme(assignment, notebooks), encoding="utf-8", newline="\n")
    assignment.save(file)
    return assignment


def assignment_file(folder) -> Path:
    """Where the assignment file of a released folder lies: beside it."""
    folder = Path(os.path.abspath(folder))
    return folder.parent / f"{folder.name}.assignment.toml"


def cut(path, assignment: Assignment) -> dict:
    """An exercise notebook with the chosen exercises only, as the dict that its JSON says.

    Raises:
        ArgumentError: somebody has worked in the notebook, so that it may hold answers.
    """
    nb = json.loads(Path(path).read_text(encoding="utf-8"))
    if _digest(nb) != nb["metadata"].get("minidl", {}).get("digest"):
        raise ArgumentError(message("Somebody has worked in this notebook: its answers would go to the class.",
                                    [("notebook", path)], "rename it, and run `make exercises` for a fresh one."))
    ids = [id for id in assignment.exercises if id[:2] == Path(path).name[:2]]
    cells = _chosen_cells(nb["cells"], ids)
    if assignment.class_id:
        cells.insert([cell["id"] for cell in cells].index("begin") + 1, _class_cell(assignment.class_id))
    total = f"{len(ids)} {_plural('check', len(ids))}, " + _worth(sum(assignment.exercises[id] for id in ids))
    total += f" · about {sum(find(id).minutes for id in ids)} minutes"
    for cell in cells:
        text = _text(cell)
        if cell["cell_type"] == "markdown":
            text = ORIGIN.sub("", LINK.sub(r"\1", TOTAL.sub(total, text, count=1) if cell["id"] == "title" else text))
        id = _exercise(cell["id"])
        if id and cell["id"].startswith("about-"):
            text = WORTH.sub(f"· {_worth(assignment.exercises[id])} ·", text, count=1)
        if id and "points" in cell["metadata"].get("nbgrader", {}):
            cell["metadata"]["nbgrader"]["points"] = assignment.exercises[id]
        if id and cell["id"] == answer_cell(id) and STUB not in text:
            raise ArgumentError(message("An answer is not blank.", [("notebook", path), ("cell", cell["id"])]))
        cell["source"] = text.splitlines(keepends=True)
    nb["metadata"]["minidl"] = {"assignment": assignment.name, "class": assignment.class_id}
    return {**nb, "cells": cells}


def readme(assignment: Assignment, notebooks: Iterable[str] = ()) -> str:
    """What the class reads first."""
    rows = "\n".join(f"| {id} | {find(id).title} | {'★' * find(id).stars} | {points:g} |"
                     for id, points in assignment.exercises.items())
    files = "\n".join(f"* `{name}` ({chapter_title(name[:2])})" for name in notebooks)
    due = f"Due: **{spoken(assignment.due, assignment.zone)}**." if assignment.due else "There is no due date."
    late = f"\n\n{assignment.late.text()}" if assignment.due else ""
    which = {"best": "You may hand in as often as you like; for each exercise the best attempt counts.",
             "last": "You may hand in again; the last attempt counts.",
             "in-time": "You may hand in again; the last attempt before the due date counts."}[assignment.counts]
    return f"""# {assignment.name}

{due}{late}

{which}

| exercise | | | points |
| --- | --- | --- | ---: |
{rows}
| | together | | {assignment.out_of:g} |

## How to work

{files}

Open a notebook in JupyterLab (`pip install "minidl[lab]"`, then `jupyter lab`), replace each line
`raise NotImplementedError(...)` by your answer, and run the `check` below it. Then hand in the notebook file itself.

* A check looks at a few cases that you see. What counts is graded later, on other cases, drawn at that time.
* Keep your answers in their cells, and keep the names of the functions. Cells of your own are welcome; answers use the
  imports, functions and values in them.
* A file has at most 2 MB. If yours is larger, clear the outputs and save.
"""


# --- pieces -----------------------------------------------------------------------------------------------------------


def _sheet(chapter) -> Path:
    path = sheet("exercises", chapter)
    if path is None:
        raise ArgumentError(message("The exercise notebook is not here.", [("chapter", chapter)],
                                    "run this in the folder of the course, which holds exercises/."))
    return path


def _chosen_cells(cells, ids):
    """The cells that the chosen exercises need: theirs, what is common to all, and no word about the others."""
    owners = [_exercise(cell["id"]) for cell in cells]
    others = set(owners) - {None, *ids}
    gone = {name for cell, owner in zip(cells, owners) if owner in others and cell["id"] == answer_cell(owner)
            for piece in pieces.cut(_text(cell)) for name in piece.defines}
    kept, now = [], True
    for cell, owner in reversed(list(zip(cells, owners))):       # from the end: prose leads to the cell after it
        heading = GROUP.match(_text(cell)) if cell["cell_type"] == "markdown" else None
        if cell["id"] in ALWAYS:
            now = True
        elif owner:
            now = owner in ids
        elif heading:
            now = any(find(id).number == heading[1] for id in ids)
        elif cell["cell_type"] == "code":
            now = not any(f'"{id}"' in _text(cell) for id in others) and not any(
                piece.uses & gone for piece in pieces.cut(_text(cell)))
        kept += [cell] if now else []
    return kept[::-1]


def _class_cell(class_id):
    """The cell that tells `check` which class this is."""
    source = f'import os\n\nos.environ["MINIDL_CLASS"] = {json.dumps(class_id)}'
    return {"cell_type": "code", "execution_count": None, "id": "class", "metadata": {}, "outputs": [],
            "source": source}


def _exercise(cell_id):
    """The exercise of a cell such as about-01-1a, answer-01-1a or check-01-1a; None for others."""
    return exercise_of(re.sub(r"^(about|check)-", "answer-", cell_id or ""))


def _text(cell):
    return "".join(cell["source"])


def _digest(nb):
    """The fingerprint that tools/make_exercises.py stores in what it generates."""
    text = json.dumps([(cell.get("id"), cell["cell_type"], _text(cell).strip()) for cell in nb["cells"]])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _is_empty(path):
    return path.is_dir() and not any(path.iterdir())


def _worth(points):
    return f"{points:g} {_plural('point', points)}"


def _plural(noun, count):
    return noun if count == 1 else f"{noun}s"


def _quoted(text, long=False):
    """A string of TOML: JSON's, but for what only one of them allows; over several lines if it is long."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if not long:
        return quoted
    inside = quoted[1:-1].replace("\\\\", "\0").replace(r'\"\"\"', "\1")
    for written, plain in (("\\n", "\n"), ("\\t", "\t"), (r'\"', '"'), ("\0", "\\\\"), ("\1", r'\"\"\"')):
        inside = inside.replace(written, plain)
    return f'"""\n{inside}"""'
