"""Nudges: sent for every claimable job, whatever Redis does."""

from contextlib import suppress

import pytest
import redis
from kombu.exceptions import OperationalError
from sqlalchemy import text

from services.scheduler.app import create_app
from utils.service.embedded.valkey import ValkeyServer
from utils.service.queue import create_queue


def received(url, queue="training"):
    """The job ids of the nudges that lie in a queue."""
    app = create_queue(url)
    ids = []
    with app.connection_for_read() as connection:
        simple = connection.SimpleQueue(queue)
        with suppress(simple.Empty):
            while True:
                message = simple.get_nowait()
                ids.append(message.payload[1]["job_id"])
                message.ack()
        simple.close()
    app.close()
    return ids


@pytest.fixture
def publisher(parts, valkey):
    with redis.Redis.from_url(valkey.url()) as client:
        client.flushdb()
    return parts.publisher


def test_each_claimable_job_is_nudged_once(web, config, parts, publisher, valkey):
    first = web.submitter.submit("training", config)
    waiting = web.submitter.submit("training", config, after=[first.job_id])
    assert publisher.publish() == 1
    assert publisher.publish() == 0
    assert received(valkey.url()) == [first.job_id]
    held = web.trainer.claim("w", job_id=first.job_id)
    web.trainer.finish(held.job_id, held.fencing_token, "completed")
    assert publisher.publish() == 1
    assert received(valkey.url()) == [waiting.job_id]


def test_many_jobs_are_all_nudged_in_one_go(parts, config, publisher, valkey):
    ids = [parts.manager.submit_job("training", config) for _ in range(250)]
    assert publisher.publish() == 250
    assert sorted(received(valkey.url())) == ids


def test_a_hanging_replica_is_not_waited_for(parts, config, publisher, valkey):
    job_id = parts.manager.submit_job("training", config)
    with parts.engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({0x7075_626C_6973_68})"))
        assert publisher.publish() == 1
    assert received(valkey.url()) == [job_id]


def test_a_redis_that_is_away_delays_a_job_and_loses_none(settings, config, tmp_path, serving):
    server = ValkeyServer(tmp_path / "own")
    with server:
        away = server.url()
    app = create_app(settings.model_copy(update={"redis_url": away}))
    with serving(app) as web:
        job = web.submitter.submit("training", config)
        publisher = app.extensions["parts"].publisher
        with pytest.raises(OperationalError):
            publisher.publish()
        ready = app.test_client().get("/readyz")
        assert (ready.status_code, ready.json["status"]) == (200, "degraded")
        assert ready.json["checks"]["redis"] == "ConnectionError"
        with server:
            assert publisher.publish() == 1
            assert received(server.url()) == [job.job_id]
