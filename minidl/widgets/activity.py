"""What every layer of a model made of one image, and what one unit of a layer was computed from.

    lit = activity(model, x)        one Layer for each module that changed a number, in the order in which they ran
    lit[2].unit((3, 5, 7))          its value, and the numbers and weights that made it

The layers are found by running the model, not by reading its code: any module made of modules will do.
"""
from dataclasses import dataclass, field

import numpy as np

from .. import nn
from ..autograd import no_grad
from ..errors import ArgumentError, message

LEVELS = 26                           # shades between 0 and the strongest number of a layer
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ZERO, NAN, INF = ".", "?", "!"


@dataclass(frozen=True)
class Layer:
    """A module, what went in and what came out, for one example.

    Attributes:
        name: dotted name of the module in the model.
        module: the module.
        given: the numbers that went in, without the batch axis.
        made: the numbers that came out, without the batch axis.
    """

    name: str
    module: nn.Module = field(repr=False)
    given: np.ndarray = field(repr=False)
    made: np.ndarray = field(repr=False)

    @property
    def kind(self):
        """The name of the module's class."""
        return type(self.module).__name__

    @property
    def maps(self):
        """Whether the numbers are maps (C, H, W), rather than a row."""
        return self.made.ndim == 3

    def unit(self, index):
        """What one number was computed from, as a Unit.

        Raises:
            ArgumentError: there is no such unit.
        """
        index = tuple(int(k) for k in index)
        if len(index) != self.made.ndim or not all(0 <= k < n for k, n in zip(index, self.made.shape)):
            axes = "channel, row, column" if self.maps else "unit"
            raise ArgumentError(message(f"layer {self.name}: there is no unit {list(index)}.",
                                        [(f"shape ({axes})", self.made.shape)], "numbers counted from 0."))
        for kinds, read in READERS:
            if isinstance(self.module, kinds) and getattr(self.module, "padding_mode", "zeros") == "zeros":
                return read(self, index)
        same = self.given.shape == self.made.shape
        return Unit(index, float(self.made[index]), "one" if same else "unknown",
                    given=self.given[index].reshape(1, 1, 1) if same else None)


@dataclass(frozen=True)
class Unit:
    """One number of a layer and where it came from.

    Attributes:
        index: its place in the layer.
        value: the number.
        how: "sum" of given * weight + bias, "largest" or "mean" of what was given, "one" number at the same place, or
            "unknown".
        given: (C, H, W), what went in; NaN where the window reaches over the border, see `inside`.
        weight: (C, H, W), or None.
        bias: a number; 0 if there is none.
        inside: (H, W), False where the window reaches over the border.
    """

    index: tuple
    value: float
    how: str
    given: np.ndarray | None = None
    weight: np.ndarray | None = None
    bias: float = 0.0
    inside: np.ndarray | None = None

    @property
    def products(self):
        """given * weight, with 0 over the border."""
        products = self.given * self.weight
        return products if self.inside is None else np.where(self.inside, products, 0.0)


# ---------------------------------------------------------------------- running the model
def activity(model, x):
    """The Layers of a model for one example, and what it answered.

    The model runs in evaluation mode and is left as it was. Modules that only put the same numbers into another shape,
    or hand them on, are left out.

    Args:
        model: any module.
        x: (1, ...), a tensor.

    Returns:
        (layers, answer): the answer without the batch axis.
    """
    seen = []
    leaves = [(name or type(m).__name__, m) for name, m in model.named_modules() if not m.children()]

    def noting(name):
        def note(module, inputs, out):
            made = getattr(out, "ndim", 0) in (2, 4)         # (1, K) or (1, C, H, W)
            if made and len(inputs) == 1:
                again = sum(layer.module is module for layer in seen)
                seen.append(Layer(name + (f"#{again + 1}" if again else ""), module, inputs[0].host_array()[0],
                                  out.host_array()[0]))
        return note
    removers = [module.register_forward_hook(noting(name)) for name, module in leaves]
    try:
        with evaluating(model), no_grad(), np.errstate(all="ignore"):
            answer = model(x).host_array()[0]
    finally:
        for remove in removers:
            remove()
    return [layer for layer in seen if not _handed_on(layer)], answer


class evaluating:
    """A context: the model in evaluation mode; afterwards each module is in the mode it was in."""

    def __init__(self, model):
        self.modes = [(module, module.training) for module in model.modules()]

    def __enter__(self):
        for module, _ in self.modes:
            module.training = False

    def __exit__(self, *_):
        for module, training in self.modes:
            module.training = training


def _handed_on(layer):
    reshaping = isinstance(layer.module, (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout2d))
    return reshaping and layer.given.size == layer.made.size


# ---------------------------------------------------------------------- what one unit was computed from
def _linear(layer, index):
    weight, bias = layer.module.weight.host_array()[index[-1]], layer.module.bias
    return Unit(index, float(layer.made[index]), "sum", layer.given.reshape(1, 1, -1), weight.reshape(1, 1, -1),
                0.0 if bias is None else float(bias.host_array()[index[-1]]))


def _conv(layer, index):
    module, (channel, row, column) = layer.module, index
    kernel = module.weight.host_array()[channel]
    per = layer.made.shape[0] // module.groups
    first = channel // per * kernel.shape[0]
    given, inside = _window(layer.given[first:first + kernel.shape[0]], (row, column), kernel.shape[1:], module.stride,
                            _before(module, kernel.shape[1:]), module.dilation)
    bias = 0.0 if module.bias is None else float(module.bias.host_array()[channel])
    return Unit(index, float(layer.made[index]), "sum", given, kernel, bias, inside)


def _before(module, size):
    """How far the window begins before the first row and column."""
    if module.padding == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(size, module.dilation))
    return (0, 0) if module.padding == "valid" else tuple(module.padding)


def _pool(layer, index):
    module, (channel, *place) = layer.module, index
    size = _pair(module.kernel_size)
    stride = size if module.stride is None else _pair(module.stride)
    given, inside = _window(layer.given[channel:channel + 1], place, size, stride, _pair(module.padding),
                            _pair(getattr(module, "dilation", 1)))
    return Unit(index, float(layer.made[index]), "largest" if isinstance(module, nn.MaxPool2d) else "mean", given,
                inside=inside)


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _window(planes, place, size, stride, before, dilation):
    """What a window sees of (C, H, W), and which of its cells lie inside."""
    rows, columns = (p * s - b + np.arange(k) * d for p, s, b, k, d in zip(place, stride, before, size, dilation))
    inside = np.outer((rows >= 0) & (rows < planes.shape[1]), (columns >= 0) & (columns < planes.shape[2]))
    seen = planes[:, rows.clip(0, planes.shape[1] - 1)[:, None], columns.clip(0, planes.shape[2] - 1)]
    return np.where(inside, seen, np.nan), inside


READERS = [(nn.Linear, _linear), (nn.Conv2d, _conv), ((nn.MaxPool2d, nn.AvgPool2d), _pool)]


# ---------------------------------------------------------------------- numbers as letters
def strongest(array):
    """The largest size of the finite numbers; 0 if there are none."""
    whole = np.abs(array[np.isfinite(array)])
    return float(whole.max()) if whole.size else 0.0


def letters(plane, top):
    """A plane of numbers as one text, a letter a number: a to z for up to `top`, A to Z below 0, NaN ?, infinity !.

    A page needs a shade for each, and there are thousands.

    >>> letters(np.array([[0.0, 1.0], [-0.5, np.nan]]), 1.0)
    '.zM?'
    """
    share = np.divide(plane, top, where=np.isfinite(plane), out=np.zeros(plane.shape)) if top > 0 else plane * 0
    level = np.nan_to_num(np.rint(share * LEVELS)).astype(int).clip(-LEVELS, LEVELS)
    table = np.array([*reversed(LETTERS.upper()), ZERO, *LETTERS])
    text = table[level + LEVELS]
    text = np.where(np.isnan(plane), NAN, np.where(np.isinf(plane), INF, text))
    return "".join(text.ravel())


def shares(text):
    """The numbers of `letters`, as shares of the top."""
    known = {ZERO: 0.0, NAN: np.nan, INF: np.inf}
    return np.array([known[c] if c in known else (LETTERS.index(c.lower()) + 1) / LEVELS * (1 if c.islower() else -1)
                     for c in text])
