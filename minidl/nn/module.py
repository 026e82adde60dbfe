"""A module: parameters, other modules, and a `forward` that says what to do with them.

There is no registry beside the object itself: what is assigned to an attribute *is* registered, and the
parameters are found by looking at the attributes in the order in which they were made.
"""
import itertools
from collections import OrderedDict, namedtuple

import numpy as np

from .. import backend
from ..errors import ArgumentError, ShapeError, message
from ..functions import not_a_tensor, strangers_among
from ..tensor import Tensor

LoadResult = namedtuple("LoadResult", "missing_keys unexpected_keys")
observers: list = []                 # shown every module of every thread that is about to be called


class Parameter(Tensor):
    """A leaf tensor that belongs to a module and is to be learned; it shares memory with `data`."""

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(data.array if isinstance(data, Tensor) else data, requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """Base of all layers and models.

    >>> from minidl import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 8)
    ...     def forward(self, x):
    ...         return nn.functional.relu(self.hidden(x))
    >>> Net()
    Net(
      (hidden): Linear(in_features=4, out_features=8, bias=True)
    )
    """

    training = True
    _buffer_names = ()
    _hooks = ()

    def __init__(self):
        pass

    def forward(self, *inputs):
        """What the module computes; a subclass writes it."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, x).")

    def __call__(self, *inputs, **settings):
        for observe in observers:
            observe(self)
        try:
            out = self.forward(*inputs, **settings)
        except AttributeError as error:
            strangers = strangers_among([(f"inputs[{k}]", x) for k, x in enumerate(inputs)], error)
            if strangers:                             # its own forward asked an array or a list for what tensors have
                raise not_a_tensor(type(self).__name__, strangers) from error
            raise
        for hook in self._hooks:
            answer = hook(self, inputs, out)
            out = out if answer is None else answer
        return out

    def register_forward_hook(self, hook):
        """Call `hook(module, inputs, output)` after each forward; returns a function that removes the hook."""
        self._hooks = (*self._hooks, hook)

        def remove():
            self._hooks = tuple(h for h in self._hooks if h is not hook)
        return remove

    # ------------------------------------------------------------------ what it holds
    def register_buffer(self, name, tensor):
        """Keep a tensor that is saved with the module but not learned (running statistics, for example)."""
        self._buffer_names = (*self._buffer_names, name)
        setattr(self, name, tensor)

    def register_parameter(self, name, parameter):
        """The same as assigning it to an attribute."""
        setattr(self, name, parameter)

    def named_children(self):
        """(name, module) of the modules directly in this one."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def children(self):
        """The modules directly in this one."""
        return [module for _, module in self.named_children()]

    def named_modules(self, prefix="", seen=None):
        """(dotted name, module) of this module and all modules in it, each once."""
        seen = set() if seen is None else seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self):
        """This module and all modules in it."""
        return (module for _, module in self.named_modules())

    def _named_own(self, what):
        """(name, tensor) of the parameters or buffers directly in this module."""
        if what == "buffers":
            return [(name, getattr(self, name)) for name in self._buffer_names if getattr(self, name) is not None]
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Parameter)]

    def _named_tensors(self, what, prefix=""):
        seen = set()
        for path, module in self.named_modules(prefix):
            for name, value in module._named_own(what):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix=""):
        """(dotted name, parameter) of all parameters, each once, in the order of definition."""
        return self._named_tensors("parameters", prefix)

    def parameters(self):
        """All parameters, for an optimiser."""
        return (value for _, value in self.named_parameters())

    def named_buffers(self, prefix=""):
        """(dotted name, tensor) of all buffers."""
        return self._named_tensors("buffers", prefix)

    def buffers(self):
        """All buffers."""
        return (value for _, value in self.named_buffers())

    # ------------------------------------------------------------------ modes
    def train(self, mode=True):
        """Switch layers such as dropout and batch norm to training; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Switch to evaluation: dropout off, batch norm with its running statistics."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or thaw all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self):
        """Forget all gradients."""
        for p in self.parameters():
            p.grad = None

    def apply(self, function):
        """Call `function` on every module, the innermost first; returns the module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def to(self, *args, **kwargs):
        """Move all parameters and buffers to a device or (floats only) to a dtype; returns the module."""
        for value in [*self.parameters(), *self.buffers()]:
            moved = value.detach().to(*args, **kwargs)
            moved = moved if value.dtype.kind == "f" else value.detach().to(device=moved.device)
            if moved.array is not value.array:        # a graph that was recorded before must not use the new numbers
                value.array = moved.array
                value.mark_written("Module.to")
            value.grad = None if value.grad is None else value.grad.to(*args, **kwargs)
        return self

    def float(self):
        """All parameters as float32."""
        return self.to(np.float32)

    def double(self):
        """All parameters as float64."""
        return self.to(np.float64)

    def cpu(self):
        """All parameters on the CPU."""
        return self.to("cpu")

    def cuda(self):
        """All parameters on the GPU."""
        return self.to("cuda")

    # ------------------------------------------------------------------ saving
    def state_dict(self):
        """Dotted name -> tensor, of all parameters and buffers. The tensors share memory with the module."""
        state = OrderedDict()
        for name, value in [*self._named_own("parameters"), *self._named_own("buffers")]:
            state[name] = value.detach()
        for child, module in self.named_children():   # what is shared stands under each of its names, as in PyTorch
            state.update((f"{child}.{name}", value) for name, value in module.state_dict().items())
        return state

    def load_state_dict(self, state_dict, strict=True):
        """Copy the numbers of a state dict into the parameters and buffers.

        Args:
            state_dict: name -> tensor or array.
            strict: names must match exactly.

        Returns:
            the names that were missing and those that were not expected.

        Raises:
            ArgumentError: names do not match and `strict` is set.
            ShapeError: a tensor has another shape; nothing has been changed then.
        """
        own = self.state_dict()
        missing, unexpected = [n for n in own if n not in state_dict], [n for n in state_dict if n not in own]
        if strict and (missing or unexpected):
            raise ArgumentError(
                message(
                    f"load_state_dict: the names do not match those of {type(self).__name__}.",
                    [("missing", ", ".join(missing) or "-"), ("unexpected", ", ".join(unexpected) or "-")],
                    "load_state_dict(..., strict=False) loads what matches.",
                )
            )
        for name, target in own.items():
            if name in state_dict and tuple(state_dict[name].shape) != target.shape:
                raise ShapeError(
                    message(
                        f"load_state_dict: {name} has another shape.",
                        [("in the file", tuple(state_dict[name].shape)), (f"in {type(self).__name__}", target.shape)],
                    )
                )
        for name, target in own.items():
            if name in state_dict:
                _copy_into(target, state_dict[name])
        return LoadResult(missing, unexpected)

    # ------------------------------------------------------------------ printing
    def extra_repr(self):
        """The settings that `print(module)` shows."""
        return ""

    def _rows(self):
        """The lines of `print(module)` for the modules in it."""
        return [f"({name}): {child!r}" for name, child in self.named_children()]

    def __repr__(self):
        settings, rows = self.extra_repr(), self._rows()
        if not rows:
            return f"{type(self).__name__}({settings})"
        inside = "".join("\n  " + row.replace("\n", "\n  ") for row in ([settings] if settings else []) + rows)
        return f"{type(self).__name__}({inside}\n)"


def _copy_into(target, value):
    value = value.detach().host_array() if isinstance(value, Tensor) else np.asarray(value)
    target.array[...] = backend.of(target.array).from_host(value.astype(target.dtype))
    target.mark_written("load_state_dict")


class Sequential(Module):
    """Modules one after the other; positions are names, or an OrderedDict gives them."""

    def __init__(self, *modules):
        super().__init__()
        named = modules[0].items() if len(modules) == 1 and isinstance(modules[0], dict) else enumerate(modules)
        for name, module in named:
            _put(self, str(name), module)

    def forward(self, x):
        """Each module on the output of the one before."""
        for module in self.children():
            x = module(x)
        return x

    def append(self, module):
        """One more module at the end, under the next number that is free."""
        free = next(str(k) for k in itertools.count(len(self)) if str(k) not in vars(self))
        _put(self, free, module)
        return self

    def __len__(self):
        return len(self.children())

    def __iter__(self):
        return iter(self.children())

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(OrderedDict(self.named_children()[index]))
        return self.children()[index]


class ModuleList(Sequential):
    """A list of modules whose parameters are found."""

    def __init__(self, modules=()):
        super().__init__(*modules)

    def forward(self, *inputs):
        """A list does not say what to do with its modules."""
        raise NotImplementedError("ModuleList has no forward: loop over it in the forward of your module.")

    def __getitem__(self, index):
        return ModuleList(self.children()[index]) if isinstance(index, slice) else self.children()[index]

    def _rows(self):
        """Equal modules in a row share a line."""
        runs = itertools.groupby(self.named_children(), lambda pair: repr(pair[1]))
        runs = [(text, [name for name, _ in run]) for text, run in runs]
        return [f"({names[0]}): {text}" if len(names) == 1 else
                f"({names[0]}-{names[-1]}): {len(names)} x {text}" for text, names in runs]


class ModuleDict(Module):
    """A dictionary of modules whose parameters are found."""

    def __init__(self, modules=()):
        super().__init__()
        for name, module in dict(modules).items():
            _put(self, name, module)

    def __getitem__(self, name):
        return dict(self.named_children())[name]

    def __setitem__(self, name, module):
        _put(self, name, module)

    def __contains__(self, name):
        return name in dict(self.named_children())

    def __len__(self):
        return len(self.children())

    def keys(self):
        """The names."""
        return dict(self.named_children()).keys()

    def items(self):
        """(name, module) pairs."""
        return self.named_children()

    def values(self):
        """The modules."""
        return self.children()


def _put(owner, name, module):
    """Set an attribute of a container, unless the name is taken by a method or would not work in a state dict."""
    if not isinstance(name, str) or not name or "." in name or hasattr(type(owner), name):
        raise ArgumentError(
            message(
                f"{type(owner).__name__}: a module cannot be called {name!r} here.",
                try_="a text without dots that is not the name of a method.",
            )
        )
    setattr(owner, name, _checked(module))


def _checked(module):
    if not isinstance(module, Module):
        what = module.__name__ if isinstance(module, type) else type(module).__name__
        raise ArgumentError(
            message(
                f"expected a module, got {what}.",
                try_="nn.ReLU() with brackets makes a module; a function such as F.relu goes into forward.",
            )
        )
    return module
