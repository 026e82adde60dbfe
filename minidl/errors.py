"""Everything that can go wrong in minidl, on one page.

    MinidlError
      ├── ShapeError        (RuntimeError, ValueError)  shapes that do not fit an op
      ├── DTypeError        (TypeError)       a kind of number that an op cannot take
      ├── ArgumentError     (ValueError, TypeError)     a setting that makes no sense
      ├── DimensionError    (IndexError)      an axis or an index that does not exist
      ├── GradientError     (RuntimeError)    backward asked for something that is not there
      │     └── InplaceError                  a value was overwritten that backward still needs
      ├── AnomalyError      (RuntimeError)    a NaN or Inf was born while somebody watched for it
      ├── TraceError        (RuntimeError)    a graph that cannot be recorded, or a value it does not have yet
      ├── FeedError         (ValueError)      a run of a graph was given the wrong inputs
      ├── DeviceError       (RuntimeError)    a device that is missing, or two that were mixed
      ├── DataError         (ValueError)      a data set that is damaged or cannot be had
      ├── SandboxError      (RuntimeError)    a student's process that cannot be fenced in as it was asked
      ├── CheckpointError   (RuntimeError)    a file that is not a whole, unchanged checkpoint
      └── JudgeError        (RuntimeError)    grading that cannot begin or go on
            ├── RefusedError                  it could, but would not be safe; a flag of the command insists
            ├── GradebookError                a gradebook that is none, is of another version or cannot be reached
            └── BusyError                     somebody else writes in the gradebook

A PyTorch user who catches `RuntimeError` or `IndexError` catches the same mistakes here.
Every message has up to three parts: what happened, the facts, what to try.
"""


class MinidlError(Exception):
    """Base of every error that minidl raises on purpose."""


class ShapeError(MinidlError, RuntimeError, ValueError):
    """The shapes of the inputs do not fit together."""


class DTypeError(MinidlError, TypeError):
    """The op is not defined for this kind of number."""


class ArgumentError(MinidlError, ValueError, TypeError):
    """An argument has a value that makes no sense here."""


class DimensionError(MinidlError, IndexError):
    """An axis or an index is out of range."""


class GradientError(MinidlError, RuntimeError):
    """A gradient was asked for that cannot be computed."""


class InplaceError(GradientError):
    """A value that backward needs was changed in place after it was saved."""


class AnomalyError(MinidlError, RuntimeError):
    """An op made a NaN or an Inf out of finite numbers, under `autograd.detect_anomaly()`."""


class TraceError(MinidlError, RuntimeError):
    """A graph cannot be recorded: it would have to know a value that is not there yet."""


class FeedError(MinidlError, ValueError):
    """A graph was run with an input that is missing, unknown or of the wrong shape or dtype."""


class DeviceError(MinidlError, RuntimeError):
    """The device does not exist here, or inputs live on different devices."""


class DataError(MinidlError, ValueError):
    """A data set is damaged, incomplete or cannot be reached."""


class SandboxError(MinidlError, RuntimeError):
    """The judge cannot fence a student's process in as it was asked to."""


class CheckpointError(MinidlError, RuntimeError):
    """A checkpoint is damaged, or it holds something that cannot be saved."""


class JudgeError(MinidlError, RuntimeError):
    """Grading cannot begin, or cannot go on."""


class RefusedError(JudgeError):
    """What was asked for is possible and not safe."""


class GradebookError(JudgeError):
    """The gradebook is none, is of another version, or cannot be reached."""


class BusyError(JudgeError):
    """Somebody else writes in the gradebook."""


def message(what, facts=(), try_=""):
    """Put the parts of an error message together.

    Args:
        what: one sentence that says what happened.
        facts: `(name, text)` pairs, or `(name, text, note)`; they are set in columns.
        try_: one sentence that says what to do next.

    >>> print(message("add: the shapes do not match.", [("x", "(2, 3)"), ("other", "(4,)")], "Check the last axis."))
    add: the shapes do not match.
        x      (2, 3)
        other  (4,)
    Try: Check the last axis.
    """
    facts = [tuple(map(str, fact)) for fact in facts]
    widths = [max((len(fact[k]) for fact in facts if len(fact) > k), default=0) for k in range(3)]
    rows = ["    " + "  ".join(cell.ljust(width) for cell, width in zip(fact, widths)).rstrip() for fact in facts]
    return "\n".join([what, *rows, *([f"Try: {try_}"] if try_ else [])])


def first_line(error):
    """The first line of what an error says; what kind it is if it says nothing, as a bare `assert` does.

    >>> first_line(ValueError("no\\nreally")), first_line(AssertionError())
    ('no', 'AssertionError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__
