"""vmap: write a function for one example, run it on a batch.

To the library, a batch inside vmap is a *device*. Its arrays (`Batched`) hold a number for each example, but say
that they have the shape of one; every op finds its version for them in the device's kernel table, as it would find
that of a GPU. All else stays as it is: the tape, the gradient rules, the layers. So vmap(grad(f)) gives the
gradient of every single example, and grad(vmap(f)) works as well.

    Batched(value, level)          `value` has the batch as an axis in front
    Batched(value, level, shared)  the same `value` for every example: no axis, no copy

Each vmap that runs has a level of its own; where they nest, the later one is the inner one. Four ops lead in and
out, two pairs of which each is the other's derivative:

    split  <->  join      an axis becomes the batch, the batch an axis
    spread <->  total     one value for all examples; the sum over the examples
"""
import itertools
import threading
import types

import numpy as np

from .. import backend, ops
from ..errors import DeviceError, DimensionError, InplaceError, ShapeError, message
from ..ops.operators import give_operators
from ..primitive import Primitive, Recordable, registry
from ..tensor import Tensor, apply, as_tensor, wrap
from .rules import RULES, in_front, moved, one_by_one
from .trees import leaves, rebuilt, spread_over

levels = itertools.count(1)


class Level:
    """One run of a vmap: its number (later is larger), how many examples it has, the device they live on."""

    def __init__(self, size, device):
        self.number, self.size, self.device = next(levels), size, device

    def __repr__(self):
        return f"<vmap {self.number} over {self.size} examples>"


class _Active(threading.local):
    """The vmaps that this thread is in, from the outermost to the innermost."""

    stack = ()


active = _Active()


def device():
    """The device that the examples live on."""
    return active.stack[-1].device if active.stack else backend.cpu


@give_operators
class Batched(Recordable):
    """An array for each example that says it is the array of one; see the top of this file."""

    __slots__ = ("level", "shared", "value")
    __array_ufunc__ = None               # array * batched is our business
    base = None
    flags = types.SimpleNamespace(writeable=True, c_contiguous=True)

    def __init__(self, value, level, shared=False):
        self.value, self.level, self.shared = value, level, shared

    def record(self, op, args, meta):
        """Run a primitive whose inputs are not alike (Recordable)."""
        return apply(op, args, meta) if any(isinstance(a, Tensor) for a in args) else run(op, args, meta)

    array = property(lambda self: self)
    shape = property(lambda self: tuple(self.value.shape) if self.shared else tuple(self.value.shape[1:]))
    ndim = property(lambda self: len(self.shape))
    dtype = property(lambda self: self.value.dtype)
    size = property(lambda self: int(np.prod(self.shape)))
    itemsize = property(lambda self: self.dtype.itemsize)
    strides = property(lambda self: self.shape)        # nobody may look at the memory behind it

    def __len__(self):
        return self.shape[0]

    def astype(self, dtype):
        """The same in another dtype."""
        return ops.astype(self, dtype=np.dtype(dtype))

    def reshape(self, *shape):
        """The same in another shape."""
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape)

    def __getitem__(self, key):
        return ops.getitem(self, key=key)

    def __setitem__(self, key, value):
        raise InplaceError(message("vmap: tensors cannot be changed in place inside vmap.", [("tensor", self.shape)],
                                   "x = x + y instead of x += y, md.where or md.cat instead of x[k] = y."))

    def __array__(self, *_, **__):
        raise no_number(self)

    def __bool__(self):
        raise no_number(self)

    __int__ = __float__ = __index__ = __bool__


def no_number(x):
    """The error for a value that differs from example to example where a single one is needed."""
    return DeviceError(message(
        "vmap: this value differs from example to example, so it cannot become a Python number or a NumPy array.",
        [("shape for one example", x.shape)],
        "md.where instead of `if`, md.gather or one_hot instead of x[k]; look at values outside vmap."))


# ---------------------------------------------------------------------- running an op on all examples at once
def run(op, args, meta):
    """Run a primitive on arrays of which some are Batched: at the innermost level, by its rule."""
    level = max((a.level for a in args if type(a) is Batched), key=lambda level: level.number)
    if op.name in BOUNDARY and meta["level"].number >= level.number:
        return op.forward(None, *args, **meta)
    own = [is_at(a, level) for a in args]
    values = [a.value if mine else a for a, mine in zip(args, own)]
    split = [mine and not a.shared for a, mine in zip(args, own)]
    if not any(split):
        return Batched(op(*values, **meta), level, shared=True)
    known = registry.get(op.name, BOUNDARY.get(op.name)) is op
    return Batched(RULES.get(op.name, one_by_one)(op, values, split, meta) if known
                   else one_by_one(op, values, split, meta), level)


def is_at(x, level):
    """Whether x is Batched at this level."""
    return type(x) is Batched and x.level is level


class _Kernels:
    """The device's kernel table: for every op the same answer."""

    def get(self, name, forward):
        """A function that runs the op of this name on all examples."""
        op = registry.get(name)
        op = op if op is not None and op.forward is forward else BOUNDARY.get(name) or Primitive(forward)
        return lambda xp, *arrays, **meta: run(op, arrays, meta)


class _Module:
    """`xp` inside vmap: constants are plain arrays, the same for all examples."""

    where = staticmethod(lambda *args: ops.where(*args))
    asarray = array = staticmethod(lambda x, *_, **__: x)

    @staticmethod
    def ones_like(x, dtype=None):
        """Ones in the shape of one example."""
        return device().xp.ones(x.shape, dtype or x.dtype)

    @staticmethod
    def zeros_like(x, dtype=None):
        """Zeros in the shape of one example."""
        return device().xp.zeros(x.shape, dtype or x.dtype)

    def __getattr__(self, name):
        return getattr(device().xp, name)


def _to_host(x):
    raise no_number(x)


vmapped = backend.Backend("vmap", _Module(), Batched, _to_host, lambda array: device().from_host(array))
vmapped.kernels, vmapped.known = _Kernels(), False
backend.register(vmapped)


# ---------------------------------------------------------------------- in and out
@Primitive
def split(xp, x, *, level, dim):
    """The axis `dim` becomes the batch."""
    return Batched(moved(x, dim, 0), level)


@Primitive
def join(xp, x, *, level, dim):
    """The batch becomes the axis `dim`."""
    mine = is_at(x, level)
    return moved(in_front(x.value if mine else x, mine and not x.shared, level.size), 0, dim)


@Primitive
def spread(xp, x, *, level):
    """One value for all examples."""
    return Batched(x, level, shared=True)


@Primitive
def total(xp, x, *, level):
    """The sum over all examples."""
    if is_at(x, level) and not x.shared:
        return ops.sum(x.value, dim=(0,))
    return (x.value if is_at(x, level) else x) * level.size


BOUNDARY = {op.name: op for op in (split, join, spread, total)}


@split.grad("x")
def _(g, level, dim):
    return join(g, level=level, dim=dim)


@join.grad("x")
def _(g, level, dim):
    return split(g, level=level, dim=dim)


@spread.grad("x")
def _(g, level):
    return total(g, level=level)


@total.grad("x")
def _(g, level):
    return spread(g, level=level)


def levels_of(array):
    """The levels that an array is batched at, from the outermost to the innermost."""
    found = []
    while type(array) is Batched:
        found.insert(0, array.level)
        array = array.value
    return found


def output_levels(node, inputs):
    """The levels that the output of a Node is batched at, if its inputs are batched like these arrays."""
    found = {level for array in inputs for level in levels_of(array)}
    if node.op in (split, spread):
        found.add(node.meta["level"])
    elif node.op in (join, total):
        found.discard(node.meta["level"])
    return sorted(found, key=lambda level: level.number)


def raised(x, to=None):
    """A tensor as one value for each example of every vmap that is running (or in `to`), if it is not that already."""
    for level in active.stack if to is None else to:
        if level.number > getattr(getattr(x.array, "level", None), "number", 0):
            x = apply(spread, (x,), {"level": level})
    return x


def adopt(args):
    """Inputs of which each is batched at all levels of the others; None if they are so already.

    So what is the same for all examples gets a step `spread` of its own, and backward sums over the examples there.
    """
    tensors = [a if isinstance(a, Tensor) else wrap(a) if hasattr(a, "dtype") and hasattr(a, "shape") else None
               for a in args]
    found = {level for t in tensors if t is not None for level in levels_of(t.array)}
    to = sorted(found, key=lambda level: level.number)
    if all(t is None or is_at(t.array, to[-1]) for t in tensors):
        return None
    return [a if t is None else raised(t, to) for a, t in zip(args, tensors)]


vmapped.adopt = adopt


# ---------------------------------------------------------------------- what people call
def vmap(func, in_dims=0, out_dims=0):
    """A function of one example made a function of a batch, without a loop.

    Args:
        func: takes and returns tensors, or trees of them (lists, tuples, dicts), for one example.
        in_dims: which axis of each argument is the batch; None for an argument that is the same for all. One number
            for all arguments, or a tuple with an entry for each; an entry may itself be a tree.
        out_dims: where the batch goes in each output.

    Inside `func`, tensors have the shape of one example. An `if` on their values and changes in place are errors.
    Random numbers (dropout) are drawn once and are the same for all examples.

    Raises:
        ShapeError: the arguments have batches of different sizes.
        DeviceError: `func` needs the value of a single example, in an `if` for instance.

    >>> import minidl as md
    >>> rows = md.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> vmap(lambda row, w: row @ w, in_dims=(0, None))(rows, md.tensor([1.0, 10.0]))
    tensor([21., 43.])
    """
    def batched(*args):
        dims = spread_over(in_dims, args, "in_dims") if not isinstance(in_dims, list) else spread_over(
            tuple(in_dims), args, "in_dims")
        tensors = [x if d is None else as_tensor(x) for x, d in zip(leaves(args), dims)]
        level = _level_for(tensors, dims)
        before = active.stack
        active.stack = (*before, level)
        try:
            inner = [x if d is None else apply(split, (x,), {"level": level, "dim": d % x.ndim})
                     for x, d in zip(tensors, dims)]
            out = func(*rebuilt(args, inner))
            places = spread_over(out_dims, out, "out_dims")
            outs = [apply(join, (raised(as_tensor(y), [level]),), {"level": level, "dim": d % (y.ndim + 1)})
                    for y, d in zip(map(as_tensor, leaves(out)), places)]
        finally:
            active.stack = before
        return rebuilt(out, outs)
    return batched


def _level_for(tensors, dims):
    """A Level of the size that all batches have."""
    sizes = {}
    for k, (x, d) in enumerate(zip(tensors, dims)):
        if d is not None:
            if not -x.ndim <= d < x.ndim:
                raise DimensionError(message(f"vmap: input {k} has no axis {d} to be the batch.", [("shape", x.shape)],
                                             "in_dims=None for an input that is the same for all examples."))
            sizes.setdefault(x.shape[d], x)
    if len(sizes) != 1:
        raise ShapeError(message("vmap: the inputs must have one batch size." if sizes else
                                 "vmap: no input has a batch; in_dims is None for all.",
                                 [(f"batch of {n}", x.shape) for n, x in sizes.items()]))
    ((size, x),) = sizes.items()
    innermost = x.array
    while type(innermost) is Batched:
        innermost = innermost.value
    return Level(size, backend.of(innermost))
