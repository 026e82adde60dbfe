"""Exercise notebooks as files: where they lie, and what is a blank in them.

`solutions/NN_slug.ipynb` is the source. Its cell `answer-01-2b` holds the solution of 01.2b, between two marks; in
`exercises/NN_slug.ipynb` the marked lines are replaced by a line that raises NotImplementedError.
"""
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGION = re.compile(r"^([ \t]*)# BEGIN SOLUTION[^\n]*\n(.*?)^[ \t]*# END SOLUTION[^\n]*$", re.M | re.S)
ANSWER = re.compile(r"answer-(\d\d)-(\d+[a-z]?)")


def answer_cell(id):
    """The id of the cell that holds an answer.

    >>> answer_cell("01.2b")
    'answer-01-2b'
    """
    return f"answer-{id.replace('.', '-')}"


def exercise_of(cell_id):
    """The exercise that a cell holds the answer of; None if it is no answer cell.

    >>> exercise_of("answer-01-2b")
    '01.2b'
    """
    found = ANSWER.fullmatch(cell_id or "")
    return f"{found[1]}.{found[2]}" if found else None


def regions(source):
    """The solution's lines in a cell, one text for each marked region, without the marks."""
    return [found[2] for found in REGION.finditer(source)]


def blanked(source, id):
    """A cell's text with every marked region replaced by the line that says whose turn it is.

    >>> print(blanked("def f(x):\\n    # BEGIN SOLUTION\\n    return 2 * x\\n    # END SOLUTION", "99.1"))
    def f(x):
        raise NotImplementedError("99.1: your turn")
    """
    return REGION.sub(lambda found: f'{found[1]}raise NotImplementedError("{id}: your turn")', source)


def without_marks(source):
    """A cell's text with its solution, but without the marks."""
    return "\n".join(line for line in source.split("\n")
                     if line.strip() not in ("# BEGIN SOLUTION", "# END SOLUTION"))


def sheet(folder, chapter):
    """The notebook of a chapter in `notebooks`, `solutions` or `exercises`; None if it is not there.

    Looked for in the checkout that holds this package, then around the place where Python runs.
    """
    for root in (ROOT, Path.cwd(), Path.cwd().parent):
        for path in sorted((root / folder).glob(f"{chapter}_*.ipynb")):
            return path
    return None


def cells(path):
    """(cell id, cell type, source) of every cell of a notebook file."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    return [(cell.get("id", ""), cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def solution_text(id):
    """The solution of an exercise as the source notebook has it; None if the notebook or the cell is not there."""
    path = sheet("solutions", id[:2])
    found = [source for name, _, source in cells(path) if name == answer_cell(id)] if path else []
    return without_marks(found[0]) if found else None
