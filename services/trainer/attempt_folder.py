"""The folder of one attempt at a job: made for it, locked by it, gone with it."""

from __future__ import annotations

import fcntl
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

log = logging.getLogger(__name__)

_LOCK = "lock"


class AttemptFolder:
    """``jobs/<job>-<fencing token>`` under the work folder, while the attempt lasts.

    It is locked, and the kernel drops the lock when the worker dies: so :func:`remove_leftovers`
    knows which ones are nobody's any more.
    """

    def __init__(self, work_folder: Path, job_id: int, fencing_token: int) -> None:
        self._folder = _jobs(work_folder) / f"{job_id}-{fencing_token}"
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / _LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self._folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def remove_leftovers(work_folder: Path) -> None:
    """Delete the folders of attempts whose worker is dead."""
    for lock in _jobs(work_folder).glob(f"*/{_LOCK}"):
        with suppress(OSError), lock.open("rb") as file:  # locked, or gone meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
            log.info("Removed %s, which a dead worker left.", lock.parent.name)


def _jobs(work_folder: Path) -> Path:
    return work_folder.absolute() / "jobs"
