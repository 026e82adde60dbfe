"""The training dashboard, without a browser: what it writes down, what it finds, and that it leaves the run alone."""
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError
from minidl.nn.module import observers
from minidl.tensor import watchers

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import TrainingDashboard
from minidl.widgets.board_picture import smoothed
from minidl.widgets.dashboard import panels
from minidl.widgets.health import health
from minidl.widgets.runlog import BINS, SAMPLE, RunLog, spread


@pytest.fixture(autouse=True)
def no_listener_stays():
    before = len(watchers), len(observers)
    yield
    del watchers[before[0]:], observers[before[1]:]


def net(*sizes, last=10):
    md.manual_seed(1)
    layers = []
    for a, b in zip((20, *sizes), sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear((20, *sizes)[-1], last))


def train(model, board=None, steps=30, lr=0.05, val=0, data=None, optimizer=md.optim.SGD):
    rng = np.random.default_rng(0)
    x, y = data or (md.tensor(rng.standard_normal((64, 20)).astype(np.float32)), md.tensor(rng.integers(0, 10, 64)))
    optimizer = optimizer(model.parameters(), lr=lr)
    for k in range(1, steps + 1):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if board is not None:
            board.step(loss=loss, val_loss=loss.item() + 1 if val and k % val == 0 else None)
    return model


# ---------------------------------------------------------------------- what is written down
def test_a_run_is_the_same_with_and_without_a_dashboard():
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10))
    start = {name: value.array.copy() for name, value in model.state_dict().items()}
    ends = []
    for watched in (False, True):
        model.load_state_dict(start)
        md.manual_seed(2)
        train(model, TrainingDashboard(model, watch_nan=True) if watched else None)
        ends.append([p.array.copy() for p in model.parameters()])
    assert all((a == b).all() for a, b in zip(*ends))


def test_norms_moves_and_spreads_are_those_of_numpy():
    model = net(16)
    board = TrainingDashboard(model, every=4)
    x, y = md.tensor(np.ones((3, 20), np.float32)), md.tensor(np.array([1, 2, 3]))
    optimizer = md.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 10):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        before = model[0].weight.array.copy()
        optimizer.step()
        board.step(loss=loss)
        row = board.runs[0].rows[-1]
        g = model[0].weight.grad.array
        assert row.norm == pytest.approx(math.sqrt(sum((p.grad.array.astype(float) ** 2).sum()
                                                       for p in model.parameters())), rel=1e-5)
        assert (row.layers is not None) == (step in (1, 5, 9))
        if row.layers:
            state = row.layers["0.weight"]
            change = np.linalg.norm(model[0].weight.array - before) / np.linalg.norm(before)
            assert state.moved == pytest.approx(change, rel=1e-5)
            assert (state.gradient.low, state.gradient.high) == (g.min(), g.max())
            assert state.gradient.rms == pytest.approx(np.sqrt((g ** 2).mean()), rel=1e-5)


def test_dead_relus_are_counted_over_the_batch_by_unit_and_by_channel():
    class Own(nn.Module):
        def __init__(self):
            self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(nn.functional.relu(self.conv(x)).mean((2, 3)))
    model = Own()
    model.conv.bias.array[:] = [-100, 0.5, -100, 0.5]
    log = RunLog(model)
    x = md.tensor(np.random.default_rng(0).standard_normal((5, 1, 6, 6)).astype(np.float32))
    with md.no_grad():
        model(x * 1e6)                                          # an evaluation in between does not count
    model(x).sum().backward()
    log.note({})
    assert log.rows[0].dead == {"relu after conv": (2, 4)}


def test_spread_counts_what_is_broken_apart(rng):
    x = rng.standard_normal(1000)
    found = spread(x)
    assert sum(found.counts) == 1000 and len(found.counts) == BINS and found.broken == 0
    np.testing.assert_array_equal(found.counts, np.histogram(x, BINS)[0])
    np.testing.assert_allclose(found.quantiles, np.percentile(x, [5, 25, 50, 75, 95]), atol=0.02)
    holed = x.copy()
    holed[[3, 4, 5]] = np.nan, np.inf, -np.inf
    assert spread(holed).broken == 3 and sum(spread(holed).counts) == 997
    assert spread(holed).high == np.delete(x, [3, 4, 5]).max()
    assert spread(np.full(4, np.nan)).counts == () and spread(np.zeros(5)).counts != ()
    assert sum(spread(np.arange(10 * SAMPLE, dtype=np.float32)).counts) <= SAMPLE
    assert spread(np.full(10, 3e38, np.float32)).broken == 0     # the sum of these is infinite, they are not


def test_looks_become_rarer_and_the_trace_keeps_to_its_budget():
    model = net(64, 64, 64)
    board = TrainingDashboard(model, show=False)
    train(model, board, 400)
    steps = [row.step for row in board.runs[0].snapshots]
    assert steps[:11] == list(range(1, 12)) and 30 < len(steps) < 60
    assert max(b / a for a, b in zip(steps[10:], steps[11:])) < 1.2
    board.runs[0].every = 1
    train(model, board, 200)
    trace = board.refresh()
    assert len(trace.json.encode()) < 201_000 and "are kept, to save room" in trace.note
    assert "mean over neighbouring steps" not in trace.note
    assert trace.frame(len(trace) - 1).data["step"] == 600


def test_curves_are_means_over_neighbours_with_their_range_and_no_spike_is_lost():
    model = net()
    board = TrainingDashboard(model)
    losses = np.sin(np.arange(5000)) + 3
    losses[1234] = 90.0
    losses[77] = math.nan
    for loss in losses:
        board.step(loss=loss)
    (line,) = panels(board.runs)[0]["lines"]
    assert len(line["points"]) <= 1600 and line["broken"] == [78] and max(p[3] for p in line["points"]) == 90
    assert np.mean([p[1] for p in line["points"]]) == pytest.approx(np.nanmean(losses), rel=0.01)
    assert "mean over neighbouring steps" in board.refresh().note
    assert "1 times NaN or infinite, first at step 78" in board.describe()


def test_smoothing_is_the_weighted_mean_of_all_before():
    values = [3.0, 1.0, 4.0, 1.0]
    for k, found in enumerate(smoothed(values, 0.7)):
        weights = 0.7 ** np.arange(k, -1, -1)
        assert found == pytest.approx((weights * values[:k + 1]).sum() / weights.sum())
    assert smoothed(values, 0.0) == values


def test_an_interrupted_step_leaves_a_dashboard_that_holds_together(monkeypatch):
    model = net(16)
    board = TrainingDashboard(model)
    train(model, board, 5)

    def interrupted(self):
        raise KeyboardInterrupt
    monkeypatch.setattr(RunLog, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(model, board, 5)
    monkeypatch.undo()
    board.finish()
    assert len(board.runs[0].rows) == 5 and board.frame.data["step"] == 1
    assert board.last().data["step"] == 5 and not board.runs[0]._watching
    train(model, board, 3)
    assert board.last().data["step"] == 8


# ---------------------------------------------------------------------- what is concluded
def kinds(board):
    return [one.kind for one in health(board.runs[-1])]


def test_a_healthy_run_has_no_finding_and_says_how_many_checks_there_were():
    model = net(32)
    board = TrainingDashboard(model)
    train(model, board, 60, lr=0.1, val=10)
    assert kinds(board) == []
    assert "None of 8 checks found a fault" in board.last().text and "loss " in board.last().text


def test_dead_relus_are_found_with_the_step_since_when():
    model = net(16)
    board = TrainingDashboard(model, every=1)
    train(model, board, 3)
    model[0].bias.array[:] = -1e3
    model[0].bias.mark_written("test")
    train(model, board, 3)
    found = [one for one in health(board.runs[0]) if one.kind == "dead ReLUs"]
    assert re.match(r"1 \(ReLU\): 100 % of its 16 ReLUs gave 0 .* since step 4", found[0].text)
    assert "LeakyReLU" in found[0].advice
    assert "dead ReLUs" not in [one.kind for one in health(board.runs[0], 3)]


def test_an_exploding_gradient_and_too_large_steps():
    model = net(16)
    board = TrainingDashboard(model, every=1)
    train(model, board, 12, lr=0.01)
    train(model, board, 2, lr=100.0)
    train(model, board, 1, lr=0.01)
    assert "gradients that explode" in kinds(board)
    norms = [row.norm for row in board.runs[0].rows]
    assert max(norms[12:]) > 100 * min(norms[:12])


def test_a_vanishing_gradient_names_the_layers():
    md.manual_seed(0)
    deep = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(20, 20), nn.Sigmoid())], nn.Linear(20, 10))
    board = TrainingDashboard(deep)
    train(deep, board, 3)
    (text,) = [one.text for one in health(board.runs[0]) if one.kind == "gradients that vanish"]
    slopes = [np.sqrt((deep[k].weight.grad.array ** 2).mean()) for k in (0, -1)]
    assert "24.weight back to 0.weight" in text and slopes[0] < 1e-3 * slopes[1]


@pytest.mark.parametrize("early", [False, True])
def test_the_first_nan_is_dated_and_its_op_named_where_it_was_seen(early):
    x = md.tensor(np.array([[3.0]], np.float32))
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    model[0].weight.array[:] = 1.0
    board = TrainingDashboard(model, watch_nan=early)
    optimizer = md.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(30):
        loss = model(x).log().sum() + 1                          # falls until the weight is negative
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        board.step(loss=loss)
    losses = [row.values["loss"] for row in board.runs[0].rows]
    first = int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
    finding = health(board.runs[0])[0]
    assert finding.kind == "numbers that are broken"
    more = np.isnan(losses).sum() - 1
    assert f"Loss is NaN at step {first}, and at {more} of the {30 - first} steps after" in finding.text
    assert ("out of log, in the line: loss = model(x).log().sum() + 1" in finding.text) or not early
    assert "detect_anomaly" in finding.advice
    assert ">×</text>" in board.svg()


def test_a_divergence_that_announces_itself_is_traced_to_its_op_without_watching_all_the_time():
    md.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.Linear(16, 10))
    board = TrainingDashboard(model)
    rng = np.random.default_rng(0)
    x, y = md.tensor(rng.standard_normal((32, 20)).astype(np.float32)), md.tensor(np.ones((32, 10), np.float32))
    optimizer = md.optim.SGD(model.parameters(), lr=30.0)
    with np.errstate(all="ignore"):
        for _ in range(40):
            loss = ((model(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            board.step(loss=loss)
    text = health(board.runs[0])[0].text
    assert re.search(r"since step \d+\. The first one seen: (NaN|Inf) out of \w+, in the line: ", text), text


def test_overfitting_is_dated_and_a_loss_that_does_not_fall_is_told():
    board = TrainingDashboard(net())
    for k in range(60):
        board.step(loss=2.0 - k / 60, val_loss=1.0 + abs(k - 20) / 30 if k % 5 == 0 else None)
    (text,) = [one.text for one in health(board.runs[0]) if one.kind == "overfitting"]
    assert "best at step 21 with 1 " in text
    board = TrainingDashboard(net())
    for k in range(60):
        board.step(loss=2.0 + k / 60)
    assert "a loss that does not fall" in kinds(board) and "gradients that are missing" in kinds(board)


def test_gradients_that_are_missing():
    model = net(16)
    model[0].weight.requires_grad_(False)
    board = TrainingDashboard(model)
    train(model, board, 2)
    assert "No gradient reached 0.weight." in [one.text for one in health(board.runs[0])]
    assert "no gradient" in board.svg()
    optimizer = md.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    board.new_run("again")
    board.step(loss=1.0)
    assert "before zero_grad()" in health(board.runs[1])[0].advice


# ---------------------------------------------------------------------- the widget
def test_frames_of_the_past_do_not_change_as_the_run_grows():
    model = net(16)
    board = TrainingDashboard(model)
    train(model, board, 10, val=3)
    early = list(board.refresh())
    train(model, board, 30, val=3)
    later = {frame.data["step"]: frame for frame in board.refresh()}
    for frame in early:
        now = later[frame.data["step"]]
        assert (frame.data, frame.text, frame.lines) == (now.data, now.text, now.lines)
    assert board.refresh() is board.refresh()


def test_runs_are_compared_and_each_is_a_phase():
    board = TrainingDashboard(net(16), name="slow")
    train(board.runs[0].model, board, 8, lr=0.001, val=2)
    board.new_run("fast", net(16))
    train(board.runs[1].model, board, 8, lr=0.3, val=2)
    trace = board.refresh()
    assert [phase.name for phase in trace.phases] == ["slow", "fast"]
    lines = next(p for p in trace.figure["panels"] if p["kind"] == "loss")["lines"]
    assert [line["label"] for line in lines] == ["slow", "slow, val", "fast", "fast, val"]
    assert len({line["lane"] for line in lines}) == 4
    text = "".join(ElementTree.fromstring(board.svg()).itertext())
    assert "slow, val" in text and "gradient length" in text and "0.weight" in text
    words = board.describe()
    assert all(line["says"] in words for panel in trace.figure["panels"] for line in panel["lines"])
    assert all(line in words for line in board.last().lines)


def test_the_learning_rate_is_a_curve_if_there_is_an_optimizer():
    model = net()
    optimizer = md.optim.SGD(model.parameters(), lr=0.5)
    board = TrainingDashboard(model, optimizer)
    for k in range(3):
        optimizer.param_groups[0]["lr"] = 0.5 / (k + 1)
        board.step(loss=1.0)
    assert [p[1] for p in next(p for p in panels(board.runs) if p["kind"] == "lr")["lines"][0]["points"]] == [
        0.5, 0.25, 0.1667]


def test_before_the_first_step_there_is_a_question_and_bad_values_are_refused():
    board = TrainingDashboard(net(16))
    assert "Nothing is recorded yet" in board.describe() and ElementTree.fromstring(board.svg()) is not None
    with pytest.raises(ArgumentError, match=r"loss must be one number.*\n.*got +\(3,\)\nTry: board.step"):
        board.step(loss=md.tensor([1.0, 2.0, 3.0]))
    assert not board.runs[0].rows
    with pytest.raises(ArgumentError, match="must be a module"):
        TrainingDashboard([1])
    with pytest.raises(ArgumentError, match="every 1 step or more"):
        TrainingDashboard(net(), every=0)


def test_it_leaves_nothing_behind_that_looks_at_ops():
    before = len(watchers), len(observers)
    with TrainingDashboard(net(16)) as board:
        train(board.runs[0].model, board, 3)
        assert len(watchers) == before[0] + 1
    assert (len(watchers), len(observers)) == before


def test_a_cell_that_is_interrupted_stores_the_last_step(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    code = ("from minidl import nn\nfrom minidl.widgets import TrainingDashboard\nmodel = nn.Linear(2, 1)\n"
            "board = TrainingDashboard(model)\nfor k in range(100):\n    if k == 7: raise KeyboardInterrupt\n"
            "    board.step(loss=1 / (k + 1))")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(notebook, timeout=60, allow_errors=True).execute()
    shown = [out for out in notebook.cells[0].outputs if out.output_type == "display_data"]
    assert len(shown) == 1 and "At training step 7" in shown[0].data["text/plain"]
    assert "At training step 7" in shown[0].data["image/svg+xml"]
