"""Pass viewer: what each pass does to a graph, whether the numbers stay the same, and what was gained.

    view_passes(train_step, x, y)        a function; what md.compile made of one; its last graph is taken
    view_passes(train_step.graph)        a Graph with a history
    view_passes(f, x, without=["merge"]) a pass left out; the page has a box for each

Every graph on the way is run step by step (graph.evaluate) on the same input, and its results are held against those
of the graph as it was recorded. Bytes moved are what the steps read and write; a view moves nothing.
"""
import inspect
from typing import ClassVar

import numpy as np
import traitlets as tr

from .. import random
from ..errors import ArgumentError, message
from ..func.trees import leaves
from ..graph import passes as rules
from ..graph.codegen import Program
from ..graph.compile import Compiled, compile, tensor_of
from ..graph.ir import Graph, evaluate, kind_text, step_text, value_text
from ..graph.symbols import Size
from ..graph.trace import look_up
from ..tensor import Node, Tensor
from ..viz.graphview import cut
from ..viz.svg import document, element, hatch
from ..viz.theme import number, size_text
from .following import Kept
from .trace import Frame, Trace
from .widget import Widget

MARKS = {"same": " ", "added": "+", "removed": "−", "rewired": "~", "gap": "…", "end": " "}
AROUND, LONG = 2, 40                   # lines shown beside a change; listings up to this length are shown whole
ROW, LETTER, WIDE = 17, 7.4, 720       # px: a line, a letter, the picture


def view_passes(what, *args, without=()):
    """A PassViewer.

    Args:
        what: a function, what md.compile made of one, or a Graph.
        args: the input that all graphs are run on; for a function also what it is recorded with. Random numbers from
            a fixed seed, for a compiled function or a Graph without them.
        without: names of passes to leave out.

    Raises:
        ArgumentError: there is no graph, its sizes are open and no input was given, or a pass has another name.
    """
    return PassViewer(what, args, without=list(without))


class PassViewer(Widget):
    """The passes of a graph, one after the other.

    Attributes:
        graph: as it was recorded, before all passes.
        without: names of passes that are left out.
        names: of all passes.
    """

    scripts: ClassVar = ("pass_viewer",)
    controls: ClassVar = ("without",)
    without = tr.List(tr.Unicode()).tag(sync=True)
    names = tr.List(tr.Unicode()).tag(sync=True)

    def __init__(self, what, args, **controls):
        self.graph, self.passes, self.values = recorded(what, args)
        super().__init__(names=list(dict.fromkeys(change.__name__ for change in self.passes)), **controls)

    def record(self):
        """All passes run anew, those left out excepted, as a Trace."""
        unknown = set(self.without) - set(self.names)
        if unknown:
            raise ArgumentError(message(f"view_passes: there is no pass called {min(unknown)!r}.",
                                        [("passes", ", ".join(self.names))]))
        taken = [change for change in self.passes if change.__name__ not in self.without]
        start = Graph(self.graph.inputs, self.graph.outputs, self.graph.updates, self.graph.draws)
        end = rules.optimise(start, taken or [_nothing])
        story = Story([start, *(graph for _, graph in end.history[1:]), *([end] if end.history else [])],
                      [name for name, _ in end.history], taken, self.values)
        return Trace(list(story.frames()), "passes of a graph", story.figure(), _idle(self, end))

    def draw(self, frame):
        """One frame as SVG: the listing with its marks, and what has been gained by now."""
        return picture_of(self.trace.figure, frame)


def _nothing(graph):
    """No pass at all."""
    return graph


def _idle(widget, end):
    """What is to be said about passes that changed nothing."""
    fired = {name for name, _ in end.history}
    idle = [name for name in widget.names if name not in fired and name not in widget.without]
    parts = [f"Found nothing to do: {', '.join(idle)}." if idle else "",
             f"Left out: {', '.join(sorted(widget.without))}." if widget.without else ""]
    return " ".join(part for part in parts if part)


# ---------------------------------------------------------------------- where the graph and the numbers come from
def recorded(what, args):
    """(the graph before all passes, the passes, the values of its inputs, variables and scalars).

    Raises:
        ArgumentError: there is no graph.
    """
    if isinstance(what, Graph):
        graph = what.history[0][1] if what.history else what
        return graph, list(rules.PASSES), values_of(graph, args)
    if not callable(what):
        raise ArgumentError(message("view_passes: expected a function or a graph.", [("got", type(what).__name__)]))
    what = what if isinstance(what, Compiled) else compile(what)
    passes = list(what.passes or rules.PASSES)
    if what.log and not args:
        return what.last.full, passes, values_of(what.last.full, args)
    fresh, kept = Compiled(what.fn, what.passes), Kept(what.fn, args)
    try:
        fresh(*args)
        return fresh.last.full, passes, values_of(fresh.last.full, args)      # while the optimiser's state is there
    finally:
        kept.put_back()


def values_of(graph, args):
    """From the Nodes of inputs, variables and scalars to copies of arrays, and numbers."""
    given = [x.host_array() for x in leaves(args) if isinstance(x, Tensor)]
    draw = np.random.default_rng(0)
    if given and len(given) != len(graph.inputs):
        raise ArgumentError(message("view_passes: give all inputs of the graph, or none.",
                                    [("inputs", len(graph.inputs)), ("given", len(given))]))
    values = dict(zip(graph.inputs, (np.array(x) for x in given)))
    for node in graph.inputs:
        if node not in values:
            values[node] = _drawn(node, draw)
    for node in graph.variables:
        tensor = tensor_of(node) if {"leaf", "tensor"} & set(node.meta) else None
        values[node] = tensor.host_array().copy() if tensor is not None else _drawn(node, draw)
    return {**values, **{node: look_up(node.meta["owner"], node.meta["key"]) for node in graph.scalars}}


def _drawn(node, draw):
    if any(isinstance(n, Size) for n in node.shape):
        raise ArgumentError(message("view_passes: a size is left open, so an input has to be given.",
                                    [("shape", node.shape)], "view_passes(graph, x)."))
    if node.dtype.kind != "f":
        return np.zeros(node.shape, node.dtype)            # an index that is there whatever it points into
    return draw.standard_normal(node.shape).astype(node.dtype)


def measured(graph, values):
    """(results, bytes moved) of one run, step by step. Random draws are the same at each run."""
    moved, before = [0], random.get_rng_state()

    def watch(node, inputs, out):
        if not node.op.view:
            moved[0] += sum(getattr(x, "nbytes", 0) for x in [*inputs, out])
    try:
        with np.errstate(all="ignore"):
            outputs, updates = evaluate(graph, {k: np.copy(v) if isinstance(v, np.ndarray) else v
                                                for k, v in values.items()}, watch=watch)
    finally:
        random.set_rng_state(before)
    return [np.asarray(x) for x in [*outputs, *updates]], moved[0]


def largest_difference(results, others):
    """The largest |difference|; equal numbers, infinities and two NaN differ by 0, a number and a NaN by NaN."""
    most = 0.0
    for a, b in zip(results, others, strict=True):
        if a.shape != b.shape:
            return float("nan")
        with np.errstate(all="ignore"):
            same = (a == b) | ((a != a) & (b != b))
            gaps = np.where(same, 0.0, np.abs(np.subtract(a, b, dtype=float)))
        most = max(most, float(gaps.max(initial=0.0))) if not np.isnan(gaps).any() else float("nan")
    return most


# ---------------------------------------------------------------------- which step is which
def followed_names(graphs):
    """For each graph, from its Nodes to names that stay with a step as long as it does the same thing.

    A step is the same if it is the same Node, or if it has the same op and settings and most of its inputs.
    """
    names = [graphs[0].names()]
    count = len(graphs[0].steps)
    for before, after in zip(graphs, graphs[1:]):
        old, fresh = names[-1], {}
        for node in [*after.inputs, *after.variables, *after.scalars]:
            fresh[node] = old.get(node) or after.names()[node]
        free = [node for node in before.steps if node not in set(after.steps)]
        for node in after.steps:
            match = node if node in old else _likest(node, free, old, fresh)
            if match is None:
                count += 1
                fresh[node] = f"v{count}"
            else:
                fresh[node] = old[match]
                free = [x for x in free if x is not match]
        names.append(fresh)
    return names


def _likest(node, free, old, fresh):
    """Of the steps that are gone, the one that `node` stands for now."""
    best, most = None, -1
    for other in free:
        if _task(other) == _task(node):
            alike = sum(_text(a, old) == _text(b, fresh) for a, b in zip(other.inputs, node.inputs))
            if alike > most:
                best, most = other, alike
    return best


def _task(node):
    return node.op, node.shape, node.dtype, str(node.meta)


def _text(x, names):
    return names[x] if isinstance(x, Node) else value_text(x, names)


def listing(graph, names):
    """name -> the step as text, in order."""
    return {names[node]: step_text(node, names) for node in graph.steps}


def compared(old, new):
    """Both listings as one: (mark, name, text) with what was removed, added, or reads something else now.

    >>> compared({"v1": "tanh(x)", "v2": "add(v1, 0)"}, {"v1": "tanh(x)"})
    [('same', 'v1', 'tanh(x)'), ('removed', 'v2', 'add(v1, 0)')]
    """
    rows, gone = [], [name for name in old if name not in new]
    order = list(old)
    for name, text in new.items():
        place = order.index(name) if name in old else -1
        while gone and place >= 0 and order.index(gone[0]) < place:
            rows.append(("removed", gone[0], old[gone.pop(0)]))
        mark = "added" if name not in old else "same" if old[name] == text else "rewired"
        rows.append((mark, name, text))
    return rows + [("removed", name, old[name]) for name in gone]


def around_changes(rows):
    """The rows, long stretches without a change left out."""
    if len(rows) <= LONG:
        return rows
    near = {j for k, row in enumerate(rows) if row[0] not in ("same", "end") for j in range(k - AROUND, k + AROUND + 1)}
    kept, skipped = [], 0
    for k, row in enumerate(rows):
        if k not in near and row[0] != "end":
            skipped += 1
            continue
        if skipped:
            kept.append(("gap", "", f"{skipped} lines as before"))
        kept, skipped = [*kept, row], 0
    return kept + ([("gap", "", f"{skipped} lines as before")] if skipped else [])


# ---------------------------------------------------------------------- the story
class Story:
    """The frames for graphs and the passes between them."""

    def __init__(self, graphs, fired, taken, values):
        self.graphs, self.fired = graphs, fired
        self.says = {change.__name__: (inspect.getdoc(change) or "").split("\n\n")[0].replace("\n", " ")
                     for change in taken}
        self.names = followed_names(graphs)
        self.listings = [listing(graph, names) for graph, names in zip(graphs, self.names)]
        results = [measured(graph, values) for graph in graphs]
        self.bytes = [moved for _, moved in results]
        self.gaps = [largest_difference(results[0][0], found) for found, _ in results]
        self.program = Program(graphs[-1])

    def figure(self):
        """What all frames share: for each graph its name, steps, bytes and difference; and the source."""
        stages = [[name, len(graph.steps), moved, gap]
                  for name, graph, moved, gap in zip(["recorded", *self.fired], self.graphs, self.bytes, self.gaps)]
        return {"stages": stages, "source": self.program.source.rstrip().splitlines()}

    def frames(self):
        """Before each pass the question, then what it did; at the end the source."""
        whole = [[("same", *item) for item in listed.items()] for listed in self.listings]
        start, end = self.graphs[0], self.graphs[-1]
        bytes_ = [size_text(moved) for moved in self.bytes]
        yield self._frame(0, "recorded", f"As it was recorded: {_steps(start)}, {bytes_[0]} moved.", whole[0])
        for k, name in enumerate(self.fired, 1):
            ask = "Which lines will it change? Decide, then step on."
            yield self._frame(k - 1, name, f"Next pass, {name}. {self.says.get(name, '')} {ask}", whole[k - 1])
            rows = compared(self.listings[k - 1], self.listings[k])
            yield self._frame(k, name, f"{name}: {self._gain(k, rows)}", rows)
        reused = len(self.program.plan.reuse)
        yield Frame("source", f"The program: {_steps(end)} in place of {len(start.steps)}, {bytes_[-1]} moved in place "
                              f"of {bytes_[0]}. {reused} result{'s are' if reused != 1 else ' is'} written over memory "
                              "that nobody needs any more.",
                    {"stage": len(self.graphs) - 1, "rows": None}, tuple(self.program.source.splitlines()))

    def _frame(self, k, phase, text, rows):
        graph, names = self.graphs[k], self.names[k]
        ends = [("end", names[u.target], f"← {_text(u.value, names)}") for u in graph.updates]
        ends.append(("end", "return", ", ".join(_text(x, names) for x in graph.outputs)))
        kinds = {names[node]: kind_text(node) for node in graph.steps}
        if k:
            kinds = {**{self.names[k - 1][n]: kind_text(n) for n in self.graphs[k - 1].steps}, **kinds}
        shown = [[*row, kinds.get(row[1], "")] for row in around_changes([*rows, *ends])]
        if all(row[0] in ("gap", "end") for row in shown):
            rows = [*rows[:LONG], ("gap", "", f"{len(rows) - LONG} lines more"), *ends]
            shown = [[*row, kinds.get(row[1], "")] for row in rows]
        lines = [f"{MARKS[m]} {name} {'= ' if m not in ('end', 'gap') else ''}{text}  {kind}".rstrip()
                 for m, name, text, kind in shown]
        return Frame(phase, text, {"stage": k, "rows": shown}, tuple(lines))

    def _gain(self, k, rows):
        """What a pass has done and gained."""
        counts = {mark: sum(row[0] == mark for row in rows) for mark in ("removed", "added", "rewired")}
        did = ", ".join(f"{n} {mark}" for mark, n in counts.items() if n) or "the order of the steps is another"
        before, after, gap = self.bytes[k - 1], self.bytes[k], self.gaps[k]
        same = "The same numbers, bit for bit" if gap == 0 else f"The numbers differ by {number(gap)} at most"
        return (f"{did}. {same}. Steps {len(self.graphs[k - 1].steps)} → {len(self.graphs[k].steps)}, bytes moved "
                f"{size_text(before)} → {size_text(after)}.")


def _steps(graph):
    return f"{len(graph.steps)} step{'s' * (len(graph.steps) != 1)}"


# ---------------------------------------------------------------------- the picture
def picture_of(figure, frame):
    """The listing, and below it steps and bytes of each graph so far, as SVG."""
    rows, marks, y = frame.data["rows"], [hatch("md-gone")], 16
    for mark, name, text, kind in rows or [["end", "", line, ""] for line in figure["source"]]:
        if mark == "removed":
            marks.append(element("rect", x=1, y=y - 12, width=WIDE - 2, height=ROW - 1, style="fill: var(--md-grid)"))
            marks.append(element("rect", x=1, y=y - 12, width=WIDE - 2, height=ROW - 1, fill="url(#md-gone)"))
        if mark in ("added", "rewired"):
            marks.append(element("rect", x=1, y=y - 12, width=WIDE - 2, height=ROW - 1, class_="stroke",
                                 stroke_dasharray="3 2" if mark == "rewired" else None))
        line = f"{MARKS[mark]} {name:>5} = {text}" if mark not in ("gap", "end") else f"{MARKS[mark]} {name} {text}"
        marks.append(element("text", cut(line, int(520 / LETTER)), x=6, y=y, font_size=12, style="white-space: pre",
                             class_="mono bold" if mark in ("added", "removed") else "mono"))
        marks.append(element("text", kind, x=WIDE - 8, y=y, font_size=11, text_anchor="end", class_="mono muted"))
        y += ROW
    y += 8
    stages = figure["stages"]
    tops = [max(stage[j] for stage in stages) or 1 for j in (1, 2)]
    for k, (name, steps, moved, gap) in enumerate(stages[:frame.data["stage"] + 1]):
        now = k == frame.data["stage"]
        look = "small bold" if now else "small"
        marks.append(element("text", f"{'▸ ' if now else ''}{k} {name}", x=6, y=y + 11, class_=look))
        for x, share, text in ((120, steps / tops[0], f"{steps} steps"), (330, moved / tops[1], size_text(moved))):
            marks.append(element("rect", x=x, y=y + 1, width=100 * share, height=11, class_="arrow"))
            marks.append(element("text", text, x=x + 106, y=y + 11, class_=look))
        marks.append(element("text", f"max |Δ| {number(gap)}", x=560, y=y + 11, class_=look))
        y += ROW
    return document(WIDE, y + 6, *marks, title="passes of a graph", desc=frame.text)
