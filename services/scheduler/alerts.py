"""Alertmanager's receiver: a firing alert for drift or performance becomes a signal."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ValidationError

from services.scheduler.retraining import Retraining
from services.scheduler.rules import UnknownTriggerError
from utils.service.answers import answer, schema_of
from utils.service.contracts.alerts import Alert, AlertGroup, AlertOutcome
from utils.service.contracts.jobs import Signal
from utils.service.web import BEARER, REFUSALS, role
from utils.training.errors import InvalidConfigError

_TAGS = [Tag(name="alerts", description="For Alertmanager: alerts that may retrain a model.")]
_OUTCOMES = list[AlertOutcome]


def alerts_api(retraining: Retraining) -> APIBlueprint:
    """The webhook."""
    api = APIBlueprint(
        "alerts", __name__, url_prefix="/v1/alerts", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.post("", security=BEARER, responses={HTTPStatus.OK: schema_of(_OUTCOMES)})
    @role("submitter")
    def take_alerts(body: AlertGroup) -> Response:
        """Take a notification of Alertmanager (version 4); each alert is decided on once.

        One that can't be used is answered with the reason and harms no other. An alert has held for
        its rule's time, so it needs no second window; the model's other brakes hold.
        """
        return answer(_OUTCOMES, [_take(retraining, alert) for alert in body.alerts])

    return api


def _take(retraining: Retraining, alert: Alert) -> AlertOutcome:
    name = alert.labels.get("alertname", "unnamed")
    if alert.status != "firing":
        explanation = "Nothing to do: the alert is resolved."
        return AlertOutcome(fingerprint=alert.fingerprint, alert=name, explanation=explanation)
    try:
        signal = _signal_of(alert)
        decision = retraining.signal(
            alert.labels["model_name"],
            signal,
            f"alert {alert.fingerprint} since {alert.starts_at.isoformat()}",
            is_sustained=True,
        )
    except (InvalidConfigError, UnknownTriggerError) as error:
        return AlertOutcome(fingerprint=alert.fingerprint, alert=name, explanation=str(error))
    return AlertOutcome(
        fingerprint=alert.fingerprint,
        alert=name,
        explanation=decision.explanation,
        decision=decision,
    )


def _signal_of(alert: Alert) -> Signal:
    """What the alert says of its model.

    Raises:
        InvalidConfigError: a ValueError; labels or annotations are missing, or are no numbers.
    """
    labels, told = alert.labels, alert.annotations
    values: dict[str, object] = {"model_version": labels.get("model_version")}
    try:
        match labels.get("trigger"):
            case "drift":
                values["drift_score"] = told["drift_score"]
            case "performance":
                values["current_metrics"] = {labels["metric"]: told["current"]}
                values["baseline_metrics"] = {labels["metric"]: told["baseline"]}
            case other:
                raise InvalidConfigError(
                    [f"The label trigger is {other!r}, allowed are 'drift' and 'performance'."]
                )
        labels["model_name"]
        return Signal.model_validate(values)
    except KeyError as error:
        raise InvalidConfigError(
            [f"The alert has no {error}; its rule must set it as a label or an annotation."]
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InvalidConfigError([f"{place} is {fault['input']!r}: {fault['msg']}."]) from error
