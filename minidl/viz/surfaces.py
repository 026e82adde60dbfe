"""A loss over two parameters as a map, and the paths that optimisers took on it.

    surface(f, x=(-2, 2), y=(-1, 3), paths={"SGD": points, "Adam": more})
"""
import numpy as np

from ..autograd import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .picture import INK, LINES, PAPER, Picture, canvas
from .plots import BROKEN, numbers, shades
from .theme import number


def surface(loss, x, y, paths=(), names=("x", "y"), log=False, steps=60):
    """Lines of equal loss, the darker the higher, with a path for each optimiser.

    Args:
        loss: a function of two tensors of one shape that gives their losses, entry by entry.
        x, y: (lowest, highest) along each axis.
        paths: name -> points (N, 2), as `loss` takes them; each is told apart by its dash and the label at its end.
        names: of the axes.
        log: levels of equal ratio; for losses of very different sizes.
        steps: points along each axis.

    Raises:
        ShapeError: `loss` gives another shape than that of its inputs, or a path is not (N, 2).
    """
    paths = {name: numbers(points).astype(float) for name, points in dict(paths).items()}
    if len(paths) > len(LINES):
        raise ArgumentError(message(f"surface: {len(paths)} paths cannot be told apart.", [("most", len(LINES))]))
    for name, points in paths.items():
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ShapeError(message(f"surface: the path {name!r} is not a list of points.", [("got", points.shape)],
                                     "(N, 2), a row for each step."))
    across, up = np.meshgrid(np.linspace(*x, steps), np.linspace(*y, steps))
    with no_grad():
        height = loss(Tensor(across), Tensor(up))
    height = numbers(height)
    if height.shape != across.shape:
        raise ShapeError(message("surface: the loss must be computed entry by entry.",
                                 [("inputs", across.shape), ("loss", height.shape)], "leave out .sum() and .mean()."))
    figure, axes = canvas(size=(5.4, 4.0))
    ax = axes[0, 0]
    _levels(figure, ax, across, up, height, log)
    for (name, points), (_, dash) in zip(paths.items(), LINES):
        ax.plot(*points.T, color=PAPER, linewidth=3.6)                       # a rim, so that it is seen on any shade
        ax.plot(*points.T, color=INK, linewidth=1.4, linestyle=dash)
        ax.plot(*points[-1], "o", color=INK, markersize=4)
        ax.annotate(f"{name} ({len(points) - 1})", points[-1], xytext=(5, 4), textcoords="offset points", fontsize=9,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.85})
    ax.set(xlim=x, ylim=y, xlabel=names[0], ylabel=names[1])
    return Picture(figure, _told(across, up, height, paths, names, loss))


def _levels(figure, ax, across, up, height, log):
    """The shaded map with its lines and its scale."""
    whole = height[np.isfinite(height)]
    low, high = float(whole.min()), float(whole.max())
    shown = np.log10(height - low + 1e-3 * (high - low or 1)) if log else height
    ax.set_facecolor(BROKEN)
    image = ax.contourf(across, up, np.ma.masked_invalid(shown), 14, cmap=shades(PAPER, "#9db8cc", "#3d6685"))
    ax.contour(across, up, np.ma.masked_invalid(shown), 14, colors=INK, linewidths=0.4, alpha=0.5)
    bar = figure.colorbar(image, ax=ax, shrink=0.85)
    bar.set_label("log₁₀ of the loss above its lowest" if log else "loss", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _told(across, up, height, paths, names, loss):
    k = np.unravel_index(np.nanargmin(height), height.shape)
    lowest, *place = (number(float(table[k])) for table in (height, across, up))
    text = f"Loss over {names[0]} and {names[1]}, lowest ({lowest}) near ({', '.join(place)})."
    for name, points in paths.items():
        with no_grad():
            ends = numbers(loss(Tensor(points[[0, -1], 0]), Tensor(points[[0, -1], 1])))
        text += f" {name}: {len(points) - 1} steps, from loss {number(float(ends[0]))} to {number(float(ends[1]))}."
    return text
