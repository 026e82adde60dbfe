"""The training dashboard in a real browser: it grows in place, the reader's place is kept, words and pictures agree."""
import numpy as np
import pytest

import minidl as md
from minidl import nn

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import TrainingDashboard
from minidl.widgets.board_picture import smoothed
from tests.browser.harness import opened


def train(board, steps, lr=0.1):
    rng = np.random.default_rng(0)
    x, y = md.tensor(rng.standard_normal((64, 20)).astype(np.float32)), md.tensor(rng.integers(0, 10, 64))
    model = board.runs[-1].model
    optimizer = md.optim.SGD(model.parameters(), lr=lr)
    for k in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        board.step(loss=loss, val_loss=loss.item() + 0.5 if k % 5 == 0 else None)
    board.finish()


def model():
    md.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.fixture
def board():
    board = TrainingDashboard(model(), name="slow")
    train(board, 30)
    board.last()
    return board


@pytest.fixture
def live(browser, board):
    with opened(browser, board) as live:
        yield live


def index(live):
    return live.page.evaluate("window.view.index")


def test_it_grows_in_place_and_follows_the_newest_step(live):
    assert "At training step 30" in live.said()
    train(live.widget, 10)
    assert index(live) == len(live.widget.trace) - 1 and "At training step 40" in live.said()
    assert "step 40" in live.page.locator(".md-panel").first.text_content()
    live.until(lambda: live.widget.frame.data["step"] == 40)


def test_who_looks_at_an_earlier_step_stays_there_while_the_run_grows(live):
    live.press("Home", "ArrowRight", "ArrowRight", "ArrowRight")
    before = live.page.evaluate("window.view.frame.data.step")
    live.until(lambda: live.widget.index == 3)
    live.widget.runs[-1].every = 1
    train(live.widget, 90)                                         # so many looks that some are left out
    assert live.page.evaluate("window.view.frame.data.step") in (before, before - 1)
    assert "At training step 120" not in live.said()


def test_the_curve_is_the_smoothed_loss_and_smoothing_needs_no_kernel(live):
    path = live.page.locator(".md-panel .md-smooth").first
    start = path.get_attribute("d")
    points = live.widget.trace.figure["panels"][0]["lines"][0]["points"]
    about = live.widget.trace.figure["panels"][0]

    def heights(d):
        return [float(pair.split(",")[1]) for pair in d[1:].split("L")]

    def expected(weight):
        means = np.array(smoothed([p[1] for p in points], weight))
        return 20 + 108 * (1 - (means - about["low"]) / (about["high"] - about["low"]))
    assert not about["log"]
    np.testing.assert_allclose(heights(start), expected(0.6), atol=0.06)
    live.page.evaluate("window.kernel = false")
    live.page.get_by_label("smoothing").fill("0")
    np.testing.assert_allclose(heights(path.get_attribute("d")), expected(0.0), atol=0.06)
    assert path.get_attribute("d") == live.page.locator(".md-panel .md-raw").first.get_attribute("d")


def test_the_slider_moves_the_line_and_the_histograms(live):
    cursor, bars = live.page.locator(".md-cursor").first, live.page.locator(".md-spread").nth(1)
    end, shown = float(cursor.get_attribute("x1")), bars.get_attribute("aria-label")
    live.press("Home")
    assert float(cursor.get_attribute("x1")) == 46 < end and bars.get_attribute("aria-label") != shown
    spread = live.widget.trace.frame(0).data["layers"][0]["gradient"]
    assert f"root mean square {spread['rms']:.6g}" in bars.get_attribute("aria-label")


def test_findings_are_shown_with_what_to_try_and_runs_are_phases(live):
    live.widget.new_run("hot", model())
    live.widget.runs[-1].model[0].bias.array[:] = -50
    train(live.widget, 12)
    words = live.page.locator(".md-health").text_content()
    assert "100 % of its 32 ReLUs gave 0" in words and "Try:" in words
    assert "32 of 32 ReLUs dead" in live.page.locator(".md-stage").text_content()
    live.press("Shift+ArrowLeft", "Shift+ArrowLeft")
    assert live.page.evaluate("window.view.frame.phase") == "slow"
    assert "no fault found" in live.page.locator(".md-health").text_content()


def test_keys_reach_every_part_and_label_it(live):
    live.press("Enter")
    assert "loss" in live.page.locator(".md-pinned").text_content()
    labels = live.page.evaluate("[...document.querySelectorAll('[data-key]')].map(e => e.getAttribute('aria-label'))")
    assert len(labels) == 2 + 8 + 1 and all(labels)               # panels, two for each parameter, a ReLU


def test_broken_numbers_are_marked(live):
    live.widget.runs[-1].model[0].weight.array[0, 0] = np.nan
    train(live.widget, 2)
    text = live.page.locator(".md-stage").text_content()
    assert "× " in text and "NaN since step 31" in text and live.page.locator(".md-bad").count() >= 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 760])
def test_it_fits_both_themes_and_narrow_pages(browser, board, theme, width, tmp_path):
    board.new_run("hot", model())
    train(board, 40, lr=20.0)
    board.last()
    with opened(browser, board, theme, width=width) as live:
        assert live.page.evaluate("document.documentElement.scrollWidth") <= width
        live.shot(tmp_path / f"dashboard-{theme}-{width}.png")
