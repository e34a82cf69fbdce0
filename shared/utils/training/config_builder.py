"""A fluent way to a TrainingConfig: start from a preset, change what differs, build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from utils.training.errors import UnknownNameError
from utils.training.training_config import TrainingConfig

PRESETS: dict[str, dict[str, Any]] = {
    "small": {"epochs": 5, "batch_size": 4, "learning_rate": 5e-5},
    "medium": {"epochs": 10, "batch_size": 8, "learning_rate": 1e-4},
    "large": {"epochs": 20, "batch_size": 16, "learning_rate": 1e-4},
}


class TrainingConfigBuilder:
    """Collects settings call by call; :meth:`build` checks them all at once.

    A later call wins over an earlier one, a preset included.
    """

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def with_preset(self, name: str) -> Self:
        """Apply ``small`` (development), ``medium`` (production) or ``large`` (research).

        Raises:
            UnknownNameError: a ValueError that offers the nearest preset.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise UnknownNameError("preset", name, PRESETS)
        return self.with_values(**PRESETS[name])

    def with_learning_rate(self, lr: float) -> Self:
        """Set the peak learning rate."""
        return self.with_values(learning_rate=lr)

    def with_batch_size(self, size: int) -> Self:
        """Set the samples in a micro-batch."""
        return self.with_values(batch_size=size)

    def with_epochs(self, n: int) -> Self:
        """Set the number of epochs."""
        return self.with_values(epochs=n)

    def with_gradient_accumulation(self, steps: int) -> Self:
        """Set the micro-batches in an optimizer step."""
        return self.with_values(gradient_accumulation_steps=steps)

    def with_wandb(self, project: str | None, run_name: str | None = None) -> Self:
        """Log to a W&B project; None as the project switches W&B off."""
        if project is None:
            return self.with_values(use_wandb=False)
        return self.with_values(use_wandb=True, wandb_project=project, run_name=run_name)

    def with_export_bundle(self, formats: Sequence[str]) -> Self:
        """Export a bundle in these formats when training ends."""
        given = list(formats) if isinstance(formats, list | tuple) else formats
        return self.with_values(export_bundle=True, export_formats=given)

    def with_values(self, **values: Any) -> Self:
        """Set any fields of :class:`TrainingConfig` by name."""
        self._values.update(values)
        return self

    def build(self) -> TrainingConfig:
        """Build and validate the config.

        Raises:
            InvalidConfigError: a ValueError that lists all faults.
        """
        config = TrainingConfig.from_dict(self._values)
        config.validate()
        return config
