"""Draw a digit in a real browser: mouse, touch and keys, and that what is shown is what the model says."""
import numpy as np
import pytest

import minidl as md
from minidl import nn

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import DigitPad
from tests.browser.harness import opened


@pytest.fixture(scope="module")
def model():
    """A small net that knows the digits a little."""
    md.manual_seed(0)
    x, y = md.data.MNIST10k().tensors()
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10))
    optimizer = md.optim.Adam(model.parameters(), lr=0.01)
    for k in range(0, 2000, 50):
        loss = nn.functional.cross_entropy(model(x[k:k + 50]), y[k:k + 50])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.fixture
def live(browser, model):
    with opened(browser, DigitPad(model, "2,000 digits of MNIST")) as live:
        yield live


def first(live):
    return live.page.locator(".md-first").get_attribute("aria-label")


def answered(live):
    live.page.wait_for_function("window.view.pad.timer === undefined")
    live.settled()


def stroke(live, *points):
    box = live.page.locator(".md-pad").bounding_box()
    places = [(box["x"] + x / 28 * box["width"], box["y"] + y / 28 * box["height"]) for x, y in points]
    live.page.mouse.move(*places[0])
    live.page.mouse.down()
    for place in places[1:]:
        live.page.mouse.move(*place, steps=6)
    live.page.mouse.up()
    answered(live)


def test_a_stroke_of_the_mouse_is_recognised_while_the_pen_is_down(live):
    before = live.page.evaluate("window.sent")
    stroke(live, (14, 4), (14, 14), (14, 24))
    assert live.widget.frame.data["top"][0] == 1 and live.said() == live.widget.trace.sentence(0)
    assert "class 1: probability" in first(live)
    assert live.page.evaluate("window.sent") > before
    ink = np.array(live.widget.pixels).reshape(28, 28)
    assert ink[6:22, 14].min() == 255 and not ink[:, :10].any() and 0 < np.unique(ink).size
    live.page.get_by_role("button", name="clear").click()
    answered(live)
    assert not any(live.widget.pixels) and "Nothing is drawn" in live.said()


def test_answers_come_while_one_is_drawing(live):
    box = live.page.locator(".md-pad").bounding_box()
    live.page.mouse.move(box["x"] + 112, box["y"] + 40)
    live.page.mouse.down()
    live.page.mouse.move(box["x"] + 112, box["y"] + 120, steps=5)
    live.until(lambda: any(live.widget.pixels))                    # the pen is still down
    live.page.mouse.up()
    answered(live)


def test_the_keyboard_draws_and_says_where_it_is(live):
    live.page.locator(".md-pad").focus()
    for key in ["ArrowUp"] * 9 + ["Enter"] + ["ArrowDown"] * 17 + ["Enter"]:
        live.page.keyboard.press(key)
    assert "Row 22, column 14: ink 100 %, pen up" in live.page.locator(".md-place").text_content()
    answered(live)
    assert live.widget.frame.data["top"][0] == 1
    live.page.keyboard.press("c")
    answered(live)
    assert not any(live.widget.pixels)


def test_no_gesture_of_the_page_takes_the_finger_away(live):
    assert live.page.evaluate("getComputedStyle(document.querySelector('.md-pad')).touchAction") == "none"


def test_a_test_digit_a_mistake_and_centring(live):
    live.page.get_by_label("test digit").fill("3")
    live.settled()
    assert live.widget.example == 3 and live.page.evaluate("window.view.pad.ink") == live.widget.frame.data["pad"]
    live.page.get_by_role("button", name="next mistake").click()
    live.settled()
    assert "Wrong: the label is" in live.said()
    stroke(live, (4, 4), (4, 10))
    assert live.widget.example == -1
    with_, seen = live.widget.frame.data["seen"], ".md-stage svg path"
    paths = live.page.locator(seen).first.get_attribute("d")
    live.page.get_by_label("centre and scale").uncheck()
    live.settled()
    assert live.widget.frame.data["seen"] != with_ and live.page.locator(seen).first.get_attribute("d") != paths


def test_a_class_paints_its_gradient_and_a_click_on_a_map_shows_its_sum(live):
    live.page.get_by_label("test digit").fill("0")
    live.settled()
    wrong = live.widget.frame.data["top"][1]
    live.page.locator(f"[data-key=c{wrong}]").click()
    live.settled()
    assert live.widget.target == wrong
    assert live.widget.frame.data["paint"]["says"] in live.page.locator(".md-painted").text_content()
    box = live.page.locator("[data-key='u0:2']").bounding_box()
    live.page.mouse.click(box["x"] + box["width"] * 5.5 / 12, box["y"] + box["height"] * 3.5 / 12)
    live.settled()
    assert live.widget.unit == "0[2, 3, 5]"
    assert live.widget.frame.data["unit"]["says"] in live.page.locator(".md-closer").text_content()
    assert live.page.locator(".md-closer .md-plane").count() == 3          # given, weight, products


def test_keys_reach_classes_and_units(live):
    live.page.get_by_label("test digit").fill("0")
    live.settled()
    live.press("Enter")
    live.page.locator(".md-stage").focus()
    live.page.keyboard.press("Enter")
    assert "class" in live.page.evaluate("document.activeElement.getAttribute('aria-label')")
    live.page.keyboard.press("Enter")
    live.settled()
    assert live.widget.target == live.widget.frame.data["top"][0]
    live.page.evaluate("window.view.enter('u3:3')")
    live.page.keyboard.press("Enter")
    live.settled()
    assert live.widget.unit == "4[3]"


def test_a_frame_is_drawn_fast(live):
    live.page.get_by_label("test digit").fill("0")
    live.settled()
    count = live.page.evaluate("document.querySelectorAll('.md-stage *').length")
    assert count < 3000                                   # elements; what a step costs in the page goes with them


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 760])
def test_it_fits_both_themes_and_narrow_pages(browser, model, theme, width, tmp_path):
    with opened(browser, DigitPad(model, "2,000 digits of MNIST", example=0, target=3, unit="4[3]"), theme,
                width=width) as live:
        assert live.page.evaluate("document.documentElement.scrollWidth") <= width
        live.shot(tmp_path / f"digitpad-{theme}-{width}.png")
