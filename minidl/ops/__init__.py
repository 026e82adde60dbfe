"""Every primitive, grouped by what it does to shapes.

    elementwise   one number in, one number out; shapes broadcast
    reduce        axes disappear: sum, max, argmax, softmax's companions
    shape         the same numbers, arranged differently
    index         numbers picked out or put back
    linear        matrix products
    loss          the loss of a classifier
    linalg        inverse, solve, cholesky
    conv          convolution and its two derivatives, closed under differentiation
    pool          the largest number of each window
    recurrent     RNN, LSTM and GRU over a whole sequence
    draws         random numbers

An op takes its settings in one canonical form (axes as a tuple of numbers >= 0, strides as pairs);
`minidl.functions` and `minidl.nn.functional` accept everything a person would write.
"""
import warnings

from ..primitive import registry
from . import conv, draws, elementwise, index, linalg, linear, loss, pool, recurrent, reduce, shape  # noqa: F401

globals().update(registry)           # ops.tanh is the primitive called tanh

# An overflow needs no warning that points into minidl: the inf or nan in the result says the same, and
# autograd.detect_anomaly says where it came from. NumPy's errstate would cost half an addition at every op.
warnings.filterwarnings("ignore", ".* encountered", RuntimeWarning, r"minidl\.")


def __getattr__(name):
    """An op that was defined later, in a notebook for example, is found in the registry, too."""
    if name in registry:
        return registry[name]
    raise AttributeError(f"minidl has no primitive called {name!r}; the names are: {', '.join(sorted(registry))}")
