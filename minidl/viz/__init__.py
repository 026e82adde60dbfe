"""Pictures: of graphs, of memory, of training, of what a network has learned; and the source of an op on the page.

    from minidl.viz import draw, show, explain

Each name is fetched from its file when it is first asked for, so that nothing here costs time before. Graphs need
nothing but Python to be drawn; plots need matplotlib (`pip install "minidl[lab]"`), imported at the first of them.
"""
import importlib

FILES = {
    "drawing": ("draw", "Drawing"),
    "watching": ("watch",),
    "explanation": ("explain",),
    "source": ("show",),
    "memory": ("memory_of", "layout"),
    "picture": ("Picture",),
    "plots": ("images", "curves", "confusion", "mistakes", "filters", "feature_maps"),
    "distributions": ("histograms",),
    "surfaces": ("surface",),
    "scatters": ("scatter",),
    "sketches": ("sketch",),
    "heatmaps": ("fields", "attention", "gates", "spectrogram"),
    "rooflines": ("roofline",),
    "timelines": ("timeline",),
    "repetitions": ("repeats", "interval"),
    "thawing": ("board",),
}
PLACE = {name: file for file, names in FILES.items() for name in names}
__all__ = list(PLACE)


def __getattr__(name):
    if name not in PLACE:
        raise AttributeError(f"minidl.viz has no {name!r}; it has {', '.join(PLACE)}")
    return getattr(importlib.import_module(f"{__name__}.{PLACE[name]}"), name)


def __dir__():
    return [*globals(), *PLACE]
