"""Rules for retraining, read and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.cli.errors import UsageError
from services.cli.output import ago, print_table, say
from services.cli.submission import read_mapping, read_submission
from utils.service.contracts.jobs import TriggerRule
from utils.service.contracts.triggers import Trigger, TriggerExplanation
from utils.training.errors import InvalidConfigError


def read_rule(
    name: str,
    file: Path | None,
    sample: str | None,
    epochs: int | None,
    changes: dict[str, Any],
) -> TriggerRule:
    """The rule that is meant; ``changes`` that are None leave the file's.

    Raises:
        UsageError: a ValueError; neither or both of file and sample were given.
        InvalidConfigError: a ValueError; lists every fault of the rule.
    """
    if (file is None) == (sample is None):
        raise UsageError("Give a file with a rule, or --sample digits (or cells, or text).")
    if file is None:
        rule: dict[str, Any] = {"job": read_submission(None, sample, name, epochs, {}).config}
    else:
        rule = read_mapping(file)
    rule |= {field: value for field, value in changes.items() if value is not None}
    if "drift_threshold" in rule:
        rule.setdefault("drift_warning", rule["drift_threshold"] / 2)
    try:
        return TriggerRule.model_validate(rule)
    except ValidationError as error:
        raise InvalidConfigError(
            [f"{'.'.join(map(str, f['loc']))}: {f['msg']}." for f in error.errors()]
        ) from error


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
    print_table(("trigger", "", "why"), rows, "Nothing was said of the model yet.")
    if found.last_signal_at is not None:
        say(f"The last signal came {ago(found.last_signal_at)} ago.")
    if found.brakes:
        say(f"Held back by: {', '.join(found.brakes)}.")
    trainings = (
        (f"{one.fired_at:%Y-%m-%d %H:%M:%S}", one.job_id, one.outcome, " ".join(one.reasons))
        for one in found.firings
    )
    columns = ("started (UTC)", ">job", "outcome", "why")
    print_table(columns, trainings, "It has started no training yet.")


def _days(value: float | None) -> str:
    return "" if value is None else f"{value:g} d"
