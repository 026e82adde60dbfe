"""A page for each student: what every answer earned, and what its teacher has to say about it.

A page holds the words of teachers (the message of the row, the exercise's title) and nothing that came out of a
submission but the student's name; everything is escaped, there is no script, and the page forbids itself any. Hidden
cases, their values and the details that are meant for the teacher are not on it.
"""
import hashlib
import re
from html import escape
from pathlib import Path

from ..errors import ArgumentError
from ..grading import find
from ..viz import theme
from .marks import Mark, Standing

# What a verdict is called, and its mark: a state is never told by colour alone.
SAID = {"ok": ("✓", "right"), "wrong": ("✗", "not right"), "timeout": ("↻", "took too long"),
        "memory": ("!", "needed too much memory"), "killed": ("!", "came to a sudden end"),
        "import-error": ("!", "stopped with an error before it was called"),
        "protocol-error": ("!", "disturbed the process that ran it"),
        "rejected-file": ("!", "the file could not be read"), "grader-error": ("?", "could not be graded")}
NOTHING = ("·", "not handed in")
BLANK = ("·", "not attempted")

STYLE = f"""
{theme.scheme(":root")}
:root {{ color-scheme: light dark; }}
body {{ margin: 0; background: var(--md-paper); color: var(--md-ink); font: 15px/1.5 {theme.FONT}; }}
main {{ max-width: 46rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
p {{ margin: .25rem 0; overflow-wrap: anywhere; }}
.muted, .who {{ color: var(--md-muted); }}
.sum {{ font-size: 1.25rem; font-weight: 600; margin-top: 1rem; font-variant-numeric: tabular-nums; }}
.bar {{ height: .6rem; margin: .35rem 0 .75rem; background: var(--md-panel); border: 1px solid var(--md-line);
  border-radius: .3rem; overflow: hidden; }}
.bar i {{ display: block; height: 100%; background: var(--md-positive); }}
.late {{ border-left: 4px solid var(--md-negative); background: var(--md-panel); padding: .4rem .8rem;
  margin: .75rem 0; }}
ol {{ list-style: none; margin: 0; padding: 0; }}
li {{ display: grid; grid-template-columns: 1.6rem 1fr auto; gap: 0 .5rem; padding: .6rem 0;
  border-top: 1px solid var(--md-grid); break-inside: avoid; }}
.mark {{ font-weight: 700; text-align: center; color: var(--md-negative); }}
.ok .mark, .ok .state {{ color: var(--md-positive); }}
.none .mark, .none .state {{ color: var(--md-muted); }}
.state {{ color: var(--md-negative); }}
.title {{ font-weight: 600; }}
.points {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
footer {{ margin-top: 2.5rem; font-size: .85rem; color: var(--md-muted); border-top: 1px solid var(--md-grid);
  padding-top: .75rem; }}
"""


def write_feedback(standings: list[Standing], assignment, folder) -> list[Path]:
    """Write a page for each student into a folder; returns their paths, in the same order.

    What is written over is only a page of the same student; the folder is made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for one in standings:
        paths.append(folder / f"{file_name(one.student)}.html")
        paths[-1].write_text(page(one, assignment), encoding="utf-8", newline="\n")
    return paths


def file_name(student):
    """A name for a student's file that is no path, nobody else's, and the same each time.

    >>> file_name("ada"), file_name("../../etc/passwd")
    ('ada-fdee430d', 'etc-passwd-3754d6cb')
    """
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", student).strip("-")[:40]
    return f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:8]}".lstrip("-")


def page(standing: Standing, assignment) -> str:
    """The page of one student, as HTML."""
    share = 100 * standing.points / standing.out_of if standing.out_of else 0
    late = "".join(f'<p class="late">{escape(text)}</p>' for text in standing.late)
    items = "\n".join(_item(mark) for mark in standing.marks)
    total = f"{_number(standing.points)} of {_points(standing.out_of)}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(assignment.name)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(assignment.name)}</h1>
<p class="who">Feedback for <bdi>{escape(standing.name)}</bdi></p>
<p class="sum">{total}</p>
<div class="bar" role="img" aria-label="{total}"><i style="width:{min(max(share, 0), 100):.1f}%"></i></div>
{late}
<h2>Your answers</h2>
<ol>
{items}
</ol>
<footer>Your answers were called with values that are drawn afresh for every grading, so they are not shown here. The
check in the notebook tries others; it can help you to find out more.</footer>
</main>
</body>
</html>
"""


def _item(mark: Mark):
    sign, said = _said(mark)
    kind = "ok" if sign == "✓" else "none" if sign == "·" else "bad"
    words = mark.row.message if mark.row and mark.row.message and mark.row.verdict != "ok" else ""
    words = words.removeprefix(BLANK[1].capitalize() + ".").strip()          # is said beside the title
    facts = []
    if mark.row and mark.row.cases and kind == "bad":
        facts.append(f"{mark.row.passed} of {mark.row.cases} hidden cases right")
    facts += [f"{mark.attempts} attempts"] if mark.attempts > 1 else []
    more = "".join([f"<p>{escape(words)}</p>" if words else "",
                    f'<p class="muted">{escape(" · ".join(facts))}</p>' if facts else ""])
    return (f'<li class="{kind}"><span class="mark" aria-hidden="true">{sign}</span>'
            f'<div><span class="title">{escape(_title(mark.exercise))}</span> '
            f'<span class="state">{escape(said)}</span>{more}</div>'
            f'<span class="points">{_number(mark.points)} of {_number(mark.out_of)}</span></li>')


def _said(mark):
    """The sign and the words for what came of an exercise."""
    if mark.row is None:
        return NOTHING
    if mark.blank:
        return BLANK
    return SAID[mark.row.verdict]


def _title(exercise):
    try:
        return f"{exercise} {find(exercise).title}"
    except ArgumentError:                                # of another version of minidl
        return exercise


def _number(points):
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _points(points):
    return f"{_number(points)} {'point' if points == 1 else 'points'}"
