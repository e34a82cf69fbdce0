"""CheckpointManager: save, rank, load, keep, back up."""

from __future__ import annotations

import json
import logging
import math
import random
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from utils.training.engine.checkpoint import CheckpointManager, CheckpointMetadata
from utils.training.engine.checkpoint import file as checkpoint_file
from utils.training.engine.checkpoint import folder as checkpoint_folder
from utils.training.engine.checkpoint import manager as checkpoint_module
from utils.training.engine.checkpoint.file import CorruptCheckpointError
from utils.training.engine.checkpoint.state import NonFiniteWeightsError
from utils.training.errors import TrainingError


class Run:
    """A small model in training: each step moves every weight."""

    def __init__(self, width=8):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=50)
        self.step()

    def step(self):
        loss = self.model(torch.randn(16, 4)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.scheduler.step()

    @property
    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def weights(self):
        return [value.clone() for value in self.model.state_dict().values()]


@pytest.fixture
def run():
    return Run()


@pytest.fixture
def manager(tmp_path):
    with CheckpointManager(tmp_path / "checkpoints") as manager:
        yield manager


def save_epochs(manager, run, values, **options):
    return [
        manager.save(**run.parts, epoch=epoch, metrics={"val_loss": value}, **options)
        for epoch, value in enumerate(values)
    ]


def epochs_in(folder):
    return sorted(path.name for path in folder.iterdir())


def flip_byte(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


# ---- saving ------------------------------------------------------------------------------------


def test_epoch_checkpoint_has_the_documented_name_and_state(manager, run):
    path = manager.save(
        **run.parts,
        epoch=5,
        metrics={"val_loss": 0.38, "train_loss": 0.42},
        global_step=1000,
        custom_state={"strategy_config": {"name": "vision"}},
    )

    assert path == manager.checkpoint_dir / "checkpoint_epoch0005.pt"
    state = manager.load(path)
    assert set(state) == {
        "epoch",
        "global_step",
        "model_state_dict",
        "optimizer_state_dict",
        "scheduler_state_dict",
        "metrics",
        "monitor",
        "monitor_value",
        "rng_state",
        "timestamp",
        "git_commit",
        "custom_state",
    }
    assert state["epoch"] == 5
    assert state["global_step"] == 1000
    assert state["metrics"] == {"val_loss": 0.38, "train_loss": 0.42}
    assert (state["monitor"], state["monitor_value"]) == ("val_loss", 0.38)
    assert state["custom_state"] == {"strategy_config": {"name": "vision"}}
    assert datetime.fromisoformat(state["timestamp"]).tzinfo is not None
    assert set(state["rng_state"]) == {"python", "numpy", "torch", "cuda"}


def test_a_fresh_run_continues_bit_for_bit_from_a_checkpoint(manager, run):
    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    run.step()
    run.step()

    resumed = Run()
    state = manager.load(path)
    resumed.model.load_state_dict(state["model_state_dict"])
    resumed.optimizer.load_state_dict(state["optimizer_state_dict"])
    resumed.scheduler.load_state_dict(state["scheduler_state_dict"])
    resumed.step()
    resumed.step()

    for expected, weight in zip(run.weights(), resumed.weights(), strict=True):
        assert torch.equal(expected, weight)
    assert resumed.scheduler.get_last_lr() == run.scheduler.get_last_lr()


def test_a_state_that_was_loaded_can_be_saved_again(manager, run):
    first = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    state = manager.load(first)
    run.model.load_state_dict(state["model_state_dict"], assign=True)
    run.optimizer = torch.optim.AdamW(run.model.parameters())
    run.optimizer.load_state_dict(state["optimizer_state_dict"])
    run.step()

    second = manager.save(**run.parts, epoch=1, metrics={"val_loss": 1.0}, blocking=False)

    saved = list(manager.load(second)["model_state_dict"].values())
    assert all(map(torch.equal, saved, run.weights()))
    untouched = manager.load(first)["model_state_dict"]["0.weight"]
    assert not torch.equal(untouched, run.model[0].weight)


def test_a_missing_monitor_metric_names_what_was_given(manager, run):
    with pytest.raises(ValueError, match=r"lack 'val_loss'.*given: train_loss, accuracy\."):
        manager.save(**run.parts, epoch=0, metrics={"train_loss": 1.0, "accuracy": 0.5})
    with pytest.raises(ValueError, match=r"given: none\."):
        manager.save(**run.parts, epoch=0, metrics={})


@pytest.mark.parametrize("epoch", [-1, 1.5, "3", True, None])
def test_an_epoch_that_is_no_count_is_refused(manager, run, epoch):
    with pytest.raises(ValueError, match=r"epoch is .*, allowed is a whole number from 0"):
        manager.save(**run.parts, epoch=epoch, metrics={"val_loss": 1.0})


def test_a_metric_that_is_no_number_is_refused_by_name(manager, run):
    with pytest.raises(ValueError, match="metric 'f1' is 'high'"):
        manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0, "f1": "high"})


def test_a_run_without_a_scheduler_is_saved(manager, run):
    path = manager.save(run.model, run.optimizer, None, 0, {"val_loss": 1.0})

    assert manager.load(path)["scheduler_state_dict"] == {}


def test_the_version_metadata_of_modules_is_kept(manager, run):
    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0}, blocking=False)

    state_dict = manager.load(path)["model_state_dict"]
    assert isinstance(state_dict, OrderedDict)
    assert state_dict._metadata == run.model.state_dict()._metadata
    assert state_dict._metadata["1"] == {"version": 2}  # batch norm counts its batches


class Colour(Enum):
    RED = "red"


@dataclass
class Settings:
    rate: np.float32
    folder: Path


@pytest.mark.parametrize("blocking", [True, False])
def test_what_users_pass_is_stored_as_plain_values(manager, run, blocking):
    path = manager.save(
        **run.parts,
        epoch=np.int64(3),
        global_step=np.int32(30),
        metrics={"val_loss": np.float64(0.5), "accuracy": torch.tensor(0.9, dtype=torch.float64)},
        custom_state={
            "settings": Settings(np.float32(0.5), Path("data")),
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "colour": Colour.RED,
            "counts": np.arange(3),
            "scalar": np.bool_(True),
        },
        blocking=blocking,
    )

    manager.wait()
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    for options in ({}, {"mmap": True}):
        state = torch.load(path, weights_only=True, **options)
        assert state["epoch"] == 3
        assert state["metrics"] == {"val_loss": 0.5, "accuracy": 0.9}
    custom = manager.load(path)["custom_state"]
    assert custom["settings"] == {"rate": 0.5, "folder": "data"}
    assert custom["when"] == "2026-01-02T00:00:00+00:00"
    assert custom["colour"] == "red"
    assert custom["counts"].tolist() == [0, 1, 2]
    assert custom["scalar"] is True


def test_a_value_without_a_plain_form_is_refused_by_its_place(manager, run):
    with pytest.raises(TypeError, match=r"custom_state\['hooks'\]\[1\] is a function"):
        manager.save(
            **run.parts,
            epoch=0,
            metrics={"val_loss": 1.0},
            custom_state={"hooks": [1, lambda: None]},
        )
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_with_nan_or_inf_never_replace_good_ones(manager, run, bad, blocking):
    good = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    before = good.read_bytes()
    with torch.no_grad():
        run.model[3].weight[0, 0] = bad

    def save():
        manager.save(**run.parts, epoch=0, metrics={"val_loss": 0.5}, blocking=blocking)
        manager.wait()

    with pytest.raises(NonFiniteWeightsError, match=r"3\.weight has 1 values"):
        save()

    assert issubclass(NonFiniteWeightsError, (TrainingError, RuntimeError))
    assert good.read_bytes() == before
    assert epochs_in(manager.checkpoint_dir) == [good.name]


def test_great_finite_weights_and_a_mask_of_minus_infinity_are_no_fault(manager, run):
    with torch.no_grad():
        run.model[0].weight.fill_(3e38)  # overflows a float32 norm
    run.model.register_buffer("causal_mask", torch.full((3, 3), -math.inf).triu(1))

    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})

    assert manager.load(path)["model_state_dict"]["causal_mask"][0, 1] == -math.inf


def test_a_buffer_with_nan_is_refused(manager, run):
    run.model[1].running_mean[0] = math.nan

    with pytest.raises(NonFiniteWeightsError, match=r"1\.running_mean"):
        manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})


def test_an_epoch_saved_again_replaces_its_file(manager, run):
    save_epochs(manager, run, [1.0])
    run.step()
    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 0.5})

    assert manager.load(path)["monitor_value"] == 0.5
    assert epochs_in(manager.checkpoint_dir) == ["checkpoint_epoch0000.pt"]


# ---- what is best, newest, kept ----------------------------------------------------------------


def test_best_follows_the_mode_and_a_tie_goes_to_the_later_epoch(tmp_path, run):
    smallest = CheckpointManager(tmp_path / "min", mode="min")
    greatest = CheckpointManager(tmp_path / "max", mode="max")
    for manager in (smallest, greatest):
        save_epochs(manager, run, [0.5, 0.2, 0.9, 0.2, 0.9])

    assert smallest.get_best().name == "checkpoint_epoch0003.pt"
    assert greatest.get_best().name == "checkpoint_epoch0004.pt"
    assert smallest.load()["epoch"] == 3


def test_nan_is_never_best(manager, run):
    save_epochs(manager, run, [math.nan, 3.0, math.nan])

    assert manager.get_best().name == "checkpoint_epoch0001.pt"
    assert [math.isnan(c.best_metric) for c in manager.list_checkpoints()] == [True, False, True]


def test_where_nothing_is_ranked_load_takes_the_newest(manager, run):
    save_epochs(manager, run, [math.nan, math.nan])

    assert manager.get_best() is None
    assert manager.load()["epoch"] == 1


def test_an_empty_folder_has_neither_best_nor_latest(manager):
    assert manager.get_best() is None
    assert manager.latest() is None
    assert manager.list_checkpoints() == []
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        manager.load()


def test_a_new_manager_sees_an_old_folder(manager, run):
    save_epochs(manager, run, [0.3, 0.1, 0.2])

    reopened = CheckpointManager(manager.checkpoint_dir)

    assert [c.epoch for c in reopened.list_checkpoints()] == [2, 1, 0]
    assert reopened.get_best().name == "checkpoint_epoch0001.pt"
    assert reopened.latest().name == "checkpoint_epoch0002.pt"


def test_a_manager_with_another_monitor_ranks_by_the_metrics_that_were_saved(manager, run):
    for epoch, accuracy in enumerate([0.5, 0.9, 0.7]):
        metrics = {"val_loss": float(epoch), "val_accuracy": accuracy}
        manager.save(**run.parts, epoch=epoch, metrics=metrics)

    by_accuracy = CheckpointManager(manager.checkpoint_dir, monitor="val_accuracy", mode="max")
    by_unknown = CheckpointManager(manager.checkpoint_dir, monitor="val_f1", mode="max")

    assert manager.get_best().name == "checkpoint_epoch0000.pt"
    assert by_accuracy.get_best().name == "checkpoint_epoch0001.pt"
    assert by_unknown.get_best() is None


def test_the_union_of_best_and_last_is_kept(tmp_path, run):
    manager = CheckpointManager(tmp_path / "c", keep_best_k=2, keep_last_n=3)

    save_epochs(manager, run, [0.1, 0.2, 0.9, 0.8, 0.7, 0.6, 0.5])

    assert [c.epoch for c in manager.list_checkpoints()] == [6, 5, 4, 1, 0]


def test_a_file_that_is_no_checkpoint_is_left_alone(tmp_path, run):
    manager = CheckpointManager(tmp_path, keep_best_k=0, keep_last_n=1)
    for name in ("notes.txt", "checkpoint_epoch0000_old.pt", "model.pt"):
        (tmp_path / name).write_text("mine")

    save_epochs(manager, run, [0.1, 0.2])

    names = {"notes.txt", "checkpoint_epoch0000_old.pt", "model.pt", "checkpoint_epoch0001.pt"}
    assert set(epochs_in(tmp_path)) == names


def test_a_checkpoint_that_was_just_saved_stays_even_under_newer_epochs(tmp_path, run):
    manager = CheckpointManager(tmp_path, keep_best_k=0, keep_last_n=1)
    save_epochs(manager, run, [0.1, 0.2, 0.3])

    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 9.0})

    assert path.exists()


def test_a_surplus_file_that_cannot_be_deleted_is_only_logged(tmp_path, run, monkeypatch, caplog):
    manager = CheckpointManager(tmp_path, keep_best_k=0, keep_last_n=1)
    save_epochs(manager, run, [0.1])

    def refuse(self, missing_ok=False):
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "unlink", refuse)
    path = manager.save(**run.parts, epoch=1, metrics={"val_loss": 0.2})

    assert path.exists()
    assert "is no longer needed, but stays" in caplog.text


# ---- step checkpoints --------------------------------------------------------------------------


def test_a_step_checkpoint_needs_no_metric_and_is_never_best(manager, run):
    path = manager.save_step(**run.parts, epoch=5, global_step=1234, custom_state={"batch": 17})

    assert path.name == "checkpoint_epoch0005_step00001234.pt"
    assert manager.get_best() is None
    assert manager.latest() == path
    assert manager.load(path)["custom_state"] == {"batch": 17}
    assert math.isnan(manager.list_checkpoints()[0].best_metric)


def test_a_step_checkpoint_gives_way_to_whatever_is_newer(manager, run):
    first = manager.save_step(**run.parts, epoch=0, global_step=10)
    second = manager.save_step(**run.parts, epoch=0, global_step=20)
    assert epochs_in(manager.checkpoint_dir) == [second.name]
    assert not first.exists()

    epoch = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0}, global_step=25)
    assert epochs_in(manager.checkpoint_dir) == [epoch.name]

    third = manager.save_step(**run.parts, epoch=1, global_step=30, metrics={"val_loss": 0.0})
    assert set(epochs_in(manager.checkpoint_dir)) == {epoch.name, third.name}
    assert manager.latest() == third
    assert manager.get_best() == epoch


def test_an_epoch_saved_without_its_step_is_newer_than_the_steps_in_it(manager, run):
    manager.save_step(**run.parts, epoch=2, global_step=500)
    epoch = manager.save(**run.parts, epoch=2, metrics={"val_loss": 1.0})

    assert manager.latest() == epoch
    assert epochs_in(manager.checkpoint_dir) == [epoch.name]


def test_a_step_needs_its_number(manager, run):
    with pytest.raises(ValueError, match="global_step is -1"):
        manager.save_step(**run.parts, epoch=0, global_step=-1)


# ---- listing -----------------------------------------------------------------------------------


def test_the_listing_describes_each_checkpoint(manager, run):
    manager.save(
        **run.parts,
        epoch=3,
        metrics={"val_loss": 0.25, "bad": math.inf},
        global_step=40,
        custom_state={"config": {"rate": 0.1, "steps": torch.tensor([1, 2]), "limit": math.nan}},
    )

    (listed,) = manager.list_checkpoints()

    assert isinstance(listed, CheckpointMetadata)
    assert (listed.epoch, listed.global_step, listed.best_metric) == (3, 40, 0.25)
    assert json.loads(listed.metrics) == {"val_loss": 0.25, "bad": None}
    assert json.loads(listed.config) == {"rate": 0.1, "steps": [1, 2], "limit": None}


def test_a_config_too_long_for_a_listing_is_left_to_the_state(manager, run):
    config = {f"key_{i}": "x" * 100 for i in range(1000)}
    metrics = {f"metric_{i:06d}": i / 7 for i in range(3000)} | {"val_loss": 0.5}
    path = manager.save(**run.parts, epoch=0, metrics=metrics, custom_state={"config": config})

    (listed,) = manager.list_checkpoints()

    assert (listed.best_metric, listed.config, listed.metrics) == (0.5, None, None)
    assert manager.load(path)["custom_state"]["config"] == config
    assert torch.load(path, weights_only=True)["metrics"] == metrics


def test_the_listing_reads_no_tensor(manager, run, monkeypatch):
    save_epochs(manager, run, [1.0, 2.0])
    monkeypatch.setattr(torch, "load", None)

    assert len(manager.list_checkpoints()) == 2


def test_the_git_commit_is_recorded_where_there_is_one(tmp_path, run, monkeypatch):
    source = Path(checkpoint_module.__file__).parent
    outside = CheckpointManager(tmp_path / "outside")
    outside.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    assert outside.list_checkpoints()[0].git_commit is None

    monkeypatch.setenv("PATH", "")
    without_git = CheckpointManager(tmp_path / "without")
    without_git.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    assert without_git.list_checkpoints()[0].git_commit is None
    monkeypatch.undo()

    repository = next((p for p in source.parents if (p / ".git").exists()), None)
    if repository is None:
        pytest.skip("not a git checkout")
    monkeypatch.chdir(repository)
    inside = CheckpointManager(tmp_path / "inside")
    inside.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    assert len(inside.list_checkpoints()[0].git_commit) == 40


# ---- loading -----------------------------------------------------------------------------------


def draw():
    return random.random(), np.random.random(), torch.rand(1).item()


def test_load_restores_every_generator_unless_told_not_to(manager, run):
    path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    expected = draw()

    manager.load(path)
    assert draw() == expected
    manager.load(str(path), restore_rng=False)
    assert draw() != expected


def test_a_missing_file_names_the_newest_intact_checkpoint(manager, run):
    save_epochs(manager, run, [1.0])

    with pytest.raises(FileNotFoundError, match=r"epoch0007.*newest intact .*epoch0000\.pt"):
        manager.load(manager.checkpoint_dir / "checkpoint_epoch0007.pt")


def test_a_corrupted_file_raises_and_names_the_newest_intact_one(manager, run):
    paths = save_epochs(manager, run, [0.4, 0.3, 0.2, 0.1])
    flip_byte(paths[3], 2000)
    flip_byte(paths[2], 3000)

    with pytest.raises(RuntimeError, match=r"epoch0003\.pt is corrupted.*epoch0001\.pt"):
        manager.load()
    with pytest.raises(RuntimeError, match=r"epoch0002\.pt is corrupted.*epoch0001\.pt"):
        manager.load(paths[2])


def test_the_best_cannot_be_told_while_a_file_is_truncated(manager, run):
    paths = save_epochs(manager, run, [0.3, 0.2, 0.1])
    paths[2].write_bytes(paths[2].read_bytes()[:-100])

    with pytest.raises(CorruptCheckpointError, match=r"epoch0002\.pt is trunc.*epoch0001\.pt"):
        manager.load()
    assert manager.get_best() == paths[1]


def test_without_any_intact_checkpoint_the_error_says_so(manager, run):
    (path,) = save_epochs(manager, run, [0.3])
    path.write_bytes(b"")

    with pytest.raises(RuntimeError, match="no intact checkpoint"):
        manager.load()
    with pytest.raises(RuntimeError, match="no intact checkpoint"):
        manager.load(path)


def test_latest_skips_corrupted_files_and_names_them(manager, run, caplog):
    paths = save_epochs(manager, run, [0.3, 0.2, 0.1])
    flip_byte(paths[2], 1000)
    flip_byte(paths[1], -1)

    with caplog.at_level(logging.WARNING):
        assert manager.latest() == paths[0]
    assert paths[2].name in caplog.text
    assert paths[1].name in caplog.text


def test_retention_goes_on_beside_a_corrupted_file(tmp_path, run):
    manager = CheckpointManager(tmp_path, keep_best_k=0, keep_last_n=2)
    paths = save_epochs(manager, run, [0.3, 0.2])
    flip_byte(paths[1], -1)

    manager.save(**run.parts, epoch=2, metrics={"val_loss": 0.1})
    manager.save(**run.parts, epoch=3, metrics={"val_loss": 0.1})

    assert [c.epoch for c in manager.list_checkpoints()] == [3, 2]
    assert paths[1].exists()  # evidence, and no checkpoint any more


def test_a_safe_file_that_is_no_training_state_is_refused(manager, run):
    from utils.training.engine.checkpoint.file import write_checkpoint

    path = manager.checkpoint_dir / "other.pt"
    write_checkpoint(path, {"epoch": 1, "weights": torch.ones(2)}, {})

    with pytest.raises(RuntimeError, match="lacks global_step, model_state_dict"):
        manager.load(path)


# ---- in the background -------------------------------------------------------------------------


def test_a_background_save_holds_the_state_of_its_call(manager, run, monkeypatch):
    may_write = threading.Event()
    write = checkpoint_module.write_archive

    def write_late(*arguments, **how):
        may_write.wait(timeout=60)
        write(*arguments, **how)

    monkeypatch.setattr(checkpoint_module, "write_archive", write_late)
    for epoch in range(3):  # the second and third copy go into buffers that were used before
        may_write.clear()
        custom_state = {"seen": [1, 2], "table": np.ones(3)}
        weights = run.weights()
        moments = [s["exp_avg"].clone() for s in run.optimizer.state.values()]
        path = manager.save(
            **run.parts,
            epoch=epoch,
            metrics={"val_loss": 1.0},
            custom_state=custom_state,
            blocking=False,
        )
        custom_state["seen"].append(3)
        custom_state["table"] += 1
        for _ in range(3):
            run.step()
        assert not path.exists()
        may_write.set()

        state = manager.load(path, restore_rng=False)
        assert all(map(torch.equal, state["model_state_dict"].values(), weights))
        saved = [s["exp_avg"] for s in state["optimizer_state_dict"]["state"].values()]
        assert all(map(torch.equal, saved, moments))
        assert state["custom_state"]["seen"] == [1, 2]
        assert state["custom_state"]["table"].tolist() == [1, 1, 1]


def test_training_steps_during_a_background_save_never_tear_it(tmp_path):
    run = Run(width=40_000)
    with CheckpointManager(tmp_path, keep_last_n=20) as manager:
        expected = []
        for epoch in range(6):
            expected.append(
                (run.weights(), run.optimizer.state[run.model[3].weight]["exp_avg_sq"].clone())
            )
            manager.save(**run.parts, epoch=epoch, metrics={"val_loss": 1.0}, blocking=False)
            while manager.is_saving:
                run.step()
            run.step()

        for epoch, (weights, moment) in enumerate(expected):
            state = manager.load(tmp_path / f"checkpoint_epoch{epoch:04d}.pt")
            assert all(map(torch.equal, state["model_state_dict"].values(), weights))
            moments = state["optimizer_state_dict"]["state"].values()
            assert any(torch.equal(moment, m["exp_avg_sq"]) for m in moments)


def fail_once(monkeypatch):
    write = checkpoint_module.write_archive
    failures = [OSError(28, "No space left on device")]

    def fail(*arguments, **how):
        if failures:
            raise failures.pop()
        write(*arguments, **how)

    monkeypatch.setattr(checkpoint_module, "write_archive", fail)


@pytest.mark.parametrize("call", ["save", "load", "wait", "close"])
def test_a_background_error_surfaces_in_the_next_call(tmp_path, run, monkeypatch, call):
    manager = CheckpointManager(tmp_path)
    save_epochs(manager, run, [1.0])
    fail_once(monkeypatch)
    calls = {
        "save": lambda: manager.save(**run.parts, epoch=2, metrics={"val_loss": 0.5}),
        "load": manager.load,
        "wait": manager.wait,
        "close": manager.close,
    }
    manager.save(**run.parts, epoch=1, metrics={"val_loss": 0.5}, blocking=False)

    with pytest.raises(OSError, match="No space left"):
        calls[call]()

    manager.save(**run.parts, epoch=3, metrics={"val_loss": 0.5}, blocking=False)
    manager.close()
    assert [c.epoch for c in manager.list_checkpoints()] == [3, 0]


def test_leaving_the_context_waits_for_the_file(tmp_path, run):
    with CheckpointManager(tmp_path) as manager:
        path = manager.save(**run.parts, epoch=0, metrics={"val_loss": 1.0}, blocking=False)

    assert CheckpointManager(tmp_path).latest() == path


def test_a_checkpoint_that_takes_the_only_ones_place_under_a_readers_hands_is_found(
    tmp_path, run, monkeypatch
):
    writer = CheckpointManager(tmp_path, keep_best_k=1, keep_last_n=1)
    writer.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    reading = checkpoint_folder.read_metadata

    def replaced_meanwhile(path):
        monkeypatch.setattr(checkpoint_folder, "read_metadata", reading)
        writer.save(**run.parts, epoch=1, metrics={"val_loss": 0.5})
        return reading(path)

    monkeypatch.setattr(checkpoint_folder, "read_metadata", replaced_meanwhile)
    assert CheckpointManager(tmp_path).get_best() == tmp_path / "checkpoint_epoch0001.pt"


def test_readers_meet_whole_checkpoints_while_a_writer_saves_and_clears(tmp_path):
    def train():
        with torch.no_grad():
            for epoch in range(60):
                for parameter in run.model.parameters():
                    parameter.fill_(epoch)
                run.model[1].running_mean.fill_(epoch)
                metrics = {"val_loss": -float(epoch)}
                writer.save(**run.parts, epoch=epoch, metrics=metrics, blocking=epoch % 2 == 0)

    run = Run(width=2000)
    writer = CheckpointManager(tmp_path, keep_best_k=1, keep_last_n=1)
    writer.save(**run.parts, epoch=0, metrics={"val_loss": 1.0})
    reader = CheckpointManager(tmp_path)
    thread = threading.Thread(target=train)
    thread.start()
    seen = []
    try:
        while thread.is_alive():
            state = reader.load(restore_rng=False)
            weights = state["model_state_dict"]
            epoch = weights["0.weight"][0, 0].item()
            if seen or epoch == state["epoch"]:  # the very first file holds the initial weights
                assert all(
                    (weights[name] == epoch).all() for name in ("0.weight", "1.running_mean")
                )
                assert epoch == state["epoch"]
                seen.append(epoch)
    finally:
        thread.join()
    writer.close()

    assert seen == sorted(seen)
    assert reader.load()["epoch"] == 59


# ---- the backup --------------------------------------------------------------------------------


def test_each_checkpoint_is_backed_up_and_cleared_there_too(tmp_path, run):
    drive = tmp_path / "drive" / "MyDrive" / "checkpoints"
    manager = CheckpointManager(
        tmp_path / "local",
        keep_best_k=1,
        keep_last_n=1,
        drive_backup=True,
        drive_backup_path=str(drive),
    )

    save_epochs(manager, run, [0.1, 0.3, 0.2])

    assert epochs_in(drive) == ["checkpoint_epoch0000.pt", "checkpoint_epoch0002.pt"]
    assert CheckpointManager(drive).load()["epoch"] == 0


def test_a_failing_backup_costs_neither_the_run_nor_the_checkpoint(tmp_path, run, caplog):
    occupied = tmp_path / "drive"
    occupied.write_text("a file where the folder should be")
    manager = CheckpointManager(
        tmp_path / "local",
        keep_best_k=0,
        keep_last_n=1,
        drive_backup=True,
        drive_backup_path=occupied,
    )

    with caplog.at_level(logging.WARNING):
        paths = save_epochs(manager, run, [0.1, 0.2])

    assert manager.latest() == paths[1]
    assert "was not backed up" in caplog.text
    assert "could not be deleted" in caplog.text


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "best"}, "mode is 'best', allowed is 'min' or 'max'"),
        ({"keep_best_k": -1}, "keep_best_k is -1, allowed is a whole number from 0"),
        ({"keep_last_n": 0}, "keep_last_n is 0, allowed is a whole number from 1"),
        ({"keep_last_n": 2.5}, "keep_last_n is 2.5"),
        ({"save_interval_epochs": 0}, "save_interval_epochs is 0"),
        ({"drive_backup": True}, "drive_backup is True without a drive_backup_path"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_sentence(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        CheckpointManager(tmp_path / "new", **arguments)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("keep_last_n", "num_read_back"), [(1, 3), (2, 1)])
def test_a_save_is_read_back_where_there_is_no_other_to_go_back_to(
    tmp_path, run, monkeypatch, keep_last_n, num_read_back
):
    read_back = []
    verify = checkpoint_file._verify
    monkeypatch.setattr(
        checkpoint_file, "_verify", lambda path, **how: read_back.append(verify(path, **how))
    )
    with CheckpointManager(tmp_path, keep_best_k=1, keep_last_n=keep_last_n) as manager:
        save_epochs(manager, run, [3.0, 2.0, 1.0])

    assert len(read_back) == num_read_back
