"""Work that a service does by itself, again and again, in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from utils.service.logs import tracing

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 30.0


class Loop:
    """Calls a function every so many seconds until it is stopped.

    A failed call is logged and tried again later, each time after a longer wait, so that a server
    that is away is not pressed. ``wake`` makes the next call come at once.
    """

    def __init__(self, name: str, step: Callable[[], object], interval_seconds: float) -> None:
        self._name = name
        self._step = step
        self._interval = interval_seconds
        self._awake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def wake(self) -> None:
        """Don't wait for the interval's end."""
        self._awake.set()

    def stop(self, timeout_seconds: float = 10) -> None:
        """Let the call under way end, and make no other."""
        self._stopped = True
        self._awake.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        wait = self._interval
        while not self._stopped:
            try:
                with tracing(None):
                    self._step()
                wait = self._interval
            except Exception:
                wait = min(max(wait, 0.1) * 2, _LONGEST_WAIT_SECONDS)
                log.exception("%s failed; it is tried again in %.1f s.", self._name, wait)
            self._awake.wait(wait)
            self._awake.clear()
