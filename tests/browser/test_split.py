"""Split screen in a real browser: one clock for both panes, the place where they part, the question."""
import os

import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.widgets import split_screen
from tests.browser.harness import opened

SHOTS = os.environ.get("MINIDL_SHOTS")                   # a folder, for those who want to look at the pictures


def halves(x):
    y = md.tanh(x) * 0.5
    print("rows", y.shape[0])
    return y.sum()


def branches(x):
    y = x * 2
    if y.sum() > 0:
        y = -y
    return y


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_panes_follow_one_clock(browser, theme):
    with opened(browser, split_screen(halves, md.ones(2, 2)), theme) as live:
        for line, left, right in ((2, "y = [[0.381, 0.381], [0.381, 0.381]] (2, 2)", "y = symbol float32 (2, 2)"),
                                  (3, "» prints rows 2", "» prints rows 2")):
            assert live.page.locator(".split-here .split-number").text_content() == f"▸{line}"
            for pane, text in (("dynamic", left), ("static", right)):
                assert text in live.page.locator(f".{pane} .split-now").all_text_contents()[-1]
            live.press("ArrowRight")
        if SHOTS:
            live.press("ArrowLeft")
            live.shot(f"{SHOTS}/split-{theme}.png")
        live.press("/")
        live.page.keyboard.type("Call 2")
        live.page.keyboard.press("Enter")
        assert "def program" in live.page.locator(".static").inner_text()


def test_where_they_part_playing_stops_and_the_reason_is_said(browser):
    with opened(browser, split_screen(branches, md.ones(3)), width=400) as live:
        live.page.evaluate("window.view.set('speed', 4)")
        live.press("Space")
        live.until(lambda: live.widget.index == 1 and not live.widget.playing)
        assert "Here they part" in live.said() and "✗" in live.page.locator(".static").inner_text()
        if SHOTS:
            live.shot(f"{SHOTS}/split-narrow.png")


def test_the_question_is_answered(browser):
    with opened(browser, split_screen(halves, md.ones(2, 2))) as live:
        live.press("End")
        live.page.get_by_label("hit or retrace?").select_option("retrace")
        live.settled()
        assert live.said().endswith("not (float32 (2, 2) on cpu,).") and "Right. Retrace" in live.said()
        live.page.get_by_label("another call").fill("(2, 2)")
        live.page.get_by_label("another call").press("Enter")
        live.settled()
        assert "Not so. Hit" in live.said()
        live.page.get_by_label("another call").fill("what?")
        live.page.get_by_label("another call").press("Enter")
        live.settled()
        assert "not another call" in live.page.locator(".md-error").text_content()


def test_cost_follows_the_slider(browser):
    widget = split_screen(halves, md.ones(2, 2))
    widget._cost = [0.003, 0.010, 0.001]
    widget.recompute()
    with opened(browser, widget) as live:
        live.press("/")
        live.page.keyboard.type("Measured here")
        live.page.keyboard.press("Enter")
        shown = live.page.locator(".split-cost span:first-child")
        assert shown.all_text_contents() == ["5 calls, dynamic: 15 ms", "5 calls, static: 14 ms"]
        live.page.get_by_label("calls", exact=True).fill("2")
        assert shown.all_text_contents() == ["2 calls, dynamic: 6 ms", "2 calls, static: 11 ms"]
        if SHOTS:
            live.shot(f"{SHOTS}/split-cost.png")
