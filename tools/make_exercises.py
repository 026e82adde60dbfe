"""Make exercises/ from solutions/: every solution becomes a line that says whose turn it is.

    python tools/make_exercises.py              write what is missing or old
    python tools/make_exercises.py --check      write nothing; status 1 if something is old
    python tools/make_exercises.py --new 09_convolution     begin solutions/09_convolution.ipynb from its specs

A solution stands in a cell called `answer-09-2`, between `# BEGIN SOLUTION` and `# END SOLUTION`; `check-09-2` looks at
it. The solutions themselves are tidied: outputs go, and nbgrader's cell metadata is filled in, so that a class can take
the folder as it is. An exercise notebook that somebody has worked in is never written over: the digest of the text that
was generated is stored in it, and a text that no longer fits it is left alone.
"""
import hashlib
import inspect
import json
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minidl.grading.exercise import all_exercises, find  # noqa: E402
from minidl.grading.sheets import answer_cell, blanked, exercise_of  # noqa: E402

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}

BEGIN = """import numpy as np
from minidl.grading import check, hint, progress, solution

progress()"""


def digest(nb):
    """A fingerprint of the text of all cells; outputs do not count."""
    text = json.dumps([(cell.get("id"), cell.cell_type, cell.source.strip()) for cell in nb.cells])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def nbgrader(cell_id):
    """nbgrader's metadata for an answer or a check; None for other cells."""
    id = exercise_of(cell_id.replace("check-", "answer-", 1))
    if id is None:
        return None
    common = {"grade_id": cell_id, "schema_version": 3, "task": False}
    if cell_id.startswith("answer-"):
        return {**common, "grade": False, "locked": False, "solution": True}
    return {**common, "grade": True, "locked": True, "solution": False, "points": find(id).points}


def tidied(nb):
    """A solutions notebook without outputs and with nbgrader's metadata."""
    nb.metadata = nbformat.from_dict(dict(KERNEL))
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if about := nbgrader(cell.id):
                cell.metadata["nbgrader"] = about
    return nb


def exercises_of(nb, name):
    """The exercise notebook that belongs to a tidy solutions notebook; `nb` itself is changed."""
    for cell in nb.cells:
        if id := exercise_of(cell.id):
            cell.source = blanked(cell.source, id)
    nb.cells[0].source += f"\n\n<!-- generated from solutions/{name} by `make exercises`: change it there -->"
    nb.metadata["minidl"] = {"generated_from": f"solutions/{name}", "digest": digest(nb)}
    return nb


def touched(path):
    """Whether somebody has changed the text of a generated notebook."""
    try:
        nb = nbformat.read(path, as_version=4)
        return digest(nb) != nb.metadata["minidl"]["digest"]
    except (ValueError, KeyError, AttributeError):
        return True


def bring(path, text, check):
    """Write `text` if the file differs. Returns what there is to say, "" if nothing."""
    name = f"{path.parent.name}/{path.name}"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return ""
    if check:
        return f"{name} is not what solutions/ gives: run `make exercises`"
    if path.parent.name == "exercises" and path.exists() and touched(path):
        return f"{name} has been worked in and is left as it is; rename it to get a fresh one"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return f"{name} written"


def text_of(nb):
    return nbformat.writes(nb) + "\n"


def begun(chapter):
    """A first solutions notebook from the specs of a chapter; the prose is to be written."""
    v4 = nbformat.v4
    mine = [e for e in all_exercises() if e.chapter == chapter]
    cells = [v4.new_markdown_cell(f"# {chapter} · Exercises", id="title"),
             v4.new_code_cell(BEGIN, id="begin")]
    for e in mine:
        head, body = re.match(r"(?:@[^\n]*\n)*(def .*?:\n)(.*)", inspect.getsource(e.right), re.S).groups()
        worth = f"{'★' * e.stars} · {e.points} {'point' if e.points == 1 else 'points'} · {e.minutes} minutes"
        answer = f'{head}    # BEGIN SOLUTION\n{body}    # END SOLUTION'
        name = answer_cell(e.id)
        cells += [v4.new_markdown_cell(f"## {e.id} · {e.title}\n{worth}\n\n...", id=name.replace("answer", "about")),
                  v4.new_code_cell(answer, id=name),
                  v4.new_code_cell(f'check("{e.id}", {e.right.__name__})', id=name.replace("answer", "check"))]
    return v4.new_notebook(cells=[*cells, v4.new_code_cell("progress()", id="see-progress")])


def main(arguments, root=ROOT):
    """Generate, check or begin; 1 if something is old."""
    if arguments[:1] == ["--new"]:
        path = root / "solutions" / f"{arguments[1]}.ipynb"
        if path.exists():
            sys.exit(f"{path.name} exists already")
        print(bring(path, text_of(tidied(begun(arguments[1][:2]))), check=False))
        return 0
    check, said = "--check" in arguments, []
    for path in sorted((root / "solutions").glob("*.ipynb")):
        nb = tidied(nbformat.read(path, as_version=4))
        said.append(bring(path, text_of(nb), check))
        said.append(bring(root / "exercises" / path.name, text_of(exercises_of(nb, path.name)), check))
    said = [line for line in said if line]
    print("\n".join(said) or "exercises: up to date with solutions/")
    return 1 if check and said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
