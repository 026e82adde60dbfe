"""The backprop player in a real browser: what the page shows at a step is what Python says."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from xml.etree import ElementTree

from minidl.widgets import play
from tests.browser.harness import opened


def scalar(x, w):
    return (x * w + x).tanh() * x


@pytest.fixture
def live(browser):
    with opened(browser, play(scalar, x=0.5, w=-3.0), width=900) as live:
        yield live


def drawn_texts(svg):
    """The texts inside the boxes of a static picture, sorted."""
    root = ElementTree.fromstring(svg)
    return sorted(t.text for t in root.iter("{http://www.w3.org/2000/svg}text"))


def test_live_picture_has_the_texts_of_the_static_one_at_every_step(live):
    for k in range(len(live.widget.trace)):
        live.page.evaluate(f"window.view.go({k})")
        assert live.said() == live.widget.trace.sentence(k)
        texts = live.page.locator(".md-board text, .md-board ~ svg text, .md-stage + svg text").all_text_contents()
        assert sorted(texts) == drawn_texts(live.widget.svg(k))


def test_arrows_inside_follow_edges_and_the_label_has_all_digits(live):
    live.press("End", "Enter", "Home")
    live.page.evaluate("window.view.enter('n1')")
    assert "x, parameter; value 0.5" in live.page.locator(".md-pinned").text_content()
    live.press("ArrowRight")
    assert "v1 ×" in live.page.locator(".md-pinned").text_content()
    live.press("ArrowLeft")
    assert "x, parameter" in live.page.locator(".md-pinned").text_content()


def test_a_prediction_opens_the_step_and_a_wrong_one_does_not(live):
    live.page.get_by_label("predict slopes").check()
    asked = [k for k, frame in enumerate(live.widget.trace) if "ask" in frame.data]
    live.page.evaluate(f"window.view.go({asked[0]})")
    answer = live.widget.trace.frame(asked[0]).data["ask"]["answer"]
    assert "Predict: " in live.said() and "contributions" not in live.said()
    arrived = live.page.locator(".md-board .gradient")
    assert arrived.count() == asked[0] - 6               # nothing of the answer is on the board: step 7 is the first
    guess = live.page.get_by_label("your prediction")
    guess.fill(str(answer + 1))
    guess.press("Enter")
    assert "2 tries left" in live.page.locator(".md-quiz").text_content()
    guess.fill("−" * (answer < 0) + f"{abs(answer):.4f}")
    guess.press("Enter")
    assert "Right." in live.said() and live.widget.trace.sentence(asked[0]) in live.said()
    assert live.page.locator(".md-quiz").is_hidden()


def test_playing_halts_at_a_question(live):
    live.page.get_by_label("predict slopes").check()
    first = next(k for k, frame in enumerate(live.widget.trace) if "ask" in frame.data)
    live.page.evaluate(f"window.view.set('speed', 4); window.view.go({first - 1})")
    live.page.locator(".md-stage").focus()
    live.press("Space")
    live.until(lambda: live.widget.index == first and not live.widget.playing)


def test_a_number_that_is_changed_is_replayed(live):
    live.page.get_by_label("w", exact=True).fill("2")
    live.settled()
    assert live.widget.values == {"w": 2.0}
    assert live.said() == live.widget.trace.sentence(0) == "Step 1 of 15, forward. The leaves: x = 0.5, w = 2."


def test_the_mistake_can_be_switched_on(live):
    live.page.get_by_label("= in place of +=").check()
    live.settled()
    assert "wrong for x" in live.page.locator(".md-remark").text_content()
