"""What a job is told, and what is said of it while it runs."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from utils.service.contracts.document import PageQuery, Request

JobType = Literal["training", "evaluation", "export"]

ARTIFACT = r"^artifact:[0-9a-f]{64}$"  # a file in the registry's store
ENTRY_POINT = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"  # package.module:function
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
MODEL_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"  # it stands in headers and metrics' labels

FORMS = {  # each pattern in words
    ENTRY_POINT: "package.module:function",
    MODEL_NAME: "a letter or digit, then up to 99 letters, digits, dots, hyphens and underscores",
    MODEL_VERSION: "a letter or digit, then up to 99 letters, digits and signs of . _ + -",
}


class DataSource(Request):
    """Where samples come from.

    A ``sample`` is built in. The others are files: ``location`` is ``artifact:<sha256>`` or a path
    under the trainer's data folder; a folder travels as a tar.
    """

    kind: Literal["sample", "huggingface", "parquet", "csv", "jsonl", "images"]
    location: str = Field(max_length=500)
    part: Literal["train", "validation", "test"] = "train"
    label: str = Field("labels", max_length=100)  # the column (or, of images, the folders) to learn
    text: str = Field("text", max_length=100)  # the column of a text task

    @field_validator("location")
    @classmethod
    def _is_whole(cls, location: str) -> str:
        if location.startswith("artifact:") and not re.fullmatch(ARTIFACT, location):
            raise ValueError("an artifact is named by artifact: and the 64 digits of its SHA-256")
        return location


class ModelSource(Request):
    """What to train: a transformers configuration, or a function on the operator's allow-list."""

    entry_point: str | None = Field(None, pattern=ENTRY_POINT, max_length=200)
    arguments: dict[str, Any] = {}
    transformers: dict[str, Any] | None = None  # with model_type, as config.json has it

    @model_validator(mode="after")
    def _is_one(self) -> ModelSource:
        if (self.entry_point is None) == (self.transformers is None):
            raise ValueError("give either entry_point or transformers")
        return self


class Gate(Request):
    """When a new version may become production.

    On the same held-out set its mean score must exceed the champion's by more than ``margin`` (a
    negative one lets it fall short), with the confidence given (paired bootstrap); its bundle must
    answer as the model in memory does, and within the latency budget.
    """

    promote: bool = True  # promote by itself once the verdict is a pass
    margin: float = Field(0.0, ge=-1, le=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    latency_budget_ms: float = Field(
        50.0, gt=0
    )  # median of single inputs, ONNX Runtime, one thread


class TrainingJob(Request):
    """The ``config`` of a job of type ``training``."""

    model_name: str = Field(pattern=MODEL_NAME)
    model: ModelSource
    data: list[DataSource] = Field(min_length=1, max_length=20)
    validation: DataSource | None = None  # None: a fixed tenth of the data
    held_out: DataSource | None = None  # frozen, for the gate; None: no gate, no promotion
    task_spec: dict[str, Any] | None = None  # None: the sample's own
    training_config: dict[str, Any] = {}
    gate: Gate = Gate()


class EvaluationJob(Request):
    """The ``config`` of a job of type ``evaluation``: a registered model against the champion."""

    model_name: str = Field(pattern=MODEL_NAME)
    model_id: int = Field(ge=1)
    held_out: DataSource
    gate: Gate = Gate()


class ExportJob(Request):
    """The ``config`` of a job of type ``export``: a registered model in other formats."""

    model_name: str = Field(pattern=MODEL_NAME)
    model_id: int = Field(ge=1)
    formats: list[Literal["onnx", "torchscript", "pytorch"]] = ["onnx", "torchscript"]


JOB_CONFIGS: dict[str, type[Request]] = {
    "training": TrainingJob,
    "evaluation": EvaluationJob,
    "export": ExportJob,
}


class JobSubmission(Request):
    """Ask for a job; ``config`` must fit the type."""

    job_type: JobType
    config: dict[str, Any]
    priority: int = Field(0, ge=0, le=9)
    after: list[int] = Field([], max_length=50)
    max_attempts: int = Field(3, ge=1, le=20)
    run_after: AwareDatetime | None = None
    reason: str | None = Field(None, max_length=500)
    resources: dict[str, Any] | None = None


class JobQuery(PageQuery):
    """Which jobs to list."""

    status: str | None = Field(None, max_length=20)
    job_type: JobType | None = None
    model_name: str | None = Field(None, pattern=MODEL_NAME)


class Cancellation(Request):
    """Why a job is cancelled."""

    reason: str | None = Field(None, max_length=500)


class ClaimRequest(Request):
    """A trainer asks for work: the nudged job, or the next of these types."""

    worker_id: str = Field(min_length=1, max_length=200)
    job_types: list[JobType] = Field(["training", "evaluation", "export"], min_length=1)
    job_id: int | None = Field(None, ge=1)
    lease_seconds: float = Field(60, ge=1, le=3600)


class Progress(Request):
    """How far a run is."""

    step: int = Field(0, ge=0)
    total_steps: int | None = Field(None, ge=0)
    epoch: int | None = Field(None, ge=0)
    loss: float | None = None
    samples_per_second: float | None = None
    seconds_left: float | None = None
    memory_mb: float | None = None
    cpu_utilization: float | None = None  # cores in use
    gpu_memory_mb: float | None = None
    gpu_utilization: float | None = None  # 0 to 1
    gradient_norm: float | None = None  # before clipping
    learning_rate: float | None = None
    phase: str | None = Field(None, max_length=40)


class FencedRequest(Request):
    """A write of the worker that holds the claim; a stale token is refused."""

    fencing_token: int = Field(ge=1)


class HeartbeatRequest(FencedRequest):
    """I live, and this is how far I am."""

    progress: Progress | None = None
    lease_seconds: float = Field(60, ge=1, le=3600)


class FinishRequest(FencedRequest):
    """The job's end, as the worker saw it."""

    outcome: Literal["completed", "failed", "cancelled"]
    result: dict[str, Any] | None = None
    error: str | None = Field(None, max_length=8000)
    retryable: bool = True


class ReleaseRequest(FencedRequest):
    """Give the job back, unharmed: another worker goes on from its checkpoint."""

    reason: str = Field(max_length=500)


class LogChunk(FencedRequest):
    """Some lines of a job's log."""

    text: str = Field(max_length=200_000)


class ScheduleRequest(Request):
    """A recurring job: five cron fields in an IANA time zone."""

    name: str = Field(pattern=MODEL_NAME)
    job_type: JobType
    config: dict[str, Any]
    schedule_expr: str = Field(max_length=200)
    timezone: str = Field("UTC", max_length=64)
    priority: int = Field(0, ge=0, le=9)
    max_attempts: int = Field(3, ge=1, le=20)
    resources: dict[str, Any] | None = None
    misfire: Literal["skip", "once", "all"] = "skip"
    overlap: Literal["forbid", "queue", "replace"] = "forbid"


class ScheduleQuery(PageQuery):
    """Which schedules to list."""

    name: str | None = Field(None, pattern=MODEL_NAME)


class SchedulePreviewQuery(Request):
    """Which of a schedule's next times to show."""

    count: int = Field(5, ge=1, le=100)


class TriggerRule(Request):
    """When a model is retrained by itself, and with what."""

    job: TrainingJob
    priority: int = Field(0, ge=0, le=9)  # of the job, like the next two
    max_attempts: int = Field(3, ge=1, le=20)
    resources: dict[str, Any] | None = None
    enabled: bool = True
    drift_threshold: float = Field(0.2, gt=0, le=1)  # bits
    drift_warning: float = Field(0.1, gt=0, le=1)  # bits; re-armed below it
    performance_threshold: float = Field(0.1, gt=0)  # relative
    time_threshold_days: float | None = Field(None, gt=0)
    data_volume_threshold: int | None = Field(None, ge=1)
    windows: int = Field(3, ge=1, le=100)  # n of the hysteresis
    windows_to_fire: int = Field(2, ge=1, le=100)  # k of n
    cool_down_seconds: float = Field(3600, ge=0)
    daily_budget: int = Field(4, ge=1, le=1000)  # jobs a day


class Signal(Request):
    """What the monitor (or a user) saw of a model in one window."""

    model_version: str | None = Field(None, max_length=100)
    drift_score: float | None = Field(None, ge=0, le=1)  # bits
    affected_features: list[str] = Field([], max_length=100)
    current_metrics: dict[str, float] | None = None
    baseline_metrics: dict[str, float] | None = None
    new_data_count: int | None = Field(None, ge=0)
    extra_data: list[DataSource] = Field([], max_length=10)  # joins the rule's data
    window_end: AwareDatetime | None = None
