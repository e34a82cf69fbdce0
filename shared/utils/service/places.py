"""Room for what holds a thread of a server for long, so that all else is answered beside it."""

from __future__ import annotations

import threading
from http import HTTPStatus

from utils.service.problems import ProblemError

_RETRY_AFTER = {"Retry-After": "2"}


class Places:
    """So many at once, and no more.

    Args:
        most: how many there may be.
        refusal: the sentence for who finds none.
    """

    def __init__(self, most: int, refusal: str) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._refusal = refusal

    def enter(self) -> None:
        """Take one.

        Raises:
            ProblemError: 503, all are taken.
        """
        if not self._free.acquire(blocking=False):
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, self._refusal, _RETRY_AFTER)

    def leave(self) -> None:
        """Give it back."""
        self._free.release()
