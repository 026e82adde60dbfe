"""Matrix products."""
from ..errors import ShapeError, message
from ..primitive import primitive
from .elementwise import broadcast
from .shape import permute


@primitive(symbol="@", onnx="MatMul", ufunc="matmul")
def matmul(xp, x, y):
    """Matrix product of the last two axes; the axes before them are a batch and broadcast.

    x: (..., M, K), y: (..., K, N) -> (..., M, N).
    """
    return xp.matmul(x, y)


@matmul.grad("x")
def _(g, y):
    return matmul(g, swap(y))


@matmul.grad("y")
def _(g, x):  # swapped twice, so that the gradient of a transposed weight lies in memory as the weight does
    return swap(matmul(swap(g), x))


@matmul.shape
def _(x, y):
    if len(x) < 2 or len(y) < 2 or x[-1] != y[-2]:
        raise ShapeError(
            message(
                "matmul: the columns of the first must match the rows of the second.",
                [("x", x, "... M K"), ("y", y, "... K N")],
                "transpose one of them, or check in_features.",
            )
        )
    return (*broadcast("matmul", x[:-2], y[:-2]), x[-2], y[-1])


def swap(x):
    """x with its last two axes exchanged."""
    n = len(x.shape)
    return permute(x, dims=(*range(n - 2), n - 1, n - 2))


@primitive(symbol="xWᵀ+b", onnx="Gemm")
def affine(xp, x, w, b=None):
    """x W^T + b, what a dense layer computes for each row. x: (N, I), w: (O, I), b: (O,) -> (N, O).

    Where there are no more rows than outputs, it is computed as (W x^T)^T: the batch then lies last in memory, as
    convolutions leave it, and what follows (a bias, a sum over classes) runs over long stretches of memory.
    """
    out = rows_times(xp.matmul, x, w)
    return out if b is None else out + b


def rows_times(product, x, w):
    """x W^T by a function that multiplies matrices."""
    return product(w, x.T).T if len(x) <= len(w) or x.flags.f_contiguous else product(x, w.T)


@affine.grad("x")
def _(g, w):                         # swapped twice: the batch last in memory, as above
    return swap(matmul(swap(w), swap(g)))


@affine.grad("w", fresh=True)
def _(g, x):
    return matmul(swap(g), x)


@affine.grad("b")
def _(g):                            # the engine sums over the rows
    return g


@affine.shape
def _(x, w, b=None):
    if len(x) != 2 or len(w) != 2 or x[1] != w[1]:
        raise ShapeError(
            message(
                "affine: the columns of the input must match those of the weight.",
                [("x", x, "N I"), ("w", w, "O I")],
                "transpose the weight, or check in_features.",
            )
        )
    if b is not None and b != (w[0],):
        raise ShapeError(message("affine: there must be one bias for each output.", [("w", w, "O I"), ("b", b)]))
    return x[0], w[0]
