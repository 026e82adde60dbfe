"""minidl: a deep-learning library small enough to read in a weekend.

Read it in this order; a module imports only from lines above its own, and a test holds it to that.

Layers
  0  openblas errors backend random pictures
  1  primitive
  2  tensor
  3  ops anomaly kernels
  4  autograd creation
  5  functions recompute
  6  nn.functional linalg func
  7  nn optim data serialize
  8  graph safetensors
  9  pretrained onnx viz widgets
  10 grading doctor
 11 judge
 12 cli

The names below are PyTorch's wherever the concept is PyTorch's, so that `import minidl as torch` runs a
beginner's script.

>>> import minidl as md
>>> w = md.tensor([1.0, -2.0], requires_grad=True)
>>> loss = (w * w).sum()
>>> loss.backward()
>>> w.grad
tensor([ 2., -4.])
"""
from . import openblas  # isort: skip  (NumPy reads what it says)
import typing as _typing

import numpy as _np

__version__ = "0.1.0"

float16, float32, float64 = _np.dtype("float16"), _np.dtype("float32"), _np.dtype("float64")
uint8, int8, int16 = _np.dtype("uint8"), _np.dtype("int8"), _np.dtype("int16")
int32, int64, bool = _np.dtype("int32"), _np.dtype("int64"), _np.dtype("bool")
half, float, double, short, int, long = float16, float32, float64, int16, int32, int64

from . import autograd, backend, errors, kernels, linalg, nn, ops, optim, pictures, random
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .backend import cuda, device
from .creation import *
from .functions import *
from .kernels import use_kernels
from .linalg import inv as inverse
from .primitive import Primitive, primitive
from .random import Generator, get_rng_state, initial_seed, manual_seed, set_rng_state
from .recompute import checkpoint
from .serialize import load, save
from .tensor import Tensor, as_tensor, from_numpy, is_tensor, result_type, tensor

if _typing.TYPE_CHECKING:
    from . import data, func, grading, graph, safetensors, viz, widgets
    from .graph import compile

LATER = {"data": "", "func": "", "graph": "", "safetensors": "", "viz": "", "widgets": "", "grading": "",
         "compile": "graph"}


def __getattr__(name):
    """What is loaded when it is first asked for, so that the import stays quick: md.viz, or md.compile of md.graph."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    module = importlib.import_module(f"{__name__}.{LATER[name] or name}")
    globals()[name] = getattr(module, name) if LATER[name] else module
    return globals()[name]


def __dir__():
    return sorted({*globals(), *LATER})


def _painter(thing):
    from .viz import draw
    return draw(thing)._repr_mimebundle_()


pictures.painter = _painter
