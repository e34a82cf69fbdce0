"""What the worker hands to the process that does the work, and gets back: small JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from utils.service.contracts.jobs import JobType, Progress

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
