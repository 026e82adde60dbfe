"""A graph that was written down before it ran as a GraphView: of md.compile, of md.graph, of a Session."""
import numpy as np

from ..graph.compile import Compiled
from ..graph.ir import Graph
from ..graph.session import Builder, Operation, Session
from ..graph.symbols import PLACEHOLDER, SCALAR, SOURCES, Size, Symbol
from ..graph.trace import look_up
from ..tensor import Node, Tensor
from .graphview import Edge, GraphView, Item
from .theme import numbers, sign_of
from .watching import line_of


def graph_of(thing):
    """(Graph, values of its variables) of a Graph, a compiled function, a Builder, a Session, or what it fetches.

    Returns:
        None if `thing` is none of these.
    """
    if isinstance(thing, Graph):
        return thing, {}
    if isinstance(thing, Compiled):
        return thing.graph, {}
    if isinstance(thing, Session):
        return graph_of(thing.builder)[0], thing.values
    if isinstance(thing, Builder):
        written = thing.tracer.written
        return Graph(thing.tracer.inputs, _ends(written), (), thing.tracer.draws), {}
    fetches = list(thing) if isinstance(thing, (list, tuple)) else [thing]
    if not fetches or not all(_fetched(x) for x in fetches):
        return None
    nodes = [x.array.node for x in fetches if isinstance(x, Tensor)]
    updates = [u for x in fetches if isinstance(x, Operation) for u in x.updates]
    inputs = [n for n in Graph([], nodes, updates).nodes if n.op is PLACEHOLDER]
    return Graph(inputs, nodes, updates), {}


def _fetched(x):
    return isinstance(x, Operation) or (isinstance(x, Tensor) and type(x.array) is Symbol)


def _ends(nodes):
    """The Nodes that no other among them uses."""
    used = {x for node in nodes for x in node.inputs if isinstance(x, Node)}
    return [node for node in nodes if node not in used]


def graph_view(graph, values=None, title="graph"):
    """The GraphView of a Graph.

    Args:
        values: from VARIABLE Nodes to arrays, where a Session keeps them.
    """
    names, values, items, edges, ids = graph.names(), values or {}, [], [], {}

    def new(key, **about):
        items.append(Item(f"n{len(items) + 1}", **about))
        if key is not None:
            ids[key] = items[-1].id
        return items[-1].id

    def origin(x):
        if isinstance(x, Node):
            return ids[x]
        if isinstance(x, Size):                        # known by its formula only, until something is fed
            return new(None, kind="constant", value=repr(x))
        array = np.asarray(x)
        return new(None, kind="constant", shape=array.shape or None, dtype=str(array.dtype) if array.shape else "",
                   value=numbers(array), sign=sign_of(array))

    outputs = {x for x in graph.outputs if isinstance(x, Node)}
    for node in dict.fromkeys([*graph.inputs, *graph.variables, *graph.scalars, *graph.nodes]):
        if node.op in SOURCES:
            new(node, name=names[node], **_source(node, values), note="output" if node in outputs else "")
            continue
        sources = [origin(x) for x in node.inputs]
        name = new(node, kind="view" if node.op.view else "op", symbol=node.op.symbol, op=node.op.name,
                   name=node.op.name, shape=_sizes(node.shape), dtype=_dtype(node), line=line_of(node),
                   note="output" if node in outputs else "")
        edges.extend(Edge(source, name, k) for k, source in enumerate(sources))
    edges.extend(Edge(ids[u.value], ids[u.target], kind="update") for u in graph.updates if isinstance(u.value, Node))
    return GraphView(tuple(items), tuple(edges), title=title)


def _source(node, values):
    """What an Item for a value from outside says."""
    about = {"shape": _sizes(node.shape), "dtype": _dtype(node)}
    if node.op is PLACEHOLDER:
        return {"kind": "input", **about}
    if node.op is SCALAR:
        return {"kind": "constant", "value": numbers(np.asarray(look_up(node.meta["owner"], node.meta["key"])))}
    tensor = node.meta["leaf"].grad if "leaf" in node.meta else node.meta.get("tensor")
    array = tensor.host_array() if tensor is not None else values.get(node)
    known = {} if array is None else {"value": numbers(array), "sign": sign_of(array)}
    learned = tensor.requires_grad if tensor is not None else "initial" in node.meta
    return {"kind": "parameter" if learned else "input", **about, **known}


def _sizes(shape):
    """A shape with open sizes by their names, so that it can be written as JSON."""
    return tuple(n if type(n) is int else int(n) if type(n).__module__ == "numpy" else repr(n) for n in shape)


def _dtype(node):
    return "number" if node.dtype is float else str(node.dtype)

