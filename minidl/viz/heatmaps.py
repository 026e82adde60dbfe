"""Tables of numbers as shades: arrays, attention, the gates of a recurrent cell over time, spectrograms."""
import numpy as np

from ..errors import ArgumentError, ShapeError, message
from .picture import GRID, INK, PAPER, POSITIVE, Picture, canvas
from .plots import bare, blank, legend, numbers, plural, shade, shades, signed
from .theme import number

MORE = (PAPER, POSITIVE, "#04263f")


def fields(arrays, text=True):
    """Arrays side by side, each number a cell: the larger, the stronger its colour; negative ones are hatched.

    Args:
        arrays: a dict from titles to arrays of at most two axes; a vector is a row.
        text: whether the numbers are written into the cells.

    Raises:
        ShapeError: an array with more axes, or without numbers.
    """
    planes = {name: np.atleast_2d(numbers(a)).astype(float) for name, a in arrays.items()}
    for name, plane in planes.items():
        if plane.ndim > 2 or not plane.size:
            raise ShapeError(message("fields: an array here has one or two axes, and numbers.",
                                     [(name, plane.shape)], "one plane of it, x[0]."))
    rows, columns = max(len(p) for p in planes.values()), [p.shape[1] + 1.5 for p in planes.values()]
    cell = 0.45 if text else 0.2
    figure, axes = canvas(1, len(planes), size=(cell * sum(columns) / len(planes), cell * rows + 0.4))
    axes[0, 0].get_gridspec().set_width_ratios(columns)
    for ax, (name, plane) in zip(axes[0], planes.items()):
        bare(ax, name)
        _field(ax, plane, text)
    said = "; ".join(f"{name}: {np.round(p, 3).tolist()}" if text else f"{name}, {p.shape[0]} x {p.shape[1]}"
                     for name, p in planes.items())
    return Picture(figure, f"Fields of numbers. {said}.")


def _field(ax, plane, text):
    top, (rows, columns) = abs(plane).max() or 1.0, plane.shape
    signed(ax, plane, top)
    ax.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color=GRID, linewidth=0.6)
    ax.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color=GRID, linewidth=0.6)
    ax.set_anchor("N")
    for (i, j), value in np.ndenumerate(plane) if text else ():
        ink = PAPER if abs(value) > 0.55 * top else INK
        ax.text(j, i, number(value), ha="center", va="center", fontsize=8, color=ink)


def attention(weights, queries=None, keys=None, columns=4):
    """Where each query looks: a row for each query, the darker the more weight; each row sums to 1.

    Args:
        weights: (Q, K), or (heads, Q, K).
        queries, keys: words for the rows and the columns; `keys` are the `queries` if they are left out.
        columns: how many heads side by side.
    """
    w = numbers(weights)
    w = w[None] if w.ndim == 2 else w
    keys = queries if keys is None else keys
    if w.ndim != 3 or not w.size:
        raise ShapeError(message("attention: expected weights.", [("got", w.shape)], "Q K, or heads Q K."))
    for name, words, count in (("queries", queries, w.shape[1]), ("keys", keys, w.shape[2])):
        if words is not None and len(words) != count:
            raise ArgumentError(message(f"attention: there must be a word for each of the {name}.",
                                        [("words", len(words)), (name, count)]))
    columns = min(columns, len(w))
    size = max(1.6, 0.2 * w.shape[2] + 0.7), max(1.5, 0.2 * w.shape[1] + 0.7)
    figure, axes = canvas(-(-len(w) // columns), columns, size=size)
    for k, (ax, plane) in enumerate(zip(axes.flat, w)):
        image = shade(ax, plane, 0, 1, shades(*MORE))
        _words(ax, queries, keys)
        ax.set_title(f"head {k}" if len(w) > 1 else "", fontsize=9)
    blank(axes.flat[len(w):])
    legend(figure, image, axes, "weight")
    return Picture(figure, f"Attention of {plural(len(w), 'head')}, {plural(w.shape[1], 'query', 'queries')} to "
                           f"{plural(w.shape[2], 'key')}. "
                           + " ".join(_looks(k, plane, queries, keys) for k, plane in enumerate(w)))


def _words(ax, rows, columns):
    """Words beside the rows and above the columns; without them, numbers."""
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns, rotation=90)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=8)


def _looks(head, plane, queries, keys):
    """Which pair of one head has most weight."""
    i, j = np.unravel_index(np.nanargmax(plane), plane.shape)
    i_word, j_word = (words[k] if words is not None else k for words, k in ((queries, i), (keys, j)))
    return f"Head {head}: most weight, {number(float(plane[i, j]))}, from {i_word} to {j_word}."


def gates(layers, tokens=None):
    """What the gates and the state of a recurrent cell do over time: time runs to the right, a row for each unit.

    Numbers between 0 and 1 are the darker the more open the gate is; others are blue above 0, hatched vermilion below.

    Args:
        layers: name -> (T, H): `{"forget": f, "input": i, "cell": c}`.
        tokens: a word for each of the T steps.
    """
    layers = {name: numbers(x) for name, x in dict(layers).items()}
    if not layers or any(x.ndim != 2 or not x.size for x in layers.values()):
        raise ShapeError(message("gates: expected a table of numbers for each gate.",
                                 [(name, x.shape) for name, x in layers.items()], "T H, a row for each step."))
    steps = {len(x) for x in layers.values()}
    if len(steps) > 1 or (tokens is not None and steps != {len(tokens)}):
        raise ShapeError(message("gates: all must have the same number of steps.",
                                 [(name, x.shape) for name, x in layers.items()]))
    count, told = steps.pop(), []
    figure, axes = canvas(len(layers), 1, size=(min(max(2.5, 0.19 * count + 1), 9), 1.3))
    for ax, (name, x) in zip(axes[:, 0], layers.items()):
        open_ = np.nanmin(x) >= 0 and np.nanmax(x) <= 1
        top = 1.0 if open_ else float(np.nanmax(np.abs(x)))
        image = shade(ax, x.T, 0, 1, shades(*MORE)) if open_ else signed(ax, x.T, top)
        ax.set_aspect("auto")
        ax.set_ylabel(name, fontsize=9)
        ax.set_yticks([])
        ax.tick_params(length=0, labelsize=8)
        bar = figure.colorbar(image, ax=ax, pad=0.01, aspect=8)
        bar.ax.tick_params(labelsize=8)
        ax.set_xticks(range(count) if tokens is not None else [], tokens if tokens is not None else None)
        told.append(f"{name}: mean {number(float(np.nanmean(x)))}, from {number(float(np.nanmin(x)))} to "
                    f"{number(float(np.nanmax(x)))}.")
    return Picture(figure, f"{plural(len(layers), 'gate or state', 'gates and states')} over {plural(count, 'step')}. "
                           + " ".join(told))


def spectrogram(signal, rate, window=256, hop=None, lowest=-80.0):
    """How loud each frequency is over time, in decibels below the loudest.

    Each stretch of `window` samples is weighted with a Hann window and taken apart by a Fourier transform.

    Args:
        signal: (N,), samples.
        rate: samples a second, in Hz.
        window: samples in a stretch; hop: from one stretch to the next, half a window if left out.
        lowest: what is below is drawn as paper, in dB.
    """
    x, hop = numbers(signal).astype(float), hop or window // 2
    if x.ndim != 1 or len(x) < window:
        raise ShapeError(message("spectrogram: expected a signal that is longer than the window.",
                                 [("got", x.shape), ("window", window)], "one axis, N samples."))
    stretches = np.lib.stride_tricks.sliding_window_view(x, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(stretches, axis=1)).T ** 2
    top = float(power.max()) or 1.0
    decibels = np.maximum(10 * np.log10(power / top + 1e-30), lowest)
    figure, axes = canvas(size=(6.0, 2.6))
    ax, last = axes[0, 0], (len(x) - window) / rate
    image = ax.imshow(decibels, origin="lower", aspect="auto", cmap=shades(*MORE), vmin=lowest, vmax=0,
                      extent=(0, max(last, hop / rate), 0, rate / 2), interpolation="nearest")
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)")
    legend(figure, image, axes, "dB")
    loudest = np.fft.rfftfreq(window, 1 / rate)[power.sum(axis=1).argmax()]
    return Picture(figure, f"Spectrogram of {number(len(x) / rate)} s at {rate:,} Hz: the loudest frequency is near "
                           f"{number(float(loudest))} Hz.")
