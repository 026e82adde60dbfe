"""A graph as Python source: one line a step, to be read and to be run.

    def program(x, y, w, b):
        v1 = permute(np, w, dims=(1, 0))
        v2 = matmul(np, x, v1)
        v3 = np.add(v2, b, out=v2)
        ...

Steps that are a single NumPy function are called as such, and write over memory that nobody needs any more where
plan.py found some. All others call the op's kernel, the one that the device has.
"""
import itertools
import keyword
import linecache

import numpy as np

from .. import backend
from ..kernels import in_use
from ..kernels.loops import Loop
from ..tensor import Node
from .fuse import fuse
from .ir import setting_text
from .plan import IN_PLACE, Plan
from .symbols import SOURCES, VARIABLE, Share, Size

UFUNCS = IN_PLACE | set("equal not_equal less less_equal greater greater_equal pow".split())
WORDS = frozenset("np program float min max".split())         # what a program needs for itself
programs = itertools.count(1)


class Program:
    """The compiled form of a graph.

    Attributes:
        source: the Python source.
        run: the function; it takes the values of inputs, variables and scalars, and returns the outputs and the new
            values of the updates that are not written in place.
        copied: the updates whose new value `run` returns.
        plan: the Plan of its memory.
    """

    def __init__(self, graph, device=backend.cpu):
        graph = fuse(graph).check() if in_use() == "numba" and device is backend.cpu else graph
        self.graph, self.device, self.plan = graph, device, Plan(graph).check()
        self.names = _safe(graph.names())
        self.taken = {*self.names.values(), *(text for text, *_ in open_sizes(graph))}
        self.constants, self.known = {}, {}
        self.space = {"np": device.xp}
        self.copied = [u for u in graph.updates if u.target not in self.plan.written]
        self.source = "\n".join(self._lines()) + "\n"
        self.run = self._made()

    def _made(self):
        file = f"<minidl program {next(programs)}>"
        linecache.cache[file] = len(self.source), None, self.source.splitlines(True), file     # for tracebacks
        exec(compile(self.source, file, "exec"), self.space)
        return self.space["program"]

    def _lines(self):
        graph = self.graph
        arguments = [*graph.inputs, *graph.variables, *graph.scalars]
        lines = [f"def program({', '.join(self.names[n] for n in arguments)}):"]
        lines += [f"    {text} = {self.names[node]}.shape[{axis}]" for text, node, axis in open_sizes(graph)]
        lines += [f"    # {op.name}: {op.formula}" for op in self._loops()]
        lines += [f"    {self.names[node]} = {self._call(node)}" for node in graph.steps]
        values = [self._returned(x) for x in graph.outputs]
        values += [self._new_value(u) for u in self.copied]
        return [*lines, f"    return ({', '.join(values)}{',' if len(values) == 1 else ''})"]

    def _loops(self):
        return dict.fromkeys(node.op for node in self.graph.steps if isinstance(node.op, Loop))

    def _returned(self, x):
        """An output; a copy where the caller could otherwise reach memory that is not theirs."""
        name = self._value(x, None)
        if not isinstance(x, Node):
            return f"{name}.copy()" if hasattr(x, "copy") else name
        if looks_elsewhere(x):
            return f"{name}.copy()"
        base = self.plan.viewed[x]
        shared = [y for y in self.graph.outputs if isinstance(y, Node) and self.plan.viewed[y] is base]
        updated = any(isinstance(u.value, Node) and self.plan.viewed[u.value] is base for u in self.graph.updates)
        return f"{name}.copy()" if base.op in SOURCES or len(shared) > 1 or updated else name

    def _new_value(self, update):
        """The new value of an update; a copy if it is the old value of something that changes, too."""
        name, is_step = self._value(update.value, None), isinstance(update.value, Node)
        base = self.plan.viewed.get(update.value) if is_step else None
        changes = base is not None and base.op is VARIABLE and any(u.target is base for u in self.graph.updates)
        return f"{name}.copy()" if changes else name

    # ------------------------------------------------------------------ one step
    def _call(self, node):
        if node.dtype is float:
            return f"float({self._ufunc(node)})"
        if node.op.name in UFUNCS and any(isinstance(x, Node) for x in node.inputs):
            return self._ufunc(node)
        kernel = self.device.kernels.get(node.name, node.op.forward)
        if isinstance(node.op, Loop):
            goal = self.plan.reuse.get(node)
            place = next((k for k, x in enumerate(node.inputs) if x is goal), None)
            kernel = node.op.fast(len(node.inputs[0].shape), place)
        name = self._named(node.name, kernel)
        parts = ["np", *(self._value(x, None) for x in node.inputs)]
        parts += [f"{key}={self._setting(key, value)}" for key, value in node.meta.items()]
        if node in self.plan.reuse:
            parts.append(f"out={self.names[self.plan.reuse[node]]}")
        return f"{name}({', '.join(parts)})"

    def _ufunc(self, node):
        parts = [self._value(x, node) for x in node.inputs]
        if node in self.plan.reuse:
            parts.append(f"out={self.names[self.plan.reuse[node]]}")
        return f"np.{node.op.ufunc}({', '.join(parts)})"

    def _setting(self, key, value):
        if isinstance(value, (int, float, str, bool, type(None), tuple, slice, type(Ellipsis))):
            return setting_text(value)
        return self._named(key, value)

    def _value(self, x, node):
        """A name for a Node or a constant; a Python number beside an array becomes an array of that dtype, once."""
        if isinstance(x, Node):
            return self.names[x]
        if isinstance(x, (Size, Share)):
            return f"({x.text})"
        if isinstance(x, (bool, int, float, np.generic)):
            return self._number(x, node)
        return self._named("const", x)

    def _number(self, x, node):
        others = [] if node is None else [y for y in node.inputs if getattr(y, "dtype", float) is not float]
        dtype = others[0].dtype if others else None
        if dtype is None or isinstance(x, bool) or (isinstance(x, float) and dtype.kind != "f") or dtype.kind == "b":
            return repr(x.item() if isinstance(x, np.generic) else x) if np.isfinite(x) else f"float('{x}')"
        key = repr(x), dtype
        if key not in self.known:
            name = f"c_{x:g}".replace("-", "minus_").replace("+", "").replace(".", "_")
            self.known[key] = self._named(name, self.device.xp.asarray(x, dtype=dtype))
        return self.known[key]

    def _named(self, name, value):
        """A name in the program's name space for an object: the same object gets the same name."""
        key = id(value)
        if key not in self.constants:
            name = name if name.isidentifier() else "kernel"
            found, k = name, 0
            while found in self.space or found in self.taken:
                k += 1
                found = f"{name}{k}"
            self.space[found] = value
            self.constants[key] = found
        return self.constants[key]


def _safe(names):
    """Names of Nodes that Python and the program itself do not use: those that do get underscores behind them."""
    safe, taken = {}, set(names.values())
    for node, name in names.items():
        while keyword.iskeyword(name) or name in WORDS or (name in taken and name != names[node]):
            name += "_"
        safe[node] = name
        taken.add(name)
    return safe


def looks_elsewhere(x):
    """Whether a Node gives memory that is a constant's, or that repeats its numbers."""
    while isinstance(x, Node) and x.op.view:
        if x.name == "expand":
            return True
        x = x.inputs[0]
    return not isinstance(x, Node)


def open_sizes(graph):
    """(text, input, axis) for each open size, at its first appearance."""
    found = {}
    for node in graph.inputs:
        for axis, n in enumerate(node.shape):
            if isinstance(n, Size):
                found.setdefault(n.text, (n.text, node, axis))
    return found.values()
