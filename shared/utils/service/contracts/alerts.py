"""What Alertmanager posts to a webhook (its version 4), as far as a trigger needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from utils.service.contracts.triggers import SignalDecision


class AlertmanagerDocument(BaseModel):
    """A part of the document; what Alertmanager adds to it one day is no fault."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Alert(AlertmanagerDocument):
    """One alert.

    ``labels.trigger`` says which trigger it is for: ``drift``, with the score in the annotation
    ``drift_score`` (bits), or ``performance``, with the metric's name in ``labels.metric`` and its
    values in the annotations ``current`` and ``baseline``. ``labels.model_name`` is the model.
    """

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: AwareDatetime = Field(alias="startsAt")
    fingerprint: str = Field(min_length=1, max_length=64)


class AlertGroup(AlertmanagerDocument):
    """The body of a notification: alerts that Alertmanager has grouped."""

    version: Literal["4"]
    alerts: list[Alert] = Field(max_length=1000)


@dataclass(frozen=True, kw_only=True)
class AlertOutcome:
    """What became of an alert; ``decision`` is None where it was not for a trigger."""

    fingerprint: str
    alert: str
    explanation: str
    decision: SignalDecision | None = None
