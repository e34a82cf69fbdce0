"""What a follower says to its leader, again and again, and hears from it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from services.trainer.order import Outcome
from utils.service.contracts.jobs import JobType

PATH = "/v1/group"


class Assignment(BaseModel):
    """One attempt at a job, for as long as the leader gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: int
    fencing_token: int
    attempt: int
    job_type: JobType
    config: dict[str, Any]
    trace_id: str
    num_nodes: int
    num_ranks: int  # on each node
    endpoint: str  # where the ranks meet

    @property
    def name(self) -> str:
        """Its name among all attempts."""
        return f"{self.job_id}-{self.fencing_token}"


class Report(BaseModel):
    """I am here, and this is what I do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    attempt: str | None = None  # the name of what it takes part in
    exit_code: int | None = None  # of its ranks' launcher, once that has ended
    outcome: Outcome | None = None  # as one of its ranks said
    is_leaving: bool = False  # it was told to shut down


class Word(BaseModel):
    """What to do: take part in this attempt and no other; None is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assignment: Assignment | None = None
