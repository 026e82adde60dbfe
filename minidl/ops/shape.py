"""Shape ops: the same numbers, arranged differently. Most of them copy nothing."""
from ..errors import ShapeError, message
from ..primitive import primitive
from .elementwise import broadcast


@primitive(onnx="Reshape", view=True)
def reshape(xp, x, *, shape):
    """The numbers of x in reading order, filled into another shape."""
    return x.reshape(shape)


@reshape.grad("x")
def _(g, x_shape):
    return reshape(g, shape=x_shape)


@reshape.shape
def _(x, *, shape):
    count, wanted = _product(x), _product(shape)
    if count != wanted:
        raise ShapeError(message(f"reshape: {count} numbers do not fill {wanted} places.",
                                 [("x", x), ("shape", tuple(shape))], "let one size be -1: it is then worked out."))
    return shape


def _product(sizes):
    product = 1
    for size in sizes:
        product *= size
    return product


@primitive(symbol="permute", onnx="Transpose", view=True)
def permute(xp, x, *, dims):
    """The axes of x in another order: axis k of the output is axis dims[k] of x."""
    return x.transpose(dims)


@permute.grad("x")
def _(g, dims):
    return permute(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))


@permute.shape
def _(x, *, dims):
    if sorted(dims) != list(range(len(x))):
        raise ShapeError(message("permute: dims must name every axis exactly once.", [("x", x), ("dims", dims)]))
    return tuple(x[d] for d in dims)


@primitive(onnx="Expand", view=True)
def expand(xp, x, *, shape):
    """x repeated along its axes of size 1, and along new axes in front, without a copy."""
    return xp.broadcast_to(x, shape)


@expand.grad("x")
def _(g):                            # the engine sums over what was repeated
    return g


@expand.shape
def _(x, *, shape):
    if broadcast("expand", x, shape) != tuple(shape):
        raise ShapeError(message("expand: x cannot be repeated to this shape.", [("x", x), ("shape", shape)]))
    return shape


@primitive(symbol="concat", onnx="Concat")
def concat(xp, *xs, dim):
    """Arrays put one behind the other along an axis that they have."""
    return xp.concatenate(xs, axis=dim)


@concat.grad("xs")
def _(g, xs_shape, dim):
    parts, start = [], 0
    for shape in xs_shape:
        stop = start + shape[dim]
        parts.append(g[(slice(None),) * dim + (slice(start, stop),)])
        start = stop
    return tuple(parts)


@concat.shape
def _(*xs, dim):
    rest = {x[:dim] + x[dim + 1:] for x in xs}
    if len(rest) != 1:
        raise ShapeError(message(f"concat: all sizes but those along axis {dim} must be equal.",
                                 [(f"xs[{k}]", x) for k, x in enumerate(xs)]))
    return xs[0][:dim] + (sum(x[dim] for x in xs),) + xs[0][dim + 1:]
