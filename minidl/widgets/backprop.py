"""The backprop player: forward, loss, backward and update of a computation, one step at a time, in both directions.

    play(loss)                               a loss that was computed already
    play(lambda x, w: (x * w).tanh(), x=2.0, w=3.0)     a function of numbers, each of which can be changed
    play(lambda x, y: F.cross_entropy(model(x), y), x=images, y=labels, model=model)

What is played is the tape itself, gone through again with the ops' own rules (tape.py).
"""
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import traitlets as tr

from ..errors import ArgumentError, message
from ..nn.module import Module
from ..tensor import Tensor, tensor
from ..viz.theme import number
from ..viz.watching import line_of, watch
from .arithmetic import backward_text, bracketed, forward_text, told
from .board import drawn, fact, figure
from .tape import Tape
from .trace import Frame, Trace
from .widget import Widget

FOLDED = 4                             # modules that are called; with more of them they are folded at first
QUESTIONS = 6                          # at most so many, so that the answer stays a pleasure
NEAR, NEARER = 0.02, 5e-3              # of an answer: allowed error, relative and absolute


class BackpropPlayer(Widget):
    """Plays a computation forward and backward.

    Args:
        loss: a tensor with one number, computed from tensors that require a gradient.
        names: name -> tensor, for leaves and for what was computed.
        lr: of the update that is shown at the end, w − lr · ∂L/∂w. The learner's tensors are left alone.
        overwrite: show the classic mistake, `=` in place of `+=`, where contributions meet.
        predict: ask for slopes before they are shown.
        values: name -> number, for leaves with another value than the one they had.
        fold: draw each module as one box; steps inside it are still taken one by one.
        seen: a `viz.watch` that covered the computation, which knows the modules and the lines of code.

    Attributes:
        tape: the Tape that is played.
        gradients: name -> array; what the player ends with.
    """

    scripts: ClassVar = ("graph", "backprop")
    controls: ClassVar = ("lr", "overwrite", "values", "fold")

    lr = tr.Float(0.1).tag(sync=True)
    overwrite = tr.Bool(False).tag(sync=True)
    predict = tr.Bool(False).tag(sync=True)
    values = tr.Dict().tag(sync=True)
    fold = tr.Bool(False).tag(sync=True)

    def __init__(self, loss, names=None, seen=None, **controls):
        self._loss, self._names, self._seen = loss, dict(names or {}), seen
        super().__init__(**controls)

    @classmethod
    def of(cls, function, model=None, **inputs):
        """The player of a function: `BackpropPlayer.of(lambda x, w: x * w, x=2.0, w=3.0)`; see `play`."""
        if not callable(function):
            raise ArgumentError(message("play: expected a function of the inputs, or a loss.",
                                        [("got", repr(function)[:60])],
                                        "BackpropPlayer.of(lambda x, w: x * w, x=2.0, w=3.0)."))
        own = {name: inputs.pop(name) for name in (*cls.controls, "predict", "names") if name in inputs}
        tensors = {name: _tensor(x) for name, x in inputs.items()}
        with watch(model) as seen:
            loss = function(**tensors)
        names = {**(_parameters(model) if model is not None else {}),
                 **{name: x for name, x in tensors.items() if isinstance(x, Tensor)}, **own.pop("names", {})}
        own.setdefault("fold", len(seen.calls) > FOLDED)
        return cls(loss, names, seen, **own)

    # ------------------------------------------------------------------ recording
    def record(self):
        """The Trace for the controls as they are."""
        known = {name for name, x in self._names.items() if isinstance(x, Tensor) and x.numel() == 1}
        if set(self.values) - known:
            raise ArgumentError(message(f"play: there is no number called {min(set(self.values) - known)!r}.",
                                        [("names", ", ".join(sorted(known)) or "none")]))
        self.tape = Tape(self._loss, self._names, self.overwrite, dict(self.values))
        right = Tape(self._loss, self._names, values=dict(self.values)) if self.overwrite else self.tape
        shared = figure(self.tape, self._groups())
        shared["leaves"] = [[p.name, float(np.asarray(p.value).item())] for p in self.tape.parameters
                            if p.scalar and p.name in self._names]
        shared["updates"] = [self._update(p) for p in self.tape.parameters if p.id in self.tape.gradients]
        shared["modules"] = bool(self._seen and self._seen.calls)
        frames = [*self._forward(), *self._backward(right), *self._updates(shared["updates"])]
        return Trace(frames, f"backprop of {self.tape.steps[-1].name}, {len(self.tape.steps)} ops", shared,
                     self._note(right))

    def _groups(self):
        """id of a step -> the module right below the model that it was taken in, if modules shall be folded."""
        if not (self.fold and self._seen):
            return {}
        scopes = {step.id: self._seen.scope(step.origin.serial) for step in self.tape.steps}
        types = {label: type(module).__name__ for label, module in self._seen.modules().items()}
        return {key: f"{types[scope[1]]} {scope[1]}" for key, scope in scopes.items() if len(scope) > 1}

    def _note(self, right):
        parts = []
        if self.tape.changed and not self.values:
            parts.append("Some tensor was changed after the loss was computed; this is the run with its values now.")
        bad = self.tape.broken
        if bad:
            place = self.tape.places[bad.place]
            what = f"the rule of {place.origin.op.name}" if bad.backward else forward_text(self.tape, place)
            parts.append(f"The first {bad.kind} came out of {what}.")
        if self.overwrite:
            wrong = [p.name for p in self.tape.parameters if p.id in right.gradients and not np.allclose(
                self.tape.gradients[p.id], right.gradients[p.id], equal_nan=True)]
            parts.append("Contributions overwrite each other (= in place of +=): "
                         + (f"wrong for {', '.join(wrong)}." if wrong else "here it makes no difference."))
        return " ".join(parts)

    def _forward(self):
        tape, leaves = self.tape, [p for p in self.tape.places.values() if p.kind in ("parameter", "input")]
        given = ", ".join(f"{p.name} = {told(p.value)}" for p in leaves[:6]) + (", …" if len(leaves) > 6 else "")
        yield Frame("forward", f"The leaves: {given}.", {"born": 0})
        for k, step in enumerate(tape.steps, 1):
            yield Frame("forward", f"{_op(step)}: {forward_text(tape, step)}.", {"born": k, "now": step.id},
                        _lines(step))
        root, count = tape.steps[-1], len(tape.steps)
        yield Frame("loss", f"The loss L is {root.name} = {told(root.value)}, and ∂L/∂{root.name} = 1.",
                    {"born": count, "arrived": 1, "now": root.id})

    def _backward(self, right):
        tape, count, asked = self.tape, len(self.tape.steps), set()
        for k, arrival in enumerate(tape.arrivals[1:], 2):
            step, target = tape.places[arrival.step], tape.places[arrival.place]
            text = f"{_op(step)}: {backward_text(tape, arrival)}"
            if arrival.of > 1:
                text += (f", {arrival.count} of {arrival.of} contributions" + (
                    "" if arrival.count == 1 else f"; it overwrites what was there: {told(arrival.total)}"
                    if self.overwrite else f"; the sum is {told(arrival.total)}"))
            if self.overwrite and arrival.count == arrival.of > 1:
                text += f" (should be {told(right.gradients[arrival.place])})"
            data = {"born": count, "arrived": k, "now": target.id, "edge": [step.id, arrival.index]}
            question = self._question(arrival, asked)
            yield Frame("backward", text + ".", {**data, **({"ask": question} if question else {})},
                        _lines(step))

    def _question(self, arrival, asked):
        """The slope to predict at this arrival: the first time that an op comes up, if its slope is not plainly 1."""
        tape, step = self.tape, self.tape.places[arrival.step]
        op = step.origin.op.name
        if len(asked) >= QUESTIONS or (op, arrival.index) in asked:
            return None
        if not all(place.scalar for place in (step, *(tape.places[i] for i in step.inputs))):
            return None
        slope = tape.slope(arrival.step, arrival.index)
        if not np.isfinite(slope) or abs(slope - 1) < 1e-6:
            return None
        asked.add((op, arrival.index))
        name = tape.places[arrival.place].name
        return {"text": f"{forward_text(tape, step)}. What is ∂{step.name}/∂{name} here?", "answer": slope,
                "name": f"∂{step.name}/∂{name}"}

    def _update(self, place):
        gradient = self.tape.gradients[place.id]
        return {"place": place.id, "fact": fact(place.value - self.lr * gradient)}

    def _updates(self, updates):
        tape, count, arrived = self.tape, len(self.tape.steps), len(self.tape.arrivals)
        for k, update in enumerate(updates, 1):
            place = tape.places[update["place"]]
            g, name = tape.gradients[place.id], place.name
            text = f"{name} ← {name} − lr · ∂L/∂{name}"
            if place.scalar:
                rhs = f"{told(place.value)} − {number(self.lr)} × {bracketed(told(g))}"
                text += f" = {rhs} = {update['fact']['text']}"
            yield Frame("update", text + ".", {"born": count, "arrived": arrived, "updated": k, "now": place.id})

    # ------------------------------------------------------------------ what one may ask of it
    @property
    def gradients(self):
        """name -> array, of all leaves that get one; as the last frame shows them."""
        return {p.name: self.tape.gradients[p.id] for p in self.tape.parameters if p.id in self.tape.gradients}

    @property
    def question(self):
        """What is asked at this frame, as text; "" if nothing."""
        return self.frame.data.get("ask", {}).get("text", "")

    def answered(self, guess):
        """Whether a guess is right for the question of this frame: it is compared with a finite difference.

        Raises:
            ArgumentError: nothing is asked here.
        """
        ask = self.frame.data.get("ask")
        if ask is None:
            raise ArgumentError(message("play: nothing is asked at this step.", [("step", self.frame.step)],
                                        "go on to one that has a `question`."))
        return abs(guess - ask["answer"]) <= NEARER + NEAR * abs(ask["answer"])

    def draw(self, frame):
        """One frame as SVG."""
        return drawn(self.trace.figure, frame.data, self.trace.title, self.trace.describe())


def play(what: Tensor | Callable, names=None, **inputs):
    """Play a computation: forward, loss, backward and update, step by step, in both directions.

    Args:
        what: a loss; or a function that computes one from the inputs, which are given by name. Then the lines of code
            are known, too.
        names: name -> tensor.
        inputs: of the function: numbers become leaves with a gradient; also `model`, whose parameters get their names,
            and the settings of a BackpropPlayer: `lr`, `overwrite`, `predict`.

    Returns:
        a BackpropPlayer.

    >>> player = play(lambda x, w: x * w, x=2.0, w=3.0)
    >>> print(player.describe())
    backprop of v1, 1 ops: 7 steps.
    Step 1 of 7, forward. The leaves: x = 2, w = 3.
    Step 2 of 7, forward. mul: v1 = x × w = 2 × 3 = 6.
    Step 3 of 7, loss. The loss L is v1 = 6, and ∂L/∂v1 = 1.
    Step 4 of 7, backward. mul: ∂L/∂x = g · w = 1 × 3 = 3.
    Step 5 of 7, backward. mul: ∂L/∂w = g · x = 1 × 2 = 2.
    Step 6 of 7, update. x ← x − lr · ∂L/∂x = 2 − 0.1 × 3 = 1.7.
    Step 7 of 7, update. w ← w − lr · ∂L/∂w = 3 − 0.1 × 2 = 2.8.
    """
    if isinstance(what, Tensor):
        return BackpropPlayer(what, names, **inputs)
    return BackpropPlayer.of(what, names=names or {}, **inputs)


def _tensor(x):
    """A number as a leaf with a gradient; everything else as it is."""
    return tensor(float(x), dtype=np.float64, requires_grad=True) if isinstance(x, (int, float)) else x


def _parameters(model: Module):
    return dict(model.named_parameters())


def _op(step):
    return step.origin.op.name


def _lines(step):
    line = line_of(step.origin)
    return (f"Made by the line: {line}",) if line else ()
