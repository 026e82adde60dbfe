"""The real source of an op on the page: its forward, its gradient rules and its shape rule, wherever they stand.

    show(md.ops.tanh)        the block from minidl/ops/elementwise.py
    show(md.autograd.grad)   any function or class, too

The pieces are found from the objects themselves, so a rule that was replaced in a notebook cell is shown as it is
now, with the cell it comes from.
"""
import ast
import inspect
import linecache
from pathlib import Path

from ..backend import cpu
from ..errors import ArgumentError, message
from ..primitive import Primitive

PACKAGE = Path(__file__).resolve().parents[1]


class Source:
    """Source code that shows itself in a notebook, highlighted.

    Attributes:
        pieces: `(place, code)` pairs; the place is a file of the package or a notebook cell.
        text: all of it, each place in a comment above its code.
    """

    def __init__(self, pieces):
        self.pieces = pieces

    @property
    def text(self):
        blocks, before = [], None
        for place, code in self.pieces:
            blocks.append(code if place == before else f"# {place}\n{code}")
            before = place
        return "\n\n\n".join(blocks)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.text, "text/markdown": f"```python\n{self.text}\n```"}

    def __repr__(self):
        return self.text


def show(op):
    """The source of a primitive with all its rules, or of a function or class.

    Args:
        op: a primitive such as `md.ops.tanh`, a function such as `md.sum`, a method or a class.

    Raises:
        ArgumentError: it is something else, or its source is not at hand.

    >>> import minidl as md
    >>> show(md.ops.tanh)
    # minidl/ops/elementwise.py
    @elementwise(onnx="Tanh", ufunc="tanh")
    def tanh(xp, x):
        ...
    """
    op = _behind(op)
    if not isinstance(op, Primitive):
        return Source([_definition(op)])
    rules = dict.fromkeys(rule.function for rule in op.rules.values())
    forward = inspect.unwrap(op.forward)
    parts = [forward, *rules, *([op._shape] if op._shape else [])]
    found = {}
    for part in parts:
        code = part.__code__
        piece = _statement(op.name, code.co_filename, code.co_firstlineno)
        if part is not op._shape or part.__name__ != "<lambda>":      # `elementwise` makes one; it is not in the block
            found[piece[:2]] = piece
    in_order = sorted(found.values(), key=lambda piece: (piece[0] != forward.__code__.co_filename, *piece[:2]))
    return Source([*_standing_in(op), *((_place(file), text) for file, _, text in in_order)])


def _standing_in(op):
    """The learner's own function, where it computes in place of the forward; nothing otherwise."""
    kernel = cpu.kernels.get(op.name)
    if getattr(kernel, "owner", "our") == "our":
        return []
    try:
        place, code = _definition(kernel.answer)
    except ArgumentError:
        place, code = "typed", "# its source is not at hand"
    return [(f"{kernel.owner} {op.name}, from {place}: it computes now, in place of our forward", code)]


def _behind(thing):
    """What a person means: the op behind `md.tanh`, the function behind a property or a bound method."""
    if isinstance(thing, property):
        thing = thing.fget
    thing = inspect.unwrap(getattr(thing, "__func__", thing)) if not isinstance(thing, Primitive) else thing
    if inspect.isfunction(thing) and "op" in thing.__code__.co_freevars:      # functions.py makes md.tanh this way
        return inspect.getclosurevars(thing).nonlocals["op"]
    return thing


def _definition(thing):
    """(place, code) of a function or class."""
    if not inspect.isfunction(thing) and not inspect.isclass(thing):
        raise ArgumentError(message("show: this is not an op, a function or a class written in Python.",
                                    [("got", repr(thing)[:60], type(thing).__name__)], "show(md.ops.tanh)."))
    try:
        return _place(inspect.getsourcefile(thing)), inspect.cleandoc("\n" + inspect.getsource(thing)).rstrip()
    except (OSError, TypeError):
        raise _not_at_hand(thing.__name__) from None


def _statement(name, file, line):
    """(file, first line, code) of the statement at the outermost level that holds a line, decorators included."""
    lines = linecache.getlines(file)
    try:
        body = ast.parse("".join(lines)).body
    except SyntaxError:                                # a cell with %magic; look at this definition alone
        body = []
    for node in body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        if first <= line <= node.end_lineno:
            return file, first, "".join(lines[first - 1:node.end_lineno]).rstrip()
    if not lines[line - 1:]:
        raise _not_at_hand(name)
    return file, line, "".join(inspect.getblock(lines[line - 1:])).rstrip()


def _not_at_hand(name):
    return ArgumentError(message(f"show: the source of {name} is not at hand; it was made by other code, or typed.",
                                 try_="define it in a file or a notebook cell."))


def _place(file):
    """A file as the reader knows it; never the path of somebody's disk."""
    path = Path(file)
    if "ipykernel" in str(file) or path.name.startswith("<"):
        return "a notebook cell"
    resolved = path.resolve()
    return resolved.relative_to(PACKAGE.parent).as_posix() if PACKAGE in resolved.parents else path.name
