"""From the bytes of a notebook to its code cells; nothing in them is trusted, and nothing is run.

Whatever the bytes are, a Submission comes of it: with the cells, or with a fault that says in words why there are none.
What can be put right without guessing is put right (a lost id, an old format), and said in a note for the teacher.
"""
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import datetime

from ..grading.sheets import ANSWER
from .names import oddity, tidy
from .rows import Cell, Submission

LARGEST = 2 * 2**20                  # bytes of a file
MOST_CELLS = 2000
SPEAKING = re.compile(r"[A-Za-z0-9_-]{1,64}")          # what a cell's id may look like
UNUSABLE = re.compile(r"[\0\ud800-\udfff]")            # characters that no Python text can hold
PERCENT = re.compile(r"^# %%([^\n]*)\n?", re.M)
AGAIN = "Open it in JupyterLab, save it there, and hand in the file with the ending .ipynb."

# What else people hand in: the first bytes of the file, and what it is.
OTHERS = ((b"PK\x03\x04", "a zip or an office file"), (b"%PDF", "a PDF"), (b"\x89PNG", "a picture"),
          (b"\xff\xd8\xff", "a picture"), (b"{\\rtf", "a text of a word processor"), (b"\x1f\x8b", "a compressed file"),
          (b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<?xml", "an XML file"))


class Unreadable(Exception):
    """A file that is no notebook; the text says why."""


def read_notebook(data: bytes, student: str, name: str, path: str, received: datetime | None) -> Submission:
    """A Submission from the bytes of a file: a notebook, or a script in the percent form if `path` ends in .py.

    Args:
        data: the file's bytes.
        student, name, path, received: as in `Submission`. Characters in names that cannot be seen are written out.

    It never raises for what is in the file.
    """
    return owned(nobodys(data, path, received), student, name)


def nobodys(data: bytes, path: str, received: datetime | None) -> Submission:
    """What is in a file, before it is known whose it is; the path is still as it came."""
    notes: list[str] = []
    cells: tuple[Cell, ...] = ()
    fault = ""
    try:
        cells = tuple(cells_of(data, path, notes))
    except Unreadable as error:
        fault = str(error)
    except Exception as error:       # nothing is known that comes here; a student must get an answer all the same
        fault = f"The file cannot be read ({type(error).__name__}). {AGAIN}"
    return Submission("", "", path, received, hashlib.sha256(data).hexdigest(), cells, fault, " ".join(notes))


def rejected(fault: str, path: str, received: datetime | None, data: bytes = b"", note: str = "") -> Submission:
    """Nobody's Submission without cells, for a file that was not even read.

    Args:
        fault: why, in a sentence for the student.
        data: what was read of it, for the digest; the path stands for it if that is nothing.
    """
    digest = hashlib.sha256(data or path.encode("utf-8", "surrogatepass")).hexdigest()
    return Submission("", "", path, received, digest, (), fault, note)


def owned(submission: Submission, student: str, name: str) -> Submission:
    """Nobody's Submission with the names of its student, made safe like its path; a note says what deceives the eye."""
    odd = [oddity(text) for text in dict.fromkeys((student, name, submission.path.rsplit("/", 1)[-1]))]
    return replace(submission, student=tidy(student), name=tidy(name), path=tidy(submission.path),
                   note=" ".join(filter(None, (submission.note, *odd))))


def cells_of(data: bytes, path: str, notes: list[str]):
    """The code cells of a file; what was put right is added to `notes`.

    Raises:
        Unreadable: it is no notebook.
    """
    text = _text(data)
    if path.lower().endswith(".py"):
        return _from_script(text, notes)
    return _from_notebook(_parsed(text), notes)


# --- bytes to text to JSON --------------------------------------------------------------------------------------------


def _text(data):
    if len(data) > LARGEST:
        raise Unreadable(f"The file is larger than {LARGEST / 2**20:g} MB. Clear the outputs, save, and hand it in "
                         "again.")
    if not data.strip(b"\0 \t\r\n"):
        raise Unreadable("The file is empty. " + AGAIN)
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for first, kind in OTHERS:
        if start.startswith(first.lower()):
            raise Unreadable(f"The file is {kind}, no notebook. {AGAIN}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"The file is not text in UTF-8: byte {error.start} does not fit. {AGAIN}") from None


def _parsed(text):
    """The JSON of a notebook. Its numbers mean nothing to us: NaN and numbers of a million digits cost nothing."""
    try:
        return json.loads(text, parse_int=_small, parse_constant=lambda name: None)
    except RecursionError:
        raise Unreadable("The file is nested too deeply to be a notebook. " + AGAIN) from None
    except json.JSONDecodeError as error:
        if re.search(r"^<<<<<<< ", text, re.M):
            raise Unreadable("The file holds two versions at once, with marks of git between them (<<<<<<<). Choose "
                             "one, and save it in JupyterLab.") from None
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise Unreadable(f"The file ends in the middle, at line {error.lineno}: it was not saved or sent to its "
                             f"end. {AGAIN}") from None
        raise Unreadable(f"The file is not JSON, as a notebook is: something is wrong at line {error.lineno}. "
                         f"{AGAIN}") from None


def _small(digits):
    return int(digits) if len(digits) < 10 else 0


# --- JSON to cells ----------------------------------------------------------------------------------------------------


def _from_notebook(nb, notes):
    if not isinstance(nb, dict):
        raise Unreadable(f"The file holds {_kind(nb)} where a notebook should be. {AGAIN}")
    raw = _raw_cells(nb)
    if len(raw) > MOST_CELLS:
        raise Unreadable(f"The notebook has {len(raw)} cells, and no exercise needs more than {MOST_CELLS}.")
    for k, cell in enumerate(raw, start=1):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise Unreadable(f"Cell {k} of the notebook is damaged: it is {_kind(cell)} without a type. {AGAIN}")
    code = [(k, cell) for k, cell in enumerate(raw, start=1) if cell["cell_type"] == "code"]
    ids = _ids([cell for _, cell in code], notes)
    return [Cell(id, _usable(_source(cell, k), f"cell {k}", notes)) for (k, cell), id in zip(code, ids)]


def _raw_cells(nb):
    """The list of cells; in format 3 and before, they are in worksheets."""
    if isinstance(nb.get("cells"), list):
        return nb["cells"]
    sheets = nb.get("worksheets")
    if "cells" in nb or not isinstance(sheets, list):
        raise Unreadable(f"The file has no list of cells, so it is no notebook. {AGAIN}")
    cells = []
    for sheet in sheets:
        if not isinstance(sheet, dict) or not isinstance(sheet.get("cells", []), list):
            raise Unreadable(f"A worksheet of the notebook is damaged. {AGAIN}")
        cells += sheet.get("cells", [])
    return cells


def _source(cell, k):
    source = cell.get("source", cell.get("input", ""))             # `input` until format 3
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise Unreadable(f"Cell {k} of the notebook is damaged: its text is {_kind(source)}. {AGAIN}")
    return source


def _ids(cells, notes):
    """An id for each cell: its own; where that says nothing, the one that nbgrader keeps; "" if there is none."""
    own = [_speaking(cell.get("id")) for cell in cells]
    taken = set(own)
    ids = [second if second and not ANSWER.fullmatch(first) and second not in taken else first
           for first, second in zip(own, map(_kept, cells))]
    if bad := sum(1 for cell, id in zip(cells, own) if not id and cell.get("id") not in (None, "")):
        notes.append(f"{bad} {'cell has an id that is' if bad == 1 else 'cells have ids that are'} none; they count "
                     "as cells without one.")
    if twice := sorted(id for id, count in Counter(ids).items() if id and count > 1)[:5]:
        notes.append(f"Several cells have the same id: {', '.join(twice)}.")
    return ids


def _kept(cell):
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return _speaking(nbgrader.get("grade_id")) if isinstance(nbgrader, dict) else ""


def _speaking(id):
    """An id if it is one: no path, no markup, nothing that is no text."""
    return id if isinstance(id, str) and SPEAKING.fullmatch(id) else ""


def _usable(source, where, notes):
    """A cell's text with U+FFFD for what no Python text can hold: Python will say where it stumbles."""
    clean, count = UNUSABLE.subn("\ufffd", source)
    if count:
        notes.append(f"In {where}, {count} {'character was' if count == 1 else 'characters were'} no text (NUL or half "
                     "a surrogate).")
    return clean


def _from_script(text, notes):
    """The code cells of a script in the percent form: cells begin with a line `# %%`."""
    parts = PERCENT.split(text.replace("\r\n", "\n"))
    found = [("", parts[0]), *zip(parts[1::2], parts[2::2])]
    if len(found) > MOST_CELLS:
        raise Unreadable(f"The script has {len(found)} cells, and no exercise needs more than {MOST_CELLS}.")
    cells = []
    for k, (head, source) in enumerate(found):
        if source.strip() and not re.search(r"\[(markdown|md|raw)\]", head):
            id = re.search(r'\bid="([^"]*)"', head)
            cells.append(Cell(_speaking(id[1]) if id else "", _usable(source.rstrip("\n"), f"cell {k}", notes)))
    return cells


def _kind(value):
    """What something of JSON is, in words."""
    return {dict: "a table", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}.get(
        type(value), "a number")
