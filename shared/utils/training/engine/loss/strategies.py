"""The built-in losses: next token, classes, images. All are cross-entropy, aligned differently."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as PyTorch's own documentation writes it

from utils.training.engine.loss.inputs import (
    IGNORED,
    LossInputs,
    attention_mask_for,
    class_weights_for,
    logits_and_labels,
    mismatch,
    padding_id_for,
)
from utils.training.engine.loss.terms import LossTerms, cross_entropy, mean_of

_DEFAULT_PAD_TOKEN_ID = 0


class _CrossEntropyLoss:
    """Mean cross-entropy once :meth:`_align` has paired each prediction with its target."""

    def compute_loss(self, inputs: LossInputs) -> Tensor:
        """Return the mean loss over what counts, a scalar; 0 with a graph where nothing does.

        Raises:
            LossError: a ValueError; missing inputs, or shapes that don't fit.
        """
        logits, targets = self._align(inputs)
        return mean_of(*cross_entropy(logits, targets, class_weights_for(inputs, logits)))

    def compute_terms(self, inputs: LossInputs) -> LossTerms:
        """Return the same as a sum, with its denominator and what accuracy is counted from.

        Raises:
            LossError: a ValueError; missing inputs, or shapes that don't fit.
        """
        logits, targets = self._align(inputs)
        weights = class_weights_for(inputs, logits)
        total, num_items = cross_entropy(logits, targets, weights)
        return LossTerms(total, num_items, logits.detach(), targets)

    def _align(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Return logits and targets, classes in dimension 1, -100 where nothing counts."""
        raise NotImplementedError


class LanguageModelingLoss(_CrossEntropyLoss):
    """Predict each next token: logits [batch, seq, vocab] at t against labels [batch, seq] at t+1.

    A label of -100 never counts. With an ``attention_mask`` the mask says what is padding; without
    one, ``pad_token_id`` does (0 when left out, None for no such id).
    """

    def _align(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        logits, labels = logits_and_labels(inputs)
        if logits.ndim != 3 or logits.shape[:2] != labels.shape:  # noqa: PLR2004 - [batch, seq, vocab]
            raise mismatch("labels", labels.shape, "logits [batch, seq, vocab]", logits.shape)
        # The labels move, not the logits: shifted logits would be a copy of the largest tensor.
        targets = F.pad(_without_padding(labels, inputs)[:, 1:], (0, 1), value=IGNORED)
        return logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)


def _without_padding(labels: Tensor, inputs: LossInputs) -> Tensor:
    mask = attention_mask_for(inputs, labels.shape)
    if mask is not None:
        return labels.masked_fill(mask == 0, IGNORED)
    pad_token_id = padding_id_for(inputs, _DEFAULT_PAD_TOKEN_ID)
    return labels if pad_token_id is None else labels.masked_fill(labels == pad_token_id, IGNORED)


class ClassificationLoss(_CrossEntropyLoss):
    """Classify samples, whole sequences or single tokens.

    [batch, classes] meets labels [batch]. [batch, seq, classes] with labels [batch] is judged by
    each row's last token that isn't padding (the last one where there is no ``attention_mask``);
    with labels [batch, seq] every token is, but for padding. ``class_weights`` [classes] weigh the
    mean.
    """

    def _align(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        logits, labels = logits_and_labels(inputs)
        if logits.ndim == 2 and logits.shape[:1] == labels.shape:  # noqa: PLR2004 - [batch, classes]
            return logits, labels
        if logits.ndim == 3:  # noqa: PLR2004 - [batch, seq, classes]
            mask = attention_mask_for(inputs, logits.shape[:2])
            if logits.shape[:1] == labels.shape:
                return _at_last_token(logits, mask), labels
            if logits.shape[:2] == labels.shape:
                targets = labels if mask is None else labels.masked_fill(mask == 0, IGNORED)
                return logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
        wanted = "logits [batch, classes] or [batch, seq, classes]"
        raise mismatch("labels", labels.shape, wanted, logits.shape)


def _at_last_token(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Pick the logits [batch, classes] of each row's last token that isn't padding."""
    if mask is None:
        return logits[:, -1]
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask == 0, 0, positions).amax(1)
    return logits[torch.arange(len(logits), device=logits.device), last]


class VisionLoss(_CrossEntropyLoss):
    """Classify images or their pixels.

    [batch, classes] meets labels [batch]; [batch, classes, height, width] a label for each pixel,
    [batch, height, width]. A label of -100 never counts.
    """

    def _align(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        logits, labels = logits_and_labels(inputs)
        fits = logits.ndim in {2, 4} and logits.shape[:1] + logits.shape[2:] == labels.shape
        if not fits:
            wanted = "logits [batch, classes] or [batch, classes, height, width]"
            raise mismatch("labels", labels.shape, wanted, logits.shape)
        return logits, labels
