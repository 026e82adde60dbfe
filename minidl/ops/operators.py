"""Python's operators for array types of minidl's own: each runs the primitive of the same meaning."""
from ..primitive import registry

ARITHMETIC = dict(add="add", sub="sub", mul="mul", truediv="div", pow="pow", mod="remainder",
                  floordiv="floor_divide", matmul="matmul")
COMPARISONS = dict(eq="equal", ne="not_equal", lt="less", le="less_equal", gt="greater", ge="greater_equal")
TRUTHS = {"and": "logical_and", "or": "logical_or", "xor": "logical_xor"}
SINGLE = dict(neg="neg", abs="abs", invert="logical_not")


def give_operators(cls):
    """`x + y`, `x < y`, `-x` and so on for objects of this class. A class decorator."""
    for name, op in {**ARITHMETIC, **COMPARISONS, **TRUTHS}.items():
        setattr(cls, f"__{name}__", lambda x, y, op=registry[op]: op(x, y))
    for name, op in ARITHMETIC.items():
        setattr(cls, f"__r{name}__", lambda x, y, op=registry[op]: op(y, x))
    for name, op in SINGLE.items():
        setattr(cls, f"__{name}__", lambda x, op=registry[op]: op(x))
    return cls
