"""Alerts: what an epoch's numbers say when they are held against those of the epoch before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from utils.training.arguments import with_known_fields
from utils.training.errors import InvalidConfigError
from utils.training.training_config import TrainingConfig

Severity = Literal["warning", "critical"]
AlertCallback = Callable[[dict[str, Any]], None]

_LEVELS = {"warning": 1, "critical": 2}
_CRITICAL_FACTOR = 2.0  # a value from twice its threshold on is critical
_SMALLEST_LOSS = 1e-8  # what a previous loss of zero counts as, so that a rise is a number


@with_known_fields
@dataclass
class AlertConfig:
    """When an epoch raises an alert, and where alerts are sent.

    ``val_loss_spike_threshold`` is a share of the previous epoch's loss,
    ``accuracy_drop_threshold`` is in accuracy points (0.05: from 0.90 to below 0.85), and
    ``gradient_explosion_threshold`` is an L2 norm before clipping. An infinite threshold switches
    its alert off.

    Raises:
        InvalidConfigError: a ValueError that lists every field out of range.
    """

    val_loss_spike_threshold: float = 0.2
    accuracy_drop_threshold: float = 0.05
    gradient_explosion_threshold: float = 10.0
    enable_email_alerts: bool = False
    enable_slack_alerts: bool = False

    def __post_init__(self) -> None:
        """Refuse thresholds that nothing can be compared with."""
        faults = []
        for name, value in vars(self).items():
            if name.startswith("enable_"):
                is_sound, allowed = isinstance(value, bool), "True or False"
            else:
                is_sound, allowed = _is_threshold(value), "a number from 0 up"
            if not is_sound:
                faults.append(f"{name} is {value!r}, allowed is {allowed}.")
        if faults:
            raise InvalidConfigError(faults)

    @classmethod
    def from_config(cls, config: TrainingConfig) -> Self:
        """What a training configuration says of alerts."""
        return cls(
            val_loss_spike_threshold=config.val_loss_spike_threshold,
            accuracy_drop_threshold=config.accuracy_drop_threshold,
            gradient_explosion_threshold=config.explosion_threshold,
            enable_email_alerts=config.email_alerts,
            enable_slack_alerts=config.slack_alerts,
        )


@dataclass(frozen=True)
class Alert:
    """One cause for concern, in plain values.

    ``value`` and ``threshold`` share a unit: the relative rise of the loss, the drop in accuracy
    points, a gradient norm, or a JS divergence in bits.
    """

    type: str
    message: str
    severity: Severity
    value: float
    threshold: float
    epoch: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for callbacks, JSON and checkpoints."""
        return asdict(self)


class AlertRules:
    """Decides which alerts an epoch raises; a cause that lasts is told once.

    A cause is latched while it goes on: it is told again only after an epoch without it, or where
    it turns from warning to critical.
    """

    def __init__(
        self, config: AlertConfig, drift_threshold_warning: float, drift_threshold_critical: float
    ) -> None:
        self.config = config
        self._drift_thresholds = {
            "warning": drift_threshold_warning,
            "critical": drift_threshold_critical,
        }
        self._latched: dict[str, int] = {}

    def check(
        self, row: Mapping[str, Any], previous: Mapping[str, Any] | None, drift: Any | None
    ) -> list[Alert]:
        """Hold an epoch's row of the summary against the one before.

        Args:
            row: ``epoch`` and the columns that the epoch has.
            previous: the row of the epoch before, None for the first.
            drift: the epoch's DriftMetrics, None where nothing was compared.
        """
        found = {alert.type: alert for alert in self._causes(row, previous or {}, drift)}
        news = [alert for alert in found.values() if self._is_news(alert)]
        judged = {"val_loss_spike", "accuracy_drop", "gradient_explosion"}
        judged |= set() if drift is None else {"drift"}
        for kind in judged:
            self._latch(kind, found.get(kind))
        return news

    def _is_news(self, alert: Alert) -> bool:
        return _LEVELS[alert.severity] > self._latched.get(alert.type, 0)

    def _latch(self, kind: str, alert: Alert | None) -> None:
        if alert is None:
            self._latched.pop(kind, None)
        else:
            self._latched[kind] = _LEVELS[alert.severity]

    def _causes(
        self, row: Mapping[str, Any], previous: Mapping[str, Any], drift: Any | None
    ) -> Iterator[Alert]:
        epoch = int(row["epoch"])
        for cause in (
            self._loss_spike(epoch, row.get("val_loss"), previous.get("val_loss")),
            self._accuracy_drop(epoch, row.get("val_accuracy"), previous.get("val_accuracy")),
            self._explosion(epoch, row.get("gradient_norm")),
            self._drift(epoch, drift),
        ):
            if cause is not None:
                yield cause

    def _loss_spike(self, epoch: int, loss: float | None, before: float | None) -> Alert | None:
        threshold = self.config.val_loss_spike_threshold
        if loss is None or before is None or not math.isfinite(before):
            return None
        if not math.isfinite(loss):
            message = (
                f"Validation loss became {loss} in epoch {epoch}, after {before:.4g}: "
                "go back to the last good checkpoint and lower the learning rate."
            )
            return Alert("val_loss_spike", message, "critical", loss, threshold, epoch)
        rise = (loss - before) / max(abs(before), _SMALLEST_LOSS)
        if not _exceeds(rise, threshold):
            return None
        message = (
            f"Validation loss rose by {rise:.1%} in epoch {epoch}, from {before:.4g} to {loss:.4g} "
            f"(threshold {threshold:.1%})."
        )
        return Alert("val_loss_spike", message, _severity(rise, threshold), rise, threshold, epoch)

    def _accuracy_drop(self, epoch: int, now: float | None, before: float | None) -> Alert | None:
        threshold = self.config.accuracy_drop_threshold
        drop = math.nan if now is None or before is None else before - now
        if not _exceeds(drop, threshold):
            return None
        message = (
            f"Validation accuracy fell by {100 * drop:.1f} points in epoch {epoch}, from "
            f"{before:.4f} to {now:.4f} (threshold {100 * threshold:.1f})."
        )
        return Alert("accuracy_drop", message, _severity(drop, threshold), drop, threshold, epoch)

    def _explosion(self, epoch: int, norm: float | None) -> Alert | None:
        threshold = self.config.gradient_explosion_threshold
        if norm is None or not (_exceeds(norm, threshold) or math.isnan(norm)):
            return None
        message = f"Gradient norm reached {norm:.4g} in epoch {epoch} (threshold {threshold:g})."
        severity = "critical" if math.isnan(norm) else _severity(norm, threshold)
        return Alert("gradient_explosion", message, severity, norm, threshold, epoch)

    def _drift(self, epoch: int, drift: Any | None) -> Alert | None:
        if drift is None or drift.status not in self._drift_thresholds:
            return None
        threshold = self._drift_thresholds[drift.status]
        affected = _affected(drift.affected_features)
        message = (
            f"Data drift is {drift.status} in epoch {epoch}: JS divergence "
            f"{drift.js_divergence:.4f} bits (threshold {threshold:g}){affected}."
        )
        return Alert("drift", message, drift.status, drift.js_divergence, threshold, epoch)

    def state_dict(self) -> dict[str, Any]:
        """The latched causes, in plain values."""
        return {"latched": dict(self._latched)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the latches where :meth:`state_dict` found them."""
        self._latched = dict(state["latched"])


def _is_threshold(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _exceeds(value: float, threshold: float) -> bool:
    """True above the threshold; rounding noise at it is not above it, and NaN never is."""
    return value > threshold and not math.isclose(value, threshold, rel_tol=1e-9)


def _severity(value: float, threshold: float) -> Severity:
    return "warning" if _exceeds(_CRITICAL_FACTOR * threshold, value) else "critical"


def _affected(features: list[str], shown: int = 5) -> str:
    if not features:
        return ""
    more = f" and {len(features) - shown} more" if len(features) > shown else ""
    return f", in {', '.join(features[:shown])}{more}"
