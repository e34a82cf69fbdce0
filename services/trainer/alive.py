"""Is this worker alive? For an orchestrator: ``python -m services.trainer.alive``, exit code 0.

The worker's own loop touches a file. A loop that has been silent for long is only dead where Redis
answers: without Redis it has nothing to do but to wait, and a job under way must not be killed for
that. ``python -m services.trainer.alive ready`` asks whether it takes work now.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import redis
from celery import bootsteps

from services.trainer.settings import PREFIX, TrainerSettings
from utils.service.settings import read_settings

_FILE = "alive"
_BEAT_SECONDS = 5.0
_SILENT_SECONDS = 60.0  # longer than Celery's longest pause before it connects again
_REDIS_SECONDS = 3.0


def beat_file(work_folder: Path) -> Path:
    """The file whose time says when the loop turned last."""
    return work_folder / _FILE


class Beat(bootsteps.StartStopStep):
    """Touches the file from the worker's own loop, the one that takes messages."""

    requires = frozenset({"celery.worker.components:Timer"})

    def __init__(self, worker: Any, beat_file: Path, **options: Any) -> None:
        super().__init__(worker, **options)
        self._path = beat_file
        beat_file.unlink(missing_ok=True)  # a worker that died left it

    def start(self, worker: Any) -> None:
        """Let the loop's timer do it, at once and from then on."""
        worker.timer.call_after(0, self._path.touch)
        worker.timer.call_repeatedly(_BEAT_SECONDS, self._path.touch)


def main(arguments: list[str]) -> int:
    """Say whether the worker of this environment's settings is alive, or ready."""
    settings = read_settings(TrainerSettings, PREFIX)
    silence = _silence(beat_file(settings.work_folder))
    if silence < _SILENT_SECONDS:
        return 0
    if arguments != ["ready"] and not _answers(settings.redis_url):
        return 0
    sys.stderr.write(f"The worker's loop has been silent for {silence:.0f} s.\n")
    return 1


def _silence(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _answers(url: str) -> bool:
    options = {"socket_timeout": _REDIS_SECONDS, "socket_connect_timeout": _REDIS_SECONDS}
    try:
        with redis.Redis.from_url(url, **options) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
