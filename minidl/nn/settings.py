"""Settings of layers: checked when a layer is made, kept under their names, shown when it is printed."""
import inspect
from collections.abc import Callable

import numpy as np

from ..errors import ArgumentError, message
from ..tensor import Tensor
from .module import Module


def positive(layer, **sizes):
    """An error unless all are whole numbers of 1 or more."""
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(message(f"{layer}: {name} must be a whole number of 1 or more, got {value!r}."))


def settings(module, *names, **if_not):
    """`in_channels, out_channels, stride=(2, 2)`: the first ones always, the others where they are not the default."""
    shown = [f"{name}={getattr(module, name)!r}" for name in names]
    return ", ".join(
        shown
        + [f"{name}={getattr(module, name)!r}" for name, default in if_not.items() if getattr(module, name) != default]
    )


class FunctionModule(Module):
    """A function as a module that keeps its settings: `defaults` names them, in PyTorch's order.

    Settings that are tensors become buffers. `inplace` is accepted for PyTorch's sake, and changes nothing.
    """

    function: Callable
    defaults: dict = {}

    def __init_subclass__(cls):
        known = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=v) for n, v in
                 cls.defaults.items()]
        cls.__signature__ = inspect.Signature(known)      # what help and the notebook's tooltips show

    def __init__(self, *args, **settings):
        super().__init__()
        unknown = [name for name in settings if name not in self.defaults] or args[len(self.defaults):]
        if unknown:
            known = ", ".join(self.defaults) or "none"
            raise ArgumentError(message(f"{type(self).__name__}: unknown setting {unknown[0]!r}.", [("known", known)]))
        for name, value in {**self.defaults, **dict(zip(self.defaults, args)), **settings}.items():
            keep = self.register_buffer if isinstance(value, Tensor) else self.__setattr__
            keep(name, value)

    def _names(self):
        return [name for name in self.defaults if name != "inplace"]

    def forward(self, *inputs):
        return type(self).function(*inputs, **{name: getattr(self, name) for name in self._names()})
