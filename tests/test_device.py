"""The library on a second device, one that does not forgive a hidden copy (fake_device.py)."""
import importlib.util

import numpy as np
import pytest

import minidl as md
import minidl.nn.functional as F
from minidl import autograd, nn, optim
from minidl.errors import DeviceError
from minidl.safetensors import load_file, save_file
from tests import fake_device
from tests.fake_device import FakeArray, HostCopyError, no_transfers
from tests.samples import TABLE

pytestmark = pytest.mark.usefixtures("fake")
every_sample = pytest.mark.parametrize("base", TABLE, ids=str)


def on_device(arrays, wrt=()):
    """Arrays as tensors on the fake device."""
    return [
        md.Tensor(fake_device.from_host(a), k in wrt) if isinstance(a, np.ndarray) else a for k, a in enumerate(arrays)
    ]


def host(x):
    """The numbers, wherever they live."""
    return x.host_array()


# ---------------------------------------------------------------------- primitives
@every_sample
def test_forward_runs_there_without_a_copy_and_gives_the_same(base):
    if not base.specs:
        pytest.skip("draws are made on the host, below")
    for variant in base.variants():
        inputs = on_device(variant.inputs())
        with no_transfers():
            out = variant.op(*inputs, **variant.meta())
        assert type(out.array) is FakeArray, variant.variant
        here = np.asarray(variant.op(*variant.inputs(), **variant.meta()))
        np.testing.assert_allclose(host(out), here, rtol=1e-14, atol=1e-14)


@every_sample
def test_backward_runs_there_without_a_copy_and_gives_the_same(base):
    wrt = base.wrt()
    if not wrt:
        pytest.skip("no gradient")
    for create_graph in (False, True):
        inputs = on_device(base.inputs(), wrt)
        out = base.op(*inputs, **base.meta())
        with no_transfers():
            found = autograd.grad(out, [inputs[k] for k in wrt], md.ones_like(out), create_graph=create_graph)
        here = [md.Tensor(a, k in wrt) if isinstance(a, np.ndarray) else a for k, a in enumerate(base.inputs())]
        out = base.op(*here, **base.meta())
        expected = autograd.grad(out, [here[k] for k in wrt], md.ones_like(out))
        for a, b in zip(found, expected):
            assert type(a.array) is FakeArray
            np.testing.assert_allclose(host(a.detach()), b.numpy(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["rand", "randn"])
def test_draws_are_the_same_on_every_device(name):
    md.manual_seed(3)
    here = getattr(md, name)(2, 3)
    md.manual_seed(3)
    there = getattr(md, name)(2, 3, device="fake")
    assert str(there.device) == "fake"
    np.testing.assert_array_equal(host(there), here.numpy())


# ---------------------------------------------------------------------- functions
X, Y = np.arange(12.0).reshape(3, 4) - 5.5, np.arange(12.0).reshape(3, 4)[::-1] / 7
INDEX = np.array([[2, 0, 1, 1], [0, 0, 2, 1]])
FUNCTIONS = {
    "max": lambda x, y, i: x.max(dim=1).values,
    "min": lambda x, y, i: x.min(0).values,
    "prod": lambda x, y, i: x.prod(1),
    "std": lambda x, y, i: x.std(0),
    "norm": lambda x, y, i: x.norm(),
    "cumprod": lambda x, y, i: x.cumprod(1),
    "clamp": lambda x, y, i: x.clamp(-1, y),
    "where": lambda x, y, i: md.where(x > 0, x, y),
    "mask": lambda x, y, i: x[x > 0],
    "gather": lambda x, y, i: x.gather(0, i),
    "scatter": lambda x, y, i: x.scatter(0, i.argsort(0), y),         # no place twice: a GPU would take either number
    "scatter_add": lambda x, y, i: x.scatter_add(0, i, y),
    "index": lambda x, y, i: x[i, 1:3],
    "rows": lambda x, y, i: x[i],
    "index list": lambda x, y, i: x[[2, 0]],
    "index pairs": lambda x, y, i: x[[2, 0], [1, 3]],
    "index array": lambda x, y, i: x[np.array([2, 0])],
    "index_add": lambda x, y, i: x.index_add(0, i[0], y[[0, 0, 1, 2]]),
    "masked_fill": lambda x, y, i: x.masked_fill(y > 1, 0.0),
    "sort": lambda x, y, i: x.sort(0, descending=True).values,
    "topk": lambda x, y, i: x.topk(2).values,
    "einsum": lambda x, y, i: md.einsum("ij,kj->ik", x, y),
    "trace": lambda x, y, i: md.einsum("ii->", x[:, :3]),
    "diagonal": lambda x, y, i: x.diagonal(1),
    "diag": lambda x, y, i: x[0].diag(1),
    "tril": lambda x, y, i: x.tril(),
    "repeat": lambda x, y, i: x.repeat(2, 1),
    "repeat_interleave": lambda x, y, i: x.repeat_interleave(2, 1),
    "roll": lambda x, y, i: x.roll(1, 0),
    "flip": lambda x, y, i: x.flip(0),
    "split": lambda x, y, i: x.split(2, 1)[1],
    "logsumexp": lambda x, y, i: x.logsumexp(1),
    "softmax": lambda x, y, i: x.softmax(1),
    "matmul": lambda x, y, i: x @ y.T,
    "one number": lambda x, y, i: x[0, 1] * y[2, 3] + x.sum().max(dim=0).values,
    "loop": lambda x, y, i: sum(row.sum() for row in x),
    "set slice": lambda x, y, i: _changed(x, (slice(1, 3),), y[:2]),
    "set mask": lambda x, y, i: _changed(x, x > 1, 0.5),
    "set index": lambda x, y, i: _changed(x, i[0], y[1]),
    "set one": lambda x, y, i: _changed(x, (1, 1), 3.0),
    "set through a view": lambda x, y, i: _changed_through_a_view(x, y),
    "add_": lambda x, y, i: (x * 1).add_(y),
    "cross_entropy": lambda x, y, i: F.cross_entropy(x, i[0, :3]),
    "embedding": lambda x, y, i: F.embedding(i, x),
    "layer_norm": lambda x, y, i: F.layer_norm(x, (4,)),
    "gelu": lambda x, y, i: F.gelu(x),
    "one_hot": lambda x, y, i: x[:2] * F.one_hot(i[:, 0], 4),
    "pad": lambda x, y, i: F.pad(x, (1, 2), value=1.0),
    "interpolate": lambda x, y, i: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"),
    "avg_pool": lambda x, y, i: F.avg_pool2d(x[None, None], 2),
    "adaptive": lambda x, y, i: F.adaptive_avg_pool2d(x[None, None], 2),
    "conv_transpose": lambda x, y, i: F.conv_transpose2d(x[None, None], y[None, None, :2, :2], stride=2),
    "bce": lambda x, y, i: F.binary_cross_entropy_with_logits(x, y.clamp(0, 1)),
}


def _changed(x, key, value):
    x = x * 1
    x[key] = value
    return x


def _changed_through_a_view(x, y):
    x = x * 1
    x[1].add_(y[0])
    return x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_runs_there_and_gives_the_same(name):
    results = []
    for device in ("cpu", "fake"):
        x, y = (md.tensor(a, device=device, requires_grad=True) for a in (X, Y))
        out = FUNCTIONS[name](x, y, md.tensor(INDEX, device=device))
        assert str(out.device) == device
        out.sum().backward()
        results.append([host(v) for v in (out.detach(), x.grad, y.grad) if v is not None])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["nonzero", "argsort", "argmax", "unique", "isnan"])
def test_results_without_gradient_stay_there(name):
    out = getattr(md.tensor(X, device="fake"), name)()
    assert str(out.device) == "fake"
    np.testing.assert_array_equal(host(out), getattr(md.tensor(X), name)().numpy())


@pytest.mark.parametrize("name", ["max", "min", "topk", "sort"])
def test_indices_of_a_number_without_axes_stay_there(name):
    x = md.tensor(2.0, device="fake")
    out = x.topk(1) if name == "topk" else getattr(x, name)(dim=0)
    assert str(out.indices.device) == "fake"


@pytest.mark.parametrize(
    "make",
    [
        lambda d: md.zeros(2, device=d),
        lambda d: md.full((2,), 3.0, device=d),
        lambda d: md.arange(3, device=d),
        lambda d: md.eye(2, device=d),
        lambda d: md.linspace(0, 1, 3, device=d),
        lambda d: md.randint(5, (3,), device=d),
        lambda d: md.randperm(4, device=d),
        lambda d: md.tensor([1.0], device=d),
        lambda d: md.zeros_like(md.ones(2, device=d)),
        lambda d: md.bernoulli(md.full((3,), 0.5, device=d)),
        lambda d: md.normal(1.0, 2.0, (3,), device=d),
        lambda d: md.multinomial(md.ones(3, device=d), 2),
        lambda d: md.rand_like(md.ones(2, device=d)),
    ],
)
def test_creation_on_the_device_gives_the_same_as_here(make):
    md.manual_seed(1)
    here = make("cpu")
    md.manual_seed(1)
    there = make("fake")
    assert str(there.device) == "fake" and there.dtype == here.dtype
    np.testing.assert_array_equal(host(there), here.numpy())


# ---------------------------------------------------------------------- files
def test_a_checkpoint_brings_each_tensor_back_to_where_it_was_or_to_where_it_is_wanted(tmp_path):
    md.save([md.tensor(X), md.tensor(X, device="fake")], tmp_path / "two")
    for wanted, expected in [(None, ["cpu", "fake"]), ("cpu", ["cpu", "cpu"]), ("fake", ["fake", "fake"])]:
        found = md.load(tmp_path / "two", map_location=wanted)
        assert [str(x.device) for x in found] == expected
        assert all(np.array_equal(host(x), X) for x in found)


def test_safetensors_go_out_from_the_device_and_come_back_to_it(tmp_path):
    save_file({"w": md.tensor(X, device="fake")}, tmp_path / "w")
    for device in ("cpu", "fake"):
        found = load_file(tmp_path / "w", device)["w"]
        assert str(found.device) == device and np.array_equal(host(found), X)


# ---------------------------------------------------------------------- a whole step
class Net(nn.Module):
    """The smallest CNN that has everything."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3 * 3 * 3, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.linear(x.flatten(1))


def trained(device, make_optimizer, steps=3):
    """The parameters of the net after a few steps, and the losses."""
    md.manual_seed(0)
    net, rng = Net(), np.random.default_rng(0)
    net = net.to(device)
    optimizer, losses = make_optimizer(net.parameters()), []
    batches = [(md.tensor(rng.standard_normal((5, 1, 6, 6)).astype(np.float32), device=device),
                md.tensor(rng.integers(0, 4, 5), device=device)) for _ in range(steps)]
    with no_transfers():
        for x, labels in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return [host(v) for v in [*losses, *(p.detach() for p in net.parameters())]]


@pytest.mark.parametrize("make_optimizer", [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), lambda p: optim.Adam(p, lr=0.01),
    lambda p: optim.AdamW(p, lr=0.01), lambda p: optim.RMSprop(p, lr=0.01)], ids=["SGD", "Adam", "AdamW", "RMSprop"])
def test_training_step_runs_there_without_a_copy_and_gives_the_same(make_optimizer):
    for a, b in zip(trained("fake", make_optimizer), trained("cpu", make_optimizer), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- moving
def test_to_and_back_is_the_same():
    x = md.tensor(X, requires_grad=True)
    there = x.to("fake")
    back = there.to("cpu")
    assert str(there.device) == "fake" and there.requires_grad and str(back.device) == "cpu"
    np.testing.assert_array_equal(back.detach().numpy(), X)


@pytest.mark.parametrize("where", ["fake", md.device("cpu"), "cpu:0"])
def test_to_takes_names_and_devices(where):
    assert str(md.ones(2).to(where).device) == str(where).removesuffix(":0")


def test_to_the_same_place_is_the_tensor_itself():
    x = md.ones(2, device="fake")
    assert x.to("fake") is x and x.to(md.device("fake")) is x


def test_like_makes_its_result_where_the_tensor_is():
    assert str(md.ones_like(md.ones(2, device="fake")).device) == "fake"


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, b: a + b,
        lambda a, b: a @ b,
        lambda a, b: md.cat([a, b]),
        lambda a, b: md.where(a > 0, a, b),
        lambda a, b: a.add_(b),
    ],
)
def test_mixed_devices_are_an_error_that_names_both(mix):
    with pytest.raises(DeviceError, match="fake") as info:
        mix(md.ones(2, 2), md.ones(2, 2, device="fake"))
    assert "cpu" in str(info.value) and ".to(device)" in str(info.value)


def test_numpy_of_a_tensor_there_is_an_error_that_says_cpu():
    with pytest.raises(DeviceError, match=r"x\.cpu\(\)\.numpy\(\)"):
        md.ones(2, device="fake").numpy()


def test_unknown_device_is_an_error_that_lists_the_known_ones():
    with pytest.raises(DeviceError, match="cpu, cuda, fake"):
        md.device("tpu")


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_cuda_without_cupy_says_what_to_install():
    with pytest.raises(DeviceError, match=r'pip install "minidl\[gpu\]"'):
        md.device("cuda")
    assert not md.cuda.is_available()


# ---------------------------------------------------------------------- the fake device is strict
@pytest.mark.parametrize("look", [np.asarray, float, int, bool, list, np.sum, lambda a: a.item(), lambda a: a.tolist(),
                                  lambda a: [0, 1][a]])
def test_fake_arrays_refuse_to_be_looked_at(look):
    with pytest.raises(HostCopyError):
        look(fake_device.from_host(np.array([1])))


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, n: a + n,
        lambda a, n: n + a,
        lambda a, n: a[n],
        lambda a, n: fake_device.xp.add(a, n),
        lambda a, n: a.__setitem__(0, n[0:1]),
        lambda a, n: a.__iadd__(n),
    ],
)
def test_fake_arrays_refuse_to_meet_host_arrays(mix):
    with pytest.raises(TypeError):
        mix(fake_device.from_host(np.arange(3)), np.arange(3))


def test_fake_views_know_their_base():
    a = fake_device.from_host(np.arange(6.0))
    assert a.reshape(2, 3)[1].base is a and a[0].base is a and (a + 1).base is None


def test_fake_reductions_know_no_initial():
    with pytest.raises(TypeError, match="initial"):
        fake_device.xp.max(fake_device.from_host(np.arange(3.0)), axis=0, initial=0)
