"""Any answer that is not the wanted one counts as failed."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from services.cli.demo.client import Gateway, SteadyClient
from services.cli.demo.stream import Batch, DigitStream
from utils.service.digits import Scans

LABELS = np.array([3, 1])
BATCH = Batch(np.zeros((2, 8, 8)), LABELS, np.array([False, True]))


class Server:
    """Answers each request with what the test has put there."""

    def __init__(self):
        self.status = 200
        self.headers = {"X-Model-Name": "digits", "X-Model-Version": "1"}
        self.body = {"predictions": [{"class": 3}, {"class": 7}]}
        self.connections = set()
        self.seen = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                document = json.loads(self.rfile.read(length))
                server.seen.append((self.path, self.headers["Authorization"], document))
                server.connections.add(self.client_address)
                body = json.dumps(server.body).encode()
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def gateway(server):
    with Gateway(server.url, "secret", "digits") as gateway:
        yield gateway


def test_an_answer_tells_which_digits_were_read_right_and_by_which_version(server, gateway):
    answer = gateway.ask(BATCH)
    assert answer.fault is None
    assert answer.right == (True, False)
    assert answer.is_new == (False, True)
    assert answer.version == "1"
    path, token, document = server.seen[0]
    assert path == "/v1/models/digits/predict"
    assert token == "Bearer secret"
    assert np.array(document["instances"]).shape == (2, 8, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 503}, "answered 503"),
        ({"headers": {"X-Model-Name": "letters", "X-Model-Version": "1"}}, "letters 1 answered"),
        ({"headers": {"X-Model-Name": "digits"}}, "digits None answered"),
        ({"body": {"predictions": [{"class": 3}]}}, "1 predictions came for 2 digits"),
        ({"body": {"detail": "?"}}, "holds no predictions"),
        ({"body": [1]}, "holds no predictions"),
    ],
)
def test_any_other_answer_is_a_failed_request(server, gateway, change, words):
    for name, value in change.items():
        setattr(server, name, value)
    answer = gateway.ask(BATCH)
    assert words in answer.fault
    assert answer.right == ()


def test_an_older_version_after_a_newer_one_is_a_failed_request(server, gateway):
    server.headers["X-Model-Version"] = "2"
    assert gateway.ask(BATCH).fault is None
    server.headers["X-Model-Version"] = "1"
    assert gateway.ask(BATCH).fault == "Version 1 answered after version 2 had."


def test_no_answer_is_a_failed_request():
    with Gateway("http://127.0.0.1:1", "secret", "digits") as gateway:
        assert gateway.ask(BATCH).fault.startswith("No answer came")


def test_the_client_sends_steadily_over_one_connection_until_it_is_stopped(server, gateway):
    scans = Scans(np.zeros((2, 8, 8)), LABELS)
    with SteadyClient(gateway, DigitStream(scans, scans, 2), per_second=200) as client:
        deadline = time.monotonic() + 30
        while len(client.answers) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
    count = len(client.answers)
    assert count >= 20
    assert len(server.seen) == count
    assert len(server.connections) == 1
    time.sleep(0.05)
    assert len(client.answers) == count
