"""Checkpoints: whole or absent, verified, kept within bounds."""

from utils.training.engine.checkpoint.manager import CheckpointManager, CheckpointMetadata

__all__ = ["CheckpointManager", "CheckpointMetadata"]
