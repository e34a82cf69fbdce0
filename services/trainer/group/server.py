"""Where a leader hears its followers, for as long as an attempt lasts."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from services.trainer.group.words import PATH, Report, Word

log = logging.getLogger(__name__)

_MAX_BYTES = 1024 * 1024
_SILENT_SECONDS = 10.0


class GroupServer:
    """Answers the reports of those who bear the same token as this trainer.

    Args:
        address: this node's, to listen at.
        port: of the group.
        token_file: read at each request, so that tokens rotate live.
        hear: takes a report, and gives the word.
    """

    def __init__(
        self, address: str, port: int, token_file: Path, hear: Callable[[Report], Word]
    ) -> None:
        self._server = _Server((address, port), _handler(token_file, hear))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a follower's connection stays open

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family_of(place[0])
        super().__init__(place, handler)


def family_of(address: str) -> socket.AddressFamily:
    """Whether a node's name means an IPv4 or an IPv6 address."""
    return socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][0]


def is_own(address: str) -> bool:
    """Whether a node's name means this machine.

    A pod that took another's place keeps its name, which may mean the former one for half a minute.
    """
    try:
        with socket.socket(family_of(address)) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _handler(token_file: Path, hear: Callable[[Report], Word]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENT_SECONDS

        def do_POST(self) -> None:
            status, content = self._answer()
            with suppress(ConnectionError):  # it did not wait
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def _answer(self) -> tuple[HTTPStatus, bytes]:
            token = token_file.read_text(encoding="utf-8").strip()
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return HTTPStatus.UNAUTHORIZED, b""
            if self.path != PATH:
                return HTTPStatus.NOT_FOUND, b""
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _MAX_BYTES:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b""
            try:
                report = Report.model_validate_json(self.rfile.read(int(length)))
            except ValidationError:
                return HTTPStatus.UNPROCESSABLE_ENTITY, b""
            return HTTPStatus.OK, hear(report).model_dump_json().encode()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
            log.debug(format, *arguments)

    return Handler
