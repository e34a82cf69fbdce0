from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.training.errors import InvalidConfigError
from utils.training.metric_direction import direction_of
from utils.training.retraining_triggers import RetrainingTriggerManager

NOW = datetime(2026, 3, 10, tzinfo=UTC)
NAN = float("nan")


@pytest.fixture
def manager():
    return RetrainingTriggerManager()


def test_nothing_given_fires_nothing_and_says_what_is_missing(manager):
    assert manager.check_triggers() == (False, [])
    report = manager.explain()
    assert [finding.trigger for finding in report.findings] == [
        "drift",
        "performance",
        "time",
        "data_volume",
    ]
    assert all("missing" in note or "No current metrics" in note for note in report.notes)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"drift_score": 0.2}, "0.2 bits"),
        ({"new_data_count": 10_000}, "10,000 new samples"),
        ({"last_train_timestamp": "2026-03-03T00:00:00"}, "7.0 days ago"),
        (
            {"current_metrics": {"val_loss": 0.44}, "baseline_metrics": {"val_loss": 0.4}},
            "by 10.0% (from 0.4 to 0.44",
        ),
        (
            {"current_metrics": {"accuracy": 0.81}, "baseline_metrics": {"accuracy": 0.9}},
            "higher is better",
        ),
    ],
)
def test_at_the_threshold_counts_as_over_it(manager, given, word):
    fires, reasons = manager.check_triggers(now=NOW, **given)
    assert fires
    assert len(reasons) == 1
    assert word in reasons[0]
    assert reasons[0].endswith(".")


@pytest.mark.parametrize(
    "given",
    [
        {"drift_score": 0.1999},
        {"new_data_count": 9_999},
        {"last_train_timestamp": "2026-03-03T00:00:01"},
        {"current_metrics": {"val_loss": 0.439}, "baseline_metrics": {"val_loss": 0.4}},
        {"current_metrics": {"val_loss": 0.1}, "baseline_metrics": {"val_loss": 0.4}},
        {"current_metrics": {"f1": 0.99}, "baseline_metrics": {"f1": 0.5}},
    ],
)
def test_below_the_threshold_fires_nothing(manager, given):
    assert manager.check_triggers(now=NOW, **given) == (False, [])


@pytest.mark.parametrize(
    ("current", "baseline", "said"),
    [
        ({"val_loss": NAN}, {"val_loss": 0.4}, "it is nan"),
        ({"val_loss": 0.4}, {"val_loss": NAN}, "its baseline is nan"),
        ({"val_loss": 0.4}, {}, "its baseline is missing"),
        ({"val_loss": 0.4}, None, "its baseline is missing"),
        ({"val_loss": None}, {"val_loss": 0.4}, "it is missing"),
        ({"val_loss": 0.4}, {"val_loss": math.inf}, "its baseline is inf"),
        ({"quality": 0.1}, {"quality": 0.9}, "metric_directions"),
    ],
)
def test_what_can_not_be_judged_is_said_and_never_fires(manager, caplog, current, baseline, said):
    with caplog.at_level(logging.DEBUG):
        assert manager.check_triggers(current, baseline) == (False, [])
    assert said in caplog.text


@pytest.mark.parametrize("score", [None, NAN])
def test_a_drift_score_that_is_no_number_never_fires(manager, score):
    assert manager.check_triggers(drift_score=score, new_data_count=score) == (False, [])


def test_a_metric_that_diverged_fires(manager):
    assert manager.check_triggers({"loss": math.inf}, {"loss": 1.0})[0]


@pytest.mark.parametrize(
    ("value", "fires"), [(0.0, False), (1e-9, True), (-1.0, False), (5.0, True)]
)
def test_from_a_baseline_of_zero_any_worsening_fires(manager, value, fires):
    assert manager.check_triggers({"error": value}, {"error": 0.0})[0] == fires


def test_a_negative_baseline_is_relative_to_its_size(manager):
    assert manager.check_triggers({"log_likelihood": -111.0}, {"log_likelihood": -100.0})[0]
    assert not manager.check_triggers({"log_likelihood": -91.0}, {"log_likelihood": -100.0})[0]


def test_directions_given_win_over_the_name():
    manager = RetrainingTriggerManager(metric_directions={"quality": "higher", "loss": "higher"})
    assert manager.check_triggers({"quality": 0.1}, {"quality": 0.9})[0]
    assert not manager.check_triggers({"loss": 0.9}, {"loss": 0.1})[0]


def test_times_may_have_any_zone(manager):
    trained = datetime(2026, 3, 3, 2, tzinfo=timezone(timedelta(hours=2)))
    assert manager.check_triggers(last_train_timestamp=trained, now="2026-03-10T00:00:00Z")[0]
    assert not manager.check_triggers(
        last_train_timestamp="2026-03-03T00:00:00-01:00", now="2026-03-10T00:00:00"
    )[0]


def test_a_training_of_the_future_is_not_old(manager):
    assert not manager.check_triggers(last_train_timestamp="2027-01-01", now=NOW)[0]


def test_the_clock_decides_where_no_time_is_given(manager):
    ago = datetime.now(UTC) - timedelta(days=8)
    assert manager.check_triggers(last_train_timestamp=ago)[0]


def test_a_time_that_is_none_is_refused(manager):
    with pytest.raises(ValueError, match="last_train_timestamp is 'yesterday'; give an ISO 8601"):
        manager.check_triggers(last_train_timestamp="yesterday")


def test_every_bad_threshold_is_named():
    with pytest.raises(InvalidConfigError, match="3 faults") as caught:
        RetrainingTriggerManager(
            drift_threshold=0, time_threshold_days=NAN, metric_directions={"loss": "down"}
        )
    assert "metric_directions['loss'] is 'down'" in str(caught.value)


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.sampled_from(["loss", "accuracy"]), st.data())
def test_a_metric_that_did_not_get_worse_never_fires(baseline, value, name, data):
    better = min(baseline, value) if name == "loss" else max(baseline, value)
    manager = RetrainingTriggerManager(performance_threshold=data.draw(st.floats(1e-6, 10)))
    assert manager.check_triggers({name: better}, {name: baseline}) == (False, [])


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "lower"),
        ("valLoss", "lower"),
        ("perplexity", "lower"),
        ("WER", "lower"),
        ("mean_absolute_error", "lower"),
        ("latency_p99_ms", "lower"),
        ("neg_log_likelihood", "lower"),
        ("cross_entropy", "lower"),
        ("accuracy", "higher"),
        ("top5_accuracy", "higher"),
        ("f1_macro", "higher"),
        ("ROC-AUC", "higher"),
        ("ndcg@10", "higher"),
        ("rouge2", "higher"),
        ("bleu", "higher"),
        ("r2", "higher"),
        ("eval/mAP50", "higher"),
        ("neg_mean_squared_error", "higher"),
        ("quality", None),
        ("entropy", None),
        ("", None),
    ],
)
def test_the_direction_follows_from_the_name_where_it_tells(name, direction):
    assert direction_of(name) == direction
