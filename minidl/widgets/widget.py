"""The base of all widgets: a Trace, a place in it, and what makes a new Trace when the learner changes something.

    record()      the one method a widget must have: its controls in, a Trace out
    draw(frame)   the picture of one frame as SVG, for where no page is alive

Everything else follows: steps in both directions, words, the picture without a kernel, and the page's side, whose
frame player is static/core.js. A widget is one file here and one JavaScript file of the same name in static/.
"""
import contextlib
from pathlib import Path
from typing import ClassVar

from ..errors import ArgumentError, MinidlError, message
from ..viz import theme
from .trace import Trace

try:
    import traitlets as tr
except ImportError:
    raise ImportError('widgets need traitlets: pip install "minidl[lab]"') from None
try:
    from anywidget import AnyWidget
except ImportError:                                 # a lesson goes on all the same
    from .still import Still as AnyWidget  # type: ignore[assignment]

STATIC = Path(__file__).parent / "static"
VIEW = "application/vnd.jupyter.widget-view+json"


def page_code(*names):
    """The JavaScript module of a widget: the core and its own files, one behind the other."""
    return "\n".join((STATIC / f"{name}.js").read_text(encoding="utf-8") for name in ("core", *names))


def style_sheet(*names):
    """The style sheet of a widget: theme, core, and its own file where there is one."""
    files = [STATIC / f"{name}.css" for name in ("core", *names)]
    own = [file.read_text(encoding="utf-8") for file in files if file.exists()]
    return "\n".join([theme.css(".minidl-live"), *own])


class Widget(AnyWidget):
    """What all widgets have in common.

    A subclass sets `scripts` and `controls`, defines the controls as traits, and writes `record` and `draw`.

    Attributes:
        trace: the Trace that is shown.
        index: which frame, from 0.
        playing: whether the page moves on by itself.
        speed: of playing; 1 is a step every 1.2 s.
        error: what was wrong with the last change; "" if nothing.
        scripts: names of files in static/ that the page needs on top of the core, without ".js".
        controls: names of the traits a change of which makes a new trace.
    """

    scripts: ClassVar[tuple] = ()
    controls: ClassVar[tuple] = ()

    trace = tr.Instance(Trace, allow_none=True).tag(sync=True, to_json=lambda trace, _: trace.json if trace else "")
    index = tr.Int(0).tag(sync=True)
    playing = tr.Bool(False).tag(sync=True)
    speed = tr.Float(1.0, min=0.25, max=4.0).tag(sync=True)
    error = tr.Unicode("").tag(sync=True)
    request = tr.Int(0).tag(sync=True)             # the page counts its changes, and
    answer = tr.Int(0).tag(sync=True)              # this says which of them the trace belongs to

    def __init_subclass__(cls, **kwargs):
        if "scripts" in cls.__dict__:
            cls._esm, cls._css = page_code(*cls.scripts), style_sheet(*cls.scripts)
        super().__init_subclass__(**kwargs)

    def __init__(self, **controls):
        self._held = True                           # controls are not all there yet
        super().__init__(**controls)
        self._held = self._changed = False
        try:
            self.recompute()
        except Exception:
            self.close()                            # a widget without a trace is of no use to anybody
            raise
        if self.controls:
            self.observe(self._control_changed, list(self.controls))

    # ------------------------------------------------------------------ what a widget has to say
    def record(self):
        """The Trace for the controls as they are now. It only reads them; what it raises is shown as the error."""
        raise NotImplementedError

    def draw(self, frame):
        """The picture of one Frame as viz.svg Markup, a whole `document`."""
        raise NotImplementedError

    # ------------------------------------------------------------------ a step in Python
    @property
    def frame(self):
        """The Frame that is shown."""
        return self.trace.frame(self.index)

    def seek(self, i):
        """Go to frame `i`; beyond the ends it stays at the end. Returns the Frame."""
        self.index = min(max(int(i), 0), len(self.trace) - 1)
        return self.frame

    def first(self):
        """Go to the first frame."""
        return self.seek(0)

    def last(self):
        """Go to the last frame."""
        return self.seek(len(self.trace) - 1)

    def forward(self):
        """One step on."""
        return self.seek(self.index + 1)

    def back(self):
        """One step back."""
        return self.seek(self.index - 1)

    def next_phase(self):
        """Go to the start of the next phase; in the last one, to its end."""
        return self.seek(self.trace.phase(self.index).stop)

    def previous_phase(self):
        """Go to the start of this phase; from there, to that of the one before."""
        here = self.trace.phase(self.index)
        return self.seek(here.start if self.index > here.start else self.trace.phase(max(here.start - 1, 0)).start)

    def play(self):
        """Let the page move on by itself; from the end, from the start on."""
        if self.index == len(self.trace) - 1:
            self.first()
        self.playing = len(self.trace) > 1
        return self.frame

    def pause(self):
        """Stop moving on."""
        self.playing = False
        return self.frame

    @tr.validate("index")
    def _within(self, proposal):
        """An index that the page or a person gives; the page may be a trace behind."""
        return min(max(proposal["value"], 0), len(self.trace) - 1) if self.trace else 0

    # ------------------------------------------------------------------ a change and what comes of it
    def recompute(self):
        """Record anew and show it. Returns the Trace; raises what `record` raises."""
        trace = self.record()
        with self.hold_sync():
            self.error, self.trace = "", trace
            self.playing = False
            self.index = min(self.index, len(trace) - 1)
        return trace

    def edit(self, **controls):
        """Change several controls at once, as the page does; a mistake becomes the `error`.

        Raises:
            ArgumentError: there is no such control.
        """
        unknown = set(controls) - set(self.controls)
        if unknown:
            raise ArgumentError(message(f"{type(self).__name__}: there is no control called {min(unknown)!r}.",
                                        [("controls", ", ".join(self.controls))]))
        with self._together():
            for name, value in controls.items():
                try:
                    setattr(self, name, value)
                except tr.TraitError as error:
                    self.error = str(error)
                    return

    def _control_changed(self, change):
        self._changed = True
        if not self._held:
            with self._together():
                self._changed = True

    @contextlib.contextmanager
    def _together(self):
        """Several changes, one new trace."""
        self._held, self._changed = True, False
        try:
            yield
        finally:
            self._held = False
        if self._changed:
            self._changed = False
            try:
                self.recompute()
            except (MinidlError, ValueError, TypeError, ArithmeticError, IndexError, KeyError) as error:
                self.error = str(error) or type(error).__name__

    def set_state(self, sync_data):
        """What the page sends: changes of controls, of the place in the trace, or both."""
        with self.hold_sync():
            try:
                with self._together():
                    super().set_state(sync_data)
                    self._changed |= "request" in sync_data      # also when a value was set back to what it was
            except tr.TraitError as error:
                self.error = str(error)
            except KeyboardInterrupt:               # the learner pressed stop; the page must not wait for ever
                self.error = "stopped: the kernel was interrupted before there was a result"
            self.request = self.answer = sync_data.get("request", self.request)

    # ------------------------------------------------------------------ without a page
    def svg(self, i=None):
        """The picture of frame `i`, the last one if left out, as SVG text: the twin that needs no kernel."""
        return str(self.draw(self.trace.frame(len(self.trace) - 1 if i is None else i)))

    def describe(self):
        """The whole run in words."""
        return self.trace.describe()

    def _repr_mimebundle_(self, **kwargs):
        data, *metadata = super()._repr_mimebundle_(**kwargs)
        data = {**data, "text/plain": self.describe(), "image/svg+xml": self.svg()}
        return (data, *metadata)

    def __repr__(self):
        return self.describe() if self.trace else object.__repr__(self)
