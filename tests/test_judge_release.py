"""What goes out to a class: the cut notebooks, the README, the assignment file; and when work is late."""
import json
import shutil
import tomllib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.errors import ArgumentError
from minidl.grading import all_exercises, sheets
from minidl.grading.checking import class_seed
from minidl.grading.exercise import PUBLIC_SEED
from minidl.grading.sheets import exercise_of
from minidl.judge.deadlines import (
    Attempt,
    LatePolicy,
    due_date,
    judge_lateness,
    spoken,
    time_zone,
    which_counts,
)
from minidl.judge.release import Assignment, Given, _quoted, assignment_file, chosen, cut, readme, release
from tests.test_exercises import EXERCISES, leak

DUE = datetime(2026, 12, 4, 22, 59, tzinfo=UTC)
POLICY = LatePolicy(grace_minutes=10, percent=10, per="day", cut_off_hours=72)
CHAPTERS = sorted({e.chapter for e in EXERCISES})


def after(**length):
    return DUE + timedelta(**length)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "all of it"
    return folder, release(folder, CHAPTERS, due="2026-12-04 23:59", zone="Europe/Berlin", late=POLICY, class_id="7b")


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_released_folder_holds_no_solution_no_seed_and_no_case(everything):
    folder, _ = everything
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".ipynb", ".md"} and len(files) == len(CHAPTERS) + 1
    for path in files:
        text = "\n".join(source for _, _, source in sheets.cells(path)) if path.suffix == ".ipynb" else path.read_text()
        assert "SOLUTION" not in text and "solutions/" not in text
        for exercise in EXERCISES:
            assert leak(exercise, text) is None, (path.name, exercise.id)


def test_the_assignment_file_lies_outside_and_gives_nothing_away(everything):
    folder, _ = everything
    file = assignment_file(folder)
    assert folder not in file.parents and file.is_file()
    assert all(leak(exercise, file.read_text()) is None for exercise in EXERCISES)


def test_the_whole_chapter_is_cut_to_itself(everything):
    folder, assignment = everything
    assert list(assignment.exercises) == [e.id for e in all_exercises()]
    for chapter in CHAPTERS:
        (path,) = folder.glob(f"{chapter}_*.ipynb")
        given, out = sheets.cells(sheets.sheet("exercises", chapter)), sheets.cells(path)
        (own,) = [cell for cell in out if cell[0] == "class"]
        out.remove(own)
        assert own[2].endswith('os.environ["MINIDL_CLASS"] = "7b"')
        assert [cell[:2] for cell in out] == [cell[:2] for cell in given]
        assert [cell for cell in out if cell[1] == "code"] == [cell for cell in given if cell[1] == "code"]


def test_a_notebook_is_cut_to_the_chosen_exercises(tmp_path):
    release(tmp_path / "week", {"01.2c": 5, "01.4b": 0.5})
    cells = {name: text for name, _, text in sheets.cells(tmp_path / "week" / "01_tensors.ipynb")}
    assert list(cells) == ["title", "how", "begin", "about-01-2c", "answer-01-2c", "check-01-2c", "yours-intro",
                           "yours-and-ours", "puzzles", "about-01-4b", "answer-01-4b", "check-01-4b", "done",
                           "see-progress"]
    assert "2 checks, 5.5 points · about 18 minutes" in cells["title"]
    assert "· 5 points ·" in cells["about-01-2c"] and "· 0.5 points ·" in cells["about-01-4b"]
    assert "../notebooks" not in "".join(cells.values())
    raw = json.loads((tmp_path / "week" / "01_tensors.ipynb").read_text())
    points = {c["id"]: c["metadata"]["nbgrader"].get("points") for c in raw["cells"] if c["id"].startswith("check-")}
    assert points == {"check-01-2c": 5, "check-01-4b": 0.5}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
def test_every_exercise_stands_alone(exercise, monkeypatch, tmp_path, capsys):
    """Cut to one exercise, a notebook still runs to its end."""
    monkeypatch.setenv("MINIDL_PROGRESS", "off")
    nb = cut(sheets.sheet("exercises", exercise.chapter), Assignment("one", {exercise.id: 1}))
    space = {"__name__": "__main__"}
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"<{cell['id']}>", "exec"), space)
    assert capsys.readouterr().out.count("not yet: your turn") == 1
    kept = [exercise_of(cell["id"]) for cell in nb["cells"]]
    assert [id for id in kept if id] == [exercise.id]


def test_what_is_common_to_all_stays_and_what_speaks_of_others_goes():
    def ids(chapter, chosen):
        assignment = Assignment("one", dict.fromkeys(chosen, 1))
        return [cell["id"] for cell in cut(sheets.sheet("exercises", chapter), assignment)["cells"]]

    assert ids("10", ["10.2"]) == ["title", "how", "begin", "tools-intro", "tools", "about-10-2", "answer-10-2",
                                   "check-10-2", "done", "see-progress"]
    assert "article" in ids("10", ["10.1d"]) and "yours-and-ours" not in ids("01", ["01.1a"])
    assert {"loops", "see-yours", "yours-intro"} & set(ids("02", ["02.1"])) == set()


def test_a_class_has_visible_cases_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIDL_CLASS", raising=False)
    assert class_seed() == PUBLIC_SEED
    seeds = set()
    for name in ("7b", "7c", 'a "quoted" one'):
        nb = cut(sheets.sheet("exercises", "01"), Assignment("one", {"01.1a": 2}, class_id=name))
        (cell,) = [cell for cell in nb["cells"] if cell["id"] == "class"]
        monkeypatch.setenv("MINIDL_CLASS", "")
        exec("".join(cell["source"]), {})
        seeds.add(class_seed())
    assert len(seeds | {PUBLIC_SEED}) == 4


def test_a_notebook_that_somebody_has_worked_in_is_not_released(tmp_path, monkeypatch):
    (tmp_path / "exercises").mkdir()
    path = tmp_path / "exercises" / "01_tensors.ipynb"
    shutil.copy(sheets.sheet("exercises", "01"), path)
    monkeypatch.setattr(sheets, "ROOT", tmp_path)
    release(tmp_path / "first", ["01.1"])
    path.write_text(path.read_text().replace('raise NotImplementedError(\\"01.1a: your turn\\")', "return ()"))
    with pytest.raises(ArgumentError, match="worked in this notebook(?s:.*)make exercises"):
        release(tmp_path / "second", ["01.1"])
    assert not (tmp_path / "second").exists() and not assignment_file(tmp_path / "second").exists()


def test_nothing_is_written_over(tmp_path):
    release(tmp_path / "week", ["01.1"])
    with pytest.raises(ArgumentError, match="nothing is written over"):
        release(tmp_path / "week", ["01.1"])
    shutil.rmtree(tmp_path / "week")
    with pytest.raises(ArgumentError, match=r"week\.assignment\.toml"):
        release(tmp_path / "week", ["01.1"])


def test_exercises_are_chosen_by_chapter_number_or_id():
    assert chosen("09.1 01.4l,09.1a") == ["01.4l", "09.1a", "09.1b"]
    assert set(chosen(["04"])) == {e.id for e in EXERCISES if e.chapter == "04"}
    with pytest.raises(ArgumentError, match="There is no exercise '09.77'"):
        chosen("09.77")


def test_the_readme_says_when_and_how_much(everything):
    folder, assignment = everything
    text = (folder / "README.md").read_text()
    assert text == readme(assignment, sorted(path.name for path in folder.glob("*.ipynb")))
    assert "Friday 2026-12-04 23:59 in Europe/Berlin, which is Friday 2026-12-04 22:59 UTC" in text
    assert f"| {assignment.out_of:g} |" in text and "10 % of the points go for every day begun" in text


# --- the assignment file ----------------------------------------------------------------------------------------------


def test_an_assignment_comes_back_from_its_file(everything, tmp_path):
    folder, assignment = everything
    assert Assignment.load(assignment_file(folder)) == assignment
    assignment.save(tmp_path / "it.json")
    assert Assignment.load(tmp_path / "it.json") == assignment


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_toml(text):
    assert tomllib.loads(f"x = {_quoted(text)}\ny = {_quoted(text, long=True)}") == {"x": text, "y": text}


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_survives_the_file(tmp_path_factory, name, source):
    path = tmp_path_factory.mktemp("names") / "a.toml"
    assignment = Assignment(name, {"01.1a": 1.5}, DUE, "America/New_York", POLICY, "last", name,
                            {name: after(days=2)}, (Given("n.ipynb", name, source),))
    assignment.save(path)
    assert Assignment.load(path) == assignment


def test_the_teacher_may_edit_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('name = "x"\nzone = "Europe/Berlin"\ndue = 2026-07-03\n[exercises]\n"01.1a" = 2\n'
                    '[extensions]\nstudent01 = 2026-07-10T12:00:00\n')
    assignment = Assignment.load(path)
    assert assignment.due_for("student02") == datetime(2026, 7, 3, 21, 59, 59, tzinfo=UTC)
    assert assignment.due_for("student01") == datetime(2026, 7, 10, 10, tzinfo=UTC)


@pytest.mark.parametrize(("text", "said"), [
    ('name = "x"', "needed"),
    ('name = "x"\n[exercises]', "no exercises"),
    ('name = "x"\n[exercises]\n"01.99" = 2', "no exercise '01.99'"),
    ('name = "x"\n[exercises]\n"01.1a" = "two"', "Points must be a number"),
    ('name = "x"\n[exercises]\n"01.1a" = nan', "Points must be a number"),
    ('name = "x"\ncolour = 1\n[exercises]\n"01.1a" = 2', "colour"),
    ('name = "x"\nformat = 2\n[exercises]\n"01.1a" = 2', "not an assignment of this version"),
    ('name = "x"\nzone = "Mars/Base"\n[exercises]\n"01.1a" = 2', "no such time zone"),
    ('name = "x"\ndue = "soon"\n[exercises]\n"01.1a" = 2', "no date"),
    ('name = "x"\ncounts = "first"\n[exercises]\n"01.1a" = 2', "which attempt"),
    ('name = "x"\n[exercises]\n"01.1a" = 2\n[late]\nper = "week"', "cannot be kept"),
    ('name = "x"\n[exercises]\n"01.1a" = 2\n[late]\nperiod = "day"', "wrong kind"),
    ('name = "x"\nlate = 3\n[exercises]\n"01.1a" = 2', "wrong kind"),
    ("name = ", "cannot be read"),
])
def test_what_is_wrong_with_an_assignment_file_is_said(tmp_path, text, said):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=said):
        Assignment.load(path)


# --- late -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "factor", "text"), [
    (dict(days=-3), 1, ""),
    (dict(), 1, ""),
    (dict(milliseconds=900), 1, ""),                       # clocks of file systems and zips are that rough
    (dict(minutes=10), 1, ""),
    (dict(minutes=10, seconds=1), 0.9, "10 minutes 1 second late: 10 % off."),
    (dict(days=1), 0.9, "1 day late: 10 % off."),
    (dict(days=1, seconds=1), 0.8, "1 day 1 second late: 20 % off."),
    (dict(hours=72), 0.7, "3 days late: 30 % off."),
    (dict(hours=72, seconds=1), 0, "3 days 1 second late, after the last hour at which anything counts."),
])
def test_what_it_costs_to_be_late(length, factor, text):
    late = judge_lateness(after(**length), DUE, POLICY)
    assert (late.factor, late.text, late.late) == (pytest.approx(factor), text, bool(text))


def test_lateness_by_the_hour_ends_at_nothing():
    policy = LatePolicy(percent=40, per="hour")
    assert [judge_lateness(after(minutes=m), DUE, policy).factor for m in (0, 1, 60, 61, 121, 999)] == \
        pytest.approx([1, .6, .6, .2, 0, 0])


def test_an_unknown_time_is_in_time_unless_it_is_marked():
    assert judge_lateness(None, DUE, POLICY).factor == 1
    marked = judge_lateness(None, DUE, POLICY, marked_late=True)
    assert marked.factor == 0.9 and marked.late and "learning platform" in marked.text
    assert judge_lateness(after(days=9), None, POLICY).factor == 1


@pytest.mark.parametrize("text", ["2026-12-04", "20261204", "2026-W49-5", "2026W495", " 2026-12-04 "])
def test_a_day_ends_at_its_end_however_it_is_written(text):
    assert due_date(text).isoformat() == "2026-12-04T23:59:59+00:00"


def test_two_times_are_compared_over_a_change_of_the_clocks():
    """In Berlin, 2026-10-25 has 25 hours: from 01:30 to 03:30 it takes three."""
    zone = "Europe/Berlin"
    due, came = due_date("2026-10-25 01:30", zone), due_date("2026-10-25 03:30", zone)
    assert judge_lateness(came, due).seconds == 3 * 3600
    local = came.astimezone(time_zone(zone))
    assert judge_lateness(local, due.astimezone(local.tzinfo)).seconds == 3 * 3600
    assert due_date("2026-10-25 02:30", zone).hour == 1            # the hour that comes twice: the later one
    assert due_date("2026-03-29 02:30", zone).isoformat() == "2026-03-29T01:30:00+00:00"       # there is no such hour
    assert spoken(came) == "Sunday 2026-10-25 02:30 UTC"


def test_a_time_without_a_zone_is_an_error():
    with pytest.raises(ArgumentError, match="any of 24 moments"):
        judge_lateness(datetime(2026, 12, 4), DUE)


ATTEMPTS = [Attempt(after(days=-2), 5), Attempt(after(hours=-1), 3), Attempt(after(hours=1), 6),
            Attempt(after(hours=2), 4), Attempt(after(days=4), 9)]


@pytest.mark.parametrize(("counts", "place"), [("best", 2), ("last", 3), ("in-time", 1)])
def test_which_attempt_counts(counts, place):
    assert which_counts(ATTEMPTS, DUE, POLICY, counts) == place


def test_which_attempt_counts_in_odd_cases():
    assert which_counts([]) is None
    cut_off = [Attempt(after(days=5), 1), Attempt(after(days=4), 1)]
    assert [which_counts(cut_off, DUE, POLICY, counts) for counts in ("best", "last", "in-time")] == [1, 0, 0]
    same = [Attempt(DUE, 2), Attempt(DUE, 2), Attempt(None, 2)]
    assert [which_counts(same, DUE, POLICY, counts) for counts in ("best", "last", "in-time")] == [2, 1, 1]
    with pytest.raises(ArgumentError, match="'first'"):
        which_counts(ATTEMPTS, DUE, POLICY, "first")


moments = st.one_of(st.none(), st.integers(-10**6, 10**6).map(lambda s: after(seconds=s)))
attempts = st.lists(st.builds(Attempt, moments, st.integers(0, 9).map(float), st.booleans()), min_size=1, max_size=6)


@given(attempts, st.builds(Attempt, moments, st.integers(0, 9).map(float), st.booleans()))
def test_under_best_another_attempt_never_costs_anything(tries, more):
    def worth(some):
        counting = some[which_counts(some, DUE, POLICY, "best")]
        return counting.points * judge_lateness(counting.received, DUE, POLICY, counting.marked_late).factor

    assert worth([*tries, more]) >= worth(tries)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_later_is_never_better(one, other):
    first, second = sorted((one, other))
    assert judge_lateness(after(seconds=first), DUE, POLICY).factor >= \
        judge_lateness(after(seconds=second), DUE, POLICY).factor
