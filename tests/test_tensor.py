"""The tensor itself: making, typing, indexing, viewing, printing, copying."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as md
from minidl.errors import DimensionError, DTypeError, GradientError, ShapeError

# ---------------------------------------------------------------------- creation
MADE = [
    (lambda: md.tensor(1.5), (), md.float32),
    (lambda: md.tensor(1), (), md.int64),
    (lambda: md.tensor(True), (), md.bool),
    (lambda: md.tensor([1, 2.5]), (2,), md.float32),
    (lambda: md.tensor([[1], [2]]), (2, 1), md.int64),
    (lambda: md.tensor([]), (0,), md.float32),
    (lambda: md.tensor([[], []]), (2, 0), md.float32),
    (lambda: md.tensor(np.arange(3, dtype=np.int32)), (3,), md.int32),
    (lambda: md.tensor(np.ones(2)), (2,), md.float64),
    (lambda: md.tensor(np.float64(2)), (), md.float64),
    (lambda: md.tensor([np.float64(2)]), (1,), md.float64),
    (lambda: md.tensor([1, 2], dtype=md.float16), (2,), md.float16),
    (lambda: md.tensor([1.7], dtype=md.int64), (1,), md.int64),
    (lambda: md.tensor(md.ones(2, dtype=md.float64)), (2,), md.float64),
    (lambda: md.tensor([md.tensor(1.0), md.tensor(2.0)]), (2,), md.float32),
    (lambda: md.zeros(2, 3), (2, 3), md.float32),
    (lambda: md.ones((2, 3)), (2, 3), md.float32),
    (lambda: md.zeros([2]), (2,), md.float32),
    (lambda: md.zeros(()), (), md.float32),
    (lambda: md.empty(0, 3), (0, 3), md.float32),
    (lambda: md.full((2,), 7), (2,), md.int64),
    (lambda: md.full((2,), 7.0), (2,), md.float32),
    (lambda: md.full((2,), True), (2,), md.bool),
    (lambda: md.eye(2, 3), (2, 3), md.float32),
    (lambda: md.arange(4), (4,), md.int64),
    (lambda: md.arange(0, 1, 0.25), (4,), md.float32),
    (lambda: md.arange(5, 1, -2), (2,), md.int64),
    (lambda: md.linspace(0, 1, 5), (5,), md.float32),
    (lambda: md.rand(2, 3), (2, 3), md.float32),
    (lambda: md.randn(2), (2,), md.float32),
    (lambda: md.randint(3, (2, 2)), (2, 2), md.int64),
    (lambda: md.randint(1, 3, (2,)), (2,), md.int64),
    (lambda: md.randperm(4), (4,), md.int64),
    (lambda: md.zeros_like(md.tensor([1, 2])), (2,), md.int64),
    (lambda: md.ones_like(md.tensor([1, 2]), dtype=md.float64), (2,), md.float64),
    (lambda: md.full_like(md.ones(2), 3), (2,), md.float32),
    (lambda: md.from_numpy(np.zeros(3, np.uint8)), (3,), md.uint8),
]


@pytest.mark.parametrize("make, shape, dtype", MADE)
def test_creation_has_the_shape_and_dtype_of_pytorch(make, shape, dtype):
    x = make()
    assert (x.shape, x.dtype) == (shape, dtype)


def test_tensor_copies_and_from_numpy_shares():
    array = np.zeros(2)
    copied, shared = md.tensor(array), md.from_numpy(array)
    array[0] = 5
    assert copied.tolist() == [0, 0] and shared.tolist() == [5, 0]


def test_float64_is_exact():
    assert md.tensor(0.1, dtype=md.float64).item() == 0.1 and md.tensor([0.1], dtype=md.float64).tolist() == [0.1]


def test_large_integers_are_exact():
    assert md.tensor(2**62 + 1).item() == 2**62 + 1


def test_arange_of_floats_hits_the_numbers():
    np.testing.assert_allclose(md.arange(0, 1, 0.1).numpy(), np.arange(0, 1, 0.1), rtol=1e-6)


def test_manual_seed_repeats_everything():
    def draws():
        md.manual_seed(3)
        return [
            f().numpy()
            for f in (
                lambda: md.rand(2),
                lambda: md.randn(2),
                lambda: md.randint(9, (3,)),
                lambda: md.randperm(5),
                lambda: md.bernoulli(md.full((4,), 0.5)),
                lambda: md.multinomial(md.ones(4), 3),
            )
        ]

    for a, b in zip(draws(), draws()):
        np.testing.assert_array_equal(a, b)


def test_multinomial_without_replacement_repeats_nothing():
    assert sorted(md.multinomial(md.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------- dtypes
ORDER = "bool uint8 int8 int16 int32 int64 float16 float32 float64".split()
TABLE = """
    bool    uint8   int8    int16   int32   int64   float16 float32 float64
    uint8   uint8   int16   int16   int32   int64   float16 float32 float64
    int8    int16   int8    int16   int32   int64   float16 float32 float64
    int16   int16   int16   int16   int32   int64   float16 float32 float64
    int32   int32   int32   int32   int32   int64   float16 float32 float64
    int64   int64   int64   int64   int64   int64   float16 float32 float64
    float16 float16 float16 float16 float16 float16 float16 float32 float64
    float32 float32 float32 float32 float32 float32 float32 float32 float64
    float64 float64 float64 float64 float64 float64 float64 float64 float64
"""  # what two tensors of one rank meet at, in PyTorch
PROMOTION = {(a, b): c for a, row in zip(ORDER, TABLE.split("\n")[1:]) for b, c in zip(ORDER, row.split())}


@pytest.mark.parametrize("a", ORDER)
@pytest.mark.parametrize("b", ORDER)
def test_two_tensors_meet_where_pytorch_says(a, b):
    for shape in ((2,), ()):
        x, y = md.ones(shape, dtype=getattr(md, a)), md.ones(shape, dtype=getattr(md, b))
        assert md.result_type(x, y) == PROMOTION[a, b] == (x + y).dtype


@pytest.mark.parametrize("a", ORDER)
@pytest.mark.parametrize("b", ORDER)
def test_a_tensor_without_axes_decides_only_by_a_higher_kind(a, b):
    x, y = md.ones(2, dtype=getattr(md, a)), md.ones((), dtype=getattr(md, b))
    kind = {"b": 0, "u": 1, "i": 1, "f": 2}
    expected = b if kind[y.dtype.kind] > kind[x.dtype.kind] else a
    assert (x + y).dtype == (y + x).dtype == expected


WITH_NUMBERS = {  # tensor dtype: with True, 1, 1.0
    "bool": "bool int64 float32",
    "uint8": "uint8 uint8 float32",
    "int8": "int8 int8 float32",
    "int16": "int16 int16 float32",
    "int32": "int32 int32 float32",
    "int64": "int64 int64 float32",
    "float16": "float16 float16 float16",
    "float32": "float32 float32 float32",
    "float64": "float64 float64 float64",
}


@pytest.mark.parametrize("shape", [(2,), ()], ids=str)
@pytest.mark.parametrize("a", ORDER)
def test_a_number_decides_only_by_a_higher_kind(a, shape):
    x = md.ones(shape, dtype=getattr(md, a))
    for number, expected in zip((True, 1, 1.0), WITH_NUMBERS[a].split()):
        for same in (number, np.asarray(number)[()]):  # Python's, NumPy's
            assert (x * same).dtype == expected, (number, type(same))
            assert (same * x).dtype == expected, (number, type(same))
            assert type(same * x) is md.Tensor
            assert md.maximum(x, same).dtype == expected
            assert md.where(x > 0, x, same).dtype == expected


@pytest.mark.parametrize("a", ORDER)
def test_division_of_whole_numbers_gives_float32(a):
    x = md.ones(2, dtype=getattr(md, a))
    expected = a if a.startswith("float") else "float32"
    assert (x / 2).dtype == (x / x).dtype == (2 / x).dtype == expected


@pytest.mark.parametrize("a", ORDER)
@pytest.mark.parametrize(
    "name, expected",
    [
        ("sum", "int64"),
        ("prod", "int64"),
        ("cumsum", "int64"),
        ("exp", "float32"),
        ("sqrt", "float32"),
        ("argmax", "int64"),
        ("isnan", "bool"),
    ],
)
def test_dtype_of_results(a, name, expected):
    x = md.ones(2, dtype=getattr(md, a))
    out = x.cumsum(0) if name == "cumsum" else getattr(x, name)()
    assert out.dtype == (a if a.startswith("float") and expected not in ("bool",) and name != "argmax" else expected)


def test_comparisons_do_not_lose_large_integers():
    assert (md.tensor([2**53 + 1]) == md.tensor([2**53])).tolist() == [False]


@pytest.mark.parametrize("left", [np.arange(3.0), np.float64(2), np.int64(2), 2, 2.0])
def test_numpy_on_the_left_gives_a_tensor(left):
    x = md.tensor([1.0, 2.0, 4.0], dtype=md.float64)
    for op in (np.add, np.subtract, np.multiply, np.divide, np.power, np.floor_divide, np.remainder):
        symbol = {
            np.add: "+",
            np.subtract: "-",
            np.multiply: "*",
            np.divide: "/",
            np.power: "**",
            np.floor_divide: "//",
            np.remainder: "%",
        }[op]
        out = eval(f"left {symbol} x", {"left": left, "x": x})
        assert type(out) is md.Tensor
        np.testing.assert_allclose(out.numpy(), op(left, x.numpy()))


def test_conversions_keep_the_gradient():
    x = md.ones(2, requires_grad=True)
    (x.double() * 2).float().half().float().sum().backward()
    assert x.grad.tolist() == [2.0, 2.0] and x.grad.dtype == md.float32


def test_to_what_it_is_already_is_itself():
    x = md.ones(2)
    assert x.to(md.float32) is x and x.float() is x and x.to("cpu") is x and x.to(x) is x


# ---------------------------------------------------------------------- indexing
@st.composite
def array_and_basic_index(draw):
    """An array and a key of slices, whole numbers, None and Ellipsis."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    return shape, draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))


@st.composite
def array_and_any_index(draw):
    """An array and a key that may also hold masks, whole-number arrays and lists."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    if draw(st.booleans()):
        return shape, draw(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    key = []
    for n in shape[: draw(st.integers(1, len(shape)))]:
        key.append(
            draw(
                st.one_of(
                    hnp.arrays(np.int64, common, elements=st.integers(-n, n - 1)),
                    st.integers(-n, n - 1),
                    st.slices(n),
                    st.lists(st.integers(-n, n - 1), min_size=common[-1], max_size=common[-1])
                    if common
                    else st.just(0),
                    st.none(),
                    st.just(...),
                )
            )
        )
    if sum(k is ... for k in key) > 1:
        key = [k for k in key if k is not ...]
    return shape, tuple(key)


def as_ours(key):
    """The same key with tensors in place of arrays."""
    parts = [md.tensor(k) if isinstance(k, np.ndarray) else k for k in (key if isinstance(key, tuple) else (key,))]
    return tuple(parts) if isinstance(key, tuple) else parts[0]


def expected_of(array, key):
    """What NumPy makes of it, or the error class."""
    try:
        return array[key]
    except IndexError:
        return None


@given(st.one_of(array_and_basic_index(), array_and_any_index()))
def test_getitem_equals_numpys(case):
    shape, key = case
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) * 1.5)
    expected = expected_of(array, key)
    if expected is None:
        with pytest.raises(IndexError):
            md.tensor(array)[as_ours(key)]
        return
    for k in (key, as_ours(key)):
        np.testing.assert_array_equal(md.tensor(array)[k].numpy(), expected)
        assert md.tensor(array)[k].shape == np.shape(expected)


@given(st.one_of(array_and_basic_index(), array_and_any_index()), st.booleans())
def test_setitem_equals_numpys_with_and_without_recording(case, whole):
    shape, key = case
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) * 1.5)
    picked = expected_of(array, key)
    if picked is None or len(set(np.ravel(expected_of(np.arange(array.size).reshape(shape), key)).tolist())) != np.size(
        picked
    ):
        return  # which of two values for one place wins is nobody's business
    value = -np.arange(np.size(picked)).reshape(np.shape(picked)) - 0.5 if whole else -7.5
    expected = array.copy()
    expected[key] = value
    for record in (False, True):
        x = md.tensor(array, requires_grad=record)
        y = x * 1
        y[as_ours(key)] = md.tensor(value, dtype=md.float64) if whole else value
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        if record:
            y.sum().backward()
            untouched = np.ones(shape)
            untouched[key] = 0
            np.testing.assert_array_equal(x.grad.numpy(), untouched)


@given(st.one_of(array_and_basic_index(), array_and_any_index()))
def test_gradient_of_getitem_counts_how_often_each_was_picked(case):
    shape, key = case
    count = np.zeros(shape)
    if expected_of(count, key) is None:
        return
    positions = np.arange(count.size).reshape(shape)[key]
    np.add.at(count.reshape(-1), positions, 1)
    x = md.zeros(shape, requires_grad=True)
    x[as_ours(key)].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), count)


@pytest.mark.parametrize(
    "key",
    [
        5,
        -4,
        (0, 7),
        (0, 0, 0),
        md.tensor([5]),
        [9],
        (md.tensor([0]), md.tensor([9])),
        1.5,
        "a",
        md.tensor([True, False]),
    ],
)
def test_an_index_that_is_not_there_is_an_index_error(key):
    with pytest.raises(IndexError) as info:
        md.zeros(3, 2)[key]
    assert isinstance(info.value, DimensionError)


@pytest.mark.parametrize("key", [5, (0, 7), md.tensor([5]), (md.tensor([0]), md.tensor([9]))])
@pytest.mark.parametrize("record", [False, True])
def test_setting_what_is_not_there_is_an_index_error(key, record):
    x = md.zeros(3, 2, requires_grad=record) * 1
    with pytest.raises(DimensionError):
        x[key] = 1.0


def test_setting_too_many_numbers_is_a_shape_error():
    for record in (False, True):
        x = md.zeros(3, 2, requires_grad=record) * 1
        with pytest.raises(ShapeError):
            x[0] = md.ones(3)


def test_iteration_and_unpacking():
    a, b = md.tensor([[1, 2], [3, 4]])
    assert a.tolist() == [1, 2] and b.tolist() == [3, 4] and len(md.zeros(3, 2)) == 3
    assert 3 in md.tensor([1, 3]) and 5 not in md.tensor([1, 3])


@pytest.mark.parametrize("op", [np.bitwise_and, np.bitwise_or, np.bitwise_xor])
def test_truth_values_are_joined_by_operators(op):
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    symbol = {np.bitwise_and: "__and__", np.bitwise_or: "__or__", np.bitwise_xor: "__xor__"}[op]
    for other in (md.tensor(b), b):
        np.testing.assert_array_equal(getattr(md.tensor(a), symbol)(other).numpy(), op(a, b))
    np.testing.assert_array_equal(getattr(md.tensor(a), symbol)(True).numpy(), op(a, True))
    assert (~md.tensor(a)).tolist() == (~a).tolist()


# ---------------------------------------------------------------------- views
VIEWS = {
    "slice": lambda x: x[1:],
    "row": lambda x: x[0],
    "reversed": lambda x: x[::-1],
    "transposed": lambda x: x.T,
    "reshape": lambda x: x.reshape(3, 2),
    "view": lambda x: x.view(-1),
    "expand": lambda x: x[:1].expand(4, 3),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "detach": lambda x: x.detach(),
    "flatten": lambda x: x.flatten(),
    "permute": lambda x: x.permute(1, 0),
    "narrow": lambda x: x.narrow(1, 0, 2),
    "data": lambda x: x.data,
    "select": lambda x: x.select(1, 0),
    "split": lambda x: x.split(1)[1],
    "unbind": lambda x: x.unbind(1)[0],
    "numpy": lambda x: md.from_numpy(x.numpy()),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "diagonal part": lambda x: x[0, 1],
    "flip": lambda x: x.flip(0),
}
COPIES = {
    "clone": lambda x: x.clone(),
    "mask": lambda x: x[x > 0],
    "index": lambda x: x[[0]],
    "reshape of a transpose": lambda x: x.T.reshape(-1),
    "tensor": lambda x: md.tensor(x),
    "to float64": lambda x: x.double(),
    "plus": lambda x: x + 0,
    "cat": lambda x: md.cat([x]),
    "repeat": lambda x: x.repeat(1, 1),
    "deepcopy": copy.deepcopy,
    "contiguous": lambda x: x.T.contiguous(),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name):
    x = md.ones(2, 3)
    assert np.shares_memory(VIEWS[name](x).array, x.array)
    with md.no_grad():
        x.mul_(5)
    assert VIEWS[name](x).array.min() == 5


@pytest.mark.parametrize("name", COPIES)
def test_copies_do_not(name):
    x = md.ones(2, 3)
    assert not np.shares_memory(COPIES[name](x).array, x.array)


def test_contiguous_is_itself_where_nothing_is_to_do():
    x = md.ones(2, 3)
    assert x.contiguous() is x and x.is_contiguous() and not x.T.is_contiguous()


def test_strides_count_numbers():
    assert (
        md.ones(2, 3).stride() == (3, 1)
        and md.ones(2, 3).T.stride() == (1, 3)
        and md.ones(1).expand(4).stride() == (0,)
    )


# ---------------------------------------------------------------------- what it says
@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: md.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: md.tensor(3), "tensor(3)"),
        (lambda: md.tensor([True]), "tensor([ True])"),
        (lambda: md.tensor(1.0, dtype=md.float64), "tensor(1., dtype=float64)"),
        (lambda: md.ones(1, requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: md.ones(1, requires_grad=True) * 2, "tensor([2.], op=mul)"),
        (lambda: md.zeros(0), "tensor([])"),
        (lambda: md.tensor([1, 2], dtype=md.int32), "tensor([1, 2], dtype=int32)"),
        (lambda: md.tensor([1 / 3]), "tensor([0.3333])"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(md.zeros(1000, 1000))) < 1000


def test_format_takes_a_spec_for_one_number():
    assert f"{md.tensor(3.14159):.2f}" == "3.14" and f"{md.ones(2)}" == "tensor([1., 1.])"


def test_sizes():
    x = md.zeros(2, 3)
    assert (x.shape, x.size(), x.size(-1), x.dim(), x.ndim, x.numel(), x.element_size()) == (
        (2, 3),
        (2, 3),
        3,
        2,
        2,
        6,
        4,
    )


# ---------------------------------------------------------------------- to plain numbers
def test_one_number_becomes_pythons():
    x = md.tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    assert [10, 20, 30][md.tensor(1)] == 20 and range(md.tensor(3)) == range(3)


def test_many_numbers_do_not():
    x = md.ones(2)
    for convert in (float, int, bool, lambda x: x.item()):
        with pytest.raises(ShapeError):
            convert(x)
    for convert in (len, list):
        with pytest.raises(TypeError):
            convert(md.tensor(1.0))
    with pytest.raises(DTypeError, match="index"):
        [1, 2][md.tensor(1.0)]


def test_numpy_gets_the_memory_or_a_copy():
    x = md.ones(2)
    assert x.numpy() is x.array and np.asarray(x) is x.array
    assert np.array(x) is not x.array and np.asarray(x, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.stack([x, x]), np.ones((2, 2)))


def test_numpy_of_what_requires_grad_says_detach():
    x = md.ones(2, requires_grad=True)
    for convert in (lambda: x.numpy(), lambda: np.asarray(x), lambda: (x * 2).numpy()):
        with pytest.raises(GradientError, match="detach"):
            convert()


def test_equality_compares_numbers_and_hash_is_identity():
    x, y = md.ones(2), md.ones(2)
    assert (x == y).tolist() == [True, True] and len({x, y, x}) == 2 and md.equal(x, y)
    assert (x == 1).all() and (1 == x).all() and (x != 2).all()


# ---------------------------------------------------------------------- copies
@pytest.mark.parametrize(
    "send", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "copy", "pickle"]
)
def test_leaves_can_be_copied(send):
    x = md.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    y = send(x)
    assert y.tolist() == [1.0, 2.0] and y.requires_grad and y.is_leaf and y is not x
    (y * 3).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_deepcopy_keeps_the_grad_and_the_sharing():
    x = md.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    a, b = copy.deepcopy([x, x])
    assert a is b and a.grad.tolist() == [3.0, 3.0] and not np.shares_memory(a.grad.array, x.grad.array)


@pytest.mark.parametrize("send", [copy.deepcopy, pickle.dumps])
def test_computed_tensors_cannot_be_copied(send):
    with pytest.raises(GradientError, match="detach"):
        send(md.ones(2, requires_grad=True) * 2)
