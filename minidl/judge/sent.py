"""What of an exercise's spec goes to the student's process: as little as it takes to call the answer.

Most exercises need nothing: a case goes over, a value comes back. An exercise that looks at more than a value (memory
that is shared, calls that are counted, a class) has a function `observe`, and that must run where the student's objects
are. `observing` cuts it out of the chapter's file, with the definitions that it uses, and leaves the rest behind.

What an observation says is a claim of the student's process. The judge compares the values in it with what the
reference gives for inputs drawn afresh; but "x was read 9 times" or "the memory is shared" could be said by code that
looks for its own observer and lies for it. Rows that rest on such claims carry the word `observed`.
"""
import ast
import hashlib
import inspect
import re
import sys
from functools import cache
from pathlib import Path

from ..errors import ArgumentError, message
from ..grading import sheets
from ..grading.exercise import find
from .pieces import Piece, needed
from .rows import Cell

PARTS = {"reference", "cases", "accept", "draw", "mistake", "variant", "works_as"}      # decorators of what stays here


def spec_version(exercise_id: str) -> str:
    """The version of an exercise's spec: that of minidl, and a digest of the chapter's file.

    Raises:
        ArgumentError: there is no such exercise.
    """
    digest = hashlib.sha256(_source(find(exercise_id)).encode("utf-8")).hexdigest()
    return f"{sys.modules['minidl'].__version__}-{digest[:12]}"


def answer_name(exercise, given=()) -> str:
    """What the check line of an exercise hands in; if no cell has that line, what its reference is called."""
    line = re.compile(rf"""^check\(["']{re.escape(exercise.id)}["'], *(\w+)\)""", re.M)
    return next((found[1] for cell in given if (found := line.search(cell.source))), exercise.right.__name__)


def given_cells(exercise) -> tuple[Cell, ...]:
    """The code cells of a chapter's exercise notebook, as it was released; none if it is not at hand."""
    path = sheets.sheet("exercises", exercise.chapter)
    return _given(path) if path else ()


@cache
def _given(path):
    return tuple(Cell(id, source) for id, kind, source in sheets.cells(path) if kind == "code")


def observing(exercise) -> str | None:
    """The text of a module whose function `observe` looks at an answer; None if the answer is only called.

    Raises:
        ArgumentError: it needs the reference, or another part that must not go over.
    """
    return _sliced(exercise._observe, exercise.id) if exercise._observe else None


@cache
def _sliced(function, id):
    source = Path(inspect.getfile(function)).read_text(encoding="utf-8")
    package = sys.modules[function.__module__].__package__ or ""
    pieces = [piece for k, node in enumerate(ast.parse(source).body) if not isinstance(node, ast.Expr)
              if (piece := Piece(0, node, "")).binds]
    start = next((piece for piece in pieces if _begins(piece.node) == function.__code__.co_firstlineno), None)
    if start is None:
        raise ArgumentError(message(f"{id}: its observe function stands inside another function.",
                                    try_="write it at the top of the file."))
    start.node.decorator_list, start.node.name = [], "observe"
    observe = Piece(1, start.node, "")
    others = [piece for piece in pieces if piece is not start and "_" not in piece.binds]
    chosen = needed("observe", [*others, observe])
    for piece in chosen:
        if part := _part(piece.node):
            raise ArgumentError(message(f"{id}: what observe uses is the exercise's {part}, which must not go to "
                                        "students.", [("it is", ", ".join(piece.binds))],
                                        "write a helper that both use, or compare in accept."))
    used = set().union(*(piece.uses for piece in chosen))
    return ast.unparse(ast.Module([_absolute(piece.node, package, used) for piece in chosen], []))


def _begins(node):
    """The first line of a statement, its decorators included."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _part(node):
    """Which part of an exercise a definition is, by its decorator; "" if it is none."""
    for decorator in getattr(node, "decorator_list", []):
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(call, ast.Attribute) and call.attr in PARTS:
            return call.attr
    return ""


def _absolute(node, package, used):
    """An import by its full name, without the names that nobody uses; any other statement as it is."""
    if not isinstance(node, ast.ImportFrom):
        return node
    names = [alias for alias in node.names if (alias.asname or alias.name) in used]
    base = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
    return ast.ImportFrom(".".join([*base, *([node.module] if node.module else [])]), names, 0)


@cache
def _source(exercise):
    return Path(inspect.getfile(exercise.make_cases if exercise._cases is None else exercise._cases)).read_text("utf-8")
