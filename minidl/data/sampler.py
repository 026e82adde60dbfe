"""A sampler says in which order a data set is read: iterating over it gives item numbers, once per epoch.

What draws has a `Generator` of its own in the attribute `generator`. A DataLoader saves and restores it,
and so can take up an epoch where it was left. If none is given, the sampler seeds one from the default
generator when it is first used: `md.manual_seed` before the first epoch fixes all epochs.
"""
import itertools

import numpy as np

from .. import random as _random
from ..errors import ArgumentError, message


class Sampler:
    """Base of samplers; a subclass writes `__iter__` and, if it can, `__len__`."""

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} must say in which order to read: def __iter__(self): ...")


class SequentialSampler(Sampler):
    """0, 1, 2, ... to the end of the data set."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class _Drawing(Sampler):
    """A sampler with a generator, which is made when it is first needed."""

    def __init__(self, generator):
        self._generator = generator

    @property
    def generator(self):
        """The stream the order is drawn from."""
        if self._generator is None:
            self._generator = _random.Generator(int(_random.default_generator.integers(0, 2**63 - 1)))
        return self._generator


class RandomSampler(_Drawing):
    """All items in random order, anew each epoch.

    Args:
        data_source: the data set; only its length is used.
        replacement: draw each number independently, so that items may come twice or never.
        num_samples: how many numbers an epoch has; all items once if left out.
        generator: where the order is drawn from.
    """

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        super().__init__(generator)
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples
        if num_samples is not None:
            _check_count("RandomSampler: num_samples", num_samples)

    @property
    def num_samples(self):
        """How many numbers an epoch has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self):
        return iter(self._draw(len(self.data_source), self.num_samples).tolist())

    def _draw(self, n, count):
        if self.replacement:
            return self.generator.integers(0, n, count)
        rounds = [self.generator.permutation(n) for _ in range(-(-count // max(n, 1)))]
        return np.concatenate(rounds)[:count] if rounds else np.empty(0, np.int64)

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(_Drawing):
    """The given item numbers in random order, anew each epoch."""

    def __init__(self, indices, generator=None):
        super().__init__(generator)
        self.indices = list(indices)

    def __iter__(self):
        return (self.indices[k] for k in self.generator.permutation(len(self.indices)))

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(_Drawing):
    """Item numbers drawn in proportion to weights: a cure for classes of very different sizes.

    Args:
        weights: (N,) numbers of 0 or more; they need not add up to 1.
        num_samples: how many numbers an epoch has.
        replacement: whether an item may come more than once.
        generator: where the numbers are drawn from.

    Raises:
        ArgumentError: a weight is negative or not finite, all are 0, or they are too few to draw without replacement.
    """

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        super().__init__(generator)
        self.weights = np.array([float(w) for w in weights])
        self.num_samples = _check_count("WeightedRandomSampler: num_samples", num_samples)
        self.replacement = replacement
        if not np.isfinite(self.weights).all() or (self.weights < 0).any() or not self.weights.sum() > 0:
            raise ArgumentError("WeightedRandomSampler: weights are finite numbers of 0 or more, and not all are 0.")
        positive = np.count_nonzero(self.weights)
        if not replacement and num_samples > positive:
            raise ArgumentError(message("WeightedRandomSampler: too few items for a draw without replacement.",
                                        [("num_samples", num_samples), ("weights above 0", positive)],
                                        "replacement=True."))

    def __iter__(self):
        rng, chances = self.generator.stream("cpu"), self.weights / self.weights.sum()
        return iter(rng.choice(len(chances), self.num_samples, self.replacement, chances).tolist())

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """Numbers from another sampler, in lists of `batch_size`.

    Args:
        sampler: what gives the numbers.
        batch_size: how many make a batch.
        drop_last: leave out a last list that is not full.

    >>> list(BatchSampler(range(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler, batch_size, drop_last):
        self.sampler, self.batch_size = sampler, _check_count("BatchSampler: batch_size", batch_size)
        self.drop_last = bool(drop_last)

    @property
    def generator(self):
        """The generator of the sampler within, if it has one."""
        return getattr(self.sampler, "generator", None)

    def __iter__(self):
        numbers = iter(self.sampler)
        while batch := list(itertools.islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self):
        return len(self.sampler) // self.batch_size if self.drop_last else -(-len(self.sampler) // self.batch_size)


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(message(f"{name} is a whole number of 1 or more, got {value!r}."))
    return int(value)
