"""The training engine: each part stands alone, and the Trainer joins them."""

from utils.training.engine.data import ResumableDataLoader

__all__ = ["ResumableDataLoader"]
