"""What was heard when: probabilities over time above the sound they were read from."""
import numpy as np

from ..errors import ShapeError, message
from .picture import GRID, INK, LINES, Picture, canvas
from .plots import end_labels, listed, numbers, percent, plural, runs
from .theme import number

SHOWN = 2000                             # columns of a waveform; more than these cannot be told apart in a notebook


def timeline(signal, rate, lines, spans=(), limit=0.5):
    """Probabilities over time, above the waveform.

    Args:
        signal: (N,), samples.
        rate: samples a second, in Hz.
        lines: name -> (T,), probabilities of T equal pieces of the sound, one after the other.
        spans: (name, from, to) in seconds: what is known to be there; shaded and named.
        limit: the probability from which a piece counts.

    Raises:
        ShapeError: the signal or a line has more than one axis, or no numbers.
    """
    x, lines = numbers(signal).astype(float), {name: numbers(p).astype(float) for name, p in lines.items()}
    for name, value in {"signal": x, **lines}.items():
        if value.ndim != 1 or not value.size:
            raise ShapeError(message("timeline: expected numbers in a row.", [(name, value.shape)], "one axis."))
    seconds, (figure, axes) = len(x) / rate, canvas(2, 1, size=(6.4, 1.4))
    above, below = axes[:, 0]
    _probabilities(above, lines, seconds, limit)
    _wave(below, x, seconds)
    for name, start, stop in spans:
        for ax in (above, below):
            ax.axvspan(start, stop, color=GRID, alpha=0.55, linewidth=0, zorder=0)
        above.text((start + stop) / 2, 1.12, name, ha="center", va="bottom", fontsize=9, color=INK)
    above.set_xticklabels([])
    below.set_xlabel("time (s)")
    known = f" Known to be there: {listed([f'{n} ({a:.1f} to {b:.1f} s)' for n, a, b in spans])}." if spans else ""
    return Picture(figure, f"{number(seconds)} s of sound.{known} "
                           + " ".join(_told(name, p, seconds, limit) for name, p in lines.items()))


def _probabilities(ax, lines, seconds, limit):
    ax.axhline(limit, color=INK, linewidth=0.8, linestyle=":")
    ends = []
    for (name, p), (colour, dash) in zip(lines.items(), LINES):
        edges = np.linspace(0, seconds, len(p) + 1)
        ax.stairs(p, edges, color=colour, linestyle=dash, linewidth=1.6, baseline=None)
        ends.append((name, seconds, p[-1], colour))
    ax.set(xlim=(0, seconds), ylim=(-0.05, 1.08), yticks=(0, limit, 1), ylabel="probability")
    end_labels(ax, ends)


def _wave(ax, x, seconds):
    """From the lowest to the highest sample of each column."""
    columns = np.array_split(x, min(SHOWN, len(x)))
    low, high = [c.min() for c in columns], [c.max() for c in columns]
    ax.fill_between(np.linspace(0, seconds, len(columns)), low, high, color=INK, linewidth=0.3)
    top = abs(x).max() or 1
    ax.set(xlim=(0, seconds), ylim=(-1.1 * top, 1.1 * top), yticks=(0,), ylabel="sound")


def _told(name, p, seconds, limit):
    """When a line is above the limit, in words."""
    piece = seconds / len(p)
    times = [f"{a * piece:.1f} to {b * piece:.1f} s" for a, b in runs(p >= limit)]
    if not times:
        return f"{name}: never at {percent(limit)} or more, at most {percent(float(p.max()))}."
    return f"{name}: {percent(limit)} or more in {plural(len(times), 'stretch')}, {listed(times)}."
