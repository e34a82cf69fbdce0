"""Calls to another service: time-outs, retries that repeat nothing, the trace that goes along."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import tenacity

from utils.service.logs import current_trace_id, traceparent
from utils.training.errors import TrainingError

_TRANSIENT = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class RemoteError(TrainingError, RuntimeError):
    """Another service refused a call; ``status`` is its HTTP status, the message its reason."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(_reason(response))
        self.status = response.status_code
        self.headers = response.headers


class UnreachableError(TrainingError, ConnectionError):
    """Another service did not answer, however often it was asked."""


class _TransientAnswerError(Exception):
    def __init__(self, response: httpx.Response) -> None:
        super().__init__(str(response.status_code))
        self.response = response


_PASSING = (httpx.TransportError, _TransientAnswerError)


class ServiceClient:
    """One service, spoken to as one caller.

    A call is repeated when no answer came or the service was briefly away; every POST carries an
    idempotency key, so that a repeated one takes effect once.

    Args:
        url: the service's address.
        token_file: a file with the bearer token, read at each call, so that tokens rotate live.
        timeout_seconds: for one attempt.
        patience_seconds: how long attempts go on.
    """

    def __init__(
        self,
        url: str,
        token_file: Path | None = None,
        *,
        timeout_seconds: float = 10,
        patience_seconds: float = 30,
    ) -> None:
        self.url = url.rstrip("/")
        self._token_file = token_file
        self.patience_seconds = patience_seconds
        self._timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout_seconds,
            trust_env=False,
            verify=_trust(self.url.partition("://")[0]),
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: Iterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> httpx.Response:
        """Call, and return the answer when it is a success.

        ``content`` is gone through at each try, so it is no iterator, which could be only once.

        Raises:
            RemoteError: the service refused; the message is its reason.
            UnreachableError: a ConnectionError; no answer came in time.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        attempts = self.retrying(lambda error: isinstance(error, _PASSING))
        try:
            response = attempts(
                self._attempt, method, path, json=body, content=content, params=params, headers=sent
            )
        except httpx.TransportError as error:
            raise UnreachableError(f"{self.url} did not answer: {error}.") from error
        except _TransientAnswerError as error:
            response = error.response
        if response.is_error:
            raise RemoteError(response)
        return response

    def retrying(self, is_passing: Callable[[BaseException], bool]) -> tenacity.Retrying:
        """Calls a function again and again, while its errors are passing and patience lasts."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            stop=tenacity.stop_after_delay(self.patience_seconds),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
            reraise=True,
        )

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        silence_seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Read a long answer piece by piece; it has ended when it is silent for so long.

        Raises:
            RemoteError: the service refused; the message is its reason.
            httpx.TransportError: the connection broke.
        """
        timeout = httpx.Timeout(self._timeout_seconds, read=silence_seconds)
        with self._http.stream(
            "GET", path, headers=self._headers(headers or {}), params=params, timeout=timeout
        ) as response:
            if response.is_error:
                response.read()
                raise RemoteError(response)
            yield response

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _attempt(
        self, method: str, path: str, *, headers: Mapping[str, str], **request: Any
    ) -> httpx.Response:
        response = self._http.request(method, path, headers=self._headers(headers), **request)
        if response.status_code in _TRANSIENT:
            raise _TransientAnswerError(response)
        return response

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        sent = dict(headers)
        trace = current_trace_id()
        if trace is not None:
            sent["traceparent"] = traceparent(trace)
        if self._token_file is not None:
            sent["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        return sent


@cache
def _trust(scheme: str) -> ssl.SSLContext:
    """Whom a connection trusts.

    Reading the authorities' certificates takes longer than twenty calls, so it is done once, and
    not at all for who speaks no TLS.
    """
    if scheme == "https":
        return httpx.create_ssl_context(trust_env=False)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"
