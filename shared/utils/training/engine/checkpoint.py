"""Checkpoints: the whole training state on disk, verified, ranked and kept within bounds."""

from __future__ import annotations

import json
import logging
import math
import operator
import re
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from utils.training.engine.atomic_file import remove_leftovers
from utils.training.engine.checkpoint_file import (
    MAX_METADATA_BYTES,
    CorruptCheckpointError,
    is_whole,
    read_checkpoint,
    read_metadata,
    write_checkpoint,
)
from utils.training.engine.drive_backup import DriveBackup, NoBackup
from utils.training.engine.plain_values import to_json_value, to_plain
from utils.training.engine.retention import StoredCheckpoint, best_first, newest_first, surplus
from utils.training.engine.staging import HostBuffers, is_on_host
from utils.training.errors import TrainingError
from utils.training.seed_manager import capture_rng_state, restore_rng_state

logger = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"checkpoint_epoch(\d{4,})(?:_step(\d{8,}))?\.pt")
_REQUIRED_KEYS = (
    "epoch",
    "global_step",
    "model_state_dict",
    "optimizer_state_dict",
    "scheduler_state_dict",
    "metrics",
    "rng_state",
    "custom_state",
)


class NonFiniteWeightsError(TrainingError, RuntimeError):
    """Weights with NaN or Inf, which are never saved."""


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a listing tells of a checkpoint, read without its tensors.

    ``best_metric`` is the monitored metric of this checkpoint, NaN where it has none. ``metrics`` and
    ``config`` are JSON (NaN as null); ``config`` is ``custom_state["config"]``. Both are None where
    they are too long for a listing; the state has them in full.
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
    values alone, so that loading it runs no code. After each save the best ``keep_best_k`` and the
    last ``keep_last_n`` epochs stay.

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
        _require_at_least("keep_best_k", keep_best_k, 0)
        _require_at_least("keep_last_n", keep_last_n, 1)
        _require_at_least("save_interval_epochs", save_interval_epochs, 1)
        if mode not in {"min", "max"}:
            raise ValueError(f"mode is {mode!r}, allowed is 'min' or 'max'.")
        if drive_backup and not drive_backup_path:
            raise ValueError(
                "drive_backup is True without a drive_backup_path; give the folder for the copies."
            )
        self.checkpoint_dir = Path(checkpoint_dir)
        self.keep_best_k = keep_best_k
        self.keep_last_n = keep_last_n
        self.monitor = monitor
        self.mode: Literal["min", "max"] = mode
        self.save_interval_epochs = save_interval_epochs
        self._backup = DriveBackup(Path(drive_backup_path)) if drive_backup else NoBackup()
        self._buffers = HostBuffers()
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.checkpoint_dir)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        epoch: int,
        metrics: dict[str, float],
        global_step: int | None = None,
        custom_state: dict[str, Any] | None = None,
        blocking: bool = True,
    ) -> Path:
        """Save the state at the end of an epoch, under ``checkpoint_epoch0005.pt``.

        Args:
            scheduler: anything with ``state_dict()``, or None.
            epoch: 0 or more; an epoch saved twice replaces its file.
            metrics: must have the monitored one.
            custom_state: kept as tensors and plain values (see ``plain_values.to_plain``).
            blocking: False returns once the state is copied to host memory, and writes in the
                background; the next save, load, :meth:`wait` or :meth:`close` raises what fails there.

        Returns:
            The file's path; with ``blocking=False`` it appears there when it is whole.

        Raises:
            ValueError: ``metrics`` lacks the monitored metric, or it is no number.
            TypeError: a value has no plain form.
            NonFiniteWeightsError: a weight is NaN or Inf; nothing is written.
            OSError: the disk is full; nothing is left behind.
        """
        if self.monitor not in metrics:
            raise ValueError(
                f"The metrics lack '{self.monitor}', which ranks the checkpoints; "
                f"given: {', '.join(map(str, metrics)) or 'none'}."
            )
        epoch = _require_at_least("epoch", epoch, 0)
        path = self.checkpoint_dir / f"checkpoint_epoch{epoch:04d}.pt"
        value = _as_number(self.monitor, metrics[self.monitor])
        state = self._state(model, optimizer, scheduler, epoch, metrics, global_step, custom_state)
        state["monitor_value"] = value
        self._submit(path, state, _buffer_names(model), blocking=blocking)
        return path

    def save_step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        epoch: int,
        global_step: int,
        custom_state: dict[str, Any] | None = None,
        metrics: dict[str, float] | None = None,
        blocking: bool = True,
    ) -> Path:
        """Save the state within an epoch, under ``checkpoint_epoch0005_step00001234.pt``.

        It needs no metric and is never best; it is there to resume from, and goes when a newer
        checkpoint is on disk. Everything else is as in :meth:`save`.
        """
        epoch = _require_at_least("epoch", epoch, 0)
        global_step = _require_at_least("global_step", global_step, 0)
        path = self.checkpoint_dir / f"checkpoint_epoch{epoch:04d}_step{global_step:08d}.pt"
        state = self._state(
            model, optimizer, scheduler, epoch, metrics or {}, global_step, custom_state
        )
        self._submit(path, state, _buffer_names(model), blocking=blocking)
        return path

    def load(
        self, checkpoint_path: str | Path | None = None, restore_rng: bool = True
    ) -> dict[str, Any]:
        """Verify and read a checkpoint; tensors are on the CPU.

        Args:
            checkpoint_path: None takes the best checkpoint, or the newest where none is ranked.
            restore_rng: put the generators of Python, NumPy and PyTorch where they were at the save.

        Returns:
            The state, with the keys that :meth:`save` wrote.

        Raises:
            FileNotFoundError: no such file, or no checkpoint in the folder.
            CorruptCheckpointError: the file is not what was written (a RuntimeError); its text names
                the newest intact checkpoint.
        """
        self.wait()
        path = self._best_to_load() if checkpoint_path is None else Path(checkpoint_path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no checkpoint {path}; {self._advice(path)}")
        try:
            state = read_checkpoint(path)
            _require_structure(path, state)
        except CorruptCheckpointError as error:
            raise CorruptCheckpointError(f"{error} {self._advice(path)}") from error
        if restore_rng:
            restore_rng_state(state["rng_state"])
        return state

    def get_best(self) -> Path | None:
        """The checkpoint with the best monitored metric; of equal ones the later epoch."""
        self.wait()
        ranked = best_first(self._stored()[0], self.mode)
        return ranked[0].path if ranked else None

    def latest(self) -> Path | None:
        """The newest checkpoint whose every byte is right; warns of newer ones that are corrupted."""
        self.wait()
        return self._newest_whole(excluded=None)

    def list_checkpoints(self) -> list[CheckpointMetadata]:
        """What is there, the last epoch first; reads no tensor."""
        self.wait()
        return [
            CheckpointMetadata(
                epoch=c.epoch,
                global_step=c.global_step,
                best_metric=c.value,
                timestamp=c.metadata["timestamp"],
                git_commit=c.metadata["git_commit"],
                metrics=c.metadata["metrics"],
                config=c.metadata["config"],
            )
            for c in newest_first(self._stored()[0])
        ]

    def wait(self) -> None:
        """Wait for the save in the background, and raise what it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait for the save in the background, and give its memory and thread back."""
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
        command = ["git", "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S607 - wherever git is
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    def _state(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        epoch: int,
        metrics: dict[str, float],
        global_step: int | None,
        custom_state: dict[str, Any] | None,
    ) -> dict[str, Any]:
        parts = {
            "epoch": epoch,
            "global_step": _require_at_least("global_step", global_step or 0, 0),
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": {} if scheduler is None else scheduler.state_dict(),
            "metrics": {name: _as_number(name, value) for name, value in metrics.items()},
            "monitor": self.monitor,
            "monitor_value": None,
            "rng_state": capture_rng_state(),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "git_commit": self._git_commit,
            "custom_state": custom_state or {},
        }
        return {name: to_plain(part, name) for name, part in parts.items()}

    def _submit(
        self, path: Path, state: dict[str, Any], buffer_names: set[str], *, blocking: bool
    ) -> None:
        self.wait()  # the staging memory is free only now
        if not blocking or not is_on_host(state):
            state = self._buffers.snapshot(state)
        if blocking:
            self._write(path, state, buffer_names)
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending = self._writer.submit(self._write, path, state, buffer_names)

    def _write(self, path: Path, state: dict[str, Any], buffer_names: set[str]) -> None:
        _require_finite_weights(path, state["model_state_dict"], buffer_names)
        write_checkpoint(path, state, _metadata_of(state))
        self._backup.copy(path)
        self._remove_surplus(path)

    def _remove_surplus(self, newest_saved: Path) -> None:
        """Delete what is no longer kept; ``newest_saved`` was read back and is whole."""
        stored, _ = self._stored()
        for checkpoint in surplus(stored, self.keep_best_k, self.keep_last_n, self.mode):
            if checkpoint.path == newest_saved:
                continue
            try:
                checkpoint.path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s is no longer needed, but stays: %s.", checkpoint.path, error)
            self._backup.remove(checkpoint.path)

    def _stored(self) -> tuple[list[StoredCheckpoint], list[Path]]:
        """The checkpoints in the folder, and the files under such names that are none."""
        stored, corrupted = [], []
        for path in sorted(self.checkpoint_dir.glob("checkpoint_epoch*.pt")):
            match = _FILE_NAME.fullmatch(path.name)
            if match is None:
                continue
            try:
                metadata = read_metadata(path)
            except FileNotFoundError:  # another process cleared it away
                continue
            except CorruptCheckpointError as error:
                corrupted.append(path)
                logger.warning("%s It is left out.", error)
                continue
            stored.append(
                StoredCheckpoint(
                    path=path,
                    epoch=metadata["epoch"],
                    global_step=metadata["global_step"],
                    is_step=match[2] is not None,
                    value=self._value_of(metadata),
                    metadata=metadata,
                )
            )
        return stored, corrupted

    def _value_of(self, metadata: dict[str, Any]) -> float:
        """The monitored metric, also where the file was saved under another monitor."""
        if metadata["monitor"] == self.monitor:
            return float(metadata["monitor_value"])
        value = json.loads(metadata["metrics"] or "{}").get(self.monitor)
        return math.nan if value is None else float(value)

    def _best_to_load(self) -> Path:
        stored, corrupted = self._stored()
        if corrupted:
            raise CorruptCheckpointError(
                f"The best checkpoint can't be told, for {corrupted[-1]} is truncated or corrupted. "
                f"{self._advice(corrupted[-1])}"
            )
        ranked = best_first(stored, self.mode) or newest_first(stored)
        if not ranked:
            raise FileNotFoundError(
                f"There is no checkpoint in {self.checkpoint_dir}; save one first, or give a path."
            )
        return ranked[0].path

    def _newest_whole(self, excluded: Path | None) -> Path | None:
        for checkpoint in newest_first(self._stored()[0]):
            if checkpoint.path == excluded:
                continue
            if is_whole(checkpoint.path):
                return checkpoint.path
            logger.warning("%s is corrupted; looking for an older one.", checkpoint.path)
        return None

    def _advice(self, path: Path) -> str:
        intact = self._newest_whole(excluded=path)
        if intact is None:
            return f"There is no intact checkpoint in {self.checkpoint_dir}."
        return f"The newest intact checkpoint is {intact}: load that one, and delete the other."


def _require_at_least(name: str, value: Any, least: int) -> int:
    """``value`` as an int.

    Raises:
        ValueError: it is no whole number, or below ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, allowed is a whole number from {least}.")
    return number


def _as_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"The metric '{name}' is {value!r}, allowed is a number or a tensor of one element."
        ) from error


def _buffer_names(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_buffers(remove_duplicate=False)}


def _require_finite_weights(
    path: Path, model_state: dict[str, Tensor], buffer_names: set[str]
) -> None:
    """Refuse NaN and Inf in parameters and NaN in buffers, where -inf is a mask's usual value."""
    tensors = {
        name: value
        for name, value in model_state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel()
    }
    if not tensors:
        return
    norms = torch._foreach_norm(list(tensors.values()), dtype=torch.float32)
    suspects = [
        name
        for name, norm in zip(tensors, torch.stack(norms).tolist(), strict=True)
        if not math.isfinite(norm)
    ]
    for name in suspects:  # a norm may also overflow over finite weights
        weights = tensors[name]
        bad = weights.isnan() if name in buffer_names else ~weights.isfinite()
        if bad.any():
            raise NonFiniteWeightsError(
                f"{name} has {int(bad.sum())} values that are NaN or Inf; {path.name} was not "
                "written. Go back to the newest checkpoint, with a lower learning rate."
            )


def _metadata_of(state: dict[str, Any]) -> dict[str, Any]:
    value = state["monitor_value"]
    metadata = {
        "epoch": state["epoch"],
        "global_step": state["global_step"],
        "monitor": state["monitor"],
        "monitor_value": repr(math.nan if value is None else value),
        "timestamp": state["timestamp"],
        "git_commit": state["git_commit"],
        "metrics": json.dumps(to_json_value(state["metrics"]), allow_nan=False),
        "config": None,
    }
    if "config" in state["custom_state"]:
        metadata["config"] = json.dumps(to_json_value(state["custom_state"]["config"]))
    for longest in ("config", "metrics"):
        if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
            metadata[longest] = None
    return metadata


def _require_structure(path: Path, state: Any) -> None:
    missing = [key for key in _REQUIRED_KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise CorruptCheckpointError(f"{path} lacks {', '.join(missing)}: it is no training state.")
