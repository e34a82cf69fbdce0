"""What a supervisor that was killed left behind."""

from __future__ import annotations

from pathlib import Path

import psutil

from services.cli.stack.state import find, read_state

_GRACE_SECONDS = 30.0  # the kernel has told them to end already


def end(folder: Path) -> None:
    """Wait until the processes that the last stack in this folder named are gone; kill the rest."""
    state = read_state(folder)
    if state is None:
        return
    found = (
        find(service.pid, service.created)
        for service in state.services
        if service.pid is not None and service.created is not None
    )
    processes = [process for process in found if process is not None]
    processes += [child for process in processes for child in _children(process)]
    for process in psutil.wait_procs(processes, _GRACE_SECONDS)[1]:
        process.kill()
    psutil.wait_procs(processes, _GRACE_SECONDS)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
