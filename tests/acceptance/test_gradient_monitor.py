"""The calls that users make of the gradient monitor."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from utils.training.engine import (
    GradientHealth,
    GradientMonitor,
    MetricsEngine,
    check_gradient_health,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def backward(model, factor=1.0):
    model.zero_grad()
    (model(torch.ones(3, 4)).square().mean() * factor).backward()


def test_healthy_and_broken_gradients_in_a_loop(model):
    monitor = GradientMonitor(
        vanishing_threshold=1e-7,
        explosion_threshold=10.0,
        max_consecutive_failures=3,
        log_histogram=False,
        max_histogram_samples=200000,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = MetricsEngine(use_wandb=False)
    stepped = []
    for step, factor in enumerate((1.0, math.nan, 1.0)):
        optimizer.zero_grad()
        backward(model, factor)
        health = monitor.check_gradients(model)
        if not health.is_healthy and health.has_nan:
            assert "0 (NaN)" in health.affected_layers
            for param_group in optimizer.param_groups:
                param_group["lr"] *= 0.1
            monitor.reset_failure_counts()
            continue
        grad_norm = monitor.compute_gradient_norm(model)
        tracker.log_scalar("train/gradient_norm", grad_norm, step=step)
        optimizer.step()
        stepped.append(step)
    assert stepped == [0, 2]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_health_is_a_plain_record_that_reads_as_a_sentence():
    healthy = GradientHealth(
        has_nan=False,
        has_inf=False,
        max_norm=0.523,
        min_norm=0.001,
        affected_layers=[],
        is_healthy=True,
        vanishing_layers=[],
        exploding_layers=[],
    )
    broken = GradientHealth(
        has_nan=True,
        has_inf=False,
        max_norm=float("inf"),
        min_norm=0.0,
        affected_layers=["blocks.3.attn.q_proj (NaN)"],
        is_healthy=False,
        vanishing_layers=["blocks.0.mlp.fc1"],
        exploding_layers=[],
    )
    assert str(healthy) == "✓ Healthy (norm: 1.00e-03 - 5.23e-01)"
    assert str(broken) == "⚠️ Issues: NaN in 1 layers, Vanishing in 1 layers"


def test_three_failures_in_a_row_halt_with_what_to_try(model):
    monitor = GradientMonitor(max_consecutive_failures=3)
    backward(model, math.nan)
    monitor.check_gradients(model)
    monitor.check_gradients(model)
    with pytest.raises(RuntimeError) as error:
        monitor.check_gradients(model)
    message = str(error.value)
    assert message.startswith("Training unstable: 3 consecutive gradient failures. Issues: NaN=Tr")
    assert "Affected layers: [" in message
    assert "Remediation steps:" in message


def test_norm_of_all_gradients(model):
    monitor = GradientMonitor()
    assert monitor.compute_gradient_norm(model) == 0.0
    backward(model)
    by_definition = math.sqrt(sum(p.grad.norm().item() ** 2 for p in model.parameters()))
    assert monitor.compute_gradient_norm(model) == pytest.approx(by_definition)


def test_distribution_reaches_the_metrics_engine(model):
    class Recorder:
        def __init__(self):
            self.names = []

        def log(self, metrics, step=None, epoch=None):
            self.names += metrics

        def log_histogram(self, name, values, step=None):
            self.names.append(f"{name} of {len(values)}")

        def close(self):
            return None

    recorder = Recorder()
    monitor = GradientMonitor(log_histogram=True)
    tracker = MetricsEngine(use_wandb=False, trackers=[recorder])
    backward(model)
    monitor.log_gradient_distribution(model=model, tracker=tracker, step=5)
    assert "gradients/0/norm" in recorder.names
    assert "gradients/2.bias/norm" in recorder.names
    assert "gradients/distribution of 58" in recorder.names


def test_a_quick_check_without_a_monitor(model):
    backward(model, 1e6)
    health = check_gradient_health(model=model, vanishing_threshold=1e-7, explosion_threshold=10.0)
    assert not health.is_healthy
    assert health.exploding_layers
    assert health.affected_layers == []
