"""Going on from a checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from utils.training.engine.run.former_runs import set_aside_newer
from utils.training.engine.run.run import Run

logger = logging.getLogger(__name__)

NEWEST = "auto"


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
        RuntimeError: the file is damaged, or belongs to another model.
    """
    path = run.checkpoints.latest() if resume_from == NEWEST else resume_from
    if path is None:
        if run.world.is_first:
            set_aside_newer(run.checkpoints.checkpoint_dir, None)
        return
    saved = run.checkpoints.load(Path(path), restore_rng=False)
    run.model.load_state_dict(saved["model_state_dict"])
    run.optimizer.load_state_dict(saved["optimizer_state_dict"])
    if saved["scheduler_state_dict"]:
        run.scheduler.load_state_dict(saved["scheduler_state_dict"])
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


def _restore_position(run: Run, saved: dict[str, Any]) -> None:
    custom = saved.get("custom_state") or {}
    if "position" in custom:
        run.load_state_dict(custom)
    else:
        run.state.epoch = saved["epoch"] + 1
