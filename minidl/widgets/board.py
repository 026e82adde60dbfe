"""The board that steps are played on: boxes at fixed places, values that appear in them, gradients that come back.

The places are computed once, in Python, so a node stands at the same place in every frame. A frame says only how far
things have come: `{"born": 3, "arrived": 2, "now": "n4"}`. What is to be seen then is worked out by `shown`, here and,
in the same way, in static/graph.js.

    figure(tape)                what all frames share
    drawn(figure, data, title, desc)     one frame as SVG
"""
import math

import numpy as np

from ..viz import theme
from ..viz.layered import arrange
from ..viz.svg import arrow_head, curve, document, element, joined, mark, shortened, text_width
from ..viz.watching import line_of
from .arithmetic import shape_text, told
from .cells import cells, hatching
from .trace import rounded

ROOM = 22.0                            # px on both sides of a box, for what is written beside its edges
LINE, HEAT, MOST_CELLS = 16.0, 48.0, 8
MARGIN, LEGEND = 12.0, 34.0


# ---------------------------------------------------------------------- what all frames share
def figure(tape, groups=None):
    """Boxes, edges, arrivals and updates of a Tape, as lists and numbers.

    Args:
        groups: id of a step -> title of the module that it is folded into; the module's box shows its last step.
    """
    born, inside = {step.id: k + 1 for k, step in enumerate(tape.steps)}, folded(tape, groups or {})
    boxes = {key: _box(p, tape, born.get(key, 0)) for key, p in tape.places.items() if inside.get(key, key) == key}
    for home in dict.fromkeys(inside.values()):
        boxes[home] = _module(boxes[home], tape, groups[home], [k for k, h in inside.items() if h == home])
    edges = [{"from": inside.get(i, i), "to": step.id, "home": inside.get(step.id, step.id), "index": k}
             for step in tape.steps for k, i in enumerate(step.inputs)]
    edges = [edge for edge in edges if edge["from"] != edge["home"]]
    sizes = {key: (box["w"] + 2 * ROOM, box["h"]) for key, box in boxes.items()}
    layout = arrange(sizes, [(edge["from"], edge["home"]) for edge in edges])
    for key, (x, y, w, h) in layout.boxes.items():
        boxes[key] |= {"x": round(x + ROOM + MARGIN, 1), "y": round(y + MARGIN, 1), "w": w - 2 * ROOM, "h": h}
    for edge, route in zip(edges, layout.routes):
        edge["points"] = _points(edge, [e for e in edges if e["home"] == edge["home"]], boxes, route)
    return {"width": math.ceil(layout.width + 2 * MARGIN), "height": math.ceil(layout.height + 2 * MARGIN),
            "boxes": list(boxes.values()), "edges": edges, "updates": [], "inside": inside,
            "arrivals": [_arrival(a) for a in tape.arrivals]}


def _box(place, tape, born):
    gradient, mine = place.id in tape.gradients, [a for a in tape.arrivals if a.place == place.id]
    value, several = fact(place.value, positive=_positive(place.value)), any(a.of > 1 for a in mine)
    title = f"{place.name} {place.origin.op.symbol if place.inputs else ''}".strip()
    heat = HEAT + 8 if "heat" in value else 0
    texts = [title, value["text"], *("∂ " + short(a.total) for a in mine)]
    width = max(72.0 if several else 54.0, max(map(text_width, texts)) + 18, 2 * HEAT + 30 if heat else 0)
    height = LINE * (1 + bool(title) + gradient + several) + 6 + heat
    return {"id": place.id, "title": title, "kind": place.kind, "born": born, "value": value, "grad": gradient,
            "w": math.ceil(min(width, 190.0)), "h": height, "shape": shape_text(place.shape) if place.shape else "",
            "line": line_of(place.origin) if place.inputs else ""}


def folded(tape, groups):
    """id -> id of the box that stands for it, of all that is folded away: steps, and the leaves that only they use."""
    last = {label: step for step, label in groups.items()}         # steps come in order
    inside = {step: last[label] for step, label in groups.items()}
    users = {}
    for step in tape.steps:
        for i in step.inputs:
            users.setdefault(i, set()).add(inside.get(step.id))
    for place in tape.places.values():
        homes = users.get(place.id, set())
        if not place.inputs and len(homes) == 1 and None not in homes and place.kind != "input":
            inside[place.id] = homes.pop()
    return inside


def _module(box, tape, label, members):
    """The box of a module that is folded: its last step, under its name, with what is inside in words."""
    ops = [tape.places[k].origin.op.name for k in members if tape.places[k].inputs]
    held = [tape.places[k].name for k in members if tape.places[k].kind == "parameter"]
    full = f"{label}: {', '.join(ops)}" + (f" with {', '.join(held)}" if held else "")
    return box | {"title": label, "kind": "module" if box["kind"] != "loss" else "loss", "holds": full,
                  "w": max(box["w"], math.ceil(text_width(label, bold=True)) + 14)}


def _points(edge, siblings, boxes, route):
    """Where an edge goes; each of those into a box arrives at a height of its own, so that none lies on another."""
    start, home = boxes[edge["from"]], boxes[edge["home"]]
    middle = [[round(x + MARGIN, 1), round(y + MARGIN, 1)] for x, y in route[1:-1]]
    height = home["h"] * (siblings.index(edge) + 1) / (len(siblings) + 1)
    return [[start["x"] + start["w"], start["y"] + start["h"] / 2], *middle, [home["x"], round(home["y"] + height, 1)]]


def _arrival(arrival):
    return {"step": arrival.step, "index": arrival.index, "place": arrival.place, "gradient": short(arrival.gradient),
            "total": fact(arrival.total), "count": arrival.count, "of": arrival.of}


def fact(value, positive=False):
    """A value as the page draws it: a text, a sign, all digits, and a small picture where it is more than a number."""
    array = np.asarray(value)
    found = {"text": short(array), "sign": theme.sign_of(array), "full": theme.numbers(array, digits=7)}
    if array.size > 1 and array.dtype.kind in "fiub":
        small = sample(array).astype(float)
        finite = np.abs(small[np.isfinite(small)])
        found |= {"heat": rounded(small, 3), "top": float(f"{finite.max(initial=0.0):.3g}"), "positive": positive}
    return found


def short(value):
    """A number, or the length of a tensor as one number."""
    array = np.asarray(value)
    if array.size <= 1 or array.dtype.kind not in "fiub":
        return told(array)
    broken = array.size - np.isfinite(array).sum() if array.dtype.kind == "f" else 0
    return f"{broken} broken" if broken else f"‖·‖ {theme.number(float(np.linalg.norm(array.astype(float))))}"


def sample(array):
    """At most 8 by 8 numbers of an array, evenly spread; of more than two axes the first entry of the others."""
    while array.ndim > 2:
        array = array[0]
    array = array.reshape(1, -1) if array.ndim < 2 else array
    picks = [np.linspace(0, n - 1, min(n, MOST_CELLS)).astype(int) for n in array.shape]
    return array[np.ix_(*picks)]


def _positive(value):
    array = np.asarray(value)
    return bool(array.dtype.kind in "fiub" and array.size and array.min() >= 0)


# ---------------------------------------------------------------------- what is to be seen at a frame
def shown(figure, data):
    """id -> (value or None, gradient or None, arrival or None) for boxes, and (id, index) -> text for edges.

    A value that an update has moved carries an arrow.
    """
    totals, edges = {}, {}
    updates = {u["place"]: u["fact"] | {"text": "→ " + u["fact"]["text"]}
               for u in figure["updates"][:data.get("updated", 0)]}
    for arrival in figure["arrivals"][:data.get("arrived", 0)]:
        totals[arrival["place"]] = arrival
        edges[arrival["step"], arrival["index"]] = arrival["gradient"]
    boxes = {}
    for box in figure["boxes"]:
        arrival = totals.get(box["id"])
        value = updates.get(box["id"], box["value"] if box["born"] <= data.get("born", 0) else None)
        boxes[box["id"]] = value, arrival and arrival["total"], arrival
    return boxes, edges


def drawn(figure, data, title, desc):
    """One frame as SVG."""
    return document(max(figure["width"], 470), figure["height"] + LEGEND, *pieces(figure, data), title=title, desc=desc)


def pieces(figure, data):
    """What a picture of one frame is made of; `LEGEND` px higher than the figure."""
    boxes, edges = shown(figure, data)
    lines = [_edge_svg(edge, edges.get((edge["to"], edge["index"])), data) for edge in figure["edges"]]
    now = figure["inside"].get(data.get("now"), data.get("now"))
    marks = [_box_svg(box, *boxes[box["id"]], now) for box in figure["boxes"]]
    return [hatching(), *lines, *marks, _legend(figure["height"])]


def _edge_svg(edge, gradient, data):
    points = edge["points"]
    a, b = points[-1]
    parts = [element("path", d=curve([*points[:-1], (a - 6, b)]), class_="value"), arrow_head(a, b)]
    if gradient is not None:
        now = data.get("edge") == [edge["to"], edge["index"]]
        parts[0] = element("path", d=curve([*points[:-1], (a - 6, b)]), class_="gradient",
                           style="stroke: var(--md-ink); stroke-width: 2.4" if now else None)
        parts.append(_label(f"◂ ∂ {gradient}", a - 8, b - 5, gradient))
    return element("g", *parts)


def _label(text, x, y, gradient):
    sign = "negative" if gradient.startswith("−") else "positive" if gradient[:1].isdigit() else ""
    if gradient in ("0", "NaN", "∞", "−∞"):
        sign = "" if gradient == "0" else "bad"
    colour = {"bad": "fill: var(--md-broken-text)"}.get(sign)
    return element("text", text, x=x, y=y, text_anchor="end", class_=f"small {sign}".strip(), style=colour,
                   paint_order="stroke", stroke="var(--md-paper)", stroke_width=3)


def _box_svg(box, value, gradient, arrival, now):
    x, y, w, h = box["x"], box["y"], box["w"], box["h"]
    round_ = box["kind"] in ("op", "loss")
    parts = [_round(box) if round_ else mark(theme.KINDS[box["kind"]].shape, x, y, w, h)]
    top, middle = y + LINE - 3, x + w / 2
    if box["title"]:
        parts.append(element("text", shortened(box["title"], w - 6), x=middle, y=top, text_anchor="middle",
                             class_="bold"))
        top += LINE
    parts.append(_fact_svg(value, middle, top, w, ""))
    if box["grad"]:
        parts.append(_fact_svg(gradient, middle, top + LINE, w, "∂ "))
        if arrival and arrival["of"] > 1:
            parts.append(element("text", f"{arrival['count']} of {arrival['of']} in", x=middle, y=top + 2 * LINE - 2,
                                 text_anchor="middle", class_="small muted"))
    parts += _heats(box, value, gradient)
    if now == box["id"]:
        parts.append(element("rect", x=x - 4, y=y - 4, width=w + 8, height=h + 8, rx=10, class_="now"))
    return element("g", *parts)


def _round(box):
    double = element("rect", x=box["x"] + 3, y=box["y"] + 3, width=box["w"] - 6, height=box["h"] - 6, rx=9,
                     class_="rule")
    edge = element("rect", x=box["x"], y=box["y"], width=box["w"], height=box["h"], rx=12, class_="outline")
    return joined([edge, double]) if box["kind"] == "loss" else edge


def _fact_svg(fact, x, y, w, prefix):
    if fact is None:
        wide = min(w - 16, 44)
        return element("rect", x=x - wide / 2, y=y - 10, width=wide, height=12, rx=3, class_="absent")
    colour = "fill: var(--md-broken-text); font-weight: 600" if fact["sign"] == "broken" else None
    sign = fact["sign"] if fact["sign"] in ("positive", "negative") and "heat" not in fact else ""
    return element("text", shortened(prefix + fact["text"], w - 6), x=x, y=y, text_anchor="middle", class_=sign or None,
                   style=colour)


def _heats(box, value, gradient):
    parts, bottom, middle = [], box["y"] + box["h"] - HEAT - 6, box["x"] + box["w"] / 2
    left = middle - HEAT - 6 if box["grad"] else middle - HEAT / 2
    for fact, x, look in ((value, left, "value"), (gradient, middle + 6, "gradient")):
        if fact is None or "heat" not in fact:
            continue
        rows = fact["heat"]
        side = HEAT / max(len(rows), len(rows[0]))
        left, top = x + (HEAT - side * len(rows[0])) / 2, bottom + (HEAT - side * len(rows)) / 2
        parts += [cells(rows, left, top, side, fact["top"] or 1.0, positive=fact.get("positive", False)),
                  element("rect", x=left - 2, y=top - 2, width=side * len(rows[0]) + 4, height=side * len(rows) + 4,
                          class_=look)]
    return parts


def _legend(y):
    """What the marks mean, below the picture."""
    y += 20
    return element(
        "g", element("path", d=f"M12,{y}h26", class_="value"), arrow_head(42.0, float(y)),
        element("text", "value", x=48, y=y + 4, class_="small"),
        element("path", d=f"M92,{y}h30", class_="gradient"),
        element("text", "◂ ∂ gradient of the loss L", x=128, y=y + 4, class_="small"),
        element("rect", x=284, y=y - 6, width=26, height=12, rx=3, class_="absent"),
        element("text", "not computed yet", x=316, y=y + 4, class_="small"))
