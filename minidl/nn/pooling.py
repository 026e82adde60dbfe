"""Pooling: windows, or bins, of a sequence or an image made one number each.

Sequences are (N, C, L), images (N, C, H, W); the batch axis may be missing.
"""
from . import functional as F
from .module import Module
from .settings import settings


class _MaxPool(Module):
    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x):
        return type(self).function(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                                   self.return_indices)

    def extra_repr(self):
        return settings(self, "kernel_size", "stride", "padding", "dilation", "ceil_mode")


class MaxPool1d(_MaxPool):
    """The largest number of each window, and with `return_indices` where it stood. (N, C, L) -> (N, C, OL)."""

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest number of each window, and with `return_indices` where it stood. (N, C, H, W) -> (N, C, OH, OW)."""

    function = staticmethod(F.max_pool2d)


class AvgPool1d(Module):
    """The mean of each window. (N, C, L) -> (N, C, OL)."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size = F.several(kernel_size, 1, "kernel_size")
        self.stride = self.kernel_size if stride is None else F.several(stride, 1, "stride")
        self.padding = F.several(padding, 1, "padding")
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x):
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return settings(self, "kernel_size", "stride", "padding")


class AvgPool2d(Module):
    """The mean of each window, or its sum over `divisor_override`. (N, C, H, W) -> (N, C, OH, OW)."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                 divisor_override=None):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x):
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                            self.divisor_override)

    def extra_repr(self):
        return settings(self, "kernel_size", "stride", "padding")


# ---------------------------------------------------------------------- bins, for an output of the size asked for
class _AdaptiveAvgPool(Module):
    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, x):
        return type(self).function(x, self.output_size)

    def extra_repr(self):
        return settings(self, "output_size")


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of each bin. (N, C, L) -> (N, C, output_size)."""

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of each bin; None keeps an axis. (N, C, H, W) -> (N, C, *output_size)."""

    function = staticmethod(F.adaptive_avg_pool2d)


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    def __init__(self, output_size, return_indices=False):
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x):
        return type(self).function(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest number of each bin, and with `return_indices` where it stood. (N, C, L) -> (N, C, output_size)."""

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest number of each bin; None keeps an axis. (N, C, H, W) -> (N, C, *output_size)."""

    function = staticmethod(F.adaptive_max_pool2d)
