"""The playground without a browser: its run against a plain loop, wiring, forks, what is not finite, words."""
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.random import Generator

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import Playground
from minidl.widgets.playground import GRID, LEVELS, SIDE, packed, unit_line, unpacked
from minidl.widgets.training import Column, Plan, columns


class Turned(nn.Module):
    """A layer of a learner's own: its matrix is (in, out), and a tanh is inside."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.w = nn.Parameter(md.randn(n_in, n_out))

    def forward(self, x):
        return (x @ self.w).tanh()


class Exp(nn.Module):
    def forward(self, x):
        return x.exp()


class Own(nn.Module):
    """A model that is no Sequential."""

    def __init__(self):
        super().__init__()
        self.out, self.hidden = nn.Linear(4, 3), nn.Linear(2, 4)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))


def small(outputs=1):
    md.manual_seed(5)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, outputs))


def row(playground, t=-1, run=0):
    return playground.trace.frame(t).data["runs"][run]


# ---------------------------------------------------------------------- the run
def plain_loop(model, steps, lr, batch_size=16):
    """Training as it is written in a lesson; after each batch: its gradients, by md.autograd.grad, and its loss."""
    x, y, test = Plan().draw()
    rows, order, generator = np.flatnonzero(~test), [], Generator().manual_seed(0)
    while len(order) < steps:
        shuffled = rows[generator.permutation(len(rows))]
        order += [shuffled[k:k + batch_size] for k in range(0, len(shuffled), batch_size)]
    parameters = dict(model.named_parameters())
    for batch in order[:steps]:
        target = md.tensor(y[batch].astype(np.float32)[:, None])
        loss = F.binary_cross_entropy_with_logits(model(md.tensor(x[batch])), target)
        slopes = md.autograd.grad(loss, list(parameters.values()))
        with md.no_grad():
            for p, g in zip(parameters.values(), slopes):
                p -= lr * g
        yield batch, dict(zip(parameters, slopes)), loss.item()


def test_steps_are_those_of_a_plain_loop():
    model = small()
    playground = Playground(model, steps=12, lr=0.5)
    for t, (batch, slopes, loss) in enumerate(plain_loop(small(), 12, 0.5), 1):
        found = row(playground, t)
        assert found["batch"] == batch.tolist() and found["loss"] == pytest.approx(loss, rel=1e-4)
        np.testing.assert_allclose(found["slope"][0], slopes["0.weight"].numpy(), rtol=1e-2, atol=1e-5)
        np.testing.assert_allclose(found["slope"][1], slopes["2.weight"].numpy(), rtol=1e-2, atol=1e-5)
    *_, _ = plain_loop(trained := small(), 12, 0.5)
    for name, value in trained.state_dict().items():
        np.testing.assert_allclose(playground.runs[0].weights[12][name], value.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(row(playground)["weight"][0], trained[0].weight.detach().numpy(), rtol=5e-3)
    np.testing.assert_allclose(row(playground)["bias"][1], trained[2].bias.detach().numpy(), rtol=5e-3)


def test_losses_and_shares_are_those_of_the_model_on_all_points():
    playground = Playground(small(), steps=15, lr=1.0)
    model = playground.hand_back(7)
    x, y, test = Plan().draw()
    for kind, rows in (("train", ~test), ("test", test)):
        out = model(md.tensor(x[rows])).detach().numpy()[:, 0]
        truth = y[rows]
        loss = np.mean(np.logaddexp(0, out) - truth * out)
        assert row(playground, 7)[kind] == pytest.approx([loss, np.mean((out > 0) == truth)], rel=1e-4)
    assert test.sum() == len(x) // 4


def test_before_the_first_batch_there_are_no_gradients():
    first = row(Playground(small(), steps=2), 0)
    assert first["slope"] == [None, None] and first["loss"] is None and first["batch"] == []


def test_your_model_and_the_random_numbers_stay_as_they_are_until_you_ask():
    model = small()
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    expected = md.randn(2).tolist()
    md.manual_seed(5)
    model = small()
    playground = Playground(nn.Sequential(*model, nn.Dropout(0.5)), steps=5)
    assert md.randn(2).tolist() == expected
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    playground.seek(3)
    assert playground.hand_back() is playground.model
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), playground.runs[0].weights[3]["0.weight"])
    playground.hand_back(0)
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), before["0.weight"])
    with pytest.raises(ArgumentError, match=r"no such step.*\n.*asked for +9"):
        playground.hand_back(9)
    with pytest.raises(ArgumentError, match="there is no fork"):
        playground.hand_back(fork=True)


def test_dropout_draws_the_same_whatever_the_notebook_drew_before():
    model = nn.Sequential(*small()[:2], nn.Dropout(0.5), nn.Linear(4, 1))
    first = Playground(model, steps=4).trace
    md.randn(3)
    assert Playground(model, steps=4).trace == first


def test_shade_is_darker_where_the_model_is_surer():
    model = nn.Linear(2, 1)
    model.weight.data.array[...], model.bias.data.array[...] = [[4.0, 0.0]], -2.0
    text = unpacked(row(Playground(model, steps=1, lr=0.0), 0)["answers"])[:GRID]
    levels = [(ord(letter) - 65) % 4 * (1 if (ord(letter) - 65) // 4 else -1) for letter in text]
    assert levels == sorted(levels) and {-3, 0, 3} <= set(levels)


def test_same_seeds_same_trace_and_each_seed_does_what_it_says():
    playground = Playground(small(), steps=4)
    md.manual_seed(77)
    assert playground.trace == Playground(small(), steps=4).trace
    other = Playground(small(), steps=4, batch_seed=1)
    assert row(other, 1)["batch"] != row(playground, 1)["batch"]
    assert other.trace.figure["points"] == playground.trace.figure["points"]
    assert Playground(small(), steps=4, data_seed=1).trace.figure["points"] != playground.trace.figure["points"]


# ---------------------------------------------------------------------- the picture's numbers
@pytest.mark.parametrize("outputs", [1, 3])
def test_shade_is_the_answer_of_the_model_at_the_middle_of_each_cell(outputs):
    playground = Playground(small(outputs), "blobs" if outputs == 3 else "moons", steps=8, lr=1.0, points=100)
    model, figure = playground.hand_back(-1), playground.trace.figure
    x = playground._plan().draw()[0]
    points = np.array(figure["points"][0]["at"])
    slope = (points[:, 0].max() - points[:, 0].min()) / (x[:, 0].max() - x[:, 0].min())
    left, top = x[0, 0] - points[0, 0] / slope, x[0, 1] + points[0, 1] / slope
    text, agreed = unpacked(row(playground)["answers"]), 0
    assert len(text) == GRID * GRID
    for k, letter in enumerate(text):
        px = ((k % GRID + 0.5) / GRID * SIDE, (k // GRID + 0.5) / GRID * SIDE)
        out = model(md.tensor([[left + px[0] / slope, top - px[1] / slope]])).detach().numpy()[0]
        agreed += (ord(letter) - 65) // 4 == (out.argmax() if outputs == 3 else int(out[0] > 0))
    assert agreed >= GRID * GRID - 2                      # a cell on the border may round to either side


def test_thumbnail_is_the_units_value_over_the_plane():
    playground = Playground(small(), steps=3)
    model, figure = playground.hand_back(-1), playground.trace.figure
    text = unpacked(row(playground)["thumbs"][0][2])
    x, points = playground._plan().draw()[0], np.array(figure["points"][0]["at"])
    slope = (points[:, 0].max() - points[:, 0].min()) / (x[:, 0].max() - x[:, 0].min())
    half = SIDE / GRID / 2
    corner = [x[0, 0] - (points[0, 0] - half) / slope, x[0, 1] + (points[0, 1] - half) / slope]
    value = model[1](model[0](md.tensor([corner]))).detach().numpy()[0, 2]
    assert len(text) == (GRID // 2) ** 2
    assert (LEVELS.index(text[0]) - 6) / 6 == pytest.approx(value / figure["values"][0], abs=0.1)


def test_packing_is_undone():
    for text in ("", "a", "aaab", "?" * 81, "abcabc", "m" * 12 + "a"):
        assert unpacked(packed(text)) == text


# ---------------------------------------------------------------------- wiring
def test_wiring_is_found_for_layers_of_any_kind():
    md.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Turned(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    assert columns(model) == [Column("0 Linear, 1 ReLU", 1, 3, "0.weight", False, "0.bias"),
                              Column("2 Turned, 3 BatchNorm1d", 3, 3, "2.w", True, ""),
                              Column("4 Linear", 4, 2, "4.weight", False, "4.bias")]
    playground = Playground(model, steps=2)
    np.testing.assert_allclose(row(playground)["weight"][1], playground.runs[0].weights[2]["2.w"].T, rtol=5e-3)


def test_model_of_any_class_has_its_columns_in_the_order_of_the_calls():
    playground = Playground(Own(), "spirals", steps=3)
    assert [c.name for c in playground.columns] == ["hidden Linear", "out Linear"]
    assert playground.classes == 3 and row(playground)["slope"][1] is not None


def test_more_units_than_fit_are_named():
    playground = Playground(nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 1)), steps=2)
    assert "Of 0 Linear, 1 ReLU the first 8 units are shown." in playground.describe()
    assert np.shape(row(playground)["weight"][0]) == (8, 2) and np.shape(row(playground)["weight"][1]) == (1, 8)


def test_single_layer_is_a_model_too():
    assert [c.weight for c in Playground(nn.Linear(2, 1), steps=2).columns] == ["weight"]


# ---------------------------------------------------------------------- forks
def test_fork_has_the_same_past_and_one_thing_changed():
    playground = Playground(small(), steps=8, fork_by="lr", fork_to="2.5", fork_at=3)
    main, fork = playground.runs
    for t in range(4):
        np.testing.assert_array_equal(main.weights[t]["0.weight"], fork.weights[t]["0.weight"])
    alone = Playground(small(), steps=8).runs[0]
    np.testing.assert_array_equal(alone.weights[8]["2.weight"], main.weights[8]["2.weight"])
    step = fork.weights[4]["2.weight"] - fork.weights[3]["2.weight"]
    np.testing.assert_allclose(step, -2.5 * main.slopes[4]["2.weight"], rtol=1e-4, atol=1e-7)
    assert all((a == b).all() for a, b in zip(main.batches[1:], fork.batches[1:]))
    assert "lr 2.5 from step 3 on" in playground.describe()
    assert playground.hand_back(-1, fork=True).state_dict()["2.weight"].tolist() == fork.weights[8]["2.weight"].tolist()


@pytest.mark.parametrize("by, to", [("noise", "0.4"), ("optimizer", "Adam"), ("batch_size", "60")])
def test_fork_from_the_first_weights_is_what_a_run_with_that_setting_is(by, to):
    playground = Playground(small(), steps=5, fork_by=by, fork_to=to)
    setting = to if by == "optimizer" else int(to) if by == "batch_size" else float(to)
    alone = Playground(small(), steps=5, **{by: setting})
    np.testing.assert_array_equal(playground.runs[1].weights[5]["0.weight"], alone.runs[0].weights[5]["0.weight"])
    assert (playground.runs[0].weights[5]["0.weight"] != alone.runs[0].weights[5]["0.weight"]).any()
    assert row(playground, run=1)["points"] == int(by != "lr") and len(playground.trace.figure["points"]) == 2


class Mine(optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, dict(lr=lr))

    def update(self, xp, p, g, state, lr):
        p -= lr * g


def test_own_optimiser_trains_and_is_offered():
    playground = Playground(small(), optimizer=Mine, steps=4, fork_by="optimizer", fork_to="SGD")
    np.testing.assert_array_equal(*(run.weights[4]["0.weight"] for run in playground.runs))
    assert playground.optimizer == "Mine" and "Mine" in playground.trace.figure["optimizers"]


# ---------------------------------------------------------------------- what is not finite
def test_first_number_that_is_not_finite_is_named_with_its_layer_step_and_op():
    md.manual_seed(2)
    playground = Playground(nn.Sequential(nn.Linear(2, 4), Exp(), nn.Linear(4, 1)), lr=300.0)
    last = row(playground)
    t = last["t"]
    assert last["broken"] == f"step {t}, layer 1 (Exp): exp: Inf came out of numbers without any." and t < 40
    assert all(np.isfinite(run["train"][0]) for frame in list(playground.trace)[:t - 1] for run in frame.data["runs"])
    assert last["broken"] in playground.describe() and "×" in playground.svg()
    assert "?" in last["answers"]


def test_update_that_is_too_long_is_told_apart_from_a_bad_op():
    playground = Playground(nn.Linear(2, 1), lr=1e39, steps=5)
    assert "the update: the gradients are finite, the weights no longer" in row(playground)["broken"]


def test_run_that_explodes_at_its_end_leaves_the_weights_before_to_be_seen():
    md.manual_seed(2)
    playground = Playground(nn.Sequential(nn.Linear(2, 4), Exp(), nn.Linear(4, 1)), lr=300.0)
    tops = sorted(max(np.abs(w[name]).max() for name in ("0.weight", "2.weight")) for w in playground.runs[0].weights)
    assert playground.trace.figure["weight"] <= 20.5 * tops[len(tops) // 2]


# ---------------------------------------------------------------------- data and mistakes
def test_own_points():
    x, y = md.data.spirals(60, generator=Generator().manual_seed(1))
    playground = Playground(small(3), data=(x, y), steps=3)
    assert playground.data == "yours" and playground.trace.figure["points"][0]["class"] == y.tolist()


@pytest.mark.parametrize("change, says", [
    ({"data": "rings"}, r"no such data set.*\n.*rings\nTry: moons, spirals, blobs"),
    ({"optimizer": "Lion"}, r"no such optimizer.*\n.*Lion\nTry: SGD"),
    ({"points": 3}, "points must be from 8"),
    ({"steps": 0}, "steps must be from 1"),
    ({"lr": -1.0}, "lr must be from 0"),
    ({"fork_by": "lr", "fork_to": "fast"}, r"lr of the fork is a number.*\n.*fast"),
    ({"fork_by": "optimizer", "fork_to": "Lion"}, "no such optimizer"),
    ({"fork_by": "batch_size", "fork_to": "0"}, "batch_size must be from 1"),
    ({"fork_at": 99}, "fork_at must be from 0 to 40"),
])
def test_mistakes_become_the_error_line(change, says):
    playground = Playground(small())
    before = playground.trace
    playground.edit(**change)
    assert re.search(says, playground.error) and playground.trace is before


def test_mistakes_of_the_constructor():
    with pytest.raises(ShapeError, match=r"points of the plane, N 2(.*\n)+Try: nn.Linear\(2"):
        Playground(nn.Linear(3, 1))
    with pytest.raises(ShapeError, match="a score for each class"):
        Playground(nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (2, 2))))
    with pytest.raises(ArgumentError, match="the first argument is a model"):
        Playground(lambda x: x)
    with pytest.raises(ShapeError, match=r"a pair of points, N 2, and their classes"):
        Playground(small(), data=(np.zeros((9, 3)), np.zeros(9)))
    with pytest.raises(ArgumentError, match="too few outputs"):
        Playground(small(), data=(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 3))


# ---------------------------------------------------------------------- words and pictures
def test_everything_on_the_screen_is_said():
    playground = Playground(small(), steps=3, fork_by="lr", fork_to="1")
    said = playground.describe()
    for t in range(4):
        for run in (0, 1):
            assert md.viz.theme.number(row(playground, t, run)["train"][0]) in said
    weight, slope = row(playground)["weight"][0][1][0], row(playground)["slope"][0][1][0]
    assert f"{md.viz.theme.number(weight)} from x (∂ {md.viz.theme.number(slope)})" in said
    assert "seeds: data 0, batches 0" in said and "Dashed line" in said
    assert unit_line(playground.trace.figure, row(playground, run=1), 2, 0) in said


def test_picture_has_an_edge_for_each_weight_and_a_dashed_one_for_each_gradient():
    root = ElementTree.fromstring(Playground(small(), steps=2).svg())
    edges = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("stroke-opacity") == "0.75"]
    assert sum(e.get("stroke-dasharray") is None for e in edges) == 12
    assert sum(e.get("stroke-dasharray") == "4 3" for e in edges) == 12


def test_trace_keeps_its_size():
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    playground = Playground(model, lr=1.0)
    assert playground.trace.left_out == 0 and len(playground.trace.json.encode()) < 200_000
