"""Interactive pictures: what ran is recorded in Python and played in the page.

    Trace                a run, frame by frame; it cannot be changed
    Widget               what all of them have in common; docs/widgets.md says how one is made
    split_screen         one function as it runs and as it is written down; where the two part, and why
    view_passes          what each pass does to a graph; the same numbers checked, what was gained
    explore_strides      how an expression reads memory: shape, strides, offset; view or copy, and why
    play, BackpropPlayer forward, loss, backward and update, step by step in both directions
    DigitPad             draw a digit; every layer of your network lit
    ExpressionLab        type an expression, move its numbers, see the gradient beside a finite difference
    ConvolutionExplorer  which pixel meets which weight, what is never read, and the way back
    GateConsole          the gates of your own LSTM or GRU, with a hand on them, and the gradient through time
    GradientThroughTime  how much of a gradient is left at each step back, while the spectral radius slides
    SignalThroughDepth   histograms of signal and gradient in every layer, while depth, width and init slide
    LossLab              scores to drag: loss and slopes, the plain formula beside the mended one, where exp overflows
    Calibration          how sure a network is against how often it is right, while the temperature slides
    FreezeThaw           layers frozen and thawed: memory, tape, the way back, and which of them move
    TrainingDashboard    curves, histograms and a health line, from two lines in any loop

Every widget can be used without a browser: `widget.forward()` takes a step, `widget.describe()` says in words what
is to be seen, `widget.svg()` draws it. The live version needs anywidget (`pip install "minidl[lab]"`), which is
imported when the first widget is asked for; without it the picture stands still. A Trace needs nothing.
"""
import importlib

HOME = {                              # public name -> the file of minidl/widgets that it lives in
    "Trace": "trace",
    "Frame": "trace",
    "Widget": "widget",
    "BackpropPlayer": "backprop",
    "play": "backprop",
    "PassViewer": "pass_viewer",
    "view_passes": "pass_viewer",
    "SplitScreen": "split",
    "split_screen": "split",
    "StrideExplorer": "strides",
    "explore_strides": "strides",
    "DigitPad": "digitpad",
    "ExpressionLab": "expression_lab",
    "OptimiserRace": "race",
    "ConvolutionExplorer": "convolution",
    "GateConsole": "gates",
    "GradientThroughTime": "through_time",
    "SignalThroughDepth": "through_depth",
    "Playground": "playground",
    "FreezeThaw": "thaw",
    "TrainingDashboard": "dashboard",
    "LossLab": "losses",
    "Calibration": "calibration",
}

__all__ = list(HOME)


def __getattr__(name):
    if name not in HOME:
        raise AttributeError(f"minidl.widgets has no {name!r}; the names are: {', '.join(sorted(HOME))}")
    return getattr(importlib.import_module(f".{HOME[name]}", __name__), name)


def __dir__():
    return sorted(HOME)
