"""Summaries on their way to the monitor: made and sent by one thread, at no request's cost.

The interpreter runs one thread at a time, and takes it from one that computes only after 5 ms. So
requests are gathered before they are summarized, and the thread steps aside after each of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Protocol

import redis
from prometheus_client import Counter
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.serving.gateway.features import Answered, summary_of
from utils.service.contracts.predictions import STREAM, STREAM_LENGTH, SUMMARY

log = logging.getLogger(__name__)

_MOST_BYTES = 64 * 1024**2  # of requests that wait to be summarized
_SENT_AT_ONCE = 100
_GATHERED_SECONDS = 0.05  # for others to be sent with the first
_ASIDE_SECONDS = 1e-4  # long enough for a request that waits to go on
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 1.0  # after a failure


class Summaries(Protocol):
    """Where answered requests are told of."""

    def offer(self, answered: Answered) -> None:
        """Take note of a request; never waits and never fails."""

    def start(self) -> None:
        """Begin to send."""

    def close(self) -> None:
        """Send what waits, for a moment, and end."""


class NoSummaries:
    """For serving without Redis: nobody is told."""

    def offer(self, answered: Answered) -> None:
        """Forget it."""

    def start(self) -> None:
        """There is nothing to start."""

    def close(self) -> None:
        """There is nothing to end."""


class RedisSummaries:
    """Sends summaries to the monitor's stream; what finds no room or no Redis is counted and gone.

    Args:
        url: of Redis.
        outcomes: counts summaries by ``sent``, ``dropped`` and ``failed``.
        max_waiting: requests that wait to be summarized.
    """

    def __init__(self, url: str, outcomes: Counter, max_waiting: int) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),  # a summary sent again would be counted twice
        )
        self._sent, self._dropped, self._failed = (
            outcomes.labels(outcome) for outcome in ("sent", "dropped", "failed")
        )
        self._max_waiting = max_waiting
        self._waiting: deque[Answered] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="summaries", daemon=True)

    def offer(self, answered: Answered) -> None:
        """Let a request be summarized, unless too many wait already."""
        with self._changed:
            size = self._bytes + answered.num_bytes
            if len(self._waiting) < self._max_waiting and size <= _MOST_BYTES:
                self._waiting.append(answered)
                self._bytes = size
                self._changed.notify()
                return
        self._dropped.inc()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Send what waits while Redis takes it, a few seconds at most."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2 * _PATIENCE_SECONDS)
        self._redis.close()

    def _run(self) -> None:
        deadline = None
        while True:
            if self._stopping.is_set():
                deadline = deadline or time.monotonic() + _PATIENCE_SECONDS
            batch = self._take()
            if not batch:
                return
            self._send(batch)
            if deadline is not None and (self._is_away or time.monotonic() > deadline):
                self._give_up()
                return
            if self._is_away:
                self._stopping.wait(_PAUSE_SECONDS)

    def _take(self) -> list[Answered]:
        """The oldest that wait; none at all only when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
            few = len(self._waiting) < _SENT_AT_ONCE
        if few:
            self._stopping.wait(_GATHERED_SECONDS)
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(_SENT_AT_ONCE, len(self._waiting)))]
            self._bytes -= sum(answered.num_bytes for answered in batch)
            return batch

    def _give_up(self) -> None:
        with self._changed:
            self._dropped.inc(len(self._waiting))
            self._waiting.clear()

    def _send(self, batch: list[Answered]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for answered in batch:
            try:
                summary = summary_of(answered).model_dump_json()
            except Exception:
                log.exception("A request to %s could not be summarized.", answered.version)
                self._failed.inc()
            else:
                pipeline.xadd(STREAM, {SUMMARY: summary}, maxlen=STREAM_LENGTH, approximate=True)
            time.sleep(_ASIDE_SECONDS)
        num_summaries = len(pipeline)
        try:
            results = pipeline.execute(raise_on_error=False)
        except redis.RedisError as error:
            self._note(error)
            self._failed.inc(num_summaries)
            return
        refusals = [result for result in results if isinstance(result, Exception)]
        self._note(refusals[0] if refusals else None)
        self._failed.inc(len(refusals))
        self._sent.inc(len(results) - len(refusals))

    def _note(self, error: Exception | None) -> None:
        """Say once that Redis takes no summaries, and once that it does again."""
        if error is not None and not self._is_away:
            log.warning("Redis takes no summaries, the monitor lacks them: %s", error)
        elif error is None and self._is_away:
            log.info("Redis takes summaries again.")
        self._is_away = error is not None
