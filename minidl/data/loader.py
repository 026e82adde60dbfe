"""The DataLoader: a data set in batches, in an order that can be repeated and taken up again.

An epoch's order is drawn by the sampler from its generator. So four things say where a run stands: how
many epochs were begun, how many batches of this one were handed out, and what the generator was at the
start of the epoch and after the last batch. They are the loader's `state_dict`.

With `prefetch=n` one thread prepares up to n batches ahead. NumPy lets go of the interpreter while it
computes, so one thread is enough to hide much of the loading behind the training step.
"""
import itertools

from ..errors import ArgumentError, message
from ..tensor import mode
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
            along with the order. If left out, one is seeded from the default generator when it is first needed.
        prefetch: how many batches a thread prepares ahead; 0 prepares each when it is asked for.

    Attributes:
        epoch: how many epochs were begun.

    Raises:
        ArgumentError: settings that contradict each other or make no sense.

    An exception from the data set keeps its type and gets notes that name the item and the batch.

    >>> [batch.tolist() for batch in DataLoader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, sampler=None, batch_sampler=None, num_workers=0,
                 collate_fn=None, pin_memory=False, drop_last=False, *, generator=None, prefetch=0,
                 persistent_workers=False):
        _check_settings(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        _check_count("num_workers", num_workers)
        _check_count("prefetch", prefetch)
        if batch_sampler is None:
            if sampler is None:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_sampler, self.collate_fn = dataset, batch_sampler, collate_fn
        self.sampler = getattr(batch_sampler, "sampler", sampler)
        self.batch_size, self.drop_last = getattr(batch_sampler, "batch_size", None), drop_last
        self.prefetch, self._own_generator = max(num_workers, prefetch), generator
        self.epoch = 0
        self._standing = self._resume = None       # where the epoch under way stands; where the next one goes on

    @property
    def generator(self):
        """The generator that the order is drawn from; None if nothing is drawn."""
        return getattr(self.batch_sampler, "generator", None) or self._own_generator

    def __len__(self):
        return len(self.batch_sampler)

    def __repr__(self):
        count = _length(self.dataset)
        items = "" if count is None else f"{count} items, "
        return f"DataLoader({items}batch_size={self.batch_size}, sampler={type(self.sampler).__name__})"

    # ------------------------------------------------------------------ an epoch
    def __iter__(self):
        start, position, numbers = self._open()
        made = self._make(enumerate(numbers, position))
        for batch, now in (_ahead(made, self.prefetch) if self.prefetch else made):
            position += 1
            self._standing = {"position": position, "start": start, "now": now}
            yield batch
        self._standing = None

    def _open(self):
        """The state of the generator when this epoch began, how many of its batches are done, and the rest."""
        generator, resume, self._resume = self.generator, self._resume, None
        if resume is None:
            self.epoch += 1
            resume = {"position": 0, "start": _state(generator)}
        else:
            _restore(generator, resume["start"])
        numbers = iter(self.batch_sampler)
        for _ in itertools.islice(numbers, resume["position"]):
            pass
        if resume["position"]:
            _restore(generator, resume["now"])
        return resume["start"], resume["position"], numbers

    def _make(self, numbered):
        """Each batch, with the state of the generator after it was made."""
        generator = self.generator
        for k, numbers in numbered:
            try:
                batch = self._fetch(numbers)
            except Exception as error:
                error.add_note(f"DataLoader: this happened in batch {k}, which holds the items {_shortened(numbers)}.")
                raise
            yield batch, _state(generator)

    def _fetch(self, numbers):
        quick = getattr(self.dataset, "get_batch", None) if self.collate_fn is None else None
        if quick is not None:
            return quick(numbers)
        several = getattr(self.dataset, "__getitems__", None)
        items = several(numbers) if several else [self._item(k) for k in numbers]
        return (self.collate_fn or default_collate)(items)

    def _item(self, k):
        try:
            return self.dataset[k]
        except Exception as error:
            error.add_note(f"DataLoader: this happened at item {k} of the data set.")
            raise

    # ------------------------------------------------------------------ stop and go on
    def state_dict(self):
        """Where the loader stands: plain numbers and strings, fit for `md.save`.

        Taken inside the loop, it counts the batch in hand as done. Taken between epochs, it leads to the next one.
        """
        about = {"items": _length(self.dataset), "batch_size": self.batch_size, "epoch": self.epoch}
        standing = self._resume or self._standing
        return about | (standing or {"position": None, "start": None, "now": _state(self.generator)})

    def load_state_dict(self, state):
        """Go on from a `state_dict`: the next loop gives what was still to come of that epoch, in the same order.

        A loop resumed after an epoch's last batch gives nothing; the loop after it is the next epoch.

        Raises:
            ArgumentError: the state belongs to another data set, batch size or way of sampling.
        """
        self._check_state(state)
        self.epoch, self._standing, self._resume = state["epoch"], None, None
        if state["position"] is None:
            _restore(self.generator, state["now"])
        else:
            self._resume = {key: state[key] for key in ("position", "start", "now")}

    def _check_state(self, state):
        mine = {"items": _length(self.dataset), "batch_size": self.batch_size, "draws": self.generator is not None}
        if not {"epoch", "position", "start", "now", "items", "batch_size"} <= set(state):
            raise ArgumentError("DataLoader.load_state_dict: this is not the state of a DataLoader.")
        saved = {**state, "draws": state["now"] is not None}
        for key, value in mine.items():
            if saved[key] != value:
                raise ArgumentError(message(f"DataLoader.load_state_dict: the saved loader differs in {key!r}.",
                                            [("saved", saved[key]), ("here", value)],
                                            "build the loader with the settings of the run that is to be resumed."))


def _ahead(made, count):
    """What the iterator `made` gives, prepared by a thread up to `count` ahead.

    The thread works on request only: it can never be stuck on a full queue, and it ends with the loop.
    """
    from queue import SimpleQueue
    from threading import Event, Thread

    requests, results, stopped = SimpleQueue(), SimpleQueue(), Event()
    recording = mode.recording             # every thread has its own switch; this one follows the loop's

    def work():
        mode.recording = recording
        while requests.get() and not stopped.is_set():
            try:
                results.put((next(made), None))
            except BaseException as error:         # whatever it is, the loop must hear of it
                results.put((None, error))
                return

    thread = Thread(target=work, name="minidl-prefetch", daemon=True)
    try:
        thread.start()
        for _ in range(count):
            requests.put(True)
        while True:
            result, error = results.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            requests.put(True)
            yield result
    finally:
        stopped.set()
        requests.put(False)
        thread.join(timeout=5)                     # an item that never returns must not hold up Ctrl-C
        error = None                               # the traceback holds this frame: let the circle go


def _state(generator):
    return None if generator is None else generator.get_state()


def _restore(generator, state):
    if generator is not None:
        generator.set_state(state)


def _length(dataset):
    try:
        return len(dataset)
    except TypeError:
        return None


def _shortened(numbers, most=16):
    """The first numbers of a batch, as text."""
    numbers = [str(k) for k in numbers]
    return ", ".join(numbers[:most]) + (", ..." if len(numbers) > most else "")


def _check_settings(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last):
    if not hasattr(dataset, "__getitem__"):
        raise ArgumentError(message(f"DataLoader: a {type(dataset).__name__} is no data set.",
                                    try_="a class with __len__ and __getitem__, or a list."))
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ArgumentError("DataLoader: batch_sampler takes the place of batch_size, shuffle, sampler and drop_last.")
    if sampler is not None and shuffle:
        raise ArgumentError(message("DataLoader: a sampler decides the order, so shuffle=True has nothing to say.",
                                    try_="give one of the two."))


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ArgumentError(f"DataLoader: {name} is a whole number of 0 or more, got {value!r}.")
