"""Weights & Biases, where it can be reached."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from utils.training.engine.trackers.background import BackgroundTracker
from utils.training.engine.trackers.protocol import Values, by_epoch
from utils.training.errors import MissingDependencyError

logger = logging.getLogger(__name__)

_INIT_TIMEOUT_SECONDS = 30


class WandbTracker(BackgroundTracker):
    """Sends values to a Weights & Biases run from a thread of its own.

    The run is opened with the first value. Without the library, a key or a network it warns once
    and does nothing more; an offline mode set in the environment (``WANDB_MODE``) is honoured.

    Args:
        project: None takes what the environment says.
        run_name: None lets the service choose.
        config: the settings to show beside the run.
        close_timeout_seconds: how long :meth:`close` waits for the upload.
    """

    def __init__(
        self,
        project: str | None = None,
        run_name: str | None = None,
        config: Mapping[str, Any] | None = None,
        close_timeout_seconds: float = 30.0,
    ) -> None:
        open_run = partial(_Run, project, run_name, dict(config or {}))
        super().__init__("Weights & Biases", open_run, close_timeout_seconds)


class _Run:
    """A run that is open; every call may block or raise."""

    def __init__(self, project: str | None, run_name: str | None, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingDependencyError("wandb", "Logging to Weights & Biases", "wandb") from error
        self._wandb = wandb
        # Silent sessions never ask for a key on the terminal; the run's address is logged instead.
        wandb.setup(settings=wandb.Settings(silent=True))
        settings = wandb.Settings(silent=True, init_timeout=_INIT_TIMEOUT_SECONDS)
        self._run = wandb.init(project=project, name=run_name, config=config, settings=settings)
        logger.info("Weights & Biases run: %s", self._run.url or self._run.dir)
        # Steps of the optimizer and epochs are two axes; W&B's own step counter is neither.
        self._run.define_metric("*", step_metric="global_step")
        self._run.define_metric("epoch/*", step_metric="epoch")

    def log(
        self, metrics: Mapping[str, float], step: int | None = None, epoch: int | None = None
    ) -> None:
        if epoch is None:
            self._run.log({**metrics, "global_step": step})
        else:
            self._run.log({**by_epoch(metrics), "epoch": epoch})

    def log_histogram(self, name: str, values: Values, step: int | None = None) -> None:
        finite = values[np.isfinite(values)]
        histogram = self._wandb.Histogram(np_histogram=np.histogram(finite, bins=64))
        self._run.log({name: histogram, "global_step": step})

    def close(self) -> None:
        self._run.finish()
