"""Chapter 08, train and validate: batches that follow from a seed, three leaks, a big batch in pieces, a run resumed.

08.1 and 08.2 are NumPy's. 08.3 and 08.4 work with minidl's modules, optimisers and loaders.
"""
import os
import tempfile

import numpy as np

from ... import nn, optim
from ...data import DataLoader
from ...nn import functional as F
from ...random import get_rng_state, manual_seed, set_rng_state
from ...serialize import load, save
from ...tensor import tensor
from ..cases import case, normal
from ..exercise import Exercise

TITLE = "Train, validate"

# --- 08.1: batches from a seed ------------------------------------------------------------------------------------

sampler = Exercise(
    "08.1", "Every item once", points=3, stars=1, minutes=15, honest=(), hints=(
        "Two questions, one after the other: in which order do the items come, and where is that order cut?",
        "The order must follow from two numbers. A generator of NumPy can be started from a list of whole numbers, "
        "so that no two pairs are mixed up.",
        "Make a generator of your own from seed and epoch together, let it shuffle the numbers from 0 to n − 1, and "
        "take slices; the last one is shorter by itself."))


@sampler.reference
def batches(n, batch_size, seed, epoch):
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return [order[k:k + batch_size] for k in range(0, n, batch_size)]


def _row(found):
    return np.concatenate([np.asarray(part).ravel() for part in found]).astype(int)


@sampler.observe
def _(answer, n, batch_size, seed, epoch):
    before = np.random.get_state()  # noqa: NPY002
    found = answer(n, batch_size, seed, epoch)
    order, times = _row(found), np.bincount(_row(found), minlength=n)
    untouched = np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002

    def same(*other):
        return bool(np.array_equal(order, _row(answer(n, batch_size, *other))))
    return {"sizes of the batches": np.array([len(part) for part in found]),
            "every item comes": bool(times.all()), "no item comes twice": bool((times < 2).all()),
            "again the same, if asked again": same(seed, epoch), "the same in the next epoch": same(seed, epoch + 1),
            "the same with another seed": same(seed + 7, epoch),
            "the same as seed + 1 had one epoch before": same(seed + 1, epoch - 1),
            "most neighbours are still neighbours": bool((abs(np.diff(order)) == 1).mean() > 0.6),
            "NumPy's common generator left alone": untouched}


@sampler.cases
def _(rng):
    yield case(24, 4, 0, 1)                    # so many that no honest shuffle keeps most neighbours by chance
    yield case(26, 4, 0, 1)
    for _ in range(3):
        yield case(int(rng.integers(20, 60)), int(rng.integers(3, 9)), int(rng.integers(0, 99)),
                   int(rng.integers(1, 9)))


def _cut(order, size):
    return [order[k:k + size] for k in range(0, len(order), size)]


@sampler.mistake("Each number is drawn by itself, so some items come twice and about a third never. An epoch is a "
                 "shuffled list of all of them.")
def _(n, batch_size, seed, epoch):
    return _cut(np.random.default_rng([seed, epoch]).integers(0, n, n), batch_size)


@sampler.mistake("The last batch is missing, if it is not full. Its items belong to the epoch as well.")
def _(n, batch_size, seed, epoch):
    return [part for part in batches(n, batch_size, seed, epoch) if len(part) == batch_size]


@sampler.mistake("The last batch was filled up with items that have had their turn.")
def _(n, batch_size, seed, epoch):
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return _cut(np.concatenate([order, order[:-n % batch_size]]), batch_size)


@sampler.mistake("Every epoch has the same order. The model would meet the same batches again and again.")
def _(n, batch_size, seed, epoch):
    return batches(n, batch_size, seed, 0)


@sampler.mistake("Asked twice, this gives two orders: nothing ties it to the seed, so nobody can repeat the run.")
def _(n, batch_size, seed, epoch):
    return _cut(np.random.default_rng().permutation(n), batch_size)


@sampler.mistake("seed + epoch mixes up runs: epoch 1 of seed 0 has the order of epoch 0 of seed 1.")
def _(n, batch_size, seed, epoch):
    return batches(n, batch_size, seed + epoch, 0)


@sampler.mistake("The seed plays no part: all runs have the same orders.")
def _(n, batch_size, seed, epoch):
    return batches(n, batch_size, 0, epoch)


@sampler.mistake("The batches are shuffled, and what is in them is not: neighbours in the file stay together for ever.")
def _(n, batch_size, seed, epoch):
    parts = _cut(np.arange(n), batch_size)
    whole, rest = [p for p in parts if len(p) == batch_size], [p for p in parts if len(p) < batch_size]
    return [whole[k] for k in np.random.default_rng([seed, epoch]).permutation(len(whole))] + rest


@sampler.mistake("Nothing is shuffled. A file is often sorted, and then so is each batch.")
def _(n, batch_size, seed, epoch):
    return _cut(np.arange(n), batch_size)


@sampler.mistake("`np.random.seed` sets the generator that all of NumPy shares: other code in the same program then "
                 "repeats its numbers too. Make one of your own.")
def _(n, batch_size, seed, epoch):
    np.random.seed(1000 * seed + epoch)  # noqa: NPY002
    return _cut(np.random.permutation(n), batch_size)  # noqa: NPY002


@sampler.variant
def _(n, batch_size, seed, epoch):
    order = list(range(n))
    np.random.default_rng((seed, epoch)).shuffle(order)
    return [order[k:k + batch_size] for k in range(0, n, batch_size)]


@sampler.variant
def _(n, batch_size, seed, epoch):
    rng = np.random.default_rng(seed)
    for _ in range(epoch + 1):
        order = rng.permutation(n)
    return np.split(order, range(batch_size, n, batch_size))


# --- 08.2: three leaks --------------------------------------------------------------------------------------------

leaks = Exercise(
    "08.2", "Three leaks", points=4, stars=2, minutes=25, hints=(
        "Ask of each line: has it looked at a row that is going to be validated, at its numbers or at its label? And: "
        "does the model know somebody already, whose rows it will be asked about?",
        "Split first, by person. From then on the validation rows are only looked at in the very last line. Means, "
        "deviations and the choice of columns are all things that were learned from data.",
        "Mark the rows whose person is held out. Measure the others: mean and deviation, and, with their labels "
        "alone, the scores. Then apply all of it to both piles."))


def _marked(who, held_out):
    return np.isin(who, held_out)


def _best(z, y, k, size=np.abs):
    return np.argsort(-size((z * (y - y.mean())[:, None]).mean(axis=0)))[:k]


@leaks.reference
def prepare(x, y, who, held_out, k):
    out = _marked(who, held_out)
    seen = x[~out]
    z = (x - seen.mean(axis=0)) / seen.std(axis=0)
    best = _best(z[~out], y[~out], k)
    return z[~out][:, best], z[out][:, best]


@leaks.cases
def _(rng):
    who, y = np.array([0, 0, 1, 1, 2, 2]), np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    x = np.array([[0.0, 1.0], [2.0, 1.0], [1.0, 0.0], [2.0, 1.0], [5.0, -9.0], [1.0, 9.0]])
    yield case(x, y, who, [2], 1)
    yield case(x[:, ::-1].copy(), y, who, [2], 2)
    yield case(x * np.array([-1.0, 1.0]), y, who, [2], 1)
    for _ in range(5):
        people = rng.permutation(np.repeat(np.arange(6), 4))
        shifted = normal(rng, (24, 8)) * 3 + 2 * normal(rng, (6, 8))[people]
        labels = rng.permutation(np.repeat([0.0, 1.0], 12))
        yield case(shifted, labels, people, sorted(rng.permutation(6)[:2].tolist()), 3)


@leaks.mistake("All three leaks are still there: this is the function of the colleague.")
def _(x, y, who, held_out, k):
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    fourth = np.arange(len(y)) % 4 == 0
    best = _best(z, y, k)
    return z[~fourth][:, best], z[fourth][:, best]


@leaks.mistake("Every fourth row was taken, so a person has rows on both sides. The model is asked about people it "
               "knows.")
def _(x, y, who, held_out, k):
    return prepare(x, y, np.arange(len(y)) % 4, [0], k)


@leaks.mistake("Mean and deviation are those of all rows. They were learned from the validation rows, too.")
def _(x, y, who, held_out, k):
    out = _marked(who, held_out)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    best = _best(z[~out], y[~out], k)
    return z[~out][:, best], z[out][:, best]


@leaks.mistake("The columns were chosen with the labels of all rows. Whoever chooses by the answers of the validation "
               "has seen them.")
def _(x, y, who, held_out, k):
    out = _marked(who, held_out)
    z = (x - x[~out].mean(axis=0)) / x[~out].std(axis=0)
    best = _best((x - x.mean(axis=0)) / x.std(axis=0), y, k)
    return z[~out][:, best], z[out][:, best]


@leaks.mistake("The split is right, and it comes too late: statistics and columns are those of all rows.")
def _(x, y, who, held_out, k):
    out, z = _marked(who, held_out), (x - x.mean(axis=0)) / x.std(axis=0)
    best = _best(z, y, k)
    return z[~out][:, best], z[out][:, best]


@leaks.mistake("The validation rows got a mean and a deviation of their own. The same x would become two different "
               "inputs: use what the training rows gave.")
def _(x, y, who, held_out, k):
    out = _marked(who, held_out)
    a, b = ((part - part.mean(axis=0)) / part.std(axis=0) for part in (x[~out], x[out]))
    best = _best(a, y[~out], k)
    return a[:, best], b[:, best]


@leaks.mistake("The two piles have changed places: held out are those that are validated.")
def _(x, y, who, held_out, k):
    return prepare(x, y, who, held_out, k)[::-1]


@leaks.mistake("A column that falls when y rises was passed over. What counts is the size of the score, whatever its "
               "sign.")
def _(x, y, who, held_out, k):
    out = _marked(who, held_out)
    z = (x - x[~out].mean(axis=0)) / x[~out].std(axis=0)
    best = _best(z[~out], y[~out], k, size=np.positive)
    return z[~out][:, best], z[out][:, best]


@leaks.mistake("The right columns stand in the order of the table. Asked is the order of their scores, the largest "
               "first.")
def _(x, y, who, held_out, k):
    out = _marked(who, held_out)
    z = (x - x[~out].mean(axis=0)) / x[~out].std(axis=0)
    best = np.sort(_best(z[~out], y[~out], k))
    return z[~out][:, best], z[out][:, best]


@leaks.variant
def _(x, y, who, held_out, k):
    train = [row for row in range(len(y)) if who[row] not in held_out]
    rest = [row for row in range(len(y)) if who[row] in held_out]
    mean, std = np.mean(x[train], axis=0), np.std(x[train], axis=0)
    score = [abs(np.corrcoef(column, y[train])[0, 1]) for column in x[train].T]
    best = sorted(range(x.shape[1]), key=lambda c: -score[c])[:k]
    return [((x[rows] - mean) / std)[:, best] for rows in (train, rest)]


# --- 08.3: a big batch in pieces ----------------------------------------------------------------------------------

pieces = Exercise(
    "08.3", "A big batch in pieces", points=3, stars=2, minutes=15, honest=(), hints=(
        "What does `backward` do with a gradient that is already there? Why is that a help here?",
        "The loss of a piece is a mean over its own rows. What share of the mean over all rows is it, if the last "
        "piece is shorter?",
        "Forget the old gradients once, at the beginning. Then for each piece: its loss times its rows, divided by all "
        "rows, and backward. The shares add up to the loss of the whole."))


class _Classifier(nn.Module):
    """Two layers in float64; it remembers the largest batch that it was given."""

    def __init__(self, w1, w2):
        super().__init__()
        self.w1, self.w2 = nn.Parameter(tensor(w1)), nn.Parameter(tensor(w2))
        self.most = 0

    def forward(self, x):
        self.most = max(self.most, len(x))
        return (x @ self.w1).tanh() @ self.w2


@pieces.reference
def backward_in_pieces(model, x, y, size):
    model.zero_grad()
    total = 0.0
    for k in range(0, len(x), size):
        part, truth = x[k:k + size], y[k:k + size]
        share = F.cross_entropy(model(part), truth) * (len(part) / len(x))
        share.backward()
        total += share.item()
    return total


@pieces.observe
def _(answer, w1, w2, x, y, size):
    model = _Classifier(w1, w2)
    F.cross_entropy(model(tensor(x)), tensor(y)).backward()            # what the step before has left
    model.most = 0
    loss = answer(model, tensor(x), tensor(y), size)
    grads = [p.grad.numpy() if p.grad is not None else np.zeros(p.shape) for p in model.parameters()]
    return {"loss": loss, "gradient of w1": grads[0], "gradient of w2": grads[1],
            "rows at once, at most": model.most}


@pieces.cases
def _(rng):
    for n, size in [(4, 2), (5, 2), (6, 3)]:
        yield case(normal(rng, (2, 3)), normal(rng, (3, 3)), normal(rng, (n, 2)), rng.integers(0, 3, n), size)
    for _ in range(3):
        n = int(rng.integers(7, 12))
        yield case(normal(rng, (3, 4)), normal(rng, (4, 3)), normal(rng, (n, 3)), rng.integers(0, 3, n), 3)


def _parts(x, size):
    return [slice(k, k + size) for k in range(0, len(x), size)]


def _weighted(model, x, y, size, weight):
    total = 0.0
    for part in _parts(x, size):
        share = F.cross_entropy(model(x[part]), y[part]) * weight(len(x[part]))
        share.backward()
        total += share.item()
    return total


@pieces.mistake("The gradient is too large by the number of pieces: means of pieces were added up, and nothing divided "
                "them.")
def _(model, x, y, size):
    model.zero_grad()
    return _weighted(model, x, y, size, lambda n: 1.0)


@pieces.mistake("This is the mean of the pieces' means. Rows of a shorter last piece count for more than the others.")
def _(model, x, y, size):
    model.zero_grad()
    return _weighted(model, x, y, size, lambda n: 1 / len(_parts(x, size)))


@pieces.mistake("Only the last piece is left: the gradients were forgotten before each piece, not once before all.")
def _(model, x, y, size):
    total = 0.0
    for part in _parts(x, size):
        model.zero_grad()
        share = F.cross_entropy(model(x[part]), y[part]) * (len(x[part]) / len(x))
        share.backward()
        total += share.item()
    return total


@pieces.mistake("The gradient of the step before is still in it. It was never forgotten.")
def _(model, x, y, size):
    return _weighted(model, x, y, size, lambda n: n / len(x))


@pieces.mistake("The numbers are right, and the whole batch went through the model at once: that is what there is no "
                "memory for.")
def _(model, x, y, size):
    return backward_in_pieces(model, x, y, len(x))


@pieces.mistake("The rows of a shorter last piece were left out.")
def _(model, x, y, size):
    n = len(x) // size * size
    return backward_in_pieces(model, x[:n], y[:n], size)


@pieces.mistake("The gradients are right. The loss that is returned is the last piece's own, not that of the whole "
                "batch.")
def _(model, x, y, size):
    backward_in_pieces(model, x, y, size)
    last = _parts(x, size)[-1]
    return F.cross_entropy(model(x[last]), y[last]).item()


@pieces.mistake("The loss is right, and the gradients are all 0: they were forgotten after the work.")
def _(model, x, y, size):
    loss = backward_in_pieces(model, x, y, size)
    for p in model.parameters():
        p.grad.zero_()
    return loss


@pieces.variant
def _(model, x, y, size):
    model.zero_grad()
    losses = []
    for part in _parts(x, size):
        loss = F.cross_entropy(model(x[part]), y[part], reduction="sum") / len(x)
        loss.backward()
        losses.append(loss.detach())
    return sum(losses)


@pieces.variant
def _(model, x, y, size):
    for p in model.parameters():
        p.grad = None
    total = _weighted(model, x, y, size, float)
    for p in model.parameters():
        p.grad = p.grad / len(x)
    return total / len(x)


# --- 08.4: a run that goes on -------------------------------------------------------------------------------------

again = Exercise(
    "08.4", "After the crash", points=4, stars=3, minutes=20, honest=(), rtol=0, atol=0, hints=(
        "List what the next batch's loss depends on. Weights; what the optimiser remembers; and which two things "
        "more, if the model has dropout and the loader shuffles?",
        "Four states go into one file. Three of the four objects have `state_dict`, the fourth is a state that minidl "
        "itself keeps for all random draws. In which order do you put them back?",
        "One dict with four keys goes to md.save. On the way back, md.load gives it, each object loads its own part, "
        "and the random state is set last, since nothing may be drawn after it."))


@again.reference
class Run:
    """A training that can be saved to a file and resumed from it."""

    def __init__(self, model, optimizer, loader):
        self.model, self.optimizer, self.loader = model, optimizer, loader

    def save(self, path):
        save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
              "loader": self.loader.state_dict(), "random": get_rng_state()}, path)

    def load(self, path):
        kept = load(path)
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.loader.load_state_dict(kept["loader"])
        set_rng_state(kept["random"])


def _objects(x, y, seed):
    manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    rows = [(tensor(a.astype(np.float32)), int(b)) for a, b in zip(x, y)]
    return model, optim.Adam(model.parameters(), lr=0.05), DataLoader(rows, batch_size=4, shuffle=True)


def _stream(loader):
    while True:
        yield from loader


def _learn(model, optimizer, stream, steps):
    model.train()
    seen = []
    for _, (x, y) in zip(range(steps), stream):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return np.array(seen)


def _validated(model, x, y):
    model.eval()
    return F.cross_entropy(model(tensor(x.astype(np.float32))), tensor(y)).item()


@again.observe
def _(answer, x, y, before, rate):
    outside = get_rng_state()
    try:
        model, optimizer, loader = _objects(x, y, 1)
        stream = _stream(loader)
        _learn(model, optimizer, stream, before)
        optimizer.param_groups[0]["lr"] *= rate
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "run.ckpt")
            answer(model, optimizer, loader).save(path)
            straight_on = [_learn(model, optimizer, stream, 8), _validated(model, x, y)]
            model, optimizer, loader = _objects(x, y, 2)
            answer(model, optimizer, loader).load(path)
        went_on = [_learn(model, optimizer, _stream(loader), 8), _validated(model, x, y)]
    finally:
        set_rng_state(outside)
    return {"losses without a break": straight_on[0], "losses after the crash": went_on[0],
            "validation without a break": straight_on[1], "validation after the crash": went_on[1]}


@again.cases
def _(rng):
    for before, rate in [(2, 1.0), (5, 0.5), (int(rng.integers(6, 9)), 0.5)]:
        x = normal(rng, (14, 3))
        yield case(x, (x[:, 0] > 0).astype(int), before, rate)


def _without(name):
    class Without(Run):
        def load(self, path):
            kept = load(path)
            for part in ("model", "optimizer", "loader"):
                if part != name:
                    getattr(self, part).load_state_dict(kept[part])
            if name != "random":
                set_rng_state(kept["random"])
    return Without


again.mistake("The weights are new ones: what the model had learned is not in it.")(_without("model"))
again.mistake("The optimiser begins anew, without its memory and with its first learning rate.")(_without("optimizer"))
again.mistake("The loader begins a new epoch in a new order, so some items come twice and others not at all."
              )(_without("loader"))
again.mistake("Dropout draws other numbers than it would have drawn: the state of the random generator is a part of "
              "the run.")(_without("random"))


@again.mistake("Parameters came back, buffers did not: the running means of batch norm are a part of the model's "
               "state. The losses of the training agree, and the validation does not.")
class _ParametersOnly(Run):
    def load(self, path):
        fresh = {name: b.detach().clone() for name, b in self.model.named_buffers()}
        super().load(path)
        self.model.load_state_dict({**self.model.state_dict(), **fresh})


@again.mistake("The random state was set first, and something was drawn after it. Set it last.")
class _TooEarly(Run):
    def load(self, path):
        super().load(path)
        F.dropout(tensor(np.ones(3, dtype=np.float32)), 0.5)


@again.mistake("The optimiser's memory came back and its settings did not: the learning rate is the one it began with.")
class _OldRate(Run):
    def load(self, path):
        settings = self.optimizer.state_dict()["param_groups"]
        super().load(path)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "param_groups": settings})


@again.variant
class _Tuple:
    def __init__(self, *parts):
        self.parts = parts

    def save(self, path):
        save((get_rng_state(), *(part.state_dict() for part in self.parts)), path)

    def load(self, path):
        state, *kept = load(path)
        for part, its in zip(self.parts, kept):
            part.load_state_dict(its)
        set_rng_state(state)
