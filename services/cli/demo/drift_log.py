"""The monitor's windows, as the demonstration reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from utils.service.http import ServiceClient

_MOST = 200


@dataclass(frozen=True)
class DriftPoint:
    """One finished window: its end (Unix time), its version, and its drift in bits."""

    at: float
    version: str
    score: float
    status: str
    rows: int
    affected: tuple[str, ...]


def windows(monitor: ServiceClient, model_name: str) -> list[DriftPoint]:
    """A model's finished windows, oldest first."""
    answer = monitor.call("GET", f"/v1/drift/{model_name}", params={"limit": _MOST})
    return [_point(window) for window in reversed(answer.json()["items"])]


def _point(window: dict[str, Any]) -> DriftPoint:
    return DriftPoint(
        at=datetime.fromisoformat(window["window_end"]).timestamp(),
        version=window["version"],
        score=window["score"],
        status=window["status"],
        rows=window["rows"],
        affected=tuple(window["affected"]),
    )
