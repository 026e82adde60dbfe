"""Signals through depth: what comes out of each layer, and what gradient arrives there, before anything is learned.

    SignalThroughDepth()                                  30 layers of tanh, weights of deviation 0.1
    SignalThroughDepth(activation="relu", init="He")      the same for another bend and another init

Layers of one width, h = f(h W'), without biases, on random rows; a random gradient of the same size goes back from the
top. Beside what was measured stands what follows from the law alone: a sum of n products with weights of deviation s
has n s² times the mean square, and with many inputs it is normal, so the mean square after f, and of the slope of f, is
an average over a normal number (Poole and others 2016, Schoenholz and others 2017).
"""
import math

import numpy as np
import traitlets as tr

from .. import functions as md
from ..autograd import grad
from ..errors import ArgumentError, message
from ..nn import init
from ..random import Generator
from ..tensor import Tensor
from ..viz.svg import document, element, joined, path
from ..viz.theme import number
from .trace import Frame, Trace, rounded
from .widget import Widget

ROWS = 100                                       # that go through; random, the same ones always
DEEPEST, NARROWEST, WIDEST = 40, 8, 128
FINEST, COARSEST = 0.01, 1.0                     # deviations of the weights
ACTIVATIONS = {"tanh": md.tanh, "relu": md.relu, "sigmoid": md.sigmoid, "none": lambda z: z}
VALUES = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
          "none": lambda z: z}
SLOPES = {"tanh": lambda h: 1 - h * h, "relu": lambda h: (h > 0) * 1.0, "sigmoid": lambda h: h * (1 - h),
          "none": np.ones_like}                  # from what came out
GAINS = {"none": "linear"}                       # names that init knows
INITS = {"own s": "normal, deviation s", "default": "even within ±1 / √n, as nn.Linear draws",
         "Xavier": "normal, s = 1 / √n", "He": "normal, s = gain / √n"}
FATES = ("dies", "lives", "explodes")
DEAD, EXPLODED = 1e-3, 1e3                       # of what went in
SILENT = 0.01                                    # a unit is dead if its slope is below, on every row
BINS = 21
REACH = {"tanh": 1.0, "sigmoid": 1.0, "relu": 3.0, "none": 3.0}      # values drawn; the ends hold what is beyond
BACK = 3.0                                       # the same for gradients, in deviations of what starts at the top


class SignalThroughDepth(Widget):
    """How a signal and a gradient fare through many layers of one width, with random weights.

    Attributes:
        depth: how many layers, up to 40.
        width: n, the numbers in each, from 8 to 128.
        activation: "tanh", "relu", "sigmoid" or "none".
        init: how weights are drawn: "own s", "default" (of nn.Linear), "Xavier" or "He" (with the activation's gain).
        s: the deviation for "own s".
        guess: "dies", "lives", "explodes", or "" if nobody has guessed; the words then say whether it was right.

    Raises:
        ArgumentError: a setting lies outside its limits.
    """

    scripts = ("through_depth",)
    controls = ("depth", "width", "activation", "init", "s", "guess")
    depth = tr.Int(30).tag(sync=True)
    width = tr.Int(100).tag(sync=True)
    activation = tr.Unicode("tanh").tag(sync=True)
    init = tr.Unicode("own s").tag(sync=True)
    s = tr.Float(0.1).tag(sync=True)
    guess = tr.Unicode("").tag(sync=True)

    def recompute(self):
        """Record anew; who has seen all of it still does, and who has guessed may look."""
        seen = self.trace is not None and (self.index == len(self.trace) - 1 or (self.guess and self.index == 0))
        trace = super().recompute()
        if seen:
            self.last()
        return trace

    # ------------------------------------------------------------------ the run
    def _check(self):
        limits = (("depth", self.depth, 1, DEEPEST), ("width", self.width, NARROWEST, WIDEST),
                  ("s", self.s, FINEST, COARSEST))
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ArgumentError(message(f"SignalThroughDepth: {name} cannot be {number(value)}.",
                                            [("it lies between", f"{number(low)} and {number(high)}")]))
        for name, value, known in (("activation", self.activation, ACTIVATIONS), ("init", self.init, INITS),
                                   ("guess", self.guess, ("", *FATES))):
            if value not in known:
                raise ArgumentError(message(f"SignalThroughDepth: there is no {name} {value!r}.",
                                            [("known", ", ".join(filter(None, known)))]))

    def deviation(self):
        """The deviation s that the weights are drawn with."""
        n, gain = self.width, init.calculate_gain(GAINS.get(self.activation, self.activation))
        return {"own s": self.s, "default": 1 / math.sqrt(3 * n), "Xavier": 1 / math.sqrt(n),
                "He": gain / math.sqrt(n)}[self.init]

    def _draw(self, generator):
        """The weight of one layer, (n, n)."""
        w = Tensor(np.empty((self.width, self.width), np.float32))
        if self.init == "default":
            bound = 1 / math.sqrt(self.width)
            return init.uniform_(w, -bound, bound, generator)
        if self.init == "Xavier":
            return init.xavier_normal_(w, generator=generator)
        if self.init == "He":
            return init.kaiming_normal_(w, nonlinearity=GAINS.get(self.activation, self.activation),
                                        generator=generator)
        return init.normal_(w, 0.0, self.s, generator)

    def values(self):
        """All of the run as arrays.

        Returns:
            dict: "h" and "g", the numbers before the first layer and after each, and the gradient that arrives there,
                (depth + 1, 100, n); "signal" and "gradient", their root mean squares, and "law" and "law back", what
                they should be for a wide layer, (depth + 1,); "dead", the share of dead units in each layer, (depth,).
        """
        self._check()
        generator = Generator(0)
        h = Tensor(generator.stream("cpu").standard_normal((ROWS, self.width)).astype(np.float32), requires_grad=True)
        top = Tensor(generator.stream("cpu").standard_normal((ROWS, self.width)).astype(np.float32))
        layers, f = [h], ACTIVATIONS[self.activation]
        with np.errstate(all="ignore"):
            for _ in range(self.depth):
                layers.append(f(md.matmul(layers[-1], self._draw(generator).T)))
            gradients = grad((layers[-1] * top).sum(), layers)
        out = np.stack([layer.detach().numpy() for layer in layers])
        back = np.stack([one.numpy() for one in gradients])
        law, law_back = theory(self.activation, self.width * self.deviation() ** 2, self.depth)
        slopes = SLOPES[self.activation](out[1:])
        return {"h": out, "g": back, "signal": size(out), "gradient": size(back), "law": law, "law back": law_back,
                "dead": (slopes < SILENT).all(axis=1).mean(axis=1)}

    def record(self):
        """A question; then forward, layer by layer; then backward, as a Trace."""
        v = self.values()
        facts = self._facts(v)
        frames = [Frame("question", self._question(), {"layer": 0})]
        frames += [Frame("forward", self._forward(v, k), {"layer": k}) for k in range(1, self.depth + 1)]
        frames += [Frame("backward", self._backward(v, k), {"layer": k}) for k in range(self.depth, -1, -1)]
        reach = REACH[self.activation]
        figure = {
            "activations": list(ACTIVATIONS), "inits": list(INITS), "fates": list(FATES), "facts": facts,
            "reach": [reach, BACK], "h": shares(v["h"], reach).round(4), "g": shares(v["g"], BACK).round(4),
            "dead": v["dead"].round(4),
            **{name: rounded(v[name], 4) for name in ("signal", "gradient", "law", "law back")},
        }
        return Trace(frames, f"{self.depth} layers of {self.width}, {self.activation}, {self.init}", figure)

    # ------------------------------------------------------------------ in words
    def _question(self):
        bend = "no activation" if self.activation == "none" else self.activation
        return (f"{self.depth} layers of {self.width} with {bend}, weights {INITS[self.init].replace(', ', ': ', 1)}"
                f"{f' = {number(self.s)}' if self.init == 'own s' else ''}. Signal and gradient: does one die, do both "
                "live, does one explode? Choose a guess, or step on.")

    def _forward(self, v, k):
        dead = f"; {percent(v['dead'][k - 1])} of the units are dead" if v["dead"][k - 1] else ""
        return (f"Layer {k}: root mean square {number(float(v['signal'][k]))}, by the law {number(float(v['law'][k]))}"
                f"{dead}.")

    def _backward(self, v, k):
        where = "the input" if k == 0 else f"layer {k}"
        return (f"The gradient at {where}: root mean square {number(float(v['gradient'][k]))}, by the law "
                f"{number(float(v['law back'][k]))}.")

    def _facts(self, v):
        factor, ends = self.width * self.deviation() ** 2, (float(v["signal"][-1]), float(v["gradient"][0]))
        signal, gradient = map(fate, ends)
        both = next(one for one in ("explodes", "dies", "lives") if one in (signal, gradient))
        verdict = f"The signal {signal}, the gradient {gradient}"
        if self.guess:
            verdict += f". You said {self.guess}: {'right' if self.guess == both else 'not so'}"
        facts = [
            f"{verdict}.",
            f"Signal {number(float(v['signal'][0]))} at the input, {number(ends[0])} at the top; gradient "
            f"{number(float(v['gradient'][-1]))} at the top, {number(ends[1])} at the input.",
            f"s = {number(self.deviation())}: a layer multiplies the mean square by n · s² = {number(factor)}, before "
            f"{'anything else' if self.activation == 'none' else self.activation} takes its share.",
        ]
        worst = int(v["dead"].argmax())
        if v["dead"][worst]:
            facts.append(f"Dead units (slope below {SILENT} on all {ROWS} rows): at most "
                         f"{percent(v['dead'][worst])}, in layer {worst + 1}.")
        return facts

    def describe(self):
        """The question, every step, and what became of both."""
        return "\n".join([self.trace.describe(), *self.trace.figure["facts"]])

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """Histograms of each layer as columns, forward above, backward below; root mean squares; dead units."""
        return _Columns(self.trace.figure, frame).document(self.trace.title)


def fate(left):
    """What became of a root mean square of 1: it "dies" below 0.001, "explodes" above 1000, or "lives"."""
    if not left <= EXPLODED:                     # a NaN, too
        return "explodes"
    return "dies" if left < DEAD else "lives"


def size(arrays):
    """Root mean square of each layer, (layers, rows, n) -> (layers,)."""
    return np.sqrt(np.square(arrays, dtype=float).mean(axis=(1, 2)))


def shares(arrays, reach, bins=BINS):
    """The histogram of each layer between ±reach as shares of its numbers, (layers, bins).

    The first and the last bin hold what is beyond. Numbers that are not finite are in no bin.
    """
    with np.errstate(invalid="ignore"):
        place = np.clip(arrays * (bins / (2 * reach)) + bins / 2, 0, bins - 1)
    finite = np.isfinite(arrays)
    first = bins * np.arange(len(arrays))[:, None, None]
    counts = np.bincount((np.where(finite, place, 0).astype(int) + first)[finite], minlength=bins * len(arrays))
    return counts.reshape(-1, bins) / arrays[0].size


def theory(activation, factor, depth):
    """Root mean squares of signal and gradient in wide layers, (depth + 1,) each, both starting with 1.

    `factor` is n s². Averages over a normal number are taken by Gauss and Hermite's rule; an even number of points
    leaves out 0, where the slope of relu jumps.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    square, back = [1.0], [1.0]
    for _ in range(depth):
        h = VALUES[activation](math.sqrt(factor * square[-1]) * z)
        square.append(float(weight @ h ** 2))
        back.append(factor * float(weight @ SLOPES[activation](h) ** 2))
    return np.sqrt(square), np.sqrt(np.cumprod([1.0, *back[:0:-1]]))[::-1]


def percent(share):
    """A share in words."""
    return f"{number(100 * float(share))} %"


# ---------------------------------------------------------------------- the still picture
WIDTH, LEFT, SIDE, FIELD, CURVE, BAR = 740, 88, 130, 105, 96, 26
SHADE = 0.35                                     # the share of a layer's numbers in a bin that gets the full colour


def curve_range(lines):
    """Powers of ten at the edges of the curves: even, at least from −2 to 2, at most ±12."""
    found = [math.log10(v) for line in lines for v in line if v > 0 and math.isfinite(v)]
    low, high = min([-2.0, *found]), max([2.0, *found])
    return max(2 * math.floor(low / 2), -12), min(2 * math.ceil(high / 2), 12)


def runs(row):
    """A histogram as (shade, first bin, the bin after) for neighbours that look the same; white ones are left out.

    >>> runs([0.0, 0.35, 0.4, 0.0])
    [(1.0, 1, 3)]
    """
    levels = [round(min(math.sqrt(share / SHADE), 1.0), 1) for share in row]
    starts = [b for b in range(len(levels)) if b == 0 or levels[b] != levels[b - 1]]
    return [(levels[a], a, b) for a, b in zip(starts, [*starts[1:], len(levels)]) if levels[a]]


class _Columns:
    """A column for each layer, from left to right; the layer at hand once more, larger, at the side."""

    def __init__(self, figure, frame):
        self.figure, self.now, self.phase = figure, frame.data["layer"], frame.phase
        self.count = len(figure["signal"])
        self.step = (WIDTH - LEFT - SIDE - 24) / self.count
        self.parts, self.y = [], 20.0
        self._axis()
        self._field("h", "signal", figure["reach"][0])
        self._field("g", "∂ gradient", figure["reach"][1])
        self._curve()
        self._dead()

    def _x(self, k):
        return LEFT + k * self.step

    def _known(self, name, k):
        if name == "g":
            return self.phase == "backward" and k >= self.now
        return self.phase == "backward" or k <= self.now

    def _word(self, text, x, y, anchor="end", look="small muted"):
        self.parts.append(element("text", text, x=x, y=y, text_anchor=anchor, dominant_baseline="central", class_=look))

    def _axis(self):
        self._word("layer", LEFT - 8, self.y)
        for k in range(0, self.count, max(1, math.ceil(24 / self.step))):
            self._word(k, self._x(k) + self.step / 2, self.y, "middle", "small")
        side = "input" if self.now == 0 else f"layer {self.now}"
        self._word(side, WIDTH - SIDE, self.y, "start", "small bold")
        self.y += 14

    def _field(self, name, says, reach):
        rows, tall = self.figure[name], FIELD / BINS
        self._word(says, LEFT - 8, self.y + FIELD / 2, look="bold")
        for value in (reach, -reach):
            self._word(f"{'+' if value > 0 else ''}{number(value)}", LEFT - 8, self.y + (5 if value > 0 else FIELD - 5))
        shades = {}
        for k, row in enumerate(rows):
            for level, first, after in runs(row) if self._known(name, k) else ():
                box = _box(self._x(k), self.y + FIELD - after * tall, self.step, (after - first) * tall)
                shades[level] = shades.get(level, "") + box
        for level, d in sorted(shades.items()):
            self.parts.append(element("path", d=d, style="fill: var(--md-ink)", fill_opacity=level))
        hidden = [k for k in range(self.count) if not self._known(name, k)]
        if hidden:
            self.parts.append(element("rect", x=self._x(hidden[0]), y=self.y, width=self.step * len(hidden),
                                      height=FIELD, class_="absent"))
        self.parts.append(element("rect", x=LEFT, y=self.y, width=self.step * self.count, height=FIELD, class_="rule"))
        self._ring(FIELD)
        if self._known(name, self.now):
            self._aside(rows[self.now], tall)
        self.y += FIELD + 14

    def _aside(self, row, tall):
        """The histogram of the layer at hand, its bins at the heights of the field's."""
        most = max(max(row), 1e-9)
        bars = "".join(_box(WIDTH - SIDE, self.y + FIELD - (b + 1) * tall + 0.5, (SIDE - 46) * share / most, tall - 1)
                       for b, share in enumerate(row) if share)
        self.parts.append(element("path", d=bars, style="fill: var(--md-ink)"))
        top = row.index(max(row))
        self._word(percent(max(row)), WIDTH - 4, self.y + FIELD - (top + 0.5) * tall, look="small")

    def _curve(self):
        lines = {name: self.figure[name] for name in ("signal", "gradient", "law", "law back")}
        low, high = curve_range(lines.values())
        self._word("log10 of the root mean square: ● signal, ○ gradient, dotted: by the law", LEFT, self.y, "start")
        self.y += 12

        def place(k, value):
            power = min(max(math.log10(value) if value > 0 else low, low), high)
            return self._x(k) + self.step / 2, self.y + (high - power) / (high - low) * CURVE
        for power in (low, 0, high):
            y = place(0, 10.0 ** power)[1]
            self._word(number(power), LEFT - 8, y)
            self.parts.append(element("path", d=path([(LEFT, y), (self._x(self.count), y)]), class_="rule"))
        for name, line in lines.items():
            owner = "g" if name in ("gradient", "law back") else "h"
            points = [place(k, v) for k, v in enumerate(line) if math.isfinite(v) and self._known(owner, k)]
            self._line(points, name.startswith("law"), hollow=owner == "g")
        self._ring(CURVE)
        self.y += CURVE + 14

    def _line(self, points, law, hollow):
        if not points:
            return
        if law:
            self.parts.append(element("path", d=path(points), class_="absent", style="stroke-width: 1.6"))
            return
        look = dict(class_="gradient") if hollow else dict(style="stroke: var(--md-ink); stroke-width: 1.8")
        self.parts.append(element("path", d=path(points), fill="none", **look))
        fill = "paper" if hollow else "ink"
        self.parts += [element("circle", cx=x, cy=y, r=2.6, style=f"fill: var(--md-{fill}); stroke: var(--md-ink)")
                       for x, y in points]

    def _dead(self):
        if not max(self.figure["dead"]):
            return
        self._word("dead units", LEFT - 8, self.y + BAR / 2, look="small bold")
        bars = "".join(_box(self._x(k) + 1, self.y + BAR * (1 - share), self.step - 2, BAR * share)
                       for k, share in enumerate(self.figure["dead"], 1) if self._known("h", k) and share)
        self.parts += [element("path", d=bars, style="fill: var(--md-muted)"),
                       element("rect", x=LEFT, y=self.y, width=self.step * self.count, height=BAR, class_="rule")]
        self._word("100 %", self._x(self.count) + 4, self.y + 4, "start")
        self.y += BAR + 12

    def _ring(self, high):
        self.parts.append(element("rect", x=self._x(self.now), y=self.y - 2, width=self.step, height=high + 4,
                                  class_="now", style="stroke-width: 2"))

    def document(self, title):
        """The picture, with sentences below."""
        self.y += 8
        facts = self.figure["facts"] if self.phase == "backward" and self.now == 0 else []
        for line in facts:
            self._word(line, 8, self.y, "start", "")
            self.y += 18
        return document(WIDTH, self.y, joined(self.parts), title=title, desc=" ".join(self.figure["facts"]))


def _box(x, y, width, height):
    """The `d` of a box, short: a field has hundreds of them."""
    return f"M{x:.1f},{y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"
