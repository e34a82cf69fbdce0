"""The training engine: each part stands alone, and the Trainer joins them."""

from utils.training.drift_metrics import DriftMetrics
from utils.training.engine.checkpoint import CheckpointManager, CheckpointMetadata
from utils.training.engine.data import (
    CollatorInfo,
    CollatorRegistry,
    DataLoaderConfig,
    DataLoaderFactory,
    LanguageModelingDataCollator,
    ResumableDataLoader,
    UniversalDataModule,
    VisionDataCollator,
)
from utils.training.engine.gradient_accumulator import AccumulationStats, GradientAccumulator
from utils.training.engine.gradient_health import GradientHealth
from utils.training.engine.gradient_monitor import GradientMonitor, check_gradient_health
from utils.training.engine.hooks import TrainingHooks
from utils.training.engine.interrupt import TrainingInterrupted
from utils.training.engine.loop import TrainingLoop, ValidationLoop
from utils.training.engine.loss import (
    ClassificationLoss,
    LanguageModelingLoss,
    LossInputs,
    LossStrategy,
    LossStrategyRegistry,
    LossTerms,
    PEFTAwareLoss,
    QuantizationSafeLoss,
    VisionLoss,
    get_loss_strategy,
    loss_terms,
)
from utils.training.engine.metrics import MetricsEngine
from utils.training.engine.metrics.alerts import AlertConfig
from utils.training.engine.metrics.confidence import ConfidenceMetrics
from utils.training.engine.outputs import EpochResult, ModelOutput
from utils.training.engine.trainer import Trainer

__all__ = [
    "AccumulationStats",
    "AlertConfig",
    "CheckpointManager",
    "CheckpointMetadata",
    "ClassificationLoss",
    "CollatorInfo",
    "CollatorRegistry",
    "ConfidenceMetrics",
    "DataLoaderConfig",
    "DataLoaderFactory",
    "DriftMetrics",
    "EpochResult",
    "GradientAccumulator",
    "GradientHealth",
    "GradientMonitor",
    "LanguageModelingDataCollator",
    "LanguageModelingLoss",
    "LossInputs",
    "LossStrategy",
    "LossStrategyRegistry",
    "LossTerms",
    "MetricsEngine",
    "ModelOutput",
    "PEFTAwareLoss",
    "QuantizationSafeLoss",
    "ResumableDataLoader",
    "Trainer",
    "TrainingHooks",
    "TrainingInterrupted",
    "TrainingLoop",
    "UniversalDataModule",
    "ValidationLoop",
    "VisionDataCollator",
    "VisionLoss",
    "check_gradient_health",
    "get_loss_strategy",
    "loss_terms",
]
