"""Databases that die and come back, with all that they knew or with nothing."""

from __future__ import annotations

import hashlib
import threading

import pytest

from tests.chaos.conftest import slow_job
from tests.services.trainer.platform import digits_job
from tests.waiting import wait_until
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.models import ModelRegistration, PromotionRequest
from utils.service.http import ServiceClient

pytestmark = pytest.mark.chaos

ROUNDS = 3


def test_a_redis_that_comes_back_empty_loses_no_job(platform, undisturbed, trainers, recovery):
    running = platform.scheduler.submit("training", slow_job("redis"))
    platform.wait_for(running, lambda found: ((found.progress or {}).get("step") or 0) >= 10)
    waiting = [
        platform.scheduler.submit("training", digits_job(f"waiting-{n}", epochs=1))
        for n in range(3)
    ]
    platform.empty_redis()
    with recovery():
        ends = [platform.end_of(job, 240) for job in (running, *waiting)]
    assert {(end.status, end.attempt) for end in ends} == {("completed", 1)}
    assert ends[0].result["bundle_digest"] == undisturbed


class Caller(threading.Thread):
    """Calls again and again until it is told to stop, and keeps what was answered."""

    def __init__(self, call):
        super().__init__()
        self.answers, self.faults = [], []
        self.stopping = threading.Event()
        self._call = call

    def run(self):
        while not self.stopping.is_set():
            try:
                self.answers.append(self._call())
            except Exception as error:  # noqa: BLE001 - every kind counts
                self.faults.append(error)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_postgres_that_restarts_is_waited_for(own_platform, recovery, tmp_path, end):
    platform = own_platform
    (tmp_path / "bundle").write_bytes(b"a bundle")
    digest = platform.registry.upload(tmp_path / "bundle")
    assert digest == hashlib.sha256(b"a bundle").hexdigest()
    models = [
        platform.registry.register(
            ModelRegistration(name="digits", bundle_digest=digest, task_type="t")
        )
        for _ in range(2)
    ]
    trainer = SchedulerClient(
        platform.url("scheduler"), platform.folder / "trainer", patience_seconds=120
    )
    beating = platform.scheduler.submit("training", digits_job("beating"))
    held = trainer.claim("beater", job_id=beating.job_id, lease_seconds=600)
    admin_service = ServiceClient(
        platform.url("registry"), platform.folder / "admin", patience_seconds=120
    )
    admin = RegistryClient(admin_service)
    clients = [
        SchedulerClient(platform.url("scheduler"), platform.folder / role, patience_seconds=120)
        for role in ("submitter", "trainer", "trainer")
    ]
    count = iter(range(10**9))

    def submit_and_claim():
        job = clients[0].submit("training", digits_job("claimed"))
        return clients[1].claim("claimer", job_id=job.job_id, lease_seconds=600).job_id

    def beat():
        return clients[2].heartbeat(held.job_id, held.fencing_token, None, 600)

    def promote():
        model = models[next(count) % 2]
        request = PromotionRequest(force=True, reason="a test")
        return admin.promote(model.model_id, request).model_id

    callers = [Caller(call) for call in (submit_and_claim, beat, promote)]
    for caller in callers:
        caller.start()
    for _ in range(ROUNDS):
        counts = [len(caller.answers) for caller in callers]
        wait_until(
            lambda counts=counts: all(
                len(c.answers) > n for c, n in zip(callers, counts, strict=True)
            )
        )
        getattr(platform.postgres, end)()
        platform.postgres.start()
        counts = [len(caller.answers) for caller in callers]
        with recovery():
            wait_until(
                lambda counts=counts: all(
                    len(c.answers) > n + 1 for c, n in zip(callers, counts, strict=True)
                )
            )
    for caller in callers:
        caller.stopping.set()
    for caller in callers:
        caller.join(150)
    assert [caller.faults for caller in callers] == [[], [], []]
    claimed = callers[0].answers
    assert len(set(claimed)) == len(claimed)
    assert {trainer.get_job(job_id).worker_id for job_id in claimed} == {"claimer"}
    assert trainer.get_job(held.job_id).fencing_token == held.fencing_token
    assert platform.registry.tagged("digits").model_id == callers[2].answers[-1]
    tagged = platform.registry.list_models(name="digits", tag="production").items
    assert len(tagged) == 1
    for client in (trainer, *clients, admin_service):
        client.close()
