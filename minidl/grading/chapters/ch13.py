"""Chapter 13, gates: a step of an LSTM and of a GRU, biases that keep, a cell set by hand, and evidence for a gate.

Answers are NumPy's. Where an answer is a set of weights, or a decision, it is judged by what a cell does with it.
"""
import numpy as np

from ..cases import case, normal
from ..exercise import Exercise

TITLE = "Gates"


def sigmoid(z):
    return 0.5 + 0.5 * np.tanh(z / 2)


# --- 13.1a: one step of an LSTM -----------------------------------------------------------------------------------

lstm = Exercise(
    "13.1a", "One step of an LSTM", points=4, stars=2, minutes=20, hints=(
        "Two products and a bias make 4 H numbers for each example. Which H of them belong to which letter?",
        "Three of the four parts become numbers between 0 and 1, one becomes a number between -1 and 1. Then the belt "
        "moves, and only then something is shown.",
        "Cut the sum along its last axis into i, f, g, o. The old cell state is weakened by f, and what i lets in is "
        "added. The new h looks at the new c through tanh and o."))


def four_parts(x, h, w_ih, w_hh, b, order="ifgo"):
    """The sums of the gates by letter; `order` says how somebody believes that the rows lie."""
    z = x @ w_ih.T + h @ w_hh.T + b
    return dict(zip(order, np.split(z, 4, axis=-1)))


def belt(parts, c, bend=np.tanh, keep=None, show=np.tanh):
    """New h and c from the four sums; the switches are those that the mistakes need."""
    i, f, o, g = sigmoid(parts["i"]), sigmoid(parts["f"]), sigmoid(parts["o"]), bend(parts["g"])
    new = (f if keep is None else keep) * c + i * g
    return o * show(new), new


@lstm.reference
def lstm_step(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b), c)


@lstm.observe
def _(answer, *arrays):
    return dict(zip(("h", "c"), answer(*arrays)))


@lstm.cases
def _(rng):
    yield case(np.array([[1.0]]), np.array([[0.5]]), np.array([[2.0]]), np.array([[1.0], [-1.0], [0.5], [2.0]]),
               np.array([[0.5], [1.0], [-1.0], [0.0]]), np.array([0.0, 1.0, 0.3, -1.0]))
    for N, size, H in [(1, 2, 2), (3, 2, 1), (4, 3, 5), (2, 1, 3)]:
        yield case(normal(rng, (N, size)), normal(rng, (N, H)), normal(rng, (N, H)), normal(rng, (4 * H, size)),
                   normal(rng, (4 * H, H)), normal(rng, 4 * H))


@lstm.mistake("The gates lie in the order i o f g here. That is ONNX's order; these weights come as i f g o.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b, "iofg"), c)


@lstm.mistake("Candidate and output gate have changed places: the third part is the candidate g, the last one is o.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b, "ifog"), c)


@lstm.mistake("Input gate and forget gate have changed places: the first part is i, the second is f.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b, "figo"), c)


@lstm.mistake("The rows were dealt out one by one, i f g o, i f g o. The weights hold all rows of i first, then all of "
              "f, and so on.")
def _(x, h, c, w_ih, w_hh, b):
    z = (x @ w_ih.T + h @ w_hh.T + b).reshape(*c.shape, 4)
    return belt(dict(zip("ifgo", np.moveaxis(z, -1, 0))), c)


@lstm.mistake("The candidate went through sigmoid. It is no gate: it may be negative, so it goes through tanh.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b), c, bend=sigmoid)


@lstm.mistake("Nothing is ever forgotten here: the old c passes whole. This is the LSTM of 1997, before it had a "
              "forget gate.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b), c, keep=1.0)


@lstm.mistake("What is let in is 1 - f here. An LSTM has an input gate of its own; one gate for both is the idea of "
              "the GRU.")
def _(x, h, c, w_ih, w_hh, b):
    parts = four_parts(x, h, w_ih, w_hh, b)
    return belt({**parts, "i": -parts["f"]}, c)


@lstm.mistake("c is right, but h shows it without tanh. The belt may hold large numbers; what is shown is squeezed.")
def _(x, h, c, w_ih, w_hh, b):
    return belt(four_parts(x, h, w_ih, w_hh, b), c, show=lambda z: z)


@lstm.mistake("c is right, but h was made from the old c. The output gate shows the belt after it has moved.")
def _(x, h, c, w_ih, w_hh, b):
    parts = four_parts(x, h, w_ih, w_hh, b)
    return sigmoid(parts["o"]) * np.tanh(c), belt(parts, c)[1]


@lstm.mistake("c is right, but the output gate is missing from h.")
def _(x, h, c, w_ih, w_hh, b):
    new = belt(four_parts(x, h, w_ih, w_hh, b), c)[1]
    return np.tanh(new), new


@lstm.mistake("Both are right, but in the order c, h. The state that is shown comes first.")
def _(x, h, c, w_ih, w_hh, b):
    return lstm_step(x, h, c, w_ih, w_hh, b)[::-1]


@lstm.mistake("The bias got lost. It is a part of the sum for every gate.")
def _(x, h, c, w_ih, w_hh, b):
    return lstm_step(x, h, c, w_ih, w_hh, 0 * b)


@lstm.variant
def _(x, h, c, w_ih, w_hh, b):
    H = c.shape[1]
    z = np.concatenate([x, h], axis=1) @ np.concatenate([w_ih, w_hh], axis=1).T + b
    i, f, o = (1 / (1 + np.exp(-z[:, k * H:(k + 1) * H])) for k in (0, 1, 3))
    c = c * f + i * np.tanh(z[:, 2 * H:3 * H])
    return np.tanh(c) * o, c


@lstm.variant
def _(x, h, c, w_ih, w_hh, b):
    new_h, new_c = np.zeros(h.shape), np.zeros(c.shape)
    for n, k in np.ndindex(c.shape):
        i, f, g, o = (w_ih[row] @ x[n] + w_hh[row] @ h[n] + b[row] for row in range(k, len(b), c.shape[1]))
        new_c[n, k] = sigmoid(f) * c[n, k] + sigmoid(i) * np.tanh(g)
        new_h[n, k] = sigmoid(o) * np.tanh(new_c[n, k])
    return new_h, new_c


# --- 13.1b: biases that keep --------------------------------------------------------------------------------------

keep = Exercise(
    "13.1b", "Biases that keep", points=3, stars=2, minutes=15, hints=(
        "How open must a gate be, so that after T steps one half is left? For T = 1 it is 1/2, for T = 2 it is the "
        "root of 1/2.",
        "The gate is sigmoid of its bias, as all else is 0. Which number does sigmoid turn into f? Solve "
        "f = 1 / (1 + exp(-b)) for b.",
        "b is the logarithm of f against 1 - f. It belongs into the second quarter of the 4 H numbers. The cell adds "
        "the two biases, so only one of them should carry it."))


def forget_biases(half_lives, b, quarter=1, both=False, rest=0.0):
    """Two biases of 4 H numbers, with b in one quarter of the first, or of both."""
    H = len(half_lives)
    first = np.full(4 * H, rest)
    first[quarter * H:(quarter + 1) * H] = b
    return first, (first if both else np.zeros(4 * H))


def logit(f):
    return np.log(f / (1 - f))


@keep.reference
def first_biases(half_lives):
    return forget_biases(half_lives, logit(0.5 ** (1 / half_lives)))


@keep.observe
def _(answer, half_lives):
    b_ih, b_hh = answer(half_lives)
    total = np.asarray(b_ih) + np.asarray(b_hh)
    return {"b_ih + b_hh": total}


@keep.cases
def _(rng):
    yield case(np.array([1.0]))
    yield case(np.array([2.0]))
    yield case(np.array([10.0, 100.0]))
    yield case(rng.integers(1, 500, size=4).astype(float))
    yield case(rng.integers(1, 50, size=3).astype(float))


@keep.mistake("Every forget gate starts with a bias of 1. That is the usual choice, but it keeps one half for two "
              "steps only; here each unit has a half-life of its own.")
def _(half_lives):
    return forget_biases(half_lives, 1.0)


@keep.mistake("The cell adds the two biases, and both carry the number: the gate gets twice as much.")
def _(half_lives):
    return forget_biases(half_lives, logit(0.5 ** (1 / half_lives)), both=True)


@keep.mistake("This is how open the gate should be. The bias is what goes into sigmoid, not what comes out.")
def _(half_lives):
    return forget_biases(half_lives, 0.5 ** (1 / half_lives))


@keep.mistake("The sign is wrong: these gates forget the faster, the longer the half-life should be.")
def _(half_lives):
    return forget_biases(half_lives, -logit(0.5 ** (1 / half_lives)))


@keep.mistake("The first quarter belongs to the input gate. The forget gate has the second.")
def _(half_lives):
    return forget_biases(half_lives, logit(0.5 ** (1 / half_lives)), quarter=0)


@keep.mistake("The third quarter belongs to the candidate (in ONNX it would be the forget gate). Here the second does.")
def _(half_lives):
    return forget_biases(half_lives, logit(0.5 ** (1 / half_lives)), quarter=2)


@keep.mistake("These gates keep 1 - 1/T at each step. After T steps that leaves about a third, for short half-lives "
              "even less; it should be one half.")
def _(half_lives):
    return forget_biases(half_lives, logit(np.clip(1 - 1 / half_lives, 1e-12, None)))


@keep.mistake("The gate is 1/2 here at every step, so after T steps much less than one half is left.")
def _(half_lives):
    return forget_biases(half_lives, logit(0.5) + 0 * half_lives)


@keep.variant
def _(half_lives):
    zeros = np.zeros(len(half_lives))
    b = -np.log(2 ** (1 / half_lives) - 1)
    return np.concatenate([zeros, b, zeros, zeros]).tolist(), [0.0] * (4 * len(half_lives))


@keep.variant
def _(half_lives):
    first, _ = first_biases(half_lives)
    return first / 2, first / 2


# --- 13.2: a bit, kept --------------------------------------------------------------------------------------------

latch = Exercise(
    "13.2", "A bit, kept for a thousand steps", points=5, stars=3, minutes=30, hints=(
        "Do it gate by gate. Which of the four must look at the mark, which at the value, and which at nothing?",
        "A gate that should be open only at a mark needs a bias that shuts it and a weight, twice as large, that opens "
        "it when the mark is 1. One that should be shut only at a mark needs the opposite.",
        "The input gate opens at a mark, the forget gate shuts there, so that the old bit makes room. The candidate "
        "copies the value. The output gate may stay open. Take 10 for a bias: sigmoid(-5) leaks too much in a thousand "
        "steps."))

CLEAR = 0.2                                           # below that, nobody can read a bit


def by_letter(order="ifgo", **rows):
    """w_ih, w_hh, b of a cell of one unit; each row is (weight of the value, weight of the mark, bias)."""
    rows = {"i": (0, 20, -10), "f": (0, -20, 10), "g": (10, 0, 0), "o": (0, 0, 10), **rows}
    table = np.array([rows[letter] for letter in order], dtype=float)
    return table[:, :2], np.zeros((4, 1)), table[:, 2]


@latch.reference
def bit_weights():
    return by_letter()


@latch.observe
def _(answer, values, marks):
    """What can be read in h after each step: 1, -1, or 0 for nothing clear."""
    w_ih, w_hh, b = (np.asarray(a, dtype=float) for a in answer())
    h, c, read = np.zeros(1), np.zeros(1), []
    if (w_ih.shape, w_hh.shape, b.shape) != ((4, 2), (4, 1), (4,)):
        raise ValueError(f"the shapes are {w_ih.shape}, {w_hh.shape} and {b.shape}; expected (4, 2), (4, 1) and (4,)")
    for value, mark in zip(values, marks):
        i, f, g, o = np.split(w_ih @ [value, mark] + w_hh @ h + b, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        read.append(float(np.sign(h[0]) * (abs(h[0]) > CLEAR)))
    return {"read after each step": np.array(read)}


def with_marks(rng, T, at):
    """Random bits, and marks at some steps."""
    marks = np.zeros(T)
    marks[list(at)] = 1.0
    return case(rng.choice([-1.0, 1.0], size=T), marks)


@latch.cases
def _(rng):
    yield case(np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.0, 1.0, 0.0, 0.0]))
    yield case(np.array([1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0]), np.eye(8)[1] + np.eye(8)[6])
    yield case(np.array([-1.0] + [1.0] * 11), np.array([1.0] + [0.0] * 11))
    yield with_marks(rng, 40, (3, 9, 20))
    yield with_marks(rng, 1000, (10,))


@latch.mistake("The forget gate does not shut at a mark, so the new bit is added to the old one. If they differ, "
               "nothing is left.")
def _():
    return by_letter(f=(0, 0, 10))


@latch.mistake("The forget bias is missing: at a bias of 0 the gate is half open, and the bit is halved at each step.")
def _():
    return by_letter(f=(0, -20, 0))


@latch.mistake("A forget bias of 1 is a good start for learning, but sigmoid(1) is 0.73: after five steps the bit has "
              "faded.")
def _():
    return by_letter(f=(0, -20, 1))


@latch.mistake("These gates are nearly shut and nearly open. What they lose at each step is small, but a thousand "
               "steps add up.")
def _():
    return by_letter(i=(0, 10, -5), f=(0, -10, 5))


@latch.mistake("The forget gate is always shut: the bit can be read at its mark, and a step later it is gone.")
def _():
    return by_letter(f=(0, 0, -10))


@latch.mistake("The input gate is always open, so every value is written, marked or not.")
def _():
    return by_letter(i=(0, 0, 10))


@latch.mistake("Without a mark the input gate is half open, so every value leaves a trace.")
def _():
    return by_letter(i=(0, 20, 0))


@latch.mistake("The input gate works the wrong way round: it shuts at a mark.")
def _():
    return by_letter(i=(0, -20, 10))


@latch.mistake("The output gate is shut. The bit may well be on the belt, but nobody can read it.")
def _():
    return by_letter(o=(0, 0, -10))


@latch.mistake("The candidate copies the mark, so what is kept is always 1. The bit stands in the value.")
def _():
    return by_letter(g=(0, 10, 0))


@latch.mistake("The rows lie in ONNX's order, i o f g. This cell wants i f g o.")
def _():
    return by_letter("iofg")


@latch.variant
def _():
    return by_letter(i=(0, 60, -30), f=(0, -60, 30), g=(3, 0, 0), o=(0, 0, 0))


@latch.variant
def _():
    w_ih, w_hh, b = by_letter(i=(0, 30, -12), f=(0, -40, 14), g=(2, 0, 0), o=(0, 0, 20))
    w_hh[1] = 1.0                                     # a little help from the state itself
    return w_ih.tolist(), w_hh.tolist(), b.tolist()


# --- 13.3: one step of a GRU --------------------------------------------------------------------------------------

gru = Exercise(
    "13.3", "One step of a GRU", points=4, stars=2, minutes=20, hints=(
        "Here the two sums, from the input and from the state, must be kept apart. For which of the three parts does "
        "that matter?",
        "r and z are gates of the usual kind. The candidate n takes the state's part, bias and all, through r before "
        "the two sums meet.",
        "Cut both sums into three. The candidate is tanh of the input's third plus r times the state's third. Then h "
        "is a mixture: z says how much of the old one stays."))


def three_parts(x, h, w_ih, w_hh, b_ih, b_hh):
    """The input's and the state's part of r, z and n."""
    return np.split(x @ w_ih.T + b_ih, 3, axis=-1), np.split(h @ w_hh.T + b_hh, 3, axis=-1)


def mixed(z, n, h):
    return (1 - z) * n + z * h


@gru.reference
def gru_step(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn), h)


@gru.cases
def _(rng):
    yield case(np.array([[1.0]]), np.array([[0.5]]), np.array([[1.0], [-1.0], [0.5]]), np.array([[0.5], [1.0], [-1.0]]),
               np.array([0.0, 0.5, 0.3]), np.array([-1.0, 0.0, 0.7]))
    for N, size, H in [(1, 2, 2), (3, 2, 1), (4, 3, 5), (2, 1, 3)]:
        yield case(normal(rng, (N, size)), normal(rng, (N, H)), normal(rng, (3 * H, size)), normal(rng, (3 * H, H)),
                   normal(rng, 3 * H), normal(rng, 3 * H))


@gru.mistake("The reset gate acts on h before the product with the weights. That is the form of the first paper; "
             "PyTorch's takes the product first, then the reset.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, _) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    hn = three_parts(x, sigmoid(xr + hr) * h, w_ih, w_hh, b_ih, b_hh)[1][2]
    return mixed(sigmoid(xz + hz), np.tanh(xn + hn), h)


@gru.mistake("z and 1 - z have changed places: here a large z stands for keeping the old state. (Papers differ on "
             "this.)")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(-xz - hz), np.tanh(xn + sigmoid(xr + hr) * hn), h)


@gru.mistake("The gates lie in the order z r n here. That is Keras' and ONNX's order; these weights come as r z n.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xz, xr, xn), (hz, hr, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn), h)


@gru.mistake("The reset gate is missing from the candidate.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (_, xz, xn), (_, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(xz + hz), np.tanh(xn + hn), h)


@gru.mistake("The bias of the state stands outside the reset gate in the candidate. It belongs to the state's part, "
             "so r weakens it, too.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    inside = b_hh[2 * h.shape[1]:]
    return mixed(sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * (hn - inside) + inside), h)


@gru.mistake("The reset gate weakens the input as well. It asks only how much of the past the candidate sees.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(xz + hz), np.tanh(sigmoid(xr + hr) * (xn + hn)), h)


@gru.mistake("The candidate went through sigmoid. It may be negative, so it goes through tanh.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    return mixed(sigmoid(xz + hz), sigmoid(xn + sigmoid(xr + hr) * hn), h)


@gru.mistake("The state that stays was reset as well. The reset gate is for the candidate only.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    (xr, xz, xn), (hr, hz, hn) = three_parts(x, h, w_ih, w_hh, b_ih, b_hh)
    r = sigmoid(xr + hr)
    return mixed(sigmoid(xz + hz), np.tanh(xn + r * hn), r * h)


@gru.mistake("One of the two biases got lost, that of the state.")
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    return gru_step(x, h, w_ih, w_hh, b_ih, 0 * b_hh)


@gru.variant
def _(x, h, w_ih, w_hh, b_ih, b_hh):
    H = h.shape[1]
    from_x, from_h = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    r, z = (1 / (1 + np.exp(-from_x[:, k:k + H] - from_h[:, k:k + H])) for k in (0, H))
    n = np.tanh(from_x[:, 2 * H:] + r * from_h[:, 2 * H:])
    return n + z * (h - n)


# --- 13.4: which gate does it need? -------------------------------------------------------------------------------

evidence = Exercise(
    "13.4", "Which gate does it need?", points=4, stars=2, minutes=20, honest=(), hints=(
        "To find out whether a gate is needed, you must try to do without it. What do you have to compare the outcome "
        "with?",
        "Doing without a gate is not the same as shutting it: perhaps it should always be open. Which of the three "
        "values is the fair rival?",
        "For each letter take the smallest of the three errors, and set it against the error of the untouched cell "
        "plus the margin."))

LEVELS, MARGIN = tuple(np.linspace(0, 1, 3)), 0.1
OPEN, SHUT, COPY = (0, 0, 10), (0, 0, -10), (2, 0, 0)
CELLS = {                                             # what each cell is for, and the rows it was built with
    "keeps the marked value": {},
    "adds up all values": {"i": OPEN, "f": OPEN, "g": (0.1, 0, 0)},
    "adds up since the mark": {"i": OPEN, "g": (0.1, 0, 0)},
    "adds up what is marked": {"f": OPEN, "g": (0.3, 0, 0)},
    "says that something came": {"i": OPEN, "f": OPEN, "g": (0.7, 0, 0)},
    "repeats the value": {"i": OPEN, "f": SHUT, "g": COPY},
    "repeats half the value": {"i": OPEN, "f": SHUT, "o": (0, 0, 0), "g": COPY},
    "shows the value at a mark": {"i": OPEN, "f": SHUT, "g": COPY, "o": (0, 20, -10)},
    "shows the sum at a mark": {"i": OPEN, "f": OPEN, "g": (0.2, 0, 0), "o": (0, 20, -10)},
    "keeps the value at a mark, shows it when asked": {"g": COPY, "o": (0, -20, -10)},       # to ask is a mark of -1
}


def shown(rows, values, marks, gate=None, level=None):
    """h of a cell of one unit at each step, with a gate held."""
    w_ih, _, b = by_letter(**rows)
    c, out = 0.0, []
    for value, mark in zip(values, marks):
        z = dict(zip("ifgo", w_ih @ (value, mark) + b))
        at = {letter: level if letter == gate else float(sigmoid(z[letter])) for letter in "ifo"}
        c = at["f"] * c + at["i"] * np.tanh(z["g"])
        out.append(at["o"] * np.tanh(c))
    return np.array(out)


def error_of(task, values, marks, noise):
    """The function that a learner asks: the error of a cell, as it is or with a gate held.

    It is the share of the signal that is lost, and a part that no cell can avoid.
    """
    wanted = shown(CELLS[task], values, marks)

    def error(gate=None, level=None):
        if gate is not None and (gate not in ("i", "f", "o") or level not in LEVELS):
            raise ValueError(f"error({gate!r}, {level!r}): the gate is 'i', 'f' or 'o', and the level 0, 0.5 or 1")
        miss = shown(CELLS[task], values, marks, gate, level) - wanted
        return float(noise + (miss ** 2).mean() / (wanted ** 2).mean())

    return error


def judged(error, rival=min, base=None, margin=MARGIN, levels=LEVELS):
    """The gates that are needed, with all the switches that the mistakes need."""
    base = error() if base is None else base
    return [gate for gate in "ifo" if rival([error(gate, level) for level in levels]) > base + margin]


@evidence.reference
def needed(error):
    return judged(error)


@evidence.observe
def _(answer, task, values, marks, noise):
    said = "".join(answer(error_of(task, values, marks, noise)))
    if set(said) - set("ifo"):
        raise ValueError(f"expected letters of 'ifo', got {said!r}")
    return {"needed": "".join(gate for gate in "ifo" if gate in said) or "none"}


@evidence.cases
def _(rng):
    for k, task in enumerate(CELLS):
        T, marks = int(rng.integers(24, 32)), np.zeros(32)
        marks[::6], marks[3::6] = 1.0, -1.0 * ("asked" in task)
        values = rng.choice([-1.0, 1.0], size=32)
        values[::12] = -values[6]                         # what is marked changes from one mark to the next
        values[6::12] = values[6]
        if task == "says that something came":
            values = np.ones(32)
        yield case(task, values[:T], marks[:T], (k % 2) * float(rng.integers(15, 40)) / 100)


@evidence.mistake("Each gate was only shut. Some must be open all the time: that is a gate one can do without, too.")
def _(error):
    return judged(error, levels=(0.0,))


@evidence.mistake("Each gate was only opened. Some can be shut for good, and nothing is lost.")
def _(error):
    return judged(error, levels=(1.0,))


@evidence.mistake("Open and shut were tried, but not half open. For one of these cells that is the best place to be "
                  "held.")
def _(error):
    return judged(error, levels=(0.0, 1.0))


@evidence.mistake("This takes the worst way of holding a gate. Almost everything can be spoiled that way; the fair "
                  "rival is the best one.")
def _(error):
    return judged(error, rival=max)


@evidence.mistake("This takes the mean of the three ways to hold a gate. Two bad ones say nothing against a good one.")
def _(error):
    return judged(error, rival=np.mean)


@evidence.mistake("The error with a gate held is compared with the margin alone. The untouched cell makes errors as "
                  "well: part of this is nobody's fault.")
def _(error):
    return judged(error, base=0.0)


@evidence.mistake("Any increase counts here, however small. The margin is there so that a hair's breadth is no "
                  "evidence.")
def _(error):
    return judged(error, margin=0.0)


@evidence.mistake("These are the gates that are not needed.")
def _(error):
    return [gate for gate in "ifo" if gate not in judged(error)]


@evidence.variant
def _(error):
    base, found = error(), ""
    for gate in "ifo":
        if all(error(gate, level) - base > 0.1 for level in (0, 0.5, 1)):
            found += gate
    return found


@evidence.variant
def _(error):
    return tuple(gate for gate in "ofi" if not any(error(gate, level) <= error() + 0.1 for level in (1, 0.5, 0)))
