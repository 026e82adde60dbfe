"""Chapter 01, tensors: shapes that meet, views, the way back from a broadcast, and twelve puzzles.

Everything here is NumPy's: the learner has seen views and broadcasting, but no gradient yet.
"""
import numpy as np

from ..cases import case, counted, normal, shape, stretched, whole
from ..exercise import Exercise

TITLE = "Tensors"

# --- 01.1a: where shapes meet -------------------------------------------------------------------------------------

meet = Exercise(
    "01.1a", "Where shapes meet", points=2, stars=1, minutes=10, hints=(
        "Write the shapes under each other, the way you add numbers on paper: the last axes stand under each other. "
        "How many columns are there?",
        "Go through the columns from the right. A shape that is too short has a 1 there. Which sizes other than 1 do "
        "you meet in a column? There may be none, one, or too many.",
        "A column with two different sizes other than 1 is an error. With one, that one wins, and a 0 counts like any "
        "other size. With none, the column is a 1."))


@meet.reference
def broadcast_shapes(*shapes):
    return tuple(np.broadcast_shapes(*shapes))


@meet.observe
def _(answer, shapes):
    return answer(*shapes)


@meet.cases
def _(rng):
    yield case([(3, 1), (4,)])
    yield case([(64, 10), (64,)])
    yield case([(), ()])
    yield case([(2, 3)])
    yield case([(0, 3), (1, 3)])
    yield case([(1,), (0,)])
    yield case([(2, 1, 4), (3, 1), (4,)])
    yield case([(1, 5), (1, 1), (7, 1)])
    yield case([(2, 1), (1, 1), (3, 1)])
    for _ in range(6):
        full = shape(rng, (1, 4), low=0, high=5)
        yield case([stretched(rng, full), full, stretched(rng, full)])


def _columns(shapes, left=False):
    """Columns of sizes, shapes aligned on the right, or on the left."""
    n = max(map(len, shapes), default=0)
    fill = [(1,) * (n - len(s)) for s in shapes]
    return list(zip(*[s + f if left else f + s for s, f in zip(shapes, fill)]))


def _met(columns):
    if any(len(set(column) - {1}) > 1 for column in columns):
        raise ValueError("they do not meet")
    return tuple(next(iter(set(column) - {1}), 1) for column in columns)


@meet.mistake("The shapes are lined up on the left. Broadcasting lines them up on the right: the last axes meet.")
def _(*shapes):
    return _met(_columns(shapes, left=True))


@meet.mistake("The sizes are right, but in reverse. If you worked from the last axis to the first, turn the result "
              "round at the end.")
def _(*shapes):
    return _met(_columns(shapes))[::-1]


@meet.mistake("This takes the largest size of each column. An axis of size 0 stretches a 1 to 0, and two different "
              "sizes are an error, however large one of them is.")
def _(*shapes):
    return tuple(map(max, _columns(shapes)))


@meet.mistake("An axis of size 0 got lost: 0 against 1 is 0, because the 1 is stretched to no entries at all.")
def _(*shapes):
    if any(len(set(column) - {0, 1}) > 1 for column in _columns(shapes)):
        raise ValueError
    return tuple(max(column) for column in _columns(shapes))


@meet.mistake("Shapes without axes meet in a shape without axes. This is (1,), one axis of size 1.")
def _(*shapes):
    return _met(_columns(shapes)) or (1,)


@meet.mistake("Only the first two shapes were looked at. There may be three, or one.")
def _(*shapes):
    return _met(_columns(shapes[:2]))


@meet.mistake("These shapes do not meet, and nobody was told. A ValueError is due here.")
def _(*shapes):
    return tuple(next((n for n in column if n != 1), 1) for column in _columns(shapes))


@meet.variant
def _(*shapes):
    result = []
    for k in range(1, max(map(len, shapes)) + 1):
        sizes = {s[-k] for s in shapes if len(s) >= k and s[-k] != 1}
        if len(sizes) > 1:
            raise ValueError(f"sizes {sizes} in one column")
        result.insert(0, sizes.pop() if sizes else 1)
    return tuple(result)


@meet.variant
def _(*shapes):
    return np.broadcast(*(np.empty(s) for s in shapes)).shape if len(shapes) > 1 else list(shapes[0])


# --- 01.1b: where an entry comes from -----------------------------------------------------------------------------

origin = Exercise(
    "01.1b", "Where an entry comes from", points=2, stars=2, minutes=10, hints=(
        "Take b of shape (3, 1), stretched to (2, 3, 4). Which entry of b stands at place (1, 2, 3)? Say it in words "
        "before you write code.",
        "Axes that b does not have can be forgotten: they are the ones on the left. What remains is one index for each "
        "axis of b.",
        "On an axis of size 1 there is but one entry to read, whatever the index says. On the others the index stays."))


@origin.reference
def source_index(index, shape):
    kept = index[len(index) - len(shape):]
    return tuple(0 if n == 1 else i for i, n in zip(kept, shape))


@origin.cases
def _(rng):
    yield case((1, 2, 3), (3, 1))
    yield case((2, 3), (4,))
    yield case((2, 3), ())
    yield case((1,), (1,))
    yield case((1, 2, 3), (2, 3, 4))
    yield case((1, 2, 2), (2, 1, 3))
    for _ in range(6):
        full = shape(rng, (2, 4), low=2, high=5)
        yield case(tuple(int(rng.integers(1, n)) for n in full), stretched(rng, full))


@origin.mistake("The axes are counted from the left. The missing axes of a shorter shape are on the left, so the index "
                "loses its first numbers, not its last.")
def _(index, shape):
    return tuple(0 if n == 1 else i for i, n in zip(index, shape))


@origin.mistake("On a stretched axis, size 1, there is only entry 0 to read; this index points beyond it.")
def _(index, shape):
    return tuple(index[len(index) - len(shape):])


@origin.mistake("The index still has the axes that broadcasting added. It must have as many numbers as the shape.")
def _(index, shape):
    full = (1,) * (len(index) - len(shape)) + tuple(shape)
    return tuple(0 if n == 1 else i for i, n in zip(index, full))


@origin.mistake("The numbers are right, but in reverse: if you worked from the last axis, turn the result round.")
def _(index, shape):
    return source_index(index, shape)[::-1]


@origin.mistake("A shape without axes has an index without numbers, `()`. This is the index of one axis.")
def _(index, shape):
    return source_index(index, shape) or (0,)


@origin.mistake("This is 0 everywhere. Only an axis of size 1 repeats; on the others the index stays.")
def _(index, shape):
    return (0,) * len(shape)


@origin.mistake("`index[-0:]` is the whole index: for a shape without axes, count from the other end.")
def _(index, shape):
    return tuple(min(i, n - 1) for i, n in zip(index[-len(shape):], shape)) if shape else tuple(index)


@origin.variant
def _(index, shape):
    return [i % n for i, n in zip(index[len(index) - len(shape):], shape)]


@origin.variant
def _(index, shape):
    return tuple(reversed([min(i, n - 1) for i, n in zip(index[::-1], shape[::-1])]))


# --- 01.2a: a slice is arithmetic -----------------------------------------------------------------------------------

cut = Exercise(
    "01.2a", "A slice is arithmetic", points=3, stars=2, minutes=15, hints=(
        "Nothing is read here: three small sums. Where does the first entry of the slice lie? How far is it from one "
        "entry to the next? How many are there?",
        "The first entry is `start` steps along the axis. From one entry of the slice to the next it is `step` entries "
        "of the old axis, and `step` may be negative.",
        "How many: the distance from start to stop, divided by step, rounded up, and never below 0. Python's `range` "
        "takes the same three numbers, and it has a length."))


@cut.reference
def slice_axis(shape, strides, offset, dim, start, stop, step):
    count = len(range(start, stop, step))
    return ((*shape[:dim], count, *shape[dim + 1:]), (*strides[:dim], strides[dim] * step, *strides[dim + 1:]),
            offset + start * strides[dim])


@cut.cases
def _(rng):
    yield case((3, 4), (4, 1), 0, 1, 1, 3, 1)
    yield case((3, 4), (4, 1), 0, 1, 0, 4, 2)
    yield case((3, 5), (5, 1), 0, 1, 0, 5, 2)
    yield case((3, 4), (4, 1), 0, 0, 2, -1, -1)
    yield case((4, 3), (1, 4), 0, 0, 3, -1, -2)
    yield case((3, 4), (-4, 1), 8, 0, 2, -1, -1)
    yield case((3, 4), (4, 1), 5, 1, 3, 1, 1)
    yield case((6,), (2,), 7, 0, 1, 6, 3)
    for _ in range(6):
        sizes = shape(rng, 3, low=3, high=7)
        dim, step = int(rng.integers(0, 3)), int(rng.choice([-3, -2, -1, 1, 2, 3]))
        ends = sorted(int(i) for i in rng.choice(sizes[dim] + 1, size=2, replace=False))
        start, stop = ends if step > 0 else (ends[1] - 1, ends[0] - 1)
        yield case(sizes, (sizes[1] * sizes[2], sizes[2], 1), int(rng.integers(0, 9)), dim, start, stop, step)


def _sliced(shape, strides, offset, dim, count, stride):
    return ((*shape[:dim], count, *shape[dim + 1:]), (*strides[:dim], stride, *strides[dim + 1:]), offset)


@cut.mistake("The stride stays as it was. From one entry of the slice to the next it is `step` old steps.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start * strides[dim], dim, len(range(start, stop, step)), strides[dim])


@cut.mistake("The offset forgets the stride: moving by `start` entries is moving by `start` times the stride.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start, dim, len(range(start, stop, step)), strides[dim] * step)


@cut.mistake("The old offset got lost. What is sliced may itself begin somewhere in the middle.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, start * strides[dim], dim, len(range(start, stop, step)), strides[dim] * step)


@cut.mistake("The count is rounded down. With 5 entries and a step of 2 there are 3: the first always counts.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start * strides[dim], dim, max(0, int((stop - start) / step)),
                   strides[dim] * step)


@cut.mistake("The count is below 0. A slice whose stop lies before its start is empty: its size is 0.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start * strides[dim], dim, -(-(stop - start) // step), strides[dim] * step)


@cut.mistake("The count forgets the step.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start * strides[dim], dim, max(0, abs(stop - start)), strides[dim] * step)


@cut.mistake("A negative step walks backwards; here its sign got lost from the stride.")
def _(shape, strides, offset, dim, start, stop, step):
    return _sliced(shape, strides, offset + start * strides[dim], dim, len(range(start, stop, step)),
                   strides[dim] * abs(step))


@cut.mistake("The first axis was sliced, whatever `dim` says.")
def _(shape, strides, offset, dim, start, stop, step):
    return slice_axis(shape, strides, offset, 0, start, stop, step)


@cut.variant
def _(shape, strides, offset, dim, start, stop, step):
    shape, strides = list(shape), list(strides)
    offset += start * strides[dim]
    shape[dim] = max(0, (stop - start + step - (1 if step > 0 else -1)) // step)
    strides[dim] *= step
    return shape, strides, offset


@cut.variant
def _(shape, strides, offset, dim, start, stop, step):
    count, i = 0, start
    while (i < stop) if step > 0 else (i > stop):
        count, i = count + 1, i + step
    return _sliced(shape, strides, offset + start * strides[dim], dim, count, strides[dim] * step)


# --- 01.2b: a quarter turn ------------------------------------------------------------------------------------------

turn = Exercise(
    "01.2b", "A quarter turn", points=2, stars=1, minutes=5, honest=("float64",), hints=(
        "Draw two rows of three numbers and turn the sheet. What was the last column becomes ...?",
        "A quarter turn is two moves that you have seen: swap the axes, and reverse one of them. Which one?",
        "To the left: the last column becomes the first row. After the swap the columns are rows, in the wrong order. "
        "Both moves are views, so nothing needs to be copied."))


@turn.reference
def quarter_turn(x):
    return x.T[::-1]


@turn.observe
def _(answer, x):
    """The answer as it is, and as it becomes when somebody writes into x afterwards."""
    turned = answer(x)
    if turned is None:
        return None
    before = np.array(turned)
    x *= 10
    return {"the answer": before, "after x *= 10": np.array(turned)}


@turn.cases
def _(rng):
    yield case(counted(2, 3))
    yield case(counted(3, 2))
    yield case(counted(1, 4))
    yield case(whole(rng, shape(rng, 2, low=2, high=5)) + 0.5)


@turn.mistake("The values are right, but this is a copy: when x changes it does not follow. A view was asked for.")
def _(x):
    return x.T[::-1].copy()


@turn.mistake("This is a quarter turn to the right.")
def _(x):
    return x.T[:, ::-1]


@turn.mistake("This is the transpose: the picture is mirrored along its diagonal, not turned.")
def _(x):
    return x.T


@turn.mistake("This is upside down: a flip keeps the axes where they are.")
def _(x):
    return x[::-1]


@turn.mistake("This is half a turn: both axes are reversed, and not swapped.")
def _(x):
    return x[::-1, ::-1]


@turn.mistake("The sizes are swapped, but each row is filled in reading order: that is a reshape, no turn.")
def _(x):
    return x.reshape(x.shape[::-1])


@turn.variant
def _(x):
    return x[:, ::-1].T


@turn.variant
def _(x):
    return np.rot90(x)


@turn.variant
def _(x):
    return np.flip(np.swapaxes(x, 0, 1), axis=0)


# --- 01.2c: stretched by strides --------------------------------------------------------------------------------------

stretch = Exercise(
    "01.2c", "Stretched by strides", points=3, stars=2, minutes=15, honest=("float64",), hints=(
        "The result reads the memory of x; all you decide is how far each axis walks, in bytes. How far does an axis "
        "walk that repeats the same number?",
        "A new axis on the left repeats, and so does an axis that had size 1. The others keep the stride that "
        "`x.strides` gives them.",
        "Count how many axes are new. Build the strides as a tuple: zeros for the new axes, then for each old axis "
        "either 0 or its own stride. Then one call of as_strided."))


@stretch.reference
def expand(x, shape):
    new = len(shape) - x.ndim
    return _as_strided(x, shape, (0,) * new + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides)))


@stretch.observe
def _(answer, x, shape, layout):
    """The answer as it is, and as it becomes when somebody writes into x afterwards."""
    x = _laid_out(x, layout)
    result = answer(x, shape)
    if result is None:
        return None
    before = np.array(result)
    x *= 10
    return {"the answer": before, "after x *= 10": np.array(result)}


def _laid_out(x, layout):
    """x in a block with room around it, so that an answer with wrong strides reads zeros and nobody else's memory."""
    room, size = np.zeros(400), 2 * x.size if layout == "every second" else x.size
    middle = room[200:200 + size]
    if layout == "every second":
        view = middle.reshape(*x.shape[:-1], 2 * x.shape[-1])[..., ::2]
    elif layout == "transposed":
        view = middle.reshape(x.shape[::-1]).T
    elif layout == "backwards":
        view = middle.reshape(x.shape)[(slice(None, None, -1),) * x.ndim]
    else:
        view = middle.reshape(x.shape)
    view[...] = x
    return view


@stretch.cases
def _(rng):
    yield case(counted(4), (3, 4), "in order")
    yield case(counted(3, 1), (3, 4), "in order")
    yield case(np.array(7.0), (2, 2), "in order")
    yield case(counted(2, 2), (3, 2, 2), "every second")
    yield case(counted(3, 1), (2, 3, 2), "backwards")
    yield case(counted(3, 2), (3, 2), "transposed")
    for layout in ("in order", "backwards", "transposed", "every second"):
        full = shape(rng, (2, 3), low=2, high=4)
        yield case(whole(rng, stretched(rng, full) or full[-1:], low=1) + 0.5, full, layout)


def _as_strided(x, shape, strides):
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


@stretch.mistake("The values are right, but this is a copy: when x changes it does not follow.")
def _(x, shape):
    return np.broadcast_to(x, shape).copy()


@stretch.mistake("Every axis got stride 0, so one number fills everything. Only what repeats stands still.")
def _(x, shape):
    return _as_strided(x, shape, (0,) * len(shape))


@stretch.mistake("These are the strides of a fresh, contiguous array. x may be a view with strides of its own; "
                 "`x.strides` has them.")
def _(x, shape):
    fresh, new = np.empty(x.shape).strides, len(shape) - x.ndim
    return _as_strided(x, shape, (0,) * new + tuple(0 if n == 1 else s for n, s in zip(x.shape, fresh)))


@stretch.mistake("The new axes were put on the right. Shapes meet on the right, so what is new is on the left.")
def _(x, shape):
    new = len(shape) - x.ndim
    return _as_strided(x, shape, tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides)) + (0,) * new)


@stretch.mistake("An axis of size 1 kept its stride, and walks on into memory that is not x's. It must stand still, "
                 "too.")
def _(x, shape):
    return _as_strided(x, shape, (0,) * (len(shape) - x.ndim) + x.strides)


@stretch.mistake("The numbers run on in reading order, as `np.resize` does it. Stretching repeats along an axis.")
def _(x, shape):
    return np.resize(x, shape)


@stretch.mistake("The shape is still the one of x.")
def _(x, shape):
    return x


@stretch.variant
def _(x, shape):
    return np.broadcast_to(x, shape)


@stretch.variant
def _(x, shape):
    return np.broadcast_arrays(x, np.empty(shape))[0]


@stretch.works_as("expand")
def _(answer):
    return lambda xp, x, *, shape: answer(x, tuple(shape))


# --- 01.3: the way back -------------------------------------------------------------------------------------------

back = Exercise(
    "01.3", "The way back is a sum", points=3, stars=2, minutes=15, hints=(
        "Give both shapes the same number of axes first, in your mind: where does the shorter one get its ones?",
        "An axis was stretched if its size in `shape`, with the ones filled in, is 1. These are the axes to sum over, "
        "and all of them can go into one `axis=` tuple.",
        "If you sum with the axes kept, the stretched ones have size 1 and the new ones on the left do, too. The "
        "number of entries is then right already, and giving it the wanted shape moves nothing."))


@back.reference
def unbroadcast(g, shape):
    full = (1,) * (g.ndim - len(shape)) + tuple(shape)
    return g.sum(axis=tuple(k for k, n in enumerate(full) if n == 1), keepdims=True).reshape(shape)


@back.cases
def _(rng):
    yield case(counted(3, 4), (4,))
    yield case(counted(3, 4), (3, 1))
    yield case(counted(2, 3), ())
    yield case(counted(2, 3), (2, 3))
    yield case(counted(2, 3, 4), (3, 1))
    yield case(counted(2, 1, 3), (1, 3))
    yield case(np.zeros((0, 3)), (1, 3))
    yield case(counted(3, 3), (3,))
    for _ in range(5):
        full = shape(rng, (1, 4), low=2, high=4)
        yield case(normal(rng, full), stretched(rng, full))


def _axes(g, shape):
    full = (1,) * (g.ndim - len(shape)) + tuple(shape)
    return tuple(k for k, n in enumerate(full) if n == 1)


@back.mistake("This is the mean over the copies. Each copy adds its share to the blame: the way back is a sum.")
def _(g, shape):
    return (g.sum(axis=_axes(g, shape), keepdims=True) / np.prod([g.shape[k] for k in _axes(g, shape)] or [1])
            ).reshape(shape) if g.size else np.full(shape, np.nan)


@back.mistake("The new axes on the left are summed, but those that were stretched from 1 are not.")
def _(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))


@back.mistake("The axes of size 1 got lost: sum over them with `keepdims=True`, so that the shape fits again.")
def _(g, shape):
    return g.sum(axis=_axes(g, shape))


@back.mistake("The axes that broadcasting added are still there, with size 1.")
def _(g, shape):
    return g.sum(axis=_axes(g, shape), keepdims=True)


@back.mistake("This takes one of the copies and forgets the others. Each of them has changed the loss.")
def _(g, shape):
    if not g.size:
        return np.full(shape, np.nan)
    return g[tuple(slice(0, 1) if k in _axes(g, shape) else slice(None) for k in range(g.ndim))].reshape(shape)


@back.mistake("The axes are lined up on the left, so the wrong ones were summed. Shapes meet on the right.")
def _(g, shape):
    full = tuple(shape) + (1,) * (g.ndim - len(shape))
    total = g.sum(axis=tuple(k for k, n in enumerate(full) if n == 1), keepdims=True)
    return total.reshape(shape) if total.size == np.prod(shape, dtype=int) else total


@back.mistake("Everything was summed into one number. Only the axes that were stretched are.")
def _(g, shape):
    return np.full(shape, g.sum())


@back.variant
def _(g, shape):
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for k, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis=k, keepdims=True)
    return g


@back.variant
def _(g, shape):
    total = np.zeros(shape)
    for index in np.ndindex(g.shape):
        total[source_index(index, shape)] += g[index]
    return total


# --- 01.4: twelve puzzles -------------------------------------------------------------------------------------------

WORDS = ("np", "arange", "where", "shape", "T", "len", "ones", "total", "outer", "diagonal", "identity",
         "upper", "running_sum", "steps", "stacked", "rolled", "mirrored", "one_hot")


def puzzle(part, title, *hints):
    """A puzzle: one point, a few words allowed, no loops."""
    return Exercise(f"01.4{part}", title, points=1, stars=1 if part < "e" else 2, minutes=3, hints=hints, allowed=WORDS)


ones_puzzle = puzzle("a", "Ones", "How do you get n numbers of any kind?",
                     "Which arithmetic makes every number the same, whatever it was?",
                     "Something times 0 is 0 everywhere. From there it is one more step.")


@ones_puzzle.reference
def ones(n):
    return np.arange(n) * 0 + 1


@ones_puzzle.cases
def _(rng):
    yield from map(case, (3, 1, 0, int(rng.integers(4, 9))))


@ones_puzzle.mistake("These are zeros: one step is missing.")
def _(n):
    return np.arange(n) * 0


@ones_puzzle.mistake("These are counted up from 1. They should all be 1.")
def _(n):
    return np.arange(n) + 1


@ones_puzzle.mistake("Dividing a number by itself fails for 0.")
def _(n):
    with np.errstate(invalid="ignore"):
        return np.arange(n) / np.arange(n)


@ones_puzzle.variant
def _(n):
    return np.arange(n) >= 0


total_puzzle = puzzle("b", "The sum of a vector", "A product of matrices multiplies and adds. You need the adding.",
                      "By what can each number be multiplied so that it stays as it is?",
                      "The last puzzle made a vector that helps: its product with x, by the operator @, adds up x.")


@total_puzzle.reference
def total(x):
    return x @ ones(len(x))


@total_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 2.0, 4.0]))
    yield case(np.array([5.0]))
    yield case(np.array([]))
    yield case(whole(rng, 6))


@total_puzzle.mistake("This is the sum of the squares: x was multiplied by itself.")
def _(x):
    return x @ x


@total_puzzle.mistake("This is one axis with one number. A sum is a number without axes.")
def _(x):
    return x[None] @ ones(len(x))


@total_puzzle.mistake("The first number is left out: the weights begin at 0, or one place too late.")
def _(x):
    return x[1:] @ ones(len(x[1:]))


@total_puzzle.variant
def _(x):
    return ones(len(x)) @ x


outer_puzzle = puzzle("c", "Every product of two vectors", "The result has a row for each number of a, and a column "
                      "for each number of b. Which shapes must meet?",
                      "A shape of (n, 1) against one of (m,) gives a table.",
                      "Index a with None in the right place to give it a second axis; then multiply.")


@outer_puzzle.reference
def outer(a, b):
    return a[:, None] * b


@outer_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 2.0]), np.array([1.0, 10.0, 100.0]))
    yield case(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    yield case(whole(rng, 3), whole(rng, 5))


@outer_puzzle.mistake("This is the transpose of what was asked: rows belong to a, columns to b.")
def _(a, b):
    return a * b[:, None]


@outer_puzzle.mistake("This is the table of sums. Products were asked for.")
def _(a, b):
    return a[:, None] + b


@outer_puzzle.mistake("There is an axis too many: give a its new axis, and leave b as it is.")
def _(a, b):
    return a[:, None, None] * b[None, :, None]


@outer_puzzle.variant
def _(a, b):
    return a[:, None] @ b[None, :]


diagonal_puzzle = puzzle("d", "The diagonal of a square", "An entry of the diagonal has twice the same index.",
                         "Two lists of indices in one pair of brackets pick entries one by one, pair by pair.",
                         "Both lists are 0, 1, 2, ... up to the number of rows.")


@diagonal_puzzle.reference
def diagonal(x):
    return x[np.arange(len(x)), np.arange(len(x))]


@diagonal_puzzle.cases
def _(rng):
    yield case(counted(3, 3))
    yield case(counted(1, 1))
    yield case(whole(rng, (4, 4)))


@diagonal_puzzle.mistake("This is the first row.")
def _(x):
    return x[0, np.arange(len(x))]


@diagonal_puzzle.mistake("This is the other diagonal, from the upper right.")
def _(x):
    return x[np.arange(len(x)), len(x) - 1 - np.arange(len(x))]


@diagonal_puzzle.mistake("This picks whole rows, and so gives everything back. Both axes need a list.")
def _(x):
    return x[np.arange(len(x))]


@diagonal_puzzle.variant
def _(x):
    return x[np.arange(x.shape[0]), np.arange(x.shape[1])]


identity_puzzle = puzzle("e", "The identity matrix", "Where in the table do the ones stand? Say it about the numbers "
                         "of the row and of the column.",
                         "A comparison gives True and False, and these count as 1 and 0.",
                         "Compare the row numbers, standing as a column, with the column numbers, lying as a row.")


@identity_puzzle.reference
def identity(n):
    return (np.arange(n)[:, None] == np.arange(n)) * 1


@identity_puzzle.cases
def _(rng):
    yield from map(case, (3, 1, 0, int(rng.integers(4, 7))))


@identity_puzzle.mistake("Two vectors were compared number by number. One of them must stand up, to make a table.")
def _(n):
    return (np.arange(n) == np.arange(n)) * 1


@identity_puzzle.mistake("The ones stand on the other diagonal.")
def _(n):
    return (np.arange(n)[:, None] == n - 1 - np.arange(n)) * 1


@identity_puzzle.mistake("Zeros and ones have changed places.")
def _(n):
    return (np.arange(n)[:, None] != np.arange(n)) * 1


@identity_puzzle.variant
def _(n):
    return np.where(np.arange(n)[:, None] - np.arange(n) == 0, 1.0, 0.0)


upper_puzzle = puzzle("f", "The upper triangle", "Which numbers of row and column stand at the places with a 1?",
                      "The same table of comparisons as for the identity, with another comparison.",
                      "On and above the diagonal the column's number is at least the row's.")


@upper_puzzle.reference
def upper(n):
    return (np.arange(n)[:, None] <= np.arange(n)) * 1


@upper_puzzle.cases
def _(rng):
    yield from map(case, (3, 1, 0, int(rng.integers(4, 7))))


@upper_puzzle.mistake("The diagonal is missing; it belongs to the triangle.")
def _(n):
    return (np.arange(n)[:, None] < np.arange(n)) * 1


@upper_puzzle.mistake("This is the lower triangle.")
def _(n):
    return (np.arange(n)[:, None] >= np.arange(n)) * 1


@upper_puzzle.mistake("Ones everywhere: the comparison is true for each pair.")
def _(n):
    return (np.arange(n)[:, None] + np.arange(n) >= 0) * 1


@upper_puzzle.variant
def _(n):
    return np.where(np.arange(n)[:, None] > np.arange(n), 0.0, 1.0)


running_puzzle = puzzle("g", "The running sum", "Entry k is the sum of the entries 0 to k. A sum with weights is a "
                        "product with @.",
                        "Each entry of the result needs its own weights: ones up to k, zeros behind. That is a table.",
                        "You have made this table in the puzzle before. Does x stand on its left, or on its right?")


@running_puzzle.reference
def running_sum(x):
    return x @ upper(len(x))


@running_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 2.0, 4.0]))
    yield case(np.array([3.0]))
    yield case(whole(rng, 6))


@running_puzzle.mistake("This runs from the other end: each entry is the sum of itself and what follows.")
def _(x):
    return upper(len(x)) @ x


@running_puzzle.mistake("Each entry lacks itself: the sum stops one too early.")
def _(x):
    return x @ ((np.arange(len(x))[:, None] < np.arange(len(x))) * 1)


@running_puzzle.mistake("Every entry is the sum of all.")
def _(x):
    return x @ (upper(len(x)) * 0 + 1)


@running_puzzle.variant
def _(x):
    return upper(len(x)).T @ x


steps_puzzle = puzzle("h", "Steps between neighbours", "Two slices of x, and one operator.",
                      "All but the first stand beside all but the last.",
                      "The later one comes first: what was added to get there?")


@steps_puzzle.reference
def steps(x):
    return x[1:] - x[:-1]


@steps_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 4.0, 9.0, 16.0]))
    yield case(np.array([2.0]))
    yield case(whole(rng, 6))


@steps_puzzle.mistake("The sign is the other way round: a rise must be positive.")
def _(x):
    return x[:-1] - x[1:]


@steps_puzzle.mistake("This wraps around: the first has no neighbour before it, so there is one step fewer than "
                      "numbers.")
def _(x):
    return x - x[np.arange(len(x)) - 1]


@steps_puzzle.mistake("These are steps over two places.")
def _(x):
    return x[2:] - x[:-2]


@steps_puzzle.variant
def _(x):
    return x[np.arange(len(x) - 1) + 1] - x[np.arange(len(x) - 1)]


stack_puzzle = puzzle("i", "One above the other", "The table has two rows. Make a column that holds the numbers of "
                      "the rows.",
                      "`np.where` chooses between two values for each place, and all three broadcast.",
                      "The condition is a column of two: is this row 0? Then a, else b.")


@stack_puzzle.reference
def stacked(a, b):
    return np.where(np.arange(2)[:, None] == 0, a, b)


@stack_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]))
    yield case(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    yield case(whole(rng, 5), whole(rng, 5))


@stack_puzzle.mistake("b lies above a; a comes first.")
def _(a, b):
    return np.where(np.arange(2)[:, None] == 0, b, a)


@stack_puzzle.mistake("They stand side by side, as columns: the transpose of what was asked.")
def _(a, b):
    return np.where(np.arange(2) == 0, a[:, None], b[:, None])


@stack_puzzle.mistake("Both rows are a: the condition is true in both.")
def _(a, b):
    return np.where(np.arange(2)[:, None] >= 0, a, b)


@stack_puzzle.variant
def _(a, b):
    return (np.arange(2)[:, None] == 0) * a + (np.arange(2)[:, None] == 1) * b


rolled_puzzle = puzzle("j", "Roll to the left", "The result reads x at other places. Write these places under each "
                       "other for five numbers.",
                       "1, 2, 3, 4, and then? What brings the last one back to 0?",
                       "One more than its own place, and the remainder after dividing by the length.")


@rolled_puzzle.reference
def rolled(x):
    return x[(np.arange(len(x)) + 1) % len(x)]


@rolled_puzzle.cases
def _(rng):
    yield case(np.array([1.0, 2.0, 3.0, 4.0]))
    yield case(np.array([7.0]))
    yield case(whole(rng, 6) + np.arange(6) * 20)


@rolled_puzzle.mistake("This rolls to the right: the first number must become the last.")
def _(x):
    return x[np.arange(len(x)) - 1]


@rolled_puzzle.mistake("This rolls by two places.")
def _(x):
    return x[(np.arange(len(x)) + 2) % len(x)]


@rolled_puzzle.mistake("The first number fell off the edge. It must come back at the end.")
def _(x):
    return x[1:]


@rolled_puzzle.variant
def _(x):
    return x[np.arange(len(x)) + 1 - len(x)]


mirror_puzzle = puzzle("k", "Each row in the mirror", "Rows stay, columns are read from the last to the first.",
                       "A slice can walk backwards: its step is negative.",
                       "Two slices: everything along the rows, everything backwards along the columns.")


@mirror_puzzle.reference
def mirrored(x):
    return x[:, ::-1]


@mirror_puzzle.cases
def _(rng):
    yield case(counted(2, 3))
    yield case(counted(3, 3))
    yield case(whole(rng, (3, 4)))


@mirror_puzzle.mistake("The rows were turned round. The columns should be.")
def _(x):
    return x[::-1]


@mirror_puzzle.mistake("Both axes were turned round.")
def _(x):
    return x[::-1, ::-1]


@mirror_puzzle.mistake("Rows and columns were swapped: that is a mirror along the diagonal.")
def _(x):
    return x.T


@mirror_puzzle.variant
def _(x):
    return x[:, x.shape[1] - 1 - np.arange(x.shape[1])]


hot_puzzle = puzzle("l", "One-hot", "One row for each label, one column for each class: which shapes must meet?",
                    "A row holds a 1 where the number of the column equals the label.",
                    "The labels stand up as a column, and are compared with the numbers of the classes.")


@hot_puzzle.reference
def one_hot(y, classes):
    return (y[:, None] == np.arange(classes)) * 1


@hot_puzzle.cases
def _(rng):
    yield case(np.array([2, 0, 1, 2]), 4)
    yield case(np.array([0, 2, 1]), 3)
    yield case(rng.integers(0, 5, size=7), 5)


@hot_puzzle.mistake("Rows and columns are swapped: one row belongs to each label.")
def _(y, classes):
    return (y == np.arange(classes)[:, None]) * 1


@hot_puzzle.mistake("The labels were counted from 1. Class 0 is the first column.")
def _(y, classes):
    return (y[:, None] == np.arange(classes) + 1) * 1


@hot_puzzle.mistake("All columns up to the label are 1. One of them should be.")
def _(y, classes):
    return (y[:, None] >= np.arange(classes)) * 1


@hot_puzzle.variant
def _(y, classes):
    return identity(classes)[y]
