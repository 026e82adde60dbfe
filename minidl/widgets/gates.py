"""The gate console: your own LSTM or GRU, step by step, with a hand on its gates.

    GateConsole(lstm, x)                  what every gate did at every step, and how the gradient walks back
    console.clamp("f", step=3, value=0)   hold a gate, and see the rest of the sequence and the loss change

Letters as in ops/recurrent.py: i f g o c h of an LSTM, r z n q h of a GRU; steps count from 0. What is not clamped is
the log of the op itself. A clamped run goes through the same weights step by step, so that every state can be asked for
its gradient.
"""
import copy
import math

import numpy as np
import traitlets as tr

from .. import functions as md
from ..autograd import grad
from ..errors import ArgumentError, ShapeError, message
from ..nn.recurrent import GRU, LSTM, GRUCell, LSTMCell
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor, as_tensor
from ..viz.svg import document, element, joined, path, text_width
from ..viz.theme import number
from .cells import HATCH, hatching
from .trace import Frame, Trace, rounded
from .widget import Widget

MOST = 100                              # steps that fit into a picture
AS_IT_IS = "as trained"
GATES = {"lstm": "ifgo", "gru": "rzn"}
SAYS = {
    "i": "input: how much of g goes in", "f": "forget: how much of c stays", "g": "candidate: what goes in",
    "o": "output: how much of c shows", "r": "reset: how much of h the candidate sees",
    "z": "update: how much of h stays", "n": "candidate: what comes in",
}
PRESETS = {
    "lstm": {AS_IT_IS: {}, "keep": {"f": 1.0, "i": 0.0}, "forget": {"f": 0.0}, "count": {"f": 1.0, "i": 1.0}},
    "gru": {AS_IT_IS: {}, "keep": {"z": 1.0}, "forget": {"z": 0.0}},
}


# ---------------------------------------------------------------------- a run with a hand on the gates
class Run:
    """One layer and direction of a recurrent module, step by step in the language of ops.

    Args:
        module: an LSTM or a GRU; it is not changed.
        part: which of its layers and directions, such as "l0" or "l1_reverse".
        clamps: (gate, step or None for all, value, unit or None for all).
        sequence: which one of the batch is clamped.

    Attributes:
        steps: for each step, in order of time, a dict of what happened: gates and states (N, H), and the parts that
            input ("x i") and state ("h i") contributed to the sum in each gate.
    """

    def __init__(self, module, part, clamps=(), sequence=0):
        self.part, self.clamps, self.sequence, self.steps = part, clamps, sequence, []
        self.module = copy.copy(module)                     # the weights are shared, what is set here is not
        self.module.training = False
        self.module.__dict__["_one_direction"] = self._one_direction

    def __call__(self, x, hx):
        """Outputs and last states, as the module gives them."""
        return self.module(x, hx)

    def _one_direction(self, x, states, suffix, mask):
        if f"l{suffix[2:]}" != self.part:
            return type(self.module)._one_direction(self.module, x, states, suffix, mask)
        backwards = suffix.endswith("_reverse")
        order = range(x.shape[0])[::-1 if backwards else 1]
        inputs, from_state, inside = self._gate_inputs(x, suffix)
        step = self._lstm if self.module.kind == "lstm" else self._gru
        found = {}
        for t in order:
            from_h = md.matmul(states[0], from_state)
            found[t] = step(t, inputs[:, t], from_h, inside, *states)
            states = [found[t][name] for name in self.module.state_names]
        self.steps = [found[t] for t in sorted(found)]
        return md.stack([md.stack([step[name] for step in self.steps]) for name in self.module.log_names])

    def _gate_inputs(self, x, suffix):
        """The input's part of every gate (G, T, N, H), the weight of the state (G, H, H), the bias inside q (H,)."""
        w_ih, w_hh, b_ih, b_hh = self.module._weights(suffix)
        inside, size = None, self.module.hidden_size
        if b_ih is not None and self.module.kind == "gru":
            outside, inside = b_hh[:2 * size], b_hh[2 * size:]
            b_ih = b_ih + md.cat([outside, inside * 0])
        elif b_ih is not None:
            b_ih = b_ih + b_hh
        return self.module._from_input(x, w_ih, b_ih), self.module._by_gate(w_hh).transpose(1, 2), inside

    def _lstm(self, t, from_x, from_h, inside, h, c):
        z = from_x + from_h
        i, f, g, o = (self._held(name, t, bend(z[k])) for k, (name, bend) in enumerate(
            zip("ifgo", (md.sigmoid, md.sigmoid, md.tanh, md.sigmoid))))
        c = f * c + i * g
        return {**_sums("ifgo", from_x, from_h), "i": i, "f": f, "g": g, "o": o, "c": c, "h": o * md.tanh(c)}

    def _gru(self, t, from_x, from_h, inside, h):
        r = self._held("r", t, md.sigmoid(from_x[0] + from_h[0]))
        z = self._held("z", t, md.sigmoid(from_x[1] + from_h[1]))
        q = from_h[2] if inside is None else from_h[2] + inside
        n = self._held("n", t, md.tanh(from_x[2] + r * q))
        return {**_sums("rzn", from_x, from_h), "r": r, "z": z, "n": n, "q": q, "h": (1 - z) * n + z * h}

    def _held(self, gate, t, value):
        """The gate of a step, or what it is clamped to."""
        for name, step, to, unit in self.clamps:
            if name == gate and step in (None, t):
                here = np.zeros(value.shape, dtype=bool)
                here[self.sequence, slice(None) if unit is None else unit] = True
                value = md.where(as_tensor(here), md.zeros_like(value) + to, value)
        return value


def _sums(gates, from_x, from_h):
    """What input and state put into each gate."""
    return {f"{source} {gate}": part[k] for source, part in (("x", from_x), ("h", from_h))
            for k, gate in enumerate(gates)}


def _as_layer(cell):
    """A cell as a layer with the same weights; the random numbers of others stay as they were."""
    if not isinstance(cell, (LSTMCell, GRUCell)):
        return cell
    state, biased = get_rng_state(), cell.bias_ih is not None
    layer = (LSTM if isinstance(cell, LSTMCell) else GRU)(cell.input_size, cell.hidden_size, bias=biased)
    set_rng_state(state)
    for name in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if biased else ())):
        setattr(layer, f"{name}_l0", getattr(cell, name))
    return layer


def sum_of_the_last_step(output, state):
    """The loss if none is given: the sum of h after the last step."""
    return (state[0] if isinstance(state, tuple) else state).sum()


# ---------------------------------------------------------------------- the widget
class GateConsole(Widget):
    """What the gates of your own LSTM or GRU do, what happens if one is held, and the gradient on its way back.

    Args:
        layer: an LSTM, a GRU, an LSTMCell or a GRUCell. It is not changed; dropout between its layers is left out.
        x: the sequence, (T, I) or a batch in the form that the layer takes.
        loss: a function of what the layer returns, `loss(output, state)`, with one number as its result; left out,
            the sum of h after the last step.
        hx: the first state, in the form that the layer takes.
        labels: a word for each step, such as the letters that were read.

    Attributes:
        part: which layer and direction is shown, "l0", "l1_reverse", ...
        unit: which of the H units.
        sequence: which sequence of the batch.
        preset: gates held at all steps: "as trained" (none), "keep", "forget", or "count" (LSTM).
        clamps: [gate, step, value, unit] each; step None for all steps, unit None for all units.

    Raises:
        ArgumentError, ShapeError: what was given cannot be run or shown.
    """

    scripts = ("gates",)
    controls = ("part", "unit", "sequence", "preset", "clamps")
    part = tr.Unicode("l0").tag(sync=True)
    unit = tr.Int(0).tag(sync=True)
    sequence = tr.Int(0).tag(sync=True)
    preset = tr.Unicode(AS_IT_IS).tag(sync=True)
    clamps = tr.List().tag(sync=True)

    def __init__(self, layer, x, loss=None, hx=None, labels=None, **controls):
        self._layer = _as_layer(layer)
        if not isinstance(self._layer, (LSTM, GRU)):
            raise ArgumentError(message("GateConsole: only cells with gates can be shown.",
                                        [("layer", type(layer).__name__)], "an LSTM, a GRU, an LSTMCell or a GRUCell."))
        self._x, self._hx, self._own_loss = _sequence(x, self._layer), hx, loss
        self._loss = loss or sum_of_the_last_step
        shape = self._x.shape
        self._batch = 1 if len(shape) == 2 else shape[0 if self._layer.batch_first else 1]
        self._length = shape[1 if self._layer.batch_first and len(shape) == 3 else 0]
        self._labels = self._words(labels)
        super().__init__(**controls)

    def _words(self, labels):
        if not 1 <= self._length <= MOST:
            raise ArgumentError(message("GateConsole: this sequence does not fit into a picture.",
                                        [("steps", self._length, f"at most {MOST}")], f"x[:{MOST}], a part of it."))
        if labels is not None and len(labels) != self._length:
            raise ArgumentError(message("GateConsole: there must be a label for each step.",
                                        [("labels", len(labels)), ("steps", self._length)]))
        return [str(label) for label in labels] if labels is not None else None

    # ------------------------------------------------------------------ a hand on the gates
    def clamp(self, gate, step=None, value=0.0, every_unit=False):
        """Hold a gate, and record anew.

        Args:
            gate: its letter.
            step: at which step; None for all of them.
            value: what it is held at: from 0 to 1, a candidate (g, n) from -1 to 1.
            every_unit: all units instead of the one that is shown.

        Raises:
            ArgumentError: there is no such gate or step, or it cannot have this value.
        """
        held = [gate, step, float(value), None if every_unit else self.unit]
        self._check_clamp(*held)
        self.clamps = [one for one in self.clamps if [*one[:2], one[3]] != [*held[:2], held[3]]] + [held]

    def free(self, gate=None, step=None):
        """Let go of a gate, at one step or, with None, of all that was held of it; without a gate, of all gates."""
        self.clamps = [one for one in self.clamps
                       if gate is not None and (one[0] != gate or step not in (None, one[1]))]

    def _check_clamp(self, gate, step, value, unit):
        known = GATES[self._layer.kind]
        if gate not in tuple(known):
            raise ArgumentError(message(f"GateConsole: there is no gate {gate!r}.", [("gates", ", ".join(known))]))
        low = -1 if gate in "gn" else 0
        if not low <= value <= 1:
            raise ArgumentError(message(f"GateConsole: {gate} cannot be {number(value)}.",
                                        [("it lies between", f"{low} and 1")]))
        for name, place, count in (("step", step, self._length), ("unit", unit, self._layer.hidden_size)):
            if place is not None and not 0 <= place < count:
                raise ArgumentError(message(f"GateConsole: there is no {name} {place}.",
                                            [(f"{name}s", f"0 to {count - 1}")]))

    def _all_clamps(self):
        """Those of the preset, then those set one by one, which have the last word."""
        presets = PRESETS[self._layer.kind]
        if self.preset == "count" and self._layer.kind == "gru":
            raise ArgumentError(message("GateConsole: a GRU cannot be made to count.",
                                        [("h", "(1 − z) n + z h, an average of n and h: it never grows beyond 1")],
                                        "an LSTM, whose c = f c + i g can."))
        if self.preset not in presets:
            raise ArgumentError(message(f"GateConsole: there is no preset {self.preset!r}.",
                                        [("presets", ", ".join(presets))]))
        for one in self.clamps:
            if not isinstance(one, (list, tuple)) or len(one) != 4:
                raise ArgumentError(message("GateConsole: a clamp is [gate, step, value, unit].", [("got", one)]))
            self._check_clamp(*one)
        return [(gate, None, value, None) for gate, value in presets[self.preset].items()] + list(map(tuple,
                                                                                                     self.clamps))

    # ------------------------------------------------------------------ the run
    def _check(self):
        parts = [f"l{suffix[2:]}" for _, suffix in self._layer._names()]
        if self.part not in parts:
            raise ArgumentError(message(f"GateConsole: there is no part {self.part!r}.", [("parts", ", ".join(parts))]))
        for name, count in (("unit", self._layer.hidden_size), ("sequence", self._batch)):
            if not 0 <= getattr(self, name) < count:
                raise ArgumentError(message(f"GateConsole: there is no {name} {getattr(self, name)}.",
                                            [(f"{name}s", f"0 to {count - 1}")]))

    def values(self):
        """All of the run as arrays (T,), for the unit and the sequence that are shown.

        Gates and states by their letters; "x i" and "h i", what input and state put into gate i; "dh" and, for an
        LSTM, "dc": the gradient of the loss with respect to the state; "carried", "past" and "direct": what of it came
        over the state of the next step, what through h, and what the loss takes from the state itself; "loss" and, if
        something is clamped, "before", a dict of the same without clamps.
        """
        self._check()
        clamps = self._all_clamps()
        found = self._walk(clamps)
        if clamps:
            found["before"] = self._as_trained()
        return found

    def _as_trained(self):
        """Gates and states from the log of the op, and the loss."""
        output, state, logs = Run(self._layer, "").module(self._x, self._hx, return_gates=True)
        loss = self._loss_of(output, state).item()
        return {**{name: self._shown(array) for name, array in logs[self.part].items()}, "loss": loss}

    def _shown(self, array):
        """The unit and the sequence at hand of an array (T, N, H)."""
        return array.detach().numpy()[:, self.sequence, self.unit].astype(float)

    def _loss_of(self, output, state):
        loss = self._loss(output, state)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ShapeError(message("GateConsole: the loss must be one number, as a tensor.", [("loss", shape)],
                                     "loss=lambda output, state: (output[-1] ** 2).mean()."))
        return loss

    def _walk(self, clamps):
        run = Run(self._layer, self.part, clamps, self.sequence)
        x = self._x.detach().requires_grad_()                # also where all weights are frozen
        loss = self._loss_of(*run(x, self._hx))
        found = {name: self._shown(md.stack([step[name] for step in run.steps])) for name in run.steps[0]}
        found["loss"] = loss.item()
        states = self._layer.state_names
        wanted = [step[name] for name in states for step in run.steps]
        slopes = grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
        for k, name in enumerate(states):
            of_state = slopes[k * self._length:(k + 1) * self._length]
            found[f"d{name}"] = np.array([0.0 if g is None else g.numpy()[self.sequence, self.unit] for g in of_state])
        return {**found, **self._shares(found)}

    def _shares(self, v):
        """The gradient of the state in parts, by the rules of one step; what is left over comes from elsewhere."""
        state, stays = ("c", v["f"]) if self._layer.kind == "lstm" else ("h", v["z"])
        d, later, first = v[f"d{state}"], slice(1, None), slice(None, -1)
        if self.part.endswith("_reverse"):
            later, first = first, later
        carried = np.zeros(len(d))
        carried[first] = stays[later] * d[later]
        past = v["dh"] * v["o"] * (1 - np.tanh(v["c"]) ** 2) if state == "c" else d - carried
        return {"carried": carried, "past": past, "direct": d - carried - past}

    def _first_state(self):
        """The state that the first step started from, by letter, for the unit at hand."""
        names, k = self._layer.state_names, [f"l{s[2:]}" for _, s in self._layer._names()].index(self.part)
        if self._hx is None:
            return dict.fromkeys(names, 0.0)
        states = self._hx if isinstance(self._hx, (tuple, list)) else (self._hx,)
        picked = [s.detach().numpy()[k] for s in states]
        return {name: float(s[self.unit] if s.ndim == 1 else s[self.sequence, self.unit])
                for name, s in zip(names, picked)}

    def record(self):
        """A frame for each step on, then one for each step back."""
        v = self.values()
        self._values = v
        order = list(range(self._length))[::-1 if self.part.endswith("_reverse") else 1]
        first = self._first_state()
        before = {t: {name: v[name][order[k - 1]] if k else first[name] for name in first} for k, t in enumerate(order)}
        sums = {t: tuple(self._sums(v, t)) for t in order}
        frames = [Frame("forward", self._forward(v, t, before[t]), {"t": t}, sums[t]) for t in order]
        frames += [Frame("backward", self._backward(v, order, k), {"t": order[k]}, sums[order[k]])
                   for k in reversed(range(len(order)))]
        letters = [*GATES[self._layer.kind], *self._layer.state_names[::-1]]
        state = self._layer.state_names[-1]
        names = [*letters, f"d{state}", "carried", "past", "direct"]
        figure = {
            "kind": self._layer.kind, "gates": GATES[self._layer.kind], "states": self._layer.state_names[::-1],
            "state": state, "says": {gate: says.capitalize() for gate, says in SAYS.items()},
            "labels": self._labels, "order": order, "facts": self._facts(v),
            "series": {name: rounded(v[name], 5) for name in names},
            "before": {name: rounded(v["before"][name], 5) for name in letters} if "before" in v else None,
            "held": {gate: self._held_at(gate) for gate in GATES[self._layer.kind]},
            "parts": [f"l{s[2:]}" for _, s in self._layer._names()], "presets": list(PRESETS[self._layer.kind]),
            "units": self._layer.hidden_size, "sequences": self._batch,
        }
        where = [f"unit {self.unit} of {self._layer.hidden_size}"]
        where += [f"sequence {self.sequence}"] * (self._batch > 1) + [self.part] * (len(figure["parts"]) > 1)
        return Trace(frames, f"{type(self._layer).__name__}, {', '.join(where)}", figure)

    def _held_at(self, gate):
        """The steps at which a gate of the shown unit is clamped."""
        return [t for t in range(self._length) if any(name == gate and step in (None, t) and unit in (None, self.unit)
                                                      for name, step, _, unit in self._all_clamps())]

    # ------------------------------------------------------------------ in words
    def _at(self, t):
        return f"t = {t}" if self._labels is None else f"t = {t} ({self._labels[t]!r})"

    def _sums(self, v, t):
        """The gates of a step with numbers in their equations."""
        lines = []
        for gate in GATES[self._layer.kind]:
            x, h, bend = v[f"x {gate}"][t], v[f"h {gate}"][t], "tanh" if gate in "gn" else "σ"
            inside = _signed(h)
            if gate == "n":
                h, inside = v["r"][t] * v["q"][t], f"{number(v['r'][t])}·{_signed(v['q'][t])}"
            held = f"; held at {number(v[gate][t])}" if t in self._held_at(gate) else ""
            lines.append(f"{gate} = {bend}({number(x)} + {inside}) = {number(_bent(gate, x + h))}{held}. "
                         f"{SAYS[gate].capitalize()}.")
        return lines

    def _forward(self, v, t, before):
        n = {name: number(v[name][t]) for name in (*GATES[self._layer.kind], *self._layer.state_names)}
        held = [gate for gate in GATES[self._layer.kind] if t in self._held_at(gate)]
        gates = ", ".join(f"{gate} = {n[gate]}{' (held)' if gate in held else ''}" for gate in GATES[self._layer.kind])
        if self._layer.kind == "lstm":
            return (f"{self._at(t)}: {gates}. c = f·c + i·g = {n['f']}·{_signed(before['c'])} + {n['i']}·"
                    f"{_signed(v['g'][t])} = {n['c']}; h = o·tanh(c) = {n['o']}·{_signed(math.tanh(v['c'][t]))} = "
                    f"{n['h']}.")
        return (f"{self._at(t)}: {gates}. h = (1 − z)·n + z·h = {number(1 - v['z'][t])}·{_signed(v['n'][t])} + "
                f"{n['z']}·{_signed(before['h'])} = {n['h']}.")

    def _backward(self, v, order, k):
        t, state = order[k], self._layer.state_names[-1]
        stays = "f" if state == "c" else "z"
        d, carried, past, direct = (float(v[name][t]) for name in (f"d{state}", "carried", "past", "direct"))
        rest = f"{_signed(past)} through {'h' if state == 'c' else 'the gates and from the loss itself'}"
        rest += f" + {_signed(direct)} from the loss itself" if abs(direct) > 1e-5 * max(abs(d), 1e-30) else ""
        head = f"{self._at(t)}: dL/d{state} = "
        if k == len(order) - 1:
            rest = rest.replace("the gates and from ", "")
            return f"{head}{rest} = {number(d)}. This is the last step: nothing comes from later ones."
        after = order[k + 1]
        share = math.prod(float(v[stays][s]) for s in order[k + 1:])
        return (f"{head}{stays} at t = {after} times dL/d{state} there, {number(v[stays][after])}·"
                f"{_signed(v[f'd{state}'][after])} = {number(carried)}, + {rest} = {number(d)}. Of what the last step "
                f"had, {number(share)} would come here over {state} alone.")

    def _facts(self, v):
        """The loss, what is held, the product of the factors, and the first number that is broken."""
        stays, state = ("f", "c") if self._layer.kind == "lstm" else ("z", "h")
        facts = [f"L = {number(v['loss'])}{'' if self._own_loss else ', the sum of h after the last step'}."]
        if "before" in v:
            change = v["loss"] - v["before"]["loss"]
            facts = [f"L = {number(v['loss'])}; as trained it is {number(v['before']['loss'])}: a change of "
                     f"{number(change)}."]
            facts.append("Held: " + "; ".join(map(_clamp_in_words, self._all_clamps())) + ".")
        else:
            facts.append(f"Before you hold a gate: which one, and at what, would keep {state} as it is?")
        order = list(range(self._length))[::-1 if self.part.endswith("_reverse") else 1]
        if len(order) > 1:
            share = math.prod(float(v[stays][t]) for t in order[1:])
            facts.append(f"From the last step back to t = {order[0]}, dL/d{state} is multiplied by {len(order) - 1} "
                         f"{'factor' if len(order) == 2 else 'factors'} {stays}: together {number(share)}.")
        return facts + self._broken(v)

    def _broken(self, v):
        for t in range(self._length):
            for name in (*GATES[self._layer.kind], *self._layer.state_names[::-1]):
                if not math.isfinite(v[name][t]):
                    return [f"The first number that is not finite is {name} at {self._at(t)}: {number(v[name][t])}."]
        return []

    def describe(self):
        """Every step on and back in numbers, the equations of the step at hand, the loss, and what is held."""
        return "\n".join([self.trace.describe(), *self.frame.lines, *self._facts(self._values)])

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """Gates as bars, states as curves, the gradient from the right to where it has come."""
        picture = _Timeline(self.trace.figure, frame)
        return picture.document(self.trace.title, [*self.trace.figure["facts"], frame.text], frame.text)


def _sequence(x, layer):
    x = as_tensor(np.asarray(x) if not isinstance(x, Tensor) else x)
    if x.ndim not in (2, 3):
        raise ShapeError(message("GateConsole: the sequence has the axes T I, or those of a batch.",
                                 [("x", x.shape), ("input_size", layer.input_size)],
                                 "x.reshape(-1, 1) for one number a step."))
    kind = next(layer.parameters()).dtype
    return x if x.dtype == kind else x.to(kind)


def _signed(value):
    text = number(float(value))
    return f"({text})" if text.startswith("−") else text


def _bent(gate, z):
    with np.errstate(over="ignore"):
        return np.tanh(z) if gate in "gn" else 1 / (1 + np.exp(-z))


def _clamp_in_words(clamp):
    gate, step, value, unit = clamp
    when = "at every step" if step is None else f"at t = {step}"
    return f"{gate} = {number(value)} {when}, {'all units' if unit is None else f'unit {unit}'}"


# ---------------------------------------------------------------------- the still picture
WIDTH, LEFT, RIGHT, BAR, CURVE = 740, 84, 16, 30, 74


class _Timeline:
    """Rows above each other that share the time axis."""

    def __init__(self, figure, frame):
        self.figure, self.now, self.back = figure, frame.data["t"], frame.phase == "backward"
        self.count = len(figure["order"])
        self.step = (WIDTH - LEFT - RIGHT) / self.count
        at = figure["order"].index(self.now)
        self.known = set(figure["order"] if self.back else figure["order"][:at + 1])
        self.arrived = set(figure["order"][at:]) if self.back else set()
        self.parts, self.y = [hatching()], 34.0
        self._axis()
        for gate in figure["gates"]:
            self._bars(gate, gate, self.known, BAR, gate in "gn", "value")
        for state in figure["states"]:
            self._curve(state)
        name = f"d{figure['state']}"
        self._bars(name, f"dL/d{figure['state']}", self.arrived, 44, True, "gradient")
        self._factors()

    def _x(self, t):
        return LEFT + t * self.step

    def _axis(self):
        every = max(1, math.ceil(24 / self.step))
        self.parts.append(element("text", "t", x=LEFT - 12, y=24, text_anchor="end", class_="muted"))
        for t in range(0, self.count, every):
            word = str(t) if self.figure["labels"] is None else self.figure["labels"][t]
            self.parts.append(element("text", word, x=self._x(t) + self.step / 2, y=24, text_anchor="middle",
                                      class_="small"))

    def _row(self, label, high):
        self.parts.append(element("text", label, x=LEFT - 10, y=self.y + high / 2, text_anchor="end",
                                  dominant_baseline="central", class_="bold"))

    def _bars(self, name, label, known, high, signed, look):
        values = self.figure["series"][name]
        finite = [abs(v) for v in values if math.isfinite(v)]
        top = (max(finite, default=0.0) or 1.0) if look == "gradient" else 1.0
        self._row(label, high)
        zero = self.y + (high / 2 if signed else high)
        room = high / 2 if signed else high
        for t, value in enumerate(values):
            at = dict(x=self._x(t) + 1, y=self.y, width=max(self.step - 2, 1), height=high)
            if t not in known:
                self.parts.append(element("rect", **at, class_="absent"))
                continue
            self.parts.append(self._bar(at["x"], value, zero, room, min(abs(value) / top, 1), look))
            if self.step >= 62:                              # clear of the line at 0
                share = (0.25 if value < 0 else 0.75) if signed else 0.5
                self.parts.append(element("text", number(value, 2), x=at["x"] + 30, y=self.y + share * high,
                                          class_="small", dominant_baseline="central"))
            if t in self.figure["held"].get(name, ()):
                self.parts.append(element("rect", **at, class_="stroke",
                                          style="stroke: var(--md-ink); stroke-width: 2"))
        self.parts.append(element("path", d=path([(LEFT, zero), (WIDTH - RIGHT, zero)]), class_="rule"))
        if self.now in known:
            self._ring(high)
        self.y += high + 10

    def _bar(self, x, value, zero, room, share, look):
        wide = max(min(self.step - 2, 26), 1)
        if not math.isfinite(value):
            return element("text", "×", x=x + wide / 2, y=zero - 2, text_anchor="middle", class_="broken")
        tall = max(share * room, 0.6)
        at = dict(x=x, y=zero - tall if value >= 0 else zero, width=wide, height=tall)
        end = "positive" if value >= 0 else "negative"
        if look == "gradient":
            return element("rect", **at, class_="gradient", style=f"stroke: var(--md-{end})")
        body = element("rect", **at, style=f"fill: var(--md-{end})")
        return body if value >= 0 else joined([body, element("rect", **at, fill=f"url(#{HATCH})")])

    def _factors(self):
        """What the gradient was multiplied by on its way from one step to the one before it."""
        state = self.figure["state"]
        stays, order = "f" if state == "c" else "z", self.figure["order"]
        if self.step < 40:
            return
        self._row(f"◂ times {stays}", 14)
        for earlier, later in zip(order, order[1:]):
            if earlier in self.arrived:
                self.parts.append(element("text", f"·{number(self.figure['series'][stays][later])}",
                                          x=self._x(max(earlier, later)), y=self.y + 7, text_anchor="middle",
                                          dominant_baseline="central", class_="small"))
        self.y += 22

    def _ring(self, high):
        self.parts.append(element("rect", x=self._x(self.now), y=self.y - 2, width=self.step, height=high + 4,
                                  class_="now", style="stroke-width: 2"))

    def _curve(self, name):
        before = self.figure["before"]
        lines = [(self.figure["series"][name], None)] + ([(before[name], "4 3")] if before else [])
        top = max((abs(v) for line, _ in lines for v in line if math.isfinite(v)), default=0.0) or 1.0
        middle = self.y + CURVE / 2
        self._row(name, CURVE)
        self.parts += [element("text", word, x=LEFT - 6, y=y, text_anchor="end", class_="small muted")
                       for word, y in ((number(top), self.y + 8), (number(-top), self.y + CURVE))]
        self.parts += [element("rect", x=LEFT, y=self.y, width=WIDTH - LEFT - RIGHT, height=CURVE, class_="rule"),
                       element("path", d=path([(LEFT, middle), (WIDTH - RIGHT, middle)]), class_="rule")]
        for line, dash in reversed(lines):
            points = [(self._x(t) + self.step / 2, middle - v / top * (CURVE / 2 - 3)) for t, v in enumerate(line)
                      if (t in self.known or dash) and math.isfinite(v)]
            colour = "var(--md-muted)" if dash else "var(--md-ink)"
            self.parts.append(element("path", d=path(points), fill="none", stroke=colour, stroke_width=1.8,
                                      stroke_dasharray=dash) if points else None)
            if not dash:
                self.parts += [element("circle", cx=x, cy=y, r=2.4, style="fill: var(--md-ink)") for x, y in points]
        self._ring(CURVE)
        self.y += CURVE + 12

    def document(self, title, lines, desc):
        """The picture with sentences below."""
        self.y += 10
        dashed = ["Dashed: as trained. Framed bars: held."] if self.figure["before"] else []
        for line in [*dashed, *lines]:
            words = [""]
            for word in line.split(" "):
                longer = f"{words[-1]} {word}".strip()
                words[-1:] = [longer] if text_width(longer) < WIDTH - 24 else [words[-1], word]
            for part in words:
                self.parts.append(element("text", part, x=12, y=self.y))
                self.y += 18
        return document(WIDTH, self.y, joined(part for part in self.parts if part), title=title, desc=desc)
