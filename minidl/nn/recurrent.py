"""Recurrent layers: a state that is carried from step to step.

The cells take one step and are pure: state in, state out. The layers run a whole sequence; the loop
over time is an op (ops/recurrent.py), and all three layers share everything but the name of that op.

Axes are T N I (time, batch, input), or N T I with `batch_first`; H is the size of the state. Names, shapes
and order of the gates are PyTorch's: weight_ih_l0 is the weight from the input to the gates of layer 0,
weight_hh_l0 the one from the state, `_reverse` marks the direction from the last step to the first.
"""
import math

from .. import functions as md
from .. import ops
from ..creation import empty, zeros
from ..errors import ArgumentError, ShapeError, message
from ..tensor import apply
from . import functional as F
from . import init
from .module import Module, Parameter
from .sequences import PackedSequence, mask_of, pack, unpack

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def _draw(module, size):
    """First values of all weights: evenly from +-1 / sqrt(H), PyTorch's default."""
    bound = 1 / math.sqrt(size)
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


# ---------------------------------------------------------------------- one step
class _Cell(Module):
    kind = ""

    def __init__(self, input_size, hidden_size, bias=True, *, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = GATES[self.kind] * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, dtype=dtype))
        self.bias_ih = Parameter(empty(rows, dtype=dtype)) if bias else None
        self.bias_hh = Parameter(empty(rows, dtype=dtype)) if bias else None
        _draw(self, hidden_size)

    def _parts(self, x, h):
        """What input and state contribute to the gates."""
        return F.linear(x, self.weight_ih, self.bias_ih), F.linear(h, self.weight_hh, self.bias_hh)

    def _start(self, x):
        return zeros(*x.shape[:-1], self.hidden_size, dtype=x.dtype, device=x.device)

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh). (N, I), (N, H) -> (N, H)."""

    kind = "rnn"

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", *, dtype=None):
        super().__init__(input_size, hidden_size, bias, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, x, h=None):
        from_x, from_h = self._parts(x, self._start(x) if h is None else h)
        return md.tanh(from_x + from_h) if self.nonlinearity == "tanh" else md.relu(from_x + from_h)


class LSTMCell(_Cell):
    """Gates i f g o; c' = f c + i g, h' = o tanh(c'). (N, I), ((N, H), (N, H)) -> ((N, H), (N, H))."""

    kind = "lstm"

    def forward(self, x, state=None):
        h, c = (self._start(x), self._start(x)) if state is None else state
        from_x, from_h = self._parts(x, h)
        i, f, g, o = md.chunk(from_x + from_h, 4, -1)
        c = md.sigmoid(f) * c + md.sigmoid(i) * md.tanh(g)
        return md.sigmoid(o) * md.tanh(c), c


class GRUCell(_Cell):
    """Gates r z; n = tanh(x_n + r h_n), h' = (1 - z) n + z h. (N, I), (N, H) -> (N, H)."""

    kind = "gru"

    def forward(self, x, h=None):
        h = self._start(x) if h is None else h
        (xr, xz, xn), (hr, hz, hn) = (md.chunk(part, 3, -1) for part in self._parts(x, h))
        r, z = md.sigmoid(xr + hr), md.sigmoid(xz + hz)
        n = md.tanh(xn + r * hn)
        return (1 - z) * n + z * h


# ---------------------------------------------------------------------- whole sequences
class _Recurrent(Module):
    """What RNN, LSTM and GRU share: layers, directions, weights and the shapes around the scan.

    Args:
        input_size, hidden_size: I and H.
        num_layers: each layer reads the outputs of the one below.
        bias: whether there are biases.
        batch_first: inputs and outputs are (N, T, ...) instead of (T, N, ...).
        dropout: between the layers, in training.
        bidirectional: a second set of weights reads from the last step to the first; outputs are joined.
    """

    kind, log_names = "", ""

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, *, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        if min(input_size, hidden_size, num_layers) < 1:
            raise ArgumentError(message(f"{type(self).__name__}: sizes and number of layers must be 1 or more."))
        rows = GATES[self.kind] * hidden_size
        for layer, suffix in self._names():
            width = input_size if layer == 0 else hidden_size * self._directions
            setattr(self, f"weight_ih{suffix}", Parameter(empty(rows, width, dtype=dtype)))
            setattr(self, f"weight_hh{suffix}", Parameter(empty(rows, hidden_size, dtype=dtype)))
            if bias:
                setattr(self, f"bias_ih{suffix}", Parameter(empty(rows, dtype=dtype)))
                setattr(self, f"bias_hh{suffix}", Parameter(empty(rows, dtype=dtype)))
        _draw(self, hidden_size)

    @property
    def _directions(self):
        return 1 + self.bidirectional

    def _names(self):
        """(layer, suffix of the weights' names) in the order in which states are stacked."""
        return [(layer, f"_l{layer}{direction}") for layer in range(self.num_layers)
                for direction in ("", "_reverse")[:self._directions]]

    def _weights(self, suffix):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if self.bias else ("weight_ih", "weight_hh")
        return [getattr(self, name + suffix) for name in names] + [None] * (4 - len(names))

    def forward(self, input, hx=None, return_gates=False):
        """Run the sequence.

        Args:
            input: (T, N, I), (N, T, I) with batch_first, (T, I) for a single sequence, or a PackedSequence.
            hx: the first state, (layers * directions, N, H); for an LSTM a pair (h, c). Zeros if not given.
            return_gates: also return, for each layer and direction, a dict of all gates and states, (T, N, H) each.

        Returns:
            the outputs of the last layer, (T, N, H * directions), and the last state in the form of `hx`.
        """
        x, mask, restore = self._time_first(input)
        states = self._first_states(x, hx, restore)
        outputs, last, logs = x, [], {}
        for k, (layer, suffix) in enumerate(self._names()):
            if k % self._directions == 0:
                below, joined = self._between(outputs, layer), []
            log = self._one_direction(below, [s[k] for s in states], suffix, mask)
            parts = dict(zip(self.log_names, md.unbind(log)))
            last.append([parts[name][0 if suffix.endswith("_reverse") else -1] for name in self.state_names])
            joined.append(parts["h"] if mask is None else parts["h"] * mask)
            outputs = md.cat(joined, -1) if len(joined) > 1 else joined[0]
            logs[f"l{suffix[2:]}"] = parts
        final = tuple(md.stack(states) for states in zip(*last))
        result = restore.outputs(outputs), restore.states(final)
        return (*result, logs) if return_gates else result

    def _between(self, outputs, layer):
        return F.dropout(outputs, self.dropout, self.training) if layer and self.dropout else outputs

    def _one_direction(self, x, states, suffix, mask):
        """The log of one layer in one direction, in order of time."""
        backwards = suffix.endswith("_reverse")
        if backwards:
            x, mask = md.flip(x, 0), None if mask is None else md.flip(mask, 0)
        log = self._scan(x, states, *self._weights(suffix), () if mask is None else (mask,))
        return md.flip(log, 1) if backwards else log

    def _by_gate(self, weight):
        """A weight or bias with the gates as its first axis: (G H, ..) -> (G, H, ..)."""
        return weight.reshape(GATES[self.kind], self.hidden_size, *weight.shape[1:])

    def _from_input(self, x, weight, bias):
        """What the input contributes to every gate: (T, N, I) -> (G, T, N, H)."""
        product = md.matmul(x.reshape(-1, x.shape[2]), self._by_gate(weight).transpose(1, 2))
        if bias is not None:
            product = product + self._by_gate(bias).unsqueeze(1)
        return product.reshape(-1, *x.shape[:2], self.hidden_size)

    def _time_first(self, input):
        if isinstance(input, PackedSequence):
            x, lengths = unpack(input)
            return x, mask_of(lengths, x), _Restore(self, packed=input)
        single = input.ndim == 2
        x = md.unsqueeze(input, 1) if single else md.transpose(input, 0, 1) if self.batch_first else input
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ShapeError(
                message(
                    f"{type(self).__name__}: the last axis of the input must be input_size = {self.input_size}.",
                    [("input", input.shape, "N T I" if self.batch_first else "T N I")],
                )
            )
        return x, None, _Restore(self, single=single)

    def _first_states(self, x, hx, restore):
        shape = (self.num_layers * self._directions, x.shape[1], self.hidden_size)
        count = len(self.state_names)
        if hx is None:
            return [zeros(*shape, dtype=x.dtype, device=x.device)] * count
        states = [restore.state_in(s) for s in (hx if count > 1 else (hx,))]
        for s in states:
            if s.shape != shape:
                raise ShapeError(message(f"{type(self).__name__}: the first state has another shape.",
                                         [("expected", shape, "layers*directions N H"), ("got", s.shape)]))
        return states

    def extra_repr(self):
        shown = [str(self.input_size), str(self.hidden_size)]
        defaults = dict(num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False)
        return ", ".join(
            shown + [f"{n}={getattr(self, n)}" for n, default in defaults.items() if getattr(self, n) != default]
        )


class _Restore:
    """Brings outputs and states back into the form in which the input came."""

    def __init__(self, module, single=False, packed=None):
        self.module, self.single, self.packed = module, single, packed

    def outputs(self, x):
        if self.packed is not None:
            return pack(x, self.packed)
        if self.single:
            return md.squeeze(x, 1)
        return md.transpose(x, 0, 1) if self.module.batch_first else x

    def states(self, final):
        if self.single:
            final = tuple(md.squeeze(s, 1) for s in final)
        if self.packed is not None:
            final = tuple(self.packed.in_first_order(s) for s in final)
        return final if len(final) > 1 else final[0]

    def state_in(self, s):
        if self.packed is not None:
            return self.packed.in_sorted_order(s)
        return md.unsqueeze(s, 1) if self.single else s


class RNN(_Recurrent):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu, over a whole sequence (Elman 1990)."""

    kind, log_names, state_names = "rnn", "h", "h"

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
                 dropout=0.0, bidirectional=False, *, dtype=None):
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(message(f"RNN: unknown nonlinearity {nonlinearity!r}.", [("known", "'tanh', 'relu'")]))
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype)
        self.nonlinearity = nonlinearity

    def _scan(self, x, states, w_ih, w_hh, b_ih, b_hh, mask):
        xs = self._from_input(x, w_ih, None if b_ih is None else b_ih + b_hh)
        return apply(ops.rnn_scan, (xs, self._by_gate(w_hh), *states, *mask), {"nonlinearity": self.nonlinearity})


class LSTM(_Recurrent):
    """Long short-term memory over a whole sequence (Hochreiter & Schmidhuber 1997)."""

    kind, log_names, state_names = "lstm", "ifgoch", "hc"

    def _scan(self, x, states, w_ih, w_hh, b_ih, b_hh, mask):
        xs = self._from_input(x, w_ih, None if b_ih is None else b_ih + b_hh)
        return apply(ops.lstm_scan, (xs, self._by_gate(w_hh), *states, *mask))


class GRU(_Recurrent):
    """Gated recurrent units over a whole sequence (Cho et al. 2014)."""

    kind, log_names, state_names = "gru", "rznqh", "h"

    def _scan(self, x, states, w_ih, w_hh, b_ih, b_hh, mask):
        size = self.hidden_size
        inside = nothing = zeros(size, dtype=x.dtype, device=x.device)
        if b_ih is not None:                          # the candidate's bias of the state stays inside: r weakens it
            outside, inside = b_hh[:2 * size], b_hh[2 * size:]
            b_ih = b_ih + md.cat([outside, nothing])
        xs = self._from_input(x, w_ih, b_ih)
        return apply(ops.gru_scan, (xs, self._by_gate(w_hh), inside, *states, *mask))
