"""What becomes of a job when its worker dies, must go, or is told to stop."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytestmark = pytest.mark.slow  # `make chaos` has the same faults on a whole platform

SLOW = {"entry_point": "slow_digits:build_model"}


def is_past(step):
    return lambda job: ((job.progress or {}).get("step") or 0) >= step


def test_a_killed_workers_job_is_resumed_by_another_to_the_same_model(
    platform, undisturbed, two_trainers, make_job
):
    job = platform.scheduler.submit("training", make_job("killed", model=SLOW))
    platform.wait_for(job, is_past(50))
    deadline = time.monotonic() + 20
    while platform.registry.newest_checkpoint(job.job_id) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    holder = platform.scheduler.get_job(job.job_id).worker_id
    two_trainers[holder].kill()
    done = platform.end_of(job)
    assert done.status == "completed", (done.error, platform.log(job))
    assert done.worker_id != holder
    assert done.attempt == 2
    assert "Resumed from" in platform.log(job)
    assert len(platform.registry.list_models(name="killed").items) == 1
    # Every byte of the bundle: the weights, what they answer, the profile of the data.
    assert done.result["bundle_digest"] == undisturbed.job.result["bundle_digest"]


def test_a_worker_that_must_go_saves_and_gives_back_its_job(
    platform, undisturbed, two_trainers, make_job
):
    job = platform.scheduler.submit("training", make_job("released", model=SLOW))
    platform.wait_for(job, is_past(30))
    holder = platform.scheduler.get_job(job.job_id).worker_id
    leaving = two_trainers[holder]
    os.kill(leaving.pid, signal.SIGTERM)
    leaving._process.wait(30)
    assert leaving._process.returncode == 0
    saved = platform.registry.newest_checkpoint(job.job_id)
    assert saved.step >= 30
    done = platform.end_of(job)
    assert done.status == "completed", (done.error, platform.log(job))
    assert done.attempt == 1  # giving back costs none
    assert done.worker_id != holder
    assert len(platform.registry.list_models(name="released").items) == 1
    assert done.result["bundle_digest"] == undisturbed.job.result["bundle_digest"]


def test_a_cancelled_job_stops_and_its_run_says_so(platform, trainer, make_job):
    slowest = {"entry_point": "slow_digits:build_model", "arguments": {"seconds": 0.5}}
    job = platform.scheduler.submit("training", make_job("cancelled", model=slowest))
    platform.wait_for(job, is_past(1))
    platform.scheduler.cancel(job.job_id, "not wanted any more")
    done = platform.end_of(job)
    assert done.status == "cancelled"
    (run,) = platform.registry.list_runs(name=f"cancelled job {job.job_id}").items
    assert run.status == "cancelled"
    assert platform.registry.list_models(name="cancelled").items == ()
