"""Answer over HTTP with the ONNX model: what the bundle's container runs.

GET  /health   200 when the model answers
POST /predict  {"instances": [...]} -> {"predictions": [...]}
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from preprocessing import InputError, Task  # noqa: E402 - beside this file
from runtimes import load  # noqa: E402

MAX_BODY_BYTES = 8 * 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    """One request."""

    task: Task
    run = None
    timeout = 30
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say whether this server lives."""
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"detail": "There are /health and /predict."})

    def do_POST(self) -> None:
        """Predict."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self._refuse(411, "Send a Content-Length.")
            return
        if not 0 <= length <= MAX_BODY_BYTES:
            self._refuse(413, f"A body may hold {MAX_BODY_BYTES} bytes.")
            return
        body = self.rfile.read(length)
        if self.path != "/predict":
            self._answer(404, {"detail": "There are /health and /predict."})
            return
        try:
            inputs = self.task.encode(_instances(body))
        except InputError as fault:
            self._answer(400, {"detail": str(fault)})
            return
        logits = type(self).run(inputs)
        self._answer(200, {"predictions": self.task.decode(logits, inputs)})

    def _refuse(self, status: int, detail: str) -> None:
        self.close_connection = True  # the body was not read
        self._answer(status, {"detail": detail})

    def _answer(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _instances(body: bytes) -> list:
    try:
        document = json.loads(body)
    except ValueError:
        raise InputError("The body is no JSON.") from None
    if not isinstance(document, dict) or not isinstance(document.get("instances"), list):
        raise InputError('The body lacks "instances", a list of examples.')
    return document["instances"]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    Handler.task = Task(
        HERE / "configs" / "task_spec.json",
        HERE / "signature.json",
        HERE / "tokenizer" / "tokenizer.json",
    )
    Handler.run = staticmethod(load(HERE / "artifacts", "onnx"))
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    stop = lambda *_: threading.Thread(target=server.shutdown).start()  # noqa: E731
    signal.signal(signal.SIGTERM, stop)
    print(f"Serving on port {server.server_port}", flush=True)
    with server:
        server.serve_forever()


if __name__ == "__main__":
    main()
