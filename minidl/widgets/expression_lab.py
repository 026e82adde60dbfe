"""The expression lab: type a formula, move its numbers, see its graph and its gradient beside a finite difference.

    ExpressionLab("sin(x) * y + x**2", x=1.0, y=2.0)
"""
from typing import ClassVar

import numpy as np
import traitlets as tr

from ..errors import ArgumentError, message
from ..tensor import Tensor, tensor
from ..viz.svg import document, element
from ..viz.theme import number
from .backprop import BackpropPlayer
from .board import LEGEND, figure, pieces
from .formula import Formula
from .tape import Tape
from .trace import Frame, Trace
from .widget import Widget

HALF_STEP = 1e-6                       # of the central difference; float64 loses least about here
ALIKE = 1e-4                           # allowed error, relative to the larger of 1 and the gradient
ROW, COLUMNS = 20, (12, 90, 190, 330, 470)


class ExpressionLab(Widget):
    """A formula of numbers, its graph and its gradients.

    Args:
        expression: such as "sin(x) * y"; see formula.py for what is understood.
        values: of its numbers, by name; 1 where none is given.

    Attributes:
        gradients: name -> number.
    """

    scripts: ClassVar = ("graph", "expression_lab")
    controls: ClassVar = ("expression", "values")

    expression = tr.Unicode("x * w + b").tag(sync=True)
    values = tr.Dict().tag(sync=True)

    def __init__(self, expression="x * w + b", **values):
        super().__init__(expression=expression, values=values)

    def record(self):
        """The Trace, of one frame, for the expression and the values as they are."""
        formula = Formula(self.expression)
        if not formula.names:
            raise ArgumentError(message("formula: there is nothing to differentiate by.", [("", formula.text)],
                                        "use a name for a number, such as x."))
        values = {name: float(self.values.get(name, 1.0)) for name in formula.names}
        leaves, loss = _computed(formula, values)
        if not isinstance(loss, Tensor) or loss.node is None:      # the formula is a name and nothing else
            loss = loss * 1.0
        tape = Tape(loss, leaves)
        names = {p.name: float(tape.gradients[p.id]) for p in tape.parameters if p.id in tape.gradients}
        self.gradients = {name: names.get(name, 0.0) for name in values}
        slopes = {name: difference(formula, values, name) for name in values}
        rows = [[name, value, self.gradients[name], slopes[name], _alike(self.gradients[name], slopes[name])]
                for name, value in values.items()]
        data = {"born": len(tape.steps), "arrived": len(tape.arrivals), "rows": rows, "value": loss.item()}
        text = f"L = {formula.text} = {number(loss.item())}; " + ", ".join(
            f"∂L/∂{name} = {number(g)}" for name, _, g, _, _ in rows) + "."
        return Trace([Frame("", text, data, tuple(map(_sentence, rows)))], "expression lab", figure(tape), _note(tape))

    def player(self, **controls):
        """The BackpropPlayer of this formula with these values, to see how the gradients come about."""
        formula = Formula(self.expression)
        values = {name: float(self.values.get(name, 1.0)) for name in formula.names}
        leaves, loss = _computed(formula, values)
        return BackpropPlayer(loss, leaves, **controls)

    def draw(self, frame):
        """Graph and table as SVG."""
        shared, rows = self.trace.figure, frame.data["rows"]
        top = shared["height"] + LEGEND + 16
        cells = [("number", "value", "gradient", "finite difference", "")]
        cells += [(n, number(v), number(g), number(d), "✓ alike" if same else "≠ differ") for n, v, g, d, same in rows]
        table = [element("text", text, x=x, y=top + k * ROW, class_="bold" if k == 0 else None)
                 for k, row in enumerate(cells) for x, text in zip(COLUMNS, row)]
        title = element("text", f"L = {self.expression}", x=12, y=top + len(cells) * ROW + 6, class_="mono")
        parts = [*pieces(shared, frame.data), *table, title]
        return document(max(shared["width"], 560), top + (len(cells) + 1) * ROW, *parts, title="expression lab",
                        desc=self.describe())


def _computed(formula, values):
    leaves = {name: tensor(value, dtype=np.float64, requires_grad=True) for name, value in values.items()}
    return leaves, formula(**leaves)


def difference(formula, values, name):
    """The slope along one number by central differences; it knows nothing of rules."""
    width = HALF_STEP * max(1.0, abs(values[name]))
    ends = [float(formula(**{**values, name: values[name] + step})) for step in (width, -width)]
    return (ends[0] - ends[1]) / (2 * width) if np.isfinite(ends).all() else float("nan")


def _alike(gradient, slope):
    return bool(abs(gradient - slope) <= ALIKE * max(1.0, abs(gradient)))


def _sentence(row):
    name, value, gradient, slope, same = row
    return (f"{name} = {number(value)}: gradient {number(gradient, 6)}, finite difference {number(slope, 6)}, "
            f"{'alike' if same else 'they differ: a kink, a jump or a NaN is near'}.")


def _note(tape):
    bad = tape.broken
    if bad is None:
        return ""
    name = tape.places[bad.place].origin.op.name
    return f"The first {bad.kind} came out of {'the rule of ' if bad.backward else ''}{name}."
