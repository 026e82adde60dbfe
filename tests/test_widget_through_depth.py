"""Signals through depth without a page: beside a loop in NumPy and beside the law; words, guesses, the picture."""
import math
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError
from minidl.random import Generator

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import SignalThroughDepth
from minidl.widgets.through_depth import ACTIVATIONS, FATES, INITS, curve_range, fate, shares, theory

BENDS = {"tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
         "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
         "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
         "none": (lambda z: z, np.ones_like)}


def by_loop(activation, s, depth, width):
    """Signals and gradients by the chain rule in float64, from the same draw."""
    generator = Generator(0)
    stream = generator.stream("cpu")
    h, g = stream.standard_normal((100, width)), stream.standard_normal((100, width))
    f, slope = BENDS[activation]
    signals, steps = [h], []
    for _ in range(depth):
        w = md.empty(width, width).normal_(0.0, s, generator=generator).numpy().astype(float)
        z = signals[-1] @ w.T
        signals.append(f(z))
        steps.append((w, slope(z)))
    gradients = [g]
    for w, along in reversed(steps):
        gradients.append((gradients[-1] * along) @ w)
    return np.stack(signals), np.stack(gradients[::-1])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_signals_and_gradients_are_those_of_a_loop(activation):
    v = SignalThroughDepth(activation=activation, depth=7, width=20, s=0.25).values()
    signals, gradients = by_loop(activation, 0.25, 7, 20)
    for name, expected in (("h", signals), ("g", gradients)):
        np.testing.assert_allclose(v[name], expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(v["signal"], np.sqrt((signals ** 2).mean(axis=(1, 2))), rtol=1e-4)
    np.testing.assert_allclose(v["gradient"], np.sqrt((gradients ** 2).mean(axis=(1, 2))), rtol=1e-4)
    asleep = (lambda layer: layer <= 0) if activation == "relu" else (lambda layer: layer > 2)     # the others: never
    dead = [asleep(layer).all(axis=0).mean() for layer in signals[1:]]
    np.testing.assert_allclose(v["dead"], dead, atol=1e-12)


@pytest.mark.parametrize("activation, name", [(a, i) for a in ACTIVATIONS for i in INITS])
def test_wide_layers_follow_the_law(activation, name):
    v = SignalThroughDepth(activation=activation, init=name, width=128, depth=8, s=0.08).values()
    loose = 0.45 if activation == "relu" else 0.2                # a wrong gain is off by log √2 in each of 8 layers
    np.testing.assert_allclose(np.log(v["signal"]), np.log(v["law"]), atol=loose)
    np.testing.assert_allclose(np.log(v["gradient"]), np.log(v["law back"]), atol=loose)


def test_the_law_is_exact_where_it_can_be_written_down():
    k = np.arange(6)
    for factor in (0.5, 1.0, 2.0):
        for activation, kept in (("none", factor), ("relu", factor / 2)):
            forward, back = theory(activation, factor, 5)
            np.testing.assert_allclose(forward, kept ** (k / 2))
            np.testing.assert_allclose(back, kept ** ((5 - k) / 2))
    drawn = np.random.default_rng(0).normal(size=2_000_000)
    assert theory("tanh", 4.0, 1)[0][1] == pytest.approx(np.sqrt(np.mean(np.tanh(2 * drawn) ** 2)), abs=1e-3)


@pytest.mark.parametrize("name, s", [("default", 1 / math.sqrt(300)), ("Xavier", 0.1), ("He", math.sqrt(2) / 10),
                                     ("own s", 0.07)])
def test_weights_are_drawn_as_each_init_says(name, s):
    widget = SignalThroughDepth(init=name, activation="relu", s=0.07)
    assert widget.deviation() == pytest.approx(s)
    w = widget._draw(Generator(3)).numpy()
    assert w.std() == pytest.approx(s, rel=0.03) and abs(w.mean()) < 0.03 * s
    assert (abs(w).max() <= 0.1) == (name == "default")


def test_the_random_state_of_the_learner_is_left_alone():
    md.manual_seed(0)
    first = md.randn(3).tolist()
    md.manual_seed(0)
    assert SignalThroughDepth(depth=2).trace == SignalThroughDepth(depth=2).trace
    assert md.randn(3).tolist() == first


@pytest.mark.parametrize("settings, signal, gradient", [
    (dict(s=0.05), "dies", "dies"), (dict(s=0.1), "lives", "lives"), (dict(s=0.3), "lives", "explodes"),
    (dict(activation="relu", init="Xavier"), "dies", "dies"), (dict(activation="relu", init="He"), "lives", "lives"),
    (dict(activation="relu", init="default"), "dies", "dies"),
    (dict(activation="none", s=0.2), "explodes", "explodes"),
    (dict(activation="none", init="Xavier"), "lives", "lives"),
    (dict(activation="sigmoid", init="Xavier"), "lives", "dies")])
def test_what_becomes_of_both_and_what_was_guessed(settings, signal, gradient):
    widget = SignalThroughDepth(**settings)
    assert f"The signal {signal}, the gradient {gradient}." in widget.describe()
    for guess in FATES:
        widget.guess = guess
        right = guess == (signal if gradient == "lives" else gradient)
        assert f"You said {guess}: {'right' if right else 'not so'}." in widget.describe()
    assert fate(math.nan) == fate(math.inf) == "explodes"


def test_a_question_comes_first_and_a_guess_or_the_last_step_shows_all():
    widget = SignalThroughDepth(depth=3)
    assert widget.index == 0 and widget.frame.phase == "question" and "does one explode?" in widget.frame.text
    assert [f.data["layer"] for f in widget.trace] == [0, 1, 2, 3, 3, 2, 1, 0]
    widget.s = 0.2
    assert widget.index == 0
    widget.guess = "lives"
    assert widget.index == 7
    widget.depth = 5
    assert widget.index == len(widget.trace) - 1 == 11
    widget.seek(3)
    widget.depth = 6
    assert widget.index == 3


def test_histograms_hold_every_number():
    layers = np.stack([np.array([[-9.0, -0.1, 0.0, 0.1, 9.0]]), np.array([[np.nan, np.inf, 0.9, 0.9, 0.9]])])
    found = shares(layers, 1.0, bins=5)
    np.testing.assert_allclose(found, [[0.2, 0, 0.6, 0, 0.2], [0, 0, 0, 0, 0.6]])
    v = SignalThroughDepth(depth=4).trace.figure
    np.testing.assert_allclose(np.sum(v["h"], axis=1), 1, atol=2e-3)
    rng = np.random.default_rng(0).normal(size=(3, 10, 20))
    for row, layer in zip(shares(rng, 3.0), rng):
        np.testing.assert_allclose(row, np.histogram(np.clip(layer, -2.999, 2.999), 21, (-3, 3))[0] / 200)


def test_the_picture_holds_what_has_arrived():
    widget = SignalThroughDepth(depth=4, activation="relu", init="Xavier")

    def dots(i):
        root = ElementTree.fromstring(widget.svg(i))
        return sum(e.tag.endswith("circle") for e in root.iter())
    assert [dots(i) for i in (0, 2, 4, 5, 9)] == [1, 3, 5, 5 + 1, 5 + 5]
    assert "Dead units" in SignalThroughDepth(activation="relu", init="He").describe() and "before relu" in widget.svg()
    assert curve_range([[1e-30, 1.0], [math.inf]]) == (-12, 2)


@pytest.mark.parametrize("settings, says", [
    (dict(depth=0), "depth cannot be 0"), (dict(depth=41), "depth cannot be 41"), (dict(width=4), "width cannot be 4"),
    (dict(s=0.0), "s cannot be 0"), (dict(activation="gelu"), "no activation 'gelu'"),
    (dict(init="zeros"), "no init 'zeros'"), (dict(guess="maybe"), "no guess 'maybe'")])
def test_what_cannot_be_shown_is_refused(settings, says):
    with pytest.raises(ArgumentError, match=says):
        SignalThroughDepth(**settings)
    widget = SignalThroughDepth(depth=2)
    widget.edit(**settings)
    assert says.split("'")[0].strip() in widget.error
