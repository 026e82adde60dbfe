"""A data set answers two questions: how many items are there, and what is item k?

Whoever can answer them (`__len__` and `__getitem__`) can be fed to a DataLoader. Two more methods are
optional and make batches fast:

    __getitems__(indices)   the items at these places, as a list (PyTorch's spelling)
    get_batch(indices)      the items at these places, already put together as one batch: usually a
                            single fancy-indexing of an array. None in its place says "not possible".
"""
import bisect
import itertools
import math
import operator

import numpy as np

from .. import random as _random
from ..errors import ArgumentError, DimensionError, ShapeError, message
from ..tensor import as_tensor


class Dataset:
    """Base of data sets that know their length and find an item by its number.

    A subclass writes `__len__` and `__getitem__`.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, k):
    ...         return k * k
    >>> Squares()[3]
    9
    """

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} must say what an item is: def __getitem__(self, index): ...")

    def __add__(self, other):
        """One data set behind the other."""
        return ConcatDataset([self, other])


def place(index, length, name):
    """An item's number, counted from the front: -1 is the last.

    Raises:
        DimensionError: there is no such item. It is an IndexError, so `for item in dataset` ends there.
    """
    index = operator.index(index)
    if not -length <= index < length:
        raise DimensionError(message(f"{name}: there is no item {index}.", [("items", length)]))
    return index % length


class TensorDataset(Dataset):
    """Tensors side by side: item k is the tuple of their k-th rows.

    Args:
        tensors: tensors or arrays that agree in the size of their first axis.

    Raises:
        ShapeError: their first axes differ.

    >>> import numpy as np
    >>> x, y = TensorDataset(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1]))[1]
    >>> x, y
    (tensor([3., 4.], dtype=float64), tensor(1))
    """

    def __init__(self, *tensors):
        self.tensors = tuple(as_tensor(t) for t in tensors)
        if not tensors:
            raise ArgumentError("TensorDataset: expected at least one tensor.")
        if len({t.shape[:1] or None for t in self.tensors}) != 1 or not self.tensors[0].shape:
            raise ShapeError(message("TensorDataset: the tensors have different numbers of items.",
                                     [(f"[{k}]", t.shape) for k, t in enumerate(self.tensors)],
                                     "the first axis counts the items; it must be the same in all tensors."))

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        index = place(index, len(self), "TensorDataset")
        return tuple(t[index] for t in self.tensors)

    def get_batch(self, indices):
        """The items at these places as one batch: each tensor is indexed once."""
        indices = np.asarray(indices, dtype=np.int64)
        return tuple(t[indices] for t in self.tensors)


class Subset(Dataset):
    """Some items of another data set, in an order of their own.

    Args:
        dataset: the data set to choose from.
        indices: numbers of the chosen items.
    """

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, [int(k) for k in indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[place(index, len(self), "Subset")]]

    @property
    def get_batch(self):
        """The fast way to a batch, if the data set behind has one; else None."""
        inner = getattr(self.dataset, "get_batch", None)
        return inner and (lambda indices: inner([self.indices[k] for k in indices]))


class ConcatDataset(Dataset):
    """Data sets one behind the other.

    Args:
        datasets: a list of data sets.
    """

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ArgumentError("ConcatDataset: expected at least one data set.")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self):
        return self.cumulative_sizes[-1]

    def __getitem__(self, index):
        index = place(index, len(self), "ConcatDataset")
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(dataset, lengths, generator=None):
    """Cut a data set into random parts that share no item.

    Args:
        dataset: the data set to cut.
        lengths: the parts' sizes, which add up to `len(dataset)`, or fractions, which add up to 1. What rounding
            leaves over goes to the first parts, one item each.
        generator: where the order is drawn from; `md.manual_seed` governs the default.

    Returns:
        A list of `Subset`.

    Raises:
        ArgumentError: the lengths do not add up.

    >>> [len(part) for part in random_split(range(10), [0.75, 0.25])]
    [8, 2]
    """
    total = len(dataset)
    sizes = _sizes_from_fractions(lengths, total) if math.isclose(sum(lengths), 1) else lengths
    if sum(sizes) != total or any(n < 0 or n != int(n) for n in sizes):
        raise ArgumentError(message("random_split: the lengths do not add up to the number of items.",
                                    [("lengths", list(lengths)), ("items", total)],
                                    "whole numbers that add up to the number of items, or fractions that add up to 1."))
    order = (generator or _random.default_generator).permutation(total).tolist()
    ends = itertools.accumulate(int(n) for n in sizes)
    return [Subset(dataset, order[end - int(n):end]) for n, end in zip(sizes, ends)]


def _sizes_from_fractions(fractions, total):
    if any(f < 0 or f > 1 for f in fractions):
        raise ArgumentError(message("random_split: a fraction lies between 0 and 1.", [("lengths", list(fractions))]))
    sizes = [int(total * f) for f in fractions]
    for k in range(total - sum(sizes)):
        sizes[k % len(sizes)] += 1
    return sizes
