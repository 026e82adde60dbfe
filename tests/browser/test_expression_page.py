"""The expression lab in a real browser."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import ExpressionLab
from tests.browser.harness import opened


@pytest.fixture
def live(browser):
    with opened(browser, ExpressionLab("x * y", x=2.0, y=3.0)) as live:
        yield live


def cells_of(live):
    return [row.locator("th, td").all_text_contents() for row in live.page.locator("tbody tr").all()]


def test_a_slider_moves_a_number_and_the_gradients_follow(live):
    assert cells_of(live) == [["x", "2", "3", "3", "✓ alike"], ["y", "3", "2", "2", "✓ alike"]]
    live.page.get_by_label("x, slider").fill("4.5")
    live.settled()
    assert cells_of(live)[1] == ["y", "3", "4.5", "4.5", "✓ alike"]
    assert live.said() == live.widget.trace.sentence(0)


def test_a_new_formula_gets_new_sliders_and_no_player(live):
    field = live.page.get_by_label("L =")
    field.fill("sin(z) + x")
    field.press("Enter")
    live.settled()
    assert [row[0] for row in cells_of(live)] == ["z", "x"]
    assert live.page.get_by_label("z, slider").count() == 1 and live.page.get_by_label("y, slider").count() == 0
    assert live.page.get_by_role("button", name="play", exact=True).count() == 0


def test_a_mistake_blanks_graph_and_table_and_is_explained(live):
    field = live.page.get_by_label("L =")
    field.fill("x ^ 2")
    field.press("Enter")
    live.settled()
    assert "two stars" in live.page.locator(".md-error").text_content()
    live.page.wait_for_function("getComputedStyle(document.querySelector('.md-table')).opacity === '0.25'")
