"""The loss lab in a real browser: scores by pointer and by keys, both ways beside NumPy, small screens."""
import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import LossLab
from tests.browser.harness import opened


def label(live, key):
    """What an item says."""
    return live.page.locator(f'[data-key="{key}"]').get_attribute("aria-label").replace("\N{MINUS SIGN}", "-")


def value(live, key):
    """The first number after a colon in what an item says."""
    return float(label(live, key).split(": ")[1].split(";")[0].rstrip(".").split(". ")[0].replace("∞", "inf"))


def drag(live, k, to):
    """Take the bar of score k in its middle, and let it go at a share of its column."""
    box = live.page.locator(f'[data-score="{k}"] rect').first.bounding_box()
    y = box["y"] + box["height"] / 2
    live.page.mouse.move(box["x"] + box["width"] / 2, y)
    live.page.mouse.down()
    live.page.mouse.move(box["x"] + box["width"] * (0.5 + to) / 2, y, steps=3)
    live.page.mouse.move(box["x"] + box["width"] * to, y, steps=3)
    live.page.mouse.up()
    live.settled()


def test_a_score_is_dragged_and_the_numbers_follow(browser):
    widget = LossLab([2.0, 1.0, -1.0])
    with opened(browser, widget) as live:
        drag(live, 1, 0.9)                                # of -10 to 10
        live.until(lambda: widget.scores == [2.0, 8.0, -1.0])
        live.settled()
        p = np.exp([2.0, 8.0, -1.0]) / np.exp([2.0, 8.0, -1.0]).sum()
        found = [value(live, f"share {k}") for k in range(3)]
        np.testing.assert_allclose(found, p, rtol=1e-4)
        np.testing.assert_allclose([value(live, f"slope {k}") for k in range(3)], p - [1, 0, 0], rtol=1e-4)
        shown = float(live.page.locator('[data-loss="mended"]').text_content())
        assert shown == pytest.approx(-np.log(p[0]), rel=1e-3)


def test_exp_overflows_by_keys(browser):
    widget = LossLab([10.5, 0.0], dtype="float16")
    with opened(browser, widget) as live:
        assert live.page.locator('[data-loss="plain"]').text_content() == "0"
        live.press("+", "+", "+")
        live.until(lambda: widget.scores == [12.0, 0.0])
        live.settled()
        assert "exp(12) = ∞" in label(live, "plain 0") and "exp(0) = 1." in label(live, "mended 0")
        assert live.page.locator('[data-loss="plain"]').text_content() == "NaN"
        assert live.page.locator('[data-loss="mended"]').text_content() == "0"
        live.page.get_by_role("combobox", name="dtype").select_option("float32")
        live.settled()
        assert live.page.locator('[data-loss="plain"]').text_content() != "NaN"
        live.page.get_by_role("slider", name="temperature").fill("0.1")
        live.settled()
        assert "exp(120) = ∞" in label(live, "plain 0") and "is ∞ in float32" in live.said()


def test_the_truth_is_chosen_and_targets_are_smoothed(browser):
    widget = LossLab([1.0, 1.0, 1.0])
    with opened(browser, widget) as live:
        live.page.locator('[data-key="class 2"]').click()
        live.settled()
        assert widget.right == 2 and "is the truth" in label(live, "class 2")
        live.page.get_by_role("slider", name="smoothing").fill("0.3")
        live.settled()
        assert "it should be 0.8." in label(live, "share 2") and "it should be 0.1." in label(live, "share 0")
        live.press("Escape", "Enter", "ArrowLeft")
        assert "Class 2" in live.page.locator(".md-pinned").text_content()
        live.page.get_by_role("combobox", name="loss").select_option("yes or no")
        live.settled()
        assert value(live, "share 0") == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-4)


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_nothing_is_wider_than_the_page(browser, shots, theme, width):
    widget = LossLab([4.0, 1.0, -2.0, 9.0], dtype="float16", temperature=0.4)
    with opened(browser, widget, theme=theme, width=width) as live:
        assert live.overhang()[0] <= 0
        live.shot(f"{shots}/losses_{theme}_{width}.png")
