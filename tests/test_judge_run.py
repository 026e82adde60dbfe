"""A run of the judge: one row for each task, whatever dies on the way; alike for all who do the work."""
import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from minidl.errors import ArgumentError, BusyError, JudgeError, RefusedError  # noqa: E402
from minidl.judge import crew, run  # noqa: E402
from minidl.judge.gradebook import Gradebook  # noqa: E402
from tests import judge_class  # noqa: E402
from tests.judge_class import EXERCISES, Assignment, a_class, spec_of, submission  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
HAS_DASK = all(importlib.util.find_spec(name) for name in ("distributed", "cryptography"))
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="needs distributed and cryptography")
needs_kill = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
DASK = dict(workers=2, cluster="dask")
CREWS = [dict(workers=1), dict(workers=2, cluster="processes"),
         pytest.param(DASK, marks=[needs_dask, pytest.mark.judge])]
# Dask's own threads and sockets are closed a moment after the cluster.
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning",
                                   "ignore::DeprecationWarning")


@pytest.fixture
def book(tmp_path):
    """An empty gradebook."""
    return Gradebook(tmp_path / "grades.db")


def grade_all(submissions, book, assignment=None, **more):
    """A run with the stand-in for a grader."""
    settings = dict(level="L3", seed=7, grade=judge_class.grade, spec_of=spec_of) | more
    return run.grade_all(submissions, assignment or Assignment(), book, **settings)


def seen(book):
    """What is in a gradebook, without what depends on when and where."""
    return [replace(row, seconds=0.0) for row in book.rows()]


def one_row_each(book, count):
    """As many rows as tasks, and as many in the trail."""
    trail = book.audit()
    return len(book.rows()) == count == len(trail) == len({(one["run"], one["task"]) for one in trail})


# --- what a run does ------------------------------------------------------------------------------------------------
@quiet
@pytest.mark.parametrize("crew", CREWS, ids=["serial", "processes", "dask"])
def test_every_task_gets_one_row_whoever_does_the_work(book, crew, tmp_path):
    people = [*a_class(5), submission("bert", fault="The file is not a notebook.")]
    summary = grade_all(people, book, **crew)
    assert one_row_each(book, 6 * len(EXERCISES))
    assert summary.tasks == summary.graded == 24 and summary.kept == summary.deaths == 0
    assert summary.verdicts["rejected-file"] == 4
    serial = Gradebook(tmp_path / "serial.db")
    grade_all(people, serial)
    assert seen(book) == seen(serial)
    assert {one.student for one in book.submissions().values()} == {one.student for one in people}
    assert book.run(summary.run).ended and book.run(summary.run).versions == run.versions()


def test_points_are_the_assignment_s(book):
    grade_all(a_class(4), book, Assignment(exercises={"01.2": 5, "01.3": 0.5}))
    assert {(row.verdict, row.points, row.out_of) for row in book.rows() if row.exercise == "01.2"} == {
        ("ok", 5.0, 5.0), ("wrong", 0.0, 5.0), ("timeout", 0.0, 5.0)}
    assert {row.out_of for row in book.rows() if row.exercise == "01.3"} == {0.5}
    half = judge_class.row(points=1.0, out_of=2.0)
    assert run.worth(half, 5).points == 2.5 and run.worth(judge_class.row(points=0.0, out_of=0.0), 3).points == 3


def test_a_run_goes_on_where_it_stopped(book):
    first = grade_all(a_class(2), book)
    again = grade_all(a_class(2), book)                                        # same seed: the same run
    assert (again.run, again.kept, again.graded) == (first.run, 8, 0)
    more = grade_all(a_class(3), book, seed=None, run=first.run)               # by its name
    assert (more.run, more.kept, more.graded) == (first.run, 8, 4)
    assert one_row_each(book, 12)


def test_a_new_seed_grades_all_anew(book):
    first = grade_all(a_class(2), book)
    second = grade_all(a_class(2), book, seed=None)
    assert second.run != first.run and second.graded == 8
    assert book.run(second.run).seed != 7
    assert len(book.rows()) == 8 and len(book.audit()) == 16


def test_seeds_are_secret_and_fresh(book):
    ids = [grade_all([], book, seed=None).run for _ in range(3)]
    assert len({book.run(id).seed for id in ids}) == 3
    assert max(book.run(id).seed for id in ids) > 2**32


def test_a_new_version_of_a_spec_is_graded_again_in_the_same_run(book):
    def other(exercise):
        return "newer" if exercise == "01.2" else spec_of(exercise)

    def newer(*arguments):
        row = judge_class.grade(*arguments)
        return replace(row, spec=other(row.exercise))

    first = grade_all(a_class(2), book)
    second = grade_all(a_class(2), book, spec_of=other, grade=newer)
    assert (second.run, second.kept, second.graded) == (first.run, 6, 2)
    assert len(book.rows()) == 8 and len(book.audit()) == 10


def test_the_same_file_twice_is_one_task_and_two_files_are_two(book):
    racing = [submission(digest="a"), submission(digest="b"), submission(digest="a", path="again.ipynb"),
              submission("bert", digest="a")]
    grade_all(racing, book)
    assert one_row_each(book, 3 * len(EXERCISES))
    assert {(row.student, row.digest) for row in book.rows()} == {("ada", "a"), ("ada", "b"), ("bert", "a")}


@pytest.mark.parametrize(("more", "about"), [
    (dict(path="01_arrays.ipynb"), ["01.2"]), (dict(path="x/02_gradients.ipynb"), ["02.1a"]),
    (dict(path="work.ipynb", cells=['check("02.1a", f)']), ["02.1a"]), (dict(path="work.ipynb"), ["01.2", "02.1a"]),
    (dict(path="work.ipynb", cells=["check('01.2', f)", 'check( "02.1a", g)']), ["01.2", "02.1a"])])
def test_a_notebook_of_another_chapter_misses_nothing(more, about):
    assert run.exercises_in(submission(**more), {"01.2": 1, "02.1a": 1}) == about


def test_below_l1_it_is_refused_unless_insisted(book):
    with pytest.raises(RefusedError, match="(?s)can read and change whatever you can.*L0.*\nTry: .*--insist"):
        grade_all(a_class(1), book, level="L0")
    assert not book.exists or book.rows() == []
    grade_all(a_class(1), book, level="L0", insist=True)
    assert {row.level for row in book.rows()} == {"L0"}


def test_a_second_coordinator_is_told(book, tmp_path):
    with book.writing(), pytest.raises(BusyError, match="Somebody else is writing"):
        grade_all(a_class(1), Gradebook(tmp_path / "grades.db"))


def test_a_run_cannot_go_on_as_another(book):
    first = grade_all(a_class(1), book)
    with pytest.raises(ArgumentError, match="(?s)its assignment is another.*week 1.*week 2"):
        grade_all(a_class(1), book, Assignment("week 2"), run=first.run)
    with pytest.raises(ArgumentError, match="its seed is another"):
        grade_all(a_class(1), book, run=first.run, seed=8)


@pytest.mark.parametrize("crew", CREWS[:2], ids=["serial", "processes"])
def test_what_breaks_in_the_judge_is_a_row_too(book, crew):
    grade_all([submission(), submission("bert")], book, grade=judge_class.broken_grade, **crew)
    rows = {row.student: row for row in book.rows() if row.exercise == "01.2"}
    assert (rows["ada"].verdict, rows["ada"].points) == ("grader-error", 0.0)
    assert rows["ada"].detail == "RuntimeError: a bolt fell out" and "bolt" not in rows["ada"].message
    assert rows["bert"].verdict != "grader-error" and one_row_each(book, 8)


def test_a_worker_with_other_specs_ends_the_run(book):
    with pytest.raises(JudgeError, match="another version of the exercises"):
        grade_all(a_class(1), book, spec_of=lambda exercise: "mine")
    assert book.audit() == []


def test_the_bar_moves_with_each_row(book):
    class Bar(list):
        def update(self, n):
            self.append(n)

        def close(self):
            self.append("closed")

    bar, begun = Bar(), []
    grade_all(a_class(1), book, show=lambda *facts: begun.append(facts) or bar)
    assert bar == [1, 1, 1, 1, "closed"] and begun[0][1] == 4 and begun[0][0].id == book.runs()[0].id


def test_ctrl_c_leaves_a_whole_gradebook(book):
    count = []

    def interrupted(*arguments):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return judge_class.grade(*arguments)

    with pytest.raises(KeyboardInterrupt):
        grade_all(a_class(2), book, grade=interrupted)
    assert len(book.rows()) == 3 and book.runs()[0].ended is None and book.integrity() == []
    grade_all(a_class(2), book)
    assert one_row_each(book, 8) and len(book.runs()) == 1


# --- regrade --------------------------------------------------------------------------------------------------------
def test_a_regrade_with_the_recorded_seed_sees_the_same(book):
    first = grade_all(a_class(3), book, seed=None)
    before = book.audit()
    assert run.regrade(a_class(3), Assignment(), book, first.run, grade=judge_class.grade, spec_of=spec_of) == []
    assert book.audit() == before                                              # it only looked


def test_a_regrade_lists_what_differs_and_keeps_it_if_told(book):
    def mended(submission, exercise, *rest):
        row = judge_class.grade(submission, exercise, *rest)
        return replace(row, verdict="ok", points=1.0) if (row.student, exercise) == ("student-0000", "01.2") else row

    wrong = next(seed for seed in range(9) if judge_class.grade(a_class(1)[0], "01.2", seed).verdict == "wrong")
    first = grade_all(a_class(3), book, seed=wrong)
    more = dict(grade=mended, spec_of=spec_of)
    (found,) = run.regrade(a_class(3), Assignment(), book, first.run, **more)
    assert (found.before.verdict, found.after.verdict, found.what) == ("wrong", "ok", ("verdict", "points"))
    assert [row.verdict for row in book.rows() if row == found.before] == ["wrong"]
    assert len(run.regrade(a_class(3), Assignment(), book, first.run, keep=True, **more)) == 1
    assert found.after in [replace(row) for row in book.rows()]
    assert [one.kind for one in book.runs()] == ["grade", "regrade"] and len(book.audit()) == 24


def test_a_regrade_misses_what_is_gone_and_leaves_out_what_is_new(book):
    first = grade_all(a_class(2), book)
    found = run.regrade([a_class(1)[0], submission("new")], Assignment(), book, first.run, grade=judge_class.grade,
                        spec_of=spec_of)
    assert [(one.before.student, one.what) for one in found] == [("student-0001", ("missing",))] * 4


# --- workers that die -----------------------------------------------------------------------------------------------
@quiet
@needs_kill
@pytest.mark.parametrize("crew", [CREWS[1], pytest.param(DASK, marks=[needs_dask, pytest.mark.slow])],
                         ids=["processes", "dask"])
def test_three_dead_workers_are_a_grader_error_and_nobody_else_suffers(book, crew, tmp_path):
    people = [submission("killer"), *a_class(4), submission("unlucky", cells=[str(tmp_path / "died")])]
    two = Assignment(exercises=dict.fromkeys(EXERCISES[:2], 2.0))
    summary = grade_all(people, book, two, grade=judge_class.deadly_grade, **crew)
    rows = book.rows()
    assert one_row_each(book, len(people) * 2)
    assert {row.student for row in rows if row.verdict == "grader-error"} == {"killer"}
    assert all("3 workers died" in row.detail for row in rows if row.student == "killer")
    assert summary.deaths >= 3 * 2 + 1


# --- addresses ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("address", "error"), [
    ("tcp://10.0.0.1:8786", RefusedError), ("tcp://cluster:8786", RefusedError),
    ("tcp://127.0.0.1.evil:1", RefusedError),
    ("ucx://127.0.0.1:8786", JudgeError), ("inproc://x", JudgeError), ("cluster", JudgeError)])
def test_a_cluster_that_is_far_away_needs_tls(address, error):
    with pytest.raises(error, match="(?s)TLS|address.*\nTry:") as caught:
        crew.crew_for(2, address)
    assert type(caught.value) is error


@pytest.mark.parametrize("address", ["tls://far:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1"])
def test_addresses_that_are_safe(address):
    assert crew._safe(address, insist=False) == address
    assert crew._safe("tcp://cluster:8786", insist=True) == "tcp://cluster:8786"


def test_without_dask_the_work_is_done_by_processes(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with crew.crew_for(2) as found:
        assert type(found) is crew.Processes and found.slots == 2
    with pytest.raises(JudgeError, match="(?s)needs keys.*pip install"):
        crew.crew_for(2, "dask")
    assert type(crew.crew_for(1)) is crew.Serial


@quiet
@needs_dask
@pytest.mark.judge
def test_a_cluster_of_our_own_asks_for_keys():
    """Nobody else on this machine can hand it work."""
    import distributed
    with crew.crew_for(2) as found:
        assert type(found) is crew.Dask
        address = found._own.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError):
            distributed.Client("tcp" + address[3:], timeout=1)
        stranger = distributed.Security.temporary()
        with pytest.raises(OSError):
            distributed.Client(address, security=stranger, timeout=1)
        for page in ("info/main/workers.html", "json/counts.json", "metrics", "health"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{found._own.scheduler.http_server.port}/{page}", timeout=60)


@quiet
@needs_dask
@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_which_can_go_on(book, tmp_path):
    """A cluster somewhere else, here a scheduler and a worker started by hand."""
    program, address = [sys.executable, "-m", "dask"], f"tcp://127.0.0.1:{free_port()}"
    started = [subprocess.Popen([*program, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
               for words in (["scheduler", "--no-dashboard", "--host", "127.0.0.1", "--port", address.split(":")[-1]],
                             ["worker", address, "--nthreads", "2", "--no-dashboard"])]

    class Bar:
        rows = 0

        def update(self, n):
            self.rows += n
            if self.rows == 5:
                started[0].kill()

        def close(self):
            pass

    try:
        with pytest.raises(JudgeError, match="The cluster's scheduler is gone.\nTry: again with --run"):
            grade_all(a_class(20), book, cluster=address, grade=judge_class.slow_grade, show=lambda *facts: Bar())
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert 5 <= len(book.rows()) < 80 and book.runs()[0].ended is None
    assert grade_all(a_class(20), book).kept >= 5 and one_row_each(book, 80)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# --- a coordinator that dies ----------------------------------------------------------------------------------------
COORDINATOR = """
import json, sys
from tests import judge_class
from minidl.judge import run
from minidl.judge.gradebook import Gradebook

if __name__ == "__main__":
    where, students, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    ids = ("01.1a", "01.1b", "01.2", "01.3", "01.4a", "01.4b", "01.5")[:settings.pop("each", 4)]
    assignment = judge_class.Assignment(exercises=dict.fromkeys(ids, 2.0))
    summary = run.grade_all(judge_class.a_class(students), assignment, Gradebook(where), level="L3", seed=7,
                            grade=judge_class.slow_grade, spec_of=judge_class.spec_of, **settings)
    print(json.dumps(summary.as_dict()))
"""


def children(pid):
    """The processes below one that do tasks: [pid]; those that only look after others are left out."""
    psutil = pytest.importorskip("psutil")
    with contextlib.suppress(psutil.NoSuchProcess):
        return [one.pid for one in psutil.Process(pid).children(recursive=True)
                if "spawn_main" in " ".join(one.cmdline())]
    return []


class Killed:
    """A run in a process of its own, whose workers and whose coordinator are killed now and then."""

    def __init__(self, tmp_path, students, settings):
        self.program, self.file = tmp_path / "coordinator.py", tmp_path / "grades.db"
        self.program.write_text(COORDINATOR, encoding="utf-8")
        self.arguments = [str(self.file), str(students), json.dumps(settings)]
        self.book = Gradebook(self.file)

    def start(self, **more):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONWARNINGS": "ignore"}
        return subprocess.Popen([sys.executable, self.program, *self.arguments], env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, cwd=ROOT, **more)

    def rows(self):
        """How many there are; asked often, so without a detour."""
        with contextlib.suppress(sqlite3.Error), \
                contextlib.closing(sqlite3.connect(f"{self.file.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM results").fetchone()[0]
        return 0

    def wait_for(self, process, rows):
        end = time.monotonic() + 120
        while self.rows() < rows:
            assert process.poll() is None and time.monotonic() < end, process.stderr.read()
            time.sleep(0.05)

    def run(self, tasks, kills, coordinator_at, seed=0):
        """Kill `kills` workers, spread over the run, and the coordinator once; returns the summary of the last one."""
        chance, process, killed = random.Random(seed), self.start(), 0
        try:
            for k in range(1, kills + 1):
                at = k * tasks // (kills + 2)
                if coordinator_at and at >= coordinator_at:
                    self.wait_for(process, coordinator_at)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    coordinator_at = None
                    process.stdout.close(), process.stderr.close()
                    process = self.start()
                self.wait_for(process, at)
                there = children(process.pid)
                while not there:
                    time.sleep(0.05)
                    there = children(process.pid)
                os.kill(chance.choice(there), signal.SIGKILL)
                killed += 1
            said, wrong = process.communicate(timeout=300)
            assert process.returncode == 0, wrong.decode()
        finally:
            process.kill()
            process.wait()
        return json.loads(said), killed


@pytest.mark.judge
@needs_kill
def test_ctrl_c_at_a_terminal_ends_workers_too_and_leaves_a_whole_gradebook(tmp_path):
    psutil = pytest.importorskip("psutil")
    scene = Killed(tmp_path, 50, dict(workers=2, cluster="processes"))
    process = scene.start(start_new_session=True)
    scene.wait_for(process, 5)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)                      # as a terminal does it: all of them
    _, wrong = process.communicate(timeout=120)
    assert b"KeyboardInterrupt" in wrong and b"SpawnProcess" not in wrong
    assert len(workers) == 2 and not any(map(psutil.pid_exists, workers))
    assert scene.book.integrity() == [] and 5 <= scene.rows() < 200 and scene.book.runs()[0].ended is None


@pytest.mark.judge
@needs_kill
@pytest.mark.parametrize("kind", ["processes", pytest.param("dask", marks=[needs_dask, pytest.mark.slow])])
def test_killed_workers_and_a_killed_coordinator_lose_nothing(tmp_path, kind):
    scene = Killed(tmp_path, 16, dict(workers=2, cluster=kind))
    summary, killed = scene.run(64, kills=2, coordinator_at=20)
    assert killed == 2 and summary["kept"] >= 20 and summary["kept"] + summary["graded"] == summary["tasks"] == 64
    assert one_row_each(scene.book, 64) and scene.book.integrity() == []
    assert not [row for row in scene.book.rows() if row.verdict == "grader-error"]


@pytest.mark.slow
@needs_kill
@pytest.mark.parametrize("kind", ["processes", pytest.param("dask", marks=needs_dask)])
def test_4200_tasks_with_20_killed_workers_and_a_killed_coordinator(tmp_path, kind):
    scene = Killed(tmp_path, 600, dict(workers=4, cluster=kind, each=7))
    summary, killed = scene.run(4200, kills=20, coordinator_at=2000)
    assert killed == 20 and summary["kept"] + summary["graded"] == summary["tasks"] == 4200
    assert one_row_each(scene.book, 4200) and scene.book.integrity() == []
    assert not [row for row in scene.book.rows() if row.verdict == "grader-error"]
    print({"kind": kind, "rows": len(scene.book.rows()), "trail": len(scene.book.audit()), "killed": killed, **summary})
