"""The calls that the API promises of the two loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from utils.training.engine import (
    EpochResult,
    GradientAccumulator,
    GradientMonitor,
    MetricsEngine,
    TrainingLoop,
    ValidationLoop,
    get_loss_strategy,
)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    inputs = torch.randn(40, 6)
    labels = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)
    return model, optimizer, loader


def test_a_training_loop_runs_an_epoch(parts):
    model, optimizer, train_loader = parts
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=5)
    loop = TrainingLoop(
        model=model,
        optimizer=optimizer,
        loss_strategy=get_loss_strategy("classification"),
        gradient_accumulator=GradientAccumulator(optimizer=optimizer, accumulation_steps=1),
        gradient_monitor=GradientMonitor(),
        metrics_tracker=MetricsEngine(use_wandb=False),
        device="cpu",
    )
    result = loop.run_epoch(dataloader=train_loader, epoch=5, scheduler=scheduler)
    assert isinstance(result, EpochResult)
    line = f"Epoch {result.epoch}: Loss={result.avg_loss:.4f}, Acc={result.avg_accuracy:.4f}"
    assert line.startswith("Epoch 5: Loss=")
    assert result.epoch == 5
    assert result.batch_count == 5
    assert result.sample_count == 40
    assert result.duration > 0
    assert result.learning_rate == pytest.approx(0.01)
    assert result.max_gradient_norm > 0


def test_a_validation_loop_runs_an_epoch(parts):
    model, _, val_loader = parts
    loop = ValidationLoop(
        model=model,
        loss_strategy=get_loss_strategy("classification"),
        metrics_tracker=MetricsEngine(use_wandb=False),
        device="cpu",
    )
    result = loop.run_epoch(dataloader=val_loader, epoch=5)
    assert isinstance(result, EpochResult)
    assert 0 <= result.avg_accuracy <= 1
    assert "nan" not in f"Val Loss: {result.avg_loss:.4f}, Acc: {result.avg_accuracy:.4f}"
