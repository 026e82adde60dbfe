"""What all pictures have in common: one set of colours, one look, and words for those who cannot see them.

The colours are those of theme.py; here they are matplotlib's.
"""
import io

from .theme import LIGHT

POSITIVE, NEGATIVE, BROKEN = LIGHT.positive, LIGHT.negative, LIGHT.broken
INK, PAPER, GRID = LIGHT.ink, LIGHT.paper, LIGHT.grid
# Lines of one plot, told apart by dash and label as well.
LINES = list(zip(LIGHT.lanes, ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))))
STYLE = {
    "figure.dpi": 100, "font.size": 10, "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.color": GRID,
    "axes.titlesize": 10, "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "image.interpolation": "nearest",
}


class Picture:
    """A drawn figure that shows itself in a notebook, with a description in words.

    Args:
        figure: a matplotlib Figure.
        alt: what there is to see, in a sentence or two.
    """

    def __init__(self, figure, alt):
        self.figure, self.alt = figure, alt

    def png(self, dpi=100):
        """The picture as PNG bytes, with a palette of 128 colours: that takes a third of the room in a notebook."""
        from PIL import Image  # matplotlib brings it

        full, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(full, format="png", dpi=dpi, bbox_inches="tight")
        few = {"colors": 128, "method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}    # ink stays ink
        Image.open(full).convert("RGB").quantize(**few).save(small, "PNG", optimize=True)
        return small.getvalue()

    def save(self, path, dpi=150):
        """Write the picture to a file; the ending of the name says in which format."""
        self.figure.savefig(path, dpi=dpi, bbox_inches="tight")

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": self.png(), "text/plain": self.alt}

    def __repr__(self):
        return self.alt


def canvas(rows=1, columns=1, size=(3.2, 3.2)):
    """An empty figure in the common style and its axes (always a 2-D array of them); `size` in inches for each."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "minidl[lab]"') from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes
