"""Calls between services, over a real socket."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.service.http import RemoteError, ServiceClient, UnreachableError
from utils.service.logs import trace_id_of, tracing


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(dict(self.headers))
        status, document = self.server.answers.pop(0) if self.server.answers else (200, {})
        if status is None:
            self.connection.close()
            return
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(server, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    url = f"http://127.0.0.1:{server.server_port}"
    client = ServiceClient(url, tmp_path / "token", timeout_seconds=5)
    yield client
    client.close()


def test_a_call_carries_its_token_its_trace_and_an_idempotency_key(server, client):
    with tracing(None) as trace:
        client.call("POST", "/v1/jobs", body={"a": 1})
    headers = server.seen[0]
    assert headers["Authorization"] == "Bearer secret"
    assert trace_id_of(headers["traceparent"]) == trace
    assert len(headers["Idempotency-Key"]) == 36


def test_a_token_that_rotates_is_used_at_once(server, client, tmp_path):
    client.call("GET", "/")
    (tmp_path / "token").write_text("other")
    client.call("GET", "/")
    assert [h["Authorization"] for h in server.seen] == ["Bearer secret", "Bearer other"]


@pytest.mark.parametrize("trouble", [(503, {}), (429, {}), (None, {})])
def test_a_call_is_repeated_under_the_same_key_while_the_service_is_away(server, client, trouble):
    server.answers += [trouble, trouble, (200, {"id": 7})]
    assert client.call("POST", "/v1/jobs", body={}).json() == {"id": 7}
    assert len({headers["Idempotency-Key"] for headers in server.seen}) == 1
    assert len(server.seen) == 3


def test_a_refusal_is_not_repeated_and_says_the_services_reason(server, client):
    server.answers += [(422, {"detail": "name: too long."})]
    with pytest.raises(RemoteError, match=r"name: too long\.") as caught:
        client.call("POST", "/v1/jobs", body={})
    assert caught.value.status == 422
    assert len(server.seen) == 1


def test_an_answer_that_is_no_problem_document_is_still_said(server, client):
    server.answers += [(404, ["nothing"])]
    with pytest.raises(RemoteError, match="404 Not Found"):
        client.call("GET", "/")


def test_a_service_that_stays_away_is_given_up(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}"
    server.answers += [(503, {"detail": "busy"})] * 50
    patient = ServiceClient(url, patience_seconds=0.3)
    with pytest.raises(RemoteError, match="busy"):
        patient.call("GET", "/")
    patient.close()


def test_a_service_that_is_not_there_is_unreachable():
    client = ServiceClient("http://127.0.0.1:1", patience_seconds=0.3)
    with pytest.raises(UnreachableError, match="did not answer"):
        client.call("GET", "/")
    client.close()


def test_a_long_answer_is_read_piece_by_piece_and_a_refusal_said(server, client):
    server.answers += [(200, {"a": 1}), (404, {"detail": "No such job."})]
    with client.stream("/log") as response:
        assert b"".join(response.iter_bytes()) == b'{"a": 1}'
    with pytest.raises(RemoteError, match="No such job"), client.stream("/log"):
        pass
