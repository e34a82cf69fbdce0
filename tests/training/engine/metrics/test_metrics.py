"""The metrics engine: what it keeps, what it sends, and that nothing can stop it."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch

from utils.training.drift_metrics import DriftMetrics, profile_dataset
from utils.training.engine import AlertConfig, MetricsEngine
from utils.training.engine.metrics import SUMMARY_COLUMNS
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig


class Recorder:
    """A tracker that keeps what it is given."""

    def __init__(self):
        self.points, self.histograms, self.is_closed = [], [], False

    def log(self, metrics, step=None, epoch=None):
        self.points.append((dict(metrics), step, epoch))

    def log_histogram(self, name, values, step=None):
        self.histograms.append((name, values, step))

    def close(self):
        self.is_closed = True


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def engine(recorder):
    return MetricsEngine(use_wandb=False, trackers=[recorder])


def test_values_reach_the_trackers_as_plain_numbers(engine, recorder):
    engine.log_scalar("train/loss", torch.tensor(0.5), step=3)
    engine.log_metrics({"a": np.float32(1.5), "b": math.nan}, step=4)
    assert recorder.points[0] == ({"train/loss": 0.5}, 3, None)
    values, step, _ = recorder.points[1]
    assert (values["a"], step) == (1.5, 4)
    assert type(values["a"]) is float
    assert math.isnan(values["b"])


def test_values_without_a_step_are_counted_by_micro_batches(recorder):
    engine = MetricsEngine(use_wandb=False, gradient_accumulation_steps=4, trackers=[recorder])
    for _ in range(9):
        engine.log_scalar("loss", 1.0)
    engine.log_scalar("other", 1.0)
    assert [step for _, step, _ in recorder.points] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 0]


def test_histograms_are_flat_and_on_the_host(engine, recorder):
    engine.log_histogram("g", torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True), step=7)
    engine.log_histogram("g", [1, 2])
    engine.log_histogram("empty", [])
    assert [(name, values.shape, step) for name, values, step in recorder.histograms] == [
        ("g", (6,), 7),
        ("g", (2,), 0),
    ]


def test_accumulation_steps_below_one_are_refused():
    with pytest.raises(ValueError, match="gradient_accumulation_steps is 0, allowed is"):
        MetricsEngine(use_wandb=False, gradient_accumulation_steps=0)


def test_a_database_without_a_run_is_refused():
    with pytest.raises(ValueError, match="without run_id"):
        MetricsEngine(use_wandb=False, experiment_db=object())


def test_an_epoch_is_a_row_and_goes_to_the_trackers(engine, recorder):
    engine.log_epoch(
        epoch=5,
        train_metrics={"loss": 0.5, "accuracy": 0.75, "perplexity": 1.6},
        val_metrics={"val_loss": 0.25, "val/accuracy": 0.875},
        learning_rate=1e-4,
        gradient_norm=0.5,
        epoch_duration=120.5,
    )
    frame = engine.get_summary()
    assert tuple(frame.columns) == (*SUMMARY_COLUMNS, "train_perplexity")
    assert frame.iloc[0].to_dict() == {
        "epoch": 5,
        "train_loss": 0.5,
        "val_loss": 0.25,
        "train_accuracy": 0.75,
        "val_accuracy": 0.875,
        "learning_rate": 1e-4,
        "gradient_norm": 0.5,
        "epoch_duration": 120.5,
        "train_perplexity": 1.6,
    }
    ((metrics, step, epoch),) = recorder.points
    assert (step, epoch) == (None, 5)
    assert metrics["val/loss"] == 0.25
    assert metrics["train/perplexity"] == 1.6


def test_a_task_without_accuracy_or_validation_is_no_error(engine):
    assert engine.log_epoch(0, {"loss": 0.5}) is None
    frame = engine.get_summary()
    assert tuple(frame.columns) == SUMMARY_COLUMNS
    assert math.isnan(frame["val_loss"][0])
    assert not engine.has_alerts()


def test_an_engine_without_epochs_has_an_empty_summary(engine):
    frame = engine.get_summary()
    assert tuple(frame.columns) == SUMMARY_COLUMNS
    assert len(frame) == 0
    assert frame["epoch"].dtype == "int64"


def test_nan_and_inf_are_kept(engine):
    engine.log_epoch(0, {"loss": math.nan}, {"loss": math.inf}, gradient_norm=math.nan)
    row = engine.get_summary().iloc[0]
    assert math.isnan(row["train_loss"])
    assert math.isinf(row["val_loss"])


def test_what_is_no_number_is_left_out_and_said(engine, caplog):
    engine.log_epoch(0, {"loss": 0.5, "note": "fine", "matrix": torch.ones(2), "none": None})
    engine.log_metrics({"note": "fine"}, step=1)
    assert caplog.text.count("Metric 'note' is 'fine', not one number") == 1
    assert "'none'" not in caplog.text
    assert "train_matrix" not in engine.get_summary().columns


def test_an_epoch_logged_again_replaces_its_row(engine):
    engine.log_epoch(1, {"loss": 2.0})
    engine.log_epoch(0, {"loss": 3.0})
    engine.log_epoch(1, {"loss": 1.0})
    assert engine.get_summary()[["epoch", "train_loss"]].to_numpy().tolist() == [[0, 3], [1, 1]]


def spike(engine, *losses, start=0):
    for epoch, loss in enumerate(losses, start):
        engine.log_epoch(epoch, {"loss": 1.0}, {"loss": loss})


def test_alerts_are_handed_out_once_and_kept(engine):
    spike(engine, 1.0, 2.0)
    assert engine.has_alerts()
    (alert,) = engine.get_alerts()
    assert set(alert) == {"type", "message", "severity", "value", "threshold", "epoch"}
    assert not engine.has_alerts()
    assert engine.get_alerts() == []
    assert engine.alert_history == [alert]


def test_the_next_epochs_alerts_come_without_the_old_ones(engine):
    seen = []
    for epoch, loss in enumerate([1.0, 2.0, 1.0, 2.0]):
        engine.log_epoch(epoch, {"loss": 1.0}, {"loss": loss})
        if engine.has_alerts():
            seen += [alert["epoch"] for alert in engine.get_alerts()]
    assert seen == [1, 3]


def test_the_epoch_before_is_the_nearest_one_below(engine):
    engine.log_epoch(0, {"loss": 1.0}, {"loss": 1.0})
    engine.log_epoch(5, {"loss": 1.0}, {"loss": 2.0})
    assert [alert["epoch"] for alert in engine.get_alerts()] == [5]


def test_callbacks_get_the_alerts_dict_and_one_that_fails_harms_nobody(recorder, caplog):
    told = []
    engine = MetricsEngine(
        use_wandb=False,
        alert_config=AlertConfig(val_loss_spike_threshold=0.5),
        alert_callbacks=[lambda alert: 1 / 0, told.append],
    )
    spike(engine, 1.0, 1.4, 2.8)
    assert told == engine.get_alerts()
    assert told[0]["threshold"] == 0.5
    assert "An alert callback failed, training goes on." in caplog.text


def checkpointed(engine):
    """The engine's state after a trip through a file that is loaded safely."""
    buffer = io.BytesIO()
    torch.save(engine.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_resumed_run_has_every_epoch_and_no_alert_twice(engine):
    engine.log_epoch(0, {"loss": np.float64(1.0)}, {"loss": torch.tensor(1.0)}, 1e-3, 50.0, 1.0)
    spike(engine, 3.0, start=1)
    engine.get_alerts()
    engine.log_scalar("loss", 1.0)

    resumed = MetricsEngine(use_wandb=False, trackers=[tracker := Recorder()])
    resumed.load_state_dict(checkpointed(engine))
    assert resumed.get_summary().equals(engine.get_summary())
    assert resumed.alert_history == engine.alert_history
    assert not resumed.has_alerts()
    resumed.log_epoch(1, {"loss": 1.0}, {"loss": 3.0})  # the epoch that was cut short
    resumed.log_epoch(2, {"loss": 1.0}, {"loss": 3.0}, gradient_norm=50.0)
    assert [alert["type"] for alert in resumed.get_alerts()] == ["gradient_explosion"]
    resumed.log_scalar("loss", 1.0)
    assert tracker.points[-1][1] == 1


def test_alerts_that_were_not_read_are_still_there_after_a_resume(engine):
    spike(engine, 1.0, 2.0)
    resumed = MetricsEngine(use_wandb=False)
    resumed.load_state_dict(checkpointed(engine))
    assert resumed.get_alerts() == engine.get_alerts()


def test_confidence_is_measured_and_logged(engine, recorder):
    logits = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    found = engine.log_confidence(logits, torch.tensor([0, 1]), step=100)
    ((values, step, _),) = recorder.points
    assert step == 100
    assert values == {
        "confidence/top1": found.top1_confidence,
        "confidence/top5": pytest.approx(1.0),
        "confidence/entropy": found.entropy,
        "confidence/calibration_error": found.calibration_error,
    }
    engine.log_confidence(logits)
    assert "confidence/calibration_error" not in recorder.points[1][0]


def test_wandb_that_is_not_there_warns_once_and_training_goes_on(caplog):
    engine = MetricsEngine()
    for step in range(3):
        engine.log_scalar("loss", 1.0, step=step)
    engine.log_epoch(0, {"loss": 1.0})
    engine.close()
    assert [record.getMessage()[:36] for record in caplog.records] == [
        "Weights & Biases is switched off, tr"
    ]


def test_close_closes_the_trackers(engine, recorder):
    engine.close()
    assert recorder.is_closed
    engine.log_scalar("late", 1.0, step=1)
    assert recorder.points == []


def test_a_config_sets_thresholds_and_trackers(tmp_path):
    config = TrainingConfig(
        use_tensorboard=True,
        tensorboard_dir=str(tmp_path),
        run_name="run",
        explosion_threshold=2.0,
        gradient_accumulation_steps=2,
        val_loss_spike_threshold=0.5,
        accuracy_drop_threshold=0.2,
    )
    engine = MetricsEngine.from_config(config)
    engine.log_epoch(0, {"loss": 1.0}, {"loss": 1.0, "accuracy": 0.9}, gradient_norm=3.0)
    engine.log_epoch(1, {"loss": 1.0}, {"loss": 1.4, "accuracy": 0.75})
    engine.log_epoch(2, {"loss": 1.0}, {"loss": 2.2, "accuracy": 0.5})
    engine.close()
    assert {alert["type"]: alert["threshold"] for alert in engine.get_alerts()} == {
        "gradient_explosion": 2.0,
        "val_loss_spike": 0.5,
        "accuracy_drop": 0.2,
    }
    assert list((tmp_path / "run").glob("events*"))


def profile(shift=0.0, rows=400, seed=0):
    generator = np.random.default_rng(seed)
    spec = TaskSpec(name="tab", modality="tabular", feature_names=("age", "income"))
    ages = generator.normal(shift, 1.0, rows)
    data = [
        {"age": float(age), "income": float(income)}
        for age, income in zip(ages, generator.normal(size=rows), strict=True)
    ]
    return profile_dataset(data, spec)


def test_drift_is_measured_where_both_profiles_are_given(engine, recorder):
    reference = profile()
    assert engine.log_epoch(0, {"loss": 1.0}, reference_profile=reference) is None
    drift = engine.log_epoch(
        1,
        {"loss": 1.0},
        reference_profile=reference,
        current_profile=profile(shift=3.0, seed=1),
    )
    assert isinstance(drift, DriftMetrics)
    assert drift.status == "critical"
    assert drift.affected_features == ["age"]
    frame = engine.get_summary()
    assert frame["drift_js"].tolist()[1] == drift.js_divergence
    assert frame["drift_status"].tolist()[1] == "critical"
    assert recorder.points[-1][0]["drift/js"] == drift.js_divergence
    (alert,) = engine.get_alerts()
    assert (alert["type"], alert["severity"]) == ("drift", "critical")
    assert "in age" in alert["message"]


def test_no_drift_is_healthy_and_raises_nothing(engine):
    drift = engine.log_epoch(
        0, {"loss": 1.0}, reference_profile=profile(), current_profile=profile(seed=1)
    )
    assert drift.status == "healthy"
    assert not engine.has_alerts()


def test_profiles_that_cannot_be_compared_cost_a_warning(engine, caplog):
    broken = {"version": "of another planet"}
    found = engine.log_epoch(3, {"loss": 1.0}, reference_profile=profile(), current_profile=broken)
    assert found is None
    assert len(engine.get_summary()) == 1
    assert "Drift was not measured in epoch 3" in caplog.text


def test_thresholds_out_of_order_are_refused():
    with pytest.raises(ValueError, match=r"drift_threshold_warning is 0\.3"):
        MetricsEngine(use_wandb=False, drift_threshold_warning=0.3)


def test_a_resumed_run_keeps_its_drift(engine):
    engine.log_epoch(0, {"loss": 1.0}, reference_profile=profile(), current_profile=profile(3.0))
    resumed = MetricsEngine(use_wandb=False)
    resumed.load_state_dict(checkpointed(engine))
    assert resumed.get_summary().equals(engine.get_summary())
