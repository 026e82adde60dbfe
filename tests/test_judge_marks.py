"""What counts, and how it is shown: lateness, attempts, CSV that runs nothing, pages that hold nothing but words."""
import csv
import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

pytest.importorskip("sqlalchemy")

from minidl.errors import ArgumentError, JudgeError  # noqa: E402
from minidl.grading import find  # noqa: E402
from minidl.judge import feedback, report  # noqa: E402
from minidl.judge.deadlines import LatePolicy  # noqa: E402
from minidl.judge.export import FORMULA, defused, export  # noqa: E402
from minidl.judge.gradebook import Gradebook  # noqa: E402
from minidl.judge.marks import assignment_of, standings  # noqa: E402
from minidl.judge.release import Assignment  # noqa: E402
from tests.judge_class import START, row, submission  # noqa: E402

IDS = {"01.1a": 2, "01.1b": 2, "01.3": 3}
HOUR = timedelta(hours=1)
ATTACKS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><svg onload=alert(1)>", "&lt;b&gt;",
           "';alert(1)//", "{{7*7}}", "<!--", "]]>", "javascript:alert(1)", "a\u202eb", "\x00<b>"]


def assignment(**more):
    """An assignment that is due one hour after the first submission."""
    return Assignment(**dict(name="week 1", exercises=IDS, due=START + HOUR, late=LatePolicy(percent=10)) | more)


@pytest.fixture
def book(tmp_path):
    """An empty gradebook."""
    return Gradebook(tmp_path / "grades.db")


def fill(book, attempts, plan=None):
    """Record attempts: (student, digest, hours after the start, {exercise: points out of 2} or a list of Rows)."""
    plan = plan or assignment()
    with book.writing():
        run = book.start_run(plan.name, 7, "L3", {}, settings=plan.as_dict())
        for k, (student, digest, hours, earned) in enumerate(attempts):
            book.add_submissions([submission(student, digest, received=START + hours * HOUR)])
            if isinstance(earned, dict):
                earned = [row(exercise=id, points=p, verdict="ok" if p == 2 else "wrong") for id, p in earned.items()]
            rows = [replace(one, student=student, digest=digest) for one in earned]
            for j, one in enumerate(rows):
                book.record(run.id, one, f"task-{k}-{j}")
        book.end_run(run.id)
    return plan


# --- what counts ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("counts", "points"), [("best", 2 * 0.9), ("last", 0), ("in-time", 1)])
def test_the_assignment_says_which_attempt_counts(book, counts, points):
    plan = fill(book, [("ada", "a", 0, {"01.1a": 1.0}), ("ada", "b", 2, {"01.1a": 2.0}), ("ada", "c", 3, {"01.1a": 0})
                       ], assignment(counts=counts))
    (one,) = standings(book, plan)
    assert one.marks[0].points == points and one.marks[0].attempts == 3
    assert one.points == points and one.out_of == 7 and one.marks[1].row is None


def test_lateness_costs_what_the_policy_says_and_extensions_are_kept(book):
    plan = fill(book, [("ada", "a", 30, {"01.1a": 2.0, "01.1b": 2.0}), ("bert", "b", 30, {"01.1a": 2.0})],
                assignment(extensions={"bert": START + 31 * HOUR}))
    ada, bert = standings(book, plan)
    assert ada.points == 2 * 2 * 0.8 and ada.late == ["1 day 5 hours late: 20 % off."]
    assert bert.points == 2 and bert.late == []


def test_a_due_date_can_be_moved_after_grading(book):
    plan = fill(book, [("ada", "a", 30, {"01.1a": 2.0})])
    assert standings(book, plan)[0].points == 1.6
    assert standings(book, replace(plan, due=START + 48 * HOUR))[0].points == 2
    assert standings(book, replace(plan, exercises={"01.1a": 10}))[0].points == 8


def test_the_assignment_is_kept_with_the_gradebook(book):
    plan = fill(book, [("ada", "a", 0, {"01.1a": 2.0})])
    assert assignment_of(book) == plan == assignment_of(book, "week 1")
    fill(book, [], assignment(name="week 2"))
    with pytest.raises(ArgumentError, match="(?s)Which assignment.*week 1, week 2"):
        assignment_of(book)


def test_only_this_assignment_s_rows_count(book):
    plan = fill(book, [("ada", "a", 0, {"01.1a": 2.0})])
    other = fill(book, [("bert", "b", 0, {"01.3": 2.0})], assignment(name="week 2"))
    assert [one.student for one in standings(book, plan)] == ["ada"]
    assert [one.student for one in standings(book, other)] == ["bert"]


# --- CSV ------------------------------------------------------------------------------------------------------------
def table(text):
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


@pytest.mark.parametrize("kind", ["csv", "moodle", "canvas"])
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_no_cell_begins_like_a_formula(book, kind, start):
    nasty = start + "HYPERLINK(\"http://x\",\"a\")\",\r\n=1+1"
    plan = fill(book, [(nasty, "a", 0, {"01.1a": 2.0}), ("ada", "b", 0, {})], assignment(name=nasty))
    text = export(standings(book, plan), plan, kind)
    cells = [cell for line in table(text) for cell in line]
    assert not [cell for cell in cells if cell.startswith(FORMULA)]
    assert f"'{nasty}" in cells                        # nothing is lost but the danger
    assert len({len(line) for line in table(text)}) == 1


def test_numbers_stay_numbers():
    assert [defused(x) for x in (2, 2.0, 1 / 3, 0.1 + 0.2, 1e6, "2")] == ["2", "2", "0.3333", "0.3", "1000000", "2"]


def test_a_spreadsheet_gets_a_column_for_each_exercise(book):
    failed = row(exercise="01.3", verdict="grader-error", points=0.0)
    plan = fill(book, [("zoë", "a", 30, {"01.1a": 2.0}), ("ada", "b", 0, [failed])])
    text = export(standings(book, plan), plan)
    assert text.startswith("\ufeff") and table(text) == [
        ["student", "name", "01.1a", "01.1b", "01.3", "points", "out of", "late", "judge failed"],
        ["ada", "Ada", "0", "0", "0", "0", "7", "", "yes"],
        ["zoë", "Zoë", "1.6", "0", "0", "1.6", "7", "1 day 5 hours late: 20 % off.", ""]]


def test_moodle_finds_its_participants(book):
    plan = fill(book, [("4711", "a", 0, {"01.1a": 2.0})])
    head, line = table(export(standings(book, plan), plan, "moodle"))
    assert head == ["Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)", "Feedback comments"]
    assert line == ["Participant 4711", "4711", "2", "7", "", "01.1a: 2 of 2; 01.1b: 0 of 2; 01.3: 0 of 3."]


def test_canvas_gets_its_five_columns_and_the_points(book):
    plan = fill(book, [("4711", "a", 0, {"01.1a": 2.0}), ("ada", "b", 0, {})])
    fill(book, [("ada", "b", 0, {"01.1a": 0})])
    lines = table(export(standings(book, plan), plan, "canvas"))
    assert lines == [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "week 1"],
                     ["Points Possible", "", "", "", "", "7"], ["4711", "4711", "", "", "", "2"],
                     ["Ada", "", "", "ada", "", "0"]]


# --- pages ----------------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    """What a browser would see: tags, attributes, words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data):
        self.words.append(data)


KNOWN = set("html head meta title style body main h1 h2 p bdi div i ol li span footer".split())


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_page_comes_alive(book, attack, tmp_path):
    rows = [row(exercise="01.1a", verdict="wrong", points=0.0, message=attack, detail=attack),
            row(exercise="01.3", verdict="rejected-file", points=0.0, message=attack)]
    plan = fill(book, [(attack, "a", 30, rows)], assignment(name=f"week {attack}"))
    (one,) = standings(book, plan)
    (path,) = feedback.write_feedback([one], plan, tmp_path / "pages")
    page = Page(path.read_text(encoding="utf-8"))
    plain = Page(feedback.page(replace(one, name="Ada"), replace(plan, name="week")))
    assert set(page.tags) <= KNOWN and page.tags == plain.tags
    assert {name for name, _ in page.attributes} <= {"lang", "charset", "http-equiv", "content", "name", "class",
                                                     "role", "aria-label", "aria-hidden", "style"}
    assert path.parent == tmp_path / "pages" and re.fullmatch(r"[\w-]+\.html", path.name)
    assert "default-src 'none'" in path.read_text(encoding="utf-8")
    assert one.name in page.words


def test_a_page_says_what_teachers_wrote_and_nothing_else(book):
    message = find("01.1a").mistakes[0].message
    rows = [row(exercise="01.1a", verdict="wrong", points=0.0, message=message, passed=1, cases=5, detail="SECRET 42"),
            row(exercise="01.1b", message="Right.")]
    plan = fill(book, [("ada", "a", 0, rows)])
    words = " ".join(Page(feedback.page(standings(book, plan)[0], plan)).words)
    assert message in words and "SECRET" not in words and "1 of 5 hidden cases right" in words
    assert "01.1a " + find("01.1a").title in words and "not handed in" in words and "2 of 7 points" in words
    assert "seed" not in words and "digest" not in words


def test_every_verdict_has_its_words(book):
    from minidl.judge.rows import VERDICTS
    assert set(feedback.SAID) == set(VERDICTS)
    assert len({said for _, said in feedback.SAID.values()}) == len(VERDICTS)
    blanks = [row(exercise="01.1a", verdict="wrong", points=0.0, message="Not attempted."),
              row(exercise="01.1b", verdict="wrong", points=0.0, message="Not attempted. Is a `return` missing?")]
    plan = fill(book, [("ada", "a", 0, blanks)])
    text = feedback.page(standings(book, plan)[0], plan)
    assert text.count("not attempted") == 2 and "Not attempted." not in text and "Is a `return` missing?" in text


def test_names_of_pages_are_no_paths_and_differ():
    students = ["ada", "ADA", "a/da", "a da", "../ada", "", ".", "con", "ada\\..", "李", "王", "a" * 300]
    names = [feedback.file_name(one) for one in students]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{8,50}", name) and name[0] != "-" for name in names)


# --- item analysis --------------------------------------------------------------------------------------------------
def a_class_of(book):
    """Ten students: the first is right everywhere, the next make a mistake by name, the last leave it blank."""
    named = [mistake.message for mistake in find("01.1a").mistakes]
    people = []
    for k in range(10):
        first = row(exercise="01.1a", seconds=k) if k < 4 else row(
            exercise="01.1a", verdict="wrong", points=0.0, seconds=k,
            message=named[0] if k < 6 else f"Perhaps this: {named[1]}" if k < 7 else "Not attempted.")
        second = row(exercise="01.1b", verdict="timeout" if k == 9 else "ok", points=2.0 * (k < 5))
        people.append((f"s{k}", f"d{k}", 0, [first, second]))
    people.append(("s0", "again", 0.5, [row(exercise="01.1a", verdict="wrong", points=0.0, message=named[1])]))
    return fill(book, people), named


def test_the_analysis_counts_what_came(book):
    plan, named = a_class_of(book)
    analysis = report.analyse(book, plan)
    first, second, third = analysis.items
    assert (first.students, first.right, first.blank, first.named) == (10, 4, 3, 3)
    assert (first.share, first.attempts) == (0.4, 1.1)
    assert first.mistakes == {named[0]: 2, named[1]: 2}              # s0 made the second one, and mended it
    assert first.verdicts == {"ok": 4, "wrong": 6} and second.verdicts == {"ok": 9, "timeout": 1}
    assert first.seconds[1] == 9 and first.fits == pytest.approx(0.816, abs=0.01) == second.fits
    assert third.students == 0 and third.fits is None
    assert report.parts_of(first) == (4, 3, 0, 0, 3) and sum(report.parts_of(second)) == 10
    text = str(analysis)
    assert "4 of 10" in text and f"  2  {named[0]}" in text and "nothing handed in" in text and "1 timeout" in text
    assert json.loads(json.dumps(analysis.as_dict()))["items"][0]["named"] == 3


def test_the_analysis_tells_of_copies_notes_and_failures(book):
    plan = fill(book, [("ada", "same", 0, {"01.1a": 2.0}), ("bert", "same", 0, {"01.1a": 2.0}),
                       ("cleo", "blank", 0, {"01.1a": 0}), ("dora", "blank", 0, {"01.1a": 0}),
                       ("emil", "e", 0, [row(exercise="01.1a", verdict="grader-error", points=0.0, detail="a bolt")])])
    with book.writing():
        book.add_submissions([replace(submission("ada", "same"), note="Looks like another name.")])
    analysis = report.analyse(book, plan)
    assert analysis.same == [["ada", "bert"]] and analysis.failed == [("emil", "01.1a", "a bolt")]
    assert analysis.notes == {"ada": "Looks like another name."}
    for line in ("same, byte for byte: ada, bert", "ada: Looks like", "failed on 01.1a of emil: a bolt"):
        assert line in str(analysis)


def test_nobody_handed_in_anything(book):
    plan = fill(book, [])
    analysis = report.analyse(book, plan)
    assert analysis.students == 0 == analysis.mean and "0 students" in str(analysis)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_plot_shows_every_exercise(book, tmp_path, kind):
    pytest.importorskip("matplotlib")
    plan, _ = a_class_of(book)
    report.analyse(book, plan).plot(tmp_path / f"report.{kind}")
    data = (tmp_path / f"report.{kind}").read_bytes()
    assert data.startswith(b"\x89PNG" if kind == "png" else b"<?xml") and len(data) > 5000


def test_without_matplotlib_the_plot_says_how_to_get_it(book, tmp_path, monkeypatch):
    import sys
    plan, _ = a_class_of(book)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(JudgeError, match=r"(?s)needs matplotlib.*pip install .minidl\[judge\]"):
        report.analyse(book, plan).plot(tmp_path / "report.png")
