"""A loss taken apart: scores, shares, slopes; the plain formula beside the mended one, both computed in one dtype.

    LossLab()                                  three scores, cross-entropy, float32
    LossLab([20.0, -3.0], dtype="float16")     where exp overflows at 12

Nothing is simulated: both formulas run on minidl's tensors in the dtype that was chosen, and so do their gradients.
What they should be is the mended formula in float64.
"""
import math

import numpy as np
import traitlets as tr

from .. import functions as md
from ..autograd import grad
from ..errors import ArgumentError, message
from ..nn import functional as F
from ..tensor import Tensor
from ..viz.svg import document, element, joined, path
from ..viz.theme import number
from .cells import HATCH, hatching
from .trace import Frame, Trace
from .widget import Widget

LOSSES = ("cross-entropy", "squared", "yes or no")
DTYPES = ("float16", "float32", "float64")
FEWEST, MOST, HIGHEST = 2, 6, 1000.0             # classes, and how large a score may be
COOLEST, HOTTEST = 0.05, 10.0                    # temperatures
WAYS = ("plain", "mended")
FORMULAS = {
    "cross-entropy": ("−log(exp(z) / Σ exp(z))", "log Σ exp(z − max z) + max z − z"),
    "squared": ("Σ (exp(z) / Σ exp(z) − t)²", "Σ (softmax(z) − t)²"),
    "yes or no": ("−log(1 / (1 + exp(−z)))", "log1p(exp(−|z|)) + max(−z, 0)"),
}


class LossLab(Widget):
    """What a row of scores costs, how each score is pulled, and where the plain formula breaks.

    Args:
        scores: 2 to 6 numbers, one for each class.

    Attributes:
        scores: the same; they can be dragged in the page.
        right: the number of the class that is the truth.
        loss: "cross-entropy", "squared" (of softmax against the target), or "yes or no" (a sigmoid for each class).
        dtype: "float16", "float32" or "float64", of all numbers on the way.
        temperature: the scores are divided by it; then they are called z.
        smoothing: label smoothing. With C classes the target is 1 − s for the right one, and s / C more for each; for
            yes or no, 1 − s / 2 and s / 2.

    Raises:
        ArgumentError: something lies outside its limits.
    """

    scripts = ("losses",)
    controls = ("scores", "right", "loss", "dtype", "temperature", "smoothing")
    scores = tr.List(tr.Float(), default_value=[2.0, 1.0, -1.0]).tag(sync=True)
    right = tr.Int(0).tag(sync=True)
    loss = tr.Unicode("cross-entropy").tag(sync=True)
    dtype = tr.Unicode("float32").tag(sync=True)
    temperature = tr.Float(1.0).tag(sync=True)
    smoothing = tr.Float(0.0).tag(sync=True)

    def __init__(self, scores=None, **controls):
        if scores is not None:
            controls["scores"] = [float(v) for v in (scores.tolist() if hasattr(scores, "tolist") else scores)]
        super().__init__(**controls)

    # ------------------------------------------------------------------ the numbers
    def _check(self):
        for name, value, known in (("loss", self.loss, LOSSES), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise ArgumentError(message(f"LossLab: there is no {name} {value!r}.", [("known", ", ".join(known))]))
        count = len(self.scores)
        limits = [("the number of scores", count, FEWEST, MOST), ("right", self.right, 0, count - 1),
                  ("temperature", self.temperature, COOLEST, HOTTEST), ("smoothing", self.smoothing, 0.0, 0.9),
                  *((f"score {k}", value, -HIGHEST, HIGHEST) for k, value in enumerate(self.scores))]
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ArgumentError(message(f"LossLab: {name} cannot be {number(value)}.",
                                            [("it lies between", f"{number(low)} and {number(high)}")]))

    def target(self):
        """What the shares should be, (C,), after smoothing."""
        even = 0.5 if self.loss == "yes or no" else 1 / len(self.scores)
        wanted = np.zeros(len(self.scores))
        wanted[self.right] = 1.0
        return (1 - self.smoothing) * wanted + self.smoothing * even

    def values(self, way, dtype=None):
        """One way to the loss, in numbers of the dtype.

        Args:
            way: "plain", the formula as it is defined, or "mended", as the library computes it.
            dtype: another one than the widget's.

        Returns:
            dict: "z", the scores by the temperature; "power", what exp is taken of; "exp", what came out; "p", the
                shares; "slope", dL/dscore, each (C,); "loss", a number.
        """
        self._check()
        x = Tensor(np.array(self.scores, dtype=dtype or self.dtype), requires_grad=True)
        with np.errstate(all="ignore"):
            z = x / self.temperature
            power, e, p, loss = (_plain if way == "plain" else _mended)(z, self)
            found = {"z": z, "power": power, "exp": e, "p": p, "loss": loss}
            found = {name: tensor.detach().numpy() for name, tensor in found.items()}
            (slope,) = grad(loss, [x])
        return {**found, "slope": slope.numpy(), "loss": float(found["loss"])}

    def record(self):
        """Both ways, and what the loss should be, as a Trace of one frame."""
        ways = {way: self.values(way) for way in WAYS}
        truth = self.values("mended", "float64")["loss"]
        low, high = limits(self.dtype)
        lists = {way: {name: np.asarray(v, dtype=float).tolist() for name, v in found.items()}
                 for way, found in ways.items()}
        facts = self._facts(ways, truth, high)
        figure = {"losses": list(LOSSES), "dtypes": list(DTYPES), "formulas": list(FORMULAS[self.loss]),
                  "zero": low, "infinite": high, "facts": facts}
        data = {**lists, "scores": self.scores, "right": self.right, "target": self.target(), "truth": truth}
        lines = [self._line(k, ways) for k in range(len(self.scores))]
        frame = Frame("", " ".join(facts[:2]), data, (*facts[2:], *lines))
        return Trace([frame], f"{self.loss} of {len(self.scores)} scores in {self.dtype}", figure)

    # ------------------------------------------------------------------ in words
    def _facts(self, ways, truth, high):
        plain, mended = (ways[way]["loss"] for way in WAYS)
        over = [k for k, e in enumerate(ways["plain"]["exp"]) if math.isinf(e)]
        said = [f"Mended: loss {number(mended, 4)}, as it should be." if near(mended, truth, self.dtype) else
                f"Mended: loss {number(mended, 4)}; it should be {number(truth, 4)}."]
        if over:
            power = number(float(ways["plain"]["power"][over[0]]))
            said.append(f"Plain: exp({power}) is ∞ in {self.dtype}, which ends at exp({number(high)}); "
                        f"the loss is {number(plain, 4)}.")
        elif near(plain, truth, self.dtype):
            said.append(f"Plain: loss {number(plain, 4)}, the same up to rounding; exp stays below "
                        f"exp({number(high)}).")
        else:
            off = "far off" if not math.isfinite(plain) else f"off by {number(abs(plain - truth))}"
            said.append(f"Plain: loss {number(plain, 4)}, {off}: exp is finite, and rounding took what was small.")
        broken = int((~np.isfinite(ways["plain"]["slope"])).sum())
        if broken:
            count = len(self.scores)
            said.append("None of the plain slopes is a finite number." if broken == count else
                        f"{broken} of the {count} plain slopes {'is' if broken == 1 else 'are'} not finite.")
        return [*said, self._pull(ways["mended"]["slope"])]

    def _pull(self, slope):
        """Which score is pulled most, and whether that is much."""
        k = int(np.abs(slope).argmax())
        law = "" if self.loss == "squared" else " It is (share − target) / temperature."
        if abs(slope[k]) < 0.01:
            return f"No score is pulled by more than {number(float(abs(slope[k])))}.{law}"
        way = "up" if slope[k] < 0 else "down"
        return f"The step pulls score {k} {way} most: its slope is {number(float(slope[k]))}.{law}"

    def _line(self, k, ways):
        plain, mended = (ways[way] for way in WAYS)
        truth = " (right)" if k == self.right else ""
        return (f"Class {k}{truth}: score {number(self.scores[k])}; plain exp({number(float(plain['power'][k]))}) = "
                f"{number(float(plain['exp'][k]))}, share {number(float(plain['p'][k]))}, slope "
                f"{number(float(plain['slope'][k]))}; mended exp({number(float(mended['power'][k]))}) = "
                f"{number(float(mended['exp'][k]))}, share {number(float(mended['p'][k]))}, slope "
                f"{number(float(mended['slope'][k]))}.")

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """Scores, shares and slopes as bars; the exponents on the line of what exp can hold; the numbers."""
        return _Sheet(self.trace.figure, frame).document(self.trace.title)


def limits(dtype):
    """From where on exp is 0, and from where on it is infinite, in a dtype.

    >>> [tuple(round(end, 1) for end in limits(dtype)) for dtype in ("float16", "float32", "float64")]
    [(-17.3, 11.1), (-104.0, 88.7), (-745.1, 709.8)]
    """
    info = np.finfo(dtype)
    return math.log(float(info.smallest_subnormal)) - math.log(2), math.log(float(info.max))    # half of it rounds to 0


def near(a, b, dtype):
    """Whether two losses are the same, up to what rounding does in the dtype."""
    return math.isfinite(a) and abs(a - b) <= 8 * float(np.finfo(dtype).eps) * max(1.0, abs(b))


# ---------------------------------------------------------------------- the two ways
def _plain(z, lab):
    """As it is defined: powers, exp, shares, loss."""
    power = -z if lab.loss == "yes or no" else z
    e = power.exp()
    p = 1 / (1 + e) if lab.loss == "yes or no" else e / e.sum()
    target, s = lab.target(), lab.smoothing
    if lab.loss == "cross-entropy":
        loss = -p[lab.right].log()
        return power, e, p, (1 - s) * loss - s * p.log().mean() if s else loss
    if lab.loss == "squared":
        return power, e, p, ((p - Tensor(target.astype(z.dtype.name))) ** 2).sum()
    yes = [-float(t) * p[k].log() for k, t in enumerate(target) if t > 0]
    no = [-float(1 - t) * (1 - p[k]).log() for k, t in enumerate(target) if t < 1]
    return power, e, p, sum(yes[1:] + no, yes[0])


def _mended(z, lab):
    """As the library computes it."""
    target = Tensor(lab.target().astype(z.dtype.name))
    if lab.loss == "yes or no":
        power = -z.abs()
        return power, power.exp(), z.sigmoid(), F.binary_cross_entropy_with_logits(z, target, reduction="sum")
    power, p = z - z.max(), F.softmax(z, dim=0)
    if lab.loss == "squared":
        return power, power.exp(), p, ((p - target) ** 2).sum()
    right = md.tensor([lab.right])
    return power, power.exp(), p, F.cross_entropy(z.reshape(1, -1), right, label_smoothing=lab.smoothing)


# ---------------------------------------------------------------------- the still picture
WIDTH, NAMES, ROW, LINE = 740, 84, 30, 26


class _Sheet:
    """Bars, the line of exponents, and a table, from top to bottom."""

    def __init__(self, figure, frame):
        self.figure, self.data = figure, frame.data
        self.parts, self.y = [hatching()], 20.0
        self._bars()
        self._line()
        self._table()

    def _word(self, text, x, y, anchor="start", look="small"):
        self.parts.append(element("text", text, x=x, y=y, text_anchor=anchor, dominant_baseline="central", class_=look))

    def _bars(self):
        data, room = self.data, (WIDTH - NAMES - 12) / 3
        tops = (max(10.0, *map(abs, data["scores"])), 1.0, top_of(data["mended"]["slope"]))
        for k, head in enumerate(("score", "share", "∂ slope")):
            self._word(head, NAMES + k * room, self.y, look="small bold")
        self.y += 14
        for k, score in enumerate(data["scores"]):
            right = k == data["right"]
            self._word(f"{'▸ ' if right else ''}class {k}", 8, self.y + ROW / 2, look="bold" if right else "")
            shown = (score, data["mended"]["p"][k], data["mended"]["slope"][k])
            for j, (value, top) in enumerate(zip(shown, tops)):
                self._bar(value, top, NAMES + j * room, room - 16, signed=j != 1, gradient=j == 2)
            aim = NAMES + room + data["target"][k] * (room - 16)
            self.parts.append(element("path", d=path([(aim, self.y + 12), (aim, self.y + 29)]), class_="now",
                                      style="stroke-width: 2"))
            self.y += ROW
        self.y += 12

    def _bar(self, value, top, x, width, signed, gradient):
        """A bar from 0, to either side where `signed`, with its number."""
        zero, half = (x + width / 2, width / 2) if signed else (x, width)
        long = min(abs(value) / top, 1.0) * half if math.isfinite(value) else 0.0
        at = dict(x=zero - long if value < 0 else zero, y=self.y + 15, width=long, height=11)
        end = "negative" if value < 0 else "positive" if signed else "ink"
        look = (dict(class_="gradient", style=f"stroke: var(--md-{end})") if gradient
                else dict(style=f"fill: var(--md-{end})"))
        self.parts.append(element("rect", **at, **look))
        if value < 0 and not gradient:
            self.parts.append(element("rect", **at, fill=f"url(#{HATCH})"))
        self.parts.append(element("path", d=path([(zero, self.y + 13), (zero, self.y + 28)]), class_="value"))
        self._word(number(value), zero, self.y + 7, "middle" if signed else "start")

    def _line(self):
        low, high = self.figure["zero"], self.figure["infinite"]
        left, right = line_range(low, high)
        scale = (WIDTH - NAMES - 16) / (right - left)

        def place(v):
            return NAMES + (min(max(v, left), right) - left) * scale
        self._word("What exp is taken of", 8, self.y + 4, look="small bold")
        self._word("exp is 0", NAMES, self.y + 20, look="small muted")
        self._word("exp is ∞", WIDTH - 16, self.y + 20, "end", "small muted")
        self.y += 32
        rows = 2 * LINE
        self.parts.append(element("rect", x=place(left), y=self.y, width=place(low) - place(left), height=rows,
                                  class_="absent"))
        self.parts.append(element("rect", x=place(high), y=self.y, width=place(right) - place(high), height=rows,
                                  class_="broken-paper", stroke="var(--md-line)"))
        for k, way in enumerate(WAYS):
            y = self.y + LINE * (k + 0.5)
            self._word(way, NAMES - 8, y, "end")
            self.parts.append(element("path", d=path([(NAMES, y), (WIDTH - 16, y)]), class_="rule"))
            for i, value in enumerate(self.data[way]["power"]):
                self._dot(i, place(value), y, value > high)
        self._axis(place, (low, 0.0, high))

    def _dot(self, i, x, y, over):
        look = "fill: var(--md-broken); stroke: var(--md-paper)" if over else (
            "fill: var(--md-ink); stroke: var(--md-paper)" if i == self.data["right"] else
            "fill: var(--md-paper); stroke: var(--md-ink)")
        self.parts.append(element("circle", cx=x, cy=y, r=5, style=look))

    def _axis(self, place, ticks):
        self.y += 2 * LINE
        for value in ticks:
            self._word(number(value), place(value), self.y + 10, "middle", "small muted")
        self._word("● right class   ○ others   ┃ share that is wanted", 8, self.y + 26, look="small muted")
        self.y += 48

    def _table(self):
        places = [NAMES + 60 + k * 104 for k in range(6)]
        for k, way in enumerate(WAYS):
            self._word(f"{way}: {self.figure['formulas'][k]}", places[3 * k] - 56, self.y, look="small bold")
        self.y += 18
        for x, head in zip(places, ("exp", "share", "∂ slope") * 2):
            self._word(head, x, self.y, "end", "small muted")
        for k in range(len(self.data["scores"])):
            self.y += 18
            self._word(f"class {k}", 8, self.y)
            row = [self.data[way][name][k] for way in WAYS for name in ("exp", "p", "slope")]
            for x, value in zip(places, row):
                self._number(value, x)
        self.y += 22
        self._word("loss", 8, self.y, look="bold")
        for k, way in enumerate(WAYS):
            self._number(self.data[way]["loss"], places[3 * k], "bold")
        self.y += 26

    def _number(self, value, x, look="small"):
        broken = dict(style="fill: var(--md-broken-text)") if not math.isfinite(value) else {}
        self.parts.append(element("text", number(value, 4 if look == "bold" else 3), x=x, y=self.y, text_anchor="end",
                                  dominant_baseline="central", class_=look, **broken))

    def document(self, title):
        """The picture, with sentences below."""
        facts = self.figure["facts"]
        for line in facts:
            self._word(line, 8, self.y, look="")
            self.y += 18
        return document(WIDTH, self.y, joined(self.parts), title=title, desc=" ".join(facts))


def top_of(slopes):
    """The slope that fills half a column: 1, or more where there is more."""
    return max([1.0, *(abs(value) for value in slopes if math.isfinite(value))])


def line_range(low, high):
    """The two ends of the line of exponents: somewhat beyond what exp can hold."""
    return 1.25 * low, 1.6 * high
