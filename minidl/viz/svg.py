"""SVG written with care: elements whose texts are escaped, marks for kinds of nodes, and an estimate of text widths.

    element("text", "a < b", x=10, y=20, class_="small")     '<text x="10" y="20" class="small">a &lt; b</text>'

What `element` returns is Markup and goes into another element as it is; any other text is escaped. The same
function writes HTML.
"""
import math
import re
from html import escape

from .theme import BODY, css

EMPTY = {"br", "hr", "img", "input", "meta", "link"}             # of HTML, without an end
SHAPES = {"circle", "ellipse", "line", "path", "polygon", "polyline", "rect", "use"}     # of SVG, by the thousand


class Markup(str):
    """A text that is SVG or HTML already."""

    __slots__ = ()


def element(tag, *children, **attributes):
    """One element.

    Args:
        tag: its name.
        children: Markup stays as it is; other texts and numbers are escaped; None is left out.
        attributes: `stroke_width=2` writes `stroke-width="2"`, `class_="small"` writes `class="small"`; None and False
            are left out, True is written without a value's worth (`hidden=""`).
    """
    parts = "".join(f' {_name(key)}="{escape(_text(value))}"' for key, value in attributes.items()
                    if value is not None and value is not False)
    inside = "".join(child if isinstance(child, Markup) else escape(_text(child), quote=False)
                     for child in children if child is not None)
    if tag in EMPTY:
        return Markup(f"<{tag}{parts}>")
    if tag in SHAPES and not inside:
        return Markup(f"<{tag}{parts}/>")
    return Markup(f"<{tag}{parts}>{inside}</{tag}>")


def joined(parts, by=""):
    """Several pieces of Markup as one."""
    return Markup(by.join(parts))


def _name(key):
    return "viewBox" if key == "viewBox" else key.removesuffix("_").replace("_", "-")


def _text(value):
    if value is True:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def document(width, height, *children, title, desc, theme=None):
    """A whole SVG picture in the common style, with its paper.

    Args:
        title: a few words.
        desc: all there is to see, in words.
        theme: "light" or "dark"; None follows the reader's preference.
    """
    paper = element("rect", width="100%", height="100%", class_="paper")
    style = element("style", Markup(_needed(css("svg.minidl"), "".join(map(str, (paper, *children))))))
    return element("svg", element("title", title), element("desc", desc), style, paper, *children,
                   xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_text(float(width))} {_text(float(height))}",
                   width=float(width), height=float(height), role="img", class_="minidl",
                   data_theme=theme, style="max-width: 100%; height: auto;")


def _needed(sheet, body):
    """The style sheet without rules and colours that nothing in the picture asks for; a notebook holds many."""
    rules = [line for line in sheet.splitlines(keepends=True)
             if not (named := re.match(r"svg\.minidl \.([\w-]+) \{", line)) or named[1] in body]
    return "".join(rules) if "md-lane" in body else re.sub(r" --md-lane-\d: #\w+;", "", "".join(rules))


# ---------------------------------------------------------------------- text
NARROW, WIDE = set("iljtfrI.,:;'|![]() ·"), set("mwMW@%∂∇→←×…—ΣΔ")


def text_width(text, size=BODY, bold=False):
    """About how wide a text is, in px; a little more rather than less, for fonts differ from reader to reader."""
    units = sum(0.36 if c in NARROW else 0.95 if c in WIDE else 0.72 if c.isupper() else 0.6 for c in str(text))
    return units * size * (1.08 if bold else 1.0)


def shortened(text, width, size=BODY):
    """The text, cut with … where it would be wider than `width`."""
    text = str(text)
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


# ---------------------------------------------------------------------- marks
def mark(shape, x, y, width, height, **attributes):
    """The outline of a kind of node (theme.KINDS[kind].shape) in the box at (x, y)."""
    attributes = {"class_": "outline", **attributes}
    if shape == "circle":
        radius = min(width, height) / 2
        return element("rect", x=x, y=y, width=width, height=height, rx=radius, **attributes)
    if shape in ("square", "thin", "frame"):
        extra = {"rx": 8, "stroke_dasharray": "6 3"} if shape == "frame" else {}
        extra |= {"stroke_dasharray": "3 2"} if shape == "thin" else {}
        box = element("rect", x=x, y=y, width=width, height=height, **extra, **attributes)
        edge = element("rect", x=x, y=y, width=5, height=height, class_="ink", style="fill: var(--md-ink)")
        return joined([box, edge]) if shape == "square" else box
    return element("path", d=_outline(shape, x, y, width, height), stroke_linejoin="round", **attributes)


def _outline(shape, x, y, w, h):
    cut = min(h / 3, w / 4, 10.0)
    corners = {
        "slant": [(x + cut, y), (x + w, y), (x + w - cut, y + h), (x, y + h)],
        "hexagon": [(x + cut, y), (x + w - cut, y), (x + w, y + h / 2), (x + w - cut, y + h), (x + cut, y + h),
                    (x, y + h / 2)],
        "diamond": [(x + w / 2, y), (x + w, y + h / 2), (x + w / 2, y + h), (x, y + h / 2)],
        "cross": [(x + cut, y), (x + w - cut, y), (x + w, y + cut), (x + w, y + h - cut), (x + w - cut, y + h),
                  (x + cut, y + h), (x, y + h - cut), (x, y + cut)],
    }[shape]
    return path(corners, closed=True)


def path(points, closed=False):
    """The `d` of straight lines through points."""
    return "M" + "L".join(f"{_text(float(a))},{_text(float(b))}" for a, b in points) + ("Z" if closed else "")


def curve(points):
    """The `d` of a smooth line through points: each piece leaves and arrives level, or is straight if that is level."""
    (x, y), *rest = points
    parts = [f"M{_text(float(x))},{_text(float(y))}"]
    for a, b in rest:
        half = (a - x) / 2
        straight = a == x or b == y
        numbers = (a, b) if straight else (x + half, y, a - half, b, a, b)
        parts.append(("L" if straight else "C") + " ".join(_text(float(v)) for v in numbers))
        x, y = a, b
    return "".join(parts)


def arrow_head(x, y, angle=0.0, size=7.0, **attributes):
    """A filled triangle whose tip is at (x, y); `angle` in radians, 0 points right."""
    back = [(x + size * math.cos(angle + turn), y + size * math.sin(angle + turn)) for turn in (math.pi - 0.45,
                                                                                               math.pi + 0.45)]
    return element("path", d=path([(x, y), *back], closed=True), **{"class_": "arrow", **attributes})


def hatch(name="md-hatch"):
    """The definition of thin lines at 45°, for negative cells: `fill="url(#md-hatch)"`."""
    line = element("line", x1=0, y1=0, x2=0, y2=6, stroke="var(--md-paper)", stroke_width=1.4)
    return element("defs", element("pattern", line, id=name, width=6, height=6, patternUnits="userSpaceOnUse",
                                   patternTransform="rotate(45)"))
