"""What callers see of automatic retraining: decisions, and the trainings that they asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Brake = Literal["hysteresis", "disarmed", "in_flight", "cool_down", "budget"]
Outcome = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True)
class TriggerFiring:
    """A training that was asked for. Its id is the idempotency key of the job to submit."""

    id: int
    model_name: str
    fired_at: datetime
    reasons: tuple[str, ...]
    job_id: str | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class TriggerDecision:
    """What became of one window: a firing, or the brake that held it back, or neither."""

    window: str
    is_over: bool
    firing_id: int | None
    held_back_by: Brake | None
    reasons: tuple[str, ...]
    repeated: bool = False  # the window was decided before, perhaps by another evaluator

    @property
    def fires(self) -> bool:
        """True where a training is to be started, for exactly one evaluator of the window."""
        return self.firing_id is not None and not self.repeated
