"""A child process that never outlives its parent."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from utils.training.errors import TrainingError

_PR_SET_PDEATHSIG = 1
_PORTS = range(20_000, 30_000)  # below those of connections, and of Kubernetes' nodes
_MOST_TRIES = 100
_given_lately: deque[int] = deque(maxlen=100)
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerError(TrainingError, RuntimeError):
    """A server that did not start or stay up; the message ends with the last lines of its log."""


class Child:
    """A server process in its own session, with its output in a log file.

    On Linux the kernel sends it ``stop_signal`` when the thread that started it ends, a kill -9 of
    the parent included; so start children from the main thread.
    """

    def __init__(self, name: str, log: Path, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the signal's number where one ended it; None while it runs."""
        return self._process.poll() if self._process else None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Start the command; ``prepare`` runs in the child just before it becomes the command."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=self._in_child(prepare),  # noqa: PLW1509 - system calls only
            )
        if stdin is not None and self._process.stdin is not None:
            self._process.stdin.write(stdin)
            self._process.stdin.close()

    def _in_child(self, prepare: Callable[[], None] | None) -> Callable[[], None]:
        parent, stop_signal = os.getpid(), int(self._stop_signal)

        def run() -> None:
            if prepare is not None:
                prepare()  # changes of user first: they clear the parent-death signal
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
                if os.getppid() != parent:
                    os._exit(1)

        return run

    def wait_until(self, is_ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until the server answers.

        Raises:
            ServerError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if self.pid is None:
                raise ServerError(f"{self.name} ended while starting.\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} was not ready within {timeout_seconds:g} s.\n{self.last_lines()}"
                )
            time.sleep(0.02)

    def stop(self, timeout_seconds: float = 20) -> None:
        """Ask the process to end, and kill its whole session when it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process.wait()

    def kill(self) -> None:
        """Kill the process and everything in its session, at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_lines(self, count: int = 15) -> str:
        """The end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(
            self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
        )


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port of an address of this machine that nothing listens on now.

    It is none that Linux gives to outgoing connections unless told to, and none that this process
    was given lately, so that it stays free until a server has come up on it.

    Raises:
        OSError: none is free, or the address is not this machine's.
    """
    family = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][0]
    for port in random.SystemRandom().sample(_PORTS, min(_MOST_TRIES, len(_PORTS))):
        if port in _given_lately:
            continue
        with closing(socket.socket(family)) as probe, suppress(OSError):
            probe.bind((address, port))
            _given_lately.append(port)
            return port
    raise OSError(f"No port from {_PORTS[0]} to {_PORTS[-1]} is free on {address}.")


def secret(path: Path, make: Callable[[], str]) -> str:
    """Read a secret from its file, made on first use and readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        value = make()
        file.write(value)
    return value
