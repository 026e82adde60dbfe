"""The optimiser race in a browser: what is drawn is what was recorded, and the start moves by mouse and by keys."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')
pytest.importorskip("contourpy", reason='needs matplotlib: pip install "minidl[lab]"')

from minidl import optim
from minidl.widgets import OptimiserRace
from tests.browser.harness import opened

PATHS = "[...document.querySelectorAll('.md-race svg:first-child .md-lane')].map(p => p.getAttribute('d'))"


def race(**controls):
    return OptimiserRace({"SGD": (optim.SGD, dict(lr=0.08)), "Adam": (optim.Adam, dict(lr=0.2))}, steps=14, **controls)


def test_paths_grow_with_the_steps_and_shrink_on_the_way_back(browser):
    with opened(browser, race()) as live:
        drawn = {}
        for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "End"):
            live.press(key)
            k = live.page.evaluate("window.view.index")
            paths = live.page.evaluate(PATHS)
            lanes = live.widget.trace.figure["lanes"]
            assert paths == ["M" + "L".join(f"{x:g},{y:g}" for x, y in lane["map"][:k + 1]) for lane in lanes]
            assert drawn.setdefault(k, paths) == paths
        assert "1. SGD: there after" in live.said()
        rows = live.page.locator(".md-scores tbody tr").all_text_contents()
        assert "SGD" in rows[0] and "12 steps" in rows[0] and "exp_avg_sq" in rows[1]


def test_start_is_moved_by_keys(browser):
    with opened(browser, race()) as live:
        x, y = live.widget.trace.figure["at"]
        live.press("Enter", "Enter", "ArrowRight", "ArrowRight", "ArrowUp")
        live.settled()
        (x0, x1), (y0, y1) = live.widget.land.x, live.widget.land.y
        assert live.widget.start == pytest.approx([x + 2 * (x1 - x0) / 40, y + (y1 - y0) / 40], rel=1e-3)
        assert live.widget.trace.frame(0).data["lanes"][1]["place"] == pytest.approx(live.widget.start)
        live.press("Enter", "ArrowRight")                 # put down: arrows go from mark to mark again
        assert live.page.evaluate("window.view.pending") == {}


def test_start_is_dragged(browser):
    with opened(browser, race()) as live:
        at = live.page.locator('[data-key="start"] circle').bounding_box()
        x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
        live.page.mouse.move(x, y)
        live.page.mouse.down()
        live.page.mouse.move(x + 60, y + 20, steps=3)
        live.page.mouse.up()
        live.page.wait_for_function("window.view.stale")
        live.settled()
        scale = live.page.evaluate("document.querySelector('.md-race svg').getScreenCTM().a")
        now = live.widget.trace.figure["start"]
        before = race().trace.figure["start"]
        assert now == pytest.approx([before[0] + 60 / scale, before[1] + 20 / scale], abs=1.5)
        assert not live.page.evaluate("Boolean(window.view.held)")


def test_steeper_valley_makes_sgd_diverge_and_says_why(browser):
    with opened(browser, race()) as live:
        live.press("End")
        live.page.get_by_label("steepness across").fill("40")
        live.settled()
        assert "lr = 0.08 is above 2/λ = 0.05" in live.page.locator(".md-scores").text_content()
        live.page.get_by_role("textbox", name="SGD").fill("lr=0.04")
        live.page.get_by_role("textbox", name="SGD").press("Enter")
        live.settled()
        assert live.widget.settings[0] == "lr=0.04"
        assert "is above" not in live.page.locator(".md-scores").text_content()
        live.page.get_by_role("textbox", name="SGD").fill("lr=fast")
        live.page.get_by_role("textbox", name="SGD").press("Enter")
        live.settled()
        assert "cannot be read" in live.page.locator(".md-error").text_content()


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 760)])
def test_fits_the_page(browser, theme, width):
    with opened(browser, race(surface="saddle"), theme, width=width) as live:
        live.press("End")
        wide = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('.md-stage'))"
        assert live.page.evaluate(wide) <= 1
