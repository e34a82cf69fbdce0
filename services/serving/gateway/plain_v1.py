"""The plain form: examples in, predictions out."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint

from services.serving.backends.protocol import Version
from services.serving.gateway.answering import Answering
from services.serving.gateway.documents import (
    ModelPath,
    PredictionAnswer,
    PredictionRequest,
    ServedModel,
    body,
)
from services.serving.gateway.forms import Examples
from services.serving.gateway.protocol_v2 import REFUSALS
from utils.service.answers import answer_page, page_schema_of
from utils.service.web import BEARER, role


def routes(answering: Answering, max_batch: int) -> APIBlueprint:
    """The plain form's routes."""
    api = APIBlueprint("v1", __name__, url_prefix="/v1", abp_responses=REFUSALS)
    form = Examples(max_batch)

    @api.get("/models", security=BEARER, responses={200: page_schema_of(ServedModel)})
    @role("reader")
    def models() -> Response:
        """List what is served, by name."""
        current = map(answering.catalogue.current, answering.catalogue.names())
        return answer_page(ServedModel, [_served(answering, one) for one in current if one])

    @api.post(
        "/models/<name>/predict",
        security=BEARER,
        responses={200: PredictionAnswer},
        openapi_extensions=body(api, PredictionRequest),
    )
    @role("reader")
    def predict(path: ModelPath) -> Response:
        """Ask a model for a prediction of each example."""
        return answering.answer(path.name, None, form)

    return api


def _served(answering: Answering, version: Version) -> ServedModel:
    return ServedModel(
        name=version.name,
        version=version.version,
        model_id=version.model_id,
        digest=version.digest,
        platform=answering.contracts.of(version).platform,
    )
