"""Gradients through time: how much of dL/dh is left at each step back, while the spectral radius slides.

    GradientThroughTime()                a random state of 8 numbers, 30 steps
    GradientThroughTime(rnn, x)          your own RNN on your own sequence

The loss looks at the last state only: L is a fixed direction of length 1 times h, so dL/dh begins with length 1, and
its length at an earlier step is the share that came through. Steps count from 0, as everywhere.
"""
import math

import numpy as np
import traitlets as tr

from .. import functions as md
from ..autograd import grad
from ..errors import ArgumentError, ShapeError, message
from ..nn.recurrent import RNN
from ..tensor import Tensor, as_tensor
from ..viz.svg import document, element, joined, path, text_width
from ..viz.theme import ABOVE, number
from .cells import HATCH, hatching
from .trace import Frame, Trace, rounded
from .widget import Widget

MOST, WIDEST = 60, 24                  # steps and units that fit into a picture
BENDS = {"tanh": "tanh(z)", "relu": "relu(z)", "none": "z"}
SLOPES = {"tanh": lambda h: 1 - h * h, "relu": lambda h: (h > 0) * 1.0, "none": np.ones_like}      # from the state
STARTS = ("random", "orthogonal")
FAINT, FULL = -6, 2                    # powers of ten that get the colour of paper and the full colour


def share(value):
    """How strong the colour of a number is: 0 up to 1e-6, 1 from 100 on, evenly in powers of ten between.

    >>> share(1.0), share(-0.01), share(0.0), share(1e9)
    (0.75, 0.5, 0.0, 1.0)
    """
    if not value:
        return 0.0
    return min(max((math.log10(abs(value)) - FAINT) / (FULL - FAINT), 0.0), 1.0)


class GradientThroughTime(Widget):
    """How dL/dh shrinks or grows on its way back through a recurrent layer.

    Args:
        rnn: an RNN of one layer and one direction. It is not changed; its weight of the state is scaled for the
            picture. Left out, a random one with 8 numbers in its state.
        x: the sequence, (T, I); random numbers if left out, as many steps as `steps` says.

    Attributes:
        radius: the spectral radius that the weight of the state is scaled to; at first that of the `rnn`, or 0.9.
        steps: how many steps, with a random sequence.
        bend: what follows the sum, "tanh", "relu" or "none".
        start: how the weight was drawn, "random" or "orthogonal"; with an `rnn` of one's own it is what it is.

    Raises:
        ArgumentError, ShapeError: what was given cannot be run or shown.
    """

    scripts = ("through_time",)
    controls = ("radius", "steps", "bend", "start")
    radius = tr.Float(0.9).tag(sync=True)
    steps = tr.Int(30).tag(sync=True)
    bend = tr.Unicode("tanh").tag(sync=True)
    start = tr.Unicode("random").tag(sync=True)

    def __init__(self, rnn=None, x=None, **controls):
        self._own = rnn is not None
        self._w_ih, self._w_hh, self._b = _weights(rnn) if self._own else (None, None, None)
        self._x = _sequence(x, self._w_ih)
        if self._own:
            controls = {"radius": radius_of(self._w_hh), "bend": rnn.nonlinearity, **controls}
        if self._x is not None:
            controls["steps"] = len(self._x)
        super().__init__(**controls)
        self.last()                                  # the whole way is to be seen before anything is touched

    # ------------------------------------------------------------------ the run
    def _check(self):
        limits = [("steps", self.steps, 2, MOST), ("radius", self.radius, 0.0, 3.0)]
        for name, value, low, high in limits:
            if not low <= value <= high:
                raise ArgumentError(message(f"GradientThroughTime: {name} cannot be {number(value)}.",
                                            [("it lies between", f"{low} and {high}")]))
        for name, value, known in (("bend", self.bend, BENDS), ("start", self.start, STARTS)):
            if value not in known:
                raise ArgumentError(message(f"GradientThroughTime: there is no {name} {value!r}.",
                                            [("known", ", ".join(known))]))
        if self._x is not None and self.steps != len(self._x):
            raise ArgumentError(message("GradientThroughTime: the sequence that was given has its own length.",
                                        [("steps", self.steps), ("x", self._x.shape, "T I")]))

    def _parts(self):
        """Input part of every step (T, H) and the weight of the state (H, H), scaled to the radius."""
        rng = np.random.default_rng(0)
        if self._own:
            w_ih, w_hh, b = self._w_ih, self._w_hh, self._b
        else:
            w_ih, w_hh, b = rng.normal(size=(8, 1)) * 0.5, rng.normal(size=(8, 8)), 0.0
            w_hh = np.linalg.qr(w_hh)[0] if self.start == "orthogonal" else w_hh
        x = self._x if self._x is not None else rng.normal(size=(self.steps, w_ih.shape[1]))
        own = radius_of(w_hh)
        if own == 0 and self.radius > 0:
            raise ArgumentError(message("GradientThroughTime: this weight cannot be scaled to a radius.",
                                        [("its spectral radius", 0)], "radius=0, or another weight of the state."))
        return x @ w_ih.T + b, w_hh * (self.radius / own if own else 1.0)

    def values(self):
        """All of the run as arrays.

        "h" and "dh", the states and the gradient of the loss with respect to them, (T, H); "slope", the mean slope of
        the bend at each step, (T,); "length", how long dL/dh is at each step, (T,); "law", the radius to the power of
        the steps that lie between, (T,); "w", the weight of the state as it was used, (H, H).
        """
        self._check()
        from_x, w = self._parts()
        bend = {"tanh": md.tanh, "relu": md.relu, "none": lambda z: z}[self.bend]
        weight, h, states = Tensor(w), Tensor(np.zeros(len(w)), requires_grad=True), []
        with np.errstate(over="ignore", invalid="ignore"):
            for row in from_x:
                h = bend(Tensor(row) + md.matmul(weight, h))
                states.append(h)
            direction = np.random.default_rng(1).normal(size=len(w))
            loss = (h * Tensor(direction / np.linalg.norm(direction))).sum()
            dh = np.stack([g.numpy() for g in grad(loss, states)])
        h = np.stack([one.detach().numpy() for one in states])
        slope = SLOPES[self.bend](h).mean(axis=1)
        law = self.radius ** np.arange(len(h) - 1, -1, -1.0)
        return {"h": h, "dh": dh, "slope": slope, "length": np.linalg.norm(dh, axis=1), "law": law, "w": w}

    def record(self):
        """Forward through the slopes, then back through the gradients, as a Trace."""
        v = self._values = self.values()
        times = range(len(v["h"]))
        frames = [Frame("forward", self._forward(v, t), {"t": t}) for t in times]
        frames += [Frame("backward", self._backward(v, t), {"t": t}) for t in reversed(times)]
        figure = {
            "own": self._own, "fixed": self._x is not None, "bends": list(BENDS), "starts": list(STARTS),
            "radius": self.radius, "facts": self._facts(v), "scale": [FAINT, FULL],
            "dh": rounded(v["dh"].T, 4), "slope": rounded(v["slope"], 4),
            "length": rounded(v["length"], 5), "law": rounded(v["law"], 4),
        }
        bend = "no bend" if self.bend == "none" else self.bend
        return Trace(frames, f"dL/dh through {len(v['h'])} steps, {len(v['w'])} units, {bend}", figure)

    # ------------------------------------------------------------------ in words
    def _forward(self, v, t):
        return (f"t = {t}: h = {BENDS[self.bend].replace('z', 'input + W h')}; the slope there is "
                f"{number(float(v['slope'][t]))} on the mean of the units. That much would come back through it.")

    def _backward(self, v, t):
        length, last = number(float(v["length"][t])), len(v["h"]) - 1
        if t == last:
            return f"t = {t}: dL/dh has length {length}. The loss looks at this state."
        before = float(v["length"][t + 1])
        factor = f", {number(float(v['length'][t]) / before)} times that at t = {t + 1}" if before else ""
        return (f"t = {t}: dL/dh has length {length}{factor}. The radius alone says {number(self.radius)} to the power "
                f"of {last - t}, {number(float(v['law'][t]))}.")

    def _facts(self, v):
        """What the whole way made of the gradient, and what W and the slopes would have let one expect."""
        left, back = float(v["length"][0]), len(v["h"]) - 1
        word = ("is broken" if not math.isfinite(left) else "vanishes" if left < 1e-3 else
                "explodes" if left > 1e3 else "lasts")
        stretch = float(np.linalg.norm(v["w"], 2))
        mean = float(np.exp(np.mean(np.log(np.maximum(v["slope"][1:], 1e-300)))))
        rough = self.radius * mean
        return [
            f"Over {back} steps the gradient {word}: from length 1 to {number(left)}.",
            f"W: spectral radius {number(self.radius)}, longest stretch (largest singular value) {number(stretch)}.",
            f"Radius times typical slope: {number(self.radius)} · {number(mean)} = {number(rough)} a step, "
            f"{number(rough ** back)} in all.",
        ]

    def describe(self):
        """Every step on and back in numbers, and what became of the gradient."""
        return "\n".join([self.trace.describe(), *self._facts(self._values)])

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """Slopes as bars, dL/dh as a field of cells, its length as a curve over powers of ten."""
        return _Timeline(self.trace.figure, frame).document(self.trace.title)


def radius_of(w):
    """The spectral radius: how large the largest eigenvalue is.

    >>> round(radius_of(np.array([[0.0, -2.0], [2.0, 0.0]])), 6)
    2.0
    """
    return float(np.abs(np.linalg.eigvals(w)).max())


def _weights(rnn):
    """Weights as float64 arrays and the sum of the biases."""
    if not isinstance(rnn, RNN) or rnn.num_layers > 1 or rnn.bidirectional:
        raise ArgumentError(message("GradientThroughTime: only an RNN of one layer and one direction can be shown.",
                                    [("rnn", repr(rnn))], "nn.RNN(1, 8), or GateConsole for an LSTM or a GRU."))
    if rnn.hidden_size > WIDEST:
        raise ArgumentError(message("GradientThroughTime: this state does not fit into a picture.",
                                    [("hidden_size", rnn.hidden_size, f"at most {WIDEST}")]))
    arrays = [p.detach().numpy().astype(float) for p in rnn.parameters()]
    return arrays[0], arrays[1], sum(arrays[2:], np.zeros(rnn.hidden_size))


def _sequence(x, w_ih):
    if x is None:
        return None
    x = as_tensor(x).detach().numpy().astype(float)
    width = 1 if w_ih is None else w_ih.shape[1]
    if x.ndim != 2 or x.shape[1] != width or not 2 <= len(x) <= MOST:
        raise ShapeError(message("GradientThroughTime: this sequence cannot be read or drawn.",
                                 [("x", x.shape, "T I"), ("I", width), ("T", f"from 2 to {MOST}")], f"x[:{MOST}]."))
    return x


# ---------------------------------------------------------------------- the still picture
WIDTH, LEFT, RIGHT, BAR, CURVE = 740, 84, 16, 34, 96


class _Timeline:
    """Rows above each other that share the time axis."""

    def __init__(self, figure, frame):
        self.figure, self.now, self.back = figure, frame.data["t"], frame.phase == "backward"
        self.count = len(figure["slope"])
        self.step = (WIDTH - LEFT - RIGHT) / self.count
        self.parts, self.y = [hatching()], 34.0
        self._axis()
        self._slopes()
        self._field()
        self._curve()

    def _x(self, t):
        return LEFT + t * self.step

    def _arrived(self, t):
        return self.back and t >= self.now

    def _word(self, text, x, y, anchor="end", look="bold"):
        self.parts.append(element("text", text, x=x, y=y, text_anchor=anchor, dominant_baseline="central", class_=look))

    def _axis(self):
        self._word("t", LEFT - 10, 20, look="muted")
        for t in range(0, self.count, max(1, math.ceil(24 / self.step))):
            self._word(t, self._x(t) + self.step / 2, 20, "middle", "small")

    def _slopes(self):
        self._word("slope", LEFT - 10, self.y + BAR / 2)
        wide, bars, absent = max(self.step - 2, 1), "", ""
        for t, value in enumerate(self.figure["slope"]):
            if not self.back and t > self.now:
                absent += _box(self._x(t) + 1, self.y, wide, BAR)
                continue
            tall = max((value if math.isfinite(value) else 0) * BAR, 0.6)
            bars += _box(self._x(t) + 1, self.y + BAR - tall, wide, tall)
        self.parts.append(element("path", d=bars, style="fill: var(--md-positive)"))
        self.parts.append(element("path", d=absent, class_="absent") if absent else None)
        self.parts.append(element("path", d=path([(LEFT, self.y + BAR), (WIDTH - RIGHT, self.y + BAR)]), class_="rule"))
        self._ring(BAR)
        self.y += BAR + 12

    def _field(self):
        rows = self.figure["dh"]
        cell = min(max(160 / len(rows), 8), 20)
        high = cell * len(rows)
        self._word("dL/dh", LEFT - 10, self.y + high / 2)
        self.parts.append(_cells([(value, self._x(t), self.y + i * cell, self.step, cell)
                                  for i, row in enumerate(rows) for t, value in enumerate(row) if self._arrived(t)]))
        known = self._x(self.now) if self.back else WIDTH - RIGHT
        if known > LEFT:
            self.parts.append(element("rect", x=LEFT, y=self.y, width=known - LEFT, height=high, class_="absent"))
        self.parts.append(element("rect", x=LEFT, y=self.y, width=WIDTH - LEFT - RIGHT, height=high, class_="rule"))
        self._ring(high)
        self.y += high + 6
        self._legend()

    def _legend(self):
        x, shades = float(LEFT), []
        for power in range(FAINT, FULL + 1, 2):
            for sign in (1, -1):
                shades.append((sign * 10.0 ** power, x, self.y, 12.0, 12.0))
                x += 14
            text = f"±{number(10.0 ** power)}"
            self._word(text, x + 3, self.y + 6, "start", "small")
            x += 16 + text_width(text, 11)
        self.parts += [_cells(shades), element("path", d="".join(_box(*at) for _, *at in shades), class_="rule")]
        self._word("hatched: negative", x + 6, self.y + 6, "start", "small muted")
        self.y += 34

    def _curve(self):
        lines = {"length": self.figure["length"], "law": self.figure["law"]}
        powers = {name: [math.log10(v) if v > 0 and math.isfinite(v) else None for v in line]
                  for name, line in lines.items()}
        low, high = curve_range(powers.values())
        self._word("log10 |dL/dh|", LEFT - 6, self.y - 4, "start", "small muted")
        self.y += 6
        for power in (low, 0, high):
            y = self.y + (high - power) / (high - low) * CURVE
            self._word(number(power), LEFT - 6, y, look="small muted")
            self.parts.append(element("path", d=path([(LEFT, y), (WIDTH - RIGHT, y)]), class_="rule"))
        for name, line in powers.items():
            points = [(self._x(t) + self.step / 2, self.y + (high - min(max(p, low), high)) / (high - low) * CURVE)
                      for t, p in enumerate(line) if p is not None and (name == "law" or self._arrived(t))]
            look = (dict(stroke="var(--md-muted)", stroke_dasharray="4 3") if name == "law"
                    else dict(stroke="var(--md-ink)"))
            if points:
                self.parts.append(element("path", d=path(points), fill="none", stroke_width=1.8, **look))
            if name == "length":
                self.parts += [element("circle", cx=x, cy=y, r=2.2, style="fill: var(--md-ink)") for x, y in points]
        self._ring(CURVE)
        self.y += CURVE + 20

    def _ring(self, high):
        self.parts.append(element("rect", x=self._x(self.now), y=self.y - 2, width=self.step, height=high + 4,
                                  class_="now", style="stroke-width: 2"))

    def document(self, title):
        """The picture with sentences below."""
        facts = ["Dashed: the radius to the power of the steps between.", *self.figure["facts"]]
        for line in facts:
            self.parts.append(element("text", line, x=12, y=self.y))
            self.y += 18
        return document(WIDTH, self.y, joined(part for part in self.parts if part), title=title, desc=" ".join(facts))


def curve_range(lines):
    """Powers of ten at the lower and the upper edge of the curves: even numbers, at least from −2 to 2, at most ±12."""
    found = [p for line in lines for p in line if p is not None]
    low, high = min([-2.0, *found]), max([2.0, *found])
    return max(2 * math.floor(low / 2), -12), min(2 * math.ceil(high / 2), 12)


def _box(x, y, width, height):
    """The `d` of a box."""
    return path([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], closed=True)


def _cells(cells):
    """Cells (value, x, y, width, height): paper up to 1e-6, the full colour from 100 on; one path is all the hatch."""
    finite = [one for one in cells if math.isfinite(one[0])]
    parts = [element("g", joined(element("path", d=_box(*at), fill_opacity=round(share(value), 2))
                                 for value, *at in finite if share(value) and (value > 0) == (end == "positive")),
                     style=f"fill: var(--md-{end})") for end in ("positive", "negative")]
    hatched = "".join(_box(*at) for value, *at in finite if value < 0 and share(value))
    parts.append(element("path", d=hatched, fill=f"url(#{HATCH})"))
    for value, x, y, width, height in cells:
        middle = dict(x=x + width / 2, y=y + height / 2, text_anchor="middle", dominant_baseline="central")
        if not math.isfinite(value):
            parts.append(element("path", d=_box(x, y, width, height), class_="broken-paper"))
            parts.append(element("text", "×", **middle, class_="broken", font_size=10))
        elif abs(value) > 1.01 * 10 ** FULL:
            parts.append(element("text", ABOVE, **middle, font_size=8, style="fill: var(--md-paper)"))
    return joined(parts)
