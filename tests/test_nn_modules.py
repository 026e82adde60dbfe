"""Modules: what they hold and in which order, what they save, and how they print."""
import copy
import inspect
import itertools
from collections import OrderedDict

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim
from minidl.errors import ArgumentError, DTypeError, InplaceError, ShapeError
from minidl.nn import functional as F


class Block(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(self, inside, out):
        super().__init__()
        self.conv = nn.Conv2d(inside, out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    """A convolutional net with a parameter of its own, defined last."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(1, 2), nn.MaxPool2d(2), Block(2, 3))
        self.head = nn.Linear(3, 4)
        self.scale = nn.Parameter(md.ones(1))

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3))) * self.scale


def same(a, b):
    """Equal state dicts, bit by bit and in order."""
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)


def frozen(state):
    """A copy of a state dict that shares no memory."""
    return OrderedDict((name, md.tensor(value)) for name, value in state.items())


# ---------------------------------------------------------------------- what a module holds
def test_names_and_order_are_pytorchs():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [
        "scale", "blocks.0.conv.weight", "blocks.0.norm.weight", "blocks.0.norm.bias",
        "blocks.2.conv.weight", "blocks.2.norm.weight", "blocks.2.norm.bias", "head.weight", "head.bias"]
    assert list(net.state_dict()) == [
        "scale", "blocks.0.conv.weight", "blocks.0.norm.weight", "blocks.0.norm.bias", "blocks.0.norm.running_mean",
        "blocks.0.norm.running_var", "blocks.0.norm.num_batches_tracked", "blocks.2.conv.weight",
        "blocks.2.norm.weight", "blocks.2.norm.bias", "blocks.2.norm.running_mean", "blocks.2.norm.running_var",
        "blocks.2.norm.num_batches_tracked", "head.weight", "head.bias"]
    assert [name for name, _ in net.named_modules()] == [
        "", "blocks", "blocks.0", "blocks.0.conv", "blocks.0.norm", "blocks.1", "blocks.2", "blocks.2.conv",
        "blocks.2.norm", "head"]
    assert [name for name, _ in net.named_children()] == ["blocks", "head"]
    assert [name for name, _ in net.named_buffers()][:2] == [
        "blocks.0.norm.running_mean", "blocks.0.norm.running_var"]
    assert len(list(net.parameters())) == 9 and len(list(net.buffers())) == 6 and len(list(net.modules())) == 10


def test_names_can_have_a_prefix():
    assert [name for name, _ in nn.Linear(1, 1).named_parameters("model")] == ["model.weight", "model.bias"]


def test_a_table_has_no_gradient_for_its_padding():
    table = nn.Embedding(4, 2, padding_idx=-1)
    table(md.tensor([[0, 3], [3, 1]])).sum().backward()
    assert table.weight.grad.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]] and not table.weight[3].any()


def test_a_dropout_of_everything_leaves_nothing():
    layer = nn.Dropout(1.0)
    assert not layer(md.ones(3)).any() and layer.eval()(md.ones(3)).tolist() == [1, 1, 1]


def test_backward_notices_that_running_statistics_have_moved_since():
    norm, w = nn.BatchNorm1d(2), md.ones(2, requires_grad=True)
    y = (w * norm.running_mean).sum()
    norm(md.tensor([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(InplaceError, match="batch_norm"):
        y.backward()


def test_shared_parameters_and_modules_count_once_and_are_saved_under_each_name():
    net = nn.Module()
    net.first = nn.Linear(2, 2)
    net.second = nn.Linear(2, 2)
    net.second.weight = net.first.weight
    net.third = net.first
    assert [name for name, _ in net.named_parameters()] == ["first.weight", "first.bias", "second.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "second"]
    assert list(net.state_dict()) == [f"{m}.{p}" for m in ("first", "second", "third") for p in ("weight", "bias")]
    before = frozen(net.state_dict())
    net.load_state_dict(before)
    assert same(net.state_dict(), before)


def test_what_is_no_parameter():
    net = nn.Module()
    net.plain = md.ones(2, requires_grad=True)
    net.listed = [nn.Parameter(md.ones(1)), nn.Linear(1, 1)]
    net.empty = None
    assert list(net.parameters()) == [] and list(net.state_dict()) == [] and net.children() == []


def test_a_parameter_is_a_leaf_that_shares_memory():
    data = md.ones(2)
    p = nn.Parameter(data)
    assert p.requires_grad and p.is_leaf and p.array is data.array
    assert repr(p) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert type(p + 1) is md.Tensor and not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter(p * 2).is_leaf
    with pytest.raises(DTypeError):
        nn.Parameter(md.tensor([1, 2]))


def test_buffers_are_saved_and_not_learned():
    net = nn.Module()
    net.register_buffer("count", md.tensor(3))
    net.register_buffer("nothing", None)
    net.register_parameter("weight", nn.Parameter(md.ones(1)))
    net.register_parameter("bias", None)
    assert list(net.state_dict()) == ["weight", "count"]
    net.count = md.tensor(5)                          # still a buffer
    assert dict(net.named_buffers())["count"].item() == 5
    assert [name for name, _ in net.named_parameters()] == ["weight"]


def test_losses_keep_their_weights_as_buffers():
    assert list(nn.CrossEntropyLoss(weight=md.ones(3)).state_dict()) == ["weight"]
    assert list(nn.MSELoss().state_dict()) == []


def test_a_module_without_super_init_works():
    class Lazy(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x)

    net = Lazy()
    assert net(md.ones(1, 2)).shape == (1, 3) and net.training and not net.eval().layer.training
    assert list(net.state_dict()) == ["layer.weight", "layer.bias"]
    net.register_buffer("seen", md.zeros(1))
    assert "seen" in net.state_dict() and "seen" not in Lazy().state_dict()


def test_a_module_without_forward_says_so():
    class Forgot(nn.Module):
        pass
    with pytest.raises(NotImplementedError, match="Forgot has no forward"):
        Forgot()(1)


# ---------------------------------------------------------------------- containers
def test_sequential_runs_counts_slices_and_grows():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = md.randn(4, 2)
    assert bool((net(x) == net[2](net[1](net[0](x)))).all())
    assert len(net) == 3 and list(net) == [net[0], net[1], net[2]] and net[-1] is net[2]
    assert list(net[1:].state_dict()) == ["2.weight", "2.bias"] and net[1:][0] is net[1]
    net.append(nn.Sigmoid())
    assert len(net) == 4 and isinstance(net[3], nn.Sigmoid)
    assert [f"{name} {type(m).__name__}" for name, m in net[1:].append(nn.Tanh()).named_children()] == [
        "1 ReLU", "2 Linear", "3 Sigmoid", "4 Tanh"]
    assert len(nn.Sequential()) == 0 and nn.Sequential()(x) is x
    with pytest.raises(IndexError):
        net[9]


def test_sequential_of_an_ordered_dict_uses_its_names():
    net = nn.Sequential(OrderedDict([("one", nn.Linear(1, 2)), ("two", nn.Linear(2, 1))]))
    assert list(net.state_dict()) == ["one.weight", "one.bias", "two.weight", "two.bias"]
    assert net.one is net[0] and net(md.ones(1, 1)).shape == (1, 1)


def test_one_module_may_stand_in_two_places():
    layer = nn.Linear(2, 2, bias=False)
    net = nn.Sequential(layer, layer)
    assert len(net) == 2 and len(list(net.parameters())) == 1
    x = md.randn(1, 2)
    assert bool((net(x) == layer(layer(x))).all())


def test_module_list_and_module_dict():
    layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    assert list(layers.state_dict())[::2] == ["0.weight", "1.weight", "2.weight"]
    assert layers[-1] is list(layers)[2] and list(layers[1:].state_dict())[0] == "0.weight"
    assert len(layers.append(nn.ReLU())) == 4
    with pytest.raises(NotImplementedError, match="loop over it"):
        layers(md.ones(1))
    heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
    heads["b"] = nn.ReLU()
    assert list(heads.keys()) == ["a", "b"] and "b" in heads and len(heads) == 2
    assert heads["a"] is heads.values()[0] and heads.items()[1] == ("b", heads["b"])
    assert list(heads.state_dict()) == ["a.weight", "a.bias"]


@pytest.mark.parametrize("wrong, name", [(nn.ReLU, "ReLU"), (F.relu, "function"), (None, "NoneType")])
@pytest.mark.parametrize("container", [
    lambda m: nn.Sequential(nn.Flatten(), m), lambda m: nn.Sequential().append(m), lambda m: nn.ModuleList([m]),
    lambda m: nn.ModuleDict({"a": m}), lambda m: nn.Sequential(OrderedDict(a=m))])
def test_what_is_no_module_gets_a_hint(container, wrong, name):
    with pytest.raises(ArgumentError, match=rf"expected a module, got {name}.*\n.*nn.ReLU\(\) with brackets"):
        container(wrong)


@pytest.mark.parametrize("name", ["forward", "train", "a.b", ""])
def test_names_that_would_break_a_container_are_refused(name):
    for container in (nn.Sequential, nn.ModuleDict):
        with pytest.raises(ArgumentError, match="cannot be called"):
            container(OrderedDict({name: nn.ReLU()}))
    for method in ("keys", "items", "values"):
        with pytest.raises(ArgumentError, match="cannot be called"):
            nn.ModuleDict({method: nn.ReLU()})


# ---------------------------------------------------------------------- modes, freezing, walking
def test_train_and_eval_reach_all_modules():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    net.blocks[0].eval()
    assert net.training and not net.blocks[0].norm.training


def test_dropout_and_batch_norm_follow_the_mode():
    x = md.randn(8, 3)
    drop, norm = nn.Dropout(0.5), nn.BatchNorm1d(3)
    assert bool((drop(x) == 0).any()) and bool((drop.eval()(x) == x).all())
    norm(x)
    assert norm.num_batches_tracked.item() == 1
    before = frozen(norm.state_dict())
    norm.eval()(x)
    assert same(norm.state_dict(), before)
    first, second = (nn.Dropout(generator=md.Generator(5))(x) for _ in range(2))
    assert bool((first == second).all())


def test_batch_norm_without_momentum_averages_all_batches():
    norm, batches = nn.BatchNorm1d(2, momentum=None), [md.randn(4, 2) for _ in range(3)]
    for x in batches:
        norm(x)
    means = np.mean([x.numpy().mean(0) for x in batches], 0)
    np.testing.assert_allclose(norm.running_mean.numpy(), means, rtol=1e-5)


def test_batch_norm_without_statistics_uses_the_batch_also_in_evaluation():
    norm, x = nn.BatchNorm1d(2, affine=False, track_running_stats=False).eval(), md.randn(4, 2)
    assert list(norm.state_dict()) == []
    np.testing.assert_allclose(norm(x).numpy().mean(0), [0, 0], atol=1e-6)


def test_freezing():
    net = Net()
    net.blocks.requires_grad_(False)
    net(md.randn(2, 1, 4, 4)).sum().backward()
    have = [name for name, p in net.named_parameters() if p.grad is not None]
    assert have == ["scale", "head.weight", "head.bias"]
    assert net.requires_grad_() is net and all(p.requires_grad for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_goes_from_the_inside_out():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(seen.append) is net
    assert seen == [net[0], net[1][0], net[1], net]


def test_hooks_see_and_change_what_comes_out():
    layer, seen = nn.Linear(2, 2), []
    x = md.ones(1, 2)
    plain = layer(x)
    remove = layer.register_forward_hook(lambda m, inputs, out: seen.append((m, inputs, out)))
    double = layer.register_forward_hook(lambda m, inputs, out: out * 2)
    assert bool((layer(x) == plain * 2).all())
    assert seen[0][0] is layer and seen[0][1] == (x,) and bool((seen[0][2] == plain).all())
    remove()
    assert bool((layer(x) == plain * 2).all())
    double()
    assert bool((layer(x) == plain).all()) and len(seen) == 1
    assert nn.Linear(2, 2)._hooks == ()


# ---------------------------------------------------------------------- dtypes and devices
def test_to_float64_and_back_keeps_the_parameters_of_the_optimiser():
    net = Net()
    parameters, before = list(net.parameters()), frozen(net.state_dict())
    optimiser = optim.SGD(net.parameters(), lr=0.1)
    net(md.randn(2, 1, 4, 4)).sum().backward()
    assert net.double() is net
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {md.float64}
    assert net.blocks[0].norm.num_batches_tracked.dtype == md.int64
    assert net.blocks[0].norm.running_mean.dtype == md.float64
    assert all(a is b for a, b in zip(net.parameters(), parameters))
    net.float().load_state_dict(before)
    assert same(net.state_dict(), before)
    optimiser.zero_grad()
    net(md.randn(2, 1, 4, 4)).sum().backward()
    optimiser.step()
    assert net.head.bias.tolist() != before["head.bias"].tolist()


def test_whole_numbers_move_with_the_rest_but_stay_whole(fake):
    norm = nn.BatchNorm1d(2)
    norm.num_batches_tracked.array += 3000
    norm.to("fake", dtype=md.float16)
    assert {str(v.device) for v in norm.state_dict().values()} == {"fake"}
    assert norm.weight.dtype == md.float16 and norm.num_batches_tracked.dtype == md.int64
    assert norm.to("cpu").num_batches_tracked.item() == 3000


# ---------------------------------------------------------------------- saving
def trained():
    """A net whose numbers are all away from their start."""
    net = Net()
    net(md.randn(4, 1, 6, 6)).sum().backward()
    for p in net.parameters():
        p.array += np.float32(0.1) * p.grad.array
    return net


def test_a_state_dict_comes_back_bit_by_bit():
    net, other, x = trained(), Net(), md.randn(2, 1, 6, 6)
    saved = frozen(net.state_dict())
    result = other.load_state_dict(saved)
    assert result.missing_keys == [] and result.unexpected_keys == []
    assert same(other.state_dict(), saved) and saved["blocks.0.norm.num_batches_tracked"].item() == 1
    assert bool((net.eval()(x) == other.eval()(x)).all())
    other.head.weight.array += 1
    assert same(net.state_dict(), saved)              # copied, not shared


def test_the_state_dict_shares_memory_with_the_module():
    layer = nn.Linear(1, 1)
    layer.state_dict()["weight"].fill_(7.0)
    assert layer.weight.item() == 7.0


def test_arrays_load_too_and_take_on_the_dtype():
    net = Net()
    arrays = {name: value.numpy().astype(np.float64) for name, value in trained().state_dict().items()}
    net.load_state_dict(arrays)
    assert net.head.weight.dtype == md.float32 and net.blocks[0].norm.num_batches_tracked.dtype == md.int64
    np.testing.assert_array_equal(net.head.weight.detach().numpy(), arrays["head.weight"].astype(np.float32))


def without(state, name):
    """A state dict with a name missing."""
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize("change, kind, words", [
    (lambda s: without(s, "head.bias"), ArgumentError, r"do not match those of Net[\s\S]*missing +head.bias\n"),
    (lambda s: {**s, "tail.bias": md.ones(1)}, ArgumentError, r"unexpected +tail.bias\n"),
    (lambda s: {**s, "head.bias": md.ones(5)}, ShapeError, r"head.bias has another shape[\s\S]*\(5,\)[\s\S]*\(4,\)"),
    (lambda s: {**s, "scale": md.ones(())}, ShapeError, "scale has another shape")])
def test_a_state_dict_that_does_not_fit_changes_nothing(change, kind, words):
    net, state = Net(), frozen(trained().state_dict())
    before = frozen(net.state_dict())
    with pytest.raises(kind, match=words):
        net.load_state_dict(change(state))
    assert same(net.state_dict(), before)


def test_what_matches_loads_without_strict():
    net, state = Net(), frozen(trained().state_dict())
    state["extra"] = state.pop("scale")
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale"] and result.unexpected_keys == ["extra"]
    assert net.scale.item() == 1.0 and net.head.bias.tolist() == state["head.bias"].tolist()
    with pytest.raises(ShapeError):
        net.load_state_dict({"scale": md.ones(3)}, strict=False)


def test_loading_between_forward_and_backward_is_noticed():
    layer = nn.Linear(1, 1)
    loss = (layer(md.ones(1, 1).requires_grad_()) ** 2).sum()
    layer.load_state_dict(frozen(layer.state_dict()))
    with pytest.raises(md.errors.InplaceError, match="load_state_dict"):
        loss.backward()


def test_a_deep_copy_is_its_own_model():
    net = trained()
    net.tied = net.scale
    other = copy.deepcopy(net)
    assert same(other.state_dict(), net.state_dict()) and other.tied is other.scale is not net.scale
    assert [p.grad.tolist() for p in other.parameters()] == [p.grad.tolist() for p in net.parameters()]
    assert all(isinstance(p, nn.Parameter) for p in other.parameters())
    before = frozen(net.state_dict())
    other(md.randn(2, 1, 4, 4))
    for p in other.parameters():
        p.array += 1
    assert same(net.state_dict(), before)


# ---------------------------------------------------------------------- printing
@pytest.mark.parametrize("layer, text", [
    (lambda: nn.Linear(3, 2), "Linear(in_features=3, out_features=2, bias=True)"),
    (lambda: nn.Linear(3, 2, bias=False), "Linear(in_features=3, out_features=2, bias=False)"),
    (lambda: nn.Conv2d(1, 2, 3), "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))"),
    (lambda: nn.Conv2d(2, 4, (3, 2), 2, 1, 2, 2, bias=False),
     "Conv2d(2, 4, kernel_size=(3, 2), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False)"),
    (lambda: nn.Conv2d(1, 2, 3, padding="same"), "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=same)"),
    (lambda: nn.Embedding(10, 3), "Embedding(10, 3)"),
    (lambda: nn.Embedding(10, 3, padding_idx=-1), "Embedding(10, 3, padding_idx=9)"),
    (lambda: nn.BatchNorm1d(4), "BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"),
    (lambda: nn.BatchNorm2d(5, 1e-3, None, False, False),
     "BatchNorm2d(5, eps=0.001, momentum=None, affine=False, track_running_stats=False)"),
    (lambda: nn.MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
    (lambda: nn.MaxPool2d((3, 2), 2, 1, 1, ceil_mode=True),
     "MaxPool2d(kernel_size=(3, 2), stride=2, padding=1, dilation=1, ceil_mode=True)"),
    (lambda: nn.AvgPool2d((3, 2), 1, 1), "AvgPool2d(kernel_size=(3, 2), stride=1, padding=1)"),
    (lambda: nn.AdaptiveAvgPool2d(1), "AdaptiveAvgPool2d(output_size=1)"),
    (lambda: nn.AdaptiveAvgPool2d((2, None)), "AdaptiveAvgPool2d(output_size=(2, None))"),
    (lambda: nn.Dropout(), "Dropout(p=0.5, inplace=False)"),
    (lambda: nn.Dropout(0.2, True), "Dropout(p=0.2, inplace=True)"),
    (lambda: nn.Flatten(), "Flatten(start_dim=1, end_dim=-1)"),
    (lambda: nn.Identity(3, unused=4), "Identity()"),
    (lambda: nn.ReLU(), "ReLU()"),
    (lambda: nn.ReLU(True), "ReLU(inplace=True)"),
    (lambda: nn.ReLU(inplace=True), "ReLU(inplace=True)"),
    (lambda: nn.LeakyReLU(), "LeakyReLU(negative_slope=0.01)"),
    (lambda: nn.LeakyReLU(0.2, True), "LeakyReLU(negative_slope=0.2, inplace=True)"),
    (lambda: nn.Tanh(), "Tanh()"),
    (lambda: nn.Sigmoid(), "Sigmoid()"),
    (lambda: nn.GELU(), "GELU(approximate='none')"),
    (lambda: nn.GELU(approximate="tanh"), "GELU(approximate='tanh')"),
    (lambda: nn.Softmax(1), "Softmax(dim=1)"),
    (lambda: nn.LogSoftmax(dim=-1), "LogSoftmax(dim=-1)"),
    (lambda: nn.CrossEntropyLoss(weight=md.ones(2)), "CrossEntropyLoss()"),
    (lambda: nn.NLLLoss(), "NLLLoss()"),
    (lambda: nn.MSELoss(reduction="sum"), "MSELoss()"),
    (lambda: nn.L1Loss(), "L1Loss()"),
    (lambda: nn.BCELoss(), "BCELoss()"),
    (lambda: nn.BCEWithLogitsLoss(), "BCEWithLogitsLoss()"),
    (lambda: nn.Conv1d(1, 2, 3), "Conv1d(1, 2, kernel_size=(3,), stride=(1,))"),
    (lambda: nn.Conv1d(2, 4, 3, 2, 1, 2, 2, False, "reflect"), "Conv1d(2, 4, kernel_size=(3,), stride=(2,), "
     "padding=(1,), dilation=(2,), groups=2, bias=False, padding_mode=reflect)"),
    (lambda: nn.ConvTranspose1d(2, 4, 3), "ConvTranspose1d(2, 4, kernel_size=(3,), stride=(1,))"),
    (lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, 2, False, 2), "ConvTranspose2d(2, 4, kernel_size=(3, 3), "
     "stride=(2, 2), padding=(1, 1), dilation=(2, 2), output_padding=(1, 1), groups=2, bias=False)"),
    (lambda: nn.MaxPool1d(3, 2), "MaxPool1d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False)"),
    (lambda: nn.AvgPool1d(3, 2, 1), "AvgPool1d(kernel_size=(3,), stride=(2,), padding=(1,))"),
    (lambda: nn.AdaptiveMaxPool2d((2, None), True), "AdaptiveMaxPool2d(output_size=(2, None))"),
    (lambda: nn.LayerNorm(3), "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (lambda: nn.LayerNorm([3, 4], bias=False), "LayerNorm((3, 4), eps=1e-05, elementwise_affine=True, bias=False)"),
    (lambda: nn.RMSNorm(3), "RMSNorm((3,), eps=None, elementwise_affine=True)"),
    (lambda: nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True)"),
    (lambda: nn.InstanceNorm2d(3),
     "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"),
    (lambda: nn.Dropout2d(0.2), "Dropout2d(p=0.2, inplace=False)"),
    (lambda: nn.Unflatten(1, (2, 2)), "Unflatten(dim=1, unflattened_size=(2, 2))"),
    (lambda: nn.ZeroPad2d(1), "ZeroPad2d((1, 1, 1, 1))"),
    (lambda: nn.ReflectionPad2d((1, 2, 3, 4)), "ReflectionPad2d((1, 2, 3, 4))"),
    (lambda: nn.Upsample(scale_factor=2), "Upsample(scale_factor=2.0, mode='nearest')"),
    (lambda: nn.Upsample((9, 4), mode="bilinear"), "Upsample(size=(9, 4), mode='bilinear')"),
    (lambda: nn.PixelShuffle(2), "PixelShuffle(upscale_factor=2)"),
    (lambda: nn.PReLU(3), "PReLU(num_parameters=3)"),
    (lambda: nn.Hardtanh(-2.0), "Hardtanh(min_val=-2.0, max_val=1.0)"),
    (lambda: nn.ELU(inplace=True), "ELU(alpha=1.0, inplace=True)"),
    (lambda: nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
    (lambda: nn.HuberLoss("sum", 2.0), "HuberLoss()"),
    (lambda: nn.Sequential(), "Sequential()"),
    (lambda: nn.Sequential(nn.Sequential(nn.Tanh()), nn.ReLU()),
     "Sequential(\n  (0): Sequential(\n    (0): Tanh()\n  )\n  (1): ReLU()\n)"),
    (lambda: nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()]), "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"),
    (lambda: nn.ModuleDict({"a": nn.ReLU()}), "ModuleDict(\n  (a): ReLU()\n)")])
def test_modules_print_as_in_pytorch(layer, text):
    assert repr(layer()) == text


def test_settings_stand_above_the_modules_inside():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ReLU()

        def extra_repr(self):
            return "factor=2"
    assert repr(Scaled()) == "Scaled(\n  factor=2\n  (inner): ReLU()\n)"


# ---------------------------------------------------------------------- layers
@pytest.mark.parametrize("module", ["layers", "normalization", "pooling", "activations", "losses", "recurrent"])
def test_every_layer_is_found_in_nn_and_explained(module):
    found = {name: value for name, value in vars(getattr(nn, module)).items() if isinstance(value, type)
             and value.__module__ == f"minidl.nn.{module}" and issubclass(value, nn.Module) and name[0] != "_"}
    assert found and all(getattr(nn, name) is value and value.__doc__ for name, value in found.items())


def test_layers_are_their_functions():
    x, rows = md.randn(2, 4, 6, 6), md.tensor([[0, 2]])
    conv = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2)
    assert bool((conv(x) == F.conv2d(x, conv.weight, conv.bias, (2, 1), (1, 0), (1, 2), 2)).all())
    linear, table = nn.Linear(6, 2, bias=False), nn.Embedding(3, 2, padding_idx=0)
    assert linear.bias is None and bool((linear(x) == F.linear(x, linear.weight)).all())
    assert bool((table(rows) == table.weight[rows]).all()) and table.weight[0].tolist() == [0, 0]
    assert bool((nn.MaxPool2d(3, 2, 1)(x) == F.max_pool2d(x, 3, 2, 1)).all())
    assert bool((nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x) == F.avg_pool2d(x, 3, 2, 1, False, False)).all())
    assert bool((nn.AdaptiveAvgPool2d((1, None))(x) == F.adaptive_avg_pool2d(x, (1, None))).all())
    assert nn.Flatten()(x).shape == (2, 144) and nn.Flatten(0, 1)(x).shape == (8, 6, 6) and nn.Identity()(x) is x
    assert bool((nn.LeakyReLU(0.3)(x) == F.leaky_relu(x, 0.3)).all())
    assert bool((nn.Softmax(1)(x) == F.softmax(x, 1)).all())
    assert bool((nn.GELU("tanh")(x) == F.gelu(x, "tanh")).all())


@pytest.mark.parametrize("padding", [2, (1, 2), "same", "valid"])
@pytest.mark.parametrize("mode, numpys", [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_borders_of_a_convolution_may_be_made_of_the_image(mode, numpys, padding):
    conv, x = nn.Conv2d(1, 2, (2, 3), dilation=(1, 2), padding=padding, padding_mode=mode), md.randn(2, 1, 6, 7)
    (top, bottom), (left, right) = {
        2: ((2, 2), (2, 2)), (1, 2): ((1, 1), (2, 2)), "same": ((0, 1), (2, 2)), "valid": ((0, 0), (0, 0))}[padding]
    framed = md.tensor(np.pad(x.numpy(), ((0, 0), (0, 0), (top, bottom), (left, right)), numpys))
    assert md.equal(conv(x), F.conv2d(framed, conv.weight, conv.bias, dilation=(1, 2)))
    line = nn.Conv1d(1, 2, 3, padding=1, padding_mode=mode)
    framed = md.tensor(np.pad(x.numpy()[0], ((0, 0), (0, 0), (1, 1)), numpys)).transpose(0, 1)
    assert md.equal(line(x[0].transpose(0, 1)), F.conv1d(framed, line.weight, line.bias))


@pytest.mark.parametrize("make, fan_in, shape", [
    (lambda: nn.Conv1d(8, 64, 5, groups=2), 4 * 5, (64, 4, 5)),
    (lambda: nn.Conv2d(8, 32, (3, 2)), 8 * 6, (32, 8, 3, 2)),
    (lambda: nn.ConvTranspose1d(64, 8, 5, groups=2), 4 * 5, (64, 4, 5)),
    (lambda: nn.ConvTranspose2d(32, 16, (3, 2), groups=2), 8 * 6, (32, 8, 3, 2))])
def test_first_values_lie_evenly_within_the_bound(make, fan_in, shape):
    layer, bound = make(), fan_in ** -0.5
    weight = layer.weight.detach().numpy()
    assert weight.shape == shape and layer.bias.shape == (layer.out_channels,)
    assert 0.98 * bound < np.abs(weight).max() <= bound and abs(weight.std() * 3 ** 0.5 / bound - 1) < 0.05
    assert np.abs(layer.bias.detach().numpy()).max() <= bound


def test_a_transposed_convolution_undoes_the_change_of_shape():
    x = md.randn(2, 3, 7, 9)
    there = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    back = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    assert back(there(x)).shape == x.shape and back.weight.shape == there.weight.shape
    grown = nn.ConvTranspose1d(3, 2, 3, 2, 1, 1, dilation=2)(x[:, :, 0])
    assert grown.shape == (2, 2, (9 - 1) * 2 - 2 + 2 * 2 + 1 + 1)


def test_more_layers_are_their_functions():
    x, line = md.randn(2, 4, 6, 6), md.randn(2, 4, 9)
    out, places = nn.MaxPool2d(2, return_indices=True)(x)
    assert md.equal(out, F.max_pool2d(x, 2)) and md.equal(x.flatten(2).gather(2, places.flatten(2)), out.flatten(2))
    assert md.equal(nn.MaxPool1d(3, 2, 1)(line), F.max_pool1d(line, 3, 2, 1))
    assert md.equal(nn.AvgPool1d(3, 2, 1, count_include_pad=False)(line), F.avg_pool1d(line, 3, 2, 1, False, False))
    assert md.equal(nn.AvgPool2d(2, divisor_override=3)(x), F.avg_pool2d(x, 2, divisor_override=3))
    assert md.equal(nn.AdaptiveAvgPool1d(4)(line), F.adaptive_avg_pool1d(line, 4))
    assert md.equal(nn.AdaptiveMaxPool1d(4, True)(line)[1], F.adaptive_max_pool1d(line, 4, True)[1])
    assert md.equal(nn.Unflatten(1, (2, -1))(x), x.reshape(2, 2, 2, 6, 6))
    assert md.equal(nn.ReflectionPad2d((1, 0, 2, 3))(x), F.pad(x, (1, 0, 2, 3), "reflect"))
    assert md.equal(nn.ZeroPad2d(1)(x), F.pad(x, (1, 1, 1, 1)))
    assert md.equal(nn.ReplicationPad2d(1)(x), F.pad(x, (1, 1, 1, 1), "replicate"))
    assert md.equal(nn.Upsample(scale_factor=2)(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert md.equal(nn.PixelShuffle(2)(x), F.pixel_shuffle(x, 2))
    assert md.equal(nn.PReLU(4)(x), F.leaky_relu(x, 0.25)) and nn.PReLU(4).weight.shape == (4,)
    assert md.equal(nn.LayerNorm(6, 0.5)(x), F.layer_norm(x, 6, eps=0.5)) and md.equal(nn.CELU(0.5)(x), F.celu(x, 0.5))
    assert md.equal(nn.RMSNorm(6, 0.5)(x), F.rms_norm(x, 6, eps=0.5))
    assert md.equal(nn.GroupNorm(2, 4, 0.5)(x), F.group_norm(x, 2, eps=0.5))
    assert md.equal(nn.InstanceNorm2d(4, 0.5)(x), F.instance_norm(x, eps=0.5))
    assert md.equal(nn.Hardtanh(-0.5, 0.5)(x), x.clamp(-0.5, 0.5)) and md.equal(nn.GLU(1)(x), F.glu(x, 1))
    assert md.equal(nn.Softplus(2.0, 1.0)(x), F.softplus(x, 2.0, 1.0)) and md.equal(nn.Softmin(1)(x), F.softmin(x, 1))


@pytest.mark.parametrize("layer", [nn.ReLU6, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softsign, nn.ELU, nn.SELU,
                                   nn.CELU, nn.GELU, nn.SiLU, nn.Mish])
def test_activations_are_the_functions_of_their_name(layer):
    x = md.linspace(-4, 4, 9)
    assert md.equal(layer()(x), getattr(F, layer.__name__.lower())(x))


def test_norms_over_an_example_do_not_look_at_the_batch():
    x = md.randn(3, 4, 5, 6)
    layers = [nn.LayerNorm(6), nn.LayerNorm((5, 6), bias=False), nn.RMSNorm([5, 6]), nn.GroupNorm(2, 4),
              nn.InstanceNorm2d(4, affine=True)]
    for layer in layers:
        out = layer(x)
        np.testing.assert_allclose(layer(x[1:2]).detach().numpy(), out[1:2].detach().numpy(), atol=1e-6)
        layer.weight.array[...] = 3
        np.testing.assert_allclose(layer(x).detach().numpy(), 3 * out.detach().numpy(), rtol=1e-5)
    parameters = [[(name, p.shape) for name, p in layer.named_parameters()] for layer in layers]
    assert parameters == [[("weight", (6,)), ("bias", (6,))], [("weight", (5, 6))], [("weight", (5, 6))],
                          [("weight", (4,)), ("bias", (4,))], [("weight", (4,)), ("bias", (4,))]]


def test_instance_norm_keeps_statistics_only_if_asked():
    plain, x = nn.InstanceNorm1d(3), md.randn(2, 3, 8)
    assert list(plain.state_dict()) == [] and md.equal(plain(x), plain.eval()(x)) and md.equal(plain(x)[0], plain(x[0]))
    tracked = nn.InstanceNorm1d(3, track_running_stats=True, momentum=1.0)
    tracked(x)
    np.testing.assert_allclose(tracked.running_mean.numpy(), x.numpy().mean((0, 2)), atol=1e-6)
    mean, variance = x.numpy().mean((0, 2)), x.numpy().var(2, ddof=1).mean(0)
    expected = (x.numpy() - mean[:, None]) / np.sqrt(variance)[:, None]
    np.testing.assert_allclose(tracked.eval()(x).numpy(), expected, atol=1e-4)


def test_dropout_of_channels_follows_the_mode():
    x = md.ones(20, 10, 3, 3)
    for drop in (nn.Dropout2d(0.5, generator=md.Generator(1)), nn.Dropout1d(0.5, generator=md.Generator(1))):
        y = x if isinstance(drop, nn.Dropout2d) else x[..., 0]
        counts = (drop(y) != 0).sum(tuple(range(2, y.ndim)))
        assert sorted(set(counts.flatten().tolist())) == [0, y[0, 0].numel()] and drop.eval()(y) is y


def test_what_help_shows_are_the_settings_in_pytorchs_order():
    assert str(inspect.signature(nn.HuberLoss)) == "(reduction='mean', delta=1.0)"
    assert str(inspect.signature(nn.CTCLoss)) == "(blank=0, reduction='mean', zero_infinity=False)"
    assert str(inspect.signature(nn.Tanh)) == "()"


def test_ctc_loss_trains_a_model_to_say_a_word():
    model, loss_of = nn.Linear(3, 4), nn.CTCLoss()
    x, word = md.randn(6, 1, 3), md.tensor([[2, 1, 3]])
    optimiser = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(60):
        loss = loss_of(F.log_softmax(model(x), 2), word, (6,), (3,))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    said = [k for k, _ in itertools.groupby(model(x).argmax(2)[:, 0].tolist()) if k]
    assert said == [2, 1, 3]


@pytest.mark.parametrize("loss, function, inputs", [
    (lambda: nn.CrossEntropyLoss(md.tensor([1.0, 2.0]), reduction="sum", label_smoothing=0.1),
     lambda x, t: F.cross_entropy(x, t, md.tensor([1.0, 2.0]), -100, "sum", 0.1),
     (md.randn(3, 2), md.tensor([0, 1, 1]))),
    (lambda: nn.NLLLoss(ignore_index=1), lambda x, t: F.nll_loss(x, t, ignore_index=1),
     (md.randn(3, 2), md.tensor([0, 1, 0]))),
    (lambda: nn.MSELoss(reduction="none"), lambda x, t: (x - t) ** 2, (md.randn(3), md.randn(3))),
    (lambda: nn.L1Loss(), lambda x, t: (x - t).abs().mean(), (md.randn(3), md.randn(3))),
    (lambda: nn.BCELoss(), F.binary_cross_entropy, (md.rand(3), md.rand(3))),
    (lambda: nn.BCEWithLogitsLoss(pos_weight=md.tensor(2.0)),
     lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=md.tensor(2.0)), (md.randn(3), md.rand(3))),
    (lambda: nn.HuberLoss("sum", 0.5), lambda x, t: F.huber_loss(x, t, "sum", 0.5), (md.randn(3), md.randn(3))),
    (lambda: nn.SmoothL1Loss(beta=0.5), lambda x, t: F.smooth_l1_loss(x, t, beta=0.5), (md.randn(3), md.randn(3))),
    (lambda: nn.KLDivLoss("batchmean", True), lambda x, t: F.kl_div(x, t, "batchmean", True),
     (md.randn(3, 2), md.randn(3, 2))),
    (lambda: nn.CosineEmbeddingLoss(0.2), lambda a, b, y: F.cosine_embedding_loss(a, b, y, 0.2),
     (md.randn(3, 2), md.randn(3, 2), md.tensor([1, -1, 1]))),
    (lambda: nn.MarginRankingLoss(0.2, "none"), lambda a, b, y: F.margin_ranking_loss(a, b, y, 0.2, "none"),
     (md.randn(3), md.randn(3), md.tensor([1, -1, 1]))),
    (lambda: nn.HingeEmbeddingLoss(0.5), lambda x, y: F.hinge_embedding_loss(x, y, 0.5),
     (md.randn(3), md.tensor([1, -1, 1]))),
    (lambda: nn.SoftMarginLoss("sum"), lambda x, y: F.soft_margin_loss(x, y, "sum"),
     (md.randn(3), md.tensor([1, -1, 1]))),
    (lambda: nn.TripletMarginLoss(0.5, 1, 1e-3, True), lambda *abc: F.triplet_margin_loss(*abc, 0.5, 1, 1e-3, True),
     (md.randn(3, 2), md.randn(3, 2), md.randn(3, 2))),
    (lambda: nn.PoissonNLLLoss(True, True), lambda x, t: F.poisson_nll_loss(x, t, full=True),
     (md.randn(3), md.tensor([0.0, 2.0, 9.0]))),
    (lambda: nn.GaussianNLLLoss(full=True), lambda x, t, v: F.gaussian_nll_loss(x, t, v, True),
     (md.randn(3), md.randn(3), md.rand(3)))])
def test_losses_pass_their_settings_on(loss, function, inputs):
    assert bool((loss()(*inputs) == function(*inputs)).all())


@pytest.mark.parametrize("make, words", [
    (lambda: nn.Linear(0, 1), "in_features must be a whole number of 1 or more, got 0"),
    (lambda: nn.Linear(2.0, 1), r"got 2\.0"),
    (lambda: nn.Linear(True, 1), "got True"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "cannot be cut into 2 groups"),
    (lambda: nn.Conv2d(1, 1, 0), "kernel_size: expected whole numbers of 1 or more"),
    (lambda: nn.Conv2d(1, 1, 2.5), "kernel_size: expected whole numbers"),
    (lambda: nn.Conv2d(1, 1, 3, stride=0), "stride"),
    (lambda: nn.Conv2d(1, 1, 3, padding="full"), "unknown padding 'full'"),
    (lambda: nn.Embedding(4, 2, padding_idx=4), "padding_idx 4 is none of 4 rows"),
    (lambda: nn.BatchNorm2d(0), "num_features"),
    (lambda: nn.Dropout(2), "probability"),
    (lambda: nn.ReLU(slope=1), r"unknown setting 'slope'.\n +known +inplace"),
    (lambda: nn.Softmax(1, 2), "unknown setting 2"),
    (lambda: nn.MSELoss(beta=1), "unknown setting 'beta'"),
    (lambda: nn.MSELoss("sum", 1), "unknown setting 1"),
    (lambda: nn.Conv2d(1, 1, 3, padding="same", stride=2), "defined for stride 1"),
    (lambda: nn.Conv1d(1, 1, 3, padding_mode="mirror"), "unknown padding_mode 'mirror'"),
    (lambda: nn.Conv1d(1, 1, (3, 3)), "kernel_size: expected one number or 1"),
    (lambda: nn.ConvTranspose2d(4, 3, 2, groups=2), "cannot be cut into 2 groups"),
    (lambda: nn.ConvTranspose1d(1, 1, 2, padding="same"), "padding: expected whole numbers"),
    (lambda: nn.GroupNorm(3, 4), "do not make 3 equal groups"),
    (lambda: nn.LayerNorm((3, 0)), "normalized_shape must be a whole number of 1 or more"),
    (lambda: nn.PReLU(0), "num_parameters"),
    (lambda: nn.Dropout2d(2), "Dropout2d: p is a probability"),
    (lambda: nn.ZeroPad2d((1, 2)), "one number or four"),
    (lambda: nn.PixelShuffle(0), "upscale_factor")])
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_norms_of_examples_name_the_shapes_they_want():
    with pytest.raises(ShapeError, match=r"InstanceNorm2d: expected \(N, C, H, W\) or \(C, H, W\) with C = 3"):
        nn.InstanceNorm2d(3)(md.ones(2, 4, 5, 5))
    with pytest.raises(ShapeError, match=r"GroupNorm: expected \(N, C, ...\) with C = 4"):
        nn.GroupNorm(2, 4, affine=False)(md.ones(2, 6))
    with pytest.raises(ShapeError, match="the last axes are not those to normalise"):
        nn.LayerNorm(4)(md.ones(2, 3))


def test_batch_norm_names_the_shape_it_wants():
    with pytest.raises(ShapeError, match=r"BatchNorm2d: expected \(N, C, H, W\) with C = 3"):
        nn.BatchNorm2d(3)(md.ones(2, 3, 4))
    with pytest.raises(ShapeError, match="with C = 3"):
        nn.BatchNorm1d(3)(md.ones(2, 4))
    with pytest.raises(ShapeError, match="more than one number"):
        nn.BatchNorm1d(3)(md.ones(1, 3))


def test_backward_notices_that_the_model_has_moved_since():
    layer = nn.Linear(2, 2)
    x = md.ones(1, 2, requires_grad=True)
    out = layer(x).square().sum()
    layer.double()
    with pytest.raises(InplaceError, match="Module.to"):
        out.backward()
