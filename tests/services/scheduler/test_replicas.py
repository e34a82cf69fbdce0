"""Two replicas as processes, one Postgres, one Valkey: nothing happens twice, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
import redis
from sqlalchemy import text, update

from tests.waiting import wait_until
from utils.service.auth import Token, write_tokens
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.jobs import ScheduleRequest, Signal, TriggerRule
from utils.service.embedded.child import Child, free_port
from utils.service.embedded.valkey import ValkeyServer
from utils.service.queue import TASK
from utils.training.database import open_database
from utils.training.job_queue.tables import schedule as schedule_table

ROLES = ("reader", "submitter", "trainer", "admin")


class Replica:
    def __init__(self, folder, number, database_url, redis_url):
        self.port = free_port()
        self.child = Child(f"scheduler {number}", folder / f"scheduler-{number}.log")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TRAINING_")},
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TRAINING_SCHEDULER_PORT": str(self.port),
            "TRAINING_SCHEDULER_TOKENS_FILE": str(folder / "tokens.json"),
            "TRAINING_SCHEDULER_DATABASE_URL": database_url,
            "TRAINING_SCHEDULER_REDIS_URL": redis_url,
            "TRAINING_SCHEDULER_LOG_FOLDER": str(folder / "logs"),
            "TRAINING_SCHEDULER_PUBLISH_INTERVAL_SECONDS": "0.05",
            "TRAINING_SCHEDULER_CRON_INTERVAL_SECONDS": "0.02",
            "TRAINING_SCHEDULER_TRIGGER_INTERVAL_SECONDS": "0.05",
            "TRAINING_SCHEDULER_REAP_INTERVAL_SECONDS": "0.1",
            "TRAINING_SCHEDULER_LEASE_SECONDS": "0.5",
        }
        url = f"http://127.0.0.1:{self.port}"
        self.as_role = SimpleNamespace(
            **{name: SchedulerClient(url, folder / f"{name}.token") for name in ROLES}
        )

    def start(self):
        self.child.start([sys.executable, "-m", "services.scheduler"], env=self.environment)

    def is_ready(self):
        try:
            return self.as_role.reader.call("GET", "/readyz").status_code == 200
        except ConnectionError:
            return False

    def counted(self, name):
        shown = self.as_role.reader.call("GET", "/metrics").text
        return sum(
            float(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith(name)
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory, postgres, migrated_postgres):
    folder = tmp_path_factory.mktemp("replicas")
    write_tokens(folder / "tokens.json", [Token.of(name, name, f"{name}-token") for name in ROLES])
    for name in ROLES:
        (folder / f"{name}.token").write_text(f"{name}-token")
    database_url = postgres.create_database("replicas", template=migrated_postgres)
    with ValkeyServer(folder / "valkey") as valkey:
        replicas = [Replica(folder, n, database_url, valkey.url()) for n in (1, 2)]
        for replica in replicas:
            replica.start()
        for replica in replicas:
            replica.child.wait_until(replica.is_ready, 60)
        engine = open_database(database_url, migrate=False)
        yield SimpleNamespace(replicas=replicas, engine=engine, valkey=valkey, folder=folder)
        for replica in replicas:
            for client in vars(replica.as_role).values():
                client.close()
            replica.child.stop()
        engine.dispose()


@pytest.fixture(autouse=True)
def empty(pair):
    """Each test has empty tables and an empty queue."""
    with pair.engine.begin() as connection:
        connection.execute(text("TRUNCATE trigger_rule, schedule CASCADE"))
    time.sleep(0.3)  # what the loops are at ends
    with pair.engine.begin() as connection:
        connection.execute(text("TRUNCATE job, trigger_state, trigger_firing CASCADE"))
    with redis.Redis.from_url(pair.valkey.url()) as client:
        client.flushdb()


def nudged(valkey):
    """The jobs that the messages in the queues are about."""
    with redis.Redis.from_url(valkey.url()) as client:
        lists = [key for key in client.keys("training:*") if client.type(key) == b"list"]
        messages = [message for key in lists for message in client.lrange(key, 0, -1)]
    assert all(TASK.encode() in message for message in messages)
    return [json.loads(b64decode(json.loads(m)["body"]))[1]["job_id"] for m in messages]


def counted(pair, name):
    return sum(replica.counted(name) for replica in pair.replicas)


def test_jobs_of_both_are_each_nudged_once_and_claimed_once(pair, config):
    one, two = pair.replicas
    before = counted(pair, "training_nudges_total")
    jobs = [
        replica.as_role.submitter.submit("training", config).job_id
        for _ in range(20)
        for replica in (one, two)
    ]
    wait_until(lambda: counted(pair, "training_nudges_total") - before >= len(jobs))
    assert sorted(nudged(pair.valkey)) == sorted(jobs)
    claimed = [
        (one, two)[number % 2].as_role.trainer.claim(f"w{number}").job_id
        for number in range(len(jobs))
    ]
    assert sorted(claimed) == sorted(jobs)
    assert one.as_role.trainer.claim("late") is None


def test_each_time_of_a_schedule_is_run_once(pair, config):
    one, two = pair.replicas
    schedules = [
        one.as_role.submitter.create_schedule(
            ScheduleRequest(
                name=f"s{number}",
                job_type="training",
                config=config,
                schedule_expr="* * * * *",
                misfire="all",
                overlap="queue",
            )
        ).schedule_id
        for number in range(5)
    ]
    due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=8)
    with pair.engine.begin() as connection:
        connection.execute(update(schedule_table).values(next_run_at=due))
    wait_until(
        lambda: all(
            schedule.next_run_at > datetime.now(UTC)
            for schedule in two.as_role.reader.list_schedules().items
        )
    )
    for schedule_id in schedules:
        history = two.as_role.reader.schedule_history(schedule_id)
        times = [time.occurrence for time in history]
        assert len(set(times)) == len(times) >= 9
        assert len({time.job_id for time in history}) == len(times)
    wait_until(
        lambda: (
            len(one.as_role.reader.list_jobs(limit=200).items)
            == counted(pair, "training_scheduled_jobs_total")
        )
    )


def test_a_model_that_is_too_old_is_trained_by_one_of_them(pair, config):
    one, two = pair.replicas
    before = counted(pair, "training_triggers_fired_total")
    rule = TriggerRule(job=config, time_threshold_days=1e-9)
    one.as_role.submitter.put_trigger("digits", rule)
    (job,) = wait_until(lambda: two.as_role.reader.list_jobs(model_name="digits").items)
    wait_until(lambda: counted(pair, "training_triggers_fired_total") > before)
    time.sleep(0.5)
    assert two.as_role.reader.list_jobs(model_name="digits").items == (job,)
    assert counted(pair, "training_triggers_fired_total") - before == 1


def test_one_window_told_to_both_submits_one_job(pair, config):
    one, two = pair.replicas
    rule = TriggerRule(job=config, windows=1, windows_to_fire=1)
    one.as_role.submitter.put_trigger("digits", rule)
    signal = Signal(drift_score=0.7, window_end=datetime.now(UTC))
    decisions = [replica.as_role.trainer.signal("digits", signal) for replica in (one, two)]
    assert [decision.repeated for decision in decisions] == [False, True]
    (job,) = two.as_role.reader.list_jobs().items
    assert {decision.job_id for decision in decisions} == {job.job_id}


def test_a_silent_trainer_loses_its_job_once(pair, config):
    one, two = pair.replicas
    job = one.as_role.submitter.submit("training", config)
    assert one.as_role.trainer.claim("silent", job_id=job.job_id, lease_seconds=1)
    again = wait_until(
        lambda: (found := two.as_role.reader.get_job(job.job_id)).status == "pending" and found
    )
    time.sleep(0.5)
    history = one.as_role.reader.history(job.job_id)
    assert [event.to_status for event in history] == ["pending", "claimed", "pending"]
    assert again.attempt == 2


def test_a_reader_follows_a_job_over_the_death_of_its_replica(pair, config):
    one, _ = pair.replicas
    job = one.as_role.submitter.submit("training", config)
    stream = one.as_role.reader.events(job.job_id)
    first = next(stream)
    one.child.kill()
    one.start()
    one.child.wait_until(one.is_ready, 60)
    one.as_role.submitter.cancel(job.job_id)
    assert [event.to_status for event in (first, *stream)] == ["pending", "cancelled"]


def test_a_stopping_replica_ends_its_streams_and_leaves_at_once(pair, config):
    _, two = pair.replicas
    job = two.as_role.submitter.submit("training", config)
    url = f"{two.as_role.reader.url}/v1/jobs/{job.job_id}/events"
    headers = {"Authorization": "Bearer reader-token", "Accept": "text/event-stream"}
    with httpx.stream("GET", url, headers=headers, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        process = two.child._process
        process.send_signal(signal.SIGTERM)
        assert "event: end" not in list(lines)
    assert process.wait(20) == 0
    two.start()
    two.child.wait_until(two.is_ready, 60)


def test_a_scheduler_without_settings_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, "-m", "services.scheduler"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "TRAINING_SCHEDULER_DATABASE_URL" in done.stderr
