"""Passes: each makes a graph with the same values of a graph, with less to do.

    fold       steps on constants alone are run once, now
    simplify   x * 1, x + 0, --x, a permutation of a permutation, a reshape to the shape it has
    merge      steps that are the same on the same inputs become one
    join       a sum of slices put into zeros becomes one concatenation
    pool_first what can wait until after a max pooling does: it then has a quarter of the numbers to go through

What nobody needs is never part of a graph (`Graph.nodes` starts from what is asked for), so dead code needs no pass.
Random draws have no inputs and are never folded or merged. Every pass keeps the graph it started from in `history`.
"""

import numpy as np

from .. import backend, ops
from ..tensor import Node
from .ir import inferred, numbers_in, with_inputs
from .symbols import Share, Size, new_node

LARGE = 65_536          # numbers: constants that are larger are not worth keeping in memory


def optimise(graph, passes=None):
    """Run all passes until nothing changes; the graph is checked first, and after each pass that changed it."""
    graph.check()
    for _ in range(10):
        before = _outline(graph)
        for change in PASSES if passes is None else passes:
            new = change(graph)
            graph = graph if new is graph else new.check()
        if _outline(graph) == before:
            return graph
    return graph


def _outline(graph):
    """The ops of a graph and how they hang together, to see whether a pass has changed something."""
    place = {node: k for k, node in enumerate(graph.nodes)}
    return [(node.name, *(place.get(x) for x in node.inputs if isinstance(x, Node))) for node in graph.nodes]


# ---------------------------------------------------------------------- constants
def fold(graph):
    """Steps whose inputs are all known are run now."""
    def rule(node, inputs):
        numbers = [getattr(x, "size", 1) for x in inputs if not isinstance(x, Node)]
        if not inputs or len(numbers) < len(inputs) or node.dtype is float:
            return None
        if _size(node.shape) > max([LARGE // 64, *numbers]) or _is_open(node, inputs):
            return None
        device = next((backend.of(x) for x in inputs if type(x) in backend.array_types()), backend.cpu)
        return device.xp.asarray(node.op.run(device, inputs, node.meta))
    return graph.rewritten("fold", rule)


def _size(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def _is_open(node, inputs):
    """Whether a step depends on an open size."""
    numbers = numbers_in((node.shape, list(node.meta.values())))
    return any(isinstance(n, (Size, Share)) for n in [*numbers, *inputs])


# ---------------------------------------------------------------------- algebra
def simplify(graph):
    """Steps that change nothing, and pairs that undo each other, are left out."""
    def rule(node, inputs):
        found = SIMPLER[node.name](node, inputs) if node.name in SIMPLER else None
        if getattr(found, "shape", None) != node.shape or getattr(found, "dtype", None) != node.dtype:
            return None                                # it still broadcasts or converts
        return found
    return graph.rewritten("simplify", rule)


def _is(x, number):
    return not isinstance(x, (Node, Share, Size)) and getattr(x, "shape", ()) == () and x == number


def _either(number):
    def rule(node, inputs):
        x, y = inputs
        if _is(y, number) or _is_full(y, number):
            return x
        return y if (_is(x, number) or _is_full(x, number)) and isinstance(y, Node) else None
    return rule


def _is_full(x, number):
    """Whether x is a number that is repeated."""
    return _made_by(x, "expand") and _is(x.inputs[0], number)


def _right(number):
    return lambda node, inputs: inputs[0] if _is(inputs[1], number) else None


def _power(node, inputs):
    x, y = inputs
    if _is(y, 2) and isinstance(x, Node) and node.dtype == x.dtype:
        return made(ops.square, (x,), {})
    return x if _is(y, 1) else None


def _twice(name):
    """f(f(x)) is x."""
    return lambda node, inputs: inputs[0].inputs[0] if _made_by(inputs[0], name) else None


def _made_by(x, name):
    return isinstance(x, Node) and x.name == name


def _reshape(node, inputs):
    x = inputs[0]
    if isinstance(x, Node) and x.shape == node.shape:
        return x
    return made(node.op, x.inputs, node.meta) if _made_by(x, "reshape") else None


def _permute(node, inputs):
    x, dims = inputs[0], node.meta["dims"]
    if list(dims) == list(range(len(dims))):
        return x
    if _made_by(x, "permute"):
        return made(node.op, x.inputs, {"dims": tuple(x.meta["dims"][d] for d in dims)})
    return None


def _getitem(node, inputs):
    """A part of one number everywhere; one entry of zeros into which one entry was put: that one, or zeros."""
    x = inputs[0]
    if _made_by(x, "expand") and getattr(x.inputs[0], "shape", ()) == ():
        return made(x.op, x.inputs, {"shape": node.shape})
    if not _made_by(x, "unslice") or not isinstance(x.inputs[0], Node) or isinstance(x.shape[0], Size):
        return None
    wanted, there = _entry(node.meta["key"]), _entry(x.meta["key"])
    if wanted is None or there is None:
        return None
    if wanted % x.shape[0] == there % x.shape[0]:
        return x.inputs[0]
    return made(ops.expand, (np.zeros((), x.dtype),), {"shape": node.shape})


def _entry(key):
    """The whole number that a key is; None if it is something else."""
    key = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    return key if type(key) is int else None


def _same(node, inputs):
    return inputs[0]                                   # `simplify` looks whether shape and dtype are the same


def _relu(node, inputs):
    return made(ops.maximum, (inputs[0], 0), {}) if isinstance(inputs[0], Node) else None


SIMPLER = {
    "add": _either(0), "mul": _either(1), "sub": _right(0), "div": _right(1), "pow": _power, "neg": _twice("neg"),
    "logical_not": _twice("logical_not"), "reshape": _reshape, "permute": _permute, "expand": _same, "astype": _same,
    "clone": _same, "relu": _relu, "getitem": _getitem,
}


def made(op, inputs, meta):
    """A new step; its shape and dtype follow from the op's rules."""
    shape, dtype = inferred(op, inputs, meta)
    return new_node(op, tuple(inputs), meta, shape, dtype)


# ---------------------------------------------------------------------- common subexpressions
def merge(graph):
    """Steps with the same op, inputs and settings are one step."""
    known = {}

    def rule(node, inputs):
        if not inputs:
            return None                                # a draw: two draws are two
        key = node.op, tuple(map(_identity, inputs)), repr(sorted(node.meta.items())), node.dtype
        if key not in known:
            known[key] = with_inputs(node, inputs), inputs
        return known[key][0]
    return graph.rewritten("merge", rule)


def _identity(x):
    return (type(x), repr(x)) if isinstance(x, (bool, int, float)) else id(x)


# ---------------------------------------------------------------------- slices
def join(graph):
    """A sum of slices, each put into zeros of its own, becomes a concatenation if they cover one axis."""
    users = graph.users()

    def rule(node, inputs):
        if node.name != "add" or any(user.name == "add" for user in users.get(node, ())):
            return None
        parts = _slices(new_node(node.op, inputs, node.meta, node.shape, node.dtype))
        if parts is None:
            return None
        (axis,), stop = {p[0] for p in parts} if len({p[0] for p in parts}) == 1 else (None,), 0
        if axis is None:
            return None
        for _, start, end, _ in sorted(parts, key=lambda p: p[1]):
            if start != stop:
                return None
            stop = end
        if stop != node.shape[axis]:
            return None
        return made(ops.concat, [x for *_, x in sorted(parts, key=lambda p: p[1])], {"dim": axis})
    return graph.rewritten("join", rule)


def _slices(node):
    """(axis, start, stop, slice) of each term of a sum of `unslice` steps; None if it is something else."""
    if node.name == "add":
        parts = [_slices(x) if isinstance(x, Node) else None for x in node.inputs]
        return None if None in parts else [p for part in parts for p in part]
    if node.name != "unslice" or not isinstance(node.inputs[0], Node):
        return None
    key = node.meta["key"] if isinstance(node.meta["key"], tuple) else (node.meta["key"],)
    if Ellipsis in key:
        rest = len(node.shape) - (len(key) - 1)
        at = key.index(Ellipsis)
        key = (*key[:at], *[slice(None)] * rest, *key[at + 1:])
    cut = [k for k, s in enumerate(key) if s != slice(None)]
    if len(cut) != 1 or not isinstance(key[cut[0]], slice) or key[cut[0]].step not in (None, 1):
        return None
    (axis,) = cut
    if isinstance(node.shape[axis], Size):
        return None
    start, stop, _ = key[axis].indices(node.shape[axis])
    return [(axis, start, stop, node.inputs[0])]


# ---------------------------------------------------------------------- bias and ReLU after the pooling
# A bias and a ReLU keep the order of numbers, so the largest of a window may be found first: pool(relu(x + b)) is
# relu(pool(x) + b). In the gradient the mask of the ReLU goes before the unpooling in the same way, and since
# unpooling only moves numbers about, the sum that is the bias' gradient needs none of it.
def pool_first(graph):
    """Bias and ReLU before a max pooling are moved behind it, and their gradients before the unpooling."""
    def rule(node, inputs):
        return POOL_RULES[node.name](node, inputs) if node.name in POOL_RULES else None
    return graph.rewritten("pool_first", rule)


def _is_relu(x):
    return _made_by(x, "maximum") and _is(x.inputs[1], 0)


def _is_bias(x):
    """Whether x is y + b, with one b for each channel."""
    return _made_by(x, "add") and all(isinstance(y, Node) for y in x.inputs) and len(x.shape) == 4 and (
        x.inputs[0].shape == x.shape and x.inputs[1].shape == (x.shape[1], 1, 1))


def _pool(node, inputs):
    (x,) = inputs
    if _is_relu(x):
        return made(ops.maximum, (_pool(node, x.inputs[:1]) or made(node.op, x.inputs[:1], node.meta), 0), {})
    if _is_bias(x):
        return made(ops.add, (_pool(node, x.inputs[:1]) or made(node.op, x.inputs[:1], node.meta), x.inputs[1]), {})
    return None


def _bare(x):
    """What a ReLU and a bias were applied to."""
    x = x.inputs[0] if _is_relu(x) else x
    return x.inputs[0] if _is_bias(x) else x


def _unpooled(dy, x, y, meta):
    """The unpooling of what is under bias and ReLU; None if there is none of them."""
    pooled = _bare(y)
    if pooled is y or not _made_by(pooled, "max_pool2d") or pooled.inputs[0] is not _bare(x):
        return None
    return made(ops.max_pool2d_unpool, (dy, pooled.inputs[0], pooled), meta)


def _unpool(node, inputs):
    dy, x, y = inputs
    return None if _is_relu(x) else _unpooled(dy, x, y, node.meta)


def _masked(node, inputs):
    """The gradient of a ReLU under a pooling: unpool(g) * (relu(x) > 0)."""
    grad, mask = inputs
    if not (_made_by(grad, "max_pool2d_unpool") and _made_by(mask, "greater") and _is(mask.inputs[1], 0)):
        return None
    dy, x, y = grad.inputs
    if not _is_relu(x) or mask.inputs[0] is not x:
        return None
    return _unpooled(made(ops.mul, (dy, made(ops.greater, (y, 0), {})), {}), x, y, grad.meta)


def _channel_sum(node, inputs):
    (x,) = inputs
    if not _made_by(x, "max_pool2d_unpool") or node.meta["dim"] != (0, 2, 3):
        return None
    return made(node.op, x.inputs[:1], node.meta)


POOL_RULES = {"max_pool2d": _pool, "max_pool2d_unpool": _unpool, "mul": _masked, "sum": _channel_sum}
PASSES = (fold, simplify, merge, join, pool_first, merge)
