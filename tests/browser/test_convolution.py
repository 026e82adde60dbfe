"""The convolution explorer in a real browser: cells that answer, the way back, the matrix, its settings."""
import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import ConvolutionExplorer
from tests.browser.harness import opened

CASES = [{}, dict(size=(5, 4), kernel=(2, 3), stride=(1, 2), padding=(1, 2), dilation=(2, 1), channels=2, filters=4,
                  groups=2)]


def lit(live, name):
    """How many cells of an array are ringed, by channel."""
    return live.page.evaluate("""name => Object.fromEntries([...window.view.fields].filter(([id]) =>
        id.split(" ")[0] === name).map(([id, f]) => [id, f.rings.childNodes.length]))""", name)


def values_on_the_page(live, name):
    """What the cells of an array say, by the key of the cell."""
    return dict(live.page.evaluate("""name => window.view.items().filter(e => e.dataset.key.split(" ")[0] === name)
        .map(e => [e.dataset.key, e.getAttribute("aria-label").split(" = ").at(-1)])""", name))


def test_the_page_sums_and_sends_back_as_the_ops_do(browser):
    explorer = ConvolutionExplorer(padding=1)
    with opened(browser, explorer) as live:
        for k in (3, 14, 17, len(explorer.trace) - 1):
            explorer.seek(k)
            assert live.said() == explorer.trace.sentence(k)
            for name, array in explorer.shown(explorer.frame).items():
                found = values_on_the_page(live, name)
                for place, value in np.ma.ndenumerate(array):
                    text = found[" ".join([name, *map(str, place)])].replace("−", "-")
                    assert float(text) == value, (k, name, place)
                assert sum("not computed" in text for text in found.values()) == np.ma.count_masked(array)


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_cell_says_in_the_page_what_it_says_in_python(browser, case):
    explorer = ConvolutionExplorer(**case)
    with opened(browser, explorer) as live:
        live.press("End", "Enter")
        keys = live.page.evaluate("window.view.items().map(e => e.dataset.key)")
        assert {key.split()[0] for key in keys} == {"x", "w", "y", "dy", "dx", "dw"}
        said = live.page.evaluate("""keys => keys.map(key => { window.view.enter(key);
            return document.activeElement.getAttribute("aria-label"); })""", keys)
        for key, text in zip(keys, said):
            name, *place = key.split()
            assert text == explorer.about(name, *map(int, place))


def test_a_click_on_a_pixel_a_weight_or_a_sum_rings_the_other_two(browser):
    with opened(browser, ConvolutionExplorer(size=(6, 7), stride=2)) as live:
        live.press("Shift+ArrowRight")
        live.until(lambda: live.widget.index == 1)
        live.page.locator('[data-key="x 0 2 2"]').click()
        live.until(lambda: live.widget.chosen == "x 0 2 2")
        assert (lit(live, "x"), lit(live, "w"), lit(live, "y")) == ({"x 0": 1}, {"w 0 0": 4}, {"y 0": 4})
        assert "read by 4 windows" in live.page.locator(".md-sum").text_content()
        live.page.locator('[data-key="w 0 0 1 1"]').click()
        assert (lit(live, "x"), lit(live, "w"), lit(live, "y")) == ({"x 0": 6}, {"w 0 0": 1}, {"y 0": 6})
        live.page.locator('[data-key="y 0 1 2"]').click()
        assert (lit(live, "x"), lit(live, "w"), lit(live, "y")) == ({"x 0": 9}, {"w 0 0": 9}, {"y 0": 1})
        live.until(lambda: live.widget.frame.data == {"at": [0, 1, 2]} and live.widget.chosen == "")
        live.press("Shift+ArrowRight")
        live.until(lambda: live.widget.frame.phase == "backward")
        live.page.locator('[data-key="dx 0 2 2"]').click()
        assert (lit(live, "dx"), lit(live, "dy"), lit(live, "w")) == ({"dx 0": 1}, {"dy 0": 4}, {"w 0 0": 4})
        live.press("Escape")
        assert lit(live, "dx") == {"dx 0": 9}


def test_keyboard_alone_reaches_a_pixel_and_asks_it(browser):
    with opened(browser, ConvolutionExplorer()) as live:
        live.press("ArrowRight", "Enter", "ArrowLeft")
        live.until(lambda: live.widget.index == 1)
        name = live.page.evaluate("document.activeElement.dataset.key")
        live.press("Enter")
        live.until(lambda: live.widget.chosen == name)
        assert live.widget.describe().splitlines()[-1] == live.page.locator(".md-sum").text_content()


def test_pixels_that_are_never_read_are_struck_once_the_question_is_answered(browser):
    with opened(browser, ConvolutionExplorer(size=(6, 7), stride=2)) as live:
        shown = "[...document.querySelectorAll('.md-unread')].filter(e => e.getBoundingClientRect().width).length"
        assert live.page.evaluate(shown) == 0 and "OH" in live.page.locator(".md-facts").text_content()
        assert "= ?" in live.page.locator(".md-facts").text_content()
        live.press("ArrowRight")
        assert live.page.evaluate(shown) == 7
        live.page.get_by_label("stride, vertical").fill("1")
        live.settled()
        assert live.widget.stride == (1, 2) and live.page.evaluate(shown) == 0
        live.page.get_by_label("kernel, vertical").fill("9")
        live.settled()
        assert "the window does not fit" in live.page.locator(".md-error").text_content()


def test_the_matrix_shows_the_same_sum_as_a_row(browser):
    with opened(browser, ConvolutionExplorer()) as live:
        live.press("ArrowRight", "ArrowRight", "m")
        live.until(lambda: live.widget.unfolded)
        columns, weights, sums = live.page.evaluate("""[...document.querySelectorAll(".md-unfolded .md-cells")].map(
            (field) => [...field.querySelectorAll("text")].map((t) => Number(t.textContent.replace("−", "-"))))""")
        np.testing.assert_allclose(np.reshape(columns, (6, 9)) @ weights, sums)
        np.testing.assert_allclose(sums, live.widget.values()["y"].ravel())


def test_own_layer_hides_the_settings_that_are_its_own(browser):
    explorer = ConvolutionExplorer(np.ones((1, 1, 3, 3)), np.ones((12, 12)), padding=1)
    with opened(browser, explorer, theme="dark", width=360) as live:
        labels = live.page.locator(".md-controls input[aria-label]").evaluate_all("e => e.map(e => e.ariaLabel)")
        assert {label.split(",")[0] for label in labels} == {"stride", "padding", "dilation"}
        live.press("End")
        assert live.overhang()[0] <= 0
