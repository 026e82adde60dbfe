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
from .errors import ArgumentError, DTypeError, GradientError, MinidlError, ShapeError, message

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
        keep: for each input, whether a rule will ask for its value; `kept` lists those that will be.
        keep_out: whether a rule will ask for the output.
        pulls: `(indices, rule)` pairs; `rule` gives the gradients of the inputs at `indices`.
    """

    __slots__ = ("keep", "keep_out", "kept", "pulls")

    def __init__(self, pulls, count):
        self.pulls = pulls
        self.keep_out = any(rule.wants_out for _, rule in pulls)
        self.keep_only({k for _, rule in pulls for k in rule.wants_inputs}, count)

    def keep_only(self, kept, count):
        """Keep the inputs at the places in `kept`."""
        self.kept, self.keep = tuple(sorted(kept)), tuple(k in kept for k in range(count))


class Rule:
    """A gradient rule, its arguments bound to the places where a Node keeps them.

    Args:
        op: the primitive it belongs to.
        inputs: names of the inputs whose gradients it returns.
        function: the rule as it was written.
    """

    __slots__ = ("function", "inputs", "joint", "takes", "wants_inputs", "wants_out")

    def __init__(self, op, inputs, function):
        self.function, self.inputs = function, inputs
        self.joint = len(inputs) > 1 or op.variadic
        names = list(inspect.signature(function).parameters)
        if names[:1] != ["g"]:
            raise ArgumentError(message(f"{op.name}: a gradient rule takes g, the gradient of the output, first.",
                                        [("rule", f"({', '.join(names)})")]))
        self.takes = [_take(op, name) for name in names[1:]]
        self.wants_out = "out" in names
        # The inputs of a variadic op are kept or dropped together.
        self.wants_inputs = {k for k, name in enumerate(op.inputs) if name in names}

    def __call__(self, g, node, lift):
        """The gradients for `node`; with `lift`, a function from Node to Tensor, everything is a tensor."""
        return self.function(g, *[take(node, lift) for take in self.takes])


def _take(op, name):
    """How to find the value called `name` on a Node of `op`."""
    if name == "out":
        return lambda node, lift: lift(node) if lift else node.out
    if name in op.settings:
        return lambda node, lift: node.meta[name]
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
        return lambda node, lift: node.inputs[index] if lift else _array(node.inputs[index])
    index = op.inputs.index(stem)
    return lambda node, lift: shape_of(node.inputs[index])


def _array(value):
    return value.array if isinstance(value, Recordable) else value


def shape_of(value):
    """The shape of an array, a tensor, a Node or a Python number."""
    return getattr(value, "shape", ())


class Primitive:
    """An op that everything else is made of. Made by the decorator `primitive`."""

    def __init__(self, forward, symbol="", onnx="", ufunc="", dtype="same", view=False, differentiable=True):
        self.forward, self.__doc__ = forward, forward.__doc__
        self.__name__ = self.name = forward.__name__
        self.__module__ = forward.__module__
        self.symbol, self.onnx, self.ufunc = symbol or self.name, onnx, ufunc
        self.dtype, self.view, self.differentiable = dtype, view, differentiable
        self.inputs, self.settings, self.variadic = _read_signature(forward)
        self.rules, self._plans, self._shape = {}, {}, None

    def __call__(self, *args, **meta):
        for arg in args:
            if isinstance(arg, Recordable):
                return arg.record(self, args, meta)
        return self.run(backend.of(args[0]) if args else backend.cpu, args, meta)

    def run(self, device, arrays, meta):
        """Run the forward, or the kernel that `device` has in its place, on plain arrays."""
        forward = device.kernels.get(self.name, self.forward)
        try:
            return forward(device.xp, *arrays, **meta)
        except MinidlError:
            raise
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            self._explain(error, arrays, meta)
            raise

    def _explain(self, error, arrays, meta):
        """Find out why the forward failed and say it in minidl's words."""
        missing = [s for s in self.settings if s not in meta and s not in self._defaults()]
        if missing:
            raise ArgumentError(message(f"{self.name}: the setting {missing[0]!r} is missing.")) from error
        shapes = [shape_of(a) for a in arrays]
        if self._shape is not None:
            self.shape_rule(*shapes, **meta)
        facts = [(name, shape, getattr(a, "dtype", type(a).__name__))
                 for name, shape, a in zip(self._names(len(arrays)), shapes, arrays)]
        kind = DTypeError if isinstance(error, TypeError) else ShapeError
        raise kind(message(f"{self.name}: {error}", facts)) from error

    def _defaults(self):
        return {name for name, p in inspect.signature(self.forward).parameters.items() if p.default is not p.empty}

    def _names(self, count):
        return [f"{self.inputs[0]}[{k}]" for k in range(count)] if self.variadic else self.inputs

    def grad(self, *inputs):
        """Register the gradient rule for the inputs of these names.

        Raises:
            ArgumentError: the op has no such input, or the rule asks for something unknown.
        """
        for name in inputs:
            if name not in self.inputs:
                raise ArgumentError(message(f"{self.name}: there is no input called {name!r}.",
                                            [("inputs", ", ".join(self.inputs))]))

        def register(function):
            rule = Rule(self, inputs, function)
            self.rules.update(dict.fromkeys(inputs, rule))
            self._plans.clear()
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
            raise ArgumentError(message(f"{self.name}: this op has no shape rule.", try_=f"write one: @{self.name}.shape"))
        return tuple(self._shape(*shapes, **meta))

    def dtype_rule(self, *dtypes, **meta):
        """The dtype of the output: a fixed one, the setting `dtype`, or what the inputs promote to."""
        if self.dtype == "setting":
            return np.dtype(meta["dtype"])
        if self.dtype != "same":
            return np.dtype(self.dtype)
        return np.result_type(*dtypes)

    def plan(self, wanted, count):
        """The Plan for a call with `count` inputs of which those in the bit mask `wanted` want a gradient."""
        found = self._plans.get((wanted, count))
        if found is None:
            found = self._plans[wanted, count] = self._make_plan(wanted, count)
        return found

    def _make_plan(self, wanted, count):
        if self.variadic:
            return self._make_variadic_plan(count)
        rules = {}
        for k in range(count):
            if wanted >> k & 1:
                rule = self.rules.get(self.inputs[k]) or _missing_rule(self, self.inputs[k])
                rules[id(rule)] = rule
        pulls = [(tuple(self.inputs.index(name) for name in rule.inputs), rule) for rule in rules.values()]
        return Plan(pulls, count)

    def _make_variadic_plan(self, count):
        rule = self.rules.get(self.inputs[0]) or _missing_rule(self, self.inputs[0])
        plan = Plan([(tuple(range(count)), rule)], count)
        plan.keep_only(range(count) if rule.wants_inputs else (), count)
        return plan

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
        dtype: the output's dtype: "same" (as the inputs promote), "setting", or a fixed one such as "bool".
        view: the output may share memory with the first input.
        differentiable: False if no gradient ever flows through (comparisons, argmax).
    """
    if forward is None:
        return lambda function: primitive(function, **about)
    op = Primitive(forward, **about)
    ours = op.__module__.startswith("minidl.")
    taken = op.name in registry and registry[op.name].__module__.startswith("minidl.")
    registry[op.name if ours or not taken else f"{op.__module__}.{op.name}"] = op
    return op
