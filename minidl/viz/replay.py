"""The values and gradients in the middle of a tape, which nobody kept.

A tape holds its leaves and its constants, and ops are pure: so the values in between can be computed again, as long as
no leaf has been changed since. Gradients are computed again as well, and believed only if those of the leaves come
out as the learner's own backward pass left them.
"""
import math

import numpy as np

from ..autograd import enable_grad, propagate
from ..errors import MinidlError
from ..tensor import Node, Tensor, apply, source, wrap

NUMBERS, STEPS = 1_000_000, 1_000        # a picture is not worth more work than this


class Replay:
    """What came out of computing a tape again.

    Attributes:
        values: from Nodes to arrays; empty if it cannot be done.
        gradients: from Nodes and leaves to arrays; empty unless they were asked for.
    """

    def __init__(self, nodes):
        self.values, self.gradients, self._tensors, self._leaves = {}, {}, {}, {}
        if not _affordable(nodes) or any(changed(x, node) for node in nodes for x in node.inputs):
            return
        try:
            with enable_grad(), np.errstate(all="ignore"):
                for node in nodes:
                    self._tensors[node] = apply(node.op, [self._again(x) for x in node.inputs], node.meta)
        except (MinidlError, NotImplementedError):     # a whole compiled program, a checkpoint
            self._tensors = {}
        self.values = {node: x.array for node, x in self._tensors.items()}

    def _again(self, x):
        x = source(x)
        if isinstance(x, Node):
            return self._tensors[x]
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self._leaves:
            copy = wrap(x.array)
            copy.requires_grad = x.requires_grad
            self._leaves[id(x)] = x, copy
        return self._leaves[id(x)][1]

    def differentiate(self, root):
        """Fill `gradients` with those of a single number with respect to all that it was made from.

        Hooks are not run: they may do anything, such as print.
        """
        if root not in self._tensors or math.prod(root.shape) != 1:
            return
        wanted = {x.node: node for node, x in self._tensors.items() if x.node is not None}
        out = self._tensors[root]
        try:
            ends, middle = propagate([(out.node, np.ones(root.shape, root.dtype))], wanted, release=False)
        except (MinidlError, NotImplementedError):
            return
        self.gradients = {wanted[node]: g for node, g in middle.items()}
        self.gradients |= {id(x): ends[copy] for x, copy in self._leaves.values() if copy in ends}


def _affordable(nodes):
    return len(nodes) <= STEPS and sum(math.prod(node.shape) for node in nodes) <= NUMBERS


def changed(x, node):
    """Whether an input of a Node was changed in place after it was used."""
    memory = getattr(x, "_memory", None)
    return memory is not None and memory.written > node.serial
