"""The stride explorer in a real browser: an expression typed, cells of one position together, both themes."""
import os

import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl.widgets import explore_strides
from tests.browser.harness import opened

SHOTS = os.environ.get("MINIDL_SHOTS")                   # a folder, for those who want to look at the pictures


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_typed_expression_is_followed_and_mistakes_are_explained(browser, theme):
    with opened(browser, explore_strides(md.arange(12.0).reshape(3, 4)), theme) as live:
        field = live.page.get_by_label("expression")
        field.fill("x[:1].expand(3, 4)")
        field.press("Enter")
        live.settled()
        live.page.locator(".md-stage").focus()
        live.press("End")
        assert "stride is 0" in live.said()
        smalls = live.page.locator("[data-key^=m] text:last-child").all_text_contents()
        assert smalls == ["∂ 3"] * 4 + ["∂ 0"] * 8
        if SHOTS:
            live.shot(f"{SHOTS}/strides-{theme}.png")
        field.fill("x.numpy()")
        field.press("Enter")
        live.settled()
        assert "only indices and these methods" in live.page.locator(".md-error").text_content()


def test_cells_of_one_position_light_up_together_and_say_their_formula(browser):
    with opened(browser, explore_strides(), width=400) as live:
        live.press("ArrowRight", "ArrowRight")
        live.page.locator('[data-key="v1,0,2"]').click()
        same = live.page.evaluate("[...document.querySelectorAll('.md-same')].map(e => e.dataset.key)")
        assert sorted(same) == ["m10", "v1,0,2"]
        assert "0 + 1·2 + 0·0 + 2·4 = 10" in live.page.locator(".md-pinned").text_content()
        live.press("ArrowLeft")
        assert live.page.evaluate("document.activeElement.dataset.key") == "v1,0,1"
        if SHOTS:
            live.shot(f"{SHOTS}/strides-narrow.png")


def test_a_named_case_is_one_choice(browser):
    with opened(browser, explore_strides()) as live:
        live.page.get_by_label("named case").select_option(label="flip: x[::-1]")
        live.settled()
        assert live.widget.expression == "x[::-1]" and live.widget.error == ""
