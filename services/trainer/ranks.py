"""The processes that a job asks for: one, or several ranks that torchrun starts and restarts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from utils.training.errors import InvalidConfigError

RUN = "services.trainer.run"
_MAX_RESTARTS = 3  # of all ranks, each from the newest whole checkpoint
_MOST_RANKS = 64


def num_ranks(resources: dict[str, Any] | None) -> int:
    """Read how many processes a job's ``resources`` ask for: one a GPU, on one node.

    Raises:
        InvalidConfigError: a ValueError that lists every fault.
    """
    wanted = {"gpus": 1, "nodes": 1} | (resources or {})
    faults = []
    if not _is_count(wanted["gpus"], 0):
        faults.append(
            f"resources.gpus is {wanted['gpus']!r}, allowed is a whole number from 0 to "
            f"{_MOST_RANKS}."
        )
    if not _is_count(wanted["nodes"], 1):
        faults.append(f"resources.nodes is {wanted['nodes']!r}, allowed is 1.")
    elif wanted["nodes"] > 1:
        faults.append(
            f"resources.nodes is {wanted['nodes']}, allowed is 1: a trainer starts the ranks of "
            "its own node. Ask for one node with more GPUs, or run the training script on each "
            "node under torchrun with a c10d rendezvous."
        )
    if faults:
        raise InvalidConfigError(faults)
    return max(1, int(wanted["gpus"]))


def command(ranks: int) -> Sequence[str]:
    """How a run is started over so many processes."""
    if ranks == 1:
        return [sys.executable, "-m", RUN]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(ranks),
        "--max-restarts",
        str(_MAX_RESTARTS),
        "-m",
        RUN,
    ]


def _is_count(value: Any, least: int) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and least <= value <= _MOST_RANKS
