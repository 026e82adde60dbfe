"""What was found, as a table and as bars."""
import statistics
from pathlib import Path

from .workloads import WORKLOADS

UNSTEADY = 1.5                # upper over lower quartile of the baseline's seconds


def baseline(entries):
    """The library that the ratios of a workload refer to: it was asked first."""
    return next(iter(entries), None)


def cell(workload, entry):
    """One measurement in words."""
    if entry is None:
        return "-"
    if workload == "f":
        return f"+{entry['extra_ms']:.0f} ms, x {entry['over_numpy']:.2f}"
    low, middle, high = entry["ratio"]
    if workload == "g":
        return f"{entry['mib']:.0f} MiB, x {middle:.2f}"
    return f"{digits(middle)} ({digits(low)}-{digits(high)})"


def digits(ratio):
    """Two digits after the point, or as many as it takes to see one."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.1g}"


def ratios(seconds, baseline):
    """Lower quartile, median and upper quartile of the ratios round by round."""
    each = [s / b for s, b in zip(seconds, baseline)]
    return statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3


def table(found):
    """Rows of cells: one column a workload, one row a library."""
    workloads = found["workloads"]
    rows = [["", *[f"({k}) {WORKLOADS[k].short}" for k in workloads]]]
    for name in found["versions"]:
        rows.append([name, *[cell(k, entries.get(name)) for k, entries in workloads.items()]])
    return rows


def text(found, markdown=False):
    """The table with all that is needed to read it."""
    rows = table(found)
    if markdown:
        lines = marked_down(rows)
    else:
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
    notes = [legend(found), *titles(found), about(found), *remarks(found)]
    return "\n".join([*lines, "", *paragraphs(notes, markdown)])


def marked_down(rows):
    """The lines of a Markdown table; the first row is its head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "| " + " | ".join(["---"] * len(rows[0])) + " |", *body]


def remarks(found):
    """What went wrong, and what is not in the table."""
    return [*disturbed(found), *[f"Skipped: {n}" for n in found["skipped"]], *[f"ERROR: {n}" for n in found["errors"]]]


def paragraphs(lines, markdown):
    return [f"* {line}" for line in lines] if markdown else lines


def legend(found):
    bases = {baseline(entries) for k, entries in found["workloads"].items() if entries and k != "f"}
    if not bases:
        return f"Fastest of {found['rounds']} runs."
    return (f"Time of a training step as a ratio to {' or '.join(sorted(bases))} (below 1 is faster): "
            f"median of {found['rounds']} rounds, quartiles in brackets.")


def titles(found):
    return [f"({k}) {WORKLOADS[k].title}" for k in found["workloads"]]


def disturbed(found):
    """A warning about workloads in which the baseline was not even as fast as itself."""
    names = []
    for k, entries in found["workloads"].items():
        seconds = sorted(entries.get(baseline(entries), {}).get("seconds", [1]))
        if seconds[3 * len(seconds) // 4] > UNSTEADY * seconds[len(seconds) // 4]:
            names.append(f"({k})")
    what = f"the baseline's own time varied by more than {UNSTEADY:g}x between rounds; other work was in the way"
    return [f"WARNING {', '.join(names)}: {what}, so repeat it."] if names else []


def about(found):
    """The machine, the versions, the date, and whether something else was running."""
    m = found["machine"]
    versions = {}
    for each in found["versions"].values():
        for name, version in each.items():
            versions.setdefault(name, []).append(version)
    words = [f"{name} {' / '.join(dict.fromkeys(each))}" for name, each in versions.items()]
    load = "" if m["load_at_start"] is None else f"; load average at the start {m['load_at_start']:.1f}"
    now = m.get("busy_at_start")
    load += "" if now is None else f", cores busy in the second before it {now:.1f}"
    others = m["load_at_start"] if now is None else now
    busy = ": the machine was busy with other work, see --threads 1" if (others or 0) > 0.7 else ""
    memory = f" {m['memory_gib']} GiB," if m.get("memory_gib") else ""
    gpu = f"{found['gpu']} (TF32 off), " if "gpu" in found else ""
    place = f"{m['date']}, {gpu}{m['cpu']}, {m['cores']} cores,{memory} threads used: {m['threads']}, {m['system']}"
    return f"{place}; {', '.join(words)}{load}{busy}."


def drawable(found):
    """The workloads that have ratios."""
    return {k: entries for k, entries in found["workloads"].items() if entries and k != "f"}


def plot(found, path):
    """Bars of the ratios, one picture a workload, on a logarithmic axis; the line at 1 is the baseline."""
    from minidl.viz.picture import GRID, INK, LINES, Picture, canvas
    shown = drawable(found)
    if not shown:
        raise SystemExit("--plot: there are no ratios to draw")
    figure, axes = canvas(len(shown), 1, size=(6.4, 0.6 + 0.2 * max(map(len, shown.values()))))
    for ax, (workload, entries) in zip(axes[:, 0], shown.items()):
        names = list(entries)[::-1]
        low, middle, high = zip(*[entries[name]["ratio"] for name in names])
        colours = [LINES[1][0] if name.startswith("minidl") else LINES[0][0] for name in names]
        spread = [m - a for m, a in zip(middle, low)], [b - m for m, b in zip(middle, high)]
        ax.barh(names, [m - 1 for m in middle], left=1, color=colours, height=0.6, xerr=spread, ecolor=INK)
        ax.set_xscale("log")
        ax.set_xlim(min(0.25, 0.7 * min(low)), max(4, 1.9 * max(high)))
        ax.set_xticks(*ticks(ax.get_xlim()))
        ax.minorticks_off()
        ax.axvline(1, color=INK, linewidth=0.8)
        ax.grid(axis="x", color=GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        for k, (m, b) in enumerate(zip(middle, high)):
            ax.annotate(digits(m), (max(b, 1), k), xytext=(4, 0), textcoords="offset points", va="center")
        what = "peak of ten steps of the CNN" if workload == "g" else "time of a training step"
        ax.set_title(f"({workload}) {WORKLOADS[workload].short}: {what} as a ratio to {names[-1]}", loc="left")
    picture = Picture(figure, text(found))
    if Path(path).suffix == ".png":
        Path(path).write_bytes(picture.png(dpi=120))      # a palette: a third of the size
    else:
        picture.save(path)


def ticks(limits):
    """Places and labels on the logarithmic axis: powers of two, or of ten where there are too many."""
    step = 2 if limits[1] / limits[0] < 1000 else 10
    places = [step ** k for k in range(-10, 12) if limits[0] <= step ** k <= limits[1]]
    return places, [f"{p:g}" for p in places]
