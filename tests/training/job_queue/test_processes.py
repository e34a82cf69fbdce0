"""Many real processes on one database, and processes that are killed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.waiting import wait_until
from utils.training.database import open_database
from utils.training.job_queue import JobManager, JobStatus, TrainingScheduler

PROGRAM = Path(__file__).with_name("processes.py")


def run_together(*commands):
    """Start the processes at once, and give back what each of them printed."""
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    outcomes = []
    for process in started:
        printed, errors = process.communicate(timeout=250)
        assert process.returncode == 0, errors
        outcomes.append(json.loads(printed))
    return outcomes


def test_every_job_is_claimed_by_one_process(database_url):
    manager = JobManager(database_url)
    ids = [manager.submit_job("training", {}, n % 4) for n in range(200)]
    outcomes = run_together(*[("claim_all", database_url)] * 4)
    assert sorted(job_id for mine in outcomes for job_id in mine) == ids


def test_everything_at_once_meets_no_lock(database_url):
    outcomes = run_together(*[("work", database_url)] * 4)
    done = [job_id for mine in outcomes for job_id in mine]
    assert len(done) == len(set(done)) == 60
    manager = JobManager(database_url)
    counts = manager.statistics().counts
    assert counts[JobStatus.COMPLETED] == 60
    assert sum(counts.values()) == 120
    assert set(map(str, counts)) == set(map(str, JobStatus))


def test_a_dependency_that_ends_during_the_submission_is_seen(database_url):
    manager = JobManager(database_url)
    for _ in range(3):
        target = manager.submit_job("training", {})
        manager.claim_job("w", job_id=target)
        children, _ = run_together(
            ("depend", database_url, target), ("finish", database_url, target)
        )
        waits = {manager.get_job(child).unmet_dependencies for child in children}
        assert waits == {0}


def test_two_schedulers_submit_each_time_once(database_url):
    until = datetime(2026, 1, 15, tzinfo=UTC)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    scheduler = TrainingScheduler(database_url, clock=lambda: start)
    options = {"misfire": "all", "max_catch_up": 10_000, "overlap": "queue"}
    ids = [
        scheduler.create_schedule(f"s{n}", "training", {}, expression, **options)
        for n, expression in enumerate(("0 */6 * * *", "30 2 * * *", "0 0 * * 0"))
    ]
    outcomes = run_together(*[("tick", database_url, until.isoformat())] * 2)
    submitted = [job_id for mine in outcomes for job_id in mine]
    assert len(submitted) == len(set(submitted))
    for schedule_id in ids:
        expected = [t for t in scheduler.preview(schedule_id, 100, start=start) if t <= until]
        history = scheduler.history(schedule_id, limit=1000)
        assert [row.occurrence for row in history[::-1]] == expected
        assert len({row.job_id for row in history}) == len(expected)
    assert len(submitted) == sum(len(scheduler.history(n, limit=1000)) for n in ids)


def completed_and_claimed(manager):
    """How often each job was, as far as it is told by now."""
    completions, claims = Counter(), Counter()
    cursor = None
    while (page := manager.changes(cursor, limit=1000)).items:
        completions.update(e.job_id for e in page.items if e.to_status is JobStatus.COMPLETED)
        claims.update(e.job_id for e in page.items if e.to_status is JobStatus.CLAIMED)
        cursor = page.next_cursor
    return completions, claims


def check_kills(database_url, num_jobs, seed):
    """Run the jobs under fire; none may be lost, and none completed twice."""
    (counts,) = run_together(("farm", database_url, num_jobs, seed))
    manager = JobManager(database_url)
    assert counts["kills"] > 0
    # What a killed process has begun may hold later changes back for a moment.
    wait_until(lambda: len(completed_and_claimed(manager)[0]) == num_jobs)
    completions, claims = completed_and_claimed(manager)
    assert set(completions.values()) == {1}
    with open_database(database_url).connect() as connection:
        ledger = {tuple(row) for row in connection.execute(text("SELECT * FROM ledger"))}
    for job_id in completions:
        job = manager.get_job(job_id)
        # Whoever completed it had written to the ledger under the last token, and nobody after.
        assert (job_id, job.fencing_token) in ledger
        assert job.fencing_token == claims[job_id]
        assert max(token for owner, token in ledger if owner == job_id) == job.fencing_token
    return counts | {"claims": claims.total()}


def test_killed_workers_lose_no_job_and_complete_none_twice(database_url):
    check_kills(database_url, 40, seed=1)


@pytest.mark.slow
def test_three_hundred_jobs_survive_kills_at_random(database_url):
    counts = check_kills(database_url, 300, seed=2)
    logging.getLogger(__name__).info("%s", counts)
    assert counts["kills"] >= 30
    assert counts["claims"] > 300
