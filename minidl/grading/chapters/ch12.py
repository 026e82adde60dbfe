"""Chapter 12, recurrence: a loop over sequences of different lengths, its way back, windows, and the long run.

Axes are T N I, as everywhere; a mask (T, N) is 1 while a sequence goes on and 0 after its end.
"""
import numpy as np

from ...tensor import Tensor, tensor
from ..cases import case, normal
from ..exercise import Exercise

TITLE = "Recurrence"


def lengths_mask(lengths, steps):
    """(T, N): 1 while a sequence goes on."""
    return (np.arange(steps)[:, None] < np.asarray(lengths)) * 1.0


def weights(rng, inputs, size):
    """w_ih (H, I), w_hh (H, H) and b (H,)."""
    return normal(rng, (size, inputs)) * 0.7, normal(rng, (size, size)) * 0.6, normal(rng, size) * 0.3


# --- 12.1: forward ------------------------------------------------------------------------------------------------

onward = Exercise(
    "12.1", "Forward, each for as long as it lasts", points=4, stars=2, minutes=20, hints=(
        "Without the mask this is the lesson's loop. What must be true of the state of a sequence that has ended, "
        "from its last step on?",
        "At each step there are two candidates for every row of the state: the new one and the one it already has. The "
        "mask of that step, a number for each row, chooses between them.",
        "The mask of a step has N numbers and the state is N H, so it needs an axis more. Choose by `np.where`, or by "
        "a weighted sum in which one weight is 1 and the other 0."))


def run(x, h, w_ih, w_hh, b, mask, choose=lambda m, new, old: m * new + (1 - m) * old):
    """The loop; `choose` says what becomes of a state."""
    states = []
    for t in range(len(x)):
        new = np.tanh(x[t] @ w_ih.T + h @ w_hh.T + b)
        h = choose(mask[t][:, None], new, h)
        states.append(h)
    return np.stack(states)


@onward.reference
def rnn_forward(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, b, mask)


@onward.cases
def _(rng):
    one = np.ones((1, 1))
    yield case(np.array([[[0.5]], [[0.0]], [[0.0]]]), 0 * one, one, one * 0.5, np.zeros(1), np.ones((3, 1)))
    yield case(np.array([[[0.5]], [[9.0]]]), 0 * one, one, one * 0.5, np.array([0.2]), np.array([[1.0], [0.0]]))
    for lengths, inputs, size in [((3, 3), 2, 3), ((4, 1, 2), 1, 2), ((1, 5), 3, 2)]:
        steps = max(lengths)
        yield case(normal(rng, (steps, len(lengths), inputs)), normal(rng, (len(lengths), size)) * 0.5,
                   *weights(rng, inputs, size), lengths_mask(lengths, steps))


@onward.mistake("Nobody looks at the mask: the padding is read as if it were part of the sequence.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, b, np.ones_like(mask))


@onward.mistake("After the end of a sequence its state is 0. It should stay what it was, for that is the answer.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, b, mask, lambda m, new, old: m * new)


@onward.mistake("The mask makes the padded inputs 0, but the state goes on changing through the weight of the state "
                "and the bias.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x * mask[:, :, None], h, w_ih, w_hh, b, np.ones_like(mask))


@onward.mistake("The mask is read the wrong way round: sequences stand still while they last, and move after their "
                "end.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, b, 1 - mask)


@onward.mistake("Every step begins from the first state. It should begin from the state of the step before.")
def _(x, h, w_ih, w_hh, b, mask):
    return np.concatenate([run(x[t:t + 1], h, w_ih, w_hh, b, mask[t:t + 1]) for t in range(len(x))])


@onward.mistake("The first state that was given is not used: the loop begins from zeros.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, 0 * h, w_ih, w_hh, b, mask)


@onward.mistake("The weight of the state is the wrong way round. A weight is O I, so it is its transpose that stands "
                "on the right of h.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh.T, b, mask)


@onward.mistake("The bend is missing: nothing was put through tanh.")
def _(x, h, w_ih, w_hh, b, mask):
    states = []
    for t in range(len(x)):
        m = mask[t][:, None]
        h = m * (x[t] @ w_ih.T + h @ w_hh.T + b) + (1 - m) * h
        states.append(h)
    return np.stack(states)


@onward.mistake("The bias is missing: it is added at every step.")
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, 0 * b, mask)


@onward.mistake("These are the states before each step. The state after the first step comes first.")
def _(x, h, w_ih, w_hh, b, mask):
    return np.concatenate([h[None], rnn_forward(x, h, w_ih, w_hh, b, mask)[:-1]])


@onward.mistake("Only the last state came back. Those of all steps are asked for, T N H.")
def _(x, h, w_ih, w_hh, b, mask):
    return rnn_forward(x, h, w_ih, w_hh, b, mask)[-1]


@onward.variant
def _(x, h, w_ih, w_hh, b, mask):
    return run(x, h, w_ih, w_hh, b, mask, lambda m, new, old: np.where(m > 0, new, old))


@onward.variant
def _(x, h, w_ih, w_hh, b, mask):
    out = np.empty((len(x), *h.shape))
    out[:] = h
    for n in range(x.shape[1]):
        for t in range(int(mask[:, n].sum())):
            before = out[t - 1, n] if t else h[n]
            out[t:, n] = np.tanh(w_ih @ x[t, n] + w_hh @ before + b)
    return out


# --- 12.2: and back -----------------------------------------------------------------------------------------------

homeward = Exercise(
    "12.2", "Back through time", points=5, stars=3, minutes=35, hints=(
        "Go through the steps from the last to the first and carry one array with you: the gradient of the state that "
        "the step left behind. From how many places does it come?",
        "A state is read by the loss, which gives g at that step, and by the step after it. Where a sequence goes on, "
        "the sum of both passes the slope of tanh, 1 minus the square of what came out. Where it has ended, it goes "
        "past the step unchanged.",
        "With dz, the gradient in front of tanh: each weight adds the product of dz with what it was multiplied by, "
        "the input of the step or the state before the step; the bias adds dz itself, summed over the batch; and the "
        "state before gets dz through the weight, plus what went past."))


def back(g, x, h, w_ih, w_hh, mask, states, *, slope=None, through=None, before=None, past=True, direct=None):
    """The loop from the last step to the first; what may go wrong in it can be set."""
    starts = np.concatenate([h[None], states[:-1]]) if before is None else before
    slopes = 1 - states ** 2 if slope is None else slope
    w_ih_sum, w_hh_sum, b_sum, d = np.zeros_like(w_ih), np.zeros_like(w_hh), np.zeros(len(w_hh)), np.zeros_like(h)
    for t in reversed(range(len(x))):
        d = d + g[t] if direct is None else direct(d, t)
        m = mask[t][:, None]
        dz = d * m * slopes[t]
        w_ih_sum, w_hh_sum, b_sum = w_ih_sum + dz.T @ x[t], w_hh_sum + dz.T @ starts[t], b_sum + dz.sum(axis=0)
        d = dz @ (w_hh if through is None else through) + (d * (1 - m) if past else 0)
    return w_ih_sum, w_hh_sum, b_sum, d


@homeward.reference
def rnn_backward(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states)


@homeward.observe
def _(answer, *arrays):
    found = answer(*arrays)
    if found is None:
        return None
    dw_ih, dw_hh, db, dh = found
    return {"dL/dw_ih": dw_ih, "dL/dw_hh": dw_hh, "dL/db": db, "dL/dh": dh}


def _with_states(rng, lengths, inputs, size, last_only=False):
    steps, mask = max(lengths), lengths_mask(lengths, max(lengths))
    x, h = normal(rng, (steps, len(lengths), inputs)), normal(rng, (len(lengths), size)) * 0.5
    w_ih, w_hh, b = weights(rng, inputs, size)
    g = normal(rng, (steps, len(lengths), size))
    if last_only:
        g[:-1] = 0
    return case(g, x, h, w_ih, w_hh, mask, run(x, h, w_ih, w_hh, b, mask))


@homeward.cases
def _(rng):
    yield _with_states(rng, (1,), 1, 1)
    yield _with_states(rng, (2,), 1, 1, last_only=True)
    yield _with_states(rng, (3, 3), 2, 3)
    yield _with_states(rng, (3, 1), 1, 2, last_only=True)
    yield _with_states(rng, (4, 2, 1), 2, 3)
    yield _with_states(rng, tuple(int(n) for n in rng.integers(1, 6, size=4)), 3, 2)


@homeward.mistake("The loss looks at every step, and only the g of the last one was used.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g * (np.arange(len(g)) == len(g) - 1)[:, None, None], x, h, w_ih, w_hh, mask, states)


@homeward.mistake("Each step got the g of its own and nothing from the step after it: the gradient never went through "
                  "time.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, direct=lambda d, t: g[t])


@homeward.mistake("Back through the weight of the state it is dz @ w_hh. Its transpose belongs on the way forward.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, through=w_hh.T)


@homeward.mistake("The slope of tanh is missing.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, slope=np.ones_like(states))


@homeward.mistake("The slope is that of tanh at its own output. `states` already went through tanh, and needs no "
                  "second one.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, slope=1 - np.tanh(states) ** 2)


@homeward.mistake("The weight of the state was multiplied by the state *before* the step. Here it met the state after "
                  "it.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, before=states)


@homeward.mistake("The first step began from h. Here it is taken to have begun from zeros.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, 0 * h, w_ih, w_hh, mask, states)


@homeward.mistake("Nobody looks at the mask: what is padding got a share of the gradient.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, np.ones_like(mask), states)


@homeward.mistake("Where a sequence has ended, its gradient got lost. It must go past the step, for the state did.")
def _(g, x, h, w_ih, w_hh, mask, states):
    return back(g, x, h, w_ih, w_hh, mask, states, past=False)


@homeward.mistake("The weights keep only what the first step gave them. One weight was used at every step, so it "
                  "collects from all.")
def _(g, x, h, w_ih, w_hh, mask, states):
    *_, dh = back(g, x, h, w_ih, w_hh, mask, states)
    d = back(g[1:], x[1:], states[0], w_ih, w_hh, mask[1:], states[1:])[3] if len(g) > 1 else np.zeros_like(h)
    gathered = back(g[:1] + d, x[:1], h, w_ih, w_hh, mask[:1], states[:1])
    return (*gathered[:3], dh)


@homeward.mistake("The gradients of the weights are means over the batch. A sum over examples has the sum of their "
                  "gradients.")
def _(g, x, h, w_ih, w_hh, mask, states):
    *of_weights, dh = back(g, x, h, w_ih, w_hh, mask, states)
    return (*(w / len(h) for w in of_weights), dh)


@homeward.variant
def _(g, x, h, w_ih, w_hh, mask, states):
    """By minidl's own tape; the mask may be any, the bias does not matter for what comes out at the given states."""
    b = _bias_of(x, h, w_ih, w_hh, mask, states)
    leaves = [tensor(a, requires_grad=True) for a in (w_ih, w_hh, b, h)]
    u, v, c, state = leaves
    loss = tensor(0.0)
    for t in range(len(x)):
        m = Tensor(mask[t][:, None])
        state = m * (Tensor(x[t]) @ u.T + state @ v.T + c).tanh() + (1 - m) * state
        loss = loss + (state * Tensor(g[t])).sum()
    loss.backward()
    return [leaf.grad for leaf in leaves]


def _bias_of(x, h, w_ih, w_hh, mask, states):
    """The bias that leads to these states: every sequence has a first step."""
    return np.arctanh(states[0, 0]) - x[0, 0] @ w_ih.T - h[0] @ w_hh.T


# --- 12.3a: in windows --------------------------------------------------------------------------------------------

windows = Exercise(
    "12.3a", "In windows", points=3, stars=2, minutes=20, honest=(), hints=(
        "The state goes on from window to window, and the graph must not. Which method of a tensor keeps the number "
        "and forgets where it is from?",
        "Two loops: over the beginnings of the windows, and over the steps in one. The last window may be shorter. "
        "After the inner loop comes a backward pass, which adds to the gradients that are there.",
        "`range` with a step of k gives the beginnings, `min` the end of the last one. The loss begins at 0 in every "
        "window; the state does not, it is detached between them."))


def in_windows(x, y, h, w_ih, w_hh, k, *, cut=lambda h, t: h.detach(), loss_of=lambda parts: sum(parts)):
    """The truncated pass; `cut` says what the next window begins from."""
    for start in range(0, len(x), k):
        parts = []
        for t in range(start, min(start + k, len(x))):
            h = (x[t] @ w_ih.T + h @ w_hh.T).tanh()
            parts.append(((h - y[t]) ** 2).sum())
        loss_of(parts).backward()
        h = cut(h, start)
    return h


@windows.reference
def truncated_backward(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, k)


@windows.observe
def _(answer, x, y, h, w_ih, w_hh, k):
    w_ih, w_hh = tensor(w_ih, requires_grad=True), tensor(w_hh, requires_grad=True)
    last = answer(Tensor(x), Tensor(y), Tensor(h), w_ih, w_hh, k)
    if last is None and w_hh.grad is None:
        return None
    hangs = isinstance(last, Tensor) and last.requires_grad
    return {"dL/dw_ih": w_ih.grad, "dL/dw_hh": w_hh.grad, "last state": last.detach() if hangs else last,
            "last state hangs on the graph": bool(hangs)}


@windows.cases
def _(rng):
    for sizes in [(4, 2, 1, 1, 1), (5, 2, 2, 1, 2), (6, 3, 1, 2, 3), (7, 4, 2, 2, 2), (3, 5, 1, 1, 2)]:
        steps, k, n, inputs, size = sizes
        w_ih, w_hh, _ = weights(rng, inputs, size)
        yield case(normal(rng, (steps, n, inputs)), normal(rng, (steps, n, size)) * 0.5,
                   normal(rng, (n, size)) * 0.5, w_ih, w_hh, k)


@windows.mistake("Nothing was cut: this is the gradient of the whole sequence, and the whole graph was kept for it.")
def _(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, len(x))


@windows.mistake("Every window begins from zeros: the state forgot, and not only the graph.")
def _(x, y, h, w_ih, w_hh, k):
    def cut(h, start):
        return h.detach() * (start + k >= len(x))
    return in_windows(x, y, h, w_ih, w_hh, k, cut=cut)


@windows.mistake("Every window begins from the first state again. It should go on from where the last one ended.")
def _(x, y, h, w_ih, w_hh, k):
    first = h
    return in_windows(x, y, h, w_ih, w_hh, k, cut=lambda h, start: first if start + k < len(x) else h.detach())


@windows.mistake("The graph was cut at every step, and not once for each window.")
def _(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, 1)


@windows.mistake("The steps after the last whole window were left out.")
def _(x, y, h, w_ih, w_hh, k):
    n = max(len(x) // k * k, min(k, len(x)))
    return in_windows(x[:n], y[:n], h, w_ih, w_hh, k)


@windows.mistake("Only the last window's gradient is left. Those of all windows add up.")
def _(x, y, h, w_ih, w_hh, k):
    for start in range(0, len(x), k):
        w_ih.grad = w_hh.grad = None
        h = in_windows(x[start:start + k], y[start:start + k], h, w_ih, w_hh, k)
    return h


@windows.mistake("The loss of a window is a mean over its steps here. The sum is asked for.")
def _(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, k, loss_of=lambda parts: sum(parts) / len(parts))


@windows.mistake("Only the last step of each window counts. The loss looks at every step.")
def _(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, k, loss_of=lambda parts: parts[-1])


@windows.mistake("The gradients are right, but the state that came back still hangs on the last window's graph. "
                 "Whoever goes on with it goes back into that window.")
def _(x, y, h, w_ih, w_hh, k):
    return in_windows(x, y, h, w_ih, w_hh, k, cut=lambda h, start: h.detach() if start + k < len(x) else h)


@windows.variant
def _(x, y, h, w_ih, w_hh, k):
    loss = 0
    for t in range(len(x)):
        h = (x[t] @ w_ih.T + h @ w_hh.T).tanh()
        loss = loss + ((h - y[t]) ** 2).sum()
        if (t + 1) % k == 0 or t + 1 == len(x):
            loss.backward()
            h, loss = h.detach(), 0
    return h


@windows.variant
def _(x, y, h, w_ih, w_hh, k):
    total = 0
    for t in range(len(x)):
        if t % k == 0:
            h = h.detach()
        h = (x[t] @ w_ih.T + h @ w_hh.T).tanh()
        total = total + ((h - y[t]) ** 2).sum()
    total.backward()
    return h.detach()


# --- 12.3b: who hears whom ----------------------------------------------------------------------------------------

reach = Exercise(
    "12.3b", "What a window cannot hear", points=2, stars=2, minutes=10, hints=(
        "Without windows, from which states does the loss at step t hear? Draw this table for four steps first.",
        "The loss at t reaches back to the beginning of its own window and no further. In which window is step t, if "
        "each has k steps? A whole-number division says it.",
        "Two conditions for every pair: same window, and not later. Numbers of rows stand up as a column, as in the "
        "puzzles of chapter 01, and & joins two tables of comparisons."))


@reach.reference
def heard(T, k):
    t, s = np.arange(T)[:, None], np.arange(T)
    return ((t // k == s // k) & (s <= t)) * 1


@reach.cases
def _(rng):
    yield case(4, 2)
    yield case(3, 3)
    yield case(5, 2)
    yield case(3, 1)
    yield case(3, 7)
    yield case(int(rng.integers(6, 9)), int(rng.integers(2, 5)))


@reach.mistake("This is the table without windows: every loss hears all earlier states.")
def _(T, k):
    return heard(T, T)


@reach.mistake("This window slides along with t. Those of truncated backpropagation stand still, one behind the "
               "other.")
def _(T, k):
    t, s = np.arange(T)[:, None], np.arange(T)
    return ((t - s < k) & (s <= t)) * 1


@reach.mistake("A loss here hears states that come after it.")
def _(T, k):
    return ((np.arange(T)[:, None] // k) == (np.arange(T) // k)) * 1


@reach.mistake("Rows and columns have changed places: a row belongs to a loss, a column to a state.")
def _(T, k):
    return heard(T, k).T


@reach.mistake("A loss hears the state of its own step as well.")
def _(T, k):
    return heard(T, k) * (1 - np.eye(T, dtype=int))


@reach.mistake("The windows are counted from the end. The first k steps are the first window.")
def _(T, k):
    return heard(T, k)[::-1, ::-1].T


@reach.mistake("There are k windows here. k is the number of steps in one.")
def _(T, k):
    return heard(T, max(-(-T // k), 1))


@reach.variant
def _(T, k):
    table = np.zeros((T, T))
    for t in range(T):
        table[t, t // k * k:t + 1] = 1
    return table


@reach.variant
def _(T, k):
    return [[start <= s <= t for s in range(T)] for t in range(T) for start in [t - t % k]]


# --- 12.4: the long run -------------------------------------------------------------------------------------------

ahead = Exercise(
    "12.4", "Vanish, last or explode", points=4, stars=2, minutes=20, rtol=0.02, atol=1e-6, honest=("float64",), hints=(
        "One step back is a product with the weight and with the slope of the bend. After many such steps, which one "
        "number of the weight decides? It is not its largest entry.",
        "`np.linalg.eigvals` gives all eigenvalues. They may be negative, or complex: what counts is how far from 0 "
        "they lie. And the bend lets through the share that its slope is at z.",
        "The factor a step is the product of the spectral radius and the slope. The word follows from that factor to "
        "the power of T, beside a thousandth and a thousand."))
SLOPES = {"tanh": lambda z: 1 - np.tanh(z) ** 2, "relu": lambda z: float(z > 0), "none": lambda z: 1.0}


def radius(w):
    """The spectral radius."""
    return float(np.abs(np.linalg.eigvals(w)).max())


def told(factor, T):
    """What becomes of a gradient over T steps."""
    with np.errstate(over="ignore"):
        power = np.float64(factor) ** T
    return "vanishes" if power < 1e-3 else "explodes" if power > 1e3 else "lasts"


@ahead.reference
def in_the_long_run(w, bend, z, T):
    factor = radius(w) * SLOPES[bend](z)
    return factor, told(factor, T)


@ahead.observe
def _(answer, w, bend, z, T):
    found = answer(w, bend, z, T)
    if found is None:
        return None
    factor, word = found
    return {"factor a step": factor, "the gradient": word}


def _clear(factor, T):
    """Whether the word does not hang on the last digits."""
    return factor == 0 or abs(abs(T * np.log10(factor)) - 3) > 0.6


@ahead.cases
def _(rng):
    yield case(np.diag([0.5, 0.8]), "none", 0.0, 50)
    yield case(np.array([[0.0, -1.2], [1.2, 0.0]]), "none", 0.0, 60)
    yield case(np.diag([-1.1, 0.3]), "none", 0.0, 120)
    yield case(np.array([[0.6, 5.0], [0.0, 0.5]]), "none", 0.0, 30)
    yield case(np.diag([0.97, 0.5]), "tanh", 0.0, 40)
    yield case(np.diag([1.5, 1.2]), "tanh", 1.0, 30)
    yield case(np.diag([2.0, 2.0]), "relu", -0.5, 10)
    yield case(np.diag([1.05, 0.2]), "relu", 0.5, 60)
    made = 0
    while made < 4:
        w = normal(rng, (3, 3))
        w *= rng.uniform(0.6, 1.6) / radius(w)
        bend, z, T = str(rng.choice(["tanh", "none"])), round(float(rng.uniform(-1, 1)), 1), int(rng.integers(20, 90))
        if _clear(radius(w) * SLOPES[bend](z), T) and _apart(w):
            made += 1
            yield case(w, bend, z, T)


def _apart(w):
    """Whether the eigenvalues that lie furthest out leave the others behind, so that measuring settles soon."""
    sizes = np.sort(np.abs(np.linalg.eigvals(w)))[::-1]
    gap = sizes[2] if np.isclose(sizes[0], sizes[1]) else sizes[1]
    return gap < 0.9 * sizes[0]


def _answer(factor, T):
    return factor, told(factor, T)


@ahead.mistake("This is the largest singular value: how far W can stretch a vector once. In the long run it is the "
               "eigenvalues that decide.")
def _(w, bend, z, T):
    return _answer(float(np.linalg.norm(w, 2)) * SLOPES[bend](z), T)


@ahead.mistake("The largest eigenvalue was taken by its sign. A negative or complex one counts by how far from 0 it "
               "lies.")
def _(w, bend, z, T):
    return _answer(float(np.linalg.eigvals(w).real.max()) * SLOPES[bend](z), T)


@ahead.mistake("The slope of the bend is missing.")
def _(w, bend, z, T):
    return _answer(radius(w), T)


@ahead.mistake("This is the value of the bend at z. The gradient is multiplied by its slope there.")
def _(w, bend, z, T):
    value = {"tanh": np.tanh(z), "relu": max(z, 0.0), "none": 1.0}[bend]
    return _answer(radius(w) * float(value), T)


@ahead.mistake("The slope of tanh is 1 minus the square of tanh(z), not of z.")
def _(w, bend, z, T):
    return _answer(radius(w) * (1 - z * z if bend == "tanh" else SLOPES[bend](z)), T)


@ahead.mistake("This is the factor over all T steps. The factor of one step comes first.")
def _(w, bend, z, T):
    factor = radius(w) * SLOPES[bend](z)
    return float(factor ** T), told(factor, T)


@ahead.mistake("The factor is right. The word follows from its T-th power, beside a thousandth and a thousand: "
               "slightly below 1, a gradient may last for long.")
def _(w, bend, z, T):
    factor = radius(w) * SLOPES[bend](z)
    return factor, "vanishes" if factor < 1 else "explodes" if factor > 1 else "lasts"


@ahead.mistake("This is the largest entry of W.")
def _(w, bend, z, T):
    return _answer(float(np.abs(w).max()) * SLOPES[bend](z), T)


@ahead.mistake("The eigenvalues were averaged. The one that lies furthest from 0 outgrows the others.")
def _(w, bend, z, T):
    return _answer(float(np.abs(np.linalg.eigvals(w)).mean()) * SLOPES[bend](z), T)


@ahead.variant
def _(w, bend, z, T):
    """Measured: a gradient on its way back, put back to length 1 at each step."""
    g, grown = np.ones(len(w)) + np.arange(len(w)) * 0.1, []
    for _ in range(4000):
        g = g @ w * SLOPES[bend](z)
        length = np.linalg.norm(g)
        if length == 0:
            return 0.0, "vanishes"
        grown.append(np.log(length))
        g = g / length
    factor = np.exp(np.mean(grown[500:]))
    return factor, told(factor, T)


@ahead.variant
def _(w, bend, z, T):
    factor = np.linalg.norm(np.linalg.matrix_power(w, 400), 2) ** (1 / 400) * SLOPES[bend](z)
    return [factor, told(factor, T)]
