"""The whole platform under fire, and the whole platform told to go."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from sqlalchemy.exc import DBAPIError

from services.cli.stack.members import Service
from services.cli.stack.options import StackOptions
from services.cli.stack.stack import Stack
from services.cli.stack.watch import Watched
from tests.chaos.conftest import slow_job
from tests.services.trainer.platform import ROOT, digits_job
from utils.service.clients.registry import RegistryClient
from utils.service.clients.scheduler import SchedulerClient
from utils.service.http import ServiceClient
from utils.training.database import open_database
from utils.training.job_queue import JobManager, JobStatus

pytestmark = pytest.mark.chaos

JOBS, KILLS, WORKERS, NAMES = 500, 30, 3, 10


def worker(stack, name, scheduler_url):
    """A worker on that stack, whose jobs are small."""
    values = {
        "NAME": name,
        "REDIS_URL_FILE": stack.folder / "secrets" / "valkey.url",
        "SCHEDULER_URL": scheduler_url,
        "REGISTRY_URL": stack.urls["registry"][0],
        "TOKEN_FILE": stack.token_files["trainer"],
        "DATA_FOLDER": stack.data_folder,
        "WORK_FOLDER": stack.folder / "work" / name,
        "LEASE_SECONDS": 5,
    }
    environment = os.environ | {f"TRAINING_TRAINER_{k}": str(v) for k, v in values.items()}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "shared")])
    return Watched(
        Service(
            name,
            [sys.executable, str(ROOT / "tests" / "chaos" / "small_trainer.py")],
            environment,
            stack.folder / "logs" / f"{name}.log",
            kind="trainer",
            is_ready=lambda: True,
            death_signal=signal.SIGKILL,
        )
    )


def kill_one_of(pids, dice):
    """Kill -9 a service, or as likely a process that it started."""
    service = psutil.Process(dice.choice(pids))
    below = service.children(recursive=True)
    victim = dice.choice(below) if below and dice.random() < 0.5 else service
    victim.kill()


def completed(manager):
    with suppress(DBAPIError):
        return manager.statistics().counts[JobStatus.COMPLETED]
    return 0


def fire(stack, workers, manager, record_property):
    """Kill at each so many jobs that are done, until all are."""
    dice, waiting, last = random.Random(7), None, 0
    kills, deadline = 0, time.monotonic() + 1200
    while (done := completed(manager)) < JOBS:
        assert time.monotonic() < deadline, f"{done} of {JOBS} done after {kills} kills"
        for watched in workers:
            watched.look()
        last = max(last, done)
        if waiting is not None and done > waiting[1]:
            record_property("seconds", time.monotonic() - waiting[0])
            waiting = None
        if waiting is None and kills < KILLS and done >= kills * JOBS // (KILLS + 1):
            pids = [service.pid for service in stack.state.services if service.pid]
            pids += [watched.member.pid for watched in workers if watched.member.pid]
            with suppress(psutil.NoSuchProcess):
                kill_one_of(pids, dice)
                kills += 1
                waiting = (time.monotonic(), last)
        time.sleep(0.05)
    return kills


def check_each_was_done_once(manager, ids):
    completions, claims, cursor = Counter(), Counter(), None
    while (page := manager.changes(cursor, limit=1000)).items:
        completions.update(e.job_id for e in page.items if e.to_status is JobStatus.COMPLETED)
        claims.update(e.job_id for e in page.items if e.to_status is JobStatus.CLAIMED)
        cursor = page.next_cursor
    assert completions == Counter(ids)
    assert claims.total() >= len(ids)


def test_five_hundred_jobs_survive_thirty_kills(tmp_path, record_property):
    with Stack(tmp_path / "stack", StackOptions(schedulers=2, trainers=0)) as stack:
        schedulers = stack.urls["scheduler"]
        scheduler = SchedulerClient(
            schedulers[0], stack.token_files["submitter"], patience_seconds=120
        )
        service = ServiceClient(
            stack.urls["registry"][0], stack.token_files["trainer"], patience_seconds=120
        )
        registry = RegistryClient(service)
        (tmp_path / "bundle").write_bytes(b"a small bundle")
        arguments = {"digest": registry.upload(tmp_path / "bundle")}
        names = [f"small-{number % NAMES}" for number in range(JOBS)]
        ids = [
            scheduler.submit(
                "training",
                digits_job(name, model={"entry_point": "small:job", "arguments": arguments}),
                max_attempts=20,
            ).job_id
            for name in names
        ]
        engine = open_database(
            (stack.folder / "secrets" / "postgres.url").read_text().strip(), migrate=False
        )
        manager = JobManager(engine)
        workers = [
            worker(stack, f"small-{n}", schedulers[n % len(schedulers)]) for n in range(WORKERS)
        ]
        try:
            for watched in workers:
                watched.start()
            kills = fire(stack, workers, manager, record_property)
            check_each_was_done_once(manager, ids)
            registered = [
                model.metadata["job_id"]
                for name in set(names)
                for model in registry.list_models(name=name, limit=100).items
            ]
            assert sorted(registered) == sorted(ids)
        finally:
            for watched in workers:
                watched.member.kill()
            scheduler.close()
            service.close()
            engine.dispose()
    assert kills == KILLS
    record_property("tried", kills)


def test_everything_that_is_told_to_go_is_gone_in_time(
    own_platform, platform, undisturbed, recovery
):
    trainer = own_platform.start_trainers("trainer-1")["trainer-1"]
    job = own_platform.scheduler.submit("training", slow_job("undisturbed"))
    own_platform.wait_for(job, lambda found: ((found.progress or {}).get("step") or 0) >= 30)
    pids = [own_platform.postgres.pid, own_platform.valkey.pid, trainer.pid]
    pids += [service.child.pid for service in own_platform.services.values()]
    processes = [psutil.Process(pid) for pid in pids]
    processes += [child for process in processes for child in process.children(recursive=True)]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    handles = [trainer, *(service.child for service in own_platform.services.values())]
    while time.monotonic() < deadline:
        ended = [handle.pid is None for handle in handles]
        databases = [own_platform.postgres.pid, own_platform.valkey.pid]
        left = [process for process in processes if process.is_running()]
        if all(ended) and databases == [None, None] and not left:
            break
        time.sleep(0.1)
    assert not left, [" ".join(process.cmdline()) for process in left]
    with recovery():
        own_platform.postgres.start()
        own_platform.valkey.start()
        for service in own_platform.services.values():
            service.start()
        for service in own_platform.services.values():
            service.wait()
        own_platform.start_trainers("trainer-1")
        done = own_platform.end_of(job, 200)
    assert done.status == "completed", (done.error, own_platform.log(job))
    assert done.result["bundle_digest"] == undisturbed
    assert len(own_platform.registry.list_models(name="undisturbed").items) == 1
