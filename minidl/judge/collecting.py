"""From a folder or a zip full of notebooks to Submissions: whose each is, and when it came.

Five shapes are known: a folder for each student; nbgrader's `submitted/<student>/<assignment>/`; what Moodle and Canvas
let a teacher download, as a zip or unpacked; and a zip of folders. Nothing is unpacked to the disk, and no name from
outside becomes a path: a file is opened once, without following links, read once, and judged by the bytes that were
read. What is not fit to be read becomes a rejected Submission, so that nobody is left out in silence.
"""
import os
import re
import stat
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from ..errors import ArgumentError, DataError, message
from .deadlines import due_date, time_zone
from .names import lookalikes, tidy
from .reading import LARGEST, nobodys, owned, rejected
from .rows import Submission

DEEPEST = 8                          # folders in folders
MOST_FILES = 50_000                  # in a folder or a zip
MOST_OF_ONE = 50                     # files that one student may hand in
MOST_BYTES = 4 * 2**30               # read from one zip
RATIO = 250                          # ... and how many times the zip's own size, once that is more than SMALL
SMALL = 64 * 2**20
NOTEBOOKS = (".ipynb", ".py")
STAMP = "timestamp.txt"              # nbgrader writes the time of the submission into it
LITTER = ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")

MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?P<file>.*)", re.S)
CANVAS = re.compile(r"(?P<name>[^_]+)(?P<late>_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)", re.S)
HAND_IN = "Hand in the notebook itself, a file with the ending .ipynb."


@dataclass(frozen=True)
class Found:
    """A file, before it is known whose it is.

    Attributes:
        parts: its path below the source.
        received: when it was last written.
        read: what came of reading it, still without an owner; None if it is no notebook.
        stamp: the time that it says, if it is nbgrader's timestamp.txt.
    """

    parts: tuple[str, ...]
    received: datetime | None = None
    read: Submission | None = None
    stamp: datetime | None = None

    @classmethod
    def made(cls, parts, data=b"", received=None, fault="", note="") -> "Found":
        """What is found in a file of these bytes, or in one that could not be read."""
        path, kind = "/".join(parts), parts[-1].lower()
        if fault:
            return cls(parts, received, rejected(fault, path, received, data, note))
        if kind.endswith(NOTEBOOKS):
            read = nobodys(data, path, received)
            return cls(parts, received, replace(read, note=" ".join(filter(None, (read.note, note)))))
        return cls(parts, received, stamp=_stamp(data) if kind == STAMP else None)


@dataclass(frozen=True)
class Owner:
    """Whose a file is, as its path says.

    Attributes:
        student, name: as the gradebook knows them, and for people.
        file: the file's path below what names the student.
        timed: whether the file's time is when it came. A learning platform's zip has the time of the download.
    """

    student: str
    name: str
    file: str
    timed: bool = True


def collect(source, *, assignment="", zone="UTC") -> list[Submission]:
    """Every notebook of a class, each student's in order of time.

    Args:
        source: a folder or a zip.
        assignment: for nbgrader's folders: only what was handed in under this name; "" for all.
        zone: the time zone of the machine that made the zip; its times are local ones, unless it also says them in
            UTC. The times of zips from Moodle and Canvas are those of the download and count for nothing.

    Raises:
        ArgumentError: there is no such folder or zip, or nothing in it is a student's.
        DataError: the zip is damaged, or made to burst.
    """
    source = Path(source)
    if source.is_dir():
        found = list(_from_folder(source))
    elif source.is_file():
        found = _unwrapped(list(_from_zip(source, zone)))
    else:
        raise ArgumentError(message("There is no folder and no zip of this name.", [("source", source)]))
    submissions = _submissions(_owners(found), assignment)
    if not submissions:
        raise ArgumentError(message(
            "No submissions are here.", [("source", source), ("files", len(found))],
            "a folder for each student with the notebooks in it, or the zip from Moodle or Canvas as it came."))
    return _with_lookalikes(sorted(submissions, key=_in_order))


def marked_late(submission: Submission) -> bool:
    """Whether Canvas called it late, in the file's name."""
    found = CANVAS.fullmatch(PurePosixPath(submission.path).name)
    return bool(found and found["late"])


# --- whose it is ------------------------------------------------------------------------------------------------------


def _unwrapped(found: list[Found]) -> list[Found]:
    """The same, without a folder that only wraps everything in a zip."""
    tops = {f.parts[0] for f in found}
    second = {f.parts[1] for f in found if len(f.parts) > 2}
    wraps = len(tops) == 1 and len(second) > 1 and all(len(f.parts) > 2 for f in found)
    if not wraps or any(MOODLE.fullmatch(top) for top in tops):
        return found
    return [replace(f, parts=f.parts[1:]) for f in found]


def _owners(found: list[Found]) -> Iterator[tuple[Owner, Found]]:
    """Each file with its owner; what is no student's is left out."""
    if any(f.parts[0] == "submitted" and len(f.parts) > 3 for f in found):       # the root of a course of nbgrader
        found = [replace(f, parts=f.parts[1:]) for f in found if f.parts[0] == "submitted" and len(f.parts) > 1]
    for f in found:
        top, below = f.parts[0], "/".join(f.parts[1:])
        if match := MOODLE.fullmatch(top):
            yield Owner(match["id"], match["name"].strip(), below or match["file"], timed=False), f
        elif len(f.parts) > 1:
            yield Owner(top, top, below), f
        elif match := CANVAS.fullmatch(top):
            yield Owner(match["id"], match["name"], match["file"], timed=False), f
        elif f.read:                                     # it lies loose, and is named after its student
            stem = PurePosixPath(top).stem
            yield Owner(stem, stem, top), f


def _submissions(owners, assignment) -> list[Submission]:
    """A Submission for every notebook, and one with a fault for every student without any."""
    of_student: dict[str, list[tuple[Owner, Found]]] = defaultdict(list)
    for owner, f in owners:
        of_student[tidy(owner.student)].append((owner, f))
    result = []
    for files in of_student.values():
        named = [(owner, f) for owner, f in files if _assignment(owner) == assignment]
        result += _of_one(named if assignment and any(_assignment(owner) for owner, _ in files) else files)
    return result


def _assignment(owner):
    """nbgrader's name of the assignment: the folder between the student and the file."""
    return owner.file.split("/")[0] if "/" in owner.file else ""


def _of_one(files) -> list[Submission]:
    """The submissions of one student. Scripts count only where there is no notebook: they may be anything."""
    stamps = {_assignment(owner): f.stamp for owner, f in files if f.stamp and _is_nbgraders(owner)}
    readable = [(owner, f) for owner, f in files if f.read]
    notebooks = [(owner, f) for owner, f in readable if not f.parts[-1].lower().endswith(".py")]
    result = {}

    def came(owner, f):
        return stamps.get(_assignment(owner)) or (f.received if owner.timed else None)

    for owner, f in (notebooks or readable)[:MOST_OF_ONE]:
        submission = owned(replace(f.read, received=came(owner, f)), owner.student, owner.name)
        result.setdefault((submission.path, submission.digest), submission)       # the same file twice is one attempt
    said = ""
    if len(notebooks or readable) > MOST_OF_ONE:
        said = f"These are more than {MOST_OF_ONE} notebooks; the rest was not looked at."
    elif not result and files:
        names = sorted({tidy(PurePosixPath(owner.file).name) for owner, _ in files} - {"", STAMP})
        said = f"There is no notebook among the files ({', '.join(names[:5])}). {HAND_IN}" if names else \
            f"There is no notebook. {HAND_IN}"
    if said:
        owner, f = files[-1]
        return [*result.values(), owned(rejected(said, "/".join(f.parts), came(owner, f)), owner.student, owner.name)]
    return list(result.values())


def _is_nbgraders(owner):
    """Whether a timestamp.txt lies where nbgrader puts it. Anywhere else it is a student's own word."""
    return owner.timed and owner.file.count("/") == 1


def _stamp(data) -> datetime | None:
    """The time in nbgrader's timestamp.txt, such as `2026-12-04 21:58:23.948203 UTC`."""
    try:
        text = data.decode("ascii").strip()
        zone = text.split()[-1]
        return due_date(text.removesuffix(zone), zone) if zone.isalpha() else due_date(text)
    except (UnicodeDecodeError, IndexError, ArgumentError):
        return None


def _in_order(submission: Submission):
    return (submission.student, submission.received or datetime.min.replace(tzinfo=UTC), submission.path)


def _with_lookalikes(submissions: list[Submission]) -> list[Submission]:
    """The same, with a note on each student whose name looks like that of another."""
    twins = lookalikes(s.student for s in submissions)
    said = {name: f"Another student's name looks the same: {', '.join(map(repr, others))}."
            for name, others in twins.items()}
    return [replace(s, note=f"{s.note} {said[s.student]}".strip()) if s.student in said else s for s in submissions]


def _wanted(parts):
    """Whether a file is to be looked at: nothing hidden, no litter of operating systems and Jupyter."""
    return not any((part.startswith(".") and part[:2] != "..") or part in LITTER for part in parts)


def _worth_reading(name):
    return name.lower().endswith(NOTEBOOKS) or name == STAMP


# --- from a folder ----------------------------------------------------------------------------------------------------


def _from_folder(source: Path) -> Iterator[Found]:
    """Every file below a folder. The source itself may be a link, nothing below it may."""
    for count, f in enumerate(_walk(_open_folder(source, None), ())):
        if count >= MOST_FILES:
            raise ArgumentError(message(f"These are more than {MOST_FILES} files.", [("source", source)]))
        yield f


# Where the system can, folders are held open and names are looked up in them: nobody can put a link in their place.
HELD = os.scandir in os.supports_fd and os.open in os.supports_dir_fd
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
SOFTLY = NO_LINK | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY"))


def _walk(folder, parts) -> Iterator[Found]:
    """Every file below an open folder, which is closed at the end."""
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name, _mode(entry)) for entry in entries)
        empty = True
        for name, mode in names:
            path = (*parts, name)
            if not _wanted(path):
                continue
            empty = False
            if not stat.S_ISDIR(mode):
                yield _read_file(folder, path, mode)
            elif len(path) > DEEPEST:
                yield Found.made(path, fault=f"Folders lie in folders, more than {DEEPEST} deep. {HAND_IN}")
            else:
                try:
                    below = _open_folder(name, folder)
                except OSError as error:
                    yield Found.made(path, fault=f"The folder cannot be opened ({error.strerror}).")
                else:
                    yield from _walk(below, path)
        if empty and len(parts) == 1:
            yield Found((*parts, ""))                     # a student who handed in nothing is a student all the same
    finally:
        if HELD:
            os.close(folder)


def _mode(entry):
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return 0


def _open_folder(name, folder):
    """A folder held open, or its path where the system does not know such a thing."""
    if not HELD:
        return Path(name) if folder is None else Path(folder, name)
    no_link = 0 if folder is None else NO_LINK
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | no_link, dir_fd=folder)


def _read_file(folder, path, mode) -> Found:
    """Open once, look at what was opened, read once."""
    if stat.S_ISLNK(mode):
        return Found.made(path, fault=f"This is a link to another file. {HAND_IN}")
    if not stat.S_ISREG(mode):
        return Found.made(path, fault=f"This is no plain file. {HAND_IN}")
    try:
        file = os.open(path[-1] if HELD else Path(folder, path[-1]), os.O_RDONLY | SOFTLY,
                       **({"dir_fd": folder} if HELD else {}))
        with open(file, "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode):
                return Found.made(path, fault=f"This is no plain file. {HAND_IN}")
            data = opened.read(LARGEST + 1) if _worth_reading(path[-1]) else b""
    except OSError as error:
        return Found.made(path, fault=f"The file cannot be opened ({error.strerror}).")
    return Found.made(path, data, _moment(about.st_mtime))


def _moment(seconds):
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))
    except OverflowError:
        return None


# --- from a zip -------------------------------------------------------------------------------------------------------


def _from_zip(source: Path, zone) -> Iterator[Found]:
    time_zone(zone)
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > MOST_FILES:
                raise DataError(message(f"The zip holds more than {MOST_FILES} files.", [("zip", source)]))
            limit = min(MOST_BYTES, max(SMALL, RATIO * source.stat().st_size))
            yield from _members(archive, members, limit, zone)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(message("This is no zip, or a damaged one.", [("zip", source), ("because", error)],
                                "download it again.")) from None


def _members(archive, members, limit, zone) -> Iterator[Found]:
    """Every file in a zip. What it says of its own sizes is not believed: bytes are counted as they come."""
    names = Counter(member.filename for member in members)
    total = 0
    for member in members:
        parts = tuple(part for part in member.orig_filename.split("/") if part != ".")
        if member.orig_filename.endswith("/") or not _wanted(part for part in parts if part != ".."):
            continue
        note = "The zip holds this name more than once." if names[member.filename] > 1 else ""
        if fault := _unfit(member, parts):
            yield Found.made(tuple(p for p in parts if p not in ("", "..")) or ("zip",), fault=fault, note=note)
            continue
        data = b""
        if _worth_reading(parts[-1]):
            try:
                with archive.open(member) as opened:
                    data = opened.read(LARGEST + 1)
            except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
                fault = f"The zip is damaged at this file ({type(error).__name__}). {HAND_IN}"
        total += len(data)
        if total > limit:
            raise DataError(message("The zip is made to burst: it holds far more than its size.",
                                    [("zip", archive.filename), ("read", f"{total} bytes")],
                                    "download it again, or unpack it by hand and look."))
        yield Found.made(parts, data, _time_in_zip(member, zone), fault, note)


def _unfit(member, parts):
    """Why a member of a zip is not read; "" if it may be."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.flag_bits & 0x1:
        return f"The file is locked with a password. {HAND_IN}"
    if stat.S_ISLNK(kind):
        return f"This is a link to another file. {HAND_IN}"
    if kind not in (0, stat.S_IFREG):
        return f"This is no plain file. {HAND_IN}"
    leads_out = {"", ".."} & set(parts) or re.search(r"[\\\0]|^[A-Za-z]:", member.orig_filename)
    if leads_out or len(parts) > DEEPEST:
        return f"The file's name leads out of its folder. {HAND_IN}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"The file is packed in an unusual way. {HAND_IN}"
    return ""


def _time_in_zip(member, zone) -> datetime | None:
    """When a member was last written: from the extra field that says it in UTC, or the local time that is always there.

    Source: APPNOTE.TXT 4.4.6 for the local time; Info-ZIP's extra field 0x5455 for the other.
    """
    extra = member.extra
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return _moment(int.from_bytes(extra[5:9], "little", signed=True))
        extra = extra[4 + size:]
    try:
        return None if member.date_time[0] <= 1980 else due_date(datetime(*member.date_time), zone)
    except (ValueError, ArgumentError):
        return None
