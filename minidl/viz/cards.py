"""A GraphView as SVG by our own hand: a card for each item, where layered.py puts it. Needs nothing but Python."""
from .layered import arrange
from .svg import arrow_head, curve, document, element, joined, mark, path, text_width
from .theme import BODY, KINDS, SMALL

LINE, PAD, SIDE = 16, 6, 10            # px: a line of text, above and below the text, beside it
MARGIN, LEGEND = 16, 26
WIDEST = 1050                          # px: as much as a notebook shows without making the text smaller


def card_svg(view, theme=None):
    """The picture.

    Args:
        view: a GraphView.
        theme: "light" or "dark"; None follows the reader's preference.
    """
    sizes = {item.id: card_size(item) for item in view.items}
    flow = [e for e in view.edges if e.kind in ("value", "cut")]
    layout = arrange(sizes, [(e.source, e.target) for e in flow], [g.members for g in view.groups],
                     WIDEST if all(e.kind != "update" for e in view.edges) else float("inf"))
    note = view.note.splitlines()
    x0, y0 = MARGIN, MARGIN + LINE * len(note) + (12 if note else 0) + (8 if view.groups else 0)
    boxes = {name: (x + x0, y + y0, w, h) for name, (x, y, w, h) in layout.boxes.items()}
    routes = [[(x + x0, y + y0) for x, y in route] for route in layout.routes]
    frames = [_frame(g, boxes) for g in view.groups]
    lines = [_edge(edge, route) for edge, route in zip(flow, routes)]
    back, depth = _round(view, boxes, [(a + y0, b + y0) for a, b in layout.lines])
    legend, legend_width = _legend(view)
    note_width = max((text_width(line, SMALL) * 1.1 for line in note), default=0.0)
    width = max(layout.width, legend_width, note_width) + 2 * MARGIN
    bottom = max(y0 + layout.height, depth)
    cards = [element("g", *_card(item, *boxes[item.id]), id=f"md-{item.id}", class_=item.kind, data_id=item.id)
             for item in view.items]
    words = [element("text", line, x=MARGIN, y=MARGIN + LINE * k + 8, class_="small mono", style="white-space: pre")
             for k, line in enumerate(note)]
    height = bottom + LEGEND + MARGIN
    foot = element("g", *legend, transform=f"translate({MARGIN},{bottom + 14:.0f})")
    return document(width, height, *words, *frames, *lines, *back, *cards, foot, title=view.title, desc=view.describe(),
                    theme=theme)


def card_size(item):
    """(width, height) of an item's card, in px."""
    rows = item.rows()
    widest = max(text_width(text, BODY if role == "title" else SMALL, role == "title") for role, text, _ in rows)
    side = SIDE + {"slant": 8, "hexagon": 8, "circle": 4, "square": 3, "diamond": 0}.get(KINDS[item.kind].shape, 0)
    width, height = widest + 2 * side, len(rows) * LINE + 2 * PAD
    if item.kind == "loss":
        width += 22
    return max(width, 34.0), float(height)


def _card(item, x, y, w, h):
    """The pieces of a card: its outline, which says the kind, and its lines."""
    shape = KINDS[item.kind].shape
    pieces = [element("title", item.line or item.title)]
    if item.count > 1 or item.kind == "module":
        pieces += [mark("thin" if shape == "circle" else shape, x + d, y + d, w, h, class_="outline") for d in (
            (6, 3) if item.count > 1 else ())]
    if shape == "circle":
        pieces.append(element("rect", x=x, y=y, width=w, height=h, rx=min(h / 2, 16.0), class_="outline"))
    elif shape == "diamond":
        pieces.append(element("rect", x=x, y=y, width=w, height=h, rx=2, class_="outline"))
        pieces.append(mark("diamond", x + 6, y + 6, 16, 18, style="fill: var(--md-ink)"))
    else:
        pieces.append(mark(shape, x, y, w, h))
    middle = x + w / 2 + (11 if shape == "diamond" else 0)
    for k, row in enumerate(item.rows()):
        pieces += _row(row, middle, y + PAD + LINE * k)
    return pieces


def _row(row, x, y):
    """One line of a card: text, and for gradients the box that says whether there is one."""
    role, text, sign = row
    if role == "title":
        return [element("text", text, x=x, y=y + 12, text_anchor="middle", class_="bold")]
    width = text_width(text, SMALL) + 6
    classes = f"small {sign}" if sign in ("positive", "negative", "broken") else "small"
    classes += " muted" if role in ("size", "note", "absent") else ""
    pieces = []
    if sign == "broken":
        pieces.append(element("rect", x=x - width / 2, y=y + 1, width=width, height=LINE - 2, rx=2,
                              class_="broken-paper"))
    if role in ("gradient", "absent"):
        pieces.append(element("rect", x=x - width / 2, y=y + 1, width=width, height=LINE - 2, rx=3,
                              class_="gradient" if role == "gradient" else "absent"))
    return [*pieces, element("text", text, x=x, y=y + 12, text_anchor="middle", class_=classes)]


# ---------------------------------------------------------------------- lines
def _edge(edge, route):
    """A line from left to right, with its arrow head, its label, and the tab of what is kept for backward."""
    (x, y), tip = route[-1], 6
    points = [*route[:-1], (x - tip, y)]
    pieces = [element("title", f"{edge.source} → {edge.target}")]
    dotted = {"stroke_dasharray": "2 3"} if edge.kind == "cut" else {}
    pieces.append(element("path", d=curve(points), class_="value", **dotted))
    if edge.kind == "cut":
        pieces.append(element("path", d=path([(x - 4, y - 7), (x - 4, y + 7)]), class_="now"))
    else:
        pieces.append(arrow_head(x, y))
    if edge.saved:
        pieces.append(element("rect", x=x - 15, y=y - 4, width=5, height=8, class_="arrow"))
    if edge.label:
        a, b = route[0]
        pieces.append(element("text", edge.label, x=(a + x) / 2, y=(b + y) / 2 - 5, text_anchor="middle",
                              class_="small muted"))
    return element("g", *pieces, class_="edge", data_edge=f"{edge.source}->{edge.target}")


def _round(view, boxes, lines):
    """The lines that go back, below everything; and how far down they reach."""
    pieces, deepest = [], max((y + h for _, y, _, h in boxes.values()), default=0.0)
    back = [e for e in view.edges if e.kind in ("next", "update")]
    for k, edge in enumerate(back):
        (x, y, w, h), (a, b, width, height) = boxes[edge.source], boxes[edge.target]
        start, end = x + w * 0.7, a + width * 0.3
        line = [(top, bottom) for top, bottom in lines if top <= y <= bottom and top <= b <= bottom]
        bottom = line[0][1] if line else lines[-1][1]
        floor = max(v + t for u, v, s, t in boxes.values()
                    if u < max(start, end) and u + s > min(start, end) and v < bottom)
        low = floor + 20 + 14 * k
        deepest = max(deepest, low)
        turn = 8 if end > start else -8
        way = f"M{start:.1f},{y + h:.1f}V{low - 8:.1f}Q{start:.1f},{low:.1f} {start + turn:.1f},{low:.1f}" \
              f"H{end - turn:.1f}Q{end:.1f},{low:.1f} {end:.1f},{low - 8:.1f}V{b + height + 6:.1f}"
        pieces.append(element(
            "g", element("title", f"{edge.source} → {edge.target}, {edge.label}"),
            element("path", d=way, class_="value", stroke_dasharray="7 3"), arrow_head(end, b + height, -1.5708),
            element("text", edge.label, x=(start + end) / 2, y=low - 3, text_anchor="middle", class_="small muted"),
            class_="edge", data_edge=f"{edge.source}->{edge.target}"))
    return pieces, deepest


def _frame(group, boxes):
    """A rounded dashed frame with a label.

    Where it would enclose a card that does not belong there is no frame, and a label only if it counts turns.
    """
    mine = [boxes[m] for m in group.members]
    left, top = min(x for x, *_ in mine) - 8, min(y for _, y, *_ in mine) - 18
    right, bottom = max(x + w for x, _, w, _ in mine) + 8, max(y + h for _, y, _, h in mine) + 6
    strangers = [name for name, (x, y, w, h) in boxes.items() if name not in group.members
                 and x < right and x + w > left and y < bottom and y + h > top]
    label = element("text", group.label, x=left + 8, y=top + 12, class_="small muted bold")
    if strangers:
        return element("g", label if group.count > 1 else None, class_="group")
    box = element("rect", x=left, y=top, width=right - left, height=bottom - top, rx=8, class_="stroke panel",
                  stroke_dasharray="6 3", style="fill: var(--md-panel)")
    return element("g", box, label, class_="group", data_count=group.count)


# ---------------------------------------------------------------------- legend
def _legend(view):
    """Every mark that occurs, explained; and how wide that is."""
    pieces, x = [], 0.0

    def add(sign, says):
        nonlocal x
        pieces.append(element("g", sign, element("text", says, x=30, y=12, class_="small muted"),
                              transform=f"translate({x:.0f},0)"))
        x += 30 + text_width(says, SMALL) + 18

    for kind in dict.fromkeys(item.kind for item in view.items):
        shape, says = KINDS[kind].shape, KINDS[kind].says
        add(mark(shape, 2, 1, 22, 14) if shape != "diamond" else mark(shape, 5, 0, 16, 16, style="fill: var(--md-ink)"),
            says)
    rows = [row for item in view.items for row in item.rows()]
    if any(role == "gradient" for role, *_ in rows):
        add(element("rect", x=2, y=2, width=22, height=12, rx=3, class_="gradient"), "gradient ∂")
    if any(role == "absent" for role, *_ in rows):
        add(element("rect", x=2, y=2, width=22, height=12, rx=3, class_="absent"), "no gradient, and why")
    if any(e.saved for e in view.edges):
        add(joined([element("path", d=path([(0, 8), (20, 8)]), class_="value"), arrow_head(26, 8),
                    element("rect", x=11, y=4, width=5, height=8, class_="arrow")]), "kept for backward")
    if any(e.kind == "cut" for e in view.edges):
        add(joined([element("path", d=path([(0, 8), (18, 8)]), class_="value", stroke_dasharray="2 3"),
                    element("path", d=path([(20, 2), (20, 14)]), class_="now")]), "no gradient goes back")
    return pieces, x
