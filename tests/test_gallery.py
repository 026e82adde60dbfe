"""The galleries hold every drawing and every widget that there is, and the pages send readers to both."""
import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("nbformat", reason='needs nbformat: pip install "minidl[lab]"')

import nbformat

from minidl import viz, widgets

ROOT = Path(__file__).resolve().parents[1]
RESULTS = {"Drawing", "Picture"}                       # what a drawing function gives back
PARTS = {"trace", "widget"}                            # files of what all widgets are made of
GALLERIES = ("gallery_drawings", "gallery_widgets")


def called(name):
    """What the code cells of a gallery call: `play` for `play(...)` and for `widgets.play(...)`."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    calls = [node.func for cell in cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))
             if isinstance(node, ast.Call)]
    return {getattr(f, "attr", getattr(f, "id", "")) for f in calls}


def missing_drawings(calls):
    """Names of minidl.viz that are not among the calls."""
    return set(viz.__all__) - RESULTS - calls


def missing_widgets(calls):
    """Files of minidl.widgets with a public name, of which no public name is among the calls."""
    names = {file: {name for name, home in widgets.HOME.items() if home == file} for file in widgets.HOME.values()}
    return {file for file, public in names.items() if file not in PARTS and not public & calls}


def test_every_drawing_is_in_the_gallery():
    assert not missing_drawings(called("gallery_drawings"))


def test_every_drawing_that_the_page_on_pictures_names_is_in_the_gallery():
    text = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\b([a-z_]+)\(", text)) & set(viz.__all__)
    assert {"draw", "sketch", "fields", "scatter", "explain", "show", "watch"} <= listed
    assert listed <= called("gallery_drawings")


def test_every_widget_is_in_the_gallery():
    assert not missing_widgets(called("gallery_widgets"))


def test_a_file_holds_one_widget():
    """So that a call of `play` stands for all that its file has to show."""
    pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')
    for file in set(widgets.HOME.values()) - PARTS:
        module = importlib.import_module(f"minidl.widgets.{file}")
        public = [getattr(module, name) for name, home in widgets.HOME.items() if home == file]
        assert sum(inspect.isclass(thing) and issubclass(thing, widgets.Widget) for thing in public) == 1, file


def test_what_is_missing_is_found():
    assert missing_drawings(set(viz.__all__) - {"scatter"}) == {"scatter"}
    assert missing_widgets(set(widgets.HOME) - {"LossLab"}) == {"losses"}
    assert missing_widgets(set(widgets.HOME) - {"BackpropPlayer", "play"}) == {"backprop"}
    assert not missing_widgets(set(widgets.HOME) - {"BackpropPlayer"})


@pytest.mark.parametrize("page, folder", [("README.md", "notebooks/"), ("notebooks/00_start_here.ipynb", "")])
def test_readers_are_sent_to_both(page, folder):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(rf"\({folder}(gallery\w*)\.ipynb\)", text)) == set(GALLERIES)


def test_each_page_on_its_subject_names_its_gallery():
    for page, name in (("pictures.md", "gallery_drawings"), ("widgets.md", "gallery_widgets")):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert set(re.findall(r"\b(gallery\w*)\.ipynb", text)) == {name}
