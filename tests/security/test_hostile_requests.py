"""Requests that are made to break a service: refused in a sentence, and nothing is changed."""

from __future__ import annotations

import base64
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import psutil
import pytest

from tests.security.permissions import PERMISSIONS
from tests.security.platform import SERVICES, as_json, filled, job_config

GIGABYTES = 2 * 1024**3
NUL = "a\0b"
SURROGATE = "a\ud800b"
HUGE = 10**40
WRITING = [
    (service, *route.split(" "))
    for service, routes in PERMISSIONS.items()
    for route in routes
    if route.startswith(("POST", "PUT"))
]


@pytest.fixture(scope="module")
def run_id(platform):
    """A run that points may be logged to."""
    return platform.send("registry", "POST", "/v1/runs", json={"name": "r"}).json()["run_id"]


def submission(**changes):
    """A job for much later: one under way changes what is compared."""
    later = (datetime.now(UTC) + timedelta(days=900)).isoformat()
    return {"job_type": "training", "config": job_config(), "run_after": later, **changes}


# --- values that a database, a file or JSON itself can't hold -------------------------------

VALUES = {
    "a zero byte": NUL,
    "half a surrogate pair": SURROGATE,
    "a number of 40 digits": HUGE,
    "a negative number": -1,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "a list in a list in a list": json.loads("[" * 60 + "]" * 60),
    "null": None,
}

PLACES = {
    "a job's reason": ("scheduler", "/v1/jobs", lambda v: submission(reason=v)),
    "a job's resources": ("scheduler", "/v1/jobs", lambda v: submission(resources={"x": v})),
    "a job's predecessors": ("scheduler", "/v1/jobs", lambda v: submission(after=[v])),
    "a job's arguments": (
        "scheduler",
        "/v1/jobs",
        lambda v: submission(
            config=job_config(model={"entry_point": "a:b", "arguments": {"x": v}})
        ),
    ),
    "a worker's name": ("scheduler", "/v1/claims", lambda v: {"worker_id": v}),
    "a fencing token": ("scheduler", "/v1/claims/1/start", lambda v: {"fencing_token": v}),
    "a progress": (
        "scheduler",
        "/v1/claims/1/heartbeat",
        lambda v: {"fencing_token": 1, "progress": {"step": 1, "loss": v}},
    ),
    "a signal": (
        "scheduler",
        "/v1/triggers/digits/signals",
        lambda v: {"drift_score": v, "affected_features": [v]},
    ),
    "a run's name": ("registry", "/v1/runs", lambda v: {"name": v}),
    "a run's config": ("registry", "/v1/runs", lambda v: {"name": "x", "config": {"x": v}}),
    "a key of a run's config": (
        "registry",
        "/v1/runs",
        lambda v: {"name": "x", "config": {str(v): 1}},
    ),
    "a tag": ("registry", "/v1/runs", lambda v: {"name": "x", "tags": {"x": v}}),
    "a metric's name": (
        "registry",
        "/v1/runs/{run_id}/metrics",
        lambda v: {"points": [{"name": v, "value": 1}]},
    ),
    "a metric's step": (
        "registry",
        "/v1/runs/{run_id}/metrics",
        lambda v: {"points": [{"name": "x", "value": 1, "step": v}]},
    ),
    "a metric's value": (
        "registry",
        "/v1/runs/{run_id}/metrics",
        lambda v: {"points": [{"name": "x", "value": v, "step": 1}]},
    ),
    "a model's metadata": (
        "registry",
        "/v1/models",
        lambda v: {
            "name": "x",
            "bundle_digest": "0" * 64,
            "task_type": "t",
            "metadata": {"x": v},
        },
    ),
    "a feedback": (
        "monitor",
        "/v1/feedback/digits",
        lambda v: {"model_version": v, "metrics": {"accuracy": v}, "rows": v},
    ),
    "a feedback's metric": (
        "monitor",
        "/v1/feedback/digits",
        lambda v: {"model_version": "1", "metrics": {"accuracy": v}, "rows": 1},
    ),
}
HARMLESS = ("null", "a list in a list in a list", "a number of 40 digits", "a negative number")
STRINGS = ("a zero byte", "half a surrogate pair")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_that_can_not_be_kept_makes_nothing_fail(place, kind, platform, run_id, tried):
    service, path, body = PLACES[place]
    content = as_json(body(VALUES[kind]))
    headers = {"Content-Type": "application/json"}
    path = path.format(run_id=run_id)
    if kind in STRINGS:
        platform.refuses(service, "POST", path, content=content, headers=headers)
    else:
        response = platform.send(service, "POST", path, content=content, headers=headers)
        assert response.status_code < 500, response.text
        if response.content:
            json.loads(response.content, parse_constant=pytest.fail)
    tried("hostile inputs", f"values: {kind}")


def test_what_was_kept_of_odd_values_can_be_read_again(platform, run_id):
    for service, path in (
        ("scheduler", "/v1/jobs"),
        ("registry", "/v1/runs"),
        ("registry", f"/v1/runs/{run_id}/metrics"),
        ("registry", f"/v1/runs/compare?ids={run_id}"),
        ("monitor", "/v1/drift"),
    ):
        response = platform.send(service, "GET", path, "reader")
        assert response.status_code == 200, response.text
        json.loads(response.content, parse_constant=pytest.fail)


# --- queries, cursors, headers ---------------------------------------------------------------


def cursor(*keys):
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


CURSORS = {
    "no base64": "%%%",
    "other letters": "ä" * 40,
    "no JSON": base64.urlsafe_b64encode(b"\x00\xff{").decode(),
    "a truth for a number": cursor(True),
    "a list for a number": cursor([1]),
    "an object": base64.urlsafe_b64encode(b'{"a":1}').decode(),
    "too many keys": cursor(1, 2, 3, 4),
    "a text with a quote": cursor("' OR 1=1 --"),
    "a zero byte": cursor(NUL, NUL, NUL),
    "a huge number": cursor(HUGE),
    "a number that is none": cursor(float("nan"), 1),
    "an infinite number": cursor(float("inf"), 1),
    "a truth for a metric": cursor(True, True),
    "texts": cursor("a", "b", "c"),
    "a zero byte in a name": cursor("a\0", "b", "c"),
    "a deep list": base64.urlsafe_b64encode(b"[" * 300).decode(),
    "a long text": "a" * 501,
    "nothing": "",
}
LISTS = [
    ("scheduler", "/v1/jobs"),
    ("scheduler", "/v1/schedules"),
    ("scheduler", "/v1/triggers"),
    ("scheduler", "/v1/jobs/1/events"),
    ("registry", "/v1/models"),
    ("registry", "/v1/runs"),
    ("registry", "/v1/runs/{run_id}/metrics"),
]


@pytest.mark.parametrize("kind", CURSORS)
def test_a_cursor_that_was_tampered_with_is_refused(kind, platform, run_id, tried):
    for service, path in LISTS:
        path = path.format(run_id=run_id)  # noqa: PLW2901
        params = {"cursor": CURSORS[kind]}
        response = platform.send(service, "GET", path, "reader", params=params)
        assert response.status_code < 500, (path, response.text)
        tried("hostile inputs", "cursors")


QUERIES = [
    ("registry", "/v1/models?limit=99999999999999999999"),
    ("registry", "/v1/models?limit=-1"),
    ("registry", "/v1/models?text=" + quote(NUL)),
    ("registry", "/v1/models?text=%25%5C_%27%22"),
    ("registry", "/v1/models?name=%00"),
    ("registry", "/v1/models?unknown=1"),
    ("registry", "/v1/runs?name=%00"),
    ("registry", "/v1/runs?status=%00"),
    ("registry", "/v1/runs?status=nonsense"),
    ("registry", "/v1/runs/compare?ids=" + str(HUGE)),
    ("registry", "/v1/models/compare?ids=" + str(HUGE)),
    ("registry", "/v1/models/compare?ids=-1"),
    ("registry", "/v1/models/compare"),
    ("registry", "/v1/models/compare?" + "&".join(["ids=1"] * 51)),
    ("registry", f"/v1/models/{HUGE}"),
    ("registry", f"/v1/models/{'9' * 3000}"),
    ("registry", f"/v1/runs/{HUGE}"),
    ("registry", f"/v1/runs/{HUGE}/metrics"),
    ("registry", f"/v1/jobs/{HUGE}/checkpoint"),
    ("registry", "/v1/models/tagged?name=digits&as_of=0001-01-01T00:00:00%2B14:00"),
    ("registry", "/v1/models/tagged?name=digits&as_of=9999-12-31T23:59:59-14:00"),
    ("registry", "/v1/models/tagged?name=digits&as_of=2026-01-01"),
    ("scheduler", f"/v1/jobs/{HUGE}"),
    ("scheduler", f"/v1/jobs/{HUGE}/events"),
    ("scheduler", f"/v1/jobs/1/events?cursor={HUGE}"),
    ("scheduler", f"/v1/jobs/1/log?offset={HUGE}"),
    ("scheduler", f"/v1/jobs/1/log?offset=-{HUGE}"),
    ("scheduler", f"/v1/schedules/{HUGE}"),
    ("scheduler", "/v1/jobs?status=%00"),
    ("scheduler", "/v1/jobs?model_name=..%2f..%2fetc"),
    ("scheduler", "/v1/queues/%00"),
    ("scheduler", "/v1/queues/..%2f.."),
    ("monitor", "/v1/drift/digits?limit=0"),
    ("monitor", "/v1/drift/%00"),
    ("monitor", "/v1/drift/*"),
    ("serving", "/v2/models/%00"),
    ("serving", "/v2/models/digits/versions/%00"),
    ("serving", "/v2/models/digits/versions/%ff%fe"),
    ("serving", "/v2/models/digits/versions/..%2f..%2f"),
    ("serving", "/v2/models/digits/versions/" + "9" * 3000),
]


@pytest.mark.parametrize(("service", "path"), QUERIES, ids=[f"{s}{p[:50]}" for s, p in QUERIES])
def test_an_odd_query_makes_nothing_fail(service, path, platform, tried):
    response = platform.send(service, "GET", path, "reader")
    assert response.status_code < 500, response.text
    tried("hostile inputs", "queries")


KEYS = ["", "a" * 151, "a" * 7000, "ä", "a b", "a\tb", "\x7f", "'; DROP TABLE jobs; --"]
KEYED = [
    ("scheduler", "/v1/jobs", submission()),
    ("scheduler", "/v1/triggers/digits/signals", {}),
    ("scheduler", "/v1/jobs/1/log", {"fencing_token": 1, "text": "x"}),
    ("registry", "/v1/runs", {"name": "x"}),
]


@pytest.mark.parametrize("key", KEYS, ids=[repr(key)[:20] for key in KEYS])
def test_an_odd_idempotency_key_makes_nothing_fail(key, platform, tried):
    for service, path, body in KEYED:
        headers = {"Idempotency-Key": key.encode("latin-1")}
        response = platform.send(service, "POST", path, json=body, headers=headers)
        assert response.status_code < 500, response.text
        tried("hostile inputs", "headers")


def test_a_key_belongs_to_its_caller(platform):
    """What one caller names a request, another one does not get by the same name."""
    headers = {"Idempotency-Key": "the-same"}
    one = platform.send("scheduler", "POST", "/v1/jobs", json=submission(), headers=headers)
    other = platform.send(
        "scheduler", "POST", "/v1/jobs", "submitter", json=submission(), headers=headers
    )
    assert one.json()["job_id"] != other.json()["job_id"]


HEADERS = [
    {"Upload-Offset": "9" * 5000, "Upload-Length": "9" * 5000},
    {"Upload-Offset": "-1", "Upload-Length": "1"},
    {"Upload-Offset": "1e9", "Upload-Length": "1"},
    {"Upload-Offset": "0", "Upload-Length": "9" * 30},
    {"Upload-Offset": b"\xb2", "Upload-Length": "1"},
    {"Upload-Offset": "7", "Upload-Length": "9"},
    {},
]


@pytest.mark.parametrize("headers", HEADERS, ids=range(len(HEADERS)))
def test_an_upload_of_odd_sizes_is_refused(headers, platform, tried):
    path = f"/v1/artifacts/{'a' * 64}"
    platform.refuses("registry", "PUT", path, "trainer", headers=headers, content=b"x")
    tried("hostile inputs", "headers")


@pytest.mark.parametrize("wanted", ["bytes=" + "9" * 5000 + "-", "bytes=0-0", "bytes=-5", "x"])
def test_an_odd_range_makes_nothing_fail(wanted, platform, tried):
    digest = platform.put_artifact(b"some bytes")
    path = f"/v1/artifacts/{digest}"
    response = platform.send("registry", "GET", path, headers={"Range": wanted})
    assert response.status_code in {200, 206, 416}
    tried("hostile inputs", "headers")


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": "00-" + "g" * 32 + "-x"},
        {"traceparent": b"\xff\x00".replace(b"\x00", b"") * 100},
        {"X-Request-Id": "a" * 500},
        {"Last-Event-Id": str(HUGE)},
        {"Last-Event-Id": "x"},
        {"Content-Type": "application/json; charset=utf-7"},
        {"Content-Type": b"\xff\xfe"},
        {"Accept": "text/event-stream;q=nan"},
        {"Host": "evil.example"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"Expect": "100-continue"},
    ],
    ids=str,
)
def test_an_odd_header_makes_nothing_fail(headers, platform, tried):
    for service in SERVICES:
        path = "/v1/jobs/1/events" if service == "scheduler" else "/v1/models"
        response = platform.send(service, "GET", path, "reader", headers=headers)
        assert response.status_code < 500, response.text
        assert "evil.example" not in str(response.headers)
        tried("hostile inputs", "headers")


# --- bodies ------------------------------------------------------------------------------------

BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "bytes that are no text": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"nonsense": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"nonsense": "x"}',
    "the same key twice": b'{"name": "x", "name": 1}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "a number of 5,000 digits": b'{"name": ' + b"9" * 5000 + b"}",
    "a number beyond floats": b'{"name": 1e999}',
    "XML": b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>",
    "a prototype": b'{"__proto__": {"admin": true}, "__class__": "x"}',
}


@pytest.mark.parametrize("kind", BODIES)
def test_an_odd_body_is_refused_everywhere(kind, platform, tried):
    before = platform.state()
    for service, method, path in WRITING:
        response = platform.send(
            service,
            method,
            filled(path),
            content=BODIES[kind],
            # A connection whose body was not read to its end is closed behind the answer.
            headers={"Content-Type": "application/json", "Connection": "close"},
        )
        assert response.status_code < 500, (path, response.text)
        if not path.endswith(("/pause", "/resume", "/cancel")):
            assert response.status_code >= 400, (path, response.text)
        tried("hostile inputs", "bodies")
    assert platform.changes_since(before) == []
    assert not [s.name for s in platform.stack.state.services if s.restarts]


class Exchange:
    """A request over a bare socket, whose body never ends; it tells what came back and when."""

    def __init__(self, platform, service, method, path, headers, piece=b"a" * 65536):
        where = urlsplit(platform.urls[service])
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {where.netloc}",
            f"Authorization: Bearer {platform.tokens['admin']}",
            "Content-Type: application/json",
            *headers,
        ]
        self.sent = 0
        self.answer = b""
        with socket.create_connection((where.hostname, where.port), 30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            self._send_until_answered(connection, piece)

    def _send_until_answered(self, connection, piece):
        connection.settimeout(0.05)
        deadline = time.monotonic() + 30
        while b"\r\n\r\n" not in self.answer and time.monotonic() < deadline:
            try:
                self.answer += connection.recv(65536)
            except TimeoutError:
                try:
                    self.sent += connection.send(piece)
                except (TimeoutError, ConnectionError):
                    continue
            except ConnectionError:
                return

    @property
    def status(self):
        return int(self.answer.split(b" ", 2)[1]) if self.answer else None


def large_bodies():
    for service, method, path in WRITING:
        if not path.startswith("/v1/artifacts"):
            yield service, method, filled(path)


@pytest.mark.parametrize("kind", ["announced", "in chunks"])
def test_two_gigabytes_are_refused_before_they_are_read(kind, platform, tried):
    before = platform.state()
    memory = {name: resident(platform, name) for name in SERVICES}
    limits = {"serving": 8 * 1024**2}
    for service, method, path in large_bodies():
        piece = b"a" * 65536
        if kind == "announced":
            headers = [f"Content-Length: {GIGABYTES}"]
        else:
            headers = ["Transfer-Encoding: chunked"]
            piece = b"10000\r\n" + piece + b"\r\n"
        exchange = Exchange(platform, service, method, path, headers, piece)
        assert exchange.status in {400, 404, 413, 422}, (path, exchange.answer[:500])
        assert exchange.sent <= limits.get(service, 1024**2) + 16 * 1024**2, path
        tried("hostile inputs", f"bodies of 2 GB, {kind}")
    assert platform.changes_since(before) == []
    for name in SERVICES:
        assert resident(platform, name) - memory[name] < 100 * 1024**2, name


def test_more_bytes_than_an_upload_announced_are_refused_at_once(platform, tried):
    """Otherwise a small artifact would fill the disk with what follows it."""
    before = platform.state()
    path = f"/v1/artifacts/{'b' * 64}"
    sizes = ["Upload-Offset: 0", "Upload-Length: 10"]
    for headers in ([f"Content-Length: {GIGABYTES}"], ["Transfer-Encoding: chunked"]):
        piece = b"a" * 65536
        if "chunked" in headers[0]:
            piece = b"10000\r\n" + piece + b"\r\n"
        exchange = Exchange(platform, "registry", "PUT", path, [*sizes, *headers], piece)
        assert exchange.status in {409, 413}, exchange.answer[:500]
        assert exchange.sent < 16 * 1024**2
        tried("hostile inputs", "bodies of 2 GB, as an upload")
    assert platform.changes_since(before) == []


def resident(platform, service):
    """The memory of a service's processes, in bytes."""
    member = next(s for s in platform.stack.state.services if s.kind == service)
    process = psutil.Process(member.pid)
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])


# --- paths ------------------------------------------------------------------------------------

CLIMBS = [
    "../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..\\..\\etc\\passwd",
    "....//....//etc/passwd",
    "%00",
    "a/../../secrets/tokens.json",
    "%252e%252e%252fetc",
    "/etc/passwd",
    "con",
]


@pytest.mark.parametrize("climb", CLIMBS)
def test_a_path_leads_nowhere(climb, platform, tried):
    for service, prefix in (
        ("registry", "/v1/artifacts/"),
        ("registry", "/v1/names/"),
        ("registry", "/v1/models/"),
        ("scheduler", "/v1/jobs/"),
        ("scheduler", "/v1/triggers/"),
        ("serving", "/v2/models/"),
        ("serving", "/docs/"),
        ("serving", "/docs/swagger/"),
        ("monitor", "/v1/drift/"),
    ):
        response = platform.send(service, "GET", prefix + climb)
        assert response.status_code in {200, 301, 302, 308, 400, 404, 405, 422}, response.text
        assert "root:" not in response.text
        if response.status_code == 200:
            assert service == "monitor"
            assert response.json()["items"] == []
        tried("hostile inputs", "paths")
