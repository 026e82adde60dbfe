"""The loss of a classifier and its slopes: many small steps on few numbers, so each is one op.

x holds a score for each class in its last axis, target a class number for each row of x.
"""
import numpy as np

from ..errors import ShapeError, message
from ..primitive import primitive
from .elementwise import astype, not_equal, quiet
from .reduce import largest, softmax, sum
from .shape import reshape


def right_class(xp, x, target):
    """True at the right class of each row."""
    return target[..., None] == xp.arange(x.shape[-1])


def left_out(xp, target, ignore_index):
    """True at each row that does not count; None if all do. On a GPU nobody looks: that would wait for the device."""
    ignored = target == ignore_index
    return ignored if xp is not np or ignored.any() else None


def rows_that_count(x, ignored):
    """How many rows a mean is taken of."""
    return x.shape[-2] if ignored is None else (~ignored).sum(axis=-1).astype(x.dtype)


@primitive(symbol="CE", onnx="SoftmaxCrossEntropyLoss", dtype="x")
@quiet
def cross_entropy(xp, x, target, *, ignore_index, reduction):
    """-log softmax(x)[target], row by row, as their sum or as their mean. (..., N, C), (..., N) -> (..., N) or (...).

    Rows with the target `ignore_index` do not count. `reduction` is "none", "sum" or "mean".
    """
    ignored = left_out(xp, target, ignore_index)
    shifted = x - largest(xp, x, (x.ndim - 1,))
    scores = xp.where(right_class(xp, x, target), shifted, 0).sum(axis=-1)
    losses = xp.log(xp.exp(shifted).sum(axis=-1)) - scores
    if ignored is not None:
        losses = xp.where(ignored, 0, losses)
    if reduction == "none":
        return losses
    total = losses.sum(axis=-1)
    return total / rows_that_count(x, ignored) if reduction == "mean" else total


@cross_entropy.grad("x")
def _(g, x, target, ignore_index, reduction):
    slopes = cross_entropy_slopes(x, target, ignore_index=ignore_index, reduction=reduction)
    return slopes * reshape(g, shape=(*g.shape, 1) if reduction == "none" else (*g.shape, 1, 1))


@primitive(symbol="∂CE", dtype="x")
@quiet
def cross_entropy_slopes(xp, x, target, *, ignore_index, reduction):
    """The gradient of cross entropy: softmax(x), less 1 at the right class. (..., N, C), (..., N) -> (..., N, C)."""
    ignored = left_out(xp, target, ignore_index)
    slopes = softmax(x, dim=x.ndim - 1)
    slopes -= right_class(xp, x, target)
    if reduction == "mean":
        rows = rows_that_count(x, ignored)
        slopes /= rows if ignored is None else rows[..., None, None]
    return slopes if ignored is None else xp.where(ignored[..., None], 0, slopes)


@cross_entropy_slopes.grad("x")
def _(g, x, target, x_shape, ignore_index, reduction):             # that of softmax, for rows that count
    classes, rows = len(x_shape) - 1, len(x_shape) - 2
    share = reshape(astype(not_equal(target, ignore_index), dtype=x.dtype), shape=(*x_shape[:-1], 1))
    if reduction == "mean":
        share = share / sum(share, dim=(rows,), keepdim=True)
    p, g = softmax(x, dim=classes), g * share
    return p * (g - sum(g * p, dim=(classes,), keepdim=True))


@cross_entropy.shape
def _(x, target, *, ignore_index, reduction):
    if x[:-1] != target or not target:
        raise ShapeError(message("cross_entropy: there must be one class number for each row of scores.",
                                 [("x", x, "... N C"), ("target", target, "... N")]))
    return target if reduction == "none" else target[:-1]


cross_entropy_slopes.shape(lambda x, target, **_: x)
