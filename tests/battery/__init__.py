"""The battery: what hostile, careless and unlucky people hand in, row by row, and what must come of it.

    attack.py    what a row is
    forging.py   answers that try to get points for nothing
    bombs.py     answers that use up time, memory, files or processes
    escapes.py   answers that reach for what is not theirs
    files.py     files that are broken, swollen, disguised, doubled or late
    world.py     what must not be touched, and the way from a file to a row

`make test-judge` runs it; `python -m tests.battery` measures it on a calm machine.
"""
from .attack import Attack
from .bombs import BOMBS, BOXED_BOMBS
from .escapes import ESCAPES
from .files import FILES
from .forging import FORGING

ROWS: list[Attack] = [*FORGING, *BOMBS, *BOXED_BOMBS, *ESCAPES, *FILES]
AT_LEVEL_0: list[Attack] = [*FORGING, *BOMBS]            # values are compared, time and memory bounded, at every level
