"""Expressions of one tensor that a learner types, read safely: `x.T[::2, None].reshape(6)`.

Nothing is evaluated as Python. The text is parsed, and only what stands in the tables here is run: indices of whole
numbers, `.T` and `.mT`, and methods that describe or copy memory, with whole numbers as settings.
"""
import ast
import inspect
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, message
from ..tensor import from_numpy
from ..viz.memory import block_of, layout

LARGEST = 10_000                       # of a number that is typed
METHODS = ("as_strided broadcast_to clone contiguous detach diagonal expand flatten flip mT movedim narrow permute "
           "reshape select squeeze swapaxes t transpose T unflatten unfold unsqueeze view").split()


@dataclass(frozen=True)
class Op:
    """One op.

    Attributes:
        text: as it was typed: `.T`, `[::2]`, `.reshape(6)`.
        name: of the method; "[]" for an index.
        args, kwargs: whole numbers and tuples of them; for an index, the key.
        called: whether it has brackets; `.T` has none.
    """

    text: str
    name: str
    args: tuple = ()
    kwargs: tuple = ()
    called: bool = True


def ops_of(expression, name="x"):
    """The ops of an expression, the first one first.

    Raises:
        ArgumentError: there is something in it that cannot be followed.

    >>> [op.text for op in ops_of("x.T[::2, None].reshape(6)")]
    ['.T', '[::2, None]', '.reshape(6)']
    """
    text = expression.strip()
    try:
        node = ast.parse(text, mode="eval").body if len(text) < 500 else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        node = None
    if node is None:
        raise _refused("this is not an expression", text)
    ops = []
    while not isinstance(node, ast.Name):
        node, op = _last_op(node, text)
        ops.append(op)
    if node.id != name:
        raise _refused(f"the only tensor here is {name}", node.id)
    return ops[::-1]


def _last_op(node, text):
    """(what the op is applied to, the op)."""
    if isinstance(node, ast.Subscript):
        return node.value, Op(_typed(node.value, node, text), "[]", (_key(node.slice, text),))
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        return node.value, Op(_typed(node.value, node, text), node.attr, called=False)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        args = tuple(_whole(arg, text) for arg in node.args)
        kwargs = tuple((k.arg, _whole(k.value, text)) for k in node.keywords if k.arg)
        return node.func.value, Op(_typed(node.func.value, node, text), node.func.attr, args, kwargs)
    raise _refused("only indices and these methods can be followed", ast.get_source_segment(text, node),
                   ", ".join(METHODS))


def _typed(inner, outer, text):
    """The op's own part of what was typed."""
    whole, before = (ast.get_source_segment(text, node) for node in (outer, inner))
    return whole[len(before):].strip() if whole.startswith(before) else whole[whole.index(before) + len(before) + 1:]


def _key(node, text):
    """An index: whole numbers, slices, None, ..., lists, and tuples of them."""
    if isinstance(node, ast.Tuple):
        return tuple(_key(part, text) for part in node.elts)
    if isinstance(node, ast.Slice):
        return slice(*(None if part is None else _whole(part, text) for part in (node.lower, node.upper, node.step)))
    if isinstance(node, ast.Constant) and (node.value is None or node.value is ...):
        return node.value
    if isinstance(node, ast.List):
        return [_whole(part, text) for part in node.elts]
    return _whole(node, text)


def _whole(node, text):
    """A whole number, or a tuple or list of them."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_whole(part, text) for part in node.elts)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= LARGEST:
        return sign * node.value
    raise _refused(f"whole numbers up to {LARGEST} are expected here", ast.get_source_segment(text, node))


def _refused(what, got, allowed=""):
    facts = [("got", got)] + ([("allowed", allowed)] if allowed else [])
    return ArgumentError(message(f"expression: {what}.", facts, "x.T[::2, None]."))


# ---------------------------------------------------------------------- running one op
def run(x, op):
    """The tensor that an op makes of `x`.

    Raises:
        ArgumentError: the method takes other arguments; minidl's own errors as they come.
    """
    if op.name == "[]":
        return x[op.args[0]]
    if not op.called:
        return getattr(x, op.name)
    method = OWN[op.name] if op.name in OWN else getattr(type(x), op.name)
    try:
        inspect.signature(method).bind(x, *op.args, **dict(op.kwargs))
    except TypeError as error:
        raise ArgumentError(message(f"expression: {op.text} does not work: {error}.")) from None
    return method(x, *op.args, **dict(op.kwargs))


def as_strided(x, size, stride, storage_offset=0):
    """A view with any shape, strides and offset that stays inside the memory of `x`: PyTorch's Tensor.as_strided.

    Raises:
        ArgumentError: it would read outside, or size and stride are not alike.
    """
    array, (size, stride) = x.array, ((v,) if isinstance(v, int) else tuple(v) for v in (size, stride))
    if len(size) != len(stride) or any(n < 0 for n in size):
        raise ArgumentError(message("as_strided: one stride for each size, and no size below 0.",
                                    [("size", size), ("stride", stride)]))
    block, _ = block_of(array)
    walks = [(n - 1) * s for n, s in zip(size, stride)]
    low, high = (storage_offset + sum(pick(walk, 0) for walk in walks) for pick in (min, max))
    if 0 not in size and not 0 <= low <= high < len(block):
        raise ArgumentError(message("as_strided: this would read outside the memory of x.",
                                    [("positions", f"{low} to {high}"), ("memory", f"0 to {len(block) - 1}")],
                                    "a smaller size, stride or offset."))
    start = block[min(storage_offset, len(block)):] if 0 not in size else block[:0]
    return from_numpy(np.lib.stride_tricks.as_strided(start, size, tuple(s * array.itemsize for s in stride)))


def unfold(x, dimension, size, step):
    """Windows of `size` along an axis, each `step` after the one before, as a view: PyTorch's Tensor.unfold.

    Raises:
        ArgumentError: there is no such axis, or no such window.
    """
    if not -len(x.shape) <= dimension < len(x.shape) or not 0 <= size <= x.shape[dimension] or step < 1:
        raise ArgumentError(message("unfold: there are no such windows.",
                                    [("shape", x.shape), ("dimension", dimension), ("size", size), ("step", step)]))
    one, axis = layout(x), dimension % len(x.shape)
    count = (x.shape[axis] - size) // step + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1:], size)
    strides = (*one.strides[:axis], one.strides[axis] * step, *one.strides[axis + 1:], one.strides[axis])
    return as_strided(x, shape, strides, one.offset)


OWN = {"as_strided": as_strided, "unfold": unfold}
