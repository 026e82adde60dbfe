"""What must be said before NumPy is there: how long idle threads of its matrix products wait for the next one.

OpenBLAS lets them wait in a busy loop, some 30 milliseconds if nobody says otherwise. Nothing else can run on their
cores meanwhile, a second thread of minidl for instance (kernels/threads.py). OpenBLAS reads the setting when NumPy
is imported, once; a wait that was chosen before in `OPENBLAS_THREAD_TIMEOUT` stays.

    short_wait     True if the threads give up soon; False if NumPy was imported first
"""
import os
import sys

SHORT, LONGEST = 20, 22              # powers of two, in cycles of the processor: half a millisecond, and two

if "numpy" not in sys.modules:
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", str(SHORT))
_chosen = os.environ.get("OPENBLAS_THREAD_TIMEOUT", "")
short_wait = _chosen.isdigit() and int(_chosen) <= LONGEST
