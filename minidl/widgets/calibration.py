"""Does a network know how sure it may be: a reliability diagram that follows the temperature.

    Calibration(model(x), y)       the first half of the rows finds the best temperature, the other half is shown

All scores of a row are divided by the temperature T before softmax. Their order stays, and so does every answer; how
sure the network says it is changes. The mean gap is the expected calibration error (Guo and others, 2017): over the
bins, the distance of how sure from how often right, weighed with the rows in the bin.
"""
import math

import numpy as np
import traitlets as tr

from ..errors import ArgumentError, ShapeError, message
from ..tensor import as_tensor
from ..viz.svg import document, element, joined, path
from ..viz.theme import number
from .cells import HATCH, hatching
from .trace import Frame, Trace, rounded
from .widget import Widget

COLDEST, HOTTEST = 0.1, 10.0                     # temperatures
FEWEST_BINS, MOST_BINS = 2, 20
CURVE = np.geomspace(COLDEST, HOTTEST, 61)       # where the loss is drawn
EVEN = 0.01                                      # mean sure and mean right this near are the same


class Calibration(Widget):
    """How sure a network is against how often it is right, at any temperature.

    Args:
        logits: scores, (N, C).
        y: the classes they should have named, (N,).
        validation: the share of the rows, from the first on, that the best temperature is found with; the others are
            shown.

    Attributes:
        temperature: what the scores are divided by; 1 leaves them as they are.
        bins: how many the answers are sorted into, by how sure they are.
        best: the temperature with the lowest loss on the validation rows.

    Raises:
        ShapeError: logits and y do not fit together.
        ArgumentError: a setting lies outside its limits, or a score is not finite.
    """

    scripts = ("calibration",)
    controls = ("temperature", "bins")
    temperature = tr.Float(1.0).tag(sync=True)
    bins = tr.Int(10).tag(sync=True)

    def __init__(self, logits, y, validation=0.5, **controls):
        scores, truth = _rows(logits, y)
        cut = round(validation * len(truth)) if 0 < validation < 1 else 0
        if not 0 < cut < len(truth):
            raise ArgumentError(message("Calibration: some rows choose the temperature, and others are shown.",
                                        [("validation", validation, "share"), ("rows", len(truth))],
                                        "validation=0.5, and 2 rows at least."))
        self._choosing, self._shown = (scores[:cut], truth[:cut]), (scores[cut:], truth[cut:])
        self._curve = [nll(*self._choosing, t) for t in CURVE]
        self.best = best_temperature(*self._choosing)
        super().__init__(**controls)

    # ------------------------------------------------------------------ the numbers
    def values(self, temperature=None):
        """The rows that are shown, at a temperature (the widget's, if left out).

        Returns:
            dict: "low", "sure", "right" and "count", one for each bin that is not empty: its lower edge, the mean
                highest share, the share of right answers, the rows in it; "gap", "loss", "accuracy", "confidence".
        """
        t = self.temperature if temperature is None else temperature
        limits = (("temperature", t, COLDEST, HOTTEST), ("bins", self.bins, FEWEST_BINS, MOST_BINS))
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ArgumentError(message(f"Calibration: {name} cannot be {number(value)}.",
                                            [("it lies between", f"{number(low)} and {number(high)}")]))
        scores, truth = self._shown
        p = np.exp(log_shares(scores / t))
        sure, right = p.max(axis=1), scores.argmax(axis=1) == truth
        place = np.minimum((sure * self.bins).astype(int), self.bins - 1)
        used = [k for k in range(self.bins) if (place == k).any()]
        rows = {"low": [k / self.bins for k in used], "sure": [sure[place == k].mean() for k in used],
                "right": [right[place == k].mean() for k in used], "count": [int((place == k).sum()) for k in used]}
        gaps = np.abs(np.subtract(rows["sure"], rows["right"]))
        return {**rows, "gap": float(np.average(gaps, weights=rows["count"])), "loss": nll(scores, truth, t),
                "accuracy": float(right.mean()), "confidence": float(sure.mean())}

    def record(self):
        """The diagram at the temperature, as a Trace of one frame."""
        now, best = self.values(), self.values(self.best)
        low, sure, right = (rounded(now[name]) for name in ("low", "sure", "right"))
        data = {"low": low, "sure": sure, "right": right, "count": now["count"], "temperature": self.temperature,
                "bins": self.bins, "gap": now["gap"], "loss": now["loss"]}
        facts = self._facts(now, best)
        figure = {"curve": [rounded(CURVE), rounded(np.array(self._curve))], "best": self.best, "facts": facts,
                  "lowest": nll(*self._choosing, self.best)}
        title = f"how sure and how often right, {len(self._shown[1])} rows, T = {number(self.temperature)}"
        return Trace([Frame("", " ".join(facts[:2]), data, (*facts[2:], *self._lines(now)))], title, figure)

    # ------------------------------------------------------------------ in words
    def _facts(self, now, best):
        over = now["confidence"] - now["accuracy"]
        verdict = ("as sure as it may be on the mean" if abs(over) < EVEN else
                   f"too {'sure' if over > 0 else 'modest'} by {percent(abs(over))}")
        edge = ("; the loss still falls there, at the edge of what is tried"
                if not 1.01 * COLDEST < self.best < HOTTEST / 1.01 else "")
        return [
            f"T = {number(self.temperature)}: sure {percent(now['confidence'])}, right {percent(now['accuracy'])}, "
            f"{verdict}.",
            f"Mean gap (ECE) {number(now['gap'])}, loss (NLL) {number(now['loss'])}, on {len(self._shown[1])} rows "
            "that chose nothing.",
            f"Best T on the {len(self._choosing[1])} validation rows: {number(self.best)}{edge}. On the others: mean "
            f"gap {number(best['gap'])}, loss {number(best['loss'])}, right {percent(best['accuracy'])} as ever.",
        ]

    def _lines(self, now):
        return [f"Sure {percent(low)} to {percent(low + 1 / self.bins)}: {count} row{'s' * (count != 1)}, sure "
                f"{percent(sure)} on the mean, right {percent(right)}."
                for low, count, sure, right in zip(now["low"], now["count"], now["sure"], now["right"])]

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """Bins as bars with their gaps, how many rows each has, and the loss over the temperature."""
        return _Diagram(self.trace.figure, frame).document(self.trace.title)


def percent(share):
    """A share in words.

    >>> percent(0.8432), percent(1.0)
    ('84.3 %', '100 %')
    """
    return f"{number(100 * float(share))} %"


def log_shares(scores):
    """log softmax of each row, (N, C)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def nll(scores, truth, temperature):
    """The mean of −log p of the right class."""
    return float(-log_shares(scores / temperature)[np.arange(len(truth)), truth].mean())


def best_temperature(scores, truth, turns=60):
    """The temperature with the lowest loss, between 0.1 and 10.

    The loss has one valley in 1 / T (log-sum-exp is convex), so a third can be cut off at every turn.
    """
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(turns):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        if nll(scores, truth, 1 / a) < nll(scores, truth, 1 / b):
            high = b
        else:
            low = a
    return 2 / (low + high)


def _rows(logits, y):
    scores, truth = (as_tensor(one).detach().numpy() for one in (logits, y))
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or scores.shape[1] < 2 or truth.dtype.kind not in "iu":
        raise ShapeError(message("Calibration: logits and classes do not fit together.",
                                 [("logits", scores.shape, "N C"), ("y", truth.shape, "N"), ("y holds", truth.dtype)],
                                 "Calibration(model(x), y), with y the numbers of the classes."))
    if not np.isfinite(scores).all() or truth.min(initial=0) < 0 or truth.max(initial=0) >= scores.shape[1]:
        raise ArgumentError(message("Calibration: a score is not finite, or a class is not there.",
                                    [("classes", f"0 to {scores.shape[1] - 1}")]))
    return scores.astype(float), truth


# ---------------------------------------------------------------------- the still picture
WIDTH, SIDE, LEFT, TOP = 740, 264, 46, 26
LEGEND = "The thick line: how sure. Hatched below it: surer than right. Plain above it: more often right than sure."
PLOT, WIDE = 400, 322                            # the second column: where it begins, and how wide its plots are


class _Diagram:
    """The diagram on the left; counts and the curve of the loss on the right."""

    def __init__(self, figure, frame):
        self.figure, self.data, self.parts = figure, frame.data, [hatching()]
        self._reliability()
        self._counts()
        self._curve()

    def _word(self, text, x, y, anchor="middle", look="small muted"):
        self.parts.append(element("text", text, x=x, y=y, text_anchor=anchor, dominant_baseline="central", class_=look))

    def _line(self, points, **look):
        self.parts.append(element("path", d=path(points), **{"fill": "none", "class_": "rule", **look}))

    def _reliability(self):
        data, wide = self.data, SIDE / self.data["bins"]
        self._word("how often right", LEFT, 12, "start", "small bold")
        for share in (0, 0.5, 1):
            y = TOP + SIDE * (1 - share)
            self._line([(LEFT, y), (LEFT + SIDE, y)])
            self._word(f"{100 * share:g} %", LEFT - 6, y, "end")
            self._word(f"{100 * share:g} %", LEFT + SIDE * share, TOP + SIDE + 12)
        self._word("how sure", LEFT + SIDE / 2, TOP + SIDE + 28, look="small bold")
        for low, sure, right in zip(data["low"], data["sure"], data["right"]):
            x, over = LEFT + low * SIDE + 1, sure > right
            bar = dict(x=x, y=TOP + SIDE * (1 - right), width=wide - 2, height=SIDE * right)
            gap = dict(x=x, y=TOP + SIDE * (1 - max(sure, right)), width=wide - 2, height=SIDE * abs(sure - right))
            end = "negative" if over else "positive"
            self.parts += [element("rect", **bar, style="fill: var(--md-muted)", fill_opacity=0.5),
                           element("rect", **gap, style=f"fill: var(--md-{end}); stroke: var(--md-{end})"),
                           element("rect", **gap, fill=f"url(#{HATCH})") if over else None]
            y = TOP + SIDE * (1 - sure)
            self._line([(x, y), (x + wide - 2, y)], class_="now")
        self._line([(LEFT, TOP + SIDE), (LEFT + SIDE, TOP)], class_="gradient")

    def _counts(self):
        data, wide, high = self.data, WIDE / self.data["bins"], 70
        self._word("rows in each bin", PLOT, 12, "start", "small bold")
        most = max(data["count"])
        for low, count in zip(data["low"], data["count"]):
            tall = max(high * count / most, 1.0)
            x = PLOT + low * WIDE
            self.parts.append(element("rect", x=x + 1, y=TOP + 14 + high - tall, width=wide - 2, height=tall,
                                      style="fill: var(--md-muted)"))
            self._word(count, x + wide / 2, TOP + 6 + high - tall, look="small")
        self._line([(PLOT, TOP + 14 + high), (PLOT + WIDE, TOP + 14 + high)])

    def _curve(self):
        temperatures, losses = self.figure["curve"]
        top, high = TOP + 122, SIDE - 122.0
        least, most = loss_range(losses)

        def x(t):
            return PLOT + WIDE * math.log(t / COLDEST) / math.log(HOTTEST / COLDEST)

        def y(loss):
            return top + high * (1 - (min(loss, most) - least) / (most - least))
        self._word("loss on the validation rows, over T", PLOT, top - 16, "start", "small bold")
        for loss in (least, most):
            self._line([(PLOT, y(loss)), (PLOT + WIDE, y(loss))])
            self._word(number(loss), PLOT - 6, y(loss), "end")
        for t in (COLDEST, 1.0, HOTTEST):
            self._word(number(t), x(t), TOP + SIDE + 12)
        inside = [(x(t), y(loss)) for t, loss in zip(temperatures, losses) if loss <= most]
        self._line(inside, class_="", style="stroke: var(--md-ink); stroke-width: 1.8")
        best, now = self.figure["best"], self.data["temperature"]
        self.parts.append(element("circle", cx=x(best), cy=y(self.figure["lowest"]), r=5, class_="outline"))
        self._word(f"○ best {number(best)}", PLOT + WIDE, TOP + SIDE + 28, "end", "small")
        self._line([(x(now), top - 4), (x(now), top + high)], class_="now")
        self._word(f"┃ T = {number(now)}", PLOT, TOP + SIDE + 28, "start", "small bold")

    def document(self, title):
        """The picture, with sentences below."""
        y = TOP + SIDE + 54.0
        for line in [LEGEND, *self.figure["facts"]]:
            self._word(line, 8, y, "start", "")
            y += 18
        return document(WIDTH, y, joined(part for part in self.parts if part), title=title,
                        desc=" ".join(self.figure["facts"]))


def loss_range(losses):
    """The lower and the upper end of the loss that is drawn: the valley, not the heights of cold temperatures."""
    least, most = min(losses), max(losses)
    return least, min(most, 3 * least) if 3 * least > least else most
