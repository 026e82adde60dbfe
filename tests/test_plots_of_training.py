"""Histograms, loss surfaces and rooflines: the bars, lines and marks are the numbers."""
import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError
from minidl.viz import histograms, roofline, scatter, surface


def bars(picture, k=0):
    """(left edge, height, hatch) of the bars of one histogram that are not empty."""
    return [(p.get_x(), p.get_height(), p.get_hatch()) for p in picture.figure.axes[k].patches if p.get_height()]


# ---------------------------------------------------------------------- histograms
def test_bars_hold_every_number_and_part_at_zero():
    x = np.random.default_rng(0).normal(size=500)
    found = bars(histograms({"x": x}))
    assert sum(height for _, height, _ in found) == 500
    assert sum(height for left, height, hatch in found if hatch) == (x < 0).sum()
    assert all((left < -1e-9) == bool(hatch) for left, _, hatch in found)


def test_nan_is_counted_apart():
    picture = histograms({"x": [1.0, np.nan, 2.0, np.inf], "zeros": np.zeros(4)})
    assert sum(height for _, height, _ in bars(picture)) == 2
    assert picture.figure.axes[0].get_title("right") == "2 NaN or ∞"
    assert repr(picture) == ("Histograms of the numbers of 2 tensors. x: mean 1.5, deviation 0.5, 2 NaN or infinite. "
                             "zeros: mean 0, deviation 0, 100 % exactly 0.")


def test_a_gradient_that_was_not_computed_is_an_empty_frame():
    model = nn.Linear(2, 1)
    assert "no gradient was computed" in repr(histograms(model, gradients=True))
    model(md.ones(1, 2)).sum().backward()
    model.bias.grad = None
    picture = histograms(model, gradients=True)
    assert "weight: mean 1" in repr(picture) and "bias: no gradient was computed." in repr(picture)
    assert not bars(picture, 1) and picture.figure.axes[1].texts[0].get_text() == "no gradient"


# ---------------------------------------------------------------------- loss surfaces
def bowl(x, y):
    """A ravine with its lowest point at (1, 0)."""
    return (x - 1) ** 2 + 10 * y * y


def test_a_surface_has_its_lowest_point_and_its_paths():
    path = np.array([[-1.0, 1.0], [0.0, 0.5], [1.0, 0.0]])
    picture = surface(bowl, (-2, 2), (-2, 2), {"SGD": path}, steps=41, names=("w", "b"))
    lines = [line.get_xydata() for line in picture.figure.axes[0].lines]
    assert any(np.array_equal(line, path) for line in lines)
    assert repr(picture) == "Loss over w and b, lowest (0) near (1, 0). SGD: 2 steps, from loss 14 to 0."
    assert picture.figure.axes[0].texts[0].get_text() == "SGD (2)"


def test_paths_differ_in_their_dash():
    paths = {name: np.array([[0.0, 0.0], [1.0, 1.0]]) for name in "abc"}
    lines = surface(bowl, (-2, 2), (-2, 2), paths, log=True).figure.axes[0].lines
    thin = [line for line in lines if len(line.get_xdata()) > 1 and line.get_linewidth() < 2]
    assert len({str(line._dash_pattern) for line in thin}) == len(thin) == 3


# ---------------------------------------------------------------------- rooflines
def test_a_roof_is_the_lower_of_two_limits():
    picture = roofline({"add": (1e6, 12e6, 1e-3), "matmul": (1e9, 1e7, 2e-2)}, peak=1e11, bandwidth=2e10)
    x, y = picture.figure.axes[0].lines[0].get_xydata().T
    np.testing.assert_allclose(y, np.minimum(100, 20 * x))
    assert repr(picture) == (
        "Roofline with the ridge at 5 operations a byte. add: 0.0833 operations a byte, 1 Gop/s, 60 % of what memory "
        "allows. matmul: 100 operations a byte, 50 Gop/s, 50 % of what arithmetic allows.")
    marks = [tuple(line.get_xydata()[0]) for line in picture.figure.axes[0].lines if line.get_marker() in ("o", "s")]
    assert marks == [pytest.approx((1 / 12, 1)), pytest.approx((100, 50))]


@pytest.mark.parametrize("call, kind, problem", [
    (lambda: histograms({}), ArgumentError, "nothing to show"),
    (lambda: histograms({"x": []}), ShapeError, "x holds no numbers"),
    (lambda: surface(lambda x, y: (x + y).sum(), (0, 1), (0, 1)), ShapeError, "entry by entry"),
    (lambda: surface(bowl, (0, 1), (0, 1), {"a": [1.0, 2.0]}), ShapeError, "not a list of points"),
    (lambda: surface(bowl, (0, 1), (0, 1), {str(k): [[0.0, 0.0]] for k in range(7)}), ArgumentError, "told apart"),
    (lambda: roofline({"a": (1, 0, 1)}, 1, 1), ArgumentError, "must be positive"),
    (lambda: roofline({}, 1, 1), ArgumentError, "must be positive"),
])
def test_what_does_not_fit_is_refused(call, kind, problem):
    with pytest.raises(kind, match=problem):
        call()


@pytest.mark.parametrize("call", [
    lambda: histograms({"x": np.arange(9.0)}), lambda: surface(bowl, (-2, 2), (-2, 2)),
    lambda: roofline({"a": (1.0, 1.0, 1.0)}, 2.0, 2.0),
])
def test_each_is_a_picture_with_words(call):
    bundle = call()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and bundle["text/plain"].endswith(".")


# ---------------------------------------------------------------------- points in a plane
def test_points_are_where_their_numbers_say_and_groups_differ_in_shape():
    x, y = np.arange(5.0), np.array([0.0, 2.0, 4.0, 6.0, 8.0])
    picture = scatter({"all": (x, y), "picked": (x[:2], y[:2]), "late": (md.tensor([3.0]), [6.0])}, "before", "after")
    ax = picture.figure.axes[0]
    assert [c.get_offsets().tolist() for c in ax.collections] == [
        np.stack([x, y], axis=1).tolist(), [[0.0, 0.0], [1.0, 2.0]], [[3.0, 6.0]]]
    shapes = [c.get_paths()[0].vertices.shape for c in ax.collections[1:]]
    assert shapes[0] != shapes[1] and ax.get_xlabel() == "before"
    assert repr(picture) == ("Points in a plane, after over before. all: 5 points, 0 to 4 across, 0 to 8 up, "
                             "correlation 1.00. picked: 2 points, 0 to 1 across, 0 to 2 up. "
                             "late: 1 point, 3 to 3 across, 6 to 6 up.")


def test_points_that_cannot_be_drawn_are_refused():
    with pytest.raises(ShapeError, match=r"every point needs an x and a y.*\n.*group +a"):
        scatter({"a": ([1.0], [1.0, 2.0])})
    with pytest.raises(ShapeError, match="every point needs"):
        scatter({"a": ([], [])})
    for count in (0, 8):
        with pytest.raises(ShapeError, match="cannot be told apart"):
            scatter({str(k): ([1.0], [1.0]) for k in range(count)})
