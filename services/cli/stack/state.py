"""What a running stack tells other processes: ``stack.json`` in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import psutil
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from services.cli.stack.errors import StackError

FILE = "stack.json"

Condition = Literal["waiting", "starting", "ready", "unready", "down"]


class ServiceState(BaseModel):
    """One process of a stack, with whatever it started."""

    model_config = ConfigDict(frozen=True)

    name: str  # such as scheduler-2
    kind: str  # such as scheduler
    condition: Condition
    url: str | None = None
    pid: int | None = None
    created: float | None = None  # the process's start, which tells it from a later one of its id
    since: AwareDatetime | None = None
    restarts: int = 0
    log: Path


class StackState(BaseModel):
    """Where everything is; secrets are named by their files."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    pid: int
    created: float
    is_ready: bool  # all services were ready once
    services: tuple[ServiceState, ...]
    token_files: dict[str, Path]
    data_folder: Path

    @property
    def urls(self) -> dict[str, list[str]]:
        """The addresses of each kind of service that is spoken to over HTTP."""
        found: dict[str, list[str]] = {}
        for service in self.services:
            if service.url is not None:
                found.setdefault(service.kind, []).append(service.url)
        return found

    @property
    def is_running(self) -> bool:
        """True while the process that keeps the stack up lives."""
        return is_alive(self.pid, self.created)

    def write(self) -> None:
        """Replace the file at once, readable by its owner only."""
        temporary = self.folder / f".{FILE}.tmp"
        temporary.touch(mode=0o600)
        temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.folder / FILE)


def read_state(folder: Path) -> StackState | None:
    """What a stack said last, or None where none was started or it was stopped in good order.

    Raises:
        StackError: a RuntimeError; the file is there and can't be read.
    """
    path = folder / FILE
    try:
        return StackState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StackError(f"{path} can't be read: {error}") from error


def is_alive(pid: int, created: float) -> bool:
    """True where the process with this id is still the one that was created then."""
    process = find(pid, created)
    return process is not None and process.status() != psutil.STATUS_ZOMBIE


def find(pid: int, created: float) -> psutil.Process | None:
    """The process with this id, unless another one has got it since."""
    try:
        process = psutil.Process(pid)
        return process if process.create_time() == created else None
    except psutil.NoSuchProcess:
        return None


def created(pid: int) -> float | None:
    """When a process was created, or None where it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
