"""Exercises: what is asked, how an answer is checked, and what you have done so far.

    check("01.1a", broadcast_shapes)    look at an answer, say what is right or wrong, and remember it
    hint("01.1a")                       a little help, then more, then more
    solution("01.1a")                   one way to do it, after the hints
    progress()                          chapters, points, and what comes next
    use("01.2b")                        put an answer that passed to work inside minidl

Read in this order: exercise.py says what an exercise is; cases.py and compare.py are its words for inputs and for
equality; limit.py stops what does not end; settings.py puts back what an answer leaves changed; checking.py looks at
an answer; verdict.py and drawing.py show what it saw; record.py remembers, help.py gives hints, dashboard.py shows the
whole, use.py puts answers to work. `chapters/` holds the exercises, one file a chapter. `docs/exercises.md` tells how
to write one.

This check runs in the learner's own process and is there to help, not to decide about marks.
"""
from .checking import check, examine
from .dashboard import progress
from .exercise import Exercise, all_exercises, find
from .help import hint, solution
from .record import export_progress, import_progress
from .use import use, whose
from .verdict import Verdict
