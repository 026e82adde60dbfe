"""What all widgets have in common, without a browser: traces, steps, changes, words, sizes, the page's formatter."""
import base64
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl.errors import ArgumentError
from minidl.viz import theme

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl import widgets
from minidl.widgets.cells import cells, hatching
from minidl.widgets.trace import Frame, Trace, read, rounded, written
from minidl.widgets.widget import STATIC, VIEW
from tests.widget_example import Countdown

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node to run the page's JavaScript")


def run_frames(count, phase=lambda k: "run", **data):
    return [Frame(phase(k), f"Step {k}.", {"k": k, **data}) for k in range(count)]


# ---------------------------------------------------------------------- traces
def test_a_frame_is_the_same_each_time_and_whatever_is_done_to_it():
    trace = Trace(run_frames(4, values=[1, 2]), "run")
    trace.frame(2).data["values"].append(3)
    assert trace.frame(2) == trace.frame(2) and trace.frame(2).data == {"k": 2, "values": [1, 2]}
    with pytest.raises(AttributeError, match="record"):
        trace.title = "other"


def test_forward_then_back_is_the_same_frame():
    trace = Trace(run_frames(9), "run")
    there = [trace.frame(k) for k in range(9)]
    assert [trace.frame(k) for k in reversed(range(9))] == there[::-1]


def test_arrays_tensors_and_broken_numbers_survive():
    value = {"a": np.arange(3), "t": md.tensor([1.5]), "x": [math.nan, math.inf, -math.inf], "n": np.float32(2)}
    found = Trace([("p", "t", value)]).frame(0).data
    assert found["a"] == [0, 1, 2] and found["t"] == [1.5] and found["n"] == 2.0
    assert math.isnan(found["x"][0]) and found["x"][1:] == [math.inf, -math.inf]
    json.loads(written(value), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_what_cannot_be_written_down_is_refused():
    with pytest.raises(ArgumentError, match=r"dicts, lists, texts.*\n.*got +object\nTry:"):
        Trace([("p", "t", {"x": object()})])
    with pytest.raises(ArgumentError, match="at least one frame"):
        Trace([])
    with pytest.raises(ArgumentError, match=r"no such frame.*\n.*asked for +3"):
        Trace([("p", "t")] * 3).frame(3)


def test_a_long_trace_leaves_out_frames_evenly_keeps_the_ends_of_phases_and_says_so():
    frames = run_frames(400, lambda k: "a" if k < 150 else "b", filling="x" * 1000)
    trace = Trace(frames, "long")
    assert len(trace.json.encode()) <= 200_000 + 500
    kept = [frame.step for frame in trace]
    assert {1, 150, 151, 400} <= set(kept) and trace.left_out == 400 - len(kept) > 0
    assert max(np.diff(kept)) <= 3
    assert f"{len(kept)} of the 400 steps" in trace.note and trace.note in trace.describe()
    assert trace.sentence(len(trace) - 1) == "Step 400 of 400, b. Step 399."


def test_a_trace_that_cannot_be_made_small_enough_is_an_error():
    with pytest.raises(ArgumentError, match="too large for a page"):
        Trace(run_frames(2, filling="x" * 150_000))


def test_phases_are_runs_of_equal_names():
    trace = Trace([Frame(p, "") for p in "aabbba"])
    assert [(p.name, p.start, p.stop) for p in trace.phases] == [("a", 0, 2), ("b", 2, 5), ("a", 5, 6)]
    assert trace.phase(4).start == 2


def test_rounded_keeps_shape_and_few_digits():
    assert rounded(np.array([[1 / 3, -2000 / 3]])) == [[0.3333, -666.7]]
    assert rounded(md.tensor([1, 2])) == [1, 2]


# ---------------------------------------------------------------------- steps and changes
def test_steps_in_python():
    countdown = Countdown()
    assert countdown.frame.data["n"] == 5
    assert countdown.forward().data["n"] == 4
    assert countdown.back().data["n"] == countdown.back().data["n"] == 5
    assert countdown.last().data["n"] == 0 == countdown.forward().data["n"]
    assert countdown.previous_phase().data["n"] == 1
    assert countdown.previous_phase().data["n"] == 5
    assert countdown.next_phase().data["n"] == 1 and countdown.next_phase().data["n"] == 0
    countdown.index = 99
    assert countdown.index == 5
    assert countdown.play().data["n"] == 5 and countdown.playing
    countdown.pause()
    assert not countdown.playing


def test_a_change_of_a_control_records_anew_and_keeps_the_place():
    countdown = Countdown()
    countdown.seek(4)
    countdown.start = 3
    assert len(countdown.trace) == 4 and countdown.index == 3


def test_several_changes_make_one_trace(monkeypatch):
    countdown, made = Countdown(), []
    monkeypatch.setattr(Countdown, "record", lambda self: made.append(1) or Trace([("", "one")]))
    countdown.edit(start=8, by=2)
    countdown.set_state({"start": 9, "by": 3, "request": 1})
    assert len(made) == 2 and countdown.answer == 1


def test_a_mistake_becomes_the_error_line_and_goes_away_with_it():
    countdown = Countdown()
    before = countdown.trace
    countdown.by = 0
    assert "goes down by 1 or more" in countdown.error and countdown.trace is before
    with pytest.raises(ArgumentError):
        countdown.recompute()
    countdown.set_state({"start": "seven", "request": 3})
    assert "int" in countdown.error and countdown.answer == 3
    countdown.set_state({"by": 1, "request": 4})
    assert countdown.error == "" and countdown.answer == 4
    with pytest.raises(ArgumentError, match=r"no control called 'end'"):
        countdown.edit(end=3)
    with pytest.raises(ArgumentError, match="goes down by 1"):
        Countdown(by=0)


def test_an_interrupt_ends_the_waiting(monkeypatch):
    countdown = Countdown()

    def interrupted(self):
        raise KeyboardInterrupt
    monkeypatch.setattr(Countdown, "record", interrupted)
    countdown.set_state({"start": 4, "request": 1})
    assert "interrupted" in countdown.error and countdown.answer == 1
    with pytest.raises(KeyboardInterrupt):
        countdown.start = 6


def test_playing_page_reports_its_place():
    countdown = Countdown()
    countdown.set_state({"index": 2, "playing": True})
    assert countdown.frame.data["n"] == 3 and countdown.playing


# ---------------------------------------------------------------------- without a page
def test_bundle_has_the_view_the_picture_and_the_words():
    data = Countdown()._repr_mimebundle_()[0]
    assert data[VIEW]["model_id"] and data["text/plain"].startswith("countdown: 6 steps.")
    root = ElementTree.fromstring(data["image/svg+xml"])
    assert root.attrib["role"] == "img" and "0 to go." in "".join(root.itertext())


def test_html_export_and_a_stored_notebook_show_the_picture_and_keep_no_state():
    nbformat, nbconvert = pytest.importorskip("nbformat"), pytest.importorskip("nbconvert")
    data = Countdown()._repr_mimebundle_()[0]
    output = nbformat.v4.new_output("display_data", data=data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("countdown", outputs=[output])])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert "<desc>0 to go.</desc>" in base64.b64decode(picture).decode()
    assert "export default widget" not in page


def test_cells_mark_what_colour_alone_would_tell():
    drawn = hatching() + cells([[1.0, -0.5, math.nan], [None, math.inf, 0.0]], text=True)
    root = ElementTree.fromstring(f"<svg>{drawn}</svg>")
    assert [t.text for t in root.iter("text")] == ["1", "−0.5", "×", "∞", "0"]
    assert sum("url(#" in r.get("fill", "") for r in root.iter("rect")) == 1
    assert sum(r.get("class") == "absent" for r in root.iter("rect")) == 1


def test_cells_beyond_the_scale_are_marked():
    root = ElementTree.fromstring(f"<svg>{cells([[0.5, 2.0, -3.0, 1.0]], top=1.0)}</svg>")
    assert [t.text for t in root.iter("text")] == ["▴", "▾"]


def test_every_public_name_is_there_and_an_unknown_one_is_explained():
    assert all(getattr(widgets, name) for name in widgets.__all__)
    with pytest.raises(AttributeError, match="the names are: .*Trace"):
        widgets.Tracer  # noqa: B018


# ---------------------------------------------------------------------- the page's files
def test_budgets():
    sizes = {path.name: path.stat().st_size for path in STATIC.iterdir()}
    assert sizes.pop("core.js") + sizes.pop("core.css") <= 40_000
    assert {name: size for name, size in sizes.items() if size > 15_000} == {}


def test_all_that_one_widget_loads_is_small():
    classes = {thing for name in widgets.__all__ if isinstance(thing := getattr(widgets, name), type)
               and issubclass(thing, widgets.Widget) and thing is not widgets.Widget}
    assert classes
    assert {c.__name__: len(c._esm) for c in classes if len(str(c._esm).encode()) > 55_000} == {}


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not any(word in text for word in ("http:", "https:", "@import", "fetch(", "XMLHttpRequest", "innerHTML"))


@needs_node
@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_javascript_parses(path, tmp_path):
    code = path.read_text(encoding="utf-8")
    before = [STATIC / name for name in ("core.js", "graph.js") if path.name != "core.js" and path.name != name]
    core = "".join(shared.read_text(encoding="utf-8") for shared in before if shared.exists())
    (tmp_path / "module.mjs").write_text(core + code, encoding="utf-8")
    done = subprocess.run([NODE, "--check", tmp_path / "module.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def in_node(expression, values, tmp_path):
    """The values of a JavaScript expression in x, with the core at hand."""
    script = Path(tmp_path, "script.mjs")
    script.write_text((STATIC / "core.js").read_text(encoding="utf-8")
                      + f"\nconst values = JSON.parse({json.dumps(written(values))}, revive);"
                      + f"\nconsole.log(JSON.stringify(values.map((x) => {expression})));", encoding="utf-8")
    done = subprocess.run([NODE, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_page_and_python_write_numbers_alike(rng, tmp_path):
    wide = (rng.standard_normal(3000) * 10.0 ** rng.integers(-12, 13, 3000)).tolist()
    ties = [k / 8 for k in range(-800, 800)] + [1.125, 2.345, 0.0625, 1e5, 999.5, 9995.0, 99950.0, 999500.0, 1e6]
    values = [*wide, *ties, 0.0, -0.0, math.nan, math.inf, -math.inf, 1e-4, 9.999e-5, 1e-5, 5e-324, 1.7e308]
    assert in_node("number(x)", values, tmp_path) == [theme.number(float(x)) for x in values]
    assert in_node("number(x, 6)", values, tmp_path) == [theme.number(float(x), 6) for x in values]


@needs_node
def test_page_reads_a_trace_as_python_does(tmp_path):
    trace = Countdown(start=3).trace
    found = in_node("((t) => [t.phases, t.frames.map((f) => sentence(t, f))])(traceOf({ get: () => x }))",
                    [trace.json], tmp_path)[0]
    assert found[0] == [{"name": p.name, "start": p.start, "stop": p.stop} for p in trace.phases]
    assert found[1] == [trace.sentence(k) for k in range(len(trace))]


@needs_node
def test_page_keys_are_the_keys_of_the_theme(tmp_path):
    assert in_node("KEYS", [0], tmp_path)[0] == [list(pair) for pair in theme.KEYS]
    assert in_node("MOTION", [0], tmp_path)[0] == theme.MILLISECONDS


def test_read_is_the_inverse_of_written():
    assert read(written({"a": [1, -math.inf, "x", None, True]})) == {"a": [1, -math.inf, "x", None, True]}


def test_traces_need_no_front_end_and_widgets_say_what_is_missing():
    code = ("import sys; sys.modules['traitlets'] = None\n"
            "from minidl import widgets; widgets.Trace([('p', 't')])\n"
            "try: widgets.Widget\n"
            "except ImportError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == 'widgets need traitlets: pip install "minidl[lab]"', done.stderr


def test_without_anywidget_a_widget_stands_still_and_everything_else_works():
    code = """
        import sys; sys.modules["anywidget"] = None
        from minidl import widgets
        player = widgets.play(lambda x, w: x * w, x=2.0, w=3.0)
        player.edit(values={"w": 5.0})
        player.set_state({"index": 2, "request": 1})
        data, metadata = player._repr_mimebundle_()
        assert player.answer == 1 and player.index == 2 and "2 × 5 = 10" in player.describe()
        assert data["text/plain"] == player.describe() and "<svg" in data["image/svg+xml"]
        print(data["text/html"][-82:])
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.stdout.strip().endswith('To play it and to change it: pip install "minidl[lab]"</p>'), done.stderr


def test_a_wheel_holds_the_page_files():
    settings = tomllib.loads((STATIC.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "minidl/widgets/static/*" in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["artifacts"]
