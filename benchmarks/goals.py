"""What minidl set out to reach, and whether it did: the figures are limits, set before minidl was written."""
from .report import digits, ratios

# Times and memory of (g) as a limit: a ratio to PyTorch eager, milliseconds over NumPy for (f), MiB for (g).
LIMITS = {
    "minidl": {"a": 0.75, "b": 1.1, "c": 1.5, "d": 1.5, "e": 0.55, "f": 25, "g": 160},
    "minidl-compiled": {"a": 0.65, "b": 0.75, "c": 1.0, "d": 1.35, "e": 0.2, "g": 160},
    "minidl-numba": {"a": 0.6, "b": 0.65, "c": 0.9, "d": 1.0, "e": 0.1},
}
# (library, workload, another library): at most this many times the other's time.
BESIDE = {
    ("minidl-numba", "b", "torch-channels-last"): 1.0,
    ("minidl-compiled", "b", "dezero"): 1 / 5,
    ("minidl-compiled", "b", "mygrad"): 1 / 10,
    ("minidl-compiled", "d", "dezero"): 1 / 5,
    ("minidl-compiled", "d", "mygrad"): 1 / 5,
}


def rows(found):
    """(workload, library, beside whom, goal, measured, verdict) for each goal, all as text."""
    goals = [(k, name, "torch", limit) for name, limits in LIMITS.items() for k, limit in limits.items()]
    goals += [(k, name, other, limit) for (name, k, other), limit in BESIDE.items()]
    return [row(found["workloads"].get(k, {}), *goal) for goal in sorted(goals, key=lambda g: g[0]) for k in goal[:1]]


def row(entries, k, name, other, limit):
    """One goal in words."""
    unit = {"f": "+{:.0f} ms", "g": "{:.0f} MiB"}.get(k)
    beside = {"f": "NumPy", "g": "-"}.get(k, other)
    goal = unit.format(limit) if unit else f"{limit:.2f}"
    entry, base = entries.get(name), entries.get(other)
    if entry is None or (unit is None and base is None):
        return f"({k})", name, beside, goal, "-", "not measured"
    if unit:
        low = value = high = entry["extra_ms" if k == "f" else "mib"]
        measured = unit.format(value)
    else:
        low, value, high = ratios(entry["seconds"], base["seconds"])
        measured = f"{digits(value)} ({digits(low)}-{digits(high)})"
    return f"({k})", name, beside, goal, measured, verdict(low, value, high, limit)


def verdict(low, value, high, limit):
    """Reached or missed by the median; where half of the rounds say so and half do not, that is said, too."""
    close = low <= limit < high
    return ("reached" if value <= limit else "**missed**") + (", within the spread" if close else "")
