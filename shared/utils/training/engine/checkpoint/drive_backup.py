"""Copies of checkpoints in a second folder, such as a mounted Google Drive."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from utils.training.engine.checkpoint.atomic_file import atomic_file, remove_leftovers
from utils.training.engine.checkpoint.retention import FILE_NAMES

logger = logging.getLogger(__name__)


class DriveBackup:
    """Mirrors a checkpoint folder; what fails is logged, and never stops the training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, path: Path) -> None:
        """Copy a new checkpoint, atomically."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._folder, FILE_NAMES)
            with path.open("rb") as source, atomic_file(self._folder / path.name) as target:
                shutil.copyfileobj(source, target, length=8 << 20)
        except OSError as error:
            logger.warning(
                "%s was not backed up to %s: %s. The checkpoint itself is safe.",
                path.name,
                self._folder,
                error,
            )

    def remove(self, path: Path) -> None:
        """Delete the copy of a checkpoint that is no longer kept."""
        try:
            (self._folder / path.name).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("The backup of %s could not be deleted: %s.", path.name, error)


class NoBackup:
    """Backs nothing up."""

    def copy(self, path: Path) -> None:
        """Do nothing."""

    def remove(self, path: Path) -> None:
        """Do nothing."""
