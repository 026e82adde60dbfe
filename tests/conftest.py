"""What every test gets: the same random numbers each time, and the recording switched on."""
import gc
import signal
import sys

import numpy as np
import pytest

import minidl as md

# A shell starts what it runs in the background with Ctrl-C switched off, and some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# nbformat's jsonschema would read a grammar of web addresses for seconds, in every worker; no schema here asks for one.
sys.modules.setdefault("rfc3987_syntax", None)

try:
    from hypothesis import settings
except ImportError:                       # the property tests skip themselves
    pass
else:
    settings.register_profile("minidl", deadline=None, derandomize=True, max_examples=50, database=None)
    settings.load_profile("minidl")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Thousands of tests are found and stay: the collector of garbage need not go through them time and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _same_start():
    """Restart the default generator, and tell a test that left the recording off."""
    md.manual_seed(0)
    yield
    left_on = md.is_grad_enabled()
    md.autograd.mode.recording = True
    assert left_on, "the test left the recording switched off"


@pytest.fixture
def rng():
    """NumPy's generator, seeded."""
    return np.random.default_rng(0)


@pytest.fixture
def fake():
    """The strict fake device, registered for the length of a test (fake_device.py)."""
    from tests import fake_device
    with fake_device.registered() as backend:
        yield backend


@pytest.fixture
def two_threads(monkeypatch):
    """A BLAS that is said to have two threads: even the smallest work of kernels/shared.py is then done by two."""
    from minidl import openblas
    from minidl.kernels import shared, threads
    count = [2]
    monkeypatch.setattr(threads, "blas", lambda: (lambda: count[0], lambda n: count.__setitem__(0, n)))
    monkeypatch.setattr(openblas, "short_wait", True)
    monkeypatch.setattr(shared, "LARGE", 0)
    monkeypatch.setattr(shared, "PRODUCT", 0)
    yield count
    assert count == [2], "BLAS has not got its threads back"
