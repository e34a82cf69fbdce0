"""Server-sent events of a job, read over every break of the connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from utils.service.contracts.document import from_json
from utils.service.contracts.jobs import Progress
from utils.service.http import RemoteError, UnreachableError
from utils.training.job_queue import JobEvent

_SILENCE_SECONDS = 60.0  # four times what the scheduler takes to say that it is still there
_PAUSE_SECONDS = 0.5

Open = Callable[..., AbstractContextManager[httpx.Response]]


@dataclass(frozen=True)
class Message:
    """One event of a stream; ``event_id`` is None where it can't be resumed from."""

    event: str
    data: str
    event_id: str | None


def follow(
    open_stream: Open, path: str, after: int | None, patience_seconds: float
) -> Iterator[JobEvent | Progress]:
    """Yield a job's events until its end, resuming behind the last one seen.

    Raises:
        RemoteError: the service refused.
        UnreachableError: a ConnectionError; it stayed away for ``patience_seconds``.
    """
    broken_at: float | None = None
    while True:
        try:
            with open_stream(
                path, headers=_headers(after), silence_seconds=_SILENCE_SECONDS
            ) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:
                    return
                broken_at = None
                for message in messages(response.iter_lines()):
                    if message.event == "end":
                        return
                    after = after if message.event_id is None else int(message.event_id)
                    yield _value(message)
        except (httpx.TransportError, RemoteError) as error:
            broken_at = broken_at or time.monotonic()
            _raise_unless_passing(error, time.monotonic() - broken_at > patience_seconds)
        time.sleep(_PAUSE_SECONDS)


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The messages of a stream of server-sent events, line by line."""
    event, event_id, data = "message", None, list[str]()
    for line in lines:
        if not line:
            if data:
                yield Message(event, "\n".join(data), event_id)
            event, event_id, data = "message", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            event_id = value


def _raise_unless_passing(error: Exception, patience_is_over: bool) -> None:
    if isinstance(error, RemoteError) and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error
    if patience_is_over:
        if isinstance(error, RemoteError):
            raise error
        raise UnreachableError(f"The stream of events broke, and did not come back: {error}.")


def _headers(after: int | None) -> dict[str, str]:
    resume = {} if after is None else {"Last-Event-ID": str(after)}
    return {"Accept": "text/event-stream", **resume}


def _value(message: Message) -> Any:
    kind = JobEvent if message.event == "status" else Progress
    return from_json(kind, message.data)
