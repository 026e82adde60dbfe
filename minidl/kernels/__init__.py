"""Faster forwards for the CPU, compiled by numba; NumPy's stay the ones to read.

    use_kernels      the switch
    numba_kernels    whole ops as compiled loops: they go into the CPU's kernel table (backend.py)
    threads          large kernels in two threads
    loops            compiled loops for chains of elementwise steps, which graph/fuse.py finds in a graph

numba is imported when the switch is first turned, never before. `pip install "minidl[fast]"` brings it.
"""
import importlib
import os

from .. import backend
from ..errors import ArgumentError, DeviceError, message
from ..primitive import registry
from .threads import crew

_rules = {}                          # op -> (inputs, rule with kernels, rule as it is written)
_on = {}                             # the kernels that are in the table because of the switch


class use_kernels:
    """Choose who computes on the CPU: "numpy", or "numba" where it is faster.

    Holds from now on; as a context manager, until the end of the block. A compiled function keeps the kernels that were
    chosen when it was recorded.

    Args:
        name: "numpy" or "numba".

    Raises:
        ArgumentError: another name.
        DeviceError: numba is not installed.

    >>> with use_kernels("numpy"):
    ...     in_use()
    'numpy'
    """

    def __init__(self, name):
        self.before = in_use()
        _choose(name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _choose(self.before)


def in_use():
    """Whose kernels the CPU runs: "numpy" or "numba"."""
    return "numba" if _on else "numpy"


def _choose(name):
    if name not in ("numpy", "numba"):
        raise ArgumentError(message(f"use_kernels: there are no kernels called {name!r}.",
                                    [("known", "'numpy', 'numba'")]))
    found = _load() if name == "numba" else {}
    for op in _on:
        backend.cpu.kernels.pop(op, None)
    for op, kernel in found.items():
        backend.cpu.kernels[op] = kernel
    _on.clear()
    _on.update(found)
    for op, (names, fast, plain) in _rules.items():
        registry[op].grad(*names)(fast if found else plain)
    (crew.start if found else crew.stop)()


def _load():
    try:
        importlib.import_module("numba")
    except ImportError as error:
        raise DeviceError(message("use_kernels: numba was asked for, but it cannot be imported.",
                                      [("reason", error)], 'pip install "minidl[fast]".')) from None
    from .numba_kernels import RULES, TABLE
    _rules.update(RULES)
    return TABLE


if os.environ.get("MINIDL_KERNELS"):
    use_kernels(os.environ["MINIDL_KERNELS"])
