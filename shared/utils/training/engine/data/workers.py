"""What a loader's worker process does with signals: the parent alone decides."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread


@dataclass(frozen=True)
class WorkerStart:
    """The first call in a worker: quiet signals, then the user's own ``worker_init_fn``."""

    then: Callable[[int], None] | None = None

    def __call__(self, worker_id: int) -> None:
        """Start worker number ``worker_id``."""
        leave_signals_to_the_parent()
        if self.then is not None:
            self.then(worker_id)


def leave_signals_to_the_parent() -> None:
    """Ignore Ctrl-C, and every SIGTERM that isn't the parent's.

    A terminal, ``timeout`` or a service manager signals the whole process group. The parent still
    needs its workers then, to finish the accumulation window before it writes the checkpoint.
    Where the platform can't tell who sent a signal, SIGTERM ends the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        return
    # Threads inherit the mask, so from here on only the waiting thread sees the signal.
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    Thread(target=_end_with_the_parent, daemon=True).start()


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold signals back while workers start, which inherit that, until each has set its own."""
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_the_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        continue
    os._exit(0)
