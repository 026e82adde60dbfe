"""Define, then run: feeds, variables, what runs and what does not, branches and loops, training."""
import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import nn, optim
from minidl.errors import ArgumentError, FeedError, GradientError, ShapeError, TraceError
from minidl.nn import functional as F
from tests.graph_tools import all_same, same


def rows(n=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 4))


@pytest.fixture
def built():
    """A graph with two placeholders of one open size, a variable and an update."""
    builder = G.Builder()
    with builder.as_default():
        x, y = G.placeholder((None, 4), md.float64, "x"), G.placeholder((None,), md.int64, "y")
        w = G.Variable(np.ones((4, 3)), name="w", dtype=np.float64)
        z = x @ w
        loss = F.cross_entropy(z, y)
        step = G.assign_add(w, md.ones(4, 3, dtype=md.float64))
        start = G.global_variables_initializer()
    session = G.Session(builder)
    session.run(start)
    return builder, session, dict(x=x, y=y, w=w, z=z, loss=loss, step=step, start=start)


# ---------------------------------------------------------------------- feeds
def test_feeds_by_placeholder_and_by_name_in_any_form(built):
    _, session, at = built
    numbers = rows()
    for feed in ({at["x"]: numbers}, {"x": numbers}, {"x": md.Tensor(numbers)}, {"x": numbers.tolist()}):
        same(session.run(at["z"], feed), numbers @ np.ones((4, 3)))
    narrow = rows().astype(np.float32)
    same(session.run(at["z"], {"x": narrow}), narrow.astype(np.float64) @ np.ones((4, 3)))
    same(session.run(at["z"], {"x": np.ones((2, 4), int)}), np.full((2, 3), 4.0))
    tree = session.run({"a": [at["z"], at["step"]], "b": (at["loss"],)}, {"x": numbers, "y": np.zeros(5, int)})
    assert tree["a"][1] is None and tree["b"][0].shape == ()


@pytest.mark.parametrize("feed, words", [
    ({}, "'x' is needed"), ({"q": 1}, "no placeholder called 'q'"),
    ({"x": np.ones((5, 3)), "y": np.zeros(5, int)}, "another shape"),
    ({"x": np.ones((5, 4)), "y": np.zeros(3, int)}, "'y' was fed with another shape"),
    ({"x": np.ones(4), "y": np.zeros(5, int)}, "another shape"),
    ({"x": np.ones((5, 4)), "y": np.zeros(5)}, "another kind of number"),
    ({"x": np.ones((5, 4), complex), "y": np.zeros(5, int)}, "another kind"), ({"x": np.ones((5, 4))}, "'y' is needed"),
    ({"x": np.array([["a"] * 4]), "y": np.zeros(1, int)}, "another kind"),
    ({"x": [[1.0] * 4, [1.0]], "y": [0, 1]}, "x"),
    ({3: 1}, "no placeholder called 3"), ({"x": None, "y": np.zeros(1, int)}, "x")])
def test_a_wrong_feed_says_what_is_wrong(built, feed, words):
    _, session, at = built
    with pytest.raises(FeedError, match=words):
        session.run(at["loss"], feed)


def test_open_sizes_of_one_name_agree_and_of_others_need_not():
    builder = G.Builder()
    with builder.as_default():
        a, b = G.placeholder(("n", None), md.float64, "a"), G.placeholder((None, "n"), md.float64, "b")
        y = (a.sum(1) + b.sum(0)) * b.shape[0] + a.shape[0]
    session = G.Session(builder)
    same(session.run(y, {"a": np.ones((2, 3)), "b": np.ones((5, 2))}), np.full(2, 42.0))
    with pytest.raises(FeedError, match="another shape"):
        session.run(y, {"a": np.ones((2, 3)), "b": np.ones((5, 3))})


@pytest.mark.parametrize("name", ["n", "x", "v1", "sum", "getitem", "c", "größe"])
def test_an_open_size_may_have_any_name_that_python_allows(name):
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((name, 4), md.float64, name)
        y = (x[1:] * 2).sum(0) / x.shape[0] + x.mean(0)
    same(G.Session(builder).run(y, {name: np.ones((4, 4))}), np.full(4, 2.5))


@pytest.mark.parametrize("name", ["a b", "1n", "class", "n+1", "", "__import__('os')", "np", "min"])
def test_an_open_size_needs_a_name_that_is_a_name(name):
    with pytest.raises(ArgumentError, match="name"), G.Builder().as_default():
        G.placeholder((name, 4))


def test_feeding_changes_nothing_that_is_the_callers(built):
    _, session, at = built
    numbers = rows()
    out = session.run([at["x"], at["z"], at["w"]], {"x": numbers})
    for y in out:
        y.array[...] = 9
    same(numbers, rows())
    same(session.run(at["z"], {"x": numbers}), rows() @ np.ones((4, 3)))


# ---------------------------------------------------------------------- what runs
def test_only_what_is_asked_for_runs():
    builder, calls = G.Builder(), []

    @md.primitive
    def poisoned_once_more(xp, x):
        calls.append(1)
        return x
    poisoned_once_more.shape(lambda x: x)
    try:
        with builder.as_default():
            x = G.placeholder((2,), md.float64, "x")
            good, bad = x * 2, poisoned_once_more(x)
        session = G.Session(builder)
        session.run(good, {"x": [1.0, 2.0]})
        assert calls == []
        session.run(bad, {"x": [1.0, 2.0]})
        assert calls == [1]
    finally:
        md.primitive.__globals__["registry"].pop(next(k for k in md.primitive.__globals__["registry"]
                                                      if k.endswith("poisoned_once_more")))


def test_a_session_may_run_inside_the_block_too():
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((2,), md.float64, "x")
        w = G.Variable(md.ones(2, dtype=md.float64), name="w")
        y = (x * w).softmax(0)
        session = G.Session(builder)
        session.run(G.global_variables_initializer())
        right = md.tensor([1.0, 2.0], dtype=md.float64)
        same(session.run(y, {"x": [1.0, 2.0]}), np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum())
        z = y * 2
        same(session.run(z, {"x": [1.0, 2.0]}), session.run(y, {"x": [1.0, 2.0]}).numpy() * 2)
    same(session.run(y, {"x": right}), right.softmax(0))


def test_what_cannot_be_fetched(built):
    _, session, _ = built
    for wrong in (3, "z", None, md.ones(2)):
        with pytest.raises((ArgumentError, FeedError)):
            session.run(wrong)
    with pytest.raises(TraceError, match="no graph is being built"):
        G.placeholder((2,))


# ---------------------------------------------------------------------- variables
def test_a_variable_before_its_first_value(built):
    builder, _, at = built
    with pytest.raises(FeedError, match="'w' has no value yet"):
        G.Session(builder).run(at["w"])


def test_two_sessions_share_no_variable(built):
    builder, first, at = built
    second = G.Session(builder)
    second.run(at["start"])
    first.run(at["step"])
    first.run(at["step"])
    same(first.run(at["w"]), np.full((4, 3), 3.0))
    same(second.run(at["w"]), np.ones((4, 3)))


def test_a_variable_starts_again_and_its_initial_value_is_its_own(built):
    _, session, at = built
    session.run(at["step"])
    session.run(at["start"])
    same(session.run(at["w"]), np.ones((4, 3)))


def test_assignments_see_the_values_from_before():
    builder = G.Builder()
    with builder.as_default():
        a, b = (G.Variable(np.full(2, v), name=n, dtype=np.float64) for v, n in ((1.0, "a"), (2.0, "b")))
        swap = G.group(G.assign(a, b), G.assign(b, a))
        chain = G.group(G.assign_add(a, b), G.assign(b, a))
        views = G.group(G.assign(a, b.flip(0)), G.assign(b, a[::-1]))
        twice = G.group(G.assign(a, 5.0 + a), G.assign(a, 7.0 + a))
        drawn = G.Variable(md.rand(3) * 2 - 1, name="drawn")
        start = G.global_variables_initializer()
    session = G.Session(builder)
    session.run(start)
    assert session.run([swap, a, b])[1:] is not None
    all_same(session.run([a, b]), [np.full(2, 2.0), np.full(2, 1.0)])
    session.run(chain)
    all_same(session.run([a, b]), [np.full(2, 3.0), np.full(2, 2.0)])
    session.run(views)
    all_same(session.run([a, b]), [np.full(2, 2.0), np.full(2, 3.0)])
    session.run(twice)
    same(session.run(a), np.full(2, 9.0))
    assert session.run(drawn).shape == (3,) and len(set(session.run(drawn).tolist())) == 3


def test_an_assignment_that_does_not_fit():
    with G.Builder().as_default():
        w = G.Variable(np.ones(3))
        with pytest.raises(ShapeError, match="another shape"):
            G.assign(w, md.ones(2))
        with pytest.raises(ArgumentError, match="only variables"):
            G.assign(w * 2, md.ones(3))


def test_what_the_fetch_of_a_run_sees_of_an_update(built):
    _, session, at = built
    before, _ = session.run([at["w"], at["step"]])
    same(before, np.ones((4, 3)))
    same(session.run(at["w"]), np.full((4, 3), 2.0))


# ---------------------------------------------------------------------- training
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1), "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True), "AdamW": lambda p: optim.AdamW(p, lr=0.01)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_minimize_is_the_step_of_eager(name):
    def make():
        md.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(md.float64)
    eager, ours = make(), make()
    builder = G.Builder()
    with builder.as_default():
        x, y = G.placeholder((None, 4), md.float64, "x"), G.placeholder((None,), md.int64, "y")
        loss = F.cross_entropy(ours(x), y)
        opt = OPTIMIZERS[name](list(ours.parameters()))
        train = G.minimize(opt, loss)
    session, plain = G.Session(builder), OPTIMIZERS[name](list(eager.parameters()))
    for k in range(5):
        if k == 3:
            plain.param_groups[0]["lr"] = opt.param_groups[0]["lr"] = 0.02
        numbers, classes = rows(4 + k, k), np.arange(4 + k) % 3
        expected = F.cross_entropy(eager(md.Tensor(numbers)), md.Tensor(classes))
        plain.zero_grad()
        expected.backward()
        plain.step()
        same(session.run([loss, train], {x: numbers, y: classes})[0], expected)
        all_same(list(ours.parameters()), list(eager.parameters()))
    for p, q in zip(ours.parameters(), eager.parameters()):
        assert p.grad is None and opt.state[p].keys() == plain.state[q].keys()
        assert opt.state[p].get("step") == plain.state[q].get("step")


def test_minimize_says_where_the_first_step_is_different():
    w = md.ones(3).requires_grad_()
    opt = optim.SGD([w], lr=0.1, momentum=0.9, dampening=0.5)
    with G.Builder().as_default():
        for _ in range(2):
            with pytest.raises(TraceError, match="first step of SGD is different"):
                G.minimize(opt, (w * w).sum())
    assert not opt.state


def test_minimize_trains_variables_of_the_graph():
    builder = G.Builder()
    with builder.as_default():
        x, y = G.placeholder((None, 4), md.float64, "x"), G.placeholder((None, 1), md.float64, "y")
        w = G.Variable(np.zeros((4, 1)), name="w", dtype=np.float64)
        b = G.Variable(np.zeros(1), name="b", dtype=np.float64)
        loss = F.mse_loss(x @ w + b, y)
        train = G.minimize(optim.Adam([w, b], lr=0.1), loss)
        other = G.minimize(optim.SGD([w], lr=0.1), (w * w).sum())
    first, second = G.Session(builder), G.Session(builder)
    for session in (first, second):
        session.run(G.global_variables_initializer())
    true = np.array([[1.0], [2.0], [3.0], [4.0]])
    for k in range(200):
        value, _ = first.run([loss, train], {x: rows(20, k), y: rows(20, k) @ true + 5})
    assert value.item() < 0.5
    same(second.run(w), np.zeros((4, 1)))
    before = first.run(w).numpy()
    first.run(other)
    same(first.run(w), before * 0.8)


# ---------------------------------------------------------------------- branches and loops
def test_cond_runs_one_part_and_its_gradients_are_those_of_eager():
    weights, runs = np.random.default_rng(0).standard_normal((4, 4)), []
    layer = nn.Linear(4, 4).to(md.float64)
    builder = G.Builder()

    def true(x, w, v):
        return (x @ w).tanh().sum() * v + layer(x).sum()

    def false(x, w, v):
        return (w**2).sum() + v - x.mean()

    def nested(x, w, v, choose):
        def high():
            return choose(v > 2, lambda: true(x, w, v), lambda: false(x, w, v))
        return choose(v > 1, high, lambda: (x * v).sum())

    def now(p, a, b):
        return a() if bool(p) else b()
    with builder.as_default():
        x, v = G.placeholder((3, 4), md.float64, "x"), G.placeholder((), md.float64, "v")
        x.requires_grad_(), v.requires_grad_()
        w = G.Variable(weights, name="w", dtype=np.float64)
        y = G.cond(v > 0, lambda: true(x, w, v), lambda: false(x, w, v))
        z = nested(x, w, v, G.cond) * 2
        wanted = [w, x, v, *layer.parameters()]
        found = [y, z, *G.gradients(y, wanted), *G.gradients(z, wanted)]
    session = G.Session(builder)
    session.run(G.global_variables_initializer())
    for value in (-1.0, 0.5, 1.5, 2.5):
        X, V, W = md.Tensor(rows(3), True), md.Tensor(np.array(value), True), md.Tensor(weights, True)
        a, b = true(X, W, V) if value > 0 else false(X, W, V), nested(X, W, V, now) * 2
        leaves = [W, X, V, *layer.parameters()]
        expected = [a, b]
        for out in (a, b):
            grads = md.autograd.grad(out, leaves, allow_unused=True)
            expected += [md.zeros_like(p) if g is None else g for g, p in zip(grads, leaves)]
        all_same(session.run(found, {"x": rows(3), "v": value}), expected, f"v = {value}")
        runs.append(value)


def test_cond_refuses_parts_that_differ():
    with G.Builder().as_default():
        x = G.placeholder((3,), md.float32, "x")
        for other in (lambda: x.sum(), lambda: x.double()):
            with pytest.raises(ShapeError, match="same shape and dtype"):
                G.cond(x.sum() > 0, lambda: x, other)


def test_while_loop_counts_and_computes():
    builder = G.Builder()
    with builder.as_default():
        n, a = G.placeholder((), md.int64, "n"), G.placeholder((2,), md.float64, "a")
        w = G.Variable(np.full(2, 0.5), name="w", dtype=np.float64)
        i, total, last = G.while_loop(lambda i, t, x: i < n, lambda i, t, x: (i + 1, t + x, x * w + a),
                                      [md.tensor(0), md.zeros(2, dtype=md.float64), a])
        after = total * 2 + i.to(md.float64)
        store = G.assign(w, last)
    session = G.Session(builder)
    session.run(G.global_variables_initializer())
    for count in (0, 1, 7):
        t, x = np.zeros(2), np.array([1.0, -2.0])
        start = x.copy()
        for _ in range(count):
            t, x = t + x, x * 0.5 + start
        fed = start.copy()
        out = session.run([i, total, last, after], {"n": count, "a": fed})
        all_same(out, [np.array(count), t, x, t * 2 + count])
        for y in out:
            y.array[...] = 55
        same(fed, start)
    session.run(store, {"n": 0, "a": start})
    same(session.run(w), start)


def test_while_loop_has_no_gradient_and_keeps_its_shapes():
    with G.Builder().as_default():
        w = G.Variable(np.ones(2), name="w")
        (y,) = G.while_loop(lambda x: x.sum() < 10, lambda x: x * 2, [w])
        with pytest.raises(GradientError, match="how often the loop will run"):
            G.gradients(y.sum(), [w])
        with pytest.raises(ShapeError, match="shapes and dtypes"):
            G.while_loop(lambda x: x.sum() < 10, lambda x: x.sum(), [w])


def test_gradients_of_gradients_and_of_several_outputs():
    builder = G.Builder()
    with builder.as_default():
        x, w = G.placeholder((3,), md.float64, "x"), G.Variable(np.arange(3.0), name="w", dtype=np.float64)
        y = (w**3 * x).sum()
        (first,) = G.gradients(y, [w])
        (second,) = G.gradients(first.sum(), [w])
        both = G.gradients([y, (w * w).sum()], [w])
        unused = G.gradients(y, [G.Variable(np.ones(2), name="other")])
    session = G.Session(builder)
    session.run(G.global_variables_initializer())
    v, x0 = np.arange(3.0), np.array([1.0, 2.0, 3.0])
    all_same(session.run([first, second, both[0]], {"x": x0}), [3 * v**2 * x0, 6 * v * x0, 3 * v**2 * x0 + 2 * v])
    assert unused == [None]


def test_draws_of_a_session_are_new_in_every_run():
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((4,), md.float32, "x")
        a, b = md.rand(4), md.rand(4)
        y = F.dropout(x, 0.5) + a - b
    session = G.Session(builder)
    md.manual_seed(3)
    first = [session.run([y, a, b], {"x": np.ones(4)}) for _ in range(3)]
    md.manual_seed(3)
    again = [session.run([y, a, b], {"x": np.ones(4)}) for _ in range(3)]
    for p, q in zip(first, again):
        all_same(p, q)
    assert len({tuple(r[0].tolist()) for r in first}) == 3 and first[0][1].tolist() != first[0][2].tolist()


def test_a_layer_that_is_made_inside_the_block_is_refused():
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((2, 3), md.float32, "x")
        layer = nn.Linear(3, 1)
        y = layer(x)
    with pytest.raises(TraceError, match="every run would fill it anew"):
        G.Session(builder).run(y, {"x": np.ones((2, 3))})
