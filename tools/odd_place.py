"""Run a command where a lesson is easily broken: in a copy of this checkout, under awkward conditions.

    python tools/odd_place.py COMMAND ...

* The copy lies in a folder whose name has a space and a letter beyond ASCII; the command runs there, and imports that.
* Every lesson is there twice over in one notebook, and so runs twice in one kernel. The outputs that it stores stand in
  both passes: whoever compares them with a fresh run (nbval) compares the second pass, too.
* Between the passes the folders that hold `dot` leave the PATH.

What else a lesson must stand comes from around it: tools/offline.py cuts the network, and nbval has no page that could
show a widget. The second pass of the cell `see-maps` is called `see-maps-once-more`.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "ein Ordner \N{LATIN SMALL LETTER E WITH ACUTE}"
AWAY = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "venv")
BETWEEN = """\
import os
import shutil

os.environ["PATH"] = os.pathsep.join(
    folder for folder in os.environ["PATH"].split(os.pathsep) if not shutil.which("dot", path=folder))
assert shutil.which("dot") is None"""


def twice(nb):
    """Put a second pass behind the first one, and between them the cell that takes `dot` away."""
    first = list(nb.cells)
    nb.cells.append(nbformat.v4.new_code_cell(BETWEEN, id="between-the-passes"))
    for cell in first:
        again = nbformat.from_dict(cell)
        again["id"] = f"{cell['id'][:54]}-once-more"                # an id has 64 letters at most
        nb.cells.append(again)
    return nb


def copy(root, place):
    """Copy the checkout at `root` to `place`, with all its lessons twice over."""
    shutil.copytree(root, place, ignore=AWAY)
    for path in sorted((place / "notebooks").glob("*.ipynb")):
        nbformat.write(twice(nbformat.read(path, as_version=4)), path)


def main(command, root=ROOT):
    """Run the command in the odd place and hand on its exit status."""
    program = os.path.abspath(shutil.which(command[0]) or command[0])        # a relative path begins where we are now
    with tempfile.TemporaryDirectory(prefix="minidl-") as temporary:
        place = Path(temporary) / FOLDER
        copy(root, place)
        print(f"in a copy of this checkout, in {FOLDER!r}: every lesson twice, then without dot", flush=True)
        return subprocess.call([program, *command[1:]], cwd=place, env={**os.environ, "PYTHONPATH": str(place)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
