"""Split screen: what both sides show is what the function computes, and the learner's things are left as they were."""
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.widgets import split_screen
from minidl.widgets.following import follow
from minidl.widgets.split import costs, pays_from

calls, total = [], 0


def plain(x):
    y = x * 2
    z = y + 1
    return z


def branches(x):
    y = x * 2
    if y.sum() > 0:
        y = -y
    return y


def prints(x):
    print("rows", x.shape[0])
    calls.append(x.shape[0])
    return x + 1


def prints_values(x):
    y = x + 1
    print(y)
    return y


def wrong(x):
    y = x + 1
    return y @ md.ones(7, 7)


def loops(x):
    for _ in range(300):
        x = x + 1
    return x


def breaks(x):
    y = md.log(x - 1)
    z = y * 2
    return md.sqrt(z)


def frames(widget, phase):
    return [frame for frame in widget.trace if frame.phase == phase]


def test_every_line_has_its_values_on_the_left_and_its_shapes_on_the_right():
    widget = split_screen(plain, md.tensor([1.0, -2.0]))
    assert [frame.data["line"] - widget.first_line for frame in frames(widget, "run")] == [1, 2, 3]
    left, right = widget.trace.figure["left"], widget.trace.figure["right"]
    assert [text for _, kind, text in left if kind == "name"][:2] == ["y = [2, −4] (2)", "z = [3, −3] (2)"]
    symbols = [text for _, kind, text in right if kind == "name"]
    assert symbols[:2] == ["y = symbol float32 (2)", "z = symbol float32 (2)"]
    assert not any("−4" in text for *_, text in right)
    assert "2 steps" in frames(widget, "written down")[0].text
    assert "the same numbers" in frames(widget, "written down")[0].text


def test_the_second_call_runs_no_line_of_the_function():
    (frame,) = frames(split_screen(plain, md.ones(2)), "second call")
    assert "no line of the function runs (0 times entered)" in frame.text and "2 steps" in frame.text


def test_they_part_at_an_if_on_a_value_and_the_left_goes_on():
    widget = split_screen(branches, md.ones(3))
    (frame,) = frames(widget, "part")
    assert frame.data["line"] == widget.first_line + 2 and frame.data["states"] == ["runs", "stopped"]
    assert "> → True" in frame.text and "made by greater" in frame.text and "md.where" in frame.text
    assert [f.data["line"] - widget.first_line for f in frames(widget, "alone")] == [3, 4]
    assert "[−2, −2, −2]" in frames(widget, "alone")[0].text
    assert not frames(widget, "second call")
    negative = split_screen(branches, -md.ones(3))
    assert [f.data["line"] - negative.first_line for f in frames(negative, "alone")] == [4]
    assert "> → False" in frames(negative, "part")[0].text


def test_a_print_of_values_parts_them_and_a_print_of_shapes_is_said_once():
    (frame,) = frames(split_screen(prints_values, md.zeros(2)), "part")
    assert "prints tensor([1., 1.])" in frame.text
    (frame,) = frames(split_screen(prints, md.zeros(2)), "second call")
    assert "Nothing is printed: 'rows 2'" in frame.text and "calls stays as it is" in frame.text
    assert calls == []                                        # put back


def test_a_mistake_of_the_function_is_shown_on_both_sides():
    widget = split_screen(wrong, md.ones(2, 3))
    (frame,) = frames(widget, "error")
    assert "ShapeError" in frame.text and frame.data["line"] == widget.first_line + 2


def test_an_error_without_a_word_is_shown_by_its_name():
    def small(x):
        y = x * 2
        if y.shape != (3,):
            raise AssertionError
        return y

    widget = split_screen(small, md.ones(2))
    (frame,) = frames(widget, "error")
    assert "AssertionError" in frame.text


def test_training_is_shown_and_put_back(rng):
    md.manual_seed(3)
    model = md.nn.Linear(3, 1)
    optimizer = md.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = md.tensor(rng.standard_normal((4, 3)).astype("f")), md.zeros(4, 1)

    def train_step(x, y):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    state, drawn = md.get_rng_state(), optimizer.state_dict()
    widget = split_screen(train_step, x, y)
    residual = x.numpy() @ before["weight"].T + before["bias"]
    slope = 2 * residual.mean()
    grad = next(text for _, kind, text in widget.trace.figure["left"] if text.startswith("∂ bias"))
    assert float(grad.split("[")[1].split("]")[0].replace("−", "-")) == pytest.approx(slope, rel=1e-2)
    bias = next(text for _, kind, text in widget.trace.figure["left"] if text.startswith("bias is now"))
    expected = before["bias"][0] - 0.1 * slope
    assert float(bias.split("[")[1].split("]")[0].replace("−", "-")) == pytest.approx(expected, rel=1e-2)
    assert "bias is now symbol float32 (1)" in [text for *_, text in widget.trace.figure["right"]]
    assert all((p.detach().numpy() == before[name]).all() and p.grad is None for name, p in model.named_parameters())
    assert optimizer.state_dict() == drawn and str(md.get_rng_state()) == str(state)
    recorded, replayed = frames(widget, "second call")
    assert "recorded anew, because a tensor of shape (1, 3) has a gradient now" in recorded.text
    assert "no line of the function runs" in replayed.text


def test_hit_or_retrace_is_what_compile_does():
    x = md.ones(2, 3)
    for other, shape in (("(2, 3)", (2, 3)), ("(5, 3)", (5, 3)), ("float64(2, 3)", None)):
        widget = split_screen(plain, x, other=other)
        compiled = md.compile(plain)
        compiled(x)
        compiled(md.ones(shape) if shape else md.ones(2, 3, dtype=md.float64))
        text = widget.last().text
        assert text.startswith("Hit") == (compiled.count == 1)
        if compiled.count == 2:
            assert compiled.log[1][-1][0] in text
    widget = split_screen(plain, x)
    assert widget.other == "(3, 3)" and "Choose" in frames(widget, "hit or retrace")[0].text
    widget.guess = "retrace"
    assert widget.last().text.startswith("Right. Retrace")
    widget.guess = "hit"
    assert widget.last().text.startswith("Not so. Retrace")


@pytest.mark.parametrize("other", ["(2, 3", "(2, 3), (4,)", "x", "(2.5,)", "(-1, 2)", "open('f')", "(99999, 99999)"])
def test_a_call_that_cannot_be_read_is_explained(other):
    widget = split_screen(plain, md.ones(2, 3))
    widget.other = other
    assert "this is not another call" in widget.error and "Try: (3, 3)" in widget.error
    widget.other = "(4, 3)"
    assert widget.error == ""


def test_following_leaves_the_hook_and_the_watchers_as_they_were():
    hook, watchers = sys.gettrace(), list(md.tensor.__globals__["watchers"])

    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(interrupted, lambda: interrupted(1))
    assert sys.gettrace() is hook and md.tensor.__globals__["watchers"] == watchers


def test_a_long_loop_is_cut_and_says_so():
    widget = split_screen(loops, md.zeros(1))
    assert "no more lines are followed" in widget.describe()
    assert len(widget.trace.json) <= 201_000


def test_what_has_no_source_is_refused():
    with pytest.raises(ArgumentError, match="no function written in Python"):
        split_screen(np.sin, md.ones(2))
    with pytest.raises(ArgumentError, match=r"source of this function is not to be had.\nTry: define"):
        split_screen(eval("lambda x: x + 1"), md.ones(2))


def test_modules_and_compiled_functions_can_be_given():
    model = md.nn.Linear(3, 1)
    assert "no line" in frames(split_screen(model, md.ones(2, 3)), "second call")[0].text
    assert split_screen(md.compile(plain), md.ones(2)).fn is plain


@pytest.mark.parametrize("fn", [plain, branches, prints, wrong])
def test_every_frame_is_a_picture_and_is_said(fn):
    widget = split_screen(fn, md.ones(2, 3))
    for k, frame in enumerate(widget.trace):
        root = ElementTree.fromstring(widget.svg(k))
        texts = [t for t in root.iter("{http://www.w3.org/2000/svg}text") if "mono" in t.get("class")]
        assert frame.text in root.find("{http://www.w3.org/2000/svg}desc").text
        assert texts and all(float(t.get("x")) + 7.3 * len(t.text) <= 720 for t in texts)
        assert frame.lines


def test_the_first_op_that_made_a_nan_is_named():
    widget = split_screen(breaks, md.tensor([2.0, 0.5]))
    (row,) = [row for row in widget.trace.figure["left"] if row[1] == "broken"]
    assert row[0] == widget.first_line + 1 and row[2] == "log made the first NaN"
    assert "log made the first NaN" in widget.trace.frame(0).text
    assert "the same numbers" in frames(widget, "written down")[0].text       # a NaN on both sides is the same


def test_what_is_reached_through_functions_and_objects_is_put_back():
    class Trainer:
        def __init__(self):
            self.model = md.nn.Linear(2, 1)
            self.optimizer = md.optim.SGD(self.model.parameters(), lr=0.5)

    trainer = Trainer()

    def loss_of(x):
        return trainer.model(x).sum()

    def step(x):
        loss = loss_of(x)
        loss.backward()
        trainer.optimizer.step()
        return loss

    before = trainer.model.weight.detach().numpy().copy()
    split_screen(step, md.ones(3, 2))
    assert (trainer.model.weight.detach().numpy() == before).all() and trainer.model.weight.grad is None


def test_recording_pays_from_the_call_at_which_the_sums_cross():
    for dynamic, first, replay in ((3.0, 10.0, 1.0), (2.0, 30.5, 1.9), (5.0, 4.0, 1.0), (1.0, 1.5, 0.25)):
        n = pays_from(dynamic, first, replay)
        gap = [a - b for (_, a, _), (_, b, _) in (costs([dynamic, first, replay], calls) for calls in (n - 1, n))]
        assert gap[1] >= 0 and (n == 1 or gap[0] < 0)
    assert pays_from(1.0, 10.0, 1.0) is None and pays_from(1.0, 10.0, 2.0) is None


def test_cost_is_measured_once_and_says_when_it_pays(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr("minidl.widgets.split.time.perf_counter", lambda: next(ticks))
    widget = split_screen(prints, md.ones(2))
    (frame,) = frames(widget, "cost")
    assert "a dynamic call takes 1 s" in frame.text and "recording never pays" not in frame.text
    assert calls == []                                        # the calls that were timed are put back, too
    widget.guess = "hit"
    assert frames(widget, "cost")[0] == frame
    monkeypatch.setattr("minidl.widgets.split.clocked", lambda call, times=5: 4.0 if times == 1 else 1.0)
    assert "recording never pays" in frames(split_screen(plain, md.ones(2)), "cost")[0].text
