"""A race of optimisers over a loss of two numbers, fair by construction.

    OptimiserRace()                                          four of minidl's on a quadratic
    OptimiserRace({"mine": (Mine, dict(lr=0.1)), "Adam": (optim.Adam, dict(lr=0.1))})
    OptimiserRace(loss=lambda x, y: x**2 * y**2 + 0.1 * (x**2 + y**2))

Every lane has the same start, the same batches and the same random numbers, and is run by itself with a new optimiser;
so neither the order of the lanes nor their number can change a path. A batch is the surface, moved a little: at step t
all lanes get the gradient of the same moved surface. The scores are those of the surface itself.
"""
import ast
import inspect
import math
from dataclasses import dataclass, field

import numpy as np
import traitlets as tr

from .. import func, optim
from .. import random as _random
from ..autograd import detect_anomaly, no_grad
from ..errors import AnomalyError, ArgumentError, ShapeError, message
from ..random import Generator
from ..tensor import Tensor
from ..viz.svg import arrow_head, document, element, joined, path, shortened, text_width
from ..viz.theme import ABOVE, BROKEN_MARK, DASHES, SMALL, number
from .trace import Frame, Trace, rounded
from .widget import Widget

MAP = dict(left=34, top=10, width=300, height=262)         # px
PLOT = dict(left=40, top=10, width=206, height=262)
SIZE = (350, 306)
NEAR = 0.01                             # reached: what is left of the height of the start
FAR = 1e6                               # diverged: beyond so many widths of the map
LEVELS, CELLS = 12, 41                  # of the map: shades; places along each side where the loss is looked up
SWEEP = tuple(2.0**k for k in range(-4, 5))


# ---------------------------------------------------------------------- surfaces
@dataclass(frozen=True)
class Surface:
    """A loss over two numbers.

    Attributes:
        loss: of two tensors of one shape, entry by entry.
        x, y: (lowest, highest) on the map.
        start: where the lanes start unless told otherwise.
        lowest: the smallest loss; None if it is not known.
        says: what is hard about it.
    """

    loss: object
    x: tuple
    y: tuple
    start: tuple
    lowest: float | None
    says: str


TURN = (math.cos(0.5), math.sin(0.5))   # no valley lies along an axis, so none is a gift to steps along axes


def quadratic(condition):
    """(u^2 + condition * v^2) / 2, u and v being the axes turned by half a radian; curvatures 1 and `condition`."""
    c, s = TURN
    return lambda x, y: ((c * x + s * y) ** 2 + condition * (c * y - s * x) ** 2) / 2


def surfaces(condition):
    """The surfaces by name."""
    return {
        "quadratic": Surface(quadratic(condition), (-2.4, 2.4), (-2.1, 2.1), (-2.0, 0.4), 0.0,
                             f"A valley, {number(condition)} times as steep across as along."),
        "ravine": Surface(lambda x, y: (1 - x) ** 2 + 10 * (y - x**2) ** 2, (-1.8, 2.0), (-0.9, 2.7), (-1.5, 1.0), 0.0,
                          "A bent valley with steep walls; its floor falls slowly towards (1, 1)."),
        "saddle": Surface(lambda x, y: x**2 / 2 - y**2 / 2 + y**4 / 4 + 0.25, (-2.0, 2.0), (-1.75, 1.75), (-1.7, 0.02),
                          0.0, "A pass at (0, 0): down along x, and from there the ways down lead up or down y."),
        "plateau": Surface(lambda x, y: 1 - (-(x**2 + y**2)).exp(), (-2.6, 2.6), (-2.3, 2.3), (-1.7, 1.1), 0.0,
                           "A hole in a plain: far from it there is hardly any slope."),
    }


LEGEND = ("The loss is higher where the map differs more from the page. Arrow: where what an optimiser remembers of "
          "directions pushes. Box: its sides are as its adaptive steps along x and y, 1/√ of the squares it remembers.")


# ---------------------------------------------------------------------- lanes
@dataclass
class Lane:
    """What one optimiser did.

    Attributes:
        name: of the lane.
        points, losses, slopes, calls: at each step from 0 on: place, loss of the surface, gradient that the last step
            used, how often a gradient has been asked for so far.
        states: what the optimiser remembers, at each step: name -> two numbers, or a count.
        reached: the step at which 1 % of the start's height was left; None if never.
        diverged: the step at which it left all bounds or met something that is not finite; None if never.
    """

    name: str
    points: list = field(default_factory=list)
    losses: list = field(default_factory=list)
    slopes: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    states: list = field(default_factory=list)
    reached: int | None = None
    diverged: int | None = None


def run_lane(name, make, loss, start, shifts, far=math.inf):
    """One optimiser by itself: a Lane.

    Args:
        name: of the lane.
        make: `make([w])` gives the optimiser; it steps with `step(closure)`, or with `step()` if it takes none.
        loss: of two tensors.
        start: two numbers.
        shifts: (steps, 2): where the surface of each batch is moved to.
        far: the run ends when a coordinate is further than this from the start.
    """
    w = Tensor(np.array(start, dtype=np.float64), requires_grad=True)
    optimizer, lane = make([w]), Lane(name)
    takes_closure = bool(inspect.signature(optimizer.step).parameters)
    _note(lane, w, loss, None, 0, {})
    for t, shift in enumerate(shifts, 1):
        asked = Batch(w, loss, shift)
        if takes_closure:
            optimizer.step(asked)
        if not asked.calls:
            asked()
            optimizer.step()
        state = optimizer.state.get(w, {}) if hasattr(optimizer, "state") else {}
        _note(lane, w, loss, asked.slope, asked.calls, state)
        here = np.array(lane.points[-1])
        if not (math.isfinite(lane.losses[-1]) and np.abs(here - start).max() < far):
            lane.diverged = t
            break
    return lane


class Batch:
    """The loss of one batch as a closure for `Optimizer.step`; counts how often the gradient is asked for."""

    def __init__(self, w, loss, shift):
        self.w, self.loss, self.shift, self.calls, self.slope = w, loss, shift, 0, None

    def __call__(self):
        self.w.grad = None
        with np.errstate(all="ignore"):                    # a lane that diverges says so itself
            value = self.loss(self.w[0] - float(self.shift[0]), self.w[1] - float(self.shift[1]))
            value.backward()
        self.calls += 1
        self.slope = self.w.grad.host_array().tolist()
        return value


def _note(lane, w, loss, slope, calls, state):
    place = w.detach().host_array().tolist()
    with no_grad(), np.errstate(all="ignore"):
        lane.losses.append(float(loss(Tensor(np.float64(place[0])), Tensor(np.float64(place[1]))).item()))
    lane.points.append(place)
    lane.slopes.append(slope)
    lane.calls.append((lane.calls[-1] if lane.calls else 0) + calls)
    lane.states.append({name: np.asarray(value.host_array() if isinstance(value, Tensor) else value).tolist()
                        for name, value in state.items() if not isinstance(value, (dict, str))})


def entrants(lanes):
    """(name, class, settings) of each lane; from classes, pairs (class, settings), or a dict from names to such.

    >>> entrants([optim.SGD, (optim.SGD, {"lr": 0.1})])[1]
    ('SGD 2', <class 'minidl.optim.optimizers.SGD'>, {'lr': 0.1})
    """
    named = list(lanes.items()) if isinstance(lanes, dict) else [(None, lane) for lane in lanes]
    if not 1 <= len(named) <= len(DASHES):
        raise ArgumentError(message("race: so many lanes cannot be told apart.",
                                    [("lanes", len(named)), ("at most", len(DASHES))]))
    found, taken = [], set()
    for name, lane in named:
        kind, settings = lane if isinstance(lane, (tuple, list)) and len(lane) == 2 else (lane, {})
        if not callable(kind) or not isinstance(settings, dict):
            raise ArgumentError(message("race: a lane is an optimiser class, or a pair of it and its settings.",
                                        [("got", repr(lane))], "(md.optim.SGD, dict(lr=0.1))."))
        stem = name or getattr(kind, "__name__", "lane")
        own = next(n for n in (stem, *(f"{stem} {k}" for k in range(2, 99))) if n not in taken)
        taken.add(own)
        found.append((str(own), kind, dict(settings)))
    return found


def spelled(settings):
    """Settings as they are typed: `lr=0.1, momentum=0.9`."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def parsed(text):
    """The settings of such a text.

    >>> parsed("lr=0.1, betas=(0.9, 0.99)")
    {'lr': 0.1, 'betas': (0.9, 0.99)}
    """
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise ArgumentError(message("race: these settings cannot be read.", [("got", text)],
                                    "lr=0.1, momentum=0.9.")) from None


# ---------------------------------------------------------------------- why a lane lost
def limit_of_sgd(curvature, momentum=0, nesterov=False, weight_decay=0, **_):
    """The learning rate at which plain SGD stops converging along a direction of this curvature.

    The step multiplies what is left of the way by 1 - lr * curvature, which must not be below -1; momentum b moves
    the bound to 2 (1 + b) / curvature, Nesterov's to 2 (1 + b) / ((1 + 2 b) curvature).
    """
    return 2 * (1 + momentum) / ((1 + 2 * momentum if nesterov else 1) * (curvature + weight_decay))


def curvatures(loss, points):
    """The smallest and the largest curvature of the loss at some points of a path."""
    with np.errstate(all="ignore"):
        bent = [func.hessian(lambda w: loss(w[0], w[1]))(Tensor(np.array(p))).host_array() for p in points]
    values = np.linalg.eigvalsh(np.array([b for b in bent if np.isfinite(b).all()] or [np.zeros((2, 2))]))
    return float(values[..., 0].min()), float(values[..., 1].max())


def broken_by(loss, points):
    """What anomaly mode says about the last two places of a path; "" if the loss and its gradient are finite there."""
    for place in points[-2:]:
        w = Tensor(np.array(place), requires_grad=True)
        try:
            with detect_anomaly(), np.errstate(all="ignore"):
                loss(w[0], w[1]).backward()
        except AnomalyError as error:
            return str(error).split("\n")[0]
    return ""


def reason(lane, kind, settings, loss, inside):
    """Why a lane did not get there, from what it did; "" if it got there."""
    if lane.reached is not None and lane.diverged is None:
        return ""
    if not math.isfinite(lane.losses[-1]) and (op := broken_by(loss, lane.points)):
        return f"At step {lane.diverged}, {op}"
    places = [p for p in lane.points if inside(p)][:12] or lane.points[:1]
    low, high = curvatures(loss, places)
    rate, moved = settings.get("lr"), np.diff(np.array(lane.points), axis=0)
    plain = {"lr", "momentum", "nesterov", "weight_decay"} >= settings.keys() and kind is optim.SGD and rate is not None
    bounds = {name: value for name, value in settings.items() if name != "lr"}
    if plain and high > 0 and rate > limit_of_sgd(high, **bounds):
        formula = "2/λ" if not settings.get("momentum") else "2(1+β)/λ" if not settings.get("nesterov") else \
            "2(1+β)/((1+2β)λ)"
        return (f"lr = {number(rate)} is above {formula} = {number(limit_of_sgd(high, **bounds))}, where "
                f"λ = {number(high)} is the largest curvature on its way: each step goes further past the valley's "
                "floor than it had been away from it.")
    if lane.diverged is not None:
        return f"Its steps grew until it left all bounds at step {lane.diverged}; a smaller lr keeps them short."
    turns = np.einsum("td,td->t", moved[1:], moved[:-1]) < 0
    if len(turns) and turns.mean() > 0.5:
        return (f"{int(turns.sum())} of its {len(moved)} steps turned back on the one before: it swings across the "
                "valley; a smaller lr would swing less.")
    if plain and not settings.get("momentum") and 0 < rate * low < 0.1:
        return (f"Along the floor the curvature is only {number(low)}: lr times it, {100 * rate * low:.2g} %, is the "
                "part of the way that a step takes there.")
    way, slope = float(np.linalg.norm(moved[-1])), float(np.linalg.norm(lane.slopes[-1]))
    return (f"It is still on its way: its last step was {number(way)} long, and the gradient that led to it "
            f"{number(slope)}.")


# ---------------------------------------------------------------------- the widget
LANES = {
    "SGD": (optim.SGD, dict(lr=0.08)),
    "momentum": (optim.SGD, dict(lr=0.03, momentum=0.8)),
    "RMSprop": (optim.RMSprop, dict(lr=0.05, alpha=0.9)),
    "Adam": (optim.Adam, dict(lr=0.2)),
}


class OptimiserRace(Widget):
    """Optimisers side by side on one surface: paths, losses, what each remembers, and why one lost.

    Args:
        lanes: optimiser classes, pairs (class, settings), or a dict from names to such; six at most. Your own subclass
            of `optim.Optimizer` is one like any other; so is any object with `step`.
        loss: your own surface instead of a name: a function of two tensors, entry by entry.
        x, y: the ends of the map, for a surface of your own.

    Attributes:
        surface: "quadratic", "ravine", "saddle", "plateau", or "yours".
        condition: of the quadratic: its largest curvature; the smallest is 1.
        settings: what each lane's class is called with, as text: `lr=0.1, momentum=0.9`.
        start: two numbers; empty for the surface's own start.
        steps: how many each lane may take.
        noise: how far each batch's surface is moved (standard deviation).
        seed: of the batches, and of the random numbers an optimiser may draw.
        sweep: try 9 learning rates around that of each lane and tell the best.

    Raises:
        ArgumentError: settings that cannot be read or do not fit, a surface or a start that is not there.
        ShapeError: your loss is not computed entry by entry.
    """

    scripts = ("race",)
    controls = ("surface", "condition", "settings", "start", "steps", "noise", "seed", "sweep")
    surface = tr.Unicode("quadratic").tag(sync=True)
    condition = tr.Float(20.0).tag(sync=True)
    settings = tr.List(tr.Unicode()).tag(sync=True)
    start = tr.List(tr.Float()).tag(sync=True)
    steps = tr.Int(40).tag(sync=True)
    noise = tr.Float(0.0).tag(sync=True)
    seed = tr.Int(0).tag(sync=True)
    sweep = tr.Bool(False).tag(sync=True)

    def __init__(self, lanes=None, loss=None, x=(-2.0, 2.0), y=(-2.0, 2.0), **controls):
        self.entrants = entrants(LANES if lanes is None else lanes)
        self.own = None if loss is None else Surface(loss, tuple(x), tuple(y), (0.8 * x[0] + 0.2 * x[1],
                                                     0.3 * y[0] + 0.7 * y[1]), None, "A surface of your own.")
        controls.setdefault("settings", [spelled(settings) for _, _, settings in self.entrants])
        controls.setdefault("surface", "quadratic" if loss is None else "yours")
        super().__init__(**controls)

    # ------------------------------------------------------------------ what is run
    @property
    def land(self):
        """The Surface that is raced on."""
        known = surfaces(self.condition) | ({"yours": self.own} if self.own else {})
        if self.surface not in known:
            raise ArgumentError(message("race: there is no such surface.", [("got", self.surface)],
                                        ", ".join(known) + "; or pass your own as loss=."))
        return known[self.surface]

    def _checked_start(self, land):
        start = tuple(self.start) or land.start
        if len(start) != 2 or not all(math.isfinite(v) for v in start):
            raise ArgumentError(message("race: the start is two finite numbers.", [("got", list(start))]))
        return start

    def _check(self):
        for name, low, high in (("condition", 1, 1000), ("steps", 1, 200), ("noise", 0, 10)):
            if not low <= getattr(self, name) <= high:
                raise ArgumentError(message(f"race: {name} must be from {low} to {high}.",
                                            [(name, getattr(self, name))]))
        if len(self.settings) != len(self.entrants):
            raise ArgumentError(message("race: every lane needs its settings.",
                                        [("lanes", len(self.entrants)), ("settings", len(self.settings))]))

    def batches(self):
        """(steps, 2): by how much the surface is moved in each batch; the same for all lanes."""
        return self.noise * Generator().manual_seed(self.seed).normal((self.steps, 2), dtype=np.float64)

    def run(self, k, **changes):
        """Race lane `k` by itself, with some of its settings changed; returns a Lane."""
        name, kind, _ = self.entrants[k]
        settings, land = {**parsed(self.settings[k]), **changes}, self.land
        far = FAR * max(land.x[1] - land.x[0], land.y[1] - land.y[0])
        before = _random.get_rng_state()
        _random.manual_seed(self.seed)
        try:
            return run_lane(name, lambda params: _made(name, kind, params, settings), land.loss,
                            self._checked_start(land), self.batches(), far)
        finally:
            _random.set_rng_state(before)

    def best_rate(self, k):
        """(learning rate, Lane) of the best of 9 around that of lane `k`: by steps to get there, then by loss."""
        rate = parsed(self.settings[k]).get("lr", self.entrants[k][2].get("lr"))
        if rate is None:
            return None
        runs = [(rate * factor, self.run(k, lr=rate * factor)) for factor in SWEEP]
        lowest = self._lowest([lane for _, lane in runs])
        for _, lane in runs:
            lane.reached = arrival(lane, lowest)
        return min(runs, key=lambda pair: place_of(pair[1]))

    def _lowest(self, lanes):
        land = self.land
        if land.lowest is not None:
            return land.lowest
        height = heights(land)[2]
        seen = [v for lane in lanes for v in lane.losses if math.isfinite(v)]
        return min([float(np.nanmin(np.where(np.isfinite(height), height, np.nan))), *seen])

    def record(self):
        """Race all lanes and write it down."""
        self._check()
        land = self.land
        ground = contours(land)
        lanes = [self.run(k) for k in range(len(self.entrants))]
        lowest = self._lowest(lanes)
        for lane in lanes:
            lane.reached = arrival(lane, lowest)
        chart = Chart(land, lanes, lowest)
        best = [self.best_rate(k) if self.sweep else None for k in range(len(lanes))]
        told = {"why": [reason(lane, kind, parsed(text), land.loss, chart.inside)
                        for lane, (_, kind, _), text in zip(lanes, self.entrants, self.settings)],
                "best": [b and {"lr": b[0], "says": score(b[1])} for b in best]}
        figure = {"surface": self.surface, "says": land.says, "legend": LEGEND, "ground": ground,
                  "x": land.x, "y": land.y,
                  "start": chart.on_map(lanes[0].points[0]), "at": lanes[0].points[0], "ticks": chart.ticks,
                  "last": max(len(lane.points) for lane in lanes) - 1, "near": chart.level(NEAR * chart.top),
                  "lanes": [{"name": lane.name, "settings": text, "map": chart.map_path(lane),
                             "curve": chart.curve(lane)} for lane, text in zip(lanes, self.settings)]}
        frames = [self._frame(t, lanes, chart, told) for t in range(figure["last"] + 1)]
        return Trace(frames, f"Optimiser race on the {self.surface}", figure, self._fairness(lanes[0].points[0]))

    def _fairness(self, start):
        moved = "the whole surface in every step" if not self.noise else \
            f"the same {self.steps} batches (the surface moved by {number(self.noise)} at random, seed {self.seed})"
        return f"Same start {spoken(start)}, {moved}, a new optimiser for each lane."

    def _frame(self, t, lanes, chart, told):
        last = t == max(len(lane.points) for lane in lanes) - 1
        phase = "start" if t == 0 else "finish" if last else "race"
        rows = [self._row(lane, min(t, len(lane.points) - 1), t, chart) for lane in lanes]
        for at in ("tag", "end"):
            spread(rows, at)
        order = sorted(range(len(lanes)), key=lambda k: (rows[k]["reached"] or math.inf, not_less(rows[k]["loss"])))
        for rank, k in enumerate(order, 1):
            rows[k]["rank"] = rank
        lines = [sentence_of(lane.name, row) for lane, row in zip(lanes, rows)]
        if last:
            for row, why, best in zip(rows, told["why"], told["best"]):
                row["why"], row["best"] = why, best
            lines += [f"Why {lane.name} did not get there: {why}" for lane, why in zip(lanes, told["why"]) if why]
            lines += [f"{lane.name}: the best of {len(SWEEP)} learning rates is {number(b['lr'])}, {b['says']}."
                      for lane, b in zip(lanes, told["best"]) if b]
        return Frame(phase, self._sentence(t, last, lanes, rows, order), {"t": t, "lanes": rows}, tuple(lines))

    def _row(self, lane, k, t, chart):
        """What is known about a lane after step t; it may have ended at an earlier step k."""
        place, slope = lane.points[k], lane.slopes[k]
        fate = "diverged" if lane.diverged is not None and t >= lane.diverged else \
            "reached" if lane.reached is not None and t >= lane.reached else \
            "" if chart.inside(place) else "off the map"
        row = {"place": rounded(np.array(place), 6), "loss": rounded(np.array(lane.losses[k]), 6), "k": k, "fate": fate,
               "reached": lane.reached if fate == "reached" else None, "calls": lane.calls[k],
               "slope": None if slope is None else rounded(np.array(slope), 6),
               "moved": rounded(np.array(place) - lane.points[k - 1], 6) if k else None,
               "state": {name: rounded(np.array(v, dtype=float)) for name, v in lane.states[k].items()}}
        return row | {"arrow": chart.arrow(lane, k), "box": chart.box(lane, k), "tag": chart.clipped(place),
                      "end": chart.curve_point(k, lane.losses[k])}

    def _sentence(self, t, last, lanes, rows, order):
        if t == 0:
            return (f"{self.land.says} All start at {spoken(lanes[0].points[0])}, loss {number(rows[0]['loss'])}. "
                    "Which one is first to have 1 % of that height left, and which one never is?")
        if last:
            return " ".join(f"{place}. {lanes[k].name}: {score(lanes[k])}." for place, k in enumerate(order, 1))
        now = ", ".join(f"{lane.name} {number(row['loss'])}{' ' + row['fate'] if row['fate'] else ''}"
                        for lane, row in zip(lanes, rows))
        return f"Losses after {t} step{'s' * (t > 1)}: {now}."

    # ------------------------------------------------------------------ words and the picture without a page
    def describe(self):
        """The race in words: every step, then the scores and the reasons."""
        lanes = [f"Lane {lane['name']}: {kind.__name__}({lane['settings']})."
                 for lane, (_, kind, _) in zip(self.trace.figure["lanes"], self.entrants)]
        return "\n".join([self.trace.describe(), LEGEND, *lanes, *self.trace.frame(-1).lines])

    def draw(self, frame):
        """One frame as SVG: the map, the losses, the scores."""
        figure, t, rows = self.trace.figure, frame.data["t"], frame.data["lanes"]
        lines = [line for text in (self.trace.note, LEGEND, *frame.lines) for line in wrapped(text, 670)]
        width, height = 2 * SIZE[0] + 10, SIZE[1] + 18 * len(lines) + 10
        words = joined(element("text", line, x=10, y=SIZE[1] + 14 + 18 * k, class_="small")
                       for k, line in enumerate(lines))
        curves = element("g", draw_curves(figure, rows, t), transform=f"translate({SIZE[0] + 10} 0)")
        return document(width, height, draw_map(figure, rows, t), curves, words, title=self.trace.title,
                        desc=" ".join((frame.text, *frame.lines)))


def _made(name, kind, params, settings):
    try:
        return kind(params, **settings)
    except TypeError as error:
        takes = list(inspect.signature(kind).parameters)[1:]
        raise ArgumentError(message(f"race: lane {name} cannot be made with these settings.",
                                    [("settings", spelled(settings) or "none"), ("it says", str(error).split("\n")[0])],
                                    f"its settings are {', '.join(takes) or 'none'}.")) from None


def arrival(lane, lowest):
    """The first step from which on a lane stays within 1 % of the start's height; None if there is none.

    A lane that gets there in its very last step has not stayed yet.
    """
    bound = lowest + NEAR * (lane.losses[0] - lowest)
    above = [k for k, v in enumerate(lane.losses) if not v <= bound]
    first = above[-1] + 1 if above else 0
    return first if first < len(lane.losses) - 1 and lane.diverged is None else None


def place_of(lane):
    """For sorting: who got there first; then whose loss is lowest."""
    return (lane.reached if lane.reached is not None else math.inf, not_less(lane.losses[-1]))


def not_less(loss):
    """NaN counts as the largest loss."""
    return math.inf if math.isnan(loss) else loss


def score(lane):
    """A lane's result in words."""
    if lane.diverged is not None:
        return f"diverged at step {lane.diverged}"
    if lane.reached is not None:
        return f"there after {lane.reached} steps and {lane.calls[lane.reached]} gradients"
    return f"not there after {len(lane.points) - 1} steps, loss {number(lane.losses[-1])}"


def spoken(pair):
    """Two numbers as a place.

    >>> spoken([1.0, -0.25])
    '(1, −0.25)'
    """
    return f"({', '.join(map(number, pair))})"


def sentence_of(name, row):
    """All that is on the screen about a lane at one step: its update in numbers."""
    if row["slope"] is None:
        return f"{name}: starts at {spoken(row['place'])}, loss {number(row['loss'])}."
    state = "".join(f", {key} {spoken(v) if isinstance(v, list) else number(v)}" for key, v in row["state"].items())
    fate = f" {row['fate'].capitalize()}." if row["fate"] else ""
    return (f"{name}: gradient {spoken(row['slope'])}{state}; moved by {spoken(row['moved'])} to "
            f"{spoken(row['place'])}, loss {number(row['loss'])}, {row['calls']} gradients so far.{fate}")


def wrapped(text, width):
    """A text in lines of at most `width` px."""
    lines = [""]
    for word in text.split():
        if text_width(f"{lines[-1]} {word}", SMALL) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


# ---------------------------------------------------------------------- places in px
def heights(land, steps=61):
    """The surface on a grid: x (steps,), y (steps,), loss (steps, steps).

    Raises:
        ShapeError: the loss is not computed entry by entry.
    """
    x, y = np.linspace(*land.x, steps), np.linspace(*land.y, steps)
    across, up = np.meshgrid(x, y)
    with no_grad(), np.errstate(all="ignore"):
        height = land.loss(Tensor(across), Tensor(up)).host_array()
    if height.shape != across.shape:
        raise ShapeError(message("race: the loss must be computed entry by entry.",
                                 [("inputs", across.shape), ("loss", height.shape)], "leave out .sum() and .mean()."))
    return x, y, height


def contours(land):
    """The parts of the map above 12 levels as SVG paths in px; each level lies above an equal part of the map."""
    try:
        from contourpy import contour_generator
    except ImportError:
        raise ImportError('the map needs contourpy, which matplotlib brings: pip install "minidl[lab]"') from None
    x, y, height = heights(land, CELLS)
    masked = np.ma.masked_invalid(height)
    if masked.count() == 0:
        raise ArgumentError(message("race: the loss is not finite anywhere on the map.", [("x", land.x), ("y", land.y)],
                                    "give the ends of the map, x= and y=."))
    levels = np.unique(np.quantile(masked.compressed(), np.linspace(0.03, 0.95, LEVELS)))
    lines = contour_generator(*map_px(land, x, y), masked, fill_type="OuterOffset")
    top = float(masked.max()) + 1.0
    return ["".join(path(corners(np.round(points[a:b - 1], 1)).tolist(), closed=True)
                    for points, offsets in zip(*lines.filled(level, top)) for a, b in zip(offsets, offsets[1:]))
            for level in levels]


def corners(points):
    """A closed line, (N, 2), without the points that its neighbours' straight line goes through anyway."""
    points = points[(points != np.roll(points, -1, axis=0)).any(axis=1) | (np.arange(len(points)) == len(points) - 1)]
    (a, b), (c, d) = (points - np.roll(points, 1, axis=0)).T, (np.roll(points, -1, axis=0) - points).T
    between = (np.abs(a * d - b * c) < 1e-6) & (a * c + b * d > 0)
    return points[~between]


def map_px(land, x, y):
    """Places on the map in px."""
    (x0, x1), (y0, y1) = land.x, land.y
    return (MAP["left"] + (np.asarray(x) - x0) / (x1 - x0) * MAP["width"],
            MAP["top"] + (y1 - np.asarray(y)) / (y1 - y0) * MAP["height"])


def clamp(value, low, high):
    """A number kept between two others; NaN becomes the higher."""
    return high if math.isnan(value) else min(max(value, low), high)


class Chart:
    """Where things stand on the map and in the plot of the losses."""

    def __init__(self, land, lanes, lowest):
        self.land, self.lowest = land, lowest
        self.steps = max(len(lane.points) for lane in lanes) - 1
        above = [v - lowest for lane in lanes for v in lane.losses if math.isfinite(v)]
        self.top = max(lanes[0].losses[0] - lowest, 1e-12)          # the height of the start
        self.high = self.top * (20 if max(above) > 1.5 * self.top else 1.6)
        self.low = min(max(min(above), 1e-5 * self.top), 0.5 * NEAR * self.top)
        self.longest = {id(lane): self._longest(lane) for lane in lanes}
        powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        self.ticks = [[self.level(10.0**p), number(10.0**p)] for p in powers][::max(1, len(powers) // 5)]

    def _longest(self, lane):
        arrows = [math.hypot(*a) for state in lane.states if (a := _pick(state, momentum=True)) is not None]
        return max([a for a in arrows if math.isfinite(a)], default=0.0)

    def on_map(self, place):
        x, y = map_px(self.land, *place)
        return [round(clamp(float(x), -1e4, 1e4), 1), round(clamp(float(y), -1e4, 1e4), 1)]

    def inside(self, place):
        (x0, x1), (y0, y1) = self.land.x, self.land.y
        return x0 <= place[0] <= x1 and y0 <= place[1] <= y1

    def clipped(self, place):
        """The place on the map, or the nearest on its rim."""
        x, y = self.on_map(place)
        return [clamp(x, MAP["left"], MAP["left"] + MAP["width"]), clamp(y, MAP["top"], MAP["top"] + MAP["height"])]

    def level(self, height):
        """The y of a height above the lowest loss; the plot is logarithmic, its ends clip."""
        share = math.log(clamp(height, self.low, self.high) / self.low) / math.log(self.high / self.low)
        return round(PLOT["top"] + (1 - share) * PLOT["height"], 1)

    def curve_point(self, k, loss):
        return [round(PLOT["left"] + k / max(self.steps, 1) * PLOT["width"], 1), self.level(loss - self.lowest)]

    def map_path(self, lane):
        return [self.on_map(p) for p in lane.points if all(map(math.isfinite, p))]

    def curve(self, lane):
        return [self.curve_point(k, v) for k, v in enumerate(lane.losses)]

    def arrow(self, lane, k):
        """Where a remembered direction will push: against it, 34 px for the longest of the run."""
        m, longest = _pick(lane.states[k], momentum=True), self.longest[id(lane)]
        if m is None or not longest or not all(map(math.isfinite, m)):
            return None
        return [round(-34 * m[0] / longest, 1), round(34 * m[1] / longest, 1)]

    def box(self, lane, k):
        """Half the sides of the adaptive step: each 1/sqrt of what is remembered of squares, 15 px the longer."""
        squares = _pick(lane.states[k], momentum=False)
        if squares is None or not all(math.isfinite(v) and v > 0 for v in squares):
            return None
        sides = [v**-0.5 for v in squares]
        return [round(max(15 * side / max(sides), 1.0), 1) for side in sides]


def _pick(state, momentum):
    """The first pair that an optimiser remembers of directions (momentum) or of squares; told by its name."""
    for name, value in state.items():
        squares = any(part in name for part in ("sq", "sum", "var"))
        if isinstance(value, list) and len(value) == 2 and squares != momentum:
            return value
    return None


def spread(rows, at):
    """Labels at the ends of lines, moved apart to 14 px: row["tag_y"], row["end_y"]."""
    box = MAP if at == "tag" else PLOT
    order = sorted(range(len(rows)), key=lambda k: (rows[k][at][1], k))
    free = box["top"] + 6
    for place, k in enumerate(order):
        still = 14 * (len(order) - place - 1)
        wanted = min(rows[k][at][1], box["top"] + box["height"] - 4 - still)
        rows[k][f"{at}_y"] = free = max(wanted, free)
        free += 14


# ---------------------------------------------------------------------- the twin's picture
def _look(k):
    return dict(style=f"stroke: var(--md-lane-{k})", stroke_width=2.2, fill="none", stroke_dasharray=DASHES[k] or None)


def _halo(text, x, y, **more):
    return element("text", text, x=x, y=y, class_="small bold", dominant_baseline="central",
                   style="paint-order: stroke; stroke: var(--md-paper); stroke-width: 3px", **more)


def draw_map(figure, rows, t):
    """The map with the paths up to step t."""
    inside = dict(x=MAP["left"], y=MAP["top"], width=MAP["width"], height=MAP["height"])
    clip = element("clipPath", element("rect", **inside), id="md-race-map")
    ground = joined(element("path", d=d, fill_rule="evenodd", style="fill: var(--md-ink); stroke: var(--md-ink)",
                            fill_opacity=0.045, stroke_opacity=0.22, stroke_width=0.6) for d in figure["ground"])
    paths, marks = [], []
    for k, (lane, row) in enumerate(zip(figure["lanes"], rows)):
        d = path(lane["map"][:t + 1])
        paths += [element("path", d=d, style="stroke: var(--md-paper)", stroke_width=4.5, fill="none"),
                  element("path", d=d, **_look(k))]
        marks.append(_end_of_lane(lane["name"], row, k))
    x, y = figure["start"]
    start = joined([element("path", d=path([(x - 7, y), (x, y - 7), (x + 7, y), (x, y + 7)], closed=True),
                            class_="outline"), _halo("start", x - 10, y - 13)])
    (x0, x1), (y0, y1) = figure["x"], figure["y"]
    low, right = MAP["top"] + MAP["height"], MAP["left"] + MAP["width"]
    axes = joined(element("text", text, x=a, y=b, class_="small muted", text_anchor=anchor) for text, a, b, anchor in (
        (number(x0), MAP["left"], low + 15, "start"), ("x", MAP["left"] + MAP["width"] / 2, low + 15, "middle"),
        (number(x1), right, low + 15, "end"), (number(y0), MAP["left"] - 5, low, "end"),
        ("y", MAP["left"] - 8, MAP["top"] + MAP["height"] / 2, "end"),
        (number(y1), MAP["left"] - 5, MAP["top"] + 9, "end")))
    return joined([element("defs", clip), element("rect", **inside, class_="rule"),
                   element("g", ground, joined(paths), clip_path="url(#md-race-map)"), start, joined(marks), axes])


def _end_of_lane(name, row, k):
    """The end of a path: its dot, its momentum, its adaptive step, its label."""
    x, y = row["tag"]
    parts = []
    if row["fate"] in ("off the map", "diverged"):
        parts.append(_halo(BROKEN_MARK if row["fate"] == "diverged" else ABOVE, x - 4, y))
    else:
        if row["box"]:
            (a, b), line = row["box"], f"stroke: var(--md-lane-{k})"
            parts.append(element("rect", x=x - a, y=y - b, width=2 * a, height=2 * b, style=line, fill="none"))
        if row["arrow"]:
            tip = (x + row["arrow"][0], y + row["arrow"][1])
            parts += [element("path", d=path([(x, y), tip]), style="stroke: var(--md-ink)", stroke_width=1.6),
                      arrow_head(*tip, math.atan2(row["arrow"][1], row["arrow"][0]), 6, style="fill: var(--md-ink)")]
        parts.append(element("circle", cx=x, cy=y, r=4, style=f"fill: var(--md-lane-{k}); stroke: var(--md-paper)"))
    label = f"{name} {row['fate']}" if row["fate"] in ("off the map", "diverged") else name
    left = x > MAP["left"] + MAP["width"] - text_width(label, SMALL) - 24
    at, line = (x - 18 if left else x + 18), row["tag_y"]
    parts += [element("path", d=path([(x, y), (at + (3 if left else -3), line)]), style="stroke: var(--md-ink)",
                      stroke_width=0.7),
              _halo(label, at, line, text_anchor="end" if left else "start")]
    return joined(parts)


def draw_curves(figure, rows, t):
    """The losses above the lowest up to step t, on a logarithmic scale."""
    right, low = PLOT["left"] + PLOT["width"], PLOT["top"] + PLOT["height"]
    rules = [joined([element("path", d=path([(PLOT["left"], y), (right, y)]), class_="rule"),
                     element("text", text, x=PLOT["left"] - 5, y=y + 4, class_="small muted", text_anchor="end")])
             for y, text in figure["ticks"]]
    rules.append(element("path", d=path([(PLOT["left"], figure["near"]), (right, figure["near"])]), class_="absent"))
    lines = []
    for k, (lane, row) in enumerate(zip(figure["lanes"], rows)):
        x, y = row["end"]
        lines += [element("path", d=path(lane["curve"][:t + 1]), **_look(k)),
                  element("path", d=path([(x, y), (x + 9, row["end_y"])]), style="stroke: var(--md-ink)",
                          stroke_width=0.7),
                  _halo(shortened(f"{curve_mark(row, y)}{lane['name']}", 90, SMALL), x + 12, row["end_y"])]
    words = [element("text", text, x=x, y=low + 15, class_="small muted", text_anchor=anchor) for text, x, anchor in (
        ("0", PLOT["left"], "middle"), ("step; loss above the lowest", PLOT["left"] + PLOT["width"] / 2, "middle"),
        (str(figure["last"]), right, "middle"))]
    words.append(element("text", "1 % of the start", x=PLOT["left"] + 4, y=figure["near"] - 4, class_="small muted",
                         style="paint-order: stroke; stroke: var(--md-paper); stroke-width: 3px"))
    return joined([*rules, *lines, *words])


def curve_mark(row, y):
    """What is put before a label whose line was clipped or has ended."""
    return f"{BROKEN_MARK} " if row["fate"] == "diverged" else f"{ABOVE} " if y <= PLOT["top"] else ""
