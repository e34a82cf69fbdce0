"""When to train a model again: its data drifted, it got worse, it is old, or there is new data.

The decision is a pure function of what it is given. What must not be forgotten between decisions
(hysteresis, cool-down, budget) is kept by :mod:`utils.training.retraining_state`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Literal, get_args

from utils.training.errors import InvalidArgumentError, InvalidConfigError
from utils.training.metric_direction import Direction, direction_of

TriggerName = Literal["drift", "performance", "time", "data_volume"]

_SECONDS_A_DAY = 86_400

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TriggerFinding:
    """What one trigger found: a sentence with its numbers, whether it fired or why not."""

    trigger: TriggerName
    fired: bool
    reason: str


@dataclass(frozen=True)
class TriggerReport:
    """Every trigger's finding, in the order drift, performance, time, data volume."""

    findings: tuple[TriggerFinding, ...]

    @property
    def should_retrain(self) -> bool:
        """True where at least one trigger fired."""
        return any(finding.fired for finding in self.findings)

    @property
    def reasons(self) -> list[str]:
        """The sentences of the triggers that fired."""
        return [finding.reason for finding in self.findings if finding.fired]

    @property
    def notes(self) -> list[str]:
        """The sentences of those that did not."""
        return [finding.reason for finding in self.findings if not finding.fired]


@dataclass(frozen=True)
class RetrainingTriggerManager:
    """Decides whether to train again. A value at its threshold counts as over it.

    Args:
        drift_threshold: JS divergence in bits, 0 to 1.
        performance_threshold: the part of the baseline by which a metric may get worse: 0.1 is
            10 %. From a baseline of 0, any worsening reaches it.
        time_threshold_days: age of the last training, in days.
        data_volume_threshold: new samples since the last training.
        metric_directions: ``lower`` or ``higher`` (which is better) by metric name, for metrics
            whose name does not tell; it wins over the name.

    Raises:
        InvalidConfigError: a ValueError that lists every threshold out of its range.
    """

    drift_threshold: float = 0.2
    performance_threshold: float = 0.1
    time_threshold_days: float = 7
    data_volume_threshold: int = 10_000
    metric_directions: Mapping[str, Direction] | None = None

    def __post_init__(self) -> None:
        """Refuse thresholds that could never fire, or always would."""
        faults = [
            f"{name} is {getattr(self, name)!r}, allowed is a number above 0."
            for name in (
                "drift_threshold",
                "performance_threshold",
                "time_threshold_days",
                "data_volume_threshold",
            )
            if not _is_above_zero(getattr(self, name))
        ]
        faults += [
            f"metric_directions['{name}'] is {direction!r}, allowed are 'lower' and 'higher'."
            for name, direction in (self.metric_directions or {}).items()
            if direction not in get_args(Direction)
        ]
        if faults:
            raise InvalidConfigError(faults)

    def check_triggers(
        self,
        current_metrics: Mapping[str, float] | None = None,
        baseline_metrics: Mapping[str, float] | None = None,
        drift_score: float | None = None,
        new_data_count: int | None = None,
        last_train_timestamp: str | datetime | None = None,
        now: str | datetime | None = None,
    ) -> tuple[bool, list[str]]:
        """Decide whether to train again; :meth:`explain` also says why not.

        What is left out fires nothing. The arguments are those of :meth:`explain`.

        Returns:
            Whether to train again, and a sentence for each trigger that fired.

        Raises:
            ValueError: a timestamp is not ISO 8601, or a number is none.
        """
        report = self.explain(
            current_metrics,
            baseline_metrics,
            drift_score,
            new_data_count,
            last_train_timestamp,
            now,
        )
        for note in report.notes:
            _logger.debug("%s", note)
        return report.should_retrain, report.reasons

    def explain(
        self,
        current_metrics: Mapping[str, float] | None = None,
        baseline_metrics: Mapping[str, float] | None = None,
        drift_score: float | None = None,
        new_data_count: int | None = None,
        last_train_timestamp: str | datetime | None = None,
        now: str | datetime | None = None,
    ) -> TriggerReport:
        """Say of every trigger whether it fires, and why.

        Args:
            current_metrics: the model's metrics now, by name.
            baseline_metrics: the same when it was trained.
            drift_score: JS divergence of the current data in bits, 0 to 1.
            new_data_count: samples since the last training.
            last_train_timestamp: ISO 8601 or a datetime; naive is UTC.
            now: the present, likewise; the clock's time where left out.

        Raises:
            ValueError: a timestamp is not ISO 8601, or a number is none.
        """
        _refuse_no_numbers({"drift_score": drift_score, "new_data_count": new_data_count})
        for name, metrics in (
            ("current_metrics", current_metrics),
            ("baseline_metrics", baseline_metrics),
        ):
            if not isinstance(metrics, Mapping | None):
                raise InvalidArgumentError(f"{name} is {metrics!r}, allowed is a dict, or None.")
            _refuse_no_numbers({f"{name}['{key}']": v for key, v in (metrics or {}).items()})
        present = datetime.now(UTC) if now is None else _utc("now", now)
        return TriggerReport(
            (
                self._drift(drift_score),
                *self._performance(current_metrics or {}, baseline_metrics or {}),
                self._time(last_train_timestamp, present),
                self._data_volume(new_data_count),
            )
        )

    def _drift(self, score: float | None) -> TriggerFinding:
        if score is None or math.isnan(score):
            return TriggerFinding("drift", False, f"The drift score is {_words(score)}.")
        threshold = f"the threshold of {self.drift_threshold:g}"
        if _reaches(score, self.drift_threshold):
            reason = f"Data drift: the JS divergence of {score:.4g} bits reaches {threshold}."
            return TriggerFinding("drift", True, reason)
        reason = f"The JS divergence of {score:.4g} bits is below {threshold}."
        return TriggerFinding("drift", False, reason)

    def _performance(
        self, current: Mapping[str, float], baseline: Mapping[str, float]
    ) -> list[TriggerFinding]:
        if not current:
            return [TriggerFinding("performance", False, "No current metrics were given.")]
        return [self._metric(name, value, baseline.get(name)) for name, value in current.items()]

    def _metric(self, name: str, value: float | None, baseline: float | None) -> TriggerFinding:
        if value is None or baseline is None or math.isnan(value) or not math.isfinite(baseline):
            return TriggerFinding(
                "performance",
                False,
                f"Metric '{name}' can't be judged: it is {_words(value)}, its baseline is "
                f"{_words(baseline)}.",
            )
        direction = (self.metric_directions or {}).get(name) or direction_of(name)
        if direction is None:
            return TriggerFinding(
                "performance",
                False,
                f"Metric '{name}' can't be judged: its name does not tell whether lower or higher "
                "is better; say so in metric_directions.",
            )
        return self._change(name, value, baseline, direction)

    def _change(
        self, name: str, value: float, baseline: float, direction: Direction
    ) -> TriggerFinding:
        worse = value - baseline if direction == "lower" else baseline - value
        numbers = f"from {baseline:.4g} to {value:.4g}, {direction} is better"
        threshold = f"the threshold of {self.performance_threshold:.4g} of the baseline"
        if not _reaches(worse, self.performance_threshold * abs(baseline)) or worse <= 0:
            reason = f"{name} went {numbers}: it did not get worse by {threshold}."
            return TriggerFinding("performance", False, reason)
        size = f"by {worse / abs(baseline):.1%}" if baseline else "from nothing"
        reason = f"Performance: {name} got worse {size} ({numbers}), which reaches {threshold}."
        return TriggerFinding("performance", True, reason)

    def _time(self, last: str | datetime | None, now: datetime) -> TriggerFinding:
        if last is None:
            return TriggerFinding("time", False, "The time of the last training is missing.")
        trained = _utc("last_train_timestamp", last)
        days = (now - trained).total_seconds() / _SECONDS_A_DAY
        age = f"the last training was {days:.1f} days ago ({trained.isoformat(timespec='seconds')})"
        threshold = f"the threshold of {self.time_threshold_days:g} days"
        if days >= self.time_threshold_days:
            return TriggerFinding("time", True, f"Time: {age}, which reaches {threshold}.")
        return TriggerFinding("time", False, f"Time: {age}, below {threshold}.")

    def _data_volume(self, count: int | None) -> TriggerFinding:
        if count is None or math.isnan(count):
            reason = f"The number of new samples is {_words(count)}."
            return TriggerFinding("data_volume", False, reason)
        threshold = f"the threshold of {self.data_volume_threshold:,}"
        if count >= self.data_volume_threshold:
            reason = f"Data volume: {count:,} new samples reach {threshold}."
            return TriggerFinding("data_volume", True, reason)
        return TriggerFinding("data_volume", False, f"{count:,} new samples are below {threshold}.")


def _reaches(value: float, threshold: float) -> bool:
    """At the threshold counts as over it, whatever the last binary digit of a difference is."""
    return value >= threshold or math.isclose(value, threshold, rel_tol=1e-9)


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and float(value) > 0


def _refuse_no_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, Real | None):
            raise InvalidArgumentError(f"{name} is {value!r}, allowed is a number, or None.")


def _words(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"


def _utc(name: str, value: str | datetime) -> datetime:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{name} is {value!r}; give an ISO 8601 time such as '2025-11-13T00:00:00+00:00'."
        ) from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
