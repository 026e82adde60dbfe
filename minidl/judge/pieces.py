"""Cutting code into statements, and finding those that a name needs.

A notebook is a heap of cells; an answer needs few of them. `needed` walks from a name to the statements that bind it,
and on to the names that those use. Statements that bind nothing (`print(...)`, `check(...)`, a plot) are never taken.
The text is parsed and compiled, not run.

Both sides read this file: the student's process for the notebook, the judge for its own chapters' files.
"""
import __future__

import ast
import dis
import functools
import operator
import re
from dataclasses import dataclass
from functools import cached_property
from types import CodeType

from ..grading.allowed import codes_in, unhinted

READS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
WRITES = {"STORE_NAME", "STORE_GLOBAL"}
LINES = re.compile(r"\r\n|\r|\n")
MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[^#'\"]*\?|(\w+)\s*=\s*[%!].*)$")
BLANK = re.compile(r"raise NotImplementedError\(.{0,40}your turn")


class Unreadable(Exception):
    """A cell's text is no Python. The message says why, and in which line."""


@dataclass(frozen=True)
class Piece:
    """A statement at the top of a cell.

    Attributes:
        cell: the place of its cell in the notebook.
        node: the statement.
        text: the lines of its cell that hold it.
        future: the compiler's flags that a `from __future__ import ...` above has set, as they hold for a whole
            notebook from there on.
    """

    cell: int
    node: ast.stmt
    text: str
    future: int = 0

    @cached_property
    def code(self) -> CodeType:
        """The statement, compiled."""
        return compile(ast.Module([self.node], []), f"<cell {self.cell + 1}>", "exec", self.future, dont_inherit=True)

    @cached_property
    def defines(self) -> frozenset[str]:
        """The names that it gives a meaning to; "*" if it imports whatever there is."""
        if isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*":
            return frozenset("*")
        return frozenset(step.argval for step in dis.get_instructions(self.code) if step.opname in WRITES)

    @cached_property
    def binds(self) -> frozenset[str]:
        """The names that it defines or changes: `table["a"] = 1` changes `table`."""
        plain = isinstance(self.node, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        return self.defines.union(*(_root(node) for node in ast.walk(self.node)
                                    if isinstance(node, (ast.Attribute, ast.Subscript))
                                    and isinstance(node.ctx, ast.Store)) if plain else ())

    @cached_property
    def uses(self) -> frozenset[str]:
        """The names of globals that it, or a function in it, reads."""
        return frozenset(step.argval for part in codes_in(self.code) for step in dis.get_instructions(part)
                         if step.opname in READS)

    @cached_property
    def onward(self) -> int:
        """The `future` of the statements below it."""
        node = self.node
        if not isinstance(node, ast.ImportFrom) or node.module != "__future__" or node.level:
            return self.future
        flags = (getattr(__future__, alias.name).compiler_flag for alias in node.names)
        return functools.reduce(operator.or_, flags, self.future)

    @cached_property
    def without_hints(self) -> "Piece":
        """The same without the type hints that only name something: `x: int = 3`, `-> np.ndarray`."""
        return Piece(self.cell, unhinted(self.node), self.text, self.future)

    @property
    def blank(self) -> bool:
        """Whether it still has the line that says whose turn it is."""
        return bool(BLANK.search(self.text))


def cut(text, cell=0, future=0):
    """The statements of a cell that bind a name.

    Args:
        text: the cell's.
        cell: its place in the notebook.
        future: what the cells above have imported from `__future__`, as the `onward` of their last statement says it.

    Raises:
        Unreadable: the text is no Python, also without IPython's magic lines.
    """
    tree, lines, pieces = _parsed(text), LINES.split(text), []
    try:
        for node in tree.body:
            piece = Piece(cell, node, "\n".join(lines[node.lineno - 1:node.end_lineno]), future)
            if not isinstance(node, ast.Expr) and piece.binds:
                pieces.append(piece)
                future = piece.onward
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:   # what only the compiler sees
        raise Unreadable(_said(error)) from None
    return pieces


def needed(name, pieces, first=()):
    """The statements that a name needs, in the order of `pieces`.

    Args:
        name: a global name.
        pieces: all there are, in order.
        first: cells whose statements count alone for the names that they define; else those down to the last of these
            cells do, and else any.
    """
    taken, names, here = set(), {name}, max(first, default=len(pieces) and pieces[-1].cell)
    by_name = {}
    for k, piece in enumerate(pieces):
        for bound in piece.binds:
            by_name.setdefault(bound, []).append(k)
    waiting = [name, "*"]
    while waiting:
        wanted = waiting.pop()
        binding = by_name.get(wanted, [])
        near = [k for k in binding if pieces[k].cell in first]
        above = [k for k in binding if pieces[k].cell <= here]
        chosen = next((some for some in (near, above) if any(wanted in pieces[k].defines for k in some)), binding)
        for k in set(chosen) - taken:
            taken.add(k)
            waiting += pieces[k].uses - names
            names |= pieces[k].uses
    return [pieces[k] for k in sorted(taken)]


def _root(node):
    """The name at the beginning of `name.a[0].b`."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _parsed(text):
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error
    try:
        return ast.parse(without_magic(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unreadable(_said(problem)) from None


def without_magic(text):
    """A cell's text, its lines kept in number, without the lines that only IPython understands.

    >>> without_magic("%matplotlib inline\\nfiles = !ls\\nx = 1")
    'pass\\nfiles = None\\nx = 1'
    """
    lines = [MAGIC.sub(lambda found: f"{found[1]}{found[2]} = None" if found[2] else f"{found[1]}pass", line)
             for line in LINES.split(text)]
    return "\n".join(lines)


def _said(error):
    """An error of the parser in a few words."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno or 1}: {error.msg}"
    return "it is nested too deeply, or holds a character that Python's text never has"
