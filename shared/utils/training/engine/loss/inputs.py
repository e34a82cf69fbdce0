"""What a loss is computed from, and the checks that all strategies share."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Literal, TypedDict

import torch
from torch import Tensor

from utils.training.arguments import described, require_instance
from utils.training.errors import TrainingError, UnknownNameError

IGNORED = -100  # the label that never counts, as everywhere in PyTorch

_INTEGER_DTYPES = {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}


class LossError(TrainingError, ValueError):
    """Inputs, a model or a registration that a loss can't work with."""


class LossInputs(TypedDict, total=False):
    """The values a strategy may use; ``logits`` and ``labels`` are always needed.

    Attributes:
        logits: [batch, classes], [batch, seq, classes] or [batch, classes, height, width].
        labels: whole numbers, [batch], [batch, seq] or [batch, height, width]; -100 never counts.
        attention_mask: [batch, seq], 0 where there is padding.
        pad_token_id: the id that means padding where there is no mask; 0 when left out, and None
            when no id does.
        pixel_values: [batch, channels, height, width], for strategies that compare with the image.
        class_weights: [classes], the weight of each class in the mean.
    """

    logits: Tensor
    labels: Tensor
    attention_mask: Tensor | None
    pad_token_id: int | None
    pixel_values: Tensor | None
    class_weights: Tensor | None


_KNOWN = frozenset(LossInputs.__annotations__)


def logits_and_labels(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Return the two tensors that every loss needs, the labels as int64.

    Raises:
        WrongTypeError: a TypeError; ``inputs`` is no mapping.
        UnknownNameError: a ValueError; a key that no strategy knows.
        LossError: a ValueError; one is missing, logits are whole numbers, or labels are not.
    """
    require_instance("inputs", inputs, Mapping, "a dict with 'logits' and 'labels'")
    unknown = inputs.keys() - _KNOWN
    if unknown:
        raise UnknownNameError("loss input", min(map(str, unknown)), _KNOWN)
    logits, labels = inputs.get("logits"), inputs.get("labels")
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        raise LossError(_missing(inputs))
    if not (logits.is_floating_point() or logits.is_quantized):
        raise LossError(
            f"logits are {logits.dtype}, allowed are floating-point scores; give what the model's "
            "last layer returned, before any argmax."
        )
    if labels.dtype is not torch.int64:
        labels = _as_int64(labels)
    return logits, labels


def _missing(inputs: LossInputs) -> str:
    given = ", ".join(f"{name} ({type(value).__name__})" for name, value in inputs.items())
    return f"A loss needs the tensors 'logits' and 'labels'; given: {given or 'nothing'}."


def _as_int64(labels: Tensor) -> Tensor:
    if labels.dtype not in _INTEGER_DTYPES:
        raise LossError(
            f"labels are {labels.dtype}, allowed are whole numbers; convert them with .long()."
        )
    return labels.to(torch.int64)


def attention_mask_for(inputs: LossInputs, shape: torch.Size) -> Tensor | None:
    """Return the mask, or None where there is none.

    Raises:
        LossError: a ValueError; the mask is no tensor, or its shape isn't [batch, seq].
    """
    mask = _tensor_or_none(inputs, "attention_mask")
    if mask is not None and mask.shape != shape:
        raise mismatch("attention_mask", mask.shape, "[batch, seq] of", shape)
    return mask


def class_weights_for(inputs: LossInputs, logits: Tensor) -> Tensor | None:
    """Return the weights [classes] beside the logits [n, classes, ...], or None without any.

    Raises:
        LossError: a ValueError; the weights are no tensor, or not one for each class.
    """
    weights = _tensor_or_none(inputs, "class_weights")
    if weights is None:
        return None
    if weights.shape != logits.shape[1:2]:
        raise mismatch("class_weights", weights.shape, "the classes of logits", logits.shape)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return weights.to(device=logits.device, dtype=dtype)


def padding_id_for(inputs: LossInputs, default: int) -> int | None:
    """Return the id that means padding, None where no id does.

    Raises:
        LossError: a ValueError; it is no whole number.
    """
    padding_id = inputs.get("pad_token_id", default)
    if padding_id is None or isinstance(padding_id, Integral):
        return None if padding_id is None else int(padding_id)
    raise LossError(
        f"pad_token_id is {described(padding_id)}, allowed is a whole number, or None for no "
        "padding; give the tokenizer's pad_token_id."
    )


def _tensor_or_none(
    inputs: LossInputs, name: Literal["attention_mask", "class_weights"]
) -> Tensor | None:
    value = inputs.get(name)
    if value is None or isinstance(value, Tensor):
        return value
    raise LossError(f"{name} is {described(value)}, allowed is a tensor, or None.")


def mismatch(name: str, given: torch.Size, wanted: str, other: torch.Size) -> LossError:
    """Name both shapes in the error that says they don't fit."""
    return LossError(f"{name} have shape {list(given)}, which does not fit {wanted} {list(other)}.")
