"""Make a class to try the judge on: an assignment, and what fourteen students hand in.

    python examples/class/make.py [folder]

Beside this file, or in the folder, it makes

    week1/                     what the class gets
    week1.assignment.toml      what the teacher keeps
    submitted/                 what came back, in folders as nbgrader has them
    moodle.zip, canvas.zip     the same, as these platforms let a teacher download it

Nobody in it exists. `EXPECTED` says what the judge must find.
"""
import json
import os
import shutil
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from minidl.grading.exercise import find  # noqa: E402
from minidl.grading.sheets import exercise_of, solution_text  # noqa: E402
from minidl.judge.deadlines import LatePolicy  # noqa: E402
from minidl.judge.release import assignment_file, release  # noqa: E402

EXERCISES = ("01.1a", "01.1b", "01.4a", "01.4b", "04.1b", "04.1c", "09.1a")
DUE, ZONE = "2026-03-06 23:59", "Europe/Berlin"
POLICY = LatePolicy(grace_minutes=10, percent=10, per="day", cut_off_hours=72)
ASSIGNMENT = "week1"

# Wrong answers, as people write them. Each is known to its exercise by name.
MISTAKES = {
    "01.1a": """def broadcast_shapes(*shapes):
    longest = max(len(shape) for shape in shapes)
    padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    return tuple(max(column) for column in zip(*padded))""",
    "01.1b": """def source_index(index, shape):
    return index[len(index) - len(shape):]""",
    "01.4a": """def ones(n):
    return np.arange(n) * 0""",
    "01.4b": """def total(x):
    return x @ x""",
    "04.1b": """def mean_back(g, x_shape, dim, keepdim):
    if not keepdim:
        g = np.expand_dims(g, dim)
    return np.broadcast_to(g, x_shape)""",
    "04.1c": """def max_back(g, x, dim):
    return np.expand_dims(g, dim) * (x == x.max(axis=dim, keepdims=True))""",
    "09.1a": """def places(n, k, stride, padding, dilation, ceil_mode):
    return (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1""",
}

CRASHES = """def mean_back(g, x_shape, dim, keepdim):
    return g / no_such_name"""
NO_PYTHON = """def max_back(g, x, dim)
    return g"""
ENDLESS = """def source_index(index, shape):
    while True:
        pass"""

# Everything here is tried in the hope that a grader runs in the same process. None of it earns a point.
FORGER = '''import os, sys
np.testing.assert_allclose = np.allclose = np.array_equal = lambda *args, **kwargs: True

class Same:
    """Equal to whatever it is compared with."""
    __eq__ = __ge__ = __le__ = lambda self, other: True
    __hash__ = None

def broadcast_shapes(*shapes):
    return Same()'''
PRINTS = """def source_index(index, shape):
    print('{"verdict": "ok", "points": 100}  PASS')
    return Same()"""
EXITS = """def ones(n):
    os._exit(0)"""


def all_of(texts=solution_text):
    """{exercise: text} for all exercises of the assignment."""
    return {id: texts(id) for id in EXERCISES}


def chapter(number):
    """The right answers of one chapter."""
    return {id: solution_text(id) for id in EXERCISES if id.startswith(number)}


def filled(notebook, answers):
    """A released notebook with answers in the cells that wait for them."""
    notebook = json.loads(json.dumps(notebook))
    for cell in notebook["cells"]:
        if (id := exercise_of(cell["id"])) in answers:
            cell["source"] = answers[id].splitlines(keepends=True)
    return notebook


def another_kernel(notebook):
    """As some hosted notebooks save it: another kernel, no metadata, no ids but nbgrader's."""
    notebook["metadata"] = {"kernelspec": {"name": "conda-env-of-mine", "display_name": "mine"}}
    for k, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{k}"
    return notebook


def without_cells(notebook):
    """Only the answers are left, under new ids; checks, the imports and all text were deleted."""
    cells = [cell for cell in notebook["cells"] if cell["id"].startswith("answer-")]
    for k, cell in enumerate(cells):
        cell["id"], cell["metadata"] = f"{k:08x}", {}
    return {**notebook, "cells": cells}


def handed_in(released):
    """[(student, hours before the deadline, folder of the attempt, file name, bytes)]."""
    files = []

    def give(student, answers, hours=24.0, change=lambda notebook: notebook, chapters=("01", "04", "09"), attempt=""):
        for name, notebook in released.items():
            if name[:2] in chapters:
                text = json.dumps(change(filled(notebook, answers)), indent=1, ensure_ascii=False)
                files.append((student, hours, attempt, name, text.encode()))

    right = all_of()
    give("student01", right)
    give("student02", chapter("01") | {"04.1b": MISTAKES["04.1b"]}, chapters=("01", "04"))
    give("student03", {})
    give("student04", MISTAKES)
    give("student05", right, change=another_kernel)
    give("student06", right, change=without_cells)
    give("student07", right, hours=-2)
    give("student08", MISTAKES, hours=30, attempt="attempt1")
    give("student08", right, hours=1, attempt="attempt2")
    give("student09", right | {"04.1b": CRASHES, "04.1c": NO_PYTHON})
    give("student10", right | {"01.1b": ENDLESS})
    give("student11", {"01.1a": FORGER, "01.1b": PRINTS, "01.4a": EXITS})
    give("student12", right, chapters=("04", "09"))
    whole = json.dumps(filled(released["01_tensors.ipynb"], right)).encode()
    files.append(("student12", 24, "", "01_tensors.ipynb", whole[:len(whole) // 2]))
    files.append(("student13", 24, "", "week1.pdf", b"%PDF-1.7\n"))
    give("student14", right, hours=-100)
    return files


def expected():
    """{(student, exercise): verdict} for what counts of each student."""
    ok = {(f"student{k:02}", id): "ok" for k in range(1, 15) for id in EXERCISES}
    return ok | {
        ("student02", "04.1b"): "wrong", ("student02", "04.1c"): "wrong", ("student02", "09.1a"): None,
        **{("student03", id): "wrong" for id in EXERCISES}, **{("student04", id): "wrong" for id in EXERCISES},
        ("student09", "04.1b"): "wrong", ("student09", "04.1c"): "import-error",
        ("student10", "01.1b"): "timeout",
        **{("student11", id): "wrong" for id in EXERCISES}, ("student11", "01.4a"): "killed",
        **{("student12", id): "rejected-file" for id in EXERCISES if id.startswith("01")},
        **{("student13", id): "rejected-file" for id in EXERCISES}}


EXPECTED = expected()


def write_folders(folder, files, due):
    """`submitted/<student>/<assignment>/...`, each file with the time at which it came."""
    for student, hours, attempt, name, data in files:
        path = folder / student / ASSIGNMENT / attempt / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        came = (due - timedelta(hours=hours)).timestamp()
        os.utime(path, (came, came))


def write_zips(folder, files):
    """What Moodle and Canvas give: numbers for the students, the last attempt only, no times that mean anything."""
    with zipfile.ZipFile(folder / "moodle.zip", "w", zipfile.ZIP_DEFLATED) as moodle, \
            zipfile.ZipFile(folder / "canvas.zip", "w", zipfile.ZIP_DEFLATED) as canvas:
        for k, (student, hours, attempt, name, data) in enumerate(files):
            if attempt != "attempt1":
                number = 1000 + int(student[-2:])
                moodle.writestr(f"Student {student[-2:]}_{number}_assignsubmission_file_/{name}", data)
                canvas.writestr(f"{student}{'_LATE' if hours < 0 else ''}_{number}_{5000 + k}_{name}", data)


def main(folder):
    """Make everything in a folder, in place of what an earlier call made."""
    folder = Path(folder).resolve()
    for name in (ASSIGNMENT, "submitted"):
        shutil.rmtree(folder / name, ignore_errors=True)
    assignment_file(folder / ASSIGNMENT).unlink(missing_ok=True)
    assignment = release(folder / ASSIGNMENT, [find(id).id for id in EXERCISES], due=DUE, zone=ZONE, late=POLICY,
                         class_id="example")
    released = {path.name: json.loads(path.read_text(encoding="utf-8"))
                for path in sorted((folder / ASSIGNMENT).glob("*.ipynb"))}
    files = handed_in(released)
    write_folders(folder / "submitted", files, assignment.due)
    write_zips(folder, files)
    return assignment


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    print(f"{main(where).name}: due {DUE} in {ZONE}; {len(EXERCISES)} exercises, 14 students, in {where}")
