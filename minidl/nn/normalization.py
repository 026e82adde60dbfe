"""Normalisation: numbers brought to mean 0 and variance 1, then scaled and shifted by learned parameters.

    over the batch           BatchNorm1d, BatchNorm2d
    over each example        LayerNorm, RMSNorm (last axes), GroupNorm (groups of channels)
    over each channel of it  InstanceNorm1d, InstanceNorm2d
"""
from ..creation import ones, zeros
from ..errors import ArgumentError, ShapeError, message
from ..tensor import tensor
from . import functional as F
from .module import Module, Parameter
from .settings import positive, settings


class _ChannelNorm(Module):
    """What batch and instance norms share: a number for each channel, learned or running.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        momentum: how far the running statistics move towards those of a batch.
        affine: whether there are a weight and a bias.
        track_running_stats: whether there are running statistics, to be used in evaluation.
    """

    axes: tuple[int, ...] = ()
    shape_hint = ""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, *, dtype=None):
        super().__init__()
        positive(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = Parameter(ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_features, dtype=dtype)) if affine else None
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)

    def _check(self, x, axis=1):
        if x.ndim not in self.axes or x.shape[axis] != self.num_features:
            raise ShapeError(message(f"{type(self).__name__}: expected {self.shape_hint} with C = {self.num_features}.",
                                     [("input", x.shape)]))

    def extra_repr(self):
        return f"{self.num_features}, {settings(self, 'eps', 'momentum', 'affine', 'track_running_stats')}"


class _BatchNorm(_ChannelNorm):
    def forward(self, x):
        self._check(x)
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.array += 1
            momentum = 1 / int(self.num_batches_tracked) if momentum is None else momentum
        batch_statistics = self.training or not self.track_running_stats
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum, self.eps
        )


class BatchNorm1d(_BatchNorm):
    """Features brought to mean 0 and variance 1 over the batch. (N, C) or (N, C, L)."""

    axes, shape_hint = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Channels brought to mean 0 and variance 1 over batch and image. (N, C, H, W)."""

    axes, shape_hint = (4,), "(N, C, H, W)"


class _InstanceNorm(_ChannelNorm):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, *, dtype=None):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)

    def forward(self, x):
        single = x.ndim == self.axes[0]
        self._check(x, 0 if single else 1)
        own_statistics = self.training or not self.track_running_stats
        out = F.instance_norm(x.unsqueeze(0) if single else x, self.running_mean, self.running_var, self.weight,
                              self.bias, own_statistics, self.momentum or 0.0, self.eps)
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sequence brought to mean 0 and variance 1. (N, C, L) or (C, L)."""

    axes, shape_hint = (2, 3), "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each image brought to mean 0 and variance 1. (N, C, H, W) or (C, H, W)."""

    axes, shape_hint = (3, 4), "(N, C, H, W) or (C, H, W)"


class GroupNorm(Module):
    """Groups of channels brought to mean 0 and variance 1 for each example. (N, C, ...)."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, *, dtype=None):
        super().__init__()
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ArgumentError(message(f"GroupNorm: {num_channels} channels do not make {num_groups} equal groups."))
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = Parameter(ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, x):
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(message(f"GroupNorm: expected (N, C, ...) with C = {self.num_channels}.",
                                     [("input", x.shape)]))
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, {settings(self, 'eps', 'affine')}"


class _LastAxesNorm(Module):
    def __init__(self, normalized_shape, eps, elementwise_affine, dtype):
        super().__init__()
        shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        for size in shape:
            positive(type(self).__name__, normalized_shape=size)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = Parameter(ones(*shape, dtype=dtype)) if elementwise_affine else None

    def extra_repr(self):
        return f"{self.normalized_shape}, {settings(self, 'eps', 'elementwise_affine')}"


class LayerNorm(_LastAxesNorm):
    """The last axes brought to mean 0 and variance 1. (..., *normalized_shape); a number means the last axis."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, *, dtype=None):
        super().__init__(normalized_shape, eps, elementwise_affine, dtype)
        self.bias = Parameter(zeros(*self.normalized_shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(_LastAxesNorm):
    """The last axes divided by their root mean square. (..., *normalized_shape); a number means the last axis."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, *, dtype=None):
        super().__init__(normalized_shape, eps, elementwise_affine, dtype)

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)
