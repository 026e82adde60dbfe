"""Sequences of different lengths in one batch.

*Padded*: all as long as the longest, (T, N, ...), what is missing filled up. *Packed*, as PyTorch does it:
only what is there, time step by time step, longest sequences first, so that step t holds the first
`batch_sizes[t]` sequences.
"""
from typing import NamedTuple

import numpy as np

from .. import functions as md
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor, from_numpy, tensor


class PackedSequence(NamedTuple):
    """Sequences of different lengths without padding.

    Attributes:
        data: (sum of lengths, ...), all first steps, then all second steps, and so on.
        batch_sizes: (T,) how many sequences have a step t, int64.
        sorted_indices: which sequence of the batch stands k-th, the longest first; None if they came sorted.
        unsorted_indices: where each sequence of the batch stands; None if they came sorted.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def in_first_order(self, x):
        """(..., N, H) from sorted order back to the order of the batch."""
        return x if self.unsorted_indices is None else md.index_select(x, -2, self.unsorted_indices)

    def in_sorted_order(self, x):
        """(..., N, H) from the order of the batch to sorted order."""
        return x if self.sorted_indices is None else md.index_select(x, -2, self.sorted_indices)


def _steps(batch_sizes):
    """For each row of `data`, its time and its place in the batch; and the length of each sequence."""
    sizes = batch_sizes.host_array()
    time = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(n) for n in sizes]) if len(sizes) else np.zeros(0, int)
    lengths = (sizes[:, None] > np.arange(sizes[0])).sum(0)
    return time, place, lengths


def unpack(packed, padding_value=0.0, total_length=None):
    """A PackedSequence as (T, N, ...) in sorted order, and the lengths."""
    time, place, lengths = _steps(packed.batch_sizes)
    count = max(len(packed.batch_sizes), total_length or 0)
    where = np.full((count, len(lengths)), len(time))
    where[time, place] = np.arange(len(time))
    filler = md.full_like(packed.data[:1], padding_value)
    return md.cat([packed.data, filler])[from_numpy(where).to(packed.data.device)], lengths


def pack(padded, like):
    """(T, N, ...) in sorted order, with the lengths of another PackedSequence, as a PackedSequence."""
    time, place, _ = _steps(like.batch_sizes)
    return like._replace(data=padded[from_numpy(time).to(padded.device), from_numpy(place).to(padded.device)])


def mask_of(lengths, x):
    """(T, N, 1): 1 while a sequence goes on, 0 after its end."""
    mask = np.arange(x.shape[0])[:, None, None] < np.asarray(lengths)[None, :, None]
    return from_numpy(mask.astype(x.dtype)).to(x.device)


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Leave the padding out.

    Args:
        input: (T, N, ...), or (N, T, ...) with `batch_first`.
        lengths: (N,) how long each sequence is, 1 or more.
        enforce_sorted: the lengths must come in falling order; if False, they are sorted and put back later.

    Raises:
        ArgumentError: a length is not possible, or they are not sorted.
    """
    lengths = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths, dtype=np.int64)
    x = md.transpose(input, 0, 1) if batch_first else input
    if lengths.shape != (x.shape[1],) or (lengths < 1).any() or (lengths > x.shape[0]).any():
        raise ArgumentError(message("pack_padded_sequence: lengths must be one number an example, between 1 and T.",
                                    [("lengths", lengths.tolist()), ("input", input.shape)]))
    order = np.argsort(-lengths, kind="stable")
    if enforce_sorted and (order != np.arange(len(order))).any():
        raise ArgumentError(
            message(
                "pack_padded_sequence: the lengths are not in falling order.",
                [("lengths", lengths.tolist())],
                "enforce_sorted=False.",
            )
        )
    indices = (None, None) if enforce_sorted else (tensor(order), tensor(np.argsort(order)))
    sizes = (lengths[:, None] > np.arange(lengths.max())).sum(0)
    like = PackedSequence(input, tensor(sizes), *indices)
    return pack(x if enforce_sorted else md.index_select(x, 1, indices[0]), like)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """The reverse of `pack_padded_sequence`: the padded tensor and the lengths."""
    x, lengths = unpack(sequence, padding_value, total_length)
    if sequence.unsorted_indices is not None:
        x, lengths = md.index_select(x, 1, sequence.unsorted_indices), lengths[sequence.unsorted_indices.host_array()]
    return md.transpose(x, 0, 1) if batch_first else x, tensor(lengths.astype(np.int64))


def pad_sequence(sequences, batch_first=False, padding_value=0.0):
    """Sequences (T_k, ...) filled up to the longest and stacked: (T, N, ...)."""
    if len({s.shape[1:] for s in sequences}) != 1:
        raise ShapeError(
            message(
                "pad_sequence: only the lengths may differ.", [(f"[{k}]", s.shape) for k, s in enumerate(sequences)]
            )
        )
    longest = max(len(s) for s in sequences)
    filled = [
        md.cat([s, md.full_like(s[:1], padding_value).expand(longest - len(s), *s.shape[1:])])
        if len(s) < longest
        else s
        for s in sequences
    ]
    return md.stack(filled, 0 if batch_first else 1)
