"""The scheduler's client where it is more than one call: streams that break, pages, pieces.

The calls themselves are tested against the real service.
"""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.service.clients.event_stream import Message, messages
from utils.service.clients.scheduler import SchedulerClient
from utils.service.contracts.document import to_json
from utils.service.contracts.jobs import Progress
from utils.service.http import RemoteError, UnreachableError
from utils.training.job_queue import JobEvent, JobStatus


def event(event_id, status):
    return JobEvent(
        event_id=event_id,
        job_id=1,
        at=datetime(2026, 3, 2, tzinfo=UTC),
        from_status=None,
        to_status=JobStatus(status),
        attempt=1,
        reason=None,
        actor=None,
    )


def said(value):
    data = to_json(JobEvent, value).decode()
    return f"id: {value.event_id}\nevent: status\ndata: {data}\n\n"


@contextmanager
def scheduler(answers):
    """A server that gives these answers, one a request: a status, or the text of a stream."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Last-Event-ID"))
            answer = answers[min(len(asked), len(answers)) - 1]
            if isinstance(answer, int):
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            # An announced length that never comes is a connection that broke.
            self.send_header("Content-Length", str(len(answer) + ("end" not in answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            """Say nothing of each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        client = SchedulerClient(
            f"http://127.0.0.1:{server.server_port}", patience_seconds=0.3, timeout_seconds=5
        )
        yield client, asked
        client.close()
        server.shutdown()
        thread.join()


END = "event: end\ndata: {}\n\n"


def test_a_stream_is_resumed_behind_the_last_event_over_breaks_and_a_busy_service():
    first, second, third = (
        event(n, status) for n, status in ((4, "pending"), (5, "claimed"), (9, "completed"))
    )
    progress = 'event: progress\ndata: {"step": 3}\n\n'
    with scheduler([said(first) + said(second), 503, progress, said(third) + END]) as (
        client,
        asked,
    ):
        seen = list(client.events(1))
    assert seen == [first, second, Progress(step=3), third]
    assert asked == [None, "5", "5", "5"]


def test_nothing_more_to_say_ends_the_stream():
    with scheduler([204]) as (client, asked):
        assert list(client.events(1, after=7)) == []
    assert asked == ["7"]


def test_a_refusal_is_no_break():
    with scheduler([404]) as (client, asked), pytest.raises(RemoteError) as caught:
        list(client.events(1))
    assert caught.value.status == 404
    assert len(asked) == 1


def test_patience_with_a_busy_service_ends():
    with scheduler([503]) as (client, asked), pytest.raises(RemoteError):
        list(client.events(1))
    assert len(asked) > 1


def test_patience_with_a_service_that_is_away_ends():
    with scheduler([204]) as (client, _):
        pass
    away = SchedulerClient(client.url, patience_seconds=0.3)
    with pytest.raises(UnreachableError, match="did not come back"):
        list(away.events(1))
    away.close()


def test_messages_are_read_as_the_standard_says():
    text = (
        "retry: 1000\n\n: a comment\n\nid: 1\nevent: status\ndata: one\ndata:two\n\n"
        "data\n\nid: 2\n\ndata: unfinished"
    )
    assert list(messages(text.splitlines())) == [
        Message("status", "one\ntwo", "1"),
        Message("message", "", None),
    ]


def test_an_event_comes_back_as_the_library_s_own_value():
    with scheduler([said(event(1, "running")) + END]) as (client, _):
        (found,) = client.events(1)
    assert found.to_status is JobStatus.RUNNING
