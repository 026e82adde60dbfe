"""A device that is not there: NumPy behind glass, as strict as CuPy and stricter.

Code that runs on this device would run on a GPU without a hidden copy to the host. A `FakeArray`

    refuses to become a NumPy array, a Python number or a list, to be tested by `if`, and to be iterated
    refuses to meet a NumPy array, in arithmetic, as an index and in an assignment
    returns arrays without axes where NumPy returns scalars, and has no settings that CuPy lacks

`transfers` counts the explicit copies that the backend makes between host and device.
"""
import contextlib

import numpy as np

from minidl import backend


class HostCopyError(TypeError):
    """Something tried to look at the device's numbers from the host."""


class Transfers:
    """How many explicit copies there were, in each direction."""

    def __init__(self):
        self.to_host = self.from_host = 0


transfers = Transfers()


def inner(value):
    """What the glass hides; NumPy arrays are refused."""
    if type(value) is FakeArray:
        return value.hidden
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: it lives on the host")
    if isinstance(value, tuple | list):
        return type(value)(map(inner, value))
    return value


def outer(value, root=None):
    """Behind the glass again; a view of `root` says so."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return FakeArray(value, root if root is not None and np.may_share_memory(value, root.hidden) else None)
    if isinstance(value, tuple | list):
        return type(value)(outer(v, root) for v in value)
    return value


def refused(name):
    """A method that CuPy has not, or that would copy to the host unseen."""
    def method(self, *args, **kwargs):
        raise HostCopyError(f"{name}: implicit conversion of a device array to the host")
    return method


def passed_on(name):
    """A method of ndarray, run behind the glass."""
    def method(self, *args, **kwargs):
        kwargs = {k: inner(v) for k, v in kwargs.items()}
        out = kwargs.get("out")
        result = getattr(self.hidden, name)(*map(inner, args), **kwargs)
        return self if out is self.hidden else outer(result, self.root())
    return method


class FakeArray:
    """An array on the fake device."""

    __slots__ = ("base", "hidden")
    __hash__ = None

    def __init__(self, hidden, base=None):
        self.hidden, self.base = hidden, base

    def root(self):
        """The array that owns the memory."""
        return self if self.base is None else self.base

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__":
            raise TypeError(f"ufunc.{method} is not there")
        out = kwargs.pop("out", None)
        if out is None:
            return outer(ufunc(*map(inner, inputs), **kwargs))
        ufunc(*map(inner, inputs), out=tuple(map(inner, out)), **kwargs)
        return out[0]

    def __array_function__(self, function, types, args, kwargs):
        raise HostCopyError(f"numpy.{function.__name__} was called with a device array; call it from xp")

    @property
    def T(self):
        return outer(self.hidden.T, self.root())

    def __getitem__(self, key):
        key = inner(key)
        result = self.hidden[key]
        if isinstance(result, np.generic):                      # CuPy returns a view without axes
            result = self.hidden[(*key, ...) if isinstance(key, tuple) else (key, ...)]
        return outer(result, self.root())

    def __setitem__(self, key, value):
        self.hidden[inner(key)] = inner(value)

    def __len__(self):
        return len(self.hidden)

    def __repr__(self):
        return f"<FakeArray {self.hidden.shape} {self.hidden.dtype}>"


for _name in ("__array__ __float__ __int__ __bool__ __index__ __complex__ __iter__ __contains__ item tolist tobytes "
              "__reduce__ __buffer__").split():
    setattr(FakeArray, _name, refused(_name))
for _name in ("shape dtype ndim size itemsize nbytes strides flags").split():
    setattr(FakeArray, _name, property(lambda self, name=_name: getattr(self.hidden, name)))
for _name in (
    "reshape transpose astype copy sum min max mean any all ravel flatten squeeze swapaxes argmax argmin argsort "
    "cumsum cumprod prod take fill clip round nonzero dot view"
).split():
    setattr(FakeArray, _name, passed_on(_name))
for _name, _ufunc in dict(
    add=np.add,
    sub=np.subtract,
    mul=np.multiply,
    truediv=np.true_divide,
    floordiv=np.floor_divide,
    mod=np.remainder,
    pow=np.power,
    matmul=np.matmul,
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
).items():
    def _forward(self, other, ufunc=_ufunc):
        return outer(ufunc(self.hidden, inner(other)))

    def _backward(self, other, ufunc=_ufunc):
        return outer(ufunc(inner(other), self.hidden))

    def _in_place(self, other, ufunc=_ufunc):
        ufunc(self.hidden, inner(other), out=self.hidden, casting="same_kind")
        return self
    for _prefix, _method in dict(_=_forward, r=_backward, i=_in_place).items():
        setattr(FakeArray, f"__{_prefix.strip('_')}{_name}__", _method)
for _name, _ufunc in dict(lt=np.less, le=np.less_equal, gt=np.greater, ge=np.greater_equal, eq=np.equal,
                          ne=np.not_equal).items():
    setattr(FakeArray, f"__{_name}__", lambda self, other, ufunc=_ufunc: outer(ufunc(self.hidden, inner(other))))
for _name, _ufunc in dict(neg=np.negative, pos=np.positive, abs=np.absolute, invert=np.invert).items():
    setattr(FakeArray, f"__{_name}__", lambda self, ufunc=_ufunc: outer(ufunc(self.hidden)))


# ---------------------------------------------------------------------- the array module
class FakeFunction:
    """A function of NumPy that takes and gives FakeArrays; CuPy's reductions know fewer settings."""

    missing = {
        name: {"initial", "where"} for name in ("max", "min", "amax", "amin", "sum", "prod", "any", "all", "mean")
    }

    def __init__(self, function):
        self.function, self.__name__ = function, function.__name__

    def __call__(self, *args, **kwargs):
        lacking = set(kwargs) & self.missing.get(self.__name__, set())
        if lacking:
            raise TypeError(f"{self.__name__}() got an unexpected keyword argument {lacking.pop()!r}")
        out, root = kwargs.get("out"), next((a.root() for a in args if type(a) is FakeArray), None)
        with np.errstate(all="ignore"):                         # a GPU does not warn
            result = self.function(*map(inner, args), **{k: inner(v) for k, v in kwargs.items()})
        return out if out is not None else outer(result, root)

    def at(self, array, key, values):
        """Unbuffered in place, as `numpy.add.at`."""
        self.function.at(inner(array), inner(key), inner(values))


class FakeModule:
    """`xp`: what CuPy and NumPy have in common."""

    ndarray = FakeArray
    inf, nan, pi, e, newaxis = np.inf, np.nan, np.pi, np.e, None
    float16, float32, float64, int8, int16 = np.float16, np.float32, np.float64, np.int8, np.int16
    int32, int64, uint8, bool_, bool, dtype = np.int32, np.int64, np.uint8, np.bool_, np.bool_, np.dtype
    NAMES = frozenset(
        """
        abs absolute add all allclose amax amin any arange arccos arcsin arctan argmax argmin argsort array
        array_equal ascontiguousarray asfortranarray broadcast_to ceil clip concatenate copysign cos cosh
        count_nonzero cumprod cumsum diagonal divide dot einsum empty empty_like equal exp expand_dims expm1
        eye flip floor floor_divide full full_like greater greater_equal isclose isfinite isinf isnan less
        less_equal linspace log log1p logaddexp logical_and logical_not logical_or logical_xor matmul max
        maximum mean min minimum moveaxis multiply negative nonzero not_equal ones ones_like outer pad power
        prod ravel reciprocal remainder repeat reshape result_type rint roll round sign sin sinh sort split
        sqrt square squeeze stack subtract sum swapaxes take tan tanh tensordot tile transpose tri tril triu
        take_along_axis true_divide trunc unique where zeros zeros_like logical_xor bincount searchsorted
    """.split()
    )

    def __getattr__(self, name):
        if name not in self.NAMES and not isinstance(getattr(np, name, None), np.ufunc):  # CuPy has the ufuncs
            raise AttributeError(f"the fake device has no {name!r}; does CuPy?")
        return FakeFunction(getattr(np, name))

    @staticmethod
    def asarray(value, dtype=None):
        """Explicit: also from the host."""
        if type(value) is FakeArray:
            return value if dtype is None or value.dtype == dtype else value.astype(dtype)
        if isinstance(value, np.ndarray):
            return from_host(value if dtype is None else value.astype(dtype))
        return outer(np.array(value, dtype=dtype))

    class linalg:
        """`xp.linalg`, as far as CuPy has it for batches."""

        inv, solve, cholesky = map(FakeFunction, (np.linalg.inv, np.linalg.solve, np.linalg.cholesky))

    class lib:
        """`xp.lib.stride_tricks.as_strided`."""

        class stride_tricks:
            """Views described by strides."""

            as_strided = staticmethod(lambda x, shape, strides: outer(
                np.lib.stride_tricks.as_strided(inner(x), shape, strides), x.root()))


def to_host(array):
    """The explicit copy to the host."""
    transfers.to_host += 1
    return array.hidden.copy()


def from_host(array):
    """The explicit copy to the device; arrays that are there stay."""
    if type(array) is FakeArray:
        return array
    transfers.from_host += 1
    return FakeArray(np.array(array))


xp = FakeModule()


@contextlib.contextmanager
def registered():
    """The backend "fake", known to minidl as long as the block runs."""
    found = backend.register(backend.Backend("fake", xp, FakeArray, to_host, from_host))
    try:
        yield found
    finally:
        del backend._backends["fake"], backend._by_array_type[FakeArray]


@contextlib.contextmanager
def no_transfers():
    """Fails if anything is copied between host and device in the block."""
    before = transfers.to_host, transfers.from_host
    yield
    after = transfers.to_host, transfers.from_host
    assert after == before, f"copies to the host: {after[0] - before[0]}, to the device: {after[1] - before[1]}"
