"""What comes out: of a model's forward pass, and of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ModelOutput:
    """A forward pass's result in one form, whatever the model returned.

    ``logits`` is [batch, classes], [batch, seq, vocab] or [batch, classes, height, width];
    ``loss`` is the model's own, where it computed one.
    """

    logits: Tensor
    loss: Tensor | None = None

    @classmethod
    def from_raw(cls, raw: Any) -> ModelOutput:
        """Read a tensor, a tuple or list, a mapping, or an object with ``logits``.

        Raises:
            TypeError: the model returned something without logits.
        """
        if isinstance(raw, ModelOutput):
            return raw
        if isinstance(raw, Tensor):
            return cls(logits=raw)
        if isinstance(raw, Mapping) and isinstance(raw.get("logits"), Tensor):
            return cls(logits=raw["logits"], loss=raw.get("loss"))
        if isinstance(getattr(raw, "logits", None), Tensor):
            return cls(logits=raw.logits, loss=getattr(raw, "loss", None))
        if isinstance(raw, tuple | list) and raw:
            return cls._from_sequence(raw)
        raise TypeError(
            f"The model returned a {type(raw).__name__} without logits; "
            "return a tensor, a tuple that holds one, or a mapping or object with 'logits'."
        )

    @classmethod
    def _from_sequence(cls, raw: tuple[Any, ...] | list[Any]) -> ModelOutput:
        tensors = [item for item in raw if isinstance(item, Tensor)]
        if not tensors:
            raise TypeError(
                f"The model returned a {type(raw).__name__} of {len(raw)} items, none of them a "
                "tensor; return the logits as one."
            )
        first = tensors[0]
        if first.ndim == 0 and len(tensors) > 1:
            return cls(logits=tensors[1], loss=first)
        return cls(logits=first)


@dataclass(frozen=True)
class EpochResult:
    """One epoch in numbers.

    ``avg_loss`` and ``avg_accuracy`` weigh every token (or sample) that counts alike;
    ``avg_accuracy`` is NaN for a task that has none. ``duration`` is in seconds,
    ``max_gradient_norm`` is before clipping.
    """

    epoch: int
    avg_loss: float
    avg_accuracy: float
    batch_count: int
    sample_count: int
    duration: float
    learning_rate: float = 0.0
    max_gradient_norm: float = 0.0
    item_count: int = 0  # tokens or samples that counted towards the loss
    skipped_steps: int = 0  # optimizer steps left out for NaN or Inf

    @property
    def samples_per_second(self) -> float:
        """Samples seen in a second of the epoch's wall time."""
        return self.sample_count / self.duration if self.duration else 0.0

    @property
    def items_per_second(self) -> float:
        """Tokens (or samples) that counted, in a second of the epoch's wall time."""
        return self.item_count / self.duration if self.duration else 0.0
