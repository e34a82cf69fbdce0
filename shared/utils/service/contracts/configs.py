"""A job's config, checked against what its type asks for."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from utils.service.contracts.jobs import JOB_CONFIGS
from utils.training.errors import InvalidConfigError


def checked_config(job_type: str, config: dict[str, Any]) -> dict[str, Any]:
    """The config with every default filled in, so that it means the same for ever.

    Raises:
        InvalidConfigError: a ValueError that lists every fault with the field it is in.
    """
    try:
        return JOB_CONFIGS[job_type].model_validate(config).model_dump(mode="json")
    except ValidationError as error:
        faults = [
            f"config.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}."
            for fault in error.errors()
        ]
        raise InvalidConfigError(faults) from error
