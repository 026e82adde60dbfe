"""A formula that was typed: `sin(x) * y + x**2`, read without running any of it as a program.

Only numbers, names, + - * / ** and the functions in FUNCTIONS are understood; everything else is an error that says
what was meant to be there. So a formula may come from anybody.
"""
import ast
import math
import operator

import numpy as np

from .. import functions as md
from ..errors import ArgumentError, message
from ..tensor import Tensor, tensor

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
             ast.Pow: operator.pow}
FUNCTIONS = {name: getattr(md, name) for name in ("abs", "cos", "exp", "log", "maximum", "minimum", "relu", "sigmoid",
                                                  "sin", "sqrt", "square", "tan", "tanh")}
TWO = {"maximum", "minimum"}                                    # functions of two numbers
CONSTANTS = {"pi": math.pi, "e": math.e}
LONGEST, MOST = 200, 60                                         # characters, and operations


class Formula:
    """A formula of numbers with names.

    Args:
        text: such as "x * w + b".

    Attributes:
        names: of its numbers, in the order in which they come up.

    Raises:
        ArgumentError: it cannot be read; with the place, where there is one.

    >>> formula = Formula("x**2 + sin(y)")
    >>> formula.names, formula(x=3.0, y=0.0)
    (['x', 'y'], tensor(9., dtype=float64))
    """

    def __init__(self, text):
        self.text, self._tree = text, _parsed(text)
        self.names = list(dict.fromkeys(name for name in _names(self._tree) if name not in CONSTANTS))

    def __call__(self, **values):
        """Its value for these numbers or tensors; a number counts as a float64."""
        with np.errstate(all="ignore"):
            return _value(self._tree, {**CONSTANTS, **values})


def _parsed(text):
    if len(text) > LONGEST:
        raise ArgumentError(message("formula: this is too long.", [("characters", len(text)), ("at most", LONGEST)]))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        place = " " * ((getattr(error, "offset", None) or 1) - 1) + "↑"
        raise ArgumentError(message("formula: this cannot be read.", [("", text.strip()), ("", place)],
                                    "x * y + sin(x)**2, for example.")) from None
    if sum(1 for _ in ast.walk(tree)) > 4 * MOST:
        raise ArgumentError(message("formula: this has too many operations.", [("at most", MOST)]))
    _check(tree)
    return tree


def _check(tree):
    """Raise for whatever is not arithmetic."""
    if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATORS:
        parts = [tree.left, tree.right]
    elif isinstance(tree, ast.UnaryOp) and isinstance(tree.op, (ast.USub, ast.UAdd)):
        parts = [tree.operand]
    elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        _check_call(tree)
        parts = tree.args
    elif isinstance(tree, ast.Name) and tree.id not in FUNCTIONS:
        parts = []
    elif isinstance(tree, ast.Constant) and type(tree.value) in (int, float):
        parts = []
    else:
        power = isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitXor)
        raise ArgumentError(message("formula: only numbers, names, + - * / **, brackets and functions are understood.",
                                    [("not", ast.unparse(tree))],
                                    "a power is written with two stars, x**2." if power else
                                    f"the functions are {', '.join(FUNCTIONS)}."))
    for part in parts:
        _check(part)


def _check_call(tree):
    name = tree.func.id
    if name not in FUNCTIONS:
        raise ArgumentError(message(f"formula: there is no function called {name!r}.",
                                    [("functions", ", ".join(FUNCTIONS))],
                                    "for a product, write the star: x * (y + 1)."))
    wanted = 2 if name in TWO else 1
    if len(tree.args) != wanted:
        raise ArgumentError(message(f"formula: {name} is a function of {wanted} number{'s' * (wanted > 1)}.",
                                    [("got", len(tree.args))]))


def _names(tree):
    """Names of numbers, in reading order."""
    if isinstance(tree, ast.Name):
        return [tree.id]
    if isinstance(tree, ast.Call):
        return [name for arg in tree.args for name in _names(arg)]
    return [name for child in ast.iter_child_nodes(tree) for name in _names(child)]


def _value(tree, values):
    if isinstance(tree, ast.Constant):
        return np.float64(tree.value)                           # which overflows to an infinity, and not to an error
    if isinstance(tree, ast.Name):
        return values[tree.id]
    if isinstance(tree, ast.UnaryOp):
        operand = _value(tree.operand, values)
        return -operand if isinstance(tree.op, ast.USub) else operand
    if isinstance(tree, ast.Call):
        args = [_value(arg, values) for arg in tree.args]
        return FUNCTIONS[tree.func.id](*(x if isinstance(x, Tensor) else tensor(x, dtype=np.float64) for x in args))
    return OPERATORS[type(tree.op)](_value(tree.left, values), _value(tree.right, values))
