"""Random programs: their gradients against numerical directional derivatives, and against themselves with create_graph.

A program is a seed. It picks ops and operands at random (shared values, broadcasting, views, reductions, changes in
place); its choices depend on shapes only, so that it does the same on every run.
"""

import numpy as np
import pytest

import minidl as md
from minidl.autograd import grad
from minidl.errors import InplaceError

SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (1, 3), (3, 2), (2, 1, 3)]


def broadcast(a, b):
    """The common shape, or None."""
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None


# Each takes (rng, x, y), keeps numbers small, and returns a tensor, or None if it does not apply to these shapes.
def _index(rng, x, y):
    return x[md.tensor(rng.integers(0, len(x), int(rng.integers(1, 5))))] if x.ndim else None


def _slice(rng, x, y):
    step = int(rng.choice([-1, 1, 2]))
    return x[..., ::step] if x.ndim else x[None]


def _reduce(rng, x, y):
    dim = int(rng.integers(-x.ndim, x.ndim)) if x.ndim else None
    name = rng.choice(["sum", "mean", "amax", "logsumexp", "prod"])
    return None if dim is None else getattr(x, name)(dim, keepdim=bool(rng.integers(2))).tanh()


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
    if not x.ndim or broadcast(x[0], y) != x[0].shape:
        return None
    x[int(rng.integers(len(x)))] = y
    return x


def _shift_in_place(rng, x, y):
    if broadcast(x, y) != x.shape:
        return None
    return x.add_(y) if rng.integers(2) else x.mul_(0.7)


def _change_a_view(rng, x, y):
    if not x.ndim:
        return None
    x[int(rng.integers(len(x)))].mul_(-0.5)
    return x


STEPS = [
    _index,
    _slice,
    _reduce,
    _along,
    _matmul,
    _set,
    _shift_in_place,
    _change_a_view,
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
    lambda rng, x, y: x.detach() * y if broadcast(x, y) is not None else None,
]


def leaves_of(seed):
    """The inputs of a program."""
    rng = np.random.default_rng(seed)
    shapes = [SHAPES[k] for k in rng.integers(0, len(SHAPES), 3)]
    return [md.Tensor(rng.uniform(-1.5, 1.5, shape), True) for shape in shapes]


def run(seed, leaves, detached=None):
    """The program of this seed, run on leaves; a single number comes out.

    `detach` would hide a part of the derivative from the difference quotient; so where the program detaches, the
    recorded numbers in `detached` take the place of the value.
    """
    rng, pool = np.random.default_rng(seed + 1_000_000), [x * 1.0 for x in leaves]  # leaves are not changed in place
    for _ in range(int(rng.integers(3, 12))):
        step = STEPS[rng.integers(len(STEPS))]
        x, y = pool[rng.integers(len(pool))], pool[rng.integers(len(pool))]
        if step is STEPS[-1]:
            x = _Detached(x, detached)
        new = step(rng, x, y)
        if new is not None and new.numel() <= 48:
            pool.append(new)
    outputs = [pool[-1], *(pool[k] for k in rng.integers(0, len(pool), 2))]
    weights = [rng.standard_normal(out.shape) for out in outputs]
    return sum((out * md.Tensor(w)).sum() for out, w in zip(outputs, weights))


class _Detached:
    """A tensor whose `detach` is remembered: recorded on the first run, played back on the others."""

    def __init__(self, x, tape):
        self.x, self.tape, self.shape = x, tape, x.shape

    def detach(self):
        """The recorded numbers."""
        if self.tape is None:
            return self.x.detach()
        if self.tape["play"]:
            return md.Tensor(next(self.tape["play"]))
        self.tape["numbers"].append(self.x.array.copy())
        return self.x.detach()


def check(seed):
    """Check one program; returns "right", "refused" (a change in place) or "constant"."""
    leaves, tape = leaves_of(seed), {"numbers": [], "play": None}
    try:
        out = run(seed, leaves, tape)
        if not out.requires_grad:
            return "constant"
        lifted = grad(out, leaves, create_graph=True, allow_unused=True)
        found = grad(out, leaves, allow_unused=True)
    except InplaceError:
        return "refused"
    for a, b in zip(found, lifted):
        assert (a is None) == (b is None), f"seed {seed}: create_graph finds another path"
        if a is not None:
            np.testing.assert_allclose(b.detach().numpy(), a.numpy(), rtol=1e-10, atol=1e-12, err_msg=f"seed {seed}")
    rng = np.random.default_rng(seed)
    directions = [rng.standard_normal(x.shape) for x in leaves]
    exact = sum(float((g.numpy() * v).sum()) for g, v in zip(found, directions) if g is not None)
    errors = []
    for eps in (1e-6, 1e-5, 1e-7, 1e-4):  # a kink may lie within reach of one of them
        sides = []
        for sign in (eps, -eps):
            tape["play"] = iter(tape["numbers"])
            with md.no_grad():
                sides.append(
                    run(seed, [md.Tensor(x.array + sign * v) for x, v in zip(leaves, directions)], tape).item()
                )
        error = abs((sides[0] - sides[1]) / (2 * eps) - exact) / max(1.0, abs(exact))
        if error < 1e-6:
            return "right"
        errors.append(error)
    raise AssertionError(f"seed {seed}: the gradient is wrong by {min(errors):.2g}")


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_random_programs_have_the_right_gradient(start):
    found = [check(seed) for seed in range(start, start + 100)]
    assert found.count("right") >= 70, {kind: found.count(kind) for kind in set(found)}


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 101_000, 1000))
def test_many_random_programs_have_the_right_gradient(start):
    found = [check(seed) for seed in range(start, start + 1000)]
    assert found.count("right") >= 700


def test_a_wrong_rule_is_found_by_random_programs(monkeypatch):
    wrong = md.ops.sin
    rule = wrong.rules["x"]
    monkeypatch.setattr(wrong, "rules", dict(wrong.rules))
    wrong.grad("x")(lambda g, x: g * md.ops.cos(x) * 1.001)
    try:
        with pytest.raises(AssertionError, match="the gradient is wrong"):
            for seed in range(300):
                check(seed)
    finally:
        wrong.rules["x"] = rule
        wrong.plans.clear()
