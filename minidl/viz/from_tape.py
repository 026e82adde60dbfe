"""A tensor's tape as a GraphView: the Nodes it came from, with values, gradients, and why a gradient is missing."""
import math

import numpy as np

from ..autograd import ancestors
from ..tensor import Node, Tensor, apply, source
from .graphview import Edge, GraphView, Item
from .replay import Replay, changed
from .theme import numbers, sign_of
from .watching import line_of

# Why a gradient is not there. Never drawn as 0.
NOT_RUN = "backward has not run"
OFF_PATH = "not on a path to the loss"
DETACHED = "detached here"
NOT_WANTED = "none wanted"
CLEARED = "cleared since backward"
NOT_KEPT = "not kept after backward"
STALE = "left by an earlier backward"


def tape_view(roots, names=None, seen=None, title="tape", inputs=()):
    """The GraphView of what led to some tensors.

    Args:
        roots: tensors; where it is one that holds one number, gradients are those of that number.
        names: name -> tensor, for leaves and for what was computed.
        seen: a `watch` that covered the computation; None if nobody watched.
        inputs: tensors that are fed from outside although a gradient is asked for them.
    """
    return _Reader(roots, names or {}, seen, inputs).view(title)


def failed_view(error, names=None, seen=None, inputs=()):
    """The GraphView of what led to the op that raised `error`; None if no op is found in its traceback."""
    found = failed_op(error)
    if found is None:
        return None
    name, symbol, args = found
    tensors = [x for x in args if isinstance(x, Tensor)]
    reader = _Reader(tensors, names or {}, seen, inputs)
    reader.failed = name, symbol, args, str(error).splitlines()[0] if str(error) else ""
    view = reader.view(f"{name} raised {type(error).__name__}")
    return view.with_(note="\n".join(f"  {line}" for line in str(error).splitlines()))


def failed_op(error):
    """(name, symbol, inputs) of the op, or else of the function of minidl, that an error came from; None if neither."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    for frame in reversed(frames):
        names = frame.f_locals
        if frame.f_code is apply.__code__:
            return names["op"].name, names["op"].symbol, list(names["args"])
    for frame in frames:                               # the outermost function of ours that looked at a tensor
        if frame.f_globals.get("__name__", "").startswith("minidl.") and "self" not in frame.f_locals:
            code = frame.f_code
            given = [frame.f_locals.get(n) for n in code.co_varnames[:code.co_argcount]]
            if any(isinstance(x, Tensor) for x in given):
                return code.co_name, code.co_name, [x for x in given if isinstance(x, Tensor)]
    return None


class _Reader:
    """Goes through a tape once and writes Items and Edges."""

    def __init__(self, roots, names, seen, inputs):
        self.roots, self.seen, self.failed = list(roots), seen, None
        self.inputs = {id(x) for x in inputs}
        self.names = {}
        for name, x in names.items():
            self.names.setdefault(_key(x), name)
        start = [x.node for x in self.roots if x.node is not None]
        self.connected = list(reversed(ancestors(start)))
        leaves = {id(x): x for n in self.connected for x in n.parents() if isinstance(x, Tensor)}
        leaves |= {id(x): x for x in self.roots if x.node is None}
        self.on_path = {*self.connected, *leaves}
        self.nodes = self._with_detached(start, leaves.values(), names.values())
        self.unused = [x for x in names.values() if x.node is None and x.requires_grad and id(x) not in leaves]
        self.tensors = {x.node: x for x in [*names.values(), *self.roots] if x.node is not None}
        for node in self.nodes:
            self.tensors.update({x.node: x for x in node.inputs if isinstance(x, Tensor) and x.node is not None})
        self.items, self.edges, self.ids, self.memories = [], [], {}, {}
        self._look_back()

    @staticmethod
    def _with_detached(start, leaves, named):
        """The Nodes, and those of named tensors whose numbers went on without the tape."""
        cut = {id(x._memory) for x in leaves if x._memory is not None and not x.requires_grad}
        more = [x.node for x in named if x.node is not None and x.node.memory is not None and id(x.node.memory) in cut]
        return list(reversed(ancestors([*start, *more])))

    # ------------------------------------------------------------------ what is known of values and gradients
    def _look_back(self):
        """Find out whether backward has run from here, and compute again what it did not keep."""
        self.replay = Replay(self.nodes)
        leaves = [x for x in self._leaves() if x.requires_grad and id(x) in self.on_path]
        graded = [x for x in leaves if x.grad is not None]
        self.released = any(node.plan is None for node in self.connected)
        self.ran = self.agree = False
        if len(self.roots) == 1 and (self.released or graded):
            self.replay.differentiate(self.roots[0].node)
            again = self.replay.gradients
            self.agree = bool(graded) and all(id(x) in again and _alike(x.grad.host_array(), again[id(x)])
                                              for x in graded)
        self.ran = self.released or self.agree

    def _leaves(self):
        return {id(x): x for node in self.nodes for x in node.parents() if isinstance(x, Tensor)}.values()

    def _value(self, node):
        """The output of a Node, or None if it can no longer be known."""
        tensor = self.tensors.get(node)
        if tensor is not None and not changed(tensor, node) and tensor.node is node:
            return tensor.host_array()
        if node.out is not None and not (node.memory is not None and node.memory.written > node.serial):
            return node.out
        return self.replay.values.get(node)

    def _gradient(self, node):
        """(gradient or None, reason) of a Node."""
        tensor = self.tensors.get(node)
        if tensor is not None and tensor.grad is not None:
            return tensor.grad.host_array(), ""
        if node not in self.on_path:
            return None, OFF_PATH
        if self.agree and node in self.replay.gradients:
            return self.replay.gradients[node], ""
        return None, NOT_KEPT if self.ran else NOT_RUN

    def _leaf_gradient(self, x):
        if x.grad is not None:
            return x.grad.host_array(), "" if self.ran or id(x) not in self.on_path else STALE
        if id(x) in self.memories:
            return None, DETACHED
        if not x.requires_grad:
            return None, NOT_WANTED if id(x) not in self.inputs else ""
        if id(x) not in self.on_path:
            return None, OFF_PATH
        return None, CLEARED if self.ran else NOT_RUN

    # ------------------------------------------------------------------ writing it down
    def view(self, title):
        """The GraphView."""
        for x in self.unused:
            self._leaf(x)
        for node in self.nodes:
            self._step(node)
        for x in self.roots:
            if x.node is None and _key(x) not in self.ids:
                self._leaf(x)
        if self.failed:
            self._failure()
        return GraphView(tuple(self.items), tuple(self.edges), title=title)

    def _new(self, key, **about):
        name = f"n{len(self.items) + 1}"
        self.items.append(Item(name, **about))
        if key is not None:
            self.ids[key] = name
        return name

    def _step(self, node):
        sources = [self._origin(x) for x in node.inputs]
        value, (gradient, reason) = self._value(node), self._gradient(node)
        kept = node.plan.kept if node.plan is not None else ()
        last = len(self.roots) == 1 and self.roots[0].node is node and math.prod(node.shape) == 1
        name = self._new(
            node, kind="loss" if last and not self.failed else "view" if node.op.view else "op",
            symbol=node.op.symbol, op=node.op.name, name=self.names.get(node, node.op.name), shape=_plain(node.shape),
            dtype=str(node.dtype), **_told("value", "sign", value), **_told("gradient", "gradient_sign", gradient),
            reason=reason, line=line_of(node), scope=self.seen.scope(node.serial) if self.seen else (),
            saved=_bytes(node, kept))
        self.edges += [Edge(origin, name, k, saved=k in kept) for k, origin in enumerate(sources)]

    def _origin(self, x):
        """The id of an input; leaves and constants are written down when they are first met."""
        x = source(x)
        if isinstance(x, Node):
            return self.ids[x]
        if isinstance(x, Tensor):
            return self.ids.get(_key(x)) or self._leaf(x)
        array = np.asarray(x)
        return self._new(None, kind="constant", shape=array.shape or None,
                         dtype=str(array.dtype) if array.shape else "", **_told("value", "sign", array))

    def _leaf(self, x):
        origin = self._cut_from(x)
        gradient, reason = self._leaf_gradient(x)
        kind = "parameter" if x.requires_grad and id(x) not in self.inputs else "input"
        name = self._new(_key(x), kind=kind, name=self.names.get(_key(x), ""), shape=x.shape, dtype=str(x.dtype),
                         **_told("value", "sign", x.host_array()),
                         **_told("gradient", "gradient_sign", gradient), reason=reason)
        if origin:
            self.edges.append(Edge(origin, name, kind="cut"))
        return name

    def _cut_from(self, x):
        """The id of what a tensor without a gradient was detached from, if that is in the picture."""
        if x.requires_grad or x._memory is None:
            return None
        for key, origin in self.ids.items():
            memory = key.memory if isinstance(key, Node) else None
            if memory is x._memory:
                self.memories[id(x)] = x
                return origin
        for other in self._leaves():
            if other is not x and other.requires_grad and other._memory is x._memory:
                self.memories[id(x)] = x
                return self.ids.get(_key(other)) or self._leaf(other)
        return None

    def _failure(self):
        op, symbol, args, says = self.failed
        sources = [self._origin(x) for x in args]
        name = self._new(None, kind="failed", symbol=symbol, op=op, name=op, note=says)
        self.edges += [Edge(origin, name, k) for k, origin in enumerate(sources)]


def _key(x):
    """What a tensor goes by: the Node that made it, or itself."""
    return x.node if x.node is not None else id(x)


def _plain(shape):
    return tuple(int(n) for n in shape)


def _told(name, sign, array):
    """A value or a gradient in words, with its sign."""
    if array is None:
        return {}
    array = np.asarray(array)
    return {name: numbers(array), sign: sign_of(array)}


def _bytes(node, kept):
    """How much memory a Node keeps for backward."""
    arrays = [node.inputs[k].array for k in kept if isinstance(node.inputs[k], Tensor)]
    arrays += [node.out] if node.out is not None else []
    return sum(getattr(a, "nbytes", 0) for a in arrays)


def _alike(a, b):
    b = np.asarray(b)
    scale = float(np.abs(a[np.isfinite(a)]).max(initial=0))
    return a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-5 * scale, equal_nan=True)
