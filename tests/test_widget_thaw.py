"""Freeze and thaw without a page: beside a loop of its own, counted by hand, what is said, drawn and refused."""
import copy
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.errors import ArgumentError
from minidl.nn import functional as F

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.viz.from_tape import tape_view
from minidl.widgets import FreezeThaw


def two_layers(**settings):
    """Linear 3 to 4, relu, Linear 4 to 2, on eight points; judged by five others."""
    md.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(13, 3)).astype(np.float32), rng.integers(0, 2, 13)
    parts = (md.tensor(x[:8]), md.tensor(y[:8]), md.tensor(x[8:]), md.tensor(y[8:]))
    return model, parts, FreezeThaw(model, *parts, **{"steps": 6, "batch": 4, "lr": 0.02, **settings})


def by_a_loop(model, parts, frozen, steps=6, size=4, lr=0.02):
    """Weights after each step, by layer, and the share that is right at the end."""
    model, (x, y, check_x, check_y) = copy.deepcopy(model), parts
    for path, p in model.named_parameters():
        p.requires_grad_(path[0] not in frozen)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(steps * size // len(x))])
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)

    def numbers():
        return {k: np.concatenate([p.detach().numpy().ravel() for p in model[int(k)].parameters()]) for k in "02"}
    seen = [numbers()]
    for part in order.reshape(steps, size):
        optimizer.zero_grad()
        F.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
        seen.append(numbers())
    with md.no_grad():
        return seen, (model(check_x).numpy().argmax(1) == check_y.numpy()).mean()


@pytest.mark.parametrize("frozen", [[], ["0"], ["2"]])
def test_moves_are_those_of_a_loop(frozen):
    model, parts, widget = two_layers(frozen=frozen)
    seen, right = by_a_loop(model, parts, frozen)
    norm = np.linalg.norm
    for t, frame in enumerate(list(widget.trace)[1:], 1):
        for k, name in enumerate("02"):
            now, last, first = seen[t][name], seen[t - 1][name], seen[0][name]
            assert frame.data["moved"][k] == pytest.approx(norm(now - last) / norm(last), rel=1e-4)
            assert frame.data["way"][k] == pytest.approx(norm(now - first) / norm(first), rel=1e-4)
    assert widget.trace[-1].data["right"] == pytest.approx(right)


def test_a_frozen_layer_moves_by_nothing_and_has_no_gradient():
    widget = two_layers(frozen=["0"])[2]
    for frame in list(widget.trace)[1:]:
        assert (frame.data["moved"][0], frame.data["way"][0], frame.data["slope"][0]) == (0, 0, None)
        assert frame.data["moved"][1] > 0 and frame.data["slope"][1] > 0
    assert "0 Linear: moved by 0 % in this step, 0 % since the start, no gradient." in frame.lines


def test_memory_is_what_can_be_counted_by_hand():
    first, second = two_layers()[2].trace.figure["rows"]
    assert (first["count"], second["count"]) == (16, 10)                # 3 * 4 + 4, 4 * 2 + 2
    assert (first["gradient"], second["gradient"]) == (64, 40)          # float32
    assert (first["state"], second["state"]) == (128, 80)               # Adam: two numbers for each
    first, second = two_layers(frozen=["2"])[2].trace.figure["rows"]
    assert (second["gradient"], second["state"], second["memory"]) == (0, 0, "none") and first["state"] == 128


def test_the_tape_ends_where_nothing_before_it_learns():
    model, parts, widget = two_layers()
    ways = {}
    for frozen in ((), ("0",), ("2",), ("0", "2")):
        widget.edit(frozen=list(frozen))
        mine = copy.deepcopy(model)
        for path, p in mine.named_parameters():
            p.requires_grad_(path[0] not in frozen)
        loss = F.cross_entropy(mine(parts[0][:4]), parts[1][:4])
        nodes = len([i for i in tape_view([loss]).items if i.op]) if loss.requires_grad else 0
        rows = widget.trace.figure["rows"]
        assert sum(row["ops"] for row in rows) == nodes
        ways[frozen] = [row["back"] for row in rows]
    assert ways == {(): ["reached", "reached"], ("0",): ["stops", "reached"], ("2",): ["reached", "passes"],
                    ("0", "2"): ["stops", "stops"]}


def test_bytes_on_the_tape_are_the_values_that_rules_ask_for():
    first, second = two_layers()[2].trace.figure["rows"]
    batch, hidden, answer = 4 * 3 * 4, 4 * 4 * 4, 4 * 2 * 4             # bytes: 4 points of 3, 4 and 2 numbers
    assert first["held"] == batch + hidden                              # for dW of the first; relu's own output
    frozen_first, frozen_second = two_layers(frozen=["0"])[2].trace.figure["rows"]
    assert frozen_first["held"] == 0
    assert frozen_second["held"] == second["held"] + hidden             # what relu held is now held for dW alone
    assert answer <= second["held"] <= 3 * answer + 4 * 8               # of cross entropy, and the classes


def test_everything_frozen_is_a_run_too():
    widget = two_layers(frozen=["0", "2"])[2]
    assert "Everything is frozen" in widget.trace[0].text
    assert "no backward pass at all" in widget.trace.figure["facts"][2]
    assert all(frame.data["moved"] == [0, 0] for frame in list(widget.trace)[1:])
    assert widget.last().text.endswith("Every layer is where it was.")


def test_the_model_and_the_random_numbers_of_the_notebook_stay_as_they_are():
    md.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    x, y = md.randn(12, 3), md.tensor(np.arange(12) % 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    md.manual_seed(9)
    wanted = md.randn(3).numpy()
    md.manual_seed(9)
    first = FreezeThaw(model, x, y, x, y, steps=3, batch=6).trace
    np.testing.assert_array_equal(md.randn(3).numpy(), wanted)
    assert first == FreezeThaw(model, x, y, x, y, steps=3, batch=6).trace         # dropout or not
    assert all(np.array_equal(value.numpy(), before[name].numpy()) for name, value in model.state_dict().items())
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())


def test_steps_are_taken_in_the_mode_that_the_model_has_and_judged_in_eval():
    md.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    x, y = md.randn(12, 3) * 3 + 4, md.tensor(np.arange(12) % 2)
    widget = FreezeThaw(model, x, y, x, y, steps=1, batch=6)
    part = np.random.default_rng(0).permutation(12)[:6]
    trained = F.cross_entropy(copy.deepcopy(model)(x[part]), y[part]).item()
    assert widget.trace[1].data["loss"] == pytest.approx(trained, rel=1e-5)
    assert trained != pytest.approx(F.cross_entropy(copy.deepcopy(model).eval()(x[part]), y[part]).item(), rel=1e-2)
    judged, other = ((one(x).detach().numpy().argmax(1) == y.numpy()).mean()
                     for one in (copy.deepcopy(model).eval(), copy.deepcopy(model)))
    assert widget.trace[0].data["right"] == pytest.approx(judged) and judged != other


def test_what_becomes_of_the_model_later_does_not_change_a_run():
    model, _, widget = two_layers()
    right = widget.trace[0].data["right"], widget.trace[-1].data["moved"]
    with md.no_grad():
        for p in model.parameters():
            p.mul_(-3.0)
    widget.edit(steps=5)
    widget.edit(steps=6)
    widget._runs.clear()
    widget.recompute()
    assert (widget.trace[0].data["right"], widget.trace[-1].data["moved"]) == right


def test_a_prediction_is_asked_for_and_answered():
    widget = two_layers()[2]
    assert "Predict before you go on: which layer will move furthest in these 6 steps?" in widget.frame.text
    far = widget.trace[-1].data["way"]
    best, other = ("0", "2") if far[0] > far[1] else ("2", "0")
    widget.edit(guess=best)
    assert "You predict" in widget.first().text and f"You predicted it: {best} Linear" in widget.last().text
    widget.edit(guess=other)
    assert f"You predicted {other} Linear, which went" in widget.last().text
    assert widget.freeze("0").phase == "choice" and widget.guess == "" and "Predict before" in widget.frame.text


def test_choices_before_stay_for_comparison_while_the_settings_are_the_same():
    widget = two_layers()[2]
    right = widget.trace.figure["right"]
    assert widget.trace.figure["earlier"] == []
    widget.freeze("0")
    assert widget.trace.figure["earlier"] == [{"label": "nothing frozen", "right": right}]
    widget.thaw("0")
    assert [one["label"] for one in widget.trace.figure["earlier"]] == ["frozen 0"]
    widget.edit(steps=5, frozen=["2"])
    assert [one["label"] for one in widget.trace.figure["earlier"]] == ["nothing frozen"]     # run anew to compare with


def test_freeze_and_thaw_name_layers_or_all():
    widget = two_layers()[2]
    widget.freeze()
    assert widget.frozen == ["0", "2"]
    widget.thaw("2")
    assert widget.frozen == ["0"]
    widget.thaw()
    assert widget.frozen == []
    for wrong in (widget.freeze, widget.thaw):
        with pytest.raises(ArgumentError, match=r"there is no layer '7'.\n.*layers .*0, 2"):
            wrong("7")


def test_the_picture_is_whole_and_says_the_same():
    widget = two_layers(frozen=["0"])[2]
    for k in (0, 3, 6):
        tree = ElementTree.fromstring(widget.svg(k))
        texts = " ".join(e.text or "" for e in tree.iter() if e.tag.endswith("text"))
        assert "not reached" in texts and "10 numbers, learns" in texts and "16 numbers, frozen" in texts
    assert "10 of 26 numbers learn." in texts and "10 of 26 numbers learn." in widget.describe()
    none = ElementTree.fromstring(widget.svg(0))
    assert sum(e.get("class") == "absent" for e in none.iter()) == 3      # the frozen layer, and two bars not run yet


def test_without_a_model_it_is_the_reader_of_the_exercise():
    widget = FreezeThaw(steps=5)
    assert [layer.title for layer in widget.layers] == ["0 Conv2d", "2 Conv2d", "6 Linear", "8 Linear"]
    assert widget.trace.figure["judged"] == 200 and widget.trace.figure["right"][0] > 0.8
    assert widget.trace[-1].data["right"] > widget.trace[0].data["right"]


@pytest.mark.parametrize("settings, says", [
    (dict(frozen=["fc9"]), "there is no layer 'fc9'"), (dict(guess="fc9"), "there is no layer 'fc9'"),
    (dict(steps=0), "steps must be from 1 to 60"), (dict(batch=9), "batch must be from 1 to 8"),
    (dict(lr=-1.0), "lr must be from 0.0 to 10.0")])
def test_what_cannot_be_run_is_refused(settings, says):
    with pytest.raises(ArgumentError, match=says):
        two_layers(**settings)
    widget = two_layers()[2]
    widget.edit(**settings)
    assert says in widget.error


def test_a_model_alone_is_not_enough():
    with pytest.raises(ArgumentError, match="needs examples to learn from"):
        FreezeThaw(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="no layers to freeze"):
        FreezeThaw(nn.ReLU(), *(md.zeros(2, 2) for _ in range(4)))
