"""Numbers that are not there yet.

    Symbol   stands for an array: a shape, a dtype, and the Node that will make it
    Scalar   stands for a Python number that is looked up at each run: a learning rate, a count of steps
    Size     a size that is left open, such as that of the batch: a whole number with an example value, printed as
             the expression that gives the true one

To the library, symbols live on a device called "graph": an op on them runs the op's shape rule and writes a Node in
place of computing. So everything that runs on tensors runs on symbols, too: layers, losses, backward, optimisers.
What comes out is a graph.
"""
import builtins
import math
import operator
import types

import numpy as np

from .. import ops
from ..anomaly import user_line
from ..errors import InplaceError, TraceError, message
from ..func.batching import BOUNDARY, Batched
from ..func.batching import run as run_batched
from ..ops.operators import give_operators
from ..primitive import Primitive, Recordable, registry
from ..tensor import NUMBERS, Node, Tensor, apply, clock


# ---------------------------------------------------------------------- where values come from
def _source(name, symbol, doc):
    def never(xp):
        raise NotImplementedError(f"{name} stands for a value from outside")
    never.__name__, never.__doc__ = name, doc
    return Primitive(never, symbol=symbol)


PLACEHOLDER = _source("placeholder", "▷", "A value that each run is given.")
VARIABLE = _source("variable", "●", "A tensor that is read, and perhaps written, at each run.")
SCALAR = _source("scalar", "#", "A Python number that is looked up at each run.")
SOURCES = {PLACEHOLDER, VARIABLE, SCALAR}


def new_node(op, inputs, meta, shape, dtype):
    """A Node that nothing has run yet."""
    node = Node()
    node.op, node.inputs, node.meta, node.shape, node.dtype = op, inputs, meta, shape, dtype
    node.serial, node.plan, node.out, node.memory, node.hooks = next(clock), None, None, None, None
    return node


def source_node(op, shape=(), dtype=float, **meta):
    """A Node for a value from outside the graph."""
    return new_node(op, (), meta, tuple(shape), dtype)


# ---------------------------------------------------------------------- symbols
@give_operators
class Symbol(Recordable):
    """An array that is not there yet. Changing it in place lets it stand for another Node.

    A view follows the symbol that it looks at: where that was changed, it is cut out anew.

    Attributes:
        node: the Node that will make the numbers.
        view: None, or for a view (the symbol it looks at, that one's Node when it was cut out, op, settings).
    """

    __slots__ = ("_node", "view")
    __array_ufunc__ = None               # array * symbol is our business
    flags = types.SimpleNamespace(writeable=True, c_contiguous=True)

    def __init__(self, node, view=None):
        self._node, self.view = node, view

    @property
    def node(self):
        """The Node of the value by now."""
        if self.view is not None and self.view[0].node is not self.view[1]:
            base, _, op, meta = self.view
            new = record(op, (base,), meta)
            self._node, self.view = new._node, new.view
        return self._node

    @node.setter
    def node(self, node):
        self._node, self.view = node, None

    @property
    def base(self):
        """The symbol that owns what a view looks at; None if it is no view."""
        x = self
        while x.view is not None:
            x = x.view[0]
        return None if x is self else x

    def record(self, op, args, meta):
        """Write the step down (Recordable)."""
        return apply(op, args, meta) if any(isinstance(a, Tensor) for a in args) else record(op, args, meta)

    array = property(lambda self: self)
    shape = property(lambda self: self.node.shape)
    dtype = property(lambda self: self.node.dtype)
    ndim = property(lambda self: len(self.node.shape))
    size = property(lambda self: math.prod(self.node.shape))
    itemsize = property(lambda self: self.node.dtype.itemsize)
    strides = property(lambda self: self.node.shape)   # nobody may look at the memory behind it

    def __len__(self):
        if isinstance(self.shape[0], Size):            # len() would make an ordinary number of it
            raise no_size(self.shape[0])
        return self.shape[0]

    def astype(self, dtype):
        """The same in another dtype."""
        return ops.astype(self, dtype=np.dtype(dtype))

    def reshape(self, *shape):
        """The same numbers in another shape; one size may be -1."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        if -1 in shape:
            rest = math.prod(n for n in shape if n != -1)
            shape = tuple(self.size // rest if n == -1 else n for n in shape)
        return ops.reshape(self, shape=tuple(shape))

    def copy(self):
        """Another symbol for the same value."""
        return Symbol(self.node)

    def fill(self, value):
        """One number everywhere, in place."""
        self[...] = value

    def __getitem__(self, key):
        return ops.getitem(self, key=key)

    def __setitem__(self, key, value):
        if self.view is not None or not (key is Ellipsis or (isinstance(key, slice) and key == slice(None))):
            owner = self if self.view is None else self.base
            owner.node = ops.overwrite(owner, value, np.asarray(self._places()[key])).node
        else:
            value = ops.astype(value, dtype=self.dtype) if getattr(value, "dtype", None) != self.dtype else value
            new = value if value.shape == self.shape else ops.expand(value, shape=self.shape)
            self.node = record(ops.clone, (new,), {}).node if not isinstance(new, Symbol) else new.node

    def _places(self):
        """Where in the memory of its owner the numbers stand."""
        if self.view is None:
            return np.arange(self.size).reshape(self.shape)
        base, _, op, meta = self.view
        if op is ops.expand:
            raise InplaceError(message("graph: an expanded tensor repeats its numbers; it cannot be changed in place.",
                                       [("tensor", self.shape)], "x.clone() first."))
        return op.forward(np, base._places(), **meta)

    def __array__(self, *_, **__):
        raise no_number(self)

    def __bool__(self):
        raise no_number(self)

    __int__ = __float__ = __index__ = __bool__


def _in_place(name):
    op = registry[name]

    def change(self, other):
        self[...] = op(self, other)
        return self
    return change


for _name, _op in dict(iadd="add", isub="sub", imul="mul", itruediv="div", ipow="pow").items():
    setattr(Symbol, f"__{_name}__", _in_place(_op))


def no_number(x):
    """The error for a value that is asked for while only the graph is being made."""
    return TraceError(message(
        "graph: this value is not known yet. A graph is recorded once, for all values: an `if`, a loop or a print that "
        "depends on one has to become part of it.",
        [("made by", x.node.op.name), ("shape", x.shape)],
        "md.where(condition, a, b) for an `if`; keep print, .item() and .numpy() outside; or leave this function "
        "uncompiled: then the graph is built anew at each call, which is PyTorch's way."))


def no_size(n):
    """The error for an open size where an ordinary number is needed."""
    return TraceError(message(f"graph: the size {n} is left open, so it cannot become an ordinary number.",
                              try_="x.shape[0] in place of len(x), n ** 0.5 in place of math.sqrt(n); where Python "
                                   "has to count (range, for), give the placeholder a fixed size."))


def record(op, args, meta):
    """Write down one step instead of running it.

    Args:
        op: a Primitive.
        args: symbols, scalars, arrays (constants) and Python numbers.
        meta: its settings.

    What leads into a vmap and out of it is no step of its own: it takes the batch to the front of a symbol, by steps
    that are, and what is batched inside is a Batched around a symbol.

    Raises:
        ShapeError: the shapes do not fit.
    """
    if any(type(a) is Batched for a in args):
        return run_batched(op, args, meta)
    if BOUNDARY.get(op.name) is op:
        return op.forward(np, *args, **meta)
    inputs = tuple(a.node if isinstance(a, (Symbol, Scalar)) else a for a in args)
    if args and all(isinstance(a, (int, float)) for a in args):
        return op.forward(np, *args, **meta)
    if args and all(isinstance(a, (Scalar, int, float)) for a in args):
        return Scalar(new_node(op, inputs, meta, (), float))
    shape, dtype = inferred(op, inputs, meta)
    node = new_node(op, inputs, meta, shape, dtype)
    node.line = user_line()
    return Symbol(node, (args[0], args[0].node, op, meta) if shares_memory(op, args, meta) else None)


def shares_memory(op, args, meta):
    """Whether the output will look at the memory of the first input: a reshape of a transposed array has to copy."""
    if not op.view or not isinstance(args[0], Symbol):
        return False
    chain, x = [], args[0]
    while x.view is not None:
        x, _, *step = x.view
        chain.insert(0, step)
    if op is not ops.reshape or not chain:
        return True
    memory = np.empty(x.shape, bool)
    for view, settings in chain:
        memory = view.forward(np, memory, **settings)
    return np.may_share_memory(memory, op.forward(np, memory, **meta))


def inferred(op, inputs, meta):
    """Shape and dtype of the output, by the op's rules, for Nodes, arrays and numbers as inputs."""
    shape = op.shape_rule(*[getattr(x, "shape", ()) for x in inputs], **meta)
    if op is ops.getitem:
        shape = sliced(inputs[0].shape, meta["key"], shape)
    return tuple(shape), op.dtype_rule(*map(kind_of, inputs), **meta)


def kind_of(x):
    """The dtype of an input; for a Python number the number itself, which follows the arrays beside it."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return _bare(x) if isinstance(x, (Size, Share)) else x
    return dtype() if isinstance(dtype, type) else dtype


# ---------------------------------------------------------------------- Python numbers
class Scalar(Recordable):
    """A Python number that each run looks up anew.

    Attributes:
        node: a SCALAR Node, or a step of arithmetic on such.
        value: what it is at the moment.
        asked: called with a question about the value (`lr == 0`) and its answer, which the graph then relies on.
    """

    __slots__ = ("asked", "node", "value")
    __array_ufunc__ = None
    __hash__ = None                      # type: ignore[assignment]

    def __init__(self, node, value=None, asked=None):
        self.node, self.value, self.asked = node, value, asked

    def record(self, op, args, meta):
        """Write the step down (Recordable)."""
        return apply(op, args, meta) if any(isinstance(a, Tensor) for a in args) else record(op, args, meta)

    array = property(lambda self: self)

    def _combined(self, op, x, y):
        values = [v.value if isinstance(v, Scalar) else v for v in (x, y)]
        known = all(isinstance(v, (int, float)) for v in values)
        if not known:
            return record(registry[op], (x, y), {})
        out = record(registry[op], (x, y), {})
        out.value, out.asked = PYTHON[op](*values), self.asked
        return out

    def _answer(self, question, other=None):
        answer = PYTHON[question](self.value) if other is None else PYTHON[question](self.value, other)
        if self.asked is not None:
            self.asked(self.node, question, other, answer)
        return answer

    def __bool__(self):
        return self._answer("truth")


PYTHON = dict(add=operator.add, sub=operator.sub, mul=operator.mul, div=operator.truediv, pow=operator.pow,
              remainder=operator.mod, floor_divide=operator.floordiv, neg=operator.neg, sqrt=math.sqrt,
              truth=bool, equal=operator.eq, not_equal=operator.ne, less=operator.lt, less_equal=operator.le,
              greater=operator.gt, greater_equal=operator.ge)


def _scalar_operators():
    names = dict(add="add", sub="sub", mul="mul", truediv="div", pow="pow", mod="remainder", floordiv="floor_divide")
    for name, op in names.items():
        setattr(Scalar, f"__{name}__", lambda x, y, op=op: x._combined(op, x, y))
        setattr(Scalar, f"__r{name}__", lambda x, y, op=op: x._combined(op, y, x))
    for name, op in dict(eq="equal", ne="not_equal", lt="less", le="less_equal", gt="greater",
                         ge="greater_equal").items():
        setattr(Scalar, f"__{name}__", lambda x, y, op=op: x._answer(op, y))
    Scalar.__neg__ = lambda x: x._combined("mul", x, -1)


_scalar_operators()


# ---------------------------------------------------------------------- open sizes
class Size(int):
    """An open size: to Python a whole number, the example; as text, the expression that gives the true size.

    >>> batch = Size(7919, "n0")
    >>> batch * 3 + 1, batch == batch, 1 / batch
    ((n0 * 3) + 1, True, 1 / n0)
    """

    text: str

    def __new__(cls, example, text):
        new = super().__new__(cls, _bare(example))
        new.text = text
        return new

    def __repr__(self):
        return self.text

    __str__ = __repr__

    def __neg__(self):
        return 0 - self

    def __pos__(self):
        return self

    def __abs__(self):
        return self if self >= 0 else -self

    def __divmod__(self, other):
        return self // other, self % other

    def __index__(self):
        return self

    def __int__(self):
        raise no_size(self)

    __float__ = __int__


class Share(float):
    """A Python float that depends on an open size, such as 1 / n."""

    text: str

    def __new__(cls, example, text):
        new = super().__new__(cls, _bare(example))
        new.text = text
        return new

    def __repr__(self):
        return self.text

    __str__ = __repr__


def _with_text(name, symbol):
    plain = getattr(operator, name)

    def written(x):
        bare = x.text.isidentifier() if isinstance(x, (Size, Share)) else x >= 0
        return repr(x) if bare else f"({x!r})"

    def make(x, y, swapped=False):
        if not isinstance(x, (int, float)) or not isinstance(y, (int, float)):
            return NotImplemented
        x, y = (y, x) if swapped else (x, y)
        value = plain(_bare(x), _bare(y))
        return (Size if isinstance(value, int) else Share)(value, f"{written(x)} {symbol} {written(y)}")
    return make, lambda x, y: make(x, y, swapped=True)


def _bound(name, x, y):
    """min(x, y) or max(x, y), written down if one of them is open."""
    value = getattr(builtins, name)(x, y)
    return Size(value, f"{name}({x!r}, {y!r})") if isinstance(x, Size) or isinstance(y, Size) else value


def sliced(shape, key, found):
    """The shape of x[key] where x has open sizes; `found` is what it is for the examples.

    Raises:
        TraceError: an open axis is walked through backwards, and not from end to end.
    """
    key = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(n, Size) for n in shape):
        return found
    used = len([k for k in key if k is not None and k is not Ellipsis])
    at = [j for j, k in enumerate(key) if k is Ellipsis] or [len(key)]
    key = (*key[:at[0]], *[slice(None)] * (len(shape) - used), *key[at[0] + 1:])
    out, axes = [], iter(shape)
    for k in key:
        n = 1 if k is None else next(axes)
        out += [n if k is None else _length(n, k)] if k is None or isinstance(k, slice) else []
    return tuple(out)


def _length(n, part):
    """How many entries a slice takes of n."""
    if part.start is part.stop is None and part.step in (None, 1, -1):
        return n
    step = 1 if part.step is None else part.step
    if not any(isinstance(v, Size) for v in (n, part.start, part.stop)):
        return len(range(*part.indices(n)))
    if step < 0:
        raise TraceError(message("graph: an axis whose size is left open can be walked through backwards only as a "
                                 "whole.", [("index", part)], "x.flip(dim), then a slice that goes forwards."))
    low, high = (end if v is None else _bound("min", v, n) if v >= 0 else _bound("max", n + v, 0)
                 for v, end in ((part.start, 0), (part.stop, n)))
    return _bound("max", (high - low + step - 1) // step if step > 1 else high - low, 0)


def _bare(x):
    return int.__add__(x, 0) if isinstance(x, int) else float.__add__(x, 0.0)


for _name, _symbol in dict(add="+", sub="-", mul="*", truediv="/", floordiv="//", mod="%", pow="**").items():
    _there, _back = _with_text(_name, _symbol)
    for _class in (Size, Share):
        setattr(_class, f"__{_name}__", _there)
        setattr(_class, f"__r{_name}__", _back)

NUMBERS.update((Scalar, Size, Share))
