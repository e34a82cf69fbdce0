"""Starts of real ranks as a user starts them, and what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.training.engine.distributed import worker

ROOT = Path(__file__).parents[4]
SAMPLES = 37  # no number of ranks divides it, and the last batches are short
GLOBAL_BATCH = 4


def command(orders, num_ranks, *options):
    """How a user starts the script over so many ranks."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", *options]
    return [*launcher, "--nproc-per-node", str(num_ranks), worker.__file__, str(orders)]


def environment():
    """Where the ranks find the library, with one thread each."""
    path = f"{ROOT / 'shared'}:{ROOT}"
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def write(folder, orders):
    """Put the orders where the ranks read them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "orders.json"
    path.write_text(json.dumps(orders))
    return path


def launch(folder, orders, num_ranks, *options, check=True):
    """Run orders one after another in one start of the ranks."""
    return subprocess.run(
        command(write(folder, orders), num_ranks, *options),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=check,
    )


def order(folder, num_ranks, strategy="auto", **changes):
    """Training over two epochs in windows of 3, the samples of a step the same on any ranks."""
    config = {
        "epochs": 2,
        "batch_size": GLOBAL_BATCH // num_ranks,
        "learning_rate": 0.01,
        "gradient_accumulation_steps": 3,
        "strategy": strategy,
    }
    return {
        "folder": str(folder),
        "samples": SAMPLES,
        **changes,
        "config": config | changes.get("config", {}),
    }


def result(folder, rank=0):
    """What a rank left."""
    return torch.load(Path(folder) / f"result{rank}.pt", weights_only=True)


# Dropout, and a checkpoint every second step.
DISTURBED = {
    "dropout": 0.3,
    "config": {"epochs": 3, "save_interval_steps": 2, "deterministic": True},
}


def step_checkpoint(folder):
    """The checkpoint that a run left in the middle of an epoch."""
    (path,) = (Path(folder) / "checkpoints").glob("checkpoint_epoch*_step*.pt")
    return path
