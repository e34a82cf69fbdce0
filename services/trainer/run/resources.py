"""What a training holds of the machine: memory, processor time, the GPU."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from typing import TypedDict

import torch

from services.trainer.order import Order
from utils.training.errors import TrainingError

_KIB_IN_MIB = 1024
_BYTES_IN_MIB = 1024**2


class MissingGpusError(TrainingError, OSError):
    """A node that lacks GPUs it is said to have: another node, or a later attempt, may do."""


def require_gpus(order: Order) -> None:
    """Refuse to train on the processor where GPUs are meant.

    Raises:
        MissingGpusError: an OSError; PyTorch sees fewer GPUs than the trainer was told of.
    """
    seen = torch.cuda.device_count()
    if seen < order.gpus:
        raise MissingGpusError(
            f"PyTorch sees {seen} GPUs here, and TRAINING_TRAINER_GPUS is {order.gpus}; see to the "
            "node's driver and device plugin, and that the image is built for CUDA, or take the "
            "setting away to train on processors."
        )


class Usage(TypedDict, total=False):
    """The fields of :class:`~utils.service.contracts.jobs.Progress` that tell of the machine."""

    memory_mb: float
    cpu_utilization: float
    gpu_memory_mb: float
    gpu_utilization: float


class Resources:
    """Measures this process; processor time is that since the last measurement."""

    def __init__(self) -> None:
        self._clock = time.monotonic()
        self._busy = time.process_time()

    def measure(self) -> Usage:
        """Memory at its peak so far, cores in use, and the GPU's share where there is one."""
        clock, busy = time.monotonic(), time.process_time()
        usage: Usage = {
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_IN_MIB,
            "cpu_utilization": (busy - self._busy) / max(clock - self._clock, 1e-9),
        }
        self._clock, self._busy = clock, busy
        if torch.cuda.is_initialized():
            usage["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / _BYTES_IN_MIB
            with suppress(RuntimeError):  # a driver that keeps no account, as in a MIG slice
                usage["gpu_utilization"] = torch.cuda.utilization() / 100
        return usage
