"""Anomaly mode names the op and the user's line of the first NaN or Inf, forward and backward."""
import linecache
import random
import threading

import numpy as np
import pytest

import minidl as md
from minidl.autograd import detect_anomaly, set_detect_anomaly
from minidl.errors import AnomalyError
from minidl.tensor import mode, watchers

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")     # NumPy's own remarks on the same faults

HEALTHY = ["h = md.tanh(h)", "h = h * 0.5 + 0.1", "h = md.cat([h, h])[:4]", "h = h.reshape(2, 2).t().reshape(4)",
           "h = md.softmax(h, 0)", "h = md.maximum(h, x)", "h = h - h.mean()"]
LET_GRADIENTS_THROUGH = HEALTHY[1:4]
FORWARD = {"log": "h = md.log(h * 0)", "div": "h = h / (x - x)", "exp": "h = md.exp(h * 0 + 800)",
           "pow": "h = (h * 0) ** -1.0", "sqrt": "h = md.sqrt(h * 0 - 1)", "mul": "h = (h * 0 + 1e200) * 1e200",
           "log1p": "h = md.log1p(h * 0 - 1)", "asin": "h = md.asin(h * 0 + 2)", "sub": "h = inf + h * 0 - inf",
           "add": "h = (h * 0 + 1.7e308) + 1.7e308"}
BACKWARD = {"sqrt": "h = md.sqrt(h * 0)", "pow": "h = (h * 0) ** 0.5", "asin": "h = md.asin(h * 0 + 1)",
            "acos": "h = md.acos(h * 0 - 1)", "log": "h = md.log(h * 0 + 1e-200) * 1e200"}


def program(case):
    """A few healthy lines with a sick one among them: source, op to blame, number of its line."""
    rng = random.Random(case)
    table = FORWARD if case % 2 else BACKWARD
    op = rng.choice(sorted(table))
    before = [rng.choice(HEALTHY) for _ in range(rng.randint(0, 7))]
    after = [rng.choice(LET_GRADIENTS_THROUGH) for _ in range(rng.randint(0, 7))]
    lines, place = [*before, table[op], *after], len(before)
    lines = ["inf = md.tensor(float('inf'), dtype=md.float64)", "h = x", *lines, "h.sum().backward()"]
    return "\n".join(lines), op, place + 3


@pytest.mark.parametrize("case", range(200))
def test_a_planted_fault_is_named_with_its_line(case):
    source, op, line = program(case)
    name = f"<planted {case}>"
    linecache.cache[name] = (len(source), None, [text + "\n" for text in source.split("\n")], name)
    x = md.tensor(np.random.default_rng(case).uniform(0.2, 0.9, 4), requires_grad=True)
    with pytest.raises(AnomalyError) as error, detect_anomaly():
        exec(compile(source, name, "exec"), {"md": md, "x": x})
    text = str(error.value)
    assert text.startswith(f"{op}: " if case % 2 else f"backward of {op}: "), text
    assert source.split("\n")[line - 1] in text and f"({name}, line {line})" in text


def test_healthy_programs_pass():
    for case in range(50):
        lines = [line for line in program(case)[0].split("\n") if line not in {*FORWARD.values(), *BACKWARD.values()}]
        x = md.tensor(np.random.default_rng(case).uniform(0.2, 0.9, 4), requires_grad=True)
        with detect_anomaly():
            exec("\n".join(lines), {"md": md, "x": x})


def test_an_infinity_put_in_on_purpose_passes():
    x = md.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    with detect_anomaly():
        scores = x.masked_fill(md.tensor([[False, True, False]]), -float("inf"))
        md.softmax(scores, 1)[0, 0].backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_a_nan_in_the_data_is_not_blamed_on_an_op():
    with detect_anomaly():
        assert md.isnan(md.tensor([float("nan"), 1.0]) + 1).any()


def test_the_message_tells_what_to_look_at():
    with pytest.raises(AnomalyError) as error, detect_anomaly():
        md.log(md.tensor([1.0, 0.0, 4.0]))
    text = str(error.value)
    for part in ("log: Inf", "0 NaN, 1 Inf, the first at (1,)", "from 0 to 4", "test_anomaly.py", "Try: "):
        assert part in text


def test_the_gradient_of_an_op_recorded_earlier_is_named_without_a_line():
    y = md.sqrt(md.tensor([0.0], requires_grad=True)).sum()
    with pytest.raises(AnomalyError, match="backward of sqrt.*\n.*not known"), detect_anomaly():
        y.backward()


def test_gradients_of_gradients_are_watched_too():
    x = md.tensor([0.0], requires_grad=True)
    with detect_anomaly():
        (first,) = md.autograd.grad((x ** 1.5).sum(), x, create_graph=True)
        with pytest.raises(AnomalyError, match="backward of"):
            md.autograd.grad(first.sum(), x)


def test_the_switch_belongs_to_one_thread_and_is_put_back():
    seen = []

    @detect_anomaly()
    def careful():
        thread = threading.Thread(target=lambda: seen.append((mode.guard, md.log(md.tensor(0.0)).item())))
        thread.start()
        thread.join()
        seen.append(mode.guard)
    careful()
    assert seen[0] == (None, -np.inf) and seen[1] is not None and mode.guard is None and watchers == []


def test_it_can_be_switched_like_in_pytorch():
    set_detect_anomaly(True)
    try:
        with pytest.raises(AnomalyError):
            md.log(md.tensor(0.0))
    finally:
        set_detect_anomaly(False)
    assert md.isinf(md.log(md.tensor(0.0)))
