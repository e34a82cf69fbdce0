"""Models: register, find, trace back, compare."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from services.registry.metrics import RegistryMetrics
from services.registry.stores import Stores, guard_of
from utils.service.answers import answer, page_schema_of, schema_of
from utils.service.contracts.jobs import MODEL_NAME
from utils.service.contracts.models import (
    CompareQuery,
    ModelQuery,
    ModelRegistration,
    TaggedQuery,
)
from utils.service.problems import ProblemError
from utils.service.web import BEARER, caller, role
from utils.training.database import Page
from utils.training.model_registry import (
    AlreadyRegisteredError,
    Lineage,
    Promotion,
    RegisteredModel,
    UnknownModelError,
)

_BYTES_IN_MB = 1_000_000
_TRIES = 3  # at a number that others have asked for by name
ARTIFACT = "artifact:"  # the scheme of a checkpoint_path in the store


class ModelPath(BaseModel):
    """A model by its id."""

    model_id: int = Field(ge=1)


class NamePath(BaseModel):
    """A model's name."""

    name: str = Field(pattern=MODEL_NAME)


def routes(stores: Stores, metrics: RegistryMetrics) -> APIBlueprint:
    """The models' routes."""
    api = APIBlueprint("models", __name__, url_prefix="/v1")

    @api.post("/models", security=BEARER, responses={201: schema_of(RegisteredModel)})
    @role("trainer")
    def register(body: ModelRegistration) -> Response:
        """Register a version; a run that registered one before gets that one."""
        before = _of_run(stores, body)
        if before is not None:
            return answer(RegisteredModel, before, HTTPStatus.OK)
        registered = _register(stores, body, stores.require_artifact(body.bundle_digest))
        metrics.registered.labels(body.name).inc()
        return answer(RegisteredModel, registered, HTTPStatus.CREATED)

    @api.get("/models", security=BEARER, responses={200: page_schema_of(RegisteredModel)})
    @role("reader")
    def listing(query: ModelQuery) -> Response:
        """Search models, the newest first."""
        page = stores.models.list_models(**query.model_dump())
        return answer(Page[RegisteredModel], page)

    @api.get("/models/tagged", security=BEARER, responses={200: schema_of(RegisteredModel)})
    @role("reader")
    def tagged(query: TaggedQuery) -> Response:
        """Read the version of a name that has a tag, now or at a time."""
        found = stores.models.get_model(tag=query.tag, name=query.name, as_of=query.as_of)
        if found is None:
            raise UnknownModelError(f"No version of {query.name} is {query.tag}.")
        return answer(RegisteredModel, found)

    @api.get("/models/compare", security=BEARER)
    @role("reader")
    def compare(query: CompareQuery) -> Response:
        """Set models side by side: one row a model, one column a metric."""
        table = stores.models.compare_models(query.ids)
        rows = json.loads(table.to_json(orient="records", date_format="iso"))
        return Response(json.dumps({"items": rows}), mimetype="application/json")

    @api.get("/models/<int:model_id>", security=BEARER, responses={200: schema_of(RegisteredModel)})
    @role("reader")
    def show(path: ModelPath) -> Response:
        """Read a model."""
        return answer(RegisteredModel, find(stores, path.model_id))

    @api.get("/models/<int:model_id>/lineage", security=BEARER, responses={200: schema_of(Lineage)})
    @role("reader")
    def lineage(path: ModelPath) -> Response:
        """Trace a model: ancestors, descendants, its run and the profile of its data."""
        return answer(Lineage, stores.models.lineage(path.model_id))

    @api.get("/models/<int:model_id>/reference-profile", security=BEARER)
    @role("reader")
    def reference_profile(path: ModelPath) -> Response:
        """Read what the drift of a model is measured against; null where there is none."""
        profile = stores.models.reference_profile(path.model_id)
        return Response(json.dumps(profile), mimetype="application/json")

    @api.get("/names/<name>/history", security=BEARER, responses={200: schema_of(list[Promotion])})
    @role("reader")
    def history(path: NamePath) -> Response:
        """Read who gave which version which tag, when and why."""
        return answer(list[Promotion], stores.models.history(path.name, limit=500))

    return api


def find(stores: Stores, model_id: int) -> RegisteredModel:
    """A model by its id.

    Raises:
        UnknownModelError: a LookupError; there is none.
    """
    found = stores.models.get_model(model_id)
    if found is None:
        raise UnknownModelError(
            f"There is no model {model_id}; the list of models has those there are."
        )
    return found


def _of_run(stores: Stores, body: ModelRegistration) -> RegisteredModel | None:
    """What an earlier attempt of the same run registered."""
    if body.training_run_id is None:
        return None
    page = stores.models.list_models(name=body.name, training_run_id=body.training_run_id, limit=1)
    return page.items[0] if page.items else None


def _register(stores: Stores, body: ModelRegistration, size: int) -> RegisteredModel:
    """Take the version asked for, or the next whole number."""
    digests = [body.bundle_digest, *filter(None, [body.checkpoint_digest])]
    models = stores.models.guarded_by(stores.holding(digests, guard_of(body.fence)))
    for attempt in range(_TRIES):
        try:
            model_id = models.register_model(
                name=body.name,
                version=body.version,
                checkpoint_path=f"{ARTIFACT}{body.bundle_digest}",
                task_type=body.task_type,
                metrics=body.metrics,
                config_hash=body.config_hash,
                training_run_id=body.training_run_id,
                parent_model_id=body.parent_model_id,
                export_formats=body.export_formats,
                model_size_mb=size / _BYTES_IN_MB,
                metadata=body.metadata | {"checkpoint_digest": body.checkpoint_digest},
                artifact_digest=body.bundle_digest,
                data_profile=body.data_profile,
                reference_profile=body.reference_profile,
                created_by=caller().name,
            )
        except AlreadyRegisteredError:
            if body.version is not None or attempt == _TRIES - 1:
                raise
        else:
            return find(stores, model_id)
    raise ProblemError(HTTPStatus.CONFLICT, f"No version of {body.name} could be taken; try again.")
