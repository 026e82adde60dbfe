"""The functions against NumPy, and at the ends of the number line."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl.autograd import check_gradients, grad
from minidl.errors import ArgumentError, DimensionError, DTypeError, ShapeError

moderate = st.floats(-4, 4, allow_nan=False, width=32)


def arrays(min_dims=0, min_side=1, max_dims=3, elements=moderate):
    """Small float64 arrays."""
    return hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=4),
        elements=elements,
    )


def same(found, expected, **tolerance):
    """Equal in shape and numbers."""
    found = found.detach().numpy()
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, **{"rtol": 1e-10, "atol": 1e-12, **tolerance})


# ---------------------------------------------------------------------- reductions
@st.composite
def array_and_axes(draw, min_side=0):
    """An array and None, one axis, or several; some counted from the end."""
    array = draw(arrays(min_dims=1, min_side=min_side))
    axes = draw(
        st.one_of(
            st.none(),
            st.integers(-array.ndim, array.ndim - 1),
            st.lists(st.integers(0, array.ndim - 1), min_size=1, unique=True).map(tuple),
        )
    )
    return array, axes, draw(st.booleans())


@pytest.mark.parametrize("name, numpys", [("sum", np.sum), ("mean", np.mean), ("any", np.any), ("all", np.all)])
@given(case=array_and_axes())
def test_reductions_equal_numpys(name, numpys, case):
    array, dim, keepdim = case
    assume(array.size or name != "mean")
    same(getattr(md, name)(md.tensor(array), dim, keepdim), numpys(array, axis=dim, keepdims=keepdim))


@pytest.mark.parametrize("name, numpys", [("amax", np.max), ("amin", np.min)])
@given(case=array_and_axes(min_side=1))
def test_extremes_equal_numpys(name, numpys, case):
    array, dim, keepdim = case
    same(
        getattr(md, name)(md.tensor(array), () if dim is None else dim, keepdim),
        numpys(array, axis=dim, keepdims=keepdim),
    )


@given(case=array_and_axes(min_side=1), correction=st.integers(0, 2))
def test_var_and_std_equal_numpys(case, correction):
    array, dim, keepdim = case
    count = array.size / max(np.sum(array, axis=dim).size, 1)
    assume(count > correction)
    x = md.tensor(array)
    same(x.var(dim, keepdim=keepdim, correction=correction), np.var(array, axis=dim, keepdims=keepdim, ddof=correction))
    same(
        x.std(dim, keepdim=keepdim, correction=correction),
        np.std(array, axis=dim, keepdims=keepdim, ddof=correction),
        atol=1e-7,
    )


@given(case=array_and_axes(min_side=1), p=st.sampled_from([0, 1, 2, 3, 0.5, math.inf, -math.inf, "fro"]))
def test_norm_equals_its_formula(case, p):
    array, dim, keepdim = case
    size = np.abs(array)
    reduce = dict(axis=dim, keepdims=keepdim)
    expected = (
        size.max(**reduce)
        if p == math.inf
        else size.min(**reduce)
        if p == -math.inf
        else (array != 0).sum(**reduce)
        if p == 0
        else (size ** (2 if p == "fro" else p)).sum(**reduce) ** (1 / (2 if p == "fro" else p))
    )
    same(md.norm(md.tensor(array), p, dim, keepdim), expected)


@given(arrays(min_dims=1, min_side=0), st.data())
def test_running_and_whole_products_equal_numpys(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    x = md.tensor(array)
    same(x.prod(axis), np.prod(array, axis=axis))
    same(x.prod(), np.prod(array))
    same(x.cumprod(axis), np.cumprod(array, axis=axis))
    same(x.cumsum(axis), np.cumsum(array, axis=axis))


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.prod(),
        lambda x: x.prod(0),
        lambda x: x.prod(-1, keepdim=True),
        lambda x: x.cumprod(0),
        lambda x: x.cumprod(1),
    ],
)
def test_products_with_zeros_have_the_right_gradient(function, zeros):
    numbers = np.array([0.5, -1.5, 2.0, 3.0, -0.7, 1.1])
    numbers[:zeros] = 0
    assert check_gradients(function, [md.tensor(numbers.reshape(3, 2), requires_grad=True)], second_order=True)


def test_whole_numbers_multiply_exactly():
    assert md.tensor([3, 5, 7]).prod().item() == 105 and md.tensor([[2, 3], [4, 5]]).cumprod(0).tolist() == [
        [2, 3],
        [8, 15],
    ]


@given(arrays(min_dims=1), st.data())
def test_max_and_min_along_an_axis_point_at_what_they_return(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    for function, numpys in ((md.max, np.argmax), (md.min, np.argmin)):
        values, indices = function(md.tensor(array), axis)
        np.testing.assert_array_equal(indices.numpy(), numpys(array, axis=axis))
        np.testing.assert_array_equal(
            values.numpy(), np.take_along_axis(array, np.expand_dims(indices.numpy(), axis), axis).squeeze(axis)
        )


def test_gradient_of_max_along_an_axis_goes_to_one_and_of_amax_to_all():
    x = md.tensor([[1.0, 3.0, 3.0]], requires_grad=True)
    assert grad(x.max(dim=1).values.sum(), x)[0].tolist() == [[0, 1, 0]]
    assert grad(x.amax(1).sum(), x)[0].tolist() == [[0, 0.5, 0.5]] == grad(x.max(), x)[0].tolist()


@given(array_and_axes(min_side=1))
def test_logsumexp_equals_its_formula(case):
    array, dim, keepdim = case
    axes = tuple(range(array.ndim)) if dim is None else dim
    same(md.logsumexp(md.tensor(array), axes, keepdim), np.log(np.exp(array).sum(axis=axes, keepdims=keepdim)))


@given(arrays(min_dims=1), st.data())
def test_softmax_is_a_distribution_and_log_softmax_its_logarithm(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    p = md.softmax(md.tensor(array), axis)
    assert (p.numpy() > 0).all()
    np.testing.assert_allclose(p.numpy().sum(axis), 1, rtol=1e-12)
    same(md.log_softmax(md.tensor(array), axis), np.log(p.numpy()), rtol=1e-9)


@given(arrays(min_dims=1), st.floats(-50, 50))
def test_softmax_does_not_see_a_shift(array, shift):
    same(md.softmax(md.tensor(array + shift), -1), md.softmax(md.tensor(array), -1).numpy(), rtol=1e-9)


def test_mean_of_whole_numbers_is_refused():
    with pytest.raises(DTypeError, match=r"x\.float\(\)\.mean\(\)"):
        md.tensor([1, 2]).mean()


# ---------------------------------------------------------------------- elementwise
@pytest.mark.parametrize(
    "name, numpys, low, high",
    [
        ("exp", np.exp, -3, 3),
        ("expm1", np.expm1, -3, 3),
        ("log", np.log, 0.1, 9),
        ("log1p", np.log1p, -0.9, 9),
        ("log2", np.log2, 0.1, 9),
        ("log10", np.log10, 0.1, 9),
        ("sqrt", np.sqrt, 0, 9),
        ("rsqrt", lambda x: 1 / np.sqrt(x), 0.1, 9),
        ("sin", np.sin, -9, 9),
        ("cos", np.cos, -9, 9),
        ("tan", np.tan, -1.4, 1.4),
        ("asin", np.arcsin, -1, 1),
        ("acos", np.arccos, -1, 1),
        ("atan", np.arctan, -9, 9),
        ("sinh", np.sinh, -3, 3),
        ("cosh", np.cosh, -3, 3),
        ("tanh", np.tanh, -9, 9),
        ("abs", np.abs, -9, 9),
        ("sign", np.sign, -9, 9),
        ("floor", np.floor, -9, 9),
        ("ceil", np.ceil, -9, 9),
        ("trunc", np.trunc, -9, 9),
        ("round", np.round, -9, 9),
        ("square", np.square, -9, 9),
        ("reciprocal", np.reciprocal, 0.1, 9),
        ("erf", np.vectorize(math.erf), -6, 6),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -30, 30),
    ],
)
def test_functions_of_one_number_equal_numpys(name, numpys, low, high):
    x = np.concatenate([np.linspace(low, high, 101), [low, high]])
    same(getattr(md, name)(md.tensor(x)), numpys(x), rtol=2e-14, atol=0 if name != "erf" else 3e-16)


@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh", "erf", "expm1", "sinh"])
def test_float32_is_right_to_its_last_digits(name):
    x = np.linspace(-20, 20, 401).astype(np.float32)
    exact = getattr(md, name)(md.tensor(x.astype(np.float64))).numpy()
    np.testing.assert_allclose(
        getattr(md, name)(md.tensor(x)).numpy(), exact, rtol=2e-6, atol=2e-7 if name == "erf" else 0
    )


@pytest.mark.parametrize("decimals", [0, 1, 2, -1])
def test_round_to_decimals(decimals):
    x = np.array([1.234, -56.789, 0.5, 1.5, 2.5])
    same(md.round(md.tensor(x), decimals=decimals), np.round(x, decimals))


@given(arrays(), st.sampled_from([(None, 1.0), (-1.0, None), (-1.0, 0.5), (1.0, -1.0)]))
def test_clamp_equals_numpys(array, bounds):
    low, high = bounds
    expected = array if low is None else np.maximum(array, low)
    same(md.clamp(md.tensor(array), low, high), expected if high is None else np.minimum(expected, high))


def test_gradient_of_clamp_flows_where_nothing_was_replaced():
    x = md.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    x.clamp(-1, 1).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_clamp_takes_tensors_and_gives_them_gradients():
    assert check_gradients(
        lambda x, low: md.clamp(x, min=low),
        [
            md.tensor([[0.3, -2.0]], dtype=md.float64, requires_grad=True),
            md.tensor([[0.5], [-3.0]], dtype=md.float64, requires_grad=True),
        ],
    )


@pytest.mark.parametrize(
    "mode, numpys", [("floor", np.floor_divide), ("trunc", lambda x, y: np.trunc(x / y)), (None, np.divide)]
)
def test_division_rounds_as_asked(mode, numpys):
    x, y = np.array([7.0, -7.0, 7.5, -7.5]), np.array([2.0, 2.0, -2.0, -2.0])
    same(md.div(md.tensor(x), md.tensor(y), rounding_mode=mode), numpys(x, y))
    out = md.div(md.tensor([7, -7]), 2, rounding_mode="trunc")
    assert out.tolist() == [3, -3] and out.dtype == md.int64


def test_unknown_rounding_mode_is_refused():
    with pytest.raises(ArgumentError, match="rounding mode"):
        md.div(md.ones(1), 2, rounding_mode="up")


@pytest.mark.parametrize(
    "exponent, x, expected",
    [
        (3, 0.0, 0.0),
        (1, 0.0, 1.0),
        (0, 0.0, 0.0),
        (0, 2.0, 0.0),
        (2, 0.0, 0.0),
        (-1, 2.0, -0.25),
        (0.5, 4.0, 0.25),
        (2.0, -3.0, -6.0),
        (3, -2.0, 12.0),
    ],
)
def test_gradient_of_powers_also_at_zero(exponent, x, expected):
    for power in (exponent, md.tensor(float(exponent))):
        leaf = md.tensor(x, requires_grad=True)
        assert grad(leaf**power, leaf)[0].item() == pytest.approx(expected)


def test_gradient_of_the_exponent_also_at_zero():
    y = md.tensor([2.0, 0.0, 3.0], requires_grad=True)
    (md.tensor([0.0, 0.0, 2.0]) ** y).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), [0, 0, 8 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("stride, expected", [(2, [[1, 0, 1, 0], [0, 0, 0, 0]]), (1, [[1, 1, 1, 0], [0, 0, 0, 0]])])
def test_of_equal_numbers_in_a_window_the_first_gets_the_gradient(stride, expected):
    x = md.ones(1, 1, 2, 4, requires_grad=True)
    window = dict(kernel=(2, 2), stride=(stride, stride), padding=(0, 0), dilation=(1, 1))
    out = md.ops.max_pool2d(x, ceil_mode=False, **window)
    (g,) = grad(out.sum(), x, create_graph=True)
    assert g[0, 0].tolist() == expected


# ---------------------------------------------------------------------- shapes
@given(arrays(min_dims=1), st.data())
def test_shape_functions_equal_numpys(array, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    other = data.draw(st.integers(-array.ndim, array.ndim - 1))
    shift = data.draw(st.integers(-5, 5))
    x = md.tensor(array)
    same(x.transpose(axis, other), np.swapaxes(array, axis, other))
    same(x.movedim(axis, other), np.moveaxis(array, axis, other))
    same(x.flip(axis), np.flip(array, axis))
    same(x.roll(shift, axis), np.roll(array, shift, axis))
    same(x.roll(shift), np.roll(array, shift))
    same(x.unsqueeze(axis), np.expand_dims(array, axis))
    same(x.squeeze(), np.squeeze(array))
    same(x.repeat_interleave(2, axis), np.repeat(array, 2, axis))
    same(x.tile(2, 3), np.tile(array, (2, 3)))
    same(md.stack([x, x], axis), np.stack([array, array], axis))
    same(md.cat([x, x], axis), np.concatenate([array, array], axis))
    for a, b in zip(
        x.chunk(2, axis), np.array_split(array, 2, axis) if array.shape[axis] % 2 == 0 or array.shape[axis] == 3 else []
    ):
        same(a, b)


@given(arrays(min_dims=2), st.integers(-3, 3))
def test_triangles_and_diagonals_equal_numpys(array, k):
    x = md.tensor(array)
    same(x.tril(k), np.tril(array, k))
    same(x.triu(k), np.triu(array, k))
    same(x.diagonal(k), np.diagonal(array, k))
    same(x.diagonal(k, -1, 0), np.diagonal(array, k, -1, 0))


@pytest.mark.parametrize("k", [-2, 0, 1])
def test_diag_goes_both_ways(k):
    x = md.tensor([1.0, 2.0, 3.0])
    same(x.diag(k), np.diag([1.0, 2.0, 3.0], k))
    same(x.diag(k).diag(k), [1.0, 2.0, 3.0])


def test_split_takes_sizes_and_refuses_wrong_ones():
    x = md.arange(7)
    assert [p.tolist() for p in x.split(3)] == [[0, 1, 2], [3, 4, 5], [6]] and [len(p) for p in x.split([1, 6])] == [
        1,
        6,
    ]
    with pytest.raises(ShapeError, match="sum to 7"):
        x.split([1, 2])


def test_reshape_works_out_one_size():
    x = md.zeros(2, 6)
    assert x.reshape(3, -1).shape == x.view((3, -1)).shape == (3, 4) and x.flatten(0, 1).shape == (12,)
    assert x.unflatten(1, (2, -1)).shape == (2, 2, 3)
    for wrong in ((5, -1), (-1, -1), (5, 2)):
        with pytest.raises(ShapeError):
            x.reshape(wrong)


SCATTERED = {"transposed": lambda x: (x.T, (6,)), "a part of each row": lambda x: (x[:, :2], (4,)),
             "repeated": lambda x: (x.expand(4, 2, 3), (24,)), "part of a transposed part": lambda x: (x.T[1:], (-1,))}


@pytest.mark.parametrize("kind", SCATTERED)
def test_view_refuses_what_reshape_would_copy(kind):
    x, shape = SCATTERED[kind](md.arange(6).reshape(2, 3))
    for attempt in (lambda: x.view(shape), lambda: x.view_as(md.zeros(x.reshape(shape).shape))):
        with pytest.raises(ShapeError) as info:
            attempt()
        first, _, _, advice = str(info.value).splitlines()
        assert first.startswith("view: ") and "a view copies none" in first and advice.startswith("Try: x.reshape")
    assert x.reshape(shape).tolist() == x.contiguous().view(shape).tolist()


def test_view_of_a_view_that_needs_no_copy_shares_memory():
    x = md.zeros(2, 3)
    x.T.view(3, 2, 1).add_(1)
    x[1].view(3, 1).add_(1)
    assert x.tolist() == [[1, 1, 1], [2, 2, 2]] and md.zeros(0, 3).T.view(0).shape == (0,)


def test_view_takes_what_an_op_has_laid_out_in_its_own_way():
    y = md.nn.functional.conv2d(md.randn(2, 1, 6, 6), md.randn(4, 1, 3, 3))      # in reading order in PyTorch
    assert y.view(2, -1).tolist() == y.reshape(2, -1).tolist() and y[0].unsqueeze(0).view(-1).shape == (64,)
    with pytest.raises(ShapeError, match="copies none"):
        y.permute(0, 2, 3, 1).view(-1)


def test_cat_skips_the_empty_vector_and_promotes():
    out = md.cat([md.zeros(0), md.ones(2, 2), md.ones(1, 2, dtype=md.float64)])
    assert out.shape == (3, 2) and out.dtype == md.float64


# ---------------------------------------------------------------------- picking and putting
@st.composite
def array_axis_index(draw):
    """An array, an axis, and an index array for gather along it."""
    array = draw(arrays(min_dims=1))
    axis = draw(st.integers(0, array.ndim - 1))
    n = array.shape[axis]
    shape = [draw(st.integers(1, 4)) if k == axis else size for k, size in enumerate(array.shape)]
    return array, axis, draw(hnp.arrays(np.int64, tuple(shape), elements=st.integers(0, n - 1)))


@given(array_axis_index())
def test_gather_equals_take_along_axis_and_scatter_add_is_its_transpose(case):
    array, axis, index = case
    picked = md.gather(md.tensor(array), axis, md.tensor(index))
    same(picked, np.take_along_axis(array, index, axis))
    weights = np.random.default_rng(0).standard_normal(index.shape)
    put = md.zeros(array.shape, dtype=md.float64).scatter_add(axis, md.tensor(index), md.tensor(weights))
    np.testing.assert_allclose((picked.numpy() * weights).sum(), (array * put.numpy()).sum(), atol=1e-9)


@given(array_axis_index())
def test_gradients_of_gather_and_scatter_add_are_each_other(case):
    array, axis, index = case
    x = md.tensor(array, requires_grad=True)
    weights = md.tensor(np.random.default_rng(0).standard_normal(index.shape), requires_grad=True)
    (g,) = grad(x.gather(axis, md.tensor(index)), x, weights.detach())
    same(g, md.zeros(array.shape, dtype=md.float64).scatter_add(axis, md.tensor(index), weights).detach().numpy())
    out = x.detach().scatter_add(axis, md.tensor(index), weights)
    (g,) = grad(out, weights, md.tensor(array))
    same(g, np.take_along_axis(array, index, axis))


@given(array_axis_index())
def test_scatter_equals_put_along_axis(case):
    array, axis, index = case
    expected = array.copy()
    np.put_along_axis(expected, index, 9.5, axis)
    same(md.scatter(md.tensor(array), axis, md.tensor(index), 9.5), expected)


@given(arrays(min_dims=1), st.data())
def test_index_select_and_index_add(array, data):
    axis = data.draw(st.integers(0, array.ndim - 1))
    index = np.array(data.draw(st.lists(st.integers(0, array.shape[axis] - 1), min_size=1, max_size=4)))
    picked = md.index_select(md.tensor(array), axis, md.tensor(index))
    same(picked, np.take(array, index, axis))
    expected = array.copy()
    np.add.at(expected, (slice(None),) * axis + (index,), picked.numpy())
    same(md.index_add(md.tensor(array), axis, md.tensor(index), picked), expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, i: x.gather(0, i),
        lambda x, i: x.scatter(0, i, 1.0),
        lambda x, i: x.index_select(0, i[0]),
        lambda x, i: x.scatter_add(0, i, x),
        lambda x, i: x.index_add(0, i[0], x[:2]),
    ],
)
def test_an_index_out_of_range_is_an_index_error(call):
    with pytest.raises(DimensionError):
        call(md.zeros(3, 2), md.tensor([[0, 3]]))


@given(arrays(min_dims=1), st.booleans(), st.data())
def test_sort_argsort_and_topk(array, descending, data):
    axis = data.draw(st.integers(-array.ndim, array.ndim - 1))
    x, sign = md.tensor(array), -1 if descending else 1
    values, indices = md.sort(x, axis, descending)
    np.testing.assert_array_equal(values.numpy(), sign * np.sort(sign * array, axis))
    np.testing.assert_array_equal(indices.numpy(), np.argsort(sign * array, axis, kind="stable"))
    k = data.draw(st.integers(0, array.shape[axis]))
    top = md.topk(x, k, axis, largest=descending)
    np.testing.assert_array_equal(top.values.numpy(), np.take(values.numpy(), range(k), axis))
    np.testing.assert_array_equal(np.take_along_axis(array, top.indices.numpy(), axis), top.values.numpy())


def test_gradient_of_sort_goes_back_where_it_came_from():
    x = md.tensor([3.0, 1.0, 2.0], requires_grad=True)
    (x.sort().values * md.tensor([10.0, 20.0, 30.0])).sum().backward()
    assert x.grad.tolist() == [30.0, 10.0, 20.0]


@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=5), elements=st.integers(0, 4)))
def test_unique_nonzero_and_masks(array):
    x = md.tensor(array)
    values, inverse, counts = md.unique(x, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(values.numpy()[inverse.numpy()], array)
    assert counts.sum().item() == array.size
    np.testing.assert_array_equal(x.nonzero().numpy(), np.argwhere(array))
    np.testing.assert_array_equal(x.masked_select(x > 2).numpy(), array[array > 2])
    np.testing.assert_array_equal(x.masked_fill(x > 2, 7).numpy(), np.where(array > 2, 7, array))


# ---------------------------------------------------------------------- products
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.data())
def test_matmul_equals_numpys(batch, m, k, n, data):
    rng = np.random.default_rng(0)
    left, right = (
        [1 if data.draw(st.booleans()) else s for s in batch][data.draw(st.integers(0, len(batch))) :] for _ in range(2)
    )
    x, y = rng.standard_normal((*left, m, k)), rng.standard_normal((*right, k, n))
    same(md.tensor(x) @ md.tensor(y), x @ y)
    same(
        md.tensor(x) @ md.tensor(y[..., 0]) if y.ndim == 2 and n else md.tensor(x) @ md.tensor(y),
        x @ (y[..., 0] if y.ndim == 2 and n else y),
    )


@pytest.mark.parametrize(
    "a, b",
    [
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((4, 2, 3), (3,)),
        ((3,), (4, 3, 2)),
        ((4, 2, 3), (3, 5)),
        ((2, 3), (4, 3, 5)),
        ((4, 2, 3), (4, 3, 5)),
        ((2, 1, 2, 3), (4, 3, 2)),
    ],
)
def test_matmul_of_all_ranks_equals_numpys_and_has_the_right_gradient(a, b):
    rng = np.random.default_rng(0)
    x, y = (md.tensor(rng.standard_normal(s), requires_grad=True) for s in (a, b))
    same(x @ y, x.detach().numpy() @ y.detach().numpy())
    assert check_gradients(md.matmul, [x, y], second_order=True)


@st.composite
def equations(draw):
    """A random einsum: up to three operands over the letters a to e, with repeated letters and sizes of 0 and 1."""
    sizes = {c: draw(st.integers(0, 3)) for c in "abcde"}
    terms = draw(st.lists(st.text("abcde", min_size=0, max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations(letters))[: draw(st.integers(0, len(letters)))]) if letters else ""
    explicit = draw(st.booleans())
    return ",".join(terms) + ("->" + output if explicit else ""), [tuple(sizes[c] for c in t) for t in terms]


@given(equations())
def test_einsum_equals_numpys(case):
    equation, shapes = case
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal(s) for s in shapes]
    same(md.einsum(equation, *map(md.tensor, operands)), np.einsum(equation, *operands), rtol=1e-9)


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
        ("i...,i...->...", [(3, 2), (3, 2)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("...,...", [(2, 3), (3,)]),
        ("bhid,bhjd->bhij", [(2, 1, 3, 4), (2, 1, 5, 4)]),
        (" i j , j ", [(2, 3), (3,)]),
        ("ii", [(3, 3)]),
        ("ij->ji", [(2, 3)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
    ],
)
def test_einsum_with_dots_equals_numpys_and_has_the_right_gradient(equation, shapes):
    rng = np.random.default_rng(0)
    operands = [md.tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]
    same(md.einsum(equation, *operands), np.einsum(equation, *(x.detach().numpy() for x in operands)))
    assert check_gradients(lambda *xs: md.einsum(equation, *xs), operands)


@pytest.mark.parametrize("equation, shapes", [("ij,jk", [(2, 3)]), ("ij->i", [(2,)]), ("ij,jk->ik", [(2, 3), (4, 2)])])
def test_einsum_that_does_not_fit_is_refused(equation, shapes):
    with pytest.raises((ArgumentError, ShapeError)):
        md.einsum(equation, *map(md.zeros, shapes))


@pytest.mark.parametrize("alpha, beta", [(1, 1), (2, 1), (1, 0), (0.5, -1)])
def test_addmm_and_baddbmm(alpha, beta):
    rng = np.random.default_rng(0)
    a, x, y = rng.standard_normal((2, 4)), rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    same(md.addmm(*map(md.tensor, (a, x, y)), alpha=alpha, beta=beta), beta * a + alpha * (x @ y))
    same(
        md.baddbmm(*(md.tensor(v[None]) for v in (a, x, y)), alpha=alpha, beta=beta), (beta * a + alpha * (x @ y))[None]
    )


# ---------------------------------------------------------------------- the ends of the number line
TINY = {np.float32: 1e-40, np.float64: 1e-310}  # denormal
EXTREME = [0.0, -0.0, 1e4, -1e4, 1e30, -1e30, "tiny", "-tiny", 88.0, -88.0, 710.0, -710.0]


def extremes(dtype, *, infinite=False):
    """The numbers at which careless formulas overflow."""
    tiny = TINY[dtype]
    numbers = [tiny if v == "tiny" else -tiny if v == "-tiny" else v for v in EXTREME]
    return np.array(numbers + ([math.inf, -math.inf] if infinite else []), dtype)


BOUNDED = {  # whose value and derivative are finite everywhere
    "sigmoid": md.sigmoid,
    "tanh": md.tanh,
    "erf": md.erf,
    "atan": md.atan,
    "sin": md.sin,
    "relu": md.relu,
    "abs": md.abs,
    "logaddexp 0": lambda x: md.logaddexp(x, md.zeros_like(x)),
    "logaddexp self": lambda x: md.logaddexp(x, x),
    "softmax": lambda x: md.softmax(x, 0),
    "log_softmax": lambda x: md.log_softmax(x, 0),
    "logsumexp": lambda x: md.logsumexp(x, 0),
    "norm": lambda x: x.norm(),
    "norm 1": lambda x: x.norm(1) * 1e-3,
    "norm 3": lambda x: x.norm(3),
    "norm inf": lambda x: x.norm(math.inf),
    "norm of each": lambda x: x.reshape(-1, 1).norm(dim=1),
    "std": lambda x: (x * 1e-20).std(),
    "clamp": lambda x: x.clamp(-1, 1),
    "maximum": lambda x: md.maximum(x, -x),
    "cumsum": lambda x: x.cumsum(0),
    "mean": lambda x: x.mean(),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUNDED)
def test_no_nan_and_no_inf_that_mathematics_does_not_ask_for(name, dtype):
    for numbers in (extremes(dtype), extremes(dtype)[:2], extremes(dtype)[4:6], extremes(dtype)[6:8]):
        x = md.tensor(numbers, requires_grad=True)
        out = BOUNDED[name](x)
        out.sum().backward()
        assert np.isfinite(out.detach().numpy()).all(), numbers
        assert np.isfinite(x.grad.numpy()).all(), numbers


@pytest.mark.parametrize(
    "name, value, expected, slope",
    [
        ("sigmoid", math.inf, 1, 0),
        ("sigmoid", -math.inf, 0, 0),
        ("tanh", math.inf, 1, 0),
        ("tanh", -math.inf, -1, 0),
        ("erf", math.inf, 1, 0),
        ("erf", -math.inf, -1, 0),
        ("exp", -math.inf, 0, 0),
        ("relu", -math.inf, 0, 0),
        ("relu", math.inf, math.inf, 1),
        ("atan", math.inf, math.pi / 2, 0),
        ("exp", -1e30, 0, 0),
        ("sigmoid", -100.0, 3.72007597602083e-44, 3.72007597602083e-44),
        ("log1p", 1e-20, 1e-20, 1),
        ("expm1", 1e-20, 1e-20, 1),
    ],
)
def test_limits(name, value, expected, slope):
    x = md.tensor(value, dtype=md.float64, requires_grad=True)
    out = getattr(md, name)(x)
    out.backward()
    assert out.item() == pytest.approx(expected, rel=1e-12) and x.grad.item() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize(
    "numbers, expected",
    [
        ([-math.inf, 0.0], 0.0),
        ([-math.inf, -math.inf], -math.inf),
        ([math.inf, 0.0], math.inf),
        ([1e30, 1e30], 1e30),
        ([-1e4, -1e4], -1e4 + math.log(2)),
    ],
)
def test_logsumexp_of_infinities(numbers, expected):
    x = md.tensor(numbers, dtype=md.float64, requires_grad=True)
    out = x.logsumexp(0)
    out.backward()
    assert out.item() == pytest.approx(expected)
    assert np.isfinite(x.grad.numpy()).all() or math.inf in numbers


def test_softmax_with_masked_places():
    x = md.tensor([[0.0, -math.inf, 1.0]], requires_grad=True)
    p = x.softmax(1)
    (p * md.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    assert p.tolist()[0][1] == 0 and np.isfinite(x.grad.numpy()).all() and x.grad.tolist()[0][1] == 0


def test_log_softmax_with_masked_places_has_a_finite_gradient():
    x = md.tensor([[0.0, -math.inf, 1.0]], requires_grad=True)
    x.log_softmax(1)[0, 2].backward()
    assert np.isfinite(x.grad.numpy()).all() and x.grad.tolist()[0][1] == 0


@pytest.mark.parametrize("p", [1, 2, 3, 1.5, math.inf])
def test_gradient_of_a_norm_at_zero_is_zero(p):
    x = md.zeros(3, requires_grad=True)
    x.norm(p).backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_gradient_of_std_of_equal_numbers_is_zero():
    x = md.ones(4, requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-40])
def test_norm_is_homogeneous_where_squares_overflow(scale):
    x = md.tensor([3.0, 4.0]) * scale
    assert x.norm().item() == pytest.approx(5 * scale, rel=1e-3)


def test_second_derivative_of_a_norm():
    assert check_gradients(
        lambda x: x.norm(), [md.tensor([0.3, -2.0, 1.0], dtype=md.float64, requires_grad=True)], second_order=True
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.max(),
        lambda x: x.min(),
        lambda x: x.sum(),
        lambda x: x.relu(),
        lambda x: x.clamp(0, 1),
        lambda x: x.softmax(0),
        lambda x: x.logsumexp(0),
        lambda x: md.maximum(x, md.zeros(2)),
        lambda x: x.norm(),
    ],
)
def test_nan_is_not_hidden(function):
    assert np.isnan(function(md.tensor([math.nan, 1.0])).numpy()).any()


@pytest.mark.parametrize(
    "function",
    [lambda x: x.log(), lambda x: 1 / x, lambda x: x**-1, lambda x: x.sqrt(), lambda x: x.log().exp(), lambda x: x % 0],
)
def test_poles_give_inf_or_nan_without_a_warning(function):
    x = md.tensor([0.0, -0.0], requires_grad=True)
    out = function(x)
    out.backward(md.ones_like(out))
