"""Who draws a graph for a notebook. Graphs lie below pictures and know nothing of them: they ask here.

`painter` is put in by minidl/__init__.py: a function of the thing to draw that gives {mime type: picture}.
"""
from typing import Any

painter: Any = None


def of(thing):
    """{mime type: picture} of a thing, empty while nobody draws."""
    return painter(thing) if painter else {}
