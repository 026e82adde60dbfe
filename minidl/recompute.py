"""Gradient checkpointing: memory for time (Chen et al., "Training deep nets with sublinear memory cost", 2016).

Backward needs the values that forward made, so they are all kept, and for a deep network that is most of its memory.
`checkpoint` keeps none of those that a function makes. Its whole call becomes one Node; when backward comes to it, the
function runs again, and backward goes through the fresh graph.
"""
from . import random
from .autograd import ancestors, enable_grad, propagate
from .errors import ArgumentError, InplaceError, message
from .primitive import Primitive
from .tensor import Node, Tensor, clock, noted, source, wrap


class _Rerun:
    """What a Node keeps in place of a plan: how to get its gradients."""

    kept, keep_out, pulls = (), False, ()

    def __init__(self, call, count):
        self.joint_pulls = [(range(count), call)]


def checkpoint(function, *args, **kwargs):
    """`function(*args, **kwargs)`, without keeping the values in between: backward computes them anew.

    The random numbers of the default generator are the same the second time, so dropout may be inside; a layer that
    counts its calls (the running statistics of a batch norm) counts twice.

    Args:
        function: returns one tensor; a module, for example.

    Raises:
        ArgumentError: it returns something else.

    >>> import minidl as md
    >>> block = md.nn.Sequential(md.nn.Linear(2, 64), md.nn.Tanh(), md.nn.Linear(64, 1))
    >>> checkpoint(block, md.ones(5, 2)).sum().backward()
    >>> block[0].weight.grad.shape
    (64, 2)
    """
    start, before = next(clock), random.get_rng_state()
    out = function(*args, **kwargs)
    if not isinstance(out, Tensor):
        raise ArgumentError(message(f"checkpoint: the function must return one tensor, got {type(out).__name__}.",
                                    try_="md.cat or md.stack the parts, and cut them again outside."))
    if out.node is None or out.node.serial < start:
        return out                                    # nothing was recorded
    borders = _borders(out, start)

    def again(g, node, lift):
        _check_unchanged([*borders, *args, *kwargs.values()], node)
        begin = next(clock)
        with enable_grad(), _as_before(before):
            fresh = function(*args, **kwargs)
        grads, _ = propagate([(source(fresh), g)], lift=lift, release=lift is None, since=begin)
        return tuple(grads.get(border) for border in borders)
    node = noted(RUN_AGAIN, borders, {}, _Rerun(again, len(borders)), out)
    return wrap(out.array, node)


def _borders(out, start):
    """Where the graph that was recorded since `start` touches what was there before: Nodes and leaves."""
    touched = {}
    for node in ancestors([out.node], start):
        for x in node.parents():
            if (isinstance(x, Node) and x.serial < start) or (isinstance(x, Tensor) and x.requires_grad):
                touched[id(x)] = x
    return list(touched.values())


def _check_unchanged(values, node):
    """Raise if something that the function started from has been overwritten since."""
    for x in values:
        memory = x.memory if isinstance(x, Node) else getattr(x, "_memory", None)
        if memory is not None and memory.written > node.serial:
            raise InplaceError(message(
                "backward: an input of a checkpointed function was changed in place before it could run again.",
                [("input", x.shape), ("changed by", memory.by)], "make the change on a copy, or after backward."))


def run_again(xp, *inputs):
    """A checkpointed function: backward runs it again."""
    raise NotImplementedError("stands in the graph for a whole function; it never runs itself")


RUN_AGAIN = Primitive(run_again, symbol="↻")


class _as_before:
    """Inside the block the default generator stands where it stood before; afterwards, where it stands now."""

    def __init__(self, state):
        self.state = state

    def __enter__(self):
        self.now = random.get_rng_state()
        random.set_rng_state(self.state)

    def __exit__(self, *_):
        random.set_rng_state(self.now)
