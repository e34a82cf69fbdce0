"""Checkpoints that a run will not go on from: moved out of its way, never deleted."""

from __future__ import annotations

import logging
import math
import re
from datetime import UTC, datetime
from pathlib import Path

from utils.training.engine.checkpoint.shards import SUFFIX, owner_of

logger = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint_epoch(\d+)(?:_step(\d+))?\.pt")


def set_aside_newer(folder: Path, resumed: Path | None) -> Path | None:
    """Move the checkpoints behind the resumed one into a subfolder, and return it.

    A run that starts afresh, or from an older checkpoint, takes another course than the files it
    finds further on. Left there, they would be ranked with its own, and resumed by mistake.

    Args:
        folder: where the run saves.
        resumed: what it goes on from; None, or a file elsewhere, moves them all.
    """
    start = -math.inf, -math.inf
    if resumed is not None and resumed.resolve().parent == folder.resolve():
        start = _position(resumed)
    newer = [path for path in folder.glob("checkpoint_epoch*.pt") if _position(path) > start]
    if not newer:
        return None
    target = folder / f"former-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    target.mkdir()
    beside = list(folder.glob(f"*{SUFFIX}"))
    for path in newer:
        for shards in beside:
            if owner_of(shards) == path:
                shards.rename(target / shards.name)
        path.rename(target / path.name)
    logger.warning(
        "%d checkpoints of a former run in %s are not what this run goes on from; moved to %s. "
        "resume_from='auto' goes on from the newest.",
        len(newer),
        folder,
        target,
    )
    return target


def _position(path: Path) -> tuple[float, float]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return -math.inf, -math.inf
    return float(match[1]), float(match[2]) if match[2] else math.inf
