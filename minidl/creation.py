"""Tensors from nothing: zeros, ones, ranges and random numbers.

All take `dtype` (float32 unless said otherwise), `device` and `requires_grad`, as PyTorch's do.
"""
import numpy as np

from . import backend
from . import random as _random
from .errors import ArgumentError, message
from .ops.draws import normal as normal_op
from .ops.draws import uniform as uniform_op
from .tensor import Tensor, as_tensor, default_dtype

__all__ = [
    "arange",
    "bernoulli",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "multinomial",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "zeros",
    "zeros_like",
]


def sizes_of(size):
    """`zeros(2, 3)`, `zeros((2, 3))` and `zeros([2, 3])` mean the same.

    Raises:
        ArgumentError: a size is negative or not a whole number.
    """
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        size = tuple(n.__index__() for n in size)
    except AttributeError:
        size = (-1,)
    if any(n < 0 for n in size):
        raise ArgumentError(message("shape: sizes are whole numbers of 0 or more.", [("got", size)]))
    return size


def _new(maker, dtype, device, requires_grad):
    device = backend.get(device or "cpu")
    out = Tensor(maker(device.xp, np.dtype(dtype or default_dtype)), requires_grad)
    device.born(out, fresh=True)
    return out


def zeros(*size, dtype=None, device=None, requires_grad=False):
    """A tensor of zeros.

    >>> zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    size = sizes_of(size)
    return _new(lambda xp, dtype: xp.zeros(size, dtype), dtype, device, requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False):
    """A tensor of ones."""
    size = sizes_of(size)
    return _new(lambda xp, dtype: xp.ones(size, dtype), dtype, device, requires_grad)


def empty(*size, dtype=None, device=None, requires_grad=False):
    """A tensor whose numbers are whatever was in the memory."""
    size = sizes_of(size)
    return _new(lambda xp, dtype: xp.empty(size, dtype), dtype, device, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A tensor filled with one number; its dtype follows the number."""
    size = sizes_of((size,) if isinstance(size, (tuple, list)) else ((size,),))
    dtype = dtype or as_tensor(fill_value).dtype
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return _new(lambda xp, dtype: xp.full(size, value, dtype), dtype, device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """The identity matrix, n rows and m columns (n if not given)."""
    return _new(lambda xp, dtype: xp.eye(n, m, dtype=dtype), dtype, device, requires_grad)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... up to, but without, `end`; int64 if all three are whole numbers.

    >>> arange(4)
    tensor([0, 1, 2, 3])
    """
    start, end = (0, start) if end is None else (start, end)
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    return _new(lambda xp, dtype: xp.arange(start, end, step).astype(dtype), dtype or (np.int64 if whole else None),
                device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` numbers at equal distances from `start` to `end`, both included."""
    return _new(lambda xp, dtype: xp.linspace(start, end, steps).astype(dtype), dtype, device, requires_grad)


# ---------------------------------------------------------------------- like another
def _like(x, maker, dtype, device, requires_grad):
    return maker(*x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def zeros_like(x, *, dtype=None, device=None, requires_grad=False):
    """Zeros in the shape, dtype and place of x."""
    return _like(x, zeros, dtype, device, requires_grad)


def ones_like(x, *, dtype=None, device=None, requires_grad=False):
    """Ones in the shape, dtype and place of x."""
    return _like(x, ones, dtype, device, requires_grad)


def empty_like(x, *, dtype=None, device=None, requires_grad=False):
    """Unset numbers in the shape, dtype and place of x."""
    return _like(x, empty, dtype, device, requires_grad)


def full_like(x, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One number in the shape, dtype and place of x."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def rand_like(x, *, dtype=None, device=None, requires_grad=False, generator=None):
    """Numbers from [0, 1) in the shape, dtype and place of x."""
    return rand(
        *x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad, generator=generator
    )


def randn_like(x, *, dtype=None, device=None, requires_grad=False, generator=None):
    """Normally distributed numbers in the shape, dtype and place of x."""
    return randn(
        *x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad, generator=generator
    )


# ---------------------------------------------------------------------- random
def _draw(op, size, dtype, device, requires_grad, generator):
    out = op(shape=sizes_of(size), dtype=np.dtype(dtype or default_dtype), device=str(device or "cpu"),
             generator=generator or _random.default_generator)
    return Tensor(out, requires_grad)


def rand(*size, dtype=None, device=None, requires_grad=False, generator=None):
    """Numbers drawn evenly from [0, 1)."""
    return _draw(uniform_op, size, dtype, device, requires_grad, generator)


def randn(*size, dtype=None, device=None, requires_grad=False, generator=None):
    """Numbers from the normal distribution with mean 0 and variance 1."""
    return _draw(normal_op, size, dtype, device, requires_grad, generator)


def normal(mean, std, size, *, dtype=None, device=None, requires_grad=False, generator=None):
    """Numbers from the normal distribution with this mean and standard deviation."""
    draw = randn(*sizes_of((size,)), dtype=dtype, device=device, generator=generator).array
    return Tensor(draw * std + mean, requires_grad)


def randint(low, high=None, size=None, *, dtype=None, device=None, generator=None):
    """Whole numbers from `low` (0 if left out) up to, but without, `high`; `randint(10, (2, 3))` works, too."""
    if size is None:
        low, high, size = 0, low, high
    draw = (generator or _random.default_generator).integers(low, high, sizes_of((size,)), device=str(device or "cpu"))
    return Tensor(draw.astype(dtype or np.int64))


def randperm(n, *, device=None, generator=None):
    """The numbers 0 .. n-1 in random order (int64)."""
    order = (generator or _random.default_generator).permutation(n)
    return Tensor(backend.get(device or "cpu").from_host(order))


def bernoulli(p, *, generator=None):
    """Ones and zeros: each number of the tensor `p` is the probability of a one in its place."""
    draw = rand_like(p, generator=generator)
    return Tensor((draw.array < p.array).astype(p.dtype))


def multinomial(weights, num_samples, replacement=False, *, generator=None):
    """Places drawn in proportion to the weights: (K,) -> (num_samples,), or (N, K) -> (N, num_samples), int64."""
    rng = (generator or _random.default_generator).stream("cpu")
    rows = np.atleast_2d(weights.detach().host_array().astype(np.float64))
    if (rows < 0).any() or (rows.sum(1) <= 0).any():
        raise ArgumentError("multinomial: weights must be 0 or more, and not all of them 0.")
    draws = [rng.choice(row.size, num_samples, replacement, row / row.sum()) for row in rows]
    out = np.array(draws, dtype=np.int64).reshape(*weights.shape[:-1], num_samples)
    return Tensor(backend.of(weights.array).from_host(out))
