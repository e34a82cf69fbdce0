"""What processes take of the machine, each with all that it started."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def family(pids: Iterable[int]) -> list[psutil.Process]:
    """These processes and their descendants."""
    found = {}
    for pid in pids:
        root = psutil.Process(pid)
        found |= {process.pid: process for process in (root, *root.children(recursive=True))}
    return list(found.values())


def cpu_seconds(*pids: int) -> float:
    """CPU time so far, that of descendants which have ended included."""
    return sum(sum(process.cpu_times()[:4]) for process in family(pids))


def memory_bytes(*pids: int) -> int:
    """Memory in use; a page that several processes share is counted once over all (PSS)."""
    return sum(process.memory_full_info().pss for process in family(pids))
