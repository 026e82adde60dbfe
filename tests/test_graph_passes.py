"""Passes and the plan of memory: random programs mean the same before and after, and no live value is overwritten."""
import itertools

import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import ops
from minidl.errors import InplaceError, TraceError
from minidl.graph.codegen import Program
from minidl.graph.ir import Graph, Update
from minidl.graph.passes import fold, join, merge, optimise
from minidl.graph.plan import Plan
from minidl.graph.symbols import PLACEHOLDER, VARIABLE, source_node
from minidl.graph.trace import Tracer
from minidl.nn import functional as F
from minidl.random import Generator
from minidl.tensor import Node, wrap
from tests import test_random_graphs as random_graphs
from tests.graph_tools import all_same, every_way, recorded, same, tensors_of, values_of, with_gradients


# ---------------------------------------------------------------------- random programs
def _draw(rng, x, y, generator):
    draw = md.rand if rng.integers(2) else md.randn
    new = draw(*x.shape, dtype=md.float64, generator=generator)
    return (x * new, x + new - draw(*x.shape, dtype=md.float64, generator=generator))[int(rng.integers(2))]


def _unused(rng, x, y, generator):
    (x.tanh() * 3).sum()
    md.rand(2, generator=generator)                    # drawn in eager mode, too
    return None


def _slices_put_together(rng, x, y, generator):
    """The gradient is a sum of slices put into zeros."""
    if not x.ndim or x.shape[-1] < 2:
        return None
    cut = int(rng.integers(1, x.shape[-1]))
    return md.cat([x[..., cut:], x[..., :cut].tanh()], -1) + x


EXTRA = [
    _draw, _unused, _slices_put_together,
    lambda rng, x, y, generator: x.tanh() + x.tanh() * 2 + (x * 1.0).tanh(),
    lambda rng, x, y, generator: x.neg().neg() + 0 - 0.0 * x.detach(),
    lambda rng, x, y, generator: (x * 1 + 0) / 1 - 0,
    lambda rng, x, y, generator: x.reshape(-1).reshape(1, -1).reshape(*x.shape) * 1.5,
    lambda rng, x, y, generator: x.permute(*range(x.ndim)[::-1]).permute(*range(x.ndim)[::-1]) + 0.25,
    lambda rng, x, y, generator: x + md.ones(*x.shape, dtype=md.float64) * 2,
    lambda rng, x, y, generator: x.expand(3, *x.shape).sum(0).tanh() if x.ndim < 3 else None,
    lambda rng, x, y, generator: (x**2) ** 1 / 4,
    lambda rng, x, y, generator: md.where((x > 0).logical_not().logical_not(), x, 0.5),
    lambda rng, x, y, generator: x.clone().to(md.float64),
    lambda rng, x, y, generator: (x.float() * 2).double(),
]


def program_of(seed):
    """A function of tensors that does the same at every call: the steps of test_random_graphs, and EXTRA."""
    def function(generator, *leaves):
        rng, pool = np.random.default_rng(seed + 2_000_000), [x * 1.0 for x in leaves]
        constant = random_graphs.Constants()
        steps = random_graphs.STEPS
        for _ in range(int(rng.integers(3, 12))):
            k = int(rng.integers(len(steps) + 2 * len(EXTRA)))
            x, y = pool[rng.integers(len(pool))], pool[rng.integers(len(pool))]
            if k >= len(steps):
                new = EXTRA[(k - len(steps)) % len(EXTRA)](rng, x, y, generator)
            else:
                new = steps[k](rng, x, y, constant) if steps[k] in random_graphs.CUT_OFF else steps[k](rng, x, y)
            for out in () if new is None else new if isinstance(new, tuple) else (new,):
                if out.numel() <= 48:
                    pool.append(out)
        return [pool[-1], *(pool[k] for k in rng.integers(0, len(pool), 2))]
    return function


def check(seed):
    """One program, in every way; "right", or "refused" (a change in place) by eager."""
    function, generator = program_of(seed), Generator(seed)
    tensors = random_graphs.leaves_of(seed)
    for x in tensors:
        x.requires_grad = bool(seed % 5)
    start = generator.get_state()
    try:
        expected = with_gradients(lambda *xs: function(generator, *xs), tensors)
    except InplaceError:
        return "refused"                               # by eager; a graph knows less about memory and may go on
    after = generator.get_state()
    generator.set_state(start)
    graph = recorded(lambda *xs: function(generator, *xs), tensors)
    assert generator.get_state() == start, f"seed {seed}: numbers were drawn while a graph was made"
    values = values_of(graph, tensors)
    before = [(v, v.copy()) for v in values.values() if isinstance(v, np.ndarray)]
    for way, outputs in every_way(graph, values):
        generator.set_state(start)
        found = outputs()
        all_same(found, expected, f"seed {seed}, {way}")
        assert generator.get_state() == after, f"seed {seed}, {way}: another number of draws"
        if way.startswith("program"):
            for y in found:                            # nobody else's memory: scribble over it
                assert y.flags.writeable or not y.size, f"seed {seed}, {way}: an output that cannot be written to"
                y[...] = 77 if y.dtype.kind != "b" else True
            for a in found:
                shared = [b for b in found if b is not a and np.shares_memory(a, b)]
                assert not shared, f"seed {seed}, {way}: outputs share memory"
        for array, copy in before:
            np.testing.assert_array_equal(array, copy, err_msg=f"seed {seed}, {way}: an input or constant was changed")
    return "right"


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_programs_mean_the_same_in_every_form(start):
    found = [check(seed) for seed in range(start, start + 50)]
    assert found.count("right") >= 30


@pytest.mark.slow
@pytest.mark.parametrize("start", range(200, 1400, 100))
def test_a_thousand_random_programs_mean_the_same_in_every_form(start):
    found = [check(seed) for seed in range(start, start + 100)]
    assert found.count("right") >= 65


# ---------------------------------------------------------------------- the passes one by one
def names_of(graph):
    return [node.name for node in graph.steps]


def is_right_when_optimised(function, tensors, what=""):
    """Hold what all passes make of a function, and of its gradients, against eager; returns the graph."""
    graph = optimise(recorded(function, tensors))
    all_same(G.evaluate(graph, values_of(graph, tensors))[0], with_gradients(function, tensors), what)
    return graph


def test_fold_runs_what_is_known_and_no_draw():
    generator = Generator(0)
    def function(x):
        c = md.Tensor(np.ones((2, 2)))
        noise = md.rand(2, 2, dtype=md.float64, generator=generator)
        return x + wrap(ops.tanh(ops.mul(c.array, 2))) + noise
    graph = recorded(function, tensors_of([np.zeros((2, 2))], ()))
    assert {"tanh", "mul"} <= set(names_of(graph)) and sorted(names_of(fold(graph))) == ["add", "add", "uniform"]


def test_merge_keeps_draws_apart_and_takes_settings_into_account():
    def function(x):
        return [x.sum(0) + x.sum(0), x.sum(1) + x.sum(1, keepdim=True), x * 2 + x * 2.0, md.rand(2) + md.rand(2)]
    graph = merge(recorded(function, tensors_of([np.ones((2, 2))], ())))
    assert names_of(graph).count("sum") == 3 and names_of(graph).count("uniform") == 2
    assert names_of(graph).count("mul") == 2            # 2 and 2.0 are not the same number


@pytest.mark.parametrize("function, left", [
    (lambda x: x * 1, []), (lambda x: 1 * x, []), (lambda x: x + 0, []), (lambda x: 0 + x, []), (lambda x: x - 0, []),
    (lambda x: x / 1, []), (lambda x: x**1, []), (lambda x: x.neg().neg(), []), (lambda x: x**2, ["square"]),
    (lambda x: x.reshape(4).reshape(2, 2), []), (lambda x: x.T.T, []), (lambda x: x.clone(), []),
    (lambda x: x.reshape(4).reshape(1, 4), ["reshape"]), (lambda x: x.expand(2, 2), []),
    (lambda x: 0 - x, ["sub"]), (lambda x: 1 / x, ["div"]),
    (lambda x: x + md.zeros(3, 1, 1, dtype=md.float64), ["add"]),
    (lambda x: 1**x, ["pow"]), (lambda x: x * md.ones(1, dtype=md.float64), ["mul"])])
def test_simplify_leaves_out_what_changes_nothing(function, left):
    graph = recorded(function, tensors_of([np.ones((2, 2))], ()))
    assert names_of(optimise(graph)) == left
    integers = recorded(lambda x: x / 1, [md.tensor([1, 2])])
    assert names_of(optimise(integers)) != [] and optimise(integers).outputs[0].dtype == np.float32


def test_one_permutation_in_place_of_two():
    """On a cube, where a wrong one would have the right shape."""
    x, orders = np.arange(8.0).reshape(2, 2, 2), list(itertools.permutations(range(3)))
    def function(x):
        return [x.permute(*first).permute(*second) for first in orders for second in orders]
    graph = is_right_when_optimised(function, tensors_of([x], ()))
    assert len(graph.steps) == len(orders) - 1


@pytest.mark.parametrize("key", range(-3, 3))
def test_an_entry_of_the_gradient_of_an_entry(key):
    def function(x):
        x = x.detach().requires_grad_()
        (slope,) = md.autograd.grad(x[key].square().sum(), [x])
        return [slope[k] for k in range(-3, 3)]
    x = np.arange(1.0, 7).reshape(3, 2)
    assert "unslice" not in names_of(is_right_when_optimised(function, tensors_of([x], ())))


def test_what_takes_much_more_memory_than_it_is_made_of_is_not_kept_as_a_constant():
    def graph_of(n):
        row, column = np.ones((1, n)), np.ones((n, 1))
        return fold(recorded(lambda x: x + wrap(ops.mul(row, column)), tensors_of([row], ())))
    assert names_of(graph_of(3)) == ["add"] and names_of(graph_of(300)) == ["mul", "add"]


def test_join_makes_one_concatenation_of_slices():
    def function(x):
        a, b, c = x.split([1, 2, 3], 1)
        return (a * a).sum() + (b * b).sum() * 2 + (c * c * 3).sum()
    tensors = tensors_of([np.arange(12.0).reshape(2, 6)])
    graph = optimise(recorded(function, tensors))
    assert "unslice" not in names_of(graph) and names_of(graph).count("concat") == 1
    partly = tensors_of([np.arange(12.0).reshape(2, 6)])
    graph = recorded(lambda x: (x[:, :2] * x[:, 4:]).sum(), partly)
    assert "concat" not in names_of(join(graph))


KEYS = [np.s_[:2], np.s_[2:], np.s_[:4], np.s_[2:3], np.s_[:3:2], np.s_[3:], np.s_[::-1], np.s_[:, :2], np.s_[:, 2:],
        np.s_[..., :2], np.s_[..., 2:], np.s_[..., 2:, :], np.s_[2], np.s_[:2, 2:]]


@pytest.mark.parametrize("first", KEYS, ids=str)
def test_the_sum_of_any_two_slices_is_what_eager_makes_of_it(first):
    for second in KEYS:
        def function(x, second=second):
            return x[first].square().sum() + x[second].exp().sum()
        is_right_when_optimised(function, tensors_of([np.linspace(-1, 1, 16).reshape(4, 4)]), second)


def slopes_in_a_pooling(x, b):
    """The gradient of what goes into a pooling, under masks and sums of all kinds."""
    y = (x.detach().requires_grad_() + b).relu()
    (slope,) = md.autograd.grad(F.max_pool2d(y, 2).square().sum(), [y])
    return [slope * (y > 0), slope * (y > 0.5), slope * (-x > 0), slope.sum((0, 2, 3)), slope.sum((0, 1)), slope.sum(0)]


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 4, 4), (3, 1, 4), (2, 3, 1, 1), (2, 3, 4, 4), (1,)], ids=str)
@pytest.mark.parametrize("function", [
    lambda x, b: F.max_pool2d((x + b).relu(), 2), lambda x, b: F.max_pool2d(md.maximum(x + b, 0.5), 2),
    lambda x, b: F.max_pool2d(md.maximum(x, b), 2), lambda x, b: F.max_pool2d(b + x, (3, 2), 1, 1),
    lambda x, b: F.max_pool2d((x.relu() + b) * 2 + b, 2), slopes_in_a_pooling])
def test_what_stands_before_a_pooling_is_what_eager_makes_of_it(function, shape):
    rng = np.random.default_rng(0)
    tensors = tensors_of([rng.standard_normal((2, 3, 4, 4)), rng.standard_normal(shape)],
                         () if function is slopes_in_a_pooling else None)
    is_right_when_optimised(function, tensors)


def test_optimise_keeps_every_step_that_changed_something_in_its_history():
    graph = recorded(lambda x: (x * 1 + 0).tanh() + x.tanh(), tensors_of([np.ones(2)]))
    full = optimise(graph)
    assert [name for name, _ in full.history] == ["simplify", "merge"]
    assert full.history[0][1] is graph
    assert len(full.steps) < len(full.history[1][1].steps) < len(graph.steps)


# ---------------------------------------------------------------------- what runs change
VARIABLES = {
    "momentum": lambda p, m, g: [m.mul_(0.9).add_(g), p.sub_(0.1 * m)],
    "adam": lambda p, m, g: [m.mul_(0.9).add_(0.1 * g), g.mul_(0.99).add_(m * m), p.sub_(m / (g.sqrt() + 1e-3))],
    "swap": lambda p, m, g: (lambda a: [p.copy_(m), m.copy_(a), p * m])(p.clone()),
    "rotate": lambda p, m, g: (lambda a, b: [p.copy_(g), m.copy_(a), g.copy_(b)])(p.clone(), m.clone()),
    "an output is the old value": lambda p, m, g: [p.clone(), p.add_(1).clone(), p.add_(m)],
    "an output is the new value": lambda p, m, g: [p.add_(1), p, p * 2],
    "reads another's new value": lambda p, m, g: [p.add_(m), m.add_(p), g.copy_(p - m), p + m + g],
    "reads another's old value": lambda p, m, g: (lambda old: [p.add_(1), m.copy_(old), old * 2])(p * 1),
    "the same value to two": lambda p, m, g: (lambda new: [p.copy_(new), m.copy_(new), new])(g.tanh()),
    "twice": lambda p, m, g: [p.add_(1), p.mul_(2), p.sub_(m)],
    "a view of the old value": lambda p, m, g: (lambda v: [p.add_(1), m.copy_(v.T), v])(p.clone().T),
    "a view of itself": lambda p, m, g: [p.copy_(p.T.clone()), m.copy_(p.flip(0))],
    "a part": lambda p, m, g: [p[0].add_(1), p[:, 1].copy_(m[0]), p.T[2].mul_(g[0, 0]), p + 0],
    "a part of a part": lambda p, m, g: [p.T[1:][0].mul_(3), p[0].clone(), m.copy_(p)],
    "a view made before": lambda p, m, g: (lambda v: [p.add_(1), v * 1, m.mul_(v)])(p.T),
    "nothing": lambda p, m, g: [p + m],
    "a sum of itself": lambda p, m, g: [p.copy_(p.sum(0, keepdim=True).expand(3, 3)), p.sub_(p.mean())],
    "fill": lambda p, m, g: [p.zero_(), m.fill_(2.0), p + m],
    "where": lambda p, m, g: [p.copy_(md.where(p > m, m, p)), m.clamp_(-0.5, 0.5)],
}


@pytest.mark.parametrize("name", VARIABLES)
def test_what_a_program_changes_is_what_eager_changes(name):
    rng, change = np.random.default_rng(0), VARIABLES[name]
    numbers = [rng.standard_normal((3, 3)) for _ in range(3)]
    eager, ours = ([md.Tensor(a.copy()) for a in numbers] for _ in range(2))

    @G.compile
    def step():
        return change(*ours)
    for turn in range(3):
        expected, found = change(*eager), step()
        kept = [y.clone() for y in expected]
        all_same(found, kept, f"{name}, outputs of turn {turn}")
        all_same(ours, eager, f"{name}, variables after turn {turn}")
        for y in found:
            if not any(y is x for x in ours):
                y.array[...] = 55                      # the caller's own memory
        all_same(ours, eager, f"{name}, after writing to outputs")
    assert len(step.log) == 1


def random_changes(seed):
    """A function that changes and reads four tensors in a random order."""
    def function(*variables):
        rng, pool, out = np.random.default_rng(seed), [], []
        for _ in range(int(rng.integers(3, 10))):
            x, y = (variables[k] for k in rng.integers(0, 4, 2))
            z = pool[int(rng.integers(len(pool)))] if pool and rng.integers(2) else y
            kind = int(rng.integers(9))
            if kind < 2:
                x.add_(z.tanh())
            elif kind == 2:
                x.copy_(z)
            elif kind == 3:
                x.mul_(0.5)
            elif kind == 4:
                x[int(rng.integers(2))].sub_(z[1])
            else:
                pool.append((md.mul(x, y), x.T, x.clone(), x.tanh())[kind - 5])
            if rng.integers(3) == 0 and pool:
                out.append(pool[-1] + 0)
        return [*out, *[p + 0 for p in pool[-2:]]]
    return function


def test_random_changes_of_variables_are_those_of_eager():
    for seed in range(150):
        numbers = [np.random.default_rng(seed).standard_normal((3, 3)) for _ in range(4)]
        eager, ours = ([md.Tensor(a.copy()) for a in numbers] for _ in range(2))
        function = random_changes(seed)
        step = G.compile(lambda: function(*ours))          # noqa: B023
        for turn in range(2):
            expected = [y.clone() for y in function(*eager)]
            all_same(step(), expected, f"seed {seed}, outputs of turn {turn}")
            all_same(ours, eager, f"seed {seed}, variables after turn {turn}")


# ---------------------------------------------------------------------- planted faults in the plan
def source(op, shape, name):
    return source_node(op, shape, np.dtype("float64"), name=name)


def step(op, *inputs):
    return G.passes.made(op, inputs, {})


def small():
    """v1 = tanh(x), v2 = v1 * w, v3 = v1 + v2 with w <- w + v1: what follows plants faults in its plan."""
    x, w = source(PLACEHOLDER, (3,), "x"), source(VARIABLE, (3,), "w")
    v1 = step(ops.tanh, x)
    v2 = step(ops.mul, v1, w)
    v3 = step(ops.add, v1, v2)
    new = step(ops.add, w, v1)
    return Graph([x], [v3], [Update(w, new)]), dict(x=x, w=w, v1=v1, v2=v2, v3=v3, new=new)


def planted(*pairs):
    """The plan of `small` with some steps written over an input of theirs."""
    graph, at = small()
    plan = Plan(graph).check()
    plan.block = {n: n for n in graph.nodes if plan.viewed[n] is n}
    plan.reuse = {}
    for node, x in pairs:
        plan.reuse[at[node]], plan.block[at[node]] = at[x], plan.block[at[x]]
    return plan


def test_the_plan_of_a_small_graph_is_found():
    graph, at = small()
    plan = Plan(graph).check()
    assert plan.reuse[at["v3"]] is at["v2"] and plan.reuse[at["new"]] is at["w"] and at["v1"] not in plan.reuse
    assert plan.written == {at["w"]: at["new"]}
    planted(("v3", "v2"), ("new", "w")).check()


@pytest.mark.parametrize("pairs, words", [
    ([("v2", "v1")], "overwrites .* still needed"),                      # v3 reads v1 later
    ([("v2", "w")], "overwrites .* still needed"),                       # the update reads the old w later
    ([("v1", "x")], "not the graph's to change"),                        # what was fed is the caller's
    ([("v3", "v1"), ("v2", "v1")], "overwrites .* still needed"),
])
def test_check_finds_a_block_that_is_used_again_too_early(pairs, words):
    with pytest.raises(TraceError, match=words):
        planted(*pairs).check()


def test_check_finds_a_variable_that_is_only_read():
    x, w = source(PLACEHOLDER, (3,), "x"), source(VARIABLE, (3,), "w")
    y = step(ops.add, x, w)
    plan = Plan(Graph([x], [y])).check()
    assert plan.reuse == {}
    plan.reuse[y], plan.block[y] = w, w
    with pytest.raises(TraceError, match="not the graph's to change"):
        plan.check()


def test_check_finds_memory_that_does_not_fit():
    x = source(PLACEHOLDER, (3,), "x")
    wide = G.passes.made(ops.expand, (step(ops.tanh, x),), {"shape": (2, 3)})
    row, zero = step(ops.tanh, x), G.passes.made(ops.sum, (x,), {"dim": (0,), "keepdim": False})
    for node, over in ((step(ops.exp, wide), wide), (step(ops.add, wide, row), row), (step(ops.exp, zero), zero)):
        plan = Plan(Graph([x], [node])).check()
        assert node not in plan.reuse
        plan.reuse[node], plan.block[node] = over, plan.block.get(over, over)
        with pytest.raises(TraceError, match="cannot be written to"):
            plan.check()


def count_reads_without_views(plan):
    plan.end = dict.fromkeys(plan.graph.nodes, -1)
    for k, node in enumerate(plan.steps):
        plan.end.update({x: k for x in node.inputs if isinstance(x, Node)})
    plan.end.update({x: len(plan.steps) for x in [*plan.graph.outputs, *(u.value for u in plan.graph.updates)]
                     if isinstance(x, Node)})


FAULTS = {
    "too early": ("_may_write_over", lambda plan, x, node: plan.viewed[x] is x and (x.shape, x.dtype) == (
        node.shape, node.dtype) and plan.block[x].op not in (PLACEHOLDER, VARIABLE)),
    "placeholders": ("_may_write_over", lambda plan, x, node: plan.viewed[x] is x and (x.shape, x.dtype) == (
        node.shape, node.dtype) and plan.end[x] <= plan.place[node]),
    "views": ("_count_reads", count_reads_without_views),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_finds_a_planner_that_is_wrong(monkeypatch, fault):
    monkeypatch.setattr(Plan, *FAULTS[fault])
    with pytest.raises((TraceError, AssertionError)):
        test_random_changes_of_variables_are_those_of_eager()
        test_random_programs_mean_the_same_in_every_form(0)


def test_a_planner_that_takes_views_of_constants_is_found_by_value(monkeypatch):
    x = source(PLACEHOLDER, (2, 2), "x")
    row = G.passes.made(ops.reshape, (np.arange(4.0),), {"shape": (2, 2)})
    graph = Graph([x], [step(ops.add, row, x)])
    first, again = Program(graph), [None, None]
    for k in range(2):
        (again[k],) = first.run(np.ones((2, 2)))
    same(again[1], again[0])
    plan = Plan(graph)
    plan.reuse[graph.outputs[0]], plan.block[graph.outputs[0]] = row, row
    with pytest.raises(TraceError, match="not the graph's to change"):
        plan.check()


# ---------------------------------------------------------------------- names
NAMES = ["v1 v2", "np float", "sum add", "class lambda", "größe gr__e", "c0 c", "const const1", "program n0", "min max",
         "x x", "1 w1", "__builtins__ print", "None True", "a-b a_b"]


@pytest.mark.parametrize("names", NAMES)
def test_any_name_may_be_given_to_an_input(names):
    tracer = Tracer()
    with tracer.at_work():
        x, y = (wrap(tracer.placeholder((2,), np.float64, name)) for name in names.split())
        out = (x * 2).sum(0, keepdim=True) + y * 3 + 0.5
    graph = tracer.graph([out.array])
    (found,) = Program(graph).run(np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    same(found, np.array([36.5, 66.5]))
