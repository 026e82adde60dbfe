"""The judge's core: every spec there is, through the frames and through the student's process."""
import inspect
import re
from dataclasses import replace

import pytest

from minidl.grading import all_exercises, find
from minidl.judge.rows import Row
from minidl.judge.sent import answer_name, given_cells, observing, spec_version
from minidl.judge.task import _all_cases, _judged, cases_seed, grade_one, hidden_of
from tests.judging import Desk, as_text, handed_in, notebook, written
from tests.test_exercises import FORMS, HONEST, RUN, SHORTEST, checked_name, leaves, runs, single, tokens

SEED = 20
EXERCISES = all_exercises()
SOME = {"01", "05", "09"}                  # chapters whose notebooks go through a process in the unit tests
SEEDS = [SEED, pytest.param(21, marks=pytest.mark.slow)]
every_seed = pytest.mark.parametrize("seed", SEEDS)
FIRST = {e.chapter: e for e in reversed(EXERCISES)}.values()      # a sample: the first exercise of each chapter
LONG = {"02.1", "03.3", "05.2b", "07.4", "08.4", "10.4"}                  # seconds for each answer


def of_exercises(exercises, short, first=lambda e: True):
    """A mark that makes a test for each exercise: of the `short` ones, the `first` in each run of the unit tests and
    the rest in `make test-more`; the others in `make test-long`."""
    def marks(e):
        return [pytest.mark.slow] if not short(e) else [] if first(e) else [pytest.mark.more]

    return pytest.mark.parametrize("exercise", [pytest.param(e, id=e.id, marks=marks(e)) for e in exercises])


every_exercise = of_exercises(EXERCISES, lambda e: True)
every_short_exercise = of_exercises(EXERCISES, lambda e: e.id not in LONG)
first_short_exercises = of_exercises(EXERCISES, lambda e: e.id not in LONG, lambda e: e in FIRST)
a_sample = of_exercises(EXERCISES, lambda e: e in FIRST and e.id not in LONG, lambda e: e.chapter in SOME)


def judged(exercise, solution, seed=SEED):
    """The row for a function, through the frames and without a process."""
    hidden, answers = hidden_of(exercise.id, seed), []
    row = Row("ada", exercise.id, "", "grader-error", 0.0, float(exercise.points), 0, len(hidden.cases), "", "L0",
              seed, "", 0.0)
    _all_cases(Desk(exercise, solution), hidden, answers)
    return _judged(row, hidden, answers, None)


# --- what is right and what is wrong ----------------------------------------------------------------------------------


@every_seed
@every_short_exercise
def test_a_reference_is_right_through_the_frames(exercise, seed):
    row = judged(exercise, exercise.right, seed)
    assert (row.verdict, row.points, row.passed) == ("ok", exercise.points, row.cases), row


@every_seed
@first_short_exercises
def test_every_named_mistake_loses_its_points_with_its_own_message(exercise, seed):
    for mistake in exercise.mistakes:
        row = judged(exercise, mistake.wrong, seed)
        assert (row.verdict, row.points) == ("wrong", 0), mistake.message
        assert row.message == mistake.message


@every_seed
@pytest.mark.parametrize(("exercise", "form"), [
    pytest.param(e, form, id=f"{e.id}-{form}", marks=[] if e in FIRST and e.id not in LONG else [pytest.mark.slow])
    for e, form in HONEST if e in EXERCISES])
def test_a_right_answer_in_another_form_is_right(exercise, form, seed):
    def honest(*args):
        return leaves(exercise.right(*(single(args) if form == "float32" else args)), FORMS[form])

    assert judged(exercise, honest, seed).verdict == "ok"


@every_seed
@first_short_exercises
def test_other_honest_solutions_are_right(exercise, seed):
    for variant in exercise.variants:
        assert judged(exercise, variant, seed).verdict == "ok"


@pytest.mark.parametrize("value", [[[]] * 5_000, list(range(5_000)), {k: [[0] * 600] for k in range(3)},
                                   ["x" * 10**5] + ["y"] * 5_000], ids=["lists", "numbers", "dict", "texts"])
def test_what_is_far_larger_than_it_should_be_is_not_compared(value, monkeypatch):
    """Comparing, with a dozen mistakes for a dozen cases, would take the judge far longer than sending it took."""
    monkeypatch.setattr("minidl.judge.task.difference", lambda *args: pytest.fail("compared"))
    monkeypatch.setattr("minidl.grading.exercise.Exercise.fault", lambda *args: pytest.fail("compared"))
    row = judged(find("09.1b"), lambda layers: value)
    assert (row.verdict, row.message) == ("wrong", "The answer is far larger than it should be.")


# --- the same in a process --------------------------------------------------------------------------------------------


@every_seed
@a_sample
def test_a_notebook_with_solutions_earns_all_points_and_a_blank_one_none(exercise, seed):
    row = grade_one(handed_in(notebook("solutions", exercise.chapter)), exercise.id, seed)
    assert (row.verdict, row.points, row.passed) == ("ok", exercise.points, row.cases), row
    row = grade_one(handed_in(notebook("exercises", exercise.chapter)), exercise.id, seed)
    assert (row.verdict, row.points, row.message, row.passed) == ("wrong", 0, "Not attempted.", 0), row


@every_seed
@a_sample
def test_mistakes_and_variants_are_told_apart_in_a_process(exercise, seed):
    chosen = range(len(exercise.mistakes)) if seed != SEED else [len(exercise.mistakes) // 2]
    for k in chosen:
        row = grade_one(written(exercise, as_text(exercise, "mistake", k)), exercise.id, seed)
        assert (row.verdict, row.points, row.message) == ("wrong", 0, exercise.mistakes[k].message), row
    for k in range(len(exercise.variants))[:None if seed != SEED else 1]:
        row = grade_one(written(exercise, as_text(exercise, "variant", k)), exercise.id, seed)
        allowed = exercise.allowed is not None and row.message.startswith("The values are right, but the answer uses")
        assert row.verdict == "ok" or allowed, row


# --- what goes over, and what does not --------------------------------------------------------------------------------


@every_exercise
def test_an_answer_is_called_what_the_check_line_says(exercise):
    assert answer_name(exercise, given_cells(exercise)) == checked_name(exercise)


def test_an_answer_without_a_check_line_is_called_like_the_reference():
    assert answer_name(find("09.2")) == find("09.2").right.__name__ == "conv2d_back"


def lines_that_stay(exercise):
    """Lines of the parts that stay with the judge, without their texts in quotes; signatures are known to all."""
    for part in (exercise.right, exercise._cases, *exercise.variants, *(m.wrong for m in exercise.mistakes)):
        for line in inspect.getsource(part).splitlines():
            if not line.strip().startswith(("def ", "@", "for p in model.parameters")):
                yield re.sub(r'"[^"]*"', "", line.split("#")[0])


@every_exercise
def test_what_goes_to_a_student_holds_no_solution(exercise):
    words = tokens(observing(exercise) or "")
    known = {*exercise.names, *",()[]=:*"}                # the call of the answer, which its stub shows
    theirs = {run for line in lines_that_stay(exercise) for run in runs_of(tokens(line))} | runs(exercise)
    for run in theirs:
        shared = any(tuple(words[k:k + len(run)]) == run for k in range(len(words)))
        assert not shared or set(run) <= known, " ".join(run)


def runs_of(words):
    size = min(RUN, len(words))
    return {tuple(words[k:k + size]) for k in range(len(words) - size + 1)} if size >= SHORTEST else set()


@every_exercise
def test_no_text_for_people_goes_to_a_student(exercise):
    text = observing(exercise) or ""
    for secret in (*exercise.hints, *(mistake.message for mistake in exercise.mistakes)):
        assert secret not in text


def test_a_named_mistake_is_known_where_warnings_are_errors():
    exercise = find("06.3")
    forgets = [mistake.message.startswith("Looking at the result forgot") for mistake in exercise.mistakes].index(True)
    row = grade_one(written(exercise, as_text(exercise, "mistake", forgets)), exercise.id, SEED)      # it divides by 0
    assert row.message == exercise.mistakes[forgets].message, row


def test_a_seed_gives_each_exercise_cases_of_its_own():
    seeds = {cases_seed(SEED, e.id) for e in EXERCISES}
    assert len(seeds) == len(EXERCISES)
    assert cases_seed(SEED, "09.2") == cases_seed(SEED, "09.2") != cases_seed(SEED + 1, "09.2")


def test_a_regrade_is_bit_equal():
    cells = handed_in(notebook("solutions", "09", **{"answer-09-1b": "def receptive_field(layers):\n    return 3, 1"}))
    rows = [replace(grade_one(cells, "09.1b", SEED), seconds=0) for _ in range(2)]
    assert rows[0] == rows[1] and rows[0].verdict == "wrong" and rows[0].spec == spec_version("09.1b")
