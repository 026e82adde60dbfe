"""Optimisers, and the schedules of their learning rates.

    optimizers      SGD, Adagrad, RMSprop, Adam, AdamW: each update is its formula
    lr_scheduler    StepLR, CosineAnnealingLR, OneCycleLR, ...: the rate as a function of the step
"""
from . import lr_scheduler
from .optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
