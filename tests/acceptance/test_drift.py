"""The calls of the published interface, on data of our own."""

import torch
from torch.utils.data import TensorDataset

from utils.training.drift_metrics import DriftMetrics, profile_dataset
from utils.training.engine import MetricsEngine
from utils.training.task_spec import TaskSpec


def blobs(shift):
    generator = torch.Generator().manual_seed(int(shift))
    inputs = torch.randn(600, 4, generator=generator) + shift
    return TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())


def test_the_workflow_profiles_logs_and_rebases():
    task_spec = TaskSpec(name="blobs", modality="tabular", num_classes=2)
    engine = MetricsEngine(
        use_wandb=False, drift_threshold_warning=0.1, drift_threshold_critical=0.2
    )
    ref_profile = profile_dataset(blobs(0), task_spec)
    seen = []
    for epoch, shift in enumerate((0, 3, 3)):
        curr_profile = profile_dataset(blobs(shift), task_spec)
        drift = engine.log_epoch(
            epoch=epoch,
            train_metrics={"loss": 0.4, "accuracy": 0.8},
            val_metrics={"loss": 0.5, "accuracy": 0.75},
            learning_rate=1e-3,
            gradient_norm=0.7,
            epoch_duration=1.5,
            reference_profile=ref_profile,
            current_profile=curr_profile,
        )
        assert isinstance(drift, DriftMetrics)
        assert 0 <= drift.js_divergence <= 1
        seen.append(drift.status)
        if drift and drift.status == "critical":
            assert drift.affected_features
            ref_profile = curr_profile
    assert seen == ["healthy", "critical", "healthy"]
