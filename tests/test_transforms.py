"""Transforms: values, one by one against all at once, randomness from the given generator only."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as md
from minidl import data
from minidl.data.transforms import rotate
from minidl.errors import ArgumentError, DTypeError, GradientError, ShapeError

RANDOM = {
    "crop": lambda g: data.RandomCrop(5, padding=2, generator=g),
    "crop without room": lambda g: data.RandomCrop((7, 6), generator=g),
    "shift": lambda g: data.RandomShift(2, fill=1, generator=g),
    "rotation": lambda g: data.RandomRotation(30, generator=g),
    "flip": lambda g: data.RandomHorizontalFlip(generator=g),
}


def images(*shape, dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).random(shape) * (255 if dtype == np.uint8 else 1)
    return values.astype(dtype)


# ---------------------------------------------------------------------- numbers
@pytest.mark.parametrize("shape, expected", [((4, 5), (1, 4, 5)), ((4, 5, 3), (3, 4, 5))])
def test_to_tensor_scales_bytes_and_moves_channels_forward(shape, expected):
    image = images(*shape, dtype=np.uint8)
    image.flat[0], image.flat[1] = 0, 255
    out = data.ToTensor()(image)
    assert out.shape == expected and out.dtype == np.float32 and out.is_contiguous()
    channels_last = np.moveaxis(out.numpy(), 0, -1).reshape(shape)
    assert np.array_equal(channels_last, (image / 255).astype(np.float32))
    assert out.numpy().min() == 0 and out.numpy().max() == 1
    stacked = data.ToTensor().batch(np.stack([image, image]))
    assert np.array_equal(stacked.numpy()[1], out.numpy())


def test_to_tensor_leaves_floats_unscaled_and_refuses_the_rest():
    assert data.ToTensor()(np.full((2, 2), 7.0)).tolist() == [[[7, 7], [7, 7]]]
    for bad in (md.zeros(1, 2, 2), np.zeros((2, 2), np.int64), np.array([["a"]]), None):
        with pytest.raises(DTypeError):
            data.ToTensor()(bad)
    with pytest.raises(ShapeError, match="an image is"):
        data.ToTensor()(np.zeros((1, 2, 3, 4)))


def test_normalize_by_channel():
    x = images(2, 3, 4, 5)
    out = data.Normalize([0.1, 0.2, 0.3], [1, 2, 4]).batch(x)
    mean, std = np.array([[0.1, 0.2, 0.3], [1, 2, 4]], np.float32)[:, :, None, None]
    expected = (x - mean) / std
    assert np.array_equal(out, expected) and out.dtype == np.float32
    assert np.allclose(data.Normalize(0.5, 2)(md.tensor(x[0])).numpy(), (x[0] - 0.5) / 2)
    assert data.Normalize((0.5,), (2,))(x[0, 0]).shape == (4, 5)


def test_normalize_refuses_what_makes_no_sense():
    with pytest.raises(ArgumentError, match="above 0"):
        data.Normalize(0, 0)
    with pytest.raises(ShapeError, match="one number for each channel"):
        data.Normalize([0, 0, 0], [1, 1, 1])(images(1, 4, 4))
    with pytest.raises(DTypeError, match="put ToTensor before it"):
        data.Normalize(0, 1)(images(1, 4, 4, dtype=np.uint8))


def test_compose_and_lambda_alone_and_in_batches():
    raw = images(6, 8, 8, dtype=np.uint8)
    chain = data.Compose([data.Lambda(lambda x: x[1:-1, 1:-1]), data.ToTensor(), data.Normalize(0.5, 0.5),
                          lambda x: x * 2])
    together = chain.batch(raw)
    assert together.shape == (6, 1, 6, 6)
    for one, image in zip(together, raw):
        assert np.array_equal(one.numpy(), chain(image).numpy())
    assert repr(data.Compose([data.ToTensor(), data.RandomCrop(3)])) == (
        "Compose(transforms=[ToTensor(), RandomCrop(size=(3, 3), padding=0, fill=0)])")


def test_a_transform_of_ones_own_needs_one_method():
    class Invert(data.Transform):
        def change(self, images):
            return 1 - images
    assert Invert()(md.zeros(1, 2, 2)).tolist() == [[[1, 1], [1, 1]]]
    with pytest.raises(NotImplementedError, match="must say what it does"):
        data.Transform()(md.zeros(1, 2, 2))


# ---------------------------------------------------------------------- randomness
@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("shape", [(5, 7, 6), (5, 3, 7, 6)])
def test_one_by_one_and_all_at_once_agree(name, shape):
    x = images(*shape)
    together = RANDOM[name](md.Generator(4)).batch(x)
    alone = RANDOM[name](md.Generator(4))
    assert np.array_equal(together, np.stack([alone(image) for image in x]))
    tensors = RANDOM[name](md.Generator(4)).batch(md.tensor(x))
    assert isinstance(tensors, md.Tensor) and np.array_equal(tensors.numpy(), together)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_come_from_the_generator_alone(name):
    x = images(20, 7, 6)
    default = md.get_rng_state()
    hidden = np.random.get_state()[1].copy()  # noqa: NPY002
    first = RANDOM[name](md.Generator(4)).batch(x)
    assert md.get_rng_state() == default
    assert np.array_equal(np.random.get_state()[1], hidden)  # noqa: NPY002
    assert np.array_equal(first, RANDOM[name](md.Generator(4)).batch(x))
    md.manual_seed(4)
    assert np.array_equal(RANDOM[name](None).batch(x), first)
    if "without room" not in name:
        assert not np.array_equal(first, RANDOM[name](md.Generator(5)).batch(x))


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_the_input_stays_and_so_does_the_dtype(name, dtype):
    x = images(4, 7, 6, dtype=dtype)
    before = x.copy()
    out = RANDOM[name](md.Generator(0)).batch(x)
    assert out.dtype == dtype and np.array_equal(x, before) and not np.shares_memory(x, out)


def test_a_recorded_tensor_is_refused():
    with pytest.raises(GradientError):
        data.RandomShift(1)(md.zeros(1, 4, 4, requires_grad=True))


# ---------------------------------------------------------------------- geometry
def test_every_crop_is_a_window_and_every_place_comes_up():
    image = np.arange(12.0).reshape(3, 4)
    crop = data.RandomCrop((2, 3), padding=1, fill=-1, generator=md.Generator(0))
    padded = np.pad(image, 1, constant_values=-1)
    windows = {padded[r:r + 2, c:c + 3].tobytes() for r in range(4) for c in range(4)}
    assert {crop(image).tobytes() for _ in range(400)} == windows


def test_a_shift_moves_by_at_most_its_pixels():
    image = np.zeros((1, 9, 9), np.float32)
    image[0, 4, 4] = 1
    shift = data.RandomShift(2, generator=md.Generator(0))
    places = {tuple(np.argwhere(shift(image))[0, 1:]) for _ in range(400)}
    assert places == {(r, c) for r in range(2, 7) for c in range(2, 7)}


def test_flip_mirrors_left_and_right():
    image = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(data.RandomHorizontalFlip(1.0)(image), image[:, ::-1])
    assert np.array_equal(data.RandomHorizontalFlip(0.0)(image), image)
    flips = data.RandomHorizontalFlip(0.25, md.Generator(0)).batch(np.tile(image, (2000, 1, 1)))
    assert abs((flips[:, 0, 0] == 2).mean() - 0.25) < 0.03


def slow_rotation(image, degrees, fill):
    """The definition, pixel by pixel."""
    (h, w), angle = image.shape, np.deg2rad(degrees)
    out = np.empty(image.shape)

    def pixel(r, c):
        return image[r, c] if 0 <= r < h and 0 <= c < w else fill

    for i in range(h):
        for j in range(w):
            x, y = j - (w - 1) / 2, (h - 1) / 2 - i                           # y upwards, as in mathematics
            u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
            r, c = (h - 1) / 2 - v, u + (w - 1) / 2
            a, b = int(np.floor(r)), int(np.floor(c))
            out[i, j] = sum(pixel(a + k, b + m) * (1 - abs(r - a - k)) * (1 - abs(c - b - m))
                            for k in (0, 1) for m in (0, 1))
    return out


@given(st.integers(1, 6), st.integers(1, 6), st.floats(-400, 400), st.sampled_from([0.0, 0.5]))
def test_rotation_against_its_definition(h, w, degrees, fill):
    image = images(h, w, dtype=np.float64)
    assert np.allclose(rotate(image[None], [degrees], fill)[0], slow_rotation(image, degrees, fill), atol=1e-9)


def test_rotation_by_right_angles_is_exact_enough_and_by_zero_exact():
    x = images(2, 3, 6, 6)
    assert np.array_equal(rotate(x, [0, 0]), x)
    assert np.allclose(rotate(x, [90, -90])[0], np.rot90(x[0], 1, axes=(1, 2)), atol=1e-5)
    assert np.allclose(rotate(x, [90, -90])[1], np.rot90(x[1], -1, axes=(1, 2)), atol=1e-5)
    octets = images(1, 6, 6, dtype=np.uint8)
    assert np.array_equal(rotate(octets, [180])[0], octets[0, ::-1, ::-1])
    assert np.array_equal(rotate(octets, [33]), np.rint(rotate(octets.astype(np.float32), [33])))


def test_rotation_stays_within_its_degrees():
    bar = np.zeros((200, 21, 21))
    bar[:, 10, 10:] = 1                                                       # points to the right
    turned = data.RandomRotation((80, 100), generator=md.Generator(0)).batch(bar)
    assert (turned[:, 2, 8:13].max(axis=1) > 0.2).all()                       # now upwards: counter-clockwise


@pytest.mark.parametrize("make", [
    lambda: data.RandomCrop(0), lambda: data.RandomCrop(3, padding=-1), lambda: data.RandomShift(-1),
    lambda: data.RandomHorizontalFlip(1.5), lambda: data.RandomRotation(-5), lambda: data.RandomRotation((5, -5)),
])
def test_senseless_settings_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


def test_a_crop_larger_than_the_image_is_explained():
    with pytest.raises(ShapeError, match=r"larger than the image.\n    image    \(4, 4\)  H W"):
        data.RandomCrop(9, padding=2)(images(1, 4, 4))
