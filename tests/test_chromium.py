"""tools/chromium.py: a command gets its Chromium, or is left out with a word; only a CI that may install one fails."""
import sys

import pytest

from tools import chromium

TELL = [sys.executable, "-c", "import os; raise SystemExit(7 if os.environ.get('CHROMIUM') else 8)"]


@pytest.fixture
def bare(monkeypatch):
    """A machine with playwright, without a Chromium, and without apt-get."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(chromium.shutil, "which", lambda name: None)
    monkeypatch.setattr(chromium.importlib.util, "find_spec", lambda name: object())
    return monkeypatch


def test_the_command_gets_the_path_and_hands_on_its_status(bare):
    bare.setattr(chromium.shutil, "which", lambda name: "/somewhere/chrome" if name == "google-chrome" else None)
    assert chromium.main(TELL) == 7


def test_without_one_the_command_is_left_out_with_a_word(bare, capsys):
    assert chromium.main(TELL) == 0
    assert "there is no Chromium. Install it" in capsys.readouterr().out
    bare.setattr(chromium.importlib.util, "find_spec", lambda name: None)
    assert chromium.main(TELL) == 0
    assert 'pip install -e ".[browser]"' in capsys.readouterr().out


def test_it_is_installed_where_that_is_allowed_and_missing_is_an_error_in_ci_only(bare):
    asked = []
    bare.setattr(chromium, "may_install", lambda: True)
    bare.setattr(chromium, "install", lambda: asked.append(1))
    assert chromium.main(TELL) == 0 and asked == [1]
    bare.setenv("CI", "true")
    assert chromium.main(TELL) == 1
    bare.setattr(chromium, "may_install", lambda: False)
    assert chromium.main(TELL) == 0


def test_a_name_that_leads_nowhere_is_not_replaced_by_another(bare):
    bare.setattr(chromium.shutil, "which", lambda name: name if name == "chromium" else None)
    bare.setenv("CHROMIUM", "/no/such/program")
    bare.setattr(chromium, "install", lambda: pytest.fail("installed nevertheless"))
    assert chromium.found() is None and chromium.main(TELL) == 0
