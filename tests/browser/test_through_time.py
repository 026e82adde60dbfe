"""Gradients through time in a real browser: what has arrived, the radius by slider and by keys, small screens."""
import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl import nn
from minidl.widgets import GradientThroughTime
from tests.browser.harness import opened


def shown(live, unit):
    """What the cells of a unit say: the number, or None."""
    labels = live.page.evaluate("""unit => window.view.items().filter(e => e.dataset.key.split(" ")[0] === unit)
        .map(e => e.getAttribute("aria-label"))""", str(unit))
    numbers = [text.split(" = ")[-1].replace("\N{MINUS SIGN}", "-") for text in labels]
    return [None if "not there yet" in text else float(text) for text in numbers]


def test_the_gradient_comes_from_the_end(browser):
    widget = GradientThroughTime(steps=6)
    v = widget.values()
    with opened(browser, widget) as live:
        np.testing.assert_allclose(shown(live, 2), v["dh"][:, 2], rtol=1e-3)
        live.press("Home")
        assert shown(live, 2) == [None] * 6 and shown(live, "slope")[1:] == [None] * 5
        live.press("Shift+ArrowRight", "ArrowRight")
        assert shown(live, 2)[:4] == [None] * 4
        np.testing.assert_allclose(shown(live, 2)[4:], v["dh"][4:, 2], rtol=1e-3)
        assert live.said() == widget.trace.sentence(7)


def test_the_radius_slides_by_pointer_and_by_keys(browser):
    widget = GradientThroughTime(steps=12, bend="none", start="orthogonal")
    with opened(browser, widget) as live:
        facts = live.page.locator(".md-time-facts")
        slider = live.page.get_by_label("spectral radius")
        slider.fill("0.5")
        live.settled()
        assert widget.radius == 0.5 and "vanishes: from length 1 to 0.000488" in facts.text_content()
        live.page.locator(".md-stage").focus()
        for _ in range(10):
            live.page.keyboard.press("+")
            live.settled()
        assert widget.radius == 1.0 and "lasts: from length 1 to 1." in facts.text_content()
        live.page.get_by_role("combobox", name="bend").select_option("tanh")
        live.settled()
        assert widget.bend == "tanh" and widget.values()["length"][0] < 0.5
        np.testing.assert_allclose(shown(live, 0), widget.values()["dh"][:, 0], rtol=1e-3)


def test_quick_presses_all_count(browser):
    widget = GradientThroughTime(steps=5, radius=1.0)
    with opened(browser, widget) as live:
        live.page.locator(".md-stage").evaluate("""stage => ["+", "+", "+", "-"].forEach(
            key => stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })))""")
        live.until(lambda: widget.radius == 1.1)          # sent in one go: nothing came back between two presses
        live.settled()
        assert live.page.get_by_label("spectral radius").input_value() == "1.1"


def test_cells_are_reached_by_keys_and_say_their_number(browser):
    widget = GradientThroughTime(steps=5)
    with opened(browser, widget) as live:
        live.press("Enter", "ArrowRight", "ArrowDown")
        assert live.page.evaluate("document.activeElement.dataset.key") == "1 1"
        assert "dL/dh of unit 1 at t = 1 = " in live.page.locator(".md-pinned").text_content()


def test_an_own_rnn_has_no_start_and_errors_are_shown(browser):
    md.manual_seed(0)
    widget = GradientThroughTime(nn.RNN(1, 4))
    with opened(browser, widget) as live:
        assert live.page.get_by_label("start").count() == 0
        live.page.get_by_label("steps", exact=True).fill("70")
        live.settled()
        assert "steps cannot be 70" in live.page.locator(".md-error").text_content()


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_nothing_is_wider_than_the_page(browser, shots, theme, width):
    with opened(browser, GradientThroughTime(radius=1.6, bend="none"), theme=theme, width=width, calm=True) as live:
        wide, outside = live.overhang()
        assert wide <= 0 and outside == 0
        live.shot(f"{shots}/through_time_{theme}_{width}.png")
