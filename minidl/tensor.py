"""A tensor is an array that remembers where it came from.

    Tensor      an array, plus the Node that made it
    Node        one step that was taken: which op, from what, with which settings
    apply()     run an op on tensors and, if a gradient may be wanted, write the Node

Following Nodes from a loss back to its leaves *is* the computational graph: the backward pass, the
pictures, the compiler and the exporter all read this one record.

Methods such as `x.sum(dim=1)` are the functions of the same name; functions.py ties them on, in one table.
"""
import itertools
import threading
import types
import weakref

import numpy as np

from . import backend
from .errors import ArgumentError, DeviceError, DTypeError, GradientError, InplaceError, ShapeError, message
from .primitive import Recordable, shape_of

default_dtype = np.dtype(np.float32)
clock = itertools.count(1)          # one clock for all that happens: Nodes made, memory overwritten


class _Mode(threading.local):
    """Switches, of which every thread has its own.

    Attributes:
        recording: whether ops are recorded.
        guard: a function that may look at gradients on their way, `guard(gradients, node)`; None for nobody.
    """

    recording, guard = True, None


mode = _Mode()
watchers = []                       # shown every op of every thread after it ran: watch(op, args, meta, out)
grad_watchers = []                  # told of every look at a `.grad`, and of every change: watch(tensor, changes)


class Memory:
    """A block of memory that several tensors may look at, and when it last changed.

    Attributes:
        written: clock time of the last change in place.
        rerouted: clock time of the last change that the graph took part in.
        by: what made the last change, for error messages.
    """

    __slots__ = ("by", "rerouted", "written")

    def __init__(self):
        self.written, self.rerouted, self.by = 0, 0, ""


class View:
    """How a tensor that shares memory was cut out of another: `steps` of (op, settings) applied to `base`."""

    __slots__ = ("base", "seen", "steps")

    def __init__(self, base, steps):
        self.base, self.steps, self.seen = base, steps, next(clock)


class Node:
    """One step of a computation.

    Attributes:
        op: the Primitive that ran.
        inputs: one entry an input. A tensor stands here itself if a rule will ask for its value or if
            nothing made it (a leaf); otherwise only the Node that made it, so that its array can go.
        meta: the settings of the call.
        out: the output array, if a rule will ask for it.
        plan: which rules backward runs; None once the values have been freed.
        serial: clock time; sorting by it is topological order.
        shape, dtype: of the output.
        memory: set when the output's memory is shared or changed.
        hooks: functions to call on the gradient of the output.
        line: where in the user's code the step was taken, if somebody watched (see anomaly.py).
    """

    __slots__ = ("dtype", "hooks", "inputs", "line", "memory", "meta", "op", "out", "plan", "serial", "shape")

    @property
    def name(self):
        """The name of the op."""
        return self.op.name

    def parents(self):
        """For each input the Node that made it, or else the leaf tensor or the constant itself."""
        return tuple([source(x) for x in self.inputs])

    def release(self):
        """Let go of all values kept for backward; the shape of the graph stays, so that it can be drawn."""
        for k in self.plan.kept:
            self.inputs[k] = source(self.inputs[k])
        self.out = self.plan = None

    def __repr__(self):
        return f"<Node {self.serial}: {self.op.name} -> {self.shape}>"


def noted(op, inputs, meta, plan, out):
    """The Node of a step that has just made `out`."""
    node = Node()
    node.op, node.inputs, node.meta = op, inputs, meta
    node.plan, node.out, node.serial = plan, out if plan.keep_out else None, next(clock)
    node.shape, node.dtype = out.shape, out.dtype
    node.memory = node.hooks = None
    return node


def source(value):
    """The Node behind a tensor, or the value itself if nothing made it."""
    return value.node or value if isinstance(value, Tensor) else value


NUMBERS = {int, float, bool, *np.sctypeDict.values()}        # they live on any device
NO_SETTINGS = types.MappingProxyType({})


def apply(op, args, meta=NO_SETTINGS):
    """Run `op`; if an input requires a gradient and recording is on, remember the step in a Node.

    Args:
        op: a Primitive.
        args: its inputs: tensors, arrays of the same device or Python numbers.
        meta: its settings.

    Raises:
        DeviceError: the inputs live on different devices.
    """
    arrays, sources, mask, bit, kind = [], [], 0, 1, None
    for a in args:
        if isinstance(a, Tensor):
            if a.requires_grad:
                mask |= bit
            if a._view is not None and a._view.seen < a._memory.rerouted and mode.recording:
                raise _stale_view(op, a)
            sources.append(a.node or a)
            a = a.array
        else:
            sources.append(a)
        if type(a) is not kind and type(a) not in NUMBERS:
            if kind is not None:
                return _across_devices(op, args, meta, kind, type(a))
            kind = type(a)
        arrays.append(a)
        bit += bit
    device = backend.of_type(kind)
    if device.adopt is not None:
        adopted = device.adopt(args)
        if adopted is not None:
            return apply(op, adopted, meta)
    data = op.run(device, arrays, meta)
    if type(data) is not device.array_type and type(data) not in backend.array_types():
        data = device.xp.asarray(data)                # NumPy turns 0-d results into scalars
    node = None
    if mask and mode.recording and op.differentiable and data.dtype.kind == "f":
        if op.expansion is not None:
            return op.expansion(*args, **meta)
        plan = op.plans[bit | mask]
        for k in plan.kept:                           # a rule will ask for this value: keep the tensor itself
            sources[k] = args[k]
        node = noted(op, sources, meta, plan, data)
    out = wrap(data, node)
    if op.view:
        _share_memory(op, args[0], meta, out)
    if watchers:
        for watch in tuple(watchers):
            watch(op, args, meta, out)
    return out


def _across_devices(op, args, meta, kind, other):
    """Run the op on the one of two devices that takes in inputs from the other; vmap is such a device."""
    for device in map(backend.of_type, (kind, other)):
        adopted = None if device.adopt is None else device.adopt(args)
        if adopted is not None:
            return apply(op, adopted, meta)
    names = [backend.of_type(k).name if k in backend.array_types() else k.__name__ for k in (kind, other)]
    raise DeviceError(message(f"{op.name}: the inputs live on different devices.",
                              [("devices", ", ".join(names))], "move one of them with .to(device)."))


def _stale_view(op, view):
    return InplaceError(message(
        f"{op.name}: an input is a view of a tensor that {view._memory.by} has since changed in place.",
        [("view", view.shape), ("tensor", view._view.base.shape)], "take the view again after the change."))


def _share_memory(op, parent, meta, out):
    """If `out` looks at the memory of `parent`, let both know."""
    if not isinstance(parent, Tensor) or out.array.base is None:
        return
    if out.array.base is not parent.array and out.array.base is not parent.array.base:
        return                                        # the op had to copy
    out._memory = parent.shared_memory()
    base, steps = (parent._view.base, parent._view.steps) if parent._view else (parent, ())
    out._view = View(base, (*steps, (op, meta)))


def wrap(array, node=None):
    """A tensor around an array, without copying or checking."""
    t = Tensor.__new__(Tensor)
    t.array, t.node, t.requires_grad = array, node, node is not None
    t._grad = t._memory = t._view = t._hooks = None
    return t


class Tensor(Recordable):
    """A multi-dimensional array that can be differentiated.

    Args:
        array: a NumPy or CuPy array; it is shared, not copied. `md.tensor` copies.
        requires_grad: whether `backward` shall compute its gradient.

    Attributes:
        array: the NumPy or CuPy array that holds the numbers.
        node: the Node that made it; None for a leaf.
        requires_grad: whether a gradient flows to it.

    >>> x = Tensor(np.array([1.0, 2.0], dtype=np.float32), requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_grad", "_hooks", "_memory", "_view", "array", "node", "requires_grad")
    __array_ufunc__ = None          # array * tensor is the tensor's business
    __hash__ = object.__hash__      # == compares values, yet tensors are found by identity

    def __init__(self, array, requires_grad=False):
        self.array = array if type(array) in backend.array_types() else np.asarray(array)
        self._grad = self.node = self._memory = self._view = self._hooks = None
        self.requires_grad = False
        if requires_grad:
            self.requires_grad_()
        backend.of(self.array).born(self)

    def record(self, op, args, meta):
        """Run a primitive on tensors (Recordable)."""
        return apply(op, args, meta)

    # ------------------------------------------------------------------ what it is
    @property
    def grad(self):
        """The gradient as a Tensor, after `backward`; None before."""
        if grad_watchers:
            for watch in tuple(grad_watchers):
                watch(self, False)
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None and (not isinstance(value, Tensor) or value.array.shape != self.array.shape):
            raise self._no_gradient(value)
        if grad_watchers:
            for watch in tuple(grad_watchers):
                watch(self, True)
        self._grad = value

    def _no_gradient(self, value):
        """What is wrong with something that was set as the gradient."""
        if not isinstance(value, Tensor):
            return ArgumentError(message("grad: a gradient is a tensor, or None for none yet.",
                                         [("got", type(value).__name__)], "x.grad = None, or md.zeros_like(x)."))
        return ShapeError(message("grad: a gradient has the shape of its tensor.",
                                  [("tensor", self.shape), ("gradient", value.shape)]))

    @property
    def shape(self):
        """Its size along each axis, a tuple."""
        return self.array.shape

    @property
    def ndim(self):
        """How many axes it has."""
        return self.array.ndim

    @property
    def dtype(self):
        """The kind of number it holds, a NumPy dtype."""
        return self.array.dtype

    @property
    def device(self):
        """Where it lives."""
        return backend.device(backend.of(self.array).name)

    @property
    def is_leaf(self):
        """True if no recorded op made it: inputs and parameters."""
        return self.node is None

    @property
    def data(self):
        """The same numbers in the same memory, seen from outside the graph."""
        return self.detach()

    @data.setter
    def data(self, value):
        value = value if isinstance(value, Tensor) else Tensor(np.asarray(value, dtype=self.dtype))
        if backend.of(self.array).known and not backend.of(value.array).known:       # in a graph: at each run
            backend.of(value.array).writable(self)[...] = value.array
        elif value.array is not self.array:
            self.array, self._memory, self._view = value.array, value.shared_memory(), None
        self.mark_written("x.data = y")

    def size(self, dim=None):
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self):
        """How many axes it has (PyTorch's name for `ndim`)."""
        return self.array.ndim

    def numel(self):
        """How many numbers it holds."""
        return self.array.size

    def element_size(self):
        """Bytes of one number."""
        return self.array.itemsize

    def stride(self, dim=None):
        """Steps in numbers (not bytes) from one entry to the next along each axis."""
        steps = tuple(s // self.array.itemsize for s in self.array.strides)
        return steps if dim is None else steps[dim]

    def is_contiguous(self):
        """True if the numbers lie in memory in reading order."""
        return bool(self.array.flags.c_contiguous)

    def is_floating_point(self):
        """True for float32, float64 and float16."""
        return self.dtype.kind == "f"

    def __len__(self):
        if not self.shape:
            raise DTypeError("len: a tensor without axes has no length.")
        return len(self.array)

    def __iter__(self):
        if not self.shape:
            raise DTypeError("iter: a tensor without axes cannot be walked through.")
        return (self[k] for k in range(len(self.array)))

    def __repr__(self):
        text = np.array2string(self.host_array(), precision=4, separator=", ", threshold=200, prefix="tensor(")
        extras = [] if self.dtype in (default_dtype, np.dtype(np.int64), np.dtype(bool)) else [f"dtype={self.dtype}"]
        extras += [] if self.device == "cpu" else [f"device={str(self.device)!r}"]
        extras += [f"op={self.node.op.name}"] if self.node else ["requires_grad=True"] if self.requires_grad else []
        return f"tensor({', '.join([text, *extras])})"

    def __format__(self, spec):
        return format(self.item(), spec) if spec and self.numel() == 1 else format(repr(self), spec)

    # ------------------------------------------------------------------ to plain numbers
    def host_array(self):
        """The numbers as a NumPy array: the tensor's own memory on the CPU, a copy from elsewhere."""
        return backend.of(self.array).to_host(self.array)

    def numpy(self):
        """The NumPy array behind a tensor on the CPU; memory is shared.

        Raises:
            GradientError: the tensor requires a gradient; `detach()` first.
            DeviceError: it lives on another device; `cpu()` first.
        """
        if self.requires_grad:
            raise GradientError(
                message(
                    "numpy: this tensor requires a gradient, and NumPy would not record what you do.",
                    try_="x.detach().numpy().",
                )
            )
        if self.device != "cpu" and not backend.of(self.array).stays:
            raise DeviceError(message(f"numpy: this tensor lives on {self.device}.", try_="x.cpu().numpy()."))
        return self.host_array()

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self):
        """The one number in it as a Python number.

        Raises:
            ShapeError: it holds more or fewer than one.
        """
        if self.numel() != 1:
            raise ShapeError(message("item: only a tensor with exactly one number can become a Python number.",
                                     [("shape", self.shape)], "x.tolist(), or reduce it first, x.sum().item()."))
        return self.host_array().item()

    def tolist(self):
        """The numbers as nested lists."""
        return self.host_array().tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self.dtype.kind not in "iub":
            raise DTypeError(message("index: only whole numbers can be used as an index.", [("dtype", self.dtype)]))
        return int(self.item())

    def __bool__(self):
        if self.numel() != 1:
            raise ShapeError(message("bool: is a tensor of many numbers true or false? That is not clear.",
                                     [("shape", self.shape)], "x.any(), x.all() or x.numel() > 0."))
        return bool(self.item())

    # ------------------------------------------------------------------ in and out of the graph
    def requires_grad_(self, requires_grad=True):
        """Ask for (or stop asking for) the gradient of this leaf; returns the tensor.

        Raises:
            DTypeError: it holds integers or booleans, which have no derivative.
        """
        if requires_grad and self.dtype.kind != "f":
            raise DTypeError(message("requires_grad: only floating-point tensors can require gradients.",
                                     [("dtype", self.dtype)], "x.float().requires_grad_()."))
        if not requires_grad and self.node is not None:
            raise GradientError(message("requires_grad: this tensor was computed from others that require a gradient.",
                                        try_="x.detach()."))
        self.requires_grad = requires_grad
        return self

    def detach(self):
        """The same numbers in the same memory, cut off from the graph."""
        out = wrap(self.array)
        out._memory = self.shared_memory()
        return out

    def to(self, *args, dtype=None, device=None):
        """The tensor as another dtype or on another device; itself if nothing changes."""
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, backend.device) or (isinstance(arg, str) and arg.split(":")[0] in backend.names()):
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        stays = device is None or self.device == device or backend.of(self.array).stays
        out = self if stays else self._moved(backend.get(device))
        return out if dtype is None or out.dtype == np.dtype(dtype) else out.type(dtype)

    def _moved(self, target):
        if self.node is not None:
            raise GradientError(message("to: a tensor in the middle of a graph cannot change its device.",
                                        try_="move the leaves before computing, or x.detach() first."))
        return Tensor(target.from_host(self.host_array()), self.requires_grad)

    def cpu(self):
        """The tensor on the CPU."""
        return self.to("cpu")

    def cuda(self):
        """The tensor on the GPU."""
        return self.to("cuda")

    def register_hook(self, hook):
        """Call `hook(grad)` when this tensor's gradient is known; what it returns (if not None) takes its place.

        Returns a function that removes the hook again.
        """
        if not self.requires_grad:
            raise GradientError(
                "register_hook: this tensor does not require a gradient, the hook would never be called."
            )
        owner, slot = (self, "_hooks") if self.node is None else (self.node, "hooks")
        if getattr(owner, slot) is None:
            setattr(owner, slot, [])
        hooks = getattr(owner, slot)
        hooks.append(hook)
        return lambda: hooks.remove(hook) if hook in hooks else None

    def retain_grad(self):
        """Keep the gradient of this computed tensor in `.grad` too; leaves keep theirs anyway."""
        if self.node is not None:
            reference = weakref.ref(self)             # a hook that held the tensor would hold its own Node: a cycle

            def keep(grad):
                x = reference()
                if x is not None:
                    x.grad = Tensor(grad.array.copy()) if x.grad is None else x.grad + grad
            self.register_hook(keep)

    # ------------------------------------------------------------------ changes in place
    def shared_memory(self):
        """The record of who changes this tensor's memory; made when it is first shared or changed."""
        if self._memory is None:
            self._memory = Memory()
            if self.node is not None:
                self.node.memory = self._memory
        return self._memory

    def mark_written(self, by="an in-place change"):
        """Note that the memory was changed from outside, so that backward does not trust it."""
        memory = self.shared_memory()
        memory.written, memory.by = next(clock), by

    def alias(self):
        """A second handle on this value: same memory, same place in the graph."""
        out = wrap(self.array, self.node)
        out.requires_grad, out._memory, out._view = self.requires_grad, self.shared_memory(), self._view
        return out

    def become(self, new, by):
        """Take on the value and the history of `new`: what every op in place does in the end.

        Args:
            new: a tensor of the same shape, usually computed from `self.alias()`.
            by: the name of the op, for error messages.

        Raises:
            GradientError: this is a leaf that requires a gradient.
            ShapeError, DTypeError: `new` does not fit in here.
        """
        recorded = mode.recording and (self.requires_grad or new.requires_grad)
        self._check_in_place(new, by, recorded)
        backend.of(new.array).writable(self)[...] = new.array
        self.mark_written(by)
        if recorded:
            self._reroute(new)
        return self

    def _check_in_place(self, new, by, recorded):
        if new.shape != self.shape:
            raise ShapeError(message(f"{by}: a result of another shape cannot be stored in place.",
                                     [("tensor", self.shape), ("result", new.shape)], "x = x + y instead of x += y."))
        if not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise DTypeError(message(f"{by}: a {new.dtype} result cannot be stored in a {self.dtype} tensor."))
        self.check_writable(by)
        owner = self._view.base if self._view else self
        if recorded and owner.node is None and owner.requires_grad:
            role = "is a view of" if self._view else "is"
            raise GradientError(
                message(
                    f"{by}: this {role} a leaf that requires a gradient; it cannot be changed in place.",
                    try_="with md.no_grad(): ... to update it, or y = x.clone() to compute with a copy.",
                )
            )

    def check_writable(self, by):
        """Raise an InplaceError if this memory must not be written to."""
        if not getattr(self.array.flags, "writeable", True) or any(
                step == 0 and n > 1 for n, step in zip(self.shape, self.array.strides)):
            raise InplaceError(
                message(
                    f"{by}: this memory cannot be written to; an expanded tensor repeats its numbers there.",
                    [("tensor", self.shape), ("strides", self.stride())],
                    "x.clone() first.",
                )
            )

    def _reroute(self, new):
        """Give this tensor, and the tensor it is a view of, the history of `new`."""
        view, memory = self._view, self._memory
        memory.rerouted = memory.written
        if view is not None and view.base._memory is not memory:      # the base has been given other data
            view = self._view = None
        if view is None:
            self.node, self.requires_grad = new.node, new.requires_grad
            return
        base = view.base
        positions = backend.of(base.array).xp.arange(base.numel()).reshape(base.shape)
        for op, meta in view.steps:
            positions = op(positions, **meta)
        patched = apply(_registered("overwrite"), (base.alias(), new, positions))
        base.node, base.requires_grad = patched.node, True
        again = base
        for op, meta in view.steps:
            again = apply(op, (again,), meta)
        self.node, self.requires_grad, view.seen = again.node, True, next(clock)

    def __deepcopy__(self, memo):
        if self.node is not None:
            raise GradientError(message("deepcopy: only leaves can be copied; this tensor was computed.",
                                        try_="x.detach().clone()."))
        out = type(self)(self.array.copy(), self.requires_grad)
        out.grad = None if self.grad is None else Tensor(self.grad.array.copy())
        memo[id(self)] = out
        return out

    def __reduce__(self):
        if self.node is not None:
            raise GradientError("pickle: only leaves can be sent elsewhere; detach() first.")
        return type(self), (self.host_array(), self.requires_grad)


def _registered(name):
    from .primitive import registry
    return registry[name]


# ---------------------------------------------------------------------- tensors from data
def tensor(data, dtype=None, device=None, requires_grad=False):
    """A tensor with a copy of `data`: numbers, nested lists, arrays or tensors.

    Python floats become float32, Python integers int64; arrays keep their dtype.

    Raises:
        ShapeError: nested lists of different lengths.
        DTypeError: something that is not a number.

    >>> tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if isinstance(data, Tensor):
        array = data.host_array().copy()
    elif isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data):
        array = np.stack([tensor(x).array for x in data])
    else:
        array = _from_numbers(data, dtype)
    array = array.astype(dtype) if dtype is not None and array.dtype != np.dtype(dtype) else array
    out = Tensor(backend.get(device or "cpu").from_host(array), requires_grad)
    backend.of(out.array).born(out, fresh=True)
    return out


def _from_numbers(data, dtype):
    try:
        array = np.array(data)
    except ValueError as error:
        raise ShapeError(message(f"tensor: rows of different lengths do not make a tensor ({error}).")) from error
    if array.dtype.kind not in "fiub":
        raise DTypeError(message("tensor: only numbers and booleans can be put in a tensor.",
                                 [("got", type(data).__name__), ("dtype", array.dtype)]))
    typed = isinstance(data, (np.ndarray, np.generic)) or _holds_typed(data)
    return array if typed or dtype is not None or array.dtype.kind != "f" else array.astype(default_dtype)


def _holds_typed(data):
    """True if the first number in nested lists is NumPy's, which knows its own dtype."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def from_numpy(array):
    """A tensor that shares the memory of a NumPy array.

    Raises:
        DTypeError: it is not a NumPy array of numbers.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DTypeError(message("from_numpy: expected a NumPy array of numbers.",
                                 [("got", type(array).__name__, getattr(array, "dtype", ""))], "md.tensor(data)."))
    return Tensor(np.asarray(array))


def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor, without a copy where that is possible."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype=dtype, device=device)
    if type(data) in backend.array_types():
        return Tensor(data).to(dtype=dtype, device=device)
    return tensor(data, dtype=dtype, device=device)


def is_tensor(value):
    """True for a Tensor."""
    return isinstance(value, Tensor)


def result_type(*operands):
    """The dtype that operands meet at, by PyTorch's rule.

    Floats beat integers beat booleans; within one kind, tensors with axes beat tensors without,
    which beat Python numbers.
    """
    ranks = {"b": 0, "i": 1, "u": 1, "f": 2}
    best, best_key = None, (-1, -1)
    for x in operands:
        dtype, weight = _dtype_and_weight(x)
        key = (ranks[dtype.kind], weight)
        if key[0] > best_key[0]:
            best, best_key = dtype, key
        elif key == best_key:
            best = np.promote_types(best, dtype)
        elif key[0] == best_key[0] and key[1] > best_key[1]:
            best, best_key = dtype, key
    return best


def _dtype_and_weight(x):
    if isinstance(x, bool):
        return np.dtype(bool), 0
    if isinstance(x, int):
        return np.dtype(np.int64), 0
    if isinstance(x, float):
        return default_dtype, 0
    return x.dtype, 2 if shape_of(x) else 1


def check_number(name, value):
    """Raise unless `value` is a Python number; for settings such as a learning rate or an eps."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ArgumentError(message(f"{name}: expected a number, got {value!r}."))
