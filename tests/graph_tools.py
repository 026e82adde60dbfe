"""What the tests of minidl.graph share: a function recorded, run in every way there is, and compared with eager."""
import numpy as np

import minidl as md
from minidl.autograd import grad
from minidl.graph import evaluate, gradients, passes
from minidl.graph.codegen import Program
from minidl.graph.symbols import VARIABLE
from minidl.graph.trace import Tracer
from minidl.tensor import wrap

TOLERANCE = {np.dtype("float64"): 1e-12, np.dtype("float32"): 1e-6, np.dtype("float16"): 1e-3}


def same(found, expected, what=""):
    """Equal shapes and dtypes, and values up to rounding, relative to the largest number."""
    found, expected = (x.detach().numpy() if isinstance(x, md.Tensor) else np.asarray(x) for x in (found, expected))
    assert found.shape == expected.shape, f"{what}: {found.shape} is not {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: {found.dtype} is not {expected.dtype}"
    limit = TOLERANCE.get(expected.dtype, 0)
    finite = expected[np.isfinite(expected)] if expected.dtype.kind == "f" else expected
    size = float(np.abs(finite).max(initial=1.0)) if expected.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, expected, rtol=limit, atol=limit * size, err_msg=str(what))


def all_same(found, expected, what=""):
    """The same for lists."""
    assert len(found) == len(expected), f"{what}: {len(found)} values, not {len(expected)}"
    for k, (a, b) in enumerate(zip(found, expected)):
        same(a, b, f"{what} {k}")


def with_gradients(function, tensors, grad=grad):
    """The outputs of a function, and the gradients of their weighted sum for the tensors that require one."""
    outs = function(*tensors)
    outs = list(outs) if isinstance(outs, (list, tuple)) else [outs]
    wanted = [x for x in tensors if isinstance(x, md.Tensor) and x.requires_grad]
    sources = [y for y in outs if y.requires_grad]
    if not wanted or not sources:
        return outs
    rng = np.random.default_rng(1)
    weights = [md.Tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in sources]
    settings = {} if grad is gradients else dict(retain_graph=True, allow_unused=True)
    found = grad(sources, wanted, weights, **settings)
    return outs + [g for g in found if g is not None]


def tensors_of(arrays, wanted=None):
    """Arrays as tensors, of which those in `wanted` (all floats, if None) require a gradient; numbers as they are."""
    out = [md.Tensor(a.copy()) if isinstance(a, np.ndarray) else a for a in arrays]
    for k, x in enumerate(out):
        if isinstance(x, md.Tensor) and x.dtype.kind == "f" and (wanted is None or k in wanted):
            x.requires_grad_()
    return out


def recorded(function, tensors):
    """The Graph of a function's outputs and gradients, with an input for each tensor."""
    tracer = Tracer()
    with tracer.at_work():
        fresh = []
        for k, x in enumerate(tensors):
            if isinstance(x, md.Tensor):
                new = wrap(tracer.placeholder(x.shape, x.dtype, f"x{k}"))
                new.requires_grad = x.requires_grad
                x = new
            fresh.append(x)
        outs = with_gradients(function, fresh)
    return tracer.graph([y.array for y in outs]).check()


def values_of(graph, tensors):
    """What the sources of a graph stand for."""
    arrays = [x.array for x in tensors if isinstance(x, md.Tensor)]
    values = dict(zip(graph.inputs, arrays, strict=True))
    values.update({n: n.meta["tensor"].array for n in graph.variables if n.op is VARIABLE})
    return values


def run_program(program, values):
    """The outputs of a Program."""
    graph = program.graph
    found = program.run(*[values[n] for n in [*graph.inputs, *graph.variables, *graph.scalars]])
    return [np.asarray(y) for y in found[:len(graph.outputs)]]


def every_way(graph, values):
    """(name, outputs) for a graph as it is, after each pass, after all, and as a program, twice."""
    yield "recorded", lambda: evaluate(graph, values)[0]
    for change in passes.PASSES:
        yield change.__name__, lambda change=change: evaluate(change(graph).check(), values)[0]
    full = passes.optimise(graph)
    yield "all passes", lambda: evaluate(full, values)[0]
    for about, graph_ in (("program", full), ("program without passes", graph)):
        program = Program(graph_)
        yield about, lambda program=program: run_program(program, values)
        yield f"{about}, again", lambda program=program: run_program(program, values)


