"""The settings of the process that an answer starts with, and that the notebook gets back when the answer ends.

A notebook may have switched gradients off, or have NumPy raise on an underflow, and an answer may do so too, or leave
another folder, a lower limit of recursion or its own `sys.stdout` behind. An answer is judged as if nobody had.
"""
import contextlib
import os
import sys

import numpy as np

from ..autograd import enable_grad

NUMPY = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}       # as NumPy starts


@contextlib.contextmanager
def usual_settings():
    """In its block NumPy warns as it does from the start and tensors record; afterwards all is as it was before."""
    streams, depth, folder = (sys.stdout, sys.stderr), sys.getrecursionlimit(), _folder()
    try:
        with np.errstate(**NUMPY), enable_grad():
            yield
    finally:
        sys.stdout, sys.stderr = streams
        if sys.getrecursionlimit() != depth:
            sys.setrecursionlimit(depth)
        if folder is not None and _folder() != folder:
            with contextlib.suppress(OSError):                   # it is there no more
                os.chdir(folder)


def _folder():
    """The folder where Python runs; None if it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None
