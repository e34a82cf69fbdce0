"""What the monitor answers and is told: windows of drift, alerts, the platform, feedback."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import Field

from utils.service.contracts.document import Request

DriftStatus = Literal["healthy", "warning", "critical", "unknown"]
AlertSeverity = Literal["warning", "critical"]


@dataclass(frozen=True, kw_only=True)
class FeatureShift:
    """One feature of a window: its debiased JS divergence (bits), and the adjusted p-value."""

    js: float
    p: float


@dataclass(frozen=True, kw_only=True)
class DriftWindow:
    """What was seen of one version in one window.

    ``score`` is the greatest debiased JS divergence of a feature, in bits. The status is
    ``unknown``, with the reason in ``note``, where there was nothing to judge by. ``missing`` are
    features of the reference that the predictions did not have; ``metrics`` are the error rate and
    what feedback said.
    """

    model_name: str
    version: str
    window_start: datetime
    window_end: datetime
    rows: int
    requests: int
    errors: int
    status: DriftStatus
    score: float = 0.0
    features: dict[str, FeatureShift] = field(default_factory=dict)
    affected: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    note: str | None = None
    has_reference: bool = True


@dataclass(frozen=True, kw_only=True)
class ModelDrift:
    """A version as its last window saw it."""

    model_name: str
    model_version: str
    status: DriftStatus
    score: float
    window_end: datetime
    last_window: DriftWindow


@dataclass(frozen=True, kw_only=True)
class MonitorAlert:
    """A cause for concern that lasts; ``model_name`` is ``platform`` where it is of no model."""

    key: str
    type: str
    model_name: str
    severity: AlertSeverity
    message: str
    since: datetime
    value: float
    threshold: float
    subject: str = ""  # tells apart what one model has several of
    calm: int = 0  # looks in a row that found it gone, or milder


@dataclass(frozen=True, kw_only=True)
class QueueWatch:
    """One queue: what waits, for how long (seconds), and claims whose trainer fell silent."""

    queue: str
    ready: int
    running: int
    oldest_seconds: float
    expired_leases: int


@dataclass(frozen=True, kw_only=True)
class PlatformState:
    """The scheduler's queues as the monitor saw them last; ``seen_at`` is None before that."""

    seen_at: datetime | None = None
    queues: tuple[QueueWatch, ...] = ()
    failed_recently: int = 0  # jobs in the last hour
    active: bool = False  # this replica reads the stream; another stands by


class Feedback(Request):
    """How good a version's predictions were, as labels that came later tell."""

    model_version: str = Field(min_length=1, max_length=100)
    metrics: dict[str, float] = Field(min_length=1, max_length=50)
    rows: int = Field(ge=1)  # labelled predictions
