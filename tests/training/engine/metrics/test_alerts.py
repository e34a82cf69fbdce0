"""Alerts: what raises one, how bad it is, and that a cause is told once."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from utils.training.engine.metrics.alerts import AlertConfig, AlertRules


def rules(**config):
    return AlertRules(AlertConfig(**config), 0.1, 0.2)


def row(epoch, **values):
    return {"epoch": epoch, **values}


def types(alerts):
    return [(alert.type, alert.severity) for alert in alerts]


def drift(status, bits, features=()):
    return SimpleNamespace(status=status, js_divergence=bits, affected_features=list(features))


def test_a_loss_spike_is_relative_to_the_previous_epoch():
    (alert,) = rules().check(row(1, val_loss=1.3), row(0, val_loss=1.0), None)
    assert alert.to_dict() == {
        "type": "val_loss_spike",
        "message": ("Validation loss rose by 30.0% in epoch 1, from 1 to 1.3 (threshold 20.0%)."),
        "severity": "warning",
        "value": pytest.approx(0.3),
        "threshold": 0.2,
        "epoch": 1,
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (1.0, 1.2, []),  # at the threshold
        (1.0, 1.21, ["warning"]),
        (1.0, 1.4, ["critical"]),  # twice the threshold
        (-1.0, -0.7, ["warning"]),  # a log-likelihood
        (0.0, 0.0, []),
        (0.0, 0.5, ["critical"]),
        (1.0, math.nan, ["critical"]),
        (1.0, math.inf, ["critical"]),
        (math.nan, 5.0, []),
        (math.inf, 5.0, []),
        (2.0, 1.0, []),
    ],
)
def test_loss_spikes_by_size(before, after, expected):
    found = rules().check(row(1, val_loss=after), row(0, val_loss=before), None)
    assert [alert.severity for alert in found] == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.90, 0.85, []),  # exactly five points, but for rounding
        (0.90, 0.84, ["warning"]),
        (0.90, 0.70, ["critical"]),
        (0.90, 0.95, []),
        (math.nan, 0.1, []),
        (0.9, math.nan, []),
    ],
)
def test_accuracy_drops_are_in_points(before, after, expected):
    found = rules().check(row(1, val_accuracy=after), row(0, val_accuracy=before), None)
    assert [alert.severity for alert in found] == expected


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(10.0, []), (10.1, ["warning"]), (20.0, ["critical"]), (math.inf, ["critical"])],
)
def test_gradient_explosions_need_no_epoch_before(norm, expected):
    found = rules().check(row(0, gradient_norm=norm), None, None)
    assert [alert.severity for alert in found] == expected


def test_a_norm_of_nan_is_critical():
    (alert,) = rules().check(row(0, gradient_norm=math.nan), None, None)
    assert types([alert]) == [("gradient_explosion", "critical")]


def test_a_cause_that_lasts_is_told_once_and_again_after_a_pause():
    alarm = rules()
    norms = [1.0, 15.0, 15.0, 16.0, 1.0, 15.0]
    told = [bool(alarm.check(row(i, gradient_norm=n), None, None)) for i, n in enumerate(norms)]
    assert told == [False, True, False, False, False, True]


def test_a_cause_that_gets_worse_is_told_again():
    alarm = rules()
    first = alarm.check(row(0, gradient_norm=15.0), None, None)
    worse = alarm.check(row(1, gradient_norm=25.0), None, None)
    better = alarm.check(row(2, gradient_norm=15.0), None, None)
    assert types(first + worse + better) == [
        ("gradient_explosion", "warning"),
        ("gradient_explosion", "critical"),
    ]


def test_drift_names_its_features_and_its_threshold():
    names = [f"f{i}" for i in range(7)]
    (alert,) = rules().check(row(3), None, drift("critical", 0.25, names))
    assert alert.severity == "critical"
    assert alert.threshold == 0.2
    assert alert.message == (
        "Data drift is critical in epoch 3: JS divergence 0.2500 bits (threshold 0.2), "
        "in f0, f1, f2, f3, f4 and 2 more."
    )


def test_an_epoch_without_a_comparison_leaves_drift_latched():
    alarm = rules()
    assert types(alarm.check(row(0), None, drift("warning", 0.15))) == [("drift", "warning")]
    assert alarm.check(row(1), None, None) == []
    assert alarm.check(row(2), None, drift("warning", 0.15)) == []
    assert alarm.check(row(3), None, drift("healthy", 0.01)) == []
    assert types(alarm.check(row(4), None, drift("warning", 0.15))) == [("drift", "warning")]


def test_latches_survive_a_checkpoint():
    before = rules()
    before.check(row(0, gradient_norm=15.0), None, None)
    after = rules()
    after.load_state_dict(before.state_dict())
    assert after.check(row(1, gradient_norm=15.0), None, None) == []


def test_the_thresholds_are_the_users():
    config = {
        "val_loss_spike_threshold": 1.0,
        "accuracy_drop_threshold": 0.5,
        "gradient_explosion_threshold": 100.0,
    }
    now = row(1, val_loss=1.9, val_accuracy=0.5, gradient_norm=99.0)
    assert rules(**config).check(now, row(0, val_loss=1.0, val_accuracy=0.9), None) == []
