"""Random programs: their gradients against numerical directional derivatives, and against themselves with create_graph.

A program is a seed. It picks ops and operands at random (shared values, broadcasting, views, reductions, changes in
place, parts cut off by detach and no_grad, tensors without axes or without numbers); its choices depend on shapes only,
so that it does the same on every run. Its second derivative is checked on a share of the seeds.
"""

import contextlib

import numpy as np
import pytest

import minidl as md
from minidl.autograd import grad
from minidl.errors import InplaceError

SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (1, 3), (3, 2), (2, 1, 3), (), (3,), (2, 3), (3, 3), (1, 2, 2), (0,), (2, 0)]
SECOND_ORDER_EVERY = 6


def broadcast(a, b):
    """The common shape, or None."""
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None


# Each takes (rng, x, y), keeps numbers small, and returns a tensor or several, or None if it does not apply to these
# shapes.
def _index(rng, x, y):
    return x[md.tensor(rng.integers(0, len(x), int(rng.integers(1, 5))))] if x.ndim and len(x) else None


def _slice(rng, x, y):
    step = int(rng.choice([-1, 1, 2]))
    return x[..., ::step] if x.ndim else x[None]


def _reduce(rng, x, y):
    dim = int(rng.integers(-x.ndim, x.ndim)) if x.ndim else None
    name = rng.choice(["sum", "mean", "amax", "amin", "logsumexp", "prod", "norm", "std"])
    keepdim = bool(rng.integers(2))
    if dim is None or x.shape[dim] < {"sum": 0, "prod": 0, "logsumexp": 0, "std": 2}.get(name, 1):
        return None
    return getattr(x, name)(dim=dim, keepdim=keepdim).tanh()


def _along(rng, x, y):
    name = rng.choice(["softmax", "log_softmax", "cumsum", "cumprod"])
    return getattr(x, name)(int(rng.integers(x.ndim))).tanh() if x.ndim else None


def _matmul(rng, x, y):
    return (
        (x @ y).tanh()
        if x.ndim and y.ndim and x.shape[-1] == y.shape[max(-2, -y.ndim)] and x.ndim < 3 > y.ndim
        else None
    )


def _elementwise(function):
    return lambda rng, x, y: function(x, y) if broadcast(x, y) is not None else None


def _set(rng, x, y):
    x = x * 1.0
    if not x.ndim or not len(x) or broadcast(x[0], y) != x[0].shape:
        return None
    x[int(rng.integers(len(x)))] = y
    return x


def _shift_in_place(rng, x, y):
    if broadcast(x, y) != x.shape:
        return None
    return x.add_(y) if rng.integers(2) else x.mul_(0.7)


def _change_a_view(rng, x, y):
    if not x.ndim or not len(x):
        return None
    x[int(rng.integers(len(x)))].mul_(-0.5)
    return x


def _change_a_view_of_a_view(rng, x, y):
    if x.ndim < 2 or not x.shape[-1]:
        return None
    view = x.transpose(0, -1)
    view[int(rng.integers(len(view)))].add_(0.3)
    return view


def _function_in_place(rng, x, y):
    name = rng.choice(["tanh_", "sigmoid_", "neg_", "relu_", "sqrt_", "clamp_"])
    x = x * 1.0 if rng.integers(2) else x
    if name == "sqrt_":
        x = x.square() + 0.3
    return x.clamp_(-0.8, 0.9) if name == "clamp_" else getattr(x, name)()


def _set_where(rng, x, y):
    x = x * 1.0
    mask = rng.integers(0, 2, x.shape).astype(bool)
    x[md.Tensor(mask)] = 0.25
    return x


def _pieces(rng, x, y):
    """Several outputs, of which later steps may use one, some or all."""
    if not x.ndim or not len(x):
        return None
    return rng.choice([md.Tensor.unbind, lambda x: x.split(2), lambda x: x.chunk(2)])(x)


def _order(rng, x, y):
    if not x.ndim or not x.shape[-1]:
        return None
    x = x + md.Tensor(np.arange(x.shape[-1]) * 0.0137)            # where two are equal, there is no derivative
    values, places = x.sort(-1) if rng.integers(2) else x.topk(1, -1)
    return values * y if broadcast(values, y) is not None else values


def _gather(rng, x, y):
    if not x.ndim or not len(x):
        return None
    place = md.tensor(rng.integers(0, len(x), (2, *x.shape[1:])))
    picked = x.gather(0, place)
    return x.scatter_add(0, place, picked.tanh()) if rng.integers(2) else picked


def _joined(rng, x, y):
    return md.stack([x, y, x * 0.5], int(rng.integers(x.ndim + 1))) if x.shape == y.shape and x.ndim < 3 else None


def _einsum(rng, x, y):
    return md.einsum("ij,kj->ik", x, y).tanh() if x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] else None


STEPS = [
    _index,
    _slice,
    _reduce,
    _along,
    _matmul,
    _set,
    _shift_in_place,
    _change_a_view,
    _change_a_view_of_a_view,
    _function_in_place,
    _set_where,
    _pieces,
    _order,
    _gather,
    _joined,
    _einsum,
    *map(
        _elementwise,
        [
            lambda x, y: x + y,
            lambda x, y: x - y,
            lambda x, y: (x * y).tanh(),
            lambda x, y: x / (1.5 + y.square()),
            lambda x, y: md.maximum(x, y),
            lambda x, y: md.where(x > y, x, y * 0.5),
            lambda x, y: md.logaddexp(x, y).tanh(),
            lambda x, y: md.minimum(x, y),
            lambda x, y: (x.square() + 0.5) ** y.tanh(),
        ],
    ),
    lambda rng, x, y: x.sin(),
    lambda rng, x, y: x.tanh().exp(),
    lambda rng, x, y: x.sigmoid(),
    lambda rng, x, y: -x,
    lambda rng, x, y: x.relu() + x * 0.1,
    lambda rng, x, y: x.abs().add(0.2).sqrt(),
    lambda rng, x, y: (x.square() + 0.5).log(),
    lambda rng, x, y: x.tanh() ** 3,
    lambda rng, x, y: x.clamp(-0.9, 1.1),
    lambda rng, x, y: x.erf(),
    lambda rng, x, y: x.permute(*range(x.ndim)[::-1]),
    lambda rng, x, y: x.reshape(-1),
    lambda rng, x, y: x.expand(2, *x.shape) if x.ndim < 3 else None,
    lambda rng, x, y: x.unsqueeze(0) if x.ndim < 3 else x.squeeze(),
    lambda rng, x, y: md.cat([x, y, x]) if x.ndim and x.shape[1:] == y.shape[1:] and y.ndim else None,
    lambda rng, x, y: x.flip(0) if x.ndim else None,
    lambda rng, x, y: x.repeat(*[2] * x.ndim) if 0 < x.ndim < 3 else None,
    lambda rng, x, y: x.roll(1, 0) if x.ndim else None,
    lambda rng, x, y: x.tril() if x.ndim > 1 else None,
]


# Steps with a part that the derivative shall not see; `constant` keeps it the same when the inputs move.
def _detach(rng, x, y, constant):
    return constant(lambda: x.detach()) * y if broadcast(x, y) is not None else None


def _without_recording(rng, x, y, constant):
    def value():
        with md.no_grad():
            return (x.sin() + x * 0.5).relu()
    return constant(value) + y if broadcast(x, y) is not None else None


def _shift_without_recording(rng, x, y, constant):
    shift = constant(lambda: x.detach() * -0.5)
    with md.no_grad():
        x.add_(shift)
    return x


CUT_OFF = [_detach, _without_recording, _shift_without_recording]
STEPS += CUT_OFF


def leaves_of(seed):
    """The inputs of a program."""
    rng = np.random.default_rng(seed)
    shapes = [SHAPES[k] for k in rng.integers(0, len(SHAPES), 3)]
    return [md.Tensor(rng.uniform(-1.5, 1.5, shape), True) for shape in shapes]


class Constants:
    """What a program cuts off from its derivative: recorded on the first run, played back on the others.

    The difference quotient moves the inputs; it must not move these.
    """

    def __init__(self):
        self.numbers, self.playing = [], None

    def __call__(self, value):
        """The tensor that the function `value` gives, or on a later run the numbers it gave on the first."""
        if self.playing is not None:
            return md.Tensor(next(self.playing).copy())
        x = value()
        self.numbers.append(x.array.copy())
        return x

    def play(self):
        """Start again from the first number."""
        self.playing = iter(self.numbers)
        return self


def run(seed, leaves, constant):
    """The program of this seed, run on leaves; three outputs and their weights come out."""
    rng, pool = np.random.default_rng(seed + 1_000_000), [x * 1.0 for x in leaves]  # leaves are not changed in place
    for _ in range(int(rng.integers(3, 12))):
        step = STEPS[rng.integers(len(STEPS))]
        x, y = pool[rng.integers(len(pool))], pool[rng.integers(len(pool))]
        new = step(rng, x, y, constant) if step in CUT_OFF else step(rng, x, y)
        for out in () if new is None else new if isinstance(new, tuple) else (new,):
            if out.numel() <= 48:
                pool.append(out)
    outputs = [pool[-1], *(pool[k] for k in rng.integers(0, len(pool), 2))]
    return outputs, [md.Tensor(rng.standard_normal(out.shape)) for out in outputs]


def total(seed, leaves, constant):
    """The outputs of a program, weighted and summed: a single number."""
    return sum((out * w).sum() for out, w in zip(*run(seed, leaves, constant)))


def first_derivative(seed, leaves, constant):
    """The gradient of `total`, by each of the ways there are in turn."""
    outputs, weights = run(seed, leaves, constant)
    if seed % 3 == 0:
        kept = [(out, w) for out, w in zip(outputs, weights) if out.requires_grad]
        return grad([out for out, _ in kept], leaves, [w for _, w in kept], allow_unused=True)
    out = sum((out * w).sum() for out, w in zip(outputs, weights))
    if seed % 3 == 1:
        return grad(out, leaves, allow_unused=True)
    out.backward()
    return [x.grad for x in leaves]


def slope_along(directions, gradients):
    """The directional derivative, a number or a tensor."""
    return sum((g * md.Tensor(v)).sum() for g, v in zip(gradients, directions) if g is not None)


def lifted_slope(seed, leaves, directions, constant):
    """The directional derivative as a tensor that can be differentiated once more."""
    return slope_along(directions, grad(total(seed, leaves, constant), leaves, create_graph=True, allow_unused=True))


def moved(leaves, directions, step):
    """New leaves, a step away."""
    return [md.Tensor(x.array + step * v, True) for x, v in zip(leaves, directions)]


def error_of(exact, value, function):
    """How far `exact` is from the difference quotient of `function`, a function of the step; the best of some steps.

    The mean of both sides must be `value`, too. A kink or a jump may lie within reach of one of the steps.
    """
    errors = []
    for eps in (1e-6, 1e-5, 1e-7, 1e-4):
        above, below = function(eps), function(-eps)
        slope = abs((above - below) / (2 * eps) - exact) / max(1.0, abs(exact))
        errors.append(max(slope, abs((above + below) / 2 - value) / max(1.0, abs(value))))
        if errors[-1] < 1e-6:
            break
    return min(errors)


def check(seed):
    """Check one program; returns "right", "refused" (a change in place) or "constant"."""
    leaves, constant = leaves_of(seed), Constants()
    try:
        out = total(seed, leaves, constant)
        if not out.requires_grad:
            return "constant"
        lifted = grad(out, leaves, create_graph=True, allow_unused=True)
        found = first_derivative(seed, leaves, constant.play())
    except InplaceError:
        return "refused"
    for a, b in zip(found, lifted):
        assert (a is None) == (b is None), f"seed {seed}: create_graph finds another path"
        if a is not None:
            np.testing.assert_allclose(b.detach().numpy(), a.numpy(), rtol=1e-10, atol=1e-12, err_msg=f"seed {seed}")
    rng = np.random.default_rng(seed)
    directions = [rng.standard_normal(x.shape) for x in leaves]

    @md.no_grad()
    def values(step):
        return total(seed, moved(leaves, directions, step), constant.play()).item()
    error = error_of(slope_along(directions, found).item(), out.item(), values)
    assert error < 1e-6, f"seed {seed}: the gradient is wrong by {error:.2g}"
    if seed % SECOND_ORDER_EVERY == 0:
        check_second_order(seed, leaves, rng, constant)
    return "right"


def check_second_order(seed, leaves, rng, constant):
    """The derivative of a directional derivative, along another direction."""
    first, second = ([rng.standard_normal(x.shape) for x in leaves] for _ in range(2))
    slope = lifted_slope(seed, leaves, first, constant.play())
    if not getattr(slope, "requires_grad", False):
        return
    curvature = slope_along(second, grad(slope, leaves, allow_unused=True))
    curvature = curvature.item() if isinstance(curvature, md.Tensor) else curvature

    def slopes(step):
        return lifted_slope(seed, moved(leaves, second, step), first, constant.play()).item()
    error = error_of(curvature, slope.item(), slopes)
    assert error < 1e-5, f"seed {seed}: the second derivative is wrong by {error:.2g}"


STARTS = [k if k < 1000 else pytest.param(k, marks=pytest.mark.more) for k in range(0, 10_000, 250)]


@pytest.mark.parametrize("start", STARTS)
def test_random_programs_have_the_right_gradient(start):
    found = [check(seed) for seed in range(start, start + 250)]
    assert found.count("right") >= 190, {kind: found.count(kind) for kind in set(found)}


@pytest.mark.slow
@pytest.mark.parametrize("start", range(10_000, 110_000, 1000))
def test_many_random_programs_have_the_right_gradient(start):
    found = [check(seed) for seed in range(start, start + 1000)]
    assert found.count("right") >= 760


def test_the_programs_use_every_step(monkeypatch):
    used = set()

    def noting(k, step):
        def noted(*args):
            new = step(*args)
            used.add(k if new is not None else None)
            return new
        return noted
    noted = [noting(k, step) for k, step in enumerate(STEPS)]
    monkeypatch.setitem(globals(), "CUT_OFF", noted[-len(CUT_OFF):])
    monkeypatch.setitem(globals(), "STEPS", noted)
    for seed in range(600):
        with contextlib.suppress(InplaceError):
            total(seed, leaves_of(seed), Constants())
    assert used >= set(range(len(STEPS)))


# ---------------------------------------------------------------------- planted faults are found
def slightly_wrong():
    """The rule of one op is 0.1 % off."""
    return "x", lambda g, x: g * md.ops.cos(x) * 1.001


def wrong_in_second_order_only():
    """The rule is right, but it hides what it depends on."""
    return "x", lambda g, x: g * (md.ops.cos(x.detach()) if isinstance(x, md.Tensor) else md.ops.cos(x))


@pytest.mark.parametrize("fault", [slightly_wrong, wrong_in_second_order_only])
def test_a_wrong_rule_is_found(monkeypatch, fault):
    op = md.ops.sin
    name, rule = fault()
    before = op.rules["x"]
    monkeypatch.setattr(op, "rules", dict(op.rules))
    op.grad(name)(rule)
    try:
        with pytest.raises(AssertionError, match="is wrong by"):
            for seed in range(600):
                check(seed)
    finally:
        op.rules["x"] = before
        op.plans.clear()


def test_an_engine_that_trusts_what_was_overwritten_is_found(monkeypatch):
    monkeypatch.setattr(md.autograd, "check_unchanged", lambda node: None)
    with pytest.raises(AssertionError, match="seed"):
        for seed in range(600):
            check(seed)


def test_an_engine_that_forgets_a_path_is_found(monkeypatch):
    add = md.autograd.Gradients.add

    def forgetful(self, key, grad, *rest):
        if key in self.owned:
            return
        add(self, key, grad, *rest)
    monkeypatch.setattr(md.autograd.Gradients, "add", forgetful)
    with pytest.raises(AssertionError, match="seed"):
        for seed in range(600):
            check(seed)


def test_an_engine_that_reuses_a_gradient_it_only_borrowed_is_found(monkeypatch):
    class Greedy(md.autograd.Gradients):
        def add(self, key, grad, *rest):
            self.owned.add(key)
            super().add(key, grad, *rest)
    monkeypatch.setattr(md.autograd, "Gradients", Greedy)
    with pytest.raises((AssertionError, ValueError)):            # a view of a constant cannot be written
        for seed in range(600):
            check(seed)
