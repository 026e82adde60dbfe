"""The convolution explorer without a page: its numbers beside loops and the engine, its words, its still picture."""
import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import ConvolutionExplorer
from minidl.widgets.convolution import Geometry

SVG = "{http://www.w3.org/2000/svg}"
CASES = [
    {},
    dict(size=(5, 8), kernel=(2, 3), stride=(1, 3), padding=(1, 0)),
    dict(size=7, kernel=2, dilation=(2, 3), stride=2, channels=2, filters=3),
    dict(size=6, kernel=3, stride=1, padding=2, channels=4, filters=4, groups=2, gradient="ones"),
    dict(size=(6, 6), kernel=(1, 1), stride=(3, 2), channels=2, filters=2, groups=2),
]
cases = pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))


def by_loops(explorer):
    """y, dL/dx, dL/dw and how often each pixel is read, by seven loops and nothing else."""
    v = explorer.values()
    x, w, dy = v["x"], v["w"], v["dy"]
    y, dx, dw, reads = np.zeros(v["y"].shape), np.zeros(x.shape), np.zeros(w.shape), np.zeros(x.shape[1:])
    per_group, depth = w.shape[0] // explorer.groups, w.shape[1]
    for o, i, j, c, k, n in itertools.product(*map(range, (*y.shape, *w.shape[1:]))):
        row = i * explorer.stride[0] - explorer.padding[0] + k * explorer.dilation[0]
        column = j * explorer.stride[1] - explorer.padding[1] + n * explorer.dilation[1]
        channel = o // per_group * depth + c
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            y[o, i, j] += w[o, c, k, n] * x[channel, row, column]
            dx[channel, row, column] += w[o, c, k, n] * dy[o, i, j]
            dw[o, c, k, n] += x[channel, row, column] * dy[o, i, j]
            reads[row, column] += o == c == 0
    return y, dx, dw, reads


@cases
def test_numbers_are_those_of_plain_loops(case):
    explorer = ConvolutionExplorer(**case)
    v = explorer.values()
    for name, expected in zip(("y", "dx", "dw", "reads"), by_loops(explorer)):
        np.testing.assert_allclose(v[name], expected, err_msg=name)
    figure = explorer.trace.figure
    assert figure["y"] == v["y"].tolist() and figure["reads"] == v["reads"].tolist()


@cases
def test_gradients_are_those_of_the_engine(case):
    explorer = ConvolutionExplorer(**case)
    v = explorer.values()
    x, w = md.tensor(v["x"][None], requires_grad=True), md.tensor(v["w"], requires_grad=True)
    y = F.conv2d(x, w, **explorer.settings)
    dx, dw = md.autograd.grad((y * md.tensor(v["dy"])).sum(), [x, w])
    np.testing.assert_allclose(v["dx"], dx.numpy()[0])
    np.testing.assert_allclose(v["dw"], dw.numpy())


@cases
def test_the_calls_that_are_printed_make_the_numbers(case):
    explorer = ConvolutionExplorer(**case)
    v = {name: None if a is None else md.tensor(a) for name, a in explorer.values().items()}
    names = {"F": F, **v, "x": v["x"].unsqueeze(0), "dy": v["dy"].unsqueeze(0)}
    np.testing.assert_allclose(eval(explorer.call, names).numpy()[0], v["y"].numpy())
    np.testing.assert_allclose(eval(explorer.call_back, names).numpy()[0], v["dx"].numpy())


@cases
def test_windows_and_taps_say_the_same_from_both_ends(case):
    g = ConvolutionExplorer(**case).geometry
    read = {(i, j, k, n, row, column) for i, j in itertools.product(*map(range, g.out))
            for k, n, row, column in g.taps(i, j) if g.inside(row, column)}
    found = {(*window, row, column) for row, column in itertools.product(*map(range, g.size))
             for window in g.windows(row, column)}
    assert found == read


def test_floor_is_told_truthfully():
    explorer = ConvolutionExplorer(size=(6, 7), kernel=3, stride=2)
    assert explorer.geometry.out == (2, 3) and explorer.geometry.over == (1, 0)
    words = explorer.describe()
    assert "OH = ⌊(6 + 2·0 − 1·(3 − 1) − 1) / 2⌋ + 1 = ⌊3 / 2⌋ + 1 = 2." in words
    assert "floor drops 1 row and 0 columns" in words
    assert "7 pixels of each channel are never read, struck through here: row 5." in words
    explorer.size = 7
    assert "Every pixel is read by at least one window." in explorer.describe()


def test_pixels_between_the_windows_are_never_read_either():
    explorer = ConvolutionExplorer(size=5, kernel=1, stride=2)
    assert explorer.geometry.over == (0, 0)
    assert "rows 1, 3 and columns 1, 3" in explorer.describe()
    assert explorer.about("x", 0, 1, 2).endswith("No window reads it: it changes nothing, and its gradient is 0.")
    assert explorer.about("dx", 0, 1, 2) == "dL/dx[0, 1, 2] = 0: no window read this pixel."
    scattered = ConvolutionExplorer(size=(4, 4), kernel=(2, 2), dilation=(3, 3), stride=1)
    assert "(" in scattered.describe() and scattered.values()["reads"].sum() == 4


def test_frames_ask_first_then_sum_then_send_back():
    explorer = ConvolutionExplorer(filters=2)
    outputs = explorer.values()["y"]
    assert [p.name for p in explorer.trace.phases] == ["guess", "forward", "backward"]
    assert len(explorer.trace) == 1 + 2 * outputs.size
    assert "how many rows and columns" in explorer.frame.text and "y" not in explorer.shown(explorer.frame)
    for frame in list(explorer.trace)[1:1 + outputs.size]:
        o, i, j = frame.data["at"]
        products, total = frame.text.split(" = ")[1], outputs[o, i, j]
        terms = [part.replace("−", "-").replace("(", "").replace(")", "").split("·") for part in products.split(" + ")]
        assert math.isclose(sum(float(a) * float(b) for a, b in terms), total)


def test_sentences_of_all_groups_and_channels_have_the_right_numbers():
    explorer = ConvolutionExplorer(**CASES[3])
    sums = explorer.values()["y"]
    for frame in list(explorer.trace)[1:1 + sums.size]:
        parts = frame.text.replace("−", "-").split(" = ")
        assert float(parts[-1].rstrip(".")) == sums[tuple(frame.data["at"])]
        assert sum(float(part.split(" ")[0]) for part in parts[1].split(" + ")) == float(parts[-1].rstrip("."))
        assert [line.split(":")[0] for line in frame.lines] == [f"Channel {c}" for c in
                                                                ((0, 1) if frame.data["at"][0] < 2 else (2, 3))]


def test_gradients_arrive_one_after_the_other_and_add_up():
    explorer = ConvolutionExplorer()
    v, before = explorer.values(), 0.0
    for frame in list(explorer.trace)[-v["y"].size:]:
        o, i, j = frame.data["at"]
        seen = explorer.shown(frame)
        step = seen["dx"] - before
        expected = np.zeros(v["x"].shape)
        for k, n, row, column in explorer.geometry.taps(i, j):
            expected[0, row, column] = v["dy"][o, i, j] * v["w"][o, 0, k, n]
        np.testing.assert_allclose(step, expected)
        before = seen["dx"]
    np.testing.assert_allclose(before, v["dx"])


def test_what_is_not_computed_yet_is_drawn_empty():
    explorer = ConvolutionExplorer()
    root = ElementTree.fromstring(explorer.svg(2))
    assert sum(r.get("class") == "absent" for r in root.iter(SVG + "rect")) == 4
    last = ElementTree.fromstring(explorer.svg())
    assert sum(r.get("class") == "absent" for r in last.iter(SVG + "rect")) == 0
    texts = [t.text for t in last.iter(SVG + "text")]
    assert "dL/dx[0]" in texts and any("conv_transpose2d" in t for t in texts)


def test_each_cell_answers():
    explorer = ConvolutionExplorer()
    v = explorer.values()
    assert explorer.about("w", 0, 0, 1, 2) == (
        f"w[0, 0, 1, 2] = {v['w'][0, 0, 1, 2]:.0f} meets 6 pixels of channel 0, one for each sum y[0]: "
        "rows 1 + 2·i, columns 2 + 2·j.")
    assert "is read by 4 windows of each filter: (0, 0) through weight (2, 2)" in explorer.about("x", 0, 2, 2)
    assert explorer.about("y", 0, 0, 1) == explorer.trace.frame(2).text
    assert explorer.about("dy", 0, 0, 1) == explorer.trace.frame(8).text
    assert "the kernel is flipped" in explorer.about("dx", 0, 2, 2)
    weight = explorer.about("dw", 0, 0, 1, 1)
    assert weight in explorer.describe() and explorer.chosen == "dw 0 0 1 1"
    products = weight.split(": ")[1].split(" = ")[0]
    terms = [part.replace("−", "-").replace("(", "").replace(")", "").split("·") for part in products.split(" + ")]
    assert math.isclose(sum(float(a) * float(b) for a, b in terms), v["dw"][0, 0, 1, 1])
    with pytest.raises(ArgumentError, match=r"no such cell.*\n.*asked for +x\[0, 9, 9\]"):
        explorer.about("x", 0, 9, 9)
    explorer.chosen = "x 0 77 1"
    assert explorer.chosen == ""
    explorer.about("x", 0, 5, 5)
    explorer.size = 4
    assert explorer.chosen == ""


def test_your_layer_and_your_image_are_used_as_they_are():
    md.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
    image = np.random.default_rng(0).standard_normal((1, 2, 6, 5))
    explorer = ConvolutionExplorer(layer, image)
    np.testing.assert_allclose(explorer.values()["y"], layer(md.tensor(image)).detach().numpy()[0], rtol=1e-6)
    assert explorer.fixed == ["channels", "filters", "groups", "kernel", "size"]
    assert explorer.call == "F.conv2d(x, w, bias, stride=2, padding=1, groups=2)"
    assert "(bias)" in explorer.trace.frame(1).text
    explorer.kernel = 5
    assert "kernel is that of your own arrays" in explorer.error
    explorer.kernel, explorer.stride = 3, 1
    assert explorer.error == "" and explorer.values()["y"].shape == (4, 6, 5)


def test_long_sums_go_by_channel_and_are_written_out_in_the_lines():
    explorer = ConvolutionExplorer(channels=2)
    frame, v = explorer.trace.frame(1), explorer.values()
    windows = v["x"][:, :3, :3] * v["w"][0]
    assert frame.text == (f"y[0, 0, 0] = {windows[0].sum():.0f} (channel 0) + {windows[1].sum():.0f} (channel 1) = "
                          f"{windows.sum():.0f}.").replace("-", "−")
    assert len(frame.lines) == 2 and frame.lines[0].count("·") == 9
    explorer.seek(1)
    assert frame.lines[1] in explorer.describe()


def test_same_padding_of_a_layer_is_kept_where_it_is_even():
    assert ConvolutionExplorer(nn.Conv2d(1, 1, 3, padding="same")).padding == (1, 1)
    with pytest.raises(ArgumentError, match="not the same on both sides"):
        ConvolutionExplorer(nn.Conv2d(1, 1, 2, padding="same"))
    with pytest.raises(ArgumentError, match="only a padding of zeros"):
        ConvolutionExplorer(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))


def test_your_gradient_counts_where_it_fits():
    dy = np.arange(6.0).reshape(1, 2, 3)
    explorer = ConvolutionExplorer(dy=dy)
    assert explorer.gradient == "yours" and explorer.trace.figure["dy"] == dy.tolist()
    explorer.stride = 1
    assert "dy must have the shape of y" in explorer.error and "(1, 4, 5)" in explorer.error
    explorer.gradient = "ones"
    assert explorer.error == "" and explorer.values()["dy"].min() == 1


def test_mistakes_become_the_error_line():
    explorer = ConvolutionExplorer()
    before = explorer.trace
    explorer.kernel = 9
    assert "the window does not fit into the image" in explorer.error and explorer.trace is before
    explorer.edit(kernel=3, channels=3, groups=2)
    assert "cannot be cut into so many groups" in explorer.error
    explorer.edit(channels=1, groups=1, size=40)
    assert "too large to be seen" in explorer.error and "at most 32" in explorer.error
    explorer.edit(size=6, stride=0)
    assert "1 or more" in explorer.error
    explorer.edit(stride="two")
    assert "a whole number or a pair" in explorer.error
    explorer.edit(stride=1)
    assert explorer.error == ""
    with pytest.raises(ShapeError, match="filters with axes O C KH KW"):
        ConvolutionExplorer(np.ones((3, 3)))
    with pytest.raises(ShapeError, match="axes C H W"):
        ConvolutionExplorer(x=np.ones(3))
    with pytest.raises(ShapeError, match="each filter expects 2"):
        ConvolutionExplorer(np.ones((1, 2, 3, 3)), np.ones((1, 6, 6)))


def test_a_nan_is_named_and_marked():
    image = np.ones((5, 5))
    image[1, 2] = math.nan
    explorer = ConvolutionExplorer(np.ones((1, 1, 3, 3)), image, stride=1)
    assert "x[0, 1, 2] is NaN" in explorer.describe()
    assert "×" in [t.text for t in ElementTree.fromstring(explorer.svg()).iter(SVG + "text")]


def test_a_digit_fits_into_a_page():
    explorer = ConvolutionExplorer(np.ones((2, 1, 5, 5)), np.random.default_rng(0).random((28, 28)), padding=2)
    assert len(explorer.trace.json.encode()) <= 201_000 and "to save room" in explorer.describe()


def test_geometry_counts_as_the_formula_does():
    assert Geometry((5, 5), (3, 3), (2, 2), (0, 0), (1, 1)).over == (0, 0)
    assert Geometry((5, 6), (3, 3), (2, 2), (1, 0), (1, 2)).over == (0, 1)
