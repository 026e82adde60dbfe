"""md.compile: what it relies on, what it says, and that a compiled function is the function."""
import copy
import math
import pickle
import sys
import threading

import numpy as np
import pytest

import minidl as md
from minidl import backend, kernels, nn, optim
from minidl import graph as G
from minidl.errors import ArgumentError, DimensionError, InplaceError, ShapeError, TraceError
from minidl.grading import whose
from minidl.graph import compile, trace
from minidl.graph.trace import active
from minidl.nn import functional as F
from minidl.nn.module import observers
from tests.graph_tools import all_same, same


def rows(n=5, seed=0, dtype=np.float64):
    return md.Tensor(np.random.default_rng(seed).standard_normal((n, 4)).astype(dtype))


def net(seed=0):
    md.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3)).to(md.float64)


def labels(n=5):
    return md.tensor(np.arange(n) % 3)


def everything(model, optimizer):
    """All numbers that training changes."""
    found = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    for p in model.parameters():
        state = optimizer.state.get(p, {})
        found += [state[k] if isinstance(state[k], md.Tensor) else md.tensor(state[k]) for k in sorted(state)]
    return [md.Tensor(np.array(x.detach().numpy())) for x in found]


def both(script, make=net, optimizer=lambda p: optim.Adam(p, lr=0.01)):
    """Run `script(step, model, optimizer)` with the plain and the compiled step; the compiled function."""
    runs = []
    for compiled in (False, True):
        model = make()
        opt = optimizer(model.parameters())

        def step(x, y, model=model, opt=opt):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss
        function = compile(step) if compiled else step
        md.manual_seed(5)
        found = [md.Tensor(np.array(y.detach().numpy())) for y in script(function, model, opt)]
        runs.append([*found, *everything(model, opt), md.rand(2)])
    all_same(runs[1], runs[0])
    return function


# ---------------------------------------------------------------------- training
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD all": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "SGD dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "SGD up": lambda p: optim.SGD(p, lr=0.1, maximize=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.01),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "RMSprop all": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "Adam all": lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.9), weight_decay=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "groups": lambda p: (lambda ps: optim.Adam([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.1}], lr=0.01))(list(p)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_with_every_optimizer_is_that_of_eager(name):
    def script(step, model, opt):
        return [step(rows(5, k), labels()) for k in range(5)]
    function = both(script, optimizer=OPTIMIZERS[name])
    assert len(function.log) <= 3, function.explain()
    assert len(function.runs) <= 2


def test_a_scheduler_changes_the_rate_without_a_new_recording():
    def script(step, model, opt):
        schedule = optim.lr_scheduler.ExponentialLR(opt, 0.5)
        losses = []
        for k in range(6):
            losses.append(step(rows(5, k), labels()))
            schedule.step()
        return losses
    function = both(script)
    assert len(function.log) == 1, function.explain()


def test_a_setting_that_the_formula_asks_for_is_a_guard():
    def script(step, model, opt):
        losses = [step(rows(), labels()) for _ in range(3)]
        opt.param_groups[0]["weight_decay"] = 0.1
        losses += [step(rows(), labels()) for _ in range(3)]
        opt.param_groups[0]["weight_decay"] = 0.2
        losses += [step(rows(), labels()) for _ in range(2)]
        opt.param_groups[0]["weight_decay"] = 0
        return losses + [step(rows(), labels())]
    function = both(script, optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9))
    assert "weight_decay" in function.explain() and len(function.log) <= 5, function.explain()


@pytest.mark.parametrize("order", ["before", "after", "zeros", "never", "every second"])
def test_gradients_are_cleared_and_added_up_as_in_eager(order):
    runs = []
    for compiled in (False, True):
        model = net()
        opt = optim.SGD(model.parameters(), lr=0.05)

        def step(x, y, model=model, opt=opt):
            if order in ("before", "zeros"):
                opt.zero_grad(set_to_none=order == "before")
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            if order == "after":
                opt.zero_grad()
            return loss
        function = compile(step) if compiled else step
        md.manual_seed(5)
        found = []
        for k in range(6):
            if order == "every second" and k % 2 == 0:
                opt.zero_grad()
            found += [md.Tensor(np.array(function(rows(5, k), labels()).detach().numpy())), *everything(model, opt)]
        runs.append(found)
    all_same(runs[1], runs[0], order)
    assert len(function.log) <= 3, function.explain()
    assert "has a gradient now" in function.explain() or len(function.log) < 3


def test_gradients_of_two_calls_add_up_outside():
    runs = []
    for compiled in (False, True):
        model = nn.Linear(4, 3).to(md.float64)
        with md.no_grad():
            model.weight.fill_(0.5), model.bias.fill_(0.1)
        function = (lambda f: compile(f) if compiled else f)(lambda x, model=model: model(x).tanh().sum())
        for k in range(3):
            (function(rows(5, k)) * 2 + function(rows(3, k))).backward()
        runs.append([p.grad for p in model.parameters()])
    all_same(runs[1], runs[0])


# ---------------------------------------------------------------------- guards
def test_each_kind_of_call_is_recorded_once_and_explained():
    layer, calls = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0)), []

    @compile
    def f(x, factor=1, *, flag=False):
        calls.append(1)
        return layer(x) * factor + (1 if flag else 0)
    x = rows(dtype=np.float32)
    kinds = [lambda: f(x), lambda: f(rows(3, dtype=np.float32)), lambda: f(x, 2), lambda: f(x, 2.0),
             lambda: f(x, flag=True), lambda: f(rows(dtype=np.float32).requires_grad_())]
    for count, kind in enumerate(kinds, 1):
        for _ in range(3):
            kind()
        assert len(calls) == count
    with md.no_grad():
        f(x)
    layer.eval()
    f(x), f(x)
    assert len(calls) == len(kinds) + 2
    layer.train()
    f(x)
    assert len(calls) == len(kinds) + 2                 # the first recording still holds
    text = f.explain()
    assert text.startswith("f: recorded 8 times\n") and "because it was the first call" in text
    for reason in ("(3, 4)", "float32 (5, 4)", "gradients are not recorded now", "is in evaluation", "requires grad"):
        assert reason in text, text


def test_what_is_returned_and_taken_may_be_a_tree():
    @compile
    def f(batch, scale=None, **rest):
        listed = [batch["a"] * 2, (rest["c"], 3, "text", None)]
        return {"sum": batch["a"] + batch["b"][0], "list": listed, "n": len(rest)}
    a, b, c = rows(5, 1), rows(5, 2), rows(5, 3)
    for _ in range(2):
        out = f({"a": a, "b": [b]}, c=c)
        same(out["sum"], a + b)
        same(out["list"][0], a * 2)
        same(out["list"][1][0], c)
        assert out["list"][1][1:] == (3, "text", None) and out["n"] == 1
    assert len(f.log) == 1


def test_a_dict_with_other_keys_is_another_call():
    f = compile(lambda d: d["a"] - d["b"])
    a, b = rows(5, 1), rows(5, 2)
    same(f({"a": a, "b": b}), a - b)
    same(f({"b": b, "a": a}), a - b)
    same(f({"a": b, "b": a}), b - a)


def test_an_object_among_the_arguments_is_told_apart():
    class Thing:
        def __init__(self, n):
            self.n = n
    f = compile(lambda x, thing: x * thing.n)
    things = [Thing(2), Thing(3)]
    for _ in range(2):
        for thing in things:
            same(f(rows(), thing), rows() * thing.n)
    for n in range(20):                                # objects that come and go, perhaps at the same address
        same(f(rows(), Thing(n)), rows() * n)


def test_arrays_among_the_arguments_are_not_frozen():
    f = compile(lambda x, a: x * md.tensor(a))
    for k in range(3):
        a = np.full(4, float(k))
        same(f(rows(), a), rows() * k)
        a[:] = 7.0
        same(f(rows(), a), rows() * 7)


def test_numbers_that_look_alike_are_told_apart():
    f = compile(lambda x, v: x * v if isinstance(v, int) else x / v)
    same(f(rows(), 2), rows() * 2)
    same(f(rows(), 2.0), rows() / 2.0)
    same(f(rows(), True), rows() * True)
    g = compile(lambda x, s: x + len(s))
    same(g(rows(), "ab"), rows() + 2)
    same(g(rows(), "ab c"), rows() + 4)


# ---------------------------------------------------------------------- what is outside
def test_a_tensor_from_outside_is_read_anew():
    w = md.tensor([1.0, 2.0])
    f = compile(lambda x: x * w)
    x = md.tensor([1.0, 1.0])
    assert f(x).tolist() == [1, 2]
    w.mul_(2)
    assert f(x).tolist() == [2, 4]
    w.array[0] = 7
    assert f(x).tolist() == [7, 4]
    w.data = md.tensor([5.0, 6.0])
    assert f(x).tolist() == [5, 6]
    w[1] = 0
    assert f(x).tolist() == [5, 0] and len(f.log) == 1
    w.data = md.tensor([5.0])
    assert f(x).tolist() == [5, 5] and len(f.log) == 2


def test_parameters_that_were_loaded_are_seen():
    model, other = net(0), net(1)
    model.eval(), other.eval()
    f = compile(model)
    before = f(rows())
    model.load_state_dict(other.state_dict())
    same(f(rows()), other(rows()))
    assert len(f.log) == 1 and not np.allclose(before.detach().numpy(), f(rows()).detach().numpy())


def test_an_optimizer_that_was_loaded_goes_on():
    def script(step, model, opt):
        losses = [step(rows(5, k), labels()) for k in range(3)]
        saved, weights = opt.state_dict(), {k: md.tensor(v) for k, v in model.state_dict().items()}
        losses += [step(rows(5, k), labels()) for k in range(2)]
        opt.load_state_dict(saved)
        model.load_state_dict(weights)
        return losses + [step(rows(5, k), labels()) for k in range(3)]
    both(script)


def test_a_python_number_in_an_optimizer_that_is_counted_goes_on():
    def script(step, model, opt):
        losses = [step(rows(5, k), labels()) for k in range(4)]
        assert {type(s["step"]) for s in opt.state.values()} == {int}
        assert opt.state[next(model.parameters())]["step"] == 4
        return losses
    both(script)


def test_changes_of_an_input_reach_the_caller():
    def function(x, y):
        x.add_(1)
        y[0].mul_(x.sum())
        return x * y
    compiled = compile(function)
    for k in range(3):
        eager, ours = ([rows(5, k), rows(5, k + 1)] for _ in range(2))
        same(compiled(*ours), function(*eager))
        all_same(ours, eager)


def test_a_tensor_that_is_input_and_from_outside_at_once():
    w = rows()

    def function(x):
        y = x * 2
        w.add_(1)
        return y + x * 3 + w
    same(compile(function)(rows(5, 3)), rows(5, 3) * 5 + (w.clone() + 0))
    w, eager = rows(), rows()
    compiled = compile(function)
    compiled(rows(5, 1))
    eager.add_(1)
    out = compiled(w)
    expected = eager.clone() * 2
    eager.add_(1)
    expected = expected + eager * 3 + eager
    same(w, eager)
    same(out, expected)


def test_two_tensors_that_share_memory():
    base = rows()
    part, whole = base[1], base

    def function():
        whole.add_(1)
        return part * 2
    compiled = compile(function)
    for _ in range(3):
        before = base.numpy().copy()
        same(compiled(), md.Tensor((before + 1)[1] * 2))


def test_the_outputs_belong_to_the_caller():
    w = rows(5, 9)
    f = compile(lambda x: [x, x + 0, x.T, x * 1, w[0], md.ones(3), x.sum(0)])
    for _ in range(3):
        x = rows()
        outs = f(x)
        for y in outs:
            y.array[...] = 99
        same(x, rows())
        same(w, rows(5, 9))


# ---------------------------------------------------------------------- gradients from outside
def test_backward_through_the_outputs():
    runs = []
    for compiled in (False, True):
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(md.float64)
        with md.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(md.Tensor(np.random.default_rng(k).standard_normal(p.shape)))
        f = (lambda fn: compile(fn) if compiled else fn)(
            lambda x, model=model: (model(x), model(x * 2).sum(), x.detach() * 2, x * 3))
        found = []
        for k in range(3):
            x = rows(5, k).requires_grad_()
            scale = md.Tensor(np.array(2.0), True)
            a, b, c, d = f(x * scale)
            assert not c.requires_grad and d.requires_grad
            (a.sum() + b * 3 + d.sum()).backward()
            found += [x.grad, scale.grad, *(p.grad for p in model.parameters())]
            leaf = rows(5, k).requires_grad_()
            f(leaf)[1].backward()
            found.append(leaf.grad)
        runs.append([md.Tensor(np.array(g.numpy())) for g in found])
    all_same(runs[1], runs[0])


def test_an_input_that_requires_a_gradient_gets_it_inside():
    def function(x):
        y = (x * x).sum()
        y.backward()
        return y.detach()
    for f in (function, compile(function)):
        for k in range(3):
            x = rows(5, k).requires_grad_()
            same(f(x), (rows(5, k)**2).sum())
            same(x.grad, rows(5, k) * 2)


def test_second_derivatives_outside_are_refused_and_inside_are_right():
    x = rows().requires_grad_()
    y = compile(lambda x: (x**3).sum())(x)
    with pytest.raises(TraceError, match="second derivatives"):
        md.autograd.grad(y, x, create_graph=True)

    @compile
    def curvature(x):
        (first,) = md.autograd.grad((x**3).sum(), x, create_graph=True)
        (second,) = md.autograd.grad(first.sum(), x)
        return second
    same(curvature(x), rows() * 6)


def test_function_transforms_of_a_compiled_function_are_right():
    x, v = rows()[0], rows(5, 1)
    plain = [lambda f: md.func.grad(f)(x), lambda f: md.func.hessian(f)(x), lambda f: md.func.jvp(f, (x,), (v[1],))[1],
             lambda f: md.func.jacfwd(f)(x), lambda f: md.func.grad(lambda z: md.func.grad(f)(z).sum())(x),
             lambda f: md.func.vmap(f)(v)]

    def function(z):
        return (z**3).sum() * z.mean()
    for transform in plain:
        same(transform(compile(function)), transform(function))


KEYS = {"a": lambda a, b, c: a, "a,": lambda a, b, c: (a,), "a, b": lambda a, b, c: (a, b), "a, b, c": lambda *k: k,
        ":, b": lambda a, b, c: (slice(None), b), ":, b, c": lambda a, b, c: (slice(None), b, c),
        "a, :, c": lambda a, b, c: (a, slice(None), c), "..., c": lambda a, b, c: (..., c),
        "a, ..., c": lambda a, b, c: (a, ..., c), "a, 1:3": lambda a, b, c: (a, slice(1, 3)),
        "::2, b, 1:-1": lambda a, b, c: (slice(None, None, 2), b, slice(1, -1)), "a, 2": lambda a, b, c: (a, 2),
        "1, b": lambda a, b, c: (1, b), "list, b": lambda a, b, c: ([0, 2], b),
        "..., b, :": lambda a, b, c: (..., b, slice(None))}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", [(), (2,), (2, 2)])
def test_an_index_from_the_graph_reads_and_writes_as_numpy_does(key, form):
    rng = np.random.default_rng(0)
    x, key = rng.normal(size=(3, 4, 5)), KEYS[key]
    abc = [rng.permutation(np.arange(-n, n))[:math.prod(form)].reshape(form) for n in x.shape]
    abc = [k % n if math.prod(form) > 2 else k for k, n in zip(abc, x.shape)]
    picked = x[key(*abc)]
    tensors = [md.tensor(k) for k in abc]
    assert np.array_equal(compile(lambda x, *abc: x[key(*abc)])(md.tensor(x), *tensors).numpy(), picked)

    def put(x, v, *abc):
        y = x * 1
        y[key(*abc)] = v
        return y
    one_value, grads = md.tensor(7.0), []
    assert np.array_equal(compile(put)(md.tensor(x), one_value, *tensors).numpy(),
                          put(md.tensor(x), one_value, *tensors).numpy())
    for f in (put, compile(put)):
        start, value = md.tensor(x, requires_grad=True), md.tensor(2.0, requires_grad=True)
        (f(start, value, *tensors) ** 3).sum().backward()
        grads.append((start.grad.numpy(), value.grad.numpy()))
    assert np.array_equal(grads[0][0], grads[1][0])
    assert np.allclose(grads[0][1], grads[1][1], rtol=1e-12)


def test_an_index_from_the_graph_that_is_out_of_range_is_an_error_and_not_the_next_row():
    pick = compile(lambda x, i: x[md.arange(2), i])
    x = md.arange(6.0).reshape(2, 3)
    assert pick(x, md.tensor([2, -3])).tolist() == [2.0, 3.0]
    for k in (3, -4):
        with pytest.raises(IndexError, match="out of bounds"):
            pick(x, md.tensor([k, 0]))


def test_an_index_from_the_graph_with_more_than_whole_numbers_and_slices_says_what_goes():
    with pytest.raises(DimensionError, match="whole numbers and slices only"):
        compile(lambda x, i: x[i, None])(rows(), md.tensor([0]))


def test_backward_outside_of_what_draws_is_refused():
    w = rows().requires_grad_()
    y = compile(lambda: (w * md.rand(4)).sum())()
    with pytest.raises(TraceError, match="inside it"):
        y.backward()


# ---------------------------------------------------------------------- nesting, errors, threads
def test_a_compiled_function_inside_another_is_part_of_its_graph():
    inner = compile(lambda x: x.tanh() * 2)
    outer = compile(lambda x: inner(x) + inner(x * 2))
    same(outer(rows()), rows().tanh() * 2 + (rows() * 2).tanh() * 2)
    assert len(outer.log) == 1 and inner.log == [] and "tanh" in outer.source
    model = compile(net().eval())
    same(compile(lambda x: model(x) * 2)(rows()), model(rows()) * 2)


def test_names_and_words():
    @compile
    def doubled(x):
        """Twice x."""
        return x * 2
    assert doubled.__name__ == "doubled" and doubled.__doc__ == "Twice x." and "0 graph(s)" in repr(doubled)
    with pytest.raises(ArgumentError, match="not called yet"):
        doubled.source  # noqa: B018
    doubled(rows())
    assert "def program(x):" in doubled.source and repr(doubled.graph).startswith("graph(x: float64 (5, 4))")
    as_written = compile(passes=())(lambda x: x * 1)
    assert as_written(rows()).shape == (5, 4) and len(as_written.graph.steps) == 1
    with pytest.raises(ArgumentError, match="expected a function, got int"):
        compile(3)


def untouched():
    return (type(backend.cpu.kernels), backend.cpu.adopt, len(observers), active.tracer, backend.cpu.to_host,
            backend.cpu.once.__func__)


@pytest.mark.parametrize("wrong", [lambda x: 1 / 0, lambda x: x @ x, lambda x: bool(x.sum()), lambda x: sys.exit(3)])
def test_an_error_inside_leaves_everything_as_it_was(wrong):
    model = net()
    opt = optim.Adam(model.parameters())
    for p in model.parameters():
        p.grad = md.ones_like(p)
    clean, before = untouched(), [md.Tensor(np.array(x.numpy())) for x in everything(model, opt)]
    grads = [p.grad for p in model.parameters()]

    @compile
    def step(x):
        opt.zero_grad()
        model(x).sum().backward()
        opt.step()
        wrong(x)
    for _ in range(2):
        with pytest.raises((ZeroDivisionError, ShapeError, TraceError, SystemExit)):
            step(rows())
        assert untouched() == clean
        assert all(p.grad is g for p, g in zip(model.parameters(), grads))
        assert all(type(p.array) is np.ndarray for p in model.parameters())
        all_same(everything(model, opt)[:len(before)], before)
    assert step.runs == []


def test_the_first_call_computes_and_changes_things_once():
    w, calls = md.zeros(1), []

    @compile
    def f():
        calls.append(1)
        return w.add_(1) * 1
    assert [f().item() for _ in range(3)] == [1, 2, 3] and calls == [1]


def test_python_numbers_drawn_or_read_are_not_frozen():
    w = md.tensor([2.0])
    read = compile(lambda x: x * w.item())
    assert read(md.ones(1)).item() == 2
    w.fill_(3)
    assert read(md.ones(1)).item() == 3
    for draw in (lambda: md.randint(0, 1000, (4,)), lambda: md.randperm(20), lambda: md.multinomial(md.ones(50), 3),
                 lambda: md.bernoulli(md.full((20,), 0.5)), lambda: md.normal(1.0, 2.0, (3,)), lambda: md.rand(3),
                 lambda: md.randn(3), lambda: md.rand_like(md.ones(3)), lambda: F.dropout(md.ones(9), 0.5)):
        f = compile(lambda: draw() * 1)                    # noqa: B023
        md.manual_seed(3)
        expected = [draw().tolist() for _ in range(4)]
        md.manual_seed(3)
        assert [f().tolist() for _ in range(4)] == expected


def in_threads(count, work):
    errors = []

    def guarded(k):
        try:
            work(k)
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_eight_threads_call_one_compiled_function():
    model = net().eval()
    f = compile(model)
    expected = {n: model(rows(n, n)) for n in range(2, 10)}

    def work(k):
        for j in range(12):
            n = 2 + (k + j) % 8
            same(f(rows(n, n)), expected[n])
    in_threads(8, work)
    assert len(f.log) == 8


def test_threads_record_while_others_run_eager():
    clean, stop = untouched(), threading.Event()
    w = rows(5, 1).requires_grad_()

    def work(k):
        try:
            for j in range(15):
                if k < 2:
                    f = compile(lambda x: (x @ w.T).tanh().sum() + k)      # noqa: B023
                    same(f(rows(5, j)), (rows(5, j).numpy() @ w.detach().numpy().T).__class__ and
                         (rows(5, j) @ w.detach().T).tanh().sum() + k)
                else:
                    x = rows(5, j).requires_grad_()
                    y = (x * x).sum()
                    y.backward()
                    assert type(y.array) is np.ndarray
                    same(x.grad, rows(5, j) * 2)
                    assert float(y) == pytest.approx(float((rows(5, j).numpy()**2).sum()))
        finally:
            stop.set()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        in_threads(6, work)
    finally:
        sys.setswitchinterval(before)
    assert untouched() == clean


def test_a_program_of_a_step_is_straight_line_python():
    model = nn.Linear(4, 3)
    opt = optim.SGD(model.parameters(), lr=0.1)

    @compile
    def step(x, y):
        opt.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        return loss
    for _ in range(2):
        step(md.ones(2, 4), md.zeros(2, 3))
    lines = step.source.splitlines()
    assert lines[0].startswith("def program(x, y, ") and lines[-1].strip().startswith("return (")
    assert all(line.startswith("    ") and not line.startswith("     ") for line in lines[1:])
    assert "out=" in step.source
    assert G.compile is compile


def test_a_gradient_to_start_from_may_come_from_anywhere():
    w, outside = rows().requires_grad_(), rows(5, 1)

    def function(x, g):
        w.grad = None
        y = w * x
        y.backward(outside, retain_graph=True)
        y.backward(g, retain_graph=True)
        (w + 0).backward(md.ones(5, 4, dtype=md.float64))
        return y.detach()
    compiled = compile(function)
    for k in range(3):
        outside.mul_(2)
        function(rows(5, k), rows(5, 7))
        expected = w.grad
        compiled(rows(5, k), rows(5, 7))
        same(w.grad, expected)


def test_a_step_of_its_own_finds_the_gradients_of_the_moment():
    runs = []
    for compiled in (False, True):
        model = net().eval()
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def update(model=model, opt=opt):
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            opt.step()
        function = compile(update) if compiled else update
        for k in range(5):
            opt.zero_grad()
            F.cross_entropy(model(rows(5, k)), labels()).backward()
            function()
        runs.append(everything(model, opt))
    all_same(runs[1], runs[0])
    assert len(function.log) <= 2, function.explain()


@pytest.mark.parametrize("kind", [2.0, float("inf"), 1.0, "value"])
def test_gradients_are_clipped_inside_as_in_eager(kind):
    runs = []
    for compiled in (False, True):
        model = net().eval()
        opt = optim.SGD(model.parameters(), lr=0.1)

        def step(x, model=model, opt=opt):
            opt.zero_grad()
            F.cross_entropy(model(x), labels()).backward()
            clip = nn.utils.clip_grad_value_ if kind == "value" else nn.utils.clip_grad_norm_
            norm = clip(model.parameters(), 0.05, *([] if kind == "value" else [kind]))
            opt.step()
            return norm
        function = compile(step) if compiled else step
        norms = [function(rows(5, k)) for k in range(4)]
        runs.append([*everything(model, opt), *([] if kind == "value" else norms)])
    all_same(runs[1], runs[0])
    assert len(function.log) <= 2, function.explain()


# ---------------------------------------------------------------------- other devices
@pytest.mark.parametrize("where", ["argument", "parameter", "made inside", "both"])
def test_what_lives_on_another_device_is_refused_not_frozen(where, fake):
    device = {"argument": ("fake", "cpu"), "parameter": ("cpu", "fake"), "both": ("fake", "fake")}.get(where)
    w = md.ones(3, device=device[1] if device else "cpu")

    @md.compile
    def f(x):
        return md.zeros(3, device="fake") + 1 if where == "made inside" else x * w
    with pytest.raises(TraceError) as info:
        f(md.ones(3, device=device[0] if device else "cpu"))
    first, tensor, advice = str(info.value).splitlines()
    assert "another device" in first and "fake" in tensor and "md.compile" in advice
    assert (md.ones(3, device="fake") * 2).sum().item() == 6           # afterwards the device works as before


def test_another_device_is_refused_in_a_session_too(fake):
    x = md.ones(3, device="fake")
    with md.graph.Builder().as_default():
        y = md.graph.placeholder((3,), md.float32, "y")
        with pytest.raises(TraceError, match="another device"):
            y + x


@pytest.mark.parametrize("part", [lambda w: w, lambda w: w[1:], lambda w: w.flip(0)], ids=["all", "a view", "a copy"])
def test_an_argument_that_is_memory_the_function_changes(part):
    def calls(wrapped):
        w = md.tensor([1.0, 2.0, 3.0])
        ours = wrapped(lambda x: [x * 1, w.add_(1) * 2, x * 2])
        found = [*ours(md.ones(3)), *ours(part(w).detach()), *ours(part(w).detach()), *ours(md.ones(2)), w]
        return [y.clone() for y in found]
    all_same(calls(compile), calls(lambda f: lambda x: [y.clone() for y in f(x)]))


@pytest.mark.parametrize("part", [lambda w: w, lambda w: w[:1]], ids=["all", "a view"])
@pytest.mark.parametrize("given", [True, False])
def test_backward_notices_what_a_compiled_function_has_changed(given, part):
    w, v = md.ones(2), md.ones(2, requires_grad=True)
    y, changed = (w * v).sum(), part(w)
    compile(lambda x: x.add_(1))(changed) if given else compile(lambda: changed.add_(1))()
    with pytest.raises(InplaceError, match="a compiled function"):
        y.backward()


def test_a_module_of_another_dtype_is_recorded_anew():
    table, k = nn.Embedding(3, 2), md.tensor([0, 2])
    def function(k):
        return [table(k), md.full((2,), 0.1, dtype=table.weight.dtype)]
    ours = compile(function)
    all_same(ours(k), function(k))
    table.double()                                    # the argument looks as before
    all_same(ours(k), function(k))


@pytest.mark.parametrize("dtype", [md.bool, md.int64, md.int32, md.float32])
@pytest.mark.parametrize("number", [True, 2, -1, 2.5, math.inf, math.nan])
def test_a_number_beside_an_array_of_any_kind(dtype, number):
    def function(x):
        return [x * number, number - x.float(), x + number, x < number, x == number, md.maximum(x, number),
                md.where(x > 0, number, 1.0), md.where(x > 0, x, number)]
    x = md.tensor([1, 2, 3]).to(dtype)                # no 0: 0 * inf warns
    all_same(compile(function)(x), function(x))


# ---------------------------------------------------------------------- copies and interrupts
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("called", [False, True])
def test_a_copy_of_a_compiled_module_is_one_of_its_own(copied, called):
    module = nn.Linear(4, 3).to(md.float64)
    ours, x = compile(module, passes=[]), rows()
    before = ours(x).detach() if called else module(x).detach()
    theirs = copied(ours)
    assert theirs.count == 0 and theirs.passes == [] and theirs.fn is not module
    same(theirs(x), before)
    with md.no_grad():
        theirs.fn.weight.zero_()
    same(ours(x), before)
    same(theirs(x), theirs.fn.bias.expand(5, 3))


def test_an_interrupt_at_the_start_of_a_recording_leaves_no_tracer(monkeypatch):
    ordinary = backend.elsewhere

    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "elsewhere", stopped)
    with pytest.raises(KeyboardInterrupt):
        compile(lambda x: 2 * x)(rows())
    monkeypatch.setattr(backend, "elsewhere", ordinary)
    assert active.tracer is None and not trace._tracing
    same(2 * rows(), 2 * rows().numpy())
    same(compile(lambda x: 2 * x)(rows()), 2 * rows())


# ---------------------------------------------------------------------- the kernel table meanwhile
def test_kernels_are_chosen_and_looked_up_while_another_thread_records():
    recording, done = threading.Event(), threading.Event()

    def waits(x):
        recording.set()
        done.wait(60)
        return md.tanh(x) * 2
    found, f = [], compile(waits)
    thread = threading.Thread(target=lambda: found.append(f(rows())))
    thread.start()
    try:
        assert recording.wait(60) and type(backend.cpu.kernels) is trace._Kernels
        with md.use_kernels("plain"):
            assert kernels.in_use() == "plain" and not [*backend.cpu.kernels.items()]
        assert kernels.in_use() == "numpy" and dict(backend.cpu.kernels.items()) == kernels.shared.TABLE
        assert whose() == "" and whose("tanh") == "our tanh"
    finally:
        done.set()
        thread.join()
    same(found[0], np.tanh(rows().numpy()) * 2)
    assert backend.cpu.kernels == kernels.shared.TABLE


def test_a_function_that_is_being_recorded_may_ask_for_kernels_and_not_choose_them():
    said = []

    @compile
    def f(x):
        said.append(whose("tanh") + whose())
        with pytest.raises(TraceError) as info:
            md.use_kernels("plain")
        said.append(str(info.value))
        return md.tanh(x)
    same(f(rows()), np.tanh(rows().numpy()))
    first, fact, advice = said[1].splitlines()
    assert said[0] == "our tanh" and "being recorded" in first and "'numpy'" in fact and advice.startswith("Try: ")
    assert kernels.in_use() == "numpy" and backend.cpu.kernels == kernels.shared.TABLE


# ---------------------------------------------------------------------- what a compiled module is asked for
def test_a_compiled_module_answers_as_the_module_does():
    module = net()
    ours = compile(module)
    assert ours.forward == module.forward and list(ours.parameters()) == list(module.parameters())
    assert ours.__wrapped__ is module and ours.__name__ == "Sequential"
    same(ours.eval()(rows()), ours(rows()))
    assert not module.training
    with pytest.raises(AttributeError, match="Sequential.* 'nothing'"):
        _ = ours.nothing
