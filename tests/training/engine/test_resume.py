"""A run that was stopped and resumed ends as one that never stopped: bit for bit.

Each run is a process of its own, and those that are stopped get real signals.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from utils.training.engine import Trainer
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

BATCH_SIZE = 4
SPEC = TaskSpec(name="resume", modality="tabular", task_type="classification", num_classes=3)
TIMED = ("epoch_duration", "train_samples_per_second")


@dataclass(frozen=True)
class Case:
    """What is switched on, and where the run is stopped."""

    num_batches: int = 10
    settings: dict[str, Any] = field(default_factory=dict)
    is_foreign: bool = False
    num_foreign_workers: int = 0
    has_validation: bool = True
    stop_epoch: int = 0
    stop_batch: int = 5
    stops_in_validation: bool = False
    way: str = "SIGTERM"  # "SIGTERM", "SIGKILL" or "request"


CASES = {
    "dropout and augmentation": Case(),
    "two workers": Case(settings={"num_workers": 2}),
    "accumulation with a short last window": Case(
        settings={"gradient_accumulation_steps": 4}, stop_batch=4
    ),
    "the last window of an epoch": Case(settings={"gradient_accumulation_steps": 4}, stop_batch=9),
    "the second epoch": Case(stop_epoch=1, stop_batch=3),
    "validation": Case(stops_in_validation=True),
    "validation of averaged weights": Case(
        settings={"ema_decay": 0.9}, stops_in_validation=True, stop_epoch=1
    ),
    "averaged weights": Case(settings={"ema_decay": 0.9}, stop_epoch=1),
    "no validation": Case(has_validation=False),
    "a foreign loader": Case(is_foreign=True, stop_epoch=1),
    "a foreign loader with workers": Case(is_foreign=True, num_foreign_workers=2),
    "a foreign loader and accumulation": Case(
        is_foreign=True, settings={"gradient_accumulation_steps": 4}, stop_batch=6
    ),
    "the scaler of fp16": Case(settings={"mixed_precision": "fp16"}, stop_epoch=1),
    "momentum": Case(settings={"optimizer": "sgd", "learning_rate": 0.05}),
    "activation checkpointing": Case(settings={"activation_checkpointing": True}),
    "a request from a hook": Case(way="request"),
    "kill -9 behind a step checkpoint": Case(
        settings={"save_interval_steps": 3}, stop_batch=5, way="SIGKILL"
    ),
    "kill -9 behind a step checkpoint, accumulation and workers": Case(
        settings={"save_interval_steps": 2, "gradient_accumulation_steps": 4, "num_workers": 2},
        num_batches=22,
        stop_batch=18,
        way="SIGKILL",
    ),
    "kill -9 in the second epoch, from the epoch's checkpoint": Case(
        stop_epoch=1, stop_batch=7, way="SIGKILL"
    ),
}


class Samples(Dataset):
    """Every read is augmented by all three random generators."""

    def __init__(self, num_samples):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(num_samples, 8, generator=generator)
        self.y = torch.randint(0, 3, (num_samples,), generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        noise = 0.1 * torch.randn(8) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return {
            "x": self.x[index] + noise,
            "index": torch.tensor(index),
            "labels": self.y[index],
        }


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return x + nn.functional.dropout(torch.relu(self.inner(x)), 0.3, self.training)


class Net(nn.Module):
    """Writes down the samples it is trained on."""

    def __init__(self, log):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)
        self.log = log
        self.in_validation = lambda: None

    def forward(self, x, index):
        if self.training:
            with self.log.open("a") as file:
                file.write(f"{json.dumps(index.tolist())}\n")
        else:
            self.in_validation()
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Stopper:
    """Stops the run at its place, by a real signal to this process."""

    def __init__(self, case, trainer):
        self.case = case
        self.trainer = trainer
        self.epoch = 0

    def stop(self):
        if self.case.way == "request":
            self.trainer.request_stop("enough")
        else:
            os.kill(os.getpid(), getattr(signal, self.case.way))

    def on_epoch_start(self, epoch):
        self.epoch = epoch
        random.random()  # a hook may draw as well

    def on_batch_end(self, batch_idx, loss):
        here = (self.epoch, batch_idx) == (self.case.stop_epoch, self.case.stop_batch)
        if here and not self.case.stops_in_validation:
            self.stop()

    def in_validation(self):
        if self.epoch == self.case.stop_epoch and self.case.stops_in_validation:
            self.stop()


def run(case: Case, folder: Path, *, is_stopped: bool, resume_from: str | None) -> None:
    """Train in this process, and write down what came out."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = Net(folder / "seen.txt")
    config = TrainingConfig(
        **{
            "learning_rate": 0.01,
            "batch_size": BATCH_SIZE,
            "epochs": 3,
            "checkpoint_dir": str(folder / "checkpoints"),
            "random_seed": 5,
            "deterministic": True,
            "device": "cpu",
            "progress_bar": False,
            "log_interval_steps": 3,
            **case.settings,
        }
    )
    data, held_out = Samples(BATCH_SIZE * case.num_batches - 1), Samples(9)
    train_data = data
    if case.is_foreign:
        train_data = DataLoader(
            data, BATCH_SIZE, shuffle=True, num_workers=case.num_foreign_workers
        )
    hooks: list[Any] = []
    trainer = Trainer(model, None, config, SPEC, hooks)
    stopper = Stopper(case, trainer)
    if is_stopped:
        trainer = Trainer(model, None, config, SPEC, [stopper])
        stopper.trainer = trainer
        model.in_validation = stopper.in_validation
    else:
        passive = replace(case, stop_epoch=-1)
        trainer = Trainer(model, None, config, SPEC, [Stopper(passive, trainer)])
    results = trainer.train(
        train_data, held_out if case.has_validation else None, resume_from=resume_from
    )
    summary = results["metrics_summary"].drop(columns=list(TIMED))
    torch.save(
        {
            "weights": dict(model.state_dict()),
            "summary": summary.to_json(double_precision=15),
            "best_epoch": results["best_epoch"],
            "final_loss": results["final_loss"],
            "global_step": results["global_step"],
        },
        folder / "result.pt",
    )


@pytest.fixture(scope="module", autouse=True)
def imports(tmp_path_factory):
    """What a run imports on its way is there before the processes are forked."""
    run(Case(), tmp_path_factory.mktemp("warm"), is_stopped=False, resume_from=None)
    yield
    torch.use_deterministic_algorithms(False)


def in_a_process(case: Case, folder: Path, **how: Any) -> int:
    """Run in a forked process, which is its own and can be killed; return its exit code."""
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=run, args=(case, folder), kwargs=how
    )
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def seen(folder: Path) -> list[list[int]]:
    return [json.loads(line) for line in (folder / "seen.txt").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed_is_as_never_stopped(name, tmp_path):
    case = CASES[name]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert in_a_process(case, straight, is_stopped=False, resume_from=None) == 0
    code = in_a_process(case, stopped, is_stopped=True, resume_from=None)
    assert code == (-signal.SIGKILL if case.way == "SIGKILL" else 143)
    assert not (stopped / "result.pt").exists()
    before = seen(stopped)
    assert in_a_process(case, stopped, is_stopped=False, resume_from="auto") == 0
    expected, found = (torch.load(folder / "result.pt") for folder in (straight, stopped))
    for key, value in expected["weights"].items():
        assert torch.equal(value, found["weights"][key]), key
    assert {**expected, "weights": None} == {**found, "weights": None}
    assert_no_sample_twice(case, seen(straight), before, seen(stopped)[len(before) :])


def assert_no_sample_twice(case, straight, before, after):
    """Each batch comes once, and only what was done behind the last checkpoint is done again."""
    if case.way == "SIGKILL":
        assert straight[-len(after) :] == after
        assert len(before) + len(after) >= len(straight)
    else:
        assert before + after == straight


def test_a_finished_run_is_not_trained_again(tmp_path):
    case = Case()
    assert in_a_process(case, tmp_path / "run", is_stopped=False, resume_from=None) == 0
    first = torch.load(tmp_path / "run" / "result.pt")
    before = seen(tmp_path / "run")
    assert in_a_process(case, tmp_path / "run", is_stopped=False, resume_from="auto") == 0
    second = torch.load(tmp_path / "run" / "result.pt")
    assert seen(tmp_path / "run") == before
    assert first["summary"] == second["summary"]
    assert first["final_loss"] == second["final_loss"]
    assert all(torch.equal(first["weights"][k], second["weights"][k]) for k in first["weights"])


def test_auto_without_a_checkpoint_is_a_fresh_start(tmp_path):
    assert in_a_process(Case(), tmp_path / "a", is_stopped=False, resume_from="auto") == 0
    assert in_a_process(Case(), tmp_path / "b", is_stopped=False, resume_from=None) == 0
    first, second = (torch.load(tmp_path / name / "result.pt") for name in "ab")
    assert all(torch.equal(first["weights"][k], second["weights"][k]) for k in first["weights"])
