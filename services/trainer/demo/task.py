"""What the demonstration trains: a sample, how long, and how its result is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from services.trainer.samples import load_sample
from services.trainer.samples.sample import Sample
from services.trainer.samples.text import unigram_perplexity
from utils.training.engine import (
    DataLoaderFactory,
    EpochResult,
    Trainer,
    ValidationLoop,
    get_loss_strategy,
)
from utils.training.seed_manager import set_random_seed
from utils.training.training_config import TrainingConfig

SAMPLE_OF_TASK = {"vision": "digits", "text": "text"}
LEAST_ACCURACY = 0.97  # on held-out digits


@dataclass(frozen=True)
class Verdict:
    """How good the model is on data it never saw, in one sentence, and whether that is enough."""

    sentence: str
    is_good: bool


class DemoTask:
    """One of the demonstration's tasks."""

    def __init__(self, task: str) -> None:
        self.name = task
        self.sample: Sample = load_sample(SAMPLE_OF_TASK[task])

    def config(self, folder: Path) -> TrainingConfig:
        """The settings of a run whose files lie in ``folder``."""
        shared: dict[str, Any] = {
            "random_seed": 7,
            "deterministic": True,
            "checkpoint_dir": str(folder / "checkpoints"),
            "export_dir": str(folder / "exports"),
            "keep_last_n": 2,
            "log_interval_steps": 5,
            "warmup_steps": 20,
        }
        if self.name == "vision":
            return TrainingConfig(
                learning_rate=4e-3, batch_size=32, epochs=20, ema_decay=0.98, **shared
            )
        return TrainingConfig(
            learning_rate=5e-3,
            batch_size=8,
            gradient_accumulation_steps=2,
            epochs=3,
            vocab_size=self.sample.task_spec.vocab_size,
            max_seq_len=self.sample.task_spec.max_seq_len,
            **shared,
        )

    def trainer(self, folder: Path, hooks: Any = None) -> Trainer:
        """A trainer of a fresh model, whose first weights follow from the seed too."""
        config = self.config(folder)
        set_random_seed(config.random_seed)
        model = self.sample.build_model()
        return Trainer(
            model=model,
            config=getattr(model, "config", None),
            training_config=config,
            task_spec=self.sample.task_spec,
            hooks=hooks,
        )

    def judge(self, model: nn.Module) -> Verdict:
        """Measure the model on the held-out part."""
        result = self._measure(model)
        if self.name == "vision":
            return Verdict(
                f"{result.avg_accuracy:.1%} of {result.sample_count} held-out scans are read right "
                f"(wanted: at least {LEAST_ACCURACY:.0%})",
                result.avg_accuracy >= LEAST_ACCURACY,
            )
        perplexity = math.exp(result.avg_loss)
        baseline = unigram_perplexity(self.sample.train, self.sample.test)  # type: ignore[arg-type]
        return Verdict(
            f"perplexity {perplexity:.0f} on held-out prose, against {baseline:.0f} of token "
            "frequencies alone",
            perplexity < baseline,
        )

    def _measure(self, model: nn.Module) -> EpochResult:
        spec = self.sample.task_spec
        loader = DataLoaderFactory().create(
            dataset=self.sample.test, batch_size=64, shuffle=False, task_spec=spec
        )
        loop = ValidationLoop(
            model=model, loss_strategy=get_loss_strategy(spec.task_type), task_spec=spec
        )
        return loop.run_epoch(loader, epoch=0)
