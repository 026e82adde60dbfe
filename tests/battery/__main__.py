"""Measure the battery on a calm machine: python -m tests.battery [LEVEL] [WORD ...]

Runs the rows whose names hold the words (all without any), with the limits that a calm machine keeps, and prints what
is not as it must be, and the figures. The exit status is 1 if anything is not.
"""
import sys
import time

from minidl.judge import sandbox

from . import AT_LEVEL_0, ROWS
from .world import play


def main(level="L3", *words):
    """Returns the exit status."""
    if reason := sandbox.lacks(level):
        print(f"{level} cannot be had here: {reason}")
        return 1
    rows = [row for row in (AT_LEVEL_0 if level == "L0" else ROWS) if all(word in row.name for word in words)]
    began, beyond, bad, outcomes = time.monotonic(), [], 0, []
    play(rows[0], level)                                       # what is made once is made before the clock counts
    for row in rows:
        outcome = play(row, level, strict=True)
        outcomes.append(outcome)
        beyond.append((outcome.seconds - row.budget, row.name))
        bad += bool(outcome.faults)
        print(f"{'✗' if outcome.faults else '✓'} {outcome.seconds:6.2f} s  {row.name}", *outcome.faults, sep="\n    ",
              flush=True)
    print(f"{level}: {len(rows)} rows, {len(rows) - bad} as expected, {sum(o.effects for o in outcomes)} effects, "
          f"{sum(o.left for o in outcomes)} processes left, {time.monotonic() - began:.0f} s")
    print("beyond the limit: " + ", ".join(f"{seconds:+.2f} s ({name})" for seconds, name in sorted(beyond)[-5:][::-1]))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
