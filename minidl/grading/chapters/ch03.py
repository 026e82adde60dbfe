"""Chapter 03, derivatives by machine: dual numbers, a nudge of the right size, and the walk backwards.

Everything is plain Python and NumPy: numbers, not tensors, as in the lesson.
"""
import math

import numpy as np

from ..cases import case, normal
from ..compare import as_numbers
from ..exercise import Exercise

TITLE = "Derivatives by machine"


def call(name, x):
    """A function of `math`, of a number, or of a dual number, which has it as a method."""
    return getattr(x, name)() if hasattr(x, name) else getattr(math, name)(x)


# --- 03.1: dual numbers -----------------------------------------------------------------------------------------------

dual = Exercise(
    "03.1a", "Eight rules", points=4, stars=2, minutes=20, hints=(
        "Each method answers two questions: what is the value, and how fast does it change? The second is the rule "
        "that you know from school, with `self.slope` wherever school writes a′.",
        "For a function of one input the slope is: how fast the function changes there, times how fast the input does. "
        "For a quotient two things change; the one below pulls down, and is divided by its square.",
        "In e to the a the value itself comes back in the slope; in the logarithm you divide by the value; the sine "
        "brings the cosine, and the cosine brings the sine with a minus."))

EXPRESSIONS = {
    "-x": lambda x, c: -x,
    "x + x": lambda x, c: x + x,
    "x + 3": lambda x, c: x + c(3.0),
    "x * x": lambda x, c: x * x,
    "x * 3": lambda x, c: x * c(3.0),
    "x / 4": lambda x, c: x / c(4.0),
    "4 / x": lambda x, c: c(4.0) / x,
    "x / (x * x + 1)": lambda x, c: x / (x * x + c(1.0)),
    "exp(x)": lambda x, c: x.exp(),
    "exp(3 * x)": lambda x, c: (c(3.0) * x).exp(),
    "log(x)": lambda x, c: x.log(),
    "log(x * x)": lambda x, c: (x * x).log(),
    "sin(x)": lambda x, c: x.sin(),
    "sin(2 * x)": lambda x, c: (c(2.0) * x).sin(),
    "cos(x)": lambda x, c: x.cos(),
    "cos(2 * x)": lambda x, c: (c(2.0) * x).cos(),
    "x * sin(x)": lambda x, c: x * x.sin(),
    "exp(-x * x) * cos(x)": lambda x, c: (-x * x).exp() * x.cos(),
    "x * x * x": lambda x, c: x * x * x,
}


@dual.reference
class Dual:
    """A value and its slope."""

    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __neg__(self):
        return type(self)(-self.value, -self.slope)

    def __add__(self, other):
        return type(self)(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        return type(self)(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __truediv__(self, other):
        return type(self)(self.value / other.value,
                          (self.slope * other.value + -(self.value * other.slope)) / (other.value * other.value))

    def exp(self):
        e = call("exp", self.value)
        return type(self)(e, e * self.slope)

    def log(self):
        return type(self)(call("log", self.value), self.slope / self.value)

    def sin(self):
        return type(self)(call("sin", self.value), call("cos", self.value) * self.slope)

    def cos(self):
        return type(self)(call("cos", self.value), -(call("sin", self.value) * self.slope))


@dual.observe
def _(answer, expression, x):
    """Value and slope of an expression in x."""
    seed = answer(x, 1.0)
    if seed is None:
        return None
    out = EXPRESSIONS[expression](seed, lambda number: answer(number, 0.0))
    return None if out is None else {"value": out.value, "slope": out.slope}


@dual.cases
def _(rng):
    for k, expression in enumerate(EXPRESSIONS):
        yield case(expression, [1.5, 0.5, 2.0][k % 3])
    for expression in rng.permutation(list(EXPRESSIONS)):
        yield case(str(expression), round(float(rng.uniform(0.3, 2.5)), 2))


dual.honest = ()


@dual.mistake("The slope of a product was taken as the product of the slopes. Each factor changes while the other "
              "stays.")
class ProductOfSlopes(Dual):
    def __mul__(self, other):
        return type(self)(self.value * other.value, self.slope * other.slope)


@dual.mistake("In the product, only the first factor changes. The second one may change as well.")
class FirstFactorOnly(Dual):
    def __mul__(self, other):
        return type(self)(self.value * other.value, self.slope * other.value)


@dual.mistake("The slope of the quotient has its sign the wrong way round: a denominator that grows pulls it down.")
class QuotientSign(Dual):
    def __truediv__(self, other):
        out = super().__truediv__(other)
        return type(self)(out.value, -out.slope)


@dual.mistake("The denominator of the quotient's slope is not squared.")
class QuotientNotSquared(Dual):
    def __truediv__(self, other):
        return type(self)(self.value / other.value,
                          (self.slope * other.value - self.value * other.slope) / other.value)


@dual.mistake("The inner slope is missing in exp: for exp(3x), the 3 must appear in front.")
class ExpWithoutInner(Dual):
    def exp(self):
        return type(self)(math.exp(self.value), math.exp(self.value))


@dual.mistake("The inner slope is missing in the sine: for sin(2x), the 2 must appear in front.")
class SineWithoutInner(Dual):
    def sin(self):
        return type(self)(math.sin(self.value), math.cos(self.value))


@dual.mistake("The cosine lost its minus: where the sine is positive, the cosine falls.")
class CosineSign(Dual):
    def cos(self):
        return type(self)(math.cos(self.value), math.sin(self.value) * self.slope)


@dual.mistake("The slope of the logarithm is 1 over the value of its input, not over the logarithm.")
class LogOfLog(Dual):
    def log(self):
        return type(self)(math.log(self.value), self.slope / math.log(self.value))


@dual.mistake("A negative number keeps its slope here. If the value changes its sign, so does the slope.")
class NegativeKeepsSlope(Dual):
    def __neg__(self):
        return type(self)(-self.value, self.slope)


@dual.variant
class ShortQuotient(Dual):
    def __truediv__(self, other):
        value = self.value / other.value
        return type(self)(value, (self.slope - value * other.slope) / other.value)

    def log(self):
        return type(self)(np.log(self.value), 1 / self.value * self.slope)


second = Exercise(
    "03.1b", "The slope of the slope", points=3, stars=3, minutes=15, honest=("float64",), hints=(
        "Which two questions does a dual number answer? If its value and its slope are dual numbers themselves, each "
        "of them answers both, and one of the four answers is what you want.",
        "The input is x, and it changes as fast as itself. Both the outer and the inner pair must say so. And how "
        "fast does that speed change?",
        "The value of the outer pair is a dual number with the slope 1. The slope of the outer pair is the number 1, "
        "which does not change: a dual number as well. In the result, look into the slope, and there at the slope."))


@second.reference
def curvature(f, x):
    out = f(Dual(Dual(x, 1.0), Dual(1.0, 0.0)))
    return out.slope.slope


def _constant(number, like):
    """A number that does not change, as deep as the dual number `like`."""
    if not hasattr(like, "slope"):
        return number
    return type(like)(_constant(number, like.value), _constant(0.0, like.value))


@second.observe
def _(answer, expression, x):
    return answer(lambda seed: EXPRESSIONS[expression](seed, lambda number: _constant(number, seed)), x)


@second.cases
def _(rng):
    for k, expression in enumerate(["x * x * x", "x * x", "exp(x)", "sin(x)", "log(x)", "4 / x", "x * sin(x)", "x + 3",
                                    "x / (x * x + 1)", "exp(-x * x) * cos(x)"]):
        yield case(expression, [2.0, 0.5, 1.5][k % 3])
    for expression in rng.permutation(list(EXPRESSIONS))[:6]:
        yield case(str(expression), round(float(rng.uniform(0.3, 2.5)), 2))


@second.mistake("This is the first derivative: one more slope is to be taken.")
def _(f, x):
    return f(Dual(Dual(x, 1.0), Dual(1.0, 0.0))).value.slope


@second.mistake("This is the value of the function.")
def _(f, x):
    return f(Dual(Dual(x, 1.0), Dual(1.0, 0.0))).value.value


@second.mistake("The inner pair stands still: its slope is 0, so nothing inside changes, and there is no slope of the "
                "slope.")
def _(f, x):
    return f(Dual(Dual(x, 0.0), Dual(1.0, 0.0))).slope.slope


@second.mistake("The speed of the input is 1 and stays 1; here it was said to change as well.")
def _(f, x):
    return f(Dual(Dual(x, 1.0), Dual(1.0, 1.0))).slope.slope


@second.mistake("This is the first derivative, squared.")
def _(f, x):
    return f(Dual(x, 1.0)).slope ** 2


@second.mistake("Near, and not exact: the slope was nudged. Dual numbers need no nudge.")
def _(f, x):
    return (f(Dual(x + 1e-3, 1.0)).slope - f(Dual(x - 1e-3, 1.0)).slope) / 2e-3


@second.variant
def _(f, x):
    return f(Dual(Dual(x, 1.0), Dual(1.0, 0.0))).slope.slope + 0.0


# --- 03.2: a nudge of the right size ----------------------------------------------------------------------------------

nudge = Exercise(
    "03.2", "A nudge of the right size", points=3, stars=2, minutes=20, honest=("float64", "list", "tuple", "tensor"),
    hints=(
        "One input at a time: nudge it up, look, nudge it down, look, and put it back. Which two numbers go into the "
        "slope, and how far apart were the inputs?",
        "A step of 1e-5 is good for an input near 1. For an input near a million it drowns in rounding: the step must "
        "grow with the input. What about an input of 0?",
        "The cube root of the smallest step that float64 can tell from 1 (about 6e-6), times the size of the input, or "
        "times 1 if the input is smaller. Work on a copy in float64."))

SURFACES = {
    "sum of squares": lambda x: float((x * x).sum()),
    "product": lambda x: float(np.prod(x)),
    "sum of sines": lambda x: float(np.sin(x).sum()),
    "a million logarithms": lambda x: float(1e6 * np.log(x).sum()),
    "first times last": lambda x: float(x[0] * x[-1]),
    "sum of cubes": lambda x: float((x ** 3).sum()),
    "sum of exponentials": lambda x: float(np.exp(x).sum()),
}


@nudge.reference
def slopes(f, x):
    x = np.array(x, dtype=np.float64)
    g = np.zeros_like(x)
    for k in range(x.size):
        before, h = x[k], 6e-6 * max(1.0, abs(x[k]))
        x[k] = before + h
        up = f(x)
        x[k] = before - h
        g[k] = (up - f(x)) / (2 * h)
        x[k] = before
    return g


@nudge.observe
def _(answer, f, x):
    """The slopes, how often the function was run for each input, and whether x was left as it was."""
    runs, before = [], x.copy()

    def counted(x):
        runs.append(1)
        return SURFACES[f](np.asarray(x))
    g = answer(counted, x)
    if g is None:
        return None
    return {"slopes": g, "runs for each input": len(runs) / len(x), "x is left alone": np.array_equal(x, before)}


@nudge.accept
def _(got, expected, f, x):
    slopes = None if got is None else as_numbers(got["slopes"])
    if slopes is None or slopes.dtype.kind == "c":
        return "expected an array of slopes, real numbers"
    g, right = slopes.astype(float), expected["slopes"]
    if g.shape != right.shape:
        return f"there are {g.shape} slopes, expected {right.shape}"
    wrong = ~np.isclose(g, right, rtol=1e-8, atol=1e-9)
    if wrong.any():
        k = int(np.argmax(wrong))
        return f"the slope by x[{k}] is {g[k]:.10g}, expected {right[k]:.10g}"
    if not got["x is left alone"]:
        return "the slopes are right, but x is not what it was before"
    if got["runs for each input"] != 2:
        return f"the function was run {got['runs for each input']:g} times for each input, expected 2"
    return None


@nudge.cases
def _(rng):
    yield case("sum of squares", np.array([1.0, -2.0, 3.0]))
    yield case("product", np.array([2.0, 3.0, 5.0]))
    yield case("first times last", np.array([4.0, 7.0, -2.0]))
    yield case("a million logarithms", np.array([1e6, 2e6]))
    yield case("sum of exponentials", np.array([0.0, 1.5]))
    yield case("a million logarithms", np.array([2.0, 1e5]))
    yield case("sum of sines", np.array([1, 2, 3]))
    yield case("sum of exponentials", np.array([0.5, -1.5]))
    for name in ("sum of cubes", "sum of sines", "product"):
        yield case(name, normal(rng, 4) + 3.0)


def _nudged(f, x, step=lambda v: 6e-6 * max(1.0, abs(v)), low=True, divide=2.0, keep=False, whole=False):
    """The reference with a planted fault."""
    x = x if whole else np.array(x, dtype=np.float64)
    g = np.zeros(len(x))
    for k in range(len(x)):
        before, h = x[k], step(float(x[k]))
        down = f(x) if not low else None
        x[k] = before + h
        up = f(x)
        if low:
            x[k] = before - h
            down = f(x)
        g[k] = (up - down) / (divide * h)
        if not keep:
            x[k] = before
    return g


@nudge.mistake("The nudge goes to one side only, so its error is as large as the step. Nudge up and down.")
def _(f, x):
    return _nudged(f, x, low=False, divide=1.0)


@nudge.mistake("Twice the slope: the two nudged inputs are 2 h apart, not h.")
def _(f, x):
    return _nudged(f, x, divide=1.0)


@nudge.mistake("The step is too large, and sees the bend of the function.")
def _(f, x):
    return _nudged(f, x, step=lambda v: 1e-2 * max(1.0, abs(v)))


@nudge.mistake("The step is too small: the two values agree in nearly all digits, and what is left is rounding.")
def _(f, x):
    return _nudged(f, x, step=lambda v: 1e-12 * max(1.0, abs(v)))


@nudge.mistake("The step is the same for all inputs. For an input of a million, it drowns in rounding; it must grow "
               "with the input.")
def _(f, x):
    return _nudged(f, x, step=lambda v: 6e-6)


@nudge.mistake("Each input was left nudged when the next one's turn came. Put it back.")
def _(f, x):
    return _nudged(f, x, keep=True, step=lambda v: 1e-4 * max(1.0, abs(v)))


@nudge.mistake("All inputs were nudged at once. That gives the sum of the slopes, not each of them.")
def _(f, x):
    x, h = np.array(x, dtype=np.float64), 6e-6
    return np.array([(f(x + h) - f(x - h)) / (2 * h) for _ in x])


@nudge.mistake("x holds whole numbers, and a nudge written into it is lost. Work on a copy in float64.")
def _(f, x):
    return _nudged(f, x, whole=True)


@nudge.mistake("x was changed: the caller's numbers are not what they were. Work on a copy.")
def _(f, x):
    g = slopes(f, x)
    x += 1
    return g


@nudge.variant
def _(f, x):
    g = []
    for k, v in enumerate(np.asarray(x, dtype=float)):
        e = np.zeros(len(x))
        e[k] = np.finfo(float).eps ** (1 / 3) * (1 + abs(v))
        g.append((f(x + e) - f(x - e)) / (2 * e[k]))
    return g


# --- 03.3: the walk backwards -----------------------------------------------------------------------------------------

walk = Exercise(
    "03.3", "The walk backwards", points=5, stars=3, minutes=25, honest=(), hints=(
        "Three steps: find all notes that `out` was made from; give them a clean start; then let each hand on what it "
        "has got. In which order may they hand on?",
        "A note may hand on when everybody who uses it has handed on. Each note says when it was made, and what uses a "
        "note was made after it. Each input may get something from several sides.",
        "Collect with a list that grows while you walk through it and a set of what was seen, so that depth is no "
        "problem. Set every gradient to 0, that of `out` to 1. Then from the newest to the oldest: add to each input "
        "its local slope times what the note itself has got."))


class Note:
    """A number on a graph: its inputs with their local slopes, when it was made, and its gradient."""

    def __init__(self, when, inputs):
        self.when, self.inputs, self.grad = when, inputs, 0.0


@walk.reference
def backward(out):
    found, seen = [out], {out}
    for note in found:
        for i, _ in note.inputs:
            if i not in seen:
                seen.add(i)
                found.append(i)
    for note in found:
        note.grad = 0.0
    out.grad = 1.0
    for note in sorted(found, key=lambda note: note.when, reverse=True):
        for i, slope in note.inputs:
            i.grad += slope * note.grad


@walk.observe
def _(answer, graph, first, then):
    """The gradients after backward from one note, and after backward from another."""
    if isinstance(graph, str):
        n = int(graph.split()[-2])
        graph = {"h0": [], **{f"h{k}": [[f"h{k - 1}", 1.0]] for k in range(1, n)}}
        first, then = f"h{n - 1}", f"h{n - 1}"
    notes = {}
    for when, (name, inputs) in enumerate(graph.items()):
        notes[name] = Note(when, [(notes[i], slope) for i, slope in inputs])
    said = {}
    for turn, name in ((f"backward from {first}", first), (f"then from {then}", then)):
        answer(notes[name])
        said[turn] = [notes[n].grad for n in (_behind(graph, name) if len(graph) < 50 else ["h0"])]
    return said


def _behind(graph, name):
    """The names that a note was made from, in the order of the graph; the others keep whatever they had."""
    found = [name]
    for n in found:
        found += [i for i, _ in graph[n] if i not in found]
    return [n for n in graph if n in found]


LOSS = {"w": [], "x": [], "h": [["w", 3.0], ["x", 2.0]], "square": [["h", 6.0], ["h", 6.0]],
        "L": [["square", 1.0], ["h", 1.0]]}


@walk.cases
def _(rng):
    yield case({"w": [], "x": [], "h": [["w", 3.0], ["x", 2.0]]}, "h", "h")
    yield case({"x": [], "h": [["x", 2.0]], "out": [["h", 5.0]]}, "out", "h")
    yield case(LOSS, "L", "L")
    yield case(LOSS, "L", "square")
    uneven = {"x": [], "a": [["x", 2.0]], "b": [["a", 3.0]], "c": [["b", 5.0]]}
    yield case({**uneven, "L": [["c", 7.0], ["a", 11.0]]}, "L", "L")
    yield case({**uneven, "L": [["a", 11.0], ["c", 7.0]]}, "L", "c")
    for _ in range(3):
        graph = {"x0": [], "x1": []}
        for k in range(6):
            graph[f"h{k}"] = [[str(i), float(rng.integers(-3, 5))] for i in rng.choice(list(graph)[-4:], size=2)]
        yield case(graph, "h5", str(rng.choice(["h3", "h4"])))
    yield case("a chain of 20000 notes", "the last", "the last")


def _found(out):
    found, seen = [out], {out}
    for note in found:
        for i, _ in note.inputs:
            if i not in seen:
                seen.add(i)
                found.append(i)
    return found


def _clean(out):
    found = _found(out)
    for note in found:
        note.grad = 0.0
    out.grad = 1.0
    return sorted(found, key=lambda note: -note.when)


@walk.mistake("What arrives last wins. A note that is used several times gets something from each user, and all of it "
              "counts.")
def _(out):
    for note in _clean(out):
        for i, slope in note.inputs:
            i.grad = slope * note.grad


@walk.mistake("A note handed on before everything had arrived: on an uneven diamond, the longer way comes too late. "
              "The order is by the time of making.")
def _(out):
    _clean(out)
    for note in _found(out):
        for i, slope in note.inputs:
            i.grad += slope * note.grad


@walk.mistake("The gradients of an earlier backward are still there, and are counted again. Begin from 0 each time.")
def _(out):
    out.grad = 1.0
    for note in sorted(_found(out), key=lambda note: -note.when):
        for i, slope in note.inputs:
            i.grad += slope * note.grad


@walk.mistake("All gradients are 0, for nobody gave the first push: the slope of `out` by itself is 1.")
def _(out):
    for note in _found(out):
        note.grad = 0.0


@walk.mistake("The local slopes were added up, each on its own. What is handed on is the local slope times what the "
              "note itself has got.")
def _(out):
    for note in _clean(out):
        for i, slope in note.inputs:
            i.grad += slope


@walk.mistake("This walks from the oldest to the newest, so each note hands on before it has got anything.")
def _(out):
    for note in reversed(_clean(out)):
        for i, slope in note.inputs:
            i.grad += slope * note.grad


@walk.mistake("The local slope was forgotten: each input got what the note had, whatever the op was.")
def _(out):
    for note in _clean(out):
        for i, _ in note.inputs:
            i.grad += note.grad


@walk.mistake("This calls itself once for each step of depth, and Python allows about a thousand. A deep graph needs a "
              "list in place of the calls.")
def _(out):
    order, seen = [], set()

    def visit(note):
        if note not in seen:
            seen.add(note)
            for i, _ in note.inputs:
                visit(i)
            order.append(note)
    visit(out)
    for note in order:
        note.grad = 0.0
    out.grad = 1.0
    for note in reversed(order):
        for i, slope in note.inputs:
            i.grad += slope * note.grad


@walk.variant
def _(out):
    waits, todo = {}, [out]
    for note in todo:
        for i, _ in note.inputs:
            if i not in waits:
                todo.append(i)
            waits[i] = waits.get(i, 0) + 1
    for note in todo:
        note.grad = float(note is out)
    ready = [out]
    while ready:
        note = ready.pop()
        for i, slope in note.inputs:
            i.grad = i.grad + note.grad * slope
            waits[i] -= 1
            if not waits[i]:
                ready.append(i)


@walk.variant
def _(out):
    total = {out: 1.0}
    for note in sorted(_found(out), key=lambda note: -note.when):
        note.grad = total[note]
        for i, slope in note.inputs:
            total[i] = total.get(i, 0.0) + slope * note.grad
