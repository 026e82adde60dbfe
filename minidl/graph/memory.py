"""Tensors that look at the same memory: a change of one is seen through the other, in a graph as well.

If two tensors from outside overlap, neither is a variable of its own. The whole block of memory becomes the variable,
laid out in a row, and each of the tensors a `window` of it: a view, which the Symbols follow as they follow all views.
"""
import numpy as np

from ..errors import TraceError, message
from ..primitive import Primitive


def window(xp, x, *, offset, shape, strides):
    """Part of a row of numbers: the first stands at `offset`, the next along each axis `strides` numbers further."""
    (step,) = x.strides
    return xp.lib.stride_tricks.as_strided(x[offset:], shape, tuple(s * step for s in strides))


WINDOW = Primitive(window, view=True)


@WINDOW.shape
def _(x, offset, shape, strides):
    return shape


def root_of(array):
    """The array that owns the memory which an array looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def in_a_row(root):
    """A block of memory as one axis.

    Raises:
        TraceError: it has gaps.
    """
    row = root.ravel(order="K")
    if not np.shares_memory(row, root, max_work=1):
        raise TraceError(message("graph: two tensors share memory that does not lie in one piece.",
                                 [("memory", root.shape, root.strides)], "x.clone() for one of them."))
    return row


def window_on(row, array):
    """The settings of `window` that cut an array out of the row that it looks at.

    Raises:
        TraceError: the array takes the memory for another kind of number.
    """
    offset = _address(array) - _address(row)
    if array.dtype != row.dtype or any(n % row.itemsize for n in (offset, *array.strides)):
        raise TraceError(message("graph: two tensors share memory, but not the kind of number in it.",
                                 [("dtypes", array.dtype, row.dtype)], "x.clone() for one of them."))
    return dict(offset=offset // row.itemsize, shape=array.shape,
                strides=tuple(s // row.itemsize for s in array.strides))


def _address(array):
    return array.__array_interface__["data"][0]


def overlap(x, y):
    """Whether two arrays have numbers in common."""
    if not np.may_share_memory(x, y):
        return False
    try:
        return np.shares_memory(x, y, max_work=100_000)
    except np.exceptions.TooHardError:
        return True


def overlapping(arrays):
    """The first two of the arrays that overlap; None if none do."""
    by_root = {}
    for array in arrays:
        by_root.setdefault(id(origin(array)), []).append(array)
    for group in by_root.values():
        for k, x in enumerate(group):
            for y in group[k + 1:]:
                if overlap(x, y):
                    return x, y
    return None


def origin(array):
    """What an array got its memory from in the end, an array or not."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array
