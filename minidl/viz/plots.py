"""Pictures of training, and of what a network has learned.

    images          a batch of pictures
    curves          loss and accuracy over the epochs
    confusion       which class is taken for which
    mistakes        the wrong answers of which a model was surest
    filters         the weights of a convolution
    feature_maps    what a picture becomes, layer by layer

Each takes arrays or tensors and returns a `Picture`, whose description in words is made from the same numbers.
Numbers of both signs: blue is positive, hatched vermilion negative, white 0. Numbers of 0 and more: the more, the
darker. What is not a number is magenta.
"""
import math

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from .picture import BROKEN, GRID, INK, LINES, NEGATIVE, PAPER, POSITIVE, Picture, canvas

LETTER = 0.075                               # inches that a letter of 9 points takes, roughly


def numbers(x):
    """A tensor, an array or nested lists as a NumPy array; booleans become 0 and 1."""
    array = x.detach().host_array() if isinstance(x, Tensor) else np.asarray(x)
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def shades(*colours):
    """A colour map through these colours."""
    from matplotlib.colors import LinearSegmentedColormap
    return LinearSegmentedColormap.from_list("minidl", colours).with_extremes(bad=BROKEN)


def planes_of(x, name):
    """Pictures (N, H, W) or (N, 1, H, W), or a single one (H, W), as an array (N, H, W)."""
    x = numbers(x)
    x = x[None] if x.ndim == 2 else x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x
    if x.ndim != 3 or not x.size:
        raise ShapeError(message(f"{name}: expected grey pictures.", [("got", numbers(x).shape)],
                                 "N H W or N 1 H W, one picture at least."))
    return x


def listed(words):
    """a, b and c.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    words = [str(word) for word in words]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plural(count, one, many=""):
    """1 mistake, 1,200 mistakes, 2 epochs, 2 batches."""
    many = many or one + ("es" if one.endswith(("tch", "sh", "s", "x")) else "s")
    return f"{count:,} {one if count == 1 else many}"


def article(name):
    """The name of a class after its article.

    >>> article("7"), article("8"), article("egg")
    ('a 7', 'an 8', 'an egg')
    """
    return f"{'an' if name[0] in 'aeiouAEIOU8' or name in ('11', '18') else 'a'} {name}"


def percent(p):
    """A share in words: `98.4 %`, and neither 0 nor 100 unless it is exactly that.

    >>> percent(0.984), percent(0.99999), percent(0.0001), percent(1.0)
    ('98.4 %', 'over 99.9 %', 'under 0.1 %', '100 %')
    """
    if 0 < p < 0.001 or 0.999 < p < 1:
        return "under 0.1 %" if p < 0.5 else "over 99.9 %"
    return f"{100 * p:.3g} %"


# ---------------------------------------------------------------------- drawing on one pair of axes
def bare(ax, title=""):
    """Axes without scale and frame, under a title."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=9, color=INK, pad=2)


def blank(axes):
    """Take away what no picture was left for."""
    for ax in axes:
        ax.set_visible(False)


def shade(ax, plane, low, high, colours):
    """One plane of numbers as pixels; returns matplotlib's image."""
    low, high = (low, high) if high > low else (low, low + 1)
    return ax.imshow(plane, cmap=colours, vmin=low, vmax=high, interpolation="nearest")


def signed(ax, plane, top):
    """One plane of numbers of both signs, the negative ones hatched as well; returns matplotlib's image.

    What is too faint to have a colour, below a fiftieth of `top`, is not hatched either: it shall look like nothing.
    """
    from matplotlib.collections import PolyCollection
    corners = [[(j0 - .5, i - .5), (j1 - .5, i - .5), (j1 - .5, i + .5), (j0 - .5, i + .5)]
               for i, row in enumerate(plane) for j0, j1 in runs(row < -top / 50)]
    ax.add_collection(PolyCollection(corners, facecolors="none", edgecolors=INK, linewidths=0, hatch="//////",
                                     alpha=0.35))
    return shade(ax, plane, -(top or 1), top or 1, shades(NEGATIVE, PAPER, POSITIVE))


def runs(mask):
    """(first, last + 1) of each stretch of True in a row.

    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    steps = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [tuple(pair) for pair in steps.reshape(-1, 2).tolist()]


def legend(figure, image, axes, label):
    """The scale of the colours, to the right of all axes."""
    figure.set_size_inches(figure.get_figwidth() + 0.7, figure.get_figheight())
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.8, aspect=25, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def end_labels(ax, ends):
    """The name of each line at its right end, moved apart where ends meet; `ends` holds (name, x, y, colour)."""
    ax.autoscale_view()                               # else the scale is not known before the figure is drawn
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = [to_axes.transform((x, y))[1] for _, x, y, _ in ends]
    places, least = {}, -math.inf
    for k in sorted(range(len(ends)), key=heights.__getitem__):
        places[k] = least = max(heights[k], least + 0.07)
    for k, (name, _, _, colour) in enumerate(ends):
        ax.text(1.02, places[k], name, transform=ax.transAxes, color=colour, va="center", fontsize=9)


# ---------------------------------------------------------------------- pictures of data
def images(batch, titles=None, columns=8):
    """A batch of grey pictures, all on one scale: the larger the number, the darker.

    Args:
        batch: (N, H, W) or (N, 1, H, W), or one picture (H, W).
        titles: one for each picture, a label for example.
        columns: pictures in a row.
    """
    planes = planes_of(batch, "images")
    titles = [""] * len(planes) if titles is None else [str(t) for t in numbers(titles).tolist()]
    if len(titles) != len(planes):
        raise ArgumentError(message("images: every picture needs a title.",
                                    [("pictures", len(planes)), ("titles", len(titles))]))
    columns = min(columns, len(planes))
    figure, axes = canvas(-(-len(planes) // columns), columns, size=(1, 1.2 if any(titles) else 1))
    for ax, plane, title in zip(axes.flat, planes, titles):
        bare(ax, title)
        shade(ax, plane, np.nanmin(planes), np.nanmax(planes), shades(PAPER, INK))
    blank(axes.flat[len(planes):])
    shown = f": {listed(titles)}" if any(titles) else ""
    return Picture(figure, f"{plural(len(planes), 'picture')} of {planes.shape[1]} x {planes.shape[2]} pixels, "
                           f"dark where the number is large{shown}.")


# ---------------------------------------------------------------------- pictures of training
def curves(history, log=False, unit="epoch", marks=None):
    """Loss and accuracy over the epochs, one panel for each kind.

    Args:
        history: name -> list of numbers. The last word of a name says which panel it belongs to: "train loss",
            "validation loss", "validation accuracy". The shortest list has one number for each epoch. Longer ones,
            with one for each batch, are drawn pale, and their running mean on top.
        log: draw losses on a logarithmic scale.
        unit: what the shortest list counts, if not epochs.
        marks: name -> epoch; upright lines with their names, for what happened there.
    """
    history = {name: np.asarray(values, dtype=float) for name, values in history.items() if len(values)}
    if not history:
        raise ArgumentError("curves: there is nothing to draw yet.")
    kinds = list(dict.fromkeys(name.split()[-1] for name in history))
    epochs = min(map(len, history.values()))
    figure, axes = canvas(1, len(kinds), size=(4.2, 2.6))
    said = []
    for ax, kind in zip(axes[0], kinds):
        lines = {name.removesuffix(kind).strip() or kind: values
                 for name, values in history.items() if name.split()[-1] == kind}
        said.append(_panel(ax, kind, lines, epochs, log and kind == "loss", unit))
        _mark(ax, marks or {})
    said += [f"Marked: {listed([f'{name} at {unit} {at}' for name, at in marks.items()])}."] if marks else []
    return Picture(figure, " ".join(said))


def _mark(ax, marks):
    """Upright lines; names at the top, each below the one before, so that neighbours can be read."""
    for k, (name, at) in enumerate(marks.items()):
        ax.axvline(at, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        right = at > sum(ax.get_xlim()) * 0.8
        ax.annotate(name, (at, 1), xycoords=ax.get_xaxis_transform(), xytext=(-4 if right else 4, -10 - 12 * k),
                    textcoords="offset points", ha="right" if right else "left", fontsize=9)


def _panel(ax, kind, lines, epochs, log, unit):
    """Draw the curves of one kind; returns what is to be seen."""
    ax.set(title=kind, xlabel=unit, xlim=(0, epochs), yscale="log" if log else "linear")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(axis="y")
    ends = []
    for (name, values), (colour, dash) in zip(lines.items(), LINES):
        x = np.arange(1, len(values) + 1) * epochs / len(values)
        smooth, marker = smoothed(values, epochs), "o" if len(values) == epochs <= 30 else ""
        if len(values) > epochs:
            ax.plot(x, values, color=colour, linewidth=0.6, alpha=0.35)
        ax.plot(x, smooth, color=colour, linestyle=dash, linewidth=2, marker=marker, markersize=4, label=name)
        finite = np.flatnonzero(np.isfinite(smooth))
        if finite.size:
            ends.append((name, x[finite[-1]], smooth[finite[-1]], colour))
    end_labels(ax, ends)
    best = max if kind == "accuracy" else min
    told = "; ".join(_told(name, values, epochs, best, unit) for name, values in lines.items())
    return f"{kind.capitalize()} over {plural(epochs, unit)}: {told}."


def smoothed(values, epochs):
    """The mean of each number and its neighbours, a quarter of an epoch in all, fewer at the ends.

    >>> smoothed(np.array([0.0, 3.0, 6.0] * 4), 1)[:3]
    array([1.5, 3. , 3. ])
    """
    window = np.ones(max(1, len(values) // epochs // 4))
    counts = np.convolve(np.ones(len(values)), window, "same")
    return np.convolve(values, window, "same") / counts


def _told(name, values, epochs, best, unit):
    """One curve in words."""
    smooth = smoothed(values, epochs)
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        return f"{name} no longer a finite number from {unit} {math.ceil((broken[0] + 1) * epochs / len(values))} on"
    peak = best(range(len(values)), key=values.__getitem__)
    where = f", {'highest' if best is max else 'lowest'} in {unit} {peak + 1}" if len(values) == epochs > 1 else ""
    return f"{name} from {smooth[0]:.3g} to {smooth[-1]:.3g}{where}"


# ---------------------------------------------------------------------- pictures of answers
def confusion(truth, guess, classes):
    """How often each class was taken for which: rows are the truth, columns the answers, mistakes are shaded.

    Args:
        truth, guess: class numbers, (N,).
        classes: the names of the classes.
    """
    truth, guess, classes = numbers(truth).ravel(), numbers(guess).ravel(), [str(c) for c in classes]
    counts = count_pairs(truth, guess, len(classes))
    wrong = counts * ~np.eye(len(classes), dtype=bool)
    side = 0.36 * len(classes) + 1
    figure, axes = canvas(size=(side, side))
    ax = axes[0, 0]
    shade(ax, wrong, 0, wrong.max(), shades(PAPER, POSITIVE))
    for (i, j), count in np.ndenumerate(counts):
        colour = PAPER if wrong[i, j] > 0.55 * wrong.max() else INK if count else "#767676"
        ax.text(j, i, count or "·", ha="center", va="center", fontsize=9, color=colour,
                fontweight="bold" if i == j else "normal")
    ax.set(xticks=range(len(classes)), yticks=range(len(classes)), xticklabels=classes, yticklabels=classes,
           xlabel="the answer", ylabel="the truth")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return Picture(figure, _confusion_told(counts, wrong, classes))


def count_pairs(truth, guess, k):
    """How often each of `k` classes (rows) was taken for each (columns).

    Raises:
        ShapeError: there are more truths than answers, or fewer.
        ArgumentError: a class number that has no name.

    >>> count_pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 0],
           [1, 1]])
    """
    if truth.shape != guess.shape:
        raise ShapeError(message("confusion: every truth needs an answer.",
                                 [("truth", truth.shape), ("guess", guess.shape)]))
    for name, values in (("truth", truth), ("guess", guess)):
        if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() < k):
            raise ArgumentError(message(f"confusion: {name} must hold class numbers, 0 .. {k - 1}.",
                                        [("dtype", values.dtype)]))
    return np.bincount(truth.astype(np.int64) * k + guess.astype(np.int64), minlength=k * k).reshape(k, k)


def _confusion_told(counts, wrong, classes, most=3):
    """The matrix in words, with the pairs that were confused most often."""
    total, right, places = int(counts.sum()), int(np.trace(counts)), np.argsort(-wrong, axis=None, kind="stable")
    pairs = [divmod(int(place), len(classes)) for place in places[:most] if wrong.flat[place]]
    told = [f"{classes[i]} taken for {classes[j]}, {plural(wrong[i, j], 'time')}" for i, j in pairs]
    share = f" ({percent(right / total)})" if total else ""
    return (f"Confusion matrix of {plural(total, 'answer')}, {right:,} of them right{share}."
            + (f" Most confused: {'; '.join(told)}." if told else ""))


def mistakes(images, truth, probabilities, classes=None, count=6, columns=3):
    """The worst wrong answers: those that left least probability for the truth. Beside each picture, all probabilities.

    Args:
        images: (N, H, W) or (N, 1, H, W).
        truth: class numbers, (N,).
        probabilities: (N, number of classes), each row adding up to 1.
        classes: the names of the classes; their numbers if left out.
        count: how many to show at most.
    """
    planes, truth, p = planes_of(images, "mistakes"), numbers(truth), numbers(probabilities)
    if not len(planes) == len(truth) == len(p):
        raise ShapeError(message("mistakes: pictures, truths and probabilities must be equally many.",
                                 [("images", planes.shape), ("truth", truth.shape), ("probabilities", p.shape)]))
    classes = [str(c) for c in (range(p.shape[1]) if classes is None else classes)]
    guess, left = p.argmax(1), p[np.arange(len(p)), truth]
    wrong = np.flatnonzero(guess != truth)
    worst = wrong[np.argsort(left[wrong], kind="stable")][:count]
    columns = min(columns, max(1, len(worst)))
    figure, axes = canvas(max(1, -(-len(worst) // columns)), 2 * columns, size=(1.15, 1.25))
    for k, (ax, bars) in zip(worst, axes.reshape(-1, 2)):
        bare(ax, f"{article(classes[truth[k]])}, taken for {article(classes[guess[k]])}")
        shade(ax, planes[k], np.nanmin(planes[k]), np.nanmax(planes[k]), shades(PAPER, INK))
        _probabilities(bars, p[k], classes, truth[k], guess[k])
    blank(axes.flat[2 * len(worst):])
    told = [f"{article(classes[truth[k]])} taken for {article(classes[guess[k]])} "
            f"({percent(p[k, guess[k]])}, {percent(left[k])} for the truth)" for k in worst]
    if not told:
        return Picture(figure, f"No mistake in {plural(len(p), 'answer')}.")
    found = plural(len(wrong), "mistake")
    return Picture(figure, f"The {len(worst)} worst of {found} in {len(p):,}: {'; '.join(told)}.")


def _probabilities(ax, p, classes, truth, guess):
    """Bars of the four likeliest classes and the truth, which is outlined and hatched; the answer is filled."""
    kept = sorted({*np.argsort(-p, kind="stable")[:4].tolist(), int(truth)}, key=lambda k: -p[k])
    colours = [POSITIVE if k == guess else PAPER if k == truth else GRID for k in kept]
    bars = ax.barh(range(len(kept)), p[kept], color=colours,
                   edgecolor=[INK if k == truth else colour for k, colour in zip(kept, colours)])
    bars[kept.index(truth)].set_hatch("////")
    for place, k in enumerate(kept):
        ax.text(p[k] + 0.03, place, _rounded(p[k]), va="center", fontsize=8)
    ax.set(xlim=(0, 1), xticks=[], yticks=range(len(kept)))
    ax.set_yticklabels([classes[k] for k in kept], fontsize=9)
    ax.tick_params(length=0)
    ax.spines["bottom"].set_visible(False)
    ax.invert_yaxis()
    ax.set_box_aspect(0.9)


def _rounded(p):
    """A probability in whole percents; one that is not 0 or 1 does not look like it."""
    return "< 1 %" if 0 < p < 0.005 else "> 99 %" if 0.995 <= p < 1 else f"{100 * p:.0f} %"


# ---------------------------------------------------------------------- pictures of what was learned
def filters(weight, rows=32, channels=8):
    """The filters of a convolution: blue pulls up, hatched vermilion pushes down, one scale for all.

    Args:
        weight: (O, C, KH, KW). With one channel the filters stand in a grid; with more, each has a row, and a column
            for each channel.
        rows, channels: how many filters and channels to show at most.
    """
    w = numbers(weight)
    if w.ndim != 4 or not w.size:
        raise ShapeError(message("filters: expected the weight of a convolution.", [("got", w.shape)], "O C KH KW."))
    shown = w[:rows, :channels]
    top, columns = float(np.nanmax(np.abs(shown))), min(8, len(shown)) if w.shape[1] == 1 else shown.shape[1]
    planes = shown.reshape(-1, *w.shape[2:])
    figure, axes = canvas(-(-len(planes) // columns), columns, size=(0.56, 0.56) if len(planes) > 8 else (1, 1))
    for ax, plane in zip(axes.flat, planes):
        bare(ax)
        image = signed(ax, plane, top)
        ax.spines[:].set(visible=True, color=GRID)
    blank(axes.flat[len(planes):])
    legend(figure, image, axes, "weight")
    cut = f", {len(shown)} filters and {plural(shown.shape[1], 'channel')} of them shown"
    cut = "" if shown.shape == w.shape else cut
    return Picture(figure, f"{plural(len(w), 'filter')} of {w.shape[2]} x {w.shape[3]} for "
                           f"{plural(w.shape[1], 'channel')}{cut}: {percent(float((shown > 0).mean()))} of the weights "
                           f"are positive (blue), the largest is {top:.2g} in size.")


def feature_maps(activations, first=8):
    """What the channels of each layer make of one picture; each layer has its own scale.

    Args:
        activations: (C, H, W) or (1, C, H, W); or a dict from the names of layers to such.
        first: how many channels of each layer to show.
    """
    layers = activations if isinstance(activations, dict) else {"": activations}
    layers = {name: _channels(name, numbers(x)) for name, x in layers.items()}
    columns = min(first, max(map(len, layers.values())))
    headings = [f"{name}   {' x '.join(map(str, x.shape))}".strip() for name, x in layers.items()]
    wide = math.ceil(max(map(len, headings)) * LETTER / 0.85)              # few maps leave room for a long heading
    figure, axes = canvas(len(layers), max(columns, wide), size=(0.85, 0.95))
    for row, heading, x in zip(axes, headings, layers.values()):
        _maps(row, x, columns)                                             # a heading may stand over its neighbours
        row[0].text(0, 1.03, heading, transform=row[0].transAxes, fontsize=9, va="bottom", in_layout=False)
    told = [_maps_told(name, x, columns) for name, x in layers.items()]
    return Picture(figure, f"Feature maps of one picture. {' '.join(told)}")


def _channels(name, x):
    x = x[0] if x.ndim == 4 and len(x) == 1 else x
    if x.ndim != 3 or not x.size:
        raise ShapeError(message(f"feature_maps: expected the channels of one picture{name and ' for ' + name}.",
                                 [("got", x.shape)], "C H W or 1 C H W."))
    return x


def _maps(row, x, columns):
    low, top = np.nanmin(x), np.nanmax(np.abs(x))
    for ax in row:
        bare(ax, "x")
        ax.title.set_alpha(0)                         # not seen, but it holds the height of the heading free
    for ax, plane in zip(row, x[:columns]):
        if low < 0:
            signed(ax, plane, top)
        else:
            shade(ax, plane, 0, top, shades(PAPER, POSITIVE, "#04263f"))
        ax.spines[:].set(visible=True, color=GRID)


def _maps_told(name, x, columns):
    """One layer in words."""
    count, cut = plural(len(x), "map"), f", the first {columns} shown" if len(x) > columns else ""
    lit = f"{percent(float((x > 0).mean()))} of the numbers above 0, the largest {np.nanmax(x):.2g}"
    lit = f"from {np.nanmin(x):.2g} to {np.nanmax(x):.2g}" if np.nanmin(x) < 0 else lit
    return f"{name and name + ': '}{count} of {x.shape[1]} x {x.shape[2]}{cut}, {lit}."
