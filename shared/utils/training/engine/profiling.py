"""`torch.profiler` over a few early steps, by one flag."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

logger = logging.getLogger(__name__)

WAIT_STEPS, WARMUP_STEPS, ACTIVE_STEPS = 3, 2, 5


class StepProfiler(Protocol):
    """What is told of each optimizer step."""

    def step(self) -> None:
        """Note that a step has ended."""


class NullProfiler:
    """Profiles nothing."""

    def step(self) -> None:
        """Note nothing."""


@contextmanager
def profiling(enabled: bool, folder: str) -> Iterator[StepProfiler]:
    """Profile steps 6 to 10 of the context into ``folder``, as Chrome traces.

    The trace opens in Perfetto or chrome://tracing.
    """
    if not enabled:
        yield NullProfiler()
        return
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(wait=WAIT_STEPS, warmup=WARMUP_STEPS, active=ACTIVE_STEPS, repeat=1),
        on_trace_ready=lambda finished: _write(finished, Path(folder)),
        profile_memory=True,
    ) as profiler:
        yield profiler


def _write(finished: profile, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"trace_step{finished.step_num:06d}.json"
    finished.export_chrome_trace(str(path))
    logger.info("Wrote the profile of %d steps to %s.", ACTIVE_STEPS, path)
