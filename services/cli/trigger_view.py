"""Rules for retraining, read and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli.errors import UsageError
from services.cli.output import ago, print_table, say
from services.cli.requests import request_of
from services.cli.submission import ONE_OF_SAMPLES, read_mapping, read_recurring
from utils.service.contracts.jobs import TriggerRule
from utils.service.contracts.triggers import Trigger, TriggerExplanation


def read_rule(
    name: str,
    file: Path | None,
    sample: str | None,
    epochs: int | None,
    changes: dict[str, Any],
) -> TriggerRule:
    """The rule that is meant; ``changes`` that are None leave the file's.

    The file is a rule, or the job that it submits, as for ``submit``.

    Raises:
        UsageError: a ValueError; neither or both of file and sample were given.
        InvalidConfigError: a ValueError; lists every fault of the rule.
    """
    if (file is None) == (sample is None):
        raise UsageError(f"Give either a file with a rule, or --sample {ONE_OF_SAMPLES}.")
    content = {} if file is None else read_mapping(file)
    is_job = file is None or not content.keys().isdisjoint({"config", "model_name"})
    rule = _rule_of(name, file, sample, epochs) if is_job else content
    rule |= {field: value for field, value in changes.items() if value is not None}
    if isinstance(rule.get("drift_threshold"), int | float):
        rule.setdefault("drift_warning", rule["drift_threshold"] / 2)
    return request_of(TriggerRule, rule)


def _rule_of(
    name: str, file: Path | None, sample: str | None, epochs: int | None
) -> dict[str, Any]:
    """The rule that asks for nothing but this job."""
    job = read_recurring(file, sample, name if sample else None, epochs)
    return {"job": job.config, **job.model_dump(include={"priority", "max_attempts", "resources"})}


def show_list(found: Sequence[Trigger]) -> None:
    """One line a rule."""
    rows = (
        (
            one.model_name,
            "on" if one.rule.enabled else "off",
            f"{one.rule.drift_threshold:g} bits",
            f"{one.rule.performance_threshold:.0%}",
            _days(one.rule.time_threshold_days),
            one.rule.data_volume_threshold,
            f"{one.rule.windows_to_fire} of {one.rule.windows}",
            f"{one.rule.cool_down_seconds:g} s",
            one.rule.daily_budget,
            ago(one.last_signal_at),
        )
        for one in found
    )
    columns = (
        "model",
        "rule",
        ">drift",
        ">worse by",
        ">age",
        ">new rows",
        ">windows",
        ">cool-down",
        ">a day",
        ">last signal",
    )
    print_table(columns, rows, "No model has a rule.")


def show_explanation(found: TriggerExplanation) -> None:
    """What would start a training, what would not, and why."""
    say(found.explanation)
    rows = ((one.trigger, "fires" if one.fired else "", one.reason) for one in found.findings)
    print_table(("trigger", "", "~why"), rows, "Nothing was said of the model yet.")
    if found.last_signal_at is not None:
        say(f"The last signal came {ago(found.last_signal_at)} ago.")
    trainings = (
        (f"{one.fired_at:%Y-%m-%d %H:%M:%S}", one.job_id, one.outcome, " ".join(one.reasons))
        for one in found.firings
    )
    columns = ("started (UTC)", ">job", "outcome", "~why")
    print_table(columns, trainings, "It has started no training yet.")


def _days(value: float | None) -> str:
    return "" if value is None else f"{value:g} d"
