"""Transforms: what is done to an image on its way from the data set to the network.

Every transform works on one image, `t(image)`, and on many at once, `t.batch(images)`, which is far
faster. An image is an array or a tensor whose last two axes are height and width: (H, W) or (C, H, W).
Only ToTensor takes the channels last, as image files have them. So ToTensor comes first in a Compose,
and everything after it sees (C, H, W).

What is random draws from the `generator` it was given, or from the default one, which `md.manual_seed`
restarts. One image after the other or all in a batch: from the same generator come the same images. In a
Compose this holds if each random transform has a generator of its own.
"""
import numbers

import numpy as np

from .. import random as _random
from ..errors import ArgumentError, DTypeError, ShapeError, message
from ..tensor import Tensor
from .collate import default_collate


class Transform:
    """Base of transforms. A subclass writes `change`, which turns a batch of images, a NumPy array, into another.

    Images are handled on the host; a tensor that lives on a GPU or requires a gradient is refused.
    """

    def __call__(self, image):
        """The transform of one image; a tensor gives a tensor, an array an array."""
        return _like(image, self.change(_pixels(self, image)[None])[0])

    def batch(self, images):
        """The transforms of images stacked along the first axis."""
        return _like(images, self.change(_pixels(self, images)))

    def change(self, images):
        """A changed copy of `images`, a NumPy array with the batch along its first axis."""
        raise NotImplementedError(f"{type(self).__name__} must say what it does: def change(self, images): ...")

    def __repr__(self):
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if k != "generator" and not k.startswith("_"))
        return f"{type(self).__name__}({settings})"


def _pixels(transform, images):
    array = images.numpy() if isinstance(images, Tensor) else np.asarray(images)
    if array.dtype.kind not in "fiub":
        raise DTypeError(message(f"{type(transform).__name__}: this is no image.",
                                 [("got", type(images).__name__), ("dtype", array.dtype)]))
    return array


def _like(images, array):
    return Tensor(array) if isinstance(images, Tensor) else array


def apply_batch(transform, images):
    """Any callable on a batch: at once if it is a Transform, otherwise image by image."""
    if isinstance(transform, Transform):
        return transform.batch(images)
    return _one_by_one(transform, images)


def _one_by_one(function, images):
    results = [function(image) for image in images]
    stacked = default_collate(results)
    return stacked.numpy() if isinstance(results[0], np.ndarray) else stacked


# ---------------------------------------------------------------------- putting together
class Compose(Transform):
    """Transforms one after the other.

    Args:
        transforms: a list of transforms or other callables.

    >>> Compose([ToTensor(), Normalize(0.5, 0.5)])(np.zeros((28, 28), np.uint8)).shape
    (1, 28, 28)
    """

    def __init__(self, transforms):
        self.transforms = list(transforms)

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image

    def batch(self, images):
        """The same on images stacked along the first axis."""
        for transform in self.transforms:
            images = apply_batch(transform, images)
        return images


class Lambda(Transform):
    """A function of one image, as a transform. A batch is taken image by image.

    Args:
        function: takes an image and returns one.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, image):
        return self.function(image)

    def batch(self, images):
        """The function of each image, stacked."""
        return _one_by_one(self.function, images)


# ---------------------------------------------------------------------- numbers
class ToTensor(Transform):
    """Bytes become a float32 tensor in [0, 1], channels first: (H, W) or (H, W, C) -> (C, H, W).

    Floats become float32 and are not scaled. Image objects that NumPy can read, such as Pillow's, work too.

    Raises:
        ShapeError: an image that has neither two nor three axes.
        DTypeError: a tensor (it is one already), or integers other than uint8, whose scale nobody knows.
    """

    def __call__(self, image):
        return Tensor(self.change(_pixels(self, _untouched(image))[None])[0])

    def batch(self, images):
        """Images (N, H, W) or (N, H, W, C) as a tensor (N, C, H, W)."""
        return Tensor(self.change(_pixels(self, _untouched(images))))

    def change(self, images):
        """Bytes of (N, H, W) or (N, H, W, C) as float32 of (N, C, H, W)."""
        if images.ndim not in (3, 4):
            raise ShapeError(message("ToTensor: an image is (H, W) or (H, W, C).", [("image", images.shape[1:])]))
        images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
        if images.dtype.kind not in "fb" and images.dtype != np.uint8:
            raise DTypeError(message("ToTensor: only bytes have a known scale, 0 to 255.", [("dtype", images.dtype)],
                                     "image.astype(numpy.uint8), or divide by the largest value yourself."))
        out = images.astype(np.float32, order="C")
        if images.dtype == np.uint8:
            out /= 255
        return out


def _untouched(image):
    if isinstance(image, Tensor):
        raise DTypeError(message("ToTensor: this is a tensor already.",
                                 [("shape", image.shape), ("dtype", image.dtype)],
                                 "put ToTensor first in the Compose, and only once."))
    return image


class Normalize(Transform):
    """(x - mean) / std, channel by channel.

    Args:
        mean, std: one number for each channel, or one for all.

    Raises:
        ArgumentError: a std that is not above 0.
        ShapeError: there are more or fewer numbers than channels.
        DTypeError: the image does not hold floats.
    """

    def __init__(self, mean, std):
        self.mean, self.std = mean, std
        self._mean, self._std = (np.asarray(v, dtype=np.float64).reshape(-1, 1, 1) for v in (mean, std))
        if not (self._std > 0).all():
            raise ArgumentError(message(f"Normalize: a standard deviation is above 0, got {std!r}."))

    def change(self, images):
        """Normalised images: (N, C, H, W) of floats."""
        if images.dtype.kind != "f":
            raise DTypeError(message("Normalize: expected floats.", [("dtype", images.dtype)],
                                     "put ToTensor before it."))
        channels = images.shape[-3] if images.ndim > 3 else 1
        for name, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, channels):
                raise ShapeError(message("Normalize: expected one number for each channel.",
                                         [("image", images.shape[1:], "C H W"), (name, len(values))]))
        mean, std = self._mean.astype(images.dtype), self._std.astype(images.dtype)
        out = images - (mean if images.ndim > 3 else mean[0])
        out /= std if images.ndim > 3 else std[0]
        return out


# ---------------------------------------------------------------------- geometry
class RandomCrop(Transform):
    """A window of a fixed size at a random place.

    Args:
        size: height and width of the window, or one number for both.
        padding: pixels of `fill` put on each side first.
        fill: the value of what is put around.
        generator: where the place is drawn from.

    Raises:
        ShapeError: the window is larger than the padded image.
    """

    def __init__(self, size, padding=0, fill=0, generator=None):
        self.size = (int(size), int(size)) if isinstance(size, numbers.Number) else tuple(int(n) for n in size)
        self.padding, self.fill, self.generator = int(padding), fill, generator
        if len(self.size) != 2 or min(self.size) < 1 or self.padding < 0:
            raise ArgumentError(message("RandomCrop: size is (height, width) and padding is 0 or more.",
                                        [("size", size), ("padding", padding)]))

    def change(self, images):
        """Windows of images: (N, ..., H, W) -> (N, ..., height, width)."""
        return _random_windows(self, images, self.size, self.padding)


class RandomShift(Transform):
    """Moves the image by up to some pixels in each direction; what is uncovered becomes `fill`.

    Args:
        pixels: the largest shift.
        fill: the value of what is uncovered.
        generator: where the shifts are drawn from.
    """

    def __init__(self, pixels, fill=0, generator=None):
        self.pixels, self.fill, self.generator = int(pixels), fill, generator
        if self.pixels < 0:
            raise ArgumentError(message(f"RandomShift: pixels is 0 or more, got {pixels!r}."))

    def change(self, images):
        """Shifted images: (N, ..., H, W)."""
        return _random_windows(self, images, images.shape[-2:], self.pixels)


def _random_windows(transform, images, size, padding):
    """Pad each image and cut a window of `size` from a place of its own."""
    sides = [(0, 0)] * (images.ndim - 2) + [(padding, padding)] * 2
    padded = np.pad(images, sides, constant_values=transform.fill)
    room = np.subtract(padded.shape[-2:], size) + 1
    if (room < 1).any():
        raise ShapeError(message(f"{type(transform).__name__}: the window is larger than the image.",
                                 [("image", images.shape[-2:], "H W"), ("padding", padding), ("window", size)]))
    corners = _stream(transform).integers(0, room, (len(images), 2))
    planes = padded.reshape(len(images), -1, *padded.shape[-2:])
    windows = np.lib.stride_tricks.sliding_window_view(planes, size, axis=(-2, -1))
    chosen = windows[np.arange(len(images)), :, corners[:, 0], corners[:, 1]]
    return chosen.reshape(*images.shape[:-2], *size)


class RandomHorizontalFlip(Transform):
    """Mirrors the image, left to right, with probability `p`. Digits and letters do not survive it.

    Args:
        p: the probability.
        generator: where the choice is drawn from.
    """

    def __init__(self, p=0.5, generator=None):
        self.p, self.generator = p, generator
        if not 0 <= p <= 1:
            raise ArgumentError(message(f"RandomHorizontalFlip: p lies between 0 and 1, got {p!r}."))

    def change(self, images):
        """Images (N, ..., H, W), some of them mirrored."""
        flips = _stream(self).random(len(images)) < self.p
        out = images.copy()
        out[flips] = images[flips, ..., ::-1]
        return out


class RandomRotation(Transform):
    """Turns the image about its centre by a random angle; the size stays.

    A pixel of the result is looked up where the inverse rotation takes it, between four pixels of the image,
    weighted by how near they are (bilinear interpolation).

    Args:
        degrees: angles are drawn evenly from (-degrees, degrees), or from the pair (low, high). A positive
            angle turns the image counter-clockwise.
        fill: the value of what lies outside the image.
        generator: where the angle is drawn from.
    """

    def __init__(self, degrees, fill=0, generator=None):
        if isinstance(degrees, numbers.Number) and degrees < 0:
            raise ArgumentError(message(f"RandomRotation: one number of degrees is 0 or more, got {degrees!r}."))
        self.degrees = (-degrees, degrees) if isinstance(degrees, numbers.Number) else tuple(degrees)
        self.fill, self.generator = fill, generator
        if len(self.degrees) != 2 or not self.degrees[0] <= self.degrees[1]:
            raise ArgumentError(message("RandomRotation: degrees is one number or (low, high).",
                                        [("degrees", degrees)]))

    def change(self, images):
        """Turned images: (N, ..., H, W)."""
        low, high = self.degrees
        return rotate(images, low + (high - low) * _stream(self).random(len(images)), self.fill)


def rotate(images, degrees, fill=0):
    """Each image turned counter-clockwise about its centre by its own angle, with bilinear interpolation.

    Args:
        images: (N, ..., H, W), a NumPy array; bytes are rounded again in the end.
        degrees: (N,) angles.
        fill: the value outside the image.
    """
    rows, columns = _sources(images.shape[-2:], np.deg2rad(np.asarray(degrees, dtype=np.float64)))
    exact = np.float64 if images.dtype == np.float64 else np.float32
    out = _between_pixels(images.astype(exact, copy=False), rows, columns, fill)
    if images.dtype.kind in "iub":
        out = np.rint(out)
    return out.astype(images.dtype, copy=False)


def _sources(size, angles):
    """Where each pixel of the result comes from: rows and columns, (N, H, W) each."""
    (h, w), angles = size, angles[:, None, None]
    y, x = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w) - (w - 1) / 2
    cos, sin = np.cos(angles), np.sin(angles)      # rows grow downwards: this is the clockwise, inverse turn
    return cos * y + sin * x + (h - 1) / 2, cos * x - sin * y + (w - 1) / 2


def _between_pixels(images, rows, columns, fill):
    """The images' values at places between pixels; `fill` beyond a rim one pixel wide."""
    n, (h, w) = len(images), images.shape[-2:]
    planes = np.pad(images.reshape(n, -1, h, w), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=fill)
    rows, columns = np.clip(rows + 1, 0, h + 1), np.clip(columns + 1, 0, w + 1)
    top, left = np.minimum(rows.astype(np.intp), h), np.minimum(columns.astype(np.intp), w)
    down, right = (rows - top).astype(images.dtype)[:, None], (columns - left).astype(images.dtype)[:, None]
    first = np.arange(n * planes.shape[1]).reshape(n, -1, 1, 1) * ((h + 2) * (w + 2))     # of each plane
    corner = first + (top * (w + 2) + left)[:, None]

    def pixel(step):
        return planes.reshape(-1).take(corner + step)

    upper, lower = pixel(0), pixel(w + 2)
    upper += (pixel(1) - upper) * right
    lower += (pixel(w + 3) - lower) * right
    return (upper + (lower - upper) * down).reshape(images.shape)


def _stream(transform):
    """The NumPy-like stream that a random transform draws from."""
    return (transform.generator or _random.default_generator).stream("cpu")
