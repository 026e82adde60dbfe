"""md.compile: write a function down once, run the program many times.

    @md.compile
    def train_step(x, y):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

The first call records everything that happens in it: forward, backward and the optimiser's step, all in one graph.
Passes simplify the graph, and straight-line Python is made of it. Later calls with inputs of the same shapes run
that program. Where something is different that the graph relies on (a shape, a training switch, a setting), the
function is recorded anew; `train_step.explain()` tells how often and why.
"""
import functools
import inspect
import threading

import numpy as np

from .. import autograd
from ..autograd import no_grad
from ..errors import ArgumentError, TraceError, message
from ..func.batching import active as vmaps
from ..func.transforms import active as transforms
from ..func.trees import leaves, rebuilt
from ..nn.module import observers
from ..primitive import Primitive
from ..tensor import Tensor, mode, noted, wrap
from .codegen import Program
from .ir import Graph
from .memory import origin, overlapping
from .passes import optimise
from .surroundings import Surroundings
from .symbols import PLACEHOLDER, VARIABLE, Symbol, source_node
from .trace import Tracer, active, changed_setting, look_up, once, refuse

MOST_GRAPHS = 64     # that a compiled function keeps: those that were used last
ANY = object()        # in place of what a gradient was before: it does not matter to the function


def compile(fn=None, *, passes=None):
    """A function that records `fn` at its first call and runs the optimised graph from then on.

    Args:
        fn: takes and returns tensors, or trees of them; may be a module. Other arguments are part of what the graph
            relies on: another value, another graph.
        passes: the passes to run, in place of all (`md.graph.passes.PASSES`); `[]` for none.

    Returns:
        a Compiled; without `fn`, a decorator.

    Raises:
        TraceError: `fn` needs to know a value, in an `if` or `.item()`; a graph cannot.

    >>> import minidl as md
    >>> @md.compile
    ... def f(x):
    ...     return md.tanh(x) * 2 + 0
    >>> f(md.tensor([0.0, 1.0]))
    tensor([0.    , 1.5232])
    >>> print(f.source)
    def program(x):
        v1 = np.tanh(x)
        v2 = np.multiply(v1, c_2, out=v1)
        return (v2,)
    <BLANKLINE>
    """
    if fn is None:
        return lambda fn: Compiled(fn, passes)
    if not callable(fn):
        raise ArgumentError(message(f"compile: expected a function, got {type(fn).__name__}."))
    return Compiled(fn, passes)


class Compiled:
    """A function with its programs, one for each kind of call; made by `compile`."""

    def __init__(self, fn, passes=None):
        self.fn, self.passes, self.runs, self.log, self.count, self.plainly = fn, passes, [], [], 0, 0
        self._lock = threading.RLock()
        if hasattr(fn, "__name__"):
            functools.update_wrapper(self, fn)
        else:                                          # a module: what its class holds is unbound, and not for us
            functools.update_wrapper(self, type(fn), updated=())
            self.__wrapped__ = fn

    def __getattr__(self, name):
        """What a compiled module is asked for beside a call, such as `parameters()`, the module answers."""
        if name.startswith("__") or "fn" not in vars(self):
            raise AttributeError(name)
        return getattr(self.fn, name)

    def __call__(self, *args, **kwargs):
        if active.tracer is not None or vmaps.stack:   # part of another graph; or of a vmap, whose ops are batched
            return self.fn(*args, **kwargs)
        if mode.guard is not None or transforms.steps_are_needed:    # detect_anomaly, jvp, hessian look at each step
            return self.fn(*args, **kwargs)
        tree = (args, kwargs)
        given = leaves(tree)
        with self._lock:
            run, reasons = self._found(tree, given)
            if run is None:
                run = Run(self.fn, tree, given, self)
                self.count += 1
                self.log = [*self.log[-MOST_GRAPHS:], (self.count, run.described, reasons)]
            if not run.once:                           # the one that was used last stands first
                self.runs = [run, *(r for r in self.runs if r is not run)][:MOST_GRAPHS]
            if not run.is_tangled(given):
                return run(given)
            self.plainly += 1
        return self.fn(*args, **kwargs)

    def _found(self, tree, given):
        """A run whose graph fits this call, or None and what is different from each there is."""
        reasons = []
        for run in self.runs:
            reason = run.differs(tree, given)
            if not reason:
                return run, []
            reasons.append(reason)
        return None, reasons

    @property
    def graph(self):
        """The graph of the latest recording; its `history` has all the steps to it."""
        return self._latest().program.graph

    @property
    def source(self):
        """The Python source of the latest recording."""
        return self._latest().program.source

    def _latest(self):
        if not self.log:
            raise ArgumentError("compile: the function was not called yet, so there is no graph of it.")
        return self.last

    def explain(self):
        """How often the function was recorded, and why."""
        lines = [f"{getattr(self, '__name__', 'function')}: recorded {self.count} time{'s' * (self.count != 1)}"]
        if self.count > MOST_GRAPHS:
            lines.append(f"  warning: only the {MOST_GRAPHS} graphs that were used last are kept; a function that is "
                         "recorded so often is better not compiled, or given what changes as a tensor")
        if self.plainly:
            lines.append(f"  {self.plainly} call(s) ran uncompiled: an argument shared memory with something that the "
                         "function changes")
        for k, described, reasons in self.log:
            lines.append(f"  {k}. {described}")
            lines += [f"       because {r}" for r in _closest_first(reasons)[:3]]
        return "\n".join(lines)

    def __reduce__(self):
        return Compiled, (self.fn, self.passes)        # a copy, also in another process, records anew

    def __repr__(self):
        return f"<compiled {getattr(self, '__name__', 'function')}, {len(self.runs)} graph(s)>"


class Run:
    """One recording of a function: its program, and what it relies on."""

    def __init__(self, fn, tree, given, compiled):
        self.recording = mode.recording
        self.signature = _signature(tree, given)
        self._record(fn, tree, given)
        self.program = Program(optimise(self.full, compiled.passes))
        compiled.last = self
        shapes = ", ".join(f"{x.dtype} {x.shape}" for x in given if isinstance(x, Tensor))
        self.described = f"{shapes or 'no tensors'}: {len(self.full.steps)} steps, " \
                         f"{len(self.program.graph.steps)} after the passes"
        self.described += f"; for one run only: {self.once}" if self.once else ""
        self.pulls, self.untangled, self.origins = {}, [], set()
        self.passes = compiled.passes

    # ------------------------------------------------------------------ recording
    def _record(self, fn, tree, given):
        tracer, modules, names = Tracer(), {}, _names_of(fn, tree)
        self.around = Surroundings(fn)

        def observe(module):
            if active.tracer is tracer and id(module) not in modules:
                modules[id(module)] = module, module.training
                self.around.add_module(module)
        observers.append(observe)
        try:
            with tracer.at_work():
                fresh = [self._input(tracer, name, x) for name, x in zip(names, given)]
                args, kwargs = rebuilt(tree, fresh)
                self.result = fn(*args, **kwargs)
                self._check_left_behind()
                self._look_at_grads(tracer, fresh, given)
        except BaseException:
            for x, before in tracer.leaves.values():
                x.grad = before
            raise
        finally:
            observers.remove(observe)
        if any(isinstance(x, np.ndarray) for x in given):
            tracer.once = "an argument is a NumPy array, whose numbers are part of the graph"
        self.tracer = tracer
        self.kept = [x for x in given if not isinstance(x, Tensor)]       # so that no other object gets its id
        self.modules = list(modules.values())
        self.outs = [y for y in leaves(self.result) if isinstance(y, Tensor) and type(y.array) is Symbol]
        self.open = [y.node is not None and y.node.plan is not None for y in self.outs]     # backward may still come
        self.inputs = [k for k, x in enumerate(given) if isinstance(x, Tensor)]
        self.changed = [k for k, n in zip(self.inputs, tracer.inputs) if fresh[k].array.node is not n]
        extra = [g for _, g in self.new_grads] + [fresh[k] for k in self.changed]
        self.full = tracer.graph([y.array for y in [*self.outs, *extra]])
        self.once = tracer.once
        _name_variables(self.full, modules.values())
        self.leaf_inputs = [(k, fresh[k]) for k in self.inputs if given[k].requires_grad]

    def _check_left_behind(self):
        """Raise if the function has put a tensor of the graph somewhere; else, what it changes holds for one run."""
        for place in self.around.places.values():
            now = place.now()
            if isinstance(now, Tensor) and type(now.array) is Symbol:
                raise TraceError(message(
                    f"compile: the function leaves a tensor in {place.text}, and there are no numbers in it yet.",
                    [("shape", now.shape)], "return it, or change a tensor that is there already: x.copy_(y)."))
        if self.around.changed():
            once(f"the function itself changes what it reads: {self.around.changed()}")

    @staticmethod
    def _input(tracer, name, x):
        if not isinstance(x, Tensor):
            return x
        refuse([x])
        out = wrap(tracer.placeholder(x.shape, x.dtype, name))
        out.requires_grad = x.requires_grad and mode.recording
        return out

    def _look_at_grads(self, tracer, fresh, given):
        """The gradients that the function left at tensors: the program leaves them there, too.

        A gradient that was there before and was added to is updated in place. If the function looked at a gradient
        before it replaced it (backward does, to add to it), it has to be there at the next run too, or to be missing
        again. What was replaced or forgotten first does not matter.
        """
        self.new_grads, self.leaf_grads, self.cleared = [], [], []
        for x, k in [(f, k) for k, f in enumerate(fresh) if isinstance(f, Tensor) and f.requires_grad]:
            if x.grad is not None:
                self.new_grads.append((k, x.grad))
        for x, before in list(tracer.leaves.values()):
            replaced = tracer.replaced.get(id(x))      # None: nobody looked at it either
            added_to = before is not None and id(before.array) in tracer.variables
            if added_to and tracer.variables[id(before.array)].window is not None:
                once("a gradient shares its memory with another tensor")
            elif added_to:                             # whatever gradient is there at a run takes its place
                tracer.variables[id(before.array)].node.meta["leaf"] = x
            now = x._grad
            if isinstance(now, Tensor) and type(now.array) is Symbol:
                if added_to:
                    tracer.variables[id(before.array)].symbol.node = now.array.node
                else:
                    self.new_grads.append((x, now))
            elif isinstance(now, Tensor) and now is not before:            # given by hand: a tensor with numbers
                self.new_grads.append((x, wrap(tracer.variable(now).copy())))
            elif now is None and (before is not None or replaced):
                self.cleared.append(x)
            self.leaf_grads.append((x, before if replaced is False else ANY))
            x.grad = before

    # ------------------------------------------------------------------ does it fit?
    def differs(self, tree, given):
        """What is different now from when this graph was recorded; "" if nothing is."""
        signature = _signature(tree, given)
        if signature != self.signature:
            return _difference(self.signature, signature)
        if mode.recording != self.recording:
            return f"gradients are {'' if mode.recording else 'not '}recorded now"
        for module, training in self.modules:
            if module.training != training:
                return f"{type(module).__name__} is in {'training' if module.training else 'evaluation'} now"
        reason = changed_setting(self.tracer.guards) or self.around.changed()
        if reason:
            return reason
        for x, before in self.leaf_grads:
            if before is not ANY and (x.grad is None) != (before is None):
                now = "no" if x.grad is None else "a"
                return f"a tensor of shape {x.shape} has {now} gradient now; the function " \
                       "looks at it before it clears it (with zero_grad first one recording would do)"
        for node in self.program.graph.variables:
            tensor = tensor_of(node)
            if tensor.shape != node.shape or tensor.dtype != node.dtype:
                return f"a tensor has shape {tensor.shape} and {tensor.dtype} now, not {node.shape} and {node.dtype}"
        return ""

    def is_tangled(self, given):
        """Whether an argument shares memory with another argument or a variable, and one of them is changed.

        The program would have to know at which step the change is seen through the other.
        """
        written = [u.target for u in self.program.graph.updates if u.target.op is VARIABLE]
        if not written and not self.changed:
            return False
        inputs = [given[k].array for k in self.inputs]
        variables = [tensor_of(node).array for node in self.program.graph.variables]
        if len(variables) != len(self.untangled) or any(a is not b for a, b in zip(variables, self.untangled)):
            if overlapping(variables):                 # other memory than at the recording
                return True
            self.untangled, self.origins = variables, {id(origin(a)) for a in variables}
        own = [id(origin(a)) for a in inputs]
        if len(set(own)) == len(own) and self.origins.isdisjoint(own):
            return False
        return overlapping([*inputs, *variables]) is not None

    # ------------------------------------------------------------------ running
    def __call__(self, given):
        graph, program = self.program.graph, self.program
        values = [given[k].array for k in self.inputs]
        values += [tensor_of(node).array for node in graph.variables]
        values += [look_up(node.meta["owner"], node.meta["key"]) for node in graph.scalars]
        with np.errstate(all="ignore"):
            found = program.run(*values)
        count = len(graph.outputs)
        arrays = [np.asarray(a) for a in found[:count]]
        self._write(found[count:])
        outs = [wrap(a) for a in arrays[:len(self.outs)]]
        for (x, _), array in zip(self.new_grads, arrays[len(self.outs):]):
            (given[x] if isinstance(x, int) else x).grad = wrap(array)
        for k, array in zip(self.changed, arrays[count - len(self.changed):]):
            given[k].array[...] = array
            given[k].mark_written("a compiled function")
        for x in self.cleared:
            x.grad = None
        if any(self.open):
            self._connect(outs, given)
        return self._in_form(outs)

    def _write(self, values):
        for update, value in zip(self.program.copied, values):
            meta = update.target.meta
            if "tensor" in meta:
                tensor_of(update.target).array[...] = value
            elif isinstance(meta["key"], tuple):
                raise TraceError("compile: a number in a tuple cannot be changed.")
            else:
                meta["owner"][meta["key"]] = type(look_up(meta["owner"], meta["key"]))(value)
        for update in self.program.graph.updates:
            if "tensor" in update.target.meta:
                for x in (tensor_of(update.target), *update.target.meta.get("sharers", ())):
                    x.mark_written("a compiled function")

    def _in_form(self, outs):
        outs = iter(outs)
        return rebuilt(self.result, [next(outs) if isinstance(y, Tensor) and type(y.array) is Symbol else y
                                     for y in leaves(self.result)])

    # ------------------------------------------------------------------ backward from outside
    def _connect(self, outs, given):
        """Put the outputs on the tape: backward through them runs a graph of its own."""
        inside = [x for x, _ in self.tracer.leaves.values() if x.requires_grad]
        fresh = [f for _, f in self.leaf_inputs]
        targets = [*inside, *(given[k] for k, _ in self.leaf_inputs)]
        sources = tuple(x.node or x for x in targets)
        arrays = {k: given[k].array for k in self.inputs}
        for k, (y, symbolic) in enumerate(zip(outs, self.outs)):
            if not self.open[k]:
                continue

            def pull(g, node, lift, k=k):
                if lift is not None:
                    raise TraceError(message("compile: second derivatives through a compiled function are not there.",
                                             try_="put the derivative inside the compiled function."))
                program, order = self._pull_program(k, [*inside, *fresh])
                values = [arrays[j] for j in self.inputs] + [g]
                values += [tensor_of(n).array for n in program.graph.variables]
                values += [look_up(n.meta["owner"], n.meta["key"]) for n in program.graph.scalars]
                found = iter(program.run(*values))
                return tuple(next(found) if known else None for known in order)
            y.node = noted(COMPILED, list(sources), {}, _Pull(pull, len(sources)), y)
            y.requires_grad = True

    def _pull_program(self, k, leaves_):
        """The program of the gradients of output k, and for which leaves it has one."""
        if k not in self.pulls:
            if self.full.draws:
                raise TraceError(message("compile: backward outside of a compiled function that draws random numbers.",
                                         try_="call loss.backward() inside it."))
            y = self.outs[k]
            cotangent = source_node(PLACEHOLDER, y.shape, y.dtype, name="g")
            with self.tracer.at_work(), no_grad():
                found = autograd.grad([y], leaves_, [wrap(Symbol(cotangent))], retain_graph=True, allow_unused=True)
            graph = Graph([*self.full.inputs, cotangent], [f.array.node for f in found if f is not None])
            self.pulls[k] = Program(optimise(graph, self.passes)), [f is not None for f in found]
        return self.pulls[k]


def tensor_of(node):
    """The tensor that a VARIABLE stands for: one that was met, or the gradient that a leaf has by now."""
    return node.meta["leaf"].grad if "leaf" in node.meta else node.meta["tensor"]


class _Pull:
    """What a Node keeps in place of a plan: how to get its gradients."""

    kept, keep_out, pulls = (), False, ()

    def __init__(self, pull, count):
        self.joint_pulls = [(range(count), pull)]


def compiled(xp, *inputs):
    """A compiled function, as one step on the tape."""
    raise NotImplementedError("stands on the tape for a whole program")


COMPILED = Primitive(compiled)


def _names_of(fn, tree):
    """A name for each argument: that of the parameter it is given to."""
    args, kwargs = tree
    try:
        bound = inspect.signature(fn.forward if hasattr(fn, "forward") else fn).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {}
    names = {id(leaf): name for name, value in bound.items() for leaf in leaves(value)}
    return [names.get(id(x), "x") for x in leaves(tree)]


def _name_variables(graph, modules):
    """Name the variables of a graph as the modules name their parameters."""
    known = {}
    for module, _ in modules:
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            known.setdefault(id(p), name if not name[0].isdigit() else f"layer{name}")
    for node in graph.variables:
        node.meta["name"] = node.meta.get("name") or known.get(id(tensor_of(node)))


def _closest_first(reasons):
    """Why no recording fits, that of recordings for the same arguments first."""
    return sorted(reasons, key=lambda r: r.startswith("the arguments")) or ["it was the first call"]


def _signature(tree, given):
    """What a call looks like without its numbers."""
    return repr(rebuilt(tree, [_Kind(x) for x in given]))


class _Kind:
    """An argument as a graph sees it."""

    def __init__(self, x):
        self.x = x

    def __repr__(self):
        x = self.x
        if isinstance(x, Tensor):
            return f"{x.dtype} {x.shape}{' requires grad' if x.requires_grad else ''} on {x.device}"
        return repr(x) if isinstance(x, (int, float, str, bool, type(None))) else f"{type(x).__name__} {id(x)}"


def _difference(old, new):
    return f"the arguments are {_short(new)}, not {_short(old)}"


def _short(signature):
    """The arguments without the brackets around them, and without keyword arguments if there are none."""
    return signature[1:-len(", {})")] if signature.endswith(", {})") else signature
