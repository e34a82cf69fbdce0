"""Every service's HTTP foundation: roles, limits, health, traces, problem documents."""

import json
import logging
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from flask_openapi3 import APIBlueprint
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError

from utils.service.auth import Token, write_tokens
from utils.service.logs import configure_logging, current_trace_id, traceparent, tracing
from utils.service.problems import ProblemError
from utils.service.settings import WebSettings, read_settings
from utils.service.web import BEARER, caller, create_web_app, role
from utils.training.errors import InvalidConfigError, UnknownNameError


class Item(BaseModel):
    name: str = Field(max_length=10)
    count: int = Field(ge=1)


class UnknownItemError(UnknownNameError, LookupError):
    """A library error that is a LookupError too."""


@pytest.fixture
def tokens_file(tmp_path):
    path = tmp_path / "tokens.json"
    past = datetime.now(UTC) - timedelta(seconds=1)
    write_tokens(
        path,
        [
            Token.of("ann", "admin", "admin-token"),
            Token.of("rob", "reader", "reader-token"),
            Token.of("old", "admin", "expired-token", expires=past),
        ],
    )
    return path


def make_app(tokens_file, *, checks=None, **settings):
    registry = CollectorRegistry()
    app = create_web_app(
        "sample",
        WebSettings(tokens_file=tokens_file, **settings),
        checks=checks or {},
        metrics=registry,
    )
    api = APIBlueprint("items", "items", url_prefix="/v1")

    @api.get("/items", security=BEARER)
    @role("reader")
    def listing():
        return {"caller": caller().name, "trace": current_trace_id()}

    @api.post("/items", security=BEARER)
    @role("submitter")
    def create(body: Item):
        return body.model_dump(), 201

    @api.get("/missing", security=BEARER)
    @role("reader")
    def missing():
        raise UnknownItemError("item", "onn", ["one", "two"])

    @api.get("/broken", security=BEARER)
    @role("reader")
    def broken():
        raise KeyError("the secret cause")

    @api.get("/away", security=BEARER)
    @role("reader")
    def away():
        raise OperationalError("SELECT secret", {}, Exception("terminated"))

    @api.get("/gone", security=BEARER)
    @role("reader")
    def gone():
        raise ProblemError(HTTPStatus.GONE, "It is gone.")

    @api.get("/unmarked")
    def unmarked():
        return {}

    app.register_api(api)
    return app


@pytest.fixture
def client(tokens_file):
    return make_app(tokens_file).test_client()


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("nonsense"), bearer(""), bearer("expired-token"), {"Authorization": "Basic abc"}],
)
def test_a_request_without_a_valid_token_is_answered_401(client, headers):
    answer = client.get("/v1/items", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.mimetype == "application/problem+json"
    assert "Authorization: Bearer" in answer.json["detail"]


def test_a_role_that_does_not_hold_is_answered_403(client):
    answer = client.post("/v1/items", headers=bearer("reader-token"), json={})
    assert answer.status_code == 403
    assert answer.json["detail"] == "rob has the role reader, and this needs the role submitter."


def test_the_holder_of_a_role_gets_through(client):
    assert client.get("/v1/items", headers=bearer("reader-token")).json["caller"] == "rob"
    created = client.post(
        "/v1/items", headers=bearer("admin-token"), json={"name": "a", "count": 1}
    )
    assert created.status_code == 201


def test_a_route_that_names_no_role_is_for_admins_only(client):
    assert client.get("/v1/unmarked").status_code == 401
    assert client.get("/v1/unmarked", headers=bearer("reader-token")).status_code == 403
    assert client.get("/v1/unmarked", headers=bearer("admin-token")).status_code == 200


def test_a_changed_tokens_file_holds_at_once(client, tokens_file):
    write_tokens(tokens_file, [Token.of("new", "reader", "new-token")])
    assert client.get("/v1/items", headers=bearer("reader-token")).status_code == 401
    assert client.get("/v1/items", headers=bearer("new-token")).status_code == 200


def test_a_bad_body_lists_every_fault(client):
    answer = client.post(
        "/v1/items", headers=bearer("admin-token"), json={"name": "a" * 11, "count": 0}
    )
    assert answer.status_code == 422
    assert "name is 'aaaaaaaaaaa': String should have" in answer.json["detail"]
    assert "count is 0: " in answer.json["detail"]


def test_a_body_over_the_limit_is_refused(tokens_file):
    client = make_app(tokens_file, max_body_bytes=1024).test_client()
    answer = client.post(
        "/v1/items", headers=bearer("admin-token"), json={"name": "a" * 2000, "count": 1}
    )
    assert answer.status_code == 413


def test_more_calls_than_the_rate_allows_are_refused_for_that_caller_only(tokens_file):
    client = make_app(tokens_file, rate_limit="2/minute").test_client()
    answers = [client.get("/v1/items", headers=bearer("reader-token")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "rob sent more requests than 2/minute" in answers[-1].json["detail"]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert client.get("/v1/items", headers=bearer("admin-token")).status_code == 200
    assert [client.get("/healthz").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/v1/missing", 404, "Did you mean: one?"),
        ("/v1/gone", 410, "It is gone."),
        ("/v1/nowhere", 404, "There is no such address here"),
    ],
)
def test_errors_are_problem_documents(client, path, status, detail):
    answer = client.get(path, headers=bearer("reader-token"))
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert detail in answer.json["detail"]
    assert answer.json["instance"] == path


def test_an_unexpected_error_tells_its_trace_id_and_not_its_cause(client, caplog):
    answer = client.get("/v1/broken", headers=bearer("reader-token"))
    assert answer.status_code == 500
    assert "secret cause" not in answer.text
    assert answer.json["trace_id"] == answer.headers["X-Trace-Id"]
    assert "the secret cause" in caplog.text


def test_a_database_that_is_away_is_503_and_worth_another_call(client):
    answer = client.get("/v1/away", headers=bearer("reader-token"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "secret" not in answer.text


def test_a_wrong_method_is_answered_405(client):
    answer = client.delete("/v1/items", headers=bearer("admin-token"))
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_a_trace_id_follows_the_request(client):
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = bearer("reader-token") | {"traceparent": traceparent(trace)}
    answer = client.get("/v1/items", headers=headers)
    assert answer.json["trace"] == answer.headers["X-Trace-Id"] == trace
    malformed = bearer("reader-token") | {"traceparent": "00-zz-1-01"}
    assert len(client.get("/v1/items", headers=malformed).json["trace"]) == 32


def test_readiness_names_what_is_not_ready(tokens_file):
    def fails():
        raise ConnectionError("no route")

    client = make_app(tokens_file, checks={"database": fails, "queue": lambda: None}).test_client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"] == {"database": "ConnectionError", "queue": "ok"}
    assert client.get("/healthz").status_code == 200


def test_requests_are_counted_by_route_not_by_path(client):
    client.get("/v1/items", headers=bearer("reader-token"))
    client.get("/v1/nowhere")
    text = client.get("/metrics").text
    assert 'http_requests_total{method="GET",route="/v1/items",status="200"} 1.0' in text
    assert 'route="unknown",status="404"' in text


def test_the_api_describes_itself(client):
    document = client.get("/docs/openapi.json").json
    assert document["openapi"].startswith("3.1")
    assert document["paths"]["/v1/items"]["get"]["security"] == [{"bearer": []}]
    assert client.get("/docs/swagger").status_code == 200


def test_settings_come_from_variables_and_files(tmp_path, tokens_file):
    (tmp_path / "port").write_text("8123\n")
    settings = read_settings(
        WebSettings,
        "TRAINING_SAMPLE",
        {
            "TRAINING_SAMPLE_TOKENS_FILE": str(tokens_file),
            "TRAINING_SAMPLE_PORT_FILE": str(tmp_path / "port"),
            "TRAINING_OTHER_PORT": "1",
        },
    )
    assert (settings.port, settings.tokens_file) == (8123, tokens_file)


def test_every_fault_of_the_settings_is_reported_at_once():
    with pytest.raises(InvalidConfigError) as caught:
        read_settings(
            WebSettings,
            "TRAINING_SAMPLE",
            {
                "TRAINING_SAMPLE_PROT": "8000",
                "TRAINING_SAMPLE_PORT": "70000",
                "TRAINING_SAMPLE_HOST_FILE": "/nowhere",
                "TRAINING_SAMPLE_RATE_LIMIT": "many",
            },
        )
    assert len(caught.value.faults) == 5
    assert "Did you mean: TRAINING_SAMPLE_PORT?" in str(caught.value)


def test_logs_are_json_with_the_trace_id(capsys):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging("sample")
        with tracing(None) as trace:
            logging.getLogger("x").info("hello %s", "you", extra={"job_id": 7})
        line = json.loads(capsys.readouterr().err)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert line["message"] == "hello you"
    assert (line["service"], line["level"], line["job_id"]) == ("sample", "INFO", 7)
    assert line["trace_id"] == trace
