"""Memory drawn and source shown: what the pictures say is true, and what the source block holds is complete."""
import ast
import io
import linecache

import numpy as np
import pytest
from PIL import Image

import minidl as md
from minidl.errors import ArgumentError
from minidl.primitive import registry
from minidl.viz.memory import SMALL, layout, memory_of, spelled
from minidl.viz.source import show

x = md.tensor([[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]])
windows = np.lib.stride_tricks.sliding_window_view(np.arange(6.0), 3)
VIEWS = {
    "x": x, "x.T": x.T, "x[1]": x[1], "x[1, 2]": x[1, 2], "x[:, 1:3]": x[:, 1:3], "x[::2, ::-1]": x[::2, ::-1],
    "x.flip(0)": x.flip(0), "x.expand(2, 3, 4)": x.expand(2, 3, 4), "x[:, :1].expand(3, 4)": x[:, :1].expand(3, 4),
    "x.T.reshape(12)": x.T.reshape(12), "x.T.reshape(2, 2, 3)": x.T.reshape(2, 2, 3), "x > 3": x > 3,
    "windows": windows, "Fortran": np.asfortranarray(x.array), "empty": np.zeros((0, 3)),
    "backwards": np.arange(5)[::-1],
}


def words(picture):
    """Every text in the figure."""
    return [text.get_text() for text in picture.figure.axes[0].texts]


def boxes(picture, line):
    """The cells drawn with lines of this width: 0.4 in the lanes, 2.2 for the rings."""
    return [patch for patch in picture.figure.axes[0].patches if patch.get_linewidth() == line]


def rings(picture):
    """The marks of the chosen entries."""
    return boxes(picture, 2.2)


def hatched(picture):
    """How many cells are marked as repeats."""
    return sum(bool(patch.get_hatch()) for patch in picture.figure.axes[0].patches)


# ---------------------------------------------------------------------- memory: the facts
@pytest.mark.parametrize("name", VIEWS)
def test_a_layout_reads_the_tensor_back(name):
    array = np.asarray(VIEWS[name])
    one = layout(VIEWS[name])
    assert one.shape == array.shape
    np.testing.assert_array_equal(one.block[one.positions], array)


@pytest.mark.parametrize("view, strides, offset", [
    (x, (4, 1), 0), (x.T, (1, 4), 0), (x.flip(0), (-4, 1), 8), (x[::2, ::-1], (8, -1), 3), (x[1, 2], (), 6),
    (x[1].expand(3, 4), (0, 1), 4),
])
def test_strides_and_offset(view, strides, offset):
    assert (layout(view).strides, layout(view).offset) == (strides, offset)


def test_the_formula_puts_the_numbers_in():
    assert layout(x[:, 1:]).formula((2, 1)) == "1 + 2·4 + 1·1 = 10"
    assert layout(x.flip(0)).formula((1, 3)) == "8 + 1·(−4) + 3·1 = 7"
    assert layout(x[1, 2]).formula(()) == "6"


def test_views_share_a_block_and_copies_do_not():
    assert layout(x).address == layout(x.T[1:]).address
    assert layout(x).address != layout(x.T.reshape(12)).address


def test_the_picture_keeps_the_numbers_of_its_moment():
    y = md.tensor([1.0, 2.0])
    one = layout(y)
    y[0] = 7
    assert one.block.tolist() == [1, 2]


# ---------------------------------------------------------------------- memory: the words
def test_one_tensor_in_words():
    assert repr(memory_of(x.flip(0), titles="x.flip(0)", cell=(0, 1))) == (
        "x.flip(0): shape (3, 4), strides (−4, 1), offset 8; it looks at all 12 numbers in its block of memory. "
        "Entry [0, 1] stands at position 8 + 0·(−4) + 1·1 = 9 and is 21.")


def test_a_part_a_repeat_and_a_number_in_words():
    assert "offset 4; it looks at 4 of the 12 numbers in its block of memory." in repr(memory_of(x[1]))
    assert "it looks at all 3 numbers in its block of memory, up to 4 times each." in repr(
        memory_of(md.ones(3).expand(4, 3)))
    assert "Its one entry stands at position 6 and is 12." in repr(memory_of(x[1, 2]))
    assert repr(memory_of(md.zeros(0, 3))).endswith("looks at all 0 numbers in its block of memory.")


def test_several_tensors_in_words():
    picture = memory_of(x, x.T, x[[0, 2]], titles=["x", "x.T", "x[[0, 2]]"])
    assert repr(picture).startswith("x and x.T share one block of memory; x[[0, 2]] has a block of its own. x: shape")
    assert repr(memory_of(x, x[0], x[1])).startswith("a, b and c share one block of memory. a: shape")
    assert repr(memory_of(x, x + 1)).startswith("a and b lie in separate blocks of memory. a: shape")


@pytest.mark.parametrize("value, text", [
    (-1.0, "−1"), (-0.12345, "−0.123"), (np.float32(2), "2"), (np.int64(-30), "−30"), (np.True_, "T"), (np.inf, "∞"),
    (-np.inf, "−∞"), (np.nan, "nan"), (12345.0, "1.23e+04"), (1e-7, "1e−07"),
])
def test_numbers_are_spelled_with_a_real_minus(value, text):
    assert spelled(value) == text


# ---------------------------------------------------------------------- memory: the drawing
@pytest.mark.parametrize("name", VIEWS)
def test_every_kind_of_view_can_be_drawn(name):
    bundle = memory_of(VIEWS[name], titles=name)._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"].startswith(f"{name}: shape")


def test_the_table_holds_each_number_and_its_position():
    texts = words(memory_of(x.T))
    assert texts.count("12") == 2                     # in the strip and in the table
    assert texts.count("9") == 2                      # a position, above the strip and in the table
    assert {"shape (4, 3)", "strides (1, 4), offset 0", "[3, 2] stands at", "0 + 3·1 + 2·4 = 11"} <= set(texts)


def test_the_lane_says_which_entry_reads_a_number():
    texts = words(memory_of(x[:, 1:3]))
    assert [t for t in texts if "," in t and len(t) == 3] == ["0,0", "0,1", "1,0", "1,1", "2,0", "2,1"]
    assert words(memory_of(md.ones(3).expand(4, 3))).count("×4") == 3


def test_the_chosen_entry_is_ringed_in_the_strip_and_in_the_table():
    strip, table = rings(memory_of(x, cell=(2, 1)))
    assert (strip.get_x() - 0.75) / strip.get_width() == pytest.approx(9)      # position 9; 0.75 is the margin
    assert table.get_x() / table.get_width() == pytest.approx(1)
    assert len(rings(memory_of(x, x.T))) == 2                                  # one strip for both: tables only
    assert rings(memory_of(md.zeros(0, 3))) == []


def test_a_lane_stands_below_the_numbers_that_it_reads():
    lane = boxes(memory_of(x[:, 1:3]), 0.4)
    assert [round((box.get_x() - 0.75) / box.get_width()) for box in lane] == [1, 2, 5, 6, 9, 10]


def test_repeated_numbers_are_hatched():
    assert hatched(memory_of(x)) == 0
    assert hatched(memory_of(x[:, :1].expand(3, 4))) == 9
    assert hatched(memory_of(windows)) == 4 * 3 - 6


def test_a_strip_that_is_long_is_cut():
    texts = words(memory_of(md.arange(1000)[500:505]))
    assert texts.count("…") == 2 and "500" in texts and "999" not in texts


def test_shades_have_no_numbers():
    picture = memory_of(md.rand(8, 8), numbers=False)
    assert len(boxes(picture, 0.4)) == 64 * 3         # strip, lane and table
    assert "8" in words(picture) and "9" not in words(picture)                 # every eighth position is written
    assert "0,0" not in words(picture) and "Entry" not in repr(picture)


def test_nothing_is_set_smaller_than_eleven_pixels():
    texts = memory_of(x, x.T).figure.axes[0].texts
    assert min(text.get_fontsize() for text in texts) == SMALL >= 11 * 72 / 100


def test_the_drawing_fits_on_the_page():
    one, many, wide = (memory_of(*views).figure.get_size_inches() for views in (
        [x.flip(0)], [x.flip(0)] * 8, [md.arange(24), md.arange(24)]))
    assert max(one[0], many[0], wide[0]) < 10
    assert many[1] > one[1] + 1.5 and wide[1] > one[1]         # tables, then blocks, go on below when the line is full


def test_small_blocks_stand_side_by_side():
    left, right = (memory_of(*views).figure.get_size_inches() for views in ([md.ones(3)], [md.ones(3), md.ones(3)]))
    assert right[0] > left[0] + 1 and right[1] == left[1]


def test_the_png_is_small_and_like_the_drawing():
    picture = memory_of(x, x.T)
    full = io.BytesIO()
    picture.figure.savefig(full, format="png", dpi=100, bbox_inches="tight")
    small, large = picture.png(), full.getvalue()
    assert len(small) < len(large) / 2
    pixels = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int) for png in (small, large)]
    assert np.abs(pixels[0] - pixels[1]).max() < 40


@pytest.mark.parametrize("call, problem", [
    (lambda: memory_of(md.zeros(2, 2, 2, 2)), "at most three axes"),
    (lambda: memory_of(md.zeros(9, 9)), "numbers=False"),
    (lambda: memory_of(md.zeros(99)[::9]), "spread over more than"),
    (lambda: memory_of(x, cell=(3, 0)), "no such cell"),
    (lambda: memory_of(x, x, titles=["x"]), "one title for each"),
    (lambda: memory_of(), "one title for each"),
    (lambda: memory_of([1, 2]), "a tensor or a NumPy array"),
])
def test_what_cannot_be_drawn_is_said(call, problem):
    with pytest.raises(ArgumentError, match=problem):
        call()


# ---------------------------------------------------------------------- source
def test_the_block_of_an_op_is_its_forward_and_its_rules():
    text = repr(show(md.ops.tanh))
    assert text.startswith("# minidl/ops/elementwise.py\n@elementwise(")
    assert text.count("@tanh.grad(") == 1 and text.count("def ") == 2
    assert text.endswith("return g * (1 - out * out)")


def test_the_shape_rule_belongs_to_the_block():
    assert "@permute.shape" in repr(show(md.ops.permute))
    assert "def elementwise" not in repr(show(md.ops.tanh))


def test_a_rule_of_two_inputs_is_shown_once():
    assert repr(show(md.ops.floor_divide)).count("g * 0, g * 0") == 1


@pytest.mark.parametrize("name", [name for name, op in registry.items() if op.__module__.startswith("minidl.")])
def test_every_op_shows_all_that_it_runs(name):
    op, text = registry[name], repr(show(registry[name]))
    ast.parse(text)
    assert f"def {name}(" in text
    for rule in op.rules.values():
        line = linecache.getline(rule.function.__code__.co_filename, rule.function.__code__.co_firstlineno)
        assert line.rstrip("\n") in text


def test_the_place_is_said_again_only_where_it_changes(cell):
    assert repr(show(md.ops.concat)).count("# minidl") == 1
    cell("import minidl as md\n@md.ops.tanh.grad('x')\ndef _(g):\n    return g * 41\n", "!ipykernel_7")
    text = repr(show(md.ops.tanh))
    assert text.startswith("# minidl/ops/elementwise.py") and "1 - out * out" not in text
    assert text.endswith("# a notebook cell\n@md.ops.tanh.grad('x')\ndef _(g):\n    return g * 41")


@pytest.fixture
def cell(monkeypatch):
    """A function that runs code as a notebook does: the lines are known, but there is no file."""
    monkeypatch.setattr(md.ops.tanh, "rules", dict(md.ops.tanh.rules))
    before = set(registry)

    def run(code, name="/tmp/ipykernel_12/345.py"):
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        names = {"__name__": "__main__"}
        exec(compile(code, name, "exec"), names)
        return names
    yield run
    md.ops.tanh.plans.clear()
    for name in set(registry) - before:
        del registry[name]


def test_an_op_from_a_notebook(cell):
    names = cell("import minidl as md\n\n@md.primitive(symbol='~')\ndef wobble(xp, x):\n    return xp.sin(x)\n\n"
                 "@wobble.grad('x')\ndef _(g, x):\n    return g * md.ops.cos(x)\n\nunrelated = 1\n")
    assert repr(show(names["wobble"])) == (
        "# a notebook cell\n@md.primitive(symbol='~')\ndef wobble(xp, x):\n    return xp.sin(x)\n\n\n"
        "@wobble.grad('x')\ndef _(g, x):\n    return g * md.ops.cos(x)")


def test_rules_made_in_one_statement_show_it_once(cell):
    names = cell("import minidl as md\n@md.primitive\ndef wobble(xp, x, y):\n    return x + y\n\n"
                 "for name in 'xy':\n    wobble.grad(name)(lambda g: g)\n")
    assert repr(show(names["wobble"])).count("for name in 'xy':") == 1


def test_an_op_from_a_cell_with_magic(cell):
    names = cell("import minidl as md\n@md.primitive\ndef wobble(xp, x):\n    return xp.sin(x)\n\nunrelated = 1\n")
    linecache.cache["/tmp/ipykernel_12/345.py"][2][0] = "%time import minidl as md\n"
    assert repr(show(names["wobble"])) == "# a notebook cell\n@md.primitive\ndef wobble(xp, x):\n    return xp.sin(x)"


@pytest.mark.parametrize("thing, first, start", [
    (md.sum, "# minidl/functions.py", "def sum(input"),
    (md.Tensor.stride, "# minidl/tensor.py", "def stride(self"),
    (md.ones(2).stride, "# minidl/tensor.py", "def stride(self"),
    (md.Tensor.shape, "# minidl/tensor.py", "@property"),
    (md.nn.Linear, "# minidl/nn/layers.py", "class Linear(Module):"),
    (md.tanh, "# minidl/ops/elementwise.py", "@elementwise("),
    (spelled, "# minidl/viz/memory.py", "def spelled(value):"),
])
def test_functions_methods_and_classes(thing, first, start):
    lines = repr(show(thing)).splitlines()
    assert lines[0] == first and lines[1].startswith(start)


def test_a_file_outside_the_package_is_named_without_its_folder():
    assert repr(show(words)).startswith("# test_viz.py\ndef words(picture):")


def test_a_notebook_gets_highlighted_code():
    bundle = show(md.ops.tanh)._repr_mimebundle_()
    assert bundle["text/markdown"] == f"```python\n{bundle['text/plain']}\n```"


@pytest.mark.parametrize("thing", [np.tanh, len, 3, md, md.nn.ReLU()])
def test_what_has_no_source_is_said(thing):
    with pytest.raises(ArgumentError, match=r"not an op, a function or a class written in Python.*\n.*\nTry: show"):
        show(thing)


def test_source_that_is_not_at_hand_is_said():
    names = {}
    exec("def typed(): pass", names)
    with pytest.raises(ArgumentError, match="the source of typed is not at hand"):
        show(names["typed"])
    with pytest.raises(ArgumentError, match="the source of typed is not at hand"):
        show(md.Primitive(_typed_forward()))


def _typed_forward():
    names = {}
    exec("def typed(xp, x): return x", names)
    return names["typed"]
