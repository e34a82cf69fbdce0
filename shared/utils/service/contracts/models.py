"""What is said to the registry: models, their gate and promotion, runs, artifacts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from utils.service.contracts.document import PageQuery, Request
from utils.service.contracts.jobs import MODEL_NAME, MODEL_VERSION, Gate

Tag = Literal["production", "staging", "experimental", "retired"]
Digest = Field(pattern="^[0-9a-f]{64}$")


class Fence(Request):
    """The claim under which a trainer writes; the registry refuses a stale one."""

    job_id: int = Field(ge=1)
    fencing_token: int = Field(ge=1)


class ModelRegistration(Request):
    """A trained model: its bundle is an artifact of the registry's own store."""

    name: str = Field(pattern=MODEL_NAME)
    version: str | None = Field(None, pattern=MODEL_VERSION)  # None: the next whole number
    bundle_digest: str = Digest
    checkpoint_digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    task_type: str = Field(max_length=100)
    metrics: dict[str, float] = {}
    config_hash: str | None = Field(None, max_length=64)
    training_run_id: int | None = None
    parent_model_id: int | None = None
    export_formats: list[str] = []
    metadata: dict[str, Any] = {}
    data_profile: dict[str, Any] | None = None
    reference_profile: dict[str, Any] | None = None
    fence: Fence | None = None


class ModelQuery(PageQuery):
    """Which models to list."""

    name: str | None = Field(None, pattern=MODEL_NAME)
    tag: Tag | None = None
    text: str | None = Field(None, max_length=200)


class TaggedQuery(Request):
    """The version of a name that has a tag, now or at a time."""

    name: str = Field(pattern=MODEL_NAME)
    tag: Tag = "production"
    as_of: AwareDatetime | None = None


class CompareQuery(Request):
    """Which models, or runs, to set side by side."""

    ids: list[int] = Field(min_length=1, max_length=50)


class Evaluation(Request):
    """A challenger and the champion on the same held-out samples, sample by sample.

    A score is better when higher (1 for a right answer, the negative loss of a text). ``champion``
    is None where the name has no production version yet.
    """

    held_out_digest: str = Digest
    challenger_scores: list[float] = Field(min_length=1, max_length=100_000)
    champion_model_id: int | None = Field(None, ge=1)
    champion_scores: list[float] | None = Field(None, max_length=100_000)
    greatest_difference: float = Field(ge=0)  # bundle against the model in memory
    tolerance: float = Field(gt=0)
    latency_ms: float = Field(ge=0)
    gate: Gate = Gate()
    fence: Fence | None = None


class PromotionRequest(Request):
    """Give a model another tag.

    Production wants a passing verdict, or ``force`` with a reason. ``expected_current`` is the
    model that the caller believes to be production: another one is a conflict.
    """

    tag: Tag = "production"
    expected_current: int | None = None
    reason: str | None = Field(None, max_length=500)
    force: bool = False
    fence: Fence | None = None


class RollbackRequest(Request):
    """Why the version before comes back, and instead of which one; 0 stands for none."""

    reason: str = Field(min_length=1, max_length=500)
    expected_current: int | None = Field(None, ge=0)


class RunCreation(Request):
    """A training run begins."""

    name: str = Field(min_length=1, max_length=255)
    config: dict[str, Any] = {}
    notes: str = Field("", max_length=5000)
    tags: dict[str, str] = Field({}, max_length=50)
    fence: Fence | None = None


class MetricValue(Request):
    """One point of one metric."""

    name: str = Field(min_length=1, max_length=200)
    value: float
    step: int | None = Field(None, ge=0)
    epoch: int | None = Field(None, ge=0)


class MetricBatch(Request):
    """Points of a run; a batch that is sent again is stored once."""

    points: list[MetricValue] = Field(min_length=1, max_length=10_000)
    fence: Fence | None = None


class RunStatusChange(Request):
    """A run's end."""

    status: Literal["running", "completed", "failed", "cancelled", "interrupted"]
    fence: Fence | None = None


class CheckpointUpload(Request):
    """A job's newest checkpoint, already in the store: where its next attempt goes on."""

    digest: str = Digest
    file_name: str = Field(pattern=r"^checkpoint_\w+\.(pt|tar)$", max_length=100)
    step: int = Field(ge=0)
    fence: Fence
