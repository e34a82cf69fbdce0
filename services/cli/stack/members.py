"""The processes of a stack, all alike to whoever keeps them running."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

import httpx

from utils.service.embedded.child import Child, ServerError
from utils.service.embedded.postgres import PostgresServer
from utils.service.embedded.valkey import ValkeyServer

_PROBE_SECONDS = 5.0


class Member(Protocol):
    """A process that can be started again and again."""

    name: str
    kind: str
    url: str | None
    log: Path

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""

    def start(self) -> None:
        """Start it."""

    def is_ready(self) -> bool:
        """Does it answer?"""

    def end(self) -> None:
        """Ask it to end, and don't wait."""

    def kill(self) -> None:
        """Kill it, and whatever is left of its session."""


class Service:
    """A service of the platform: a command with its settings in the environment.

    Args:
        name: such as ``scheduler-2``.
        command: what is run.
        environment: all of it.
        log: where its output goes.
        url: where it answers, if it does.
        is_ready: whether it does its work, where ``/readyz`` can't say.
        death_signal: what the kernel sends it when this process is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        kind: str,
        url: str | None = None,
        is_ready: Callable[[], bool] | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.kind = kind
        self.url = url
        self.log = log
        self._command = command
        self._environment = environment
        self._is_ready = is_ready or (lambda: answers(f"{url}/readyz"))
        self._child = Child(name, log, death_signal)
        self._session: int | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._child.pid

    def start(self) -> None:
        """Start it, after the last of its former self is gone."""
        self._sweep()
        self._child.start(self._command, env=self._environment, cwd=self.log.parent)
        self._session = self._child.pid

    def is_ready(self) -> bool:
        """Does it answer?"""
        return self.pid is not None and self._is_ready()

    def end(self) -> None:
        """Ask it to end, and don't wait."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, and whatever is left of its session."""
        self._child.kill()
        self._sweep()

    def _sweep(self) -> None:
        """A worker whose parent was killed would keep its port."""
        if self._session is not None and self.pid is None:
            with suppress(ProcessLookupError):
                os.killpg(self._session, signal.SIGKILL)


class Database:
    """Postgres or Valkey."""

    def __init__(self, name: str, server: PostgresServer | ValkeyServer, log: Path) -> None:
        self.name = self.kind = name
        self.url: str | None = None
        self.log = log
        self._server = server

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._server.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._server.start()

    def is_ready(self) -> bool:
        """Does it answer? Those that need it say so soon enough where it does not."""
        return self.pid is not None

    def end(self) -> None:
        """Stop it: both need less than a second, with everything committed on disk."""
        self._server.stop()

    def kill(self) -> None:
        """Kill it."""
        self._server.kill()


def answers(url: str) -> bool:
    """Does a GET succeed?"""
    try:
        return _client().get(url).is_success
    except httpx.TransportError:
        return False


@cache
def _client() -> httpx.Client:
    """One for all looks: to make one takes twenty times as long as to look.

    It keeps no connection open: a service that is to end would wait for its next request.
    """
    none_kept = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=_PROBE_SECONDS, trust_env=False, limits=none_kept)


def run(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command to its end.

    Raises:
        ServerError: it failed; the message ends with its log.
    """
    child = Child(name, log)
    child.start(command, env=environment, cwd=log.parent)
    while child.pid is not None:
        time.sleep(0.05)
    if child.exit_code != 0:
        raise ServerError(f"{name} failed.\n{child.last_lines()}")
