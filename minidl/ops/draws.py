"""Random draws as ops, so that a recorded graph knows that they are random and never folds two into one."""
from ..primitive import primitive


@primitive(symbol="U(0,1)", onnx="RandomUniform", dtype="setting", differentiable=False)
def uniform(xp, *, shape, dtype, generator, device="cpu"):
    """Numbers drawn evenly from [0, 1) by `generator`."""
    return generator.random(shape, dtype=dtype, device=device)


@primitive(symbol="N(0,1)", onnx="RandomNormal", dtype="setting", differentiable=False)
def normal(xp, *, shape, dtype, generator, device="cpu"):
    """Numbers drawn from the standard normal distribution by `generator`."""
    return generator.normal(shape, dtype=dtype, device=device)


for _op in (uniform, normal):
    _op.shape(lambda *, shape, **_: shape)
