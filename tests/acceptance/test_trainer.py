"""The calls that the API promises of the Trainer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from utils.training.engine import Trainer, UniversalDataModule
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig


class Bigram(nn.Module):
    """Predicts a token from the one before."""

    def __init__(self, vocab_size):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, 16)
        self.head = nn.Linear(16, vocab_size)

    def forward(self, input_ids):
        return self.head(self.embed(input_ids))


def sentences(count):
    """Rows that count upwards from a random token: each token follows from the one before."""
    starts = torch.randint(1, 400, (count,), generator=torch.Generator().manual_seed(count))
    return [{"input_ids": [int(s) + i for i in range(12)]} for s in starts]


@pytest.fixture
def setting():
    torch.manual_seed(0)
    return SimpleNamespace(
        model=Bigram(512),
        model_config=SimpleNamespace(vocab_size=512, d_model=16),
        train_dataset=sentences(64),
        val_dataset=sentences(16),
        task_spec=TaskSpec.language_modeling_tiny(),
    )


def test_the_complete_workflow(setting, caplog):
    training_config = TrainingConfig(
        learning_rate=5e-3,
        batch_size=4,
        epochs=3,
        checkpoint_dir="./checkpoints",
        gradient_accumulation_steps=4,
    )
    trainer = Trainer(
        model=setting.model,
        config=setting.model_config,
        training_config=training_config,
        task_spec=setting.task_spec,
    )
    results = trainer.train(train_data=setting.train_dataset, val_data=setting.val_dataset)
    assert isinstance(results["metrics_summary"], pd.DataFrame)
    line = f"{results['best_epoch']} {results['final_loss']:.4f} {results['training_time']:.1f}s"
    assert line.startswith("2 ")
    assert results["best_epoch"] == 2
    assert isinstance(results["checkpoint_path"], Path)
    assert results["checkpoint_path"].name == "checkpoint_epoch0002.pt"
    assert results["training_time"] > 0
    results["metrics_summary"].to_csv("metrics.csv", index=False)
    table = pd.read_csv("metrics.csv")
    assert list(table["epoch"]) == [0, 1, 2]
    assert table["val_loss"].is_monotonic_decreasing
    assert results["final_loss"] == pytest.approx(table["train_loss"].iloc[-1])


def test_the_complete_example_tracks_and_exports(setting, caplog):
    training_config = TrainingConfig(
        learning_rate=5e-3,
        batch_size=4,
        epochs=1,
        checkpoint_dir="./checkpoints",
        use_wandb=True,  # which can't be reached here, and costs nothing but a warning
        gradient_accumulation_steps=4,
        export_bundle=True,
    )
    trainer = Trainer(
        model=setting.model,
        config=setting.model_config,
        training_config=training_config,
        task_spec=setting.task_spec,
    )
    results = trainer.train(train_data=setting.train_dataset, val_data=setting.val_dataset)
    assert results["checkpoint_path"].exists()
    assert (results["export_path"] / "artifacts" / "model.onnx").exists()
    assert (results["export_path"] / "artifacts" / "model.torchscript.pt").exists()
    warned = [record for record in caplog.records if "Weights & Biases" in record.getMessage()]
    assert len(warned) == 1


def test_a_run_resumes_from_a_path(setting):
    def train(epochs, resume_from=None):
        config = TrainingConfig(learning_rate=5e-3, batch_size=4, epochs=epochs)
        trainer = Trainer(
            model=setting.model,
            config=setting.model_config,
            training_config=config,
            task_spec=setting.task_spec,
            hooks=None,
        )
        return trainer.train(
            train_data=setting.train_dataset,
            val_data=setting.val_dataset,
            resume_from=resume_from,
        )

    train(epochs=2)
    results = train(epochs=3, resume_from="./checkpoints/checkpoint_epoch0001.pt")
    assert list(results["metrics_summary"]["epoch"]) == [0, 1, 2]


def test_partial_hooks_hear_of_their_events(setting):
    class CustomHooks:
        def __init__(self):
            self.epochs = []
            self.val_losses = []

        def on_epoch_start(self, epoch: int) -> None:
            self.epochs.append(epoch)

        def on_validation_end(self, metrics: dict[str, float]) -> None:
            self.val_losses.append(metrics["val_loss"])

    hooks = CustomHooks()
    trainer = Trainer(
        setting.model,
        setting.model_config,
        TrainingConfig(batch_size=8, epochs=2),
        setting.task_spec,
        hooks=hooks,
    )
    results = trainer.train(setting.train_dataset, setting.val_dataset)
    assert hooks.epochs == [0, 1]
    assert hooks.val_losses == pytest.approx(list(results["metrics_summary"]["val_loss"]))


def test_hooks_hear_of_all_six_events(setting):
    heard = []

    class CustomHooks:
        def on_training_start(self) -> None:
            heard.append("training starts")

        def on_epoch_start(self, epoch: int) -> None:
            heard.append(f"epoch {epoch} starts")

        def on_batch_end(self, batch_idx: int, loss: float) -> None:
            assert loss > 0
            heard.append(f"batch {batch_idx}")

        def on_validation_end(self, metrics: dict[str, float]) -> None:
            assert set(metrics) == {"val_loss", "val_accuracy"}
            heard.append("validated")

        def on_epoch_end(self, epoch: int, metrics: dict[str, float]) -> None:
            assert metrics["train_loss"] > 0
            heard.append(f"epoch {epoch} ends")

        def on_training_end(self) -> None:
            heard.append("training ends")

    config = TrainingConfig(batch_size=32, epochs=1)
    trainer = Trainer(
        setting.model, setting.model_config, config, setting.task_spec, hooks=CustomHooks()
    )
    trainer.train(setting.train_dataset, setting.val_dataset)
    assert heard == [
        "training starts",
        "epoch 0 starts",
        "batch 0",
        "batch 1",
        "validated",
        "epoch 0 ends",
        "training ends",
    ]


def test_a_data_module_feeds_the_trainer(setting):
    data_module = UniversalDataModule(
        train_dataset=setting.train_dataset,
        val_dataset=setting.val_dataset,
        task_spec=setting.task_spec,
        batch_size=32,
        num_workers=0,
        random_seed=42,
    )
    trainer = Trainer(
        setting.model, setting.model_config, TrainingConfig(epochs=1), setting.task_spec
    )
    results = trainer.train(
        train_data=data_module.train_dataloader(), val_data=data_module.val_dataloader()
    )
    assert results["global_step"] == 2
