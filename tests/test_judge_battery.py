"""The battery through the whole judge: what is handed in as files becomes rows, and nothing else becomes of it.

The row of figures that a teacher may want is printed by `python -m tests.battery`.
"""
import os
import sys

import pytest

pytest.importorskip("sqlalchemy")

from minidl.judge import sandbox  # noqa: E402
from tests.battery import AT_LEVEL_0, ROWS  # noqa: E402
from tests.battery.attack import TRY, Attack  # noqa: E402
from tests.battery.world import World, play  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits and boxes are POSIX's")
LEVEL = os.environ.get("MINIDL_LEVEL", "")            # tools/bubblewrap.py says it; else the best there is
HICCUP = 15.0                                         # seconds that a busy machine may lose; the figures say more

# A few of each kind, for every run of the unit tests.
QUICK = {"the right answer", "an object that always equals", "os._exit(0)", "a loop", "memory without end",
         "the gradebook, written", "a loopback service", "truncated", "a zip that leads out",
         "a name that is a formula"}


def rows_at(level, rows):
    """A test for each row; only the quick ones are for every day."""
    return [pytest.param(level, row, id=f"{level or 'boxed'}-{row.name}",
                         marks=[] if row.name in QUICK else [pytest.mark.judge]) for row in rows]


def best_level():
    """The strongest level here that is worth an attack. (A container takes a second to start.)"""
    return next((level for level in ("L3", "L1") if not sandbox.lacks(level)), "L3")


@pytest.mark.parametrize(("level", "row"), [*rows_at(LEVEL, ROWS if LEVEL != "L0" else []),
                                            *rows_at("L0", AT_LEVEL_0)])
def test_the_battery(level, row):
    level = level or best_level()
    if reason := sandbox.lacks(level):
        pytest.skip(f"{level} cannot be had here: {reason.splitlines()[0]}")
    outcome, limits = play(row, level), row.limits()
    assert not outcome.faults
    assert outcome.seconds < limits.start_seconds + limits.seconds + HICCUP


@pytest.mark.judge
@pytest.mark.skipif(sys.platform != "linux", reason="the attacks are Linux's")
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS if row.real])
def test_the_attacks_are_real(row):
    """Where nothing protects, they come through, and the battery sees it."""
    if os.geteuid() and "process" in row.name:
        pytest.skip("only root may do this to others")
    assert any("no row is wrong" in fault for fault in play(row, "L0").faults)


# --- whether the battery would see it ---------------------------------------------------------------------------------

SEEN = {
    "points": ("wrong", "def attack():\n    return True" + TRY, "no row is wrong"),
    "another verdict": ("timeout", "def receptive_field(layers):\n    return 7, 7", "no row is timeout"),
    "a file": ("wrong", "def attack():\n    open(world['private'] + '/planted', 'w')" + TRY,
               "planted was changed, made"),
    "a gradebook": ("wrong", """
import sqlite3
def attack():
    with sqlite3.connect(world["grades"], timeout=0.1) as book:
        book.execute("UPDATE results SET points = 0")
""" + TRY, "the gradebook was changed"),
    "a connection": ("wrong", """
import socket
def attack():
    socket.create_connection(("127.0.0.1", world["tcp"]))
""" + TRY, "somebody spoke to ('127.0.0.1'"),
    "a signal": ("wrong", "import os\ndef attack():\n    os.kill(world['victim'], 9)" + TRY,
                 "another process was ended"),
}


@pytest.mark.judge
@pytest.mark.parametrize("name", SEEN)
def test_damage_is_seen(name):
    verdict, text, fault = SEEN[name]
    found = play(Attack(name, verdict, text), "L0").faults
    assert any(fault in one for one in found), found


def test_a_process_that_is_left_is_seen_and_ended():
    import subprocess
    with World() as world:
        world.marks.append("mark-of-a-box")
        left = subprocess.Popen([sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"],
                                env={sandbox.MARK: "mark-of-a-box"}, stdout=subprocess.PIPE)
        with left:
            left.stdout.readline()                    # before its first word it may not have its environment yet
            try:
                if sys.platform == "linux":
                    assert world.leftovers() == [left.pid]
            finally:
                left.kill()


def test_there_are_enough_rows_and_no_name_twice():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 80
    assert {row.name for row in ROWS} >= QUICK
