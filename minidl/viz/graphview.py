"""A graph as pictures, widgets and readers need it: items, the edges between them, and groups of them.

It holds texts and numbers only, no arrays and no Nodes, so it is an immutable record of one moment that can be
written as JSON. The ids follow the order of computation: the same program gives the same ids.

    from_tape.py      makes one of a tensor's tape
    from_graph.py     of a graph that was written down: md.compile, md.graph
    fold.py           makes a smaller one of a large one
"""
from dataclasses import asdict, dataclass, field, replace

MOST = 34                              # characters of one line of a label


@dataclass(frozen=True)
class Item:
    """One value and what made it.

    Attributes:
        id: short and unique, the same at every run.
        kind: a key of theme.KINDS.
        symbol: what the op is written as: "×", "@"; "" where nothing was computed.
        op: the op's own name; "" where nothing was computed.
        name: of the variable, or of the op.
        shape: None if it has none.
        value, gradient: in a few words; "" if they are not known or not there.
        sign, gradient_sign: as theme.sign_of says.
        reason: why there is no gradient, or what is to be known about the one there is.
        scope: the calls of modules that it was computed in, the outermost first.
        line: the line of the learner's code that made it, if somebody watched.
        saved: bytes that this step keeps for backward.
        count: how many equal ones it stands for.
        note: anything else.
    """

    id: str
    kind: str
    symbol: str = ""
    name: str = ""
    shape: tuple | None = None
    dtype: str = ""
    value: str = ""
    sign: str = "mixed"
    gradient: str = ""
    gradient_sign: str = "mixed"
    reason: str = ""
    scope: tuple = ()
    line: str = ""
    saved: int = 0
    count: int = 1
    note: str = ""
    op: str = ""

    @property
    def computed(self):
        """True for what an op, or several, have made."""
        return self.kind in ("op", "view", "loss", "module", "failed")

    @property
    def title(self):
        """Symbol and name, without saying the same twice."""
        head = " ".join(dict.fromkeys(part for part in (self.symbol, self.name) if part)) or self.kind
        return cut(head) + (f" ×{self.count}" if self.count > 1 else "")

    @property
    def size(self):
        """Shape and dtype."""
        if self.shape is None:
            return ""
        shape = f"({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"
        return f"{shape} {self.dtype}".rstrip()

    def rows(self):
        """The lines of its label, as (role, text, sign); the same ones whoever draws it."""
        rows = [("title", self.title, "")]
        rows += [("size", cut(self.size), "")] if self.size else []
        rows += [("value", cut(self.value), self.sign)] if self.value else []
        if self.gradient:
            rows.append(("gradient", cut(f"∂ {self.gradient}"), self.gradient_sign))
        if self.reason:
            rows.append(("absent" if not self.gradient else "note", cut(f"∂ {self.reason}", 44), ""))
        rows += [("note", cut(self.note, 44), "")] if self.note else []
        return rows


@dataclass(frozen=True)
class Edge:
    """A value on its way.

    Attributes:
        source, target: ids.
        index: which input of the target it is.
        kind: "value"; "cut" where no gradient flows back; "next" into the next turn of a loop; "update" where a
            variable is given its new value.
        count: how many equal ones it stands for.
        saved: the target keeps the value for backward.
    """

    source: str
    target: str
    index: int = 0
    kind: str = "value"
    count: int = 1
    saved: bool = False

    @property
    def label(self):
        """What is written beside it, if anything."""
        words = {"next": "next turn", "update": "new value"}.get(self.kind, "")
        return " ".join(part for part in (words, f"×{self.count}" if self.count > 1 else "") if part)


@dataclass(frozen=True)
class Group:
    """Items that belong together: a module that is open, or the body of a loop.

    Attributes:
        name: for the frame.
        members: ids.
        count: how often it was gone through.
    """

    name: str
    members: tuple
    count: int = 1

    @property
    def label(self):
        """Name and count."""
        return self.name + (f" ×{self.count}" if self.count > 1 else "")


@dataclass(frozen=True)
class GraphView:
    """The description of a graph.

    Attributes:
        items: in an order in which each comes after its inputs.
        edges, groups: see there.
        title: of the picture.
        note: what must be said about all of it, such as the error that stopped it.
    """

    items: tuple
    edges: tuple
    groups: tuple = ()
    title: str = "graph"
    note: str = ""
    index: dict = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self):
        self.index.update({item.id: item for item in self.items})

    def __getitem__(self, name):
        """The item with this id, or else the first with this name."""
        if name in self.index:
            return self.index[name]
        found = [item for item in self.items if item.name == name]
        if not found:
            raise KeyError(name)
        return found[0]

    def inputs(self, item_id):
        """The edges that arrive at an item, in the order of its inputs."""
        return sorted((e for e in self.edges if e.target == item_id), key=lambda e: e.index)

    def with_(self, **changes):
        """A copy with other items, edges, groups, title or note."""
        return replace(self, index={}, **changes)

    def to_dict(self):
        """The same as plain lists and dicts, for JSON."""
        return {"title": self.title, "note": self.note, "items": [asdict(i) for i in self.items],
                "edges": [asdict(e) for e in self.edges], "groups": [asdict(g) for g in self.groups]}

    # ------------------------------------------------------------------ in words
    def describe(self):
        """All of it in words: a line for what there is to see, then one for each item."""
        computed = sum(item.computed for item in self.items)
        head = f"{self.title}: {_count(computed, 'step')}, {_count(len(self.items) - computed, 'value')} from outside."
        into = {}
        for edge in self.edges:
            into.setdefault(edge.target, []).append(edge)
        lines = [_sentence(item, into.get(item.id, ()), self.index) for item in self.items]
        frames = [f"Frame {g.label}: {', '.join(_called(self.index[m]) for m in g.members)}." for g in self.groups]
        return "\n".join([head, *([self.note] if self.note else []), *lines, *frames])


def _count(n, one):
    return f"{n} {one}{'s' * (n != 1)}"


def _called(item):
    return f"{item.title} [{item.id}]"


def _sentence(item, edges, index):
    """One line about an item: `[n3] × mul (2,) = [1, 2], ∂ [3, 4], from w [n1] and x [n2]`."""
    kind = "" if item.kind in ("op", "view") else f" ({item.kind})"
    parts = [f"[{item.id}] {item.title}{kind} {item.size}".rstrip() + (f" = {item.value}" if item.value else "")]
    parts += [f"∂ {item.gradient}"] if item.gradient else []
    parts += [f"no gradient: {item.reason}" if not item.gradient else item.reason] if item.reason else []
    for kind, word in (("value", "from"), ("cut", "detached from"), ("next", "from the turn before:"),
                       ("update", "new value:")):
        sources = [_called(index[e.source]) + (f" ×{e.count}" if e.count > 1 else "")
                   for e in sorted(edges, key=lambda e: e.index) if e.kind == kind]
        parts += [f"{word} {' and '.join(sources)}"] if sources else []
    parts += [f"keeps {item.saved} bytes"] if item.saved else []
    parts += [part for part in (f"in {item.scope[-1]}" if item.scope and item.scope[-1] else "", item.note,
                                f"line: {item.line}" if item.line else "") if part]
    return "  " + ", ".join(parts)


def cut(text, most=MOST):
    """The text, cut with … where it is longer."""
    return text if len(text) <= most else text[:most - 1].rstrip() + "…"
