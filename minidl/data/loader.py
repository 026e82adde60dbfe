"""The DataLoader: a data set in batches, in an order that can be repeated and taken up again.

An epoch's order is drawn by the sampler from its generator. So four things say where a run stands: how
many epochs were begun, how many batches of this one were handed out, and what the generator was at the
start of the epoch and after the last batch. That is the loader's whole `state_dict`.

With `prefetch=n` one thread prepares up to n batches ahead. NumPy lets go of the interpreter while it
computes, so a thread is enough to hide the loading behind the training step.
"""
from .. import tensor as _tensor
from ..errors import ArgumentError, message
from .collate import default_collate
from .sampler import BatchSampler, RandomSampler, SequentialSampler


class DataLoader:
    """A data set in batches.

    Args:
        dataset: anything with `__len__` and `__getitem__`.
        batch_size: items in a batch; the last batch of an epoch may be smaller.
        shuffle: a new random order each epoch; otherwise the data set's own.
        sampler: gives the item numbers, in place of `shuffle`.
        batch_sampler: gives lists of item numbers, in place of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        num_workers: PyTorch's number of worker processes. Here there is at most one thread; any number above 0
            prefetches that many batches.
        collate_fn: makes a batch of a list of items; `default_collate` if left out.
        pin_memory, persistent_workers: accepted for PyTorch's sake, without effect.
        drop_last: leave out a last batch that is not full.
        generator: where the order is drawn from. Random transforms that draw from the same generator are resumed
            with the order. If left out, one is seeded from the default generator at the first epoch.
        prefetch: how many batches a thread prepares ahead; 0 prepares each when it is asked for.

    Raises:
        ArgumentError: settings that contradict each other or make no sense.

    An exception from the data set keeps its type and gets a note that names the items.

    >>> [batch.tolist() for batch in DataLoader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, sampler=None, batch_sampler=None, num_workers=0,
                 collate_fn=None, pin_memory=False, drop_last=False, *, generator=None, prefetch=0,
                 persistent_workers=False):
        _check_settings(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last, num_workers, prefetch)
        if batch_sampler is None:
            if sampler is None:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_sampler, self.collate_fn = dataset, batch_sampler, collate_fn or default_collate
        self.sampler = getattr(batch_sampler, "sampler", sampler)
        self.batch_size, self.drop_last = getattr(batch_sampler, "batch_size", None), drop_last
        self.prefetch, self._generator = prefetch or num_workers, generator
        self._custom_collate = collate_fn is not None
        self.epoch = 0            # epochs begun
        self._position = None     # batches handed out in the epoch under way; None between epochs
        self._start = self._now = None

    @property
    def generator(self):
        """The generator that the order is drawn from; None if nothing is drawn."""
        own = getattr(self.batch_sampler, "generator", None) or getattr(self.sampler, "generator", None)
        return own or self._generator

    def __len__(self):
        return len(self.batch_sampler)

    def __iter__(self):
        batches = self._begin_epoch()
        made = self._make(batches)
        for batch, self._now in (_ahead(made, self.prefetch) if self.prefetch else made):
            self._position += 1
            yield batch
        self._position = None

    # ------------------------------------------------------------------ an epoch
    def _begin_epoch(self):
        """The lists of item numbers that are still to come, numbered from the start of the epoch."""
        resumed = self._resumed is not None
        if resumed:
            start, now, self._position, self._resumed = *self._resumed, None
        return resumed
