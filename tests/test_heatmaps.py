"""Attention, gates and spectrograms: the shades are the numbers, and the words are made from them."""
import numpy as np
import pytest

from minidl.errors import ArgumentError, ShapeError
from minidl.viz import attention, fields, gates, spectrogram

WEIGHTS = np.array([[[0.1, 0.9], [0.5, 0.5]], [[0.3, 0.7], [1.0, 0.0]]])


def images(picture):
    """The numbers behind the shades, one array for each pair of axes that has any."""
    return [np.asarray(ax.images[0].get_array()) for ax in picture.figure.axes if ax.images]


def test_fields_hold_their_numbers_written_and_shaded():
    picture = fields({"x": [[1.0, -2.5], [0.0, 4.0]], "a row": np.array([3, 1])})
    assert [image.tolist() for image in images(picture)] == [[[1, -2.5], [0, 4]], [[3, 1]]]
    assert [t.get_text() for t in picture.figure.axes[0].texts] == ["1", "−2.5", "0", "4"]
    assert repr(picture) == "Fields of numbers. x: [[1.0, -2.5], [0.0, 4.0]]; a row: [[3.0, 1.0]]."
    large = fields({"x": np.ones((30, 40))}, text=False)
    assert not large.figure.axes[0].texts and repr(large) == "Fields of numbers. x, 30 x 40."


def test_attention_is_drawn_as_it_is_and_told():
    picture = attention(WEIGHTS, ["a", "b"])
    assert np.array_equal(images(picture), WEIGHTS)
    assert repr(picture) == ("Attention of 2 heads, 2 queries to 2 keys. Head 0: most weight, 0.9, from a to b. "
                             "Head 1: most weight, 1, from b to a.")
    assert [t.get_text() for t in picture.figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert len(images(attention(WEIGHTS[0]))) == 1


def test_gates_choose_the_scale_by_what_they_hold():
    picture = gates({"forget": [[0.0, 1.0], [0.5, 0.25]], "cell": [[-2.0, 1.0], [0.5, 0.25]]}, tokens="xy")
    forget, cell = (ax for ax in picture.figure.axes if ax.images)
    assert np.array_equal(images(picture)[0], [[0.0, 0.5], [1.0, 0.25]])       # time runs to the right
    assert forget.images[0].get_clim() == (0, 1) and cell.images[0].get_clim() == (-2, 2)
    assert len(cell.collections) == 1 and not forget.collections                 # the hatch of what is negative
    assert repr(picture) == ("2 gates and states over 2 steps. forget: mean 0.438, from 0 to 1. "
                             "cell: mean −0.0625, from −2 to 1.")


def test_a_spectrogram_finds_the_tone():
    rate = 8000
    picture = spectrogram(np.sin(2 * np.pi * 1000 * np.arange(rate) / rate), rate)
    table = images(picture)[0]
    assert table.shape[0] == 129 and set(table.argmax(axis=0)) == {32}         # 32 · 8000 / 256 = 1000 Hz
    assert table.max() == pytest.approx(0, abs=1e-6) and table.min() == -80
    assert repr(picture) == "Spectrogram of 1 s at 8,000 Hz: the loudest frequency is near 1000 Hz."


@pytest.mark.parametrize("call, kind, problem", [
    (lambda: fields({"x": np.zeros((2, 3, 4))}), ShapeError, "one plane of it"),
    (lambda: fields({"x": np.zeros((0, 3))}), ShapeError, "one or two axes, and numbers"),
    (lambda: attention(np.zeros(3)), ShapeError, "heads Q K"),
    (lambda: attention(WEIGHTS, ["a"]), ArgumentError, "a word for each of the queries"),
    (lambda: attention(WEIGHTS, ["a", "b"], ["a"]), ArgumentError, "a word for each of the keys"),
    (lambda: gates({}), ShapeError, "a table of numbers"), (lambda: gates({"f": [1.0]}), ShapeError, "T H"),
    (lambda: gates({"f": [[1.0]], "i": [[1.0], [2.0]]}), ShapeError, "the same number of steps"),
    (lambda: gates({"f": [[1.0]]}, "ab"), ShapeError, "the same number of steps"),
    (lambda: spectrogram(np.zeros(10), 8000), ShapeError, "longer than the window"),
])
def test_what_does_not_fit_is_refused(call, kind, problem):
    with pytest.raises(kind, match=problem):
        call()
