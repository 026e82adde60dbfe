"""A class that uses nbgrader takes solutions/ as it is: the real program releases it and grades what comes back."""
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from minidl.grading import all_exercises, sheets

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not find_spec("nbgrader"), reason="needs nbgrader")]

ROOT = Path(__file__).resolve().parents[1]
SHEETS = sorted(path.name for path in (ROOT / "solutions").glob("*.ipynb"))
GRADED = "01_tensors.ipynb"
SCORES = """
from nbgrader.api import Gradebook
import json, sys
with Gradebook(sys.argv[1]) as book:
    print(json.dumps({s.student.id: {n.name + ".ipynb": [n.score, n.max_score] for n in s.notebooks}
                      for s in book.assignment_submissions("minidl")}))
"""


def run(course, *arguments):
    """Python in the folder of a course, as in an activated environment: nbgrader calls `alembic` by its name."""
    around = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
              "PYTHONPATH": str(ROOT), "MINIDL_PROGRESS": "off", "MINIDL_CHECK_RAISES": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=course, env=around, capture_output=True, text=True,
                          encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which one assignment holds all of solutions/ and has been released."""
    course = tmp_path_factory.mktemp("course")
    (course / "nbgrader_config.py").write_text('get_config().CourseDirectory.course_id = "minidl"\n', encoding="utf-8")
    (course / "source" / "minidl").mkdir(parents=True)
    for name in SHEETS:
        shutil.copy(ROOT / "solutions" / name, course / "source" / "minidl" / name)
    run(course, "-m", "nbgrader", "generate_assignment", "minidl")
    return course


@pytest.mark.parametrize("name", SHEETS)
def test_a_released_notebook_has_every_blank_and_no_solution(course, name):
    cells = {id: source for id, _, source in sheets.cells(course / "release" / "minidl" / name)}
    mine = [e for e in all_exercises() if e.chapter == name[:2]]
    assert mine and not any("SOLUTION" in source for source in cells.values())
    for exercise in mine:
        answer = sheets.answer_cell(exercise.id)
        assert "raise NotImplementedError" in cells[answer]
        assert cells[answer.replace("answer", "check")].startswith(f'check("{exercise.id}", ')


def test_a_filled_notebook_gets_everything_and_a_blank_one_nothing(course):
    for student, folder in (("filled", "source"), ("blank", "release")):
        (course / "submitted" / student / "minidl").mkdir(parents=True)
        shutil.copy(course / folder / "minidl" / GRADED, course / "submitted" / student / "minidl" / GRADED)
    run(course, "-m", "nbgrader", "autograde", "minidl", "--notebook", GRADED.removesuffix(".ipynb"))
    scores = json.loads(run(course, "-c", SCORES, f"sqlite:///{course / 'gradebook.db'}"))
    points = sum(e.points for e in all_exercises() if e.chapter == GRADED[:2])
    assert scores["filled"][GRADED] == [points, points]
    assert scores["blank"][GRADED] == [0, points]
    assert {name: top for name, (_, top) in scores["blank"].items()} == {
        name: sum(e.points for e in all_exercises() if e.chapter == name[:2]) for name in SHEETS}
