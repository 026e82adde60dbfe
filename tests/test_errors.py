"""What a beginner reads when something goes wrong: what happened, the facts, what to try."""

import doctest
import re

import numpy as np
import pytest

import minidl as md
import minidl.nn.functional as F
from minidl import errors, nn
from minidl.errors import (
    ArgumentError,
    DeviceError,
    DimensionError,
    DTypeError,
    GradientError,
    InplaceError,
    MinidlError,
    ShapeError,
    message,
)
from minidl.primitive import primitive, registry


@pytest.fixture
def own():
    """A primitive of a learner, gone again after the test."""
    before = set(registry)

    @primitive
    def triple(xp, x, *, times=3):
        """3 x."""
        return x * times

    yield triple
    for name in set(registry) - before:
        del registry[name]


def leaf():
    return md.ones(2, 3, requires_grad=True)


def freed():
    loss = (leaf() ** 2).sum()
    loss.backward()
    return loss


def overwritten():
    y = leaf() * 1
    z = y.exp()
    with md.no_grad():
        z += 1
    return z.sum()


X, SCORES, CLASSES = md.ones(3, 4), md.ones(3, 2), [0, 1, 0]
IMAGES, ARRAY = md.ones(1, 1, 5, 5), np.ones((3, 4), np.float32)


class Own(nn.Module):
    """Asks its input for what only tensors have."""

    def forward(self, x):
        return x.relu()


# a call with something that is no tensor; the function that says so; what is named, and what it is
NO_TENSORS = {
    "cross_entropy, list": (lambda: F.cross_entropy(SCORES, CLASSES), "cross_entropy", "target  list  length 3"),
    "cross_entropy, array": (lambda: F.cross_entropy(SCORES, np.array(CLASSES)), "cross_entropy",
                             "target  ndarray  shape (3,)"),
    "cross_entropy, number": (lambda: F.cross_entropy(SCORES[0], 1), "cross_entropy", "target  int  1"),
    "cross_entropy, weight": (lambda: F.cross_entropy(SCORES, md.tensor(CLASSES), [1.0, 2.0]), "nll_loss",
                              "weight  list  length 2"),
    "CrossEntropyLoss": (lambda: nn.CrossEntropyLoss()(SCORES, CLASSES), "cross_entropy", "target  list  length 3"),
    "nll_loss": (lambda: F.nll_loss(SCORES, np.array(CLASSES)), "nll_loss", "target  ndarray  shape (3,)"),
    "mse_loss": (lambda: F.mse_loss([1.0], [2.0]), "mse_loss", "input   list  length 1"),
    "binary_cross_entropy": (lambda: F.binary_cross_entropy(SCORES, [[0, 1]] * 3), "binary_cross_entropy",
                             "target  list  length 3"),
    "linear": (lambda: F.linear(X, md.ones(5, 4), [0.0] * 5), "linear", "bias  list  length 5"),
    "Linear": (lambda: nn.Linear(4, 2)([1.0] * 4), "linear", "input  list  length 4"),
    "conv2d": (lambda: F.conv2d(IMAGES, [[1.0]]), "conv2d", "weight  list  length 1"),
    "Embedding": (lambda: nn.Embedding(4, 2)([0, 1]), "embedding", "input  list  length 2"),
    "dropout": (lambda: nn.Dropout()(ARRAY), "dropout", "input  ndarray  shape (3, 4)"),
    "gelu": (lambda: F.gelu([1.0, 2.0]), "gelu", "input  list  length 2"),
    "matmul": (lambda: md.matmul([[1.0, 2.0, 3.0]], X), "matmul", "input  list  length 1"),
    "@": (lambda: X @ [[1.0]] * 4, "matmul", "other  list  length 1"),
    "mm": (lambda: md.mm(X, (1.0, 2.0)), "mm", "other  tuple  length 2"),
    "cat": (lambda: md.cat([X, ARRAY]), "cat", "tensors[1]  ndarray  shape (3, 4)"),
    "cat, lists": (lambda: md.cat([[1.0, 2.0], [3.0]]), "cat", "tensors[1]  list  length 1"),
    "stack": (lambda: md.stack([1.0, 2.0]), "stack", "tensors[0]  float  1.0"),
    "sum": (lambda: md.sum([1.0, 2.0]), "sum", "input  list  length 2"),
    "gather": (lambda: md.gather(X, 0, [[0]]), "gather", "index  list  length 1"),
    "a module of one's own": (lambda: Own()(ARRAY), "Own", "inputs[0]  ndarray  shape (3, 4)"),
    "one module in another": (lambda: nn.Sequential(Own())([1.0]), "Own", "inputs[0]  list  length 1"),
}


@pytest.mark.parametrize("kind", NO_TENSORS)
def test_what_is_no_tensor_is_named(kind):
    wrong, name, fact = NO_TENSORS[kind]
    with pytest.raises(ArgumentError) as info:
        wrong()
    lines = str(info.value).splitlines()
    assert re.fullmatch(rf"{name}: expected a tensor, got \w+\.", lines[0])
    assert fact in map(str.strip, lines[1:-1]) and lines[-1].startswith("Try: md.tensor(")
    assert isinstance(info.value, TypeError)              # as in PyTorch


def test_of_many_only_a_few_are_named():
    with pytest.raises(ArgumentError) as info:
        md.cat(np.ones((100, 2)))
    assert len(str(info.value).splitlines()) == 6


def test_arrays_and_lists_that_are_understood_go_on():
    for right in (F.mse_loss(X, ARRAY), F.linear(ARRAY, md.ones(5, 4)), X + [1.0] * 4, md.sin([1.0]), nn.ReLU()(ARRAY),
                  F.cross_entropy(SCORES.numpy(), md.tensor(CLASSES)), md.matmul(X, ARRAY.T), F.relu([1.0])):
        assert isinstance(right, md.Tensor)


def test_nothing_stands_between_a_call_and_a_small_op():
    for name in ("add", "mul", "tanh", "exp", "relu", "reshape"):
        assert not hasattr(getattr(md, name), "__wrapped__")
    for name in ("tanh", "sum", "mean", "__add__", "__mul__", "max", "dot"):
        assert not hasattr(getattr(md.Tensor, name), "__wrapped__")


class Faulty(nn.Module):
    def forward(self, x):
        return self.no_such_layer(x)


@pytest.mark.parametrize(("wrong", "error", "words"), [
    (lambda: F.linear([1.0]), TypeError, "missing 1 required positional argument: 'weight'"),
    (lambda: F.linear(X, X, colour=[1.0]), TypeError, "unexpected keyword argument 'colour'"),
    (lambda: F.gelu(X, "none", [1.0]), TypeError, "positional argument"),
    (lambda: Faulty()(X), AttributeError, "no_such_layer"),
    (lambda: Faulty()(ARRAY), AttributeError, "no_such_layer"),
    (lambda: md.cat([]), ArgumentError, "at least one tensor"),
    (lambda: md.sum(X, dim="rows"), TypeError, "str"),
], ids=range(7))
def test_other_mistakes_are_said_as_before(wrong, error, words):
    with pytest.raises(error, match=words) as info:
        wrong()
    assert "expected a tensor" not in str(info.value)


# what is done wrong, the error, words that say what happened, facts that are named, words that say what to try
MISTAKES = {
    "add, shapes": (
        lambda: md.ones(2, 3) + md.ones(2, 4),
        ShapeError,
        "add: the shapes cannot be broadcast",
        ["(2, 3)", "(2, 4)", "axis -1", "3 and 4"],
        "unsqueeze",
    ),
    "matmul, sizes": (
        lambda: md.ones(2, 3) @ md.ones(4, 5),
        ShapeError,
        "matmul: the columns of the first must match the rows",
        ["(2, 3)", "(4, 5)", "M K", "K N"],
        "transpose",
    ),
    "matmul, numbers": (
        lambda: md.tensor(1.0) @ md.ones(2),
        ShapeError,
        "matmul: numbers without axes",
        ["()", "(2,)"],
        "x * y",
    ),
    "mm, ranks": (
        lambda: md.mm(md.ones(2), md.ones(2)),
        ShapeError,
        "mm: expected tensors with 2 and 2 axes",
        ["(2,)"],
        "matmul",
    ),
    "dot, lengths": (
        lambda: md.dot(md.ones(2), md.ones(3)),
        ShapeError,
        "dot: expected two vectors",
        ["(2,)", "(3,)"],
        "",
    ),
    "conv, channels": (
        lambda: nn.Conv2d(3, 8, 3)(md.ones(2, 1, 9, 9)),
        ShapeError,
        "conv2d: the images have 1 channel but each filter expects 3",
        ["(2, 1, 9, 9)", "N C H W", "(8, 3, 3, 3)", "O C KH KW"],
        "in_channels=1",
    ),
    "conv, too small": (
        lambda: F.conv2d(md.ones(1, 1, 2, 2), md.ones(1, 1, 3, 3)),
        ShapeError,
        "the window does not fit",
        ["(1, 1, 2, 2)"],
        "padding",
    ),
    "linear, features": (lambda: nn.Linear(3, 4)(md.ones(2, 5)), ShapeError, "linear: ", ["(2, 5)", "(4, 3)"], ""),
    "pool, too small": (
        lambda: F.max_pool2d(md.ones(1, 1, 2, 2), 3),
        ShapeError,
        "max_pool2d: the window does not fit",
        ["(1, 1, 2, 2)"],
        "smaller kernel",
    ),
    "reshape": (
        lambda: md.ones(2, 3).reshape(4, 2),
        ShapeError,
        "reshape: 6 numbers do not fill 8 places",
        ["(2, 3)", "(4, 2)"],
        "-1",
    ),
    "reshape, -1": (
        lambda: md.ones(2, 3).reshape(4, -1),
        ShapeError,
        "reshape: 6 numbers cannot fill",
        ["(2, 3)", "(4, -1)"],
        "",
    ),
    "cat": (
        lambda: md.cat([md.ones(2, 3), md.ones(2, 4)]),
        ShapeError,
        "concat: all sizes but those along axis 0",
        ["(2, 3)", "(2, 4)"],
        "",
    ),
    "stack": (
        lambda: md.stack([md.ones(2), md.ones(3)]),
        ShapeError,
        "stack: expected tensors of one shape",
        ["(2,)", "(3,)"],
        "",
    ),
    "expand": (lambda: md.ones(2).expand(3), ShapeError, "expand: ", ["(2,)", "(3,)"], ""),
    "tensor, ragged": (lambda: md.tensor([[1, 2], [3]]), ShapeError, "tensor: rows of different lengths", [], ""),
    "tensor, words": (lambda: md.tensor(["a"]), DTypeError, "tensor: only numbers and booleans", ["list"], ""),
    "zeros, negative": (lambda: md.zeros(-1), ArgumentError, "sizes are whole numbers", ["-1"], ""),
    "axis": (lambda: md.ones(2, 3).sum(dim=2), DimensionError, "sum: axis 2 does not exist", ["-2 .. 1"], ""),
    "axis, twice": (
        lambda: md.ones(2, 3).sum(dim=(0, -2)),
        ArgumentError,
        "sum: an axis is named twice",
        ["(0, -2)"],
        "",
    ),
    "index": (lambda: md.ones(3)[3], DimensionError, "index: index 3 is out of bounds", ["(3,)"], ""),
    "index, tensor": (lambda: md.ones(3)[md.tensor([7])], DimensionError, "7 is out of bounds", ["(3,)"], ""),
    "embedding": (
        lambda: nn.Embedding(5, 2)(md.tensor([5])),
        DimensionError,
        "embedding: a row was asked for that the table of 5 rows does not have",
        ["highest  5"],
        "",
    ),
    "class that is not there": (
        lambda: F.cross_entropy(md.ones(2, 3), md.tensor([0, 3])),
        DimensionError,
        "cross_entropy: class numbers must be 0 .. 2",
        ["highest  3"],
        "count classes from 0",
    ),
    "item": (
        lambda: md.ones(2).item(),
        ShapeError,
        "item: only a tensor with exactly one number",
        ["(2,)"],
        "x.sum().item()",
    ),
    "bool": (
        lambda: bool(md.ones(2) > 0),
        ShapeError,
        "bool: is a tensor of many numbers true or false",
        ["(2,)"],
        "x.any()",
    ),
    "len": (lambda: len(md.tensor(1.0)), DTypeError, "len: a tensor without axes", [], ""),
    "iteration": (lambda: list(md.tensor(1.0)), DTypeError, "iter: a tensor without axes", [], ""),
    "index by a float": (lambda: [1, 2][md.tensor(1.0)], DTypeError, "index: only whole numbers", ["float32"], ""),
    "backward twice": (
        lambda: freed().backward(),
        GradientError,
        "have been freed by an earlier backward pass",
        [],
        "retain_graph=True",
    ),
    "backward, many": (
        lambda: (leaf() * 2).backward(),
        GradientError,
        "backward: the gradient can be started from a single number",
        ["(2, 3)"],
        "loss.sum().backward()",
    ),
    "backward, none": (
        lambda: md.ones(1).sum().backward(),
        GradientError,
        "backward: this tensor does not require a gradient",
        ["()"],
        "requires_grad=True",
    ),
    "backward, shape": (
        lambda: (leaf() * 2).backward(md.ones(2)),
        ShapeError,
        "backward: the gradient must have the shape",
        ["(2, 3)", "(2,)"],
        "",
    ),
    "grad, unused": (
        lambda: md.autograd.grad(leaf().sum(), leaf()),
        GradientError,
        "grad: the outputs do not depend on input 0",
        ["(2, 3)"],
        "allow_unused=True",
    ),
    "grad, constant": (
        lambda: md.autograd.grad(leaf().sum(), md.ones(1)),
        GradientError,
        "grad: input 0 does not require a gradient",
        ["(1,)"],
        "requires_grad=True",
    ),
    "whole numbers": (
        lambda: md.tensor([1, 2], requires_grad=True),
        DTypeError,
        "only floating-point tensors",
        ["int64"],
        "x.float()",
    ),
    "mean of whole numbers": (lambda: md.tensor([1, 2]).mean(), DTypeError, "mean: ", ["int64"], "x.float().mean()"),
    "leaf in place": (
        lambda: leaf().add_(1),
        GradientError,
        "add_: this is a leaf that requires a gradient",
        [],
        "with md.no_grad()",
    ),
    "part of a leaf": (
        lambda: leaf()[0].mul_(2),
        GradientError,
        "mul_: this is a view of a leaf",
        [],
        "with md.no_grad()",
    ),
    "kept value": (
        lambda: overwritten().backward(),
        InplaceError,
        "a value that exp needs was changed in place",
        ["add in place"],
        "x = x + y",
    ),
    "float into integers": (
        lambda: md.ones(2, dtype=md.int64).add_(0.5),
        DTypeError,
        "add_: a float32 result cannot be stored in a int64 tensor",
        [],
        "",
    ),
    "larger in place": (
        lambda: md.ones(1).add_(md.ones(3)),
        ShapeError,
        "add_: a result of another shape",
        ["(1,)", "(3,)"],
        "x = x + y",
    ),
    "expanded in place": (
        lambda: md.ones(1).expand(3).add_(1),
        InplaceError,
        "add_: this memory cannot be written to",
        ["(3,)"],
        "clone",
    ),
    "numpy of a leaf": (
        lambda: leaf().numpy(),
        GradientError,
        "numpy: this tensor requires a gradient",
        [],
        "x.detach().numpy()",
    ),
    "computed, off": (
        lambda: (leaf() * 2).requires_grad_(False),
        GradientError,
        "computed from others",
        [],
        "x.detach()",
    ),
    "deepcopy": (
        lambda: __import__("copy").deepcopy(leaf() * 2),
        GradientError,
        "deepcopy: only leaves",
        [],
        "x.detach().clone()",
    ),
    "too large for uint8": (lambda: md.ones(2, dtype=md.uint8) + 300, DTypeError, "add: ", ["uint8"], ""),
    "unknown device": (
        lambda: md.zeros(2, device="tpu"),
        DeviceError,
        "there is no device called 'tpu'",
        ["cpu, cuda"],
        'md.device("cpu")',
    ),
    "bits": (
        lambda: md.tensor([6]) & md.tensor([3]),
        DTypeError,
        "&: this operator joins truth values",
        ["int64"],
        "brackets",
    ),
    "bits of one": (lambda: ~md.tensor([6]), DTypeError, "~: this operator joins truth values", ["int64"], "x.bool()"),
    "too large to store": (
        lambda: md.ones(2, dtype=md.uint8).__setitem__(0, 300),
        DTypeError,
        "300 out of bounds",
        ["uint8"],
        "",
    ),
    "seed": (lambda: md.manual_seed(-1), ArgumentError, "the seed must be an integer of 0 or more", [], ""),
    "einsum": (
        lambda: md.einsum("ij,jk", md.ones(2, 3)),
        ArgumentError,
        "einsum: 2 terms, but 1 operands",
        ["ij,jk"],
        "",
    ),
    "clamp": (lambda: md.ones(2).clamp(), ArgumentError, "clamp: give min, max or both", [], ""),
    "topk": (lambda: md.ones(2).topk(3), DimensionError, "topk: there are no 3 numbers", ["(2,)"], ""),
    "t of a cube": (
        lambda: md.ones(2, 2, 2).t(),
        ShapeError,
        "t: only matrices",
        ["(2, 2, 2)"],
        "transpose(dim0, dim1)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_happened_with_facts_and_a_way_out(name):
    wrong, kind, what, facts, try_ = MISTAKES[name]
    with pytest.raises(MinidlError) as info:
        wrong()
    text = str(info.value)
    first, *rest = text.split("\n")
    assert type(info.value) is kind
    assert what in first, text
    for fact in facts:
        assert fact in text, text
    assert not try_ or (rest and rest[-1].startswith("Try: ") and try_ in rest[-1]), text


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_is_short(name):
    with pytest.raises(MinidlError) as info:
        MISTAKES[name][0]()
    lines = str(info.value).split("\n")
    assert len(lines) <= 7 and all(len(line) <= 220 for line in lines)


@pytest.mark.parametrize("name", ["add, shapes", "matmul, sizes", "conv, channels", "reshape"])
def test_the_mistake_is_the_same_while_recording(name):
    wrong, kind, what, *_ = MISTAKES[name]
    with md.no_grad(), pytest.raises(kind, match=what.split(":")[0]):
        wrong()


# ---------------------------------------------------------------------- types
@pytest.mark.parametrize(
    "kind, bases",
    [
        (ShapeError, (RuntimeError, ValueError)),
        (DTypeError, (TypeError,)),
        (ArgumentError, (ValueError, TypeError)),
        (DimensionError, (IndexError,)),
        (GradientError, (RuntimeError,)),
        (InplaceError, (GradientError, RuntimeError)),
        (DeviceError, (RuntimeError,)),
        (errors.DataError, (ValueError,)),
        (errors.CheckpointError, (RuntimeError,)),
    ],
)
def test_errors_are_what_a_pytorch_user_catches(kind, bases):
    assert issubclass(kind, MinidlError) and all(issubclass(kind, base) for base in bases)


def test_the_tree_on_the_page_is_the_tree_of_the_classes():
    drawn = {line.split("── ")[1].split()[0] for line in errors.__doc__.split("\n") if "── " in line}
    real = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, MinidlError)}
    assert drawn | {"MinidlError"} == real


# ---------------------------------------------------------------------- an op of one's own
def test_missing_rule_says_which_to_write(own):
    with pytest.raises(GradientError, match=r'@triple\.grad\("x"\)'):
        own(leaf()).sum().backward()


def test_a_rule_written_later_is_used(own):
    own.grad("x")(lambda g, times: g * times)
    x = leaf()
    own(x).sum().backward()
    assert (x.grad == 3).all()


def test_a_rule_that_asks_for_an_unknown_name_is_refused_at_once(own):
    with pytest.raises(ArgumentError, match="asks for 'y'") as info:
        own.grad("x")(lambda g, y: g)
    assert "g, out, x, x_shape, times" in str(info.value)


def test_a_rule_for_an_unknown_input_is_refused_at_once(own):
    with pytest.raises(ArgumentError, match="no input called 'z'"):
        own.grad("z")


def test_a_rule_without_g_is_refused_at_once(own):
    with pytest.raises(ArgumentError, match="takes g, the gradient of the output, first"):
        own.grad("x")(lambda x: x)


@pytest.mark.parametrize("forward", [lambda x: x, lambda: 0])
def test_a_forward_without_xp_is_refused_at_once(forward):
    with pytest.raises(ArgumentError, match="xp, the array module"):
        primitive(forward)


def test_a_missing_shape_rule_says_how_to_write_one(own):
    with pytest.raises(ArgumentError, match="@triple.shape"):
        own.shape_rule((2,))


def test_a_missing_setting_is_named():
    with pytest.raises(ArgumentError, match="sum: the setting 'dim' is missing"):
        md.ops.sum(np.ones(3))


@pytest.mark.parametrize(
    "call",
    [lambda op: op(np.ones(2), tmies=4), lambda op: op(md.ones(2), tmies=4), lambda op: op(md.ones(2), md.ones(2))],
)
def test_an_unknown_setting_or_a_surplus_input_is_an_error(own, call):
    with pytest.raises(TypeError):
        call(own)


def test_an_unknown_primitive_lists_the_known_ones():
    with pytest.raises(AttributeError, match="no primitive called 'tanhh'.*tanh"):
        md.ops.tanhh  # noqa: B018


def test_a_name_of_ours_is_not_taken_by_a_learners_op(own):
    before = registry["tanh"]

    def tanh(xp, x):
        """Another."""
        return xp.tanh(x)

    primitive(tanh)
    assert registry["tanh"] is before


# ---------------------------------------------------------------------- the formatter
def test_message_sets_facts_in_columns():
    assert (
        message("what.", [("a", (1,), "N"), ("long", (2, 3))], "this.")
        == "what.\n    a     (1,)    N\n    long  (2, 3)\nTry: this."
    )


def test_message_of_one_sentence_is_that_sentence():
    assert message("what.") == "what."


def test_the_example_in_the_docstring_is_true():
    assert doctest.testmod(errors).failed == 0
