"""A tape gone through once more, slowly: each value forward, then each contribution of a gradient rule on its own.

    tape = Tape(loss)
    tape.steps            the Nodes as Steps, the oldest first
    tape.arrivals         one entry for each contribution that a rule sends back along an edge, in the engine's order
    tape.gradients        what they add up to

The tape is computed again on copies, so the learner's tensors keep their `.grad` and their graph. The rules that run
are the ops' own, and the engine's `contribute` brings what they return into shape; nothing here knows an op, so an op
defined in a notebook appears as the others do.
"""
import math
from dataclasses import dataclass, field

import numpy as np

from ..anomaly import born
from ..autograd import ancestors, check_unchanged, contribute, enable_grad
from ..errors import ArgumentError, GradientError, MinidlError, message
from ..tensor import Node, Tensor, apply, source, wrap

MOST_STEPS = 500


@dataclass
class Place:
    """A box of the picture: a leaf, a constant or a step.

    Attributes:
        id: short and unique, the same at every run.
        name: of the variable; v1, v2, ... for what was computed.
        kind: a key of theme.KINDS.
        value: an array, or a number.
        node: the Node that was made in going through it again; None for what was not computed.
        origin: the learner's Node or tensor, or the number.
        inputs: ids.
        serial: clock time of the learner's Node.
    """

    id: str
    name: str
    kind: str
    value: object
    node: object = None
    origin: object = None
    inputs: tuple = ()

    @property
    def shape(self):
        """Of the value."""
        return np.shape(self.value)

    @property
    def scalar(self):
        """Whether it is a single number."""
        return math.prod(self.shape) == 1


@dataclass
class Arrival:
    """A contribution to a gradient that has come in.

    Attributes:
        step: id of the op whose rule made it; "" for the 1 that the loss starts from.
        index: which input of the op it goes to.
        place: id of that input.
        gradient: the contribution.
        total: what is there once it has come.
        count, of: it is the count-th of so many.
    """

    step: str
    index: int
    place: str
    gradient: object
    total: object
    count: int = 0
    of: int = 0


@dataclass
class Broken:
    """Where the first NaN or Inf was born: "NaN" or "Inf", the id of the op, and whether its rule made it."""

    kind: str
    place: str
    backward: bool = False


@dataclass
class Tape:
    """What led to a loss, gone through again.

    Args:
        loss: a tensor with one number that requires a gradient.
        names: name -> tensor.
        overwrite: make the classic mistake: let a contribution replace what has come before, `=` in place of `+=`.
        values: name -> number, for leaves that shall have another value than the learner's.

    Attributes:
        places: id -> Place, leaves before what is made of them.
        arrivals: list of Arrival.
        gradients: id -> array, what arrived in all.
        broken: a Broken, or None.
        changed: whether the loss came out differently than the learner's.

    Raises:
        GradientError: the loss requires no gradient, or has more than one number.
        ArgumentError: the tape is too long, or holds a step that cannot be computed again.
    """

    loss: Tensor
    names: dict = field(default_factory=dict)
    overwrite: bool = False
    values: dict = field(default_factory=dict)

    def __post_init__(self):
        _check(self.loss)
        self.places, self.arrivals, self.gradients, self.broken = {}, [], {}, None
        self._ids, self._copies, self._called = {}, {}, {_key(x): name for name, x in self.names.items()}
        nodes = ancestors([self.loss.node])[::-1]
        if len(nodes) > MOST_STEPS:
            raise ArgumentError(message("play: this tape is too long to be looked at step by step.",
                                        [("steps", len(nodes)), ("at most", MOST_STEPS)],
                                        "a smaller model, or fewer steps in time."))
        with enable_grad(), np.errstate(all="ignore"):
            for node in nodes:
                self._again(node)
            self._backward()
        again = self.places[self._ids[self.loss.node]].value
        self.changed = not np.allclose(again, self.loss.array, rtol=1e-4, equal_nan=True)

    # ------------------------------------------------------------------ forward
    def _again(self, node):
        inputs = tuple(self._input(x) for x in node.inputs)
        args = [self._copies[i] for i in inputs]
        try:
            out = apply(node.op, args, node.meta)
        except (MinidlError, NotImplementedError) as error:
            raise ArgumentError(message("play: a step of this tape cannot be computed again on its own.",
                                        [("op", node.op.name)], "play a tape without checkpoint or md.compile."
                                        )) from error
        kind = "loss" if node is self.loss.node else "view" if node.op.view else "op"
        place = self._new(node, kind, f"v{len(self.steps) + 1}", out, node, inputs)
        place.node = out.node
        bad = born(out.array, [np.asarray(self.places[i].value) for i in inputs])
        if bad and self.broken is None:
            self.broken = Broken(bad, place.id)

    def _input(self, x):
        """The id of an input; a leaf or a constant gets its Place when it is first met."""
        x = source(x)
        if isinstance(x, Node) or (isinstance(x, Tensor) and _key(x) in self._ids):
            return self._ids[_key(x)]
        if not isinstance(x, Tensor):
            return self._new(None, "constant", "", x, x).id
        leaves = sum(p.kind in ("parameter", "input") for p in self.places.values())
        copy = wrap(x.array if self._named(x) not in self.values
                    else np.full(x.shape, self.values[self._named(x)], x.dtype))
        copy.requires_grad = x.requires_grad
        return self._new(x, "parameter" if x.requires_grad else "input", f"x{leaves + 1}", copy, x).id

    def _named(self, x):
        return self._called.get(_key(x), "")

    def _new(self, key, kind, name, value, origin, inputs=()):
        name = self._called.get(_key(key), name) if key is not None else name
        array = value.array if isinstance(value, Tensor) else value
        place = Place(f"n{len(self.places) + 1}", name, kind, array, None, origin, inputs)
        self.places[place.id], self._copies[place.id] = place, value
        if key is not None:
            self._ids[_key(key)] = place.id
        return place

    @property
    def steps(self):
        """The Places that an op made, the oldest first."""
        return [place for place in self.places.values() if place.inputs]

    @property
    def parameters(self):
        """The leaves that get a gradient."""
        return [place for place in self.places.values() if place.kind == "parameter"]

    # ------------------------------------------------------------------ backward
    def _backward(self):
        root = self.places[self._ids[self.loss.node]]
        self._arrive("", 0, root.id, np.ones(root.shape, root.value.dtype))
        for step in reversed(self.steps):
            if step.id in self.gradients:
                self._pull(step)
        expected = {}
        for arrival in self.arrivals:
            expected[arrival.place] = arrival.count = expected.get(arrival.place, 0) + 1
        for arrival in self.arrivals:
            arrival.of = expected[arrival.place]

    def _pull(self, step):
        """Run the rules of one step, as autograd.pull does, and see which input each result is for."""
        node, g, plan = step.node, self.gradients[step.id], step.node.plan
        if plan.kept or plan.keep_out:
            check_unchanged(node)
        pieces = [(k, pull(g, node, None), fresh) for k, pull, fresh in plan.pulls]
        for places, pull_all in plan.joint_pulls:
            pieces += [(k, grad, False) for k, grad in zip(places, pull_all(g, node, None)) if k is not None]
        for k, grad, fresh in pieces:
            caught = _Catch()
            contribute(grad, node.inputs[k], caught, fresh)
            if caught.gradient is not None:
                self._arrive(step.id, k, step.inputs[k], caught.gradient)
                bad = born(np.asarray(caught.gradient), [np.asarray(g)])
                if bad and self.broken is None:
                    self.broken = Broken(bad, step.id, backward=True)

    def _arrive(self, step, index, place, gradient):
        gradient = np.array(gradient)
        before = self.gradients.get(place)
        total = gradient if before is None or self.overwrite else before + gradient
        self.gradients[place] = total
        self.arrivals.append(Arrival(step, index, place, gradient, total))

    # ------------------------------------------------------------------ against the rules
    def slope(self, step, index, eps=1e-5):
        """d out / d input of one op by central differences of its forward, in float64; both single numbers.

        NaN where the function has a kink, so that there is no slope to speak of.
        """
        place = self.places[step]
        values = [np.asarray(self.places[i].value, np.float64) for i in place.inputs]
        width = eps * max(1.0, abs(float(values[index].item())))

        def at(shift):
            moved = [value + shift if k == index else value for k, value in enumerate(values)]
            return float(np.asarray(place.node.op(*moved, **place.node.meta)).item())
        with np.errstate(all="ignore"):
            left, middle, right = at(-width), at(0.0), at(width)
        before, after = (middle - left) / width, (right - middle) / width
        smooth = abs(after - before) <= 0.01 * max(1.0, abs(before), abs(after))
        return (right - left) / (2 * width) if smooth else math.nan


class _Catch:
    """Takes the one gradient that `contribute` brings."""

    gradient = None

    def add(self, key, grad, fresh=False):
        """Keep it."""
        self.gradient = grad


def _key(x):
    if isinstance(x, Tensor):
        return x.node if x.node is not None else id(x)
    return x


def _check(loss):
    if not isinstance(loss, Tensor) or loss.node is None:
        raise GradientError(message("play: there is no tape to play.", [("got", type(loss).__name__)],
                                    "give a loss that was computed from tensors with requires_grad=True."))
    if loss.numel() != 1:
        raise GradientError(message("play: a loss has a single number.", [("shape", loss.shape)],
                                    "reduce it first, for example with .sum() or .mean()."))
