"""One TorchServe: started, watched, and started again where it died."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services.serving.backends.torchserve.api import TorchServeApi
from services.serving.backends.torchserve.configuration import (
    Folders,
    Ports,
    command,
    environment,
    write_configuration,
)
from utils.service.embedded.child import Child

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_ASK_SECONDS = 5.0
_SILENCE_SECONDS = 60.0  # a server that says nothing for so long is killed
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 30.0
_STEADY_SECONDS = 60.0  # a run this long was no failed start


class TorchServeProcess:
    """Keeps one TorchServe running, from a thread of its own.

    The kernel ends a child with the thread that started it; this one lives as long as the service.

    Args:
        home: a folder that it may empty.
        threads: that compute one answer.
        answer_seconds: the longest that one answer takes.
        max_body_bytes: of a request.
        on_start: called with each run's API, once it answers.
        on_end: called when a run has ended.
    """

    def __init__(
        self,
        home: Path,
        *,
        threads: int,
        answer_seconds: float,
        max_body_bytes: int,
        on_start: Callable[[TorchServeApi], None],
        on_end: Callable[[], None],
    ) -> None:
        temporary = Path(tempfile.mkdtemp(prefix="serving-"))
        self.folders = Folders(home.absolute(), temporary)
        self.folders.create()
        self._threads = threads
        self._answer_seconds = answer_seconds
        self._max_body_bytes = max_body_bytes
        self._on_start = on_start
        self._on_end = on_end
        self._child = Child("TorchServe", self.folders.home / "torchserve.out")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name="torchserve", daemon=True)

    @property
    def pid(self) -> int | None:
        """The JVM's process id while it runs, else None."""
        return self._child.pid

    @property
    def is_over(self) -> bool:
        """True where the run in hand has ended, or is to end."""
        return self._stopping.is_set() or self._child.pid is None

    def start(self) -> None:
        """Begin; TorchServe is up some seconds later."""
        self._thread.start()

    def close(self) -> None:
        """Stop TorchServe and its workers."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        shutil.rmtree(self.folders.temporary, ignore_errors=True)

    def _keep_running(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._run_once()
            except Exception:
                log.exception("TorchServe could not be used.")
            if time.monotonic() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            if not self._stopping.wait(pause):
                log.warning("TorchServe is started again.")
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _run_once(self) -> None:
        """Start, tell, and watch until it ends or is to end."""
        ports = Ports()
        configuration = write_configuration(self.folders, ports, self._max_body_bytes)
        self._child.start(
            command(self.folders, configuration),
            env=environment(self.folders, self._threads),
            cwd=self.folders.home,
        )
        pid = self._child.pid
        api = TorchServeApi(ports, self._answer_seconds)
        try:
            self._child.wait_until(
                lambda: self._stopping.is_set() or api.responds(), _START_SECONDS
            )
            if not self._stopping.is_set():
                self._on_start(api)
            self._watch(api)
        finally:
            self._on_end()
            self._child.stop()
            _kill_session(pid)
            api.close()

    def _watch(self, api: TorchServeApi) -> None:
        asked = answered = time.monotonic()
        while not self._stopping.wait(_LOOK_SECONDS):
            if self._child.pid is None:
                log.error("TorchServe ended, by itself or killed: %s.", self._child.exit_code)
                return
            now = time.monotonic()
            if now - asked < _ASK_SECONDS:
                continue
            asked = now
            if api.responds(_ASK_SECONDS):
                answered = time.monotonic()
            elif now - answered > _SILENCE_SECONDS:
                log.error("TorchServe has said nothing for %g s; it is killed.", now - answered)
                self._child.kill()
                return


def _kill_session(pid: int | None) -> None:
    """Kill workers that outlived the JVM, right after its end: no one has its number yet."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
