"""The server of every service: connections are kept, threads are shared, SIGTERM ends it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sys
from contextlib import closing

import pytest

from utils.service.embedded.child import Child, free_port

THREADS = 3
PROGRAM = """
import sys, threading
from pathlib import Path
from flask import Flask, request
from utils.service.server import serve
from utils.service.settings import WebSettings

def build():
    app = Flask("sample")
    met = threading.Barrier(2, timeout=20)

    @app.get("/thread")
    def thread():
        return str(threading.get_ident())

    @app.get("/meet")
    def meet():
        met.wait()
        return "met"

    return app

serve(build, WebSettings(port=int(sys.argv[1]), tokens_file=Path("none"), threads=int(sys.argv[2])))
"""


@pytest.fixture
def server(tmp_path):
    port = free_port()
    child = Child("server", tmp_path / "server.log")
    child.start([sys.executable, "-c", PROGRAM, str(port), str(THREADS)], env=os.environ)
    try:
        child.wait_until(lambda: accepts(port), 120)
        child.port = port
        yield child
    finally:
        child.stop()


def accepts(port):
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connect(server):
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)


def ask(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def test_more_connections_than_threads_are_all_answered(server):
    connections = [connect(server) for _ in range(3 * THREADS)]
    for _ in range(5):
        assert all(ask(connection, "/thread") for connection in connections)
    for connection in connections:
        connection.close()


def test_requests_that_need_each_other_are_answered_at_the_same_time(server):
    first, second = connect(server), connect(server)
    with closing(first), closing(second):
        for connection in (first, second):
            ask(connection, "/thread")
            connection.request("GET", "/meet")
        assert [c.getresponse().read() for c in (first, second)] == [b"met", b"met"]


def test_requests_that_come_together_are_answered_in_turns_by_one_thread(server):
    request = b"GET /thread HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /thread HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request + request + last)
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    threads = re.findall(rb"\r\n\r\n(\d+)", received)
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_sigterm_ends_it_while_connections_are_kept(server):
    with closing(connect(server)) as connection:
        ask(connection, "/thread")
        os.kill(server.pid, signal.SIGTERM)
        server._process.wait(20)
    assert server.exit_code == 0
