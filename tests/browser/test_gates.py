"""The gate console in a real browser: steps, held gates by pointer and by keys, what changes then, small screens."""
import math

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl import nn
from minidl.widgets import GateConsole
from tests.browser.harness import opened


def console_of(kind="LSTM", steps=6, units=3, **settings):
    md.manual_seed(0)
    return GateConsole(getattr(nn, kind)(1, units), md.randn(steps, 1), **settings)


def shown(live, name):
    """What the cells of a row say: the number, or None."""
    labels = live.page.evaluate("""name => window.view.items().filter(e => e.dataset.key.split(" ")[0] === name)
        .map(e => e.getAttribute("aria-label"))""", name)
    numbers = [text.split(" = ")[-1].split(",")[0].split(". ")[0].replace("−", "-") for text in labels]
    return [None if "not there yet" in text else float(text) for text in numbers]


def test_the_page_shows_the_gates_up_to_now_and_then_the_gradient_from_the_end(browser):
    console = console_of()
    v = console.values()
    with opened(browser, console) as live:
        live.press("ArrowRight", "ArrowRight")
        np.testing.assert_allclose(shown(live, "f")[:3], v["f"][:3], rtol=1e-4)
        assert shown(live, "f")[3:] == shown(live, "c")[3:] == [None] * 3 and shown(live, "dc") == [None] * 6
        assert live.said() == console.trace.sentence(2)
        live.press("Shift+ArrowRight", "ArrowRight")
        assert shown(live, "dc")[:4] == [None] * 4
        np.testing.assert_allclose(shown(live, "dc")[4:], v["dc"][4:], rtol=1e-4)
        factors = live.page.locator(".md-factor").all_text_contents()
        assert factors == [f"·{v['f'][5]:.3g}"]
        assert live.page.locator(".md-meter").count() == 4
        assert live.page.locator(".md-meter").nth(1).text_content() == console.trace.frame(7).lines[1]


def test_two_quick_holds_both_count(browser):
    console = console_of()
    with opened(browser, console) as live:
        live.press("Shift+ArrowRight")
        live.until(lambda: console.frame.phase == "backward")
        live.page.locator('[data-key="f 2"]').click()
        live.page.get_by_label("hold f at 0", exact=True).evaluate("""button => {
            button.click();
            document.querySelector('[data-key="i 3"]').dispatchEvent(new MouseEvent("click", { bubbles: true }));
            document.querySelector('[aria-label="hold i at 1"]').click();
        }""")
        live.settled()
        assert sorted(console.clamps) == [["f", 2, 0, 0], ["i", 3, 1, 0]]


def test_holding_a_gate_by_pointer_changes_the_rest_and_the_loss(browser):
    console = console_of()
    before = console.values()
    with opened(browser, console) as live:
        live.press("Shift+ArrowRight")
        live.until(lambda: console.frame.phase == "backward")
        live.page.locator('[data-key="f 2"]').click()
        live.page.get_by_label("hold f at 0", exact=True).click()
        live.settled()
        assert console.clamps == [["f", 2, 0, 0]]
        c = shown(live, "c")
        np.testing.assert_allclose(c, console.values()["c"], rtol=1e-4)
        assert np.allclose(c[:2], before["c"][:2], rtol=1e-4) and not np.isclose(c[2], before["c"][2], rtol=1e-2)
        assert "as trained it is" in live.page.locator(".md-gate-facts").text_content()
        assert live.page.locator("path[stroke-dasharray='4 3']").count() == 2
        live.page.get_by_label("let go of f").click()
        live.settled()
        assert console.clamps == [] and live.page.locator("path[stroke-dasharray='4 3']").count() == 0


def test_holding_a_gate_by_keys_alone(browser):
    console = console_of("GRU")
    with opened(browser, console) as live:
        live.press("End", "Enter", "ArrowRight", "ArrowDown")
        live.until(lambda: console.index == 11)
        assert live.page.evaluate("document.activeElement.dataset.key") == "z 1"
        live.press("1")
        live.settled()
        assert console.clamps == [["z", 1, 1, 0]] and math.isclose(console.values()["h"][1], console.values()["h"][0])
        assert live.page.evaluate("document.activeElement.dataset.key") == "z 1"
        assert "held" in live.page.locator(".md-pinned").text_content()
        live.press("5")
        live.settled()
        assert console.clamps == [["z", 1, 0.5, 0]]
        live.press("Delete")
        live.settled()
        assert console.clamps == []


def test_every_step_and_all_units(browser):
    console = console_of()
    with opened(browser, console) as live:
        live.page.locator('[data-key="g 4"]').click()
        live.page.get_by_label("at every step").check()
        live.page.get_by_label("all units").check()
        live.page.get_by_label("hold g at -1").click()
        live.settled()
        assert console.clamps == [["g", None, -1, None]] and console.trace.figure["held"]["g"] == list(range(6))
        live.page.get_by_text("let go of all").click()
        live.settled()
        assert console.clamps == []


def test_settings_and_their_errors(browser):
    console = console_of("GRU")
    with opened(browser, console) as live:
        live.page.get_by_label("unit", exact=True).fill("2")
        live.settled()
        assert console.unit == 2 and "unit 2 of 3" in live.page.locator(".md-head").text_content()
        live.page.get_by_label("unit", exact=True).fill("7")
        live.settled()
        assert "there is no unit 7" in live.page.locator(".md-error").text_content()
        live.page.get_by_label("unit", exact=True).fill("1")
        live.page.get_by_label("preset").select_option("forget")
        live.settled()
        assert console.preset == "forget" and shown(live, "z")[0] == 0 and console.error == ""


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_nothing_is_wider_than_the_page(browser, theme, width):
    with opened(browser, console_of(steps=30, labels="a" * 30), theme=theme, width=width, calm=True) as live:
        live.press("End")
        wide, outside = live.overhang()
        assert wide <= 0 and outside == 0
