"""Watching a computation from outside: which line of the learner's code made a Node, and which module was at work.

    with watch(model) as seen:
        loss = F.cross_entropy(model(x), y)
    draw(loss, seen)

No op knows of it. The line comes from the list of watchers that every op shows itself to (tensor.py); a module's
calls are intervals of the clock that all Nodes take their serial numbers from, so a serial number tells the module.
"""
import threading

from ..anomaly import spelled, user_line
from ..nn.module import Module, observers
from ..tensor import clock, watchers


class Call:
    """One call of a module.

    Attributes:
        label: dotted name of the module, with `#2` behind it at its second call.
        module: the module.
        start, end: clock times; end is None if it raised.
    """

    __slots__ = ("end", "label", "module", "start")

    def __init__(self, label, module, start):
        self.label, self.module, self.start, self.end = label, module, start, None

    def covers(self, serial):
        """Whether something happened during this call."""
        return self.start < serial and (self.end is None or serial < self.end)


class watch:
    """A context that notes lines of code and calls of modules, in this thread.

    Args:
        model: a Module to watch with all modules in it; None for the lines of code alone.

    Attributes:
        calls: the Calls, in the order of their start.
    """

    def __init__(self, model=None):
        self.model, self.calls, self._open, self._removers = model, [], [], []
        self._names = {id(m): name for name, m in model.named_modules()} if isinstance(model, Module) else {}
        self._thread = threading.get_ident()

    def __enter__(self):
        watchers.append(self._note_line)
        if self._names:
            observers.append(self._started)
            self._removers = [m.register_forward_hook(self._ended) for m in self.model.modules()]
        return self

    def __exit__(self, *_):
        watchers.remove(self._note_line)
        if self._names:
            observers.remove(self._started)
            for remove in self._removers:
                remove()

    def _note_line(self, op, args, meta, out):
        if out.node is not None and threading.get_ident() == self._thread:
            out.node.line = user_line()

    def _started(self, module):
        if id(module) in self._names and threading.get_ident() == self._thread:
            name = self._names[id(module)] or type(module).__name__
            before = sum(call.module is module for call in self.calls)
            self.calls.append(Call(name + (f"#{before + 1}" if before else ""), module, next(clock)))
            self._open.append(self.calls[-1])

    def _ended(self, module, inputs, out):
        if self._open and threading.get_ident() == self._thread:
            while self._open[-1].module is not module:          # its caller had caught an error of these
                self._open.pop()
            self._open.pop().end = next(clock)

    def scope(self, serial):
        """The labels of the calls that a clock time lies in, the outermost first."""
        return tuple(call.label for call in self.calls if call.covers(serial))

    def modules(self):
        """From the label of a call to its module."""
        return {call.label: call.module for call in self.calls}


def line_of(node):
    """The line that made a Node, as text; "" if nobody watched."""
    line = getattr(node, "line", None)
    return spelled(line) if line else ""
