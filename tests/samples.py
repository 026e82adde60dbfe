"""Samples for every primitive: the one table that tests walk instead of naming ops.

A new op needs one line here:

    sample("tanh", (2, 3))
    sample("conv2d", (2, 4, 5, 6), (6, 2, 3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 1), groups=2)

Inputs stand in the order of the forward, settings go by keyword. An input is

    a shape               floats that differ from each other (also between inputs), so that no test stands on
                          a kink of max or relu; between -2 and 2, or as `between=(low, high)` says
    below(n, *shape)      whole numbers 0 .. n-1, for indices
    flags(*shape)         True and False
    Python numbers        themselves
    a function            called with the inputs before it; for what must fit them

Every float input is differentiated, or those that `wrt=("x",)` names.

From each line come variants: the same numbers in transposed, reversed, spaced and channels-last memory; for
elementwise ops also broadcast, without axes, and empty.
"""
import zlib
from dataclasses import dataclass, replace

import numpy as np

import minidl as md
from minidl.primitive import registry
from minidl.random import Generator

TABLE = []


@dataclass(frozen=True)
class below:
    """Whole numbers smaller than `high`."""

    high: int
    shape: tuple

    def __init__(self, high, *shape):
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "shape", shape)


@dataclass(frozen=True)
class flags:
    """True and False, about half of each."""

    shape: tuple

    def __init__(self, *shape):
        object.__setattr__(self, "shape", shape)


@dataclass(frozen=True)
class Sample:
    """One call of one primitive."""

    name: str
    specs: tuple
    settings: dict
    between: tuple = (-2.0, 2.0)
    names: tuple | None = None              # of the inputs to differentiate; None for all floats
    layout: str = "plain"
    variant: str = "plain"

    @property
    def op(self):
        """The primitive."""
        return registry[self.name]

    @property
    def elementwise(self):
        """Whether shapes may be broadcast."""
        return self.op.__module__.endswith(".elementwise")

    def inputs(self, dtype=np.float64):
        """Fresh input arrays, the same at every call."""
        rng = np.random.default_rng(zlib.crc32(repr((self.name, self.specs)).encode()))
        low, high = self.between
        counts = [int(np.prod(s)) if isinstance(s, tuple) else 0 for s in self.specs]
        numbers = rng.permutation(low + (high - low) * (np.arange(sum(counts)) + 0.37) / max(sum(counts), 1))
        arrays, start = [], 0
        for spec, count in zip(self.specs, counts):
            part, start = numbers[start:start + count], start + count
            if isinstance(spec, tuple):
                array = part.reshape(spec).astype(dtype)
            elif isinstance(spec, below):
                array = rng.integers(0, spec.high, spec.shape)
            elif isinstance(spec, flags):
                array = rng.random(spec.shape) < 0.5
            else:
                array = spec(*arrays) if callable(spec) else spec
                if callable(spec) and array.dtype.kind == "f":
                    array = array.astype(dtype)
            if not np.isscalar(spec):
                array = np.asarray(LAYOUTS[self.layout](np.asarray(array)))
            arrays.append(array)
        return arrays

    def meta(self, dtype=np.float64):
        """The settings; a generator starts anew, and float64 follows the dtype that is tested."""
        meta = {k: Generator(v.seed) if isinstance(v, Generator) else v for k, v in self.settings.items()}
        if self.op.dtype == "setting" and meta["dtype"] == np.float64:
            meta["dtype"] = np.dtype(dtype)
        return meta

    def wrt(self):
        """Places of the inputs to differentiate."""
        if not self.op.differentiable:
            return []
        op, arrays = self.op, self.inputs()
        names = [op.inputs[0] if op.variadic else op.inputs[k] for k in range(len(arrays))]
        return [k for k, (name, array) in enumerate(zip(names, arrays))
                if isinstance(array, np.ndarray) and array.dtype.kind == "f" and name in (self.names or names)]

    def variants(self):
        """The sample itself and all that follow from it."""
        found = {"plain": self}
        for layout in ("transposed", "reversed", "spaced", "channels last"):
            found[layout] = replace(self, layout=layout)
        shapes = [s for s in self.specs if not np.isscalar(s)]
        if self.elementwise and shapes:
            found["without axes"] = self._reshaped(lambda k: ())
            found["empty"] = self._reshaped(lambda k: (2, 0, 3))
            found["broadcast"] = self._reshaped([(3,), (2, 1, 1), (2, 3), (1, 3)].__getitem__)
            found["empty broadcast"] = self._reshaped([(0, 1), (3,), (1, 1), ()].__getitem__)
        return [replace(s, variant=name) for name, s in found.items() if name == "plain" or not s._same_as(self)]

    def _reshaped(self, shape_of_input):
        def another(k, spec):
            if isinstance(spec, tuple):
                return shape_of_input(k)
            return spec if np.isscalar(spec) else replace_shape(spec, shape_of_input(k))
        return replace(self, specs=tuple(another(k, s) for k, s in enumerate(self.specs)))

    def _same_as(self, other):
        def seen(sample):
            return [(a.shape, a.strides) if isinstance(a, np.ndarray) else a for a in sample.inputs()]
        return seen(self) == seen(other)

    def __str__(self):
        return f"{self.name}-{TABLE.index(self) if self in TABLE else self.variant}"


def replace_shape(spec, shape):
    """The same kind of input in another shape."""
    return below(spec.high, *shape) if isinstance(spec, below) else flags(*shape)


def _spaced(array):
    wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    every_other = wide[(..., *(slice(None, None, 2),) * array.ndim)]
    every_other[...] = array
    return every_other


def _channels_last(array):
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _reversed(array):
    backwards = (slice(None, None, -1),) * array.ndim
    return np.array(array[backwards], order="C")[backwards]


LAYOUTS = {
    "plain": lambda array: array,
    "transposed": lambda array: np.array(array, order="F"),
    "spaced": _spaced,
    "channels last": _channels_last,
    "reversed": _reversed,
}


def sample(name, *specs, between=(-2.0, 2.0), wrt=None, **settings):
    """Add a sample to the table."""
    TABLE.append(Sample(name, specs, settings, between, wrt))


# ---------------------------------------------------------------------- elementwise
for _name in ("add sub mul remainder floor_divide logaddexp maximum minimum equal not_equal less less_equal greater "
              "greater_equal logical_and logical_or logical_xor").split():
    sample(_name, (2, 3), (2, 3))
for _name in ("neg abs sign floor ceil round trunc square exp expm1 sigmoid tanh sinh cosh erf sin cos atan relu clone "
              "logical_not isnan isinf isfinite").split():
    sample(_name, (2, 3))
sample("add", (2, 3), 1.5)
sample("mul", 2, (2, 3))
sample("div", (2, 3), (2, 3), between=(0.4, 2.0))
sample("div", 1, (2, 3), between=(-2.0, -0.4))
sample("pow", (2, 3), (2, 3), between=(0.4, 2.0))
sample("pow", (2, 3), 3)
sample("pow", (2, 3), 0)
sample("pow", 2.0, (2, 3))
sample("sqrt", (2, 3), between=(0.2, 3.0))
sample("log", (2, 3), between=(0.2, 3.0))
sample("log1p", (2, 3), between=(-0.7, 3.0))
sample("tan", (2, 3), between=(-1.2, 1.2))
sample("asin", (2, 3), between=(-0.9, 0.9))
sample("acos", (2, 3), between=(-0.9, 0.9))
sample("where", flags(2, 3), (2, 3), (2, 3))
sample("where", flags(2, 3), (2, 3), 0.5)
sample("astype", (2, 3), dtype=np.dtype(np.float64))

# ---------------------------------------------------------------------- reduce
for _name in ("sum", "amax", "amin", "logsumexp"):
    sample(_name, (2, 3, 4), dim=(0, 2), keepdim=False)
    sample(_name, (2, 3), dim=(1,), keepdim=True)
    sample(_name, (), dim=())
sample("sum", (2, 0, 3), dim=(1,))
sample("amax", (0, 3), dim=(1,))
sample("amin", (0, 3), dim=(1,))
sample("logsumexp", (0, 3), dim=(1,))
for _name in ("argmax", "argmin"):
    sample(_name, (2, 3, 4), dim=(1,), keepdim=False)
    sample(_name, (2, 3), dim=(0,), keepdim=True)
for _name in ("any", "all"):
    sample(_name, flags(2, 3, 4), dim=(0, 2), keepdim=False)
    sample(_name, flags(2, 3), dim=(1,), keepdim=True)
for _name in ("cumsum", "argsort", "softmax", "log_softmax"):
    sample(_name, (2, 3, 2), dim=1)
    sample(_name, (4,), dim=0)
    sample(_name, (3, 0), dim=1)

# ---------------------------------------------------------------------- shape
sample("reshape", (2, 3, 2), shape=(3, 4))
sample("reshape", (1, 1), shape=())
sample("reshape", (0, 3), shape=(2, 0))
sample("permute", (2, 3, 4), dims=(2, 0, 1))
sample("permute", (), dims=())
sample("expand", (2, 1, 3), shape=(4, 2, 2, 3))
sample("expand", (), shape=(2, 2))
sample("expand", (1, 2), shape=(0, 2))
sample("concat", (2, 3), (1, 3), (0, 3), dim=0)
sample("concat", (2, 1, 2), (2, 3, 2), dim=1)

# ---------------------------------------------------------------------- index
_KEY = (slice(None, None, -1), None, slice(1, 6, 2))
sample("getitem", (3, 6), key=_KEY)
sample("getitem", (3, 4, 2), key=(1, Ellipsis, 0))
sample("getitem", (3, 2), key=(-1, 1))
sample("getitem", (3,), key=slice(2, 2))
sample("unslice", (3, 1, 3), shape=(3, 6), key=_KEY)
sample("unslice", (4,), shape=(3, 4, 2), key=(1, Ellipsis, 0))
sample("take", (3, 4), below(3, 2, 3), dim=0)
sample("take", (2, 3, 2), below(3, 5), dim=1)
sample("take", (3, 4), below(3, 0), dim=0)
sample("add_along", (5, 2), below(3, 5), shape=(3, 2), dim=0)
sample("add_along", (2, 2, 2, 2), below(3, 2, 2), shape=(2, 3, 2), dim=1)
sample("gather", (3, 4), below(3, 5, 4), dim=0)
sample("gather", (2, 3, 2), below(3, 2, 1, 2), dim=1)
sample("scatter_sum", (5, 4), below(3, 5, 4), shape=(3, 4), dim=0)
sample("scatter_sum", (2, 4, 2), below(3, 2, 4, 2), shape=(2, 3, 2), dim=1)
sample("take_at", (2, 3), below(6, 2, 4))
sample("take_at", (2, 3), below(6, 0))
sample("add_at", (2, 4), below(6, 2, 4), shape=(2, 3))
sample("overwrite", (2, 3), (2,), lambda x, y: np.array([4, 1]))
sample("overwrite", (2, 3), (1,), lambda x, y: np.array([[0, 3], [1, 5]]))
for _name in ("tril", "triu"):
    sample(_name, (3, 3))
    sample(_name, (2, 2, 4), diagonal=-1)
    sample(_name, (0, 3), diagonal=1)

# ---------------------------------------------------------------------- loss
for _reduction in ("none", "sum", "mean"):
    sample("cross_entropy", (4, 3), lambda x: np.array([0, 2, 1, 0]), ignore_index=2, reduction=_reduction)
    sample("cross_entropy", (2, 4, 3), below(3, 2, 4), ignore_index=-100, reduction=_reduction)
    sample("cross_entropy_slopes", (4, 3), lambda x: np.array([0, 2, 1, 0]), ignore_index=2, reduction=_reduction)
    sample("cross_entropy_slopes", (2, 4, 3), below(3, 2, 4), ignore_index=-100, reduction=_reduction)

# ---------------------------------------------------------------------- linear
sample("matmul", (2, 3), (3, 4))
sample("matmul", (2, 1, 2, 3), (3, 3, 2))
sample("matmul", (2, 0), (0, 3))
sample("matmul", (0, 2), (2, 3))
sample("affine", (2, 3), (4, 3))
sample("affine", (5, 3), (4, 3), (4,))
sample("affine", (0, 3), (4, 3), (4,))

# ---------------------------------------------------------------------- linalg
def _definite():
    """Two symmetric matrices with positive eigenvalues."""
    x = np.random.default_rng(0).standard_normal((2, 3, 3))
    return x @ x.swapaxes(1, 2) + np.eye(3)


sample("inverse", (3, 3))
sample("inverse", (2, 2, 2))
sample("solve", (3, 3), (3, 2))
sample("solve", (2, 2, 2), (1, 2, 3))
sample("cholesky", _definite)

# ---------------------------------------------------------------------- conv
_PLAIN = dict(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
_RICH = dict(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
_LEFT_OVER = dict(
    stride=(3, 2), padding=(0, 1), dilation=(2, 1), groups=1
)  # pixels on the far side that no window sees
sample("conv2d", (2, 2, 4, 3), (3, 2, 2, 2), **_PLAIN)
sample("conv2d", (1, 4, 4, 5), (2, 2, 3, 2), **_RICH)
sample("conv2d", (1, 1, 7, 5), (2, 1, 2, 2), **_LEFT_OVER)
sample("conv2d", (0, 2, 4, 3), (3, 2, 2, 2), **_PLAIN)
sample("conv2d", (1, 2, 3, 3), (2, 2, 1, 1), **_PLAIN)
sample("conv2d_input_grad", (2, 3, 3, 2), (3, 2, 2, 2), size=(4, 3), **_PLAIN)
sample("conv2d_input_grad", (1, 2, 2, 3), (2, 2, 3, 2), size=(4, 5), **_RICH)
sample("conv2d_input_grad", (1, 2, 2, 3), (2, 1, 2, 2), size=(7, 5), **_LEFT_OVER)
sample("conv2d_weight_grad", (2, 2, 4, 3), (2, 3, 3, 2), kernel=(2, 2), **_PLAIN)
sample("conv2d_weight_grad", (1, 4, 4, 5), (1, 2, 2, 3), kernel=(3, 2), **_RICH)
sample("conv2d_weight_grad", (1, 1, 7, 5), (1, 2, 2, 3), kernel=(2, 2), **_LEFT_OVER)

# ---------------------------------------------------------------------- pool
_HALVES = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
_OVERLAP = dict(kernel=(3, 2), stride=(1, 2), padding=(1, 1), dilation=(1, 2))


def _pooled(ceil_mode=False, **window):
    return lambda first, x: registry["max_pool2d"](x, ceil_mode=ceil_mode, **window)


sample("max_pool2d", (2, 1, 4, 4), ceil_mode=False, **_HALVES)
sample("max_pool2d", (1, 2, 3, 5), ceil_mode=False, **_OVERLAP)
sample("max_pool2d", (1, 1, 5, 3), ceil_mode=True, **_HALVES)
sample("max_pool2d", (0, 1, 4, 4), ceil_mode=False, **_HALVES)
sample("max_pool2d_unpool", (2, 1, 2, 2), (2, 1, 4, 4), _pooled(**_HALVES), wrt=("dy",), **_HALVES)
sample("max_pool2d_unpool", (1, 2, 3, 3), (1, 2, 3, 5), _pooled(**_OVERLAP), wrt=("dy",), **_OVERLAP)
sample("max_pool2d_unpool", (1, 1, 3, 2), (1, 1, 5, 3), _pooled(True, **_HALVES), wrt=("dy",), **_HALVES)
sample("max_pool2d_pick", (2, 1, 4, 4), (2, 1, 4, 4), _pooled(**_HALVES), wrt=("v",), **_HALVES)
sample("max_pool2d_pick", (1, 2, 3, 5), (1, 2, 3, 5), _pooled(**_OVERLAP), wrt=("v",), **_OVERLAP)

# ---------------------------------------------------------------------- draws
sample("uniform", shape=(2, 3), dtype=np.dtype(np.float64), generator=Generator(3))
sample("normal", shape=(2, 3), dtype=np.dtype(np.float64), generator=Generator(3))

# ---------------------------------------------------------------------- recurrent: gates T N H, weight, state
sample("aligned", (2, 3))
sample("rnn_scan", (1, 3, 2, 4), (1, 4, 4), (2, 4), nonlinearity="tanh")
sample("rnn_scan", (1, 3, 2, 4), (1, 4, 4), (2, 4), flags(3, 2, 1), nonlinearity="relu")
sample("lstm_scan", (4, 3, 2, 2), (4, 2, 2), (2, 2), (2, 2))
sample("lstm_scan", (4, 3, 2, 2), (4, 2, 2), (2, 2), (2, 2), flags(3, 2, 1))
sample("lstm_slopes", *[(2, 1, 2)] * 6, (6, 2, 1, 2), (4, 2, 2), (1, 2))      # small: it is differentiated twice more
sample("lstm_slopes", *[(2, 2, 2)] * 6, (6, 2, 2, 2), (4, 2, 2), (2, 2), flags(2, 2, 1))
sample("gru_scan", (3, 3, 2, 2), (3, 2, 2), (2,), (2, 2))
sample("gru_scan", (3, 3, 2, 2), (3, 2, 2), (2,), (2, 2), flags(3, 2, 1))


def value_and_gradients(sample, dtype):
    """The output of a sample and its gradients."""
    wrt = sample.wrt()
    inputs = [md.Tensor(a, k in wrt) if isinstance(a, np.ndarray) else a for k, a in enumerate(sample.inputs(dtype))]
    out = sample.op(*inputs, **sample.meta(dtype))
    g = md.tensor(np.random.default_rng(1).standard_normal(out.shape).astype(dtype))
    found = md.autograd.grad(out, [inputs[k] for k in wrt], g, allow_unused=True) if wrt else ()
    return [x.numpy() for x in (out.detach(), *found) if x is not None]
