"""Lessons are run in an odd place, and one that cannot stand it is found: planted is one for each condition."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
v4 = nbformat.v4

# What a lesson may not do, as the code of its one cell; what it stores as printed; the pass that must find it.
BREAKS = {
    "good": ("print('again and again')", "again and again\n", ()),
    "second_pass": ("assert 'seen' not in globals(), 'it has run before'\nseen = True\nprint(1)", "1\n", (2,)),
    "second_output": ("import math\nmath.count = getattr(math, 'count', 0) + 1\nprint(math.count)", "1\n", (2,)),
    "first_output": ("print(2)", "1\n", (1, 2)),
    "space_in_path": ("import os\nassert ' ' not in os.getcwd()\nprint(1)", "1\n", (1, 2)),
    "letters_in_path": ("import os\nopen(os.path.abspath('own.txt').encode('ascii'), 'w').close()\nprint(1)", "1\n",
                        (1, 2)),
    "network": ("import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
                "    s.connect(('192.0.2.1', 9))\nprint(1)", "1\n", (1, 2)),
    "dot": ("import subprocess\nsubprocess.run(['dot', '-V'], check=True, capture_output=True)\nprint(1)", "1\n", (2,)),
    "page": ("import time\nfrom comm import create_comm\nanswers = []\n"
             "comm = create_comm(target_name='jupyter.widget')\ncomm.on_msg(answers.append)\ntime.sleep(0.2)\n"
             "assert answers, 'nobody shows the widget'\nprint(1)", "1\n", (1, 2)),
}


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lesson(source, printed):
    cell = v4.new_code_cell(source, id="cell", execution_count=1,
                            outputs=[v4.new_output("stream", name="stdout", text=printed)])
    return v4.new_notebook(cells=[cell])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """{lesson: the passes of its cell that failed}, of all planted lessons, run as the Makefile runs lessons."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("tests/nbval_ipc.py", "tests/nbval_sanitize.cfg", "tools/offline.py", "tools/odd_place.py"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "notebooks").mkdir()
    for name, (source, printed, _) in BREAKS.items():
        nbformat.write(lesson(source, printed), root / "notebooks" / f"{name}.ipynb")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    limit, settings = (re.search(rf"^{name} +:= (.*?[^\\])\n", makefile, re.M | re.S)[1]
                       for name in ("LIMIT", "NBVAL"))
    settings = settings.replace("$(LIMIT)", limit)
    command = [sys.executable, "tools/offline.py", sys.executable, "tools/odd_place.py", sys.executable, "-m", "pytest",
               *settings.replace("\\\n", " ").split(), "-q", "-rf", "notebooks"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf-8",
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""})
    failed = re.findall(r"^FAILED notebooks/(\w+)\.ipynb::Cell (\d)", done.stdout, re.M)
    came_to_an_end = sum(map(int, re.findall(r"(\d+) (?:passed|failed)\b", done.stdout)))
    assert came_to_an_end == 3 * len(BREAKS), done.stdout + done.stderr
    return {name: tuple({"0": 1, "1": "between", "2": 2}[cell] for lesson, cell in failed if lesson == name)
            for name in BREAKS}, done.stdout


@pytest.mark.parametrize("name", BREAKS)
def test_a_lesson_that_cannot_stand_the_place_is_found(found, name):
    passes, said = found
    if name == "dot" and not shutil.which("dot"):
        pytest.skip("no dot that could be taken away")
    if name == "network" and "network: off" not in said:
        pytest.skip("the network cannot be cut off here")
    assert passes[name] == BREAKS[name][2], said


def test_both_passes_of_a_lesson_keep_its_outputs():
    nb = tool("odd_place").twice(lesson("print(1)", "1\n"))
    assert [cell.id for cell in nb.cells] == ["cell", "between-the-passes", "cell-once-more"]
    assert nb.cells[0].outputs == nb.cells[2].outputs and nb.cells[0].source == nb.cells[2].source
    nbformat.validate(nb)


def test_the_command_runs_in_the_copy_and_imports_it(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "minidl").mkdir()
    (tmp_path / "minidl" / "__init__.py").write_text("", encoding="utf-8")
    code = "import minidl, os, sys; sys.exit(7 if minidl.__file__.startswith(os.getcwd() + os.sep) else 1)"
    assert tool("odd_place").main([sys.executable, "-c", code], tmp_path) == 7
