"""Graphs in files: what is loaded goes on as if nothing had happened, and a damaged file is an error and no more."""
import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import graph as G
from minidl import nn, optim
from minidl.errors import ArgumentError, CheckpointError, FeedError
from minidl.graph.store import harmless
from minidl.nn import functional as F
from minidl.serialize import load as load_checkpoint
from minidl.serialize import save as save_checkpoint
from tests.graph_tools import all_same, same


def numbers(n=5, seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((n, 4)), "y": rng.integers(0, 3, n)}


def trained(optimizer=lambda p: optim.Adam(p, lr=0.05)):
    """A session with a model that has learned a little, and what can be fetched."""
    md.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, 3)).to(md.float64)
    builder = G.Builder()
    with builder.as_default():
        x, y = G.placeholder((None, 4), md.float64, "x"), G.placeholder((None,), md.int64, "y")
        scale = G.Variable(np.ones(()), name="scale", dtype=np.float64)
        logits = model(x) * scale
        loss = F.cross_entropy(logits, y)
        train = G.minimize(optimizer(list(model.parameters())), loss)
        grow = G.assign(scale, scale * 1.01)
        last = x[-1:].mean() + x[1:].std()
        part = G.cond(last > 0, lambda: logits.sum() * scale, lambda: (logits**2).sum())
        (slope,) = G.gradients(part, [scale])
    session = G.Session(builder)
    session.run(start_of(builder))
    for k in range(3):
        session.run([train, grow], numbers(5, k))
    return session, dict(logits=logits, loss=loss, train=train, grow=grow, last=last, part=part, slope=slope)


def start_of(builder):
    with builder.as_default():
        return G.global_variables_initializer()


@pytest.mark.parametrize("optimizer", [lambda p: optim.Adam(p, lr=0.05), lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
                                       lambda p: optim.RMSprop(p, lr=0.01)])
def test_training_goes_on_in_what_was_loaded(tmp_path, optimizer):
    session, fetches = trained(optimizer)
    G.save(tmp_path / "g.md", fetches, session)
    state = md.get_rng_state()
    here = [session.run([fetches["loss"], fetches["train"], fetches["grow"]], numbers(3 + k, k))[0] for k in range(4)]
    here += session.run([fetches[n] for n in ("logits", "last", "part", "slope")], numbers(7, 9))
    md.set_rng_state(state)
    saved = G.load(tmp_path / "g.md")
    there = [saved.run(["loss", "train", "grow"], numbers(3 + k, k))[0] for k in range(4)]
    there += saved.run(["logits", "last", "part", "slope"], {**numbers(7, 9)})
    all_same(there, here)
    assert saved.placeholders["x"][1] == np.float64 and set(saved.fetches) == set(fetches)


CHILD = """
import sys
import numpy as np
import minidl as md
import minidl.graph
saved, feeds = md.graph.load(sys.argv[1]), dict(np.load(sys.argv[2]))
out = [saved.run(["loss", "train", "grow"], feeds)[0].numpy() for _ in range(3)]
np.savez(sys.argv[3], *out)
"""


def test_a_process_that_never_saw_the_python_goes_on_training(tmp_path):
    session, fetches = trained()
    G.save(tmp_path / "g.md", fetches, session)
    np.savez(tmp_path / "feeds.npz", **numbers())
    here = [session.run([fetches["loss"], fetches["train"], fetches["grow"]], numbers())[0] for _ in range(3)]
    files = [str(tmp_path / n) for n in ("g.md", "feeds.npz", "out.npz")]
    subprocess.run([sys.executable, "-c", CHILD, *files], check=True, cwd="/",
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
    all_same(list(np.load(tmp_path / "out.npz").values()), here)


def test_each_load_has_numbers_of_its_own(tmp_path):
    session, fetches = trained()
    G.save(tmp_path / "g.md", fetches, session)
    first, second = G.load(tmp_path / "g.md"), G.load(tmp_path / "g.md")
    before = {k: v.numpy().copy() for k, v in second.variables.items()}
    first.run("train", numbers())
    assert {k: v.tobytes() for k, v in before.items()} == {k: v.numpy().tobytes() for k, v in second.variables.items()}
    assert any((first.variables[k].numpy() != before[k]).any() for k in before)


def test_a_session_may_save_inside_the_block(tmp_path):
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((None, 3), md.float64, "x")
        y = (x * 2).softmax(1)
        G.save(tmp_path / "g.md", {"y": y}, G.Session(builder))
        same(G.load(tmp_path / "g.md").run("y", {"x": np.zeros((1, 3))}), np.full((1, 3), 1 / 3))


@pytest.mark.parametrize("name", ["class", "lambda", "größe", "a b", "1", "np", "v1", "x.y", "None", "print()"])
def test_any_name_may_be_fed_after_loading(tmp_path, name):
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((None, 2), md.float64, name)
        y = x.softmax(1) + G.placeholder((2,), md.float64, "v2")
    feed = {name: np.zeros((3, 2)), "v2": np.ones(2)}
    session = G.Session(builder)
    G.save(tmp_path / "g.md", {name: y}, session)
    same(session.run(y, feed), np.full((3, 2), 1.5))
    same(G.load(tmp_path / "g.md").run(name, feed), np.full((3, 2), 1.5))


def test_wrong_names_and_feeds_after_loading(tmp_path):
    session, fetches = trained()
    G.save(tmp_path / "g.md", fetches, session)
    saved = G.load(tmp_path / "g.md")
    for call, words in ((lambda: saved.run("q"), "no fetch called 'q'"),
                        (lambda: saved.run("loss", {"q": 1}), "no placeholder called 'q'"),
                        (lambda: saved.run("loss", {"x": np.ones((5, 4))}), "'y' is needed"),
                        (lambda: saved.run("loss", {"x": np.ones((5, 4)), "y": np.ones(4, int)}), "another shape")):
        with pytest.raises(FeedError, match=words):
            call()
    with pytest.raises(ArgumentError, match="dict of names"):
        G.save(tmp_path / "h.md", [fetches["loss"]], session)
    with pytest.raises(ArgumentError):
        G.save(tmp_path / "h.md", {"loss": 3}, session)


# ---------------------------------------------------------------------- files that are wrong
def small(path, change=lambda data: None):
    """A file with a small graph in it, after a change to its contents."""
    builder = G.Builder()
    with builder.as_default():
        x = G.placeholder((None, 4), md.float64, "x")
        w = G.Variable(np.ones((4, 2)), name="w", dtype=np.float64)
        y = (x @ w + md.rand(2, dtype=md.float64))[1:].reshape(-1).sum() / x.shape[0]
        step = G.assign(w, w * 2)
    session = G.Session(builder)
    session.run(start_of(builder))
    G.save(path, {"y": y, "step": step}, session)
    data = load_checkpoint(path)
    change(data)
    save_checkpoint(data, path)
    return path


def walk(tree):
    """All dicts in nested lists and dicts."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from walk(value)
    if isinstance(tree, (list, tuple)):
        for value in tree:
            yield from walk(value)


def test_the_small_file_is_right(tmp_path):
    saved = G.load(small(tmp_path / "g.md"))
    assert saved.run("y", {"x": np.ones((3, 4))}).item() == pytest.approx((2 * 2 * 4 + 2 * 0.8) / 3, abs=1.5)


def test_another_checkpoint_and_no_file(tmp_path):
    save_checkpoint({"w": md.ones(3)}, tmp_path / "c.md")
    with pytest.raises(CheckpointError, match="holds no graph"):
        G.load(tmp_path / "c.md")
    save_checkpoint([1, 2], tmp_path / "c.md")
    with pytest.raises(CheckpointError, match="holds no graph"):
        G.load(tmp_path / "c.md")
    small(tmp_path / "g.md", lambda data: data.update(format="minidl graph 99"))
    with pytest.raises(CheckpointError):
        G.load(tmp_path / "g.md")


def test_damaged_bytes_are_only_ever_a_checkpoint_error(tmp_path):
    whole = small(tmp_path / "g.md").read_bytes()
    rng = np.random.default_rng(0)
    for k in range(150):
        data = bytearray(whole)
        if k % 3 == 0:
            data = data[:int(rng.integers(0, len(data)))]
        else:
            for place in rng.integers(0, len(data), 1 + k % 4):
                data[place] ^= int(rng.integers(1, 256))
        (tmp_path / "d.md").write_bytes(bytes(data))
        with pytest.raises(CheckpointError):
            G.load(tmp_path / "d.md")


def test_wrong_contents_are_an_error_of_ours(tmp_path):
    """Whatever stands in a file whose checksum is right: loading finds it, or it was not important."""
    path = small(tmp_path / "g.md")
    whole, count = load_checkpoint(path), 0
    junk = [None, -1, 10**6, "os", "sum", [], {}, [0], {"node": 0}, 1.5, True, {"open": "1/0", "example": 3}]
    rng = np.random.default_rng(1)
    for _ in range(250):
        data = copy.deepcopy(whole)
        at = list(walk(data))
        spot = at[int(rng.integers(len(at)))]
        if not spot:
            continue
        key = list(spot)[int(rng.integers(len(spot)))]
        spot[key] = junk[int(rng.integers(len(junk)))]
        save_checkpoint(data, path)
        try:
            G.load(path)
        except CheckpointError:
            count += 1
    assert count > 100


def test_an_op_that_is_not_there(tmp_path):
    def change(data):
        next(d for d in walk(data) if d.get("op") == "matmul")["op"] = "matmul_of_tomorrow"
    with pytest.raises(CheckpointError, match="matmul_of_tomorrow"):
        G.load(small(tmp_path / "g.md", change))


EVIL = ["__import__('os').system('true')", "().__class__", "n0.real", "[n0]", "n0 if n0 else 1", "lambda: 1", "n0 or 1",
        "f'{n0}'", "(n0 := 3)", "n0[0]", "min.__class__", "'a' * n0", "exit()", "print(1)", "min(n0, *[1])",
        "min(key=n0)", "10**10**10", "n0\nimport os", "n0; 1", "", "n0 +", "__builtins__", "True and n0",
        "-" * 100_000 + "1", "9" * 5000, "(" * 300 + ")" * 300, "min(min, 1)", "2**(2**n0)", "x.shape"]


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_a_size_that_is_more_than_arithmetic_is_refused(tmp_path, text):
    with pytest.raises(CheckpointError, match="not arithmetic"):
        harmless(text)

    def change(data):
        for d in walk(data):
            if "open" in d and d["open"] != "n0":
                d["open"] = text
    with pytest.raises(CheckpointError):
        G.load(small(tmp_path / "g.md", change))


@pytest.mark.parametrize("text", ["n0", "n0 * 3 + 1", "1 / n0", "(n0 - 2) // 2 % 3", "-n0", "n0 ** 0.5", "größe * 2",
                                  "max(n0 - min(1, n0), 0)", "min(n0, 4)"])
def test_arithmetic_is_let_through(text):
    assert harmless(text) == text


# ---------------------------------------------------------------------- written with compiled kernels, read without
PLAIN_CHILD = """
import sys
sys.modules["numba"] = None                            # as if it were not installed
import numpy as np
import minidl as md
saved, feeds = md.graph.load(sys.argv[1]), dict(np.load(sys.argv[2]))
np.savez(sys.argv[3], *[y.numpy() for y in saved.run(["out", "loss", "slope"], feeds)])
"""


@pytest.mark.parametrize("kind", [pytest.param(nn.LSTM, marks=pytest.mark.more), nn.GRU])      # seconds to compile
def test_a_graph_that_was_built_with_compiled_kernels_loads_everywhere(kind, tmp_path):
    pytest.importorskip("numba")
    md.manual_seed(0)
    layer, feed = kind(4, 3), {"x": np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)}
    with md.use_kernels("numba"):
        builder = G.Builder()
        with builder.as_default():
            x = G.placeholder((5, 2, 4), md.float32, "x")
            out = layer(x)[0]
            loss = (out * out).sum()
            loss.backward()                            # for a GRU this writes the step that only the kernels have
            slope = layer.weight_hh_l0.grad
        session = G.Session(builder)
        steps = G.Graph([], [slope.array.node]).steps
        assert any(n.op.__module__.startswith("minidl.kernels") for n in steps) == (kind is nn.GRU)
        G.save(tmp_path / "g.md", {"out": out, "loss": loss, "slope": slope}, session)
        here = session.run([out, loss, slope], feed)
    files = [str(tmp_path / n) for n in ("g.md", "feeds.npz", "out.npz")]
    np.savez(files[1], **feed)
    subprocess.run([sys.executable, "-c", PLAIN_CHILD, *files], check=True, cwd="/",
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "MINIDL_KERNELS": ""})
    all_same(list(np.load(files[2]).values()), here)
    assert all(not str(d.get("op")).endswith("scan_grad") for d in walk(load_checkpoint(files[0])))


def test_a_step_that_only_compiled_kernels_have_is_refused(tmp_path, monkeypatch):
    builder = G.Builder()
    with builder.as_default():
        y = G.placeholder((2,), md.float64, "x").exp()
    monkeypatch.setattr(md.ops.exp, "__module__", "minidl.kernels.of_tomorrow")
    with pytest.raises(CheckpointError, match="'exp' needs compiled kernels"):
        G.save(tmp_path / "g.md", {"y": y}, G.Session(builder))
