"""What every collator does: read samples, stack their fields, and say which sample doesn't fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.training.arguments import described, require_methods
from utils.training.errors import TrainingError

LABEL_KEYS = ("labels", "label", "label_ids")
_NUMBERS = "biufc"  # NumPy's kinds that torch has


class CollateError(TrainingError, ValueError):
    """Samples that don't make a batch."""


def refuse_no_samples(samples: Sequence[Any]) -> None:
    """Raise :class:`CollateError` for an empty list, and a TypeError for what is no list."""
    require_methods("samples", samples, ["__len__", "__getitem__"], "a list of samples")
    if not len(samples):
        raise CollateError("There are no samples to collate; give at least 1.")


def refuse_other_keys(samples: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`CollateError` unless all samples have the same keys as the first."""
    first = samples[0].keys()
    for position, sample in enumerate(samples):
        if sample.keys() != first:
            raise CollateError(
                f"Sample {position} of the batch has the keys {', '.join(sorted(sample))} and "
                f"sample 0 has {', '.join(sorted(first))}; give every sample the same keys."
            )


def refuse_other_lengths(samples: Sequence[Sequence[Any]]) -> None:
    """Raise :class:`CollateError` unless all samples have as many items as the first."""
    first = len(samples[0])
    for position, sample in enumerate(samples):
        if len(sample) != first:
            raise CollateError(
                f"Sample {position} of the batch has {len(sample)} items and sample 0 has {first}; "
                "give every sample the same items."
            )


def pair(items: Sequence[Any], name: str) -> dict[str, Any]:
    """Name the items of a tuple: the main field and, perhaps, the labels.

    Raises:
        CollateError: a ValueError; the tuple has none or more than two.
    """
    names = (name, "labels")
    if not 1 <= len(items) <= len(names):
        raise CollateError(
            f"A sample is a tuple of {len(items)} items, allowed are {name} and a label; give a "
            "mapping for more."
        )
    return dict(zip(names, items, strict=False))


def refuse_text_labels(fields: Mapping[str, Any]) -> None:
    """Raise :class:`CollateError` for a class by name: left out, as other text is, it would miss.

    Args:
        fields: of one sample.
    """
    for name in LABEL_KEYS:
        if isinstance(fields.get(name), str | bytes):
            raise CollateError(
                f"'{name}' of a sample is the text {fields[name]!r}, allowed are numbers; number "
                "the classes, such as names.index(label)."
            )


def is_number_like(value: Any) -> bool:
    """Tell what a model can take from what it can't (strings, None), which is left out."""
    return not isinstance(value, str | bytes | type(None))


def to_tensor(value: Any, name: str) -> Tensor:
    """Read a tensor, array, number or nested list of numbers.

    Raises:
        CollateError: a ValueError; the value is none of them.
    """
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, np.ndarray):
            return _from_array(np.require(value, requirements=["C", "W"]))
        array = np.array(value)  # twice as fast over a list as torch.tensor
        is_double = array.dtype == np.float64
        return _from_array(array.astype(np.float32) if is_double else array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CollateError(
            f"'{name}' is {described(value)}, which makes no tensor ({error}); give numbers, or "
            "lists, arrays or tensors of them."
        ) from error


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.kind not in _NUMBERS:
        raise TypeError("text and objects are no numbers")
    return torch.from_numpy(array)


def stack(values: Sequence[Any], name: str) -> Tensor:
    """Stack one field of all samples, [batch, ...].

    Raises:
        CollateError: a ValueError that names both shapes where two differ.
    """
    tensors = [to_tensor(value, name) for value in values]
    first = tensors[0].shape
    for position, tensor in enumerate(tensors):
        if tensor.shape != first:
            raise CollateError(
                f"'{name}' of sample {position} has the shape {list(tensor.shape)} and of sample "
                f"0 {list(first)}; give all samples of a batch one shape."
            )
    return torch.stack(tensors)
