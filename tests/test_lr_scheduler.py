"""Schedules are the formulas they claim to be, multiply where they meet, and can be saved."""
import json
import math

import numpy as np
import pytest

from minidl import optim
from minidl.errors import ArgumentError
from minidl.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from minidl.tensor import Tensor


def sgd(*rates, **settings):
    """An optimiser with one group for each rate."""
    groups = [{"params": [Tensor(np.zeros(2), requires_grad=True)], "lr": lr} for lr in rates or [1.0]]
    return optim.SGD(groups, **{"momentum": 0.9, **settings})


def path(optimizer, scheduler, steps=12):
    """The rates of all groups, before each step."""
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == rates[-1]
        scheduler.step()
    return np.array(rates)


# ---------------------------------------------------------------------- the formulas
FORMULAS = {
    "step": (lambda o: StepLR(o, 4, 0.5), lambda t: 0.5 ** (t // 4)),
    "milestones": (lambda o: MultiStepLR(o, [7, 2, 7], 0.1), lambda t: 0.1 ** ((t >= 2) + 2 * (t >= 7))),
    "exponential": (lambda o: ExponentialLR(o, 0.9), lambda t: 0.9 ** t),
    "constant": (lambda o: ConstantLR(o, 0.25, 3), lambda t: 0.25 if t < 3 else 1),
    "linear": (lambda o: LinearLR(o, 0.2, 0.8, 4), lambda t: 0.2 + 0.6 * min(t, 4) / 4),
    "cosine": (lambda o: CosineAnnealingLR(o, 5), lambda t: (1 + math.cos(math.pi * t / 5)) / 2),
    "lambda": (lambda o: LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
}


@pytest.mark.parametrize("make, share", FORMULAS.values(), ids=FORMULAS)
def test_the_rate_is_its_formula_in_every_group(make, share):
    optimizer = sgd(0.1, 3.0)
    scheduler = make(optimizer)
    expected = [[0.1 * share(t), 3.0 * share(t)] for t in range(12)]
    np.testing.assert_allclose(path(optimizer, scheduler), expected, rtol=1e-14)
    assert scheduler.last_epoch == 12
    scheduler.step(3)                                 # straight to a step
    np.testing.assert_allclose(scheduler.get_last_lr(), expected[3], rtol=1e-14)
    np.testing.assert_allclose([scheduler.lr_at(t, 3.0) for t in range(12)], np.array(expected)[:, 1], rtol=1e-14)


def test_cosine_ends_at_eta_min():
    optimizer = sgd(1.0)
    rates = path(optimizer, CosineAnnealingLR(optimizer, T_max=10, eta_min=0.2))
    assert rates[0] == 1.0 and rates[5] == pytest.approx(0.6) and rates[10] == pytest.approx(0.2) == rates.min()


def test_one_function_for_each_group():
    optimizer = sgd(1.0, 1.0)
    rates = path(optimizer, LambdaLR(optimizer, [lambda t: t, lambda t: 2 * t]), 3)
    assert rates.tolist() == [[0, 0], [1, 2], [2, 4]]


def test_one_cycle_goes_up_and_down_and_the_momentum_the_other_way():
    optimizer = sgd(1.0)
    scheduler = OneCycleLR(optimizer, max_lr=2.0, total_steps=21, pct_start=1 / 3, anneal_strategy="linear",
                           div_factor=10, final_div_factor=100)
    rates, momenta = [], []
    for _ in range(21):
        rates.append(optimizer.param_groups[0]["lr"]), momenta.append(optimizer.param_groups[0]["momentum"])
        scheduler.step()
    np.testing.assert_allclose([rates[k] for k in (0, 3, 6, 13, 20)], [0.2, 1.1, 2.0, 1.001, 0.002])
    np.testing.assert_allclose([momenta[k] for k in (0, 3, 6, 13, 20)], [0.95, 0.90, 0.85, 0.90, 0.95])


def test_one_cycle_turns_beta1_of_adam_and_leaves_beta2():
    optimizer = optim.Adam([Tensor(np.zeros(2), requires_grad=True)], betas=(0.9, 0.99))
    scheduler = OneCycleLR(optimizer, max_lr=1.0, epochs=2, steps_per_epoch=10, pct_start=0.25)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.99)
    for _ in range(4):
        scheduler.step()
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.85, 0.99))


def test_one_cycle_may_start_at_the_top():
    optimizer = sgd(1.0)
    scheduler = OneCycleLR(optimizer, max_lr=2.0, total_steps=10, pct_start=0.1)
    assert scheduler.get_last_lr() == [2.0]


# ---------------------------------------------------------------------- plateau
def test_the_rate_falls_when_nothing_gets_better():
    optimizer = sgd(1.0)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.3)
    rates = []
    for loss in (5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0):
        scheduler.step(Tensor(np.array(loss)))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3] and scheduler.best == 4.0
    assert scheduler.get_last_lr() == [0.3] and scheduler.last_epoch == 10


@pytest.mark.parametrize("mode, threshold_mode, better, not_better", [
    ("min", "rel", 8.9, 9.1), ("min", "abs", 9.8, 9.95), ("max", "rel", 11.1, 10.9), ("max", "abs", 10.2, 10.05)])
def test_what_counts_as_better(mode, threshold_mode, better, not_better):
    scheduler = ReduceLROnPlateau(sgd(), mode, threshold=0.1, threshold_mode=threshold_mode)
    scheduler.step(10.0)
    assert scheduler.best == 10.0 and scheduler.is_better(better) and not scheduler.is_better(not_better)
    assert not scheduler.is_better(float("nan"))


# ---------------------------------------------------------------------- several schedules
def test_one_schedule_after_another():
    optimizer = sgd(1.0)
    parts = [LinearLR(optimizer, 0.25, total_iters=3), ExponentialLR(optimizer, 0.5), ConstantLR(optimizer, 0.1)]
    rates = path(optimizer, SequentialLR(optimizer, parts, [3, 6]), 8)
    np.testing.assert_allclose(rates[:, 0], [0.25, 0.5, 0.75, 1.0, 0.5, 0.25, 0.1, 0.1])


def test_two_schedules_at_once_multiply():
    optimizer = sgd(1.0)
    first, second = LinearLR(optimizer, 0.5, total_iters=5), StepLR(optimizer, 3, 0.1)
    for t in range(10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx((0.5 + 0.1 * min(t, 5)) * 0.1 ** (t // 3))
        first.step(), second.step()


def test_a_change_by_hand_stays():
    optimizer = sgd(1.0, 1.0)
    scheduler = ExponentialLR(optimizer, 0.5)
    scheduler.step()
    saved = scheduler.state_dict()
    optimizer.param_groups[1]["lr"] = 0.05            # a tenth of what it was
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.25, 0.025])
    assert saved["scales"] == [1.0, 1.0] and scheduler.scales == pytest.approx([1.0, 0.1])


def test_a_change_of_a_rate_of_zero_cannot_be_followed():
    optimizer = sgd(1.0)
    scheduler = CosineAnnealingLR(optimizer, 2)
    scheduler.step(), scheduler.step()
    assert scheduler.get_last_lr() == [0.0]
    optimizer.param_groups[0]["lr"] = 0.3
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.5])


def test_a_schedule_of_your_own_in_pytorchs_manner():
    class Halved(LRScheduler):
        def get_lr(self):
            return [base / 2 ** self.last_epoch for base in self.base_lrs]
    optimizer = sgd(1.0)
    assert path(optimizer, Halved(optimizer), 3)[:, 0].tolist() == [1, 0.5, 0.25]


def test_what_is_given_away_is_not_the_schedules_own():
    optimizer = sgd(1.0, 0.5)
    scheduler = ExponentialLR(optimizer, 0.5)
    scheduler.get_last_lr().reverse()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5, 0.25] and scheduler.scales == [1.0, 1.0]


# ---------------------------------------------------------------------- saving
SAVED = {
    **{name: make for name, (make, _) in FORMULAS.items()},
    "one cycle": lambda o: OneCycleLR(o, [1.0, 2.0], total_steps=30, three_phase=True),
    "sequence": lambda o: SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.9)], [4]),
}


@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED)
def test_a_saved_schedule_goes_on_bit_by_bit(make):
    first, second = sgd(1.0, 0.3), sgd(1.0, 0.3)
    scheduler, resumed = make(first), make(second)
    path(first, scheduler, 7)
    state, of_optimizer = json.loads(json.dumps(scheduler.state_dict())), first.state_dict()
    expected = path(first, scheduler, 7)              # must not change the snapshot
    resumed.load_state_dict(state), second.load_state_dict(of_optimizer)
    assert np.array_equal(path(second, resumed, 7), expected)
    assert first.param_groups[0]["momentum"] == second.param_groups[0]["momentum"]


def test_a_snapshot_serves_several_schedules():
    first, second = (ExponentialLR(sgd(1.0), 0.5) for _ in range(2))
    saved = first.state_dict()
    first.load_state_dict(saved), second.load_state_dict(saved)
    first.optimizer.param_groups[0]["lr"] = 0.1       # by hand: from here on a tenth
    first.step(), second.step()
    assert first.get_last_lr() == pytest.approx([0.05]) and second.get_last_lr() == [0.5]
    assert saved["scales"] == second.scales == [1.0]


def test_a_saved_plateau_goes_on():
    losses = [3.0, 2.0] + [2.0] * 9
    one, two = sgd(), sgd()
    scheduler, resumed = ReduceLROnPlateau(one, patience=2), ReduceLROnPlateau(two, patience=2)
    for loss in losses[:4]:
        scheduler.step(loss)
    resumed.load_state_dict(scheduler.state_dict())
    for loss in losses[4:]:
        scheduler.step(loss), resumed.step(loss)
        assert resumed.get_last_lr() == scheduler.get_last_lr()
    assert one.param_groups[0]["lr"] < 1


def test_a_schedule_goes_on_from_last_epoch():
    optimizer = sgd(1.0)
    path(optimizer, StepLR(optimizer, 5), 8)
    again = sgd(1.0)
    again.load_state_dict(optimizer.state_dict())
    scheduler = StepLR(again, 5, last_epoch=8)
    assert scheduler.last_epoch == 9 and scheduler.get_last_lr() == [0.1]
    parts = [ConstantLR(again, 0.5), ExponentialLR(again, 0.5)]
    assert SequentialLR(again, parts, [7], last_epoch=8).get_last_lr() == [0.25]


# ---------------------------------------------------------------------- what is said
def test_repr():
    scheduler = StepLR(sgd(1.0, 0.5), 30)
    scheduler.step()
    assert repr(scheduler) == "StepLR(step_size=30, gamma=0.1 | step 1, lr 1, 0.5)"
    assert repr(SequentialLR(scheduler.optimizer, [scheduler], [])) == "SequentialLR(milestones=[] | step 0, lr 1, 0.5)"


def _with_new_group():
    scheduler = StepLR(sgd(), 2)
    scheduler.optimizer.add_param_group({"params": [Tensor(np.zeros(1), requires_grad=True)]})
    scheduler.step()


def _past_the_end():
    scheduler = OneCycleLR(sgd(), 1.0, total_steps=3)
    for _ in range(4):
        scheduler.step()


def _another_optimizer():
    optimizer = sgd()
    return SequentialLR(optimizer, [StepLR(optimizer, 1), StepLR(sgd(), 1)], [3])


@pytest.mark.parametrize("make, text", [
    (lambda: StepLR([1], 2), "StepLR: expected an optimizer, got list.\nTry: StepLR(optimizer, ...)."),
    (lambda: StepLR(sgd(), 2, last_epoch=3), "StepLR: group 0 has no 'initial_lr' to go on from."),
    (lambda: ConstantLR(sgd(), 1.5), "ConstantLR: factor must be between 0 and 1.\n    got  1.5"),
    (lambda: LinearLR(sgd(), 0), "LinearLR: start_factor must be more than 0."),
    (lambda: LinearLR(sgd(), 0.5, 2), "LinearLR: end_factor must be between 0 and 1."),
    (lambda: LambdaLR(sgd(), [abs, abs]), "LambdaLR: expected one value for each group of the optimizer.\n"
                                          "    values  2\n    groups  1"),
    (lambda: OneCycleLR(sgd(), 1.0), "OneCycleLR: the cycle needs a length, a whole number of steps."),
    (lambda: OneCycleLR(sgd(), 1.0, 10, pct_start=2), "OneCycleLR: pct_start must be between 0 and 1."),
    (lambda: OneCycleLR(sgd(), 1.0, 10, anneal_strategy="cubic"), "anneal_strategy must be 'cos' or 'linear'."),
    (lambda: OneCycleLR(optim.Adagrad([Tensor(np.zeros(1), True)]), 1.0, 9),
     "OneCycleLR: Adagrad has no momentum and no betas to cycle.\nTry: cycle_momentum=False."),
    (_past_the_end, "OneCycleLR: the cycle is over.\n    step         4\n    total_steps  3"),
    (lambda: ReduceLROnPlateau(sgd(), "low"), "ReduceLROnPlateau: mode must be 'min' or 'max'.\n    got  'low'"),
    (lambda: ReduceLROnPlateau(sgd(), factor=1.0), "ReduceLROnPlateau: factor must be less than 1."),
    (lambda: SequentialLR(sgd(), [], []), "between each two schedules there is one milestone"),
    (_another_optimizer, "SequentialLR: part 1 belongs to another optimizer."),
    (lambda: SequentialLR(sgd(), [ReduceLROnPlateau(sgd())], []), "part 0 is not a schedule of the step alone"),
    (_with_new_group, "StepLR: groups were added to the optimizer after the schedule began.\n"
                      "    groups then  1\n    groups now   2"),
])
def test_errors(make, text):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert text in str(caught.value)


# ---------------------------------------------------------------------- beside PyTorch
def chain(*makers):
    return lambda o, s: [make(o, s) for make in makers]


def sequence(milestones, *makers):
    return lambda o, s: [s.SequentialLR(o, [make(o, s) for make in makers], milestones)]


step, exponential = lambda o, s: s.StepLR(o, 4, 0.5), lambda o, s: s.ExponentialLR(o, 0.93)
linear, cosine = lambda o, s: s.LinearLR(o, 0.1, 0.9, 7), lambda o, s: s.CosineAnnealingLR(o, 55, 0.01)
constant, milestones = lambda o, s: s.ConstantLR(o, 0.3, 6), lambda o, s: s.MultiStepLR(o, [3, 9, 9, 30], 0.4)
by_hand = lambda o, s: s.LambdaLR(o, [lambda t: 0.95 ** t, lambda t: 1 / (1 + t)])  # noqa: E731


def one_cycle(**settings):
    return lambda o, s: s.OneCycleLR(o, [0.5, 2.0], total_steps=50, **settings)


BESIDE = {
    "step": chain(step), "exponential": chain(exponential), "linear": chain(linear), "cosine": chain(cosine),
    "constant": chain(constant), "milestones": chain(milestones), "lambda": chain(by_hand),
    "one cycle": chain(one_cycle()),
    "one cycle, linear": chain(one_cycle(anneal_strategy="linear", pct_start=0.45, div_factor=4.0)),
    "one cycle, three phases": chain(one_cycle(three_phase=True, final_div_factor=10.0, base_momentum=0.5)),
    "one cycle, momentum alone": chain(one_cycle(cycle_momentum=False)),
    "linear x step": chain(linear, step), "cosine x exponential": chain(cosine, exponential),
    "constant x milestones x cosine": chain(constant, milestones, cosine),
    "lambda x step": chain(by_hand, step),
    "linear, cosine": sequence([7], linear, cosine),
    "linear, step, exponential": sequence([5, 20], linear, step, exponential),
    "one cycle, exponential": sequence([30], one_cycle(), exponential),
    "lambda, milestones": sequence([11], by_hand, milestones),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("make", BESIDE.values(), ids=BESIDE)
def test_follows_pytorch_for_50_steps(make, kind):
    torch = pytest.importorskip("torch")
    from minidl.optim import lr_scheduler
    settings = dict(momentum=0.9) if kind == "SGD" else {}
    ours = getattr(optim, kind)([{"params": [Tensor(np.zeros(1), True)], "lr": lr} for lr in (0.1, 0.7)], **settings)
    theirs = getattr(torch.optim, kind)(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.7)], **settings)
    mine, oracle = make(ours, lr_scheduler), make(theirs, torch.optim.lr_scheduler)
    for t in range(50):
        for name in ("lr", "momentum", "betas"):
            if name in ours.defaults:
                np.testing.assert_allclose([g[name] for g in ours.param_groups], [g[name] for g in theirs.param_groups],
                                           rtol=1e-6, atol=1e-12, err_msg=f"{name} at step {t}")
        if t == 10:                                   # somebody turns the knob
            ours.param_groups[0]["lr"] *= 0.5
            theirs.param_groups[0]["lr"] *= 0.5
        theirs.step()
        for scheduler in (*mine, *oracle):
            scheduler.step()
    assert mine[0].last_epoch == oracle[0].last_epoch == 50


@pytest.mark.torch
def test_cosine_follows_pytorch_up_and_down_again():
    torch = pytest.importorskip("torch")
    ours, theirs = sgd(0.5), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    mine = CosineAnnealingLR(ours, 7, 0.01)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 7, 0.01)
    for t in range(50):
        np.testing.assert_allclose(mine.get_last_lr(), oracle.get_last_lr(), rtol=1e-6, err_msg=f"step {t}")
        theirs.step()
        mine.step(), oracle.step()


@pytest.mark.torch
@pytest.mark.parametrize("settings", [
    dict(patience=1), dict(patience=0, cooldown=2, factor=0.7), dict(mode="max", threshold=0.05, patience=2),
    dict(threshold=0.2, threshold_mode="abs", patience=1), dict(mode="max", threshold_mode="abs", threshold=0.3),
    dict(min_lr=[0.05, 0.2], patience=0), dict(patience=0, eps=0.02)])
def test_the_plateau_follows_pytorch(settings):
    torch = pytest.importorskip("torch")
    ours = sgd(0.1, 0.7)
    theirs = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.7)])
    mine = ReduceLROnPlateau(ours, **settings)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **settings)
    for loss in np.random.default_rng(2).standard_normal(50).cumsum() * 0.3:
        mine.step(loss), oracle.step(loss)
        assert mine.num_bad_epochs == oracle.num_bad_epochs and mine.best == oracle.best
        np.testing.assert_allclose(mine.get_last_lr(), oracle.get_last_lr(), rtol=1e-12)
