"""NumPy's own kernels, in two threads where that pays: the table that is always on.

A kernel here has the signature of the forward that it stands for, and computes the same by the same functions, on
parts of the arrays: rows of windows, channels, a part of a batch. Where there is little to do it calls the forward.
Single matrix products are not here: BLAS has threads of its own for them.
"""
import functools
import math

import numpy as np

from .. import ops
from ..ops.conv import add_windows, batch_first, batch_last, columns, output_size, padded, pixels, portions, windows_of
from ..ops.pool import canvas_of, keep_largest, laid_out_like, pooled_size, put_back, room_for_numbers, room_for_windows
from .threads import alone, crew, halves, product_in

TABLE = {}
# The second thread takes about 50 microseconds to come to work. It pays from so many numbers or multiplications on:
LARGE, PRODUCT = 2**18, 2**25


def kernel(function):
    """Put a kernel into the table under its own name. It gets the op's own forward first, for all other cases."""
    forward = getattr(ops, function.__name__).forward
    TABLE[function.__name__] = functools.wraps(forward)(functools.partial(function, forward))
    return function


# ---------------------------------------------------------------------- a batch of matrix products
@kernel
def matmul(forward, xp, x, y):
    if max(x.ndim, y.ndim) < 3 or not is_batch(x, y) or not crew.ready():
        return forward(xp, x, y)
    batch = (x if x.ndim > 2 else y).shape[:-2]
    out = np.empty((*batch, x.shape[-2], y.shape[-1]), x.dtype)
    crew.share(lambda k: np.matmul(x[k] if x.ndim > 2 else x, y[k] if y.ndim > 2 else y, out=out[k]), halves(batch[0]))
    return out


def is_batch(x, y):
    """Whether these are many matrices times as many, or times one, and enough work for two threads."""
    return (min(x.ndim, y.ndim) > 1 and (min(x.ndim, y.ndim) == 2 or x.shape[:-2] == y.shape[:-2])
            and max(x.size * y.shape[-1], y.size * x.shape[-2]) >= PRODUCT and max(len(x), len(y)) > 1
            and x.dtype == y.dtype and x.dtype.kind == "f" and x.shape[-1] == y.shape[-2])


# ---------------------------------------------------------------------- convolution
def is_small(x, filters, places):
    """Whether a convolution of the images x by filters of this shape, in so many places, is best left to one thread."""
    return len(x) * math.prod(places) * math.prod(filters) < PRODUCT or not crew.ready()


def by_rows(xp, windows):
    """Portions of the rows of windows for two threads; a single one is halved."""
    found = portions(xp, windows)
    return found if len(found) > 1 else halves(found[0].stop)


@kernel
def conv2d(forward, xp, x, w, *, stride, padding, dilation, groups):
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    if is_small(x, w.shape, size):
        return forward(xp, x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
    windows = windows_of(xp, padded(xp, x, padding), w.shape[2:], stride, dilation, size)
    filters = w.reshape(groups, w.shape[0] // groups, -1)
    out = np.empty((w.shape[0], *size, x.shape[0]), dtype=np.result_type(x.dtype, w.dtype))
    crew.share(lambda rows: np.matmul(filters, columns(windows, rows, groups), out=pixels(out, rows, groups)),
               by_rows(xp, windows))
    return batch_first(out)


@kernel
def conv2d_weight_grad(forward, xp, x, dy, *, kernel, stride, padding, dilation, groups):
    if is_small(x, (dy.shape[1], x.shape[1] // groups, *kernel), dy.shape[2:]):
        return forward(xp, x, dy, kernel=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    dy = batch_last(xp, dy)
    windows = windows_of(xp, padded(xp, x, padding), kernel, stride, dilation, dy.shape[1:3])
    parts = []
    crew.share(lambda rows: parts.append((rows.start, columns(windows, rows, groups)
                                          @ pixels(dy, rows, groups).swapaxes(1, 2))), by_rows(xp, windows))
    dw = sum(part for _, part in sorted(parts, key=lambda p: p[0]))      # in order: the same sum at every run
    return dw.swapaxes(1, 2).reshape(dy.shape[0], x.shape[1] // groups, *kernel)


@kernel
def conv2d_input_grad(forward, xp, dy, w, *, size, stride, padding, dilation, groups):
    in_rows = stride[0] == 1 and min(w.shape[1:3]) > 1 and dy.size and dy.dtype == w.dtype and product_in(dy.dtype)
    parts = [slice(0, w.shape[1])] if is_small(dy, w.shape, dy.shape[2:]) else halves(w.shape[1])
    if groups > 1 or not in_rows and len(parts) < 2:
        return forward(xp, dy, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    (h, wide), (top, left) = size, padding
    dy = batch_last(xp, dy)
    dx = np.empty((w.shape[1], h + 2 * top, wide + 2 * left, dy.shape[3]), np.result_type(dy.dtype, w.dtype))

    def some_channels(k):                             # what the windows of one channel get, no other channel does
        dx[k] = 0
        if in_rows:
            add_rows(dy, w[:, k], dx[k], stride[1], dilation)
        else:
            add_windows(xp, dy, w[:, k], dx[k], stride, dilation, 1)
    crew.share(some_channels, parts)
    return batch_first(dx[:, top:top + h, left:left + wide])


def add_rows(dy, w, dx, step, dilation):
    """`add_windows` where windows follow each other row by row, with BLAS adding up what a row of filters gives.

    A row of the filters moves all rows of windows down by the same stretch of memory, so one product adds its part to
    the sums of all of them, in place. What is left to add are the few places along a row. (BLAS has the sums at hand
    when it adds: 0.7 to 0.95 of the time of adding place by place; more with one channel or filters of one row.)
    """
    (o, rows, columns, n), (_, c, _, kw) = dy.shape, w.shape
    sums = np.empty((c * kw, dx.shape[1] * columns * n), dx.dtype)
    size = rows * columns * n
    sums[:, size:] = 0
    for i, filters in enumerate(np.ascontiguousarray(w.transpose(2, 1, 3, 0)).reshape(-1, c * kw, o)):
        start = i * dilation[0] * columns * n
        add_product(filters, dy.reshape(o, size), sums[:, start:start + size], keep=i > 0)
    sums = sums.reshape(c, kw, dx.shape[1], columns, n)
    for j in range(kw):
        left = j * dilation[1]
        dx[:, :, left:left + (columns - 1) * step + 1:step] += sums[:, j]


def add_product(x, y, out, keep):
    """out = x y, or if `keep` out += x y; each row of the three in one piece."""
    numbers = [a.strides[0] // a.itemsize for a in (x, y, out)]
    product_in(out.dtype)(101, 111, 111, len(x), y.shape[1], len(y), 1.0, x.ctypes.data, numbers[0], y.ctypes.data,
                          numbers[1], float(keep), out.ctypes.data, numbers[2])


# ---------------------------------------------------------------------- pooling
def by_channels(x):
    """Keys of the halves of images: of their channels, or of the batch where that lies first in memory.

    Two parts, no more: each further one costs both threads a wait for Python's lock.
    """
    first = max(range(2), key=lambda axis: x.strides[axis])
    return [(cut,) if first == 0 else (slice(None), cut) for cut in halves(x.shape[first])]


@kernel
def max_pool2d(forward, xp, x, *, kernel, stride, padding, dilation, ceil_mode):
    size = pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode) if x.ndim == 4 else ()
    if x.size < LARGE or min(size, default=0) < 1 or not crew.ready():
        return forward(xp, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    canvas = canvas_of(xp, x, -xp.inf, size, kernel, stride, padding, dilation)
    out = room_for_windows(xp, canvas, size)
    crew.share(lambda part: keep_largest(xp, canvas[part], out[part], kernel, stride, dilation), by_channels(canvas))
    return out


@kernel
def max_pool2d_unpool(forward, xp, dy, x, y, *, kernel, stride, padding, dilation):
    if x.size < LARGE or not crew.ready():
        return forward(xp, dy, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    canvas, dy = canvas_of(xp, x, -xp.inf, y.shape[2:], kernel, stride, padding, dilation), laid_out_like(xp, dy, y)
    dx = room_for_numbers(xp, canvas, y, kernel, stride, dilation)
    crew.share(lambda part: put_back(xp, dy[part], canvas[part], y[part], dx[part], kernel, stride, dilation),
               by_channels(canvas))
    (top, left), (h, w) = padding, x.shape[2:]
    return dx[:, :, top:top + h, left:left + w]


# ---------------------------------------------------------------------- many small products in a row: one thread
def in_one_thread(name):
    """Put the forward itself into the table, run while BLAS has one thread."""
    forward = getattr(ops, name).forward

    @functools.wraps(forward)
    def run(xp, *arrays, **settings):
        with alone:
            return forward(xp, *arrays, **settings)
    TABLE[name] = run


for _name in ("rnn_scan", "lstm_scan", "lstm_slopes", "gru_scan"):
    in_one_thread(_name)
