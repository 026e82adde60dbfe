"""draw(x): the graph behind a tensor, a module, a compiled function, a session, or an error.

    draw(loss)                      the tape of a tensor, with values and gradients
    draw(loss, model)               with the names of the parameters
    draw(loss, w=w, b=b)            with names of your own
    draw(model, x)                  a module, each layer a box
    draw(f), draw(f.graph)          a compiled function, or any Graph
    draw(builder), draw(session)    a graph that is defined before it runs
    draw(error)                     what led to the op that raised

Nothing of this needs an op to know that it is drawn: all of it is read from the Nodes that are recorded anyway.
"""
import functools
import inspect
import re
from dataclasses import asdict, replace
from pathlib import Path

from .. import random
from ..anomaly import spelled, user_line
from ..autograd import enable_grad
from ..errors import ArgumentError, MinidlError, message
from ..func.trees import leaves
from ..nn.module import Module
from ..tensor import Tensor, wrap
from .cards import WIDEST, card_svg
from .dot import dot_text, has_dot, rendered
from .fold import close_modules, frames, set_aside, stack_repeats
from .from_graph import graph_of, graph_view
from .from_tape import failed_view, tape_view
from .raster import painted
from .svg import element
from .theme import LIGHT, css
from .watching import watch

READABLE, OPEN = 60, 500               # items: folded above the first; above the second text until it is asked for


class Drawing:
    """A graph that shows itself in a notebook, as a picture and in words.

    Args:
        view: a GraphView.
        engine: "dot" or "own"; None takes Graphviz' `dot` where it is installed and the picture is not too wide.
        theme: "light" or "dark"; None follows the reader's preference.

    Attributes:
        view: what is drawn, as data.
    """

    def __init__(self, view, engine=None, theme=None):
        self.view, self.engine, self.theme = view, engine, theme

    def describe(self):
        """The same facts in words, a line for each item."""
        return self.view.describe()

    @functools.cached_property
    def svg(self):
        """The picture as SVG."""
        if self.engine == "dot" or (self.engine is None and has_dot()):
            try:
                made = rendered(self.dot, "svg").decode("utf-8")
                if self.engine == "dot" or _fits(made):
                    return _themed(made, self.view, self.theme)
            except Exception:                          # a Graphviz that is there and does not work
                if self.engine == "dot":
                    raise
        return str(card_svg(self.view, self.theme))

    @property
    def dot(self):
        """The graph in the DOT language."""
        return dot_text(self.view, self.theme or "light")

    @property
    def source(self):
        """The graph as a `graphviz.Source`; as the text in DOT, where that package is not installed."""
        try:
            import graphviz
        except ImportError:
            return self.dot
        return graphviz.Source(self.dot)

    def save(self, path):
        """Write the picture to a file; the ending of its name says how: .svg, .dot, .gv, .png, .pdf, .txt.

        A PNG or a PDF is made by Graphviz' `dot`; where it is not installed, or with `engine="own"`, by matplotlib.

        Raises:
            ArgumentError: it is none of these.
            ImportError: it is .png or .pdf, and there is neither Graphviz nor matplotlib.
        """
        path = Path(path)
        kind = path.suffix.lower()
        texts = {".svg": lambda: self.svg, ".dot": lambda: self.dot, ".gv": lambda: self.dot, ".txt": self.describe}
        if kind in texts:
            path.write_text(texts[kind](), encoding="utf-8")
        elif kind in (".png", ".pdf"):
            path.write_bytes(self._file(kind[1:]))
        else:
            raise ArgumentError(message(f"save: a drawing cannot be written as {kind or 'a file without an ending'}.",
                                        [("file", path.name)], ".svg, .png, .pdf, .dot or .txt."))

    def _file(self, format):
        """The bytes of a PNG or a PDF."""
        if self.engine == "dot" or (self.engine is None and has_dot()):
            try:
                return rendered(self.dot, format)
            except Exception:                          # a Graphviz that is there and does not work
                if self.engine == "dot":
                    raise
        return painted(str(card_svg(self.view, self.theme)), format, self.theme or "light")

    def _repr_mimebundle_(self, include=None, exclude=None):
        if len(self.view.items) > OPEN:
            return {"text/plain": f"{len(self.view.items)} items are too many for a picture that can be read; "
                                  f"`.svg` draws it all the same.\n{self.describe()}"}
        return {"image/svg+xml": self.svg, "text/plain": self.describe()}

    def __repr__(self):
        return self.describe()


def draw(what, *more, names=None, fold="auto", depth=None, engine=None, theme=None, title="", **named):
    """The graph behind something, drawn.

    Args:
        what: a tensor or a list of tensors (their tape); a Module, with example inputs behind it; a function that
            `md.compile` made, or a Graph; a Builder, a Session, or a list of what it could fetch; an error that an op
            raised.
        more: for a Module its inputs; otherwise modules (for the names of their parameters), a `watch` that covered the
            computation, or dicts from names to tensors.
        names: name -> tensor; the same can be given as `**named`.
        fold: whether modules are closed and the turns of loops laid upon each other. "auto" does it for a Module, and
            for the rest above 60 items.
        depth: how deep modules are opened; None opens those with modules in them.
        engine: "dot" or "own"; None takes Graphviz' `dot` where it is installed and the picture is not too wide.
        theme: "light" or "dark"; None follows the reader's preference.
        title: of the picture.

    Returns:
        a Drawing: it shows itself in a notebook; `.svg`, `.save(path)`, `.source`, `.describe()`, `.view`.

    Raises:
        ArgumentError: `what` has no graph.

    >>> import minidl as md
    >>> w, x = md.tensor(2.0, requires_grad=True), md.tensor(3.0)
    >>> loss = w * x
    >>> loss.backward()
    >>> print(draw(loss, w=w, x=x).describe())
    tape: 1 step, 2 values from outside.
      [n1] w (parameter) () float32 = 2, ∂ 3
      [n2] x (input) () float32 = 3, no gradient: none wanted
      [n3] × mul (loss) () float32 = 6, ∂ 1, from w [n1] and x [n2]
    """
    view = view_of(what, *more, names=names, fold=fold, depth=depth, **named)
    if engine not in (None, "dot", "own"):
        raise ArgumentError(message(f"draw: there is no engine called {engine!r}.", try_='"dot" or "own".'))
    if engine == "dot" and not has_dot():
        raise ArgumentError(message("draw: Graphviz' program dot was not found.", try_="engine=None draws without it."))
    return Drawing(view.with_(title=title) if title else view, engine, theme)


def view_of(what, *more, names=None, fold="auto", depth=None, **named):
    """The GraphView that `draw` draws."""
    if isinstance(what, Module):
        return _module_view(what, more, fold, depth)
    names, seen = _names(more, {**(names or {}), **named})
    if isinstance(what, BaseException):
        view = failed_view(what, names, seen)
        if view is None:
            raise ArgumentError(message("draw: no op of minidl is found in the traceback of this error.",
                                        [("error", type(what).__name__)], "draw(error) inside `except ... as error:`."))
        return _folded(view, seen, fold, depth)
    found = graph_of(what)
    if found is not None:
        return _folded(graph_view(*found), seen, fold, depth)
    roots = leaves(what)
    if not roots or not all(isinstance(x, Tensor) for x in roots):
        raise ArgumentError(message(f"draw: a {type(what).__name__} has no graph.", [("got", repr(what)[:60])],
                                    "a tensor, a module with its inputs, a compiled function, a graph, or an error."))
    return _folded(tape_view(roots, names, seen), seen, fold, depth)


def _names(more, names):
    """(name -> tensor, the watch or None) of what was given behind the thing to draw."""
    seen = None
    for thing in more:
        if isinstance(thing, watch):
            seen = thing
            names = {**_parameters(thing.model), **names} if thing.model is not None else names
        elif isinstance(thing, Module):
            names = {**_parameters(thing), **names}
        elif isinstance(thing, dict):
            names = {**thing, **names}
        else:
            raise ArgumentError(message(f"draw: a {type(thing).__name__} does not say how to draw a graph.",
                                        try_="a module, a watch, or a dict of names; inputs come after a module."))
    return {name: x for name, x in names.items() if isinstance(x, Tensor)}, seen


def _parameters(model):
    return dict([*model.named_parameters(), *model.named_buffers()])


# ---------------------------------------------------------------------- modules
def _module_view(model, inputs, fold, depth):
    """The view of a module: it runs once, under our eyes, and is left as it was."""
    if not inputs:
        raise ArgumentError(message(f"draw: a {type(model).__name__} has a graph only for an input.",
                                    try_="draw(model, x) with an example x, md.zeros(1, 28 * 28) for instance."))
    given = [_fresh(x) for x in inputs]
    tensors = [x for x in given if isinstance(x, Tensor)]
    names = {**_parameters(model), **dict(zip(_argument_names(model, given), given))}
    names = {name: x for name, x in names.items() if isinstance(x, Tensor)}
    seen = watch(model)
    try:
        with _untouched(model), enable_grad(), seen:
            outs = [x for x in leaves(model(*given)) if isinstance(x, Tensor)]
        view = tape_view(outs, names, seen, inputs=tensors)
    except MinidlError as error:
        view = failed_view(error, names, seen, tensors)
        if view is None:
            raise
    used = {edge.source for edge in view.edges}
    here = spelled(user_line())                        # says nothing about a step: it is the call of draw
    items = tuple(replace(item, reason="", kind="op" if item.kind == "loss" else item.kind, gradient="",
                          line="" if item.line == here else item.line)
                  for item in view.items if item.computed or item.id in used)
    view = view.with_(items=items, title=view.title if view.note else type(model).__name__)
    return _folded(view, seen, True if fold == "auto" else fold, depth)


def _fresh(x):
    """An input of our own, for which a gradient may be asked, so that all steps are recorded."""
    if not isinstance(x, Tensor):
        return x
    out = wrap(x.array)
    out.requires_grad = x.dtype.kind == "f"
    return out


def _argument_names(model, given):
    try:
        return list(inspect.signature(model.forward).bind(*given).arguments)
    except (TypeError, ValueError):
        return [f"x{k}" for k in range(len(given))]


class _untouched:
    """Inside the block a module may run; afterwards buffers, frozen parameters and random numbers are as before."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.buffers = [(b, b.array.copy()) for b in self.model.buffers()]
        self.frozen = [p for p in self.model.parameters() if not p.requires_grad]
        self.state = random.get_rng_state()
        for p in self.frozen:
            p.requires_grad = True

    def __exit__(self, *_):
        random.set_rng_state(self.state)
        for b, numbers in self.buffers:
            b.array[...] = numbers
        for p in self.frozen:
            p.requires_grad = False


# ---------------------------------------------------------------------- folding
def _folded(view, seen, fold, depth):
    """The view with as much in it as can be read."""
    view = set_aside(view)
    if fold is True or (fold == "auto" and len(view.items) > READABLE):
        if seen is not None and seen.calls:
            view = _closed(view, seen.modules(), depth)
        view = stack_repeats(view)
    return frames(view)


def _closed(view, modules, depth):
    """Modules closed: those without modules in them; more of them, from the inside out, until it can be read."""
    closed = close_modules(view, modules, depth)
    deepest = max((len(item.scope) for item in view.items), default=0)
    for level in range(deepest - 1, 0, -1):
        if depth is not None or len(stack_repeats(closed).items) <= READABLE:
            break
        closed = close_modules(view, modules, level)
    return closed


# ---------------------------------------------------------------------- what dot makes, in our colours
def _fits(text):
    """Whether a notebook shows it without making its text smaller; our own layout begins new lines instead."""
    return float(re.search(r'<svg width="([\d.]+)', text)[1]) <= WIDEST        # a point is a pixel: see _themed


FLUID = "max-width: 100%; height: auto;"


def _themed(text, view, theme):
    """SVG by `dot` with a title, a description, and colours that follow the reader's theme."""
    text = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', text[text.index("<svg"):], count=2)
    rules = [] if theme else [
        f'svg.minidl [{what}="{colour.lower()}"] {{ {what}: var(--md-{name.replace("_", "-")}) }}'
        for what in ("fill", "stroke") for name, colour in asdict(LIGHT).items() if isinstance(colour, str)]
    sheet = element("style", css("svg.minidl") + "\n" + "\n".join(rules))
    head = f"{element('title', view.title)}{element('desc', view.describe())}{sheet if not theme else ''}"
    return text.replace("<svg", f'<svg role="img" class="minidl" style="{FLUID}"', 1).replace(">", f">{head}", 1)
