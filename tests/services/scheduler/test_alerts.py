"""Alertmanager's notifications: what fires becomes a signal, once; what can't be used says why."""

import httpx
import pytest

from utils.service.contracts.jobs import TriggerRule

DRIFT = {
    "status": "firing",
    "labels": {
        "alertname": "DriftCritical",
        "severity": "critical",
        "trigger": "drift",
        "model_name": "digits",
        "model_version": "1",
    },
    "annotations": {"summary": "Inputs have drifted.", "drift_score": "0.41"},
    "startsAt": "2026-03-02T12:00:00.123Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "9a5f3b2c1d0e4f67",
}
WORSE = DRIFT | {
    "labels": DRIFT["labels"] | {"trigger": "performance", "metric": "accuracy"},
    "annotations": {"current": "0.7", "baseline": "0.95"},
    "fingerprint": "1111111111111111",
}


def notification(*alerts):
    """A body as Alertmanager 0.25 sends it."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="DriftCritical"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "scheduler",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
    }


@pytest.fixture
def notify(web):
    def notify(*alerts, token="submitter-token"):
        answer = httpx.post(
            f"{web.url}/v1/alerts",
            json=notification(*alerts),
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    return notify


@pytest.fixture
def rule(config, web):
    rule = TriggerRule(job=config, windows=3, windows_to_fire=2, cool_down_seconds=0)
    web.submitter.put_trigger("digits", rule)
    return rule


def jobs_of(web):
    return web.reader.list_jobs(model_name="digits").items


def test_a_firing_drift_alert_trains_the_model_and_its_repetition_changes_nothing(
    web, rule, notify
):
    (first,) = notify(DRIFT)
    (again,) = notify(DRIFT)
    (job,) = jobs_of(web)
    assert first["explanation"] == f"Job {job.job_id} trains the model again."
    assert first["decision"]["fired"]
    assert again["decision"]["repeated"]
    assert again["decision"]["job_id"] == job.job_id
    assert "0.41 bits" in job.reason


def test_a_worse_metric_trains_the_model(web, rule, notify):
    (outcome,) = notify(WORSE)
    assert outcome["decision"]["fired"]
    (job,) = jobs_of(web)
    assert "accuracy got worse by 26.3%" in job.reason


def test_the_same_alert_that_starts_anew_is_held_back_until_a_window_was_calm(web, rule, notify):
    notify(DRIFT)
    job = web.trainer.claim("w")
    web.trainer.finish(job.job_id, job.fencing_token, "completed")
    (later,) = notify(DRIFT | {"startsAt": "2026-03-02T13:00:00Z"})
    assert later["decision"]["held_back_by"] == "disarmed"
    assert len(jobs_of(web)) == 1


def test_an_alert_below_the_rules_threshold_trains_nothing(web, rule, notify):
    (outcome,) = notify(DRIFT | {"annotations": {"drift_score": "0.12"}})
    assert outcome["explanation"] == "No training: no trigger asked for one."
    assert jobs_of(web) == ()


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        ({"status": "resolved"}, "Nothing to do: the alert is resolved."),
        ({"annotations": {}}, "The alert has no 'drift_score'"),
        ({"annotations": {"drift_score": "NaN bits"}}, "drift_score is 'NaN bits'"),
        ({"labels": {"trigger": "drift"}}, "The alert has no 'model_name'"),
        ({"labels": {"severity": "critical"}}, "The label trigger is None"),
        (
            {"labels": DRIFT["labels"] | {"model_name": "nobody"}},
            "There is no trigger for the model 'nobody'",
        ),
    ],
)
def test_an_alert_that_can_not_be_used_says_why_and_harms_no_other(
    web, rule, notify, change, explanation
):
    spoilt, good = notify(DRIFT | change, WORSE)
    assert explanation in spoilt["explanation"]
    assert spoilt["decision"] is None
    assert good["decision"]["fired"]


def test_only_submitters_may_notify_and_only_in_version_4(web):
    def post(token, body):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{web.url}/v1/alerts"
        return httpx.post(url, json=body, headers=headers, trust_env=False).status_code

    assert post("reader-token", notification(DRIFT)) == 403
    assert post("submitter-token", notification(DRIFT) | {"version": "3"}) == 422
