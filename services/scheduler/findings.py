"""A rule and a signal, set against each other."""

from __future__ import annotations

import sys
from datetime import datetime

from pydantic import ValidationError

from utils.service.contracts.configs import check_training
from utils.service.contracts.jobs import Signal, TrainingJob, TriggerRule
from utils.training.errors import InvalidConfigError
from utils.training.retraining_state import TriggerPolicy
from utils.training.retraining_triggers import RetrainingTriggerManager, TriggerFinding

_NEVER_DAYS = 1e9


def check_rule(model_name: str, rule: TriggerRule) -> None:
    """See that a rule can fire, and trains the model that it is for.

    Raises:
        InvalidConfigError: a ValueError that lists the faults.
    """
    faults = []
    if rule.job.model_name != model_name:
        faults.append(
            f"job.model_name is '{rule.job.model_name}', and the rule is for '{model_name}'; "
            "they must be the same."
        )
    if rule.drift_warning > rule.drift_threshold:
        faults.append(
            f"drift_warning is {rule.drift_warning:g}, allowed is at most drift_threshold, "
            f"{rule.drift_threshold:g}."
        )
    if faults:
        raise InvalidConfigError(faults)
    check_training(rule.job, "job")
    policy_of(rule)


def policy_of(rule: TriggerRule) -> TriggerPolicy:
    """The brakes of a rule.

    Raises:
        InvalidConfigError: a ValueError; it could never fire.
    """
    return TriggerPolicy(
        windows_to_fire=rule.windows_to_fire,
        windows_considered=rule.windows,
        cool_down_seconds=rule.cool_down_seconds,
        daily_budget=rule.daily_budget,
    )


def find(
    rule: TriggerRule, signal: Signal, last_trained_at: datetime | None = None
) -> tuple[TriggerFinding, ...]:
    """What each trigger of the rule makes of a signal and of the model's age."""
    manager = RetrainingTriggerManager(
        drift_threshold=rule.drift_threshold,
        performance_threshold=rule.performance_threshold,
        time_threshold_days=rule.time_threshold_days or _NEVER_DAYS,
        data_volume_threshold=rule.data_volume_threshold or sys.maxsize,
    )
    report = manager.explain(
        signal.current_metrics,
        signal.baseline_metrics,
        signal.drift_score,
        signal.new_data_count,
        last_trained_at,
    )
    return tuple(_unless_off(rule, finding) for finding in report.findings)


def is_calm(rule: TriggerRule, signal: Signal) -> bool:
    """Whether a signal, over no threshold, lets the trigger be armed again.

    It must have measured something, and its drift must be below the warning level.
    """
    if signal.drift_score is not None:
        return signal.drift_score < rule.drift_warning
    return signal.current_metrics is not None or signal.new_data_count is not None


def job_of(rule: TriggerRule, signal: Signal) -> TrainingJob:
    """The rule's job, on its own data and the signal's.

    Raises:
        InvalidConfigError: a ValueError; together they are too many.
    """
    values = rule.job.model_dump(mode="json")
    values["data"] += [
        source.model_dump(mode="json")
        for source in signal.extra_data
        if source not in rule.job.data
    ]
    try:
        return TrainingJob.model_validate(values)
    except ValidationError as error:
        raise InvalidConfigError(
            [f"extra_data and the rule's data make no job: {error.errors()[0]['msg']}."]
        ) from error


def window_of(signal: Signal, key: str) -> str:
    """What tells a signal's window from others: its end and the version seen, else ``key``."""
    if signal.window_end is None:
        return f"signal {key}"
    end = signal.window_end.isoformat()
    return end if signal.model_version is None else f"{end} of version {signal.model_version}"


def _unless_off(rule: TriggerRule, finding: TriggerFinding) -> TriggerFinding:
    thresholds = {"time": rule.time_threshold_days, "data_volume": rule.data_volume_threshold}
    if thresholds.get(finding.trigger, 1) is None:
        return TriggerFinding(finding.trigger, False, "The rule sets no threshold for it.")
    return finding
