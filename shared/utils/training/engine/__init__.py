"""The training engine: each part stands alone, and the Trainer joins them."""

from utils.training.engine.alerts import AlertConfig
from utils.training.engine.checkpoint import CheckpointManager, CheckpointMetadata
from utils.training.engine.confidence import ConfidenceMetrics
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

__all__ = [
    "AlertConfig",
    "CheckpointManager",
    "CheckpointMetadata",
    "ClassificationLoss",
    "CollatorInfo",
    "CollatorRegistry",
    "ConfidenceMetrics",
    "DataLoaderConfig",
    "DataLoaderFactory",
    "LanguageModelingDataCollator",
    "LanguageModelingLoss",
    "LossInputs",
    "LossStrategy",
    "LossStrategyRegistry",
    "LossTerms",
    "MetricsEngine",
    "PEFTAwareLoss",
    "QuantizationSafeLoss",
    "ResumableDataLoader",
    "UniversalDataModule",
    "VisionDataCollator",
    "VisionLoss",
    "get_loss_strategy",
    "loss_terms",
]
