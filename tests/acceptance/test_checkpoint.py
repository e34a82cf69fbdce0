"""The published calls of the CheckpointManager, on a small regression."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.training.engine import CheckpointManager, CheckpointMetadata


@pytest.fixture
def training():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
    return model, optimizer, scheduler


def test_every_parameter_has_its_published_name_and_default():
    manager = CheckpointManager(
        checkpoint_dir="./checkpoints",
        keep_best_k=3,
        keep_last_n=5,
        monitor="val_loss",
        mode="min",
        save_interval_epochs=1,
        drive_backup=False,
        drive_backup_path=None,
    )
    defaults = CheckpointManager("./checkpoints")

    for name in ("keep_best_k", "keep_last_n", "monitor", "mode", "save_interval_epochs"):
        assert getattr(manager, name) == getattr(defaults, name)


def test_save_load_best_and_list(training):
    model, optimizer, scheduler = training
    manager = CheckpointManager(checkpoint_dir="./checkpoints")
    checkpoint_path = manager.save(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        epoch=5,
        metrics={"val_loss": 0.38, "train_loss": 0.42},
        global_step=1000,
        custom_state={"strategy_config": {"task": "regression"}},
    )
    assert isinstance(checkpoint_path, Path)
    assert checkpoint_path.name == "checkpoint_epoch0005.pt"

    state = manager.load(checkpoint_path=None)
    model.load_state_dict(state["model_state_dict"])
    optimizer.load_state_dict(state["optimizer_state_dict"])
    scheduler.load_state_dict(state["scheduler_state_dict"])
    assert state["epoch"] + 1 == 6

    best_path = manager.get_best()
    assert best_path == checkpoint_path
    checkpoints = manager.list_checkpoints()
    assert isinstance(checkpoints[0], CheckpointMetadata)
    assert [f"Epoch {c.epoch}: {c.best_metric:.4f}" for c in checkpoints] == ["Epoch 5: 0.3800"]


def test_the_saved_state_has_its_published_parts(training):
    manager = CheckpointManager(checkpoint_dir="./checkpoints")
    path = manager.save(*training, 3, {"val_loss": 0.7}, custom_state={"note": "third"})
    state = manager.load(path)

    kinds = {
        "epoch": int,
        "global_step": int,
        "model_state_dict": OrderedDict,
        "optimizer_state_dict": dict,
        "scheduler_state_dict": dict,
        "metrics": dict,
        "monitor": str,
        "monitor_value": float,
        "rng_state": dict,
        "timestamp": str,
        "git_commit": str | None,
        "custom_state": dict,
    }
    assert set(state) == set(kinds)
    for name, kind in kinds.items():
        assert isinstance(state[name], kind)
    assert set(state["rng_state"]) == {"python", "numpy", "torch", "cuda"}
    assert (state["monitor"], state["monitor_value"]) == ("val_loss", 0.7)
    assert state["custom_state"] == {"note": "third"}


def test_the_whole_workflow(training):
    model, optimizer, _ = training
    manager = CheckpointManager(
        checkpoint_dir="./checkpoints", keep_best_k=3, keep_last_n=5, monitor="val_loss", mode="min"
    )
    inputs = torch.randn(32, 3)
    targets = inputs.sum(dim=1, keepdim=True)
    losses = []
    for epoch in range(12):
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(nn.functional.mse_loss(model(inputs), targets).item())
        manager.save(
            model=model,
            optimizer=optimizer,
            scheduler=None,
            epoch=epoch,
            metrics={"val_loss": losses[-1], "train_loss": loss.item()},
            global_step=epoch,
        )

    state = manager.load()
    assert state["epoch"] == losses.index(min(losses))
    assert 5 <= len(manager.list_checkpoints()) <= 8
    assert [c.epoch for c in manager.list_checkpoints()][:5] == [11, 10, 9, 8, 7]


def test_a_backup_lies_in_the_drive_folder_after_each_save(training, tmp_path):
    model, optimizer, scheduler = training
    drive = tmp_path / "MyDrive" / "model_checkpoints"
    manager = CheckpointManager(
        checkpoint_dir="./checkpoints", drive_backup=True, drive_backup_path=str(drive)
    )
    path = manager.save(model, optimizer, scheduler, 0, {"val_loss": 0.5})

    assert (drive / path.name).read_bytes() == path.read_bytes()


def test_the_published_errors(training):
    model, optimizer, scheduler = training
    manager = CheckpointManager(checkpoint_dir="./checkpoints")
    with pytest.raises(FileNotFoundError):
        manager.load()
    assert manager.get_best() is None
    with pytest.raises(ValueError, match="val_loss"):
        manager.save(model, optimizer, scheduler, 0, {"train_loss": 0.5})

    path = manager.save(model, optimizer, scheduler, 0, {"val_loss": 0.5})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RuntimeError):
        manager.load(path)
