"""What the scheduler answers about triggers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from utils.service.contracts.jobs import Signal, TriggerRule
from utils.training.retraining_decisions import Brake, TriggerDecision, TriggerFiring
from utils.training.retraining_triggers import TriggerFinding


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A model's rule, who gave it, and the last thing that was said of the model."""

    model_name: str
    rule: TriggerRule
    created_at: datetime
    updated_at: datetime
    updated_by: str
    last_signal: Signal | None = None
    last_signal_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SignalDecision:
    """What became of a signal.

    ``fired`` is true where this window submitted ``job_id``, and stays true when the same window is
    sent again (``repeated``). ``reasons`` are the triggers that asked for a training, whether it
    was held back or not; ``explanation`` is the decision in one sentence.
    """

    model_name: str
    window: str
    fired: bool
    job_id: int | None
    held_back_by: Brake | None
    reasons: tuple[str, ...]
    explanation: str
    findings: tuple[TriggerFinding, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, kw_only=True)
class TriggerExplanation:
    """What would happen if the last signal came again now, and why.

    ``would_fire`` is true where at least one finding has fired and no brake is on.
    """

    model_name: str
    enabled: bool
    would_fire: bool
    explanation: str
    findings: tuple[TriggerFinding, ...]
    brakes: tuple[Brake, ...]
    armed: bool
    in_flight: TriggerFiring | None
    last_trained_at: datetime | None
    last_signal_at: datetime | None
    firings: tuple[TriggerFiring, ...]
    decisions: tuple[TriggerDecision, ...]
