"""A client that keeps sending digits at a steady rate, and remembers what became of each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import httpx

from services.cli.demo.stream import Batch, DigitStream

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    ``at`` is the Unix time of its end and ``seconds`` how long it took; ``right`` and ``is_new``
    are of its digits, one by one. ``fault`` says why it counts as failed; None where it does not.
    """

    at: float
    seconds: float
    version: str | None
    right: tuple[bool, ...]
    is_new: tuple[bool, ...]
    fault: str | None = None


class Gateway:
    """One model behind the gateway, asked over one connection that is kept alive.

    A request is sent once: what a user would see as an error is one.
    """

    def __init__(self, url: str, token: str, model_name: str) -> None:
        self._model_name = model_name
        self._path = f"/v1/models/{model_name}/predict"
        self._highest = 0
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )

    def ask(self, batch: Batch) -> Answer:
        """Send a batch of digits."""
        version, right, fault = None, tuple[bool, ...](), None
        started = time.perf_counter()
        try:
            response = self._http.post(self._path, json={"instances": batch.images.tolist()})
            seconds = time.perf_counter() - started
            version = self._version_of(response)
            right = _judge(response, batch)
        except httpx.TransportError as error:
            seconds = time.perf_counter() - started
            fault = f"No answer came: {error!r}."
        except _RefusedError as error:
            fault = str(error)
        return Answer(time.time(), seconds, version, right, tuple(batch.is_new.tolist()), fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._http.close()

    def _version_of(self, response: httpx.Response) -> str:
        """The version that answered, which is never one from before a switch."""
        if response.status_code != HTTPStatus.OK:
            raise _RefusedError(
                f"The gateway answered {response.status_code}: {response.text[:300]}"
            )
        name, version = (response.headers.get(f"X-Model-{word}") for word in ("Name", "Version"))
        if name != self._model_name or version is None or not version.isdecimal():
            raise _RefusedError(f"{name} {version} answered, asked was {self._model_name}.")
        if int(version) < self._highest:
            raise _RefusedError(f"Version {version} answered after version {self._highest} had.")
        self._highest = int(version)
        return version


class _RefusedError(Exception):
    """An answer that counts as a failure."""


def _judge(response: httpx.Response, batch: Batch) -> tuple[bool, ...]:
    """Which digits were read right."""
    try:
        classes = [prediction["class"] for prediction in response.json()["predictions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _RefusedError(f"The answer holds no predictions: {response.text[:300]}") from error
    if len(classes) != len(batch.labels):
        raise _RefusedError(f"{len(classes)} predictions came for {len(batch.labels)} digits.")
    return tuple(
        found == label for found, label in zip(classes, batch.labels.tolist(), strict=True)
    )


class SteadyClient:
    """Sends from a thread of its own, from entering to leaving; ``answers`` only ever grows.

    A request that takes longer than its turn delays the next ones, and none is left out.
    """

    def __init__(self, gateway: Gateway, stream: DigitStream, per_second: float) -> None:
        self.answers: list[Answer] = []
        self._gateway = gateway
        self._stream = stream
        self._interval = 1 / per_second
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send, name="client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more; return when the last answer is there."""
        self._end.set()
        self._thread.join()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._end.wait(max(0.0, due - time.monotonic())):
            self.answers.append(self._gateway.ask(self._stream.next_batch()))
            due = max(due + self._interval, time.monotonic() - self._interval)
