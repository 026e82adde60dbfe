"""Reductions: axes disappear. `dim` is a tuple of axes; with `keepdim` they stay behind with size 1."""
import contextlib

import numpy as np

from ..primitive import primitive
from .elementwise import astype, equal, exp, where
from .shape import expand, reshape


def reduced(shape, dim, keepdim):
    """The shape that is left of `shape` when the axes in `dim` are reduced."""
    return tuple(1 if k in dim else n for k, n in enumerate(shape) if keepdim or k not in dim)


def spread(g, shape, dim):
    """Give every number that went into a reduction what its result got: the reverse of a sum."""
    return expand(reshape(g, shape=reduced(shape, dim, True)), shape=shape)


@primitive(symbol="Σ", onnx="ReduceSum")
def sum(xp, x, *, dim, keepdim=False):
    """The sum over the axes `dim`."""
    if len(dim) == x.ndim - 1 and x.size > 4096 and x.dtype.kind == "f":
        (kept,) = set(range(x.ndim)) - set(dim)
        if x.strides[kept] == x.itemsize:
            return _sum_of_rows(xp, x, kept).reshape(reduced(x.shape, dim, keepdim))
    return xp.sum(x, axis=dim, keepdims=keepdim)


def _sum_of_rows(xp, x, kept):
    """The sum over all axes but the one that lies innermost in memory (channels), as ones @ rows.

    NumPy adds up short rows one by one; a matrix product is four times faster.
    """
    rows = (x if kept == x.ndim - 1 else xp.moveaxis(x, kept, -1)).reshape(-1, x.shape[kept])
    return xp.ones(len(rows), dtype=x.dtype) @ rows


@sum.grad("x")
def _(g, x_shape, dim):
    return spread(g, x_shape, dim)


@primitive(symbol="max", onnx="ReduceMax")
def amax(xp, x, *, dim, keepdim=False):
    """The largest number over the axes `dim`; equal ones share the gradient evenly."""
    return xp.max(x, axis=dim, keepdims=keepdim)


@primitive(symbol="min", onnx="ReduceMin")
def amin(xp, x, *, dim, keepdim=False):
    """The smallest number over the axes `dim`; equal ones share the gradient evenly."""
    return xp.min(x, axis=dim, keepdims=keepdim)


def _share(g, x, out, x_shape, dim):
    winners = astype(equal(x, spread(out, x_shape, dim)), dtype=x.dtype)
    return spread(g, x_shape, dim) * (winners / spread(sum(winners, dim=dim), x_shape, dim))


amax.grad("x")(_share)
amin.grad("x")(_share)


@primitive(symbol="argmax", onnx="ArgMax", dtype="int64", differentiable=False)
def argmax(xp, x, *, dim, keepdim=False):
    """Where the largest number stands along one axis (the first of equals), int64."""
    return xp.argmax(x, axis=dim[0], keepdims=keepdim)


@primitive(symbol="argmin", onnx="ArgMin", dtype="int64", differentiable=False)
def argmin(xp, x, *, dim, keepdim=False):
    """Where the smallest number stands along one axis (the first of equals), int64."""
    return xp.argmin(x, axis=dim[0], keepdims=keepdim)


@primitive(symbol="any", dtype="bool", differentiable=False)
def any(xp, x, *, dim, keepdim=False):
    """True where at least one number over the axes `dim` is not 0."""
    return xp.any(x, axis=dim, keepdims=keepdim)


@primitive(symbol="all", dtype="bool", differentiable=False)
def all(xp, x, *, dim, keepdim=False):
    """True where no number over the axes `dim` is 0."""
    return xp.all(x, axis=dim, keepdims=keepdim)


for _op in (sum, amax, amin, argmax, argmin, any, all):
    _op.shape(lambda x, *, dim, keepdim=False: reduced(x, dim, keepdim))


# ---------------------------------------------------------------------- along an axis that stays
@primitive(symbol="cumsum", onnx="CumSum")
def cumsum(xp, x, *, dim):
    """Running sums along one axis."""
    return xp.cumsum(x, axis=dim)


@cumsum.grad("x")
def _(g, dim):                       # entry k went into all sums from k on: running sums from the far end
    backwards = (slice(None),) * dim + (slice(None, None, -1),)
    return cumsum(g[backwards], dim=dim)[backwards]


@primitive(symbol="argsort", dtype="int64", differentiable=False)
def argsort(xp, x, *, dim):
    """The order that sorts x along one axis; equal numbers keep theirs."""
    return xp.argsort(x, axis=dim, kind="stable")


def largest(xp, x, dim):
    """The largest number over the axes `dim`, which stay with size 1; -inf if there is none."""
    if x.size:
        return x.max(axis=dim, keepdims=True)
    return xp.full(reduced(x.shape, dim, True), -xp.inf, dtype=x.dtype)       # CuPy's max has no `initial`


@primitive(onnx="Softmax")
def softmax(xp, x, *, dim):
    """exp(x) / sum(exp(x)) along one axis; the largest is subtracted first, so nothing overflows."""
    e = xp.exp(x - largest(xp, x, (dim,)))
    return e / e.sum(axis=dim, keepdims=True)


@softmax.grad("x")
def _(g, out, dim):
    return out * (g - sum(g * out, dim=(dim,), keepdim=True))


@primitive(onnx="LogSoftmax")
def log_softmax(xp, x, *, dim):
    """x - log(sum(exp(x))) along one axis, without overflow."""
    shifted = x - largest(xp, x, (dim,))
    with _quiet(xp):
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=dim, keepdims=True))


@log_softmax.grad("x")
def _(g, out, dim):
    return g - exp(out) * sum(g, dim=(dim,), keepdim=True)


@primitive(symbol="logsumexp", onnx="ReduceLogSumExp")
def logsumexp(xp, x, *, dim, keepdim=False):
    """log(sum(exp(x))) over the axes `dim`, without overflow; of infinities too."""
    top = largest(xp, x, dim)
    top = xp.where(xp.isfinite(top), top, 0)          # inf - inf is nan
    total = xp.sum(xp.exp(x - top), axis=dim, keepdims=True)
    with _quiet(xp):
        out = xp.log(total) + top
    return (out if keepdim else out.reshape(reduced(x.shape, dim, False))).astype(x.dtype)


@logsumexp.grad("x")
def _(g, x, out, x_shape, dim):      # softmax; inf - inf would be nan, and -inf has no part in any sum
    out = spread(where(equal(out, -np.inf), 0, out), x_shape, dim)
    e = exp(where(equal(x, out), 0, x - out))
    total = sum(e, dim=dim, keepdim=True)             # 1, but for the digits that a large `out` has lost
    return spread(g, x_shape, dim) * (e / where(equal(total, 0), 1, total))


def _quiet(xp):
    """log(0) is meant here: no warning about it."""
    return np.errstate(divide="ignore") if xp is np else contextlib.nullcontext()


logsumexp.shape(lambda x, *, dim, keepdim=False: reduced(x, dim, keepdim))
for _op in (cumsum, argsort, softmax, log_softmax):
    _op.shape(lambda x, *, dim: x)
