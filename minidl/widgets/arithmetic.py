"""The arithmetic of one step in letters and in numbers: `∂L/∂w = g · x = 2 × 3 = 6`.

The letters come from the rule's own source: an op's rule is one line of mathematics, so its `return` can be read out,
with the learner's names and then with the numbers put in. A rule that is more than one line is told by its slope.
"""
import ast
import inspect
import re
import textwrap

import numpy as np

from ..viz.theme import number, numbers

LONGEST = 60                           # characters of a formula that one can still take in
BY_SYMBOL = set("+−×÷@")


def told(value):
    """A number, or a tensor as shape and range."""
    array = np.asarray(value)
    if array.size == 1:
        return number(array.item() if array.dtype.kind in "fib" else array.reshape(())[()])
    return f"{shape_text(array.shape)} {numbers(array.squeeze())}"


def shape_text(shape):
    """`(2, 3)` as people write it."""
    return f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"


def forward_text(tape, step):
    """`v1 = x × w = 2 × 3 = 6`."""
    inputs = [tape.places[i] for i in step.inputs]
    letters = _call(step, [_called(p) for p in inputs])
    parts = [step.name, letters]
    if all(p.scalar for p in inputs):
        parts.append(_call(step, [bracketed(told(p.value)) for p in inputs]))
    parts = list(dict.fromkeys(part for part in parts if len(part) <= LONGEST))
    return " = ".join([*parts, told(step.value)])


def _called(place):
    return place.name or told(place.value)


def _call(step, args):
    op = step.origin.op
    if op.symbol in BY_SYMBOL and len(args) == 2:
        return f"{args[0]} {op.symbol} {args[1]}"
    if op.name == "neg":
        return f"−{args[0]}"
    if op.name == "pow" and len(args) == 2:
        return f"{args[0]}^{args[1]}"
    name = op.symbol if op.symbol in ("√", "σ") else op.name
    return f"{name}({', '.join(arg[1:-1] if arg.startswith('(−') else arg for arg in args)})"


def bracketed(text):
    """A number as it stands inside a formula: a negative one in brackets."""
    return f"({text})" if text.startswith("−") else text


def backward_text(tape, arrival):
    """`∂L/∂w = g · x = 2 × 3 = 6`, for a contribution."""
    step, target = tape.places[arrival.step], tape.places[arrival.place]
    inputs = [tape.places[i] for i in step.inputs]
    g = tape.gradients[step.id]
    parts = [f"∂L/∂{_called(target)}"]
    letters = {name: _called(p) for name, p in _arguments(step, inputs)} | {"out": step.name}
    letters |= {f"{name}_shape": shape_text(p.shape) for name, p in _arguments(step, inputs)}
    formula = rule_text(step, arrival.index, letters)
    if formula:
        parts.append(formula.replace(" * ", " · "))
    if step.scalar and all(p.scalar for p in inputs):
        values = {name: bracketed(told(p.value)) for name, p in _arguments(step, inputs)}
        values |= {"g": bracketed(told(g)), "out": bracketed(told(step.value))}
        filled = formula and rule_text(step, arrival.index, values)
        slope = _slope(arrival.gradient, g)
        if filled:
            parts.append(filled.replace(" * ", " × "))
        elif slope is not None:
            parts += ["g · slope", f"{bracketed(told(g))} × {bracketed(number(slope))}"]
    elif not formula:
        parts.append(f"by the rule of {step.origin.op.name}")
    return " = ".join(list(dict.fromkeys([*parts, told(arrival.gradient)])))


def _arguments(step, inputs):
    op = step.origin.op
    return [(op.inputs[op.place(k)], p) for k, p in enumerate(inputs)] if not op.variadic else []


def _slope(contribution, g):
    g = float(np.asarray(g).item())
    return float(np.asarray(contribution).item()) / g if g else None


def rule_text(step, index, letters):
    """What the rule for an input returns, with other letters; "" if that is not one short line."""
    op = step.origin.op
    found = returned(op.rule_for(index).function)
    if found is None:
        return ""
    settings = {name: str(value) for name, value in step.node.meta.items()}
    text = _spelled(found, {**settings, **letters})
    return text if len(text) <= LONGEST else ""


def returned(function):
    """The expression that a function returns, as a syntax tree; None if it does more than return one."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    if isinstance(body, ast.FunctionDef):
        lines = [line for line in body.body
                 if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
        if len(lines) == 1 and isinstance(lines[0], ast.Return) and not isinstance(lines[0].value, ast.Tuple):
            return lines[0].value
    return None


def _spelled(tree, letters):
    """An expression as a person writes it, with `letters` for its names."""
    text = ast.unparse(tree).replace(" ** ", "^").replace("-", "−").replace(" / ", " ÷ ")
    return re.sub(r"\b[A-Za-z_]\w*\b(?!=)", lambda word: letters.get(word[0], word[0]), text)
