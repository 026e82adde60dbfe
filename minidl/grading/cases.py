"""Words for inputs: what the cases of an exercise are made of.

A case is made by `case(x, y)` of arrays, numbers, tuples and strings, so that it can be shown, stored and sent to
another process. Everything random comes from the generator that is passed in.
"""
import numpy as np


class Case(tuple):
    """The values that an answer is called with."""

    __slots__ = ()


def case(*values):
    """One case; the values are passed by position."""
    return Case(values)


def shape(rng, axes, low=1, high=4):
    """A random shape with this many axes; `axes` may be a pair (fewest, most).

    >>> shape(np.random.default_rng(0), 3)
    (4, 3, 3)
    """
    count = rng.integers(axes[0], axes[1] + 1) if isinstance(axes, tuple) else axes
    return tuple(int(n) for n in rng.integers(low, high + 1, size=count))


def stretched(rng, full):
    """A shape that broadcasts to `full`: some sizes become 1, some axes on the left are left out.

    >>> stretched(np.random.default_rng(1), (2, 3, 4))
    (3, 1)
    """
    kept = full[int(rng.integers(0, len(full) + 1)):] if full else ()
    return tuple(1 if rng.random() < 0.4 else n for n in kept)


def whole(rng, size, low=-9, high=9):
    """Small whole numbers as float64: their sums are exact in any order and precision."""
    return rng.integers(low, high + 1, size=size).astype(np.float64)


def normal(rng, size):
    """Normally distributed float64 numbers."""
    return rng.standard_normal(size)


def counted(*size):
    """1, 2, 3, ... in an array of this shape: an answer shows where each number went."""
    return np.arange(1.0, np.prod(size, dtype=int) + 1).reshape(size)
