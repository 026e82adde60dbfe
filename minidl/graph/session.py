"""Define, then run: TensorFlow 1's way to write a program, on the same ops.

    builder = md.graph.Builder()
    with builder.as_default():
        x = md.graph.placeholder((None, 784), md.float32, "x")
        w = md.graph.Variable(md.zeros(784, 10), name="w")
        y = md.softmax(x @ w, dim=1)

    session = md.graph.Session(builder)
    session.run(md.graph.global_variables_initializer())
    session.run(y, feed_dict={x: images})

Inside the block nothing is computed: x has a shape and a dtype and no numbers. `run` takes those parts of the graph
that the fetches need, makes a program of them and runs it.
"""
import contextlib
import keyword
import threading

import numpy as np

from .. import autograd
from ..anomaly import check_step
from ..errors import ArgumentError, FeedError, ShapeError, TraceError, message
from ..func.trees import leaves, rebuilt
from ..functions import clone
from ..tensor import Node, Tensor, mode, wrap
from .codegen import WORDS, Program
from .ir import EXAMPLES, Graph, Update, evaluate, numbered
from .passes import optimise
from .symbols import SCALAR, VARIABLE, Size, Symbol, source_node
from .trace import Tracer, active, changed_setting, look_up, paused


class Builder:
    """A graph that is being written: its placeholders, variables and what was made of them.

    Attributes:
        placeholders, variables: by name.
        tracer: the Tracer that records.
    """

    def __init__(self):
        self.placeholders, self.variables, self.sources, self.tracer = {}, {}, {}, Tracer()
        self._names, self._sizes = set(), {}
        self.tracer.written = []

    @contextlib.contextmanager
    def as_default(self):
        """Inside the block, ops are written into this graph instead of run."""
        before, current.builder = current.builder, self
        try:
            with self.tracer.at_work():
                yield self
        finally:
            current.builder = before

    def open_size(self, name):
        """The Size of an axis that is left open; the same name stands for the same size everywhere."""
        if name not in self._sizes:
            if not name.isidentifier() or keyword.iskeyword(name) or name in WORDS:
                raise ArgumentError(message(f"placeholder: an open size cannot have the name {name!r}.",
                                            [("taken", ", ".join(sorted(WORDS)))], "a name of Python's, 'batch'."))
            if len(self._sizes) == len(EXAMPLES):
                raise ArgumentError(f"placeholder: more than {len(EXAMPLES)} different open sizes.")
            self._sizes[name] = Size(EXAMPLES[len(self._sizes)], name)
        return self._sizes[name]

    def origin(self, x):
        """The VARIABLE Node of a tensor that `Variable` made."""
        for name, variable in self.variables.items():
            if variable is x:
                return self.sources[name]
        raise ArgumentError(message("graph: only variables can be changed by an optimiser.", [("tensor", x.shape)]))

    def name(self, name):
        """The name, with a number behind it if another has it."""
        return numbered(str(name), self._names)


class _Current(threading.local):
    builder = None


current = _Current()


def builder_at_work():
    """The Builder whose block this is.

    Raises:
        TraceError: there is none.
    """
    if current.builder is None:
        raise TraceError(
            message("graph: no graph is being built here.", try_="with md.graph.Builder().as_default(): ...")
        )
    return current.builder


# ---------------------------------------------------------------------- what goes in
def placeholder(shape, dtype=np.float32, name="x"):
    """A tensor without numbers: each run is fed with them.

    Args:
        shape: sizes; None leaves the size of an axis open, a string leaves it open under that name. What is open under
            the same name (for None: at the same place) has the same size in every run.
        dtype: of the numbers.
        name: for feeding by name and for pictures.

    Raises:
        TraceError: no graph is being built.
    """
    builder = builder_at_work()
    sizes = tuple(builder.open_size(n if isinstance(n, str) else f"n{k}") if n is None or isinstance(n, str) else int(n)
                  for k, n in enumerate(shape))
    name = builder.name(name)
    out = wrap(builder.tracer.placeholder(sizes, dtype, name))
    builder.placeholders[name] = out
    return out


def Variable(initial_value, name="variable", trainable=True, dtype=None):
    """A tensor that keeps its numbers from run to run; each Session has numbers of its own.

    Args:
        initial_value: numbers, a tensor, or a tensor of the graph that is computed by the initialiser.
        trainable: whether gradients may be asked for it.
    """
    builder = builder_at_work()
    start = initial_value if isinstance(initial_value, Tensor) else wrap(np.asarray(
        initial_value, dtype=dtype or (np.float32 if np.asarray(initial_value).dtype.kind == "f" else None)))
    name = builder.name(name)
    node = source_node(VARIABLE, start.shape, start.dtype, name=name, initial=start)
    out = wrap(Symbol(node))
    out.requires_grad = bool(trainable) and start.dtype.kind == "f"
    builder.variables[name], builder.sources[name] = out, node
    return out


# ---------------------------------------------------------------------- what changes
class Operation:
    """Something to be done in a run, for its effect: what `assign` and `minimize` return."""

    def __init__(self, updates, name="assign"):
        self.updates, self.name = list(updates), name

    def __repr__(self):
        return f"<operation {self.name}, {len(self.updates)} update(s)>"


def assign(ref, value):
    """An Operation that gives a variable a new value at the end of the run.

    Raises:
        ShapeError: the value has another shape.
    """
    target = _node(ref)
    value = value if isinstance(value, Tensor) else wrap(np.asarray(value, dtype=target.dtype))
    if target.op is not VARIABLE:
        raise ArgumentError(message("assign: only variables can be assigned to.", [("got", target.name)]))
    if value.shape != target.shape:
        raise ShapeError(message("assign: the value has another shape.", [("variable", target.shape),
                                                                          ("value", value.shape)]))
    return Operation([Update(target, _node(value))])


def assign_add(ref, value):
    """An Operation that adds to a variable."""
    return assign(ref, ref + value)


def group(*operations):
    """Several Operations as one."""
    return Group(operations)


class Group(Operation):
    """Several Operations as one."""

    def __init__(self, operations):
        self.operations, self.name = operations, "group"

    @property
    def updates(self):
        """Those of all its Operations."""
        return [u for op in self.operations for u in op.updates]


class Minimize(Operation):
    """One step of an optimiser. It is written anew if a setting has changed that decided how it was written."""

    def __init__(self, builder, optimizer, loss):
        self.builder, self.optimizer = builder, optimizer
        self.name, self.guards = f"{type(optimizer).__name__} step", []
        params = [p for group in optimizer.param_groups for p in group["params"]]
        self.slopes = list(zip(params, gradients(loss, params)))
        self._write()

    @property
    def updates(self):
        """Those of the step as its settings are now."""
        if changed_setting(self.guards):
            self._write()
        return self._updates

    def _write(self):
        before = len(self.builder.tracer.guards)
        self._updates = written_step(self.builder, self.optimizer, self.slopes)
        self.guards = self.builder.tracer.guards[before:]


def global_variables_initializer():
    """An Operation that gives every variable of the graph its first value."""
    return Initializer()


class Initializer:
    """Gives all variables of a Session's graph their first values."""


def gradients(ys, xs, grad_ys=None):
    """The gradients of `ys` (summed up) with respect to `xs`, as tensors of the same graph.

    Args:
        ys: a tensor or several; each a single number unless `grad_ys` gives the gradients to start from.
        xs: variables, placeholders that require a gradient, parameters of modules, or tensors in between.

    Returns:
        a list of tensors; None for an x that the ys do not depend on.
    """
    with builder_at_work().tracer.at_work():
        xs = [xs] if isinstance(xs, Tensor) else list(xs)
        found = autograd.grad(ys, xs, grad_ys, retain_graph=True, create_graph=True, allow_unused=True)
        return [g if g is None or type(g.array) is Symbol else clone(g) for g in found]      # numbers become a step


def minimize(optimizer, loss):
    """An Operation that does one step of an optimiser of `md.optim` on the tensors that it was made for.

    The buffers of the optimiser become variables of the graph: they are its own tensors, and change with each run.
    Numbers such as the learning rate are looked up at each run. If one is switched on or off that the formula asks
    about (`weight_decay`, `momentum`), the step is written anew.
    """
    return Minimize(builder_at_work(), optimizer, loss)


def written_step(builder, optimizer, slopes):
    """The Updates of one step of an optimiser, as its settings are now, for pairs (parameter, gradient)."""
    tracer, params = builder.tracer, [p for p, _ in slopes]
    before = {p: (p.grad, p.shared_memory().written) for p in params}
    states, tracer.once = {p: dict(s) for p, s in optimizer.state.items()}, ""
    try:
        with tracer.at_work():
            for p, g in slopes:
                p.grad = g.detach() if g is not None else None
            optimizer.step()
            updates = tracer.take_updates({p: builder.origin(p) for p in params if type(p.array) is Symbol})
        if tracer.once:
            optimizer.state.clear()
            optimizer.state.update(states)
            raise TraceError(message(f"minimize: {tracer.once}, and a graph has only one form of a step.",
                                     try_="dampening=0, or one ordinary step before the graph is built."))
    finally:
        for p in params:
            p.grad, p.shared_memory().written = before[p]         # nothing has been changed yet
    return updates


# ---------------------------------------------------------------------- running
class Session:
    """Runs parts of a graph, and keeps the numbers of its variables.

    >>> import minidl as md
    >>> builder = md.graph.Builder()
    >>> with builder.as_default():
    ...     x = md.graph.placeholder((None,), md.float32, "x")
    ...     total = md.graph.Variable(0.0, name="total")
    ...     y = (x * x).sum()
    ...     add = md.graph.assign_add(total, y)
    ...     start = md.graph.global_variables_initializer()
    >>> session = Session(builder)
    >>> session.run(start)
    >>> session.run([y, add], feed_dict={x: [1.0, 2.0]})
    [tensor(5.), None]
    >>> session.run(total)
    tensor(5.)
    """

    def __init__(self, graph):
        self.builder, self.values, self._programs = graph, {}, {}

    def run(self, fetches, feed_dict=None):
        """Run what the fetches need, and nothing else.

        Args:
            fetches: a tensor of the graph, an Operation, or a tree (list, tuple, dict) of them.
            feed_dict: placeholders, or their names -> numbers.

        Returns:
            the tree with tensors in place of the fetches; None for an Operation.

        Raises:
            FeedError: a placeholder that is needed is missing, unknown, or fed with numbers that do not fit.
        """
        with paused():
            return self._run(fetches, feed_dict)

    def _run(self, fetches, feed_dict):
        asked = leaves(fetches)
        for fetch in asked:
            if not isinstance(fetch, (Tensor, Operation, Initializer)):
                raise ArgumentError(message("Session.run: this cannot be fetched.", [("got", repr(fetch))],
                                            "a tensor of the graph, an operation, or a list or dict of them."))
            if isinstance(fetch, Initializer):
                self._initialise()
        program = self._program([f for f in asked if not isinstance(f, Initializer)])
        fed = self._fed(program.graph, feed_dict or {})
        values = [*fed, *(self._read(n) for n in program.graph.variables), *map(_looked_up, program.graph.scalars)]
        found, changes = results(program, values)
        self._write(program, changes)
        outs = iter([wrap(np.asarray(a)) for a in found])
        return rebuilt(fetches, [next(outs) if isinstance(f, Tensor) else None for f in asked])

    # ------------------------------------------------------------------ variables
    def _initialise(self):
        for variable in self.builder.variables.values():
            node = variable.array.node
            start = node.meta["initial"]
            value = self.run(start) if type(start.array) is Symbol else start
            self.values[node] = np.array(value.array)

    def _read(self, node):
        if "tensor" in node.meta:
            return node.meta["tensor"].array
        if node not in self.values:
            raise FeedError(message(f"Session: the variable {node.meta['name']!r} has no value yet.",
                                    [("shape", node.shape)], "session.run(md.graph.global_variables_initializer())."))
        return self.values[node]

    def _write(self, program, changes):
        for update, value in changes:
            meta = update.target.meta
            if update.target.op is SCALAR:
                meta["owner"][meta["key"]] = type(meta["owner"][meta["key"]])(value)
            else:
                self._read(update.target)[...] = value
        for update in program.graph.updates:
            if "tensor" in update.target.meta:
                for x in (update.target.meta["tensor"], *update.target.meta.get("sharers", ())):
                    x.mark_written("a session")

    # ------------------------------------------------------------------ what is asked, what is fed
    def _program(self, asked):
        updates = [u for f in asked if isinstance(f, Operation) for u in f.updates]
        self._check_parameters()
        key = (*map(id, asked), *map(id, updates))
        if key not in self._programs:                  # what the ids belong to is held with the program
            outs = [_node(f) for f in asked if isinstance(f, Tensor)]
            draws = [d for d in self.builder.tracer.draws if d in set(Graph([], outs, updates).nodes)]
            needed = set(Graph([], outs, updates).nodes)
            inputs = [n for n in self.builder.tracer.inputs if n in needed]
            self._programs[key] = Program(optimise(Graph(inputs, outs, updates, draws))), asked, updates
        return self._programs[key][0]

    def _check_parameters(self):
        """Raise if a layer was made inside the block: its weights would be drawn anew in every run."""
        for x in list(self.builder.tracer.variables.values()):
            if x.is_new_parameter and x.updates():
                raise TraceError(message("Session: a parameter was made and filled inside the block, so that "
                                         "every run would fill it anew.", [("parameter", x.node.shape)],
                                         "make layers before the block, or md.graph.Variable."))

    def _fed(self, graph, feed_dict):
        given = {}
        for key, value in feed_dict.items():
            name = key if isinstance(key, str) else getattr(getattr(key, "array", None), "node", key)
            name = name.meta.get("name") if isinstance(name, Node) else name
            if name not in self.builder.placeholders:
                raise FeedError(message(f"Session.run: there is no placeholder called {name!r}.",
                                        [("known", ", ".join(self.builder.placeholders) or "none")],
                                        "feed_dict={x: numbers} with x from md.graph.placeholder, or its name."))
            given[name] = value
        sizes = {}
        return [fitted(node, given, sizes) for node in graph.inputs]


def results(program, values):
    """What a Program makes of the values of its sources.

    Under `detect_anomaly` its steps run one by one, and the first that makes a NaN or an Inf is named.

    Returns:
        the outputs, and pairs (Update, new value) of what the program has not written itself.

    Raises:
        AnomalyError: there was such a step.
    """
    graph, count = program.graph, len(program.graph.outputs)
    with np.errstate(all="ignore"):
        if mode.guard is None:
            found = program.run(*values)
            return found[:count], list(zip(program.copied, found[count:]))
        sources = [*graph.inputs, *graph.variables, *graph.scalars]
        outs, new = evaluate(graph, dict(zip(sources, values)), watch=_checked(graph.names()))
    return [np.array(y) for y in outs], [(u, np.array(v)) for u, v in zip(graph.updates, new)]


def _checked(names):
    def watch(node, args, out):
        if node.dtype is not float:
            check_step(f"{names[node]} = {node.name}", args, np.asarray(out), getattr(node, "line", None))
    return watch


def fitted(node, given, sizes):
    """The array that is fed to a placeholder, after a look whether it fits.

    Args:
        node: the PLACEHOLDER.
        given: name -> numbers.
        sizes: the open sizes that are known by now; filled in.
    """
    name = node.meta["name"]
    if name not in given:
        raise FeedError(message(f"Session.run: the placeholder {name!r} is needed, but was not fed.",
                                [("shape", _open_shape(node)), ("fed", ", ".join(given) or "nothing")],
                                f"feed_dict={{{name}: ...}}."))
    value = given[name]
    try:
        array = value.array if isinstance(value, Tensor) else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise FeedError(message(f"Session.run: {name!r} was fed with something that is no array.",
                                [("reason", error)])) from None
    if array.dtype != node.dtype:
        if not np.can_cast(array.dtype, node.dtype, "same_kind") and array.dtype.kind not in "bui":
            raise FeedError(message(f"Session.run: {name!r} was fed with another kind of number.",
                                    [("expected", node.dtype), ("fed", array.dtype)], "x.astype(...) before feeding."))
        array = array.astype(node.dtype)
    fits = len(array.shape) == len(node.shape) and all(
        n == sizes.setdefault(m.text, n) if isinstance(m, Size) else n == m for n, m in zip(array.shape, node.shape))
    if not fits:
        raise FeedError(message(f"Session.run: {name!r} was fed with another shape.",
                                [("expected", _open_shape(node)), ("fed", array.shape)],
                                "None or a name in the placeholder's shape leaves a size open."))
    return array


def _open_shape(node):
    return f"({', '.join(map(str, node.shape))})"


def _looked_up(node):
    return look_up(node.meta["owner"], node.meta["key"])


def _node(x):
    """The Node behind a tensor of the graph."""
    if not isinstance(x, Tensor):
        raise ArgumentError(message(f"graph: expected a tensor of the graph, got {type(x).__name__}."))
    if type(x.array) is Symbol:
        return x.array.node
    if active.tracer is None:
        raise ArgumentError(message("graph: this tensor is not part of a graph.", [("shape", x.shape)],
                                    "make it inside `with builder.as_default():`."))
    return active.tracer.variable(x).node
