"""Compiled kernels against NumPy's: what must not change when `md.use_kernels("numba")` is turned on."""
import functools
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import minidl as md
from minidl import kernels, nn
from minidl.errors import ArgumentError, DeviceError
from minidl.kernels import shared
from minidl.kernels.loops import FORMULAS, SLOW, Loop
from minidl.primitive import registry
from tests.samples import TABLE, value_and_gradients

F = nn.functional


# ---------------------------------------------------------------------- the switch
def test_another_name_is_an_error():
    with pytest.raises(ArgumentError, match="'numpy', 'numba', 'plain'"):
        md.use_kernels("fortran")
    assert kernels.in_use() == "numpy"


def test_without_numba_the_switch_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)           # import fails, as it does where it is not installed
    with pytest.raises(DeviceError) as info:
        md.use_kernels("numba")
    assert len(str(info.value).splitlines()) == 3 and 'minidl[fast]' in str(info.value)
    assert kernels.in_use() == "numpy" and md.backend.cpu.kernels == shared.TABLE


def test_numba_is_not_imported_before_it_is_asked_for():
    code = "import sys, minidl as md; md.use_kernels('numpy'); sys.exit('numba' in sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k != "MINIDL_KERNELS"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=os.getcwd()).returncode == 0


def test_the_environment_turns_the_switch_at_import():
    pytest.importorskip("numba")
    code = "import minidl as md; assert md.kernels.in_use() == 'numba' and 'lstm_scan' in md.backend.cpu.kernels"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINIDL_KERNELS": "numba"}).returncode == 0


@pytest.fixture
def numba():
    """numba's kernels for the length of a test."""
    module = pytest.importorskip("numba")
    with md.use_kernels("numba"):
        yield module
    assert kernels.in_use() == "numpy" and md.backend.cpu.kernels == shared.TABLE


def test_off_means_that_nothing_is_left(numba):
    rules = {name: registry[name].rules["xs"].function for name in ("gru_scan",)}
    md.use_kernels("numpy")
    assert md.backend.cpu.kernels == shared.TABLE
    assert all(registry[name].rules["xs"].function is not rules[name] for name in rules)
    md.use_kernels("numba")
    assert all(registry[name].rules["xs"].function is rules[name] for name in rules)


# ---------------------------------------------------------------------- every op of the table, on all its samples
OVERRIDDEN = ("max_pool2d", "max_pool2d_unpool", "lstm_scan", "lstm_slopes", "gru_scan", "cross_entropy",
              "cross_entropy_slopes")
# To compile the LSTM takes as long as all else here: by default the GRU stands for both.
samples = pytest.mark.parametrize("base", [
    pytest.param(s, id=str(s), marks=[pytest.mark.more] if s.name.startswith("lstm") else [])
    for s in TABLE if s.name in OVERRIDDEN])


def test_the_list_above_is_the_table(numba):
    ours = {name for name, f in md.backend.cpu.kernels.items() if f is not shared.TABLE.get(name)}
    assert set(OVERRIDDEN) == ours - {"gru_scan_grad"}


@pytest.fixture
def eager_to_share(two_threads, monkeypatch):
    """Even the smallest work is done by two threads."""
    pytest.importorskip("numba")
    from minidl.kernels import numba_kernels
    monkeypatch.setattr(numba_kernels, "LARGE", 0)


@samples
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.more)])
def test_kernels_compute_what_numpy_computes(base, dtype, eager_to_share, numba):
    for variant in base.variants():
        found = value_and_gradients(variant, dtype)
        with md.use_kernels("plain"):
            expected = value_and_gradients(variant, dtype)
        for a, b in zip(found, expected):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=2e-5 if dtype == np.float32 else 1e-12,
                                       atol=2e-6 if dtype == np.float32 else 1e-13, err_msg=variant.variant)


@samples
def test_kernels_leave_second_derivatives_alone(base, numba):
    inputs = [md.Tensor(a, k in base.wrt()) if isinstance(a, np.ndarray) else a for k, a in enumerate(base.inputs())]
    if base.wrt():
        assert md.autograd.check_gradients(lambda *xs: base.op(*xs, **base.meta()), inputs, second_order=True)


def images(batch=8):
    x = np.random.default_rng(0).integers(-2, 3, (3, 6, 8, batch)).astype(np.float32)        # many ties
    x[0, 1, 1, 0] = x[2, 4, 5, 3] = x[1, 0, 0] = np.nan
    x[1, 3, 3] = -np.inf
    return x.transpose(3, 0, 1, 2)


@pytest.mark.parametrize("settings", [
    dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)),
    dict(kernel=(2, 3), stride=(2, 4), padding=(0, 0), dilation=(1, 1)),
    dict(kernel=(3, 3), stride=(1, 2), padding=(1, 1), dilation=(1, 1)),
    dict(kernel=(2, 2), stride=(3, 3), padding=(0, 0), dilation=(2, 2))], ids=str)
@pytest.mark.parametrize("batch", [1, 8, 0])
def test_pooling_with_ties_and_nan(settings, batch, numba):
    x = images(8)[:batch]
    if batch:
        x = x.transpose(1, 2, 3, 0).copy().transpose(3, 0, 1, 2)

    def both():
        y = md.ops.max_pool2d(x, **settings, ceil_mode=False)
        dy = np.arange(y.size, dtype=np.float32).reshape(y.shape)
        return y, md.ops.max_pool2d_unpool(dy, x, y, **settings)
    found = both()
    with md.use_kernels("plain"):
        expected = both()
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


def test_a_wrong_shape_is_still_told_in_our_words(numba):
    with pytest.raises(md.errors.ShapeError, match="max_pool2d"):
        F.max_pool2d(md.zeros(9, 3, 2, 2), 3)
    with pytest.raises(md.errors.ShapeError, match="matmul"):
        md.ones(3, 4) @ md.ones(3, 4)


def test_the_loss_of_scores_that_are_infinite_or_nan(numba):
    scores = np.random.default_rng(0).standard_normal((8, 5))
    scores[0, 2], scores[1], scores[2, 3], scores[3, 1] = np.inf, -np.inf, np.nan, -np.inf
    target = np.array([2, 0, 3, 1, 4, 0, 1, 2])
    for x, ignored in itertools.product([scores, np.asfortranarray(scores.astype("f"))], [-100, 0]):
        for op, reduction in itertools.product([md.ops.cross_entropy, md.ops.cross_entropy_slopes],
                                               ["none", "sum", "mean"]):
            found = op(x, target, ignore_index=ignored, reduction=reduction)
            with md.use_kernels("plain"):
                expected = op(x, target, ignore_index=ignored, reduction=reduction)
            assert np.asarray(found).dtype == x.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-6 if x.dtype == "f" else 1e-12, atol=1e-7)


# ---------------------------------------------------------------------- training
def mlp():
    return nn.Sequential(nn.Linear(20, 70), nn.Tanh(), nn.Linear(70, 3)), (16, 20)


def cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3)), (16, 1, 12, 12)


class Last(nn.Module):
    """The output of a recurrent layer's last step into a dense layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][-1])


def lstm(batch=16):
    return Last(nn.LSTM(5, 16)), (7, batch, 5)


def gru(batch=16):
    return Last(nn.GRU(5, 16)), (7, batch, 5)


def losses(make, wrapped, dtype, optimizer):
    md.manual_seed(0)
    model, shape = make()
    model.to(dtype)
    rng = np.random.default_rng(0)
    x = md.tensor(rng.standard_normal(shape).astype(dtype))
    y = md.tensor(rng.integers(0, 3, shape[0] if len(shape) != 3 else shape[1]))
    optimizer = optimizer(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    step = md.compile(step) if wrapped else step
    found = [step().item() for _ in range(3)]
    if wrapped and kernels.in_use() == "numba":
        assert "loop" in step.source
    return found + [p.detach().numpy().copy() for p in model.parameters()]


def momentum(params):
    return md.optim.SGD(params, lr=0.1, momentum=0.9)


BY_DEFAULT = [(mlp, np.float32, momentum), (cnn, np.float32, md.optim.Adam), (gru, np.float32, md.optim.Adam)]


@pytest.mark.parametrize(("make", "dtype", "optimizer"), [
    pytest.param(*case, marks=[] if case in BY_DEFAULT else [pytest.mark.more],
                 id=f"{case[0].__name__}-{np.dtype(case[1])}-{case[2].__name__}")
    for case in itertools.product([mlp, cnn, lstm, gru], [np.float32, np.float64], [momentum, md.optim.Adam])])
def test_three_steps_compiled_with_numba_are_the_eager_ones(make, dtype, optimizer, numba):
    found = losses(make, True, dtype, optimizer)
    with md.use_kernels("plain"):
        expected = losses(make, False, dtype, optimizer)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-3 if dtype == np.float32 else 1e-8,
                                   atol=2e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize(("make", "name"), [(lstm, "lstm"), (gru, "gru")], ids=["lstm", "gru"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["compiled", "eager"])
def test_a_layer_without_first_states_runs_in_the_compiled_loops(make, name, wrapped, numba, monkeypatch):
    """The zeros that it starts from are one 0 that is repeated: no reason to leave the work to NumPy."""
    from minidl.kernels import numba_kernels
    entered = []
    for function in (f"{name}_forward", f"{name}_backward"):
        loop = getattr(numba_kernels, function)
        monkeypatch.setattr(numba_kernels, function, lambda *x, f=function, loop=loop: (entered.append(f), loop(*x)))
    losses(lambda: make(batch=1000), wrapped, np.float32, md.optim.SGD)      # too many zeros to be kept as a constant
    assert [f for f, _ in itertools.groupby(entered)] == [f"{name}_forward", f"{name}_backward"] * 3


@pytest.mark.parametrize("used", ["zh", "r", "nq", "h", ""])
def test_the_gradient_of_a_gru_whatever_letters_were_looked_at(used, numba):
    op, rng = registry["gru_scan_grad"], np.random.default_rng(0)
    draw, nothing = lambda *shape: rng.standard_normal(shape, np.float32), np.broadcast_to(np.float32(0), (3, 2, 4))
    slopes = [draw(3, 2, 4) if letter in used else nothing for letter in "rznqh"]
    inputs = [*slopes, md.ops.gru_scan(draw(3, 3, 2, 4), draw(3, 4, 4), draw(4), draw(2, 4)), draw(3, 4, 4), draw(4),
              draw(2, 4)]
    expected = op.expansion(*[md.tensor(x) for x in inputs]).numpy()
    np.testing.assert_allclose(op(*inputs), expected, rtol=2e-5, atol=2e-6)


# ---------------------------------------------------------------------- loops
def with_numbers(x, y):
    return (x * 2 + y).relu() / 3 - y.abs()


def with_choices(x, y):
    return md.where((x > y).logical_or(y > 1), x * y, -x) * (x != 0) + (x == y)


def with_extremes(x, y):
    return md.maximum(x, y * 0.5) - md.minimum(-x, y).square()


def with_shared_results(x, y):
    z = x * y + 1
    return z * z, (z - x) / (y * y + 1), z


def with_several_shapes(x, y):
    return (x * 2 + 1) * y[:1] + y.sum() * x - x.mean(0, keepdim=True)


def with_slow_functions(x, y):
    return md.tanh(x * y).exp() + md.sigmoid(y - x) * md.sin(x) + (x * x).log()


def with_stacks(x, y):
    z = md.stack([x * y + 1, x - y * 2, (x > y) * 1.0 + x])
    return z, z[1] * 2 + z[0]


def with_views(x, y):
    z = x * y
    return (z + 1) * z.flip(0) - z.reshape(-1)[:z.numel()].reshape(z.shape)


def with_layouts(x, y):
    return (x.transpose(0, 1) * y.transpose(0, 1) + 1) * (x * y - 2).transpose(0, 1)


FUNCTIONS = [with_numbers, with_choices, with_extremes, with_shared_results, with_several_shapes, with_slow_functions,
             with_stacks, with_views, with_layouts]


def arrays(shape, dtype):
    rng = np.random.default_rng(3)
    x, y = rng.integers(-4, 5, (2, *shape)).astype(dtype) / 2
    if x.size > 8 and np.dtype(dtype).kind == "f":
        x.flat[3], x.flat[5], y.flat[5], y.flat[6] = np.nan, np.inf, np.nan, -np.inf
    return x, y


def same(found, expected):
    for a, b in zip(found, expected):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == np.float32 else 1e-12, atol=1e-6)


def outputs(function, *inputs):
    with np.errstate(all="ignore"):
        found = function(*map(md.tensor, inputs))
    return [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize(("function", "dtype"), [
    pytest.param(function, dtype, marks=[pytest.mark.more] if more else [], id=f"{function.__name__}-{np.dtype(dtype)}")
    for k, function in enumerate(FUNCTIONS) for dtype, more in [(np.float32, False), (np.float64, k % 4)]])
@pytest.mark.parametrize("shape", [(3, 4), (30, 41), (0, 4)], ids=str)
def test_loops_compute_what_the_steps_compute(function, dtype, shape, numba):
    inputs = arrays(shape, dtype)
    compiled = md.compile(function)
    for _ in range(2):                                # the second call meets what the first left in memory
        same(outputs(compiled, *inputs), outputs(function, *inputs))
    compiled.graph.check()


FORMULA_NAMES = [*FORMULAS, *SLOW]
MIXED = ("mul", "astype", "equal", "logical_and", "logical_or", "logical_not")       # also read truth values here
EXTREMES = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.0, 0.3]


@functools.cache
def compiled_formulas(names, dtype):
    """One loop with the formulas of some ops: {op: [(kinds of the inputs, result, NumPy's result), ...]}.

    x and y are all pairs of `EXTREMES`, p and q truth values. The results of a loop are stacked, truth values as 0 and
    1: a loop for each op would take a fifth of a second to compile.
    """
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(EXTREMES, EXTREMES))
    p, q = np.random.default_rng(0).random((2, x.size)) < 0.5
    arrays, steps, what = {"x": x, "y": y, "p": p, "q": q}, [], []
    for name in names:
        op, meta = registry[name], {"dtype": x.dtype} if name == "astype" else {}
        kinds = {1: ("x", "p"), 2: ("xy", "py"), 3: ("pxy",)}[len(op.inputs)]
        for inputs in kinds[:1 + (name in MIXED)]:
            out = np.dtype(op.dtype_rule(*[arrays[k].dtype for k in inputs], **meta))
            steps.append((op, meta, tuple(f"a{'xypq'.index(k)}" for k in inputs), out))
            what.append((name, inputs))
    steps.append((registry["astype"], {"dtype": x.dtype}, ("a0",), x.dtype))       # the last says what the stack holds
    loop = Loop(steps, [a.dtype for a in arrays.values()], 0, list(range(len(steps))), "all")
    found, expected = (run(np, *arrays.values()) for run in (loop.fast(1), loop.forward))
    return {name: [(inputs, a, b) for (k, inputs), a, b in zip(what, found, expected) if k == name] for name in names}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMULA_NAMES)
def test_every_formula_of_the_loops_computes_what_its_op_does(name, dtype, numba):
    part = tuple(FORMULA_NAMES[FORMULA_NAMES.index(name) % 2::2])
    for inputs, found, expected in compiled_formulas(part, dtype)[name]:
        np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps, atol=0, err_msg=inputs)


def test_a_graph_that_no_pass_has_changed_computes_the_same(numba):
    """The passes write relu as a maximum; without them it is a step of its own."""
    def function(x, y):
        return (x - y).relu() * x
    compiled, inputs = md.compile(function, passes=[]), arrays((3, 4), np.float32)
    same(outputs(compiled, *inputs), outputs(function, *inputs))
    assert "relu(" in compiled.source and "maximum" not in compiled.source


@pytest.mark.parametrize("function", [
    with_stacks, *(pytest.param(f, marks=pytest.mark.more)
                   for f in (with_numbers, with_extremes, with_shared_results))], ids=lambda f: f.__name__)
def test_gradients_of_loops(function, numba):
    def gradients(x, y):
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        found = function(x, y)
        total = sum((z * z).sum() for z in (found if isinstance(found, tuple) else (found,)))
        return md.autograd.grad(total, [x, y])
    inputs = np.random.default_rng(0).standard_normal((2, 40, 30))
    same(outputs(md.compile(gradients), *inputs), outputs(gradients, *inputs))


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["rows", "columns"])
def test_a_loop_that_writes_over_an_input(k, layout, numba):
    """The input is then read under the result's own name, wherever it stands."""
    def step_on(xs):
        def step():
            a, b, c = xs
            xs[k].copy_((a * 2 + b * b - c.relu()).tanh())
        return step
    inputs = np.random.default_rng(0).standard_normal((3, 8, 8))
    first, second = ([md.from_numpy(layout(x.copy())) for x in inputs] for _ in range(2))
    compiled, plain = md.compile(step_on(first)), step_on(second)
    for _ in range(3):
        compiled()
        plain()
        same([x.numpy() for x in first], [x.numpy() for x in second])
    assert "loop" in compiled.source and "out=" in compiled.source


def test_inputs_in_any_layout(numba):
    compiled = md.compile(with_numbers)
    for x, y in [np.random.default_rng(0).standard_normal((2, 40, 30))]:
        for make in (np.asarray, np.asfortranarray, lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a[::-1],
                     lambda a: np.broadcast_to(a[:1], a.shape)):
            for other in (np.asarray, np.asfortranarray):
                a, b = make(x), other(y)
                found = compiled(md.from_numpy(a), md.from_numpy(b))
                same([found.numpy()], outputs(with_numbers, a, b))


def test_whole_numbers_and_mixed_dtypes_are_left_to_numpy(numba):
    for x, y in [(np.arange(6), np.arange(6)), (np.arange(6.0), np.arange(6.0, dtype=np.float32))]:
        def function(x, y):
            return x * 2 + y - 1
        same(outputs(md.compile(function), x, y), outputs(function, x, y))


def test_the_program_says_what_its_loops_do(numba):
    def function(x, y):
        return ((x * 2 + y).relu() - 1) / 3
    compiled = md.compile(function)
    compiled(md.ones(3), md.ones(3))
    (comment, call, back) = compiled.source.splitlines()[1:]
    assert comment.endswith(": ((maximum(((a0 * 2) + a1), 0) - 1) / 3)") and "loop" in call and "return" in back
    assert compiled.graph.steps[0].name in repr(compiled.graph)
    values = dict(zip(compiled.graph.inputs, [np.ones(3, "f"), np.ones(3, "f")]))
    (out,), _ = md.graph.evaluate(compiled.graph, values)
    np.testing.assert_allclose(out, 2 / 3, rtol=1e-6)


def test_the_same_work_is_compiled_once(numba):
    def function(x):
        for _ in range(200):
            x = md.tanh(x * 1.1 + 0.1) - 0.1
        return x
    compiled = md.compile(function)
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    same(outputs(compiled, x), outputs(function, x))
    assert 2 <= len({node.op for node in compiled.graph.steps}) < 6 and len(compiled.graph.steps) < 30
