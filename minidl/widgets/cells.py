"""Numbers as a field of shaded cells in SVG: the twin of `cells` in static/core.js."""
import math

from ..viz import theme
from ..viz.svg import Markup, element, joined

HATCH = "md-cells-hatch"


def cells(rows, x=0.0, y=0.0, cell=14.0, top=1.0, text=False, positive=False):
    """Rows of numbers as cells; a picture that has one also needs `hatching()` once.

    Negative cells are hatched, NaN is ×, an infinity ∞, None an empty dotted box, and what lies beyond the scale
    carries ▴ or ▾ (where the numbers are not written): nothing is told by colour alone.

    Args:
        rows: lists of numbers; NaN, infinities and None may be among them.
        x, y: of the top left corner, in px.
        cell: the side of a cell, in px.
        top: the number that gets the full colour.
        text: whether to write the numbers.
        positive: all are 0 or more; one hue from paper to ink.
    """
    return joined(_cell(value, x + j * cell, y + i * cell, cell, top, text, positive)
                  for i, row in enumerate(rows) for j, value in enumerate(row))


def _cell(value, x, y, side, top, text, positive):
    at = dict(x=x, y=y, width=side, height=side)
    if value is None:
        return element("rect", **at, class_="absent")
    frame = dict(stroke="var(--md-grid)", stroke_width=0.6)
    if not math.isfinite(value):
        mark = theme.BROKEN_MARK if math.isnan(value) else theme.INFINITY
        return joined([element("rect", **at, class_="broken-paper", **frame),
                       _text(mark, x, y, side, class_="broken", font_size=side * 0.8)])
    end = "ink" if positive else "positive" if value > 0 else "negative"
    share = min(abs(value) / top, 1.0) if top > 0 else 0.0
    parts = [element("rect", **at, class_="paper", **frame),
             element("rect", **at, style=f"fill: var(--md-{end})", fill_opacity=round(share, 3), **frame)]
    if value < 0 and not positive:
        parts.append(element("rect", **at, fill=f"url(#{HATCH})"))
    if not text and abs(value) > 1.01 * top:
        parts.append(_text(theme.ABOVE if value > 0 else theme.BELOW, x, y, side, font_size=side * 0.7,
                           style="fill: var(--md-paper)"))
    if text:
        parts.append(_text(theme.number(value), x, y, side, font_size=theme.SMALL,
                           style="fill: var(--md-paper)" if share > 0.55 else None))
    return joined(parts)


def _text(text, x, y, side, **look):
    middle = dict(x=x + side / 2, y=y + side / 2, text_anchor="middle", dominant_baseline="central")
    return element("text", text, **middle, **look)


def hatching() -> Markup:
    """The definition of the lines on negative cells."""
    line = element("line", x1=0, y1=0, x2=0, y2=5, stroke="var(--md-paper)", stroke_width=1.2)
    return element("defs", element("pattern", line, id=HATCH, width=5, height=5, patternUnits="userSpaceOnUse",
                                   patternTransform="rotate(45)"))
