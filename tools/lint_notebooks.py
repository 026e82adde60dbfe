"""Look at the lessons without running them.

    python tools/lint_notebooks.py [notebook ...]

Prints one row a notebook, then every fault with the id of its cell. What a lesson must have:

* a name NN_slug.ipynb with a number of its own (the galleries, gallery_slug.ipynb, are no lessons and have none)
* at most 400 kB; valid nbformat; no widget state
* one H1; cell ids that speak (`build-loops`, not `3f9a01bc`)
* prose between a heading and the first code under it
* code cells of at most 20 lines, half of them at most 8; no star import
* every code cell executed without error and followed by something to look at
* no path of somebody's disk in an output
* an alternative text for every picture. **Convention:** whoever displays a picture gives its output a `text/plain`
  that says in a sentence what is to be seen, beside `image/png` or `image/svg+xml`; the figures of minidl.viz do so in
  `_repr_mimebundle_`. matplotlib's own `<Figure size ...>` says nothing and is a fault. An SVG may carry a `<title>`
  instead; an `<img>` in HTML or Markdown has its `alt`.

Tags: `hide-input` frees a cell from prose, length and output (plumbing); `no-output` from output alone.
"""
import json
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

import nbformat
from nbformat.validator import iter_validate

LONGEST, MEDIAN, KILOBYTES, ALT_LENGTH = 20, 8, 400, 15
FILE_NAME = re.compile(r"(\d\d_[a-z0-9]+(_[a-z0-9]+)*|gallery_[a-z]+)\.ipynb")
SPEAKING_ID = re.compile(r"(?![0-9a-f]{8}(-|$))[a-z][a-z0-9]*(-[a-z0-9]+)*")
HEADING = re.compile(r"^(#{1,6}) .*$", re.M)
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
STAR_IMPORT = re.compile(r"^\s*from\s+\S+\s+import\s+\*", re.M)
LOCAL_PATH = re.compile(r"(?<![\w.:/-])/(home|Users|tmp|work|root|mnt|opt|private|var)/\w|\b[A-Za-z]:\\+(Users|Temp)\b")
BASE64 = re.compile(r"base64,[A-Za-z0-9+/=\s]+")
BARE_IMAGE = re.compile(r"<img\b(?![^>]*\balt=[\"'][^\"'])[^>]*>|!\[\s*\]\(")
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
COLUMNS = ("notebook", "cells", "code", "median", "longest", "figures", "kB", "faults")


def prose(cell):
    """The text of a Markdown cell without its code."""
    return FENCE.sub("", cell.source)


def lines(cell):
    """How long the reader will find it: blank lines do not count."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def pictures(cell):
    """The mime bundles of a code cell that show a picture."""
    return [out.data for out in cell.outputs if any(kind in out.get("data", ()) for kind in PICTURES)]


def has_alt(data):
    """Whether a mime bundle says in words what its picture shows."""
    text = "".join(data.get("text/plain", "")).strip()
    spoken = len(text) >= ALT_LENGTH and not text.startswith("<")
    return spoken or "<title" in "".join(data.get("image/svg+xml", ""))


def printed(cell):
    """Everything in the outputs that a person could read, as one string."""
    outputs = [{k: v for k, v in out.get("data", out).items() if not k.startswith("image/p")} for out in cell.outputs]
    return BASE64.sub("", json.dumps(outputs, ensure_ascii=False)).replace("\\n", "\n").replace('\\"', '"')


def file_faults(path, nb, code):
    """(cell id, fault) of the notebook as a whole."""
    if not FILE_NAME.fullmatch(path.name):
        yield "", "the name is not NN_slug.ipynb in small letters"
    if path.stat().st_size > KILOBYTES * 1000:
        yield "", f"{path.stat().st_size // 1000} kB; at most {KILOBYTES}: smaller figures, fewer of them"
    titles = sum(level == "#" for cell in nb.cells if cell.cell_type == "markdown"
                 for level in HEADING.findall(prose(cell)))
    if titles != 1:
        yield "", f"{titles} headings of the first level; one is the title, the rest are ##"
    if "widgets" in nb.metadata:
        yield "", "widget state is stored in the file; save without it"
    if code and statistics.median(map(lines, code)) > MEDIAN:
        yield "", f"the median code cell has {statistics.median(map(lines, code)):g} lines; at most {MEDIAN}"
    for error in iter_validate(nb):         # validate() would repair in silence what we want to see
        yield "", f"not valid nbformat: {str(error).splitlines()[0]}"
    for name, times in Counter(cell.get("id", "") for cell in nb.cells).items():
        if name and times > 1:
            yield name, f"{times} cells have this id"


def code_faults(cell, tags, introduced):
    """Faults of one code cell; `introduced` tells whether its section has said anything yet."""
    hidden = "hide-input" in tags
    if not introduced and not hidden:
        yield "code before any prose in its section"
    if lines(cell) > LONGEST and not hidden:
        yield f"{lines(cell)} lines; at most {LONGEST}"
    if STAR_IMPORT.search(cell.source):
        yield "star import"
    if cell.execution_count is None:
        yield "was not executed"
    elif not cell.outputs and not hidden and "no-output" not in tags:
        yield "shows nothing; end with something to look at, or tag it no-output"
    if any(out.output_type == "error" for out in cell.outputs):
        yield "ended in an error"
    if path := LOCAL_PATH.search(printed(cell)):
        yield f"an output holds a path of somebody's disk: {path[0]}..."
    if not all(map(has_alt, pictures(cell))) or BARE_IMAGE.search(printed(cell)):
        yield "a picture without an alternative text (see the convention in tools/lint_notebooks.py)"


def cell_faults(nb):
    """(cell id, fault) of every cell, in order."""
    introduced = False
    for cell in nb.cells:
        name = cell.get("id", "")
        if not SPEAKING_ID.fullmatch(name):
            yield name, "the cell's id does not speak; call it after what the cell does, like see-filters"
        if cell.cell_type == "code":
            faults = code_faults(cell, cell.metadata.get("tags", ()), introduced)
            yield from ((name, fault) for fault in faults)
            continue
        if BARE_IMAGE.search(prose(cell)):
            yield name, "an image without an alternative text"
        *_, after = HEADING.sub("\0", prose(cell)).split("\0")        # what follows the cell's last heading
        introduced = bool(after.strip()) or (introduced and not HEADING.search(prose(cell)))


def lint(path):
    """The row of the table and the list of (cell id, fault) of one notebook."""
    try:
        nb = nbformat.v4.reads(path.read_text(encoding="utf-8"))        # as stored, nothing repaired
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        faults = [*file_faults(path, nb, code), *cell_faults(nb)]
    except (ValueError, AttributeError) as error:
        return (path.name, *"------", 1), [("", f"cannot be read as a notebook: {error}")]
    sizes = [lines(cell) for cell in code] or [0]
    figures = sum(len(pictures(cell)) for cell in code)
    kilobytes = path.stat().st_size // 1000
    return (path.name, len(nb.cells), len(code), f"{statistics.median(sizes):g}", max(sizes), figures, kilobytes,
            len(faults)), faults


def main(names):
    """Print the table and the faults; 1 if there are any."""
    root = Path(__file__).resolve().parents[1]
    paths = sorted(map(Path, names)) or sorted((root / "notebooks").glob("*.ipynb"))
    reports = {path: lint(path) for path in paths}
    numbers = Counter(path.name[:2] for path in paths if path.name[:2].isdigit())
    for path, (_, faults) in reports.items():
        if numbers[path.name[:2]] > 1:
            faults.append(("", f"another notebook has the number {path.name[:2]} too"))
    print("{:<34}{:>7}{:>7}{:>8}{:>9}{:>9}{:>6}{:>8}".format(*COLUMNS))
    for (name, *figures, _), faults in reports.values():
        print("{:<34}{:>7}{:>7}{:>8}{:>9}{:>9}{:>6}{:>8}".format(name, *figures, len(faults)))
    listed = [f"{path.name}{f' [{cell}]' if cell else ''}: {fault}"
              for path, (_, faults) in reports.items() for cell, fault in faults]
    print("\n".join(["", *listed] if listed else ["", "lessons: no faults"]))
    return 1 if listed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
