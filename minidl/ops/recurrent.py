"""Recurrent networks as ops: the loop over time runs inside, on plain arrays.

    rnn_scan    h = tanh(x + W h)                                            log: h
    lstm_scan   c = f c + i g,  h = o tanh(c)                                log: i f g o c h
    gru_scan    n = tanh(x_n + r q),  h = (1 - z) n + z h,  q = W_n h + b    log: r z n q h

Each op returns its *log*: all that happened at each step, one array (T, N, H) for each letter. The
output of the layer is picked out of it, the gates can be looked at, and the gradient rule finds in it
all that it needs. What does not depend on the step before stays outside the loop: the products with
the inputs come in ready, and the gradient of the weight is one matrix product for each gate at the end.

    xs    (gates, T, N, H)    the input's part of every gate, biases included
    w     (gates, H, H)       the weight of the state
    h, c  (N, H)              the state before the first step
    mask  (T, N, 1)           0 where a sequence has ended: its state then stays as it is
    log   (letters, T, N, H)

The gates come first, so that the numbers of one gate at one step lie side by side in memory; side by side along
the last axis, every step would have to collect them from N places.

Letters and order of the gates are PyTorch's. Sources: Hochreiter & Schmidhuber 1997 with the forget gate of
Gers et al. 2000 (LSTM), Cho et al. 2014 in the form of cuDNN (GRU), Elman 1990 (RNN).
"""
import math

import numpy as np

from ..errors import ShapeError, message
from ..primitive import primitive
from .elementwise import tanh
from .linear import matmul, swap
from .reduce import sum as reduce_sum
from .shape import concat, reshape

LINE = 64                                             # bytes that a processor fetches at once


@primitive(symbol="align", onnx="Identity")
def aligned(xp, x):
    """A copy of x of which each row begins where a cache line does, an odd number of lines after the row before.

    A product of small matrices reads its weights from where they lie. It takes two thirds of the time if it meets whole
    lines, and nine tenths of that if the lines of a column do not all fall into the same few sets of the cache, as they
    do where the length of a row is a power of two.
    """
    if xp is not np:                                  # a GPU's products copy what is not in one piece
        return xp.array(x)
    line = LINE // x.itemsize
    length = (-(-x.shape[-1] // line) | 1) * line
    memory = np.empty((math.prod(x.shape[:-1]) + 1) * length, dtype=x.dtype)
    start = -memory.ctypes.data % LINE // x.itemsize
    rows = memory[start:start + len(memory) - length].reshape(*x.shape[:-1], length)
    out = rows[..., :x.shape[-1]]
    out[...] = x
    return out


@aligned.grad("x")
def _(g):
    return g


@aligned.shape
def _(x):
    return x


def parts(log):
    """The arrays along the first axis (views)."""
    return [log[k] for k in range(log.shape[0])]


def hold(mask, t, new, old):
    """The new state where the sequence goes on, the old one where it has ended."""
    return new if mask is None else mask[t] * new + (1 - mask[t]) * old


def through(dz, w):
    """The gradient of a state from those of all gates that it went into: (G, N, H), (G, H, H) -> (N, H)."""
    return reduce_sum(matmul(dz, w), dim=(0,))


def weight_gradient(dz, before):
    """The sum over time and batch of dz^T h for each gate: (G, T, N, H), (T, N, H) -> (G, H, H)."""
    count, size = dz.shape[1] * dz.shape[2], dz.shape[3]
    return matmul(swap(reshape(dz, shape=(dz.shape[0], count, size))), reshape(before, shape=(count, size)))


def before_each_step(first, states):
    """The state that each step started from: the first one, then that of the step before."""
    return concat(first[None], states[:-1], dim=0)


def gates_of(*steps):
    """The gates of a step as one array: (N, H) each -> (G, N, H)."""
    return concat(*[step[None] for step in steps], dim=0)


def in_order(steps):
    """The gates of all steps, collected from the last to the first, in order of time: (G, N, H) -> (G, T, N, H)."""
    return concat(*[step[:, None] for step in reversed(steps)], dim=1)


def behind(steps, *states):
    """Gradients of steps (G, T, N, H) and of states (N, H), one behind the other: (G T + states, N, H)."""
    shape = steps.shape[2:]
    return concat(reshape(steps, shape=(steps.shape[0] * steps.shape[1], *shape)),
                  *[reshape(x, shape=(1, *shape)) for x in states], dim=0)


def let_through(mask, t, d):
    """Split the gradient of a held state: what goes into the step, and what goes past it."""
    return (d, 0) if mask is None else (d * mask[t], d * (1 - mask[t]))


def _check(name, gates, xs, w, h):
    facts = [("xs", xs, "gates T N H"), ("w", w, "gates H H"), ("h", h, "N H")]
    if len(xs) != 4 or (xs[0], *xs[2:]) != (gates, *h) or w != (gates, h[-1], h[-1]):
        raise ShapeError(message(f"{name}: inputs, weight and state do not fit together.", facts))


# ---------------------------------------------------------------------- RNN
@primitive(symbol="RNN", onnx="RNN")
def rnn_scan(xp, xs, w, h, mask=None, *, nonlinearity):
    """h = tanh(x + W h), or relu in its place, step by step. Returns the log of h, (1, T, N, H)."""
    log = xp.empty(xs.shape, dtype=xs.dtype)
    from_state = aligned(w[0].T)
    for t in range(xs.shape[1]):
        new = xs[0, t] + h @ from_state
        new = xp.tanh(new) if nonlinearity == "tanh" else xp.maximum(new, 0)
        h = log[0, t] = hold(mask, t, new, h)
    return log


@rnn_scan.grad("xs", "w", "h")
def _(g, out, w, h, mask, nonlinearity):
    w, slope = aligned(w), (1 - out * out if nonlinearity == "tanh" else (out > 0) * 1.0)
    dh, steps = 0, []
    for t in reversed(range(out.shape[1])):
        inside, past = let_through(mask, t, g[0, t] + dh)
        steps.append(inside * slope[:, t])
        dh = through(steps[-1], w) + past
    dz = in_order(steps)
    return dz, weight_gradient(dz, before_each_step(h, out[0])), dh


# ---------------------------------------------------------------------- LSTM
@primitive(symbol="LSTM", onnx="LSTM")
def lstm_scan(xp, xs, w, h, c, mask=None):
    """Long short-term memory, step by step. Returns the log i f g o c h, (6, T, N, H).

    One tanh serves all four gates, as sigmoid(z) = tanh(z / 2) / 2 + 1 / 2.
    """
    log = xp.empty((6, *xs.shape[1:]), dtype=xs.dtype)
    scale = xp.asarray([0.5, 0.5, 1.0, 0.5], dtype=xs.dtype).reshape(4, 1, 1)
    shift = 1 - scale
    from_state = aligned(w.transpose(0, 2, 1))        # and read row by row, another third
    for t in range(xs.shape[1]):
        gates = log[:4, t]
        xp.matmul(h, from_state, out=gates)
        gates += xs[:, t]
        gates *= scale
        xp.tanh(gates, out=gates)
        gates *= scale
        gates += shift
        i, f, n, o = parts(gates)
        c = log[4, t] = hold(mask, t, f * c + i * n, c)
        h = log[5, t] = hold(mask, t, o * xp.tanh(c), h)
    return log


@lstm_scan.grad("xs", "w", "h", "c")
def _(g, out, w, h, c, mask):
    count = 4 * out.shape[1]
    slopes = lstm_slopes(*parts(g), out, w, c, *([] if mask is None else [mask]))
    dz = reshape(slopes[:count], shape=(4, *out.shape[1:]))
    return dz, weight_gradient(dz, before_each_step(h, out[5])), slopes[count], slopes[count + 1]


def lstm_slopes_by_op(gi, gf, gn, go, gc, gh, log, w, c, mask=None):
    """`lstm_slopes` in the language of ops: the formulas, one step back after the other."""
    i, f, n, o, cs, _ = parts(log)
    bent, before = tanh(cs), [c, *parts(cs)]
    dh, dc, steps = 0, 0, []
    for t in reversed(range(log.shape[1])):
        dh, past_h = let_through(mask, t, gh[t] + dh)
        dc, past_c = let_through(mask, t, gc[t] + dc)
        dc = dc + dh * o[t] * (1 - bent[t] * bent[t])
        di = (dc * n[t] + gi[t]) * i[t] * (1 - i[t])
        df = (dc * before[t] + gf[t]) * f[t] * (1 - f[t])
        dn = (dc * i[t] + gn[t]) * (1 - n[t] * n[t])
        do = (dh * bent[t] + go[t]) * o[t] * (1 - o[t])
        steps.append(gates_of(di, df, dn, do))
        dh, dc = through(steps[-1], w) + past_h, dc * f[t] + past_c
    return behind(in_order(steps), dh, dc)


@primitive(symbol="∂LSTM", dtype="log", expansion=lstm_slopes_by_op)
def lstm_slopes(xp, gi, gf, gn, go, gc, gh, log, w, c, mask=None):
    """What the sums of all gates and steps get back, 4 x (T, N, H), then what the first h and c do: (4 T + 2, N, H).

    gi ... gh are what each letter of the log gets back: mostly zeros, as a network uses h, but anybody may look at the
    gates, too. The formulas are those of `lstm_slopes_by_op`. Here they run in memory that is used again at every
    step, so that it stays in the processor's cache.
    """
    steps, looked_at = log.shape[1], not all(map(nothing, (gi, gf, gn, go)))
    out = xp.empty((4 * steps + 2, *c.shape), dtype=log.dtype)
    gates = out[:4 * steps].reshape(4, *log.shape[1:])
    bents, w, slopes = xp.tanh(log[4]), aligned(w), xp.empty((4, *c.shape), dtype=log.dtype)
    room = slopes[0]
    dh, dc = xp.zeros(c.shape, dtype=log.dtype), xp.zeros(c.shape, dtype=log.dtype)
    for t in reversed(range(steps)):
        i, f, n, o = parts(log[:4, t])
        dz, bent, before = gates[:, t], bents[t], c if t == 0 else log[4, t - 1]
        dh, past_h = let_through(mask, t, xp.add(dh, gh[t], out=dh))
        dc, past_c = let_through(mask, t, xp.add(dc, gc[t], out=dc))
        into_memory = tanh_slope(xp, bent, room)
        into_memory *= o
        into_memory *= dh
        dc += into_memory
        for place, d, factor in zip(parts(dz), (dc, dc, dc, dh), (n, before, i, bent)):
            xp.multiply(d, factor, out=place)
        if looked_at:
            for place, g in zip(parts(dz), (gi, gf, gn, go)):
                place += g[t]
        sigmoid_slope(xp, log[:4, t], slopes)
        tanh_slope(xp, n, slopes[2])
        dz *= slopes
        dh = xp.matmul(dz, w).sum(axis=0)
        dc *= f
        if mask is not None:
            dh, dc = dh + past_h, dc + past_c
    out[4 * steps], out[4 * steps + 1] = dh, dc
    return out


@lstm_slopes.shape
def _(gi, gf, gn, go, gc, gh, log, w, c, mask=None):
    return (4 * log[1] + 2, *c)


def nothing(x):
    """Whether an array is a single 0 that is repeated, as it is for what nobody used."""
    return x.size > 0 and not any(x.strides) and not x[(0,) * x.ndim]


def sigmoid_slope(xp, a, room):
    """a (1 - a), the slope of a sigmoid from its value, in the memory of `room`."""
    xp.subtract(1, a, out=room)
    return xp.multiply(room, a, out=room)


def tanh_slope(xp, a, room):
    """1 - a^2, the slope of a tanh from its value, in the memory of `room`."""
    xp.multiply(a, a, out=room)
    return xp.subtract(1, room, out=room)


# ---------------------------------------------------------------------- GRU
@primitive(symbol="GRU", onnx="GRU")
def gru_scan(xp, xs, w, b, h, mask=None):
    """Gated recurrent unit, step by step. Returns the log r z n q h, (5, T, N, H).

    `b` (H,) is the bias inside q = W_n h + b, which the reset gate r weakens.
    """
    log = xp.empty((5, *xs.shape[1:]), dtype=xs.dtype)
    from_state = aligned(w.transpose(0, 2, 1))
    for t in range(xs.shape[1]):
        gates = h @ from_state
        gates[:2] += xs[:2, t]
        gates[2] += b
        r, z = parts(xp.tanh(gates[:2] * 0.5) * 0.5 + 0.5)
        n = xp.tanh(xs[2, t] + r * gates[2])
        h = hold(mask, t, (1 - z) * n + z * h, h)
        log[0, t], log[1, t], log[2, t], log[3, t], log[4, t] = r, z, n, gates[2], h
    return log


@gru_scan.grad("xs", "w", "b", "h")
def _(g, out, w, h, mask):
    r, z, n, q, hs = parts(out)
    gr, gz, gn, gq, gh = parts(g)
    w, before = aligned(w), [h, *parts(hs)]
    dh, steps, state_steps = 0, [], []
    for t in reversed(range(out.shape[1])):
        dh, past = let_through(mask, t, gh[t] + dh)
        dn = (dh * (1 - z[t]) + gn[t]) * (1 - n[t] * n[t])
        dz = (dh * (before[t] - n[t]) + gz[t]) * z[t] * (1 - z[t])
        dr = (dn * q[t] + gr[t]) * r[t] * (1 - r[t])
        dq = dn * r[t] + gq[t]
        steps.append(gates_of(dr, dz, dn))
        state_steps.append(gates_of(dr, dz, dq))
        dh = through(state_steps[-1], w) + dh * z[t] + past
    from_state = in_order(state_steps)
    db = reduce_sum(from_state[2], dim=(0, 1))
    return in_order(steps), weight_gradient(from_state, before_each_step(h, hs)), db, dh


@rnn_scan.shape
def _(xs, w, h, mask=None, *, nonlinearity):
    _check("rnn_scan", 1, xs, w, h)
    return xs


@lstm_scan.shape
def _(xs, w, h, c, mask=None):
    _check("lstm_scan", 4, xs, w, h)
    return (6, *xs[1:])


@gru_scan.shape
def _(xs, w, b, h, mask=None):
    _check("gru_scan", 3, xs, w, h)
    return (5, *xs[1:])
