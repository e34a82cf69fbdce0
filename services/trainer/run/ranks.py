"""Several ranks that do one job: the first tells and writes, the others only train."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from services.trainer.order import OUTCOME, Order
from services.trainer.process import die_with
from utils.training.errors import TrainingError

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_FIRST_GRACE_SECONDS = 60.0  # it has a checkpoint to upload


def rank() -> int:
    """This process's number, 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


def num_ranks() -> int:
    """How many processes do the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def require_first_on_leader(order: Order) -> None:
    """Refuse to be the first rank on a node that does not hold the claim.

    Raises:
        TrainingError: torchrun has numbered the nodes otherwise than by their sorted addresses.
    """
    if rank() == 0 and not order.is_leader:
        raise TrainingError(
            "The first rank is on a node that follows, and wanted is the leader's; give the leader "
            "the address that sorts first."
        )


def end_with_the_others(folder: Path) -> None:
    """End with the launcher, and soon after this node's outcome is written, by whichever rank.

    A rank may fail before it meets the others, who would wait for it.
    """
    if num_ranks() == 1:
        return
    die_with(os.getppid())
    arguments = (folder / OUTCOME, time.time(), _GRACE_SECONDS if rank() else _FIRST_GRACE_SECONDS)
    threading.Thread(target=_watch, args=arguments, name="outcome", daemon=True).start()


def _watch(outcome: Path, since: float, grace_seconds: float) -> None:
    while not (outcome.exists() and outcome.stat().st_mtime >= since):
        time.sleep(_LOOK_SECONDS)
    time.sleep(grace_seconds)
    os._exit(0)
