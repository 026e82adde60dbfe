"""Learning rate schedules: the rate as a function of the step.

    scheduler = StepLR(optimizer, step_size=30, gamma=0.1)
    for epoch in range(100):
        train()
        scheduler.step()

Most schedules are a closed formula, `lr_at(t, base_lr)`: what the rate is after t calls of `step`, for a
group that started at base_lr. So a schedule can be plotted without running it.

If the rate was changed from outside since the last step, by hand or by a second schedule, the
formula goes on from there in proportion. Two schedules on one optimiser therefore multiply, as in PyTorch.
"""
import bisect
import copy
import math

from ..errors import ArgumentError, message
from .optimizers import Optimizer, plain


class LRScheduler:
    """Base of the schedules. A subclass writes `lr_at`, or `get_lr` in PyTorch's manner.

    Args:
        optimizer: whose rates are set, in every group.
        last_epoch: the number of the last step that was taken, to go on from there; -1 to begin.

    Attributes:
        last_epoch: how many steps have been taken, 0 after construction.
        base_lrs: the rate each group started with (kept in the group as "initial_lr").
        scales: by how much changes from outside have multiplied each rate.
        floor: the rate that such changes leave alone.
        follows: whether changes from outside count at all.

    Raises:
        ArgumentError: not an optimiser, or `last_epoch` is given and the optimiser has not been scheduled before.
    """

    floor, follows = 0.0, True
    unsaved = ("optimizer", "lr_lambdas", "_schedulers")

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer = _checked(optimizer, type(self).__name__)
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", plain(group["lr"]))
            elif "initial_lr" not in group:
                raise ArgumentError(message(
                    f"{type(self).__name__}: group {k} has no 'initial_lr' to go on from.",
                    [("last_epoch", last_epoch)], "load the optimizer's state_dict first."))
        self.last_epoch = last_epoch
        self.base_lrs = [plain(group["initial_lr"]) for group in optimizer.param_groups]
        self.scales = [1.0] * len(self.base_lrs)
        self._last_lr = self.base_lrs if last_epoch == -1 else self._current()
        self.step()

    def lr_at(self, t, base_lr):
        """The rate after t steps of a group that started at `base_lr`."""
        raise NotImplementedError(f"{type(self).__name__}.lr_at is not written yet")

    def get_lr(self):
        """The rate of each group at step `last_epoch`."""
        rates = [self.lr_at(self.last_epoch, base) for base in self.base_lrs]
        return [lr if scale == 1 else self.floor + scale * (lr - self.floor) for lr, scale in zip(rates, self.scales)]

    def get_last_lr(self):
        """The rate of each group, as the last step set it."""
        return list(self._last_lr)

    def step(self, epoch=None):
        """Go to the next step of the schedule, or straight to step `epoch`, and set the rates."""
        self._check_groups()
        if epoch is None:
            self._follow()
            self.last_epoch += 1
        else:
            self.last_epoch, self.scales = epoch, [1.0] * len(self.base_lrs)
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = plain(lr)
        self._last_lr = self._current()

    def _follow(self):
        """Notice that a rate is not the one we set, and go on from it in proportion."""
        for k, (lr, last) in enumerate(zip(self._current(), self._last_lr)):
            if self.follows and lr != last and last != self.floor:
                self.scales[k] *= (lr - self.floor) / (last - self.floor)

    def _current(self):
        return [plain(group["lr"]) for group in self.optimizer.param_groups]

    def _check_groups(self):
        then, now = len(self.base_lrs), len(self.optimizer.param_groups)
        if now != then:
            raise ArgumentError(message(
                f"{type(self).__name__}: groups were added to the optimizer after the schedule began.",
                [("groups then", then), ("groups now", now)], "call add_param_group first, then make the schedule."))

    def state_dict(self):
        """A snapshot: numbers, strings and lists; all but the optimiser and functions."""
        return {name: copy.deepcopy(value) for name, value in vars(self).items() if name not in self.unsaved}

    def load_state_dict(self, state_dict):
        """Go on from a snapshot. The rates themselves are in the optimiser's own state."""
        vars(self).update(copy.deepcopy(state_dict))

    def __repr__(self):
        hidden = (*self.unsaved, "base_lrs", "scales", "last_epoch")
        shown = {name: value for name, value in vars(self).items() if name not in hidden and name[0] != "_"}
        settings = [f"{name}={value}" for name, value in shown.items()]
        rates = ", ".join(f"{lr:.4g}" for lr in self._last_lr)
        return f"{type(self).__name__}({', '.join(settings)} | step {self.last_epoch}, lr {rates})"


def _checked(optimizer, name):
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(message(f"{name}: expected an optimizer, got {type(optimizer).__name__}.",
                                    try_=f"{name}(optimizer, ...)."))
    return optimizer


def _in_range(name, value, low, high):
    if not low <= value <= high:
        raise ArgumentError(message(f"{name} must be between {low} and {high}.", [("got", value)]))
    return value


def _one_of(name, value, *known):
    if value not in known:
        raise ArgumentError(message(f"{name} must be {' or '.join(map(repr, known))}.", [("got", repr(value))]))


def _one_a_group(name, value, optimizer):
    """A setting that may be given once, or as a list with one value for each group."""
    count = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ArgumentError(message(f"{name}: expected one value for each group of the optimizer.",
                                    [("values", len(values)), ("groups", count)]))
    return values


# ---------------------------------------------------------------------- closed formulas
class StepLR(LRScheduler):
    """Multiply the rate by gamma every `step_size` steps: lr = base * gamma ^ floor(t / step_size).

    >>> import minidl as md
    >>> from minidl import optim
    >>> optimizer = optim.SGD([md.zeros(2, requires_grad=True)], lr=1.0)
    >>> scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> [scheduler.lr_at(t, 1.0) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr):
        return base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply the rate by gamma at each milestone: lr = base * gamma ^ (how many milestones are behind)."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr):
        return base_lr * self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """Multiply the rate by gamma in every step: lr = base * gamma ^ t."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr):
        return base_lr * self.gamma ** t


class ConstantLR(LRScheduler):
    """A smaller rate to begin with: lr = base * factor for the first `total_iters` steps, then base."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        self.factor, self.total_iters = _in_range("ConstantLR: factor", factor, 0, 1), total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr):
        return base_lr * self.factor if t < self.total_iters else base_lr


class LinearLR(LRScheduler):
    """From one share of the rate to another in a straight line, the usual warm-up.

    lr = base * (start + (end - start) * min(t, total_iters) / total_iters)
    """

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if start_factor == 0:                         # from a rate of 0 nothing can go on in proportion
            raise ArgumentError(message("LinearLR: start_factor must be more than 0.", try_="start_factor=1e-8."))
        self.start_factor = _in_range("LinearLR: start_factor", start_factor, 0, 1)
        self.end_factor = _in_range("LinearLR: end_factor", end_factor, 0, 1)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr):
        share = min(t, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class CosineAnnealingLR(LRScheduler):
    """Down half a wave of the cosine, and up again if it goes on.

    lr = eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2

    Source: I. Loshchilov, F. Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017; this is one
    descent of theirs, without the restarts.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self):
        """Changes from outside scale what lies above eta_min."""
        return self.eta_min

    def lr_at(self, t, base_lr):
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LambdaLR(LRScheduler):
    """The rate as a function of your own: lr = base * lr_lambda(t); one function, or a list with one for each group.

    The functions are not part of `state_dict`.
    """

    follows = False

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        self.lr_lambdas = _one_a_group("LambdaLR", lr_lambda, _checked(optimizer, "LambdaLR"))
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t, base_lr, group=0):
        return base_lr * self.lr_lambdas[group](t)

    def get_lr(self):
        return [self.lr_at(self.last_epoch, base, k) for k, base in enumerate(self.base_lrs)]


# ---------------------------------------------------------------------- one cycle
class OneCycleLR(LRScheduler):
    """One climb to a high rate, one long descent, while the momentum does the opposite. Step it after every batch.

        rate        max_lr / div_factor  ->  max_lr        ->  max_lr / div_factor / final_div_factor
        momentum    max_momentum         ->  base_momentum ->  max_momentum

    Source: L. Smith, N. Topin, Super-convergence: very fast training of neural networks using large learning rates,
    arXiv 1708.07120, 2018. `three_phase` is the paper's form: down to where the climb began, then to the end.

    Args:
        optimizer: with a momentum or betas, if the momentum is to cycle.
        max_lr: the rate at the top; a list for one a group.
        total_steps: length of the cycle in steps; or give `epochs` and `steps_per_epoch`.
        pct_start: the share of the cycle that climbs.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum (Adam: beta1) moves, between `base_momentum` and `max_momentum`.
        div_factor, final_div_factor: how much lower than the top the cycle starts; how much lower than that it ends.

    Raises:
        ArgumentError: no length, a share outside 0 .. 1, no momentum to cycle, or more steps than the cycle has.
    """

    follows = False

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False, last_epoch=-1):
        self.total_steps = _length(total_steps, epochs, steps_per_epoch)
        _one_of("OneCycleLR: anneal_strategy", anneal_strategy, "cos", "linear")
        self.anneal_strategy, self.three_phase, self.cycle_momentum = anneal_strategy, three_phase, cycle_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        up = _in_range("OneCycleLR: pct_start", pct_start, 0, 1) * self.total_steps
        self._ends = [up - 1, *([2 * up - 2] if three_phase else []), self.total_steps - 1]
        if cycle_momentum:
            self._prepare_momentum(_checked(optimizer, "OneCycleLR"), base_momentum, max_momentum)
        if last_epoch == -1:
            tops = _one_a_group("OneCycleLR: max_lr", max_lr, _checked(optimizer, "OneCycleLR"))
            for group, top in zip(optimizer.param_groups, tops):
                group["initial_lr"] = plain(top) / div_factor
        super().__init__(optimizer, last_epoch)

    def _prepare_momentum(self, optimizer, low, high):
        self._key = next((key for key in ("betas", "momentum") if key in optimizer.defaults), None)
        if self._key is None:
            raise ArgumentError(message(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum and no betas to cycle.",
                try_="cycle_momentum=False."))
        self.base_momentums = _one_a_group("OneCycleLR: base_momentum", low, optimizer)
        self.max_momentums = _one_a_group("OneCycleLR: max_momentum", high, optimizer)

    def step(self, epoch=None):
        super().step(epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                momentum = self.momentum_at(self.last_epoch, low, high)
                group[self._key] = momentum if self._key == "momentum" else (momentum, *group["betas"][1:])

    def lr_at(self, t, base_lr):
        top, end = base_lr * self.div_factor, base_lr / self.final_div_factor
        return self._between([base_lr, top, base_lr, end] if self.three_phase else [base_lr, top, end], t)

    def momentum_at(self, t, low, high):
        """The momentum after t steps, between `low` at the top of the rate and `high` at its ends."""
        return self._between([high, low, high, high], t)

    def _between(self, stops, t):
        """Where step t lies on the way from stop to stop."""
        if t > self.total_steps:
            raise ArgumentError(message(
                "OneCycleLR: the cycle is over.", [("step", t), ("total_steps", self.total_steps)],
                "total_steps = epochs * len(loader), and one step() a batch."))
        k = bisect.bisect_left(self._ends[:-1], t)    # the first phase that ends at t or later
        begin, end = self._ends[k - 1] if k else 0, self._ends[k]
        share = (t - begin) / (end - begin) if end != begin else 1.0
        if self.anneal_strategy == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        return stops[k] + (stops[k + 1] - stops[k]) * share


def _length(total_steps, epochs, steps_per_epoch):
    if total_steps is None and epochs and steps_per_epoch:
        total_steps = epochs * steps_per_epoch
    if not isinstance(total_steps, int) or total_steps <= 0:
        raise ArgumentError(message(
            "OneCycleLR: the cycle needs a length, a whole number of steps.",
            [("total_steps", total_steps), ("epochs", epochs), ("steps_per_epoch", steps_per_epoch)],
            "total_steps=epochs * len(loader)."))
    return total_steps


# ---------------------------------------------------------------------- schedules that look, schedules of schedules
class ReduceLROnPlateau(LRScheduler):
    """Lower the rate when a measure, usually the validation loss, stops getting better: `scheduler.step(loss)`.

    Args:
        optimizer: whose rates are lowered.
        mode: "min" if smaller is better, "max" if larger is.
        factor: what the rate is multiplied by, less than 1.
        patience: how many steps without progress are tolerated.
        threshold: what counts as progress: a share of the best value ("rel") or a difference ("abs").
        threshold_mode: "rel" or "abs".
        cooldown: steps to wait after lowering before counting again.
        min_lr: where lowering ends; a list for one a group.
        eps: a change smaller than this is not made.
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel",
                 cooldown=0, min_lr=0, eps=1e-8):
        self.optimizer = _checked(optimizer, "ReduceLROnPlateau")
        _one_of("ReduceLROnPlateau: mode", mode, "min", "max")
        _one_of("ReduceLROnPlateau: threshold_mode", threshold_mode, "rel", "abs")
        if not factor < 1:
            raise ArgumentError(message("ReduceLROnPlateau: factor must be less than 1.", [("factor", factor)]))
        self.mode, self.factor, self.patience, self.cooldown, self.eps = mode, factor, patience, cooldown, eps
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.min_lrs = _one_a_group("ReduceLROnPlateau: min_lr", min_lr, optimizer)
        self.best = math.inf if mode == "min" else -math.inf
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0
        self.base_lrs = self._last_lr = self._current()

    def step(self, metrics, epoch=None):
        """Take note of the measure, a number or a tensor with one number, and lower the rates if it is time."""
        self._check_groups()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        better = self.is_better(float(metrics))
        self.best = float(metrics) if better else self.best
        self.num_bad_epochs = 0 if better or self.cooldown_counter else self.num_bad_epochs + 1
        self.cooldown_counter = max(0, self.cooldown_counter - 1)
        if self.num_bad_epochs > self.patience:
            self._lower()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._current()

    def is_better(self, value):
        """Whether `value` beats the best so far by more than the threshold."""
        sign = 1 if self.mode == "min" else -1
        relative = self.threshold_mode == "rel"
        bar = self.best * (1 - sign * self.threshold) if relative else self.best - sign * self.threshold
        return sign * value < sign * bar

    def _lower(self):
        for group, old, lowest in zip(self.optimizer.param_groups, self._current(), self.min_lrs):
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                group["lr"] = new


class SequentialLR(LRScheduler):
    """One schedule after another: schedule k + 1 begins at step milestones[k], and counts from 0 then.

    Args:
        optimizer: the optimiser of all the schedules.
        schedulers: the schedules, each made with the same optimiser.
        milestones: the steps at which the next one takes over, rising; one fewer than schedules.

    >>> import minidl as md
    >>> from minidl import optim
    >>> optimizer = optim.SGD([md.zeros(2, requires_grad=True)], lr=1.0)
    >>> warm_up, then = LinearLR(optimizer, 0.5, total_iters=2), StepLR(optimizer, 1, gamma=0.1)
    >>> scheduler = SequentialLR(optimizer, [warm_up, then], milestones=[2])
    >>> for _ in range(4):
    ...     print(scheduler.get_last_lr(), end=" ")
    ...     scheduler.step()
    [0.5] [0.75] [1.0] [0.1]
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        self._check_parts(_checked(optimizer, "SequentialLR"), schedulers, milestones)
        self.optimizer, self.milestones, self._schedulers = optimizer, list(milestones), list(schedulers)
        self.base_lrs = [plain(group["initial_lr"]) for group in optimizer.param_groups]
        self.step(last_epoch + 1)                     # undoes what the parts set when they were made

    def _check_parts(self, optimizer, schedulers, milestones):
        for k, part in enumerate(schedulers):
            if not isinstance(part, LRScheduler) or isinstance(part, ReduceLROnPlateau):
                raise ArgumentError(message(f"SequentialLR: part {k} is not a schedule of the step alone.",
                                            [("got", type(part).__name__)]))
            if part.optimizer is not optimizer:
                raise ArgumentError(message(f"SequentialLR: part {k} belongs to another optimizer."))
        if not schedulers or len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ArgumentError(message(
                "SequentialLR: between each two schedules there is one milestone, and milestones rise.",
                [("schedules", len(schedulers)), ("milestones", list(milestones))]))

    def step(self, epoch=None):
        self._check_groups()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        k = bisect.bisect_right(self.milestones, self.last_epoch)
        local = self.last_epoch - (self.milestones[k - 1] if k else 0)
        self._schedulers[k].step(None if epoch is None and local else local)
        self._last_lr = self._current()

    def state_dict(self):
        return {**super().state_dict(), "_schedulers": [part.state_dict() for part in self._schedulers]}

    def load_state_dict(self, state_dict):
        for part, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            part.load_state_dict(state)
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "_schedulers"})


_LRScheduler = LRScheduler
