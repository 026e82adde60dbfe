"""Functions of functions: every transform against its definition, alone and inside each other."""
# ruff: noqa: E731, B023   (functions of functions: short ones deserve a name on one line)
import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, DeviceError, DimensionError, GradientError, InplaceError, ShapeError
from minidl.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    vjp,
    vmap,
)
from minidl.nn import functional as F
from minidl.primitive import registry
from tests.samples import TABLE


def numbers(*shape, seed=0):
    """Normal numbers as a float64 tensor."""
    return md.tensor(np.random.default_rng(seed).standard_normal(shape))


def close(x, y, tolerance=1e-10):
    x, y = (np.asarray(v.detach().numpy() if isinstance(v, md.Tensor) else v) for v in (x, y))
    assert x.shape == y.shape
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def difference(f, xs, vs, eps=1e-6):
    """The derivative of f along vs by central differences."""
    there, back = (f(*[x + sign * eps * v for x, v in zip(xs, vs)]) for sign in (1, -1))
    return (there - back) / (2 * eps)


def row(x):
    """A function of a vector with branches that meet again, broadcasting, indexing and a product."""
    h = md.tanh(x) * x[0] + x.sum()
    return md.stack([h.prod(), md.logsumexp(h, 0), (h[1:] @ h[:-1])]) * md.exp(-x[2] ** 2)


# ---------------------------------------------------------------------- derivatives
def test_vjp_jvp_and_jacobian_are_one_matrix():
    x, u, v = numbers(4), numbers(3, seed=1), numbers(4, seed=2)
    J = jacobian(row)(x)
    assert J.shape == (3, 4)
    for k in range(4):
        close(J[:, k], difference(row, [x], [md.eye(4, dtype=md.float64)[k]]), 1e-7)
    y, pull = vjp(row, x)
    close(y, row(x))
    close(pull(u)[0], u @ J)
    close(jvp(row, (x,), (v,))[1], J @ v)
    close(jacfwd(row)(x), J)
    assert jacobian is jacrev


def test_a_hessian_is_symmetric_and_right():
    f = lambda x: row(x).sum()
    x = numbers(4)
    H = hessian(f)(x)
    close(H, H.T)
    close(H, jacrev(jacrev(f))(x))
    close(H, jacfwd(jacfwd(f))(x))
    close(H, jacrev(jacfwd(f))(x))
    for k in range(4):
        close(H[k], difference(grad(f), [x], [md.eye(4, dtype=md.float64)[k]]), 1e-7)


def test_trees_go_in_and_out():
    def f(p, x):
        return {"y": p["w"] * x, "sum": [(p["w"] * p["b"]).sum(), x]}
    p, x = {"w": numbers(3), "b": numbers(3, seed=1)}, numbers(3, seed=2)
    out, pull = vjp(f, p, x)
    gp, gx = pull({"y": md.ones(3, dtype=md.float64), "sum": [md.tensor(2.0, dtype=md.float64), x]})
    close(gp["w"], x + 2 * p["b"])
    close(gp["b"], 2 * p["w"])
    close(gx, p["w"] + x)
    J = jacobian(f, argnums=(0, 1))(p, x)
    close(J["y"][0]["w"], md.diag(x))
    close(J["y"][1], md.diag(p["w"]))
    close(J["sum"][0][0]["b"], p["w"])
    close(J["sum"][1][0]["w"], md.zeros(3, 3))
    moved = jvp(f, (p, x), ({"w": x, "b": x}, x))[1]
    close(moved["y"], x * x + p["w"] * x)


def test_grad_takes_argnums_and_aux():
    f = lambda x, y: ((x * x * y).sum(), "note")
    x, y = numbers(3), numbers(3, seed=1)
    (gx, gy), note = grad(f, argnums=(0, 1), has_aux=True)(x, y)
    close(gx, 2 * x * y)
    close(gy, x * x)
    assert note == "note"
    g, (value, note) = grad_and_value(f, argnums=-1, has_aux=True)(x, y)
    close(g, x * x)
    close(value, (x * x * y).sum())
    out, pull, note = vjp(f, x, y, has_aux=True)
    assert note == "note" and pull(md.tensor(1.0))[0].shape == (3,)


def test_gradients_of_gradients_and_of_what_lies_outside():
    x = numbers(3)
    close(grad(lambda x: grad(lambda x: (x ** 3).sum())(x).sum())(x), 6 * x)
    close(grad(lambda x: (x * grad(lambda y: (y * x * x).sum())(x)).sum())(x), 3 * x * x)     # x seen from inside
    w = numbers(3, seed=1).requires_grad_()
    grad(lambda x: (w * x * x).sum())(x).sum().backward()                                    # on the ordinary tape
    close(w.grad, 2 * x)
    with md.no_grad():
        assert not grad(lambda x: (w * x * x).sum())(x).requires_grad
    assert not grad(lambda x: (x * x).sum())(x).requires_grad
    assert x.grad is None and not x.requires_grad


def test_what_is_not_used_has_gradient_zero():
    x, y = numbers(3), numbers(2)
    close(grad(lambda x, y: (x * 2).sum(), argnums=1)(x, y), md.zeros(2))
    close(jvp(lambda x: md.ones(2, dtype=md.float64), (x,), (x,))[1], md.zeros(2))
    close(jacobian(lambda x: md.ones(2, dtype=md.float64))(x), md.zeros(2, 3))


@pytest.mark.parametrize("base", [s for s in TABLE if s.wrt()], ids=str)
def test_forward_mode_is_the_transpose_of_reverse_mode(base):
    """<u, J v> = <u^T J, v> for every primitive."""
    wrt, arrays, rng = base.wrt(), base.inputs(), np.random.default_rng(0)
    def f(*xs):
        args = list(arrays)
        for k, x in zip(wrt, xs):
            args[k] = x
        return base.op(*args, **base.meta())
    xs = [md.tensor(arrays[k]) for k in wrt]
    vs = [md.tensor(rng.standard_normal(x.shape)) for x in xs]
    y, moved = jvp(f, tuple(xs), tuple(vs))
    u = md.tensor(rng.standard_normal(y.shape))
    pulled = vjp(f, *xs)[1](u)
    assert moved.shape == y.shape
    close((u * moved).sum(), sum((g * v).sum() for g, v in zip(pulled, vs)), 1e-9)


# ---------------------------------------------------------------------- vmap
def each(f, *batches, dims=None):
    """What vmap should give: one example after the other."""
    dims = dims or [0] * len(batches)
    count = next(x.shape[d] for x, d in zip(batches, dims) if d is not None)
    return md.stack([f(*[x if d is None else x.select(d, k) for x, d in zip(batches, dims)]) for k in range(count)])


def batches_of(sample, which, count=3):
    """The inputs of a sample; those in `which` differ by example."""
    rng = np.random.default_rng(1)
    arrays = sample.inputs()
    batched = []
    for k, a in enumerate(arrays):
        if k not in which:
            batched.append(a)
        elif a.dtype.kind == "f":
            scale = 1 - 0.1 * rng.random((count, *[1] * a.ndim))      # stays where the op is defined
            batched.append(a * scale)
        else:
            batched.append(np.stack([a, a[::-1] if a.ndim else a, a]))
    return batched


@pytest.mark.parametrize("base", [s for s in TABLE if s.op.inputs and s.specs], ids=str)
def test_every_primitive_on_a_batch_is_itself_on_each_example(base):
    arrays = base.inputs()
    places = [k for k, a in enumerate(arrays) if isinstance(a, np.ndarray)]
    for which in {tuple(places), *((k,) for k in places)}:
        batched = batches_of(base, which)
        dims = tuple(0 if k in which else None for k in range(len(arrays)))
        xs = [md.Tensor(a) if isinstance(a, np.ndarray) else a for a in batched]
        found = vmap(lambda *a: base.op(*a, **base.meta()), in_dims=dims)(*xs)
        for k in range(3):
            one = [a[k] if j in which else a for j, a in enumerate(batched)]
            np.testing.assert_allclose(found.numpy()[k], base.op(*one, **base.meta()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("base", [s for s in TABLE if s.wrt()], ids=str)
def test_gradients_of_single_examples_and_gradients_through_a_batch(base):
    """vmap(grad) gives each example its own; grad(vmap) sums what is shared: for every primitive and its rules."""
    wrt, arrays = base.wrt(), base.inputs()
    batched = batches_of(base, wrt)
    xs = [md.Tensor(batched[k]) for k in wrt]
    weights = numbers(*np.shape(base.op(*arrays, **base.meta())), seed=3)
    def f(*xs):
        args = list(arrays)
        for k, x in zip(wrt, xs):
            args[k] = x
        return (base.op(*args, **base.meta()) * weights).sum()
    places = tuple(range(len(wrt)))
    singly = vmap(grad(f, argnums=places))(*xs)
    for k in range(3):
        for found, expected in zip(singly, grad(f, argnums=places)(*[x[k] for x in xs])):
            close(found[k], expected, 1e-9)
    for j in places:                                  # only input j differs, the others are shared by all
        dims = tuple(0 if k == j else None for k in places)
        given = [x if k == j else x[1] for k, x in enumerate(xs)]
        through = grad(lambda *xs: vmap(f, in_dims=dims)(*xs).sum(), argnums=places)(*given)
        expected = grad(lambda *xs: sum(f(*[x[e] if k == j else x for k, x in enumerate(xs)]) for e in range(3)),
                        argnums=places)(*given)
        for a, b in zip(through, expected):
            close(a, b, 1e-9)


def test_axes_in_and_out():
    x, y = numbers(2, 5, 3), numbers(3, 5, seed=1)
    f = lambda a, b: {"p": a * b[0], "q": (b, a.sum())}
    out = vmap(f, in_dims=(2, 0), out_dims={"p": 1, "q": (-1, 0)})(x, y)
    close(out["p"], md.stack([x[:, :, k] * y[k, 0] for k in range(3)], 1))
    close(out["q"][0], y.T)
    close(out["q"][1], x.sum((0, 1)))
    close(vmap(lambda p, a: p["w"] * a, in_dims=({"w": None}, 0))({"w": x[0]}, y.T), each(lambda a: x[0] * a, y.T))


def test_inside_each_other():
    x, y = numbers(3), numbers(4, seed=1)
    close(vmap(lambda a: vmap(lambda b: a * b + a)(y))(x), md.outer(x, y) + x[:, None])
    f = lambda a, b: (md.tanh(a) * b ** 2).sum()
    mixed = vmap(vmap(grad(grad(f), argnums=1), in_dims=(None, 0)), in_dims=(0, None))(x, y)
    close(mixed, md.outer(1 - md.tanh(x) ** 2, 2 * y))
    w = numbers(3, 4, seed=2)
    shared = grad(lambda w: vmap(lambda a: vmap(lambda b: (w * a * b).sum())(y).sum())(x).sum())(w)
    close(shared, md.full((3, 4), float(x.sum() * y.sum()), dtype=md.float64))


def test_a_jacobian_through_vmap_and_vmap_of_jacobians():
    x = numbers(3, 4)
    J = jacrev(vmap(row))(x)
    close(jacfwd(vmap(row))(x), J)
    for k in range(3):
        close(J[k, :, k], jacrev(row)(x[k]))
    close(vmap(jacrev(row))(x), each(jacrev(row), x))
    close(vmap(jacfwd(row))(x), each(jacfwd(row), x))
    close(vmap(hessian(lambda x: row(x).sum()))(x), each(hessian(lambda x: row(x).sum()), x))


def test_the_hessian_of_a_function_with_a_vmap_in_it():
    w, x = numbers(3), numbers(5, 3, seed=1)
    f = lambda w: vmap(lambda row: md.tanh(row @ w) ** 2)(x).sum()
    g = lambda w: (md.tanh(x @ w) ** 2).sum()
    close(hessian(f)(w), hessian(g)(w))
    close(jacrev(jacrev(f))(w), hessian(g)(w))


def network():
    md.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 5),
                         nn.Tanh(), nn.Linear(5, 4)).to(np.float64)


def test_gradients_of_every_example_of_a_network():
    """What private learning needs: no loop, and equal to one backward pass for each example."""
    model, x, y = network(), numbers(6, 1, 6, 6), md.tensor([0, 1, 2, 3, 0, 1])
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(params, image, label):
        return F.cross_entropy(functional_call(model, params, (image.unsqueeze(0),)), label.unsqueeze(0))
    found = vmap(grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for k in range(6):
        model.zero_grad()
        F.cross_entropy(model(x[k:k + 1]), y[k:k + 1]).backward()
        for name, p in model.named_parameters():
            close(found[name][k], p.grad)
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        close(found[name].mean(0), p.grad)


def test_a_recurrent_network_on_a_batch_of_batches():
    md.manual_seed(0)
    model, x = nn.LSTM(3, 4).to(np.float64), numbers(5, 6, 2, 3)
    f = lambda x: model(x)[0]
    close(vmap(f)(x), each(f, x))
    params = {name: p.detach() for name, p in model.named_parameters()}
    g = grad(lambda p, x: functional_call(model, p, (x,))[0].sum())
    found = vmap(g, in_dims=(None, 0))(params, x)
    for k in range(5):
        for name, value in g(params, x[k]).items():
            close(found[name][k], value)


def test_backward_through_vmap_adds_to_the_parameters():
    model, x = nn.Linear(3, 2).to(np.float64), numbers(5, 3)
    vmap(model)(x).sum().backward()
    ours = model.weight.grad
    model.zero_grad()
    model(x).sum().backward()
    close(ours, model.weight.grad)


def test_functional_call_leaves_the_module_as_it_was():
    model = network()
    before = list(model.named_parameters())
    with pytest.raises(ArgumentError, match="no parameter 'nobody'(.|\n)*known +0.weight"):
        functional_call(model, {"0.weight": md.zeros(3, 1, 3, 3), "nobody": md.zeros(1)}, numbers(1, 1, 6, 6))
    assert [(n, id(p)) for n, p in before] == [(n, id(p)) for n, p in model.named_parameters()]


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize("call, error, words", [
    (lambda x: grad(lambda x: x)(x), GradientError, "single number.*\n.*(3,).*\nTry: reduce it"),
    (lambda x: grad(lambda x: 3.0)(x), ArgumentError, "must return tensors, got float"),
    (lambda x: grad(lambda x: x.sum(), argnums=2)(x), ArgumentError, "no argument 2"),
    (lambda x: grad(lambda x: x.sum())(md.tensor([1, 2])), GradientError, "only floating-point"),
    (lambda x: grad(lambda x: x.sum(), has_aux=True)(x), ArgumentError, "a pair"),
    (lambda x: vjp(lambda x: x, x)[1](x[:2]), ShapeError, "cotangent"),
    (lambda x: jvp(lambda x: x, (x,), (x, x)), ArgumentError, "one tangent for each"),
    (lambda x: vmap(lambda x: x if x > 0 else -x)(x), DeviceError, "differs from example to example(.|\n)*md.where"),
    (lambda x: vmap(lambda x: x.sum().item())(x), DeviceError, "differs from example"),
    (lambda x: vmap(lambda x: np.sin(x.numpy()))(x), DeviceError, "vmap"),
    (lambda x: vmap(lambda x: x.add_(1))(x), InplaceError, "in place inside vmap"),
    (lambda x: vmap(lambda x, y: x)(x, x[:2]), ShapeError, "one batch size"),
    (lambda x: vmap(lambda x: x, in_dims=None)(x), ShapeError, "no input has a batch"),
    (lambda x: vmap(lambda x: x, in_dims=1)(x), DimensionError, "no axis 1"),
    (lambda x: vmap(lambda x, y: x, in_dims=(0, 0, 0))(x, x), ArgumentError, "form of the arguments"),
    (lambda x: vmap(lambda a: a @ md.ones(4))(x), ShapeError, "matmul|number"),
])
def test_errors_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call(numbers(3))


def test_an_error_inside_vmap_leaves_it():
    with pytest.raises(ZeroDivisionError):
        vmap(lambda x: 1 // 0)(numbers(3))
    assert vmap(lambda x: x * 2)(numbers(2)).shape == (2,)


def test_a_learners_op_without_a_rule_runs_one_by_one():
    from minidl.primitive import primitive
    @primitive
    def cubed_row(xp, x):
        return xp.flip(x) ** 3
    @cubed_row.grad("x")
    def _(g, x):
        return g.__getitem__(slice(None, None, -1)) * 3 * x ** 2
    try:
        x = numbers(4, 3)
        close(vmap(cubed_row)(x), each(cubed_row, x))
        close(vmap(grad(lambda x: (cubed_row(x) * x).sum()))(x), each(grad(lambda x: (cubed_row(x) * x).sum()), x))
    finally:
        registry.pop("cubed_row", None)
        registry.pop(f"{__name__}.cubed_row", None)
