"""Elementwise ops: what happens to one number, whatever the shape.

Two inputs of different shapes are broadcast against each other. The rules below do not care: the
engine sums a gradient back to the shape of its input.
"""
import functools

import numpy as np

from ..errors import ShapeError, message
from ..primitive import primitive


def broadcast(name, *shapes):
    """The shape that these shapes broadcast to, by NumPy's rule.

    Raises:
        ShapeError: some axis has two different sizes, neither of them 1.
    """
    out = []
    for axis in range(-max(map(len, shapes), default=0), 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            raise ShapeError(
                message(
                    f"{name}: the shapes cannot be broadcast, axis {axis} has the sizes {_listed(sizes)}.",
                    [(f"input {k}", s) for k, s in enumerate(shapes)],
                    "make the sizes equal, or 1 where the numbers shall be repeated (x.unsqueeze adds an axis).",
                )
            )
        out.append(sizes.pop() if sizes else 1)
    return tuple(out)


def _listed(sizes):
    return " and ".join(map(str, sorted(sizes)))


def elementwise(forward=None, **about):
    """A primitive whose output has the broadcast shape of its inputs."""
    if forward is None:
        return lambda function: elementwise(function, **about)
    op = primitive(forward, **about)
    op.shape(lambda *shapes, **meta: broadcast(op.name, *shapes))
    return op


def quiet(forward):
    """No warning from NumPy about log(0) or 1 / 0: the inf or nan in the result says the same."""

    @functools.wraps(forward)
    def silently(*args, **settings):
        with np.errstate(all="ignore"):
            return forward(*args, **settings)

    return silently


# ---------------------------------------------------------------------- arithmetic
@elementwise(symbol="+", onnx="Add", ufunc="add")
def add(xp, x, y):
    """x + y."""
    return xp.add(x, y)


@add.grad("x")
def _(g):
    return g


@add.grad("y")
def _(g):
    return g


@elementwise(symbol="−", onnx="Sub", ufunc="subtract")
def sub(xp, x, y):
    """x - y."""
    return xp.subtract(x, y)


@sub.grad("x")
def _(g):
    return g


@sub.grad("y")
def _(g):
    return -g


@elementwise(symbol="×", onnx="Mul", ufunc="multiply")
def mul(xp, x, y):
    """x * y."""
    return xp.multiply(x, y)


@mul.grad("x")
def _(g, y):
    return g * y


@mul.grad("y")
def _(g, x):
    return g * x


@elementwise(symbol="÷", onnx="Div", ufunc="true_divide")
@quiet
def div(xp, x, y):
    """x / y."""
    return xp.true_divide(x, y)


@div.grad("x")
def _(g, y):
    return g / y


@div.grad("y")
def _(g, x, y):                      # d(x/y)/dy = -x / y^2
    return -g * (x / y) / y


@elementwise(symbol="−", onnx="Neg", ufunc="negative")
def neg(xp, x):
    """-x."""
    return xp.negative(x)


@neg.grad("x")
def _(g):
    return -g


@elementwise(symbol="xʸ", onnx="Pow", ufunc="power")
@quiet
def pow(xp, x, y):
    """x to the power y."""
    return xp.power(x, y)


@pow.grad("x")
def _(g, x, y):                      # y x^(y-1), and 0 where y is 0, also at x = 0
    if is_number(y):                 # the usual case, x ** 3; a plain number leaves the dtype alone
        return g * (y * pow(x, y - 1) if y else 0)
    return g * (y * pow(x, where(equal(y, 0), 1.0, y - 1)))


@pow.grad("y")
def _(g, out, x, y):                 # x^y log x, and 0 where x is 0 and the power is, too
    flat = logical_and(equal(x, 0), greater_equal(y, 0))
    return where(flat, 0.0, g * out * log(where(flat, 1.0, x)))


@elementwise(symbol="mod", ufunc="remainder")
@quiet
def remainder(xp, x, y):
    """x modulo y, with the sign of y."""
    return xp.remainder(x, y)


@remainder.grad("x")
def _(g):
    return g


@remainder.grad("y")
def _(g, x, y):                      # x mod y = x - y * floor(x / y)
    return -g * floor_divide(x, y)


@elementwise(symbol="//", ufunc="floor_divide")
@quiet
def floor_divide(xp, x, y):
    """The whole number of times y goes into x, rounded down."""
    return xp.floor_divide(x, y)


@floor_divide.grad("x", "y")         # steps: flat wherever they have a derivative
def _(g):
    return g * 0, g * 0


@elementwise(symbol="|x|", onnx="Abs", ufunc="absolute")
def abs(xp, x):
    """The size of x without its sign."""
    return xp.absolute(x)


@abs.grad("x")
def _(g, x):
    return g * sign(x)


@elementwise(symbol="sign", onnx="Sign", ufunc="sign")
def sign(xp, x):
    """-1, 0 or 1."""
    return xp.sign(x)


@elementwise(symbol="⌊x⌋", onnx="Floor", ufunc="floor")
def floor(xp, x):
    """The largest whole number that is not above x."""
    return xp.floor(x)


@elementwise(symbol="⌈x⌉", onnx="Ceil", ufunc="ceil")
def ceil(xp, x):
    """The smallest whole number that is not below x."""
    return xp.ceil(x)


@elementwise(symbol="round", onnx="Round", ufunc="rint")
def round(xp, x):
    """The nearest whole number; halves go to the even one."""
    return xp.rint(x)


@elementwise(symbol="trunc", ufunc="trunc")
def trunc(xp, x):
    """x without what stands behind the point."""
    return xp.trunc(x)


for _step in (sign, floor, ceil, round, trunc):       # flat wherever they have a derivative at all
    _step.grad("x")(lambda g: g * 0)


@elementwise(symbol="x²", ufunc="square")
def square(xp, x):
    """x * x."""
    return xp.square(x)


@square.grad("x")
def _(g, x):
    return g * (2 * x)


@elementwise(symbol="√", onnx="Sqrt", ufunc="sqrt")
@quiet
def sqrt(xp, x):
    """The square root."""
    return xp.sqrt(x)


@sqrt.grad("x")
def _(g, out):                       # d sqrt(x)/dx = 1 / (2 sqrt(x))
    return g / (2 * out)


# ---------------------------------------------------------------------- exp, log and their family
@elementwise(onnx="Exp", ufunc="exp")
@quiet
def exp(xp, x):
    """e to the power x."""
    return xp.exp(x)


@exp.grad("x")
def _(g, out):                       # the function that is its own derivative
    return g * out


@elementwise(ufunc="expm1")
@quiet
def expm1(xp, x):
    """exp(x) - 1, exact for small x."""
    return xp.expm1(x)


@expm1.grad("x")
def _(g, out):
    return g * (out + 1)


@elementwise(onnx="Log", ufunc="log")
@quiet
def log(xp, x):
    """The natural logarithm."""
    return xp.log(x)


@log.grad("x")
def _(g, x):
    return g / x


@elementwise(ufunc="log1p")
@quiet
def log1p(xp, x):
    """log(1 + x), exact for small x."""
    return xp.log1p(x)


@log1p.grad("x")
def _(g, x):
    return g / (x + 1)


@elementwise(symbol="logaddexp", ufunc="logaddexp")
@quiet
def logaddexp(xp, x, y):
    """log(exp(x) + exp(y)), which never overflows."""
    return xp.logaddexp(x, y)


@logaddexp.grad("x")
def _(g, x, y):                      # exp(x) / (exp(x) + exp(y))
    return g * sigmoid(x - y)


@logaddexp.grad("y")
def _(g, x, y):
    return g * sigmoid(y - x)


@elementwise(symbol="σ", onnx="Sigmoid")
def sigmoid(xp, x):
    """1 / (1 + exp(-x)): exact to the last digits also where it is nearly 0, as tanh(x / 2) / 2 + 1/2 is not."""
    with np.errstate(over="ignore"):                  # exp(-x) may become inf, for 1 / inf is 0
        return 1 / (1 + xp.exp(-x))


@sigmoid.grad("x")
def _(g, out):
    return g * (out * (1 - out))


@elementwise(onnx="Tanh", ufunc="tanh")
def tanh(xp, x):
    """Hyperbolic tangent: squashes every number into (-1, 1)."""
    return xp.tanh(x)


@tanh.grad("x")
def _(g, out):                       # d tanh/dx = 1 - tanh^2; only the output is kept
    return g * (1 - out * out)


@elementwise(onnx="Sinh", ufunc="sinh")
@quiet
def sinh(xp, x):
    """Hyperbolic sine."""
    return xp.sinh(x)


@sinh.grad("x")
def _(g, x):
    return g * cosh(x)


@elementwise(onnx="Cosh", ufunc="cosh")
@quiet
def cosh(xp, x):
    """Hyperbolic cosine."""
    return xp.cosh(x)


@cosh.grad("x")
def _(g, x):
    return g * sinh(x)


# Chebyshev coefficients of log(erfc(z) exp(z^2) / t) in 2t - 1, with t = 2 / (2 + z), for z >= 0;
# computed with 40 digits for this file. Relative error of erfc below 1e-14.
_ERFC = (
    -0.6513268598908547, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632, -0.0009465953444820369,
    0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05, -1.6242900046470256e-06,
    1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08, 6.5290544390988515e-09,
    5.059343495551469e-09, -9.91364156493033e-10, -2.273651222931836e-10, 9.646791102015527e-11,
    2.3940380830391146e-12, -6.886027526497553e-12, 8.944879273090725e-13, 3.130921399342958e-13,
    -1.1270822361367252e-13, 3.810905255189232e-16, 7.106097613609237e-15, -1.5230282014571043e-15,
    -9.457494571291233e-17, 1.210237189224279e-16, -2.816663087747177e-17)

# 2/sqrt(pi) (-1)^n / (n! (2n + 1)): Taylor's series of erf(x) / x in x^2.
_ERF_NEAR_0 = (1.1283791670955126, -0.37612638903183754, 0.11283791670955126, -0.026866170645131252,
               0.005223977625442188, -0.0008548327023450852)


@elementwise(onnx="Erf")
def erf(xp, x):
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    z = xp.minimum(xp.absolute(x), 30.0)              # erf is 1 to the last bit long before
    near_0 = z * _polynomial(_ERF_NEAR_0, z * z)      # 1 - erfc would lose the digits of small numbers
    t = 2.0 / (2.0 + z)
    u = 4.0 * t - 2.0
    older, newer = 0.0, 0.0                           # Clenshaw's recurrence
    for c in _ERFC[:0:-1]:
        older, newer = newer, u * newer - older + c
    log_ratio = 0.5 * u * newer - older + _ERFC[0]
    far = 1.0 - t * xp.exp(log_ratio - z * z)
    return xp.copysign(xp.where(z < 0.1, near_0, far), x).astype(x.dtype)


def _polynomial(coefficients, x):
    """c[0] + c[1] x + c[2] x^2 + ... by Horner's scheme."""
    *rest, out = coefficients
    for c in reversed(rest):
        out = out * x + c
    return out


@erf.grad("x")
def _(g, x):
    return g * (exp(-(x * x)) * 1.1283791670955126)   # 2 / sqrt(pi)


# ---------------------------------------------------------------------- angles
@elementwise(onnx="Sin", ufunc="sin")
def sin(xp, x):
    """Sine of an angle in radians."""
    return xp.sin(x)


@sin.grad("x")
def _(g, x):
    return g * cos(x)


@elementwise(onnx="Cos", ufunc="cos")
def cos(xp, x):
    """Cosine of an angle in radians."""
    return xp.cos(x)


@cos.grad("x")
def _(g, x):
    return -g * sin(x)


@elementwise(onnx="Tan", ufunc="tan")
@quiet
def tan(xp, x):
    """Tangent of an angle in radians."""
    return xp.tan(x)


@tan.grad("x")
def _(g, out):
    return g * (1 + out * out)


@elementwise(onnx="Asin", ufunc="arcsin")
@quiet
def asin(xp, x):
    """The angle whose sine is x."""
    return xp.arcsin(x)


@asin.grad("x")
def _(g, x):
    return g / sqrt(1 - x * x)


@elementwise(onnx="Acos", ufunc="arccos")
@quiet
def acos(xp, x):
    """The angle whose cosine is x."""
    return xp.arccos(x)


@acos.grad("x")
def _(g, x):
    return -g / sqrt(1 - x * x)


@elementwise(onnx="Atan", ufunc="arctan")
def atan(xp, x):
    """The angle whose tangent is x."""
    return xp.arctan(x)


@atan.grad("x")
def _(g, x):
    return g / (1 + x * x)


# ---------------------------------------------------------------------- choices
@elementwise(onnx="Max", ufunc="maximum")
def maximum(xp, x, y):
    """The larger of the two; where they are equal, each gets half of the gradient."""
    return xp.maximum(x, y)


@maximum.grad("x")
def _(g, x, y):
    return (g * greater(x, y) + g * greater_equal(x, y)) * 0.5


@maximum.grad("y")
def _(g, x, y):
    return (g * greater(y, x) + g * greater_equal(y, x)) * 0.5


@elementwise(onnx="Min", ufunc="minimum")
def minimum(xp, x, y):
    """The smaller of the two; where they are equal, each gets half of the gradient."""
    return xp.minimum(x, y)


@minimum.grad("x")
def _(g, x, y):
    return (g * less(x, y) + g * less_equal(x, y)) * 0.5


@minimum.grad("y")
def _(g, x, y):
    return (g * less(y, x) + g * less_equal(y, x)) * 0.5


@elementwise(onnx="Relu")
def relu(xp, x):
    """x where it is positive, else 0."""
    return xp.maximum(x, 0)


@relu.grad("x")
def _(g, out):
    return g * greater(out, 0)


@elementwise(onnx="Where", ufunc="where")
def where(xp, condition, x, y):
    """x where the condition holds, y elsewhere."""
    return xp.where(condition, x, y)


@where.grad("x")
def _(g, condition):                 # a choice, not a product: 0 * inf would be nan
    return where(condition, g, 0)


@where.grad("y")
def _(g, condition):
    return where(condition, 0, g)


@elementwise(dtype="setting", onnx="Cast")
def astype(xp, x, *, dtype):
    """The same numbers in another dtype."""
    return xp.asarray(x).astype(dtype)


@astype.grad("x")
def _(g):                            # the engine brings the gradient back to the dtype of x
    return g


@elementwise(symbol="copy", onnx="Identity")
def clone(xp, x):
    """A copy of x."""
    return xp.array(x)


@clone.grad("x")
def _(g):
    return g


# ---------------------------------------------------------------------- comparisons: no derivative
@elementwise(symbol="=", onnx="Equal", ufunc="equal", dtype="bool", differentiable=False)
def equal(xp, x, y):
    """x == y."""
    return xp.equal(x, y)


@elementwise(symbol="≠", ufunc="not_equal", dtype="bool", differentiable=False)
def not_equal(xp, x, y):
    """x != y."""
    return xp.not_equal(x, y)


@elementwise(symbol="<", onnx="Less", ufunc="less", dtype="bool", differentiable=False)
def less(xp, x, y):
    """x < y."""
    return xp.less(x, y)


@elementwise(symbol="≤", onnx="LessOrEqual", ufunc="less_equal", dtype="bool", differentiable=False)
def less_equal(xp, x, y):
    """x <= y."""
    return xp.less_equal(x, y)


@elementwise(symbol=">", onnx="Greater", ufunc="greater", dtype="bool", differentiable=False)
def greater(xp, x, y):
    """x > y."""
    return xp.greater(x, y)


@elementwise(symbol="≥", onnx="GreaterOrEqual", ufunc="greater_equal", dtype="bool", differentiable=False)
def greater_equal(xp, x, y):
    """x >= y."""
    return xp.greater_equal(x, y)


@elementwise(symbol="and", onnx="And", ufunc="logical_and", dtype="bool", differentiable=False)
def logical_and(xp, x, y):
    """True where both are not 0."""
    return xp.logical_and(x, y)


@elementwise(symbol="or", onnx="Or", ufunc="logical_or", dtype="bool", differentiable=False)
def logical_or(xp, x, y):
    """True where at least one is not 0."""
    return xp.logical_or(x, y)


@elementwise(symbol="xor", onnx="Xor", ufunc="logical_xor", dtype="bool", differentiable=False)
def logical_xor(xp, x, y):
    """True where exactly one is not 0."""
    return xp.logical_xor(x, y)


@elementwise(symbol="not", onnx="Not", ufunc="logical_not", dtype="bool", differentiable=False)
def logical_not(xp, x):
    """True where x is 0."""
    return xp.logical_not(x)


@elementwise(onnx="IsNaN", ufunc="isnan", dtype="bool", differentiable=False)
def isnan(xp, x):
    """True where x is not a number."""
    return xp.isnan(x)


@elementwise(onnx="IsInf", ufunc="isinf", dtype="bool", differentiable=False)
def isinf(xp, x):
    """True where x is plus or minus infinity."""
    return xp.isinf(x)


@elementwise(ufunc="isfinite", dtype="bool", differentiable=False)
def isfinite(xp, x):
    """True where x is neither infinite nor nan."""
    return xp.isfinite(x)


def is_number(value):
    """True for what has neither shape nor dtype of its own."""
    return isinstance(value, (bool, int, float, np.generic))
