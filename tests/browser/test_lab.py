"""The widgets in JupyterLab: each runs, answers to keys and pointer, shows the right numbers, and leaves a picture."""
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')
pytest.importorskip("jupyterlab", reason='needs JupyterLab: pip install "minidl[lab]"')
pytest.importorskip("nbconvert", reason='needs nbconvert: pip install "minidl[browser]"')

import nbconvert

from tests.browser.lab import Lab, serving


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """One JupyterLab for all tests of this file."""
    folder = tmp_path_factory.mktemp("lab")
    with serving(folder) as address:
        lab = Lab(browser, address, folder)
        yield lab
        lab.page.close()


def check_what_is_left(notebook):
    """A saved notebook holds the static picture, the words, and no state of the widget; as HTML it shows it."""
    saved = notebook.saved()
    assert len(str(saved.metadata.get("widgets", ""))) < 1000
    (output,) = [o for o in saved.cells[-1].outputs if o.output_type in ("display_data", "execute_result")]
    assert "<svg" in output.data["image/svg+xml"] and len(output.data["text/plain"]) > 40
    html, _ = nbconvert.HTMLExporter(embed_images=True).from_notebook_node(saved)
    assert "data:image/svg+xml" in html or "<svg" in html.split("<body", 1)[1]


def test_errors_and_requests_to_another_host_are_noticed(lab):
    with pytest.raises(AssertionError, match=r"(?s)console: a fault.*request: http://192\.0\.2\.1/"):
        with lab.opened("bad", ["1"]) as notebook:
            notebook.page.evaluate("console.error('a fault')")
            notebook.page.evaluate("fetch('http://192.0.2.1/').catch(() => null)")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        with lab.opened("worse", ["1 / 0"]):
            pass


def test_keys_stay_in_the_widget_and_python_hears_of_them(lab, shots):
    with lab.opened("countdown", ["from tests.widget_example import Countdown", "c = Countdown()\nc"]) as notebook:
        assert notebook.said() == "Step 1 of 6, count. 5 to go."
        notebook.press("ArrowRight", "ArrowRight")
        assert notebook.said() == "Step 3 of 6, count. 3 to go."
        notebook.until(lambda: notebook.kernel("c.index") == "2")
        notebook.press("b", "a", "x", "d", "d", "m")               # JupyterLab's: cells come and go
        assert len(notebook.cells()) == 2
        notebook.live.get_by_role("button", name="last", exact=True).click()
        assert notebook.said() == "Step 6 of 6, end. 0 to go."
        notebook.live.get_by_label("start").fill("9")
        notebook.settled()
        assert notebook.kernel("c.start, len(c.trace)") == "9 10"
        notebook.kernel("c.seek(3).text")
        notebook.until(lambda: notebook.said() == "Step 4 of 10, count. 6 to go.")
        notebook.shot(shots, "countdown")
        check_what_is_left(notebook)


def test_backprop_player(lab, shots):
    code = ["from minidl.widgets import play", "player = play(lambda x, w: (x * w + x).tanh(), x=0.5, w=-3.0)\nplayer"]
    with lab.opened("backprop", code) as notebook:
        notebook.press("End")
        assert notebook.said() == notebook.kernel("player.trace.sentence(len(player.trace) - 1)").strip("'")
        notebook.live.get_by_label("w", exact=True).fill("2")
        notebook.settled()
        assert notebook.kernel("player.tape.places['n2'].value.item()") == "2.0"
        notebook.shot(shots, "backprop")
        check_what_is_left(notebook)


def test_expression_lab(lab, shots):
    code = ["from minidl.widgets import ExpressionLab", "maths = ExpressionLab('x * y', x=2.0, y=3.0)\nmaths"]
    with lab.opened("expression", code) as notebook:
        field = notebook.live.get_by_label("L =")
        field.fill("x * x")
        field.press("Enter")
        notebook.settled()
        assert notebook.said() == "L = x * x = 4; ∂L/∂x = 4."
        assert notebook.kernel("maths.gradients['x']") == "4.0"
        notebook.shot(shots, "expression")
        check_what_is_left(notebook)
