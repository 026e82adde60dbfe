"""The folder that a student's process imports from: minidl without what would give answers away.

    minidl/             as it is, but without judge, and of grading only what an answer or a look at one may import
    minidl/grading/     `check`, `hint` and the like do nothing here; no chapters, references, mistakes or cases
    seat/               student.py and the files that it needs, in a package of their own, so that they can be imported
                        without minidl, which takes longer than most answers
"""
import atexit
import compileall
import shutil
import tempfile
from functools import cache
from pathlib import Path

from .visible import Package, library

PACKAGE = Path(__file__).resolve().parents[1]
SEAT = ("judge/student.py", "judge/frames.py", "judge/pieces.py", "grading/allowed.py")
KEPT = ("compare.py", "cases.py")                # of grading: they hold no exercise
DOORS = ("check", "hint", "solution", "progress", "use", "whose", "show", "export_progress", "import_progress")

QUIET = '''"""Exercises, where a judge runs them: nothing here does anything."""


def _nothing(*args, **settings):
    return None


''' + " = ".join(DOORS) + " = _nothing\n"


@cache
def students_library() -> tuple[Package, ...]:
    """What can be imported in a student's process: NumPy, and the folder's two packages.

    The folder is made once for this process, and removed at its end.
    """
    folder = Path(tempfile.mkdtemp(prefix="minidl-library-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)                                            # the process may be another user's
    _copy_minidl(folder / "minidl")
    _copy_seat(folder / "seat")
    compileall.compile_dir(folder, quiet=2, maxlevels=20)          # the process may not write there
    numpy = [package for package in library() if package.path != PACKAGE]
    return (*numpy, Package(folder / "minidl"), Package(folder / "seat"))


def _copy_minidl(target):
    def left_out(folder, names):
        inside = Path(folder).relative_to(PACKAGE)
        return {name for name in names if (inside / name).as_posix() in ("judge", "grading", "cli.py", "__main__.py")
                or name.startswith(".")}

    shutil.copytree(PACKAGE, target, ignore=left_out)
    (target / "grading" / "chapters").mkdir(parents=True)          # empty: a place to find other files from
    for name in KEPT:
        shutil.copy2(PACKAGE / "grading" / name, target / "grading" / name)
    (target / "grading" / "__init__.py").write_text(QUIET, encoding="utf-8")


def _copy_seat(target):
    for name in SEAT:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PACKAGE / name, path)
        (path.parent / "__init__.py").write_text("", encoding="utf-8")
    (target / "__init__.py").write_text("", encoding="utf-8")
