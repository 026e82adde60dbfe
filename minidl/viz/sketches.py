"""sketch(...): small graphs of notes that a learner made, a few of them side by side, like the frames of a film.

    sketch(("h = w * x", {w: 2.0, x: 3.0, h: 6.0}, {h}))

A note may be an object of any class: it has `inputs`, which are notes, and an `op` or a `name` to be written on it. The
graphs of minidl's own tensors are drawn by `draw`.
"""
from ..errors import ArgumentError, message
from .picture import INK, Picture, canvas
from .theme import LIGHT, number

SIGNS = {"*": "×", "/": "÷", "-": "−"}
APART, ROW = 0.78, 0.72                # inches from column to column, from row to row
VALUE, GRADIENT = 0.34, 0.6            # how far below a note its two numbers stand, in rows

UNDER = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}       # so that an arrow does not run through a number


def sketch(*frames, columns=None):
    """Pictures of small graphs side by side; a note stands at the same place in all of them.

    Args:
        frames: tuples (title, notes) or (title, notes, new). `notes` is a dict from note to its number, to None where
            there is none yet, or to a pair (number, gradient); `new` holds those that the reader should look at.
        columns: how many frames stand in one line; all of them if it is left out.

    Returns:
        a Picture.

    Raises:
        ArgumentError: something is no note, an input is not among the notes of its frame, or notes need each other.
    """
    frames = [(title, notes, list(new[0]) if new else []) for title, notes, *new in frames]
    for _, notes, _ in frames:
        _look_at(notes)
    places = places_of(frames)
    columns = columns or len(frames)
    xs, ys = zip(*(place for one in places for place in one.values()))
    two = any(_pair(value)[1] is not None for _, notes, _ in frames for value in notes.values())
    edges = min(xs) - 0.6, max(xs) + 0.6, min(ys) - (0.85 if two else 0.65), max(ys) + 0.5
    row = 1.3 * ROW if two else ROW
    figure, axes = canvas(-(-len(frames) // columns), columns,
                          size=((edges[1] - edges[0]) * APART, (edges[3] - edges[2]) * row + 0.3))
    for ax in axes.flat:
        ax.axis("off")
    for ax, (title, notes, new), place in zip(axes.flat, frames, places):
        ax.set(xlim=edges[:2], ylim=edges[2:])
        ax.set_title(title, fontsize=9.5, family="monospace")
        for note in notes:
            _arrows(ax, note, place)
        for note in notes:
            _put(ax, note, place[note], notes[note], note in new, bool(new) and note not in new)
    return Picture(figure, " ".join(_told(*frame) for frame in frames))


def places_of(frames):
    """A dict from note to (column, row) for each frame; one for all, where frames share their notes."""
    everything = {note: None for _, notes, _ in frames for note in notes}
    if all(set(notes) & set(frames[0][1]) for _, notes, _ in frames):
        return [_places(everything)] * len(frames)
    return [_places(notes) for _, notes, _ in frames]


def _places(notes):
    """Columns by the longest way from an input; what nothing made stands right before its first use."""
    column, users = {}, {note: [] for note in notes}
    for note in notes:
        for i in note.inputs:
            users[i].append(note)
    while len(column) < len(notes):
        ready = [note for note in notes if note not in column and all(i in column for i in note.inputs)]
        if not ready:
            raise ArgumentError(message("sketch: these notes need each other, so there is no first one.",
                                        [("notes", ", ".join(_label(n) for n in notes if n not in column))]))
        column.update({note: 1 + max((column[i] for i in note.inputs), default=-1) for note in ready})
    for note in notes:
        if not note.inputs and users[note]:
            column[note] = min(column[user] for user in users[note]) - 1
    place = {}
    for c in set(column.values()):
        mine = sorted((note for note in notes if column[note] == c), key=lambda note: not note.inputs)
        place.update({note: (c, (len(mine) - 1) / 2 - k) for k, note in enumerate(mine)})
    return place


def _look_at(notes):
    for note in notes:
        if not hasattr(note, "inputs"):
            raise ArgumentError(message(f"sketch: a {type(note).__name__} is no note.", [("got", repr(note)[:60])],
                                        "{note: number}, where note.inputs are notes."))
        for i in note.inputs:
            if i not in notes:
                raise ArgumentError(message("sketch: an input of a note is missing in its frame.",
                                            [("note", repr(note)[:60]), ("input", repr(i)[:60])],
                                            "put it into the dict, with None if it has no number."))


def _pair(value):
    return value if isinstance(value, tuple) else (value, None)


def _label(note):
    op = getattr(note, "op", "")
    return getattr(note, "name", "") or SIGNS.get(op, str(op))


def _arrows(ax, note, place):
    """An arrow from each input; two from the same one are bent apart."""
    inputs = list(note.inputs)
    for k, i in enumerate(inputs):
        bend = (0.3 if k else -0.3) if inputs.count(i) > 1 else -0.45 if _blocked(place, i, note) else 0
        ax.annotate("", place[note], place[i], zorder=1, arrowprops={
            "arrowstyle": "-|>", "color": LIGHT.line, "shrinkA": 12, "shrinkB": 13,
            "connectionstyle": f"arc3,rad={bend}"})


def _blocked(place, start, end):
    """Whether a note stands on the straight way between two others."""
    (x, y), (right, top) = place[start], place[end]
    return any(x < a < right and abs(b - y - (top - y) * (a - x) / (right - x)) < 0.3 for a, b in place.values())


def _put(ax, note, place, value, new, quiet):
    """One note: an op is a circle, what comes from outside a box; dotted while there is no number."""
    known, gradient = _pair(value)
    ink = LIGHT.line if quiet else INK
    box = {"boxstyle": "circle,pad=0.4" if note.inputs else "square,pad=0.4", "facecolor": "white", "edgecolor": ink,
           "linewidth": 2.6 if new else 1.1, "linestyle": (0, (1, 1)) if known is None else "-"}
    ax.text(*place, _label(note), ha="center", va="center", fontsize=10, bbox=box, color=ink)
    ax.text(place[0], place[1] - VALUE, "no number" if known is None else number(known), ha="center", va="top",
            fontsize=7.5 if known is None else 8.5, color=LIGHT.muted if known is None else INK, bbox=UNDER)
    if gradient is not None:
        ax.text(place[0], place[1] - GRADIENT, f"∂ {number(gradient)}", ha="center", va="top", fontsize=8.5,
                color=LIGHT.negative if gradient < 0 else LIGHT.positive, bbox=UNDER)


def _told(title, notes, new):
    """One frame in words."""
    parts = []
    for note, value in notes.items():
        known, gradient = _pair(value)
        said = "no number" if known is None else number(known)
        parts.append(f"{_called(note)} {said}" + (f" with gradient {number(gradient)}" if gradient is not None else ""))
    marked = f"; new: {', '.join(_called(note) for note in notes if note in new)}" if new else ""
    return f"{title}: {', '.join(parts) or 'nothing'}{marked}."


def _called(note):
    inputs = " and ".join(_label(i) for i in note.inputs)
    return f"{_label(note)} of {inputs}" if inputs else _label(note)
