"""How many requests one caller may send: counted in memory, by this process alone.

A request is counted by one look into a dictionary. Limiters over a store schedule expiry, and may
start a thread for it at each request, which takes longer than a prediction.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable

RATE = r"^[1-9][0-9]*/(second|minute|hour|day)$"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class RateLimit:
    """So many requests in a window of time, for each key; all windows begin and end together.

    Args:
        rate: a number and its unit, such as ``600/minute``.
        now: a clock in seconds that never goes back.
    """

    def __init__(self, rate: str, now: Callable[[], float] = time.monotonic) -> None:
        amount, _, unit = rate.partition("/")
        self.rate = rate
        self._amount = int(amount)
        self._window_seconds = _SECONDS[unit]
        self._now = now
        self._lock = threading.Lock()
        self._ends = -math.inf
        self._counts: Counter[Hashable] = Counter()

    def wait_seconds(self, key: Hashable) -> int:
        """Count a request: 0 where it may pass, else the seconds until the next one may."""
        now = self._now()
        with self._lock:
            if now >= self._ends:  # whatever was counted is forgotten, and takes no memory
                self._counts.clear()
                self._ends = now + self._window_seconds
            self._counts[key] += 1
            if self._counts[key] <= self._amount:
                return 0
            return math.ceil(self._ends - now)
