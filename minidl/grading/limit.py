"""Stopping what does not end: a limit on the time a block may take.

On POSIX in the main thread a timer's signal does it, which also ends a `sleep`. On Windows, and in other threads,
a second thread has Python raise the exception between two steps of the code. Both try again until it is heard, so
that code which catches everything cannot go on for ever.
"""
import contextlib
import ctypes
import signal
import threading

AGAIN = 0.1          # seconds until the next try


class TooSlow(BaseException):
    """Time is up. Not an `Exception`, so that an ordinary `except Exception` lets it pass."""


def time_limit(seconds):
    """A context manager that raises TooSlow in its block after so many seconds."""
    main = threading.current_thread() is threading.main_thread()
    return _by_signal(seconds) if main and hasattr(signal, "setitimer") else _by_thread(seconds)


@contextlib.contextmanager
def _by_signal(seconds):
    armed = True

    def ring(number, frame):
        if armed:
            raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _by_thread(seconds):
    thread, lock, done = ctypes.c_ulong(threading.get_ident()), threading.Lock(), threading.Event()

    def watch():
        wait = seconds
        while not done.wait(wait):
            with lock:
                if not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TooSlow))
            wait = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        with lock:                       # one that is on its way, and not heard yet, is called back
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)
        watcher.join()
