"""The article of exercise 10.1: what a learner reads is what the check runs; its faults come one after the other."""
import re

import numpy as np
import pytest

import minidl as md
from minidl.errors import ShapeError
from minidl.grading import sheets
from minidl.grading.chapters import ch10


def printed_article():
    """The script in the notebook."""
    (source,) = (s for name, _, s in sheets.cells(sheets.sheet("exercises", "10")) if name == "article")
    return re.search(r"```python\n(.*?)```", source, re.S)[1]


def run(script, names, pictures=36):
    rng = np.random.default_rng(0)
    images, labels = rng.random((pictures, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, pictures)
    space = {**{name: value for name, value in ch10.imports().items() if name in names}, "__name__": "article",
             "images": md.from_numpy(images), "labels": md.from_numpy(labels)}
    with ch10.seeded(0):
        exec(script.replace("range(3)", "range(1)"), space)
    return space


def test_the_notebook_has_the_article_that_the_check_runs():
    assert printed_article() == ch10.ARTICLE


@pytest.mark.parametrize("name", ch10.NAMES)
def test_each_name_is_missed(name):
    with pytest.raises(NameError, match=f"'{name}'"):
        run(ch10.mended_article(), set(ch10.NAMES) - {name})


@pytest.mark.parametrize(("mended", "error", "says"), [
    ((), NameError, "'model'"),
    (("model = Net()",), ShapeError, "1 channel but each filter expects 3"),
    (("model = Net()", "Conv2d(1, 32"), ShapeError, "2304"),
])
def test_each_fault_hides_the_next(mended, error, says):
    script = ch10.ARTICLE
    for old, new in ch10.MENDED:
        script = script.replace(old, new) if any(text in new for text in mended) else script
    with pytest.raises(error, match=says):
        run(script, ch10.NAMES, pictures=32)


def test_the_mended_article_learns(capsys):
    model = run(ch10.mended_article(), ch10.NAMES)["model"]
    assert sum(p.numel() for p in model.parameters()) == 421_642
    assert "epoch 1, loss 2." in capsys.readouterr().out


def test_a_wrong_length_can_hide_in_the_number_of_rows():
    assert md.zeros(36, 64, 7, 7).view(-1, 64 * 6 * 6).shape == (49, 64 * 6 * 6)
