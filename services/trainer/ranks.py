"""The processes that a job asks for: one, or ranks that torchrun starts and restarts on nodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.trainer.settings import TrainerSettings
from utils.training.arguments import is_whole
from utils.training.errors import InvalidConfigError

RUN = "services.trainer.run"
_MAX_RESTARTS = 3  # of all ranks, each from the newest whole checkpoint
_MOST_RANKS = 64  # of a node


@dataclass(frozen=True)
class Size:
    """How many processes a job runs as."""

    ranks: int = 1  # on each node
    nodes: int = 1


@dataclass(frozen=True)
class Rendezvous:
    """Where the ranks of several nodes meet: a store on the leader."""

    endpoint: str
    name: str  # of the attempt: no other's ranks can come in
    address: str  # of the node that joins
    is_host: bool
    seconds: float  # for all to come


def size_of(resources: dict[str, Any] | None, settings: TrainerSettings) -> Size:
    """Read how many processes a job's ``resources`` ask for: one a GPU, on each node.

    Raises:
        InvalidConfigError: a ValueError that lists every fault, and what this trainer has.
    """
    wanted = {"gpus": 1, "nodes": 1} | (resources or {})
    most_ranks, most_nodes = settings.gpus or _MOST_RANKS, max(1, len(settings.group))
    faults = []
    if not _is_count(wanted["gpus"], 0, most_ranks):
        faults.append(
            f"resources.gpus is {wanted['gpus']!r}, allowed on this trainer is a whole number "
            f"from 0 to {most_ranks}, of one node."
        )
    if not _is_count(wanted["nodes"], 1, most_nodes):
        allowed = f"a whole number from 1 to {most_nodes}" if most_nodes > 1 else "1"
        faults.append(
            f"resources.nodes is {wanted['nodes']!r}, allowed on this trainer is {allowed}; a pool "
            "of trainers with more nodes takes more."
        )
    if faults:
        raise InvalidConfigError(faults)
    return Size(max(1, int(wanted["gpus"])), int(wanted["nodes"]))


def command(size: Size, rendezvous: Rendezvous | None = None) -> Sequence[str]:
    """How a node's part of a run is started; without a rendezvous the node is alone."""
    if size == Size():
        return [sys.executable, "-m", RUN]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *(["--standalone"] if rendezvous is None else _joining(rendezvous, size)),
        "--nproc-per-node",
        str(size.ranks),
        "--max-restarts",
        str(_MAX_RESTARTS),
        "-m",
        RUN,
    ]


def _joining(rendezvous: Rendezvous, size: Size) -> list[str]:
    settings = {"is_host": int(rendezvous.is_host), "join_timeout": round(rendezvous.seconds)}
    return [
        "--nnodes",
        str(size.nodes),
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        rendezvous.endpoint,
        "--rdzv-id",
        rendezvous.name,
        "--rdzv-conf",
        ",".join(f"{name}={value}" for name, value in settings.items()),
        "--local-addr",
        rendezvous.address,
    ]


def _is_count(value: Any, least: int, most: int) -> bool:
    return is_whole(value, least) and value <= most
