"""Which processes work in a folder."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

_REAPING_SECONDS = 10.0  # that the last ones may take to be gone


def processes_in(folder: Path) -> set[tuple[int, str]]:
    """Id and name of each process whose command, environment or working folder names the folder."""
    wanted = str(folder.absolute())
    found = set()
    for process in psutil.process_iter():
        try:
            words = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if any(wanted in word for word in words):
                found.add((process.pid, process.name()))
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
    return found


def left_behind(folder: Path, before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those that work in the folder and did not before; the last ones have a moment to end."""
    deadline = time.monotonic() + _REAPING_SECONDS
    while (left := processes_in(folder) - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left
