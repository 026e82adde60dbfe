"""Nested lists, tuples and dicts of tensors, taken apart and put together again."""
from ..errors import ArgumentError, message
from ..tensor import Tensor


def leaves(tree):
    """The tensors in a tree, in order.

    >>> leaves({"a": 1, "b": [2, (3,)]})
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]


def rebuilt(tree, values):
    """A tree of the same form with other leaves, taken one by one from `values`.

    >>> rebuilt({"a": 1, "b": [2, (3,)]}, [10, 20, 30])
    {'a': 10, 'b': [20, (30,)]}
    """
    values = iter(values)

    def build(part):
        if isinstance(part, dict):
            return {key: build(value) for key, value in part.items()}
        if isinstance(part, (list, tuple)):
            parts = [build(value) for value in part]
            return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)
        return next(values)
    return build(tree)


def mapped(function, tree):
    """A tree of the same form with `function` applied to each leaf."""
    return rebuilt(tree, [function(leaf) for leaf in leaves(tree)])


def spread_over(setting, tree, name):
    """One setting for each leaf of `tree`, from a tree that may stop earlier: what it says there holds for all below.

    >>> spread_over((0, None), ([1, 2], 3), "in_dims")
    [0, 0, None]
    """
    if isinstance(setting, dict) and isinstance(tree, dict) and setting.keys() == tree.keys():
        return [s for key in tree for s in spread_over(setting[key], tree[key], name)]
    if isinstance(setting, (list, tuple)) and isinstance(tree, (list, tuple)) and len(setting) == len(tree):
        return [s for part, below in zip(setting, tree) for s in spread_over(part, below, name)]
    if setting is None or isinstance(setting, int):
        return [setting] * len(leaves(tree))
    raise ArgumentError(message(f"{name}: the setting does not have the form of the arguments.",
                                [(name, setting), ("arguments", _form(tree))]))


def _form(tree):
    return mapped(lambda leaf: "tensor" if isinstance(leaf, Tensor) else type(leaf).__name__, tree)
