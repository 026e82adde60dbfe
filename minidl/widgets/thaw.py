"""Freeze and thaw the layers of a network, and watch what follows: memory, tape, the way back, what moves.

    FreezeThaw()                                          the published reader of digits and a hundred pictures
    FreezeThaw(model, x, y, check_x, check_y)             your own model, and pictures of your own

Every choice is a run of its own, on a copy of the model: the same start, the same batches, the same optimiser. What a
run needs is measured in it and not worked out: the Nodes that lie on the tape, the bytes that they keep, the gradients
that are there after `backward`, the state that the optimiser holds after a step.
"""
import contextlib
import copy
import math
from dataclasses import dataclass, field

import numpy as np
import traitlets as tr

from .. import optim
from ..autograd import ancestors, no_grad
from ..data import Digits
from ..errors import ArgumentError, message
from ..nn import functional as F
from ..nn.module import Module
from ..pretrained import prepared, published
from ..random import get_rng_state, manual_seed, set_rng_state
from ..tensor import Tensor, as_tensor
from ..viz.theme import number, size_text
from .thaw_picture import picture
from .trace import Frame, Trace
from .widget import Widget

MOST_LAYERS, MOST_STEPS = 16, 60
EARLIER = 3                            # other choices whose curves stay for comparison
LEARNED, LOOKED_AT = 100, 200          # pictures of the reader of digits: to learn from, to judge by
WAYS = {"reached": "▴ ∂W", "passes": "▴ passes", "stops": "not reached"}
ASKS = "Predict before you go on: which layer will move furthest in these {steps} steps?"


@dataclass
class Layer:
    """A module with parameters of its own.

    Attributes:
        name: its path in the model.
        title: the path, and the kind of the module where the path is only a number.
        names: of its parameters.
        count: how many numbers they hold.
    """

    name: str
    title: str
    names: list = field(default_factory=list)
    count: int = 0


@dataclass
class Run:
    """What one choice of frozen layers led to.

    Attributes:
        tape: for each layer [Nodes on the tape, bytes that they keep for backward].
        gradient: for each layer the bytes of its gradients.
        state: for each layer the bytes that the optimiser remembers.
        loss: of each step's batch.
        right: share of the judged pictures before the first step and after each.
        moved: (steps, layers): length of the step's change, in parts of the layer's length before it.
        way: (steps + 1, layers): distance from the start, in parts of the length at the start.
        slope: (steps, layers): length of the gradient; None where there is none.
    """

    tape: list
    gradient: list
    state: list
    loss: list = field(default_factory=list)
    right: list = field(default_factory=list)
    moved: list = field(default_factory=list)
    way: list = field(default_factory=list)
    slope: list = field(default_factory=list)


# ---------------------------------------------------------------------- what is measured
def layers_of(model):
    """The Layers of a model, from the input on, in the order in which its parameters are named."""
    kinds, found = dict(model.named_modules()), {}
    for name, p in model.named_parameters():
        home = name.rpartition(".")[0] or name
        kind = type(kinds.get(home, model)).__name__
        title = f"{home} {kind}" if home.rpartition(".")[2].isdigit() else home
        layer = found.setdefault(home, Layer(home, title))
        layer.names.append(name)
        layer.count += p.numel()
    return list(found.values())


def tape_of(loss, groups):
    """What lies on the tape below a loss: for each layer [Nodes, bytes kept for backward].

    A Node belongs to the layer whose parameter it takes in, or else to the last layer before it. Parameters are not
    counted among the bytes, for they would be there without a tape; what two Nodes keep together counts once.

    Args:
        loss: a tensor.
        groups: for each layer its parameters.
    """
    owners = {id(p): k for k, group in enumerate(groups) for p in group}
    seen = {id(memory(p.array)) for group in groups for p in group}
    found, home = [[0, 0] for _ in groups], {}
    for node in reversed(ancestors([loss.node] if loss.node is not None else [])):
        parents = [x.node if isinstance(x, Tensor) and x.node is not None else x for x in node.inputs]
        mine = [owners[id(x)] for x in parents if id(x) in owners]
        home[node] = max(mine or [home[x] for x in parents if x in home], default=0)
        found[home[node]][0] += 1
        kept = [x.array for k in node.plan.kept if isinstance(x := node.inputs[k], Tensor)]
        for block in map(memory, [*kept, *([node.out] if node.out is not None else [])]):
            if id(block) not in seen:
                seen.add(id(block))
                found[home[node]][1] += block.nbytes
    return found


def memory(array):
    """The array that owns the numbers: keeping a view keeps all of it."""
    return array.base if isinstance(array.base, np.ndarray) else array


def remembered(optimizer, parameters):
    """The bytes of all arrays that an optimiser remembers for some parameters."""
    held = [value for p in parameters for value in optimizer.state.get(p, {}).values()]
    return sum(value.numel() * value.dtype.itemsize for value in held if isinstance(value, Tensor))


def length(arrays):
    """The length of several arrays as if they were one vector."""
    return math.sqrt(sum(float((np.asarray(a, dtype=float) ** 2).sum()) for a in arrays))


class FreezeThaw(Widget):
    """Layers that can be frozen and thawed, and what a few steps of training make of them.

    Args:
        model: any module with parameters; it is copied, and stays as it is. Left out, the reader of digits that was
            published for exercise 11.4.
        x, y: what it learns from, and the class of each.
        check_x, check_y: what it is judged by after each step.

    Attributes:
        frozen: names of layers, such as "conv1".
        steps: of Adam; the batches are the same for every choice.
        lr: of Adam.
        batch: how many examples a step sees.
        guess: the layer that is said to move furthest; "" before anybody has said so.
        layers: the Layers, from the input on.

    Raises:
        ArgumentError: a layer that is not there, or nothing to learn or to be judged by.
    """

    scripts = ("thaw",)
    controls = ("frozen", "steps", "lr", "batch", "guess")
    frozen = tr.List(tr.Unicode()).tag(sync=True)
    steps = tr.Int(15).tag(sync=True)
    lr = tr.Float(0.003).tag(sync=True)
    batch = tr.Int(20).tag(sync=True)
    guess = tr.Unicode("").tag(sync=True)

    def __init__(self, model=None, x=None, y=None, check_x=None, check_y=None, **controls):
        given = (model, x, y, check_x, check_y)
        if all(part is None for part in given):
            given = reader_and_digits()
        elif any(part is None for part in given) or not isinstance(model, Module):
            raise ArgumentError(message("FreezeThaw: a model needs examples to learn from, and others to be judged by.",
                                        [("model", type(model).__name__)],
                                        "FreezeThaw(model, x, y, check_x, check_y), or nothing at all."))
        self._start = copy.deepcopy(given[0])
        self._x, self._y, self._check_x, self._check_y = (as_tensor(part) for part in given[1:])
        self.layers, self._runs, self._everything = layers_of(self._start), {}, None
        if not 1 <= len(self.layers) <= MOST_LAYERS:
            raise ArgumentError(message("FreezeThaw: the model has no layers to freeze, or more than can be shown.",
                                        [("layers", len(self.layers)), ("at most", MOST_LAYERS)]))
        super().__init__(**controls)

    # ------------------------------------------------------------------ from Python
    def freeze(self, *names):
        """Freeze some layers as well; all if none is named. Returns the Frame before the first step."""
        return self._choose({*self.frozen, *(names or self._names())})

    def thaw(self, *names):
        """Let some layers learn; all if none is named. Returns the Frame before the first step."""
        return self._choose({*self.frozen} - {*(names or self._names())}, names)

    def _choose(self, wanted, named=()):
        unknown = ({*wanted} | {*named}) - {*self._names()}
        if unknown:
            raise self._no_layer(min(unknown))
        self.edit(frozen=[name for name in self._names() if name in wanted], guess="")
        return self.first()

    def _names(self):
        return [layer.name for layer in self.layers]

    def _no_layer(self, name):
        return ArgumentError(message(f"FreezeThaw: there is no layer {name!r}.",
                                     [("layers", ", ".join(self._names()))]))

    # ------------------------------------------------------------------ the run
    def run(self, frozen=None):
        """The Run of a choice, that at hand if left out; each is run once.

        Raises:
            ArgumentError: a setting is out of bounds, or a layer is not there.
        """
        self._check()
        frozen = tuple(name for name in self._names() if name in (self.frozen if frozen is None else frozen))
        key = frozen, self.steps, self.lr, self.batch
        if key not in self._runs:
            with fixed_chance():
                self._runs[key] = self._train(frozen)
        self._runs[key] = self._runs.pop(key)         # the newest last
        return self._runs[key]

    def _check(self):
        for name, low, high in (("steps", 1, MOST_STEPS), ("lr", 0.0, 10.0), ("batch", 1, len(self._x))):
            if not low <= getattr(self, name) <= high:
                raise ArgumentError(message(f"FreezeThaw: {name} must be from {low} to {high}.",
                                            [(name, getattr(self, name))]))
        unknown = {*self.frozen, *([self.guess] if self.guess else [])} - {*self._names()}
        if unknown:
            raise self._no_layer(min(unknown))

    def _model(self, frozen):
        """A copy of the model at its start, and for each layer its parameters."""
        model = copy.deepcopy(self._start)
        named = dict(model.named_parameters())
        groups = [[named[name] for name in layer.names] for layer in self.layers]
        for layer, group in zip(self.layers, groups):
            for p in group:
                p.grad = None
                p.requires_grad_(layer.name not in frozen)
        return model, groups

    def _batches(self):
        """The places of the examples of each step: again and again through all of them, shuffled anew."""
        rng, size = np.random.default_rng(0), self.batch
        rounds = -(-self.steps * size // len(self._x))
        order = np.concatenate([rng.permutation(len(self._x)) for _ in range(rounds)])
        return order[:self.steps * size].reshape(self.steps, size)

    def _loss(self, model, part):
        return F.cross_entropy(model(self._x[part]), self._y[part])

    def _right(self, model):
        """The share that is right, in eval; each module is left in the mode that it had."""
        modes = [(module, module.training) for _, module in model.named_modules()]
        model.eval()
        with no_grad():
            share = float((model(self._check_x).argmax(1) == self._check_y).float().mean().item())
        for module, mode in modes:
            module.training = mode
        return share

    def _tape(self, frozen):
        model, groups = self._model(frozen)
        return tape_of(self._loss(model, self._batches()[0]), groups)

    def _train(self, frozen):
        model, groups = self._model(frozen)
        learning = [p for group in groups for p in group if p.requires_grad]
        optimizer = optim.Adam(learning, lr=self.lr) if learning else None
        first = before = self._numbers(groups)
        run = Run(self._tape(frozen), [], [], right=[self._right(model)], way=[[0.0] * len(groups)])
        for part in self._batches():
            loss = self._loss(model, part)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            now = self._numbers(groups)
            run.loss.append(loss.item())
            run.right.append(self._right(model))
            run.moved.append(self._far(before, now))
            run.way.append(self._far(first, now))
            slopes = [[p.grad.host_array() for p in group if p.grad is not None] for group in groups]
            run.slope.append([length(slope) if slope else None for slope in slopes])
            before = now
        run.gradient = [sum(p.grad.host_array().nbytes for p in group if p.grad is not None) for group in groups]
        run.state = [remembered(optimizer, group) if optimizer else 0 for group in groups]
        return run

    @staticmethod
    def _numbers(groups):
        return [[p.detach().host_array().copy() for p in group] for group in groups]

    @staticmethod
    def _far(before, now):
        """How far each layer is from where it was, in parts of its length there."""
        return [length([b - a for a, b in zip(old, new)]) / (length(old) or 1.0) for old, new in zip(before, now)]

    # ------------------------------------------------------------------ what is shown
    def record(self):
        """The choice and what it costs, then a frame for each step, as a Trace."""
        run = self.run()
        self._everything = self.run(())               # what the choice is compared with
        self.run()                                    # the choice at hand stays the newest
        rows, facts = self._rows(run), self._facts(run)
        guess = f"You predict {self._title(self.guess)}." if self.guess else ASKS.format(steps=self.steps)
        text = f"{self._choice()} {facts[0]} {guess}"
        frames = [Frame("choice", text, self._data(run, 0), (*facts[1:], *(row["says"] for row in rows)))]
        frames += [Frame("steps", self._step_text(run, t), self._data(run, t), tuple(self._step_lines(run, t)))
                   for t in range(1, self.steps + 1)]
        earlier = self._earlier()
        shares = [share for line in (run.right, *(one["right"] for one in earlier)) for share in line]
        figure = {"rows": rows, "facts": facts, "steps": self.steps, "judged": len(self._check_x),
                  "right": [_short(r) for r in run.right], "earlier": earlier, "choice": self._short(self.frozen),
                  "low": math.floor(10 * min(shares)) / 10, "high": min(math.floor(10 * max(shares)) / 10 + 0.1, 1.0),
                  "top": max(max(map(max, run.moved)), 1e-12), "far": max(max(map(max, run.way)), 1e-12)}
        figure["low"] = min(figure["low"], figure["high"] - 0.1)
        return Trace(frames, f"{type(self._start).__name__}: {self._short(self.frozen)}", figure)

    def _rows(self, run):
        """What is known of each layer before the first step."""
        rows = []
        for k, layer in enumerate(self.layers):
            frozen, (ops, held), (all_ops, all_held) = layer.name in self.frozen, run.tape[k], self._everything.tape[k]
            back = "reached" if ops and not frozen else "passes" if ops else "stops"
            row = {"name": layer.name, "title": layer.title, "count": layer.count, "frozen": frozen, "ops": ops,
                   "all_ops": all_ops, "held": held, "all_held": all_held, "gradient": run.gradient[k],
                   "state": run.state[k], "back": back, "way": WAYS[back]}
            tape = f"{ops} of {all_ops} ops" + (f", {size_text(held)}" if held else "")
            rows.append({**row, "tape": tape, "says": self._says(row),
                         "memory": "none" if frozen else both(row["gradient"], row["state"])})
        return rows

    def _facts(self, run):
        """What the choice costs, beside everything thawed."""
        learn = sum(layer.count for layer in self.layers if layer.name not in self.frozen)
        numbers, everything = sum(layer.count for layer in self.layers), self._everything
        ops, held = (sum(part[k] for part in run.tape) for k in (0, 1))
        all_ops, all_held = (sum(part[k] for part in everything.tape) for k in (0, 1))
        reached = [row for row, (n, _) in zip(self.layers, run.tape) if n]
        back = (f"backward goes back as far as {reached[0].title}." if reached else "there is no backward pass at all.")
        return [f"{learn:,} of {numbers:,} numbers learn.",
                f"Gradients take {size_text(sum(run.gradient))} of {size_text(sum(everything.gradient))}, Adam's "
                f"memory {size_text(sum(run.state))} of {size_text(sum(everything.state))}.",
                f"The tape holds {ops} of {all_ops} ops and keeps {size_text(held)} of {size_text(all_held)} for "
                f"backward; {back}"]

    def _earlier(self):
        """The curves of the last other choices with the same settings, the newest first."""
        same = [(key[0], run) for key, run in self._runs.items() if key[1:] == (self.steps, self.lr, self.batch)]
        return [{"label": self._short(frozen), "right": [_short(r) for r in run.right]}
                for frozen, run in same[-2::-1][:EARLIER]]

    def _data(self, run, t):
        before = t == 0
        return {"t": t, "loss": None if before else run.loss[t - 1], "right": run.right[t],
                "moved": None if before else [_short(v) for v in run.moved[t - 1]],
                "way": [_short(v) for v in run.way[t]],
                "slope": None if before else [v if v is None else _short(v) for v in run.slope[t - 1]]}

    # ------------------------------------------------------------------ in words
    def _title(self, name):
        return next(layer.title for layer in self.layers if layer.name == name)

    def _choice(self):
        if not self.frozen:
            return "Nothing is frozen."
        if len(self.frozen) == len(self.layers):
            return "Everything is frozen, so nothing will be learned."
        return f"Frozen: {', '.join(layer.title for layer in self.layers if layer.name in self.frozen)}."

    def _short(self, frozen):
        names = [layer.name for layer in self.layers if layer.name in frozen]
        return "nothing frozen" if not names else "all frozen" if len(names) == len(self.layers) else \
            f"frozen {', '.join(names)}"

    @staticmethod
    def _says(row):
        way = {"reached": "backward computes its gradient", "passes": "the gradient passes through it",
               "stops": "backward does not come here"}[row["back"]]
        memory = ("no gradient and no memory of Adam's" if row["frozen"] else
                  f"gradient {size_text(row['gradient'])}, Adam's memory {size_text(row['state'])}")
        return (f"{row['title']}: {'frozen' if row['frozen'] else 'learns'}, {row['count']:,} numbers, {memory}, "
                f"{row['ops']} of {row['all_ops']} ops on the tape, {way}.")

    def _step_text(self, run, t):
        moved, best = run.moved[t - 1], int(np.argmax(run.moved[t - 1]))
        furthest = (f"Furthest in this step: {self.layers[best].title}, by {percent(moved[best])} of its length."
                    if moved[best] else "Nothing moved.")
        text = (f"Loss of the batch {number(run.loss[t - 1])}. {furthest} "
                f"{percent(run.right[t])} of {len(self._check_x)} others are right.")
        return f"{text} {self._verdict(run)}".strip() if t == self.steps else text

    def _verdict(self, run):
        far = run.way[-1]
        if not max(far):
            return "Every layer is where it was."
        best = int(np.argmax(far))
        truth = f"{self.layers[best].title} went furthest, by {percent(far[best])} of its length at the start."
        if not self.guess:
            return truth
        if self.guess == self.layers[best].name:
            return f"You predicted it: {truth}"
        mine = far[self._names().index(self.guess)]
        return f"You predicted {self._title(self.guess)}, which went {percent(mine)}; {truth}"

    def _step_lines(self, run, t):
        for k, layer in enumerate(self.layers):
            slope = run.slope[t - 1][k]
            gradient = "no gradient" if slope is None else f"gradient of length {number(slope)}"
            yield (f"{layer.title}: moved by {percent(run.moved[t - 1][k])} in this step, {percent(run.way[t][k])} "
                   f"since the start, {gradient}.")

    # ------------------------------------------------------------------ without a page
    def draw(self, frame):
        """The layers with what they cost and how far they moved, and the curve of what is right."""
        return picture(self.trace.figure, frame, self.trace.title)


@contextlib.contextmanager
def fixed_chance():
    """The same random numbers every time, for dropout; those of the notebook go on where they were."""
    before = get_rng_state()
    manual_seed(0)
    try:
        yield
    finally:
        set_rng_state(before)


def percent(share):
    """A share as people read it.

    >>> percent(0.6543), percent(0), percent(0.00012)
    ('65.4 %', '0 %', '0.012 %')
    """
    return f"{number(100 * share)} %"


def both(one, other):
    """Two sizes in memory, the unit once where they share it.

    >>> both(2048, 4096), both(320, 2048)
    ('2 + 4 KiB', '320 B + 2 KiB')
    """
    first, second = size_text(one), size_text(other)
    shared = first.split()[1] == second.split()[1]
    return f"{first.split()[0] if shared else first} + {second}"


def _short(x):
    return float(f"{x:.5g}")


def reader_and_digits():
    """The published reader, a hundred pictures of other people's digits, and two hundred to judge by."""
    learn, judge = Digits(), Digits(train=False)
    few = np.concatenate([np.flatnonzero(learn.targets == c)[:LEARNED // 10] for c in range(10)])
    return (published(), prepared(learn.data[few] / 255), Tensor(learn.targets[few]),
            prepared(judge.data[:LOOKED_AT] / 255), Tensor(judge.targets[:LOOKED_AT]))
