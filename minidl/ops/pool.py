"""Max pooling: of each window only the largest number goes on.

    max_pool2d          x -> y
    max_pool2d_unpool   dy back to where the largest numbers stood (the gradient)
    max_pool2d_pick     from another array, the numbers that stood there (the gradient of the gradient)

Where several numbers of a window are equally large, the first in reading order counts, as in PyTorch.
`kernel`, `stride`, `padding` and `dilation` are pairs (vertical, horizontal).
"""
import math

import numpy as np

from ..errors import ShapeError, message
from ..primitive import primitive
from .conv import batch_first, places


def pooled_size(size, kernel, stride, padding, dilation, ceil_mode):
    """How many windows there are; in ceil mode one more where the last one would stick out on the far side."""
    return tuple(_pooled(*axis, ceil_mode) for axis in zip(size, kernel, stride, padding, dilation))


def _pooled(size, kernel, stride, padding, dilation, ceil_mode):
    count = places(size, kernel, stride, padding, dilation)
    rest = size + 2 * padding - dilation * (kernel - 1) - 1 - (count - 1) * stride
    sticks_out = ceil_mode and rest > 0 and count * stride < size + padding     # it must start on the image
    return count + sticks_out


def canvas_of(xp, x, fill, out, kernel, stride, padding, dilation):
    """x with `fill` around it, wide enough for all windows; x itself where nothing is needed."""
    h, w = x.shape[2:]
    need = [(n - 1) * s + d * (k - 1) + 1 for n, s, k, d in zip(out, stride, kernel, dilation)]
    size = (max(h + padding[0], need[0]), max(w + padding[1], need[1]))
    if padding == (0, 0) and size == (h, w):
        return x
    canvas = batch_first(xp.full((x.shape[1], *size, x.shape[0]), fill, dtype=x.dtype))
    canvas[:, :, padding[0]:padding[0] + h, padding[1]:padding[1] + w] = x
    return canvas


def members(out, kernel, stride, dilation):
    """For each place in a window, in reading order: where on the canvas the numbers of all windows stand there."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            yield (slice(None), slice(None), slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0]),
                   slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1]))


def winners(xp, canvas, out, window):
    """For each place in a window: where it stands, and a mask of the windows whose largest number it is.

    A nan counts as larger than all numbers. On a GPU it is not looked for, for that would wait for the device.
    """
    *others, last = members(out.shape[2:], *window)
    free = xp.ones_like(out, dtype=bool)
    broken = type(out) is np.ndarray and np.isnan(out).any()
    for place in others:
        mask = canvas[place] == out
        if broken:                                    # nan is not equal to itself
            mask |= np.isnan(canvas[place])
        mask &= free
        free ^= mask
        yield place, mask
    yield last, free                                  # what no other place has won


def laid_out_like(xp, x, y):
    """x with its axes in memory in the same order as those of y: mixing two orders is slow."""
    if _order(x) == _order(y):
        return x
    out = xp.empty_like(y, dtype=x.dtype)
    out[...] = x
    return out


def _order(x):
    """The axes of x, the one with the longest steps through memory first."""
    return sorted(range(x.ndim), key=lambda axis: -x.strides[axis])


@primitive(onnx="MaxPool")
def max_pool2d(xp, x, *, kernel, stride, padding, dilation, ceil_mode):
    """The largest number of each window: (N, C, H, W) -> (N, C, OH, OW).

    One `maximum` of the whole image for each place in the window: far fewer steps than one per window.
    """
    size = pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    canvas = canvas_of(xp, x, -xp.inf, size, kernel, stride, padding, dilation)
    return keep_largest(xp, canvas, room_for_windows(xp, canvas, size), kernel, stride, dilation)


def room_for_windows(xp, canvas, size):
    """Memory for a number a window, laid out as the canvas is."""
    return xp.empty_like(canvas[:, :, :size[0], :size[1]])


def keep_largest(xp, canvas, out, kernel, stride, dilation):
    """Write the largest number of each window to `out`."""
    first, *others = [canvas[place] for place in members(out.shape[2:], kernel, stride, dilation)]
    xp.maximum(first, others.pop() if others else first, out=out)
    for other in others:
        xp.maximum(out, other, out=out)
    return out


@primitive(symbol="unpool")
def max_pool2d_unpool(xp, dy, x, y, *, kernel, stride, padding, dilation):
    """Each dy put where the largest number of its window stood in x; overlapping windows add up."""
    canvas = canvas_of(xp, x, -xp.inf, y.shape[2:], kernel, stride, padding, dilation)
    dx = room_for_numbers(xp, canvas, y, kernel, stride, dilation)
    put_back(xp, laid_out_like(xp, dy, y), canvas, y, dx, kernel, stride, dilation)
    h, w = x.shape[2:]
    return dx[:, :, padding[0]:padding[0] + h, padding[1]:padding[1] + w]


def are_apart(kernel, stride, dilation):
    """Whether no number belongs to two windows."""
    return all(s >= d * (k - 1) + 1 for s, k, d in zip(stride, kernel, dilation))


def room_for_numbers(xp, canvas, y, kernel, stride, dilation):
    """Memory in the shape of the canvas: zeros, unless each number belongs to one window and will be written."""
    tiled = are_apart(kernel, stride, dilation) and math.prod(kernel) * y.size == canvas.size
    return xp.empty_like(canvas) if tiled else xp.zeros_like(canvas)


def put_back(xp, dy, canvas, y, dx, kernel, stride, dilation):
    """Write each dy to the place in `dx` where the largest number of its window stands on the canvas."""
    apart = are_apart(kernel, stride, dilation)
    for place, mask in winners(xp, canvas, y, (kernel, stride, dilation)):
        if apart:                                     # nothing to add up
            xp.multiply(dy, mask, out=dx[place])
        else:
            dx[place] += dy * mask


@primitive(symbol="pick")
def max_pool2d_pick(xp, v, x, y, *, kernel, stride, padding, dilation):
    """From v, shaped as x, the numbers that stand where the largest number of each window of x stands."""
    window = (kernel, stride, padding, dilation)
    canvas = canvas_of(xp, x, -xp.inf, y.shape[2:], *window)
    source = canvas_of(xp, v, 0, y.shape[2:], *window)
    picked = xp.zeros_like(y)
    for place, mask in winners(xp, canvas, y, (kernel, stride, dilation)):
        picked += source[place] * mask
    return picked


@max_pool2d.grad("x")
def _(g, x, out, kernel, stride, padding, dilation):
    return max_pool2d_unpool(g, x, out, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


@max_pool2d_unpool.grad("dy")
def _(g, x, y, kernel, stride, padding, dilation):
    return max_pool2d_pick(g, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


@max_pool2d_pick.grad("v")
def _(g, x, y, kernel, stride, padding, dilation):
    return max_pool2d_unpool(g, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


for _op in (max_pool2d_unpool, max_pool2d_pick):      # which number is the largest does not change by a small step
    _op.grad("x", "y")(lambda g: (None, None))


@max_pool2d.shape
def _(x, *, kernel, stride, padding, dilation, ceil_mode):
    facts = [("input", x, "N C H W"), ("kernel", kernel)]
    if len(x) != 4:
        raise ShapeError(
            message("max_pool2d: images have four axes.", facts, "x.unsqueeze(0) makes a batch of one image.")
        )
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ShapeError(
            message("max_pool2d: the padding may be at most half of the kernel.", [*facts, ("padding", padding)])
        )
    size = pooled_size(x[2:], kernel, stride, padding, dilation, ceil_mode)
    if min(size) < 1:
        raise ShapeError(
            message(
                f"max_pool2d: the window does not fit into the image, the output would be {size[0]} x {size[1]}.",
                facts,
                "a smaller kernel, or larger images.",
            )
        )
    return (*x[:2], *size)


@max_pool2d_unpool.shape
def _(dy, x, y, *, kernel, stride, padding, dilation):
    return x


@max_pool2d_pick.shape
def _(v, x, y, *, kernel, stride, padding, dilation):
    return y
