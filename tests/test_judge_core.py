"""The judge's core: two processes that share the work, and one of them is not to be trusted."""
import hashlib

import pytest

from minidl.grading import find, sheets
from minidl.judge.rows import Cell, Submission
from minidl.judge.task import grade_one

SEED = 20


def notebook(folder, chapter, **changes):
    """The code cells of a chapter's notebook, some with another text: answer_09_1a="def places(...): ..."."""
    changes = {name.replace("_", "-"): text for name, text in changes.items()}
    return [Cell(id, changes.get(id, text)) for id, kind, text in sheets.cells(sheets.sheet(folder, chapter))
            if kind == "code"]


def handed_in(cells, fault=""):
    digest = hashlib.sha256(repr(cells).encode()).hexdigest()
    return Submission("ada", "Ada", "ada/09.ipynb", None, digest, tuple(cells), fault)


@pytest.mark.parametrize("id", ["09.1a", "09.1b", "01.2b"])
def test_a_solution_earns_its_points_and_a_blank_none(id):
    row = grade_one(handed_in(notebook("solutions", id[:2])), id, SEED)
    assert (row.verdict, row.points, row.passed) == ("ok", find(id).points, row.cases), row
    row = grade_one(handed_in(notebook("exercises", id[:2])), id, SEED)
    assert (row.verdict, row.points, row.message, row.passed) == ("wrong", 0, "Not attempted.", 0), row
