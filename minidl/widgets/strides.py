"""Stride explorer: type `x.T[::2, None]` and see, op by op, how shape, strides and offset read the same memory.

    explore_strides(x)                               x step by step, the memory as lines of 64 bytes
    explore_strides(x, "x.T.reshape(12)")            where a copy is made, and why
    explore_strides(x, CASES["window"])              contiguous, broadcast, transpose, flip, diagonal, window

After the ops come three questions about the result: who else sees a number that is written, how many lines of memory
a walk by rows and one by columns load, and what gradient each number of memory gets.
"""
import math

import numpy as np
import traitlets as tr

from ..creation import arange
from ..errors import ArgumentError, message
from ..tensor import Tensor, as_tensor
from ..viz.memory import layout, spelled
from ..viz.svg import document, element, text_width
from ..viz.theme import BROKEN_MARK, INFINITY, MINUS
from .expressions import ops_of, run
from .trace import Frame, Trace
from .widget import Widget

LINE = 64                              # bytes that come from memory together, on nearly all processors of today
MOST, ROWS, WIDE = 128, 40, 16         # entries of a block or a view, lines of a table, cells in a line
TALL, NARROWEST, PAPER = 30, 30, 300     # px: a cell, down and across; the picture is at least as wide
CASES = {
    "contiguous": "x", "broadcast": "x[:1].expand(3, 4)", "transpose": "x.T", "flip": "x[::-1]",
    "diagonal": "x.as_strided((3,), (5,))", "window": "x.flatten().unfold(0, 3, 1)",
}


def explore_strides(x=None, expression="x.T[::2, None]", entry=None):
    """A StrideExplorer.

    Args:
        x: a tensor or NumPy array with at most 128 numbers; `arange(12).reshape(3, 4)` if left out.
        expression: of `x`, with indices and methods that move no numbers; whole numbers only.
        entry: the index of the entry that is worked out; the last one if left out.

    Raises:
        ArgumentError: the expression is none that can be followed, or there is too much to draw.
    """
    return StrideExplorer(as_tensor(arange(12).reshape(3, 4) if x is None else x), expression=expression,
                          entry="" if entry is None else ", ".join(map(str, np.atleast_1d(entry))))


class StrideExplorer(Widget):
    """How an expression reads the memory of `x`.

    Attributes:
        x: the tensor.
        expression: such as `x.T[::2, None]`.
        entry: the entry of the result that is worked out, such as "1, 0, 2"; "" for the last one.
    """

    scripts = ("strides",)
    controls = ("expression", "entry")
    expression = tr.Unicode("x.T[::2, None]").tag(sync=True)
    entry = tr.Unicode("").tag(sync=True)
    cases = tr.List(default_value=[[text, name] for name, text in CASES.items()]).tag(sync=True)

    def __init__(self, x, **controls):
        self.x = x
        super().__init__(**controls)

    def record(self):
        """The expression op by op, then what follows from it, as a Trace."""
        steps = steps_of(self.x, self.expression)
        entry = chosen(self.entry, steps[-1].layout.shape)
        sheet = Sheet(steps, entry, self.x.array.itemsize)
        frames = [*sheet.ops(), *sheet.write(), *sheet.walks(), *sheet.gradient()]
        note = f"{self.x.dtype}: {sheet.per_line} numbers a line of {LINE} bytes."
        return Trace(frames, f"strides of {self.expression}", {"labels": sheet.labels()}, note)

    def draw(self, frame):
        """One frame as SVG: the memory, line by line, and the table that is read from it."""
        data = frame.data
        marks = [piece for one in data["cells"] for piece in _cell(*one)]
        marks += [element("rect", x=x, y=y, width=w, height=TALL, class_="now")        # on top of the neighbours
                  for x, y, w, *_, look, _, _ in data["cells"] if look == "now"]
        words = [element("text", text, x=x, y=y, class_=look) for x, y, text, look in data["words"]]
        return document(data["width"], data["height"], *words, *marks, title=self.trace.title, desc=frame.text)


def _cell(x, y, width, text, small, look, key, position):
    """A cell as SVG; static/strides.js draws the same."""
    box = dict(x=x, y=y, width=width, height=TALL)
    broken = text == BROKEN_MARK or INFINITY in text
    yield element("rect", **box, class_="broken-paper" if broken else "absent" if look == "unused" else "outline")
    if look == "again":
        yield element("path", d=f"M{x},{y + 9}l9,-9M{x},{y + 18}l18,-18", class_="stroke")
    yield element("text", text, x=x + width / 2, y=y + 13, text_anchor="middle",
                  class_="small broken" if broken else "muted small" if look == "unused" else "small bold")
    yield element("text", small, x=x + width / 2, y=y + 26, text_anchor="middle",
                  class_="small broken" if broken else "muted small")


# ---------------------------------------------------------------------- what the ops did
class Step:
    """One op of the expression.

    Attributes:
        text: the expression up to here.
        op: the op's own part of it.
        layout: a viz.memory Layout.
        copied: whether it made memory of its own.
        reason: why; or where PyTorch does otherwise; or "".
    """

    def __init__(self, text, op, layout, copied=False, reason=""):
        self.text, self.op, self.layout, self.copied, self.reason = text, op, layout, copied, reason

    @property
    def facts(self):
        """Shape, strides and offset."""
        one = self.layout
        return f"shape {one.shape}, strides {one.strides}, offset {one.offset}".replace("-", MINUS)


def steps_of(x, expression):
    """The expression run op by op, as a list of Steps.

    Raises:
        ArgumentError: it is none that can be followed, or there is too much to draw.
    """
    _small(x)
    steps, now = [Step("x", "", layout(x))], x
    for op in ops_of(expression):
        before, now = now, run(now, op)
        if not isinstance(now, Tensor):
            raise ArgumentError(message("strides: every op must give one tensor.", [("op", op.text)]))
        _small(now)
        old, new = steps[-1].layout, layout(now)
        copied = (old.address, len(old.block)) != (new.address, len(new.block))
        steps.append(Step(steps[-1].text + op.text, op.text, new, copied, _reason(op, before, old, new, copied)))
    return steps


def _small(x):
    size, shape = math.prod(x.shape), x.shape
    lines = math.prod(shape[:-1]) * -(-(shape[-1] if shape else 1) // WIDE)
    if size > MOST or lines > ROWS or len(layout(x).block) > MOST:
        raise ArgumentError(message(f"strides: at most {MOST} numbers in {ROWS} rows can be drawn.",
                                    [("shape", shape), ("numbers in memory", len(layout(x).block))],
                                    "a smaller tensor; what holds for it holds for a large one."))


def _reason(op, x, old, new, copied):
    """Why an op copied, or what PyTorch does otherwise."""
    if not copied:
        if any(s < 0 for s in new.strides):
            return {"flip": "PyTorch copies here: its strides are never negative."}.get(
                op.name, "PyTorch refuses this: its strides are never negative." if op.name == "[]" else "")
        return ""
    if op.name in ("reshape", "view", "flatten", "unflatten"):
        more = " PyTorch's view raises an error here; reshape copies." if op.name == "view" else ""
        return _unmergeable(old, new.shape) + more
    return {"contiguous": "Row after row was wanted, and the strides said otherwise.",
            "clone": "A clone always has memory of its own.",
            "diagonal": "minidl gathers a diagonal. PyTorch gives a view, whose stride is the sum of the two; "
                        "as_strided does so here.",
            "[]": "A list may pick entries in any order, and no stride says that.",
            }.get(op.name, "This op makes memory of its own.")


def _unmergeable(old, shape):
    """Why a reshape had to copy: two axes that were to become one, and cannot be walked with one stride.

    Axes i and i+1 are one axis only if the next step of axis i lies where axis i+1 ends.
    """
    axes = [(d, n, s) for d, (n, s) in enumerate(zip(old.shape, old.strides)) if n != 1]
    for group in _groups([n for _, n, _ in axes], [n for n in shape if n != 1]):
        for k in group[:-1]:
            (d, _, far), (e, n, near) = axes[k], axes[k + 1]
            if far != n * near:
                end = f"{n} × {spelled(near)} = {spelled(n * near)}"
                return (f"Axes {d} and {e} cannot be read as one row: one step along axis {d} goes {spelled(far)} "
                        f"further, but the {n} steps of axis {e} end {end} further.")
    return "No single set of strides reads the old memory in the new order."


def _groups(old, new):
    """The places of the old sizes that go together into the same new sizes.

    >>> _groups([2, 3, 4], [6, 4]), _groups([4, 3], [12])
    ([[0, 1], [2]], [[0, 1]])
    """
    groups, k, j = [], 0, 0
    while k < len(old) and j < len(new):
        group, a, b = [k], old[k], new[j]
        while a != b:
            if a < b:
                k += 1
                group.append(k)
                a *= old[k]
            else:
                j += 1
                b *= new[j]
        groups.append(group)
        k, j = k + 1, j + 1
    return groups


def chosen(text, shape):
    """The index that "1, 0, 2" stands for; of the last entry for "", None if there is no entry."""
    if 0 in shape:
        return None
    if not text.strip():
        return tuple(n - 1 for n in shape)
    try:
        index = tuple(int(part) for part in text.strip("[]() ,").split(",") if part.strip())
    except ValueError:
        index = ()
    index = tuple(i + n if i < 0 else i for i, n in zip(index, shape)) if len(index) == len(shape) else None
    if index is None or not all(0 <= i < n for i, n in zip(index, shape)):
        raise ArgumentError(message("strides: there is no such entry.", [("entry", text), ("shape", shape)],
                                    f"{len(shape)} whole numbers, such as {', '.join('0' for _ in shape)}."))
    return index


# ---------------------------------------------------------------------- what there is to be seen
def lines_loaded(positions, itemsize):
    """(loads, different lines) when positions are visited in this order and only the last line is kept at hand."""
    lines = np.asarray(positions, dtype=int).ravel() * itemsize // LINE
    return (1 + int((np.diff(lines) != 0).sum()), len(np.unique(lines))) if lines.size else (0, 0)


class Sheet:
    """The frames of one expression, with the places of all that is drawn."""

    def __init__(self, steps, entry, itemsize):
        self.steps, self.entry, self.itemsize, self.last = steps, entry, itemsize, steps[-1]
        self.per_line = LINE // itemsize
        self.readers = [_readers(step.layout) for step in steps]

    # ------------------------------------------------------------------ frames
    def ops(self):
        """A frame for each op; it ends with the question for the next."""
        for k, step in enumerate(self.steps):
            what = f" {step.op} {'makes a copy.' if step.copied else 'is a view: no number moves.'}" if k else ""
            after = self.steps[k + 1].op if k + 1 < len(self.steps) else ""
            ask = f" Next: {after}. View or copy, and with which strides? Decide, then step on." if after else ""
            worked = self._worked() if step is self.last else ""
            text = " ".join(part for part in (f"{step.text}: {step.facts}.{what}", step.reason, worked) if part)
            yield Frame("ops", text + ask, self._picture(k), tuple(self._lines(k)))

    def _worked(self):
        one = self.last.layout
        if self.entry is None:
            return "It holds no numbers."
        return (f"Entry {list(self.entry)} stands at position {one.formula(self.entry)} and is "
                f"{spelled(one.block[one.position(self.entry)])}.")

    def write(self):
        """Who else sees a number that is written."""
        if self.entry is None:
            return
        place = self.last.layout.position(self.entry)
        seen = []
        for step, readers in zip(self.steps, self.readers):
            if self._same_block(step):
                where = readers.get(place, [])
                seen.append(f"{step.text} {_listed(where)}" if where else f"not {step.text}")
            else:
                seen.append(f"not {step.text}, which has other memory")
        yield Frame("write", f"Write to entry {list(self.entry)} of {self.last.text}, position {place}. "
                             f"Who sees it: {'; '.join(seen)}.", self._all_who_share(place))

    def _same_block(self, step):
        one, other = step.layout, self.last.layout
        return (one.address, len(one.block)) == (other.address, len(other.block))

    def walks(self):
        """By rows and by columns: the order of visits, and the lines that are loaded."""
        positions = self.last.layout.positions
        if positions.size < 2:
            return
        orders = [("last index fastest", positions.ravel())]
        orders += [("first index fastest", positions.ravel(order="F"))] if positions.ndim > 1 else []
        for name, order in orders:
            loads, different = lines_loaded(order, self.itemsize)
            stops = ", ".join(map(str, order[:8].tolist())) + (", …" if order.size > 8 else "")
            visits = {}
            for k, place in enumerate(order.tolist(), 1):
                visits.setdefault(place, f"{k}.")
            often = "once" if loads == 1 else f"{loads} times"
            yield Frame("walk", f"A walk with the {name} visits positions {stops}. It loads a line of {LINE} bytes "
                                f"{often} for {order.size} numbers ({different} different), if only the last line is "
                                "at hand and memory starts with a line.", self._picture(len(self.steps) - 1, visits))

    def gradient(self):
        """How often each number is read: the gradient of the sum."""
        counts = {place: f"∂ {len(indices)}" for place, indices in self.readers[-1].items()}
        one = self.last.layout
        repeated = [d for d, (n, s) in enumerate(zip(one.shape, one.strides)) if s == 0 and n > 1]
        why = (f" Along axis {' and '.join(map(str, repeated))} the stride is 0: backward adds up over it."
               if repeated else "")
        unread = len(one.block) - len(counts)
        zero = f" {unread} of {len(one.block)} numbers are not read and get 0." if unread else ""
        below = {**dict.fromkeys(range(len(one.block)), "∂ 0"), **counts}
        yield Frame("gradient", f"The gradient of {self.last.text}.sum(): each number of its memory gets as much as "
                                f"there are entries that read it.{why}{zero}",
                    self._picture(len(self.steps) - 1, below))

    # ------------------------------------------------------------------ pictures
    def _picture(self, k, below=None, only=None):
        """Cells and words: the memory of step `k`, then its table.

        Args:
            below: from a position to what stands below its number in the strip; the position itself if left out.
            only: a position whose cells alone get the ring.
        """
        step = self.steps[k]
        one, cells, words = step.layout, [], []
        ring = one.position(self.entry) if step is self.last and self.entry is not None else None
        words.append((0, 14, f"memory{' of its own' if step.copied else ''}: {len(one.block)} numbers, a line of "
                             f"{LINE} bytes a row", "small muted"))
        bottom = self._strip(k, cells, 22, below, only if only is not None else ring)
        words += [(0, bottom + 20, step.text, "mono bold"), (0, bottom + 37, step.facts, "small"),
                  (0, bottom + 53, ("copy" if step.copied else "view") if k else "the tensor itself", "small bold")]
        bottom = self._table(k, cells, words, bottom + 62, only, ring)
        return self._sized(cells, words, bottom, k)

    def _all_who_share(self, place):
        """The memory, and the tables of all steps that look at it; rings where one position is read."""
        last = len(self.steps) - 1
        cells, words = [], [(0, 14, f"written: position {place}; ringed: who sees it", "small muted")]
        y = self._strip(last, cells, 22, None, place)
        for k, step in enumerate(self.steps):
            if self._same_block(step):
                words.append((0, y + 22, step.text, "mono bold"))
                y = self._table(k, cells, words, y + 30, place, None, f"s{k}")
        return self._sized(cells, words, y, last + 1)

    def _sized(self, cells, words, bottom, step):
        wide = [x + text_width(t, 13 if "bold" in look else 11) for x, _, t, look in words]
        right = max([x + w for x, _, w, *_ in cells] + wide + [PAPER])
        return {"cells": cells, "words": words, "width": right + 3, "height": bottom + 4, "step": step}

    def _strip(self, k, cells, y, below, ring):
        one, width = self.steps[k].layout, self._width(k)
        for place, value in enumerate(one.block):
            row, column = divmod(place, self.per_line)
            wrapped, column = divmod(column, WIDE)
            row = row * -(-min(self.per_line, len(one.block)) // WIDE) + wrapped
            look = "now" if place == ring else "used" if place in self.readers[k] else "unused"
            small = str(place) if below is None else below.get(place, "")
            cells.append((2 + column * width, y + row * (TALL + 3), width, _shown(value), small, look, f"m{place}",
                          place))
        return max([c[1] for c in cells], default=y) + TALL

    def _table(self, k, cells, words, y, only, ring, prefix=""):
        one, width, seen = self.steps[k].layout, self._width(k), set()
        shape = one.shape
        heads = list(np.ndindex(*shape[:-1])) if shape else [()]
        left = 2 + (max(text_width(_head(h), 11) for h in heads) + 8 if len(shape) > 1 and heads else 0)
        for n, head in enumerate(heads):
            if n and len(head) > 1 and head[-1] == 0:
                y += 8                                         # a new sheet
            if len(shape) > 1:
                words.append((0, y + 19, _head(head), "small muted"))
            count = shape[-1] if shape else 1
            for j in range(count):
                index = (*head, j) if shape else ()
                place = one.position(index)
                mine = place == only if only is not None else ring is not None and index == self.entry
                look = "now" if mine else "again" if place in seen else "used"
                seen.add(place)
                cells.append((left + j % WIDE * width, y + j // WIDE * TALL, width, _shown(one.block[place]),
                              str(place), look, prefix + _key(index), place))
            y += TALL * max(1, -(-count // WIDE)) + 3
        return y

    def _width(self, k):
        return max([NARROWEST, *(text_width(spelled(v), 11, bold=True) + 8 for v in self.steps[k].layout.block)])

    # ------------------------------------------------------------------ words
    def labels(self):
        """For each step, what is said about each cell: what a screen reader hears and a click pins."""
        each = [self._labels(k) for k in range(len(self.steps))]
        shared = {f"s{k}{key}": text for k, labels in enumerate(each) for key, text in labels.items() if key[0] == "v"}
        return [*each, {**each[-1], **shared}]

    def _labels(self, k):
        step, found = self.steps[k], {}
        for place, value in enumerate(step.layout.block):
            found[f"m{place}"] = f"Position {place}: {spelled(value)}, read by {self._who(k, place) or 'nobody'}."
        for index in np.ndindex(*step.layout.shape):
            found[_key(index)] = (
                f"Entry {list(index)} of {step.text}: position {step.layout.formula(index)}.")
        return found

    def _who(self, k, place):
        same = [n for n in range(k + 1) if self.steps[n].layout.address == self.steps[k].layout.address]
        return "; ".join(f"{self.steps[n].text} {_listed(self.readers[n][place])}" for n in same
                         if place in self.readers[n])

    def _lines(self, k):
        one = self.steps[k].layout
        rows = [f"Memory: {', '.join(spelled(v) for v in one.block)}."]
        return rows + [f"Entry {list(index)}: position {one.formula(index)}, {spelled(one.block[one.position(index)])}."
                       for index in np.ndindex(*one.shape)]


def _readers(one):
    """From a position to the entries that read it."""
    readers = {}
    for index in np.ndindex(*one.shape):
        readers.setdefault(int(one.position(index)), []).append(index)
    return readers


def _listed(indices):
    text = ", ".join(str(list(i)) for i in indices[:4])
    return text + (f" and {len(indices) - 4} more" if len(indices) > 4 else "")


def _shown(value):
    return BROKEN_MARK if value != value else spelled(value)


def _key(index):
    return "v" + ",".join(map(str, index))


def _head(head):
    return f"[{', '.join(map(str, head))}, :]"

