"""Chapter 06, losses and metrics: log-sum-exp, cross-entropy, yes or no with its gradient, metrics from a stream.

Everything is NumPy's; the cases have scores of +-10,000 and of minus infinity, where the definitions overflow.
"""
import numpy as np

from ..cases import case, normal
from ..exercise import Exercise

TITLE = "Losses and metrics"
BIG = 1e4
NEVER = -np.inf                          # the score of a class that is ruled out

# --- 06.1a: log-sum-exp ---------------------------------------------------------------------------------------------

summed = Exercise(
    "06.1a", "Log-sum-exp for any scores", points=2, stars=2, minutes=15, hints=(
        "The lesson did it for one row. Which number is taken out of the sum, and may two rows share it?",
        "Each row has a maximum of its own, and a table of N rows needs a column of N numbers to be subtracted. It is "
        "added again at the end.",
        "A row of nothing but minus infinity has a maximum that cannot be subtracted from itself. Take out something "
        "finite there, 0 for instance, and let the logarithm of 0 be what it is."))


def _top(x):
    top = x.max(axis=1)
    return np.where(np.isfinite(top), top, 0.0)


def _lse(x):
    top = _top(x)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(x - top[:, None]).sum(axis=1))


@summed.reference
def logsumexp(x):
    return _lse(x)


@summed.cases
def _(rng):
    yield case(np.array([[2.0, 1.0, -1.0], [0.0, 0.0, 0.0]]))
    yield case(np.array([[BIG, -BIG], [3.0, 3.0]]))
    yield case(np.array([[-BIG, -BIG], [BIG, BIG]]))
    yield case(np.array([[1.0, NEVER, 1.0]]))
    yield case(np.array([[NEVER, NEVER], [0.0, 1.0]]))
    for _ in range(4):
        yield case(10 ** float(rng.uniform(0, 3)) * normal(rng, (int(rng.integers(2, 5)), int(rng.integers(2, 5)))))


@summed.mistake("This is the definition as it stands: exp of a large score is infinite, and exp of a very small one "
                "is 0.")
def _(x):
    with np.errstate(all="ignore"):
        return np.log(np.exp(x).sum(axis=1))


@summed.mistake("One maximum was taken for all rows. A row far below it becomes a row of zeros.")
def _(x):
    top = x.max() if np.isfinite(x.max()) else 0.0
    with np.errstate(all="ignore"):
        return top + np.log(np.exp(x - top).sum(axis=1))


@summed.mistake("What was taken out of the sum has to be added again at the end.")
def _(x):
    return _lse(x) - _top(x)


@summed.mistake("A row of nothing but minus infinity: it was subtracted from itself, which is not a number. Such a "
                "sum is 0, "
                "and its logarithm minus infinity.")
def _(x):
    top = x.max(axis=1)
    with np.errstate(all="ignore"):
        return top + np.log(np.exp(x - top[:, None]).sum(axis=1))


@summed.mistake("The scores were cut off before exp. Nothing overflows any more, and large scores are no longer told "
                "apart.")
def _(x):
    with np.errstate(all="ignore"):
        return np.log(np.exp(np.clip(x, -700, 700)).sum(axis=1))


@summed.mistake("This is the logarithm of the mean: it is too small by the logarithm of the number of classes.")
def _(x):
    return _lse(x) - np.log(x.shape[1])


@summed.mistake("This is the maximum. It is close when one score towers above the others, and only then.")
def _(x):
    return x.max(axis=1)


@summed.mistake("The sums go over the columns. A row holds the scores of one example.")
def _(x):
    return _lse(x.T)


@summed.variant
def _(x):
    return np.logaddexp.reduce(x, axis=1)


@summed.variant
def _(x):
    out = []
    for row in x:
        top = max(row)
        out.append(top if top == NEVER else top + np.log(sum(np.exp(v - top) for v in row)))
    return np.array(out)


# --- 06.1b: cross-entropy -------------------------------------------------------------------------------------------

crossed = Exercise(
    "06.1b", "Cross-entropy with all its settings", points=3, stars=2, minutes=20, hints=(
        "Begin with the rows: which of them count? After that you need not think of the others again.",
        "A table of log p for the rows that count is scores less your log-sum-exp, row by row. From it you need the "
        "entry of the right class, and the mean over the classes.",
        "Weigh the two with 1 - s and s, take the mean over the rows, turn the sign. With s = 0, leave the second part "
        "out: 0 times infinity is not a number."))


def _rows(x, y, s, share=None, whole=True, keep=None, sign=-1.0, over=np.mean, skip=True):
    """Cross-entropy with the switches that the mistakes need."""
    log_p = x - _lse(x)[:, None]
    right = log_p[np.arange(len(y)), y]
    loss = (1 - s if keep is None else keep) * right
    if s or not skip:
        spread = log_p.mean(axis=1) if whole else (log_p.sum(axis=1) - right) / max(x.shape[1] - 1, 1)
        with np.errstate(all="ignore"):
            loss = loss + (s if share is None else share) * spread
    return sign * over(loss)


def _counted(x, y, ignore_index):
    return x[y != ignore_index], y[y != ignore_index]


@crossed.reference
def cross_entropy(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing)


@crossed.cases
def _(rng):
    yield case(np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]), np.array([0, 2]), -100, 0.0)
    yield case(np.array([[2.0, 0.0], [0.0, 2.0], [5.0, 0.0]]), np.array([0, 0, -1]), -1, 0.0)
    yield case(np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]), np.array([0, 2]), -100, 0.3)
    yield case(np.array([[BIG, -BIG, 0.0], [BIG, -BIG, 0.0]]), np.array([1, 0]), -100, 0.0)
    yield case(np.array([[1.0, NEVER, 0.0]]), np.array([0]), -100, 0.0)
    yield case(np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [0.0, 1.0, 2.0]]), np.array([1, 1, 0]), 1, 0.0)
    for _ in range(4):
        n, c = int(rng.integers(3, 6)), int(rng.integers(3, 6))
        y = rng.integers(0, c, size=n)
        y[int(rng.integers(0, n))] = -1
        yield case(3 * normal(rng, (n, c)), y, -1, float(rng.choice([0.1, 0.4])))


@crossed.mistake("The mean was taken over all rows, also over those that do not count.")
def _(x, y, ignore_index, smoothing):
    counted = _counted(x, y, ignore_index)
    return _rows(*counted, smoothing) * len(counted[1]) / len(y)


@crossed.mistake("The rows to be ignored were counted: as an index, -1 is the last class.")
def _(x, y, ignore_index, smoothing):
    return _rows(x, np.where((y < 0) & (y != -1), 0, y), smoothing)


@crossed.mistake("The target to be ignored is given; here negative ones are ignored instead, whatever it says.")
def _(x, y, ignore_index, smoothing):
    return _rows(x[y >= 0], y[y >= 0], smoothing)


@crossed.mistake("The smoothing was spread over the wrong classes only. It goes over all of them, the right one as "
                 "well.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, whole=False)


@crossed.mistake("The smoothing came on top: the share of the right class must become smaller by as much.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, keep=1.0)


@crossed.mistake("Each class got the whole smoothing; it is to be shared by them.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, share=smoothing * x.shape[1])


@crossed.mistake("The smoothing was not used.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), 0.0)


@crossed.mistake("Softmax first, then the logarithm: a share that is too small to be held becomes 0, and its logarithm "
                 "minus infinity.")
def _(x, y, ignore_index, smoothing):
    x, y = _counted(x, y, ignore_index)
    with np.errstate(all="ignore"):
        log_p = np.log(np.exp(x - _lse(x)[:, None]))
        right = log_p[np.arange(len(y)), y]
        return -((1 - smoothing) * right + (smoothing * log_p.mean(axis=1) if smoothing else 0)).mean()


@crossed.mistake("A class was ruled out, and 0 times infinity came into the sum although nothing is smoothed here.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, skip=False)


@crossed.mistake("This is the sum over the rows; the loss is their mean.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, over=np.sum)


@crossed.mistake("The sign is that of log p. A loss is never below 0.")
def _(x, y, ignore_index, smoothing):
    return _rows(*_counted(x, y, ignore_index), smoothing, sign=1.0)


@crossed.variant
def _(x, y, ignore_index, smoothing):
    total, rows = 0.0, 0
    for row, right in zip(x, y):
        if right == ignore_index:
            continue
        log_p = row - np.logaddexp.reduce(row)
        total -= (1 - smoothing) * log_p[right]
        if smoothing:
            total -= smoothing * sum(log_p) / len(log_p)
        rows += 1
    return total / rows


@crossed.variant
def _(x, y, ignore_index, smoothing):
    kept = y != ignore_index
    target = np.full(x.shape, smoothing / x.shape[1])
    target[np.arange(len(y)), np.where(kept, y, 0)] += 1 - smoothing
    log_p = x - np.logaddexp.reduce(x, axis=1)[:, None]
    loss = -np.where(target > 0, target * np.where(target > 0, log_p, 0), 0).sum(axis=1)
    return loss[kept].mean()


# --- 06.2: yes or no ------------------------------------------------------------------------------------------------

binary = Exercise(
    "06.2", "Yes or no, with its gradient", points=3, stars=2, minutes=20, hints=(
        "Write log(1 + exp(-x)) twice: once as it is, for x of 0 or more, and once with something taken out of the "
        "sum, for x below 0. Neither may form exp of a large number.",
        "exp(-|x|) is at most 1, for every x. Both the loss and the sigmoid can be written with it and without any "
        "other exp.",
        "The loss is the larger of x and 0, less x times y, plus the logarithm of 1 + exp(-|x|). The sigmoid is 1 or "
        "exp(-|x|), by the sign of x, divided by 1 + exp(-|x|); the slope is what it has above the target."))


def _sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small)


def _softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@binary.reference
def bce_with_logits(x, y):
    return _softplus(x) - x * y, _sigmoid(x) - y


@binary.cases
def _(rng):
    yield case(np.array([0.0, 2.0, -2.0]), np.array([1.0, 1.0, 1.0]))
    yield case(np.array([0.0, 2.0, -2.0]), np.array([0.0, 0.0, 1.0]))
    yield case(np.array([BIG, -BIG]), np.array([1.0, 0.0]))
    yield case(np.array([BIG, -BIG]), np.array([0.0, 1.0]))
    yield case(np.array([40.0, -40.0]), np.array([0.0, 1.0]))
    yield case(np.array([1.0, -1.0]), np.array([0.3, 0.6]))
    for _ in range(4):
        n = int(rng.integers(2, 6))
        yield case(10 ** float(rng.uniform(0, 2)) * normal(rng, n), rng.random(n).round(2))


@binary.mistake("This is the definition, sigmoid first and then the logarithm: for large scores p is 0 or 1, and the "
                "loss "
                "infinite or not a number.")
def _(x, y):
    p = _sigmoid(x)
    with np.errstate(all="ignore"):
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)), p - y


@binary.mistake("A small number was put under the logarithm to keep it finite. The loss then stops growing, and is "
                "off by a "
                "little everywhere.")
def _(x, y):
    p = _sigmoid(x)
    return -(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)), p - y


@binary.mistake("The loss is right, and the sign of the slope is not: a score that is too high must have a positive "
                "slope.")
def _(x, y):
    loss, slope = bce_with_logits(x, y)
    return loss, -slope


@binary.mistake("The slopes are those of the mean. Here each loss stands by itself, so nothing is divided by their "
                "number.")
def _(x, y):
    loss, slope = bce_with_logits(x, y)
    return loss, slope / len(x)


@binary.mistake("The slope was multiplied with that of the sigmoid once more. The logarithm has already cancelled it.")
def _(x, y):
    p = _sigmoid(x)
    return bce_with_logits(x, y)[0], (p - y) * p * (1 - p)


@binary.mistake("exp of a large number is infinite. One of the two ways of writing the loss or the sigmoid was used "
                "for both "
                "signs of x.")
def _(x, y):
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return np.log(1 + e) - x * y, e / (1 + e) - y


@binary.mistake("The target was taken for a plain yes or no. It may lie between: 0.3 is 0.3 of the price for yes and "
                "0.7 of "
                "that for no.")
def _(x, y):
    return bce_with_logits(x, (y > 0.5) * 1.0)


@binary.mistake("Yes and no are the wrong way round: this is the price of the other answer.")
def _(x, y):
    return bce_with_logits(x, 1 - y)


@binary.mistake("The mean was returned for the losses; they are wanted one by one.")
def _(x, y):
    loss, slope = bce_with_logits(x, y)
    return loss.mean(), slope


@binary.variant
def _(x, y):
    return np.logaddexp(0, x) - x * y, (1 + np.tanh(x / 2)) / 2 - y


@binary.variant
def _(x, y):
    e = np.exp(-np.abs(x))
    loss = np.where(x >= 0, x * (1 - y), -x * y) + np.log(1 + e)
    return list(loss), [(1 / (1 + k) if v >= 0 else k / (1 + k)) - t for v, t, k in zip(x, y, e)]


# --- 06.3: metrics from a stream ------------------------------------------------------------------------------------

streamed = Exercise(
    "06.3", "Metrics from a stream", points=3, stars=2, minutes=20, honest=(), hints=(
        "What can be added up from batch to batch, and what only be computed at the end?",
        "One table is enough: a row for each truth, a column for each guess. Its diagonal, the sums of its columns and "
        "the sums of its rows are all that you divide in the end.",
        "Where a class was never guessed, or never there, its diagonal is 0 as well: dividing by 1 in place of 0 gives "
        "the 0 that is wanted. F1 of a class is twice its diagonal over the sum of its row and its column."))


class Metrics:
    """The reference, with places for the mistakes to differ."""

    def __init__(self, classes):
        self.table = np.zeros((classes, classes))

    def update(self, guess, truth):
        np.add.at(self.table, (truth, guess), 1)

    def result(self):
        right, guessed, there = self.table.diagonal(), self.table.sum(axis=0), self.table.sum(axis=1)
        return {"accuracy": right.sum() / self.table.sum(), "precision": right / np.maximum(guessed, 1),
                "recall": right / np.maximum(there, 1), "f1": (2 * right / np.maximum(guessed + there, 1)).mean()}


streamed.reference(Metrics)


@streamed.observe
def _(answer, classes, guesses, truths):
    kept, batch = answer(classes), 0
    for batch, (guess, truth) in enumerate(zip(guesses, truths)):
        kept.update(np.array(guess), np.array(truth))
        if batch == 0:
            kept.result()                                      # a look in between must change nothing
    found = kept.result()
    return {name: found[name] for name in ("accuracy", "precision", "recall", "f1")}


@streamed.cases
def _(rng):
    yield case(2, [[0, 1, 1, 0]], [[0, 1, 0, 1]])
    yield case(2, [[0, 1, 1], [1, 1, 1]], [[0, 1, 0], [1, 1, 0]])
    yield case(2, [[0, 1, 1, 1], [1]], [[0, 0, 0, 0], [1]])
    yield case(3, [[0, 0], [1, 0, 0]], [[0, 1], [1, 1, 0]])
    yield case(3, [[0, 2, 1], [2, 2, 2, 0]], [[0, 2, 1], [1, 0, 2, 0]])
    for _ in range(4):
        classes, sizes = int(rng.integers(3, 6)), rng.integers(1, 7, size=3)
        yield case(classes, [rng.integers(0, classes, size=n).tolist() for n in sizes],
                   [rng.integers(0, classes, size=n).tolist() for n in sizes])


@streamed.mistake("The results of the batches were averaged. Batches differ in size, and ratios do not add up.")
class _Averaged(Metrics):
    def __init__(self, classes):
        self.classes, self.parts = classes, []

    def update(self, guess, truth):
        part = Metrics(self.classes)
        part.update(guess, truth)
        self.parts.append(part.result())

    def result(self):
        return {name: np.mean([part[name] for part in self.parts], axis=0) for name in self.parts[0]}


@streamed.mistake("Only the last batch was counted.")
class _Last(Metrics):
    def update(self, guess, truth):
        self.table = np.zeros_like(self.table)
        super().update(guess, truth)


@streamed.mistake("Precision and recall are the wrong way round: precision asks about what was guessed, recall about "
                  "what "
                  "was there.")
class _Swapped(Metrics):
    def result(self):
        found = super().result()
        return {**found, "precision": found["recall"], "recall": found["precision"]}


@streamed.mistake("0 / 0 is not a number. A class that was never guessed, or never there, has a 0 here.")
class _NotANumber(Metrics):
    def result(self):
        right, guessed, there = self.table.diagonal(), self.table.sum(axis=0), self.table.sum(axis=1)
        with np.errstate(all="ignore"):
            precision, recall = right / guessed, right / there
            f1 = 2 * precision * recall / (precision + recall)
        return {"accuracy": right.sum() / self.table.sum(), "precision": precision, "recall": recall, "f1": f1.mean()}


@streamed.mistake("Looking at the result forgot what had been counted. It may be asked for in between.")
class _Forgetful(Metrics):
    def result(self):
        found = super().result()
        self.table = np.zeros_like(self.table)
        return found


@streamed.mistake("An index that comes twice was counted once: adding to places taken by index does that.")
class _Once(Metrics):
    def update(self, guess, truth):
        self.table[truth, guess] += 1


@streamed.mistake("The F1 was made of the mean precision and the mean recall. It is the mean of the F1 of the classes.")
class _OfMeans(Metrics):
    def result(self):
        found = super().result()
        p, r = found["precision"].mean(), found["recall"].mean()
        return {**found, "f1": 2 * p * r / max(p + r, 1e-300)}


@streamed.mistake("The mean F1 left out classes that were never there. All classes count, with 0 if there is nothing.")
class _SeenOnly(Metrics):
    def result(self):
        found, seen = super().result(), self.table.sum(axis=1) > 0
        p, r = found["precision"][seen], found["recall"][seen]
        return {**found, "f1": (2 * p * r / np.maximum(p + r, 1e-300)).mean()}


@streamed.variant
class _Collected:
    def __init__(self, classes):
        self.classes, self.guess, self.truth = classes, [], []

    def update(self, guess, truth):
        self.guess += list(guess)
        self.truth += list(truth)

    def result(self):
        pairs, precision, recall, f1 = list(zip(self.guess, self.truth)), [], [], []
        for k in range(self.classes):
            found = sum(g == k == t for g, t in pairs)
            p, r = found / max(self.guess.count(k), 1), found / max(self.truth.count(k), 1)
            precision.append(p)
            recall.append(r)
            f1.append(2 * p * r / (p + r) if p + r else 0.0)
        return {"accuracy": sum(g == t for g, t in pairs) / len(pairs), "precision": precision, "recall": recall,
                "f1": sum(f1) / self.classes}


@streamed.variant
class _ThreeRows:
    def __init__(self, classes):
        self.n, self.right, self.guessed, self.there = classes, 0, 0, 0

    def update(self, guess, truth):
        self.right = self.right + np.bincount(truth[guess == truth], minlength=self.n)
        self.guessed = self.guessed + np.bincount(guess, minlength=self.n)
        self.there = self.there + np.bincount(truth, minlength=self.n)

    def result(self):
        f1 = 2 * self.right / np.maximum(self.guessed + self.there, 1)
        return {"precision": self.right / np.maximum(self.guessed, 1), "recall": self.right / np.maximum(self.there, 1),
                "accuracy": self.right.sum() / self.there.sum(), "f1": f1.mean()}
