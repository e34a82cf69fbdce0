"""What a trainer is told at its start."""

from __future__ import annotations

import os
import platform
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from utils.service.contracts.jobs import JobType
from utils.service.settings import Settings, words

PREFIX = "TRAINING_TRAINER"

SAMPLE_MODELS = tuple(
    f"services.trainer.samples.{name}:build_model" for name in ("cells", "digits", "text")
)


def _own_name() -> str:
    """A name that no other worker has, nor this one after a restart."""
    return f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"[:100]


class TrainerSettings(Settings):
    """The trainer's settings, ``TRAINING_TRAINER_...`` in the environment."""

    redis_url: str = Field(repr=False)
    scheduler_url: str
    registry_url: str
    token_file: Path  # of a trainer's token, for both
    data_folder: Path  # what jobs may read
    work_folder: Path  # of running jobs, and of artifacts that were fetched
    entry_points: Annotated[tuple[str, ...], BeforeValidator(words)] = SAMPLE_MODELS
    queues: Annotated[tuple[JobType, ...], BeforeValidator(words)] = (
        "training",
        "evaluation",
        "export",
    )
    name: str = Field(default_factory=_own_name, min_length=1, max_length=100)
    lease_seconds: float = Field(60, ge=1, le=3600)
    grace_seconds: float = Field(20, gt=0)  # for a run to write its state, before it is killed
    max_artifact_bytes: int = Field(8 * 1024**3, ge=1024)  # of an unpacked one
    threads: int = Field(1, ge=1, le=256)  # of PyTorch
    gpus: int | None = Field(None, ge=1, le=64)  # of this node; None: as many ranks as a job asks

    # Several nodes that do one job together: the first one's trainer leads, the others follow it.
    group: Annotated[tuple[str, ...], BeforeValidator(words)] = ()  # addresses; none: it is alone
    address: str = Field("", validate_default=True)  # this node's, as the group has it
    group_port: int = Field(29400, ge=1, le=65535)  # where the leader hears its followers
    group_seconds: float = Field(300, gt=0)  # for all nodes to come, before an attempt has failed

    @field_validator("group")
    @classmethod
    def _leader_sorts_first(cls, group: tuple[str, ...]) -> tuple[str, ...]:
        if group and (len(set(group)) < len(group) or group[0] != min(group)):
            raise ValueError(
                f"{', '.join(group)} are given; torchrun numbers nodes by their sorted addresses, "
                "so give different ones, the leader's the first of them"
            )
        return group

    @field_validator("address")
    @classmethod
    def _is_of_the_group(cls, address: str, info: ValidationInfo) -> str:
        group = info.data.get("group", ())
        if group and address not in group:
            raise ValueError(f"{address!r} is given, allowed is one of {', '.join(group)}")
        return address

    @property
    def follows(self) -> bool:
        """True where another node's trainer claims the jobs."""
        return bool(self.group) and self.address != self.group[0]
