"""Whole ops as compiled loops: the table that `use_kernels("numba")` puts before NumPy's forwards.

A kernel here has the signature of the forward that it stands for. It does the cases that pay, in the dtypes and
layouts of a training step, and hands everything else to that forward. What is not here did not pay: NumPy's own
loops over contiguous memory are as fast, and matrix products are BLAS either way.
"""
import functools

import numba
import numpy as np

from .. import ops
from ..ops.conv import batch_first
from ..ops.pool import laid_out_like, pooled_size
from ..ops.recurrent import before_each_step, behind, nothing, parts, weight_gradient
from ..ops.reduce import sum as reduce_sum
from ..ops.shape import concat, expand, reshape
from ..primitive import primitive, registry
from ..tensor import Tensor
from .shared import TABLE as SHARED
from .threads import crew, halves, product_in

f4 = np.float32
LARGE = 2**18                        # numbers from which on a second thread pays
MARGIN = 16
TABLE = {}


def kernel(function, name=None):
    """Put a kernel into the table, under its own name or another. A decorator.

    The kernel gets NumPy's way first, for all other cases.
    """
    name = name or function.__name__
    forward = SHARED.get(name) or getattr(ops, name).forward
    TABLE[name] = functools.wraps(forward)(functools.partial(function, forward))
    return function


def compiled(function=None, **options):
    """A loop that numba compiles at its first call, and keeps on disk where it may write."""
    if function is None:
        return functools.partial(compiled, **options)
    options = {"error_model": "numpy", "nogil": True, "fastmath": {"contract"}, "cache": True, **options}
    try:
        return numba.njit(**options)(function)
    except RuntimeError:                              # numba found no folder for its cache
        return numba.njit(**{**options, "cache": False})(function)


# ---------------------------------------------------------------------- pooling, for images with the batch last
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


# ---------------------------------------------------------------------- the loss of a classifier, row by row
@compiled
def losses_of(x, target, ignored, losses):
    for r in range(x.shape[0]):
        largest, total, right = x[r].max(), x.dtype.type(0), target[r]
        for k in range(x.shape[1]):
            total += np.exp(x[r, k] - largest)
        score = x[r, right] - largest if 0 <= right < x.shape[1] else x.dtype.type(0)
        losses[r] = x.dtype.type(0) if right == ignored else np.log(total) - score


@compiled
def slopes_of(x, target, ignored, share, slopes):
    for r in range(x.shape[0]):
        largest, total = x[r].max(), x.dtype.type(0)
        for k in range(x.shape[1]):
            slopes[r, k] = np.exp(x[r, k] - largest)
            total += slopes[r, k]
        for k in range(x.shape[1]):
            if target[r] == ignored:
                slopes[r, k] = x.dtype.type(0)
            else:
                slopes[r, k] = (slopes[r, k] / total - x.dtype.type(k == target[r])) * share


def few_scores(x, target):
    """Whether these are scores of a batch, so few that NumPy's calls take longer than the numbers."""
    return x.ndim == 2 and 0 < x.size <= 2**14 and x.dtype.kind == "f" and x.itemsize > 2 and target.dtype == np.int64


@kernel
def cross_entropy(forward, xp, x, target, *, ignore_index, reduction):
    if not few_scores(x, target):
        return forward(xp, x, target, ignore_index=ignore_index, reduction=reduction)
    losses = np.empty(len(x), x.dtype)
    losses_of(x, target, ignore_index, losses)
    if reduction == "none":
        return losses
    return losses.sum() / (rows_that_count(target, ignore_index) if reduction == "mean" else 1)


def rows_that_count(target, ignore_index):
    """How many there are, as a number of no dtype; nan for none, as 0 / 0 is."""
    return int(np.count_nonzero(target != ignore_index)) or float("nan")


@kernel
def cross_entropy_slopes(forward, xp, x, target, *, ignore_index, reduction):
    if not few_scores(x, target):
        return forward(xp, x, target, ignore_index=ignore_index, reduction=reduction)
    slopes = np.empty_like(x)
    share = 1 / rows_that_count(target, ignore_index) if reduction == "mean" else 1.0
    slopes_of(x, target, ignore_index, x.dtype.type(share), slopes)
    return slopes


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


sgemm = product_in("float32")        # BLAS, to be called from within compiled loops; None if it was not found


@compiled(cache=False)
def product(x, w, out):
    """out = x w for the few rows x of some sequences; x and w may have more columns than take part.

    Up to a million multiplications OpenBLAS reads both where they lie, beyond that it copies them into an order of its
    own first, at every call. A product that is somewhat larger is therefore cut in two (0.75 to 0.9 of the time); a
    much larger one is better copied.
    """
    rows, columns, depth = len(x), out.shape[1], len(w)
    size = rows * columns * depth
    width = (columns + 31) // 32 * 16 if 1_000_000 < size <= 2_000_000 else columns
    for start in range(0, columns, width):
        sgemm(101, 111, 111, rows, min(width, columns - start), depth, f4(1), x.ctypes.data, x.shape[1],
              w.ctypes.data + 4 * start, w.shape[1], f4(0), out.ctypes.data + 4 * start, columns)


def with_margin(w):
    """A matrix with 16 columns more: where rows are a power of 2 apart, too few of them fit into the cache."""
    out = np.empty((len(w), w.shape[1] + MARGIN), w.dtype)
    out[:, :-MARGIN] = w
    return out


@compiled(cache=False)
def lstm_forward(xs, wt, first_h, first_c, log, start, stop):
    """Some sequences of a batch, all steps. xs (4, T, N, H), wt (H, 4 H + ...), log (6, T, N, H): ops/recurrent.py."""
    steps, size, count = xs.shape[1], xs.shape[3], stop - start
    sums, h, c = np.empty((count, 4 * size), f4), first_h[start:stop], first_c[start:stop]
    for t in range(steps):
        product(h, wt, sums)
        for r in range(count):
            row, p, b = start + r, sums[r], c[r]
            xi, xf, xn, xo = xs[0, t, row], xs[1, t, row], xs[2, t, row], xs[3, t, row]
            i, f, n, o = log[0, t, row], log[1, t, row], log[2, t, row], log[3, t, row]
            new_c, new_h = log[4, t, row], log[5, t, row]
            for k in range(size):
                gi, gf = sigmoid(p[k] + xi[k]), sigmoid(p[size + k] + xf[k])
                gn, go = tanh(p[2 * size + k] + xn[k]), sigmoid(p[3 * size + k] + xo[k])
                new = gf * b[k] + gi * gn
                i[k], f[k], n[k], o[k], new_c[k], new_h[k] = gi, gf, gn, go, new, go * tanh(new)
        c, h = log[4, t, start:stop], log[5, t, start:stop]


@compiled(cache=False)
def lstm_backward(gates, gc, gh, log, w, first_c, out, start, stop):
    """The same, backwards: out (4 T + 2, N, H) gets the gradients of the sums, then those of the first h and c.

    gates (4, T, N, H) are the gradients of the gates themselves, or (4, 0, ...) if there are none; so is gc.
    """
    steps, size, count = log.shape[1], log.shape[3], stop - start
    dz, dh, dc = np.empty((count, 4 * size + MARGIN), f4), np.zeros((count, size), f4), np.zeros((count, size), f4)
    for t in range(steps - 1, -1, -1):
        for r in range(count):
            row, z, h, c = start + r, dz[r], dh[r], dc[r]
            i, f, n, o, now = log[0, t, row], log[1, t, row], log[2, t, row], log[3, t, row], log[4, t, row]
            before = log[4, t - 1, row] if t else first_c[row]
            ghr = gh[t, row]
            di, df, dn, do = out[t, row], out[steps + t, row], out[2 * steps + t, row], out[3 * steps + t, row]
            if gc.shape[0]:
                c += gc[t, row]
            for k in range(size):
                bent, g = tanh(now[k]), ghr[k] + h[k]
                d = c[k] + g * o[k] * (f4(1) - bent * bent)
                di[k], df[k], dn[k], do[k] = d * n[k], d * before[k], d * i[k], g * bent
                c[k] = d * f[k]
            if gates.shape[1]:
                di += gates[0, t, row]
                df += gates[1, t, row]
                dn += gates[2, t, row]
                do += gates[3, t, row]
            for k in range(size):
                di[k] *= i[k] * (f4(1) - i[k])
                df[k] *= f[k] * (f4(1) - f[k])
                dn[k] *= f4(1) - n[k] * n[k]
                do[k] *= o[k] * (f4(1) - o[k])
                z[k], z[size + k], z[2 * size + k], z[3 * size + k] = di[k], df[k], dn[k], do[k]
        product(dz, w, dh)
    out[4 * steps, start:stop], out[4 * steps + 1, start:stop] = dh, dc


@kernel
def lstm_scan(forward, xp, xs, w, h, c, mask=None):
    if sgemm is None or mask is not None or not single(xs, w, h, c) or not xs.size:
        return forward(xp, xs, w, h, c, mask)
    xs, w, h, c = map(owned, (xs, w, h, c))           # a first state of zeros often is one 0 that is repeated
    log, size = np.empty((6, *xs.shape[1:]), np.float32), h.shape[1]
    wt = with_margin(w.reshape(4 * size, size).T)
    crew.share(lambda k: lstm_forward(xs, wt, h, c, log, k.start, k.stop), sequences(log))
    return log


def single(*arrays):
    """Whether all are arrays of float32."""
    return all(type(a) is np.ndarray and a.dtype == np.float32 for a in arrays)


def sequences(log):
    """The sequences of a batch in two halves, if there are enough of them."""
    return halves(log.shape[2], 8 if log.size > LARGE else log.shape[2])


@kernel
def lstm_slopes(forward, xp, gi, gf, gn, go, gc, gh, log, w, c, mask=None):
    if sgemm is None or mask is not None or not single(gi, gf, gn, go, gc, gh, log, w, c) or not log.size:
        return forward(xp, gi, gf, gn, go, gc, gh, log, w, c, mask)
    log, w, c = map(owned, (log, w, c))
    gates, steps = [gi, gf, gn, go], log.shape[1]
    gates = np.empty((4, 0, *c.shape), np.float32) if all(map(nothing, gates)) else np.stack(gates)
    gc = np.empty((0, *c.shape), np.float32) if nothing(gc) else owned(gc)
    out, gh = np.empty((4 * steps + 2, *c.shape), np.float32), owned(gh)
    w = w.reshape(4 * c.shape[1], c.shape[1])
    crew.share(lambda k: lstm_backward(gates, gc, gh, log, w, c, out, k.start, k.stop), sequences(log))
    return out


def owned(x):
    """x as numba's loops were compiled for it."""
    return x if x.flags.c_contiguous and x.flags.writeable else x.copy()


# ---------------------------------------------------------------------- the same for the GRU
@compiled(cache=False)
def gru_forward(xs, wt, b, first_h, log, start, stop):
    """Some sequences of a batch, all steps. xs (3, T, N, H), wt (H, 3 H + ...), log (5, T, N, H): ops/recurrent.py."""
    steps, size, count = xs.shape[1], xs.shape[3], stop - start
    sums, h = np.empty((count, 3 * size), f4), first_h[start:stop]
    for t in range(steps):
        product(h, wt, sums)
        for r in range(count):
            row, p, before = start + r, sums[r], h[r]
            xr, xz, xn = xs[0, t, row], xs[1, t, row], xs[2, t, row]
            reset, z, n, q, new = log[0, t, row], log[1, t, row], log[2, t, row], log[3, t, row], log[4, t, row]
            for k in range(size):
                gr, gz, inside = sigmoid(p[k] + xr[k]), sigmoid(p[size + k] + xz[k]), p[2 * size + k] + b[k]
                gn = tanh(xn[k] + gr * inside)
                reset[k], z[k], n[k], q[k], new[k] = gr, gz, gn, inside, (f4(1) - gz) * gn + gz * before[k]
        h = log[4, t, start:stop]


@compiled(cache=False)
def gru_backward(gates, gh, log, w, first_h, out, start, stop):
    """The same, backwards: out (4 T + 1, N, H) gets the gradients of the sums of r, z and n, of q, and of the first h.

    gates (4, T, N, H) are the gradients of r z n q themselves, or (4, 0, ...) if there are none.
    """
    steps, size, count = log.shape[1], log.shape[3], stop - start
    state, past = np.empty((count, 3 * size + MARGIN), f4), np.empty((count, size), f4)
    through, dh = np.zeros((count, size), f4), np.zeros((count, size), f4)
    for t in range(steps - 1, -1, -1):
        for r in range(count):
            row, s = start + r, state[r]
            reset, z, n, q = log[0, t, row], log[1, t, row], log[2, t, row], log[3, t, row]
            before, ghr = log[4, t - 1, row] if t else first_h[row], gh[t, row]
            dr, dz, dn, dq = out[t, row], out[steps + t, row], out[2 * steps + t, row], out[3 * steps + t, row]
            for k in range(size):
                d = ghr[k] + dh[r, k]
                past[r, k] = d * z[k]
                dz[k], dn[k] = d * (before[k] - n[k]), d * (f4(1) - z[k])
            if gates.shape[1]:
                dz += gates[1, t, row]
                dn += gates[2, t, row]
            for k in range(size):
                dn[k] *= f4(1) - n[k] * n[k]
                dr[k], dq[k] = dn[k] * q[k], dn[k] * reset[k]
            if gates.shape[1]:
                dr += gates[0, t, row]
                dq += gates[3, t, row]
            for k in range(size):
                dr[k] *= reset[k] * (f4(1) - reset[k])
                dz[k] *= z[k] * (f4(1) - z[k])
                s[k], s[size + k], s[2 * size + k] = dr[k], dz[k], dq[k]
        product(state, w, through)
        dh[:] = through + past
    out[4 * steps, start:stop] = dh


@kernel
def gru_scan(forward, xp, xs, w, b, h, mask=None):
    if sgemm is None or mask is not None or not single(xs, w, b, h) or not xs.size:
        return forward(xp, xs, w, b, h, mask)
    xs, w, b, h = map(owned, (xs, w, b, h))
    log, size = np.empty((5, *xs.shape[1:]), np.float32), h.shape[1]
    wt = with_margin(w.reshape(3 * size, size).T)
    crew.share(lambda k: gru_forward(xs, wt, b, h, log, k.start, k.stop), sequences(log))
    return log


# The rule of gru_scan is a Python loop over small arrays. On arrays, and in a graph, this op takes its place; on
# tensors, when the gradient is itself to be differentiated, the rule as it stands. What the op means is written with
# ops, so that a graph in a file need not hold it (graph/store.py).
gru_rule = ops.gru_scan.rules["xs"].function


def like_the_log(log, *slopes):
    """The slopes of all letters as one array in the shape of the log; some are a single 0."""
    part = log.shape[1:]
    return concat(*[reshape(expand(x, shape=part), shape=(1, *part)) for x in slopes], dim=0)


def gru_scan_grad_by_op(gr, gz, gn, gq, gh, log, w, b, h):
    """`gru_scan_grad` by the rule of gru_scan; what q gets is what n gets, through r, and its own."""
    sums, _, _, dh = gru_rule(like_the_log(log, gr, gz, gn, gq, gh), log, w, h, None)
    dq = sums[2] * log[0] + gq
    return behind(concat(sums, dq[None], dim=0), dh)


@primitive(symbol="GRU∂", expansion=gru_scan_grad_by_op)
def gru_scan_grad(xp, gr, gz, gn, gq, gh, log, w, b, h):
    """The gradients of the sums of r, z and n, of q, and of the first h, one behind the other: (4 T + 1, N, H)."""
    return gru_scan_grad_by_op(gr, gz, gn, gq, gh, log, w, b, h)


@gru_scan_grad.shape
def _(gr, gz, gn, gq, gh, log, w, b, h):
    return (4 * log[1] + 1, *h)


@functools.partial(kernel, name="gru_scan_grad")
def gru_scan_backwards(forward, xp, gr, gz, gn, gq, gh, log, w, b, h):
    if sgemm is None or not single(gr, gz, gn, gq, gh, log, w, h) or not log.size:
        return forward(xp, gr, gz, gn, gq, gh, log, w, b, h)
    log, w, h = map(owned, (log, w, h))
    gates, steps = [gr, gz, gn, gq], log.shape[1]
    gates = np.empty((4, 0, *h.shape), np.float32) if all(map(nothing, gates)) else np.stack(gates)
    out, gh = np.empty((4 * steps + 1, *h.shape), np.float32), owned(gh)
    w = w.reshape(3 * h.shape[1], h.shape[1])
    crew.share(lambda k: gru_backward(gates, gh, log, w, h, out, k.start, k.stop), sequences(log))
    return out


def fast_gru_rule(g, out, w, b, h, mask):
    if mask is not None or isinstance(out, Tensor) or isinstance(g, Tensor):
        return gru_rule(g, out, w, h, mask)
    found, steps = registry["gru_scan_grad"](*parts(g), out, w, b, h), out.shape[1]
    sums = reshape(found[:4 * steps], shape=(4, *out.shape[1:]))
    state = concat(sums[:2], sums[3:], dim=0)
    return (sums[:3], weight_gradient(state, before_each_step(h, out[4])), reduce_sum(sums[3], dim=(0, 1)),
            found[4 * steps])


RULES = {"gru_scan": (("xs", "w", "b", "h"), fast_gru_rule, gru_rule)}
