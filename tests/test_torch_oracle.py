"""PyTorch as an oracle: the same weights and inputs give the same outputs and gradients. Runs where PyTorch is."""
import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _their_seed():
    torch.manual_seed(0)


def numbers(*shape, seed=0, dtype=np.float64):
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def transferred(ours, theirs):
    """Our module with the state dict of PyTorch's."""
    ours.load_state_dict({name: value.detach().numpy() for name, value in theirs.state_dict().items()})
    return ours


def agree(ours, theirs, rtol=1e-9):
    """Equal shapes and, relative to the largest, numbers."""
    ours, theirs = ours.detach().numpy(), theirs.detach().numpy()
    assert ours.shape == theirs.shape
    if theirs.size:
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(1, np.abs(theirs).max()))


def both(ours, theirs, x, rtol=1e-9):
    """Outputs and gradients of two modules: for the input and for all parameters, in the same order."""
    a, b = md.Tensor(x.copy(), requires_grad=x.dtype.kind == "f"), torch.tensor(x, requires_grad=x.dtype.kind == "f")
    out, expected = ours(a), theirs(b)
    agree(out, expected, rtol)
    weights = numbers(*out.shape, seed=9, dtype=out.dtype)
    (out * md.Tensor(weights)).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    if x.dtype.kind == "f":
        agree(a.grad, b.grad, rtol)
    for (name, p), (their_name, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        agree(p.grad, q.grad, rtol)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in ours.state_dict().items():
        agree(value, theirs.state_dict()[name], rtol)


def cnn(nn):
    """The same text for both."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, (3, 2), stride=2, padding=1, groups=2), nn.BatchNorm2d(12, momentum=0.3), nn.LeakyReLU(0.1),
        nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(24, 10), nn.GELU(),
        nn.Linear(10, 5), nn.LogSoftmax(1))


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_a_cnn_with_batch_norm_gives_the_same_in_training_and_evaluation(dtype, rtol):
    theirs = cnn(torch.nn)
    with torch.no_grad():
        for module in theirs.modules():               # away from the first values, which are 0 and 1
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 1.5)
    ours = transferred(cnn(nn), theirs).to(dtype)
    theirs = theirs.to(torch.float32 if dtype is np.float32 else torch.float64)
    for seed, mode in enumerate((True, True, False)):
        ours.train(mode)
        theirs.train(mode)
        ours.zero_grad()
        theirs.zero_grad()
        both(ours, theirs, numbers(6, 3, 12, 10, seed=seed, dtype=dtype), rtol)
    assert int(ours.state_dict()["1.num_batches_tracked"]) == 2


def test_the_names_of_a_cnn_are_pytorchs():
    ours, theirs = cnn(nn), cnn(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]


IMAGE, ROWS = (3, 4, 7, 6), (5, 4)
LAYERS = [
    ("Linear", (4, 3), {}, ROWS), ("Linear", (6, 2), dict(bias=False), IMAGE),
    ("Flatten", (), {}, IMAGE), ("Flatten", (0, 2), {}, IMAGE), ("Identity", (), {}, ROWS),
    ("BatchNorm1d", (4,), {}, ROWS), ("BatchNorm1d", (4,), dict(momentum=None, eps=1e-3), (3, 4, 5)),
    ("BatchNorm2d", (4,), {}, IMAGE), ("BatchNorm2d", (4,), dict(affine=False, track_running_stats=False), IMAGE),
    ("MaxPool2d", (2,), {}, IMAGE), ("MaxPool2d", (3,), dict(stride=2, padding=1, ceil_mode=True), IMAGE),
    ("MaxPool2d", ((2, 3),), dict(stride=(1, 2), dilation=2), IMAGE),
    ("AvgPool2d", (2,), dict(ceil_mode=True), IMAGE), ("AvgPool2d", (3, 2, 1), dict(count_include_pad=False), IMAGE),
    ("AvgPool2d", (3, 2, 1), dict(ceil_mode=True), IMAGE), ("AdaptiveAvgPool2d", ((3, None),), {}, IMAGE),
    ("AdaptiveAvgPool2d", (1,), {}, IMAGE), ("Dropout", (0.0,), {}, ROWS),
    ("ReLU", (), {}, IMAGE), ("LeakyReLU", (0.3,), {}, IMAGE), ("Tanh", (), {}, IMAGE), ("Sigmoid", (), {}, IMAGE),
    ("GELU", (), {}, IMAGE), ("GELU", (), dict(approximate="tanh"), IMAGE), ("Softmax", (1,), {}, IMAGE),
    ("LogSoftmax", (), dict(dim=-1), IMAGE)]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name, args, how, shape", LAYERS)
def test_layers(name, args, how, shape, mode):
    theirs = getattr(torch.nn, name)(*args, **how).double()
    ours = transferred(getattr(nn, name)(*args, **how).double(), theirs)
    both(ours.train(mode), theirs.train(mode), numbers(*shape))


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("seed", range(40))
def test_convolutions_with_random_settings(seed):
    rng = np.random.default_rng(seed)
    groups, kernel, dilation = int(rng.integers(1, 4)), rng.integers(1, 4, 2).tolist(), rng.integers(1, 3, 2).tolist()
    how = dict(stride=rng.integers(1, 4, 2).tolist(), padding=rng.integers(0, 3, 2).tolist(), dilation=dilation,
               groups=groups, bias=bool(rng.integers(2)))
    if seed % 4 == 0:
        how.update(stride=1, padding="same")
    channels = groups * rng.integers(1, 3, 2)
    theirs = torch.nn.Conv2d(*map(int, channels), kernel, **how).double()
    ours = transferred(nn.Conv2d(*map(int, channels), kernel, **how).double(), theirs)
    x = numbers(int(rng.integers(1, 4)), int(channels[0]), *rng.integers(5, 9, 2).tolist(), seed=seed)
    both(ours, theirs, x)


@pytest.mark.parametrize("seed", range(20))
def test_transposed_convolutions_with_random_settings(seed):
    rng = np.random.default_rng(seed)
    groups, stride, dilation = int(rng.integers(1, 3)), rng.integers(1, 4, 2).tolist(), rng.integers(1, 3, 2).tolist()
    extra = [int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation)]
    x, w = numbers(2, 2 * groups, 4, 3), numbers(2 * groups, 3, *rng.integers(1, 4, 2), seed=1)
    how = dict(stride=stride, padding=rng.integers(0, 2, 2).tolist(), output_padding=extra, groups=groups,
               dilation=dilation)
    a, b = (md.Tensor(v.copy(), requires_grad=True) for v in (x, w))
    c, d = (torch.tensor(v, requires_grad=True) for v in (x, w))
    ours, theirs = F.conv_transpose2d(a, b, **how), torch.nn.functional.conv_transpose2d(c, d, **how)
    agree(ours, theirs)
    (ours * ours).sum().backward()
    (theirs * theirs).sum().backward()
    agree(a.grad, c.grad)
    agree(b.grad, d.grad)


def test_embedding():
    theirs = torch.nn.Embedding(6, 3, padding_idx=2).double()
    ours = transferred(nn.Embedding(6, 3, padding_idx=2).double(), theirs)
    both(ours, theirs, np.array([[0, 2, 5], [2, 2, 0]]))


CLASSES = np.array([0, 2, 1, 2, 2])
CLASS_WEIGHT = np.abs(numbers(3, seed=4)) + 0.1
SHARES = np.exp(numbers(5, 3, seed=5)) / np.exp(numbers(5, 3, seed=5)).sum(1, keepdims=True)
LOSSES = [
    ("CrossEntropyLoss", {}, CLASSES), ("CrossEntropyLoss", dict(label_smoothing=0.2), CLASSES),
    ("CrossEntropyLoss", dict(weight=CLASS_WEIGHT, ignore_index=2, label_smoothing=0.1), CLASSES),
    ("CrossEntropyLoss", dict(weight=CLASS_WEIGHT, label_smoothing=0.1), SHARES),
    ("NLLLoss", {}, CLASSES), ("NLLLoss", dict(weight=CLASS_WEIGHT, ignore_index=0), CLASSES),
    ("MSELoss", {}, SHARES), ("L1Loss", {}, SHARES),
    ("BCELoss", {}, SHARES), ("BCELoss", dict(weight=CLASS_WEIGHT), SHARES),
    ("BCEWithLogitsLoss", {}, SHARES),
    ("BCEWithLogitsLoss", dict(pos_weight=CLASS_WEIGHT, weight=CLASS_WEIGHT), SHARES)]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name, how, target", LOSSES)
def test_losses(name, how, target, reduction):
    x = SHARES[::-1].copy() if name == "BCELoss" else numbers(5, 3)
    made = [getattr(module, name)(reduction=reduction, **{
        k: make(v) if isinstance(v, np.ndarray) else v for k, v in how.items()})
        for module, make in ((nn, md.Tensor), (torch.nn, torch.tensor))]
    assert list(made[0].state_dict()) == list(made[1].state_dict())
    a, b = md.Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    ours, theirs = made[0](a, md.Tensor(target)), made[1](b, torch.tensor(target))
    agree(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    agree(a.grad, b.grad)


def test_the_gradient_where_all_examples_are_ignored():
    a, b = md.Tensor(numbers(2, 3), requires_grad=True), torch.tensor(numbers(2, 3), requires_grad=True)
    with np.errstate(invalid="ignore"):
        ours = F.cross_entropy(a, md.tensor([-100, -100]))
    theirs = torch.nn.functional.cross_entropy(b, torch.tensor([-100, -100]))
    ours.backward()
    theirs.backward()
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


@pytest.mark.parametrize("name", [
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "logsigmoid",
    "sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish"])
def test_activations_also_at_their_kinks(name):
    x = np.array([-1e4, -6.0, -3.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, 1e4])
    a, b = md.Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = getattr(F, name)(a)
    theirs = (getattr(torch, name) if name in ("sigmoid", "tanh") else getattr(torch.nn.functional, name))(b)
    agree(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    agree(a.grad, b.grad, rtol=1e-7)                  # PyTorch's hardsigmoid multiplies by a float32 1 / 6


@pytest.mark.parametrize("size", [dict(size=(9, 4)), dict(scale_factor=1.7), dict(size=(2, 11))])
@pytest.mark.parametrize("mode", [dict(mode="nearest"), dict(mode="bilinear"),
                                  dict(mode="bilinear", align_corners=True)])
def test_interpolation(size, mode):
    x = numbers(2, 3, 5, 7)
    agree(F.interpolate(md.Tensor(x), **size, **mode), torch.nn.functional.interpolate(torch.tensor(x), **size, **mode))


@pytest.mark.parametrize("name, args", [
    ("Linear", (3, 2)), ("Conv2d", (2, 4, (3, 2), 2, 1, 2, 2)), ("Conv2d", (1, 2, 3, 1, "same")),
    ("Embedding", (9, 2, -1)),
    ("MaxPool2d", (2,)), ("AvgPool2d", ((3, 2), 1, 1)), ("AdaptiveAvgPool2d", ((2, None),)), ("Dropout", (0.2, True)),
    ("Flatten", ()), ("Identity", ()), ("ReLU", (True,)), ("LeakyReLU", (0.2, True)), ("Tanh", ()), ("Sigmoid", ()),
    ("GELU", ("tanh",)), ("Softmax", (1,)), ("LogSoftmax", (1,)), ("CrossEntropyLoss", ()), ("NLLLoss", ()),
    ("MSELoss", ()), ("L1Loss", ()), ("BCELoss", ()), ("BCEWithLogitsLoss", ())])
def test_layers_print_alike(name, args):
    assert repr(getattr(nn, name)(*args)) == repr(getattr(torch.nn, name)(*args))


def test_containers_print_alike():
    def build(nn):
        layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU()])
        return nn.Sequential(layers, nn.ModuleDict({"a": nn.Tanh()}), nn.Sequential(nn.Sequential()))
    assert repr(build(nn)) == repr(build(torch.nn))


def test_shared_modules_are_saved_alike():
    def build(nn):
        layer = nn.Linear(2, 2)
        return nn.Sequential(layer, nn.ReLU(), layer)
    ours, theirs = build(nn), build(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    both(transferred(ours, theirs).double(), theirs.double(), numbers(3, 2))


def tensors_in(value):
    return [value] if not isinstance(value, tuple) else [part for piece in value for part in tensors_in(piece)]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("settings", [dict(), dict(bias=False), dict(num_layers=2, bidirectional=True)])
def test_recurrent_layers_take_pytorchs_weights_and_give_its_outputs_and_gradients(kind, settings):
    theirs = getattr(torch.nn, kind)(5, 4, **settings).double()
    ours = getattr(md.nn, kind)(5, 4, dtype=md.float64, **settings)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((6, 3, 5))
    inputs = torch.tensor(x, requires_grad=True), md.tensor(x, requires_grad=True)
    results = tensors_in(theirs(inputs[0])), tensors_in(ours(inputs[1]))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), atol=1e-12)
    for outputs in results:
        sum((y * y).sum() for y in outputs).backward()
    pairs = [inputs, *zip(theirs.parameters(), ours.parameters(), strict=True)]
    for a, b in pairs:
        np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), atol=1e-9)
