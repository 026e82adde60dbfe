"""Inverse, solve and cholesky: that they are what they say, their errors; gradients are checked by the samples."""
import numpy as np
import pytest

import minidl as md
from minidl.autograd import check_gradients
from minidl.errors import ArgumentError, ShapeError


def matrices(*shape, seed=0):
    return md.tensor(np.random.default_rng(seed).standard_normal(shape))


def close(x, y):
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2, 2), (2, 1, 5, 5), (0, 3, 3), (0, 0)])
def test_an_inverse_undoes_its_matrix(shape):
    a = matrices(*shape)
    close(md.linalg.inv(a) @ a, md.eye(shape[-1], dtype=md.float64).expand(shape))
    assert md.inverse is md.linalg.inv


@pytest.mark.parametrize("a, b", [((3, 3), (3,)), ((3, 3), (3, 2)), ((4, 3, 3), (4, 3)), ((4, 3, 3), (4, 3, 2)),
                                  ((3, 3), (4, 3, 2))])
def test_a_solution_solves(a, b):
    A, B = matrices(*a), matrices(*b, seed=1)
    X = md.linalg.solve(A, B)
    assert X.shape == B.shape
    close(A @ X if B.ndim == 1 or B.shape != A.shape[:-1] else (A @ X.unsqueeze(-1)).squeeze(-1), B)


def test_cholesky_is_a_lower_triangle_whose_square_is_the_matrix():
    x = matrices(5, 4, 4)
    A = x @ x.mT + md.eye(4, dtype=md.float64)
    L = md.linalg.cholesky(A)
    close(L @ L.mT, A)
    close(L, L.tril())
    assert (md.diagonal(L, 0, -2, -1) > 0).all()


def test_the_logarithm_of_a_determinant_has_the_inverse_as_gradient():
    x = matrices(4, 4)
    A = (x @ x.mT + md.eye(4, dtype=md.float64)).requires_grad_()
    (2 * md.log(md.diagonal(md.linalg.cholesky(A)))).sum().backward()
    close(A.grad, md.linalg.inv(A.detach()))


def test_gradients_through_a_matrix_that_is_symmetric_by_making():
    x = matrices(3, 3).requires_grad_()
    check_gradients(lambda x: md.linalg.cholesky(x @ x.mT + 1), [x], second_order=True)


def test_whole_numbers_become_floats():
    assert md.linalg.inv(md.tensor([[2, 0], [0, 4]])).tolist() == [[0.5, 0], [0, 0.25]]


@pytest.mark.parametrize("call, error, words", [
    (lambda: md.linalg.inv(md.zeros(2, 2)), ArgumentError, "inverse: singular matrix.*\n.*\nTry: a \\+ 1e-6"),
    (lambda: md.linalg.solve(md.zeros(2, 2), md.ones(2)), ArgumentError, "solve: singular matrix"),
    (lambda: md.linalg.cholesky(md.tensor([[1.0, 2.0], [2.0, 1.0]])), ArgumentError, "positive definite(.|\n)*Try"),
    (lambda: md.linalg.inv(md.zeros(2, 3)), ShapeError, "square"),
    (lambda: md.linalg.solve(md.ones(3), md.ones(3)), ShapeError, "square"),
    (lambda: md.linalg.solve(md.eye(3), md.ones(2)), ShapeError, "same number of rows"),
    (lambda: md.linalg.solve(md.eye(3), md.tensor(2.0)), ShapeError, "vector or matrices"),
])
def test_errors_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()
