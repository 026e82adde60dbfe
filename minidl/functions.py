"""The functions of `minidl`, each also a method of Tensor: `md.sum(x, dim=1)` is `x.sum(dim=1)`.

An op takes its settings in one canonical form. The functions here take what a person writes: a
negative axis, one axis or several, a Python number in place of a tensor, integers where floats are
needed. They bring it into the canonical form, call the op, or put together several ops. A composite needs no
gradient rule: its ops have theirs.

At the end of the file, one table ties the functions to Tensor as methods and operators.
"""
import builtins
import collections
import functools
import inspect
import math

import numpy as np

from . import autograd, backend, ops
from .creation import full_like, rand_like, randn_like, zeros, zeros_like
from .errors import ArgumentError, DeviceError, DimensionError, DTypeError, MinidlError, ShapeError, message
from .ops.elementwise import broadcast
from .primitive import shape_of
from .tensor import Tensor, apply, as_tensor, default_dtype, from_numpy, mode, result_type, tensor

MOST_NAMED = 4                       # of many wrong arguments
inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
newaxis = None


# ---------------------------------------------------------------------- what a person writes -> what an op takes
def axis_of(dim, ndim, name="dim"):
    """One axis, counted from the front: -1 is the last.

    Raises:
        DimensionError: there is no such axis.
    """
    count = builtins.max(ndim, 1)                     # a number without axes may be asked for axis 0 or -1
    if not -count <= dim < count:
        raise DimensionError(message(f"{name}: axis {dim} does not exist.",
                                     [("axes", f"{-count} .. {count - 1}")]))
    return dim % count


def axes_of(dim, ndim, name="dim"):
    """Axes as a sorted tuple, counted from the front; None or () means all of them."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    dims = [axis_of(d, ndim, name) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(dims)) != len(dims):
        raise ArgumentError(message(f"{name}: an axis is named twice.", [("dim", dim)]))
    return tuple(sorted(d for d in dims if d < ndim))


def sizes(args):
    """Sizes given as `f(2, 3)` or as `f((2, 3))`."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    return tuple(n if isinstance(n, int) else int(n) for n in args)


def matched(x, y):
    """Two operands ready for an elementwise op: arrays become tensors, dtypes meet by PyTorch's rule."""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        if x.array.dtype == y.array.dtype:
            return x, y
    elif type(y) in (int, float) and isinstance(x, Tensor) and x.array.dtype.kind == "f":
        return x, y                                   # the usual case: NumPy lets a Python number follow the array
    elif not isinstance(x, Tensor):
        y, x = matched(y if isinstance(y, Tensor) else as_tensor(y), x)
        return x, y
    elif isinstance(y, np.generic):
        y = y.item()
    elif not isinstance(y, (int, float)):
        return matched(x, as_tensor(y))
    dtype = result_type(x, y)
    if isinstance(y, Tensor):
        return cast(x, dtype), cast(y, dtype)
    return cast(x, dtype), y if dtype.kind == "f" or not isinstance(y, float) else int(y)


def cast(x, dtype):
    """x in another dtype; x itself if it has it already."""
    return x if x.array.dtype == dtype else apply(ops.astype, (x,), {"dtype": np.dtype(dtype)})


def floating(x):
    """x as a tensor of floats: integers and booleans become float32."""
    x = x if isinstance(x, Tensor) else as_tensor(x)
    return x if x.array.dtype.kind == "f" else cast(x, default_dtype)


# ---------------------------------------------------------------------- lists and arrays where tensors belong
TENSORS = frozenset("""
    input other target targets weight bias tensor tensors input1 input2 x1 x2 anchor positive negative query key value
    attn_mask log_probs var pos_weight index indices src mask mat2 vec vec2 running_mean running_var
""".split())                                          # what parameters that take tensors are called
SEQUENCES = {"tensors", "operands"}                   # and those that take several


def of_tensors(function):
    """A function that says so where it fails for want of tensors. A decorator.

    Many functions take arrays and lists as they come, and NumPy's numbers; these only fail with words from deep inside
    where they do not. So nobody looks at what came before something has failed.
    """
    @functools.wraps(function)
    def asked(*args, **settings):
        try:
            return function(*args, **settings)
        except (AttributeError, TypeError, DeviceError) as error:
            _blame(function, args, settings, error)
            raise
    return asked


def _blame(function, args, settings, error):
    """Raise an ArgumentError if a call failed on a list, an array or a number in place of a tensor."""
    if isinstance(error, MinidlError) and not isinstance(error, DeviceError):
        return                                        # said already
    try:
        given = inspect.signature(function).bind(*args, **settings).arguments
    except TypeError:                                 # an argument is missing, or one too many
        return
    strangers = strangers_among(_tensors_of(given), error)
    if strangers:
        raise not_a_tensor(function.__name__, strangers) from None


def strangers_among(named, error):
    """Those of (name, thing) pairs that an error comes from, as they are no tensors."""
    blamed = (type(error.obj),) if isinstance(error, AttributeError) else (list, tuple)
    return [(name, x) for name, x in named if type(x) in blamed and not isinstance(x, Tensor)]


def _tensors_of(given):
    """(name, value) of the arguments that tensors are wanted for; those in a sequence of tensors one by one."""
    for name, x in given.items():
        if name in SEQUENCES and isinstance(x, (list, tuple, np.ndarray)):
            yield from ((f"{name}[{k}]", part) for k, part in enumerate(x))
        elif name in TENSORS:
            yield name, x


def not_a_tensor(name, strangers):
    """The error for a call with things that are no tensors: `strangers` are (name, thing) pairs."""
    place, first = strangers[0]
    facts = [(place, type(x).__name__, _extent(x)) for place, x in strangers[:MOST_NAMED]]
    return ArgumentError(message(f"{name}: expected a tensor, got {type(first).__name__}.", facts,
                                 f"md.tensor({place.replace('[0]', '[k]')})."))


def _extent(x):
    """How much is in something that is no tensor."""
    return f"shape {x.shape}" if isinstance(x, np.ndarray) else f"length {len(x)}" if hasattr(x, "__len__") else repr(x)


# ---------------------------------------------------------------------- arithmetic
def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return apply(ops.add, matched(input, other if alpha == 1 else other * alpha))


def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    return apply(ops.sub, matched(input, other if alpha == 1 else other * alpha))


def mul(input, other):
    """input * other."""
    return apply(ops.mul, matched(input, other))


def div(input, other, *, rounding_mode=None):
    """input / other; integers give floats. `rounding_mode` may be "floor" or "trunc"."""
    if rounding_mode == "floor":
        return floor_divide(input, other)
    x, y = matched(input, other)
    if rounding_mode == "trunc":
        dtype = result_type(x, y)
        return cast(trunc(div(x, y)), dtype)
    if rounding_mode is not None:
        raise ArgumentError(
            message(f"div: unknown rounding mode {rounding_mode!r}.", [("known", "None, 'floor', 'trunc'")])
        )
    x, y = (floating(v) if isinstance(v, Tensor) else v for v in (x, y))
    return apply(ops.div, (x, y))


def floor_divide(input, other):
    """How often `other` goes into `input`, rounded down."""
    return apply(ops.floor_divide, matched(input, other))


def remainder(input, other):
    """input modulo other, with the sign of `other`."""
    return apply(ops.remainder, matched(input, other))


def pow(input, exponent):
    """input to the power exponent."""
    x, y = matched(input, exponent)
    if isinstance(y, (int, float)) and y == 2:
        return apply(ops.square, (x,))
    return apply(ops.pow, (x, y))


def maximum(input, other):
    """The larger of the two, number by number."""
    return apply(ops.maximum, matched(input, other))


def minimum(input, other):
    """The smaller of the two, number by number."""
    return apply(ops.minimum, matched(input, other))


def logaddexp(input, other):
    """log(exp(input) + exp(other)), which never overflows."""
    return apply(ops.logaddexp, matched(input, other))


def where(condition, input=None, other=None):
    """`input` where the condition holds, `other` elsewhere; with the condition alone, the places where it holds."""
    if input is None:
        return nonzero(condition, as_tuple=True)
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = tensor(input)
    return apply(ops.where, (as_tensor(condition), *matched(input, other)))


def clamp(input, min=None, max=None):
    """Numbers below `min` or above `max` replaced by the bound; the gradient flows where nothing was replaced."""
    if min is None and max is None:
        raise ArgumentError("clamp: give min, max or both.")
    out = input
    if min is not None:
        out = _bounded(out, min, ops.less)
    if max is not None:
        out = _bounded(out, max, ops.greater)
    return out


def _bounded(x, bound, beyond):
    x, bound = matched(x, bound)
    return apply(ops.where, (apply(beyond, (x, bound)), bound, x))


def _unary(op):
    def function(input):
        return apply(op, (as_tensor(input),))
    return _named(function, op)


def _unary_of_floats(op):
    def function(input):
        return apply(op, (floating(input),))
    return _named(function, op)


def _named(function, op):
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.__doc__ + " Number by number."
    return function


exp, expm1, log, log1p = map(_unary_of_floats, (ops.exp, ops.expm1, ops.log, ops.log1p))
sqrt, sigmoid, erf = map(_unary_of_floats, (ops.sqrt, ops.sigmoid, ops.erf))
sin, cos, tan, asin, acos, atan = map(_unary_of_floats, (ops.sin, ops.cos, ops.tan, ops.asin, ops.acos, ops.atan))
sinh, cosh, tanh = map(_unary_of_floats, (ops.sinh, ops.cosh, ops.tanh))
neg, abs, sign, square, relu, clone = map(_unary, (ops.neg, ops.abs, ops.sign, ops.square, ops.relu, ops.clone))
floor, ceil, trunc = map(_unary, (ops.floor, ops.ceil, ops.trunc))
logical_not, isnan, isinf, isfinite = map(_unary, (ops.logical_not, ops.isnan, ops.isinf, ops.isfinite))


def round(input, *, decimals=0):
    """The nearest whole number (halves to the even one), or the nearest with some decimals."""
    if not decimals:
        return apply(ops.round, (as_tensor(input),))
    scale = 10.0 ** decimals
    return apply(ops.round, (input * scale,)) / scale


def log2(input):
    """The logarithm to base 2, number by number."""
    return log(input) / math.log(2)


def log10(input):
    """The logarithm to base 10, number by number."""
    return log(input) / math.log(10)


def rsqrt(input):
    """1 / sqrt(input)."""
    return reciprocal(sqrt(input))


def reciprocal(input):
    """1 / input."""
    return apply(ops.div, (1, floating(input)))


# ---------------------------------------------------------------------- comparisons
def _comparison(op):
    def function(input, other):
        return apply(op, matched(input, other))
    return _named(function, op)


eq, ne, lt = map(_comparison, (ops.equal, ops.not_equal, ops.less))
le, gt, ge = map(_comparison, (ops.less_equal, ops.greater, ops.greater_equal))
logical_and, logical_or, logical_xor = map(_comparison, (ops.logical_and, ops.logical_or, ops.logical_xor))


def equal(input, other):
    """True if both have the same shape and the same numbers (a Python bool)."""
    return input.shape == other.shape and bool((input == other).all())


def isclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """True where |input - other| <= atol + rtol |other|."""
    xp = backend.of(input.array).xp
    return Tensor(xp.isclose(input.array, other.array, rtol, atol, equal_nan))


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """True if all numbers are close (a Python bool)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


# ---------------------------------------------------------------------- reductions
def _reduce(op, x, dim, keepdim):
    return apply(op, (x,), {"dim": axes_of(dim, x.ndim, op.name), "keepdim": bool(keepdim)})


def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum of all numbers, or over some axes. Integers and booleans add up to int64."""
    if dtype is not None or input.dtype.kind != "f":
        input = cast(input, dtype or np.int64)
    return _reduce(ops.sum, input, dim, keepdim)


def mean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean of all numbers, or over some axes.

    Raises:
        DTypeError: the mean of integers is no integer; `x.float().mean()`.
    """
    if dtype is not None:
        input = cast(input, dtype)
    if input.dtype.kind != "f":
        raise DTypeError(
            message("mean: the mean of whole numbers need not be one.", [("dtype", input.dtype)], "x.float().mean().")
        )
    count = math.prod(input.shape[k] for k in axes_of(dim, input.ndim, "mean"))
    return _reduce(ops.sum, input, dim, keepdim) / (count or nan)


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=1):
    """The variance: squared distances from the mean, summed up, over n - correction."""
    if isinstance(dim, bool):                         # var(x, True): the old spelling without an axis
        dim, unbiased = None, dim
    correction = 1 if correction is None else correction
    correction = correction if unbiased is None else int(unbiased)
    count = math.prod(input.shape[k] for k in axes_of(dim, input.ndim, "var"))
    distance = input - mean(input, dim, keepdim=True)
    return _reduce(ops.sum, distance * distance, dim, keepdim) / (builtins.max(count - correction, 0) or nan)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=1):
    """The standard deviation: the square root of `var`, computed as a norm, which does not overflow."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = 1 if correction is None else correction
    correction = correction if unbiased is None else int(unbiased)
    count = math.prod(input.shape[k] for k in axes_of(dim, input.ndim, "std"))
    distance = norm(input - mean(input, dim, keepdim=True), 2, dim, keepdim)
    return distance / (builtins.max(count - correction, 0) ** 0.5 or nan)


def _root(x, p):
    """The p-th root, with the gradient 0 in place of infinity where x is 0."""
    powered = where(x == 0, 1.0, x)
    return where(x == 0, 0.0, sqrt(powered) if p == 2 else powered ** (1 / p))


def prod(input, dim=None, keepdim=False, *, dtype=None):
    """The product of all numbers, or along one axis: halves multiplied until one is left, so zeros are no trouble."""
    if dtype is not None or input.dtype.kind != "f":
        input = cast(input, dtype or np.int64)
    axis = 0 if dim is None else axis_of(dim, input.ndim, "prod")
    x = reshape(input, (-1,)) if dim is None or input.ndim == 0 else movedim(input, axis, 0)
    if not len(x):                                    # the product of nothing is 1
        x = sum(x, 0, keepdim=True) + 1
    while len(x) > 1:
        rest = x[2 * (len(x) // 2):]
        x = cat([x[0:len(x) - len(rest):2] * x[1:len(x):2], rest])
    out = x[0]
    if keepdim and input.ndim:
        return reshape(out, (1,) * input.ndim) if dim is None else unsqueeze(out, axis)
    return out


def amax(input, dim=(), keepdim=False):
    """The largest number, of all or over some axes; equal ones share the gradient evenly."""
    return _reduce(ops.amax, input, dim, keepdim)


def amin(input, dim=(), keepdim=False):
    """The smallest number, of all or over some axes; equal ones share the gradient evenly."""
    return _reduce(ops.amin, input, dim, keepdim)


ValuesAndIndices = collections.namedtuple("ValuesAndIndices", "values indices")


def max(input, dim=None, keepdim=False):
    """The largest number; along one axis, the largest and where they stand; of two tensors, `maximum`.

    >>> max(tensor([[1., 5.], [4., 2.]]), dim=1).indices
    tensor([1, 0])
    """
    return _extreme(input, dim, keepdim, ops.amax, maximum, argmax)


def min(input, dim=None, keepdim=False):
    """The smallest number; along one axis, the smallest and where they stand; of two tensors, `minimum`."""
    return _extreme(input, dim, keepdim, ops.amin, minimum, argmin)


def _extreme(x, dim, keepdim, op, of_two, where_it_is):
    if dim is None:
        return _reduce(op, x, None, False)
    if isinstance(dim, Tensor):
        return of_two(x, dim)
    if x.ndim == 0:
        return ValuesAndIndices(x, tensor(0, device=x.device))
    indices = where_it_is(x, dim, keepdim=True)
    values = take_along_dim(x, indices, dim)
    return (
        ValuesAndIndices(values, indices) if keepdim else ValuesAndIndices(squeeze(values, dim), squeeze(indices, dim))
    )


def _arg(op, x, dim, keepdim):
    if dim is None:
        out = apply(op, (reshape(x, (-1,)),), {"dim": (0,), "keepdim": False})
        return reshape(out, (1,) * x.ndim) if keepdim else out
    if x.ndim == 0:
        return tensor(0, device=x.device)
    return apply(op, (x,), {"dim": (axis_of(dim, x.ndim, op.name),), "keepdim": bool(keepdim)})


def argmax(input, dim=None, keepdim=False):
    """Where the largest number stands, of all (in reading order) or along one axis."""
    return _arg(ops.argmax, input, dim, keepdim)


def argmin(input, dim=None, keepdim=False):
    """Where the smallest number stands, of all (in reading order) or along one axis."""
    return _arg(ops.argmin, input, dim, keepdim)


def any(input, dim=None, keepdim=False):
    """True if at least one number is not 0."""
    return _reduce(ops.any, input, dim, keepdim)


def all(input, dim=None, keepdim=False):
    """True if no number is 0."""
    return _reduce(ops.all, input, dim, keepdim)


def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) over some axes, without overflow."""
    return _reduce(ops.logsumexp, floating(input), dim, keepdim)


def norm(input, p=2, dim=None, keepdim=False):
    """The p-norm of all numbers, or over some axes; `p` may be "fro" (2), inf or -inf."""
    p = 2 if p in ("fro", None) else p
    if not isinstance(p, (int, float)):
        raise NotImplementedError(f"norm: p={p!r} is not supported; numbers, inf and 'fro' are.")
    if p in (inf, -inf):
        return (amax if p > 0 else amin)(abs(input), () if dim is None else dim, keepdim)
    if p == 0:
        return sum(sign(abs(input)), dim, keepdim)    # 1 for each number that is not 0
    if p == 1:
        return sum(abs(input), dim, keepdim)
    if not input.numel():
        return sum(input, dim, keepdim)
    top = amax(abs(input.detach()), () if dim is None else dim, True)
    top = where(logical_and(isfinite(top), top > 0), top, 1.0)      # powers of numbers up to 1: none can overflow
    x = input / top
    root = _root(sum(square(x) if p == 2 else abs(x) ** p, dim, keepdim), p)
    return root * (top if keepdim else reshape(top, root.shape))


def softmax(input, dim, *, dtype=None):
    """exp(x) / sum(exp(x)) along an axis: positive numbers that sum to 1."""
    return _along(ops.softmax, floating(input if dtype is None else cast(input, dtype)), dim)


def log_softmax(input, dim, *, dtype=None):
    """The logarithm of softmax, computed without overflow."""
    return _along(ops.log_softmax, floating(input if dtype is None else cast(input, dtype)), dim)


def _along(op, x, dim):
    if x.ndim == 0:
        return reshape(_along(op, reshape(x, (1,)), 0), ())
    return apply(op, (x,), {"dim": axis_of(dim, x.ndim, op.name)})


def cumsum(input, dim, *, dtype=None):
    """Running sums along an axis."""
    if dtype is not None or input.dtype.kind != "f":
        input = cast(input, dtype or np.int64)
    return _along(ops.cumsum, input, dim)


def cumprod(input, dim, *, dtype=None):
    """Running products along an axis: windows of 1, 2, 4, ... factors, each put together from two halves."""
    if dtype is not None or input.dtype.kind != "f":
        input = cast(input, dtype or np.int64)
    if input.ndim == 0:
        return input
    x, width = movedim(input, dim, 0), 1
    while width < len(x):
        x = cat([x[:width], x[width:] * x[:-width]])
        width *= 2
    return movedim(x, 0, dim)


# ---------------------------------------------------------------------- shapes
def reshape(input, *shape):
    """The same numbers in another shape; one size may be -1 and is worked out.

    Raises:
        ShapeError: the numbers do not fill the shape.
    """
    shape = sizes(shape)
    if -1 in shape:
        known = math.prod(n for n in shape if n != -1)
        if shape.count(-1) > 1 or not known or input.numel() % known:
            raise ShapeError(message(f"reshape: {input.numel()} numbers cannot fill this shape.",
                                     [("x", input.shape), ("shape", shape)]))
        shape = tuple(input.numel() // known if n == -1 else n for n in shape)
    return apply(ops.reshape, (input,), {"shape": shape})


def view(input, *shape):
    """The same memory seen in another shape; `view(dtype)` is not supported.

    What an op has newly made, such as a convolution, may lie in memory in an order of its own: it is copied then.

    Raises:
        ShapeError: the numbers do not fill the shape, or `input` is a view, such as `x.T`, that no step sizes lead
            through in the order of the new shape.
    """
    out = reshape(input, *shape)
    if out._view is None and isinstance(input, Tensor) and input._view is not None and _needs_copy(input, out.shape):
        raise ShapeError(message("view: the numbers do not lie in the order of this shape, and a view copies none.",
                                 [("x", input.shape, f"strides {input.stride()}"), ("shape", out.shape)],
                                 "x.reshape(...), which copies where it must, or x.contiguous().view(...)."))
    return out


def _needs_copy(x, shape):
    """Whether a view takes another shape only in a copy, if what it is a view of lies in memory in reading order."""
    seen = np.empty(x._view.base.shape, bool)
    for op, meta in x._view.steps:
        seen = op.forward(np, seen, **meta)
    return bool(seen.size) and not np.may_share_memory(seen, seen.reshape(shape))


def view_as(input, other):
    """`view` in the shape of `other`."""
    return view(input, other.shape)


def flatten(input, start_dim=0, end_dim=-1):
    """Axes start_dim .. end_dim made one."""
    if input.ndim == 0:
        return reshape(input, (1,))
    first, last = axis_of(start_dim, input.ndim, "flatten"), axis_of(end_dim, input.ndim, "flatten")
    if first > last:
        raise ArgumentError(
            message("flatten: start_dim comes after end_dim.", [("start_dim", start_dim), ("end_dim", end_dim)])
        )
    return reshape(input, (*input.shape[:first], math.prod(input.shape[first:last + 1]), *input.shape[last + 1:]))


def unflatten(input, dim, sizes):
    """One axis made several: the reverse of `flatten`."""
    dim = axis_of(dim, input.ndim, "unflatten")
    if -1 in sizes:
        sizes = tuple(input.shape[dim] // -math.prod(sizes) if n == -1 else n for n in sizes)
    return reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1:]))


def permute(input, *dims):
    """The axes in another order: `x.permute(2, 0, 1)` has x's last axis first."""
    dims = tuple(axis_of(d, input.ndim, "permute") for d in sizes(dims))
    return apply(ops.permute, (input,), {"dims": dims})


def transpose(input, dim0, dim1):
    """Two axes exchanged."""
    a, b = axis_of(dim0, input.ndim, "transpose"), axis_of(dim1, input.ndim, "transpose")
    dims = list(range(input.ndim))
    if dims:
        dims[a], dims[b] = b, a
    return apply(ops.permute, (input,), {"dims": tuple(dims)})


swapaxes = transpose


def t(input):
    """A matrix transposed; vectors and numbers as they are."""
    if input.ndim > 2:
        raise ShapeError(
            message("t: only matrices are transposed by t().", [("x", input.shape)], "x.transpose(dim0, dim1) or x.mT.")
        )
    return transpose(input, 0, 1) if input.ndim == 2 else reshape(input, input.shape)


def movedim(input, source, destination):
    """Axes moved to other places; the rest keep their order."""
    source = [axis_of(d, input.ndim, "movedim") for d in (source if isinstance(source, (tuple, list)) else [source])]
    to = [
        axis_of(d, input.ndim, "movedim")
        for d in (destination if isinstance(destination, (tuple, list)) else [destination])
    ]
    rest = iter(d for d in range(input.ndim) if d not in source)
    return permute(input, [source[to.index(k)] if k in to else next(rest) for k in range(input.ndim)])


def squeeze(input, dim=None):
    """Without axes of size 1: all of them, or those named."""
    dims = (
        axes_of(dim if dim is None or isinstance(dim, (tuple, list)) else (dim,), input.ndim, "squeeze")
        if dim != ()
        else ()
    )
    return reshape(input, [n for k, n in enumerate(input.shape) if n != 1 or k not in dims])


def unsqueeze(input, dim):
    """With a new axis of size 1 at `dim`."""
    dim = axis_of(dim, input.ndim + 1, "unsqueeze")
    return reshape(input, (*input.shape[:dim], 1, *input.shape[dim:]))


def expand(input, *shape):
    """Repeated along axes of size 1, without a copy; -1 leaves an axis as it is."""
    shape = sizes(shape)
    extra = len(shape) - input.ndim
    shape = tuple(input.shape[k - extra] if n == -1 and k >= extra else n for k, n in enumerate(shape))
    return apply(ops.expand, (input,), {"shape": shape})


def expand_as(input, other):
    """`input` repeated to the shape of `other`."""
    return expand(input, other.shape)


def broadcast_to(input, shape):
    """`input` repeated to a shape, without a copy."""
    return expand(input, shape)


def broadcast_tensors(*tensors):
    """All tensors repeated to the shape they broadcast to together."""
    shape = broadcast("broadcast_tensors", *(x.shape for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


def repeat(input, *repeats):
    """Copies laid side by side: repeats[k] of them along axis k."""
    repeats = sizes(repeats)
    shape = (1,) * (len(repeats) - input.ndim) + input.shape
    if len(shape) != len(repeats):
        raise ShapeError(
            message("repeat: give one number for each axis, or more.", [("x", input.shape), ("repeats", repeats)])
        )
    if builtins.all(count == 1 for count in repeats):  # the result is a copy, never a view
        return reshape(clone(input), shape)
    x = reshape(input, [n for size in shape for n in (1, size)])
    x = expand(x, [n for count, size in zip(repeats, shape) for n in (count, size)])
    return reshape(x, [count * size for count, size in zip(repeats, shape)])


def tile(input, *dims):
    """`repeat`, with missing leading numbers taken as 1."""
    dims = sizes(dims)
    return repeat(input, (1,) * (input.ndim - len(dims)) + dims)


def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    """Every entry along an axis repeated: a a b b c c."""
    x = reshape(input, (-1,)) if dim is None else input
    axis = axis_of(0 if dim is None else dim, x.ndim, "repeat_interleave")
    counts = repeats.host_array() if isinstance(repeats, Tensor) else repeats
    index = np.repeat(np.arange(x.shape[axis] if x.ndim else 1), counts)
    return index_select(x, axis, from_numpy(index).to(input.device))


def cat(tensors, dim=0):
    """Tensors put one behind the other along an axis."""
    tensors = [x for x in tensors if x.shape != (0,)] or list(tensors)[:1]
    if not tensors:
        raise ArgumentError("cat: expected at least one tensor.")
    dtype = result_type(*tensors)
    return apply(ops.concat, tuple(cast(x, dtype) for x in tensors), {"dim": axis_of(dim, tensors[0].ndim, "cat")})


concat = cat


def stack(tensors, dim=0):
    """Tensors of one shape put side by side along a new axis."""
    tensors = list(tensors)
    if len({x.shape for x in tensors}) != 1:
        raise ShapeError(
            message("stack: expected tensors of one shape.", [(f"[{k}]", x.shape) for k, x in enumerate(tensors)])
        )
    return cat([unsqueeze(x, dim) for x in tensors], axis_of(dim, tensors[0].ndim + 1, "stack"))


def split(tensor, split_size_or_sections, dim=0):
    """Cut along an axis into pieces of one size (the last may be smaller) or of given sizes."""
    dim = axis_of(dim, tensor.ndim, "split")
    n, cut = tensor.shape[dim], split_size_or_sections
    lengths = [builtins.min(cut, n - k) for k in range(0, n, cut)] or [0] if isinstance(cut, int) else list(cut)
    if builtins.sum(lengths) != n:
        raise ShapeError(message(f"split: the pieces must sum to {n}.", [("x", tensor.shape), ("pieces", lengths)]))
    starts = np.cumsum([0, *lengths])
    return tuple(narrow(tensor, dim, int(start), length) for start, length in zip(starts, lengths))


def chunk(input, chunks, dim=0):
    """Cut along an axis into at most `chunks` pieces of equal size (the last may be smaller)."""
    n = input.shape[axis_of(dim, input.ndim, "chunk")]
    return split(input, -(-n // chunks) if n else [0] * chunks, dim)


def unbind(input, dim=0):
    """The slices along an axis, without that axis."""
    dim = axis_of(dim, input.ndim, "unbind")
    return tuple(select(input, dim, k) for k in range(input.shape[dim]))


def narrow(input, dim, start, length):
    """`length` entries along an axis, from `start` on."""
    dim = axis_of(dim, input.ndim, "narrow")
    start = int(start) + input.shape[dim] * (start < 0)
    return input[(slice(None),) * dim + (slice(start, start + length),)]


def select(input, dim, index):
    """One slice along an axis, without that axis."""
    return input[(slice(None),) * axis_of(dim, input.ndim, "select") + (int(index),)]


def flip(input, *args, dims=None):
    """In reverse along some axes."""
    dims = sizes(args if dims is None else (dims,))
    dims = axes_of(dims, input.ndim, "flip") if dims else ()
    return input[tuple(slice(None, None, -1) if k in dims else slice(None) for k in range(input.ndim))]


def roll(input, shifts, dims=None):
    """Shifted along some axes; what falls out at one end comes in at the other."""
    if dims is None:
        return reshape(roll(reshape(input, (-1,)), shifts, 0), input.shape)
    pairs = zip(shifts, dims) if isinstance(dims, (tuple, list)) else [(shifts, dims)]
    for shift, dim in pairs:
        n = input.shape[axis_of(dim, input.ndim, "roll")]
        cut = n - shift % n if n else 0
        input = cat([narrow(input, dim, cut, n - cut), narrow(input, dim, 0, cut)], dim)
    return input


def tril(input, diagonal=0):
    """The lower triangle of matrices; zeros above."""
    return apply(ops.tril, (_matrices("tril", input),), {"diagonal": diagonal})


def triu(input, diagonal=0):
    """The upper triangle of matrices; zeros below."""
    return apply(ops.triu, (_matrices("triu", input),), {"diagonal": diagonal})


def _matrices(name, x):
    if x.ndim < 2:
        raise DimensionError(message(f"{name}: a matrix has two axes.", [("x", x.shape)]))
    return x


def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of the matrices that two axes span, as a new last axis."""
    x = movedim(input, (dim1, dim2), (-2, -1))
    rows, cols = x.shape[-2:]
    n = builtins.max(0, builtins.min(rows + builtins.min(offset, 0), cols - builtins.max(offset, 0)))
    k = backend.of(x.array).xp.arange(n)
    return x[..., Tensor(k + builtins.max(-offset, 0)), Tensor(k + builtins.max(offset, 0))]


_diagonal_of = diagonal                               # PyTorch calls a setting of `diag` by the same name


def diag(input, diagonal=0):
    """A vector as the diagonal of a square matrix, or the diagonal of a matrix."""
    if input.ndim == 2:
        return _diagonal_of(input, diagonal)
    n = len(input) + builtins.abs(diagonal)
    k = backend.of(input.array).xp.arange(len(input))
    place = (k + builtins.max(-diagonal, 0)) * n + k + builtins.max(diagonal, 0)
    return apply(ops.add_at, (input, Tensor(place)), {"shape": (n, n)})


# ---------------------------------------------------------------------- picking and putting
def _is_basic(key):
    parts = key if isinstance(key, tuple) else (key,)
    return builtins.all(
        k is None or k is Ellipsis or isinstance(k, (slice, int, np.integer)) and not isinstance(k, bool) for k in parts
    )


def _plain_key(key, xp):
    """An index with tensors and lists turned into arrays of `xp`, and tensors of one whole number into Python's."""
    parts = []
    for k in key if isinstance(key, tuple) else (key,):
        if isinstance(k, Tensor):
            k = int(k) if k.ndim == 0 and k.dtype.kind in "iu" else k.array
        elif isinstance(k, (list, np.ndarray)):
            k = xp.zeros(0, np.int64) if isinstance(k, list) and not k else xp.asarray(k)
        parts.append(k)
    return tuple(parts) if isinstance(key, tuple) else parts[0]


def positions(shape, key, xp=np):
    """Where the numbers that `key` picks from an array of this shape stand, counted in reading order."""
    places = xp.arange(math.prod(shape)).reshape(shape)
    try:
        return places[key]
    except IndexError as error:
        raise DimensionError(message(f"index: {error}.", [("shape", shape)])) from None


def _open_index(key):
    """Whether the key holds whole numbers that Python cannot look at yet, as in a graph that is being recorded."""
    parts = key if isinstance(key, tuple) else (key,)
    return builtins.any(isinstance(k, Tensor) and k.dtype.kind in "iu" and not backend.of(k.array).known for k in parts)


def _open_positions(shape, key):
    """`positions` for such a key, as a tensor: each part times how far a step along its axis goes, added up.

    A number that is out of range becomes a position that no array has.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    rest = len(shape) - builtins.sum(k is not Ellipsis for k in parts)
    if rest < 0 or not builtins.all(_is_whole(k) or k is Ellipsis or isinstance(k, slice) for k in parts):
        raise DimensionError(message("index: beside one that is not known yet may be whole numbers and slices only, in "
                                     "all no more than x has axes.", [("x", shape)],
                                     "md.where with a mask, or md.gather."))
    here = next((axis for axis, k in enumerate(parts) if k is Ellipsis), len(parts))
    parts = [*parts[:here], *[slice(None)] * rest, *parts[here + 1:]]
    picked = [axis for axis, k in enumerate(parts) if not isinstance(k, slice)]
    picks = [_in_range(as_tensor(parts[axis]), axis, shape) for axis in picked]
    front = 0 if picked[-1] - picked[0] >= len(picked) else picked[0]     # parts that stand apart go to the front
    block = broadcast("index", *[x.shape for x in picks])
    runs = [axis for axis, k in enumerate(parts) if isinstance(k, slice)]
    total = reshape(builtins.sum(picks), (*block, *(1,) * (len(runs) - front)))
    for place, axis in enumerate(runs):
        steps = np.arange(shape[axis])[parts[axis]] * math.prod(shape[axis + 1:])
        behind = len(runs) - 1 - place + (len(block) if place < front else 0)
        total = total + Tensor(steps.reshape(-1, *(1,) * behind))
    return total


def _is_whole(k):
    """Whether a part of an index is a whole number or an array of them."""
    kind = np.asarray(k).dtype.kind if isinstance(k, (int, list, np.ndarray, np.integer)) else None
    return (k.dtype.kind if isinstance(k, Tensor) else kind) in ("i", "u")


def _in_range(index, axis, shape):
    """How far into memory an index along an axis leads; past the end of everything where it is out of range."""
    n, step = shape[axis], math.prod(shape[axis + 1:])
    inside = logical_and(index >= -n, index < n)
    return where(inside, where(index < 0, index + n, index) * step, math.prod(shape))


def getitem(input, key):
    """input[key]: slices give a view; masks and whole-number arrays pick numbers one by one, as in NumPy."""
    if _open_index(key) and (isinstance(key, tuple) or key.ndim == 0):
        return apply(ops.take_at, (input, _open_positions(input.shape, key)))
    if not _is_basic(key):
        key = _plain_key(key, backend.of(input.array).xp)
    if _is_basic(key):
        return apply(ops.getitem, (input,), {"key": key})
    if shape_of(key) and key.dtype.kind in "iu" and input.ndim:
        return apply(ops.take, (input, Tensor(key)), {"dim": 0})
    return apply(ops.take_at, (input, Tensor(positions(input.shape, key, backend.of(input.array).xp))))


def setitem(input, key, value):
    """input[key] = value, in place; recorded if a gradient is wanted."""
    if _is_later(input, key):
        input.become(_set_where(input, key, value), "x[mask] = y")
        return
    later = _open_index(key)
    key = key if later else _plain_key(key, backend.of(input.array).xp)
    if later or mode.recording and (input.requires_grad or getattr(value, "requires_grad", False)):
        place = _open_positions(input.shape, key) if later else Tensor(
            positions(input.shape, key, backend.of(input.array).xp))
        value = cast(as_tensor(value, device=input.device), input.dtype)
        value = reshape(value, value.shape[value.ndim - place.ndim:]) if value.ndim > place.ndim else value
        new = apply(ops.overwrite, (input.alias(), value, place))
        input.become(new, "x[...] = y")
        return
    input.check_writable("x[...] = y")
    value = value.array if isinstance(value, Tensor) else value
    try:
        backend.of(input.array).writable(input)[key] = value
    except IndexError as error:
        raise DimensionError(message(f"index: {error}.", [("x", input.shape)])) from None
    except OverflowError as error:
        raise DTypeError(message(f"x[...] = y: {error}.", [("x", input.shape, input.dtype)])) from None
    except ValueError as error:
        raise ShapeError(message(f"x[...] = y: {error}.", [("x", input.shape), ("y", shape_of(value))])) from None
    input.mark_written("x[...] = y")


def _is_later(input, key):
    """Whether the key is a mask over the first axes of x, and one of the two has no numbers that Python can look at."""
    is_mask = isinstance(key, Tensor) and key.dtype == np.bool_ and key.shape == input.shape[:key.ndim]
    return is_mask and not (backend.of(input.array).known and backend.of(key.array).known)


def _set_where(input, mask, value):
    """x after x[mask] = value, for a value that is the same wherever the mask is true.

    Raises:
        ShapeError: there is a value for each place that the mask picks; how many these are is not known yet.
    """
    value = cast(as_tensor(value, device=input.device), input.dtype)
    rest = input.shape[mask.ndim:]
    value = reshape(value, ()) if value.shape == (1,) and not rest else value
    if value.ndim > len(rest) or builtins.any(n not in (1, m) for n, m in zip(value.shape[::-1], rest[::-1])):
        raise ShapeError(message(
            "x[mask] = y: how many places the mask picks is not known yet, so y cannot have one number for each.",
            [("x", input.shape), ("mask", mask.shape), ("y", value.shape)],
            "x = md.where(mask, y, x), with y as large as x."))
    return where(reshape(mask, (*mask.shape, *(1,) * len(rest))), value, input.alias())


def _coordinates(shape, dim, index):
    """Reading-order positions of x[i][j][index[i][j][k]] .. for all places of `index`; the axis of `index` is `dim`."""
    xp = backend.of(index).xp
    steps = [math.prod(shape[k + 1:]) for k in range(len(shape))]
    size = shape[dim]
    out = xp.where(index < 0, index + size, index) * steps[dim]
    for k, n in enumerate(index.shape):
        if k != dim:
            out = out + xp.arange(n).reshape([-1 if j == k else 1 for j in range(index.ndim)]) * steps[k]
    return out


def _check_index(x, dim, index, name):
    """The checks that gather and scatter need."""
    if index.ndim != x.ndim or builtins.any(n > m for k, (n, m) in enumerate(zip(index.shape, x.shape)) if k != dim):
        raise ShapeError(message(f"{name}: the index must have as many axes as x and be no larger.",
                                 [("x", x.shape), ("index", index.shape)]))
    if index.numel() and backend.of(index.array) is backend.cpu:      # on a GPU the check would wait for the device
        lowest, highest = int(index.array.min()), int(index.array.max())
        if highest >= x.shape[dim] or lowest < -x.shape[dim]:
            raise DimensionError(
                message(
                    f"{name}: index {highest if highest >= x.shape[dim] else lowest} is out of range.",
                    [("axis", dim), ("size", x.shape[dim])],
                )
            )


def _places(x, dim, index, name):
    """`_coordinates`, after the checks."""
    _check_index(x, dim, index, name)
    return Tensor(_coordinates(x.shape, dim, index.array))


def gather(input, dim, index):
    """Along an axis, the numbers that `index` names: out[i][j] = input[index[i][j]][j] for dim 0."""
    if input.ndim == 0:
        return reshape(gather(reshape(input, (1,)), 0, reshape(index, (-1,))), index.shape)
    if not index.numel():                             # nothing picked; PyTorch does not look at the axes then
        return apply(ops.take_at, (input, index))
    dim = axis_of(dim, input.ndim, "gather")
    _check_index(input, dim, index, "gather")
    for k, n in enumerate(index.shape):               # the index may name fewer rows than there are
        if k != dim and n != input.shape[k]:
            input = narrow(input, k, 0, n)
    return apply(ops.gather, (input, index), {"dim": dim})


def take_along_dim(input, indices, dim=None):
    """`gather`, with the other axes broadcast; without `dim`, from all numbers in reading order."""
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    if input.ndim == 0:
        return gather(input, 0, indices)
    dim = axis_of(dim, input.ndim, "take_along_dim")
    others = [(1 if k == dim else n, 1 if k == dim else m) for k, (n, m) in enumerate(zip(input.shape, indices.shape))]
    common = [builtins.max(pair) if 0 not in pair else 0 for pair in others]
    full = [input.shape[dim] if k == dim else n for k, n in enumerate(common)]
    index = [indices.shape[dim] if k == dim else n for k, n in enumerate(common)]
    return gather(expand(input, full), dim, expand(indices, index))


def scatter(input, dim, index, src, *, reduce=None):
    """A copy of `input` with the numbers of `src` (or one number) put along an axis where `index` says.

    With `reduce` "add" or "multiply" they are added to, or multiplied with, what stands there. Without it, where two
    numbers go to one place the last one stays; on a GPU, either.
    """
    if reduce is not None:
        src = src if isinstance(src, Tensor) else full_like(index, src, dtype=input.dtype)
        if reduce not in ("add", "multiply"):
            raise NotImplementedError(f"scatter: reduce={reduce!r} is not supported, only 'add' and 'multiply'.")
        return (scatter_add if reduce == "add" else _scatter_multiply)(input, dim, index, src)
    shape = input.shape
    if input.ndim == 0:
        input, index = reshape(input, (1,)), reshape(index, (-1,))
        src = reshape(src, (-1,)) if isinstance(src, Tensor) else src
    place = _places(input, axis_of(dim, input.ndim, "scatter"), index, "scatter")
    if isinstance(src, Tensor):
        src = cast(src[tuple(slice(0, n) for n in index.shape)], input.dtype)
    return reshape(apply(ops.overwrite, (input, src, place)), shape)


def _scatter_multiply(x, dim, index, src):
    if x.ndim == 0:
        return reshape(_scatter_multiply(reshape(x, (1,)), 0, reshape(index, (-1,)), reshape(src, (-1,))), ())
    for k in range(index.shape[dim]):                 # the numbers of one slice all go to different places
        here, factor = narrow(index, dim, k, 1), narrow(src, dim, k, 1)
        factor = factor[tuple(slice(0, n) for n in here.shape)]
        x = scatter(x, dim, here, gather(x, dim, here) * factor)
    return x


def scatter_add(input, dim, index, src):
    """A copy of `input` with the numbers of `src` added along an axis where `index` says."""
    if input.ndim == 0:
        return reshape(scatter_add(reshape(input, (1,)), 0, reshape(index, (-1,)), reshape(src, (-1,))), ())
    place = _places(input, axis_of(dim, input.ndim, "scatter_add"), index, "scatter_add")
    src = src[tuple(slice(0, n) for n in index.shape)]
    return input + apply(ops.add_at, (src, place), {"shape": input.shape})


def index_select(input, dim, index):
    """The slices along an axis that `index`, a vector, names."""
    if input.ndim == 0:
        return reshape(index_select(reshape(input, (1,)), 0, reshape(index, (-1,))), ())
    return apply(ops.take, (input, as_tensor(index)), {"dim": axis_of(dim, input.ndim, "index_select")})


def index_add(input, dim, index, source, *, alpha=1):
    """A copy of `input` with the slices of `source` added where `index` says."""
    if input.ndim == 0:
        return reshape(
            index_add(reshape(input, (1,)), 0, reshape(index, (-1,)), reshape(source, (-1,)), alpha=alpha), ()
        )
    dim = axis_of(dim, input.ndim, "index_add")
    if index.ndim == 0:
        index = reshape(index, (1,))
    return input + apply(
        ops.add_along, (source * alpha if alpha != 1 else source, index), {"shape": input.shape, "dim": dim}
    )


def masked_select(input, mask):
    """The numbers where the mask is True, as a vector."""
    x, mask = broadcast_tensors(input, mask)
    return getitem(reshape(x, x.shape or (1,)), reshape(mask, mask.shape or (1,)))


def masked_fill(input, mask, value):
    """`value` where the mask is True, `input` elsewhere."""
    value = cast(value, input.dtype) if isinstance(value, Tensor) else input.dtype.type(value).item()
    return apply(ops.where, (mask, value, input))


def nonzero(input, *, as_tuple=False):
    """Where the numbers are not 0: one row of coordinates each, or a vector of coordinates for each axis."""
    xp = backend.of(input.array).xp
    found = (
        xp.nonzero(input.array if input.ndim or not as_tuple else input.array.reshape(1))
        if input.ndim or as_tuple
        else ()
    )
    if as_tuple:
        return tuple(Tensor(k) for k in found)
    if not input.ndim:
        return zeros(int(bool(input)), 0, dtype=np.int64)
    return Tensor(xp.stack(found, axis=1))


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The different numbers (or slices along an axis), sorted; on request where each came from and how often."""
    axis = None if dim is None else axis_of(dim, input.ndim, "unique")
    found = np.unique(input.host_array(), return_inverse=return_inverse, return_counts=return_counts, axis=axis)
    if not isinstance(found, tuple):
        return tensor(found, device=input.device)
    values, *rest = found
    if return_inverse:
        rest[0] = rest[0].reshape(input.shape if axis is None else (-1,))
    return tuple(tensor(part, device=input.device) for part in (values, *rest))


def argsort(input, dim=-1, descending=False, *, stable=True):
    """The order that sorts along an axis; equal numbers keep theirs."""
    if input.ndim == 0:
        return tensor(0, device=input.device)
    dim = axis_of(dim, input.ndim, "argsort")
    if not descending:
        return apply(ops.argsort, (input,), {"dim": dim})
    backwards = apply(
        ops.argsort, (flip(input.detach(), dim),), {"dim": dim}
    )  # sorted from behind, so that equals keep their order
    return input.shape[dim] - 1 - flip(backwards, dim)


def sort(input, dim=-1, descending=False, *, stable=True):
    """The numbers in order along an axis, and where they stood."""
    indices = argsort(input, dim, descending)
    return ValuesAndIndices(take_along_dim(input, indices, dim), indices)


def topk(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) numbers along an axis, and where they stand."""
    if input.ndim == 0:
        return ValuesAndIndices(input, tensor(0, device=input.device))
    if not 0 <= k <= input.shape[axis_of(dim, input.ndim, "topk")]:
        raise DimensionError(message(f"topk: there are no {k} numbers along axis {dim}.", [("x", input.shape)]))
    indices = narrow(argsort(input, dim, descending=largest), dim, 0, k)
    return ValuesAndIndices(take_along_dim(input, indices, dim), indices)


# ---------------------------------------------------------------------- products
@of_tensors
def matmul(input, other):
    """Matrix product; vectors count as a row on the left, as a column on the right; further axes are a batch.

    Raises:
        ShapeError: the sizes do not meet.
    """
    if not input.ndim or not other.ndim:
        raise ShapeError(message("matmul: numbers without axes cannot be matrix-multiplied.",
                                 [("x", input.shape), ("y", other.shape)], "x * y."))
    x, y = matched(input, other)
    if x.ndim == 1 and y.ndim == 1:
        return dot(x, y)
    x = unsqueeze(x, 0) if input.ndim == 1 else x
    y = unsqueeze(y, 1) if other.ndim == 1 else y
    if y.ndim == 2 and x.ndim > 2:  # one matrix for the whole batch: one large product
        out = reshape(
            apply(ops.matmul, (reshape(x, (math.prod(x.shape[:-1]), x.shape[-1])), y)), (*x.shape[:-1], y.shape[-1])
        )
    else:
        out = apply(ops.matmul, (x, y))
    if input.ndim == 1:
        out = squeeze(out, -2)
    return squeeze(out, -1) if other.ndim == 1 else out


def dot(input, other):
    """The inner product of two vectors."""
    if input.ndim != 1 or input.shape != other.shape:
        raise ShapeError(message("dot: expected two vectors of one length.", [("x", input.shape), ("y", other.shape)]))
    return sum(mul(input, other))


def _product_of_ranks(name, *ranks):
    def function(input, other):
        if (input.ndim, other.ndim) != ranks:
            raise ShapeError(message(f"{name}: expected tensors with {ranks[0]} and {ranks[1]} axes.",
                                     [("x", input.shape), ("y", other.shape)], "matmul takes any."))
        return matmul(input, other)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Matrix product of tensors with {ranks[0]} and {ranks[1]} axes."
    return function


mm, mv, bmm = _product_of_ranks("mm", 2, 2), _product_of_ranks("mv", 2, 1), _product_of_ranks("bmm", 3, 3)


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2)."""
    product = matmul(mat1, mat2)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else (input if beta == 1 else input * beta) + product


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2), for batches of matrices."""
    return addmm(input, batch1, batch2, beta=beta, alpha=alpha)


def outer(input, vec2):
    """All products of an entry of one vector with an entry of the other."""
    return mul(unsqueeze(input, 1), unsqueeze(vec2, 0))


def einsum(equation, *operands):
    """Sums of products, by letters: `einsum("ij,jk->ik", x, y)` is `x @ y`.

    Two operands at a time: letters that nobody needs any more are summed, the rest becomes one batched matrix product.

    Raises:
        ArgumentError: the equation and the operands do not fit.
    """
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    terms, output = _read_equation(equation, operands)
    x, term = _without_repeats(operands[0], terms[0])
    for k, (y, other) in enumerate(zip(operands[1:], terms[1:]), 1):
        needed = set(output).union(*terms[k + 1:])
        y, other = _without_repeats(y, other)
        x, term = _contract(x, term, y, other, needed)
    return _arranged(x, term, output)


def _read_equation(equation, operands):
    """The letters of each operand and of the output; the axes behind "..." get letters of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ArgumentError(
            message(f"einsum: {len(terms)} terms, but {len(operands)} operands.", [("equation", equation)])
        )
    dots = builtins.max((x.ndim - len(t) + 3 for x, t in zip(operands, terms) if "..." in t), default=0)
    spare = [chr(0x3B1 + k) for k in range(dots)]

    def spelled(term, ndim=None):
        count = dots if ndim is None else ndim - len(term) + 3
        return term.replace("...", "".join(spare[dots - count:]))
    terms = [spelled(t, x.ndim) if "..." in t else t for t, x in zip(terms, operands)]
    if builtins.any(len(t) != x.ndim for t, x in zip(terms, operands)):
        raise ArgumentError(message("einsum: each operand needs a letter for each axis.",
                                    [(t, x.shape) for t, x in zip(terms, operands)]))
    letters = "".join(terms)
    implied = "".join(spare) + "".join(sorted(c for c in set(letters) - set(spare) if letters.count(c) == 1))
    return terms, spelled(right) if arrow else implied


def _without_repeats(x, term):
    """Diagonals taken where a term names a letter twice."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.index(letter, term.index(letter) + 1)
            x = diagonal(x, 0, first, second)
            term = "".join(c for k, c in enumerate(term) if k not in (first, second)) + letter
    return x, term


def _contract(x, a, y, b, needed):
    """Two operands made one: letters in both stay as a batch if they are needed, else a matrix product sums them."""
    x, a = _summed(x, a, needed | set(b))
    y, b = _summed(y, b, needed | set(a))
    batch = [c for c in a if c in b and c in needed]
    inner = [c for c in a if c in b and c not in needed]
    left, right = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {c: builtins.max(n, 1) if n == 1 else n for c, n in [*zip(b, y.shape), *zip(a, x.shape)]}
    for c, n in zip(b, y.shape):
        size[c] = n if size[c] == 1 else size[c]
    x = expand(_arranged(x, a, batch + left + inner), [size[c] for c in batch + left + inner])
    y = expand(_arranged(y, b, batch + inner + right), [size[c] for c in batch + inner + right])
    count = {name: math.prod(size[c] for c in letters) for name, letters in
             dict(batch=batch, left=left, inner=inner, right=right).items()}
    product = matmul(reshape(x, (count["batch"], count["left"], count["inner"])),
                     reshape(y, (count["batch"], count["inner"], count["right"])))
    term = batch + left + right
    return reshape(product, [size[c] for c in term]), "".join(term)


def _summed(x, term, keep):
    gone = tuple(k for k, c in enumerate(term) if c not in keep)
    return (sum(x, gone) if gone else x), "".join(c for c in term if c in keep)


def _arranged(x, term, order):
    """Letters that are not in `order` summed, the others put in that order."""
    x, term = _summed(x, term, set(order))
    return permute(x, [term.index(c) for c in order]) if term else x


# ---------------------------------------------------------------------- in place
def _in_place(function, name):
    def method(self, *args, **kwargs):
        return self.become(_fitting(function(self.alias(), *args, **kwargs), self), name)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{function.__name__}` in place: changes this tensor and returns it."
    return method


def _fitting(new, x):
    """The result in the dtype of the tensor it is to be stored in, where that loses nothing but digits."""
    return cast(new, x.dtype) if new.dtype != x.dtype and np.can_cast(new.dtype, x.dtype, "same_kind") else new


def fill_(input, value):
    """Every number replaced by one value, in place."""
    return input.become(_fitting(full_like(input, value), input), "fill_")


def zero_(input):
    """Every number replaced by 0, in place."""
    return input.become(zeros_like(input), "zero_")


def copy_(input, other):
    """The numbers of another tensor, in place; they are broadcast to fit."""
    return input.become(_fitting(expand(as_tensor(other, device=input.device), input.shape), input), "copy_")


def normal_(input, mean=0.0, std=1.0, *, generator=None):
    """Fresh normally distributed numbers, in place."""
    return input.become(randn_like(input.detach(), generator=generator) * std + mean, "normal_")


def uniform_(input, a=0.0, b=1.0, *, generator=None):
    """Fresh numbers drawn evenly from [a, b), in place."""
    return input.become(rand_like(input.detach(), generator=generator) * (b - a) + a, "uniform_")


# ---------------------------------------------------------------------- conversions
def to_type(input, dtype=None):
    """The tensor in another dtype."""
    return input.dtype if dtype is None else cast(input, dtype)


def _conversion(name, dtype):
    def method(self):
        return cast(self, dtype)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor as {np.dtype(dtype)}."
    return method


def contiguous(input):
    """The numbers laid out in reading order: the tensor itself if they are, else a copy."""
    return input if input.is_contiguous() else reshape(reshape(input, (-1,)), input.shape)


def numel(input):
    """How many numbers a tensor holds."""
    return input.numel()


def is_floating_point(input):
    """True for float32, float64 and float16."""
    return input.is_floating_point()


# ---------------------------------------------------------------------- one table ties them to Tensor
NAMES = """
    add sub mul div floor_divide remainder pow maximum minimum logaddexp where clamp exp expm1 log log1p log2
    log10 sqrt rsqrt reciprocal sigmoid erf sin cos tan asin acos atan sinh cosh tanh neg abs sign square relu
    clone floor ceil trunc round eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf
    isfinite equal isclose allclose sum mean var std prod amax amin max min argmax argmin any all logsumexp norm
    softmax log_softmax cumsum cumprod reshape view view_as flatten unflatten permute transpose swapaxes t
    movedim squeeze unsqueeze expand expand_as broadcast_to repeat tile repeat_interleave split chunk unbind
    narrow select flip roll tril triu diagonal diag gather take_along_dim scatter scatter_add index_select
    index_add masked_select masked_fill nonzero unique argsort sort topk matmul dot mm mv bmm addmm baddbmm
    outer contiguous
""".split()                                           # both md.name(x) and x.name()
FUNCTIONS_ONLY = """
    broadcast_tensors cat concat stack einsum numel is_floating_point true_divide multiply subtract negative clip
    absolute     inf nan pi e newaxis
""".split()
IN_PLACE = "add sub mul div pow clamp exp sqrt neg abs relu sigmoid tanh masked_fill".split()     # x.add_(y)

true_divide, multiply, subtract, negative, clip, absolute = div, mul, sub, neg, clamp, abs

__all__ = NAMES + FUNCTIONS_ONLY

def _of_truths(function, symbol):
    def operator(input, other=True):
        for x in (input, other):
            if getattr(x, "dtype", type(x)) not in (bool, np.bool_):
                raise DTypeError(
                    message(
                        f"{symbol}: this operator joins truth values; minidl has no operations on single bits.",
                        [("got", getattr(x, "dtype", type(x).__name__))],
                        "put brackets around comparisons, (x > 0) & (x < 1), or convert, x.bool().",
                    )
                )
        return function(input) if symbol == "~" else function(input, other)

    operator.__name__, operator.__doc__ = function.__name__, function.__doc__
    return operator


OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "floordiv": floor_divide, "mod": remainder, "pow": pow,
    "matmul": matmul, "and": _of_truths(logical_and, "&"), "or": _of_truths(logical_or, "|"),
    "xor": _of_truths(logical_xor, "^"),
}
COMPARISONS = {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge}
ONLY_METHODS = {
    "backward": autograd.backward,
    "type": to_type,
    "fill_": fill_,
    "zero_": zero_,
    "copy_": copy_,
    "normal_": normal_,
    "uniform_": uniform_,
    "true_divide": div,
    "multiply": mul,
    "subtract": sub,
    "clip": clamp,
    "absolute": abs,
    "negative": neg,
    "__neg__": neg,
    "__abs__": abs,
    "__invert__": _of_truths(logical_not, "~"),
    "__getitem__": getitem,
    "__setitem__": setitem,
    **{f"__{name}__": function for name, function in COMPARISONS.items()},
    **{f"__{name}__": function for name, function in OPERATORS.items()},
    **{
        name: _conversion(name, dtype)
        for name, dtype in dict(
            float=np.float32, double=np.float64, half=np.float16, long=np.int64, int=np.int32, bool=np.bool_
        ).items()
    },
}


def _swapped(function):
    return lambda x, y: function(y, x)


def _tie():
    for name in NAMES:
        setattr(Tensor, name, globals()[name])
    for name, function in ONLY_METHODS.items():
        setattr(Tensor, name, function)
    for name, function in OPERATORS.items():
        setattr(Tensor, f"__r{name}__", _swapped(function))
        setattr(Tensor, f"__i{name}__", _in_place(function, f"{name} in place"))
    for name in IN_PLACE:
        setattr(Tensor, f"{name}_", _in_place(globals()[name], f"{name}_"))
    Tensor.T = property(
        lambda x: permute(x, tuple(range(x.ndim))[::-1]), doc="All axes in reverse; a matrix transposed."
    )
    Tensor.mT = property(lambda x: transpose(x, -2, -1), doc="Matrices transposed: the last two axes exchanged.")


_tie()

# As methods they have a tensor in any case, and no time to lose; as functions they may be given something else.
globals().update({name: of_tensors(globals()[name]) for name in """
    sum mean var std prod amax amin max min any all argmax argmin logsumexp norm cumsum cumprod sort argsort topk unique
    gather take_along_dim scatter scatter_add index_select masked_select masked_fill cat concat stack split chunk unbind
    dot mm mv bmm outer einsum
""".split()})
