"""Writing a graph down: while a Tracer is at work, every op in this thread is recorded instead of run.

The Tracer puts itself in the place of the CPU's kernel table (backend.py). Tensors that the function brings along, its
parameters for instance, become variables: they are read anew at each run, and changes in place are written back.
"""
import contextlib
import threading
import weakref

import numpy as np

from .. import backend
from ..errors import TraceError, message
from ..func.batching import BOUNDARY
from ..kernels import in_use
from ..primitive import Primitive, registry
from ..tensor import Tensor, grad_watchers, mode, noted, wrap
from .ir import Graph, Update
from .memory import WINDOW, in_a_row, overlap, root_of, window_on
from .symbols import PLACEHOLDER, PYTHON, SCALAR, VARIABLE, Scalar, Symbol, no_number, record, source_node


class _Active(threading.local):
    """The Tracer that is at work in this thread."""

    tracer = None


active = _Active()


@contextlib.contextmanager
def paused():
    """Inside the block ops run, also where they would be recorded."""
    before, active.tracer = active.tracer, None
    try:
        yield
    finally:
        active.tracer = before


class Captured:
    """A tensor with numbers that a graph uses: one from outside, or one that the recorded function made itself.

    One from outside is read anew at each run. One that the function makes begins each run with the numbers it was made
    with; if somebody holds it at the end, it gets its last numbers, too.

    Attributes:
        symbol: what it is by now.
        node: the VARIABLE that changes are written to.
        start: the Node of its numbers at the start of a run.
    """

    def __init__(self, tensor, name, born):
        self.is_born, self.fresh = born is not None, born is not None and born[1] is not None
        self.array = None if self.fresh else tensor.array                      # held: no other array may get its id
        self.tensor = _while_it_lives(tensor.array) if self.fresh else lambda: tensor
        self.node = source_node(VARIABLE, tensor.shape, tensor.dtype, tensor=None if self.fresh else tensor, name=name)
        self.start = record(registry["clone"], (born[1],), {}).node if self.fresh else self.node
        self.symbol, self.window = Symbol(self.start), None
        self.is_new_parameter = self.fresh and tensor.requires_grad

    def look_through(self, base, meta):
        """Become a window of the memory that this tensor shares with others, from the start.

        Args:
            base: the Captured of that memory.
            meta: the settings of the window.
        """
        changed, self.window = self.symbol.node is not self.start, base
        if changed:
            places = WINDOW.forward(np, np.arange(base.array.size), **meta)
            base.symbol.node = record(registry["overwrite"], (base.symbol, self.symbol, places), {}).node
        node = self.start                              # steps that read it may be there already: it stays the Node
        node.op, node.inputs, node.meta = WINDOW, (base.start,), meta
        self.symbol._node, self.symbol.view = node, (base.symbol, base.start, WINDOW, meta)

    def updates(self):
        """A list with the Update of what has changed; empty if nothing has, or nobody could see it."""
        tensor = self.tensor()
        if self.window is not None or self.symbol.node is self.start or tensor is None:
            return []
        self.node.meta["tensor"] = tensor
        return [Update(self.node, self.symbol.node)]

    def reset(self):
        """Let the symbol stand for the numbers at the start again."""
        if self.window is None and self.symbol.node is not self.start:
            self.symbol.node = self.start


def _while_it_lives(array):
    """A function that gives a tensor around an array, or None when nobody holds the array any more."""
    reference = weakref.ref(array)

    def tensor():
        array = reference()
        return None if array is None else wrap(array)
    return tensor


class Tracer:
    """What is found out while a graph is recorded.

    Attributes:
        inputs: PLACEHOLDER Nodes.
        variables: from the id of an array to what is known of it, a Captured.
        blocks: from the id of an array that owns memory which several tensors share to the Captured of that memory.
        born: for arrays of tensors that the function itself makes, from the id to the array and a copy of it, or None
            in place of the copy if somebody else may hold its memory.
        scalars: from (id of a dict, key) to (dict, key, Node, Node of the value by now).
        draws: Nodes of random numbers.
        guards: (question, answer, function that asks again): what the graph relies on.
        names: from id of an array to a name for its variable.
        leaves: from the id of a tensor whose gradient may play a part to (tensor, its `.grad` when it was met first).
        replaced: from the id of a tensor to whether its `.grad` was replaced before anybody looked at it.
        once: why the graph is good for one run only; "" if it is not.
        written: a list of all Nodes, if somebody wants one (a Builder: it can be drawn before anything is fetched).
    """

    def __init__(self, names=None):
        self.inputs, self.variables, self.scalars, self.draws, self.guards = [], {}, {}, [], []
        self.names, self.once, self.kept, self.leaves, self.born = names or {}, "", [], {}, {}
        self.replaced, self.blocks = {}, {}
        self.written = None

    # ------------------------------------------------------------------ at work
    @contextlib.contextmanager
    def at_work(self):
        """Inside the block every op of this thread is recorded."""
        before = active.tracer
        _switch_on()                       # first: whatever stops it, no op of this thread is recorded without an end
        active.tracer = self
        try:
            yield self
        finally:
            active.tracer = before
            _switch_off()

    def placeholder(self, shape, dtype, name):
        """A Symbol for an input."""
        node = source_node(PLACEHOLDER, shape, np.dtype(dtype), name=name)
        self.inputs.append(node)
        return Symbol(node)

    def variable(self, tensor):
        """The Symbol for what a tensor from outside, or one that was made by the function, holds by now."""
        key, born = id(tensor.array), self.born.get(id(tensor.array))
        if key not in self.variables:
            self.variables[key] = new = Captured(tensor, self.names.get(key), born)
            if not new.fresh:
                self._share(new)
        return self.variables[key].symbol

    def _share(self, new):
        """If a tensor overlaps with one that was met before, all that look at this memory become windows of it."""
        root = root_of(new.array)
        known = [c for c in list(self.variables.values()) if c is not new and not c.fresh and c.array is not None]
        if id(root) in self.blocks:
            base, windows = self.blocks[id(root)], [new]
        elif any(overlap(c.array, new.array) for c in known):
            windows = [c for c in [*known, new] if root_of(c.array) is root]
            base = self.blocks[id(root)] = Captured(wrap(in_a_row(root)), "memory", None)
            base.start.serial, base.node.meta["sharers"] = 0.5, []      # older than all others
        else:
            return
        if any(overlap(c.array, new.array) and base not in (c, c.window) for c in known if c not in windows):
            raise TraceError(message("graph: two tensors share memory that no NumPy array owns.",
                                     [("tensor", new.array.shape)], "x.clone() for one of them."))
        self.variables[id(root), "memory"] = base
        for c in windows:
            c.look_through(base, window_on(base.array, c.array))
            base.node.meta["sharers"].append(c.tensor())

    def forget(self, key):
        """The array with this id, which the function had made, is no more."""
        self.born.pop(key, None)
        self.variables.pop(key, None)

    def number(self, owner, key):
        """A Scalar for a number in a dict (or for one in a tuple there, if the key is (key, place))."""
        place = (id(owner), key)
        if place not in self.scalars:
            node = source_node(SCALAR, name=key[0] if isinstance(key, tuple) else key, owner=owner, key=key)
            self.scalars[place] = [node, Scalar(node, look_up(owner, key), self.relies_on)]
            self.kept.append(owner)
        node, scalar = self.scalars[place]
        if scalar.node is node:                        # a graph of a Session may be written on much later
            scalar.value = look_up(owner, key)
        return scalar

    def store(self, owner, key, value):
        """Note that the number in a dict has changed."""
        self.scalars[id(owner), key][1] = value

    def relies_on(self, node, question, other, answer):
        """Note that the graph holds only while a question about a setting has this answer."""
        self.guards.append((node, question, other, answer))

    # ------------------------------------------------------------------ what comes out
    def take_updates(self, symbolic):
        """The changes so far as Updates, and everything put back to stand for the old values.

        Args:
            symbolic: tensors of the graph that may have been changed as well, and the Nodes they stood for.
        """
        updates = []
        for x in list(self.variables.values()):
            updates += x.updates()
            x.reset()
        for x, node in symbolic.items():
            if x.array.node is not node:
                updates.append(Update(node, x.array.node))
                x.array.node = node
        for entry in self.scalars.values():
            node, scalar = entry
            if scalar.node is not node:
                updates.append(Update(node, scalar.node))
                entry[1] = Scalar(node, look_up(node.meta["owner"], node.meta["key"]), self.relies_on)
        return updates

    def graph(self, outputs):
        """The Graph of what was recorded."""
        updates = [u for x in list(self.variables.values()) for u in x.updates()]
        if any(x.updates() and not x.fresh for x in list(self.variables.values()) if x.is_born):
            self.once = "the function changes a tensor that it makes of an array, and whose array that is, is not known"
        updates += [Update(node, scalar.node) for node, scalar in self.scalars.values() if scalar.node is not node]
        return Graph(self.inputs, [getattr(y, "node", y) for y in outputs], updates, self.draws)


def look_up(owner, key):
    """A number in a dict, or one in a tuple there."""
    return owner[key[0]][key[1]] if isinstance(key, tuple) else owner[key]


def changed_setting(guards):
    """Which setting would be answered otherwise now than when a graph asked about it; "" if none would."""
    for node, question, other, answer in guards:
        value = look_up(node.meta["owner"], node.meta["key"]) if node.meta else None
        known = () if other is None else (other,)
        if value is None or PYTHON[question](value, *known) != answer:
            return f"the setting {node.meta.get('name')} is {value} now"
    return ""


# ---------------------------------------------------------------------- the device "graph"
OUTSIDE = {}                             # forward -> op, for ops of graphs that stand outside the registry


def graph_op(forward):
    """A Primitive that only graphs use. A decorator."""
    OUTSIDE[forward] = Primitive(forward)
    return OUTSIDE[forward]


class _Kernels:
    """A kernel table that records while a Tracer is at work in this thread, and is the ordinary one otherwise."""

    def __init__(self, ordinary):
        self.ordinary = ordinary

    def get(self, name, forward=None):
        """The kernel of the op with this name; without `forward`, what stands in the ordinary table, or None."""
        tracer = active.tracer
        if forward is None or (tracer is None and self.ordinary is not None):
            return self.ordinary.get(name, forward) if self.ordinary is not None else None
        op = registry.get(name)
        op = op if op is not None and op.forward is forward else OUTSIDE.get(forward) or _of_vmap(name, forward)

        def recorder(xp, *args, **meta):
            if meta.get("device") == symbolic.name:
                meta = {**meta, "device": "cpu"}       # draws are made where the graph runs
            out = record(op, args, meta)
            if not args and tracer is not None:
                tracer.draws.append(out.node)
            if tracer is not None and tracer.written is not None:
                tracer.written += [out.node] if isinstance(out, Symbol) else []
            return out
        return recorder

    # Who looks at the table as a whole, or changes it, means the ordinary one: another thread may be recording now.
    def __contains__(self, name):
        return name in self.ordinary

    def items(self):
        """The kernels of the ordinary table."""
        return self.ordinary.items()

    def __setitem__(self, name, kernel):
        self._to_change()[name] = kernel

    def __delitem__(self, name):
        del self._to_change()[name]

    def pop(self, name, default=None):
        """Take a kernel out of the ordinary table."""
        return self._to_change().pop(name, default)

    def update(self, kernels):
        """Put kernels into the ordinary table."""
        self._to_change().update(kernels)

    def _to_change(self):
        """The ordinary table, unless it is what this thread records that wants to change it."""
        if active.tracer is not None:
            raise TraceError(message(
                "kernels: a graph is being recorded; its steps get their kernels when all of it is there, not before.",
                [("in use", repr(in_use()))], "choose the kernels before the function is called, or around the call."))
        return self.ordinary


def _of_vmap(name, forward):
    op = BOUNDARY.get(name)
    return op if op is not None and op.forward is forward else Primitive(forward)


@Primitive
def read(xp, x):
    """A tensor from outside, as part of the graph."""
    return x


@read.grad("x")
def _(g):
    return g


def adopt(args):
    """Inputs of an op with all tensors as symbols; None if they are so already."""
    if active.tracer is None and not any(type(getattr(a, "array", a)) is Symbol for a in args):
        return None
    wanted = [isinstance(a, Tensor) and backend.of(a.array).known for a in args]
    if not any(wanted):
        return None
    return [_adopted(a) if mine else a for a, mine in zip(args, wanted)]


def refuse(args):
    """Raise if a graph is being recorded: what runs on another device than the CPU would not be a part of it.

    Raises:
        TraceError: a tensor of another device.
    """
    found = [a for a in args if isinstance(a, Tensor) and backend.of(a.array) in backend.elsewhere()]
    if active.tracer is not None and found:
        raise TraceError(message("graph: a tensor lives on another device; what is compiled runs on the CPU so far.",
                                 [("tensor", found[0].shape, found[0].device)],
                                 "move it with .to('cpu'), or call the function without md.compile on a GPU."))


def _adopted(x):
    refuse([x])
    tracer = active.tracer
    if tracer is None:
        raise TraceError(message("graph: a symbol and a tensor with numbers meet, and no graph is being recorded.",
                                 [("tensor", x.shape)], "with graph.as_default(): ..."))
    out = wrap(tracer.variable(x))
    out._memory = x.shared_memory()
    if x.requires_grad and x.node is None:
        tracer.leaves.setdefault(id(x), (x, x._grad))
    if x.requires_grad and mode.recording:             # on the tape, a step that leads back to the tensor itself
        out.node = noted(read, [x.node or x], {}, read.plans[0b11], out)
        out.requires_grad = True
    return out


def once(reason):
    """What is recorded holds for this run only: it has numbers in it that Python looked at or drew."""
    if active.tracer is not None:
        active.tracer.once = reason


def met(tensor, changes):
    """Somebody looks at the gradient of a tensor, or changes it: note what it was before the function."""
    tracer = active.tracer
    if tracer is not None and type(tensor.array) is np.ndarray:
        tracer.leaves.setdefault(id(tensor), (tensor, tensor._grad))
        tracer.replaced.setdefault(id(tensor), changes)


def born(tensor, fresh=False):
    """A tensor was made around an array; `fresh`: its memory is its own, and begins each run with these numbers."""
    tracer, array = active.tracer, tensor.array
    if tracer is None or type(array) is not np.ndarray:
        return
    if fresh:                            # when nobody holds it any more, another array may get its id
        key = id(array)
        tracer.born[key] = weakref.ref(array, lambda _: tracer.forget(key)), array.copy()
    else:
        tracer.born.setdefault(id(array), (array, None))


def writable(tensor):
    """What to change in place: an array, or while a graph is recorded its Symbol."""
    return tensor.array if active.tracer is None else active.tracer.variable(tensor)


def looked_at(array):
    """The numbers of a tensor from outside, for Python; an error if they will have changed by then."""
    if active.tracer is not None:
        captured = active.tracer.variables.get(id(array))
        if captured is not None and captured.symbol.node is not captured.start:
            raise no_number(captured.symbol)
        if active.tracer.born.get(id(array), (None, None))[1] is None:
            once("Python looked at the numbers of a tensor")
    return array


ordinary_to_host = backend.cpu.to_host
_lock, _tracing = threading.Lock(), []


def _switch_on():
    with _lock:
        others, cpu = backend.elsewhere(), backend.cpu
        _tracing.append(1)
        if len(_tracing) == 1:
            cpu.kernels, cpu.adopt, cpu.to_host = _Kernels(cpu.kernels), adopt, looked_at
            for device in others:
                device.adopt = refuse
            grad_watchers.append(met)
            cpu.once, cpu.born, cpu.writable = once, born, writable


def _switch_off():
    with _lock:
        _tracing.pop()
        if not _tracing:
            cpu = backend.cpu
            for device in backend.elsewhere():
                device.adopt = None
            grad_watchers.remove(met)
            cpu.kernels, cpu.adopt, cpu.to_host = cpu.kernels.ordinary, None, ordinary_to_host
            del cpu.once, cpu.born, cpu.writable           # the methods of the class again


class _Module:
    """`xp` on symbols: NumPy's spelling of the ops; constants are plain arrays."""

    def __getattr__(self, name):
        op = BY_UFUNC.get(name)
        if op is None:
            return getattr(np, name)

        def function(*args, out=None):
            new = op(*args)
            if out is None:
                return new
            out[...] = new
            return out
        return function

    @staticmethod
    def array(x, *_, **__):
        """Another handle on the same value."""
        return x.copy() if isinstance(x, Symbol) else np.array(x)

    @staticmethod
    def asarray(x, dtype=None):
        """x itself, or a constant."""
        return x if isinstance(x, Symbol) else np.asarray(x, dtype)

    @staticmethod
    def ones_like(x, dtype=None):
        """Ones in the shape of x."""
        return _full(x.shape, 1, dtype or x.dtype)

    @staticmethod
    def full_like(x, value):
        """One number everywhere: an array that will be a variable, such as an optimiser's buffer."""
        return np.full(x.shape, value, x.dtype)

    @staticmethod
    def zeros_like(x, dtype=None):
        """Zeros in the shape of x."""
        return _full(x.shape, 0, dtype or x.dtype)

    @staticmethod
    def zeros(shape, dtype=np.float64):
        """Zeros."""
        return _full(shape, 0, dtype)

    @staticmethod
    def ones(shape, dtype=np.float64):
        """Ones."""
        return _full(shape, 1, dtype)

    @staticmethod
    def full(shape, value, dtype=np.float64):
        """One number everywhere."""
        return _full(shape, value, dtype)


def _full(shape, value, dtype):
    """A constant: one number, expanded by an op, so that an open size stays open."""
    shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    return record(registry["expand"], (np.asarray(value, dtype),), {"shape": shape})


BY_UFUNC = {op.ufunc: op for op in registry.values() if op.ufunc}
BY_UFUNC.update(where=registry["where"], reshape=None)


def _to_host(x):
    raise no_number(x)


class GraphDevice(backend.Backend):
    """The device of symbols."""

    stays, known = True, False

    def writable(self, tensor):
        """The Symbol of a tensor, to be changed in place: the change is written back after each run."""
        if type(tensor.array) is Symbol:
            return tensor.array
        if tensor.requires_grad and active.tracer is not None:
            active.tracer.leaves.setdefault(id(tensor), (tensor, tensor._grad))
        if active.tracer is None:
            raise TraceError("graph: a tensor with numbers cannot be changed while no graph is being recorded.")
        return active.tracer.variable(tensor)

    def settings(self, owner, values):
        """Settings of which the numbers are looked up at each run, those in tuples too."""
        def looked_up(name, value):
            if isinstance(value, tuple):
                return tuple(active.tracer.number(owner, (name, k)) for k in range(len(value)))
            return active.tracer.number(owner, name) if isinstance(value, (int, float)) else value
        for name, value in owner.items():              # switches, which Python asks on its own
            if isinstance(value, (bool, str)):
                node = source_node(SCALAR, name=name, owner=owner, key=name)
                active.tracer.relies_on(node, "equal", value, True)
        return {name: looked_up(name, value) for name, value in values.items()}

    def number(self, owner, key):
        """A number that is looked up at each run."""
        return active.tracer.number(owner, key)

    def once(self, reason):
        """Why the graph is good for one run only."""
        once(reason)

    def store(self, owner, key, value):
        """Have a number changed by each run."""
        active.tracer.store(owner, key, value)


symbolic = GraphDevice("graph", _Module(), Symbol, _to_host, lambda array: array)
symbolic.kernels, symbolic.adopt = _Kernels(None), adopt
backend.register(symbolic)
