"""The stride explorer: what it says about memory is what NumPy does, and what it cannot follow it refuses."""
import re
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.errors import ArgumentError
from minidl.widgets import explore_strides
from minidl.widgets.expressions import ops_of, run
from minidl.widgets.strides import CASES, LINE, TALL, lines_loaded, steps_of

EXPRESSIONS = [*CASES.values(), "x.T[::2, None]", "x.permute(1, 0)[1:3].unsqueeze(-1)", "x.T.reshape(12)",
               "x[..., -1]", "x.view(2, 3, 2).transpose(0, 2)", "x[[0, 2]]", "x.flip((0, 1))",
               "x.T.contiguous().flatten()", "x[1, 2]", "x.view(2, 6).T.reshape(3, 2, 2)", "x.T.reshape(2, 2, 3)"]


def numbers(dtype="float32"):
    return md.arange(12, dtype=dtype).reshape(3, 4)


def followed(x, expression):
    for op in ops_of(expression):
        x = run(x, op)
    return x


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_facts_are_those_of_numpy_and_positions_lead_to_the_numbers(expression):
    x = numbers()
    expected, last = followed(x, expression), steps_of(x, expression)[-1]
    array = expected.array
    assert last.layout.shape == array.shape
    assert last.layout.strides == tuple(s // array.itemsize for s in array.strides)
    assert (last.layout.block[last.layout.positions] == array).all()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_view_or_copy_is_what_numpy_says_about_sharing(expression):
    x, now = numbers(), numbers()
    x = now
    for op, step in zip(ops_of(expression), steps_of(x, expression)[1:]):
        before, now = now, run(now, op)
        assert step.copied == (not np.shares_memory(before.array, now.array))
        assert bool(step.reason) or not step.copied


def test_a_copy_has_its_reason_in_numbers():
    (_, _, last) = steps_of(numbers(), "x.T.reshape(12)")
    assert "Axes 0 and 1" in last.reason and "goes 1 further" in last.reason and "3 × 4 = 12" in last.reason
    (_, _, last) = steps_of(numbers(), "x.T.reshape(2, 2, 3)")
    assert not last.copied                                   # one axis is cut in two: no copy is needed


@pytest.mark.parametrize("expression", ["x.T[::2, None]", "x[:1].expand(3, 4)", "x[:, :1].expand(3, 4)[1:]", "x[::-1]"])
def test_gradient_frame_is_what_backward_computes(expression):
    x = md.arange(12.0).reshape(3, 4).detach().requires_grad_()
    (expected,) = md.autograd.grad(followed(x, expression).sum(), [x])
    frame = explore_strides(x.detach(), expression).last()
    assert frame.phase == "gradient"
    shown = {place: float(small.removeprefix("∂ ")) for *_, small, look, key, place in frame.data["cells"]
             if key.startswith("m")}
    assert [shown[k] for k in range(12)] == expected.numpy().ravel().tolist()
    assert ("stride is 0" in frame.text) == ("expand" in expression)


def test_lines_are_counted_as_a_memory_of_one_line_would():
    x = md.arange(128, dtype=md.float32).reshape(8, 16)
    held, loads = None, 0
    for j in range(16):
        for i in range(8):
            line = (i * 16 + j) * 4 // LINE
            loads, held = loads + (line != held), line
    assert lines_loaded(np.arange(128).reshape(8, 16).T, 4) == (loads, 8) == (128, 8)
    assert lines_loaded(np.arange(128), 4) == (8, 8) and lines_loaded([], 4) == (0, 0)
    walks = [f.text for f in explore_strides(x, "x").trace if f.phase == "walk"]
    assert "8 times for 128" in walks[0] and "128 times for 128" in walks[1]


def test_writing_names_everybody_who_sees_it():
    x = numbers()
    widget = explore_strides(x, "x[:1].expand(3, 4)", entry=(1, 2))
    (frame,) = [f for f in widget.trace if f.phase == "write"]
    place = int(re.search(r"position (\d+)", frame.text)[1])
    assert place == 2 and "x [0, 2]" in frame.text and "[0, 2], [1, 2], [2, 2]" in frame.text
    ringed = {key for *_, look, key, _ in frame.data["cells"] if look == "now"}
    assert ringed == {"m2", "s0v0,2", "s1v0,2", "s2v0,2", "s2v1,2", "s2v2,2"}
    copy = explore_strides(x, "x.T.reshape(12)")
    assert "not x, which has other memory" in copy.trace.frame(3).text


@pytest.mark.parametrize(("expression", "says"), [
    ("y.T", "only tensor here is x"), ("x + 1", "only indices and these methods"), ("x.__class__", "only indices"),
    ("x.__getitem__(0)", "only indices"), ("x.numpy()", "only indices"), ("x[", "not an expression"),
    ("x.reshape(99999999)", "up to 10000"), ("x[y]", "whole numbers"), ("x[1.5]", "whole numbers"),
    ("x[x]", "whole numbers"), ("x.reshape(__import__('os'))", "whole numbers"), ("", "not an expression"),
    ("x.as_strided((4,), (5,))", "outside the memory"), ("x.as_strided((2,), (1,), -1)", "outside the memory"),
    ("x.reshape(q=3)", "does not work"), ("x.unfold(0, 9, 1)", "no such windows"), ("x[9]", "out of bounds"),
    ("x.expand(200, 3, 4)", "at most 128 numbers"), ("(lambda: x)()", "only indices"),
])
def test_what_cannot_be_followed_is_refused_in_words(expression, says):
    widget = explore_strides(numbers())
    before = widget.trace
    widget.expression = expression
    assert says in widget.error and widget.trace is before
    widget.expression = "x.T"
    assert widget.error == ""


def test_entry_is_checked_and_may_count_from_the_end():
    widget = explore_strides(numbers(), "x.T", entry=(-1, 0))
    assert "Entry [3, 0] stands at position 0 + 3·1 + 0·4 = 3" in widget.describe()
    widget.entry = "4, 0"
    assert "no such entry" in widget.error
    with pytest.raises(ArgumentError, match="no such entry"):
        explore_strides(numbers(), "x.T", entry="one")


def test_large_tensors_are_refused_and_empty_ones_are_not():
    with pytest.raises(ArgumentError, match="at most 128 numbers"):
        explore_strides(md.zeros(20, 20))
    assert "holds no numbers" in explore_strides(numbers(), "x[3:]").describe()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_frame_is_a_picture_with_all_numbers_and_nothing_sticks_out(expression):
    widget = explore_strides(numbers(), expression)
    for k, frame in enumerate(widget.trace):
        root = ElementTree.fromstring(widget.svg(k))
        assert frame.text in "".join(root.itertext())
        width, height = frame.data["width"], frame.data["height"]
        assert all(x + w <= width and y + TALL <= height for x, y, w, *_ in frame.data["cells"])
        boxes = [(x, y, w) for x, y, w, *_ in frame.data["cells"]]
        for n, (x, y, w) in enumerate(boxes):
            assert not any(abs(y - b) < TALL and abs(x - a) < w - 0.01 for a, b, _ in boxes[n + 1:])


def test_broken_numbers_are_shown_as_such():
    widget = explore_strides(md.tensor([1.0, float("nan"), -float("inf")]), "x")
    texts = [(t.text, t.get("class")) for t in ElementTree.fromstring(widget.svg(0)).iter() if t.tag.endswith("text")]
    assert ("×", "small broken") in texts and ("−∞", "small broken") in texts and ("1", "small bold") in texts


def test_every_frame_says_and_labels_what_it_shows():
    widget = explore_strides(numbers())
    labels = widget.trace.figure["labels"]
    for frame in widget.trace:
        assert all(key in labels[frame.data["step"]] for *_, key, _ in frame.data["cells"])
    assert labels[2]["v1,0,2"] == "Entry [1, 0, 2] of x.T[::2, None]: position 0 + 1·2 + 0·0 + 2·4 = 10."
    assert "Next: .T" in widget.describe()                   # the question comes before the answer
