"""The optimiser race without a browser: paths against NumPy's, fairness, bounds, reasons, words, pictures."""
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import optim
from minidl.errors import ArgumentError, ShapeError

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')
pytest.importorskip("contourpy", reason='needs matplotlib: pip install "minidl[lab]"')

from minidl.widgets import OptimiserRace
from minidl.widgets.race import MAP, TURN, corners, limit_of_sgd, quadratic, run_lane


class Plain(optim.Optimizer):
    """What a learner writes first."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, dict(lr=lr))

    def update(self, xp, p, g, state, lr):
        p -= lr * g


def hessian(condition):
    c, s = TURN
    axes = np.array([[c, s], [-s, c]])
    return axes.T @ np.diag([1.0, condition]) @ axes


def places(race, name):
    k = [entrant[0] for entrant in race.entrants].index(name)
    return np.array([frame.data["lanes"][k]["place"] for frame in race.trace])


def last_rows(race):
    return {lane["name"]: row for lane, row in zip(race.trace.figure["lanes"], race.trace.frame(-1).data["lanes"])}


# ---------------------------------------------------------------------- the paths
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_paths_are_those_of_the_formulas(noise):
    race = OptimiserRace({"SGD": (optim.SGD, dict(lr=0.07)), "heavy": (optim.SGD, dict(lr=0.03, momentum=0.8)),
                          "Adam": (optim.Adam, dict(lr=0.2)), "mine": (Plain, dict(lr=0.07))},
                         steps=12, noise=noise, seed=4)
    w = {name: np.array([-2.0, 0.4]) for name in ("SGD", "heavy", "Adam")}
    m, a, v = np.zeros((3, 2))
    for t, shift in enumerate(race.batches(), 1):
        slope = {name: hessian(20.0) @ (place - shift) for name, place in w.items()}
        w["SGD"] = w["SGD"] - 0.07 * slope["SGD"]
        m = 0.8 * m + slope["heavy"]
        w["heavy"] = w["heavy"] - 0.03 * m
        a, v = 0.9 * a + 0.1 * slope["Adam"], 0.999 * v + 0.001 * slope["Adam"] ** 2
        w["Adam"] = w["Adam"] - 0.2 * (a / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        for name, place in w.items():
            np.testing.assert_allclose(places(race, name)[t], place, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(places(race, "mine"), places(race, "SGD"))
    row = last_rows(race)["heavy"]
    np.testing.assert_allclose(row["state"]["momentum_buffer"], m, rtol=1e-3)
    np.testing.assert_allclose(row["loss"], w["heavy"] @ hessian(20.0) @ w["heavy"] / 2, rtol=1e-5)


@pytest.mark.parametrize("surface", ["ravine", "saddle", "plateau"])
def test_first_step_on_each_surface_follows_finite_differences(surface):
    race = OptimiserRace([(optim.SGD, dict(lr=1e-3))], surface=surface, steps=1)
    start, loss, h = np.array(race.land.start), race.land.loss, 1e-6

    def at(w):
        return loss(md.tensor(w[0], dtype=md.float64), md.tensor(w[1], dtype=md.float64)).item()
    slope = [(at(start + h * e) - at(start - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(race.last().data["lanes"][0]["slope"], slope, rtol=1e-4)


# ---------------------------------------------------------------------- fairness
class Restless(Plain):
    """Adds random numbers, from the library's own generator."""

    def update(self, xp, p, g, state, lr):
        p -= lr * g + 0.01 * md.randn(2).numpy()


def test_equal_lanes_are_equal_whatever_runs_beside_them():
    lanes = {"a": (Restless, dict(lr=0.05)), "b": (optim.Adam, dict(lr=0.1)), "c": (Restless, dict(lr=0.05))}
    race, alone = OptimiserRace(lanes, noise=0.2, steps=15), OptimiserRace([lanes["c"]], noise=0.2, steps=15)
    np.testing.assert_array_equal(places(race, "a"), places(race, "c"))
    np.testing.assert_array_equal(places(race, "c"), places(alone, "Restless"))
    turned = OptimiserRace(dict(reversed(lanes.items())), noise=0.2, steps=15)
    np.testing.assert_array_equal(places(race, "b"), places(turned, "b"))
    md.manual_seed(99)                                     # the race has a seed of its own
    assert race.trace == OptimiserRace(lanes, noise=0.2, steps=15).trace


def test_a_race_leaves_the_random_numbers_of_the_notebook_alone():
    md.manual_seed(3)
    expected = md.randn(3).tolist()
    md.manual_seed(3)
    OptimiserRace([Restless], noise=0.2, steps=5)
    assert md.randn(3).tolist() == expected


def test_seed_changes_the_batches_for_all_and_without_noise_nothing():
    race = OptimiserRace([Plain], steps=5)
    before = places(race, "Plain")
    race.seed = 1
    np.testing.assert_array_equal(places(race, "Plain"), before)
    race.noise = 0.5
    assert np.abs(places(race, "Plain") - before).max() > 0.01


class Twice(Plain):
    """Asks for the gradient a second time, from half way."""

    def step(self, closure):
        (w,) = self.param_groups[0]["params"]
        closure()
        middle = w.grad.numpy().copy()
        w.data.array[...] -= 0.5 * self.param_groups[0]["lr"] * middle
        closure()
        w.data.array[...] -= 0.5 * self.param_groups[0]["lr"] * w.grad.numpy()


class Bare:
    """No subclass of Optimizer at all."""

    def __init__(self, params, lr=0.07):
        self.params, self.lr = list(params), lr

    def step(self):
        for p in self.params:
            p.data.array[...] -= self.lr * p.grad.numpy()


def test_gradients_are_counted_and_any_object_with_step_may_run():
    race = OptimiserRace({"twice": (Twice, dict(lr=0.07)), "bare": Bare, "SGD": (optim.SGD, dict(lr=0.07))}, steps=6)
    assert [row["calls"] for row in last_rows(race).values()] == [12, 6, 6]
    np.testing.assert_array_equal(places(race, "bare"), places(race, "SGD"))


# ---------------------------------------------------------------------- who got there, and why not
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True},
                                      {"weight_decay": 3.0}])
def test_bound_of_the_learning_rate_is_where_sgd_turns_from_shrinking_to_growing(settings):
    bound, shifts = limit_of_sgd(7.0, **settings), np.zeros((400, 2))
    ends = [run_lane("", lambda p, f=f: optim.SGD(p, lr=f * bound, **settings),
                     lambda x, y: 3.5 * (x * x + y * y), (1.0, -1.0), shifts).losses[-1]
            for f in (0.97, 1.03)]
    assert ends[0] < 1e-3 and ends[1] > 1e3


def test_losing_lane_is_told_why_with_its_numbers():
    race = OptimiserRace({"fast": (optim.SGD, dict(lr=0.11)), "good": (optim.SGD, dict(lr=0.09)),
                          "slow": (optim.SGD, dict(lr=0.0005))}, condition=20.0)
    rows = last_rows(race)
    assert "lr = 0.11 is above 2/λ = 0.1, where λ = 20" in rows["fast"]["why"] and rows["fast"]["reached"] is None
    assert rows["good"]["why"] == "" and rows["good"]["fate"] == "reached"
    assert "curvature is only 1: lr times it, 0.05 %" in rows["slow"]["why"]
    assert all(rows[name]["why"] in race.describe() for name in ("fast", "slow"))
    assert [rows[name]["rank"] for name in ("good", "slow", "fast")] == [1, 2, 3]


def test_reached_is_the_step_from_which_on_the_loss_stays_within_one_percent():
    race = OptimiserRace({"heavy": (optim.SGD, dict(lr=0.03, momentum=0.8))}, steps=40)
    points = places(race, "heavy")
    losses = np.einsum("ti,ij,tj->t", points, hessian(20.0), points) / 2
    over = np.flatnonzero(losses > 0.01 * losses[0])
    assert (losses[:over[-1]] <= 0.01 * losses[0]).any()          # it was there before, and left again
    assert last_rows(race)["heavy"]["reached"] == over[-1] + 1


def test_a_touch_in_the_last_step_is_not_an_arrival():
    settings = {"SGD": (optim.SGD, dict(lr=0.03))}
    there = last_rows(OptimiserRace(settings, steps=60))["SGD"]["reached"]
    assert 1 < there < 59
    assert last_rows(OptimiserRace(settings, steps=there))["SGD"]["reached"] is None
    assert last_rows(OptimiserRace(settings, steps=there + 1))["SGD"]["reached"] == there


def test_sweep_finds_the_rate_that_trying_all_of_them_finds():
    race = OptimiserRace({"SGD": (optim.SGD, dict(lr=0.01))}, sweep=True)
    rates = [0.01 * 2.0**k for k in range(-4, 5)]
    there = {rate: last_rows(OptimiserRace([(optim.SGD, dict(lr=rate))]))["SGD"]["reached"] for rate in rates}
    best = min((rate for rate in rates if there[rate] is not None), key=there.get)
    assert last_rows(race)["SGD"]["best"]["lr"] == best
    assert f"the best of 9 learning rates is {md.viz.theme.number(best)}" in race.describe()


# ---------------------------------------------------------------------- divergence
def test_divergence_ends_the_lane_is_marked_and_stays_on_the_picture():
    race = OptimiserRace({"SGD": (optim.SGD, dict(lr=1.0)), "Adam": optim.Adam}, surface="ravine")
    row = last_rows(race)["SGD"]
    assert row["fate"] == "diverged" and row["k"] < 10 and len(race.trace) == 41
    left, top, right, low = MAP["left"], MAP["top"], MAP["left"] + MAP["width"], MAP["top"] + MAP["height"]
    assert left <= row["tag"][0] <= right and top <= row["tag"][1] <= low
    texts = [t.text for t in ElementTree.fromstring(race.svg()).iter("{http://www.w3.org/2000/svg}text")]
    assert "×" in texts and "SGD diverged" in texts and "× SGD" in texts


def test_first_op_that_is_not_finite_is_named():
    race = OptimiserRace({"SGD": (optim.SGD, dict(lr=20.0))}, loss=lambda x, y: x.log() ** 2 + y**2, x=(0.01, 3.0),
                         y=(-1.0, 1.0), start=[2.0, 0.0])
    row = last_rows(race)["SGD"]
    assert row["fate"] == "diverged" and np.isnan(row["loss"]) and "log: NaN came out" in row["why"]


# ---------------------------------------------------------------------- changes and mistakes
def test_settings_are_changed_as_text():
    race = OptimiserRace({"mine": (Plain, dict(lr=0.01)), "Adam": optim.Adam}, steps=3)
    race.edit(settings=["lr=0.07", "lr=0.1, betas=(0.8, 0.9)"])
    assert race.error == ""
    expected = OptimiserRace([(Plain, dict(lr=0.07))], steps=3)
    np.testing.assert_array_equal(places(race, "mine"), places(expected, "Plain"))


@pytest.mark.parametrize("change, says", [
    ({"settings": ["lr="]}, r"cannot be read.*\n +got +lr=\nTry: lr=0.1"),
    ({"settings": ["0.1"]}, "cannot be read"),
    ({"settings": ["speed=1"]}, r"cannot be made.*\n.*speed=1\n.*\nTry: its settings are lr, momentum"),
    ({"settings": ["lr=-1"]}, "lr must be 0 or more"),
    ({"settings": []}, "every lane needs its settings"),
    ({"surface": "hill"}, r"no such surface.*\n.*hill\nTry: quadratic"),
    ({"start": [1.0]}, "the start is two finite numbers"),
    ({"steps": 0}, "steps must be from 1 to 200"),
    ({"condition": 0.5}, "condition must be from 1"),
])
def test_mistakes_become_the_error_line(change, says):
    race = OptimiserRace([(optim.SGD, dict(lr=0.1))], steps=2)
    race.edit(**change)
    assert re.search(says, race.error)


def test_mistakes_of_the_constructor():
    with pytest.raises(ArgumentError, match="a lane is an optimiser class"):
        OptimiserRace([3])
    with pytest.raises(ArgumentError, match="cannot be told apart"):
        OptimiserRace([optim.SGD] * 7)
    with pytest.raises(ShapeError, match=r"entry by entry(.*\n)+Try: leave out .sum"):
        OptimiserRace([Plain], loss=lambda x, y: (x * x + y * y).sum())
    with pytest.raises(ArgumentError, match="not finite anywhere"):
        OptimiserRace([Plain], loss=lambda x, y: (x - 9).log() + y)


def test_own_surface_uses_the_lowest_loss_that_was_seen():
    race = OptimiserRace([(Plain, dict(lr=0.2))], loss=lambda x, y: 5 + (x - 0.5) ** 2 + y**2, steps=60)
    row = last_rows(race)["Plain"]
    assert race.surface == "yours" and row["reached"] == 5       # 0.6^(2 k) < 0.01 from k = 5 on; and 5 is not 0
    np.testing.assert_allclose(row["place"], [0.5, 0.0], atol=1e-5)


# ---------------------------------------------------------------------- words and pictures
def test_everything_on_the_screen_is_said():
    race = OptimiserRace(noise=0.1, steps=10, sweep=True)
    said = race.describe()
    for word in ("Same start", "the same 10 batches", "seed 0", "Lane momentum: SGD(lr=0.03, momentum=0.8).",
                 "exp_avg_sq", "gradients so far", "Why RMSprop did not get there", "the best of 9", "Arrow:", "Box:"):
        assert word in said
    assert len(race.trace.json.encode()) < 200_000 and race.trace.left_out == 0


def test_picture_has_the_paths_up_to_its_step_each_with_a_dash_of_its_own():
    race = OptimiserRace(steps=8)
    lanes = [e for e in ElementTree.fromstring(race.svg(3)).iter("{http://www.w3.org/2000/svg}path")
             if "--md-lane" in e.get("style", "")]
    assert [e.get("d").count("L") for e in lanes] == [3] * 8
    assert len({e.get("stroke-dasharray") for e in lanes}) == 4
    names = "".join(ElementTree.fromstring(race.svg(3)).itertext())
    assert all(names.count(name) >= 2 for name in ("SGD", "momentum", "RMSprop", "Adam"))


def test_labels_do_not_lie_on_each_other():
    race = OptimiserRace(steps=60)
    for frame in race.trace:
        for at in ("tag_y", "end_y"):
            assert np.diff(sorted(row[at] for row in frame.data["lanes"])).min() >= 13.9


def test_quadratic_has_the_curvatures_it_is_said_to_have():
    bent = md.func.hessian(lambda w: quadratic(30.0)(w[0], w[1]))(md.tensor([0.3, -0.2], dtype=md.float64)).numpy()
    np.testing.assert_allclose(np.linalg.eigvalsh(bent), [1.0, 30.0])


def area(points):
    """Of a closed line, by the shoelace formula; the sign says which way round it goes."""
    x, y = np.asarray(points, dtype=float).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


def test_a_line_keeps_its_corners_and_nothing_else():
    straight = np.array([[0, 0], [1, 0], [2, 0], [2, 0], [4, 0], [4, 2], [4, 4], [2, 2]], dtype=float)
    assert corners(straight).tolist() == [[0, 0], [4, 0], [4, 4]]
    spike = np.array([[0, 0], [2, 0], [3, 0], [2, 0], [2, 2], [0, 2]], dtype=float)
    assert corners(spike).tolist() == spike[[0, 2, 3, 4, 5]].tolist()          # its tip lies between nothing
    rng = np.random.default_rng(0)
    for _ in range(50):
        rough = np.round(np.cumsum(rng.integers(-1, 2, size=(40, 2)), axis=0) / 10, 1)
        assert area(corners(rough)) == pytest.approx(area(rough), abs=1e-9)
