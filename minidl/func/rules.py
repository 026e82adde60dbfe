"""How each primitive runs on a batch of examples: the rules of vmap.

A rule gets the op, its inputs, which of them have the batch as an axis in front (`split`; the others are the same for
all examples), and the settings as they are for one example. It returns the result with the batch in front. An op
without a rule runs on one example after the other.
"""
import numpy as np

from .. import backend, ops
from ..ops.linear import swap
from ..primitive import registry, shape_of

RULES = {}


def rule(*names):
    """Register a rule for the primitives of these names."""
    def register(function):
        RULES.update(dict.fromkeys(names, function))
        return function
    return register


# ---------------------------------------------------------------------- moving the batch about
def count_of(values, split):
    """The number of examples."""
    return next(v.shape[0] for v, s in zip(values, split) if s)


def in_front(x, is_split, count):
    """x with the batch in front, repeated without a copy if it had none."""
    return x if is_split else ops.expand(x, shape=(count, *shape_of(x)))


def ranked(x, is_split, rank):
    """x with axes of size 1 put behind the batch, so that one example has `rank` axes and broadcasts as before."""
    if not is_split or len(x.shape) - 1 == rank:
        return x
    return ops.reshape(x, shape=(x.shape[0], *(1,) * (rank + 1 - len(x.shape)), *x.shape[1:]))


def moved(x, start, stop):
    """x with the axis `start` taken to the place `stop`."""
    order = [k for k in range(len(x.shape)) if k != start]
    order.insert(stop, start)
    return ops.permute(x, dims=tuple(order))


def merged(x, start):
    """The axes start and start + 1 as one."""
    shape = x.shape
    return ops.reshape(x, shape=(*shape[:start], shape[start] * shape[start + 1], *shape[start + 2:]))


def cut(x, axis, count):
    """The reverse of `merged`: an axis cut into (count, rest)."""
    shape = x.shape
    rest = shape[axis] // count if count else 0
    return ops.reshape(x, shape=(*shape[:axis], count, rest, *shape[axis + 1:]))


def numbered(places, is_split, count, size):
    """Places within an example as places within the batch: those of example k begin at k * size."""
    rank = len(places.shape) - is_split
    starts = backend.of(places).xp.arange(count) * size
    return places + starts.reshape(count, *(1,) * rank)


def counted_from_front(index, size):
    """An index with negative entries, which count from the end, made positive."""
    return ops.where(ops.less(index, 0), index + size, index)


def one_by_one(op, values, split, meta):
    """The way that is always right: each example on its own."""
    count = count_of(values, split)
    outs = [op(*[v[k] if s else v for v, s in zip(values, split)], **meta) for k in range(count)]
    if outs:
        return ops.concat(*[ops.reshape(out, shape=(1, *out.shape)) for out in outs], dim=0)
    shape = op.shape_rule(*[shape_of(v)[s:] for v, s in zip(values, split)], **meta)
    return np.zeros((0, *shape), op.dtype_rule(*[v.dtype for v in values], **meta))


# ---------------------------------------------------------------------- one number at a time, and along axes
def _elementwise(op, values, split, meta):
    rank = max(len(shape_of(v)) - s for v, s in zip(values, split))
    return op(*[ranked(v, s, rank) for v, s in zip(values, split)], **meta)


RULES.update((name, _elementwise) for name, op in registry.items() if op.__module__ == ops.elementwise.__name__)


@rule("sum", "amax", "amin", "any", "all", "logsumexp", "argmax", "argmin")
def _reduction(op, values, split, meta):
    return op(*values, **{**meta, "dim": tuple(d + 1 for d in meta["dim"])})


@rule("cumsum", "argsort", "softmax", "log_softmax", "split", "join")
def _along(op, values, split, meta):
    return op(*values, **{**meta, "dim": meta["dim"] + 1})


@rule("tril", "triu", "inverse", "cholesky", "spread", "total")
def _as_it_is(op, values, split, meta):
    return op(*values, **meta)


# ---------------------------------------------------------------------- shapes
@rule("reshape")
def _reshape(op, values, split, meta):
    return op(*values, shape=(values[0].shape[0], *meta["shape"]))


@rule("expand")
def _expand(op, values, split, meta):
    x, shape = ranked(values[0], True, len(meta["shape"])), meta["shape"]
    return op(x, shape=(x.shape[0], *shape))


@rule("permute")
def _permute(op, values, split, meta):
    return op(*values, dims=(0, *(d + 1 for d in meta["dims"])))


@rule("concat")
def _concat(op, values, split, meta):
    count = count_of(values, split)
    return op(*[in_front(v, s, count) for v, s in zip(values, split)], dim=meta["dim"] + 1)


@rule("getitem")
def _getitem(op, values, split, meta):
    return op(*values, key=_behind_batch(meta["key"]))


@rule("unslice")
def _unslice(op, values, split, meta):
    return op(*values, shape=(values[0].shape[0], *meta["shape"]), key=_behind_batch(meta["key"]))


def _behind_batch(key):
    return (slice(None), *(key if isinstance(key, tuple) else (key,)))


# ---------------------------------------------------------------------- indices
# Where the places differ by example, the batch and the indexed axis become one: example k begins at k * size.
@rule("take")
def _take(op, values, split, meta):
    (x, index), dim = values, meta["dim"]
    if not split[1]:
        return op(x, index, dim=dim + 1)
    if not split[0]:
        return moved(op(x, index, dim=dim), dim, 0)
    count, size, rank = x.shape[0], x.shape[dim + 1], len(index.shape) - 1
    rows = merged(moved(x, dim + 1, 1), 0)
    picked = op(rows, numbered(counted_from_front(index, size), True, count, size), dim=0)
    for k in range(dim):                              # the axes that stood before `dim` go before those of the index
        picked = moved(picked, 1 + rank + k, 1 + k)
    return picked


@rule("add_along")
def _add_along(op, values, split, meta):
    (x, index), shape, dim = values, meta["shape"], meta["dim"]
    if not split[1]:
        return op(x, index, shape=(x.shape[0], *shape), dim=dim + 1)
    count, size, rank = index.shape[0], shape[dim], len(index.shape) - 1
    x = in_front(x, split[0], count)
    for _ in range(dim):                              # the axes that stand before `dim` go behind those of the index
        x = moved(x, 1, dim + rank)
    places = numbered(counted_from_front(index, size), True, count, size)
    out = op(x, places, shape=(count * size, *shape[:dim], *shape[dim + 1:]), dim=0)
    return moved(cut(out, 0, count), 1, dim + 1)


@rule("gather", "scatter_sum")
def _along_index(op, values, split, meta):
    count = count_of(values, split)
    meta = {**meta, "dim": meta["dim"] + 1}
    if "shape" in meta:
        meta["shape"] = (count, *meta["shape"])
    return op(*[in_front(v, s, count) for v, s in zip(values, split)], **meta)


@rule("take_at")
def _take_at(op, values, split, meta):
    x, positions = values
    if not split[0]:
        return op(x, positions)
    return op(x, numbered(positions, split[1], x.shape[0], _product(x.shape[1:])))


@rule("add_at")
def _add_at(op, values, split, meta):
    (x, positions), shape = values, meta["shape"]
    count, rank = count_of(values, split), len(positions.shape) - split[1]
    x = in_front(ranked(x, split[0], rank), split[0], count)
    return op(x, numbered(positions, split[1], count, _product(shape)), shape=(count, *shape))


@rule("overwrite")
def _overwrite(op, values, split, meta):
    x, y, positions = values
    count, rank = count_of(values, split), len(positions.shape) - split[2]
    x = in_front(x, split[0], count)
    return op(x, ranked(y, split[1], rank), numbered(positions, split[2], count, _product(x.shape[1:])))


def _product(sizes):
    product = 1
    for size in sizes:
        product *= size
    return product


# ---------------------------------------------------------------------- products
@rule("matmul", "solve")
def _matmul(op, values, split, meta):
    x, y = values
    if op.name == "matmul" and split == [True, False] and len(x.shape) == 3 and len(y.shape) == 2:
        return cut(op(merged(x, 0), y), 0, x.shape[0])            # one matrix for all examples: one large product
    rank = max(len(v.shape) - s for v, s in zip(values, split))
    return op(*[ranked(v, s, rank) for v, s in zip(values, split)])


@rule("cross_entropy", "cross_entropy_slopes")
def _of_a_classifier(op, values, split, meta):
    count = count_of(values, split)
    return op(*[in_front(v, s, count) for v, s in zip(values, split)], **meta)


@rule("affine")
def _affine(op, values, split, meta):
    if split[0] and not any(split[1:]):                           # one weight for all examples: more rows
        return cut(op(merged(values[0], 0), *values[1:]), 0, values[0].shape[0])
    x, w, *b = values
    out = ops.matmul(x, swap(w))
    return ops.add(out, ranked(b[0], split[2], 2)) if b else out


# The channels of all examples side by side are groups that do not see each other.
GROUPED = {"conv2d": (1, 0), "conv2d_input_grad": (1, 0), "conv2d_weight_grad": (1, 1)}
RESULT_AXIS = {"conv2d": 1, "conv2d_input_grad": 1, "conv2d_weight_grad": 0}


@rule("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
def _convolution(op, values, split, meta):
    count = count_of(values, split)
    if op.name != "conv2d_weight_grad" and not split[1]:          # filters for all: the examples are a larger batch
        return cut(op(merged(values[0], 0), values[1], **meta), 0, count)
    joined = [merged(moved(in_front(v, s, count), 0, axis), axis)
              for v, s, axis in zip(values, split, GROUPED[op.name])]
    axis = RESULT_AXIS[op.name]
    return moved(cut(op(*joined, **{**meta, "groups": meta["groups"] * count}), axis, count), axis, 0)


@rule("max_pool2d", "max_pool2d_unpool", "max_pool2d_pick")
def _pool(op, values, split, meta):
    count = count_of(values, split)
    return cut(op(*[merged(in_front(v, s, count), 0) for v, s in zip(values, split)], **meta), 0, count)


@rule("rnn_scan", "lstm_scan", "lstm_slopes", "gru_scan")
def _scan(op, values, split, meta):
    count, weights = count_of(values, split), {"w", "b"}
    if any(s for s, name in zip(split, op.inputs) if name in weights):
        return one_by_one(op, values, split, meta)
    joined = [v if name in weights else _beside(in_front(v, s, count), name)
              for v, s, name in zip(values, split, op.inputs)]
    out = op(*joined, **meta)
    batch = len(out.shape) - 2
    return moved(cut(out, batch, count), batch, 0)


def _beside(x, name):
    """The batch as part of the batch axis N, the last but one: (B, T, N, 1) -> (T, B N, 1), (B, N, H) -> (B N, H)."""
    place = len(x.shape) - 3
    return merged(moved(x, 0, place), place)
