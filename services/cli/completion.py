"""What the shell proposes: names and numbers that are there, where that is quick to find out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from utils.training.errors import TrainingError

_MOST = 50


def model_names(ctx: Any, incomplete: str) -> list[str]:
    """The names of registered models."""
    return _proposed(ctx, incomplete, _read_model_names)


def model_ids(ctx: Any, incomplete: str) -> list[str]:
    """The numbers of registered models."""
    return _proposed(ctx, incomplete, _read_model_ids)


def schedule_names(ctx: Any, incomplete: str) -> list[str]:
    """The names of schedules."""
    return _proposed(ctx, incomplete, _read_schedule_names)


def job_ids(ctx: Any, incomplete: str) -> list[str]:
    """The numbers of the newest jobs."""
    return _proposed(ctx, incomplete, _read_job_ids)


def _proposed(
    ctx: Any, incomplete: str, read: Callable[[Path | None], Iterable[object]]
) -> list[str]:
    """A shell that asks is never told of an error: it proposes nothing then."""
    try:
        found = list(dict.fromkeys(str(one) for one in read(ctx.params.get("folder"))))
    except (TrainingError, OSError):
        return []
    return [one for one in found if one.startswith(incomplete)]


def _read_model_names(folder: Path | None) -> Iterable[object]:
    from services.cli.connection import connect

    with connect(folder).registry() as registry:
        return [model.name for model in registry.list_models(limit=_MOST).items]


def _read_model_ids(folder: Path | None) -> Iterable[object]:
    from services.cli.connection import connect

    with connect(folder).registry() as registry:
        return [model.model_id for model in registry.list_models(limit=_MOST).items]


def _read_schedule_names(folder: Path | None) -> Iterable[object]:
    from services.cli.connection import connect

    with connect(folder).scheduler("reader") as scheduler:
        return [schedule.name for schedule in scheduler.list_schedules(limit=_MOST).items]


def _read_job_ids(folder: Path | None) -> Iterable[object]:
    from services.cli.connection import connect

    with connect(folder).scheduler("reader") as scheduler:
        return [job.job_id for job in scheduler.list_jobs(limit=_MOST).items]
