"""What the registry gives out: values that no one can change behind its back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RegisteredModel:
    """One version of a model. Times are UTC; ``model_size_mb`` is in megabytes (10**6 bytes)."""

    model_id: int
    name: str
    version: str
    tag: str
    checkpoint_path: str
    task_type: str
    metrics: dict[str, float]
    config_hash: str | None
    training_run_id: int | None
    parent_model_id: int | None
    export_formats: list[str]
    model_size_mb: float | None
    metadata: dict[str, Any]
    artifact_digest: str | None  # SHA-256
    created_by: str | None
    created_at: datetime
    tagged_at: datetime


@dataclass(frozen=True)
class Promotion:
    """One row of the audit: who gave a model another tag, when and why.

    ``sequence`` counts 1, 2, 3, ... within a name, in the order in which it happened.
    ``replaced_model_id`` is the production version that became ``retired`` by it, if one did.
    """

    name: str
    sequence: int
    kind: str  # "promote" or "rollback"
    model_id: int
    from_tag: str
    to_tag: str
    replaced_model_id: int | None
    reason: str | None
    actor: str | None
    at: datetime


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from, and what was made from it; nearest first."""

    model: RegisteredModel
    parents: tuple[RegisteredModel, ...]
    children: tuple[RegisteredModel, ...]
    training_run_id: int | None
    data_profile: Any


@dataclass(frozen=True)
class Verification:
    """A model's artifact held against its digest; ``actual`` is None where nothing lies there."""

    model_id: int
    expected: str | None
    actual: str | None

    @property
    def is_intact(self) -> bool:
        """True where there is a digest and the artifact has it."""
        return self.expected is not None and self.expected == self.actual
