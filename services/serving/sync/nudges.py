"""Promotions as Redis tells them: no more than a reason to look at the registry now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis

from utils.service.contracts.predictions import PROMOTIONS
from utils.service.http import UnreachableError

log = logging.getLogger(__name__)

_BLOCK_SECONDS = 2.0
_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 1.0


class Nudges:
    """Reads the stream of promotions; while Redis is away, polling finds them a little later."""

    def __init__(self, url: str, wake: Callable[[], None]) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
        )
        self._wake = wake
        self._last_id: str | None = None  # of the last entry seen; None: not asked yet
        self._is_away = False
        self._stopped = threading.Event()

    def step(self) -> None:
        """Wait for promotions a moment, and wake whoever follows them."""
        try:
            self._read()
        except redis.RedisError as error:
            if not self._is_away:
                log.warning("Redis does not answer, promotions are found by polling: %s", error)
            self._is_away = True
            self._stopped.wait(_PAUSE_SECONDS)
        else:
            if self._is_away:
                log.info("Redis answers again.")
            self._is_away = False

    def stop(self) -> None:
        """End a wait between tries."""
        self._stopped.set()

    def check(self) -> None:
        """Raise where Redis did not answer the last time."""
        if self._is_away:
            raise UnreachableError("Redis does not answer; promotions are found by polling.")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _read(self) -> None:
        if self._last_id is None:
            newest: Any = self._redis.xrevrange(PROMOTIONS, count=1)
            self._last_id = newest[0][0] if newest else "0"
            self._wake()
        streams: Any = self._redis.xread(
            {PROMOTIONS: self._last_id}, block=int(_BLOCK_SECONDS * 1000)
        )
        for _, entries in streams or ():
            self._last_id = entries[-1][0]
            self._wake()
