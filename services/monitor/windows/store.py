"""What the monitor keeps in Redis: windows, alerts, feedback, and what is still to be sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.client import Pipeline

from utils.service.contracts.document import from_json, to_json
from utils.service.contracts.drift import DriftWindow, Feedback, MonitorAlert

_PREFIX = "training:monitor:"
_LATEST, _JUDGED, _ALERTS = (_PREFIX + name for name in ("latest", "judged", "alerts"))
_KEPT_WINDOWS, _KEPT_FEEDBACK = 500, 1000
_KEPT_VERSIONS = 20  # of a model, whose last windows are at hand
_FEEDBACK_SECONDS = 30 * 86_400  # for a version that no window comes of any more
_SEPARATOR = "\n"
# Removes what was sent, and nothing newer that took its place meanwhile.
_FORGET = (
    "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then "
    "redis.call('HDEL', KEYS[1], ARGV[1]) end"
)


class Outbox:
    """One message a model that another service has not taken yet; the newest wins."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis = client
        self._key = f"{_PREFIX}outbox:{name}"
        self._forget = client.register_script(_FORGET)

    def put(self, pipeline: Pipeline, model_name: str, message: str) -> None:
        """Add to a transaction."""
        pipeline.hset(self._key, model_name, message)

    def waiting(self) -> dict[str, str]:
        """Each model's message."""
        found: dict[bytes, bytes] = self._redis.hgetall(self._key)  # type: ignore[assignment]
        return {name.decode(): message.decode() for name, message in found.items()}

    def forget(self, model_name: str, message: str) -> None:
        """It was taken."""
        self._forget(keys=[self._key], args=[model_name, message])


class MonitorStore:
    """Windows, alerts and feedback; every replica reads, the active one writes windows."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self.signals = Outbox(client, "signals")
        self.rollbacks = Outbox(client, "rollbacks")

    def put_window(self, pipeline: Pipeline, window: DriftWindow) -> None:
        """Add a finished window to a transaction."""
        text = to_json(DriftWindow, window)
        pipeline.lpush(_windows_key(window.model_name), text)
        pipeline.ltrim(_windows_key(window.model_name), 0, _KEPT_WINDOWS - 1)
        pipeline.hset(_LATEST, _version_of(window), text)

    def windows(self, model_name: str, limit: int = _KEPT_WINDOWS) -> list[DriftWindow]:
        """A model's windows, newest first."""
        found: Any = self._redis.lrange(_windows_key(model_name), 0, limit - 1)
        return [from_json(DriftWindow, text) for text in found]

    def latest(self) -> list[DriftWindow]:
        """The last window of each version, by name and then newest first."""
        found: Any = self._redis.hvals(_LATEST)
        windows = [from_json(DriftWindow, text) for text in found]
        windows.sort(key=lambda window: window.window_end, reverse=True)
        return sorted(windows, key=lambda window: window.model_name)

    def unjudged(self, latest: Iterable[DriftWindow]) -> list[DriftWindow]:
        """Those of the last windows whose alerts were not looked at yet."""
        judged: Any = self._redis.hgetall(_JUDGED)
        return [
            window
            for window in latest
            if judged.get(_version_of(window).encode()) != _end_of(window).encode()
        ]

    def note_judged(self, window: DriftWindow) -> None:
        """A window's alerts were looked at."""
        self._redis.hset(_JUDGED, _version_of(window), _end_of(window))

    def forget_old_versions(self, latest: Iterable[DriftWindow]) -> None:
        """Drop the last windows of a model's old versions; they stay in the model's list.

        ``latest`` has the newest first, as :meth:`latest` gives them.
        """
        num_versions: Counter[str] = Counter()
        for window in latest:
            num_versions[window.model_name] += 1
            if num_versions[window.model_name] > _KEPT_VERSIONS:
                for key in (_LATEST, _JUDGED):
                    self._redis.hdel(key, _version_of(window))

    def alerts(self) -> dict[str, MonitorAlert]:
        """What is on, by key."""
        found: Any = self._redis.hvals(_ALERTS)
        alerts = [from_json(MonitorAlert, text) for text in found]
        return {alert.key: alert for alert in alerts}

    def put_alert(self, alert: MonitorAlert) -> None:
        """Keep an alert."""
        self._redis.hset(_ALERTS, alert.key, to_json(MonitorAlert, alert).decode())

    def drop_alert(self, key: str) -> None:
        """It is over."""
        self._redis.hdel(_ALERTS, key)

    def add_feedback(self, model_name: str, feedback: Feedback) -> None:
        """Keep feedback until a window takes it up."""
        key = _feedback_key(model_name, feedback.model_version)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, feedback.model_dump_json())
            pipeline.ltrim(key, -_KEPT_FEEDBACK, -1)
            pipeline.expire(key, _FEEDBACK_SECONDS)
            pipeline.execute()

    def feedback(self, model_name: str, version: str) -> list[bytes]:
        """What was said of a version since its last window, as it is kept."""
        found: Any = self._redis.lrange(_feedback_key(model_name, version), 0, -1)
        return list(found)

    def take_feedback(self, pipeline: Pipeline, window: DriftWindow, taken: list[bytes]) -> None:
        """Add to a transaction: a window has taken these up."""
        for text in taken:
            pipeline.lrem(_feedback_key(window.model_name, window.version), 1, text.decode())


def mean_metrics(feedback: Sequence[bytes]) -> dict[str, float]:
    """Each metric's mean, weighted by rows."""
    sums: dict[str, tuple[float, int]] = {}
    for text in feedback:
        one = Feedback.model_validate_json(text)
        for name, value in one.metrics.items():
            total, rows = sums.get(name, (0.0, 0))
            sums[name] = (total + value * one.rows, rows + one.rows)
    return {name: total / rows for name, (total, rows) in sums.items()}


def _version_of(window: DriftWindow) -> str:
    return window.model_name + _SEPARATOR + window.version


def _end_of(window: DriftWindow) -> str:
    return window.window_end.isoformat()


def _windows_key(model_name: str) -> str:
    return f"{_PREFIX}windows:{model_name}"


def _feedback_key(model_name: str, version: str) -> str:
    return f"{_PREFIX}feedback:{model_name}:{version}"
