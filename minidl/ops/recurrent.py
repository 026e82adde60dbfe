"""Recurrent networks as ops: the loop over time runs inside, on plain arrays.

    rnn_scan    h = tanh(x + W h)                                            log: h
    lstm_scan   c = f c + i g,  h = o tanh(c)                                log: i f g o c h
    gru_scan    n = tanh(x_n + r q),  h = (1 - z) n + z h,  q = W_n h + b    log: r z n q h

Each op returns its *log*: all that happened at each step, side by side along the last axis, H numbers
each. The output of the layer is cut out of it, the gates can be looked at, and the gradient rule finds
in it all that it needs. What does not depend on the step before stays outside the loop: the products
with the inputs come in ready, and the gradient of the weight is one matrix product at the end.

    xs    (T, N, gates * H)   the input's part of every gate, biases included
    w     (gates * H, H)      the weight of the state
    h, c  (N, H)              the state before the first step
    mask  (T, N, 1)           0 where a sequence has ended: its state then stays as it is

Letters and order of the gates are PyTorch's. Sources: Hochreiter & Schmidhuber 1997 with the forget gate of
Gers et al. 2000 (LSTM), Cho et al. 2014 in the form of cuDNN (GRU), Elman 1990 (RNN).
"""
from ..errors import ShapeError, message
from ..primitive import primitive
from .elementwise import tanh
from .linear import matmul
from .reduce import sum as reduce_sum
from .shape import concat, permute, reshape


def parts(log, count):
    """The last axis cut into `count` equal pieces (views)."""
    size = log.shape[-1] // count
    return [log[..., k * size:(k + 1) * size] for k in range(count)]


def steps_of(xs, mask):
    """For each step of time, the inputs and the mask (None if there is none)."""
    return [(xs[t], None if mask is None else mask[t]) for t in range(xs.shape[0])]


def hold(mask, new, old):
    """The new state where the sequence goes on, the old one where it has ended."""
    return new if mask is None else mask * new + (1 - mask) * old


def weight_gradient(dz, before):
    """The sum over time and batch of dz^T h, as one matrix product: (T, N, G), (T, N, H) -> (G, H)."""
    rows = reshape(dz, shape=(dz.shape[0] * dz.shape[1], dz.shape[2]))
    states = reshape(before, shape=(before.shape[0] * before.shape[1], before.shape[2]))
    return matmul(permute(rows, dims=(1, 0)), states)


def before_each_step(first, states):
    """The state that each step started from: the first one, then that of the step before."""
    return concat(first[None], states[:-1], dim=0)


def in_order(steps):
    """Arrays of the steps, collected from the last to the first, as one array in order of time."""
    return concat(*[step[None] for step in reversed(steps)], dim=0)


def let_through(mask, t, d):
    """Split the gradient of a held state: what goes into the step, and what goes past it."""
    return (d, 0) if mask is None else (d * mask[t], d * (1 - mask[t]))


def _check(name, gates, xs, w, h):
    facts = [("xs", xs, "T N gates*H"), ("w", w, "gates*H H"), ("h", h, "N H")]
    if len(xs) != 3 or w != (gates * h[-1], h[-1]) or xs[1:] != (h[0], gates * h[-1]):
        raise ShapeError(message(f"{name}: inputs, weight and state do not fit together.", facts))


# ---------------------------------------------------------------------- RNN
@primitive(symbol="RNN", onnx="RNN")
def rnn_scan(xp, xs, w, h, mask=None, *, nonlinearity):
    """h = tanh(x + W h), or relu in its place, step by step. Returns the log of h, (T, N, H)."""
    log = xp.empty((*xs.shape[:2], h.shape[-1]), dtype=xs.dtype)
    for t, (x, m) in enumerate(steps_of(xs, mask)):
        new = x + h @ w.T
        new = xp.tanh(new) if nonlinearity == "tanh" else xp.maximum(new, 0)
        h = log[t] = hold(m, new, h)
    return log


@rnn_scan.grad("xs", "w", "h")
def _(g, out, w, h, mask, nonlinearity):
    slope = 1 - out * out if nonlinearity == "tanh" else (out > 0) * 1.0
    dh, steps = 0, []
    for t in reversed(range(out.shape[0])):
        inside, past = let_through(mask, t, g[t] + dh)
        steps.append(inside * slope[t])
        dh = matmul(steps[-1], w) + past
    dz = in_order(steps)
    return dz, weight_gradient(dz, before_each_step(h, out)), dh


# ---------------------------------------------------------------------- LSTM
@primitive(symbol="LSTM", onnx="LSTM")
def lstm_scan(xp, xs, w, h, c, mask=None):
    """Long short-term memory, step by step. Returns the log i f g o c h, (T, N, 6 H).

    One tanh serves all four gates, as sigmoid(z) = tanh(z / 2) / 2 + 1 / 2.
    """
    size = h.shape[-1]
    log = xp.empty((*xs.shape[:2], 6 * size), dtype=xs.dtype)
    scale = xp.repeat(xp.asarray([0.5, 0.5, 1.0, 0.5], dtype=xs.dtype), size)
    shift = 1 - scale
    from_state = w.T.copy()                           # read row by row in all products: a third faster
    for t, (x, m) in enumerate(steps_of(xs, mask)):
        gates = h @ from_state + x                    # not in the log itself, where its rows lie far apart
        gates *= scale
        xp.tanh(gates, out=gates)
        gates *= scale
        gates += shift
        i, f, n, o = parts(gates, 4)
        c = hold(m, f * c + i * n, c)
        h = hold(m, o * xp.tanh(c), h)
        log[t, :, :4 * size], log[t, :, 4 * size:5 * size], log[t, :, 5 * size:] = gates, c, h
    return log


@lstm_scan.grad("xs", "w", "h", "c")
def _(g, out, w, h, c, mask):
    i, f, n, o, cs, hs = parts(out, 6)
    gi, gf, gn, go, gc, gh = parts(g, 6)              # mostly zeros, but somebody may look at the gates themselves
    bent, before = tanh(cs), before_each_step(c, cs)
    dh, dc, steps = 0, 0, []
    for t in reversed(range(out.shape[0])):           # all of a step at once: its numbers stay in the cache
        dh, past_h = let_through(mask, t, gh[t] + dh)
        dc, past_c = let_through(mask, t, gc[t] + dc)
        dc = dc + dh * o[t] * (1 - bent[t] * bent[t])
        di = (dc * n[t] + gi[t]) * i[t] * (1 - i[t])
        df = (dc * before[t] + gf[t]) * f[t] * (1 - f[t])
        dn = (dc * i[t] + gn[t]) * (1 - n[t] * n[t])
        do = (dh * bent[t] + go[t]) * o[t] * (1 - o[t])
        steps.append(concat(di, df, dn, do, dim=1))
        dh, dc = matmul(steps[-1], w) + past_h, dc * f[t] + past_c
    dz = in_order(steps)
    return dz, weight_gradient(dz, before_each_step(h, hs)), dh, dc


# ---------------------------------------------------------------------- GRU
@primitive(symbol="GRU", onnx="GRU")
def gru_scan(xp, xs, w, b, h, mask=None):
    """Gated recurrent unit, step by step. Returns the log r z n q h, (T, N, 5 H).

    `b` (H,) is the bias inside q = W_n h + b, which the reset gate r weakens.
    """
    size = h.shape[-1]
    log = xp.empty((*xs.shape[:2], 5 * size), dtype=xs.dtype)
    for t, (x, m) in enumerate(steps_of(xs, mask)):
        from_state = h @ w.T
        r, z = parts(xp.tanh((x[:, :2 * size] + from_state[:, :2 * size]) * 0.5) * 0.5 + 0.5, 2)
        q = from_state[:, 2 * size:] + b
        n = xp.tanh(x[:, 2 * size:] + r * q)
        h = hold(m, (1 - z) * n + z * h, h)
        for place, value in zip(parts(log[t], 5), (r, z, n, q, h)):
            place[...] = value
    return log


@gru_scan.grad("xs", "w", "b", "h")
def _(g, out, w, h, mask):
    r, z, n, q, hs = parts(out, 5)
    gr, gz, gn, gq, gh = parts(g, 5)
    before = before_each_step(h, hs)
    slope_r, slope_z, slope_n = r * (1 - r), z * (1 - z), 1 - n * n
    into_n, into_z = (1 - z) * slope_n, (before - n) * slope_z
    extra_n, extra_z, extra_r = gn * slope_n, gz * slope_z, gr * slope_r
    dh, steps, state_steps = 0, [], []
    for t in reversed(range(out.shape[0])):
        dh, past = let_through(mask, t, gh[t] + dh)
        dn = dh * into_n[t] + extra_n[t]
        dz = dh * into_z[t] + extra_z[t]
        dr = dn * q[t] * slope_r[t] + extra_r[t]
        dq = dn * r[t] + gq[t]
        steps.append(concat(dr, dz, dn, dim=1))
        state_steps.append(concat(dr, dz, dq, dim=1))
        dh = matmul(state_steps[-1], w) + dh * z[t] + past
    from_state = in_order(state_steps)
    db = reduce_sum(from_state[..., 2 * h.shape[-1]:], dim=(0, 1))
    return in_order(steps), weight_gradient(from_state, before), db, dh


@rnn_scan.shape
def _(xs, w, h, mask=None, *, nonlinearity):
    _check("rnn_scan", 1, xs, w, h)
    return (*xs[:2], h[-1])


@lstm_scan.shape
def _(xs, w, h, c, mask=None):
    _check("lstm_scan", 4, xs, w, h)
    return (*xs[:2], 6 * h[-1])


@gru_scan.shape
def _(xs, w, b, h, mask=None):
    _check("gru_scan", 3, xs, w, h)
    return (*xs[:2], 5 * h[-1])
