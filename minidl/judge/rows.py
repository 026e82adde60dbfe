"""What is judged, and what comes of it: plain values that travel between processes and into the gradebook."""
from dataclasses import dataclass
from datetime import datetime

VERDICTS = ("ok", "wrong", "timeout", "memory", "killed", "import-error", "protocol-error", "rejected-file",
            "grader-error")


@dataclass(frozen=True)
class Cell:
    """A code cell of a notebook.

    Attributes:
        id: the cell's id, as the file gives it; "" if it has none.
        source: its text.
    """

    id: str
    source: str


@dataclass(frozen=True)
class Submission:
    """One notebook that a student handed in.

    Attributes:
        student: who, as the gradebook knows them.
        name: who, for people.
        path: where it came from, for the teacher.
        received: when it came, in UTC; None if that is not known.
        digest: SHA-256 of the file's bytes, in hexadecimal.
        cells: its code cells in order; none if the file was rejected.
        fault: why the file cannot be read, in a sentence; "" if it can.
        note: what a teacher should know of it, such as a name that looks like another; it is graded all the same.
    """

    student: str
    name: str
    path: str
    received: datetime | None
    digest: str
    cells: tuple[Cell, ...] = ()
    fault: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """What came of one exercise in one submission: a line of the gradebook.

    Attributes:
        student, exercise, digest: the key: who, the exercise's id, and the submission's digest.
        verdict: one of VERDICTS.
        points, out_of: what it earned, and could have.
        passed, cases: how many cases were right, of how many.
        message: what the student reads: written by a teacher, without a value of a hidden case.
        level: how the student's process was fenced in: "L3" to "L0".
        seed: the run's secret seed, from which the same cases come again.
        spec: the version of the exercise's spec.
        seconds: wall-clock seconds that the task took.
        detail: a line for the teacher alone.
    """

    student: str
    exercise: str
    digest: str
    verdict: str
    points: float
    out_of: float
    passed: int
    cases: int
    message: str
    level: str
    seed: int
    spec: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Limits:
    """How much a student's process may use.

    Attributes:
        seconds: wall-clock seconds for one case; None for what the exercise says.
        start_seconds: wall-clock seconds until the answer's cells have run.
        memory_mb: memory in MiB (2**20 bytes).
        output_mb: what may come back for one case, in MiB.
    """

    seconds: float | None = None
    start_seconds: float = 10.0
    memory_mb: int = 1024
    output_mb: int = 16
