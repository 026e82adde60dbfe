"""Optimisers: how gradients change parameters.

    Optimizer   walks through the parameters, keeps what each must remember, saves and loads it
    SGD         p <- p - lr * g, with momentum on request
    Adagrad     steps divided by the size of all gradients so far
    RMSprop     steps divided by the size of recent gradients
    Adam        RMSprop with momentum, both corrected for starting at zero
    AdamW       Adam with the weight decay outside the division

A subclass is its formula: `update` gets the numbers of one parameter as plain arrays and changes them
in place. Nothing here is recorded in a graph. All that `update` does is elementwise, so the base class may
hand it a large parameter in pieces: each fits into a processor core's cache, and all the passes of
the formula run over it there. That is faster than the same passes over the whole array, and
what a formula makes in between is no larger than a piece.
"""
import collections
import copy
import math

import numpy as np

from .. import backend
from ..autograd import enable_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor, check_number, wrap

PIECE = 32_768          # numbers: parameter, gradient, two buffers and two results in between, 768 KiB of float32


def pieces(arrays, xp):
    """Arrays of one shape, all cut alike along the first axis; small ones, and those of a GPU, stay whole.

    >>> rows = np.zeros((3, 20_000))
    >>> [(p.shape, g.shape) for p, g in pieces([rows, rows], np)]
    [((1, 20000), (1, 20000)), ((1, 20000), (1, 20000)), ((1, 20000), (1, 20000))]
    """
    size, shape = arrays[0].size, arrays[0].shape
    if xp is not np or size <= PIECE:
        return [arrays]
    rows = max(1, PIECE * shape[0] // size)
    return [[a[k:k + rows] for a in arrays] for k in range(0, shape[0], rows)]


def plain(value):
    """A setting in Python numbers: a NumPy float64 would turn the arithmetic of float32 arrays into float64."""
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


class Optimizer:
    """Base of all optimisers: groups of parameters, each with its settings.

    A subclass writes `update` and, if it has to remember something from step to step, `buffers`:

    >>> import minidl as md
    >>> class Plain(Optimizer):
    ...     def __init__(self, params, lr=0.1):
    ...         super().__init__(params, dict(lr=lr))
    ...     def update(self, xp, p, g, state, lr):
    ...         p -= lr * g
    >>> w = md.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = Plain([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8, 1.6], requires_grad=True)

    Args:
        params: tensors (`model.parameters()`), or a list of dicts, one a group: the tensors under "params", and
            settings that differ from the defaults.
        defaults: the settings and their values.

    Attributes:
        param_groups: a list of dicts: "params" and the settings. A change of `group["lr"]` holds from the next step.
        state: what is remembered for each parameter: a dict from tensor to dict.
        limits: for settings that are numbers, the bound they must stay below; all must be 0 or more.
        at_first: settings that hold, whatever the group says, in the step in which a buffer is new.

    Raises:
        ArgumentError: no parameters, something else than leaf tensors, a tensor twice, or settings out of range.
    """

    limits = {"lr": math.inf}
    at_first = {}

    def __init__(self, params, defaults):
        self.defaults, self.param_groups = dict(defaults), []
        self.state = collections.defaultdict(dict)
        params = self._listed(params)
        if not params:
            raise ArgumentError(message(
                f"{self._name}: the optimizer got an empty parameter list.",
                try_="pass model.parameters() itself; a generator that was read once before is empty."))
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    # ------------------------------------------------------------------ the formula
    def update(self, xp, p, g, state, **settings):
        """Change one parameter, or a piece of it, in place: `p -= ...`, not `p = p - ...`.

        Args:
            xp: the array module of the arrays.
            p: the parameter's numbers.
            g: its gradient, to be read only.
            state: the buffers by name, in the shape of p, to be changed in place; and "step", which counts from 1.
            settings: the settings of the group, by name.
        """
        raise NotImplementedError(f"{self._name}.update is not written yet")

    def buffers(self, **settings):
        """What is remembered for each parameter: names, and the number that fills each at first ("step" is a count)."""
        return {}

    # ------------------------------------------------------------------ the walk through the parameters
    def step(self, closure=None):
        """Change every parameter that has a gradient.

        Args:
            closure: computes the loss anew, calls backward and returns the loss; called first, if given.

        Returns:
            what the closure returned, or None.

        Raises:
            ShapeError: a gradient does not have the shape of its parameter.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with np.errstate(all="ignore"):               # a run that diverges shows it in the loss
            for group in self.param_groups:
                settings = {name: plain(group[name]) for name in self.defaults}
                sign = -1 if settings.pop("maximize", False) else 1
                wanted = self.buffers(**settings)
                moving = [p for p in group["params"] if p.grad is not None]
                numbers = backend.of(moving[0].grad.array).settings(group, settings) if moving else {}
                for p in moving:
                    self._step_one(p, p.grad.array, sign, numbers, wanted)
        return loss

    def _step_one(self, p, g, sign, settings, wanted):
        if g.shape != p.array.shape:
            raise ShapeError(message(f"{self._name}: a gradient must have the shape of its parameter.",
                                     [("parameter", p.shape), ("gradient", g.shape)]))
        device, state = backend.of(g), self.state[p]
        if not wanted.keys() <= state.keys():
            settings = self._first_step(p, device, state, settings, wanted)
        counts = {}
        if "step" in wanted:
            counts["step"] = device.number(state, "step") + 1
            device.store(state, "step", counts["step"])
        names = [name for name in wanted if name != "step"]
        arrays = [device.writable(state[name]) for name in names]
        for part, slope, *buffers in pieces([device.writable(p), g, *arrays], device.xp):
            now = {**state, **counts, **dict(zip(names, buffers))}
            self.update(device.xp, part, slope if sign == 1 else -slope, now, **settings)
        p.mark_written("optimizer step")

    def _first_step(self, p, device, state, settings, wanted):
        """Make the buffers; the settings that hold for this step."""
        xp = backend.of(p.array).xp
        for name in wanted:
            if name not in state:
                state[name] = 0 if name == "step" else wrap(xp.full_like(p.array, wanted[name]))
        if any(settings[name] != value for name, value in self.at_first.items()):
            device.once(f"the first step of {self._name} is different")
        return {**settings, **self.at_first}

    def zero_grad(self, set_to_none=True):
        """Forget all gradients: None in their place, or zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:                        # without a look at it: what it was does not matter to a graph
                    p.grad = None
                elif p.grad is not None:
                    p.grad = wrap(backend.of(p.array).xp.zeros_like(p.array))

    # ------------------------------------------------------------------ parameters and their settings
    def add_param_group(self, param_group):
        """Take further parameters: a dict with "params", and settings that differ from the defaults."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ArgumentError(message(
                f"{self._name}: a group is a dict with its tensors under 'params'.",
                [("got", type(param_group).__name__)], "dict(params=layer.parameters(), lr=0.01)."))
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else self._listed(params)
        group = {**self.defaults, **param_group, "params": params}
        self._check_params(params)
        self._check_settings(group)
        self.param_groups.append(group)

    def _listed(self, params):
        if hasattr(params, "__iter__") and not isinstance(params, (Tensor, dict, set, str)):
            return list(params)
        raise ArgumentError(message(
            f"{self._name}: the parameters must come one after the other, in a list for example.",
            [("got", type(params).__name__)],
            "[w]." if isinstance(params, Tensor) else "model.parameters(), with its brackets."))

    def _check_params(self, params):
        known = {id(p): "another group" for group in self.param_groups for p in group["params"]}
        for k, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise ArgumentError(message(
                    f"{self._name}: parameter {k} is not a tensor.", [("got", type(p).__name__)],
                    "model.parameters()" + ("; named_parameters() gives pairs." if isinstance(p, tuple) else ".")))
            if not p.is_leaf:
                raise ArgumentError(message(
                    f"{self._name}: parameter {k} is not a leaf; it was computed, so changing it would change nothing.",
                    [("computed by", p.node.op.name), ("shape", p.shape)], "x.detach().requires_grad_()."))
            if id(p) in known:
                raise ArgumentError(message(
                    f"{self._name}: parameter {k} is listed twice; it would be changed twice a step.",
                    [("shape", p.shape), ("also in", known[id(p)])]))
            known[id(p)] = "the same group"

    def _check_settings(self, group):
        for name, limit in self.limits.items():
            value = plain(group[name])
            for number in value if isinstance(value, tuple) else [value]:
                check_number(f"{self._name}: {name}", number)
                if not 0 <= number < limit:
                    bound = "" if limit == math.inf else f" and less than {limit}"
                    raise ArgumentError(message(f"{self._name}: {name} must be 0 or more{bound}.", [(name, value)]))

    # ------------------------------------------------------------------ saving and loading
    def state_dict(self):
        """A snapshot of all that is remembered, as plain dicts, lists, numbers and tensors.

        Parameters are named by their place, 0, 1, ..., counted through all groups:
        `{"state": {0: {"momentum_buffer": tensor(...)}}, "param_groups": [{"lr": 0.1, ..., "params": [0, 1]}]}`.
        """
        place = {p: k for k, p in enumerate(self._params())}
        state = {place[p]: copy.deepcopy(self.state[p]) for p in place if self.state.get(p)}
        groups = [{**group, "params": [place[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Go on from a snapshot; the parameters must be as many as then, in the same order.

        Raises:
            ArgumentError: the snapshot has other groups.
            ShapeError: it belongs to parameters of other shapes. Nothing has been changed then.
        """
        saved = state_dict["param_groups"]
        sizes, ours = ([len(group["params"]) for group in groups] for groups in (saved, self.param_groups))
        if sizes != ours:
            raise ArgumentError(message(f"{self._name}: the saved state does not fit these parameters.",
                                        [("tensors in each saved group", sizes), ("in this optimizer", ours)],
                                        "make the optimizer as it was made when the state was saved."))
        at = dict(zip((k for group in saved for k in group["params"]), self._params()))
        state = {at[k]: {name: self._fitted(name, value, at[k], k) for name, value in entries.items()
                         if value is not None}
                 for k, entries in state_dict["state"].items()}
        for p in self._params():
            self._take_over(self.state[p], state.get(p, {}))
        for group, new in zip(self.param_groups, saved):
            group.update({name: value for name, value in new.items() if name != "params"})

    def _take_over(self, own, new):
        """Put saved values in the place of those that are there; a compiled step holds on to these."""
        for name, value in new.items():
            if isinstance(value, Tensor) and name in own:
                own[name].array[...] = value.array
            else:
                own[name] = value
        for name in own.keys() - new.keys():
            del own[name]

    def _fitted(self, name, value, p, k):
        """A saved value as this optimiser wants it: a number, or a copy in the dtype and place of its parameter."""
        if name == "step":
            return int(value)
        if isinstance(value, (bool, int, float, str)):
            return value
        array = np.asarray(value.host_array() if isinstance(value, Tensor) else value).astype(p.dtype)     # a copy
        if array.shape != p.shape:
            raise ShapeError(message(f"{self._name}: the saved {name} does not fit parameter {k}.",
                                     [("saved", array.shape), ("parameter", p.shape)],
                                     "give the parameters in the order they had when the state was saved."))
        return wrap(backend.of(p.array).from_host(array))

    def _params(self):
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def _name(self):
        return type(self).__name__

    def __repr__(self):
        lines = [", ".join(f"{name}={_short(value)}" for name, value in group.items() if name != "params")
                 + f" | {_counted(group['params'])}" for group in self.param_groups]
        if len(lines) == 1:
            return f"{self._name}({lines[0]})"
        return "\n".join([f"{self._name}(", *(f"  ({k}) {line}" for k, line in enumerate(lines)), ")"])


def _short(value):
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_short, value))})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _counted(params):
    numbers = sum(p.numel() for p in params)
    return f"{len(params)} tensor{'s' * (len(params) != 1)}, {numbers:,} number{'s' * (numbers != 1)}"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum on request.

        g <- g + weight_decay * p
        m <- momentum * m + (1 - dampening) * g         (the first time: m <- g)
        p <- p - lr * m                                 (Nesterov: p - lr * (g + momentum * m))

    Sources: H. Robbins, S. Monro, A stochastic approximation method, 1951; B. Polyak, Some methods of speeding up the
    convergence of iteration methods, 1964; Nesterov's variant as in I. Sutskever et al., On the importance of
    initialization and momentum in deep learning, ICML 2013. As in PyTorch, the learning rate stands outside m.

    Args:
        params: tensors, or dicts for groups.
        lr: the learning rate.
        momentum: how much of the past steps goes on, 0 to 1.
        dampening: how much of the gradient is held back from m.
        weight_decay: pulls the parameters towards 0 (the gradient of weight_decay/2 * |p|^2).
        nesterov: look ahead to where the momentum leads.
        maximize: climb instead of descending.

    >>> import minidl as md
    >>> w = md.tensor([1.0, 2.0], requires_grad=True)
    >>> SGD([w], lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, dampening=0, weight_decay=0, nesterov=False, maximize=False | 1 tensor, 2 numbers)
    """

    limits = {"lr": math.inf, "momentum": math.inf, "weight_decay": math.inf}
    at_first = {"dampening": 0}

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False):
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                                      nesterov=nesterov, maximize=maximize))

    def _check_settings(self, group):
        super()._check_settings(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ArgumentError(message("SGD: Nesterov's momentum needs a momentum, and no dampening.",
                                        [(name, group[name]) for name in ("momentum", "dampening")]))

    def buffers(self, momentum, **_):
        return {"momentum_buffer": 0} if momentum else {}

    def update(self, xp, p, g, state, lr, momentum, dampening, weight_decay, nesterov):
        if weight_decay:
            g = g + weight_decay * p
        if momentum:
            m = state["momentum_buffer"]
            m *= momentum
            m += (1 - dampening) * g if dampening else g
            g = g + momentum * m if nesterov else m
        p -= lr * g


class Adagrad(Optimizer):
    """Adaptive steps: a number whose gradients have been large moves less.

        s <- s + g^2
        p <- p - lr_t * g / (sqrt(s) + eps),     lr_t = lr / (1 + (t - 1) * lr_decay)

    Source: J. Duchi, E. Hazan, Y. Singer, Adaptive subgradient methods for online learning and stochastic
    optimization, JMLR 12, 2011.

    Args:
        params: tensors, or dicts for groups.
        lr: the learning rate.
        lr_decay: how fast the learning rate itself falls.
        weight_decay: added to the gradient, times p.
        initial_accumulator_value: where s starts.
        eps: keeps the division finite.
        maximize: climb instead of descending.
    """

    limits = dict.fromkeys(["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"], math.inf)

    def __init__(self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10, *,
                 maximize=False):
        super().__init__(params, dict(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                                      initial_accumulator_value=initial_accumulator_value, eps=eps, maximize=maximize))

    def buffers(self, initial_accumulator_value, **_):
        return {"step": 0, "sum": initial_accumulator_value}

    def update(self, xp, p, g, state, lr, lr_decay, weight_decay, eps, **_):
        s, t = state["sum"], state["step"]
        if weight_decay:
            g = g + weight_decay * p
        s += g * g
        p -= lr / (1 + (t - 1) * lr_decay) * g / (xp.sqrt(s) + eps)


class RMSprop(Optimizer):
    """Steps divided by the root of the mean square of recent gradients.

        v <- alpha * v + (1 - alpha) * g^2
        a <- alpha * a + (1 - alpha) * g                (centered: v - a^2, the variance, takes the place of v)
        p <- p - lr * g / (sqrt(v) + eps)               (momentum: m <- momentum * m + g / (...), p <- p - lr * m)

    Sources: T. Tieleman, G. Hinton, Neural networks for machine learning, lecture 6.5, 2012; centred as in A. Graves,
    Generating sequences with recurrent neural networks, arXiv 1308.0850.

    Args:
        params: tensors, or dicts for groups.
        lr: the learning rate.
        alpha: how much of the past the mean keeps, 0 to 1.
        eps: keeps the division finite.
        weight_decay: added to the gradient, times p.
        momentum: how much of the past steps goes on, 0 to 1.
        centered: divide by the standard deviation instead.
        maximize: climb instead of descending.
    """

    limits = dict.fromkeys(["lr", "alpha", "eps", "weight_decay", "momentum"], math.inf)

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, *,
                 maximize=False):
        super().__init__(params, dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                                      centered=centered, maximize=maximize))

    def buffers(self, momentum, centered, **_):
        names = ["step", "square_avg"] + ["momentum_buffer"] * bool(momentum) + ["grad_avg"] * bool(centered)
        return dict.fromkeys(names, 0)

    def update(self, xp, p, g, state, lr, alpha, eps, weight_decay, momentum, centered):
        v = state["square_avg"]
        if weight_decay:
            g = g + weight_decay * p
        v *= alpha
        v += (1 - alpha) * (g * g)
        if centered:
            a = state["grad_avg"]
            a *= alpha
            a += (1 - alpha) * g
            v = xp.maximum(v - a * a, 0)              # rounding may bring a variance of 0 below 0
        g = g / (xp.sqrt(v) + eps)
        if momentum:
            m = state["momentum_buffer"]
            m *= momentum
            m += g
            g = m
        p -= lr * g


class Adam(Optimizer):
    """Adaptive moments: momentum, divided by the root of the mean square, both without the pull of their start at 0.

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        p <- p - lr * m_hat / (sqrt(v_hat) + eps),     m_hat = m / (1 - beta1^t),  v_hat = v / (1 - beta2^t)

    Sources: D. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015; `amsgrad`: S. Reddi, S. Kale,
    S. Kumar, On the convergence of Adam and beyond, ICLR 2018 (as in PyTorch, v_hat is made of the largest v so far).

    Args:
        params: tensors, or dicts for groups.
        lr: the learning rate, about the size of the first steps.
        betas: how much of the past m and v keep, each from 0 to less than 1.
        eps: keeps the division finite.
        weight_decay: added to the gradient, times p; so it is divided by sqrt(v_hat), too. AdamW does not do that.
        amsgrad: never let the divisor shrink.
        maximize: climb instead of descending.
    """

    limits = {"lr": math.inf, "betas": 1, "eps": math.inf, "weight_decay": math.inf}

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, maximize=False):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
                                      maximize=maximize))

    def buffers(self, amsgrad, **_):
        return dict.fromkeys(["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(amsgrad), 0)

    def update(self, xp, p, g, state, lr, betas, eps, weight_decay, amsgrad):
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        beta1, beta2 = betas
        if weight_decay:
            g = g + weight_decay * p
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        if amsgrad:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        p -= lr / (1 - beta1**t) * m / (xp.sqrt(v / (1 - beta2**t)) + eps)


class AdamW(Adam):
    """Adam with decoupled weight decay: every weight shrinks by the same share, whatever its gradients were.

        p <- p - lr * weight_decay * p,  then Adam's step without weight decay

    Source: I. Loshchilov, F. Hutter, Decoupled weight decay regularization, ICLR 2019.

    Args:
        params, lr, betas, eps, amsgrad, maximize: as in Adam.
        weight_decay: the share, times lr, by which the parameters shrink in each step.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *,
                 maximize=False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def update(self, xp, p, g, state, lr, weight_decay, **settings):
        p *= 1 - lr * weight_decay
        super().update(xp, p, g, state, lr, weight_decay=0, **settings)
