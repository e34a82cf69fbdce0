"""What the scheduler is told at its start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from utils.service.settings import WebSettings

PREFIX = "TRAINING_SCHEDULER"


class SchedulerSettings(WebSettings):
    """The scheduler's settings, ``TRAINING_SCHEDULER_...`` in the environment."""

    database_url: str = Field(repr=False)
    redis_url: str = Field(repr=False)
    log_folder: Path  # of the jobs' logs; replicas share it
    max_log_bytes: int = Field(10 * 1024 * 1024, ge=1024)  # of one job
    keep_finished_days: float = Field(90, gt=0)  # of jobs and their logs
    lease_seconds: float = Field(60, gt=0)  # grace after the scheduler itself was away
    publish_interval_seconds: float = Field(1, gt=0)
    nudge_again_seconds: float = Field(60, gt=0)  # a nudge that may be lost is made up for
    reap_interval_seconds: float = Field(5, gt=0)
    cron_interval_seconds: float = Field(1, gt=0)
    trigger_interval_seconds: float = Field(10, gt=0)
    event_interval_seconds: float = Field(0.5, gt=0)  # how often a stream looks for news
    stream_seconds: float = Field(300, gt=0)  # then a reader comes back for the rest
