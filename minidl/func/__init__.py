"""Functions of functions, under the names of `torch.func`; JAX has the same.

    transforms   grad, vjp, jvp, jacobian, hessian: all read the one graph that a call leaves behind
    batching     vmap: a function of one example becomes a function of a batch, without a loop
    trees        nested lists, tuples and dicts of tensors
"""
from .batching import vmap
from .transforms import functional_call, grad, grad_and_value, hessian, jacfwd, jacobian, jacrev, jvp, vjp
