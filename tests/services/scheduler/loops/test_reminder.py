"""Jobs whose nudges got lost are announced again; those whose nudges wait are not."""

import pytest
import redis

from services.scheduler.loops.reminder import Reminder
from utils.service.queue import create_queue, num_nudges


@pytest.fixture
def client(valkey):
    with redis.Redis.from_url(valkey.url()) as client:
        client.flushdb()
        yield client


@pytest.fixture
def queue(valkey):
    app = create_queue(valkey.url())
    yield app
    app.close()


@pytest.fixture
def reminder(parts, queue):
    yield Reminder(parts.engine, parts.manager, queue, 1e-6, parts.counters)
    parts.close()


def test_lost_nudges_are_made_up_for_by_a_few(parts, config, client, queue, reminder):
    for _ in range(50):
        parts.manager.submit_job("training", config)
    parts.manager.submit_job("export", config)
    parts.publisher.publish()
    assert reminder.remind() == 0
    assert num_nudges(queue, "training") == 50
    client.flushdb()
    assert reminder.remind() == 21
    assert num_nudges(queue, "training") == 20
    assert num_nudges(queue, "export") == 1
    assert reminder.remind() == 0


def test_a_claimed_job_is_not_reminded_of(parts, config, client, queue, reminder):
    job_id = parts.manager.submit_job("training", config)
    parts.publisher.publish()
    parts.manager.claim_job("w", job_id=job_id)
    client.flushdb()
    assert reminder.remind() == 0


def test_a_job_that_has_not_waited_for_long_is_not_reminded_of(parts, config, client, queue):
    parts.manager.submit_job("training", config)
    reminder = Reminder(parts.engine, parts.manager, queue, 60, parts.counters)
    assert reminder.remind() == 0
    parts.close()
