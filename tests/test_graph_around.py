"""md.compile and what lies around a function: shared memory, gradients by hand, Python values, vmap, anomalies."""
import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import nn, optim
from minidl.autograd import detect_anomaly
from minidl.errors import AnomalyError, ShapeError, TraceError
from minidl.graph import compile
from minidl.graph.compile import MOST_GRAPHS
from minidl.nn import functional as F
from tests.graph_tools import all_same, same

WEIGHTS = np.random.default_rng(0).standard_normal((4, 4))


def rows(n=5, seed=0):
    return md.Tensor(np.random.default_rng(seed).standard_normal((n, 4)))


# ---------------------------------------------------------------------- shared memory
VIEWS = [lambda a: a[:3], lambda a: a[1:], lambda a: a[::2], lambda a: a[::-1][1:4],
         lambda a: a[:6].reshape(2, 3).T[:, 0], lambda a: a, lambda a: a[5:]]


def changing(seed, arrays):
    """A function that changes and reads tensors, some of which share memory, in a random order."""
    def function(*_):
        rng, out = np.random.default_rng(seed), []
        for _ in range(6):
            x, y = (arrays[k] for k in rng.integers(0, len(arrays), 2))
            n, kind = min(len(x), len(y)), rng.integers(6)
            if kind == 0:
                x.add_(1)
            elif kind == 1:
                x[:n].add_(y[:n].clone())
            elif kind == 2:
                x[int(rng.integers(len(x)))] = float(rng.integers(5))
            elif kind == 3:
                x[x > 0] = 0.5
            else:
                out.append(x[:n] + y[:n] if kind == 4 else x * 2)
        return out + [x * 1 for x in arrays]
    return function


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_a_change_of_a_tensor_is_seen_through_all_that_share_its_memory(start):
    for seed in range(start, start + 50):
        eager, ours = (np.random.default_rng(seed).standard_normal(7) for _ in range(2))
        chosen = np.random.default_rng(seed).permutation(len(VIEWS))[:1 + seed % 5]
        plain = changing(seed, [md.Tensor(VIEWS[k](eager)) for k in chosen])
        compiled = compile(changing(seed, [md.Tensor(VIEWS[k](ours)) for k in chosen]))
        for turn in range(2):
            expected = [y.clone() for y in plain()]
            all_same(compiled(), expected, f"seed {seed}, turn {turn}")
            same(ours, eager, f"seed {seed}, memory after turn {turn}")
        assert len(compiled.log) == 1, compiled.explain()


def test_tensors_that_share_memory_without_overlap_stay_variables_of_their_own():
    flat = md.zeros(6)
    first, second = flat[:3], flat[3:]
    f = compile(lambda: [first.add_(1) * 1, second.sub_(1) * 1])
    for _ in range(3):
        f()
    same(flat, np.array([3.0, 3, 3, -3, -3, -3], np.float32))
    assert "window" not in f.source and "out=" in f.source


def test_a_tensor_that_is_put_over_another_later_is_noticed():
    first, second = md.zeros(3), md.zeros(3)
    f = compile(lambda: (first.add_(1), second * 2)[1])
    same(f(), np.zeros(3, np.float32))
    second.data = first[:]
    same(f(), np.full(3, 4.0, np.float32))
    assert "ran uncompiled" in f.explain()


@pytest.mark.parametrize("arguments", [lambda a: (a, a), lambda a: (a[:3], a[1:4]), lambda a: (a[1:], a[1:])])
def test_arguments_that_share_memory(arguments):
    def function(x, y):
        x.add_(1)
        return y * 2
    runs = []
    for f in (function, compile(function)):
        memory = [md.Tensor(np.arange(4.0)) for _ in range(3)]
        found = [f(md.ones(3, dtype=md.float64), md.ones(3, dtype=md.float64)) for _ in range(2)]
        runs.append([*found, *(f(*arguments(a)) for a in memory), *memory])
    all_same(runs[1], runs[0])


def test_memory_that_cannot_be_followed_is_refused():
    whole = np.arange(4.0)
    numbers, bits = md.Tensor(whole), md.Tensor(whole.view(np.int64))
    f = compile(lambda: [numbers.add_(1), bits * 2])
    with pytest.raises(TraceError, match="share memory, but not the kind of number"):
        f()
    raw = bytearray(32)
    first, second = (md.Tensor(np.frombuffer(raw, np.float64)) for _ in range(2))
    with pytest.raises(TraceError, match="no NumPy array owns"):
        compile(lambda: [first.add_(1), second * 2])()


def test_shared_memory_in_a_session_and_in_a_file(tmp_path):
    block, builder = md.zeros(4, dtype=md.float64), G.Builder()
    left, right = block[:3], block[1:]
    with builder.as_default():
        y = left.sum() + right.sum() * 10
        step = G.minimize(optim.SGD([left.requires_grad_()], lr=1.0), (left * 2).sum())
    session = G.Session(builder)
    for k in range(3):
        same(session.run([y, step])[0], np.float64(-6 * k - 40 * k))
    same(block, np.array([-6.0, -6, -6, 0]))
    G.save(tmp_path / "g.md", {"y": y, "step": step}, session)
    saved = G.load(tmp_path / "g.md")
    same(saved.run(["y", "step"])[0], session.run([y, step])[0])
    same(saved.run("y"), session.run(y))


# ---------------------------------------------------------------------- what the function makes itself
@pytest.mark.parametrize("make", [lambda: md.zeros(3), lambda: md.tensor([1.0, 2.0, 3.0]), lambda: md.arange(3.0),
                                  lambda: md.Tensor(np.ones(3, np.float32)), lambda: md.from_numpy(np.ones(3)),
                                  lambda: md.ones(3)[:], lambda: md.eye(3)[0]])
def test_what_a_function_makes_begins_each_run_anew(make):
    def function(x):
        z = make()
        z.add_(x)
        z[0] = 5
        z[1:].mul_(z[0])
        return z * 1, z.sum()
    compiled = compile(function)
    for k in range(3):
        x = md.full((3,), float(k))
        all_same(compiled(x), function(x))


def test_what_a_function_makes_and_leaves_behind_has_its_numbers():
    class Keeper:
        total = None

        def add(self, x):
            if self.total is None:
                self.total = md.zeros(3)
            self.total.add_(x)
            return self.total * 1
    eager, ours = Keeper(), Keeper()
    compiled = compile(ours.add)
    for k in range(4):
        same(compiled(md.full((3,), float(k))), eager.add(md.full((3,), float(k))))
        same(ours.total, eager.total)
    assert len(compiled.log) == 2, compiled.explain()


def test_entries_of_a_tensor_from_outside_are_set_at_each_run():
    w = md.zeros(3)

    def function(x):
        w[0] = 5
        w[1] = x.sum()
        w[x > 1] = -1
        return w * 2
    compiled = compile(function)
    for k in range(4):
        w.zero_()
        expected, numbers = function(md.full((3,), k * 0.5)), w.clone()
        w.zero_()
        same(compiled(md.full((3,), k * 0.5)), expected)
        same(w, numbers)


def test_data_that_is_replaced_is_replaced_at_each_run():
    w = md.ones(3, requires_grad=True)

    def function(x):
        w.data = w.data * x
    compiled = compile(function)
    for _ in range(3):
        compiled(md.full((3,), 2.0))
    same(w, np.full(3, 8.0, np.float32))


# ---------------------------------------------------------------------- gradients
@pytest.mark.parametrize("gradient", [lambda x: x * 2, lambda x: md.ones(3), lambda x: md.tensor([1.0, 2.0, 3.0]) + x,
                                      lambda x: None])
@pytest.mark.parametrize("before", [None, 5.0])
def test_a_gradient_given_by_hand_is_there_after_each_run(gradient, before):
    def function(p, x):
        p.grad = gradient(x)
        return x.sum()
    p = md.ones(3).requires_grad_()
    compiled = compile(lambda x: function(p, x))
    for k in range(3):
        p.grad = None if before is None else md.full((3,), before)
        x = md.full((3,), float(k))
        compiled(x)
        expected = gradient(x)
        assert (p.grad is None) == (expected is None)
        if expected is not None:
            same(p.grad, expected)
            p.grad.array[...] = 77                     # nobody else's memory
    assert len(compiled.log) == 1, compiled.explain()


def test_a_gradient_that_is_only_read_is_that_of_the_moment():
    p = md.ones(3).requires_grad_()
    f = compile(lambda: md.zeros(()) if p.grad is None else (p.grad**2).sum())
    for value in (None, 1.0, 2.0, None, 3.0):
        p.grad = None if value is None else md.full((3,), value)
        assert f().item() == 3 * (value or 0)**2
    assert len(f.log) == 2 and "gradient now" in f.explain()


@pytest.mark.parametrize("clear, count", [(lambda m, o: o.zero_grad(), 1), (lambda m, o: m.zero_grad(), 1),
                                          (lambda m, o: o.zero_grad(set_to_none=False), 2), (lambda m, o: None, 2)])
def test_a_step_that_clears_its_gradients_first_is_recorded_once(clear, count):
    model = nn.Linear(4, 3).to(md.float64)
    opt = optim.Adam(model.parameters())

    @compile
    def step(x):
        clear(model, opt)
        loss = model(x).square().sum()
        loss.backward()
        opt.step()
        return loss
    for k in range(4):
        step(rows(5, k))
    assert len(step.log) == count, step.explain()
    assert count == 1 or "looks at it before it clears it" in step.explain()


# ---------------------------------------------------------------------- Python values around the function
RATE, LIMITS, NAME, OTHER = 2.0, (1, 2.5), "tanh", None


def helper(x):
    return x * RATE


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.inner = 3.0, nn.Dropout(0.0)

    def forward(self, x):
        return self.twice(self.inner(x)) * self.scale

    def twice(self, x, times=2):
        return x * times


def test_a_global_that_changes_is_noticed(monkeypatch):
    def function(x):
        y = getattr(helper(x).clamp(*LIMITS), NAME)()
        return y if OTHER is None else y * OTHER
    compiled, x = compile(function), md.tensor([0.3, 2.0])
    changes = [("RATE", 3.0), ("RATE", 3), ("LIMITS", (0, 2.5)), ("NAME", "exp"), ("OTHER", 4), ("OTHER", True)]
    for name, value in changes:
        same(compiled(x), function(x))
        monkeypatch.setitem(globals(), name, value)
        count = len(compiled.log)
        for _ in range(2):
            same(compiled(x), function(x))
        assert len(compiled.log) == count + 1 and f"{name} is {value!r} now" in compiled.explain(), compiled.explain()
    monkeypatch.undo()
    same(compiled(x), function(x))
    assert len(compiled.log) == 7                      # the first recording still holds


def test_a_cell_and_a_default_that_change_are_noticed():
    power, layer = 2, nn.Linear(4, 2).to(md.float64)

    def function(x, *, factor=1.0):
        return layer(x)**power * factor
    compiled = compile(function)
    for change in range(4):
        same(compiled(rows()), function(rows()))
        if change == 0:
            power = 3
        elif change == 1:
            function.__kwdefaults__["factor"] = 2.0
        elif change == 2:
            layer = nn.Linear(4, 3).to(md.float64)     # another model under the same name
    text = compiled.explain()
    assert len(compiled.log) == 4, text
    for words in ("power is 3 now, not 2", "the default of factor is 2.0 now", "layer is another Linear now"):
        assert words in text, text


def test_attributes_that_change_are_noticed():
    class Config:
        alpha = 1.0
    module, config = Scaled(), Config()
    config.alpha = 2.0
    compiled = compile(lambda x: module(x) * config.alpha)
    changes = [lambda: setattr(module, "scale", 4.0), lambda: setattr(config, "alpha", 3.0),
               lambda: setattr(module.inner, "p", 1.0), lambda: setattr(Scaled.twice, "__defaults__", (5,))]
    try:
        for change in changes:
            count = len(compiled.log)
            change()
            for _ in range(2):
                same(compiled(rows()), module(rows()) * config.alpha)
            assert len(compiled.log) == count + 1, compiled.explain()
    finally:
        Scaled.twice.__defaults__ = (2,)
    for words in ("config.alpha is 3.0 now", "module.inner.p is 1.0 now", "what twice has as defaults is (5,) now"):
        assert words in compiled.explain(), compiled.explain()


def test_a_function_that_changes_what_it_reads_is_never_repeated():
    flag = [True]
    state = type("State", (), {})()
    state.flag = True

    def function(x):
        state.flag = not state.flag
        return x * 2 if state.flag else x * 3
    compiled = compile(function)
    assert [compiled(md.ones(1)).item() for _ in range(5)] == [3, 2, 3, 2, 3]
    assert compiled.runs == [] and flag == [True] and "the function itself changes what it reads" in compiled.explain()


def test_a_tensor_that_is_left_in_a_variable_is_refused():
    state = md.zeros(3)

    def function(x):
        nonlocal state
        state = state + x
        return state
    with pytest.raises(TraceError, match="leaves a tensor in state"):
        compile(function)(md.ones(3))
    state = md.zeros(3)


def test_the_number_of_graphs_is_bounded():
    compiled = compile(lambda x, k: x * k)
    for k in range(MOST_GRAPHS + 6):
        compiled(md.ones(1), k)
        compiled(md.ones(1), 0)                        # is used all the time, and stays
    assert len(compiled.runs) == MOST_GRAPHS and compiled.count == MOST_GRAPHS + 6
    assert f"only the {MOST_GRAPHS} graphs that were used last" in compiled.explain()
    assert len(compiled.log) <= MOST_GRAPHS + 1
    compiled(md.ones(1), 1)                            # went first
    assert compiled.count == MOST_GRAPHS + 7 and compiled(md.ones(1), 1).item() == 1


def test_switches_of_an_optimiser_are_noticed():
    runs = []
    for compiled in (False, True):
        w = md.Tensor(np.ones(3), True)
        opt = optim.SGD([w], lr=0.1)

        def step(w=w, opt=opt):
            opt.zero_grad()
            (w * w).sum().backward()
            opt.step()
        function = compile(step) if compiled else step
        for k in range(6):
            opt.param_groups[0]["maximize"] = k > 2
            opt.param_groups[0]["weight_decay"] = 0.1 * (k % 2)
            function()
        runs.append([w])
    all_same(runs[1], runs[0])


# ---------------------------------------------------------------------- md.func and vmap
W = md.Tensor(WEIGHTS)
TRANSFORMS = {
    "vmap": lambda x: md.func.vmap(lambda r: (r @ W).tanh())(x),
    "vmap of a layer": lambda x: md.func.vmap(lambda c: F.softmax(c, 0), in_dims=1, out_dims=1)(x @ W),
    "vmap of two": lambda x: md.func.vmap(lambda r, w: (r * w).sum(), in_dims=(0, None))(x, W[0]),
    "vmap in vmap": lambda x: md.func.vmap(md.func.vmap(lambda a: a * a.sin() + W[0, 0]))(x),
    "vmap without input": lambda x: md.func.vmap(lambda r: r @ W * 2)(W) + x.sum(),
    "grad": lambda x: md.func.grad(lambda y: ((y @ W)**3).sum())(x),
    "grad of grad": lambda x: md.func.grad(lambda y: md.func.grad(lambda z: (z**4).sum())(y).sin().sum())(x),
    "vmap of grad": lambda x: md.func.vmap(md.func.grad(lambda r: (r @ W).tanh().sum()))(x),
    "grad of vmap": lambda x: md.func.grad(lambda y: md.func.vmap(lambda r: (r @ W).tanh().prod())(y).sum())(x),
    "jvp": lambda x: list(md.func.jvp(lambda y: (y @ W).exp(), (x,), (x * 2,))),
    "vjp": lambda x: list(md.func.vjp(lambda y: (y @ W).exp(), x)[1](x * 3)),
    "jacrev": lambda x: md.func.jacrev(lambda y: (y @ W).tanh())(x[0]),
    "jacfwd": lambda x: md.func.jacfwd(lambda y: (y @ W).tanh())(x[0]),
    "hessian": lambda x: md.func.hessian(lambda y: (y @ W).tanh().sum())(x[0]),
    "conv": lambda x: md.func.vmap(lambda i: F.conv2d(i[None, None], W[None, None, :2, :2]).sum())(md.stack([W, W * 2]))
    + x.sum(),
    "one_hot": lambda x: md.func.vmap(lambda r: F.one_hot(r.argmax(), 4))(x),
    "functional_call": lambda x: md.func.vmap(lambda r: md.func.functional_call(LAYER, {"weight": W[:2]}, (r,)))(x),
}
LAYER = nn.Linear(4, 2).to(md.float64)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_inside_a_compiled_function(name):
    function = TRANSFORMS[name]
    compiled = compile(function)
    for k in range(3):
        expected, found = function(rows(3, k)), compiled(rows(3, k))
        all_same(found if isinstance(found, list) else [found], expected if isinstance(expected, list) else [expected])
    assert len(compiled.log) == 1


def test_vmap_in_a_compiled_training_step_is_that_of_eager():
    runs = []
    for compile_ in (lambda f: f, compile):
        w = md.Tensor(WEIGHTS.copy(), True)
        opt = optim.SGD([w], lr=0.1, momentum=0.9)

        def step(x, w=w, opt=opt):
            opt.zero_grad()
            loss = md.func.vmap(lambda r: (r @ w).tanh().square().sum())(x).mean()
            loss.backward()
            opt.step()
            return loss
        function = compile_(step)
        runs.append([*(function(rows(5, k)) for k in range(3)), w])
    all_same(runs[1], runs[0])


def test_vmap_in_a_session():
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((None, 4), md.float64, "x")
        v = G.Variable(WEIGHTS, name="v", dtype=np.float64)
        y = md.func.vmap(lambda r, w: (r @ w).tanh(), in_dims=(None, 1), out_dims=1)(x, v)
        (slope,) = G.gradients(y.sum(), [v])
        start = G.global_variables_initializer()
    session = G.Session(builder)
    session.run(start)
    numbers = rows(3).numpy()
    out = np.tanh(numbers @ WEIGHTS)
    all_same(session.run([y, slope], {"x": numbers}), [out, numbers.T @ (1 - out**2)])


def test_a_compiled_function_inside_a_transform():
    plain = lambda r: (r @ W).tanh().sum()              # noqa: E731
    compiled = compile(plain)
    for transform in (md.func.vmap, lambda f: md.func.vmap(md.func.grad(f)), lambda f: md.func.grad(
            lambda x: md.func.vmap(f)(x).sum())):
        same(transform(compiled)(rows(3)), transform(plain)(rows(3)))
    same(md.func.grad(compiled)(rows(3)), md.func.grad(plain)(rows(3)))


# ---------------------------------------------------------------------- one_hot and masks
def test_one_hot_in_a_graph():
    compiled = compile(lambda k: F.one_hot(k, 5))
    for k in range(3):
        labels = md.tensor((np.arange(6) + k) % 5)
        same(compiled(labels), F.one_hot(labels, 5))
    labels = md.tensor([0, 3])
    captured = compile(lambda: F.one_hot(labels, 4))
    same(captured(), F.one_hot(labels, 4))
    labels.fill_(1)
    same(captured(), F.one_hot(labels, 4))
    for wrong in (-1, 5):
        with pytest.raises((IndexError, md.errors.MinidlError)):
            compiled(md.tensor([wrong] * 6))
    with pytest.raises(TraceError, match="not known yet"):
        compile(F.one_hot)(labels)


@pytest.mark.parametrize("value", [0, 2.5, lambda x: x.mean(), lambda x: x[:1, 0] * 2])
def test_a_mask_of_the_same_shape_chooses_what_is_set(value):
    def function(x):
        y = x * 2
        y[y > 0] = value(x) if callable(value) else value
        return y, y.sum()
    compiled = compile(lambda x: (lambda outs: [*outs, *md.autograd.grad(outs[1], x)])(function(x)))
    for k in range(3):
        x, z = rows(3, k).requires_grad_(), rows(3, k).requires_grad_()
        expected = function(z)
        all_same(compiled(x), [*expected, *md.autograd.grad(expected[1], z)])
    assert len(compiled.log) == 1


def test_a_mask_over_the_first_axis_and_one_from_outside():
    mask = md.tensor([True, False, True])

    def function(x):
        y, z = x * 1, x * 2
        y[x[:, 0] > 0] = x[0].detach()
        z[mask] = 7
        return y, z
    compiled = compile(function)
    for k in range(3):
        all_same(compiled(rows(3, k)), function(rows(3, k)))
        mask.logical_not().copy_(mask)
    mask.copy_(md.tensor([False, True, True]))
    all_same(compiled(rows(3)), function(rows(3)))
    assert len(compiled.log) == 1


def test_a_number_for_each_place_of_a_mask_is_refused():
    def function(x):
        y = x * 1
        y[y > 0] = x[0]
        return y
    with pytest.raises(ShapeError, match="how many places the mask picks is not known yet"):
        compile(function)(rows(3))
    with pytest.raises(TraceError, match="not known yet"):
        compile(lambda x: x[x > 0])(rows(3))


# ---------------------------------------------------------------------- anomalies
def test_an_anomaly_in_a_compiled_function_is_named_with_its_line():
    f = compile(lambda x: x.log().sum())                # here
    f(md.ones(2))
    with pytest.raises(AnomalyError, match=r"log: NaN[^|]*# here"), detect_anomaly():
        f(-md.ones(2))
    with detect_anomaly():
        assert f(md.ones(2)).item() == 0

    @compile
    def step(x):
        w = x.detach().requires_grad_()
        w.sqrt().sum().backward()
        return w.grad
    with pytest.raises(AnomalyError, match="backward of sqrt: Inf"), detect_anomaly():
        step(md.zeros(2))


def test_an_anomaly_in_a_session_is_named_with_its_line(tmp_path):
    builder = G.Builder()
    with detect_anomaly(), builder.as_default():        # only what is written is watched: nothing happens
        x = G.placeholder((2,), md.float64, "x")
        w = G.Variable(np.ones(2), name="w", dtype=np.float64)
        y = x.log() * 2                                 # the line
        step = G.assign(w, w + x)
        start = G.global_variables_initializer()
    session = G.Session(builder)
    session.run(start)
    with detect_anomaly():
        same(session.run([y, step], {"x": [1.0, 1.0]})[0], np.zeros(2))
        same(session.run(w), np.full(2, 2.0))
        with pytest.raises(AnomalyError, match=r"v1 = log: NaN[^|]*# the line"):
            session.run([y, step], {"x": [1.0, -1.0]})
    same(session.run(w), np.full(2, 2.0))               # nothing was changed
    G.save(tmp_path / "g.md", {"y": y}, session)
    with pytest.raises(AnomalyError, match="log: NaN"), detect_anomaly():
        G.load(tmp_path / "g.md").run("y", {"x": [1.0, -1.0]})


def test_an_anomaly_inside_vmap_is_named():
    with pytest.raises(AnomalyError, match="log: NaN"), detect_anomaly():
        md.func.vmap(lambda r: (r.log() * 2).sum())(-md.ones(2, 2))
    with detect_anomaly():
        same(md.func.vmap(lambda r: (r * 2).sum())(md.ones(2, 2)), np.full(2, 4.0, np.float32))
