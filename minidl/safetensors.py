r"""Weights in files that other programs read and write: the safetensors format, which holds data and never code.

    save_file(model.state_dict(), "weights.safetensors")
    model.load_state_dict(load_file("weights.safetensors"))

The file, from top to bottom (https://github.com/huggingface/safetensors, "Format"):

    8 bytes         N, the length of the header, little-endian
    N bytes         the header: JSON, perhaps filled up with spaces
                    {"conv1.weight": {"dtype": "F32", "shape": [8, 1, 3, 3], "data_offsets": [0, 288]}, ...,
                     "__metadata__": {"name": "text", ...}}
    the rest        the numbers, little-endian, in C order; offsets count from here

The numbers of all tensors lie one behind the other, without a gap, and fill the rest of the file. So a reader can tell
whether a file is whole before it believes any of it. What it cannot tell is whether a number was changed. Therefore
`save_file` puts a SHA-256 into the metadata, under "minidl.sha256": that of the whole file, with 64 zeros in its own
place. Other programs pass over it; `load_file` looks at it where it is.
"""
import math
import os
import struct

import numpy as np

from .errors import CheckpointError, message
from .serialize import sha256, write_atomically
from .tensor import Tensor

DTYPES = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
          "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}
NAMES = {np.dtype(code): name for name, code in DTYPES.items() if name != "BF16"}
LONGEST_HEADER = 100_000_000          # bytes; that of the format's own library
DIGEST, NO_DIGEST = "minidl.sha256", "0" * 64


# ---------------------------------------------------------------------- writing
def save_file(tensors, filename, metadata=None):
    """Write tensors to a file, by name; either all of it gets there, or the old file stays as it was.

    Args:
        tensors: name -> tensor or array, a state dict for instance. What shares memory is written once for each name.
        filename: the file.
        metadata: name -> text, notes that go along.

    Raises:
        CheckpointError: a name or a note is no text, or a kind of number is not in the format. Nothing was written.
        OSError: the file cannot be written.
    """
    arrays = {name: _plain(name, value) for name, value in tensors.items()}
    notes = {**(metadata or {}), DIGEST: NO_DIGEST}
    if wrong := [name for name, note in notes.items() if not (isinstance(name, str) and isinstance(note, str))]:
        raise CheckpointError(message("save_file: notes are texts with names.", [("note", repr(wrong[0]))],
                                      "str(...) around numbers."))
    header = _header_bytes(arrays, notes)
    pieces = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    digest = sha256()
    for piece in (header, *pieces):
        digest.update(piece)
    write_atomically(filename, [_with_digest(header, NO_DIGEST, digest.hexdigest()), *pieces])


def _plain(name, value):
    """The numbers of a tensor as they go into the file."""
    array = value.detach().host_array() if isinstance(value, Tensor) else np.asarray(value)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if not isinstance(name, str) or name == "__metadata__" or array.dtype not in NAMES:
        raise CheckpointError(message("save_file: this cannot be written.",
                                      [("name", repr(name)), ("dtype", array.dtype)],
                                      f"a text as name, and numbers of a kind out of {', '.join(NAMES.values())}."))
    return array


def _header_bytes(arrays, notes):
    """The length and the header."""
    import json
    entries, end = {"__metadata__": notes}, 0
    for name, array in arrays.items():
        entries[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                         "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)                       # so that the numbers begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def _with_digest(header, old, new):
    """The header with another digest, which stands behind its name and nowhere else."""
    before = f'"{DIGEST}":"'.encode("ascii")
    return header.replace(before + old.encode("ascii"), before + new.encode("ascii"), 1)


# ---------------------------------------------------------------------- reading
def load_file(filename, device="cpu"):
    """Read all tensors of a file; BF16, which NumPy does not have, comes as float32, with the same values.

    Args:
        filename: the file, written by `save_file` or by any other program.
        device: where the tensors go.

    Returns:
        dict: name -> tensor, in the order of the header.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is cut off or damaged, or holds a kind of number that is not known here.
    """
    with open(filename, "rb") as file:
        entries, notes, start = _header_of(file, filename)
        file.seek(0)
        content = file.read()
    if DIGEST in notes and _digest(content, start, notes[DIGEST]) != notes[DIGEST]:
        raise _broken(filename, "the file is damaged: its SHA-256 digest is wrong")
    return {name: Tensor(_array(filename, name, content, start, *entry)).to(device)
            for name, entry in entries.items()}


def metadata_of(filename):
    """The notes in a file, name -> text; the digest is not among them. Nothing but the header is read.

    Raises:
        FileNotFoundError, CheckpointError: as `load_file`.
    """
    with open(filename, "rb") as file:
        notes = _header_of(file, filename)[1]
    return {name: note for name, note in notes.items() if name != DIGEST}


def _digest(content, start, written):
    digest = sha256()
    digest.update(_with_digest(content[:start], written, NO_DIGEST))
    digest.update(memoryview(content)[start:])
    return digest.hexdigest()


def _broken(filename, reason, facts=(), try_="fetch the file once more; this one cannot be trusted."):
    return CheckpointError(message(f"load_file: {reason}.", [("file", filename), *facts], try_))


def _header_of(file, filename):
    """({name: (dtype, shape, begin, end)}, notes, where the numbers begin), all of it checked against the size."""
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else None
    if length is None or length > min(size - 8, LONGEST_HEADER):
        raise _broken(filename, "the header is longer than the file", [("file", f"{size:,} bytes"), (
            "header", "its length takes 8 bytes" if length is None else f"{length:,} bytes")],
            "check the path: is this a safetensors file, and all of it?")
    entries, notes = _parsed(file.read(length), filename)
    _check_cover(entries, size - 8 - length, filename)
    return entries, notes, 8 + length


def _parsed(text, filename):
    """The entries and the notes of a header."""
    import json
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
        notes = header.pop("__metadata__", {})
        if not all(isinstance(note, str) for note in notes.values()):
            raise TypeError("a note that is no text")
        return {name: _entry(**entry) for name, entry in header.items()}, notes
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(filename, f"the header makes no sense ({error})") from error


def _once(pairs):
    """A dict of pairs; a name that comes twice is an error, where JSON would keep the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _entry(dtype, shape, data_offsets):
    begin, end = data_offsets
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)) or not isinstance(dtype, str):
        raise ValueError("sizes and offsets are whole numbers from 0 on")
    return dtype, tuple(shape), begin, end


def _check_cover(entries, size, filename):
    """Tensors must lie one behind the other and fill the data exactly."""
    at = 0
    for name, (dtype, shape, begin, end) in sorted(entries.items(), key=lambda pair: pair[1][2:]):
        facts = [("tensor", name), ("dtype", dtype), ("shape", shape), ("offsets", f"{begin:,} to {end:,}")]
        if dtype not in DTYPES:
            raise _broken(filename, "a kind of number is not known here", facts,
                          f"store it as one of {', '.join(DTYPES)}.")
        if end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
            raise _broken(filename, "a tensor has more bytes than its shape needs, or fewer", facts)
        if begin != at:
            how = "overlaps the one before it" if begin < at else "leaves a gap before it"
            raise _broken(filename, f"a tensor {how}", [*facts, ("expected", f"{at:,}")])
        if end > size:
            raise _broken(filename, "a tensor ends outside the file", [*facts, ("data", f"{size:,} bytes")])
        at = end
    if at != size:
        raise _broken(filename, "there is data that belongs to no tensor",
                      [("tensors", f"{at:,} bytes"), ("data", f"{size:,} bytes")])


def _array(filename, name, content, start, dtype, shape, begin, end):
    """One tensor's numbers, in memory of their own."""
    stored = np.frombuffer(content, DTYPES[dtype], math.prod(shape), start + begin).reshape(shape)
    if dtype == "BF16":                                   # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if dtype == "BOOL" and stored.view(np.uint8).max(initial=0) > 1:
        raise _broken(filename, "a truth value is neither 0 nor 1", [("tensor", name)])
    return stored.astype(stored.dtype.newbyteorder("="), copy=True)
