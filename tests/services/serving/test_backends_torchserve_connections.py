"""Connections are kept, and one that was closed, or answers nonsense, costs no wrong answer."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from services.serving.backends.torchserve.connections import Connections, ReplyError

GOOD = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\n\r\ngood"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbad"


class Server:
    """Answers the requests of each connection with the byte strings of its script, then closes."""

    def __init__(self, *scripts):
        self.requests = []
        self._scripts = scripts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        for script in self._scripts:
            connection, _ = self._socket.accept()
            with connection:
                for answer in script:
                    self.requests.append(connection.recv(65536))
                    for part in answer if isinstance(answer, list) else [answer]:
                        connection.sendall(part)

    def close(self):
        self._thread.join(20)
        self._socket.close()


@pytest.fixture
def serve():
    servers = []

    def start(*scripts):
        servers.append(Server(*scripts))
        return servers[-1], Connections(servers[-1].port, read_seconds=20)

    yield start
    for server in servers:
        server.close()


def test_a_request_has_the_headers_given_and_its_length(serve):
    server, connections = serve([GOOD])
    with closing(connections):
        reply = connections.post("/predictions/a", b"body", {"Content-Type": "text/plain"})
    assert (reply.status, reply.headers["x-a"], reply.body) == (200, "b", b"good")
    head, body = server.requests[0].split(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /predictions/a HTTP/1.1"
    assert {b"Content-Length: 4", b"Content-Type: text/plain"} <= set(head.split(b"\r\n"))
    assert body == b"body"


def test_a_connection_is_kept_for_the_next_request(serve):
    server, connections = serve([GOOD, GOOD])
    with closing(connections):
        assert [connections.post("/", b"", {}).status for _ in range(2)] == [200, 200]
    assert len(server.requests) == 2


def test_a_kept_connection_that_was_closed_is_replaced(serve):
    server, connections = serve([GOOD], [GOOD])
    with closing(connections):
        assert [connections.post("/", b"", {}).status for _ in range(2)] == [200, 200]
    assert len(server.requests) == 2


def test_a_connection_that_the_server_closes_is_not_kept(serve):
    _, connections = serve([REFUSED], [GOOD])
    with closing(connections):
        assert [connections.post("/", b"", {}).status for _ in range(2)] == [400, 200]


def test_an_answer_may_come_in_parts(serve):
    _, connections = serve([[GOOD[i : i + 7] for i in range(0, len(GOOD), 7)]])
    with closing(connections):
        assert connections.post("/", b"", {}).body == b"good"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "ended before the answer did"),
        (GOOD[:-1], "ended before the answer did"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "has no length"),
        (b"nonsense\r\n\r\n", "has no length"),
        (b"x" * 200_000, "head does not end"),
    ],
)
def test_an_answer_that_is_none_is_an_error(serve, answer, reason):
    _, connections = serve([answer])
    with closing(connections), pytest.raises(ReplyError, match=reason):
        connections.post("/", b"", {})


def test_a_server_that_says_nothing_is_waited_for_so_long():
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        connections = Connections(silent.getsockname()[1], read_seconds=0.05)
        with pytest.raises(TimeoutError):
            connections.post("/", b"", {})


def test_nobody_who_listens_is_an_error():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Connections(port, 1).post("/", b"", {})
