"""A playground for a model of your own: it learns points of the plane, one batch a step, and every step can be seen.

    model = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))
    playground = Playground(model, data="moons")          # trains a copy
    playground.fork_by, playground.fork_to = "lr", "3"    # the same weights at first, one thing changed
    playground.hand_back()                                # model now has the weights of the step that is shown

What is recorded, and how a model's wiring is found, is in training.py.
"""
import copy
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import traitlets as tr

from ..autograd import no_grad
from ..errors import ArgumentError, message
from ..nn import Module
from ..tensor import Tensor
from ..viz.svg import document, element, joined, path
from ..viz.theme import ABOVE, BROKEN_MARK, DASHES, SMALL, number
from .race import spread, wrapped
from .trace import Frame, Trace, rounded
from .training import OPTIMIZERS, SETS, Plan, checked, classes_of, columns, outputs, scores_of, train
from .widget import Widget

GRID = 18                               # cells of the surface along each side; thumbnails have every second
MOST_UNITS, MOST_EPOCHS = 8, 8
NET, SIDE, THUMB, ROW = 372, 220, 26, 34                   # px
PLOT = dict(left=44, top=10, width=190, height=150)
LEVELS = "abcdefghijklm"                # of a thumbnail's cell: a is -1, g is 0, m is 1
FORKS = ("", "lr", "noise", "optimizer", "batch_size")
LEGEND = ("Solid line: weight, blue positive, orange with − negative, the wider the larger. Dashed line beside it: the "
          "gradient of the batch that led here. Square of a unit: its value over the plane, negative hatched. "
          "Points: filled for training, empty for the test, ringed in this batch; the shape is the class. Shade: the "
          "model's answer and how sure it is.")


class Playground(Widget):
    """Trains a copy of your model on points of the plane, one batch a step: weights, gradients, units, answers, losses.

    Args:
        model: any module that takes (N, 2) and gives a score for each class, (N, C), or one score for two classes.
            Its modules become columns of units in the order in which they are called, your own layers included.
        data: "moons", "spirals" or "blobs"; or your own (x, y), (N, 2) and (N,).
        optimizer: "SGD", "momentum", "RMSprop", "Adam"; or a class of your own, called with (parameters, lr=lr).

    Attributes:
        noise, points, data_seed: of the toy set; one point of four is kept for the test.
        batch_size, batch_seed: of the batches.
        lr: the learning rate.
        steps: how many batches.
        fork_by, fork_to: what a second run has changed, "lr", "noise", "optimizer" or "batch_size", and to what.
        fork_at: the step after which it is changed; 0 for the same weights at first.
        runs: the Run of the model, and that of the fork where there is one.

    Raises:
        ArgumentError: a setting that makes no sense.
        ShapeError: the model takes something else than (N, 2), or gives no scores.
    """

    scripts = ("playground",)
    controls = ("data", "noise", "points", "data_seed", "batch_size", "batch_seed", "lr", "optimizer", "steps",
                "fork_by", "fork_to", "fork_at")
    data = tr.Unicode("moons").tag(sync=True)
    noise = tr.Float(0.15).tag(sync=True)
    points = tr.Int(160).tag(sync=True)
    data_seed = tr.Int(0).tag(sync=True)
    batch_size = tr.Int(16).tag(sync=True)
    batch_seed = tr.Int(0).tag(sync=True)
    lr = tr.Float(0.3).tag(sync=True)
    optimizer = tr.Unicode("SGD").tag(sync=True)
    steps = tr.Int(40).tag(sync=True)
    fork_by = tr.Unicode("").tag(sync=True)
    fork_to = tr.Unicode("").tag(sync=True)
    fork_at = tr.Int(0).tag(sync=True)

    def __init__(self, model, data="moons", optimizer="SGD", **controls):
        if not isinstance(model, Module):
            raise ArgumentError(message("playground: the first argument is a model.", [("got", type(model).__name__)],
                                        "nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))."))
        self.model, self.classes = model, classes_of(model)
        self.columns, self.initial = columns(model), copy.deepcopy(model)
        self.own_data = None if isinstance(data, str) else checked(data)
        self.optimizers = dict(OPTIMIZERS)
        if not isinstance(optimizer, str):
            self.optimizers[optimizer.__name__] = optimizer
            optimizer = optimizer.__name__
        super().__init__(data=data if isinstance(data, str) else "yours", optimizer=optimizer, **controls)

    # ------------------------------------------------------------------ what is run
    def _plan(self):
        known = {**{name: name for name in SETS}, **({"yours": self.own_data} if self.own_data else {})}
        for what, value, names in (("data set", self.data, known), ("optimizer", self.optimizer, self.optimizers),
                                   ("fork", self.fork_by, FORKS)):
            if value not in names:
                raise ArgumentError(message(f"playground: there is no such {what}.", [("got", value)],
                                            ", ".join(name for name in names if name)))
        for name, low, high in (("points", 8, 500), ("steps", 1, 400), ("batch_size", 1, 500), ("noise", 0, 3),
                                ("lr", 0, math.inf), ("fork_at", 0, self.steps)):
            self._within_bounds(name, getattr(self, name), low, high)
        plan = Plan(known[self.data], self.noise, self.points, self.classes, self.data_seed, self.batch_size,
                    self.batch_seed, self.lr, self.optimizers[self.optimizer])
        if plan.draw()[1].max() >= self.classes:
            raise ArgumentError(message("playground: the model has too few outputs for these classes.",
                                        [("classes of the data", int(plan.draw()[1].max()) + 1),
                                         ("classes of the model", self.classes)]))
        return plan

    @staticmethod
    def _within_bounds(name, value, low, high):
        if not low <= value <= high:
            raise ArgumentError(message(f"playground: {name} must be from {low} to {high}.", [(name, value)]))

    def _fork(self, plan):
        """The Plan of the fork; None if there is none."""
        if not self.fork_by or not self.fork_to.strip():
            return None
        if self.fork_by == "optimizer":
            if self.fork_to not in self.optimizers:
                raise ArgumentError(message("playground: there is no such optimizer.", [("got", self.fork_to)],
                                            ", ".join(self.optimizers)))
            return replace(plan, optimizer=self.optimizers[self.fork_to])
        try:
            value = int(self.fork_to) if self.fork_by == "batch_size" else float(self.fork_to)
        except ValueError:
            raise ArgumentError(message(f"playground: {self.fork_by} of the fork is a number.",
                                        [("got", self.fork_to)])) from None
        self._within_bounds(self.fork_by, value, *{"batch_size": (1, 500), "noise": (0, 3)}.get(self.fork_by,
                                                                                                  (0, math.inf)))
        return replace(plan, **{self.fork_by: value})

    def record(self):
        """Train a copy of the model from the weights it had when the playground was made."""
        plan = self._plan()
        fork = self._fork(plan)
        runs = [train(self.initial, plan, self.steps, seed=self.batch_seed)]
        if fork:
            runs.append(train(self.initial, plan, self.steps, self.fork_at, fork, self.batch_seed))
        self.runs = runs
        return self._written([_View(self.initial, self.columns, run, self.classes) for run in runs])

    def _written(self, views):
        last = max(len(view.run.weights) for view in views) - 1
        scale = Scale(views, last)
        places = place_columns(self.columns)
        inputs = [thumbnail(values - middle, scale.half) for values, middle in zip(scale.grid().T, scale.middle)]
        figure = {"inputs": inputs, "columns": [{"name": name, "units": units, "at": at} for name, units, at in places],
                  "height": net_height(self.columns), "classes": self.classes, "extent": scale.extent(), "last": last,
                  "runs": [{"name": name, "curves": [scale.curve(view.run.train), scale.curve(view.run.test)]}
                           for name, view in zip(self._names(), views)],
                  "weight": scale.weight, "slope": scale.slope, "values": scale.values, "ticks": scale.ticks,
                  "points": [points_of(plan, scale) for plan in scale.plans], "optimizers": list(self.optimizers),
                  "legend": LEGEND}
        frames = [self._frame(t, views, scale) for t in range(last + 1)]
        return Trace(frames, f"Playground: {type(self.model).__name__} on {self.data}", figure, self._note())

    def _names(self):
        since = f" from step {self.fork_at} on" if self.fork_at else ""
        return ["main", f"{self.fork_by} {self.fork_to}{since}"] if self.fork_by and self.fork_to else ["main"]

    def _note(self):
        seeds = f"seeds: data {self.data_seed}, batches {self.batch_seed}" if self.data != "yours" else \
            f"seeds: split {self.data_seed}, batches {self.batch_seed}"
        forked = len(self._names()) > 1
        fork = f" Fork: the same weights at first, {self._names()[1]}, all else the same." if forked else ""
        hidden = [c.name for c in self.columns if c.units > MOST_UNITS]
        hidden = f" Of {', '.join(hidden)} the first {MOST_UNITS} units are shown." if hidden else ""
        return (f"{self.optimizer}, lr {number(self.lr)}, batches of {self.batch_size}, {seeds}.{fork}{hidden} "
                "A copy is trained; hand_back() gives the weights of a step to your model.")

    def _frame(self, t, views, scale):
        rows = [view.row(min(t, len(view.run.weights) - 1), scale) for view in views]
        ends = [{"end": scale.point(row["t"], row[kind][0])} for row in rows for kind in ("train", "test")]
        spread(ends, "end")
        epochs = max(run.epochs[-1] or 1 for run in self.runs)
        epoch = self.runs[0].epochs[min(t, len(self.runs[0].epochs) - 1)]
        phase = "start" if t == 0 else f"epoch {epoch}" if epochs <= MOST_EPOCHS else "training"
        lines = [line_of(name, row) for name, row in zip(self._names(), rows)]
        text = (" ".join(lines) + " Where will the border between the classes run?" if t == 0 else
                f"Batch {t}, epoch {epoch}. {' '.join(lines)}")
        return Frame(phase, text, {"t": t, "runs": rows, "labels": [end["end_y"] for end in ends]}, tuple(lines))

    # ------------------------------------------------------------------ the trained model
    def hand_back(self, step=None, fork=False):
        """Give your model the weights of a step; returns the model.

        Args:
            step: of the run, 0 before the first batch; that which is shown if left out, -1 for the last.
            fork: those of the fork.

        Raises:
            ArgumentError: there is no such step, or no fork.
        """
        if fork and len(self.runs) < 2:
            raise ArgumentError(message("hand_back: there is no fork.",
                                        try_='playground.edit(fork_by="lr", fork_to="1").'))
        weights = self.runs[fork].weights
        step = min(self.frame.data["t"], len(weights) - 1) if step is None else step
        if not -len(weights) <= step < len(weights):
            raise ArgumentError(message("hand_back: there is no such step.",
                                        [("asked for", step), ("steps", len(weights) - 1)]))
        self.model.load_state_dict(weights[step])
        return self.model

    # ------------------------------------------------------------------ words and the picture without a page
    def describe(self):
        """The run in words: every step, then each unit's weights and gradients at the last."""
        figure, rows = self.trace.figure, self.trace.frame(-1).data["runs"]
        units = [f"{run['name']}, step {row['t']}, {unit_line(figure, row, c, j)}"
                 for run, row in zip(figure["runs"], rows) for c, column in enumerate(figure["columns"][1:], 1)
                 for j in range(column["units"])]
        return "\n".join([self.trace.describe(), LEGEND, *units])

    def draw(self, frame):
        """One frame as SVG: the model, its answers, the losses."""
        figure, rows, t = self.trace.figure, frame.data["runs"], frame.data["t"]
        height = max(figure["height"], SIDE + 30)
        parts = [draw_net(figure, rows[0])]
        parts += [element("g", draw_surface(figure, k, row), transform=f"translate({NET + 10 + k * (SIDE + 10)} 0)")
                  for k, row in enumerate(rows)]
        losses = draw_losses(figure, rows, t, frame.data["labels"])
        parts.append(element("g", losses, transform=f"translate(0 {height})"))
        width = NET + 10 + len(rows) * (SIDE + 10)
        low = height + PLOT["height"] + 50
        words = [line for text in (self.trace.note, LEGEND, *frame.lines) for line in wrapped(text, width - 60)]
        parts += [element("text", line, x=10, y=low + 18 * k, class_="small") for k, line in enumerate(words)]
        return document(width, low + 18 * len(words), *parts, title=self.trace.title,
                        desc=" ".join((self.trace.note, *frame.lines)))


# ---------------------------------------------------------------------- what a step looks like
class _View:
    """One Run, seen through the model: what its units and its answers are over the plane, at each step."""

    def __init__(self, model, wiring, run, classes):
        self.run, self.columns = run, wiring
        self.model, self.classes = copy.deepcopy(model).eval(), classes

    def over_plane(self, grid):
        """At each step: values of the columns (GRID*GRID, units) and class probabilities (GRID*GRID, C)."""
        self.units, self.answers = [], []
        for weights in self.run.weights:
            self.model.load_state_dict(weights)
            with no_grad(), np.errstate(all="ignore"):
                self.units.append(outputs(self.model, grid, self.columns))
                scores = scores_of(self.model(Tensor(grid))).astype(np.float64)
                scores = np.exp(scores - scores.max(1, keepdims=True))
                self.answers.append(scores / scores.sum(1, keepdims=True))

    def matrix(self, kind, t, column):
        """The weights or slopes (out, in) of a column, as far as they are shown; None if there are none."""
        table = (self.run.weights if kind == "weight" else self.run.slopes)[t]
        found = table.get(column.weight) if table and column.weight else None
        if found is None:
            return None
        return (found.T if column.turned else found)[:MOST_UNITS, :MOST_UNITS]

    def row(self, t, scale):
        """What a frame holds of this run."""
        run = self.run
        matrices = {kind: [None if (m := self.matrix(kind, t, c)) is None else rounded(m, 3) for c in self.columns]
                    for kind in ("weight", "slope")}
        bias = [rounded(run.weights[t][c.bias][:MOST_UNITS], 3) if c.bias else None for c in self.columns]
        thumbs = [[thumbnail(values[:, j], top) for j in range(min(values.shape[1], MOST_UNITS))]
                  for values, top in zip(self.units[t], scale.values)]
        broken = run.broken if t == len(run.weights) - 1 else ""
        return {"t": t, **matrices, "bias": bias, "thumbs": thumbs, "answers": answers_text(self.answers[t]),
                "batch": [] if run.batches[t] is None else run.batches[t].tolist(), "loss": run.batch_losses[t],
                "train": list(run.train[t]), "test": list(run.test[t]), "broken": broken,
                "points": scale.plans.index(run.plans[t])}


def packed(text):
    """Runs of a letter as the letter and their length.

    >>> packed("aaabc"), unpacked("a3bc")
    ('a3bc', 'aaabc')
    """
    runs = ((letter, len(list(run))) for letter, run in itertools.groupby(text))
    return "".join(f"{letter}{count if count > 1 else ''}" for letter, count in runs)


def unpacked(text):
    """What `packed` was given."""
    return re.sub(r"(\D)(\d+)", lambda found: found[1] * int(found[2]), text)


def thumbnail(values, top):
    """Every second cell of a unit's values over the plane as letters, a row behind the other; "?" is not finite."""
    few = values.reshape(GRID, GRID)[::2, ::2].ravel()
    return packed("".join(LEVELS[6 + round(6 * min(max(v / top, -1), 1))] if math.isfinite(v) else "?"
                          for v in few.tolist()))


def answers_text(p):
    """The likeliest class of each cell and how sure the model is: a letter for 4 * class + (0 to 3)."""
    sure = (p.max(1) * p.shape[1] - 1) / (p.shape[1] - 1)              # 0 if all are alike, 1 if there is no doubt
    return packed("".join(chr(65 + 4 * int(k) + min(int(4 * s), 3)) if math.isfinite(s) else "?"
                          for k, s in zip(p.argmax(1), sure)))


class Scale:
    """The scales that all frames share, so that frames can be compared."""

    def __init__(self, views, last):
        self.plans, self.last = list({id(plan): plan for view in views for plan in view.run.plans}.values()), last
        x = np.concatenate([plan.draw()[0] for plan in self.plans])
        self.middle = np.round((x.max(0) + x.min(0)) / 2, 1)
        self.half = float(f"{1.12 * np.abs(x - self.middle).max():.2g}")
        for view in views:
            view.over_plane(self.grid())
        self.weight, self.slope = (self._common([[m for c in view.columns if (m := view.matrix(kind, t, c)) is not None]
                                                 for view in views for t in range(len(view.run.weights))])
                                   for kind in ("weight", "slope"))
        self.values = [self._common([[units[c]] for view in views for units in view.units])
                       for c in range(len(views[0].units[0]))]
        losses = [v for view in views for kept in (view.run.train, view.run.test) for v, _ in kept if math.isfinite(v)]
        first = max(views[0].run.train[0][0], 1e-6) if losses else 1.0
        self.top = min(max([*losses, first]), 2 * first) * 1.05
        self.ticks = [[self.level(share * self.top), number(share * self.top, 2)] for share in (0, 0.5, 1)]

    @staticmethod
    def _common(steps):
        """The largest finite size in any step, but at most 20 times that of the middle step; two digits, 1 if none.

        So a run that explodes at its end leaves the steps before to be seen.
        """
        tops = [max((float(np.abs(a[np.isfinite(a)]).max()) for a in step if np.isfinite(a).any()), default=0.0)
                for step in steps]
        tops = sorted(top for top in tops if top) or [1.0]
        return float(f"{min(tops[-1], 20 * tops[len(tops) // 2]):.2g}")

    def grid(self):
        """(GRID*GRID, 2): the middles of the cells, a row behind the other, from the upper left."""
        along = ((np.arange(GRID) + 0.5) / GRID * 2 - 1) * self.half
        across, up = np.meshgrid(along, -along)
        return (np.stack([across.ravel(), up.ravel()], axis=1) + self.middle).astype(np.float32)

    def level(self, loss):
        return round(PLOT["top"] + (1 - min(loss / self.top, 1) if math.isfinite(loss) else 0) * PLOT["height"], 1)

    def point(self, t, loss):
        return [round(PLOT["left"] + t / max(self.last, 1) * PLOT["width"], 1), self.level(loss)]

    def curve(self, kept):
        return [self.point(t, loss) for t, (loss, _) in enumerate(kept)]

    def extent(self):
        """The ends of the plane in words."""
        return ", ".join(f"{name} {number(m - self.half)} … {number(m + self.half)}"
                         for name, m in zip("xy", self.middle))

    def in_plane(self, x):
        """From the plane to px of the surface's picture."""
        return np.round(((x - self.middle) * [1, -1] / self.half + 1) / 2 * SIDE, 1).tolist()


def points_of(plan, scale):
    """All points of a plan: places in px, classes, and which are for the test."""
    x, y, test = plan.draw()
    return {"at": scale.in_plane(x), "class": y.tolist(), "test": test.astype(int).tolist()}


def place_columns(wiring):
    """(name, units shown, px of their upper left corners) of the two inputs and of each column."""
    shown = [("input", 2), *((c.name, min(c.units, MOST_UNITS)) for c in wiring)]
    middle = (net_height(wiring) - 30) / 2
    step = (NET - 40 - THUMB) / max(len(shown) - 1, 1)
    return [(name, units, [[round(20 + c * step, 1), round(middle + (j - units / 2) * ROW + 4, 1)]
                           for j in range(units)])
            for c, (name, units) in enumerate(shown)]


def net_height(wiring):
    """Of the picture of the model, px."""
    return max(6, *(min(c.units, MOST_UNITS) for c in wiring)) * ROW + 40


# ---------------------------------------------------------------------- words
def line_of(name, row):
    """One run at one step."""
    batch = "" if row["loss"] is None else f"loss of the batch {number(row['loss'])}, "
    right = f"right {percent(row['train'][1])} and {percent(row['test'][1])}"
    broken = f" The first number that is not finite: {row['broken']}" if row["broken"] else ""
    return (f"{name}: {batch}of all training points {number(row['train'][0])}, of the test {number(row['test'][0])}; "
            f"{right}.{broken}")


def percent(share):
    """A share in whole percents."""
    return "no points" if math.isnan(share) else f"{100 * share:.0f} %"


def unit_line(figure, row, c, j):
    """A unit's weights, gradients and bias."""
    column, before = figure["columns"][c], figure["columns"][c - 1]
    head = f"{column['name']}, unit {j}"
    weights, slopes = row["weight"][c - 1], row["slope"][c - 1]
    if weights is None:
        return f"{head}: no matrix of weights was found."
    names = ["x", "y"] if c == 1 else [f"unit {i}" for i in range(before["units"])]
    parts = [f"{number(w)} from {n}" + (f" (∂ {number(slopes[j][i])})" if slopes else "")
             for i, (n, w) in enumerate(zip(names, weights[j]))]
    bias = row["bias"][c - 1]
    return f"{head}: weights {', '.join(parts)}" + (f"; bias {number(bias[j])}." if bias else ".")


# ---------------------------------------------------------------------- the twin's picture
def letters(text, x, y, side, cells):
    """The cells of a thumbnail or surface by their letter: {letter: path}, runs in a row joined."""
    size, found, text = side / cells, {}, unpacked(text)
    for i in range(cells):
        j = 0
        while j < cells:
            letter, start = text[i * cells + j], j
            while j < cells and text[i * cells + j] == letter:
                j += 1
            a, b = x + start * size, y + i * size
            found[letter] = found.get(letter, "") + f"M{a:.1f},{b:.1f}h{(j - start) * size:.1f}v{size:.1f}H{a:.1f}z"
    return found


def _thumb(text, x, y):
    parts = [element("rect", x=x, y=y, width=THUMB, height=THUMB, class_="paper")]
    for letter, d in letters(text, x, y, THUMB, GRID // 2).items():
        level = LEVELS.find(letter) - 6
        if letter == "?":
            parts.append(element("path", d=d, class_="broken-paper"))
        elif level:
            end = "positive" if level > 0 else "negative"
            parts.append(element("path", d=d, style=f"fill: var(--md-{end})", fill_opacity=round(abs(level) / 6, 2)))
            if level < 0:
                parts.append(element("path", d=d, fill="url(#md-play-hatch)"))
    if "?" in text:
        parts.append(element("text", BROKEN_MARK, x=x + THUMB / 2, y=y + THUMB / 2, text_anchor="middle",
                             dominant_baseline="central", class_="broken"))
    parts.append(element("rect", x=x, y=y, width=THUMB, height=THUMB, fill="none", class_="stroke"))
    return joined(parts)


def width_of(value, top):
    """Of an edge, px: up to 5 for the largest, less steep than the value."""
    return round(0.4 + 4.6 * math.log1p(9 * min(abs(value) / top, 1)) / math.log(10), 2) if math.isfinite(value) else 2


def draw_net(figure, row):
    """The model: edges with weights and gradients, units with what they make of the plane."""
    line = element("line", x1=0, y1=0, x2=0, y2=4, stroke="var(--md-paper)", stroke_width=1.1)
    hatch = element("defs", element("pattern", line, id="md-play-hatch", width=4, height=4,
                                    patternUnits="userSpaceOnUse", patternTransform="rotate(45)"))
    parts = [hatch]
    for c, column in enumerate(figure["columns"]):
        if c and row["weight"][c - 1]:
            parts += _edges(figure, row, c)
        for (x, y), text in zip(column["at"], row["thumbs"][c - 1] if c else figure["inputs"]):
            parts.append(_thumb(text, x, y))
        parts.append(_column_name(column, c, figure))
    parts += [element("text", name, x=8, y=column_y + THUMB / 2, class_="small", text_anchor="middle",
                      dominant_baseline="central") for name, (_, column_y) in zip("xy", figure["columns"][0]["at"])]
    return joined(parts)


def _edges(figure, row, c):
    before, here, parts = figure["columns"][c - 1], figure["columns"][c], []
    for j, weights in enumerate(row["weight"][c - 1]):
        for i, w in enumerate(weights):
            (x, y), (a, b) = (before["at"][i][0] + THUMB, before["at"][i][1] + THUMB / 2), here["at"][j]
            b += THUMB / 2
            parts.append(_edge([(x, y), (a, b)], w, figure["weight"], False))
            if w < -0.35 * figure["weight"]:
                parts.append(element("text", "−", x=a - 9, y=b + (y - b) * 9 / max(a - x, 1), class_="small bold",
                                     text_anchor="middle", dominant_baseline="central"))
            if row["slope"][c - 1]:
                parts.append(_edge([(x, y + 4), (a, b + 4)], row["slope"][c - 1][j][i], figure["slope"], True))
    return parts


def _edge(points, value, top, slope):
    sign = "broken" if not math.isfinite(value) else "positive" if value >= 0 else "negative"
    width = width_of(value, top) * (0.6 if slope else 1)
    return element("path", d=path(points), style=f"stroke: var(--md-{sign})", fill="none", stroke_width=round(width, 2),
                   stroke_dasharray="4 3" if slope else None, stroke_opacity=0.75)


def _column_name(column, c, figure):
    x, last = column["at"][0][0] + THUMB / 2, c == len(figure["columns"]) - 1
    names = column["name"].split(", ") if c else ["input"]
    low = max(at[1] for at in column["at"]) + THUMB + 12
    anchor = "end" if last else "middle" if c else "start"
    return joined(element("text", name, x=NET if last else x, y=low + 12 * k, class_="small muted", text_anchor=anchor)
                  for k, name in enumerate(names[:2]))


MARKS = ("M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z", "M-2.8,-2.8h5.6v5.6h-5.6z", "M0,-3.6L3.4,2.6H-3.4z",
         "M0,-4L4,0L0,4L-4,0z", "M-3.4,-2.6H3.4L0,3.6z", "M-4,-1.2H4V1.2H-4z")


def draw_surface(figure, k, row):
    """The plane: the model's answers, the border between them, the points."""
    points = figure["points"][row["points"]]
    parts = [element("text", figure["runs"][k]["name"], x=0, y=14, class_="small bold")]
    inside = [element("rect", width=SIDE, height=SIDE, class_="paper")]
    for letter, d in letters(row["answers"], 0, 0, SIDE, GRID).items():
        if letter == "?":
            inside.append(element("path", d=d, class_="broken-paper"))
        else:
            group, sure = divmod(ord(letter) - 65, 4)
            inside.append(element("path", d=d, style=f"fill: var(--md-lane-{group % 6})",
                                  fill_opacity=0.1 + 0.13 * sure))
    ink = dict(style="stroke: var(--md-ink)", stroke_width=1.6, fill="none")
    inside.append(element("path", d=border(row["answers"]), **ink))
    batch = set(row["batch"])
    for n, ((x, y), group, test) in enumerate(zip(points["at"], points["class"], points["test"])):
        look = "fill: var(--md-paper)" if test else f"fill: var(--md-lane-{group % 6})"
        edge = f"stroke: var(--md-lane-{group % 6})" if test else "stroke: var(--md-paper)"
        inside.append(element("path", d=MARKS[group % 6], transform=f"translate({x} {y})", style=f"{look}; {edge}",
                              stroke_width=1 if test else 0.5))
        if n in batch:
            inside.append(element("circle", cx=x, cy=y, r=6, **ink))
    inside.append(element("rect", width=SIDE, height=SIDE, class_="stroke"))
    parts += [element("g", *inside, transform="translate(0 22)"),
              element("text", figure["extent"], x=0, y=SIDE + 36, class_="small muted")]
    return joined(parts)


def border(answers):
    """The lines between cells with different answers."""
    size, parts = SIDE / GRID, []
    kinds = [-1 if c == "?" else (ord(c) - 65) // 4 for c in unpacked(answers)]
    for i in range(GRID):
        for j in range(GRID):
            here = kinds[i * GRID + j]
            if j + 1 < GRID and kinds[i * GRID + j + 1] != here:
                parts.append(f"M{(j + 1) * size:.1f},{i * size:.1f}v{size:.1f}")
            if i + 1 < GRID and kinds[(i + 1) * GRID + j] != here:
                parts.append(f"M{j * size:.1f},{(i + 1) * size:.1f}h{size:.1f}")
    return "".join(parts)


def draw_losses(figure, rows, t, labels):
    """The losses of all points so far, of training and test, for each run."""
    left, right, low = PLOT["left"], PLOT["left"] + PLOT["width"], PLOT["top"] + PLOT["height"]
    parts = [joined([element("path", d=path([(left, y), (right, y)]), class_="rule"),
                     element("text", text, x=left - 5, y=y + 4, class_="small muted", text_anchor="end")])
             for y, text in figure["ticks"]]
    for k, (run, row) in enumerate(zip(figure["runs"], rows)):
        for kind, curve in enumerate(run["curves"]):
            lane, name = 2 * k + kind, f"{run['name'] if k == 0 else 'fork'} {'test' if kind else 'train'}"
            points = curve[:t + 1]
            x, y = points[-1]
            mark = f"{BROKEN_MARK} " if row["broken"] else f"{ABOVE} " if y <= PLOT["top"] else ""
            parts += [element("path", d=path(points), style=f"stroke: var(--md-lane-{lane})", fill="none",
                              stroke_width=2.2, stroke_dasharray=DASHES[lane] or None),
                      element("path", d=path([(x, y), (x + 9, labels[lane])]), style="stroke: var(--md-ink)",
                              stroke_width=0.7),
                      element("text", mark + name, x=x + 12, y=labels[lane], class_="small bold", font_size=SMALL,
                              dominant_baseline="central")]
    words = (("0", left, "middle"), ("batch; loss of all points", (left + right) / 2, "middle"),
             (str(figure["last"]), right, "middle"))
    parts += [element("text", text, x=x, y=low + 15, class_="small muted", text_anchor=anchor)
              for text, x, anchor in words]
    return joined(parts)
