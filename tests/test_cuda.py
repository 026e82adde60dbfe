"""The library on a GPU: every op, the functions above them and whole training steps give what they give on the CPU.

    pytest -m gpu

What needs no GPU to be seen, above all that nothing is copied to the host on the way, test_device.py checks everywhere.
"""
import warnings

import numpy as np
import pytest

import minidl as md
from benchmarks.libraries import Minidl
from benchmarks.workloads import ON_GPU, WORKLOADS, draw
from minidl import autograd, optim
from tests.samples import TABLE
from tests.test_device import FUNCTIONS, INDEX, X, Y, host, trained

with warnings.catch_warnings():
    warnings.simplefilter("ignore")                    # CuPy looks around for CUDA when it is imported
    if not md.cuda.is_available():
        pytest.skip("needs CuPy and a GPU", allow_module_level=True)

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default:::cupy")]
every_sample = pytest.mark.parametrize("base", [s for s in TABLE if s.specs], ids=str)


def tensors(sample, device, wrt=()):
    """The inputs of a sample as tensors on a device."""
    return [md.tensor(a, device=device, requires_grad=k in wrt) if isinstance(a, np.ndarray) else a
            for k, a in enumerate(sample.inputs())]


def same(there, here, rtol=1e-10):
    """Compare numbers; a GPU rounds in another order."""
    np.testing.assert_allclose(host(there), host(here), rtol=rtol, atol=1e-11)


@every_sample
def test_forward(base):
    for variant in base.variants():
        there, here = [variant.op(*tensors(variant, device), **variant.meta()) for device in ("cuda", "cpu")]
        assert str(there.device) == "cuda" and there.dtype == here.dtype
        same(there, here)


@every_sample
def test_backward(base):
    wrt = base.wrt()
    if not wrt:
        pytest.skip("no gradient")
    found = []
    for device in ("cuda", "cpu"):
        inputs = tensors(base, device, wrt)
        out = base.op(*inputs, **base.meta())
        found.append(autograd.grad(out, [inputs[k] for k in wrt], md.ones_like(out)))
    for there, here in zip(*found, strict=True):
        assert str(there.device) == "cuda"
        same(there.detach(), here.detach(), 1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    found = []
    for device in ("cuda", "cpu"):
        x, y = (md.tensor(a, device=device, requires_grad=True) for a in (X, Y))
        out = FUNCTIONS[name](x, y, md.tensor(INDEX, device=device))
        out.sum().backward()
        found.append([v for v in (out.detach(), x.grad, y.grad) if v is not None])
    for there, here in zip(*found, strict=True):
        same(there, here)


@pytest.mark.parametrize("make_optimizer", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.AdamW(p, lr=0.01), lambda p: optim.RMSprop(p, lr=0.01)], ids=["SGD", "Adam", "AdamW", "RMSprop"])
def test_training(make_optimizer):
    for there, here in zip(trained("cuda", make_optimizer), trained("cpu", make_optimizer), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ON_GPU)
def test_the_networks_of_the_benchmark(name):
    losses = []
    for device in ("cuda", "cpu"):
        arrays = draw(name)
        library = Minidl(1, device)
        step = library.network(WORKLOADS[name], arrays.pop("x"), arrays.pop("y"), list(arrays.values()))
        losses.append([float(step()) for _ in range(5)])
        library.synchronize()
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_to_the_gpu_and_back():
    x = md.tensor(X, requires_grad=True).to("cuda")
    assert str(x.device) == "cuda"
    np.testing.assert_array_equal(x.to("cpu").detach().numpy(), X)
