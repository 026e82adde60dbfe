"""Your numbers beside the right ones: two grids, in which every cell that differs is framed and struck through.

Plain SVG, so that it shows in any notebook and in no need of a plotting library.
"""
import html

import numpy as np

from .compare import as_numbers, difference, mismatches, shown

BLUE, VERMILION, INK = (11, 99, 165), (196, 80, 10), "#1a1a1a"
SIDE, NARROW, GAP, TOP = 40, 9, 46, 22       # pixels: a cell with a number, one without, between grids, for the title
MOST_WITH_NUMBERS, MOST = 10, 64             # cells along an axis


def beside(got, expected, name=""):
    """Two grids as SVG; "" if the answers are no tables of one shape, or too large to look at.

    Args:
        got, expected: anything; drawn are arrays of one to four axes. Of more than two axes, the first plane with a
            difference is drawn, and of a dict the first value with one.
        name: what the numbers are, if that must be said.
    """
    if isinstance(got, dict) and isinstance(expected, dict) and got.keys() == expected.keys():
        key = next((k for k in expected if difference(got[k], expected[k])), None)
        return "" if key is None else beside(got[key], expected[key], f"{key}")
    got, expected = as_numbers(got), as_numbers(expected)
    if got is None or expected is None or not 1 <= expected.ndim <= 4 or expected.size < 2 or "c" in (
            got.dtype.kind, expected.dtype.kind):
        return ""
    if got.shape != expected.shape and got.size > MOST**2:         # it may be a view that is larger than memory
        return ""
    plane = ()
    if got.shape == expected.shape:
        wrong = mismatches(got, expected, 1e-4, 1e-6)
        plane = tuple(np.argwhere(wrong)[0][:-2]) if wrong.any() and got.ndim > 2 else (0,) * max(0, got.ndim - 2)
        got, expected = got[plane], expected[plane]
    grids = [np.atleast_2d(a).astype(float) for a in (got, expected)]
    if any(g.ndim != 2 or not g.size or max(g.shape) > MOST for g in grids):
        return ""
    same_shape = grids[0].shape == grids[1].shape
    wrong = mismatches(*grids, 1e-4, 1e-6) if same_shape else np.zeros(grids[0].shape, dtype=bool)
    where = ", ".join([*([name] if name else []), *([f"plane {', '.join(map(str, plane))}"] if plane else [])])
    return _svg(grids, wrong, where, same_shape)


def tells_all(got, expected):
    """Whether the two grids show every number that matters, so that they need not be written out as well."""
    if isinstance(got, dict) and isinstance(expected, dict):
        key = next((k for k in expected if k not in got or difference(got[k], expected[k])), None)
        return key in got and tells_all(got[key], expected[key])
    arrays = as_numbers(got), as_numbers(expected)
    return all(a is not None and 1 <= a.ndim <= 2 and max(a.shape) <= MOST_WITH_NUMBERS for a in arrays)


def _svg(grids, wrong, where, same_shape):
    finite = [abs(g[np.isfinite(g)]) for g in grids]
    largest = max([g.max() for g in finite if g.size], default=0) or 1
    numbers = all(max(g.shape) <= MOST_WITH_NUMBERS for g in grids)
    side = SIDE if numbers else NARROW
    parts, x = [], 1
    for title, grid, marks in (("yours", grids[0], wrong), ("expected", grids[1], np.zeros_like(grids[1], dtype=bool))):
        heading = html.escape(f"{title} ({where})" if where else title)
        parts.append(f'<text x="{x}" y="14" font-size="13" fill="currentColor">{heading}</text>')
        parts += [_cell(x + j * side, TOP + i * side, side, grid[i, j], largest, numbers, marks[i, j])
                  for i, j in np.ndindex(grid.shape)]
        parts += [_frame(x + j * side, TOP + i * side, side) for i, j in np.argwhere(marks)]
        x += max(grid.shape[1] * side, 7 * len(f"expected ({where})")) + GAP
    count = f"{wrong.sum()} of {wrong.size} cells differ" if same_shape else \
        f"the shapes differ: {grids[0].shape} and {grids[1].shape}"
    of = f" ({where})" if where else ""
    said = html.escape(f"Your answer{of} beside the expected one: {count}.")
    height = TOP + max(g.shape[0] for g in grids) * side + 2
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{x - GAP + 2}" height="{height}" role="img" '
            f'font-family="sans-serif"><title>{said}</title>{"".join(parts)}</svg>')


def _cell(x, y, side, value, largest, numbers, wrong):
    """One number: the larger, the stronger its colour; blue is positive, vermilion negative."""
    strength = min(abs(value) / largest, 1) * 0.55 if np.isfinite(value) else 0
    colour = "#ff8cff" if not np.isfinite(value) else "rgb({},{},{})".format(
        *(round(255 + (c - 255) * strength) for c in (BLUE if value >= 0 else VERMILION)))
    text = ""
    if numbers:
        words = shown(value) if len(shown(value)) < 6 else f"{value:.3g}"
        text = (f'<text x="{x + side / 2:g}" y="{y + side / 2 + 4:g}" font-size="{12 if len(words) < 6 else 9}" '
                f'text-anchor="middle" fill="{INK}">{words}</text>')
    return f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{colour}" stroke="#b0b0b0"/>{text}'


def _frame(x, y, side):
    """Around a cell that differs, and a stroke in its corner: not by colour alone."""
    corner = max(side // 4, 4)
    return (f'<rect x="{x + 1.5}" y="{y + 1.5}" width="{side - 3}" height="{side - 3}" fill="none" stroke="#C4500A" '
            f'stroke-width="{2.5 if side > 20 else 1.5}"/><path d="M{x + side - corner} {y + 2} L{x + side - 2} '
            f'{y + corner}" stroke="#C4500A" stroke-width="2"/>')
