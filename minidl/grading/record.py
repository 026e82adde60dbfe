"""What the learner has done: one file of their own, one line for each event, only ever added to.

The file is `~/.minidl/progress.jsonl`, or what the environment variable MINIDL_PROGRESS names; MINIDL_PROGRESS=off
keeps none. A line is a JSON object. Whoever reads it leaves alone what it does not know, and lines that are damaged: so
an older minidl, a newer one, and two notebooks at once can share it. To merge two files is to put their lines together.
"""
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError, message

NO_HOME = "(Not remembered: there is no home folder. MINIDL_PROGRESS can name a file.)"


@dataclass
class Done:
    """What the record says about one exercise.

    Attributes:
        tried: how often it was checked.
        right: whether an answer was right, once.
        hints: how many hints were taken.
        solution: whether the solution was read before an answer was right.
        source: the answer that was right, as text that can be run again; "" if there is none.
    """

    tried: int = 0
    right: bool = False
    hints: int = 0
    solution: bool = False
    source: str = ""


def path():
    """Where the record lies; None if none is kept, or there is no home for it."""
    chosen = os.environ.get("MINIDL_PROGRESS")
    try:
        if chosen:
            return None if chosen == "off" else Path(chosen).expanduser()
        return Path.home() / ".minidl" / "progress.jsonl"
    except RuntimeError:                                  # a user without a home, as in some containers
        return None


def remember(event, id, **facts):
    """Add a line. Returns "", or a sentence that says why it could not be written: that must not stop a lesson."""
    file = path()
    if file is None:
        return "" if os.environ.get("MINIDL_PROGRESS") == "off" else NO_HOME
    try:
        _append(file, [json.dumps({"event": event, "id": id, "time": round(time.time(), 3), **facts})])
    except OSError as error:
        return f"(Not remembered: {file.name} cannot be written, {error.strerror or error}.)"
    return ""


def read():
    """{id: Done} of everything in the record."""
    done = {}
    for entry in map(_parsed, _lines(path())):
        if entry is None:
            continue
        one = done.setdefault(entry["id"], Done())
        if entry["event"] == "check":
            one.tried += 1
            if entry.get("state") == "right":
                one.right, one.source = True, str(entry.get("source") or one.source)
        elif entry["event"] == "hint":
            one.hints = min(one.hints + 1, 3)
        elif entry["event"] == "solution" and not one.right:
            one.solution = True
    return done


def export_progress(target):
    """Write a copy of the record to another file, which must not exist yet. Returns its path.

    Raises:
        ArgumentError: the file exists.
    """
    target = Path(target)
    try:
        with open(target, "x", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in _lines(path()))
    except FileExistsError:
        raise ArgumentError(message("export_progress: this file exists already.", [("file", target.name)],
                                    "another name; nothing is ever overwritten.")) from None
    return target


def import_progress(source):
    """Add what another record knows to this one: lines that are here already are not added again.

    A record holds the text of answers, which `use` runs when it is asked to: import your own records, not a stranger's.

    Returns:
        How many lines were new.

    Raises:
        ArgumentError: the file does not exist, or holds no record.
    """
    theirs = _lines(Path(source))
    if not any(map(_parsed, theirs)):
        raise ArgumentError(message("import_progress: this is not a record of progress.", [("file", Path(source).name)],
                                    "a file that export_progress wrote."))
    file = path()
    if file is None:
        return 0
    here = set(_lines(file))
    new = [line for line in dict.fromkeys(theirs) if line not in here and _parsed(line)]
    if new:
        _append(file, new)
    return len(new)


def _append(file, lines):
    """Add whole lines in one write, and see them to the disk.

    The system puts a write in append mode behind all others, whole. Another process that is about to end its line may
    look like one that was cut off: then an empty line comes in between, which nobody minds.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(line + "\n" for line in lines).encode("utf-8")
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        if end and _last_byte(descriptor, end) != b"\n":             # somebody was cut off; begin on a new line
            data = b"\n" + data
        while data:                                                  # on a disk that is nearly full, only a part
            data = data[os.write(descriptor, data):]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_byte(descriptor, end):
    os.lseek(descriptor, end - 1, os.SEEK_SET)
    return os.read(descriptor, 1)


def _lines(file):
    """The lines of a record; none if there is no file."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file else ""
    except OSError:
        return []
    return [line for line in text.split("\n") if line.strip()]


def _parsed(line):
    """An entry with an event and an id; None if the line is damaged or something else."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(entry, dict) and isinstance(entry.get("event"), str) and isinstance(entry.get("id"), str)
    return entry if known else None
