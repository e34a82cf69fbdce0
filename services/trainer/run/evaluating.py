"""The gate's measurements: challenger and champion on the same frozen samples."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Self

from services.trainer.run.bundle import Bundle
from services.trainer.run.data import DataReader, as_served
from services.trainer.run.errors import DataError
from services.trainer.run.job import RunningJob
from utils.service.contracts.jobs import DataSource, EvaluationJob, Gate
from utils.service.contracts.models import Evaluation, PromotionRequest
from utils.service.http import RemoteError
from utils.training.model_registry import RegisteredModel
from utils.training.promotion_gate import Verdict

log = logging.getLogger(__name__)

_TRIES = 3  # while somebody else changes the champion
_LM_TASKS = ("language_modeling", "causal_lm")


@dataclass(frozen=True)
class HeldOut:
    """A challenger's bundle, measured on held-out samples."""

    source: DataSource
    digest: str
    bundle: Bundle
    scores: list[float]
    latency_ms: float

    @classmethod
    def measure(cls, reader: DataReader, source: DataSource, bundle: Bundle) -> Self:
        """Score every sample, and time single ones."""
        samples = as_served(reader.dataset(source, bundle.task_spec, bundle.tokenizer))
        return cls(
            source=source,
            digest=reader.digest(source),
            bundle=bundle,
            scores=bundle.scores(samples, bundle.task_spec),
            latency_ms=bundle.latency_ms(samples),
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The mean score, under the name that it has for this task."""
        is_language = self.bundle.task_spec.task_type in _LM_TASKS
        name = "held_out_log_likelihood" if is_language else "held_out_accuracy"
        return {name: sum(self.scores) / len(self.scores)}

    def scores_of(self, reader: DataReader, champion: Bundle) -> list[float]:
        """The champion's scores on the same samples, read as its own inputs, with our labels."""
        ours = self.bundle.task_spec
        spec = replace(
            champion.task_spec, class_names=ours.class_names, num_classes=ours.num_classes
        )
        samples = as_served(reader.dataset(self.source, spec, champion.tokenizer))
        return champion.scores(samples, ours)


def judge(
    job: RunningJob,
    reader: DataReader,
    gate: Gate,
    model: RegisteredModel,
    held_out: HeldOut | None,
) -> dict[str, Any]:
    """Have the registry judge a challenger, and promote it where it passed and the gate says so.

    Returns:
        ``verdict`` and ``promoted``; without held-out data there is neither gate nor promotion.
    """
    if held_out is None:
        return {"verdict": None, "promoted": False}
    job.tell_phase("gate")
    verdict, is_champion = _verdict(job, reader, gate, model, held_out)
    log.info("The gate: %s", " ".join(verdict.reasons))
    is_promoted = is_champion or (verdict.passed and gate.promote)
    if is_promoted and not is_champion:
        reason = f"passed the gate in job {job.order.job_id}"
        job.registry.promote(model.model_id, PromotionRequest(reason=reason, fence=job.fence))
    return {
        "verdict": {
            "passed": verdict.passed,
            "reasons": verdict.reasons,
            "difference": verdict.difference,
            "lower": verdict.lower,
        },
        "promoted": is_promoted,
    }


def run_evaluation(job: RunningJob, config: EvaluationJob) -> dict[str, Any]:
    """Judge a registered model against the champion."""
    job.tell_phase("prepare")
    model = job.registry.get_model(config.model_id)
    if model.name != config.model_name or model.artifact_digest is None:
        raise DataError(
            f"Model {config.model_id} is {model.name} {model.version}, and the job names "
            f"{config.model_name}; give a model of that name, with a bundle."
        )
    reader = DataReader(job.order.data_folder, job.artifacts)
    bundle = Bundle(job.artifacts.unpacked(model.artifact_digest))
    job.tell_phase("evaluate")
    held_out = HeldOut.measure(reader, config.held_out, bundle)
    judgement = judge(job, reader, config.gate, model, held_out)
    return {"model_id": model.model_id, "metrics": held_out.metrics, **judgement}


def _verdict(
    job: RunningJob, reader: DataReader, gate: Gate, model: RegisteredModel, held_out: HeldOut
) -> tuple[Verdict, bool]:
    """The verdict, and whether the model is production already, as after a former attempt."""
    for last in range(_TRIES):
        champion = job.registry.tagged(model.name)
        if champion is not None and champion.model_id == model.model_id:
            return job.registry.verdict(model.model_id), True
        evaluation = _evaluation(job, reader, gate, champion, held_out)
        try:
            return job.registry.evaluate(model.model_id, evaluation), False
        except RemoteError as error:
            if error.status != HTTPStatus.CONFLICT or last == _TRIES - 1:
                raise
            log.info("The champion has changed; the challenger is measured again.")
    raise AssertionError("The last try returns or raises.")


def _evaluation(
    job: RunningJob,
    reader: DataReader,
    gate: Gate,
    champion: RegisteredModel | None,
    held_out: HeldOut,
) -> Evaluation:
    scores = None
    if champion is not None:
        bundle = Bundle(job.artifacts.unpacked(str(champion.artifact_digest)))
        scores = held_out.scores_of(reader, bundle)
    return Evaluation(
        held_out_digest=held_out.digest,
        challenger_scores=held_out.scores,
        champion_model_id=None if champion is None else champion.model_id,
        champion_scores=scores,
        greatest_difference=held_out.bundle.greatest_difference,
        tolerance=held_out.bundle.tolerance,
        latency_ms=held_out.latency_ms,
        gate=gate,
        fence=job.fence,
    )
