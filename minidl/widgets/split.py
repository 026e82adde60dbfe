"""Split screen: one function, on the left as it runs, on the right as it is written down, on one clock.

    split_screen(f, x)                       line by line; then the second call, and a question about a third
    split_screen(train_step, x, y)           with backward and the optimiser; the model is put back afterwards

Left, each line has values. Right, md.compile runs the same lines once on symbols, which have a shape and no numbers.
Where the two part, at an `if` on a value or at a print, it stops and explains. The second call runs no line of the
function any more: the program that was written down replays. Times are measured: from which call on does recording
pay? Then the question: another call, hit or retrace?
"""
import ast
import contextlib
import io
import math
import time
from dataclasses import replace

import numpy as np
import traitlets as tr

from .. import graph
from ..creation import ones
from ..errors import ArgumentError, TraceError, first_line, message
from ..func.trees import leaves
from ..graph.compile import Compiled
from ..tensor import Tensor
from ..viz.graphview import cut
from ..viz.svg import document, element
from ..viz.theme import number
from .following import Kept, follow, source_of
from .trace import Frame, Trace
from .widget import Widget

ROW, WIDE, PANE, LETTER = 17, 720, 356, 7.4      # px: a row of text, the picture, one pane, a letter
ENOUGH = 0.3                           # seconds that are spent on measuring one side
SHOWN, OF_TEXT = 14, 8                 # the last rows of a pane: those drawn, those in the text view
DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def split_screen(fn, *args, other=None, guess=""):
    """A SplitScreen.

    Args:
        fn: a function or Module that takes and returns tensors; or what md.compile made of one.
        args: of its call. Everything that it changes in modules, tensors and optimisers is put back.
        other: the arguments of another call: a shape for each tensor, such as "(5, 3)" or "float64(5, 3)".
        guess: "hit" or "retrace".

    Raises:
        ArgumentError: the source of the function is not to be had.
    """
    fn = fn.fn if isinstance(fn, Compiled) else fn
    return SplitScreen(fn, args, other=suggested(args) if other is None else other, guess=guess)


def suggested(args):
    """Another call to ask about: the same, with one row more."""
    parts = []
    for x in args:
        if isinstance(x, Tensor):
            parts.append(repr((x.shape[0] + 1, *x.shape[1:]) if x.shape else ()))
        else:
            parts.append(repr(x))
    return ", ".join(parts)


class SplitScreen(Widget):
    """A function run, and written down, on one clock.

    Attributes:
        fn, args: what is called.
        other: the arguments of another call, as text.
        guess: "", "hit" or "retrace".
    """

    scripts = ("split",)
    controls = ("other", "guess")
    other = tr.Unicode("").tag(sync=True)
    guess = tr.Enum(["", "hit", "retrace"], "").tag(sync=True)

    def __init__(self, fn, args, **controls):
        self.fn, self.args, self._cost = fn, args, None
        self.code, self.first_line = source_of(fn)
        super().__init__(**controls)

    def record(self):
        """Both runs, the second call and the question, as a Trace."""
        kept = Kept(self.fn, self.args)
        try:
            return self._recorded(kept)
        finally:
            kept.put_back()

    def _recorded(self, kept):
        before = kept.outside()
        left = follow(self.fn, lambda: self.fn(*self.args), kept.tensors)
        left_result, changed = _copied(left.result), _news(before, kept.outside())
        kept.put_back()
        compiled = graph.compile(self.fn)
        right = follow(self.fn, lambda: compiled(*self.args), kept.tensors)
        story = Story(self, left, right)
        frames = list(story.lines())
        if right.error is None and left.error is None:
            frames.append(story.written(compiled, _difference(left_result, right.result)))
            frames += self._again(story, compiled, kept, changed)
            frames += self._paid(story, compiled)
            frames += self._asked(story, compiled)
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        note = "Left of the clock it runs, right of it is written down. What it changed has been put back."
        figure = {"cost": self._cost, "code": self.code, "first": self.first_line, "left": story.left,
                  "right": story.right, "program": story.program}
        return Trace(frames, f"{name}, dynamic and static", figure, note)

    def _again(self, story, compiled, kept, changed):
        """The calls after the first, until one replays."""
        for call in range(2, 5):
            recorded, before = compiled.count, kept.outside()
            run = follow(self.fn, lambda: compiled(*self.args), kept.tensors)
            anew = compiled.count > recorded
            yield story.replayed(call, run, compiled, anew, changed, _news(before, kept.outside()))
            if not anew or run.error is not None:
                return

    def _paid(self, story, compiled):
        """What recording costs, and from which call on it pays; measured once, so that the answer stays."""
        if story.runs[1].error is None and self._cost is None:
            fresh = graph.compile(self.fn)
            with contextlib.redirect_stdout(io.StringIO()):
                first = clocked(lambda: fresh(*self.args), 1)
                self._cost = [clocked(lambda: self.fn(*self.args)), first, clocked(lambda: compiled(*self.args))]
        yield story.cost(*self._cost)

    def _asked(self, story, compiled):
        """Another call: the question, then the answer."""
        if not self.other.strip():
            return
        args = read_call(self.other, self.args)
        run, reasons = compiled._found((args, {}), leaves((args, {})))
        shown = ", ".join(_kind(x) for x in args)
        yield story.question(shown, self.guess)
        yield story.answer(shown, run is not None, reasons, self.guess)

    def describe(self):
        """The whole run in words, then all that stood in the panes."""
        figure = self.trace.figure
        rows = [f"{name}, line {n - figure['first'] + 1}: {text}"
                for name, side in (("Left", "left"), ("Right", "right")) for n, _, text in figure[side]]
        return "\n".join([self.trace.describe(), *rows, *(f"Program: {line}" for line in figure["program"])])

    def draw(self, frame):
        """One frame as SVG: the code, then both panes."""
        return picture_of(self.trace.figure, frame)


def clocked(call, times=5):
    """Seconds of a call, the shortest of several."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
        if sum(found) > ENOUGH:
            break
    return min(found)


def pays_from(dynamic, first, replay):
    """The first call at which recording once and replaying has taken no longer in all; None if that never comes.

    `first + (n - 1) * replay <= n * dynamic`, solved for n.

    >>> pays_from(3.0, 10.0, 1.0), pays_from(1.0, 10.0, 1.0)
    (5, None)
    """
    if first <= dynamic:
        return 1
    return max(1, math.ceil((first - replay) / (dynamic - replay))) if dynamic > replay else None


def _kind(x):
    return f"{x.dtype} {x.shape}" if isinstance(x, Tensor) else repr(x)


def _copied(result):
    return [x.host_array().copy() for x in leaves(result) if isinstance(x, Tensor)]


def _difference(arrays, result):
    """The largest |difference| between the results of both sides; NaN beside NaN is none."""
    others = _copied(result)
    if [a.shape for a in arrays] != [b.shape for b in others]:
        return float("nan")
    gaps = [np.abs(np.where((a == b) | ((a != a) & (b != b)), 0.0, a.astype(float) - b.astype(float)))
            for a, b in zip(arrays, others) if a.size]
    return float(max((gap.max() for gap in gaps), default=0.0))


def _news(before, after):
    return {name: (before[name], after[name]) for name in before if name in after and before[name] != after[name]}


# ---------------------------------------------------------------------- another call
def read_call(text, args):
    """The arguments that "(5, 3), float64(3,), True" stands for: tensors of ones where `args` has tensors.

    Raises:
        ArgumentError: it cannot be read, or has another number of arguments.
    """
    try:
        parts = ast.parse(f"[{text}]", mode="eval").body.elts
        found = [_argument(part, like) for part, like in zip(parts, args, strict=True)]
    except (SyntaxError, ValueError, TypeError, AttributeError, MemoryError, RecursionError):
        raise ArgumentError(message("split_screen: this is not another call.",
                                    [("got", text), ("arguments", len(args))],
                                    f"{suggested(args)}: a shape for each tensor.")) from None
    return tuple(found)


def _argument(node, like):
    if not isinstance(like, Tensor):
        return ast.literal_eval(node)
    dtype = like.dtype
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DTYPES:
        dtype = np.dtype(node.func.id)
        node = ast.Tuple(node.args)
    shape = tuple(ast.literal_eval(part) for part in node.elts)
    if not all(type(n) is int and 0 <= n for n in shape) or np.prod(shape, dtype=float) > 1e7:
        raise ValueError(shape)
    return ones(shape, dtype=dtype, requires_grad=like.requires_grad and dtype.kind == "f")


# ---------------------------------------------------------------------- the story of both sides
class Story:
    """The frames, and the rows that the panes have at each."""

    def __init__(self, widget, left, right):
        self.widget, self.runs = widget, (left, right)
        self.left, self.right, self.program = [], [], []

    def text(self, line):
        """The source of a line."""
        return self.widget.code[line - self.widget.first_line].strip()

    def lines(self):
        """A frame for each line, as long as both sides go the same way; then what each does alone."""
        left, right = self.runs
        parted = False
        for k in range(max(len(left.lines), len(right.lines))):
            a, b = (run.lines[k] if k < len(run.lines) else None for run in self.runs)
            for rows, line in ((self.left, a), (self.right, b)):
                if line is not None:
                    rows += [[line.number, *row] for row in line.rows] or [[line.number, "name", "no tensor is made"]]
            yield self._line(a, b, parted, right.error if b is not None and b is right.lines[-1] else None)
            parted = parted or a is None or b is None or a.number != b.number or self._fails(b)
        if left.cut:
            yield self.frame("run", "The run goes on; no more lines are followed.", left.lines[-1].number)

    def _fails(self, line):
        return any(kind == "error" for kind, _ in line.rows)

    def _line(self, a, b, parted, error):
        line = (a or b).number
        here = f"Line {line - self.widget.first_line + 1}, `{self.text(line)}`"
        if error is not None and a is not None and a.number == b.number and not self._fails(a):
            return self.frame("part", f"{here}. Here they part. {_why(a, error)}", line, right="stopped")
        if a is not None and self._fails(a):
            return self.frame("error", f"{here}. The function itself raises: {a.rows[-1][1]}", line, "stopped")
        if parted or b is None:
            return self.frame("alone", f"{here}. Left goes on alone: {_told(a)}.", line, right="stopped")
        if a is None or a.number != b.number:
            other = "ends" if a is None else f"goes to line {a.number - self.widget.first_line + 1}"
            return self.frame("part", f"{here}. Here they part: left {other}. Something outside of the tensors decided "
                                  "differently.", line)
        return self.frame("run", f"{here}. Left: {_told(a)}. Right: {_told(b)}.", line, right="records")

    def written(self, compiled, gap):
        """The graph is there."""
        full, best = compiled.last.full, compiled.graph
        self.program = compiled.source.rstrip().splitlines()
        same = "the same numbers" if gap == 0 else f"numbers that differ by {number(gap)} at most"
        return self.frame("written down", f"Written down: {_steps(full)}; {_steps(best)} after the passes. "
                                          f"The program ran once and gave {same}.", None, "done", "program")

    def replayed(self, call, run, compiled, anew, changed, now):
        """A later call with the same arguments."""
        printed = [t for _, kind, t in self.left if kind == "print"]
        if anew:
            reasons = compiled.log[-1][-1] or [compiled.last.once]
            self.program = compiled.source.rstrip().splitlines()
            text = f"Call {call}: recorded anew, because {reasons[0]}."
        else:
            text = (f"Call {call}, same arguments: no line of the function runs ({run.entered} times entered). The "
                    f"program replays: {_steps(compiled.graph)}.")
        if printed and not anew:
            text += f" Nothing is printed: {printed[0].removeprefix('prints ')!r} was said while recording."
        for name, (old, new) in changed.items():
            if name not in now and not anew:
                text += f" {name} stays as it is; each dynamic call changes it, the first from {old} to {new}."
        return self.frame("second call", text, None, "not run", "replays")

    def cost(self, dynamic, first, replay):
        """Measured times, and when recording pays."""
        pays = pays_from(dynamic, first, replay)
        when = f"Recording pays from call {pays} on." if pays else "A replay is no faster here: recording never pays."
        text = (f"Measured here: a dynamic call takes {_seconds(dynamic)}; the first static call, which records, "
                f"{_seconds(first)}; a replay {_seconds(replay)}. {when}")
        frame = self.frame("cost", text, None, "runs", "replays")
        return replace(frame, data={**frame.data, "calls": pays or 1000})

    def question(self, shown, guess):
        """Hit or retrace?"""
        ask = f"You say: {guess}." if guess else "Choose before you step on."
        return self.frame("hit or retrace", f"Another call: {shown}. Does the program fit (hit), or is the function "
                                             f"recorded anew (retrace)? {ask}", None, "not run", "asked")

    def answer(self, shown, hit, reasons, guess):
        """The answer, with the reason."""
        verdict = "" if not guess else "Right. " if (guess == "hit") == hit else "Not so. "
        what = "Hit: the program fits." if hit else f"Retrace, because {reasons[0] if reasons else 'it is new'}."
        return self.frame("hit or retrace", f"{verdict}{what}", None, "not run", "hit" if hit else "retrace")

    def frame(self, phase, text, line, left="runs", right="stopped"):
        """A Frame with as many rows in each pane as there are by now."""
        return Frame(phase, text, {"line": line, "rows": [len(self.left), len(self.right)], "states": [left, right]},
                     tuple(self._said()))

    def _said(self):
        for name, rows in (("Left", self.left), ("Right", self.right)):
            yield from (f"{name}, line {n - self.widget.first_line + 1}: {text}" for n, _, text in rows[-OF_TEXT:])
        yield from (f"Program: {line}" for line in self.program[:2 * SHOWN])


def _steps(graph):
    return f"{len(graph.steps)} step{'s' * (len(graph.steps) != 1)}"


def _seconds(s):
    return f"{number(s * 1000)} ms" if s < 1 else f"{number(s)} s"


def _told(line):
    """What a line did, in a few words."""
    texts = [text for kind, text in line.rows if kind != "broken"]
    broken = [text for kind, text in line.rows if kind == "broken"]
    return "; ".join(texts[-2:] + broken) if texts else "no tensor is made"


def _why(line, error):
    """Why the right side stops where the left one goes on."""
    if not isinstance(error, TraceError):
        return f"Only the right side raises: {type(error).__name__}: {first_line(error)}"
    facts = [part.strip() for part in str(error).splitlines()]
    made = next((part.split(None, 2)[-1] for part in facts if part.startswith("made by")), "")
    advice = next((part for part in facts if part.startswith("Try:")), "")
    values = [text for kind, text in line.rows if kind in ("op", "print")]
    has = f"Left knows the value ({values[-1]})." if values else "Left has numbers."
    which = f" made by {made}" if made else ""
    return f"{has} Right has a symbol{which}, which stands for every value, and cannot say what it is. {advice}"


# ---------------------------------------------------------------------- the picture
SAYS = {"runs": "runs now", "stopped": "stopped", "records": "records symbols", "done": "ran once",
        "program": "the program", "not run": "not needed", "replays": "replays the program", "asked": "hit or retrace?",
        "hit": "hit", "retrace": "retrace"}


def shown_rows(figure, frame, side):
    """(line or None, kind, text) of one pane: the last rows of its run, or the program once that is there."""
    if frame.data["states"][side] in ("program", "replays", "asked", "hit", "retrace") and side:
        return [[None, "program", line] for line in figure["program"]][:2 * SHOWN]
    rows = figure[("left", "right")[side]][:frame.data["rows"][side]]
    return rows[-SHOWN:]


def costs(cost, calls):
    """(name, seconds of so many calls, share of the longer one) of both sides."""
    dynamic, first, replay = cost
    both = [dynamic * calls, first + replay * (calls - 1)]
    return [(name, s, s / (max(both) or 1.0)) for name, s in zip(("dynamic", "static"), both)]


def picture_of(figure, frame):
    """The code above, both panes below, as SVG."""
    marks, y = [], 16
    for k, line in enumerate(figure["code"]):
        now = frame.data["line"] == figure["first"] + k
        if now:
            marks.append(element("rect", x=1, y=y - 12, width=WIDE - 2, height=ROW, class_="now"))
        marks.append(_line(f"{'▸' if now else ' '} {k + 1:>2}  {line}", 6, y, WIDE - 12, "bold" if now else ""))
        y += ROW
    y += 14
    panes = [shown_rows(figure, frame, side) for side in (0, 1)]
    height = max(map(len, panes)) * ROW + 34
    for side, (name, rows) in enumerate(zip(("dynamic", "static"), panes)):
        x = side * (WIDE - PANE)
        marks.append(element("rect", x=x + 1, y=y, width=PANE - 2, height=height, rx=5, class_="stroke",
                             stroke_dasharray="6 3" if side else None))
        marks.append(element("text", f"{name}: {SAYS[frame.data['states'][side]]}", x=x + 8, y=y + 18, class_="bold"))
        for k, (line, kind, text) in enumerate(rows):
            head = "" if line is None else f"{line - figure['first'] + 1:>2}  "
            mark = {"error": "✗ ", "print": "» ", "broken": "× "}.get(kind, "")
            marks.append(_line(head + mark + text, x + 8, y + 38 + k * ROW, PANE - 16,
                               "bold" if line == frame.data["line"] and line else ""))
    if "calls" in frame.data:
        y += 10
        for name, seconds, share in costs(figure["cost"], frame.data["calls"]):
            marks.append(element("text", f"{frame.data['calls']} calls, {name}: {_seconds(seconds)}", x=4,
                                 y=y + height + 12, class_="small"))
            marks.append(element("rect", x=300, y=y + height + 3, width=400 * share, height=10, class_="arrow"))
            y += ROW
    return document(WIDE, y + height + 4, *marks, title="dynamic and static", desc=frame.text)


def _line(text, x, y, width, look):
    return element("text", cut(text, int(width / LETTER)), x=x, y=y, class_=f"mono {look}", font_size=12,
                   style="white-space: pre")
