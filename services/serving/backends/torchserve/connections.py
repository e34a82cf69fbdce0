"""Kept connections to TorchServe, and as much of HTTP as it speaks there.

A client for all of HTTP takes as long for a request as a small model for its answer, and sends
headers that cost TorchServe's worker as much again: it reads each by four system calls.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_CONNECT_SECONDS = 5.0
_READ_BYTES = 64 * 1024
_MOST_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytearray


class ReplyError(OSError):
    """An answer that broke off, or is none."""


class Connections:
    """As many connections as requests at once; each is kept for the next request.

    Args:
        port: on the loopback address.
        read_seconds: the longest that the server says nothing.
    """

    def __init__(self, port: int, read_seconds: float) -> None:
        self._port = port
        self._read_seconds = read_seconds
        self._idle: deque[socket.socket] = deque()

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a body.

        Raises:
            OSError: no whole answer came.
        """
        lines = [f"POST {path} HTTP/1.1", "Host: torchserve", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        message = "\r\n".join([*lines, "", ""]).encode("ascii") + body
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._ask(self._connect(), message)
        try:
            return self._ask(connection, message)
        except TimeoutError:
            raise
        except OSError:  # it was closed at that moment; what is posted may be repeated
            return self._ask(self._connect(), message)

    def close(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), _CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self._read_seconds)
        return connection

    def _ask(self, connection: socket.socket, message: bytes) -> Reply:
        try:
            connection.sendall(message)
            reply = _read(connection)
        except BaseException:
            connection.close()
            raise
        if reply.headers.get("connection") == "close":
            connection.close()
        else:
            self._idle.append(connection)
        return reply


def _read(connection: socket.socket) -> Reply:
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        if len(received) > _MOST_HEAD_BYTES:
            raise ReplyError("The answer's head does not end.")
        received += _some(connection)
    status, *lines = received[:end].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    try:
        code, length = int(status.split(" ", 2)[1]), int(headers["content-length"])
    except (IndexError, KeyError, ValueError):
        raise ReplyError(f"The answer began with {status[:100]!r} and has no length.") from None
    del received[: end + 4]
    while len(received) < length:
        received += _some(connection)
    return Reply(code, headers, received)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(_READ_BYTES)
    if not data:
        raise ReplyError("The connection ended before the answer did.")
    return data
