"""What must hold for every primitive, on every sample and every variant of it (samples.py)."""
import numpy as np
import pytest

import minidl as md
from minidl import autograd
from minidl.errors import GradientError
from minidl.primitive import primitive, registry
from tests.samples import TABLE, Sample, flags

OURS = [name for name, op in registry.items() if op.__module__.startswith("minidl.")]
every_sample = pytest.mark.parametrize("base", TABLE, ids=str)
differentiable = pytest.mark.parametrize("base", [s for s in TABLE if s.wrt()], ids=str)


def but_for(**kept):
    """As `differentiable`; of some slow ops only so many samples are kept, the rest is left to `make test-more`."""
    names = [s.name for s in TABLE]
    return pytest.mark.parametrize("base", [
        pytest.param(s, id=str(s), marks=[pytest.mark.more] if names[:k].count(s.name) >= kept.get(s.name, 99) else [])
        for k, s in enumerate(TABLE) if s.wrt()])


def tensors(sample, dtype=np.float64):
    """The inputs of a sample as tensors; those to differentiate require a gradient."""
    wrt = sample.wrt()
    return [md.Tensor(a, k in wrt) if isinstance(a, np.ndarray) else a for k, a in enumerate(sample.inputs(dtype))]


def check(sample, second_order=False):
    """Check the gradients of a sample."""
    return autograd.check_gradients(
        lambda *xs: sample.op(*xs, **sample.meta()), tensors(sample), second_order=second_order
    )


def check_shape(sample, dtype=np.float64):
    """Hold the shape rule and the dtype rule against the forward."""
    arrays, meta = sample.inputs(dtype), sample.meta(dtype)
    out = np.asarray(sample.op(*arrays, **meta))
    assert sample.op.shape_rule(*map(np.shape, arrays), **meta) == out.shape, sample.variant
    dtypes = [a.dtype if isinstance(a, np.ndarray) else type(a)(0) for a in arrays]
    assert sample.op.dtype_rule(*dtypes, **meta) == out.dtype, sample.variant


# ---------------------------------------------------------------------- the table
@pytest.mark.parametrize("name", OURS)
def test_every_primitive_has_a_sample(name):
    assert name in {s.name for s in TABLE}, f"add a line for {name} to tests/samples.py"


@pytest.mark.parametrize("name", [name for name in OURS if registry[name].differentiable])
def test_every_primitive_is_differentiated_by_some_sample(name):
    assert any(s.wrt() for s in TABLE if s.name == name)


@differentiable
def test_every_differentiable_input_has_a_rule(base):
    op = base.op
    named = {op.inputs[0] if op.variadic else op.inputs[k] for k in base.wrt()}
    assert named <= set(op.rules) or op.expansion is not None


@every_sample
def test_every_primitive_says_what_it_does(base):
    assert base.op.__doc__ and base.op.__doc__.strip().endswith(".")


# ---------------------------------------------------------------------- derivatives
@but_for(lstm_slopes=1)
def test_gradient_equals_central_differences(base):
    for variant in base.variants():
        assert check(variant), variant.variant


@pytest.mark.parametrize("base", [s for s in TABLE if s.op.expansion is not None], ids=str)
def test_what_is_differentiated_in_place_of_an_op_computes_the_same(base):
    for variant in base.variants():
        expected = variant.op.forward(np, *variant.inputs(), **variant.meta())
        found = variant.op.expansion(*tensors(variant), **variant.meta()).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13, err_msg=variant.variant)


@but_for(lstm_slopes=0, lstm_scan=1)
def test_gradient_of_the_gradient_equals_central_differences(base):
    images = ["channels last"] if base.op.__module__.endswith((".conv", ".pool")) else []
    for variant in base.variants():
        if variant.variant in ["plain", "broadcast", "without axes", "empty", *images]:
            assert check(variant, second_order=True), variant.variant


@differentiable
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_has_shape_and_dtype_of_its_input(base, dtype):
    for variant in base.variants():
        inputs = tensors(variant, dtype)
        out = variant.op(*inputs, **variant.meta(dtype))
        wanted = [inputs[k] for k in variant.wrt()]
        found = autograd.grad(out, wanted, md.ones_like(out), allow_unused=True)
        for x, g in zip(wanted, found):
            assert g is None or (g.shape, g.dtype) == (x.shape, x.dtype), variant.variant
            assert g is None or type(g.array) is np.ndarray, variant.variant


@differentiable
def test_gradient_of_one_input_alone_is_the_same(base):
    inputs, wrt = tensors(base), base.wrt()
    out = base.op(*inputs, **base.meta())
    together = autograd.grad(out, [inputs[k] for k in wrt], md.ones_like(out), allow_unused=True)
    for k, expected in zip(wrt, together):
        alone = [x.detach().requires_grad_(j == k) if j in wrt else x for j, x in enumerate(inputs)]
        out = base.op(*alone, **base.meta())
        (found,) = autograd.grad(out, alone[k], md.ones_like(out), allow_unused=True)
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


@differentiable
def test_gradient_on_arrays_equals_gradient_on_tensors(base):
    inputs = tensors(base)
    out = base.op(*inputs, **base.meta())
    g = md.tensor(np.random.default_rng(1).standard_normal(out.shape))
    wanted = [inputs[k] for k in base.wrt()]
    plain = autograd.grad(out, wanted, g, retain_graph=True, allow_unused=True)
    lifted = autograd.grad(out, wanted, g, create_graph=True, allow_unused=True)
    for a, b in zip(plain, lifted):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-14, atol=1e-14)


# ---------------------------------------------------------------------- forwards
@every_sample
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_rule_and_dtype_rule_tell_the_truth(base, dtype):
    for variant in base.variants():
        check_shape(variant, dtype)


@every_sample
def test_layout_of_memory_changes_nothing(base):
    plain = np.asarray(base.op(*base.inputs(), **base.meta()))
    for variant in base.variants():
        if variant.layout != "plain":
            found = np.asarray(variant.op(*variant.inputs(), **variant.meta()))
            np.testing.assert_allclose(found, plain, rtol=1e-13, atol=1e-13, err_msg=variant.variant)


@every_sample
def test_float32_stays_float32(base):
    for variant in base.variants():
        out = np.asarray(variant.op(*variant.inputs(np.float32), **variant.meta(np.float32)))
        assert out.dtype != np.float64, variant.variant


@every_sample
def test_forward_and_rules_leave_their_inputs_alone(base):
    for variant in base.variants():
        inputs = tensors(variant)
        arrays = [x.array for x in inputs if isinstance(x, md.Tensor)]
        before = [a.copy() for a in arrays]
        for array in arrays:
            array.flags.writeable = False
        out = variant.op(*inputs, **variant.meta())
        if out.requires_grad if isinstance(out, md.Tensor) else False:
            g = md.ones_like(out)
            g.array.flags.writeable = False
            out.backward(g)
        for a, b in zip(arrays, before):
            np.testing.assert_array_equal(a, b)


@every_sample
def test_arrays_in_array_out_tensor_in_tensor_out(base):
    if not base.specs:
        pytest.skip("no inputs")
    for variant in base.variants():
        arrays = variant.inputs()
        plain = variant.op(*arrays, **variant.meta())
        inputs = [md.Tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]
        lifted = variant.op(*inputs, **variant.meta())
        assert isinstance(plain, np.ndarray | np.generic), variant.variant
        assert type(lifted) is md.Tensor and type(lifted.array) is np.ndarray, variant.variant
        np.testing.assert_array_equal(lifted.numpy(), plain)


@every_sample
def test_only_views_share_memory_with_their_input(base):
    arrays = base.inputs()
    out = base.op(*arrays, **base.meta())
    for a in arrays:
        if isinstance(a, np.ndarray) and isinstance(out, np.ndarray):
            assert base.op.view or not np.shares_memory(a, out)


@every_sample
def test_recording_keeps_only_what_rules_ask_for(base):
    inputs = tensors(base)
    out = base.op(*inputs, **base.meta())
    if not base.wrt():
        assert not getattr(out, "requires_grad", False)
        return
    plan, node = out.node.plan, out.node
    assert (node.out is not None) == plan.keep_out
    asked = set().union(*(rule.wants for rule in base.op.rules.values()))
    assert {base.op.inputs[base.op.place(k)] for k in plan.kept} <= asked


# ---------------------------------------------------------------------- the checks check
@pytest.fixture
def planted():
    """A way to plant an op for the length of a test."""
    names = []

    def plant(forward, **about):
        op = primitive(forward, **about)
        names.extend(name for name, found in registry.items() if found is op)
        return op
    yield plant
    for name in names:
        del registry[name]


def forward_of_cube(xp, x):
    """x ** 3."""
    return x * x * x


def test_a_wrong_gradient_rule_is_found(planted):
    op = planted(forward_of_cube)
    op.grad("x")(lambda g, x: g * (2 * x * x))
    with pytest.raises(GradientError, match="wrong at"):
        check(Sample(op.name, ((2, 3),), {}))


def test_a_right_first_and_wrong_second_derivative_is_found(planted):
    op = planted(forward_of_cube)
    op.grad("x")(lambda g, x: g * (3 * x * (x.detach() if isinstance(x, md.Tensor) else x)))
    assert check(Sample(op.name, ((2, 3),), {}))
    with pytest.raises(GradientError, match="second order"):
        check(Sample(op.name, ((2, 3),), {}), second_order=True)


def test_a_wrong_shape_rule_is_found(planted):
    op = planted(forward_of_cube)
    op.shape(lambda x: x[::-1])
    with pytest.raises(AssertionError):
        check_shape(Sample(op.name, ((2, 3),), {}))


def test_a_wrong_dtype_is_found(planted):
    op = planted(lambda xp, x: x > 0, dtype="int64")
    op.shape(lambda x: x)
    with pytest.raises(AssertionError):
        check_shape(Sample(op.name, ((2, 3),), {}))


def test_a_forward_that_writes_on_its_input_is_found(planted):
    def forward_that_writes(xp, x):
        x *= 2
        return x + 0
    op = planted(forward_that_writes)
    with pytest.raises(Exception, match="read-only"):
        test_forward_and_rules_leave_their_inputs_alone(Sample(op.name, ((2, 3),), {}))


def test_samples_are_the_same_at_every_call():
    sample = Sample("where", (flags(2, 3), (2, 3), (2, 3)), {})
    for a, b in zip(sample.inputs(), sample.inputs()):
        np.testing.assert_array_equal(a, b)


def test_floats_of_a_sample_all_differ():
    numbers = np.concatenate([a.ravel() for a in Sample("add", ((2, 3), (4,)), {}).inputs()])
    assert len(set(numbers)) == numbers.size and np.abs(np.diff(np.sort(numbers))).min() > 0.1


@pytest.mark.parametrize("base", [s for s in TABLE if any(r.fresh for r in s.op.rules.values())], ids=str)
def test_a_rule_that_promises_a_fresh_array_keeps_its_word(base):
    for variant in base.variants():
        inputs = tensors(variant)
        node = variant.op(*inputs, **variant.meta()).node
        g = np.ones(node.shape, node.dtype)
        held = [g, node.out, *[getattr(x, "array", x) for x in inputs]]
        for _, pull, fresh in node.plan.pulls:
            if fresh:
                first, second = pull(g, node, None), pull(g, node, None)
                assert first.flags.writeable and first.flags.c_contiguous
                assert not any(np.shares_memory(first, x) for x in [*held, second] if isinstance(x, np.ndarray))
