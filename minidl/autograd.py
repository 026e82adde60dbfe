"""Backpropagation: walk the Nodes from the loss back to the leaves, the newest first.

    backward(loss)      adds dloss/dleaf to the `.grad` of every leaf that requires a gradient
    grad(y, xs)         returns dy/dx for chosen tensors and touches no `.grad`

The engine knows no op. For each Node it calls the op's rules, brings what they return to the shape
and dtype of the input, and adds it to what other paths have brought there already. Since every Node
carries the clock time of its making, going through them from the newest to the oldest is enough: when
a Node's turn comes, everything that used its output has had its turn.
"""
import contextlib
import operator

import numpy as np

from . import backend
from .anomaly import detect_anomaly, set_detect_anomaly  # noqa: F401
from .errors import ArgumentError, GradientError, InplaceError, ShapeError, message
from .ops.elementwise import clone
from .ops.reduce import sum as sum_op
from .ops.shape import reshape
from .tensor import Node, Tensor, mode, source, wrap


# ---------------------------------------------------------------------- switching the recording
class no_grad(contextlib.ContextDecorator):
    """Inside `with no_grad():`, or in a function decorated with `@no_grad()`, nothing is recorded."""

    recording = False

    def __new__(cls, function=None):             # `@no_grad` without brackets means the same
        new = super().__new__(cls)
        return new(function) if callable(function) else new

    def __enter__(self):
        self.before = [*getattr(self, "before", ()), mode.recording]
        mode.recording = self.recording
        return self

    def __exit__(self, *_):
        *self.before, mode.recording = self.before

    def _recreate_cm(self):          # a decorated function may run in several threads at once
        return type(self)()


class enable_grad(no_grad):
    """Inside `with enable_grad():` ops are recorded again, also within a `no_grad`."""

    recording = True


class set_grad_enabled(no_grad):
    """`set_grad_enabled(flag)` as a statement, `with set_grad_enabled(flag):` for a block, or as a decorator."""

    def __init__(self, flag):
        self.outer, self.recording = mode.recording, bool(flag)
        mode.recording = self.recording

    def __enter__(self):
        self.before = [self.outer]
        mode.recording = self.recording
        return self

    def __call__(self, function):
        mode.recording = self.outer              # meant for the function, not for what follows
        return super().__call__(function)

    def _recreate_cm(self):
        return type(self)(self.recording)


def is_grad_enabled():
    """Whether ops are being recorded in this thread."""
    return mode.recording


# ---------------------------------------------------------------------- the engine
def ancestors(roots, since=0):
    """All Nodes that the values in `roots` were made from, the newest first: no recursion, any depth.

    With `since`, only those made after that clock time.
    """
    seen = {root for root in roots if type(root) is Node and root.serial > since}
    found = list(seen)
    for node in found:                            # which grows while we walk through it
        for x in node.inputs:
            parent = x.node if isinstance(x, Tensor) else x
            if type(parent) is Node and parent not in seen and parent.serial > since:
                seen.add(parent)
                found.append(parent)
    return sorted(found, key=_serial, reverse=True)


_serial = operator.attrgetter("serial")


class Gradients(dict):
    """What has arrived so far at each Node and leaf; the sum over all paths.

    A first contribution is only borrowed, for the rule may have returned an array that others hold,
    too, unless it is known to be fresh. The first sum makes an array of our own, and from then on contributions
    are added in place.
    """

    def __init__(self):
        self.owned = set()

    def add(self, key, grad, fresh=False):
        """Add a contribution to what arrived at `key`."""
        total = self.get(key)
        if total is None:
            total = grad
        elif key in self.owned and type(total) is type(grad):         # an array cannot take in a symbol
            total += grad
        else:
            total, fresh = total + grad, True
        self[key] = total
        if fresh and type(total) in backend.array_types():
            self.owned.add(key)


def propagate(seeds, stop_at=(), lift=None, release=True, since=0):
    """The one loop behind `backward` and `grad`.

    Args:
        seeds: `(node or leaf, gradient)` pairs to start from.
        stop_at: Nodes and leaves whose gradients are wanted although they are not the end of a path.
        lift: None to compute on plain arrays; or a function from Node to its output as a Tensor, to compute
            on tensors, so that the gradients can be differentiated again.
        release: let go of the values that the Nodes keep, as soon as they have been used.
        since: do not go on from Nodes made before this clock time.

    Returns:
        the Gradients left where the walk ended (at leaf tensors, as a rule), and a dict from the Nodes in `stop_at`
        to theirs.
    """
    grads, results, stop_at = Gradients(), {}, set(stop_at)
    for key, grad in seeds:
        grads.add(key, grad)
    guard = mode.guard
    with np.errstate(all="ignore"):
        for node in ancestors([key for key, _ in seeds], since):
            g = grads.pop(node, None)
            if g is None:
                continue
            if node.hooks:
                g = run_hooks(node.hooks, g)
            if stop_at and node in stop_at:
                results[node] = g
            pull(node, g, grads if guard is None else guard(grads, node), lift)
            if release:
                node.release()
    return grads, results


def pull(node, g, grads, lift):
    """Run the rules of one Node: from the gradient of its output to contributions for its inputs."""
    if node.plan is None:
        raise GradientError(message(
            f"backward: the values that {node.op.name} needs have been freed by an earlier backward pass.",
            try_="loss.backward(retain_graph=True) the first time, or compute the loss anew for each pass."))
    plan, inputs = node.plan, node.inputs
    if plan.kept or plan.keep_out:
        check_unchanged(node)
    for k, pull_one, fresh in plan.pulls:
        contribute(pull_one(g, node, lift), inputs[k], grads, fresh)
    for places, pull_all in plan.joint_pulls:
        for k, grad in zip(places, pull_all(g, node, lift)):
            if k is not None:
                contribute(grad, inputs[k], grads)


def contribute(grad, x, grads, fresh=False):
    """Add what a rule returned for the input `x` to what has arrived there; None stands for zero.

    The gradient takes on the shape and dtype of the value it belongs to: what was broadcast is summed,
    what was promoted is cast back.
    """
    if grad is None:
        return
    if grad.shape != x.shape:
        grad, fresh = unbroadcast(grad, x.shape), True
    if grad.dtype is not x.dtype and grad.dtype != x.dtype:
        grad, fresh = grad.to(x.dtype) if isinstance(grad, Tensor) else grad.astype(x.dtype), True
    grads.add(x if type(x) is Node else x.node or x, grad, fresh)


def unbroadcast(grad, shape):
    """Sum over the axes along which a value of `shape` was repeated: the transpose of broadcasting.

    >>> unbroadcast(np.ones((4, 3)), (3,))
    array([4., 4., 4.])
    """
    extra = len(grad.shape) - len(shape)
    axes = (*range(extra), *(extra + k for k, n in enumerate(shape) if n == 1 and grad.shape[extra + k] != 1))
    total = sum_op(grad, dim=axes, keepdim=False)
    return total if total.shape == shape else reshape(total, shape=shape)


def check_unchanged(node):
    """Raise if a value that this Node keeps for backward has been overwritten since."""
    for k in node.plan.kept:
        _check_memory(getattr(node.inputs[k], "_memory", None), node)
    if node.plan.keep_out:
        _check_memory(node.memory, node)


def _check_memory(memory, node):
    if memory is not None and memory.written > node.serial:
        raise InplaceError(message(
            f"backward: a value that {node.op.name} needs was changed in place after it was saved.",
            [("output of", f"{node.op.name} {node.shape}"), ("changed by", memory.by)],
            "make the change on a copy (x = x + y instead of x += y), or after backward."))


def run_hooks(hooks, g):
    """Show a gradient to the hooks, one after the other; each may put another in its place."""
    is_array = not isinstance(g, Tensor)
    for hook in list(hooks):
        answer = hook(wrap(np.asarray(g) if isinstance(g, np.generic) else g) if is_array else g)
        if answer is not None:
            g = answer.array if is_array else answer
    return g


def lift_output(node):
    """The output of a Node as a tensor that is still in the graph."""
    return wrap(node.out, node)


# ---------------------------------------------------------------------- what people call
def seed_of(y, grad, name):
    """The gradient to start from: 1 for a single number, else what the caller gives."""
    if not isinstance(y, Tensor):
        raise ArgumentError(message(f"{name}: expected a tensor, got {type(y).__name__}."))
    if not y.requires_grad:
        raise GradientError(message(
            f"{name}: this tensor does not require a gradient; no path leads from it to a leaf that does.",
            [("tensor", y.shape, y.dtype)],
            "give the parameters requires_grad=True before computing, and look for detach() or no_grad on the way."))
    if grad is None:
        if y.numel() != 1:
            raise GradientError(message(
                f"{name}: the gradient can be started from a single number only.", [("tensor", y.shape)],
                f"reduce it first, loss.sum().{name}(), or give the gradient of each number as an argument."))
        return wrap(backend.of(y.array).xp.ones(y.shape, y.dtype))
    grad = grad if isinstance(grad, Tensor) else Tensor(np.asarray(grad, dtype=y.dtype))
    if grad.shape != y.shape:
        raise ShapeError(message(f"{name}: the gradient must have the shape of the tensor.",
                                 [("tensor", y.shape), ("gradient", grad.shape)]))
    return grad if type(grad.array) is type(y.array) else clone(grad)         # in a graph: as part of it


def _run(pairs, stop_at, retain_graph, create_graph):
    retain = create_graph if retain_graph is None else retain_graph
    if create_graph:
        seeds = [(source(y), grad) for y, grad in pairs]
        with enable_grad():
            return propagate(seeds, stop_at, lift_output, release=not retain)
    seeds = [(source(y), grad.array) for y, grad in pairs]
    return propagate(seeds, stop_at, None, release=not retain)


def backward(loss, gradient=None, retain_graph=None, create_graph=False):
    """Compute the gradient of `loss` for every leaf that requires one, and add it to the leaf's `.grad`.

    Args:
        loss: a tensor, usually with a single number.
        gradient: the gradient to start from; needed if `loss` has more than one number. Same shape.
        retain_graph: keep the saved values, so that backward can run again through the same graph.
        create_graph: record the backward pass itself, so that it can be differentiated.

    Raises:
        GradientError: nothing here requires a gradient, or the graph was freed by an earlier backward.
        InplaceError: a value that is needed was changed in place.

    >>> import minidl as md
    >>> x = md.tensor(3.0, requires_grad=True)
    >>> (x * x + x).backward()
    >>> x.grad
    tensor(7.)
    """
    grads, _ = _run([(loss, seed_of(loss, gradient, "backward"))], (), retain_graph, create_graph)
    for leaf, grad in grads.items():
        accumulate(leaf, grad, leaf in grads.owned)


def accumulate(leaf, grad, owned):
    """Add a gradient to the leaf's `.grad`; an array that others may hold, too, is copied first."""
    if leaf._hooks:
        grad = run_hooks(leaf._hooks, grad)
    if isinstance(grad, Tensor):
        total = leaf.grad
        leaf.grad = clone(grad) if total is None else total + grad
    elif leaf.grad is not None:
        before = backend.of(grad).writable(leaf.grad)
        leaf.grad = wrap(_as_array(before + grad, leaf))
    else:
        leaf.grad = wrap(grad if owned else _own(grad))


def _own(grad):
    """A copy that nobody else holds."""
    return backend.of(grad).xp.array(grad, order="C")


def _as_array(value, like):
    """NumPy turns results without axes into scalars; make an array of them again."""
    return value if type(value) in backend.array_types() else backend.of(like.array).xp.asarray(value)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The gradients of `outputs` (summed up) with respect to `inputs`; no `.grad` is touched.

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several: leaves or computed ones.
        grad_outputs: gradients to start from, one an output; 1 for outputs of a single number.
        retain_graph, create_graph: as in `backward`.
        allow_unused: return None for an input that the outputs do not depend on, instead of an error.

    Returns:
        a tuple of tensors, one an input.

    >>> import minidl as md
    >>> x = md.tensor(2.0, requires_grad=True)
    >>> (first,) = grad(x ** 3, x, create_graph=True)
    >>> (second,) = grad(first, x)
    >>> first.item(), second.item()
    (12.0, 12.0)
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    starts = [None] * len(outputs) if grad_outputs is None else grad_outputs
    starts = [starts] if isinstance(starts, Tensor) else starts
    pairs = [(y, seed_of(y, start, "grad")) for y, start in zip(outputs, starts, strict=True)]
    for k, x in enumerate(inputs):
        if not x.requires_grad:
            raise GradientError(message(f"grad: input {k} does not require a gradient.", [("input", x.shape)],
                                        "create it with requires_grad=True."))
    grads, passed = _run(pairs, [source(x) for x in inputs], retain_graph, create_graph)
    found = {**passed, **grads}
    results = [found.get(source(x)) for x in inputs]
    for k, result in enumerate(results):
        if result is None and not allow_unused:
            raise GradientError(message(f"grad: the outputs do not depend on input {k}.", [("input", inputs[k].shape)],
                                        "allow_unused=True returns None for it."))
    return tuple(r if r is None or isinstance(r, Tensor) else wrap(_own(r)) for r in results)


# ---------------------------------------------------------------------- trust, but verify
def numerical_gradient(function, inputs, k, weights, eps):
    """d sum(weights * function(*inputs)) / d inputs[k] by central differences, one number at a time."""
    x = inputs[k].array
    result = np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        before, sides = x[place].copy(), []
        for step in (eps, -eps):
            x[place] = before + step
            sides.append(float((function(*inputs).array * weights).sum()))
        x[place] = before
        result[place] = (sides[0] - sides[1]) / (2 * eps)
    return result


def check_gradients(function, inputs, eps=1e-6, rtol=1e-5, atol=1e-7, second_order=False, seed=0):
    """Compare the gradients of `function` with central differences; all inputs should be float64.

    The output is weighted with random numbers and summed, so that every output counts.

    Args:
        function: takes the tensors in `inputs`, returns one tensor.
        inputs: tensors; those that require a gradient are checked.
        eps: half the distance of the two points of the difference quotient.
        rtol, atol: allowed error, relative to the largest gradient of the input, and absolute.
        second_order: check the gradient of the gradient as well.
        seed: of the random weights.

    Returns:
        True.

    Raises:
        GradientError: with the input, the entry and both numbers, where they differ most.

    >>> import minidl as md
    >>> check_gradients(lambda x: md.tanh(x), [md.tensor([0.3, -2.0], dtype=md.float64, requires_grad=True)])
    True
    """
    rng = np.random.default_rng(seed)
    checked = [k for k, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    for k in checked:
        if inputs[k].dtype != np.float64:
            raise ArgumentError(message("check_gradients: float32 is too coarse for difference quotients.",
                                        [(f"input {k}", inputs[k].dtype)], "dtype=md.float64."))
    out = function(*inputs)
    weights = rng.standard_normal(out.shape)
    exact = grad([out], [inputs[k] for k in checked], [Tensor(weights)], allow_unused=True)
    for k, found in zip(checked, exact):
        expected = numerical_gradient(function, inputs, k, weights, eps)
        _compare(k, np.zeros(expected.shape) if found is None else found.numpy(), expected, rtol, atol)
    if second_order:
        _check_second_order(function, inputs, checked, weights, eps, rtol, atol, seed)
    return True


def _check_second_order(function, inputs, checked, weights, eps, rtol, atol, seed):
    for k in checked:
        def first(*inputs, k=k):
            (found,) = grad([function(*inputs)], [inputs[k]], [Tensor(weights)], create_graph=True, allow_unused=True)
            return inputs[k] * 0 if found is None else found + inputs[k] * 0
        try:
            check_gradients(first, inputs, eps, rtol, atol, seed=seed + 1)
        except GradientError as error:
            raise GradientError(f"second order, of the gradient of input {k}: {error}") from None


def _compare(k, found, expected, rtol, atol):
    if not expected.size:
        return
    allowed = atol + rtol * np.abs(expected).max()
    error = np.abs(found - expected)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    if not error[worst] <= allowed:
        raise GradientError(
            message(
                f"check_gradients: the gradient of input {k} is wrong at {tuple(map(int, worst))}.",
                [
                    ("by rule", f"{found[worst]:.9g}"),
                    ("by difference", f"{expected[worst]:.9g}"),
                    ("allowed", f"{allowed:.2g}"),
                ],
                "look at the rules of the ops in between, one at a time.",
            )
        )


gradcheck = check_gradients
