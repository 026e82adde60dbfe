"""The loss lab without a page: beside NumPy in the same dtype, beside closed forms, what is said, drawn, refused."""
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError
from minidl.nn import functional as F

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import LossLab
from minidl.widgets.losses import DTYPES, LOSSES, limits

CALM = [2.0, 1.0, -1.0, 0.5]


def by_hand(lab):
    """Loss and slopes in float64 from the closed forms: (p - t) / T, and the chain rule for the square."""
    z, t = np.array(lab.scores) / lab.temperature, lab.target()
    if lab.loss == "yes or no":
        p = 1 / (1 + np.exp(-z))
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(), (p - t) / lab.temperature
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    if lab.loss == "cross-entropy":
        return -(t * np.log(p)).sum(), (p - t) / lab.temperature
    along = 2 * (p - t)
    return ((p - t) ** 2).sum(), p * (along - (p * along).sum()) / lab.temperature


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("smoothing, temperature", [(0.0, 1.0), (0.3, 2.5), (0.1, 0.5)])
@pytest.mark.parametrize("way", ["plain", "mended"])
def test_both_ways_give_the_closed_form_where_scores_are_small(loss, smoothing, temperature, way):
    lab = LossLab(CALM, right=2, loss=loss, dtype="float64", smoothing=smoothing, temperature=temperature)
    found, (expected, slopes) = lab.values(way), by_hand(lab)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["slope"], slopes, atol=1e-12)
    frame = lab.trace.frame(0).data[way]
    np.testing.assert_allclose(frame["slope"], slopes, atol=1e-12)


@pytest.mark.parametrize("loss, expected", [("cross-entropy", [0.1, 0.1, 0.8]), ("squared", [0.1, 0.1, 0.8]),
                                            ("yes or no", [0.15, 0.15, 0.85])])
def test_the_target_is_smoothed_as_the_library_does(loss, expected):
    lab = LossLab([1.0, 2.0, 3.0], right=2, loss=loss, smoothing=0.3)
    np.testing.assert_allclose(lab.target(), expected)
    scores, right = md.tensor([[1.0, 2.0, 3.0]]), md.tensor([2])
    if loss == "cross-entropy":
        theirs = F.cross_entropy(scores, right, label_smoothing=0.3).item()
        assert lab.values("plain")["loss"] == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_mended_exponents_are_never_above_0(loss):
    power = LossLab([400.0, -400.0, 30.0], loss=loss).values("mended")["power"]
    assert power.max() <= 0 and (loss == "yes or no" or power.max() == 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_numbers_are_those_of_numpy_in_that_dtype(dtype):
    scores = np.array([9.0, 95.0, 3.0], dtype=dtype)
    found = LossLab(scores, dtype=dtype).values("plain")
    with np.errstate(all="ignore"):
        e = np.exp(scores)
        loss = -np.log((e / e.sum())[0])
    np.testing.assert_array_equal(found["exp"], e)
    assert found["exp"].dtype == dtype and found["z"].dtype == dtype
    assert np.array_equal(found["loss"], float(loss), equal_nan=True)


@pytest.mark.parametrize("dtype, first", [("float16", 12), ("float32", 89), ("float64", 710)])
def test_exp_overflows_where_the_line_says(dtype, first):
    low, high = limits(dtype)
    x = np.arange(-800, 801).astype(dtype)
    with np.errstate(all="ignore"):
        e = np.exp(x)
    assert x[np.isinf(e)].min() == np.ceil(high) == first and x[e == 0].max() == np.floor(low)
    assert not np.isinf(LossLab([first - 1.0, 0.0], dtype=dtype).values("plain")["exp"]).any()
    over = LossLab([float(first), 0.0], dtype=dtype)
    assert np.isinf(over.values("plain")["exp"][0]) and np.isnan(over.values("plain")["slope"]).all()
    assert over.values("mended")["loss"] == 0 and np.isfinite(over.values("mended")["slope"]).all()
    assert f"exp({first}) is ∞ in {dtype}" in over.describe()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scores", [[1000.0, -1000.0], [-1000.0, -1000.0, 1000.0]])
def test_the_mended_way_is_finite_everywhere(loss, dtype, scores):
    found = LossLab(scores, loss=loss, dtype=dtype).values("mended")
    assert np.isfinite(found["loss"]) and np.isfinite(found["slope"]).all() and np.isfinite(found["p"]).all()


def test_words_tell_overflow_rounding_and_agreement():
    assert "the same up to rounding; exp stays below exp(88.7)" in LossLab().describe()
    lost = LossLab([12.0, -3.0], right=1, loss="yes or no").describe()
    assert "off by" in lost and "rounding took what was small" in lost
    broken = LossLab([30.0, 1.0], temperature=0.1).describe()
    assert "None of the plain slopes is a finite number." in broken and "share NaN" in broken
    assert "The step pulls score 0 up most: its slope is −0.295." in LossLab().describe()


def test_the_picture_marks_what_is_broken():
    fine, broken = LossLab().svg(), LossLab(dtype="float16", temperature=0.1).svg()
    for text in (fine, broken):
        ElementTree.fromstring(text)
    assert "NaN" not in fine and broken.count(">NaN<") >= 4 and "exp is ∞" in broken


def test_tensors_are_taken_and_changes_go_through():
    lab = LossLab(md.tensor([0.0, 3.0]))
    lab.edit(right=1, temperature=3.0)
    assert lab.error == "" and lab.trace.frame(0).data["right"] == 1
    lab.edit(right=2)
    assert "right cannot be 2" in lab.error
    lab.edit(right=0)
    assert lab.error == ""


@pytest.mark.parametrize("make, says", [
    (lambda: LossLab([1.0]), "the number of scores cannot be 1"),
    (lambda: LossLab([1.0] * 7), "the number of scores cannot be 7"),
    (lambda: LossLab([1.0, float("nan")]), "score 1 cannot be NaN"),
    (lambda: LossLab(temperature=0.0), "temperature cannot be 0"),
    (lambda: LossLab(smoothing=1.0), "smoothing cannot be 1"),
    (lambda: LossLab(loss="hinge"), "no loss 'hinge'"),
    (lambda: LossLab(dtype="int8"), "no dtype 'int8'"),
])
def test_what_cannot_be_shown_is_refused(make, says):
    with pytest.raises(ArgumentError, match=says):
        make()
