"""Every layer, activation and loss: forward, backward and an optimiser's step, compiled, against eager."""
import functools
import re

import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import nn, optim
from minidl.errors import TraceError
from tests.graph_tools import all_same


def draw(*shape, dtype=np.float64):
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(dtype)


def whole(high, *shape):
    return np.random.default_rng(high).integers(0, high, shape)


IMAGE, ROWS, SIGNAL, SEQUENCE = (3, 4, 6, 6), (5, 4), (3, 4, 8), (5, 3, 4)
LAYERS = {
    "Linear": (lambda: nn.Linear(4, 3), [draw(*ROWS)]),
    "Linear no bias": (lambda: nn.Linear(4, 3, bias=False), [draw(2, 5, 4)]),
    "Conv2d": (lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1), [draw(*IMAGE)]),
    "Conv2d groups": (lambda: nn.Conv2d(4, 4, (3, 2), padding="same", groups=2, bias=False), [draw(*IMAGE)]),
    "Conv2d reflect": (lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), [draw(*IMAGE)]),
    "Conv1d": (lambda: nn.Conv1d(4, 3, 3, dilation=2), [draw(*SIGNAL)]),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2), [draw(*SIGNAL)]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), [draw(*IMAGE)]),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), [draw(*SIGNAL)]),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), [draw(*IMAGE)]),
    "MaxPool2d ceil": (lambda: nn.MaxPool2d(4, ceil_mode=True), [draw(*IMAGE)]),
    "MaxPool2d indices": (lambda: nn.MaxPool2d(2, return_indices=True), [draw(*IMAGE)]),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1), [draw(*SIGNAL)]),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False), [draw(*IMAGE)]),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(3), [draw(*SIGNAL)]),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((4, 1)), [draw(*IMAGE)]),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(3), [draw(*SIGNAL)]),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(4), [draw(*IMAGE)]),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), [draw(*ROWS)]),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), [draw(*IMAGE)]),
    "BatchNorm2d cumulative": (lambda: nn.BatchNorm2d(4, momentum=None), [draw(*IMAGE)]),
    "BatchNorm2d plain": (lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False), [draw(*IMAGE)]),
    "LayerNorm": (lambda: nn.LayerNorm(4), [draw(*ROWS)]),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), [draw(*IMAGE)]),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, affine=True), [draw(*SIGNAL)]),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, track_running_stats=True), [draw(*IMAGE)]),
    "RMSNorm": (lambda: nn.RMSNorm(4), [draw(*ROWS)]),
    "Dropout": (lambda: nn.Dropout(0.4), [draw(*ROWS)]),
    "Dropout1d": (lambda: nn.Dropout1d(0.4), [draw(*SIGNAL)]),
    "Dropout2d": (lambda: nn.Dropout2d(0.4), [draw(*IMAGE)]),
    "Dropout own": (lambda: nn.Dropout(0.4, generator=md.Generator(3)), [draw(*ROWS)]),
    "Embedding": (lambda: nn.Embedding(7, 4), [whole(7, 2, 3)]),
    "Embedding padding": (lambda: nn.Embedding(7, 4, padding_idx=2), [whole(7, 2, 3)]),
    "Flatten": (lambda: nn.Flatten(), [draw(*IMAGE)]),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), [draw(*ROWS)]),
    "Identity": (lambda: nn.Identity(), [draw(*ROWS)]),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), [draw(*IMAGE)]),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, 2, 0, 1)), [draw(*IMAGE)]),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(2), [draw(*IMAGE)]),
    "ReplicationPad2d": (lambda: nn.ReplicationPad2d(2), [draw(*IMAGE)]),
    "Upsample": (lambda: nn.Upsample(scale_factor=2), [draw(*IMAGE)]),
    "Upsample bilinear": (lambda: nn.Upsample(size=(5, 9), mode="bilinear"), [draw(*IMAGE)]),
    "PReLU": (lambda: nn.PReLU(4), [draw(*IMAGE)]),
    "RNN": (lambda: nn.RNN(4, 3, 2, bidirectional=True), [draw(*SEQUENCE)]),
    "RNN relu": (lambda: nn.RNN(4, 3, nonlinearity="relu", batch_first=True), [draw(*SEQUENCE)]),
    "LSTM": (lambda: nn.LSTM(4, 3, 2, dropout=0.3), [draw(*SEQUENCE)]),
    "GRU": (lambda: nn.GRU(4, 3, bidirectional=True), [draw(*SEQUENCE)]),
    "GRU state": (lambda: nn.GRU(4, 3), [draw(*SEQUENCE), draw(1, 3, 3)]),
    "RNNCell": (lambda: nn.RNNCell(4, 3), [draw(*ROWS), draw(5, 3)]),
    "LSTMCell": (lambda: nn.LSTMCell(4, 3), [draw(*ROWS)]),
    "GRUCell": (lambda: nn.GRUCell(4, 3), [draw(*ROWS)]),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2, dropout=0.2), [draw(*SEQUENCE)] * 3),
    "MultiheadAttention mask": (lambda: Masked(), [draw(*SEQUENCE)]),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), [draw(*SEQUENCE)]),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, norm_first=True), 2),
                           [draw(*SEQUENCE)]),
    "TransformerDecoderLayer": (lambda: nn.TransformerDecoderLayer(4, 2, 8), [draw(*SEQUENCE), draw(6, 3, 4)]),
    "TransformerDecoder": (lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8), 2),
                           [draw(*SEQUENCE), draw(6, 3, 4)]),
    "tied weights": (lambda: Tied(), [draw(*ROWS)]),
    "ReLU in place": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)), [draw(*ROWS)]),
    "Dropout in place": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5, inplace=True)), [draw(*ROWS)]),
}
for _name in ("CELU ELU GELU GLU SELU Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6 Sigmoid SiLU "
              "Softplus Softsign Tanh").split():
    LAYERS[_name] = getattr(nn, _name), [draw(*ROWS)]
for _name in ("Softmax", "LogSoftmax", "Softmin"):
    LAYERS[_name] = functools.partial(getattr(nn, _name), dim=1), [draw(*ROWS)]

PROBABILITY, SIGNS = 1 / (1 + np.exp(-draw(*ROWS))), np.sign(draw(*ROWS))
LOSSES = {
    "BCELoss": [PROBABILITY, (draw(*ROWS) > 0) * 1.0],
    "BCEWithLogitsLoss": [draw(*ROWS), (draw(*ROWS) > 0) * 1.0],
    "CosineEmbeddingLoss": [draw(*ROWS), draw(*ROWS)[::-1].copy(), SIGNS[:, 0].copy()],
    "CrossEntropyLoss": [draw(*ROWS), whole(4, 5)],
    "GaussianNLLLoss": [draw(*ROWS), draw(*ROWS)[::-1].copy(), PROBABILITY],
    "HingeEmbeddingLoss": [draw(*ROWS), SIGNS],
    "HuberLoss": [draw(*ROWS), draw(*ROWS)[::-1].copy()],
    "KLDivLoss": [np.log(PROBABILITY), PROBABILITY[::-1].copy()],
    "L1Loss": [draw(*ROWS), draw(*ROWS)[::-1].copy()],
    "MSELoss": [draw(*ROWS), draw(*ROWS)[::-1].copy()],
    "MarginRankingLoss": [draw(*ROWS), draw(*ROWS)[::-1].copy(), SIGNS],
    "NLLLoss": [np.log(PROBABILITY), whole(4, 5)],
    "PoissonNLLLoss": [draw(*ROWS), PROBABILITY],
    "SmoothL1Loss": [draw(*ROWS), draw(*ROWS)[::-1].copy()],
    "SoftMarginLoss": [draw(*ROWS), SIGNS],
    "TripletMarginLoss": [draw(*ROWS), draw(*ROWS)[::-1].copy(), draw(*ROWS) * 0.5],
    "CTCLoss": [np.log(np.full((6, 2, 4), 0.25)) + draw(6, 2, 4) * 0.1, np.array([[1, 2], [3, 1]]), np.array([6, 5]),
                np.array([2, 1])],
}
for _name, _inputs in LOSSES.items():
    LAYERS[_name] = getattr(nn, _name), _inputs


class Masked(nn.Module):
    """Attention that may look back only."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        mask = md.ones(x.shape[1], x.shape[1], dtype=md.bool).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).tanh())


# What needs to know a value: how long the sequences are; the mean of all batches so far, as the 1 / n of Python.
UNKNOWN = {"CTCLoss": "placeholder", "BatchNorm2d cumulative": "add"}


class Training:
    """One layer with something trainable in front, its optimiser and one step of training."""

    def __init__(self, name, training, optimizer):
        make, arrays = LAYERS[name]
        md.manual_seed(1)
        self.layer = make().to(md.float64).train(training)
        self.inputs = [md.Tensor(a.copy()) for a in arrays]
        self.scale = md.Tensor(np.ones(()), True)
        self.optimizer = optimizer([self.scale, *{id(p): p for p in self.layer.parameters()}.values()])

    def step(self, *inputs):
        """Forward, backward and update; all outputs and the loss."""
        self.optimizer.zero_grad()
        first, *rest = inputs
        outs = self.layer(first * self.scale if first.dtype.kind == "f" else first, *rest)
        outs = [y for y in leaves(outs) if isinstance(y, md.Tensor)]
        loss = sum((y * y.detach().cos()).sum() for y in outs if y.requires_grad)
        loss.backward()
        self.optimizer.step()
        return [loss, *outs]

    def state(self):
        """All that training changes."""
        found = [*self.layer.state_dict().values(), self.scale]
        found += [p.grad for p in self.optimizer.param_groups[0]["params"] if p.grad is not None]
        for p in self.optimizer.param_groups[0]["params"]:
            found += [v for _, v in sorted(self.optimizer.state[p].items()) if isinstance(v, md.Tensor)]
        return [md.Tensor(np.array(x.detach().numpy())) for x in found]


def leaves(tree):
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def momentum(params):
    return optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3)


# Layers that do something else in evaluation; of the others, evaluation is left to `make test-more`.
MODAL = re.compile("Dropout|BatchNorm|InstanceNorm|LSTM|MultiheadAttention|Transformer|CTCLoss")


@pytest.mark.parametrize(("name", "training"), [
    pytest.param(name, training, id=f"{name}-{'training' if training else 'evaluation'}",
                 marks=[] if training or MODAL.match(name) else [pytest.mark.more])
    for name in LAYERS for training in (True, False)])
def test_a_layer_learns_the_same_when_compiled(name, training):
    if name in UNKNOWN and (training or name == "CTCLoss"):
        own = Training(name, training, momentum)
        with pytest.raises(TraceError, match=f"not known yet.*\n.*made by +{UNKNOWN[name]}"):
            G.compile(own.step)(*own.inputs)
        return
    runs = []
    for compiled in (False, True):
        own = Training(name, training, momentum)
        step = G.compile(own.step) if compiled else own.step
        md.manual_seed(7)
        found = []
        for _ in range(3):
            outs = [md.Tensor(np.array(y.detach().numpy())) for y in step(*own.inputs)]
            found.append([*outs, *own.state()])
        found.append([md.rand(2)])                     # the same number of draws
        runs.append(found)
        if compiled:
            assert len(step.log) <= 3
    for k, (eager, ours) in enumerate(zip(*runs)):
        all_same(ours, eager, f"{name}, step {k}")


def test_every_layer_and_loss_is_in_the_table():
    missing = [n for n in dir(nn) if isinstance(getattr(nn, n), type) and issubclass(getattr(nn, n), nn.Module)
               and not any(key.split()[0] == n for key in LAYERS)]
    assert missing == ["Module", "ModuleDict", "ModuleList", "Sequential"]


@pytest.mark.parametrize("function", [
    lambda x: x if x.sum() > 0 else -x, lambda x: x * x.sum().item(), lambda x: md.tensor(x.numpy() * 2),
    lambda x: [x for _ in range(int(x[0]))], lambda x: print(x), lambda x: x[x > 0], lambda x: x.nonzero(),
    lambda x: x.unique(), lambda x: float(x.sum()), lambda x: f"{x.sum():.2f}", lambda x: x.tolist(),
    lambda x: np.asarray(x), lambda x: x.sum() in [1, 2], lambda x: bool((x == x).all()),
    lambda x: x.masked_select(x > 0)])
def test_what_needs_a_value_gets_the_teaching_error(function):
    compiled = G.compile(lambda x: function(x.detach()))
    for _ in range(2):
        with pytest.raises(TraceError, match="not known yet"):
            compiled(md.ones(3))
