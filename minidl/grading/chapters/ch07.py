"""Chapter 07, optimisers: two rules from their papers, one factor for all gradients, a checkpoint, the best settings.

Rules are functions of NumPy arrays here, as in the lesson; only the checkpoint meets a minidl optimiser.
"""
import numpy as np

from ... import optim
from ...autograd import no_grad
from ...tensor import tensor
from ..cases import case, normal
from ..exercise import Exercise

TITLE = "Optimisers"

# --- 07.1a: Nesterov's step ---------------------------------------------------------------------------------------

ahead = Exercise(
    "07.1a", "Nesterov's step", points=2, stars=1, minutes=10, hints=(
        "There are two things to return. Which of them does the next step need?",
        "The memory changes first, exactly as with plain momentum. The step is then taken with a mixture of this "
        "slope and the new memory.",
        "The new m is the old one, made smaller, plus g. The way you go is g plus the new m, made smaller once more; "
        "lr stands in front of it all."))


@ahead.reference
def nesterov_step(w, g, m, lr, momentum):
    m = momentum * m + g
    return w - lr * (g + momentum * m), m


@ahead.cases
def _(rng):
    yield case(np.array([1.0]), np.array([2.0]), np.array([0.0]), 0.1, 0.5)
    yield case(np.array([1.0, -1.0]), np.array([2.0, 4.0]), np.array([10.0, -10.0]), 0.1, 0.9)
    for _ in range(4):
        n = int(rng.integers(2, 5))
        yield case(normal(rng, n), normal(rng, n), normal(rng, n), float(rng.uniform(0.01, 0.5)),
                   float(rng.uniform(0.3, 0.95)))


@ahead.mistake("This is the step of plain momentum: along the new m or, which comes to the same, along g and the old "
               "m. "
               "Nesterov's looks further ahead.")
def _(w, g, m, lr, momentum):
    m = momentum * m + g
    return w - lr * m, m


@ahead.mistake("The place is right, and the memory has not changed: the next step would begin with the old m.")
def _(w, g, m, lr, momentum):
    return nesterov_step(w, g, m, lr, momentum)[0], m


@ahead.mistake("What is returned as memory is the way that was gone. The memory is m alone.")
def _(w, g, m, lr, momentum):
    m = momentum * m + g
    return w - lr * (g + momentum * m), g + momentum * m


@ahead.mistake("lr has gone into the memory. Here it stands outside, so that a change of lr holds at once.")
def _(w, g, m, lr, momentum):
    m = momentum * m + lr * g
    return w - (lr * g + momentum * m), m


@ahead.mistake("The slope was made smaller on its way into m, as in a running mean. In this rule it goes in whole.")
def _(w, g, m, lr, momentum):
    m = momentum * m + (1 - momentum) * g
    return w - lr * (g + momentum * m), m


@ahead.mistake("This climbs: the step goes along the slope instead of against it.")
def _(w, g, m, lr, momentum):
    m = momentum * m + g
    return w + lr * (g + momentum * m), m


@ahead.variant
def _(w, g, m, lr, momentum):
    return w - lr * ((1 + momentum) * g + momentum**2 * m), g + m * momentum


@ahead.variant
def _(w, g, m, lr, momentum):
    pairs = [(a - lr * (b + momentum * (momentum * c + b)), momentum * c + b) for a, b, c in zip(w, g, m)]
    return [a for a, _ in pairs], [c for _, c in pairs]


# --- 07.1b: AdamW ---------------------------------------------------------------------------------------------------

decoupled = Exercise(
    "07.1b", "AdamW from its paper", points=3, stars=2, minutes=20, rtol=1e-5, hints=(
        "One loop over the gradients, with three things that live from turn to turn: two running means and a count. "
        "Where does the count begin, if the first correction must not divide by zero?",
        "In each turn: first the two means, then their corrected copies (the means themselves go on uncorrected), then "
        "the step. The pull stands apart: it shrinks w and never meets the division.",
        "The pull takes lr times weight_decay of w away, before the step and whatever the gradient says. After that, "
        "the step is that of Adam in the lesson."))


def adam_path(w, gradients, lr, beta1, beta2, eps, pull=0.0, first=1, fix=(True, True), inside=False, l2=0.0,
              late=0.0):
    """Adam with all the switches that the mistakes need; the reference is `pull` and nothing else."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    with np.errstate(all="ignore"):
        for t, g in enumerate(gradients, first):
            g = g + l2 * w
            w = w * (1 - pull)
            m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
            m_hat, v_hat = (m / (1 - beta1**t) if fix[0] else m), (v / (1 - beta2**t) if fix[1] else v)
            step = m_hat / (np.sqrt(v_hat + eps) if inside else np.sqrt(v_hat) + eps)
            w = (w - lr * step) * (1 - late)
    return w


@decoupled.reference
def adamw(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, pull=lr * weight_decay)


@decoupled.cases
def _(rng):
    yield case(np.array([1.0]), np.array([[2.0]]), 0.1, 0.9, 0.99, 1e-8, 0.0)
    yield case(np.array([1.0, -1.0]), np.array([[2.0, 0.5], [1.0, -0.5]]), 0.1, 0.9, 0.99, 1e-3, 0.0)
    yield case(np.array([5.0, -3.0]), np.array([[100.0, 0.01], [50.0, 0.02], [80.0, 0.03]]), 0.1, 0.9, 0.99, 1e-3, 0.5)
    for _ in range(4):
        n, steps = int(rng.integers(2, 5)), int(rng.integers(4, 9))
        yield case(3 * normal(rng, n), normal(rng, (steps, n)), float(rng.uniform(0.05, 0.2)), 0.9, 0.97, 1e-2,
                   float(rng.uniform(0.1, 0.5)))


@decoupled.mistake("There is no bias correction: both means start at 0, and the first steps have the wrong length.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, fix=(False, False))


@decoupled.mistake("Only the mean of the slopes is corrected for its start at 0. The mean of the squares needs it, "
                   "too.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, fix=(True, False))


@decoupled.mistake("Only the mean of the squares is corrected for its start at 0. The mean of the slopes needs it, "
                   "too.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, fix=(False, True))


@decoupled.mistake("The count is one ahead: in the first step t is 1, so 1 - beta1 is divided out.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, first=2)


@decoupled.mistake("The count begins at 0, and the first correction divides by zero.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, first=0)


@decoupled.mistake("This is Adam with L2: the pull went into the gradient and was divided with it, so that a weight "
                   "with "
                   "large slopes is hardly pulled.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, l2=weight_decay)


@decoupled.mistake("The weights shrink by weight_decay a step; in this rule lr scales the pull as it scales the step.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, weight_decay)


@decoupled.mistake("The pull came after the step and shrank the step with it. It works on w as it was before.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, late=lr * weight_decay)


@decoupled.mistake("There is no pull at all; weight_decay was not used.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps)


@decoupled.mistake("eps stands under the root. It is added to the root, or else it counts as the root of itself.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta1, beta2, eps, lr * weight_decay, inside=True)


@decoupled.mistake("The two betas are mixed up: beta1 belongs to the slopes, beta2 to their squares.")
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    return adam_path(w, gradients, lr, beta2, beta1, eps, lr * weight_decay)


@decoupled.variant
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    m = v = 0
    for k, g in enumerate(gradients):
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        step = m / (1 - beta1 ** (k + 1)) / (np.sqrt(v / (1 - beta2 ** (k + 1))) + eps)
        w = w - lr * step - lr * weight_decay * w
    return w


@decoupled.variant
def _(w, gradients, lr, beta1, beta2, eps, weight_decay):
    w = tensor(w, requires_grad=True)
    optimizer = optim.AdamW([w], lr, (beta1, beta2), eps, weight_decay)
    for g in gradients:
        w.grad = tensor(g)
        optimizer.step()
    return w


# --- 07.2: one factor for all ---------------------------------------------------------------------------------------

limit = Exercise(
    "07.2", "One factor for all gradients", points=2, stars=2, minutes=10, hints=(
        "Imagine all gradients written one after the other in a single long vector. How long is it?",
        "Add up the squares of all numbers of all arrays, and take one root at the end. All arrays are then multiplied "
        "by the same number.",
        "That number is never above 1: what is short enough stays as it is. Mind the case in which all are 0."))


@limit.reference
def clip_norm(gradients, max_norm):
    length = sum((g**2).sum() for g in gradients) ** 0.5
    factor = max_norm / length if length > max_norm else 1.0
    return [g * factor for g in gradients]


@limit.cases
def _(rng):
    yield case([np.array([3.0, 4.0]), np.array([12.0])], 1.0)
    yield case([np.array([3.0, 4.0]), np.array([12.0])], 20.0)
    yield case([np.array([0.1]), np.array([[6.0, 0.0], [0.0, 8.0]])], 5.0)
    yield case([np.array([0.3, 0.4]), np.array([-0.2])], 1.0)
    yield case([np.zeros(2), np.zeros((2, 2))], 1.0)
    yield case([np.array([3.0, -4.0]), np.array([0.0, 0.0])], 2.0)
    for _ in range(4):
        count = int(rng.integers(2, 4))
        yield case([4 * normal(rng, (int(rng.integers(1, 4)), 2)) for _ in range(count)], float(rng.uniform(0.5, 4)))


def _each(gradients, factor_of):
    with np.errstate(all="ignore"):
        return [g * factor_of(g) for g in gradients]


def _length(gradients):
    return sum((g**2).sum() for g in gradients) ** 0.5


@limit.mistake("Each gradient was clipped by itself. That turns the direction of the whole: the long ones lose, the "
               "short "
               "ones do not.")
def _(gradients, max_norm):
    return _each(gradients, lambda g: min(1, max_norm / max((g**2).sum() ** 0.5, 1e-300)))


@limit.mistake("Short gradients were made longer. What is within the limit stays as it is.")
def _(gradients, max_norm):
    return _each(gradients, lambda g: max_norm / max(_length(gradients), 1e-300))


@limit.mistake("This divides 0 by 0: gradients that are all 0 have no direction, and must stay 0.")
def _(gradients, max_norm):
    length = _length(gradients)
    with np.errstate(all="ignore"):
        return [g / length * min(length, max_norm) for g in gradients]


@limit.mistake("Each number was cut off at the limit. That changes the direction; a common factor keeps it.")
def _(gradients, max_norm):
    return [np.clip(g, -max_norm, max_norm) for g in gradients]


@limit.mistake("The lengths of the arrays were added. Squares add up, lengths do not: 3 and 4 make 5.")
def _(gradients, max_norm):
    total = sum((g**2).sum() ** 0.5 for g in gradients)
    return _each(gradients, lambda g: min(1, max_norm / max(total, 1e-300)))


@limit.mistake("The sum of the squares was taken for the length; its root is missing.")
def _(gradients, max_norm):
    return _each(gradients, lambda g: min(1, max_norm / max(_length(gradients) ** 2, 1e-300)))


@limit.mistake("The longest of the arrays was taken for the length of all.")
def _(gradients, max_norm):
    longest = max((g**2).sum() ** 0.5 for g in gradients)
    return _each(gradients, lambda g: min(1, max_norm / max(longest, 1e-300)))


@limit.mistake("What was too long became longer still: the quotient stands upside down.")
def _(gradients, max_norm):
    return _each(gradients, lambda g: max(1, _length(gradients) / max_norm))


@limit.variant
def _(gradients, max_norm):
    length = np.linalg.norm(np.concatenate([g.ravel() for g in gradients]))
    return [g / max(1, length / max_norm) for g in gradients]


@limit.variant
def _(gradients, max_norm):
    factor = min(1.0, max_norm / (np.sqrt(sum(np.sum(g * g) for g in gradients)) + 1e-12))
    return tuple(factor * g for g in gradients)


# --- 07.3: go on as if nothing had been -----------------------------------------------------------------------------

MAKERS = {
    "momentum": lambda parameters: optim.SGD(parameters, lr=0.02, momentum=0.9),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.1),
    "RMSprop": lambda parameters: optim.RMSprop(parameters, lr=0.02),
}

resume = Exercise(
    "07.3", "A checkpoint that goes on to the last bit", points=3, stars=3, minutes=20, honest=(), rtol=0, atol=0,
    hints=(
        "Write down all that the next step depends on. What of it does the optimiser keep, and what do the parameters?",
        "Two dangers. What you keep must not change when the training goes on: is it a copy? And a parameter must stay "
        "the same tensor, since the optimiser knows it: are numbers written into it, or is it replaced?",
        "For the optimiser there are two methods, and the lesson used both. For each parameter: leave the tape, copy, "
        "put into a list; later go through both lists side by side and write the numbers in, without recording."))


@resume.reference
class Checkpoint:
    """All that is needed to go on."""

    def __init__(self, parameters, optimizer):
        self.weights = [p.detach().clone() for p in parameters]
        self.memory = optimizer.state_dict()

    def restore(self, parameters, optimizer):
        with no_grad():
            for p, kept in zip(parameters, self.weights):
                p.copy_(kept)
        optimizer.load_state_dict(self.memory)


def _train(parameters, optimizer, steps):
    """Steps down a valley of two parameters; the losses."""
    seen = []
    for _ in range(steps):
        a, b = parameters
        loss = (a**2).sum() + 10 * (b**2).sum() + (a.sum() - b.sum()) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    return seen


def _started(name, a, b):
    parameters = [tensor(a, requires_grad=True), tensor(b, requires_grad=True)]
    return parameters, MAKERS[name](parameters)


@resume.observe
def _(answer, optimiser, a, b, before, rate):
    parameters, optimizer = _started(optimiser, a, b)
    _train(parameters, optimizer, before)
    optimizer.param_groups[0]["lr"] *= rate                    # as a schedule does
    kept = answer(parameters, optimizer)
    straight_on = _train(parameters, optimizer, 6)
    fresh, other = _started(optimiser, np.zeros_like(a), np.zeros_like(b))
    kept.restore(fresh, other)
    went_on = _train(fresh, other, 6)
    kept.restore(parameters, optimizer)                        # back in time, with the objects of the first training
    again = _train(parameters, optimizer, 6)
    return {"the training without a break": np.array(straight_on), "after a crash": np.array(went_on),
            "back in time": np.array(again)}


@resume.cases
def _(rng):
    yield case("momentum", np.array([1.0, -2.0]), np.array([0.5]), 3, 1.0)
    yield case("Adam", np.array([1.0, -2.0]), np.array([0.5]), 3, 1.0)
    yield case("Adam", np.array([1.0, -2.0]), np.array([0.5]), 0, 1.0)
    yield case("momentum", np.array([1.0, -2.0]), np.array([0.5]), 3, 0.5)
    for name in MAKERS:
        yield case(name, normal(rng, 2), normal(rng, 2), int(rng.integers(2, 6)), 0.5)


@resume.mistake("The weights go on changing after they were kept: what was stored is their memory and no copy of it.")
class _Alias(Checkpoint):
    def __init__(self, parameters, optimizer):
        self.weights, self.memory = [p.detach() for p in parameters], optimizer.state_dict()


@resume.mistake("The weights are restored, and the optimiser begins anew. What it remembered is part of the training.")
class _WeightsOnly(Checkpoint):
    def restore(self, parameters, optimizer):
        with no_grad():
            for p, kept in zip(parameters, self.weights):
                p.copy_(kept)


@resume.mistake("The optimiser is restored, and the weights stay where they were.")
class _MemoryOnly(Checkpoint):
    def restore(self, parameters, optimizer):
        optimizer.load_state_dict(self.memory)


@resume.mistake("The list got new tensors, and the optimiser still holds the old ones: it changes tensors that nobody "
                "computes with any more.")
class _Replaced(Checkpoint):
    def restore(self, parameters, optimizer):
        parameters[:] = [kept.clone().requires_grad_() for kept in self.weights]
        optimizer.load_state_dict(self.memory)


@resume.mistake("The memory of the optimiser came back without its settings: the learning rate had been changed on the "
                "way, and is the old one again.")
class _NoSettings(Checkpoint):
    def restore(self, parameters, optimizer):
        with no_grad():
            for p, kept in zip(parameters, self.weights):
                p.copy_(kept)
        optimizer.load_state_dict({"state": self.memory["state"],
                                   "param_groups": optimizer.state_dict()["param_groups"]})


@resume.mistake("Only the first parameter came back.")
class _FirstOnly(Checkpoint):
    def restore(self, parameters, optimizer):
        with no_grad():
            parameters[0].copy_(self.weights[0])
        optimizer.load_state_dict(self.memory)


@resume.mistake("The optimiser's settings came back and its memory did not: momentum, squares and count begin at 0.")
class _NoMemory(Checkpoint):
    def restore(self, parameters, optimizer):
        with no_grad():
            for p, kept in zip(parameters, self.weights):
                p.copy_(kept)
        optimizer.load_state_dict({"state": {}, "param_groups": self.memory["param_groups"]})


@resume.variant
class _Arrays:
    def __init__(self, parameters, optimizer):
        self.weights, self.memory = [p.detach().numpy().copy() for p in parameters], optimizer.state_dict()

    def restore(self, parameters, optimizer):
        optimizer.load_state_dict(self.memory)
        with no_grad():
            for p, kept in zip(parameters, self.weights):
                p[...] = tensor(kept)


# --- 07.4: settings for a known valley ------------------------------------------------------------------------------

settings = Exercise(
    "07.4", "In so many steps", points=3, stars=3, minutes=15, hints=(
        "With momentum, the same settings must serve the flat direction and the steep one. In the lesson, plain "
        "descent had one free number; now there are two.",
        "Polyak worked it out: what matters are the roots of the two curvatures, their sum and their difference.",
        "Momentum: the difference of the roots over their sum, squared. Rate: two over the sum of the roots, squared."))


def polyak(low, high):
    """The best settings for curvatures from low to high, and the factor by which a step then shrinks the distance."""
    root = (high**0.5 - low**0.5) / (high**0.5 + low**0.5)
    return (2 / (low**0.5 + high**0.5)) ** 2, root**2, root


@settings.reference
def best_settings(low, high):
    return polyak(low, high)[:2]


def steps_allowed(low, high):
    """A fifth more than the best settings need to bring the worst of 9 curvatures to a millionth, and five."""
    return int(1.2 * steps_of(*polyak(low, high)[:2], low, high, 5000)) + 5


def steps_of(lr, momentum, low, high, most):
    """Steps until the farthest of 9 numbers, of curvatures from low to high, is a millionth from 0 for good."""
    curvature = np.geomspace(low, high, 9)
    w, m, far = np.ones(9), np.zeros(9), []
    with np.errstate(all="ignore"):
        for _ in range(most):
            m = momentum * m + curvature * w
            w = w - lr * m
            far.append(np.abs(w).max())
    late = np.flatnonzero(~(np.array(far) <= 1e-6))
    return int(late[-1]) + 2 if len(late) else 1


@settings.accept
def _(got, expected, low, high):
    try:
        lr, momentum = (float(np.asarray(value)) for value in (got.tolist() if hasattr(got, "tolist") else got))
    except (TypeError, ValueError, OverflowError):
        return "two numbers are expected, lr and momentum"
    if not (np.isfinite(lr) and np.isfinite(momentum) and lr >= 0 and momentum >= 0):
        return f"lr {lr:.4g} and momentum {momentum:.4g}: both must be finite and not below 0"
    allowed = steps_allowed(low, high)
    needed = steps_of(lr, momentum, low, high, allowed + 2)
    if needed <= allowed:
        return None
    return f"lr {lr:.4g} and momentum {momentum:.4g} are not there after {allowed} steps"


@settings.cases
def _(rng):
    yield case(1.0, 20.0)
    yield case(1.0, 1000.0)
    yield case(0.01, 1.0)
    yield case(4.0, 4.0)
    for _ in range(4):
        low = float(np.exp(rng.uniform(-3, 3)))
        yield case(low, low * float(np.exp(rng.uniform(3, 7))))


@settings.mistake("These are the best settings without momentum. Plain descent needs far more steps in a narrow "
                  "valley.")
def _(low, high):
    return 2 / (low + high), 0.0


@settings.mistake("The momentum is right, and the rate is that of plain descent. With momentum, it can be larger.")
def _(low, high):
    return 2 / (low + high), polyak(low, high)[1]


@settings.mistake("The momentum is the quotient of the roots itself; it must be squared, or the ball rolls on too "
                  "long.")
def _(low, high):
    return polyak(low, high)[0], polyak(low, high)[2]


@settings.mistake("The curvatures went in without their roots.")
def _(low, high):
    return (2 / (low + high)) ** 2, ((high - low) / (high + low)) ** 2


@settings.mistake("0.9 is a good guess for a valley that you do not know. This one you know: for some curvatures it "
                  "is far "
                  "too much, for others too little.")
def _(low, high):
    return 1 / high, 0.9


@settings.mistake("The rate is not squared: two over the sum of the roots is an inverse root of a curvature.")
def _(low, high):
    return 2 / (low**0.5 + high**0.5), polyak(low, high)[1]


@settings.mistake("The two numbers are in the other order: lr comes first, then momentum.")
def _(low, high):
    return polyak(low, high)[1], polyak(low, high)[0]


@settings.variant
def _(low, high):
    root = (high / low) ** 0.5
    momentum = ((root - 1) / (root + 1)) ** 2
    return 4 / (low * (1 + root) ** 2), momentum


@settings.variant
def _(low, high):
    lr, momentum = polyak(low, high)[:2]
    return 0.99 * lr, momentum
