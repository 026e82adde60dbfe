"""Drawn graphs: what they show is what the tape, the graph or the module holds, with `dot` and without."""
import json
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.errors import ArgumentError, ShapeError
from minidl.primitive import registry
from minidl.viz import dot as dot_module
from minidl.viz import draw, watch
from minidl.viz.cards import card_size, card_svg
from minidl.viz.drawing import READABLE, Drawing
from minidl.viz.graphview import Edge, GraphView, Item
from minidl.viz.raster import figure_of
from minidl.viz.svg import element
from minidl.viz.theme import THEMES, numbers

F = nn.functional
SVG = "{http://www.w3.org/2000/svg}"
needs_dot = pytest.mark.skipif(not dot_module.has_dot(), reason="Graphviz is not installed")


def leaf(values):
    """A tensor that wants a gradient."""
    return md.tensor(values, requires_grad=True)


def wires(view):
    """(source, target, kind) of all edges, by the names of the items."""
    title = {item.id: item.title for item in view.items}
    return sorted((title[e.source], title[e.target], e.kind) for e in view.edges)


def scalars():
    """a·b + c times f, as in a first lesson on gradients."""
    a, b, c, f = (leaf(x) for x in (2.0, -3.0, 10.0, -2.0))
    e = a * b
    d = e + c
    return d * f, {"a": a, "b": b, "c": c, "f": f, "e": e, "d": d}


def mlp():
    """(loss, model, x, y) of a small network."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x, y = md.randn(5, 4), md.tensor([0, 1, 2, 0, 1])
    return F.cross_entropy(model(x), y), model, x, y


def unrolled(steps=50):
    """An LSTM cell that goes over a sequence in a loop of Python."""
    md.manual_seed(0)
    cell = nn.LSTMCell(3, 4)
    xs = md.randn(steps, 2, 3)
    h, c = md.zeros(2, 4), md.zeros(2, 4)
    for t in range(steps):
        h, c = cell(xs[t], (h, c))
    return (h * h).sum()


def compiled_step():
    """A compiled training step after its first call."""
    _, model, x, y = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @md.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss
    step(x, y)
    return step


def written():
    """(builder, y, an update of w) of a graph that is defined before it runs."""
    builder = md.graph.Builder()
    with builder.as_default():
        x = md.graph.placeholder((None, 3), md.float32, "x")
        w = md.graph.Variable(np.ones((3, 2)), name="w")
        y = md.softmax(x @ w, dim=1)
        update = md.graph.assign(w, w * 0.9)
    return builder, y, update


def raised(function):
    """The error that a function raises."""
    with pytest.raises(Exception) as info:
        function()
    return info.value


MODEL = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(864, 10))
DRAWINGS = {
    "scalars": lambda **k: draw(scalars()[0], **k),
    "mlp": lambda **k: draw(*mlp()[:2], **k),
    "module": lambda **k: draw(MODEL, md.zeros(2, 1, 28, 28), **k),
    "module, open": lambda **k: draw(MODEL, md.zeros(2, 1, 28, 28), fold=False, **k),
    "lstm": lambda **k: draw(unrolled(), **k),
    "compiled": lambda **k: draw(compiled_step(), **k),
    "graph": lambda **k: draw(compiled_step().graph, **k),
    "builder": lambda **k: draw(written()[0], **k),
    "fetches": lambda **k: draw(list(written()[1:]), **k),
    "error": lambda **k: draw(raised(lambda: leaf([1.0, 2.0]) @ md.ones(3)), **k),
    "a leaf": lambda **k: draw(leaf([1.0, -2.0]), **k),
    "strange names": lambda **k: draw(scalars()[0], names={'<&">\\': leaf(1.0)}, **k),
}
every_drawing = pytest.mark.parametrize("name", DRAWINGS)


# ---------------------------------------------------------------------- values and gradients
def test_before_backward_gradients_are_absent_with_the_reason():
    loss, names = scalars()
    view = draw(loss, **names).view
    assert {(item.gradient, item.reason) for item in view.items} == {("", "backward has not run")}
    assert {item.name: item.value for item in view.items} == {
        "a": "2", "b": "−3", "c": "10", "f": "−2", "e": "−6", "d": "4", "mul": "−8"}


def test_after_backward_every_item_has_the_gradient_of_the_loss():
    loss, names = scalars()
    loss.backward()
    view = draw(loss, **names).view
    assert {item.name: item.gradient for item in view.items} == {
        "a": "6", "b": "−4", "c": "−2", "f": "4", "e": "−2", "d": "−2", "mul": "1"}
    assert {item.reason for item in view.items} == {""}


def test_values_and_gradients_in_the_middle_are_those_that_were_computed():
    loss, model, x, y = mlp()
    hidden = model[0](x)
    active = md.relu(hidden)
    loss = F.cross_entropy(model[2](active), y)
    expected = md.autograd.grad(loss, [hidden, active], retain_graph=True)
    loss.backward()
    found, texts = draw(loss).view, [numbers(g.array) for g in expected]
    assert [item.gradient for item in found.items if item.name in ("affine", "relu")][:2] == texts
    assert [item.value for item in found.items if item.name in ("affine", "relu")][:2] == [
        numbers(hidden.array), numbers(active.array)]


def test_drawing_changes_nothing():
    loss, model, x, y = mlp()
    loss.backward()
    before = {name: (p.array.copy(), p.grad.array.copy()) for name, p in model.named_parameters()}
    draw(loss, model)
    for name, p in model.named_parameters():
        assert np.array_equal(p.array, before[name][0]) and np.array_equal(p.grad.array, before[name][1])
    with pytest.raises(RuntimeError, match="freed"):
        loss.backward()


def test_backward_that_keeps_the_graph_is_recognised():
    loss, names = scalars()
    loss.backward(retain_graph=True)
    assert draw(loss, **names).view["e"].gradient == "−2"
    loss.backward()                                    # and after it .grad holds the sum of two passes
    view = draw(loss, **names).view
    assert view["a"].gradient == "12" and view["e"].reason == "not kept after backward"


def test_a_retained_gradient_is_shown_as_it_is():
    loss, names = scalars()
    names["e"].retain_grad()
    loss.backward()
    names["e"].grad = md.tensor(41.0)
    assert draw(loss, **names).view["e"].gradient == "41"


def test_a_gradient_of_an_earlier_pass_is_called_so():
    loss, names = scalars()
    loss.backward()
    again = names["a"] * names["b"] * names["c"]
    view = draw(again, **names).view
    assert (view["a"].gradient, view["a"].reason) == ("6", "left by an earlier backward")
    assert view.items[-1].reason == "backward has not run"


def test_gradients_that_were_cleared_are_absent():
    loss, names = scalars()
    loss.backward()
    names["a"].grad = None
    assert draw(loss, **names).view["a"].reason == "cleared since backward"
    for x in "bcf":
        names[x].grad = None
    assert draw(loss, **names).view["e"].reason == "not kept after backward"


def test_what_is_detached_and_what_is_not_on_a_path():
    w1, w2, unused, x = leaf([1.0, 2.0]), leaf([3.0, 4.0]), leaf(1.0), md.ones(2)
    h = w1 * x
    loss = (h.detach() * w2).sum()
    loss.backward()
    view = draw(loss, w1=w1, w2=w2, unused=unused, h=h, x=x).view
    assert {item.name: item.reason for item in view.items if item.reason} == {
        "w1": "not on a path to the loss", "unused": "not on a path to the loss", "x": "none wanted",
        "h": "not on a path to the loss", "": "detached here"}
    assert ("× h", "input", "cut") in wires(view)
    assert "detached from × h" in view.describe()
    assert view["w2"].gradient == "[1, 2]"


def test_values_that_changed_since_are_not_computed_again():
    w = leaf([1.0, 2.0])
    h = w * 2
    loss = (h + 1).sum()
    with md.no_grad():
        w += 10
    del h
    view = draw(loss, w=w).view
    assert view["w"].value == "[11, 12]" and view["mul"].value == "" and view["sum"].value == "8"


def test_nan_and_infinity_are_marked_and_never_zero():
    z = leaf([1.0, 0.0, -1.0])
    loss = md.log(z).sum()
    loss.backward()
    drawing = draw(loss, z=z)
    assert drawing.view["log"].value == "[0, −∞, NaN]" and drawing.view["log"].sign == "broken"
    assert 'class="broken-paper"' in draw(loss, z=z, engine="own").svg


def test_kept_bytes_are_shown_where_they_are_kept():
    x = leaf(np.ones((2, 3), np.float32))
    view = draw(md.tanh(x) + 1).view
    assert view["tanh"].saved == 24 and view["add"].saved == 0
    view = draw(x * x).view
    assert view["mul"].saved == 48 and all(edge.saved for edge in view.edges)


def test_an_op_of_the_learner_appears_without_further_code():
    try:
        @md.primitive(symbol="∿")
        def bend(xp, x):
            return xp.sin(x)

        @bend.grad("x")
        def _(g, x):
            return g * md.ops.cos(x)
        v = leaf(0.0)
        out = bend(v)
        out.backward()
        view = draw(out * 1, v=v).view
        assert view["bend"].symbol == "∿" and view["v"].gradient == "1"
    finally:
        registry.pop("bend", None)


def test_a_compiled_function_and_a_checkpoint_on_the_tape():
    w = leaf([1.0, 2.0])
    loss = md.compile(lambda w: w * w)(w).sum() + md.checkpoint(lambda w: w * 3, w).sum()
    loss.backward()
    view = draw(loss, w=w).view
    assert view["w"].gradient == "[5, 7]" and view["compiled"].reason == "not kept after backward"


# ---------------------------------------------------------------------- names, lines, modules
def test_names_come_from_the_module_and_from_keywords():
    loss, model, x, y = mlp()
    names = [item.name for item in draw(loss, model, x=x, y=y).view.items if not item.computed]
    assert names == ["x", "0.weight", "0.bias", "2.weight", "2.bias", "y"]
    assert [i.name for i in draw(loss, {"images": x}, names={"labels": y}).view.items if i.kind == "input"] == [
        "images", "labels"]
    assert draw(loss, locals()).view["x"].kind == "input"


def test_watching_notes_the_line_and_the_module():
    loss, model, x, y = mlp()
    with watch(model) as seen:
        loss = F.cross_entropy(model(x), y)            # this line
    view = draw(loss, seen).view
    assert "# this line   (" in view["cross_entropy"].line
    assert view["cross_entropy"].scope == () and view["relu"].scope == ("Sequential", "1")
    assert view["0.weight"].name == "0.weight"
    assert {group.name for group in view.groups} >= {"Sequential", "0"}
    assert not model[0]._hooks and not nn.module.observers and not md.tensor.__globals__["watchers"]


def test_a_module_that_is_called_twice_has_two_scopes():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    view = draw(model, md.ones(1, 3)).view
    assert [item.title for item in view.items] == ["x", "0 Linear", "1 ReLU", "0.weight", "0.bias", "0#2 Linear"] or \
        [item.symbol for item in view.items if item.kind == "module"] == ["0", "1", "0#2"]


def test_a_module_is_folded_to_its_layers():
    view = draw(MODEL, md.zeros(2, 1, 28, 28)).view
    assert [(item.title, item.shape) for item in view.items] == [
        ("x", (2, 1, 28, 28)), ("0 Conv2d", (2, 6, 24, 24)), ("1 ReLU", (2, 6, 24, 24)),
        ("2 MaxPool2d", (2, 6, 12, 12)), ("3 Flatten", (2, 864)), ("4 Linear", (2, 10))]
    assert view.items[1].note == "156 parameters" and wires(view)[0] == ("0 Conv2d", "1 ReLU", "value")


def test_a_recurrent_layer_is_one_box():
    view = draw(nn.LSTM(3, 4, num_layers=2), md.zeros(5, 2, 3)).view
    assert [(item.kind, item.shape) for item in view.items] == [("input", (5, 2, 3)), ("module", (2, 2, 4))]
    assert "Dropout" in draw(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), md.ones(1, 2)).view.items[-1].title


def test_a_module_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).requires_grad_(False)
    before, state = [b.array.copy() for b in model.buffers()], md.get_rng_state()
    draw(model, md.randn(4, 3))
    md.set_rng_state(state)
    expected = md.rand(3)
    md.set_rng_state(state)
    draw(model, md.ones(4, 3))
    assert np.array_equal(md.rand(3).array, expected.array)
    assert all(np.array_equal(b.array, a) for b, a in zip(model.buffers(), before))
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not nn.module.observers and not any(m._hooks for m in model.modules())


def test_deeper_modules_are_closed_at_a_chosen_depth():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 1))
    x = md.ones(1, 3)
    titles = [[item.symbol for item in draw(model, x, depth=d).view.items if item.kind == "module"] for d in (
        None, 0, 1)]
    assert titles == [["0", "1.0", "1.1", "2"], ["Sequential"], ["0", "1", "2"]]
    assert [g.name for g in draw(model, x).view.groups] == ["1"]


def test_equal_layers_are_stacked():
    model = nn.Sequential(nn.Linear(8, 16), *[nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(12)])
    view = draw(model, md.zeros(3, 8)).view
    assert [item.title for item in view.items] == ["x", "0 Linear", "1…12.0 Linear", "1…12.1 Tanh"]
    assert [(g.name, g.count) for g in view.groups] == [("1…12", 12)]
    assert ("1…12.1 Tanh", "1…12.0 Linear", "next") in wires(view)


def test_fifty_turns_of_a_cell_become_one():
    loss = unrolled()
    full, folded = draw(loss, fold=False).view, draw(loss).view
    assert len(full.items) > 700 and len(folded.items) < 30
    assert [group.count for group in folded.groups] == [50]
    assert sum(edge.kind == "next" for edge in folded.edges) == 2                # h and c
    assert "×50" in folded.describe() and folded["n1"].count == 50
    assert {edge.count for edge in folded.edges} == {1}


def test_turns_that_are_wired_differently_are_not_laid_upon_each_other():
    hs, back = [leaf(0.5)], [1, 1, 2, 1, 3, 2, 1, 1, 3, 1, 2, 2, 1, 3, 1]
    for k in back:
        hs.append(hs[-1] * hs[-min(k, len(hs))])
    assert draw(hs[-1], fold=True).view.items == draw(hs[-1], fold=False).view.items


def test_what_each_turn_gives_away_is_counted():
    w, h, hs = leaf([0.5, 0.5]), md.ones(2), []
    for _ in range(20):
        h = md.tanh(h * w)
        hs.append(h)
    view = draw(md.stack(hs).sum(), w=w, fold=True).view
    assert [edge.count for edge in view.edges if edge.count > 1] == [20]


# ---------------------------------------------------------------------- graphs, sessions, errors
def test_a_compiled_step_shows_what_it_changes():
    view = draw(compiled_step()).view
    changed = {view[e.target].name for e in view.edges if e.kind == "update"}
    assert changed == {"layer0_weight", "layer0_bias", "layer2_weight", "layer2_bias"}
    assert view["lr"].value == "0.1" and sum(item.note == "output" for item in view.items) >= 1


def test_every_step_of_a_graph_is_drawn_once():
    graph = compiled_step().graph
    view = draw(graph, fold=False).view
    assert sum(item.computed for item in view.items) == len(graph.steps)
    assert sorted(item.name for item in view.items if item.computed) == sorted(node.name for node in graph.steps)
    inputs = sum(len(node.inputs) for node in graph.steps)
    assert sum(edge.kind == "value" for edge in view.edges) == inputs


def test_a_graph_that_is_not_run_yet():
    builder, y, update = written()
    view = draw(builder).view
    assert view["x"].shape == ("n0", 3) and view["w"].value == "" and view["softmax"].shape == ("n0", 2)
    session = md.graph.Session(builder)
    session.run(md.graph.global_variables_initializer())
    assert draw(session).view["w"].value == "all 1"
    assert ("× mul", "w", "update") in wires(draw([y, update]).view)
    assert [item.name for item in draw(y).view.items] == ["x", "w", "matmul", "softmax"]


def test_a_size_that_is_left_open_is_drawn_as_its_formula():
    builder = md.graph.Builder()
    with builder.as_default():
        mean = md.graph.placeholder((None, 3), md.float32, "x").mean()
    constants = [item.value for item in draw(mean).view.items if item.kind == "constant"]
    assert constants == ["(1 * n0) * 3"]


def test_what_cond_and_while_loop_carry_is_not_drawn_beside_them():
    builder = md.graph.Builder()
    with builder.as_default():
        x = md.graph.placeholder((), md.float32, "x")
        md.graph.while_loop(lambda v: v < 10, lambda v: v + v, [x])
        md.graph.cond(x > 0, lambda: x * 1, lambda: -x)
    assert sorted(item.name for item in draw(builder).view.items if item.name) == [
        "branch", "greater", "loop", "pick", "x"]


def test_a_graph_displays_itself():
    graph = compiled_step().graph
    bundle = graph._repr_mimebundle_()
    assert bundle["text/plain"] == repr(graph) and "<svg" in bundle["image/svg+xml"]


def test_the_op_that_raised_is_drawn_with_what_led_to_it():
    w = leaf(np.ones((4, 2), np.float32))
    view = draw(raised(lambda: md.tanh(md.ones(5, 4) @ w) @ md.ones(3, 3)), w=w).view
    assert [item.title for item in view.items] == ["input", "w", "@ matmul", "tanh", "input", "@ matmul"]
    assert view.items[-1].kind == "failed" and view.items[3].shape == (5, 2)
    assert view.title == "matmul raised ShapeError" and "y  (3, 3)" in view.note and "Try:" in view.describe()


def test_a_module_that_raises_is_drawn_up_to_there():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(7, 2))
    view = draw(model, md.ones(5, 4)).view
    assert [(i.title, i.kind) for i in view.items] == [
        ("x", "input"), ("0 Linear", "module"), ("1 ReLU", "module"), ("2.weight", "parameter"),
        ("2.bias", "parameter"), ("linear", "failed")]
    with pytest.raises(ShapeError):
        model(md.ones(5, 4))


@pytest.mark.parametrize("call, problem", [
    (lambda: draw(3), "an? int has no graph"), (lambda: draw([]), "a list has no graph"),
    (lambda: draw(MODEL), r"only for an input"), (lambda: draw(leaf(1.0), 3), "does not say how to draw"),
    (lambda: draw(ValueError("mine")), "no op of minidl is found"),
    (lambda: draw(leaf(1.0), engine="neato"), "no engine called 'neato'"),
])
def test_what_cannot_be_drawn_is_said(call, problem):
    with pytest.raises(ArgumentError, match=problem):
        call()


# ---------------------------------------------------------------------- the pictures
def cards(svg):
    """{id: lines of text} of our own drawing."""
    root = ET.fromstring(svg)
    return {g.get("data-id"): [t.text for t in g.iter(f"{SVG}text")] for g in root.iter(f"{SVG}g") if g.get("data-id")}


@every_drawing
@pytest.mark.parametrize("theme", [None, *THEMES])
def test_without_dot_every_drawing_appears(name, theme, monkeypatch):
    monkeypatch.setattr(dot_module.shutil, "which", lambda program: None)
    drawing = DRAWINGS[name](theme=theme)
    assert cards(drawing.svg) == {item.id: [text for _, text, _ in item.rows()] for item in drawing.view.items}
    edges = [g.get("data-edge") for g in ET.fromstring(drawing.svg).iter(f"{SVG}g") if g.get("data-edge")]
    assert sorted(edges) == sorted(f"{e.source}->{e.target}" for e in drawing.view.edges)
    assert ET.fromstring(drawing.svg).get("data-theme") == theme
    bundle = drawing._repr_mimebundle_()
    assert bundle["text/plain"] == drawing.describe() and bundle["image/svg+xml"] == drawing.svg


@needs_dot
def test_what_dot_would_draw_too_wide_goes_on_in_a_new_line():
    layers = [nn.Linear(2, 2) if k % 2 else nn.Tanh() for k in range(14)]
    narrow, wide = (draw(nn.Sequential(*layers[:n]), md.ones(1, 2), fold=False) for n in (2, 14))
    assert "Generated by graphviz" in narrow.svg or 'class="graph"' in narrow.svg
    assert cards(wide.svg) and float(ET.fromstring(wide.svg).get("width")) < 1250


def test_a_dot_that_does_not_work_is_gone_round(monkeypatch, tmp_path):
    def broken(text, format):
        raise OSError("dot: error while loading shared libraries")
    monkeypatch.setattr("minidl.viz.drawing.rendered", broken)
    monkeypatch.setattr("minidl.viz.drawing.has_dot", lambda: True)
    assert cards(draw(scalars()[0]).svg)
    pytest.importorskip("matplotlib")
    draw(scalars()[0]).save(tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OSError, match="shared libraries"):
        _ = draw(scalars()[0], engine="dot").svg


@every_drawing
@needs_dot
def test_dot_draws_the_same_nodes_lines_and_edges(name):
    drawing = DRAWINGS[name](engine="dot")
    root = ET.fromstring(drawing.svg)
    groups = [(g.get("class").split(), g) for g in root.iter(f"{SVG}g") if g.get("class")]
    nodes = {g.find(f"{SVG}title").text: [t.text.replace("\xa0", " ") for t in g.iter(f"{SVG}text")]
             for classes, g in groups if classes[0] == "node"}
    assert nodes == {item.id: [text for _, text, _ in item.rows()] for item in drawing.view.items}
    edges = sorted(g.find(f"{SVG}title").text for classes, g in groups if classes[0] == "edge")
    assert edges == sorted(f"{e.source}->{e.target}" for e in drawing.view.edges)
    labels = sorted(t.text for classes, g in groups if classes[0] == "edge" for t in g.iter(f"{SVG}text"))
    assert labels == sorted(edge.label for edge in drawing.view.edges if edge.label)
    assert root.find(f"{SVG}title").text == drawing.view.title and root.get("role") == "img"


@every_drawing
def test_the_same_program_gives_the_same_picture(name):
    if name == "strange names":
        return
    first, second = DRAWINGS[name](engine="own"), DRAWINGS[name](engine="own")
    assert first.svg == second.svg and first.dot == second.dot
    json.loads(json.dumps(first.view.to_dict()))


@every_drawing
def test_no_card_lies_on_another(name):
    root = ET.fromstring(DRAWINGS[name](engine="own").svg)
    boxes = []
    for g in root.iter(f"{SVG}g"):
        if g.get("data-id"):
            rect = next(iter(g.iter(f"{SVG}rect")), None)
            if rect is not None and rect.get("x"):
                boxes.append([float(rect.get(k)) for k in ("x", "y", "width", "height")])
    assert not any(a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
                   for k, a in enumerate(boxes) for b in boxes[:k])


@every_drawing
def test_the_words_say_all_that_the_picture_says(name):
    drawing = DRAWINGS[name]()
    words = drawing.describe()
    for item in drawing.view.items:
        assert f"[{item.id}] {item.title}" in words
        assert all(part in words for part in (item.value, item.gradient, item.reason))


def test_kinds_differ_in_shape_and_the_legend_names_them():
    svg = DRAWINGS["module, open"](engine="own").svg
    for says in ("parameter, to be learned", "input or data", "view: shares the memory of its input"):
        assert f">{says}</text>" in svg
    assert "module, folded" not in svg


def test_no_text_is_smaller_than_eleven_pixels():
    svg = DRAWINGS["mlp"](engine="own").svg
    sizes = [float(n) for n in re.findall(r"font-size[:=]\s*\"?([\d.]+)", svg)]
    assert sizes and min(sizes) >= 11


def test_a_drawing_is_saved_in_the_form_that_its_name_asks_for(tmp_path, monkeypatch):
    drawing = draw(scalars()[0])
    for name in ("g.svg", "g.dot", "g.gv", "g.txt"):
        drawing.save(tmp_path / name)
    assert (tmp_path / "g.svg").read_text(encoding="utf-8") == drawing.svg
    assert (tmp_path / "g.dot").read_text(encoding="utf-8") == drawing.dot == str(getattr(drawing.source, "source",
                                                                                            drawing.source))
    assert (tmp_path / "g.txt").read_text(encoding="utf-8") == drawing.describe()
    with pytest.raises(ArgumentError, match="cannot be written as .bmp"):
        drawing.save(tmp_path / "g.bmp")
    monkeypatch.setattr(dot_module.shutil, "which", lambda program: None)
    with pytest.raises(ArgumentError, match="dot was not found"):
        draw(leaf(1.0), engine="dot")


@needs_dot
def test_a_png_is_saved(tmp_path):
    draw(scalars()[0]).save(tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "theme"), [
    pytest.param(name, theme, marks=[pytest.mark.more] if theme and k or k % 3 else [])
    for k, name in enumerate(DRAWINGS) for theme in (None, "dark")])
def test_without_dot_a_png_is_the_picture_of_the_svg(name, theme, tmp_path, monkeypatch):
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.setattr(dot_module.shutil, "which", lambda program: None)
    drawing = DRAWINGS[name](theme=theme)
    drawing.save(tmp_path / "g.png")
    pixels = image.imread(tmp_path / "g.png")[..., :3]
    root, paper = ET.fromstring(drawing.svg), THEMES[theme or "light"].paper
    scale = pixels.shape[1] / float(root.get("width"))
    assert scale >= 1.9 and pixels.shape[0] == pytest.approx(scale * float(root.get("height")), abs=2)
    ink = np.abs(pixels - [int(paper[k:k + 2], 16) / 255 for k in (1, 3, 5)]).max(2) > 0.5
    for card in root.iter(f"{SVG}g"):
        for text in card.iter(f"{SVG}text") if card.get("data-id") else ():
            x, y = float(text.get("x")) * scale, float(text.get("y")) * scale
            letters = ink[int(y - 10 * scale):int(y), int(x - 8 * scale):int(x + 8 * scale)]
            assert 0.01 < letters.mean() < 0.8, (card.get("data-id"), text.text)


@every_drawing
def test_what_matplotlib_paints_has_every_text_and_none_is_clipped(name):
    pytest.importorskip("matplotlib")
    svg = str(card_svg(DRAWINGS[name]().view))
    texts = figure_of(svg).axes[0].texts
    boxed = {text.text: float(box.get("width")) for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("data-id")
             for box, text in zip(g, [*g][1:]) if box.get("class") in ("gradient", "absent")}
    assert [t.get_text() for t in texts] == [t.text for t in ET.fromstring(svg).iter(f"{SVG}text")]
    for t in texts:
        (left, top), (right, bottom) = t.axes.transData.inverted().transform(t.get_window_extent())
        assert left >= 0 and right <= t.axes.get_xlim()[1], t.get_text()
        assert right - left <= boxed.get(t.get_text(), np.inf) + 1, t.get_text()
        assert min(top, bottom) >= 0 and max(top, bottom) <= t.axes.get_ylim()[0], t.get_text()


def test_letters_that_are_wider_than_reckoned_are_painted_smaller():
    pytest.importorskip("matplotlib")
    view = GraphView((Item("n1", "op", name="W" * 30),), ())
    text = figure_of(str(card_svg(view))).axes[0].texts[0]
    assert text.get_window_extent(dpi=96).width < card_size(view.items[0])[0] - 10


def test_what_matplotlib_paints_lies_where_the_svg_says_and_looks_so():
    pytest.importorskip("matplotlib")
    svg = element("svg", element("g", element("rect", x=10, y=20, width=30, height=40, class_="outline"),
                                 transform="translate(5,6)"),
                  element("path", d="M1,2H30V9Q30,12 40,12Z", class_="value", stroke_dasharray="7 3.5"),
                  element("text", "$a$", x=7, y=90, class_="small negative"), width=100, height=120)
    from matplotlib import colors as colours
    axes = figure_of(svg, "dark").axes[0]
    box, line = axes.patches
    assert box.get_extents().transformed(axes.transData.inverted()).bounds == pytest.approx((15, 66, 30, -40))
    assert colours.to_hex(box.get_edgecolor()) == THEMES["dark"].ink.lower()
    assert colours.to_hex(box.get_facecolor()) == THEMES["dark"].paper
    assert line.get_path().vertices.tolist() == [[1, 2], [30, 2], [30, 9], [30, 12], [40, 12], [40, 12]]
    assert line.get_linestyle() == (0, [5.0, 2.5]) and line.get_facecolor()[3] == 0
    assert axes.texts[0].get_position() == (7, 90)
    assert colours.to_hex(axes.texts[0].get_color()) == THEMES["dark"].negative.lower()


def test_without_dot_a_pdf_is_saved_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.pdf", "b.pdf"):
        draw(scalars()[0], engine="own").save(tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_without_dot_and_matplotlib_a_png_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError, match=r'Graphviz or matplotlib: pip install "minidl\[lab\]"'):
        draw(scalars()[0], engine="own").save(tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()


def test_more_than_five_hundred_items_are_text_until_asked():
    v = leaf(1.0)
    for _ in range(300):
        v = v * 1.001
    drawing = draw(v, fold=False, engine="own")
    assert set(drawing._repr_mimebundle_()) == {"text/plain"} and len(cards(drawing.svg)) == 601
    assert len(draw(v).view.items) < READABLE


def test_a_view_is_found_by_id_and_by_name():
    view = GraphView((Item("n1", "input", name="x"), Item("n2", "op", "+", "add")), (Edge("n1", "n2"),))
    assert view["n1"] is view["x"] and Drawing(view).view["add"].symbol == "+"
    with pytest.raises(KeyError):
        view["nobody"]


# ---------------------------------------------------------------------- the front door
def test_every_name_of_viz_is_there_and_nothing_is_loaded_before():
    import subprocess
    import sys

    import minidl.viz as viz
    assert all(callable(getattr(viz, name)) for name in viz.__all__)
    with pytest.raises(AttributeError, match="it has draw, Drawing"):
        _ = viz.paint
    packages = ("minidl.viz", "matplotlib", "graphviz")
    code = f"import sys, minidl; print([m for m in sys.modules if m.startswith({packages})])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]" and md.viz is viz


@needs_dot
def test_what_dot_draws_is_measured_in_px_and_shrinks_with_the_page():
    head = re.search(r"<svg[^>]*>", draw(scalars()[0], engine="dot").svg)[0]
    assert re.search(r' width="\d+"', head) and "pt" not in head and "max-width: 100%" in head
