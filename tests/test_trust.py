"""What a long run relies on: no silently wrong gradient, no growing memory, no quarrel of threads, no lost run.

    in place      a value changed after it was saved, behind the graph's back: an InplaceError or the right gradient
    memory        thousands of steps with the garbage collector off
    threads       eight at once, bit-equal to one after the other
    resume        a training killed by SIGKILL, bit-equal to the unbroken one
"""
import contextlib
import gc
import threading
import tracemalloc

import numpy as np
import pytest

import minidl as md
import minidl.nn.functional as F
from minidl.autograd import grad
from minidl.errors import InplaceError, ShapeError
from minidl.serialize import load
from tests import mortal


def numbers(*shape, seed=0):
    """A float64 tensor of numbers from 0.2 to 1.5."""
    return md.tensor(np.random.default_rng(seed).uniform(0.2, 1.5, shape))


# ---------------------------------------------------------------------- changed behind the graph's back
USES = {                              # what is done with y (2, 3, 4) before it is changed
    "mul": lambda y: y * y.flip(0),
    "div": lambda y: 1 / y,
    "log": lambda y: y.log(),
    "sigmoid": lambda y: y.sigmoid(),
    "pow": lambda y: y ** 2.5,
    "prod": lambda y: y.prod(1),
    "cumprod": lambda y: y.cumprod(2),
    "logsumexp": lambda y: y.logsumexp(2),
    "log_softmax": lambda y: y.log_softmax(1),
    "norm": lambda y: y.norm(2, 1),
    "std": lambda y: y.std(2),
    "amax": lambda y: y.amax(2),
    "clamp": lambda y: y.clamp(0.4, 1.1),
    "sort": lambda y: y.sort(2).values * 2,
    "bmm": lambda y: y @ y.transpose(1, 2),
    "einsum": lambda y: md.einsum("nij,nik->jk", y, y),
    "gather": lambda y: y.gather(2, md.tensor([[[0, 2]]] * 2).expand(2, 3, 2)) * y[..., :2],
    "conv2d": lambda y: F.conv2d(y, numbers(2, 2, 2, 2)),
    "conv2d weight": lambda y: F.conv2d(numbers(1, 1, 5, 5), y.reshape(2, 1, 3, 4)),
    "max_pool2d": lambda y: F.max_pool2d(y, 2),
    "layer_norm": lambda y: F.layer_norm(y, (4,)),
    "batch_norm": lambda y: F.batch_norm(y, training=True),
    "gelu": lambda y: F.gelu(y),
    "softplus": lambda y: F.softplus(y),
    "cross_entropy": lambda y: F.cross_entropy(y, md.zeros(2, 4).long()),
    "bce": lambda y: F.binary_cross_entropy_with_logits(y, y.detach().clone() * 0.5),
    "lstm": lambda y: md.ops.lstm_scan(numbers(4, 3, 2, 2), y.reshape(-1)[:16].reshape(4, 2, 2), *[numbers(2, 2)] * 2),
    "stack": lambda y: md.stack([y, y * 2]).exp(),
    "linear chain": lambda y: (y * 3 + 1).sum(1),
}
KEEP_Y = ["mul", "div", "log", "pow", "logsumexp", "amax", "bmm"]      # they must refuse, whatever the change
CHANGES = {                           # what then happens to its memory; the graph is not told
    "add_": lambda y: y.add_(1.0),
    "copy_": lambda y: y.copy_(y.detach() * 2),
    "setitem": lambda y: y.__setitem__((0, slice(None), 1), 3.0),
    "setitem mask": lambda y: y.__setitem__(y.detach() > 0.8, 0.1),
    "a view": lambda y: y[1].mul_(0.5),
    "a view of a view": lambda y: y.transpose(0, 2)[1:3][..., 0].fill_(2.0),
    "reshaped": lambda y: y.reshape(-1)[3:9].zero_(),
    "detach": lambda y: y.detach().mul_(1.5),
    "a view of detach": lambda y: y.detach()[0, 1:].add_(0.3),
    "detach of a view": lambda y: y[1].detach().add_(0.3),
    "detach of detach": lambda y: y.detach().detach().exp_(),
    "data": lambda y: y.data.sub_(0.1),
    "a view of data": lambda y: y.data.permute(2, 0, 1)[0].div_(3.0),
    "data +=": lambda y: setattr(y, "data", y.data + 0.5),
    "new data": lambda y: setattr(y, "data", numbers(2, 3, 4, seed=9)),
    "init": lambda y: md.nn.init.normal_(y),
    "told": lambda y: (y.detach().numpy().fill(0.7), y.mark_written()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", USES)
def test_a_change_behind_the_back_of_the_graph_is_never_silently_wrong(use, change):
    for computed in (False, True):
        x = numbers(2, 3, 4).requires_grad_()
        y = x * 1.0 if computed else x
        out = USES[use](y)
        seed = md.ones_like(out)
        (expected,) = grad(out, x, seed, retain_graph=True)
        with md.no_grad():
            CHANGES[change](y)
        try:
            (found,) = grad(out, x, seed)
        except InplaceError:
            assert use != "linear chain"                  # keeps nothing
        else:
            assert use not in KEEP_Y
            np.testing.assert_array_equal(found.numpy(), expected.numpy())


def small_model():
    """A perceptron, and its loss on a batch."""
    model = md.nn.Sequential(md.nn.Linear(4, 5), md.nn.Tanh(), md.nn.Linear(5, 1))
    return model, model(md.ones(3, 4)).square().mean()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_an_optimizer_step_before_a_second_backward_is_refused(optimizer):
    model, loss = small_model()
    loss.backward(retain_graph=True)
    getattr(md.optim, optimizer)(model.parameters(), lr=0.1).step()
    with pytest.raises(InplaceError, match="changed in place"):
        loss.backward()


def test_loading_weights_between_forward_and_backward_is_refused():
    model, loss = small_model()
    model.load_state_dict({name: p.detach() * 2 for name, p in model.state_dict().items()})
    with pytest.raises(InplaceError):
        loss.backward()


def test_running_statistics_that_move_do_not_spoil_the_gradient():
    norm = md.nn.BatchNorm1d(4)
    x = numbers(5, 4).float().requires_grad_()
    first = norm(x)
    (expected,) = grad(first.square().sum(), x, retain_graph=True)
    norm(x * 2)
    (found,) = grad(first.square().sum(), x)
    assert found.tolist() == expected.tolist()
    norm.eval()
    second = norm(x)
    (expected,) = grad(second.square().sum(), x, retain_graph=True)
    norm.train()
    norm(x * 3)                                           # moves the statistics that `second` was computed with
    with contextlib.suppress(InplaceError):
        (found,) = grad(second.square().sum(), x)
        assert found.tolist() == expected.tolist()


def test_a_change_through_numpy_cannot_be_seen_unless_it_is_told():
    x = numbers(3).requires_grad_()
    out = (x * x).sum()
    x.detach().numpy()[:] = 5.0                           # NumPy tells nobody: documented in docs/reliability.md
    assert grad(out, x, retain_graph=True)[0].tolist() == [10.0] * 3
    x.mark_written()
    with pytest.raises(InplaceError):
        grad(out, x)


# ---------------------------------------------------------------------- memory
@contextlib.contextmanager
def collector_off():
    gc.freeze()                                           # what is there already is not looked at again and again
    gc.disable()
    try:
        yield
    finally:
        gc.enable()                                       # and stays frozen: tests/conftest.py wants it so


def objects_left_behind(step, steps):
    """How many objects that can hold others are alive after `steps` more steps, with the garbage collector off."""
    with collector_off():
        for _ in range(10):                               # caches fill, the first buffers are made
            step()
        before = len(gc.get_objects())
        for _ in range(steps):
            step()
        return len(gc.get_objects()) - before


def growth(step, steps):
    """Bytes that `steps` more steps leave behind, with the garbage collector off."""
    with collector_off():
        tracemalloc.start()
        try:
            for _ in range(20):
                step()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(steps):
                step()
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()


def trainer(model, batch, loss=lambda out: out.square().mean(), optimizer="Adam"):
    """A function that takes one training step."""
    optimizer = getattr(md.optim, optimizer)(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        loss(model(batch)).backward()
        md.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return step


def perceptron():
    return trainer(small_model()[0], md.ones(3, 4))


def lstm():
    return trainer(md.nn.LSTM(3, 4), md.ones(5, 2, 3), lambda out: out[0].square().mean() + out[1][1].sum())


def gru_cell():
    cell = md.nn.GRUCell(3, 4)

    def loss():
        h = md.zeros(2, 4)
        for _ in range(4):
            h = cell(md.ones(2, 3), h)
        return h.square().sum()
    return _plain(cell, loss)


def _plain(model, loss):
    optimizer = md.optim.SGD(model.parameters(), 0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return step


def conv():
    model = md.nn.Sequential(md.nn.Conv2d(1, 2, 3, padding=1), md.nn.BatchNorm2d(2), md.nn.ReLU(), md.nn.MaxPool2d(2),
                             md.nn.Dropout(0.5), md.nn.Flatten(), md.nn.Linear(8, 3))
    return trainer(model, md.ones(2, 1, 4, 4), lambda out: F.cross_entropy(out, md.tensor([0, 2])))


def an_exception_in_forward():
    model, _ = small_model()
    model.append(md.nn.Tanh())
    model[3].forward = lambda x: 1 // 0

    def step():
        with contextlib.suppress(ZeroDivisionError):
            model(md.ones(3, 4))
    return step


def an_error_of_an_op():
    w = md.ones(100, requires_grad=True)

    def step():
        with contextlib.suppress(ShapeError):
            (w * 2) @ md.ones(7, 7)
    return step


def an_exception_in_backward():
    w = md.ones(100, requires_grad=True)

    def step():
        y = w * 2
        loss = (y * y).sum()
        with contextlib.suppress(InplaceError):
            y.detach().zero_()
            loss.backward()
    return step


def an_exception_in_a_hook():
    w = md.ones(100, requires_grad=True)

    def fail(g):
        raise ZeroDivisionError

    def step():
        y = w * 2
        y.register_hook(fail)
        with contextlib.suppress(ZeroDivisionError):
            y.exp().sum().backward()
    return step


def retained_gradients_and_hooks():
    w = md.ones(100, requires_grad=True)

    def step():
        y = w * 2
        y.retain_grad()
        remove = y.register_hook(lambda g: g * 2)
        (y.exp() * y).sum().backward()
        remove()
        w.grad = None
    return step


def graphs_of_gradients():
    w = md.ones(100, requires_grad=True)

    def step():
        (g,) = grad((w ** 3).sum(), w, create_graph=True)
        g.square().sum().backward()
        w.grad = None
    return step


def changes_in_place():
    w = md.ones(10, 10, requires_grad=True)

    def step():
        y = w * 2
        y[0].mul_(3.0)
        y.T[1] = w[2] * 2
        y += w
        y.sum().backward()
        w.grad = None
    return step


def a_graph_that_is_kept():
    w = md.ones(100, requires_grad=True)

    def step():
        loss = w.exp().sum()
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        w.grad = None
    return step


def a_loader():
    loader = md.data.DataLoader(md.data.TensorDataset(md.ones(8, 4), md.zeros(8, 1)), 4, shuffle=True)
    model = md.nn.Linear(4, 1)
    return _plain(model, lambda: sum(F.mse_loss(model(x), y) for x, y in loader))


PROGRAMS = [perceptron, lstm, gru_cell, conv, an_exception_in_forward, an_exception_in_backward,
            an_exception_in_a_hook, retained_gradients_and_hooks, graphs_of_gradients, changes_in_place,
            a_graph_that_is_kept, a_loader, an_error_of_an_op]


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_step_leaves_anything_behind(program):
    assert objects_left_behind(program(), 40) < 10


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_10_000_steps_leave_less_than_a_megabyte(program):
    assert growth(program(), 10_000) < 1_000_000


def test_a_leak_would_be_noticed():
    kept, step = [], perceptron()
    assert objects_left_behind(lambda: (step(), kept.append(md.ones(1))), 40) >= 40


# ---------------------------------------------------------------------- threads
def together(count, work):
    """Run `work(k)` in threads at the same time; their results."""
    results, errors, start = [None] * count, [], threading.Barrier(count)

    def run(k):
        try:
            start.wait()
            results[k] = work(k)
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


def train_alone(seed, steps=15):
    """A convolutional net with dropout, trained with its own generator; all its numbers as bytes."""
    g = md.Generator(seed)
    model = md.nn.Sequential(md.nn.Conv2d(1, 3, 3), md.nn.BatchNorm2d(3), md.nn.ReLU(), md.nn.Flatten(),
                             md.nn.Linear(48, 2))
    with md.no_grad():
        for p in model.parameters():
            p.normal_(std=0.1, generator=g)
    optimizer = md.optim.AdamW(model.parameters(), lr=0.01)
    data = md.data.TensorDataset(md.randn(12, 1, 6, 6, generator=g), md.tensor([0, 1] * 6))
    loader = md.data.DataLoader(data, 4, shuffle=True, generator=g, prefetch=seed % 2)
    for _ in range(steps // 3):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(F.dropout(x, 0.2, generator=g)), y).backward()
            optimizer.step()
    return b"".join(p.detach().numpy().tobytes() for p in model.state_dict().values())


def test_training_with_generators_in_8_threads_is_bit_equal_to_serial():
    found = together(8, train_alone)
    assert found == [train_alone(k) for k in range(8)]
    assert len(set(found)) == 8


def test_modes_of_one_thread_do_not_touch_the_others():
    w, all_inside = md.ones(3, requires_grad=True), threading.Barrier(8)

    def work(k):
        seen = set()
        for _ in range(20):
            with md.no_grad() if k % 2 else contextlib.nullcontext():
                all_inside.wait()
                seen.add((w * 2).requires_grad)
                all_inside.wait()
        return seen
    assert together(8, work) == [{True}, {False}] * 4


def test_anomaly_mode_of_one_thread_does_not_touch_the_others():
    all_inside = threading.Barrier(8)

    def work(k):
        with md.autograd.detect_anomaly() if k % 2 else contextlib.nullcontext():
            all_inside.wait()
            try:
                md.log(md.zeros(1))
                return "quiet"
            except md.errors.AnomalyError:
                return "noticed"
            finally:
                all_inside.wait()
    assert together(8, work) == ["quiet", "noticed"] * 4


def test_gradients_of_one_shared_model_in_8_threads():
    model, _ = small_model()
    batches = [numbers(6, 4, seed=k).float() for k in range(8)]

    def work(k):
        return [g.tolist() for g in grad(model(batches[k]).square().sum(), list(model.parameters()))]
    assert together(8, work) == [work(k) for k in range(8)]


def test_8_threads_save_to_one_file(tmp_path):
    path = tmp_path / "state"

    def work(k):
        for _ in range(5):
            md.save({"k": k, "w": np.full(1000, k)}, path)
            state = load(path)
            assert (state["w"] == state["k"]).all()
    together(8, work)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


# ---------------------------------------------------------------------- killed and taken up again
TRAINING = """
import numpy as np
import minidl as md
import minidl.nn.functional as F
FILES = ("minidl/serialize.py", "minidl/data/loader.py", "minidl/optim/optimizers.py", "<string>")
path, prefetch = sys.argv[1], int(sys.argv[2])
EPOCHS = 3
numbers = np.random.default_rng(0)
X, Y = numbers.standard_normal((23, 6)).astype("float32"), numbers.integers(0, 3, 23)

def live(start_counting):
    md.manual_seed(7)                              # first values and dropout draw from the default generator
    counted = start_counting()
    model = md.nn.Sequential(md.nn.Linear(6, 8), md.nn.BatchNorm1d(8), md.nn.ReLU(), md.nn.Dropout(0.3),
                             md.nn.Linear(8, 3))
    optimizer = md.optim.Adam(model.parameters(), lr=0.02)
    scheduler = md.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    g = md.Generator(3)                            # order and noise of the items draw from this one
    class Noisy:
        def __len__(self):
            return len(X)
        def __getitem__(self, k):
            return X[k] + g.normal(6) * 0.1, Y[k]
    loader = md.data.DataLoader(Noisy(), 5, shuffle=True, generator=g, prefetch=prefetch)
    parts = dict(model=model, optimizer=optimizer, scheduler=scheduler, loader=loader)
    epoch = 0
    if os.path.exists(path):
        state = md.load(path)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        md.set_rng_state(state["generator"])
        epoch = state["epoch"]
    for epoch in range(epoch, EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            scheduler.step()
            md.save(dict({name: part.state_dict() for name, part in parts.items()}, epoch=epoch,
                         generator=md.get_rng_state(), x=x), path)
    sys.settrace(None)
    return counted[0]
"""


def kill_and_resume(folder, points, prefetch):
    """Kill a training at `points` lines in turn, take it up again each time; how many ended as the unbroken one did."""
    with mortal.victims(TRAINING, folder / "unbroken", prefetch) as helper:
        total = helper.lines()
    unbroken, equal, path = (folder / "unbroken").read_bytes(), 0, folder / "killed"
    with mortal.victims(TRAINING, path, prefetch) as helper:
        for limit in mortal.spread(points, total):
            path.unlink(missing_ok=True)
            killed, _ = helper.run(limit)
            assert killed or prefetch
            helper.run(total // 3)                        # and once more on the way
            killed, said = helper.run()
            assert not killed and said[-1].startswith("lines"), said
            equal += path.read_bytes() == unbroken
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()
    return equal


@pytest.mark.skipif(not mortal.possible, reason="this system cannot fork")
@pytest.mark.parametrize(("points", "prefetch"), [
    (4, 0), (2, 2), pytest.param(10, 0, marks=pytest.mark.more), pytest.param(10, 2, marks=pytest.mark.more)])
def test_a_training_killed_and_resumed_is_bit_equal_to_the_unbroken_one(tmp_path, points, prefetch):
    assert kill_and_resume(tmp_path, points, prefetch) == points


@pytest.mark.slow
@pytest.mark.skipif(not mortal.possible, reason="this system cannot fork")
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_training_killed_100_times(tmp_path, prefetch):
    assert kill_and_resume(tmp_path, 100, prefetch) == 100
