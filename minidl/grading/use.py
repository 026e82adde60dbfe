"""Yours and ours: an answer that passed its check computes inside minidl.

    use("01.2c")             from now on md.expand runs on your function, until this kernel stops
    with use("01.2c"): ...   or only in a block
    whose("expand", "relu")  'your expand, our relu'

What you passed in an earlier lesson is kept as text in your progress, with what it needs, and can be asked for again.
It is checked once more first. When your function fails on something, ours takes over, and one line says so: a lesson
never stops because of it.
"""
import sys
import threading

import numpy as np

from .. import backend
from ..errors import ArgumentError, message
from ..primitive import registry, shape_of
from . import record
from .answers import passed, revived
from .checking import examine
from .exercise import all_exercises, find
from .traces import own_lines
from .verdict import text_of


class Yours:
    """A kernel made of a learner's function: it stands in the CPU's kernel table under the name of an op.

    Attributes:
        owner: "your"; what has no owner is ours.
        answer: the learner's function.
    """

    owner = "your"

    def __init__(self, exercise, answer):
        self.op, self.answer = registry[exercise.op], answer
        self.run, self.before = exercise.adapter(answer), None
        self.inside, self.told = threading.local(), False

    def __call__(self, xp, *arrays, **settings):
        ours = self.before or self.op.forward
        if getattr(self.inside, "busy", False):          # the answer itself uses the op
            return ours(xp, *arrays, **settings)
        self.inside.busy = True
        try:
            return self._trusted(self.run(xp, *arrays, **settings), arrays, settings)
        except (Exception, SystemExit) as error:
            result = ours(xp, *arrays, **settings)       # raises itself if the inputs are at fault
            self._tell(error)
            return result
        finally:
            self.inside.busy = False

    def _trusted(self, result, arrays, settings):
        """The answer as an array, of the shape and the dtype that the op's own rules promise.

        A float64 from an answer would make all that comes after it float64, and the net slow. Whole numbers where
        floats belong, or floats of another precision, are the same numbers; floats where whole numbers belong are not.
        """
        array = np.asarray(result)
        if self.op._shape is not None and array.shape != self.op.shape_rule(*map(shape_of, arrays), **settings):
            raise ValueError(f"its result has shape {array.shape}")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"its result holds {array.dtype}, no numbers")
        wanted = self.op.dtype_rule(*(getattr(a, "dtype", a) for a in arrays), **settings)
        if not np.can_cast(array.dtype, wanted, "same_kind"):
            raise TypeError(f"its result holds {array.dtype}, where {wanted} belongs")
        with np.errstate(over="ignore"):                 # what float32 cannot hold is inf, as in ours
            return array.astype(wanted, copy=False)

    def _tell(self, error):
        """Say once that ours took over, and where yours stopped."""
        if not self.told:
            line = next((f", line {number}: {text}" for number, _, text in own_lines(error)[-1:]), "")
            print(f"your {self.op.name} stopped ({type(error).__name__}: {text_of(error)}{line}); ours goes on.",
                  file=sys.stderr)
        self.told = True


class use:
    """Put an answer that passed its check to work inside minidl, until this kernel stops or the block ends.

    Args:
        id: the exercise, such as "01.2c".

    Attributes:
        active: whether it works now. If it has not passed, ours goes on, and a line says so.

    Raises:
        ArgumentError: the exercise does not build an op of minidl.
    """

    def __init__(self, id):
        exercise = find(id)
        if not exercise.op:
            able = ", ".join(f"{e.id} ({e.op})" for e in all_exercises() if e.op)
            raise ArgumentError(message(f"use: {id} does not build an op of minidl.", [("these do", able)]))
        self.op, self.kernel = exercise.op, None
        answer = passed.get(id) or _from_record(id)
        if answer is None:
            print(f'{id} has not passed its check here yet; our {self.op} goes on. After check("{id}", ...) is right, '
                  f'ask again.')
            return
        self.stop()
        self.kernel = Yours(exercise, answer)
        self.kernel.before = backend.cpu.kernels.get(self.op)
        backend.cpu.kernels[self.op] = self.kernel
        print(f"{self.op} now runs on {answer.__name__}, your answer to {id}.")

    @property
    def active(self):
        return self.kernel is not None and backend.cpu.kernels.get(self.op) is self.kernel

    def stop(self):
        """Give the op back to ours."""
        kernel = backend.cpu.kernels.get(self.op)
        if isinstance(kernel, Yours):
            del backend.cpu.kernels[self.op]
            if kernel.before:
                backend.cpu.kernels[self.op] = kernel.before

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def __repr__(self):
        return whose(self.op)


def whose(*ops):
    """Who computes these ops on the CPU, in words; without names, the ops that run on the learner's answers.

    >>> whose("expand", "tanh")
    'our expand, our tanh'
    """
    names = ops or [name for name, kernel in backend.cpu.kernels.items() if isinstance(kernel, Yours)]
    return ", ".join(f"{getattr(backend.cpu.kernels.get(name), 'owner', 'our')} {name}" for name in names)


def _from_record(id):
    """The answer to an exercise that the record holds, if it still passes; None otherwise."""
    done = record.read().get(id)
    answer = revived(id, done.source) if done and done.source else None
    return answer if answer and examine(id, answer).right else None
