"""Graphs: what is recorded is what eager computes, for every op; graphs print and check themselves; open sizes."""
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import ops
from minidl.errors import ShapeError, TraceError
from minidl.graph.codegen import Program
from minidl.graph.ir import EXAMPLES, Graph, Update
from minidl.graph.symbols import PLACEHOLDER, VARIABLE, Scalar, Share, Size, Symbol, new_node, source_node
from minidl.graph.trace import Tracer
from minidl.random import Generator
from minidl.tensor import apply, wrap
from tests.graph_tools import (
    all_same,
    every_way,
    recorded,
    run_program,
    same,
    tensors_of,
    values_of,
    with_gradients,
)
from tests.samples import TABLE

DRAWS = ("uniform", "normal")
FLOATS = (np.dtype("float64"), np.dtype("float32"))


def call_of(sample, dtype):
    """The sample as a function of tensors, and its tensors."""
    meta = sample.meta(dtype)
    return lambda *args: apply(sample.op, args, meta), tensors_of(sample.inputs(dtype), sample.wrt())


# ---------------------------------------------------------------------- every op
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("sample", [s for s in TABLE if s.name not in DRAWS], ids=str)
def test_each_op_recorded_and_compiled_is_the_op(sample, dtype):
    function, tensors = call_of(sample, dtype)
    expected = with_gradients(function, tensors)
    graph = recorded(function, tensors)
    assert [(y.shape, y.dtype) for y in graph.outputs] == [(y.shape, y.dtype) for y in expected]
    for way, outputs in every_way(graph, values_of(graph, tensors)):
        all_same(outputs(), expected, f"{sample} {way}")


def test_each_op_compiled_takes_any_memory():
    for sample in TABLE:
        if sample.name in DRAWS:
            continue
        for variant in sample.variants():
            function, tensors = call_of(variant, np.float64)
            for x, array in zip(tensors, variant.inputs()):
                if isinstance(x, md.Tensor):
                    x.array = array                    # the strides of the sample, which a copy would lose
            expected = with_gradients(function, tensors)
            program = Program(G.passes.optimise(recorded(function, tensors)))
            all_same(run_program(program, values_of(program.graph, tensors)), expected, f"{variant} {variant.variant}")


@pytest.mark.parametrize("sample", [s for s in TABLE if s.name in DRAWS], ids=str)
def test_draws_of_a_graph_are_the_same_stream(sample):
    meta = sample.meta()
    graph = recorded(lambda: apply(sample.op, (), meta), ())
    generator = meta["generator"]
    start = generator.get_state()
    expected = [sample.op(**meta) for _ in range(3)]
    for run in (lambda: G.evaluate(graph, {})[0][0], lambda: run_program(Program(graph), {})[0]):
        generator.set_state(start)
        for draw in expected:
            same(run(), draw)


# ---------------------------------------------------------------------- every op, in a Session and in a file
def all_samples(dtype):
    """A Builder with every sample and its gradients, what to feed and what must come out."""
    builder, fetches, feeds, expected = G.Builder(), {}, {}, {}
    for k, sample in enumerate(TABLE):
        function, tensors = call_of(sample, dtype)
        state = [v.get_state() for v in sample.meta().values() if isinstance(v, Generator)]
        expected.update({f"{k}_{j}": y.detach().numpy() for j, y in enumerate(with_gradients(function, tensors))})
        assert len(state) == (sample.name in DRAWS)
        function, _ = call_of(sample, dtype)
        with builder.as_default():
            args = []
            for j, x in enumerate(tensors):
                if isinstance(x, md.Tensor):
                    new = G.placeholder(x.shape, x.dtype, f"x{k}_{j}")
                    new.requires_grad, feeds[f"x{k}_{j}"] = x.requires_grad, x.detach().numpy()
                    x = new
                args.append(x)
            fetches.update({f"{k}_{j}": y for j, y in enumerate(with_gradients(function, args, G.gradients))})
    return builder, fetches, feeds, expected


CHILD = """
import sys
import numpy as np
import minidl as md
import minidl.graph
for path in sys.argv[1:]:
    saved, feeds = md.graph.load(path + ".md"), dict(np.load(path + ".npz"))
    names = [n for n in saved.fetches]
    outs = saved.run(names, feeds)
    np.savez(path + ".out.npz", **{n: y.numpy() for n, y in zip(names, outs)})
"""


def run_elsewhere(*paths):
    """Run saved graphs in a process that has never seen the Python that made them."""
    here = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", CHILD, *map(str, paths)], check=True, cwd="/",
                   env={**os.environ, "PYTHONPATH": str(here)})
    return [dict(np.load(f"{path}.out.npz")) for path in paths]


def test_every_op_in_a_session_and_in_a_file_elsewhere(tmp_path):
    expected = []
    for dtype in FLOATS:
        builder, fetches, feeds, right = all_samples(dtype)
        session = G.Session(builder)
        draws = {k for k, s in enumerate(TABLE) if s.name in DRAWS}
        G.save(tmp_path / f"{dtype}.md", fetches, session)              # before the draws go on
        np.savez(tmp_path / f"{dtype}.npz", **feeds)
        found = session.run(fetches, feeds)
        for name, y in right.items():
            same(found[name], y, f"{TABLE[int(name.split('_')[0])]} {name} in a session")
        assert draws and len(found) == len(right)
        expected.append(right)
    for right, found in zip(expected, run_elsewhere(*(tmp_path / str(d) for d in FLOATS))):
        assert found.keys() == right.keys()
        for name, y in right.items():
            same(found[name], y, f"{TABLE[int(name.split('_')[0])]} {name} from a file")


# ---------------------------------------------------------------------- how a graph looks
def small_graph():
    tracer = Tracer()
    w = md.ones(3, 2)
    with tracer.at_work():
        x = wrap(tracer.placeholder((4, 3), np.float32, "x"))
        settings = {"lr": 0.5}
        y = (x @ w).relu()
        lr = tracer.number(settings, "lr")
        with md.no_grad():
            w.sub_(y.sum(0, keepdim=True).expand(3, 2) * wrap(apply(ops.clone, (y.mean(),), {}).array))
        tracer.store(settings, "lr", lr * 2)
    return tracer.graph([y.array])


def test_a_graph_prints_itself():
    text = repr(small_graph())
    lines = text.splitlines()
    assert lines[0] == "graph(x: float32 (4, 3))"
    assert lines[1].split() == ["w", ":", "float32", "(3,", "2)", "variable"]
    assert lines[2].split() == ["lr", ":", "number", "looked", "up"]
    assert lines[3].split() == ["v1", "=", "matmul(x,", "w)", "float32", "(4,", "2)"]
    assert lines[-1] == "  return v2"
    assert [line.split()[:2] for line in lines if "←" in line] == [["w", "←"], ["lr", "←"]]
    assert len({line.index("float32") for line in lines[3:] if " = " in line and "float32" in line}) == 1     # columns


def test_constants_and_settings_are_printed_as_they_are_written():
    graph = recorded(lambda x: x.sum((0, 1), keepdim=True) * 2 + md.ones(2, 2), [md.ones(2, 3)])
    text = repr(graph)
    assert "dim=(0, 1), keepdim=True)" in text and ", 2" in text


# ---------------------------------------------------------------------- a graph checks itself
def node(op, *inputs, shape, dtype="float32", **meta):
    return new_node(op, inputs, meta, shape, np.dtype(dtype))


def test_check_finds_planted_faults():
    x = source_node(PLACEHOLDER, (2, 3), np.dtype("float32"), name="x")
    good = node(ops.tanh, x, shape=(2, 3))
    Graph([x], [good]).check()
    with pytest.raises(TraceError, match="not among the inputs"):
        Graph([], [good]).check()
    with pytest.raises(TraceError, match=r"v1 = tanh[\s\S]*recorded[\s\S]*\(3, 2\)[\s\S]*by its rules[\s\S]*\(2, 3\)"):
        Graph([x], [node(ops.tanh, x, shape=(3, 2))]).check()
    with pytest.raises(TraceError, match="float64"):
        Graph([x], [node(ops.tanh, x, shape=(2, 3), dtype="float64")]).check()
    with pytest.raises(ShapeError):
        Graph([x], [node(ops.matmul, x, x, shape=(2, 2))]).check()
    late = node(ops.tanh, x, shape=(2, 3))
    early = node(ops.exp, late, shape=(2, 3))
    late.serial, early.serial = early.serial, late.serial
    with pytest.raises(TraceError, match="before one of its inputs"):
        Graph([x], [early]).check()


def test_check_finds_an_update_that_does_not_fit():
    w = source_node(VARIABLE, (2,), np.dtype("float32"), name="w")
    wrong = node(ops.tanh, source_node(PLACEHOLDER, (3,), np.dtype("float32"), name="x"), shape=(3,))
    graph = Graph([wrong.inputs[0]], [], [Update(w, wrong)])
    with pytest.raises(TraceError, match="update"):
        graph.check()


def test_check_finds_an_open_size_that_became_a_number():
    n = Size(EXAMPLES[0], "n")
    x = source_node(PLACEHOLDER, (n, 3), np.dtype("float32"), name="x")
    Graph([x], [new_node(ops.reshape, (x,), {"shape": (n * 3,)}, (n * 3,), x.dtype)]).check()
    fixed = new_node(ops.reshape, (x,), {"shape": (EXAMPLES[0] * 3,)}, (EXAMPLES[0] * 3,), x.dtype)
    with pytest.raises(TraceError, match="left open"):
        Graph([x], [fixed]).check()


# ---------------------------------------------------------------------- open sizes
def test_arithmetic_on_open_sizes_is_written_down():
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    leaf = st.one_of(st.integers(-3, 9), st.sampled_from(["a", "b"]))
    trees = st.recursive(leaf, lambda below: st.one_of(st.tuples(st.sampled_from("+ - * / // %".split()), below, below),
                                                       st.tuples(st.just("**"), below, st.integers(0, 2))),
                         max_leaves=6)

    def value(tree, names):
        if isinstance(tree, tuple):
            x, y = value(tree[1], names), value(tree[2], names)
            return {"+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y,
                    "//": lambda: x // y, "%": lambda: x % y, "**": lambda: x**y}[tree[0]]()
        return names[tree] if isinstance(tree, str) else tree

    @hypothesis.given(trees, st.integers(1, 50), st.integers(1, 50))
    def holds(tree, a, b):
        names = {"a": a, "b": b}
        try:
            expected = value(tree, names)
        except ZeroDivisionError:
            return
        found = value(tree, {"a": Size(a, "a"), "b": Size(b, "b")})
        assert type(found) in (Size, Share, int, float) and not isinstance(expected, complex)
        assert found == expected
        if isinstance(found, (Size, Share)):
            assert eval(found.text, {}, names) == pytest.approx(expected, rel=1e-12)
            assert isinstance(found, Size) == isinstance(expected, int)
        else:
            assert not {"a", "b"} & set(re.findall("[ab]", str(tree)))
    holds()


def test_open_sizes_survive_what_python_does_with_sizes():
    n = Size(7919, "n")
    assert repr(n) == str(n) == f"{n}" == "n"
    for same_size in (+n, math.prod((n,)), sum([n]), max(n, 1), abs(n), abs(-n), divmod(n, 2)[0]):
        assert isinstance(same_size, Size), same_size
    assert repr((n, 3)) == "(n, 3)" and eval(repr(-n), {"n": 5}) == -5
    assert n == 7919 and hash(n) == hash(7919) and n > 1 and bool(n)
    for lost in (int, float, math.sqrt):
        with pytest.raises(TraceError, match="the size n is left open"):
            lost(n)


FREE = [
    lambda x: x.sum(), lambda x: x.mean(), lambda x: x.mean(0), lambda x: x.std(), lambda x: x.var(0),
    lambda x: x.reshape(-1), lambda x: x.flatten(), lambda x: x.reshape(x.shape[0] * 2, 2), lambda x: x.T @ x,
    lambda x: x.std(0), lambda x: x[:-1] * 2, lambda x: x[1:-1].mean(), lambda x: x[::2], lambda x: x[1::3].sum(),
    lambda x: x[-1], lambda x: x[..., None], lambda x: x[None, 1:3], lambda x: x[:1] + x, lambda x: x[4:].sum(0),
    lambda x: x.softmax(0), lambda x: x.log_softmax(1), lambda x: md.cat([x, x]), lambda x: x[1:], lambda x: x[-2:],
    lambda x: x[::-1], lambda x: x.flip(0), lambda x: x * md.zeros_like(x) + md.ones_like(x[:, :1]),
    lambda x: md.stack([x, x], 1), lambda x: x.unsqueeze(0).expand(3, *x.shape), lambda x: x.cumsum(0),
    lambda x: x.argmax(0), lambda x: md.where(x > 0, x, 0), lambda x: x.norm(), lambda x: x.permute(1, 0).relu(),
    lambda x: x.amax(0), lambda x: x[:, 1], lambda x: x / x.shape[0] + 1 / x.shape[0],
    lambda x: x.sum() / x.size(0), lambda x: x.numel() * x, lambda x: md.nn.functional.layer_norm(x, (4,)),
    lambda x: md.nn.functional.batch_norm(x, None, None, training=True), lambda x: md.full_like(x, 3) - x,
    lambda x: x.repeat(2, 1), lambda x: x.tril(), lambda x: md.logsumexp(x, 0),
    lambda x: md.nn.functional.mse_loss(x, x * 2),
    lambda x: md.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None])[0],
]


@pytest.mark.parametrize("k", range(len(FREE)))
def test_a_graph_with_an_open_size_serves_every_size(k):
    function, builder = FREE[k], G.Builder()
    with builder.as_default():
        x = G.placeholder((None, 4), md.float64, "x")
        x.requires_grad_()
        y = function(x)
        found = [y] + (G.gradients([(y * y).sum()], [x]) if y.requires_grad else [])
    session, rng = G.Session(builder), np.random.default_rng(0)
    for n in (5, 2, 9):
        numbers = md.Tensor(rng.standard_normal((n, 4)), True)
        y = function(numbers)
        expected = [y] + (list(md.autograd.grad((y * y).sum(), numbers)) if y.requires_grad else [])
        all_same(session.run(found, {"x": numbers.detach()}), expected, f"{n} rows")


@pytest.mark.parametrize("function", [
    lambda x: x.prod(0), lambda x: x.sum() / len(x), lambda x: md.stack([row * 2 for row in x]), lambda x: x[::-2],
    lambda x: x * md.ones(x.shape[0], 1), lambda x: x.sum() / math.sqrt(x.shape[0]), lambda x: x.reshape(7919, 4),
    lambda x: x + md.arange(x.shape[0]).reshape(-1, 1)])
def test_what_needs_to_know_an_open_size_says_so(function):
    builder = G.Builder()
    with pytest.raises(TraceError, match="left open"), builder.as_default():
        y = function(G.placeholder((None, 4), md.float64, "x"))
        G.Session(builder).run(y, {"x": np.ones((3, 4))})


# ---------------------------------------------------------------------- symbols
def test_a_symbol_has_everything_of_an_array_but_the_numbers():
    tracer = Tracer()
    with tracer.at_work():
        x = tracer.placeholder((2, 3), np.float32, "x")
        assert (x.shape, x.ndim, x.size, x.dtype, x.itemsize, len(x)) == ((2, 3), 2, 6, np.float32, 4, 2)
        assert (x + 1).shape == x.T.shape[::-1] if hasattr(x, "T") else True
        assert x.reshape(3, -1).shape == (3, 2) and x.astype(np.float64).dtype == np.float64
        assert isinstance(np.ones((2, 3), np.float32) * x, Symbol)
        for ask in (bool, int, float, np.asarray):
            with pytest.raises(TraceError, match="not known yet"):
                ask(x)
        with pytest.raises(ShapeError):
            x @ x


def test_a_change_in_place_lets_a_symbol_stand_for_another_node():
    def function(x):
        y = x * 1.0
        y += 1
        y *= 2
        y[0] = 5.0
        y[:, 1] = y[:, 0]
        return y
    tensors = tensors_of([np.arange(6.0).reshape(2, 3)])
    expected = function(tensors[0].detach())
    graph = recorded(lambda x: function(x.detach()), tensors)
    for way, outputs in every_way(graph, values_of(graph, tensors)):
        all_same(outputs(), [expected], way)


def test_a_scalar_computes_and_notes_what_was_asked():
    asked = []
    owner = {"lr": 0.5}
    lr = Scalar(source_node(G.symbols.SCALAR, name="lr", owner=owner, key="lr"), 0.5, lambda *q: asked.append(q))
    assert (1 - lr**2 / 4 + lr % 0.3).value == pytest.approx(1 - 0.0625 + 0.2) and (-lr).value == -0.5
    assert lr and lr > 0 and lr != 0 and lr < 1 and (lr >= 0.5) is True and (lr <= 0.1) is False
    assert [q[1] for q in asked] == ["truth", "greater", "not_equal", "less", "greater_equal", "less_equal"]
    assert [q[3] for q in asked] == [True, True, True, True, True, False]
