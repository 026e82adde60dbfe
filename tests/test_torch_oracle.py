"""PyTorch as an oracle: the same weights and inputs give the same outputs and gradients. Runs where PyTorch is."""
import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.nn import functional as F

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _their_seed():
    global torch                      # only here: a worker that gets none of these tests need not wait for its import
    torch = pytest.importorskip("torch")
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


IMAGE, ROWS, SEQUENCE = (3, 4, 7, 6), (5, 4), (3, 4, 9)
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
LAYERS += [
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2), {}, SEQUENCE), ("Conv1d", (4, 2, 3), dict(bias=False, padding="valid"), (4, 9)),
    ("Conv1d", (4, 2, 4), dict(padding="same"), SEQUENCE),
    *[("Conv1d", (4, 2, 4), dict(padding=padding, padding_mode=mode), SEQUENCE)
      for mode in ("reflect", "replicate", "circular") for padding in (2, "same", "valid")],
    *[("Conv2d", (4, 2, (3, 2), 2, (1, 2), 2), dict(padding_mode=mode), IMAGE)
      for mode in ("reflect", "replicate", "circular")],
    ("Conv2d", (4, 2, (3, 2)), dict(padding="same", padding_mode="circular", dilation=2), IMAGE),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2, False, 2), {}, SEQUENCE), ("ConvTranspose1d", (4, 2, 3), {}, (4, 9)),
    ("ConvTranspose2d", (4, 6, (3, 2), (2, 3), 1, (0, 1), 2), {}, IMAGE),
    ("MaxPool1d", (3,), dict(stride=2, padding=1, ceil_mode=True), SEQUENCE), ("MaxPool1d", (2,), {}, (4, 9)),
    ("AvgPool1d", (3, 2, 1), dict(count_include_pad=False), SEQUENCE), ("AvgPool1d", (2,), {}, (4, 9)),
    ("AvgPool2d", (3, 2), dict(divisor_override=5), IMAGE),
    ("AdaptiveAvgPool1d", (4,), {}, SEQUENCE), ("AdaptiveMaxPool1d", (4,), {}, SEQUENCE),
    ("AdaptiveMaxPool2d", ((3, None),), {}, IMAGE), ("AdaptiveMaxPool2d", (2,), {}, IMAGE[1:]),
    ("LayerNorm", (6,), {}, IMAGE), ("LayerNorm", ((7, 6), 1e-3), dict(bias=False), IMAGE),
    ("LayerNorm", ([4],), dict(elementwise_affine=False), ROWS),
    ("RMSNorm", (6,), {}, IMAGE), ("RMSNorm", ((7, 6), 1e-3, False), {}, IMAGE),
    ("GroupNorm", (2, 4), {}, IMAGE), ("GroupNorm", (4, 4, 1e-3, False), {}, ROWS + (2,)),
    ("InstanceNorm1d", (4,), {}, SEQUENCE), ("InstanceNorm1d", (4, 1e-3, 0.2, True, True), {}, SEQUENCE),
    ("InstanceNorm2d", (4,), dict(affine=True, track_running_stats=True), IMAGE),
    ("InstanceNorm2d", (4,), {}, IMAGE[1:]),
    ("Dropout1d", (0.0,), {}, SEQUENCE), ("Dropout2d", (0.0,), {}, IMAGE), ("Unflatten", (1, (2, -1)), {}, IMAGE),
    ("ZeroPad2d", (2,), {}, IMAGE), ("ZeroPad2d", ((1, -1, 0, 2),), {}, IMAGE),
    ("ReflectionPad2d", ((1, 2, 0, 3),), {}, IMAGE), ("ReplicationPad2d", (3,), {}, IMAGE[1:]),
    ("Upsample", ((9, 4),), {}, IMAGE), ("Upsample", (), dict(scale_factor=2, mode="bilinear"), IMAGE),
    ("Upsample", (), dict(scale_factor=1.5, mode="linear", align_corners=True), SEQUENCE),
    ("PixelShuffle", (2,), {}, IMAGE),
    ("PReLU", (), {}, IMAGE), ("PReLU", (4, 0.1), {}, IMAGE), ("ELU", (0.7,), {}, IMAGE), ("SELU", (), {}, IMAGE),
    ("CELU", (0.5,), {}, IMAGE), ("SiLU", (), {}, IMAGE), ("Mish", (), {}, IMAGE), ("ReLU6", (), {}, IMAGE),
    ("Hardtanh", (-0.5, 0.7), {}, IMAGE), ("Softplus", (2.0, 1.5), {}, IMAGE), ("Softsign", (), {}, IMAGE),
    ("LogSigmoid", (), {}, IMAGE), ("Hardswish", (), {}, IMAGE),
    ("GLU", (), dict(dim=1), IMAGE), ("Softmin", (), dict(dim=1), IMAGE)]


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name, args, how, shape", LAYERS)
def test_layers(name, args, how, shape, mode):
    theirs = getattr(torch.nn, name)(*args, **how).double()
    with torch.no_grad():
        for parameter in theirs.parameters():         # away from 0 and 1, where norms begin
            parameter.add_(torch.rand_like(parameter))
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


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("seed", range(12))
def test_convolutions_of_volumes_with_random_settings(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 3))
    how = dict(padding=rng.integers(0, 3, 3).tolist(), stride=rng.integers(1, 3, 3).tolist(), groups=groups,
               dilation=rng.integers(1, 3, 3).tolist())
    if seed % 3 == 0:
        how.update(stride=1, padding=["same", "valid"][seed % 2])
    arrays = [numbers(2, 2 * groups, *rng.integers(5, 8, 3)), numbers(2 * groups, 2, *rng.integers(1, 4, 3)),
              numbers(2 * groups)]
    arrays[0] = arrays[0][0] if seed % 4 == 0 else arrays[0]
    ours, theirs = ([make(x.copy(), requires_grad=True) for x in arrays] for make in (md.Tensor, torch.tensor))
    out, expected = F.conv3d(*ours, **how), torch.nn.functional.conv3d(*theirs, **how)
    agree(out, expected)
    (out * out).sum().backward()
    (expected * expected).sum().backward()
    for a, b in zip(ours, theirs):
        agree(a.grad, b.grad)


@pytest.mark.parametrize("name, args, shape", [
    ("MaxPool1d", (3, 2, 1), SEQUENCE), ("MaxPool2d", (3, 1, 1, 1), IMAGE), ("MaxPool2d", (2,), IMAGE[1:]),
    ("AdaptiveMaxPool1d", (4,), SEQUENCE), ("AdaptiveMaxPool2d", ((3, None),), IMAGE)])
def test_pools_that_say_where_the_largest_numbers_stood(name, args, shape):
    x = numbers(*shape)
    ours = getattr(nn, name)(*args, return_indices=True)(md.Tensor(x))
    theirs = getattr(torch.nn, name)(*args, return_indices=True)(torch.tensor(x))
    for a, b in zip(ours, theirs, strict=True):
        agree(a, b)


@pytest.mark.parametrize("window", [(2,), (3, 1, 1), (3, 2, 1)])
def test_nan_goes_through_a_max_pool_and_its_gradient_back(window):
    x = numbers(1, 2, 6, 6)
    x[0, 0, 1, 2] = x[0, 1, 5, 5] = np.nan
    a, b = md.Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    ours, theirs = F.max_pool2d(a, *window), torch.nn.functional.max_pool2d(b, *window)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


@pytest.mark.filterwarnings("ignore:The reduce argument")
@pytest.mark.parametrize("reduce", ["add", "multiply"])
@pytest.mark.parametrize("dim", [0, 1])
def test_scatter_where_several_numbers_meet(dim, reduce):
    x, src, index = numbers(4, 3), numbers(4, 5, seed=1), np.random.default_rng(2).integers(0, 3, (3, 3))
    agree(md.scatter(md.Tensor(x), dim, md.Tensor(index), md.Tensor(src), reduce=reduce),
          torch.scatter(torch.tensor(x), dim, torch.tensor(index), torch.tensor(src), reduce=reduce))


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


SIGNS = np.array([1, -1, -1, 1, 1])
TRIPLE, COUNTS = [numbers(5, 3, seed=k) for k in range(3)], np.arange(15.0).reshape(5, 3)
MORE_LOSSES = [                                       # the inputs, of which the first `leaves` get gradients
    ("HuberLoss", ("sum", 0.7), {}, TRIPLE[:2], 2), ("SmoothL1Loss", (), dict(beta=0.7), TRIPLE[:2], 2),
    ("KLDivLoss", (), {}, [TRIPLE[0], SHARES], 1),
    ("KLDivLoss", (), dict(reduction="batchmean"), [TRIPLE[0], SHARES], 1),
    ("KLDivLoss", (), dict(log_target=True), [TRIPLE[0], np.log(SHARES)], 2),
    ("CosineEmbeddingLoss", (0.2,), dict(reduction="sum"), [*TRIPLE[:2], SIGNS], 2),
    ("MarginRankingLoss", (0.3,), dict(reduction="none"), [TRIPLE[0][:, 0], TRIPLE[1][:, 0], SIGNS], 2),
    ("HingeEmbeddingLoss", (0.8,), {}, [TRIPLE[0], np.sign(TRIPLE[1])], 1),
    ("SoftMarginLoss", (), dict(reduction="sum"), [TRIPLE[0], np.sign(TRIPLE[1])], 1),
    ("TripletMarginLoss", (), {}, TRIPLE, 3), ("TripletMarginLoss", (0.5, 3.0, 1e-4, True), {}, TRIPLE, 3),
    ("PoissonNLLLoss", (), {}, [TRIPLE[0], COUNTS], 1),
    ("PoissonNLLLoss", (False, True), dict(eps=1e-3), [SHARES, COUNTS], 1),
    ("GaussianNLLLoss", (), {}, [*TRIPLE[:2], SHARES], 1),
    ("GaussianNLLLoss", (), dict(full=True, eps=0.2), [*TRIPLE[:2], SHARES], 1)]


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name, args, how, inputs, leaves", MORE_LOSSES)
def test_losses_of_all_kinds_of_inputs(name, args, how, inputs, leaves):
    ours, theirs = (getattr(module, name)(*args, **how) for module in (nn, torch.nn))
    a, b = ([make(x.copy()) for x in inputs] for make in (md.Tensor, torch.tensor))
    for x in a[:leaves] + b[:leaves]:
        x.requires_grad = True
    found, expected = ours(*a), theirs(*b)
    agree(found, expected)
    found.sum().backward()
    expected.sum().backward()
    for x, y in zip(a[:leaves], b[:leaves]):
        agree(x.grad, y.grad)


@pytest.mark.parametrize("seed", range(30))
def test_ctc_loss(seed):
    rng = np.random.default_rng(seed)
    (steps, count, classes), most = rng.integers((1, 1, 2), (9, 4, 5)), int(rng.integers(0, 5))
    blank = int(rng.integers(classes))
    labels = rng.choice([k for k in range(classes) if k != blank], (count, most))
    lengths, counts = rng.integers(0, steps + 1, count), rng.integers(0, most + 1, count)
    how = dict(reduction=["mean", "sum", "none"][seed % 3], zero_infinity=True)
    logits = numbers(int(steps), int(count), int(classes), seed=seed)
    a, b = md.Tensor(logits.copy(), requires_grad=True), torch.tensor(logits, requires_grad=True)
    ours = nn.CTCLoss(blank, **how)(F.log_softmax(a, 2), md.Tensor(labels), tuple(lengths.tolist()), md.Tensor(counts))
    theirs = torch.nn.CTCLoss(blank, **how)(torch.log_softmax(b, 2), *map(torch.tensor, (labels, lengths, counts)))
    agree(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    agree(a.grad, b.grad)


def test_ctc_loss_of_labels_in_a_row_of_a_single_sequence_and_without_a_path():
    a, b = (make(numbers(5, 2, 4)) for make in (md.Tensor, torch.tensor))
    found = []
    for make, x, loss in ((md.Tensor, F.log_softmax(a, 2), F.ctc_loss),
                          (torch.tensor, torch.log_softmax(b, 2), torch.nn.functional.ctc_loss)):
        found.append([*loss(x, make(np.array([1, 2, 2, 3])), (5, 4), (1, 3), reduction="none").numpy(),
                      loss(x[:, 0], make(np.array([1, 2])), *(make(np.array(n)) for n in (5, 2))).numpy(),
                      *loss(x, make(np.array([[1, 1], [2, 3]])), (2, 5), (2, 2), reduction="none").numpy()])
    np.testing.assert_allclose(*found, rtol=1e-9)
    assert np.isinf(found[0]).tolist() == [False, False, False, True, False]


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
    ("MSELoss", ()), ("L1Loss", ()), ("BCELoss", ()), ("BCEWithLogitsLoss", ()), ("Conv1d", (2, 4, 3, 2, 1, 2, 2)),
    ("Conv1d", (2, 4, 3, 1, "same", 1, 1, False, "circular")), ("ConvTranspose1d", (2, 4, 3)),
    ("ConvTranspose2d", (2, 4, (3, 2), 2, 1, (0, 1), 2, False, 3)), ("MaxPool1d", (3, 2)),
    ("MaxPool2d", (2, 2, 0, 1, True, True)), ("AvgPool1d", (3, 2, 1)), ("AdaptiveAvgPool1d", (3,)),
    ("AdaptiveMaxPool1d", (3,)), ("AdaptiveMaxPool2d", ((2, None), True)), ("LayerNorm", (3,)),
    ("LayerNorm", ([3, 4], 1e-3, True, False)), ("RMSNorm", ((3, 4),)), ("Dropout1d", (0.2,)),
    ("Dropout2d", (0.3, True)),
    ("Unflatten", (1, (2, 2))), ("ZeroPad2d", (1,)), ("ReflectionPad2d", ((1, 2, 3, 4),)), ("ReplicationPad2d", (2,)),
    ("Upsample", ((9, 4),)), ("Upsample", (None, 2, "bilinear")), ("PixelShuffle", (3,)), ("PReLU", (3,)),
    ("ELU", (0.5, True)), ("SELU", ()), ("CELU", ()), ("SiLU", ()), ("Mish", (True,)), ("ReLU6", (True,)),
    ("Hardtanh", (-2.0, 2.0)), ("Softplus", (2.0,)), ("Softsign", ()), ("LogSigmoid", ()), ("Hardsigmoid", ()),
    ("Hardswish", ()), ("GLU", ()), ("Softmin", (1,)), ("HuberLoss", ()), ("TripletMarginLoss", ()), ("CTCLoss", ())])
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


# ---------------------------------------------------------------------- attention
def of_both(value):
    """An array as a leaf of ours and one of theirs; other settings as they are."""
    if not isinstance(value, np.ndarray):
        return value, value
    learned = value.dtype.kind == "f" and bool(np.isfinite(value).all())
    return md.Tensor(value.copy(), requires_grad=learned), torch.tensor(value, requires_grad=learned)


def agree_on(ours, theirs, inputs, settings, rtol=1e-9):
    """Outputs and gradients of two functions or modules, for all inputs, masks and parameters."""
    pairs, named = [of_both(x) for x in inputs], {name: of_both(value) for name, value in settings.items()}
    outputs = [tensors_in(f(*(pair[k] for pair in pairs), **{name: pair[k] for name, pair in named.items()}))
               for k, f in enumerate((ours, theirs))]
    leaves = [pair for pair in [*pairs, *named.values()] if isinstance(pair[0], md.Tensor) and pair[0].requires_grad]
    if isinstance(ours, nn.Module):
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
        leaves += zip(ours.parameters(), theirs.parameters())
    losses = []
    for parts in zip(*outputs, strict=True):
        if parts[0] is None and parts[1] is None:
            continue
        agree(*parts, rtol)
        weights = numbers(*parts[0].shape, seed=9).astype(parts[0].dtype)
        losses.append(((parts[0] * md.Tensor(weights)).sum(), (parts[1] * torch.tensor(weights)).sum()))
    for pair in leaves:
        pair[0].grad = pair[1].grad = None
    for total in map(sum, zip(*losses)):
        total.backward()
    for a, b in leaves:
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            agree(a.grad, b.grad, rtol)


def lively(theirs):
    """Their module in float64, with norms and biases away from 1 and 0."""
    with torch.no_grad():
        for p in theirs.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn_like(p)
    return theirs.double()


def flags(*shape, seed=0):
    """Truths, with one False in each row."""
    mask = np.random.default_rng(seed).random(shape) < 0.5
    mask[..., 0] = False
    return mask


def as_scores(mask):
    """The mask that is added: -inf where True."""
    return np.where(mask, -np.inf, 0.0)


BLIND = ~flags(2, 1, 4, 5)
BLIND[1, 0, 2] = False
SDPA = [dict(), dict(is_causal=True), dict(scale=0.4), dict(attn_mask=~flags(4, 5)), dict(attn_mask=~flags(2, 3, 4, 5)),
        dict(attn_mask=numbers(4, 5)), dict(attn_mask=numbers(2, 1, 4, 5), scale=-1.0), dict(attn_mask=BLIND),
        dict(attn_mask=as_scores(~BLIND))]


@pytest.mark.parametrize("settings", SDPA)
def test_scaled_dot_product_attention_also_of_queries_that_may_look_nowhere(settings):
    inputs = numbers(2, 3, 4, 6), numbers(2, 3, 5, 6, seed=1), numbers(2, 3, 5, 2, seed=2)
    agree_on(F.scaled_dot_product_attention, torch.nn.functional.scaled_dot_product_attention, inputs, settings)


MASKS = dict(
    none={}, bools=dict(attn_mask=flags(4, 5)), floats=dict(attn_mask=numbers(4, 5)),
    each_head=dict(attn_mask=flags(6, 4, 5)), each_head_floats=dict(attn_mask=numbers(6, 4, 5)),
    padding=dict(key_padding_mask=flags(3, 5)), padding_floats=dict(key_padding_mask=numbers(3, 5)),
    both=dict(attn_mask=flags(4, 5), key_padding_mask=flags(3, 5, seed=1)),
    both_floats=dict(attn_mask=as_scores(flags(6, 4, 5)), key_padding_mask=numbers(3, 5)),
    causal=dict(attn_mask=~np.tri(4, 5, dtype=bool), is_causal=True))


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("how", [
    dict(), dict(bias=False), dict(kdim=3, vdim=7), dict(kdim=3, bias=False), dict(batch_first=True)])
def test_multihead_attention_with_each_kind_of_mask(how, masks, mode):
    theirs = lively(torch.nn.MultiheadAttention(6, 2, **how))
    ours = transferred(nn.MultiheadAttention(6, 2, **how).double(), theirs)
    inputs = numbers(4, 3, 6), numbers(5, 3, how.get("kdim", 6), seed=1), numbers(5, 3, how.get("vdim", 6), seed=2)
    if how.get("batch_first"):
        inputs = [x.swapaxes(0, 1).copy() for x in inputs]
    for asked in (dict(), dict(need_weights=False), dict(average_attn_weights=False)):
        agree_on(ours.train(mode), theirs.train(mode), inputs, MASKS[masks] | asked)


def test_multihead_attention_of_one_sequence_and_in_float32():
    theirs = lively(torch.nn.MultiheadAttention(6, 3))
    ours = transferred(nn.MultiheadAttention(6, 3).double(), theirs)
    inputs = numbers(4, 6), numbers(5, 6, seed=1), numbers(5, 6, seed=2)
    for masks in (dict(attn_mask=flags(4, 5)), dict(attn_mask=flags(3, 4, 5)), dict(key_padding_mask=flags(5))):
        for asked in (dict(), dict(average_attn_weights=False)):
            agree_on(ours, theirs, inputs, masks | asked)
    agree_on(ours.float(), theirs.float(), [x.astype(np.float32) for x in inputs], {}, rtol=1e-5)


CAUSAL = ~np.tri(5, dtype=bool)
LAYER = [dict(), dict(norm_first=True, activation="gelu"), dict(activation="gelu", batch_first=True),
         dict(norm_first=True, bias=False), dict(batch_first=True, layer_norm_eps=1e-3)]


def stacks(kind, how, layers, norm):
    """Our encoder or decoder and theirs, with the same weights; a single layer where `layers` is 0."""
    made = []
    for library in (torch.nn, nn):
        model = getattr(library, f"Transformer{kind}Layer")(6, 2, 8, 0.0, **how)
        if layers:
            extra = dict(enable_nested_tensor=False) if kind == "Encoder" else {}
            last = library.LayerNorm(6) if norm else None
            model = getattr(library, f"Transformer{kind}")(model, layers, last, **extra)
        made.append(model)
    theirs = lively(made[0])
    return transferred(made[1].double(), theirs), theirs


@pytest.mark.parametrize(("kind", "how", "layers", "norm", "mode"), [
    pytest.param(*case, id="-".join(map(str, (case[0], k, *case[2:]))),
                 marks=[] if (n + layers // 2 + norm) % 3 == 0 or not layers and case[-1] else [pytest.mark.more])
    for k, how in enumerate(LAYER) for layers, norm in [(0, False), (2, False), (2, True)]
    for n, (kind, mode) in enumerate([("Encoder", True), ("Decoder", False), ("Decoder", True), ("Encoder", False)], k)
    for case in [(kind, how, layers, norm, mode)]])
def test_transformer_layers_and_stacks(kind, how, layers, norm, mode):
    ours, theirs = (model.train(mode) for model in stacks(kind, how, layers, norm))
    x, memory = numbers(5, 3, 6), numbers(4, 3, 6, seed=1)
    if how.get("batch_first"):
        x, memory = x.swapaxes(0, 1).copy(), memory.swapaxes(0, 1).copy()
    inputs = [x] if kind == "Encoder" else [x, memory]
    first, padding = ("src_mask" if not layers else "mask", "src_key_padding_mask") if kind == "Encoder" else (
        "tgt_mask", "tgt_key_padding_mask")
    masks = [{}, {first: CAUSAL, padding: flags(3, 5)}, {first: numbers(5, 5)},
             {first: CAUSAL, "is_causal" if kind == "Encoder" else "tgt_is_causal": True}]
    if kind == "Decoder":
        masks.append(dict(memory_mask=flags(5, 4), memory_key_padding_mask=flags(3, 4, seed=1)))
    for settings in masks:
        agree_on(ours, theirs, inputs, settings)
        if settings.get(first, CAUSAL).dtype.kind == "f":
            continue                                  # PyTorch's other path, below, takes a float mask for a bool one
        tensors = [[of_both(value)[k].detach() for value in inputs] for k in (0, 1)]
        plain = [{n: of_both(v)[k] for n, v in settings.items()} for k in (0, 1)]
        with torch.no_grad(), md.no_grad():           # where nobody asks for a gradient, PyTorch has another path
            agree(ours(*tensors[0], **plain[0]), theirs(*tensors[1], **plain[1]))


@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_transformers_in_float32(kind):
    ours, theirs = stacks(kind, {}, 2, True)
    inputs = [numbers(5, 3, 6, dtype=np.float32), numbers(4, 3, 6, seed=1, dtype=np.float32)][:1 + (kind == "Decoder")]
    agree_on(ours.float(), theirs.float(), inputs, {}, rtol=1e-5)


def test_first_values_of_attention_are_drawn_alike():
    for how in (dict(), dict(kdim=80, vdim=20)):
        theirs, ours = torch.nn.MultiheadAttention(120, 4, **how), nn.MultiheadAttention(120, 4, **how)
        for name, value in theirs.state_dict().items():
            here, there = ours.state_dict()[name].numpy(), value.numpy()
            np.testing.assert_allclose(np.abs(here).max(), np.abs(there).max(), rtol=0.01, err_msg=name)
            np.testing.assert_allclose(here.std(), there.std(), rtol=0.05, err_msg=name)
