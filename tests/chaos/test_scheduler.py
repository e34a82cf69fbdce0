"""What is done to the scheduler, and what its callers do all at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.services.trainer.platform import digits_job
from tests.waiting import wait_until
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.jobs import ScheduleRequest, Signal, TriggerRule
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.http import RemoteError, ServiceClient

pytestmark = pytest.mark.chaos

GRACE = timedelta(minutes=5)  # a time that is less late was not missed


@pytest.fixture
def calm(own_platform):
    """A platform without trainers: nobody but the test takes a job."""
    return own_platform


@pytest.fixture
def as_trainer(calm):
    client = SchedulerClient(calm.url("scheduler"), calm.folder / "trainer")
    yield client
    client.close()


def test_a_scheduler_that_was_down_makes_up_for_its_times(calm, recovery):
    made = {
        misfire: calm.scheduler.create_schedule(
            ScheduleRequest(
                name=misfire,
                job_type="training",
                config=digits_job(misfire),
                schedule_expr="0 * * * *",
                misfire=misfire,
                overlap="queue",
            )
        ).schedule_id
        for misfire in ("skip", "once", "all")
    }
    calm.services["scheduler"].child.kill()
    now = datetime.now(UTC)
    hours = [now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=n) for n in range(4)]
    with psycopg.connect(calm.database_url, autocommit=True) as connection:
        connection.execute("UPDATE schedule SET next_run_at = %s", [hours[-1]])
    with recovery(tried=3):
        calm.services["scheduler"].start()
        calm.services["scheduler"].wait()
        wait_until(
            lambda: all(
                schedule.next_run_at > datetime.now(UTC)
                for schedule in calm.scheduler.list_schedules().items
            )
        )
    missed = {hour for hour in hours if now - hour > GRACE}
    made_up = {}
    for misfire, schedule_id in made.items():
        history = calm.scheduler.schedule_history(schedule_id)
        run = [time for time in history if time.job_id is not None and time.occurrence in missed]
        assert len({time.job_id for time in run}) == len(run)
        made_up[misfire] = len(run)
    assert made_up == {"skip": 0, "once": 1, "all": len(missed)}


def test_a_cancel_is_heard_in_every_state(calm, as_trainer, record_property):
    def submit(**values):
        return calm.scheduler.submit("training", digits_job("cancelled"), **values)

    def claimed():
        return as_trainer.claim("w", job_id=submit().job_id, lease_seconds=600)

    def started():
        job = claimed()
        return as_trainer.start(job.job_id, job.fencing_token)

    def ended(outcome):
        job = started()
        return as_trainer.finish(
            job.job_id, job.fencing_token, outcome, error="a test", retryable=False
        )

    first = submit()
    at_once = {
        "pending": submit(),
        "waiting for another": submit(after=[first.job_id]),
        "waiting for its time": submit(run_after=datetime.now(UTC) + timedelta(days=1)),
    }
    failed = started()
    as_trainer.finish(failed.job_id, failed.fencing_token, "failed", error="a test")
    at_once["between two attempts"] = failed
    for state, job in at_once.items():
        assert calm.scheduler.cancel(job.job_id).status == "cancelled", state
        assert calm.scheduler.cancel(job.job_id).status == "cancelled", state
    for job in (claimed(), started()):
        assert calm.scheduler.cancel(job.job_id).status == "cancelling"
        assert calm.scheduler.cancel(job.job_id).status == "cancelling"
        assert as_trainer.heartbeat(job.job_id, job.fencing_token).cancel_requested
        done = as_trainer.finish(job.job_id, job.fencing_token, "cancelled")
        assert done.status == "cancelled"
    for outcome in ("completed", "failed"):
        with pytest.raises(RemoteError, match="can't be cancelled") as caught:
            calm.scheduler.cancel(ended(outcome).job_id)
        assert caught.value.status == 409
    assert as_trainer.claim("late", job_id=at_once["pending"].job_id) is None
    record_property("tried", 8)


def test_a_storm_of_reasons_submits_one_job(calm, as_trainer, record_property):
    rule = TriggerRule(job=digits_job("stormy"), windows=1, windows_to_fire=1)
    calm.scheduler.put_trigger("stormy", rule)
    start = datetime.now(UTC)

    def tell(number):
        window = start + timedelta(seconds=number)
        return as_trainer.signal("stormy", Signal(drift_score=0.9, window_end=window))

    with ThreadPoolExecutor(15) as pool:
        decisions = list(pool.map(tell, range(150)))
    assert sum(decision.fired for decision in decisions) == 1
    time.sleep(0.5)
    assert len(calm.scheduler.list_jobs(model_name="stormy").items) == 1
    record_property("tried", 150)


def test_four_promotions_at_once_leave_one_version(calm, tmp_path, record_property):
    (tmp_path / "bundle").write_bytes(b"a bundle")
    digest = calm.registry.upload(tmp_path / "bundle")
    models = [
        calm.registry.register(
            ModelRegistration(name="digits", bundle_digest=digest, task_type="t")
        ).model_id
        for _ in range(4)
    ]
    services = [ServiceClient(calm.url("registry"), calm.folder / "admin") for _ in models]
    barrier, rounds = threading.Barrier(4), 10

    def promote(number):
        client = RegistryClient(services[number])
        for _ in range(rounds):
            barrier.wait(60)
            client.promote(models[number], PromotionRequest(force=True, reason="a test"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, range(4)))
    for service in services:
        service.close()
    tags = Counter(model.tag for model in calm.registry.list_models(name="digits").items)
    assert tags["production"] == 1
    audit = calm.registry.history("digits")
    assert calm.registry.tagged("digits").model_id == audit[0].model_id
    assert [row.sequence for row in audit] == list(range(len(audit), 0, -1))
    record_property("tried", rounds)
