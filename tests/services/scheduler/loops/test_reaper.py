"""Silent trainers lose their jobs, but not for a silence of the scheduler itself."""

import pytest

from services.scheduler.loops.reaper import Reaper
from utils.training.job_queue import JobStatus


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reaper(parts, clock):
    yield Reaper(parts.manager, parts.check_database, 60, 5, parts.counters, clock)
    parts.close()


@pytest.fixture
def silent_job(parts, config):
    job_id = parts.manager.submit_job("training", config)
    parts.manager.claim_job("w", lease_seconds=0.001)
    return job_id


def tick(reaper, clock, seconds, step=5):
    reaped = 0
    for _ in range(int(seconds / step)):
        clock.now += step
        reaped += reaper.reap()
    return reaped


def test_after_a_start_trainers_have_one_lease_time_to_come_back(parts, reaper, clock, silent_job):
    assert tick(reaper, clock, 55) == 0
    assert parts.manager.get_job(silent_job).status is JobStatus.CLAIMED
    assert tick(reaper, clock, 5) == 1
    job = parts.manager.get_job(silent_job)
    assert (job.status, job.attempt) == (JobStatus.PENDING, 2)


def test_a_gap_in_its_own_work_gives_trainers_their_time_again(parts, reaper, clock, config):
    tick(reaper, clock, 120)
    parts.manager.submit_job("training", config)
    parts.manager.claim_job("w", lease_seconds=0.001)
    clock.now += 300
    assert reaper.reap() == 0
    assert tick(reaper, clock, 55) == 0
    assert tick(reaper, clock, 5) == 1


def test_a_database_that_was_away_is_such_a_gap(parts, reaper, clock, silent_job, monkeypatch):
    tick(reaper, clock, 50)

    def away():
        raise ConnectionError("the database is away")

    monkeypatch.setattr(reaper, "_check_database", away)
    for _ in range(10):
        clock.now += 5
        with pytest.raises(ConnectionError):
            reaper.reap()
    monkeypatch.undo()
    assert tick(reaper, clock, 60) == 0
    assert tick(reaper, clock, 5) == 1
