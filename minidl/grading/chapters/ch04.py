"""Chapter 04, backprop: rules for arrays, a check that finds wrong ones, a classifier by hand, and what the tape keeps.

04.1 to 04.3 are NumPy's. In 04.4 the learner works with minidl's own tape: `detach`, `retain_graph` and `no_grad`.
"""
import numpy as np

from ...autograd import grad, no_grad, unbroadcast
from ...tensor import tensor
from ..cases import case, normal, shape, whole
from ..exercise import Exercise

TITLE = "Backprop"

# --- 04.1a: a batch of products -----------------------------------------------------------------------------------

product = Exercise(
    "04.1a", "A batch of products", points=3, stars=2, minutes=20, hints=(
        "For two plain matrices the lesson has both lines. Which axes of a batch take part in the product, and which "
        "ones stand by?",
        "Only the last two axes may be exchanged. What you then get has the batch axes of g. Does x have them, too?",
        "A matrix that served the whole batch was used many times, so its contributions add up. Chapter 01's way back "
        "from a broadcast does that; it leaves everything alone where nothing was repeated."))


def _flip(x):
    return np.swapaxes(x, -1, -2)


@product.reference
def matmul_back(g, x, y):
    return unbroadcast(g @ _flip(y), x.shape), unbroadcast(_flip(x) @ g, y.shape)


@product.cases
def _(rng):
    for x, y in [((2, 3), (3, 2)), ((2, 2), (2, 2)), ((2, 2, 3), (2, 3, 4)), ((2, 2, 2), (2, 2, 2)),
                 ((3, 2, 2), (2, 4)), ((2, 3), (4, 3, 2)), ((1, 2, 3), (4, 3, 2)), ((3, 1, 2, 4), (5, 4, 2))]:
        out = (*np.broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-1])
        yield case(whole(rng, out), whole(rng, x), whole(rng, y))


@product.mistake("`.T` turns round all axes, the batch as well. Only the last two change places.")
def _(g, x, y):
    return g @ y.T, x.T @ g


@product.mistake("The batch axes are still there, although the matrix has none, or has 1. A matrix that was used for "
                 "the whole batch gets the sum over the batch.")
def _(g, x, y):
    return g @ _flip(y), _flip(x) @ g


@product.mistake("The gradient of x and that of y have changed places.")
def _(g, x, y):
    return matmul_back(g, x, y)[::-1]


@product.mistake("Nothing was transposed. Look at the shapes: for most matrices this product does not exist.")
def _(g, x, y):
    return unbroadcast(g @ y, x.shape), unbroadcast(x @ g, y.shape)


@product.mistake("This is the mean over the batch. Each use has contributed in full, so they add up.")
def _(g, x, y):
    one, other = matmul_back(g, x, y)
    size = np.prod(g.shape[:-2], dtype=int)
    return one * np.prod(x.shape[:-2], dtype=int) / size, other * np.prod(y.shape[:-2], dtype=int) / size


def _summed(a, g, like):
    """Matrices a of the batch of g, added up to the batch that `like` has."""
    full = np.broadcast_to(a, g.shape[:-2] + a.shape[-2:])
    return unbroadcast(full, like.shape[:-2] + a.shape[-2:])


@product.mistake("g was summed over the batch before it was multiplied. A sum of products is not a product of sums.")
def _(g, x, y):
    return _summed(g, g, x) @ _flip(_summed(y, g, x)), _flip(_summed(x, g, y)) @ _summed(g, g, y)


@product.variant
def _(g, x, y):
    dx, dy = np.zeros(g.shape[:-2] + x.shape[-2:]), np.zeros(g.shape[:-2] + y.shape[-2:])
    x_all, y_all = np.broadcast_to(x, dx.shape), np.broadcast_to(y, dy.shape)
    for n in np.ndindex(g.shape[:-2]):
        dx[n], dy[n] = g[n] @ y_all[n].T, x_all[n].T @ g[n]
    return unbroadcast(dx, x.shape), unbroadcast(dy, y.shape)


@product.variant
def _(g, x, y):
    dx, dy = np.einsum("...ij,...kj->...ik", g, y), np.einsum("...ik,...ij->...kj", x, g)
    return unbroadcast(dx, x.shape), unbroadcast(dy, y.shape)


# --- 04.1b: a mean ------------------------------------------------------------------------------------------------

mean = Exercise(
    "04.1b", "A mean spreads", points=2, stars=1, minutes=10, hints=(
        "How much does the mean of n numbers rise, if one of them rises by 1?",
        "Each entry gets the g of the mean it went into, and only its part of it. How do you bring g to a shape that "
        "stretches over x?",
        "Give g the axis back that has gone, with size 1, unless it is there still. Then stretch it to the shape of x, "
        "and divide by how many numbers went into one mean."))


@mean.reference
def mean_back(g, x_shape, dim, keepdim):
    g = g if keepdim else np.expand_dims(g, dim)
    return np.broadcast_to(g, x_shape) / x_shape[dim]


@mean.cases
def _(rng):
    for sizes, dim, keepdim in [((2, 3), 1, False), ((3, 3), 0, False), ((3, 3), 1, False), ((2, 3), 1, True),
                                ((2, 3, 4), 1, False), ((2, 2, 2), 1, False), ((4, 2), 0, True), ((1, 4), 0, False)]:
        yield case(_g_of(rng, sizes, dim, keepdim), sizes, dim, keepdim)
    for _ in range(3):
        sizes, dim, keepdim = shape(rng, 3, low=2, high=4), int(rng.integers(0, 3)), bool(rng.integers(0, 2))
        yield case(_g_of(rng, sizes, dim, keepdim), sizes, dim, keepdim)


def _g_of(rng, sizes, dim, keepdim):
    left = tuple(1 if k == dim else n for k, n in enumerate(sizes) if keepdim or k != dim)
    return whole(rng, left, low=1, high=40)


@mean.mistake("This is the gradient of the sum: each entry has only one n-th of a say in the mean.")
def _(g, x_shape, dim, keepdim):
    return np.broadcast_to(g if keepdim else np.expand_dims(g, dim), x_shape)


@mean.mistake("This divides by the number of all entries. A mean was taken of those along one axis.")
def _(g, x_shape, dim, keepdim):
    return np.broadcast_to(g if keepdim else np.expand_dims(g, dim), x_shape) / np.prod(x_shape)


@mean.mistake("The new axis stands in front, whatever `dim` says: that stretches g along the wrong axis, or not at "
              "all.")
def _(g, x_shape, dim, keepdim):
    return np.broadcast_to(g, x_shape) / x_shape[dim]


@mean.mistake("With `keepdim` the axis is there already, with size 1. Here it was added once more.")
def _(g, x_shape, dim, keepdim):
    return np.broadcast_to(np.expand_dims(g, dim), x_shape) / x_shape[dim]


@mean.mistake("The axis has size 1 still. The gradient of x has the shape of x.")
def _(g, x_shape, dim, keepdim):
    return (g if keepdim else np.expand_dims(g, dim)) / x_shape[dim]


@mean.mistake("The whole g went to the first entry along the axis. All entries of it have the same share.")
def _(g, x_shape, dim, keepdim):
    full = np.array(np.broadcast_to(g if keepdim else np.expand_dims(g, dim), x_shape))
    return full * (np.indices(x_shape)[dim] == 0)


@mean.variant
def _(g, x_shape, dim, keepdim):
    kept = [1 if k == dim else n for k, n in enumerate(x_shape)]
    return np.reshape(g, kept) * np.ones(x_shape) / x_shape[dim]


@mean.variant
def _(g, x_shape, dim, keepdim):
    one = g if keepdim else np.expand_dims(g, dim)
    return np.repeat(one / x_shape[dim], x_shape[dim], axis=dim)


# --- 04.1c: the largest -------------------------------------------------------------------------------------------

largest = Exercise(
    "04.1c", "The largest takes it", points=2, stars=2, minutes=10, hints=(
        "Which entries would change the result, if they rose a little? How do you find them all at once?",
        "A comparison with the largest number of the same row makes a table of winners. What is left to decide is how "
        "much each of them gets.",
        "Winners along the axis share g evenly: count them, with the axis kept, and divide."))


@largest.reference
def max_back(g, x, dim):
    winners = x == x.max(axis=dim, keepdims=True)
    return np.expand_dims(g, dim) * winners / winners.sum(axis=dim, keepdims=True)


@largest.cases
def _(rng):
    yield case(np.array([6.0, 60.0]), np.array([[3.0, 1.0, 2.0], [5.0, 0.0, 5.0]]), 1)
    yield case(np.array([6.0, 12.0]), np.array([[1.0, 3.0], [2.0, 3.0]]), 0)
    yield case(np.array([2.0, 4.0]), np.array([[-1.0, -2.0], [-3.0, -3.0]]), 1)
    yield case(np.array([9.0]), np.array([[4.0, 4.0, 4.0]]), 1)
    for _ in range(5):
        sizes, dim = shape(rng, (2, 3), low=2, high=4), int(rng.integers(0, 2))
        left = sizes[:dim] + sizes[dim + 1:]
        yield case(whole(rng, left, low=1, high=9) * 12, whole(rng, sizes, low=-1, high=2), dim)


def _winners(x, dim):
    return x == x.max(axis=dim, keepdims=True)


@largest.mistake("Each of several winners gets all of g. Together they would get more than has arrived.")
def _(g, x, dim):
    return np.expand_dims(g, dim) * _winners(x, dim)


@largest.mistake("Only the first of several winners gets something. Here equal ones share evenly.")
def _(g, x, dim):
    first = np.expand_dims(x.argmax(axis=dim), dim) == np.indices(x.shape)[dim]
    return np.expand_dims(g, dim) * first


@largest.mistake("This compares with the largest number of all. Each row (along `dim`) has a largest of its own.")
def _(g, x, dim):
    winners = x == x.max()
    return np.expand_dims(g, dim) * winners / np.maximum(winners.sum(axis=dim, keepdims=True), 1)


@largest.mistake("Everyone got a share, as for a mean. Entries that lost cannot change the largest number.")
def _(g, x, dim):
    return np.broadcast_to(np.expand_dims(g, dim), x.shape) / x.shape[dim]


@largest.mistake("The winners are found, but the g that arrived got lost.")
def _(g, x, dim):
    winners = _winners(x, dim)
    return winners / winners.sum(axis=dim, keepdims=True)


@largest.mistake("This multiplies by the number that won. Its slope is 1, whatever its size.")
def _(g, x, dim):
    return max_back(g, x, dim) * x


@largest.mistake("These are the smallest numbers.")
def _(g, x, dim):
    return max_back(g, -x, dim)


@largest.variant
def _(g, x, dim):
    rows, dx = np.moveaxis(x, dim, -1), np.zeros(x.shape)
    out = np.moveaxis(dx, dim, -1)
    for place in np.ndindex(rows.shape[:-1]):
        hit = rows[place] == max(rows[place])
        out[place][hit] = g[place] / sum(hit)
    return dx


# --- 04.1d: picked rows -------------------------------------------------------------------------------------------

picked = Exercise(
    "04.1d", "Bring rows home", points=2, stars=2, minutes=10, hints=(
        "In which row of x did row k of g come into being? And what if two rows of g came from the same one?",
        "Begin with zeros of the shape of x. Every row of g is added where its index says, however often that is.",
        "The lesson has a function of NumPy that adds one after the other. It takes an index of any shape, as x did."))


@picked.reference
def pick_back(g, index, x_shape):
    dx = np.zeros(x_shape)
    np.add.at(dx, index, g)
    return dx


@picked.cases
def _(rng):
    for index, x_shape in [([0, 2, 2], (4, 2)), ([1, 1, 1], (3, 2)), ([2, 0, 1], (3, 2)), ([3, 3, 0, 3], (5,)),
                           ([[0, 1], [1, 1]], (2, 3)), ([4, 2], (6, 2))]:
        index = np.array(index)
        yield case(whole(rng, index.shape + x_shape[1:], low=1), index, x_shape)
    for _ in range(4):
        index = rng.integers(0, 4, size=(3, 2))
        yield case(whole(rng, (3, 2, 2), low=1), index, (4, 2))


def _rows(g, index, x_shape):
    return zip(index.ravel().tolist(), g.reshape(index.size, *x_shape[1:]))


@picked.mistake("Where a row was picked twice, only the last contribution is left. With a list of indices, `+=` reads "
                "everything before it writes anything.")
def _(g, index, x_shape):
    dx = np.zeros(x_shape)
    dx[index] += g
    return dx


@picked.mistake("Contributions to one row were averaged. Each time it was used it had its full say, so they add up.")
def _(g, index, x_shape):
    counts = np.bincount(index.ravel(), minlength=x_shape[0]).reshape(-1, *(1,) * (len(x_shape) - 1))
    return pick_back(g, index, x_shape) / np.maximum(counts, 1)


@picked.mistake("Only the first contribution to each row is left.")
def _(g, index, x_shape):
    dx = np.zeros(x_shape)
    for row, part in reversed(list(_rows(g, index, x_shape))):
        dx[row] = part
    return dx


@picked.mistake("The rows lie in the order of g. Each belongs where `index` says.")
def _(g, index, x_shape):
    return pick_back(g, np.arange(index.size).reshape(index.shape) % x_shape[0], x_shape)


@picked.mistake("This counts how often each row was picked. What arrived, g, got lost.")
def _(g, index, x_shape):
    return pick_back(np.ones(g.shape), index, x_shape)


@picked.mistake("This picks from g, as the way forward picked from x. The way back has to put.")
def _(g, index, x_shape):
    return g[index % len(g)]


@picked.variant
def _(g, index, x_shape):
    dx = np.zeros(x_shape)
    for row, part in _rows(g, index, x_shape):
        dx[row] += part
    return dx


@picked.variant
def _(g, index, x_shape):
    hits = (index.ravel()[:, None] == np.arange(x_shape[0])) * 1.0
    return (hits.T @ g.reshape(index.size, -1)).reshape(x_shape)


# --- 04.2: where is the rule wrong? -------------------------------------------------------------------------------

finder = Exercise(
    "04.2", "Where is the rule wrong?", points=5, stars=3, minutes=25, rtol=1e-9, atol=1e-12,
    honest=("float64", "list", "tuple"), hints=(
        "A loss that depends on every output: weigh the outputs with random numbers, and add up. Which g goes with "
        "this loss? And what is its slope with one entry of x, measured by nudging?",
        "You need two arrays of the shape of x: what the rule claims for your g, and what nudging each entry both ways "
        "measures. The entry where they are furthest apart is the suspect.",
        "Whether the suspect is guilty depends on the scale: compare the distance with the largest number in either "
        "array. And each nudge has to be undone before the next."))


def _softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _softmax_rule(g, x):
    p = _softmax(x)
    return p * (g - (g * p).sum(axis=1, keepdims=True))


def _spoiled(rule, change, place):
    """A rule that is wrong at one entry."""
    def wrong(g, x):
        gradient = rule(g, x)
        dx = np.array(gradient, dtype=float)
        at = tuple(k % n for k, n in zip(place, x.shape))
        dx[at] = change(dx, at, g)
        return dx
    return wrong


RIGHT = {
    "tanh": (np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2)),
    "exp": (np.exp, lambda g, x: g * np.exp(x)),
    "softmax": (_softmax, _softmax_rule),
    "sum of each row": (lambda x: x.sum(axis=1), lambda g, x: g[:, None] * np.ones(x.shape)),
    "x @ x.T": (lambda x: x @ x.T, lambda g, x: g @ x + g.T @ x),
    "a billion times the square": (lambda x: 1e9 * x * x, lambda g, x: 2e9 * g * x),
    "a millionth of tanh": (lambda x: 1e-6 * np.tanh(x), lambda g, x: 1e-6 * g * (1 - np.tanh(x) ** 2)),
}
PLANTED = {
    "tanh, one entry doubled": ("tanh", lambda dx, at, g: 2 * dx[at], (-1, 0)),
    "exp, one entry too large by a hundredth": ("exp", lambda dx, at, g: dx[at] + 0.01 * abs(dx).max(), (0, -1)),
    "exp, one entry too small by a hundredth": ("exp", lambda dx, at, g: dx[at] - 0.01 * abs(dx).max(), (-1, -1)),
    "softmax, wrong where g is uneven": ("softmax", lambda dx, at, g: dx[at] + g[at] - g[at[0], 0], (-1, 1)),
    "x @ x.T, one entry forgotten": ("x @ x.T", lambda dx, at, g: 0.0, (1, 1)),
    "a millionth of tanh, one sign turned": ("a millionth of tanh", lambda dx, at, g: -dx[at], (-1, -1)),
    "sum of each row, one entry without g": ("sum of each row", lambda dx, at, g: 7.0, (-1, -1)),
}
PAIRS = RIGHT | {name: (RIGHT[of][0], _spoiled(RIGHT[of][1], change, place))
                 for name, (of, change, place) in PLANTED.items()}


def _measured(f, x, g, eps=1e-6, sides=(1, -1)):
    """Slopes of sum(g * f(x)) with every entry of x, by nudging."""
    result = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        losses = []
        for side in sides:
            nudged = x.copy()
            nudged[place] += side * eps
            losses.append((g * f(nudged)).sum())
        result[place] = (losses[0] - losses[1]) / ((sides[0] - sides[1]) * eps)
    return result


def _weights(f, x):
    return np.random.default_rng(7).normal(size=f(x).shape)


def _suspect(claimed, measured, allowed=None):
    apart = abs(claimed - measured)
    allowed = 1e-4 * max(abs(claimed).max(), abs(measured).max()) if allowed is None else allowed
    place = np.unravel_index(apart.argmax(), apart.shape)
    return tuple(int(k) for k in place) if apart[place] > allowed else None


@finder.reference
def wrong_entry(f, rule, x):
    g = _weights(f, x)
    return _suspect(rule(g, x), _measured(f, x, g))


@finder.observe
def _(answer, name, x):
    f, rule = PAIRS[name]
    found = answer(f, rule, x)
    return {"found": found, "x afterwards": x}


@finder.cases
def _(rng):
    for name in ("tanh, one entry doubled", "tanh", *(name for name in PLANTED if name[:4] != "tanh"),
                 *(name for name in RIGHT if name != "tanh")):
        x = np.clip(normal(rng, shape(rng, 2, low=2, high=3) if name != "softmax, wrong where g is uneven" else (2, 3)),
                    -2, 2)
        yield case(name, x + 0.3 * np.sign(x))


@finder.mistake("The fault got through, because g was all ones: the outputs of this f always add up to the same. "
                "Weigh them with random numbers.")
def _(f, rule, x):
    g = np.ones(f(x).shape)
    return _suspect(rule(g, x), _measured(f, x, g))


@finder.mistake("The allowed distance is the same for all. Where slopes are in the billions, rounding alone is more "
                "than that; where they are tiny, even a wrong sign is less.")
def _(f, rule, x):
    g = _weights(f, x)
    return _suspect(rule(g, x), _measured(f, x, g), allowed=1e-4)


@finder.mistake("A right rule was accused: one nudge to one side has an error of the size of the step. Nudge both "
                "ways, or much less.")
def _(f, rule, x):
    g = _weights(f, x)
    return _suspect(rule(g, x), _measured(f, x, g, eps=1e-2, sides=(1, 0)))


@finder.mistake("x is no longer what it was: a nudge was not undone.")
def _(f, rule, x):
    found = wrong_entry(f, rule, x)
    x -= 1e-6
    return found


@finder.mistake("Only the first row of x was nudged. A fault may sit anywhere.")
def _(f, rule, x):
    g = _weights(f, x)
    claimed, measured = rule(g, x), _measured(f, x, g)
    measured[1:] = claimed[1:]
    return _suspect(claimed, measured)


@finder.mistake("This says whether the rule is wrong. Asked is where: None, or the index of the entry.")
def _(f, rule, x):
    return wrong_entry(f, rule, x) is not None


@finder.mistake("This is the entry's number in reading order. An index has one number for each axis.")
def _(f, rule, x):
    found = wrong_entry(f, rule, x)
    return None if found is None else int(np.ravel_multi_index(found, x.shape))


@finder.mistake("Differences were compared with their sign. A claim that is too small is as wrong as one that is too "
                "large.")
def _(f, rule, x):
    g = _weights(f, x)
    claimed, measured = rule(g, x), _measured(f, x, g)
    return _suspect(np.maximum(claimed, measured), measured,
                    1e-4 * max(abs(claimed).max(), abs(measured).max()))


@finder.variant
def _(f, rule, x):
    g = np.random.default_rng().uniform(1, 2, size=f(x).shape)
    claimed, measured = rule(g, x), np.empty(x.shape)
    for place in np.ndindex(*x.shape):
        before, sides = x[place], []
        for side in (1e-5, -1e-5):
            x[place] = before + side
            sides.append(np.vdot(g, f(x)))
        x[place] = before
        measured[place] = (sides[0] - sides[1]) / 2e-5
    apart = abs(claimed - measured) / max(abs(claimed).max(), abs(measured).max())
    return np.unravel_index(apart.argmax(), x.shape) if apart.max() > 1e-4 else None


# --- 04.3: a classifier by hand -----------------------------------------------------------------------------------

classifier = Exercise(
    "04.3", "A classifier by hand", points=4, stars=2, minutes=25, hints=(
        "Go forward first: scores, shares, and the loss of each row. Then back, from the last line to the first. What "
        "does the weighted mean do to the g of each row?",
        "The gradient of the scores of a row is what it says minus what is true, times the row's own weight, divided "
        "by the sum of all weights.",
        "From the scores on it is the rule of a product, with w transposed as in x @ w.T, and a bias that was repeated "
        "for every row. The gradient of w has the shape of w."))


def _step(x, w, b, y, q, axis=1):
    scores = x @ w.T + b
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    truth = (y[:, None] == np.arange(len(b))) * 1.0
    return p, truth, (q * -np.log(p[np.arange(len(y)), y])).sum()


@classifier.reference
def classifier_back(x, w, b, y, q):
    p, truth, total = _step(x, w, b, y, q)
    d = (p - truth) * q[:, None] / q.sum()
    return total / q.sum(), d.T @ x, d.sum(axis=0)


@classifier.cases
def _(rng):
    x = np.array([[1.0, 2.0], [0.0, 1.0]])
    yield case(x, np.zeros((2, 2)), np.zeros(2), np.array([0, 1]), np.array([1.0, 1.0]))
    yield case(x, np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 0.0]), np.array([1, 1]), np.array([1.0, 3.0]))
    yield case(normal(rng, (3, 2)), normal(rng, (4, 2)), normal(rng, 4), np.array([3, 0, 2]), np.array([1.0, 0.0, 2.0]))
    for _ in range(4):
        N, I, O = (int(n) for n in rng.integers(2, 5, size=3))  # noqa: E741
        yield case(normal(rng, (N, I)), normal(rng, (O, I)), normal(rng, O), rng.integers(0, O, size=N),
                   rng.integers(1, 5, size=N) / 2)


@classifier.mistake("The weights of the rows were left out. A row with q = 3 counts like three rows.")
def _(x, w, b, y, q):
    return classifier_back(x, w, b, y, np.ones(len(q)))


@classifier.mistake("This divides by the number of rows. A weighted mean is divided by the sum of the weights.")
def _(x, w, b, y, q):
    return tuple(part * q.sum() / len(q) for part in classifier_back(x, w, b, y, q))


@classifier.mistake("This is the sum over the rows, not divided by anything. The loss is a mean.")
def _(x, w, b, y, q):
    return tuple(part * q.sum() for part in classifier_back(x, w, b, y, q))


@classifier.mistake("The loss is divided by the sum of the weights, but its gradient is not.")
def _(x, w, b, y, q):
    L, dw, db = classifier_back(x, w, b, y, q)
    return L, dw * q.sum(), db * q.sum()


@classifier.mistake("The gradients point the other way: it is what the model says minus what is true.")
def _(x, w, b, y, q):
    L, dw, db = classifier_back(x, w, b, y, q)
    return L, -dw, -db


@classifier.mistake("The gradient of w is transposed: it must have the shape of w, outputs by inputs.")
def _(x, w, b, y, q):
    L, dw, db = classifier_back(x, w, b, y, q)
    return L, dw.T, db


@classifier.mistake("What is true was never subtracted: these are the gradients of the logarithm's half of the loss.")
def _(x, w, b, y, q):
    p, _, total = _step(x, w, b, y, q)
    d = p * q[:, None] / q.sum()
    return total / q.sum(), d.T @ x, d.sum(axis=0)


@classifier.mistake("The shares add up to 1 down each column. Softmax goes along each row, over the classes.")
def _(x, w, b, y, q):
    p, truth, total = _step(x, w, b, y, q, axis=0)
    d = (p - truth) * q[:, None] / q.sum()
    return total / q.sum(), d.T @ x, d.sum(axis=0)


@classifier.mistake("The gradient of the bias is a mean over the rows. The bias was repeated for each row, so it gets "
                    "their sum; the division is done already.")
def _(x, w, b, y, q):
    L, dw, db = classifier_back(x, w, b, y, q)
    return L, dw, db / len(x)


@classifier.variant
def _(x, w, b, y, q):
    L, dw, db = 0.0, np.zeros(w.shape), np.zeros(b.shape)
    for row, right, weight in zip(x, y, q / q.sum()):
        e = np.exp(w @ row + b)
        d = e / e.sum() * weight
        L -= weight * np.log(e[right] / e.sum())
        d[right] -= weight
        dw, db = dw + np.outer(d, row), db + d
    return L, dw, db


@classifier.variant
def _(x, w, b, y, q):
    w, b = (tensor(v, requires_grad=True) for v in (w, b))
    scores = tensor(x) @ w.T + b
    losses = scores.logsumexp(dim=1) - scores[np.arange(len(y)), y]
    L = (losses * tensor(q)).sum() / float(q.sum())
    L.backward()
    return L, w.grad, b.grad


# --- 04.4a: round, and learn all the same -------------------------------------------------------------------------

through = Exercise(
    "04.4a", "Round, and learn all the same", points=2, stars=2, minutes=10, honest=(), hints=(
        "You want the value of one thing and the gradient of another. Which tool of the lesson keeps values, and "
        "changes only who is to blame?",
        "Write the rounded number as x and something that has to be added to it. Which of the two may be seen by the "
        "tape?",
        "What has to be added is the difference between the rounded number and x. Cut that off from the tape, all of "
        "it."))


@through.reference
def straight_through(x):
    return x + (x.round() - x).detach()


@through.observe
def _(answer, values, g):
    x = tensor(values, requires_grad=True)
    out = answer(x)
    out.backward(tensor(g))
    return {"out": out, "x.grad": x.grad}


@through.cases
def _(rng):
    yield case(np.array([0.2, 1.7]), np.array([1.0, 10.0]))
    yield case(np.array([-2.6]), np.array([3.0]))
    for _ in range(3):
        yield case(whole(rng, (2, 3)) + rng.uniform(-0.4, 0.4, size=(2, 3)), whole(rng, (2, 3), low=1))


@through.mistake("The value is right, and nothing comes back: rounding is flat, so its slope is 0 everywhere.")
def _(x):
    return x.round()


@through.mistake("Everything was cut off. No path leads back to x, so backward has nowhere to go.")
def _(x):
    return x.round().detach()


@through.mistake("The wrong part was cut off: the gradient comes back with its sign turned.")
def _(x):
    return x.detach() + (x.round() - x)


@through.mistake("The difference was added the wrong way round: this moves away from the rounded number.")
def _(x):
    return x + (x - x.round()).detach()


@through.mistake("The gradient passes, but nothing was rounded.")
def _(x):
    return x + (x - x).detach()


@through.variant
def _(x):
    with no_grad():
        gap = x.round() - x
    return gap + x


@through.variant
def _(x):
    return x - (x - x.round()).detach()


# --- 04.4b: two losses, one graph ---------------------------------------------------------------------------------

apart = Exercise(
    "04.4b", "Several losses, one graph", points=3, stars=2, minutes=15, hints=(
        "Try it with two losses, one `backward` each, and read what minidl says at the second. Then look at what is in "
        "`w.grad` after each of them.",
        "Two things must be told to minidl: that the graph is needed once more, and that the gradient so far is not "
        "needed any more.",
        "After each backward take `w.grad` away for your list and put None in its place, rather than writing zeros "
        "into the tensor that your list holds."))


@apart.reference
def separate(losses, w):
    return [grad(loss, w, retain_graph=True)[0] for loss in losses]


@apart.observe
def _(answer, values, factors):
    w = tensor(values, requires_grad=True)
    h = w.tanh() * 2
    losses = [(h ** (k + 1) * factor).sum() for k, factor in enumerate(factors.tolist())]
    found = answer(losses, w)
    return {"gradients": found, "w.grad": w.grad}


@apart.cases
def _(rng):
    yield case(np.array([1.0, -0.5]), np.array([1.0, 3.0]))
    yield case(np.array([0.5]), np.array([2.0]))
    for count in (2, 3, 4):
        yield case(normal(rng, 3), rng.integers(1, 9, size=count).astype(float))


def _one_by_one(losses, w, after):
    found = []
    for loss in losses:
        loss.backward(retain_graph=True)
        found.append(w.grad)
        after()
    return found


@apart.mistake("The graph was let go after the first loss. The losses share it, so it is needed again.")
def _(losses, w):
    found = []
    for loss in losses:
        loss.backward()
        found.append(w.grad)
        w.grad = None
    return found


@apart.mistake("Gradients have piled up: from the second one on, each holds those before it, since backward adds to "
               "`w.grad`.")
def _(losses, w):
    found = _one_by_one(losses, w, lambda: None)
    w.grad = None
    return found


@apart.mistake("Gradients have piled up, and the pile is left in `w.grad`.")
def _(losses, w):
    return _one_by_one(losses, w, lambda: None)


@apart.mistake("The gradients are right, but the last one is left in `w.grad`, and would be added to the next.")
def _(losses, w):
    found = separate(losses, w)
    w.grad = found[-1]
    return found


@apart.mistake("All gradients are 0: zeros were written into the very tensors that the list holds.")
def _(losses, w):
    found = _one_by_one(losses, w, lambda: w.grad.zero_())
    w.grad = None
    return found


@apart.mistake("This is one gradient, of the sum of the losses. Each loss has its own.")
def _(losses, w):
    sum(losses).backward()
    total, w.grad = w.grad, None
    return [total]


@apart.variant
def _(losses, w):
    found = []
    for loss in losses:
        loss.backward(retain_graph=True)
        found.append(w.grad.clone())
        w.grad = None
    return found


@apart.variant
def _(losses, w):
    found = _one_by_one(losses, w, lambda: None)
    w.grad = None
    return [found[0], *(later - before for before, later in zip(found, found[1:]))]


# --- 04.4c: steps -------------------------------------------------------------------------------------------------

steps = Exercise(
    "04.4c", "Down the slope", points=3, stars=2, minutes=15, hints=(
        "A turn has four parts: loss, backward, step, clean up. What does minidl say if you change w while it is "
        "watching?",
        "Change the tensor that you were given, in place, in a block in which nothing is recorded. A new tensor of the "
        "same name is of no use to whoever holds the old one.",
        "Note the loss before the step. After the step nothing of this turn's gradient may be left."))

LOSSES = {
    "a bowl": lambda w: ((w - 3) ** 2).sum(),
    "a narrow bowl": lambda w: (w * w * 2).sum(),
    "waves": lambda w: (w.sin() + w * w * 0.1).sum(),
}


@steps.reference
def descend(w, loss, lr, count):
    losses = []
    for _ in range(count):
        L = loss(w)
        L.backward()
        with no_grad():
            w -= lr * w.grad
        w.grad = None
        losses.append(L.item())
    return losses


@steps.observe
def _(answer, values, name, lr, count):
    w = tensor(values, requires_grad=True)
    losses = answer(w, LOSSES[name], lr, count)
    return {"losses": losses, "w": w, "w.grad": w.grad, "w wants a gradient": bool(w.requires_grad)}


@steps.cases
def _(rng):
    yield case(np.array([1.0, 5.0]), "a bowl", 0.25, 1)
    yield case(np.array([1.0, 5.0]), "a bowl", 0.25, 3)
    yield case(np.array([2.0]), "a narrow bowl", 0.1, 2)
    for _ in range(3):
        yield case(normal(rng, 3), "waves", 0.2, int(rng.integers(2, 5)))


@steps.mistake("w was changed while the tape was running, and minidl refuses. A step is taken where nothing is "
               "recorded.")
def _(w, loss, lr, count):
    loss(w).backward()
    w -= lr * w.grad


@steps.mistake("Gradients have piled up: each step walks along those of all turns before it, too.")
def _(w, loss, lr, count):
    losses = []
    for _ in range(count):
        L = loss(w)
        L.backward()
        with no_grad():
            w -= lr * w.grad
        losses.append(L.item())
    w.grad = None
    return losses


@steps.mistake("w was walked up the slope: the loss grows. Walk against the gradient.")
def _(w, loss, lr, count):
    return descend(w, loss, -lr, count)


@steps.mistake("The w that was given has not moved: the steps were taken by a new tensor.")
def _(w, loss, lr, count):
    return descend(tensor(w.detach().numpy().copy(), requires_grad=True), loss, lr, count)


@steps.mistake("`w = w - ...` makes a new tensor and calls it w: the one that was given has not moved, and the new one "
               "has no gradient of its own.")
def _(w, loss, lr, count):
    losses = []
    for _ in range(count):
        L = loss(w)
        L.backward()
        w = w - lr * w.grad
        losses.append(L.item())
    return losses


@steps.mistake("These are the losses after each step. The first one should be that of the start.")
def _(w, loss, lr, count):
    return [*descend(w, loss, lr, count)[1:], loss(w).item()]


@steps.mistake("The last gradient is left in `w.grad`, and would be added to the next.")
def _(w, loss, lr, count):
    losses = descend(w, loss, lr, count - 1)
    L = loss(w)
    L.backward()
    with no_grad():
        w -= lr * w.grad
    return [*losses, L.item()]


@steps.mistake("The learning rate got lost: these steps are as long as the gradient.")
def _(w, loss, lr, count):
    return descend(w, loss, 1.0, count)


@steps.variant
def _(w, loss, lr, count):
    losses = []
    for _ in range(count):
        L = loss(w)
        (slope,) = grad(L, w)
        with no_grad():
            w.copy_(w - lr * slope)
        losses.append(L)
    return [L.item() for L in losses]
