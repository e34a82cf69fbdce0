"""Timing calls in turns, so that a noisy machine treats all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

NUM_WARMUPS = 3


def interleaved_milliseconds(
    calls: Mapping[str, Callable[[], object]], num_repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Time each call once a turn: CPU time on the CPU, else wall time until the work is done."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(num_repeats + NUM_WARMUPS):
        for name, call in calls.items():
            milliseconds = _milliseconds(call, device)
            if turn >= NUM_WARMUPS:
                samples[name].append(milliseconds)
    return samples


def _milliseconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        call()
        return 1e3 * (time.process_time() - start)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of each turn."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
