"""Every exercise there is, whoever wrote it: its blank, its solution, its mistakes, and what its texts give away."""
import ast
import inspect
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl.grading import all_exercises, checking, examine, sheets
from minidl.grading.compare import plain
from minidl.grading.exercise import Exercise

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = all_exercises()
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.id)
LONG = {"02.1", "03.3", "05.2b", "07.3", "07.4", "08.4", "10.1c", "10.4", "11.3", "11.4", "13.2"}
# By default those that take seconds are held to their solution and to a blank; to all else in `make test-more`.
short_exercises = pytest.mark.parametrize("exercise", [
    pytest.param(e, id=e.id, marks=[pytest.mark.more] if e.id in LONG else []) for e in EXERCISES])
SEEDS = [pytest.param(1, id="public"), *(pytest.param(k, id=f"seed{k}", marks=pytest.mark.slow) for k in (2, 3))]
every_seed = pytest.mark.parametrize("seed", SEEDS)      # the others in `make test-long`
PYTHON = {name for kind in (list, tuple, dict, set, str, int, float) for name in dir(kind)}     # needs no chapter
FEWEST_MISTAKES, HINTS, FEWEST_VARIANTS = 5, 3, 100
RUN, SHORTEST = 8, 6                     # tokens in a row that give a solution away; shorter lines give nothing away


@pytest.fixture(autouse=True)
def _own_record(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_PROGRESS", str(tmp_path / "progress.jsonl"))
    monkeypatch.delenv("MINIDL_CHECK_RAISES", raising=False)


ATTEMPT, MAKE_CASES, computed = checking.attempt, Exercise.make_cases, {}
OURS = {function for e in EXERCISES
        for function in (e.right, *e.variants, *(mistake.wrong for mistake in e.mistakes))}


@cache
def cases_once(exercise, seed=checking.PUBLIC_SEED):
    """The cases of an exercise; an answer gets copies of them, so all tests may share them."""
    return MAKE_CASES(exercise, seed)


def attempt_once(exercise, answer, case):
    """What an answer says to a case; the answers that an exercise brings along are asked once for all tests."""
    if answer not in OURS:
        return ATTEMPT(exercise, answer, case)
    key = exercise.id, answer, id(case)
    if key not in computed:
        computed[key] = case, ATTEMPT(exercise, answer, case)        # keeps the case, and with it its id
    return computed[key][1]


@pytest.fixture
def shared(monkeypatch):
    """What references and mistakes say is computed once, not anew for every answer that is compared with it."""
    monkeypatch.setattr(checking, "attempt", attempt_once)
    monkeypatch.setattr(Exercise, "make_cases", cases_once)


@cache
def sheet(folder, chapter):
    """{cell id: (type, source)} of a notebook of a chapter."""
    (path,) = (ROOT / folder).glob(f"{chapter}_*.ipynb")
    return {name: (kind, source) for name, kind, source in sheets.cells(path)}


def answer_from(folder, exercise, space=None):
    """What the answer cell of an exercise defines, run after the cells before it that are no checks."""
    space = {} if space is None else space
    for name, (kind, source) in sheet(folder, exercise.chapter).items():
        if kind == "code" and "check(" not in source and "progress()" not in source and "use(" not in source:
            exec(compile(source, f"<{name}>", "exec"), space)
        elif name == "begin":
            exec(compile(source.replace("progress()", ""), f"<{name}>", "exec"), space)
        if name == sheets.answer_cell(exercise.id):
            break
    return space[checked_name(exercise)]


def checked_name(exercise):
    """The name that the check line of an exercise hands in."""
    _, source = sheet("solutions", exercise.chapter)[sheets.answer_cell(exercise.id).replace("answer", "check")]
    (found,) = re.findall(rf'^check\("{re.escape(exercise.id)}", (\w+)\)$', source, re.M)
    return found


# --- points ---------------------------------------------------------------------------------------------------------


@every_exercise
def test_a_blank_earns_nothing(exercise, shared):
    verdict = examine(exercise.id, answer_from("exercises", exercise))
    assert (verdict.state, verdict.points) == ("not attempted", 0)


@short_exercises
def test_doing_nothing_earns_nothing(exercise, shared):
    for lazy in (lambda *args: None, lambda *args: 0, lambda *args: np.zeros(1), lambda *args: args[0], None, ...):
        assert not examine(exercise.id, lazy).right


@every_seed
@every_exercise
def test_the_solution_earns_everything(exercise, seed, shared):
    verdict = examine(exercise.id, answer_from("solutions", exercise), seed)
    assert verdict.right and verdict.points == exercise.points > 0, verdict


@every_exercise
def test_the_reference_keeps_to_its_own_rules(exercise):
    assert examine(exercise.id, exercise.right).right


# --- odd answers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    """After the first fault, not long to go on for its name."""
    monkeypatch.setattr(checking, "SECONDS_FOR_A_NAME", 0.05)


class Odd:
    """Equal to everything, and in nothing else any help."""

    def __eq__(self, other):
        return True

    def _refuse(self, *args):
        raise RuntimeError("odd")

    __hash__ = __repr__ = __len__ = __iter__ = __array__ = __float__ = __getattr__ = _refuse


ODD = (Odd(), "\ud800", {"a": 1}, [], np.zeros((2, 2, 2, 2, 2)), np.array(None), 10**5000, md.tensor(np.nan), int)
SPOILT = (lambda x: np.full(np.shape(x), np.nan), lambda x: np.full(np.shape(x), np.inf),
          lambda x: np.full(np.shape(x), "a"), lambda x: np.full(np.shape(x), None),
          lambda x: np.asarray(x) + 1j, lambda x: np.full(np.shape(x), 3, dtype="m8[s]"),
          lambda x: Odd(), lambda x: 10**5000, lambda x: np.zeros(0))


def spoilt(value, how, touched):
    """What a reference returned, with every number and text replaced; `touched` gets an entry for each."""
    if type(value) in (tuple, list):
        return type(value)(spoilt(part, how, touched) for part in value)
    if type(value) is dict:
        return {key: spoilt(part, how, touched) for key, part in value.items()}
    if not isinstance(value, (md.Tensor, np.ndarray, np.generic, int, float, str)):
        return value                                       # a model, a function: not the answer itself
    touched.append(value)
    return how(0.0 if isinstance(value, str) else plain(value))


def earns_nothing(verdict):
    assert not verdict.right and "cannot be compared" not in verdict.text, verdict
    assert verdict.html.encode("utf-8")


@short_exercises
def test_an_odd_value_earns_nothing_and_breaks_nothing(exercise, shared, hasty):
    for value in ODD:
        earns_nothing(examine(exercise.id, lambda *args, value=value: value))


@short_exercises
def test_a_right_answer_with_spoilt_numbers_earns_nothing(exercise, shared, hasty):
    for how in SPOILT if inspect.isfunction(exercise.right) else ():
        touched = []
        answer = lambda *args, how=how, touched=touched: spoilt(exercise.right(*args), how, touched)      # noqa: E731
        verdict = examine(exercise.id, answer)
        if touched:
            earns_nothing(verdict)


# --- named mistakes -------------------------------------------------------------------------------------------------


@every_seed
@short_exercises
def test_every_named_mistake_gets_its_own_message_and_not_the_solution(exercise, seed, shared):
    for mistake in exercise.mistakes:
        verdict = examine(exercise.id, mistake.wrong, seed)
        assert not verdict.right, f"passes: {mistake.message}"
        assert (verdict.mistake, verdict.sure) == (mistake.message, True), f"{mistake.message}\n{verdict.text}"
        assert mistake.message in verdict.text
        assert leak(exercise, verdict.text) is None and leak(exercise, verdict.html) is None


@pytest.mark.parametrize("number", sorted({e.number for e in EXERCISES}))
def test_there_are_five_named_mistakes_or_more(number):
    parts = [e for e in EXERCISES if e.number == number]
    assert sum(len(e.mistakes) for e in parts) >= FEWEST_MISTAKES
    assert all(e.mistakes for e in parts), "a part without a named mistake"
    for e in parts:
        messages = [mistake.message for mistake in e.mistakes]
        assert len(set(messages)) == len(messages) and all(len(text) > 20 for text in messages)


# --- honest answers -------------------------------------------------------------------------------------------------


def leaves(value, change):
    """A result with `change` done to its arrays, and to its tuples of numbers as if they were arrays."""
    value = plain(value)
    if isinstance(value, list) and not all(isinstance(v, (int, float, np.number)) for v in value):
        return [leaves(v, change) for v in value]
    return value if isinstance(value, (str, dict, type(None))) else change(value)


def nested_tuples(x):
    return tuple(map(nested_tuples, x)) if isinstance(x, list) else x


def single(values):
    """Floats in float32, whatever else there is as it is."""
    return [v.astype(np.float32) if isinstance(v, np.ndarray) and v.dtype == np.float64 else v for v in values]


FORMS = {
    "float32": lambda y: np.asarray(y).astype(np.float32) if np.asarray(y).dtype.kind == "f" else y,
    "float64": lambda y: np.asarray(y, dtype=np.float64),
    "list": lambda y: np.asarray(y).tolist(),
    "tuple": lambda y: nested_tuples(np.asarray(y).tolist()),
    "tensor": lambda y: md.tensor(np.asarray(y)),
}
HONEST = [(e, form) for e in EXERCISES for form in e.honest]


@every_seed
@pytest.mark.parametrize(("exercise", "form"), [
    pytest.param(e, form, id=f"{e.id}-{form}",
                 marks=[pytest.mark.more] if e.id in LONG or form == "tuple" and "list" in e.honest else [])
    for e, form in HONEST])
def test_a_right_answer_in_another_form_is_right(exercise, form, seed, shared):
    def honest(*args):
        return leaves(exercise.right(*(single(args) if form == "float32" else args)), FORMS[form])

    verdict = examine(exercise.id, honest, seed)
    allowed = exercise.allowed is not None and verdict.fault and verdict.fault.startswith("The values are right")
    assert verdict.right or allowed, verdict


@every_seed
@short_exercises
def test_other_honest_solutions_are_right(exercise, seed, shared):
    for variant in exercise.variants:
        verdict = examine(exercise.id, variant, seed)
        assert verdict.right, verdict


def test_there_are_a_hundred_honest_answers():
    assert len(HONEST) + sum(len(e.variants) for e in EXERCISES) >= FEWEST_VARIANTS


# --- what a judge in another process needs ----------------------------------------------------------------------------


def is_plain(value):
    if isinstance(value, (tuple, list)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(v) for key, v in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    return isinstance(value, (int, float, str, np.number, np.bool_, type(None)))


@every_exercise
def test_cases_are_plain_and_follow_from_the_seed(exercise):
    for seed in (1, 2):
        first, second = exercise.make_cases(seed), exercise.make_cases(seed)
        assert all(is_plain(case) for case in first), "a case holds something that cannot be sent to another process"
        assert repr(first) == repr(second)
    known = repr(exercise.make_cases(20))
    others = (repr(exercise.make_cases(seed)) for seed in range(21, 30))
    assert any(other != known for other in others), "a secret seed gives the cases that everybody knows"


# --- the notebooks ----------------------------------------------------------------------------------------------------


@every_exercise
def test_an_exercise_stands_in_its_notebook(exercise):
    cells = sheet("solutions", exercise.chapter)
    name = sheets.answer_cell(exercise.id)
    assert sheets.regions(cells[name][1]), "no region between # BEGIN SOLUTION and # END SOLUTION"
    assert checked_name(exercise)
    about = cells[name.replace("answer", "about")][1]
    points = f"{exercise.points} {'point' if exercise.points == 1 else 'points'}"
    worth = f"{'★' * exercise.stars} · {points} · {exercise.minutes} minutes"
    assert re.match(rf"##+ {re.escape(exercise.id)} · {re.escape(exercise.title)}\n{worth}\n", about), worth
    assert len(exercise.hints) == HINTS and all(len(hint) > 20 for hint in exercise.hints)


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_and_its_specs_agree(path):
    cells = sheet("solutions", path.name[:2])
    mine = [e for e in EXERCISES if e.chapter == path.name[:2]]
    assert {sheets.exercise_of(name) for name in cells} - {None} == {e.id for e in mine}
    assert all(re.fullmatch(r"(?![0-9a-f]{8}(-|$))[a-z][a-z0-9]*(-[a-z0-9]+)*", name) for name in cells)
    first = next(iter(cells.values()))[1]
    assert first.startswith("# ") and f"{len(mine)} checks, {sum(e.points for e in mine)} points" in first


def test_every_chapter_with_exercises_has_its_notebooks():
    for chapter in {e.chapter for e in EXERCISES}:
        assert sheet("solutions", chapter) and sheet("exercises", chapter)


@pytest.mark.parametrize("folder", [pytest.param("solutions", marks=pytest.mark.more), "exercises"])
@pytest.mark.parametrize("chapter", sorted({e.chapter for e in EXERCISES}))
def test_a_notebook_runs_to_its_end(folder, chapter, capsys):
    space = {"__name__": "__main__"}
    for name, (kind, source) in sheet(folder, chapter).items():
        if kind == "code":
            exec(compile(source, f"<{name}>", "exec"), space)
    for op in list(md.backend.cpu.kernels):
        if getattr(md.backend.cpu.kernels[op], "owner", "") == "your":
            del md.backend.cpu.kernels[op]
    said = capsys.readouterr().out
    mine = [e for e in EXERCISES if e.chapter == chapter]
    assert said.count("right: " if folder == "solutions" else "not yet: your turn") >= len(mine)
    assert "Error" not in said


# --- what the texts give away -----------------------------------------------------------------------------------------


def tokens(text):
    return re.findall(r"\w+|[^\w\s]", text)


def spaced(words):
    """Tokens as one text, each between two spaces."""
    return f" {' '.join(words)} "


@cache
def spaced_tokens(text):
    return spaced(tokens(text))


@cache
def runs(exercise):
    """Runs of tokens of a solution's lines that must stand nowhere a learner reads before solving it."""
    found = set()
    for region in sheets.regions(sheet("solutions", exercise.chapter)[sheets.answer_cell(exercise.id)][1]):
        for line in region.splitlines():
            words = [word for word in tokens(line.split("#")[0]) if word != "return"]
            size = min(RUN, len(words))
            if size >= SHORTEST:
                found |= {tuple(words[k:k + size]) for k in range(len(words) - size + 1)}
    return found


@cache
def spaced_runs(exercise):
    return sorted(map(spaced, runs(exercise)))


def leak(exercise, text):
    """A run of a solution's tokens in a text; None if there is none."""
    text = spaced_tokens(text)
    return next((run.strip() for run in spaced_runs(exercise) if run in text), None)


@every_exercise
def test_hints_and_messages_do_not_hold_the_solution(exercise):
    for text in (exercise.title, *exercise.hints, *(mistake.message for mistake in exercise.mistakes)):
        assert leak(exercise, text) is None, text


@every_exercise
def test_errors_do_not_hold_the_solution(exercise, shared):
    def crash(*args):
        raise ValueError("planted")

    verdict = examine(exercise.id, crash)
    assert leak(exercise, verdict.text) is None and leak(exercise, verdict.html) is None


@every_exercise
def test_the_exercise_notebook_does_not_hold_the_solution(exercise):
    cells = sheet("exercises", exercise.chapter)
    assert not any("SOLUTION" in source for _, source in cells.values())
    assert f'raise NotImplementedError("{exercise.id}: your turn")' in cells[sheets.answer_cell(exercise.id)][1]
    for name, (_, source) in cells.items():
        assert leak(exercise, source) is None, name


def test_the_leak_test_can_fail():
    exercise = next(e for e in EXERCISES if e.id == "01.3")
    assert leak(exercise, "then g.sum(axis=stretched, keepdims=True) is nearly it")
    assert leak(exercise, "sum over the axes that were stretched") is None


# --- nothing that is taught later -------------------------------------------------------------------------------------


def names_in(source):
    """Attributes and imported names in a piece of code: what a learner must have met to write it."""
    tree = ast.parse(inspect.cleandoc("\n" + source))
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    own = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name)} | {
        target.attr for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets
        if isinstance(target, ast.Attribute)}                      # self.h = ... introduces h
    return (found | {alias.name.split(".")[-1] for node in imports for alias in node.names}) - own - PYTHON


def words_of(sources):
    return set(re.findall(r"\w+", "\n".join(sources)))


@cache
def words_of_lessons(chapter):
    """Every word in the lessons up to a chapter."""
    lessons = [path for path in (ROOT / "notebooks").glob("*.ipynb") if path.name[:2] <= chapter]
    return set().union(*map(words_of_lesson, lessons))


@cache
def words_of_lesson(path):
    return words_of(source for _, _, source in sheets.cells(path))


def met_before(exercise):
    """Every word in the lessons up to an exercise's chapter, and in the texts of its notebook down to its cell."""
    text = []
    for name, (kind, source) in sheet("solutions", exercise.chapter).items():
        if name == sheets.answer_cell(exercise.id):
            break
        text += [source] if kind == "markdown" or not sheets.exercise_of(name) else []
    return words_of_lessons(exercise.chapter) | words_of(text)


@every_exercise
def test_a_solution_needs_nothing_that_comes_later(exercise):
    _, source = sheet("solutions", exercise.chapter)[sheets.answer_cell(exercise.id)]
    met = met_before(exercise)
    assert names_in(sheets.without_marks(source)) <= met
    for text in exercise.hints:
        assert set(re.findall(r"\b(?:np|md|nn|F)\.(\w+)", text)) <= met


def test_names_in_a_solution_are_found():
    assert names_in("import math\ndef f(x):\n    return np.linalg.qr(x).T") == {"math", "linalg", "qr", "T"}
