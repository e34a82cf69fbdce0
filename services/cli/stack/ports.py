"""Ports that stay: each name keeps its own from one start to the next while it is free."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path

from utils.service.embedded.child import free_port

_HOST = "127.0.0.1"


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
        """One that no other service has, also none that is down now."""
        taken = set(self._known.values())
        return next(port for port in iter(free_port, None) if port not in taken)


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection lingers
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True
