"""Data sets, samplers, collating and the DataLoader: order, resume, threads, error messages."""
import _thread
import collections
import gc
import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl as md
from minidl import data
from minidl.errors import ArgumentError, DataError, DimensionError, DTypeError, ShapeError


class Items(data.Dataset):
    """0, 1, 2, ... as tensors; `on` is called with the number first."""

    def __init__(self, n, on=lambda k: None):
        self.n, self.on = n, on

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        self.on(k)
        return md.tensor(k)


def drain(loader):
    """The numbers of an epoch, batch by batch."""
    return [batch.tolist() for batch in loader]


def prefetchers():
    return [t for t in threading.enumerate() if t.name == "minidl-prefetch"]


# ---------------------------------------------------------------------- data sets
def test_a_data_set_ends_where_its_items_do():
    pairs = data.TensorDataset(md.arange(3), md.arange(3) * 2)
    assert [(int(a), int(b)) for a, b in pairs] == [(0, 0), (1, 2), (2, 4)]
    assert int(pairs[-1][0]) == 2
    with pytest.raises(DimensionError, match="there is no item 3"):
        pairs[3]
    with pytest.raises(NotImplementedError, match="must say what an item is"):
        data.Dataset()[0]


def test_tensors_of_different_lengths_are_refused():
    with pytest.raises(ShapeError, match=r"different numbers of items.\n    \[0\]  \(3,\)\n    \[1\]  \(2, 2\)"):
        data.TensorDataset(md.zeros(3), md.zeros(2, 2))
    with pytest.raises(ShapeError):
        data.TensorDataset(md.tensor(1.0))
    with pytest.raises(ArgumentError):
        data.TensorDataset()


def test_concatenation_and_subset():
    both = Items(3) + Items(2)
    assert [int(both[k]) for k in range(-5, 5)] == [0, 1, 2, 0, 1] * 2
    assert [int(k) for k in data.Subset(both, [4, 0])] == [1, 0]
    with pytest.raises(DimensionError):
        both[5]
    with pytest.raises(ArgumentError):
        data.ConcatDataset([])


def test_a_subset_is_as_fast_as_what_it_is_made_of():
    pairs = data.TensorDataset(md.arange(10), md.arange(10) * 2)
    twice = data.Subset(data.Subset(pairs, [9, 8, 7]), [2, 0])
    x, y = twice.get_batch([1, 0])
    assert x.tolist() == [9, 7] and y.tolist() == [18, 14]
    assert data.Subset(Items(3), [0]).get_batch is None


@given(st.integers(1, 60), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_random_split_shares_out_every_item_once(n, weights, seed):
    fractions = [w / sum(weights) for w in weights]
    parts = data.random_split(range(n), fractions, generator=md.Generator(seed))
    assert sorted(itertools.chain(*parts)) == list(range(n))
    assert all(abs(len(part) - n * f) < 2 for part, f in zip(parts, fractions))
    again = data.random_split(range(n), [len(p) for p in parts], generator=md.Generator(seed))
    assert [list(p) for p in again] == [list(p) for p in parts]


@pytest.mark.parametrize("lengths", [[3, 3], [-1, 11], [2.5, 7.5], [-0.5, 1.5]])
def test_random_split_wants_lengths_that_add_up(lengths):
    with pytest.raises(ArgumentError, match="random_split"):
        data.random_split(range(10), lengths)


# ---------------------------------------------------------------------- samplers
def test_samplers_draw_what_they_say():
    g = md.Generator(0)
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    assert sorted(data.RandomSampler(range(9), generator=g)) == list(range(9))
    long = list(data.RandomSampler(range(4), num_samples=10, generator=g))
    assert len(long) == 10 and sorted(long[:4]) == sorted(long[4:8]) == [0, 1, 2, 3]
    twice = list(data.RandomSampler(range(9), num_samples=18, generator=g))
    assert twice[:9] != twice[9:]                     # the second round is drawn anew
    assert set(data.RandomSampler(range(3), replacement=True, num_samples=200, generator=g)) == {0, 1, 2}
    assert sorted(data.SubsetRandomSampler([5, 7, 9], generator=g)) == [5, 7, 9]
    counts = np.bincount(list(data.WeightedRandomSampler([1, 0, 3], 4000, generator=g)))
    assert counts[1] == 0 and abs(counts[2] / 4000 - 0.75) < 0.03
    assert sorted(data.WeightedRandomSampler([1, 0, 3], 2, replacement=False, generator=g)) == [0, 2]


@given(st.integers(0, 30), st.integers(1, 7), st.booleans())
def test_batches_are_the_numbers_cut_in_pieces(n, size, drop_last):
    sampler = data.BatchSampler(range(n), size, drop_last)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    kept = n - n % size if drop_last else n
    assert list(itertools.chain(*batches)) == list(range(kept))


@pytest.mark.parametrize("make", [
    lambda: data.WeightedRandomSampler([0, 0], 1), lambda: data.WeightedRandomSampler([1, -1], 1),
    lambda: data.WeightedRandomSampler([1, float("nan")], 1), lambda: data.WeightedRandomSampler([1, 0], 2, False),
    lambda: data.BatchSampler(range(3), 0, False), lambda: data.BatchSampler(range(3), True, False),
    lambda: data.RandomSampler(range(3), num_samples=0), lambda: data.BatchSampler(range(3), 2.0, False),
])
def test_senseless_samplers_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


# ---------------------------------------------------------------------- collating
def test_collate_keeps_the_structure_and_chooses_dtypes():
    Pair = collections.namedtuple("Pair", "x y")
    items = [{"a": (1, 2.5), "b": [True, "t"], "c": Pair(np.float64(k), md.ones(2)), "d": np.zeros(3, np.uint8),
              "e": None, "f": b"z"} for k in range(2)]
    out = data.default_collate(items)
    assert [out["a"][0].dtype, out["a"][1].dtype] == [np.int64, np.float32] and type(out["a"]) is tuple
    assert out["b"][0].dtype == np.bool_ and out["b"][1] == ["t", "t"]
    assert type(out["c"]) is Pair and out["c"].x.dtype == np.float64 and out["c"].y.shape == (2, 2)
    assert out["d"].dtype == np.uint8 and out["d"].shape == (2, 3)
    assert out["e"] == [None, None] and out["f"] == [b"z", b"z"]
    assert data.default_collate([1, 2.5]).tolist() == [1.0, 2.5]


def test_collate_does_not_cut_the_graph():
    leaves = [md.ones(2, requires_grad=True) for _ in range(2)]
    data.default_collate(leaves).sum().backward()
    assert leaves[1].grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("items, error, text", [
    ([md.zeros(2), md.zeros(2), md.zeros(3)], ShapeError, "item 2 of the batch has another shape"),
    ([(1, [md.zeros(2)]), (1, [md.zeros(3)])], ShapeError, r"item 1 .*\n(.*\n)+    where   item\[1\]\[0\]"),
    ([(1, 2), (1,)], ShapeError, "item 1 of the batch has another length"),
    ([{"a": 1}, {"a": 1}, {"b": 1}], ShapeError, "item 2 of the batch has other keys"),
    ([1, "a"], DTypeError, r"item 1 of the batch is of another kind than item 0.\n    item 0  int\n    item 1  str"),
    ([object()], DTypeError, "items of type object cannot be put together"),
    ([], DataError, "without items"),
])
def test_collate_says_which_item_does_not_fit(items, error, text):
    with pytest.raises(error, match=text):
        data.default_collate(items)


# ---------------------------------------------------------------------- order
def test_the_order_of_every_epoch_follows_from_the_seed():
    def three_epochs(seed, **settings):
        loader = data.DataLoader(Items(20), 3, shuffle=True, generator=md.Generator(seed), **settings)
        return [drain(loader) for _ in range(3)]
    first = three_epochs(1)
    assert first == three_epochs(1) == three_epochs(1, prefetch=3) == three_epochs(1, num_workers=1)
    assert first[0] != first[1] != first[2] and first != three_epochs(2)
    assert sorted(itertools.chain(*first[2])) == list(range(20))


def test_manual_seed_governs_a_loader_without_generator():
    def order():
        loader = data.DataLoader(range(50), 50, shuffle=True)
        md.manual_seed(5)
        return drain(loader), drain(loader)
    assert order() == order()


def test_last_batch():
    assert [len(b) for b in drain(data.DataLoader(Items(7), 3))] == [3, 3, 1]
    loader = data.DataLoader(Items(7), 3, drop_last=True)
    assert [len(b) for b in drain(loader)] == [3, 3] and len(loader) == 2


def test_samplers_of_ones_own():
    assert drain(data.DataLoader(Items(9), 2, sampler=[8, 1, 3])) == [[8, 1], [3]]
    loader = data.DataLoader(Items(9), batch_sampler=[[8], [1, 3]])
    assert drain(loader) == [[8], [1, 3]] and len(loader) == 2


def test_collate_fn_and_getitems():
    class Fetches(Items):
        def __getitems__(self, numbers):
            return [k * 10 for k in numbers]
    assert drain(data.DataLoader(Fetches(4), 2)) == [[0, 10], [20, 30]]
    assert list(data.DataLoader(Fetches(4), 2, collate_fn=sum)) == [10, 50]
    pairs = data.TensorDataset(md.arange(4))
    assert list(data.DataLoader(pairs, 2, collate_fn=lambda items: [int(x) for x, in items])) == [[0, 1], [2, 3]]


def test_the_fast_way_gives_the_same_batches():
    pairs = data.TensorDataset(md.randn(10, 3), md.arange(10))
    slow = data.DataLoader(pairs, 4, collate_fn=data.default_collate)
    for (x, y), (u, v) in zip(data.DataLoader(pairs, 4), slow, strict=True):
        assert np.array_equal(x.numpy(), u.numpy()) and np.array_equal(y.numpy(), v.numpy()) and y.dtype == v.dtype


def test_nested_loops_over_one_loader():
    loader = data.DataLoader(range(3), 1)
    assert [(int(a), int(b)) for a in loader for b in loader] == list(itertools.product(range(3), range(3)))
    assert "3 items" in repr(loader)


@pytest.mark.parametrize("settings", [
    {"sampler": [0], "shuffle": True}, {"batch_sampler": [[0]], "batch_size": 2},
    {"batch_sampler": [[0]], "sampler": [0]}, {"batch_size": 0}, {"batch_size": None}, {"prefetch": -1},
    {"prefetch": 1.5}, {"num_workers": -1},
])
def test_senseless_settings_are_refused(settings):
    with pytest.raises(ArgumentError):
        data.DataLoader(range(3), **settings)


def test_something_else_than_a_data_set_is_refused():
    with pytest.raises(ArgumentError, match="a int is no data set"):
        data.DataLoader(3)


# ---------------------------------------------------------------------- stop and go on
@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("kind", ["shuffle", "plain", "weighted", "replacement"])
def test_resume_at_every_point_is_bit_equal(kind, prefetch):
    n, size, epochs = 11, 3, 3
    settings = {"batch_size": size, "prefetch": prefetch}

    def build(seed=3):
        g = md.Generator(seed)
        return {"plain": lambda: data.DataLoader(Items(n), **settings),
                "shuffle": lambda: data.DataLoader(Items(n), shuffle=True, generator=g, **settings),
                "weighted": lambda: data.DataLoader(
                    Items(n), sampler=data.WeightedRandomSampler(range(n), n, generator=g), **settings),
                "replacement": lambda: data.DataLoader(
                    Items(n), sampler=data.RandomSampler(range(n), True, generator=g), **settings)}[kind]()

    unbroken, states, loader = [], [], build()
    states.append((0, 0, loader.state_dict()))
    for epoch in range(epochs):
        for batch in loader:
            unbroken.append(batch.tolist())
            states.append((epoch, len(unbroken), loader.state_dict()))
        states.append((epoch + 1, len(unbroken), loader.state_dict()))
    for epoch, done, state in states:
        fresh = build(seed=99)
        fresh.load_state_dict(state)
        assert fresh.state_dict() == state
        rest = [batch for _ in range(epoch, epochs) for batch in drain(fresh)]
        assert rest == unbroken[done:], (kind, epoch, done)
    for _, _, state in states:                        # nothing of another state is left behind, nor of a loop
        for other in (states[1][2], state):
            loader.load_state_dict(other)
        assert loader.state_dict() == state
        loader.load_state_dict(states[2][2])
        next(iter(loader))
        loader.load_state_dict(state)
        assert loader.state_dict() == state


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_transforms_that_draw_from_the_loaders_generator_are_resumed_too(shuffle, prefetch):
    def build(seed):
        g = md.Generator(seed)
        images = data.ImageDataset(np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4), range(12), range(12),
                                   data.Compose([data.ToTensor(), data.RandomCrop(4, 2, generator=g)]))
        return data.DataLoader(images, 5, shuffle=shuffle, generator=g, prefetch=prefetch)

    def epoch(loader):
        return [(x.numpy().tobytes(), y.tolist()) for x, y in loader]

    loader, expected, states = build(1), [], []
    for _ in range(2):
        for x, y in loader:
            expected.append((x.numpy().tobytes(), y.tolist()))
            states.append((len(expected) - 1, loader.state_dict()))
        states.append((len(expected), loader.state_dict()))               # between two epochs
    for k, state in states:
        fresh = build(2)
        fresh.load_state_dict(state)
        rest = [batch for _ in range(k // 3, 2) for batch in epoch(fresh)]
        assert rest == expected[k if state["position"] is None else k + 1:]


def test_the_state_survives_a_checkpoint(tmp_path):
    from minidl.serialize import load, save
    loader = data.DataLoader(Items(9), 2, shuffle=True)
    batches = iter(loader)
    next(batches)
    save(loader.state_dict(), tmp_path / "state")
    fresh = data.DataLoader(Items(9), 2, shuffle=True)
    fresh.load_state_dict(load(tmp_path / "state"))
    assert drain(fresh) == [b.tolist() for b in batches]
    assert drain(fresh) == drain(loader) and fresh.epoch == loader.epoch == 2


@pytest.mark.parametrize("other, key", [
    (lambda: data.DataLoader(Items(8), 2, shuffle=True), "items"), (lambda: data.DataLoader(Items(9), 2), "draws"),
    (lambda: data.DataLoader(Items(9), 3, shuffle=True), "batch_size"),
])
def test_the_state_of_another_loader_is_refused(other, key):
    state = data.DataLoader(Items(9), 2, shuffle=True).state_dict()
    with pytest.raises(ArgumentError, match=f"differs in '{key}'"):
        other().load_state_dict(state)
    with pytest.raises(ArgumentError, match="not the state"):
        other().load_state_dict({"epoch": 1})


# ---------------------------------------------------------------------- threads and errors
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exception_names_the_item_and_the_batch(prefetch):
    def fail(k):
        if k == 7:
            raise KeyError("no such file")
    seen = []
    with pytest.raises(KeyError, match="no such file") as caught:
        for batch in data.DataLoader(Items(12, fail), 3, prefetch=prefetch):
            seen.append(batch.tolist())
    assert seen == [[0, 1, 2], [3, 4, 5]]
    assert caught.value.__notes__ == ["DataLoader: this happened at item 7 of the data set.",
                                      "DataLoader: this happened in batch 2, which holds the items 6, 7, 8."]
    assert not prefetchers()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_ragged_items_are_explained(prefetch):
    ragged = [md.zeros(2), md.zeros(2), md.zeros(3)]
    with pytest.raises(ShapeError, match="item 2 of the batch") as caught:
        list(data.DataLoader(ragged, 3, prefetch=prefetch))
    assert "the items 0, 1, 2." in caught.value.__notes__[0]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stray_stop_iteration_does_not_end_an_epoch_quietly(prefetch):
    def stop(k):
        if k == 3:
            raise StopIteration
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(data.DataLoader(Items(6, stop), 2, prefetch=prefetch))


def test_system_exit_on_the_thread_reaches_the_caller():
    def leave(k):
        raise SystemExit(3)
    with pytest.raises(SystemExit):
        list(data.DataLoader(Items(6, leave), 2, prefetch=2))


def test_the_thread_ends_when_the_loop_is_left_early():
    read = []
    loader = data.DataLoader(Items(1000, read.append), 1, prefetch=3)
    for k, _ in enumerate(loader):
        if k == 4:
            break
    gc.collect()
    assert not prefetchers() and 5 <= len(read) <= 8
    next(iter(loader))
    gc.collect()
    assert not prefetchers()


def test_leaving_the_loop_waits_for_one_item_at_most():
    read = []

    def slow(k):
        read.append(k)
        time.sleep(0.02)
    for _ in data.DataLoader(Items(1000, slow), 1, prefetch=30):
        break
    gc.collect()
    assert not prefetchers() and len(read) <= 3


def test_a_resumed_epoch_counts_its_batches_from_the_start():
    def fail(k):
        if k == 5:
            raise KeyError
    loader = data.DataLoader(Items(6, fail), 2)
    next(iter(loader))
    state = loader.state_dict()
    loader.load_state_dict(state)
    with pytest.raises(KeyError) as caught:
        drain(loader)
    assert "in batch 2, which holds the items 4, 5." in caught.value.__notes__[1]


@pytest.mark.parametrize("settings", [{"prefetch": 3}, {"num_workers": 3}])
def test_the_thread_reads_ahead_but_not_further(settings):
    read = []
    batches = iter(data.DataLoader(Items(1000, read.append), 2, **settings))
    next(batches)
    until = time.monotonic() + 5
    while len(read) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(read) == 8                       # the batch in hand and three more
    batches.close()
    assert not prefetchers()


def test_an_error_in_the_loop_leaves_no_busy_thread():
    read = []
    with pytest.raises(ZeroDivisionError) as caught:
        for _ in data.DataLoader(Items(1000, read.append), 1, prefetch=2):
            raise ZeroDivisionError
    time.sleep(0.05)
    assert len(read) <= 3 and caught.tb         # the traceback still holds the loop
    del caught
    gc.collect()
    assert not prefetchers()


def test_ctrl_c_gets_through_while_the_thread_works():
    slow = threading.Event()
    loader = data.DataLoader(Items(100, lambda k: slow.wait(0.3 if k else 0)), 1, prefetch=1)
    batches = iter(loader)
    next(batches)
    threading.Timer(0.05, _thread.interrupt_main).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in batches:
            pass
    assert time.monotonic() - start < 3
    gc.collect()
    assert not prefetchers()


def test_prefetching_hides_the_reading():
    loader = data.DataLoader(Items(8, lambda k: time.sleep(0.05)), 1, prefetch=2)
    start = time.perf_counter()
    for _ in loader:
        time.sleep(0.05)
    assert time.perf_counter() - start < 0.7    # 0.8 one after the other


def test_the_thread_follows_no_grad():
    def collate(items):
        return md.ones(1, requires_grad=True) * 2
    with md.no_grad():
        assert not next(iter(data.DataLoader(range(2), prefetch=1, collate_fn=collate))).requires_grad
    assert next(iter(data.DataLoader(range(2), prefetch=1, collate_fn=collate))).requires_grad
