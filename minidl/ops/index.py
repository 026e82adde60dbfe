"""Index ops: numbers picked out, and their gradients put back.

Each op that picks has a partner that puts, and each is the other's derivative:

    getitem   slices                     <->  unslice
    take      slices along an axis       <->  add_along
    gather    numbers along an axis      <->  scatter_sum
    take_at   anywhere                   <->  add_at

`overwrite` puts numbers into a copy; `tril` and `triu` keep a triangle of a matrix.
"""
import numpy as np

from ..errors import DimensionError, ShapeError, message
from ..primitive import primitive
from .elementwise import broadcast


# ---------------------------------------------------------------------- slices
@primitive(symbol="[ ]", onnx="Slice", view=True)
def getitem(xp, x, *, key):
    """x[key] for a key of whole numbers, slices, None and Ellipsis; a view."""
    out = x[key]
    if isinstance(out, np.generic):      # NumPy makes a number of a single entry; with an Ellipsis it stays a view
        return x[(*key, ...) if isinstance(key, tuple) else (key, ...)]
    return out


@getitem.grad("x")
def _(g, x_shape, key):
    return unslice(g, shape=x_shape, key=key)


@getitem.shape
def _(x, *, key):
    try:
        return np.broadcast_to(np.empty(()), x)[key].shape
    except IndexError as error:
        raise DimensionError(message(f"index: {error}.", [("x", x), ("index", _spelled(key))])) from None


def _spelled(key):
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


@primitive(symbol="pad", onnx="Pad")
def unslice(xp, x, *, shape, key):
    """Zeros of the given shape with x written at `key`."""
    out = xp.zeros_like(x, shape=shape)               # axes in memory in the order of those of x
    out[key] = x
    return out


@unslice.grad("x")
def _(g, key):
    return getitem(g, key=key)


@unslice.shape
def _(x, *, shape, key):
    return shape


# ---------------------------------------------------------------------- along one axis
@primitive(symbol="take", onnx="Gather", dtype="x")
def take(xp, x, index, *, dim):
    """The slices of x along one axis, in the order that `index` names them (an embedding, for axis 0)."""
    return xp.take(x, index, axis=dim)


@take.grad("x")
def _(g, index, x_shape, dim):
    return add_along(g, index, shape=x_shape, dim=dim)


@take.shape
def _(x, index, *, dim):
    return x[:dim] + index + x[dim + 1:]


@primitive(symbol="add_along", dtype="x")
def add_along(xp, x, index, *, shape, dim):
    """Zeros of the given shape, with the slices of x added where `index` says; repeated ones add up."""
    out = xp.zeros(shape, dtype=x.dtype)
    xp.add.at(out, (slice(None),) * dim + (index,), x)
    return out


@add_along.grad("x")
def _(g, index, dim):
    return take(g, index, dim=dim)


@add_along.shape
def _(x, index, *, shape, dim):
    return shape


@primitive(onnx="GatherElements", dtype="x")
def gather(xp, x, index, *, dim):
    """For each place of `index`, the number of x that stands there along one axis: x[i][index[i][j]] for axis 1.

    x and index have the same shape but for the axis `dim`.
    """
    return xp.take_along_axis(x, index, axis=dim)


@gather.grad("x")
def _(g, index, x_shape, dim):
    return scatter_sum(g, index, shape=x_shape, dim=dim)


@gather.shape
def _(x, index, *, dim):
    if len(x) != len(index) or any(n != m for k, (n, m) in enumerate(zip(x, index)) if k != dim):
        raise ShapeError(message(f"gather: x and index must have the same shape but for axis {dim}.",
                                 [("x", x), ("index", index)]))
    return index


@primitive(symbol="scatter+", onnx="ScatterElements", dtype="x")
def scatter_sum(xp, x, index, *, shape, dim):
    """Zeros of the given shape, with each number of x added where `index` says along one axis."""
    out = xp.zeros(shape, dtype=x.dtype)
    places = [xp.arange(n).reshape(-1, *(1,) * (index.ndim - 1 - k)) for k, n in enumerate(index.shape)]
    places[dim] = index
    xp.add.at(out, tuple(places), x)
    return out


@scatter_sum.grad("x")
def _(g, index, dim):
    return gather(g, index, dim=dim)


@scatter_sum.shape
def _(x, index, *, shape, dim):
    return shape


# ---------------------------------------------------------------------- anywhere
@primitive(symbol="[ ]", onnx="GatherND", dtype="x")
def take_at(xp, x, positions):
    """The numbers at these positions of x, counted in reading order."""
    return x.reshape(-1)[positions]


@take_at.grad("x")
def _(g, positions, x_shape):
    return add_at(g, positions, shape=x_shape)


@take_at.shape
def _(x, positions):
    return positions


@primitive(symbol="add_at", dtype="x")
def add_at(xp, x, positions, *, shape):
    """Zeros of the given shape, with x added at these positions in reading order; repeated ones add up."""
    out = xp.zeros(shape, dtype=x.dtype)
    xp.add.at(out.reshape(-1), positions, x)
    return out


@add_at.grad("x")
def _(g, positions):
    return take_at(g, positions)


@add_at.shape
def _(x, positions, *, shape):
    broadcast("add_at", x, positions)
    return shape


@primitive(symbol="[ ]=", onnx="ScatterND", dtype="x")
def overwrite(xp, x, y, positions):
    """x with y in place of the numbers at these positions in reading order."""
    out = xp.array(x, order="C")                    # reshape(-1) must be a view
    out.reshape(-1)[positions] = y
    return out


@overwrite.grad("x")
def _(g, positions):                 # what was overwritten has no influence any more
    return overwrite(g, 0, positions)


@overwrite.grad("y")
def _(g, positions):
    return take_at(g, positions)


@overwrite.shape
def _(x, y, positions):
    if broadcast("overwrite", y, positions) != positions:
        raise ShapeError(message("overwrite: the new values do not fit where they shall go.",
                                 [("values", y), ("places", positions)]))
    return x


# ---------------------------------------------------------------------- triangles
@primitive(onnx="Trilu")
def tril(xp, x, *, diagonal=0):
    """The numbers of each matrix on and below a diagonal (0 is the main one, -1 the one below it); zeros above."""
    return xp.tril(x, diagonal)


@tril.grad("x")
def _(g, diagonal):
    return tril(g, diagonal=diagonal)


@primitive(onnx="Trilu")
def triu(xp, x, *, diagonal=0):
    """The numbers of each matrix on and above a diagonal (0 is the main one, 1 the one above it); zeros below."""
    return xp.triu(x, diagonal)


@triu.grad("x")
def _(g, diagonal):
    return triu(g, diagonal=diagonal)


for _op in (tril, triu):
    _op.shape(lambda x, *, diagonal=0: x)
