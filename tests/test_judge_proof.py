"""The sandbox under attack, and the command that tells a teacher what holds."""
import json
import os
import sys
from pathlib import Path

import pytest

from minidl import cli
from minidl.judge import attacker, proof, sandbox
from minidl.judge.proof import Outcome, Proof

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the limits and the fence are POSIX's")
HELD, BROKEN = Outcome("A bomb", True, "refused: no"), Outcome("A bomb", False, "through: 16 children")
ALL = dict.fromkeys(sandbox.LEVELS, "")


def had(level):
    if reason := sandbox.lacks(level):
        pytest.skip(f"{level} cannot be had here: {reason.splitlines()[0]}")
    return level


@pytest.mark.parametrize("level", [pytest.param("L3", marks=pytest.mark.judge), "L1"])
@pytest.mark.parametrize("attack", attacker.ATTACKS, ids=lambda attack: attack.__name__)
def test_the_sandbox_holds(level, attack):
    outcome = proof._attack(had(level), attack)
    assert outcome.held, outcome


@pytest.mark.skipif(sys.platform != "linux", reason="the attacks are Linux's")
@pytest.mark.parametrize("name", [
    "write_outside", "signals", *(pytest.param(name, marks=pytest.mark.judge) for name in (
        "read_gradebook", "read_reference", "network", "calls", "limits_of_others", "other_processes"))])
def test_the_attacks_are_real(name):
    """Where nothing protects (level 0), they do what they are for, and the judge sees it."""
    outcome = proof._attack("L0", getattr(attacker, name))
    assert not outcome.held and outcome.seen.startswith("through: ")
    assert ("; the gradebook was changed" in outcome.seen) == (name == "write_outside")
    assert ("was ended" in outcome.seen) == (name == "signals")


@pytest.mark.parametrize("code", [pytest.param("def daemon(world):\n '' \n while 1: pass", marks=pytest.mark.judge),
                                  pytest.param("def daemon(world): gone()", marks=pytest.mark.judge),
                                  "import os\ndef daemon(world): os._exit(0)"])
def test_an_attack_that_says_nothing_or_fails_proves_nothing(code, monkeypatch, tmp_path):
    source = Path(attacker.__file__).read_text().replace("ATTACKS = (", f"{code}\n\nATTACKS = (daemon, ", 1)
    (tmp_path / "attacker.py").write_text(source)
    monkeypatch.setattr(attacker, "__file__", str(tmp_path / "attacker.py"))
    monkeypatch.setattr(proof, "SECONDS", 1.0)
    assert not proof._attack("L0", attacker.daemon).held


def test_the_level_is_the_first_that_held_everything():
    assert Proof(ALL, {"L3": [HELD, HELD]}).level == "L3"
    weak = Proof(ALL, {"L3": [HELD, BROKEN], "L1": [HELD]})
    assert (weak.level, weak.trusted_only) == ("L1", False)
    assert weak.verdict == "L1 holds: the work of strangers can be graded here."
    assert "does not hold" in weak.advice
    none = Proof(ALL, {"L3": [BROKEN]})
    assert none.trusted_only and none.verdict.startswith("No level holds: grade here only the work of people you trust")
    assert "✗ BROKEN  A bomb  through: 16 children" in str(none).splitlines()[6]


@pytest.mark.parametrize(("reason", "advice"), [
    ("launch: level L3 needs bubblewrap, and it is not installed.", "sudo apt install bubblewrap"),
    ("bwrap: No permissions to create new namespace", "max_user_namespaces"),
])
@pytest.mark.skipif(sys.platform != "linux", reason="the advice is for Linux")
def test_the_way_to_the_next_level_is_said(reason, advice, monkeypatch):
    monkeypatch.setattr(proof, "RESTRICTED", "/nowhere")
    told = str(Proof(ALL | {"L3": reason}, {"L1": [HELD]}))
    assert f"L3  bubblewrap   ✗ {reason}" in told and advice in told.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="AppArmor is Linux's")
def test_ubuntu_is_told_of_apparmor(monkeypatch, tmp_path):
    (tmp_path / "restricted").write_text("1\n")
    monkeypatch.setattr(proof, "RESTRICTED", str(tmp_path / "restricted"))
    assert "apparmor_parser" in Proof(ALL | {"L3": "bwrap: setting up uid map: Permission denied"}, {}).advice


def test_prove_stops_at_the_first_level_that_holds(monkeypatch):
    asked = []
    monkeypatch.setattr(sandbox, "lacks", lambda level: "gone" if level == "L2" else "")
    monkeypatch.setattr(proof, "attack", lambda level: asked.append(level) or [HELD if level == "L1" else BROKEN])
    assert proof.prove().level == "L1" and asked == ["L3", "L1"]


@pytest.mark.parametrize(("outcome", "status"), [(HELD, 0), (BROKEN, 1)])
def test_the_command(outcome, status, monkeypatch, capsys):
    monkeypatch.setattr(proof, "prove", lambda: Proof(ALL, {"L3": [outcome]}))
    assert cli.main(["doctor", "--sandbox"]) == status
    assert "A bomb" in capsys.readouterr().out
    assert cli.main(["doctor", "--sandbox", "--json"]) == status
    told = json.loads(capsys.readouterr().out)
    assert told["level"] == ("L3" if status == 0 else "") and told["outcomes"]["L3"][0]["held"] == (status == 0)
    with pytest.raises(SystemExit):
        cli.main(["doctor", "--json"])
