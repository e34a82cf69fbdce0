"""Replies that are lost after the service has done what it was asked."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.chaos.conftest import slow_job

pytestmark = pytest.mark.chaos


class LossyProxy(ThreadingHTTPServer):
    """Passes every call on, and keeps the first reply to each that writes to itself."""

    daemon_threads = True

    def __init__(self, target):
        self.target = target
        self.lost = set()
        self.client = httpx.Client(base_url=target, timeout=60, trust_env=False)
        super().__init__(("127.0.0.1", 0), _Passing)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()
        self.client.close()


class _Passing(BaseHTTPRequestHandler):
    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(pieces)

    def _pass_on(self):
        body = self._body()
        dropped = ("host", "content-length", "connection", "transfer-encoding")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        proxy = self.server
        answer = proxy.client.request(self.command, self.path, content=body, headers=headers)
        what = (self.command, self.path.partition("?")[0])
        if self.command != "GET" and answer.is_success and what not in proxy.lost:
            proxy.lost.add(what)
            return
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_HEAD = _pass_on  # noqa: N815 - the library's names

    def log_message(self, *_):
        """Say nothing of each call."""


@pytest.fixture
def proxies(platform):
    found = {name: LossyProxy(platform.url(name)) for name in ("scheduler", "registry")}
    yield found
    for proxy in found.values():
        proxy.close()


def test_calls_whose_first_reply_is_lost_take_effect_once(
    platform, undisturbed, proxies, record_property
):
    for name, trainer in list(platform.trainers.items()):
        trainer.stop()
        platform.trainers.pop(name)
    platform.start_trainers(
        "trainer-lossy",
        SCHEDULER_URL=proxies["scheduler"].url,
        REGISTRY_URL=proxies["registry"].url,
        LEASE_SECONDS=20,
    )
    try:
        job = platform.scheduler.submit("training", slow_job("lossy"))
        done = platform.end_of(job, 240)
    finally:
        platform.trainers.pop("trainer-lossy").stop()
    assert done.status == "completed", (done.error, platform.log(job))
    assert done.attempt == 1
    assert done.result["bundle_digest"] == undisturbed
    assert len(platform.registry.list_models(name="lossy").items) == 1
    assert len(platform.registry.list_runs(name=f"lossy job {job.job_id}").items) == 1
    assert [e.to_status for e in platform.scheduler.history(job.job_id)] == [
        "pending",
        "claimed",
        "running",
        "completed",
    ]
    lost = {path for proxy in proxies.values() for _, path in proxy.lost}
    wanted = ("/v1/claims", "start", "heartbeat", "finish", "/v1/runs", "/v1/models", "checkpoint")
    wanted += ("metrics", "evaluations", "promote", "status")
    assert not [word for word in wanted if not any(path.endswith(word) for path in lost)]
    record_property("tried", len(lost))
