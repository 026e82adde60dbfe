"""The command line: start the workers, let them take turns, put the ratios together."""
import argparse
import datetime
import json
import os
import platform
import queue
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from . import Missing, page, report
from .libraries import LIBRARIES
from .workloads import ON_GPU, STEPS, WORKLOADS, draw

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE, COMPARED = 1e-3, 5                  # of the losses, and how many of them
MEMORY_STEPS, MEMORY_RUNS, LONG = 10, 3, 5     # what takes so many seconds is done once only
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Failed(Exception):
    """A worker died, was silent for too long, raised, or computed something else."""


# ---------------------------------------------------------------------- workers
def environment(threads):
    """The environment of every worker: this checkout on the path, so many threads for every matrix product.

    Bytecode is written: an installed package has it, and compiling anew is no part of an import's time.
    """
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, **dict.fromkeys(THREAD_SETTINGS, str(threads)), "PYTHONPATH": os.pathsep.join(paths)}


class Worker:
    """A process that answers questions about one library (worker.py)."""

    def __init__(self, name, python, threads, timeout, device="cpu"):
        self.name, self.timeout, self.answers = name, timeout, queue.Queue()
        self.log = tempfile.TemporaryFile("w+")
        command = [python, "-m", "benchmarks.worker", name, str(threads), device]
        try:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(threads), text=True, stderr=self.log,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            self.log.close()
            raise Failed(f"cannot start {python}: {error.strerror}") from None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(None)                 # the process has ended

    def ask(self, do, **question):
        """The answer to one question; Missing or Failed if there is none."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **question}) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=self.timeout)
        except queue.Empty:
            self.kill()
            raise Failed(f"no answer to {do!r} within {self.timeout} s") from None
        except OSError:
            line = None
        if line is None:
            raise Failed(f"the process died with {self.last_words()}")
        answer = json.loads(line)
        if "missing" in answer:
            raise Missing(answer["missing"])
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
            raise Failed(answer["error"].strip().splitlines()[-1])
        return answer["answer"]

    def last_words(self):
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:      # it only closed its mouth
            self.kill()
            status = self.process.wait()
        self.log.seek(0)
        return f"status {status}: {(self.log.read().strip().splitlines() or ['it said nothing'])[-1]}"

    def kill(self):
        """End the process and what it started: an "interpreter" may be a script that starts one."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except AttributeError:                 # Windows has no process groups
            self.process.kill()
        except ProcessLookupError:
            pass

    def close(self):
        self.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            try:
                stream.close()
            except OSError:                    # a question that was never read is still in the pipe
                pass


class Bench:
    """The workers of one run, and what was found."""

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.workers, self.files = {}, {}
        self.found = {"device": options.device, "versions": {}, "workloads": {}, "skipped": [], "errors": []}

    def __enter__(self):
        for name in self.options.libraries:
            self.attempt(name, None, self.start, name)
        return self

    def __exit__(self, *_):
        for worker in self.workers.values():
            worker.close()

    def attempt(self, name, workload, function, *args):
        """function(*args), or None with a note about why there is no result."""
        where = f"{name}, ({workload})" if workload else name
        try:
            return function(*args)
        except Missing as missing:
            self.found["skipped"].append(f"{where}: {missing}")
        except Failed as failed:
            self.found["errors"].append(f"{where}: {failed}")
            print(f"ERROR {where}: {failed}", file=sys.stderr)
            if name in self.workers and self.workers[name].process.poll() is not None:
                self.workers.pop(name).close() # said once; no other workload needs to hear it again

    def fresh(self, name):
        """A new worker and the versions it found."""
        python = python_of(name, self.options.python)
        worker = Worker(name, python, self.options.threads, self.options.timeout, self.options.device)
        try:
            return worker, worker.ask("import")
        except BaseException:
            worker.close()
            raise

    def start(self, name):
        self.workers[name], self.found["versions"][name] = self.fresh(name)
        if self.options.device != "cpu":
            self.found["gpu"] = self.workers[name].ask("device")

    def file(self, workload):
        """The arrays of a workload, drawn once and written for all to read."""
        if workload not in self.files:
            self.files[workload] = str(self.folder / f"{workload}.npz")
            np.savez(self.files[workload], **draw(workload))
        return self.files[workload]

    def ask(self, name, do, workload, steps):
        return self.workers[name].ask(do, workload=workload, file=self.file(workload), steps=steps)

    # ------------------------------------------------------------------ the workloads that are a step
    def same_work(self, workload):
        """The libraries whose first losses agree with the baseline's, the baseline first."""
        losses = {}
        for name in by_baseline(self.workers):
            found = self.attempt(name, workload, self.ask, name, "losses", workload, COMPARED)
            if found is not None and self.attempt(name, workload, compare, found, *list(losses.values())[:1]):
                losses[name] = found
        return losses

    def how_many(self, name, workload):
        """The steps that fill a turn, from a short and, if more than one fits in, a longer try."""
        steps = 1
        for _ in range(2):
            seconds = self.ask(name, "time", workload, steps)
            steps = max(1, round(self.options.seconds / seconds))
            if steps == 1:
                break
        return steps

    def steps(self, workload):
        """Time a workload in rounds: {library: dict of quartiles and raw seconds}."""
        losses = self.same_work(workload)
        steps = {name: self.attempt(name, workload, self.how_many, name, workload) for name in losses}
        seconds = {name: [] for name in steps if steps[name]}
        for k in range(self.options.rounds):
            for name in random.sample(list(seconds), len(seconds)):
                found = self.attempt(name, workload, self.ask, name, "time", workload, steps[name])
                if found is None:
                    del seconds[name]
                else:
                    seconds[name].append(found)
            progress(f"({workload}) round {k + 1} of {self.options.rounds}")
        progress()
        return {name: {"ratio": report.ratios(seconds[name], seconds[next(iter(seconds))]), "seconds": seconds[name],
                       "steps": steps[name], "losses": losses[name]} for name in seconds}

    # ------------------------------------------------------------------ import and memory
    def imports(self, workload):
        """Milliseconds that `import library` adds to `import numpy`; fastest of many runs of each, in turns."""
        pythons = {name: python_of(name, self.options.python) for name in by_baseline(self.workers)
                   if name == LIBRARIES[name].module}
        codes = {name: LIBRARIES[name].import_code() for name in pythons}
        runs = {(python, code): name for name, python in pythons.items() for code in ("import numpy", codes[name])}
        best = dict.fromkeys(runs, float("inf"))
        for k in range(self.options.rounds + 1):      # the first is a warm-up: it may have to compile
            for (python, code), name in random.sample(list(runs.items()), len(runs)):
                seconds = self.attempt(name, workload, import_seconds, python, code, self.options)
                if seconds is None:                   # said once
                    del runs[python, code]
                elif k:
                    best[python, code] = min(best[python, code], seconds)
            progress(f"({workload}) round {k} of {self.options.rounds}")
        progress()
        pairs = {name: (best[python, codes[name]], best[python, "import numpy"]) for name, python in pythons.items()}
        return {name: {"extra_ms": 1e3 * (both - alone), "over_numpy": both / alone}
                for name, (both, alone) in pairs.items() if max(both, alone) < float("inf")}

    def memory(self, workload):
        """MiB that ten steps of (b) add to the peak of a fresh process: median of a few."""
        found = {name: self.attempt(name, workload, self.memory_of, name) for name in by_baseline(self.workers)}
        found = {name: mib for name, mib in found.items() if mib is not None}
        return {name: {"mib": mib, "ratio": [mib / next(iter(found.values()))] * 3} for name, mib in found.items()}

    def memory_of(self, name):
        results, start = [], time.monotonic()
        while len(results) < MEMORY_RUNS and (not results or time.monotonic() - start < LONG):
            worker, _ = self.fresh(name)
            try:
                results.append(worker.ask("memory", workload="b", file=self.file("b"), steps=MEMORY_STEPS))
            finally:
                worker.close()
        return statistics.median(results)

    def run(self):
        for workload in self.options.workloads:
            measure = self.steps if workload in STEPS else {"f": self.imports, "g": self.memory}[workload]
            self.found["workloads"][workload] = measure(workload)
        return self.found


# ---------------------------------------------------------------------- small things
def by_baseline(names):
    """The baseline first: PyTorch, or minidl where it is missing."""
    return sorted(names, key=lambda name: (name != "torch", name != "minidl", list(LIBRARIES).index(name)))


def compare(losses, reference=None):
    """True if losses are those of the reference; Failed if not, or if they are no numbers."""
    if not np.isfinite(losses).all() or reference is not None and not np.allclose(losses, reference, TOLERANCE, 0):
        raise Failed(f"this is other work: losses {losses}, expected {reference}")
    return True


def import_seconds(python, code, options):
    """How long a fresh process takes for `code`, by its own clock: waiting for it from here is coarse."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    try:
        done = subprocess.run([python, "-c", timed], cwd=ROOT, env=environment(options.threads), check=True, text=True,
                              timeout=options.timeout, stdout=subprocess.PIPE)
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"{code}: {error}") from None
    return float(done.stdout)


def python_of(name, choices):
    """The interpreter named for a library, for its family (the word before "-"), for all peers, or else this one."""
    peers = choices.get("") if name != "minidl" else None
    return choices.get(name) or choices.get(name.partition("-")[0]) or peers or sys.executable


def progress(text=""):
    if sys.stderr.isatty():
        print(f"\r{text:40}", end="" if text else "\r", file=sys.stderr, flush=True)


def machine(threads):
    """What the figures depend on, in words."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "memory_gib": memory_gib(), "system": system(),
            "threads": threads, "date": datetime.date.today().isoformat(), "load_at_start": load,
            "busy_at_start": busy_cores()}


def system():
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):                # not Linux
        name = f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.machine()}"


def memory_gib():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def busy_cores(seconds=1):
    """How many cores others keep busy right now; None where the system does not tell. Load averages lag behind."""
    def ticks():
        user, nice, kernel, idle, waiting, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
        return idle + waiting, user + nice + kernel + idle + waiting + sum(others)
    try:
        before = ticks()
        time.sleep(seconds)
        idle, total = (b - a for a, b in zip(before, ticks()))
    except (OSError, ValueError):
        return None
    return os.cpu_count() * (1 - idle / total) if total else None


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown CPU"


# ---------------------------------------------------------------------- command line
def names_from(known):
    """An argument type: names separated by commas, each one known."""
    def read(text):
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            wrong = ", ".join(unknown) or "nothing named"
            raise argparse.ArgumentTypeError(f"unknown: {wrong} (known: {', '.join(known)})")
        return names
    return read


def interpreters(entries):
    """{library: path} from entries "library=path"; an entry without a name stands under ""."""
    found = {}
    for entry in entries:
        name, equals, path = entry.rpartition("=")
        if name and name not in LIBRARIES:
            raise SystemExit(f"--python {entry}: unknown library (known: {', '.join(LIBRARIES)})")
        found[name] = os.path.abspath(os.path.expanduser(path)) if os.sep in path else path
    return found


def read_options(args):
    default = [e for e in os.environ.get("MINIDL_BENCH_PYTHON", "").split(",") if e]
    parser = argparse.ArgumentParser("python -m benchmarks", description="minidl beside PyTorch and the NumPy peers.",
                                     epilog="; ".join(f"({k}) {w.title}" for k, w in WORKLOADS.items()))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the networks are trained")
    parser.add_argument("--workloads", type=names_from(WORKLOADS), metavar="a,b,...",
                        help="listed below; all by default, on a GPU a,b,c,d")
    parser.add_argument("--libraries", type=names_from(LIBRARIES), metavar="minidl,...", help=", ".join(LIBRARIES))
    parser.add_argument("--python", action="append", default=default, metavar="[LIBRARY=]PATH",
                        help="another interpreter, for one library or for all but minidl")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long one turn lasts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120, help="seconds that a worker may be silent")
    parser.add_argument("--out", metavar="FILE.json", help="everything that was found, raw seconds included")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--plot", metavar="FILE.png", help="bars of the ratios (needs matplotlib)")
    parser.add_argument("--write", metavar="PAGE.md", help="the device's section of a page, with goals and a picture")
    parser.add_argument("--read", metavar="FILE.json", help="what was found earlier (--out), instead of measuring")
    options = parser.parse_args(args)
    options.python = interpreters(options.python)
    there = [name for name, library in LIBRARIES.items() if options.device in library.devices]
    options.libraries = options.libraries or there
    options.workloads = options.workloads or list(WORKLOADS if options.device == "cpu" else ON_GPU)
    elsewhere = [name for name in options.libraries if name not in there]
    if elsewhere:
        parser.error(f"--device {options.device}: {', '.join(elsewhere)} is measured on the CPU only")
    if options.device != "cpu" and not set(options.workloads) <= set(STEPS):
        parser.error(f"--device {options.device}: (f) and (g) are measured on the CPU only")
    return options


def measured(options):
    about = machine(options.threads)
    with tempfile.TemporaryDirectory() as folder, Bench(options, folder) as bench:
        return {"machine": about, "rounds": options.rounds, **bench.run()}


def main(args=None):
    options = read_options(args)
    found = json.loads(Path(options.read).read_text()) if options.read else measured(options)
    print(report.text(found, options.markdown))
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        report.plot(found, options.plot)
    if options.write:
        page.write(found, Path(options.write))
    return 1 if found["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
