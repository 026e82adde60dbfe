"""The one visual language of all pictures and widgets: colours, shapes, numbers, keys, and the style sheet.

    blue and vermilion      positive and negative; a negative also carries a minus sign or a hatch
    filled and solid        a value
    outlined and dashed     a gradient, with ∂ before it
    an empty dotted box     what was not computed, with the reason; never 0
    shape                   what kind of thing a node is; the text says it, too

A test computes the contrast of every colour with what it lies on, and how far apart the colours of a pair are for
colour-blind readers; so a colour changed here for the worse does not pass.
"""
import math
from dataclasses import asdict, dataclass

import numpy as np


# ---------------------------------------------------------------------- colours
@dataclass(frozen=True)
class Palette:
    """Colours of one theme.

    Attributes:
        paper, panel: what lies behind: the page, and the inside of a module or a table's head.
        ink, muted: text, and text of second rank.
        line, grid: strokes that must be seen, and rules that only guide the eye.
        positive, negative: numbers by their sign; 0 is the colour of the paper.
        broken, broken_paper: NaN and infinities, and what they stand on.
        broken_text: the same where there is only the paper to stand on.
        lanes: lines of one plot; each has a dash pattern and a label as well (see DASHES).
    """

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    grid: str
    positive: str
    negative: str
    broken: str
    broken_paper: str
    broken_text: str
    lanes: tuple


LIGHT = Palette(
    paper="#ffffff", panel="#f4f5f7", ink="#1a1a1a", muted="#565c66", line="#7a808a", grid="#d8d8d8",
    positive="#0B63A5", negative="#C4500A", broken="#FF00FF", broken_paper="#000000", broken_text="#B4009E",
    lanes=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#1D1D5A", "#5E3200"),     # the first four: Okabe and Ito
)
DARK = Palette(
    paper="#111111", panel="#1d1f23", ink="#ececec", muted="#a9b0bb", line="#808791", grid="#3a3d42",
    positive="#5AB0F0", negative="#F2994A", broken="#FF00FF", broken_paper="#000000", broken_text="#FF6BFF",
    lanes=("#56B4E9", "#E8762B", "#0FA37A", "#E3A0CB", "#D9D9F5", "#F2E3B3"),
)
THEMES = {"light": LIGHT, "dark": DARK}
DASHES = ("", "7 4", "8 3 2 3", "2 3", "12 3", "7 2 2 2 2 2")     # of the lanes, as SVG's stroke-dasharray


def diverging(x, top, palette=LIGHT):
    """The colour of a number between the two ends: paper at 0, positive or negative at `top` and beyond.

    >>> diverging(0.0, 1.0), diverging(1.0, 1.0), diverging(-5.0, 1.0)
    ('#ffffff', '#0b63a5', '#c4500a')
    """
    if not math.isfinite(x):
        return palette.broken.lower()
    end = palette.positive if x > 0 else palette.negative
    return mixed(palette.paper, end, min(abs(x) / top, 1.0) if top > 0 else 0.0)


def sequential(x, top, palette=LIGHT):
    """The colour of a number of 0 and more: paper at 0, ink at `top`; for images, probabilities, activations."""
    if not math.isfinite(x):
        return palette.broken.lower()
    return mixed(palette.paper, palette.ink, min(max(x / top, 0.0), 1.0) if top > 0 else 0.0)


def mixed(a, b, share):
    """The colour at `share` of the way from `a` to `b`."""
    ends = [[int(colour[k:k + 2], 16) for k in (1, 3, 5)] for colour in (a, b)]
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in zip(*ends))


# ---------------------------------------------------------------------- numbers
MINUS, BROKEN_MARK, INFINITY, ABOVE, BELOW = "−", "×", "∞", "▴", "▾"


def number(x, digits=3):
    """A number with three significant digits and a real minus sign; whole numbers up to a million in full.

    >>> [number(x) for x in (2, -0.12345, 1234.5, 1.5e-7, float("nan"), float("-inf"), True)]
    ['2', '−0.123', '1230', '1.5e−7', 'NaN', '−∞', 'True']
    """
    if isinstance(x, (bool, np.bool_)):
        return str(bool(x))
    if isinstance(x, (complex, str)):
        return str(x)
    if isinstance(x, (int, np.integer)) and abs(x) < 1_000_000:
        return str(int(x)).replace("-", MINUS)
    x = float(x)
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return INFINITY if x > 0 else MINUS + INFINITY
    text = f"{x:.{digits}g}"
    if "e" in text:
        head, _, power = text.partition("e")
        text = f"{float(text):.0f}" if 0 <= int(power) < 6 else f"{head}e{int(power)}"
    return "0" if text == "-0" else text.replace("-", MINUS)


def numbers(array, most=4, digits=3):
    """A few numbers in full, many by their range; NaN and infinities are counted, never mixed in.

    >>> numbers(np.array([1.0, -2.5])), numbers(np.arange(100.0))
    ('[1, −2.5]', '0 … 99')
    >>> numbers(np.array([1.0, np.nan, 3.0, 4.0, 5.0]))
    '1 … 5, 1 NaN'
    """
    array = np.asarray(array)
    if array.size == 0:
        return "no numbers"
    if array.dtype.kind not in "fiub":
        return f"{array.size} of {array.dtype}"
    if array.ndim == 0:
        return number(array[()], digits)
    if array.size <= most:
        return _listed(array, digits)
    whole = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    low, high = (number(whole.min(), digits), number(whole.max(), digits)) if whole.size else ("", "")
    parts = [f"all {low}" if low == high and whole.size == array.size else f"{low} … {high}"] if whole.size else []
    if array.dtype.kind == "f":
        counts = (("NaN", np.isnan(array).sum()), (INFINITY, np.isinf(array).sum()))
        parts += [f"{count} {mark}" for mark, count in counts if count]
    return ", ".join(parts)


def _listed(array, digits):
    if array.ndim == 0:
        return number(array[()], digits)
    return f"[{', '.join(_listed(part, digits) for part in array)}]"


def sign_of(array):
    """The sign of all numbers together, for the choice of a colour.

    One of "positive", "negative", "zero", "mixed", or "broken" if a NaN or an infinity is among them.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "fiub" or not array.size:
        return "mixed"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "broken"
    low, high = array.min(), array.max()
    return "zero" if low == high == 0 else "positive" if low >= 0 else "negative" if high <= 0 else "mixed"


def size_text(count):
    """Bytes as people read them.

    >>> size_text(12), size_text(2048), size_text(3_500_000)
    ('12 B', '2 KiB', '3.34 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.3g} {unit}"
        count /= 1024


# ---------------------------------------------------------------------- kinds of nodes
@dataclass(frozen=True)
class Kind:
    """How a kind of node looks.

    Attributes:
        shape: of its mark in our own drawings (svg.py's names).
        dot: Graphviz' shape that takes little room and is like it, its style, and more settings.
        says: for the legend.
    """

    shape: str
    dot: tuple
    says: str


KINDS = {
    "parameter": Kind("square", ("box", "solid,bold"), "parameter, to be learned"),
    "input": Kind("slant", ("polygon", "solid", "sides=4 skew=0.12 margin=0.02"), "input or data"),
    "constant": Kind("thin", ("box", "dashed"), "constant"),
    "op": Kind("circle", ("box", "rounded"), "op"),
    "view": Kind("hexagon", ("hexagon", "solid"), "view: shares the memory of its input"),
    "loss": Kind("diamond", ("box", "solid", "peripheries=2"), "the value that was asked for"),
    "module": Kind("frame", ("box", "rounded,dashed"), "module, folded"),
    "failed": Kind("cross", ("octagon", "solid,bold"), "the op that raised"),
}


# ---------------------------------------------------------------------- keys
KEYS = (
    ("← / →", "step"), ("Shift+← / →", "phase"), ("Home / End", "first / last"), ("Space", "play or pause"),
    ("Enter / Esc", "open / up"), ("/", "find"), ("?", "keys"), ("T", "text view"),
)
MILLISECONDS = 400                    # of one step that moves; prefers-reduced-motion cuts instead


# ---------------------------------------------------------------------- the style sheet
FONT = "system-ui, sans-serif"
MONO = "ui-monospace, monospace"
BODY, SMALL = 13, 11                  # px; nothing is set smaller


def variables(palette):
    """The colours of a theme as CSS variables: `--md-ink: #1a1a1a; ...`, the lanes as `--md-lane-0` and so on."""
    plain = {name.replace("_", "-"): colour for name, colour in asdict(palette).items() if name != "lanes"}
    plain |= {f"lane-{k}": colour for k, colour in enumerate(palette.lanes)}
    return " ".join(f"--md-{name}: {colour};" for name, colour in plain.items())


def scheme(selector):
    """CSS that sets the colours for what `selector` finds: by what the reader's system or JupyterLab prefers.

    `data-theme="light"` or `"dark"` on the element itself has the last word.
    """
    inside = selector.strip()
    dark, light = variables(DARK), variables(LIGHT)
    return "\n".join([
        f"{inside} {{ {light} }}",
        f"@media (prefers-color-scheme: dark) {{ {inside} {{ {dark} }} }}",
        f'[data-jp-theme-light="true"] {inside}, body.vscode-light {inside} {{ {light} }}',
        f'[data-jp-theme-light="false"] {inside}, body.vscode-dark {inside} {{ {dark} }}',
        f'{inside}[data-theme="light"][data-theme] {{ {light} }}',
        f'{inside}[data-theme="dark"][data-theme] {{ {dark} }}',
    ])


def css(selector=".minidl"):
    """The style sheet of all figures, in SVG and in HTML; every rule stays below `selector`."""
    rules = {
        "": f"font-family: {FONT}; font-size: {BODY}px; font-variant-numeric: tabular-nums; color: var(--md-ink); "
            "background: var(--md-paper);",
        "text": "fill: var(--md-ink);",
        ".small": f"font-size: {SMALL}px;",
        ".mono": f"font-family: {MONO};",
        ".muted": "fill: var(--md-muted); color: var(--md-muted);",
        ".bold": "font-weight: 600;",
        ".positive": "fill: var(--md-positive); color: var(--md-positive);",
        ".negative": "fill: var(--md-negative); color: var(--md-negative);",
        ".paper": "fill: var(--md-paper);",
        ".panel": "fill: var(--md-panel);",
        ".stroke": "stroke: var(--md-line); stroke-width: 1.2; fill: none;",
        ".outline": "stroke: var(--md-ink); stroke-width: 1.4; fill: var(--md-paper);",
        ".rule": "stroke: var(--md-grid); fill: none;",
        ".value": "stroke: var(--md-line); stroke-width: 1.4; fill: none;",
        ".gradient": "stroke: var(--md-line); stroke-width: 1.4; stroke-dasharray: 5 3; fill: none;",
        ".absent": "stroke: var(--md-muted); stroke-width: 1; stroke-dasharray: 1.5 2.5; fill: none;",
        ".broken": "fill: var(--md-broken); color: var(--md-broken);",
        ".broken-paper": "fill: var(--md-broken-paper); background: var(--md-broken-paper);",
        ".arrow": "fill: var(--md-line); stroke: none;",
        ".now": "stroke: var(--md-ink); stroke-width: 3; fill: none;",
    }
    return scheme(selector) + "\n" + "\n".join(
        f"{selector} {inner} {{ {rule} }}" if inner else f"{selector} {{ {rule} }}" for inner, rule in rules.items())
