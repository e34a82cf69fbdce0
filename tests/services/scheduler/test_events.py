"""A job's events: as a list, and as a stream that goes on where it broke."""

import itertools
import threading

import httpx
import pytest

from services.scheduler.app import create_app
from utils.service.contracts.jobs import Progress
from utils.training.job_queue import JobEvent, JobStatus

READER = {"Authorization": "Bearer reader-token", "Accept": "text/event-stream"}


def statuses(events):
    return [event.to_status for event in events if isinstance(event, JobEvent)]


def submit_and_claim(web, config):
    return web.trainer.claim("w", job_id=web.submitter.submit("training", config).job_id)


def finish(web, job):
    web.trainer.start(job.job_id, job.fencing_token)
    web.trainer.heartbeat(job.job_id, job.fencing_token, Progress(step=5, loss=0.5))
    return web.trainer.finish(job.job_id, job.fencing_token, "completed")


def test_the_list_goes_on_behind_the_last_event_seen(web, config):
    job = finish(web, submit_and_claim(web, config))
    events = web.reader.history(job.job_id)
    assert statuses(events) == ["pending", "claimed", "running", "completed"]
    assert web.reader.history(job.job_id, events[1].event_id) == events[2:]
    url = f"{web.url}/v1/jobs/{job.job_id}/events"
    page = httpx.get(url, params={"limit": 3}, headers=READER | {"Accept": "*/*"}).json()
    assert page["next_cursor"] == str(events[2].event_id)


def test_a_stream_tells_of_a_running_job_until_it_is_finished(web, config):
    job = submit_and_claim(web, config)
    stream = web.reader.events(job.job_id)
    seen = list(itertools.islice(stream, 2))
    assert statuses(seen) == ["pending", "claimed"]
    finishing = threading.Thread(target=finish, args=(web, job))
    finishing.start()
    rest = list(stream)
    finishing.join()
    assert statuses(rest)[-1] is JobStatus.COMPLETED
    assert statuses(rest).count(JobStatus.RUNNING) == 1
    assert [event.step for event in rest if isinstance(event, Progress)] == [5]


def test_a_stream_resumes_behind_the_last_event_and_has_nothing_to_say_after_the_end(web, config):
    job = finish(web, submit_and_claim(web, config))
    events = web.reader.history(job.job_id)
    url = f"{web.url}/v1/jobs/{job.job_id}/events"
    answer = httpx.get(url, headers=READER | {"Last-Event-ID": str(events[2].event_id)})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert f"id: {events[3].event_id}\nevent: status\n" in answer.text
    assert f"id: {events[2].event_id}\n" not in answer.text
    assert answer.text.endswith("event: end\ndata: {}\n\n")
    over = httpx.get(url, headers=READER | {"Last-Event-ID": str(events[3].event_id)})
    assert over.status_code == 204
    assert list(web.reader.events(job.job_id, events[3].event_id)) == []


def test_a_reader_follows_over_streams_that_end_early(settings, config, serving):
    app = create_app(settings.model_copy(update={"stream_seconds": 0.05}))
    with serving(app) as web:
        job = submit_and_claim(web, config)
        stream = web.reader.events(job.job_id)
        first = next(stream)
        finishing = threading.Timer(0.7, finish, args=(web, job))
        finishing.start()
        assert statuses([first, *stream]) == ["pending", "claimed", "running", "completed"]
        finishing.join()


def test_more_readers_than_there_is_room_for_are_told_to_come_again(settings, config, serving):
    app = create_app(settings.model_copy(update={"threads": 2}))
    with serving(app) as web:
        job = submit_and_claim(web, config)
        url = f"{web.url}/v1/jobs/{job.job_id}/events"
        with httpx.stream("GET", url, headers=READER) as held:
            lines = held.iter_lines()
            assert next(lines) == "retry: 1000"
            refused = httpx.get(url, headers=READER)
            assert refused.status_code == 503
            assert refused.headers["Retry-After"] == "2"
            finish(web, job)
            assert "event: end" in list(lines)
        deadline = threading.Event()
        for _ in range(100):
            if httpx.get(url, headers=READER).status_code == 200:
                break
            deadline.wait(0.05)
        else:
            pytest.fail("the place of a reader who left is not given to another")


def test_streams_end_with_the_service(web, config, parts):
    job = submit_and_claim(web, config)
    url = f"{web.url}/v1/jobs/{job.job_id}/events"
    with httpx.stream("GET", url, headers=READER) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        parts.stopping.set()
        assert "event: end" not in list(lines)
