"""Processes that the concurrency tests start: ``python processes.py ROLE URL ...``.

Each prints one line of JSON when it ends well.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from utils.training.database import open_database
from utils.training.errors import TrainingError
from utils.training.job_queue import (
    Backoff,
    Job,
    JobManager,
    JobStatus,
    StaleClaimError,
    TrainingScheduler,
    fence,
)

LEASE_SECONDS = 0.6
WORKERS = 4


def claim_all(url: str) -> list[int]:
    """Claim until nothing is left."""
    manager, mine = JobManager(url), []
    while (job := manager.claim_job(f"process-{os.getpid()}")) is not None:
        mine.append(job.job_id)
    return mine


def work(url: str) -> list[int]:
    """Do everything that a worker, a submitter and a reader do, all at once."""
    manager, mine = JobManager(url), []
    for number in range(15):
        first = manager.submit_job("training", {}, number % 3)
        manager.submit_job("training", {}, after=[first])
        # A claim passes over what is locked at that moment, and there is one for everybody.
        tries = (_claim_one_of_two_types(manager) for _ in range(1000))
        job = next(job for job in tries if job is not None)
        mine.append(job.job_id)
        manager.mark_running(job.job_id, job.fencing_token)
        manager.heartbeat(job.job_id, job.fencing_token, {"step": number})
        manager.mark_completed(job.job_id, job.fencing_token)
        manager.list_jobs(limit=5)
        manager.reap_expired()
        manager.mark_nudged(manager.pending_nudges())
        manager.statistics()
    return mine


def _claim_one_of_two_types(manager: JobManager) -> Job | None:
    return manager.claim_job(f"process-{os.getpid()}", ["training", "export"])


def tick(url: str, until: str) -> list[int]:
    """Tick through a year, a minute or so at a time, as fast as it goes."""
    scheduler, submitted = TrainingScheduler(url), []
    now, end = datetime(2026, 1, 1, tzinfo=UTC), datetime.fromisoformat(until)
    while now < end:
        now += timedelta(minutes=random.uniform(1, 90))
        submitted += scheduler.tick(min(now, end))
    return submitted


def depend(url: str, target: str) -> list[int]:
    """Submit jobs that wait for one that another process is about to finish."""
    manager = JobManager(url)
    return [manager.submit_job("child", {}, after=[int(target)]) for _ in range(20)]


def finish(url: str, target: str) -> list[int]:
    """Finish that job in the middle of it."""
    manager = JobManager(url)
    time.sleep(random.uniform(0, 0.2))
    manager.mark_completed(int(target))
    return [int(target)]


def farm(url: str, num_jobs: str, seed: str) -> dict[str, int]:
    """Keep workers and a reaper going on these jobs, and kill them at random, with kill -9."""
    random.seed(int(seed))
    manager = JobManager(url)
    with open_database(url).begin() as connection:
        connection.execute(
            text("CREATE TABLE ledger (job_id BIGINT, token BIGINT, PRIMARY KEY (job_id, token))")
        )
    ids = [
        manager.submit_job("training", {}, random.randrange(3), max_attempts=1000)
        for _ in range(int(num_jobs))
    ]
    children = [_fork(_work_until_killed, url) for _ in range(WORKERS)]
    children.append(_fork(_reap_until_killed, url))
    counts = {"kills": 0, "pauses": 0}
    while not _are_done(manager, len(ids)):
        time.sleep(random.uniform(0.02, 0.1))
        victim = random.randrange(len(children))
        if random.random() < 0.1 and victim < WORKERS:
            _pause(children[victim])
            counts["pauses"] += 1
            continue
        os.kill(children[victim], signal.SIGKILL)
        os.waitpid(children[victim], 0)
        role = _work_until_killed if victim < WORKERS else _reap_until_killed
        children[victim] = _fork(role, url)
        counts["kills"] += 1
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return counts


def _are_done(manager: JobManager, count: int) -> bool:
    return manager.statistics().counts[JobStatus.COMPLETED] == count


def _pause(child: int) -> None:
    """Let a worker sleep past its lease: it comes back as a zombie."""
    os.kill(child, signal.SIGSTOP)
    time.sleep(LEASE_SECONDS * 1.5)
    os.kill(child, signal.SIGCONT)


def _fork(role, url: str) -> int:
    child = os.fork()
    if child == 0:
        random.seed(os.getpid())
        try:
            role(url)
        finally:
            os._exit(1)
    return child


def _reap_until_killed(url: str) -> None:
    manager = JobManager(url, backoff=Backoff(0.01, 0.1))
    while True:
        manager.reap_expired()
        time.sleep(0.05)


def _work_until_killed(url: str) -> None:
    manager, engine = JobManager(url), open_database(url)
    while True:
        job = manager.claim_job(f"process-{os.getpid()}", lease_seconds=LEASE_SECONDS)
        if job is None:
            time.sleep(0.02)
            continue
        held = (job.job_id, job.fencing_token)
        try:
            manager.mark_running(*held)
            for step in range(random.randrange(12)):
                time.sleep(random.uniform(0, 0.03))
                manager.heartbeat(*held, {"step": step}, LEASE_SECONDS)
            with engine.begin() as connection:
                fence(*held)(connection)
                connection.execute(
                    text("INSERT INTO ledger VALUES (:job, :token)"),
                    {"job": held[0], "token": held[1]},
                )
            manager.mark_completed(*held)
        except StaleClaimError:
            continue


if __name__ == "__main__":
    try:
        outcome = globals()[sys.argv[1]](*sys.argv[2:])
    except TrainingError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(outcome))
