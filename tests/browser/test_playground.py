"""The playground in a browser: steps, units, forks and settings show what was recorded."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

import minidl as md
from minidl import nn
from minidl.widgets import Playground
from minidl.widgets.playground import unit_line
from tests.browser.harness import opened

WIDTHS = "[...document.querySelectorAll('.md-weight')].map(e => Number(e.getAttribute('stroke-width')))"


def playground(**controls):
    md.manual_seed(0)
    return Playground(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), **{"steps": 10, "lr": 1.0} | controls)


def count(live, what):
    return live.page.locator(what).count()


def test_steps_show_weights_gradients_and_the_batch(browser):
    with opened(browser, playground()) as live:
        assert count(live, ".md-weight") == 12 and count(live, ".md-slope") == 0 and count(live, ".md-ring") == 0
        first = live.page.evaluate(WIDTHS)
        live.press("ArrowRight", "ArrowRight")
        assert count(live, ".md-slope") == 12 and count(live, ".md-ring") == 16
        assert live.said() == live.widget.trace.sentence(2)
        live.press("ArrowLeft", "ArrowLeft")
        assert live.page.evaluate(WIDTHS) == first
        live.press("End")
        row, top = live.widget.trace.frame(-1).data["runs"][0], live.widget.trace.figure["weight"]
        sizes = [abs(w) / top for matrix in row["weight"] for unit in matrix for w in unit]
        drawn = live.page.evaluate(WIDTHS)
        assert sorted(range(12), key=sizes.__getitem__)[-1] == sorted(range(12), key=drawn.__getitem__)[-1]
        live.page.get_by_label("lines").select_option("gradients")
        assert count(live, ".md-weight") == 0 and count(live, ".md-slope") == 12
        live.page.get_by_label("lines").select_option("weights")
        assert count(live, ".md-weight") == 12 and count(live, ".md-slope") == 0


def test_units_are_walked_through_along_the_model(browser):
    with opened(browser, playground()) as live:
        live.press("End", "Enter")
        figure, row = live.widget.trace.figure, live.widget.trace.frame(-1).data["runs"][0]
        pinned = live.page.locator(".md-pinned")
        assert pinned.text_content() == unit_line(figure, row, 1, 0)
        live.press("ArrowDown")
        assert pinned.text_content() == unit_line(figure, row, 1, 1)
        live.press("ArrowRight")
        assert pinned.text_content() == unit_line(figure, row, 2, 0)
        live.press("ArrowLeft")
        assert pinned.text_content() == unit_line(figure, row, 1, 0)


def test_fork_from_the_step_at_hand(browser):
    with opened(browser, playground()) as live:
        assert live.page.get_by_label("model of").is_hidden()
        live.page.get_by_label("fork with another").select_option("lr")
        live.page.get_by_label("of", exact=True).fill("0.1")
        live.page.get_by_label("of", exact=True).press("Enter")
        live.settled()
        assert count(live, ".md-planes > svg") == 2 and count(live, ".md-curve") == 4
        live.page.locator(".md-stage").focus()
        live.press("Home", "ArrowRight", "ArrowRight", "ArrowRight")
        live.page.get_by_role("button", name="fork from this step").click()
        live.settled()
        assert live.widget.fork_at == 3
        assert "lr 0.1 from step 3 on" in live.page.locator(".md-remark").first.text_content()
        live.page.locator(".md-stage").focus()
        live.press("End")
        before = live.page.evaluate(WIDTHS)
        live.page.get_by_label("model of").select_option("fork")
        assert live.page.evaluate(WIDTHS) != before


def test_bad_setting_is_explained(browser):
    with opened(browser, playground()) as live:
        live.page.get_by_label("points", exact=True).fill("2")
        live.settled()
        assert "points must be from 8 to 500" in live.page.locator(".md-error").first.text_content()


def test_run_that_breaks_says_where(browser):
    class Exp(nn.Module):
        def forward(self, x):
            return x.exp()
    md.manual_seed(2)
    with opened(browser, Playground(nn.Sequential(nn.Linear(2, 4), Exp(), nn.Linear(4, 1)), lr=300.0)) as live:
        live.press("End")
        assert "layer 1 (Exp): exp: Inf came out" in live.page.locator(".md-stage").text_content()
        assert count(live, ".md-play .broken") > 0


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_fits_the_page(browser, theme, width):
    with opened(browser, playground(fork_by="optimizer", fork_to="Adam"), theme, width=width) as live:
        live.press("End")
        assert live.page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.md-stage'))") <= 1
