"""Neural networks: functions, the modules that hold their parameters, and first values for these.

    functional     the vocabulary, as functions
    module         Module, Sequential and friends: parameters found by attribute
    layers         Linear, Conv2d, Embedding, Dropout, Flatten, Upsample, ...
    normalization  BatchNorm2d, LayerNorm, GroupNorm, ...
    pooling        MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, ...
    activations    ReLU, GELU, Softmax, ...
    losses         CrossEntropyLoss, MSELoss, CTCLoss, ...
    settings       what layers do with their settings: check, keep, show
    recurrent      RNN, LSTM, GRU and their cells
    attention      MultiheadAttention and the layers of the Transformer
    sequences      batches of sequences of different lengths, padded and packed
    init           first values
    utils          gradient clipping
"""
from . import functional, init, sequences, utils
from .activations import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softsign,
    Tanh,
)
from .attention import (
    MultiheadAttention,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from .layers import (
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    Dropout,
    Dropout1d,
    Dropout2d,
    Embedding,
    Flatten,
    Identity,
    Linear,
    PixelShuffle,
    ReflectionPad2d,
    ReplicationPad2d,
    Unflatten,
    Upsample,
    ZeroPad2d,
)
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    CrossEntropyLoss,
    CTCLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MarginRankingLoss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    SmoothL1Loss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from .module import Module, ModuleDict, ModuleList, Parameter, Sequential  # noqa: F401
from .normalization import (
    BatchNorm1d,
    BatchNorm2d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    LayerNorm,
    RMSNorm,
)
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
