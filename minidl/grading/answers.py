"""Answers that were right: the function itself while the kernel lives, and its text for later lessons."""
import __future__

import ast
import dis
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
    except (OSError, TypeError, ValueError, AttributeError, SyntaxError):
        return ""


def source_of(function):
    """The text of a function and of what it uses from around it, in an order in which it can be run.

    Raises:
        OSError, TypeError, ValueError, SyntaxError: it cannot be had: a lambda, or it uses something that has no text.
    """
    pieces = {"": ""}                                    # "" stands for what has to come first
    _collect(function, pieces)
    return "\n\n".join(filter(None, pieces.values()))


def revived(id, text):
    """The function that a text from `source_of` ends with; None, and a line that says why, if it does not run.

    The text is the learner's own code, and runs like it.
    """
    file, space = f"<your answer to {id}>", {"__name__": "__main__"}
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(compile(text, file, "exec"), space)
        return [value for value in space.values() if isinstance(value, types.FunctionType)][-1]
    except (Exception, SystemExit) as error:
        print(f"your answer to {id} could not be read back ({type(error).__name__}: {error}).")
        return None


def _collect(function, pieces):
    """Add the text of a function, after the text of all that it needs."""
    text = textwrap.dedent(inspect.getsource(function))
    if not text.startswith("def ") or function.__closure__:
        raise ValueError("only a function of its own can be kept")
    pieces[function.__name__] = ""                       # so that two that call each other come to an end
    future = function.__code__.co_flags & __future__.annotations.compiler_flag
    if future:                                           # its hints are text, and may name what does not exist
        pieces[""] = "from __future__ import annotations"
    for name in sorted(_globals_in(text, future) & function.__globals__.keys() - pieces.keys()):
        _collect_one(name, function.__globals__[name], pieces)
    del pieces[function.__name__]
    pieces[function.__name__] = text


def _globals_in(text, future):
    """The names that a text looks up around it, when it is run and when its functions are called.

    The text and not the code of its function, as defaults and annotations are looked up by the `def` itself.
    """
    compiled = compile(text, "<answer>", "exec", future, dont_inherit=True)
    return {step.argval for code in codes_in(compiled) for step in dis.get_instructions(code)
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}


def _collect_one(name, value, pieces):
    """Add the text that makes `value` known as `name`."""
    home = sys.modules.get(getattr(value, "__module__", None) or "")
    if isinstance(value, types.ModuleType):
        pieces[name] = f"import {value.__name__} as {name}"
    elif isinstance(value, types.FunctionType) and theirs(value.__code__.co_filename):
        _collect(value, pieces)
        if name != value.__name__:
            if value.__globals__.get(value.__name__) is not value:
                raise ValueError(f"{name} is a function that another one of its name came after")
            pieces[name] = f"{name} = {value.__name__}"
    elif isinstance(value, float):
        pieces[name] = f'{name} = float("{float(value)!r}")'             # inf and nan are no words of Python's
    elif isinstance(value, SIMPLE):
        pieces[name] = f"{name} = {value!r}"
        if ast.literal_eval(repr(value)) != value:
            raise ValueError(f"{name} has no text")
    elif home is not None and getattr(home, getattr(value, "__name__", ""), None) is value:
        pieces[name] = f"from {value.__module__} import {value.__name__} as {name}"
    else:
        raise ValueError(f"{name} has no text")
