"""Checkpoints: everything comes back bit by bit, damage is always found, a kill never hurts the old file."""
import collections
import hashlib
import json
import math
import os
import random
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import serialize
from minidl.errors import CheckpointError, DeviceError
from minidl.serialize import load, save
from tests import mortal

ROOT = Path(__file__).resolve().parents[1]
DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


def same(a, b):
    """Equal in type, structure and every bit."""
    if isinstance(a, md.Tensor):
        return type(b) is md.Tensor and a.requires_grad == b.requires_grad and same(a.host_array(), b.host_array())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a, b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return a == b


def example():
    """Some of everything."""
    weights = md.randn(3, 4, generator=md.Generator(0))
    return {"model": collections.OrderedDict(w=weights, b=md.zeros(4, requires_grad=True)),
            "opt": [{"lr": 0.1, "betas": (0.9, 0.999), "step": 10**40}, None, True, math.nan, -math.inf, -0.0],
            7: np.arange(5, dtype=np.int16), -(2**80): "key", "text": "größer \ud800 \0",
            "pair": "\ud83d" + "\ude00", "raw": b"\x00\xff",
            "scalars": [np.float32(0.1), np.bool_(True), np.complex128(1j)],
            "rng": md.Generator(3).set_state({"seed": 3, "streams": {}}).get_state()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.ckpt"


# ---------------------------------------------------------------------- there and back
def test_some_of_everything(path):
    save(example(), path)
    assert same(example(), load(path))
    assert os.listdir(path.parent) == [path.name]
    save(example(), str(path))
    assert same(example(), load(str(path), weights_only=True))


scalars = (st.none() | st.booleans() | st.integers() | st.integers(-2**200, 2**200) | st.floats() | st.text(max_size=8)
           | st.binary(max_size=8) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=3))
arrays = st.builds(lambda dtype, shape, seed: np.frombuffer(
    np.random.default_rng(seed).bytes(math.prod(shape) * np.dtype(dtype).itemsize), np.uint8
    ).view(dtype if dtype != "?" else np.uint8).reshape(shape).astype(dtype),
    st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 9))
tensors = arrays.map(md.Tensor) | st.builds(
    lambda n, grad: md.randn(n, generator=md.Generator(n), requires_grad=grad), st.integers(0, 5), st.booleans())
leaves = scalars | arrays | arrays.map(lambda a: a.reshape(-1)[0] if a.size else None) | tensors
keys = st.text(max_size=5) | st.integers() | st.integers(-2**70, 2**70)
objects = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple)
                       | st.dictionaries(keys, inner, max_size=4)
                       | st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict), max_leaves=12)


@settings(deadline=None, max_examples=100)
@given(obj=objects)
def test_whatever_is_saved_comes_back(tmp_path_factory, obj):
    path = tmp_path_factory.getbasetemp() / "any"
    save(obj, path)
    first = path.read_bytes()
    back = load(path)
    assert same(obj, back)
    save(back, path)
    assert path.read_bytes() == first           # equal content, equal bytes


def test_views_and_foreign_byte_order_come_back_as_plain_arrays(path):
    x = np.arange(24.0).reshape(4, 6)
    saved = [x[::-2, ::3], x.T, np.broadcast_to(x[0], (3, 6)), x.astype(">f8"), x[0, 0], np.zeros((0, 3))]
    save(saved, path)
    for a, b in zip(saved, load(path)):
        assert np.array_equal(a, b) and b.shape == np.shape(a) and b.dtype == np.float64 and type(a) is type(b)
        assert not isinstance(b, np.ndarray) or (b.flags.c_contiguous and b.flags.writeable and b.dtype.isnative)


def test_every_nan_keeps_its_payload(path):
    bits = [0x7ff8000000000001, 0xfff8000000000000, 0x7ff80000deadbeef]
    floats = [struct.unpack("<d", b.to_bytes(8, "little"))[0] for b in bits]
    save([floats, np.array(floats)], path)
    assert same([floats, np.array(floats)], load(path))


def test_int_digits_have_no_limit(path):
    save(10**6000, path)
    assert load(path) == 10**6000            # Python itself reads no more than 4,300 decimal digits


def test_a_subclass_of_tensor_comes_back_as_a_tensor(path):
    class Parameter(md.Tensor):
        pass
    save(Parameter(np.ones(2), requires_grad=True), path)
    assert same(md.Tensor(np.ones(2), requires_grad=True), load(path))


def test_two_threads_that_save_to_one_file_do_not_meet(path):
    both, failed = threading.Barrier(2, timeout=10), []

    def write(content):
        def pieces():
            yield content[:4]
            both.wait()                               # now both have their files open
            yield content[4:]
        try:
            serialize.write_atomically(path, pieces())
        except OSError as error:
            failed.append(error)
    contents = [b"mine" * 5, b"your" * 5]
    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and Path(path).read_bytes() in contents and len(list(Path(path).parent.iterdir())) == 1


def test_map_location(path):
    save(md.ones(2), path)
    assert load(path, map_location="cpu").device == load(path, md.device("cpu")).device == "cpu"
    with pytest.raises(DeviceError):
        load(path, map_location="abacus")


def test_loaded_arrays_are_independent(path):
    save([np.zeros(2), np.zeros(2)], path)
    a, b = load(path)
    a += 1
    assert b.tolist() == [0, 0]


# ---------------------------------------------------------------------- the format
def test_the_file_can_be_read_by_hand(path):
    save({"w": np.array([1.0, 2.0], np.float32), "n": (np.uint8(7), 3)}, path)
    content = path.read_bytes()
    body, digest = content[:-65], content[-65:]
    assert hashlib.sha256(body).hexdigest().encode() + b"\n" == digest
    magic, length, rest = body.split(b"\n", 2)
    assert magic == b"minidl checkpoint 1" and len(length) == 16
    header, start = json.loads(rest[:int(length)]), len(magic) + len(length) + 2 + int(length)
    assert header["arrays"] == [["<f4", [2], 0], ["|u1", [], 64]] and start % 64 == 0
    assert header["tree"] == {"dict": [["w", {"array": 0}], ["n", {"tuple": [{"scalar": 1}, 3]}]]}
    assert np.frombuffer(body, "<f4", 2, start).tolist() == [1.0, 2.0]


def test_no_pickle_anywhere():
    assert "import pickle" not in Path(serialize.__file__).read_text()


# ---------------------------------------------------------------------- what cannot be saved
class WithState:
    def state_dict(self):
        return {}


def loop():
    inner = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize("make, where, hint", [
    (lambda: {"opt": [1, 2, 3, {4}]}, "state['opt'][3] cannot be saved", "set"),
    (lambda: {"a": (object(),)}, "state['a'][0] cannot be saved", "object"),
    (lambda: print, "state cannot be saved", "builtin"),
    (lambda: {"m": WithState()}, "state['m'] cannot be saved", "save its state_dict()"),
    (lambda: {"x": np.array([None])}, "state['x'] holds numbers of a kind", "object"),
    (lambda: [np.array("2024", "M8[Y]")], "state[0] holds numbers of a kind", "datetime"),
    (lambda: [np.zeros(1, [("a", "f4")])], "state[0] holds numbers of a kind", "f4"),
    (lambda: np.array(["a"]), "state holds numbers of a kind", "<U1"),
    (lambda: np.ma.array([1], mask=[1]), "state cannot be saved", "MaskedArray"),
    (lambda: {"a": {1.5: 0}}, "a key of state['a']", "1.5"),
    (lambda: {True: 0}, "a key of state", "bool"),
    (lambda: collections.Counter("a"), "state cannot be saved", "Counter"),
    (lambda: Path("x"), "state cannot be saved", "Path"),
    (lambda: 1j, "state cannot be saved", "complex"),
    (loop, "lies too deep, or an object contains itself", "200"),
])
def test_what_cannot_be_saved_is_named_and_the_old_file_stays(path, make, where, hint):
    save("old", path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        save(make(), path)
    assert where in str(caught.value) and hint in str(caught.value)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    save("old", path)

    def full(descriptor):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save("new", path)
    monkeypatch.undo()
    assert load(path) == "old" and os.listdir(path.parent) == [path.name]


def test_a_link_stays_a_link(path, tmp_path):
    target = tmp_path / "target"
    save(1, target)
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system does not let us make links")
    save(2, path)
    assert path.is_symlink() and load(target) == 2


def test_leftovers_of_killed_saves_go_after_an_hour(path):
    names = f".{path.name}.1-1.tmp", f".{path.name}.2-2.tmp", ".other.1-1.tmp"
    old, young, foreign = (path.parent / name for name in names)
    for leftover in (old, young, foreign):
        leftover.write_bytes(b"x")
    for leftover in (old, foreign):
        os.utime(leftover, (time.time() - 7200,) * 2)
    save(1, path)
    assert [p.exists() for p in (old, young, foreign)] == [False, True, True]


# ---------------------------------------------------------------------- what cannot be loaded
def test_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        load(path)
    with pytest.raises(FileNotFoundError):
        save(1, path / "no" / "folder")


@pytest.mark.parametrize("content, text", [
    (b"", "not a checkpoint"), (b"\x80\x04pickle", "not a checkpoint"), (b"PK\x03\x04" * 99, "not a checkpoint"),
    (b"minidl checkpoint 1", "damaged at its beginning"), (b"minidl checkpoint 1\n", "damaged at its beginning"),
    (b"minidl checkpoint 2\n" + b"?" * 99, "version 2 of the format, this minidl knows 1"),
    (b"minidl checkpoint 1\n9999999999999999\n" + b" " * 200, "size is wrong"),
    (b"minidl checkpoint 1\n-000000000000001\n" + b" " * 200, "damaged at its beginning"),
])
def test_something_else_than_a_checkpoint(path, content, text):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=text) as caught:
        load(path)
    assert str(path) in str(caught.value) and "Try: " in str(caught.value)


def sealed(header, data=b""):
    """A file whose digest is right, whatever it says."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = head.ljust(-(-(37 + len(head)) // 64) * 64 - 37)
    body = b"minidl checkpoint 1\n%016d\n" % len(head) + head + data
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


HUGE = 2**62


@pytest.mark.parametrize("header, data", [
    (b"not json", b""), (b"\xff\xfe", b""), ([], b""), ({}, b""), ({"arrays": []}, b""),
    ({"arrays": 3, "tree": 1}, b""), ({"arrays": [], "tree": {"str": "ff"}}, b""),
    ({"arrays": [["<f4", [HUGE], 0]], "tree": 1}, b""), ({"arrays": [["<f4", [HUGE, HUGE], 0]], "tree": 1}, bytes(64)),
    ({"arrays": [["<f4", [0, 2**63], 0]], "tree": 1}, b""), ({"arrays": [["<f4", [-4, -4], 0]], "tree": 1}, bytes(64)),
    ({"arrays": [["<f4", [1.5], 0]], "tree": 1}, bytes(64)), ({"arrays": [["<f4", [16], 64]], "tree": 1}, bytes(128)),
    ({"arrays": [["<f4", [16], 0]] * 2, "tree": 1}, bytes(64)), ({"arrays": [["|O", [1], 0]], "tree": 1}, bytes(64)),
    ({"arrays": [["<f4", [8], 32]], "tree": 1}, bytes(64)), ({"arrays": [["|u1", [2**33], 0]], "tree": 1}, bytes(64)),
    ({"arrays": [["<f4", [1] * 99, 0]], "tree": 1}, bytes(64)), ({"arrays": [], "tree": 1}, bytes(64)),
    ({"arrays": [["<f4", "16", 0]], "tree": 1}, bytes(64)), ({"arrays": [[]], "tree": 1}, b""),
    ({"arrays": [], "tree": {"array": 0}}, b""), ({"arrays": [], "tree": {"bytes": "x"}}, b""),
    ({"arrays": [], "tree": {"unknown": 0}}, b""), ({"arrays": [], "tree": {}}, b""),
    ({"arrays": [], "tree": {"int": "zz"}}, b""), ({"arrays": [], "tree": {"int": 3}}, b""),
    ({"arrays": [], "tree": {"float": "00"}}, b""), ({"arrays": [], "tree": {"dict": [[1]]}}, b""),
    ({"arrays": [], "tree": {"dict": [[[], 1]]}}, b""), ({"arrays": [], "tree": {"tuple": 3}}, b""),
    ({"arrays": [["|b1", [1], 0]], "tree": {"tensor": 0, "requires_grad": True, "device": "cpu"}}, bytes(64)),
    ({"arrays": [["|b1", [1], 0]], "tree": {"tensor": 0}}, bytes(64)),
    (b'{"arrays":[],"tree":' + b"[" * 100000 + b"]" * 100000 + b"}", b""),
    (b'{"arrays":[],"tree":' + b"9" * 5000 + b"}", b""),
])
def test_a_header_that_makes_no_sense_behind_a_right_digest(path, header, data):
    path.write_bytes(sealed(header, data))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="makes no sense"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 30 * path.stat().st_size + 300_000
    finally:
        tracemalloc.stop()


def test_sealed_files_are_otherwise_right(path):
    path.write_bytes(sealed({"arrays": [["<f4", [16], 0]], "tree": {"array": 0}}, bytes(64)))
    assert load(path).tolist() == [0.0] * 16


def test_every_truncation_is_found(path):
    save(example(), path)
    content = path.read_bytes()
    for n in {0, 1, 19, 20, 36, 37, 38, *range(64, len(content), 61), len(content) - 65, len(content) - 1}:
        path.write_bytes(content[:n])
        with pytest.raises(CheckpointError):
            load(path)
    path.write_bytes(content + b"\n")
    with pytest.raises(CheckpointError):
        load(path)


def damage(path, count, change):
    """Load `count` damaged copies; returns those that were loaded, raised something else or took too much memory."""
    save({**example(), "big": np.arange(20_000.0)}, path)
    content, rng, wrong = path.read_bytes(), random.Random(0), []
    tracemalloc.start()
    try:
        _load_damaged(path, count, change, content, rng, wrong)
    finally:
        tracemalloc.stop()
    return wrong


def _load_damaged(path, count, change, content, rng, wrong):
    for k in range(count):
        broken = change(rng, bytearray(content))
        if bytes(broken) == content:
            continue
        path.write_bytes(broken)
        size, before = len(broken), tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        try:
            load(path)
            wrong.append((k, "loaded"))
        except CheckpointError:
            pass
        except Exception as error:
            wrong.append((k, repr(error)))
        peak = tracemalloc.get_traced_memory()[1] - before
        if peak > 3 * size:
            wrong.append((k, f"{peak} bytes of memory for a file of {size}"))


def flip(rng, content):
    k = rng.randrange(len(content) * 8)
    content[k // 8] ^= 1 << k % 8
    return content


def mutate(rng, content):
    """Overwrite, cut out, double or swap pieces, more often near the beginning."""
    for _ in range(rng.randint(1, 4)):
        a = int(len(content) * rng.random() ** rng.choice([1, 4]))
        n = rng.choice([1, 2, 8, 64, 1000])
        piece = content[a:a + n]
        content[a:a + n] = rng.choice([b"", piece * 2, rng.randbytes(len(piece)), b"9" * len(piece), bytes(len(piece))])
    return content


@pytest.mark.parametrize("change", [flip, mutate])
def test_300_damaged_files(path, change):
    assert damage(path, 300, change) == []


@pytest.mark.slow
@pytest.mark.parametrize("change", [flip, mutate])
def test_10000_damaged_files(path, change):
    assert damage(path, 10_000, change) == []


def mutate_header_and_seal(rng, content):
    """Change some of the header and give the file a right digest and length: what a liar could write."""
    length = int(content[20:36])
    header = mutate(rng, content[37:37 + length].rstrip())
    header = bytes(header).ljust(-(-(37 + len(header)) // 64) * 64 - 37)
    body = b"minidl checkpoint 1\n%016d\n" % len(header) + header + bytes(content[37 + length:-65])
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


def lie(path, count):
    """What is wrong with loading such files. They may load, and may ask for a device that is not there."""
    return [what for what in damage(path, count, mutate_header_and_seal)
            if what[1] != "loaded" and not what[1].startswith("DeviceError")]


def test_300_files_that_lie(path):
    assert lie(path, 300) == []


@pytest.mark.slow
def test_10000_files_that_lie(path):
    assert lie(path, 10_000) == []


def test_memory_stays_below_three_times_the_file(path):
    save({"a": np.ones(500_000), "b": md.ones(500_000), "c": bytes(500_000)}, path)
    size = path.stat().st_size
    for content in (None, flip(random.Random(1), bytearray(path.read_bytes()))):
        if content is not None:
            path.write_bytes(content)
        del content
        tracemalloc.start()
        try:
            load(path)
        except CheckpointError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 3 * size


# ---------------------------------------------------------------------- kill -9
SAVER = """
import sys
import numpy as np
from minidl.serialize import save
k = 0
while True:
    k += 1
    save({"k": k, "w": np.full(400_000, k, np.float32), "more": [np.full(1000, k)] * 20}, sys.argv[1])
    print(k, flush=True)
"""


def kill_while_saving(path, points):
    """Kill a process that saves in a loop, again and again; returns how many of the kills left work unfinished."""
    rng, unfinished = random.Random(0), 0
    for _ in range(points):
        child = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            child.stdout.readline()             # it is saving now
            time.sleep(rng.random() * 0.05)
        finally:
            child.kill()
            acknowledged = [1, *map(int, child.communicate()[0].split())][-1]
        state = load(path)
        assert state["k"] >= acknowledged
        assert (state["w"] == state["k"]).all() and (state["more"][19] == state["k"]).all()
        leftovers = [p for p in path.parent.iterdir() if p != path]
        unfinished += len(leftovers)
        for leftover in leftovers:
            leftover.unlink()
    return unfinished


def test_kill_at_5_points_in_time(path):
    kill_while_saving(path, 5)


@pytest.mark.slow
def test_kill_at_200_points_in_time(path):
    assert kill_while_saving(path, 200) > 20    # or the kills came at no interesting time


SAVE_TWICE = """
import numpy as np
from minidl.serialize import load, save
FILES = ("minidl/serialize.py",)
path = sys.argv[1]

def content(k):
    return {"k": k, "w": np.full(100_000, k, np.float32), "more": [np.full(1000, k)] * 5}

def live(start_counting):
    k = load(path)["k"] if os.path.exists(path) else 0
    save(content(k + 1), path)
    os.write(1, b"%d\\n" % (k + 1))               # acknowledged
    counted = start_counting()
    save(content(k + 2), path)
    sys.settrace(None)
    os.write(1, b"%d\\n" % (k + 2))
    return counted[0]
"""


def kill_at_lines(path, points):
    """Kill a save at lines spread evenly over it; returns how often the old file was found and how often the new."""
    found = {"old": 0, "new": 0}
    with mortal.victims(SAVE_TWICE, path) as helper:
        total = helper.lines()
        for limit in mortal.spread(points or total, total):
            killed, said = helper.run(limit)
            assert killed, said
            acknowledged, state = int(said[-1]), load(path)
            assert state["k"] in (acknowledged, acknowledged + 1)
            assert (state["w"] == state["k"]).all() and (state["more"][4] == state["k"]).all()
            found["new" if state["k"] > acknowledged else "old"] += 1
            for leftover in path.parent.glob(".*.tmp"):
                leftover.unlink()
    return found


@pytest.mark.skipif(not mortal.possible, reason="this system cannot fork")
def test_kill_at_50_lines_of_a_save(path):
    found = kill_at_lines(path, 50)
    assert found["old"] > 20 and found["new"] > 0, found


@pytest.mark.slow
@pytest.mark.skipif(not mortal.possible, reason="this system cannot fork")
def test_kill_at_every_line_of_a_save(path):
    found = kill_at_lines(path, None)
    assert found["old"] > 100 and found["new"] > 5, found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_what_is_no_plain_file_stays_what_it_is(tmp_path):
    """As root, a state saved to /dev/null once became a file in its place."""
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    md.save({"a": 1}, pipe)
    reader.join(20)
    md.save({"a": 1}, tmp_path / "plain")
    assert pipe.is_fifo() and found == [(tmp_path / "plain").read_bytes()]
