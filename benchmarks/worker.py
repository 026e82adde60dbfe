"""One process of one library: reads a question a line, writes an answer a line, both JSON.

    python -m benchmarks.worker torch 2 cpu

    {"do": "import"}                                       -> versions
    {"do": "device"}                                       -> the device's name
    {"do": "losses", "workload": w, "file": f, "steps": n} -> the first n losses, from the first weights
    {"do": "time",   "workload": w, "file": f, "steps": n} -> seconds a step, from the first weights, warmed up
    {"do": "memory", "workload": w, "file": f, "steps": n} -> MiB by which n steps raise the peak

Every answer is {"answer": ...}, or {"missing": why} where a library or an op is not there, or {"error": why}.
"""
import gc
import json
import os
import platform
import sys
import time
import traceback
from importlib import import_module, metadata

from . import Missing

WARM_UP = 3


class Worker:
    def __init__(self, name, threads, device):
        self.name, self.threads, self.device, self.library = name, threads, device, None

    def do_import(self):
        module = self.name.partition("-")[0]
        try:
            if module != "dezero":                    # which needs help first: see libraries.py
                import_module(module)                 # before NumPy, as a library may prepare the ground for it
            from .libraries import LIBRARIES
            self.library = LIBRARIES[self.name](self.threads, self.device)
        except ImportError as error:
            raise Missing(f"not installed here ({error})") from None
        return {"python": platform.python_version(), "numpy": metadata.version("numpy"), module: self.version(module),
                **self.library.versions()}

    def version(self, module):
        try:
            return metadata.version(module)
        except metadata.PackageNotFoundError:         # a checkout that is only on the path
            return import_module(module).__version__

    def do_device(self):
        return self.library.device_name()

    def build(self, workload, file):
        from .workloads import WORKLOADS, load
        workload = WORKLOADS[workload]
        x, y, weights = load(file)
        make = self.library.network if workload.layers else self.library.chain    # some have none
        step = make and (make(workload, x, y, weights) if workload.layers else make(x))
        if step is None:
            raise Missing("no version of this workload")
        return step

    def do_losses(self, workload, file, steps):
        step = self.build(workload, file)
        return [number(step()) for _ in range(steps)]

    def do_time(self, workload, file, steps):
        step = self.build(workload, file)
        for _ in range(WARM_UP):
            step()
        gc.collect()
        self.library.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        self.library.synchronize()
        return (time.perf_counter() - start) / steps

    def do_memory(self, workload, file, steps):
        before = peak_mib()
        step = self.build(workload, file)
        for _ in range(steps):
            step()
        return peak_mib() - before

    def answer(self, question):
        try:
            return {"answer": getattr(self, "do_" + question.pop("do"))(**question)}
        except Missing as missing:
            return {"missing": str(missing)}
        except Exception:
            return {"error": traceback.format_exc()}


def number(loss):
    """A loss in Python's terms."""
    return float(loss.item() if hasattr(loss, "item") else loss)


def peak_mib():
    """The largest resident memory of this process so far."""
    try:
        with open("/proc/self/status") as file:       # on Linux, ru_maxrss starts with what the parent had
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        raise Missing("this system does not tell the peak memory of a process") from None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(name, threads, device):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                     # what a library prints must not be taken for an answer
    worker = Worker(name, int(threads), device)
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
