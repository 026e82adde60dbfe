"""A Trace is a run that has been written down: frames that can be looked at in any order and never change.

    frame(i)        what was to be seen at step i; asking again gives the same, so going back costs what going on costs
    phases          the chapters of the run, such as forward and backward
    json            all of it as one text, which is what a page gets

The frames are kept as text. So nothing that is done with a frame can change the record, and its size is known: a
trace that is too large for a page leaves out frames and says so.
"""
import json
import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import ArgumentError, message
from ..tensor import Tensor
from ..viz.theme import size_text

MOST = 200_000                         # bytes of a trace in a page
BROKEN = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class Frame:
    """What is to be seen at one step.

    Attributes:
        phase: the chapter that it belongs to, such as "forward".
        text: what happens, in one sentence.
        data: what the picture needs: dicts, lists, texts and numbers. Arrays and tensors become lists.
        lines: more sentences, for those who read instead of looking.
        step: which step of the run this is, counted from 1; also right where frames were left out.
    """

    phase: str
    text: str
    data: dict = field(default_factory=dict)
    lines: tuple = ()
    step: int = 0


@dataclass(frozen=True)
class Phase:
    """A chapter: the frames `start` up to, but without, `stop`."""

    name: str
    start: int
    stop: int


class Trace:
    """A run, frame by frame.

    Args:
        frames: Frames, or (phase, text, data) tuples, in order; at least one.
        title: what ran, in a few words.
        figure: what all frames share, such as the places of nodes: dicts, lists, texts and numbers.
        note: what has to be said about all of it.
        most: bytes; a longer trace leaves out frames.

    Raises:
        ArgumentError: there is no frame, something in it cannot be written down, or it is too large even so.

    >>> trace = Trace([("count", "One.", {"n": 1}), ("count", "Two.", {"n": 2}), ("end", "Done.", {})], "counting")
    >>> len(trace), trace.frame(1).data, trace.phases[0]
    (3, {'n': 2}, Phase(name='count', start=0, stop=2))
    >>> print(trace.describe())
    counting: 3 steps.
    Step 1 of 3, count. One.
    Step 2 of 3, count. Two.
    Step 3 of 3, end. Done.
    """

    __slots__ = ("_figure", "_frames", "heads", "left_out", "note", "phases", "steps", "title")

    def __init__(self, frames, title="", figure=None, note="", most=MOST):
        frames = [_numbered(frame, k) for k, frame in enumerate(frames, 1)]
        if not frames:
            raise ArgumentError(message("Trace: a run has at least one frame."))
        texts = [written(vars(frame)) for frame in frames]
        self._figure = written(figure or {})
        kept = _thinned(frames, texts, most - len(self._figure.encode()))
        self.title, self.steps, self.left_out = title, len(frames), len(frames) - len(kept)
        self.note = " ".join(part for part in (note, self._thinning(len(kept))) if part)
        self._frames = tuple(texts[k] for k in kept)
        self.heads = tuple((frames[k].phase, frames[k].text, frames[k].step) for k in kept)
        self.phases = _phases([phase for phase, _, _ in self.heads])

    def __setattr__(self, name, value):
        if hasattr(self, "phases"):                    # the last one to be set
            raise AttributeError("a Trace is a record; make a new one instead")
        object.__setattr__(self, name, value)

    def _thinning(self, kept):
        return "" if not self.left_out else f"{kept} of the {self.steps} steps are kept, to save room."

    # ------------------------------------------------------------------ frames
    def __len__(self):
        return len(self._frames)

    def frame(self, i):
        """Frame `i`, made anew at each call; negative numbers count from the end.

        Raises:
            ArgumentError: there is no such frame.
        """
        if not -len(self) <= i < len(self):
            raise ArgumentError(message("Trace: there is no such frame.", [("asked for", i), ("frames", len(self))],
                                        f"a number from 0 to {len(self) - 1}."))
        found = read(self._frames[i])
        return Frame(found["phase"], found["text"], found["data"], tuple(found["lines"]), found["step"])

    __getitem__ = frame

    def __iter__(self):
        return (self.frame(i) for i in range(len(self)))

    def __eq__(self, other):
        return isinstance(other, Trace) and self.json == other.json

    def __hash__(self):
        return hash(self._frames)

    @property
    def figure(self):
        """What all frames share, made anew at each call."""
        return read(self._figure)

    def phase(self, i):
        """The Phase that frame `i` belongs to."""
        return next(phase for phase in self.phases if phase.start <= i < phase.stop)

    # ------------------------------------------------------------------ as text
    @property
    def json(self):
        """All of it as JSON; a NaN is {"$": "nan"}, an infinity {"$": "inf"} or {"$": "-inf"}."""
        head = json.dumps({"title": self.title, "note": self.note, "steps": self.steps}, ensure_ascii=False)
        return f'{head[:-1]}, "figure": {self._figure}, "frames": [{", ".join(self._frames)}]}}'

    def sentence(self, i):
        """Frame `i` in one line: `Step 2 of 3, count. Two.`"""
        phase, text, step = self.heads[i]
        if self.steps == 1:
            return text
        return f"Step {step} of {self.steps}{', ' if phase else ''}{phase}. {text}"

    def describe(self):
        """The whole run in words, a line a frame."""
        head = f"{self.title}: {self.steps} step{'s' * (self.steps != 1)}." if self.steps > 1 else f"{self.title}."
        more = self.frame(0).lines if self.steps == 1 else ()
        return "\n".join([head, *([self.note] if self.note else []), *map(self.sentence, range(len(self))), *more])

    def __repr__(self):
        return f"<Trace {self.title!r}: {len(self)} frames, {size_text(len(self.json.encode()))}>"


def _numbered(frame, step):
    frame = frame if isinstance(frame, Frame) else Frame(*frame)
    return Frame(frame.phase, frame.text, frame.data, tuple(frame.lines), step)


def _phases(names):
    starts = [k for k, name in enumerate(names) if k == 0 or name != names[k - 1]]
    return tuple(Phase(names[a], a, b) for a, b in zip(starts, [*starts[1:], len(names)]))


def _thinned(frames, texts, room):
    """Which frames to keep so that their texts fit: the ends of each phase always, of the others evenly many."""
    sizes = [len(text.encode()) + 2 for text in texts]
    everything = range(len(frames))
    if sum(sizes) <= room:
        return list(everything)
    ends = {k for phase in _phases([frame.phase for frame in frames]) for k in (phase.start, phase.stop - 1)}
    stride = 2
    while stride <= 2 * len(frames):
        kept = [k for k in everything if k in ends or k % stride == 0]
        if sum(sizes[k] for k in kept) <= room:
            return kept
        stride += 1 + stride // 4
    raise ArgumentError(message("Trace: this run is too large for a page.",
                                [("frames", len(frames)), ("bytes", sum(sizes)), ("room", room)],
                                "record less in each frame; round arrays, or give their range."))


# ---------------------------------------------------------------------- values as JSON
def written(value):
    """A value as JSON text.

    >>> written({"x": np.float32(0.5), "y": [1, np.nan]})
    '{"x": 0.5, "y": [1, {"$": "nan"}]}'
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def read(text):
    """The value of a JSON text that `written` made."""
    return json.loads(text, object_hook=lambda d: BROKEN[d["$"]] if d.keys() == {"$"} else d)


def rounded(array, digits=4):
    """An array as lists with few significant digits; what is drawn as a shade needs no more."""
    array = array.host_array() if isinstance(array, Tensor) else np.asarray(array)
    if array.dtype.kind != "f":
        return array.tolist()
    if array.ndim:
        return [rounded(part, digits) for part in array]
    return float(f"{array:.{digits}g}")


def _plain(value):
    if isinstance(value, Tensor):
        value = value.host_array()
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$": str(value)}
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [_plain(one) for one in value]
    raise ArgumentError(message("Trace: a frame holds dicts, lists, texts, numbers and arrays only.",
                                [("got", type(value).__name__)], "write down what the picture needs of it."))
