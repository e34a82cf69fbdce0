"""A data set with its splits, its task and a model that fits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
