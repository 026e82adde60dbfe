"""What stands around the judge and must not be touched, and a way to hand an attack in and look at what came of it.

Everything lies open to everybody, so that nothing but the box protects it: a gradebook, a secret in a file and in the
environment, a folder to plant things in, services that listen, and the library that the next student will import.
"""
import csv
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from minidl.errors import MinidlError
from minidl.grading import sheets
from minidl.judge import sandbox, task
from minidl.judge.collecting import collect
from minidl.judge.export import FORMATS, export
from minidl.judge.feedback import page
from minidl.judge.gradebook import Gradebook
from minidl.judge.library import students_library
from minidl.judge.marks import standings
from minidl.judge.release import Assignment
from minidl.judge.rows import Row, Submission
from minidl.judge.run import grade_all

PACKAGE = Path(task.__file__).resolve().parents[1]
SEED = 20
ENOUGH = 1.0                         # seconds after which nothing of a box may be left


@dataclass
class Outcome:
    """What came of an attack.

    Attributes:
        faults: what is not as it must be, in sentences.
        rows: the rows of the gradebook.
        effects: how many things were touched; left: how many processes are left.
        seconds: how long grading took.
    """

    faults: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    effects: int = 0
    left: int = 0
    seconds: float = 0.0


class World:
    """A context manager that sets everything up, and takes it away again."""

    def __enter__(self):
        self._stack = ExitStack()
        students_library()                                   # made once, outside of this world
        self.folder = Path(tempfile.mkdtemp(prefix="minidl-battery-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.secret = f"swordfish-{secrets.token_hex(8)}"
        self.private, self.rooms = self.folder / "private", self.folder / "rooms"
        for place in (self.private, self.rooms, self.folder / "class"):
            place.mkdir()
            place.chmod(0o777)
        self.folder.chmod(0o755)
        (self.private / "notes.ipynb").write_text(self.secret)
        (self.private / "old-grades.db").write_bytes(b"100 points for nobody")
        (self.private / "script.sh").write_text("#!/bin/sh\n")
        for file in self.private.iterdir():
            file.chmod(0o777)
        self._listen()
        self.book = Gradebook(self.folder / "grades.db")
        self._before()
        self.marks = []
        self._stack.enter_context(mock.patch.dict(os.environ, {"MINIDL_SECRET": self.secret}))
        self._stack.enter_context(mock.patch.object(tempfile, "tempdir", str(self.rooms)))
        self._stack.enter_context(mock.patch.object(sandbox, "launch", self._launch))
        self.victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd="/",
                                       env={"MINIDL_SECRET": self.secret}, start_new_session=True)
        self._stack.callback(self._end_victim)
        self.seen = self._snapshot()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _listen(self):
        """Services on the loopback, on a socket in a folder, and on one without a file."""
        self.services = []
        self.socket = str(self.private / "service")
        for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
                                      (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
                                      (socket.AF_UNIX, socket.SOCK_STREAM, self.socket),
                                      (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.secret}")):
            if family == socket.AF_UNIX and address.startswith("\0") and sys.platform != "linux":
                continue
            service = self._stack.enter_context(socket.socket(family, kind))
            service.bind(address)
            if kind == socket.SOCK_STREAM:
                service.listen()
            service.setblocking(False)
            self.services.append(service)
        os.chmod(self.socket, 0o777)

    def _before(self):
        """Somebody else's row is in the gradebook already."""
        with self.book.writing():
            run = self.book.start_run("battery", 1, "L3", {})
            self.book.add_submissions([Submission("bert", "Bert", "bert/09.ipynb", None, "d")])
            self.book.record(run.id, Row("bert", "09.1b", "d", "ok", 3.0, 3.0, 9, 9, "Right.", "L3", 1, "", 0.1), "t")
        (self.bert,) = self.book.rows()
        Path(self.book.url.database).chmod(0o666)

    def _launch(self, *args, **settings):
        box = LAUNCH(*args, **settings)
        self.marks.append(box._room.mark)
        return box

    def _end_victim(self):
        self.victim.kill()
        self.victim.wait()

    @property
    def told(self):
        """What a hostile answer knows of this world, by name."""
        return {"secret_file": str(self.private / "notes.ipynb"), "grades": self.book.url.database,
                "private": str(self.private), "class": str(self.folder / "class"), "package": str(PACKAGE),
                "solutions": str(PACKAGE.parent / "solutions"), "tests": str(PACKAGE.parent / "tests"),
                "tcp": self.services[0].getsockname()[1], "udp": self.services[1].getsockname()[1],
                "socket": self.socket, "judge": os.getpid(), "victim": self.victim.pid, "home": str(Path.home())}

    def notebook(self, attack):
        """The bytes of the chapter's notebook with the attack in its place."""
        path = sheets.sheet("exercises", attack.exercise[:2])
        whole = json.loads(Path(path).read_text(encoding="utf-8"))
        text = (f"world = {self.told!r}\n" if "world" in attack.text else "") + attack.text
        for cell in whole["cells"]:
            if cell.get("id") == sheets.answer_cell(attack.exercise):
                cell["source"] = text
        return json.dumps(whole).encode()

    def lay(self, path, data):
        """Put a file below the folder of the class."""
        place = self.folder / "class" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _snapshot(self):
        """What must stay as it is: files by content, the libraries by size and time."""
        found = {path: path.read_bytes() if path.is_file() and not path.is_symlink() else oct(path.lstat().st_mode)
                 for path in self.private.rglob("*")}
        library = [package.path for package in students_library() if "minidl-library" in str(package.path)]
        for root in (*library, PACKAGE / "grading", PACKAGE / "judge"):
            for path in root.rglob("*"):
                if "__pycache__" not in path.parts:
                    about = path.lstat()
                    found[path] = about.st_size, about.st_mtime_ns
        return found

    def touched(self):
        """What was touched, in sentences."""
        now = self._snapshot()
        for path in sorted(now.keys() ^ self.seen.keys() | {p for p in now if now[p] != self.seen.get(p)}):
            yield f"{path} was changed, made or removed"
        for service in self.services:
            try:
                service.accept() if service.type == socket.SOCK_STREAM else service.recv(1)
                yield f"somebody spoke to {service.getsockname()!r}"
            except BlockingIOError:
                pass
        if self.victim.poll() is not None:
            yield "another process was ended"
        if self.book.integrity() or self.bert not in self.book.rows():
            yield "the gradebook was changed"
        yield from (f"{room} is left" for room in self.rooms.iterdir())

    def leftovers(self):
        """Processes of the boxes that are still there after a second."""
        until = time.monotonic() + ENOUGH
        while left := [pid for mark in self.marks for pid in sandbox._marked(mark)]:
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


LAUNCH = sandbox.launch


def play(attack, level, strict=False):
    """Hand an attack in, the whole way: files, collecting, a run, the gradebook, pages and tables.

    Args:
        attack: the Attack.
        level: of the sandbox.
        strict: with limits that only a calm machine keeps.
    """
    outcome = Outcome()
    with World() as world, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assignment = Assignment("battery", {attack.exercise: 4.0})
        try:
            submissions = collect(_handed_in(attack, world))
        except MinidlError as error:
            outcome.faults = [] if type(error).__name__ == attack.refused else [f"refused: {error}"]
            _look(world, outcome)
            return outcome
        if attack.refused:
            outcome.faults.append("it was not refused")
        began = time.monotonic()
        grade_all(submissions, assignment, world.book, level=level, seed=SEED, limits=attack.limits(strict),
                  insist=level == "L0")
        outcome.seconds = time.monotonic() - began
        time.sleep(attack.linger)
        outcome.rows = [row for row in world.book.rows() if row.student != "bert"]
        _look(world, outcome)
        outcome.faults += [*_wrong_rows(attack, outcome.rows), *_told(world, assignment)]
        if attack.also is not None:
            outcome.faults += attack.also(world, outcome.rows, submissions)
    return outcome


def _handed_in(attack, world):
    data = world.notebook(attack)
    if attack.hand_in is not None:
        return attack.hand_in(world, data)
    world.lay("ada/09.ipynb", data)
    return world.folder / "class"


def _look(world, outcome):
    left, touched = world.leftovers(), list(world.touched())
    outcome.left, outcome.effects = len(left), len(touched)
    outcome.faults += touched + [f"process {pid} is left" for pid in left]


def _wrong_rows(attack, rows):
    """One row for each submission, with its verdict; points for right answers alone."""
    found = {}
    for row in rows:
        found.setdefault(row.student, []).append(row)
    if found.keys() != attack.expected.keys():
        yield f"rows of {sorted(found)}, expected of {sorted(attack.expected)}"
    for who, expected in attack.expected.items():
        yield from _wrong_of_one(found.get(who, []), expected)


def _wrong_of_one(rows, expected):
    if len(rows) != len(expected):
        yield f"{len(rows)} rows, expected {len(expected)}"
    left = list(rows)
    for verdicts in sorted(expected, key=len):
        fitting = next((row for row in left if row.verdict in verdicts), None)
        if fitting is None:
            yield f"no row is {' or '.join(sorted(verdicts))}, of {[(row.verdict, row.detail) for row in left]}"
        else:
            left.remove(fitting)
    for row in rows:
        if row.points != (row.out_of if row.verdict == "ok" else 0) or row.out_of != 4:
            yield f"{row.points} points of {row.out_of} for {row.verdict}"
        if not row.message:
            yield "no message"
        if row.verdict == "wrong" and row.cases and re.search(r"\d", row.message):
            yield f"a message that may tell a hidden value: {row.message}"


def _told(world, assignment):
    """What is shown and sent on: no secret, no markup of a student, no formula, nothing that cannot be seen."""
    trail = json.dumps(world.book.audit())
    marks = standings(world.book, assignment)
    pages = [page(one, assignment) for one in marks]
    tables = [export(marks, assignment, form) for form in FORMATS]
    for text in (trail, *pages, *tables):
        if world.secret in text:
            yield "a secret got out"
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\r\ufeff" for c in text):
            yield "characters that cannot be seen"
    for text in pages:
        body = text.split("<body>")[1]
        if re.search(r"<(script|img|svg|iframe|a|style|link|meta|object|form)\b|<[^>]*\son\w+\s*=", body, re.I):
            yield "a page with markup of a student"
    for text in tables:
        cells = [cell for line in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) for cell in line]
        if any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells):
            yield "a table with a formula"
