"""Losses: how wrong a model is, as one number. Modules that keep the settings of a function.

Settings come in PyTorch's order, without its deprecated `size_average` and `reduce`. `reduction` is "mean", "sum"
or "none", for all of them.
"""
from . import functional as F
from .settings import FunctionModule


class _Loss(FunctionModule):
    """A loss with the settings that its function takes; PyTorch prints none of them."""


# ---------------------------------------------------------------------- classes
class CrossEntropyLoss(_Loss):
    """Softmax and minus the log probability of the right class. (N, C), (N,) -> ()."""

    function = staticmethod(F.cross_entropy)
    defaults = dict(weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0)


class NLLLoss(_Loss):
    """Minus the log probability of the right class, for log probabilities. (N, C), (N,) -> ()."""

    function = staticmethod(F.nll_loss)
    defaults = dict(weight=None, ignore_index=-100, reduction="mean")


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities."""

    function = staticmethod(F.binary_cross_entropy)
    defaults = dict(weight=None, reduction="mean")


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of sigmoid(input), without overflow."""

    function = staticmethod(F.binary_cross_entropy_with_logits)
    defaults = dict(weight=None, reduction="mean", pos_weight=None)


class CTCLoss(_Loss):
    """Minus the log probability of a label sequence over all its alignments. (T, N, C), (N, S), (N,), (N,) -> ()."""

    function = staticmethod(F.ctc_loss)
    defaults = dict(blank=0, reduction="mean", zero_infinity=False)


# ---------------------------------------------------------------------- numbers
class MSELoss(_Loss):
    """The mean squared error."""

    function = staticmethod(F.mse_loss)
    defaults = dict(reduction="mean")


class L1Loss(_Loss):
    """The mean absolute error."""

    function = staticmethod(F.l1_loss)
    defaults = dict(reduction="mean")


class SmoothL1Loss(_Loss):
    """Squared where the error is below beta, absolute beyond."""

    function = staticmethod(F.smooth_l1_loss)
    defaults = dict(reduction="mean", beta=1.0)


class HuberLoss(_Loss):
    """Squared where the error is below delta, with straight lines of the same slope beyond."""

    function = staticmethod(F.huber_loss)
    defaults = dict(reduction="mean", delta=1.0)


class PoissonNLLLoss(_Loss):
    """Minus the log probability of counts under a Poisson distribution."""

    function = staticmethod(F.poisson_nll_loss)
    defaults = dict(log_input=True, full=False, eps=1e-8, reduction="mean")


class GaussianNLLLoss(_Loss):
    """Minus the log probability under normal distributions. Called with (input, target, var)."""

    function = staticmethod(F.gaussian_nll_loss)
    defaults = dict(full=False, eps=1e-6, reduction="mean")


class KLDivLoss(_Loss):
    """target * (log target - input), for log probabilities `input`; "batchmean" divides by the batch size."""

    function = staticmethod(F.kl_div)
    defaults = dict(reduction="mean", log_target=False)


# ---------------------------------------------------------------------- likeness and margins
class CosineEmbeddingLoss(_Loss):
    """1 - cos where y is 1, max(0, cos - margin) where it is -1. Called with (input1, input2, y)."""

    function = staticmethod(F.cosine_embedding_loss)
    defaults = dict(margin=0.0, reduction="mean")


class MarginRankingLoss(_Loss):
    """max(0, -y (x1 - x2) + margin). Called with (x1, x2, y)."""

    function = staticmethod(F.margin_ranking_loss)
    defaults = dict(margin=0.0, reduction="mean")


class HingeEmbeddingLoss(_Loss):
    """x where y is 1, max(0, margin - x) where it is -1."""

    function = staticmethod(F.hinge_embedding_loss)
    defaults = dict(margin=1.0, reduction="mean")


class SoftMarginLoss(_Loss):
    """log(1 + exp(-y x))."""

    function = staticmethod(F.soft_margin_loss)
    defaults = dict(reduction="mean")


class TripletMarginLoss(_Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d being the p-norm of the difference."""

    function = staticmethod(F.triplet_margin_loss)
    defaults = dict(margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean")
