"""What limits a computation: arithmetic or memory (Williams, Waterman and Patterson, "Roofline", 2009)."""
import numpy as np

from ..errors import ArgumentError, message
from .picture import INK, LINES, Picture, canvas
from .theme import number

MARKS = "os^Dvp"


def roofline(points, peak, bandwidth):
    """Computations below the roof that a machine puts over them.

    The slanted part of the roof is what memory can deliver, the level part what arithmetic can do. A computation under
    the slanted part gets faster by moving fewer bytes, one under the level part by doing less arithmetic.

    Args:
        points: name -> (operations, bytes moved, seconds).
        peak: operations a second at best.
        bandwidth: bytes a second at best.

    Raises:
        ArgumentError: a number is not positive.
    """
    flat = [peak, bandwidth, *(x for point in points.values() for x in point)]
    if not points or not all(x > 0 for x in flat):
        raise ArgumentError(message("roofline: operations, bytes and seconds must be positive.",
                                    [("points", len(points))], "{name: (operations, bytes, seconds)}."))
    figure, axes = canvas(size=(5.6, 3.6))
    ax, ridge, told = axes[0, 0], peak / bandwidth, []
    places = {name: (ops / moved, ops / seconds) for name, (ops, moved, seconds) in points.items()}
    low = min(ridge, *(x for x, _ in places.values())) / 4
    high = max(ridge, *(x for x, _ in places.values())) * 4
    x = np.geomspace(low, high, 200)
    ax.plot(x, np.minimum(peak, bandwidth * x) / 1e9, color=INK, linewidth=2)
    ax.axvline(ridge, color=INK, linewidth=0.6, linestyle=":")
    for k, (name, (intensity, speed)) in enumerate(places.items()):
        colour = LINES[k % len(LINES)][0]
        ax.plot(intensity, speed / 1e9, MARKS[k % len(MARKS)], color=colour, markersize=7)
        ax.annotate(name, (intensity, speed / 1e9), xytext=(7, -3), textcoords="offset points", fontsize=9)
        roof, limit = min(peak, bandwidth * intensity), "memory" if intensity < ridge else "arithmetic"
        told.append(f"{name}: {number(intensity)} operations a byte, {number(speed / 1e9)} Gop/s, "
                    f"{number(100 * speed / roof)} % of what {limit} allows.")
    ax.set(xscale="log", yscale="log", xlabel="operations for each byte moved", ylabel="Gop/s")
    ax.annotate("memory", (x[20], min(peak, bandwidth * x[20]) / 1e9), xytext=(8, -8), textcoords="offset points",
                fontsize=9)
    ax.text(high / 1.3, peak / 1e9 * 1.1, "arithmetic", fontsize=9, ha="right")
    return Picture(figure, f"Roofline with the ridge at {number(ridge)} operations a byte. {' '.join(told)}")
