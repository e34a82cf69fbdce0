"""Lines of the outcome."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Report:
    """A line for each thing that was checked; what was not so is counted."""

    def __init__(self) -> None:
        self.faults = 0

    def line(self, what: str, *, is_so: bool, detail: str = "") -> bool:
        """Print whether ``what`` is so."""
        self.faults += not is_so
        tail = f"  ({detail})" if detail else ""
        sys.stdout.write(f"{'ok  ' if is_so else 'FAIL'}  {what}{tail}\n")
        sys.stdout.flush()
        return is_so

    def title(self, text: str) -> None:
        """Print a heading."""
        sys.stdout.write(f"\n== {text}\n")
        sys.stdout.flush()


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Wait for it, and say whether it came."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
