"""The learner's own lines: what an error passed through on its way, without our files and Python's."""
import os
import sysconfig
import traceback
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1])
NOT_THEIRS = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib"))


def own_lines(error):
    """The learner's own lines among those that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    return [(frame.lineno, frame.name, (frame.line or "").strip()) for frame in frames if theirs(frame.filename)]


def theirs(file):
    """Whether a file may be the learner's: neither minidl's nor Python's nor a package's."""
    if file.startswith("<"):
        return not file.startswith("<frozen") and "__array_function__" not in file
    return not os.path.abspath(file).startswith((PACKAGE + os.sep, *NOT_THEIRS))
