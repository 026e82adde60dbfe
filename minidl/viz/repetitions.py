"""The same experiment several times: every result a dot, their mean, and how far the mean can be trusted."""
import math

import numpy as np

from ..errors import ShapeError, message
from .picture import INK, LINES, Picture, canvas
from .plots import numbers

# Student's t: 95 % of its distribution lie between -t and t; by degrees of freedom.
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def interval(values):
    """The mean of repeated runs, and how far a 95 % interval reaches to both sides of it.

    Mean +- t * s / sqrt(n), with Student's t for n - 1 degrees of freedom and the deviation s of the runs. It speaks of
    what was varied from run to run (the seed, the pictures), and of nothing else.

    >>> mean, reach = interval([0.90, 0.92, 0.91])
    >>> print(f"{mean:.3f} ± {reach:.3f}")
    0.910 ± 0.025
    """
    x = numbers(values).astype(float).ravel()
    if x.size < 2:
        raise ShapeError(message("interval: one run says nothing about the next.", [("runs", x.size)],
                                 "two seeds or more."))
    t = T95.get(x.size - 1, 1.96 + 2.5 / (x.size - 1))
    return float(x.mean()), float(t * x.std(ddof=1) / math.sqrt(x.size))


def repeats(results, unit="accuracy", digits=3):
    """One row for each kind of run: a dot for each repetition, a bar over the 95 % interval of their mean.

    Args:
        results: name -> the results of the repetitions, two or more.
        unit: what the numbers are.
        digits: decimals of the numbers that are written beside the rows.

    Raises:
        ShapeError: a kind with fewer than two results.
    """
    rows = {name: numbers(values).astype(float).ravel() for name, values in results.items()}
    spans = {name: interval(values) for name, values in rows.items()}
    figure, axes = canvas(size=(6.2, 0.55 + 0.32 * len(rows)))
    ax, (colour, _) = axes[0, 0], LINES[0]
    for k, (name, values) in enumerate(rows.items()):
        mean, reach = spans[name]
        ax.plot(values, np.full(len(values), k), "o", color=colour, markersize=4.5, alpha=0.55, markeredgewidth=0)
        ax.plot([mean - reach, mean + reach], [k, k], color=INK, linewidth=1.4)
        ax.plot([mean], [k], "|", color=INK, markersize=13, markeredgewidth=2)
        ax.text(1.02, k, f"{mean:.{digits}f} ± {reach:.{digits}f}", transform=ax.get_yaxis_transform(), va="center",
                fontsize=9)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=unit)
    ax.tick_params(axis="y", length=0)
    said = ", ".join(f"{name} {mean:.{digits}f} ± {reach:.{digits}f}" for name, (mean, reach) in spans.items())
    return Picture(figure, f"{unit[:1].upper()}{unit[1:]} of repeated runs, mean and 95 % interval: {said}.")
