"""Layers: modules that hold the parameters for one function of `nn.functional`.

Names, shapes and first values of the parameters are PyTorch's, so that its state dicts load.
"""
import math

from ..creation import empty
from ..errors import ArgumentError, message
from . import functional as F
from . import init
from .module import Module, Parameter
from .settings import positive, settings


# ---------------------------------------------------------------------- layers with weights
class Linear(Module):
    """y = x W^T + b. (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features, out_features, bias=True, *, dtype=None):
        super().__init__()
        positive("Linear", in_features=in_features, out_features=out_features)
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


class _Conv(Module):
    """What all convolutions share.

    Args:
        kernel_size, stride, padding, dilation: one number, or one an axis; padding also "same" or "valid".
        groups: the channels are cut into this many parts that do not see each other.
        padding_mode: what the border is made of, "zeros", "reflect", "replicate" or "circular".
    """

    axes = 0

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros", *, dtype=None):
        super().__init__()
        positive(type(self).__name__, in_channels=in_channels, out_channels=out_channels, groups=groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = (F.several(value, self.axes, name) for name, value in [
            ("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)])
        self.padding = padding if isinstance(padding, str) else F.several(padding, self.axes, "padding")
        self.output_padding, self.padding_mode = (0,) * self.axes, padding_mode
        self._check()
        self.weight = Parameter(empty(*self._channels(), *self.kernel_size, dtype=dtype))
        self.bias = Parameter(empty(out_channels, dtype=dtype)) if bias else None
        self.reset_parameters()

    def _check(self):
        name, modes = type(self).__name__, ("zeros", "reflect", "replicate", "circular")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ArgumentError(message(f"{name}: {self.in_channels} and {self.out_channels} channels cannot be cut "
                                        f"into {self.groups} groups."))
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ArgumentError(message(f"{name}: unknown padding {self.padding!r}.", [("known", "'same', 'valid'")]))
        if self.padding == "same" and max(self.stride) > 1:
            raise ArgumentError(message(f"{name}: padding='same' is defined for stride 1.", [("stride", self.stride)]))
        if self.padding_mode not in modes:
            raise ArgumentError(message(f"{name}: unknown padding_mode {self.padding_mode!r}.",
                                        [("known", ", ".join(map(repr, modes)))]))

    def _channels(self):
        """The first two axes of the weight."""
        return self.out_channels, self.in_channels // self.groups

    def reset_parameters(self):
        """Draw weight and bias evenly from +-1 / sqrt(fan_in), PyTorch's default."""
        _reset(self.weight, self.bias)

    def forward(self, x):
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, F.borders(padding, self.kernel_size, self.dilation), self.padding_mode)
            padding = 0
        return type(self).function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self):
        none = (0,) * self.axes
        shown = [f"{self.in_channels}, {self.out_channels}", settings(self, "kernel_size", "stride")]
        shown.append("" if self.padding == none else f"padding={self.padding}")
        shown.append(settings(self, dilation=(1,) * self.axes, output_padding=none, groups=1))
        shown.append("" if self.bias is not None else "bias=False")
        shown.append("" if self.padding_mode == "zeros" else f"padding_mode={self.padding_mode}")
        return ", ".join(text for text in shown if text)


class Conv1d(_Conv):
    """Filters that slide over sequences. (N, in_channels, L) -> (N, out_channels, OL)."""

    axes, function = 1, staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Filters that slide over images. (N, in_channels, H, W) -> (N, out_channels, OH, OW)."""

    axes, function = 2, staticmethod(F.conv2d)


class _ConvTranspose(_Conv):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1, *, dtype=None):
        padding = F.several(padding, self.axes, "padding")      # no names: "same" is not defined here
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, dtype=dtype)
        self.output_padding = F.several(output_padding, self.axes, "output_padding")

    def _channels(self):
        return self.in_channels, self.out_channels // self.groups

    def forward(self, x):
        return type(self).function(x, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                                   self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """Each step paints its filter onto a longer sequence. (N, in_channels, L) -> (N, out_channels, OL)."""

    axes, function = 1, staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """Each pixel paints its filter onto a larger image. (N, in_channels, H, W) -> (N, out_channels, OH, OW)."""

    axes, function = 2, staticmethod(F.conv_transpose2d)


class Embedding(Module):
    """A table of vectors, looked up by whole numbers. (...) -> (..., embedding_dim)."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, dtype=None):
        super().__init__()
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
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


# ---------------------------------------------------------------------- layers without weights
class _Dropout(Module):
    def __init__(self, p=0.5, inplace=False, *, generator=None):
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(message(f"{type(self).__name__}: p is a probability, 0 .. 1, got {p}."))
        self.p, self.inplace, self.generator = p, inplace, generator      # `inplace` is accepted, and changes nothing

    def forward(self, x):
        return type(self).function(x, self.p, self.training, generator=self.generator)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, numbers set to 0 with probability p and the others scaled up by 1 / (1 - p)."""

    function = staticmethod(F.dropout)


class Dropout1d(_Dropout):
    """`Dropout` of whole channels of sequences. (N, C, L) or (C, L)."""

    function = staticmethod(F.dropout1d)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of images. (N, C, H, W) or (C, H, W)."""

    function = staticmethod(F.dropout2d)


class Flatten(Module):
    """Axes start_dim .. end_dim made one; the batch axis stays by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self):
        return settings(self, "start_dim", "end_dim")


class Unflatten(Module):
    """One axis made several again: the reverse of `Flatten`."""

    def __init__(self, dim, unflattened_size):
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, x):
        return x.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self):
        return settings(self, "dim", "unflattened_size")


class Identity(Module):
    """Gives back what it gets."""

    def __init__(self, *_, **__):
        super().__init__()

    def forward(self, x):
        return x


# ---------------------------------------------------------------------- borders and sizes of images
class _Pad2d(Module):
    mode = ""

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 4:
            raise ArgumentError(message(f"{type(self).__name__}: expected one number or four (left, right, top, "
                                        f"bottom), got {padding!r}."))

    def forward(self, x):
        return F.pad(x, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class ZeroPad2d(_Pad2d):
    """A border of zeros. (..., H, W) -> (..., OH, OW)."""

    mode = "constant"


class ReflectionPad2d(_Pad2d):
    """A border that mirrors the image at its edges. (..., H, W) -> (..., OH, OW)."""

    mode = "reflect"


class ReplicationPad2d(_Pad2d):
    """A border that repeats the pixels of the edges. (..., H, W) -> (..., OH, OW)."""

    mode = "replicate"


class Upsample(Module):
    """Images or sequences at another size, as `interpolate` makes them. (N, C, ...) -> (N, C, *size)."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        scale_factor = float(scale_factor) if isinstance(scale_factor, int) else scale_factor
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x):
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners,
                             self.recompute_scale_factor)

    def extra_repr(self):
        return settings(self, "size" if self.scale_factor is None else "scale_factor", "mode")


class PixelShuffle(Module):
    """Channels into pixels. (..., C r r, H, W) -> (..., C, H r, W r), r being `upscale_factor`."""

    def __init__(self, upscale_factor):
        super().__init__()
        positive("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, x):
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self):
        return settings(self, "upscale_factor")
