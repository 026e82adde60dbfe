"""What is timed, and the numbers that every library starts from."""
import math
from collections import namedtuple

import numpy as np

Layer = namedtuple("Layer", "kind shape setting", defaults=(None, None))     # shape: of the weight, as in PyTorch
Workload = namedtuple("Workload", "title short image layers", defaults=(None, None))

BATCH, CLASSES = 64, 10
LINKS, SCALE, SHIFT = 250, 1.001, 0.001        # the chain of (e): four ops a link
RATE, MOMENTUM, CHAIN_RATE = 0.01, 0.9, 1e-4

RELU, POOL, FLATTEN = Layer("relu"), Layer("pool", setting=2), Layer("flatten")


def linear(inputs, outputs):
    return Layer("linear", (outputs, inputs))


def conv(inputs, outputs, kernel, padding):
    return Layer("conv", (outputs, inputs, kernel, kernel), padding)


MLP = [linear(784, 128), RELU, linear(128, 10)]
CNN = [conv(1, 32, 3, 1), RELU, POOL, conv(32, 64, 3, 1), RELU, POOL,
       FLATTEN, linear(64 * 7 * 7, 128), RELU, linear(128, 10)]
LENET = [conv(1, 6, 5, 2), RELU, POOL, conv(6, 16, 5, 0), RELU, POOL,
         FLATTEN, linear(400, 120), RELU, linear(120, 84), RELU, linear(84, 10)]

WORKLOADS = {
    "a": Workload("MLP 784-128-10, batch 64, SGD with momentum", "MLP", (784,), MLP),
    "b": Workload("CNN, 2 convolutions and 2 dense layers, batch 64, SGD with momentum", "CNN", (1, 28, 28), CNN),
    "c": Workload("LeNet-5 (ReLU, max pooling), batch 64, SGD with momentum", "LeNet-5", (1, 28, 28), LENET),
    "e": Workload("a chain of 1000 ops on 4 numbers, and its gradient", "1000 tiny ops"),
    "f": Workload("import, over NumPy's", "import"),
    "g": Workload("peak memory of ten steps of (b)", "memory"),
}
STEPS = "abce"                                 # those that are a step to be timed


def draw(name, seed=0):
    """The arrays of a workload by name: x, y, w0, w1, ... Weights are drawn as PyTorch draws them by default."""
    rng, workload = np.random.default_rng(seed), WORKLOADS[name]
    if workload.layers is None:
        return {"x": rng.uniform(0.005, 0.015, 4).astype("f")}    # small, so that tanh' is near 1 and no gradient dies
    arrays = {"x": rng.standard_normal((BATCH, *workload.image)).astype("f"), "y": rng.integers(0, CLASSES, BATCH)}
    for layer in workload.layers:
        if layer.shape:
            bound = 1 / math.sqrt(math.prod(layer.shape[1:]))
            for shape in (layer.shape, layer.shape[:1]):
                arrays[f"w{len(arrays) - 2}"] = rng.uniform(-bound, bound, shape).astype("f")
    return arrays


def load(path):
    """(x, y, weights) from the file of a workload; y and weights are empty for the chain."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays.pop("x"), arrays.pop("y", None), list(arrays.values())
