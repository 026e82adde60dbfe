"""Faster forwards for the CPU; those in minidl/ops stay the ones to read.

    use_kernels      the switch
    shared           NumPy's own, large work cut in parts for two threads: always on
    threads          the second thread
    numba_kernels    whole ops as compiled loops: they go into the CPU's kernel table (backend.py)
    loops            compiled loops for chains of elementwise steps, which graph/fuse.py finds in a graph

numba is imported when the switch is first turned to it, never before. `pip install "minidl[fast]"` brings it.
"""
import importlib
import os

from .. import backend
from ..errors import ArgumentError, DeviceError, message
from ..primitive import registry
from . import shared

_rules = {}                          # op -> (inputs, rule with kernels, rule as it is written)
_on = {}                             # the kernels that are in the table because of the switch
_name = ""


class use_kernels:
    """Choose who computes on the CPU.

        "numpy"   NumPy, large work in two threads: what holds if nothing is said
        "numba"   the same, and compiled loops where they are faster
        "plain"   the forwards as they stand in minidl/ops

    Holds from now on; as a context manager, until the end of the block. A compiled function keeps the kernels that were
    chosen when it was recorded.

    Args:
        name: one of the three.

    Raises:
        ArgumentError: another name.
        DeviceError: numba is not installed.

    >>> with use_kernels("plain"):
    ...     in_use()
    'plain'
    """

    def __init__(self, name):
        self.before = in_use()
        _choose(name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _choose(self.before)


def in_use():
    """Whose kernels the CPU runs: "numpy", "numba" or "plain"."""
    return _name


def _choose(name):
    global _name
    if name not in ("numpy", "numba", "plain"):
        raise ArgumentError(message(f"use_kernels: there are no kernels called {name!r}.",
                                    [("known", "'numpy', 'numba', 'plain'")]))
    found = {**shared.TABLE, **(_load() if name == "numba" else {})} if name != "plain" else {}
    for op in _on:
        backend.cpu.kernels.pop(op, None)
    backend.cpu.kernels.update(found)
    _on.clear()
    _on.update(found)
    for op, (names, fast, plain) in _rules.items():
        registry[op].grad(*names)(fast if name == "numba" else plain)
    _name = name


def _load():
    try:
        importlib.import_module("numba")
    except ImportError as error:
        raise DeviceError(message("use_kernels: numba was asked for, but it cannot be imported.",
                                      [("reason", error)], 'pip install "minidl[fast]".')) from None
    from .numba_kernels import RULES, TABLE
    _rules.update(RULES)
    return TABLE


use_kernels(os.environ.get("MINIDL_KERNELS") or "numpy")
