"""Activations: the bends between layers, as modules. Their formulas stand at the functions they are made of."""
from ..creation import full
from . import functional as F
from .module import Module, Parameter
from .settings import FunctionModule, positive, settings


class _Activation(FunctionModule):
    """A function with the settings that it takes."""

    def extra_repr(self):
        shown = [settings(self, *self._names()), "inplace=True" * getattr(self, "inplace", False)]
        return ", ".join(text for text in shown if text)


# ---------------------------------------------------------------------- kinked
class ReLU(_Activation):
    """x where it is positive, else 0."""

    function = staticmethod(F.relu)
    defaults = dict(inplace=False)


class ReLU6(_Activation):
    """min(max(x, 0), 6)."""

    function = staticmethod(F.relu6)
    defaults = dict(inplace=False)


class LeakyReLU(_Activation):
    """x where it is positive, else negative_slope * x."""

    function = staticmethod(F.leaky_relu)
    defaults = dict(negative_slope=0.01, inplace=False)


class PReLU(Module):
    """`LeakyReLU` whose slopes are learned: one for all channels (num_parameters=1), or one for each."""

    def __init__(self, num_parameters=1, init=0.25, *, dtype=None):
        super().__init__()
        positive("PReLU", num_parameters=num_parameters)
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), init, dtype=dtype))

    def forward(self, x):
        return F.prelu(x, self.weight)

    def extra_repr(self):
        return settings(self, "num_parameters")


class Hardtanh(_Activation):
    """x, cut off below min_val and above max_val."""

    function = staticmethod(F.hardtanh)
    defaults = dict(min_val=-1.0, max_val=1.0, inplace=False)


class Hardsigmoid(_Activation):
    """A sigmoid of straight lines."""

    function = staticmethod(F.hardsigmoid)
    defaults = dict(inplace=False)


class Hardswish(_Activation):
    """x times its hardsigmoid."""

    function = staticmethod(F.hardswish)
    defaults = dict(inplace=False)


# ---------------------------------------------------------------------- smooth
class Tanh(_Activation):
    """Hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class LogSigmoid(_Activation):
    """The logarithm of the sigmoid, without overflow."""

    function = staticmethod(F.logsigmoid)


class Softsign(_Activation):
    """x / (1 + |x|)."""

    function = staticmethod(F.softsign)


class Softplus(_Activation):
    """log(1 + exp(beta x)) / beta: a smooth ReLU; above the threshold it is x itself."""

    function = staticmethod(F.softplus)
    defaults = dict(beta=1.0, threshold=20.0)


class ELU(_Activation):
    """x where it is positive, else alpha * (exp(x) - 1)."""

    function = staticmethod(F.elu)
    defaults = dict(alpha=1.0, inplace=False)


class SELU(_Activation):
    """`ELU` with constants that keep mean 0 and variance 1 through the layers."""

    function = staticmethod(F.selu)
    defaults = dict(inplace=False)


class CELU(_Activation):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""

    function = staticmethod(F.celu)
    defaults = dict(alpha=1.0, inplace=False)


class GELU(_Activation):
    """x times the probability that a standard normal number is below x."""

    function = staticmethod(F.gelu)
    defaults = dict(approximate="none")


class SiLU(_Activation):
    """x * sigmoid(x), also called swish."""

    function = staticmethod(F.silu)
    defaults = dict(inplace=False)


class Mish(_Activation):
    """x * tanh(softplus(x))."""

    function = staticmethod(F.mish)
    defaults = dict(inplace=False)


# ---------------------------------------------------------------------- along an axis
class GLU(_Activation):
    """The first half of the axis `dim`, let through by the sigmoid of the second half."""

    function = staticmethod(F.glu)
    defaults = dict(dim=-1)


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along the axis `dim`."""

    function = staticmethod(F.softmax)
    defaults = dict(dim=-1)


class LogSoftmax(_Activation):
    """The logarithm of softmax along the axis `dim`."""

    function = staticmethod(F.log_softmax)
    defaults = dict(dim=-1)


class Softmin(_Activation):
    """softmax(-x) along the axis `dim`."""

    function = staticmethod(F.softmin)
    defaults = dict(dim=-1)
