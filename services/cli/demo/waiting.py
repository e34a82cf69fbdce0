"""Waiting for what the platform does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from utils.training.errors import TrainingError

T = TypeVar("T")

PATIENCE_SECONDS = 600.0  # a busy machine may be slow; a quiet one needs a few seconds
_PAUSE_SECONDS = 0.25


class DemoError(TrainingError, RuntimeError):
    """The story can't go on: what was waited for did not happen."""


def wait_for(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """Look until there is something, and return it.

    Raises:
        DemoError: a RuntimeError; there was nothing for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoError(
                f"{what} did not come within {seconds:g} s; the services' logs say more."
            )
        time.sleep(_PAUSE_SECONDS)
