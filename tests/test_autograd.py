"""The engine: what backward does, refuses to do, and never does silently wrong."""
import gc
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as md
from minidl import autograd
from minidl.autograd import check_gradients, grad
from minidl.errors import ArgumentError, DTypeError, GradientError, InplaceError, ShapeError
from minidl.tensor import Node


def leaf(*numbers):
    """A float64 leaf that requires a gradient."""
    return md.tensor(numbers if len(numbers) != 1 else numbers[0], dtype=md.float64, requires_grad=True)


# ---------------------------------------------------------------------- backward
def test_backward_adds_to_the_grad_of_leaves():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]


def test_grad_set_to_none_starts_anew():
    x = leaf(1.0)
    (x * 2).backward()
    x.grad = None
    (x * 3).backward()
    assert x.grad.item() == 3.0


def test_backward_touches_no_computed_tensor():
    x = leaf(1.0)
    y = x * 2
    (y * 3).backward()
    assert y.grad is None


def test_backward_twice_says_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(GradientError, match="retain_graph=True"):
        y.backward()


def test_retain_graph_lets_backward_run_again():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0


def test_a_freed_part_shared_by_two_losses_is_an_error_not_a_wrong_gradient():
    x = leaf(2.0)
    h = x * x
    (h * 2).backward()
    with pytest.raises(GradientError, match="freed"):
        (h * 3).backward()


def test_backward_from_many_numbers_needs_a_gradient():
    with pytest.raises(GradientError, match="single number"):
        leaf(1.0, 2.0).mul(2).backward()


def test_backward_takes_the_gradient_to_start_from():
    x = leaf(1.0, 2.0)
    (x * x).backward(md.tensor([1.0, 10.0], dtype=md.float64))
    assert x.grad.tolist() == [2.0, 40.0]


def test_gradient_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match="shape of the tensor"):
        (leaf(1.0, 2.0) * 2).backward(md.ones(3))


def test_backward_of_a_leaf_is_one():
    x = leaf(5.0)
    x.backward()
    assert x.grad.item() == 1.0


def test_a_leaf_used_twice_gets_both_gradients():
    x = leaf(3.0)
    (x * x + x * 2 + x).backward()
    assert x.grad.item() == 9.0


def test_diamond_sums_over_its_paths():
    x = leaf(0.5)
    a = x.exp()
    b, c = a.sin(), a.cos()
    (b * c + a).backward()
    e = np.exp(0.5)
    assert x.grad.item() == pytest.approx(e * (np.cos(e) ** 2 - np.sin(e) ** 2 + 1))


def test_wide_fan_out_adds_up():
    x = leaf(1.0, 2.0)
    sum((x * k for k in range(100)), start=x * 0).sum().backward()
    assert x.grad.tolist() == [4950.0, 4950.0]


def test_a_chain_of_50_000_ops_is_no_problem():
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    del y                                                     # and neither is letting it go


def test_a_long_chain_that_was_never_used_can_be_dropped():
    y = leaf(1.0)
    for _ in range(50_000):
        y = y + 0.0
    del y


def test_constants_get_no_gradient():
    x, c = leaf(1.0), md.tensor(2.0, dtype=md.float64)
    (x * c).backward()
    assert c.grad is None and x.grad.item() == 2.0


def test_a_constant_that_requires_grad_only_later_gets_none():
    c, x = md.tensor([2.0], dtype=md.float64), leaf([3.0])
    y = md.cat([c, x]).sum()
    c.requires_grad_()
    y.backward()
    assert c.grad is None and x.grad.item() == 1.0


def test_gradients_flow_through_mixed_dtypes_in_the_dtype_of_each():
    a, b = md.ones(2, requires_grad=True), leaf(1.0, 2.0)
    (a * b).sum().backward()
    assert a.grad.dtype == md.float32 and b.grad.dtype == md.float64
    assert a.grad.tolist() == [1.0, 2.0]


def test_no_path_to_a_leaf_is_explained():
    with pytest.raises(GradientError, match="does not require a gradient"):
        md.ones(1).sum().backward()


def test_integers_cannot_require_gradients():
    with pytest.raises(DTypeError, match="floating-point"):
        md.tensor([1, 2], requires_grad=True)


def test_comparisons_end_the_graph():
    x = leaf(1.0)
    assert not (x > 0).requires_grad and not x.argmax().requires_grad and not x.long().requires_grad


def test_a_failed_backward_leaves_grad_alone():
    x = leaf(1.0)
    op = md.primitive(lambda xp, x: x + 0)
    y = (x * 2) + op(x)
    with pytest.raises(GradientError, match="no gradient rule"):
        y.backward()
    assert x.grad is None


# ---------------------------------------------------------------------- grad
def test_grad_returns_gradients_and_touches_none():
    x, y = leaf(2.0), leaf(3.0)
    gx, gy = grad(x * y, [x, y])
    assert (gx.item(), gy.item(), x.grad, y.grad) == (3.0, 2.0, None, None)


def test_grad_of_a_computed_tensor():
    x = leaf(2.0)
    h = x * x
    (gh, gx) = grad(h * 3, [h, x])
    assert gh.item() == 3.0 and gx.item() == 12.0


def test_grad_of_unused_inputs_is_an_error_or_none():
    x, y = leaf(2.0), leaf(3.0)
    with pytest.raises(GradientError, match="allow_unused"):
        grad(x * 2, [y])
    assert grad(x * 2, [x, y], allow_unused=True)[1] is None


def test_grad_of_several_outputs_is_their_sum():
    x = leaf(2.0)
    (g,) = grad([x * 2, x * x], x)
    assert g.item() == 6.0


def test_create_graph_gives_derivatives_of_every_order():
    x = leaf(2.0)
    y, expected = x ** 5, [80.0, 160.0, 240.0, 240.0, 120.0]
    for value in expected:
        (y,) = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(value)


def test_gradient_penalty_has_the_right_gradient():
    x = leaf(1.0, 2.0)

    @md.enable_grad()
    def penalty(w):
        (g,) = grad((x * w).tanh().sum(), x, create_graph=True)
        return g.square().sum()
    assert check_gradients(penalty, [leaf(0.3, -0.4)], second_order=True)


def test_backward_with_create_graph_can_be_differentiated():
    x = leaf(3.0)
    (x ** 3).backward(create_graph=True)
    assert x.grad.requires_grad
    (second,) = grad(x.grad, x)
    assert second.item() == 18.0


def test_hessian_by_rows_is_symmetric():
    x = leaf(0.3, -0.7, 1.1)
    (g,) = grad((x.exp() * x.sum()).sum(), x, create_graph=True)
    rows = np.stack([grad(g[k], x, retain_graph=True)[0].numpy() for k in range(3)])
    np.testing.assert_allclose(rows, rows.T, rtol=1e-12)


# ---------------------------------------------------------------------- switching off
def test_no_grad_records_nothing():
    x = leaf(1.0)
    with md.no_grad():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_blocks_nest_and_undo_themselves():
    states = []
    with md.no_grad():
        with md.enable_grad():
            states.append(md.is_grad_enabled())
            with md.set_grad_enabled(False):
                states.append(md.is_grad_enabled())
            states.append(md.is_grad_enabled())
        states.append(md.is_grad_enabled())
    assert states == [True, False, True, False] and md.is_grad_enabled()


def test_one_block_object_can_be_entered_twice():
    off = md.no_grad()
    with off, off:
        pass
    assert md.is_grad_enabled()


def test_an_error_inside_a_block_switches_back():
    with pytest.raises(ZeroDivisionError), md.no_grad():
        raise ZeroDivisionError
    assert md.is_grad_enabled()


def test_set_grad_enabled_as_a_statement():
    md.set_grad_enabled(False)
    assert not md.is_grad_enabled()
    md.set_grad_enabled(True)
    assert md.is_grad_enabled()


@pytest.mark.parametrize("decorator", [lambda: md.no_grad(), lambda: md.no_grad, lambda: md.set_grad_enabled(False)],
                         ids=["()", "bare", "set"])
def test_as_a_decorator_it_holds_inside_only(decorator):
    @decorator()
    def f(x, depth=2):
        return f(x, depth - 1) if depth else x * 2
    assert md.is_grad_enabled()
    assert not f(leaf(1.0)).requires_grad and md.is_grad_enabled()


def test_enable_grad_as_a_decorator_inside_no_grad():
    f = md.enable_grad()(lambda x: x * 2)
    with md.no_grad():
        assert f(leaf(1.0)).requires_grad


def test_every_thread_has_its_own_switch():
    seen = []
    with md.no_grad():
        thread = threading.Thread(target=lambda: seen.append(md.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_detach_stops_the_gradient_and_shares_memory():
    x = leaf(2.0)
    y = x * x
    d = y.detach()
    assert not d.requires_grad and np.shares_memory(d.array, y.array)
    (y * d).backward()
    assert x.grad.item() == 16.0


def test_requires_grad_can_be_switched_off_on_leaves_only():
    x = leaf(1.0)
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(GradientError, match="detach"):
        (leaf(1.0) * 2).requires_grad_(False)


# ---------------------------------------------------------------------- hooks
def test_hook_on_a_leaf_sees_the_whole_gradient_once():
    x, seen = leaf(3.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * x + x).backward()
    assert seen == [7.0]


def test_hook_on_a_computed_tensor_sees_the_sum_of_its_paths():
    x, seen = leaf(3.0), []
    h = x * 2
    h.register_hook(lambda g: seen.append(g.item()))
    (h * h + h).backward()
    assert seen == [13.0]


def test_what_a_hook_returns_takes_the_gradients_place():
    x, h = leaf(3.0), None
    h = x * 2
    h.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    h.backward()
    assert x.grad.item() == 21.0


def test_hooks_run_in_the_order_of_their_coming():
    x = leaf(1.0)
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 10)
    (x * 1).backward()
    assert x.grad.item() == 20.0


def test_a_removed_hook_is_not_called():
    x = leaf(1.0)
    remove = x.register_hook(lambda g: g * 10)
    remove()
    remove()
    (x * 1).backward()
    assert x.grad.item() == 1.0


def test_hooks_take_part_in_create_graph():
    x = leaf(2.0)
    h = x * x
    remove = h.register_hook(lambda g: g * h)
    (g,) = grad(h, x, create_graph=True)                      # x^2 * 2x
    remove()
    (second,) = grad(g, x)
    assert (g.item(), second.item()) == (16.0, 24.0)


def test_hook_needs_a_tensor_that_requires_grad():
    with pytest.raises(GradientError, match="register_hook"):
        md.ones(1).register_hook(print)


def test_retain_grad_keeps_the_gradient_of_a_computed_tensor():
    x = leaf(2.0)
    h = x * 3
    h.retain_grad()
    (h * h).backward()
    assert h.grad.item() == 12.0


# ---------------------------------------------------------------------- gradients never alias
ALIASING = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "reshape": lambda a, b: a.reshape(2, 1).flatten() + b.view(-1),
    "cat": lambda a, b: md.cat([a, b]),
    "stack": lambda a, b: md.stack([a, b]),
    "expand": lambda a, b: (a + b).expand(3, 2),
    "sum": lambda a, b: a.sum() + b.sum(),
    "same": lambda a, b: a + b + a,
    "where": lambda a, b: md.where(a == a, a, b) + b,
    "clone": lambda a, b: a.clone() + b.clone(),
}


@pytest.mark.parametrize("name", ALIASING)
@pytest.mark.parametrize("create_graph", [False, True])
def test_changing_one_gradient_in_place_changes_no_other(name, create_graph):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    out = ALIASING[name](a, b)
    seed = md.ones_like(out)
    out.backward(seed, create_graph=create_graph)
    kept = b.grad.detach().numpy().copy()
    a.grad.array[...] = 777.0
    assert (b.grad.array == kept).all() and (seed.array == 1).all()


@pytest.mark.parametrize("name", ALIASING)
def test_results_of_grad_can_be_changed_in_place(name):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    out = ALIASING[name](a, b)
    seed = md.ones_like(out)
    ga, gb = grad(out, [a, b], seed)
    kept = gb.numpy().copy()
    ga.array[...] = 777.0
    assert (gb.numpy() == kept).all() and (seed.array == 1).all()


def test_grad_does_not_alias_a_second_backward():
    x = leaf(1.0, 2.0)
    seed = md.ones(2, dtype=md.float64)
    (x + 0).backward(seed)
    first = x.grad
    (x + 0).backward(seed)
    assert seed.tolist() == [1.0, 1.0] and x.grad.tolist() == [2.0, 2.0]
    assert first.tolist() in ([1.0, 1.0], [2.0, 2.0])


def test_retained_gradients_do_not_alias():
    x = leaf(1.0, 2.0)
    c = x * 1
    d = c + 0
    c.retain_grad()
    d.retain_grad()
    d.sum().backward()
    c.grad.array[...] = 5.0
    assert d.grad.tolist() == [1.0, 1.0] == x.grad.tolist()


# ---------------------------------------------------------------------- broadcasting
@st.composite
def broadcastable(draw):
    """A shape, and a larger one that it broadcasts to."""
    large = draw(st.lists(st.integers(0, 3), max_size=4))
    small = [draw(st.sampled_from([1, n])) for n in large]
    return tuple(small[draw(st.integers(0, len(small))):]), tuple(large)


@given(broadcastable(), st.integers(0, 2**32 - 1))
def test_unbroadcast_is_the_transpose_of_expand(shapes, seed):
    """<expand x, y> = <x, unbroadcast y>."""
    small, large = shapes
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(small), rng.standard_normal(large)
    back = autograd.unbroadcast(y, small)
    assert np.shape(back) == small
    np.testing.assert_allclose((np.broadcast_to(x, large) * y).sum(), (x * back).sum(), atol=1e-12)


@given(broadcastable())
def test_gradient_of_a_broadcast_sum_counts_the_copies(shapes):
    small, large = shapes
    x = md.ones(small, requires_grad=True)
    (x + md.zeros(large)).sum().backward()
    copies = np.prod(large) / max(np.prod(small), 1)
    assert x.grad.shape == small and (x.grad.numpy() == copies).all()


# ---------------------------------------------------------------------- in place: right or an error
SAVES = {  # what the first step does with y; some keep y, some their output, some nothing
    "mul by constant": lambda y, w: y * 3,
    "mul": lambda y, w: y * w,
    "square": lambda y, w: y * y,
    "exp": lambda y, w: y.exp(),
    "tanh": lambda y, w: y.tanh(),
    "sin": lambda y, w: y.sin(),
    "add": lambda y, w: y + w,
    "div": lambda y, w: w / y,
    "sum": lambda y, w: y.sum(),
    "matmul": lambda y, w: y @ w.T,
    "relu": lambda y, w: y.relu(),
    "pow": lambda y, w: y**3,
    "softmax": lambda y, w: y.softmax(1),
    "cat": lambda y, w: md.cat([y, w]),
    "max": lambda y, w: y.amax(1),
    "view": lambda y, w: y.reshape(6) * w.reshape(6),
    "part": lambda y, w: y[:, 1:] * w[:, 1:],
    "stack": lambda y, w: md.stack([w, y]).exp(),
    "where": lambda y, w: md.where(y > 0, y, w),
    "gather": lambda y, w: y[md.tensor([1, 0])] * w,
}
CHANGES = {  # what then happens to y's memory
    "y += c": lambda y, w: y.add_(1.5),
    "y *= c": lambda y, w: y.mul_(2.0),
    "y += w": lambda y, w: y.add_(w),
    "y *= w": lambda y, w: y.mul_(w),
    "y.exp_()": lambda y, w: y.exp_(),
    "y.zero_()": lambda y, w: y.zero_(),
    "y[0] = c": lambda y, w: y.__setitem__(0, 2.0),
    "y[0] = w[1]": lambda y, w: y.__setitem__(0, w[1]),
    "y[mask] = c": lambda y, w: y.__setitem__(y > 0.5, 0.1),
    "y[:, 1] *= c": lambda y, w: y[:, 1].mul_(md.tensor([0.7, 1.3], dtype=md.float64)),
    "y.T += w": lambda y, w: y.T.add_(w.T),
    "y.view += c": lambda y, w: y.view(-1).add_(1.0),
    "y[1][2] = c": lambda y, w: y[1, 2].fill_(0.3),
    "y.data += c": lambda y, w: y.data.add_(1.0),
    "y.detach *= c": lambda y, w: y.detach().mul_(0.5),
    "no_grad y += c": lambda y, w: _quietly(lambda: y.add_(1.0)),
    "no_grad y[0] = c": lambda y, w: _quietly(lambda: y.__setitem__(0, 1.0)),
    "no_grad view": lambda y, w: _quietly(lambda: y[0].zero_()),
    "copy_": lambda y, w: y.copy_(w),
    "y.relu_()": lambda y, w: y.relu_(),
    "y.data = z": lambda y, w: setattr(y, "data", w.detach() * 2),
    "view made before": None,
}


def _quietly(change):
    with md.no_grad():
        change()


def _in_place_program(save, change, use_after):
    """A program that changes y in place after it has been used; and what its arrays say the gradient is."""
    def program(x, w):
        y = x * w + 0.5
        early = y[:, :2]
        out = SAVES[save](y, w).sum()
        if change == "view made before":
            early.mul_(0.5)
        else:
            CHANGES[change](y, w)
        return out + (y * y * w).sum() if use_after else out
    return program


def _right_or_refused(program, inputs):
    """True if it raises InplaceError; else the gradient must be that of the differences."""
    try:
        return check_gradients(program, inputs) and "right"
    except InplaceError:
        return "refused"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("save", SAVES)
def test_a_change_in_place_is_refused_or_right(save, change):
    rng = np.random.default_rng(0)
    inputs = [md.tensor(rng.uniform(0.2, 1.5, (2, 3)), requires_grad=True) for _ in range(2)]
    detached = change.startswith(("y.data", "y.detach", "no_grad"))     # then the change is not part of the derivative
    for use_after in (False, True):
        if detached and use_after:
            continue
        assert _right_or_refused(_in_place_program(save, change, use_after), inputs)


def test_many_changes_in_place_are_right_rather_than_refused():
    rng = np.random.default_rng(0)
    inputs = [md.tensor(rng.uniform(0.2, 1.5, (2, 3)), requires_grad=True) for _ in range(2)]
    found = [
        _right_or_refused(_in_place_program(save, change, True), inputs)
        for save in ("add", "sum", "mul by constant", "exp")
        for change in ("y += c", "y *= c", "y += w", "y[0] = w[1]", "y.T += w", "y.view += c", "copy_", "y[1][2] = c")
    ]
    assert found.count("right") == len(found)


KEPT = {                                      # ops whose kept values are overwritten: these must all be refused
    name: function for name, function in SAVES.items()
    if name in ("mul", "square", "exp", "tanh", "sin", "div", "matmul", "relu", "pow", "softmax", "max", "view", "part")
}


@pytest.mark.parametrize("save", KEPT)
@pytest.mark.parametrize("how", ["add_", "setitem", "data", "view", "array"])
def test_overwriting_a_kept_value_is_always_refused(save, how):
    x, w = md.rand(2, 3, requires_grad=True), md.rand(2, 3, requires_grad=True)
    y = x * 1 + 0.5
    kept = KEPT[save](y, w)
    y = kept if save in ("exp", "tanh", "relu", "softmax", "max") else y
    with md.no_grad():
        {"add_": lambda: y.add_(1.0), "setitem": lambda: y.__setitem__(0, 9.0), "data": lambda: y.data.zero_(),
         "view": lambda: y[0].zero_(), "array": lambda: (y.array.fill(0), y.mark_written())}[how]()
    with pytest.raises(InplaceError, match="changed in place"):
        kept.sum().backward()


def test_an_optimizer_step_between_forward_and_backward_is_refused():
    w, v = leaf(1.0, 2.0), leaf(3.0, 4.0)
    loss = (w * v).sum()
    loss.backward(retain_graph=True)
    with md.no_grad():
        w -= 0.1 * w.grad
    with pytest.raises(InplaceError):
        loss.backward()


def test_new_data_between_forward_and_backward_is_refused():
    w, v = leaf(1.0, 2.0), leaf(3.0, 4.0)
    loss = (w * v).sum()
    w.data = md.zeros(2, dtype=md.float64)
    with pytest.raises(InplaceError):
        loss.backward()


def test_tensors_that_share_data_know_of_each_others_changes():
    w, other = leaf(1.0, 2.0), md.ones(2, dtype=md.float64)
    w.data = other
    loss = (w * w).sum()
    other.mul_(0)
    with pytest.raises(InplaceError):
        loss.backward()


@pytest.mark.parametrize("give", ["view", "base"])
def test_a_view_that_was_given_other_data_no_longer_changes_its_base(give):
    w = leaf(1.0, 2.0)
    y = md.ones(3, dtype=md.float64)
    view = y[:2]
    if give == "view":
        view.data = md.zeros(2, dtype=md.float64)
    else:
        y.data = md.zeros(3, dtype=md.float64)
    view.add_(w)
    (y.sum() + view.sum()).backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_data_changed_by_an_operator_is_still_shared():
    y, w = md.zeros(3, dtype=md.float64), leaf(1.0, 2.0)
    view = y[:2]
    view.data += 1.0
    view.add_(w)
    y.sum().backward()
    assert y.tolist() == [2.0, 3.0, 0.0] and w.grad.tolist() == [1.0, 1.0]


def test_writing_through_data_with_new_arrays_is_fine_after_backward():
    w = leaf(1.0, 2.0)
    for _ in range(3):
        w.grad = None
        (w * w).sum().backward()
        w.data = w.data - 0.1 * w.grad
    assert w.is_leaf and w.requires_grad
    np.testing.assert_allclose(w.detach().numpy(), np.array([1.0, 2.0]) * 0.8 ** 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x[0].mul_(2),
        lambda x: x.__setitem__(0, 7.0),
        lambda x: x.zero_(),
        lambda x: x.view(-1).add_(1),
    ],
)
def test_a_leaf_that_requires_grad_is_not_changed_in_place(change):
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match="leaf"):
        change(x)
    assert x.tolist() == [1.0, 2.0]
    with md.no_grad():
        change(x)
    assert x.tolist() != [1.0, 2.0] and x.is_leaf


def test_a_constant_takes_part_in_the_graph_after_an_in_place_change():
    c, w = md.zeros(2, dtype=md.float64), leaf(2.0, 3.0)
    before = c + w
    c += w * w
    (before + c).sum().backward()
    assert w.grad.tolist() == [5.0, 7.0]


@pytest.mark.parametrize("grad_of_base", [True, False])
def test_a_stale_view_is_refused(grad_of_base):
    x, w = leaf(1.0, 2.0, 3.0), leaf(2.0, 2.0, 2.0)
    y = x * 1 if grad_of_base else md.ones(3, dtype=md.float64)
    view = y[:2]
    y.add_(w)
    with pytest.raises(InplaceError, match="take the view again"):
        view * 2
    with md.no_grad():
        assert (view * 1).shape == (2,)


def test_a_view_taken_after_the_change_is_fine():
    w = leaf(2.0, 2.0, 2.0)
    y = md.ones(3, dtype=md.float64)
    y.add_(w)
    y[:2].sum().backward()
    assert w.grad.tolist() == [1.0, 1.0, 0.0]


def test_a_change_through_a_view_of_a_view_reaches_the_base():
    x, w = md.zeros(3, 4, dtype=md.float64), leaf(5.0, 7.0)
    x.T[1:3][:, 0].add_(w)
    assert x[0].tolist() == [0.0, 5.0, 7.0, 0.0]
    (x * x).sum().backward()
    assert w.grad.tolist() == [10.0, 14.0]


def test_a_slot_of_a_vector_is_a_view():
    x = md.zeros(3)
    x[1].fill_(5)
    assert x.tolist() == [0.0, 5.0, 0.0]


def test_a_change_of_an_expanded_tensor_is_refused():
    with pytest.raises(InplaceError, match="clone"):
        md.zeros(1).expand(3).add_(1)


FUNCTIONAL = {
    "add_": (lambda x, w: x.add_(w), lambda x, w: x + w),
    "sub_": (lambda x, w: x.sub_(w), lambda x, w: x - w),
    "mul_": (lambda x, w: x.mul_(3), lambda x, w: x * 3),
    "div_": (lambda x, w: x.div_(2), lambda x, w: x / 2),
    "exp_": (lambda x, w: x.exp_(), lambda x, w: x.exp()),
    "sqrt_": (lambda x, w: x.sqrt_(), lambda x, w: x.sqrt()),
    "sigmoid_": (lambda x, w: x.sigmoid_(), lambda x, w: x.sigmoid()),
    "tanh_": (lambda x, w: x.tanh_(), lambda x, w: x.tanh()),
    "relu_": (lambda x, w: x.relu_(), lambda x, w: x.relu()),
    "neg_": (lambda x, w: x.neg_(), lambda x, w: -x),
    "masked_fill_": (lambda x, w: x.masked_fill_(w > 1, 0.5), lambda x, w: x.masked_fill(w > 1, 0.5)),
    "zero_": (lambda x, w: x.zero_(), lambda x, w: x * 0),
    "fill_": (lambda x, w: x.fill_(2), lambda x, w: x * 0 + 2),
    "copy_": (lambda x, w: x.copy_(w), lambda x, w: w * 1),
    "setitem": (lambda x, w: _set(x, (slice(None), 1), w[:, 0]), lambda x, w: md.stack([x[:, 0], w[:, 0], x[:, 2]], 1)),
    "setitem mask": (lambda x, w: _set(x, w > 1, 0.0), lambda x, w: md.where(w > 1, 0.0, x)),
    "setitem index": (lambda x, w: _set(x, md.tensor([1]), w[0] * w[1]), lambda x, w: md.stack([x[0], w[0] * w[1]])),
    "setitem broadcast": (lambda x, w: _set(x, ..., w[:1, None]), lambda x, w: w[:1].expand(2, 3) + x * 0),
}


def _set(x, key, value):
    x[key] = value
    return x


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_in_place_equals_the_functional_form(name):
    in_place, functional = FUNCTIONAL[name]
    results = []
    for function, start in ((in_place, lambda x: x.clone()), (functional, lambda x: x)):
        x, w = (
            md.tensor(a, requires_grad=True)
            for a in (np.arange(6.0).reshape(2, 3) + 0.5, np.linspace(0.3, 2, 6).reshape(2, 3))
        )
        out = function(start(x), w)
        found = grad((out * out).sum() + 0 * x.sum(), [x, w], allow_unused=True)
        results.append([out.detach().numpy(), *(np.zeros((2, 3)) if g is None else g.numpy() for g in found)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_in_place_returns_the_tensor_itself():
    x = md.ones(2)
    y = x
    y += 1
    assert y is x and x.add_(1) is x and x.tolist() == [3.0, 3.0]


# ---------------------------------------------------------------------- the check checks
def test_check_gradients_passes_what_is_right():
    assert check_gradients(lambda x, y: (x @ y).tanh(), [leaf([[1.0, 2.0]]), leaf([[0.5], [-0.5]])], second_order=True)


@pytest.mark.parametrize("wrong", [
    lambda x: x * x.detach(), lambda x: x.detach() * 2 + x * 0, lambda x: md.where(x > 0, x, x.detach()),
    lambda x: x.detach() + x * (1 + 1e-3)])
def test_check_gradients_flags_what_is_wrong(wrong):
    with pytest.raises(GradientError, match="wrong at"):
        check_gradients(wrong, [leaf(0.5, -0.5)])


def test_check_gradients_flags_nan():
    with pytest.raises(GradientError, match="nan"), np.errstate(all="ignore"):
        check_gradients(lambda x: md.where(x > -10, x, x / (x - x)), [leaf(0.5)])


def test_check_gradients_says_which_input_and_entry():
    with pytest.raises(GradientError, match=r"input 1 is wrong at \(2,\)"):
        check_gradients(lambda x, y: x * y + y[2].detach() * y[2].detach(), [leaf(1.0, 2.0, 3.0), leaf(1.0, 2.0, 3.0)])


def test_check_gradients_wants_float64():
    with pytest.raises(ArgumentError, match="float64"):
        check_gradients(md.tanh, [md.ones(2, requires_grad=True)])


def test_check_gradients_leaves_its_inputs_as_they_were():
    x = leaf(0.1, 0.7)
    check_gradients(md.tanh, [x])
    assert x.tolist() == [0.1, 0.7] and x.grad is None


# ---------------------------------------------------------------------- memory and threads
def _train(steps, seed=0, size=4):
    """A small training loop; its final weights."""
    rng = np.random.default_rng(seed)
    w, b = (md.tensor(rng.standard_normal(s).astype(np.float32), requires_grad=True) for s in ((size, size), (size,)))
    x = md.tensor(rng.standard_normal((3, size)).astype(np.float32))
    for _ in range(steps):
        y = x @ w + b
        y[:, 0] *= 2.0
        loss = (y.tanh() - x).square().mean() + y.logsumexp(1).sum() * 0.01
        loss.backward()
        with md.no_grad():
            for p in (w, b):
                p -= 0.01 * p.grad
                p.grad = None
    return np.concatenate([w.detach().numpy().ravel(), b.detach().numpy()])


def _growth(run, steps):
    """Bytes that `steps` more steps leave behind, with the garbage collector off."""
    run(50)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run(steps)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()


def _alive():
    return sum(issubclass(type(thing), md.Tensor | Node) for thing in gc.get_objects())    # asks nobody for __class__


def test_steps_without_the_garbage_collector_leave_no_tensor_and_no_node_behind():
    gc.collect()
    gc.disable()
    try:
        before = _alive()
        _train(20)
        assert _alive() == before
    finally:
        gc.enable()


@pytest.mark.slow
def test_10_000_steps_without_the_garbage_collector_leave_less_than_a_megabyte():
    assert _growth(_train, 10_000) < 1_000_000


@pytest.mark.parametrize("step", [
    lambda x: (x * x).sum(),                                  # never backpropagated
    lambda x: (x * x).sum().backward(),
    lambda x: x.exp()[0].mul_(2.0),
    lambda x: _with_retained_grad(x).backward(),
    lambda x: grad(grad((x ** 3).sum(), x, create_graph=True)[0].sum(), x),
    lambda x: (x * 1).register_hook(lambda g: g),
], ids=["dropped", "backward", "view", "retain_grad", "second order", "hook"])
def test_a_graph_that_is_dropped_goes_away_by_itself(step):
    x = md.ones(1000, requires_grad=True)

    def run(steps):
        for _ in range(steps):
            step(x)
            x.grad = None
    assert _growth(run, 100) < 50_000


def _with_retained_grad(x):
    h = x * 2
    h.retain_grad()
    return h.sum()


def test_backward_lets_go_of_kept_values():
    x = md.ones(1000, requires_grad=True)
    y = (x * 2).exp()
    loss = (y * y).sum()
    loss.backward()
    assert all(node.out is None and node.plan is None for node in autograd.ancestors([loss.node]))


def test_training_in_8_threads_is_bit_equal_to_serial():
    results = [None] * 8

    def work(k):
        results[k] = _train(20, seed=k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, found in enumerate(results):
        assert (found == _train(20, seed=k)).all()


# ---------------------------------------------------------------------- what may be a gradient
@pytest.mark.parametrize("value", [0, 0.0, [0, 0], np.zeros(2), "none"])
def test_a_gradient_is_a_tensor_or_none(value):
    x = md.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(md.errors.ArgumentError, match="a gradient is a tensor, or None"):
        x.grad = value
    assert x.grad is None
    x.grad = md.zeros(2)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
