"""docs/benchmarks.md: a section a device, each replaced as a whole by a new run; nothing in it is written by hand."""
import re

from . import goals, report

HEAD = """# Benchmarks

A full training step (forward, loss, backward, update) in minidl, beside PyTorch and other libraries for Python, as
ratios: libraries take turns within seconds, so all meet the same machine, and their first losses must agree, so all do
the same work. `benchmarks/__init__.py` says how in detail. Your own figures come from `make bench`.

This page is written by `python -m benchmarks --write docs/benchmarks.md` (with `--device cuda` for the second part).
Nothing here is corrected by hand, and what was missed stays.
"""
NOTES = "Why some goals are missed, and where the time goes: [performance.md](performance.md).\n"
TITLES = {"cpu": "On a CPU", "cuda": "On a GPU"}


def write(found, path):
    """Put what was found into the page, and the picture into the folder pictures/ beside it."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = {device: section_of(old, device) for device in TITLES}
    device = found.get("device", "cpu")
    picture = drawn(found, path, device)
    sections[device] = section(found, device, picture)
    notes = [NOTES] if (path.parent / "performance.md").exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEAD, *notes, *filter(None, sections.values())]), encoding="utf-8")


def section_of(text, device):
    """The section of a device as it stands in a page; "" if there is none."""
    found = re.search(rf"<!-- {device} -->\n.*?<!-- end of {device} -->\n", text, re.S)
    return found.group() if found else ""


def drawn(found, path, device):
    """The name of the picture, from the page; None without matplotlib or ratios."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return None
    if not report.drawable(found):
        return None
    name = "pictures/benchmarks.png" if device == "cpu" else f"pictures/benchmarks_{device}.png"
    (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
    report.plot(found, path.parent / name)
    return name


def section(found, device, picture):
    """Machine, table, picture, goals, remarks."""
    lines = [f"<!-- {device} -->", f"## {TITLES[device]}", "", report.about(found), "", report.legend(found), ""]
    lines += report.marked_down([cells if not cells[0].startswith("minidl") else bold(cells)
                                 for cells in report.table(found)])
    lines += ["", *[f"* {title}" for title in report.titles(found)], ""]
    if picture:
        lines += [f"![Bars of the ratios in the table above.]({picture})", ""]
    if device == "cpu":
        lines += ["### Goals", "", "Set before minidl was written; a ratio is to be at most the goal.", ""]
        header = ["workload", "library", "beside", "goal", "measured", "verdict"]
        lines += [*report.marked_down([header, *goals.rows(found)]), ""]
    remarks = report.remarks(found)
    lines += ["### Remarks", "", *[f"* {remark}" for remark in remarks], ""] if remarks else []
    return "\n".join([*lines, f"<!-- end of {device} -->", ""])


def bold(cells):
    return [f"**{cells[0]}**", *cells[1:]]
