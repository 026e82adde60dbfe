"""explain(tensor): how it came about, in words and as a table.

    explain(loss)
    explain(loss, model, x=x)

Where `draw` shows all steps at once, this reads them out one after the other: what each op does, from what, what came
out, and which gradient came back.
"""
from ..errors import ArgumentError, message
from ..primitive import registry
from ..tensor import Tensor
from .drawing import view_of
from .graphview import cut
from .svg import element, joined
from .theme import css, size_text

HEADS = ("", "step", "what it does", "from", "shape", "value", "gradient")


class Explanation:
    """A table of steps that shows itself in a notebook, and in words.

    Attributes:
        view: the GraphView that it reads out.
        rows: for each step its number, name, what it does, its inputs, shape, value and gradient.
    """

    def __init__(self, view):
        self.view = view
        self.numbers = {item.id: k for k, item in enumerate(view.items, 1)}
        self.rows = [self._row(item) for item in view.items]

    def _row(self, item):
        sources = [self._called(edge) for edge in self.view.inputs(item.id)]
        name = item.title if item.name else item.kind
        absent = item.reason if item.reason.startswith("none") else f"none: {item.reason}" if item.reason else ""
        return (str(self.numbers[item.id]), name, what_it_does(item), ", ".join(sources), item.size, item.value,
                item.gradient or absent)

    def _called(self, edge):
        """An input as the table names it: its name and the number of its row."""
        item = self.view[edge.source]
        again = {"next": ", of the turn before", "cut": ", detached"}.get(edge.kind, "")
        return f"{item.title} ({self.numbers[item.id]}{again})"

    @property
    def summary(self):
        """The whole in a few sentences."""
        items = self.view.items
        steps = [item for item in items if item.computed]
        if not steps:
            return f"{items[-1].title} is a leaf: no recorded op made it, so its history begins here."
        last, learned = steps[-1], [item for item in items if item.kind == "parameter"]
        count = sum(item.count for item in steps)
        words = [f"{last.title} came about in {count} recorded step{'s' * (count != 1)} from "
                 f"{len(items) - len(steps)} value{'s' * (len(items) - len(steps) != 1)} that no op made"
                 + (f", of which {len(learned)} want{'s' * (len(learned) == 1)} a gradient." if learned else ".")]
        missing = {item.reason for item in items if item.reason and not item.gradient}
        if "backward has not run" in missing:
            words.append("Backward has not run from here, so there are no gradients yet.")
        kept = sum(item.saved for item in items)
        words += [f"For backward the tape keeps up to {size_text(kept)}."] if kept else []
        words += [f"NaN or infinity first appears at step {self.numbers[bad.id]}, {bad.title}." for bad in [
            next((item for item in items if item.sign == "broken"), None)] if bad]
        return " ".join(words)

    def describe(self):
        """The summary, and the table as plain text."""
        table = [HEADS, *self.rows]
        used = [k for k in range(len(HEADS)) if any(row[k] for row in self.rows)]
        widths = {k: max(len(row[k]) for row in table) for k in used}
        lines = ["  ".join(row[k].ljust(widths[k]) for k in used).rstrip() for row in table]
        return "\n".join([self.summary, "", *lines])

    def _repr_html_(self):
        head = element("tr", *(element("th", text, style="text-align: left") for text in HEADS))
        body = [element("tr", *(element("td", text, style="text-align: left; vertical-align: top") for text in row),
                        title=item.line or None) for row, item in zip(self.rows, self.view.items)]
        table = element("table", element("thead", head), element("tbody", joined(body)),
                        style="font-size: inherit; border-spacing: 10px 3px")
        return str(element("div", element("style", css_of_table()), element("p", self.summary), table, class_="minidl"))

    def __repr__(self):
        return self.describe()


def css_of_table():
    """The common style sheet, as Markup."""
    return joined([css(".minidl")])


def what_it_does(item):
    """The first line of an op's documentation; where nothing was computed, what kind of value it is."""
    if not item.computed:
        return {"parameter": "a leaf that wants a gradient", "input": "a value from outside",
                "constant": "a constant"}[item.kind]
    if item.kind == "module":
        return "a module, folded"
    ops = [op for op in registry.values() if op.name == item.op]
    lines = (ops[-1].__doc__ or "").strip().splitlines() if ops else []
    return cut(lines[0].partition(". ")[0].rstrip("."), 64) if lines else ""


def explain(tensor, *more, names=None, fold="auto", **named):
    """How a tensor came about, step by step.

    Args:
        tensor: one that was computed.
        more, names, named: as for `draw`: modules, a `watch`, dicts, and names of tensors.
        fold: as for `draw`.

    Returns:
        an Explanation: it shows itself as a table, prints as text, and has `.rows` and `.summary`.

    Raises:
        ArgumentError: it is no tensor.

    >>> import minidl as md
    >>> w = md.tensor([1.0, 2.0], requires_grad=True)
    >>> print(explain((w * w).sum(), w=w).summary)
    Σ sum came about in 2 recorded steps from 1 value that no op made, of which 1 wants a gradient. \
Backward has not run from here, so there are no gradients yet. For backward the tape keeps up to 16 B.
    """
    if not isinstance(tensor, Tensor):
        raise ArgumentError(message(f"explain: expected a tensor, got {type(tensor).__name__}.",
                                    try_="draw(...) shows graphs of other things."))
    return Explanation(view_of(tensor, *more, names=names, fold=fold, **named))
