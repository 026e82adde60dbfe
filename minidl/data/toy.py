"""Toy sets: points of the plane in classes that a straight line cannot separate, or just about.

All return `(x, y)`: the points, float32 (n, 2), and their classes, int64 (n,). The classes take turns, so that
any even slice is balanced.
"""
import numpy as np

from .. import random as _random
from ..errors import ArgumentError, message
from ..tensor import Tensor


def spirals(n=300, noise=0.1, classes=3, generator=None):
    """Arms of a spiral that wind around each other, three quarters of a turn within the unit circle.

    Args:
        n: how many points in all.
        noise: standard deviation of the angle, in radians.
        classes: how many arms.
        generator: where the noise is drawn from.

    >>> x, y = spirals(6, classes=3)
    >>> x.shape, y.tolist()
    ((6, 2), [0, 1, 2, 0, 1, 2])
    """
    y, along = _turns(n, classes)
    angle = 2 * np.pi * (y / classes + 0.75 * along) + noise * _normal(generator, n)
    return _points(along * np.cos(angle), along * np.sin(angle), y)


def moons(n=200, noise=0.1, classes=2, generator=None):
    """Two half circles that reach into each other.

    Args:
        n: how many points in all.
        noise: standard deviation of each coordinate; the circles have radius 1.
        classes: 1 or 2 moons.
        generator: where the noise is drawn from.
    """
    if classes not in (1, 2):
        raise ArgumentError(message(f"moons: there are at most 2 moons, got {classes!r}.", try_="spirals or blobs."))
    y, along = _turns(n, classes)
    angle = np.pi * (along + y)                    # the second moon is the lower half circle, moved
    shake = noise * _normal(generator, n, 2)
    return _points(np.cos(angle) + y + shake[:, 0], np.sin(angle) + 0.5 * y + shake[:, 1], y)


def blobs(n=300, noise=0.3, classes=3, generator=None):
    """Round clouds, their centres spread evenly on the unit circle.

    Args:
        n: how many points in all.
        noise: standard deviation of each coordinate.
        classes: how many clouds.
        generator: where the points are drawn from.
    """
    y, _ = _turns(n, classes)
    angle, shake = 2 * np.pi * y / classes, noise * _normal(generator, n, 2)
    return _points(np.cos(angle) + shake[:, 0], np.sin(angle) + shake[:, 1], y)


def _turns(n, classes):
    """The class of each point, and how far along its class it stands, from 0 to 1."""
    if n < 1 or classes < 1:
        raise ArgumentError(message("toy set: n and classes are 1 or more.", [("n", n), ("classes", classes)]))
    y = np.arange(n) % classes
    return y, (np.arange(n) // classes) / max(-(-n // classes) - 1, 1)


def _normal(generator, *size):
    return (generator or _random.default_generator).normal(size, dtype=np.float64)


def _points(x0, x1, y):
    return Tensor(np.stack([x0, x1], axis=1).astype(np.float32)), Tensor(y.astype(np.int64))
