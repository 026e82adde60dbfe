"""One browser for all tests of this folder; without Chromium or Playwright they are skipped, with the reason.

They carry the mark `browser`, which a plain run of pytest leaves out: `make test-browser` runs them.
"""
import os
from pathlib import Path

import pytest

from tests.browser.harness import ARGUMENTS, CHROMIUM


def pytest_itemcollected(item):
    """Mark every test of this folder."""
    item.add_marker("browser")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: put it on the PATH, or name it in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def shots(tmp_path):
    """Where pictures of the screen go: the folder named in SHOTS, else one that pytest throws away."""
    folder = Path(os.environ.get("SHOTS") or tmp_path).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
