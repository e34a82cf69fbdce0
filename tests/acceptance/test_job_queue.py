"""The queue and the scheduler as their users call them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from utils.training.job_queue import JobManager, TrainingScheduler


@dataclass
class Configuration:
    learning_rate: float = 1e-3
    epochs: int = 4

    def to_dict(self):
        return {"learning_rate": self.learning_rate, "epochs": self.epochs}


@dataclass
class Executed:
    jobs: list = field(default_factory=list)

    def __call__(self, job):
        self.jobs.append(job)


@pytest.fixture(params=["path", "postgres"])
def location(request):
    return "jobs.db" if request.param == "path" else request.getfixturevalue("postgres_url")


def test_a_worker_s_loop(location):
    config, execute_job = Configuration(), Executed()
    manager = JobManager(location)

    job_id = manager.submit_job(
        job_type="training", config={"training_config": config.to_dict()}, priority=5
    )
    job = manager.claim_job(worker_id="worker-1")
    if job:
        execute_job(job)
        manager.mark_completed(job.job_id)

    (executed,) = execute_job.jobs
    assert executed.job_id == job_id
    assert executed.config["training_config"] == {"learning_rate": 1e-3, "epochs": 4}
    assert executed.priority == 5
    assert manager.get_job(job_id).status == "completed"
    assert manager.claim_job(worker_id="worker-1") is None


def test_a_daily_schedule(location):
    config = Configuration()
    scheduler = TrainingScheduler(location)

    schedule_id = scheduler.create_schedule(
        name="daily-retrain",
        job_type="training",
        config={"training_config": config.to_dict()},
        schedule_expr="0 2 * * *",
        priority=3,
    )

    due = scheduler.get_schedule(schedule_id).next_run_at
    (job_id,) = scheduler.tick(now=due)
    assert scheduler.tick(now=due) == ()
    job = JobManager(location).claim_job(worker_id="worker-1")
    assert (job.job_id, job.priority) == (job_id, 3)
    assert job.config == {"training_config": config.to_dict()}


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("0 2 * * *", [(3, 2), (4, 2), (5, 2)]),
        ("0 */6 * * *", [(2, 18), (3, 0), (3, 6)]),
        ("0 0 * * 0", [(8, 0), (15, 0), (22, 0)]),
    ],
)
def test_the_expressions_mean_what_they_say(expression, following):
    monday = datetime(2026, 3, 2, 12, tzinfo=UTC)
    times = TrainingScheduler("jobs.db").preview(expression, n=3, start=monday)
    assert [(time.day, time.hour) for time in times] == following
