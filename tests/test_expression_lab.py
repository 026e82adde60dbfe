"""The expression lab: formulas are read safely, gradients are right, mistakes are explained."""
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from minidl.errors import ArgumentError

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import ExpressionLab
from minidl.widgets.formula import FUNCTIONS, Formula

FORMULAS = ["x * w + b", "sin(x)**2 + cos(x)**2", "-x / (1 + exp(-w))", "2**x - pi", "abs(x - 3*w) * sigmoid(b)", "x",
            "maximum(x, w) * e + minimum(x, 0.1)", "log(x) * sqrt(w) + tanh(b)"]


@pytest.mark.parametrize("text", FORMULAS)
def test_gradients_are_those_of_finite_differences(text):
    lab = ExpressionLab(text, x=1.3, w=0.7, b=-0.4)
    rows = lab.frame.data["rows"]
    assert rows and all(same for *_, same in rows), rows
    values = {"x": 1.3, "w": 0.7, "b": -0.4}
    plain = {name: getattr(math, name) for name in ("sin", "cos", "exp", "log", "sqrt", "tanh", "pi", "e")}
    plain |= {"abs": abs, "maximum": max, "minimum": min, "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
    assert math.isclose(lab.frame.data["value"], eval(text, {**plain, "__builtins__": {}}, values), rel_tol=1e-12)


@pytest.mark.parametrize("text", [
    "__import__('os').system('x')", "x.real", "x[0]", "(lambda: 1)()", "[x for x in y]", "x if x else y", "x == y",
    "'a'*9", "x := 3", "sin", "sin(x=1)", "True", "1j", "f'{x}'", "x and y", "x // 2", "x @ y", "(x, y)", "*x", "",
    "x +", "2x",
    "sin(x, y)", "x^2", "print(x)", "9" * 300])
def test_what_is_not_arithmetic_is_refused(text):
    with pytest.raises(ArgumentError, match="formula: "):
        Formula(text)


def test_mistakes_are_explained():
    lab = ExpressionLab("x * y")
    for text, says in (("x^2", "two stars, x**2"), ("foo(x)", "no function called 'foo'"), ("3 + 4", "use a name"),
                       ("x * (y", "cannot be read"), ("sin(x, y)", "function of 1 number")):
        lab.expression = text
        assert says in lab.error
    lab.expression = "x * y * 2"
    assert lab.error == "" and lab.gradients == {"x": 2.0, "y": 2.0}


def test_values_can_be_moved_and_new_names_start_at_one():
    lab = ExpressionLab("x * y", x=3.0)
    assert lab.gradients == {"x": 1.0, "y": 3.0}
    lab.values = {"x": 5.0, "y": 2.0}
    assert lab.gradients == {"x": 2.0, "y": 5.0}
    lab.edit(expression="x * z", values={"x": 4.0})
    assert lab.gradients == {"x": 1.0, "z": 4.0}


def test_huge_numbers_overflow_and_are_not_an_error():
    lab = ExpressionLab("x * 9**9**9", x=1.0)
    assert math.isinf(lab.frame.data["value"]) and "Inf" in lab.trace.note


def test_kinks_and_nans_are_told():
    assert "they differ" in ExpressionLab("relu(x)", x=0.0).frame.lines[0]
    lab = ExpressionLab("log(x)", x=-1.0)
    assert "The first NaN came out of log." in lab.trace.note


def test_graph_table_and_words():
    lab = ExpressionLab("x * y + x", x=2.0, y=3.0)
    texts = [t.text for t in ElementTree.fromstring(lab.svg()).iter("{http://www.w3.org/2000/svg}text")]
    assert {"x", "y", "gradient", "✓ alike", "L = x * y + x"} <= set(texts)
    assert "L = x * y + x = 8; ∂L/∂x = 4, ∂L/∂y = 2." in lab.describe()
    assert lab.player().gradients == {"x": np.float64(4), "y": np.float64(2)}


def test_every_function_is_known_and_has_a_gradient():
    for name in FUNCTIONS:
        text = f"{name}(x, y)" if name in ("maximum", "minimum") else f"{name}(x)"
        assert all(same for *_, same in ExpressionLab(text, x=0.6, y=0.3).frame.data["rows"]), name
