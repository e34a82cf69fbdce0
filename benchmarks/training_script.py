"""A training by hand, and the same model as an entry point of a job; both note their first step."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from services.trainer.samples import load_sample
from services.trainer.samples.digits import build_model
from utils.training.engine import Trainer
from utils.training.training_config import TrainingConfig

SETTINGS: dict[str, Any] = {"epochs": 100, "batch_size": 32, "progress_bar": False}


def noting_model(note: str) -> nn.Module:
    """The digits' model; the time of the first optimizer step is written to a file."""

    def write(*_: object) -> None:
        handle.remove()
        fresh = Path(f"{note}.new")
        fresh.write_text(repr(time.time()), encoding="ascii")
        fresh.rename(note)

    handle = register_optimizer_step_post_hook(write)
    return build_model()


def main(note: str) -> None:
    """Train the digits."""
    sample = load_sample("digits")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        settings = TrainingConfig(**SETTINGS, export_bundle=False)
        trainer = Trainer(noting_model(note), None, settings, sample.task_spec)
        trainer.train(sample.train, sample.validation)


if __name__ == "__main__":
    main(sys.argv[1])
