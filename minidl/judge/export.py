"""Marks as CSV, for a spreadsheet, for Moodle and for Canvas.

Names come from students, and a spreadsheet runs what begins like a formula: such cells get an apostrophe in front, by
which the program knows that text is meant.
"""
import csv
import io

from .marks import Standing

FORMATS = ("csv", "moodle", "canvas")
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def export(standings: list[Standing], assignment, format="csv") -> str:
    """The marks of a class.

    Args:
        standings: as `marks.standings` gives them.
        assignment: what they are for.
        format: "csv", a line for each student and a column for each exercise; "moodle", the grading worksheet of an
            assignment (the students' ids must be those of Moodle's own zip); "canvas", the file that its gradebook
            imports (as well).

    Returns:
        The text of the file, lines ending in CR LF. For "csv" it begins with a byte order mark, without which
        spreadsheets spoil names with accents.
    """
    table = {"csv": _plain, "moodle": _moodle, "canvas": _canvas}[format](standings, assignment)
    out = io.StringIO()
    csv.writer(out).writerows([[defused(cell) for cell in line] for line in table])
    return ("\ufeff" if format == "csv" else "") + out.getvalue()


def defused(cell):
    """A cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> defused("=1+1"), defused("Ada"), defused(2.5)
    ("'=1+1", 'Ada', '2.5')
    """
    if isinstance(cell, (int, float)):
        return f"{cell:.4f}".rstrip("0").rstrip(".")
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _plain(standings, assignment):
    yield ["student", "name", *assignment.exercises, "points", "out of", "late", "judge failed"]
    for one in standings:
        yield [one.student, one.name, *(mark.points for mark in one.marks), one.points, one.out_of, " ".join(one.late),
               "yes" if one.failed else ""]


def _moodle(standings, assignment):
    """Moodle finds people by `Participant NUMBER`; an empty `Last modified` never writes over a mark made by hand."""
    yield ["Identifier", "Full name", "Grade", "Maximum grade", "Last modified (grade)", "Feedback comments"]
    for one in standings:
        said = "; ".join(f"{mark.exercise}: {defused(mark.points)} of {defused(mark.out_of)}" for mark in one.marks)
        who = f"Participant {one.student}" if one.student.isdigit() else one.student
        yield [who, one.name, one.points, one.out_of, "", " ".join([f"{said}.", *one.late])]


def _canvas(standings, assignment):
    """Canvas wants these five columns, then the assignment; the line under the head says what there is to earn."""
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment.name]
    yield ["Points Possible", "", "", "", "", float(sum(assignment.exercises.values()))]
    for one in standings:
        canvas = one.student.isdigit()
        yield [one.name, one.student if canvas else "", "", "" if canvas else one.student, "", one.points]
