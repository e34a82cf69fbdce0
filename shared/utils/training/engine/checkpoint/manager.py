"""Checkpoints: the whole training state on disk, verified, ranked and kept within bounds."""

from __future__ import annotations

import logging
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from torch import nn
from torch.optim import Optimizer

from utils.training.engine.checkpoint.archive import Archive
from utils.training.engine.checkpoint.atomic_file import remove_leftovers
from utils.training.engine.checkpoint.drive_backup import DriveBackup, NoBackup
from utils.training.engine.checkpoint.file import (
    CorruptCheckpointError,
    read_checkpoint,
    write_archive,
)
from utils.training.engine.checkpoint.folder import CheckpointFolder
from utils.training.engine.checkpoint.retention import FILE_NAMES, surplus
from utils.training.engine.checkpoint.shards import assembled, remove_orphans
from utils.training.engine.checkpoint.staging import HostBuffers, is_on_host
from utils.training.engine.checkpoint.state import (
    as_numbers,
    current_git_commit,
    describe,
    gather_state,
    require_at_least,
    require_finite_weights,
    require_structure,
)
from utils.training.seed_manager import restore_rng_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a listing tells of a checkpoint, read without its tensors.

    ``best_metric`` is this checkpoint's monitored metric, NaN where it has none. ``metrics`` and
    ``config`` are JSON (NaN as null); ``config`` is ``custom_state["config"]``. Each is None where
    there is none, or where it is too long for a listing; the state has them in full.
    """

    epoch: int
    global_step: int
    best_metric: float
    timestamp: str
    git_commit: str | None = None
    metrics: str | None = None
    config: str | None = None


class CheckpointManager:
    """Saves, ranks, loads and clears away the checkpoints of one training run in one folder.

    A file appears whole or not at all, bears a digest over every byte, and holds tensors and plain
    values alone, so that loading it runs no code. It is fsynced before it gets its name, and read
    back from the disk too where there is no other to go back to. After each save the best
    ``keep_best_k`` and the last ``keep_last_n`` epochs stay. Of several processes that train
    together, one saves.

    Args:
        checkpoint_dir: created where it is missing.
        keep_best_k: epochs to keep for their monitored metric, 0 or more.
        keep_last_n: most recent epochs to keep, 1 or more.
        monitor: the metric that ranks.
        mode: whether a smaller (``min``) or a greater (``max``) value is better.
        save_interval_epochs: for whoever decides when to save; :meth:`save` itself always saves.
        drive_backup: copy each checkpoint to ``drive_backup_path`` too.
        drive_backup_path: a folder on another disk, such as a mounted Google Drive.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        checkpoint_dir: str | Path,
        keep_best_k: int = 3,
        keep_last_n: int = 5,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
        save_interval_epochs: int = 1,
        drive_backup: bool = False,
        drive_backup_path: str | Path | None = None,
    ) -> None:
        if mode not in {"min", "max"}:
            raise ValueError(f"mode is {mode!r}, allowed is 'min' or 'max'.")
        self.keep_best_k = require_at_least("keep_best_k", keep_best_k, 0)
        self.keep_last_n = require_at_least("keep_last_n", keep_last_n, 1)
        self.save_interval_epochs = require_at_least(
            "save_interval_epochs", save_interval_epochs, 1
        )
        self.checkpoint_dir = Path(checkpoint_dir)
        self.monitor = monitor
        self.mode: Literal["min", "max"] = mode
        self._backup = _create_backup(drive_backup, drive_backup_path)
        self._folder = CheckpointFolder(self.checkpoint_dir, monitor, mode)
        self._buffers = HostBuffers()
        self._writer: futures.ThreadPoolExecutor | None = None
        self._pending: futures.Future[None] | None = None
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.checkpoint_dir, FILE_NAMES)

    def save(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: Any,
        epoch: int,
        metrics: dict[str, float],
        global_step: int | None = None,
        custom_state: dict[str, Any] | None = None,
        blocking: bool = True,
    ) -> Path:
        """Save the state at the end of an epoch, under ``checkpoint_epoch0005.pt``.

        Args:
            model: its ``state_dict()`` is saved.
            optimizer: its ``state_dict()`` is saved.
            scheduler: anything with ``state_dict()``, or None.
            epoch: 0 or more; an epoch that is saved again replaces its file.
            metrics: numbers; the monitored one must be among them.
            global_step: optimizer steps so far.
            custom_state: kept as tensors and plain values (see ``plain_values.to_plain``).
            blocking: False returns once the state is copied to host memory, and writes in the
                background; the next save, load, :meth:`wait` or :meth:`close` raises its error.

        Returns:
            The file's path; with ``blocking=False`` the file appears there once it is whole.

        Raises:
            ValueError: ``metrics`` lacks the monitored metric, or a value is no number.
            TypeError: a value has no plain form.
            NonFiniteWeightsError: a weight is NaN or Inf (a RuntimeError); nothing is written.
            OSError: the disk is full; nothing is left behind.
        """
        if self.monitor not in metrics:
            raise ValueError(
                f"The metrics lack '{self.monitor}', which ranks the checkpoints; "
                f"given: {', '.join(map(str, metrics)) or 'none'}."
            )
        epoch = require_at_least("epoch", epoch, 0)
        numbers = as_numbers(metrics)
        state = gather_state(
            model,
            optimizer,
            scheduler,
            custom_state,
            epoch=epoch,
            global_step=require_at_least("global_step", global_step or 0, 0),
            metrics=numbers,
            monitor=self.monitor,
            monitor_value=numbers[self.monitor],
            git_commit=self._git_commit,
        )
        return self._write_to(self._folder.epoch_path(epoch), model, state, blocking=blocking)

    def save_step(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: Any,
        epoch: int,
        global_step: int,
        custom_state: dict[str, Any] | None = None,
        metrics: dict[str, float] | None = None,
        blocking: bool = True,
    ) -> Path:
        """Save the state within an epoch, under ``checkpoint_epoch0005_step00001234.pt``.

        It needs no metric and is never best: it is there to resume from, and goes when a newer
        checkpoint is on disk. Arguments, return and errors are those of :meth:`save`.
        """
        epoch = require_at_least("epoch", epoch, 0)
        global_step = require_at_least("global_step", global_step, 0)
        state = gather_state(
            model,
            optimizer,
            scheduler,
            custom_state,
            epoch=epoch,
            global_step=global_step,
            metrics=as_numbers(metrics or {}),
            monitor=self.monitor,
            monitor_value=None,
            git_commit=self._git_commit,
        )
        path = self._folder.step_path(epoch, global_step)
        return self._write_to(path, model, state, blocking=blocking)

    def load(
        self, checkpoint_path: str | Path | None = None, restore_rng: bool = True
    ) -> dict[str, Any]:
        """Verify and read a checkpoint; its tensors are on the CPU.

        Args:
            checkpoint_path: None takes the best checkpoint, or the newest where none is ranked.
            restore_rng: put the generators of Python, NumPy and PyTorch where they were then.

        Returns:
            The state, with the keys that :meth:`save` wrote.

        Raises:
            FileNotFoundError: no such file, or no checkpoint in the folder.
            CorruptCheckpointError: the file is not what was written (a RuntimeError); the text
                names the newest intact checkpoint.
        """
        self.wait()
        state = self._read_best() if checkpoint_path is None else self._read(Path(checkpoint_path))
        if restore_rng:
            restore_rng_state(state["rng_state"])
        return state

    def get_best(self) -> Path | None:
        """Return the checkpoint with the best monitored metric; of equal ones the later epoch."""
        self.wait()
        return self._folder.best()

    def latest(self) -> Path | None:
        """Return the newest checkpoint that is whole; warns of newer ones that are corrupted."""
        self.wait()
        return self._folder.newest_whole()

    def list_checkpoints(self) -> list[CheckpointMetadata]:
        """List what is there, the last epoch first; reads no tensor."""
        self.wait()
        return [
            CheckpointMetadata(
                epoch=checkpoint.epoch,
                global_step=checkpoint.global_step,
                best_metric=checkpoint.value,
                timestamp=checkpoint.metadata["timestamp"],
                git_commit=checkpoint.metadata["git_commit"],
                metrics=checkpoint.metadata["metrics"],
                config=checkpoint.metadata["config"],
            )
            for checkpoint in self._folder.readable()
        ]

    @property
    def is_saving(self) -> bool:
        """True while a save in the background is under way."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Wait for the save in the background, and raise its error, if it had one."""
        if self._pending is None:
            return
        futures.wait([self._pending])  # an interrupt here leaves it pending: its buffers are in use
        done, self._pending = self._pending, None
        done.result()

    def close(self) -> None:
        """Wait for the save in the background, and give its memory and its thread back."""
        try:
            self.wait()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
                self._writer = None
            self._buffers.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def _git_commit(self) -> str | None:
        return current_git_commit()

    def _write_to(
        self, path: Path, model: nn.Module, state: dict[str, Any], *, blocking: bool
    ) -> Path:
        self.wait()  # until then the buffers hold the last save's copy
        if blocking and is_on_host(state):
            archive = Archive(state)
        else:
            with self._buffers.copying(state) as copy:
                archive = Archive(copy)
            state = copy
        if blocking:
            self._write(path, model, state, archive)
            return path
        if self._writer is None:
            self._writer = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(self._write, path, model, state, archive)
        return path

    def _write(self, path: Path, model: nn.Module, state: dict[str, Any], archive: Archive) -> None:
        require_finite_weights(model, state["model_state_dict"])
        is_alone = not self._has_fallback(path)
        write_archive(path, archive, describe(state), read_back=is_alone)
        self._backup.copy(path)
        self._remove_surplus(path)

    def _has_fallback(self, path: Path) -> bool:
        """Whether an epoch's checkpoint besides ``path`` is there, and will stay."""
        others = [c for c in self._folder.readable() if c.path != path and not c.is_step]
        return bool(others) and max(self.keep_best_k, self.keep_last_n) > 1

    def _remove_surplus(self, newly_saved: Path) -> None:
        """Delete what is no longer kept; ``newly_saved`` is."""
        stored = self._folder.readable()
        for checkpoint in surplus(stored, self.keep_best_k, self.keep_last_n, self.mode):
            if checkpoint.path == newly_saved:
                continue
            try:
                checkpoint.path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s is no longer needed, but stays: %s.", checkpoint.path, error)
            self._backup.remove(checkpoint.path)
        remove_orphans(self.checkpoint_dir)

    def _read_best(self) -> dict[str, Any]:
        while True:
            path = self._folder.best_to_load()
            with suppress(FileNotFoundError):  # a training process cleared it away meanwhile
                return self._read(path)

    def _read(self, path: Path) -> dict[str, Any]:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}. {self._folder.advice(path)}")
        try:
            state = read_checkpoint(path)
            require_structure(path, state)
        except CorruptCheckpointError as error:
            raise CorruptCheckpointError(f"{error} {self._folder.advice(path)}") from error
        return self._completed(path, state)

    def _completed(self, path: Path, state: dict[str, Any]) -> dict[str, Any]:
        """Put in what lies beside the file, in shards."""
        return assembled(path, state)


def _create_backup(is_wanted: bool, path: str | Path | None) -> DriveBackup | NoBackup:
    if not is_wanted:
        return NoBackup()
    if not path:
        raise ValueError(
            "drive_backup is True without a drive_backup_path; give the folder for the copies."
        )
    return DriveBackup(Path(path))
