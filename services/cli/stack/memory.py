"""How much memory services use, with all that they started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import psutil


def memory_of(pids: Mapping[str, int]) -> dict[str, int]:
    """Resident bytes of each process and its descendants, from one look at the process list.

    Pages that processes share are counted in each of them.
    """
    resident: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for process in psutil.process_iter(["pid", "ppid", "memory_info"]):
        memory = process.info["memory_info"]
        if memory is not None:
            resident[process.info["pid"]] = memory.rss
            children[process.info["ppid"]].append(process.info["pid"])
    return {name: _sum(pid, resident, children) for name, pid in pids.items() if pid in resident}


def _sum(pid: int, resident: Mapping[int, int], children: Mapping[int, list[int]]) -> int:
    below = (_sum(child, resident, children) for child in children.get(pid, ()))
    return resident[pid] + sum(below)
