r"""Saving and loading, without pickle: a checkpoint holds data, never code.

What can be saved: dicts with string or integer keys, lists, tuples, None, booleans, integers of any size,
floats, strings, bytes, NumPy arrays and scalars, and tensors, nested as you like. They come back bit by bit
as they were; what is referred to twice comes back twice.

The file, from top to bottom:

    minidl checkpoint 1\n         the magic line, with the version of the format
    0000000000000417\n            length of the header in bytes, 16 decimal digits
    {"arrays": ..., "tree": ...}  the header: JSON in ASCII, filled up with spaces so that the data starts at a
                                  multiple of 64
    data                          the arrays one behind the other, little-endian, in C order, each filled up with zero
                                  bytes to a multiple of 64
    9f86d081...\n                 SHA-256 of all bytes above, 64 hexadecimal digits

So `head -c -65 file | sha256sum` gives the last line. `arrays` lists [dtype, shape, offset from the start of the data]
of each array; a blob of bytes is an array of uint8. `tree` is the object: None, booleans, strings, lists, finite floats
and integers of up to 64 bits are what JSON calls them, and the rest has a tag:

    {"dict": [[key, value], ...]}     {"ordereddict": [[key, value], ...]}     {"tuple": [...]}
    {"int": "-0x1f"}                  {"float": "7ff8000000000000"}, its 64 bits
    {"str": "eda080"}                 UTF-8, for text with lone surrogates
    {"array": k}  {"scalar": k}  {"bytes": k}                                  k counts in `arrays`, from 0
    {"tensor": k, "requires_grad": false, "device": "cpu"}

A file is written beside its target under a name that ends in `.tmp`, forced to the disk, and renamed. Whoever reads
the target therefore sees the old file or the new one, whole, even if the power fails in between. A process that is
killed may leave its `.tmp` behind; the next save to the same target an hour later removes it.
"""
import collections
import math
import os
import struct
import threading
import time

import numpy as np

from . import backend
from .errors import CheckpointError, message
from .tensor import Tensor

MAGIC, VERSION = b"minidl checkpoint ", 1
HEAD = len(MAGIC) + 2 + 17            # bytes of the first two lines
ALIGN = 64
DIGEST = 65                           # bytes of the last line
DEEPEST = 200                         # levels of nesting; Python's own recursion ends somewhere above
DTYPES = {np.dtype(code).str: np.dtype(code) for code in
          ("?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16")}


# ---------------------------------------------------------------------- saving
def save(obj, path):
    """Write an object to a file; either all of it gets there, or the old file stays as it was.

    Args:
        obj: what is to be saved; the module's docstring lists what it may consist of. A subclass of Tensor, such as a
            Parameter, is saved as a plain tensor; gradients and graphs are not saved.
        path: the file.

    Raises:
        CheckpointError: the object holds something that cannot be saved; the message says where. Nothing was written.
        OSError: the file cannot be written.
    """
    writer = _Writer()
    tree = writer.encode(obj, None, 0)
    write_atomically(path, _sealed(_pieces(tree, writer.arrays)))


class _Writer:
    """Turns an object into a tree for JSON; the arrays it meets are collected in `arrays`."""

    def __init__(self):
        self.arrays = []

    def encode(self, obj, path, depth):
        """The tree of `obj`; `path` is the linked list (path of what holds it, key)."""
        kind = type(obj)
        if obj is None or kind is bool:
            return obj
        if kind is str:
            return obj if _is_unicode(obj) else {"str": obj.encode("utf-8", "surrogatepass").hex()}
        if kind is float:
            return obj if math.isfinite(obj) else {"float": struct.pack(">d", obj).hex()}
        if kind is int:
            return obj if -2**63 <= obj < 2**63 else {"int": hex(obj)}
        if kind is np.ndarray:
            return {"array": self._array(obj, path)}
        if isinstance(obj, Tensor):
            return {"tensor": self._array(obj.host_array(), path), "requires_grad": bool(obj.requires_grad),
                    "device": str(obj.device)}
        if isinstance(obj, np.generic):
            return {"scalar": self._array(np.asarray(obj), path)}
        if kind is bytes:
            return {"bytes": self._array(np.frombuffer(obj, np.uint8), path)}
        return self._container(obj, kind, path, depth)

    def _container(self, obj, kind, path, depth):
        if depth >= DEEPEST:
            raise CheckpointError(message(f"save: {_spelled(path)} lies too deep, or an object contains itself.",
                                          [("levels", f"{DEEPEST} at most")]))
        if kind is list or kind is tuple:
            items = [self.encode(item, (path, k), depth + 1) for k, item in enumerate(obj)]
            return items if kind is list else {"tuple": items}
        if kind is dict or kind is collections.OrderedDict:
            return {kind.__name__.lower(): [[self._key(key, path), self.encode(value, (path, key), depth + 1)]
                                            for key, value in obj.items()]}
        raise _unsupported(obj, path)

    def _key(self, key, path):
        if type(key) not in (str, int):
            raise CheckpointError(message(f"save: a key of {_spelled(path)} is neither a string nor an integer.",
                                          [("key", repr(key)), ("type", type(key).__name__)]))
        return self.encode(key, path, 0)

    def _array(self, array, path):
        """The number of this array in the list."""
        array = np.asarray(array, dtype=array.dtype.newbyteorder("<"))
        if array.dtype.str not in DTYPES:
            raise CheckpointError(message(f"save: {_spelled(path)} holds numbers of a kind that cannot be saved.",
                                          [("dtype", array.dtype)], "convert it first, to float64 or to a list."))
        self.arrays.append(array)
        return len(self.arrays) - 1


def _is_unicode(text):
    """False if there are lone halves of surrogate pairs in it, two of which JSON would take for one character."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _unsupported(obj, path):
    if hasattr(obj, "state_dict"):
        hint = "save its state_dict()."
    else:
        hint = "save numbers, strings, lists, dicts, arrays or tensors that describe it."
    return CheckpointError(message(f"save: {_spelled(path)} cannot be saved.", [("type", type(obj).__name__)], hint))


def _spelled(path):
    """A path inside the object, as one would write it in Python."""
    keys = []
    while path is not None:
        path, key = path
        keys.append(f"[{key!r}]")
    keys = keys[:10] + ["[...]"] + keys[-1:] if len(keys) > 12 else keys
    return "state" + "".join(reversed(keys))


def _pieces(tree, arrays):
    """The file's content without its digest, piece by piece."""
    import json
    specs, offset = [], 0
    for array in arrays:
        specs.append([array.dtype.str, list(array.shape), offset])
        offset += _aligned(array.nbytes)
    header = json.dumps({"arrays": specs, "tree": tree}, separators=(",", ":")).encode("ascii")
    header = header.ljust(_aligned(HEAD + len(header)) - HEAD)
    yield MAGIC + b"%d\n%016d\n" % (VERSION, len(header)) + header
    for array in arrays:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data      # copies are made one at a time
        yield bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(n):
    return -(-n // ALIGN) * ALIGN


def _sealed(pieces):
    """The pieces, and behind them the line with their digest."""
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield digest.hexdigest().encode("ascii") + b"\n"


def sha256():
    """A digest that is fed with bytes."""
    import hashlib  # here: it takes two milliseconds of every import of minidl
    return hashlib.sha256()


def write_atomically(path, pieces):
    """Write pieces of bytes to a file that others see as it was, or whole: beside it first, then renamed.

    A link stays one. What is no plain file, such as a pipe or /dev/null, cannot be written beside: it gets the bytes.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, "wb") as file:
            file.writelines(pieces)
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(folder)
    _remove_stale(folder, f".{name}.")


def _sync_folder(folder):
    """Make the renaming last; systems that cannot open a folder do not need it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:                    # some network file systems refuse
        pass
    finally:
        os.close(descriptor)


def _remove_stale(folder, prefix, seconds=3600):
    """Remove what killed saves to the same target left behind; a save that is under way is younger."""
    with os.scandir(folder) as entries:
        leftovers = [e.path for e in entries if e.name.startswith(prefix) and e.name.endswith(".tmp")]
    for path in leftovers:
        try:
            if time.time() - os.stat(path).st_mtime > seconds:
                os.unlink(path)
        except OSError:
            pass


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


# ---------------------------------------------------------------------- loading
def load(path, map_location=None, weights_only=True):
    """Read an object that `save` wrote.

    Args:
        path: the file.
        map_location: the device that tensors go to; None puts each where it was when it was saved.
        weights_only: accepted for PyTorch's sake; a checkpoint of minidl never holds code.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not a whole, unchanged checkpoint, or a newer minidl wrote it.
        DeviceError: tensors were saved on a device that is missing here; `map_location="cpu"` helps.
    """
    location = None if map_location is None else backend.get(map_location)
    with open(path, "rb") as file:
        length = _check_whole(file, path)
        file.seek(HEAD)
        try:
            header = _parse(file.read(length))
            arrays = list(_read_arrays(file, HEAD + length, header["arrays"], os.fstat(file.fileno()).st_size))
            return _Reader(arrays, location).decode(header["tree"])
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, RecursionError,
                MemoryError, struct.error) as error:
            raise _broken(path, f"the header makes no sense ({type(error).__name__})") from error


def _broken(path, reason, try_="load an older checkpoint; this one cannot be trusted."):
    return CheckpointError(message(f"load: {reason}.", [("file", path)], try_))


def _check_whole(file, path):
    """Look at the magic line, the size and the digest; return the length of the header.

    Nothing is believed, and nothing of any size is read into memory, before the digest was found right.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(HEAD)
    magic, _, rest = prefix.partition(b"\n")
    version = magic[len(MAGIC):]
    if not magic.startswith(MAGIC) or not version.isdigit():
        raise _broken(path, "this is not a checkpoint of minidl",
                      "check the path; PyTorch's files must be converted first.")
    if int(version) != VERSION:
        raise _broken(path, f"the checkpoint has version {int(version)} of the format, this minidl knows {VERSION}",
                      "use the minidl that wrote it, or a newer one.")
    if len(prefix) < HEAD or not (rest[:16].isdigit() and rest[16:] == b"\n"):
        raise _broken(path, "the file is cut off or damaged at its beginning")
    length = int(rest[:16])
    if HEAD + length + DIGEST > size or (HEAD + length) % ALIGN or (size - DIGEST) % ALIGN:
        raise _broken(path, "the file is cut off or damaged: its size is wrong")
    if _digest(file, size) != _last_line(file, size):
        raise _broken(path, "the file is damaged: its SHA-256 digest is wrong")
    return length


def _digest(file, size):
    digest, left = sha256(), size - DIGEST
    file.seek(0)
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest().encode("ascii") + b"\n"


def _last_line(file, size):
    file.seek(size - DIGEST)
    return file.read(DIGEST)


def _parse(header):
    import json
    return json.loads(header)


def _read_arrays(file, start, specs, size):
    """The arrays in their order. They must fill the data exactly, so together they are no larger than the file."""
    position = start
    for code, shape, offset in specs:
        dtype, count = DTYPES[code], math.prod(shape)
        nbytes = count * dtype.itemsize
        if start + offset != position or position + nbytes > size - DIGEST:
            raise ValueError("the arrays do not fit into the file")
        file.seek(position)
        array = np.empty(shape, dtype)
        if file.readinto(array.reshape(-1).view(np.uint8)) != nbytes:
            raise ValueError("the file became shorter while it was read")
        yield array.astype(dtype.newbyteorder("="), copy=False)
        position += _aligned(nbytes)
    if position != size - DIGEST:
        raise ValueError("there is data that belongs to no array")


class _Reader:
    """Turns a tree back into an object.

    Args:
        arrays: the arrays of the file.
        location: the Backend that tensors go to; None for where they came from.
    """

    def __init__(self, arrays, location):
        self.arrays, self.location = arrays, location

    def decode(self, tree):
        """The object behind a tree."""
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        (tag, content), *_ = tree.items()
        return getattr(self, f"_read_{tag}")(content, tree)

    def _read_dict(self, pairs, tree):
        return {self.decode(key): self.decode(value) for key, value in pairs}

    def _read_ordereddict(self, pairs, tree):
        return collections.OrderedDict(self._read_dict(pairs, tree))

    def _read_tuple(self, items, tree):
        return tuple(self.decode(item) for item in items)

    def _read_int(self, digits, tree):
        return int(digits, 16)

    def _read_str(self, octets, tree):
        return bytes.fromhex(octets).decode("utf-8", "surrogatepass")

    def _read_float(self, bits, tree):
        return struct.unpack(">d", bytes.fromhex(bits))[0]

    def _read_array(self, k, tree):
        return self.arrays[k]

    def _read_scalar(self, k, tree):
        return self.arrays[k][()]

    def _read_bytes(self, k, tree):
        return self.arrays[k].tobytes()

    def _read_tensor(self, k, tree):
        device = self.location or backend.get(tree["device"])
        return Tensor(device.from_host(self.arrays[k]), requires_grad=tree["requires_grad"])
