"""NumPy's kernels in two threads against the forwards that they stand for, and the second thread itself."""
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import minidl as md
from minidl import kernels
from minidl.kernels import shared
from minidl.kernels.threads import Crew, alone, crew
from minidl.ops.conv import batch_first
from tests.samples import TABLE, value_and_gradients

samples = pytest.mark.parametrize("base", [s for s in TABLE if s.name in shared.TABLE], ids=str)


# ---------------------------------------------------------------------- the same numbers
def test_the_samples_meet_every_kernel():
    assert {s.name for s in TABLE} >= set(shared.TABLE)


@samples
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_compute_what_the_forwards_compute(base, dtype, two_threads):
    for variant in base.variants():
        found = value_and_gradients(variant, dtype)
        with md.use_kernels("plain"):
            assert kernels.in_use() == "plain" and not md.backend.cpu.kernels
            expected = value_and_gradients(variant, dtype)
        for a, b in zip(found, expected):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=2e-5 if dtype == np.float32 else 1e-12,
                                       atol=2e-6 if dtype == np.float32 else 1e-13, err_msg=variant.variant)


def batch_last(*shape):
    """Images as convolutions leave them, with many equal numbers."""
    n, c, h, w = shape
    return np.random.default_rng(0).integers(-2, 3, (c, h, w, n)).astype(np.float32).transpose(3, 0, 1, 2)


CONV = dict(stride=(1, 2), padding=(1, 0), dilation=(1, 1))
POOL = dict(kernel=(2, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("layout", [batch_last, lambda *s: np.ascontiguousarray(batch_last(*s))])
def test_images_in_two_layouts(layout, groups, two_threads):
    x, w = layout(5, 4, 9, 8), np.random.default_rng(1).standard_normal((6, 4 // groups, 3, 2)).astype(np.float32)

    def all_of_it():
        y = md.ops.conv2d(x, w, **CONV, groups=groups)
        z = md.ops.max_pool2d(y, **POOL, ceil_mode=True)
        dy = md.ops.max_pool2d_unpool(np.arange(z.size, dtype=np.float32).reshape(z.shape), y, z, **POOL)
        return [y, z, dy, md.ops.conv2d_weight_grad(x, dy, kernel=(3, 2), **CONV, groups=groups),
                md.ops.conv2d_input_grad(dy, w, size=(9, 8), **CONV, groups=groups)]
    found = all_of_it()
    with md.use_kernels("plain"):
        expected = all_of_it()
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kernel", [(1, 3), (3, 1), (3, 2), (4, 4)], ids=str)
@pytest.mark.parametrize("stride", [(1, 1), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 2)], ids=str)
def test_the_gradient_of_an_input_is_added_up_in_whole_rows(kernel, stride, dilation, dtype, two_threads):
    rng = np.random.default_rng(0)
    conv = dict(stride=stride, padding=(1, 0), dilation=dilation)
    for n, o, c in ((3, 4, 5), (1, 1, 2), (0, 2, 3), (2, 3, 1)):
        x, w = rng.integers(-3, 4, (n, c, 9, 10)).astype(dtype), rng.integers(-3, 4, (o, c, *kernel)).astype(dtype)
        dy = rng.integers(-3, 4, md.ops.conv2d.shape_rule(x.shape, w.shape, **conv, groups=1)).astype(dtype)
        for g in (dy, batch_first(np.ascontiguousarray(dy.transpose(1, 2, 3, 0)))):
            found = md.ops.conv2d_input_grad(g, w, size=(9, 10), **conv, groups=1)
            with md.use_kernels("plain"):
                expected = md.ops.conv2d_input_grad(g, w, size=(9, 10), **conv, groups=1)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)               # small whole numbers add up exactly


def test_two_threads_give_the_same_bits_at_every_run(two_threads):
    x, w = batch_last(8, 4, 9, 9), np.random.default_rng(1).standard_normal((6, 4, 3, 3)).astype(np.float32)
    settings = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    dy = np.random.default_rng(2).standard_normal((8, 6, 9, 9)).astype(np.float32)
    first = md.ops.conv2d_weight_grad(x, dy, kernel=(3, 3), **settings)
    for _ in range(20):
        assert (md.ops.conv2d_weight_grad(x, dy, kernel=(3, 3), **settings) == first).all()
        assert np.isfinite(md.ops.conv2d(x, w, **settings)).all()


def test_a_wrong_shape_is_still_told_in_our_words(two_threads):
    with pytest.raises(md.errors.ShapeError, match="max_pool2d"):
        md.nn.functional.max_pool2d(md.zeros(9, 3, 2, 2), 3)
    with pytest.raises(md.errors.ShapeError, match="matmul"):
        md.ones(2, 3, 4) @ md.ones(2, 3, 4)
    with pytest.raises(md.errors.ShapeError, match="conv2d"):
        md.nn.functional.conv2d(md.zeros(2, 3, 5, 5), md.zeros(4, 2, 3, 3))


# ---------------------------------------------------------------------- the second thread
def test_both_threads_work_and_blas_has_one_meanwhile(two_threads):
    names, counts, both = set(), set(), threading.Barrier(2, timeout=10)

    def work(part):
        both.wait()                                   # passes only when two threads are here
        names.add(threading.current_thread().name)
        counts.add(two_threads[0])
    Crew().share(work, [0, 1])
    assert len(names) == 2 and counts == {1}


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_either_thread_reaches_the_caller(bad, two_threads):
    both = threading.Barrier(2, timeout=10)

    def work(part):
        both.wait()
        if (threading.current_thread() is threading.main_thread()) == bad:
            raise ValueError(part)
    with pytest.raises(ValueError):
        crew.share(work, [0, 1])
    done = []
    crew.share(done.append, list(range(100)))
    assert sorted(done) == list(range(100))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on Windows")
@pytest.mark.parametrize("where", ["while the caller waits", "while the caller works"])
def test_after_a_ctrl_c_the_next_work_is_whole(two_threads, where):
    """The helper's word that it was done with one job was once taken for that of the next: half of an array was not
    written yet when it was read.
    """
    rung, both, done = threading.Event(), threading.Barrier(2, timeout=10), []

    def ring(*_):
        rung.set()
        raise KeyboardInterrupt

    def work(part):
        both.wait()
        if threading.current_thread() is not threading.main_thread() or where == "while the caller works":
            rung.wait(10)
        done.append(part)

    def late(part):
        both.wait()
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.05)
        done.append(part)

    team, before = Crew(), signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            team.share(work, [0, 1])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(done) == 2 - (where == "while the caller works")          # the helper was waited for
    for count in range(1, 4):
        done.clear()
        team.share(late, [0, 1])
        assert sorted(done) == [0, 1], count


def test_inside_shared_work_nothing_is_shared_again(two_threads):
    done = []
    crew.share(lambda part: crew.share(lambda inner: done.append((part, inner)), [0, 1]), [0, 1, 2])
    assert sorted(done) == [(p, k) for p in range(3) for k in range(2)]


def test_blocks_of_one_thread_may_be_nested(two_threads):
    with alone:
        with alone:
            assert two_threads == [1]
        assert two_threads == [1]
    assert two_threads == [2]


def test_where_numpy_was_imported_first_there_is_no_crew():
    code = "import {0}; from minidl import openblas; print(openblas.short_wait)"
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    for first, expected in (("numpy", "False"), ("minidl", "True")):
        found = subprocess.run([sys.executable, "-c", code.format(first)], env=environment, text=True,
                               capture_output=True, check=True).stdout
        assert found.strip() == expected
    long = {**environment, "OPENBLAS_THREAD_TIMEOUT": "26"}
    assert "False" in subprocess.run([sys.executable, "-c", code.format("minidl")], env=long, text=True,
                                     capture_output=True, check=True).stdout
