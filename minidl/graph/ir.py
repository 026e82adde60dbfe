"""A graph as an object: Nodes in order, what goes in, what comes out, what it changes.

The Nodes are those of the tape (tensor.py): op, inputs, settings, shape, dtype. A graph prints itself, checks itself
and runs itself, one Node after the other; passes.py makes better graphs of it, and codegen.py Python source.
"""
import functools
import math

import numpy as np

from .. import backend, pictures
from ..autograd import ancestors
from ..errors import TraceError, message
from ..tensor import Node
from .symbols import PLACEHOLDER, SCALAR, SOURCES, VARIABLE, Share, Size, inferred, new_node

EXAMPLES = (7919, 7927, 7933, 7937, 7949, 7951, 7963, 7993)       # of open sizes: primes that no network has by chance


NOTHING = {"__builtins__": {}, "min": min, "max": max}           # what the text of an open size may call


class Update:
    """What a run changes at its end: a tensor's numbers, or a Python number in a dict.

    Attributes:
        target: a VARIABLE or SCALAR Node.
        value: the Node of the new value.
    """

    __slots__ = ("target", "value")

    def __init__(self, target, value):
        self.target, self.value = target, value


class Graph:
    """A computation that is written down.

    Attributes:
        inputs: PLACEHOLDER Nodes, in the order in which a run gives their values.
        outputs: Nodes, or constants where a pass found that the value is always the same.
        updates: a list of Updates.
        draws: Nodes of random numbers; they run in the order of writing, needed or not, as they did in Python.
        history: pairs (name of the pass, graph before it).
    """

    def __init__(self, inputs, outputs, updates=(), draws=(), history=()):
        self.inputs, self.outputs, self.updates = list(inputs), list(outputs), list(updates)
        self.draws, self.history = list(draws), list(history)

    @functools.cached_property
    def nodes(self):
        """All Nodes that the outputs, updates and draws need, the oldest first."""
        roots = [*self.outputs, *(u.value for u in self.updates), *self.draws]
        found = ancestors([r for r in roots if isinstance(r, Node)])
        return list(reversed(found))

    @functools.cached_property
    def steps(self):
        """The Nodes that compute something."""
        return [node for node in self.nodes if node.op not in SOURCES]

    @functools.cached_property
    def variables(self):
        """The Nodes that read a tensor."""
        written = [u.target for u in self.updates if u.target.op is VARIABLE]
        return list(dict.fromkeys([n for n in self.nodes if n.op is VARIABLE] + written))

    @functools.cached_property
    def scalars(self):
        """The Nodes that look up a Python number."""
        written = [u.target for u in self.updates if u.target.op is SCALAR]
        return list(dict.fromkeys([n for n in self.nodes if n.op is SCALAR] + written))

    def users(self):
        """For each Node, the Nodes that take it as an input."""
        users = {node: [] for node in self.nodes}
        for node in self.nodes:
            for x in node.inputs:
                if isinstance(x, Node):
                    users[x].append(node)
        return users

    def names(self):
        """A short name for each Node: its own for inputs and variables, v1, v2, ... for what is computed."""
        names, taken = {}, {n.text for x in self.inputs for n in x.shape if isinstance(n, Size)}
        for node in [*self.inputs, *self.variables, *self.scalars]:
            name = unique(node.meta.get("name") or "w", taken)
            names[node] = name
        for k, node in enumerate(self.steps, 1):
            names[node] = unique(f"v{k}", taken)
        return names

    # ------------------------------------------------------------------ changing it
    def rewritten(self, name, rule):
        """A new graph in which `rule(node, inputs)` stands for every step.

        Args:
            name: of the pass, for the history.
            rule: gets a step and its inputs as they are in the new graph, and returns a Node or a constant;
                None keeps the step.
        """
        new = {}
        for node in self.nodes:
            inputs = tuple(new[x] if isinstance(x, Node) else x for x in node.inputs)
            out = rule(node, inputs) if node.op not in SOURCES else node
            new[node] = with_inputs(node, inputs) if out is None else out
            if isinstance(out, Node) and not hasattr(out, "line"):
                out.line = getattr(node, "line", None)
        return self if all(new[node] is node for node in new) else self.mapped(name, new)

    def mapped(self, name, new):
        """A new graph with the Nodes that a dict names in place of the old ones."""
        def at(x):
            return new.get(x, x) if isinstance(x, Node) else x
        return Graph(self.inputs, [at(x) for x in self.outputs], [Update(u.target, at(u.value)) for u in self.updates],
                     [new[d] for d in self.draws if isinstance(new[d], Node)], [*self.history, (name, self)])

    # ------------------------------------------------------------------ looking at it
    def check(self):
        """Raise unless every step follows its inputs and has the shape and dtype that its op's rules give it.

        Returns:
            the graph.

        Raises:
            TraceError: with the step that is wrong.
        """
        seen, names, allowed = set(), self.names(), set(self.inputs)
        open_examples = {e for e in EXAMPLES for x in self.inputs for n in x.shape if isinstance(n, Size) and n == e}
        for node in self.nodes:
            if node.op is PLACEHOLDER and node not in allowed:
                raise TraceError(f"graph: {names.get(node, node)} is used but is not among the inputs.")
            if any(isinstance(x, Node) and x not in seen for x in node.inputs):
                raise TraceError(f"graph: {names[node]} = {node.name} stands before one of its inputs.")
            seen.add(node)
            if node.op in SOURCES or node.dtype is float:
                continue
            found = inferred(node.op, node.inputs, node.meta)
            if found != (node.shape, node.dtype):
                raise TraceError(message(f"graph: {names[node]} = {node.name} does not have the shape or dtype that "
                                         "its inputs give it.", [("recorded", *_both(node.shape, node.dtype)),
                                                                 ("by its rules", *_both(*found))]))
            if open_examples:
                _check_sizes(node, names, open_examples)
        for u in self.updates:
            if getattr(u.value, "shape", ()) != u.target.shape:
                raise TraceError(message(f"graph: the update of {names[u.target]} has another shape.",
                                         [("variable", u.target.shape), ("new value", u.value.shape)]))
        return self

    def __repr__(self):
        names = self.names()
        lines = [f"  {names[n]:<6} = {step_text(n, names):<44} {kind_text(n)}" for n in self.steps]
        ins = ", ".join(f"{names[n]}: {kind_text(n)}" for n in self.inputs)
        reads = [f"  {names[n]:<6} : {kind_text(n)}  {'variable' if n.op is VARIABLE else 'looked up'}"
                 for n in [*self.variables, *self.scalars]]
        writes = [f"  {names[u.target]:<6} ← {value_text(u.value, names)}" for u in self.updates]
        outs = ", ".join(value_text(x, names) for x in self.outputs)
        return "\n".join([f"graph({ins})", *reads, *lines, *writes, f"  return {outs}"])

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {**pictures.of(self), "text/plain": repr(self)}


def with_inputs(node, inputs):
    """The same step on other inputs; the step itself if they are the same."""
    if all(a is b for a, b in zip(inputs, node.inputs)):
        return node
    out = new_node(node.op, inputs, node.meta, node.shape, node.dtype)
    out.line = getattr(node, "line", None)
    return out


def unique(name, taken):
    """The name as Python can use it, with a number behind it if it is taken."""
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in str(name))
    return numbered(name if name[:1].isalpha() or name[:1] == "_" else f"w{name}", taken)


def numbered(name, taken):
    """The name, with a number behind it if it is taken; taken now."""
    found, k = name, 1
    while found in taken:
        k += 1
        found = f"{name}_{k}"
    taken.add(found)
    return found


def step_text(node, names):
    """A step as a call: `conv2d(x, w, stride=(1, 1))`."""
    parts = [value_text(x, names) for x in node.inputs]
    parts += [f"{key}={setting_text(value)}" for key, value in node.meta.items()]
    return f"{node.name}({', '.join(parts)})"


def value_text(x, names):
    """A Node's name, a number, or the shape of a constant."""
    if isinstance(x, Node):
        return names[x]
    return f"const{tuple(x.shape)}" if getattr(x, "shape", ()) else repr(x.item() if hasattr(x, "item") else x)


def setting_text(value):
    """A setting as Python writes it."""
    return value.name if isinstance(value, np.dtype) else repr(value)


def kind_text(node):
    """dtype and shape: `float32 (64, 10)`."""
    return "number" if node.dtype is float else f"{node.dtype} ({', '.join(map(repr, node.shape))})"


def _both(shape, dtype):
    return str(shape), str(dtype)


def _check_sizes(node, names, open_examples):
    """Raise if an open size has become an ordinary number on its way: then it is near a multiple of the example."""
    plain = [n for n in numbers_in((node.shape, list(node.meta.values()), [getattr(x, "shape", ()) for x in node.inputs
             if not isinstance(x, Node)])) if type(n) is int and n > 7000]
    for n in plain:
        if any(min(n % e, -n % e) < 3 for e in open_examples):
            raise TraceError(message(
                f"graph: {names[node]} = {node.name} needs a size that is left open as a fixed number.",
                [("shape", node.shape)], "give that size, or compile: it makes a graph for each size that it meets."))


def numbers_in(tree):
    """All numbers in nested tuples and lists."""
    if isinstance(tree, (tuple, list)):
        return [n for part in tree for n in numbers_in(part)]
    if isinstance(tree, slice):
        return numbers_in([tree.start, tree.stop, tree.step])
    return [tree] if isinstance(tree, int) else []


# ---------------------------------------------------------------------- running it, one Node after the other
def evaluate(graph, values, on_tensors=False, watch=None):
    """The outputs and the new values of the updates, by running every step in turn: the meaning of a graph.

    Args:
        values: from the Nodes of inputs, variables and scalars to arrays and numbers.
        on_tensors: the values are tensors, and the run is to be recorded on the tape.
        watch: a function that is shown every step: watch(node, inputs, output).
    """
    values = dict(values)
    sizes = sizes_of(graph, values)
    for node in graph.steps:
        args = [values[x] if isinstance(x, Node) else _sized(x, sizes) for x in node.inputs]
        meta = {k: _sized(v, sizes) for k, v in node.meta.items()}
        out = node.op(*args, **meta) if on_tensors else node.op.run(device_of(args), args, meta)
        values[node] = float(out) if node.dtype is float else out
        if watch is not None:
            watch(node, args, out)
    def value(x):
        return values[x] if isinstance(x, Node) else x
    return [value(x) for x in graph.outputs], [value(u.value) for u in graph.updates]


def device_of(args):
    """The device that the first array among the inputs lives on."""
    return next((backend.of(a) for a in args if type(a) in backend.array_types()), backend.cpu)


def sizes_of(graph, values):
    """The true value of each open size, by its name, from the shapes of the inputs."""
    found = {}
    for node in graph.inputs:
        for declared, n in zip(node.shape, getattr(values.get(node), "shape", ())):
            if isinstance(declared, Size):
                found[declared.text] = n
    return found


def _sized(value, sizes):
    """A setting with the true sizes in it."""
    if isinstance(value, (Size, Share)):
        return eval(value.text, NOTHING, sizes)       # made of names, numbers, min, max and + - * / // % ** only
    if isinstance(value, tuple):
        return tuple(_sized(v, sizes) for v in value)
    if isinstance(value, slice):
        return slice(*(_sized(v, sizes) for v in (value.start, value.stop, value.step)))
    return value


def bytes_of(node):
    """How much memory the output of a Node takes."""
    return math.prod(node.shape) * (8 if node.dtype is float else node.dtype.itemsize)
