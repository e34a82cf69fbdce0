"""The training call of version 3, on the Trainer; docs/MIGRATION_GUIDE.md leads to version 4."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import nn

from utils.training.engine import Trainer
from utils.training.errors import UnknownNameError
from utils.training.task_spec import TaskSpec
from utils.training.training_config import TrainingConfig

logger = logging.getLogger(__name__)

# Version 3's names for what TrainingConfig names otherwise; equal names need no row.
RENAMED = {
    "n_epochs": "epochs",
    "max_grad_norm": "gradient_clip_norm",
    "save_every_n_epochs": "save_interval_epochs",
    "patience": "early_stopping_patience",
    "seed": "random_seed",
}

_RANDOM_SEQUENCES = 32  # where version 3 was called without data


def test_fine_tuning(
    model: nn.Module,
    config: Any,
    train_data: Any = None,
    val_data: Any = None,
    *,
    task_spec: TaskSpec | None = None,
    use_amp: bool = False,
    resume_from: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train as version 3 did.

    Args:
        model: the model to train.
        config: its own configuration; ``vocab_size`` and ``max_seq_len`` are read from it.
        train_data: as :meth:`Trainer.train` takes it; None trains on random tokens, a smoke test.
        val_data: held-out data of the same form.
        task_spec: None is next-token prediction.
        use_amp: fp16 mixed precision.
        resume_from: a checkpoint's path.
        settings: version 3's parameters, or any field of :class:`TrainingConfig`.

    Returns:
        What :meth:`Trainer.train` returns, with version 3's ``loss_history`` and
        ``val_loss_history`` (a value an epoch).

    Raises:
        UnknownNameError: a ValueError; a parameter that neither version knows.
    """
    warnings.warn(
        "test_fine_tuning() is version 3's call; use Trainer.train() "
        "(docs/MIGRATION_GUIDE.md shows how).",
        DeprecationWarning,
        stacklevel=2,
    )
    spec = task_spec or _language_modeling(config)
    results = Trainer(
        model=model,
        config=config,
        training_config=_training_config(settings, use_amp=use_amp),
        task_spec=spec,
    ).train(
        train_data=_random_tokens(spec) if train_data is None else train_data,
        val_data=val_data,
        resume_from=resume_from,
    )
    summary = results["metrics_summary"]
    histories = {"loss_history": "train_loss", "val_loss_history": "val_loss"}
    return results | {
        name: summary[column].tolist() if column in summary else []
        for name, column in histories.items()
    }


setattr(test_fine_tuning, "__test__", False)  # noqa: B010 - pytest takes its name for a test's


def _training_config(settings: dict[str, Any], *, use_amp: bool) -> TrainingConfig:
    known = TrainingConfig().to_dict()
    values = {RENAMED.get(name, name): value for name, value in settings.items()}
    for name in settings:
        if RENAMED.get(name, name) not in known:
            raise UnknownNameError("parameter", name, [*known, *RENAMED])
    if use_amp:
        values.setdefault("mixed_precision", "fp16")
    return TrainingConfig(**values)


def _language_modeling(config: Any) -> TaskSpec:
    return TaskSpec(
        name="fine-tuning",
        modality="text",
        task_type="language_modeling",
        vocab_size=getattr(config, "vocab_size", 50257),
        max_seq_len=getattr(config, "max_seq_len", getattr(config, "n_positions", 512)),
        pad_token_id=getattr(config, "pad_token_id", None),
    )


def _random_tokens(spec: TaskSpec) -> list[dict[str, torch.Tensor]]:
    logger.warning(
        "No train_data was given: training on %d random sequences, which teaches nothing.",
        _RANDOM_SEQUENCES,
    )
    generator = torch.Generator().manual_seed(0)
    shape = (_RANDOM_SEQUENCES, min(spec.max_seq_len, 32))
    tokens = torch.randint(0, spec.vocab_size, shape, generator=generator)
    return [{"input_ids": row, "labels": row} for row in tokens]
