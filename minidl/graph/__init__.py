"""Graphs that are written down before they run: TensorFlow's way, on PyTorch's ops."""
from . import codegen, ir, passes, plan, symbols, trace
from .compile import Compiled, compile
from .ir import Graph, evaluate
