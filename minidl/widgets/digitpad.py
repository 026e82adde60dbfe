"""Draw a digit, and see what every layer of your own network makes of it.

    DigitPad(model)                                draw with the mouse, a finger or the keyboard
    DigitPad(model, trained_on="MNIST", example=3) begin with a digit of the test set
    pad.show(image)                                any 28 x 28 picture
    pad.unit = "0[2, 5, 7]"                        where one number came from: channel 2, row 5, column 7 of layer 0
    pad.target = 8                                 which pixels speak for an 8, and would ten of them be enough?
"""
import re

import numpy as np
import traitlets as tr

from ..autograd import grad
from ..data import MNIST10k
from ..errors import ArgumentError, ShapeError, message
from ..nn.module import Module
from ..tensor import Tensor
from ..viz import theme
from ..viz.plots import percent, plural
from .activity import activity, evaluating, letters, strongest
from .lit import edge, picture
from .trace import Frame, Trace
from .widget import Widget

SIZE, BOX, MIDDLE = 28, 20, 14        # MNIST: 28 x 28 pixels, the digit in 20 x 20, its centre of mass at (14, 14)
MOST_MAPS, MOST_UNITS = 32, 512       # of a layer that are shown
NUDGES = 10                           # pixels
UNTOLD = "It was not said what this network was trained on: DigitPad(model, trained_on=...)."


class DigitPad(Widget):
    """Draws on 28 x 28 pixels and shows all layers of `model` at once.

    Args:
        model: a module that takes (1, 1, 28, 28), or (1, 784) if its first layer is a Linear one, and gives (1, K).
        trained_on: what the model has seen, in a few words.
        examples: a data set of 28 x 28 digits to choose from, with `data` and `targets`; MNIST10k's test part if left
            out.
        transform: what is done to (1, 1, 28, 28) with numbers in [0, 1] before the model gets it; nothing if left out.

    Attributes:
        pixels: what is drawn, 784 whole numbers from 0 to 255, row by row.
        example: which of the examples is shown instead; -1 for what is drawn.
        normalise: whether the drawing is scaled and centred as MNIST's digits are.
        unit: the unit that is looked at closely, `layer[index]`; "" for none.
        target: the class whose gradient is painted on the image; -1 for none.

    Raises:
        ArgumentError: `model` is no module, or does not give one row of numbers for each class.
    """

    scripts = ("digitpad",)
    controls = ("pixels", "example", "normalise", "unit", "target")
    pixels = tr.List(tr.Int(), [0] * SIZE ** 2).tag(sync=True)
    example = tr.Int(-1).tag(sync=True)
    normalise = tr.Bool(True).tag(sync=True)
    unit = tr.Unicode("").tag(sync=True)
    target = tr.Int(-1).tag(sync=True)

    def __init__(self, model, trained_on="", examples=None, transform=None, **controls):
        if not isinstance(model, Module):
            raise ArgumentError(message("DigitPad: the model must be a module.", [("got", type(model).__name__)],
                                        "an nn.Sequential of your layers."))
        self.model, self.trained_on, self.transform = model, trained_on, transform
        self.examples = MNIST10k(train=False) if examples is None else examples
        self._mistakes = None
        super().__init__(**controls)

    def show(self, image):
        """Put a picture on the pad: 28 x 28 numbers, in [0, 1] or whole ones up to 255; 0 is paper."""
        image = image.host_array() if isinstance(image, Tensor) else np.asarray(image)
        if image.size != SIZE ** 2:
            raise ShapeError(message("DigitPad: a picture has 28 x 28 numbers.", [("got", image.shape)]))
        scale = 255 if image.dtype.kind == "f" else 1
        self.edit(pixels=np.rint(image.ravel() * scale).astype(int).tolist(), example=-1)

    # ------------------------------------------------------------------ what the model says
    def record(self):
        """One frame: the drawing, what the net sees, its answer, all layers, and what was asked about them."""
        drawn, label = self._drawn()
        seen = centred(drawn) if self.normalise else drawn
        layers, scores = activity(self.model, self._tensor(seen))
        answer = Answer(scores, self.model)
        if not 0 <= self.target + 1 <= len(scores):
            raise ArgumentError(message(f"DigitPad: there is no class {self.target}.", [("classes", len(scores))]))
        unit = self._unit(layers)
        paint = self._paint(seen, answer) if self.target >= 0 else None
        broken = next((layer for layer in layers if not np.isfinite(layer.made).all()), None)
        sentences = self._sentences(drawn, seen, label, answer, broken)
        data = {"pad": np.rint(drawn.ravel() * 255).astype(int), "seen": letters(seen, 1.0),
                "classes": [{"name": str(k), "score": float(s), "p": float(p)}
                            for k, (s, p) in enumerate(zip(answer.scores, answer.p))],
                "top": answer.order[:3], "layers": [_layer(layer) for layer in layers], "unit": unit, "paint": paint}
        lines = [*sentences[1:], answer.table(), *(f"Layer {layer['says']}." for layer in data["layers"])]
        lines += [unit["says"]] if unit else []
        lines += [paint["says"]] if paint else []
        frame = Frame("", sentences[0], data, tuple(lines))
        about = f"It was trained on {self.trained_on}." if self.trained_on else UNTOLD
        figure = {"examples": len(self.examples.targets), "mistakes": self._wrong()}
        return Trace([frame], f"{type(self.model).__name__} looks at a digit", figure,
                     f"{about} What it never saw, a digit in a corner for instance, it may well get wrong.")

    def _drawn(self):
        """The picture, (28, 28) in [0, 1], and its label if that is known."""
        if self.example >= 0:
            count = len(self.examples.targets)
            if self.example >= count:
                raise ArgumentError(message(f"DigitPad: there is no test digit {self.example}.", [("digits", count)],
                                            f"a number from 0 to {count - 1}."))
            return np.asarray(self.examples.data[self.example]) / 255, int(self.examples.targets[self.example])
        pixels = np.array(self.pixels)
        if pixels.shape != (SIZE ** 2,) or pixels.min() < 0 or pixels.max() > 255:
            raise ArgumentError(message("DigitPad: a drawing is 784 numbers from 0 to 255.", [("got", len(pixels))]))
        return pixels.reshape(SIZE, SIZE) / 255, None

    def _tensor(self, seen):
        dtype = next((p.dtype for p in self.model.parameters()), np.dtype(np.float32))
        x = Tensor(seen.reshape(1, 1, SIZE, SIZE).astype(dtype))
        return self._prepared(x)

    def _prepared(self, x):
        x = x if self.transform is None else self.transform(x)
        first = next((m for m in self.model.modules() if not m.children()), None)
        flat = getattr(first, "in_features", None) == SIZE ** 2
        return x.flatten(1) if flat else x

    def _scores(self, seen):
        """(K,), what the model answers."""
        return activity(self.model, self._tensor(seen))[1]

    def _wrong(self):
        """Which of the first 500 examples the model gets wrong; looked up once."""
        if self._mistakes is None:
            count = min(500, len(self.examples.targets))
            dtype = next((p.dtype for p in self.model.parameters()), np.dtype(np.float32))
            x = Tensor((np.asarray(self.examples.data[:count]) / 255).reshape(count, 1, SIZE, SIZE).astype(dtype))
            with evaluating(self.model):
                found = self.model(self._prepared(x)).host_array().argmax(-1)
            self._mistakes = np.flatnonzero(found != self.examples.targets[:count]).tolist()
        return self._mistakes

    # ------------------------------------------------------------------ in words
    def _sentences(self, drawn, seen, label, answer, broken):
        if not drawn.any():
            return ["Nothing is drawn yet. Draw a digit, but first guess which two classes will be nearest. Then "
                    "draw it in a corner, with the centring off: is it still recognised?"]
        if broken is not None:
            return [f"The answer is not a number: the first NaN or infinity comes out of layer {broken.name} "
                    f"({broken.kind})."]
        verdict = "" if label is None else (f" Right, the label is {label}." if label == answer.order[0]
                                            else f" Wrong: the label is {label}.")
        says = [f"Taken for {answer.says(3)}.{verdict}"]
        rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
        says.append(f"Ink in rows {rows[0]} to {rows[-1]} and columns {columns[0]} to {columns[-1]}, on "
                    f"{plural(int((drawn > 0).sum()), 'pixel')} of {SIZE ** 2}.")
        other = drawn if self.normalise else centred(drawn)
        if np.abs(other - seen).max() > 0.02:
            with_ = "Without centring" if self.normalise else "With centring"
            says.append(f"{with_}: {Answer(self._scores(other), self.model).says(1)}.")
        return says

    def _unit(self, layers):
        """The closer look at one unit, for the picture."""
        if not self.unit:
            return None
        found = re.fullmatch(r"(.+?)\[([\d,\s]+)\]", self.unit.strip())
        names = [layer.name for layer in layers]
        if not found or found[1] not in names:
            raise ArgumentError(message(f"DigitPad: there is no unit {self.unit!r}.", [("layers", ", ".join(names))],
                                        f"layer[numbers], such as {names[0]}[0, 5, 7]."))
        at = names.index(found[1])
        layer, index = layers[at], [int(k) for k in found[2].split(",") if k.strip()]
        if layer.maps and len(index) == 1 and index[0] < len(layer.made):         # a whole map: its strongest place
            index += _strongest_place(layer.made[index[0]])
        unit = layer.unit(index)
        given, weight = unit.given, unit.weight
        flat = given is not None and given.shape[:2] == (1, 1)
        shape = _before(layers[:at], layer.given.size) if flat else None
        fields = {"given": given, "weight": weight, "products": unit.products if unit.how == "sum" else None}
        shown = [_field(name, x.reshape(shape or _wrapped(x)), unit.inside) for name, x in fields.items()
                 if x is not None]
        return {"layer": at, "index": list(unit.index), "fields": shown, "says": _arithmetic(layer, unit)}

    def _paint(self, seen, answer):
        """The gradient of the target's score on the image, and whether a few pixels would be enough."""
        target, best = self.target, answer.order[0]
        x = Tensor(seen.reshape(1, 1, SIZE, SIZE).astype(np.float32), requires_grad=True)
        with evaluating(self.model), np.errstate(all="ignore"):
            scores = self.model(self._prepared(x))[0]
            (slope,) = grad(scores[target], x, retain_graph=True)
            (against,) = grad(scores[best], x)
        slope, against = (g.host_array().reshape(SIZE, SIZE) for g in (slope, against))
        says = (f"Painted on the image: how the score of class {target} changes with each pixel, from "
                f"{theme.number(slope.min(), 6)} to {theme.number(slope.max(), 6)}; the line is the edge of the ink.")
        nudged = []
        if target != best and np.isfinite(slope).all():
            nudged, changed = nudge(seen, slope - against)
            after = Answer(self._scores(changed), self.model)
            enough = "is enough" if after.order[0] == target else "is not enough"
            says += f" Changing the {NUDGES} marked pixels {enough}: {after.says(1)}."
        return {"target": target, "plane": letters(slope, strongest(slope)), "top": strongest(slope),
                "nudged": nudged, "edge": edge(seen > 0.5), "says": says}

    # ------------------------------------------------------------------ the picture without a page
    def draw(self, frame):
        """What is drawn, what the net sees, its answer, and all layers, as SVG."""
        return picture(frame, self.trace)


# ---------------------------------------------------------------------- the answer
class Answer:
    """Scores of the classes, their probabilities, and the order of the classes, the most probable first.

    Args:
        scores: (K,).
        model: if its last module is a Softmax, the scores are probabilities already.
    """

    def __init__(self, scores, model):
        if scores.ndim != 1:
            raise ArgumentError(message("DigitPad: the model must give one number for each class.",
                                        [("shape for one image", scores.shape)], "a last layer nn.Linear(..., 10)."))
        last = [type(m).__name__ for m in model.modules() if not m.children()][-1:]
        self.scores = scores.astype(np.float64)
        powers = np.exp(self.scores - self.scores.max()) if np.isfinite(self.scores).all() else self.scores * np.nan
        self.p = self.scores if last == ["Softmax"] else powers / powers.sum()
        self.order = np.argsort(-self.p, kind="stable").tolist()

    def table(self):
        """All classes with their probabilities and scores."""
        rows = [f"{k}: {percent(p)} ({theme.number(s, 6)})" for k, (p, s) in enumerate(zip(self.p, self.scores))]
        return f"Probability (score) of each class. {', '.join(rows)}."

    def says(self, count):
        """The first classes with their probabilities."""
        if not np.isfinite(self.p).all():
            return "no class, as the scores are not numbers"
        return ", then ".join(f"{k} ({percent(self.p[k])})" for k in self.order[:count])


# ---------------------------------------------------------------------- the image
def centred(image):
    """The image as MNIST's were made: scaled into 20 x 20, its centre of mass put at (14, 14) of 28 x 28.

    What LeCun, Cortes and Burges describe on the page of MNIST; the place of the centre was measured on the digits.

    Args:
        image: (28, 28), 0 is paper.
    """
    rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    if not rows.size:
        return image
    ink = image[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    scale = BOX / max(ink.shape)
    down, across = (_resizing(n, max(1, round(n * scale))) for n in ink.shape)
    ink = down @ ink @ across.T
    mass = ink.sum()
    places = [round(MIDDLE - float((ink.sum(1 - axis) * np.arange(ink.shape[axis])).sum() / mass)) for axis in (0, 1)]
    top, left = (min(max(place, 0), SIZE - n) for place, n in zip(places, ink.shape))
    out = np.zeros((SIZE, SIZE))
    out[top:top + ink.shape[0], left:left + ink.shape[1]] = ink
    return out.clip(0, 1)


def _resizing(old, new):
    """(new, old), the matrix that resizes a row of `old` numbers: each new one is a mean under a tent."""
    scale = old / new
    distance = np.abs((np.arange(new)[:, None] + 0.5) * scale - 0.5 - np.arange(old))
    tent = np.maximum(0, 1 - distance / max(scale, 1))
    return tent / tent.sum(1, keepdims=True)


def nudge(image, slope, count=NUDGES):
    """Change the `count` pixels that promise most, each to ink or to paper.

    Args:
        image: (28, 28) in [0, 1].
        slope: (28, 28), what is gained by a little more ink in each pixel.

    Returns:
        (places, changed): numbers of the pixels, row by row, and the image with them changed.
    """
    gain = np.where(slope > 0, slope * (1 - image), -slope * image).ravel()
    places = np.argsort(-gain, kind="stable")[:count]
    changed = image.copy()
    changed.ravel()[places] = (slope.ravel()[places] > 0)
    return places.tolist(), changed


# ---------------------------------------------------------------------- layers and units for the picture
def _before(layers, size):
    """The shape that a row of numbers had before it was flattened; None if it was no picture."""
    shapes = [layer.made.shape for layer in reversed(layers) if layer.maps] + [(1, SIZE, SIZE)]
    return next((shape for shape in shapes if np.prod(shape) == size), None)


def _layer(layer):
    made, top = layer.made, strongest(layer.made)
    count, plain = len(made), theme.number
    size = f"{plural(count, 'map')} of {made.shape[1]} × {made.shape[2]}" if layer.maps else plural(count, "number")
    planes = made[:MOST_MAPS] if layer.maps else _rows(made[:MOST_UNITS])[None]
    broken = int((~np.isfinite(made)).sum())
    says = (f"{layer.name}, {layer.kind}: {size}, {theme.numbers(made, most=0)}, "
            f"{percent(float((made != 0).mean()))} of them not 0")
    says += f"; {broken} NaN or infinite" if broken else ""
    left = count - (len(planes) if layer.maps else min(count, MOST_UNITS))
    says += f"; the last {left} are not shown" if left > 0 else ""
    if layer.maps:
        labels = []
        for k, plane in enumerate(planes):
            i, j = _strongest_place(plane)
            labels.append(f"{layer.name}, map {k}: strongest {plain(float(plane[i, j]), 6)} at row {i}, column {j}")
    else:
        labels = [f"{layer.name}, unit {k}: {plain(float(v), 6)}" for k, v in enumerate(made[:MOST_UNITS])]
    return {"name": layer.name, "says": says, "maps": layer.maps, "positive": not (made < 0).any(), "top": top,
            "height": planes.shape[1], "width": planes.shape[2], "count": min(count, MOST_UNITS), "labels": labels,
            "planes": [letters(plane, top) for plane in planes]}


def _rows(row, wide=32):
    """A row of numbers in rows of 32; what is left over is 0."""
    width = min(len(row), wide)
    height = -(-len(row) // width)
    return np.concatenate([row, np.zeros(height * width - len(row), row.dtype)]).reshape(height, width)


def _wrapped(x):
    """The shape in which a field of (C, H, W) is shown; a long row is broken."""
    count = x.shape[-1]
    wide = next((w for w in (32, 28, 25, 24, 20, 16, 10, 8) if count % w == 0), count)
    return (1, -1, wide) if x.shape[:2] == (1, 1) and count > 32 else x.shape


def _strongest_place(plane):
    size = np.where(np.isfinite(plane), np.abs(plane), -1.0)
    return [int(k) for k in np.unravel_index(size.argmax(), plane.shape)]


def _field(name, planes, inside):
    top = strongest(planes)
    planes = np.where(inside, planes, 0.0) if inside is not None and name != "weight" else planes
    return {"name": name, "top": top, "height": planes.shape[1], "width": planes.shape[2],
            "positive": not (planes < 0).any(), "planes": [letters(plane, top) for plane in planes[:MOST_MAPS]]}


def _arithmetic(layer, unit):
    """How the number came about, in words."""
    plain = theme.number
    head = f"{layer.name}[{', '.join(map(str, unit.index))}] = {plain(unit.value, 6)}"
    if unit.how == "unknown":
        return f"{head}. A {layer.kind} mixes its inputs in a way that is not shown here."
    if unit.how == "one":
        return f"{head}, made of the one number {plain(float(unit.given.item()), 6)} at the same place."
    over = "" if unit.inside is None or unit.inside.all() else (
        f" {plural(int((~unit.inside).sum()), 'place')} of the window lie over the border and count as nothing.")
    if unit.how != "sum":
        return f"{head}, the {unit.how} of the window.{over}"
    products = unit.products.ravel()
    up, down = products[products > 0].sum(), products[products < 0].sum()
    return (f"{head} = {plain(float(up), 6)} from the {plural(int((products > 0).sum()), 'positive product')}, "
            f"{plain(float(down), 6)} from the {plural(int((products < 0).sum()), 'negative one')}, "
            f"and the bias {plain(unit.bias, 6)}.{over}")
