"""A board of layers: which of them may learn, how far each has moved, and what its gradient says."""
import numpy as np

from ..errors import ArgumentError, message
from .picture import GRID, INK, POSITIVE, Picture, canvas
from .plots import numbers, percent, plural
from .theme import number


def board(model, before):
    """One row for each layer with parameters of its own: frozen or learning, how far it has moved, its gradient.

    How far: the length of the change, in parts of the length before. The gradient is the one that lies there, from the
    last backward pass.

    Args:
        model: a module, after some training.
        before: its state dict before, with memory of its own: name -> array or tensor.

    Raises:
        ArgumentError: `before` lacks a parameter, or has it in another shape.
    """
    layers = {}
    for name, p in model.named_parameters():
        if name not in before or numbers(before[name]).shape != p.shape:
            raise ArgumentError(message("board: the state before does not fit the model.", [("parameter", name)],
                                        "{name: w.clone() for name, w in model.state_dict().items()}, taken before."))
        layers.setdefault(name.rpartition(".")[0] or name, []).append((numbers(before[name]), p))
    rows = [(name, *_row(pairs)) for name, pairs in layers.items()]
    figure, axes = canvas(size=(6.6, 0.55 + 0.34 * len(rows)))
    _draw(axes[0, 0], rows)
    said = [f"{name}, {plural(count, 'number')}, {'frozen' if frozen else 'learning'}: moved by {percent(far)}, "
            f"{_gradient(gradient)}" for name, count, frozen, far, gradient in rows]
    return Picture(figure, f"Layers of {type(model).__name__}, from the input on. {'; '.join(said)}.")


def _row(pairs):
    """(numbers, frozen, how far, length of the gradient or None) of the parameters of a layer, taken together."""
    start = np.sqrt(sum(float((w.astype(float) ** 2).sum()) for w, _ in pairs))
    change = np.sqrt(sum(float(((numbers(p) - w).astype(float) ** 2).sum()) for w, p in pairs))
    slopes = [numbers(p.grad).astype(float) for _, p in pairs if p.grad is not None]
    length = float(np.sqrt(sum((g * g).sum() for g in slopes))) if slopes else None
    return sum(p.numel() for _, p in pairs), not any(p.requires_grad for _, p in pairs), change / (start or 1), length


def _gradient(length):
    return "no gradient" if length is None else f"gradient of length {number(length)}"


def _draw(ax, rows):
    from matplotlib.patches import Rectangle

    top = max([far for *_, far, _ in rows] + [1e-9])
    for k, (name, count, frozen, far, gradient) in enumerate(rows):
        look = dict(facecolor=GRID, edgecolor=INK, hatch="///") if frozen else dict(facecolor=POSITIVE, edgecolor=INK)
        ax.add_patch(Rectangle((-0.06, k - 0.3), 0.035, 0.6, linewidth=0.6, clip_on=False, **look))
        ax.barh(k, far / top, height=0.6, color=POSITIVE)
        ax.text(far / top + 0.015, k, percent(far), va="center", fontsize=9)
        ax.text(1.3, k, "frozen" if frozen else "learning", va="center", fontsize=9)
        ax.text(1.55, k, "none" if gradient is None else number(gradient), va="center", fontsize=9)
    for x, head in ((0.0, "moved by"), (1.3, "state"), (1.55, "gradient")):
        ax.text(x, -0.85, head, va="center", fontsize=9, style="italic")
    ax.set_yticks(range(len(rows)), [f"{name}  {count:,}" for name, count, *_ in rows])
    ax.set(xlim=(-0.08, 1.8), ylim=(len(rows) - 0.5, -1.15), xticks=[])
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)

