"""The widgets in JupyterLab: each runs, answers to keys and pointer, shows the right numbers, and leaves a picture.

What is run are the cells of notebooks/gallery_widgets.ipynb, by their ids; the numbers that are expected come from
elsewhere.
"""
import json
import re

import nbformat
import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')
pytest.importorskip("jupyterlab", reason='needs JupyterLab: pip install "minidl[lab]"')
pytest.importorskip("nbconvert", reason='needs nbconvert: pip install "minidl[browser]"')

import nbconvert

import minidl as md
from minidl import nn
from minidl.nn import functional as F
from tests.browser.lab import ROOT, Lab, serving
from tests.test_widget_calibration import in_a_loop
from tests.test_widget_through_depth import by_loop

CELLS = nbformat.read(ROOT / "notebooks" / "gallery_widgets.ipynb", as_version=4).cells
GALLERY = {cell.id: cell.source for cell in CELLS}


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """One JupyterLab for all tests of this file."""
    folder = tmp_path_factory.mktemp("lab")
    with serving(folder) as address:
        lab = Lab(browser, address, folder)
        yield lab
        lab.page.close()


def shown(lab, name, *before):
    """A notebook with one widget of the gallery, and the cells that it needs. In the kernel the widget is `_`."""
    return lab.opened(name.replace("-", "_"), [GALLERY[cell] for cell in ("imports", *before, name)])


def float_of(text):
    """A number as the page writes it."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


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


def test_stride_explorer_reads_memory_as_numpy_does(lab, shots):
    with shown(lab, "stride-explorer") as notebook:
        entries = """view.items().filter((i) => i.dataset.key.startsWith("v"))
            .map((i) => Number(i.querySelector("text").textContent))"""
        notebook.press("End")
        assert notebook.view(entries) == np.arange(12).reshape(3, 4).T[::2, None].ravel().tolist()
        field = notebook.live.get_by_label("expression")
        field.fill("x[::-1, 1:3]")
        field.press("Enter")
        notebook.settled()
        notebook.press("End")
        assert notebook.view(entries) == np.arange(12).reshape(3, 4)[::-1, 1:3].ravel().tolist()
        notebook.live.locator('[data-key="v0,1"]').click()
        assert "= 10." in notebook.live.locator(".md-pinned").text_content()
        assert notebook.kernel("_.expression") == "x[::-1, 1:3]"
        notebook.shot(shots, "stride_explorer")
        check_what_is_left(notebook)


def test_backprop_player_shows_the_gradients_that_are_computed(lab, shots):
    def gradients(**numbers):
        leaves = {name: md.tensor(x, dtype=md.float64, requires_grad=True) for name, x in numbers.items()}
        x, w = leaves["x"], leaves["w"]
        found = md.autograd.grad((x * w + x).tanh() * x, [x, w])
        return [pytest.approx(g.item(), rel=1e-5) for g in found]

    def on_screen():
        labels = notebook.labels()
        return [float_of(labels[key].split("\N{PARTIAL DIFFERENTIAL} ")[1].split(",")[0].split(";")[0])
                for key in ("n1", "n2")]

    with shown(lab, "backprop-player") as notebook:
        notebook.press("End", "ArrowLeft", "ArrowRight")
        assert notebook.said() == notebook.kernel("player.trace.sentence(len(player.trace) - 1)")
        assert on_screen() == gradients(x=0.5, w=-3.0)
        notebook.live.get_by_label("w", exact=True).fill("2")
        notebook.settled()
        notebook.drag_slider("step", 1.0)
        assert on_screen() == gradients(x=0.5, w=2.0)
        notebook.shot(shots, "backprop_player")
        check_what_is_left(notebook)


def test_expression_lab_follows_a_formula_and_a_slider(lab, shots):
    with shown(lab, "expression-lab") as notebook:
        field = notebook.live.get_by_label("L =")
        field.fill("x * x")
        field.press("Enter")
        notebook.settled()
        assert notebook.said() == "L = x * x = 1; ∂L/∂x = 2."
        slider = notebook.live.get_by_label("x, slider")
        slider.focus()
        slider.press("ArrowRight")
        notebook.settled()
        x = float(notebook.kernel("maths.values['x']"))
        assert x > 1 and float(notebook.kernel("maths.gradients['x']")) == pytest.approx(2 * x)
        notebook.shot(shots, "expression_lab")
        check_what_is_left(notebook)


def test_split_screen_has_one_clock_and_a_question(lab, shots):
    with shown(lab, "split-screen") as notebook:
        notebook.press("ArrowRight")
        value = f"[[{0.5 * np.tanh(1):.3g}"
        assert value in notebook.live.locator(".dynamic").inner_text()
        assert "symbol float32 (2, 2)" in notebook.live.locator(".static").inner_text()
        assert value not in notebook.live.locator(".static").inner_text()
        notebook.shot(shots, "split_screen")
        notebook.press("End")
        notebook.live.get_by_label("hit or retrace?").select_option("retrace")
        notebook.settled()
        assert "Right. Retrace" in notebook.said()
        check_what_is_left(notebook)


def test_pass_viewer_ends_with_the_program_and_leaves_out_a_pass(lab, shots):
    with shown(lab, "pass-viewer") as notebook:
        notebook.press("End")
        listing = notebook.live.locator(".pass-list")
        program = listing.inner_text()
        assert "5 steps in place of 8" in notebook.said() and program.count("np.tanh") == 1
        x = np.ones((2, 3), dtype=np.float32)
        found = (2 * np.tanh(x) - 3 * (2 * np.tanh(x))).sum()
        assert float(notebook.kernel("twice(md.ones(2, 3)).item()")) == pytest.approx(found, rel=1e-6)
        notebook.press("ArrowLeft")
        notebook.shot(shots, "pass_viewer")
        notebook.live.get_by_label("merge", exact=True).uncheck()
        notebook.settled()
        assert notebook.kernel("_.without") == "['merge']"
        notebook.press("End")
        assert listing.inner_text().count("np.tanh") == 2
        check_what_is_left(notebook)


def test_playground_shows_the_weights_that_it_hands_back(lab, shots):
    def on_screen(unit):
        notebook.view(f"view.enter('{unit}')")
        text = notebook.live.locator(".md-pinned").text_content().rstrip(".")
        return [float_of(number) for number in re.findall(r"([\u2212\d.e-]+)(?= from|$)", text)]

    with shown(lab, "playground") as notebook:
        start = notebook.kernel("small[0].weight.tolist()")
        notebook.press("End")
        notebook.until(lambda: notebook.kernel("_.index") == "20")
        first = json.loads(notebook.kernel("[_.hand_back()[0].weight.tolist(), small[0].bias.tolist()]"))
        assert start != str(first[0])
        for k in range(4):
            assert on_screen(f"unit-1-{k}") == pytest.approx([*first[0][k], first[1][k]], rel=1e-2)
        notebook.press("Escape", "Home")
        notebook.drag_slider("step", 0.5)
        assert notebook.said() == notebook.kernel("_.trace.sentence(10)")
        notebook.shot(shots, "playground")
        check_what_is_left(notebook)


def test_signals_through_depth_die_and_live_as_a_loop_finds(lab, shots):
    def sizes(name):
        return [float_of(text.split("root mean square ")[1].split(",")[0]) for key, text in notebook.labels().items()
                if key.split()[0] == name]

    with shown(lab, "signal-through-depth") as notebook:
        notebook.live.get_by_role("combobox", name="my guess").select_option("dies")
        notebook.settled()
        facts = notebook.live.locator(".md-depth-facts")
        assert "The signal dies, the gradient dies. You said dies: right." in facts.text_content()
        notebook.shot(shots, "signal_through_depth")
        for name, choice in (("activation", "tanh"), ("init", "own s")):
            notebook.live.get_by_role("combobox", name=name, exact=True).select_option(choice)
            notebook.settled()
        notebook.live.get_by_role("slider", name="s", exact=True).fill("0.25")
        notebook.live.get_by_role("slider", name="depth").fill("6")
        notebook.live.get_by_role("slider", name="width").fill("20")
        notebook.settled()
        for name, expected in zip("hg", by_loop("tanh", 0.25, 6, 20)):
            np.testing.assert_allclose(sizes(name), np.sqrt((expected ** 2).mean(axis=(1, 2))), rtol=1e-3)
        notebook.press("+", "+")
        notebook.settled()
        assert notebook.kernel("_.s") == "0.27"
        check_what_is_left(notebook)


def test_loss_lab_overflows_where_float16_ends(lab, shots):
    def told(key):
        text = notebook.labels()[key].split(": ")[1].split(";")[0].rstrip(".")
        return float_of(text.split(". ")[0])

    def shares(*scores):
        e = np.exp(np.subtract(scores, max(scores)))
        return e / e.sum()

    def loss(way):
        return notebook.live.locator(f'[data-loss="{way}"]').text_content()

    with shown(lab, "loss-lab") as notebook:
        p = shares(10.5, 8.0, -4.0)
        assert [told(f"share {k}") for k in range(3)] == pytest.approx(p.tolist(), rel=2e-3, abs=1e-6)
        assert float_of(loss("mended")) == pytest.approx(-np.log(p[0]), rel=2e-3)
        notebook.press("+", "+", "+")
        notebook.settled()
        assert notebook.kernel("_.scores") == "[12.0, 8.0, -4.0]"
        assert loss("plain") == "NaN" and float_of(loss("mended")) == pytest.approx(np.log1p(np.exp(-4)), rel=2e-2)
        p = shares(12.0, 8.0, -4.0)
        assert [told(f"share {k}") for k in range(3)] == pytest.approx(p.tolist(), rel=2e-3, abs=1e-6)
        notebook.shot(shots, "loss_lab")
        field = notebook.live.locator('[data-score="1"] rect').first.bounding_box()
        y = field["y"] + field["height"] / 2
        notebook.page.mouse.move(field["x"] + field["width"] / 2, y)
        notebook.page.mouse.down()
        notebook.page.mouse.move(field["x"] + field["width"] * 0.75, y, steps=4)
        notebook.page.mouse.up()
        notebook.settled()
        assert notebook.kernel("_.scores") == "[12.0, 6.0, -4.0]"            # half of the way to 12
        notebook.live.locator('[data-key="class 2"]').click()
        notebook.settled()
        assert told("slope 2") == pytest.approx(-1, abs=1e-3)
        assert float_of(loss("mended")) == pytest.approx(16, rel=1e-2)
        check_what_is_left(notebook)


def test_calibration_bins_what_the_model_answered(lab, shots):
    def bins():
        said = [text for key, text in notebook.labels().items() if key.startswith("bin ")]
        form = r": (\d+) rows?, sure ([\d.]+) % on the mean, right ([\d.]+) %"
        return [[float(v) for v in re.search(form, text).groups()] for text in said]

    def expected(t):
        found, gap = in_a_loop(scores[644:], truth[644:], t, 10)
        rows = [[len(found[k]), *(100 * np.mean([row[j] for row in found[k]]) for j in (0, 1))] for k in sorted(found)]
        return rows, f"Mean gap (ECE) {gap:.3g}"

    with shown(lab, "calibration") as notebook:
        scores = np.array(json.loads(notebook.kernel("by_heart(x[150:]).tolist()")))
        truth = np.array(json.loads(notebook.kernel("y[150:].tolist()")))
        facts = notebook.live.locator(".md-calibration-facts")
        rows, gap = expected(1.0)
        np.testing.assert_allclose(bins(), rows, rtol=2e-3)
        assert gap in facts.text_content()
        notebook.press("b")
        notebook.settled()
        best = float(notebook.kernel("_.temperature"))
        chosen, right = md.tensor(scores[:644]), md.tensor(truth[:644])      # the other half, which is not shown
        near = [F.cross_entropy(chosen / (best * factor), right).item() for factor in (0.95, 1.0, 1.05)]
        assert best > 1 and min(near) == near[1]
        np.testing.assert_allclose(bins(), expected(best)[0], rtol=2e-3)
        notebook.press("+", "+")
        notebook.settled()
        assert float(notebook.kernel("_.temperature")) == pytest.approx(best + 0.2, abs=0.006)
        notebook.shot(shots, "calibration")
        check_what_is_left(notebook)


def test_convolution_explorer_sums_what_is_clicked(lab, shots):
    def on_screen(name, shape):
        labels = notebook.labels()
        keys = (" ".join([name, *map(str, place)]) for place in np.ndindex(shape))
        totals = (labels[key].rstrip(".").split(". ")[0].split(":")[0].split(" = ")[-1] for key in keys)
        return np.reshape([float_of(total) for total in totals], shape)

    with shown(lab, "convolution-explorer") as notebook:
        for stride in (2, 1):
            notebook.live.get_by_label("stride, vertical").fill(str(stride))
            notebook.settled()
            notebook.press("End")
            figure = notebook.view("view.trace.figure")
            assert figure["stride"] == [stride, 2]
            x, w, dy = (md.tensor(np.array(figure[name], dtype=float), requires_grad=True) for name in ("x", "w", "dy"))
            y = F.conv2d(x[None], w, stride=(stride, 2))[0]
            (dx,) = md.autograd.grad((y * dy).sum(), [x])
            np.testing.assert_array_equal(on_screen("y", y.shape), y.detach().numpy())
            np.testing.assert_array_equal(on_screen("dx", dx.shape), dx.numpy())
        notebook.live.locator('[data-key="x 0 2 2"]').click()
        assert "x[0, 2, 2]" in notebook.live.locator(".md-sum").text_content()
        notebook.shot(shots, "convolution_explorer")
        check_what_is_left(notebook)


def lstm_in_numpy(lstm, x, hold=()):
    """Unit 0 of every gate and state (T,), one formula after the other; `hold` is (gate, step, value) for unit 0."""
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy().astype(float) for p in lstm.parameters())
    h = c = np.zeros(w_hh.shape[1])
    log = {name: [] for name in "ifgoch"}
    for t, now in enumerate(x.numpy().astype(float)):
        i, f, g, o = np.split(w_ih @ now + b_ih + w_hh @ h + b_hh, 4)
        i, f, o, g = *(1 / (1 + np.exp(-z)) for z in (i, f, o)), np.tanh(g)
        if hold and hold[1] == t:
            {"i": i, "f": f, "g": g, "o": o}[hold[0]][0] = hold[2]
        c = f * c + i * g
        h = o * np.tanh(c)
        for name, value in zip("ifgoch", (i, f, g, o, c, h)):
            log[name].append(value[0])
    return log


def test_gate_console_holds_a_gate_and_the_rest_follows(lab, shots):
    def on_screen(name):
        texts = [text for key, text in notebook.labels().items() if key.split()[0] == name]
        return [float_of(text.split(" = ")[-1].split(",")[0].split(". ")[0]) for text in texts]

    md.manual_seed(0)
    lstm, x = nn.LSTM(1, 3), md.randn(8, 1)
    with shown(lab, "gate-console") as notebook:
        notebook.press("End")
        free = lstm_in_numpy(lstm, x)
        for name in "ifgoch":
            np.testing.assert_allclose(on_screen(name), free[name], rtol=1e-4)
        notebook.live.locator('[data-key="f 3"]').click()
        notebook.live.get_by_label("hold f at 0", exact=True).click()
        notebook.settled()
        held = lstm_in_numpy(lstm, x, hold=("f", 3, 0.0))
        np.testing.assert_allclose(on_screen("c"), held["c"], rtol=1e-4)
        assert abs(held["c"][3] - free["c"][3]) > 1e-3
        notebook.shot(shots, "gate_console")
        check_what_is_left(notebook)


def test_freeze_and_thaw_spares_what_is_frozen(lab, shots):
    with shown(lab, "freeze-thaw") as notebook:
        assert "8,554 of 9,802 numbers learn" in notebook.live.locator(".md-facts").text_content()
        notebook.live.locator('[data-key="layer-6"]').click()
        notebook.settled()
        assert notebook.kernel("_.frozen") == "['0', '2', '6']"
        notebook.press("Escape", "End")
        labels = notebook.labels()
        assert all("Moved by 0 % in this step, 0 % since the start" in labels[f"layer-{k}"] for k in (0, 2, 6))
        shown_way = float_of(labels["layer-8"].split("this step, ")[1].split(" %")[0])
        assert shown_way == pytest.approx(100 * float(notebook.kernel("_.run().way[-1][3]")), rel=1e-3)
        notebook.shot(shots, "freeze_thaw")
        check_what_is_left(notebook)


def test_gradient_through_time_follows_the_radius(lab, shots):
    with shown(lab, "gradient-through-time") as notebook:
        slider = notebook.live.get_by_label("spectral radius")
        slider.fill("0.5")
        notebook.settled()
        notebook.live.get_by_role("combobox", name="bend").select_option("none")
        notebook.settled()
        notebook.live.get_by_label("start").select_option("orthogonal")
        notebook.settled()
        first = [float_of(text.split(" = ")[-1]) for key, text in notebook.labels().items() if key.split()[1:] == ["0"]
                 and not key.startswith("slope")]
        assert np.linalg.norm(first) == pytest.approx(0.5 ** 4, rel=1e-3)
        notebook.shot(shots, "gradient_through_time")
        check_what_is_left(notebook)


def test_optimiser_race_is_run_again_from_where_the_start_is_dragged_to(lab, shots):
    with shown(lab, "optimiser-race") as notebook:
        before = notebook.view("view.frame.data.lanes[0].place")
        circle = notebook.live.locator('[data-key="start"] circle').bounding_box()
        x, y = circle["x"] + circle["width"] / 2, circle["y"] + circle["height"] / 2
        notebook.page.mouse.move(x, y)
        notebook.page.mouse.down()
        notebook.page.mouse.move(x + 60, y - 20, steps=3)
        notebook.page.mouse.up()
        notebook.until(lambda: notebook.view("view.frame.data.lanes[0].place") != before)
        notebook.settled()
        notebook.press("Home")
        place = np.array(notebook.view("view.frame.data.lanes[0].place"))
        notebook.press("Escape", *["ArrowRight"] * 4)
        c, s = np.cos(0.5), np.sin(0.5)
        turned = np.array([[c, s], [-s, c]])
        curved = turned.T @ np.diag([1, 20]) @ turned                # the quadratic, from its definition
        for _ in range(4):
            place = place - 0.08 * curved @ place                    # SGD
        assert notebook.view("view.frame.data.lanes[0].place") == pytest.approx(place.tolist(), rel=2e-3)
        notebook.press("End")
        notebook.shot(shots, "optimiser_race")
        check_what_is_left(notebook)


def test_training_dashboard_grows_with_the_run(lab, shots):
    with shown(lab, "training-dashboard") as notebook:
        said = notebook.kernel("board.trace.sentence(len(board.trace) - 1)")
        notebook.press("End")
        notebook.until(lambda: notebook.said() == said)
        assert "At training step 80" in said and f"loss {float(notebook.kernel('loss.item()')):.3g}" in said
        before = notebook.live.locator(".md-smooth").first.get_attribute("d")
        notebook.live.get_by_label("smoothing").fill("0")
        assert notebook.live.locator(".md-smooth").first.get_attribute("d") != before
        notebook.kernel("[board.step(loss=0.125) for _ in range(5)] and board.finish()")
        notebook.until(lambda: "At training step 85: loss 0.125" in notebook.said())      # it follows the newest step
        weight = json.loads(notebook.kernel("net[4].weight.flatten().tolist()"))
        label = next(text for text in notebook.labels().values() if text.startswith("4.weight, numbers"))
        rms = float_of(label.split("root mean square ")[1])
        assert rms == pytest.approx(np.sqrt(np.mean(np.square(weight))), rel=1e-3)
        notebook.shot(shots, "training_dashboard")
        check_what_is_left(notebook)


def test_digit_pad_answers_what_the_model_answers(lab, shots):
    with shown(lab, "digit-pad", "training-dashboard") as notebook:
        first = notebook.live.locator(".md-first")
        chosen = "net(digits_test[:1]).argmax().item()"
        notebook.kernel("globals().update(digits_test=md.data.MNIST10k(train=False).tensors()[0])")
        assert f"class {notebook.kernel(chosen)}:" in first.get_attribute("aria-label")
        notebook.live.get_by_role("button", name="clear").click()
        notebook.settled()
        box = notebook.live.locator(".md-pad").bounding_box()
        notebook.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15)
        notebook.page.mouse.down()
        notebook.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.85, steps=8)
        notebook.page.mouse.up()
        notebook.until(lambda: notebook.view("view.pad.timer === undefined && !view.stale"))
        assert notebook.kernel("sum(pad.pixels) > 0") == "True"
        assert "class 1:" in first.get_attribute("aria-label")
        notebook.shot(shots, "digit_pad")
        check_what_is_left(notebook)
