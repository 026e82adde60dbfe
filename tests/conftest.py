"""What every test gets: the same random numbers each time, and the recording switched on."""
import numpy as np
import pytest

import minidl as md

try:
    from hypothesis import settings
except ImportError:                       # the property tests skip themselves
    pass
else:
    settings.register_profile("minidl", deadline=None, derandomize=True, max_examples=50, database=None)
    settings.load_profile("minidl")


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
