from __future__ import annotations

import random
from datetime import timedelta

import pytest

from utils.training.job_queue import Backoff, JobStatus, StaleClaimError


def claim(manager, worker="w", **options):
    manager.submit_job("training", {}, **options)
    return manager.claim_job(worker)


def test_a_silent_worker_loses_the_job(manager, clock, caplog):
    job = claim(manager, "worker-7")
    clock.turn(seconds=59)
    assert manager.reap_expired() == ()
    clock.turn(seconds=1)
    (reaped,) = manager.reap_expired()
    assert (reaped.job_id, reaped.status, reaped.attempt) == (job.job_id, JobStatus.PENDING, 2)
    assert reaped.run_after == clock.now + timedelta(seconds=10)
    assert reaped.error == "Worker 'worker-7' did not renew its lease."
    assert manager.events(job.job_id)[-1].actor == "reaper"
    assert f"Job {job.job_id} is pending: Worker 'worker-7'" in caplog.text
    with pytest.raises(StaleClaimError):
        manager.mark_completed(job.job_id, job.fencing_token)
    assert manager.reap_expired() == ()


def test_a_zombie_is_refused_after_the_job_was_claimed_again(manager, clock):
    zombie = claim(manager)
    clock.turn(seconds=60)
    manager.reap_expired()
    clock.turn(seconds=10)
    again = manager.claim_job("worker-2")
    with pytest.raises(StaleClaimError):
        manager.mark_completed(zombie.job_id, zombie.fencing_token)
    assert manager.mark_completed(again.job_id, again.fencing_token).worker_id == "worker-2"


def test_a_job_that_kills_its_workers_fails_in_the_end(manager, clock):
    job = claim(manager, max_attempts=2)
    clock.turn(seconds=60)
    manager.reap_expired()
    clock.turn(seconds=10)
    manager.claim_job("w")
    clock.turn(seconds=60)
    (reaped,) = manager.reap_expired()
    assert (reaped.job_id, reaped.status) == (job.job_id, JobStatus.FAILED)
    assert "did not renew" in reaped.error


def test_a_silent_worker_s_cancelled_job_is_cancelled(manager, clock):
    job = claim(manager)
    manager.cancel(job.job_id, "superseded")
    clock.turn(seconds=60)
    (reaped,) = manager.reap_expired()
    assert (reaped.status, reaped.status_reason) == (JobStatus.CANCELLED, "superseded")


def test_a_late_heartbeat_keeps_the_job_while_nobody_took_it_back(manager, clock):
    job = claim(manager)
    clock.turn(seconds=100)
    manager.heartbeat(job.job_id, job.fencing_token)
    assert manager.reap_expired() == ()


def test_a_reaper_that_was_down_gives_grace(manager, clock):
    claim(manager)
    clock.turn(hours=1)
    manager.reap_expired(now=clock.now - timedelta(hours=1))
    assert manager.reap_expired(grace_seconds=3600) == ()
    assert len(manager.reap_expired(now=clock.now, grace_seconds=3000)) == 1


def test_the_longest_silent_are_taken_back_first(manager, clock):
    first = claim(manager)
    clock.turn(seconds=1)
    claim(manager)
    clock.turn(seconds=60)
    assert [job.job_id for job in manager.reap_expired(limit=1)] == [first.job_id]


def test_the_wait_doubles_up_to_its_cap_and_is_spread():
    random.seed(3)
    backoff = Backoff(base_seconds=5, cap_seconds=60, jitter=0.5)
    for attempt, longest in ((1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (500, 60)):
        waits = {backoff.delay(attempt).total_seconds() for _ in range(200)}
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(waits) > 100
