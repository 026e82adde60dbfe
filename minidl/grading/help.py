"""Help in three steps, and then the solution."""
import html
from dataclasses import dataclass

from . import record
from .exercise import find
from .sheets import solution_text
from .verdict import show

_taken: dict[str, int] = {}          # in this kernel, for those who keep no record


@dataclass
class Help:
    """A title, some prose, and perhaps code.

    Attributes:
        title, prose, code: what to show; `code` may be "".
    """

    title: str
    prose: str
    code: str = ""

    def __repr__(self):
        return "\n".join(part for part in (self.title, _indented(self.prose), _indented(self.code)) if part)

    def _repr_mimebundle_(self, include=None, exclude=None):
        code = f'<pre style="margin:6px 0 0 0">{html.escape(self.code)}</pre>' if self.code else ""
        return {"text/plain": repr(self), "text/html":
                f'<div style="border-left:4px solid #8a8a8a;padding:4px 12px;margin:4px 0"><b>{html.escape(self.title)}'
                f'</b><div style="white-space:pre-line">{html.escape(self.prose)}</div>{code}</div>'}


def _indented(text):
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def hint(id):
    """Show the next hint for an exercise; there are three, each says more. After the last, it is shown again.

    Args:
        id: the exercise, such as "01.1a".
    """
    exercise = find(id)
    number = min(hints_taken(id) + 1, len(exercise.hints))
    _taken[id] = number
    record.remember("hint", id, number=number)
    title = f"Hint {number} of {len(exercise.hints)} for {id} {exercise.title}"
    prose = exercise.hints[number - 1]
    if number == len(exercise.hints):
        prose += f'\nThat was the last hint. One way to do it: solution("{id}").'
    show(Help(title, prose))


def hints_taken(id):
    """How many hints were taken, now and in the record."""
    done = record.read().get(id)
    return max(_taken.get(id, 0), done.hints if done else 0)


def solution(id, now=False):
    """Show one way to do an exercise: after the three hints, after a right answer, or with `now=True`.

    Args:
        id: the exercise, such as "01.1a".
        now: do not ask for the hints first.
    """
    exercise = find(id)
    done = record.read().get(id)
    left = len(exercise.hints) - hints_taken(id)
    if left > 0 and not now and not (done and done.right):
        count = "is a hint" if left == 1 else f"are {left} hints"
        show(Help(f"{id} {exercise.title}", f'There {count} left: hint("{id}"). If you would rather read it now: '
                                            f'solution("{id}", now=True).'))
        return
    text = solution_text(id)
    if text is None:
        show(Help(f"{id} {exercise.title}", "The solutions are not here. They come with the repository, in its folder "
                                            "solutions/; a teacher may have left them out."))
        return
    record.remember("solution", id)
    show(Help(f"One way to do {id} {exercise.title}", "Close it, wait a little, and write your own.", text))
