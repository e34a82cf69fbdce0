"""The metrics engine's published calls, around a small model on real flowers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from utils.training.drift_metrics import profile_dataset
from utils.training.engine import AlertConfig, GradientMonitor, MetricsEngine
from utils.training.engine.metrics import ConfidenceMetrics, DriftMetrics
from utils.training.task_spec import TaskSpec

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Flowers(Sequence):
    """Measurements and species as a map-style dataset."""

    def __init__(self, features, labels):
        self.features, self.labels = features, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        row = dict(zip(NAMES, self.features[index].tolist(), strict=True))
        return row | {"labels": int(self.labels[index])}


@pytest.fixture(scope="module")
def flowers():
    features, labels = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return Flowers(features[order][:100], labels[order][:100]), Flowers(
        features[order][50:], labels[order][50:]
    )


def measure(model, data):
    logits = model(torch.tensor(data.features, dtype=torch.float32))
    labels = torch.tensor(data.labels)
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return nn.functional.cross_entropy(logits, labels), accuracy.item(), logits, labels


def test_the_complete_workflow(flowers, caplog):
    train_dataset, val_dataset = flowers
    task_spec = TaskSpec(
        name="iris",
        modality="tabular",
        task_type="classification",
        num_classes=3,
        feature_names=NAMES,
    )
    engine = MetricsEngine(
        use_wandb=True,
        gradient_accumulation_steps=4,
        drift_threshold_warning=0.1,
        drift_threshold_critical=0.2,
        alert_config=AlertConfig(val_loss_spike_threshold=0.2, accuracy_drop_threshold=0.05),
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    ref_profile = profile_dataset(train_dataset, task_spec)

    seen = []
    for epoch in range(8):
        loss, accuracy, _, _ = measure(model, train_dataset)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch == 5:  # an accident that the alerts must see
            with torch.no_grad():
                model[2].weight.mul_(-3.0)
        val_loss, val_accuracy, logits, labels = measure(model, val_dataset)

        confidence = engine.log_confidence(logits, labels, step=epoch)
        assert isinstance(confidence, ConfidenceMetrics)
        assert confidence.num_samples == len(val_dataset)
        assert 0 <= confidence.calibration_error <= 1

        drift = engine.log_epoch(
            epoch=epoch,
            train_metrics={"loss": loss.item(), "accuracy": accuracy},
            val_metrics={"loss": val_loss.item(), "accuracy": val_accuracy},
            learning_rate=scheduler.get_last_lr()[0],
            gradient_norm=0.5,
            epoch_duration=0.1,
            reference_profile=ref_profile,
            current_profile=profile_dataset(val_dataset, task_spec),
        )
        assert isinstance(drift, DriftMetrics)
        assert drift.status == "healthy"
        if drift and drift.status == "critical":
            ref_profile = None
        if engine.has_alerts():
            seen += [(alert["type"], alert["epoch"]) for alert in engine.get_alerts()]

    assert ("val_loss_spike", 5) in seen
    assert not engine.has_alerts()

    summary_df = engine.get_summary()
    summary_df.to_csv("training_metrics.csv", index=False)
    read = pd.read_csv("training_metrics.csv")
    assert read["epoch"].tolist() == list(range(8))
    assert read["val_loss"].iloc[4] < read["val_loss"].iloc[0] < read["val_loss"].iloc[5]
    engine.close()
    warned = [record for record in caplog.records if "Weights & Biases" in record.getMessage()]
    assert len(warned) == 1


def test_a_monitor_logs_gradients_to_the_engine():
    logged = {}

    class Keeper:
        def log(self, metrics, step=None, epoch=None):
            logged.update({(name, step): value for name, value in metrics.items()})

        def log_histogram(self, name, values, step=None):
            logged[name, step] = values

        def close(self):
            """Nothing is open."""

    monitor = GradientMonitor(log_histogram=True)
    tracker = MetricsEngine(use_wandb=False, trackers=[Keeper()])
    model = nn.Linear(4, 3)
    model(torch.ones(2, 4)).sum().backward()

    monitor.log_gradient_distribution(model=model, tracker=tracker, step=7)

    expected = torch.linalg.vector_norm(model.weight.grad).item()
    assert logged["gradients/weight/norm", 7] == pytest.approx(expected)
    assert len(logged["gradients/distribution", 7]) == 15

    tracker.log_scalar("train/gradient_norm", monitor.compute_gradient_norm(model), step=7)
    assert logged["train/gradient_norm", 7] > 0
