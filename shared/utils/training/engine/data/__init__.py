"""Data: reproducible loaders, positions in them, and collators by modality."""

from utils.training.engine.data.batch import batch_size_of, to_device
from utils.training.engine.data.loader import ResumableDataLoader
from utils.training.engine.data.position import (
    capture_epoch_start,
    capture_loader_state,
    iterate,
    restore_loader_state,
)
from utils.training.engine.data.sampler import EpochSampler

__all__ = [
    "EpochSampler",
    "ResumableDataLoader",
    "batch_size_of",
    "capture_epoch_start",
    "capture_loader_state",
    "iterate",
    "restore_loader_state",
    "to_device",
]
