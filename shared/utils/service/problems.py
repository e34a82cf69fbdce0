"""Errors over HTTP: RFC 9457 problem documents, one sentence each."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, jsonify, request
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from utils.service.contracts.faults import faults_of
from utils.service.logs import current_trace_id
from utils.training.errors import TrainingError

log = logging.getLogger(__name__)

_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)  # of the database, for a while


class ProblemDocument(BaseModel):
    """What every error answers, as ``application/problem+json``."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str | None = None


class ProblemError(TrainingError):
    """An answer other than success, raised where it is found."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


# What a library error means over HTTP, by the built-in that it also is; the first match holds.
_STATUS_OF_LIBRARY_ERRORS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (LookupError, HTTPStatus.NOT_FOUND),
    (FileNotFoundError, HTTPStatus.NOT_FOUND),
    (PermissionError, HTTPStatus.FORBIDDEN),
    (ValueError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (RuntimeError, HTTPStatus.CONFLICT),
)


def problem_response(
    status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """A problem document for the request in hand."""
    document = ProblemDocument(
        title=status.phrase,
        status=status.value,
        detail=detail,
        instance=request.path,
        trace_id=current_trace_id(),
    )
    response = jsonify(document.model_dump(exclude_none=True))
    response.status_code = status.value
    response.mimetype = "application/problem+json"
    response.headers.update(headers or {})
    return response


def validation_problem(error: ValidationError) -> Response:
    """All of a request's faults in one problem document."""
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(faults_of(error)))


def answer_errors_with_problems(app: Flask) -> None:
    """Answer every error of an app with a problem document."""
    _answer_faulty_values(app)

    @app.errorhandler(ProblemError)
    def own(error: ProblemError) -> Response:
        return problem_response(error.status, str(error), error.headers)

    @app.errorhandler(TrainingError)
    def library(error: TrainingError) -> Response:
        for kind, status in _STATUS_OF_LIBRARY_ERRORS:
            if isinstance(error, kind):
                return problem_response(status, str(error))
        return unexpected(error)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = dict(error.get_headers()) if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        headers.pop("Content-Type", None)
        detail = error.description or status.phrase
        if request.url_rule is None and status == HTTPStatus.NOT_FOUND:
            detail = "There is no such address here; /docs/openapi.json lists those there are."
        return problem_response(status, detail, headers)

    def away(error: Exception) -> Response:
        log.warning("The database did not answer; the caller is told to come again. %s", error)
        return problem_response(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database does not answer now; try again.",
            {"Retry-After": "1"},
        )

    for kind in _AWAY:
        app.register_error_handler(kind, away)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("A request failed; its caller was answered 500.", exc_info=error)
        return problem_response(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The service failed; its log has the cause under this trace id.",
        )


def _answer_faulty_values(app: Flask) -> None:
    """Refuse what only the decoder or the database finds wrong with a request."""

    @app.errorhandler(DataError)
    def unkeepable(error: DataError) -> Response:
        log.info("A request held a value that no column can hold. %s", error.orig)
        return problem_response(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "A number of the request is too large, or a text has a zero byte; send another.",
        )

    @app.errorhandler(RecursionError)
    def too_deep(error: RecursionError) -> Response:
        log.info("A request was nested too deeply. %s", error)
        return problem_response(
            HTTPStatus.BAD_REQUEST, "The body is nested too deeply; send a flatter one."
        )
