"""What a queue holds, as an autoscaler asks for it."""

from __future__ import annotations

import pytest

from utils.service.http import RemoteError


def test_a_running_job_counts_as_demand_until_it_ends(web, config):
    jobs = [web.submitter.submit("training", config) for _ in range(2)]
    assert _queue(web) == {"queue": "training", "ready": 2, "running": 0, "demand": 2}
    held = web.trainer.claim("w", job_id=jobs[0].job_id)
    web.trainer.start(held.job_id, held.fencing_token)
    assert _queue(web) == {"queue": "training", "ready": 1, "running": 1, "demand": 2}
    web.trainer.finish(held.job_id, held.fencing_token, "completed")
    web.submitter.cancel(jobs[1].job_id, "not wanted")
    assert _queue(web) == {"queue": "training", "ready": 0, "running": 0, "demand": 0}


def test_a_queue_that_is_none_is_refused(web):
    with pytest.raises(RemoteError) as refusal:
        web.reader.call("GET", "/v1/queues/cooking")
    assert refusal.value.status == 422


def _queue(web):
    return web.reader.call("GET", "/v1/queues/training").json()
