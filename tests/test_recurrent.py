"""Recurrent layers: the scan equals the cells step by step, whatever the layers, directions and lengths."""
import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.autograd import check_gradients
from minidl.nn.sequences import pack_padded_sequence, pad_packed_sequence, pad_sequence
from minidl.ops.recurrent import lstm_slopes_by_op

KINDS = ["RNN", "LSTM", "GRU"]
T, N, I, H = 5, 3, 4, 2


def layer(kind, **settings):
    return getattr(nn, kind)(I, H, dtype=md.float64, **settings)


def cell_like(kind, module, suffix="_l0"):
    """The cell with the weights of one layer and direction."""
    cell = getattr(nn, kind + "Cell")(I, H, dtype=md.float64)
    state = module.state_dict()
    cell.load_state_dict({name: state[name + suffix] for name in cell.state_dict()})
    return cell


def walk(cell, x, state=None):
    """The outputs of a cell over a sequence (T, N, I), and its last state."""
    outputs = []
    for step in x:
        state = cell(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return md.stack(outputs), state


def leaves(value):
    return [value] if isinstance(value, md.Tensor) else [leaf for part in value for leaf in leaves(part)]


def assert_equal(got, expected):
    for a, b in zip(leaves(got), leaves(expected), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_is_its_cell_walked_over_time(kind):
    module, x = layer(kind), md.randn(T, N, I, dtype=md.float64)
    outputs, last = module(x)
    expected, state = walk(cell_like(kind, module), x)
    assert_equal(outputs, expected)
    assert_equal([s[0] for s in leaves(last)], leaves(state))


def test_a_rectified_layer_and_its_cell_follow_the_formula():
    module, x = layer("RNN", nonlinearity="relu"), md.randn(T, N, I, dtype=md.float64)
    h = md.zeros(N, H, dtype=md.float64)
    cell, outputs = nn.RNNCell(I, H, nonlinearity="relu", dtype=md.float64), module(x)[0]
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
    w_ih, w_hh, b_ih, b_hh = module.parameters()
    for t in range(T):
        assert_equal(cell(x[t], h), (x[t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh).relu())
        h = cell(x[t], h)
        assert_equal(outputs[t], h)
    assert (outputs == 0).any() and check_gradients(lambda x: module(x)[0], [x.requires_grad_()])


def test_padding_is_filled_with_any_number_to_any_length():
    lengths = [3, 1, 4]
    padded = pad_sequence([md.full((n, 2), float(n)) for n in lengths], batch_first=True, padding_value=-7.0)
    packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    again, found = pad_packed_sequence(packed, batch_first=True, padding_value=9.0, total_length=6)
    assert padded.shape == (3, 4, 2) and again.shape == (3, 6, 2) and found.tolist() == lengths
    for k, n in enumerate(lengths):
        assert (padded[k, :n] == n).all() and (padded[k, n:] == -7).all()
        assert (again[k, :n] == n).all() and (again[k, n:] == 9).all()
    with pytest.raises(md.errors.ArgumentError, match="between 1 and T"):
        pack_padded_sequence(padded, [3, 0, 4], batch_first=True, enforce_sorted=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_direction_walks_from_the_end(kind):
    module, x = layer(kind, bidirectional=True), md.randn(T, N, I, dtype=md.float64)
    outputs, last = module(x)
    backwards, state = walk(cell_like(kind, module, "_l0_reverse"), x.flip(0))
    assert_equal(outputs[..., H:], backwards.flip(0))
    assert_equal([s[1] for s in leaves(last)], leaves(state))


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_layer_reads_the_outputs_of_the_first(kind):
    both, x = layer(kind, num_layers=2), md.randn(T, N, I, dtype=md.float64)
    first, second = layer(kind), getattr(nn, kind)(H, H, dtype=md.float64)
    state = both.state_dict()
    first.load_state_dict({name: state[name] for name in first.state_dict()})
    second.load_state_dict({name: state[name.replace("l0", "l1")] for name in second.state_dict()})
    assert_equal(both(x)[0], second(first(x)[0])[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_inputs_weights_and_states(kind, bias):
    module, x = layer(kind, bias=bias), md.randn(3, 2, I, dtype=md.float64, requires_grad=True)
    states = [md.randn(1, 2, H, dtype=md.float64, requires_grad=True) for _ in range(1 + (kind == "LSTM"))]

    def run(*values):
        hx = values[1:1 + len(states)]
        outputs, last = module(values[0], hx if len(hx) > 1 else hx[0])
        return md.cat([outputs.flatten(), *(s.flatten() for s in leaves(last))])
    assert check_gradients(run, [x, *states, *module.parameters()])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("used", ["ifgoch", "h", "c", "io", "fg", ""])
def test_the_two_ways_to_the_gradient_of_an_lstm_are_one(used, masked):
    """In memory of its own, and in ops for second derivatives; a letter that nobody used is a single 0, repeated."""
    rng = np.random.default_rng(0)
    nothing, draw = np.broadcast_to(0.0, (T, N, H)), lambda *shape: rng.standard_normal(shape)
    slopes = [draw(T, N, H) if letter in used else nothing for letter in "ifgoch"]
    w, h, c, mask = draw(4, H, H), draw(N, H), draw(N, H), [rng.integers(0, 2, (T, N, 1)) * 1.0] * masked
    log = md.ops.lstm_scan(draw(4, T, N, H), w, h, c, *mask)
    expected = lstm_slopes_by_op(*map(md.tensor, [*slopes, log, w, c, *mask])).numpy()
    assert expected.any() == bool(used)
    np.testing.assert_allclose(md.ops.lstm_slopes(*slopes, log, w, c, *mask), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_equal_each_sequence_alone(kind, bidirectional):
    module, lengths = layer(kind, num_layers=2, bidirectional=bidirectional), [3, 5, 1]
    sequences = [md.randn(n, I, dtype=md.float64) for n in lengths]
    packed = pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=False)
    first = [md.randn(2 + 2 * bidirectional, 3, H, dtype=md.float64) for _ in range(1 + (kind == "LSTM"))]
    outputs, last = module(packed, first if kind == "LSTM" else first[0])
    padded, found = pad_packed_sequence(outputs)
    assert found.tolist() == lengths
    for k, x in enumerate(sequences):
        mine = [s[:, k] for s in first]
        alone, state = module(x, mine if kind == "LSTM" else mine[0])
        assert_equal(padded[:len(x), k], alone)
        assert_equal([s[:, k] for s in leaves(last)], leaves(state))


def test_padding_has_no_gradient():
    module, x = layer("LSTM"), md.randn(T, N, I, dtype=md.float64, requires_grad=True)
    outputs, _ = module(pack_padded_sequence(x, [5, 2, 1]))
    outputs.data.square().sum().backward()
    assert (x.grad.numpy()[2:, 1] == 0).all() and (x.grad.numpy()[1:, 2] == 0).all()
    assert (x.grad.numpy()[:2, 1] != 0).any()


@pytest.mark.parametrize(("kind", "names"), [("RNN", "h"), ("LSTM", "ifgoch"), ("GRU", "rznqh")])
def test_the_gates_of_every_step_can_be_asked_for(kind, names):
    outputs, _, gates = layer(kind)(md.randn(T, N, I, dtype=md.float64), return_gates=True)
    assert list(gates) == ["l0"] and "".join(gates["l0"]) == names
    assert_equal(gates["l0"]["h"], outputs)
    assert all(0 < v < 1 for name in set(names) & set("ifrzo") for v in gates["l0"][name].flatten().tolist())


def test_the_memory_follows_its_equation():
    _, _, gates = layer("LSTM")(md.randn(T, N, I, dtype=md.float64), return_gates=True)
    g = gates["l0"]
    assert_equal(g["c"][1:], g["f"][1:] * g["c"][:-1] + g["i"][1:] * g["g"][1:])
    assert_equal(g["h"], g["o"] * g["c"].tanh())


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_and_single_sequences(kind):
    module, x = layer(kind), md.randn(T, N, I, dtype=md.float64)
    other = layer(kind, batch_first=True)
    other.load_state_dict(module.state_dict())
    assert_equal(other(x.transpose(0, 1))[0].transpose(0, 1), module(x)[0])
    assert_equal(module(x[:, 1])[0], module(x)[0][:, 1])


def test_dropout_stands_between_the_layers_only_in_training():
    module, x = layer("GRU", num_layers=2, dropout=0.5), md.randn(T, N, I, dtype=md.float64)
    (once, _, below), (again, _, as_before) = module(x, return_gates=True), module(x, return_gates=True)
    assert not md.equal(once, again) and md.equal(below["l0"]["h"], as_before["l0"]["h"])
    module.eval()
    assert_equal(module(x)[0], module(x)[0])


def test_parameters_have_pytorchs_names_and_shapes():
    shapes = {name: p.shape for name, p in nn.LSTM(4, 2, num_layers=2, bidirectional=True).named_parameters()}
    assert shapes["weight_ih_l0"] == (8, 4) and shapes["weight_hh_l1_reverse"] == (8, 2)
    assert shapes["weight_ih_l1"] == (8, 4) and shapes["bias_ih_l0_reverse"] == (8,)
    assert list(shapes)[:5] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 4, 8, 16, 20, 32])
def test_rows_of_aligned_weights_begin_with_cache_lines_of_their_own_sets(dtype, size):
    memory = np.arange(16 + 3 * size * 2, dtype=dtype)
    for start in range(16):                           # views that begin anywhere in a line, read along their columns
        x = memory[start:start + 6 * size].reshape(2, size, 3).swapaxes(1, 2)
        out = md.ops.aligned(x)
        assert out.ctypes.data % 64 == 0 and (out == x).all()
        assert out.strides[2] == out.itemsize and out.strides[1] % 128 == 64 and out.strides[0] == 3 * out.strides[1]


def test_mistakes_are_explained():
    with pytest.raises(md.errors.ShapeError, match="input_size = 4"):
        nn.LSTM(4, 2)(md.zeros(5, 3, 7))
    with pytest.raises(md.errors.ShapeError, match="first state"):
        nn.GRU(4, 2)(md.zeros(5, 3, 4), md.zeros(1, 2, 2))
    with pytest.raises(md.errors.ArgumentError, match="falling order"):
        pack_padded_sequence(md.zeros(5, 2, 4), [2, 5])
    with pytest.raises(md.errors.ArgumentError, match="nonlinearity"):
        nn.RNN(4, 2, nonlinearity="sine")


def test_an_lstm_learns_to_remember_the_first_bit():
    md.manual_seed(0)
    bits = md.randint(0, 2, (8, 64)).float()
    model, head = nn.LSTM(1, 8), nn.Linear(8, 1)
    optimiser = md.optim.Adam([*model.parameters(), *head.parameters()], lr=0.05)
    for _ in range(80):
        optimiser.zero_grad()
        logits = head(model(bits.unsqueeze(-1))[0][-1]).squeeze(-1)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, bits[0])
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
