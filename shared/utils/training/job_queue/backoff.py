"""How long a failed job waits before its next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Backoff:
    """Exponential, capped, and spread out, so that jobs that fell together don't return together.

    The wait after attempt n is ``base_seconds * 2 ** (n - 1)``, at most ``cap_seconds``, less a
    random share of at most ``jitter`` (0 to 1) of it.
    """

    base_seconds: float = 5.0
    cap_seconds: float = 600.0
    jitter: float = 0.5

    def delay(self, attempt: int) -> timedelta:
        """The wait after the attempt of this number (from 1)."""
        doublings = min(attempt - 1, 60)
        seconds = min(self.cap_seconds, self.base_seconds * 2.0**doublings)
        share = random.uniform(1 - self.jitter, 1)  # noqa: S311 - spreads load, hides nothing
        return timedelta(seconds=seconds * share)
