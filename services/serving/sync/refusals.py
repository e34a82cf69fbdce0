"""Versions that could not be brought up: said once, and tried again after longer and longer."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from utils.training.model_registry.records import RegisteredModel

log = logging.getLogger(__name__)

_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class _Refusal:
    digest: str | None
    reason: str
    pause_seconds: float
    until: float  # of the monotonic clock


class Refusals:
    """The last failure of each name.

    Args:
        retry_seconds: until a broken bundle is tried again; doubled each time, an hour at most.
    """

    def __init__(self, retry_seconds: float) -> None:
        self._retry_seconds = retry_seconds
        self._of_name: dict[str, _Refusal] = {}

    def hold(self, model: RegisteredModel) -> bool:
        """True where this bundle failed and it is too early to try it again."""
        last = self._of_name.get(model.name)
        return (
            last is not None
            and last.digest == model.artifact_digest
            and time.monotonic() < last.until
        )

    def add(self, model: RegisteredModel, error: Exception, *, is_passing: bool) -> None:
        """Note a failure; a passing one holds nothing back, the next pass tries again."""
        last = self._of_name.get(model.name)
        if last is not None and last.digest != model.artifact_digest:
            last = None
        pause = 0.0
        if not is_passing:
            pause = self._retry_seconds
            if last is not None:
                pause = min(max(2 * last.pause_seconds, pause), _LONGEST_SECONDS)
        refusal = _Refusal(model.artifact_digest, str(error), pause, time.monotonic() + pause)
        self._of_name[model.name] = refusal
        if last is None or last.reason != refusal.reason:
            log.error(
                "%s %s is not served, what answered before goes on: %s",
                model.name,
                model.version,
                error,
            )

    def forget(self, name: str) -> None:
        """A name's production version answers."""
        self._of_name.pop(name, None)
