"""The active replica's work: entries into windows, windows into Redis, each entry once.

An entry is acknowledged in the transaction that stores its window, never before; until then it
stays pending, and whoever takes over reads it again. So nothing else has to be kept.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import redis
from pydantic import ValidationError
from redis.client import Pipeline
from redis.exceptions import LockError

from services.monitor.consequences import Consequences
from services.monitor.metrics import MonitorMetrics
from services.monitor.models import Models
from services.monitor.settings import MonitorSettings
from services.monitor.stream.entries import GROUP, Entries, Entry
from services.monitor.windows.judging import Judge
from services.monitor.windows.open_window import Key, OpenWindow
from services.monitor.windows.store import MonitorStore, mean_metrics
from utils.service.contracts.drift import DriftWindow
from utils.service.contracts.predictions import STREAM, PredictionSummary

log = logging.getLogger(__name__)

_LOCK = "training:monitor:active"
_BATCH = 500  # entries
_BLOCK_MS = 500
_MOST_FULL = 50  # windows that wait for the registry; then reading waits too
_ACK_AT_ONCE = 1000


class Reader:
    """Reads as long as it holds the lock, and stands by otherwise."""

    def __init__(
        self,
        client: redis.Redis,
        settings: MonitorSettings,
        store: MonitorStore,
        models: Models,
        consequences: Consequences,
        metrics: MonitorMetrics,
    ) -> None:
        self._redis = client
        self._settings = settings
        self._store = store
        self._models = models
        self._consequences = consequences
        self._metrics = metrics
        self._entries = Entries(client)
        self._judge = Judge(settings.warning_bits, settings.critical_bits)
        self._lock = client.lock(_LOCK, timeout=settings.lock_seconds, thread_local=False)
        self._open: dict[Key, OpenWindow] = {}
        self._full: list[OpenWindow] = []
        self._stopping = threading.Event()
        self._has_begun = False
        self._has_looked_back = False
        self.is_active = False

    def step(self) -> None:
        """Read one batch and finish the windows that are full; or wait for the lock a moment."""
        try:
            if self._hold():
                self._work()
            else:
                self._stopping.wait(min(1.0, self._settings.lock_seconds / 4))
        except redis.RedisError as error:
            # A reply may be lost after its commit: only Redis knows what is still pending.
            self._clear()
            self._entries.reread()
            if not str(error).startswith("NOGROUP"):
                raise
            self._begin()

    def stop(self) -> None:
        """Let no wait last longer; called in a signal handler."""
        self._stopping.set()

    def release(self) -> None:
        """Let another replica take over at once."""
        if self.is_active:
            self.is_active = False
            try:
                self._lock.release()
            except (LockError, redis.RedisError) as error:
                log.info("The lock was not given back: %s", error)

    def open_windows(self) -> list[OpenWindow]:
        """The windows that are being filled."""
        return list(self._open.values())

    def _hold(self) -> bool:
        if self.is_active:
            try:
                self._lock.reacquire()
            except LockError:
                log.warning("Another replica may be active now; this one stands by.")
                self.is_active = False
                self._clear()
            return self.is_active
        if self._lock.acquire(blocking=False):
            log.info("This replica reads the predictions now.")
            self.is_active = True
            self._begin()
        return self.is_active

    def _begin(self) -> None:
        self._clear()
        is_new = self._entries.rewind()
        if is_new and self._has_begun:
            log.warning("Redis was emptied; the windows begin afresh.")
            self._metrics.restarts.inc()
        self._has_begun = True

    def _clear(self) -> None:
        self._open.clear()
        self._full.clear()
        self._metrics.show([])
        self._has_looked_back = False

    def _work(self) -> None:
        if not self._has_looked_back:
            self._look_at_last_windows()
        if len(self._full) < _MOST_FULL:
            lost = self._entries.skip_lost()
            if lost:
                log.warning("The stream dropped %d summaries before they were read.", lost)
                self._metrics.lost.inc(lost)
            self._take(self._entries.read(_BATCH, _BLOCK_MS))
        else:
            self._stopping.wait(_BLOCK_MS / 1000)
        self._close_aged()
        self._full = [window for window in self._full if not self._finish(window)]
        self._metrics.lag.set(self._entries.lag())

    def _take(self, entries: list[Entry]) -> None:
        useless = []
        for entry_id, text in entries:
            try:
                summary = None if text is None else PredictionSummary.model_validate_json(text)
            except ValidationError as error:
                log.warning("A summary can't be read: %s", error.errors()[0]["msg"])
                summary = None
            if summary is None:
                self._metrics.lost.inc()
                useless.append(entry_id)
            else:
                self._add(entry_id, summary)
        if useless:
            self._redis.xack(STREAM, GROUP, *useless)

    def _add(self, entry_id: bytes, summary: PredictionSummary) -> None:
        key = summary.model_name, summary.model_version
        window = self._open.get(key)
        if window is None:
            self._models.watch(*key)
            window = self._open[key] = OpenWindow.beginning_with(summary)
        window.add(entry_id, summary)
        outcome = "error" if summary.error else "ok"
        self._metrics.predictions.labels(*key, outcome).inc()
        if max(window.rows, window.requests) >= self._settings.window_rows:
            self._full.append(self._open.pop(key))

    def _close_aged(self) -> None:
        now = datetime.now(UTC)
        rows, seconds = self._settings.window_rows, self._settings.window_seconds
        aged = [key for key, window in self._open.items() if window.is_full(rows, seconds, now)]
        self._full += [self._open.pop(key) for key in aged]

    def _finish(self, window: OpenWindow) -> bool:
        """Judge and store a window; False where the registry was not asked yet."""
        model = self._models.known(window.model_name, window.version)
        if model is None:
            return False
        feedback = self._store.feedback(window.model_name, window.version)
        finished = self._judge.finish(window, model.reference, mean_metrics(feedback))
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.watch(_LOCK)  # type: ignore[no-untyped-call]  # redis-py has no type for it
            if not self._lock.owned():
                self.is_active = False
                return False
            pipeline.multi()
            self._store.put_window(pipeline, finished)
            self._store.take_feedback(pipeline, finished, feedback)
            self._consequences.add(pipeline, finished)
            self._acknowledge(pipeline, window)
            pipeline.execute()
        self._tell(finished)
        return True

    @staticmethod
    def _acknowledge(pipeline: Pipeline, window: OpenWindow) -> None:
        ids = window.entry_ids
        for start in range(0, len(ids), _ACK_AT_ONCE):
            pipeline.xack(STREAM, GROUP, *ids[start : start + _ACK_AT_ONCE])

    def _tell(self, window: DriftWindow) -> None:
        log.info(
            "Window of %s version %s: %d rows, %s, %.4f bits.",
            window.model_name,
            window.version,
            window.rows,
            window.status,
            window.score,
        )
        self._metrics.windows.labels(window.model_name, window.status).inc()
        self._look_at_last_windows()

    def _look_at_last_windows(self) -> None:
        """Show them, and raise their alerts, which a monitor that was killed may not have done."""
        latest = self._store.latest()
        self._metrics.show(latest)
        self._consequences.judge(latest)
        self._store.forget_old_versions(latest)
        self._has_looked_back = True
