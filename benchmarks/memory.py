"""Memory over 2,000 optimizer steps, against what is held after a warm-up."""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.figures import Figure
from benchmarks.step import run_trainer
from benchmarks.workloads import MLP, Job

NUM_WARMUP_STEPS = 500
NUM_STEPS = 2000
MIB = 1 << 20


class Marks:
    """Notes the process's memory and live objects after the warm-up and at the end."""

    def __init__(self) -> None:
        self.num_steps = 0
        self.resident: list[int] = []
        self.objects: list[int] = []

    def note(self, *_: object) -> None:
        """Count an optimizer step."""
        self.num_steps += 1
        if self.num_steps in (NUM_WARMUP_STEPS, NUM_WARMUP_STEPS + NUM_STEPS):
            gc.collect()
            # The list of objects is memory itself, so it comes before both readings.
            self.objects.append(len(gc.get_objects()))
            self.resident.append(resident_bytes())


def resident_bytes() -> int:
    """Read the process's resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def _measure(pipe: Connection) -> None:
    torch.set_num_threads(1)
    marks = Marks()
    handle = register_optimizer_step_post_hook(marks.note)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(MLP, NUM_WARMUP_STEPS + NUM_STEPS, 1, True, Path(folder))
        run_trainer(job)
    handle.remove()
    (first, last), (before, after) = marks.resident, marks.objects
    pipe.send((last - first, after - before))


def run() -> list[Figure]:
    """Measure in a process of its own, with hooks, metrics and TensorBoard on."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(theirs,))
    process.start()
    theirs.close()  # so that a process that dies ends the wait
    growth, objects = ours.recv()
    process.join()
    against = f"after {NUM_WARMUP_STEPS} steps"
    return [
        Figure("growth of resident memory", growth / MIB, unit="MiB", at_most=1.0, against=against),
        Figure("new Python objects", float(objects), unit="objects", against=against),
    ]
