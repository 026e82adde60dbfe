"""Layers: modules that hold the parameters for one function of `nn.functional`.

Names, shapes and first values of the parameters are PyTorch's, so that its state dicts load.
"""
import math
from collections.abc import Callable

import numpy as np

from ..creation import empty, ones, zeros
from ..errors import ArgumentError, message
from ..tensor import Tensor, tensor
from . import functional as F
from . import init
from .module import Module, Parameter


def _positive(layer, **sizes):
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(message(f"{layer}: {name} must be a whole number of 1 or more, got {value!r}."))


def _settings(module, *names, **if_not):
    """`in_channels, out_channels, stride=(2, 2)`: the first ones always, the others where they are not the default."""
    shown = [f"{name}={getattr(module, name)!r}" for name in names]
    return ", ".join(
        shown
        + [f"{name}={getattr(module, name)!r}" for name, default in if_not.items() if getattr(module, name) != default]
    )


# ---------------------------------------------------------------------- layers with weights
class Linear(Module):
    """y = x W^T + b. (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features, out_features, bias=True, *, dtype=None):
        super().__init__()
        _positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype))
        self.bias = Parameter(empty(out_features, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw weight and bias evenly from +-1 / sqrt(fan_in), PyTorch's default."""
        _reset(self.weight, self.bias)

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _reset(weight, bias):
    init.kaiming_uniform_(weight, a=math.sqrt(5))     # with this a, the bound is 1 / sqrt(fan_in)
    if bias is not None:
        bound = 1 / math.sqrt(init.fans(weight)[0])
        init.uniform_(bias, -bound, bound)


class Conv2d(Module):
    """Filters that slide over images. (N, in_channels, H, W) -> (N, out_channels, OH, OW).

    Args:
        kernel_size, stride, padding, dilation: one number, or (vertical, horizontal); padding also "same" or "valid".
        groups: the channels are cut into this many parts that do not see each other.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        *,
        dtype=None,
    ):
        super().__init__()
        _positive("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                message(f"Conv2d: {in_channels} and {out_channels} channels cannot be cut into {groups} groups.")
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(message(f"Conv2d: unknown padding {padding!r}.", [("known", "'same', 'valid'")]))
        self.kernel_size, self.stride = F.pair(kernel_size, "kernel_size"), F.pair(stride, "stride")
        self.padding = padding if isinstance(padding, str) else F.pair(padding, "padding")
        self.dilation = F.pair(dilation, "dilation")
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype))
        self.bias = Parameter(empty(out_channels, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """Draw weight and bias evenly from +-1 / sqrt(fan_in), PyTorch's default."""
        _reset(self.weight, self.bias)

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self):
        shown = [f"{self.in_channels}, {self.out_channels}", _settings(self, "kernel_size", "stride")]
        shown.append("" if self.padding == (0, 0) else f"padding={self.padding}")
        shown.append(_settings(self, dilation=(1, 1), groups=1))
        shown.append("" if self.bias is not None else "bias=False")
        return ", ".join(text for text in shown if text)


class Embedding(Module):
    """A table of vectors, looked up by whole numbers. (...) -> (..., embedding_dim)."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, dtype=None):
        super().__init__()
        _positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(message(f"Embedding: padding_idx {padding_idx} is none of {num_embeddings} rows."))
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(empty(num_embeddings, embedding_dim, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the vectors from N(0, 1); the one of `padding_idx` is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def forward(self, x):
        return F.embedding(x, self.weight, self.padding_idx)

    def extra_repr(self):
        return f"{self.num_embeddings}, {self.embedding_dim}" + (
            "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        )


class _BatchNorm(Module):
    axes: tuple[int, ...] = ()
    shape_hint = ""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, *, dtype=None):
        super().__init__()
        _positive(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_features, dtype=dtype)) if affine else None
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def forward(self, x):
        if x.ndim not in self.axes or x.shape[1] != self.num_features:
            raise F.ShapeError(
                message(
                    f"{type(self).__name__}: expected {self.shape_hint} with C = {self.num_features}.",
                    [("input", x.shape)],
                )
            )
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.array += 1
            momentum = 1 / int(self.num_batches_tracked) if momentum is None else momentum
        batch_statistics = self.training or not self.track_running_stats
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum, self.eps
        )

    def extra_repr(self):
        return f"{self.num_features}, {_settings(self, 'eps', 'momentum', 'affine', 'track_running_stats')}"


class BatchNorm1d(_BatchNorm):
    """Features brought to mean 0 and variance 1 over the batch. (N, C) or (N, C, L)."""

    axes, shape_hint = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Channels brought to mean 0 and variance 1 over batch and image. (N, C, H, W)."""

    axes, shape_hint = (4,), "(N, C, H, W)"


# ---------------------------------------------------------------------- layers without weights
class MaxPool2d(Module):
    """The largest number of each window. (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x):
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self):
        return _settings(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class AvgPool2d(Module):
    """The mean of each window. (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x):
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return _settings(self, "kernel_size", "stride", "padding")


class AdaptiveAvgPool2d(Module):
    """The mean of each bin, for an output of the size asked for. (N, C, H, W) -> (N, C, *output_size)."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class Dropout(Module):
    """In training, numbers set to 0 with probability p and the others scaled up by 1 / (1 - p)."""

    def __init__(self, p=0.5, inplace=False, *, generator=None):
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(message(f"Dropout: p is a probability, 0 .. 1, got {p}."))
        self.p, self.inplace, self.generator = p, inplace, generator      # `inplace` is accepted, and changes nothing

    def forward(self, x):
        return F.dropout(x, self.p, self.training, generator=self.generator)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Flatten(Module):
    """Axes start_dim .. end_dim made one; the batch axis stays by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return _settings(self, "start_dim", "end_dim")


class Identity(Module):
    """Gives back what it gets."""

    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, x):
        return x


class _Activation(Module):
    """A function of single numbers with the settings that it takes.

    `inplace` is accepted for PyTorch's sake, and changes nothing.
    """

    function: Callable
    defaults: dict = {}

    def __init__(self, *args, **settings):
        super().__init__()
        unknown = [name for name in settings if name not in self.defaults] or args[len(self.defaults) :]
        if unknown:
            known = ", ".join(self.defaults) or "none"
            raise ArgumentError(message(f"{type(self).__name__}: unknown setting {unknown[0]!r}.", [("known", known)]))
        for name, value in {**self.defaults, **dict(zip(self.defaults, args)), **settings}.items():
            setattr(self, name, value)

    def _names(self):
        return [name for name in self.defaults if name != "inplace"]

    def forward(self, x):
        return type(self).function(x, **{name: getattr(self, name) for name in self._names()})

    def extra_repr(self):
        shown = [_settings(self, *self._names()), "inplace=True" * getattr(self, "inplace", False)]
        return ", ".join(text for text in shown if text)


class ReLU(_Activation):
    """x where it is positive, else 0."""

    function = staticmethod(F.relu)
    defaults = dict(inplace=False)


class LeakyReLU(_Activation):
    """x where it is positive, else negative_slope * x."""

    function = staticmethod(F.leaky_relu)
    defaults = dict(negative_slope=0.01, inplace=False)


class Tanh(_Activation):
    """Hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class GELU(_Activation):
    """x times the probability that a standard normal number is below x."""

    function = staticmethod(F.gelu)
    defaults = dict(approximate="none")


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along the axis `dim`."""

    function = staticmethod(F.softmax)
    defaults = dict(dim=-1)


class LogSoftmax(_Activation):
    """The logarithm of softmax along the axis `dim`."""

    function = staticmethod(F.log_softmax)
    defaults = dict(dim=-1)


# ---------------------------------------------------------------------- losses
class _Loss(Module):
    """A loss with the settings that its function takes."""

    function: Callable
    defaults: dict = {}

    def __init__(self, **settings):
        super().__init__()
        unknown = [k for k in settings if k not in self.defaults]
        if unknown:
            raise ArgumentError(
                message(
                    f"{type(self).__name__}: unknown setting {unknown[0]!r}.", [("known", ", ".join(self.defaults))]
                )
            )
        for name, value in {**self.defaults, **settings}.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, input, target):
        return type(self).function(input, target, **{name: getattr(self, name) for name in self.defaults})


class CrossEntropyLoss(_Loss):
    """Softmax and minus the log probability of the right class. (N, C), (N,) -> ()."""

    function = staticmethod(F.cross_entropy)
    defaults = dict(weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0)

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)


class NLLLoss(_Loss):
    """Minus the log probability of the right class, for log probabilities. (N, C), (N,) -> ()."""

    function = staticmethod(F.nll_loss)
    defaults = dict(weight=None, ignore_index=-100, reduction="mean")

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)


class MSELoss(_Loss):
    """The mean squared error."""

    function = staticmethod(F.mse_loss)
    defaults = dict(reduction="mean")


class L1Loss(_Loss):
    """The mean absolute error."""

    function = staticmethod(F.l1_loss)
    defaults = dict(reduction="mean")


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities."""

    function = staticmethod(F.binary_cross_entropy)
    defaults = dict(weight=None, reduction="mean")

    def __init__(self, weight=None, reduction="mean"):
        super().__init__(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of sigmoid(input), without overflow."""

    function = staticmethod(F.binary_cross_entropy_with_logits)
    defaults = dict(weight=None, reduction="mean", pos_weight=None)

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)
