"""Ports that stay: each name keeps its own from one start to the next while it is free."""

from __future__ import annotations

import json
import random
import socket
from contextlib import closing
from pathlib import Path

_HOST = "127.0.0.1"
# Below what kernels give to outgoing connections, so that none of those takes a port that a
# restarting service needs again.
_RANGE = range(20_000, 32_000)
_TRIES = 200


class Ports:
    """The ports of one stack, remembered in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, name: str) -> int:
        """The port of a service: the one it had where that is free, else a free one."""
        port = self._known.get(name)
        if port is None or not _is_free(port):
            port = self._choose()
            self._known[name] = port
            self._path.write_text(json.dumps(self._known, indent=2) + "\n")
        return port

    def _choose(self) -> int:
        taken = set(self._known.values())
        for _ in range(_TRIES):
            port = random.choice(_RANGE)  # noqa: S311 - no secret
            if port not in taken and _is_free(port):
                return port
        raise OSError(f"No port from {_RANGE.start} to {_RANGE.stop - 1} is free on {_HOST}.")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection lingers
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True
