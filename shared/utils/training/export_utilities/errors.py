"""What can go wrong in an export."""

from __future__ import annotations

from pathlib import Path

from utils.training.errors import TrainingError


class FormatError(TrainingError, RuntimeError):
    """A model that can't be written in one format."""


class ExportError(TrainingError, RuntimeError):
    """One or more formats failed; ``bundle`` holds the others, ``failures`` says why, by format."""

    def __init__(self, bundle: Path, failures: dict[str, str]) -> None:
        reasons = " ".join(f"{name}: {reason}" for name, reason in failures.items())
        super().__init__(f"{bundle} lacks {', '.join(failures)}. {reasons}")
        self.bundle = bundle
        self.failures = failures
