"""The pass viewer: the graphs on the way mean the same, the marks tell what changed, and a wrong pass is caught."""
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.errors import ArgumentError
from minidl.graph import passes as rules
from minidl.nn import functional as F
from minidl.widgets import view_passes
from minidl.widgets.pass_viewer import LONG, around_changes, compared, largest_difference, measured


def twice(x):
    a, b = md.tanh(x) * 2 + 0, md.tanh(x) * 2
    return (a - 3 * b).sum() + x.T.T.sum()


def marks(widget, phase):
    frame = [frame for frame in widget.trace if frame.phase == phase][1]
    return {(mark, text) for mark, name, text, kind in frame.data["rows"] if mark not in ("same", "end", "gap")}


def test_marks_are_what_the_rule_says():
    widget = view_passes(twice, md.ones(2, 3))
    found = marks(widget, "simplify")
    assert ("removed", "add(v2, 0)") in found
    assert ("removed", "permute(x, dims=(1, 0))") in found
    (merged,) = [text for mark, text in marks(widget, "merge") if mark == "removed" and text.startswith("tanh")]
    assert merged == "tanh(x)"
    assert "fold, join" in widget.trace.note
    assert "Steps that change nothing" in widget.trace.frame(1).text        # the question comes before the answer
    assert all(row[0] in ("same", "end") for row in widget.trace.frame(1).data["rows"])


def test_the_end_is_what_compile_makes_of_it():
    compiled = md.compile(twice)
    compiled(md.ones(2, 3))
    stages = view_passes(compiled).trace.figure["stages"]
    assert [name for name, *_ in stages[1:]] == [name for name, _ in compiled.graph.history]
    graphs = [graph for _, graph in compiled.graph.history] + [compiled.graph]
    assert [steps for _, steps, *_ in stages] == [len(graph.steps) for graph in graphs]
    assert view_passes(compiled).trace.figure["source"] == compiled.source.splitlines()


def test_every_graph_on_the_way_gives_what_the_function_gives(rng):
    x = md.tensor(rng.standard_normal((2, 3)).astype("f"))
    widget = view_passes(twice, x)
    (result, *_), _ = measured(widget.graph, widget.values)
    assert result == pytest.approx(twice(x).item(), rel=1e-6)
    assert all(gap <= 1e-5 for *_, gap in widget.trace.figure["stages"])


def test_bytes_are_those_that_steps_read_and_write():
    def f(x):
        return (x.T + 1) * x.T
    widget = view_passes(f, md.ones(4, 5), without=[*dict.fromkeys(p.__name__ for p in rules.PASSES)])
    ((_, steps, moved, gap),) = widget.trace.figure["stages"]
    size = 4 * 5 * 4
    assert steps == 4 and gap == 0 and moved == 2 * size + 3 * size          # x+1 reads one, x·y two; views nothing


def test_a_pass_that_changes_the_numbers_is_caught():
    def wrong(graph):
        """A tanh may be a sigmoid."""
        def rule(node, inputs):
            if node.name != "tanh":
                return None
            return rules.made(md.ops.sigmoid, inputs, {})
        return graph.rewritten("wrong", rule)
    compiled = md.compile(twice, passes=(wrong,))
    x = md.tensor([[0.5, -1.0]])
    widget = view_passes(compiled, x)
    frame = [frame for frame in widget.trace if frame.phase == "wrong"][-1]
    right, found = twice(x).item(), compiled(x).item()
    assert widget.trace.figure["stages"][-1][-1] == pytest.approx(abs(right - found), rel=1e-5)
    assert "The numbers differ by" in frame.text and "A tanh may be a sigmoid." in widget.describe()


def test_a_pass_can_be_left_out_and_taken_again():
    widget = view_passes(twice, md.ones(2, 3))
    full = widget.trace
    widget.without = ["merge"]
    assert "merge" not in [name for name, *_ in widget.trace.figure["stages"]]
    assert len(widget.trace.figure["source"]) > len(full.figure["source"]) and "Left out: merge" in widget.trace.note
    widget.without = []
    assert widget.trace == full
    widget.without = ["merg"]
    assert "no pass called 'merg'" in widget.error and "fold, simplify, merge" in widget.error
    widget.without = list(widget.names)
    assert [f.phase for f in widget.trace] == ["recorded", "source"]


def test_training_is_followed_and_put_back():
    md.manual_seed(0)
    model = md.nn.Sequential(md.nn.Linear(3, 4), md.nn.Dropout(0.5), md.nn.Linear(4, 2))
    optimizer = md.optim.Adam(model.parameters())

    def train_step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    before = [p.detach().numpy().copy() for p in model.parameters()]
    state = str(md.get_rng_state())
    widget = view_passes(train_step, md.ones(2, 3), md.tensor([0, 1]))
    assert all((p.detach().numpy() == b).all() and p.grad is None for p, b in zip(model.parameters(), before))
    assert str(md.get_rng_state()) == state and not optimizer.state_dict()["state"]
    assert all(gap < 1e-5 for *_, gap in widget.trace.figure["stages"])      # the dropout's draws are the same
    assert any(text.startswith("← ") for _, _, text, _ in widget.trace.frame(0).data["rows"])
    assert len(widget.trace.json) < 200_000


def test_graphs_without_numbers_get_some_and_open_sizes_are_asked_for():
    builder = md.graph.Builder()
    with builder.as_default():
        x = md.graph.placeholder((2, 3), md.float32, "x")
        y = md.tanh(x) * 1 + 0
    graph = md.graph.Graph([x.array.node], [y.array.node])
    assert view_passes(graph).trace.figure["stages"][-1][1] == 1
    with md.graph.Builder().as_default():
        x = md.graph.placeholder((None, 3), md.float32, "x")
        y = md.tanh(x) * 1
    graph = md.graph.Graph([x.array.node], [y.array.node])
    with pytest.raises(ArgumentError, match=r"a size is left open.*\n.*\nTry: view_passes"):
        view_passes(graph)
    assert view_passes(graph, md.ones(4, 3)).trace.figure["stages"][-1][1] == 1
    with pytest.raises(ArgumentError, match="give all inputs"):
        view_passes(graph, md.ones(4, 3), md.ones(1))
    with pytest.raises(ArgumentError, match="expected a function or a graph"):
        view_passes(3)


def test_difference():
    nan, inf = float("nan"), float("inf")
    a = [np.array([1.0, nan, inf]), np.array(2)]
    assert largest_difference(a, a) == 0
    assert largest_difference(a, [np.array([1.5, nan, inf]), np.array(2)]) == 0.5
    assert np.isnan(largest_difference(a, [np.array([1.0, 2.0, inf]), np.array(2)]))
    assert largest_difference(a, [np.array([1.0, nan, -inf]), np.array(2)]) == inf
    assert np.isnan(largest_difference(a, [np.zeros(2), np.array(2)]))


def test_listings_are_laid_into_each_other():
    old = {"v1": "a", "v2": "b", "v3": "c(v2)", "v4": "d"}
    new = {"v1": "a", "v3": "c(v1)", "v5": "e", "v4": "d"}
    assert compared(old, new) == [("same", "v1", "a"), ("removed", "v2", "b"), ("rewired", "v3", "c(v1)"),
                                  ("added", "v5", "e"), ("same", "v4", "d")]
    rows = [("same", f"v{k}", "a") for k in range(LONG)] + [("removed", "w", "b")] + [("same", "z", "a")] * LONG
    short = around_changes(rows)
    assert [row[0] for row in short] == ["gap", "same", "same", "removed", "same", "same", "gap"]
    assert short[0][2] == f"{LONG - 2} lines as before" and around_changes(rows[:LONG]) == rows[:LONG]


def test_every_frame_is_a_picture_and_is_said():
    widget = view_passes(twice, md.ones(2, 3))
    for k, frame in enumerate(widget.trace):
        root = ElementTree.fromstring(widget.svg(k))
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        assert frame.text in root.find("{http://www.w3.org/2000/svg}desc").text
        for mark, name, *_ in frame.data["rows"] or ():
            assert mark in ("same", "end") or any(t.startswith(("−", "+", "~")) and f" {name} =" in t for t in texts)
        assert frame.lines
