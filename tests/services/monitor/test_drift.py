"""Drift of real digits, from the stream to the API, the signal and the alert."""

from __future__ import annotations

from contextlib import closing

import httpx
import pytest

from services.monitor.consequences import RollbackOrder
from services.monitor.windows.store import MonitorStore
from tests.waiting import wait_until
from utils.service.clients.registry import RegistryClient
from utils.service.contracts.document import to_json
from utils.service.contracts.jobs import TriggerRule
from utils.service.http import RemoteError, ServiceClient


def statuses(monitor):
    return [window.status for window in monitor.client.windows("digits")]


def types_of_alerts(monitor):
    return [alert.type for alert in monitor.client.alerts()]


def last_signal_of(platform):
    signal = platform.scheduler.get_trigger("digits").last_signal
    return signal and signal.window_end


def metrics_of(monitor):
    return httpx.get(f"{monitor.url}/metrics", trust_env=False).text


def test_a_verdict_follows_the_data_there_and_back(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor()
    platform.send(sample(500))
    wait_until(lambda: statuses(monitor) == ["healthy"])
    platform.send(1 - sample(500, seed=1), per_request=25)
    wait_until(lambda: statuses(monitor) == ["critical", "healthy"])
    (alert,) = wait_until(monitor.client.alerts)
    assert (alert.type, alert.severity) == ("drift", "critical")
    window = monitor.client.windows("digits")[0]
    assert "brightness" in window.affected
    assert window.score == max(shift.js for shift in window.features.values()) > 0.2
    assert 'drift_status{model_name="digits",model_version="1"} 2.0' in metrics_of(monitor)
    platform.send(sample(1000, seed=2))
    wait_until(lambda: statuses(monitor)[:2] == ["healthy", "healthy"])
    wait_until(lambda: not monitor.client.alerts())
    assert 'drift_status{model_name="digits",model_version="1"} 0.0' in metrics_of(monitor)
    wait_until(lambda: 'training_alerts_total{severity="resolved"} 1.0' in metrics_of(monitor))


def test_each_window_of_the_production_version_is_a_signal(platform, reference, sample):
    platform.register(profile=reference, metrics={"accuracy": 0.95})
    platform.scheduler.put_trigger("digits", rule())
    monitor = platform.monitor()
    platform.send(1 - sample(450), errors=50)
    monitor.client.call(
        "POST",
        "/v1/feedback/digits",
        body={"model_version": "1", "metrics": {"accuracy": 0.5}, "rows": 10},
    )
    platform.send(1 - sample(50))
    wait_until(lambda: platform.scheduler.get_trigger("digits").last_signal)
    signal = platform.scheduler.get_trigger("digits").last_signal
    (window,) = monitor.client.windows("digits")
    assert signal.window_end == window.window_end
    assert signal.drift_score == pytest.approx(window.score)
    assert signal.baseline_metrics == {"accuracy": 0.95}
    assert signal.current_metrics["error_rate"] > 0


def test_a_signal_waits_for_a_scheduler_that_is_away(platform, reference, sample):
    platform.register(profile=reference)
    platform.scheduler.put_trigger("digits", rule())
    monitor = platform.monitor()
    platform.scheduler_process.kill()
    platform.send(sample(1000))
    wait_until(lambda: len(statuses(monitor)) == 2)
    newest, _ = monitor.client.windows("digits")
    platform.scheduler_process.start()
    wait_until(lambda: last_signal_of(platform) == newest.window_end)


def test_a_version_without_a_reference_is_said_to_have_none(platform, sample):
    platform.register()
    monitor = platform.monitor()
    platform.send(sample(500))
    wait_until(lambda: statuses(monitor) == ["unknown"])
    wait_until(lambda: types_of_alerts(monitor) == ["reference_missing"])
    assert "drift_reference_missing" in metrics_of(monitor)


def test_features_that_predictions_lack_are_told_and_not_compared(platform, reference, sample):
    extra = {**reference, "features": {**reference["features"]}}
    extra["features"]["sharpness"] = extra["features"]["contrast"]
    platform.register(profile=extra)
    monitor = platform.monitor()
    platform.send(sample(500))
    wait_until(lambda: statuses(monitor) == ["healthy"])
    assert monitor.client.windows("digits")[0].missing == ("sharpness",)


def test_a_promotion_whose_errors_rise_is_taken_back(platform, reference, sample):
    first = platform.register(profile=reference)
    monitor = platform.monitor()
    platform.send(sample(500))
    wait_until(lambda: statuses(monitor) == ["healthy"])
    platform.register(profile=reference)
    wait_until(lambda: platform.registry.tagged("digits").version == "2")
    platform.send(sample(300, seed=3), version="2", errors=200)
    wait_until(lambda: platform.registry.tagged("digits").model_id == first.model_id)
    (newest, *_) = platform.registry.history("digits")
    assert newest.kind == "rollback"
    assert "error_rate" in newest.reason
    wait_until(lambda: "rollback" in types_of_alerts(monitor))
    platform.register(profile=reference)
    wait_until(lambda: platform.registry.tagged("digits").version == "3")

    def is_over_after_another_window():
        before = len(statuses(monitor))
        platform.send(sample(500, seed=4), version="3")
        wait_until(lambda: len(statuses(monitor)) == before + 1)
        return "rollback" not in types_of_alerts(monitor)

    wait_until(is_over_after_another_window)


def order_rollback(platform, model, reason="errors"):
    order = to_json(RollbackOrder, RollbackOrder(model_id=model.model_id, reason=reason))
    outbox = MonitorStore(platform.redis).rollbacks
    outbox.put(platform.redis, "digits", order.decode())
    wait_until(lambda: not outbox.waiting())


def test_a_rollback_whose_answer_was_lost_is_told_and_one_of_a_replaced_version_is_none(platform):
    first, second = platform.register(), platform.register()
    monitor = platform.monitor()
    order_rollback(platform, first)
    assert platform.registry.tagged("digits").model_id == second.model_id
    assert not monitor.client.alerts()
    url, token_file = platform.registry_process.url, platform.folder / "submitter"
    with closing(ServiceClient(url, token_file)) as as_monitor:
        RegistryClient(as_monitor).rollback("digits", "errors")
    order_rollback(platform, second)
    assert platform.registry.tagged("digits").model_id == first.model_id
    assert len(platform.registry.history("digits")) == 3
    (alert,) = monitor.client.alerts()
    assert alert.message == "digits was rolled back: errors"


def test_drift_alone_takes_no_promotion_back(platform, reference, sample):
    platform.register(profile=reference)
    monitor = platform.monitor()
    platform.send(sample(500))
    wait_until(lambda: statuses(monitor) == ["healthy"])
    platform.register(profile=reference)
    platform.send(1 - sample(500, seed=3), version="2")
    wait_until(lambda: len(statuses(monitor)) == 2)
    assert statuses(monitor)[0] == "critical"
    assert "drift_rollbacks_total{" not in metrics_of(monitor)
    assert platform.registry.tagged("digits").version == "2"


def test_the_platform_is_watched(platform):
    monitor = platform.monitor()
    config = {
        "model_name": "digits",
        "model": {"entry_point": "models:digits"},
        "data": [{"kind": "sample", "location": "digits"}],
    }
    platform.scheduler.submit("training", config)
    wait_until(lambda: [q.ready for q in monitor.client.platform().queues] == [1, 0, 0])


def test_a_reader_gives_no_feedback(platform):
    monitor = platform.monitor()
    answer = httpx.post(
        f"{monitor.url}/v1/feedback/digits",
        json={"model_version": "1", "metrics": {"accuracy": 1.0}, "rows": 1},
        headers={"Authorization": "Bearer reader-token"},
        trust_env=False,
    )
    assert answer.status_code == 403
    with pytest.raises(RemoteError, match="rows"):
        monitor.client.call(
            "POST", "/v1/feedback/digits", body={"model_version": "1", "metrics": {"a": 1.0}}
        )


def rule():
    return TriggerRule.model_validate(
        {
            "job": {
                "model_name": "digits",
                "model": {"entry_point": "models:digits"},
                "data": [{"kind": "sample", "location": "digits"}],
            },
        }
    )
