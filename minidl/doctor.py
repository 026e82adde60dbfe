"""What is installed, what is missing, and what to do about it.

Only Python and NumPy are required. A missing extra is no fault: the row says what it would give.
Everything is looked up by name, nothing is imported that the answer does not need.
"""
import html
import importlib.metadata
import os
import shutil
import sys
from dataclasses import dataclass

from . import backend
from .errors import DeviceError

PYTHON = (3, 11)     # the bounds of pyproject.toml; a test compares them
NUMPY = (2, 0)

OK, MISSING, TOO_OLD, OPTIONAL = "ok", "missing", "too old", "optional, missing"
MARKS = {OK: "✓", MISSING: "✗", TOO_OLD: "✗", OPTIONAL: "·"}     # a state is never told by colour alone
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Check:
    """One row: what was looked for, its state, what was found, and what to do if it is not there."""

    name: str
    state: str
    found: str = ""
    advice: str = ""

    @property
    def cells(self):
        """The texts of the row, in the order of the columns."""
        return self.name, f"{MARKS[self.state]} {self.state}", " ".join(filter(None, (self.found, self.advice)))


class Report:
    """The answer of `doctor()`: a list of checks that prints as a table, in a terminal and in a notebook."""

    def __init__(self, checks):
        self.checks = tuple(checks)

    @property
    def required_ok(self):
        """True if nothing that minidl needs is missing or too old."""
        return all(check.state in (OK, OPTIONAL) for check in self.checks)

    @property
    def verdict(self):
        """One sentence: can we start?"""
        return "Ready: everything required is here." if self.required_ok else "Not ready: mend the rows marked ✗ first."

    def __str__(self):
        rows = [check.cells for check in self.checks]
        widths = [max(len(row[k]) for row in rows) for k in (0, 1)]
        lines = [f"{name:<{widths[0]}}   {state:<{widths[1]}}   {text}".rstrip() for name, state, text in rows]
        return "\n".join([*lines, "", self.verdict])

    __repr__ = __str__

    def _repr_html_(self):
        def line(cells, tag):
            cells = "".join(f'<{tag} style="text-align: left">{html.escape(text)}</{tag}>' for text in cells)
            return f"<tr>{cells}</tr>"

        body = "\n".join(line(check.cells, "td") for check in self.checks)
        head = line(("what", "state", "found, and what to do"), "th")
        return f"<table>\n<caption>{html.escape(self.verdict)}</caption>\n{head}\n{body}\n</table>"


def doctor():
    """Look at this machine and report what minidl will find.

    >>> doctor().required_ok
    True
    """
    return Report([
        _python(),
        _numpy(),
        _blas(),
        _package("numba", 'faster kernels, md.use_kernels("numba")'),
        _package("matplotlib", "plots"),
        _package("ipywidgets", "sliders and buttons"),
        _package("anywidget", "the interactive players"),
        _dot(),
        _gpu(),
    ])


def _python():
    found = ".".join(map(str, sys.version_info[:3]))
    return _required("Python", found, PYTHON, "Install Python {} or newer.")


def _numpy():
    return _required("NumPy", _version("numpy"), NUMPY, 'Install it: python -m pip install "numpy>={}"')


def _required(name, found, bound, advice):
    advice = advice.format(".".join(map(str, bound)))
    if found is None:
        return Check(name, MISSING, advice=advice)
    return Check(name, OK, found) if _numbers(found) >= bound else Check(name, TOO_OLD, f"{found}.", advice)


def _blas():
    """The library behind every matrix product, and how many threads it may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = [f"{name}={os.environ[name]}" for name in THREAD_SETTINGS if name in os.environ]
    threads = ", ".join(settings) or "one thread a core"
    return Check("BLAS", OK, f"{_blas_name()}, {cores} core{'s' * (cores != 1)}, {threads}")


def _blas_name():
    import numpy as np

    config = np.show_config(mode="dicts") or {}
    return config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown library")


def _package(name, gives):
    found = _version(name)
    advice = f"Gives {gives}: python -m pip install {name}"
    return Check(name, OK, found) if found else Check(name, OPTIONAL, advice=advice)


def _dot():
    """Only whether it is there: a path would tell the reader of a stored notebook about somebody's disk."""
    if shutil.which("dot"):
        return Check("dot", OK, "Graphviz is here; the drawings of graphs to come will use it")
    return Check("dot", OPTIONAL, "Nothing needs it yet.", "Install Graphviz for the drawings of graphs to come.")


def _gpu():
    try:
        found = backend.get("cuda")
    except DeviceError as error:
        what, *_, advice = str(error).splitlines()
        return Check("GPU", OPTIONAL, "Every lesson runs without.", f"{_sentence(what)} {advice}")
    return Check("GPU", OK, f"{found.xp.cuda.runtime.getDeviceCount()} CUDA device(s), CuPy {found.xp.__version__}")


def _sentence(what):
    """The DeviceError's first line, without the name of the function that raised it."""
    return what.split("but ", 1)[-1]


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version):
    """`"2.4.6"` -> (2, 4): enough to compare with a bound, and blind to suffixes such as `rc1`."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
