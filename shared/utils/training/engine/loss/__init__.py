"""Losses by task: strategies, wrappers around them, and the registry that names them."""

from utils.training.engine.loss.inputs import LossError, LossInputs
from utils.training.engine.loss.registry import LossStrategyRegistry, get_loss_strategy
from utils.training.engine.loss.strategies import (
    ClassificationLoss,
    LanguageModelingLoss,
    VisionLoss,
)
from utils.training.engine.loss.terms import LossStrategy, LossTerms, loss_terms
from utils.training.engine.loss.wrappers import PEFTAwareLoss, QuantizationSafeLoss

__all__ = [
    "ClassificationLoss",
    "LanguageModelingLoss",
    "LossError",
    "LossInputs",
    "LossStrategy",
    "LossStrategyRegistry",
    "LossTerms",
    "PEFTAwareLoss",
    "QuantizationSafeLoss",
    "VisionLoss",
    "get_loss_strategy",
    "loss_terms",
]
