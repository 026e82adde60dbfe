"""What comes in from students: whatever the bytes, a Submission comes of it, with all cells or a fault in words."""
import hashlib
import json
import random
import re
import unicodedata

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minidl.grading import sheets
from minidl.judge.names import LONGEST, lookalikes, oddity, tidy
from minidl.judge.reading import LARGEST, MOST_CELLS, Unreadable, cells_of, read_notebook
from minidl.judge.rows import Cell

ANY = st.characters(exclude_categories=()) | st.sampled_from("\ud800\udfff\u202e\0\u2028<U+")
CHAPTER = sheets.sheet("solutions", "01").read_bytes()


def read(data, path="student01/01_tensors.ipynb"):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return read_notebook(data, "student01", "Student 01", path, None)


def code(source, **more):
    return {"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": None, "source": source,
            **more}


def notebook(*cells, **more):
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}


def sources(submission):
    assert not submission.fault, submission.fault
    return [cell.source for cell in submission.cells]


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(sheets.ROOT.glob("solutions/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_of_the_course_gives_all_its_code(path):
    submission = read(path.read_bytes())
    assert [(c.id, c.source) for c in submission.cells] == [
        (name, source) for name, kind, source in sheets.cells(path) if kind == "code"]
    assert submission.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (submission.fault, submission.note) == ("", "")


def test_source_may_be_text_or_lines_and_the_rest_may_be_missing():
    assert sources(read(notebook(code("x = 1\ny = 2"), code(["x = 1\n", "y = 2"]), {"cell_type": "code"}))) == [
        "x = 1\ny = 2", "x = 1\ny = 2", ""]
    assert sources(read({"cells": [{"cell_type": "code", "source": "x"}, {"cell_type": "markdown", "source": 7},
                                   {"cell_type": "new kind"}]})) == ["x"]


def test_an_old_format_is_read():
    old = {"nbformat": 3, "worksheets": [
        {"cells": [{"cell_type": "code", "input": "x = 1"}, {"cell_type": "heading", "source": "h"}]}, {"metadata": {}},
        {"cells": [{"cell_type": "code", "input": ["y = ", "2"]}]}]}
    assert sources(read(old)) == ["x = 1", "y = 2"]


def test_a_wrong_kernel_name_or_none_does_not_matter():
    for metadata in ({"kernelspec": {"name": "no such kernel"}}, None, 5, []):
        assert sources(read(notebook(code("x = 1"), metadata=metadata))) == ["x = 1"]


def test_a_bom_nan_and_endless_numbers_do_not_matter():
    text = json.dumps(notebook(code("é = 1"), metadata={"a": float("nan"), "b": float("-inf")}), ensure_ascii=False)
    text = text.replace('"nbformat_minor": 5', '"nbformat_minor": ' + "9" * 100_000)
    assert sources(read(b"\xef\xbb\xbf" + text.encode())) == ["é = 1"]


def test_a_script_in_the_percent_form_is_read():
    head, answer = "# ---\n# jupyter: {}\n# ---", "def f(x):\n    return x"
    text = f'{head}\n# %% [markdown]\n# words\n# %% id="answer-01-1a"\n{answer}\n\n# %%\nf(1)\n'
    submission = read(text.encode(), "student01/a.py")
    assert submission.cells == (Cell("", head), Cell("answer-01-1a", answer), Cell("", "f(1)"))
    assert read(b"def f(x):\n    return x\n", "a.PY").cells == (Cell("", "def f(x):\n    return x"),)


# --- ids --------------------------------------------------------------------------------------------------------------


def test_an_id_that_is_lost_comes_back_from_nbgrader():
    kept = {"nbgrader": {"grade_id": "answer-01-1a"}}
    submission = read(notebook(code("x", id="3f9a01bc", metadata=kept), code("y", metadata={"nbgrader": 3})))
    assert [c.id for c in submission.cells] == ["answer-01-1a", "a"]
    del (lost := code("x", metadata=kept))["id"]
    assert read(notebook(lost)).cells[0].id == "answer-01-1a"


def test_a_copied_cell_does_not_take_the_id_of_the_first():
    """Jupyter copies nbgrader's metadata along, and gives a new id."""
    kept = {"nbgrader": {"grade_id": "answer-01-1a"}}
    submission = read(notebook(code("x", id="answer-01-1a", metadata=kept), code("y", id="c0ffee", metadata=kept)))
    assert [c.id for c in submission.cells] == ["answer-01-1a", "c0ffee"] and not submission.note


@pytest.mark.parametrize("id", ["../../etc/passwd", "a b", "", 7, None, ["a"], "x" * 65, "é", "a\u202eb", "<b>"])
def test_an_id_that_is_none_is_forgotten(id):
    submission = read(notebook(code("x = 1", id=id)))
    assert submission.cells == (Cell("", "x = 1"),) and bool(submission.note) == (id not in ("", None))


def test_cells_of_one_id_are_all_kept_and_noted():
    submission = read(notebook(code("x"), code("y")))
    assert submission.cells == (Cell("a", "x"), Cell("a", "y")) and "same id: a" in submission.note


# --- what is not ------------------------------------------------------------------------------------------------------


def nested(depth, cell=False):
    return b'{"cells": [' + (b'{"cell_type": "code", "source": ' if cell else b"") + b"[" * depth


@pytest.mark.parametrize(("data", "said"), [
    (b"", "is empty"),
    (b" \n\0\0", "is empty"),
    (b"PK\x03\x04...", "a zip or an office file, no notebook"),
    (b"%PDF-1.7", "a PDF"),
    (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
    (CHAPTER[:-100], "ends in the middle"),
    (CHAPTER[:len(CHAPTER) // 2], "ends in the middle"),
    ('{"cells": "é"}'.encode("latin-1"), "not text in UTF-8: byte 11"),
    ('{"cells": []}'.encode("utf-16"), "not text in UTF-8: byte 0"),
    (b"hello", "not JSON, as a notebook is: something is wrong at line 1"),
    (b"{\n<<<<<<< HEAD\n}", "two versions at once"),
    (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
    (nested(200_000), "nested too deeply"),
    (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
    (b"[1, 2]", "a list where a notebook should be"),
    (b"NaN", "nothing where a notebook should be"),
    (b"{}", "no list of cells"),
    (b'{"cells": {"0": 1}}', "no list of cells"),
    (b'{"worksheets": [1]}', "worksheet of the notebook is damaged"),
    (b'{"cells": [{"cell_type": "code"}, 7]}', "Cell 2 of the notebook is damaged: it is a number"),
    (b'{"cells": [{"cell_type": ["code"]}]}', "Cell 1 of the notebook is damaged: it is a table without a type"),
    (b'{"cells": [{"cell_type": "code", "source": {"a": 1}}]}', "its text is a table"),
    (b'{"cells": [{"cell_type": "code", "source": ["a", 1]}]}', "its text is a list"),
    (b'{"cells": [{"cell_type": "code", "source": null}]}', "its text is nothing"),
    (b'{"cells": [{"cell_type": "code", "source": "a\0b"}]}', "not JSON"),
    (b'{"cells": [' + b"{}," * MOST_CELLS + b"{}]}", "2001 cells"),
    (b'{"cells": [], "x": "' + b"x" * LARGEST + b'"}', "larger than 2 MB. Clear the outputs"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_file_that_is_no_notebook_is_rejected_in_words(data, said):
    submission = read(data)
    assert said in submission.fault and submission.cells == ()
    assert submission.fault.endswith(".") and submission.digest == hashlib.sha256(data).hexdigest()


def test_text_that_python_cannot_hold_is_marked():
    submission = read(notebook(code("a\0b"), code("\ud800 \ud83d\ude00 \udfff")))
    assert sources(submission) == ["a\ufffdb", "\ufffd \U0001f600 \ufffd"]
    assert "In cell 1, 1 character was no text" in submission.note and "In cell 2, 2 characters" in submission.note
    for cell in submission.cells:
        cell.source.encode("utf-8")


def test_a_notebook_of_2_mb_is_read_and_one_byte_more_is_not():
    whole = json.dumps(notebook(code("x" * LARGEST))).encode()
    fits = json.dumps(notebook(code("x" * (2 * LARGEST - len(whole))))).encode()
    assert len(fits) == LARGEST and not read(fits).fault
    assert "larger" in read(fits + b" ").fault


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_made_safe_and_what_deceives_is_noted():
    submission = read_notebook(b"", "stu\u202edent", "a\0b", "x/s\u043elution.ipynb", None)
    assert (submission.student, submission.name) == ("stu<U+202E>dent", "a<U+0000>b")
    for said in ("U+202E", "U+0000", "mixes letters of CYRILLIC and LATIN"):
        assert said in submission.note
    assert tidy("e\u0301") == "é" and oddity("Ж and b, 日本語, naïve, Ωmega2")
    assert not oddity("Жук and b, 日本語, naïve")


@settings(max_examples=300)
@given(st.lists(st.text(ANY, max_size=300), max_size=4, unique=True))
@example(["\ud800", "<U+D800>", "a\u2028", "\x1b[31m"])
def test_any_name_becomes_one_that_can_be_stored(names):
    safe = [tidy(name) for name in names]
    for name in safe:
        assert len(name.encode("utf-8")) >= len(name) <= LONGEST
        assert not re.search(r"[\0-\x1f\u200b-\u200f\u2028-\u202e]", name)
    assert len(set(safe)) == len({unicodedata.normalize("NFC", name) for name in names})
    assert all(isinstance(oddity(name), str) for name in names) and isinstance(lookalikes(names), dict)


def test_students_that_look_the_same_are_found():
    assert lookalikes(["anna", "аnna", "Anna", "an\u200bna", "student0l", "student01", "otto"]).keys() == {
        "anna", "аnna", "Anna", "an\u200bna", "student0l", "student01"}


# --- anything ---------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(ANY, max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4), max_leaves=9)
near = st.sampled_from(["code", "markdown", "", "raw"]) | json_values
cells = st.fixed_dictionaries({}, optional={
    "cell_type": st.just("code") | near, "id": st.text(max_size=9) | json_values, "metadata": json_values |
    st.fixed_dictionaries({"nbgrader": json_values | st.fixed_dictionaries({"grade_id": json_values})}),
    "source": st.text(ANY) | st.lists(st.text(max_size=9)) | json_values, "input": json_values})
notebooks = st.fixed_dictionaries({}, optional={
    "cells": st.lists(cells | json_values, max_size=6) | json_values, "nbformat": json_values, "metadata": json_values,
    "worksheets": st.lists(st.fixed_dictionaries({"cells": st.lists(cells, max_size=3)}) | json_values, max_size=3) |
    json_values})


def holds(data, path="x.ipynb"):
    """Read some bytes; whatever they are, the result must be one thing or the other. Returns whether it was read."""
    submission = read(data, path)
    try:
        expected = tuple(cells_of(data, path, []))
    except Unreadable as error:                  # and no other: the last resort of read_notebook was not needed
        assert submission.cells == () and submission.fault == str(error)
        return False
    assert submission.cells == expected and submission.fault == ""
    for cell in submission.cells:
        (cell.id + cell.source).encode("utf-8")
    if not path.endswith(".py"):
        nb = json.loads(data.decode("utf-8-sig"), parse_int=str)
        raw = nb["cells"] if isinstance(nb.get("cells"), list) else [c for w in nb["worksheets"]
                                                                    for c in w.get("cells", [])]
        assert len(submission.cells) == sum(c["cell_type"] == "code" for c in raw), "a cell got lost"
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(notebooks | json_values)
def test_any_json_is_read_or_rejected(value):
    holds(json.dumps(value).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["x.ipynb", "x.py", "x"]))
def test_any_bytes_are_read_or_rejected(data, path):
    holds(data, path)


def mutated(data, rng):
    """A notebook with something done to its bytes, or to what they mean."""
    if rng.random() < 0.5:
        data = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at, length = rng.randrange(len(data)), rng.choice([1, 1, 2, 8, 100])
            what = rng.randrange(5)
            if what == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif what == 1:
                del data[at:at + length]
            elif what == 2:
                data[at:at] = data[at:at + length]
            elif what == 3:
                data[at:at] = rng.randbytes(length)
            else:
                data = data[:at + 1]
        return bytes(data)
    nb = json.loads(data)
    for _ in range(rng.randint(1, 4)):
        _change(nb, rng)
    return json.dumps(nb).encode()


ODD = [None, True, 0, -1e999, "", "x", "\0", "\ud800", "../..", [], [None], {}, {"a": {}}, "code", ["a", "b\n"], 10**30]


def _change(nb, rng):
    """Change, remove, add or move one thing somewhere in a tree of JSON."""
    spot = nb
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(spot[key], (dict, list)) and spot[key] and rng.random() < 0.8:
            spot = spot[key]
            continue
        what = rng.randrange(4)
        if what == 0:
            del spot[key]
        elif what == 1 and isinstance(spot, list):
            spot.insert(rng.randrange(len(spot)), rng.choice(spot))
        elif what == 2 and isinstance(spot, list):
            rng.shuffle(spot)
        else:
            spot[key] = rng.choice(ODD)
        return


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_notebooks_are_read_whole_or_rejected(count):
    rng, good = random.Random(count), 0
    originals = [path.read_bytes() for path in sorted(sheets.ROOT.glob("exercises/*.ipynb"))]
    for _ in range(count):
        good += holds(mutated(rng.choice(originals), rng))
    assert count * 0.2 < good < count * 0.8, "the mutations are too weak or too strong to test anything"
