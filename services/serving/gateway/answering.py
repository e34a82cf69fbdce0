"""From a request's body to its answer: which version, which status, what is counted."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from services.serving.backends.protocol import (
    Backend,
    InputRefusedError,
    UnavailableError,
    Version,
)
from services.serving.catalogue import Catalogue, UnknownModelError
from services.serving.gateway.contract import Contracts
from services.serving.gateway.features import Answered
from services.serving.gateway.forms import Answer, Document, Form, Question
from services.serving.gateway.summaries import Summaries
from services.serving.metrics import ServingMetrics
from utils.service.logs import current_trace_id
from utils.service.problems import ProblemError

_RETRY_SECONDS = "1"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")


def not_ready(detail: str) -> ProblemError:
    """503, with the time after which the same request may succeed."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": _RETRY_SECONDS})


@dataclass(frozen=True)
class Answering:
    """Answers predictions, whatever their form.

    ``is_expected`` says of a name that is not served whether it may be in a moment;
    ``sample_rate`` is the share of requests that the monitor is told of.
    """

    catalogue: Catalogue
    contracts: Contracts
    backend: Backend
    metrics: ServingMetrics
    summaries: Summaries
    is_expected: Callable[[str], bool]
    sample_rate: float

    def answer(self, name: str, version: str | None, form: Form) -> Response:
        """Answer the request in hand by a version, the current one where none is named.

        A version may go while its request waits, when it takes longer than a switch allows: where
        none was named, the one that took over is asked, once.

        Raises:
            ProblemError: 400 by the client's fault, 404 for what is not served, 503 for what can't
                be answered now.
        """
        try:
            with self.using(name, version) as held:
                return self._answer(held, form, may_move=version is None)
        except _MovedError:
            with self.using(name, None) as held:
                return self._answer(held, form, may_move=False)

    @contextmanager
    def using(self, name: str, version: str | None) -> Iterator[Version]:
        """Hold a version, as the catalogue does.

        Raises:
            ProblemError: 404 for what is not served, 503 for what may be in a moment.
        """
        with ExitStack() as stack:
            try:
                held = stack.enter_context(self.catalogue.using(name, version))
            except UnknownModelError:
                if version is None and self.is_expected(name):
                    raise not_ready(f"No version of {name} is loaded yet; try again.") from None
                raise
            try:
                yield held
            except UnavailableError as error:
                raise not_ready(str(error)) from error

    def _answer(self, version: Version, form: Form, *, may_move: bool) -> Response:
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        question = answered = None
        in_flight = self.metrics.in_flight.labels(version.name)
        in_flight.inc()
        try:
            contract = self.contracts.of(version)
            document = _body()
            question = form.read(document, contract)
            answered = form.ask(question, self.backend, version, contract)
            response = _response(
                form.write(document, question, answered, version, contract), version
            )
            status = response.status_code
        except InputRefusedError as error:
            status = HTTPStatus.BAD_REQUEST.value
            raise ProblemError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except UnavailableError as error:
            if may_move and self.catalogue.current(version.name) not in (None, version):
                status = 0
                raise _MovedError from error
            status = HTTPStatus.SERVICE_UNAVAILABLE.value
            raise
        except HTTPException as error:
            status = error.code or status
            raise
        finally:
            in_flight.dec()
            if status:
                self._tell(version, status, question, answered)
        return response

    def _tell(
        self, version: Version, status: int, question: Question | None, answered: Answer | None
    ) -> None:
        """Count an answer, and tell the monitor of it unless the client was at fault."""
        seconds = time.perf_counter() - g.started
        labels = (version.name, version.version)
        self.metrics.requests.labels(*labels, status).inc()
        self.metrics.request_seconds.labels(*labels).observe(seconds)
        is_fault_of_client = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        if is_fault_of_client or random.random() >= self.sample_rate:  # noqa: S311 - no secret
            return
        self.summaries.offer(
            Answered(
                version=version,
                contract=self.contracts.known(version),
                question=question,
                answer=answered,
                at=datetime.now(UTC),
                latency_ms=seconds * 1000,
                is_error=status >= HTTPStatus.INTERNAL_SERVER_ERROR,
                trace_id=current_trace_id(),
                num_bytes=request.content_length or 0,
            )
        )


class _MovedError(Exception):
    """The version went, and another one answers for its name."""


def _body() -> Document:
    try:
        document: Any = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise InputRefusedError(f"The body is no JSON: {error}.") from None
    if not isinstance(document, dict):
        raise InputRefusedError('The body is no JSON object with "inputs" or "instances".')
    return document


def _response(document: Document, version: Version) -> Response:
    response = Response(orjson.dumps(document), mimetype="application/json")
    response.headers["X-Model-Name"] = version.name
    response.headers["X-Model-Version"] = version.version
    request_id = request.headers.get("X-Request-Id", "")
    if _REQUEST_ID.fullmatch(request_id):
        response.headers["X-Request-Id"] = request_id
    return response
