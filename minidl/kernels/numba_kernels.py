"""Whole ops as compiled loops: the table that `use_kernels("numba")` puts before NumPy's forwards.

A kernel here has the signature of the forward that it stands for. It does the cases that pay, in the dtypes and
layouts of a training step, and hands everything else to that forward. What is not here did not pay: NumPy's own
loops over contiguous memory are as fast, and matrix products are BLAS either way.
"""
import functools

import numba
import numpy as np

from .. import ops
from ..ops.conv import batch_first, columns, output_size, padded, pixels, portions, windows_of
from ..ops.conv import batch_last as made_batch_last
from ..ops.pool import laid_out_like, pooled_size
from .crew import crew, halves

f4 = np.float32
LARGE, PRODUCT = 2**16, 2**22        # numbers, and multiplications, from which on a second thread pays
TABLE = {}


def kernel(function):
    """Put a kernel into the table. A decorator; the kernel gets the op's own forward first, for all other cases."""
    forward = getattr(ops, function.__name__).forward
    TABLE[function.__name__] = functools.wraps(forward)(functools.partial(function, forward))
    return function


def compiled(function=None, **options):
    """A loop that numba compiles at its first call, and keeps on disk where it may write."""
    if function is None:
        return functools.partial(compiled, **options)
    options = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}, **options}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:                              # numba found no folder for its cache
        return numba.njit(**options)(function)


def plain(dtype, *arrays):
    """Whether all arrays are of this dtype and lie in memory in reading order."""
    return all(type(a) is np.ndarray and a.dtype == dtype and a.flags.c_contiguous for a in arrays)


# ---------------------------------------------------------------------- matrix products, shared out
@kernel
def matmul(forward, xp, x, y):
    if x.ndim != y.ndim or x.ndim > 3 or x.ndim < 2 or x.dtype != y.dtype or x.dtype.kind != "f" or (
            x.size * y.shape[-1] < PRODUCT or x.shape[-1] != y.shape[-2] or x.shape[:-2] != y.shape[:-2]):
        return forward(xp, x, y)
    out = np.empty((*x.shape[:-1], y.shape[-1]), x.dtype)
    if x.ndim == 3 or x.shape[0] >= y.shape[1]:
        crew.share(lambda k: np.matmul(x[k], y[k] if x.ndim == 3 else y, out=out[k]), halves(len(x)))
    else:
        crew.share(lambda k: np.matmul(x, y[:, k], out=out[:, k]), halves(y.shape[1]))
    return out


@kernel
def affine(forward, xp, x, w, b=None):
    if x.size * len(w) < PRODUCT or x.dtype != w.dtype:
        return forward(xp, x, w, b)
    out = TABLE["matmul"](xp, x, w.T)
    return out if b is None else out + b


@kernel
def conv2d(forward, xp, x, w, *, stride, padding, dilation, groups):
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    windows = windows_of(xp, padded(xp, x, padding), w.shape[2:], stride, dilation, size)
    filters = w.reshape(groups, w.shape[0] // groups, -1)
    out = np.empty((w.shape[0], *size, x.shape[0]), dtype=np.result_type(x.dtype, w.dtype))
    crew.share(lambda rows: np.matmul(filters, columns(windows, rows, groups), out=pixels(out, rows, groups)),
               at_least_two(portions(xp, windows)))
    return batch_first(out)


def at_least_two(slices):
    """Portions for two threads; a single one is halved."""
    if len(slices) > 1:
        return slices
    (only,) = slices
    middle = only.stop // 2
    return [slice(0, middle), slice(middle, only.stop)] if middle else slices


@kernel
def conv2d_weight_grad(forward, xp, x, dy, *, kernel, stride, padding, dilation, groups):
    dy = made_batch_last(xp, dy)
    windows = windows_of(xp, padded(xp, x, padding), kernel, stride, dilation, dy.shape[1:3])
    parts = []
    crew.share(lambda rows: parts.append((rows.start, columns(windows, rows, groups)
                                          @ pixels(dy, rows, groups).swapaxes(1, 2))),
               at_least_two(portions(xp, windows)))
    dw = sum(part for _, part in sorted(parts, key=lambda p: p[0]))      # in order: the same sum at every run
    return dw.swapaxes(1, 2).reshape(dy.shape[0], x.shape[1] // groups, *kernel)


@kernel
def conv2d_input_grad(forward, xp, dy, w, *, size, stride, padding, dilation, groups):
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    if groups > 1 or crew.threads is None or dy.size < LARGE:
        return forward(xp, dy, w, size=size, **settings)
    out = np.empty((w.shape[1], *size, dy.shape[0]), np.result_type(dy.dtype, w.dtype))
    dy = batch_first(made_batch_last(xp, dy))

    def some_channels(k):                             # what the windows of one channel get, no other channel does
        out[k] = forward(xp, dy, w[:, k], size=size, **settings).transpose(1, 2, 3, 0)
    crew.share(some_channels, halves(w.shape[1]))
    return batch_first(out)


# ---------------------------------------------------------------------- pooling, of images with the batch last in memory
def batch_last(x):
    """(N, C, H, W) as they lie in memory, (C, H, W, N); None if they lie differently."""
    x = x.transpose(1, 2, 3, 0)
    return x if x.flags.c_contiguous and x.flags.writeable and x.dtype.kind == "f" and x.shape[3] > 7 else None


@compiled
def pool(x, kh, kw, sh, sw, dh, dw, out):
    for c in range(out.shape[0]):
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                goal = out[c, row, column]
                goal[:] = x[c, row * sh, column * sw]
                for place in range(1, kh * kw):
                    other = x[c, row * sh + place // kw * dh, column * sw + place % kw * dw]
                    for n in range(goal.size):
                        if other[n] > goal[n] or other[n] != other[n]:
                            goal[n] = other[n]


@kernel
def max_pool2d(forward, xp, x, *, kernel, stride, padding, dilation, ceil_mode):
    source = batch_last(x) if x.ndim == 4 and padding == (0, 0) and not ceil_mode else None
    size = pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode) if x.ndim == 4 else (0, 0)
    if source is None or min(size) < 1:
        return forward(xp, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    out = np.empty((x.shape[1], *size, x.shape[0]), x.dtype)
    crew.share(lambda part: pool(source[part], *kernel, *stride, *dilation, out[part]),
               halves(len(out), 1 if x.size > LARGE else len(out)))
    return batch_first(out)


@compiled
def unpool(dy, x, y, kh, kw, sh, sw, dh, dw, dx):
    for c in range(y.shape[0]):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                largest, gradient = y[c, row, column], dy[c, row, column]
                free = np.ones(largest.size, np.bool_)
                for place in range(kh * kw):
                    i, j = row * sh + place // kw * dh, column * sw + place % kw * dw
                    other, goal = x[c, i, j], dx[c, i, j]
                    for n in range(largest.size):
                        wins = free[n] and (other[n] == largest[n] or other[n] != other[n])
                        goal[n] = gradient[n] if wins else gradient.dtype.type(0)
                        free[n] = free[n] and not wins


@kernel
def max_pool2d_unpool(forward, xp, dy, x, y, *, kernel, stride, padding, dilation):
    apart = all(s >= d * (k - 1) + 1 for s, k, d in zip(stride, kernel, dilation))
    arrays = [batch_last(a) for a in (laid_out_like(xp, dy, y), x, y)] if apart and padding == (0, 0) else [None]
    inside = all((n - 1) * s + d * (k - 1) < m for n, m, s, d, k in
                 zip(y.shape[2:], x.shape[2:], stride, dilation, kernel))
    if any(a is None for a in arrays) or not inside or len({a.dtype for a in arrays}) > 1:
        return forward(xp, dy, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    tiled = arrays[2].size * kernel[0] * kernel[1] == x.size
    dx = (np.empty_like if tiled else np.zeros_like)(arrays[1])
    crew.share(lambda part: unpool(*[a[part] for a in arrays], *kernel, *stride, *dilation, dx[part]),
               halves(len(dx), 1 if dx.size > LARGE else len(dx)))
    return batch_first(dx)


# ---------------------------------------------------------------------- recurrent networks: what follows the product
@compiled(inline="always")
def tanh(x):
    """tanh in float32 as a quotient of polynomials, fitted for this file; relative error below 3.5e-7.

    The C library's takes one number at a time; this, the compiler turns into steps on many at once.
    """
    x = f4(9) if x > f4(9) else (f4(-9) if x < f4(-9) else x)        # a nan goes through
    y = x * x
    p = f4(0.0034940544) + y * (f4(2.05837807e-05) + y * f4(1.33194388e-08))
    q = f4(0.0258711506) + y * (f4(0.00032831241) + y * f4(7.76217961e-07))
    p = f4(0.999999979) + y * (f4(0.133797353) + y * p)
    q = f4(1) + y * (f4(0.467130506) + y * q)
    out = x * p / q
    return f4(1) if out > f4(1) else (f4(-1) if out < f4(-1) else out)


@compiled(inline="always")
def sigmoid(x):
    """By way of tanh."""
    return tanh(x * f4(0.5)) * f4(0.5) + f4(0.5)


@compiled
def lstm_step(product, x, before, i, f, n, o, c, h):
    """From the sums that come from the state (4, N, H) and from the input to the gates and the new state."""
    pi, pf, pn, po = product[0].ravel(), product[1].ravel(), product[2].ravel(), product[3].ravel()
    xi, xf, xn, xo = x[0].ravel(), x[1].ravel(), x[2].ravel(), x[3].ravel()
    b, i, f, n, o, c, h = before.ravel(), i.ravel(), f.ravel(), n.ravel(), o.ravel(), c.ravel(), h.ravel()
    for k in range(b.size):
        gi, gf, gn, go = sigmoid(pi[k] + xi[k]), sigmoid(pf[k] + xf[k]), tanh(pn[k] + xn[k]), sigmoid(po[k] + xo[k])
        new = gf * b[k] + gi * gn
        i[k], f[k], n[k], o[k], c[k], h[k] = gi, gf, gn, go, new, go * tanh(new)


@kernel
def lstm_scan(forward, xp, xs, w, h, c, mask=None):
    if mask is not None or not plain(np.float32, xs, w, h, c):
        return forward(xp, xs, w, h, c, mask)
    log = np.empty((6, *xs.shape[1:]), np.float32)
    from_state, product = w.transpose(0, 2, 1).copy(), np.empty((4, *h.shape), np.float32)
    for t in range(xs.shape[1]):
        np.matmul(h, from_state, out=product)
        lstm_step(product, xs[:, t], c, *log[:, t])
        c, h = log[4, t], log[5, t]
    return log
