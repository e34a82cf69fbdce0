"""What every HTTP service has: roles, health, metrics, limits, traces, an OpenAPI document."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar

from flask import Response, g, jsonify, redirect, request
from flask_openapi3 import Info, OpenAPI
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from werkzeug.wrappers import Response as AnyResponse

from utils.service.auth import Caller, Role, TokenBook
from utils.service.logs import current_trace_id, trace_id_of, tracing
from utils.service.problems import (
    ProblemDocument,
    ProblemError,
    answer_errors_with_problems,
    validation_problem,
)
from utils.service.rates import RateLimit
from utils.service.settings import WebSettings
from utils.training import __version__

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])
Check = Callable[[], object]

_UNLIMITED = ("healthz", "readyz", "scrape")  # what an orchestrator and Prometheus ask
_ROLE = "needed_role"  # the attribute of a view that says who may call it
BEARER: list[dict[str, list[Any]]] = [{"bearer": []}]  # what a route's ``security`` says

# What every route may answer; a blueprint says it by ``abp_responses``.
REFUSALS: dict[str | int | HTTPStatus, Any] = dict.fromkeys(
    (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS), ProblemDocument
)


def role(*needed: Role) -> Callable[[View], View]:
    """Say which roles a view asks for, any of them; a view that names none is for admins."""

    def mark(view: View) -> View:
        setattr(view, _ROLE, needed)
        return view

    return mark


def public(view: View) -> View:
    """Say that a view asks for no token."""
    setattr(view, _ROLE, None)
    return view


def caller() -> Caller:
    """Who sent the request in hand."""
    who: Caller = g.caller
    return who


def create_web_app(
    name: str,
    settings: WebSettings,
    *,
    checks: Mapping[str, Check],
    metrics: CollectorRegistry,
    optional_checks: Mapping[str, Check] = MappingProxyType({}),
) -> OpenAPI:
    """An app with everything but its own routes.

    Args:
        name: the service's name, such as ``scheduler``.
        settings: limits and the tokens file.
        checks: what ``/readyz`` tries, by name; a check that raises makes the service unready.
        metrics: what ``/metrics`` shows; request counts, latencies and the process's own numbers
            (start, memory, open files) are added to it.
        optional_checks: tried and told too, for what the service can do without for a while.
    """
    app = OpenAPI(
        name,
        info=Info(title=f"training-engine {name}", version=__version__),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        responses=REFUSALS,
        validation_error_callback=validation_problem,
        validation_error_model=ProblemDocument,
        doc_prefix="/docs",
    )
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    answer_errors_with_problems(app)
    _measure(app, metrics)
    _trace(app)
    _authenticate(app, TokenBook(settings.tokens_file))
    _limit_rates(app, settings.rate_limit)
    _add_operational_routes(app, checks, optional_checks, metrics)
    return app


def _trace(app: OpenAPI) -> None:
    @app.before_request
    def enter() -> None:
        g.trace = tracing(trace_id_of(request.headers.get("traceparent")))
        g.trace.__enter__()

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers["X-Trace-Id"] = current_trace_id() or ""
        return response

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        trace = g.pop("trace", None)
        if trace is not None:
            trace.__exit__(None, None, None)


def _authenticate(app: OpenAPI, book: TokenBook) -> None:
    @app.before_request
    def check() -> None:
        if request.url_rule is None or request.blueprint in ("openapi", "swagger"):
            return  # 404, 405, or the API's description, which is no secret
        view = app.view_functions[str(request.endpoint)]
        needed: tuple[Role, ...] | None = getattr(view, _ROLE, ("admin",))
        if needed is None:
            return
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        who = book.caller(text.strip()) if scheme.lower() == "bearer" else None
        if who is None:
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                "No valid token came with the request; send 'Authorization: Bearer <token>'.",
                {"WWW-Authenticate": "Bearer"},
            )
        if not any(who.holds(one) for one in needed):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                f"{who.name} has the role {who.role}, and this needs the role "
                f"{' or '.join(needed)}.",
            )
        g.caller = who


def _limit_rates(app: OpenAPI, rate: str) -> None:
    limit = RateLimit(rate)

    @app.before_request
    def count() -> None:
        if request.url_rule is None or request.endpoint in _UNLIMITED:
            return
        who = g.get("caller")
        name = who.name if who else str(request.remote_addr)
        wait_seconds = limit.wait_seconds((name, request.endpoint))
        if wait_seconds:
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{name} sent more requests than {rate} to this route; wait {wait_seconds} s.",
                {"Retry-After": str(wait_seconds)},
            )


def _measure(app: OpenAPI, metrics: CollectorRegistry) -> None:
    ProcessCollector(registry=metrics)
    labels = ["method", "route", "status"]
    count = Counter("http_requests_total", "Requests answered.", labels, registry=metrics)
    seconds = Histogram(
        "http_request_duration_seconds", "Time to answer.", ["method", "route"], registry=metrics
    )

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def stop(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unknown"
        count.labels(request.method, route, response.status_code).inc()
        started = g.get("started")
        if started is not None:
            seconds.labels(request.method, route).observe(time.perf_counter() - started)
        return response


def _add_operational_routes(
    app: OpenAPI,
    checks: Mapping[str, Check],
    optional_checks: Mapping[str, Check],
    metrics: CollectorRegistry,
) -> None:
    @app.get("/healthz", doc_ui=False)
    @public
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz", doc_ui=False)
    @public
    def readyz() -> tuple[Response, int]:
        states = {name: _state(name, check) for name, check in checks.items()}
        ready = all(state == "ok" for state in states.values())
        states |= {name: _state(name, check) for name, check in optional_checks.items()}
        word = "ok" if set(states.values()) <= {"ok"} else "degraded" if ready else "unready"
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(status=word, checks=states), status.value

    @app.get("/metrics", doc_ui=False)
    @public
    def scrape() -> Response:
        return Response(generate_latest(metrics), content_type=CONTENT_TYPE_LATEST)

    @app.get("/", doc_ui=False)
    @public
    def home() -> AnyResponse:
        return redirect("/docs/swagger")


def _state(name: str, check: Check) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the service is unready and says why
        log.warning("Not ready: %s: %s", name, error)
        return type(error).__name__
    return "ok"
