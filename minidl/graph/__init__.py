"""Graphs that are written down before they run: TensorFlow's way, on PyTorch's ops.

    symbols   numbers that are not there yet: to the library, one more device
    ir        Graph: Nodes in order, what goes in, what comes out, what changes
    memory    tensors that look at the same memory
    surroundings  Python values around a function that its graph relies on
    trace     Tracer: while it is at work, ops are recorded instead of run
    passes    graphs into better graphs with the same values
    plan      which memory each step writes to
    codegen   graphs into straight-line Python
    compile   record a function at its first call, run the program from then on
    session   placeholder, Variable, Session: define, then run
    control   cond, while_loop: branches and loops as Nodes
    store     graphs in files
"""
from . import codegen, control, ir, passes, plan, session, store, symbols, trace
from .compile import Compiled, compile
from .control import cond, while_loop
from .ir import Graph, evaluate
from .session import (
    Builder,
    Operation,
    Session,
    Variable,
    assign,
    assign_add,
    global_variables_initializer,
    gradients,
    group,
    minimize,
    placeholder,
)
from .store import Saved, load, save
