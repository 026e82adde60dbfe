"""Answers that were right: the function itself while the kernel lives, and its text for later lessons."""
import inspect
import linecache
import sys
import textwrap
import types
from typing import Any

from .allowed import codes_in
from .traces import theirs

SIMPLE = (int, float, str, bool, tuple, type(None))

passed: dict[str, Any] = {}          # id -> an answer that was right in this kernel


def keep(exercise, answer):
    """Remember an answer that was right. Returns its text, "" if it cannot be had."""
    passed[exercise.id] = answer
    try:
        return source_of(answer)
    except (OSError, TypeError, ValueError, AttributeError):
        return ""


def source_of(function):
    """The text of a function and of what it uses from around it, in an order in which it can be run.

    Raises:
        OSError, TypeError, ValueError: it cannot be had: a lambda, or it uses something that has no text.
    """
    pieces = {}
    _collect(function, pieces)
    return "\n\n".join(pieces.values())


def revived(id, text):
    """The function that a text from `source_of` ends with; None, and a line that says why, if it does not run.

    The text is the learner's own code, and runs like it.
    """
    file, space = f"<your answer to {id}>", {"__name__": "__main__"}
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(compile(text, file, "exec"), space)
    except Exception as error:
        print(f"your answer to {id} could not be read back ({type(error).__name__}: {error}).")
        return None
    return [value for value in space.values() if isinstance(value, types.FunctionType)][-1]


def _collect(function, pieces):
    """Add the text of a function, after the text of all that it needs."""
    text = textwrap.dedent(inspect.getsource(function))
    if not text.startswith("def ") or function.__closure__:
        raise ValueError("only a function of its own can be kept")
    pieces[function.__name__] = ""                       # so that two that call each other come to an end
    needed = {name for code in codes_in(function.__code__) for name in code.co_names} & function.__globals__.keys()
    for name in sorted(needed - pieces.keys()):
        _collect_one(name, function.__globals__[name], pieces)
    del pieces[function.__name__]
    pieces[function.__name__] = text


def _collect_one(name, value, pieces):
    """Add the text that makes `value` known as `name`."""
    home = sys.modules.get(getattr(value, "__module__", None) or "")
    if isinstance(value, types.ModuleType):
        pieces[name] = f"import {value.__name__} as {name}"
    elif isinstance(value, types.FunctionType) and theirs(value.__code__.co_filename):
        _collect(value, pieces)
    elif isinstance(value, SIMPLE):
        pieces[name] = f"{name} = {value!r}"
    elif home is not None and getattr(home, getattr(value, "__name__", ""), None) is value:
        pieces[name] = f"from {value.__module__} import {value.__name__} as {name}"
    else:
        raise ValueError(f"{name} has no text")
