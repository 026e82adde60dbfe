"""A tensor explained: the words and the table hold what the tape holds."""
import pytest

import minidl as md
from minidl.errors import ArgumentError
from minidl.viz import explain


def squares():
    """(loss, w) of a sum of squares."""
    w = md.tensor([1.0, -2.0], requires_grad=True)
    return (w * w).sum(), w


def test_the_table_has_a_row_for_each_step_with_what_it_does():
    loss, w = squares()
    loss.backward()
    assert explain(loss, w=w).rows == [
        ("1", "w", "a leaf that wants a gradient", "", "(2,) float32", "[1, −2]", "[2, −4]"),
        ("2", "× mul", "x * y", "w (1), w (1)", "(2,) float32", "[1, 4]", "[1, 1]"),
        ("3", "Σ sum", "The sum over the axes `dim`", "× mul (2)", "() float32", "5", "1")]


def test_the_summary_counts_and_says_what_is_missing():
    loss, w = squares()
    assert explain(loss, w=w).summary == (
        "Σ sum came about in 2 recorded steps from 1 value that no op made, of which 1 wants a gradient. Backward has "
        "not run from here, so there are no gradients yet. For backward the tape keeps up to 16 B.")
    loss.backward()
    assert "Backward" not in explain(loss, w=w).summary
    assert explain(w).summary == "parameter is a leaf: no recorded op made it, so its history begins here."


def test_the_first_nan_is_named():
    z = md.tensor([1.0, 0.0], requires_grad=True)
    assert "NaN or infinity first appears at step 2, log." in explain((md.log(z) * 2).sum(), z=z).summary


def test_a_loop_is_read_out_once():
    w = h = md.tensor(0.5, requires_grad=True)
    for _ in range(30):
        h = md.tanh(h * w)
    rows = explain(h, w=w, fold=True).rows
    assert len(rows) < 6 and any("of the turn before" in row[3] for row in rows)


def test_it_shows_itself_as_a_table_and_as_text():
    loss, w = squares()
    shown = explain(loss, names={"<w>": w})
    assert "&lt;w&gt;" in shown._repr_html_() and shown._repr_html_().count("<tr") == 4
    assert repr(shown).splitlines()[2].split() == ["step", "what", "it", "does", "from", "shape", "value", "gradient"]
    assert all(cell in repr(shown) for row in shown.rows for cell in row)


def test_what_is_no_tensor_is_refused():
    with pytest.raises(ArgumentError, match="expected a tensor, got int"):
        explain(3)
