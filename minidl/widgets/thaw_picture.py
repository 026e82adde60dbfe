"""The static picture of FreezeThaw: a row for each layer, and the curve of what is right, as static/thaw.js has it."""
import textwrap

from ..viz import theme
from ..viz.svg import document, element, joined, mark, path, shortened, text_width

WIDTH, ROW = 740, 36
NAME, BACK, TAPE, MEMORY, MOVED = 12, 172, 262, 390, 510       # where the columns begin, px
BAR = 120
PLOT = dict(left=46, width=470, height=120)
HEADS = {NAME: "layer, from the input on", BACK: "backward", TAPE: "on the tape", MEMORY: "gradient + Adam",
         MOVED: "this step; ▾ since the start"}


def picture(figure, frame, title):
    """A frame as SVG."""
    parts, y = [], 8.0
    for k, text in enumerate((frame.text, *figure["facts"])):
        for line in textwrap.wrap(text, 94 if k == 0 else 104):
            parts.append(_text(line, NAME, y + 8, class_="bold" if k == 0 else None))
            y += 17
    y += 12
    parts += [_text(head, x, y, class_="small muted") for x, head in HEADS.items()]
    y += 10
    for k, row in enumerate(figure["rows"]):
        parts.append(_row(row, k, figure, frame.data, y))
        y += ROW
    parts.append(_text("▴ the loss: backward starts here and goes up", BACK, y + 8, class_="small muted"))
    y += 34
    parts.append(_curves(figure, frame.data["t"], y))
    return document(WIDTH, y + PLOT["height"] + 26, *parts, title=title,
                    desc=" ".join([frame.text, *figure["facts"], *frame.lines]))


def _text(text, x, y, **look):
    return element("text", text, x=x, y=y, **look)


def _row(row, k, figure, data, y):
    """A layer: frozen or not, how backward meets it, what it costs, how far it moved."""
    high, middle = ROW - 6, y + (ROW - 6) / 2 + 4
    box = (element("rect", x=NAME, y=y, width=148, height=high, class_="absent") if row["frozen"] else
           mark("square", NAME, y, 148, high))
    state = "frozen" if row["frozen"] else "learns"
    parts = [box, _text(shortened(f"{row['title']}", 138), NAME + 12, y + 13, class_="bold"),
             _text(f"{row['count']:,} numbers, {state}", NAME + 12, y + 26, class_="small"),
             _text(row["way"], BACK, middle, class_="muted" if row["back"] == "stops" else None),
             _text(row["tape"], TAPE, middle, class_="small" if row["ops"] else "small muted"),
             _text(row["memory"], MEMORY, middle, class_="small muted" if row["frozen"] else "small"),
             _bar(k, figure, data, y)]
    return joined(parts)


def _bar(k, figure, data, y):
    """How far a step moved a layer, and a mark for how far it is from its start."""
    at = dict(x=MOVED, y=y + 4, width=BAR, height=ROW - 16)
    if data["moved"] is None:
        return element("rect", **at, class_="absent")
    moved, way = data["moved"][k], data["way"][k]
    far = MOVED + BAR * way / figure["far"]
    filled = element("rect", **{**at, "width": BAR * moved / figure["top"]}, style="fill: var(--md-positive)")
    marker = element("path", d=path([(far - 4, y), (far + 4, y), (far, y + 6)], closed=True),
                     style="fill: var(--md-ink)")
    return joined([element("rect", **at, class_="rule"), filled, marker,
                   _text(f"{_percent(moved)}; {_percent(way)}", MOVED + BAR + 8, y + 18, class_="small")])


def _percent(share):
    return f"{theme.number(100 * share)} %"


def _curves(figure, t, top):
    """What is right after each step, now and with the choices before."""
    left, right, floor = PLOT["left"], PLOT["left"] + PLOT["width"], top + PLOT["height"]
    lines = [{"label": figure["choice"], "right": figure["right"][:t + 1]}, *figure["earlier"]]
    low, high = figure["low"], figure["high"]

    def at(step, share):
        return left + PLOT["width"] * step / figure["steps"], floor - PLOT["height"] * (share - low) / (high - low)
    parts = [element("rect", x=left, y=top, width=PLOT["width"], height=PLOT["height"], class_="rule"),
             _text(f"right, of {figure['judged']} that it does not learn from", left, top - 6, class_="small bold")]
    parts += [_text(f"{100 * share:.0f} %", left - 6, at(0, share)[1] + 4, text_anchor="end", class_="small muted")
              for share in (low, high)]
    parts += [_text(text, x, floor + 15, text_anchor=anchor, class_="small muted") for text, x, anchor in (
        ("0", left, "middle"), (f"step {figure['steps']}", right, "end"))]
    ends = []
    for lane, line in enumerate(lines):
        points = [at(k, share) for k, share in enumerate(line["right"])]
        parts.append(element("path", d=path(points), fill="none", stroke_width=2.4 if lane == 0 else 1.6,
                             stroke_dasharray=theme.DASHES[lane] or None, style=f"stroke: var(--md-lane-{lane})"))
        ends.append((points[-1], lane, line))
    (x, y), *_ = ends[0]
    parts.append(element("circle", cx=x, cy=y, r=4, style="fill: var(--md-lane-0)"))
    return joined([*parts, *_labels(ends, right)])


def _labels(ends, right):
    """The name of each line beside its end, moved apart."""
    parts, free = [], -1e9
    for (_, y), lane, line in sorted(ends, key=lambda end: (end[0][1], end[1])):
        free = max(y + 4, free + 13)
        room = WIDTH - right - 34
        parts += [element("path", d=path([(right + 5, free - 4), (right + 27, free - 4)]), fill="none", stroke_width=2,
                          stroke_dasharray=theme.DASHES[lane] or None, style=f"stroke: var(--md-lane-{lane})"),
                  _text(label_of(line, room), right + 31, free, class_="small bold" if lane == 0 else "small")]
    return parts


def label_of(line, room):
    """The end of a line in words: the share, then the choice, as much of it as fits."""
    share = f"{_percent(line['right'][-1])} "
    return share + shortened(line["label"], room - text_width(share, theme.SMALL), theme.SMALL)
