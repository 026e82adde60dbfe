"""The backprop player against the engine: the same gradients, the tape itself, and steps that can be taken back."""
import math
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, GradientError
from minidl.nn import functional as F
from minidl.primitive import registry

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import BackpropPlayer, play
from minidl.widgets.tape import Tape


def leaf(x):
    return md.tensor(x, dtype=md.float64, requires_grad=True)


def random_expression(seed):
    """(loss, leaves) of about ten random ops on three numbers, with values used more than once."""
    rng = np.random.default_rng(seed)
    leaves = [leaf(float(x)) for x in rng.uniform(0.3, 2.0, 3)]
    unary = [md.tanh, md.exp, md.sin, md.sigmoid, md.square, lambda x: md.log(x * x + 1.0), lambda x: -x, md.relu,
             lambda x: x ** 3, lambda x: 2.0 / (x * x + 1.0)]
    binary = [lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / (y * y + 1.0), md.maximum]
    values = list(leaves)
    for _ in range(10):
        pick = lambda: values[rng.integers(max(0, len(values) - 5), len(values))]     # noqa: E731
        values.append(unary[rng.integers(len(unary))](pick()) if rng.random() < 0.4
                      else binary[rng.integers(len(binary))](pick(), pick()))
        values[-1] = md.tanh(values[-1]) if abs(values[-1].item()) > 5 else values[-1]
    return values[-1] + values[-2] * values[0] + leaves[1] * leaves[2], leaves


EXPRESSIONS = range(50)
LETTERS = "abc"


@pytest.fixture(scope="module")
def players():
    found = []
    for seed in EXPRESSIONS:
        loss, leaves = random_expression(seed)
        found.append((BackpropPlayer(loss, dict(zip(LETTERS, leaves))), loss, leaves))
    return found


@pytest.mark.parametrize("seed", EXPRESSIONS)
def test_final_gradients_are_the_engines(players, seed):
    player, loss, leaves = players[seed]
    expected = md.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    for letter, gradient in zip(LETTERS, expected):
        assert (gradient is None) == (letter not in player.gradients)
        if gradient is not None:
            np.testing.assert_allclose(player.gradients[letter], gradient.numpy(), rtol=1e-12)
    assert all(x.grad is None for x in leaves)


@pytest.mark.parametrize("seed", EXPRESSIONS)
def test_frames_in_order_are_the_tape(players, seed):
    player, loss, _ = players[seed]
    nodes = md.autograd.ancestors([loss.node])[::-1]
    forward = [f.data["now"] for f in player.trace if f.phase == "forward" and "now" in f.data]
    places = player.tape.places
    assert [places[key].origin for key in forward] == nodes
    for key in forward:                                 # each step, taken again from the values of its inputs
        place = places[key]
        again = place.origin.op(*[np.asarray(places[i].value) for i in place.inputs], **place.origin.meta)
        np.testing.assert_array_equal(again, place.value)
    backward = [f.data["edge"][0] for f in player.trace if f.phase == "backward"]
    assert list(dict.fromkeys(backward)) == [key for key in forward[::-1] if key in backward]
    totals = {}
    for arrival in player.tape.arrivals:                # sums of what arrived, in the order in which it did
        totals[arrival.place] = totals.get(arrival.place, 0) + arrival.gradient
        np.testing.assert_array_equal(arrival.total, totals[arrival.place])
    assert all(np.array_equal(totals[p.id], player.gradients[p.name])
               for p in player.tape.parameters if p.id in totals)


@pytest.mark.parametrize("seed", EXPRESSIONS)
def test_forward_then_back_is_the_same_frame(players, seed):
    player = players[seed][0]
    player.first()
    seen = [player.frame]
    while player.index < len(player.trace) - 1:
        seen.append(player.forward())
    assert [player.frame, *(player.back() for _ in seen[1:])] == seen[::-1]
    assert player.svg(3) == player.svg(3)


def test_slopes_of_the_rules_agree_with_finite_differences(players):
    checked = 0
    for player, _, _ in players:
        tape = player.tape
        for arrival in tape.arrivals[1:]:
            slope = tape.slope(arrival.step, arrival.index)
            if math.isnan(slope):                       # a kink, such as relu at 0
                continue
            checked += 1
            expected = slope * tape.gradients[arrival.step].item()
            assert math.isclose(arrival.gradient.item(), expected, rel_tol=1e-5, abs_tol=1e-6), arrival
    assert checked > 500


# ---------------------------------------------------------------------- what is said
def test_arithmetic_in_letters_and_numbers():
    text = play(lambda x, w: x * w, x=3.0, w=2.0).describe()
    assert "mul: v1 = x × w = 3 × 2 = 6." in text and "mul: ∂L/∂w = g · x = 1 × 3 = 3." in text
    assert "w ← w − lr · ∂L/∂w = 2 − 0.1 × 3 = 1.7." in text
    text = play(lambda x: x ** 3, x=-2.0).describe()
    assert "v1 = x^3 = (−2)^3 = −8" in text and "∂L/∂x = g · slope = 1 × 12 = 12" in text


def test_contributions_arrive_one_by_one():
    player = play(lambda x: x * x + x, x=3.0)
    player.last()
    texts = [f.text for f in player.trace if "contributions" in f.text]
    assert texts == ["add: ∂L/∂x = g = 1, 1 of 3 contributions.",
                     "mul: ∂L/∂x = g · x = 1 × 3 = 3, 2 of 3 contributions; the sum is 4.",
                     "mul: ∂L/∂x = g · x = 1 × 3 = 3, 3 of 3 contributions; the sum is 7."]


def test_overwriting_can_be_watched_and_goes_on_downstream():
    def loss(x, w):
        y = x * w
        return y * y + y                                # y gets three contributions, x one through y
    player = play(loss, x=2.0, w=3.0)
    assert player.gradients["x"] == 13 * 3
    player.overwrite = True
    assert player.gradients["x"] == 6 * 3               # only the last of 1, 6, 6 is left
    assert "wrong for x, w" in player.trace.note and "(should be 13)" in player.describe()
    player.overwrite = False
    assert player.gradients["x"] == 39 and player.trace.note == ""


def test_line_that_made_a_node_is_known_for_a_function():
    def loss(x):
        half = x / 2.0
        return half.tanh()
    player = play(loss, x=1.0)
    player.seek(1)
    assert "half = x / 2.0" in player.frame.lines[0]


def test_changing_a_number_replays_the_tape():
    player = play(lambda x, w: (x * w).tanh(), x=2.0, w=3.0)
    player.values = {"x": 0.5, "w": 0.2}
    assert math.isclose(player.gradients["x"], 0.2 * (1 - math.tanh(0.1) ** 2), rel_tol=1e-12)
    player.values = {"z": 1.0}
    assert "no number called 'z'" in player.error


def test_predictions_are_checked_against_finite_differences():
    player = play(lambda x: x.tanh() * 2.0, x=0.5)
    asked = [k for k, frame in enumerate(player.trace) if "ask" in frame.data]
    player.seek(asked[-1])
    assert "What is ∂v1/∂x here?" in player.question
    assert player.answered(1 - math.tanh(0.5) ** 2) and not player.answered(math.tanh(0.5))
    player.first()
    with pytest.raises(ArgumentError, match="nothing is asked"):
        player.answered(1.0)


def test_an_op_from_a_notebook_appears_without_further_code():
    @md.primitive(symbol="cube")
    def cubed(xp, x):
        return x * x * x

    @cubed.grad("x")
    def _(g, x):
        return g * 3 * x ** 2
    text = play(lambda x: cubed(x), x=2.0).describe()
    registry.pop("cubed")
    assert "cubed: v1 = cubed(x) = cubed(2) = 8." in text
    assert "cubed: ∂L/∂x = g · 3 · x^2 = 1 × 3 × 2^2 = 12." in text


def test_first_op_that_made_a_nan_or_inf_is_named():
    assert "The first NaN came out of v1 = log(x) = log(−1) = NaN." in play(lambda x: x.log() + x, x=-1.0).trace.note
    assert "The first Inf came out of the rule of sqrt." in play(lambda x: x.sqrt(), x=0.0).trace.note
    drawn = play(lambda x: x.log() + x, x=-1.0).svg()
    assert ">NaN</text>" in drawn and "broken" in drawn


# ---------------------------------------------------------------------- networks
def test_an_mlp_ends_with_the_gradients_of_backward():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    x, y = md.randn(6, 4), md.tensor([0, 1, 2, 0, 1, 2])
    player = play(lambda x, y: F.cross_entropy(model(x), y), x=x, y=y, model=model)
    assert all(p.grad is None for p in model.parameters())
    F.cross_entropy(model(x), y).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(player.gradients[name], p.grad.numpy(), rtol=1e-6)


def test_a_conv_net_is_folded_and_every_step_is_still_there():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 4))
    inputs = dict(x=md.randn(2, 1, 8, 8), y=md.tensor([0, 3]))
    player = play(lambda x, y: F.cross_entropy(model(x), y), model=model, **inputs)
    assert player.fold
    titles = [box["title"] for box in player.trace.figure["boxes"]]
    assert "Conv2d 0" in titles and "0.weight" not in titles
    open_player = play(lambda x, y: F.cross_entropy(model(x), y), model=model, fold=False, **inputs)
    assert len(open_player.trace) == len(player.trace)
    assert "0.weight" in [box["title"] for box in open_player.trace.figure["boxes"]]
    assert len(player.trace.json) < 60_000


def test_boxes_and_labels_lie_inside_the_picture_and_boxes_do_not_overlap(players):
    for player, _, _ in players[:10]:
        figure = player.trace.figure
        boxes = figure["boxes"]
        for k, a in enumerate(boxes):
            assert 0 <= a["x"] and a["x"] + a["w"] <= figure["width"] and a["y"] + a["h"] <= figure["height"]
            for b in boxes[:k]:
                assert (a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"]
                        or b["y"] + b["h"] <= a["y"]), (a["id"], b["id"])
        ElementTree.fromstring(player.svg())


def test_what_was_not_computed_is_not_zero():
    player = play(lambda x, w: x * w, x=2.0, w=3.0)
    root = ElementTree.fromstring(player.svg(0))
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    absent = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "absent"]
    assert "∂ 0" not in texts and len(absent) == 4 + 1          # v1, and three gradients; one in the legend


# ---------------------------------------------------------------------- errors
def test_errors_say_what_to_do():
    with pytest.raises(GradientError, match=r"no tape to play.*\n.*\nTry: give a loss"):
        play(md.tensor(1.0))
    with pytest.raises(GradientError, match=r"single number.*\n.*shape +\(2,\)\nTry: reduce"):
        play(md.tensor([1.0, 2.0], requires_grad=True) * 2)
    x = leaf(1.0)
    for _ in range(501):
        x = x * 1.0
    with pytest.raises(ArgumentError, match=r"expected a function.*\n.*'x \* w'\nTry: BackpropPlayer.of\(lambda"):
        BackpropPlayer.of("x * w", x=2.0, w=3.0)
    with pytest.raises(ArgumentError, match="too long to be looked at"):
        play(x)


def test_a_tape_that_was_used_by_backward_can_still_be_played():
    x = leaf(2.0)
    loss = x * x
    loss.backward()
    assert play(loss, {"x": x}).gradients["x"] == 4


def test_a_leaf_that_was_changed_since_is_pointed_out():
    x = leaf(2.0)
    loss = x * x
    with md.no_grad():
        x += 3.0
    assert "changed after the loss was computed" in play(loss, {"x": x}).trace.note


def test_the_tape_names_no_op():
    import inspect

    from minidl.widgets import tape
    source = inspect.getsource(tape)
    assert not [name for name in ("relu", "matmul", "tanh", "conv2d") if name in source]
    assert Tape.__doc__
