"""The Open Inference Protocol, version 2, over REST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint

from services.serving.gateway.answering import Answering
from services.serving.gateway.documents import (
    InferenceAnswer,
    InferenceRequest,
    Live,
    ModelMetadata,
    ModelPath,
    ModelReady,
    Ready,
    ServerMetadata,
    VersionPath,
    body,
)
from services.serving.gateway.forms import Tensors
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, public, role
from utils.training import __version__
from utils.training.errors import TrainingError

REFUSALS: dict[str | int | HTTPStatus, Any] = dict.fromkeys(
    (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    ProblemDocument,
)


def routes(
    answering: Answering, max_batch: int, checks: Sequence[Callable[[], object]]
) -> APIBlueprint:
    """The protocol's routes; ``checks`` raise while the server can't answer."""
    api = APIBlueprint("v2", __name__, url_prefix="/v2", abp_responses=REFUSALS)
    form = Tensors(max_batch)
    asked = body(api, InferenceRequest)

    @api.get("", security=BEARER, responses={200: ServerMetadata})
    @role("reader")
    def server() -> Response:
        """Read what answers here."""
        return jsonify(name="training-engine serving", version=__version__, extensions=[])

    @api.get("/health/live", responses={200: Live})
    @public
    def live() -> Response:
        """Ask whether the server runs."""
        return jsonify(live=True)

    @api.get("/health/ready", responses={200: Ready, 503: Ready})
    @public
    def ready() -> tuple[Response, int]:
        """Ask whether the server can answer predictions."""
        is_ready = all(map(_passes, checks))
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return jsonify(ready=is_ready), status.value

    @api.get("/models/<name>", security=BEARER, responses={200: ModelMetadata})
    @role("reader")
    def model(path: ModelPath) -> Response:
        """Read what a model takes and gives."""
        return jsonify(_metadata(answering, path.name, None))

    @api.get("/models/<name>/versions/<version>", security=BEARER, responses={200: ModelMetadata})
    @role("reader")
    def model_version(path: VersionPath) -> Response:
        """Read what a version takes and gives."""
        return jsonify(_metadata(answering, path.name, path.version))

    @api.get("/models/<name>/ready", security=BEARER, responses={200: ModelReady})
    @role("reader")
    def model_ready(path: ModelPath) -> Response:
        """Ask whether a model answers."""
        return _model_ready(answering, path.name, None)

    @api.get(
        "/models/<name>/versions/<version>/ready", security=BEARER, responses={200: ModelReady}
    )
    @role("reader")
    def version_ready(path: VersionPath) -> Response:
        """Ask whether a version answers."""
        return _model_ready(answering, path.name, path.version)

    @api.post(
        "/models/<name>/infer",
        security=BEARER,
        responses={200: InferenceAnswer},
        openapi_extensions=asked,
    )
    @role("reader")
    def infer(path: ModelPath) -> Response:
        """Ask a model for its outputs."""
        return answering.answer(path.name, None, form)

    @api.post(
        "/models/<name>/versions/<version>/infer",
        security=BEARER,
        responses={200: InferenceAnswer},
        openapi_extensions=asked,
    )
    @role("reader")
    def infer_by_version(path: VersionPath) -> Response:
        """Ask a version for its outputs."""
        return answering.answer(path.name, path.version, form)

    return api


def _metadata(answering: Answering, name: str, version: str | None) -> dict[str, Any]:
    with answering.using(name, version) as held:
        contract = answering.contracts.of(held)
    versions = [held] if version else answering.catalogue.versions(name)
    return {
        "name": name,
        "versions": [one.version for one in versions],
        "platform": contract.platform,
        "inputs": [_tensor(spec) for spec in contract.inputs],
        "outputs": [_tensor(spec) for spec in contract.outputs],
    }


def _tensor(spec: dict[str, Any]) -> dict[str, Any]:
    shape = [-1 if isinstance(size, str) else size for size in spec["shape"]]
    return {"name": spec["name"], "datatype": spec["datatype"], "shape": shape}


def _model_ready(answering: Answering, name: str, version: str | None) -> Response:
    with answering.using(name, version) as held:
        answering.contracts.of(held)
    return jsonify(name=held.name, version=held.version, ready=True)


def _passes(check: Callable[[], object]) -> bool:
    try:
        check()
    except TrainingError:
        return False
    return True
