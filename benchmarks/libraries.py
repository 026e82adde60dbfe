"""The same training step, in the words of each library.

A library is a class with up to two methods that build a step; a step is a function that trains once and returns the
loss, as a number or an array of one number:

    network(workload, x, y, weights)    the workloads made of layers
    chain(x)                            the thousand tiny ops

Where a method is missing, the library has no op for it. SGD is v <- 0.9 v + g, p <- p - 0.01 v; Adam is that
of its paper, with epsilon added after the correction. `devices` says where a library is measured; its `synchronize`
returns when the device has done all that was asked for.
"""
import math
import os
import shutil
import types
from importlib import import_module

import numpy as np

from . import Missing
from .workloads import ADAM_RATE, BETAS, CHAIN_RATE, EPS, LINKS, MOMENTUM, RATE, SCALE, SHIFT

# Python numbers become float64 arrays in some libraries, and would turn all that follows into float64.
SCALE32, SHIFT32 = np.float32(SCALE), np.float32(SHIFT)


class Library:
    """What most have in common: they compute on the CPU, and have done so when they return."""

    module, devices, chain = None, ("cpu",), None

    @classmethod
    def import_code(cls):
        """What a fresh process runs to have the library."""
        return f"import numpy, {cls.module}"

    def versions(self):
        """Versions that matter besides the library's own."""
        return {}

    def device_name(self):
        """The device, as its maker calls it."""
        return "CPU"

    def synchronize(self):
        """Wait for the device."""


class Torch(Library):
    """PyTorch, and whatever is spelled like it."""

    module, devices = "torch", ("cpu", "cuda")

    def __init__(self, threads, device="cpu"):
        self.torch, self.device = import_module(self.module), device
        self.optim = import_module(self.module + ".optim")
        self.set_up(threads)

    def set_up(self, threads):
        """Same means: so many threads; on a GPU, products of float32 numbers and not of rounded ones."""
        self.torch.set_num_threads(threads)
        if self.device == "cuda":
            if not self.torch.cuda.is_available():
                raise Missing("it finds no GPU")
            self.torch.backends.cuda.matmul.allow_tf32 = self.torch.backends.cudnn.allow_tf32 = False

    def versions(self):
        return {"cuda": self.torch.version.cuda} if self.device == "cuda" else {}

    def device_name(self):
        return self.torch.cuda.get_device_name()

    def synchronize(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def prepare(self, model, x):
        return model, x

    def network(self, workload, x, y, weights):
        torch, loss_of = self.torch, self.torch.nn.functional.cross_entropy
        model = torch.nn.Sequential(*[self.layer(*layer) for layer in workload.layers])
        model.load_state_dict({name: torch.tensor(w) for name, w in zip(model.state_dict(), weights)})
        model, x = self.prepare(model.to(self.device), torch.tensor(x, device=self.device))
        y, optimizer = torch.tensor(y, device=self.device), self.optimizer(workload.optimizer, model.parameters())
        return self.trained(lambda: loss_of(model(x), y), optimizer)

    @staticmethod
    def trained(loss_of, optimizer):
        """The step that all training in PyTorch's words consists of."""
        def step():
            loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        return step

    def optimizer(self, kind, params):
        if kind == "adam":
            return self.optim.Adam(params, lr=ADAM_RATE, betas=BETAS, eps=EPS)
        return self.optim.SGD(params, lr=RATE, momentum=MOMENTUM)

    def layer(self, kind, weights, setting, fan):
        nn, shape = self.torch.nn, weights[0] if weights else None
        if kind == "linear":
            return nn.Linear(shape[1], shape[0])
        if kind == "conv":
            return nn.Conv2d(shape[1], shape[0], shape[2], padding=setting)
        if kind == "lstm":
            return last_state(nn.LSTM)(shape[1], shape[0] // 4)
        return nn.MaxPool2d(setting) if kind == "pool" else {"relu": nn.ReLU, "flatten": nn.Flatten}[kind]()

    def chain(self, x):
        tanh, x = self.torch.tanh, self.torch.tensor(x, device=self.device, requires_grad=True)
        return self.trained(lambda: links(tanh, x, SCALE, SHIFT).sum(), self.optim.SGD([x], lr=CHAIN_RATE))


def last_state(lstm):
    """A layer that runs an LSTM and hands on its last state, as a Sequential wants it: one tensor in, one out."""
    class LastState(lstm):
        def forward(self, x):
            _, (h, _) = super().forward(x)
            return h[-1]
    return LastState


class ChannelsLast(Torch):
    """PyTorch with its images laid out as N H W C in memory, as its tuning guide advises for CPUs."""

    chain = None

    def network(self, workload, x, y, weights):
        return super().network(workload, x, y, weights) if x.ndim == 4 else None

    def prepare(self, model, x):
        layout = self.torch.channels_last
        return model.to(memory_format=layout), x.to(memory_format=layout)


class TorchCompile(Torch):
    """PyTorch with its compiler, which makes C++ of forward and backward."""

    devices = ("cpu",)

    def prepare(self, model, x):
        return self.torch.compile(model), x

    def chain(self, x):
        torch = self.torch
        links_of, x = torch.compile(lambda h: links(torch.tanh, h, SCALE, SHIFT).sum()), torch.tensor(x)
        x.requires_grad_()
        return self.trained(lambda: links_of(x), self.optim.SGD([x], lr=CHAIN_RATE))


class Minidl(Torch):
    module = "minidl"

    def set_up(self, threads):
        from minidl import backend
        try:
            self.backend = backend.get(self.device)
        except self.torch.errors.DeviceError as error:
            raise Missing(str(error).splitlines()[0]) from None

    def versions(self):
        if self.device != "cuda":
            return {}
        cupy = self.backend.xp
        number = cupy.cuda.runtime.runtimeGetVersion()            # 13010 for 13.1
        return {"cupy": cupy.__version__, "cuda": f"{number // 1000}.{number % 1000 // 10}"}

    def device_name(self):
        return self.backend.xp.cuda.runtime.getDeviceProperties(0)["name"].decode()

    def synchronize(self):
        self.backend.synchronize()


class MinidlCompiled(Minidl):
    """minidl's step, recorded once by `md.compile` and run as a program from then on."""

    devices = ("cpu",)

    def network(self, workload, x, y, weights):
        return self.torch.compile(super().network(workload, x, y, weights))

    def chain(self, x):
        return self.torch.compile(super().chain(x))


class MinidlNumba(MinidlCompiled):
    """The same with compiled kernels, which numba makes."""

    devices = ("cpu",)

    def set_up(self, threads):
        import_module("numba")
        super().set_up(threads)
        self.torch.use_kernels("numba")


# ---------------------------------------------------------------------- libraries without modules like PyTorch's
def as_rows(weights):
    """Dense weights as (inputs, outputs), the way these libraries multiply."""
    return [np.ascontiguousarray(w.T) if w.ndim == 2 else w for w in weights]


def forward(ops, layers, h, params):
    """Run the layers by a table of functions: kind -> f(h, weight, bias, setting), without what a layer has not."""
    params = iter(params)
    for layer in layers:
        weights = [next(params) for _ in layer.weights]
        h = ops[layer.kind](h, *weights, *([] if layer.setting is None else [layer.setting]))
    return h


def scan(xs, gates, tanh, size):
    """The last state of an LSTM: the loop over time, around `gates(x, h)`, which returns i f g o of one step."""
    h = c = np.zeros((xs.shape[1], size), np.float32)
    for x in xs:
        i, f, g, o = gates(x, h)
        c = f * c + i * g
        h = o * tanh(c)
    return h


def bent_quarters(sigmoid, tanh, z):
    """The gates of one step, out of the sums side by side."""
    i, f, g, o = [z[:, k:k + z.shape[1] // 4] for k in range(0, z.shape[1], z.shape[1] // 4)]
    return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)


def sgd(params):
    """An update of plain arrays in place, for libraries that have no optimiser: a function of the gradients."""
    speeds = [np.zeros_like(p) for p in params]

    def update(grads):
        for p, g, v in zip(params, grads, speeds):
            v *= MOMENTUM
            v += g
            p -= RATE * v
    return update


def adam(params):
    """As `sgd`, by Adam's formula."""
    means, squares, (beta1, beta2), t = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params], BETAS, 0

    def update(grads):
        nonlocal t
        t += 1
        for p, g, m, v in zip(params, grads, means, squares):
            m *= beta1
            m += (1 - beta1) * g
            v *= beta2
            v += (1 - beta2) * (g * g)
            p -= ADAM_RATE / (1 - beta1 ** t) * m / (np.sqrt(v / (1 - beta2 ** t)) + EPS)
    return update


UPDATES = {"sgd": sgd, "adam": adam}


def links(tanh, h, scale=SCALE32, shift=SHIFT32):
    for _ in range(LINKS):
        h = tanh(h * scale + shift) - shift
    return h


class Mygrad(Library):
    module = "mygrad"

    def __init__(self, threads, device="cpu"):
        self.mg, self.nnet = import_module("mygrad"), import_module("mygrad.nnet")
        self.mg.turn_memory_guarding_off()            # its documentation: faster, once the code is known to be right

    def network(self, workload, x, y, weights):
        nnet, params = self.nnet, [self.mg.tensor(w) for w in as_rows(weights)]
        update = UPDATES[workload.optimizer]([p.data for p in params])
        ops = dict(linear=lambda h, w, b: h @ w + b, relu=nnet.relu, flatten=lambda h: h.reshape(len(h), -1),
                   lstm=self.lstm,
                   conv=lambda h, w, b, padding: nnet.conv_nd(h, w, stride=1, padding=padding) + b.reshape(-1, 1, 1),
                   pool=lambda h, size: nnet.max_pool(h, (size, size), size))

        def step():
            loss = nnet.softmax_crossentropy(forward(ops, workload.layers, x, params), y)
            loss.backward()
            update([p.grad for p in params])
            return loss.data
        return step

    def lstm(self, x, w_ih, w_hh, b_ih, b_hh):
        """What comes from the inputs, for all steps at once: its slices are cheap also on the way back."""
        sigmoid, tanh, xs = self.nnet.sigmoid, self.mg.tanh, x @ w_ih + (b_ih + b_hh)
        return scan(xs, lambda x, h: bent_quarters(sigmoid, tanh, x + h @ w_hh), tanh, len(w_hh))

    def chain(self, x):
        tanh, x = self.mg.tanh, self.mg.tensor(x)

        def step():
            loss = links(tanh, x).sum()
            loss.backward()
            x.data -= CHAIN_RATE * x.grad
            return loss.data
        return step


class Autograd(Library):
    module = "autograd"                               # it has no convolution fit for a batch: no (b), no (c)

    def __init__(self, threads, device="cpu"):
        self.np, self.value_and_grad = import_module("autograd.numpy"), import_module("autograd").value_and_grad

    def network(self, workload, x, y, weights):
        if any(layer.kind == "conv" for layer in workload.layers):
            return None
        anp, params, rows = self.np, as_rows(weights), np.arange(len(y))
        update = UPDATES[workload.optimizer](params)
        ops = dict(linear=lambda h, w, b: anp.dot(h, w) + b, relu=lambda h: anp.maximum(h, 0), lstm=self.lstm)

        def loss_of(params):
            h = forward(ops, workload.layers, x, params)
            h = h - anp.max(h, axis=1, keepdims=True)
            return anp.mean(anp.log(anp.sum(anp.exp(h), axis=1)) - h[rows, y])
        both = self.value_and_grad(loss_of)

        def step():
            loss, grads = both(params)
            update(grads)
            return loss
        return step

    def lstm(self, x, w_ih, w_hh, b_ih, b_hh):
        """One tanh bends all gates, sigmoid(z) = tanh(z / 2) / 2 + 1 / 2; of a split, the gradient is one array."""
        anp, bias, size = self.np, b_ih + b_hh, w_hh.shape[0]
        scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), size)
        shift = 1 - scale

        def gates(x, h):
            z = anp.dot(x, w_ih) + anp.dot(h, w_hh) + bias
            return anp.split(anp.tanh(z * scale) * scale + shift, 4, axis=1)
        return scan(x, gates, anp.tanh, size)

    def chain(self, x):
        anp = self.np
        both = self.value_and_grad(lambda x: anp.sum(links(anp.tanh, x)))

        def step():
            nonlocal x
            loss, grad = both(x)
            x = x - CHAIN_RATE * grad
            return loss
        return step


class Dezero(Library):
    module = "dezero"

    @classmethod
    def import_code(cls):
        return "import numpy; numpy.int = int; import dezero"

    def __init__(self, threads, device="cpu"):
        vars(np).setdefault("int", int)               # DeZero 0.0.13 was written for NumPy 1
        self.dezero, self.F = import_module("dezero"), import_module("dezero.functions")
        # NumPy 1 took a number's dtype from the array beside it; NumPy 2 would make all gradients float64 here.
        import_module("dezero.core").as_array = lambda x, xp=np: xp.asarray(x, np.float32) if np.isscalar(x) else x

    def network(self, workload, x, y, weights):
        F, params = self.F, [self.dezero.Parameter(w) for w in as_rows(weights)]
        optimizer = self.optimizer(workload.optimizer).setup(types.SimpleNamespace(params=lambda: params))
        ops = dict(linear=F.linear, relu=F.relu, flatten=lambda h: F.reshape(h, (len(h), -1)), lstm=self.lstm,
                   conv=lambda h, w, b, padding: F.conv2d(h, w, b, 1, padding),
                   pool=lambda h, size: F.pooling(h, size, size))
        y = y.astype(np.int16)                        # its loss turns float32 into float64 for wider labels

        def step():
            loss = F.softmax_cross_entropy(forward(ops, workload.layers, x, params), y)
            for p in params:
                p.cleargrad()
            loss.backward()
            optimizer.update()
            return loss.data
        return step

    def optimizer(self, kind):
        optimizers = import_module("dezero.optimizers")
        if kind == "sgd":
            return optimizers.MomentumSGD(RATE, MOMENTUM)

        class Adam(optimizers.Adam):
            def update(self):                         # its own epsilon is added before the correction
                self.eps = EPS * math.sqrt(1 - self.beta2 ** (self.t + 1))
                super().update()
        return Adam(ADAM_RATE, *BETAS)

    def lstm(self, x, w_ih, w_hh, b_ih, b_hh):
        """Four gates in one product: faster than its layers.LSTM, which makes eight products a step."""
        F = self.F
        return scan(x, lambda x, h: bent_quarters(F.sigmoid, F.tanh, F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)),
                    F.tanh, len(w_hh))

    def chain(self, x):
        F, x = self.F, self.dezero.Parameter(x)

        def step():
            loss = F.sum(links(F.tanh, x))
            x.cleargrad()
            loss.backward()
            x.data -= CHAIN_RATE * x.grad.data
            return loss.data
        return step


class Jax(Library):
    """JAX: the whole step under `jax.jit`, its state handed from call to call."""

    module = "jax"

    def __init__(self, threads, device="cpu"):
        if hasattr(os, "sched_setaffinity"):          # it takes a thread for each core that it may use
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self.jax, self.np = import_module("jax"), import_module("jax.numpy")
        self.jitted, self.state = {}, None            # compiled once, started anew for each turn

    def network(self, workload, x, y, weights):
        """Images as N H W C, which XLA is much faster at on a CPU; so it is with pools as a maximum over two axes."""
        jax, jnp = self.jax, self.np
        ops = dict(linear=lambda h, w, b: h @ w + b, relu=jax.nn.relu, conv=self.conv, pool=self.pool, lstm=self.lstm,
                   flatten=lambda h: h.transpose(0, 3, 1, 2).reshape(len(h), -1))

        def loss_of(params, x, y):
            logs = jax.nn.log_softmax(forward(ops, workload.layers, x, params))
            return -jnp.take_along_axis(logs, y[:, None], 1).mean()

        def whole(params, memory, x, y):
            loss, grads = jax.value_and_grad(loss_of)(params, x, y)
            return *JAX_UPDATES[workload.optimizer](jnp, params, grads, memory), loss
        params = [w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for w in as_rows(weights)]
        still = [np.zeros_like(w) for w in params]
        memory = (np.float32(0), still, still) if workload.optimizer == "adam" else still
        x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        return self.steps_of(workload.title, whole, (params, memory), (x, y.astype(np.int32)))

    def steps_of(self, name, whole, state, data):
        """A step around whole(*state, *data) -> (*state, loss), which is compiled at its first use."""
        run = self.jitted.setdefault(name, self.jax.jit(whole))
        self.state, data = self.jax.device_put(state), self.jax.device_put(data)

        def step():
            *self.state, loss = run(*self.state, *data)
            return loss
        return step

    def conv(self, h, w, b, padding):
        around, axes = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
        return self.jax.lax.conv_general_dilated(h, w, (1, 1), around, dimension_numbers=axes) + b

    def pool(self, h, size):
        n, height, width, c = h.shape
        return h.reshape(n, height // size, size, width // size, size, c).max((2, 4))

    def lstm(self, x, w_ih, w_hh, b_ih, b_hh):
        jnp, sigmoid, xs = self.np, self.jax.nn.sigmoid, x @ w_ih + (b_ih + b_hh)

        def advance(state, x):
            h, c = state
            i, f, g, o = bent_quarters(sigmoid, jnp.tanh, x + h @ w_hh)
            c = f * c + i * g
            return (o * jnp.tanh(c), c), None
        nothing = jnp.zeros((x.shape[1], len(w_hh)))
        return self.jax.lax.scan(advance, (nothing, nothing), xs)[0][0]

    def chain(self, x):
        jax, jnp = self.jax, self.np

        def whole(x):
            loss, grad = jax.value_and_grad(lambda x: links(jnp.tanh, x, SCALE, SHIFT).sum())(x)
            return x - CHAIN_RATE * grad, loss
        return self.steps_of("chain", whole, (x,), ())

    def synchronize(self):
        self.jax.block_until_ready(self.state)


def jax_sgd(jnp, params, grads, speeds):
    """As `sgd`, with new arrays in place of changed ones."""
    speeds = [MOMENTUM * v + g for v, g in zip(speeds, grads)]
    return [p - RATE * v for p, v in zip(params, speeds)], speeds


def jax_adam(jnp, params, grads, memory):
    (t, means, squares), (beta1, beta2) = memory, BETAS
    t = t + 1
    means = [beta1 * m + (1 - beta1) * g for m, g in zip(means, grads)]
    squares = [beta2 * v + (1 - beta2) * g * g for v, g in zip(squares, grads)]
    params = [p - ADAM_RATE * (m / (1 - beta1 ** t)) / (jnp.sqrt(v / (1 - beta2 ** t)) + EPS)
              for p, m, v in zip(params, means, squares)]
    return params, (t, means, squares)


JAX_UPDATES = {"sgd": jax_sgd, "adam": jax_adam}


class Tinygrad(Library):
    """tinygrad: the whole step under `TinyJit`, which has clang make machine code of it."""

    module = "tinygrad"

    def __init__(self, threads, device="cpu"):
        clang = next(filter(shutil.which, ["clang", *(f"clang-{n}" for n in range(30, 10, -1))]), None)
        if clang is None and "CC" not in os.environ:
            raise Missing("it needs the compiler clang, which is not here")
        os.environ.setdefault("CC", clang)
        self.tiny, self.optim, helpers = map(import_module, ("tinygrad", "tinygrad.nn.optim", "tinygrad.helpers"))
        helpers.DEV.value, helpers.NUM_CPU_THREADS.value, helpers.TRAINING.value = "CPU", threads, 1
        self.made = {}                                # compiled once, started anew for each turn

    def network(self, workload, x, y, weights):
        if any(layer.kind == "lstm" for layer in workload.layers):
            raise Missing("compiling its loop over 50 steps takes more than a minute")
        if workload.title not in self.made:
            self.made[workload.title] = self.jitted(workload, x, y, weights)
        start, step = self.made[workload.title]
        start()
        return step

    def jitted(self, workload, x, y, weights):
        """(start, step): one puts the weights and what the optimiser remembers back to where they were, one trains."""
        Tensor = self.tiny.Tensor
        params, x, y = [Tensor(w).contiguous().realize() for w in as_rows(weights)], Tensor(x).realize(), Tensor(y)
        ops = dict(linear=lambda h, w, b: h.linear(w, b), relu=Tensor.relu, flatten=lambda h: h.flatten(1),
                   conv=lambda h, w, b, padding: h.conv2d(w, b, padding=padding),
                   pool=lambda h, size: h.max_pool2d((size, size)))
        optimizer, y = self.optimizer(workload.optimizer, params), y.realize()

        @self.tiny.TinyJit
        def step():
            loss = forward(ops, workload.layers, x, params).sparse_categorical_crossentropy(y)
            optimizer.zero_grad()
            loss.backward()
            return loss.realize(*optimizer.schedule_step())
        memory = [*params, *(optimizer.b if workload.optimizer == "sgd" else
                             [*optimizer.m, *optimizer.v, optimizer.b1_t, optimizer.b2_t])]
        first = [value.numpy() for value in memory]

        def start():
            for now, before in zip(memory, first):
                now.assign(Tensor(before)).realize()
        return start, step

    def optimizer(self, kind, params):
        if kind == "adam":
            return self.optim.Adam(params, ADAM_RATE, *BETAS, EPS)
        return self.optim.SGD(params, RATE, MOMENTUM)

    def synchronize(self):
        self.tiny.Device["CPU"].synchronize()


LIBRARIES = {"minidl": Minidl, "minidl-compiled": MinidlCompiled, "minidl-numba": MinidlNumba,
             "torch": Torch, "torch-channels-last": ChannelsLast, "torch-compile": TorchCompile, "jax": Jax,
             "mygrad": Mygrad, "autograd": Autograd, "dezero": Dezero, "tinygrad": Tinygrad}
