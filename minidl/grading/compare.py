"""When are two answers the same? Honest forms are: a list for an array, an int for a float, float32, a tensor.

Not the same: another shape, other numbers, NaN where there should be none. A shape counts only as part of an answer;
`(1,)` is not `()`.
"""
import collections.abc
import itertools

import numpy as np

from ..tensor import Tensor

# What each precision can give, after a few operations. The exercise's own tolerance counts where it is wider.
ROUGH = {"float16": (1e-2, 1e-2), "float32": (1e-4, 1e-5)}
SIMPLE = (type(None), bool, int, float, complex, str, bytes)
BELOW = {int: int.__index__, float: float.__float__, complex: complex.__complex__, str: str.__str__,
         bytes: bytes.__bytes__}
DEEPEST = 50         # lists in lists; NumPy's arrays have 64 axes at most
MOST_VALUES = 200_000                # in lists of lists, and as many as the judge's messages take; arrays may have more


def difference(got, expected, rtol=1e-6, atol=1e-9):
    """What differs between two answers, in a sentence; None if nothing that matters does.

    Args:
        got, expected: arrays, tensors, numbers, strings, None, or tuples, lists and dicts of these.
        rtol, atol: `|got - expected| <= atol + rtol * |expected|`, for float64; wider for float32.

    >>> difference([1, 2], np.array([1.0, 2.0]))
    >>> difference((1,), ())
    'the shape is (1,), expected (0,)'
    """
    got, expected = plain(got), plain(expected)
    if expected is None or isinstance(expected, str):
        return None if type(got) is type(expected) and got == expected else f"got {brief(got)}"
    if isinstance(expected, dict):
        return _of_dicts(got, expected, rtol, atol)
    numbers = as_numbers(expected)
    if numbers is not None:
        return _of_numbers(got, numbers, rtol, atol)
    if isinstance(expected, list):
        return _of_lists(got, expected, rtol, atol)
    return None if got == expected else f"got {brief(got)}"


class Other:
    """Stands for something of a learner's that is no number, text, table or list; only its text is kept.

    So whatever looks at an answer later runs no code of the thing's own: not its `==`, `__array__` or `__repr__`.
    """

    def __init__(self, x):
        self.text = x if type(x) is str else brief(x)

    def __repr__(self):
        return self.text


class TooMany(Exception):
    """An answer has more values in lists than any exercise asks for: `range(10**12)` would fill the memory."""


def plain(x):
    """What an answer is made of, in Python's and NumPy's own classes.

    Tensors become arrays, tuples and other sequences lists; numbers, texts and arrays of a class of the learner's those
    of the class below it; anything else an `Other`, and so does a list of more than MOST_VALUES values. Dicts stay, and
    so do numbers and strings.
    """
    try:
        return _plain(x, 0, itertools.count(1))
    except TooMany:
        return Other(f"a {type(x).__name__} of more than {MOST_VALUES:,} values")


def _plain(x, depth, values):
    """`plain` for a value that many lists are around; `values` counts those that the whole answer has so far."""
    if next(values) > MOST_VALUES:
        raise TooMany
    if type(x) in SIMPLE or isinstance(x, Other):
        return x
    if depth > DEEPEST:
        return Other(f"lists in lists, more than {DEEPEST} deep")
    if isinstance(x, Tensor):
        return x.detach().host_array()
    if isinstance(x, dict):
        return {_key(key): _plain(value, depth + 1, values) for key, value in x.items()}
    if isinstance(x, np.ndarray):
        return _plain(x.tolist(), depth + 1, values) if x.dtype == object else np.asarray(x)
    if isinstance(x, (list, tuple, range, map, zip)) or isinstance(x, collections.abc.Generator):
        return [_plain(value, depth + 1, values) for value in x]
    if isinstance(x, np.generic) and not isinstance(x, str):
        return np.asarray(x)[()]
    below = next((below for kind, below in BELOW.items() if isinstance(x, kind)), _seen_by_numpy)
    return below(x)


def _key(key):
    """The key of a dict, for something that runs no code of the learner's when it is looked up."""
    if type(key) is tuple:
        return tuple(map(_key, key))
    found = plain(key)
    return found if isinstance(found, (np.generic, Other, *SIMPLE)) else Other(key)


def _seen_by_numpy(x):
    """An array of something that NumPy can see as one, such as another library's tensor."""
    try:
        array = np.asarray(x)
    except Exception:
        return Other(x)
    return Other(x) if array.dtype == object else np.asarray(array)


def as_numbers(x):
    """`x` as an array of numbers, None if it is none: text, ragged, or something else."""
    if isinstance(x, (str, bytes, dict, type(None))) or _holds_text(x):
        return None
    try:
        array = np.asarray(x)
    except (ValueError, TypeError):
        return None
    return array if array.dtype.kind in "biufc" else None


def _holds_text(x):
    """Whether text is in a list: NumPy would give every entry the room of the longest."""
    return isinstance(x, list) and any(isinstance(part, str) or _holds_text(part) for part in x)


def precision(x):
    """The least precise kind of float in an answer, as a name."""
    parts = x if isinstance(x, list) else [x]
    kinds = {precision(p) if isinstance(p, list) else str(getattr(p, "dtype", "")) for p in parts}
    return next((kind for kind in ROUGH if kind in kinds), "float64")


def mismatches(got, expected, rtol, atol):
    """True where two arrays of one shape differ by more than is allowed."""
    with np.errstate(all="ignore"):
        return ~np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)


def _of_numbers(got, expected, rtol, atol):
    array = as_numbers(got)
    if array is None:
        return f"expected numbers, got {brief(got)}"
    if array.dtype.kind == "c" and expected.dtype.kind != "c":
        return "the numbers are complex, expected real ones"
    if isinstance(got, list) and array.size == expected.size == 0 and array.shape == expected.shape[:array.ndim]:
        return None                                      # lists cannot say how long the rows are that they do not have
    if array.shape != expected.shape:
        return f"the shape is {array.shape}, expected {expected.shape}"
    rough = ROUGH.get(precision(got), (0, 0)) if array.dtype.kind == expected.dtype.kind == "f" else (0, 0)
    wrong = mismatches(array, expected, max(rtol, rough[0]), max(atol, rough[1]))
    if not wrong.any():
        return None
    if not expected.ndim:
        return "the number differs"
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    where = ", ".join(map(str, place))
    count = f"{wrong.sum()} of {wrong.size} numbers differ" if wrong.size > 1 else "the number differs"
    return f"{count}, first at [{where}]: {shown(array[place])}, expected {shown(expected[place])}"


def _of_lists(got, expected, rtol, atol):
    if not isinstance(got, list) and not (isinstance(got, np.ndarray) and got.ndim):
        return f"expected {len(expected)} values, got {brief(got)}"
    if len(got) != len(expected):
        return f"{len(got)} values, expected {len(expected)}"
    return _first(enumerate(zip(got, expected)), rtol, atol)


def _of_dicts(got, expected, rtol, atol):
    if not isinstance(got, dict):
        return f"expected a dict, got {brief(got)}"
    if got.keys() != expected.keys():
        return f"the keys are {sorted(map(str, got))}, expected {sorted(map(str, expected))}"
    return _first(((repr(key), (got[key], expected[key])) for key in expected), rtol, atol)


def _first(pairs, rtol, atol):
    """The first difference among named pairs."""
    for name, (one, other) in pairs:
        if reason := difference(one, other, rtol, atol):
            return f"in value {name}: {reason}"
    return None


def shown(number):
    """A number as people write it.

    >>> shown(np.float64(2.0)), shown(1 / 3)
    ('2', '0.333333')
    """
    return str(bool(number)) if isinstance(number, (bool, np.bool_)) else f"{number:.6g}"


def brief(x, width=60):
    """A value in one short line."""
    try:
        text = " ".join(repr(x).split())
    except Exception:                                # a whole number of 5,000 digits, or a __repr__ that fails
        text = f"{type(x).__name__} without a text"
    return text if len(text) <= width else text[: width - 3] + "..."
