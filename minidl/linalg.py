"""Linear algebra under PyTorch's names: `md.linalg.inv`, `solve`, `cholesky`. Axes before the last two are a batch."""
from . import ops
from .errors import ShapeError, message
from .functions import floating, matched, squeeze, unsqueeze
from .ops.linalg import square
from .tensor import apply

__all__ = ["inv", "solve", "cholesky"]


def inv(A):
    """The inverse of square matrices. (..., N, N) -> (..., N, N).

    Raises:
        ArgumentError: a matrix is singular.

    >>> import minidl as md
    >>> md.linalg.inv(md.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    square("inv", A.shape)
    return apply(ops.inverse, (floating(A),))


def solve(A, B):
    """X with A X = B: quicker and more exact than `inv(A) @ B`. (..., N, N), (..., N, K) or (N,) -> the shape of B.

    Raises:
        ArgumentError: a matrix is singular.

    >>> import minidl as md
    >>> md.linalg.solve(md.tensor([[2.0, 0.0], [0.0, 4.0]]), md.tensor([2.0, 2.0]))
    tensor([1. , 0.5])
    """
    square("solve", A.shape)
    if not B.ndim:
        raise ShapeError(message("solve: B must be a vector or matrices.", [("A", A.shape), ("B", B.shape)]))
    A, B = matched(floating(A), floating(B))
    vector = B.ndim == 1 or B.shape == A.shape[:-1]
    X = apply(ops.solve, (A, unsqueeze(B, -1) if vector else B))
    return squeeze(X, -1) if vector else X


def cholesky(A):
    """The lower triangular L with L L^T = A, for symmetric positive definite matrices. (..., N, N) -> (..., N, N).

    Raises:
        ArgumentError: a matrix has an eigenvalue that is not positive.

    >>> import minidl as md
    >>> md.linalg.cholesky(md.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    square("cholesky", A.shape)
    return apply(ops.cholesky, (floating(A),))
