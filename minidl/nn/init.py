"""First values of weights: large enough for the signal to stay alive, small enough for it not to explode.

All functions change the tensor in place, outside the graph, and return it. `fan_in` is the number of
inputs that one output sums over, `fan_out` the number of outputs that one input reaches.
"""
import math

import numpy as np

from .. import random as _random
from ..autograd import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import check_number


def fans(tensor):
    """(fan_in, fan_out) of a weight (O, I, *window).

    Raises:
        ShapeError: the weight has fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ShapeError(
            message("init: fans are defined for weights of two axes and more.", [("weight", tensor.shape)])
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def calculate_gain(nonlinearity, param=None):
    """By how much the weights must be larger because the activation makes signals smaller."""
    if param is not None:
        check_number("init: the slope of leaky_relu", param)
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
             "leaky_relu": math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))}
    if nonlinearity in gains:
        return gains[nonlinearity]
    if nonlinearity in ("linear", "sigmoid", "conv1d", "conv2d"):
        return 1.0
    raise ArgumentError(
        message(f"init: no gain is known for {nonlinearity!r}.", [("known", ", ".join([*gains, "linear", "sigmoid"]))])
    )


@no_grad()
def constant_(tensor, val):
    """Every number the same."""
    return tensor.fill_(val)


def zeros_(tensor):
    """Every number 0."""
    return constant_(tensor, 0.0)


def ones_(tensor):
    """Every number 1."""
    return constant_(tensor, 1.0)


@no_grad()
def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Drawn evenly from [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Drawn from a normal distribution."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Drawn from a normal distribution, again and again until all lie in [a, b]."""
    draw = (generator or _random.default_generator).stream("cpu").standard_normal
    values = draw(tensor.shape) * std + mean
    for _ in range(1000):
        outside = (values < a) | (values > b)
        if not outside.any():
            return tensor.copy_(values.astype(tensor.dtype))
        values[outside] = draw(int(outside.sum())) * std + mean
    raise ArgumentError(
        message(
            "trunc_normal_: hardly any number falls between the bounds.",
            [("a", a), ("b", b), ("mean", mean), ("std", std)],
        )
    )


@no_grad()
def eye_(tensor):
    """The identity matrix."""
    if tensor.ndim != 2:
        raise ShapeError(message("eye_: only a matrix can be the identity.", [("tensor", tensor.shape)]))
    return tensor.copy_(np.eye(*tensor.shape, dtype=tensor.dtype))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)): keeps the variance both ways (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """N(0, s) with s = gain sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def _he(tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(message(f"init: unknown mode {mode!r}.", [("known", "'fan_in', 'fan_out'")]))
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(tensor)[mode == "fan_out"])


def kaiming_uniform_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """U(-b, b) with b = gain sqrt(3 / fan): variance kept through ReLUs (He et al. 2015)."""
    bound = math.sqrt(3) * _he(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """N(0, s) with s = gain / sqrt(fan) (He et al. 2015)."""
    return normal_(tensor, 0.0, _he(tensor, a, mode, nonlinearity), generator)


@no_grad()
def orthogonal_(tensor, gain=1.0, generator=None):
    """Rows (or columns, if there are fewer) at right angles and of one length (Saxe et al. 2013)."""
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    flat = (
        (generator or _random.default_generator).stream("cpu").standard_normal((max(rows, columns), min(rows, columns)))
    )
    q, r = np.linalg.qr(flat)
    q *= np.sign(np.diag(r))                          # makes the draw even over all such matrices
    q = q if rows >= columns else q.T
    return tensor.copy_((gain * q).reshape(tensor.shape).astype(tensor.dtype))


glorot_uniform_, glorot_normal_, he_uniform_, he_normal_ = (
    xavier_uniform_,
    xavier_normal_,
    kaiming_uniform_,
    kaiming_normal_,
)
