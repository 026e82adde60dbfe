"""Chapter 09, convolution and pooling: sizes, what a number has seen, two ways back, and windows as rows of a matrix.

All answers are NumPy's. In 09.4 an array counts how often it is read, so speed is judged without a clock.
"""
import numpy as np

from ..cases import case, counted, whole
from ..exercise import Exercise

TITLE = "Convolution and pooling"

# --- 09.1a: how many places? --------------------------------------------------------------------------------------

fits = Exercise(
    "09.1a", "How many places?", points=3, stars=2, minutes=15, hints=(
        "How far does a window with holes reach, from its first number to its last? Draw three numbers with one hole "
        "between each two.",
        "What is left over after the last full step may be enough for a piece of a window. Ceil mode takes it, on one "
        "condition: where must its first number stand?",
        "Count as without ceil mode. Then ask two things of the next window: does anything remain for it, and does it "
        "begin before the image and its near border end?"))


def fitting(n, k, stride, padding, dilation, ceil_mode, condition=True):
    """The count, with and without the condition that the last window begins on the image."""
    room = n + 2 * padding - dilation * (k - 1) - 1
    count = room // stride + 1
    more = ceil_mode and room % stride > 0 and (count * stride < n + padding or not condition)
    return count + int(more)


@fits.reference
def places(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, ceil_mode)


@fits.cases
def _(rng):
    for settings in [(5, 3, 1, 0, 1, False), (6, 3, 2, 0, 1, False), (6, 3, 2, 0, 1, True), (7, 3, 1, 0, 2, False),
                     (7, 3, 2, 0, 1, True), (5, 3, 2, 1, 1, False), (3, 2, 2, 1, 1, True), (4, 1, 5, 1, 1, True),
                     (9, 2, 3, 0, 3, True), (28, 3, 1, 1, 1, False), (8, 3, 1, 2, 2, False)]:
        yield case(*settings)
    for _ in range(10):
        k, dilation, padding = (int(v) for v in rng.integers((2, 1, 0), (5, 4, 3)))
        n = dilation * (k - 1) + 1 + int(rng.integers(0, 9))
        yield case(n, k, int(rng.integers(1, 5)), min(padding, k // 2), dilation, bool(rng.integers(0, 2)))


@fits.mistake("The holes got lost: a window with dilation reaches further than k numbers.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, 1, ceil_mode)


@fits.mistake("The window reaches too far. Between k numbers there are k - 1 gaps.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return (n + 2 * padding - dilation * k) // stride + 1 + int(ceil_mode and (n - dilation * k) % stride > 0)


@fits.mistake("The border was counted on one side only. It is there on both.")
def _(n, k, stride, padding, dilation, ceil_mode):
    room = n + padding - dilation * (k - 1) - 1
    return room // stride + 1 + int(ceil_mode and room % stride > 0)


@fits.mistake("Ceil mode has changed nothing. It adds a window where something is left over.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, False)


@fits.mistake("Ceil mode was used although it is off.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, True)


@fits.mistake("Ceil mode always adds a window here, even where the full steps leave nothing over.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, False) + int(ceil_mode)


@fits.mistake("This was rounded up without looking: the last window may begin on the far border, where there is no "
              "image at all. Such a window is left out.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, ceil_mode, condition=False)


@fits.mistake("These are the steps that the window takes. It also stands somewhere before its first step.")
def _(n, k, stride, padding, dilation, ceil_mode):
    return fitting(n, k, stride, padding, dilation, ceil_mode) - 1


@fits.variant
def _(n, k, stride, padding, dilation, ceil_mode):
    reach, starts = dilation * (k - 1) + 1, range(0, n + padding, stride)
    full = [s for s in range(0, n + 2 * padding, stride) if s + reach <= n + 2 * padding]
    if not ceil_mode:
        return len(full)
    rest = full[-1] + reach < n + 2 * padding
    return len(full) + (rest and full[-1] + stride in starts)


# --- 09.1b: what has it seen? -------------------------------------------------------------------------------------

seen = Exercise(
    "09.1b", "What has it seen?", points=3, stars=2, minutes=15, hints=(
        "Two things change from layer to layer: how many pixels a number has seen, and how many pixels lie between the "
        "middles of two neighbours. What are both for a pixel itself?",
        "A window of k numbers adds k - 1 neighbours to the first. How far apart are they, in pixels, before this "
        "layer has taken its own steps?",
        "In each layer the field grows first, by all gaps of the window at the present distance; only then the "
        "distance is multiplied."))


def field_of(layers, late=True, holes=True, strides=True, gap=1, start=1):
    """The field and the distance, with all the switches that the mistakes need."""
    field, step = start, 1
    for k, stride, dilation in layers:
        if not late:
            step *= stride
        field += (k - gap) * (dilation if holes else 1) * (step if strides else 1)
        if late:
            step *= stride
    return field, step


@seen.reference
def receptive_field(layers):
    return field_of(layers)


@seen.cases
def _(rng):
    for layers in [[(3, 1, 1)], [(3, 1, 1), (3, 1, 1)], [(3, 2, 1)], [(3, 1, 1), (2, 2, 1), (3, 1, 1)],
                   [(3, 1, 1), (3, 1, 2), (3, 1, 4)], [(7, 2, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)]]:
        yield case(layers)
    for _ in range(5):
        count = int(rng.integers(2, 5))
        yield case([tuple(int(v) for v in rng.integers((2, 1, 1), (6, 4, 4))) for _ in range(count)])


@seen.mistake("Each layer's step was taken before its window was measured. The window of a layer lies on what comes "
              "in; its steps thin out what goes out.")
def _(layers):
    return field_of(layers, late=False)


@seen.mistake("Dilation got lost: holes spread the window out.")
def _(layers):
    return field_of(layers, holes=False)


@seen.mistake("The field ignores the steps before it. Behind a stride of 2, neighbours are two pixels apart.")
def _(layers):
    return field_of(layers, strides=False)


@seen.mistake("The sizes of the windows were added whole. Windows that follow each other share a number: k - 1 are "
              "new.")
def _(layers):
    return field_of(layers, gap=0, start=0)


@seen.mistake("The fields were multiplied. Windows overlap, so most of what a neighbour has seen is not new.")
def _(layers):
    field, step = 1, 1
    for k, stride, dilation in layers:
        field, step = field * ((k - 1) * dilation + 1), step * stride
    return field, step


@seen.mistake("The start is missing: before any layer a number has seen one pixel, itself.")
def _(layers):
    return field_of(layers, start=0)


@seen.mistake("The steps were added up. Two layers that halve leave a quarter.")
def _(layers):
    return field_of(layers)[0], sum(stride for _, stride, _ in layers)


@seen.variant
def _(layers):
    field = 1
    for k, stride, dilation in reversed(layers):       # from the last layer back: how many numbers below were needed
        field = (field - 1) * stride + (k - 1) * dilation + 1
    return [field, int(np.prod([stride for _, stride, _ in layers]))]


# --- 09.2: a convolution, backwards -------------------------------------------------------------------------------

back = Exercise(
    "09.2", "A convolution, backwards", points=6, stars=3, minutes=35, hints=(
        "Go through the outputs as the lesson does, now for each image and each filter, too. What did one output read, "
        "and which of its filter's numbers met what?",
        "Work on an image with its border, and on a gradient of that size. Each output sends its g to three places. "
        "Which of the three need no window at all?",
        "At each output, the window's gradient grows by g times the filter, the filter's by g times the window. The "
        "border is cut off at the very end, and only where there is one."))


def around(x, padding):
    return np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])


def conv_parts(g, x, w, stride, padding, add=True, turn=False):
    """dx (with its border), dw and db; without `add` a pixel keeps what came last."""
    xp, k = around(x, padding), w.shape[2:]
    dxp, dw = np.zeros(xp.shape), np.zeros(w.shape)
    for n, o, i, j in np.ndindex(g.shape):
        rows, columns = slice(i * stride, i * stride + k[0]), slice(j * stride, j * stride + k[1])
        part = g[n, o, i, j] * (w[o, :, ::-1, ::-1] if turn else w[o])
        dxp[n, :, rows, columns] = part + (dxp[n, :, rows, columns] if add else 0)
        dw[o] += g[n, o, i, j] * xp[n, :, rows, columns]
    return dxp, dw, g.sum(axis=(0, 2, 3))


def cut(dxp, padding):
    return dxp[:, :, padding:dxp.shape[2] - padding, padding:dxp.shape[3] - padding]


@back.reference
def conv2d_back(g, x, w, stride, padding):
    dxp, dw, db = conv_parts(g, x, w, stride, padding)
    return cut(dxp, padding), dw, db


@back.observe
def _(answer, g, x, w, stride, padding):
    return dict(zip(("dx", "dw", "db"), answer(g, x, w, stride, padding)))


@back.cases
def _(rng):
    for x, w, stride, padding in [((1, 1, 3, 3), (1, 1, 2, 2), 1, 0), ((1, 1, 4, 5), (1, 1, 3, 3), 1, 1),
                                  ((1, 1, 5, 5), (1, 1, 3, 3), 2, 0), ((2, 1, 3, 3), (1, 1, 2, 2), 1, 0),
                                  ((1, 2, 3, 3), (3, 2, 2, 2), 1, 0), ((1, 1, 6, 6), (2, 1, 3, 3), 2, 0),
                                  ((2, 3, 5, 4), (2, 3, 2, 3), 2, 1)]:
        out = [(n + 2 * padding - k) // stride + 1 for n, k in zip(x[2:], w[2:])]
        yield case(whole(rng, (x[0], w[0], *out)), whole(rng, x), whole(rng, w), stride, padding)


@back.mistake("Where windows overlap, only what came last is left in dx. A pixel that was read often gets a "
              "contribution for each time.")
def _(g, x, w, stride, padding):
    dxp, dw, db = conv_parts(g, x, w, stride, padding, add=False)
    return cut(dxp, padding), dw, db


@back.mistake("The filter was turned round in dx. That belongs to another way of writing it, a convolution over g; "
              "here each output hands its g back through the weights as they lie.")
def _(g, x, w, stride, padding):
    dxp, dw, db = conv_parts(g, x, w, stride, padding, turn=True)
    return cut(dxp, padding), dw, db


@back.mistake("dx has its border still. The gradient of x has the shape of x.")
def _(g, x, w, stride, padding):
    return conv_parts(g, x, w, stride, padding)


@back.mistake("db is the sum over the batch only. One bias was added at every place of its map, so it gathers from all "
              "of them.")
def _(g, x, w, stride, padding):
    return *conv2d_back(g, x, w, stride, padding)[:2], g.sum(axis=0)


@back.mistake("db has one number for each image. All images used the same bias.")
def _(g, x, w, stride, padding):
    return *conv2d_back(g, x, w, stride, padding)[:2], g.sum(axis=(2, 3))


@back.mistake("db is a mean. Each use of the bias has contributed in full, so they add up.")
def _(g, x, w, stride, padding):
    return *conv2d_back(g, x, w, stride, padding)[:2], g.mean(axis=(0, 2, 3))


@back.mistake("dw is a mean over the batch. What the images say about a weight adds up.")
def _(g, x, w, stride, padding):
    dx, dw, db = conv2d_back(g, x, w, stride, padding)
    return dx, dw / len(x), db


@back.mistake("dw knows the last image only; those before it were overwritten.")
def _(g, x, w, stride, padding):
    dx, _, db = conv2d_back(g, x, w, stride, padding)
    return dx, conv2d_back(g[-1:], x[-1:], w, stride, padding)[1], db


@back.mistake("The windows stand side by side here, whatever the stride is.")
def _(g, x, w, stride, padding):
    dxp, dw, db = conv_parts(g, around(x, padding), w, 1, 0)
    return cut(dxp, padding), dw, db


@back.mistake("The border is missing: the windows were laid on x itself, so all of them stand too far to the right and "
              "too low.")
def _(g, x, w, stride, padding):
    dxp, dw, db = conv_parts(g, np.pad(x, [(0, 0), (0, 0), (0, 2 * padding), (0, 2 * padding)]), w, stride, 0)
    return dxp[:, :, :x.shape[2], :x.shape[3]], dw, db


@back.variant
def _(g, x, w, stride, padding):
    (_, _, OH, OW), (_, _, KH, KW) = g.shape, w.shape
    xp = around(x, padding)
    dxp, dw = np.zeros(xp.shape), np.zeros(w.shape)
    for i, j in np.ndindex(KH, KW):
        at = np.s_[:, :, i:i + (OH - 1) * stride + 1:stride, j:j + (OW - 1) * stride + 1:stride]
        dxp[at] += np.einsum("nohw,oc->nchw", g, w[:, :, i, j])
        dw[:, :, i, j] = np.einsum("nohw,nchw->oc", g, xp[at])
    return cut(dxp, padding), dw, np.einsum("nohw->o", g)


# --- 09.3: the largest of a window, backwards ---------------------------------------------------------------------

pool = Exercise(
    "09.3", "Who was the largest?", points=4, stars=2, minutes=20, hints=(
        "Each output has one number to hand back. In which window did it come into being, and which number of that "
        "window gets it?",
        "NumPy's argmax gives the first of several largest numbers, counted along the rows of the window. How do you "
        "get a row and a column from such a count? Division has a quotient and a remainder.",
        "A pixel may win in several windows, if they overlap. So begin with zeros, go through all outputs, and let "
        "what arrives pile up."))


def pool_windows(g, stride, k):
    for n, c, i, j in np.ndindex(g.shape):
        yield (n, c, i, j), (n, c, slice(i * stride, i * stride + k), slice(j * stride, j * stride + k))


def pooled_back(g, x, k, stride, share, add=True):
    """The way back where `share(window)` says how much each number of a window gets of its g."""
    dx = np.zeros(x.shape)
    for at, window in pool_windows(g, stride, k):
        part = g[at] * share(x[window])
        dx[window] = dx[window] + part if add else np.where(part != 0, part, dx[window])
    return dx


def first_largest(window):
    return np.arange(window.size).reshape(window.shape) == window.argmax()


def last_largest(window):
    return first_largest(window[::-1, ::-1])[::-1, ::-1]


@pool.reference
def max_pool_back(g, x, k, stride):
    return pooled_back(g, x, k, stride, first_largest)


@pool.cases
def _(rng):
    yield case(np.array([[[[10.0]]]]), np.array([[[[1.0, 4.0], [3.0, 2.0]]]]), 2, 2)
    yield case(np.array([[[[12.0, 24.0]]]]), np.array([[[[1.0, 4.0, 5.0, 0.0], [4.0, 2.0, 5.0, 5.0]]]]), 2, 2)
    yield case(np.array([[[[1.0, 10.0]]]]), np.array([[[[1.0, 9.0, 2.0], [0.0, 3.0, 4.0]]]]), 2, 1)
    for size, k, stride in [((1, 1, 4, 4), 2, 2), ((2, 2, 4, 5), 2, 2), ((1, 1, 5, 5), 3, 1), ((1, 2, 5, 5), 3, 2),
                            ((2, 1, 7, 7), 2, 3)]:
        out = [(n - k) // stride + 1 for n in size[2:]]
        yield case(whole(rng, (*size[:2], *out), low=1) * 12, whole(rng, size, low=-2, high=3), k, stride)


@pool.mistake("Each of several largest numbers gets all of g, so more goes back than has arrived.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, lambda window: window == window.max())


@pool.mistake("Equal numbers share here, as in chapter 04. In a window the first of them, in reading order, takes it "
              "all.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, lambda window: (window == window.max()) / (window == window.max()).sum())


@pool.mistake("Of several largest numbers the last one got it. The first one should, in reading order.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, last_largest)


@pool.mistake("A pixel that won in two windows keeps only what the last of them sent. It should get both.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, first_largest, add=False)


@pool.mistake("Every number of the window got a share, as for a mean. Those that lost have not changed the output.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, lambda window: np.ones(window.shape) / window.size)


@pool.mistake("The winners are found, but the g that arrived got lost.")
def _(g, x, k, stride):
    return pooled_back(np.ones(g.shape), x, k, stride, first_largest)


@pool.mistake("This multiplies by the number that won. Its slope is 1, whatever its size.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, lambda window: first_largest(window) * window)


@pool.mistake("Row and column inside the window have changed places.")
def _(g, x, k, stride):
    return pooled_back(g, x, k, stride, lambda window: first_largest(window).T)


@pool.mistake("The windows stand side by side, k apart. How far apart they are is for `stride` to say.")
def _(g, x, k, stride):
    wide = np.pad(x, [(0, 0), (0, 0), (0, 9 * k), (0, 9 * k)])
    return pooled_back(g, wide, k, k, first_largest)[:, :, :x.shape[2], :x.shape[3]]


@pool.variant
def _(g, x, k, stride):
    dx = np.zeros(x.shape)
    for (n, c, i, j), window in pool_windows(g, stride, k):
        row, column = np.unravel_index(np.argmax(x[window]), (k, k))
        np.add.at(dx, (n, c, i * stride + row, j * stride + column), g[n, c, i, j])
    return dx


@pool.works_as("max_pool2d_unpool")
def _(answer):
    def forward(xp, dy, x, y, *, kernel, stride, padding, dilation):
        if (kernel[0], stride[0], padding, dilation) != (kernel[1], stride[1], (0, 0), (1, 1)):
            raise ValueError("the exercise knows square windows without border and holes")
        return answer(dy, x, kernel[0], stride[0])
    return forward


# --- 09.4: windows as rows ----------------------------------------------------------------------------------------

rows = Exercise(
    "09.4", "Windows as rows, and fast", points=5, stars=3, minutes=30, hints=(
        "There are many places for a window, and few places inside one. Over which of the two can you afford a loop?",
        "All windows at once: what stands at one place inside each of them? It is a slice of x with a start and a "
        "step, one number for each window.",
        "Fill an array with six axes: images, rows and columns of windows, channels, rows and columns inside. Each "
        "slice of x goes into one place of the last two; then the axes flow together, three and three."))

MOST_READS = 64


class Counted(np.ndarray):
    """An array that notes how often it is indexed. Copies and views are noted with it."""

    reads = 0

    def __getitem__(self, key):
        Counted.reads += 1
        return super().__getitem__(key)


def windows_of(x, k, stride):
    """N C OH OW KH KW, a view."""
    views = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    return views[:, :, ::stride, ::stride]


def in_order(x, k, stride, *axes):
    """The windows with their axes in another order, one row for each place."""
    a = windows_of(x, k, stride).transpose(axes)
    return a.reshape(np.prod(a.shape[:3], dtype=int), -1)


@rows.reference
def columns(x, k, stride):
    return in_order(x, k, stride, 0, 2, 3, 1, 4, 5)


@rows.observe
def _(answer, x, k, stride):
    Counted.reads = 0
    got = answer(x.view(Counted), k, stride)
    return {"rows": np.asarray(got), f"x was read at most {MOST_READS} times": Counted.reads <= MOST_READS}


@rows.cases
def _(rng):
    yield case(counted(1, 1, 3, 3), 2, 1)
    yield case(counted(1, 1, 2, 4), 2, 2)
    yield case(counted(1, 2, 3, 3), 2, 1)
    yield case(counted(2, 1, 3, 4), 2, 1)
    yield case(whole(rng, (2, 3, 5, 6)), 3, 2)
    yield case(whole(rng, (2, 2, 12, 11)), 3, 1)


@rows.mistake("The numbers are right, but x was read once for every window. With real images these are millions of "
              "turns of a Python loop. Loop over the places inside a window instead.")
def _(x, k, stride):
    n, c, h, w = x.shape
    places = [(i, j) for i in range(0, h - k + 1, stride) for j in range(0, w - k + 1, stride)]
    return np.array([x[b, :, i:i + k, j:j + k].ravel() for b in range(n) for i, j in places])


@rows.mistake("The channel comes last in each row. The filter, made flat, has it first: C KH KW.")
def _(x, k, stride):
    return in_order(x, k, stride, 0, 2, 3, 4, 5, 1)


@rows.mistake("The windows are there, but rows and columns inside each of them have changed places.")
def _(x, k, stride):
    return in_order(x, k, stride, 0, 2, 3, 1, 5, 4)


@rows.mistake("The shape is right and the numbers are mixed up: `reshape` does not move axes, it only cuts anew what "
              "lies in a row. Bring the axes into order first.")
def _(x, k, stride):
    a = windows_of(x, k, stride)
    return np.ascontiguousarray(a).reshape(a.shape[0] * a.shape[2] * a.shape[3], -1)


@rows.mistake("The images are mixed: for each place, all images follow one another. All places of the first image come "
              "first.")
def _(x, k, stride):
    return in_order(x, k, stride, 2, 3, 0, 1, 4, 5)


@rows.mistake("This is the matrix lying on its side: each window is a column.")
def _(x, k, stride):
    return columns(x, k, stride).T


@rows.mistake("The windows go down the image before they go to the right.")
def _(x, k, stride):
    return in_order(x, k, stride, 0, 3, 2, 1, 4, 5)


@rows.mistake("Every place has a window here. With a stride, most places are passed over.")
def _(x, k, stride):
    return columns(x, k, 1)


@rows.variant
def _(x, k, stride):
    n, c, h, w = x.shape
    size = (h - k) // stride + 1, (w - k) // stride + 1
    sn, sc, sh, sw = x.strides
    views = np.lib.stride_tricks.as_strided(x, (n, *size, c, k, k), (sn, sh * stride, sw * stride, sc, sh, sw))
    return np.array(views).reshape(n * size[0] * size[1], c * k * k)


@rows.variant
def _(x, k, stride):
    h, w = (x.shape[2] - k) // stride + 1, (x.shape[3] - k) // stride + 1
    parts = [x[:, :, i:i + (h - 1) * stride + 1:stride, j:j + (w - 1) * stride + 1:stride]
             for i in range(k) for j in range(k)]
    stacked = np.stack([np.asarray(p) for p in parts], axis=-1)             # N C OH OW KH*KW
    return stacked.transpose(0, 2, 3, 1, 4).reshape(x.shape[0] * h * w, -1)
