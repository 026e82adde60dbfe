"""Stopping what does not end: a limit on the time a block may take.

On POSIX in the main thread a timer's signal does it, which also ends a `sleep`. On Windows, and in other threads,
a second thread has Python raise the exception between two steps of the code. Both try again until it is heard, so
that code which catches everything cannot go on for ever.
"""
import contextlib
import ctypes
import signal
import threading
import time

AGAIN = 0.1          # seconds until the next try
SOON = 0.001         # seconds: a timer of 0 would be none
BETWEEN = (__file__, contextlib.__file__)        # code that runs between the block's end and that of its limit


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
        if armed and frame.f_code.co_filename not in BETWEEN:       # it would be raised past the `finally` below
            raise TooSlow

    before, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:                                                    # somebody else's timer was running
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), SOON), every)


@contextlib.contextmanager
def _by_thread(seconds):
    thread, done, sent = threading.get_ident(), threading.Event(), []

    def watch():
        wait = seconds
        while not done.wait(wait):
            sent.append(1)
            _interrupt(thread)
            wait = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        while True:
            try:
                done.set()
                watcher.join()
                if not sent:
                    break
                sent.clear()
                _interrupt(thread)       # takes the place of one that is on its way; then wait until it is heard
                while True:
                    pass
            except TooSlow:
                pass


def _interrupt(thread):
    """Have Python raise TooSlow in that thread, between two steps of its code.

    It must be heard. To call it back, with NULL for the exception, leaves Python believing for ever that there is
    something to hear: 3.11 is slower from then on, and hangs under sys.settrace (a debugger, split_screen).
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TooSlow))
