"""minidl beside PyTorch and the NumPy peers, in one command: `python -m benchmarks`, or `make bench`.

    workloads   what is timed: the layers, and the numbers that all libraries start from
    libraries   the same training step, in the words of each library
    worker      one process of one library: answers "import", "losses", "time", "memory"
    report      the table and the bars
    goals       what minidl set out to reach, and whether it did
    page        docs/benchmarks.md
    __main__    rounds, ratios, command line

What is timed is a full training step: forward, loss, backward, update. How:

* **Ratios, not milliseconds.** How fast a machine is today depends on what else runs on it. Two libraries
  that take turns within a second meet the same machine, so each round yields one ratio to the baseline
  (PyTorch; minidl where PyTorch is missing). What is reported is the median of the ratios of all rounds, and the
  quartiles beside it say how far to trust it.
* **Taking turns.** One process a library lives through the whole run. In every round each library gets one
  turn, in random order, so that nobody always runs after the same neighbour. A turn starts from the first weights,
  takes a few steps that are not timed, then as many as fill about 0.3 seconds.
* **The same work.** Weights and data are drawn once and handed to every process as a file. The losses of the
  first steps must agree to 1 part in 1000; a library whose losses differ is an error, not a row of the table.
  As the second loss depends on the first update, this checks gradients and optimiser as well.
* **The same means.** Two threads for every library (`--threads`), float32, and each library as its
  documentation says to use it.
* **Nothing hangs, nothing is hushed up.** A process that dies or is silent for too long is reported, and the
  exit status is 1. A library that is not installed, or that has no op for a workload, is listed as skipped.

On a busy machine two threads wait for each other whenever one of them loses its core, and all libraries drown
alike in that waiting: wide quartiles, or ratios that all are near 1. The report names the load that it met and warns
where the baseline's own time varied; `--threads 1` suffers less.

`--device cuda` measures the networks (a) to (d) on a GPU, minidl on CuPy beside PyTorch. What a step asks of a
GPU is done later, so each turn ends when the GPU has finished, and begins when it has nothing left to do. The steps of
a turn may queue up, as in any training. TF32 is off: it is not float32.

Two measurements are not of speed: (f) is the fastest of many fresh `python -c "import numpy, minidl"` minus the
fastest of as many `python -c "import numpy"`, in turns; (g) is how far ten steps of (b) raise the peak memory of a
fresh process over that after the imports.

`--write docs/benchmarks.md` puts the table, the goals and a picture into the page of results; with
`--read FILE.json`, from what an earlier run left with `--out FILE.json`, on another machine for instance.

PyTorch need not live in the same environment: `--python torch=/path/to/python` names another interpreter
for one library, `--python /path/to/python` for all but minidl; it needs NumPy and the library, nothing else. The
environment variable MINIDL_BENCH_PYTHON holds the same, separated by commas.
"""


class Missing(Exception):
    """Nothing wrong: the library, the op or the device is not there."""
