"""Graphs in files: write once, run anywhere.

A file holds the steps of the optimised graph and the numbers of its variables, in minidl's checkpoint format: data and
never code. The process that loads it needs minidl, and not the Python that built the graph.
"""
import ast

import numpy as np

from ..errors import ArgumentError, CheckpointError, FeedError, MinidlError, message
from ..primitive import registry
from ..random import Generator
from ..serialize import load as load_checkpoint
from ..serialize import save as save_checkpoint
from ..tensor import Node, Tensor, wrap
from .codegen import Program
from .control import Part, branch, loop, pick
from .ir import Graph, Update
from .memory import WINDOW
from .passes import optimise
from .session import Initializer, Operation, _node, fitted, results
from .symbols import PLACEHOLDER, SCALAR, VARIABLE, Share, Size, Symbol, new_node, source_node
from .trace import paused

FORMAT = "minidl graph 1"
OPS = {op.name: op for op in (PLACEHOLDER, VARIABLE, SCALAR, WINDOW, branch, loop, pick)}


# ---------------------------------------------------------------------- saving
def save(path, fetches, session):
    """Save a part of a Session's graph, with the present values of its variables.

    Args:
        path: the file.
        fetches: name -> tensor of the graph or Operation: what can be run after loading.
        session: the Session whose variables are saved.

    Raises:
        ArgumentError: `fetches` is not a dict of such things.
        CheckpointError: the graph holds something that cannot be saved.
    """
    if not isinstance(fetches, dict) or not all(isinstance(f, (Tensor, Operation)) and not isinstance(f, Initializer)
                                                for f in fetches.values()):
        raise ArgumentError(message("graph.save: expected a dict of names and tensors of the graph or operations.",
                                    [("got", type(fetches).__name__)], '{"y": y, "train": train}.'))
    outs = {name: _node(f) for name, f in fetches.items() if isinstance(f, Tensor)}
    operations = {name: f.updates for name, f in fetches.items() if isinstance(f, Operation)}
    updates = [u for us in operations.values() for u in us]
    plain = Graph([], list(outs.values()), updates)
    inputs = [n for n in session.builder.tracer.inputs if n in set(plain.nodes)]
    draws = [d for d in session.builder.tracer.draws if d in set(plain.nodes)]
    with paused():
        graph = optimise(portable(optimise(Graph(inputs, list(outs.values()), updates, draws))).check())
    counts, start = {}, 0
    for name, us in operations.items():
        counts[name] = [start, start + len(us)]
        start += len(us)
    values = {node: session._read(node) for node in graph.variables}
    numbers = {node: node.meta["owner"][node.meta["key"]] if not isinstance(node.meta["key"], tuple)
               else node.meta["owner"][node.meta["key"][0]][node.meta["key"][1]] for node in graph.scalars}
    save_checkpoint({"format": FORMAT, "graph": _Writer(values, numbers).graph(graph), "outputs": list(outs),
                     "operations": counts}, path)


def portable(graph):
    """A pass for files: steps that only compiled kernels have are written in ops that every minidl has.

    Raises:
        CheckpointError: there is a step for which that is not known.
    """
    def rule(node, inputs):
        if node.op.__module__.split(".")[:2] != ["minidl", "kernels"]:
            return None
        if node.op.expansion is None:
            raise CheckpointError(message(f"graph.save: the step {node.name!r} needs compiled kernels.", try_=
                                          'with md.use_kernels("numpy"): ... around what builds the graph.'))
        return node.op.expansion(*[Symbol(x) if isinstance(x, Node) else x for x in inputs], **node.meta).node
    return graph.rewritten("portable", rule)


class _Writer:
    """A Graph as plain dicts, lists, numbers and arrays."""

    def __init__(self, values, numbers, generators=None):
        self.values, self.numbers, self.place = values, numbers, {}
        self.generators = {} if generators is None else generators             # id -> number in the file

    def graph(self, graph):
        """All Nodes, each with the places of its inputs."""
        sources = [*graph.inputs, *graph.variables, *graph.scalars]
        nodes = sources + [n for n in graph.nodes if n not in set(sources)]
        self.place = {n: k for k, n in enumerate(nodes)}
        return {"nodes": [self.node(n) for n in nodes], "inputs": [self.place[n] for n in graph.inputs],
                "outputs": [self.value(x) for x in graph.outputs], "draws": [self.place[n] for n in graph.draws],
                "updates": [[self.place[u.target], self.value(u.value)] for u in graph.updates]}

    def node(self, node):
        """One Node."""
        out = {"op": node.name, "inputs": [self.value(x) for x in node.inputs], "shape": self.setting(node.shape),
               "dtype": "number" if node.dtype is float else node.dtype.name}
        if node.op is VARIABLE:
            return {**out, "name": node.meta.get("name") or "w", "value": np.array(self.values[node])}
        if node.op is SCALAR:
            return {**out, "name": node.meta["name"], "value": self.numbers[node]}
        if node.op is PLACEHOLDER:
            return {**out, "name": node.meta["name"]}
        return {**out, "settings": {k: self.setting(v) for k, v in node.meta.items()}}

    def value(self, x):
        """A Node by its place, or a constant."""
        if isinstance(x, Node):
            return {"node": self.place[x]}
        return {"array": np.asarray(x)} if hasattr(x, "dtype") else {"number": self.setting(x)}

    def setting(self, x):
        """A setting; what JSON does not know gets a dict that says what it is."""
        if isinstance(x, (Size, Share)):
            return {"open": x.text, "example": float(x) if isinstance(x, Share) else int.__add__(x, 0)}
        if isinstance(x, (tuple, list)):
            return [self.setting(v) for v in x]
        if isinstance(x, slice):
            return {"slice": [self.setting(v) for v in (x.start, x.stop, x.step)]}
        if isinstance(x, np.dtype):
            return {"dtype": x.name}
        if x is Ellipsis:
            return {"ellipsis": True}
        if isinstance(x, Generator):
            return {"generator": x.get_state(), "number": self.generators.setdefault(id(x), len(self.generators))}
        if isinstance(x, Part):
            inner = _Writer(self.values, self.numbers, self.generators)
            return {"part": inner.graph(x.graph), "places": list(x.places)}
        if x is None or isinstance(x, (bool, int, float, str)):
            return x
        raise CheckpointError(message("graph.save: a step has a setting that cannot be saved.",
                                      [("setting", repr(x)), ("type", type(x).__name__)]))


# ---------------------------------------------------------------------- loading
def load(path):
    """A graph from a file, ready to run.

    Returns:
        a Saved: `loaded.run("y", {"x": numbers})`.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
    """
    data = load_checkpoint(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(message(f"graph.load: {path} holds no graph.", try_="md.load(path), for a checkpoint."))
    try:
        return Saved(_Reader().graph(data["graph"]).check(), data["outputs"], data["operations"])
    except CheckpointError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, MinidlError) as error:
        raise CheckpointError(message(f"graph.load: {path} describes no graph that this minidl can run.",
                                      [("reason", repr(error))])) from error


class Saved:
    """A graph from a file, with the numbers of its variables.

    Attributes:
        placeholders: name -> (shape, dtype) of what can be fed.
        fetches: the names of what can be run.
    """

    def __init__(self, graph, outputs, operations):
        self._graph, self._outputs, self._operations, self._programs = graph, outputs, operations, {}
        self.fetches = [*outputs, *operations]
        self.placeholders = {n.meta["name"]: (n.shape, n.dtype) for n in graph.inputs}

    @property
    def variables(self):
        """name -> tensor."""
        return {n.meta["name"]: n.meta["tensor"] for n in self._graph.variables}

    def run(self, fetches, feed_dict=None):
        """Run outputs and operations by name.

        Args:
            fetches: a name, or a list of names.
            feed_dict: names of placeholders -> numbers.

        Returns:
            a tensor for each output, None for each operation; a list if a list was asked for.

        Raises:
            FeedError: a name is not known, or numbers are missing or do not fit.
        """
        with paused():
            return self._run(fetches, feed_dict)

    def _run(self, fetches, feed_dict):
        names = [fetches] if isinstance(fetches, str) else list(fetches)
        for kind, asked, known in (("fetch", names, self.fetches), ("placeholder", feed_dict or {}, self.placeholders)):
            unknown = [n for n in asked if n not in known]
            if unknown:
                raise FeedError(message(f"Saved.run: there is no {kind} called {unknown[0]!r}.",
                                        [("known", ", ".join(known) or "none")]))
        program = self._program(tuple(names))
        sizes = {}
        values = [fitted(n, feed_dict or {}, sizes) for n in program.graph.inputs]
        values += [n.meta["tensor"].array for n in program.graph.variables]
        values += [n.meta["owner"][n.meta["key"]] for n in program.graph.scalars]
        found, changes = results(program, values)
        for update, value in changes:
            meta = update.target.meta
            if "tensor" in meta:
                meta["tensor"].array[...] = value
            else:
                meta["owner"][meta["key"]] = type(meta["owner"][meta["key"]])(value)
        outs = iter([wrap(np.asarray(a)) for a in found])
        fetched = [next(outs) if n in self._outputs else None for n in names]
        return fetched[0] if isinstance(fetches, str) else fetched

    def _program(self, names):
        if names not in self._programs:
            graph = self._graph
            outs = [graph.outputs[self._outputs.index(n)] for n in names if n in self._outputs]
            updates = [u for n in names if n in self._operations for u in graph.updates[slice(*self._operations[n])]]
            needed = set(Graph([], outs, updates).nodes)
            part = Graph([n for n in graph.inputs if n in needed], outs, updates,
                         [d for d in graph.draws if d in needed])
            self._programs[names] = Program(part.check())
        return self._programs[names]


class _Reader:
    """Dicts, lists, numbers and arrays as a Graph."""

    def __init__(self, generators=None):
        self.generators = {} if generators is None else generators             # number in the file -> Generator

    def graph(self, data):
        """All Nodes, in order."""
        self.nodes, self.names = [], set()
        for entry in data["nodes"]:
            self.nodes.append(self.node(entry))
        updates = [Update(self.nodes[k], self.value(v)) for k, v in data["updates"]]
        return Graph([self.nodes[k] for k in data["inputs"]], [self.value(v) for v in data["outputs"]], updates,
                     [self.nodes[k] for k in data["draws"]])

    def node(self, entry):
        """One Node."""
        name, shape = entry["op"], tuple(self.setting(entry["shape"]))
        dtype = float if entry["dtype"] == "number" else np.dtype(entry["dtype"])
        if name == "placeholder":
            self.names.update(n.text for n in shape if isinstance(n, Size))
            return source_node(PLACEHOLDER, shape, dtype, name=entry["name"])
        if name == "variable":
            value = entry["value"]
            return source_node(VARIABLE, shape, dtype, name=entry["name"], tensor=wrap(np.array(value, dtype)))
        if name == "scalar":
            return source_node(SCALAR, shape, dtype, name=entry["name"], key="value", owner={"value": entry["value"]})
        op = OPS.get(name) or registry.get(name)
        if op is None:
            raise CheckpointError(message(f"graph.load: a step is called {name!r}, which this minidl does not have."))
        settings = {k: self.setting(v) for k, v in entry["settings"].items()}
        return new_node(op, tuple(map(self.value, entry["inputs"])), settings, shape, dtype)

    def value(self, entry):
        """A Node made before, or a constant."""
        if "node" in entry:
            return self.nodes[entry["node"]]
        return entry["array"] if "array" in entry else self.setting(entry["number"])

    def setting(self, x):
        """A setting; see `_Writer.setting`."""
        if isinstance(x, list):
            return tuple(map(self.setting, x))
        if not isinstance(x, dict):
            return x
        if "open" in x:
            kind = Size if isinstance(x["example"], int) else Share
            return kind(x["example"], harmless(x["open"]))
        if "slice" in x:
            return slice(*map(self.setting, x["slice"]))
        if "dtype" in x:
            return np.dtype(x["dtype"])
        if "generator" in x:
            generator = self.generators.setdefault(int(x["number"]), Generator(0))      # shared as it was
            generator.set_state(x["generator"])
            return generator
        if "part" in x:
            return Part(_Reader(self.generators).graph(x["part"]), tuple(x["places"]))
        return Ellipsis


def harmless(text):
    """The text of an open size, after a look that it is arithmetic on numbers and names and nothing else.

    Raises:
        CheckpointError: it is more than that.
    """
    try:
        fine = len(text) < 2000 and _is_arithmetic(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        fine = False
    if not fine:
        raise CheckpointError(message("graph.load: a size is described by something that is not arithmetic.",
                                      [("text", text)]))
    return text


def _is_arithmetic(part):
    """Whether a piece of a formula is made of numbers, names, + - * / // % **, min(a, b) and max(a, b)."""
    if isinstance(part, ast.Constant):
        return type(part.value) in (int, float)
    if isinstance(part, ast.Name):
        return part.id not in ("min", "max") and not part.id.startswith("__")
    if isinstance(part, ast.UnaryOp):
        return isinstance(part.op, (ast.USub, ast.UAdd)) and _is_arithmetic(part.operand)
    if isinstance(part, ast.BinOp):
        power = part.right.value if isinstance(part.right, ast.Constant) else 9         # towers of powers take for ever
        fine = isinstance(part.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)) or (
            isinstance(part.op, ast.Pow) and type(power) in (int, float) and power < 9)
        return fine and _is_arithmetic(part.left) and _is_arithmetic(part.right)
    if isinstance(part, ast.Call):
        known = isinstance(part.func, ast.Name) and part.func.id in ("min", "max") and len(part.args) == 2
        return known and not part.keywords and all(map(_is_arithmetic, part.args))
    return False
