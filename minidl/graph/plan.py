"""Which memory each step of a graph writes to: results take the place of values that nobody needs any more.

Memory is counted in *blocks*. Every input, variable and constant is a block; so is the result of a step, unless the
step only looks at other memory (reshape, permute) or may write over one of its inputs. A block lives from the step
that makes it to the last step that reads it, or reads a view of it.
"""
from ..errors import TraceError
from ..kernels.loops import Loop
from ..tensor import Node
from .symbols import PLACEHOLDER, SOURCES, VARIABLE

# Steps that are one NumPy ufunc: they can write into memory that is given to them with `out=`.
IN_PLACE = frozenset("add sub mul div neg abs square sqrt exp expm1 log log1p tanh sinh cosh sin cos maximum minimum "
                     "logical_and logical_or logical_not logical_xor".split())


class Plan:
    """The blocks of a graph.

    Attributes:
        block: from each Node to the Node that its block is named after: its first owner, or the source it is read from.
        reuse: from a step to the input whose memory it writes over.
        last: from each block to the place of the last step that reads it; the number of steps if it is an output.
        written: from the VARIABLE Nodes that get their new value without a copy to the steps that write it.
    """

    def __init__(self, graph):
        self.graph, self.steps = graph, graph.steps
        self.place = {node: k for k, node in enumerate(self.steps)}
        self.viewed = {}                               # view -> what it looks at, through views of views
        for node in graph.nodes:
            base = node.inputs[0] if node.op.view and isinstance(node.inputs[0], Node) else None
            self.viewed[node] = self.viewed[base] if base is not None else node
        self.targets = {u.target: u.value for u in graph.updates if u.target.op is VARIABLE}
        self._count_reads()
        self.block = {node: node for node in graph.nodes if self.viewed[node] is node}
        self.reuse, self.written = {}, {}
        for node in self.steps:
            self._place_result(node)

    def _count_reads(self):
        """The last read of each value, views counted for what they look at."""
        self.end = dict.fromkeys(self.graph.nodes, -1)
        for k, node in enumerate(self.steps):
            for x in node.inputs:
                if isinstance(x, Node):
                    self.end[self.viewed[x]] = k
        for x in [*self.graph.outputs, *(u.value for u in self.graph.updates)]:
            if isinstance(x, Node):
                self.end[self.viewed[x]] = len(self.steps)
        for node in self.graph.steps:                  # broadcast memory repeats its numbers: never write there
            if node.op.name == "expand":
                self.end[self.viewed[node]] = max(self.end[self.viewed[node]], self.end[node])

    def _place_result(self, node):
        writes = node.op.name in IN_PLACE or isinstance(node.op, Loop)    # loops copy views of another order
        if not writes or not node.shape or self.viewed[node] is not node:
            return
        for x in dict.fromkeys(x for x in node.inputs if isinstance(x, Node)):
            if self._may_write_over(x, node):
                owner = self.block[x]
                self.reuse[node], self.block[node] = x, owner
                if owner.op is VARIABLE and self.targets.get(owner) is node:
                    self.written[owner] = node
                return

    def _may_write_over(self, x, node):
        """Whether the memory of x is free for the result of this step."""
        if self.viewed[x] is not x or x.shape != node.shape or x.dtype != node.dtype or self.end[x] > self.place[node]:
            return False
        owner = self.block[x]
        if owner.op is PLACEHOLDER or owner.op not in SOURCES:
            return owner.op is not PLACEHOLDER and not owner.op.view        # a view that owns itself is a constant's
        if owner.op is not VARIABLE or owner not in self.targets or self._read_later(owner, node):
            return False
        target = self.targets[owner]                   # only what becomes the new value may pass through here
        return node is target or (isinstance(target, Node) and self.end[node] < len(self.steps)
                                  and self.end[node] <= self.place.get(target, -1))

    def _read_later(self, owner, node):
        return self.end[owner] > self.place[node]

    # ------------------------------------------------------------------ proof
    def intervals(self):
        """For each block, the stretches of time in which it holds a value that is still needed: (from, to, Node)."""
        found = {}
        for node, owner in self.block.items():
            born = self.place.get(node, -1)
            found.setdefault(owner, []).append((born, max(self.end[node], born), node))
        return {owner: sorted(stretches, key=lambda s: s[0]) for owner, stretches in found.items()}

    def check(self):
        """Raise if a value is overwritten before its last read. A step may write over what it reads itself.

        What is given from outside is only written over if it is a variable that the run changes.

        Returns:
            the plan.
        """
        for node, x in self.reuse.items():
            if (x.shape, x.dtype) != (node.shape, node.dtype) or self.viewed[x] is not x or not node.shape:
                raise TraceError(f"plan: {node} cannot be written to the memory of {x}.")
        for owner, stretches in self.intervals().items():
            if len(stretches) > 1 and (owner.op.view or owner.op is not VARIABLE and owner.op in SOURCES
                                       or owner.op is VARIABLE and owner not in self.targets):
                raise TraceError(f"plan: {stretches[1][2]} overwrites {owner}, which is not the graph's to change.")
            for (_, end, old), (start, _, new) in zip(stretches, stretches[1:]):
                if end > start:
                    raise TraceError(f"plan: {new} overwrites {old} in the memory of {owner}, which is still needed.")
        return self
