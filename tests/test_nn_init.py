"""First values of weights: variances and bounds by formula, on samples large enough to see them."""
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import init

LINEAR, CONV = (200, 300), (40, 30, 5, 3)             # fans: 300, 200 and 30 * 15, 40 * 15
FANS = {LINEAR: (300, 200), CONV: (450, 600)}


def drawn(function, shape, *args, **kwargs):
    """The numbers that an initialiser draws."""
    weight = nn.Parameter(md.empty(*shape))
    assert function(weight, *args, generator=md.Generator(1), **kwargs) is weight
    assert weight.is_leaf and weight.requires_grad
    return weight.detach().numpy()


def is_uniform(values, bound):
    """Within the bounds, up to the bounds, and with the variance of an even distribution."""
    assert np.abs(values).max() <= bound * (1 + 1e-6) and np.abs(values).max() > 0.999 * bound
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert values.mean() == pytest.approx(0, abs=0.02 * bound)


def is_normal(values, std):
    """The deviation asked for, and as many numbers within one and two of them as there should be."""
    assert values.std() == pytest.approx(std, rel=0.02) and values.mean() == pytest.approx(0, abs=0.02 * std)
    assert (np.abs(values) < std).mean() == pytest.approx(0.683, abs=0.01)
    assert (np.abs(values) < 2 * std).mean() == pytest.approx(0.954, abs=0.01)


@pytest.mark.parametrize("shape", FANS)
def test_fans(shape):
    assert init.fans(md.empty(*shape)) == FANS[shape]


@pytest.mark.parametrize("shape", FANS)
def test_xavier_keeps_the_variance_both_ways(shape):
    total = sum(FANS[shape])
    is_uniform(drawn(init.xavier_uniform_, shape), math.sqrt(6 / total))
    is_normal(drawn(init.xavier_normal_, shape), math.sqrt(2 / total))
    is_uniform(drawn(init.xavier_uniform_, shape, gain=3.0), 3 * math.sqrt(6 / total))


@pytest.mark.parametrize("shape", FANS)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming_keeps_the_variance_through_relus(shape, mode):
    fan = FANS[shape][mode == "fan_out"]
    is_uniform(drawn(init.kaiming_uniform_, shape, mode=mode, nonlinearity="relu"), math.sqrt(6 / fan))
    is_normal(drawn(init.kaiming_normal_, shape, mode=mode), math.sqrt(2 / fan))
    is_normal(drawn(init.kaiming_normal_, shape, a=0.5, mode=mode), math.sqrt(2 / 1.25 / fan))
    is_normal(drawn(init.kaiming_normal_, shape, mode=mode, nonlinearity="tanh"), 5 / 3 / math.sqrt(fan))


def test_kaiming_does_keep_the_size_of_a_signal():
    md.manual_seed(2)
    x, start = md.randn(100, 256), 1.0
    for _ in range(10):
        x = nn.functional.relu(x @ init.kaiming_normal_(md.empty(256, 256), nonlinearity="relu").t())
    assert float((x ** 2).mean()) == pytest.approx(start, rel=0.5)


def test_the_other_names():
    assert init.glorot_uniform_ is init.xavier_uniform_ and init.glorot_normal_ is init.xavier_normal_
    assert init.he_uniform_ is init.kaiming_uniform_ and init.he_normal_ is init.kaiming_normal_


@pytest.mark.parametrize("layer, fan_in", [
    (lambda: nn.Linear(100, 300), 100), (lambda: nn.Conv2d(10, 60, (5, 3)), 150),
    (lambda: nn.Conv2d(10, 60, 5, groups=2), 125)])
def test_layers_start_within_pytorchs_bounds(layer, fan_in):
    layer = layer()
    bound = 1 / math.sqrt(fan_in)
    is_uniform(layer.weight.detach().numpy(), bound)
    bias = layer.bias.detach().numpy()
    assert np.abs(bias).max() <= bound and np.abs(bias).max() > 0.8 * bound


def test_embeddings_start_normal():
    is_normal(nn.Embedding(200, 100).weight.detach().numpy(), 1.0)


def test_plain_draws_and_constants():
    values = drawn(init.uniform_, (100, 100), 2.0, 6.0)
    is_uniform(values - 4, 2.0)
    is_normal(drawn(init.normal_, (200, 200), 5.0, 2.0) - 5, 2.0)
    w = md.empty(2, 3)
    assert init.zeros_(w).tolist() == [[0] * 3] * 2 and init.ones_(w).tolist() == [[1] * 3] * 2
    assert init.constant_(w, 0.5).tolist() == [[0.5] * 3] * 2
    assert init.eye_(w).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_a_truncated_normal_distribution_has_no_tails():
    values = drawn(init.trunc_normal_, (200, 200), 1.0, 2.0, -1.0, 2.0)
    assert values.min() >= -1 and values.max() <= 2 and values.min() < -0.99 and values.max() > 1.99
    # between -1 and 1/2 deviations: mean and variance by the formulas of the truncated distribution
    pdf = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (-1, 0.5)]
    mass = 0.5 * (math.erf(0.5 / math.sqrt(2)) - math.erf(-1 / math.sqrt(2)))
    shift = (pdf[0] - pdf[1]) / mass
    spread = 1 + (-1 * pdf[0] - 0.5 * pdf[1]) / mass - shift ** 2
    assert values.mean() == pytest.approx(1 + 2 * shift, abs=0.02)
    assert values.var() == pytest.approx(4 * spread, rel=0.02)
    with pytest.raises(ArgumentError, match="hardly any"):
        init.trunc_normal_(md.empty(3), 0.0, 1.0, 50.0, 51.0)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3)])
def test_orthogonal_rows_or_columns(shape):
    w = drawn(init.orthogonal_, shape, gain=2.0).reshape(shape[0], -1).astype(float)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_orthogonal_matrices_are_drawn_evenly():
    generator, found = md.Generator(3), []
    for _ in range(300):
        found.append(init.orthogonal_(md.empty(2, 2), generator=generator).numpy())
    found = np.stack(found)
    assert np.abs(found.mean(0)).max() < 0.15         # without the signs of r, the diagonal is never positive
    assert (np.linalg.det(found) > 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_same_generator_draws_the_same():
    for function in (init.uniform_, init.normal_, init.trunc_normal_, init.xavier_normal_, init.orthogonal_):
        np.testing.assert_array_equal(drawn(function, (3, 4)), drawn(function, (3, 4)))
    md.manual_seed(5)
    first = nn.Linear(3, 2).weight.tolist()
    md.manual_seed(5)
    assert nn.Linear(3, 2).weight.tolist() == first != nn.Linear(3, 2).weight.tolist()


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2) and init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == init.calculate_gain("conv2d") == 1
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01 ** 2))
    assert init.calculate_gain("leaky_relu", 0) == math.sqrt(2) and init.calculate_gain("selu") == 0.75


@pytest.mark.parametrize("call, kind, words", [
    (lambda: init.calculate_gain("swash"), ArgumentError, r"no gain is known for 'swash'[\s\S]*leaky_relu"),
    (lambda: init.calculate_gain("leaky_relu", "x"), ArgumentError, "expected a number, got 'x'"),
    (lambda: init.kaiming_normal_(md.empty(2, 2), mode="fan"), ArgumentError, "unknown mode 'fan'"),
    (lambda: init.xavier_uniform_(md.empty(3)), ShapeError, "two axes and more"),
    (lambda: init.kaiming_uniform_(md.empty(3)), ShapeError, "two axes and more"),
    (lambda: init.eye_(md.empty(3, 3, 3)), ShapeError, "only a matrix"),
    (lambda: init.eye_(md.empty(3)), ShapeError, "only a matrix")])
def test_mistakes_are_explained(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
