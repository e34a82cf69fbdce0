"""A job's config, checked against what its type asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from utils.service.contracts.faults import faults_of
from utils.service.contracts.jobs import JOB_CONFIGS, TrainingJob
from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig


def checked_config(job_type: str, config: dict[str, Any]) -> dict[str, Any]:
    """The config with every default filled in, so that it means the same for ever.

    Raises:
        InvalidConfigError: a ValueError that lists every fault with the field it is in.
    """
    try:
        job = JOB_CONFIGS[job_type].model_validate(config)
    except ValidationError as error:
        raise InvalidConfigError(faults_of(error, "config")) from error
    if isinstance(job, TrainingJob):
        check_training(job, "config")
    return job.model_dump(mode="json")


def check_training(job: TrainingJob, place: str) -> None:
    """See that a training's settings and task are known, before a trainer finds that they are not.

    Raises:
        InvalidConfigError: a ValueError that lists every fault with the field it is in.
    """
    faults = _faults(lambda: TrainingConfig.from_dict(job.training_config).validate())
    found = [f"{place}.training_config: {fault}" for fault in faults]
    if job.task_spec is not None:
        spec = job.task_spec
        found += [
            f"{place}.task_spec: {fault}" for fault in _faults(lambda: TaskSpec.from_dict(spec))
        ]
    if found:
        raise InvalidConfigError(found)


def _faults(read: Callable[[], object]) -> list[str]:
    try:
        read()
    except InvalidConfigError as error:
        return error.faults
    except UnknownNameError as error:
        return [str(error)]
    return []
