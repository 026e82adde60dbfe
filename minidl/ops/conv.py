"""Convolution in two dimensions, and its two derivatives.

The three ops of this file are each other's gradients, so a convolution can be differentiated as
often as one likes, and a transposed convolution costs no further code:

    conv2d              x, w -> y
    conv2d_input_grad   dy, w -> the gradient of x    (a transposed convolution)
    conv2d_weight_grad  x, dy -> the gradient of w

All three are one matrix product of *columns*: every window of the image laid out as one row.
Axes are N C H W (images), O C KH KW (filters). In memory, channels lie last: a window's rows are
then contiguous, and the product leaves its result in that layout anyway.

`stride`, `padding` and `dilation` are pairs (vertical, horizontal); `groups` cuts the channels into
parts that do not see each other.
"""
from ..errors import ShapeError, message
from ..primitive import primitive


def places(size, kernel, stride=1, padding=0, dilation=1):
    """How many windows fit along one axis: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_size(size, kernel, stride, padding, dilation):
    """`places` along both axes."""
    return tuple(map(places, size, kernel, stride, padding, dilation))


# ---------------------------------------------------------------------- windows as rows of a matrix
def framed(xp, x, size, offset, step=(1, 1)):
    """Images on a canvas of zeros, channels last: (N, C, h, w) -> (N, H, W, C).

    Pixel (i, j) goes to offset + step * (i, j); what falls outside the canvas is dropped.
    Offset 1 pads, step 2 stuffs zeros between the pixels, a negative offset crops.
    """
    image = x.transpose(0, 2, 3, 1)
    if tuple(size) == image.shape[1:3] and tuple(offset) == (0, 0) and tuple(step) == (1, 1):
        return xp.ascontiguousarray(image)
    canvas = xp.zeros((image.shape[0], *size, image.shape[3]), dtype=x.dtype)
    rows, cols = (_visible(n, *where) for n, *where in zip(image.shape[1:3], size, offset, step))
    canvas[:, rows[0], cols[0]] = image[:, rows[1], cols[1]]
    return canvas


def _visible(count, size, offset, step):
    """Slices (on the canvas, in the image) of those of `count` pixels that land on the canvas."""
    first = max(0, -(offset // step))                 # ceil(-offset / step)
    last = min(count, (size - 1 - offset) // step + 1)
    last = max(first, last)
    start = offset + first * step
    return slice(start, max(start, start + (last - first - 1) * step + 1), step) if last > first else slice(
        0, 0
    ), slice(first, last)


def columns(xp, canvas, kernel, stride, dilation, out):
    """Every window as one row: (N, H, W, C) -> (N * OH * OW, KH * KW * C).

    The windows are first only described, by strides that step through memory more than once; one
    copy then lays them out.
    """
    n, *size, c = canvas.shape
    if any((o - 1) * s + d * (k - 1) >= n for n, o, k, s, d in zip(size, out, kernel, stride, dilation)):
        raise ValueError("the windows reach beyond the image")        # as_strided would read foreign memory
    sn, sh, sw, sc = canvas.strides
    shape = (n, *out, *kernel, c)
    strides = (sn, sh * stride[0], sw * stride[1], sh * dilation[0], sw * dilation[1], sc)
    windows = xp.lib.stride_tricks.as_strided(canvas, shape, strides)
    return xp.ascontiguousarray(windows).reshape(n * out[0] * out[1], kernel[0] * kernel[1] * c)


def image_columns(xp, x, kernel, stride, padding, dilation, out):
    """The columns of padded images; `padding` on all four sides."""
    size = tuple(n + 2 * p for n, p in zip(x.shape[2:], padding))
    return columns(xp, framed(xp, x, size, padding), kernel, stride, dilation, out)


def rows_of(x):
    """Images as rows of channels: (N, C, H, W) -> (N * H * W, C)."""
    return x.transpose(0, 2, 3, 1).reshape(-1, x.shape[1])


def images_of(rows, n, size):
    """Rows of channels as images: (N * H * W, C) -> (N, C, H, W), a view."""
    return rows.reshape(n, *size, rows.shape[1]).transpose(0, 3, 1, 2)


def filter_rows(w):
    """Filters as a matrix whose columns match `columns`: (O, C, KH, KW) -> (O, KH * KW * C)."""
    return w.transpose(0, 2, 3, 1).reshape(w.shape[0], -1)


def by_group(xp, function, groups, *arrays_and_axes, join):
    """Run `function` on each part of arrays cut in `groups` along their axes, and join the results."""
    cut = [xp.split(array, groups, axis=axis) for array, axis in arrays_and_axes]
    return xp.concatenate([function(*parts) for parts in zip(*cut)], axis=join)


# ---------------------------------------------------------------------- the three ops
@primitive(onnx="Conv")
def conv2d(xp, x, w, *, stride, padding, dilation, groups):
    """Slide each filter over each image and sum the products.

    x: (N, C, H, W), w: (O, C / groups, KH, KW) -> (N, O, OH, OW).
    """
    if groups > 1:
        return by_group(xp, lambda x, w: conv2d(x, w, stride=stride, padding=padding, dilation=dilation, groups=1),
                        groups, (x, 1), (w, 0), join=1)
    out = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    windows = image_columns(xp, x, w.shape[2:], stride, padding, dilation, out)
    return images_of(windows @ filter_rows(w).T, x.shape[0], out)


@primitive(symbol="conv2d∂x", onnx="ConvTranspose")
def conv2d_input_grad(xp, dy, w, *, size, stride, padding, dilation, groups):
    """What each pixel of the input gets back: each gradient, times the filter, onto the window it came from.

    Gathered instead of scattered: the gradients are set `stride` apart on a canvas, and the filter, turned
    by 180 degrees, slides over them.
    dy: (N, O, OH, OW), w: (O, C / groups, KH, KW) -> (N, C, *size).
    """
    if groups > 1:
        return by_group(xp, lambda dy, w: conv2d_input_grad(dy, w, size=size, stride=stride, padding=padding,
                                                           dilation=dilation, groups=1),
                        groups, (dy, 1), (w, 0), join=1)
    kernel = w.shape[2:]
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel))
    canvas = framed(xp, dy, tuple(n + r for n, r in zip(size, reach)),
                    tuple(r - p for r, p in zip(reach, padding)), stride)
    windows = columns(xp, canvas, kernel, (1, 1), dilation, size)
    turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return images_of(windows @ filter_rows(turned).T, dy.shape[0], size)


@primitive(symbol="conv2d∂w")
def conv2d_weight_grad(xp, x, dy, *, kernel, stride, padding, dilation, groups):
    """What each weight gets back: the sum, over all windows, of the pixel it met times the gradient there.

    x: (N, C, H, W), dy: (N, O, OH, OW) -> (O, C / groups, *kernel).
    """
    if groups > 1:
        return by_group(xp, lambda x, dy: conv2d_weight_grad(x, dy, kernel=kernel, stride=stride, padding=padding,
                                                            dilation=dilation, groups=1),
                        groups, (x, 1), (dy, 1), join=0)
    windows = image_columns(xp, x, kernel, stride, padding, dilation, dy.shape[2:])
    return (rows_of(dy).T @ windows).reshape(dy.shape[1], *kernel, x.shape[1]).transpose(0, 3, 1, 2)


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
