"""Gradients through time without a page: beside a loop in NumPy, what is said, what is drawn, what is refused."""
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import GradientThroughTime
from minidl.widgets.through_time import curve_range, radius_of, share

SLOPES = {"tanh": lambda z: 1 - np.tanh(z) ** 2, "relu": lambda z: (z > 0) * 1.0, "none": np.ones_like}
BENDS = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0), "none": lambda z: z}


def rnn_of(size=3, inputs=2, **settings):
    md.manual_seed(1)
    return nn.RNN(inputs, size, **settings)


def sequence(*shape):
    return md.tensor(np.random.default_rng(2).standard_normal(shape))


def lengths(from_x, w, bend):
    """How long dL/dh is at each step, by the chain rule: g <- W' (slope g)."""
    h, slopes = np.zeros(len(w)), []
    for row in from_x:
        z = row + w @ h
        h = BENDS[bend](z)
        slopes.append(SLOPES[bend](z))
    g = np.random.default_rng(1).normal(size=len(w))
    found = [g / np.linalg.norm(g)]
    for slope in slopes[:0:-1]:
        found.append(w.T @ (slope * found[-1]))
    return np.linalg.norm(found[::-1], axis=1)


@pytest.mark.parametrize("bend", SLOPES)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_an_own_rnn_are_those_of_a_loop(bend, bias):
    rnn, x = rnn_of(bias=bias), sequence(12, 2)
    before = [p.detach().numpy().copy() for p in rnn.parameters()]
    widget = GradientThroughTime(rnn, x, radius=1.2, bend=bend)
    w_ih, w_hh, *biases = (p.astype(float) for p in before)
    w = w_hh * 1.2 / np.abs(np.linalg.eigvals(w_hh)).max()
    expected = lengths(x.numpy() @ w_ih.T + sum(biases, 0 * w[0]), w, bend)
    v = widget.values()
    np.testing.assert_allclose(v["length"], expected, rtol=1e-10)
    np.testing.assert_allclose(widget.trace.figure["length"], expected, rtol=1e-4)
    np.testing.assert_allclose(v["w"], w)
    assert all(np.array_equal(p.detach().numpy(), old) for p, old in zip(rnn.parameters(), before))
    assert all(p.grad is None for p in rnn.parameters())


def test_an_own_rnn_is_first_shown_as_it_is():
    rnn, x = rnn_of(), sequence(5, 2)
    widget = GradientThroughTime(rnn, x)
    np.testing.assert_allclose(widget.values()["h"], rnn(x.to(md.float32))[0].detach().numpy(), atol=1e-6)
    assert widget.radius == pytest.approx(radius_of(rnn.weight_hh_l0.detach().numpy()), rel=1e-6) and widget.steps == 5
    assert GradientThroughTime(rnn_of(nonlinearity="relu"), x).bend == "relu"


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5])
def test_an_orthogonal_start_without_bend_follows_the_law_exactly(radius):
    v = GradientThroughTime(radius=radius, start="orthogonal", bend="none", steps=20).values()
    np.testing.assert_allclose(v["length"], radius ** np.arange(19, -1, -1.0), rtol=1e-9)
    np.testing.assert_allclose(v["length"], v["law"], rtol=1e-9)


def test_words_say_what_became_of_the_gradient():
    widget = GradientThroughTime(radius=0.5, start="orthogonal", bend="none", steps=11)
    told = widget.describe()
    assert "Over 10 steps the gradient vanishes: from length 1 to 0.000977." in told
    assert "0.5 to the power of 10, 0.000977" in told and "0.5 times that at t = 1" in told
    widget.radius = 2.0
    assert "the gradient explodes: from length 1 to 1020." in widget.describe()
    widget.radius = 1.0
    assert "the gradient lasts: from length 1 to 1." in widget.describe()
    assert "t = 1: h = tanh(input + W h); the slope there is" in GradientThroughTime(steps=4).trace.frame(1).text


def test_the_last_frame_is_shown_first_and_frames_go_forward_and_back():
    widget = GradientThroughTime(steps=4)
    assert widget.index == 7 and [f.data["t"] for f in widget.trace] == [0, 1, 2, 3, 3, 2, 1, 0]
    assert [phase.name for phase in widget.trace.phases] == ["forward", "backward"]
    widget.radius = 0.3
    assert widget.index == 7 and widget.trace.figure["radius"] == 0.3 and widget.error == ""


def test_the_picture_holds_what_has_arrived_and_nothing_else():
    widget = GradientThroughTime(steps=6, radius=1.0)

    def cells(i):
        root = ElementTree.fromstring(widget.svg(i))
        return sum("fill-opacity" in e.attrib for e in root.iter())
    legend = 8                                   # the faintest two have no colour
    assert cells(3) == legend and cells(6) - legend == 8 and cells(8) - legend == 3 * 8 and cells(11) - legend == 6 * 8
    assert "Over 5 steps" in widget.svg()


def test_what_is_beyond_a_float_is_said_and_drawn():
    widget = GradientThroughTime(rnn_of(2, 1), sequence(60, 1) * 1e300, radius=3.0, bend="none")
    assert "×" in widget.svg() or "▴" in widget.svg()
    assert np.isfinite(widget.values()["length"]).all() and "explodes" in widget.describe()


def test_shades_and_ranges():
    assert share(1e-6) == 0 and share(-1e-6) == 0 and share(100) == 1 and share(1e-2) == 0.5
    assert curve_range([[0.0, -3.2], [None]]) == (-4, 2) and curve_range([[40.0, -40.0]]) == (-12, 12)


@pytest.mark.parametrize("make, says", [
    (lambda: GradientThroughTime(nn.LSTM(1, 2)), "one layer and one direction"),
    (lambda: GradientThroughTime(nn.RNN(1, 2, num_layers=2)), "one layer and one direction"),
    (lambda: GradientThroughTime(nn.RNN(1, 25)), "does not fit into a picture"),
    (lambda: GradientThroughTime(radius=3.5), "radius cannot be 3.5"),
    (lambda: GradientThroughTime(steps=1), "steps cannot be 1"),
    (lambda: GradientThroughTime(bend="sin"), "no bend 'sin'"),
    (lambda: GradientThroughTime(start="zero"), "no start 'zero'"),
])
def test_what_cannot_be_shown_is_refused(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()


def test_sequences_that_do_not_fit_are_refused():
    for shape in ((3,), (4, 1), (1, 2), (61, 2)):
        with pytest.raises(ShapeError, match="cannot be read or drawn"):
            GradientThroughTime(rnn_of(), sequence(*shape))
    nilpotent = rnn_of()
    with md.no_grad():
        nilpotent.weight_hh_l0.copy_(md.tensor([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    assert GradientThroughTime(nilpotent, sequence(5, 2)).values()["length"][0] == 0
    with pytest.raises(ArgumentError, match="cannot be scaled"):
        GradientThroughTime(nilpotent, sequence(5, 2), radius=0.5)


def test_a_change_that_is_wrong_becomes_the_error():
    widget = GradientThroughTime(x=sequence(8, 1))
    assert widget.steps == 8
    widget.edit(steps=9)
    assert "has its own length" in widget.error
    widget.edit(steps=8, radius=1.1)
    assert widget.error == "" and widget.trace.figure["radius"] == 1.1
