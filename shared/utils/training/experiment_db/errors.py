"""What can go wrong between a caller and the experiments."""

from __future__ import annotations

from utils.training.errors import TrainingError


class UnknownRunError(TrainingError, LookupError):
    """No run has that id."""


class RunConflictError(TrainingError, RuntimeError):
    """What was recorded of a run does not allow this: a status, a parameter, a key."""
