"""Optimizers and schedules by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from utils.training.engine.devices import resolve_device
from utils.training.engine.optimization import create_optimizer, create_scheduler, parameter_groups
from utils.training.errors import InvalidConfigError, UnknownNameError
from utils.training.training_config import TrainingConfig


def model():
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))


def rates(config, total_steps, num_steps):
    optimizer = create_optimizer(model(), config)
    scheduler = create_scheduler(optimizer, config, total_steps)
    found = []
    for _ in range(num_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", "AdamW"), ("sgd", "SGD"), ("adafactor", "Adafactor")],
)
def test_an_optimizer_is_made_by_name_and_lowers_a_loss(name, kind):
    torch.manual_seed(0)
    network = model()
    config = TrainingConfig(optimizer=name, learning_rate=0.05)
    optimizer = create_optimizer(network, config)
    assert type(optimizer).__name__ == kind
    inputs, targets = torch.randn(32, 4), torch.randn(32, 2)
    losses = []
    for _ in range(30):
        loss = nn.functional.mse_loss(network(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_matrices_decay_and_vectors_do_not():
    network = model()
    decaying, plain = parameter_groups(network, 0.1)
    assert {p.ndim for p in decaying["params"]} == {2}
    assert decaying["weight_decay"] == 0.1
    assert {p.ndim for p in plain["params"]} == {1}
    assert plain["weight_decay"] == 0.0


def test_without_decay_there_is_one_group():
    assert len(parameter_groups(model(), 0.0)) == 1


def test_frozen_parameters_are_left_out_and_shared_ones_counted_once():
    network = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Linear(4, 4)})
    network["b"].weight = network["a"].weight
    network["c"].requires_grad_(False)
    groups = parameter_groups(network, 0.1)
    assert sum(p.numel() for group in groups for p in group["params"]) == 16 + 4 + 4


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(InvalidConfigError, match="no trainable parameter"):
        create_optimizer(model().requires_grad_(False), TrainingConfig())


def test_adamw_is_fused_unless_told_otherwise():
    assert create_optimizer(model(), TrainingConfig()).defaults["fused"]
    plain = create_optimizer(model(), TrainingConfig(fused_optimizer=False))
    assert not plain.defaults["fused"]


def test_parameters_without_a_fused_kernel_get_the_plain_optimizer():
    complex_model = nn.ParameterList([torch.ones(2, dtype=torch.complex64)])
    assert not create_optimizer(complex_model, TrainingConfig()).defaults["fused"]


def test_an_unknown_optimizer_offers_the_nearest():
    config = TrainingConfig()
    config.optimizer = "adamv"
    with pytest.raises(UnknownNameError, match="Did you mean: adamw"):
        create_optimizer(model(), config)


def test_a_cosine_falls_to_zero_over_the_run():
    config = TrainingConfig(learning_rate=1.0, lr_schedule="cosine")
    found = rates(config, total_steps=10, num_steps=12)
    expected = [0.5 * (1 + math.cos(math.pi * min(1, i / 10))) for i in range(12)]
    assert found == pytest.approx(expected)


def test_a_line_rises_over_the_warm_up_and_falls_to_zero():
    config = TrainingConfig(learning_rate=1.0, lr_schedule="linear", warmup_steps=3)
    found = rates(config, total_steps=7, num_steps=8)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0])


def test_a_constant_rate_needs_no_length():
    config = TrainingConfig(learning_rate=1.0, lr_schedule="constant", warmup_steps=1)
    assert rates(config, total_steps=None, num_steps=4) == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_a_schedule_that_ends_needs_a_length():
    optimizer = create_optimizer(model(), TrainingConfig())
    with pytest.raises(InvalidConfigError, match="set max_steps"):
        create_scheduler(optimizer, TrainingConfig(lr_schedule="cosine"), None)


def test_an_unknown_schedule_offers_the_nearest():
    config = TrainingConfig()
    config.lr_schedule = "cosin"
    optimizer = create_optimizer(model(), config)
    with pytest.raises(UnknownNameError, match="Did you mean: cosine"):
        create_scheduler(optimizer, config, 10)


def test_auto_finds_a_device():
    assert resolve_device("auto").type in {"cpu", "cuda", "mps"}
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(InvalidConfigError, match=f"device is '{name}'.*use 'auto'"):
        resolve_device(name)
