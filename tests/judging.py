"""Ways to hand something in to the judge: notebooks of the course, parts of a spec, and functions without a process."""
import ast
import functools
import hashlib
import importlib
import inspect
import re
import warnings
from pathlib import Path

from minidl.grading import sheets
from minidl.judge import student
from minidl.judge.frames import packed, read
from minidl.judge.pieces import Piece, needed
from minidl.judge.rows import Cell, Limits, Submission
from minidl.judge.sent import PARTS, answer_name, given_cells, observing


def notebook(folder, chapter, **changes):
    """The code cells of a chapter's notebook, some with another text: answer_09_1a="def places(...): ..."."""
    changes = {name.replace("_", "-"): text for name, text in changes.items()}
    cells = [Cell(id, changes.pop(id, text)) for id, kind, text in sheets.cells(sheets.sheet(folder, chapter))
             if kind == "code"]
    assert not changes, f"no such cells: {changes}"
    return cells


def handed_in(cells, fault=""):
    digest = hashlib.sha256(repr(cells).encode()).hexdigest()
    return Submission("ada", "Ada", "ada/notebook.ipynb", None, digest, tuple(cells), fault)


def written(exercise, text):
    """A notebook with this text in the answer's cell, all others blank."""
    return handed_in(notebook("exercises", exercise.chapter, **{sheets.answer_cell(exercise.id): text}))


# --- the wrong and the other right solutions of a spec, as a student's text -------------------------------------------


def as_text(exercise, kind, number):
    """A mistake or a variant of an exercise as the text of a cell, with all that it uses, under the answer's name.

    It stands inside a function, so that a mistake can use the reference that bears the same name.
    """
    node = _parts(exercise.chapter, kind)[exercise.id][number]
    pieces = _pieces(exercise.chapter)
    if isinstance(node, ast.Expr):
        last = ast.Return(node.value.args[0])
    else:
        last = ast.Return(ast.Name(f"the_{kind}", ast.Load()))
    body = [_bare(node, f"the_{kind}")] if not isinstance(node, ast.Expr) else []
    module = ast.Module([*body, ast.Assign([ast.Name("the_end", ast.Store())], last.value)], [])
    target = [Piece(1, ast.fix_missing_locations(part), "") for part in module.body]
    chosen = [piece.node for piece in needed("the_end", [*pieces, *target])][:-1]
    made = ast.FunctionDef("_made", _no_arguments(), [*chosen, last], [], type_params=[])
    text = re.sub(r"(?<![.\w])__name__\b", "'minidl.grading.chapters'", ast.unparse(ast.fix_missing_locations(made)))
    return f"{text}\n\n\n{answer_name(exercise, given_cells(exercise))} = _made()\n"


def _no_arguments():
    return ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])


@functools.cache
def _module(chapter):
    module = importlib.import_module(f"minidl.grading.chapters.ch{chapter}")
    return module, ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8")).body


@functools.cache
def _pieces(chapter):
    """The chapter's own definitions, without the decorators that make them parts of an exercise."""
    found = []
    for node in _module(chapter)[1]:
        if isinstance(node, ast.ImportFrom) and node.level:
            package = "minidl.grading.chapters".split(".")[:4 - node.level]
            node = ast.ImportFrom(".".join([*package, *([node.module] if node.module else [])]), node.names, 0)
        if not isinstance(node, ast.Expr) and getattr(node, "name", "") != "_":
            found.append(Piece(0, ast.fix_missing_locations(_bare(node, getattr(node, "name", ""))), ""))
    return [piece for piece in found if piece.binds]


def _bare(node, name):
    """A copy of a definition under another name, without the decorators of a spec."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node
    values = {field: getattr(node, field) for field in node._fields}
    kept = [d for d in node.decorator_list if _part(d) not in PARTS | {"observe"}]
    return type(node)(**{**values, "name": name, "decorator_list": kept})


def _part(decorator):
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    return call.attr if isinstance(call, ast.Attribute) else ""


@functools.cache
def _parts(chapter, kind):
    """{exercise's id: nodes of its mistakes or variants, in order}, found by the name that the file gives it."""
    module, body = _module(chapter)
    found = {}
    for node in body:
        call = node.value if isinstance(node, ast.Expr) else None
        decorators = [call.func] if isinstance(call, ast.Call) else getattr(node, "decorator_list", [])
        for decorator in decorators:
            if _part(decorator) == kind:
                owner = decorator.func if isinstance(decorator, ast.Call) else decorator
                found.setdefault(getattr(module, owner.value.id).id, []).append(node)
    return found


# --- a student's side without a process -------------------------------------------------------------------------------


class Desk:
    """Plays the student's process in this one, with a function for an answer; everything goes through frames."""

    limits = Limits()

    def __init__(self, exercise, solution):
        self.solution, self.observe = solution, student.observer(observing(exercise))
        self.sent = b""

    def ask(self, seconds, fields=None, **values):
        _, values = received(b"".join(packed(fields or {}, 2**30, **values)))
        arguments = (self.observe, self.solution) if self.observe else (self.solution,)
        with warnings.catch_warnings():                # in a student's process they are no errors
            warnings.simplefilter("ignore")
            got = student.attempt(self, *arguments, *values["case"])
        if got is not None:
            student.reply(self, *got)
        return received(self.sent)

    def say(self, state, fields=None, **values):
        self.sent = b"".join(packed({**(fields or {}), "state": state}, self.limits.output_mb * 2**20, **values))


def received(data, most=2**30):
    """What `read` makes of some bytes; there must be none left."""
    rest = bytearray(data)

    def take(count):
        if count > len(rest):
            raise EOFError
        got = rest[:count]
        del rest[:count]
        return got

    message = read(take, most)
    assert not rest
    return message
