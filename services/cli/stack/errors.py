"""What goes wrong with a stack."""

from __future__ import annotations

from utils.training.errors import TrainingError


class StackError(TrainingError, RuntimeError):
    """A stack could not start, or is not there; the message says where to look."""
