"""Alerts: told when a status changes, once, and again when the cause is gone."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from services.monitor.metrics import MonitorMetrics
from services.monitor.windows.store import MonitorStore
from utils.service.contracts.drift import AlertSeverity, MonitorAlert
from utils.training.notifications import Notifier

log = logging.getLogger(__name__)

_LEVELS = {None: 0, "warning": 1, "critical": 2}
PLATFORM = "platform"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a look at one thing found; no severity where all is well."""

    type: str
    model_name: str
    subject: str = ""  # tells apart what one model has several of
    severity: AlertSeverity | None
    message: str
    value: float = 0.0
    threshold: float = 0.0

    @property
    def key(self) -> str:
        """Under which the alert is known."""
        return "/".join(part for part in (self.type, self.model_name, self.subject) if part)


class Alerts:
    """Remembers what is on, in Redis, so that another replica does not tell it again.

    Args:
        store: where alerts are kept.
        metrics: of the service.
        notifiers: the channels.
        recover_after: looks in a row that must find a cause gone, or milder.
    """

    def __init__(
        self,
        store: MonitorStore,
        metrics: MonitorMetrics,
        notifiers: Iterable[Notifier],
        recover_after: int,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._notifiers = tuple(notifiers)
        self._recover_after = recover_after

    def look(self, finding: Finding) -> None:
        """Hold a finding against what is on."""
        alert = self._store.alerts().get(finding.key)
        before = _LEVELS[alert.severity if alert else None]
        now = _LEVELS[finding.severity]
        if now > before:
            self._raise(finding)
        elif alert is not None and now == before:
            self._store.put_alert(
                replace(alert, calm=0, message=finding.message, value=finding.value)
            )
        elif alert is not None:
            self._calm(alert, finding)

    def close(self) -> None:
        """Wait for messages on their way, for a limited time."""
        for notifier in self._notifiers:
            notifier.close()

    def _raise(self, finding: Finding) -> None:
        if finding.severity is None:
            return
        alert = MonitorAlert(
            key=finding.key,
            type=finding.type,
            model_name=finding.model_name,
            subject=finding.subject,
            severity=finding.severity,
            message=finding.message,
            since=datetime.now(UTC),
            value=finding.value,
            threshold=finding.threshold,
        )
        log.warning("Alert (%s): %s", alert.severity, alert.message)
        self._tell(asdict(alert))  # before it is kept: rather twice than never
        self._store.put_alert(alert)

    def _calm(self, alert: MonitorAlert, finding: Finding) -> None:
        if alert.calm + 1 < self._recover_after:
            self._store.put_alert(replace(alert, calm=alert.calm + 1))
            return
        if finding.severity is not None:
            self._raise(finding)
            return
        log.info("Alert is over: %s", finding.message)
        message = f"Over since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {finding.message}"
        told = {"severity": "resolved", "message": message, "value": finding.value}
        self._tell(asdict(alert) | told)
        self._store.drop_alert(alert.key)

    def _tell(self, alert: dict[str, Any]) -> None:
        self._metrics.alerts.labels(alert["severity"]).inc()
        for notifier in self._notifiers:
            notifier(alert)
