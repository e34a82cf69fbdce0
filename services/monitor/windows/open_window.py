"""A window that is being filled: the values as they came, until they are profiled at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from utils.service.contracts.predictions import PredictionSummary
from utils.training.drift_metrics import MIN_ROWS

Key = tuple[str, str]  # a model's name and its version


@dataclass
class OpenWindow:
    """The predictions of one version since its last window.

    ``entry_ids`` are the entries of the stream, which are acknowledged when the window is stored.
    """

    model_name: str
    version: str
    start: datetime
    end: datetime
    rows: int = 0
    requests: int = 0
    errors: int = 0
    columns: dict[str, list[Any]] = field(default_factory=dict)
    entry_ids: list[bytes] = field(default_factory=list)

    @classmethod
    def beginning_with(cls, summary: PredictionSummary) -> OpenWindow:
        """An empty window that begins at a summary's time."""
        return cls(summary.model_name, summary.model_version, summary.at, summary.at)

    def add(self, entry_id: bytes, summary: PredictionSummary) -> None:
        """Count one request; a column that it lacks has missing values for its rows."""
        self.entry_ids.append(entry_id)
        self.requests += 1
        self.start, self.end = min(self.start, summary.at), max(self.end, summary.at)
        if summary.error:
            self.errors += 1
            return
        for name, values in _columns(summary):
            column = self.columns.setdefault(name, [])
            column.extend([None] * (self.rows - len(column)))
            column.extend(values)
        self.rows += summary.rows

    def padded_columns(self) -> dict[str, list[Any]]:
        """Each column with a value, or None, for each row."""
        return {
            name: (values + [None] * (self.rows - len(values)))[: self.rows]
            for name, values in self.columns.items()
        }

    def is_full(self, window_rows: int, window_seconds: float, now: datetime) -> bool:
        """True at so many rows or requests, or after so long with enough of them to judge.

        One that nothing was added to for so long is full too: its version was replaced.
        """
        seen = max(self.rows, self.requests)
        if seen >= window_rows:
            return True
        age, idle = (now - self.start).total_seconds(), (now - self.end).total_seconds()
        return idle >= window_seconds or (age >= window_seconds and seen >= MIN_ROWS)


def _columns(summary: PredictionSummary) -> list[tuple[str, list[Any]]]:
    found: list[tuple[str, list[Any]]] = [
        *summary.features.items(),
        ("tokens", summary.tokens),
        ("prediction.class", summary.predicted),
        ("prediction.confidence", summary.confidence),
        ("prediction.entropy", summary.entropy),
    ]
    return [(name, values) for name, values in found if values]
