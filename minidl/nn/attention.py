"""Attention: positions of a sequence that look at each other, and the Transformer's layers made of it.

`functional.scaled_dot_product_attention` is the formula. Here it gets weights, and heads: each head looks at the
sequence through its own few features. All of it is from Vaswani et al. 2017, "Attention is all you need".

Axes are L N E (position, batch, features), or N L E with `batch_first`; S counts the positions that are looked at.
A bool mask is True where a position may *not* look, as in PyTorch's modules; in the function it is the other way
round. A float mask is added to the scores. A position that may look nowhere gets weights of 0 (PyTorch: nan).
"""
import copy
import functools
import math

from .. import functions as md
from ..creation import empty, zeros
from ..errors import ArgumentError, ShapeError, message
from . import functional as F
from . import init
from .layers import Dropout, Linear
from .module import Module, ModuleList, Parameter
from .normalization import LayerNorm
from .settings import positive, settings


class MultiheadAttention(Module):
    """Attention in several heads at once: softmax(q k^T / sqrt(d)) v for each, joined, then a linear layer.

    Args:
        embed_dim: E, the features of queries and outputs; each head has embed_dim / num_heads of them.
        dropout: the probability with which a weight is dropped in training.
        kdim, vdim: the features of keys and values, if not embed_dim.
        batch_first: inputs and outputs are (N, L, E) instead of (L, N, E).
        add_bias_kv, add_zero_attn: not supported.

    Raises:
        ArgumentError: a setting makes no sense, or embed_dim is no multiple of num_heads.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False,
                 kdim=None, vdim=None, batch_first=False, *, dtype=None):
        super().__init__()
        kdim, vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        positive("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        if embed_dim % num_heads:
            raise ArgumentError(
                message(f"MultiheadAttention: {embed_dim} features cannot be shared evenly by {num_heads} heads."))
        if add_bias_kv or add_zero_attn:
            raise ArgumentError(message("MultiheadAttention: add_bias_kv and add_zero_attn are not supported.",
                                        try_="keys and values with one more position, made by your module."))
        self.embed_dim, self.num_heads, self.kdim, self.vdim = embed_dim, num_heads, kdim, vdim
        self.dropout, self.batch_first = dropout, batch_first
        if kdim == vdim == embed_dim:                 # one matrix above the other, as PyTorch keeps them
            self.in_proj_weight = Parameter(empty(3 * embed_dim, embed_dim, dtype=dtype))
        else:
            self.q_proj_weight = Parameter(empty(embed_dim, embed_dim, dtype=dtype))
            self.k_proj_weight = Parameter(empty(embed_dim, kdim, dtype=dtype))
            self.v_proj_weight = Parameter(empty(embed_dim, vdim, dtype=dtype))
        self.in_proj_bias = Parameter(zeros(3 * embed_dim, dtype=dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the weights that lead in by `xavier_uniform_`; all biases are 0."""
        self.out_proj.reset_parameters()
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                init.zeros_(p)
            elif name.endswith("proj_weight"):
                init.xavier_uniform_(p)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):
        """Let each query look at the keys.

        Args:
            query, key, value: (L, N, E), (S, N, kdim), (S, N, vdim); with batch_first N comes first; N may be missing.
            key_padding_mask: (N, S), True for keys that are only padding.
            need_weights: whether the weights are returned, else None stands in their place.
            attn_mask: (L, S), or (N * num_heads, L, S) for a mask of its own for each head.
            average_attn_weights: the mean of the heads; False gives the weights of each head.
            is_causal: position i looks at positions 0 .. i only, with or without a mask that says so.

        Returns:
            outputs like `query`, and weights (N, L, S) or (N, num_heads, L, S), as they were used: in training after
            dropout.

        Raises:
            ShapeError: inputs do not fit the module or each other, or a mask does not fit the inputs.
            DTypeError: a mask holds whole numbers.
        """
        self._check(query, key, value)
        turned = query.ndim == 3 and not self.batch_first
        if turned:
            query, key, value = (md.transpose(x, 0, 1) for x in (query, key, value))
        q, k, v = self._heads(query, key, value)
        mask = self._mask(q, k, key_padding_mask, attn_mask)
        weights = F.dropout(F.attention_weights(q, k, mask, is_causal), self.dropout, self.training)
        out = self.out_proj(md.flatten(md.transpose(md.matmul(weights, v), -3, -2), -2))
        out = md.transpose(out, 0, 1) if turned else out
        if not need_weights:
            return out, None
        return out, md.mean(weights, -3) if average_attn_weights else weights

    def _heads(self, *inputs):
        """Queries, keys and values of each head: (N, num_heads, L, features of one head)."""
        if self.kdim == self.vdim == self.embed_dim:
            weights = md.chunk(self.in_proj_weight, 3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = [None] * 3 if self.in_proj_bias is None else md.chunk(self.in_proj_bias, 3)
        split = (self.num_heads, self.embed_dim // self.num_heads)
        return [md.transpose(md.unflatten(F.linear(x, w, b), -1, split), -3, -2)
                for x, w, b in zip(inputs, weights, biases)]

    def _mask(self, q, k, key_padding_mask, attn_mask):
        """Both masks as one that is added to the scores (N, num_heads, L, S); None if there is none."""
        (*batch, heads, length, _), count, masks = q.shape, k.shape[-2], []
        if attn_mask is not None:
            _expect("attn_mask", attn_mask, (length, count), (math.prod(batch) * heads, length, count))
            masks.append(attn_mask if attn_mask.ndim == 2 else attn_mask.reshape(*batch, heads, length, count))
        if key_padding_mask is not None:
            _expect("key_padding_mask", key_padding_mask, (*batch, count))
            masks.append(key_padding_mask.reshape(*batch, 1, 1, count))
        masks = [F.additive_mask(md.logical_not(m) if m.dtype.kind == "b" else m, q) for m in masks]
        return functools.reduce(md.add, masks) if masks else None

    def _check(self, query, key, value):
        axes = "L E" if query.ndim == 2 else "N L E" if self.batch_first else "L N E"
        batch = 0 if self.batch_first else 1
        good = (query.ndim == key.ndim == value.ndim and query.ndim in (2, 3) and key.shape[:-1] == value.shape[:-1]
                and (query.ndim == 2 or query.shape[batch] == key.shape[batch])
                and [x.shape[-1] for x in (query, key, value)] == [self.embed_dim, self.kdim, self.vdim])
        if not good:
            keys = axes.replace("L", "S")
            raise ShapeError(message("MultiheadAttention: queries, keys and values do not fit.", [
                ("query", query.shape, f"{axes}, E = {self.embed_dim}"),
                ("key", key.shape, f"{keys}, E = {self.kdim}"),
                ("value", value.shape, f"{keys}, E = {self.vdim}")],
                f"check the order of the axes (batch_first={self.batch_first})."))

    def extra_repr(self):
        plain = dict(kdim=self.embed_dim, vdim=self.embed_dim, dropout=0.0, batch_first=False)
        return settings(self, "embed_dim", "num_heads", **plain)


def _expect(name, mask, *shapes):
    if mask.shape not in shapes:
        raise ShapeError(message(f"MultiheadAttention: {name} has another shape.",
                                 [("expected", " or ".join(map(str, shapes))), ("got", mask.shape)]))


# ---------------------------------------------------------------------- the Transformer's layers
class _TransformerLayer(Module):
    """What encoder and decoder layers share. Each part is added to its input: attention, then a small network.

    Args:
        d_model: E, the features of inputs and outputs.
        nhead: the number of heads.
        dim_feedforward: the width of the small network, which every position goes through alone.
        dropout: after each part, inside the small network, and of the weights of attention.
        activation: of the small network: a function, "relu" or "gelu".
        batch_first: inputs and outputs are (N, L, E) instead of (L, N, E).
        norm_first: what goes into a part is normalised, instead of the sum that comes out (Xiong et al. 2020).
        bias: whether there are biases.
    """

    reads_memory = False

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, *, dtype=None):
        super().__init__()

        def attention():
            return MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)

        def norm():
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.self_attn = attention()
        if self.reads_memory:
            self.multihead_attn = attention()
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm1, self.norm2 = norm(), norm()
        if self.reads_memory:
            self.norm3 = norm()
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        if self.reads_memory:
            self.dropout3 = Dropout(dropout)
        self.norm_first, self.activation = norm_first, _activation(activation)

    def _add(self, x, norm, part):
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))

    def _attend(self, attention, x, y, mask, padding, is_causal):
        # Nothing here needs the weights of each head, but a forward hook may: there they can be seen.
        out, _ = attention(x, y, y, padding, attn_mask=mask, average_attn_weights=False, is_causal=is_causal)
        return out

    def _feed_forward(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def _activation(given):
    known = {"relu": F.relu, "gelu": F.gelu}
    if not callable(given) and given not in known:
        raise ArgumentError(message(f"Transformer: unknown activation {given!r}.",
                                    [("known", "'relu', 'gelu', or any function")]))
    return given if callable(given) else known[given]


class TransformerEncoderLayer(_TransformerLayer):
    """Self-attention, then a small network at each position. (L, N, E) -> (L, N, E)."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """One layer; the masks are `attn_mask` and `key_padding_mask` of `MultiheadAttention`."""
        def look(x):
            return self.dropout1(self._attend(self.self_attn, x, x, src_mask, src_key_padding_mask, is_causal))
        x = self._add(src, self.norm1, look)
        return self._add(x, self.norm2, lambda x: self.dropout2(self._feed_forward(x)))


class TransformerDecoderLayer(_TransformerLayer):
    """Self-attention, then attention to a memory, then a small network. (L, N, E), (S, N, E) -> (L, N, E)."""

    reads_memory = True

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False):
        """One layer; each attention has its masks, as in `MultiheadAttention`."""
        def look(x):
            return self.dropout1(self._attend(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))

        def read(x):
            return self.dropout2(self._attend(self.multihead_attn, x, memory, memory_mask, memory_key_padding_mask,
                                              memory_is_causal))
        x = self._add(tgt, self.norm1, look)
        x = self._add(x, self.norm2, read)
        return self._add(x, self.norm3, lambda x: self.dropout3(self._feed_forward(x)))


class _Stack(Module):
    def __init__(self, layer, num_layers, norm=None):
        super().__init__()
        positive(type(self).__name__, num_layers=num_layers)
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def _run(self, x, *settings):
        for layer in self.layers:
            x = layer(x, *settings)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Copies of an encoder layer, one after the other; all start from the same weights.

    `enable_nested_tensor` and `mask_check` are accepted for PyTorch's sake, and change nothing.
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        """All layers, each with the same masks, and the norm if there is one."""
        return self._run(src, mask, src_key_padding_mask, bool(is_causal))


class TransformerDecoder(_Stack):
    """Copies of a decoder layer, one after the other; all start from the same weights and read the same memory."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__(decoder_layer, num_layers, norm)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=None, memory_is_causal=False):
        """All layers, each with the same memory and masks, and the norm if there is one."""
        return self._run(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                         bool(tgt_is_causal), memory_is_causal)
