"""The static picture of a network whose layers are lit: DigitPad without a page.

A plane of numbers comes as letters (see activity.py) and is drawn as a few paths, one for each shade, so that thousands
of numbers make a small file.
"""
import textwrap

import numpy as np

from ..viz import theme
from ..viz.plots import percent
from ..viz.svg import Markup, document, element, joined, shortened
from .activity import letters, shares

SIZE = 28                             # pixels of a digit, each way
WIDTH, GAP, SHADES = 720, 6, 6
HATCH = "md-lit-hatch"


def plane(text, width, x, y, cell, positive):
    """A plane of letters as a few paths, one for each shade; negative cells are hatched as well."""
    values = shares(text).reshape(-1, width)
    shade = np.where(np.isfinite(values), np.sign(values) * np.ceil(np.abs(values) * SHADES - 1e-9), 0)
    parts = [element("rect", x=0, y=0, width=width, height=len(values), class_="paper", stroke="var(--md-line)",
                     stroke_width=round(0.6 / cell, 3))]
    for level in [k for k in np.unique(shade) if k]:
        end = "ink" if positive else "positive" if level > 0 else "negative"
        parts.append(element("path", d=_runs(shade == level), fill="none", stroke_width=1,
                             style=f"stroke: var(--md-{end}); stroke-opacity: {abs(level) / SHADES:.2f}"))
    if (shade < 0).any():
        parts.append(element("path", d=_runs(shade < 0), fill="none", stroke=f"url(#{HATCH})", stroke_width=1))
    for i, j in np.argwhere(~np.isfinite(values)):
        parts.append(element("rect", x=float(j), y=float(i), width=1, height=1, class_="broken"))
    return element("g", *parts, transform=f"translate({x:g} {y:g}) scale({cell:g})")


def _runs(mask):
    """The `d` of horizontal strokes over the cells of a mask."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return "".join(f"M{j} {i + 0.5:g}h{end - j}" for (i, j), (_, end) in zip(starts.tolist(), ends.tolist()))


def edge(mask):
    """The `d` of the line around the cells of a mask."""
    padded = np.pad(mask, 1)
    down = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist()
    across = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist()
    return "".join([f"M{j} {i}v1" for i, j in down] + [f"M{j} {i}h1" for i, j in across])


def _hatching():
    line = element("line", x1=0, y1=0, x2=0, y2="1.6", stroke="var(--md-paper)", stroke_width="0.5")
    return element("defs", element("pattern", line, id=HATCH, width="1.6", height="1.6",
                                   patternUnits="userSpaceOnUse", patternTransform="rotate(45)"))


def picture(frame, trace):
    """The whole frame as SVG."""
    data = frame.data
    parts, side = [_hatching()], 5
    drawn = letters(np.array(data["pad"]) / 255, 1.0)
    for k, (name, text) in enumerate([("drawn", drawn), ("what the net sees", data["seen"])]):
        x = 10 + k * (SIZE * side + 16)
        parts += [_say(name, x, 14), plane(text, SIZE, x, 20, side, True)]
    parts.append(_bars(data, 10 + 2 * (SIZE * side + 16)))
    y = 20 + SIZE * side + 16
    if data["paint"]:
        parts.append(_painted(data, y))
        y += SIZE * side + 36
    for k, layer in enumerate(data["layers"]):
        band, height = _band(layer, y)
        parts.append(band)
        y += height
        if data["unit"] and data["unit"]["layer"] == k:
            closer, height = _closer(data["unit"], y)
            parts.append(closer)
            y += height
    y += 6
    for text in (frame.text, trace.note):
        lines = _broken_lines(text)
        parts += [_say(line, 10, y + 15 * n + 8) for n, line in enumerate(lines)]
        y += 15 * len(lines) + 4
    return document(WIDTH, y + 8, *parts, title=trace.title, desc=" ".join([frame.text, *frame.lines]))


def _say(text, x, y, **look):
    return element("text", shortened(text, WIDTH - x - 4, theme.SMALL), x=x, y=y, font_size=theme.SMALL, **look)


def _broken_lines(text, width=112):
    return textwrap.wrap(text, width)


def _bars(data, x):
    """The probabilities; the three largest in numbers."""
    parts = [_say("class, probability, score", x, 14)]
    for k, one in enumerate(data["classes"]):
        y = 20 + k * 14
        known = np.isfinite(one["p"])
        parts += [_say(one["name"], x, y + 10, font_weight=600 if k in data["top"][:1] else None),
                  element("rect", x=x + 16, y=y + 2, width=170, height=9, class_="rule"),
                  element("rect", x=x + 16, y=y + 2, width=170 * one["p"] if known else 0, height=9,
                          style="fill: var(--md-ink)")]
        weight = 600 if k in data["top"] else None
        parts += [_say(percent(one["p"]) if known else "× NaN", x + 192, y + 10, font_weight=weight),
                  _say(theme.number(one["score"]), x + 270, y + 10, font_weight=weight)]
    return joined(parts)


def _painted(data, y):
    paint, side = data["paint"], 5
    parts = [_say(f"∂ score of {paint['target']} / ∂ image, up to ±{theme.number(paint['top'])}", 10, y + 8),
             plane(paint["plane"], SIZE, 10, y + 14, side, False),
             element("path", d=paint["edge"], fill="none", stroke="var(--md-ink)", stroke_width="0.16",
                     transform=f"translate(10 {y + 14:g}) scale({side})"),
             element("rect", x=8, y=y + 12, width=SIZE * side + 4, height=SIZE * side + 4, class_="gradient")]
    parts += [element("rect", x=10 + side * (k % SIZE), y=y + 14 + side * (k // SIZE), width=side, height=side,
                      fill="none", stroke="var(--md-ink)", stroke_width=1.6) for k in paint["nudged"]]
    parts += [_say(line, 170, y + 30 + 15 * n) for n, line in enumerate(_broken_lines(paint["says"], 84))]
    return joined(parts)


def _band(layer, y):
    """One layer: a line of text, and its maps or units below."""
    parts, cell = [_say(layer["says"], 10, y + 10)], _side(layer)
    x, y0, line = 10.0, y + 16, layer["height"] * cell
    for text in layer["planes"]:
        if x + layer["width"] * cell > WIDTH - 8:
            x, y0 = 10.0, y0 + line + GAP
        parts.append(plane(text, layer["width"], x, y0, cell, layer["positive"]))
        x += layer["width"] * cell + GAP
    return joined(parts), y0 + line + 10 - y


def _side(layer):
    """The side of a cell in px."""
    return (max(2.0, min(8.0, 56 / layer["width"])) if layer["maps"] else 14.0)


def _closer(unit, y):
    """The numbers that made one unit."""
    parts, x, tallest = [], 24.0, 0.0
    for field in unit["fields"]:
        cell = max(2.0, min(12.0, 84 / field["width"]))
        shown = field["planes"][:max(1, int(200 / (field["width"] * cell + 3)))]
        more = len(field["planes"]) - len(shown)
        head = f"{field['name']}, up to ±{theme.number(field['top'])}" + (f", {more} more" if more else "")
        parts.append(_say(head, x, y + 10))
        for k, text in enumerate(shown):
            left = x + k * (field["width"] * cell + 3)
            parts.append(plane(text, field["width"], left, y + 16, cell, field["positive"]))
        x += max(200.0, len(shown) * (field["width"] * cell + 3)) + 16
        tallest = max(tallest, field["height"] * cell)
    lines = _broken_lines(unit["says"], 108)
    parts += [_say(line, 24, y + tallest + 34 + 15 * n) for n, line in enumerate(lines)]
    height = tallest + 26 + 15 * len(lines)
    side = element("rect", x=14, y=y, width=3, height=height, style="fill: var(--md-ink)")
    return Markup(side + joined(parts)), height + 12
