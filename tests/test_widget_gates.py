"""The gate console without a page: its gates beside the layer, held ones beside NumPy, gradients beside differences."""
import math
from xml.etree import ElementTree

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.errors import ArgumentError, ShapeError

pytest.importorskip("anywidget", reason='needs anywidget: pip install "minidl[lab]"')

from minidl.widgets import GateConsole

SVG = "{http://www.w3.org/2000/svg}"
STATE = {"lstm": "c", "gru": "h"}


def layer_of(kind, *args, **settings):
    md.manual_seed(1)
    return {"lstm": nn.LSTM, "gru": nn.GRU}[kind](*args, **settings, dtype=md.float64)


def sequence(*shape):
    return md.tensor(np.random.default_rng(2).standard_normal(shape))


def squash(z):
    return 1 / (1 + np.exp(-z))


def by_hand(layer, x, held):
    """Gates and states (T, H) of a single sequence in one layer, in NumPy; `held(gate, t, value)` has the last word."""
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in layer.parameters())
    h = c = np.zeros(layer.hidden_size)
    steps = []
    for t, row in enumerate(x.numpy()):
        a, b = np.split(w_ih @ row + b_ih, len(w_ih) // len(h)), np.split(w_hh @ h + b_hh, len(w_ih) // len(h))
        if layer.kind == "lstm":
            i, f = held("i", t, squash(a[0] + b[0])), held("f", t, squash(a[1] + b[1]))
            g, o = held("g", t, np.tanh(a[2] + b[2])), held("o", t, squash(a[3] + b[3]))
            c = f * c + i * g
            h = o * np.tanh(c)
            steps.append(dict(i=i, f=f, g=g, o=o, c=c, h=h))
        else:
            r, z = held("r", t, squash(a[0] + b[0])), held("z", t, squash(a[1] + b[1]))
            n = held("n", t, np.tanh(a[2] + r * b[2]))
            h = (1 - z) * n + z * h
            steps.append(dict(r=r, z=z, n=n, h=h))
    return {name: np.stack([step[name] for step in steps]) for name in steps[0]}


# ---------------------------------------------------------------------- what is not held
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("settings", [{}, dict(bias=False), dict(num_layers=2, bidirectional=True, dropout=0.5),
                                      dict(batch_first=True)], ids=["plain", "no bias", "deep, both ways", "N T I"])
def test_gates_and_states_are_those_of_the_layer(kind, settings):
    layer, x = layer_of(kind, 2, 3, **settings), sequence(4, 5, 2)
    console = GateConsole(layer, x, unit=1, sequence=2)
    assert layer.training and all(p.grad is None for p in layer.parameters())
    layer.eval()
    _, _, logs = layer(x, return_gates=True)
    layer.train()
    for part in console.trace.figure["parts"]:
        console.part = part
        v = console.values()
        for name, log in logs[part].items():
            np.testing.assert_allclose(v[name], log.detach().numpy()[:, 2, 1], atol=1e-12, err_msg=f"{part} {name}")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_cell_is_shown_as_what_it_does_in_a_loop(kind):
    md.manual_seed(3)
    cell, x = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[kind](2, 3), sequence(4, 2)
    state = md.get_rng_state()
    console = GateConsole(cell, x)
    assert md.get_rng_state() == state
    h, expected = None, []
    for t in range(4):
        h = cell(x[t:t + 1].to(md.float32), h)
        expected.append((h[0] if kind == "lstm" else h).detach().numpy()[0, 0])
    np.testing.assert_allclose(console.values()["h"], expected, rtol=1e-5)


def test_the_first_state_is_used_and_shown():
    layer, x = layer_of("lstm", 1, 2), sequence(3, 1)
    hx = (md.tensor([[0.5, -0.5]]).to(md.float64), md.tensor([[2.0, 1.0]]).to(md.float64))
    console = GateConsole(layer, x, hx=hx, unit=1)
    f = console.values()["f"][0]
    assert f"c = f·c + i·g = {f:.3g}·1 + " in console.trace.frame(0).text
    np.testing.assert_allclose(console.values()["h"], layer(x, hx)[0].detach().numpy()[:, 1])


# ---------------------------------------------------------------------- what is held
@pytest.mark.parametrize("kind, gate", [("lstm", "f"), ("lstm", "g"), ("lstm", "o"), ("gru", "z"), ("gru", "r")])
@pytest.mark.parametrize("every_unit", [False, True])
def test_a_held_gate_changes_what_comes_after_it_as_in_a_loop(kind, gate, every_unit):
    layer, x = layer_of(kind, 2, 3), sequence(6, 2)
    console = GateConsole(layer, x, unit=2)
    console.clamp(gate, 3, 0.25, every_unit=every_unit)

    def held(name, t, value):
        here = (name == gate and t == 3) & (every_unit | (np.arange(3) == 2))
        return np.where(here, 0.25, value)
    v, expected = console.values(), by_hand(layer, x, held)
    for name, values in expected.items():
        np.testing.assert_allclose(v[name], values[:, 2], err_msg=name)
    assert math.isclose(v["loss"], expected["h"][-1].sum())
    assert math.isclose(v["before"]["loss"], layer(x)[0][-1].sum().item())
    assert console.trace.figure["held"][gate] == [3]
    assert f"as trained it is {v['before']['loss']:.3g}".replace("-", "−") in console.describe()


def test_a_clamp_concerns_the_shown_sequence_alone_and_layers_above_feel_it():
    layer, x = layer_of("lstm", 1, 2, num_layers=2), sequence(5, 3, 1)
    rows = []

    def loss(output, state):
        rows.append(output.detach().numpy())
        return output.sum()
    console = GateConsole(layer, x, loss, sequence=1)
    console.clamp("o", 0, 0.0, every_unit=True)
    as_trained = layer(x)[0].detach().numpy()
    changed = np.abs(rows[-2] - as_trained).max((0, 2)), np.abs(rows[-1] - as_trained).max((0, 2))
    assert max(changed[1]) < 1e-12                            # the last run is the one as trained
    assert changed[0][1] > 1e-3 and max(changed[0][0], changed[0][2]) < 1e-12


def test_presets_keep_forget_and_count():
    layer, x = layer_of("lstm", 1, 2), sequence(6, 1)
    hx = (md.zeros(1, 2, dtype=md.float64), md.ones(1, 2, dtype=md.float64) * 0.7)
    console = GateConsole(layer, x, hx=hx, preset="keep")
    np.testing.assert_allclose(console.values()["c"], 0.7)
    console.preset = "forget"
    v = console.values()
    np.testing.assert_allclose(v["c"], v["i"] * v["g"])
    console.preset = "count"
    v = console.values()
    np.testing.assert_allclose(v["c"], 0.7 + np.cumsum(v["g"]))
    console.clamp("f", 2, 0.0)
    v = console.values()
    assert math.isclose(v["c"][2], v["g"][2]), "what is set one by one has the last word"
    gru = GateConsole(layer_of("gru", 1, 2), x, preset="keep")
    np.testing.assert_allclose(gru.values()["h"], 0)
    gru.preset = "count"
    assert "cannot be made to count" in gru.error and "never grows beyond 1" in gru.error


def test_letting_go():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(4, 1))
    before = console.trace
    console.clamp("f", 1, 0.0)
    console.clamp("f", 1, 1.0)
    assert console.clamps == [["f", 1, 1.0, 0]]
    console.clamp("i", None, 0.5, every_unit=True)
    console.clamp("i", 2, 0.0)
    console.free("i", 2)
    assert console.clamps == [["f", 1, 1.0, 0], ["i", None, 0.5, None]]
    assert "i = 0.5 at every step, all units" in console.describe()
    console.free("i")
    console.free()
    assert console.clamps == [] and console.trace == before


# ---------------------------------------------------------------------- the way back
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("clamp", [None, ("f", "z")], ids=["free", "held"])
def test_gradients_of_the_states_are_those_of_finite_differences(kind, clamp):
    layer, x, unit = layer_of(kind, 2, 3), sequence(5, 2), 1
    console = GateConsole(layer, x, loss=lambda out, state: (out ** 2).sum(), unit=unit)
    if clamp:
        console.clamp(clamp[kind == "gru"], 4, 0.5)
    v, state = console.values(), STATE[kind]

    def loss(t, shift):
        """The loss if the state after step t were larger by `shift`; by hand where a gate is held."""
        total, first = 0.0, None
        for k in range(5):
            if clamp and k == 4:
                h, c = (s.numpy()[0] for s in first) if kind == "lstm" else (first.numpy()[0], None)
                total += (step_held(layer, x.numpy()[k], h, c, unit) ** 2).sum()
                break
            _, first = layer(x[k:k + 1], first)
            first = tuple(s.detach() for s in first) if kind == "lstm" else first.detach()
            if k == t:
                (first[1] if kind == "lstm" else first).numpy()[0, unit] += shift
                if kind == "lstm":                              # h of this step is made of c
                    o = layer(x[:k + 1], return_gates=True)[2]["l0"]["o"].detach().numpy()[k, 0]
                    first[0].numpy()[0] = o * np.tanh(first[1].numpy()[0])
            total += ((first[0] if kind == "lstm" else first).numpy() ** 2).sum()
        return total
    for t in range(4):
        slope = (loss(t, 1e-6) - loss(t, -1e-6)) / 2e-6
        assert math.isclose(v[f"d{state}"][t], slope, rel_tol=1e-5, abs_tol=1e-8), t


def step_held(layer, x, h, c, unit):
    """h after one more step in which f (or z) of a unit is 0.5."""
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in layer.parameters())
    a, b = (np.split(part, len(b_ih) // len(h)) for part in (w_ih @ x + b_ih, w_hh @ h + b_hh))
    held = squash(a[1] + b[1])
    held[unit] = 0.5
    if c is None:
        return (1 - held) * np.tanh(a[2] + squash(a[0] + b[0]) * b[2]) + held * h
    return squash(a[3] + b[3]) * np.tanh(held * c + squash(a[0] + b[0]) * np.tanh(a[2] + b[2]))


@pytest.mark.parametrize("part", ["l0", "l0_reverse"])
def test_each_step_back_multiplies_by_the_gate_of_the_step_after(part):
    layer, x = layer_of("lstm", 1, 2, bidirectional=True), sequence(6, 1)
    v = GateConsole(layer, x, part=part).values()
    f, d = (v[name][::-1 if part.endswith("reverse") else 1] for name in ("f", "dc"))
    carried, past = (v[name][::-1 if part.endswith("reverse") else 1] for name in ("carried", "past"))
    np.testing.assert_allclose(carried, [*(f[1:] * d[1:]), 0])
    np.testing.assert_allclose(carried + past, d, atol=1e-12)
    np.testing.assert_allclose(v["direct"], 0, atol=1e-12)
    assert abs(d[-1]) > 0.01


def test_a_loss_that_looks_at_c_itself_is_told():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(4, 1), loss=lambda out, state: state[1].sum())
    np.testing.assert_allclose(console.values()["direct"], [0, 0, 0, 1], atol=1e-12)
    assert "t = 3: dL/dc = 0 through h + 1 from the loss itself = 1." in console.describe()


def test_frozen_weights_and_a_loss_that_takes_nothing():
    layer = layer_of("lstm", 1, 2)
    for p in layer.parameters():
        p.requires_grad = False
    assert np.abs(GateConsole(layer, sequence(3, 1)).values()["dc"]).min() > 0
    assert not GateConsole(layer, sequence(3, 1), loss=lambda out, state: md.tensor(2.0)).values()["dc"].any()


# ---------------------------------------------------------------------- frames, words, picture
def test_frames_go_through_time_and_back_again():
    console = GateConsole(layer_of("gru", 1, 2, bidirectional=True), sequence(4, 1))
    assert [frame.data["t"] for frame in console.trace] == [0, 1, 2, 3, 3, 2, 1, 0]
    assert [p.name for p in console.trace.phases] == ["forward", "backward"]
    console.part = "l0_reverse"
    assert [frame.data["t"] for frame in console.trace] == [3, 2, 1, 0, 0, 1, 2, 3]
    assert "back to t = 3, dL/dh is multiplied by 3 factors z" in console.describe()


def test_sentences_have_the_numbers_of_the_step():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(5, 1), labels="hello")
    v, text = console.values(), console.trace.frame(2).text.replace("−", "-")
    assert text.startswith(f"t = 2 ('l'): i = {v['i'][2]:.3g}, f = {v['f'][2]:.3g}, ")
    assert f"= {v['c'][2]:.3g}; h = o·tanh(c)" in text and text.endswith(f"= {v['h'][2]:.3g}.")
    back = console.trace.frame(6).text.replace("−", "-")
    assert back.startswith(f"t = 3 ('l'): dL/dc = f at t = 4 times dL/dc there, {v['f'][4]:.3g}·")
    assert back.endswith(f"= {v['dc'][3]:.3g}. Of what the last step had, {v['f'][4]:.3g} would come here over c "
                         "alone.")
    product = f"together {math.prod(v['f'][1:]):.3g}"
    assert product in console.describe() and product in console.trace.figure["facts"][-1]
    console.seek(2)
    line = console.frame.lines[1].replace("−", "-")
    assert line.startswith(f"f = σ({v['x f'][2]:.3g} + ") and line in console.describe().replace("−", "-")
    assert math.isclose(squash(v["x f"][2] + v["h f"][2]), v["f"][2])


def test_equations_of_a_held_gate_say_what_it_would_have_been():
    console = GateConsole(layer_of("gru", 1, 2), sequence(3, 1))
    free = console.values()["n"][0]
    console.clamp("n", 0, -1)
    assert f"= {free:.3g}; held at −1.".replace("-", "−") in console.trace.frame(0).lines[2]
    assert "n = −1 (held)" in console.trace.frame(0).text


def test_the_still_picture_has_empty_boxes_for_what_is_to_come():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(4, 1), labels=["to", "be", "or", "not"])

    def empty(i):
        return sum(r.get("class") == "absent" for r in ElementTree.fromstring(console.svg(i)).iter(SVG + "rect"))
    assert [empty(k) for k in (0, 3, 4, 7)] == [4 * 3 + 4, 4, 3, 0]
    texts = [t.text for t in ElementTree.fromstring(console.svg()).iter(SVG + "text")]
    assert {"i", "f", "g", "o", "c", "h", "dL/dc", "to", "not"} <= set(texts)
    factors = [t.replace("−", "-") for t in texts if t and t.startswith("·")]
    assert factors == [f"·{f:.3g}" for f in console.values()["f"][1:]]


def test_a_nan_is_named_where_it_first_appears():
    x = sequence(4, 1)
    x.numpy()[2] = math.nan
    words = GateConsole(layer_of("lstm", 1, 2), x).describe()
    assert "The first number that is not finite is i at t = 2: NaN." in words


def test_a_long_sequence_fits_into_a_page():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(100, 1))
    assert len(console.trace.json.encode()) <= 200_000 and console.trace.left_out == 0


# ---------------------------------------------------------------------- mistakes
def test_mistakes_say_what_to_do():
    layer, x = layer_of("lstm", 1, 2), sequence(4, 1)
    for call, words in [
        (lambda: GateConsole(nn.RNN(1, 2), x), r"only cells with gates.*\n.*RNN"),
        (lambda: GateConsole(layer, sequence(4)), r"axes T I.*\n(.*\n)*Try: x.reshape"),
        (lambda: GateConsole(layer, sequence(4, 3)), "input_size = 1"),
        (lambda: GateConsole(layer, sequence(101, 1)), r"does not fit.*\n.*at most 100"),
        (lambda: GateConsole(layer, x, labels="abc"), "a label for each step"),
        (lambda: GateConsole(layer, x, loss=lambda out, state: out), r"one number.*\n.*\(4, 2\)"),
        (lambda: GateConsole(layer, x, loss=lambda out, state: 3.0), r"one number.*\n.*float"),
        (lambda: GateConsole(layer, x, unit=2), r"no unit 2.*\n.*0 to 1"),
        (lambda: GateConsole(layer, x, part="l1"), r"no part 'l1'.*\n.*l0"),
        (lambda: GateConsole(layer, x).clamp("z", 0, 1), r"no gate 'z'.*\n.*i, f, g, o"),
        (lambda: GateConsole(layer, x).clamp("f", 0, -0.5), r"f cannot be −0.5.*\n.*0 and 1"),
        (lambda: GateConsole(layer, x).clamp("f", 4, 0.5), r"no step 4.*\n.*0 to 3"),
    ]:
        with pytest.raises((ArgumentError, ShapeError), match=words):
            call()


def test_wrong_changes_become_the_error_line():
    console = GateConsole(layer_of("lstm", 1, 2), sequence(4, 1))
    before = console.trace
    for change, words in [(dict(unit=7), "no unit 7"), (dict(unit=0, clamps=[["f", 0, 2, 0]]), "f cannot be 2"),
                          (dict(clamps=[["f"]]), "a clamp is"), (dict(clamps=[], preset="loud"), "no preset 'loud'")]:
        console.edit(**change)
        assert words in console.error and console.trace is before
    console.preset = "as trained"
    assert console.error == ""
