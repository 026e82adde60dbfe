"""Gradient checkpointing: the same gradients, less memory."""
# ruff: noqa: E731, B023   (functions of functions: short ones deserve a name on one line)
import tracemalloc

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import grad
from minidl.errors import ArgumentError, GradientError, InplaceError


def numbers(*shape, seed=0):
    return md.tensor(np.random.default_rng(seed).standard_normal(shape))


def block(width=8):
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.5), nn.Linear(width, width)).to(np.float64)


def gradients(run, model, x):
    """All gradients and the output, from a fixed random state."""
    md.manual_seed(1)
    model.zero_grad()
    x = x.detach().requires_grad_()
    out = run(x)
    (out * md.tensor(np.arange(out.numel()).reshape(out.shape))).sum().backward()
    return [out, x.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("wrapping", ["whole", "parts", "nested"])
def test_gradients_and_random_numbers_are_those_without_it(wrapping):
    md.manual_seed(0)
    model, x = nn.Sequential(block(), block(), block()), numbers(4, 8)
    if wrapping == "whole":
        run = lambda x: md.checkpoint(model, x)
    elif wrapping == "parts":
        run = lambda x: md.checkpoint(model[2], md.checkpoint(model[1], model[0](x)))
    else:
        run = lambda x: md.checkpoint(lambda x: model[2](md.checkpoint(model[1], model[0](x))), x)
    for ours, theirs in zip(gradients(run, model, x), gradients(model, model, x)):
        assert (ours == theirs).all()


def test_the_generator_stands_afterwards_where_it_would_have():
    model, x = block(), numbers(4, 8).requires_grad_()
    states = []
    for run in (model, lambda x: md.checkpoint(model, x)):
        md.manual_seed(3)
        run(x).sum().backward()
        states.append(md.rand(3).tolist())
    assert states[0] == states[1]


def test_what_the_function_sees_from_outside_gets_its_gradient():
    w = numbers(3).requires_grad_()
    seen = w * 2                                      # in the graph already
    x = numbers(3, seed=1).requires_grad_()
    md.checkpoint(lambda x: (x * seen).exp() * w, x).sum().backward()
    ours = w.grad, x.grad
    w.grad = x.grad = None
    ((x * (w * 2)).exp() * w).sum().backward()
    for a, b in zip(ours, (w.grad, x.grad)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_it_can_be_differentiated_twice():
    x = numbers(3).requires_grad_()
    f = lambda x: md.checkpoint(lambda x: md.tanh(x) * x, x * 1)
    md.autograd.check_gradients(f, [x], second_order=True)
    (first,) = grad(f(x).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    (expected,) = grad(grad((md.tanh(x) * x).sum(), x, create_graph=True)[0].sum(), x)
    np.testing.assert_allclose(second.numpy(), expected.numpy(), rtol=1e-12)


def test_memory_stays_that_of_one_block():
    layers = [lambda x: md.tanh(md.tanh(md.tanh(md.tanh(x)))) for _ in range(20)]
    peaks = []
    for use in (lambda f, x: f(x), md.checkpoint):
        x = md.ones(50_000, requires_grad=True)
        tracemalloc.start()
        h = x
        for layer in layers:
            h = use(layer, h)
        h.sum().backward()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.5 * peaks[0]


def test_a_change_in_place_before_it_runs_again_is_seen():
    x, c = numbers(3).requires_grad_(), numbers(3, seed=1)
    for change in (lambda h: h.mul_(2), lambda h: c.add_(1)):
        h = x * 1
        y = md.checkpoint(lambda h, c: h * h * c, h, c)
        with md.no_grad():
            change(h)
        with pytest.raises(InplaceError, match="checkpointed(.|\n)*changed by"):
            y.sum().backward()


def test_plain_cases():
    x = numbers(3).requires_grad_()
    with md.no_grad():
        assert not md.checkpoint(md.tanh, x).requires_grad
    assert md.checkpoint(lambda x: x, x) is x
    assert not md.checkpoint(md.tanh, x.detach()).requires_grad
    with pytest.raises(ArgumentError, match="must return one tensor, got tuple"):
        md.checkpoint(lambda x: (x, x), x)


def test_backward_again_only_with_retain_graph():
    x = numbers(3).requires_grad_()
    y = md.checkpoint(md.tanh, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (1 - np.tanh(x.detach().numpy()) ** 2))
    with pytest.raises(GradientError, match="freed by an earlier backward"):
        y.backward()


def test_the_rest_of_the_graph_is_not_freed_or_walked_twice():
    x = numbers(3).requires_grad_()
    h = md.tanh(x)
    (md.checkpoint(lambda h: h * h, h) + h).sum().backward()
    t = np.tanh(x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), (2 * t + 1) * (1 - t * t), rtol=1e-12)
