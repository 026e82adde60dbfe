"""The same training step, in the words of each library.

A library is a class with up to two methods that build a step; a step is a function that trains once and returns the
loss, as anything that `float` understands:

    network(layers, x, y, weights)    the workloads made of layers
    chain(x)                          the thousand tiny ops

Where a method is missing, the library has no op for it. All updates are v <- 0.9 v + g, p <- p - 0.01 v.
"""
import types
from importlib import import_module

import numpy as np

from .workloads import CHAIN_RATE, LINKS, MOMENTUM, RATE, SCALE, SHIFT

# Python numbers become float64 arrays in some libraries, and would turn all that follows into float64.
SCALE32, SHIFT32 = np.float32(SCALE), np.float32(SHIFT)


class Torch:
    """PyTorch, and whatever is spelled like it."""

    module = "torch"

    def __init__(self, threads):
        self.torch = import_module(self.module)
        self.optim = import_module(self.module + ".optim")
        if hasattr(self.torch, "set_num_threads"):
            self.torch.set_num_threads(threads)

    def prepare(self, model, x):
        return model, x

    def network(self, layers, x, y, weights):
        torch, loss_of = self.torch, self.torch.nn.functional.cross_entropy
        model = torch.nn.Sequential(*[self.layer(*layer) for layer in layers])
        model.load_state_dict({name: torch.tensor(w) for name, w in zip(model.state_dict(), weights)})
        model, x = self.prepare(model, torch.tensor(x))
        y, optimizer = torch.tensor(y), self.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)

        def step():
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        return step

    def layer(self, kind, shape, setting):
        nn = self.torch.nn
        if kind == "linear":
            return nn.Linear(shape[1], shape[0])
        if kind == "conv":
            return nn.Conv2d(shape[1], shape[0], shape[2], padding=setting)
        return nn.MaxPool2d(setting) if kind == "pool" else {"relu": nn.ReLU, "flatten": nn.Flatten}[kind]()

    def chain(self, x):
        tanh, x = self.torch.tanh, self.torch.tensor(x, requires_grad=True)
        optimizer = self.optim.SGD([x], lr=CHAIN_RATE)

        def step():
            h = x
            for _ in range(LINKS):
                h = tanh(h * SCALE + SHIFT) - SHIFT
            loss = h.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        return step


class ChannelsLast(Torch):
    """PyTorch with its images laid out as N H W C in memory, as its tuning guide advises for CPUs."""

    chain = None

    def network(self, layers, x, y, weights):
        return super().network(layers, x, y, weights) if x.ndim == 4 else None

    def prepare(self, model, x):
        layout = self.torch.channels_last
        return model.to(memory_format=layout), x.to(memory_format=layout)


class Minidl(Torch):
    module = "minidl"


# ---------------------------------------------------------------------- libraries without modules like PyTorch's
def as_rows(weights):
    """Dense weights as (inputs, outputs), the way these libraries multiply."""
    return [np.ascontiguousarray(w.T) if w.ndim == 2 else w for w in weights]


def forward(ops, layers, h, params):
    """Run the layers by a table of functions: kind -> f(h, weight, bias, setting), without what a layer has not."""
    params = iter(params)
    for kind, shape, setting in layers:
        weights = [next(params), next(params)] if shape else []
        h = ops[kind](h, *weights, *([] if setting is None else [setting]))
    return h


def links(tanh, h):
    for _ in range(LINKS):
        h = tanh(h * SCALE32 + SHIFT32) - SHIFT32
    return h


class Mygrad:
    module = "mygrad"

    def __init__(self, threads):
        self.mg, self.nnet = import_module("mygrad"), import_module("mygrad.nnet")
        self.mg.turn_memory_guarding_off()            # its documentation: faster, once the code is known to be right

    def network(self, layers, x, y, weights):
        nnet, params = self.nnet, [self.mg.tensor(w) for w in as_rows(weights)]
        speeds = [np.zeros_like(p.data) for p in params]
        ops = dict(linear=lambda h, w, b: h @ w + b, relu=nnet.relu, flatten=lambda h: h.reshape(len(h), -1),
                   conv=lambda h, w, b, padding: nnet.conv_nd(h, w, stride=1, padding=padding) + b.reshape(-1, 1, 1),
                   pool=lambda h, size: nnet.max_pool(h, (size, size), size))

        def step():
            loss = nnet.softmax_crossentropy(forward(ops, layers, x, params), y)
            loss.backward()
            for p, v in zip(params, speeds):
                v *= MOMENTUM
                v += p.grad
                p.data -= RATE * v
            return loss.data
        return step

    def chain(self, x):
        tanh, x = self.mg.tanh, self.mg.tensor(x)

        def step():
            loss = links(tanh, x).sum()
            loss.backward()
            x.data -= CHAIN_RATE * x.grad
            return loss.data
        return step


class Autograd:
    module = "autograd"                               # it has no convolution fit for a batch: no (b), no (c)

    def __init__(self, threads):
        self.np, self.value_and_grad = import_module("autograd.numpy"), import_module("autograd").value_and_grad

    def network(self, layers, x, y, weights):
        if any(layer.kind == "conv" for layer in layers):
            return None
        anp, params, rows = self.np, as_rows(weights), np.arange(len(y))
        speeds = [np.zeros_like(p) for p in params]
        ops = dict(linear=lambda h, w, b: anp.dot(h, w) + b, relu=lambda h: anp.maximum(h, 0))

        def loss_of(params):
            h = forward(ops, layers, x, params)
            h = h - anp.max(h, axis=1, keepdims=True)
            return anp.mean(anp.log(anp.sum(anp.exp(h), axis=1)) - h[rows, y])
        both = self.value_and_grad(loss_of)

        def step():
            loss, grads = both(params)
            for p, g, v in zip(params, grads, speeds):
                v *= MOMENTUM
                v += g
                p -= RATE * v
            return loss
        return step

    def chain(self, x):
        anp = self.np
        both = self.value_and_grad(lambda x: anp.sum(links(anp.tanh, x)))

        def step():
            nonlocal x
            loss, grad = both(x)
            x = x - CHAIN_RATE * grad
            return loss
        return step


class Dezero:
    module = "dezero"

    def __init__(self, threads):
        vars(np).setdefault("int", int)               # DeZero 0.0.13 was written for NumPy 1
        self.dezero, self.F = import_module("dezero"), import_module("dezero.functions")
        self.SGD = import_module("dezero.optimizers").MomentumSGD

    def network(self, layers, x, y, weights):
        F, params = self.F, [self.dezero.Parameter(w) for w in as_rows(weights)]
        optimizer = self.SGD(RATE, MOMENTUM).setup(types.SimpleNamespace(params=lambda: params))
        ops = dict(linear=F.linear, relu=F.relu, flatten=lambda h: F.reshape(h, (len(h), -1)),
                   conv=lambda h, w, b, padding: F.conv2d(h, w, b, 1, padding),
                   pool=lambda h, size: F.pooling(h, size, size))
        y = y.astype(np.int16)                        # its loss turns float32 into float64 for wider labels

        def step():
            loss = F.softmax_cross_entropy(forward(ops, layers, x, params), y)
            for p in params:
                p.cleargrad()
            loss.backward()
            optimizer.update()
            return loss.data
        return step

    def chain(self, x):
        F, x = self.F, self.dezero.Parameter(x)

        def step():
            loss = F.sum(links(F.tanh, x))
            x.cleargrad()
            loss.backward()
            x.data -= CHAIN_RATE * x.grad.data
            return loss.data
        return step


LIBRARIES = {"minidl": Minidl, "torch": Torch, "torch-channels-last": ChannelsLast,
             "mygrad": Mygrad, "autograd": Autograd, "dezero": Dezero}
