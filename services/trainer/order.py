"""What the worker hands to the process that does the work, and gets back: small JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from utils.service.contracts.jobs import JobType, Progress

if TYPE_CHECKING:
    from services.trainer.group.words import Assignment
    from services.trainer.settings import TrainerSettings
    from utils.training.job_queue import Job

ORDER, PROGRESS, OUTCOME, LOG = "order.json", "progress.json", "outcome.json", "log.txt"
CANCELLED = "cancelled"  # a file that says why the work is stopped


class Order(BaseModel):
    """A claimed job, and where everything is that it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: int
    fencing_token: int
    attempt: int
    job_type: JobType
    config: dict[str, Any]
    trace_id: str
    registry_url: str
    token_file: Path
    data_folder: Path
    cache_folder: Path
    entry_points: tuple[str, ...]
    max_artifact_bytes: int
    threads: int
    gpus: int  # that this node is said to have; 0: it may have none
    num_nodes: int
    is_leader: bool  # of the nodes: the first rank must be here

    @classmethod
    def of(cls, settings: TrainerSettings, claimed: Job | Assignment, num_nodes: int) -> Self:
        """The order for a claimed job on this node."""
        return cls(
            job_id=claimed.job_id,
            fencing_token=claimed.fencing_token,
            attempt=claimed.attempt,
            job_type=claimed.job_type,
            config=claimed.config,
            trace_id=claimed.trace_id,
            registry_url=settings.registry_url,
            token_file=settings.token_file.absolute(),
            data_folder=settings.data_folder.absolute(),
            cache_folder=(settings.work_folder / "artifacts").absolute(),
            entry_points=settings.entry_points,
            max_artifact_bytes=settings.max_artifact_bytes,
            threads=settings.threads,
            gpus=settings.gpus or 0,
            num_nodes=num_nodes,
            is_leader=not settings.follows,
        )


class Outcome(BaseModel):
    """How the work ended, as far as its process could say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["completed", "failed"]
    result: dict[str, Any] | None = None
    error: str | None = None
    retryable: bool = True


def write_file(folder: Path, name: str, document: BaseModel) -> None:
    """Write a document whole or not at all."""
    temporary = folder / f".{name}.tmp"
    temporary.write_text(document.model_dump_json(), encoding="utf-8")
    temporary.replace(folder / name)


def read_progress(folder: Path) -> Progress | None:
    """How far the work is; None where it has not said so yet."""
    return _read(folder / PROGRESS, Progress)


def read_outcome(folder: Path) -> Outcome | None:
    """How the work ended; None where its process did not get to say so."""
    return _read(folder / OUTCOME, Outcome)


def _read(path: Path, kind: Any) -> Any:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
