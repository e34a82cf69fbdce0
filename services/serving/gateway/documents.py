"""The shapes of requests and answers, for the OpenAPI document.

Requests are read by hand: tensors are checked against a version's own signature, and building a
model of each would take longer than the prediction.
"""

from __future__ import annotations

from typing import Any

from flask_openapi3 import APIBlueprint, Schema
from pydantic import BaseModel, Field

from utils.service.contracts.jobs import MODEL_NAME

_REFERENCE = "#/components/schemas/{model}"


class ModelPath(BaseModel):
    """A model by its name."""

    name: str = Field(pattern=MODEL_NAME)


class VersionPath(ModelPath):
    """One of its versions."""

    version: str = Field(max_length=100)


class TensorMetadata(BaseModel):
    """A tensor's form; -1 stands for a free dimension."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The server runs."""

    live: bool


class Ready(BaseModel):
    """Whether it answers predictions."""

    ready: bool


class ModelReady(Ready):
    """A model that answers."""

    name: str
    version: str


class Tensor(BaseModel):
    """Numbers in row-major order, flat or nested as the shape says."""

    name: str
    shape: list[int]
    datatype: str = Field(description="FP32 or INT64")
    data: list[Any]
    parameters: dict[str, Any] = {}


class OutputSelection(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """Tensors for a model."""

    id: str | None = Field(None, max_length=200)
    parameters: dict[str, Any] = {}
    inputs: list[Tensor]
    outputs: list[OutputSelection] = []


class OutputTensor(BaseModel):
    """A tensor that a model gave, its data flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferenceAnswer(BaseModel):
    """What a model gave."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class PredictionRequest(BaseModel):
    """Examples: texts or lists of token ids, images as arrays or base64, rows by name or place."""

    instances: list[Any] = Field(min_length=1)


class PredictionAnswer(BaseModel):
    """One prediction an example: a label with its probability, next tokens, or a mask."""

    predictions: list[dict[str, Any]]


class ServedModel(BaseModel):
    """A name that is served, and the version that answers for it."""

    name: str
    version: str
    model_id: int
    digest: str
    platform: str


def body(api: APIBlueprint, kind: type[BaseModel]) -> dict[str, Any]:
    """A route's ``openapi_extensions``: its JSON body, described and not parsed."""
    document = kind.model_json_schema(ref_template=_REFERENCE)
    schemas = document.pop("$defs", {}) | {kind.__name__: document}
    for name, schema in schemas.items():
        api.components_schemas[name] = Schema(**schema)
    reference = {"$ref": _REFERENCE.format(model=kind.__name__)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}
    }
