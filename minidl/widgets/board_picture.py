"""The static picture of a training run: TrainingDashboard without a page, drawn like static/dashboard.js draws it."""
import math
import textwrap

from ..viz import theme
from ..viz.svg import document, element, joined, path, shortened
from .activity import shares
from .cells import HATCH, hatching

WIDTH, PANEL, TALL = 720, 340, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 90, 20, 22           # around the curves
ROW = 52                                              # of a layer


def smoothed(values, weight):
    """A running mean that forgets: each value counts (1 - weight), all before it weight; corrected for its start.

    >>> [round(y, 3) for y in smoothed([1.0, 1.0, 4.0], 0.5)]
    [1.0, 1.0, 2.714]
    """
    mean, share, out = 0.0, 0.0, []
    for value in values:
        mean, share = weight * mean + (1 - weight) * value, weight * share + (1 - weight)
        out.append(mean / share)
    return out


def picture(frame, trace, smoothing):
    """A frame of the trace as SVG."""
    figure, data = trace.figure, frame.data
    parts, y = [hatching()], 12
    says = [(frame.text, "")] + [(f"{text} Try: {advice}.", kind) for kind, text, advice in data["findings"]]
    for text, kind in says:
        for k, line in enumerate(textwrap.wrap(("! " if kind else "") + text, 108)):
            parts.append(_text(line, 10, y + 8, font_weight=600 if kind and k == 0 else None))
            y += 15
    y += 6
    for k, panel in enumerate(figure["panels"]):
        parts.append(_panel(panel, 10 + k % 2 * (PANEL + 16), y + k // 2 * (TALL + 10), data["step"], smoothing))
    y += -(-len(figure["panels"]) // 2) * (TALL + 10) + 8
    if data["layers"]:
        looked = f"Layers at step {data['looked']}: parameter, its numbers, its gradient ∂ (dashed), one step's move"
        parts.append(_text(looked, 10, y + 6, class_="muted"))
        y += 14
    past = [one for one in trace if one.phase == frame.phase and one.data["step"] <= data["step"]]
    for k, layer in enumerate(data["layers"]):
        parts.append(_row(layer, [one.data["layers"][k] for one in past if k < len(one.data["layers"])], y))
        y += ROW
    for name, dead, units in data["dead"]:
        parts += [_text(f"{name}: {dead} of {units} ReLUs dead", 10, y + 12),
                  element("rect", x=260, y=y + 3, width=200, height=10, class_="rule"),
                  element("rect", x=260, y=y + 3, width=200 * dead / units, height=10, style="fill: var(--md-ink)")]
        y += 20
    return document(WIDTH, y + 10, *parts, title=trace.title, desc=" ".join([frame.text, *frame.lines]))


def _text(text, x, y, room=None, **look):
    text = shortened(text, room or WIDTH - x - 4, theme.SMALL)
    return element("text", text, x=float(x), y=float(y), font_size=theme.SMALL, **look)


# ---------------------------------------------------------------------- curves
def scale(panel):
    """The functions from a step and from a value to places in a panel of PANEL x TALL px."""
    bend = math.log if panel["log"] else float
    low, high = bend(panel["low"]), bend(panel["high"])
    wide, tall = PANEL - LEFT - RIGHT, TALL - TOP - BOTTOM

    def x(step):
        return LEFT + wide * (step - 1) / max(panel["steps"] - 1, 1)

    def y(value):
        return TOP + tall * (1 - (bend(value) - low) / (high - low))
    return x, y


def _panel(panel, left, top, now, smoothing):
    x, y = scale(panel)
    right, floor = PANEL - RIGHT, TALL - BOTTOM
    parts = [element("text", panel["kind"] + (", logarithmic" if panel["log"] else ""), x=LEFT, y=12, font_weight=600,
                     font_size=theme.SMALL),
             element("rect", x=LEFT, y=TOP, width=right - LEFT, height=floor - TOP, class_="rule")]
    for value, at in ((panel["high"], TOP + 8), (panel["low"], floor)):
        parts.append(element("text", theme.number(value), x=LEFT - 5, y=at, text_anchor="end", font_size=theme.SMALL))
    parts += [_text("1", LEFT, floor + 14), element("text", f"step {panel['steps']}", x=right, y=floor + 14,
                                                    text_anchor="end", font_size=theme.SMALL)]
    if now:
        parts.append(element("line", x1=x(now), x2=x(now), y1=TOP, y2=floor, class_="now", style="stroke-width: 1.5"))
    ends = []
    for line in panel["lines"]:
        parts.append(_line(line, x, y, smoothing))
        if line["points"]:
            means = smoothed([p[1] for p in line["points"]], smoothing)
            ends.append([y(means[-1]), line])
        parts += [element("text", theme.BROKEN_MARK, x=x(step), y=floor - 3, text_anchor="middle",
                          style="fill: var(--md-broken-text)", font_size=13) for step in line["broken"][:1]]
    parts += _end_labels(ends, right)
    return element("g", *parts, transform=f"translate({left} {top})")


def _line(line, x, y, smoothing):
    points = line["points"]
    if not points:
        return None
    look = f"stroke: var(--md-lane-{line['lane']})"
    band = [(x(p[0]), y(p[3])) for p in points] + [(x(p[0]), y(p[2])) for p in reversed(points)]
    raw = path([(x(p[0]), y(p[1])) for p in points])
    means = smoothed([p[1] for p in points], smoothing)
    smooth = path([(x(p[0]), y(value)) for p, value in zip(points, means)])
    dash = theme.DASHES[line["lane"]] or None
    return joined([
        element("path", d=path(band, closed=True), style=f"fill: var(--md-lane-{line['lane']})", fill_opacity="0.12"),
        element("path", d=raw, fill="none", style=look, stroke_opacity="0.35", stroke_width=1),
        element("path", d=smooth, fill="none", style=look, stroke_width=1.8, stroke_dasharray=dash)])


def _end_labels(ends, right):
    """The name of each line at its end, moved apart."""
    parts, least = [], -math.inf
    for at, line in sorted(ends, key=lambda pair: pair[0]):
        least = max(at, least + 12)
        parts.append(_text(line["label"], right + 4, least + 4, room=RIGHT - 4,
                           style=f"fill: var(--md-lane-{line['lane']})"))
    return parts


# ---------------------------------------------------------------------- layers
def _row(layer, past, y):
    """One parameter: how it and its gradient were spread over time, and are now."""
    parts = [_text(layer["name"], 10, y + 16, room=104, font_weight=600)]
    for k, what in enumerate(("weight", "gradient")):
        x = 118 + k * 262
        parts += [_ribbon([one[what] for one in past], x, y + 4), _bars(layer[what], x + 134, y + 4, what)]
    moved = layer["moved"]
    if moved is not None:
        parts += [_text("moves", 648, y + 18, class_="muted"), _text(theme.number(moved), 648, y + 32)]
    return joined(parts)


def _ribbon(spreads, x, y, wide=126, tall=40):
    """Quantiles over the looks: 5 to 95 % pale, 25 to 75 % darker, the middle as a line."""
    known = [(k, one["q"]) for k, one in enumerate(spreads) if one and one["q"]]
    frame = element("rect", x=x, y=y, width=wide, height=tall, class_="rule")
    if not known:
        return element("rect", x=x, y=y, width=wide, height=tall, class_="absent")
    low, high = min(q[0] for _, q in known), max(q[4] for _, q in known)
    span = (high - low) or 1.0

    def at(k, value):
        return x + wide * (k / max(len(spreads) - 1, 1)), y + tall * (1 - (value - low) / span)
    parts = [frame]
    for a, b, opacity in ((0, 4, "0.18"), (1, 3, "0.3")):
        outline = [at(k, q[a]) for k, q in known] + [at(k, q[b]) for k, q in reversed(known)]
        parts.append(element("path", d=path(outline, closed=True), style="fill: var(--md-ink)", fill_opacity=opacity))
    parts.append(element("path", d=path([at(k, q[2]) for k, q in known]), class_="value"))
    return joined(parts)


def _bars(spread, x, y, what, wide=112, tall=28):
    """The histogram now, with its ends in numbers."""
    if spread is None or not spread["bars"]:
        why = "no gradient" if spread is None else f"× {spread['broken']} NaN or ∞"
        return joined([element("rect", x=x, y=y, width=wide, height=tall, class_="absent"),
                       _text(why, x + 6, y + 18, room=wide)])
    heights = shares(spread["bars"])
    step = (spread["high"] - spread["low"]) / len(heights)
    side = wide / len(heights)
    parts = [element("rect", x=x - 1, y=y, width=wide + 2, height=tall,
                     class_="gradient" if what == "gradient" else "rule")]
    for k, height in enumerate(heights):
        below = spread["low"] + (k + 0.5) * step < 0
        box = dict(x=x + k * side, y=y + tall * (1 - height), width=side, height=tall * height)
        parts.append(element("rect", **box, class_="negative" if below else "positive"))
        if below and height:
            parts.append(element("rect", **box, fill=f"url(#{HATCH})"))
    ends = f"{theme.number(spread['low'])} … {theme.number(spread['high'])}"
    broken = f"  × {spread['broken']}" if spread["broken"] else ""
    parts.append(_text(ends + broken, x, y + tall + 12, room=wide + 14))
    return joined(parts)
