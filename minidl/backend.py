"""Devices: the only file that knows that NumPy is not alone.

A `Backend` is everything minidl needs from an array library. NumPy is always there; CuPy is
imported when somebody first asks for `md.device("cuda")`. Every forward receives the array module
as its first argument `xp`, so the same line of code runs on both.

`Backend.kernels` is a table of replacements, looked up by op name: the one way to give a device,
or a faster library, its own version of an op.
"""
import ctypes
import functools
import importlib
import os
import sys

import numpy as np

from .errors import DeviceError, message


class Backend:
    """One array library on one kind of device.

    Args:
        name: the device's name, "cpu" or "cuda".
        xp: the array module, NumPy or one that is spelled like it.
        array_type: the class of its arrays.
        to_host: turns one of its arrays into a NumPy array.
        from_host: turns a NumPy array into one of its own.
        synchronize: waits until the device has finished its work.

    Attributes:
        kernels: op name -> the device's own version of its forward.
        adopt: a function that makes inputs of an op this device's where they are not; None on a real device, which
            leaves moving to the user.
    """

    stays = False                        # True: what is on this device is at home everywhere; `.to` leaves it there
    known = True                         # False: Python cannot look at the numbers, as they are not there yet

    def __init__(self, name, xp, array_type, to_host, from_host, synchronize=lambda: None):
        self.name, self.xp, self.array_type = name, xp, array_type
        self.to_host, self.from_host, self.synchronize = to_host, from_host, synchronize
        self.kernels, self.adopt = {}, None

    def rng(self, seed_sequence):
        """A fresh bit stream on this device, with NumPy's `Generator` spelling."""
        if self.xp is np:
            return np.random.Generator(np.random.PCG64(seed_sequence))
        return HostDraws(self, np.random.Generator(np.random.PCG64(seed_sequence)))

    def writable(self, tensor):
        """What to change in place where a tensor's numbers shall change: its array."""
        return tensor.array

    def settings(self, owner, values):
        """Settings that stand in the dict `owner`; a graph looks up the floats among them anew at each run."""
        return values

    def number(self, owner, key):
        """The Python number that a dict holds under a key; a graph looks it up anew at each run."""
        return owner[key]

    def store(self, owner, key, value):
        """Put a Python number into a dict; in a graph, at each run."""
        owner[key] = value

    def once(self, reason):
        """Say that what is computed now is not what the next run would compute; a graph is then used once only."""

    def born(self, tensor, fresh=False):
        """Say that a tensor was made around an array; `fresh`: in memory that nobody else holds."""

    def __repr__(self):
        return f"Backend({self.name!r})"


class HostDraws:
    """Draws on the host and moves the result: the same numbers on every device, at the cost of a copy."""

    def __init__(self, backend, rng):
        self.backend, self.host = backend, rng
        self.bit_generator = rng.bit_generator

    def __getattr__(self, name):
        draw = getattr(self.host, name)
        return lambda *args, **kwargs: self.backend.from_host(np.asarray(draw(*args, **kwargs)))


cpu = Backend("cpu", np, np.ndarray, to_host=lambda a: a, from_host=lambda a: a)
_backends = {"cpu": cpu}
_by_array_type = {np.ndarray: cpu}


def register(backend):
    """Make a backend known under its name; ops find it by the type of its arrays."""
    _backends[backend.name] = backend
    _by_array_type[backend.array_type] = backend
    return backend


def of(array):
    """The backend that owns `array`; Python numbers and NumPy scalars belong to the CPU."""
    return _by_array_type.get(type(array), cpu)


def of_type(array_type):
    """The backend whose arrays are of this class."""
    return _by_array_type.get(array_type, cpu)


def array_types():
    """The classes of arrays of all backends that are known."""
    return _by_array_type.keys()


def elsewhere():
    """The backends of real devices other than the CPU that somebody has asked for."""
    return [b for b in _backends.values() if b is not cpu and b.known and not b.stays]


def names():
    """The names of all devices that might be had."""
    return {"cuda", *_backends}


def _find_cuda():
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        raise DeviceError(message(
            "device: 'cuda' was asked for, but CuPy is not installed.",
            try_='pip install "minidl[gpu]" on a machine with an NVIDIA GPU, or md.device("cpu").')) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception:
        count = 0
    if not count:
        raise DeviceError(message(
            "device: 'cuda' was asked for, CuPy is installed, but it finds no GPU.",
            try_='check the driver with nvidia-smi, or use md.device("cpu").'))
    return register(Backend("cuda", cupy, cupy.ndarray, cupy.asnumpy, cupy.asarray,
                            lambda: cupy.cuda.Device().synchronize()))


def get(name="cpu"):
    """The backend called `name`: "cpu", "cuda" or one that was registered.

    Raises:
        DeviceError: no such device, or what it needs is not installed.
    """
    name = str(name).removesuffix(":0")
    if name in _backends:
        return _backends[name]
    if name == "cuda":
        return _find_cuda()
    raise DeviceError(message(f"device: there is no device called {name!r}.",
                              [("known", ", ".join(sorted(names())))], 'md.device("cpu").'))


class device:
    """A device by name, as in `md.device("cuda" if md.cuda.is_available() else "cpu")`.

    >>> device("cpu")
    device(type='cpu')
    """

    def __init__(self, type="cpu"):
        self.type = get(type).name

    def __str__(self):
        return self.type

    def __repr__(self):
        return f"device(type={self.type!r})"

    def __eq__(self, other):
        return self.type == str(other).removesuffix(":0")

    def __hash__(self):
        return hash(self.type)


class cuda:
    """PyTorch's `torch.cuda`, as far as minidl has it."""

    @staticmethod
    @functools.cache
    def is_available():
        """True if CuPy is installed and sees a GPU."""
        try:
            return bool(get("cuda"))
        except DeviceError:
            return False

    @staticmethod
    def synchronize():
        """Wait until the GPU has finished; timings need it."""
        get("cuda").synchronize()


def keep_freed_memory():
    """Tell glibc to keep large freed blocks instead of handing them back to the system.

    A training step frees and allocates the same large arrays over and over; each new block costs a
    page fault per 4 KiB. Keeping the blocks saves about a third of a CNN's step on Linux. It holds
    for the whole process, so `MINIDL_KEEP_MEMORY=0` in the environment switches it off.
    Returns whether the setting was made.
    """
    if not sys.platform.startswith("linux") or os.environ.get("MINIDL_KEEP_MEMORY", "1") == "0":
        return False
    mmap_threshold, trim_threshold = -3, -1        # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD in malloc.h
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(mmap_threshold, 2**30 - 1) and libc.mallopt(trim_threshold, 2**30 - 1))
    except (OSError, AttributeError):              # another C library, musl for example
        return False


keep_freed_memory()
