"""Points in a plane: how two numbers of the same things go together, and which of the things were picked."""
import numpy as np

from ..errors import ShapeError, message
from .picture import INK, LINES, Picture, canvas
from .plots import numbers, plural

MARKERS = "osD^vP"                                # lanes are told apart by shape as well


def scatter(groups, x="x", y="y"):
    """Groups of points in one plane, the first one pale and small, the others on top of it with a name in a legend.

    Args:
        groups: name -> (xs, ys), two lists of numbers of one length; at most seven groups.
        x, y: what the axes are.

    Raises:
        ShapeError: there is no group, there are too many, or two lists do not fit together.
    """
    pairs = {name: [numbers(one).astype(float).reshape(-1) for one in pair] for name, pair in groups.items()}
    if not 1 <= len(pairs) <= 1 + len(LINES):
        raise ShapeError(message("scatter: this number of groups cannot be told apart.",
                                 [("groups", len(pairs))], f"from 1 to {1 + len(LINES)}."))
    for name, (xs, ys) in pairs.items():
        if len(xs) != len(ys) or not len(xs):
            raise ShapeError(message("scatter: every point needs an x and a y.",
                                     [("group", name), ("xs", xs.shape), ("ys", ys.shape)]))
    figure, axes = canvas(size=(4.6, 4.0))
    ax = axes[0, 0]
    first, *others = pairs.items()
    ax.scatter(*first[1], s=7, color=INK, alpha=0.25, linewidths=0, label=first[0])
    for (name, points), (colour, _), marker in zip(others, LINES, MARKERS):
        ax.scatter(*points, s=46, marker=marker, facecolors="none", edgecolors=colour, linewidths=1.6, label=name)
    for line in (ax.axhline, ax.axvline):
        line(0, color=INK, linewidth=0.6)
    ax.set(xlabel=x, ylabel=y)
    if others:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return Picture(figure, f"Points in a plane, {y} over {x}. " + " ".join(map(_told, pairs, pairs.values())))


def _told(name, pair):
    """One group in words: how many, where, and whether both numbers go together."""
    xs, ys = pair
    where = f"{xs.min():.3g} to {xs.max():.3g} across, {ys.min():.3g} to {ys.max():.3g} up"
    steady = len(xs) < 3 or not xs.std() or not ys.std()
    tie = "" if steady else f", correlation {np.corrcoef(xs, ys)[0, 1]:.2f}"
    return f"{name}: {plural(len(xs), 'point')}, {where}{tie}."
