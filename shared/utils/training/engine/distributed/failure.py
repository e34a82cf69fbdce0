"""An error on one rank ends all of them, with that rank's message."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from utils.training.errors import TrainingError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

logger = logging.getLogger(__name__)

_KEY = "training/error"
_LOOK_SECONDS = 1.0
_AWAIT_MESSAGE_SECONDS = 5.0  # a peer's connection may break before its message is there
_GRACE_SECONDS = 10.0  # for a rank to end by itself
_MAX_CHARACTERS = 4000


class RankFailedError(TrainingError, RuntimeError):
    """Another rank failed, so that this one can't go on; the text is that rank's message."""


class RankLostError(TrainingError, ConnectionError):
    """Another rank is gone without a word, killed or cut off; a new start may find it again."""


class FailureWatch:
    """Tells the other ranks of an error here, and ends this process after one elsewhere.

    A rank that waits in a collective operation for one that failed hears of it from its broken
    connection (gloo), or not at all (NCCL, or a failed process that lives on). A thread looks for
    the message once a second, and ends the process where it has not ended by itself.

    Args:
        store: shared by all ranks of this start.
        rank: this process's.
    """

    def __init__(self, store: Store, rank: int) -> None:
        self._store = store
        self._rank = rank
        self._is_over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the others inside this context.

        Raises:
            RankFailedError: a RuntimeError in place of one that another rank's failure caused.
            RankLostError: a ConnectionError in place of one that another rank's death caused.
        """
        self._is_over.clear()
        thread = threading.Thread(target=self._look, name="failure-watch", daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            message = self._message_of_another(error)
            if message is not None:
                raise RankFailedError(message) from error
            if _is_broken_connection(error):
                raise RankLostError(f"Another rank was lost: {error}") from error
            self._tell(error)
            raise
        finally:
            self._is_over.set()
            thread.join()

    def _tell(self, error: Exception) -> None:
        """Leave the message for the others; the first stays."""
        said = f"Rank {self._rank} failed: {type(error).__name__}: {error}"[:_MAX_CHARACTERS]
        try:
            self._store.compare_set(_KEY, "", said)
        except RuntimeError:  # the store went with its process, and so will the others
            logger.warning("The other ranks can't be told of the error.", exc_info=True)

    def _message_of_another(self, error: Exception) -> str | None:
        """Return what another rank says, waiting for it where ``error`` looks like a lost peer."""
        is_lost_peer = type(error) is RuntimeError or type(error).__name__.startswith("Dist")
        deadline = time.monotonic() + (_AWAIT_MESSAGE_SECONDS if is_lost_peer else 0)
        while (message := self._read()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return message

    def _read(self) -> str | None:
        try:
            return self._store.get(_KEY).decode() if self._store.check([_KEY]) else None
        except RuntimeError:
            return None

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_SECONDS):
            message = self._read()
            if message is not None and not self._is_over.wait(_GRACE_SECONDS):
                logger.critical("%s This rank is ended, for it waits for that one.", message)
                os._exit(1)


def _is_broken_connection(error: Exception) -> bool:
    is_of_gloo = type(error) is RuntimeError and "gloo" in str(error)
    return is_of_gloo or type(error).__name__.startswith("Dist")
