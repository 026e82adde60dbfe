"""Optimisers follow their formulas, remember what they must, and say what is wrong."""
import copy
import re

import numpy as np
import pytest

import minidl as md
from minidl import optim
from minidl.errors import ArgumentError, InplaceError, ShapeError
from minidl.optim.optimizers import PIECE, pieces
from minidl.tensor import Tensor
from tests import fake_device

STEPS = 6


def parameter(numbers, dtype=np.float64):
    return Tensor(np.array(numbers, dtype=dtype), requires_grad=True)


def run(make, start, grads):
    """The parameter after each step, for given gradients."""
    p = parameter(start)
    optimizer, path = make([p]), []
    for g in grads:
        p.grad = Tensor(np.array(g))
        optimizer.step()
        path.append(p.array.copy())
    return np.array(path)


@pytest.fixture
def walk():
    rng = np.random.default_rng(3)
    return rng.standard_normal((2, 3)), rng.standard_normal((STEPS, 2, 3))


# ---------------------------------------------------------------------- the formulas, once more and straight ahead
def test_sgd(walk):
    start, grads = walk
    p, expected = start, []
    for g in grads:
        p = p - 0.1 * (g + 0.01 * p)
        expected.append(p)
    np.testing.assert_allclose(run(lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.01), *walk), expected, rtol=1e-13)


@pytest.mark.parametrize("dampening, nesterov", [(0, False), (0.3, False), (0, True)])
def test_sgd_with_momentum(walk, dampening, nesterov):
    start, grads = walk
    p, m, expected = start, None, []
    for g in grads:
        m = g if m is None else 0.9 * m + (1 - dampening) * g      # the first gradient is not dampened
        p = p - 0.1 * (g + 0.9 * m if nesterov else m)
        expected.append(p)
    got = run(lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, dampening=dampening, nesterov=nesterov), *walk)
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_adagrad(walk):
    start, grads = walk
    p, s, expected = start, np.full_like(start, 0.5), []
    for t, g in enumerate(grads):
        g = g + 0.01 * p
        s = s + g ** 2
        p = p - 0.1 / (1 + t * 0.2) * g / (np.sqrt(s) + 1e-10)
        expected.append(p)
    got = run(lambda ps: optim.Adagrad(ps, 0.1, lr_decay=0.2, weight_decay=0.01, initial_accumulator_value=0.5), *walk)
    np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize("momentum", [0, 0.8])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(walk, momentum, centered):
    start, grads = walk
    p, v, a, m, expected = start, 0.0, 0.0, 0.0, []
    for g in grads:
        g = g + 0.01 * p
        v, a = 0.9 * v + 0.1 * g ** 2, 0.9 * a + 0.1 * g
        m = momentum * m + g / (np.sqrt(v - a ** 2 * centered) + 1e-8)
        p = p - 0.01 * m
        expected.append(p)
    got = run(lambda ps: optim.RMSprop(ps, alpha=0.9, momentum=momentum, centered=centered, weight_decay=0.01), *walk)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_adam_and_adamw(walk, amsgrad, kind):
    start, grads = walk
    beta1, beta2 = 0.8, 0.6
    p, m, v, top, expected = start, 0.0, 0.0, 0.0, []
    for t, g in enumerate(grads, 1):
        if kind is optim.Adam:
            g = g + 0.1 * p
        else:
            p = p - 0.01 * 0.1 * p
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g ** 2
        top = np.maximum(top, v)
        m_hat, v_hat = m / (1 - beta1 ** t), (top if amsgrad else v) / (1 - beta2 ** t)
        p = p - 0.01 * m_hat / (np.sqrt(v_hat) + 1e-8)
        expected.append(p)
    got = run(lambda ps: kind(ps, 0.01, betas=(beta1, beta2), weight_decay=0.1, amsgrad=amsgrad), *walk)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_first_step_of_adam_is_the_learning_rate_whatever_the_size_of_the_gradient():
    moves = run(lambda ps: optim.Adam(ps, lr=0.1), [0.0, 0.0], [[1e-3, -1e5]])
    np.testing.assert_allclose(moves[0], [-0.1, 0.1], rtol=1e-4)


def test_weight_decay_in_adam_is_divided_away_and_in_adamw_it_is_not():
    zero = [[0.0, 0.0]] * 2
    coupled = run(lambda ps: optim.Adam(ps, lr=0.1, weight_decay=0.01), [1.0, 100.0], zero)[0]
    decoupled = run(lambda ps: optim.AdamW(ps, lr=0.1, weight_decay=0.01), [1.0, 100.0], zero)[0]
    np.testing.assert_allclose(coupled, [0.9, 99.9], rtol=1e-5)            # the same step, however large the weight
    np.testing.assert_allclose(decoupled, [0.999, 99.9], rtol=1e-12)       # the same share


def test_centered_rmsprop_survives_a_variance_that_rounding_makes_negative():
    p = parameter(np.zeros(1000), np.float32)
    optimizer = optim.RMSprop([p], lr=1e-12, alpha=0.5, centered=True)
    for _ in range(60):
        p.grad = Tensor(np.linspace(0.1, 3, 1000, dtype=np.float32))
        optimizer.step()
    assert np.isfinite(p.array).all()


ALL = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.1),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, dampening=0.1),
    "nesterov": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda ps: optim.Adagrad(ps, lr=1.0, initial_accumulator_value=0.1),
    "rmsprop": lambda ps: optim.RMSprop(ps, lr=0.01, momentum=0.5, centered=True),
    "adam": lambda ps: optim.Adam(ps, lr=0.1),
    "amsgrad": lambda ps: optim.Adam(ps, lr=0.1, amsgrad=True),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.1, weight_decay=1e-4),
}
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@every
def test_finds_the_bottom_of_a_bowl(make):
    x, target = parameter([4.0, -3.0]), md.tensor([1.0, 2.0], dtype=md.float64)
    optimizer = make([x])
    for _ in range(400):
        optimizer.zero_grad()
        (md.tensor([1.0, 3.0], dtype=md.float64) * (x - target) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(x.array, target.array, atol=0.02)


@every
def test_maximize_climbs(make):
    ends = []
    for maximize in (False, True):
        w = parameter([1.0])
        optimizer = make([{"params": [w], "maximize": maximize}])
        w.grad = Tensor(np.array([2.0]))
        optimizer.step()
        ends.append(w.item())
        assert w.grad.item() == 2.0
    assert ends[0] < 1.0 < ends[1]


# ---------------------------------------------------------------------- arrays: pieces, layouts, dtypes, ownership
@every
def test_a_large_parameter_in_pieces_moves_like_its_parts(make):
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((7, PIECE // 3)), rng.standard_normal((3, 7, PIECE // 3))
    whole, rows = parameter(start), [parameter(row) for row in start]
    together, apart = make([whole]), make(rows)
    for g in grads:
        whole.grad = Tensor(g)
        for row, part in zip(rows, g):
            row.grad = Tensor(part)
        together.step(), apart.step()
    assert np.array_equal(whole.array, np.stack([row.array for row in rows]))


def test_only_large_arrays_of_the_host_are_cut():
    small, large = np.zeros((4, PIECE // 4)), np.zeros((4, PIECE))
    assert [len(pieces([a, a], np)) for a in (small, large)] == [1, 4]
    assert len(pieces([large, large], fake_device.xp)) == 1          # each piece would be one more launch


@every
@pytest.mark.parametrize("shape", [(), (0,), (1, 1), (PIECE + 1,), (1, 2 * PIECE), (2 * PIECE, 1)])
def test_any_shape(make, shape):
    p = Tensor(np.ones(shape, np.float32), requires_grad=True)
    optimizer, array = make([p]), p.array
    for _ in range(2):
        p.grad = Tensor(np.full(shape, 0.5, np.float32))
        optimizer.step()
    assert p.array is array and p.shape == shape and (p.array < 1).all()
    assert p.array.size == 0 or p.array.min() == p.array.max()


@every
def test_a_transposed_parameter_moves_like_a_straight_one(make):
    rng = np.random.default_rng(0)
    start, g = rng.standard_normal((300, 400)), rng.standard_normal((300, 400))
    straight, turned = parameter(start), Tensor(np.asfortranarray(start), requires_grad=True)
    for p in (straight, turned):
        optimizer = make([p])
        for _ in range(2):
            p.grad = Tensor(g)
            optimizer.step()
    assert turned.array.flags.f_contiguous
    assert np.array_equal(straight.array, turned.array)


@every
def test_float32_stays_float32_even_if_a_schedule_computes_with_numpy(make):
    p = parameter([1.0, 2.0], np.float32)
    optimizer = make([p])
    optimizer.param_groups[0]["lr"] = np.float64(0.1)
    p.grad = Tensor(np.ones(2, np.float32))
    seen, update = [], optimizer.update
    optimizer.update = lambda *args, **settings: (seen.append(settings), update(*args, **settings))
    optimizer.step()
    assert type(seen[0]["lr"]) is float
    assert p.dtype == np.float32
    assert {v.dtype for v in optimizer.state[p].values() if isinstance(v, Tensor)} <= {np.dtype(np.float32)}


@every
def test_gradients_are_only_read(make):
    g = np.array([1.0, -2.0])
    g.flags.writeable = False
    a, b = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    a.grad = b.grad = Tensor(g)                       # shared, as after a sum
    optimizer = make([{"params": [a, b], "weight_decay": 0.1}])
    optimizer.step(), optimizer.step()
    assert np.array_equal(g, [1.0, -2.0])
    kept = [v.array for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
    assert not any(np.shares_memory(array, g) for array in kept)


@every
@pytest.mark.usefixtures("fake")
def test_a_step_stays_on_the_device_and_saves_from_there(make):
    rng = np.random.default_rng(0)
    start, g = rng.standard_normal((3, PIECE)), rng.standard_normal((3, PIECE))
    here, there = parameter(start), Tensor(fake_device.from_host(start), requires_grad=True)
    here.grad, there.grad = Tensor(g), Tensor(fake_device.from_host(g))
    mine, other = make([here]), make([there])
    mine.step()
    with fake_device.no_transfers():
        other.step()
    np.testing.assert_allclose(there.detach().host_array(), here.array, rtol=1e-12)
    again = make([there])
    again.load_state_dict(mine.state_dict())
    with fake_device.no_transfers():
        again.step(), again.zero_grad(set_to_none=False)
    mine.step()
    np.testing.assert_allclose(there.detach().host_array(), here.array, rtol=1e-12)


def test_a_parameter_without_gradient_rests():
    a, b = parameter([1.0]), parameter([1.0])
    optimizer = optim.Adam([a, b])
    a.grad = Tensor(np.ones(1))
    optimizer.step()
    assert b.item() == 1.0 and b not in optimizer.state and a in optimizer.state


def test_backward_notices_that_a_step_has_changed_what_it_needs():
    w = parameter([2.0])
    loss = (w * w).sum()
    w.grad = Tensor(np.ones(1))
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(InplaceError, match="optimizer step"):
        loss.backward()


def test_a_run_that_diverges_warns_nobody():
    p = parameter([1e30], np.float32)
    p.grad = Tensor(np.full(1, 1e30, np.float32))
    optim.Adam([p], lr=0.1).step()
    assert p.shape == (1,)


def test_zero_grad():
    p = parameter([1.0, 2.0])
    g = p.grad = Tensor(np.ones(2))
    optimizer = optim.SGD([p])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and g.tolist() == [1, 1]
    optimizer.zero_grad()
    assert p.grad is None


def test_a_closure_is_recorded_and_its_loss_returned():
    w = parameter([3.0])
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss
    with md.no_grad():
        assert optimizer.step(closure).item() == 9.0
    np.testing.assert_allclose(w.array, [2.4])


# ---------------------------------------------------------------------- groups
def test_groups_have_settings_of_their_own():
    a, b, c = parameter([1.0]), parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": (p for p in [c]), "weight_decay": 1.0})
    for p in (a, b, c):
        p.grad = Tensor(np.ones(1))
    optimizer.step()
    np.testing.assert_allclose([a.item(), b.item(), c.item()], [0.9, 0.5, 0.8])
    assert [list(g) for g in optimizer.param_groups] == 3 * [
        ["lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "params"]]
    assert repr(optimizer).splitlines()[2].strip().startswith("(1) lr=0.5, momentum=0,")


def test_a_momentum_that_begins_later_starts_with_the_gradient():
    w = parameter([0.0])
    optimizer = optim.SGD([w], lr=1.0, dampening=0.5)
    for momentum in (0, 0.9, 0.9):
        optimizer.param_groups[0]["momentum"] = momentum
        w.grad = Tensor(np.ones(1))
        optimizer.step()
    np.testing.assert_allclose(w.item(), -(1 + 1 + (0.9 + 0.5)))
    optimizer = optim.RMSprop([w := parameter([0.0])], lr=1.0, alpha=0)
    for momentum in (0, 0.9, 0.9):
        optimizer.param_groups[0]["momentum"] = momentum
        w.grad = Tensor(np.ones(1))
        optimizer.step()
    np.testing.assert_allclose(w.item(), -(1 + 1 + (0.9 + 1)))


def test_repr_says_what_it_is():
    assert repr(optim.Adam([parameter([1.0, 2.0]), parameter([3.0])])) == (
        "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0, amsgrad=False, maximize=False"
        " | 2 tensors, 3 numbers)")


# ---------------------------------------------------------------------- saving
def model_and_data():
    rng = np.random.default_rng(1)
    return [parameter(rng.standard_normal((3, 2)), np.float32), parameter(rng.standard_normal(2), np.float32)], rng


def train(params, optimizer, rng, steps):
    for _ in range(steps):
        for p in params:
            p.grad = Tensor(rng.standard_normal(p.shape).astype(np.float32))
        optimizer.step()


@every
def test_a_saved_run_goes_on_bit_by_bit(make):
    params, rng = model_and_data()
    optimizer = make(params)
    train(params, optimizer, rng, 3)
    saved, numbers, later = optimizer.state_dict(), [p.array.copy() for p in params], copy.deepcopy(rng)
    train(params, optimizer, rng, 4)                  # must not change the snapshot
    again = [parameter(n, np.float32) for n in numbers]
    resumed = make(again)
    resumed.load_state_dict(saved)
    train(again, resumed, later, 4)
    assert all(np.array_equal(p.array, q.array) for p, q in zip(params, again))


def test_the_layout_of_a_state_dict_is_pytorchs():
    params, rng = model_and_data()
    optimizer = optim.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], amsgrad=True)
    train(params, optimizer, rng, 2)
    saved = optimizer.state_dict()
    assert list(saved) == ["state", "param_groups"] and list(saved["state"]) == [0, 1]
    assert list(saved["state"][0]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert saved["state"][0]["step"] == 2
    assert [g["params"] for g in saved["param_groups"]] == [[0], [1]] and saved["param_groups"][1]["lr"] == 0.5
    assert set(optim.SGD(params).state_dict()["param_groups"][0]) == {
        "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "params"}
    assert optim.SGD(params).state_dict()["state"] == {}


def test_loading_takes_arrays_numbers_and_none_and_shares_nothing():
    p = parameter([1.0, 2.0], np.float32)
    buffer = np.array([1.0, -1.0])
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    optimizer.load_state_dict({"state": {7: {"momentum_buffer": buffer}},
                               "param_groups": [{"lr": 0.2, "foreach": None, "params": [7]}]})
    assert optimizer.param_groups[0]["lr"] == 0.2 and optimizer.param_groups[0]["params"] == [p]
    assert optimizer.state[p]["momentum_buffer"].dtype == np.float32
    p.grad = Tensor(np.zeros(2, np.float32))
    optimizer.step()
    assert buffer.tolist() == [1.0, -1.0]
    np.testing.assert_allclose(p.array, [1 - 0.2 * 0.9, 2 + 0.2 * 0.9], rtol=1e-6)
    optimizer.load_state_dict({"state": {0: {"momentum_buffer": None}}, "param_groups": [{"params": [0]}]})
    assert optimizer.state[p] == {}
    optimizer.step()
    optimizer.load_state_dict(optim.SGD([p], momentum=0.9).state_dict())           # of before the first step
    assert optimizer.state[p] == {}


def test_a_copied_optimizer_has_its_own_state():
    params, rng = model_and_data()
    optimizer = optim.Adam(params)
    train(params, optimizer, rng, 1)
    twin = copy.deepcopy(optimizer)
    for q in twin.param_groups[0]["params"]:
        q.grad = Tensor(np.ones(q.shape, np.float32))
    twin.step()
    assert [s["step"] for s in optimizer.state.values()] == [1, 1]
    assert [s["step"] for s in twin.state.values()] == [2, 2]


# ---------------------------------------------------------------------- what is said when it is wrong
W = parameter([1.0])


@pytest.mark.parametrize("make, text", [
    (lambda: optim.SGD([W], lr=-0.1), "SGD: lr must be 0 or more.\n    lr  -0.1"),
    (lambda: optim.SGD([W], lr=float("nan")), "SGD: lr must be 0 or more."),
    (lambda: optim.SGD([W], lr="0.1"), "SGD: lr: expected a number, got '0.1'."),
    (lambda: optim.Adam([W], betas=(0.9, 1.0)),
     "Adam: betas must be 0 or more and less than 1.\n    betas  (0.9, 1.0)"),
    (lambda: optim.RMSprop([W], alpha=-1), "RMSprop: alpha must be 0 or more."),
    (lambda: optim.Adagrad([W], lr_decay=-1), "Adagrad: lr_decay must be 0 or more."),
    (lambda: optim.SGD([{"params": [W], "lr": -1}]), "SGD: lr must be 0 or more."),
    (lambda: optim.SGD([W], nesterov=True), "SGD: Nesterov's momentum needs a momentum, and no dampening."),
    (lambda: optim.SGD([]), "SGD: the optimizer got an empty parameter list.\n"
                            "Try: pass model.parameters() itself; a generator that was read once before is"),
    (lambda: optim.SGD(W), "SGD: the parameters must come one after the other, in a list for example.\n"
                           "    got  Tensor\nTry: [w]."),
    (lambda: optim.SGD(lambda: [W]), "    got  function\nTry: model.parameters(), with its brackets."),
    (lambda: optim.SGD({W}), "    got  set\n"),
    (lambda: optim.SGD([np.zeros(2)]), "SGD: parameter 0 is not a tensor.\n    got  ndarray\nTry: model.parameters()."),
    (lambda: optim.SGD([("weight", W)]), "Try: model.parameters(); named_parameters() gives pairs."),
    (lambda: optim.SGD([W, W * 2]),
     "SGD: parameter 1 is not a leaf; it was computed, so changing it would change nothing.\n"
     "    computed by  mul\n    shape        (1,)\nTry: x.detach().requires_grad_()."),
    (lambda: optim.SGD([W, W]), "SGD: parameter 1 is listed twice; it would be changed twice a step.\n"
                                "    shape    (1,)\n    also in  the same group"),
    (lambda: optim.SGD([{"params": [W]}, {"params": [W]}]), "    also in  another group"),
    (lambda: optim.SGD([{"lr": 1}]), "SGD: a group is a dict with its tensors under 'params'."),
])
def test_errors(make, text):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert text in str(caught.value)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, TypeError)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    params, rng = model_and_data()
    optimizer = optim.Adam(params)
    train(params, optimizer, rng, 1)
    saved, before = optimizer.state_dict(), optimizer.state[params[0]]
    text = "    tensors in each saved group  [2]\n    in this optimizer            [1]"
    with pytest.raises(ArgumentError, match=re.escape(text)):
        optim.Adam(params[:1]).load_state_dict(saved)
    with pytest.raises(ShapeError, match=r"the saved exp_avg does not fit parameter 0.\n    saved      \(3, 2\)"):
        optim.Adam(params[::-1]).load_state_dict(saved)
    saved["state"][1]["exp_avg_sq"] = md.zeros(5)
    with pytest.raises(ShapeError, match="the saved exp_avg_sq does not fit parameter 1"):
        optimizer.load_state_dict(saved)
    assert optimizer.state[params[0]] is before


def test_a_gradient_of_another_shape_is_refused():
    p = parameter(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"tensor    \(2, 3\)\n    gradient  \(3,\)"):
        p.grad = Tensor(np.zeros(3))
    p.grad = Tensor(np.zeros((2, 3)))
    p.grad.array = np.zeros(3)                        # nobody would
    with pytest.raises(ShapeError, match=r"parameter  \(2, 3\)\n    gradient   \(3,\)"):
        optim.SGD([p]).step()
    assert p.array.tolist() == np.zeros((2, 3)).tolist()


# ---------------------------------------------------------------------- beside PyTorch
CASES = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9)),
    ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    ("SGD", dict(lr=0.001, momentum=0.9, maximize=True)),
    ("Adagrad", dict(lr=0.5)),
    ("Adagrad", dict(lr=0.5, lr_decay=0.1, weight_decay=0.01, initial_accumulator_value=0.2, eps=1e-3)),
    ("Adagrad", dict(lr=0.01, maximize=True)),
    *[("RMSprop", dict(lr=0.01, momentum=m, centered=c, weight_decay=w, alpha=0.9))
      for m in (0, 0.9) for c in (False, True) for w in (0, 0.1)],
    ("RMSprop", dict(lr=0.001, eps=1e-3, maximize=True)),
    *[(kind, dict(lr=0.05, weight_decay=w, amsgrad=a, betas=(0.8, 0.95), maximize=m))
      for kind in ("Adam", "AdamW") for w in (0, 0.1) for a in (False, True) for m in (False, True)],
    ("Adam", {}), ("AdamW", {}), ("SGD", {}), ("Adagrad", {}), ("RMSprop", {}),
]


def valley(x, A):
    """A loss that is neither convex nor symmetric; spelled alike in both libraries."""
    return ((x @ A).sin() + 0.5 * x * x).sum()


@pytest.mark.torch
@pytest.mark.parametrize("kind, settings", CASES)
def test_follows_pytorch_for_50_steps(kind, settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    start, A = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    ours, theirs = parameter(start), torch.tensor(start, requires_grad=True)
    B, C = Tensor(A), torch.tensor(A)
    mine, oracle = getattr(optim, kind)([ours], **settings), getattr(torch.optim, kind)([theirs], **settings)
    for k in range(50):
        for optimizer, x, M in ((mine, ours, B), (oracle, theirs, C)):
            optimizer.zero_grad()
            valley(x, M).backward()
            optimizer.step()
        np.testing.assert_allclose(ours.array, theirs.detach().numpy(), rtol=1e-6, atol=1e-9, err_msg=f"step {k}")


@pytest.mark.torch
@pytest.mark.parametrize("kind, settings", CASES)
def test_goes_on_from_a_state_that_pytorch_saved(kind, settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    start, A = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    theirs = torch.tensor(start, requires_grad=True)
    oracle = getattr(torch.optim, kind)([theirs], **settings)

    def move(optimizer, x, M):
        optimizer.zero_grad()
        valley(x, M).backward()
        optimizer.step()
    for _ in range(5):
        move(oracle, theirs, torch.tensor(A))
    ours = parameter(theirs.detach().numpy())
    mine = getattr(optim, kind)([ours], lr=123.0)
    mine.load_state_dict(oracle.state_dict())
    for _ in range(5):
        move(oracle, theirs, torch.tensor(A))
        move(mine, ours, Tensor(A))
    np.testing.assert_allclose(ours.array, theirs.detach().numpy(), rtol=1e-7)
    assert set(mine.state_dict()["state"].get(0, {})) == {
        name for name, value in oracle.state_dict()["state"].get(0, {}).items() if value is not None}


@pytest.mark.torch
def test_groups_have_pytorchs_keys():
    torch = pytest.importorskip("torch")
    for kind in ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW"):
        ours = getattr(optim, kind)([parameter([1.0])]).param_groups[0]
        theirs = getattr(torch.optim, kind)([torch.zeros(1, requires_grad=True)]).param_groups[0]
        assert {name: ours[name] for name in ours if name != "params"} == {
            name: theirs[name] for name in ours if name != "params"}
        assert set(theirs) - set(ours) <= {"foreach", "differentiable", "fused", "capturable", "decoupled_weight_decay"}
