"""What a training run writes down as it goes: every loss, and now and then how weights and gradients are spread.

    log = RunLog(model)
    loss.backward(); optimizer.step(); log.note({"loss": loss})

A row is added whole or not at all, so a run that is interrupted leaves a log that holds together. Nothing in the model
is changed, and no random number is drawn: the run is the same with and without a log.

At most steps a row costs one pass over the gradients. The thorough look, a snapshot, is taken at the first steps and
then each time the run has become 10 % longer: some 80 looks in 10,000 steps.
"""
import math
import threading
from dataclasses import dataclass, field

import numpy as np

from .. import nn
from ..anomaly import born, spelled, user_line
from ..errors import ArgumentError, message
from ..nn.module import observers
from ..tensor import Tensor, watchers

BINS = 24                             # of a histogram
SAMPLE = 4096                         # numbers of a tensor that a histogram looks at; of a larger one, every k-th
QUANTILES = (5, 25, 50, 75, 95)       # percent
LONGER = 1.1                          # a snapshot each time the run is that much longer
RELUS = ("relu",)
ALARM, PATIENCE = 10.0, 30            # a loss or gradient that grew tenfold: look at every op for so many steps


@dataclass(frozen=True)
class Spread:
    """How the numbers of one tensor are spread. NaN and infinities are counted apart.

    Attributes:
        low, high: the smallest and the largest finite number; NaN if there is none.
        quantiles: the numbers below which 5, 25, 50, 75, 95 % lie.
        counts: how many lie in each of BINS bars of one width from low to high.
        rms: root of the mean square.
        broken: how many are NaN or infinite.
        size: how many there are in all.
    """

    low: float
    high: float
    quantiles: tuple
    counts: tuple
    rms: float
    broken: int
    size: int


@dataclass(frozen=True)
class LayerState:
    """One parameter at one step: its Spread, that of its gradient or None, and how far the step moved it.

    `moved` is the length of the step by the length of the parameter before it; None if that is not known.
    """

    weight: Spread
    gradient: Spread | None
    moved: float | None


@dataclass(frozen=True)
class Row:
    """One step of a run.

    Attributes:
        step: counted from 1.
        values: name -> number.
        norm: length of all gradients together; None if there were none.
        layers: name -> LayerState at a snapshot; None at other steps.
        dead: name of a ReLU -> (units that were 0 for the whole batch, units), at a snapshot.
        born: where the first NaN or infinity came from, "" if that was not seen.
    """

    step: int
    values: dict
    norm: float | None
    layers: dict | None = None
    dead: dict = field(default_factory=dict)
    born: str = ""


class RunLog:
    """The Rows of one run.

    Args:
        model: the module that is trained.
        name: of the run.
        optimizer: its first learning rate is noted as "lr", if one is given.
        every: a snapshot every so many steps; None for rarer and rarer ones.
        watch_nan: look at every op for the first NaN at every step, which is slow, and not only when there are signs.
    """

    def __init__(self, model, name="run 1", optimizer=None, every=None, watch_nan=False):
        if not isinstance(model, nn.Module):
            raise ArgumentError(message("TrainingDashboard: the model must be a module.",
                                        [("got", type(model).__name__)], "TrainingDashboard(model)."))
        if every is not None and every < 1:
            raise ArgumentError(message("TrainingDashboard: a snapshot every 1 step or more.", [("every", every)]))
        self.model, self.name, self.optimizer, self.every, self.watch_nan = model, name, optimizer, every, watch_nan
        self.rows = []
        self.due = 1
        self._alarm = 0                                # how many steps we still look at every op
        self._was_broken = False
        self._thread = threading.get_ident()
        self._watching = False
        self._parameters = list(model.parameters())
        self._before = self._copies()
        self._forget()
        self.watch(True)

    @property
    def snapshots(self):
        """The Rows with layers."""
        return [row for row in list(self.rows) if row.layers is not None]

    # ------------------------------------------------------------------ a step
    def note(self, values):
        """Add a Row. Call it after the optimiser's step and before the gradients are forgotten.

        Raises:
            ArgumentError: a value is not one number.
        """
        values = {name: _number(name, value) for name, value in values.items() if value is not None}
        if self.optimizer is not None:
            values["lr"] = float(self.optimizer.param_groups[0]["lr"])
        step, norm = len(self.rows) + 1, self._norm()
        # what first is broken is looked at closely, whenever it comes
        broken = not all(map(math.isfinite, [*values.values(), norm or 0.0])) and not self._was_broken
        layers = self._look() if step >= self.due or broken else None
        dead = {name: (int((~alive).sum()), alive.size) for name, alive in self._alive.items()} if layers else {}
        self.rows.append(Row(step, values, norm, layers, dead, self._born))
        if step >= self.due:
            self.due = step + self.every if self.every else max(step + 1, math.ceil(step * LONGER))
        self._was_broken |= broken
        self._next(values, norm)

    def _next(self, values, norm):
        """Get ready for the next step."""
        self._alarm = PATIENCE if self._alarming(values, norm) else max(self._alarm - 1, 0)
        looks = len(self.rows) + 1 >= self.due
        self._parameters = list(self.model.parameters()) if looks else self._parameters
        self._before = self._copies() if looks else {}
        self._forget(self._born)
        self.watch(looks or self._suspicious)

    @property
    def _suspicious(self):
        """Whether a NaN may come, so that every op is looked at."""
        return (self.watch_nan or self._alarm > 0) and not self._was_broken

    def _forget(self, born=""):
        self._alive, self._born, self._module = {}, born, "the model"

    def _alarming(self, values, norm):
        """Whether a loss or the gradient has grown so much that a NaN may follow."""
        past = self.rows[-21:-1]
        if not past:
            return False
        for now, before in [(norm, [row.norm for row in past]),
                            (values.get("loss"), [row.values.get("loss") for row in past])]:
            known = [x for x in before if x is not None and math.isfinite(x)]
            if now is not None and (not math.isfinite(now) or (known and now > ALARM * max(min(known), 1e-12))):
                return True
        return False

    # ------------------------------------------------------------------ looking at the parameters
    def _norm(self):
        total, found = 0.0, False
        with np.errstate(all="ignore"):
            for p in self._parameters:
                if p.grad is not None:
                    g, found = p.grad.array.ravel(), True
                    total += float(g.dot(g))           # on the device it lies on
        return math.sqrt(total) if found and total >= 0 else total if found else None

    def _copies(self):
        return {name: np.array(p.host_array()) for name, p in self.model.named_parameters()}

    def _look(self):
        found = {}
        for name, p in self.model.named_parameters():
            now, before = p.host_array(), self._before.get(name)
            moved = None
            if before is not None and before.shape == now.shape:
                with np.errstate(all="ignore"):
                    size = float(np.linalg.norm(before))
                    moved = float(np.linalg.norm(now - before)) / size if size > 0 else None
            found[name] = LayerState(spread(now), None if p.grad is None else spread(p.grad.host_array()), moved)
        return found

    # ------------------------------------------------------------------ looking at the ops
    def watch(self, on):
        """Look at every op that runs from now on, or stop looking."""
        if on == self._watching:
            return
        self._watching = on
        if on:
            watchers.append(self._op_ran)
            observers.append(self._module_starts)
            return
        for listeners, mine in ((watchers, self._op_ran), (observers, self._module_starts)):
            if mine in listeners:
                listeners.remove(mine)

    def _module_starts(self, module):
        if threading.get_ident() == self._thread:
            self._module = module

    def _op_ran(self, op, args, meta, out):
        if threading.get_ident() != self._thread or not isinstance(out, Tensor):
            return
        if op.name in RELUS and out.node is not None:          # out of training, nothing is recorded
            self._note_relu(out.host_array())
        if self._suspicious and not self._born:
            kind = born(out.array, [x.array if isinstance(x, Tensor) else x for x in args])
            if kind:
                self._born = f"{kind} out of {op.name}, in the line: {spelled(user_line())}"

    def _note_relu(self, made):
        """Which units were more than 0 for at least one example."""
        if made.ndim < 2 or made.size == 0:
            return
        unit = 1 if made.ndim == 4 else made.ndim - 1
        alive = (made > 0).any(tuple(k for k in range(made.ndim) if k != unit))
        name = self._relu_name(made.shape)
        before = self._alive.get(name)
        self._alive[name] = alive if before is None else before | alive

    def _relu_name(self, shape):
        for name, module in self.model.named_modules():
            if module is self._module:
                return f"{name} (ReLU)" if isinstance(module, nn.ReLU) else f"relu after {name or 'the model'}"
        return f"relu of {'x'.join(map(str, shape[1:]))}"


def _number(name, value):
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        shape = getattr(value, "shape", type(value).__name__)
        raise ArgumentError(message(f"TrainingDashboard: {name} must be one number.", [("got", shape)],
                                    f"board.step({name}={name}.mean()).")) from None


def spread(array):
    """The Spread of an array; of one with more than SAMPLE numbers, that of every k-th."""
    flat = array.ravel()
    with np.errstate(all="ignore"):
        broken = 0
        if not math.isfinite(float(flat.sum())):       # one pass; a sum may overflow, so now each number is looked at
            finite = np.isfinite(flat)
            broken, flat = int(flat.size - finite.sum()), flat[finite]
        if not flat.size:
            return Spread(math.nan, math.nan, (), (), math.nan, broken, array.size)
        low, high = float(flat.min()), float(flat.max())
        rms = float(np.sqrt(np.vdot(flat, flat) / flat.size))
        some = np.sort(flat[::-(-flat.size // SAMPLE)].astype(np.float64))
        edges = np.linspace(low, high, BINS + 1)[1:-1]
        borders = np.searchsorted(some, edges)
        counts = np.diff(np.concatenate([[0], borders, [some.size]]))
        places = np.rint(np.array(QUANTILES) / 100 * (some.size - 1)).astype(int)
        return Spread(low, high, tuple(some[places].tolist()), tuple(counts.tolist()), rms, broken, array.size)
