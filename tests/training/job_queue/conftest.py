"""A queue whose clock the test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from utils.training.job_queue import Backoff, JobManager, TrainingScheduler


class TurnedClock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@pytest.fixture
def clock():
    return TurnedClock()


@pytest.fixture
def manager(database_url, clock):
    return JobManager(database_url, clock=clock, backoff=Backoff(10, 60, jitter=0))


@pytest.fixture
def scheduler(database_url, clock):
    return TrainingScheduler(database_url, clock=clock)
