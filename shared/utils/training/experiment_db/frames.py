"""Runs and curves as pandas tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import Row

from utils.training.experiment_db.records import Run

_COLUMNS = ["run_id", "name", "status", "created_at", "duration_seconds", "notes"]


def comparison_table(
    runs: Sequence[Run], metrics: Mapping[int, Mapping[str, float]]
) -> pd.DataFrame:
    """One row a run: what every run has, its metrics, and the parameters in which they differ."""
    names = sorted({name for values in metrics.values() for name in values})
    headings = {name: f"metrics.{name}" if name in _COLUMNS else name for name in names}
    params = _differing(runs)
    rows: list[dict[str, Any]] = [
        {column: getattr(item, column) for column in _COLUMNS}
        | {headings[name]: value for name, value in metrics.get(item.run_id, {}).items()}
        | {f"params.{name}": item.params.get(name) for name in params}
        for item in runs
    ]
    columns = [*_COLUMNS, *headings.values(), *(f"params.{name}" for name in params)]
    return pd.DataFrame(rows, columns=columns)


def _differing(runs: Sequence[Run]) -> list[str]:
    names = sorted({name for item in runs for name in item.params})
    return [name for name in names if len({repr(item.params.get(name)) for item in runs}) > 1]


def points_table(rows: Iterable[Row[Any]]) -> pd.DataFrame:
    """One row a point, with columns name, step, epoch, value and time."""
    table = pd.DataFrame(
        [(r.name, r.step, r.epoch, r.value, r.time) for r in rows],
        columns=["name", "step", "epoch", "value", "time"],
    )
    types = {"step": "Int64", "epoch": "Int64", "value": "float64"}
    return table.astype(types)
