"""The calls that users make of the gradient accumulator."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from utils.training.engine import AccumulationStats, GradientAccumulator, MetricsEngine


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


@pytest.fixture
def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def test_a_loop_over_epochs_with_a_short_last_window(model, optimizer):
    accumulator = GradientAccumulator(
        optimizer=optimizer,
        accumulation_steps=4,
        max_grad_norm=1.0,
        scaler=None,
        batch_size=8,
        trainer=None,
    )
    assert accumulator.effective_batch_size == 32
    assert not accumulator.is_lightning_managed
    tracker = MetricsEngine(use_wandb=False)
    dataloader = [torch.randn(8, 4) for _ in range(6)]
    stepped = []
    for epoch in range(2):
        for batch_idx, batch in enumerate(dataloader):
            loss = model(batch).square().mean()
            should_step = accumulator.accumulate(
                loss=loss, model=model, is_final_batch=(batch_idx == len(dataloader) - 1)
            )
            if should_step:
                stepped.append((epoch, batch_idx))
                step = accumulator.effective_step
                tracker.log_scalar("train/loss", loss.item(), step=step)
                grad_norm = accumulator.stats.last_grad_norm
                tracker.log_scalar("train/gradient_norm", grad_norm, step=step)
                assert grad_norm > 0
        accumulator.reset_epoch()
    assert stepped == [(0, 3), (0, 5), (1, 3), (1, 5)]
    stats = accumulator.stats
    assert isinstance(stats, AccumulationStats)
    assert (stats.total_steps, stats.optimizer_steps) == (12, 4)
    assert (stats.current_accumulation, stats.is_accumulating) == (0, False)
    assert stats.effective_batch_size == 32


def test_state_travels_in_a_checkpoint(model, optimizer, tmp_path):
    accumulator = GradientAccumulator(optimizer=optimizer, accumulation_steps=2)
    for _ in range(4):
        accumulator.accumulate(loss=model(torch.randn(8, 4)).square().mean(), model=model)
    accumulator_state = accumulator.state_dict()
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "accumulator": accumulator_state,
        },
        tmp_path / "checkpoint.pt",
    )
    checkpoint = torch.load(tmp_path / "checkpoint.pt")
    other = GradientAccumulator(optimizer=optimizer, accumulation_steps=2)
    other.load_state_dict(checkpoint["accumulator"])
    assert other.effective_step == 2
    assert other.stats == accumulator.stats


def test_lightning_that_accumulates_is_left_to_it(model, optimizer):
    trainer = SimpleNamespace(accumulate_grad_batches=4, global_step=0)  # as pl.Trainer has them
    accumulator = GradientAccumulator(optimizer=optimizer, accumulation_steps=1, trainer=trainer)
    assert accumulator.is_lightning_managed
    assert not accumulator.accumulate(loss=model(torch.ones(2, 4)).mean(), model=model)


def test_accumulating_twice_is_a_conflict(optimizer):
    trainer = SimpleNamespace(accumulate_grad_batches=4)
    with pytest.raises(ValueError, match="Gradient accumulation conflict detected!") as error:
        GradientAccumulator(optimizer=optimizer, accumulation_steps=4, trainer=trainer)
    assert "Manual accumulation_steps: 4" in str(error.value)
    assert "Lightning accumulate_grad_batches: 4" in str(error.value)
    assert "Resolution options:" in str(error.value)


def test_the_final_batch_always_steps(model, optimizer):
    accumulator = GradientAccumulator(optimizer=optimizer, accumulation_steps=8)
    loss = model(torch.ones(2, 4)).mean()
    assert accumulator.accumulate(loss=loss, model=model, is_final_batch=True)
