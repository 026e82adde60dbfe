"""A pass for compiled kernels: elementwise steps in a row become one loop.

    v1 = mul(x, 2)
    v2 = add(v1, b)            v1 = loop1(x, b)        loop1(a0, a1): maximum(a0 * 2 + a1, 0)
    v3 = maximum(v2, 0)

A step joins the loop of the steps that use it if nobody else needs its result: that result is then never written to
memory. Steps on arrays of one shape fit together; single numbers join anywhere. A loop may end in a stack, the results
side by side along a new first axis: the gates of a recurrent network.
"""
import math

from .. import ops
from ..kernels.loops import FEW, FORMULAS, SLOW, Loop
from ..tensor import Node
from .ir import with_inputs
from .symbols import Share, Size, new_node

MOST_ARRAYS, MOST_STEPS = 12, 48     # of one loop: what a processor keeps at hand, and numba compiles in no time
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "equal": "==", "not_equal": "!=", "less": "<",
         "less_equal": "<=", "greater": ">", "greater_equal": ">="}
loops = {}                           # what it does -> Loop, so that the same work is compiled once


def fuse(graph):
    """Groups of elementwise steps become one step each, a `Loop`."""
    members, new = {}, {}
    for node, root in groups(graph).items():
        members.setdefault(root, []).insert(0, node)
    for node in graph.nodes:
        op, inputs = looped(node, members[node]) if len(members.get(node, ())) > 1 else (None, node.inputs)
        inputs = tuple(new[x] if isinstance(x, Node) else x for x in inputs)
        new[node] = new_node(op, inputs, {}, node.shape, node.dtype) if op else with_inputs(node, inputs)
    return graph.mapped("fuse", new)


# ---------------------------------------------------------------------- which steps belong together
def groups(graph):
    """From each step that can be part of a loop to the last step of its loop, the last steps first."""
    users, group, arrays, sizes, kinds = graph.users(), {}, {}, {}, {}
    wanted = {x for x in [*graph.outputs, *(u.value for u in graph.updates)] if isinstance(x, Node)}
    for node in reversed(graph.steps):
        if is_lift(node):                              # part of a stack, or nothing to do with loops
            if len(users[node]) == 1 and is_stack(users[node][0]) and node not in wanted:
                group[node] = users[node][0]
            continue
        if not (is_fusible(node) or is_stack(node)):
            continue
        root, kind = _only({group.get(user) for user in users[node]}), floats_of(node)
        if root is not None and node not in wanted and not is_stack(node) and (
                node.shape == _inner_shape(root) and len(kinds[root] | kind) < 2 and sizes[root] < MOST_STEPS
                and len(arrays[root] - {node} | arrays_of(node)) <= MOST_ARRAYS):
            group[node], arrays[root], kinds[root] = root, arrays[root] - {node} | arrays_of(node), kinds[root] | kind
            sizes[root] += 1
        else:
            group[node], arrays[node], sizes[node], kinds[node] = node, arrays_of(node), 1, kind
    return group


def _only(found):
    return found.pop() if len(found) == 1 else None


def is_fusible(node):
    """Whether a step can be part of a loop: elementwise, on one kind of floats, on arrays of one shape and numbers."""
    known = node.op.name in FORMULAS or node.op.name in SLOW and math.prod(node.shape) <= FEW
    if not known or not node.shape or node.dtype is float or any(isinstance(n, Size) for n in node.shape):
        return False
    if node.dtype.kind == "b" and node.op.name in ("add", "sub", "mul", "abs", "square", "maximum", "minimum"):
        return False                                   # NumPy's arithmetic of truth values is a world of its own
    inputs = _inputs(node)
    kinds = [getattr(x, "dtype", float) for x in (node, *inputs)]
    return (all(k is float or k.kind == "b" or k.name in ("float32", "float64") for k in kinds)
            and len(floats_of(node)) < 2 and not any(isinstance(x, (Size, Share)) for x in inputs)
            and all(getattr(x, "shape", ()) in ((), node.shape) for x in inputs)
            and not any(isinstance(x, Node) and x.op.name in ("expand", "permute") for x in inputs)
            and any(getattr(x, "shape", ()) for x in inputs))


def floats_of(node):
    """The dtypes of floats that a step reads or makes."""
    kinds = [getattr(x, "dtype", float) for x in (node, *node.inputs)]
    return {k for k in kinds if k is not float and k.kind == "f"}


def is_lift(node):
    """x[None]."""
    return node.op.name == "getitem" and node.meta["key"] is None


def is_stack(node):
    """concat(x[None], y[None], ...) of arrays that a loop can make."""
    return (node.op.name == "concat" and node.meta["dim"] == 0 and len(node.inputs) > 1
            and all(isinstance(x, Node) and is_lift(x) and isinstance(x.inputs[0], Node) and is_fusible(x.inputs[0])
                    for x in node.inputs))


def _inner_shape(root):
    return root.shape[1:] if is_stack(root) else root.shape


def _inputs(node):
    """What a loop reads for a step: not x[None] but x, not a number that is repeated but the number."""
    inputs = [x.inputs[0] for x in node.inputs] if is_stack(node) else node.inputs
    return [x.inputs[0] if isinstance(x, Node) and x.op.name == "expand" and getattr(x.inputs[0], "shape", ()) == ()
            else x for x in inputs]


def arrays_of(node):
    """The inputs of a step that are more than a number, constants by their id."""
    return {x if isinstance(x, Node) else id(x) for x in _inputs(node) if getattr(x, "shape", ())}


# ---------------------------------------------------------------------- the loop
def looped(root, members):
    """The Loop that does what `members` do, and its inputs."""
    steps = [node for node in members if not is_lift(node) and not is_stack(node)]
    place = {node: f"t{k}" for k, node in enumerate(steps)}
    arrays, numbers, recipe = {}, {}, []

    def name(x):
        if isinstance(x, Node) and x in place:
            return place[x]
        if getattr(x, "shape", ()):
            return arrays.setdefault(x if isinstance(x, Node) else id(x), (f"a{len(arrays)}", x))[0]
        if isinstance(x, Node):
            return numbers.setdefault(x, (f"s{len(numbers)}", x))[0]
        return x.item() if hasattr(x, "item") else x
    for node in steps:
        recipe.append((node.op, node.meta, tuple(map(name, _inputs(node))), node.dtype))
    stacked = tuple(int(place[x][1:]) if x in place else None for x in _inputs(root)) if is_stack(root) else None
    if stacked and None in stacked:                    # one of the gates is needed elsewhere, too: take it as it is
        for k, x in enumerate(_inputs(root)):
            if stacked[k] is None:
                recipe.append((ops.astype, {"dtype": x.dtype}, (name(x),), x.dtype))
                stacked = (*stacked[:k], len(recipe) - 1, *stacked[k + 1:])
    kinds = tuple(x.dtype for _, x in arrays.values())
    key = repr([(op.name, args, str(dtype)) for op, _, args, dtype in recipe]), kinds, len(numbers), stacked
    if key not in loops:
        loops[key] = Loop(recipe, kinds, len(numbers), stacked, formula(recipe, stacked))
    return loops[key], tuple(x for _, x in [*arrays.values(), *numbers.values()])


def formula(recipe, stacked):
    """The steps of a loop as one expression, to be read."""
    texts = []

    def text(x):
        return texts[int(x[1:])] if isinstance(x, str) and x[0] == "t" else str(x)
    for op, _, args, _ in recipe:
        args = list(map(text, args))
        texts.append(f"({args[0]} {INFIX[op.name]} {args[1]})" if op.name in INFIX else f"{op.name}({', '.join(args)})")
    whole = [texts[-1]] if stacked is None else [texts[k] for k in stacked]
    return ", ".join(t if len(t) <= 200 else t[:200] + " ..." for t in whole)
