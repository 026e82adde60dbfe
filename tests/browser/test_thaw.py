"""Freeze and thaw in a real browser: clicks and keys, the numbers beside those of a loop of its own, both themes."""
import copy

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl import optim
from minidl.nn import functional as F
from minidl.widgets import FreezeThaw
from minidl.widgets.thaw import reader_and_digits
from tests.browser.harness import opened


def label(live, name):
    """All that is said about a layer."""
    return live.page.locator(f'[data-key="layer-{name}"]').get_attribute("aria-label")


def moved_by_a_loop(frozen, name, steps=4):
    """How far a layer is from its start after some steps, in percent: NumPy's norm around a plain loop."""
    model, x, y, _, _ = reader_and_digits()
    model = copy.deepcopy(model)
    for path, p in model.named_parameters():
        p.requires_grad_(path.split(".")[0] not in frozen)
    before = [p.detach().numpy().copy() for path, p in model.named_parameters() if path.split(".")[0] == name]
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.003)
    order = np.random.default_rng(0).permutation(100)
    for part in order.reshape(5, 20)[:steps]:
        optimizer.zero_grad()
        F.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
    after = [p.detach().numpy() for path, p in model.named_parameters() if path.split(".")[0] == name]
    flat = [np.concatenate([a.ravel() for a in arrays]) for arrays in (before, after)]
    return 100 * np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])


def test_a_click_freezes_a_layer_and_what_follows_is_there_at_once(browser):
    widget = FreezeThaw(steps=4)
    with opened(browser, widget) as live:
        facts = live.page.locator(".md-facts")
        assert "9,802 of 9,802 numbers learn" in facts.text_content()
        live.page.locator('[data-key="layer-0"]').click()
        live.settled()
        assert widget.frozen == ["0"] and "9,722 of 9,802 numbers learn" in facts.text_content()
        assert "backward goes back as far as 2 Conv2d" in facts.text_content()
        assert "frozen, 80 numbers" in label(live, "0") and "0 of 4 ops on the tape" in label(live, "0")
        live.page.locator('[data-key="layer-0"]').click()
        live.page.locator('[data-key="layer-2"]').click()                  # two clicks, one after the other
        live.settled()
        assert widget.frozen == ["2"] and "the gradient passes through it" in label(live, "2")


def test_numbers_on_the_page_are_those_of_a_loop(browser):
    with opened(browser, FreezeThaw(frozen=["0"], steps=4)) as live:
        live.press("End")
        for name in ("2", "6", "8"):
            shown = float(label(live, name).split("this step, ")[1].split(" %")[0])
            assert shown == pytest.approx(moved_by_a_loop(["0"], name), rel=2e-4)
        assert "Moved by 0 % in this step, 0 % since the start, no gradient" in label(live, "0")
        assert live.said() == live.widget.trace.sentence(4)


def test_keys_reach_a_layer_and_playing_waits_for_a_prediction(browser):
    widget = FreezeThaw(steps=4)
    with opened(browser, widget) as live:
        live.press(" ")
        live.page.wait_for_timeout(1500)
        assert live.page.evaluate("window.view.index") == 0 and "Predict before you go on" in live.said()
        live.press("Enter", "ArrowDown", "Enter")
        live.settled()
        assert widget.frozen == ["2"] and live.page.evaluate("document.activeElement.dataset.key") == "layer-2"
        live.press("Escape")
        live.page.get_by_label("Predict").select_option("8")
        live.settled()
        assert widget.guess == "8" and "You predict 8 Linear" in live.said()
        live.page.locator(".md-stage").focus()
        live.page.evaluate("window.view.set('speed', 4)")
        live.press(" ")
        live.until(lambda: widget.index == 4)
        assert "You predicted 8 Linear, which went" in live.said()


def test_a_new_choice_begins_with_its_question_and_keeps_the_old_curve(browser):
    widget = FreezeThaw(steps=4, guess="6")
    with opened(browser, widget) as live:
        live.press("End")
        live.page.locator('[data-key="layer-6"]').click()
        live.settled()
        assert (widget.guess, widget.index) == ("", 0)
        assert live.page.evaluate("window.view.index") == 0 and "Predict before" in live.said()
        assert "Before, nothing frozen: " in live.page.locator('[data-key="right"]').get_attribute("aria-label")


@pytest.mark.parametrize("theme, width", [("light", 760), ("dark", 760), ("dark", 360)])
def test_nothing_is_wider_than_the_page(browser, shots, theme, width):
    widget = FreezeThaw()
    for frozen in (["0", "2", "6"], ["2"], ["0", "2"]):
        widget.edit(frozen=frozen)
    widget.edit(guess="6")
    widget.last()
    with opened(browser, widget, theme=theme, width=width, calm=True) as live:
        wide, outside = live.overhang(".md-stage *", slack=1)
        assert wide <= 0 and outside == 0
        live.shot(f"{shots}/thaw_{theme}_{width}.png")
