"""Branches and loops as Nodes: what an `if` and a `while` become where Python runs only once.

A Node of `cond` or `while_loop` carries the graphs of its parts as settings. What the parts use from outside becomes an
input of the Node.
"""
import math

import numpy as np

from .. import autograd, ops
from .. import functions as md
from ..autograd import enable_grad
from ..errors import GradientError, ShapeError, message
from ..tensor import Node, Tensor, apply, clock, mode, noted, watchers, wrap
from .ir import Graph, evaluate
from .symbols import PLACEHOLDER, SOURCES, Symbol, new_node, source_node
from .trace import active, graph_op


class Part:
    """A graph that a Node runs: `places` says which of the Node's inputs are the graph's."""

    def __init__(self, graph, places):
        self.graph, self.places = graph, places

    def __call__(self, values):
        """The outputs for the Node's inputs."""
        return evaluate(self.graph, {n: values[k] for n, k in zip(self.graph.inputs, self.places)})[0]

    def __repr__(self):
        return f"<{len(self.graph.steps)} steps>"


def recorded(function, arguments=()):
    """What a function records, as a Graph of its own.

    Args:
        function: returns a list of tensors.
        arguments: PLACEHOLDER Nodes that it uses.

    Returns:
        the Graph, whose inputs are `arguments` and then what was used from outside, and the tensors used from outside.
    """
    start, seen = next(clock), {}
    written = active.tracer.written if active.tracer is not None else None
    before = len(written or ())

    def watch(op, args, meta, out):
        for a in args:
            if isinstance(a, Tensor) and type(a.array) is Symbol:
                seen.setdefault(a.array.node, a)
    watchers.append(watch)
    try:
        outs = [md.clone(y if isinstance(y, Tensor) else md.as_tensor(y)) for y in function()]
    finally:
        watchers.remove(watch)
        if written is not None:
            del written[before:]                       # these Nodes belong to the part, not to the graph around it
    new = {node: node for node in arguments}
    outer = [n for n in seen if (n.serial < start or n.op in SOURCES) and n not in new]
    new.update({n: source_node(PLACEHOLDER, n.shape, n.dtype, name=f"in{k}") for k, n in enumerate(outer)})
    for node in Graph([], [y.array.node for y in outs]).nodes:
        if node not in new and node.serial > start:
            new[node] = new_node(
                node.op,
                tuple(new[x] if isinstance(x, Node) else x for x in node.inputs),
                node.meta,
                node.shape,
                node.dtype,
            )
    graph = Graph([*arguments, *(new[n] for n in outer)], [new[y.array.node] for y in outs])
    return graph, [seen[n] for n in outer]


# ---------------------------------------------------------------------- cond
@graph_op
def branch(xp, *values, then, otherwise, shape, dtype):
    """The first input is a truth value: the output of the graph `then` if it is true, else of `otherwise`."""
    return (then if bool(values[0]) else otherwise)(values)[0]


branch.dtype = "setting"


@branch.shape
def _(*values, then, otherwise, shape, dtype):
    return shape


@branch.grad("values")
def _(g, values, then, otherwise, shape, dtype):
    """The gradients of all inputs, laid end to end as the output of one more branch."""
    places = [k for k, v in enumerate(values) if k and v.dtype.kind == "f"]
    if not places:
        return (None,) * len(values)
    parts = [_pulled(part, values, g, places) for part in (then, otherwise)]
    sizes = [math.prod(values[k].shape) for k in places]
    flat = branch(*values, g, then=parts[0], otherwise=parts[1], shape=(sum(sizes),), dtype=np.dtype(g.dtype))
    found, start = dict.fromkeys(range(len(values))), 0
    for k, size in zip(places, sizes):
        piece = ops.reshape(flat[start:start + size], shape=values[k].shape)
        found[k], start = ops.astype(piece, dtype=np.dtype(values[k].dtype)), start + size
    return tuple(found.values())


def _pulled(part, values, g, places):
    """The Part that gives the gradients of the inputs in `places`, in a row."""
    inputs = [source_node(PLACEHOLDER, v.shape, v.dtype, name=f"in{k}") for k, v in enumerate([*values, g])]
    tensors = [wrap(Symbol(n)) for n in inputs]

    def function():
        with enable_grad():
            for k in places:
                tensors[k].requires_grad = True
            (y,) = evaluate(
                part.graph, {n: tensors[k] for n, k in zip(part.graph.inputs, part.places)}, on_tensors=True
            )[0]
            wanted = [tensors[k] for k in places]
            found = (
                autograd.grad(y, wanted, tensors[-1], allow_unused=True) if y.requires_grad else [None] * len(wanted)
            )
        rows = [md.zeros_like(x) if f is None else f for f, x in zip(found, wanted)]
        return [md.cat([md.reshape(r, (-1,)).to(g.dtype) for r in rows])]
    graph, _ = recorded(function, inputs)
    return Part(graph, tuple(range(len(inputs))))


def cond(pred, true_fn, false_fn):
    """One of two parts of the graph, chosen in each run; only that part runs.

    Args:
        pred: a tensor with one truth value.
        true_fn, false_fn: functions without arguments, each of which returns a tensor of the same shape and dtype.

    Returns:
        a tensor; gradients flow through the part that ran.

    Raises:
        ShapeError: the two parts give different shapes or dtypes.
    """
    graphs, used = zip(*[recorded(lambda fn=fn: [fn()]) for fn in (true_fn, false_fn)])
    kinds = [(g.outputs[0].shape, g.outputs[0].dtype) for g in graphs]
    if kinds[0] != kinds[1]:
        raise ShapeError(message("cond: both parts must give the same shape and dtype.",
                                 [("true", *map(str, kinds[0])), ("false", *map(str, kinds[1]))]))
    captured = list({x.array.node: x for tensors in used for x in tensors}.values())
    place = {x.array.node: k for k, x in enumerate(captured, 1)}
    parts = [Part(g, tuple(place[x.array.node] for x in tensors)) for g, tensors in zip(graphs, used)]
    meta = dict(then=parts[0], otherwise=parts[1], shape=kinds[0][0], dtype=kinds[0][1])
    return apply(branch, (pred, *captured), meta)


# ---------------------------------------------------------------------- while
@graph_op
def loop(xp, *values, test, body, count):
    """The first `count` inputs change: `body` makes new ones as long as `test` is true. Gives them as a tuple."""
    state, rest = [np.array(v) for v in values[:count]], values[count:]        # without a turn it would be the input's
    while bool(test([*state, *rest])[0]):
        state = body([*state, *rest])
    return tuple(state)


loop.dtype = "object"


@loop.shape
def _(*values, test, body, count):
    return ()


@loop.grad("values")
def _(g):
    raise GradientError(message("while_loop: how often the loop will run is not known when the graph is written, so "
                                "its gradient cannot be.",
                                try_="a Python loop of fixed length, or nn.RNN and nn.LSTM."))


@graph_op
def pick(xp, state, *, k, shape, dtype):
    """One of the values that a loop ended with."""
    return state[k]


pick.dtype = "setting"


@pick.shape
def _(state, *, k, shape, dtype):
    return shape


@pick.grad("state")
def _(g):
    return g


def while_loop(cond, body, loop_vars):
    """Repeat a part of the graph as long as a condition holds.

    Args:
        cond: a function of the loop variables that returns a tensor with one truth value.
        body: a function of the loop variables that returns their new values, of the same shapes and dtypes.
        loop_vars: tensors to start from.

    Returns:
        the last values, a list.

    Raises:
        ShapeError: the body changes a shape or dtype.
        GradientError: when its gradient is asked for.
    """
    loop_vars = [md.as_tensor(x) for x in loop_vars]
    inputs = [source_node(PLACEHOLDER, x.shape, x.dtype, name=f"v{k}") for k, x in enumerate(loop_vars)]

    def arguments():
        return [wrap(Symbol(n)) for n in inputs]

    def turn():
        found = body(*arguments())
        return list(found) if isinstance(found, (list, tuple)) else [found]
    graphs, used = zip(*[recorded(f, inputs) for f in (lambda: [cond(*arguments())], turn)])
    for old, new in zip(inputs, graphs[1].outputs, strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ShapeError(message("while_loop: the body must give the shapes and dtypes that it got.",
                                     [("got", old.shape, old.dtype), ("gave", new.shape, new.dtype)]))
    captured = list({x.array.node: x for tensors in used for x in tensors}.values())
    place = {x.array.node: k for k, x in enumerate(captured, len(inputs))}
    own = tuple(range(len(inputs)))
    parts = [Part(g, own + tuple(place[x.array.node] for x in tensors)) for g, tensors in zip(graphs, used)]
    tensors = (*loop_vars, *captured)
    state = apply(loop, tensors, dict(test=parts[0], body=parts[1], count=len(inputs)))
    outs = [apply(pick, (state,), dict(k=k, shape=n.shape, dtype=n.dtype)) for k, n in enumerate(inputs)]
    wanted = sum(1 << k for k, x in enumerate(tensors) if x.requires_grad)
    for out in outs if wanted and mode.recording else []:                  # who asks for a gradient shall be told
        if out.dtype.kind == "f":
            plan = loop.plans[1 << len(tensors) | wanted]
            out.node = noted(loop, [x.node or x for x in tensors], {}, plan, out)
            out.requires_grad = True
    return outs
