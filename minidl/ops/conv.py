"""Convolution in two dimensions, and its two derivatives.

The three ops of this file are each other's gradients, so a convolution can be differentiated as
often as one likes, and a transposed convolution costs no further code:

    conv2d              x, w -> y
    conv2d_input_grad   dy, w -> the gradient of x    (a transposed convolution)
    conv2d_weight_grad  x, dy -> the gradient of w

All three are one matrix product of *columns*: each window of the image written out as a column. A pixel
stands in as many columns as windows see it, so they are many times larger than the image; they are made for a
few rows of windows at a time, while they fit into the processor's cache, and never exist as a whole.

Axes are N C H W (images), O C KH KW (filters). In memory, images lie with the batch last, C H W N: the same
pixel of all images side by side. Whatever is copied, added or compared then runs over long stretches of
memory, however few the channels, and the matrix product leaves its result in that layout anyway.

`stride`, `padding` and `dilation` are pairs (vertical, horizontal); `groups` cuts the channels into
parts that do not see each other.
"""
import itertools
import math

import numpy as np

from ..errors import ShapeError, message
from ..primitive import primitive


def places(size, kernel, stride=1, padding=0, dilation=1):
    """How many windows fit along one axis: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_size(size, kernel, stride, padding, dilation):
    """`places` along both axes."""
    return tuple(map(places, size, kernel, stride, padding, dilation))


# ---------------------------------------------------------------------- windows as columns of a matrix
CACHE = 2**19                        # bytes of columns that a second-level cache holds beside what else is needed


def batch_last(xp, x):
    """Images the way they shall lie in memory: (N, C, H, W) -> (C, H, W, N)."""
    return xp.ascontiguousarray(x.transpose(1, 2, 3, 0))


def batch_first(x):
    """Images as the world sees them, without a copy: (C, H, W, N) -> (N, C, H, W)."""
    return x.transpose(3, 0, 1, 2)


def padded(xp, x, padding):
    """Images with zeros around them: (N, C, H, W) -> (C, H + 2 top, W + 2 left, N)."""
    if padding == (0, 0):
        return batch_last(xp, x)
    (n, c, h, w), (top, left) = x.shape, padding
    canvas = xp.zeros((c, h + 2 * top, w + 2 * left, n), dtype=x.dtype)
    canvas[:, top:top + h, left:left + w] = x.transpose(1, 2, 3, 0)
    return canvas


def windows_of(xp, canvas, kernel, stride, dilation, out):
    """All windows of a canvas: (C, H, W, N) -> (C, KH, KW, OH, OW, N), place in the window before place of the window.

    Nothing is copied: the strides step through memory more than once, so a pixel shows up in all its windows.
    """
    c, *size, n = canvas.shape
    if any((o - 1) * s + d * (k - 1) >= n for n, o, k, s, d in zip(size, out, kernel, stride, dilation)):
        raise ValueError("the windows reach beyond the image")        # as_strided would read foreign memory
    sc, sh, sw, sn = canvas.strides
    strides = (sc, sh * dilation[0], sw * dilation[1], sh * stride[0], sw * stride[1], sn)
    return xp.lib.stride_tricks.as_strided(canvas, (c, *kernel, *out, n), strides)


def portions(xp, windows, caches=1):
    """Slices that take the rows of windows in turns, as many columns at a time as fill the cache (a GPU: all)."""
    count = windows.shape[3]
    step = max(1, caches * CACHE * count // max(1, windows.nbytes)) if xp is np else count
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def columns(windows, rows, groups):
    """Some rows of windows as matrices, one a group: (G, C / G * KH * KW, rows * OW * N). The one large copy."""
    return windows[:, :, :, rows].reshape(groups, math.prod(windows.shape[:3]) // groups, -1)


def pixels(image, rows, groups):
    """Some rows of images as matrices, one a group: (O, OH, OW, N) -> (G, O / G, rows * OW * N), a view."""
    return image[:, rows].reshape(groups, image.shape[0] // groups, -1)


# ---------------------------------------------------------------------- the three ops
@primitive(onnx="Conv")
def conv2d(xp, x, w, *, stride, padding, dilation, groups):
    """Slide each filter over each image and sum the products.

    x: (N, C, H, W), w: (O, C / groups, KH, KW) -> (N, O, OH, OW).
    """
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    windows = windows_of(xp, padded(xp, x, padding), w.shape[2:], stride, dilation, size)
    filters = w.reshape(groups, w.shape[0] // groups, -1)
    out = xp.empty((w.shape[0], *size, x.shape[0]), dtype=np.result_type(x.dtype, w.dtype))
    for rows in portions(xp, windows):
        xp.matmul(filters, columns(windows, rows, groups), out=pixels(out, rows, groups))
    return batch_first(out)


@primitive(symbol="conv2d∂x", onnx="ConvTranspose")
def conv2d_input_grad(xp, dy, w, *, size, stride, padding, dilation, groups):
    """What each pixel of the input gets back: each gradient, times the filter, added onto the window it came from.

    dy: (N, O, OH, OW), w: (O, C / groups, KH, KW) -> (N, C, *size).
    """
    (h, wide), (top, left) = size, padding
    dy = batch_last(xp, dy)
    dx = xp.zeros((w.shape[1] * groups, h + 2 * top, wide + 2 * left, dy.shape[3]), np.result_type(dy.dtype, w.dtype))
    add_windows(xp, dy, w, dx, stride, dilation, groups)
    return batch_first(dx[:, top:top + h, left:left + wide])


def add_windows(xp, dy, w, dx, stride, dilation, groups):
    """Add to each window of the canvas `dx` what its gradient gives it. dy: (O, OH, OW, N), dx: (C, H, W, N)."""
    windows = windows_of(xp, dx, w.shape[2:], stride, dilation, dy.shape[1:3])
    filters = w.reshape(groups, w.shape[0] // groups, -1).swapaxes(1, 2)
    for rows in portions(xp, windows, caches=8):       # larger ones: each costs KH * KW additions, however small
        goal = windows[:, :, :, rows]
        part = (filters @ pixels(dy, rows, groups)).reshape(goal.shape)
        for i, j in itertools.product(*map(range, w.shape[2:])):     # the windows' pixels at one place are different
            place = goal[:, i, j]
            place += part[:, i, j]


@primitive(symbol="conv2d∂w")
def conv2d_weight_grad(xp, x, dy, *, kernel, stride, padding, dilation, groups):
    """What each weight gets back: the sum, over all windows, of the pixel it met times the gradient there.

    x: (N, C, H, W), dy: (N, O, OH, OW) -> (O, C / groups, *kernel).
    """
    dy = batch_last(xp, dy)
    windows = windows_of(xp, padded(xp, x, padding), kernel, stride, dilation, dy.shape[1:3])
    dw = sum(columns(windows, rows, groups) @ pixels(dy, rows, groups).swapaxes(1, 2)
             for rows in portions(xp, windows))
    return dw.swapaxes(1, 2).reshape(dy.shape[0], x.shape[1] // groups, *kernel)


# ---------------------------------------------------------------------- each is the others' derivative
# With <a, b> the sum of all products, <conv2d(x, w), dy> = <x, input_grad(dy, w)> = <w, weight_grad(x, dy)>:
# one number, linear in x, in w and in dy. All six rules can be read off it.
@conv2d.grad("x")
def _(g, w, x_shape, stride, padding, dilation, groups):
    return conv2d_input_grad(g, w, size=x_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups)


@conv2d.grad("w")
def _(g, x, w_shape, stride, padding, dilation, groups):
    return conv2d_weight_grad(
        x, g, kernel=w_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    )


@conv2d_input_grad.grad("dy")
def _(g, w, dy_shape, stride, padding, dilation, groups):
    out = conv2d(g, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return out[:, :, :dy_shape[2], :dy_shape[3]]      # an enlarged `size` may have room for a window more


@conv2d_input_grad.grad("w")
def _(g, dy, w_shape, stride, padding, dilation, groups):
    return conv2d_weight_grad(
        g, dy, kernel=w_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups
    )


@conv2d_weight_grad.grad("x")
def _(g, dy, x_shape, stride, padding, dilation, groups):
    return conv2d_input_grad(dy, g, size=x_shape[2:], stride=stride, padding=padding, dilation=dilation, groups=groups)


@conv2d_weight_grad.grad("dy")
def _(g, x, stride, padding, dilation, groups):
    return conv2d(x, g, stride=stride, padding=padding, dilation=dilation, groups=groups)


# ---------------------------------------------------------------------- shapes
def _clash(what, facts, try_=""):
    raise ShapeError(message(f"conv2d: {what}", facts, try_))


@conv2d.shape
def _(x, w, *, stride, padding, dilation, groups):
    facts = [("input", x, "N C H W"), ("weight", w, "O C KH KW")]
    if len(x) != 4 or len(w) != 4:
        _clash("images and filters have four axes each.", facts, "x.unsqueeze(0) makes a batch of one image.")
    if x[1] != w[1] * groups:
        channels = "1 channel" if x[1] == 1 else f"{x[1]} channels"
        _clash(
            f"the images have {channels} but each filter expects {w[1] * groups}.",
            [*facts, ("groups", groups)][: 2 + (groups > 1)],
            f"Conv2d(in_channels={x[1]}, ...), or check the order of the axes (minidl wants N C H W).",
        )
    if w[0] % groups:
        _clash(f"{w[0]} filters cannot be shared out to {groups} groups.", facts)
    out = output_size(x[2:], w[2:], stride, padding, dilation)
    if min(out) < 1:
        _clash(
            f"the window does not fit into the image, the output would be {out[0]} x {out[1]}.",
            [*facts, ("padding", padding), ("dilation", dilation)],
            "a smaller kernel, more padding or larger images.",
        )
    return (x[0], w[0], *out)


@conv2d_input_grad.shape
def _(dy, w, *, size, stride, padding, dilation, groups):
    x = (dy[0], w[1] * groups, *size)
    y = conv2d.shape_rule(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if y[1] != dy[1] or any(n > m for n, m in zip(dy[2:], y[2:])):
        _clash(
            "these output gradients do not belong to an input of this size.",
            [("dy", dy), ("weight", w), ("size", size)],
        )
    return x


@conv2d_weight_grad.shape
def _(x, dy, *, kernel, stride, padding, dilation, groups):
    w = (dy[1], x[1] // groups, *kernel)
    if conv2d.shape_rule(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups) != tuple(dy):
        _clash(
            "these output gradients do not belong to filters of this size.",
            [("input", x), ("dy", dy), ("kernel", kernel)],
        )
    return w
