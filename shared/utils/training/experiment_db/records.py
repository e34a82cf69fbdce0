"""What the experiments give out, and the points they take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run. Times are UTC; ``metrics`` are the last values."""

    run_id: int
    name: str
    status: str
    config: dict[str, Any]
    notes: str
    created_at: datetime
    ended_at: datetime | None
    params: dict[str, Any]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def duration_seconds(self) -> float | None:
        """From the start to the end; None while it runs."""
        return None if self.ended_at is None else (self.ended_at - self.created_at).total_seconds()


@dataclass(frozen=True)
class MetricPoint:
    """One value of a metric, at an optimizer step, an epoch, or both, or else at a time."""

    name: str
    value: float
    step: int | None = None
    epoch: int | None = None
    time: datetime | None = None  # None: when it is stored


@dataclass(frozen=True)
class Artifact:
    """A file or folder that a run produced; ``digest`` is its SHA-256 in hexadecimal."""

    run_id: int
    name: str
    path: str
    digest: str | None
    size_bytes: int | None
    created_at: datetime
