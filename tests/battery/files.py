"""What is handed in as a file: broken, swollen, disguised, in zips, under names that deceive, twice, and too late."""
import json
import os
import stat
import struct
import zipfile
from dataclasses import replace
from datetime import timedelta
from unittest import mock

from minidl.errors import BusyError
from minidl.judge import collecting
from minidl.judge.deadlines import LatePolicy
from minidl.judge.gradebook import Gradebook
from minidl.judge.marks import standings
from minidl.judge.release import Assignment
from minidl.judge.run import grade_all

from .attack import EXERCISE, NOT_OK, RIGHT, Attack, answers

GOOD = RIGHT + "receptive_field = right\n"
WRONG = "def receptive_field(layers):\n    return 7, 7\n"
ID = "answer-09-1b"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"
REJECTED = "rejected-file"
BIDI, ZERO_WIDTH, CYRILLIC_A = "\u202e", "\u200b", "\u0430"


# --- a notebook's bytes -----------------------------------------------------------------------------------------------


def as_bytes(change):
    """A way to hand in: the notebook's bytes, changed."""
    def hand_in(world, data):
        world.lay("ada/09.ipynb", change(data))
        return world.folder / "class"
    return hand_in


def as_json(change):
    """A way to hand in: the notebook as JSON, changed in place or given back anew."""
    def changed(data):
        whole = json.loads(data)
        return json.dumps(change(whole) or whole).encode()
    return as_bytes(changed)


def cells(change):
    """A way to hand in: each code cell changed in place, as `change(cell)`."""
    def changed(whole):
        for cell in whole["cells"]:
            if cell["cell_type"] == "code":
                change(cell)
    return as_json(changed)


def answer(change):
    """A way to hand in: the answer's cell changed in place."""
    return cells(lambda cell: change(cell) if cell["id"] == ID else None)


def _outputs(cell):
    """Outputs that hold whatever a page could run, and a picture that is none."""
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {
        "text/html": MARKUP, "image/svg+xml": MARKUP, "application/javascript": "alert(1)",
        "application/vnd.jupyter.widget-view+json": {"model_id": "../../x"}, "image/png": "AAAA" * 10_000,
        "text/plain": ["PASS"] * 1000}}]
    cell["metadata"] = {"nbgrader": {"grade": True, "points": 100, "solution": True, "grade_id": MARKUP}, "score": 100}
    cell["execution_count"] = 10**6


def _twice(whole):
    """The answer's cell a second time under the same id: the later one counts, as in the notebook."""
    place = next(k for k, cell in enumerate(whole["cells"]) if cell.get("id") == ID)
    first = dict(whole["cells"][place], source=WRONG)
    whole["cells"].insert(place, first)


def _second_is_wrong(whole):
    place = next(k for k, cell in enumerate(whole["cells"]) if cell.get("id") == ID)
    whole["cells"].insert(place + 1, dict(whole["cells"][place], source=WRONG))


def _only_answer(whole):
    whole["cells"] = [cell for cell in whole["cells"] if cell.get("id") == ID]


def _old(whole):
    """As format 3 has it."""
    whole["worksheets"] = [{"cells": [dict(cell, input=cell["source"]) for cell in whole.pop("cells")]}]
    whole["nbformat"] = 3


def _renamed(cell):
    cell["id"] = f"cell-{abs(hash(cell['id'])) % 10**8}"


def named(name, verdict="ok", text=GOOD):
    """An attack by the name of a student."""
    def hand_in(world, data):
        world.lay(f"{name}/09.ipynb", data)
        return world.folder / "class"
    return Attack("", verdict, text, hand_in)


NOTEBOOKS = {
    "not UTF-8": (REJECTED, as_bytes(lambda data: data.replace(b"receptive", b"\xff\xfe\x80"))),
    "UTF-16": (REJECTED, as_bytes(lambda data: data.decode().encode("utf-16"))),
    "truncated": (REJECTED, as_bytes(lambda data: data[:len(data) // 2])),
    "nothing": (REJECTED, as_bytes(lambda data: b"")),
    "nothing but NUL": (REJECTED, as_bytes(lambda data: b"\0" * 10_000)),
    "NUL in between": (REJECTED, as_bytes(lambda data: data[:500] + b"\0" + data[500:])),
    "JSON 200,000 deep, as a file": (REJECTED, as_bytes(lambda data: b"[" * 200_000)),
    "objects 100,000 deep": (REJECTED, as_bytes(lambda data: b'{"cells":' * 100_000)),
    "a number of 10^6 digits in the file": ("ok", as_bytes(lambda data: data[:1] + b'"x":' + b"9" * 10**6 + b"," +
                                                           data[1:])),
    "a file of 3 MB": (REJECTED, as_bytes(lambda data: data + b" " * (3 * 2**20))),
    "a list": (REJECTED, as_bytes(lambda data: b"[1, 2]")),
    "cells that are a number": (REJECTED, as_json(lambda whole: {**whole, "cells": 7})),
    "cells that are numbers": (REJECTED, as_json(lambda whole: {**whole, "cells": [1, None, "x"]})),
    "a source that is a table": (REJECTED, answer(lambda cell: cell.update(source={"def": 1}))),
    "10,000 cells": (REJECTED, as_json(lambda whole: {**whole, "cells": whole["cells"] * 250})),
    "the same key twice": ("ok", as_bytes(lambda data: b'{"cells": [],' + data[1:])),
    "a zip with the ending of a notebook": (REJECTED, as_bytes(lambda data: b"PK\x03\x04" + data)),
    "a page with the ending of a notebook": (REJECTED, as_bytes(lambda data: f"<html>{MARKUP}".encode())),
    "a pickle with the ending of a notebook": (REJECTED, as_bytes(
        lambda data: b"\x80\x04cposix\nsystem\n(S'touch /tmp/minidl-battery'\ntR.")),
    "half a surrogate in the answer": ("import-error", answer(
        lambda cell: cell.update(source=f"x = '\ud800'\n{GOOD}("))),
    "a wrong kernel": ("ok", as_json(lambda whole: whole["metadata"].update(
        kernelspec={"name": "bash; rm -rf /", "language": "R", "display_name": MARKUP}))),
    "no metadata": ("ok", as_json(lambda whole: {"cells": [{k: v for k, v in c.items() if k != "metadata"}
                                                           for c in whole["cells"]]})),
    "an old format": ("ok", as_json(_old)),
    "renamed ids": ("ok", cells(_renamed)),
    "no ids": ("ok", cells(lambda cell: cell.pop("id"))),
    "ids like paths": ("ok", cells(lambda cell: cell.update(id=f"../../{cell['id']}\0"))),
    "ids that are no text": ("ok", cells(lambda cell: cell.update(id=[cell["id"], {}, None]))),
    "all cells but the answer deleted": ("ok", as_json(_only_answer)),
    "the answer's cell deleted": ("wrong", as_json(lambda whole: whole["cells"].__delitem__(
        next(k for k, cell in enumerate(whole["cells"]) if cell.get("id") == ID)))),
    "an id twice, the right answer last": ("ok", as_json(_twice)),
    "an id twice, the right answer first": ("wrong", as_json(_second_is_wrong)),
    "cells in reverse": ("ok", as_json(lambda whole: whole["cells"].reverse())),
    "markup, scripts and pictures in outputs": ("ok", cells(_outputs)),
    "1.9 MB of comments": ("ok", answer(lambda cell: cell.update(source=GOOD + "#" * 1_900_000))),
    "magic, help and shell lines": ("ok", answer(lambda cell: cell.update(
        source="%matplotlib inline\n!rm -rf ~\n?np\nfiles = !ls\n" + GOOD + "%timeit receptive_field([])\nnp.sum?"))),
    "an IPython transformer": ("ok", answer(lambda cell: cell.update(
        source="ip = get_ipython()\nip.run_cell = print\nip.input_transformers_post.append(lambda lines: ['PASS'])\n" +
               GOOD))),
    "prints, plots and checks in between": ("ok", answer(lambda cell: cell.update(
        source="print('hello')\nraise SystemExit\n1 / 0\n" + GOOD + "check('09.1b', receptive_field)\ninput()"))),
    "line ends of three kinds": ("ok", answer(
        lambda cell: cell.update(source=GOOD.replace("\n", "\r\n") + "x = 1\ry = 2"))),
}


# --- slow to look at --------------------------------------------------------------------------------------------------

SLOW = {
    "300,000 statements": "\n".join(f"x{k} = {k}" for k in range(140_000)),
    "a line of blanks that a careless expression walks again and again": " " * 300_000 + "'" + GOOD + "(",
    "statements that all need each other": "\n".join(f"def f{k}(): return f{k - 1}(), f{k + 1}(), right"
                                                    for k in range(20_000)) + GOOD + "receptive_field = f9",
}


# --- folders and zips -------------------------------------------------------------------------------------------------


def member(name, mode=0o100644):
    """A member of a zip, with the type and rights of a file."""
    info = zipfile.ZipInfo(name, (2026, 12, 4, 12, 0, 0))
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return info


def zipped(*members):
    """A way to hand in: a zip of members (or names), each with bytes, or None for the notebook. Bob is honest."""
    def hand_in(world, data):
        path = world.folder / "class.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (*members, ("bob/09.ipynb", None)):
                info = name if isinstance(name, zipfile.ZipInfo) else member(name)
                with mock.patch("warnings.warn"):                        # it warns of names that are there twice
                    archive.writestr(info, data if content is None else content)
        return path
    return hand_in


def _linked(world, data):
    (world.folder / "class" / "ada").mkdir()
    os.symlink(world.private / "notes.ipynb", world.folder / "class" / "ada" / "09.ipynb")
    return world.folder / "class"


def _linked_passwords(world, data):
    (world.folder / "class" / "ada").mkdir()
    os.symlink("/etc/passwd", world.folder / "class" / "ada" / "09.ipynb")
    return world.folder / "class"


def _folder_linked(world, data):
    os.symlink(world.private, world.folder / "class" / "ada")
    return world.folder / "class"


def _pipe(world, data):
    (world.folder / "class" / "ada").mkdir()
    os.mkfifo(world.folder / "class" / "ada" / "09.ipynb")
    return world.folder / "class"


def _endless_file(world, data):
    with open(world.lay("ada/09.ipynb", data), "r+b") as file:
        file.truncate(2**40)
    return world.folder / "class"


def _swapped(world, data):
    """Between the look at the folder and the opening of the file, the file becomes a link to the secret."""
    path, look = world.lay("ada/09.ipynb", data), collecting._mode

    def looked(entry):
        mode = look(entry)
        if entry.name == "09.ipynb":
            path.unlink()
            os.symlink(world.private / "notes.ipynb", path)
        return mode

    world._stack.enter_context(mock.patch.object(collecting, "_mode", looked))
    return world.folder / "class"


def _at(seconds):
    """A way to hand in: the file says that it is from another time."""
    def hand_in(world, data):
        path = world.lay("ada/09.ipynb", data)
        os.utime(path, (seconds, seconds))
        return world.folder / "class"
    return hand_in


def _no_date(world, data):
    """A zip whose member is from month 15, day 31 of the year 2107, at 31:63:62."""
    path = zipped(("ada/09.ipynb", None))(world, data)
    raw = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 10), (b"PK\x01\x02", 12)):
        at = raw.index(mark) + place
        raw[at:at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    return path


def _lying_size(world, data):
    """A zip whose member says it has 100 bytes and has 50 MB."""
    path = zipped(("ada/09.ipynb", data + b" " * (50 * 2**20)))(world, data)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 24:at + 28] = struct.pack("<I", 100)
    path.write_bytes(raw)
    return path


def _overlapping(world, data):
    """A zip of 60,000 names for the same bytes."""
    path = zipped()(world, b"{}" + b" " * 2**20)
    raw = path.read_bytes()
    start, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    tail = bytearray(raw[end:])
    tail[8:12], tail[12:16] = struct.pack("<HH", 60_000, 60_000), struct.pack("<I", 60_000 * (end - start))
    path.write_bytes(raw[:start] + raw[start:end] * 60_000 + tail)
    return path


def _no_zip(world, data):
    path = world.folder / "class.zip"
    path.write_bytes(b"PK\x03\x04" + data)
    return path


BOTH, BAD = {"ada": ["ok"], "bob": ["ok"]}, {"ada": [REJECTED], "bob": ["ok"]}
LAID = [
    Attack("a link to a secret, handed in", REJECTED, GOOD, _linked),
    Attack("a link to /etc/passwd, handed in", REJECTED, GOOD, _linked_passwords),
    Attack("a folder that is a link", REJECTED, GOOD, _folder_linked),
    Attack("a pipe, handed in", REJECTED, GOOD, _pipe),
    Attack("a file of a terabyte", REJECTED, GOOD, _endless_file),
    Attack("a file swapped between check and use", REJECTED, GOOD, _swapped),
    Attack("a file from the year 5138", "ok", GOOD, _at(10**11)),
    Attack("a file from the year 1653", "ok", GOOD, _at(-10**10)),
    Attack("a zip that leads out", text=GOOD, rows={"x": [REJECTED], "bob": ["ok"]},
           hand_in=zipped(("../x.ipynb", None))),
    Attack("a zip that leads to the root", text=GOOD, rows={"tmp": [REJECTED], "bob": ["ok"]},
           hand_in=zipped(("/tmp/minidl-battery/x.ipynb", None))),
    Attack("a zip that leads out of Windows", text=GOOD, rows=BAD, hand_in=zipped(("ada/..\\..\\x.ipynb", None))),
    Attack("a link in a zip", text=GOOD, rows=BAD,
           hand_in=zipped((member("ada/09.ipynb", stat.S_IFLNK | 0o777), b"/etc/passwd"))),
    Attack("a device in a zip", text=GOOD, rows=BAD,
           hand_in=zipped((member("ada/09.ipynb", stat.S_IFBLK | 0o666), b"x"))),
    Attack("a zip bomb in a student's folder", text=GOOD, rows=BAD,
           hand_in=zipped(("ada/09.ipynb", b" " * (200 * 2**20)))),
    Attack("a zip in a zip", text=GOOD, rows=BAD, hand_in=zipped(("ada/09.zip", b"PK\x03\x04" + b"x" * 1000))),
    Attack("a member that lies of its size", text=GOOD, rows=BAD, hand_in=_lying_size),
    Attack("a zip with 60,000 names for the same bytes", text=GOOD, refused="DataError", hand_in=_overlapping),
    Attack("a zip that is none", text=GOOD, refused="DataError", hand_in=_no_zip),
    Attack("a date that is none, in a zip", text=GOOD, rows=BOTH, hand_in=_no_date),
    Attack("two members of one name, alike", text=GOOD, rows=BOTH,
           hand_in=zipped(("ada/09.ipynb", None), ("ada/09.ipynb", None))),
    Attack("two members of one name, the second broken", text=GOOD, rows={"ada": ["ok", REJECTED], "bob": ["ok"]},
           hand_in=zipped(("ada/09.ipynb", None), ("ada/09.ipynb", b"{"))),
]


# --- names ------------------------------------------------------------------------------------------------------------


def _noted(world, rows, submissions):
    if not any("reading order" in one.note or "looks the same" in one.note for one in submissions):
        yield "the teacher is not told of a name that deceives"


def _pair(first, second):
    def hand_in(world, data):
        world.lay(f"{first}/09.ipynb", data)
        world.lay(f"{second}/09.ipynb", data)
        return world.folder / "class"
    return hand_in


NAMES = [
    replace(named("=HYPERLINK('http:||x','marks')"), name="a name that is a formula",
            rows={"=HYPERLINK('http:||x','marks')": ["ok"]}),
    replace(named("@SUM(A1:A9)|calc"), name="a name that is another formula", rows={"@SUM(A1:A9)|calc": ["ok"]}),
    replace(named("-2+3"), name="a name that is a sum", rows={"-2+3": ["ok"]}),
    replace(named(MARKUP.replace("/", "|")), name="a name that is markup", rows={MARKUP.replace("/", "|"): ["ok"]}),
    replace(named("'; DROP TABLE results; --"), name="a name that is SQL",
            rows={"'; DROP TABLE results; --": ["ok"]}),
    replace(named("ada\n\t\r"), name="a name with line ends", rows={"ada<U+000A><U+0009><U+000D>": ["ok"]}),
    replace(named("a\x1b[2Jda"), name="a name that clears the screen", rows={"a<U+001B>[2Jda": ["ok"]}),
    replace(named(f"ada{BIDI}gpj"), name="a name that turns the reading order", rows={"ada<U+202E>gpj": ["ok"]},
            also=_noted),
    Attack("a name in Cyrillic that looks like another's", text=GOOD, hand_in=_pair("ada", f"ad{CYRILLIC_A}"),
           rows={"ada": ["ok"], f"ad{CYRILLIC_A}": ["ok"]}, also=_noted),
    Attack("a name with a letter that cannot be seen", text=GOOD, hand_in=_pair("ada", f"ada{ZERO_WIDTH}"),
           rows={"ada": ["ok"], "ada<U+200B>": ["ok"]}, also=_noted),
    replace(named("__proto__"), name="a name of JavaScript's", rows={"__proto__": ["ok"]}),
    replace(named("CON"), name="a name that Windows keeps for itself", rows={"CON": ["ok"]}),
]


# --- twice, and too late ----------------------------------------------------------------------------------------------


def _racing(world, rows, submissions):
    """While one judge writes, another is told; what it has is not lost and not doubled."""
    one = Gradebook(world.book.url.database)
    with one.writing():
        try:
            grade_all(submissions, Assignment("battery", {EXERCISE: 4.0}), world.book, level="L0", seed=1, insist=True)
            yield "two wrote at once"
        except BusyError:
            pass
    grade_all(submissions, Assignment("battery", {EXERCISE: 4.0}), world.book, level="L0", seed=20, insist=True)
    if len(world.book.rows()) != len(rows) + 1:
        yield "rows doubled"


def _two(world, data):
    """The same file twice, under two names, and a third that differs in a blank."""
    for name, content in (("09.ipynb", data), ("09 (1).ipynb", data), ("09-final.ipynb", data + b" ")):
        world.lay(f"ada/{name}", content)
    return world.folder / "class"


def _late(world, data):
    """A wrong answer in time, and the right one an hour after the due date."""
    early = world.lay("ada/1.ipynb", data.replace(b"step *= stride", b"step += stride"))
    late = world.lay("ada/2.ipynb", data)
    for path, when in ((early, 1_000_000), (late, 1_003_600 + 1)):
        os.utime(path, (when, when))
    return world.folder / "class"


def _late_marks(world, rows, submissions):
    due = min(one.received for one in submissions) + timedelta(seconds=1)
    for policy, counts, points in ((LatePolicy(cut_off_hours=0), "last", 0), (LatePolicy(percent=50), "best", 2),
                                   (LatePolicy(), "in-time", 0), (LatePolicy(), "last", 4)):
        assignment = Assignment("battery", {EXERCISE: 4.0}, due=due, late=policy, counts=counts)
        (one,) = [one for one in standings(world.book, assignment) if one.student == "ada"]
        if one.points != points:
            yield f"{one.points} points with {policy} and {counts}, expected {points}"


TWICE = [
    Attack("two judges at once", "ok", GOOD, also=_racing),
    Attack("one file under two names, and one that differs in a blank", text=GOOD, rows={"ada": ["ok", "ok"]},
           hand_in=_two),
    Attack("the right answer after the due date", text=GOOD, rows={"ada": ["ok", "wrong"]}, hand_in=_late,
           also=_late_marks),
]
FILES = [*(Attack(name, verdict, GOOD, hand_in) for name, (verdict, hand_in) in NOTEBOOKS.items()), *LAID, *NAMES,
         *TWICE, *(replace(attack, start=True) for attack in answers(
             {name: (NOT_OK | {"ok"}, text) for name, text in SLOW.items()}))]
