"""What follows from a finished window: a signal, a rollback, an alert."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from redis.client import Pipeline

from services.monitor.alerts import Alerts, Finding
from services.monitor.models import Models
from services.monitor.rollback import reason_to_roll_back
from services.monitor.settings import MonitorSettings
from services.monitor.windows.open_window import OpenWindow
from services.monitor.windows.store import MonitorStore
from utils.service.contracts.document import to_json
from utils.service.contracts.drift import AlertSeverity, DriftWindow
from utils.service.contracts.jobs import Signal
from utils.training.model_registry import RegisteredModel


@dataclass(frozen=True, kw_only=True)
class RollbackOrder:
    """Take a promotion back, if this model is still production."""

    model_id: int
    reason: str


class Consequences:
    """Writes down what is to be done with the window itself, so that neither is lost alone."""

    def __init__(
        self, settings: MonitorSettings, store: MonitorStore, models: Models, alerts: Alerts
    ) -> None:
        self._settings = settings
        self._store = store
        self._models = models
        self._alerts = alerts

    def add(self, pipeline: Pipeline, window: DriftWindow) -> None:
        """Add a window's signal and rollback to the transaction that stores it."""
        production = self._models.production(window.model_name)
        if production is None or production.model.version != window.version:
            return
        signal = signal_of(window, production.model)
        self._store.signals.put(pipeline, window.model_name, signal.model_dump_json())
        if not self._settings.auto_rollback:
            return
        earlier = self._store.windows(window.model_name)
        reason = reason_to_roll_back(window, production, earlier, self._settings)
        if reason is not None:
            order = RollbackOrder(model_id=production.model.model_id, reason=reason)
            message = to_json(RollbackOrder, order).decode()
            self._store.rollbacks.put(pipeline, window.model_name, message)

    def judge(self, latest: Iterable[DriftWindow]) -> None:
        """Raise or end the alerts that the last windows speak of, as far as that is not done."""
        for window in sorted(self._store.unjudged(latest), key=lambda window: window.window_end):
            self._judge(window)
            self._store.note_judged(window)

    def _judge(self, window: DriftWindow) -> None:
        name, version = window.model_name, window.version
        if window.status != "unknown":
            moved = ", ".join(window.affected[:5]) or "no feature"
            severity: AlertSeverity | None = None
            if window.status in {"warning", "critical"}:
                severity = "critical" if window.status == "critical" else "warning"
            self._alerts.look(
                Finding(
                    type="drift",
                    model_name=name,
                    severity=severity,
                    message=(
                        f"Drift of {name} version {version} is {window.status}: "
                        f"{window.score:.4f} bits over {window.rows} rows, moved: {moved}."
                    ),
                    value=window.score,
                    threshold=self._settings.warning_bits,
                )
            )
        self._alerts.look(
            Finding(
                type="reference_missing",
                model_name=name,
                severity=None if window.has_reference else "warning",
                message=(
                    f"{name} version {version} "
                    f"{'has a' if window.has_reference else 'was registered without a'} "
                    "reference profile."
                ),
            )
        )
        self._end_rollbacks(name)

    def _end_rollbacks(self, name: str) -> None:
        production = self._models.production(name)
        if production is None or production.former is None:
            return  # nothing was promoted since
        for alert in self._store.alerts().values():
            is_one = alert.type == "rollback" and alert.model_name == name
            if is_one and alert.since < production.since:
                self._alerts.look(
                    Finding(
                        type=alert.type,
                        model_name=name,
                        subject=alert.subject,
                        severity=None,
                        message=f"{name} version {production.model.version} was promoted.",
                    )
                )

    def look_for_stale(self, open_windows: Iterable[OpenWindow]) -> None:
        """Alert on versions that are asked, and have had no window for too long."""
        ends = {(w.model_name, w.version): w.window_end for w in self._store.latest()}
        for window in open_windows:
            since = ends.get((window.model_name, window.version), window.start)
            silent = (window.end - since).total_seconds()
            is_stale = silent > self._settings.stale_seconds
            self._alerts.look(
                Finding(
                    type="stale_profile",
                    model_name=window.model_name,
                    severity="warning" if is_stale else None,
                    message=(
                        f"{window.model_name} version {window.version} has answered "
                        f"{window.requests} requests since its last window, {silent:.0f} s ago."
                    ),
                    value=silent,
                    threshold=self._settings.stale_seconds,
                )
            )


def signal_of(window: DriftWindow, model: RegisteredModel) -> Signal:
    """What the scheduler is told of a window of the production version."""
    is_judged = window.status != "unknown"
    return Signal(
        model_version=window.version,
        drift_score=min(window.score, 1.0) if is_judged else None,
        affected_features=list(window.affected),
        current_metrics=window.metrics,
        baseline_metrics=model.metrics or None,
        window_end=window.window_end,
    )
