"""What can go wrong between a caller and the job queue."""

from __future__ import annotations

from utils.training.errors import TrainingError


class UnknownJobError(TrainingError, LookupError):
    """No job has that id."""


class StaleClaimError(TrainingError, RuntimeError):
    """A write with a fencing token that is not, or no longer, the one that holds the job."""


class IllegalTransitionError(TrainingError, RuntimeError):
    """A change of state that the job's present state does not allow."""


class InvalidJobError(TrainingError, ValueError):
    """A job that can't be submitted as given."""


class IdempotencyConflictError(TrainingError, ValueError):
    """An idempotency key that was used before, for a different job."""


class InvalidCronError(TrainingError, ValueError):
    """A cron expression that says nothing, or says something that never happens."""


class InvalidScheduleError(TrainingError, ValueError):
    """A schedule that can't be kept as given."""


class UnknownScheduleError(TrainingError, LookupError):
    """No schedule has that id."""
