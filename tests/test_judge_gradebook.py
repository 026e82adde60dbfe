"""The gradebook: what was acknowledged is kept, nobody rewrites history, one writes at a time; on both back ends."""
import contextlib
import getpass
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

sa = pytest.importorskip("sqlalchemy")

from minidl.errors import BusyError, GradebookError  # noqa: E402
from minidl.judge.gradebook import GUARDS, Gradebook, storable  # noqa: E402
from tests import judge_class, mortal  # noqa: E402
from tests.judge_class import row, submission  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


# --- a PostgreSQL of our own, on a socket in a folder of the test ---------------------------------------------------
def programs():
    """The folder of PostgreSQL's programs; None if it is not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name), reverse=True)
    found = shutil.which("initdb")
    return next((place for place in [*places, *([Path(found).parent] if found else [])]
                 if (place / "postgres").exists()), None)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URL of a PostgreSQL server's database `postgres`, up to the database's name."""
    pytest.importorskip("psycopg")
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    folder = Path(subprocess.run(["mktemp", "-d", "/tmp/pg-XXXXXX"], capture_output=True, text=True).stdout.strip())
    as_user, user = [], getpass.getuser()
    if os.getuid() == 0:                                # the server refuses root
        if not shutil.which("runuser"):
            pytest.skip("PostgreSQL refuses root, and there is no runuser")
        user, as_user = "nobody", ["runuser", "-u", "nobody", "--"]
        try:
            shutil.chown(folder, user)
        except OSError:                               # as in the namespace that cuts the network off
            pytest.skip("PostgreSQL refuses root, and files cannot be given to another user here (make test-judge)")
    data = folder / "data"
    subprocess.run([*as_user, place / "initdb", "-D", data, "-U", "teacher", "-A", "trust", "-E", "UTF8", "--no-sync"],
                   check=True, capture_output=True, cwd="/")
    process = subprocess.Popen([*as_user, place / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        for _ in range(100):
            if subprocess.run([place / "pg_isready", "-h", folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql://teacher@/{{}}?host={folder}"
    finally:
        subprocess.run([*as_user, place / "pg_ctl", "-D", data, "-m", "immediate", "stop"], capture_output=True,
                       cwd="/")
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(server):
    """The URL of a fresh database."""
    import psycopg
    name = f"book{random.SystemRandom().getrandbits(40)}"
    with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    """Where a gradebook can be made, on each back end."""
    return str(tmp_path / "grades.db") if request.param == "sqlite" else request.getfixturevalue("database")


@pytest.fixture
def book(where):
    """An empty gradebook."""
    return Gradebook(where)


@contextlib.contextmanager
def a_run(book, **more):
    """A run to record into, for the length of a block."""
    with book.writing():
        yield book.start_run(**dict(assignment="week 1", seed=7, level="L3", versions={"minidl": "0.1"}) | more)


# --- what is kept ---------------------------------------------------------------------------------------------------
def test_rows_come_back_as_they_went_in(book):
    odd = row("zoë \U0001f600 ' \" ; DROP TABLE audit", message="<b>=1+1\n\t", points=1 / 3, seed=2**64 - 1, detail="x")
    with a_run(book, seed=2**64 - 1) as run:
        book.record(run.id, odd, "task-1")
        assert book.rows() == [odd]                      # while it is written
    assert book.rows() == [odd] == book.rows("week 1") == book.rows(run=run.id)
    assert book.rows("week 2") == []
    assert book.tasks(run.id) == {"task-1"}
    (kept,) = book.runs()
    assert (kept.seed, kept.level, kept.versions, kept.ended) == (2**64 - 1, "L3", {"minidl": "0.1"}, None)


def test_a_run_says_when_it_ended(book):
    with a_run(book, settings={"due": "2026-12-04"}) as run:
        book.end_run(run.id)
    kept = book.run(run.id)
    assert kept.started <= kept.ended and kept.settings == {"due": "2026-12-04"}
    with pytest.raises(GradebookError, match=f"There is no run 'x'.*\n.*there are +{run.id}\nTry:"):
        book.run("x")


def test_a_newer_row_takes_the_place_and_the_trail_has_both(book):
    with a_run(book) as first:
        book.record(first.id, row(verdict="wrong", points=0.0), "task-1")
    with a_run(book) as second:
        book.record(second.id, row(), "task-2")
    assert [one.verdict for one in book.rows()] == ["ok"]
    assert [(one["run"], one["verdict"]) for one in book.audit()] == [(first.id, "wrong"), (second.id, "ok")]
    assert [one.verdict for one in book.rows(run=first.id)] == ["wrong"]


def test_a_run_keeps_one_row_for_a_task(book):
    with a_run(book) as run:
        book.record(run.id, row(), "task-1")
        with pytest.raises(sa.exc.DBAPIError):
            book.record(run.id, row(verdict="wrong"), "task-1")
        assert [one.verdict for one in book.rows()] == ["ok"]          # nothing of the second is left
        book.record(run.id, row(exercise="01.3"), "task-2")
    assert len(book.audit()) == len(book.rows()) == 2


@pytest.mark.parametrize("statement", [
    "UPDATE audit SET points = 100", "DELETE FROM audit", "TRUNCATE audit",
    "INSERT OR REPLACE INTO audit SELECT * FROM audit",
    "INSERT OR REPLACE INTO audit SELECT id + 100, student, exercise, digest, run, assignment, at, task, 'ok', 9, 9, "
    "passed, cases, message, level, seed, spec, seconds, detail FROM audit",
    "INSERT INTO audit SELECT * FROM audit WHERE true ON CONFLICT (id) DO UPDATE SET points = 100"])
def test_the_trail_can_only_be_added_to(book, statement):
    foreign = "TRUNCATE" if book.kind == "sqlite" else "OR REPLACE"
    if foreign in statement:
        pytest.skip("not a statement of this database")
    with a_run(book) as run:
        book.record(run.id, row(), "task-1")
    before = book.audit()
    with pytest.raises(sa.exc.DBAPIError, match="can only be added to"), book._engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert book.audit() == before


def test_a_file_that_came_twice_came_at_its_first_time(book):
    early, late = submission(), submission(received=judge_class.START + timedelta(days=1), name="Ada L.")
    with book.writing():
        book.add_submissions([late])
        book.add_submissions([early])
        book.add_submissions([late])
        book.add_submissions([submission(received=None)])
    (kept,) = book.submissions().values()
    assert kept.received == early.received


def test_texts_that_no_database_takes_are_spelled_out(book):
    with a_run(book) as run:
        book.record(run.id, row("ad\x00a\udc80", detail="\x00\ud800"), "task-1")
        book.add_submissions([submission("ad\x00a\udc80", path="a\udcffb")])
    (kept,) = book.rows()
    assert kept.student == storable("ad\x00a\udc80") == "ad\\x00a\\udc80"
    assert [one.path for one in book.submissions().values()] == ["a\\udcffb"]
    assert (kept.student, kept.digest) in book.submissions()


# --- one writer -----------------------------------------------------------------------------------------------------
def test_a_second_writer_is_told_who_writes(book, where):
    with a_run(book) as run:
        with pytest.raises(BusyError, match=rf"(?s)Somebody else is writing.*process {os.getpid()}, since.*\nTry:"), \
                Gradebook(where).writing():
            pass
        assert Gradebook(where).runs() == [run]          # reading goes on
    with Gradebook(where).writing():
        pass


def test_only_who_writes_can_write(book):
    with pytest.raises(GradebookError, match="not open for writing"):
        book.end_run("x")


WRITER = """
import sys
from minidl.judge.gradebook import Gradebook
with Gradebook(sys.argv[1]).writing():
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_the_lock_goes_with_a_killed_process(where):
    process = subprocess.Popen([sys.executable, "-c", WRITER, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               cwd=ROOT)
    with process:
        assert process.stdout.readline() == b"writing\n"
        with pytest.raises(BusyError), Gradebook(where).writing():
            pass
        process.kill()
    for wait in (0, 0.1, 0.5, 2, 5):                     # PostgreSQL notices a moment later
        time.sleep(wait)
        with contextlib.suppress(BusyError), Gradebook(where).writing():
            return
    pytest.fail("the lock is still held")


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.judge)])
def test_writers_who_race_write_one_after_the_other(where, count):
    """Processes make the gradebook at the same time; each tries until it is its turn."""
    program = """
import sys, time
from minidl.errors import BusyError
from minidl.judge.gradebook import Gradebook
from tests.judge_class import row
book, me = Gradebook(sys.argv[1]), sys.argv[2]
while True:
    try:
        with book.writing():
            run = book.start_run("week 1", 7, "L3", {})
            for k in range(3):
                book.record(run.id, row(f"student-{k}"), f"task-{k}")
        break
    except BusyError:
        time.sleep(0.02)
"""
    racers = [subprocess.Popen([sys.executable, "-c", program, where, str(k)], cwd=ROOT) for k in range(count)]
    assert [racer.wait(60) for racer in racers] == [0] * count
    book = Gradebook(where)
    assert len(book.runs()) == count and len(book.audit()) == 3 * count and len(book.rows()) == 3
    by_run = [one["run"] for one in book.audit()]
    assert len(dict.fromkeys(by_run)) == count and by_run == sorted(by_run, key=[*dict.fromkeys(by_run)].index)


# --- what is no gradebook -------------------------------------------------------------------------------------------
def test_nothing_there_is_said(book):
    assert not book.exists
    with pytest.raises(GradebookError, match="There is no gradebook here"):
        book.rows()
    with book.writing():
        pass
    assert book.exists and book.rows() == []


def test_a_newer_layout_is_left_alone(book):
    with book.writing():
        pass
    with book._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE about SET value = '99' WHERE key = 'schema'")
    for use in (book.rows, lambda: book.writing().__enter__()):
        with pytest.raises(GradebookError, match="layout that this minidl does not know.*\n.*99\n.*1\nTry: a newer"):
            use()


def test_another_database_is_left_alone(book):
    with book._engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE cats (name TEXT)")
    with pytest.raises(GradebookError, match="(?s)something else than a gradebook.*cats"), book.writing():
        pass
    if book.kind == "sqlite":
        with contextlib.closing(sqlite3.connect(book.name)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_file_of_another_kind_is_left_alone(tmp_path):
    file = tmp_path / "grades.db"
    file.write_text("student,points\n" * 100)
    for use in (Gradebook(file).rows, lambda: Gradebook(file).writing().__enter__()):
        with pytest.raises(GradebookError, match="(?s)cannot be opened.*not a database"):
            use()
    assert file.read_text().startswith("student,points")


@pytest.mark.parametrize(("where", "said"), [
    ("mysql://teacher@host/class", "SQLite or PostgreSQL"), ("://", "neither"), ("sqlite://", "in memory"),
    ("postgresql://teacher:secret@127.0.0.1:1/class", "cannot be opened"),
    ("/nowhere/at/all/grades.db", "cannot be written")])
def test_where_no_gradebook_can_be(where, said):
    if where.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(GradebookError, match=said) as error, Gradebook(where).writing():
        pass
    assert "secret" not in str(error.value) and "\nTry: " in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_the_file_is_its_owner_s_alone(tmp_path):
    with Gradebook(tmp_path / "grades.db").writing():
        assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


def test_sqlite_is_set_to_lose_nothing(tmp_path):
    book = Gradebook(tmp_path / "grades.db")
    with book.writing():
        found = [book._read(sa.text(f"PRAGMA {name}"))[0][name]
                 for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]
    assert set(GUARDS) == {"sqlite", "postgresql"}


# --- kill -9 --------------------------------------------------------------------------------------------------------
ROWS = 6
PROGRAM = f"""
from minidl.judge.gradebook import Gradebook
from tests.judge_class import row, submission
FILES = ("judge/gradebook.py", "sqlalchemy/engine/base.py", "sqlalchemy/engine/default.py")

def live(start_counting):
    count = start_counting()
    book = Gradebook(sys.argv[1])
    with book.writing():
        os.write(1, b"begun\\n")
        run = book.start_run("week 1", 7, "L3", {{}})
        book.add_submissions([submission()])
        for k in range({ROWS}):
            book.record(run.id, row(exercise=f"01.{{k}}", message="x" * 5000), f"task-{{k}}")
            os.write(1, b"row %d\\n" % k)
        book.end_run(run.id)
        os.write(1, b"ended\\n")
    return count[0]
"""


def look_after_a_kill(file, said):
    """Whole, nothing acknowledged is lost, nothing half; and work goes on."""
    book = Gradebook(file)
    acknowledged = sum(line.startswith("row ") for line in said)
    if not book.exists:
        assert "begun" not in said
    else:
        assert book.integrity() == []
        rows, trail = book.rows(), book.audit()
        assert acknowledged <= len(rows) <= acknowledged + 1
        assert [(one["exercise"], one["task"]) for one in trail] == [(f"01.{k}", f"task-{k}") for k in range(len(rows))]
        if "ended" in said:
            assert book.runs()[0].ended
    with a_run(book) as run:
        book.record(run.id, row("grace"), "task-of-grace")
    assert "grace" in {one.student for one in book.rows()} and book.integrity() == []
    return acknowledged


def clear(file):
    for one in file.parent.iterdir():
        one.unlink()


def kill_at(file, points):
    """Kill a writer at so many lines of Python; how many rows it had acknowledged, each time."""
    with mortal.victims(PROGRAM, file) as victims:
        lines = victims.lines()
        seen = []
        for limit in mortal.spread(points, lines):
            clear(file)
            killed, said = victims.run(limit)
            assert killed
            seen.append(look_after_a_kill(file, said))
    return seen


@pytest.mark.skipif(not mortal.possible, reason="needs fork")
@pytest.mark.parametrize("points", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_while_it_is_written_loses_no_acknowledged_row(tmp_path, points):
    folder = tmp_path / "book"
    folder.mkdir()
    seen = kill_at(folder / "grades.db", points)
    assert seen == sorted(seen) and set(seen) == set(range(ROWS + 1))         # the kills were everywhere


ENDLESS = """
import sys
from minidl.judge.gradebook import Gradebook
from tests.judge_class import row
book = Gradebook(sys.argv[1])
with book.writing():
    run = book.start_run("week 1", 7, "L3", {})
    for k in range(100_000):
        book.record(run.id, row(exercise=f"01.{k}", message="x" * 3000), f"task-{k}")
        print(k, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("times", [pytest.param(3, marks=pytest.mark.judge), pytest.param(40, marks=pytest.mark.slow)])
def test_kill_9_at_random_moments_loses_no_acknowledged_row(where, times):
    chance, kept = random.Random(1), 0
    for _ in range(times):
        with subprocess.Popen([sys.executable, "-c", ENDLESS, where], stdout=subprocess.PIPE, text=True,
                              cwd=ROOT) as one:
            one.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            one.send_signal(signal.SIGKILL)
            acknowledged = 1 + sum(1 for line in one.stdout if line.endswith("\n"))
        book = Gradebook(where)
        for wait in (0, 0.1, 0.5, 2):
            time.sleep(wait)
            with contextlib.suppress(BusyError), book.writing():
                break
        (last,) = book.runs()[-1:]
        trail = book.rows(run=last.id)
        assert acknowledged <= len(trail) <= acknowledged + 1
        assert book.integrity() == []
        kept += len(trail)
    assert len(book.audit()) == kept


def test_a_row_replaced_keeps_its_key(book):
    with a_run(book) as run:
        book.record(run.id, row(), "a")
        book.record(run.id, replace(row(), digest="other"), "b")
    assert [one.digest for one in book.rows()] == ["digest-of-ada", "other"]
