"""Draw a digit, without a browser: every number against NumPy or minidl's own autograd."""
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.data import MNIST10k
from minidl.errors import ArgumentError, ShapeError

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import DigitPad
from minidl.widgets.activity import activity, letters, shares
from minidl.widgets.digitpad import _resizing, centred, nudge


def lenet():
    md.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Tanh(),
                         nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(216, 10))


def mlp():
    md.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 10))


@pytest.fixture
def pad():
    pad = DigitPad(lenet(), "nothing yet", example=5)
    yield pad
    pad.close()


@pytest.fixture(scope="module")
def digit():
    return np.asarray(MNIST10k(train=False).data[5]) / 255


# ---------------------------------------------------------------------- layers
def test_layers_hold_what_the_model_computes_and_it_is_left_as_it_was(digit):
    model = lenet()
    model[7].training = False                                  # dropout alone is in evaluation mode
    modes = [m.training for m in model.modules()]
    x = md.tensor(digit.reshape(1, 1, 28, 28).astype(np.float32))
    layers, answer = activity(model, x)
    assert [layer.name for layer in layers] == ["0", "1", "2", "3", "4", "5", "8"]      # flatten and dropout hand on
    assert [m.training for m in model.modules()] == modes and modes.count(False) == 1
    found = {layer.name: layer.made for layer in layers}
    for k, module in enumerate(model.eval()):
        x = module(x)
        if str(k) in found:
            np.testing.assert_array_equal(found[str(k)], x.host_array()[0])
    np.testing.assert_array_equal(answer, x.host_array()[0])
    assert all(not m._hooks for m in model.modules())


@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"dilation": 2}])
def test_a_unit_of_a_convolution_is_the_sum_of_what_it_shows(digit, settings):
    layers, _ = activity(nn.Sequential(nn.Conv2d(1, 4, 5, padding=2, **settings), nn.Conv2d(4, 6, (3, 2), groups=2)),
                         md.tensor(digit.reshape(1, 1, 28, 28).astype(np.float32)))
    for layer, places in [(layers[0], [(2, 7, 8), (0, 0, 0), (3, *(n - 1 for n in layers[0].made.shape[1:]))]),
                          (layers[1], [(4, 3, 5), (0, 0, 1)])]:
        for place in places:
            unit = layer.unit(place)
            assert unit.products.sum() + unit.bias == pytest.approx(unit.value, abs=1e-5)
            assert unit.value == layer.made[place]
    assert layers[0].unit((0, 0, 0)).inside.sum() < 25


def test_units_of_pools_dense_layers_and_activations(digit):
    layers, _ = activity(lenet(), md.tensor(digit.reshape(1, 1, 28, 28).astype(np.float32)))
    assert np.nanmax(layers[2].unit((1, 6, 7)).given) == layers[2].made[1, 6, 7]
    assert layers[5].unit((2, 3, 3)).given.mean() == pytest.approx(layers[5].made[2, 3, 3], rel=1e-5)
    assert np.tanh(layers[4].unit((2, 3, 3)).given.item()) == pytest.approx(layers[4].made[2, 3, 3], rel=1e-5)
    unit = layers[6].unit((7,))
    assert unit.products.sum() + unit.bias == pytest.approx(unit.value, abs=1e-5)
    with pytest.raises(ArgumentError, match=r"no unit \[1, 99, 0\].*\n.*shape.*\(4, 14, 14\)"):
        layers[2].unit((1, 99, 0))


def test_letters_keep_sign_share_and_what_is_broken(rng):
    plane = rng.standard_normal((5, 6))
    back = shares(letters(plane, 2.0)).reshape(5, 6)
    assert np.abs(back - (plane / 2).clip(-1, 1)).max() <= 0.5 / 26 + 1e-9
    assert letters(np.array([np.nan, np.inf, 0.0]), 1.0) == "?!."


# ---------------------------------------------------------------------- the image
def test_centring_leaves_digits_of_mnist_and_undoes_shifts_and_sizes(digit):
    for image in np.asarray(MNIST10k(train=False).data[:40]) / 255:
        assert np.abs(centred(image) - image).mean() < 0.02
    shifted = np.roll(digit, (-4, 3), (0, 1))
    assert (shifted != digit).any()
    np.testing.assert_allclose(centred(shifted), centred(digit), atol=1e-12)
    small = np.zeros((28, 28))
    small[:14, :14] = digit.reshape(14, 2, 14, 2).mean((1, 3))
    rows, columns = (np.flatnonzero(centred(small).any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    seen = centred(small)
    assert [abs((seen.sum(1 - a) * np.arange(28)).sum() / seen.sum() - 14) <= 0.5 for a in (0, 1)] == [True, True]
    alike = [np.corrcoef(centred(digit).ravel(), x.ravel())[0, 1] for x in (seen, small)]
    assert alike[0] > 0.8 and alike[1] < 0.3
    assert not centred(np.zeros((28, 28))).any()
    every_second = np.zeros((28, 28))
    every_second[::2, ::2] = 1
    assert centred(every_second)[10:18, 10:18].max() < 0.6         # a large drawing becomes small without holes
    assert (_resizing(28, 10).sum(0) > 0.2).all()                  # no pixel is left out


def test_nudged_pixels_are_those_that_promise_most(rng):
    image, slope = rng.random((28, 28)), rng.standard_normal((28, 28))
    places, changed = nudge(image, slope, 10)
    gain = (slope * (changed - image)).ravel()
    assert set(np.flatnonzero(changed != image)) == set(places) and len(places) == 10
    best = np.maximum(slope * (1 - image), -slope * image).ravel()
    np.testing.assert_allclose(sorted(gain[places]), sorted(best)[-10:])


# ---------------------------------------------------------------------- the widget
def test_probabilities_and_order_are_those_of_the_model(pad):
    x = md.tensor((np.asarray(MNIST10k(train=False).data[5]) / 255).astype(np.float32).reshape(1, 1, 28, 28))
    pad.normalise = False
    p = nn.functional.softmax(pad.model.eval()(x), -1).host_array()[0]
    np.testing.assert_allclose([one["p"] for one in pad.frame.data["classes"]], p, rtol=1e-5)
    assert pad.frame.data["top"] == np.argsort(-p)[:3].tolist()
    assert pad.frame.text.startswith(f"Taken for {p.argmax()} (")
    label = MNIST10k(train=False).targets[5]
    assert f"{'Right, the' if label == p.argmax() else 'Wrong: the'} label is {label}." in pad.frame.text


@pytest.mark.parametrize("build", [lenet, mlp, lambda: nn.Sequential(*list(mlp())[1:])])
def test_painted_gradient_is_the_slope_of_the_score(build):
    pad = DigitPad(build(), example=5, normalise=False, target=8)
    shown = shares(pad.frame.data["paint"]["plane"]) * pad.frame.data["paint"]["top"]
    image = np.asarray(MNIST10k(train=False).data[5]) / 255
    model = pad.model.double()
    for k in (14 * 28 + 14, 10 * 28 + 12, 300):                                  # central differences
        step = np.zeros(784)
        step[k] = 1e-4
        up, down = (pad._scores(image + sign * step.reshape(28, 28))[8] for sign in (1, -1))
        assert shown[k] == pytest.approx((up - down) / 2e-4, abs=pad.frame.data["paint"]["top"] / 52 + 1e-6)
    assert model.training and all(p.grad is None for p in model.parameters())
    says = pad.frame.data["paint"]["says"]
    assert "10 marked pixels" in says and len(pad.frame.data["paint"]["nudged"]) == 10
    assert ("is enough" in says) == bool(re.search(r"is enough: 8 \(", says))


def test_a_drawing_replaces_the_digit_and_centring_can_be_switched_off(pad, digit):
    pad.show(np.roll(digit, (-4, 4), (0, 1)))
    assert pad.example == -1 and "label" not in pad.frame.text
    centred_seen = pad.frame.data["seen"]
    assert "Without centring:" in pad.describe()
    pad.normalise = False
    assert pad.frame.data["seen"] == letters(np.array(pad.pixels).reshape(28, 28) / 255, 1.0) != centred_seen
    assert "With centring:" in pad.describe()
    pad.show(np.zeros((28, 28)))
    assert "Nothing is drawn yet" in pad.frame.text


def test_the_words_hold_what_the_picture_shows(pad):
    pad.edit(unit="0[2, 7, 8]", target=3)
    words = pad.describe()
    for layer in pad.frame.data["layers"]:
        assert layer["says"] in words
    assert "0[2, 7, 8] = " in words and "score of class 3" in words and "trained on nothing yet" in words
    assert words.count("%") > 10
    pad.unit = "3[4]"                                         # a whole map: its strongest place
    layers, _ = activity(pad.model, pad._tensor(centred(pad._drawn()[0])))
    index = pad.frame.data["unit"]["index"]
    assert abs(layers[3].made[tuple(index)]) == np.abs(layers[3].made[4]).max()
    assert "not said what" in DigitPad(mlp()).trace.note


@pytest.mark.parametrize(("change", "says"), [
    ({"unit": "nowhere[1]"}, r"no unit 'nowhere\[1\]'.*\n.*layers +0, 1, 2"), ({"unit": "0[1, 2]"}, "no unit"),
    ({"target": 10}, "no class 10"), ({"example": 99999}, "no test digit 99999"), ({"pixels": [1, 2]}, "784 numbers")])
def test_bad_input_is_explained_and_the_old_picture_stays(pad, change, says):
    before = pad.trace
    pad.edit(**{"example": -1, **change})
    assert re.search(says, pad.error) and pad.trace is before


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(ArgumentError, match=r"must be a module.*\n.*got +int"):
        DigitPad(3)
    with pytest.raises(ArgumentError, match="one number for each class"):
        DigitPad(nn.Sequential(nn.Conv2d(1, 2, 3)))
    with pytest.raises(ShapeError, match="28 x 28 numbers"):
        DigitPad(mlp()).show(np.zeros(5))


def test_the_layer_that_made_the_first_nan_is_named(pad):
    pad.model[3].weight.array[0, 0, 0, 0] = np.nan
    pad.recompute()
    assert "the first NaN or infinity comes out of layer 3 (Conv2d)" in pad.frame.text
    assert "?" in "".join(pad.frame.data["layers"][3]["planes"]) and "NaN or infinite" in pad.describe()
    pad.edit(target=2)
    assert not pad.error
    ElementTree.fromstring(pad.svg())


def test_mistakes_are_those_of_the_model(pad):
    test = MNIST10k(train=False)
    x, y = test.tensors()
    wrong = np.flatnonzero(pad.model.eval()(x[:500]).argmax(1).host_array() != y[:500].host_array())
    assert pad.trace.figure["mistakes"] == wrong.tolist()


def test_the_picture_needs_no_page_and_stays_small(pad):
    pad.edit(unit="8[3]", target=3)
    assert not pad.error
    root = ElementTree.fromstring(pad.svg())
    text = "".join(root.itertext())
    assert "what the net sees" in text and pad.frame.data["layers"][0]["says"] in text and "∂ score of 3" in text
    assert len(pad.svg()) < 300_000 and len(pad.trace.json) < 100_000


def test_a_wide_network_is_cut_and_says_so():
    pad = DigitPad(nn.Sequential(nn.Flatten(), nn.Linear(784, 2000), nn.ReLU(), nn.Linear(2000, 10)), example=1)
    assert "the last 1488 are not shown" in pad.describe()
    pad = DigitPad(nn.Sequential(nn.Conv2d(1, 40, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10)))
    assert "the last 8 are not shown" in pad.describe()
