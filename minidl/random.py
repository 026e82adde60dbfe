"""Randomness with a name: seeded streams that can be saved, copied and resumed.

Nothing in minidl draws from a hidden global of NumPy. What is random takes a `Generator`; who gives
none gets the default one, which `md.manual_seed` restarts.
"""
import os

import numpy as np

from . import backend as _backend
from .errors import ArgumentError, message


class Generator:
    """A seeded stream of random numbers, one for each device that asks.

    Args:
        seed: a non-negative integer; None takes one from the operating system.

    >>> a, b = Generator(7), Generator(7)
    >>> bool((a.random((3,)) == b.random((3,))).all())
    True
    """

    def __init__(self, seed=None):
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed):
        """Start the stream again from `seed`; returns the generator."""
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ArgumentError(message(f"manual_seed: the seed must be an integer of 0 or more, got {seed!r}."))
        self.seed = int(seed)
        self._streams = {}
        return self

    def initial_seed(self):
        """The seed this stream started from."""
        return self.seed

    def stream(self, device="cpu"):
        """The NumPy-like generator behind this stream on one device."""
        found = self._streams.get(device)
        _backend.cpu.once("Python drew random numbers")
        if found is None:
            found = self._streams[device] = _backend.get(device).rng(np.random.SeedSequence(self.seed))
        return found

    def random(self, size, dtype=np.float32, device="cpu"):
        """Numbers drawn evenly from [0, 1)."""
        return self.stream(device).random(size, dtype=dtype)

    def normal(self, size, dtype=np.float32, device="cpu"):
        """Numbers drawn from the normal distribution with mean 0 and variance 1."""
        return self.stream(device).standard_normal(size, dtype=dtype)

    def integers(self, low, high, size=None, device="cpu"):
        """Whole numbers from `low` up to, but without, `high` (int64)."""
        return self.stream(device).integers(low, high, size)

    def permutation(self, n):
        """The numbers 0 .. n-1 in random order, on the host (int64)."""
        return self.stream("cpu").permutation(n)

    def get_state(self):
        """All that is needed to go on from here: a dict of plain numbers and strings."""
        streams = {device: rng.bit_generator.state for device, rng in self._streams.items()}
        return {"seed": self.seed, "streams": streams}

    def set_state(self, state):
        """Go on from a state that `get_state` returned."""
        self.manual_seed(state["seed"])
        for device, saved in state["streams"].items():
            self.stream(device).bit_generator.state = saved
        return self

    def __repr__(self):
        return f"Generator(seed={self.seed})"


default_generator = Generator()


def manual_seed(seed):
    """Restart the default generator, as `torch.manual_seed` does; returns it."""
    return default_generator.manual_seed(seed)


def initial_seed():
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state():
    """The state of the default generator, to be given to `set_rng_state` later."""
    return default_generator.get_state()


def set_rng_state(state):
    """Put the default generator back to a saved state."""
    default_generator.set_state(state)
