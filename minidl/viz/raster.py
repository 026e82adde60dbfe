"""Our own SVG painted by matplotlib, for files that are no SVG: PNG and PDF, where there is no Graphviz to make them.

It reads what svg.py and cards.py write and no more: rect, path, text, and g with a translate. Colours, strokes and
sizes of letters come from the same style sheet (theme.css), so the two pictures cannot differ in them.
"""
import functools
import io
import re
import xml.etree.ElementTree as ET

from .svg import text_width
from .theme import BODY, MONO, THEMES, css, variables

POINT = 0.75                                           # points in a px of CSS, of which 96 make an inch
SHARP = 2                                              # pixels of a PNG for each px of the SVG
SPARE = 12                                             # px beside a text that it may fill: a card has them


def painted(svg, format="png", theme="light"):
    """The picture as the bytes of a file.

    Args:
        svg: one of our own pictures, as text.
        format: "png" or "pdf".
        theme: "light" or "dark".

    Raises:
        ImportError: matplotlib is not there; says how to get it.
    """
    file = io.BytesIO()
    dates = {"CreationDate": None} if format == "pdf" else {}          # the same picture is the same file
    figure_of(svg, theme).savefig(file, format=format, dpi=96 * SHARP, metadata=dates)
    return file.getvalue()


def figure_of(svg, theme="light"):
    """The picture as a matplotlib Figure whose one axes counts the px of the SVG, from the top left."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ImportError('a PNG or a PDF needs Graphviz or matplotlib: pip install "minidl[lab]"') from None
    from matplotlib.figure import Figure

    root = ET.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    figure = Figure(figsize=(width / 96, height / 96), facecolor=THEMES[theme].paper)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for tag, node, (x, y) in _shapes(root):
        PAINTERS[tag](axes, node, x, y, _style(node, theme))
    _fit(axes, figure)
    return figure


def _shapes(node, x=0.0, y=0.0):
    """(tag, element, where its (0, 0) lies) of all that is painted, from the back to the front."""
    for child in node:
        tag = child.tag.rpartition("}")[2]
        if tag == "g":
            moved = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", child.get("transform", "translate(0,0)"))
            yield from _shapes(child, x + float(moved[1]), y + float(moved[2]))
        elif tag in PAINTERS and child.get("width") != "100%":         # the paper: the figure's own colour
            yield tag, child, (x, y)


# ---------------------------------------------------------------------- how it looks
@functools.cache
def _rules(theme):
    """{"outline": {"stroke": "#1a1a1a", ...}, ...}: the rules of the style sheet, in its order, with colours."""
    colours = _declarations(variables(THEMES[theme]))
    filled = re.sub(r"var\((--[\w-]+)\)", lambda found: colours.get(found[1], "none"), css(".md"))
    return {name: _declarations(body) for name, body in re.findall(r"^\.md \.?([\w-]+) \{(.*)\}$", filled, re.M)
            if not body.strip().startswith("--")}


def _declarations(text):
    pairs = (part.partition(":") for part in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs if value}


def _style(node, theme):
    """What holds for an element: its attributes, over them the rules of its classes, over them its own style."""
    classes = {node.tag.rpartition("}")[2], *node.get("class", "").split()}
    style = dict(node.attrib)
    for name, rule in _rules(theme).items():
        style.update(rule if name in classes else {})
    own = re.sub(r"var\(--md-([\w-]+)\)", lambda found: getattr(THEMES[theme], found[1].replace("-", "_")),
                 node.get("style", ""))
    return style | _declarations(own)


def _pen(style):
    """Fill and stroke, as matplotlib's patches take them; it counts dashes in widths of the line."""
    wide = float(style.get("stroke-width", 1))
    dashes = [float(n) / wide for n in style.get("stroke-dasharray", "").split()]
    return {"facecolor": style.get("fill", "black"), "edgecolor": style.get("stroke", "none"),
            "linewidth": wide * POINT, "linestyle": (0, dashes) if dashes else "solid",
            "joinstyle": style.get("stroke-linejoin", "miter")}


# ---------------------------------------------------------------------- what is painted
def _rect(axes, node, x, y, style):
    from matplotlib.patches import FancyBboxPatch

    left, top, w, h = (float(node.get(name, 0)) for name in ("x", "y", "width", "height"))
    radius = min(float(node.get("rx", 0)), w / 2, h / 2)
    corners = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
    axes.add_patch(FancyBboxPatch((x + left, y + top), w, h, boxstyle=corners, mutation_scale=1, **_pen(style)))


def _path(axes, node, x, y, style):
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    codes = {"M": Path.MOVETO, "L": Path.LINETO, "Q": Path.CURVE3, "C": Path.CURVE4, "Z": Path.CLOSEPOLY}
    points, kinds = [(0.0, 0.0)], []
    for letter, text in re.findall(r"([A-Z])([^A-Z]*)", node.get("d")):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", text)]
        if letter in "HV":                                             # level or upright: one number is as before
            numbers = [*numbers, points[-1][1] - y] if letter == "H" else [points[-1][0] - x, *numbers]
            letter = "L"
        ends = [(x + a, y + b) for a, b in zip(numbers[::2], numbers[1::2])] or [points[-1]]
        points += ends
        kinds += [codes[letter]] * len(ends)
    axes.add_patch(PathPatch(Path(points[1:], kinds), **_pen(style)))


def _text(axes, node, x, y, style):
    size = float(style.get("font-size", f"{BODY}px").removesuffix("px"))
    anchor = {"start": "left", "middle": "center", "end": "right"}[node.get("text-anchor", "start")]
    axes.text(x + float(node.get("x", 0)), y + float(node.get("y", 0)), node.text or "", ha=anchor, va="baseline",
              size=size * POINT, color=style["fill"], weight="bold" if "font-weight" in style else "normal",
              family="DejaVu Sans Mono" if style.get("font-family") == MONO else "DejaVu Sans", parse_math=False)


def _fit(axes, figure):
    """All letters smaller by one share, where a text would be wider than the layout reckoned with."""
    shares = [1.0]
    for text in axes.texts:
        reckoned = text_width(text.get_text(), text.get_size() / POINT, text.get_weight() == "bold")
        reckoned *= 1.1 if text.get_family() == ["DejaVu Sans Mono"] else 1.0
        shares.append((reckoned + SPARE) / max(text.get_window_extent(dpi=96).width, 1.0))
    for text in axes.texts:
        text.set_size(text.get_size() * min(shares))


PAINTERS = {"rect": _rect, "path": _path, "text": _text}
