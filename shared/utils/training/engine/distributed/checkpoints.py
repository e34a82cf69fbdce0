"""Checkpoints of ranks that hold the whole model each: the first one writes and reads for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils.training.engine.checkpoint import CheckpointManager
from utils.training.engine.distributed.states import state_of_first
from utils.training.engine.distributed.world import Ranks


class FirstRankCheckpoints(CheckpointManager):
    """Saves on the first rank, in the same file that one process writes.

    Every rank calls every method: which checkpoint is best or newest is the first rank's word, and
    what it reads is given to the others, whose machines need not see its folder.

    Args:
        world: the ranks.
        settings: those of :class:`CheckpointManager`.
    """

    def __init__(self, world: Ranks, **settings: Any) -> None:
        super().__init__(**settings)
        self._world = world

    def save(self, *args: Any, **kwargs: Any) -> Path:
        """Save at the end of an epoch; see :meth:`CheckpointManager.save`."""
        if self._world.is_first:
            return super().save(*args, **kwargs)
        return self._folder.epoch_path(kwargs["epoch"])

    def save_step(self, *args: Any, **kwargs: Any) -> Path:
        """Save within an epoch; see :meth:`CheckpointManager.save_step`."""
        if self._world.is_first:
            return super().save_step(*args, **kwargs)
        return self._folder.step_path(kwargs["epoch"], kwargs["global_step"])

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint."""
        path: Path | None = self._world.of_first(super().latest() if self._world.is_first else None)
        return path

    def get_best(self) -> Path | None:
        """Return the best checkpoint."""
        best = super().get_best() if self._world.is_first else None
        path: Path | None = self._world.of_first(best)
        return path

    def _read(self, path: Path) -> dict[str, Any]:
        return state_of_first(self._world, super()._read(path) if self._world.is_first else None)
