"""Signals through depth in a real browser: the guess, the columns beside a loop, sliders and keys, small screens."""
import re

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import SignalThroughDepth
from tests.browser.harness import opened
from tests.test_widget_through_depth import by_loop


def sizes(live, name):
    """The root mean square that each column says, None where there is none yet."""
    said = [item.get_attribute("aria-label").replace("\N{MINUS SIGN}", "-")
            for item in live.page.locator(f'[data-key^="{name} "]').all()]
    found = [re.search(r"root mean square ([\d.e-]+),", text) for text in said]
    return [float(one[1]) if one else None for one in found]


def expected(*settings):
    return [np.sqrt((one ** 2).mean(axis=(1, 2))) for one in by_loop(*settings)]


def test_a_guess_opens_the_picture(browser):
    widget = SignalThroughDepth(depth=6, width=20, s=0.25)
    signals, gradients = expected("tanh", 0.25, 6, 20)
    with opened(browser, widget) as live:
        assert sizes(live, "h")[1:] == [None] * 6 and sizes(live, "g") == [None] * 7
        assert "Choose a guess" in live.said()
        live.page.get_by_role("combobox", name="my guess").select_option("lives")
        live.settled()
        np.testing.assert_allclose(sizes(live, "h"), signals, rtol=1e-3)
        np.testing.assert_allclose(sizes(live, "g"), gradients, rtol=1e-3)
        told = live.page.locator(".md-depth-facts").text_content()
        assert "The signal lives, the gradient lives. You said lives: right." in told


def test_layers_arrive_one_by_one(browser):
    widget = SignalThroughDepth(depth=6, width=20, s=0.25)
    signals, gradients = expected("tanh", 0.25, 6, 20)
    with opened(browser, widget) as live:
        live.press("ArrowRight", "ArrowRight")
        np.testing.assert_allclose(sizes(live, "h")[:3], signals[:3], rtol=1e-3)
        assert sizes(live, "h")[3:] == [None] * 4 and live.said() == widget.trace.sentence(2)
        live.press("End", "ArrowLeft")
        assert sizes(live, "g")[0] is None
        np.testing.assert_allclose(sizes(live, "g")[1:], gradients[1:], rtol=1e-3)
        live.press("Enter", "ArrowRight")
        assert "Gradient, layer 2: root mean square" in live.page.locator(".md-pinned").text_content()


def test_all_stays_in_sight_while_depth_init_and_s_change(browser):
    widget = SignalThroughDepth(depth=6, width=20, s=0.25)
    with opened(browser, widget) as live:
        live.press("End", "+", "+")
        live.until(lambda: widget.s == 0.27)
        live.settled()
        np.testing.assert_allclose(sizes(live, "h"), expected("tanh", 0.27, 6, 20)[0], rtol=1e-3)
        live.page.get_by_role("slider", name="depth").fill("9")
        live.settled()
        np.testing.assert_allclose(sizes(live, "g"), expected("tanh", 0.27, 9, 20)[1], rtol=1e-3)
        live.page.get_by_role("combobox", name="activation").select_option("relu")
        live.settled()
        live.page.get_by_role("combobox", name="init").select_option("He")
        live.settled()
        assert not live.page.get_by_role("slider", name="s", exact=True).is_visible()
        np.testing.assert_allclose(sizes(live, "h"), expected("relu", np.sqrt(2 / 20), 9, 20)[0], rtol=1e-3)


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_nothing_is_wider_than_the_page(browser, shots, theme, width):
    widget = SignalThroughDepth(activation="relu", init="He", guess="dies")
    widget.last()
    with opened(browser, widget, theme=theme, width=width, calm=True) as live:
        wide, outside = live.overhang()
        assert wide <= 0 and outside == 0
        live.shot(f"{shots}/through_depth_{theme}_{width}.png")
