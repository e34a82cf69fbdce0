"""A data set with its splits, its task and a model that fits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from utils.training.task_spec import TaskSpec


@dataclass(frozen=True)
class Sample:
    """Train, validation and test data of one task; no sample is in two of them."""

    task_spec: TaskSpec
    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    build_model: Callable[[], nn.Module]
    tokenizer: Any = None  # of a text task


def split(count: int, *, validation: float, test: float) -> tuple[np.ndarray, ...]:
    """Indices of train, validation and test: a fixed shuffle, cut at the given shares."""
    order = np.random.default_rng(0).permutation(count)
    first = int(count * (1 - validation - test))
    second = int(count * (1 - test))
    return order[:first], order[first:second], order[second:]
