"""The widget of docs/widgets.md, for the tests of what all widgets have in common."""
import traitlets as tr

from minidl.errors import ArgumentError, message
from minidl.viz.svg import document, element
from minidl.widgets import Frame, Trace, Widget


class Countdown(Widget):
    """Counts down from `start`; the smallest widget that has everything."""

    scripts = ()
    controls = ("start", "by")
    start = tr.Int(5).tag(sync=True)
    by = tr.Int(1).tag(sync=True)

    def record(self):
        """The run as a Trace."""
        if self.by < 1:
            raise ArgumentError(message("countdown: a step goes down by 1 or more.", [("by", self.by)], "by=1."))
        numbers = range(self.start, -1, -self.by)
        frames = [Frame("count" if n > 1 else "end", f"{n} to go.", {"n": n}) for n in numbers]
        return Trace(frames, "countdown", figure={"start": self.start})

    def draw(self, frame):
        """One frame as SVG."""
        text = element("text", frame.data["n"], x=60, y=60, text_anchor="middle", font_size=40)
        return document(120, 90, text, title="countdown", desc=frame.text)


PAGE = """
export default widget({
  setup(view) {
    view.controls.append(view.field({ name: "start", min: 0, max: 20 }), view.field({ name: "by", min: 0, max: 5 }));
  },
  draw(stage, frame, view) {
    const cell = s("rect", { x: 10, y: 10, width: 50, height: 40, class: "outline", "data-key": "n", "data-now": true,
      "aria-label": `the number ${frame.data.n}` });
    const other = s("rect", { x: 70, y: 10, width: 50, height: 40, class: "outline", "data-key": "m",
      "aria-label": "its neighbour" });
    const text = s("text", { x: 35, y: 36, "text-anchor": "middle" }, number(frame.data.n));
    stage.replaceChildren(picture(140, 60, cell, other, text));
  },
});
"""
Countdown._esm = Countdown._esm + PAGE
