"""A second pair of hands: large kernels cut in parts, which two threads take in turns.

NumPy, BLAS and compiled loops let go of Python's lock, so Python threads do work at the same time. BLAS' own threads
only help inside a matrix product, and between products they wait for the next one in a busy loop, on the very core
that other work would need. So while there is a crew, BLAS has one thread, and what is shared out is chosen here.
"""
import ctypes
import glob
import os
import queue
import threading

import numpy as np

SETTERS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")


def libraries():
    """The OpenBLAS that NumPy brought along, if it did."""
    folder = os.path.dirname(np.__file__)
    for file in glob.glob(os.path.join(f"{folder}.libs", "*openblas*")) + glob.glob(f"{folder}/.dylibs/*openblas*"):
        try:
            yield ctypes.CDLL(file)
        except OSError:
            continue


def blas():
    """(get, set): the number of threads of NumPy's OpenBLAS; None if it is another library."""
    for library in libraries():
        for name in SETTERS:
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


def product_in(dtype):
    """cblas_sgemm or cblas_dgemm as compiled loops can call it, addresses as whole numbers; None if there is none."""
    kind, number = ("s", ctypes.c_float) if dtype == "float32" else ("d", ctypes.c_double)
    for library in libraries():
        function = getattr(library, f"scipy_cblas_{kind}gemm64_", None)
        if function is not None:
            size, address = ctypes.c_int64, ctypes.c_size_t
            function.argtypes = [ctypes.c_int] * 3 + [size] * 3 + [number, address, size, address, size, number,
                                                                   address, size]
            function.restype = None
            return function
    return None


class Crew:
    """One helper thread beside the caller's own, and BLAS with a single thread while there is one."""

    def __init__(self):
        self.threads, self.setter = None, None
        self.busy = threading.Lock()

    def start(self):
        """Take the second thread over from BLAS, if it has one."""
        if self.threads is None and (found := blas()) is not None and found[0]() > 1:
            self.threads, self.setter = found[0](), found[1]
            self.setter(1)
            self.jobs, self.done = queue.SimpleQueue(), queue.SimpleQueue()
            threading.Thread(target=self._help, args=(self.jobs, self.done), daemon=True).start()

    def stop(self):
        """Give it back."""
        if self.threads is not None:
            self.jobs.put(None)
            self.setter(self.threads)
            self.threads = None

    def forget(self):
        """In a process that was forked: the helper did not come along."""
        if self.threads is not None:
            self.threads, self.busy = None, threading.Lock()

    @staticmethod
    def _help(jobs, done):
        while (job := jobs.get()) is not None:
            work, parts = job
            try:
                with np.errstate(all="ignore"):
                    _take(work, parts)
                done.put(None)
            except BaseException as error:
                done.put(error)
            del job, work, parts                      # arrays must not live until the next job

    def share(self, work, parts):
        """work(part) for each part, in any order; one that fails raises here."""
        parts = list(reversed(parts))
        if self.threads is None or len(parts) < 2 or not self.busy.acquire(blocking=False):
            _take(work, parts)
            return
        try:
            self.jobs.put((work, parts))
            try:
                _take(work, parts)
            finally:
                error = self.done.get()
            if error is not None:
                raise error
        finally:
            self.busy.release()


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
