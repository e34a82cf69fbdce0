"""The checkpoints that lie in a folder: found, ranked and checked."""

from __future__ import annotations

import json
import logging
import math
import re
from pathlib import Path
from typing import Any

from utils.training.engine.checkpoint.file import CorruptCheckpointError, is_whole, read_metadata
from utils.training.engine.checkpoint.retention import (
    FILE_NAMES,
    Mode,
    StoredCheckpoint,
    best_first,
    newest_first,
)
from utils.training.engine.checkpoint.shards import are_whole

logger = logging.getLogger(__name__)

_MOST_LOOKS = 10  # at a folder that changes under one's hands
_FILE_NAME = re.compile(r"checkpoint_epoch\d{4,}(_step\d{8,})?\.pt")


class CheckpointFolder:
    """A folder's checkpoints as they are now; nothing is remembered between two calls.

    Args:
        path: the folder.
        monitor: the metric that ranks, also for files that were saved under another one.
        mode: whether a smaller or a greater value is better.
    """

    def __init__(self, path: Path, monitor: str, mode: Mode) -> None:
        self.path = path
        self.monitor = monitor
        self.mode = mode

    def epoch_path(self, epoch: int) -> Path:
        """Return the file of an epoch's checkpoint."""
        return self.path / f"checkpoint_epoch{epoch:04d}.pt"

    def step_path(self, epoch: int, global_step: int) -> Path:
        """Return the file of a checkpoint within an epoch."""
        return self.path / f"checkpoint_epoch{epoch:04d}_step{global_step:08d}.pt"

    def readable(self) -> list[StoredCheckpoint]:
        """List the checkpoints, the last first; warns of files whose metadata is damaged."""
        return self._scan()[0]

    def best(self) -> Path | None:
        """Return the best epoch, as far as the metadata is readable."""
        ranked = best_first(self.readable(), self.mode)
        return ranked[0].path if ranked else None

    def best_to_load(self) -> Path:
        """Return the best epoch, or the newest checkpoint where none is ranked.

        Raises:
            FileNotFoundError: the folder has no checkpoint.
            CorruptCheckpointError: a file's metadata is damaged, so that it might be the best.
        """
        readable, damaged = self._scan()
        if damaged:
            raise CorruptCheckpointError(
                f"Which checkpoint is best can't be told: {damaged[-1]} is truncated or corrupted. "
                f"{self.advice(damaged[-1])}"
            )
        ranked = best_first(readable, self.mode) or readable
        if not ranked:
            raise FileNotFoundError(
                f"There is no checkpoint in {self.path}; save one first, or give another path."
            )
        return ranked[0].path

    def newest_whole(self, excluded: Path | None = None) -> Path | None:
        """Return the newest checkpoint that is whole; warns of newer ones that are corrupted."""
        for checkpoint in self.readable():
            if checkpoint.path == excluded:
                continue
            shards = checkpoint.metadata.get("shards")
            if is_whole(checkpoint.path) and are_whole(checkpoint.path, shards):
                return checkpoint.path
            logger.warning("%s is corrupted; the one before it is tried.", checkpoint.path)
        return None

    def advice(self, path: Path) -> str:
        """Say what to load where ``path`` can't be."""
        intact = self.newest_whole(excluded=path)
        if intact is None:
            return f"There is no intact checkpoint in {self.path} to go back to."
        return f"The newest intact checkpoint is {intact}: load that one."

    def _scan(self) -> tuple[list[StoredCheckpoint], list[Path]]:
        """What is readable, and what is damaged; looks again where something vanished meanwhile."""
        for _ in range(_MOST_LOOKS):
            readable, damaged, has_vanished = self._look()
            if not has_vanished:
                break
        return newest_first(readable), damaged

    def _look(self) -> tuple[list[StoredCheckpoint], list[Path], bool]:
        readable, damaged, has_vanished = [], [], False
        for path in sorted(self.path.glob(FILE_NAMES)):
            name = _FILE_NAME.fullmatch(path.name)
            if name is None:
                continue
            try:
                readable.append(self._stored(path, read_metadata(path), is_step=bool(name[1])))
            except FileNotFoundError:  # another process cleared it away, for a newer one
                has_vanished = True
            except CorruptCheckpointError as error:
                damaged.append(path)
                logger.warning("%s It is passed over.", error)
        return readable, damaged, has_vanished

    def _stored(self, path: Path, metadata: dict[str, Any], *, is_step: bool) -> StoredCheckpoint:
        value = metadata["monitor_value"]
        if metadata["monitor"] != self.monitor:
            value = json.loads(metadata["metrics"] or "{}").get(self.monitor)
        return StoredCheckpoint(
            path=path,
            epoch=metadata["epoch"],
            global_step=metadata["global_step"],
            is_step=is_step,
            value=math.nan if value is None else float(value),
            metadata=metadata,
        )
