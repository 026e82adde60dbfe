"""What is timed, and the numbers that every library starts from."""
import math
from collections import namedtuple

import numpy as np

# weights: their shapes, in PyTorch's order; fan: how many numbers add up to one output, which bounds the first weights
Layer = namedtuple("Layer", "kind weights setting fan", defaults=((), None, None))
# inputs: the shape of x, with the batch; sequences are T N I (time, batch, input)
Workload = namedtuple("Workload", "title short inputs batch layers optimizer", defaults=(None, None, None, "sgd"))

CLASSES = 10
LINKS, SCALE, SHIFT = 250, 1.001, 0.001        # the chain of (e): four ops a link
RATE, MOMENTUM, CHAIN_RATE = 0.01, 0.9, 1e-4
ADAM_RATE, BETAS, EPS = 1e-3, (0.9, 0.999), 1e-8

RELU, POOL, FLATTEN = Layer("relu"), Layer("pool", setting=2), Layer("flatten")


def linear(inputs, outputs):
    return Layer("linear", ((outputs, inputs), (outputs,)), fan=inputs)


def conv(inputs, outputs, kernel, padding):
    return Layer("conv", ((outputs, inputs, kernel, kernel), (outputs,)), padding, fan=inputs * kernel * kernel)


def lstm(inputs, size):
    """One that hands on its last state; gates i f g o, two biases."""
    return Layer("lstm", ((4 * size, inputs), (4 * size, size), (4 * size,), (4 * size,)), fan=size)


MLP = [linear(784, 128), RELU, linear(128, 10)]
CNN = [conv(1, 32, 3, 1), RELU, POOL, conv(32, 64, 3, 1), RELU, POOL,
       FLATTEN, linear(64 * 7 * 7, 128), RELU, linear(128, 10)]
LENET = [conv(1, 6, 5, 2), RELU, POOL, conv(6, 16, 5, 0), RELU, POOL,
         FLATTEN, linear(400, 120), RELU, linear(120, 84), RELU, linear(84, 10)]
LSTM = [lstm(64, 128), linear(128, 10)]

WORKLOADS = {
    "a": Workload("MLP 784-128-10, batch 64, SGD with momentum", "MLP", (64, 784), 64, MLP),
    "b": Workload("CNN, 2 convolutions and 2 dense layers, batch 64, SGD with momentum", "CNN",
                  (64, 1, 28, 28), 64, CNN),
    "c": Workload("LeNet-5 (ReLU, max pooling), batch 64, SGD with momentum", "LeNet-5", (64, 1, 28, 28), 64, LENET),
    "d": Workload("LSTM 64-128 over 50 steps, its last state into a dense layer, batch 32, Adam", "LSTM",
                  (50, 32, 64), 32, LSTM, "adam"),
    "e": Workload("a chain of 1000 ops on 4 numbers, and its gradient", "1000 tiny ops"),
    "f": Workload("import, over NumPy's", "import"),
    "g": Workload("peak memory of ten steps of (b)", "memory"),
}
STEPS, ON_GPU = "abcde", "abcd"                # those that are a step to be timed; those large enough for a GPU


def draw(name, seed=0):
    """The arrays of a workload by name: x, y, w0, w1, ... Weights are drawn as PyTorch draws them by default."""
    rng, workload = np.random.default_rng(seed), WORKLOADS[name]
    if workload.layers is None:
        return {"x": rng.uniform(0.005, 0.015, 4).astype("f")}    # small, so that tanh' is near 1 and no gradient dies
    arrays = {"x": rng.standard_normal(workload.inputs).astype("f"), "y": rng.integers(0, CLASSES, workload.batch)}
    for layer in workload.layers:
        for shape in layer.weights:
            bound = 1 / math.sqrt(layer.fan)
            arrays[f"w{len(arrays) - 2}"] = rng.uniform(-bound, bound, shape).astype("f")
    return arrays


def load(path):
    """(x, y, weights) from the file of a workload; y and weights are empty for the chain."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays.pop("x"), arrays.pop("y", None), list(arrays.values())
