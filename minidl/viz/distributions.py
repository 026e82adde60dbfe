"""How the numbers of each layer are spread: weights, activations or gradients, layer under layer.

    histograms(model)                     its parameters
    histograms({"relu 1": h1, ...})       anything else
"""
import numpy as np

from ..errors import ArgumentError, ShapeError, message
from .picture import BROKEN, GRID, INK, NEGATIVE, POSITIVE, Picture, canvas
from .plots import blank, numbers, percent, plural
from .theme import number


def histograms(layers, gradients=False, bins=40, columns=3):
    """A histogram for each layer; negative numbers are hatched vermilion, positive ones blue.

    NaN and infinities are counted above the histogram and never mixed in. Each has its own scale.

    Args:
        layers: a module, or a dict from names to tensors of any shape.
        gradients: show the gradients of these instead; those that were not computed are drawn empty and say so.
        bins: how many bars.
        columns: how many histograms side by side.
    """
    layers = dict(layers.named_parameters()) if hasattr(layers, "named_parameters") else dict(layers)
    if not layers:
        raise ArgumentError(message("histograms: there is nothing to show.", try_="a module, or a dict of tensors."))
    columns = min(columns, len(layers))
    figure, axes = canvas(-(-len(layers) // columns), columns, size=(2.9, 1.7))
    told = []
    for ax, (name, x) in zip(axes.flat, layers.items()):
        if gradients and getattr(x, "grad", None) is None:
            told.append(_absent(ax, name))
        else:
            told.append(_histogram(ax, name, numbers(x.grad if gradients else x).ravel(), bins))
    blank(axes.flat[len(layers):])
    what = "gradients" if gradients else "numbers"
    return Picture(figure, f"Histograms of the {what} of {plural(len(layers), 'tensor')}. {' '.join(told)}")


def _histogram(ax, name, x, bins):
    """Draw one; say it in a sentence."""
    if not x.size:
        raise ShapeError(message(f"histograms: {name} holds no numbers.", [("shape", x.shape)]))
    whole = x[np.isfinite(x)].astype(float)
    broken, zeros = x.size - whole.size, int((whole == 0).sum())
    if whole.size:
        low, high = float(whole.min()), float(whole.max())
        edges = _edges(low, high, bins)
        counts, _ = np.histogram(whole, edges)
        for count, a, b in zip(counts, edges, edges[1:]):
            below = b <= 0
            ax.bar(a, count, b - a, align="edge", color=NEGATIVE if below else POSITIVE, edgecolor="white",
                   linewidth=0.3, hatch="////" if below else None)
        ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_title(name, fontsize=9, loc="left")
    ax.set_yticks([])
    ax.tick_params(labelsize=8)
    if broken:
        ax.set_title(f"{broken} NaN or ∞", fontsize=9, loc="right", color="white", backgroundcolor="black")
        ax.title.set_color(BROKEN)
        ax._right_title.set_color(BROKEN)
    spread = f"mean {number(whole.mean())}, deviation {number(whole.std())}" if whole.size else "no finite number"
    share = f", {percent(zeros / x.size)} exactly 0" if zeros else ""
    return f"{name}: {spread}{share}{f', {broken} NaN or infinite' if broken else ''}."


def _edges(low, high, bins):
    """Borders of bars of one width, one of them exactly at 0 where 0 lies inside."""
    if low == high:
        low, high = low - 0.5, high + 0.5
    width = (high - low) / bins
    if low < 0 < high:
        return width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)
    return np.linspace(low, high, bins + 1)


def _absent(ax, name):
    """An empty frame where there is no gradient."""
    ax.set_xticks([]), ax.set_yticks([])
    ax.spines[:].set(visible=True, color=GRID, linestyle=":")
    ax.set_title(name, fontsize=9, loc="left")
    ax.text(0.5, 0.5, "no gradient", ha="center", va="center", transform=ax.transAxes, fontsize=8)
    return f"{name}: no gradient was computed."
