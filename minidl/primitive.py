"""What an op is: a pure function of arrays, with its rules hung on by name.

    @primitive(symbol="tanh", onnx="Tanh")
    def tanh(xp, x):
        return xp.tanh(x)

    @tanh.grad("x")
    def _(g, out):
        return g * (1 - out * out)

The forward takes the array module `xp`, then arrays by position, then settings by keyword, and
returns one array. A gradient rule names what it needs, and the engine brings it:

    g               the gradient of the loss with respect to the op's output
    out             the op's output
    x               the input called x (every input goes by its name in the forward)
    x_shape         only the shape of the input called x
    dim, stride ..  the settings of the call

So the rule's signature says what must be kept in memory until backward: `tanh` keeps its output,
`add` keeps nothing. A rule that serves several inputs at once is registered for all their names
and returns a tuple. A shape rule gets shapes where the forward gets arrays.

Called with plain arrays, an op runs its forward. Called with a tensor, it hands itself over to the
tensor, which records the step (tensor.py). Rules are therefore written once and used twice: on
arrays for an ordinary backward pass, on tensors when the gradient itself is to be differentiated.
"""
import inspect

import numpy as np

from . import backend
from .errors import ArgumentError, DimensionError, DTypeError, GradientError, MinidlError, ShapeError, message

registry = {}


class Recordable:
    """What this file knows about tensors: they want to be asked before an op runs."""

    __slots__ = ()

    def record(self, op, args, meta):
        """Run `op` and remember the step."""
        raise NotImplementedError


class Plan:
    """What one call must keep, and which rules backward will run, for one choice of inputs that want gradients.

    Attributes:
        kept: the places of the inputs whose values a rule will ask for; `keep` says the same for each input.
        keep_out: whether a rule will ask for the output.
        pulls: `(place, pull, fresh)`; `pull(g, node, lift)` gives the gradient of the input at that place, in memory
            that nobody else holds if `fresh`.
        joint_pulls: `(places, pull)` pairs; `pull` gives several, of which None in `places` is not wanted.
    """

    __slots__ = ("joint_pulls", "keep", "keep_out", "kept", "pulls")

    def __init__(self, op, wanted, count):
        rules = [op.rule_for(k) if wanted >> k & 1 else None for k in range(count)]
        distinct = {id(rule): rule for rule in rules if rule is not None}.values()
        self.pulls = [(k, rule.pull, rule.fresh) for k, rule in enumerate(rules) if rule is not None and not rule.joint]
        self.joint_pulls = [(tuple(k if rules[k] is rule else None for k in rule.places(count)), rule.pull)
                            for rule in distinct if rule.joint]
        self.keep_out = any(rule.wants_out for rule in distinct)
        self.keep = tuple(any(op.inputs[op.place(k)] in rule.wants for rule in distinct) for k in range(count))
        self.kept = tuple(k for k, keep in enumerate(self.keep) if keep)


class Plans(dict):
    """The Plans of an op, each made when it is first asked for.

    The key is a number with a bit set for each input that wants a gradient, and a leading one, which says how many
    inputs there are: 0b101 means two, of which the first wants a gradient.
    """

    def __init__(self, op):
        self.op = op

    def __missing__(self, mask):
        count = mask.bit_length() - 1
        self[mask] = plan = Plan(self.op, mask - (1 << count), count)
        return plan


class Rule:
    """A gradient rule, its arguments bound to the places where a Node keeps them.

    Args:
        op: the primitive it belongs to.
        inputs: names of the inputs whose gradients it returns.
        function: the rule as it was written.
        fresh: what it returns is always a new array, never `g` or another that somebody holds, nor a view of one.

    Attributes:
        pull: `pull(g, node, lift)` gives the gradients for a Node. `lift` is None, and everything is an array; or it
            is a function from Node to Tensor, and everything is a tensor.
    """

    __slots__ = ("fresh", "function", "inputs", "joint", "op", "pull", "wants", "wants_out")

    def __init__(self, op, inputs, function, fresh=False):
        self.op, self.inputs, self.function, self.fresh = op, inputs, function, fresh
        self.joint = len(inputs) > 1 or op.variadic
        names = list(inspect.signature(function).parameters)
        if names[:1] != ["g"]:
            raise ArgumentError(message(f"{op.name}: a gradient rule takes g, the gradient of the output, first.",
                                        [("rule", f"({', '.join(names)})")]))
        self.pull = _bound(function, [_take(op, name) for name in names[1:]])
        self.wants, self.wants_out = set(names), "out" in names

    def places(self, count):
        """Which of the `count` inputs of a call its gradients belong to."""
        return range(count) if self.op.variadic else [self.op.inputs.index(name) for name in self.inputs]


def _bound(function, takes):
    """A rule that finds its arguments itself. Most take one or two: for these no list is made, as it takes longer."""
    if not takes:
        return lambda g, node, lift: function(g)
    if len(takes) == 1:
        (take,) = takes
        return lambda g, node, lift: function(g, take(node, lift))
    if len(takes) == 2:
        first, second = takes
        return lambda g, node, lift: function(g, first(node, lift), second(node, lift))
    return lambda g, node, lift: function(g, *[take(node, lift) for take in takes])


def _take(op, name):
    """How to find the value called `name` on a Node of `op`."""
    if name == "out":
        return lambda node, lift: lift(node) if lift else node.out
    if name in op.settings:
        default = inspect.signature(op.forward).parameters[name].default
        return lambda node, lift: node.meta.get(name, default)
    stem, is_shape = name.removesuffix("_shape"), name.endswith("_shape")
    if name not in op.inputs and not (is_shape and stem in op.inputs):
        known = ["g", "out", *op.inputs, *(f"{i}_shape" for i in op.inputs), *op.settings]
        raise ArgumentError(message(f"{op.name}: a rule asks for {name!r}, which this op does not have.",
                                    [("it has", ", ".join(known))]))
    if op.variadic:
        if is_shape:
            return lambda node, lift: tuple(shape_of(x) for x in node.inputs)
        return lambda node, lift: tuple(x if lift else _array(x) for x in node.inputs)
    if name in op.inputs:
        index = op.inputs.index(name)
        if name in op.optional:
            return lambda node, lift: _optional(node.inputs, index, lift)
        return lambda node, lift: node.inputs[index] if lift else _array(node.inputs[index])
    index = op.inputs.index(stem)
    return lambda node, lift: shape_of(node.inputs[index])


def _optional(inputs, index, lift):
    """An input that the call may have left out; None then."""
    if index >= len(inputs):
        return None
    return inputs[index] if lift else _array(inputs[index])


def _array(value):
    return value.array if isinstance(value, Recordable) else value


def shape_of(value):
    """The shape of an array, a tensor, a Node or a Python number."""
    return getattr(value, "shape", ())


class Primitive:
    """An op that everything else is made of. Made by the decorator `primitive`."""

    def __init__(self, forward, symbol="", onnx="", ufunc="", dtype="same", view=False, differentiable=True,
                 expansion=None):
        self.forward, self.__doc__ = forward, forward.__doc__
        self.__name__ = self.name = forward.__name__
        self.__module__ = forward.__module__
        self.symbol, self.onnx, self.ufunc = symbol or self.name, onnx, ufunc
        self.dtype, self.view, self.differentiable, self.expansion = dtype, view, differentiable, expansion
        self.inputs, self.settings, self.variadic = _read_signature(forward)
        self.optional = self._defaults() & set(self.inputs)
        self.rules, self.plans, self._shape = {}, Plans(self), None

    def __call__(self, *args, **meta):
        for arg in args:
            if isinstance(arg, Recordable):
                return arg.record(self, args, meta)
        return self.run(backend.of(args[0]) if args else backend.cpu, args, meta)

    def run(self, device, arrays, meta):
        """Run the forward, or the kernel that `device` has in its place, on plain arrays.

        Raises:
            ShapeError, DTypeError: the inputs do not fit; the shape rule says why.
        """
        forward = device.kernels.get(self.name, self.forward)
        try:
            return forward(device.xp, *arrays, **meta) if meta else forward(device.xp, *arrays)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            if isinstance(error, MinidlError):
                raise
            problem = error
        known = self._explanation(arrays, meta)
        try:
            if known is not None:
                raise known
            raise self._in_our_words(problem, arrays) from problem
        finally:
            del known, problem           # an error holds this frame: held by it in turn, neither could go

    def _explanation(self, arrays, meta):
        """What the shape rule has against these inputs; None if nothing."""
        missing = [s for s in self.settings if s not in meta and s not in self._defaults()]
        if missing:
            return ArgumentError(message(f"{self.name}: the setting {missing[0]!r} is missing."))
        try:
            if self._shape is not None:
                self.shape_rule(*map(shape_of, arrays), **meta)
        except MinidlError as error:
            return error.with_traceback(None)
        return None

    def _in_our_words(self, problem, arrays):
        facts = [
            (name, shape_of(a), getattr(a, "dtype", type(a).__name__))
            for name, a in zip(self._names(len(arrays)), arrays)
        ]
        kind = (DTypeError if isinstance(problem, (TypeError, OverflowError))
                else DimensionError if isinstance(problem, IndexError) else ShapeError)
        return kind(message(f"{self.name}: {problem}", facts))

    def _defaults(self):
        return {name for name, p in inspect.signature(self.forward).parameters.items() if p.default is not p.empty}

    def _names(self, count):
        return [f"{self.inputs[0]}[{k}]" for k in range(count)] if self.variadic else self.inputs

    def grad(self, *inputs, fresh=False):
        """Register the gradient rule for the inputs of these names.

        Args:
            inputs: names of inputs.
            fresh: promises that the rule returns a new array, so that a large gradient need not be copied.

        Raises:
            ArgumentError: the op has no such input, or the rule asks for something unknown.
        """
        for name in inputs:
            if name not in self.inputs:
                raise ArgumentError(message(f"{self.name}: there is no input called {name!r}.",
                                            [("inputs", ", ".join(self.inputs))]))

        def register(function):
            rule = Rule(self, inputs, function, fresh)
            self.rules.update(dict.fromkeys(inputs, rule))
            self.plans.clear()
            return function
        return register

    def shape(self, function):
        """Register the shape rule: shapes in place of arrays, the output's shape back, `ShapeError` if they clash."""
        self._shape = function
        return function

    def shape_rule(self, *shapes, **meta):
        """The shape of the output for inputs of these shapes.

        Raises:
            ShapeError: inputs of these shapes do not fit.
        """
        if self._shape is None:
            raise ArgumentError(
                message(f"{self.name}: this op has no shape rule.", try_=f"write one: @{self.name}.shape")
            )
        return tuple(self._shape(*shapes, **meta))

    def dtype_rule(self, *dtypes, **meta):
        """The dtype of the output: fixed, the setting `dtype`, that of one input, or what the inputs promote to."""
        if self.dtype == "setting":
            return np.dtype(meta["dtype"])
        if self.dtype in self.inputs:
            return np.dtype(dtypes[self.inputs.index(self.dtype)])
        if self.dtype != "same":
            return np.dtype(self.dtype)
        return np.result_type(*dtypes)

    def place(self, k):
        """Where the name of input `k` stands in `inputs`: all inputs of a variadic op share one."""
        return 0 if self.variadic else k

    def rule_for(self, k):
        """The gradient rule of input `k`; one that raises if nobody has written it."""
        name = self.inputs[self.place(k)]
        return self.rules.get(name) or _missing_rule(self, name)

    def __repr__(self):
        settings = "".join(f", {s}=..." for s in self.settings)
        return f"<op {self.name}({', '.join(('*' if self.variadic else '') + i for i in self.inputs)}{settings})>"


def _missing_rule(op, name):
    def no_rule(g):
        raise GradientError(message(f"{op.name}: this op has no gradient rule for its input {name!r}.",
                                    try_=f'write one: @{op.name}.grad("{name}")'))
    return Rule(op, (name,), no_rule)


def _read_signature(forward):
    """Names of the inputs and of the settings, and whether there may be any number of inputs."""
    parameters = list(inspect.signature(forward).parameters.values())
    if not parameters or parameters[0].name != "xp":
        raise ArgumentError(message(f"{forward.__name__}: the first argument of a forward is xp, the array module.",
                                    try_=f"def {forward.__name__}(xp, x): ..."))
    variadic = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    inputs = variadic or [p.name for p in parameters[1:] if p.kind is not p.KEYWORD_ONLY]
    settings = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return inputs, settings, bool(variadic)


def primitive(forward=None, **about):
    """Make an op of a forward function and put it into the registry.

    Args:
        forward: `forward(xp, *arrays, **settings)` that returns one new array, or a view if `view` is set,
            and leaves its inputs alone.
        symbol: what a drawing writes into the node ("+", "tanh").
        onnx: the name of the same op in ONNX.
        ufunc: the name of the NumPy ufunc that does the same.
        dtype: the output's dtype: "same" (as the inputs promote), "setting", the name of the input whose dtype
            it is, or a fixed one such as "bool".
        view: the output may share memory with the first input.
        differentiable: False if no gradient ever flows through (comparisons, argmax).
        expansion: a function that computes the same by other ops; it runs in place of an op without rules of its own
            where a gradient may be wanted.
    """
    if forward is None:
        return lambda function: primitive(function, **about)
    op = Primitive(forward, **about)
    ours = op.__module__.startswith("minidl.")
    taken = op.name in registry and registry[op.name].__module__.startswith("minidl.")
    registry[op.name if ours or not taken else f"{op.__module__}.{op.name}"] = op
    return op
