"""Strategies around another strategy: for adapters, and for quantized models."""

from __future__ import annotations

import logging
from typing import cast

import torch
from torch import Tensor, nn

from utils.training.arguments import require_instance, require_methods
from utils.training.engine.loss.inputs import LossError, LossInputs
from utils.training.engine.loss.terms import LossStrategy, LossTerms, loss_terms

logger = logging.getLogger(__name__)

_HALF_DTYPES = {torch.float16, torch.bfloat16}
_INTEGER_DTYPES = {torch.int8, torch.uint8}
_A_STRATEGY = "an object with compute_loss(inputs), such as LanguageModelingLoss()"


class PEFTAwareLoss:
    """A strategy for a model of which only adapters (LoRA and the like) are trained.

    The set-up is verified once, here: autograd itself keeps gradients out of frozen parameters.

    Args:
        base_strategy: computes the loss.
        model: the model with its adapters.

    Raises:
        LossError: a ValueError; no parameter is trainable.
        WrongTypeError: a TypeError; one is no strategy, or no model.
    """

    def __init__(self, base_strategy: LossStrategy, model: nn.Module) -> None:
        require_methods("base_strategy", base_strategy, ["compute_loss"], _A_STRATEGY)
        require_instance("model", model, nn.Module, "an nn.Module")
        self.base_strategy = base_strategy
        _verify_adapters(model)

    def compute_loss(self, inputs: LossInputs) -> Tensor:
        """Return the base strategy's mean loss."""
        return self.base_strategy.compute_loss(inputs)

    def compute_terms(self, inputs: LossInputs) -> LossTerms:
        """Return the base strategy's terms."""
        return loss_terms(self.base_strategy, inputs)


def _verify_adapters(model: nn.Module) -> None:
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    trainable = sum(size for size, is_trained in sizes if is_trained)
    total = sum(size for size, _ in sizes)
    if trainable == 0:
        raise LossError(
            f"None of the model's {total:,} parameters is trainable; set requires_grad on its "
            "adapters, or load it with is_trainable=True."
        )
    if trainable == total:
        logger.warning(
            "All %s parameters are trainable, so this trains the whole model and not an adapter; "
            "freeze the base model.",
            f"{total:,}",
        )


class QuantizationSafeLoss:
    """A strategy whose logits come from a quantized (4-bit, 8-bit) model.

    Logits in half precision become float32 before the loss; quantized ones are dequantized. Other
    inputs pass as they are, and the caller's inputs stay untouched.

    Args:
        base_strategy: computes the loss.

    Raises:
        WrongTypeError: a TypeError; it is no strategy.
    """

    def __init__(self, base_strategy: LossStrategy) -> None:
        require_methods("base_strategy", base_strategy, ["compute_loss"], _A_STRATEGY)
        self.base_strategy = base_strategy
        self._has_warned = False

    def compute_loss(self, inputs: LossInputs) -> Tensor:
        """Return the base strategy's mean loss over float32 logits."""
        return self.base_strategy.compute_loss(self._in_float32(inputs))

    def compute_terms(self, inputs: LossInputs) -> LossTerms:
        """Return the base strategy's terms over float32 logits."""
        return loss_terms(self.base_strategy, self._in_float32(inputs))

    def _in_float32(self, inputs: LossInputs) -> LossInputs:
        logits = inputs.get("logits")
        if logits is None or not is_lossy(logits):
            return inputs
        if logits.dtype not in _HALF_DTYPES:
            self._warn_of_integers(logits)
        converted = logits.dequantize() if logits.is_quantized else logits.float()
        return cast("LossInputs", {**inputs, "logits": converted})

    def _warn_of_integers(self, logits: Tensor) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "The logits are %s: no gradient flows through whole numbers, so this loss only "
                "measures; keep the model's head in floating point to train.",
                logits.dtype,
            )


def is_lossy(logits: Tensor) -> bool:
    """Whether the values are in half precision, whole numbers or a quantized type."""
    return logits.dtype in _HALF_DTYPES or logits.dtype in _INTEGER_DTYPES or logits.is_quantized
