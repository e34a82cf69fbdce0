"""What a run sends while it trains, from threads that never hold it up."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from utils.service.http import RemoteError, UnreachableError

log = logging.getLogger(__name__)


class Sender(ABC):
    """Sends now and then, and once more at the end, so that nothing is left behind.

    A service that is away delays what is sent and loses none of it.

    Args:
        what: what is sent, in the plural, for the log.
        interval_seconds: between two sendings.
    """

    def __init__(self, what: str, interval_seconds: float) -> None:
        self._what = what
        self._interval_seconds = interval_seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=what, daemon=True)

    @abstractmethod
    def send(self) -> None:
        """Send what is there to be sent.

        Raises:
            RemoteError: the service refused, as it does when the claim is over.
            UnreachableError: a ConnectionError; it is away, and the next call tries again.
        """

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        try:
            self.send()
        except (RemoteError, UnreachableError):
            if kind is None:
                raise
            log.warning("The last %s could not be sent.", self._what, exc_info=True)

    def _loop(self) -> None:
        while not self._end.wait(self._interval_seconds):
            try:
                self.send()
            except (RemoteError, UnreachableError) as failure:
                log.warning("%s wait: %s", self._what.capitalize(), failure)
