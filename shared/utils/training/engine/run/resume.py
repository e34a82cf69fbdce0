"""Going on from a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from utils.training.engine.run.former_runs import set_aside_newer
from utils.training.engine.run.run import Run
from utils.training.errors import TrainingError

logger = logging.getLogger(__name__)

NEWEST = "auto"
_OPTIONAL_SETTINGS = {"params", "param_names", "initial_lr"}  # of a parameter group


class ResumeError(TrainingError, RuntimeError):
    """A checkpoint that was saved with another model, optimizer or schedule."""

    def __init__(self, path: str | Path, part: str, reason: str) -> None:
        super().__init__(
            f"The {part} in {path} does not fit this run's: {reason}. Resume with the model and "
            "configuration that were saved, or start afresh without resume_from."
        )


def resume(run: Run, resume_from: str | Path | None) -> None:
    """Put a run where a checkpoint has it.

    A checkpoint that a Trainer wrote restores everything. One that was saved by hand gives
    weights, optimizer, schedule and generators, and the run goes on with the epoch after its own.
    Checkpoints further on in the folder belong to another course and are moved aside.

    Args:
        run: freshly created.
        resume_from: a path; ``"auto"`` is the newest whole checkpoint, if any; None starts afresh.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptCheckpointError: a RuntimeError; the file is damaged.
        ResumeError: a RuntimeError; it belongs to another model or optimizer.
    """
    path = run.checkpoints.latest() if resume_from == NEWEST else resume_from
    if path is None:
        if run.world.is_first:
            set_aside_newer(run.checkpoints.checkpoint_dir, None)
        return
    saved = run.checkpoints.load(Path(path), restore_rng=False)
    _load(run, saved, path)
    run.resumed_generators = saved["rng_state"]
    _restore_position(run, saved)
    run.world.any(False)  # all have read it
    if run.world.is_first:
        set_aside_newer(run.checkpoints.checkpoint_dir, Path(path))
    logger.info(
        "Resumed from %s: epoch %d, batch %d, optimizer step %d.",
        path,
        run.state.epoch,
        run.state.batch,
        run.global_step,
    )


def _load(run: Run, saved: dict[str, Any], path: str | Path) -> None:
    """Give model, optimizer and schedule their states, or say which one is another's."""
    _refuse_other_optimizer(run.optimizer, saved["optimizer_state_dict"], path)
    parts: dict[str, Any] = {
        "model": run.model,
        "optimizer": run.optimizer,
        "scheduler": run.scheduler,
    }
    for name, part in parts.items():
        state = saved[f"{name}_state_dict"]
        if name == "scheduler" and not state:
            continue
        try:
            part.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ResumeError(path, name, " ".join(str(error).rstrip(".").split())) from error


def _refuse_other_optimizer(optimizer: Optimizer, state: dict[str, Any], path: str | Path) -> None:
    """Compare the settings of both: torch takes any state with as many parameters, and fails later.

    A setting that one of them has more is another version's; each having its own is another kind.

    Raises:
        ResumeError: a RuntimeError; they are of two kinds.
    """
    own, saved = (
        {name for group in groups for name in group} - _OPTIONAL_SETTINGS
        for groups in (optimizer.param_groups, state["param_groups"])
    )
    if own - saved and saved - own:
        reason = f"it has {', '.join(sorted(saved))}, and {type(optimizer).__name__} has "
        raise ResumeError(path, "optimizer", f"{reason}{', '.join(sorted(own))}")


def _restore_position(run: Run, saved: dict[str, Any]) -> None:
    custom = saved.get("custom_state") or {}
    if "position" in custom:
        run.load_state_dict(custom)
    else:
        run.state.epoch = saved["epoch"] + 1
