"""From an answered request to its summary: the columns that a drift profile counts.

They are made by the functions that make the reference profile, of inputs in the same scale, so that
the monitor compares like with like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.serving.backends.protocol import Arrays, Version
from services.serving.gateway.contract import Contract
from services.serving.gateway.forms import Answer, Question
from utils.service.contracts.predictions import PredictionSummary
from utils.training.drift_metrics.column import Column
from utils.training.drift_metrics.columns import columns_of
from utils.training.task_spec import TaskSpec

_MOST_TOKENS = 20_000  # of one summary
_PREDICTION = "prediction."
_DECIMALS = 6  # of a pixel in 0..1 that was normalized as FP32


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request after its answer; ``num_bytes`` is about what it holds in memory."""

    version: Version
    contract: Contract | None
    question: Question | None
    answer: Answer | None
    at: datetime
    latency_ms: float
    is_error: bool
    trace_id: str | None
    num_bytes: int


def summary_of(answered: Answered) -> PredictionSummary:
    """What the monitor is told of a request."""
    contract, question = answered.contract, answered.question
    columns: dict[str, Column] = {}
    rows = 0
    if not answered.is_error and contract is not None and question is not None:
        rows = question.rows
        columns = request_columns(contract, question, _logits(answered, contract))
    numbers = {
        name: values
        for name, column in columns.items()
        if column.kind == "numeric" and (values := _finite(column)) is not None
    }
    confidence = numbers.pop(f"{_PREDICTION}confidence", [])
    classes = columns.get(f"{_PREDICTION}class")
    return PredictionSummary(
        model_name=answered.version.name,
        model_version=answered.version.version,
        at=answered.at,
        latency_ms=answered.latency_ms,
        error=answered.is_error,
        rows=rows,
        features={n: v for n, v in numbers.items() if not n.startswith(_PREDICTION)},
        tokens=_countable(columns["tokens"].values) if "tokens" in columns else [],
        predicted=[str(number) for number in classes.values] if classes and confidence else [],
        confidence=confidence,
        entropy=numbers.get(f"{_PREDICTION}entropy", []),
        trace_id=answered.trace_id,
    )


def request_columns(
    contract: Contract, question: Question, logits: NDArray[np.float32] | None
) -> dict[str, Column]:
    """The columns of a request's inputs, and of its answer where that is a class an example."""
    fields: dict[str, Any] = _as_profiled(contract, question)
    if logits is not None:
        fields["logits"] = logits
    _, columns = columns_of(fields, contract.spec, {})
    return columns


def _as_profiled(contract: Contract, question: Question) -> Arrays:
    """Images as they were before normalization; all other tensors as they are."""
    if contract.spec.modality != "vision":
        return dict(question.inputs)
    if question.examples is not None:
        pixels: Arrays = contract.unnormalized.encode(question.examples)
        return pixels
    return {name: _pixels(array, contract.spec) for name, array in question.inputs.items()}


def _pixels(array: NDArray[Any], spec: TaskSpec) -> NDArray[Any]:
    """Images [batch, channels, height, width] in the scale of the training data.

    They are rounded, for scans have few grey levels and a profile's edges lie on them: a pixel
    that comes back a little off would be counted in the bin beside its own.
    """
    if spec.image_mean is None and spec.image_std is None:
        return array
    for statistics, undo in ((spec.image_std, np.multiply), (spec.image_mean, np.add)):
        if statistics is not None:
            array = undo(array, np.array(statistics, dtype=np.float64)[:, None, None])
    return array.round(_DECIMALS)


def _logits(answered: Answered, contract: Contract) -> NDArray[np.float32] | None:
    if answered.answer is None or not contract.gives_class_logits:
        return None
    return answered.answer.logits


def _finite(column: Column) -> list[float] | None:
    numbers: list[float] = np.asarray(column.values, dtype=np.float64).tolist()
    return numbers if all(map(math.isfinite, numbers)) else None


def _countable(texts: list[NDArray[np.int64]]) -> list[list[int]]:
    """The tokens of the first texts, in ascending order: enough to count, too little to read."""
    kept: list[list[int]] = []
    room = _MOST_TOKENS
    for tokens in texts:
        room -= len(tokens)
        if room < 0:
            break
        kept.append(np.sort(tokens).tolist())
    return kept
