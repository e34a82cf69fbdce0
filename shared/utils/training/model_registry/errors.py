"""What can go wrong between a caller and the registry."""

from __future__ import annotations

from utils.training.errors import TrainingError


class UnknownModelError(TrainingError, LookupError):
    """No model has that id, or no version that name."""


class AlreadyRegisteredError(TrainingError, ValueError):
    """A name and version, or an idempotency key, that another registration holds."""


class ConflictError(TrainingError, RuntimeError):
    """Somebody else was first: the registry is not as the caller took it to be."""
