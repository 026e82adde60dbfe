"""What is done to all gradients, or to all parameters, of a model at once.

    clip_grad_norm_         scale the gradients down if together they are too long
    clip_grad_value_        cut each number of the gradients off at a bound
    parameters_to_vector    all parameters, one after the other, as one vector
    vector_to_parameters    the way back
"""
import math

import numpy as np

from .. import functions
from ..autograd import no_grad
from ..errors import ArgumentError, GradientError, ShapeError, message
from ..tensor import Tensor


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False):
    """Scale all gradients by one factor, so that the vector of all of them is no longer than `max_norm`.

        g <- g * min(1, max_norm / (norm + 1e-6)),     norm = (sum over all numbers of |g|^norm_type)^(1 / norm_type)

    The direction stays. Source: R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural
    networks, ICML 2013.

    Args:
        parameters: a tensor or several; those without a gradient are passed over.
        max_norm: the length allowed.
        norm_type: which length; `float("inf")` for the largest number.
        error_if_nonfinite: raise if the length is infinite or not a number.

    Returns:
        the length before clipping, a tensor without axes.

    Raises:
        GradientError: the length is not finite and `error_if_nonfinite` is set.

    >>> import minidl as md
    >>> w = md.zeros(2, requires_grad=True)
    >>> w.grad = md.tensor([3.0, 4.0])
    >>> clip_grad_norm_([w], max_norm=1.0), w.grad
    (tensor(5.), tensor([0.6, 0.8]))
    """
    having = _with_gradient(parameters)
    if not having:
        return Tensor(np.zeros((), np.float32))
    k = float(norm_type)
    with np.errstate(all="ignore"), no_grad():
        total = _length(functions.stack([_length(p.grad, k) for p in having]), k)
        if error_if_nonfinite and not math.isfinite(norm := total.item()):
            raise GradientError(message("clip_grad_norm_: the gradients are not finite, so they cannot be clipped.",
                                        [("norm", norm)], "look for what overflows, or lower the learning rate."))
        scale = functions.clamp(max_norm / (total + 1e-6), max=1.0)        # stays on the device: nobody waits for it
        if type(scale.array) is not np.ndarray or scale.item() != 1:
            _replace(having, lambda g: g * scale.to(g.dtype))
    return total


def _length(g, k):
    """The k-norm of all numbers of a tensor: (sum of |g|^k)^(1/k), or the largest |g| if k is infinite."""
    g = functions.reshape(g, (-1,))
    if k == 2:
        return functions.sqrt(functions.matmul(g, g))
    return functions.amax(functions.abs(g)) if k == math.inf else functions.sum(functions.abs(g) ** k) ** (1 / k)


def clip_grad_value_(parameters, clip_value):
    """Cut each number of the gradients off at plus and minus `clip_value`; this may change their direction."""
    bound = float(clip_value)
    if not bound >= 0:
        raise ArgumentError(message("clip_grad_value_: the bound must be 0 or more.", [("clip_value", clip_value)]))
    with no_grad():
        _replace(_with_gradient(parameters), lambda g: functions.clamp(g, -bound, bound))


def parameters_to_vector(parameters):
    """All numbers of the parameters in one vector, in order; gradients flow back through it."""
    return functions.cat([functions.reshape(p, (-1,)) for p in _listed(parameters)])


def vector_to_parameters(vec, parameters):
    """Copy the numbers of a vector into the parameters, in order.

    Raises:
        ShapeError: the vector has more or fewer numbers than the parameters.
    """
    parameters = _listed(parameters)
    needed = sum(p.numel() for p in parameters)
    if vec.shape != (needed,):
        raise ShapeError(message("vector_to_parameters: the vector must have one number for each of the parameters'.",
                                 [("vector", vec.shape), ("parameters", (needed,))]))
    start = 0
    for p in parameters:
        p.array[...] = vec.array[start:start + p.numel()].reshape(p.shape)
        p.mark_written("vector_to_parameters")
        start += p.numel()


def _listed(parameters):
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _with_gradient(parameters):
    return [p for p in _listed(parameters) if p.grad is not None and p.grad.numel()]


def _replace(parameters, function):
    """New gradients in place of the old ones: whoever holds an old array keeps what he has."""
    for p in parameters:
        p.grad = function(p.grad)
