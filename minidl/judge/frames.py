"""What travels between the judge and a student's process: plain values in frames that cannot run anything.

    frame    tag (4 bytes) | length (8 bytes, little-endian) | payload
    message  one frame MESG: fields as JSON; then one frame DATA with the raw numbers of each array in it

A value is a tree of numbers, text, None, lists, tuples, dicts and arrays of numbers. The tree is JSON; an array stands
in it as its kind and shape, and its bytes follow in a frame of their own. Nothing is pickled and no header of NumPy's
is parsed: a reader takes bytes, and looks at each length before it makes room for it. Whoever reads assumes that the
other side lies; `Broken` says how.

Both sides read this file: it needs Python and NumPy, and nothing of minidl.
"""
import collections.abc
import json
import math
import re
import struct
import sys
from types import MappingProxyType

import numpy as np

HEAD = struct.Struct("<4sQ")
MESSAGE, DATA = b"MESG", b"DATA"
MOST_TEXT = 4 * 2**20                # bytes of JSON in one message; Python needs many times as much to hold it
MOST_NODES, MOST_DEPTH, MOST_ARRAYS = 200_000, 40, 20_000
MOST_DIGITS = 1000                   # of a whole number
MOST_KEYS, LONGEST_KEY = 2000, 8     # of all dicts in a message: keys of one hash cost their number squared
NUMBERS = "biufc"                    # kinds of dtype: truth values, whole numbers, floats, complex numbers
DTYPE = re.compile(r"[<>|][biufc](1|2|4|8|12|16|24|32)")
PLAIN = (type(None), bool, int, float, str)


class Broken(Exception):
    """The bytes are not what this protocol says."""


class TooLarge(Exception):
    """A value does not fit into a message."""


class Other:
    """Stands for a value that is no number, text, list, tuple, dict or array. It equals nothing.

    Attributes:
        name: its type's name, as the other process says it.
    """

    def __init__(self, name):
        self.name = name

    def __eq__(self, other):
        return False

    __hash__ = None                                                                                # type: ignore

    def __repr__(self):
        return f"<{self.name}>"


# --- values -> trees --------------------------------------------------------------------------------------------------


def is_key(x):
    """Whether something may be the key of a dict: text, a number, None, or a short tuple of these."""
    if isinstance(x, tuple):
        return len(x) <= LONGEST_KEY and not any(isinstance(part, tuple) or not is_key(part) for part in x)
    return type(x) in PLAIN or (isinstance(x, np.generic) and x.dtype.kind in NUMBERS)


class Packer:
    """Turns values into trees for JSON, and collects their arrays.

    Args:
        most: bytes that arrays and text may take together.

    Attributes:
        arrays: the arrays, in the order in which they stand in the trees.
    """

    def __init__(self, most):
        self.left, self.nodes, self.keys, self.arrays = most, MOST_NODES, MOST_KEYS, []

    def tree(self, x, depth=0):
        """The tree of a value.

        Raises:
            TooLarge: it has more numbers or layers than a message may have; found out before anything is copied.
        """
        self.nodes -= 1
        if self.nodes < 0 or depth > MOST_DEPTH:
            raise TooLarge(f"more than {MOST_NODES} values, or more than {MOST_DEPTH} layers of them")
        if type(x) in PLAIN:
            return self._simple(x)
        if isinstance(x, dict):
            return {"dict": [[self._key(key, depth + 1), self.tree(value, depth + 1)] for key, value in x.items()]}
        if isinstance(x, (list, tuple, range, map, zip, collections.abc.Generator)):
            items = [self.tree(value, depth + 1) for value in x]
            return {"tuple": items} if isinstance(x, tuple) else items
        return self._numbers(_as_array(x), x, depth)

    def _key(self, x, depth):
        self.keys -= 1
        if self.keys < 0 or not is_key(x):
            raise TooLarge(f"more than {MOST_KEYS} keys, or one that is no number, text or short tuple of these")
        return self.tree(x, depth)

    def _simple(self, x):
        if isinstance(x, int) and x.bit_length() > 3 * MOST_DIGITS:
            raise TooLarge("a whole number of more than a thousand digits")
        self._take(len(x) if isinstance(x, str) else 8)
        return x

    def _numbers(self, array, x, depth):
        """The tree of what NumPy made of x; None stands for nothing."""
        if array is None:
            return {"other": type(x).__name__[:80]}
        if array.dtype == object and isinstance(x, np.ndarray):
            self._take(8 * array.size)
            return self.tree(array.tolist(), depth + 1)
        if array.dtype.kind not in NUMBERS or not DTYPE.fullmatch(array.dtype.str):
            return {"other": type(x).__name__[:80]}
        self._take(array.nbytes)                             # also of a view that repeats one number a billion times
        if len(self.arrays) >= MOST_ARRAYS:
            raise TooLarge(f"more than {MOST_ARRAYS} arrays")
        self.arrays.append(array)
        return {"scalar" if isinstance(x, np.generic) else "array": [array.dtype.str, list(array.shape)]}

    def _take(self, size):
        self.left -= size
        if self.left < 0:
            raise TooLarge("more bytes than an answer may have")


def _as_array(x):
    """x as NumPy sees it, None if it does not; a tensor as its numbers."""
    library = sys.modules.get("minidl.tensor")
    if library is not None and isinstance(x, library.Tensor):
        x = x.detach().host_array()
    try:
        return np.asarray(x)
    except Exception:
        return None


def packed(fields, most, **values):
    """The bytes of a message, in pieces.

    Args:
        fields: a dict of what JSON knows.
        most: bytes that the values may take.
        values: values under a name each; they are read back by `unpacked`.

    Raises:
        TooLarge: the values do not fit.
    """
    packer = Packer(most)
    trees = {name: packer.tree(value) for name, value in values.items()}
    text = json.dumps({**fields, "values": trees}).encode("ascii")
    if len(text) > MOST_TEXT:
        raise TooLarge("more numbers in lists than an answer may have")
    yield HEAD.pack(MESSAGE, len(text)) + text
    for array in packer.arrays:
        yield HEAD.pack(DATA, array.nbytes)
        yield np.ascontiguousarray(array).tobytes()


# --- bytes -> values --------------------------------------------------------------------------------------------------


def read(take, most):
    """Read one message.

    Args:
        take: `(n)` returns the next n bytes as a bytearray.
        most: bytes that its arrays may have together.

    Returns:
        The fields, a dict, and the values, a dict.

    Raises:
        Broken: it is no message of this protocol, or a larger one.
    """
    try:
        fields = json.loads(_frame(take, MESSAGE, MOST_TEXT))
    except (ValueError, RecursionError) as error:
        raise Broken(f"no JSON: {type(error).__name__}") from None
    trees = fields.pop("values", None) if isinstance(fields, dict) else None
    if not isinstance(trees, dict):
        raise Broken("a message without fields and values")
    reader = _Reader(take, most)
    return fields, {name: reader.value(tree) for name, tree in trees.items()}


def _frame(take, tag, most):
    """The payload of a frame, after a look at its tag and length."""
    its, length = HEAD.unpack(take(HEAD.size))
    if its != tag:
        raise Broken(f"a frame {its!r}, where {tag!r} is due")
    if length > most:
        raise Broken(f"a frame of {length} bytes, where {most} are allowed")
    return take(length)


class _Reader:
    """Builds values from trees; the frames of their arrays are read when the tree comes to them."""

    def __init__(self, take, most):
        self.take, self.left, self.nodes, self.keys = take, most, MOST_NODES, MOST_KEYS

    def value(self, tree, depth=0):
        self.nodes -= 1
        if self.nodes < 0 or depth > MOST_DEPTH:
            raise Broken("a value with too many parts")
        if type(tree) in PLAIN:
            return tree
        if isinstance(tree, list):
            return [self.value(part, depth + 1) for part in tree]
        if len(tree) != 1:
            raise Broken("a part of a value that this protocol does not know")
        (kind, what), = tree.items()
        build = BUILDERS.get(kind)
        if build is None:
            raise Broken("a part of a value that this protocol does not know")
        return build(self, what, depth + 1)

    def _tuple(self, what, depth):
        return tuple(self.value(part, depth) for part in _listed(what))

    def _dict(self, what, depth):
        self.keys -= len(_listed(what))
        if self.keys < 0:
            raise Broken("more keys than this protocol allows")
        return {self._key(key, depth): self.value(value, depth) for key, value in (_listed(pair, 2) for pair in what)}

    def _key(self, tree, depth):
        key = self.value(tree, depth)
        return key if is_key(key) else _refuse()

    def _other(self, what, depth):
        return Other(str(what)[:80])

    def _array(self, what, depth):
        name, shape = _listed(what, 2)
        if not isinstance(name, str) or not DTYPE.fullmatch(name):
            raise Broken("an array of something that is no number")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise Broken("a shape that is none")
        try:
            dtype = np.dtype(name)
            size = math.prod(shape) * dtype.itemsize
            if size > self.left:
                raise Broken(f"an array of {size} bytes, where {self.left} are allowed")
            payload = _frame(self.take, DATA, size)
            if len(payload) != size:
                raise Broken("an array with more or fewer bytes than its shape says")
            self.left -= size
            array = np.frombuffer(payload, dtype).reshape(shape)
            return array.view(np.uint8).astype(bool) if dtype.kind == "b" else array     # 2 is no truth value
        except (ValueError, TypeError) as error:
            raise Broken(f"no array: {error}") from None

    def _scalar(self, what, depth):
        return self._array(what, depth).reshape(1)[0] if _listed(what, 2)[1] == [] else _refuse()


BUILDERS = MappingProxyType({"tuple": _Reader._tuple, "dict": _Reader._dict, "array": _Reader._array,
                             "scalar": _Reader._scalar, "other": _Reader._other})


def _listed(x, length=None):
    if not isinstance(x, list) or length not in (None, len(x)):
        _refuse()
    return x


def _refuse():
    raise Broken("a part of a value that this protocol does not know")
