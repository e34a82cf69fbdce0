"""What a container engine asks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from utils.service.embedded.child import free_port


class Answer(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(port):
    return subprocess.run(
        [sys.executable, "-m", "utils.service.alive", "TRAINING_REGISTRY"],
        env=os.environ | {"TRAINING_REGISTRY_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_service_that_answers_is_alive(server):
    assert ask(server.server_port).returncode == 0


def test_a_service_that_fails_is_not(server, monkeypatch):
    monkeypatch.setattr(Answer, "status", 500)
    assert ask(server.server_port).returncode == 1


def test_a_port_where_nothing_answers_is_told():
    port = free_port()
    done = ask(port)
    assert done.returncode == 1
    assert f"Nothing answers on port {port}" in done.stderr
