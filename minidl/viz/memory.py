"""Memory drawn: one row of numbers, and the tables that shape, strides and offset read from it.

    memory_of(x)             the block of memory behind x as a strip, x as a table above it, one entry worked out
    memory_of(x, x.T)        several at once; those that look at the same block are drawn around one strip
    layout(x)                the same facts without a picture

Entry (i, j) of a tensor stands at position `offset + i * stride0 + j * stride1` of its block. A stride counts
numbers, not bytes. It may be negative (a flip) or 0 (a number repeated by broadcasting).
"""
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, DeviceError, message
from ..tensor import Tensor
from .picture import INK, Picture, canvas

MINUS, DOT = "\N{MINUS SIGN}", "\N{MIDDLE DOT}"
LONGEST_STRIP, LARGEST_TABLE = {True: 26, False: 80}, {True: 60, False: 1024}     # with numbers, with shades
PAGE = 9.2                                                 # inches
TINTS = ["#d3e8f6", "#d2eee2", "#f5dfec", "#f6ecc6"]       # told apart by their titles as well
FAINT, UNUSED, BOTH, HATCH = "#595959", "#6e6e6e", "#e6e6e6", "#b4b4b4"
SMALL, LARGE = 8, 10                                       # points; 8 are 11 pixels at 100 dots an inch


@dataclass(frozen=True)
class Layout:
    """How a tensor reads its block of memory.

    Attributes:
        shape: the size along each axis.
        strides: numbers to walk in memory from one entry to the next along each axis.
        offset: the position of the first entry in the block.
        block: the numbers of the block in the order of memory.
        address: where the block starts, in bytes; two tensors with equal addresses share it.
    """

    shape: tuple
    strides: tuple
    offset: int
    block: np.ndarray
    address: int

    def position(self, index):
        """The position of an entry in the block: offset + i * stride0 + j * stride1 ..."""
        return self.offset + sum(i * stride for i, stride in zip(index, self.strides))

    @property
    def positions(self):
        """The positions of all entries, an array of the tensor's shape."""
        return np.asarray(self.position(np.indices(self.shape, sparse=True)) + np.zeros(self.shape, dtype=int))

    def formula(self, index):
        """The position of an entry worked out: `0 + 2·1 + 1·4 = 6`."""
        steps = [f"{i}{DOT}{spelled(s) if s >= 0 else f'({spelled(s)})'}" for i, s in zip(index, self.strides)]
        return " + ".join([str(self.offset), *steps]) + (f" = {self.position(index)}" if steps else "")


def layout(x):
    """The Layout of a tensor or NumPy array.

    Raises:
        ArgumentError: it is neither.
        DeviceError: its memory is on another device.

    >>> flipped = layout(np.arange(12).reshape(3, 4)[::-1])
    >>> flipped.shape, flipped.strides, flipped.offset
    ((3, 4), (-4, 1), 8)
    """
    array = x.array if isinstance(x, Tensor) else x
    if isinstance(x, Tensor) and x.device != "cpu":
        raise DeviceError(message(f"layout: this memory is on {x.device}.", try_="x.cpu()."))
    if not isinstance(array, np.ndarray):
        raise ArgumentError(message("layout: expected a tensor or a NumPy array.", [("got", type(x).__name__)]))
    strides = tuple(s // array.itemsize for s in array.strides)
    block, low = block_of(array)
    offset = (array.__array_interface__["data"][0] - low) // array.itemsize
    return Layout(array.shape, strides, offset if array.size else 0, block.copy(), low)


def block_of(array):
    """(the block of memory behind a NumPy array as one row, not copied; the address where it starts)."""
    owner = _owner(array)
    low, high = np.lib.array_utils.byte_bounds(owner)
    upwards = owner[tuple(slice(None, None, -1) if s < 0 else slice(None) for s in owner.strides)]
    count = (high - low) // array.itemsize if owner.size else 0
    return np.lib.stride_tricks.as_strided(upwards, (count,), (array.itemsize,)), low


def _owner(array):
    """The array of the same dtype that the memory was first made for."""
    owner = base = array
    while base is not None:
        base = getattr(base, "base", None)
        if isinstance(base, np.ndarray) and base.dtype == array.dtype:
            owner = base
    return owner


# ---------------------------------------------------------------------- in words
def spelled(value):
    """A number as it stands in the picture: three digits at most behind each other, a real minus sign.

    >>> spelled(-0.12345), spelled(np.float32(2.0)), spelled(np.True_)
    ('−0.123', '2', 'T')
    """
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, (int, np.integer)):
        return str(value).replace("-", MINUS)
    return {"nan": "nan", "inf": "∞", "-inf": f"{MINUS}∞"}.get(str(float(value)), f"{value:.3g}".replace("-", MINUS))


def described(names, layouts, cells, numbers=True):
    """The picture in sentences: who shares memory, then each tensor with one entry worked out."""
    blocks = _blocks(layouts)
    sentences = [_sharing([[names[k] for k in members] for members in blocks])] if len(layouts) > 1 else []
    for name, one, cell in zip(names, layouts, cells):
        used = len(np.unique(one.positions))
        facts = f"shape {one.shape}, strides {one.strides}, offset {one.offset}".replace("-", MINUS)
        repeats = np.unique(one.positions, return_counts=True)[1].max(initial=0)
        often = f", up to {repeats} times each" if repeats > 1 else ""
        whole = "all" if used == len(one.block) else f"{used} of the"
        sentences.append(f"{name}: {facts}; it looks at {whole} {_counted(len(one.block), 'number')} "
                         f"in its block of memory{often}.")
        if cell is not None and numbers:
            who, value = f"Entry {list(cell)}" if cell else "Its one entry", one.block[one.position(cell)]
            sentences.append(f"{who} stands at position {one.formula(cell)} and is {spelled(value)}.")
    return " ".join(sentences)


def _counted(n, noun):
    return f"{n} {noun}{'s' * (n != 1)}"


def _sharing(blocks):
    several = [names for names in blocks if len(names) > 1]
    together = [f"{', '.join(names[:-1])} and {names[-1]} share one block of memory" for names in several]
    alone = [names[0] for names in blocks if len(names) == 1]
    if not together:
        return f"{', '.join(alone[:-1])} and {alone[-1]} lie in separate blocks of memory."
    return "; ".join(together + [f"{name} has a block of its own" for name in alone]) + "."


def _blocks(layouts):
    """The places of the layouts, grouped by the block that they look at."""
    groups = {}
    for k, one in enumerate(layouts):
        groups.setdefault((one.address, len(one.block)), []).append(k)
    return list(groups.values())


# ---------------------------------------------------------------------- as a picture
class MemoryPicture(Picture):
    """A Picture of memory.

    Attributes:
        layouts: a Layout for each tensor in it.
    """

    def __init__(self, figure, alt, layouts):
        super().__init__(figure, alt)
        self.layouts = layouts


def memory_of(*xs, titles=None, cell=None, numbers=True):
    """Draw tensors or NumPy arrays as memory: the block as a strip, and the tables that are read from it.

    In the strip, a filled cell is looked at, and the lane of each tensor says by which entry (`×3`: by three). In a
    table, the small number is the position in the block; hatched cells repeat a number that stands there already.

    Args:
        xs: tensors or arrays with at most three axes, small enough to be looked at.
        titles: one name each; a single name may stand alone. `x` if there is one, else `a`, `b`, ...
        cell: the index of the entry whose position is worked out; the last one if left out.
        numbers: False draws shades from white (the smallest) to black (the largest), for images.

    Returns:
        a MemoryPicture; its attribute `layouts` holds the facts.

    Raises:
        ArgumentError: too many axes or numbers to draw, or no such cell.

    >>> x = np.arange(6).reshape(2, 3)
    >>> memory_of(x[1:], titles="x[1:]")
    x[1:]: shape (1, 3), strides (3, 1), offset 3; it looks at 3 of the 6 numbers in its block of memory.
    Entry [0, 2] stands at position 3 + 0·3 + 2·1 = 5 and is 5.
    """
    names = [titles] if isinstance(titles, str) else list(titles or ("x" if len(xs) == 1 else "abcdefgh"[:len(xs)]))
    if not xs or len(names) != len(xs):
        raise ArgumentError(message("memory_of: give one title for each tensor.",
                                    [("tensors", len(xs)), ("titles", names)]))
    layouts = [layout(x) for x in xs]
    for one in layouts:
        _check_drawable(one, numbers)
    cells = [_chosen(one, cell) for one in layouts]
    sheet = _Sheet(names, layouts, cells, numbers)
    for members in _blocks(layouts):
        sheet.block(members)
    return MemoryPicture(sheet.finish(), described(names, layouts, cells, numbers), layouts)


def _check_drawable(one, numbers):
    size = int(np.prod(one.shape))
    if len(one.shape) > 3 or size > LARGEST_TABLE[numbers]:
        raise ArgumentError(message(
            f"memory_of: at most three axes and {LARGEST_TABLE[numbers]} entries can be drawn.",
            [("shape", one.shape)],
            "take a piece, x[:3, :4]" + (", or numbers=False to draw shades." if numbers else ".")))


def _chosen(one, cell):
    """The index to work out; None if there is no entry."""
    if 0 in one.shape:
        return None
    if cell is None:
        return tuple(n - 1 for n in one.shape)
    if len(cell) != len(one.shape) or not all(0 <= i < n for i, n in zip(cell, one.shape)):
        raise ArgumentError(message("memory_of: there is no such cell.", [("cell", cell), ("shape", one.shape)]))
    return tuple(cell)


def _room(one):
    """How wide a cell must be for its numbers, and for the index in the lane."""
    return max([0.06 * max(2 * len(one.shape) - 1, 0) + 0.1, *(0.09 * len(spelled(v)) + 0.08 for v in one.block[:64])])


class _Sheet:
    """Paper to draw on. All lengths are inches, x to the right and y downwards."""

    def __init__(self, names, layouts, cells, numbers):
        self.names, self.layouts, self.cells, self.numbers = names, layouts, cells, numbers
        self.side = max([0.34, *map(_room, layouts)]) if numbers else 0.19
        self.step = self.side if numbers else 0.13         # the width of a cell in the strip
        self.tall, self.lane, self.row = (0.38, 0.21, 0.44) if numbers else (0.19, 0.19, 0.19)
        self.left = self.y = self.bottom = self.right = 0.0
        self.marks = []
        values = np.concatenate([one.block for one in layouts]).astype(float)
        self.least, self.most = (values.min(), values.max()) if values.size else (0, 1)

    # ------------------------------------------------------------------ strokes, kept until the size is known
    def box(self, x, y, w, h, fill="white", edge=INK, line=0.6, hatch=None, dash="-"):
        from matplotlib.patches import Rectangle

        if hatch:
            self.marks.append(Rectangle((x, y), w, h, facecolor=fill, edgecolor=HATCH, hatch=hatch, linewidth=0))
            fill = "none"
        self.marks.append(Rectangle((x, y), w, h, facecolor=fill, edgecolor=edge, linewidth=line, linestyle=dash))
        self.right = max(self.right, x + w)

    def text(self, x, y, text, size=LARGE, colour=INK, ha="center", **look):
        self.marks.append((x, y, text, dict(fontsize=size, color=colour, ha=ha, va="center", **look)))

    def finish(self):
        """The Figure."""
        height, width = self.bottom, max(self.right, 3.0) + 0.05
        figure, axes = canvas(size=(width, height))
        figure.set_layout_engine("none")
        ax = axes[0, 0]
        ax.set_position([0, 0, 1, 1])
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.axis("off")
        for order, mark in enumerate(self.marks):
            if isinstance(mark, tuple):
                x, y, text, look = mark
                ax.text(x, y, text, zorder=order, **look)
            else:
                mark.set_zorder(order)
                ax.add_patch(mark)
        return figure

    # ------------------------------------------------------------------ one block: a strip, its lanes, its tables
    def block(self, members):
        """Draw the strip of one block and everything that looks at it: beside the last block if there is room."""
        margin = max(0.75, *(0.075 * len(self.names[k]) + 0.12 for k in members))
        first, last = self.window(members)
        tables = sum(self.table_width(k) + 0.35 for k in members) - 0.35
        wide = max(margin + self.step * (last - first + 2), min(tables, PAGE))
        if self.left and self.left + wide > PAGE:
            self.left, self.y = 0.0, self.bottom + 0.25
        y = self.strip(members, self.left + margin, self.y, first, last)
        x, bottom = self.left, y
        for k in members:
            if x > self.left and x + self.table_width(k) > PAGE:
                x, y = self.left, bottom + 0.15
            bottom = max(bottom, self.table(k, x, y))
            x += self.table_width(k) + 0.35
        self.left, self.bottom = self.left + wide + 0.3, max(self.bottom, bottom)

    def strip(self, members, left, y, first, last):
        """The block itself, the positions above it and one lane below for each tensor; returns where it ends."""
        block, layouts = self.layouts[members[0]].block, [self.layouts[k] for k in members]
        start, down = left + self.step * (first > 0), y + 0.2
        place = {p: start + (p - first) * self.step for p in range(first, last)}
        self.text(left - 0.1, down + self.tall / 2, "elsewhere" if members[0] else "memory", SMALL, FAINT, ha="right")
        for p, x in place.items():
            if self.numbers or p % 8 == 0:
                self.text(x + self.step / 2, y + 0.1, str(p), SMALL, FAINT)
            whose = [k for k, one in zip(members, layouts) if p in one.positions]
            fill = "white" if not whose else TINTS[whose[0] % 4] if len(members) == 1 else BOTH
            self.cell(x, down, self.step, self.tall, block[p], fill, bool(whose))
        for shown, x in ((first > 0, left), (last < len(block), start + (last - first) * self.step)):
            if shown:
                self.text(x + self.step / 2, down + self.tall / 2, "…", LARGE, FAINT)
        chosen = self.cells[members[0]]
        if len(members) == 1 and chosen is not None:
            self.ring(place[layouts[0].position(chosen)], down, self.step, self.tall)
        y = down + self.tall + 0.07
        for k in members:
            self.lanes(k, left, y, place)
            y += self.lane + 0.04
        return y + 0.12

    def window(self, members):
        """The stretch of a block that is drawn: all of it, or as much as fits from the first number in use."""
        used = np.unique(np.concatenate([self.layouts[k].positions.ravel() for k in members]))
        count, most = len(self.layouts[members[0]].block), LONGEST_STRIP[self.numbers]
        if count <= most:
            return 0, count
        first = int(used[0]) if used.size else 0
        if used.size and used[-1] - first >= most:
            raise ArgumentError(message(f"memory_of: these entries are spread over more than {most} numbers of memory.",
                                        [("from", first), ("to", int(used[-1]))], "draw a smaller piece."))
        first = max(0, min(first, count - most))
        return first, first + most

    def lanes(self, k, left, y, place):
        """Below each number: the entry of tensor `k` that reads it, or how many do."""
        self.text(left - 0.1, y + self.lane / 2, self.names[k], SMALL, ha="right", fontfamily="monospace")
        one, readers = self.layouts[k], {}
        for index in np.ndindex(*one.shape):
            readers.setdefault(int(one.position(index)), []).append(index)
        for p, indices in readers.items():
            self.box(place[p], y, self.step, self.lane, TINTS[k % 4], FAINT, 0.4)
            if self.numbers:
                label = ",".join(map(str, indices[0])) or "·" if len(indices) == 1 else f"×{len(indices)}"
                self.text(place[p] + self.step / 2, y + self.lane / 2, label, SMALL)

    # ------------------------------------------------------------------ the table that a tensor shows
    def facts(self, k):
        """The lines above the table."""
        one = self.layouts[k]
        return [f"shape {one.shape}", f"strides {one.strides}, offset {one.offset}".replace("-", MINUS)]

    def result(self, k):
        """The lines below the table."""
        one, cell = self.layouts[k], self.cells[k]
        if cell is None:
            return ["holds no numbers"]
        return [f"{list(cell) if cell else 'the entry'} stands at", one.formula(cell)]

    def slabs(self, k):
        """A table as one sheet a first index: (name, shape of the sheet, indices in it)."""
        shape = self.layouts[k].shape
        if len(shape) < 3:
            return [("", (1,) * (2 - len(shape)) + shape, ())]
        return [(f"[{i}]", shape[1:], (i,)) for i in range(shape[0])]

    def table_width(self, k):
        """How much room the table of tensor `k` takes."""
        slabs = self.slabs(k)
        cells = sum(columns for _, (_, columns), _ in slabs) * self.side + 0.2 * (len(slabs) - 1)
        return max(cells, *(0.075 * len(line) for line in [self.names[k], *self.facts(k), *self.result(k)]))

    def table(self, k, x, y):
        """Draw one table; returns where it ends."""
        self.text(x, y + 0.1, self.names[k], LARGE, ha="left", fontfamily="monospace", fontweight="bold")
        for n, line in enumerate(self.facts(k)):
            self.text(x, y + 0.3 + 0.18 * n, line, SMALL, ha="left")
        top = y + 0.68
        slabs = self.slabs(k)
        if slabs[0][0]:
            top += 0.18
        seen, left, rows = set(), x, 0
        for name, (rows, columns), head in slabs:
            if name:
                self.text(left, top - 0.12, name, SMALL, FAINT, ha="left")
            for i, j in np.ndindex(rows, columns):
                self.entry(k, (*head, i, j)[-len(self.layouts[k].shape):] if self.layouts[k].shape else (),
                           left + j * self.side, top + i * self.row, seen)
            left += columns * self.side + 0.2
        bottom = top + rows * self.row
        for n, line in enumerate(self.result(k)):
            self.text(x, bottom + 0.15 + 0.18 * n, line, SMALL, ha="left")
        self.right = max(self.right, x + self.table_width(k))
        return bottom + 0.15 + 0.18 * len(self.result(k))

    def entry(self, k, index, x, y, seen):
        """One cell of a table, with its position in the block."""
        one = self.layouts[k]
        p = one.position(index)
        hatch = "///" if p in seen else None
        self.cell(x, y, self.side, self.row, one.block[p], TINTS[k % 4], hatch=hatch, lift=0.07)
        seen.add(p)
        if self.numbers:
            self.text(x + self.side - 0.03, y + self.row - 0.09, str(p), SMALL, FAINT, ha="right")
        if index == self.cells[k]:
            self.ring(x, y, self.side, self.row)

    def cell(self, x, y, wide, tall, value, fill, used=True, hatch=None, lift=0.0):
        """A box with a number in it, or with a shade that stands for the number."""
        if not self.numbers:
            shade = 1 - (float(value) - self.least) / ((self.most - self.least) or 1)
            self.box(x, y, wide, tall, str(round(shade, 3)), HATCH, 0.4, hatch)
            return
        self.box(x, y, wide, tall, fill, INK if used else HATCH, 0.6, hatch)
        self.text(x + wide / 2, y + tall / 2 - lift, spelled(value), LARGE, INK if used else UNUSED)

    def ring(self, x, y, w, h):
        """The mark of the chosen entry."""
        self.box(x, y, w, h, "none", INK, 2.2)
