"""What an answer is made of: the names it uses and whether it loops. For puzzles that allow only a few words."""
import ast
import copy
import dis
import inspect
import textwrap

HINT = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.BinOp, ast.BitOr, ast.Load)
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
    found = offence_in(code, allowed) if code else None
    if found and code.co_name != "<lambda>" and not code.co_freevars:
        # Only the text tells a hint from other names. A lambda has no hints, and may share its line with others.
        code = _code_without_hints(function)
        found = offence_in(code, allowed) if code else found
    return found


def _code_without_hints(function):
    """The code of a function without the plain type hints of those inside it; None if its text cannot be had."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        (node,) = ast.parse(text).body
        compiled = compile(ast.Module([unhinted(node)], []), "<answer>", "exec")
    except Exception:                                # no text, half of one, or several statements on its line
        return None
    return next((code for code in codes_in(compiled) if code.co_name == function.__code__.co_name), None)


def offence_in(code, allowed):
    """What a code object uses that it may not, in a few words; None if nothing."""
    for part in codes_in(code):
        if name := next((name for name in part.co_names if name not in allowed), None):
            return f"uses `{name}`"
        if any(loop in step.opname for step in dis.get_instructions(part) for loop in LOOPS):
            return "uses a loop"
    return None


def unhinted(node):
    """A statement without the type hints that only name something: `x: int = 3`, `-> np.ndarray`."""
    return _Unhinted().visit(copy.deepcopy(node))


class _Unhinted(ast.NodeTransformer):
    """Takes plain type hints away. One that calls, assigns or loops is code like any other, and stays."""

    def visit_FunctionDef(self, node):
        node.returns = self._left(node.returns)
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node):
        node.annotation = self._left(node.annotation)
        return node

    def visit_AnnAssign(self, node):
        if node.value is not None and self._left(node.annotation) is None:
            node = ast.copy_location(ast.Assign([node.target], node.value), node)
        return self.generic_visit(node)

    def _left(self, hint):
        return hint if hint is None or not all(isinstance(part, HINT) for part in ast.walk(hint)) else None


def codes_in(code):
    """A code object and those inside it: lambdas, comprehensions, inner functions."""
    yield code
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            yield from codes_in(inner)
