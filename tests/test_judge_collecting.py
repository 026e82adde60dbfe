"""From folders and zips to submissions: whose each is, when it came, and nothing that deceives or bursts."""
import json
import os
import stat
import struct
import unicodedata
import zipfile
from datetime import UTC, datetime

import pytest

from minidl.errors import ArgumentError, DataError
from minidl.judge import collecting
from minidl.judge.collecting import collect, marked_late
from minidl.judge.reading import LARGEST

posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of this kind are POSIX's")
NOON = datetime(2026, 12, 4, 12, tzinfo=UTC)


def notebook(text="x = 1"):
    return json.dumps({"cells": [{"cell_type": "code", "id": "a", "source": text}], "nbformat": 4}).encode()


def folder_of(root, files, time=NOON):
    """Files in a folder: {path: bytes}."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        os.utime(root / path, (time.timestamp(), time.timestamp()))
    return root


def zip_of(path, members, time=(2026, 12, 4, 12, 0, 0)):
    """A zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name, time)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def told(submissions):
    return [(s.student, s.path, s.cells[0].source if s.cells else s.fault) for s in submissions]


# --- the shapes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [True, False])          # False: as on Windows, which cannot hold a folder open
def test_a_folder_for_each_student(tmp_path, monkeypatch, held):
    monkeypatch.setattr(collecting, "HELD", held and collecting.HELD)
    folder_of(tmp_path, {"student02/01.ipynb": notebook("b"), "student01/deep/er/01.ipynb": notebook("a"),
                         "README.md": b"", "student01/.ipynb_checkpoints/01-checkpoint.ipynb": notebook("old"),
                         "student01/data.csv": b"1,2", "student02/.hidden.ipynb": notebook("h"),
                         "__MACOSX/student01/._01.ipynb": b"", "student02/helper.py": b"y = 1"})
    found = collect(tmp_path)
    assert told(found) == [("student01", "student01/deep/er/01.ipynb", "a"), ("student02", "student02/01.ipynb", "b")]
    assert all(s.received == NOON and s.name == s.student and not s.note for s in found)


def test_the_attempts_of_a_student_are_in_order_of_time(tmp_path):
    for day, name in ((3, "a"), (1, "b"), (2, "c")):
        folder_of(tmp_path, {f"student01/{name}.ipynb": notebook(name)}, datetime(2026, 12, day, tzinfo=UTC))
    assert [s.cells[0].source for s in collect(tmp_path)] == ["b", "c", "a"]


def test_a_script_counts_where_there_is_no_notebook(tmp_path):
    folder_of(tmp_path, {"student01/01.py": b"# %%\nx = 1\n"})
    assert told(collect(tmp_path)) == [("student01", "student01/01.py", "x = 1")]


@pytest.mark.parametrize("below", ["", "submitted/"])
def test_nbgraders_folders(tmp_path, below):
    folder_of(tmp_path, {
        f"{below}student01/week1/01_tensors.ipynb": notebook("a"), f"{below}student01/week2/04.ipynb": notebook("b"),
        f"{below}student01/week1/timestamp.txt": b"2026-12-04 21:58:23.948203 UTC\n",
        f"{below}student02/week1/01_tensors.ipynb": notebook("c"),
        f"{below}student02/week1/timestamp.txt": b"2026-12-04 22:58:23 Europe/Berlin",
        f"{below}student03/week2/04.ipynb": notebook("d"),
        **({"source/week1/01_tensors.ipynb": notebook("teacher's"), "gradebook.db": b""} if below else {})})
    found = collect(tmp_path, assignment="week1")
    assert told(found) == [("student01", f"{below}student01/week1/01_tensors.ipynb", "a"),
                           ("student02", f"{below}student02/week1/01_tensors.ipynb", "c")]
    assert found[0].received == datetime(2026, 12, 4, 21, 58, 23, 948203, tzinfo=UTC)
    assert len(collect(tmp_path)) == 4


@pytest.mark.parametrize("path", ["student01/timestamp.txt", "student01/week1/more/timestamp.txt",
                                  "Ada Lovelace_11_assignsubmission_file/x/timestamp.txt"])
def test_the_word_of_a_student_is_no_time_of_submission(tmp_path, path):
    folder = path.removesuffix("/timestamp.txt")
    folder_of(tmp_path, {f"{folder}/01.ipynb": notebook(), path: b"2026-01-01 00:00:00 UTC"})
    assert collect(tmp_path)[0].received == (None if "assignsubmission" in path else NOON)


@pytest.mark.parametrize("stamp", [b"", b"soon", b"2026-12-04 21:58:23 Nowhere", b"\xff", b"x" * 10**6])
def test_a_timestamp_that_is_none_is_not_believed(tmp_path, stamp):
    folder_of(tmp_path, {"student01/week1/01.ipynb": notebook(), "student01/week1/timestamp.txt": stamp})
    assert collect(tmp_path)[0].received == NOON


MOODLE = [("Ann A. Example_12345_assignsubmission_file_/01_tensors.ipynb", notebook("a")),
          ("O_Neill Sam_678_assignsubmission_file/sub/01.ipynb", notebook("b")),
          ("O_Neill Sam_678_assignsubmission_onlinetext/onlinetext.html", b"<p>"),
          ("Third One_9_assignsubmission_file_/photo.jpg", b"\xff\xd8\xff")]


@pytest.mark.parametrize("wrapped", ["", "Course-Week 1-4711/"])
def test_moodles_zip(tmp_path, wrapped):
    found = collect(zip_of(tmp_path / "m.zip", [(wrapped + name, data) for name, data in MOODLE]))
    assert [(s.student, s.name) for s in found] == [("12345", "Ann A. Example"), ("678", "O_Neill Sam"),
                                                    ("9", "Third One")]
    assert "no notebook among the files (photo.jpg)" in found[2].fault
    assert all(s.received is None for s in found), "its times are those of the download"


def test_moodles_zip_without_folders_and_unpacked(tmp_path):
    folder_of(tmp_path / "flat", {"Ann Example_12345_assignsubmission_file_01_tensors.ipynb": notebook("a")})
    folder_of(tmp_path / "deep", dict(MOODLE))
    assert [(s.student, s.name, s.received) for s in collect(tmp_path / "flat")] == [("12345", "Ann Example", None)]
    assert [s.student for s in collect(tmp_path / "deep")] == ["12345", "678", "9"]


def test_canvass_zip(tmp_path):
    found = collect(zip_of(tmp_path / "c.zip", [
        ("exampleann_12345_67890_01_tensors.ipynb", notebook("a")),
        ("exampleann_12345_67999_01_tensors-1.ipynb", notebook("b")),
        ("oneillsam_LATE_678_67891_my_file.ipynb", notebook("c"))]))
    assert [(s.student, s.name, s.received, marked_late(s)) for s in found] == [
        ("12345", "exampleann", None, False), ("12345", "exampleann", None, False), ("678", "oneillsam", None, True)]


def test_a_zip_of_folders_with_times(tmp_path):
    files = [("class/student01/01.ipynb", notebook("a")), ("./class/student02/01.ipynb", notebook("b"))]
    found = collect(zip_of(tmp_path / "z.zip", files), zone="Europe/Berlin")
    assert [s.student for s in found] == ["student01", "student02"]
    assert found[0].received == datetime(2026, 12, 4, 11, tzinfo=UTC)
    exact = zipfile.ZipInfo("student01/01.ipynb", (2026, 12, 4, 12, 0, 0))
    exact.extra = struct.pack("<HHB", 0x7777, 1, 0) + struct.pack("<HHBi", 0x5455, 5, 1, int(NOON.timestamp()))
    assert collect(zip_of(tmp_path / "x.zip", [(exact, notebook())]), zone="Asia/Tokyo")[0].received == NOON


def test_loose_notebooks_are_named_after_their_students(tmp_path):
    folder_of(tmp_path, {"student01.ipynb": notebook("a"), "student02.ipynb": notebook("b"), "notes.txt": b""})
    assert [s.student for s in collect(tmp_path)] == ["student01", "student02"]


def test_nobody_is_left_out_in_silence(tmp_path):
    folder_of(tmp_path, {"student01/01.ipynb": b"{", "student03/.DS_Store": b""})
    (tmp_path / "student02").mkdir()
    found = collect(tmp_path)
    assert [(s.student, bool(s.fault)) for s in found] == [(f"student0{k}", True) for k in (1, 2, 3)]
    assert "There is no notebook. Hand in" in found[1].fault


def test_too_many_notebooks_of_one(tmp_path):
    folder_of(tmp_path, {f"student01/{k:03}.ipynb": notebook(str(k)) for k in range(60)})
    found = collect(tmp_path)
    assert len(found) == 51 and sum("more than 50" in s.fault for s in found) == 1


def test_where_nothing_is_it_says_so(tmp_path):
    with pytest.raises(ArgumentError, match="No submissions are here(?s:.*)a folder for each student"):
        collect(tmp_path)
    with pytest.raises(ArgumentError, match="no folder and no zip"):
        collect(tmp_path / "not here")


# --- what deceives ----------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("held", [True, False])
def test_links_pipes_and_sockets_are_not_followed(tmp_path, monkeypatch, held):
    monkeypatch.setattr(collecting, "HELD", held)
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(notebook("secret"))
    root = folder_of(tmp_path / "class", {"student01/ok.ipynb": notebook("ok")})
    os.symlink("/etc/passwd", root / "student01" / "link.ipynb")
    os.symlink(secret, root / "student01" / "other.ipynb")
    os.symlink(tmp_path, root / "student01" / "folder")
    os.symlink(tmp_path, root / "student02")
    os.mkfifo(root / "student01" / "pipe.ipynb")
    found = collect(root)
    assert "secret" not in repr(found) and "root:" not in repr(found)
    assert {s.path: bool(s.fault) for s in found} == {
        "student01/ok.ipynb": False, "student01/link.ipynb": True, "student01/other.ipynb": True,
        "student01/folder": True, "student01/pipe.ipynb": True, "student02": True}
    assert {s.path: s.fault[:20] for s in found if s.fault} == {
        s.path: "This is no plain fil" if "pipe" in s.path else "This is a link to an" for s in found if s.fault}
    os.symlink(root, tmp_path / "my class")                   # the teacher's own link is no deceit
    assert len(collect(tmp_path / "my class")) == len(found)


@posix
def test_what_is_swapped_between_the_look_and_the_reading_is_not_followed(tmp_path, monkeypatch):
    secret = folder_of(tmp_path / "elsewhere", {"x.ipynb": notebook("secret")})
    root = folder_of(tmp_path / "class", {"student01/a.ipynb": notebook("a"), "student02/x.ipynb": notebook("b"),
                                          "student03/p.ipynb": notebook("c")})
    look = collecting._mode

    def swapped(entry):
        mode = look(entry)
        path = root / "student01" / "a.ipynb"
        if entry.name == "a.ipynb":
            path.unlink()
            os.symlink(secret / "x.ipynb", path)
        if entry.name == "student02":
            (root / "student02").rename(tmp_path / "away")
            os.symlink(secret, root / "student02")
        if entry.name == "p.ipynb":
            (root / "student03" / "p.ipynb").unlink()
            os.mkfifo(root / "student03" / "p.ipynb")
        return mode

    monkeypatch.setattr(collecting, "_mode", swapped)
    found = collect(root)
    assert [bool(s.fault) for s in found] == [True, True, True] and "secret" not in repr(found)
    assert "no plain file" in found[2].fault


@posix
def test_a_name_that_is_no_text(tmp_path):
    root = folder_of(tmp_path / "class", {"student01/a.ipynb": notebook("a")})
    os.rename(os.fsencode(root / "student01"), os.fsencode(root) + b"/stud\xffent")
    (found,) = collect(root)
    found.student.encode("utf-8")
    assert found.student == "stud<U+DCFF>ent" and "U+DCFF" in found.note


def test_students_that_look_the_same_are_noted(tmp_path):
    names = ["student01", "stud\u0435nt01", "jos\u00e9", "jose\u0301", "x\u202ey"]
    root = folder_of(tmp_path, {f"{name}/{k}.ipynb": notebook(str(k)) for k, name in enumerate(names)})
    notes = {}
    for s in collect(root):
        notes.setdefault(s.student, []).append(s.note)
    assert set(notes) == {"student01", "stud\u0435nt01", unicodedata.normalize("NFC", "jos\u00e9"), "x<U+202E>y"}
    assert "looks the same: 'stud\u0435nt01'" in notes["student01"][0]
    assert "mixes letters of CYRILLIC and LATIN" in notes["stud\u0435nt01"][0] and "U+202E" in notes["x<U+202E>y"][0]


def test_folders_in_folders_come_to_an_end(tmp_path):
    folder_of(tmp_path, {"student01/" + "d/" * 20 + "a.ipynb": notebook()})
    (found,) = collect(tmp_path)
    assert "more than 8 deep" in found.fault


def test_a_huge_file_costs_no_more_than_the_limit(tmp_path, monkeypatch):
    root = folder_of(tmp_path, {"student01/a.ipynb": b""})
    with open(root / "student01" / "a.ipynb", "wb") as file:
        file.truncate(2**40)
    read = []
    monkeypatch.setattr(collecting, "nobodys",
                        lambda data, *rest: read.append(len(data)) or collecting.rejected("", *rest))
    collect(root)
    collect(zip_of(tmp_path / "z.zip", [("student01/a.ipynb", b" " * 4 * LARGEST)]))
    assert read == [LARGEST + 1] * 2


# --- zips made to hurt ------------------------------------------------------------------------------------------------


def member(name, mode=0, **more):
    info = zipfile.ZipInfo(name, (2026, 12, 4, 12, 0, 0))
    info.external_attr = mode << 16
    for key, value in more.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(("info", "said"), [
    (member("student01/../../etc/cron.d/x.ipynb"), "leads out"),
    (member("../student01/x.ipynb"), "leads out"),
    (member("/student01/x.ipynb"), "leads out"),
    (member("student01/..\\..\\x.ipynb"), "leads out"),
    (member("C:/student01/x.ipynb"), "leads out"),
    (member("student01//x.ipynb"), "leads out"),
    (member("student01/" + "d/" * 20 + "x.ipynb"), "leads out"),
    (member("student01/x.ipynb", stat.S_IFLNK | 0o777), "a link"),
    (member("student01/x.ipynb", stat.S_IFIFO | 0o666), "no plain file"),
    (member("student01/x.ipynb", stat.S_IFCHR | 0o666), "no plain file"),
], ids=lambda value: getattr(value, "filename", ""))
def test_members_that_lead_elsewhere_are_rejected(tmp_path, info, said):
    before = sorted(tmp_path.parent.rglob("*"))
    path = zip_of(tmp_path / "z.zip", [(info, notebook("evil")), ("student02/x.ipynb", notebook("ok"))])
    found = collect(path)
    assert [said in s.fault for s in found].count(True) == 1 and "evil" not in repr(found)
    assert ("student02", "student02/x.ipynb", "ok") in told(found)
    assert sorted(tmp_path.parent.rglob("*")) == sorted({*before, path}), "something was unpacked"


def test_a_member_that_lies_of_its_size_is_read_to_the_limit(tmp_path):
    bomb = notebook() + b" " * (50 * 2**20)
    path = zip_of(tmp_path / "z.zip", [("student01/bomb.ipynb", bomb), ("student02/x.ipynb", notebook("ok"))])
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24:at + 28] = struct.pack("<I", 100)                       # the header says: 100 bytes
    path.write_bytes(data)
    found = {s.student: s for s in collect(path)}
    assert found["student01"].fault and found["student02"].cells
    whole = zip_of(tmp_path / "w.zip", [("student01/bomb.ipynb", bomb)])
    assert "larger than 2 MB" in collect(whole)[0].fault


def test_a_zip_that_bursts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "SMALL", 2**20)
    files = [(f"student{k:03}/x.ipynb", b'{"cells": []}' + b" " * 2**20) for k in range(40)]
    path = zip_of(tmp_path / "z.zip", files)
    with pytest.raises(DataError, match="made to burst"):
        collect(path)


def test_a_zip_in_which_members_share_their_bytes_is_refused(tmp_path, monkeypatch):
    """Every entry of the directory points at the same data: the ratio must be that of the whole zip."""
    monkeypatch.setattr(collecting, "SMALL", 2**20)
    path = zip_of(tmp_path / "z.zip", [("student000/x.ipynb", b'{"cells": []}' + os.urandom(3000) + b" " * 2**20)])
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry, tail = data[start:end], bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 100, 100)
    tail[12:16] = struct.pack("<I", 100 * len(entry))
    path.write_bytes(data[:start] + entry * 100 + tail)
    with pytest.raises(DataError, match="made to burst"):
        collect(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_two_attempts_and_noted(tmp_path):
    path = zip_of(tmp_path / "z.zip", [("student01/x.ipynb", notebook("a")), ("student01/x.ipynb", notebook("b")),
                                       ("student01/x.ipynb", notebook("a"))])
    found = collect(path)
    assert sorted(s.cells[0].source for s in found) == ["a", "b"]
    assert all("more than once" in s.note for s in found)


def test_locked_members_and_unusual_packing_are_rejected(tmp_path):
    path = zip_of(tmp_path / "z.zip", [("student01/x.ipynb", notebook())])
    for offset, value, said in ((8, b"\x01\x00", "password"), (10, b"\x0e\x00", "unusual way")):
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\x01\x02")
        data[at + offset:at + offset + 2] = value
        (tmp_path / "y.zip").write_bytes(data)
        (found,) = collect(tmp_path / "y.zip")
        assert said in found.fault


def test_a_damaged_zip_is_an_error_or_faults(tmp_path):
    """Whatever bytes are changed: submissions, or one error that says it is the zip."""
    good = zip_of(tmp_path / "z.zip", MOODLE[:2]).read_bytes()
    seen = set()
    for k in range(len(good)):
        data = bytearray(good)
        data[k] ^= 0xFF
        (tmp_path / "y.zip").write_bytes(data)
        try:
            seen.add("fault" if any(s.fault for s in collect(tmp_path / "y.zip")) else "fine")
        except (DataError, ArgumentError) as error:
            seen.add(type(error).__name__)
    assert {"fault", "fine", "DataError"} <= seen
    (tmp_path / "y.zip").write_bytes(good[:-30])
    with pytest.raises(DataError, match="download it again"):
        collect(tmp_path / "y.zip")
    (tmp_path / "y.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="no zip, or a damaged one"):
        collect(tmp_path / "y.zip")


def test_a_zip_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MOST_FILES", 3)
    path = zip_of(tmp_path / "z.zip", [(f"s{k}/x.ipynb", notebook()) for k in range(4)])
    with pytest.raises(DataError, match="more than 3 files"):
        collect(path)
    folder_of(tmp_path / "f", {f"s{k}/x.ipynb": notebook() for k in range(4)})
    with pytest.raises(ArgumentError, match="more than 3 files"):
        collect(tmp_path / "f")
