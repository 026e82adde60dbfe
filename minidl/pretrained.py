"""Networks that come with the package together with their weights.

    reader8x8()      the small reader of digits with random weights
    published()      the same, as it was published: trained on digits of MNIST, made 8 pixels high
    prepared(x)      shades from 0 to 1 as it wants them

Exercise 11.4 hands it out, and `widgets.FreezeThaw` shows it. tools/train_reader8x8.py trained it.
"""
import os

import numpy as np

from . import nn
from .safetensors import load_file
from .tensor import Tensor

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "reader8x8.safetensors")


def reader8x8():
    """The reader with random weights. x: N 1 8 8 -> N 10"""
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10))


def published():
    """The reader with its published weights.

    Raises:
        FileNotFoundError, CheckpointError: the file in the package is missing or damaged.
    """
    model = reader8x8()
    model.load_state_dict(load_file(FILE))
    return model


def prepared(shades):
    """Shades from 0 to 1, (N, 8, 8), as the published reader wants them: N 1 8 8, float32."""
    return Tensor(((np.asarray(shades) - 0.35) * 2.5).astype(np.float32)[:, None])
