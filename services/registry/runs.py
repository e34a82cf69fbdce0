"""Runs: begun, measured in batches, ended, compared."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response, request
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from services.registry.stores import Stores, guard_of
from utils.service.answers import answer, no_content, page_schema_of, schema_of
from utils.service.contracts.document import PageQuery
from utils.service.contracts.models import (
    CompareQuery,
    MetricBatch,
    RunCreation,
    RunStatusChange,
)
from utils.service.web import BEARER, role
from utils.training.database import Page
from utils.training.experiment_db import MetricPoint, Run, UnknownRunError


class RunPath(BaseModel):
    """A run by its id."""

    run_id: int = Field(ge=1)


class RunQuery(PageQuery):
    """Which runs to list."""

    name: str | None = Field(None, max_length=255)
    status: str | None = Field(None, max_length=20)


class MetricsQuery(PageQuery):
    """Which points of a run to read."""

    name: str | None = Field(None, max_length=200)


def routes(stores: Stores) -> APIBlueprint:
    """The runs' routes."""
    api = APIBlueprint("runs", __name__, url_prefix="/v1/runs")

    @api.post("", security=BEARER, responses={201: schema_of(Run)})
    @role("trainer")
    def begin(body: RunCreation) -> Response:
        """Begin a run; the same Idempotency-Key gives the same run again."""
        runs = stores.runs.guarded_by(guard_of(body.fence))
        run_id = runs.log_run(
            body.name,
            body.config,
            notes=body.notes,
            tags=body.tags,
            idempotency_key=request.headers.get("Idempotency-Key"),
        )
        return answer(Run, _find(stores, run_id), HTTPStatus.CREATED)

    @api.get("", security=BEARER, responses={200: page_schema_of(Run)})
    @role("reader")
    def listing(query: RunQuery) -> Response:
        """List runs, the newest first."""
        return answer(Page[Run], stores.runs.list_runs(**query.model_dump()))

    @api.get("/compare", security=BEARER)
    @role("reader")
    def compare(query: CompareQuery) -> Response:
        """Set runs side by side: one row a run, one column a metric."""
        table = stores.runs.compare_runs(query.ids)
        rows = json.loads(table.to_json(orient="records", date_format="iso"))
        return Response(json.dumps({"items": rows}), mimetype="application/json")

    @api.get("/<int:run_id>", security=BEARER, responses={200: schema_of(Run)})
    @role("reader")
    def show(path: RunPath) -> Response:
        """Read a run, while it lives or after."""
        return answer(Run, _find(stores, path.run_id))

    @api.get("/<int:run_id>/metrics", security=BEARER, responses={200: page_schema_of(MetricPoint)})
    @role("reader")
    def points(path: RunPath, query: MetricsQuery) -> Response:
        """Read some of a run's points, by name and time."""
        found = stores.runs.list_metric_points(path.run_id, **query.model_dump())
        return answer(Page[MetricPoint], found)

    @api.post("/<int:run_id>/metrics", security=BEARER)
    @role("trainer")
    def log(path: RunPath, body: MetricBatch) -> Response:
        """Store a batch of points; one that is sent again replaces itself."""
        runs = stores.runs.guarded_by(guard_of(body.fence))
        points = [MetricPoint(p.name, p.value, p.step, p.epoch) for p in body.points]
        runs.log_metrics(path.run_id, points)
        return no_content()

    @api.post("/<int:run_id>/status", security=BEARER, responses={200: schema_of(Run)})
    @role("trainer")
    def change(path: RunPath, body: RunStatusChange) -> Response:
        """Say how a run ended."""
        stores.runs.guarded_by(guard_of(body.fence)).update_run_status(path.run_id, body.status)
        return answer(Run, _find(stores, path.run_id))

    return api


def _find(stores: Stores, run_id: int) -> Run:
    found = stores.runs.get_run(run_id)
    if found is None:
        raise UnknownRunError(f"There is no run {run_id}.")
    return found
