"""The dashboard of a training run: two lines in any loop.

    board = TrainingDashboard(model)              # before the loop; shows itself in a notebook
    for x, y in loader:
        ...
        loss.backward(); optimizer.step()
        board.step(loss=loss, val_loss=...)       # whatever there is, before zero_grad()

    board.new_run("lr 0.01", model)               # a second run, beside the first
    print(board.describe())                       # the whole run in words; needs no notebook

The run is written down by runlog.py and judged by health.py. A frame of the trace is a snapshot of all layers; the
curves are shared by all frames. While a run goes on, the page gets a new trace now and then, never so often that the
training takes more than a few percent longer, and stays where the reader is.
"""
import sys
import time
import weakref

import numpy as np
import traitlets as tr

from ..viz import theme
from .activity import letters
from .board_picture import picture
from .health import CHECKS, health, health_line
from .runlog import RunLog
from .trace import Frame, Trace
from .widget import Widget

POINTS, FEWEST = 1600, 40             # of all curves together, and at least of each
MOST_LAYERS = 24                      # parameters whose histograms are shown
LEAST_PAUSE, SHARE = 0.5, 0.03        # s between two traces; share of the time that goes into them
PREFIXES = ("train_", "val_", "valid_", "validation_", "test_")
LENGTH = "gradient length"
NOTHING = "Nothing is recorded yet. Before it is: what will the curve look like, and will the two losses part?"


class TrainingDashboard(Widget):
    """Curves, histograms of every layer, and a health line in plain words, from any training loop.

    Args:
        model: the module that is trained.
        optimizer: its learning rate becomes a curve, if one is given.
        name: of the run.
        every: a look at all layers every so many steps; None for rarer and rarer ones, about 80 in 10,000 steps.
        watch_nan: look at every op of every step for the first NaN; slow. Otherwise only when the loss or the gradient
            shows signs of it.
        show: display it at once, where there is a notebook.

    Attributes:
        runs: the RunLogs.
        smoothing: of the curves, from 0 (not at all) to 0.99; the raw ones stay visible.

    Raises:
        ArgumentError: `model` is no module.
    """

    scripts = ("dashboard",)
    smoothing = tr.Float(0.6, min=0.0, max=0.99).tag(sync=True)

    def __init__(self, model, optimizer=None, name="run 1", every=None, watch_nan=False, show=True, **traits):
        self.runs = [RunLog(model, name, optimizer, every, watch_nan)]
        self._frames, self._seen, self._next_time, self._shown, self._handle = {}, None, 0.0, False, None
        super().__init__(**traits)
        self._in_notebook(show)

    # ------------------------------------------------------------------ the two lines
    def step(self, loss=None, **values):
        """Write down one step of training: after the optimiser's step, before the gradients are forgotten.

        Args:
            loss: a number or a tensor with one number.
            values: more of them. `val_loss` is drawn beside `loss`, `val_accuracy` beside `accuracy`; None is passed
                over, so a value need not be there at every step.
        """
        self.runs[-1].note({"loss": loss, **values})
        if self._shown and time.monotonic() >= self._next_time:
            self.refresh()

    def new_run(self, name, model=None, optimizer=None):
        """Begin another run; the curves of those before stay for comparison.

        Args:
            name: of the new run.
            model, optimizer: of the new run; those of the run before if left out.
        """
        last = self.runs[-1]
        last.watch(False)
        model = last.model if model is None else model
        self.runs.append(RunLog(model, name, optimizer or last.optimizer, last.every, last.watch_nan))

    def finish(self):
        """Show the last steps, and look at no more ops. A cell of a notebook that ends does this by itself."""
        for run in self.runs:
            run.watch(False)
        self.refresh()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finish()

    # ------------------------------------------------------------------ what is shown
    def refresh(self):
        """Make the trace anew, if steps were added. Returns it."""
        state = tuple((run.name, len(run.rows)) for run in self.runs)
        if state != self._seen:
            start = time.monotonic()
            self.trace = self.record()
            self._seen = state
            self._next_time = time.monotonic() + max(LEAST_PAUSE, (time.monotonic() - start) / SHARE)
        return self.trace

    def record(self):
        """The trace of all runs up to now: a frame for each snapshot."""
        runs = [run for run in self.runs if run.rows]
        if not runs:
            return Trace([Frame("", NOTHING, {"step": 0, "layers": [], "dead": [], "findings": []})], "training",
                         {"panels": [], "runs": []})
        frames = [self._frame(run, row) for run in runs for row in self._looks(run)]
        note = f"{len(frames)} looks at all layers in {sum(len(run.rows) for run in runs)} training steps."
        if any(len(run.rows) > _points(runs) for run in runs):
            note += " Curves: the mean over neighbouring steps, and their range in pale."
        figure = {"panels": panels(runs), "runs": [run.name for run in runs]}
        return Trace(frames, f"training: {' and '.join(run.name for run in runs)}", figure, note)

    @staticmethod
    def _looks(run):
        """The snapshots, and the last step in the state of the last snapshot's layers."""
        rows = list(run.rows)
        looks = [row for row in rows if row.layers is not None]
        if rows[-1].layers is None:
            last = rows[-1]
            looks.append(type(last)(last.step, last.values, last.norm, None, {}, last.born))
        return looks

    def _frame(self, run, row):
        """One look at all layers; those that cannot change any more are kept."""
        key = (id(run), row.step)
        if key in self._frames:
            return self._frames[key]
        look = row if row.layers is not None else run.snapshots[-1]
        found = health(run, row.step)
        layers = [_layer(name, state) for name, state in list(look.layers.items())[:MOST_LAYERS]]
        data = {"step": row.step, "looked": look.step, "values": row.values, "norm": row.norm, "layers": layers,
                "dead": [[name, dead, units] for name, (dead, units) in look.dead.items()],
                "findings": [[one.kind, one.text, one.advice] for one in found]}
        lines = [f"{one.text} Try: {one.advice}." for one in found]
        lines += [] if row.norm is None else [f"Length of all gradients: {theme.number(row.norm, 6)}."]
        lines += [f"{name}: {_words(state)}" for name, state in list(look.layers.items())[:MOST_LAYERS]]
        left = len(look.layers) - MOST_LAYERS
        lines += [f"{left} more parameters are not shown."] if left > 0 else []
        lines += [f"{name}: {dead} of {units} ReLUs gave 0 for the whole batch."
                  for name, (dead, units) in look.dead.items()]
        frame = Frame(run.name, health_line(found, row), data, tuple(lines))
        if row.layers is not None:
            self._frames[key] = frame
        return frame

    # ------------------------------------------------------------------ without a page
    @property
    def frame(self):
        """The Frame that is shown."""
        return self.refresh().frame(self.index)

    def seek(self, i):
        self.refresh()
        return super().seek(i)

    def last(self):
        """Go to the newest frame."""
        return self.seek(len(self.refresh()) - 1)

    def describe(self):
        """The runs in words: each look's health line, and everything about the last one."""
        trace = self.refresh()
        lines = [trace.describe()]
        if len(trace) > 1:
            checks = f"{len(CHECKS)} checks: {', '.join(CHECKS)}"
            lines += ["", f"At the end ({checks}):", *trace.frame(len(trace) - 1).lines]
        lines += [line["says"] for panel in trace.figure["panels"] for line in panel["lines"]]
        return "\n".join(lines)

    def svg(self, i=None):
        self.refresh()
        return super().svg(i)

    def draw(self, frame):
        """Health, curves and the layers of one frame as SVG."""
        return picture(frame, self.trace, self.smoothing)

    # ------------------------------------------------------------------ in a notebook
    def _in_notebook(self, show):
        shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
        if not show or shell is None or not hasattr(shell, "kernel"):
            return
        from IPython.display import display
        self._handle = display(self, display_id=True)
        me = weakref.ref(self)

        def over(*_):
            board = me()
            if board is None:
                shell.events.unregister("post_run_cell", over)
            else:
                board._cell_over()
        shell.events.register("post_run_cell", over)

    def _cell_over(self):
        """A cell has ended, in whatever way: show the last steps, in the stored picture, too."""
        before = self._seen
        self.finish()
        if self._seen != before or self._stored != before:
            self._handle.update(self)
            self._stored = self._seen

    _stored = None

    def _repr_mimebundle_(self, **kwargs):
        if not self._shown:
            self._shown = True
            self.last()
        return super()._repr_mimebundle_(**kwargs)


# ---------------------------------------------------------------------- what a frame holds of a layer
def _layer(name, state):
    return {"name": name, "weight": _spread(state.weight),
            "gradient": None if state.gradient is None else _spread(state.gradient), "moved": _short(state.moved)}


def _spread(spread):
    counts = np.array(spread.counts, dtype=float)
    return {"low": _short(spread.low), "high": _short(spread.high), "q": [_short(q) for q in spread.quantiles],
            "bars": letters(counts, counts.max()) if counts.size else "", "rms": _short(spread.rms),
            "broken": spread.broken}


def _short(x):
    return x if x is None else float(f"{x:.4g}")


def _words(state):
    def of(spread):
        if not spread.counts:
            return f"all {spread.broken} numbers are NaN or infinite"
        broken = f", {spread.broken} of {spread.size} NaN or infinite" if spread.broken else ""
        low, middle, high, rms = map(theme.number, (spread.low, spread.quantiles[2], spread.high, spread.rms))
        return f"{low} to {high}, middle {middle}, root mean square {rms}{broken}"
    gradient = "no gradient" if state.gradient is None else f"gradient {of(state.gradient)}"
    moved = "" if state.moved is None else f"; one step moves it by {theme.number(state.moved)} of its length"
    return f"{of(state.weight)}; {gradient}{moved}."


# ---------------------------------------------------------------------- curves
def _points(runs):
    lines = sum(len({name for row in run.rows for name in row.values}) + 1 for run in runs)
    return max(FEWEST, POINTS // max(lines, 1))


def panels(runs):
    """The curves of some runs: a panel for each kind of value, and one for the length of the gradient.

    Each line holds points [step, mean, lowest, highest] over neighbouring steps, and the steps at which its value was
    NaN or infinite; those are in no mean.
    """
    most, found = _points(runs), {}
    for k, run in enumerate(runs):
        series = {}
        for row in list(run.rows):
            for name, value in [*row.values.items(), (LENGTH, row.norm)]:
                if value is not None:
                    series.setdefault(name, []).append((row.step, value))
        for name, pairs in series.items():
            kind = next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name)
            found.setdefault(kind, []).append(_line(run.name if len(runs) > 1 else "", name, kind, k, pairs, most))
    return [_panel(kind, lines) for kind, lines in found.items()]


def _line(run, name, kind, k, pairs, most):
    steps, values = (np.array(column, dtype=float) for column in zip(*pairs))
    good = np.isfinite(values)
    points = [[int(part[-1]), *map(_short, (y.mean(), y.min(), y.max()))]
              for part, y in zip(*(np.array_split(x[good], min(most, good.sum())) if good.any() else ([])
                                   for x in (steps, values)))]
    label = f"{run}, {name}" if run else name
    broken = [int(step) for step in steps[~good]]
    ends = "no number"
    if good.any():
        whole, lowest = values[good], int(steps[good][values[good].argmin()])
        ends = (f"from {theme.number(whole[0], 6)} to {theme.number(whole[-1], 6)}, lowest "
                f"{theme.number(whole.min(), 6)} at step {lowest}")
    lost = f"; {len(broken)} times NaN or infinite, first at step {broken[0]}" if broken else ""
    short = name if not run and kind != LENGTH else run + (", val" if run and name != kind else "")
    return {"label": short, "run": k, "lane": (2 * k + (name != kind)) % 6, "points": points, "broken": broken[:20],
            "says": f"{label}: {ends}, in {len(pairs)} values{lost}."}


def _panel(kind, lines):
    """A kind of value with the scale that its lines share."""
    points = [point for line in lines for point in line["points"]]
    lows, highs = [p[2] for p in points], [p[3] for p in points]
    low, high = (min(lows), max(highs)) if points else (0.0, 1.0)
    log = low > 0 and high > 30 * low
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        log = False
    steps = [p[0] for p in points] + [step for line in lines for step in line["broken"]]
    return {"kind": kind, "log": log, "low": low, "high": high, "steps": max(steps, default=1), "lines": lines}
