"""Training that is written down: a copy of a model, one batch a step, everything kept that a picture needs.

    Plan        data, batches, optimiser and seeds of a run
    train       carry it out on a copy of a model: a Run
    columns     how a model is wired: which of its modules make a column of units, and by which weights
    outputs     what each column makes of some points
"""
import copy
import math
from dataclasses import dataclass, field, replace

import numpy as np

from .. import data as sets
from .. import func, optim
from .. import random as _random
from ..autograd import detect_anomaly, no_grad
from ..errors import AnomalyError, ArgumentError, ShapeError, first_line, message
from ..nn import functional as F
from ..nn.module import observers
from ..random import Generator
from ..tensor import Tensor, tensor

SETS = {"moons": sets.moons, "spirals": sets.spirals, "blobs": sets.blobs}
OPTIMIZERS = {
    "SGD": optim.SGD,
    "momentum": lambda params, lr: optim.SGD(params, lr=lr, momentum=0.9),
    "RMSprop": optim.RMSprop,
    "Adam": optim.Adam,
}
TEST_SHARE = 4                          # one point of four is kept for the test


@dataclass(frozen=True)
class Plan:
    """What a run depends on, besides the model and its weights.

    Attributes:
        data: the name of a toy set, or (x, y).
        noise, points, classes, data_seed: of a toy set.
        batch_size, batch_seed: of the batches.
        lr, optimizer: `optimizer(parameters, lr=lr)`.
    """

    data: object = "moons"
    noise: float = 0.15
    points: int = 160
    classes: int = 2
    data_seed: int = 0
    batch_size: int = 16
    batch_seed: int = 0
    lr: float = 0.3
    optimizer: object = optim.SGD

    def draw(self):
        """x (N, 2), y (N,), and which of them are for the test (N,)."""
        generator = Generator().manual_seed(self.data_seed)
        if isinstance(self.data, str):
            classes = min(self.classes, 2) if self.data == "moons" else self.classes
            x, y = SETS[self.data](self.points, self.noise, classes, generator)
        else:
            x, y = self.data
        x, y = (np.asarray(v.host_array() if isinstance(v, Tensor) else v) for v in (x, y))
        test = np.zeros(len(x), dtype=bool)
        test[generator.permutation(len(x))[:len(x) // TEST_SHARE]] = True
        return x.astype(np.float32), y.astype(np.int64), test

    def batches(self, rows, steps):
        """The rows of each batch, and its epoch, counted from 1; the last batch of an epoch may be smaller."""
        generator, found, epoch = Generator().manual_seed(self.batch_seed), [], 0
        while len(found) < steps:
            epoch += 1
            order = rows[generator.permutation(len(rows))]
            found += [(order[k:k + self.batch_size], epoch) for k in range(0, len(order), self.batch_size)]
        return found[:steps]


@dataclass
class Run:
    """What happened, at each step from 0 (before the first batch) on.

    Attributes:
        weights: name -> array.
        slopes: name -> gradient that led to these weights; None at step 0 and where there was none.
        batches, batch_losses, epochs: rows of the batch, its loss, its epoch; None at step 0.
        train, test: (loss, share of right answers) of all points of the kind, in evaluation mode.
        plans: the Plan that each step followed.
        broken: what was not finite first, in words; "" if all is well.
    """

    weights: list = field(default_factory=list)
    slopes: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    batch_losses: list = field(default_factory=list)
    epochs: list = field(default_factory=list)
    train: list = field(default_factory=list)
    test: list = field(default_factory=list)
    plans: list = field(default_factory=list)
    broken: str = ""


def loss_of(out, y):
    """Cross-entropy of class scores (N, C); of one score for two classes (N, 1) or (N,), the binary one."""
    if out.ndim == 1 or out.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(out.reshape(-1), tensor(y.astype(np.float32)))
    return F.cross_entropy(out, tensor(y))


def scores_of(out):
    """Class scores (N, C); one score for two classes becomes two."""
    out = out.host_array()
    return np.stack([np.zeros(len(out)), out.reshape(len(out))], axis=1) if out.ndim == 1 or out.shape[1] == 1 else out


def classes_of(model):
    """How many classes a model tells apart.

    Raises:
        ShapeError: it does not take points (N, 2), or does not give scores.
    """
    try:
        with no_grad():
            out = copy.deepcopy(model).eval()(Tensor(np.zeros((3, 2), dtype=np.float32)))
    except (ShapeError, IndexError) as error:
        raise ShapeError(message("playground: the model must take points of the plane, N 2.",
                                 [("model", type(model).__name__), ("it says", str(error).split("\n")[0])],
                                 "nn.Linear(2, ...) as its first layer.")) from None
    if not isinstance(out, Tensor) or out.ndim not in (1, 2) or len(out) != 3:
        raise ShapeError(message("playground: the model must give a score for each class, N C.",
                                 [("for points", (3, 2)), ("it gives", getattr(out, "shape", type(out).__name__))]))
    return 2 if out.ndim == 1 or out.shape[1] == 1 else out.shape[1]


# ---------------------------------------------------------------------- a run
def train(model, plan, steps, fork_at=0, changed=None, seed=0):
    """Train a copy of `model`; the model itself, and the notebook's random numbers, stay as they are.

    Args:
        model: takes (N, 2).
        plan: the Plan.
        steps: batches.
        fork_at: the step after which `changed` holds.
        changed: another Plan; its optimiser starts anew at the fork, unless lr alone is different.
        seed: of random layers such as dropout.
    """
    model, run = copy.deepcopy(model), Run()
    before = _random.get_rng_state()
    _random.manual_seed(seed)
    try:
        _carry_out(model, run, plan, steps, fork_at, changed or plan)
    finally:
        _random.set_rng_state(before)
    return run


def _carry_out(model, run, plan, steps, fork_at, changed):
    now, optimizer = plan, plan.optimizer(model.parameters(), lr=plan.lr)
    x, y, test = now.draw()
    batches = now.batches(np.flatnonzero(~test), steps)
    _note(run, model, now, (x, y, test), None, None, None)
    for t in range(steps):
        if t == fork_at and changed != now:
            optimizer = _changed_optimizer(optimizer, model, now, changed)
            now = changed
            x, y, test = now.draw()
            batches = now.batches(np.flatnonzero(~test), steps)
        rows, epoch = batches[t]
        state = _random.get_rng_state()
        with np.errstate(all="ignore"):                    # what is not finite is told below
            model.train()
            optimizer.zero_grad()
            loss = loss_of(model(Tensor(x[rows])), y[rows])
            loss.backward()
            slopes = {name: None if p.grad is None else p.grad.host_array().copy()
                      for name, p in model.named_parameters()}
            optimizer.step()
            _note(run, model, now, (x, y, test), slopes, (rows, epoch), loss.item())
        if not _finite(model, loss):
            run.broken = _culprit(model, run, x[rows], y[rows], state, t + 1)
            return


def _changed_optimizer(optimizer, model, now, changed):
    if changed.optimizer is now.optimizer and hasattr(optimizer, "param_groups"):
        for group in optimizer.param_groups:
            group["lr"] = changed.lr
        return optimizer
    return changed.optimizer(model.parameters(), lr=changed.lr)


def _note(run, model, plan, data, slopes, batch, loss):
    x, y, test = data
    run.plans.append(plan)
    run.weights.append({name: value.host_array().copy() for name, value in model.state_dict().items()})
    run.slopes.append(slopes)
    run.batches.append(None if batch is None else batch[0])
    run.epochs.append(None if batch is None else batch[1])
    run.batch_losses.append(loss)
    model.eval()
    for kept, rows in ((run.train, ~test), (run.test, test)):
        with no_grad(), np.errstate(all="ignore"):
            out = model(Tensor(x[rows]))
            scores = scores_of(out)
            right = (scores.argmax(1) == y[rows]) & np.isfinite(scores).all(1)
            right = right.mean() if rows.any() else math.nan
            kept.append((loss_of(out, y[rows]).item() if rows.any() else math.nan, float(right)))


def _finite(model, loss):
    return math.isfinite(loss.item()) and all(np.isfinite(p.host_array()).all() for p in model.parameters())


def _culprit(model, run, x, y, state, step):
    """The first number that was not finite in the last step: its layer, its op. The step is done again to find it."""
    model.load_state_dict(run.weights[-2])
    model.train()
    after, called = _random.get_rng_state(), []
    _random.set_rng_state(state)
    observers.append(called.append)
    places = {id(module): name for name, module in model.named_modules()}
    where = "forward"
    try:
        with detect_anomaly(), np.errstate(all="ignore"):
            out = model(Tensor(x))
            layer = _layer(called, places)
            called.clear()
            where = "the loss"
            loss = loss_of(out, y)
            where = "backward"
            loss.backward()
    except AnomalyError as error:
        layer = _layer(called, places) if where == "forward" else where
        return f"step {step}, {layer}: {first_line(error)}"
    finally:
        observers.remove(called.append)
        _random.set_rng_state(after)
    return f"step {step}, the update: the gradients are finite, the weights no longer; the step was too long ({layer})."


def _layer(called, places):
    """The module that was called last, as `layer 2 (Tanh)`."""
    known = [module for module in called if places.get(id(module))]
    return f"layer {places[id(known[-1])]} ({type(known[-1]).__name__})" if known else "the model"


# ---------------------------------------------------------------------- how a model is wired
@dataclass(frozen=True)
class Column:
    """Units side by side.

    Attributes:
        name: the modules that make them, such as `0 Linear, 1 Tanh`.
        module: the place of the last of these modules among those that were called.
        units: how many.
        weight: the name of the matrix that leads here from the column before; "" if there is none that fits.
        turned: whether it is stored (in, out), not (out, in).
        bias: the name of the bias; "" if there is none.
    """

    name: str
    module: int
    units: int
    weight: str = ""
    turned: bool = False
    bias: str = ""


def _calls(model, x):
    """(name, module, input, output) of each direct child that made (N, units) of (N, units), in order of the calls."""
    children = model.named_children() or [("", model)]
    found, removes = [], []
    for name, module in children:
        def note(_, inputs, out, name=name, module=module):
            fits = len(inputs) == 1 and all(isinstance(v, Tensor) and v.ndim == 2 for v in (inputs[0], out))
            if fits and all(module is not other for _, other, _, _ in found):
                found.append((name, module, inputs[0], out))
        removes.append((module, module._hooks))
        module.register_forward_hook(note)
    try:
        with no_grad(), np.errstate(all="ignore"):
            model(Tensor(np.asarray(x, dtype=np.float32)))
    finally:
        for module, hooks in removes:
            module._hooks = hooks
    return found


def outputs(model, x, column):
    """(N, units) for each column."""
    calls = _calls(model, x)
    return [calls[c.module][3].host_array() for c in column]


def columns(model):
    """The Columns of a model, from left to right.

    A module begins a new column when it has a matrix along which its output depends on its input, or when it has
    another number of units than its input. Others, such as an activation, carry on the column that is there. Which
    matrix, and which way it is turned, is found by comparing it with the derivative of the module.
    """
    model = copy.deepcopy(model).eval()
    found = []
    for k, (name, module, x, out) in enumerate(_calls(model, np.array([[0.3, -0.2], [-0.4, 0.5]]))):
        weight, turned = _matrix(module, x)
        label = f"{name} {type(module).__name__}".strip()
        if found and not weight and out.shape[1] == found[-1].units and x.shape[1] == out.shape[1]:
            found[-1] = replace(found[-1], name=f"{found[-1].name}, {label}", module=k)
            continue
        prefix = f"{name}." if name else ""
        bias = next((n for n, p in module.named_parameters()
                     if n.split(".")[-1] == "bias" and p.shape == out.shape[1:]), "")
        found.append(Column(label, k, out.shape[1], weight and prefix + weight, turned, bias and prefix + bias))
    return found


def _matrix(module, x):
    """(name, turned) of the matrix whose rows the derivatives of a module's outputs run along; ("", False) if none."""
    shapes = (x.shape[1],)
    matrices = [(name, p) for name, p in module.named_parameters() if p.ndim == 2]
    if not matrices:
        return "", False
    slope = func.jacobian(lambda v: module(v.reshape(1, *shapes))[0])(x[0].detach()).host_array()
    for name, p in matrices:
        for turned in (False, True):
            w = p.host_array().T if turned else p.host_array()
            if w.shape == slope.shape and _along(slope, w):
                return name, turned
    return "", False


def _along(slope, w):
    """Whether each row of `slope` is a multiple of the row of `w`; 0 is one."""
    lengths = np.linalg.norm(slope, axis=1) * np.linalg.norm(w, axis=1)
    return bool((np.abs((slope * w).sum(1)) >= 0.999 * lengths - 1e-12).all() and lengths.any())


def checked(data):
    """Points (N, 2) and classes (N,) of the learner's own.

    Raises:
        ShapeError: other shapes.
        ArgumentError: too few points, or classes that are not 0, 1, 2, ...
    """
    x, y = (np.asarray(v.host_array() if isinstance(v, Tensor) else v) for v in data)
    if x.ndim != 2 or x.shape[1] != 2 or y.shape != x.shape[:1]:
        raise ShapeError(message("playground: data is a pair of points, N 2, and their classes, N.",
                                 [("points", x.shape), ("classes", y.shape)]))
    if len(x) < 8 or not np.isfinite(x).all() or (y != y.astype(np.int64)).any() or y.min() < 0:
        raise ArgumentError(message("playground: data needs 8 finite points at least, and classes 0, 1, 2, ...",
                                    [("points", len(x)), ("classes", np.unique(y)[:6].tolist())]))
    return x.astype(np.float32), y.astype(np.int64)
