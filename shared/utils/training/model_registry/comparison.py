"""Models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from utils.training.model_registry.records import RegisteredModel

_COLUMNS = [
    "model_id",
    "name",
    "version",
    "tag",
    "task_type",
    "model_size_mb",
    "export_formats",
    "config_hash",
    "training_run_id",
    "parent_model_id",
    "artifact_digest",
    "created_at",
]


def comparison_table(models: Sequence[RegisteredModel]) -> pd.DataFrame:
    """One row a model; the metrics follow the columns that every model has."""
    metrics = sorted({name for item in models for name in item.metrics})
    headings = {name: f"metrics.{name}" if name in _COLUMNS else name for name in metrics}
    rows: list[dict[str, Any]] = [
        {column: getattr(item, column) for column in _COLUMNS}
        | {headings[name]: value for name, value in item.metrics.items()}
        for item in models
    ]
    return pd.DataFrame(rows, columns=[*_COLUMNS, *headings.values()])
