"""Stopping a run from outside: a flag, set by SIGTERM or by a call, looked at after each batch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

INTERRUPTED_EXIT_CODE = 128 + signal.SIGTERM  # 143, what a shell reports for SIGTERM


class TrainingInterrupted(SystemExit):
    """The run was told to stop, has written its state, and can be resumed.

    Left alone it ends the process with code 143. ``checkpoint_path`` is the checkpoint to resume
    from, ``reason`` says who asked. It is a SystemExit, so that ``except Exception`` lets it pass.
    """

    def __init__(self, checkpoint_path: Path | None, reason: str) -> None:
        super().__init__(INTERRUPTED_EXIT_CODE)
        self.checkpoint_path = checkpoint_path
        self.reason = reason

    def __str__(self) -> str:
        return f"Training stopped ({self.reason}); resume from {self.checkpoint_path}."


class StopSwitch:
    """A flag that any thread, or SIGTERM, may set.

    A run on its own stops where it is requested. Ranks that train together stop at the same batch:
    ``needs_agreement`` is True there, and each calls :meth:`agree` where all have heard of it.
    """

    def __init__(self) -> None:
        self.needs_agreement = False
        self.is_requested = False
        self.is_agreed = False
        self.reason = ""

    def request(self, reason: str) -> None:
        """Ask the run to stop; safe from any thread, and from a signal handler."""
        self.reason = self.reason or reason
        self.is_requested = True
        if not self.needs_agreement:
            self.is_agreed = True

    def agree(self, reason: str) -> None:
        """Stop this rank, for whatever reason it was asked itself, or another's."""
        self.reason = self.reason or reason
        self.is_agreed = True

    def clear(self) -> None:
        """Forget a request that has been honoured."""
        self.is_requested = self.is_agreed = False
        self.reason = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Set the flag on SIGTERM, and put the former handler back at the end.

        A second SIGTERM ends the process at once. Outside the main thread, where Python can't
        handle signals, only :meth:`request` works.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            # A handler that C code installed shows as None and can't be put back from Python.
            signal.signal(signal.SIGTERM, signal.SIG_DFL if former is None else former)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # The default action ends the process even while Python waits inside C code.
        signal.signal(number, signal.SIG_DFL)
        self.request("SIGTERM")
