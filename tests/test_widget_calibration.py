"""Calibration without a page: bins, gap, loss and the best temperature beside a loop; words and refusals."""
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import Calibration
from minidl.widgets.calibration import best_temperature, nll


def answers(n=400, classes=5, heat=1.0, seed=0):
    """Scores whose softmax is the true probability of each class, times `heat`."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, classes)) * 2
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return scores * heat, np.array([rng.choice(classes, p=row) for row in p])


def in_a_loop(scores, y, t, bins):
    """{bin: [how sure, right] of each row}, and the gap, row by row."""
    found = {}
    for row, truth in zip(scores, y):
        p = F.softmax(md.tensor(row) / t, dim=0).numpy()
        found.setdefault(min(int(p.max() * bins), bins - 1), []).append((p.max(), p.argmax() == truth))
    gap = sum(abs(sum(s for s, _ in rows) - sum(r for _, r in rows)) for rows in found.values()) / len(y)
    return found, gap


@pytest.mark.parametrize("temperature, bins", [(1.0, 10), (2.5, 10), (0.4, 7), (1.0, 2)])
def test_bins_gap_and_loss_are_those_of_a_loop(temperature, bins):
    scores, y = answers(heat=2.0)
    found = Calibration(scores, y, validation=0.25, temperature=temperature, bins=bins).values()
    expected, gap = in_a_loop(scores[100:], y[100:], temperature, bins)
    assert found["count"] == [len(expected[k]) for k in sorted(expected)]
    np.testing.assert_allclose(found["sure"], [np.mean([s for s, _ in expected[k]]) for k in sorted(expected)])
    np.testing.assert_allclose(found["right"], [np.mean([r for _, r in expected[k]]) for k in sorted(expected)])
    np.testing.assert_allclose(found["gap"], gap)
    loss = F.cross_entropy(md.tensor(scores[100:]) / temperature, md.tensor(y[100:])).item()
    np.testing.assert_allclose(found["loss"], loss)


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_best_temperature_undoes_the_heat(heat):
    scores, y = answers(4000, heat=heat)
    assert best_temperature(scores, y) == pytest.approx(heat, rel=0.08)
    best = best_temperature(scores, y)
    assert nll(scores, y, best) <= min(nll(scores, y, t) for t in np.geomspace(0.1, 10, 400)) + 1e-12


def test_only_validation_rows_choose_and_only_the_others_are_shown():
    scores, y = answers(heat=3.0)
    other = np.where(np.arange(len(y)) < 200, y, (y + 1) % 5)          # the rows that are shown, spoilt
    assert Calibration(scores, y).best == Calibration(scores, other).best
    assert Calibration(scores, y).values()["gap"] != Calibration(scores, other).values()["gap"]
    spoilt = np.where(np.arange(len(y)) < 200, (y + 1) % 5, y)
    assert Calibration(scores, y).values() == Calibration(scores, spoilt).values()
    assert Calibration(scores, y).best != Calibration(scores, spoilt).best


def test_no_answer_changes_with_the_temperature():
    calibration = Calibration(*answers(heat=3.0))
    accuracy = calibration.values()["accuracy"]
    assert all(calibration.values(t)["accuracy"] == accuracy for t in (0.1, 0.5, 3.0, 10.0))
    assert calibration.values(calibration.best)["gap"] < calibration.values(1.0)["gap"]


def test_words():
    calibration = Calibration(*answers(heat=3.0))
    told = calibration.describe()
    assert "too sure by" in told and "Best T on the 200 validation rows" in told and "as ever" in told
    calibration.temperature = 9.0
    assert "too modest by" in calibration.describe() and calibration.error == ""
    scores = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 5
    assert "at the edge of what is tried" in Calibration(scores, [0, 1, 2, 0, 1, 2]).describe()
    calibration.bins = 30
    assert "bins cannot be 30" in calibration.error


@pytest.mark.parametrize("bins", [2, 20])
def test_the_picture_has_a_bar_for_each_bin(bins):
    calibration = Calibration(*answers(), bins=bins)
    root = ElementTree.fromstring(calibration.svg())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert all(str(count) in texts for count in calibration.values()["count"])


def test_what_does_not_fit_is_refused():
    scores, y = answers(10)
    for wrong in ((scores[0], y), (scores, y[:9]), (scores[:, :1], y), (scores, y * 1.0)):
        with pytest.raises(ShapeError, match="do not fit together"):
            Calibration(*wrong)
    for wrong in ((scores, y + 4), (scores, y - 4), (scores * np.inf, y)):
        with np.errstate(invalid="ignore"), pytest.raises(ArgumentError, match="not finite, or a class is not there"):
            Calibration(*wrong)
    for share in (0.0, 1.0, 0.01, -1):
        with pytest.raises(ArgumentError, match="some rows choose the temperature"):
            Calibration(scores, y, validation=share)
    with pytest.raises(ArgumentError, match="temperature cannot be 0"):
        Calibration(scores, y, temperature=0.0)
