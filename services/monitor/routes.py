"""The routes: drift, alerts, the platform, feedback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from services.monitor.windows.store import MonitorStore
from utils.service.answers import answer, answer_page, no_content, page_schema_of, schema_of
from utils.service.contracts.document import MAX_PAGE, Request
from utils.service.contracts.drift import (
    DriftWindow,
    Feedback,
    ModelDrift,
    MonitorAlert,
    PlatformState,
)
from utils.service.contracts.jobs import MODEL_NAME
from utils.service.web import BEARER, REFUSALS, role

_TAGS = [Tag(name="monitor", description="What is seen of models in use, and of the platform.")]


class ModelPath(BaseModel):
    """Which model."""

    model_name: str = Field(pattern=MODEL_NAME)


class WindowsQuery(Request):
    """How many windows."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)


def monitor_api(
    store: MonitorStore, platform: Callable[[], PlatformState], is_active: Callable[[], bool]
) -> APIBlueprint:
    """The monitor's routes."""
    api = APIBlueprint(
        "monitor", __name__, url_prefix="/v1", abp_tags=_TAGS, abp_responses=REFUSALS
    )

    @api.get("/drift", security=BEARER, responses={HTTPStatus.OK: page_schema_of(ModelDrift)})
    @role("reader")
    def list_drift() -> Response:
        """Every version that was seen, by its last window."""
        return answer_page(ModelDrift, [_drift_of(window) for window in store.latest()])

    @api.get(
        "/drift/<model_name>",
        security=BEARER,
        responses={HTTPStatus.OK: page_schema_of(DriftWindow)},
    )
    @role("reader")
    def list_windows(path: ModelPath, query: WindowsQuery) -> Response:
        """A model's finished windows, newest first."""
        return answer_page(DriftWindow, store.windows(path.model_name, query.limit))

    @api.get("/alerts", security=BEARER, responses={HTTPStatus.OK: page_schema_of(MonitorAlert)})
    @role("reader")
    def list_alerts() -> Response:
        """The alerts that are on, oldest first."""
        return answer_page(
            MonitorAlert, sorted(store.alerts().values(), key=lambda alert: alert.since)
        )

    @api.get("/platform", security=BEARER, responses={HTTPStatus.OK: schema_of(PlatformState)})
    @role("reader")
    def get_platform() -> Response:
        """The scheduler's queues as they were seen last."""
        return answer(PlatformState, replace(platform(), active=is_active()))

    @api.post("/feedback/<model_name>", security=BEARER)
    @role("submitter")
    def give_feedback(path: ModelPath, body: Feedback) -> Response:
        """Say how good predictions were; it counts in the version's next window."""
        store.add_feedback(path.model_name, body)
        return no_content()

    return api


def _drift_of(window: DriftWindow) -> ModelDrift:
    return ModelDrift(
        model_name=window.model_name,
        model_version=window.version,
        status=window.status,
        score=window.score,
        window_end=window.window_end,
        last_window=window,
    )
