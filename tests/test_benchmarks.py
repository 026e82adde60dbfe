"""The benchmark runs, notices other work and dead processes, and draws. How fast anything is, no test asks."""
import importlib.util
import json
import os
import re
import sys
import tempfile

import numpy as np
import pytest

import minidl as md
from benchmarks import Missing, goals, page, report
from benchmarks.__main__ import Failed, Worker, busy_cores, compare, interpreters, main, python_of
from benchmarks.libraries import JAX_UPDATES, LIBRARIES, UPDATES, Minidl, bent_quarters, scan
from benchmarks.worker import Worker as Inside
from benchmarks.workloads import ON_GPU, WORKLOADS, draw
from tests.fake_device import no_transfers

QUICK = ["--workloads", "e", "--libraries", "minidl", "--rounds", "2", "--seconds", "0.005", "--timeout", "30"]


def test_one_command_measures_and_writes(tmp_path, capsys):
    assert main([*QUICK, "--out", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["workloads"]["e"]["minidl"]
    assert found["ratio"] == [1, 1, 1] and len(found["seconds"]) == 2 and len(found["losses"]) == 5
    assert "(e) 1000 tiny ops" in capsys.readouterr().out


def test_an_interpreter_that_is_not_there_is_reported(capsys):
    assert main([*QUICK, "--python", "minidl=/no/such/python"]) == 1
    assert "ERROR: minidl: cannot start /no/such/python" in capsys.readouterr().out


def test_a_worker_that_dies_is_reported():
    worker = Worker("minidl", sys.executable, "two", timeout=30)      # no number of threads
    with pytest.raises(Failed, match="died with status 1: ValueError"):
        worker.ask("import")
    worker.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the interpreter")
def test_a_worker_that_hangs_is_reported(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nsleep 60\n")
    python.chmod(0o755)
    worker = Worker("minidl", str(python), 1, timeout=0.2)
    with pytest.raises(Failed, match="no answer to 'import' within 0.2 s"):
        worker.ask("import")
    worker.close()


def test_other_work_is_an_error():
    assert compare([2.3, 2.2], [2.3001, 2.2001])
    for losses in ([2.3, 2.3], [2.3, float("nan")]):
        with pytest.raises(Failed, match="other work"):
            compare(losses, [2.3, 2.2])


@pytest.mark.parametrize("name", [name for name, workload in WORKLOADS.items() if workload.layers])
def test_the_networks_learn(name):
    arrays = draw(name)
    assert all(a.dtype == np.float32 for key, a in arrays.items() if key != "y")
    step = Minidl(1).network(WORKLOADS[name], arrays.pop("x"), arrays.pop("y"), list(arrays.values()))
    first, *_, last = [float(step()) for _ in range(4)]
    assert 2 < first < 3 and last < first


# ---------------------------------------------------------------------- on a GPU
@pytest.mark.parametrize("name", ON_GPU)
def test_the_networks_train_on_a_device_without_a_copy_in_between(name, fake):
    arrays = draw(name)
    x, y, weights = arrays.pop("x"), arrays.pop("y"), list(arrays.values())
    there, here = [Minidl(1, device).network(WORKLOADS[name], x, y, weights) for device in ("fake", "cpu")]
    with no_transfers():
        losses = [there() for _ in range(3)]
    np.testing.assert_allclose([loss.host_array() for loss in losses], [float(here()) for _ in range(3)], 1e-5)


def test_a_turn_begins_and_ends_when_the_device_has_nothing_left_to_do(tmp_path, fake):
    np.savez(tmp_path / "a.npz", **draw("a"))
    events, worker = [], Inside("minidl", 1, "fake")
    assert "answer" in worker.answer({"do": "import"})
    network = worker.library.network
    fake.synchronize = lambda: events.append("wait")
    worker.library.network = lambda *args: (lambda step: lambda: events.append("step") or step())(network(*args))
    assert "answer" in worker.answer({"do": "time", "workload": "a", "file": str(tmp_path / "a.npz"), "steps": 2})
    assert events == ["step"] * 3 + ["wait", "step", "step", "wait"]


def test_a_gpu_that_is_not_there_is_no_error(monkeypatch):
    def find():
        raise md.errors.DeviceError("device: no GPU here.\nTry: another one.")
    monkeypatch.setattr(md.backend, "_find_cuda", find)
    monkeypatch.delitem(md.backend._backends, "cuda", raising=False)
    with pytest.raises(Missing, match="device: no GPU here.$"):
        Minidl(1, "cuda")


@pytest.mark.parametrize("args", ["--workloads g", "--libraries minidl,dezero", "--libraries minidl-numba"])
def test_what_a_gpu_is_not_asked_for(args, capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cuda", *args.split()])
    assert "CPU only" in capsys.readouterr().err


# ---------------------------------------------------------------------- the peers
def test_the_loop_over_time_that_peers_share_is_an_lstm():
    x, y, w_ih, w_hh, b_ih, b_hh, *_ = draw("d").values()

    def gates(x, h):
        z = x @ w_ih.T + h @ w_hh.T + b_ih + b_hh
        return bent_quarters(lambda v: 1 / (1 + np.exp(-v)), np.tanh, z)
    lstm = md.nn.LSTM(64, 128)
    lstm.load_state_dict(dict(zip(lstm.state_dict(), map(md.tensor, (w_ih, w_hh, b_ih, b_hh)))))
    np.testing.assert_allclose(scan(x, gates, np.tanh, 128), lstm(md.tensor(x))[1][0][0].detach().numpy(), 1e-4, 1e-6)


@pytest.mark.parametrize("kind", UPDATES)
def test_the_updates_of_peers_without_an_optimizer(kind):
    rng = np.random.default_rng(0)
    p = md.tensor(rng.standard_normal(5).astype("f"), requires_grad=True)
    ours, other = p.detach().numpy().copy(), Minidl(1).optimizer(kind, [p])
    update = UPDATES[kind]([ours])
    for _ in range(4):
        g = rng.standard_normal(5).astype("f")
        p.grad = md.tensor(g)
        update([g])
        other.step()
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, p.detach().numpy(), 1e-5)


@pytest.mark.parametrize("kind", JAX_UPDATES)
def test_the_updates_that_make_new_arrays(kind):
    rng, x = np.random.default_rng(0), np.ones(5, "f")
    ours, memory, other = x, [0 * x], x.copy()
    memory = (np.float32(0), memory, memory) if kind == "adam" else memory
    update = UPDATES[kind]([other])
    for _ in range(4):
        g = rng.standard_normal(5).astype("f")
        (ours,), memory = JAX_UPDATES[kind](np, [ours], [g], memory)
        update([g])
    np.testing.assert_allclose(ours, other, 1e-5)
    assert (x == 1).all()


@pytest.mark.parametrize("name", ["jax", pytest.param("tinygrad", marks=pytest.mark.more)])
def test_what_is_compiled_once_starts_each_turn_anew(name):
    """Only (a): compilers take their time. All other losses are compared by each run of the benchmark."""
    if importlib.util.find_spec(LIBRARIES[name].module) is None:
        pytest.skip("not installed")
    worker = Worker(name, sys.executable, 1, timeout=120)
    try:
        worker.ask("import")
        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/a.npz", **draw("a"))
            for _ in range(2):
                losses = worker.ask("losses", workload="a", file=f"{folder}/a.npz", steps=5)
                assert compare(losses, [2.313135, 2.292854, 2.254783, 2.201583, 2.136055])
    except Missing as missing:
        pytest.skip(str(missing))
    finally:
        worker.close()


def test_ratios_are_taken_round_by_round():
    assert report.ratios([2, 20, 30], [1, 10, 10]) == [2, 2, 2.5]


def test_interpreters_by_name_by_family_and_for_all_peers():
    choices = interpreters(["python-for-peers", "torch=python-for-torch"])
    assert python_of("torch-channels-last", choices) == "python-for-torch"
    assert python_of("mygrad", choices) == "python-for-peers"
    assert python_of("minidl", choices) == sys.executable


ABOUT = {"date": "2026-01-01", "cpu": "a CPU", "cores": 2, "threads": 2, "system": "Linux", "load_at_start": 0.1}


def findings(**entries):
    """A run in which (b) was measured, with these seconds in each round."""
    b = {name.replace("_", "-"): {"ratio": report.ratios(s, entries["torch"]), "seconds": s}
         for name, s in entries.items()}
    return {"workloads": {"b": b}, "versions": {name: {name: "1"} for name in b}, "device": "cpu",
            "skipped": [], "errors": [], "machine": ABOUT, "rounds": 4}


def test_report_and_picture(tmp_path):
    found = findings(torch=[1, 1, 4, 4], minidl=[0.7, 0.75, 3, 3.2])
    assert "| minidl | 0.75 (0.74-0.76) |" in report.text(found, markdown=True)
    assert "WARNING (b): the baseline's own time" in report.text(found)
    pytest.importorskip("matplotlib")
    report.plot(found, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 2000


def test_small_ratios_keep_a_digit():
    assert [report.digits(r) for r in (10.75, 0.7, 0.1, 0.0234, 0.0021)] == ["10.75", "0.70", "0.10", "0.02", "0.002"]


def test_goals_are_reached_missed_or_not_measured():
    found = findings(torch=[1, 1, 1], minidl=[1, 1.05, 1.2], minidl_compiled=[0.8, 0.8, 0.8], dezero=[9, 9, 9])
    rows = {(k, name, beside): (goal, verdict) for k, name, beside, goal, _, verdict in goals.rows(found)}
    assert rows["(b)", "minidl", "torch"] == ("1.10", "reached, within the spread")
    assert rows["(b)", "minidl-compiled", "torch"] == ("0.75", "**missed**")
    assert rows["(b)", "minidl-compiled", "dezero"] == ("0.20", "reached")
    assert rows["(b)", "minidl-compiled", "mygrad"][1] == rows["(f)", "minidl", "NumPy"][1] == "not measured"


def test_goals_of_import_and_memory():
    found = {"workloads": {"f": {"minidl": {"extra_ms": 26}}, "g": {"minidl": {"mib": 150}}}}
    rows = {(k, name): row for k, name, *row in goals.rows(found)}
    assert rows["(f)", "minidl"] == ["NumPy", "+25 ms", "+26 ms", "**missed**"]
    assert rows["(g)", "minidl"] == ["-", "160 MiB", "150 MiB", "reached"]


def test_each_device_has_its_part_of_the_page(tmp_path):
    path, found = tmp_path / "docs" / "benchmarks.md", findings(torch=[1, 1], minidl=[0.5, 0.5])
    page.write({**found, "device": "cuda", "gpu": "A GPU"}, path)
    page.write(found, path)
    page.write(findings(torch=[1, 1], minidl=[0.6, 0.6]), path)
    text = path.read_text()
    assert text.count("**minidl** | 0.60") == text.count("**minidl** | 0.50") == text.count("A GPU (TF32 off)") == 1
    assert text.index("## On a CPU") < text.index("## On a GPU") and text.count("### Goals") == 1
    assert "performance.md" not in text
    (path.parent / "performance.md").touch()
    page.write(found, path)
    assert "[performance.md](performance.md)" in path.read_text()
    for link in re.findall(r"]\((pictures/.*?)\)", path.read_text()):
        assert (path.parent / link).exists()


def test_what_was_found_earlier_can_be_read(tmp_path, capsys):
    (tmp_path / "found.json").write_text(json.dumps(findings(torch=[1, 1], minidl=[0.5, 0.5])))
    assert main(["--read", str(tmp_path / "found.json"), "--write", str(tmp_path / "page.md")]) == 0
    assert "0.50 (0.50-0.50)" in capsys.readouterr().out and "## On a CPU" in (tmp_path / "page.md").read_text()


def test_how_busy_a_machine_is():
    busy = busy_cores(0.05)
    assert busy is None or 0 <= busy <= os.cpu_count()
