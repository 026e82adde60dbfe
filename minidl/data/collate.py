"""Collating: many items become one batch, number by number stacked, structure by structure kept."""
import numpy as np

from .. import backend
from ..errors import DataError, DTypeError, ShapeError, message
from ..functions import stack
from ..tensor import Tensor, tensor

_ONE_SIZE = "bring the items to one size (crop, pad), or pass collate_fn=... to the DataLoader."
_NUMBERS = (bool, int, float, np.generic)


def default_collate(batch):
    """Put a list of items together as one batch.

    Tensors and arrays are stacked along a new first axis. Python integers make an int64 tensor, floats a
    float32 one, booleans a bool one. Tuples, named tuples, lists and dicts are walked through: a list of
    pairs becomes a pair of batches. Strings, bytes and None stay as they are, in a list.

    Args:
        batch: a list of items of one kind.

    Raises:
        ShapeError: the tensors at some place differ in shape, or the tuples or dicts in length or keys.
        DTypeError: the items are of different kinds, or of a kind that cannot be put together.

    >>> default_collate([(1, "a"), (2, "b")])
    (tensor([1, 2]), ['a', 'b'])
    """
    return _collate(list(batch), "")


def _collate(items, path):
    if not items:
        raise DataError("default_collate: a batch without items cannot be put together.")
    first = items[0]
    _check_kind(items, path)
    if isinstance(first, (Tensor, np.ndarray)):
        return _stack(items, path)
    if isinstance(first, _NUMBERS):
        return tensor(items)
    if isinstance(first, dict):
        return _collate_dicts(items, path)
    if isinstance(first, (tuple, list)):
        return _collate_sequences(items, path)
    if first is None or isinstance(first, (str, bytes)):
        return items
    raise DTypeError(message(f"default_collate: items of type {type(first).__name__} cannot be put together.",
                             _where(path), "return tensors, arrays or numbers, or pass collate_fn=..."))


def _kind(item):
    return "number" if isinstance(item, _NUMBERS) else type(item)


def _check_kind(items, path):
    kind = _kind(items[0])
    for k, item in enumerate(items):
        if _kind(item) is not kind:
            raise DTypeError(message(f"default_collate: item {k} of the batch is of another kind than item 0.",
                                     [("item 0", type(items[0]).__name__), (f"item {k}", type(item).__name__),
                                      *_where(path)]))


def _stack(items, path):
    for k, item in enumerate(items):
        if item.shape != items[0].shape:
            raise ShapeError(message(f"default_collate: item {k} of the batch has another shape than item 0.",
                                     [("item 0", items[0].shape), (f"item {k}", item.shape), *_where(path)],
                                     _ONE_SIZE))
    if isinstance(items[0], Tensor):
        if any(item.requires_grad for item in items):
            return stack(items)
        items = [item.array for item in items]
    return Tensor(backend.of(items[0]).xp.stack(items))


def _collate_dicts(items, path):
    first = items[0]
    for k, item in enumerate(items):
        if item.keys() != first.keys():
            raise ShapeError(message(f"default_collate: item {k} of the batch has other keys than item 0.",
                                     [("item 0", sorted(map(str, first))), (f"item {k}", sorted(map(str, item))),
                                      *_where(path)]))
    return {key: _collate([item[key] for item in items], f"{path}[{key!r}]") for key in first}


def _collate_sequences(items, path):
    first = items[0]
    for k, item in enumerate(items):
        if len(item) != len(first):
            raise ShapeError(message(f"default_collate: item {k} of the batch has another length than item 0.",
                                     [("item 0", len(first)), (f"item {k}", len(item)), *_where(path)],
                                     _ONE_SIZE))
    columns = [_collate(list(column), f"{path}[{k}]") for k, column in enumerate(zip(*items))]
    return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)


def _where(path):
    return [("where", f"item{path}")] if path else []
