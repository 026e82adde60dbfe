"""Neural networks: functions, the modules that hold their parameters, and first values for these.

    functional   the vocabulary, as functions
    module       Module, Sequential and friends: parameters found by attribute
    layers       Linear, Conv2d, BatchNorm2d, ..., and the losses
    recurrent    RNN, LSTM, GRU and their cells
    sequences    batches of sequences of different lengths, padded and packed
    init         first values
    utils        gradient clipping
"""
from . import functional, init, sequences, utils
from .layers import (  # noqa: F401
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    BCELoss,
    BCEWithLogitsLoss,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    L1Loss,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    MSELoss,
    NLLLoss,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .module import Module, ModuleDict, ModuleList, Parameter, Sequential  # noqa: F401
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
