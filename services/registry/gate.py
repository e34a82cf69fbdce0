"""The gate: verdicts, promotions, rollbacks."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response
from flask_openapi3 import APIBlueprint

from services.registry.metrics import RegistryMetrics
from services.registry.models import ModelPath, NamePath, find
from services.registry.stores import Stores, guard_of
from utils.service.answers import answer, schema_of
from utils.service.contracts.models import Evaluation, PromotionRequest, RollbackRequest
from utils.service.problems import ProblemError
from utils.service.web import BEARER, caller, role
from utils.training.model_registry import ConflictError, Promotion, RegisteredModel
from utils.training.promotion_gate import GatePolicy, Measurement, Verdict, decide


def routes(stores: Stores, metrics: RegistryMetrics) -> APIBlueprint:
    """The gate's routes."""
    api = APIBlueprint("gate", __name__, url_prefix="/v1")

    @api.post(
        "/models/<int:model_id>/evaluations", security=BEARER, responses={201: schema_of(Verdict)}
    )
    @role("trainer")
    def evaluate(path: ModelPath, body: Evaluation) -> Response:
        """Judge a challenger by what was measured, and keep the verdict."""
        model = find(stores, path.model_id)
        _check_champion(stores, model, body.champion_model_id)
        verdict = decide(_measurement(body), _policy(body))
        verdicts = stores.verdicts.guarded_by(guard_of(body.fence))
        verdicts.record(model.model_id, body.champion_model_id, verdict)
        metrics.verdicts.labels(model.name, str(verdict.passed).lower()).inc()
        return answer(Verdict, verdict, HTTPStatus.CREATED)

    @api.get("/models/<int:model_id>/verdict", security=BEARER, responses={200: schema_of(Verdict)})
    @role("reader")
    def verdict(path: ModelPath) -> Response:
        """Read a model's newest verdict."""
        found = stores.verdicts.newest(find(stores, path.model_id).model_id)
        if found is None:
            raise ProblemError(
                HTTPStatus.NOT_FOUND, f"Model {path.model_id} has not been evaluated."
            )
        return answer(Verdict, found[0])

    @api.post(
        "/models/<int:model_id>/promote", security=BEARER, responses={200: schema_of(Promotion)}
    )
    @role("trainer", "submitter")
    def promote(path: ModelPath, body: PromotionRequest) -> Response:
        """Give a model another tag; production wants a passing verdict, or force and a reason."""
        model = find(stores, path.model_id)
        expected = body.expected_current
        if body.tag == "production":
            _check_bytes(stores, model)
            if not body.force:
                expected = stores.verdicts.champion_passed_against(model.model_id)
        _check_force(body)
        promotion = stores.models.guarded_by(guard_of(body.fence)).promote_model(
            model.model_id,
            body.tag,
            expected_current=expected,
            reason=f"forced: {body.reason}" if body.force else body.reason,
            actor=caller().name,
        )
        return _announced(promotion)

    @api.post("/names/<name>/rollback", security=BEARER, responses={200: schema_of(Promotion)})
    @role("submitter")
    def rollback(path: NamePath, body: RollbackRequest) -> Response:
        """Put the production version before the present one back.

        Sent again after a lost reply, with ``expected_current``, it goes no further back.
        """
        try:
            promotion = stores.models.rollback(
                path.name, body.reason, caller().name, body.expected_current
            )
        except ConflictError:
            done = _done_before(stores, path.name, body)
            if done is None:
                raise
            return answer(Promotion, done)
        return _announced(promotion)

    def _announced(promotion: Promotion) -> Response:
        metrics.promotions.labels(promotion.name, promotion.to_tag, promotion.kind).inc()
        stores.bell.ring(promotion)
        return answer(Promotion, promotion)

    return api


def _done_before(stores: Stores, name: str, body: RollbackRequest) -> Promotion | None:
    """The rollback that the same request brought about, whose reply was lost."""
    last = next(iter(stores.models.history(name, limit=1)), None)
    if last is None or last.kind != "rollback" or not body.expected_current:
        return None
    asked = (last.replaced_model_id, last.reason, last.actor)
    return last if asked == (body.expected_current, body.reason, caller().name) else None


def _check_champion(stores: Stores, model: RegisteredModel, measured: int | None) -> None:
    """A challenger is measured against the present champion, whoever that is."""
    champion = stores.models.get_model(tag="production", name=model.name)
    current = champion.model_id if champion else None
    if current not in (measured, model.model_id):
        raise ProblemError(
            HTTPStatus.CONFLICT,
            f"The evaluation is against {measured or 'no model'}, and production is "
            f"{current or 'empty'}; evaluate again.",
        )


def _check_bytes(stores: Stores, model: RegisteredModel) -> None:
    digest = str(model.artifact_digest)
    if not stores.artifacts.has(digest) or not stores.artifacts.verify(digest):
        raise ProblemError(
            HTTPStatus.CONFLICT,
            f"The bundle of model {model.model_id} is not what was registered; train it again.",
        )


def _check_force(body: PromotionRequest) -> None:
    if not body.force:
        if caller().role == "trainer" and body.fence is None:
            raise ProblemError(
                HTTPStatus.FORBIDDEN, "A trainer promotes under its claim only; send the fence."
            )
        return
    if not caller().holds("admin"):
        raise ProblemError(HTTPStatus.FORBIDDEN, "Forcing a promotion needs the role admin.")
    if not body.reason:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, "A forced promotion needs a reason; give one."
        )


def _measurement(body: Evaluation) -> Measurement:
    return Measurement(
        held_out_digest=body.held_out_digest,
        challenger_scores=body.challenger_scores,
        champion_scores=body.champion_scores,
        greatest_difference=body.greatest_difference,
        tolerance=body.tolerance,
        latency_ms=body.latency_ms,
    )


def _policy(body: Evaluation) -> GatePolicy:
    return GatePolicy(body.gate.margin, body.gate.confidence, body.gate.latency_budget_ms)
