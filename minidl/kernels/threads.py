"""A second pair of hands: large kernels cut in parts, which two threads take in turns.

NumPy, BLAS and compiled loops let go of Python's lock, so Python threads do work at the same time. While they do, BLAS
has one thread (`alone`): two threads of each would be four on two cores.

BLAS' own threads wait for the next product in a busy loop, on the very core that the second thread needs; some 30
milliseconds if nobody says otherwise. minidl therefore asks OpenBLAS for a short wait (openblas.py), which OpenBLAS
reads when NumPy is imported. Where NumPy was there first, there is no crew, and only BLAS has threads.

The crew is as large as BLAS would have been, but no more than two: `OMP_NUM_THREADS=1` switches it off.
"""
import ctypes
import functools
import glob
import os
import queue
import threading

import numpy as np

from .. import openblas

SETTERS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


def libraries():
    """The OpenBLAS that NumPy brought along, if it did."""
    folder = os.path.dirname(np.__file__)
    for file in glob.glob(os.path.join(f"{folder}.libs", "*openblas*")) + glob.glob(f"{folder}/.dylibs/*openblas*"):
        try:
            yield ctypes.CDLL(file)
        except OSError:
            continue


@functools.cache
def blas():
    """(get, set): the number of threads of NumPy's OpenBLAS; of a library that cannot be asked, one that stays one."""
    for library in libraries():
        for name in SETTERS:
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return (lambda: 1), (lambda count: None)


@functools.cache
def product_in(dtype):
    """cblas_sgemm or cblas_dgemm as compiled loops can call it, addresses as whole numbers; None if there is none."""
    kind, number = {"float32": ("s", ctypes.c_float), "float64": ("d", ctypes.c_double)}.get(str(dtype), ("", None))
    for library in libraries() if kind else ():
        function = getattr(library, f"scipy_cblas_{kind}gemm64_", None)
        if function is not None:
            size, address = ctypes.c_int64, ctypes.c_size_t
            function.argtypes = [ctypes.c_int] * 3 + [size] * 3 + [number, address, size, address, size, number,
                                                                   address, size]
            function.restype = None
            return function
    return None


class Alone:
    """BLAS with one thread inside the block; blocks may be nested, and several threads may be in one."""

    def __init__(self):
        self.lock, self.inside, self.threads = threading.Lock(), 0, 1

    def __enter__(self):
        get, limit = blas()
        with self.lock:
            if not self.inside:
                self.threads = get()
                if self.threads > 1:
                    limit(1)
            self.inside += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if not self.inside and self.threads > 1:
                blas()[1](self.threads)


alone = Alone()


class Job:
    """Work for the helper, and how far it is.

    Attributes:
        work, parts: as for `Crew.share`; the list of parts is the one that the caller takes from, too.
        over, error: whether the helper is done, and what was raised on its side.
    """

    def __init__(self, work, parts):
        self.work, self.parts, self.over, self.error, self.bell = work, parts, False, None, queue.SimpleQueue()

    def run(self):
        """The helper's side."""
        try:
            with np.errstate(all="ignore"):
                _take(self.work, self.parts)
        except BaseException as error:
            self.error = error
        self.work = None                              # arrays must not live until the next job
        self.over = True
        self.bell.put(None)

    def wait(self):
        """Until the helper is done, whatever happens meanwhile: it writes into arrays of the caller's.

        A Ctrl-C (or a limit of `check`) leaves the parts that nobody has begun undone, and is raised at the end.
        """
        stopped = None
        while not self.over:
            try:
                self.bell.get()
            except BaseException as error:
                self.parts.clear()
                stopped = error
        if stopped is not None:
            raise stopped
        if self.error is not None:
            raise self.error


class Crew:
    """One helper thread beside the caller's own."""

    def __init__(self):
        self.forget()

    def forget(self):
        """There is no helper: not yet, or this process was forked and the helper did not come along."""
        self.busy, self.jobs = threading.Lock(), None

    def ready(self):
        """Whether two threads are better than BLAS' own."""
        return openblas.short_wait and blas()[0]() > 1

    def share(self, work, parts):
        """work(part) for each part, in any order and in two threads; an error in one raises here.

        Runs in the caller's thread alone if BLAS may have one thread only, or if another thread uses the crew.
        """
        parts = list(reversed(parts))
        with alone:
            if len(parts) < 2 or alone.threads < 2 or not self.busy.acquire(blocking=False):
                _take(work, parts)
                return
            try:
                self._share(work, parts)
            finally:
                self.busy.release()

    def _share(self, work, parts):
        if self.jobs is None:
            jobs = queue.SimpleQueue()
            threading.Thread(target=self._help, args=(jobs,), daemon=True).start()
            self.jobs = jobs
        job = Job(work, parts)
        self.jobs.put(job)
        try:
            _take(work, parts)
        finally:
            job.wait()

    @staticmethod
    def _help(jobs):
        while True:
            jobs.get().run()


def _take(work, parts):
    """Parts from the common list until it is empty."""
    while True:
        try:
            part = parts.pop()
        except IndexError:
            return
        work(part)


crew = Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=crew.forget)


def halves(count, at_least=1):
    """Two slices of `count` things; one if there are too few."""
    return [slice(0, count // 2), slice(count // 2, count)] if count >= 2 * at_least else [slice(0, count)]

