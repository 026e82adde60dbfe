"""What counts: of all attempts of a student the ones that the assignment says, with what lateness costs.

The gradebook keeps what every file earned. Which attempt counts and what a day costs is looked up here, each time, so a
due date that was extended needs no new grading.
"""
from collections import defaultdict
from dataclasses import dataclass

from ..errors import ArgumentError, message
from .collecting import marked_late
from .deadlines import Attempt, Lateness, judge_lateness, which_counts
from .gradebook import Gradebook, storable
from .release import Assignment
from .rows import Row
from .run import worth
from .task import BLANK


@dataclass(frozen=True)
class Mark:
    """What a student has for one exercise.

    Attributes:
        exercise: its id.
        points, out_of: what counts, after lateness; and what there was to earn.
        row: the Row that counts; None if nothing was handed in for it.
        lateness: of that attempt.
        attempts: how many there were.
    """

    exercise: str
    points: float
    out_of: float
    row: Row | None = None
    lateness: Lateness = Lateness()
    attempts: int = 0

    @property
    def blank(self):
        """Whether something was handed in and this exercise left as it was."""
        return self.row is not None and self.row.verdict == "wrong" and self.row.message.startswith(BLANK)


@dataclass(frozen=True)
class Standing:
    """All marks of one student.

    Attributes:
        student, name: as the gradebook knows them, and for people.
        marks: one for each exercise of the assignment, in its order.
    """

    student: str
    name: str
    marks: tuple[Mark, ...]

    @property
    def points(self):
        """What it comes to."""
        return round(sum(mark.points for mark in self.marks), 6)

    @property
    def out_of(self):
        """What there was to earn."""
        return round(sum(mark.out_of for mark in self.marks), 6)

    @property
    def late(self):
        """What is said about lateness, each sentence once."""
        return list(dict.fromkeys(mark.lateness.text for mark in self.marks if mark.lateness.late))

    @property
    def failed(self):
        """Whether the judge itself failed on one of the answers that count."""
        return any(mark.row and mark.row.verdict == "grader-error" for mark in self.marks)


def assignment_of(gradebook: Gradebook, name=None) -> Assignment:
    """An assignment as it was when it was last graded.

    Args:
        name: which; None if there is only one.

    Raises:
        ArgumentError: there is none, or there are several and none was named.
    """
    known = gradebook.assignments()
    if name is None and len(known) == 1:
        name = known[0]
    if name not in known:
        raise ArgumentError(message("Which assignment?" if known else "Nothing was graded yet.",
                                 [("asked for", name or "none"), ("graded", ", ".join(known) or "none")],
                                 "--assignment with one of these, or with an assignment file."))
    return Assignment.from_dict([run for run in gradebook.runs() if run.assignment == name][-1].settings)


def standings(gradebook: Gradebook, assignment: Assignment) -> list[Standing]:
    """What every student has, by name. For each exercise the attempt is chosen that `assignment.counts` says."""
    handed_in = gradebook.submissions()
    attempts = defaultdict(list)
    for row in gradebook.rows(storable(assignment.name)):
        if row.exercise in assignment.exercises:
            attempts[row.student, row.exercise].append((handed_in[row.student, row.digest], row))
    names = {student: submission.name for found in attempts.values() for submission, row in found
             for student in [row.student]}
    found = [Standing(student, name, tuple(_mark(attempts.get((student, exercise), []), exercise, student, assignment)
                                           for exercise in assignment.exercises))
             for student, name in names.items()]
    return sorted(found, key=lambda one: (one.name.casefold(), one.student))


def _mark(tried, exercise, student, assignment):
    """The Mark for one exercise: the attempt that counts, and its points after lateness."""
    out_of, due = float(assignment.exercises[exercise]), assignment.due_for(student)
    tried = [(submission, worth(row, out_of)) for submission, row in sorted(tried, key=lambda pair: pair[1].digest)]
    place = which_counts([Attempt(submission.received, row.points, marked_late(submission))
                          for submission, row in tried], due, assignment.late, assignment.counts)
    if place is None:
        return Mark(exercise, 0.0, out_of)
    submission, row = tried[place]
    lateness = judge_lateness(submission.received, due, assignment.late, marked_late(submission))
    return Mark(exercise, round(row.points * lateness.factor, 6), out_of, row, lateness, len(tried))
