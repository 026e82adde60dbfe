"""Clipping gradients, and parameters as one vector."""
import math

import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError, GradientError, ShapeError
from minidl.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters
from minidl.tensor import Tensor
from tests import fake_device


def parameters(*grads, dtype=np.float64):
    """Parameters with these gradients."""
    out = []
    for g in grads:
        p = Tensor(np.zeros(np.shape(g), dtype), requires_grad=True)
        p.grad = Tensor(np.array(g, dtype))
        out.append(p)
    return out


# ---------------------------------------------------------------------- clipping
@pytest.mark.parametrize("norm_type, norm", [(2.0, 5.0), (1, 7.0), (3, 91 ** (1 / 3)), (math.inf, 4.0)])
def test_the_length_of_all_gradients_together(norm_type, norm):
    a, b = parameters([[-3.0, 0.0]], 4.0)
    idle = Tensor(np.zeros(3), requires_grad=True)
    total = clip_grad_norm_([a, idle, b], 1.0, norm_type)
    assert total.shape == () and total.dtype == np.float64 and not total.requires_grad
    assert total.item() == pytest.approx(norm)
    np.testing.assert_allclose(a.grad.array, [[-3 / norm, 0]], rtol=1e-6)
    np.testing.assert_allclose(b.grad.array, 4 / norm, rtol=1e-6)
    assert idle.grad is None and type(b.grad.array) is np.ndarray


def test_short_gradients_stay_as_they_are():
    (p,) = parameters([3.0, 4.0], dtype=np.float32)
    before = p.grad
    assert clip_grad_norm_(p, 5.1).item() == 5.0 and p.grad is before
    assert clip_grad_norm_(iter([p]), 2.5).dtype == np.float32 and p.grad.dtype == np.float32
    np.testing.assert_allclose(p.grad.array, [1.5, 2.0], rtol=1e-6)


def test_without_gradients_the_length_is_zero():
    assert clip_grad_norm_([Tensor(np.zeros(2), requires_grad=True)], 1.0).item() == 0.0
    assert clip_grad_norm_([], 1.0).item() == 0.0
    assert clip_grad_norm_(parameters(np.zeros((0, 3))), 1.0, math.inf).item() == 0.0


@pytest.mark.parametrize("clip, clipped", [
    (lambda ps: clip_grad_norm_(ps, 5 / math.sqrt(2)), [1.5, -2.0]),
    (lambda ps: clip_grad_value_(ps, 3.5), [3.0, -3.5])])
def test_gradients_that_share_memory_are_clipped_once_each_and_not_in_place(clip, clipped):
    shared = np.array([3.0, -4.0])
    shared.flags.writeable = False                    # as broadcasting rules return them
    a, b = parameters([0.0, 0.0], [0.0, 0.0])
    a.grad = b.grad = Tensor(shared)
    clip([a, b])
    np.testing.assert_allclose([a.grad.array, b.grad.array], [clipped] * 2, rtol=1e-6)
    assert shared.tolist() == [3.0, -4.0] and not np.shares_memory(a.grad.array, b.grad.array)


def test_gradients_that_are_not_finite():
    (p,) = parameters([math.nan, 1.0])
    text = "clip_grad_norm_: the gradients are not finite, so they cannot be clipped.\n    norm  nan\nTry: "
    with pytest.raises(GradientError, match=text):
        clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.array[1] == 1.0
    assert math.isnan(clip_grad_norm_(p, 1.0).item()) and np.isnan(p.grad.array).all()
    (p,) = parameters([math.inf, 1.0])
    assert clip_grad_norm_(p, 1.0).item() == math.inf
    assert math.isnan(p.grad.array[0]) and p.grad.array[1] == 0


def test_clip_value():
    a, b = parameters([-3.0, 0.5], 2.0)
    clip_grad_value_([a, b], 1)
    assert a.grad.tolist() == [-1.0, 0.5] and b.grad.item() == 1.0 and type(b.grad.array) is np.ndarray
    with pytest.raises(ArgumentError, match="clip_grad_value_: the bound must be 0 or more.\n    clip_value  -1"):
        clip_grad_value_([a], -1)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("norm_type", [1, 2, math.inf])
def test_clipping_stays_on_the_device(norm_type):
    here, there = parameters([3.0, 0.0], 4.0), parameters([3.0, 0.0], 4.0)
    for p in there:
        p.array, p.grad = fake_device.from_host(p.array), Tensor(fake_device.from_host(p.grad.array))
    with fake_device.no_transfers():
        total = clip_grad_norm_(there, 1.0, norm_type)
        clip_grad_value_(there, 0.5)
        vector_to_parameters(parameters_to_vector(there), there)
    assert total.item() == clip_grad_norm_(here, 1.0, norm_type).item()
    clip_grad_value_(here, 0.5)
    for p, q in zip(here, there):
        np.testing.assert_allclose(q.grad.host_array(), p.grad.array, rtol=1e-12)


# ---------------------------------------------------------------------- one vector
def test_to_a_vector_and_back():
    a, b, c = parameters(np.zeros((2, 3)), 0.0, np.zeros(2))
    arrays = [p.array for p in (a, b, c)]
    vec = md.arange(9, dtype=md.float64)
    vector_to_parameters(vec, [a, b, c])
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]] and b.item() == 6 and c.tolist() == [7, 8]
    assert parameters_to_vector(p for p in (a, b, c)).tolist() == vec.tolist()
    assert all(p.array is old and not np.shares_memory(old, vec.array) for p, old in zip((a, b, c), arrays))


def test_gradients_flow_through_the_vector():
    a, b = parameters(np.zeros((2, 2)), np.zeros(1))
    a.grad = b.grad = None
    (parameters_to_vector([a, b]) * md.arange(5, dtype=md.float64)).sum().backward()
    assert a.grad.tolist() == [[0, 1], [2, 3]] and b.grad.tolist() == [4]


def test_backward_notices_new_parameters():
    (w,) = parameters([2.0])
    loss = (w * w).sum()
    vector_to_parameters(md.ones(1), [w])
    with pytest.raises(GradientError, match="vector_to_parameters"):
        loss.backward()


def test_a_vector_of_another_length_is_refused():
    a, b = parameters(np.ones((2, 2)), np.ones(1))
    with pytest.raises(ShapeError, match=r"    vector      \(6,\)\n    parameters  \(5,\)"):
        vector_to_parameters(md.zeros(6), [a, b])
    assert a.tolist() == np.zeros((2, 2)).tolist()


# ---------------------------------------------------------------------- beside PyTorch
@pytest.mark.torch
@pytest.mark.parametrize("max_norm", [0.1, 3.0, 1e3])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
def test_follows_pytorch(max_norm, norm_type):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape) for shape in ((3, 4), (5,), ())]
    ours, theirs = parameters(*grads), [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads]
    for p, g in zip(theirs, grads):
        p.grad = torch.tensor(g)
    utils = torch.nn.utils
    np.testing.assert_allclose(clip_grad_norm_(ours, max_norm, norm_type).item(),
                               utils.clip_grad_norm_(theirs, max_norm, norm_type).item(), rtol=1e-12)
    for clip in (None, 0.05):
        if clip:
            clip_grad_value_(ours, clip), utils.clip_grad_value_(theirs, clip)
        for p, q in zip(ours, theirs):
            np.testing.assert_allclose(p.grad.array, q.grad.numpy(), rtol=1e-12)
    vector = np.arange(18.0)
    vector_to_parameters(Tensor(vector), ours), utils.vector_to_parameters(torch.tensor(vector), theirs)
    for p, q in zip(ours, theirs):
        assert np.array_equal(p.array, q.detach().numpy())
    assert np.array_equal(parameters_to_vector(ours).array, utils.parameters_to_vector(theirs).detach().numpy())
