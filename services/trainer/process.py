"""The process that does a job: in a session of its own, dead at the latest with its worker."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from services.trainer.order import LOG, ORDER

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_LOOK_SECONDS = 0.02
_SECRETS = "TRAINING_"  # the worker's own settings, a broker's password among them


class RunProcess:
    """A job's process, and whatever it starts.

    It leads a session of its own, so that a signal to the worker's terminal or group does not reach
    it, and so that all of it can be killed. The kernel kills it when the worker dies.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder = folder
        self._command = [*command, str(folder / ORDER)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """True until it has ended; its exit stays uncollected, so that its id stays its own."""
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the signal's number where a signal ended it; None while it runs."""
        if self._started.returncode is not None:
            return self._started.returncode
        ended = os.waitid(os.P_PID, self._started.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def stop(self, grace_seconds: float) -> None:
        """Ask it to save its state and end, and wait for that."""
        self._started.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while self.is_running and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def __enter__(self) -> Self:
        with (self._folder / LOG).open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_dying_with(os.getpid()),  # noqa: PLW1509 - system calls only
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing of it: whatever still runs of its session is killed."""
        with suppress(ProcessLookupError):
            os.killpg(self._started.pid, signal.SIGKILL)
        self._started.wait()

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, or end it if that is gone already."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _environment() -> dict[str, str]:
    """The worker's own, without its settings; no library is to look anything up on the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    paths = [str(_ROOT), str(_ROOT / "shared"), kept.get("PYTHONPATH", "")]
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MPLBACKEND": "Agg",
    }


def _dying_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        # The worker ignores SIGINT and may block others; the run starts with none of that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with(parent)

    return prepare
