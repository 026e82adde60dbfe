"""The vocabulary of neural networks as functions, under PyTorch's names.

Nearly all are composites: a few lines of other functions, whose gradients come for free. Shapes are
N C H W for images, N C L for sequences in channels; a missing batch axis is added and taken away again.
"""
import inspect
import math
import operator

import numpy as np

from .. import backend, ops
from .. import functions as md
from .. import random as _random
from ..creation import eye, ones, zeros
from ..errors import ArgumentError, DimensionError, DTypeError, ShapeError, message
from ..functions import (  # noqa: F401
    axis_of,
    cast,
    floating,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from ..tensor import Tensor, apply, from_numpy, tensor


def pair(value, name="size"):
    """A setting for two axes: 3 means (3, 3)."""
    return several(value, 2, name)


def several(value, count, name="size"):
    """A setting for `count` axes, given as one whole number or as one an axis.

    Raises:
        ArgumentError: too many, not whole, below 0, or 0 where the name is not that of a padding.
    """
    try:
        numbers = tuple(map(operator.index, value if isinstance(value, (tuple, list)) else (value,)))
    except TypeError:
        raise ArgumentError(message(f"{name}: expected whole numbers, got {value!r}.")) from None
    if len(numbers) not in (1, count):
        raise ArgumentError(message(f"{name}: expected one number or {count}, got {value}."))
    least = 0 if name in ("size", "padding", "output_padding") else 1
    if min(numbers) < least:
        raise ArgumentError(message(f"{name}: expected whole numbers of {least} or more, got {value!r}."))
    return numbers * count if len(numbers) == 1 else numbers


# ---------------------------------------------------------------------- activations
def relu6(input):
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0)


def leaky_relu(input, negative_slope=0.01):
    """x where it is positive, else negative_slope * x."""
    return md.where(input > 0, input, input * negative_slope)


def prelu(input, weight):
    """`leaky_relu` whose slopes are learned: one for all channels or one for each (axis 1)."""
    if weight.numel() == 1:
        weight = weight.reshape(())
    else:
        weight = weight.reshape([-1 if k == 1 else 1 for k in range(input.ndim)])
    return md.where(input > 0, input, input * weight)


def elu(input, alpha=1.0):
    """x where it is positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return md.where(input > 0, input, alpha * md.expm1(md.clamp(input, max=0)))


def selu(input):
    """`elu` with constants that keep mean 0 and variance 1 through the layers (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(input, 1.6732632423543772)


def celu(input, alpha=1.0):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    return md.where(input > 0, input, alpha * md.expm1(md.clamp(input, max=0) / alpha))


def gelu(input, approximate="none"):
    """x times the probability that a standard normal number is below x (Hendrycks & Gimpel 2016)."""
    if approximate == "tanh":
        x = md.clamp(input, -30, 30)                  # tanh is long flat there; a huge number's cube would be inf
        return 0.5 * input * (1 + md.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    if approximate != "none":
        raise ArgumentError(message(f"gelu: unknown approximation {approximate!r}.", [("known", "'none', 'tanh'")]))
    return 0.5 * input * (1 + md.erf(input * math.sqrt(0.5)))


def silu(input):
    """x * sigmoid(x), also called swish."""
    return input * md.sigmoid(input)


def mish(input):
    """x * tanh(softplus(x)) (Misra 2019)."""
    return input * md.tanh(softplus(input))


def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta x)) / beta: a smooth relu; above the threshold it is x itself."""
    smooth = md.logaddexp(input * beta, 0.0) / beta
    return md.where(input * beta > threshold, input, smooth)


def softsign(input):
    """x / (1 + |x|)."""
    return input / (1 + md.abs(input))


def logsigmoid(input):
    """log(sigmoid(x)), without overflow."""
    return -md.logaddexp(-input, 0.0)


def hardtanh(input, min_val=-1.0, max_val=1.0):
    """x cut off below min_val and above max_val; no gradient flows at or beyond the ends."""
    inside = (input > min_val) & (input < max_val)
    return md.where(inside, input, md.clamp(input.detach(), min_val, max_val))


def hardsigmoid(input):
    """A sigmoid of straight lines: x / 6 + 1/2, between 0 and 1."""
    return hardtanh(input / 6 + 0.5, 0.0, 1.0)


def hardswish(input):
    """x * hardsigmoid(x) (Howard et al. 2019)."""
    return input * hardsigmoid(input)


def glu(input, dim=-1):
    """The first half of the channels, let through by the sigmoid of the second half."""
    if input.shape[dim] % 2:
        raise ShapeError(message(f"glu: axis {dim} has no two halves.", [("input", input.shape)]))
    value, gate = md.chunk(input, 2, dim)
    return value * md.sigmoid(gate)


def softmin(input, dim, *, dtype=None):
    """softmax(-x)."""
    return md.softmax(-input, dim, dtype=dtype)


# ---------------------------------------------------------------------- dense layers
def linear(input, weight, bias=None):
    """x W^T + b. input: (..., I), weight: (O, I), bias: (O,) -> (..., O).

    Raises:
        ShapeError: the last axis of the input is not what the weight expects.
    """
    if input.shape[-1:] != weight.shape[-1:]:
        found = input.shape[-1] if input.ndim else "no"
        raise ShapeError(
            message(
                f"linear: the input has {found} features but the weight expects {weight.shape[-1]}.",
                [("input", input.shape, "... I"), ("weight", weight.shape, "O I")],
                f"Linear(in_features={found}, ...), or flatten the input first.",
            )
        )
    given = [input, weight] if bias is None else [input, weight, bias]
    if weight.ndim != 2 or len({x.dtype for x in given}) > 1 or (bias is not None and bias.shape != weight.shape[:1]):
        return _biased("linear", md.matmul(input, weight.t()), bias)
    if input.ndim == 2:
        return apply(ops.affine, given)
    given[0] = input.reshape(math.prod(input.shape[:-1]), input.shape[-1])
    return apply(ops.affine, given).reshape(*input.shape[:-1], weight.shape[0])


def _biased(name, out, bias, trailing=()):
    """out + bias, where a bias of another length must not make the output larger."""
    if bias is None:
        return out
    total = out + (bias.reshape(-1, *trailing) if trailing else bias)
    if total.shape != out.shape:
        raise ShapeError(message(f"{name}: there must be one bias for each output.",
                                 [("output", out.shape), ("bias", bias.shape)]))
    return total


def bilinear(input1, input2, weight, bias=None):
    """x1^T W_o x2 for each output o. (..., I), (..., J), (O, I, J) -> (..., O)."""
    out = md.einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


def _check_rows(input, count):
    """Raise unless the table of so many rows has all that are asked for; in a graph nobody knows yet."""
    lowest, highest = (input.min(), input.max()) if input.numel() else (input, input)
    if backend.of(lowest.array).stays or not input.numel():
        return
    if not 0 <= int(lowest) <= int(highest) < count:
        raise DimensionError(message(
            f"embedding: a row was asked for that the table of {count} rows does not have.",
            [("lowest", int(lowest)), ("highest", int(highest))]))


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """The rows of a table that whole numbers name. input: (...), weight: (V, D) -> (..., D).

    Args:
        padding_idx: this row gets no gradient.
        max_norm: rows that are looked up and have a larger norm are scaled down to it, in place.
        scale_grad_by_freq: the gradient of a row is divided by how often it was looked up.
        sparse: accepted for PyTorch's sake; gradients are dense.
    """
    if input.dtype.kind not in "iu":
        raise DTypeError(message("embedding: rows are named by whole numbers.", [("dtype", input.dtype)], "x.long()."))
    _check_rows(input, len(weight))
    if max_norm is not None:
        _shorten(weight, md.unique(input), max_norm, norm_type)
    out = apply(ops.take, (weight, input), {"dim": 0})
    if scale_grad_by_freq:
        times = np.bincount(input.host_array().reshape(-1), minlength=len(weight))[input.host_array()]
        scale = from_numpy((1 / times)[..., None].astype(weight.dtype)).to(weight.device)
        out = out.detach() + (out - out.detach()) * scale
    if padding_idx is None:
        return out
    if not -len(weight) <= padding_idx < len(weight):
        raise ArgumentError(message(f"embedding: padding_idx {padding_idx} is no row of a table of {len(weight)}."))
    frozen = md.unsqueeze(input == padding_idx % len(weight), -1)
    return md.where(frozen, out.detach(), out)


def _shorten(weight, rows, max_norm, norm_type):
    found = weight.detach()[rows]
    length = md.norm(found, norm_type, -1, keepdim=True)
    weight.detach()[rows] = md.where(length > max_norm, found * (max_norm / (length + 1e-7)), found)


def one_hot(tensor, num_classes=-1):
    """Each whole number k as a vector with a one at place k (int64)."""
    highest = tensor.max() if tensor.numel() else None
    if highest is not None and num_classes != -1 and not backend.of(highest.array).known:
        return _one_hot_later(tensor, num_classes)
    count = int(tensor.max()) + 1 if num_classes == -1 else num_classes
    if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= count):
        raise ArgumentError(
            message(
                "one_hot: class numbers must be 0 .. num_classes - 1.",
                [("lowest", int(tensor.min())), ("highest", int(tensor.max())), ("num_classes", count)],
            )
        )
    return eye(count, dtype=np.int64, device=tensor.device)[tensor]


def _one_hot_later(classes, count):
    """`one_hot` where the numbers cannot be looked at yet: in a graph, and inside vmap.

    A class number below 0 is made one that is too large, so that the run refuses it as eager does.
    """
    classes = md.where(classes < 0, count, classes)
    return apply(ops.take, (eye(count, dtype=np.int64), classes), {"dim": 0})


# ---------------------------------------------------------------------- convolution
def _batched(x, ndim):
    return (md.unsqueeze(x, 0), True) if x.ndim == ndim - 1 else (x, False)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide filters over images. input: (N, C, H, W), weight: (O, C / groups, KH, KW), bias: (O,) -> (N, O, OH, OW).

    `padding` may be "valid" (none) or "same" (the output is as large as the input; stride 1 only).
    """
    x, single = _batched(input, 4)
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    (groups,) = several(groups, 1, "groups")
    if isinstance(padding, str):
        x, padding = _named_padding(x, weight, padding, stride, dilation)
    settings = dict(stride=stride, padding=pair(padding, "padding"), dilation=dilation, groups=groups)
    out = _windowed(ops.conv2d, (x, weight), settings)
    out = _biased("conv", out, bias, (1, 1))
    return md.squeeze(out, 0) if single else out


def _windowed(op, inputs, settings):
    """Run an op on windows. Where none fits, NumPy gives back an empty image; the shape rule says what is wrong."""
    out = apply(op, inputs, settings)
    if 0 in out.shape[2:]:
        op.shape_rule(*(x.shape for x in inputs), **settings)
    return out


def borders(padding, kernel, dilation):
    """The borders, as `pad` takes them, that a convolution's padding stands for; `padding` also "same" or "valid"."""
    total = [d * (k - 1) * (padding == "same") for k, d in zip(kernel, dilation)]
    if not isinstance(padding, str):
        total = [2 * p for p in padding]
    return [side for t in reversed(total) for side in (t // 2, t - t // 2)]


def _named_padding(x, weight, name, stride, dilation):
    if name not in ("same", "valid") or (name == "same" and max(stride) > 1):
        raise ArgumentError(message(f"conv: padding={name!r} is not possible here.", [("stride", stride)],
                                    "'valid', 'same' (with stride 1), or a number."))
    sides = borders(name, weight.shape[2:], dilation)
    if sides[::2] == sides[1::2]:                     # the op itself can do what is the same on both sides
        return x, tuple(sides[::-2])
    return pad(x, sides), (0,) * len(stride)


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The reverse of a convolution's shape change: each pixel paints its filter onto a larger image.

    input: (N, C, H, W), weight: (C, O / groups, KH, KW) -> (N, O, OH, OW).
    """
    x, single = _batched(input, 4)
    stride, padding, dilation = pair(stride, "stride"), pair(padding, "padding"), pair(dilation, "dilation")
    extra = pair(output_padding, "output_padding")
    (groups,) = several(groups, 1, "groups")
    _check_transposed(x, weight, stride, dilation, extra, groups)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, s, p, d, k, e in
                 zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], extra))
    if min(size) < 1:
        raise ShapeError(message(f"conv_transpose: the output would be {size[0]} x {size[1]}.",
                                 [("input", x.shape), ("weight", weight.shape), ("padding", padding)], "less padding."))
    settings = dict(size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    out = apply(ops.conv2d_input_grad, (x, weight), settings)
    out = _biased("conv_transpose", out, bias, (1, 1))
    return md.squeeze(out, 0) if single else out


def _check_transposed(x, weight, stride, dilation, extra, groups):
    facts = [("input", x.shape, "N C H W"), ("weight", weight.shape, "C O KH KW")]
    if x.ndim != 4 or weight.ndim != 4:
        raise ShapeError(message("conv_transpose: images and filters have four axes each.", facts))
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(message(f"conv_transpose: axis 1 of the images is {x.shape[1]}, but there are filters for "
                                 f"{weight.shape[0]} channels.", facts))
    if x.shape[1] % groups:
        raise ShapeError(message(f"conv_transpose: {x.shape[1]} channels cannot be cut into {groups} groups.", facts))
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ArgumentError(message("conv_transpose: output_padding must be smaller than the stride or the dilation.",
                                    [("output_padding", extra), ("stride", stride), ("dilation", dilation)]))


def _in_one_dimension(function, input, weight, bias, padding, **settings):
    """A convolution over sequences: over images that are one pixel high."""
    settings = {name: (plain, several(value, 1, name)[0]) for name, (value, plain) in settings.items()}
    padding = padding if isinstance(padding, str) else (0, several(padding, 1, "padding")[0])
    out = function(md.unsqueeze(input, -2), md.unsqueeze(weight, -2), bias, padding=padding, **settings)
    return md.squeeze(out, -2)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide filters over sequences. input: (N, C, L), weight: (O, C / groups, K) -> (N, O, OL)."""
    return _in_one_dimension(lambda *a, **k: conv2d(*a, groups=groups, **k), input, weight, bias, padding,
                             stride=(stride, 1), dilation=(dilation, 1))


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """`conv_transpose2d` for sequences. input: (N, C, L), weight: (C, O / groups, K) -> (N, O, OL)."""
    return _in_one_dimension(lambda *a, **k: conv_transpose2d(*a, groups=groups, **k), input, weight, bias, padding,
                             stride=(stride, 1), dilation=(dilation, 1), output_padding=(output_padding, 0))


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide filters over volumes: `conv2d` for each layer of the filters, summed over their depth.

    input: (N, C, D, H, W), weight: (O, C / groups, KD, KH, KW), bias: (O,) -> (N, O, OD, OH, OW).
    """
    x, single = _batched(input, 5)
    if x.ndim != 5 or weight.ndim != 5:
        raise ShapeError(message("conv3d: volumes and filters have five axes each.",
                                 [("input", input.shape, "N C D H W"), ("weight", weight.shape, "O C KD KH KW")]))
    stride, dilation = several(stride, 3, "stride"), several(dilation, 3, "dilation")
    named = isinstance(padding, str)
    x, padding = _named_padding(x, weight, padding, stride, dilation) if named else (x, several(padding, 3, "padding"))
    x = pad(x, (0, 0, 0, 0, padding[0], padding[0]))
    (step, *stride), (apart, *dilation), (n, _, size, *_) = stride, dilation, x.shape
    depth = ops.conv.places(size, weight.shape[2], step, 0, apart)
    if depth < 1:
        raise ShapeError(message(f"conv3d: the filters are deeper than the volumes, the output would be {depth} deep.",
                                 [("input", input.shape, "N C D H W"), ("weight", weight.shape, "O C KD KH KW")]))
    out = 0
    for k, layer in enumerate(md.unbind(weight, 2)):
        met = x[:, :, k * apart:k * apart + (depth - 1) * step + 1:step]      # what this layer meets, at all places
        met = md.flatten(md.transpose(met, 1, 2), 0, 1)
        out = out + conv2d(met, layer, None, stride, padding[1:], dilation, groups)
    out = _biased("conv", md.transpose(md.unflatten(out, 0, (n, depth)), 1, 2), bias, (1, 1, 1))
    return md.squeeze(out, 0) if single else out


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """Every window as a column: (N, C, H, W) -> (N, C * KH * KW, windows). The matrix inside a convolution."""
    x, single = _batched(input, 4)
    kernel, stride = pair(kernel_size, "kernel_size"), pair(stride, "stride")
    padding, dilation = pair(padding, "padding"), pair(dilation, "dilation")
    size = _places("unfold", x, kernel, stride, padding, dilation)
    x = pad(x, (padding[1], padding[1], padding[0], padding[0]))
    parts = [x[place] for place in ops.pool.members(size, kernel, stride, dilation)]
    out = md.flatten(md.flatten(md.stack(parts, 2), 1, 2), 2)
    return md.squeeze(out, 0) if single else out


# ---------------------------------------------------------------------- pooling
def _places(name, x, kernel, stride, padding, dilation=(1, 1), ceil_mode=False):
    """How many windows there are along both axes; an error if none."""
    size = ops.pool.pooled_size(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    if len(size) != 2 or min(size) < 1:
        raise ShapeError(message(f"{name}: the window does not fit into the image.",
                                 [("input", x.shape, "N C H W"), ("kernel", kernel), ("padding", padding)],
                                 "a smaller kernel, or larger images."))
    return size


def _check_padding(name, x, kernel, padding):
    if any(2 * p > k for p, k in zip(padding, kernel)):
        raise ShapeError(message(f"{name}: the padding may be at most half of the kernel.",
                                 [("input", x.shape, "N C H W"), ("kernel", kernel), ("padding", padding)]))


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest number of each window. input: (N, C, H, W) -> (N, C, OH, OW); `stride` is the kernel if not given.

    With `return_indices` also where it stood in its image, counted in reading order (int64).
    """
    x, single = _batched(input, 4)
    kernel = pair(kernel_size, "kernel_size")
    padding, dilation = pair(padding, "padding"), pair(dilation, "dilation")
    stride = pair(kernel if stride in (None, ()) else stride, "stride")
    _check_padding("max_pool", x, kernel, padding)
    settings = dict(kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=bool(ceil_mode))
    out = _windowed(ops.max_pool2d, (x,), settings)
    results = [out, _places_of_largest(x, out, settings)] if return_indices else [out]
    results = tuple(md.squeeze(r, 0) if single else r for r in results)
    return results if return_indices else results[0]


def _places_of_largest(x, out, settings):
    """The number of each image's pixel, picked where the largest of each window stands."""
    window = {name: value for name, value in settings.items() if name != "ceil_mode"}
    x, out = x.detach().double(), out.detach().double()
    pixels = from_numpy(np.arange(math.prod(x.shape[2:]), dtype=np.float64)).to(x.device).reshape(x.shape[2:])
    return apply(ops.max_pool2d_pick, (pixels.expand(x.shape), x, out), window).long()


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest number of each window. input: (N, C, L) -> (N, C, OL)."""
    (kernel,), (padding,) = several(kernel_size, 1, "kernel_size"), several(padding, 1, "padding")
    stride = kernel if stride in (None, ()) else several(stride, 1, "stride")[0]
    (dilation,) = several(dilation, 1, "dilation")
    out = max_pool2d(
        md.unsqueeze(input, -2), (1, kernel), (1, stride), (0, padding), (1, dilation), ceil_mode, return_indices
    )
    return tuple(md.squeeze(part, -2) for part in out) if return_indices else md.squeeze(out, -2)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window. input: (N, C, H, W) -> (N, C, OH, OW); `stride` is the kernel if not given."""
    x, single = _batched(input, 4)
    kernel = pair(kernel_size, "kernel_size")
    stride, padding = pair(kernel if stride in (None, ()) else stride, "stride"), pair(padding, "padding")
    _check_padding("avg_pool", x, kernel, padding)
    size = _places("avg_pool", x, kernel, stride, padding, ceil_mode=ceil_mode)
    total = _window_sums(x, size, kernel, stride, padding)
    if divisor_override:
        out = total / divisor_override
    elif padding == (0, 0) and not ceil_mode:
        out = total / (kernel[0] * kernel[1])
    else:
        out = total / _window_counts(x, size, kernel, stride, padding, count_include_pad)
    return md.squeeze(out, 0) if single else out


def _window_sums(x, size, kernel, stride, padding):
    need = [(n - 1) * s + k for n, s, k in zip(size, stride, kernel)]
    below, right = (max(0, m - n - p) for m, n, p in zip(need, x.shape[2:], padding))
    x = pad(x, (padding[1], right, padding[0], below))
    total, *parts = (x[place] for place in ops.pool.members(size, kernel, stride, (1, 1)))
    for part in parts:
        total = total + part
    return total


def _window_counts(x, size, kernel, stride, padding, count_include_pad):
    """How many numbers of each window count: those on the image, and those on the padding if it is to be included."""
    frame = ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
    if count_include_pad:
        frame, padding = pad(frame, (padding[1], padding[1], padding[0], padding[0]), value=1.0), (0, 0)
    return _window_sums(frame, size, kernel, stride, padding)


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window. input: (N, C, L) -> (N, C, OL)."""
    (kernel,), (padding,) = several(kernel_size, 1, "kernel_size"), several(padding, 1, "padding")
    stride = kernel if stride in (None, ()) else several(stride, 1, "stride")[0]
    out = avg_pool2d(md.unsqueeze(input, -2), (1, kernel), (1, stride), (0, padding), ceil_mode, count_include_pad)
    return md.squeeze(out, -2)


def _bins(n, parts):
    """Where each of `parts` bins over n numbers starts and ends; neighbours may overlap by one."""
    return [(k * n // parts, -(-(k + 1) * n // parts)) for k in range(parts)]


def _averaging(n, parts, like):
    """A matrix (parts, n) whose rows take the mean over the bins."""
    if like.dtype.kind != "f":
        raise DTypeError(message("adaptive_avg_pool: the mean of whole numbers need not be one.",
                                 [("dtype", like.dtype)], "x.float()."))
    matrix = np.zeros((parts, n), like.dtype)
    for row, (start, stop) in zip(matrix, _bins(n, parts)):
        row[start:stop] = 1 / (stop - start)
    return from_numpy(matrix).to(like.device)


def adaptive_avg_pool2d(input, output_size):
    """The mean of each bin, with bins chosen so that the output has the size asked for (None keeps an axis)."""
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    h, w = (n if m is None else m for n, m in zip(input.shape[-2:], size))
    if (h, w) == (1, 1):
        return md.mean(input, (-2, -1), keepdim=True)
    rows, columns = _averaging(input.shape[-2], h, input), _averaging(input.shape[-1], w, input)
    return md.matmul(md.matmul(rows, input), columns.t())


def adaptive_avg_pool1d(input, output_size):
    """The mean of each bin of a sequence. (N, C, L) -> (N, C, output_size)."""
    (size,) = several(output_size, 1)
    if size == 1:
        return md.mean(input, -1, keepdim=True)
    return md.matmul(input, _averaging(input.shape[-1], size, input).t())


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The largest number of each bin, with bins as in `adaptive_avg_pool2d`.

    With `return_indices` also where it stood in its image, counted in reading order (int64).
    """
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    h, w = (n if m is None else m for n, m in zip(input.shape[-2:], size))
    if len(size) != 2 or min(h, w) < 1:
        raise ArgumentError(message(f"adaptive_max_pool: the output size must be 1 or more, got {output_size}."))
    found = [_largest(input, slice(*rows), slice(*columns))
             for rows in _bins(input.shape[-2], h) for columns in _bins(input.shape[-1], w)]
    out, indices = (md.unflatten(md.stack(part, -1), -1, (h, w)) for part in zip(*found))
    return (out, indices) if return_indices else out


def _largest(x, rows, columns):
    """The largest number of one bin of each image, and where it stands in the image."""
    values, place = md.flatten(x[..., rows, columns], -2).max(-1)
    width = columns.stop - columns.start
    return values, (rows.start + place // width) * x.shape[-1] + columns.start + place % width


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The largest number of each bin of a sequence. (N, C, L) -> (N, C, output_size)."""
    (size,) = output_size if isinstance(output_size, (tuple, list)) else (output_size,)
    out = adaptive_max_pool2d(md.unsqueeze(input, -2), (1, size), return_indices)
    return tuple(md.squeeze(part, -2) for part in out) if return_indices else md.squeeze(out, -2)


# ---------------------------------------------------------------------- borders and sizes
def pad(input, pad, mode="constant", value=None):
    """Borders around the last axes.

    Args:
        pad: (left, right) of the last axis, then of the one before, and so on; negative numbers cut off.
        mode: "constant" (filled with `value`), "reflect", "replicate" or "circular".
    """
    pad = tuple(int(n) for n in pad)
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(
            message("pad: give two numbers an axis, the last axis first.", [("pad", pad), ("x", input.shape)])
        )
    for k in range(len(pad) // 2):
        before, after = pad[2 * k:2 * k + 2]
        if before or after:
            axis = input.ndim - 1 - k
            input = _filled(input, axis, before, after, value or 0) if mode == "constant" else _extended(
                input, axis, before, after, mode)
    return input


def _filled(x, axis, before, after, value):
    if before < 0 or after < 0:                       # cut first, then fill
        start, stop = max(0, -before), x.shape[axis] - max(0, -after)
        x, before, after = md.narrow(x, axis, start, stop - start), max(before, 0), max(after, 0)
    n = x.shape[axis]
    shape = (*x.shape[:axis], before + n + after, *x.shape[axis + 1:])
    key = (slice(None),) * axis + (slice(before, before + n),)
    out = apply(ops.unslice, (x,), {"shape": shape, "key": key})
    if value == 0:
        return out
    border = np.ones(shape[axis], bool)
    border[before:before + n] = False
    border = from_numpy(border.reshape([-1 if k == axis else 1 for k in range(x.ndim)])).to(x.device)
    return md.masked_fill(out, border, value)


def _extended(x, axis, before, after, mode):
    if mode == "circular" and min(before, after) < 0:      # cut first, then go round
        x = _filled(x, axis, min(before, 0), min(after, 0), 0)
        before, after = max(before, 0), max(after, 0)
    n = x.shape[axis]
    places = np.arange(-before, n + after)
    if mode == "replicate":
        places = places.clip(0, n - 1)
    elif mode == "circular":
        places = places % n
    elif mode == "reflect":
        if max(before, after) >= n:
            raise ArgumentError(
                message(
                    "pad: a reflected border must be smaller than the axis.", [("size", n), ("border", (before, after))]
                )
            )
        places = np.abs(places)
        places = np.where(places >= n, 2 * (n - 1) - places, places)
    else:
        raise ArgumentError(
            message(f"pad: unknown mode {mode!r}.", [("known", "constant, reflect, replicate, circular")])
        )
    return md.index_select(x, axis, from_numpy(places).to(x.device))


def _target_sizes(input, size, scale_factor):
    count = input.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: give either size or scale_factor.")
    if size is not None:
        return several(size, count), [None] * count
    scales = [scale_factor] * count if isinstance(scale_factor, (int, float)) else list(scale_factor)
    return tuple(int(math.floor(n * s)) for n, s in zip(input.shape[2:], scales)), scales


def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    """Images (or sequences) at another size, by the nearest pixel ("nearest") or between pixels ("linear", "bilinear").

    input: (N, C, ...) -> (N, C, *size).
    """
    sizes, scales = _target_sizes(input, size, scale_factor)
    scales = [None] * len(sizes) if recompute_scale_factor else scales
    for k, (target, scale) in enumerate(zip(sizes, scales)):
        axis, n = k + 2, input.shape[k + 2]
        if mode == "nearest":
            places = np.arange(target) * n // target if scale is None else np.floor(np.arange(target) / scale)
            places = places.astype(np.int64).clip(0, n - 1)
            input = md.index_select(input, axis, from_numpy(places).to(input.device))
        elif mode in ("linear", "bilinear"):
            matrix = from_numpy(_between(n, target, scale, align_corners).astype(input.dtype)).to(input.device)
            input = md.movedim(md.matmul(md.movedim(input, axis, -1), matrix.t()), -1, axis)
        else:
            raise NotImplementedError(f"interpolate: mode {mode!r} is not supported.")
    return input


def _between(n, target, scale, align_corners):
    """A matrix (target, n): each new pixel is a weighted mean of its two neighbours."""
    k = np.arange(target)
    if align_corners:
        x = k * ((n - 1) / (target - 1)) if target > 1 else np.zeros(target)
    else:
        x = np.maximum((k + 0.5) / (scale or target / n) - 0.5, 0)
    low = np.minimum(np.floor(x).astype(int), n - 1)
    part = np.minimum(x - low, 1)
    matrix = np.zeros((target, n))
    np.add.at(matrix, (k, low), 1 - part)
    np.add.at(matrix, (k, np.minimum(low + 1, n - 1)), part)
    return matrix


def pixel_shuffle(input, upscale_factor):
    """Channels into pixels: (..., C r r, H, W) -> (..., C, H r, W r)."""
    r = upscale_factor
    *batch, c, h, w = input.shape
    x = input.reshape(math.prod(batch), c // (r * r), r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(*batch, c // (r * r), h * r, w * r)


# ---------------------------------------------------------------------- normalisation
def _standardised(x, dims, eps):
    """x with mean 0 and variance 1 over some axes, and that mean and variance."""
    mean = md.mean(x, dims, keepdim=True)
    centred = x - mean
    variance = md.mean(md.square(centred), dims, keepdim=True)
    return centred * md.rsqrt(variance + eps), mean, variance


def _scaled(x, weight, bias, shape):
    if weight is not None:
        x = x * md.reshape(weight, shape)
    return x if bias is None else x + md.reshape(bias, shape)


def batch_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """Each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe & Szegedy 2015).

    In training the batch's own statistics are used, and the running ones (if given) move towards them in
    place; otherwise the running ones are used. input: (N, C, ...), the others: (C,).
    """
    axis = min(1, input.ndim - 1)
    dims = tuple(k for k in range(input.ndim) if k != axis)
    shape = tuple(n if k == axis else 1 for k, n in enumerate(input.shape))
    _check_channels("batch_norm", input.shape[axis], running_mean=running_mean, running_var=running_var,
                    weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError("batch_norm: without training=True the running mean and variance are needed.")
        out = (input - running_mean.reshape(shape)) * md.rsqrt(running_var.reshape(shape) + eps)
        return _scaled(out, weight, bias, shape)
    count = input.numel() // max(input.shape[axis], 1)
    _check_spread("batch_norm", count, input)
    out, mean, variance = _standardised(input, dims, eps)
    if running_mean is not None:
        _move(running_mean, mean, momentum)
        _move(running_var, variance * (count / (count - 1)), momentum)
    return _scaled(out, weight, bias, shape)


def _check_channels(name, channels, **tensors):
    for which, value in tensors.items():
        if value is not None and value.shape != (channels,):
            raise ShapeError(message(f"{name}: {which} must have one number for each of {channels} channels.",
                                     [(which, value.shape)]))


def _check_spread(name, count, input):
    if count == 1:
        raise ShapeError(message(f"{name}: in training a channel needs more than one number.",
                                 [("input", input.shape)], "a larger batch or image, or model.eval()."))


def _move(running, now, momentum):
    """running <- (1 - momentum) running + momentum now; no part of the graph."""
    numbers = backend.of(now.array).writable(running)
    numbers[...] = (1 - momentum) * numbers + momentum * now.array.reshape(-1)
    running.mark_written("batch_norm")


def _last_axes(name, input, normalized_shape):
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (int(normalized_shape),)
    if input.ndim < len(shape) or input.shape[input.ndim - len(shape):] != shape:
        raise ShapeError(message(f"{name}: the last axes are not those to normalise.",
                                 [("input", input.shape), ("normalized_shape", shape)]))
    return shape


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """The last axes brought to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016)."""
    shape = _last_axes("layer_norm", input, normalized_shape)
    out, _, _ = _standardised(input, tuple(range(input.ndim - len(shape), input.ndim)), eps)
    return _scaled(out, weight, bias, shape)


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """The last axes divided by their root mean square (Zhang & Sennrich 2019)."""
    shape = _last_axes("rms_norm", input, normalized_shape)
    dims = tuple(range(input.ndim - len(shape), input.ndim))
    eps = float(np.finfo(input.dtype).eps) if eps is None else eps
    return _scaled(input * md.rsqrt(md.mean(md.square(input), dims, keepdim=True) + eps), weight, None, shape)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Groups of channels brought to mean 0 and variance 1 for each example (Wu & He 2018)."""
    if input.shape[1] % num_groups:
        raise ArgumentError(message(f"group_norm: {input.shape[1]} channels do not make {num_groups} equal groups."))
    size = math.prod(input.shape[1:]) // num_groups
    grouped, _, _ = _standardised(input.reshape(input.shape[0], num_groups, size), (2,), eps)
    return _scaled(grouped.reshape(input.shape), weight, bias, tuple(-1 if k == 1 else 1 for k in range(input.ndim)))


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Each channel of each example brought to mean 0 and variance 1 (Ulyanov et al. 2016)."""
    shape = tuple(-1 if k == 1 else 1 for k in range(input.ndim))
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = math.prod(input.shape[2:])
    _check_spread("instance_norm", count, input)
    out, mean, variance = _standardised(input, tuple(range(2, input.ndim)), eps)
    if running_mean is not None:
        _move(running_mean, md.mean(mean, 0), momentum)
        _move(running_var, md.mean(variance, 0) * (count / (count - 1)), momentum)
    return _scaled(out, weight, bias, shape)


def normalize(input, p=2.0, dim=1, eps=1e-12):
    """Vectors along an axis divided by their p-norm."""
    return input / md.clamp(md.norm(input, p, dim, keepdim=True), min=eps)


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """The cosine of the angle between vectors along an axis."""
    x1, x2 = md.broadcast_tensors(x1, x2)
    return md.sum(x1 / md.clamp(md.norm(x1, 2, dim, keepdim=True), min=eps) *
                  (x2 / md.clamp(md.norm(x2, 2, dim, keepdim=True), min=eps)), dim)


def dropout(input, p=0.5, training=True, inplace=False, *, generator=None):
    """In training each number is set to 0 with probability p, the others are scaled by 1 / (1 - p).

    Source: Srivastava et al. 2014.
    """
    return _dropped("dropout", input, p, training, input.shape, generator)


def _dropped(name, input, p, training, shape, generator):
    """`shape` is that of the mask: what is 1 there shares its fate."""
    if not 0 <= p <= 1:
        raise ArgumentError(message(f"{name}: p is a probability, 0 .. 1, got {p}."))
    if not training or p == 0:
        return input
    generator = generator or _random.default_generator
    draw = ops.uniform(shape=shape, dtype=np.dtype(np.float32), generator=generator, device=str(input.device))
    keep = _in_the_order_of(input.array, draw >= p).astype(input.dtype)
    return input * Tensor(keep * (1 / (1 - p)) if p < 1 else keep)


def _in_the_order_of(array, keep):
    """A mask with its axes in memory in the order of those of `array` (ops/conv.py): mixing two orders is slow."""
    if type(array) is not type(keep) or array.shape != keep.shape:
        return keep
    return ops.pool.laid_out_like(backend.of(array).xp, keep, array)


def dropout1d(input, p=0.5, training=True, inplace=False, *, generator=None):
    """`dropout` of whole channels of sequences, (N, C, L) or (C, L) (Tompson et al. 2015)."""
    return _without_channels("dropout1d", 1, input, p, training, generator)


def dropout2d(input, p=0.5, training=True, inplace=False, *, generator=None):
    """`dropout` of whole channels of images, (N, C, H, W) or (C, H, W) (Tompson et al. 2015)."""
    return _without_channels("dropout2d", 2, input, p, training, generator)


def _without_channels(name, axes, input, p, training, generator):
    if input.ndim not in (axes + 1, axes + 2):
        raise ShapeError(message(f"{name}: expected channels of {axes} axes, with or without a batch.",
                                 [("input", input.shape)]))
    return _dropped(name, input, p, training, input.shape[:-axes] + (1,) * axes, generator)


# ---------------------------------------------------------------------- losses
def _reduced(loss, reduction):
    _check_reduction(reduction)
    return md.mean(loss) if reduction == "mean" else md.sum(loss) if reduction == "sum" else loss


def _check_reduction(reduction):
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(message(f"loss: unknown reduction {reduction!r}.", [("known", "'mean', 'sum', 'none'")]))


def mse_loss(input, target, reduction="mean"):
    """The squared error."""
    return _reduced(md.square(_difference("mse_loss", input, target)), reduction)


def l1_loss(input, target, reduction="mean"):
    """The absolute error."""
    return _reduced(md.abs(_difference("l1_loss", input, target)), reduction)


def _difference(name, input, target):
    """input - target; shapes that would be broadcast are nearly always a mistake in a loss, but for a single number."""
    if not isinstance(target, Tensor):
        target = tensor(target)
    if input.shape != target.shape and () not in (input.shape, target.shape):
        raise ShapeError(
            message(
                f"{name}: input and target have different shapes: broadcasting would compare all with all.",
                [("input", input.shape), ("target", target.shape)],
                "input.squeeze(-1) or target.view_as(input).",
            )
        )
    return input - target


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """Squared where the error is below beta, absolute beyond."""
    if beta == 0:
        return l1_loss(input, target, reduction)
    size = md.abs(_difference("smooth_l1_loss", input, target))
    inner = md.clamp(size, max=beta)                  # the square of a huge number would be inf
    return _reduced(md.where(size < beta, 0.5 * md.square(inner) / beta, size - 0.5 * beta), reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """Squared where the error is below delta, with straight lines of the same slope beyond (Huber 1964)."""
    size = md.abs(_difference("huber_loss", input, target))
    loss = md.where(size < delta, 0.5 * md.square(md.clamp(size, max=delta)), delta * (size - 0.5 * delta))
    return _reduced(loss if weight is None else loss * weight, reduction)


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """Minus the log probability of the right class.

    Args:
        input: log probabilities, (N, C), (N, C, d1, ...) or (C,).
        target: class numbers, (N,), (N, d1, ...) or ().
        weight: one for each class, (C,); the mean is then weighted, too.
        ignore_index: examples with this target do not count.
    """
    axis = 0 if input.ndim == 1 else 1
    _check_targets("nll_loss", input, target, axis)
    ignored = target == ignore_index
    index = target.masked_fill(ignored, 0)
    _check_classes("nll_loss", index, input.shape[axis], weight)
    loss = -md.squeeze(md.gather(input, axis, md.unsqueeze(index, axis)), axis)
    counts = cast(md.logical_not(ignored), input.dtype)
    if weight is not None:
        counts = counts * weight[index]
    loss = md.where(ignored, 0.0, loss) * counts
    return md.sum(loss) / md.sum(counts) if reduction == "mean" else _reduced(loss, reduction)


def _check_targets(name, input, target, axis):
    if target.dtype.kind not in "iu":
        raise DTypeError(
            message(f"{name}: classes are given as whole numbers.", [("target", target.dtype)], "target.long().")
        )
    if target.shape != input.shape[:axis] + input.shape[axis + 1:]:
        raise ShapeError(message(f"{name}: there must be one class number for each row of the input.",
                                 [("input", input.shape, "N C ..."), ("target", target.shape, "N ...")]))


def _check_classes(name, index, count, weight=None, ignore_index=None):
    if weight is not None and weight.shape != (count,):
        raise ShapeError(message(f"{name}: there must be one weight for each of {count} classes.",
                                 [("weight", weight.shape)]))
    if not index.numel() or index.device != "cpu":    # on a GPU the check would wait for the device
        return
    lowest, highest = int(index.array.min()), int(index.array.max())
    if lowest < 0 or highest >= count:
        if ignore_index is not None:                  # the usual case was none of these: look again without them
            return _check_classes(name, index.masked_fill(index == ignore_index, 0), count)
        raise DimensionError(message(f"{name}: class numbers must be 0 .. {count - 1}.",
                                     [("lowest", lowest), ("highest", highest)], "count classes from 0."))


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Softmax, then minus the log probability of the right class: computed together, so that nothing overflows.

    Args:
        input: scores (logits), (N, C), (N, C, d1, ...) or (C,).
        target: class numbers, (N,), (N, d1, ...) or (); or probabilities in the shape of the input.
        weight: one for each class, (C,).
        ignore_index: examples with this target do not count.
        label_smoothing: this share of the target's probability is spread over all classes.
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(message(f"cross_entropy: label_smoothing is a share, 0 .. 1, got {label_smoothing}."))
    axis = 0 if input.ndim == 1 else 1
    if target.dtype.kind != "f" and weight is None and not label_smoothing:
        return _cross_entropy_of_classes(floating(input), target, ignore_index, reduction, axis)
    log_p = md.log_softmax(input, axis)
    if target.dtype.kind == "f":
        return _cross_entropy_of_probabilities(log_p, target, weight, reduction, label_smoothing, axis)
    loss = nll_loss(log_p, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    spread = _smooth_part(log_p, target, weight, ignore_index, reduction, axis)
    return loss * (1 - label_smoothing) + spread * (label_smoothing / input.shape[axis])


def _cross_entropy_of_classes(scores, target, ignore_index, reduction, axis):
    """The usual case in one op, which wants a row of scores for each example: the classes go last."""
    _check_reduction(reduction)
    _check_targets("cross_entropy", scores, target, axis)
    _check_classes("cross_entropy", target, scores.shape[axis], ignore_index=ignore_index)
    rows, index = scores, target
    if scores.ndim != 2:
        rows = md.movedim(scores, axis, -1).reshape(target.numel(), scores.shape[axis])
        index = target.reshape(-1)
    loss = apply(ops.cross_entropy, (rows, index), {"ignore_index": ignore_index, "reduction": reduction})
    return loss if reduction != "none" else loss.reshape(target.shape)


def _share(weight, value):
    """weight * value; 0 where the weight is 0, even if the value is infinite: 0 log 0 is 0."""
    return weight * md.where((weight == 0) & md.isinf(value), 0.0, value)


def _shaped(weight, log_p, axis):
    return weight.reshape([-1 if k == axis else 1 for k in range(log_p.ndim)])


def _cross_entropy_of_probabilities(log_p, target, weight, reduction, label_smoothing, axis):
    if target.shape != log_p.shape:
        raise ShapeError(message("cross_entropy: a float target holds a probability for each class.",
                                 [("input", log_p.shape), ("target", target.shape)],
                                 "target.long(), if the target holds class numbers."))
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / log_p.shape[axis]
    weighted = target if weight is None else target * _shaped(weight, log_p, axis)
    loss = -md.sum(_share(weighted, log_p), axis)
    return md.sum(loss) / max(loss.numel(), 1) if reduction == "mean" else _reduced(loss, reduction)


def _smooth_part(log_p, target, weight, ignore_index, reduction, axis):
    """Minus the sum of all log probabilities, reduced as nll_loss does it."""
    loss = -md.sum(log_p if weight is None else log_p * _shaped(weight, log_p, axis), axis)
    ignored = target == ignore_index
    loss = md.where(ignored, 0.0, loss)
    if reduction != "mean":
        return _reduced(loss, reduction)
    counts = cast(md.logical_not(ignored), log_p.dtype)
    if weight is not None:
        counts = counts * weight[target.masked_fill(ignored, 0)]
    return md.sum(loss) / md.sum(counts)


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(t log p + (1 - t) log(1 - p)) for probabilities p; logarithms are cut off at -100, as in PyTorch."""
    if input.shape != target.shape:
        raise ShapeError(message("binary_cross_entropy: input and target must have one shape.",
                                 [("input", input.shape), ("target", target.shape)]))
    if input.numel() and input.device == "cpu" and (input.array.min() < 0 or input.array.max() > 1):
        raise ArgumentError(message("binary_cross_entropy: the input must be probabilities, 0 .. 1.",
                                    [("lowest", input.array.min()), ("highest", input.array.max())],
                                    "binary_cross_entropy_with_logits(input, target) takes any numbers."))
    loss = -(target * _log_of_probability(input) + (1 - target) * _log_of_probability(1 - input))
    return _reduced(loss if weight is None else loss * weight, reduction)


def _log_of_probability(p):
    """log p, -100 at least; its slope 1 / p is 1e12 at most, as in PyTorch, so that p = 0 can be learned away from."""
    tiny = p < 1e-12
    straight = md.clamp(md.log(p.detach()), min=-100) + 1e12 * (p - p.detach())
    return md.where(tiny, straight, md.log(md.where(tiny, 1.0, p)))


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """`binary_cross_entropy` of sigmoid(input), computed together, so that nothing overflows."""
    if input.shape != target.shape:
        raise ShapeError(message("binary_cross_entropy_with_logits: input and target must have one shape.",
                                 [("input", input.shape), ("target", target.shape)]))
    positive = target if pos_weight is None else target * pos_weight
    loss = _share(positive, md.logaddexp(-input, 0.0)) + _share(1 - target, md.logaddexp(input, 0.0))
    return _reduced(loss if weight is None else loss * weight, reduction)


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """Minus the log probability of a label sequence, summed over all its alignments to the steps of an input.

    An alignment names a class at each step; the labels are what is left of it when neighbours that are equal are
    made one, and blanks dropped after that. Infinite where there are too few steps for the labels.
    Source: Graves et al. 2006.

    Args:
        log_probs: log probabilities of the classes, (T, N, C) or (T, C).
        targets: labels, (N, S) and filled up with anything, or all of them in a row, (sum(target_lengths),).
        input_lengths, target_lengths: how many steps and labels count, (N,) each.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its number of labels first, as PyTorch does.
        zero_infinity: losses that are infinite count as 0.

    Raises:
        ShapeError, ArgumentError, DimensionError, DTypeError: lengths and labels do not fit the log probabilities.
    """
    single = log_probs.ndim == 2
    x = md.unsqueeze(log_probs, 1) if single else log_probs
    steps, counts, labels = _ctc_data(x, targets, input_lengths, target_lengths, blank)
    loss = -_ctc_log_probability(x, steps, counts, labels, blank)
    if zero_infinity:
        loss = md.where(loss == math.inf, 0.0, loss)
    if reduction == "mean":
        loss = loss / from_numpy(np.maximum(counts, 1).astype(x.dtype)).to(x.device)
    return _reduced(md.squeeze(loss, 0) if single else loss, reduction)


def _ctc_log_probability(x, steps, counts, labels, blank):
    """The log probability of all alignments together, step by step: (T, N, C) -> (N,).

    An alignment walks along the labels with blanks around each, - a - b -, from the first blank to one of the last
    two places. At each step it stays, goes on by one place, or jumps over a blank, but not to an equal label: those
    would be merged. `alpha` holds, for each place, the log probability of all ways there.
    """
    place = np.arange(2 * labels.shape[1] + 1)
    classes = np.full((len(labels), len(place)), blank)
    classes[:, 1::2] = labels
    new = np.zeros(classes.shape, bool)
    new[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    last = 2 * counts[:, None]

    def constant(array):
        return from_numpy(np.array(array)).to(x.device)

    def only(allowed):
        return constant(np.where(allowed, 0, -np.inf).astype(x.dtype))
    alpha, jump, end = only((place == 0) & (last >= 0)), only(new), only((place == last) | (place == last - 1))
    wall = only(np.zeros((len(labels), 2), bool))
    running = constant(np.arange(len(x))[:, None, None] < steps[:, None])
    emitted = md.gather(x, 2, constant(np.broadcast_to(classes, (len(x), *classes.shape))))
    for goes_on, now in zip(md.unbind(running), md.unbind(emitted)):
        before = md.cat([wall, alpha], 1)
        ways = md.stack([before[:, 2:], before[:, 1:-1], before[:, :-2] + jump])
        alpha = md.where(goes_on, md.logsumexp(ways, 0) + now, alpha)
    return md.logsumexp(alpha + end, 1)


def _ctc_data(x, targets, input_lengths, target_lengths, blank):
    """Steps (N,), counts of labels (N,) and labels (N, S) on the host, checked; what does not count is blank."""
    steps, counts, labels = (np.asarray(v.host_array() if isinstance(v, Tensor) else v)
                             for v in (input_lengths, target_lengths, targets))
    facts = [("log_probs", x.shape, "T N C"), ("targets", labels.shape, "N S"), ("input_lengths", steps.tolist()),
             ("target_lengths", counts.tolist()), ("blank", blank)]

    def demand(fine, error, what):
        if not fine:
            raise error(message(f"ctc_loss: {what}", facts))
    demand(all(v.dtype.kind in "iu" or not v.size for v in (steps, counts, labels)), DTypeError,
           "labels and lengths are whole numbers.")
    demand(x.ndim == 3 and steps.size == counts.size == x.shape[1], ShapeError,
           "there must be one length for each sequence of log probabilities.")
    steps, counts = steps.reshape(-1), counts.reshape(-1)
    demand(min([0, *steps, *counts]) == 0 and max([0, *steps]) <= len(x), ArgumentError,
           f"input lengths must be 0 .. {len(x)}, the number of steps, and target lengths 0 or more.")
    if labels.ndim == 1:
        demand(len(labels) == counts.sum(), ShapeError, "labels in a row must be as many as all target lengths say.")
        row, labels = labels, np.zeros((len(counts), max([0, *counts])), np.int64)
        labels[np.arange(labels.shape[1]) < counts[:, None]] = row
    demand(labels.ndim == 2 and len(labels) == len(counts) and labels.shape[1] >= max([0, *counts]), ShapeError,
           "there must be a row of labels for each sequence, as long as its target length or longer.")
    used, classes = np.arange(labels.shape[1]) < counts[:, None], x.shape[2]
    named = labels[used]
    demand(0 <= blank < classes and ((named >= 0) & (named < classes) & (named != blank)).all(), DimensionError,
           f"labels and blank must be classes, 0 .. {classes - 1}, and no label the blank.")
    return steps, counts, np.where(used, labels, blank)


def kl_div(input, target, reduction="mean", log_target=False):
    """target * (log target - input), for log probabilities `input`; "batchmean" divides by the batch size."""
    if log_target:
        loss = md.exp(target) * (target - input)
    else:
        positive = target > 0
        loss = md.where(positive, target * md.log(md.where(positive, target, 1.0)), 0.0) - _share(target, input)
    return md.sum(loss) / input.shape[0] if reduction == "batchmean" else _reduced(loss, reduction)


def margin_ranking_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """max(0, -y (x1 - x2) + margin): the first shall be larger where y is 1, smaller where it is -1."""
    return _reduced(md.clamp(-target * (input1 - input2) + margin, min=0), reduction)


def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos where y is 1, max(0, cos - margin) where it is -1."""
    cos = cosine_similarity(input1, input2, dim=-1)
    return _reduced(md.where(target == 1, 1 - cos, md.clamp(cos - margin, min=0)), reduction)


def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """x where y is 1, max(0, margin - x) where it is -1."""
    near = md.where(target == -1, 0.0, input)
    return _reduced(near + md.where(target == 1, 0.0, md.clamp(margin - input, min=0)), reduction)


def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-y x))."""
    return _reduced(md.logaddexp(-target * input, 0.0), reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction="mean"):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    def distance(a, b):
        return md.norm(a - b + eps, p, -1)
    far = distance(anchor, negative)
    if swap:
        far = md.minimum(far, distance(positive, negative))
    return _reduced(md.clamp(distance(anchor, positive) - far + margin, min=0), reduction)


def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """Minus the log probability of counts under a Poisson distribution."""
    loss = md.exp(input) - target * input if log_input else input - target * md.log(input + eps)
    if full:
        safe = md.clamp(target, min=1.0)
        stirling = safe * md.log(safe) - safe + 0.5 * md.log(2 * math.pi * safe)
        loss = loss + md.where(target > 1, stirling, 0.0)
    return _reduced(loss, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """Minus the log probability under normal distributions with mean `input` and variance `var`."""
    if isinstance(var, (int, float)):
        var = zeros(*input.shape, dtype=input.dtype, device=input.device) + var
    elif var.shape != input.shape and var.ndim == input.ndim - 1:
        var = md.unsqueeze(var, -1)
    var = (
        md.where(var < eps, var * 0 + eps, var)
        if not var.requires_grad
        else var + (md.clamp(var.detach(), min=eps) - var.detach())
    )
    loss = 0.5 * (md.log(var) + md.square(input - target) / var)
    return _reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# ---------------------------------------------------------------------- attention
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None):
    """Each query gets a mean of the values, weighted by how well their keys match it: softmax(Q K^T scale) V.

    query: (..., L, E), key: (..., S, E), value: (..., S, Ev) -> (..., L, Ev).

    Args:
        attn_mask: as in `attention_weights`; a query that may look nowhere gets zeros and gradient 0, as in PyTorch.
        dropout_p: each weight is dropped with this probability, also in evaluation: a function has no mode.
        is_causal, scale: as in `attention_weights`.

    Raises:
        ShapeError: queries and keys differ in length, keys and values in number, or the mask does not fit.

    Source: Vaswani et al. 2017.
    """
    shapes = [x.shape for x in (query, key, value)]
    if min(map(len, shapes)) < 2 or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            message("scaled_dot_product_attention: each query must be as long as each key, with one value for each "
                    "key.", [("query", shapes[0], "... L E"), ("key", shapes[1], "... S E"),
                             ("value", shapes[2], "... S Ev")]))
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return md.matmul(dropout(weights, dropout_p), value)


def attention_weights(query, key, attn_mask=None, is_causal=False, scale=None):
    """How much each query looks at each key: softmax(Q K^T scale + mask). (..., L, E), (..., S, E) -> (..., L, S).

    Each row sums to 1, or is 0 where the query may look nowhere.

    Args:
        attn_mask: fits (..., L, S). Bool: True where a query may look. Float: added to the scores.
        is_causal: query number i looks at keys 0 .. i only; with a mask, both count.
        scale: 1 / sqrt(E) if not given, so that scores of normal numbers have variance 1.
    """
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    scores = md.matmul(query * scale, md.transpose(key, -2, -1))
    mask = None if attn_mask is None else _fitting(additive_mask(attn_mask, scores), scores)
    if is_causal:
        earlier = additive_mask(md.tril(ones(*scores.shape[-2:], dtype=bool, device=scores.device)), scores)
        mask = earlier if mask is None else mask + earlier
    if mask is None:
        return softmax(scores, -1)
    nowhere = md.all(mask == -math.inf, -1, keepdim=True)     # softmax of nothing but -inf is nan
    weights = softmax(scores + md.where(nowhere, 0.0, mask), -1)
    return md.where(nowhere, 0.0, weights)


def _fitting(mask, scores):
    if mask.ndim > scores.ndim or any(m not in (1, n) for m, n in zip(mask.shape[::-1], scores.shape[::-1])):
        raise ShapeError(message("attention: the mask does not fit the scores of each query (L) and key (S).",
                                 [("attn_mask", mask.shape), ("scores", scores.shape, "... L S")]))
    return mask


def additive_mask(mask, like):
    """A mask as what is added to scores of the dtype of `like`: 0 where a bool mask is True, -inf where it is False.

    Raises:
        DTypeError: the mask holds whole numbers.
    """
    if mask.dtype.kind not in "bf":
        raise DTypeError(message("attention: a mask is made of bools, or of floats that are added to the scores.",
                                 [("mask", mask.dtype)], "mask.bool()."))
    if mask.dtype.kind == "f":
        return cast(mask, like.dtype)
    return md.where(mask, zeros((), dtype=like.dtype, device=like.device), -math.inf)


# All of them take tensors, and say so to who brings a list.
globals().update({name: md.of_tensors(function) for name, function in list(globals().items())
                  if getattr(function, "__module__", "") == __name__ and not name.startswith("_")
                  and next(iter(inspect.signature(function).parameters), "") in md.TENSORS})
