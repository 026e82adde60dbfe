"""Linear algebra on batches of square matrices: inverse, solve, cholesky.

The rules are the matrix calculus of Giles, "An extended collection of matrix derivative results", 2008.
"""
import functools

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..primitive import primitive
from .elementwise import broadcast
from .index import tril
from .linear import matmul, swap


def refuse_singular(forward):
    """NumPy's LinAlgError in our words."""
    @functools.wraps(forward)
    def careful(xp, *arrays):
        try:
            return forward(xp, *arrays)
        except np.linalg.LinAlgError as error:
            raise ArgumentError(message(f"{forward.__name__}: {str(error).lower().rstrip('.')}.",
                                        [("a", arrays[0].shape)], REMEDY[forward.__name__])) from None
    return careful


REMEDY = {
    "inverse": "a + 1e-6 * md.eye(n), if it is nearly singular.",
    "solve": "a + 1e-6 * md.eye(n), if it is nearly singular.",
    "cholesky": "the matrix must be symmetric with positive eigenvalues, such as x @ x.T + 1e-6 * md.eye(n).",
}


def square(name, a):
    """Raise unless `a` is the shape of square matrices."""
    if len(a) < 2 or a[-1] != a[-2]:
        raise ShapeError(message(f"{name}: expected square matrices.", [("a", a, "... N N")]))


@primitive(symbol="A⁻¹", onnx="Inverse")
@refuse_singular
def inverse(xp, a):
    """The inverse of each matrix. (..., N, N) -> (..., N, N)."""
    return xp.linalg.inv(a)


@inverse.grad("a")
def _(g, out):                       # d(A^-1) = -A^-1 dA A^-1
    return -matmul(swap(out), matmul(g, swap(out)))


@inverse.shape
def _(a):
    square("inverse", a)
    return a


@primitive(symbol="A⁻¹B")
@refuse_singular
def solve(xp, a, b):
    """X with A X = B, without the inverse. (..., N, N), (..., N, K) -> (..., N, K)."""
    batch = broadcast("solve", a.shape[:-2], b.shape[:-2])       # CuPy does not broadcast here
    return xp.linalg.solve(*[xp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b)])


@solve.grad("a", "b")
def _(g, a, out):                    # db = A^-T g, dA = -db X^T
    db = solve(swap(a), g)
    return -matmul(db, swap(out)), db


@solve.shape
def _(a, b):
    square("solve", a)
    if len(b) < 2 or b[-2] != a[-1]:
        raise ShapeError(message("solve: A and B must have the same number of rows.",
                                 [("a", a, "... N N"), ("b", b, "... N K")]))
    return (*broadcast("solve", a[:-2], b[:-2]), *b[-2:])


@primitive(symbol="chol")
@refuse_singular
def cholesky(xp, a):
    """The lower triangular L with L L^T = A, for symmetric positive definite A. (..., N, N) -> (..., N, N).

    Of a matrix that is not quite symmetric, the mean of it and its transpose is taken.
    """
    return xp.linalg.cholesky((a + xp.swapaxes(a, -1, -2)) / 2)


@cholesky.grad("a")
def _(g, out):                       # A = L L^T: dA = L^-T phi(L^T g) L^-1, made symmetric
    upper = swap(out)
    half = matmul(upper, g)
    half = (tril(half) + tril(half, diagonal=-1)) * 0.5
    s = swap(solve(upper, swap(solve(upper, half))))
    return (s + swap(s)) * 0.5


@cholesky.shape
def _(a):
    square("cholesky", a)
    return a
