"""Who does the work: this process, some processes beside it, or a Dask cluster. All have one face.

    with crew_for(workers=4) as crew:
        crew.submit(ticket, function, *arguments)        # at most crew.slots at a time
        ticket, value, error = crew.next()               # as they end, in any order

A worker that died is told as `WorkerDied`; the crew has a new one by then.
"""
import contextlib
import importlib.util
import multiprocessing
import multiprocessing.connection
import queue
import signal
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import JudgeError, RefusedError, first_line, message

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECONDS_FOR_WORKERS = 60
SECONDS_BETWEEN_LOOKS = 2.0          # at how many workers a cluster has


class WorkerDied(Exception):
    """The process that did the work is gone; nobody knows what came of it."""


def crew_for(workers=1, cluster=None, insist=False):
    """The crew for a number of workers or a cluster's address.

    Args:
        workers: how many tasks at a time, on this machine.
        cluster: None for what fits; "processes", "dask" (a cluster on this machine), or the address of a scheduler.
        insist: connect to another machine without TLS.

    One worker is this process itself. More are a Dask cluster, if `distributed` is here and `cryptography` too: a
    cluster listens on a port, so everyone on this machine could give its workers code to run, unless it asks for keys.
    Without these packages they are plain processes on pipes.

    Raises:
        RefusedError: the address would send code over a network without TLS.
        JudgeError: the package is missing, or there is no scheduler.
    """
    if cluster and "://" in cluster:
        return Dask(_safe(cluster, insist))
    if cluster == "dask" or (cluster is None and workers > 1 and _can_lock_a_cluster()):
        return Dask(None, workers)
    if cluster == "processes" or (cluster is None and workers > 1):
        return Processes(workers)
    if cluster is None:
        return Serial()
    raise JudgeError(message("This is not the address of a cluster.", [("got", cluster)],
                             "tls://host:8786, tcp://127.0.0.1:8786, dask or processes."))


class Crew:
    """What all crews share: a queue of what has ended, and an end.

    Attributes:
        slots: how many tasks it can take at a time.
        deaths: how many dead workers a task may have had before this crew tells of one (a scheduler of Dask tries
            again by itself).
    """

    slots = 1
    deaths = 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def submit(self, ticket, function, *arguments):
        """Begin `function(*arguments)`."""
        raise NotImplementedError

    def next(self) -> tuple[Any, Any, BaseException | None]:
        """Wait until something has ended: (ticket, value, None) or (ticket, None, error)."""
        raise NotImplementedError

    def on_all(self, function):
        """What `function()` says on each worker that is another machine's; [] if all work is done here."""
        return []

    def close(self):
        """End all work at once."""


class Serial(Crew):
    """This process does it all, one thing after the other."""

    def __init__(self):
        self._ended = queue.SimpleQueue()

    def submit(self, ticket, function, *arguments):
        self._ended.put((ticket, *_tried(function, arguments)))

    def next(self):
        return self._ended.get_nowait()


class Processes(Crew):
    """Processes on this machine. Each has a pipe of its own, so whose worker died is never in doubt."""

    def __init__(self, workers):
        self.slots = workers
        self._idle, self._busy = [], {}

    def submit(self, ticket, function, *arguments):
        process, pipe = self._idle.pop() if self._idle else self._start()
        try:
            pipe.send((function, arguments))
        except OSError:                                # it died while it had nothing to do
            process.join()
            process, pipe = self._start()
            pipe.send((function, arguments))
        self._busy[pipe] = process, ticket

    def next(self):
        pipe = multiprocessing.connection.wait(list(self._busy))[0]
        process, ticket = self._busy.pop(pipe)
        try:
            value, error = pipe.recv()
        except (EOFError, OSError):
            pipe.close()
            process.join()
            return ticket, None, WorkerDied(f"the worker ended with code {process.exitcode}")
        self._idle.append((process, pipe))
        return ticket, value, error

    def close(self):
        everyone = self._idle + [(process, pipe) for pipe, (process, _) in self._busy.items()]
        self._idle, self._busy = [], {}
        for process, pipe in everyone:
            pipe.close()                               # who waits for work sees the end of the pipe, and goes
            process.terminate()
        for process, _ in everyone:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def _start(self):
        context = multiprocessing.get_context("spawn")        # a fork would carry the gradebook's connection along
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=False)
        process.start()
        theirs.close()
        return process, ours


def _work(pipe):
    """A worker's life: a call comes in, what it says goes out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)       # Ctrl-C is for the one who gives out the work
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))      # and whoever is told to go, ends its student's process
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            pipe.send(_tried(function, arguments))


def _tried(function, arguments):
    """(value, None), or (None, error)."""
    try:
        return function(*arguments), None
    except Exception as error:
        return None, error


class Dask(Crew):
    """A Dask cluster: its scheduler gives the work to whoever is free.

    Args:
        address: of a scheduler that runs already; keys for tls:// are those of Dask's own settings. None starts a
            cluster on this machine, with keys made for this once.
        workers: how many processes a cluster of ours has.
    """

    def __init__(self, address=None, workers=1):
        distributed = _distributed()
        self._ended = queue.SimpleQueue()
        self._flying, self._count = {}, 0
        self._looked, self._slots = 0.0, workers
        self._own = self._client = None
        try:
            if address is None:
                self._own, security = _own_cluster(distributed, workers)
                self._client = distributed.Client(self._own, security=security)
            else:
                self._client = distributed.Client(address, timeout=20)
                self.deaths = 3
            self._client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except (OSError, TimeoutError) as error:
            self.close()
            raise JudgeError(message("There is no cluster with workers at this address.", [
                ("address", address or "this machine"), ("because", first_line(error))],
                "whether scheduler and workers run: `dask scheduler`, `dask worker`.")) from None

    @property
    def slots(self):
        """One task for each thread that a worker offers, looked up now and then: workers come and go."""
        if self._own is None and time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            with _told_if_gone():
                self._looked, self._slots = time.monotonic(), max(1, sum(self._client.nthreads().values()))
        return self._slots

    def submit(self, ticket, function, *arguments):
        self._count += 1                               # a key of its own: what failed under a key would fail again
        with _told_if_gone():
            future = self._client.submit(function, *arguments, key=f"minidl-{id(self)}-{self._count}", pure=False)
        self._flying[future.key] = future, ticket
        future.add_done_callback(self._ended.put)

    def next(self):
        distributed = _distributed()
        future = self._ended.get()
        _, ticket = self._flying.pop(future.key)
        try:
            return ticket, future.result(), None
        except distributed.KilledWorker as error:
            return ticket, None, WorkerDied(first_line(error))
        except distributed.client.FutureCancelledError:
            raise _gone() from None
        except Exception as error:
            return ticket, None, error
        finally:
            future.release()

    def on_all(self, function):
        if self._own is not None:
            return []
        with _told_if_gone():
            return list(self._client.run(function).values())

    def close(self):
        self._flying.clear()
        for thing in (self._client, self._own):
            if thing is not None:
                with contextlib.suppress(TimeoutError, OSError):
                    thing.close(timeout=10)


def _own_cluster(distributed, workers):
    """A cluster on this machine that nobody else can talk to, and its keys."""
    import dask
    if not _can_lock_a_cluster():
        raise JudgeError(message("A cluster on this machine needs keys, or everyone here could use it.",
                                 [("missing", "distributed or cryptography")],
                                 'pip install "minidl[cluster]", or --cluster processes.'))
    security = distributed.Security.temporary()
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": 0,   # a task whose worker died comes back at once: we count
        "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}      # pages ask for no keys
    pages = dict(dashboard=False, dashboard_address="127.0.0.1:0")
    with dask.config.set(settings):
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", protocol="tls://", security=security,
            scheduler_kwargs=pages, memory_limit=0, silence_logs="ERROR")
    return cluster, security


@contextlib.contextmanager
def _told_if_gone():
    """What a connection says when it breaks becomes a JudgeError."""
    try:
        yield
    except (OSError, TimeoutError):
        raise _gone() from None


def _gone():
    return JudgeError(message("The cluster's scheduler is gone.", try_="again with --run: what was graded is kept."))


def _can_lock_a_cluster():
    return all(importlib.util.find_spec(name) for name in ("distributed", "cryptography"))


def _distributed():
    try:
        import distributed
    except ImportError:
        raise JudgeError(message("A Dask cluster needs the package distributed, which is not installed.",
                                 try_='pip install "minidl[cluster]", or --cluster processes.')) from None
    return distributed


def _safe(address, insist):
    """The address, if nobody on the way can read along or give the workers code of their own."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or (parts.scheme == "tcp" and (parts.hostname in LOOPBACK or insist)):
        return address
    if parts.scheme != "tcp":
        raise JudgeError(message("This is not the address of a cluster.", [("got", address)],
                                 "tls://host:8786, or tcp://127.0.0.1:8786."))
    raise RefusedError(message("Without TLS, whoever can reach the scheduler could run code on all workers.",
                               [("address", address)],
                               "tls:// and Dask's settings for keys, or --insist on a network that is yours alone."))
