"""Chapter 10, a CNN on MNIST: a script to mend, batch norm and dropout in both modes, and a network within a budget.

In 10.1 each answer is put to work in the article's own script, of which everything else has been mended, so that every
fault is seen by itself. In 10.4 the check trains what it gets, for a second or two, on real digits.
"""
import contextlib
import functools
import importlib
import io

import numpy as np

from ... import nn, optim, random
from ...autograd import no_grad
from ...data import DataLoader, MNIST10k, TensorDataset
from ...tensor import from_numpy
from ..cases import case, normal, whole
from ..compare import difference, plain
from ..exercise import Exercise

TITLE = "A CNN on MNIST"
F = nn.functional

# What stands in the notebook, and what runs in 10.1a: it has every fault that the four parts are about.
ARTICLE = """\
torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(64 * 6 * 6, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 64 * 6 * 6)
        x = F.relu(self.fc1(x))
        return self.fc2(x)

dataset = TensorDataset(images, labels)
loader = DataLoader(dataset, batch_size=32, shuffle=True)
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.001)

for epoch in range(3):
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}, loss {loss.item():.3f}")
"""
MENDED = [("Conv2d(3, 32", "Conv2d(1, 32"), ("64 * 6 * 6", "64 * 7 * 7"),
          ("optimizer = ", "model = Net()\noptimizer = "), ("range(3)", "range(1)")]   # the last one only saves time


def mended_article():
    """The article's script with all its faults mended but the imports."""
    return functools.reduce(lambda text, pair: text.replace(*pair), MENDED, ARTICLE)


@contextlib.contextmanager
def seeded(seed):
    """minidl's generator begins at a seed, and afterwards is where it was."""
    before = random.get_rng_state()
    random.manual_seed(seed)
    try:
        yield
    finally:
        random.set_rng_state(before)


def tried(function, *args):
    """What a call returns, or its error as one line of text, so that the other results are seen beside it."""
    try:
        return function(*args)
    except NotImplementedError:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'nothing more'}"


def _seed(rng):
    return int(rng.integers(10_000))


# --- 10.1a: what it never imported --------------------------------------------------------------------------------

imported = Exercise(
    "10.1a", "What it never imported", points=2, stars=1, minutes=10, honest=(), hints=(
        "Run through the script with a finger. Which names does it use that it has not made, and that are not "
        "Python's own?",
        "There are six: a package, two of its parts, a part of a part, and two names for data. The lesson's first "
        "code cell brings nearly all of them.",
        "`import ... as torch` gives the package its name. `from package import name` brings a part; data sets and "
        "loaders live in `minidl.data`, and F is a part of nn."))
NAMES = ("torch", "nn", "F", "optim", "DataLoader", "TensorDataset")


def imports():
    return {"torch": _package(), "nn": nn, "F": F, "optim": optim, "DataLoader": DataLoader,
            "TensorDataset": TensorDataset}


def _package():
    return importlib.import_module(__name__.split(".")[0])


imported.reference(imports)


@imported.observe
def _(answer, pictures, seed):
    space = answer()
    if not isinstance(space, dict):
        raise TypeError("imports shall return what locals() gives, a dict of names")
    rng, package = np.random.default_rng(seed), space.get("torch", _package())
    images, labels = rng.random((pictures, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, pictures)
    ready = {**space, "__name__": "article", "images": package.from_numpy(images),
             "labels": package.from_numpy(labels.astype(np.int64))}
    with seeded(seed), contextlib.redirect_stdout(io.StringIO()):
        ended = tried(exec, mended_article(), ready)
    return {**{name: "there" if name in space else "missing" for name in NAMES},
            "the script": "runs to its end" if ended is None else ended}


@imported.cases
def _(rng):
    yield case(8, 0)
    yield case(int(rng.integers(4, 12)), _seed(rng))


def _only(*names, **other):
    return {**{name: value for name, value in imports().items() if name in names}, **other}


@imported.mistake("`F` is missing: the functions without weights, such as relu, which stand in a file of their own.")
def _():
    return _only("torch", "nn", "optim", "DataLoader", "TensorDataset")


@imported.mistake("Only the package is there. The script calls its parts by short names, and nobody has made these.")
def _():
    return _only("torch")


@imported.mistake("The optimisers are missing. They are no part of nn.")
def _():
    return _only("torch", "nn", "F", "DataLoader", "TensorDataset")


@imported.mistake("What brings the data in batches is missing: neither the data set nor the loader is there.")
def _():
    return _only("torch", "nn", "F", "optim")


@imported.mistake("`F` is nn here. Layers, which own weights, are in nn; functions are one level deeper.")
def _():
    return _only("torch", "nn", "optim", "DataLoader", "TensorDataset", F=nn)


@imported.mistake("All parts are there, but not the package under the name that the script calls it by.")
def _():
    return _only("nn", "F", "optim", "DataLoader", "TensorDataset", minidl=_package(), md=_package())


@imported.variant
def _():
    torch = _package()                               # more names than are needed, and another order
    return {"np": np, "F": torch.nn.functional, "optim": torch.optim, "nn": torch.nn, "data": torch.data,
            "TensorDataset": torch.data.TensorDataset, "DataLoader": torch.data.DataLoader, "torch": torch}


# --- 10.1b: grey pictures -----------------------------------------------------------------------------------------

grey = Exercise(
    "10.1b", "Grey pictures", points=2, stars=1, minutes=10, honest=(), hints=(
        "What does the first number of a convolution count? Whose property is it, the layer's or the pictures'?",
        "The pictures know how many channels they have: it is one of the four numbers of their shape.",
        "N C H W: the second number. Everything else in the article's line may stay as it is."))


@grey.reference
def first_layer(images):
    return nn.Conv2d(images.shape[1], 32, 3, padding=1)


@grey.observe
def _(answer, images):
    images = from_numpy(images.astype(np.float32))
    layer = answer(images)
    weight = getattr(layer, "weight", None)
    out = tried(layer, images)
    return {"the filters, O C KH KW": getattr(weight, "shape", "a layer without a weight"),
            "what comes out": out if isinstance(out, str) else out.shape}


@grey.cases
def _(rng):
    yield case(whole(rng, (2, 1, 5, 5)))
    yield case(whole(rng, (2, 3, 5, 6)))
    yield case(whole(rng, (4, 3, 6, 7)))
    yield case(whole(rng, tuple(int(n) for n in rng.integers((1, 4, 6, 7), (4, 7, 9, 10)))))


@grey.mistake("It still asks for the three channels of a photograph.")
def _(images):
    return nn.Conv2d(3, 32, 3, padding=1)


@grey.mistake("This fits grey pictures and no others: the one channel is written down. Ask the pictures.")
def _(images):
    return nn.Conv2d(1, 32, 3, padding=1)


@grey.mistake("This is the number of pictures. A filter does not know how many there are; it looks at one at a time.")
def _(images):
    return nn.Conv2d(images.shape[0], 32, 3, padding=1)


@grey.mistake("This is the last axis. Channels are last in Keras; here they come second.")
def _(images):
    return nn.Conv2d(images.shape[-1], 32, 3, padding=1)


@grey.mistake("The border got lost, so the maps are smaller than the pictures.")
def _(images):
    return nn.Conv2d(images.shape[1], 32, 3)


@grey.mistake("In and out have changed places: there should be 32 filters.")
def _(images):
    return nn.Conv2d(32, images.shape[1], 3, padding=1)


@grey.variant
def _(images):
    N, C, H, W = images.shape
    return nn.Conv2d(C, 32, kernel_size=(3, 3), padding="same")


# --- 10.1c: how long is the row? ----------------------------------------------------------------------------------

row_of = Exercise(
    "10.1c", "How long is the row?", points=3, stars=2, minutes=15, honest=(), hints=(
        "Trace the size on paper, as the lesson does. Which of the four layers change it, and what do they do with an "
        "odd one?",
        "The article writes the length twice, in two places that must agree. In the second place you need no length at "
        "all, if you say instead which axis stays.",
        "Each pooling halves, rounding down, and it does so to both axes, each for itself. There are 64 maps of what "
        "is left."))


class Head(nn.Module):
    """`row` numbers to ten logits; the mistakes differ in the length of the row, and in how the row is made."""

    def __init__(self, row, flat):
        super().__init__()
        self.flat, self.fc1, self.fc2 = flat, nn.Linear(row, 128), nn.Linear(128, 10)

    def forward(self, maps):
        return self.fc2(F.relu(self.fc1(self.flat(maps))))


def _rows(maps):
    return maps.flatten(1)


@row_of.reference
def head(H, W):
    return Head(64 * (H // 4) * (W // 4), _rows)


@row_of.observe
def _(answer, H, W, maps, seed):
    made = answer(H, W)
    rng = np.random.default_rng(seed)
    for p in made.parameters():
        p.array[...] = rng.normal(size=p.shape) * 0.1
    out = tried(made, from_numpy(maps.astype(np.float32)))
    return {"the weight of fc1, O I": made.fc1.weight.shape, "logits": plain(out)}


@row_of.cases
def _(rng):
    for N, H, W in [(2, 28, 28), (36, 28, 28), (2, 24, 24), (2, 20, 12), (1, 15, 10),
                    tuple(int(n) for n in rng.integers((2, 8, 12), (5, 16, 20)))]:
        yield case(H, W, normal(rng, (N, 64, H // 4, W // 4)), _seed(rng))


@row_of.mistake("The article's 64 * 6 * 6 is still there. It is right for pictures of 24 to 27 pixels only.")
def _(H, W):
    return Head(64 * 6 * 6, lambda maps: maps.reshape(-1, 64 * 6 * 6))


@row_of.mistake("fc1 has the right length, but the row is still cut at the article's 64 * 6 * 6.")
def _(H, W):
    return Head(64 * (H // 4) * (W // 4), lambda maps: maps.reshape(-1, 64 * 6 * 6))


@row_of.mistake("The row is 3136 numbers for every size. That is right for 28 by 28.")
def _(H, W):
    return Head(3136, _rows)


@row_of.mistake("One pooling was counted. There are two.")
def _(H, W):
    return Head(64 * (H // 2) * (W // 2), _rows)


@row_of.mistake("The picture was taken for a square: its width was never asked for.")
def _(H, W):
    return Head(64 * (H // 4) ** 2, _rows)


@row_of.mistake("The size was rounded once, after multiplying. Each axis is halved twice, and rounded down each time.")
def _(H, W):
    return Head(64 * (H * W // 16), _rows)


@row_of.mistake("The maps were not counted: there are 64 of them in a row.")
def _(H, W):
    return Head((H // 4) * (W // 4), _rows)


@row_of.mistake("The whole batch has become one row. Each picture should have its own.")
def _(H, W):
    return Head(64 * (H // 4) * (W // 4), lambda maps: maps.flatten())


@row_of.mistake("The shape is right, and each row holds numbers of several pictures: the batch was cut up and laid on "
                "its side.")
def _(H, W):
    row = 64 * (H // 4) * (W // 4)
    return Head(row, lambda maps: maps.reshape(row, -1).T)


@row_of.variant
def _(H, W):
    for _ in range(2):
        H, W = (H - 2) // 2 + 1, (W - 2) // 2 + 1
    return Head(64 * H * W, lambda maps: maps.reshape(-1, 64 * H * W))


@row_of.variant
def _(H, W):
    return Head(int(H / 2) // 2 * (W // 2 // 2) * 64, nn.Flatten())


# --- 10.1d: a plan is not a network -------------------------------------------------------------------------------

start = Exercise(
    "10.1d", "A plan is not a network", points=3, stars=2, minutes=15, honest=(), hints=(
        "`Net` is a plan. At what moment are weights drawn, and how often should that happen in one training?",
        "The optimiser has to hold the same weights that you ask for answers. So what must stand before the line that "
        "makes the optimiser?",
        "Call the class once and keep what comes. Then the optimiser, then the loop with its four steps; the losses "
        "are numbers, so ask each for its `.item()`."))


@start.reference
def learn(Net, loader, lr):
    return _learned(Net, loader, lr)


def _learned(Net, loader, lr, each=False, other=False, forget=False, step=True, kind=optim.Adam, late=False):
    """The training, with the switches that the mistakes need."""
    net, losses = Net(), []
    optimizer = kind((Net() if other else net).parameters(), lr=lr)
    for x, y in loader:
        if each:
            net = Net()
            optimizer = kind(net.parameters(), lr=lr)
        if not forget:
            optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        if step:
            optimizer.step()
        losses.append(F.cross_entropy(net(x), y).item() if late else loss.item())
    return net, losses


@start.observe
def _(answer, batches, lr, seed):
    rng, made = np.random.default_rng(seed), []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 3)
            made.append(self)

        def forward(self, x):
            return self.fc2(F.relu(self.fc1(x)))

    loader = [(from_numpy(rng.normal(size=(8, 6)).astype(np.float32)), from_numpy(rng.integers(0, 3, 8)))
              for _ in range(batches)]
    with seeded(seed):
        net, losses = answer(Net, loader, lr)
    biases = [plain(net.fc1.bias), plain(net.fc2.bias)] if isinstance(net, Net) else f"a {type(net).__name__}"
    return {"networks made": len(made), "losses": [float(np.asarray(plain(loss))) for loss in losses],
            "biases at the end": biases}


@start.cases
def _(rng):
    yield case(3, 0.1, 0)
    for _ in range(3):
        yield case(int(rng.integers(4, 7)), float(rng.choice([0.03, 0.05, 0.2])), _seed(rng))


@start.mistake("`Net` itself was asked, the plan. Nobody has made a network of it.")
def _(Net, loader, lr):
    return _learned(lambda: Net, loader, lr)


@start.mistake("Every batch meets a network of its own, with new weights. What the last one has learned is gone.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, each=True)


@start.mistake("The optimiser holds the weights of another network. It turns those, and yours stand still.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, other=True)


@start.mistake("The gradients of all batches so far were added up: nothing clears them.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, forget=True)


@start.mistake("The gradients are there, but no step is ever taken.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, step=False)


@start.mistake("The learning rate is the article's 0.001, and not the one that was asked for.")
def _(Net, loader, lr):
    return _learned(Net, loader, 0.001)


@start.mistake("This is another optimiser: plain steps down the slope, where the article has Adam.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, kind=optim.SGD)


@start.mistake("The network was trained, and a new one was given back.")
def _(Net, loader, lr):
    return Net(), _learned(Net, loader, lr)[1]


@start.mistake("Each loss was measured after the step that it caused. The article has it from before.")
def _(Net, loader, lr):
    return _learned(Net, loader, lr, late=True)


@start.variant
def _(Net, loader, lr):
    model, criterion, losses = Net(), nn.CrossEntropyLoss(), []
    optimizer = optim.Adam(list(model.parameters()), lr=lr)
    for x, y in loader:
        loss = criterion(model(x), y)
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
        model.zero_grad()
    return model, losses


# --- 10.2: batch norm ---------------------------------------------------------------------------------------------

norm = Exercise(
    "10.2", "Batch norm, both modes", points=5, stars=2, minutes=25, hints=(
        "A channel is one kind of number, seen in all images at all places. Over which axes do you walk to meet all "
        "of them?",
        "There are two variances in this exercise. One divides by how many numbers there were; the other, kept for "
        "later, by one less. Which one is used when?",
        "While it learns: mean and plain variance of the batch do the work, and the kept ones move a tenth of the way. "
        "Afterwards: the kept ones do the work and stay as they are. Numbers for each channel need the shape 1 C 1 1."))


def normed(x, w, b, mean, var, training, momentum, eps, axes=(0, 2, 3), ddof_used=0, ddof_kept=1, used=None, kept=True,
           root=True, inside=True):
    """Batch norm, with the switches that the mistakes need."""
    m, v = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True, ddof=ddof_used)
    new = (mean, var)
    if training and kept:
        unbiased = x.var(axis=axes, ddof=ddof_kept)
        old = 1 - momentum
        new = (old * mean + momentum * m.reshape(unbiased.shape), old * var + momentum * unbiased)
    if used is not None or not training:
        m, v = (s.reshape(1, -1, 1, 1) for s in (used or (mean, var)))
    size = (np.sqrt(v + eps) if inside else np.sqrt(v) + eps) if root else v + eps
    return (x - m) / size * w.reshape(1, -1, 1, 1) + b.reshape(1, -1, 1, 1), *new


@norm.reference
def batch_norm(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps)


@norm.observe
def _(answer, x, w, b, mean, var, training, momentum, eps):
    return dict(zip(("y", "mean", "var"), answer(x, w, b, mean, var, training, momentum, eps)))


@norm.cases
def _(rng):
    ones, zeros, alike = np.ones(1), np.zeros(1), (np.array([2.0]), np.array([4.0]))
    yield case(np.array([[[[1.0, 3.0]]], [[[5.0, 7.0]]]]), ones, zeros, zeros, ones, True, 0.1, 1e-5)
    yield case(np.array([[[[1.0, 3.0]]], [[[5.0, 7.0]]]]), ones, zeros, *alike, False, 0.1, 1e-5)
    for training, eps in ((True, 1e-5), (False, 1e-5), (True, 0.5), (True, 1e-3), (False, 0.1)):
        N, C, H, W = (int(n) for n in rng.integers((2, 2, 2, 2), (4, 4, 4, 5)))
        yield case(whole(rng, (N, C, H, W)), normal(rng, C), normal(rng, C), normal(rng, C), 1 + rng.random(C) * 3,
                   training, float(rng.choice([0.1, 0.3, 0.75])), eps)
    yield case(np.full((2, 1, 2, 2), 3.0), ones, ones, zeros, ones, True, 0.1, 1e-2)


@norm.mistake("Mean and variance are those of each pixel, over the batch only. A channel is one kind of number, "
              "wherever it stands, so places count as well.")
def _(x, w, b, mean, var, training, momentum, eps):
    good = batch_norm(x, w, b, mean, var, training, momentum, eps)
    own = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) * w.reshape(1, -1, 1, 1) + b.reshape(1, -1, 1, 1)
    return (own if training else good[0]), *good[1:]


@norm.mistake("Each image was normalised by itself. What makes it *batch* norm is that all images of the batch go into "
              "one mean.")
def _(x, w, b, mean, var, training, momentum, eps):
    good = batch_norm(x, w, b, mean, var, training, momentum, eps)
    m, v = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    own = (x - m) / np.sqrt(v + eps) * w.reshape(1, -1, 1, 1) + b.reshape(1, -1, 1, 1)
    return (own if training else good[0]), *good[1:]


@norm.mistake("The variance that is kept divides by the count. PyTorch keeps the one that divides by the count less "
              "one.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps, ddof_kept=0)


@norm.mistake("The batch was divided by the variance that is meant for keeping, with the count less one.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps, ddof_used=1)


@norm.mistake("Momentum is the wrong way round: it is the share of the new value here, and not of the old one.")
def _(x, w, b, mean, var, training, momentum, eps):
    return (batch_norm(x, w, b, mean, var, training, momentum, eps)[0],
            *normed(x, w, b, mean, var, training, 1 - momentum, eps)[1:])


@norm.mistake("What is kept is that of the last batch alone; the earlier ones are forgotten.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, 1.0, eps)


@norm.mistake("Nothing was kept: mean and variance go out as they came in, and later there will be nothing to use.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps, kept=False)


@norm.mistake("Outside training the batch still normalises itself. An answer then depends on who else is in the "
              "batch.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, True, momentum, eps, kept=training)


@norm.mistake("Outside training the kept numbers go on moving: what it is asked changes what it knows.")
def _(x, w, b, mean, var, training, momentum, eps):
    return (batch_norm(x, w, b, mean, var, training, momentum, eps)[0],
            *batch_norm(x, w, b, mean, var, True, momentum, eps)[1:])


@norm.mistake("While it learns, the kept numbers were used for the batch. They are for later.")
def _(x, w, b, mean, var, training, momentum, eps):
    new = batch_norm(x, w, b, mean, var, training, momentum, eps)[1:]
    return normed(x, w, b, mean, var, training, momentum, eps, used=new)[0], *new


@norm.mistake("Divided by the variance. Its root brings the spread to 1.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps, root=False)


@norm.mistake("eps was added to the root. It belongs under it.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, w, b, mean, var, training, momentum, eps, inside=False)


@norm.mistake("w and b had no effect. With them a channel can choose its own spread and its own middle.")
def _(x, w, b, mean, var, training, momentum, eps):
    return normed(x, np.ones(w.shape), np.zeros(b.shape), mean, var, training, momentum, eps)


@norm.variant
def _(x, w, b, mean, var, training, momentum, eps):
    # minidl's own, which writes into the statistics that it is given
    state = [from_numpy(np.array(s)) for s in (mean, var)]
    y = F.batch_norm(from_numpy(x), *state, from_numpy(w), from_numpy(b), training, momentum, eps)
    return y, *state


@norm.variant
def _(x, w, b, mean, var, training, momentum, eps):
    y, mean, var = np.empty(x.shape), mean.copy(), var.copy()
    for c in range(x.shape[1]):
        numbers = x[:, c].ravel()
        m, v = (numbers.mean(), numbers.var()) if training else (mean[c], var[c])
        y[:, c] = w[c] * (x[:, c] - m) / (v + eps) ** 0.5 + b[c]
        if training:
            mean[c] += momentum * (m - mean[c])
            var[c] += momentum * (v * numbers.size / (numbers.size - 1) - var[c])
    return [y, mean, var]


# --- 10.3: dropout ------------------------------------------------------------------------------------------------

drop = Exercise(
    "10.3", "Dropout, there and back", points=4, stars=2, minutes=20, atol=0.03, honest=(), hints=(
        "What is the mean of a number that is kept with probability 1 - p? By what must it be multiplied so that the "
        "mean is what it was?",
        "Backward meets the same draw as forward did. Where can forward leave it?",
        "Forward makes one array of factors: 0 with probability p, else 1 / (1 - p); outside training the factors are "
        "all 1. It multiplies by them and keeps them; backward multiplies by what was kept."))


class Dropout:
    """Dropout, with the switches that the mistakes need."""

    def __init__(self, p, seed, keep=None, scale=None, always=False, old=False, fixed=False, shape=None,
                 seedless=False):
        self.p, self.rng = p, np.random.default_rng(None if seedless else seed)
        self.keep = 1 - p if keep is None else keep
        self.scale = 1 / (1 - p) if scale is None else scale
        self.always, self.old, self.fixed, self.shape = always, old, fixed, shape or (lambda size: size)
        self.factors = None

    def forward(self, x, training):
        if training or self.always:
            if not (self.fixed and self.factors is not None):
                self.factors = (self.rng.random(self.shape(x.shape)) < self.keep) * self.scale
            return x * self.factors
        self.factors = np.full(x.shape, 1 - self.p if self.old else 1.0)
        return x * self.factors

    def backward(self, g):
        return g * self.factors


drop.reference(Dropout)


@drop.observe
def _(answer, p, rows, seed):
    x, g = np.full((rows, 200), 2.0), np.full((rows, 200), 5.0)
    layer, twin, other = answer(p, seed), answer(p, seed), answer(p, seed + 1)
    first = _array(layer.forward(x.copy(), True))
    second = _array(layer.forward(given := x.copy(), True))
    back, dropped = _array(layer.backward(g.copy())), second == 0
    same = np.array_equal(first, _array(twin.forward(x.copy(), True)))
    still, calm = _array(layer.forward(x.copy(), False)), _array(layer.backward(g.copy()))
    return {"share of zeros": float(dropped.mean()), "what became of the 2s that are left": _range(second[~dropped]),
            "columns with one fate": float((dropped == dropped[0]).all(axis=0).mean()),
            "rows with one fate": float((dropped.T == dropped[:, 0]).all(axis=0).mean()),
            "share that fares alike in two calls": float(((first == 0) == dropped).mean()),
            "back, where it was dropped": _range(back[dropped]), "back, elsewhere": _range(back[~dropped]),
            "not training, from 2": _range(still), "not training, back from 5": _range(calm),
            "x is as it was": np.array_equal(given, x), "one seed, one draw": same,
            "two seeds, two draws": not p or not np.array_equal(first, _array(other.forward(x.copy(), True)))}


def _array(x):
    return np.asarray(plain(x), dtype=float)


def _range(numbers):
    return [float(numbers.min()), float(numbers.max())] if numbers.size else [0.0, 0.0]


@drop.cases
def _(rng):
    yield case(0.5, 200, 1)
    yield case(0.25, 200, 2)
    yield case(0.0, 2, 3)
    for _ in range(2):
        yield case(float(rng.choice([0.1, 0.2, 0.4, 0.6])), 200, _seed(rng))


@drop.mistake("What is left was not made larger, so the sums behind it shrink while it learns, and grow when it is "
              "used.")
def _(p, seed):
    return Dropout(p, seed, scale=1)


@drop.mistake("p is the probability to be dropped. Here it is the one to be kept.")
def _(p, seed):
    return Dropout(p, seed, keep=p)


@drop.mistake("What is left was divided by p. To make up for what is missing, divide by the share that is kept.")
def _(p, seed):
    return Dropout(p, seed, scale=1 / p if p else 1)


@drop.mistake("It drops outside training as well. There, all features take part.")
def _(p, seed):
    return Dropout(p, seed, always=True)


@drop.mistake("This is dropout as it was first written: smaller when used, in place of larger while it learns. "
              "*Inverted* means that nothing is left to be done when it is used.")
def _(p, seed):
    return Dropout(p, seed, scale=1, old=True)


@drop.mistake("The features that are dropped are always the same. Each call should draw anew.")
def _(p, seed):
    return Dropout(p, seed, fixed=True)


@drop.mistake("All rows share one draw: a feature is dropped in every row, or in none.")
def _(p, seed):
    return Dropout(p, seed, shape=lambda size: (1, *size[1:]))


@drop.mistake("A row is dropped as a whole. Each number has its own draw.")
def _(p, seed):
    return Dropout(p, seed, shape=lambda size: (size[0], 1))


@drop.mistake("Backward has drawn anew. What was dropped on the way forward has had no effect, so it gets no gradient; "
              "what was not, does.")
def _(p, seed):
    class Forgetful(Dropout):
        def backward(self, g):
            again = (self.rng.random(g.shape) < self.keep) * self.scale
            return g * (1 if (self.factors == 1).all() else again)
    return Forgetful(p, seed)


@drop.mistake("The gradient goes to the right places, but without the factor that forward multiplied by.")
def _(p, seed):
    class Unscaled(Dropout):
        def backward(self, g):
            return g * (self.factors != 0)
    return Unscaled(p, seed)


@drop.mistake("The gradient passes through unchanged. Where forward put a zero, nothing can come back.")
def _(p, seed):
    class Open(Dropout):
        def backward(self, g):
            return g
    return Open(p, seed)


@drop.mistake("Outside training, backward still uses the draw of the last training step.")
def _(p, seed):
    class Late(Dropout):
        def forward(self, x, training):
            return super().forward(x, True) if training else x
    return Late(p, seed)


@drop.mistake("x itself was changed. Whoever handed it over still needs it.")
def _(p, seed):
    class InPlace(Dropout):
        def forward(self, x, training):
            x[...] = super().forward(x, training)
            return x
    return InPlace(p, seed)


@drop.mistake("Two layers made with one seed draw differently: the seed plays no part.")
def _(p, seed):
    return Dropout(p, seed, seedless=True)


@drop.variant
def _(p, seed):
    class WithChoice:
        def __init__(self):
            self.rng, self.mask = np.random.default_rng(seed), None

        def forward(self, x, training):
            self.mask = self.rng.choice([False, True], size=x.shape, p=[p, 1 - p]) if training else None
            return x if self.mask is None else np.where(self.mask, x / (1 - p), 0)

        def backward(self, g):
            return g if self.mask is None else np.where(self.mask, g / (1 - p), 0)
    return WithChoice()


@drop.variant
def _(p, seed):
    class WithBinomial(Dropout):
        def forward(self, x, training):
            self.factors = self.rng.binomial(1, 1 - p, x.shape) / (1 - p) if training else 1
            return x * self.factors
    return WithBinomial(p, seed)


# --- 10.4: within a budget ----------------------------------------------------------------------------------------

BUDGET, TARGET = 10_000, 0.92
LEARN, UNSEEN, EPOCHS, BATCH, RATE = 3_000, 5_000, 2, 20, 0.01

small = Exercise(
    "10.4", "Within a budget", points=5, stars=3, minutes=30, atol=0.05, seconds=60, honest=(), hints=(
        "Count where the lesson's parameters are. Which layer would you shrink first, and by which of its two sides?",
        "Pooling costs no parameters, and each halving quarters the row that the last layer must read. Filters are "
        "cheap: 8 of 5 x 5 are 208 numbers.",
        "One convolution of a few filters, relu, a pooling of 4 x 4, and a single fully connected layer from the row "
        "to the ten logits are already enough."))


def conv_once(filters=8, pool=4):
    side = 28 // pool
    return nn.Sequential(nn.Conv2d(1, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(pool), nn.Flatten(),
                         nn.Linear(filters * side * side, 10))


small.reference(conv_once)


@functools.cache
def digits():
    """The 8,000 digits as the lesson prepares them: (N, 1, 28, 28) in float32, and their labels."""
    known = MNIST10k()
    return ((known.data[:, None] / 255 - 0.131) / 0.308).astype(np.float32), known.targets.astype(np.int64)


def some_digits(seed):
    """Pictures and labels to learn from and, none of them among these, to count on."""
    x, y = digits()
    order = np.random.default_rng(seed).permutation(len(x))[:LEARN + UNSEEN]
    return (x[order[:LEARN]], y[order[:LEARN]]), (x[order[LEARN:]], y[order[LEARN:]])


def trained(model, x, y, seed):
    """Train for two epochs as the lesson does."""
    rng, model = np.random.default_rng(seed), model.train()
    optimizer = optim.Adam(model.parameters(), lr=RATE)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=EPOCHS * len(x) // BATCH)
    for order in [rng.permutation(len(x)) for _ in range(EPOCHS)]:
        for k in range(0, len(x), BATCH):
            batch = order[k:k + BATCH]
            optimizer.zero_grad()
            F.cross_entropy(model(from_numpy(x[batch])), from_numpy(y[batch])).backward()
            optimizer.step()
            scheduler.step()
    return model.eval()


def accuracy(model, x, y):
    with no_grad():
        logits = np.concatenate([plain(model(from_numpy(part))) for part in np.split(x, 4)])
    return float((logits.argmax(1) == y).mean())


def looked_at(model):
    """What can be said of a network before it learns, in words that all networks with one fault share."""
    if not isinstance(model, nn.Module):
        return {"a network": "a class, not called yet" if isinstance(model, type) else f"a {type(model).__name__}"}
    count, x = sum(p.numel() for p in model.parameters()), from_numpy(digits()[0][:4])
    with no_grad():
        out, twice, nothing = (plain(model.eval()(pictures)) for pictures in (x, 2 * x, 0 * x))
    straight = out.shape == twice.shape == nothing.shape and np.allclose(twice - out, out - nothing, atol=1e-4)
    within = f"{'at most' if count <= BUDGET else 'more than'} {BUDGET:,}"
    return {"a network": "yes",
            "parameters": within if count else "none that are found",
            "from 4 pictures": list(out.shape),
            "each row sums to one": bool(out.ndim == 2 and np.allclose(out.sum(axis=1), 1, atol=1e-4)),
            "bends": not straight, "slides": any(p.ndim == 4 for p in model.parameters()),
            "uses an eighth of the budget": bool(8 * count >= BUDGET)}


FIT = {"a network": "yes", "parameters": f"at most {BUDGET:,}", "from 4 pictures": [4, 10],
       "each row sums to one": False}


@small.observe
def _(answer, what, seed):
    ours = getattr(answer, "__module__", "") == __name__       # what this file's own networks reach never changes
    return (remembered if ours else judged)(answer, what, seed)


def judged(answer, what, seed):
    """What is compared: how the network looks or, if it looks right, what it has learned."""
    with seeded(seed):
        model = answer()
        seen = looked_at(model)
        if any(seen.get(name) != wanted for name, wanted in FIT.items()):
            return {name: seen[name] for name in FIT if name in seen}
        if what == "looked at":
            return FIT
        learn, unseen = some_digits(seed)
        style = {name: seen[name] for name in ("bends", "slides", "uses an eighth of the budget")}
        return {**style, "read right": accuracy(trained(model, *learn, seed), *unseen)}


remembered = functools.cache(judged)


@small.accept
def _(got, expected, what, seed):
    if what == "looked at" or not isinstance(got, dict) or "read right" not in got:
        return difference(got, expected)
    share = got["read right"]
    return None if share >= TARGET else f"it reads {share:.1%} of the unseen digits; {TARGET:.0%} were asked for"


@small.cases
def _(rng):
    yield case("looked at", 1)
    yield case("trained", _seed(rng))


@small.mistake("The budget is spent several times over. Count each layer, the largest first.")
def _():
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))


@small.mistake("It stays too weak because it is straight: without a bend between them, layers in a row are one matrix.")
def _():
    return nn.Sequential(nn.Conv2d(1, 8, 5, stride=4, padding=2), nn.Flatten(), nn.Linear(392, 10))


@small.mistake("A single matrix is too weak, whichever way its pixels were prepared: it cannot bend, and has no window "
               "that slides.")
def _():
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 10))


@small.mistake("It bends, but no window slides: a weight for each place must learn every stroke anew at every place.")
def _():
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 40), nn.ReLU(), nn.Linear(40, 10))


@small.mistake("Of the budget hardly anything is used, and it shows. There is room for more filters.")
def _():
    return conv_once(filters=1)


@small.mistake("The outputs are probabilities already. The loss makes these itself, from logits; done twice, it hardly "
               "learns.")
def _():
    return nn.Sequential(*conv_once(), nn.Softmax(dim=1))


@small.mistake("The optimiser finds no parameters: layers in an ordinary list are not registered.")
def _():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = list(conv_once())

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x
    return Hidden()


@small.mistake("This is the plan. Call it, so that a network comes back.")
def _():
    return nn.Sequential


@small.mistake("It was built for another size: somewhere the row of numbers is not as long as the next layer expects, "
               "or the picture has not as many channels.")
def _():
    return nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(392, 10))


@small.variant
def _():
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 12, 3, padding=1),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(588, 10))


@small.variant
def _():
    return nn.Sequential(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1),
                         nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 10))


@small.variant
def _():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.norm = nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
            self.deep, self.wide = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1)
            self.out = nn.Linear(16 * 7 * 7, 10)

        def forward(self, x):
            x = F.relu(self.norm(self.conv1(x)))
            return self.out(F.max_pool2d(F.relu(self.wide(self.deep(x))), 2).flatten(1))
    return Normed()
