"""The runs that the tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.training.engine.distributed import worker
from tests.training.engine.distributed.launching import (
    DISTURBED,
    launch,
    order,
    step_checkpoint,
)


@dataclass(frozen=True)
class Runs:
    """Where each run's results and checkpoints are."""

    alone: Path
    four: Path
    two: Path


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """One process, 4 ranks, and 2 ranks that also go on from what the 4 left halfway."""
    folder = tmp_path_factory.mktemp("ranks")
    alone, four, two = (folder / name for name in ("alone", "four", "two"))
    worker.run(order(alone, 1))
    orders = [order(four / s, 4, s, own_weights=True) for s in ("ddp", "fsdp")]
    orders += [order(four / f"half-{s}", 4, s, stop_after=2) for s in ("ddp", "fsdp")]
    launch(four, orders, 4)
    orders = [order(two / s, 2, s, own_weights=True) for s in ("ddp", "fsdp")]
    orders += [
        order(
            two / f"{before}-{after}",
            2,
            after,
            resume_from=str(step_checkpoint(four / f"half-{before}")),
        )
        for before in ("ddp", "fsdp")
        for after in ("ddp", "fsdp")
    ]
    orders.append(order(two / "undisturbed", 2, **DISTURBED))
    bundle = {"export_bundle": True, "export_formats": ["onnx"], "ema_decay": 0.5}
    bundle |= {"export_dir": str(two / "exports"), "save_safetensors": True}
    orders.append(order(two / "exported", 2, "fsdp", config=bundle))
    launch(two, orders, 2)
    return Runs(alone, four, two)
