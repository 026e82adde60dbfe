"""A sound with what was heard in it, and runs that were repeated: the words and the marks come from the numbers."""
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "minidl[lab]"')

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError
from minidl.viz import board, interval, repeats, timeline


def test_the_words_say_when_a_line_is_up():
    p = np.array([0.0, 0.9, 0.9, 0.1, 0.5])
    picture = timeline(np.sin(np.arange(1000)), 100, {"ours": p, "theirs": 0 * p}, [("yes", 2.0, 6.0)])
    assert "10 s of sound" in picture.alt and "yes (2.0 to 6.0 s)" in picture.alt
    assert "ours: 50 % or more in 2 stretches, 2.0 to 6.0 s and 8.0 to 10.0 s." in picture.alt
    assert "theirs: never at 50 % or more, at most 0 %." in picture.alt
    above, below = picture.figure.axes
    assert above.get_xlim() == below.get_xlim() == (0, 10)
    assert [list(patch.get_data().values) for patch in above.patches if hasattr(patch, "get_data")][0] == p.tolist()
    assert picture.png().startswith(b"\x89PNG")


def test_the_wave_keeps_its_peaks():
    x = np.zeros(100_000)
    x[77_777] = 3
    (_, below) = timeline(x, 100, {"p": [0.0]}).figure.axes
    assert below.collections[0].get_paths()[0].vertices[:, 1].max() == 3


def test_the_interval_is_that_of_student():
    """Five numbers whose mean, deviation and t are known: 3, sqrt(2.5) and 2.776."""
    mean, reach = interval([1, 2, 3, 4, 5])
    assert mean == 3 and reach == pytest.approx(2.776 * np.sqrt(2.5) / np.sqrt(5), abs=0.01)
    assert interval([0.5, 0.5]) == (0.5, 0.0)


@pytest.mark.parametrize("n", [3, 6, 12, 40])
def test_the_interval_covers_the_truth_19_times_of_20(n):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        mean, reach = interval(rng.normal(size=n))
        hits += abs(mean) <= reach
    assert 0.935 < hits / 2000 < 0.965


def test_repeats_show_every_run_and_say_the_mean():
    picture = repeats({"a": [0.9, 0.92], "much longer name": [0.5, 0.7, 0.6]}, "accuracy")
    assert "a 0.910 ± 0.127, much longer name 0.600 ± 0.248" in picture.alt
    lines = picture.figure.axes[0].lines
    assert lines[0].get_xdata().tolist() == [0.9, 0.92] and lines[3].get_xdata().tolist() == [0.5, 0.7, 0.6]


@pytest.mark.parametrize(("call", "text"), [
    (lambda: timeline(np.zeros((2, 3)), 8, {}), "numbers in a row"),
    (lambda: timeline(np.zeros(3), 8, {"p": []}), "numbers in a row"),
    (lambda: repeats({"a": [1.0]}), "one run says nothing"),
])
def test_what_cannot_be_drawn_is_refused(call, text):
    with pytest.raises(ShapeError, match=text):
        call()


def test_the_board_says_what_moved_and_what_could_not():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    before = {name: w.clone() for name, w in model.state_dict().items()}
    model[0].requires_grad_(False)
    (model(md.ones(4, 2)) ** 2).sum().backward()
    with md.no_grad():
        model[2].weight.mul_(3)
        model[2].bias.mul_(3)
    length = np.sqrt(sum((p.grad.numpy() ** 2).sum() for p in model[2].parameters()))
    alt = board(model, before).alt
    assert "0, 9 numbers, frozen: moved by 0 %, no gradient" in alt
    assert f"2, 4 numbers, learning: moved by 200 %, gradient of length {length:.3g}" in alt
    with pytest.raises(ArgumentError, match="does not fit the model"):
        board(model, {"0.weight": before["0.weight"]})
