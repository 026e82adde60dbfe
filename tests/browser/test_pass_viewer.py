"""The pass viewer in a real browser: marks both ways, a pass left out, relations of a step."""
import os

import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.widgets import view_passes
from tests.browser.harness import opened

SHOTS = os.environ.get("MINIDL_SHOTS")                   # a folder, for those who want to look at the pictures


def twice(x):
    a, b = md.tanh(x) * 2 + 0, md.tanh(x) * 2
    return (a - 3 * b).sum() + x.T.T.sum()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_pass_goes_both_ways(browser, theme):
    with opened(browser, view_passes(twice, md.ones(2, 3)), theme) as live:
        removed = live.page.locator(".pass-removed .pass-text")
        live.press("ArrowRight")
        assert removed.count() == 0 and "Decide, then step on" in live.said()
        live.press("ArrowRight")
        assert "add(v2, 0)" in removed.all_text_contents()
        assert live.page.locator(".pass-gained tr").count() == 3
        if SHOTS:
            live.shot(f"{SHOTS}/passes-{theme}.png")
        live.press("ArrowLeft")
        assert removed.count() == 0
        live.press("End")
        assert "def program(x):" in live.page.locator(".pass-list").inner_text()


def test_a_pass_is_left_out_with_its_box(browser):
    with opened(browser, view_passes(twice, md.ones(2, 3)), width=400) as live:
        live.page.get_by_label("merge", exact=True).uncheck()
        live.settled()
        assert live.widget.without == ["merge"]
        live.page.locator(".md-stage").focus()
        live.press("End")
        assert "merge" not in live.page.locator(".pass-gained").inner_text()
        live.press("ArrowLeft")
        if SHOTS:
            live.shot(f"{SHOTS}/passes-narrow.png")


def test_a_step_shows_what_it_reads_and_what_reads_it(browser):
    with opened(browser, view_passes(twice, md.ones(2, 3))) as live:
        live.page.locator('[data-key="v2"]').click()
        near = live.page.locator(".pass-near .pass-name").all_text_contents()
        assert near == ["v1", "v3"]
        assert "v2 = mul(v1, 2), float32 (2, 3)" in live.page.locator(".md-pinned").text_content()
