"""Calibration in a real browser: bins beside NumPy while the temperature slides, the best one, small screens."""
import re

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import Calibration
from tests.browser.harness import opened
from tests.test_widget_calibration import answers, in_a_loop


def bins(live):
    """(rows, sure in %, right in %) of each bin, as the page says them."""
    said = [item.get_attribute("aria-label") for item in live.page.locator('[data-key^="bin "]').all()]
    form = r": (\d+) rows?, sure ([\d.]+) % on the mean, right ([\d.]+) %"
    return [[float(v) for v in re.search(form, text).groups()] for text in said]


def expected(scores, y, t, count=10):
    found, gap = in_a_loop(scores, y, t, count)
    return [[len(found[k]), *(100 * np.mean([row[j] for row in found[k]]) for j in (0, 1))] for k in sorted(found)], gap


def test_the_diagram_follows_the_temperature(browser):
    scores, y = answers(200, heat=3.0)
    widget = Calibration(scores, y)
    with opened(browser, widget) as live:
        np.testing.assert_allclose(bins(live), expected(scores[100:], y[100:], 1.0)[0], rtol=1e-3)
        live.page.get_by_role("slider", name="temperature").fill("2.5")
        live.settled()
        rows, gap = expected(scores[100:], y[100:], 2.5)
        np.testing.assert_allclose(bins(live), rows, rtol=1e-3)
        told = live.page.locator(".md-calibration-facts").text_content()
        assert f"Mean gap (ECE) {gap:.3g}" in told
        live.page.locator(".md-stage").focus()
        live.press("b")
        live.settled()
        live.until(lambda: widget.temperature == pytest.approx(widget.best, rel=0.01))
        live.press("+")
        live.settled()
        assert widget.temperature > widget.best


def test_the_best_temperature_is_a_button_and_a_mark_and_bins_can_change(browser):
    widget = Calibration(*answers(200, heat=3.0))
    with opened(browser, widget) as live:
        live.page.get_by_role("button", name="best T").click()
        live.settled()
        assert widget.temperature == pytest.approx(widget.best, rel=0.01)
        widget.temperature = 1.0
        live.page.locator('[data-key="best"]').click()
        live.settled()
        assert widget.temperature == pytest.approx(widget.best, rel=0.01)
        live.page.get_by_label("bins").fill("4")
        live.settled()
        assert len(bins(live)) == len(widget.values()["count"]) <= 4


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_nothing_is_wider_than_the_page(browser, shots, theme, width):
    with opened(browser, Calibration(*answers(600, heat=3.0)), theme=theme, width=width) as live:
        assert live.overhang()[0] <= 0
        live.shot(f"{shots}/calibration_{theme}_{width}.png")
