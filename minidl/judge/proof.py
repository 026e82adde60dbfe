"""Does the sandbox hold? The judge attacks itself and looks at the damage from outside.

    python -m minidl doctor --sandbox [--json]

No level is believed because its parts are installed: each attack of attacker.py runs in a box of its own, against a
folder with a gradebook, a process and two sockets that are there to be hurt. Files, processes and the gradebook are
looked at afterwards, whatever the attacker printed.
"""
import contextlib
import glob
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from . import attacker, sandbox, visible
from .rows import Limits

SECONDS = 10.0                                   # for one attack
LIMITS = Limits(memory_mb=256)
KILLED_BY_FILTER = 31                            # SIGSYS
MEANS = {"L3": "bubblewrap", "L2": "container", "L1": "Landlock", "L0": "own process"}
MARKS = {True: "✓", False: "✗"}
RESTRICTED = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

APPARMOR = """\
Ubuntu 24.04 and later let no program make user namespaces that has no AppArmor profile. Give bubblewrap one:
    printf '%s\\n' 'abi <abi/4.0>,' 'include <tunables/global>' \\
        'profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }' \\
        | sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser -r /etc/apparmor.d/bwrap"""


class Outcome(NamedTuple):
    """One attack: its name, whether the sandbox held, and what was seen."""

    name: str
    held: bool
    seen: str


@dataclass(frozen=True)
class Proof:
    """What the machine can hold.

    Attributes:
        lacks: why a level cannot be had, by level; "" if it can.
        outcomes: the attacks, by the levels that were attacked: from the strongest down to the first that held.
    """

    lacks: dict[str, str]
    outcomes: dict[str, list[Outcome]]

    @property
    def level(self) -> str:
        """The strongest level that held every attack; "" if none did."""
        return next((level for level, seen in self.outcomes.items() if all(outcome.held for outcome in seen)), "")

    @property
    def trusted_only(self) -> bool:
        """True if only the work of people one trusts can be graded here."""
        return self.level in ("", "L0")

    @property
    def advice(self) -> str:
        """How to reach the next level."""
        return "" if self.level == "L3" else _advice(self.lacks)

    @property
    def verdict(self) -> str:
        """One sentence: what can be graded here?"""
        if self.trusted_only:
            return "No level holds: grade here only the work of people you trust."
        return f"{self.level} holds: the work of strangers can be graded here."

    def as_json(self) -> str:
        """Everything, for a program."""
        told = asdict(self) | {"level": self.level, "verdict": self.verdict, "advice": self.advice}
        told["outcomes"] = {level: [outcome._asdict() for outcome in seen] for level, seen in self.outcomes.items()}
        return json.dumps(told, indent=2)

    def __str__(self) -> str:
        lines = [f"{level}  {MEANS[level]:<11}  {MARKS[not reason]} {reason.splitlines()[0] if reason else 'starts'}"
                 for level, reason in self.lacks.items()]
        for level, seen in self.outcomes.items():
            width = max(len(outcome.name) for outcome in seen)
            lines += ["", f"Attacked at {level}:"]
            lines += [f"  {MARKS[outcome.held]} {'held' if outcome.held else 'BROKEN':<6}  {outcome.name:<{width}}  "
                      f"{outcome.seen}" for outcome in seen]
        return "\n".join([*lines, "", self.verdict, *([self.advice] if self.advice else [])])


def prove() -> Proof:
    """Attack the levels that this machine has, the strongest first, until one holds. Level 0 is not attacked: it makes
    no promise that a hostile program could break."""
    lacks = {level: sandbox.lacks(level) for level in sandbox.LEVELS}
    outcomes: dict[str, list[Outcome]] = {}
    for level in sandbox.LEVELS[:-1]:
        if not lacks[level]:
            outcomes[level] = attack(level)
            if all(outcome.held for outcome in outcomes[level]):
                break
    return Proof(lacks, outcomes)


def attack(level: str) -> list[Outcome]:
    """Every attack of attacker.py against one level."""
    return [_attack(level, one) for one in attacker.ATTACKS]


def _attack(level: str, one) -> Outcome:
    with _world() as (world, victim):
        show = {"attacker.py": Path(attacker.__file__).read_bytes()}
        with sandbox.launch(level, ["attacker.py", one.__name__, json.dumps(world)], show=show, limits=LIMITS) as box:
            said = _first_line(box, SECONDS)
            end = box.how_it_ended(0.5)
            mark = box._room.mark
        damage = _damage(world, victim, mark)
    ended = end == f"signal {KILLED_BY_FILTER}" or box.overfull
    refused = said.startswith(("refused", "nothing")) or not said and ended
    return Outcome(one.__doc__, refused and not damage, "; ".join([said or f"silence, {end}", *damage]))


def _first_line(box: sandbox.Box, seconds: float) -> str:
    """What the attacker printed; "" if it was silent."""
    said, until = b"", time.monotonic() + seconds
    while not said.endswith(b"\n") and len(said) < 1000:
        if not sandbox._wait_for(box.stdout.fileno(), until - time.monotonic()):
            break
        part = box.stdout.read(1000)
        if not part:
            break
        said += part
    return said.decode("utf-8", "replace").strip()


@contextlib.contextmanager
def _world() -> Iterator[tuple[dict, subprocess.Popen]]:
    """What there is to be hurt: all of it open to anybody, so that nothing but the sandbox protects it."""
    token = f"minidl-attack-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="minidl-attack-") as folder, socket.socket() as line, \
            socket.socket(socket.AF_UNIX) as local:
        gradebook = Path(folder, "gradebook.db")
        gradebook.write_text("swordfish")
        os.chmod(folder, 0o777)
        gradebook.chmod(0o666)
        line.bind(("127.0.0.1", 0))
        local.bind(f"{folder}/socket")
        os.chmod(f"{folder}/socket", 0o777)
        for one in (line, local):
            one.listen()
        victim = subprocess.Popen([sandbox.interpreter(), "-I", "-S", "-c", "import time; time.sleep(60)"])
        home = Path.home()
        try:
            yield ({"token": token, "folder": folder, "gradebook": str(gradebook), "home": str(home),
                    "way_to_python": _way(home), "package": str(Path(__file__).parents[1]),
                    "port": line.getsockname()[1],
                    "socket": f"{folder}/socket", "victim": victim.pid, "judge": os.getpid(),
                    "memory_mb": LIMITS.memory_mb}, victim)
        finally:
            victim.kill()
            victim.wait()
            for place in ("/tmp", "/dev/shm", "/dev", "/var/tmp"):
                for left in glob.glob(f"{place}/{token}-*"):
                    os.unlink(left)


def _way(home: Path) -> list[str]:
    """What of home leads to Python, if it is installed there."""
    return sorted({Path(place).relative_to(home).parts[0] for place in visible.system_places()
                   if Path(place).is_relative_to(home)})


def _damage(world: dict, victim: subprocess.Popen, mark: str) -> list[str]:
    """What the attack changed, seen from outside, after the box was killed."""
    gradebook = Path(world["gradebook"])
    found = []
    if not gradebook.is_file() or gradebook.read_text() != "swordfish" or gradebook.stat().st_mode & 0o777 != 0o666:
        found.append("the gradebook was changed")
    if set(os.listdir(world["folder"])) != {"gradebook.db", "socket"}:
        found.append("something was planted")
    if victim.poll() is not None:
        found.append("another process was ended")
    if left := sandbox._marked(mark):
        found.append(f"{len(left)} processes are left")
    return found


def _advice(lacks: dict[str, str]) -> str:
    """What to do for level 3."""
    reason = lacks["L3"]
    if sys.platform != "linux":
        return "The levels above L0 need Linux: a virtual machine, or WSL 2 on Windows."
    if "not installed" in reason:
        return "For L3 install bubblewrap: sudo apt install bubblewrap"
    if Path(RESTRICTED).is_file() and Path(RESTRICTED).read_text().strip() == "1":
        return APPARMOR
    if reason:
        return ("bubblewrap is installed and cannot make namespaces. In a container, give that container "
                "--security-opt seccomp=unconfined, or grade outside it; elsewhere look at "
                "/proc/sys/user/max_user_namespaces and kernel.unprivileged_userns_clone.")
    return "bubblewrap starts and does not hold. Please report the lines marked BROKEN."
