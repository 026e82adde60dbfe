"""The student's process: runs a student's code, and answers. Nothing that it says is believed without a look.

It is started by the judge with the channel as its standard input and output, and with no cases, references or points
to be found in it. In this order:

    hello       it is up
    look        the cells are cut into statements; which ones the answer needs, and whether it keeps to the words that
                a puzzle allows. Nothing of the student's has run so far: the judge can believe this reply, and no other
    run         the chosen statements run
    case        the answer is called, once for each message; what it returns or raises goes back

From `run` on the student's code may do to this process whatever it likes, and may write to the channel itself: then
it has given an answer, right or wrong. A reply repeats the number of its turn, so an early one is no answer.

This file, frames.py, pieces.py and allowed.py are all that the process needs beside NumPy; minidl is there for answers
that import it.
"""
import ast
import importlib.util
import linecache
import os
import sys
import types

from ..grading.allowed import offence_in
from .frames import TooLarge, packed, read
from .pieces import Unreadable, cut, needed

MOST_SENT = 2**30                 # bytes that the judge may send
ERROR_NAMES = 30


class Channel:
    """The way to the judge: what were standard input and output. The answers' own go nowhere from here on."""

    def __init__(self):
        self.inbound, self.outbound = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        self.turn, self.most = "", 0

    def hear(self):
        """The next message: fields and values. The process ends with the channel."""
        fields, values = read(self._take, MOST_SENT)
        self.turn, self.most = fields["turn"], fields["most"]
        return fields, values

    def say(self, state, fields=None, **values):
        """Answer the message that was heard last."""
        for piece in packed({**(fields or {}), "state": state, "turn": self.turn}, self.most, **values):
            self._give(piece)

    def _take(self, count):
        got = bytearray()
        while len(got) < count:
            some = os.read(self.inbound, min(count - len(got), 2**20))
            if not some:
                os._exit(0)
            got += some
        return got

    def _give(self, data):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.outbound, rest):]


# --- look: what of the notebook the answer needs ----------------------------------------------------------------------


class Notebook:
    """A student's cells with the given ones back in their places, and what of them the answer needs.

    Args:
        task: the fields of `look`: `cells` and `given`, lists of (id, text); `exercise`; `answer`, the id of the cell
            that should hold it; `name`, what the answer is called; `allowed`, the words of a puzzle, or None.
    """

    def __init__(self, task):
        self.name, self.exercise, self.home = task["name"], task["exercise"], task["answer"]
        self.cells, self.trusted = with_given(task["cells"], task["given"])
        self.problems, self.pieces = {}, []
        for k, (_, text) in enumerate(self.cells):
            try:
                self.pieces += cut(text, k, self.pieces[-1].onward if self.pieces else 0)
            except Unreadable as problem:
                self.problems[k] = str(problem)
        self.chosen = self._chosen()
        self.offence = None if task["allowed"] is None else self._offence(frozenset(task["allowed"]))

    @property
    def state(self):
        """"readable", "missing" or "unreadable", and what there is to say about it."""
        if self.chosen and not all(piece.blank for piece in self._answers()):
            return "readable", ""
        at_home = [k for k in self.problems if self.cells[k][0] == self.home] or (
            [] if self.chosen else [k for k in self.problems if self.name in self.cells[k][1]])
        if at_home:
            return "unreadable", self.problems[at_home[0]]
        return ("readable", "") if self.chosen else ("missing", "")

    def _answers(self):
        return [piece for piece in self.pieces if self.name in piece.defines and piece.cell >= self.first]

    def _chosen(self):
        """The statements that the answer needs; none if nothing has its name.

        The answer is what the check line would have been given: the last that was written under its name above that
        line; else what its own cell holds; else the last there is. A blank counts if there is nothing else.
        """
        check = next((k for k, (id, text) in enumerate(self.cells) if self._checks(id, text)), None)
        cells = {piece.cell for piece in self.pieces if self.name in piece.defines}
        written = {piece.cell for piece in self.pieces if self.name in piece.defines and not piece.blank}
        above = [k for k in written if check is not None and k < check]
        at_home = [k for k in written if self.cells[k][0] == self.home]
        choice = above or at_home or written or cells
        if not choice:
            return []
        self.first = max(choice)
        last = check if above and check is not None else self.first + 1
        blanks = {piece for piece in self.pieces if written and piece.blank and self.name in piece.defines}
        return needed(self.name, [piece for piece in self.pieces if piece not in blanks], range(self.first, last))

    def _checks(self, id, text):
        return id == self.home.replace("answer-", "check-", 1) or f'check("{self.exercise}"' in text.replace("'", '"')

    def _offence(self, allowed):
        """What the student's part of the chosen statements uses that a puzzle does not allow; None if nothing.

        Type hints may use any word, and so may imports that only they need.
        """
        numpy, chosen = {"numpy", "np"}, [piece.without_hints for piece in self.chosen]
        used = frozenset().union(*(piece.uses for piece in chosen))
        for piece in chosen:
            if isinstance(piece.node, (ast.Import, ast.ImportFrom)) and not piece.binds & (used | {"*", self.name}):
                continue
            words = allowed | piece.binds
            if piece.cell in self.trusted or (piece.binds == {"np"} and set(piece.code.co_names) == numpy):
                continue
            if found := offence_in(piece.code, words):
                return found
        return None


def with_given(cells, given):
    """(all cells, the places of the given ones among them).

    A given cell comes after the student's version of it, so that what was added there (an import) counts, and what was
    changed does not. One that was deleted comes first.
    """
    texts, found, trusted = dict(given), [], set()
    for id, text in [(id, None) for id in texts if id not in {cell for cell, _ in cells}] + list(cells):
        if text is not None and text != texts.get(id):
            found.append((id, text))
        if id in texts:
            trusted.add(len(found))
            found.append((id, texts[id]))
    return found, trusted


# --- run and case -----------------------------------------------------------------------------------------------------


def run(notebook):
    """Run the chosen statements, as a module of their own called __main__, and return what has the answer's name.

    An error in a statement that only may be needed is passed over, as a notebook goes on after one.
    """
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    for k in {piece.cell for piece in notebook.chosen}:
        text = notebook.cells[k][1]
        linecache.cache[f"<cell {k + 1}>"] = (len(text), None, text.splitlines(True), f"<cell {k + 1}>")
    for piece in notebook.chosen:
        try:
            exec(piece.code, module.__dict__)
        except Exception:
            if notebook.name in piece.binds:
                raise
    return module.__dict__[notebook.name]


def kinds(error):
    """The names of the classes that an error belongs to, its own first."""
    try:
        return [f"{kind.__module__}.{kind.__qualname__}"[:120] for kind in type(error).__mro__][:ERROR_NAMES]
    except Exception:
        return ["builtins.Exception"]


def attempt(channel, function, *arguments):
    """Call a function. Returns [what it returned], or None after a reply that says what it raised."""
    try:
        return [function(*arguments)]
    except NotImplementedError:
        channel.say("blank")
    except BaseException as error:              # SystemExit as well: it ends no process that has an answer to give
        channel.say("raised", {"kinds": kinds(error)})


def reply(channel, value):
    """Reply with a value, if it can be sent."""
    try:
        channel.say("value", value=value)
    except TooLarge:
        channel.say("large")
    except BaseException as error:
        channel.say("raised", {"kinds": kinds(error)})


def main():
    """Answer the judge until the channel ends."""
    channel = Channel()
    channel.hear()
    channel.say("hello", {"python": sys.version.split()[0]})
    task, _ = channel.hear()
    notebook = Notebook(task)
    state, said = notebook.state
    channel.say(state, {"says": said, "offence": notebook.offence})
    task, _ = channel.hear()
    observe = observer(task["observe"])
    found = attempt(channel, run, notebook)
    if found is None:
        return
    channel.say("ran")
    (answer,) = found
    while True:
        _, values = channel.hear()
        case = values["case"]
        got = attempt(channel, observe, answer, *case) if observe else attempt(channel, answer, *case)
        if got is not None:
            reply(channel, *got)


def observer(text):
    """The exercise's way to look at an answer, from its text; None if the answer is called as it is."""
    if text is None:
        return None
    library = os.path.dirname(importlib.util.find_spec("minidl").origin)
    space = {"__name__": "minidl.grading.observing",         # as if it stood where the chapters' files do
             "__file__": os.path.join(library, "grading", "chapters", "observing.py")}
    exec(compile(text, "<observe>", "exec"), space)
    return space["observe"]
