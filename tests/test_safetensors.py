"""safetensors files: others' files are read, ours are read by others, and whatever is not a whole file is refused."""
import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import nn
from minidl.errors import CheckpointError
from minidl.safetensors import DIGEST, DTYPES, NAMES, NO_DIGEST, load_file, metadata_of, save_file

ONE = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def written(path, header, data=b"", length=None):
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def read_by_hand(path):
    """The format in six lines, as an oracle: what any other program would find."""
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[8 + n:][slice(*e["data_offsets"])], DTYPES[e["dtype"]]).reshape(e["shape"])
            for name, e in header.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


# ---------------------------------------------------------------------- there and back
arrays = st.builds(
    lambda kind, shape, seed: np.random.default_rng(seed).integers(0, 2 if kind == "?" else 100, shape).astype(kind),
    st.sampled_from([kind.str for kind in NAMES]), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "__metadata__"), arrays, max_size=5),
       st.dictionaries(st.text(max_size=8).filter(lambda name: name != "minidl.sha256"), st.text(max_size=8)))
def test_whatever_is_saved_comes_back_and_others_can_read_it(tmp_path_factory, tensors, notes):
    path = tmp_path_factory.mktemp("there") / "and.back"
    save_file(tensors, path, notes)
    found, theirs = load_file(path), read_by_hand(path)
    assert list(found) == list(theirs) == list(tensors)
    for name, array in tensors.items():
        assert isinstance(found[name], md.Tensor) and found[name].dtype == array.dtype
        assert np.array_equal(found[name].numpy(), array) and np.array_equal(theirs[name], array)
    assert metadata_of(path) == notes
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0       # numbers begin where a processor likes it


def test_a_note_like_the_place_of_the_digest_is_kept(path):
    notes = {"zeros": NO_DIGEST, "quoted": f'"{DIGEST}":"{NO_DIGEST}"', "": f"{DIGEST}"}
    save_file({NO_DIGEST: np.ones(2), DIGEST: np.zeros(1)}, path, notes)
    assert metadata_of(path) == notes and list(load_file(path)) == [NO_DIGEST, DIGEST]


def test_a_state_dict_with_views_and_a_shared_weight(path):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = {**model.state_dict(), "turned": model[0].weight.T, "again": model[0].weight,
             "backwards": np.arange(3)[::-1]}
    save_file(state, str(path))
    found = load_file(str(path))
    for name, value in state.items():
        assert np.array_equal(found[name].numpy(), md.as_tensor(value).detach().numpy())
    found["again"].numpy()[...] = 7                     # memory of its own, and writable
    assert not (found["0.weight"].numpy() == 7).any()
    assert path.stat().st_size % 8 == struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0


def test_bf16_comes_as_float32(path):
    values = np.array([1.0, -2.5, 3.140625], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    written(path, {"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}, upper.tobytes())
    assert load_file(path)["w"].dtype == np.float32 and np.array_equal(load_file(path)["w"].numpy(), values)


def test_a_file_of_another_program_has_no_digest_and_any_order(path):
    header = {"__metadata__": {"format": "pt"}, "b": {"dtype": "I8", "shape": [], "data_offsets": [8, 9]}, **ONE}
    written(path, json.dumps(header).encode() + b"   ", struct.pack("<ffb", 1, 2, -3))
    found = load_file(path)
    assert list(found) == ["b", "w"] and found["b"].item() == -3 and found["w"].tolist() == [1, 2]
    assert metadata_of(path) == {"format": "pt"}


def test_a_missing_file(path):
    with pytest.raises(FileNotFoundError):
        load_file(path)


# ---------------------------------------------------------------------- what cannot be written
@pytest.mark.parametrize(("tensors", "notes", "text"), [
    ({"w": np.zeros(2, complex)}, None, "complex128"), ({"w": np.array(["a"])}, None, "Try: a text as name"),
    ({3: np.zeros(2)}, None, "name   3"), ({"__metadata__": np.zeros(2)}, None, "__metadata__"),
    ({"w": np.zeros(2)}, {"epoch": 3}, "notes are texts")])
def test_what_is_not_in_the_format_is_refused_and_the_old_file_stays(path, tensors, notes, text):
    save_file({"old": np.ones(1)}, path)
    with pytest.raises(CheckpointError, match=text):
        save_file(tensors, path, notes)
    assert list(load_file(path)) == ["old"] and len(list(path.parent.iterdir())) == 1


# ---------------------------------------------------------------------- damage
def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(("header", "data", "text"), [
    ({"w": entry(offsets=(0, 16), shape=(4,))}, 8, "ends outside the file"),
    ({"w": entry(), "b": entry(offsets=(4, 12))}, 12, "overlaps the one before"),
    ({"w": entry(), "b": entry(offsets=(12, 20))}, 20, "leaves a gap before it"),
    ({"w": entry(offsets=(4, 12))}, 12, "leaves a gap"),
    ({"w": entry()}, 12, "data that belongs to no tensor"),
    ({"w": entry(shape=(3,))}, 8, "more bytes than its shape needs, or fewer"),
    ({"w": entry(offsets=(8, 0))}, 8, "more bytes than its shape needs"),
    ({"w": entry(dtype="F8_E4M3", offsets=(0, 2))}, 2, "kind of number is not known"),
    ({"w": entry(shape=(-1, -2))}, 8, "whole numbers"),
    ({"w": entry(shape=(2.0,))}, 8, "whole numbers"),
    ({"w": entry(shape=(True, 2))}, 8, "whole numbers"),
    ({"w": entry(offsets=(0, 8, 9))}, 8, "makes no sense"),
    ({"w": entry(dtype=["F32"])}, 8, "whole numbers"),
    ({"w": {**entry(), "more": 1}}, 8, "makes no sense"),
    ({"w": {"dtype": "F32"}}, 8, "makes no sense"),
    ({"w": 3}, 8, "makes no sense"),
    ({**ONE, "__metadata__": {"epoch": 3}}, 8, "a note that is no text"),
    ({**ONE, "__metadata__": []}, 8, "makes no sense"),
    (b'{"w": 1, "w": 2}', 0, "a name comes twice"),
    (b"[1, 2]", 0, "makes no sense"),
    (b"not json", 0, "makes no sense"),
    (b"\xff\xfe{}", 0, "makes no sense"),
    (b"[" * 200_000, 0, "makes no sense"),
    ({"w": entry(dtype="BOOL", offsets=(0, 2))}, b"\x01\x02", "neither 0 nor 1"),
])
def test_a_header_that_lies(path, header, data, text):
    with pytest.raises(CheckpointError, match=text) as caught:
        load_file(written(path, header, bytes(data)))
    assert "Try: " in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("length", [9, 2**40, 2**64 - 1])
def test_a_header_longer_than_the_file_is_never_read(path, length):
    written(path, b"{}" + b" " * 6, length=length)
    with pytest.raises(CheckpointError, match="longer than the file"):
        load_file(path)


def test_a_huge_shape_needs_no_memory(path):
    with pytest.raises(CheckpointError, match="ends outside the file"):
        load_file(written(path, {"w": entry("U8", (2**20, 2**30), (0, 2**50))}))


def test_every_truncation_is_found(path):
    save_file({"w": np.arange(3.0), "b": np.ones(2, bool)}, path, {"by": "me"})
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(CheckpointError):
            load_file(path)


def test_every_flipped_bit_is_found(path):
    """Without the digest in the metadata, most of these would load, as wrong numbers."""
    save_file({"w": np.arange(3.0), "b": np.ones(2, bool)}, path, {"by": "me"})
    whole = path.read_bytes()
    for k in range(8 * len(whole)):
        raw = bytearray(whole)
        raw[k // 8] ^= 1 << k % 8
        path.write_bytes(raw)
        try:
            found = load_file(path)
        except CheckpointError:
            continue
        assert b"minidl.sha256" not in raw and [found["w"].tolist(), found["b"].tolist()] == [[0, 1, 2], [True, True]]


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers(-2, 40) | st.floats() | st.sampled_from(
           ["F32", "U8", "w", "dtype", "shape", "data_offsets", "__metadata__"]),
           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
               st.sampled_from(["w", "b", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4)),
       st.binary(max_size=16))
def test_any_json_is_read_or_refused(tmp_path_factory, header, data):
    path = written(tmp_path_factory.mktemp("any") / "f", header, data)
    try:
        found = load_file(path)
    except CheckpointError:
        return
    assert sum(t.numpy().nbytes for t in found.values()) == len(data)


# ---------------------------------------------------------------------- the format's own library
def test_the_format_s_own_library_agrees(path):
    theirs = pytest.importorskip("safetensors.numpy")
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3), "b": np.array([True, False])}
    save_file(state, path, {"by": "minidl"})
    found = theirs.load_file(path)
    assert all(np.array_equal(found[name], state[name]) for name in state) and len(found) == 3
    theirs.save_file(state, path, metadata={"by": "them"})
    assert all(np.array_equal(load_file(path)[name].numpy(), state[name]) for name in state)
    assert metadata_of(path) == {"by": "them"} and "safetensors" in sys.modules
