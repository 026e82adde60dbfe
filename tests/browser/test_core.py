"""The frame player in a real browser: keys, focus, playing, changes, words, both themes."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from tests.browser.harness import opened
from tests.widget_example import Countdown


@pytest.fixture
def live(browser):
    with opened(browser, Countdown()) as live:
        yield live


def test_page_and_python_say_the_same_at_every_step(live):
    for k in range(len(live.widget.trace)):
        assert live.said() == live.widget.trace.sentence(k)
        live.press("ArrowRight")
    assert live.said() == live.widget.trace.sentence(len(live.widget.trace) - 1)


def test_keys_step_leap_and_jump_and_python_hears_of_it(live):
    live.press("End")
    live.until(lambda: live.widget.index == 5)
    live.press("ArrowLeft", "Shift+ArrowLeft")
    live.until(lambda: live.widget.index == 0)
    live.press("Shift+ArrowRight")
    live.until(lambda: live.widget.index == 4)
    live.press("Home")
    live.until(lambda: live.widget.index == 0)


def test_python_moves_the_page(live):
    live.widget.forward()
    assert live.said() == live.widget.trace.sentence(1)


def test_no_key_reaches_the_notebook_but_those_that_save_or_leave(live):
    live.page.evaluate("window.heard = []; document.addEventListener('keydown', e => window.heard.push(e.key))")
    live.press("b", "x", "ArrowRight", "Enter", "Escape")
    assert live.page.evaluate("window.heard") == []
    live.press("Control+s", "Tab")
    assert live.page.evaluate("window.heard").count("s") == 1 and "Tab" in live.page.evaluate("window.heard")


def test_the_figure_is_one_tab_stop(live):
    stops = live.page.evaluate("""[...document.querySelectorAll('.minidl-live *')].filter(e => e.tabIndex >= 0 &&
        !e.disabled && e.offsetParent !== null).map(e => e.tagName)""")
    assert stops == ["INPUT", "INPUT", "DIV"]            # two fields, one figure


def test_focus_roves_inside_and_is_kept_from_frame_to_frame(live):
    label = "document.activeElement.getAttribute('aria-label')"
    live.press("Enter")
    assert live.page.evaluate(label) == "the number 5"
    live.press("ArrowRight")
    assert live.page.evaluate(label) == "its neighbour"
    live.press("ArrowLeft", "Shift+ArrowRight")
    assert live.page.evaluate(label) == "the number 1"
    assert live.page.locator(".md-pinned").text_content() == "the number 1"
    live.press("Escape", "ArrowLeft")
    assert live.said() == live.widget.trace.sentence(3)


def test_playing_stops_at_the_end_and_a_second_click_does_not_stack(live):
    live.page.evaluate("window.view.set('speed', 4)")
    play = live.page.get_by_role("button", name="play", exact=True)
    play.click()
    live.until(lambda: live.widget.playing)
    live.page.get_by_role("button", name="pause", exact=True).click()
    assert live.page.evaluate("window.view.timer === undefined")
    live.press("Home", "Space", "Space")
    assert live.page.evaluate("window.view.timer === undefined")
    live.press("Space")
    assert live.page.evaluate("window.view.timer !== undefined")
    live.until(lambda: live.widget.index == 5 and not live.widget.playing)
    assert live.page.evaluate("window.view.timer === undefined")


def test_playing_needs_no_kernel(live):
    live.page.evaluate("window.kernel = false")
    live.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert live.said() == live.widget.trace.sentence(1)


def test_a_change_blanks_the_stage_until_its_answer_is_there(live):
    field = live.page.get_by_label("start")
    field.fill("9")
    assert live.page.evaluate("document.querySelector('.minidl-live').classList.contains('md-stale')")
    live.settled()
    assert live.widget.start == 9 and len(live.widget.trace) == 10
    assert live.said() == live.widget.trace.sentence(0)
    assert not live.page.evaluate("document.querySelector('.minidl-live').classList.contains('md-stale')")


def test_many_changes_at_once_are_one_message(live):
    before = live.page.evaluate("window.sent")
    live.page.get_by_label("start").evaluate("""(field) => ["6", "7", "8"].forEach((text) => {
        field.value = text;
        field.dispatchEvent(new Event("input", { bubbles: true }));
    })""")
    live.settled()
    live.page.wait_for_timeout(400)                      # for messages that should not come
    assert live.page.evaluate("window.sent") - before == 1


def test_changes_wait_for_the_answer_that_is_still_to_come_and_go_as_one(live):
    live.page.evaluate("window.kernel = false")
    before = live.page.evaluate("window.sent")
    for text in ("6", "7", "8"):
        live.page.get_by_label("start").fill(text)
        live.page.wait_for_timeout(250)
    assert live.page.evaluate("window.sent") - before == 1
    live.page.evaluate("window.kernel = true; window.receive({ answer: window.view.asked })")
    live.settled()
    assert live.page.evaluate("window.sent") - before == 2 and live.widget.start == 8


def test_the_stage_stays_blank_when_something_else_comes_than_the_answer(live):
    live.page.evaluate("window.kernel = false")
    live.page.get_by_label("start").fill("9")
    live.page.wait_for_timeout(200)
    live.widget.forward()
    assert live.page.evaluate("document.querySelector('.minidl-live').classList.contains('md-stale')")


def test_bad_input_is_explained_and_can_be_corrected(live):
    live.page.get_by_label("by").fill("0")
    live.settled()
    assert "goes down by 1 or more" in live.page.locator(".md-error").text_content()
    assert live.page.evaluate("document.querySelector('.minidl-live').classList.contains('md-stale')")
    live.page.get_by_label("by").fill("2")
    live.settled()
    assert live.page.locator(".md-error").is_hidden()
    assert live.said() == "Step 1 of 3, count. 5 to go."


def test_text_view_lists_all_steps_and_help_the_keys(live):
    live.press("t")
    lines = live.page.locator(".md-text li").all_text_contents()
    assert lines == [live.widget.trace.sentence(k) for k in range(6)]
    live.press("Escape", "?")
    assert "play or pause" in live.page.locator(".md-keys").text_content()


def test_find(live):
    live.press("/")
    live.page.keyboard.type("2 to go")
    live.page.keyboard.press("Enter")
    assert live.said() == live.widget.trace.sentence(3)


def test_motion_is_cut_for_who_wants_none(browser):
    with opened(browser, Countdown(), calm=True) as live:
        assert live.page.evaluate("window.view.motion") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_follows_the_notebook(browser, theme):
    with opened(browser, Countdown(), theme) as live:
        ground = live.page.evaluate("getComputedStyle(document.querySelector('.minidl-live')).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}[theme]


def test_nothing_goes_on_after_the_view_is_gone(live):
    live.press("Space")
    live.page.evaluate("window.unmount()")
    assert live.page.evaluate("window.view.offs.length") > 0
    before = live.page.evaluate("window.view.index")
    live.page.wait_for_timeout(1500)
    assert live.page.evaluate("window.view.index") == before


def test_targets_are_large_enough(live):
    small = live.page.evaluate("""[...document.querySelectorAll('.minidl-live button, .minidl-live input, select')]
        .filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)""")
    assert small == []


def test_a_change_goes_with_the_place_it_was_made_at(browser):
    with opened(browser, Countdown(start=4)) as live:
        live.press("End")
        live.page.evaluate("window.view.edit({ start: 9 }, 0)")       # before the place alone would have been sent
        live.settled()
        assert live.widget.start == 9 and live.widget.index == 4
