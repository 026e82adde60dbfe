"""Chains of elementwise steps as one compiled loop over the numbers.

A `Loop` is an op like any other: a forward, a shape rule, a dtype rule. Its forward takes the steps one after the
other, as NumPy does, and says what the loop means. `fast` is the same as one loop: numba compiles it from `source`,
which reads every number once and keeps what is in between in registers.

    def loop(out, a0, a1, s0):
        o, x0, x1 = out.ravel(), a0.ravel(), a1.ravel()
        y0 = f(s0)
        for k in range(x0.size):
            t0 = f(x0[k] * y0)
            t1 = f(t0 + x1[k])
            o[k] = t1
"""
import itertools
import math

import numpy as np

from ..ops.elementwise import broadcast
from ..primitive import Primitive

# How numba writes each step; a nan goes through maximum and minimum as it does in NumPy.
FORMULAS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "abs": "abs({0})",
    "square": "{0} * {0}", "sqrt": "math.sqrt({0})",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}", "minimum": "{0} if {0} <= {1} or {0} != {0} else {1}",
    "relu": "{0} if {0} > zero or {0} != {0} else zero", "where": "{1} if {0} else {2}", "astype": "{0}",
    "equal": "{0} == {1}", "not_equal": "{0} != {1}", "less": "{0} < {1}", "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "logical_and": "{0} and {1}", "logical_or": "{0} or {1}",
    "logical_not": "not {0}",
}
# NumPy computes these for many numbers at a time, a loop for one after the other: good for a few numbers only.
SLOW = {"exp": "math.exp({0})", "log": "np.log({0})", "tanh": "math.tanh({0})", "sin": "math.sin({0})",
        "cos": "math.cos({0})", "sigmoid": "one / (one + math.exp(-{0}))"}
FEW = 64
NAMES = {np.dtype("float32"): "float32", np.dtype("float64"): "float64", np.dtype("bool"): "boolean"}
counter = itertools.count(1)


class Loop(Primitive):
    """Elementwise steps as one op.

    Args:
        steps: (op, settings, inputs, dtype) of each; an input is "a0" (array), "s0" (number), "t0" (step) or constant.
        arrays: the dtypes of a0, a1, ...
        numbers: how many numbers s0, s1, ... there are.
        stacked: places of the steps whose results are stacked along a new first axis; None: the last is the result.
        formula: what it computes, for people.

    Attributes:
        source: the loop, for numba.
    """

    def __init__(self, steps, arrays, numbers, stacked, formula):
        self.steps, self.arrays, self.count, self.stacked, self.formula = steps, arrays, numbers, stacked, formula

        def forward(xp, *xs):
            return self.step_by_step(xp, xs)
        forward.__name__, forward.__doc__ = f"loop{next(counter)}", formula
        super().__init__(forward, dtype=steps[-1][3].name)
        self.shape(self._shape_of)
        self.float = next((d for d in [s[3] for s in steps] + list(arrays) if d.kind == "f"), np.dtype("float32"))
        self.source, self.compiled = self._source(), {}

    def _shape_of(self, *shapes):
        shape = broadcast(self.name, *shapes)
        return shape if self.stacked is None else (len(self.stacked), *shape)

    # ------------------------------------------------------------------ the meaning
    def step_by_step(self, xp, xs):
        """The result by NumPy."""
        n, known = len(self.arrays), {}
        known.update((f"a{k}", x) for k, x in enumerate(xs[:n]))
        known.update((f"s{k}", x) for k, x in enumerate(xs[n:]))
        with np.errstate(all="ignore"):
            for k, (op, meta, inputs, _) in enumerate(self.steps):
                args = [known[i] if isinstance(i, str) else i for i in inputs]
                known[f"t{k}"] = op.forward(xp, *args, **meta)
        if self.stacked is None:
            return known[f"t{len(self.steps) - 1}"]
        return xp.stack([known[f"t{k}"] for k in self.stacked])

    # ------------------------------------------------------------------ the loop
    def _source(self, place=None):
        """The loop's text; `place`: of the array into which the result goes.

        The loop then names that memory once. Under two names, the compiler would have to fear that a number which it
        writes is one that it has yet to read, and take one number at a time.
        """
        return "\n".join(self._lines(place)) + "\n"

    def _lines(self, place):
        arrays, numbers = [f"a{k}" for k in range(len(self.arrays))], [f"s{k}" for k in range(self.count)]
        yield f"def loop({', '.join(['out', *arrays, *numbers])}):"
        yield "    o = out.ravel()"
        yield from (f"    x{k} = o" if k == place else f"    x{k} = {a}.ravel()" for k, a in enumerate(arrays))
        yield from (f"    y{k} = f({s})" for k, s in enumerate(numbers))
        yield "    n = x0.size"
        yield "    for k in range(n):"
        yield from (f"        u{k} = x{k}[k]" for k in range(len(arrays)))
        for k, (op, _, inputs, dtype) in enumerate(self.steps):
            text = (FORMULAS.get(op.name) or SLOW[op.name]).format(*[self._text(i, op, inputs) for i in inputs])
            yield f"        t{k} = {'f' if dtype.kind == 'f' else 'bool'}({text})"
        results = self.stacked or [len(self.steps) - 1]
        yield from (f"        o[{j} * n + k] = t{k}" if j else f"        o[k] = t{k}" for j, k in enumerate(results))

    def _text(self, x, op, inputs):
        """An input in the formula; a truth value that is computed with becomes a number first."""
        if not isinstance(x, str):
            return repr(bool(x)) if isinstance(x, (bool, np.bool_)) else f"f({float(x)!r})"
        name = {"a": "u", "s": "y"}.get(x[0], x[0]) + x[1:]
        kind = {"a": lambda k: self.arrays[k], "t": lambda k: self.steps[k][3], "s": lambda k: self.float}[x[0]]
        logical = op.name.startswith("logical") or op.name == "where" and x is inputs[0]
        return f"f({name})" if kind(int(x[1:])).kind == "b" and not logical else name

    def fast(self, ndim, place=None):
        """`loop(xp, *inputs, out=None)`, compiled for C-contiguous arrays with so many axes; others are copied.

        `place`: of the array which will be `out`, too, if that is known.
        """
        if (ndim, place) not in self.compiled:
            self.compiled[ndim, place] = _wrapped(self, self._compile(ndim, place), ndim, place)
        return self.compiled[ndim, place]

    def _compile(self, ndim, place):
        import numba

        def array(dtype, n):
            return numba.types.Array(getattr(numba, NAMES[dtype]), n, "C")
        out = array(np.dtype(self.dtype), ndim + (self.stacked is not None))
        signature = numba.void(out, *[array(d, ndim) for d in self.arrays], *[numba.float64] * self.count)
        f = getattr(numba, self.float.name)
        space = {"np": np, "math": math, "f": f, "inf": math.inf, "nan": math.nan,
                 "zero": self.float.type(0), "one": self.float.type(1)}
        exec(self._source(place), space)
        return numba.njit([signature], error_model="numpy", nogil=True)(space["loop"])


def _wrapped(op, loop, ndim, place):
    """The loop with NumPy's manners: makes room for the result, and takes what is laid out differently.

    `place`: of the array that the loop reads from the room for its result; None if there is none.
    """
    n, dtype, front = len(op.arrays), np.dtype(op.dtype), () if op.stacked is None else (len(op.stacked),)
    careful = False                                   # whether some input was laid out differently before

    def call(xp, *xs, out=None):
        nonlocal careful
        if careful and not all(map(fits, xs[:n])):
            return laid_out(xs, out)
        try:
            goal = np.empty((*front, *xs[0].shape), dtype) if out is None else out
            loop(goal, *xs)
            return goal
        except TypeError:                             # numba takes a while to find that out
            careful = True
            return laid_out(xs, out)

    def fits(x):
        return x.flags.c_contiguous and x.flags.writeable

    def with_numbers(xp, *xs, out=None):
        return call(xp, *xs[:n], *map(float, xs[n:]), out=out)

    def laid_out(xs, out):
        """Turn the axes so that they follow each other in memory; what is laid out differently is copied first."""
        axes = list(range(ndim))
        if not front:                                 # the order of the first array that has one of its own
            model = next((x for x in xs[:n] if not x.flags.c_contiguous), xs[0])
            axes.sort(key=lambda axis: -model.strides[axis])
        turned = [t if fits(t) else t.copy() for t in (x.transpose(axes) for x in xs[:n])]
        goal = np.empty((*front, *turned[0].shape), dtype) if place is None else turned[place].copy()
        loop(goal, *turned, *xs[n:])
        goal = goal if front else goal.transpose(np.argsort(axes))
        if out is None:
            return goal
        out[...] = goal
        return out

    return with_numbers if op.count else call
