"""Triggers: the rule of each model, the signals that it is held against, and why it would fire."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from services.scheduler.findings import check_rule
from services.scheduler.jobs import SubmissionHeaders
from services.scheduler.retraining import Retraining
from utils.service.answers import answer, answer_page, no_content, page_schema_of, schema_of
from utils.service.contracts.document import PageQuery
from utils.service.contracts.jobs import MODEL_NAME, Signal, TriggerRule
from utils.service.contracts.triggers import SignalDecision, Trigger, TriggerExplanation
from utils.service.problems import ProblemDocument
from utils.service.web import BEARER, REFUSALS, caller, role

_TAGS = [Tag(name="triggers", description="When a model is trained again by itself.")]


class TriggerPath(BaseModel):
    """Which model."""

    model: str = Field(pattern=MODEL_NAME)


def triggers_api(retraining: Retraining) -> APIBlueprint:
    """The routes of triggers."""
    api = APIBlueprint(
        "triggers", __name__, url_prefix="/v1/triggers", abp_tags=_TAGS, abp_responses=REFUSALS
    )
    rules = retraining.rules

    @api.get("", security=BEARER, responses={HTTPStatus.OK: page_schema_of(Trigger)})
    @role("reader")
    def list_triggers(query: PageQuery) -> Response:
        """All rules, by their models' names."""
        page = rules.list(query.cursor, query.limit)
        return answer_page(Trigger, page.items, page.next_cursor)

    @api.put("/<model>", security=BEARER, responses={HTTPStatus.OK: schema_of(Trigger)})
    @role("submitter")
    def put_trigger(path: TriggerPath, body: TriggerRule) -> Response:
        """Set a model's rule."""
        check_rule(path.model, body)
        return answer(Trigger, rules.put(path.model, body, caller().name))

    @api.get("/<model>", security=BEARER, responses=_one(Trigger))
    @role("reader")
    def get_trigger(path: TriggerPath) -> Response:
        """A model's rule."""
        return answer(Trigger, rules.get(path.model))

    @api.delete(
        "/<model>",
        security=BEARER,
        responses={HTTPStatus.NO_CONTENT: None, HTTPStatus.NOT_FOUND: ProblemDocument},
    )
    @role("submitter")
    def delete_trigger(path: TriggerPath) -> Response:
        """Drop a model's rule; what it decided stays on record."""
        rules.delete(path.model)
        return no_content()

    @api.post("/<model>/signals", security=BEARER, responses=_one(SignalDecision))
    @role("submitter", "trainer")
    def signal(path: TriggerPath, header: SubmissionHeaders, body: Signal) -> Response:
        """Tell what was seen of a model in one window; answers what that leads to."""
        key = f"{caller().name}:{header.key or uuid.uuid4()}"
        return answer(SignalDecision, retraining.signal(path.model, body, key))

    @api.get("/<model>/explain", security=BEARER, responses=_one(TriggerExplanation))
    @role("reader")
    def explain_trigger(path: TriggerPath) -> Response:
        """What would fire now, what would not, and why."""
        return answer(TriggerExplanation, retraining.explain(path.model))

    return api


def _one(kind: Any) -> dict[Any, Any]:
    return {HTTPStatus.OK: schema_of(kind), HTTPStatus.NOT_FOUND: ProblemDocument}
