"""Data: reproducible loaders, positions in them, and collators by modality."""

from utils.training.engine.data.batch import batch_size_of, to_device
from utils.training.engine.data.default_collator import DefaultCollator
from utils.training.engine.data.factory import DataLoaderConfig, DataLoaderFactory
from utils.training.engine.data.loader import ResumableDataLoader
from utils.training.engine.data.module import UniversalDataModule
from utils.training.engine.data.position import (
    capture_epoch_start,
    capture_loader_state,
    iterate,
    restore_loader_state,
)
from utils.training.engine.data.registry import CollatorInfo, CollatorRegistry
from utils.training.engine.data.sampler import EpochSampler
from utils.training.engine.data.stacking import CollateError
from utils.training.engine.data.text_collator import LanguageModelingDataCollator
from utils.training.engine.data.vision_collator import VisionDataCollator

__all__ = [
    "CollateError",
    "CollatorInfo",
    "CollatorRegistry",
    "DataLoaderConfig",
    "DataLoaderFactory",
    "DefaultCollator",
    "EpochSampler",
    "LanguageModelingDataCollator",
    "ResumableDataLoader",
    "UniversalDataModule",
    "VisionDataCollator",
    "batch_size_of",
    "capture_epoch_start",
    "capture_loader_state",
    "iterate",
    "restore_loader_state",
    "to_device",
]
