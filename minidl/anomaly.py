"""Where does the NaN come from? Anomaly mode stops at the op that made it, and names the user's line.

A loss that is `nan` says nothing about its cause: that lies some hundred ops back. With

    with md.autograd.detect_anomaly():
        loss = model(x).sum()
        loss.backward()

every op is looked at right after it ran, forward and backward. The first that makes a NaN or an Inf out of
numbers without any raises an AnomalyError. An infinity that is put in on purpose (a mask of -inf before a
softmax) passes, as no op made it.

When it is off, all that remains of it is one look at an empty list per op.
"""
import contextlib
import linecache
import sys

from . import backend
from .errors import AnomalyError, message
from .tensor import Tensor, mode, source, watchers


class detect_anomaly(contextlib.ContextDecorator):
    """Inside `with detect_anomaly():` the op that makes the first NaN or Inf raises an AnomalyError.

    Every number is looked at, so ops take about twice as long. Holds for the thread that switched it on.
    """

    def __init__(self):
        self.before = []

    def __enter__(self):
        self.before.append(mode.guard)
        set_detect_anomaly(True)
        return self

    def __exit__(self, *_):
        set_detect_anomaly(self.before.pop() is not None)

    def _recreate_cm(self):              # a decorated function may run in several threads at once
        return type(self)()


def set_detect_anomaly(flag):
    """Switch anomaly mode on or off for this thread."""
    if flag and mode.guard is None:
        watchers.append(check_forward)
    elif not flag and mode.guard is not None:
        watchers.remove(check_forward)
    mode.guard = Guarded if flag else None


def check_forward(op, args, meta, out):
    """Note the user's line on the Node, and raise if the op made a NaN or an Inf."""
    if mode.guard is None:               # another thread is watching
        return
    line = user_line()
    if out.node is not None:
        out.node.line = line
    if backend.of(numbers(out)).known:   # else the step was only written into a graph
        check_step(op.name, args, out, line)


def check_step(name, args, out, line):
    """Raise if a step has made a NaN or an Inf.

    Args:
        name: of its op.
        args, out: tensors, arrays or numbers.
        line: (file, line) of the user's code, or None.
    """
    inputs, out = [numbers(x) for x in args], numbers(out)
    kind = born(out, inputs)
    if kind:
        facts = [("line", spelled(line)), ("output", out.shape, counted(out)),
                 *((f"input {k}", getattr(x, "shape", ()), ranged(x)) for k, x in enumerate(inputs))]
        raise AnomalyError(message(f"{name}: {kind} came out of numbers without any.", facts,
                                   "keep its input in the range where the function is defined and finite."))


def numbers(x):
    """The array of a tensor; inside vmap that of all examples."""
    x = x.array if isinstance(x, Tensor) else x
    while hasattr(x, "value") and not backend.of(x).known:
        x = x.value
    return x


class Guarded:
    """Gradients on their way from one Node to its inputs; an unhealthy one does not pass."""

    def __init__(self, gradients, node):
        self.gradients, self.node = gradients, node

    def add(self, key, grad, fresh=False):
        """Add a contribution, if it is finite."""
        array = numbers(grad)
        kind = born(array, ()) if backend.of(array).known else None
        if kind:
            where = [k for k, x in enumerate(self.node.inputs) if source(x) is key]
            facts = [("line", spelled(getattr(self.node, "line", None))),
                     (f"gradient of input {', '.join(map(str, where))}", array.shape, counted(array))]
            raise AnomalyError(message(f"backward of {self.node.name}: {kind} came out of numbers without any.", facts,
                                       "look at the slope of this function at its input; it may be infinite there."))
        self.gradients.add(key, grad, fresh)


# ---------------------------------------------------------------------- looking at numbers
def born(out, inputs):
    """"NaN" or "Inf" if `out` has one and its kind cannot come from the inputs; None if all is well."""
    if out.dtype.kind != "f":
        return None
    for kind in ("NaN", "Inf"):
        if _has(kind, out):
            return None if any(_has(kind, x) for x in inputs) else kind
    return None


def _has(kind, x):
    """Whether an array or a number has a NaN (or an Inf) in it."""
    xp = backend.of(x).xp
    test = xp.isnan if kind == "NaN" else xp.isinf
    return bool(test(x if hasattr(x, "dtype") else float(x)).any())


def counted(array):
    """How many numbers are NaN or infinite, and where the first stands."""
    xp = backend.of(array).xp
    bad = ~xp.isfinite(array)
    first = tuple(int(k[0]) for k in xp.nonzero(bad.reshape(array.shape or (1,))))
    return f"{int(xp.isnan(array).sum())} NaN, {int(xp.isinf(array).sum())} Inf, the first at {first}"


def ranged(x):
    """The smallest and the largest number."""
    if not hasattr(x, "dtype"):
        return f"the number {x}"
    return f"from {float(x.min()):.4g} to {float(x.max()):.4g}" if x.size else "empty"


# ---------------------------------------------------------------------- looking at the caller
def user_line():
    """(file, line) of the innermost frame that is not minidl's own; None if there is none."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def spelled(line):
    """A line of the user's code for an error message: its text and where it stands."""
    if line is None:
        return "not known: the op ran before anomaly mode was on"
    file, number = line
    text = linecache.getline(file, number).strip()
    return f"{text or '?'}   ({_place(file)}, line {number})"


def _place(file):
    """The name of a file, or of a notebook's cell."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    name = shell and shell.compile.format_code_name(file)
    return " ".join(name) if name else file
