"""A run in a process of its own, for the demonstration to interrupt and to resume.

    python -m services.trainer.demo.child TASK FOLDER STOP_EPOCH

It says ``ready`` in the middle of epoch STOP_EPOCH, and resumes from what it finds in FOLDER.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import torch

from services.trainer.demo.task import DemoTask

READY = "ready"
_READY_BATCH = 10


class Announce:
    """Tells the parent when the run is in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._is_there = False

    def on_epoch_start(self, epoch: int) -> None:
        """Note that the epoch has come."""
        self._is_there = epoch == self._epoch

    def on_batch_end(self, batch_idx: int, loss: float) -> None:  # noqa: ARG002 - the hook's form
        """Tell the parent, once."""
        if self._is_there and batch_idx >= _READY_BATCH:
            self._is_there = False
            sys.stdout.write(f"{READY}\n")
            sys.stdout.flush()


def main() -> None:
    """Train, from the newest checkpoint where there is one."""
    task, folder, stop_epoch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    logging.basicConfig(level=logging.ERROR)  # the first run has shown its alerts
    torch.set_num_threads(1)  # as the parent: sums in another order differ in the last bit
    demo = DemoTask(task)
    demo.trainer(folder, Announce(stop_epoch)).train(
        demo.sample.train, demo.sample.validation, resume_from="auto"
    )


if __name__ == "__main__":
    main()
