"""Batches of anything whose fields are equal in shape: mappings, tuples, tensors, numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from utils.training.engine.data.stacking import (
    LABEL_KEYS,
    is_number_like,
    refuse_no_samples,
    refuse_other_keys,
    refuse_other_lengths,
    refuse_text_labels,
    stack,
)


class DefaultCollator:
    """Stacks samples field by field.

    Mappings (and objects with attributes) go through ``transformers.default_data_collator``: a
    dict of tensors [batch, ...], ``label`` and ``label_ids`` as ``labels``, strings and None left
    out. Tuples give a tuple of tensors, the labels last; anything else one tensor.
    """

    draws_nothing = True

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Make a batch.

        Raises:
            CollateError: a ValueError; there is no sample, or two differ in keys or shapes.
        """
        refuse_no_samples(samples)
        first = samples[0]
        if isinstance(first, Mapping):
            return _from_mappings(samples)
        if isinstance(first, tuple | list):
            refuse_other_lengths(samples)
            columns = zip(*samples, strict=True)
            return tuple(stack(column, f"item {n}") for n, column in enumerate(columns))
        if hasattr(first, "__dict__") and not isinstance(first, Tensor):
            return _from_mappings([vars(sample) for sample in samples])
        return stack(samples, "the sample")

    def from_columns(self, columns: list[Tensor]) -> tuple[Tensor, ...]:
        """Take fields that are batched already, each [batch, ...]."""
        return tuple(columns)


def _from_mappings(samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    from transformers import default_data_collator

    refuse_other_keys(samples)
    refuse_text_labels(samples[0])
    try:
        batch: dict[str, Tensor] = default_data_collator(list(samples))
    except (TypeError, ValueError, RuntimeError):
        return _by_field(samples)
    return batch


def _by_field(samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Stack what the library can't, such as a label of several values, or name the fault."""
    return {
        "labels" if name in LABEL_KEYS else name: stack([sample[name] for sample in samples], name)
        for name, value in samples[0].items()
        if is_number_like(value)
    }
