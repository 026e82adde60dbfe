"""Every fault that tools/lint_notebooks.py promises to see, planted one at a time in a good lesson."""
import copy
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("lint_notebooks", ROOT / "tools" / "lint_notebooks.py")
lint_notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lint_notebooks)

PIXEL = "iVBORw0KGgo="
ALT = "A line that rises from 0 to 3, one step at a time"


def text(name, source):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source}


def code(name, source, *outputs, tags=()):
    return {"cell_type": "code", "id": name, "metadata": {"tags": list(tags)} if tags else {}, "execution_count": 1,
            "source": source, "outputs": list(outputs)}


def shown(**data):
    return {"output_type": "display_data", "metadata": {}, "data": {k.replace("_", "/"): v for k, v in data.items()}}


def printed(line):
    return {"output_type": "stream", "name": "stdout", "text": line}


def svg(source, **also):
    return {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": source, **also}}


LESSON = {
    "nbformat": 4, "nbformat_minor": 5,
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "cells": [
        text("title", "# 01 · Tensors\n**What is a stride?**"),
        code("set-up", "import numpy as np", tags=["hide-input"]),
        text("flat-buffer", "## A flat buffer\nPredict what comes out.\n```\n# not a heading\n```"),
        code("print-sum", "print(1 + 1)", printed("2, in less than a/home/run or 3/var")),
        code("draw-line", "plot([0, 1, 2, 3])", shown(image_png=PIXEL, text_plain=ALT)),
    ],
}


@pytest.fixture
def faults(tmp_path):
    """A function that spoils a copy of the good lesson, and returns the faults found as `id: fault`."""

    def faults(spoil=lambda nb: None, name="01_tensors.ipynb"):
        nb = copy.deepcopy(LESSON)
        spoil(nb)
        path = tmp_path / name
        path.write_text(json.dumps(nb), encoding="utf-8")
        return [f"{cell}: {fault}" for cell, fault in lint_notebooks.lint(path)[1]]

    return faults


def put(cell):
    """Append one cell to the lesson."""
    return lambda nb: nb["cells"].append(cell)


def change(where, **entries):
    """Overwrite entries of one cell."""
    return lambda nb: nb["cells"][where].update(entries)


FAULTS = {
    "two titles": (put(text("second", "# Another title")), ": 2 headings of the first level"),
    "no title": (change(0, source="**What is a stride?**"), ": 0 headings of the first level"),
    "random id": (change(3, id="3f9a01bc"), "3f9a01bc: the cell's id does not speak"),
    "random id of letters": (change(3, id="deadbeef"), "deadbeef: the cell's id does not speak"),
    "random uuid": (change(3, id="ab3f9a01-bc12-4cde-8f01-0123456789ab"), "ab3f9a01-bc12-4cde-8f01-0123456789ab: the"),
    "same id twice": (change(3, id="draw-line"), "draw-line: 2 cells have this id"),
    "not nbformat": (change(3, outputs=[{"output_type": "poem"}]), ": not valid nbformat: "),
    "long cell": (change(3, source="\n\n".join(["x = 1"] * 21)), "print-sum: 21 lines; at most 20"),
    "long cells": (lambda nb: [cell.update(source="x = 1\n" * 9) for cell in nb["cells"][3:]],
                   ": the median code cell has 9 lines; at most 8"),
    "code after a heading": (lambda nb: nb["cells"].extend([text("bare", "## Bare"), code("early", "1", printed("1"))]),
                             "early: code before any prose in its section"),
    "code first": (lambda nb: nb["cells"].insert(0, code("early", "1", printed("1"))), "early: code before any prose"),
    "nothing to see": (change(3, outputs=[]), "print-sum: shows nothing"),
    "figure without words": (change(4, outputs=[shown(image_png=PIXEL)]), "draw-line: a picture without"),
    "figure with a repr": (change(4, outputs=[shown(image_png=PIXEL, text_plain="<Figure size 640x480 with 1 Axes>")]),
                           "draw-line: a picture without"),
    "drawing without words": (change(4, outputs=[svg("<svg><g/></svg>")]), "draw-line: a picture without"),
    "html image": (change(4, outputs=[shown(text_html='<img src="data:image/png;base64,AA==">')]),
                   "draw-line: a picture without"),
    "html image, empty alt": (change(4, outputs=[shown(text_html='<img alt="" src="a.png">')]),
                              "draw-line: a picture without"),
    "markdown image": (put(text("see", "![](a.png)")), "see: an image without an alternative text"),
    "big file": (change(3, outputs=[printed("x" * 400_001)]), "kB; at most 400"),
    "not executed": (change(3, execution_count=None, outputs=[]), "print-sum: was not executed"),
    "error": (change(3, outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": ["E"]}]),
              "print-sum: ended in an error"),
    "star import": (change(3, source="from numpy import *\nprint(2)"), "print-sum: star import"),
    "widget state": (lambda nb: nb["metadata"].update(widgets={}), ": widget state is stored"),
    "path on Linux": (change(3, outputs=[printed("saved to\n/home/ada/x.npz")]), "a path of somebody's disk: /home/a"),
    "path on a Mac": (change(3, outputs=[printed("'/Users/ada/x'")]), "a path of somebody's disk: /Users/a"),
    "temporary path": (change(3, outputs=[shown(text_plain='"/tmp/x"')]), "a path of somebody's disk: /tmp/x"),
    "path on Windows": (change(3, outputs=[printed(r"C:\Users\ada")]), "a path of somebody's disk: C:"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_one_that_is_found(name, faults):
    spoil, expected = FAULTS[name]
    found = faults(spoil)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize("name", ["tensors.ipynb", "1_tensors.ipynb", "01-tensors.ipynb", "01_Tensors.ipynb"])
def test_odd_file_names_are_found(name, faults):
    assert faults(name=name) == [": the name is not NN_slug.ipynb in small letters"]


GOOD = {
    "the lesson": lambda nb: None,
    "plumbing": put(code("long-plumbing", "x = 1\n" * 40, tags=["hide-input"])),
    "plumbing under a bare heading": lambda nb: nb["cells"].extend([
        text("bare", "## Bare"), code("hidden", "1", printed("1"), tags=["hide-input"])]),
    "a quiet cell": put(code("define-x", "x = 1", tags=["no-output"])),
    "a drawing with a title": put(code("draw", "g", svg("<svg><title>Two nodes, one edge</title></svg>"))),
    "a drawing with words": put(code("draw", "g", svg("<svg/>", **{"text/plain": "Graph: two nodes, one edge"}))),
    "an image with alt": put(code("html", "h", shown(text_html="<img src='a' alt='a seven'>"))),
    "bytes that look like a path": put(code("html", "h", shown(text_html="<img alt='7' src='data:base64,+/tmp/x'>"))),
    "source as a list of lines": change(3, source=["x = 1\n", "x"], outputs=[printed(["1\n", "2\n"])]),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_left_alone(name, faults):
    assert faults(GOOD[name]) == []


def test_cells_without_ids_are_found(faults):
    found = faults(lambda nb: nb["cells"][3].pop("id"))
    assert ": the cell's id does not speak; call it after what the cell does, like see-filters" in found
    assert any(fault.startswith(": not valid nbformat: ") for fault in found)


def test_what_is_no_notebook_is_said(tmp_path):
    path = tmp_path / "01_tensors.ipynb"
    path.write_text("{}", encoding="utf-8")
    assert "cannot be read as a notebook" in lint_notebooks.lint(path)[1][0][1]
    path.write_text("no json", encoding="utf-8")
    assert "cannot be read as a notebook" in lint_notebooks.lint(path)[1][0][1]


def test_the_table_names_each_lesson_and_ends_with_status_0(tmp_path, capsys):
    path = tmp_path / "01_tensors.ipynb"
    path.write_text(json.dumps(LESSON), encoding="utf-8")
    assert lint_notebooks.main([str(path)]) == 0
    header, row, *_, last = capsys.readouterr().out.splitlines()
    assert header.split() == list(lint_notebooks.COLUMNS)
    assert row.split() == ["01_tensors.ipynb", "5", "3", "1", "1", "1", "1", "0"]
    assert last == "lessons: no faults"


def test_two_lessons_with_one_number(tmp_path, capsys):
    for name in ("01_tensors.ipynb", "01_graphs.ipynb"):
        (tmp_path / name).write_text(json.dumps(LESSON), encoding="utf-8")
    assert lint_notebooks.main(sorted(map(str, tmp_path.iterdir()))) == 1
    assert capsys.readouterr().out.count("another notebook has the number 01 too") == 2


def test_faults_end_with_status_1(tmp_path, capsys):
    path = tmp_path / "01_tensors.ipynb"
    path.write_text(json.dumps({**LESSON, "cells": LESSON["cells"][1:]}), encoding="utf-8")
    assert lint_notebooks.main([str(path)]) == 1
    assert "01_tensors.ipynb: 0 headings of the first level" in capsys.readouterr().out


def test_galleries_have_a_name_and_no_number(tmp_path, capsys):
    for name in ("gallery_drawings.ipynb", "gallery_widgets.ipynb"):
        (tmp_path / name).write_text(json.dumps(LESSON), encoding="utf-8")
    assert lint_notebooks.main(sorted(map(str, tmp_path.iterdir()))) == 0
    (tmp_path / "gallery.ipynb").write_text(json.dumps(LESSON), encoding="utf-8")
    assert lint_notebooks.main([str(tmp_path / "gallery.ipynb")]) == 1
