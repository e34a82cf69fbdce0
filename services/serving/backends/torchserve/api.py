"""TorchServe's two APIs, of one run of it: management, and inference over kept connections."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
import urllib3
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from services.serving.backends.protocol import (
    Arrays,
    BackendBusyError,
    InputRefusedError,
    LoadError,
    UnavailableError,
)
from services.serving.backends.torchserve.configuration import Ports
from services.serving.backends.torchserve.connections import Connections, Reply
from utils.training.export_utilities.templates.binary_tensors import HEADER, pack, unpack

_POLL_SECONDS = 0.05
_MANAGEMENT_SECONDS = 10.0
_UNLOAD_SECONDS = 150.0  # TorchServe itself waits two minutes for a worker
_ANSWER_GRACE_SECONDS = (
    10.0  # TorchServe gives up by itself, and says so; this is for one that hangs
)
_JSON = {"Content-Type": "application/json"}
_BYTES = {"Content-Type": "application/octet-stream"}
_CLIENT_FAULTS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class TorchServeApi:
    """Calls to one run of TorchServe.

    Args:
        ports: where it listens.
        answer_seconds: the longest that one answer takes.
    """

    def __init__(self, ports: Ports, answer_seconds: float) -> None:
        self._answer_seconds = answer_seconds
        self._management = urllib3.HTTPConnectionPool(
            "127.0.0.1", ports.management, maxsize=2, retries=False, timeout=_MANAGEMENT_SECONDS
        )
        self._inference = Connections(ports.inference, answer_seconds + _ANSWER_GRACE_SECONDS)

    def responds(self, timeout_seconds: float = _MANAGEMENT_SECONDS) -> bool:
        """True where the server answers at all; its /ping is 500 when one model is broken."""
        try:
            answer = self._management.request("GET", "/models?limit=1", timeout=timeout_seconds)
        except HTTPError:
            return False
        return bool(answer.status == HTTPStatus.OK)

    def register(self, name: str, archive: str, workers: int, load_seconds: float) -> None:
        """Let TorchServe load an archive of its store; it goes on with that by itself.

        Raises:
            LoadError: a RuntimeError; it refused.
            UnavailableError: a RuntimeError; it did not answer.
        """
        fields = {
            "url": archive,
            "model_name": name,
            "initial_workers": workers,
            "synchronous": "false",  # else other requests stall meanwhile
            "batch_size": 1,  # the handler answers one by one; a batch would only wait
            "max_batch_delay": 0,
            "response_timeout": math.ceil(self._answer_seconds),
            "startup_timeout": math.ceil(load_seconds),
        }
        status, document = self._manage("POST", f"/models?{urlencode(fields)}")
        if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            raise LoadError(f"TorchServe refused the archive: {document.get('message')}")

    def wait_until_ready(
        self, name: str, workers: int, seconds: float, is_over: Callable[[], bool]
    ) -> None:
        """Wait until every worker of a model is ready.

        Raises:
            LoadError: a RuntimeError; a worker died, or they took too long.
            UnavailableError: a RuntimeError; TorchServe is away, or ``is_over`` said so.
        """
        deadline = time.monotonic() + seconds
        seen: set[int] = set()
        while time.monotonic() < deadline:
            found = self.workers(name)
            seen |= {worker["pid"] for worker in found if worker["pid"] > 0}
            if len(found) == workers and all(w["status"] == "READY" for w in found):
                return
            if len(seen) > workers:  # it starts a worker again when one died
                raise LoadError("TorchServe's worker died on it; torchserve.log has the reason.")
            if is_over():
                raise UnavailableError("TorchServe ended meanwhile.")
            time.sleep(_POLL_SECONDS)
        raise LoadError(f"TorchServe was not ready with it within {seconds:g} s.")

    def workers(self, name: str) -> list[dict[str, Any]]:
        """A model's workers, each with ``status`` and ``pid``.

        Raises:
            UnavailableError: a RuntimeError; TorchServe is away, or does not know the model.
        """
        status, document = self._manage("GET", f"/models/{name}")
        if status != HTTPStatus.OK or not isinstance(document, list):
            raise UnavailableError(f"TorchServe does not know the model {name}.")
        found: list[dict[str, Any]] = document[0]["workers"]
        return found

    def delete(self, name: str) -> None:
        """Delete a model, the workers of a broken one included; an unknown one is no fault."""
        self._manage("DELETE", f"/models/{name}/1.0", timeout_seconds=_UNLOAD_SECONDS)

    def predict(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Ask a model with a document.

        Raises:
            InputRefusedError: a ValueError; the handler refused the request.
            BackendBusyError: a RuntimeError; its queue is full.
            UnavailableError: a RuntimeError; no answer came, or an error.
        """
        try:
            body = orjson.dumps(document)
        except orjson.JSONEncodeError as error:
            raise InputRefusedError(f"The request can't be passed on: {error}.") from error
        reply = self._post(name, body, _JSON)
        try:
            result: dict[str, Any] = orjson.loads(reply.body)
        except orjson.JSONDecodeError as error:
            raise UnavailableError(f"The model's answer is no JSON: {error}.") from error
        return result

    def infer(self, name: str, inputs: Arrays) -> NDArray[np.float32]:
        """Ask a model with tensors, whose bytes go over as they are.

        Raises:
            InputRefusedError: a ValueError; the handler refused them.
            BackendBusyError: a RuntimeError; its queue is full.
            UnavailableError: a RuntimeError; no answer came, or an error.
        """
        body, length = pack("inputs", inputs)
        reply = self._post(name, body, {**_BYTES, HEADER: str(length)})
        try:
            length = int(reply.headers[HEADER.lower()])
            logits: NDArray[np.float32] = unpack("outputs", reply.body, length)["logits"]
        except (KeyError, ValueError) as error:
            raise UnavailableError(f"The model's answer holds no logits: {error}.") from error
        return logits

    def close(self) -> None:
        """Close the connections."""
        self._management.close()
        self._inference.close()

    def _post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            reply = self._inference.post(f"/predictions/{name}", body, headers)
        except OSError as error:
            raise UnavailableError(f"TorchServe did not answer: {error}.") from error
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply)
        return reply

    def _manage(
        self,
        method: str,
        path: str,
        timeout_seconds: float = _MANAGEMENT_SECONDS,
    ) -> tuple[int, Any]:
        try:
            answer = self._management.request(method, path, timeout=timeout_seconds)
        except HTTPError as error:
            raise UnavailableError(f"TorchServe did not answer: {error}.") from error
        return answer.status, orjson.loads(answer.data or b"{}")


def _refusal(reply: Reply) -> Exception:
    try:
        document = orjson.loads(reply.body)
        reason = document.get("detail") or document.get("message")
        kind = document.get("type", "")
    except (ValueError, AttributeError):
        reason, kind = reply.body[:200].decode(errors="replace"), ""
    if reply.status in _CLIENT_FAULTS:
        return InputRefusedError(str(reason))
    if reply.status == HTTPStatus.SERVICE_UNAVAILABLE and kind == "ServiceUnavailableException":
        return BackendBusyError("The model has more requests than it can take; try again.")
    return UnavailableError(f"TorchServe answered {reply.status}: {reason}")
