"""Nudges over a real server."""

import pytest
import redis

from utils.service.embedded.valkey import ValkeyServer
from utils.service.queue import TASK, create_queue, num_nudges, send_nudge


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


def test_the_higher_priority_is_read_first(server):
    app = create_queue(server.url())
    for job_id, priority in ((1, 0), (2, 5), (3, 9), (4, 99), (5, -3)):
        send_nudge(app, job_id, "training", priority)
    order = []
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("training")
        for _ in range(5):
            message = queue.get(timeout=30)
            assert message.headers["task"] == TASK
            order.append(message.payload[1]["job_id"])
            message.ack()
        queue.close()
    assert order == [3, 4, 2, 1, 5]
    app.close()


def test_a_nudge_holds_no_more_than_the_jobs_number(server):
    app = create_queue(server.url())
    send_nudge(app, 77, "export", 3)
    with redis.Redis.from_url(server.url()) as client:
        keys = [key.decode() for key in client.keys("*")]
        assert keys
        assert all(key.startswith("training:") for key in keys)
        client.flushdb()
    app.close()


def test_nudges_of_every_priority_are_counted_until_they_are_taken(server):
    app = create_queue(server.url())
    assert num_nudges(app, "evaluation") == 0
    for priority in (0, 5, 9):
        send_nudge(app, 1, "evaluation", priority)
    assert num_nudges(app, "evaluation") == 3
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue("evaluation")
        queue.get(timeout=30).ack()
        queue.close()
    assert num_nudges(app, "evaluation") == 2
    app.close()
