"""A GraphView in the DOT language of Graphviz: the same nodes, edges and lines of text as in our own drawing."""
import shutil
from html import escape

from .theme import BODY, KINDS, SMALL, THEMES

FONT = "Helvetica,Arial,sans-serif"


def dot_text(view, theme="light"):
    """The graph in DOT.

    Args:
        view: a GraphView.
        theme: "light" or "dark".
    """
    colours = THEMES[theme]
    lines = ["digraph {", f'  graph [rankdir=LR bgcolor="{colours.paper}" fontname="{FONT}" fontsize={BODY} '
             f'fontcolor="{colours.muted}" color="{colours.line}" ranksep=0.45 nodesep=0.2{_note(view)}]',
             f'  node [fontname="{FONT}" fontsize={BODY} color="{colours.ink}" fontcolor="{colours.ink}" '
             'margin="0.09,0.05" height=0.3 width=0.3]',
             f'  edge [color="{colours.line}" fontcolor="{colours.muted}" fontname="{FONT}" fontsize={SMALL} '
             'arrowsize=0.6]']
    lines += [_node(item, colours) for item in view.items]
    for k, group in enumerate(view.groups):
        members = " ".join(quoted(m) for m in group.members)
        lines.append(f"  subgraph cluster_{k} {{ style=\"rounded,dashed\" label={quoted(group.label)} {members} }}")
    lines += [_edge(edge) for edge in view.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _note(view):
    """What must be said about the whole graph, above it, in lines that begin at the left."""
    text = "\\l".join(quoted(line)[1:-1] for line in view.note.splitlines())
    return f' label="{text}\\l" labelloc=t labeljust=l' if text else ""


def quoted(text):
    """A text as a string of DOT."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _node(item, colours):
    shape, style, *more = KINDS[item.kind].dot
    rows = [_row(row, colours) for row in item.rows()]
    return f"  {quoted(item.id)} [shape={shape} style={quoted(style)} {' '.join(more)} class={quoted(item.kind)} " \
           f"tooltip={quoted(item.line or item.title)} label=<{'<br/>'.join(rows)}>]"


def _row(row, colours):
    """One line of a label in HTML."""
    role, text, sign = row
    text = escape(text)
    if role == "title":
        return f"<b>{text}</b>"
    colour = {"positive": colours.positive, "negative": colours.negative, "broken": colours.broken_text}.get(sign)
    if role in ("absent", "note", "size"):
        colour = colours.muted
    return f'<font color="{colour}">{text}</font>' if colour else text


def _edge(edge):
    settings = []
    if edge.kind == "cut":
        settings += ["style=dotted", "arrowhead=tee"]
    if edge.kind in ("next", "update"):
        settings += ["style=dashed", "constraint=false"]
    if edge.saved:
        settings += ["arrowhead=normalbox"]
    if edge.label:
        settings += [f"label={quoted(edge.label)}"]
    return f"  {quoted(edge.source)} -> {quoted(edge.target)}" + (f" [{' '.join(settings)}]" if settings else "")


def has_dot():
    """Whether this machine has Graphviz' program `dot`, and Python the package that calls it."""
    try:
        import graphviz
    except ImportError:
        return False
    return graphviz is not None and shutil.which("dot") is not None


def rendered(text, format):
    """What `dot` makes of a text in DOT, as bytes; ours to call only where `has_dot()`."""
    import graphviz
    return graphviz.Source(text).pipe(format=format)
