"""Timing a runner between two hand-written runs, so that a noisy machine cancels out."""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.workloads import Job, StepClock, Workload, run_by_hand

NUM_WARMUP_STEPS = 10
NUM_REPEATS = 7
NUM_STEPS = {("MLP", 1): 400, ("MLP", 4): 200, ("GPT-2", 1): 80, ("GPT-2", 4): 30}

Runner = Callable[[Job], None]


def milliseconds_per_step(
    runner: Runner, workload: Workload, accumulation_steps: int, *, is_logging: bool = False
) -> float:
    """Time one run."""
    num_steps = NUM_STEPS[workload.name, accumulation_steps] + NUM_WARMUP_STEPS + 1
    with tempfile.TemporaryDirectory() as folder:
        job = Job(workload, num_steps, accumulation_steps, is_logging, Path(folder))
        gc.collect()
        clock = StepClock()
        with clock.running():
            runner(job)
    return 1e3 * clock.seconds_per_step(NUM_WARMUP_STEPS)


def paired(
    runners: Mapping[str, Runner],
    workload: Workload,
    accumulation_steps: int,
    *,
    is_logging: bool = False,
) -> dict[str, tuple[float, float]]:
    """Time each runner between two hand-written runs; medians of (ratio, milliseconds over it)."""
    measure = partial(
        milliseconds_per_step,
        workload=workload,
        accumulation_steps=accumulation_steps,
        is_logging=is_logging,
    )
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    before = measure(run_by_hand)
    for _ in range(NUM_REPEATS):
        for name, runner in runners.items():
            own = measure(runner)
            after = measure(run_by_hand)
            base = (before + after) / 2
            samples[name].append((own / base, own - base))
            before = after
    return {
        name: tuple(statistics.median(column) for column in zip(*values, strict=True))
        for name, values in samples.items()
    }
