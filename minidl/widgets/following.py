"""Following a learner's function line by line, from outside: what each line computed, named, printed, or raised.

    follow(fn, lambda: fn(x))                  as it runs, with values
    follow(fn, lambda: md.compile(fn)(x))      as it is recorded, with symbols

The interpreter's own trace hook reports the lines (sys.settrace); nothing in the function or in an op is changed. The
hook that was there before is put back, also when the run is interrupted.
"""
import contextlib
import inspect
import io
import sys
import types
from dataclasses import dataclass, field

import numpy as np

from ..anomaly import born
from ..errors import ArgumentError, first_line, message
from ..func.trees import leaves
from ..graph.symbols import Symbol
from ..graph.trace import active
from ..nn.module import Module
from ..optim import Optimizer
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor, watchers
from ..viz.theme import numbers

LARGEST = 200                          # lines that are followed; a loop may be longer
OPS = 6                                # of one line that are listed
DEEP = 4                               # steps from the function to what it changes
PACKAGE = __name__.partition(".")[0]


@dataclass
class Line:
    """One line as it was executed.

    Attributes:
        number: in the file.
        rows: (kind, text): "op", "name", "grad", "print", "broken" or "error".
    """

    number: int
    rows: list = field(default_factory=list)


class Followed:
    """A run that was followed.

    Attributes:
        lines: Lines, in the order of execution.
        result: what it returned; None if it raised.
        error: what it raised, or None.
        entered: how often the function was entered.
    """

    def __init__(self):
        self.lines, self.result, self.error, self.entered, self.cut = [], None, None, 0, False


def body_of(fn):
    """The Python function whose lines are followed: for a module its `forward`.

    Raises:
        ArgumentError: it has no source in Python.
    """
    fn = type(fn).forward if isinstance(fn, Module) else inspect.unwrap(fn)
    fn = getattr(fn, "__func__", fn)
    if not hasattr(fn, "__code__"):
        raise ArgumentError(message("split_screen: this is no function written in Python.",
                                    [("got", type(fn).__name__)], "a def of your own that calls it."))
    return fn


def source_of(fn):
    """(lines of the source, number of the first).

    Raises:
        ArgumentError: the source is not to be had.
    """
    body = body_of(fn)
    try:
        lines, first = inspect.getsourcelines(body)
    except (OSError, TypeError):
        raise ArgumentError(message("split_screen: the source of this function is not to be had.",
                                    try_="define it with def, in a cell or a file.")) from None
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return [line.rstrip()[indent:] for line in lines], first


def follow(fn, call, known=None):
    """Run `call` and follow the lines of `fn` in it.

    Args:
        known: name -> tensor whose gradient and numbers are looked at after each line.

    Returns:
        a Followed. What the function raised is in it; an interrupt goes through.
    """
    run, code, known = Followed(), body_of(fn).__code__, known or {}
    look, printed = _Look(known), io.StringIO()

    def trace(frame, event, arg):
        if frame.f_code is not code:
            return None
        run.entered += 1
        look.start(frame)
        return step

    def step(frame, event, arg):
        if event == "line" and len(run.lines) >= LARGEST:
            run.cut = True
        elif event in ("line", "return"):
            _close(run, look, frame, printed)
            if event == "line":
                run.lines.append(Line(frame.f_lineno))
        return step

    before = sys.gettrace()
    watchers.append(look.op)
    try:
        with contextlib.redirect_stdout(printed):
            sys.settrace(trace)
            run.result = call()
    except Exception as error:
        run.error = error
        if run.lines:
            kind, said = type(error).__name__, first_line(error)
            run.lines[-1].rows.append(("error", kind if said == kind else f"{kind}: {said}"))
    finally:
        sys.settrace(before)
        watchers.remove(look.op)
    return run


def _close(run, look, frame, printed):
    """Give the line that has just been executed what it did."""
    rows = look.rows(frame)
    text = printed.getvalue()
    printed.seek(0)
    printed.truncate()
    rows += [("print", f"prints {line}") for line in text.splitlines()]
    if run.lines:
        run.lines[-1].rows += rows


class _Look:
    """What has happened since the last look."""

    def __init__(self, known):
        self.known, self.ops, self.names, self.broken = known, [], {}, ""
        self.state = {}

    def start(self, frame):
        """The function begins: its arguments are no news."""
        self.names, self.ops = {name: id(value) for name, value in frame.f_locals.items()}, []
        self.state = self._state()
        if active.tracer is not None and active.tracer.written is None:
            active.tracer.written = []

    def op(self, op, args, meta, out):
        """An op ran; values are spelled at once, for they may be changed in place."""
        if isinstance(out, Tensor) and type(out.array) is not Symbol and active.tracer is None:
            self.ops.append(f"{op.symbol or op.name} → {told(out)}")
            plain = [_host(a) if isinstance(a, Tensor) else a for a in args if isinstance(a, (Tensor, int, float))]
            kind = None if self.broken else born(_host(out), plain)
            if kind:
                self.broken = f"{op.name} made the first {kind}"

    def rows(self, frame):
        """(kind, text) of everything that is new."""
        ops, self.ops = self.ops, []
        written = active.tracer.written if active.tracer is not None else None
        if written:
            ops += [f"{n.op.symbol or n.op.name} → {_symbol(n.shape, n.dtype)}" for n in written]
            written.clear()
        rows = [("op", text) for text in ops[:OPS]]
        rows += [("op", f"… {len(ops) - OPS} more steps")] if len(ops) > OPS else []
        if self.broken not in ("", "told"):
            rows.append(("broken", self.broken))
            self.broken = "told"
        for name, value in frame.f_locals.items():
            if self.names.get(name) != id(value):
                rows.append(("name", f"{name} = {told(value)}"))
                self.names[name] = id(value)
        state = self._state()
        rows += [("grad", text) for name in state if state[name] != self.state[name]
                 for text in self._change(name, self.state[name], state[name])]
        self.state = state
        return rows

    def _state(self):
        return {name: (_bytes(x), None if x.grad is None else _bytes(x.grad)) for name, x in self.known.items()}

    def _change(self, name, old, new):
        x = self.known[name]
        if old[1] != new[1]:
            yield f"∂ {name} = {'None' if x.grad is None else told(x.grad)}"
        if old[0] != new[0]:
            yield f"{name} is now {told(x) if active.tracer is None else _symbol(x.shape, x.dtype)}"


def _bytes(x):
    """Something that changes when the tensor does; while a graph is recorded, when its symbol does."""
    if type(x.array) is Symbol:
        return id(x.array.node)
    if active.tracer is not None:
        captured = active.tracer.variables.get(id(x.array))
        return 0 if captured is None or captured.symbol.node is captured.start else id(captured.symbol.node)
    return hash(np.ascontiguousarray(_host(x)).tobytes())


def _host(x):
    """The numbers of a tensor, without the recorder noticing: it would think that the function had looked at them."""
    return x.array if isinstance(x.array, np.ndarray) else x.host_array()


def told(value):
    """A value as the panes show it: numbers where there are some, shapes where there are symbols.

    >>> told(3), told([1, 2])
    ('3', '[1, 2]')
    """
    if isinstance(value, Tensor):
        if type(value.array) is Symbol:
            return _symbol(value.shape, value.dtype)
        shape = f" ({', '.join(map(str, value.shape))})" if value.shape else ""
        return f"{numbers(_host(value))}{shape}"
    text = " ".join(repr(value).split()) if not isinstance(value, Module) else type(value).__name__
    return text if len(text) <= 40 else text[:39] + "…"


def _symbol(shape, dtype):
    return "a number" if dtype is float else f"symbol {dtype} ({', '.join(map(str, shape))})"


# ---------------------------------------------------------------------- what a run changes, put back
class Kept:
    """What a function reaches: modules, tensors, optimisers, lists and numbers outside of it; to be put back."""

    def __init__(self, fn, args):
        self.fn, names = fn, _reached(fn)
        found = list(_objects([fn, *leaves(args)]))
        self.modules = [x for x in found if isinstance(x, Module)]
        self.optimizers = [x for x in found if isinstance(x, Optimizer)]
        self.tensors = {}
        for module in self.modules:
            self.tensors.update([*module.named_parameters(), *module.named_buffers()])
        self.tensors.update({name: x for name, x in names.items() if isinstance(x, Tensor)})
        loose = [x for x in found if isinstance(x, Tensor)] + [
            p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        ids = {id(x) for x in self.tensors.values()}
        self.tensors.update({f"tensor {k}": x for k, x in enumerate(loose) if id(x) not in ids})
        self._tensors = [(x, x.array.copy(), x.grad, None if x.grad is None else x.grad.array.copy())
                         for x in self.tensors.values()]
        self._states = [(o, o.state_dict()) for o in self.optimizers]
        self._outside = {name: (x, list(x) if isinstance(x, list) else dict(x) if isinstance(x, dict) else x)
                         for name, x in names.items() if type(x) in (list, dict, int, float)}
        self._random = get_rng_state()

    def outside(self):
        """name -> how long a list or dict is by now, or what a number is."""
        now = _reached(self.fn)
        return {name: len(now[name]) if isinstance(now[name], (list, dict)) else now[name]
                for name in self._outside if name in now}

    def put_back(self):
        """Everything as it was when this object was made."""
        for x, array, grad, grad_array in self._tensors:
            if not np.array_equal(x.array, array, equal_nan=x.array.dtype.kind == "f"):
                x.array[...] = array
                x.mark_written("split_screen, which put it back")
            x.grad = grad
            if grad is not None:
                grad.array[...] = grad_array
        for optimizer, state in self._states:
            optimizer.load_state_dict(state)
        for name, (x, before) in self._outside.items():
            if isinstance(x, list):
                x[:] = before
            elif isinstance(x, dict):
                x.clear()
                x.update(before)
            else:
                _put(self.fn, name, before)
        set_rng_state(self._random)


def _reached(fn):
    """name -> value of the variables outside that a function uses."""
    try:
        found = inspect.getclosurevars(body_of(fn))
    except (TypeError, ValueError):
        return {}
    return {**found.globals, **found.nonlocals}


def _objects(todo):
    """What can be reached from functions and objects: through the names that a function uses, and attributes."""
    seen = {}
    for _ in range(DEEP):
        new = [x for x in todo if x is not None and id(x) not in seen]
        seen.update((id(x), x) for x in new)
        todo = []
        for x in new:
            todo.append(getattr(x, "__self__", None))
            if isinstance(x, types.FunctionType) and (x.__module__ or "").partition(".")[0] != PACKAGE:
                todo += _reached(x).values()
            elif isinstance(x, (list, tuple)):
                todo += x
            elif not isinstance(x, (types.FunctionType, types.ModuleType, type, Tensor, Module, Optimizer)):
                todo += vars(x).values() if hasattr(x, "__dict__") else ()
    return seen.values()


def _put(fn, name, value):
    body = body_of(fn)
    if name in body.__code__.co_freevars:
        body.__closure__[body.__code__.co_freevars.index(name)].cell_contents = value
    elif name in body.__globals__:
        body.__globals__[name] = value
