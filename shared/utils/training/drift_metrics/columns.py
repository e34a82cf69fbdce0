"""From fields to the columns that a profile counts, for each modality."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.training.drift_metrics.column import Column, scalar_column
from utils.training.drift_metrics.images import image_columns
from utils.training.drift_metrics.samples import (
    INPUT,
    fields_of,
    is_nested,
    regular_array,
    to_array,
)
from utils.training.drift_metrics.texts import take_texts

_LABELS = frozenset({"label", "labels", "target", "targets", "y"})
_EMBEDDINGS = frozenset({"embedding", "embeddings"})
_SCORES = frozenset({"logits", "probabilities"})
_IMAGES = frozenset({INPUT, "pixel_values", "image", "images"})

_logger = logging.getLogger(__name__)


def columns_of(
    batch: Any, task_spec: Any, kinds: Mapping[str, str]
) -> tuple[int, dict[str, Column]]:
    """The rows of a batch, and the columns to count.

    Args:
        batch: what :func:`~utils.training.drift_metrics.samples.fields_of` reads.
        task_spec: the task, for its modality and the names and shapes of its inputs.
        kinds: the kinds of the features that are known already, which their values are read as.
    """
    rows, fields = fields_of(batch)
    columns: dict[str, Column] = {}
    if task_spec.modality == "text":
        columns, fields = take_texts(fields, task_spec.pad_token_id)
    for name, values in fields.items():
        columns |= _field_columns(name, values, task_spec, kinds)
    return rows, columns


def _field_columns(
    name: str, values: Any, task_spec: Any, kinds: Mapping[str, str]
) -> dict[str, Column]:
    if name in _LABELS:
        return _label_columns(values, task_spec, kinds)
    if name in _EMBEDDINGS:
        given = [value for value in values if value is not None]
        return {"embedding": Column("embedding", _matrix(given))} if given else {}
    if name in _SCORES:
        return _prediction_columns(_matrix(values), are_logits=name == "logits")
    if name in _IMAGES and task_spec.modality == "vision":
        return image_columns(values, task_spec.image_channels)
    return _input_columns(name, regular_array(values), task_spec.feature_names, kinds)


def _input_columns(
    name: str, values: NDArray[Any], feature_names: tuple[str, ...], kinds: Mapping[str, str]
) -> dict[str, Column]:
    if values.ndim == 1 and not is_nested(values):
        return {name: scalar_column(values, kinds.get(name))}
    if values.ndim == 2:  # noqa: PLR2004 - [rows, features]
        names = _feature_names(name, values.shape[1], feature_names)
        columns = np.ascontiguousarray(values.T)
        return {n: scalar_column(columns[i], kinds.get(n)) for i, n in enumerate(names)}
    _logger.debug("Field '%s' holds no single values or vectors and is not profiled.", name)
    return {}


def _label_columns(values: Any, task_spec: Any, kinds: Mapping[str, str]) -> dict[str, Column]:
    array = regular_array(values)
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004 - a column
        array = array[:, 0]
    if array.ndim != 1 or is_nested(array):
        _logger.debug("Labels with several values a row are not profiled.")
        return {}
    is_amount = array.dtype.kind == "f" or "regression" in task_spec.task_type
    kind = kinds.get("label") or ("numeric" if is_amount else "categorical")
    return {"label": scalar_column(array, kind)}


def _prediction_columns(scores: NDArray[np.float64], *, are_logits: bool) -> dict[str, Column]:
    """Confidence, entropy (nats) and class of each row; a row without a distribution is missing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if are_logits:
            scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = scores / scores.sum(axis=1, keepdims=True)
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    is_known = np.isfinite(probabilities).all(axis=1)
    classes = probabilities.argmax(axis=1).astype(object)
    classes[~is_known] = None
    return {
        "prediction.confidence": Column("numeric", probabilities.max(axis=1)),
        "prediction.entropy": Column("numeric", -(probabilities * logs).sum(axis=1)),
        "prediction.class": Column("categorical", classes.tolist()),
    }


def _matrix(values: Any) -> NDArray[np.float64]:
    """Vectors [rows, width] in double precision."""
    values = np.stack([to_array(value) for value in values])
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _feature_names(field: str, width: int, names: tuple[str, ...]) -> list[str]:
    if len(names) == width:
        return list(names)
    prefix = "x" if field in {INPUT, "features"} else f"{field}."
    return [f"{prefix}{number}" for number in range(width)]
