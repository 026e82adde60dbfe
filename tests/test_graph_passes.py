"""Passes and the plan of memory: random programs mean the same before and after, and no live value is overwritten."""
import numpy as np
import pytest

import minidl as md
from minidl.errors import InplaceError
from minidl.random import Generator
from tests import test_random_graphs as random_graphs
from tests.graph_tools import all_same, every_way, recorded, values_of, with_gradients


# ---------------------------------------------------------------------- random programs
def _draw(rng, x, y, generator):
    draw = md.rand if rng.integers(2) else md.randn
    new = draw(*x.shape, dtype=md.float64, generator=generator)
    return (x * new, x + new - draw(*x.shape, dtype=md.float64, generator=generator))[int(rng.integers(2))]


def _unused(rng, x, y, generator):
    (x.tanh() * 3).sum()
    md.rand(2, generator=generator)                    # drawn in eager mode, too
    return None


def _slices_put_together(rng, x, y, generator):
    """The gradient is a sum of slices put into zeros."""
    if not x.ndim or x.shape[-1] < 2:
        return None
    cut = int(rng.integers(1, x.shape[-1]))
    return md.cat([x[..., cut:], x[..., :cut].tanh()], -1) + x


EXTRA = [
    _draw, _unused, _slices_put_together,
    lambda rng, x, y, generator: x.tanh() + x.tanh() * 2 + (x * 1.0).tanh(),
    lambda rng, x, y, generator: (-x).neg() + 0 - 0.0 * x.detach(),
    lambda rng, x, y, generator: (x * 1 + 0) / 1 - 0,
    lambda rng, x, y, generator: x.reshape(-1).reshape(1, -1).reshape(*x.shape) * 1.5,
    lambda rng, x, y, generator: x.permute(*range(x.ndim)[::-1]).permute(*range(x.ndim)[::-1]) + 0.25,
    lambda rng, x, y, generator: x + md.ones(*x.shape, dtype=md.float64) * 2,
    lambda rng, x, y, generator: x.expand(3, *x.shape).sum(0).tanh() if x.ndim < 3 else None,
    lambda rng, x, y, generator: (x**2) ** 1 / 4,
    lambda rng, x, y, generator: md.where((x > 0).logical_not().logical_not(), x, 0.5),
    lambda rng, x, y, generator: x.clone().to(md.float64),
    lambda rng, x, y, generator: (x.float() * 2).double(),
]


def program_of(seed):
    """A function of tensors that does the same at every call: the steps of test_random_graphs, and EXTRA."""
    def function(generator, *leaves):
        rng, pool, constant = (
            np.random.default_rng(seed + 2_000_000),
            [x * 1.0 for x in leaves],
            random_graphs.Constants(),
        )
        steps = random_graphs.STEPS
        for _ in range(int(rng.integers(3, 12))):
            k = int(rng.integers(len(steps) + 2 * len(EXTRA)))
            x, y = pool[rng.integers(len(pool))], pool[rng.integers(len(pool))]
            if k >= len(steps):
                new = EXTRA[(k - len(steps)) % len(EXTRA)](rng, x, y, generator)
            else:
                new = steps[k](rng, x, y, constant) if steps[k] in random_graphs.CUT_OFF else steps[k](rng, x, y)
            for out in () if new is None else new if isinstance(new, tuple) else (new,):
                if out.numel() <= 48:
                    pool.append(out)
        return [pool[-1], *(pool[k] for k in rng.integers(0, len(pool), 2))]
    return function


def check(seed):
    """One program, in every way; "right" or "refused" (a change in place)."""
    function, generator = program_of(seed), Generator(seed)
    tensors = random_graphs.leaves_of(seed)
    for x in tensors:
        x.requires_grad = bool(seed % 5)
    start = generator.get_state()
    try:
        expected = with_gradients(lambda *xs: function(generator, *xs), tensors)
        after = generator.get_state()
        generator.set_state(start)
        graph = recorded(lambda *xs: function(generator, *xs), tensors)
    except InplaceError:
        return "refused"
    assert generator.get_state() == start, f"seed {seed}: numbers were drawn while a graph was made"
    values = values_of(graph, tensors)
    before = [(v, v.copy()) for v in values.values() if isinstance(v, np.ndarray)]
    for way, outputs in every_way(graph, values):
        generator.set_state(start)
        found = outputs()
        all_same(found, expected, f"seed {seed}, {way}")
        assert generator.get_state() == after, f"seed {seed}, {way}: another number of draws"
        if way.startswith("program"):
            for y in found:                            # nobody else's memory: scribble over it
                assert y.flags.writeable or not y.size, f"seed {seed}, {way}: an output that cannot be written to"
                y[...] = 77 if y.dtype.kind != "b" else True
            for a in found:
                assert sum(np.shares_memory(a, b) for b in found) == 1 or not a.size, (
                    f"seed {seed}, {way}: shared outputs"
                )
        for array, copy in before:
            np.testing.assert_array_equal(array, copy, err_msg=f"seed {seed}, {way}: an input or constant was changed")
    return "right"


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_random_programs_mean_the_same_in_every_form(start):
    found = [check(seed) for seed in range(start, start + 50)]
    assert found.count("right") >= 30


@pytest.mark.slow
@pytest.mark.parametrize("start", range(200, 1400, 100))
def test_a_thousand_random_programs_mean_the_same_in_every_form(start):
    found = [check(seed) for seed in range(start, start + 100)]
    assert found.count("right") >= 65
