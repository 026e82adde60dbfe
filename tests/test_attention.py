"""Attention, against loops and against what must hold whatever the numbers are."""
import itertools
import math

import numpy as np
import pytest

import minidl as md
import minidl.nn.functional as F
from minidl import nn
from minidl.autograd import check_gradients
from minidl.errors import ArgumentError, DTypeError, ShapeError
from tests.fake_device import FakeArray, no_transfers

L, S, N, E = 4, 5, 3, 6


def numbers(*shape, requires_grad=False):
    return md.randn(*shape, dtype=md.float64, requires_grad=requires_grad)


def close(found, expected, atol=1e-12):
    found, expected = (x.detach().host_array() if isinstance(x, md.Tensor) else np.asarray(x)
                       for x in (found, expected))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=atol)


def flags(*shape, seed=0):
    """A bool mask in which each row has a True."""
    mask = np.random.default_rng(seed).random(shape) < 0.5
    mask[..., 0] = True
    return md.tensor(mask)


def causal(n):
    """Masks that keep a position from looking ahead, in the form of PyTorch's modules: True may not look."""
    return md.tensor(~np.tri(n, dtype=bool))


def doubled(module):
    """In float64, with biases that are not 0."""
    for name, p in module.double().named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(p)
    return module


def attention(**settings):
    return doubled(nn.MultiheadAttention(E, 2, **settings))


# ---------------------------------------------------------------------- the formula
def looped(q, k, v, allowed, added, scale):
    """One query and one key at a time, with Python's numbers."""
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for *n, i in itertools.product(*map(range, q.shape[:-1])):
        n = tuple(n)
        scores = [scale * sum(a * b for a, b in zip(q[n][i], k[n][j])) + added[n][i, j] for j in range(k.shape[-2])]
        weights = [math.exp(s) * bool(allowed[n][i, j]) for j, s in enumerate(scores)]
        for j, w in enumerate(weights):
            out[n][i] += w / sum(weights) * v[n][j]
    return out


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "both"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_the_formula_in_plain_loops(batch, kind, scale):
    q, k, v = numbers(*batch, L, E), numbers(*batch, S, E), numbers(*batch, S, 2)
    mask = {"bool": flags(*batch, L, S), "float": numbers(L, S), "both": flags(L, S)}.get(kind)
    is_causal = kind in ("causal", "both")
    allowed = np.ones((*batch, L, S), bool) if kind not in ("bool", "both") else np.broadcast_to(mask, (*batch, L, S))
    allowed = allowed & np.tri(L, S, dtype=bool) if is_causal else allowed
    added = np.broadcast_to(mask.numpy() if kind == "float" else 0.0, (*batch, L, S))
    expected = looped(q.numpy(), k.numpy(), v.numpy(), allowed, added, E ** -0.5 if scale is None else scale)
    close(F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale), expected)


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "nowhere"])
def test_gradients_and_their_gradients(kind):
    q, k, v = (numbers(2, n, 2, requires_grad=True) for n in (2, 3, 3))
    masks = {"bool": [flags(2, 3)], "float": [numbers(2, 3, requires_grad=True)],
             "nowhere": [md.tensor([[True, False, True], [False, False, False]])]}.get(kind, [])
    assert check_gradients(lambda q, k, v, *mask: F.scaled_dot_product_attention(
        q, k, v, *mask, is_causal=kind == "causal"), [q, k, v, *masks], second_order=True)


def test_weights_are_shares():
    weights = F.attention_weights(numbers(2, L, E), numbers(2, S, E), flags(L, S))
    close(weights.sum(-1), np.ones((2, L)))
    assert (weights.numpy() >= 0).all()
    np.testing.assert_array_equal(weights.numpy() > 0, np.broadcast_to(flags(L, S).numpy(), (2, L, S)))


def test_equal_keys_share_evenly_and_a_key_that_fits_wins():
    close(F.attention_weights(numbers(L, E), md.ones(S, E, dtype=md.float64)), np.full((L, S), 1 / S))
    far = 100 * md.eye(E, dtype=md.float64)
    values = numbers(E, 2)
    close(F.scaled_dot_product_attention(far.flip(0), far, values), values.flip(0))


@pytest.mark.parametrize("make", [lambda m: m, lambda m: F.additive_mask(m, numbers(1))], ids=["bool", "float"])
@pytest.mark.parametrize("dtype", [md.float16, md.float32, md.float64])
def test_a_query_that_may_look_nowhere_gets_zeros_and_no_nan(make, dtype):
    mask = np.ones((2, L, S), bool)
    mask[0, 1] = mask[1, 3] = False
    q, k, v = (md.randn(2, n, E).to(dtype).requires_grad_() for n in (L, S, S))
    with md.autograd.detect_anomaly():
        out = F.scaled_dot_product_attention(q, k, v, make(md.tensor(mask)))
        out.sum().backward()
    blind = ~mask.any(-1)
    assert out.dtype == dtype and (out.detach().numpy()[blind] == 0).all() and (q.grad.numpy()[blind] == 0).all()
    assert all(np.isfinite(x.grad.numpy()).all() and x.grad.numpy().any() for x in (q, k, v))
    whole = F.scaled_dot_product_attention(q, k, v).detach().numpy()
    np.testing.assert_array_equal(out.detach().numpy()[~blind], whole[~blind])


def test_no_keys_give_zeros():
    close(F.scaled_dot_product_attention(numbers(L, E), numbers(0, E), numbers(0, 2), md.ones(L, 0, dtype=md.bool)),
          np.zeros((L, 2)))


def test_huge_scores_do_not_overflow():
    q = 1e4 * md.randn(L, E)
    assert np.isfinite(F.scaled_dot_product_attention(q, q, q, is_causal=True).numpy()).all()


def test_the_function_drops_weights_and_keeps_their_mean():
    q, k = numbers(L, E), numbers(S, E)
    v = md.eye(S, dtype=md.float64)                   # so that the outputs are the weights
    plain, dropped = (F.scaled_dot_product_attention(q, k, v, dropout_p=p) for p in (0.0, 0.5))
    kept = dropped.numpy() != 0
    assert 0 < kept.sum() < kept.size
    close(dropped.numpy()[kept], 2 * plain.numpy()[kept])


# ---------------------------------------------------------------------- several heads
def test_heads_are_the_formula_on_parts_of_the_features():
    module = attention(batch_first=True)
    x, y = numbers(N, L, E), numbers(N, S, E)
    out, weights = module(x, y, y, average_attn_weights=False)
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    joined = []
    for rows in (slice(0, 3), slice(3, 6)):           # of each third of in_proj
        q, k, v = (z.numpy() @ state["in_proj_weight"][t:t + E][rows].T + state["in_proj_bias"][t:t + E][rows]
                   for t, z in ((0, x), (E, y), (2 * E, y)))
        close(weights[:, len(joined)], F.attention_weights(md.tensor(q), md.tensor(k)))
        joined.append(looped(q, k, v, np.ones((N, L, S), bool), np.zeros((N, L, S)), 3 ** -0.5))
    close(out, np.concatenate(joined, -1) @ state["out_proj.weight"].T + state["out_proj.bias"])


@pytest.mark.parametrize("settings", [dict(), dict(bias=False), dict(kdim=4), dict(kdim=2, vdim=3)])
def test_names_and_shapes_of_the_parameters(settings):
    module = nn.MultiheadAttention(E, 2, **settings)
    shapes = {name: p.shape for name, p in module.named_parameters()}
    kdim, vdim = settings.get("kdim", E), settings.get("vdim", E)
    leading = ({"in_proj_weight": (18, 6)} if kdim == vdim == E else
               {"q_proj_weight": (6, 6), "k_proj_weight": (6, kdim), "v_proj_weight": (6, vdim)})
    biases = {"in_proj_bias": (18,), "out_proj.weight": (6, 6), "out_proj.bias": (6,)}
    if "bias" in settings:
        biases = {"out_proj.weight": (6, 6)}
    assert shapes == leading | biases and list(shapes) == list(leading | biases)
    assert module(md.randn(L, N, E), md.randn(S, N, kdim), md.randn(S, N, vdim))[0].shape == (L, N, E)
    state = module.state_dict()
    for name, shape in leading.items():
        bound = math.sqrt(6 / sum(shape))
        assert 0.7 * bound < np.abs(state[name].numpy()).max() <= bound, name
    assert all((state[name].numpy() == 0).all() for name in state if name.endswith("bias"))


@pytest.mark.parametrize("kind", ["none", "bool", "float", "padding", "each head", "causal"])
@pytest.mark.parametrize("batched", [True, False])
def test_gradients_of_inputs_masks_and_weights(kind, batched):
    module = doubled(nn.MultiheadAttention(4, 2, bias=True, kdim=3, batch_first=True))
    batch = (2,) if batched else ()
    inputs = [numbers(*batch, n, e, requires_grad=True) for n, e in ((2, 4), (3, 3), (3, 4))]
    how = {"bool": dict(attn_mask=~flags(2, 3)), "padding": dict(key_padding_mask=~flags(*batch, 3)),
           "each head": dict(attn_mask=~flags(2 * math.prod(batch), 2, 3)),
           "causal": dict(is_causal=True)}.get(kind, {})
    if kind == "float":
        inputs.append(numbers(2, 3, requires_grad=True))

    def run(*values):
        settings = how | (dict(attn_mask=values[3]) if kind == "float" else {})
        out, weights = module(*values[:3], **settings)
        return md.cat([out.flatten(), weights.flatten()])
    assert check_gradients(run, [*inputs, *module.parameters()])


def test_order_of_the_axes_and_single_sequences():
    module, other = attention(), attention(batch_first=True)
    other.load_state_dict(module.state_dict())
    x, y, padding = numbers(L, N, E), numbers(S, N, E), ~flags(N, S)
    out, weights = module(x, y, y, padding)
    turned = y.transpose(0, 1)
    swapped, same = other(x.transpose(0, 1), turned, turned, padding)
    close(swapped.transpose(0, 1), out)
    close(same, weights)
    for m in (module, other):
        alone, its_weights = m(x[:, 1], y[:, 1], y[:, 1], padding[1])
        close(alone, out[:, 1])
        close(its_weights, weights[1])


def test_weights_of_each_head_their_mean_or_none():
    module, x = attention(), numbers(L, N, E)
    out, heads = module(x, x, x, average_attn_weights=False)
    assert heads.shape == (N, 2, L, L)
    close(heads.sum(-1), np.ones((N, 2, L)))
    close(module(x, x, x)[1], heads.mean(1))
    same, none = module(x, x, x, need_weights=False)
    assert none is None and md.equal(same, out)
    assert module(x[:, 0], x[:, 0], x[:, 0], average_attn_weights=False)[1].shape == (2, L, L)


def test_self_attention_does_not_know_the_order():
    module, x, order = attention(), numbers(L, N, E), [2, 0, 3, 1]
    out, weights = module(x, x, x)
    shuffled, its_weights = module(x[order], x[order], x[order])
    close(shuffled, out[order])
    close(its_weights, weights[:, order][:, :, order])


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_padding_equals_the_shorter_sequence(kind):
    module, x, y, lengths = attention(batch_first=True), numbers(N, L, E), numbers(N, S, E), [5, 2, 3]
    padding = md.tensor(np.arange(S) >= np.array(lengths)[:, None])
    mask = padding if kind == "bool" else F.additive_mask(~padding, x)
    out, weights = module(x, y, y, mask)
    for n, length in enumerate(lengths):
        alone, its_weights = module(x[n], y[n, :length], y[n, :length])
        close(out[n], alone)
        close(weights[n, :, :length], its_weights)
        assert (weights[n, :, length:].detach().numpy() == 0).all()


def test_masks_of_each_kind_say_the_same():
    module, x = attention(), numbers(L, N, E)
    ahead = causal(L)
    expected, weights = module(x, x, x, is_causal=True)
    assert (md.triu(weights, 1).detach().numpy() == 0).all()
    for how in (dict(attn_mask=ahead), dict(attn_mask=F.additive_mask(~ahead, x)),
                dict(attn_mask=ahead.expand(2 * N, L, L)), dict(attn_mask=ahead, is_causal=True)):
        close(module(x, x, x, **how)[0], expected)


def test_each_head_of_each_example_has_its_own_mask():
    module, x, mask = attention(), numbers(L, N, E), ~flags(2 * N, L, L)
    _, weights = module(x, x, x, attn_mask=mask, average_attn_weights=False)
    np.testing.assert_array_equal(weights.detach().numpy() == 0, mask.numpy().reshape(N, 2, L, L))


def test_padding_and_mask_together_hide_what_either_hides():
    module, x, padding, mask = attention(), numbers(S, N, E), ~flags(N, S), ~flags(S, S, seed=1)
    for a, b in ((mask, padding), (F.additive_mask(~mask, x), padding), (mask, F.additive_mask(~padding, x))):
        _, weights = module(x, x, x, b, attn_mask=a)
        np.testing.assert_array_equal(weights.detach().numpy() == 0, mask.numpy() | padding.numpy()[:, None])


def test_a_sequence_of_padding_alone_gives_no_nan():
    module, x = attention(batch_first=True), numbers(N, L, E, requires_grad=True)
    padding = md.zeros(N, L, dtype=md.bool)
    padding[1] = True
    out, weights = module(x, x, x, padding)
    assert (weights[1].detach().numpy() == 0).all()
    close(out[1], module.out_proj.bias.expand(L, E))
    out.sum().backward()
    assert all(np.isfinite(v.grad.numpy()).all() for v in (x, *module.parameters()))


def test_weights_are_dropped_in_training_only():
    module, x = attention(dropout=0.5), numbers(L, N, E)
    out, weights = module(x, x, x, average_attn_weights=False)
    assert 0 < (weights.detach().numpy() == 0).sum() < weights.numel()
    module.eval()
    whole = module(x, x, x, average_attn_weights=False)[1]
    kept = weights.detach().numpy() != 0
    close(weights.detach().numpy()[kept], 2 * whole.detach().numpy()[kept])
    assert md.equal(*[module(x, x, x)[0] for _ in range(2)])


# ---------------------------------------------------------------------- the Transformer's layers
def encoder_layer(**settings):
    return doubled(nn.TransformerEncoderLayer(E, 2, 7, **{"dropout": 0.0, **settings}))


def decoder_layer(**settings):
    return doubled(nn.TransformerDecoderLayer(E, 2, 7, **{"dropout": 0.0, **settings}))


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer_is_its_parts(activation):
    after, before = encoder_layer(activation=activation), encoder_layer(activation=activation, norm_first=True)
    before.load_state_dict(after.state_dict())
    x, m, act = numbers(L, N, E), after, getattr(F, activation)
    y = m.norm1(x + m.self_attn(x, x, x)[0])
    close(after(x), m.norm2(y + m.linear2(act(m.linear1(y)))))
    z = m.norm1(x)
    y = x + m.self_attn(z, z, z)[0]
    close(before(x), y + m.linear2(act(m.linear1(m.norm2(y)))))


def test_a_decoder_layer_is_its_parts():
    after, before = decoder_layer(), decoder_layer(norm_first=True)
    before.load_state_dict(after.state_dict())
    x, memory, m = numbers(L, N, E), numbers(S, N, E), after
    y = m.norm1(x + m.self_attn(x, x, x)[0])
    y = m.norm2(y + m.multihead_attn(y, memory, memory)[0])
    close(after(x, memory), m.norm3(y + m.linear2(F.relu(m.linear1(y)))))
    y = m.norm1(x)
    y = x + m.self_attn(y, y, y)[0]
    y = y + m.multihead_attn(m.norm2(y), memory, memory)[0]
    close(before(x, memory), y + m.linear2(F.relu(m.linear1(m.norm3(y)))))


@pytest.mark.parametrize("norm_first", [True, False])
def test_gradients_of_a_decoder_layer(norm_first):
    module = doubled(nn.TransformerDecoderLayer(4, 2, 3, 0.0, "gelu", norm_first=norm_first))
    x, memory = (numbers(n, 1, 4, requires_grad=True) for n in (2, 3))
    assert check_gradients(lambda x, memory, *_: module(x, memory, tgt_is_causal=True),
                           [x, memory, *module.parameters()])


def run_stack(kind, x, stack, how):
    return stack(x, **how) if kind == "encoder" else stack(x, x.detach() * 0 + 0.5, **how)


@pytest.mark.parametrize("how", ["flag", "mask"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_later_tokens_do_not_change_what_came_earlier(kind, how):
    stack = (nn.TransformerEncoder(encoder_layer(), 2) if kind == "encoder" else
             nn.TransformerDecoder(decoder_layer(), 2))
    names = dict(encoder=("is_causal", "mask"), decoder=("tgt_is_causal", "tgt_mask"))[kind]
    how = {names[0]: True} if how == "flag" else {names[1]: causal(L)}
    x = numbers(L, N, E, requires_grad=True)
    out = run_stack(kind, x, stack, how)
    for k in range(1, L):
        changed = x.detach().clone()
        changed[k:] = 3 * numbers(L - k, N, E)
        again = run_stack(kind, changed, stack, how)
        np.testing.assert_allclose(again[:k].detach().numpy(), out[:k].detach().numpy(), rtol=0, atol=1e-12)
        assert not np.allclose(again[k].detach().numpy(), out[k].detach().numpy(), atol=1e-3)
    out[1].square().sum().backward()
    assert (x.grad.numpy()[2:] == 0).all() and x.grad.numpy()[:2].all()


def test_padding_does_not_change_an_encoder():
    stack = nn.TransformerEncoder(encoder_layer(batch_first=True), 2, nn.LayerNorm(E).double())
    x, lengths = numbers(N, L, E), [4, 1, 3]
    padding = md.tensor(np.arange(L) >= np.array(lengths)[:, None])
    out = stack(x, src_key_padding_mask=padding)
    for n, length in enumerate(lengths):
        close(out[n, :length], stack(x[n, :length]))


def test_padding_of_the_memory_does_not_change_a_decoder():
    stack = nn.TransformerDecoder(decoder_layer(batch_first=True), 2, nn.LayerNorm(E).double())
    x, memory, short, shorter = numbers(N, L, E), numbers(N, S, E), [5, 1, 3], [1, 4, 2]
    padding, own = (md.tensor(np.arange(n) >= np.array(k)[:, None]) for n, k in ((S, short), (L, shorter)))
    out = stack(x, memory, memory_key_padding_mask=padding, tgt_key_padding_mask=own)
    for n in range(N):
        close(out[n, :shorter[n]], stack(x[n, :shorter[n]], memory[n, :short[n]]))


def test_masks_of_the_memory():
    layer = decoder_layer(batch_first=True)
    x, memory = numbers(N, L, E), numbers(N, S, E)
    hidden = md.tensor(np.arange(S) >= 2).expand(L, S)
    close(layer(x, memory, memory_mask=hidden), layer(x, memory[:, :2]))
    ahead = md.tensor(~np.tri(L, S, dtype=bool))
    close(layer(x, memory, memory_is_causal=True), layer(x, memory, memory_mask=ahead))


def test_layers_of_a_stack_are_copies_with_the_same_weights():
    layer = encoder_layer()
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False, mask_check=False)
    x = numbers(L, N, E)
    close(stack(x), layer(layer(layer(x))))
    assert len(list(stack.parameters())) == 3 * len(list(layer.parameters()))
    norm = doubled(nn.LayerNorm(E))
    close(nn.TransformerEncoder(layer, 2, norm)(x), norm(layer(layer(x))))
    nn.init.zeros_(stack.layers[0].linear1.weight)
    assert layer.linear1.weight.detach().numpy().any() and stack.layers[1].linear1.weight.detach().numpy().any()


@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_layers_drop_in_training_only(kind):
    layer, x = kind(E, 2, 7, dropout=0.5).double(), numbers(L, N, E)
    inputs = (x,) if kind is nn.TransformerEncoderLayer else (x, x)
    assert not md.equal(layer(*inputs), layer(*inputs))
    layer.eval()
    out = layer(*inputs)
    assert md.equal(out, layer(*inputs))
    same = kind(E, 2, 7, dropout=0.0).double()
    same.load_state_dict(layer.state_dict())
    close(same(*inputs), out)


@pytest.mark.parametrize("kind, count", [(nn.TransformerEncoderLayer, 2), (nn.TransformerDecoderLayer, 3)])
def test_every_dropout_of_a_layer_is_used(kind, count):
    layer, x = kind(E, 2, 7, dropout=0.0, norm_first=True).double(), numbers(L, N, E)
    inputs = (x,) if count == 2 else (x, x)
    plain = layer(*inputs)
    for name in ["dropout", *(f"dropout{k + 1}" for k in range(count))]:
        getattr(layer, name).p = 1.0
        assert not md.equal(layer(*inputs), plain), name
        getattr(layer, name).p = 0.0


def test_without_biases():
    layer = nn.TransformerDecoderLayer(E, 2, 7, bias=False)
    assert not [name for name, _ in layer.named_parameters() if name.endswith("bias")]
    assert layer(md.randn(L, N, E), md.randn(S, N, E)).shape == (L, N, E)


def test_an_activation_of_ones_own():
    layer, other, plain = (encoder_layer(activation=act) for act in (F.silu, nn.SiLU(), F.relu))
    for module in (other, plain):
        module.load_state_dict(layer.state_dict())
    x = numbers(L, N, E)
    assert md.equal(layer(x), other(x)) and not md.allclose(layer(x), plain(x))


def test_a_forward_hook_sees_the_weights_of_each_head():
    stack, x, seen = nn.TransformerEncoder(encoder_layer(), 2), numbers(L, N, E), []
    for layer in stack.layers:
        layer.self_attn.register_forward_hook(lambda module, inputs, out: seen.append(out[1]))
    stack(x, is_causal=True)
    assert [w.shape for w in seen] == [(N, 2, L, L)] * 2
    close(seen[0], stack.layers[0].self_attn(x, x, x, average_attn_weights=False, is_causal=True)[1])


# ---------------------------------------------------------------------- on a second device
@pytest.mark.usefixtures("fake")
def test_a_training_step_runs_on_a_device_without_a_copy_and_gives_the_same():
    results = []
    encoder, decoder = (nn.TransformerEncoder(encoder_layer(), 2), nn.TransformerDecoder(decoder_layer(), 1))
    x, y, padding, mask = numbers(L, N, E), numbers(S, N, E), ~flags(N, L), numbers(S, S)
    for device in ("cpu", "fake"):
        for module in (encoder, decoder):
            module.zero_grad()
            module.to(device)
        src, tgt, padding, mask = (v.to(device) for v in (x, y, padding, mask))
        with no_transfers():
            memory = encoder(src, src_key_padding_mask=padding, is_causal=True)
            out = decoder(tgt, memory, mask, memory_key_padding_mask=padding, tgt_is_causal=True)
            out.square().sum().backward()
        assert str(out.device) == device
        results.append([v.detach().host_array() for v in (
            out, *(p.grad for module in (encoder, decoder) for p in module.parameters()))])
    assert type(out.array) is FakeArray
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------- mistakes
@pytest.mark.parametrize("shapes", [((L, E), (S, E + 1), (S, 2)), ((L, E), (S, E), (L, 2)), ((E,), (S, E), (S, 2))])
def test_shapes_that_do_not_fit_the_formula(shapes):
    with pytest.raises(ShapeError, match=r"one value for each key") as info:
        F.scaled_dot_product_attention(*(numbers(*shape) for shape in shapes))
    assert all(str(shape) in str(info.value) for shape in shapes)


@pytest.mark.parametrize("shape", [(S, L), (2, L, S), (L, S + 1), (N, 1, L, S)])
def test_masks_that_do_not_fit_the_formula(shape):
    q, k = numbers(N, L, E), numbers(N, S, E)
    with pytest.raises(ShapeError, match=r"mask does not fit the scores") as info:
        F.scaled_dot_product_attention(q, k, k, md.ones(*shape, dtype=md.bool))
    assert f"{(N, L, S)}" in str(info.value)


def test_masks_of_whole_numbers():
    q = numbers(L, E)
    with pytest.raises(DTypeError, match=r"mask\.bool\(\)"):
        F.scaled_dot_product_attention(q, q, q, md.ones(L, L, dtype=md.int64))
    with pytest.raises(DTypeError, match=r"mask\.bool\(\)"):
        attention()(q, q, q, attn_mask=md.ones(L, L, dtype=md.int64))


@pytest.mark.parametrize("args, how, what", [
    ((6, 4), {}, "6 features cannot be shared evenly by 4 heads"), ((6, 0), {}, "num_heads must be a whole number"),
    ((6, 2), dict(add_bias_kv=True), "not supported"), ((6, 2), dict(add_zero_attn=True), "not supported"),
    ((6, 2), dict(kdim=0), "kdim must be")])
def test_settings_of_attention_that_make_no_sense(args, how, what):
    with pytest.raises(ArgumentError, match=what):
        nn.MultiheadAttention(*args, **how)


@pytest.mark.parametrize("q, k, v", [
    ((L, N, E), (S, N, E), (S, N, E + 1)), ((L, N, E + 1), (S, N, E), (S, N, E)), ((L, N, E), (S, N, E), (L, N, E)),
    ((L, N, E), (S, 2, E), (S, 2, E)), ((L, N, E), (S, E), (S, E)), ((E,), (E,), (E,)), ((2, L, N, E),) * 3])
def test_inputs_of_attention_that_do_not_fit(q, k, v):
    with pytest.raises(ShapeError, match="queries, keys and values do not fit") as info:
        attention()(*(numbers(*shape) for shape in (q, k, v)))
    assert "batch_first=False" in str(info.value) and str(v) in str(info.value)


@pytest.mark.parametrize("how, expected", [
    (dict(attn_mask=(L, S + 1)), "(4, 5) or (6, 4, 5)"), (dict(attn_mask=(N, L, S)), "(4, 5) or (6, 4, 5)"),
    (dict(key_padding_mask=(S, N)), "(3, 5)"), (dict(key_padding_mask=(S,)), "(3, 5)")])
def test_masks_of_attention_that_do_not_fit(how, expected):
    x, y = numbers(L, N, E), numbers(S, N, E)
    with pytest.raises(ShapeError, match=f"{list(how)[0]} has another shape") as info:
        attention()(x, y, y, **{name: md.zeros(*shape, dtype=md.bool) for name, shape in how.items()})
    assert expected in str(info.value)


def test_settings_of_layers_that_make_no_sense():
    with pytest.raises(ArgumentError, match="'relu', 'gelu', or any function"):
        nn.TransformerEncoderLayer(E, 2, activation="swish")
    with pytest.raises(ArgumentError, match="num_layers must be"):
        nn.TransformerEncoder(encoder_layer(), 0)
