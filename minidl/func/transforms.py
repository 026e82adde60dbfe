"""Derivatives as functions of functions.

Each of them runs the function once, on fresh variables, and reads the graph that the call leaves behind:

    vjp       walks it backwards:  u^T J   (u: one number for each output)
    jvp       walks it forwards:   J v     (v: one number for each input)
    grad      is vjp, started with 1 from a function of a single number
    jacobian  is vjp for every row at once: vmap over the unit vectors
    hessian   is the jacobian of the jacobian

Walking forwards takes no rules of its own. A gradient rule gives J^T u, which is linear in u; so the gradient of
<J^T u, v> with respect to u is J v: the rule, transposed by backpropagation itself.
"""
import threading

from .. import autograd
from ..autograd import Gradients, ancestors, enable_grad, lift_output, pull
from ..creation import eye, ones_like, zeros, zeros_like
from ..errors import ArgumentError, GradientError, ShapeError, message
from ..functions import clone, reshape
from ..tensor import Node, Tensor, as_tensor, mode, source, wrap
from .batching import output_levels, raised, vmap
from .trees import leaves, mapped, rebuilt


class _Active(threading.local):
    """The transforms in whose call this thread is, from the outermost to the innermost."""

    calls = ()

    @property
    def steps_are_needed(self):
        """Whether one of them wants to walk through the steps of a function, not only backwards and only once."""
        return len(self.calls) > 1 or any(name not in ("grad", "vjp") for name in self.calls)


active = _Active()


def variable(x, name):
    """A new starting point of a graph, with the value of `x`; what x itself depends on stays behind it."""
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise GradientError(message(f"{name}: only floating-point inputs have derivatives.", [("dtype", x.dtype)],
                                    "x.float(), or choose other inputs with argnums."))
    x = raised(x)                        # inside vmap: one variable for each example
    return clone(x) if x.requires_grad else wrap(x.array).requires_grad_()


class Call:
    """One call of a function on fresh variables, and the graph it left.

    Attributes:
        outputs: what the function returned, a tree of tensors.
        aux: what it returned beside that, for `has_aux`.
        outer: whether something outside the call may want to be differentiated, too: then derivatives are
            computed on tensors, so that they have a graph of their own.
    """

    def __init__(self, name, func, args, argnums, has_aux=False):
        self.name = name
        args = list(args)
        for k in argnums:
            if not -len(args) <= k < len(args):
                raise ArgumentError(message(f"{name}: there is no argument {k}.", [("arguments", len(args))]))
        self.inputs = [args[k] for k in argnums]
        recording = mode.recording
        with enable_grad():
            fresh = [mapped(lambda x: variable(x, name), x) for x in self.inputs]
            for k, x in zip(argnums, fresh):
                args[k] = x
            active.calls = (*active.calls, name)
            try:
                self.outputs = func(*args)
            finally:
                active.calls = active.calls[:-1]
        self.aux = None
        if has_aux:
            self.outputs, self.aux = self._two_parts()
        self.variables = leaves(fresh)
        for y in leaves(self.outputs):
            if not isinstance(y, Tensor):
                raise ArgumentError(message(f"{name}: the function must return tensors, got {type(y).__name__}."))
        self.outer = recording and self._depends_on_others()

    def _two_parts(self):
        if not isinstance(self.outputs, tuple) or len(self.outputs) != 2:
            raise ArgumentError(f"{self.name}: with has_aux=True the function returns a pair (output, aux).")
        return self.outputs

    def _depends_on_others(self):
        if any(x.requires_grad for x in leaves(self.inputs)):
            return True
        own = {id(v) for v in self.variables}
        for node in ancestors([source(y) for y in leaves(self.outputs)]):
            for x in node.inputs:
                if isinstance(x, Tensor) and x.node is None and x.requires_grad and id(x) not in own:
                    return True
        return False

    def results(self):
        """The outputs, in the graph only if something outside may want that."""
        return mapped(lambda y: y if self.outer else y.detach(), self.outputs)

    def pull(self, *cotangents):
        """u^T J: for each input, the sum over all outputs of cotangent times derivative."""
        pairs = [(y, u) for y, u in zip(leaves(self.outputs), self._like(self.outputs, cotangents, "cotangent"))
                 if y.requires_grad]
        found = [None] * len(self.variables)
        if pairs:
            ys, us = zip(*pairs)
            found = autograd.grad(ys, self.variables, us, retain_graph=True, create_graph=self.outer, allow_unused=True)
        return rebuilt(self.inputs, [zeros_like(x) if g is None else g for g, x in zip(found, self.variables)])

    def push(self, *tangents):
        """J v: for each output, the sum over all inputs of derivative times tangent."""
        starts = zip(self.variables, self._like(self.inputs, tangents, "tangent"))
        found = push_forward(leaves(self.outputs), {source(x): v for x, v in starts}, self.outer)
        return rebuilt(self.outputs, [zeros_like(y) if t is None else t
                                      for t, y in zip(found, leaves(self.outputs))])

    def _like(self, tree, given, what):
        """The leaves of what was given, after a look whether they fit those of `tree`."""
        wanted, given = leaves(tree), [as_tensor(x) for x in leaves(given)]
        if len(wanted) != len(given):
            raise ArgumentError(message(f"{self.name}: there must be one {what} for each of {len(wanted)} tensors.",
                                        [("got", len(given))]))
        for x, u in zip(wanted, given):
            if getattr(x, "shape", ()) != u.shape:
                raise ShapeError(message(f"{self.name}: a {what} has the shape of what it belongs to.",
                                         [("expected", getattr(x, "shape", ())), (what, u.shape)]))
        return given


def push_forward(outputs, tangents, create_graph):
    """Forward mode: carry tangents along the graph from the oldest Node to the newest.

    Args:
        outputs: tensors.
        tangents: from Nodes and leaves to their tangents; the walk starts from these.
        create_graph: compute on tensors that stay in the graph.

    Returns:
        the tangents of the outputs; None for an output that depends on none of the starting points.
    """
    for node in reversed(ancestors([source(y) for y in outputs])):
        if node not in tangents:
            tangent = _pushed(node, tangents, create_graph)
            if tangent is not None:
                tangents[node] = tangent
    return [tangents.get(source(y)) for y in outputs]


def _pushed(node, tangents, create_graph):
    """The tangent of a Node's output: J v as the gradient of <J^T u, v> with respect to u."""
    having = [x for x in node.parents() if isinstance(x, (Node, Tensor)) and x in tangents]
    if not having:
        return None
    u = zeros(*node.shape, dtype=node.dtype, device=tangents[having[0]].device)
    u = raised(u, output_levels(node, [tangents[x].array for x in having])).requires_grad_()
    pulled = Gradients()
    with enable_grad():
        pull(node, u, pulled, lift_output if create_graph else None)
    pairs = [(g, tangents[key]) for key, g in pulled.items()
             if key in tangents and isinstance(g, Tensor) and g.requires_grad]
    if not pairs:
        return None
    ys, vs = zip(*pairs)
    return autograd.grad(ys, u, vs, create_graph=create_graph, allow_unused=True)[0]


# ---------------------------------------------------------------------- what people call
def _places(argnums):
    return argnums if isinstance(argnums, tuple) else (argnums,)


def _as_asked(results, argnums):
    """One result for one argument, a tuple for several."""
    return results if isinstance(argnums, tuple) else results[0]


def vjp(func, *primals, has_aux=False):
    """The value of `func` and a function that multiplies its Jacobian from the left: u -> u^T J (reverse mode).

    Args:
        func: takes and returns tensors, or trees of them (lists, tuples, dicts).
        primals: where to evaluate it.
        has_aux: `func` returns (output, aux); aux is passed on without derivatives.

    Returns:
        (output, pull) or (output, pull, aux); `pull(u)`, with u in the form of the output, returns a tuple with one
        gradient for each primal.

    >>> import minidl as md
    >>> y, pull = vjp(lambda x: x * x, md.tensor([1.0, 2.0]))
    >>> pull(md.tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    call = Call("vjp", func, primals, range(len(primals)), has_aux)

    def pull(*cotangents):
        return tuple(call.pull(*cotangents))
    return (call.results(), pull, call.aux) if has_aux else (call.results(), pull)


def jvp(func, primals, tangents, *, has_aux=False):
    """The value of `func` and its Jacobian times `tangents`: how the output moves if the inputs do (forward mode).

    Args:
        primals: a tuple of tensors or trees of tensors, where to evaluate it.
        tangents: directions, in the form of `primals`.

    Returns:
        (output, J v) or (output, J v, aux).

    >>> import minidl as md
    >>> jvp(lambda x: x * x, (md.tensor([1.0, 2.0]),), (md.tensor([1.0, 10.0]),))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    call = Call("jvp", func, primals, range(len(primals)), has_aux)
    moved = call.push(*tangents)
    return (call.results(), moved, call.aux) if has_aux else (call.results(), moved)


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that returns the gradient of `func`, and its value: see `grad`."""
    def derived(*args):
        call = Call("grad", func, args, _places(argnums), has_aux)
        if not isinstance(call.outputs, Tensor) or call.outputs.shape != ():
            raise GradientError(message("grad: the function must return a single number, a tensor without axes.",
                                        [("got", getattr(call.outputs, "shape", type(call.outputs).__name__))],
                                        "reduce it, .sum() or .mean(); jacobian takes functions of any shape."))
        found = _as_asked(call.pull(ones_like(call.outputs.detach())), argnums)
        return (found, (call.results(), call.aux)) if has_aux else (found, call.results())
    return derived


def grad(func, argnums=0, has_aux=False):
    """A function that returns the gradient of `func`, which returns a single number.

    Args:
        func: of tensors or trees of tensors.
        argnums: the argument to differentiate, or a tuple of several.
        has_aux: `func` returns (number, aux); the new function then returns (gradient, aux).

    Returns:
        a function of the same arguments; it can be differentiated again.

    Raises:
        GradientError: the output is not a single number.

    >>> import minidl as md
    >>> f = lambda x: x ** 3
    >>> grad(f)(md.tensor(2.0)), grad(grad(f))(md.tensor(2.0))
    (tensor(12.), tensor(12.))
    """
    both = grad_and_value(func, argnums, has_aux)

    def derived(*args):
        found, value = both(*args)
        return (found, value[1]) if has_aux else found
    return derived


def jacrev(func, argnums=0):
    """A function that returns all derivatives of `func`, by reverse mode: one walk back for each *output*.

    The walks run side by side, by vmap. For an output of shape S and an input of shape T, the Jacobian has shape
    (*S, *T).

    >>> import minidl as md
    >>> jacrev(lambda x: md.stack([x.sum(), x.prod()]))(md.tensor([2.0, 5.0]))
    tensor([[1., 1.],
            [5., 2.]])
    """
    def derived(*args):
        call = Call("jacobian", func, args, _places(argnums))
        ys = leaves(call.outputs)
        rows = [vmap(call.pull)(*basis) for basis in bases(ys)]
        shaped = [mapped(lambda r, y=y: reshape(r, (*y.shape, *r.shape[1:])), row) for y, row in zip(ys, rows)]
        return rebuilt(call.outputs, [_as_asked(row, argnums) for row in shaped])
    return derived


def jacfwd(func, argnums=0):
    """A function that returns all derivatives of `func`, by forward mode: one walk for each *input* number.

    The result is that of `jacrev`; it is quicker where there are fewer inputs than outputs.

    >>> import minidl as md
    >>> jacfwd(lambda x: md.stack([x, x ** 2, x ** 3]))(md.tensor(2.0))
    tensor([ 1.,  4., 12.])
    """
    def derived(*args):
        call = Call("jacobian", func, args, _places(argnums))
        xs, ys = leaves(call.inputs), leaves(call.outputs)
        columns = [leaves(vmap(call.push, out_dims=-1)(*basis)) for basis in bases(xs)]
        of_output = [rebuilt(call.inputs, [reshape(column[k], (*y.shape, *x.shape)) for column, x in zip(columns, xs)])
                     for k, y in enumerate(ys)]
        return rebuilt(call.outputs, [_as_asked(row, argnums) for row in of_output])
    return derived


jacobian = jacrev


def bases(tensors):
    """For each tensor, the unit vectors of its space, one behind the other, with zeros for the other tensors."""
    for own in tensors:
        n = own.numel()
        yield [reshape(eye(n, dtype=x.dtype, device=x.device), (n, *x.shape)) if x is own
               else zeros(n, *x.shape, dtype=x.dtype, device=x.device) for x in tensors]


def hessian(func, argnums=0):
    """A function that returns the second derivatives of `func`: forward mode over reverse mode.

    >>> import minidl as md
    >>> hessian(lambda x: x[0] ** 2 * x[1])(md.tensor([3.0, 5.0]))
    tensor([[10.,  6.],
            [ 6.,  0.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def functional_call(module, parameters_and_buffers, args=(), kwargs=None):
    """Call a module with other parameters: they become an argument, which can be differentiated and vmapped.

    Args:
        module: an nn.Module; it is as before afterwards.
        parameters_and_buffers: dotted names -> tensors; what is not named keeps its value.
        args: the input, or a tuple of inputs.
        kwargs: inputs by name.

    >>> import minidl as md
    >>> model = md.nn.Linear(2, 1)
    >>> zero = {name: md.zeros_like(p.detach()) for name, p in model.named_parameters()}
    >>> functional_call(model, zero, md.ones(3, 2)).tolist()
    [[0.0], [0.0], [0.0]]
    """
    places = [_place_of(name, module) for name in parameters_and_buffers]
    before = [attributes[name] for attributes, name in places]
    try:
        for (attributes, name), value in zip(places, parameters_and_buffers.values()):
            attributes[name] = value
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for (attributes, name), value in zip(places, before):
            attributes[name] = value


def _place_of(name, module):
    """The attributes that hold the parameter of a dotted name, and its name among them."""
    path, _, last = name.rpartition(".")
    owner = dict(module.named_modules()).get(path)
    if owner is None or not isinstance(vars(owner).get(last), Tensor):
        known = ", ".join(name for name, _ in [*module.named_parameters(), *module.named_buffers()])
        raise ArgumentError(message(f"functional_call: the module has no parameter {name!r}.", [("known", known)]))
    return vars(owner), last
