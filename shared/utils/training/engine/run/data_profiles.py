"""How training and validation data are distributed, taken once before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from utils.training.drift_metrics import profile_dataset
from utils.training.seed_manager import untouched_generators
from utils.training.task_spec import TaskSpec


@dataclass(frozen=True)
class DataProfiles:
    """The profiles that drift is measured between; None where there is none."""

    reference: dict[str, Any] | None = None  # of the training data
    current: dict[str, Any] | None = None  # of the validation data, in the reference's bins


def profile_data(
    train_data: Any, val_data: Any | None, task_spec: TaskSpec | None, num_samples: int
) -> DataProfiles:
    """Profile at most ``num_samples`` of both; 0, or no task, profiles nothing.

    Raises:
        ValueError: the data can't be profiled.
    """
    if not num_samples or task_spec is None:
        return DataProfiles()
    with untouched_generators():  # samples may be augmented
        reference = profile_dataset(_samples(train_data), task_spec, num_samples)
        if val_data is None:
            return DataProfiles(reference)
        current = profile_dataset(_samples(val_data), task_spec, num_samples, reference=reference)
    return DataProfiles(reference, current)


def _samples(data: Any) -> Any:
    """Look into a DataLoader: its dataset has the samples."""
    return getattr(data, "dataset", data)
