"""What can be wrong with a job's data."""

from __future__ import annotations

from utils.training.errors import TrainingError


class DataError(TrainingError, ValueError):
    """A data source that is missing, unreadable, or does not fit the task."""
