"""The vocabulary of neural networks, against plain loops, formulas, and what must hold for any numbers."""
import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
import minidl.nn.functional as F
from minidl.autograd import check_gradients
from minidl.errors import ArgumentError, DimensionError, DTypeError, ShapeError


def numbers(*shape, seed=0, dtype=np.float64):
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def leaf(*shape, seed=0):
    """A float64 leaf of normal numbers."""
    return md.Tensor(numbers(*shape, seed=seed), requires_grad=True)


def close(found, expected, rtol=1e-10, atol=1e-12):
    """Equal shapes and, up to rounding, numbers."""
    found = found.detach().numpy() if isinstance(found, md.Tensor) else found
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol)


def gradient(function, x):
    """d sum(function(x)) / dx as an array."""
    x = md.Tensor(np.array(x), requires_grad=True)
    function(x).sum().backward()
    return x.grad.numpy()


# ---------------------------------------------------------------------- plain loops
def padded(x, padding, value=0.0):
    """An array with a border around its last two axes."""
    out = np.full((*x.shape[:2], x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]), value)
    out[:, :, padding[0]:padding[0] + x.shape[2], padding[1]:padding[1] + x.shape[3]] = x
    return out


def looped_conv2d(x, w, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """One number at a time."""
    x = padded(x, padding)
    (n, _, h, width), (o, c, kh, kw) = x.shape, w.shape
    oh = len(range(0, h - dilation[0] * (kh - 1), stride[0]))
    ow = len(range(0, width - dilation[1] * (kw - 1), stride[1]))
    out = np.zeros((n, o, oh, ow))
    for b, f, i, j in np.ndindex(*out.shape):
        first = f // (o // groups) * c
        for k, u, v in np.ndindex(c, kh, kw):
            pixel = x[b, first + k, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]]
            out[b, f, i, j] += pixel * w[f, k, u, v]
    return out


def looped_conv_transpose2d(x, w, stride=(1, 1), padding=(0, 0), extra=(0, 0), dilation=(1, 1), groups=1):
    """Each pixel paints its filter onto a canvas, whose border is cut off in the end."""
    (n, c, h, width), (_, o, kh, kw) = x.shape, w.shape
    size = [(m - 1) * s + d * (k - 1) + 1 + e
            for m, s, d, k, e in zip((h, width), stride, dilation, (kh, kw), extra)]
    out = np.zeros((n, o * groups, *size))
    for b, k, i, j in np.ndindex(*x.shape):
        first = k // (c // groups) * o
        for f, u, v in np.ndindex(o, kh, kw):
            out[b, first + f, i * stride[0] + u * dilation[0], j * stride[1] + v * dilation[1]] += (
                x[b, k, i, j] * w[k, f, u, v])
    return out[:, :, padding[0]:size[0] - padding[0], padding[1]:size[1] - padding[1]]


def looped_windows(x, kernel, stride, padding, dilation=(1, 1), ceil_mode=False):
    """For each window its (places on the image, places that count with the border) and its slot in the output."""
    sizes = []
    for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        starts = range(-p, n + p, s)
        whole = [a for a in starts if a + d * (k - 1) < n + p]
        more = [a for a in starts if a not in whole and a < n][:1] if ceil_mode else []
        if ceil_mode and more and whole and whole[-1] + d * (k - 1) == n + p - 1:
            more = []                                  # the last whole window already reaches the end
        sizes.append(whole + more)
    for (i, top), (j, left) in itertools.product(enumerate(sizes[0]), enumerate(sizes[1])):
        cells = [(top + u * dilation[0], left + v * dilation[1]) for u, v in np.ndindex(*kernel)]
        inside = [(a, b) for a, b in cells if 0 <= a < x.shape[2] and 0 <= b < x.shape[3]]
        framed = [(a, b) for a, b in cells if a < x.shape[2] + padding[0] and b < x.shape[3] + padding[1]]
        yield (i, j), inside, len(framed)


def looped_max_pool2d(x, *args, **kwargs):
    """Values, and the gradient of their sum: it goes to the first largest number in reading order."""
    found, dx = {}, np.zeros_like(x)
    for slot, inside, _ in looped_windows(x, *args, **kwargs):
        for b, c in np.ndindex(*x.shape[:2]):
            best = max(inside, key=lambda place: x[b, c][place], default=None)
            found[(b, c, *slot)] = -np.inf if best is None else x[b, c][best]
            if best is not None:                       # a dilated window can have the image between its places
                dx[b, c][best] += 1
    return as_array(found), dx


def looped_avg_pool2d(x, *args, count_include_pad=True, **kwargs):
    """The mean of each window."""
    found = {}
    for slot, inside, framed in looped_windows(x, *args, **kwargs):
        for b, c in np.ndindex(*x.shape[:2]):
            total = sum(x[b, c][place] for place in inside)
            found[(b, c, *slot)] = total / (framed if count_include_pad else len(inside))
    return as_array(found)


def as_array(found):
    """place -> number as an array."""
    out = np.full([n + 1 for n in map(max, zip(*found))], np.nan)
    for place, value in found.items():
        out[place] = value
    return out


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolutions(draw):
    """x, w and settings of a small convolution that fits."""
    groups, kernel, dilation, stride = draw(st.integers(1, 3)), draw(pairs), draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    n, c, o = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 3)) for d, k, p in zip(dilation, kernel, padding)]
    seed = draw(st.integers(0, 99))
    x, w = numbers(n, c * groups, *size, seed=seed), numbers(o * groups, c, *kernel, seed=seed + 100)
    return x, w, dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


# ---------------------------------------------------------------------- convolution
@given(convolutions())
def test_conv2d_is_the_loop(case):
    x, w, how = case
    bias = numbers(len(w))
    close(F.conv2d(md.Tensor(x), md.Tensor(w), md.Tensor(bias), **how),
          looped_conv2d(x, w, **how) + bias[:, None, None])


@given(convolutions(), st.floats(-2, 2), st.floats(-2, 2))
def test_conv2d_is_linear_in_images_and_in_filters(case, a, b):
    x, w, how = case
    x, w = md.Tensor(x), md.Tensor(w)
    x2, w2 = md.Tensor(numbers(*x.shape, seed=7)), md.Tensor(numbers(*w.shape, seed=8))
    close(F.conv2d(a * x + b * x2, w, **how), (a * F.conv2d(x, w, **how) + b * F.conv2d(x2, w, **how)).numpy())
    close(F.conv2d(x, a * w + b * w2, **how), (a * F.conv2d(x, w, **how) + b * F.conv2d(x, w2, **how)).numpy())


@given(convolutions())
def test_convolution_in_portions_is_convolution_at_once(case):
    x, w, how = case
    def all_three():
        inputs = [md.Tensor(x, requires_grad=True), md.Tensor(w, requires_grad=True)]
        y = F.conv2d(*inputs, **how)
        return [y, *md.autograd.grad(y, inputs, y.detach() ** 2)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(md.ops.conv, "CACHE", 10**9)
        at_once = all_three()
        patch.setattr(md.ops.conv, "CACHE", 1)           # one row of windows at a time
        for found, expected in zip(all_three(), at_once):
            close(found, expected.detach().numpy())


def test_columns_never_exist_as_a_whole():
    x, w = md.zeros(16, 8, 64, 64), md.zeros(8, 8, 5, 5, requires_grad=True)
    tracemalloc.start()
    try:
        y = F.conv2d(x, w, padding=2)
        y.sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * x.array.nbytes                 # the columns have 25 times as many numbers as x


def test_the_batch_lies_last_in_memory_all_the_way_to_the_dense_layer():
    x, w = leaf(3, 2, 6, 6), leaf(4, 2, 3, 3)
    y = F.max_pool2d(F.relu(F.conv2d(x, w, md.ones(4), padding=1)), 2)
    assert y.array.transpose(1, 2, 3, 0).flags.c_contiguous
    assert np.shares_memory(y.array, md.flatten(y, 1).array)
    mask = F.dropout(y).node.inputs[1].array
    assert mask.strides == y.array.strides


@given(convolutions())
def test_conv_transpose2d_is_the_transpose_of_conv2d(case):
    x, w, how = case
    x, w = md.Tensor(x), md.Tensor(w)
    y = F.conv2d(x, w, **how)
    dy = md.Tensor(numbers(*y.shape, seed=5))
    # conv2d may leave a rest of the image unseen; output_padding says how large that is
    rest = tuple((n + 2 * p - d * (k - 1) - 1) % s for n, p, d, k, s in
                 zip(x.shape[2:], how["padding"], how["dilation"], w.shape[2:], how["stride"]))
    back = F.conv_transpose2d(dy, w, output_padding=rest, **how)
    assert back.shape == x.shape
    assert float((y * dy).sum()) == pytest.approx(float((x * back).sum()), rel=1e-9, abs=1e-9)


@given(st.data())
def test_conv_transpose2d_is_the_loop(data):
    groups, kernel, dilation, stride = (data.draw(s) for s in (st.integers(1, 2), pairs, pairs, pairs))
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    padding = tuple(data.draw(st.integers(0, d * (k - 1) // 2)) for d, k in zip(dilation, kernel))
    n, c, o, h, w = (data.draw(st.integers(1, 2)) for _ in range(5))
    x, weight, bias = numbers(n, c * groups, h, w), numbers(c * groups, o, *kernel, seed=1), numbers(o * groups, seed=2)
    tensors = md.Tensor(x), md.Tensor(weight), md.Tensor(bias)
    close(F.conv_transpose2d(*tensors, stride, padding, extra, groups, dilation),
          looped_conv_transpose2d(x, weight, stride, padding, extra, dilation, groups) + bias[:, None, None])


@given(convolutions())
@settings(max_examples=25)
def test_conv1d_is_conv2d_of_images_one_pixel_high(case):
    x, w, how = case
    x, w = x[:, :, 0], w[:, :, 0]
    (s, p, d), groups = (how[name][1] for name in ("stride", "padding", "dilation")), how["groups"]
    expected = looped_conv2d(x[:, :, None], w[:, :, None], (1, s), (0, p), (1, d), groups)[:, :, 0]
    close(F.conv1d(md.Tensor(x), md.Tensor(w), None, s, p, d, groups), expected)
    wide = looped_conv_transpose2d(expected[:, :, None], w[:, :, None], (1, s), (0, 0), (0, 0), (1, d), groups)[:, :, 0]
    close(F.conv_transpose1d(md.Tensor(expected), md.Tensor(w), None, s, 0, 0, groups, d), wide)


@given(pairs, pairs, st.integers(3, 6), st.integers(3, 6))
@settings(max_examples=25)
def test_same_and_valid_padding(kernel, dilation, h, w):
    x, weight = numbers(1, 2, h, w), numbers(2, 2, *kernel, seed=1)
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    border = [(0, 0), (0, 0), *((t // 2, t - t // 2) for t in total)]
    found = F.conv2d(md.Tensor(x), md.Tensor(weight), padding="same", dilation=dilation)
    assert found.shape[2:] == (h, w)
    close(found, looped_conv2d(np.pad(x, border), weight, dilation=dilation))
    if all(t < n for t, n in zip(total, (h, w))):
        close(F.conv2d(md.Tensor(x), md.Tensor(weight), padding="valid", dilation=dilation),
              looped_conv2d(x, weight, dilation=dilation))
    flat = F.conv1d(md.Tensor(x[:, :, 0]), md.Tensor(weight[:, :, 0]), padding="same", dilation=dilation[1])
    assert flat.shape == (1, 2, w)


def looped_conv3d(x, w, stride, padding, dilation, groups):
    """One layer of the output at a time, each a sum of layers of images."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0], padding[0]), (0, 0), (0, 0)))
    starts = range(0, x.shape[2] - dilation[0] * (w.shape[2] - 1), stride[0])
    return np.stack([sum(looped_conv2d(x[:, :, i + k * dilation[0]], w[:, :, k], stride[1:], padding[1:], dilation[1:],
                                       groups) for k in range(w.shape[2])) for i in starts], 2)


@pytest.mark.parametrize("settings", [
    dict(stride=(1, 1, 1), padding=(0, 0, 0), dilation=(1, 1, 1), groups=1),
    dict(stride=(2, 1, 2), padding=(1, 0, 1), dilation=(2, 1, 1), groups=2)])
def test_conv3d_is_the_loop(settings):
    x, b = leaf(2, 4, 5, 4, 3), leaf(4, seed=2)
    w = leaf(4, 4 // settings["groups"], 2, 3, 1, seed=1)
    out = F.conv3d(x, w, b, **settings)
    expected = looped_conv3d(x.detach().numpy(), w.detach().numpy(), **settings)
    close(out, expected + b.detach().numpy().reshape(-1, 1, 1, 1))
    close(F.conv3d(x[0], w, b, **settings), out[0].detach().numpy())
    assert check_gradients(lambda *inputs: F.conv3d(*inputs, **settings), [x, w, b])


def test_conv3d_with_named_padding_and_of_an_empty_batch():
    x, w = leaf(1, 1, 4, 3, 5), leaf(2, 1, 2, 3, 2, seed=1)
    padded = F.pad(x, (0, 1, 1, 1, 0, 1))             # what is left over goes to the far side
    close(F.conv3d(x, w, padding="same"), F.conv3d(padded, w).detach().numpy())
    close(F.conv3d(x, w, padding="valid"), F.conv3d(x, w).detach().numpy())
    assert F.conv3d(x[:0], w).shape == (0, 2, 3, 1, 4)


def test_convolutions_take_one_example_without_a_batch_axis():
    x, w = leaf(2, 5, 4), leaf(3, 2, 3, 2)
    close(F.conv2d(x, w), F.conv2d(x.unsqueeze(0), w)[0].detach().numpy())
    turned = w.transpose(0, 1)
    close(F.conv_transpose2d(x, turned), F.conv_transpose2d(x.unsqueeze(0), turned)[0].detach().numpy())
    for pool in (F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.unfold):
        close(pool(x, 2), pool(x.unsqueeze(0), 2)[0].detach().numpy())


def test_an_empty_batch_stays_empty():
    x = md.zeros(0, 3, 4, 4)
    assert F.conv2d(x, md.zeros(2, 3, 2, 2)).shape == (0, 2, 3, 3)
    assert F.max_pool2d(x, 2).shape == F.avg_pool2d(x, 2).shape == (0, 3, 2, 2)
    assert F.group_norm(x, 3).shape == (0, 3, 4, 4)


@given(convolutions())
@settings(max_examples=10)
def test_gradients_of_convolutions(case):
    x, w, how = case
    x, w = md.Tensor(x[:1, :, :4, :4]), md.Tensor(w)
    if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in
           zip(x.shape[2:], how["padding"], how["dilation"], w.shape[2:])):
        return
    x, w = x.requires_grad_(), w.requires_grad_()
    assert check_gradients(lambda x, w: F.conv2d(x, w, **how), [x, w])


def test_second_derivatives_of_convolutions():
    x, w, b = leaf(1, 2, 3, 3), leaf(2, 2, 2, 2, seed=1), leaf(2, seed=2)
    assert check_gradients(lambda *a: F.conv2d(*a, stride=2, padding=1).tanh(), [x, w, b], second_order=True)
    assert check_gradients(lambda *a: F.conv_transpose2d(*a, stride=2).tanh(), [x, w, b], second_order=True)


@given(st.data())
@settings(max_examples=30)
def test_unfold_holds_the_windows_as_columns(data):
    kernel, stride, dilation = data.draw(pairs), data.draw(pairs), data.draw(pairs)
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + data.draw(st.integers(0, 2))
            for d, k, p in zip(dilation, kernel, padding)]
    x, w = numbers(2, 2, *size), numbers(3, 2, *kernel, seed=1)
    columns = F.unfold(md.Tensor(x), kernel, dilation, padding, stride)
    expected = looped_conv2d(x, w, stride, padding, dilation)
    close(md.matmul(md.Tensor(w.reshape(3, -1)), columns), expected.reshape(2, 3, -1))


WRONG_CONVOLUTIONS = {
    "channels": (lambda x: F.conv2d(x, md.zeros(2, 1, 2, 2)), "the images have 3 channels but each filter expects 1"),
    "window": (lambda x: F.conv2d(x, md.zeros(2, 3, 5, 5)), "the window does not fit into the image"),
    "wide window": (lambda x: F.conv2d(x, md.zeros(2, 3, 1, 5), stride=2), "does not fit"),
    "dilated window": (lambda x: F.conv2d(x, md.zeros(2, 3, 3, 3), dilation=2), "does not fit"),
    "window of conv1d": (lambda x: F.conv1d(x[0], md.zeros(2, 4, 5)), "does not fit"),
    "axes": (lambda x: F.conv2d(x[0, 0], md.zeros(2, 3, 2, 2)), "four axes"),
    "bias": (lambda x: F.conv2d(x, md.zeros(1, 3, 2, 2), md.zeros(5)), "one bias for each output"),
    "groups": (lambda x: F.conv2d(x, md.zeros(3, 1, 2, 2), groups=2), "each filter expects 2"),
    "transposed channels": (lambda x: F.conv_transpose2d(x, md.zeros(2, 1, 2, 2)), "filters for 2 channels"),
    "transposed groups": (lambda x: F.conv_transpose2d(x, md.zeros(3, 1, 2, 2), groups=2), "cut into 2 groups"),
    "transposed axes": (lambda x: F.conv_transpose2d(x, md.zeros(3, 1, 2)), "four axes"),
    "conv3d axes": (lambda x: F.conv3d(x[0, 0], md.ones(1, 1, 1, 1, 1)), "five axes"),
    "conv3d depth": (lambda x: F.conv3d(x[None], md.ones(2, 2, 4, 1, 1)), "0 deep"),
    "conv3d channels": (lambda x: F.conv3d(x[None], md.ones(1, 3, 1, 1, 1)), "each filter expects 3"),
    "conv3d window": (lambda x: F.conv3d(x[None], md.ones(1, 2, 1, 9, 1)), "does not fit"),
    "transposed padding": (lambda x: F.conv_transpose2d(x, md.zeros(3, 1, 2, 2), padding=3), "would be -1 x -1"),
    "max pool": (lambda x: F.max_pool2d(x, 5), "does not fit"),
    "max pool by far": (lambda x: F.max_pool2d(x, 9), "does not fit"),
    "avg pool": (lambda x: F.avg_pool2d(x, 5), "does not fit"),
    "unfold": (lambda x: F.unfold(x, 5), "does not fit"),
    "max pool padding": (lambda x: F.max_pool2d(x, 2, padding=2), "at most half"),
    "avg pool padding": (lambda x: F.avg_pool2d(x, 2, padding=2), "at most half"),
    "linear": (lambda x: F.linear(x, md.zeros(2, 5)), r"the input has 4 features but the weight expects 5"),
    "linear bias": (lambda x: F.linear(x, md.zeros(1, 4), md.zeros(3)), "one bias for each output"),
}


@pytest.mark.parametrize("name", WRONG_CONVOLUTIONS)
def test_shapes_that_do_not_fit_are_explained(name):
    call, words = WRONG_CONVOLUTIONS[name]
    with pytest.raises(ShapeError, match=words):
        call(md.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("setting", [
    dict(stride=0), dict(stride=-1), dict(dilation=0), dict(padding=-1), dict(groups=0), dict(stride=(1, 2, 3)),
    dict(stride=1.5), dict(padding="full"), dict(padding="same", stride=2), dict(padding=(0.5, 1)), dict(stride="2")])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ArgumentError):
        F.conv2d(md.zeros(1, 2, 4, 4), md.zeros(2, 2, 2, 2), **setting)


def test_output_padding_must_be_smaller_than_the_stride():
    with pytest.raises(ArgumentError, match="smaller than the stride"):
        F.conv_transpose2d(md.zeros(1, 2, 3, 3), md.zeros(2, 2, 2, 2), stride=2, output_padding=2)


# ---------------------------------------------------------------------- pooling
@st.composite
def poolings(draw):
    """An image with ties, and settings of a window that fits."""
    kernel, stride = draw(pairs), draw(pairs)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding)]
    x = np.random.default_rng(draw(st.integers(0, 99))).integers(-2, 3, (2, 2, *size)).astype(float)
    return x, dict(kernel=kernel, stride=stride, padding=padding, ceil_mode=draw(st.booleans()))


@given(poolings(), st.data())
def test_max_pool2d_is_the_loop_and_the_first_of_equals_gets_the_gradient(case, data):
    x, how = case
    dilation = tuple(data.draw(st.integers(1, max(1, (n + 2 * p - 1) // max(k - 1, 1)))) for n, p, k in
                     zip(x.shape[2:], how["padding"], how["kernel"]))
    values, dx = looped_max_pool2d(x, dilation=dilation, **how)

    def pool(x):
        return F.max_pool2d(x, how["kernel"], how["stride"], how["padding"], dilation, how["ceil_mode"])
    close(pool(md.Tensor(x)), values)
    np.testing.assert_array_equal(gradient(pool, x), dx)


@given(poolings(), st.booleans())
def test_avg_pool2d_is_the_loop(case, count_include_pad):
    x, how = case
    found = F.avg_pool2d(md.Tensor(x), how["kernel"], how["stride"], how["padding"], how["ceil_mode"],
                         count_include_pad)
    close(found, looped_avg_pool2d(x, count_include_pad=count_include_pad, **how))


@given(poolings())
@settings(max_examples=20)
def test_pools_of_sequences(case):
    x, how = case
    x, (k, s, p) = x[:, :, 0], (how[name][1] for name in ("kernel", "stride", "padding"))
    flat = dict(kernel=(1, k), stride=(1, s), padding=(0, p), ceil_mode=how["ceil_mode"])
    values, _ = looped_max_pool2d(x[:, :, None], **flat)
    close(F.max_pool1d(md.Tensor(x), k, s, p, ceil_mode=how["ceil_mode"]), values[:, :, 0])
    close(F.avg_pool1d(md.Tensor(x), k, s, p, how["ceil_mode"]), looped_avg_pool2d(x[:, :, None], **flat)[:, :, 0])


def test_stride_is_the_kernel_and_the_divisor_can_be_given():
    x = numbers(1, 1, 4, 6)
    close(F.avg_pool2d(md.Tensor(x), 2, divisor_override=3), x.reshape(1, 1, 2, 2, 3, 2).sum((3, 5)) / 3)
    close(F.max_pool2d(md.Tensor(x), (2, 3)), x.reshape(1, 1, 2, 2, 2, 3).max((3, 5)))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 7), st.integers(1, 7))
@settings(max_examples=30)
def test_adaptive_pools_are_means_and_maxima_of_bins(h, w, oh, ow):
    x = numbers(2, 1, h, w)
    bins = [[x[..., i * h // oh:math.ceil((i + 1) * h / oh), j * w // ow:math.ceil((j + 1) * w / ow)]
             for j in range(ow)] for i in range(oh)]
    for function, reduce in ((F.adaptive_avg_pool2d, np.mean), (F.adaptive_max_pool2d, np.max)):
        expected = np.stack([np.stack([reduce(b, (2, 3)) for b in row], -1) for row in bins], -2)
        close(function(md.Tensor(x), (oh, ow)), expected)
    line = np.stack([x[0, :, 0, j * w // ow:math.ceil((j + 1) * w / ow)].mean(-1) for j in range(ow)], -1)
    close(F.adaptive_avg_pool1d(md.Tensor(x[0, :, 0]), ow), line)


def test_adaptive_pool_keeps_an_axis_given_as_none():
    x = md.Tensor(numbers(1, 2, 3, 5))
    assert F.adaptive_avg_pool2d(x, (None, 2)).shape == F.adaptive_max_pool2d(x, (None, 2)).shape == (1, 2, 3, 2)
    with pytest.raises(DTypeError, match="whole numbers"):
        F.adaptive_avg_pool2d(md.ones(1, 1, 2, 2).long(), 1)


@pytest.mark.parametrize("size", [(2, 3), (None, 1), (7, 2), 4])
def test_adaptive_max_pool_says_where_the_largest_numbers_stood(size):
    x = md.Tensor(numbers(2, 3, 5, 7))
    out, places = F.adaptive_max_pool2d(x, size, return_indices=True)
    assert places.dtype == np.int64 and md.equal(out, F.adaptive_max_pool2d(x, size))
    assert md.equal(x.flatten(2).gather(2, places.flatten(2)), out.flatten(2))
    out, places = F.adaptive_max_pool1d(x[0], 3, return_indices=True)
    assert out.shape == (3, 5, 3) and md.equal(x[0].gather(2, places), out)


def test_adaptive_max_pool_refuses_sizes_that_make_no_sense():
    for size in (0, (1, 2, 3), (2, -1)):
        with pytest.raises(ArgumentError, match="output size"):
            F.adaptive_max_pool2d(md.ones(1, 1, 4, 4), size)


@pytest.mark.parametrize("window", [(2,), (3, 1, 1)])
def test_the_gradient_of_a_window_with_nan_goes_to_the_nan(window):
    x = numbers(1, 1, 4, 4)
    x[0, 0, 1, 2] = np.nan
    out = F.max_pool2d(md.Tensor(x), *window)
    share = gradient(lambda x: F.max_pool2d(x, *window), x)
    assert share.sum() == out.numel() and share[0, 0, 1, 2] == np.isnan(out.numpy()).sum() > 0


# ---------------------------------------------------------------------- normalisation
def standardised(x, axes, eps=1e-5):
    """(x - mean) / sqrt(variance + eps)."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (2, 3, 2, 2)])
def test_batch_norm_in_training_and_in_evaluation(shape):
    x, weight, bias = numbers(*shape), numbers(3, seed=1), numbers(3, seed=2)
    running = md.Tensor(numbers(3, seed=3)), md.Tensor(np.abs(numbers(3, seed=4)))
    before = [r.numpy().copy() for r in running]
    axes, column = (0, *range(2, len(shape))), (3,) + (1,) * (len(shape) - 2)
    w, b = weight.reshape(column), bias.reshape(column)
    found = F.batch_norm(md.Tensor(x), *running, md.Tensor(weight), md.Tensor(bias), True, 0.3, 1e-3)
    close(found, standardised(x, axes, 1e-3) * w + b)
    close(running[0], 0.7 * before[0] + 0.3 * x.mean(axes))
    close(running[1], 0.7 * before[1] + 0.3 * x.var(axes, ddof=1))
    before = [r.numpy().copy() for r in running]
    found = F.batch_norm(md.Tensor(x), *running, md.Tensor(weight), md.Tensor(bias), False, 0.3, 1e-3)
    close(found, (x - before[0].reshape(column)) / np.sqrt(before[1].reshape(column) + 1e-3) * w + b)
    close(running[0], before[0])
    close(F.batch_norm(md.Tensor(x), training=True), standardised(x, axes))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_batch_norm(training):
    mean, var = md.Tensor(numbers(2, seed=3)), md.Tensor(np.abs(numbers(2, seed=4)))

    def norm(x, w, b):
        return F.batch_norm(x, mean.clone(), var.clone(), w, b, training)
    assert check_gradients(norm, [leaf(3, 2, 2), leaf(2, seed=1), leaf(2, seed=2)], second_order=True)


def test_layer_group_instance_and_rms_norm():
    x = numbers(2, 4, 3, 5)
    weight, bias, channel = numbers(3, 5, seed=1), numbers(3, 5, seed=2), numbers(4, seed=3)
    t = md.Tensor
    close(F.layer_norm(t(x), (3, 5), t(weight), t(bias)), standardised(x, (2, 3)) * weight + bias)
    close(F.layer_norm(t(x), 5), standardised(x, (3,)))
    grouped = standardised(x.reshape(2, 2, -1), (2,)).reshape(x.shape)
    column = channel.reshape(4, 1, 1)
    close(F.group_norm(t(x), 2, t(channel), t(channel)), grouped * column + column)
    close(F.instance_norm(t(x), weight=t(channel)), standardised(x, (2, 3)) * column)
    root = np.sqrt((x ** 2).mean((2, 3), keepdims=True) + 1e-6)
    close(F.rms_norm(t(x), [3, 5], t(weight), 1e-6), x / root * weight)
    close(F.rms_norm(t(x), (5,)), x / np.sqrt((x ** 2).mean(-1, keepdims=True) + np.finfo(float).eps))


def test_instance_norm_moves_and_uses_running_statistics():
    x, mean, var = numbers(2, 3, 4), md.zeros(3, dtype=md.float64), md.ones(3, dtype=md.float64)
    F.instance_norm(md.Tensor(x), mean, var, momentum=0.5)
    close(mean, 0.5 * x.mean(2).mean(0))
    close(var, 0.5 + 0.5 * x.var(2, ddof=1).mean(0))
    expected = (x - mean.numpy()[:, None]) / np.sqrt(var.numpy()[:, None] + 1e-5)
    close(F.instance_norm(md.Tensor(x), mean, var, use_input_stats=False), expected)


def test_norms_refuse_what_does_not_fit():
    x = md.zeros(2, 4, 1, 1)
    with pytest.raises(ShapeError, match="more than one number"):
        F.batch_norm(x[:1], training=True)
    with pytest.raises(ShapeError, match="more than one number"):
        F.instance_norm(x, md.zeros(4), md.ones(4))
    with pytest.raises(ShapeError, match="running_mean must have one number for each of 4"):
        F.batch_norm(x, md.zeros(1), md.ones(1), training=True)
    with pytest.raises(ArgumentError, match="running mean"):
        F.batch_norm(x)
    for norm in (F.layer_norm, F.rms_norm):
        with pytest.raises(ShapeError, match="last axes"):
            norm(x, (4,))
    with pytest.raises(ArgumentError, match="equal groups"):
        F.group_norm(x, 3)


def test_normalize_and_cosine_similarity():
    x, y = numbers(3, 4), numbers(3, 4, seed=1)
    close(F.normalize(md.Tensor(x)), x / np.linalg.norm(x, axis=1, keepdims=True))
    close(F.normalize(md.Tensor(x), p=1, dim=0), x / np.abs(x).sum(0))
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    close(F.cosine_similarity(md.Tensor(x), md.Tensor(y)), cosine)
    assert F.normalize(md.zeros(1, 3)).tolist() == [[0, 0, 0]]


# ---------------------------------------------------------------------- dropout and embedding
def test_dropout_keeps_the_mean_and_scales_what_stays():
    x = md.ones(200, 200)
    out = F.dropout(x, 0.3, generator=md.Generator(1)).numpy()
    assert sorted(set(out.reshape(-1).tolist())) == [0.0, pytest.approx(1 / 0.7)]
    assert out.mean() == pytest.approx(1, abs=0.02)
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.01)


def test_dropout_of_the_same_generator_state_is_the_same():
    x = md.ones(50)
    a, b = md.Generator(3), md.Generator(3)
    first = F.dropout(x, generator=a)
    assert bool((first == F.dropout(x, generator=b)).all())
    assert not bool((first == F.dropout(x, generator=a)).all())
    md.manual_seed(4)
    second = F.dropout(x)
    md.manual_seed(4)
    assert bool((second == F.dropout(x)).all())


@pytest.mark.parametrize("dropout, shape", [
    (F.dropout1d, (40, 20, 5)), (F.dropout1d, (300, 5)), (F.dropout2d, (40, 20, 3, 2)), (F.dropout2d, (300, 3, 2))])
def test_dropout_of_channels_keeps_or_drops_them_whole(dropout, shape):
    out = dropout(md.ones(*shape), 0.25).numpy()
    axes = tuple(range(-1 if dropout is F.dropout1d else -2, 0))
    low, high = out.min(axes), out.max(axes)
    assert (low == high).all() and set(np.unique(low)) == {0, np.float32(4 / 3)}
    assert abs((low == 0).mean() - 0.25) < 0.08
    x = md.ones(*shape)
    assert dropout(x, 0.25, False) is x and dropout(x, 0.0) is x and not dropout(x, 1.0).numpy().any()
    with pytest.raises(ShapeError, match="with or without a batch"):
        dropout(md.ones(5))
    with pytest.raises(ArgumentError, match=rf"{dropout.__name__}: p is a probability"):
        dropout(x, 2)


def test_dropout_at_the_ends_and_in_evaluation():
    x = leaf(4)
    assert F.dropout(x, 0.7, training=False).tolist() == F.dropout(x, 0.0).tolist() == x.tolist()
    assert F.dropout(x, 1.0).tolist() == [0.0] * 4
    F.dropout(x, 1.0).sum().backward()
    assert x.grad.tolist() == [0.0] * 4
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ArgumentError, match="probability"):
            F.dropout(x, p)


def test_the_gradient_of_dropout_is_its_mask():
    x = leaf(100)
    out = F.dropout(x, 0.5)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.where(out.detach().numpy() == 0, 0.0, 2.0))


def test_embedding_looks_up_and_the_padding_row_gets_no_gradient():
    table, rows = leaf(5, 3), md.tensor([[1, 3], [1, 4]])
    out = F.embedding(rows, table, padding_idx=-2)
    close(out, table.detach().numpy()[[[1, 3], [1, 4]]])
    out.sum().backward()
    assert table.grad[:, 0].tolist() == [0, 2, 0, 0, 1]
    assert check_gradients(lambda w: F.embedding(rows, w).tanh(), [leaf(5, 3)], second_order=True)


def test_embedding_by_frequency_and_with_a_largest_norm():
    table = leaf(4, 2)
    F.embedding(md.tensor([1, 1, 1, 2]), table, scale_grad_by_freq=True).sum().backward()
    close(table.grad, [[0, 0], [1, 1], [1, 1], [0, 0]])
    table = md.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]])
    F.embedding(md.tensor([0, 1]), table, max_norm=1.0)
    close(table, [[0.6, 0.8], [0.3, 0.4], [6, 8]], rtol=1e-5)


def test_embedding_refuses_other_rows():
    table = md.zeros(4, 2)
    for row in (4, -1):
        with pytest.raises(DimensionError, match="table of 4 rows"):
            F.embedding(md.tensor([0, row]), table)
    with pytest.raises(DTypeError, match="whole numbers"):
        F.embedding(md.tensor([1.0]), table)
    with pytest.raises(ArgumentError, match="padding_idx"):
        F.embedding(md.tensor([1]), table, padding_idx=4)


def test_one_hot():
    assert F.one_hot(md.tensor([[0, 2]])).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    assert F.one_hot(md.tensor(1), 3).tolist() == [0, 1, 0]
    for wrong in ([-1], [3]):
        with pytest.raises(ArgumentError, match="class numbers"):
            F.one_hot(md.tensor(wrong), 3)


# ---------------------------------------------------------------------- borders and sizes
MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@given(st.sampled_from(list(MODES)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_pad_is_numpys(mode, border):
    x = numbers(2, 3, 4)
    left, right, top, bottom = border
    expected = np.pad(x, [(0, 0), (top, bottom), (left, right)], mode=MODES[mode])
    close(F.pad(md.Tensor(x), border, mode), expected)
    assert check_gradients(lambda x: F.pad(x, border, mode), [leaf(1, 3, 4)])


def test_pad_with_a_value_and_with_negative_numbers():
    x = np.arange(12.0).reshape(3, 4)
    t = md.Tensor(x)
    close(F.pad(t, (1, 0, 0, 2), value=7.0), np.pad(x, [(0, 2), (1, 0)], constant_values=7))
    close(F.pad(t, (-1, 2)), np.pad(x[:, 1:], [(0, 0), (0, 2)]))
    close(F.pad(t, (-1, -2)), x[:, 1:2])
    close(F.pad(t, (-1, 1), "replicate"), np.pad(x, [(0, 0), (0, 1)], mode="edge")[:, 1:])
    for wrong in ((1,), (1, 1) * 3):
        with pytest.raises(ArgumentError, match="two numbers an axis"):
            F.pad(t, wrong)
    with pytest.raises(ArgumentError, match="smaller than the axis"):
        F.pad(t, (4, 0), "reflect")
    with pytest.raises(ArgumentError, match="unknown mode"):
        F.pad(t, (1, 0), "mirror")


@given(st.integers(1, 40), st.integers(1, 60))
def test_nearest_takes_the_pixel_at_the_floor(n, target):
    found = F.interpolate(md.arange(float(n)).reshape(1, 1, n), size=target)
    assert found.reshape(-1).tolist() == [k * n // target for k in range(target)]


@given(st.integers(1, 5), st.integers(1, 8), st.booleans())
def test_linear_interpolation_is_numpys(n, target, align_corners):
    y = numbers(n)
    if align_corners:
        x = np.linspace(0, n - 1, target) if target > 1 else np.zeros(1)
    else:
        x = ((np.arange(target) + 0.5) * n / target - 0.5).clip(0, n - 1)
    found = F.interpolate(md.Tensor(y.reshape(1, 1, n)), size=target, mode="linear", align_corners=align_corners)
    close(found.reshape(-1), np.interp(x, np.arange(n), y), rtol=1e-9)


def test_interpolation_of_images():
    x = numbers(1, 2, 2, 3)
    close(F.interpolate(md.Tensor(x), scale_factor=2), x.repeat(2, 2).repeat(2, 3))
    both = F.interpolate(md.Tensor(x), size=(4, 5), mode="bilinear")
    rows = F.interpolate(md.Tensor(x[0].transpose(0, 2, 1)), size=4, mode="linear").transpose(1, 2)
    close(both[0], F.interpolate(rows, size=5, mode="linear").numpy())
    assert check_gradients(lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), [leaf(1, 1, 2, 3)])
    with pytest.raises(ArgumentError, match="either"):
        F.interpolate(md.Tensor(x))


def test_pixel_shuffle_puts_channels_into_pixels():
    x = numbers(2, 8, 3, 2)
    out = F.pixel_shuffle(md.Tensor(x), 2).numpy()
    for c, i, j in np.ndindex(2, 6, 4):
        np.testing.assert_array_equal(out[:, c, i, j], x[:, 4 * c + 2 * (i % 2) + j % 2, i // 2, j // 2])


# ---------------------------------------------------------------------- activations
def normal_cdf(x):
    """The probability that a standard normal number is below x."""
    return np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)


def logistic(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def log_softmaxed(x, axis=1):
    """x - log(sum(exp(x)))."""
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


ACTIVATIONS = {
    "relu": (F.relu, lambda x: np.maximum(x, 0)),
    "relu6": (F.relu6, lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    "prelu": (lambda x: F.prelu(x, md.tensor([0.3, 0.1], dtype=md.float64)),
              lambda x: np.where(x > 0, x, x * np.array([0.3, 0.1]))),
    "elu": (lambda x: F.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    "selu": (F.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "celu": (lambda x: F.celu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x / 0.7))),
    "gelu": (F.gelu, lambda x: x * normal_cdf(x)),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"),
                  lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))),
    "silu": (F.silu, lambda x: x * logistic(x)),
    "mish": (F.mish, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "softplus": (lambda x: F.softplus(x, 2.0), lambda x: np.log1p(np.exp(2 * x)) / 2),
    "softsign": (F.softsign, lambda x: x / (1 + np.abs(x))),
    "logsigmoid": (F.logsigmoid, lambda x: np.log(logistic(x))),
    "sigmoid": (F.sigmoid, logistic),
    "tanh": (F.tanh, np.tanh),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 2.0), lambda x: np.clip(x, -0.5, 2)),
    "hardsigmoid": (F.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hardswish": (F.hardswish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "softmax": (lambda x: F.softmax(x, 1), lambda x: np.exp(log_softmaxed(x))),
    "softmin": (lambda x: F.softmin(x, 0), lambda x: np.exp(log_softmaxed(-x, 0))),
    "log_softmax": (lambda x: F.log_softmax(x, 1), log_softmaxed),
    "glu": (F.glu, lambda x: x[:, :1] * logistic(x[:, 1:])),
    "normalize": (F.normalize, lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)),
}
KINKED = {"relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "hardtanh", "hardsigmoid", "hardswish", "selu"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    function, formula = ACTIVATIONS[name]
    x = numbers(4, 2) * 2
    close(function(md.Tensor(x)), formula(x))
    x = md.Tensor(x, requires_grad=True)
    assert check_gradients(function, [x], second_order=name not in KINKED)
    assert function(md.Tensor(x.detach().numpy().astype(np.float32))).dtype == np.float32 or name == "prelu"


@pytest.mark.parametrize("name, x, slope", [
    ("relu", 0.0, 0), ("relu6", 0.0, 0), ("relu6", 6.0, 0), ("leaky_relu", 0.0, 0.01), ("elu", 0.0, 1),
    ("celu", 0.0, 1), ("hardtanh", 1.0, 0), ("hardtanh", -1.0, 0),
    ("hardsigmoid", 3.0, 0), ("hardswish", 3.0, 1), ("softsign", 0.0, 1)])
def test_the_slope_at_a_kink_is_pytorchs(name, x, slope):
    assert gradient(getattr(F, name), x) == pytest.approx(slope)


def test_prelu_learns_its_slopes():
    assert check_gradients(F.prelu, [leaf(2, 3, 2), leaf(3, seed=1)])
    assert check_gradients(F.prelu, [leaf(2, 3), leaf(1, seed=1)])


def test_softplus_is_x_itself_above_the_threshold():
    assert F.softplus(md.tensor(3.0), threshold=2.0).item() == 3.0


def test_activations_refuse_what_makes_no_sense():
    with pytest.raises(ShapeError, match="two halves"):
        F.glu(md.zeros(2, 3))
    with pytest.raises(ArgumentError, match="unknown approximation"):
        F.gelu(md.zeros(2), "cubic")


BOUNDED = ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
           "logsigmoid", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish"]


@pytest.mark.parametrize("name", BOUNDED)
def test_huge_numbers_make_no_nan_in_activations(name):
    for x in np.array([1e4, -1e4, 1e30, -1e30], np.float32):
        assert np.isfinite(getattr(F, name)(md.tensor(x)).item())
        assert np.isfinite(gradient(getattr(F, name), x))
    for x in np.array([1e4, -1e4, 1e30, -1e30], np.float32):
        assert np.isfinite(gradient(lambda x: F.gelu(x, "tanh"), x))


# ---------------------------------------------------------------------- dense
def test_linear_and_bilinear_are_their_formulas():
    x, w, b = numbers(2, 4, 3), numbers(5, 3, seed=1), numbers(5, seed=2)
    t = md.Tensor
    close(F.linear(t(x), t(w), t(b)), x @ w.T + b)
    close(F.linear(t(x[0, 0]), t(w)), w @ x[0, 0])
    y, w3 = numbers(2, 4, 2, seed=3), numbers(5, 3, 2, seed=4)
    close(F.bilinear(t(x), t(y), t(w3), t(b)), np.einsum("...i,oij,...j->...o", x, w3, y) + b)
    assert check_gradients(F.linear, [leaf(2, 3), leaf(2, 3, seed=1), leaf(2, seed=2)], second_order=True)
    assert check_gradients(F.bilinear, [leaf(2, 3), leaf(2, 2, seed=1), leaf(2, 3, 2, seed=2)], second_order=True)


# ---------------------------------------------------------------------- losses
def reduced(loss, reduction):
    """As the loss functions do it."""
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](loss)


def cut_log(p):
    """log p, at least -100."""
    return np.maximum(np.log(p), -100)


POSITIVE = np.abs(numbers(3, 4, seed=5)) + 0.1
PROBABILITIES = np.exp(log_softmaxed(numbers(3, 4, seed=6)))
SIGNS = np.sign(numbers(3, 4, seed=7))
LOSSES = {
    "mse_loss": ({}, numbers(3, 4, seed=1), lambda x, t: (x - t) ** 2),
    "l1_loss": ({}, numbers(3, 4, seed=1), lambda x, t: np.abs(x - t)),
    "smooth_l1_loss": (dict(beta=0.7), numbers(3, 4, seed=1), lambda x, t: np.where(
        np.abs(x - t) < 0.7, 0.5 * (x - t) ** 2 / 0.7, np.abs(x - t) - 0.35)),
    "huber_loss": (dict(delta=0.7), numbers(3, 4, seed=1), lambda x, t: np.where(
        np.abs(x - t) < 0.7, 0.5 * (x - t) ** 2, 0.7 * (np.abs(x - t) - 0.35))),
    "binary_cross_entropy": ({}, PROBABILITIES, lambda x, t: -(t * cut_log(x) + (1 - t) * cut_log(1 - x))),
    "binary_cross_entropy_with_logits": (dict(pos_weight=md.Tensor(POSITIVE[0])), PROBABILITIES, lambda x, t: -(
        POSITIVE[0] * t * np.log(logistic(x)) + (1 - t) * np.log(logistic(-x)))),
    "kl_div": ({}, PROBABILITIES, lambda x, t: t * (np.log(t) - x)),
    "kl_div log": (dict(log_target=True), np.log(PROBABILITIES), lambda x, t: np.exp(t) * (t - x)),
    "hinge_embedding_loss": ({}, SIGNS, lambda x, t: np.where(t == 1, x, np.maximum(0, 1 - x))),
    "soft_margin_loss": ({}, SIGNS, lambda x, t: np.log1p(np.exp(-t * x))),
    "poisson_nll_loss": ({}, POSITIVE, lambda x, t: np.exp(x) - t * x),
    "poisson_nll_loss full": (dict(full=True), POSITIVE * 4, lambda x, t: np.exp(x) - t * x + np.where(
        t > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0)),
    "gaussian_nll_loss": (dict(var=md.Tensor(POSITIVE), full=True), numbers(3, 4, seed=1), lambda x, t: 0.5 * (
        np.log(2 * np.pi * POSITIVE) + (x - t) ** 2 / POSITIVE)),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name, reduction):
    how, target, formula = LOSSES[name]
    x = PROBABILITIES[::-1].copy() if name == "binary_cross_entropy" else numbers(3, 4)
    function = getattr(F, name.split()[0])
    close(function(md.Tensor(x), md.Tensor(target), reduction=reduction, **how), reduced(formula(x, target), reduction))
    assert check_gradients(lambda x: function(x, md.Tensor(target), reduction=reduction, **how),
                           [md.Tensor(x, requires_grad=True)], second_order=name != "l1_loss")


def test_losses_of_pairs_and_triples():
    a, b, c, t = (md.Tensor(numbers(4, 3, seed=k)) for k in range(4))
    x, y, z = (v.numpy() for v in (a, b, c))
    sign = md.tensor([1, -1, 1, -1])
    s = sign.numpy()
    close(F.margin_ranking_loss(a[:, 0], b[:, 0], sign, 0.2), np.maximum(0, -s * (x - y)[:, 0] + 0.2).mean())
    cos = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    close(F.cosine_embedding_loss(a, b, sign, 0.1), np.where(s == 1, 1 - cos, np.maximum(0, cos - 0.1)).mean())

    def distance(a, b):
        return np.linalg.norm(a - b + 1e-6, axis=1)
    close(F.triplet_margin_loss(a, b, c), np.maximum(distance(x, y) - distance(x, z) + 1, 0).mean())
    swapped = np.minimum(distance(x, z), distance(y, z))
    close(F.triplet_margin_loss(a, b, c, swap=True), np.maximum(distance(x, y) - swapped + 1, 0).mean())
    leaves = [leaf(4, 3, seed=k) for k in range(3)]
    assert check_gradients(lambda a, b: F.cosine_embedding_loss(a, b, sign, 0.1), leaves[:2])
    assert check_gradients(F.triplet_margin_loss, leaves)
    assert check_gradients(lambda a, b: F.margin_ranking_loss(a, b, t, 0.2), leaves[:2])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", [F.nll_loss, F.cross_entropy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
def test_rows_that_do_not_count_might_as_well_be_missing(loss, weight, reduction):
    """Whatever number says so, one that is no class or one that is; and even where their scores are infinite."""
    scores = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 5))
    scores[1], scores[3] = [0, -np.inf, -np.inf], [-np.inf, 0, -np.inf]
    weight, rows = None if weight is None else md.tensor(weight, dtype=md.float64), [0, 2, 4]
    for ignored, target in [(-100, [0, -100, 1, -100, 0]), (2, [0, 2, 1, 2, 0]), (3, [0, 3, 1, 3, 0])]:
        settings = dict(weight=weight, reduction=reduction)
        x, few = md.tensor(scores, requires_grad=True), md.tensor(scores[rows], requires_grad=True)
        out = loss(x, md.tensor(target), ignore_index=ignored, **settings)
        expected = loss(few, md.tensor(target)[rows], **settings)
        out.backward(), expected.backward()
        np.testing.assert_allclose(float(out), float(expected), rtol=1e-12)
        np.testing.assert_allclose(x.grad[rows].numpy(), few.grad.numpy(), rtol=1e-12)
        assert not x.grad[[1, 3]].numpy().any()


def plain_cross_entropy(x, target, weight, ignore_index, reduction, smoothing):
    """One example at a time. x: (N, C), target: (N,)."""
    losses, counts, (_, classes) = [], [], x.shape
    weight = np.ones(classes) if weight is None else weight
    for row, t in zip(log_softmaxed(x), target):
        ignored = t == ignore_index
        right = -weight[t] * row[t]
        losses.append(0.0 if ignored else (1 - smoothing) * right + smoothing / classes * -(weight * row).sum())
        counts.append(0.0 if ignored else weight[t])
    return {"none": np.array(losses), "sum": np.sum(losses), "mean": np.sum(losses) / np.sum(counts)}[reduction]


@given(st.data())
def test_cross_entropy_is_the_loop(data):
    n, classes = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 4))
    x, target = numbers(n, classes), np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    weight = np.abs(numbers(classes, seed=1)) + 0.1 if data.draw(st.booleans()) else None
    ignored = data.draw(st.sampled_from([-100, *set(range(classes)) - {target[0]}]))
    reduction = data.draw(st.sampled_from(["mean", "sum", "none"]))
    smoothing = data.draw(st.sampled_from([0.0, 0.2, 1.0]))
    how = dict(weight=None if weight is None else md.Tensor(weight), ignore_index=ignored, reduction=reduction)
    expected = plain_cross_entropy(x, target, weight, ignored, reduction, smoothing)
    t = md.Tensor(target)
    close(F.cross_entropy(md.Tensor(x), t, label_smoothing=smoothing, **how), expected)
    if smoothing == 0:
        close(F.nll_loss(md.Tensor(log_softmaxed(x)), t, **how), expected)
    assert check_gradients(lambda x: F.cross_entropy(x, t, label_smoothing=smoothing, **how),
                           [md.Tensor(x, requires_grad=True)])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_probabilities(reduction, smoothing):
    x, p, weight = numbers(3, 4), PROBABILITIES, POSITIVE[0]
    soft = p * (1 - smoothing) + smoothing / 4
    loss = -(weight * soft * log_softmaxed(x)).sum(1)
    t = md.Tensor
    close(F.cross_entropy(t(x), t(p), t(weight), reduction=reduction, label_smoothing=smoothing),
          reduced(loss, reduction))
    assert check_gradients(lambda x, p: F.cross_entropy(x, p, label_smoothing=smoothing),
                           [leaf(2, 3), md.Tensor(np.eye(3)[:2], requires_grad=True)])


def test_cross_entropy_of_class_numbers_is_that_of_one_hot_probabilities():
    x, target = leaf(4, 3), md.tensor([0, 2, 1, 1])
    for smoothing in (0.0, 0.1):
        close(F.cross_entropy(x, target, label_smoothing=smoothing),
              F.cross_entropy(x, F.one_hot(target, 3).double(), label_smoothing=smoothing).item())


def test_cross_entropy_of_images_and_of_one_example():
    x, target = numbers(2, 3, 4, 5), np.random.default_rng(1).integers(0, 3, (2, 4, 5))
    flat = x.transpose(0, 2, 3, 1).reshape(-1, 3), target.reshape(-1)
    for reduction in ("mean", "sum", "none"):
        expected = plain_cross_entropy(*flat, None, -100, reduction, 0.0)
        expected = expected.reshape(2, 4, 5) if reduction == "none" else expected
        close(F.cross_entropy(md.Tensor(x), md.Tensor(target), reduction=reduction), expected)
    one = F.cross_entropy(md.Tensor(x[0, :, 0, 0]), md.Tensor(target[0, 0, 0]))
    close(one, plain_cross_entropy(x[:1, :, 0, 0], target[:1, 0, 0], None, -100, "mean", 0.0))


def test_all_examples_ignored():
    x, target = leaf(3, 2), md.tensor([-100] * 3)
    assert F.cross_entropy(x, target, reduction="none").tolist() == [0, 0, 0]
    total = F.cross_entropy(x, target, reduction="sum")
    total.backward()
    assert total.item() == 0 and x.grad.tolist() == [[0, 0]] * 3
    with np.errstate(invalid="ignore"):               # the mean of nothing
        assert math.isnan(F.cross_entropy(x, target).item())


def test_class_numbers_of_any_whole_dtype():
    x = leaf(3, 4)
    expected = F.cross_entropy(x, md.tensor([0, 3, 1])).item()
    for dtype in (np.uint8, np.int8, np.int32):
        assert F.cross_entropy(x, md.tensor([0, 3, 1], dtype=dtype)).item() == expected


WRONG_LOSSES = {
    "mse shapes": (lambda x: F.mse_loss(x[:, 0], x[:, :1]), ShapeError, "compare all with all"),
    "l1 shapes": (lambda x: F.l1_loss(x[:, :1], x[:, 0]), ShapeError, "compare all with all"),
    "huber shapes": (lambda x: F.huber_loss(x[:, :1], x[:, 0]), ShapeError, "compare all with all"),
    "mse batch": (lambda x: F.mse_loss(x, x[:2]), ShapeError, "broadcast"),
    "mse one row": (lambda x: F.mse_loss(x, x[:1]), ShapeError, "compare all with all"),
    "l1 one column": (lambda x: F.l1_loss(x[:, :1], x), ShapeError, "compare all with all"),
    "bce shapes": (lambda x: F.binary_cross_entropy(x[:, 0] * 0, x[:, :1]), ShapeError, "one shape"),
    "bce logits": (lambda x: F.binary_cross_entropy(x, x), ArgumentError, "with_logits"),
    "bcel shapes": (lambda x: F.binary_cross_entropy_with_logits(x[:, 0], x[:, :1]), ShapeError, "one shape"),
    "float classes": (lambda x: F.nll_loss(x, x[:, 0]), DTypeError, r"target.long\(\)"),
    "float classes, square": (lambda x: F.cross_entropy(x[:3], x[:3, 0]), ShapeError, r"target.long\(\)"),
    "batch": (lambda x: F.cross_entropy(x, md.tensor([0, 1])), ShapeError, "one class number for each row"),
    "one-hot classes": (lambda x: F.cross_entropy(x, x.long()), ShapeError, "one class number for each row"),
    "too high": (lambda x: F.cross_entropy(x, md.tensor([0, 1, 2, 3])), DimensionError, r"0 \.\. 2"),
    "negative": (lambda x: F.cross_entropy(x, md.tensor([0, 1, 2, -1])), DimensionError, r"0 \.\. 2"),
    "few weights": (lambda x: F.cross_entropy(x, md.tensor([0] * 4), md.ones(2)), ShapeError, "each of 3 classes"),
    "many weights": (lambda x: F.cross_entropy(x, md.tensor([0] * 4), md.ones(4)), ShapeError, "each of 3 classes"),
    "smoothing": (lambda x: F.cross_entropy(x, x, label_smoothing=2), ArgumentError, "share"),
    "reduction": (lambda x: F.mse_loss(x, x, reduction="max"), ArgumentError, "unknown reduction"),
    "reduction of classes": (lambda x: F.cross_entropy(x, md.tensor([0] * 4), reduction=""), ArgumentError, "unknown"),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_losses_refuse_what_is_a_mistake(name):
    call, kind, words = WRONG_LOSSES[name]
    with pytest.raises(kind, match=words):
        call(md.Tensor(numbers(4, 3, dtype=np.float32) - 1))


def test_a_single_number_may_be_the_target_of_all():
    x = md.Tensor(numbers(4, 3))
    close(F.mse_loss(x, md.tensor(1.0, dtype=md.float64)), ((x.numpy() - 1) ** 2).mean())
    close(F.l1_loss(x, 1.0), np.abs(x.numpy() - 1).mean())


# ---------------------------------------------------------------------- connectionist temporal classification
def labels_left(alignment, blank):
    """Equal neighbours made one, then blanks dropped."""
    return [k for k, _ in itertools.groupby(alignment) if k != blank]


def summed_over_all_alignments(p, labels, blank):
    """Minus the logarithm of the sum over all sequences of classes that leave these labels. p: (T, C)."""
    steps, classes = p.shape
    total = sum(math.prod(p[range(steps), path]) for path in itertools.product(range(classes), repeat=steps)
                if labels_left(path, blank) == list(labels))
    return -math.log(total) if total else math.inf


CTC = {
    "no labels": ([], 0), "one": ([1], 0), "two": ([1, 2], 0), "equal neighbours": ([2, 2], 0), "blank 1": ([0, 2], 1),
    "as many as steps": ([1, 2, 1, 2], 0), "one too many for equal neighbours": ([1, 1, 2, 1], 0),
}


@pytest.mark.parametrize("name", CTC)
def test_ctc_loss_is_the_sum_over_all_alignments(name):
    labels, blank = CTC[name]
    x = leaf(4, 3)
    log_p = F.log_softmax(x, 1)
    expected = summed_over_all_alignments(np.exp(log_p.detach().numpy()), labels, blank)
    loss = F.ctc_loss(log_p, md.tensor(labels), 4, len(labels), blank, "none")
    close(loss, expected)
    assert math.isinf(expected) == (name == "one too many for equal neighbours")
    if math.isinf(expected):
        loss.backward()
        assert not x.grad.numpy().any()               # 0, and no nan
    else:
        assert check_gradients(lambda x: F.ctc_loss(F.log_softmax(x, 1), md.tensor(labels), 4, len(labels), blank), [x])


def test_ctc_loss_of_a_batch_is_that_of_its_sequences():
    log_p, labels = F.log_softmax(md.Tensor(numbers(5, 4, 3)), 2), [[1, 2, 1], [2, 0, 1], [1, 1, 1], [2, 2, 2]]
    steps, counts = (5, 3, 5, 0), (3, 1, 0, 0)        # what lies beyond the lengths is not looked at
    single = [F.ctc_loss(log_p[:n, k], md.tensor(labels[k][:m]), n, m, reduction="none").item()
              for k, (n, m) in enumerate(zip(steps, counts))]
    in_a_row = md.tensor([label for row, m in zip(labels, counts) for label in row[:m]])
    for targets in (md.tensor(labels), in_a_row):
        losses = F.ctc_loss(log_p, targets, md.tensor(steps), counts, reduction="none")
        close(losses, single)
        close(F.ctc_loss(log_p, targets, steps, counts), np.mean(np.array(single) / np.maximum(counts, 1)))
        close(F.ctc_loss(log_p, targets, steps, counts, reduction="sum"), sum(single))
    assert losses[3].item() == 0                      # no steps for no labels: certain


def test_ctc_loss_without_a_path_counts_as_nothing_if_asked():
    x = leaf(3, 2, 3)
    how = dict(targets=md.tensor([[1, 1, 2], [1, 2, 0]]), input_lengths=(3, 3), target_lengths=(3, 2))
    assert F.ctc_loss(F.log_softmax(x, 2), **how).item() == math.inf
    possible = F.ctc_loss(F.log_softmax(x, 2)[:, 1], md.tensor([1, 2]), 3, 2, reduction="sum")
    loss = F.ctc_loss(F.log_softmax(x, 2), **how, reduction="sum", zero_infinity=True)
    close(loss, possible.item())
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all() and not x.grad.numpy()[:, 0].any() and x.grad.numpy()[:, 1].any()


def test_ctc_loss_of_a_class_that_is_ruled_out():
    x = md.tensor([[0.0, -math.inf, 1.0], [1.0, 0.0, 0.0]], requires_grad=True)
    loss = F.ctc_loss(F.log_softmax(x, 1), md.tensor([1]), 2, 1)
    close(loss, summed_over_all_alignments(np.exp(F.log_softmax(x, 1).detach().numpy()), [1], 0), rtol=1e-5)
    loss.backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_ctc_loss_runs_where_its_log_probabilities_are(fake):
    x, targets, lengths = md.randn(4, 2, 3), md.tensor([[1, 2], [2, 0]]), ((4, 3), (2, 1))
    expected = F.ctc_loss(F.log_softmax(x, 2), targets, *lengths)
    there = x.to("fake").requires_grad_()
    loss = F.ctc_loss(F.log_softmax(there, 2), targets.to("fake"), *lengths)
    loss.backward()
    assert str(there.grad.device) == "fake" and loss.item() == expected.item()


WRONG_CTC = {
    "few lengths": (dict(input_lengths=(4,)), ShapeError, "one length for each"),
    "one axis": (dict(log_probs=md.zeros(4)), ShapeError, "one length for each"),
    "more steps than there are": (dict(input_lengths=(4, 5)), ArgumentError, r"0 \.\. 4, the number of steps"),
    "a length below 0": (dict(target_lengths=(2, -1)), ArgumentError, "0 or more"),
    "more labels than there are": (dict(target_lengths=(2, 3)), ShapeError, "as long as its target length"),
    "another batch": (dict(targets=md.ones(3, 2).long()), ShapeError, "row of labels for each sequence"),
    "labels in a row": (dict(targets=md.tensor([1, 2, 2])), ShapeError, "as many as all target lengths"),
    "no such class": (dict(targets=md.tensor([[1, 2], [3, 1]])), DimensionError, r"classes, 0 \.\. 2"),
    "a label that is the blank": (dict(targets=md.tensor([[1, 0], [1, 1]])), DimensionError, "no label the blank"),
    "no such blank": (dict(blank=3), DimensionError, r"classes, 0 \.\. 2"),
    "labels with a point": (dict(targets=md.ones(2, 2)), DTypeError, "whole numbers"),
}


@pytest.mark.parametrize("name", WRONG_CTC)
def test_ctc_loss_refuses_what_does_not_fit(name):
    wrong, kind, words = WRONG_CTC[name]
    right = dict(log_probs=md.zeros(4, 2, 3), targets=md.tensor([[1, 2], [2, 1]]), input_lengths=(4, 4),
                 target_lengths=(2, 2))
    assert F.ctc_loss(**right).shape == ()
    with pytest.raises(kind, match=words):
        F.ctc_loss(**{**right, **wrong})


# ---------------------------------------------------------------------- extreme numbers
HUGE = [1e4, -1e4, 1e30, -1e30]


@pytest.mark.parametrize("big", HUGE)
@pytest.mark.parametrize("right", [0, 1])
def test_cross_entropy_of_huge_logits_is_exact(big, right):
    rows = np.array([[big, 0.0]], np.float32)
    loss = max(rows[0]) - rows[0, right]
    slope = (rows[0] == max(rows[0])) - np.eye(2)[right]
    for target in (md.tensor([right]), md.tensor(np.eye(2, dtype=np.float32)[[right]])):
        x = md.tensor(rows, requires_grad=True)
        found = F.cross_entropy(x, target)
        found.backward()
        assert found.item() == loss
        assert x.grad.tolist() == [slope.tolist()]


def test_a_class_that_is_ruled_out_by_minus_infinity_costs_nothing_where_it_is_not_asked_for():
    rows = np.array([[-math.inf, 0.0, 1.0]])
    for target in (md.tensor([1]), md.tensor([[0.0, 1.0, 0.0]], dtype=md.float64)):
        x = md.tensor(rows, requires_grad=True)
        loss = F.cross_entropy(x, target)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(1 + math.e))
        close(x.grad, [[0, 1 / (1 + math.e) - 1, math.e / (1 + math.e)]])
    assert F.cross_entropy(md.tensor(rows), md.tensor([0])).item() == math.inf
    assert F.kl_div(md.tensor(rows), md.tensor([[0.0, 1.0, 0.0]]), reduction="sum").item() == 0.0


@pytest.mark.parametrize("x", [*HUGE, math.inf, -math.inf])
@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_binary_cross_entropy_of_huge_logits_is_exact(x, target):
    logit = md.tensor([x], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(logit, md.tensor([target]))
    loss.backward()
    x = float(np.float32(x))
    expected = 0.0 if (x > 0) == target and target != 0.5 else abs(x) * (0.5 if target == 0.5 else 1)
    assert loss.item() == pytest.approx(expected)
    assert logit.grad.tolist() == [float(x > 0) - target]


def test_probabilities_of_0_and_1():
    for p, target, loss in ((0.0, 0.0, 0), (1.0, 1.0, 0), (0.0, 1.0, 100), (1.0, 0.0, 100)):
        x = md.tensor([p], requires_grad=True)
        found = F.binary_cross_entropy(x, md.tensor([target]))
        found.backward()
        assert found.item() == pytest.approx(loss, rel=1e-3)
        assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("name", [
    "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "hinge_embedding_loss"])
@pytest.mark.parametrize("x", [*HUGE, math.inf, -math.inf])
def test_losses_of_straight_lines_have_finite_slopes(name, x):
    leaf = md.tensor([x], requires_grad=True)
    loss = getattr(F, name)(leaf, md.tensor([1.0]))
    loss.backward()
    assert not math.isnan(loss.item()) and abs(leaf.grad.item()) in (0, 1)
    assert math.isinf(x) or math.isfinite(loss.item())


@pytest.mark.parametrize("big", HUGE)
def test_softmax_and_norms_of_huge_numbers(big):
    rows = np.array([[big, 1.0, 2.0], [1.0, 2.0, 1.0]], np.float32)
    weights = md.tensor([1.0, 2.0, 3.0])
    functions = [lambda x: F.softmax(x, 1), lambda x: F.log_softmax(x, 1), lambda x: F.normalize(x),
                 lambda x: F.cosine_similarity(x, weights.expand(2, 3)).unsqueeze(1), lambda x: F.layer_norm(x, 3),
                 lambda x: F.rms_norm(x, (3,)), lambda x: F.batch_norm(x, training=True)]
    for function in functions:
        x = md.tensor(rows, requires_grad=True)
        with np.errstate(over="ignore"):              # the variance of 1e30 is beyond float32: 1 / inf is 0
            out = function(x)
        (out * weights).sum().backward()
        assert np.isfinite(out.detach().numpy()).all() and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("window", [dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1),
                                    dict(kernel_size=2, stride=1, dilation=2), dict(kernel_size=2, ceil_mode=True)])
def test_pool_indices_say_where_the_largest_number_stood(window):
    x = md.randn(2, 3, 5, 7)
    out, indices = F.max_pool2d(x, return_indices=True, **window)
    assert indices.dtype == np.int64
    assert md.equal(x.flatten(2).gather(2, indices.flatten(2)), out.flatten(2))
    assert md.equal(out, F.max_pool2d(x, **window))
