"""Training and validation data of a task, side by side."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from types import NoneType
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from utils.training.arguments import require_instance
from utils.training.engine.data.factory import DataLoaderConfig, DataLoaderFactory
from utils.training.task_spec import TaskSpec


class UniversalDataModule:
    """Gives a training and a validation loader for torch and Hugging Face datasets.

    The loaders serve the engine's Trainer, and any other that takes DataLoaders (Lightning's
    ``fit(model, module.train_dataloader(), module.val_dataloader())``).

    Args:
        train_dataset: samples to train on.
        val_dataset: samples to validate on, never shuffled.
        task_spec: chooses the collator.
        batch_size: samples in a batch.
        num_workers: processes that fetch, for each loader.
        random_seed: of order, samples and split.
        val_split: without a ``val_dataset``, the fraction of the training samples to hold out,
            between 0 and 1; the same samples for the same seed.
        tokenizer: for text collators.
        config: further settings of the loaders; the arguments above win.

    Raises:
        ValueError: both ``val_dataset`` and ``val_split``, or a split that leaves a part empty.
        TypeError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        train_dataset: Any,
        val_dataset: Any = None,
        task_spec: TaskSpec | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        random_seed: int = 42,
        *,
        val_split: float | None = None,
        tokenizer: Any = None,
        config: DataLoaderConfig | None = None,
    ) -> None:
        if val_split is not None and val_dataset is not None:
            raise ValueError(
                f"val_split is {val_split} and there is a val_dataset too; give one of them."
            )
        require_instance("config", config, (DataLoaderConfig, NoneType), "a DataLoaderConfig")
        self.config = replace(
            config or DataLoaderConfig(),
            batch_size=batch_size,
            num_workers=num_workers,
            random_seed=random_seed,
        )
        self.config.validate()
        self.task_spec = task_spec
        self.tokenizer = tokenizer
        self.train_dataset, self.val_dataset = train_dataset, val_dataset
        if val_split is not None:
            self.train_dataset, self.val_dataset = split(train_dataset, val_split, random_seed)
        self._factory = DataLoaderFactory()

    def train_dataloader(self) -> DataLoader[Any]:
        """Make the training loader, shuffled unless the config says otherwise."""
        return self._loader(self.train_dataset, self.config)

    def val_dataloader(self) -> DataLoader[Any] | None:
        """Make the validation loader, in the dataset's order and whole; None without data."""
        if self.val_dataset is None:
            return None
        return self._loader(self.val_dataset, replace(self.config, shuffle=False, drop_last=False))

    def _loader(self, dataset: Any, config: DataLoaderConfig) -> DataLoader[Any]:
        return self._factory.create(
            dataset, task_spec=self.task_spec, tokenizer=self.tokenizer, config=config
        )


def split(dataset: Sized, fraction: float, seed: int) -> tuple[Any, Any]:
    """Hold out a random fraction; a pure function of seed and length.

    Returns:
        The rest and the held-out part, Hugging Face datasets staying such.

    Raises:
        ValueError: the fraction is not between 0 and 1, or a part would be empty.
        WrongTypeError: a TypeError; the fraction is no number.
    """
    require_instance("val_split", fraction, (int, float), "a fraction between 0 and 1")
    length = len(dataset)
    held_out = round(length * fraction) if 0 < fraction < 1 else 0
    if not 0 < held_out < length:
        raise ValueError(
            f"val_split is {fraction} of {length} samples, allowed is a fraction between 0 and 1 "
            "that leaves at least 1 sample on each side."
        )
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    parts = order[held_out:].sort().values.tolist(), order[:held_out].sort().values.tolist()
    if hasattr(dataset, "select"):
        return dataset.select(parts[0]), dataset.select(parts[1])
    return Subset(dataset, parts[0]), Subset(dataset, parts[1])  # type: ignore[arg-type]
