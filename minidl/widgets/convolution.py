"""A convolution looked at from all sides: which pixel meets which weight, what is never read, and the way back.

    ConvolutionExplorer()                       small whole numbers, every setting can be changed
    ConvolutionExplorer(nn.Conv2d(...), image)  your own layer and your own image

The values are those of the ops themselves: conv2d, conv2d_input_grad and conv2d_weight_grad. Letters as in
ops/conv.py: x (C, H, W) is one image, w (O, C / groups, KH, KW) the filters, y (O, OH, OW) what comes out.
"""
import itertools
import math
from dataclasses import dataclass

import numpy as np
import traitlets as tr

from .. import ops
from ..autograd import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..nn.layers import Conv2d
from ..ops.conv import places
from ..tensor import Tensor, apply
from ..viz import theme
from ..viz.svg import document, element, joined, text_width
from .cells import cells, hatching
from .trace import Frame, Trace, rounded
from .widget import Widget

SIDE, CHANNELS = 32, 8                  # the most that is shown: rows and columns with their padding, channels
TERMS = 9                               # products of a sum that are written out; more of them by channel
GRADIENTS = ("numbers", "ones", "yours")


class Pair(tr.TraitType):
    """A trait (vertical, horizontal); one whole number stands for both."""

    info_text = "a whole number or a pair of them"

    def validate(self, obj, value):
        value = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
        if len(value) == 2 and all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in value):
            return tuple(int(v) for v in value)
        self.error(obj, value)


# ---------------------------------------------------------------------- which window reads which pixel
@dataclass(frozen=True)
class Geometry:
    """Where the windows lie, along both axes; every field is a pair (vertical, horizontal)."""

    size: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple

    @property
    def out(self):
        """How many windows fit."""
        return tuple(map(places, self.size, self.kernel, self.stride, self.padding, self.dilation))

    @property
    def over(self):
        """Rows and columns at the end that are too few for one more window; what `floor` drops."""
        reach = ((n + 2 * p - d * (k - 1) - 1, s) for n, p, d, k, s in
                 zip(self.size, self.padding, self.dilation, self.kernel, self.stride))
        return tuple(room % step for room, step in reach)

    def taps(self, i, j):
        """What window (i, j) reads: (row of the weight, column of the weight, row of x, column of x).

        Rows and columns outside the image are padding.
        """
        (s, t), (p, q), (d, e) = self.stride, self.padding, self.dilation
        return [(k, n, i * s - p + k * d, j * t - q + n * e) for k, n in itertools.product(*map(range, self.kernel))]

    def inside(self, row, column):
        """Whether this is a pixel of the image, not of the padding."""
        return 0 <= row < self.size[0] and 0 <= column < self.size[1]

    def windows(self, row, column):
        """Which windows read a pixel, and through which weight: (i, j, row and column of the weight)."""
        found = itertools.product(self._along(0, row), self._along(1, column))
        return [(i, j, k, n) for (i, k), (j, n) in found]

    def _along(self, axis, place):
        s, p, d = self.stride[axis], self.padding[axis], self.dilation[axis]
        reached = ((place + p - k * d, k) for k in reversed(range(self.kernel[axis])))
        return [(at // s, k) for at, k in reached if at % s == 0 and 0 <= at // s < self.out[axis]]


def product(a, b):
    """A product in numbers: `2·(−1)`."""
    texts = [theme.number(float(factor)) for factor in (a, b)]
    return "·".join(f"({text})" if text.startswith(theme.MINUS) else text for text in texts)


def summed(terms, total, most=TERMS):
    """A sum of products in numbers: `1·2 + 3·(−1) = −1`."""
    shown = " + ".join(product(a, b) for a, b in terms[:most])
    rest = f" + {len(terms) - most} more products" if len(terms) > most else ""
    return f"{shown}{rest} = {theme.number(float(total))}"


# ---------------------------------------------------------------------- the widget
class ConvolutionExplorer(Widget):
    """A convolution, forward and back, one window at a time.

    Args:
        layer: a Conv2d, or filters (O, C / groups, KH, KW) alone; left out, small whole numbers.
        x: an image (H, W), (C, H, W) or a batch (N, C, H, W) of which the first one is taken.
        dy: the gradient that arrives at y, (O, OH, OW); it counts for the settings that it fits.

    Attributes:
        size, kernel: rows and columns of x and of a filter.
        channels, filters, groups: C, O and groups.
        stride, padding, dilation: pairs (vertical, horizontal); one number stands for both.
        gradient: what arrives at y: "numbers" (small whole ones), "ones" (L is the sum of y), or "yours" (`dy`).
        seed: of numbers that are not yours.
        unfolded: whether the sum is also shown as a row of the matrix of windows (im2col).
        chosen: the cell that was asked about, such as "x 0 2 3"; "" if none. See `about`.

    Raises:
        ArgumentError, ShapeError: layer, image and settings do not fit together, or are too large to be seen.
    """

    scripts = ("convolution",)
    controls = ("size", "kernel", "channels", "filters", "groups", "stride", "padding", "dilation", "gradient", "seed")
    size = Pair((6, 7)).tag(sync=True)
    kernel = Pair((3, 3)).tag(sync=True)
    channels = tr.Int(1).tag(sync=True)
    filters = tr.Int(1).tag(sync=True)
    groups = tr.Int(1).tag(sync=True)
    stride = Pair((2, 2)).tag(sync=True)
    padding = Pair((0, 0)).tag(sync=True)
    dilation = Pair((1, 1)).tag(sync=True)
    gradient = tr.Enum(GRADIENTS, "numbers").tag(sync=True)
    seed = tr.Int(0).tag(sync=True)
    unfolded = tr.Bool(False).tag(sync=True)
    chosen = tr.Unicode("").tag(sync=True)
    fixed = tr.List(tr.Unicode()).tag(sync=True)     # controls that are the learner's own; the page leaves them out

    def __init__(self, layer=None, x=None, dy=None, **controls):
        self._bias = None
        self._weight = None if layer is None else self._of_layer(layer, controls)
        self._image = None if x is None else _image(x)
        self._dy = None if dy is None else _array(dy)
        self._called = isinstance(layer, Conv2d)
        fixed = {}
        if self._image is not None:
            fixed |= dict(channels=self._image.shape[0], size=self._image.shape[1:])
        if self._weight is not None:
            groups = controls.get("groups", 1)
            fixed |= dict(filters=self._weight.shape[0], kernel=self._weight.shape[2:])
            fixed.setdefault("channels", self._weight.shape[1] * groups)
            fixed["groups"] = groups
        self._fixed = fixed
        if dy is not None:
            controls.setdefault("gradient", "yours")
        super().__init__(**{**controls, **fixed, "fixed": sorted(fixed)})

    def _of_layer(self, layer, controls):
        if not isinstance(layer, Conv2d):
            return _filters(layer)
        if layer.padding_mode != "zeros":
            raise ArgumentError(message("ConvolutionExplorer: only a padding of zeros can be shown.",
                                        [("padding_mode", repr(layer.padding_mode))], "F.pad the image beforehand."))
        self._bias = None if layer.bias is None else _array(layer.bias)
        controls.setdefault("stride", layer.stride)
        controls.setdefault("padding", _as_pair(layer))
        controls.setdefault("dilation", layer.dilation)
        controls["groups"] = layer.groups
        return _filters(layer.weight)

    # ------------------------------------------------------------------ the numbers
    @property
    def geometry(self):
        """Where the windows lie, as a Geometry."""
        return Geometry(self.size, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def settings(self):
        """The settings as the ops take them."""
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)

    def values(self):
        """x, w, bias, y and the gradients dy, dx, dw as arrays, without the axis of the batch; bias may be None.

        With them `reads` (H, W): how many windows read each pixel.
        """
        self._check()
        x, w, b = self._x(), self._w(), self._bias
        with no_grad():
            y = apply(ops.conv2d, (x[None], w), self.settings).array[0]
            y = y if b is None else y + b[:, None, None]
            dy = self._gradient(y.shape)
            dx, dw = self.back(x, w, dy)
            once = {**self.settings, "groups": 1}
            ones = np.ones((1, 1, *y.shape[1:])), np.ones((1, 1, *self.kernel))
            reads = apply(ops.conv2d_input_grad, ones, {**once, "size": self.size}).array[0, 0]
        return dict(x=x, w=w, bias=b, y=y, dy=dy, dx=dx, dw=dw, reads=reads.astype(int))

    def back(self, x, w, dy):
        """dL/dx and dL/dw for a gradient dy (O, OH, OW), from the gradient ops of conv2d."""
        with no_grad():
            dx = apply(ops.conv2d_input_grad, (dy[None], w), {**self.settings, "size": self.size}).array[0]
            dw = apply(ops.conv2d_weight_grad, (x[None], dy[None]), {**self.settings, "kernel": self.kernel}).array
        return dx, dw

    def _x(self):
        if self._image is not None:
            return self._image
        return self._drawn(1, -3, 4, (CHANNELS, SIDE, SIDE))[:self.channels, :self.size[0], :self.size[1]]

    def _w(self):
        if self._weight is not None:
            return self._weight
        drawn = self._drawn(2, -2, 3, (CHANNELS, CHANNELS, SIDE, SIDE))
        return drawn[:self.filters, :self.channels // self.groups, :self.kernel[0], :self.kernel[1]]

    def _gradient(self, shape):
        if self.gradient == "ones":
            return np.ones(shape)
        if self.gradient == "numbers":
            drawn = self._drawn(3, -2, 2, (CHANNELS, SIDE, SIDE))[:shape[0], :shape[1], :shape[2]]
            return drawn + (drawn >= 0)                       # −2, −1, 1 or 2: each of them does something
        if self._dy is None or self._dy.shape != shape:
            got = "none" if self._dy is None else self._dy.shape
            raise ShapeError(message("ConvolutionExplorer: dy must have the shape of y.",
                                     [("y", shape, "O OH OW"), ("dy", got)], 'gradient="numbers".'))
        return self._dy

    def _drawn(self, what, low, high, shape):
        return np.random.default_rng([self.seed, what]).integers(low, high, shape).astype(float)

    def _check(self):
        """What the shape rule of conv2d does not say."""
        for name, value in self._fixed.items():
            if getattr(self, name) != value:
                raise ArgumentError(message(f"ConvolutionExplorer: {name} is that of your own arrays.",
                                            [("yours", value), ("asked for", getattr(self, name))]))
        counts = [self.channels, self.filters, self.groups, *self.size, *self.kernel, *self.stride, *self.dilation]
        if min(counts) < 1 or min(self.padding) < 0 or self.seed < 0:
            facts = [(name, getattr(self, name)) for name in (*self.controls[:8], "seed")]
            raise ArgumentError(message("ConvolutionExplorer: sizes and steps are 1 or more, padding and seed 0 or "
                                        "more.", facts))
        wide = max(n + 2 * p for n, p in zip(self.size, self.padding))
        if wide > SIDE or max(self.channels, self.filters) > CHANNELS:
            raise ArgumentError(message(
                "ConvolutionExplorer: this is too large to be seen.",
                [("rows or columns with padding", wide, f"at most {SIDE}"),
                 ("channels", self.channels, f"at most {CHANNELS}"), ("filters", self.filters, f"at most {CHANNELS}")],
                "a part of the image, x[:, :28, :28], or a few filters, layer.weight[:4]."))
        depth = self.channels // self.groups if self._weight is None else self._weight.shape[1]
        if self._weight is None and self.channels % self.groups:
            raise ArgumentError(message("ConvolutionExplorer: the channels cannot be cut into so many groups.",
                                        [("channels", self.channels), ("groups", self.groups)]))
        ops.conv2d.shape_rule((1, self.channels, *self.size), (self.filters, depth, *self.kernel), **self.settings)

    # ------------------------------------------------------------------ the run
    def record(self):
        """A frame for each sum of the convolution, then one for each gradient on its way back."""
        v, geometry = self.values(), self.geometry
        self._values = v
        every = list(itertools.product(*map(range, v["y"].shape)))
        guess = ("Before you go on: how many rows and columns will y have, and is every pixel of x read?")
        frames = [Frame("guess", guess, {})]
        frames += [Frame("forward", *self._sum(v, o, i, j)) for o, i, j in every]
        frames += [Frame("backward", *self._scatter(v, o, i, j)) for o, i, j in every]
        figure = {**{name: None if value is None else rounded(value, 6) for name, value in v.items()},
                  "size": self.size, "kernel": self.kernel, "stride": self.stride, "padding": self.padding,
                  "dilation": self.dilation, "groups": self.groups, "out": geometry.out, "facts": self._facts(v),
                  "sizes": [self._formula(axis, numbers=False) for axis in (0, 1)], "call": self.call,
                  "call_back": self.call_back, "yours": self._dy is not None}
        shape = " × ".join(map(str, v["x"].shape))
        return Trace(frames, f"convolution of {shape} numbers, {self.filters} "
                             f"filter{'s' * (self.filters > 1)} {self.kernel[0]} × {self.kernel[1]}", figure)

    def _channels_of(self, o):
        """The channels of x that filter `o` sees."""
        depth = self.channels // self.groups
        first = o // (self.filters // self.groups) * depth
        return range(first, first + depth)

    def _terms(self, v, o, i, j):
        """The products of one sum, a list for each channel: (weight, pixel) pairs."""
        geometry = self.geometry
        return [[(v["w"][o, c, k, n], v["x"][channel, row, column] if geometry.inside(row, column) else 0.0)
                 for k, n, row, column in geometry.taps(i, j)] for c, channel in enumerate(self._channels_of(o))]

    def _sum(self, v, o, i, j):
        terms, total = self._terms(v, o, i, j), v["y"][o, i, j]
        bias = [] if self._bias is None else [float(self._bias[o])]
        name, lines = f"y[{o}, {i}, {j}]", []
        if sum(map(len, terms)) <= TERMS:
            text = " + ".join([product(a, b) for part in terms for a, b in part] + [f"{theme.number(b)} (bias)"
                                                                                   for b in bias])
            return f"{name} = {text} = {theme.number(float(total))}.", {"at": [o, i, j]}
        sums = [sum(a * b for a, b in part) for part in terms]
        parts = [f"{theme.number(float(s))} (channel {c})" for c, s in zip(self._channels_of(o), sums)]
        text = f"{name} = {' + '.join([*parts, *(f'{theme.number(b)} (bias)' for b in bias)])} = "
        lines = [f"Channel {c}: {summed(part, s, len(part))}."
                 for c, part, s in zip(self._channels_of(o), terms, sums)]
        return f"{text}{theme.number(float(total))}.", {"at": [o, i, j]}, tuple(lines)

    def _scatter(self, v, o, i, j):
        g, taps = v["dy"][o, i, j], self.geometry.taps(i, j)
        n, real = len(taps) * len(self._channels_of(o)), sum(self.geometry.inside(r, c) for *_, r, c in taps)
        real *= len(self._channels_of(o))
        text = (f"dL/dy[{o}, {i}, {j}] = {theme.number(float(g))} goes back: times each weight, it is added to the "
                f"{real} pixels of dL/dx that the window read; times each pixel, to the {n} weights of dL/dw.")
        return text, {"at": [o, i, j]}

    # ------------------------------------------------------------------ in words
    def _formula(self, axis, numbers=True):
        """The size of y along an axis, as a formula with numbers."""
        n, k, s, p, d = (pair[axis] for pair in (self.size, self.kernel, self.stride, self.padding, self.dilation))
        room = n + 2 * p - d * (k - 1) - 1
        letters = ("OH", "OW")[axis]
        formula = f"{letters} = ⌊({n} + 2·{p} − {d}·({k} − 1) − 1) / {s}⌋ + 1 = ⌊{room} / {s}⌋ + 1"
        return f"{formula} = {room // s + 1}" if numbers else formula

    def _facts(self, v):
        """Sizes, what is never read, and what is broken, a sentence each."""
        facts = [self._formula(0) + ".", self._formula(1) + "."]
        over, missed = self.geometry.over, int((v["reads"] == 0).sum())
        if max(over):
            facts.append(f"floor drops {_count(over[0], 'row')} and {_count(over[1], 'column')} at the end, "
                         "counted with the padding: too few for one more window. On the way back, output_padding makes "
                         "room for them.")
        verb = "is" if missed == 1 else "are"
        facts.append(f"{_count(missed, 'pixel')} of each channel {verb} never read, struck through here: "
                     f"{_where(v['reads'] == 0)}." if missed else "Every pixel is read by at least one window.")
        for name in ("x", "w"):
            broken = np.argwhere(~np.isfinite(v[name]))
            if len(broken):
                first = tuple(map(int, broken[0]))
                facts.append(f"{name}{list(first)} is {theme.number(float(v[name][first]))}: so is, or becomes NaN, "
                             "each sum that it goes into.")
        return facts

    @property
    def call(self):
        """The minidl call that makes y, with what is not the default."""
        return f"F.conv2d(x, w{', bias' if self._bias is not None else ''}{self._arguments()})"

    @property
    def call_back(self):
        """The minidl call that makes dL/dx of dL/dy: the same diagram read backwards."""
        over = self.geometry.over
        extra = "" if over == (0, 0) else f", output_padding={_short(over)}"
        return f"F.conv_transpose2d(dy, w{self._arguments(extra)})"

    def _arguments(self, extra=""):
        pairs = (("stride", 1), ("padding", 0), ("dilation", 1))
        shown = [f", {name}={_short(getattr(self, name))}" for name, usual in pairs
                 if getattr(self, name) != (usual, usual)]
        return "".join(shown) + extra + (f", groups={self.groups}" if self.groups > 1 else "")

    def about(self, name, *place):
        """All that is to be said about one cell, and show it.

        Args:
            name: "x", "w", "y", "dx", "dw" or "dy".
            place: its index, such as 0, 2, 3 for a pixel and 0, 0, 1, 1 for a weight.

        Raises:
            ArgumentError: there is no such cell.
        """
        text = self._about(name, place)
        self.chosen = " ".join([name, *map(str, place)])
        return text

    def _about(self, name, place):
        v = self._values
        array = v.get(name) if name in ("x", "w", "y", "dx", "dw", "dy") else None
        if array is None or len(place) != array.ndim or not all(0 <= p < n for p, n in zip(place, array.shape)):
            raise ArgumentError(message("ConvolutionExplorer: there is no such cell.",
                                        [("asked for", f"{name}{list(place)}"),
                                         *((n, v[n].shape) for n in ("x", "w", "y"))]))
        value = float(array[tuple(place)])
        label = f"{'dL/' if name.startswith('d') else ''}{name}{list(place)}"
        return getattr(self, f"_about_{name}")(v, place, f"{label} = {theme.number(value, 6)}", label)

    def _about_x(self, v, place, head, label):
        found = self.geometry.windows(*place[1:])
        if not found:
            return f"{head}. No window reads it: it changes nothing, and its gradient is 0."
        read = ", ".join(f"({i}, {j}) through weight ({k}, {n})" for i, j, k, n in found)
        return f"{head} is read by {_count(len(found), 'window')} of each filter: {read}."

    def _about_w(self, v, place, head, label):
        o, c, k, n = place
        (s, t), (p, q), (d, e) = self.stride, self.padding, self.dilation
        pixels = _count(math.prod(v["y"].shape[1:]), "pixel")
        return (f"{head} meets {pixels} of channel {self._channels_of(o)[c]}, one for each sum y[{o}]: "
                f"rows {k * d - p} + {s}·i, columns {n * e - q} + {t}·j.")

    def _about_y(self, v, place, head, label):
        return self._sum(v, *place)[0]

    def _about_dy(self, v, place, head, label):
        return self._scatter(v, *place)[0]

    def _about_dx(self, v, place, head, label):
        channel, row, column = place
        seen = [(o, list(self._channels_of(o)).index(channel)) for o in range(self.filters)
                if channel in self._channels_of(o)]
        terms = [(v["dy"][o, i, j], v["w"][o, c, k, n]) for o, c in seen
                 for i, j, k, n in self.geometry.windows(row, column)]
        if not terms:
            return f"{label} = 0: no window read this pixel."
        return (f"{label}: {summed(terms, v['dx'][tuple(place)])}. As the windows go on, the weights are met from the "
                "last to the first: the kernel is flipped.")

    def _about_dw(self, v, place, head, label):
        o, c, k, n = place
        (s, t), (p, q), (d, e) = self.stride, self.padding, self.dilation
        channel, terms = self._channels_of(o)[c], []
        for i, j in itertools.product(*map(range, v["y"].shape[1:])):
            row, column = i * s - p + k * d, j * t - q + n * e
            pixel = v["x"][channel, row, column] if self.geometry.inside(row, column) else 0.0
            terms.append((v["dy"][o, i, j], pixel))
        return f"{label}: {summed(terms, v['dw'][tuple(place)])}. Each gradient times the pixel that this weight met."

    def describe(self):
        """Settings, sizes, what is never read, every sum, both calls, and the cell that was asked about."""
        v = self._values
        lines = [*self._facts(v), f"Forward: y = {self.call}.", f"Backward: dL/dx = {self.call_back}."]
        lines += [f"{label} is {_nested(v[name])}." for name, label in
                  (("x", "x"), ("w", "w"), ("y", "y"), ("dy", "dL/dy"), ("dx", "dL/dx"), ("dw", "dL/dw"))
                  if v[name].size <= 150]
        if self.chosen:
            name, *place = self.chosen.split()
            lines.append(self._about(name, tuple(map(int, place))))
        return "\n".join([self.trace.describe(), *self.frame.lines, *lines])

    def recompute(self):
        """Record anew and show it; what was chosen may no longer be there."""
        trace = super().recompute()
        self.chosen = ""
        return trace

    @tr.validate("chosen")
    def _there(self, proposal):
        """A cell that the page or a person names; "" if there is no such cell."""
        name, *place = (proposal["value"] or " ").split(" ")
        try:
            self._about(name, tuple(map(int, place)))
        except (ArgumentError, ValueError, AttributeError):
            return ""
        return proposal["value"]

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """All arrays as they are at this frame, side by side."""
        shown = self.shown(frame)
        page = _Page(_cell_size(shown))
        for name in ("x", "w", "y", "dy", "dx", "dw"):
            if name in shown:
                page.add(name, shown[name], self._rings(frame, name), self._unread(frame) if name == "x" else None,
                         self.padding if name == "x" else (0, 0))
        page.words([*([] if frame.phase == "guess" else self._facts(self._values)),
                    f"dL/dx = {self.call_back}" if frame.phase == "backward" else f"y = {self.call}", frame.text])
        return page.document(self.trace.title, frame.text)

    def shown(self, frame):
        """The arrays that a frame shows; NaN stands for what is not computed yet, as masked entries.

        Gradients are those that have arrived by then, from the same ops with the rest of dy set to 0.
        """
        v = self._values
        if frame.phase == "guess":
            return dict(x=v["x"], w=v["w"])
        o, i, j = frame.data["at"]
        upto = np.arange(v["y"].size).reshape(v["y"].shape) <= np.ravel_multi_index((o, i, j), v["y"].shape)
        if frame.phase == "forward":
            return dict(x=v["x"], w=v["w"][o:o + 1], y=np.ma.array(v["y"], mask=~upto))
        dx, dw = self.back(v["x"], v["w"], np.where(upto, v["dy"], 0.0))
        return dict(x=v["x"], w=v["w"][o:o + 1], y=v["y"], dy=v["dy"], dx=dx, dw=dw[o:o + 1])

    def _unread(self, frame):
        return (self._values["reads"] == 0) & (frame.phase != "guess")

    def _rings(self, frame, name):
        """Which cells a frame is about: (channel, row, column)."""
        if frame.phase == "guess":
            return set()
        o, i, j = frame.data["at"]
        taps = self.geometry.taps(i, j)
        if name in ("y", "dy"):
            return {(o, i, j)} if (name == "dy") == (frame.phase == "backward") else set()
        if name in ("w", "dw"):
            return {(c, k, n) for c in range(len(self._channels_of(o))) for k, n, _, _ in taps}
        return {(c, row, column) for c in self._channels_of(o) for _, _, row, column in taps
                if name == "x" or self.geometry.inside(row, column)}


# ---------------------------------------------------------------------- what the learner brings
def _array(x):
    return np.asarray(x.host_array() if isinstance(x, Tensor) else x, dtype=float)


def _image(x):
    x = _array(x)
    x = x[0] if x.ndim == 4 and len(x) else x
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3:
        raise ShapeError(message("ConvolutionExplorer: the image has axes C H W, or H W alone.", [("x", x.shape)]))
    return x


def _filters(w):
    w = _array(w)
    if w.ndim != 4:
        raise ShapeError(message("ConvolutionExplorer: a Conv2d, or filters with axes O C KH KW, is needed.",
                                 [("layer", w.shape)], "w.reshape(1, 1, KH, KW) makes one filter of one channel."))
    return w


def _as_pair(layer):
    """The padding of a layer as a pair."""
    if not isinstance(layer.padding, str):
        return layer.padding
    total = [d * (k - 1) * (layer.padding == "same") for k, d in zip(layer.kernel_size, layer.dilation)]
    if any(t % 2 for t in total):
        raise ArgumentError(message("ConvolutionExplorer: padding='same' of this layer is not the same on both sides.",
                                    [("kernel_size", layer.kernel_size), ("dilation", layer.dilation)],
                                    "an odd kernel."))
    return tuple(t // 2 for t in total)


# ---------------------------------------------------------------------- words
def _short(pair):
    return str(pair[0]) if pair[0] == pair[1] else str(tuple(pair))


def _count(n, what):
    return f"{n} {what}{'' if n == 1 else 's'}"


def _where(missed):
    """The places of a mask: whole rows and columns by their number, the rest one by one."""
    rows, columns = np.flatnonzero(missed.all(1)), np.flatnonzero(missed.all(0))
    rest = missed.copy()
    rest[rows], rest[:, columns] = False, False
    parts = [f"{what}{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
             for what, found in (("row", rows), ("column", columns)) if len(found)]
    places = [f"({i}, {j})" for i, j in np.argwhere(rest)]
    parts += [", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")] if places else []
    return " and ".join(parts)


def _nested(array):
    if array.ndim == 0:
        return theme.number(float(array))
    return f"[{', '.join(map(_nested, array))}]"


# ---------------------------------------------------------------------- the still picture
CAPTION, GAP, WIDTH = 18, 22, 740
LABELS = dict(x="x", w="w", y="y", dy="dL/dy", dx="dL/dx", dw="dL/dw")


def _cell_size(shown):
    """The side of all cells of a picture, and whether the numbers fit into them."""
    longest = max(len(theme.number(float(value))) for array in shown.values() for value in np.ma.compressed(array))
    wide = max(array.shape[-1] for array in shown.values())
    wanted = max(24, 7 * longest + 4)
    return (wanted, True) if wanted <= 46 and wanted * wide <= 350 else (max(9, min(22, 320 // wide)), False)


class _Page:
    """Fields of cells from left to right, in as many rows as it takes."""

    def __init__(self, look):
        (self.cell, self.text), self.parts = look, [hatching()]
        self.x, self.y, self.high = 12.0, 14.0, 0.0

    def add(self, name, array, rings, unread, padding):
        """An array (C, H, W) or (1, C, H, W), a field a channel."""
        array = array[0] if array.ndim == 4 else array
        top = float(np.max(np.abs(np.ma.compressed(array)[np.isfinite(np.ma.compressed(array))]), initial=0.0)) or 1.0
        for c, field in enumerate(array):
            self._field(name, c, field, top, rings, unread, padding)

    def _field(self, name, c, field, top, rings, unread, padding):
        (p, q), cell, (h, w) = padding, self.cell, field.shape
        wide, high = (w + 2 * q) * cell, (h + 2 * p) * cell
        label = f"{LABELS[name]}[{c}]" if name not in ("w", "dw") else f"{LABELS[name]}[·, {c}]"
        taken = max(wide, text_width(label) + 6)
        if self.x + taken > WIDTH and self.x > 12:
            self.x, self.y, self.high = 12.0, self.y + self.high + GAP + CAPTION, 0.0
        x, y = self.x, self.y + CAPTION
        rows = [[None if np.ma.is_masked(value) else float(value) for value in row] for row in field]
        look = "gradient" if name.startswith("d") else "value"
        self.parts += [element("text", label, x=x, y=y - 6, class_="bold"),
                       element("rect", x=x, y=y, width=wide, height=high, class_="panel"),
                       cells(rows, x + q * cell, y + p * cell, cell, top, self.text),
                       element("rect", x=x - 2, y=y - 2, width=wide + 4, height=high + 4, class_=look)]
        if unread is not None:
            self.parts += [_struck(x + (q + j) * cell, y + (p + i) * cell, cell) for i, j in np.argwhere(unread)]
        self.parts += [element("rect", x=x + (q + j) * cell + 1, y=y + (p + i) * cell + 1, width=cell - 2,
                               height=cell - 2, class_="now", style="stroke-width: 2")
                       for d, i, j in sorted(rings) if d == c]
        self.x, self.high = x + taken + GAP, max(self.high, high)

    def words(self, lines):
        """Sentences below the fields, broken into lines."""
        self.y += self.high + CAPTION + GAP
        for line in lines:
            for part in _broken(line, WIDTH - 24):
                self.parts.append(element("text", part, x=12, y=self.y))
                self.y += 18
            self.y += 2

    def document(self, title, desc):
        """The whole picture."""
        return document(WIDTH, self.y + 6, joined(self.parts), title=title, desc=desc)


def _struck(x, y, cell):
    """The shade on a pixel that no window reads: grey, and struck through."""
    return joined([element("rect", x=x, y=y, width=cell, height=cell, style="fill: var(--md-muted)", fill_opacity=0.3),
                   element("path", d=f"M{x},{y + cell}l{cell},-{cell}", class_="stroke")])


def _broken(text, width):
    """A text as lines of a width."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if text_width(longer) <= width or not lines[-1] else [lines[-1], word]
    return lines
