"""What the monitor is told at its start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from utils.service.settings import WebSettings

PREFIX = "TRAINING_MONITOR"


class MonitorSettings(WebSettings):
    """The monitor's settings, ``TRAINING_MONITOR_...`` in the environment."""

    redis_url: str = Field(repr=False)
    registry_url: str
    scheduler_url: str
    token_file: Path  # of a submitter's token, for the registry and the scheduler

    window_rows: int = Field(500, ge=100)  # predictions that make a window
    window_seconds: float = Field(3600, gt=0)  # or this long, once there are 100
    warning_bits: float = Field(0.1, ge=0, le=1)
    critical_bits: float = Field(0.2, ge=0, le=1)
    recover_windows: int = Field(2, ge=1)  # calm ones in a row, until an alert is over
    stale_seconds: float = Field(7200, gt=0)  # without a window while requests come

    auto_rollback: bool = True  # of a promotion whose first windows are worse
    rollback_windows: int = Field(3, ge=1)  # windows after a promotion that are held to it
    rollback_error_rise: float = Field(0.05, gt=0, le=1)  # of the share of failed requests
    rollback_performance_drop: float = Field(0.1, gt=0, le=1)  # relative to the former version

    poll_seconds: float = Field(5, gt=0)  # between two looks at the registry
    platform_seconds: float = Field(15, gt=0)  # between two looks at the scheduler
    send_seconds: float = Field(1, gt=0)  # between two tries to send signals
    lock_seconds: float = Field(4, ge=1)  # a silent replica is replaced after them
    queue_warning_seconds: float = Field(900, gt=0)  # a job's wait that is worth an alert

    email_alerts: bool = False  # to whom: TRAINING_ALERT_SMTP_...
    slack_alerts: bool = False  # where: TRAINING_ALERT_SLACK_WEBHOOK
