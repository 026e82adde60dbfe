"""What an answer is made of: the names it uses and whether it loops. For puzzles that allow only a few words."""
import dis

LOOPS = ("FOR_ITER", "JUMP_BACKWARD")       # as parts of a name: 3.11 ends a `while` with POP_JUMP_BACKWARD_IF_TRUE


def offence(function, allowed):
    """What a function uses that it may not, in a few words; None if nothing.

    Args:
        function: a Python function; anything else is let pass.
        allowed: the names it may use, of globals, modules, functions, attributes and methods.

    >>> offence(lambda x: x.sum(), {"shape"})
    'uses `sum`'
    """
    code = getattr(function, "__code__", None)
    return offence_in(code, allowed) if code else None


def offence_in(code, allowed):
    """What a code object uses that it may not, in a few words; None if nothing."""
    for part in codes_in(code):
        if name := next((name for name in part.co_names if name not in allowed), None):
            return f"uses `{name}`"
        if any(loop in step.opname for step in dis.get_instructions(part) for loop in LOOPS):
            return "uses a loop"
    return None


def codes_in(code):
    """A code object and those inside it: lambdas, comprehensions, inner functions."""
    yield code
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            yield from codes_in(inner)
