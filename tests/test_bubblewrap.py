"""tools/bubblewrap.py: a command gets the strongest level, with a word where it is not the best; CI insists."""
import sys

import pytest

from tools import bubblewrap

TELL = [sys.executable, "-c", "import os; raise SystemExit(int(os.environ['MINIDL_LEVEL'][1:]) + 40)"]


@pytest.fixture
def bare(monkeypatch):
    """A machine without bubblewrap and apt-get, that has level 0 alone."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    monkeypatch.setattr(bubblewrap.sandbox, "lacks", lambda level: "" if level == "L0" else f"no {level}")
    return monkeypatch


def test_the_command_gets_the_strongest_level_and_hands_on_its_status(bare, capsys):
    bare.setattr(bubblewrap.sandbox, "lacks", lambda level: "")
    assert bubblewrap.main(TELL) == 43
    assert capsys.readouterr().out == "battery: at level 3\n"


def test_where_it_cannot_be_had_the_next_one_does_with_a_word(bare, capsys):
    assert bubblewrap.main(TELL) == 40
    said = capsys.readouterr().out.splitlines()
    assert said == ["L3 cannot be had here: no L3", "L1 cannot be had here: no L1", "battery: at level 0"]
    bare.setattr(bubblewrap.sandbox, "lacks", lambda level: "no\n    stderr  x\n" if level == "L3" else "")
    assert bubblewrap.main(TELL) == 41
    assert capsys.readouterr().out.splitlines()[0] == "L3 cannot be had here: no; stderr  x"


def test_it_is_installed_where_that_is_allowed_and_missing_is_an_error_in_ci_only(bare):
    asked = []
    bare.setattr(bubblewrap, "may_install", lambda: True)
    bare.setattr(bubblewrap, "install", lambda: asked.append(1))
    assert bubblewrap.main(TELL) == 40 and asked == [1]
    bare.setenv("CI", "true")
    assert bubblewrap.main(TELL) == 1
    bare.setattr(bubblewrap, "may_install", lambda: False)
    assert bubblewrap.main(TELL) == 40
