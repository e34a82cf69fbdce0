"""From fields to the columns that a profile counts, for each modality."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.training.drift_metrics.samples import INPUT, fields_of, to_array

_LABELS = frozenset({"label", "labels", "target", "targets", "y"})
_EMBEDDINGS = frozenset({"embedding", "embeddings"})
_TEXTS = frozenset({INPUT, "text", "sentence", "input_ids", "tokens"})
_IMAGES = frozenset({INPUT, "pixel_values", "image", "images"})
_LAYOUT = frozenset({"attention_mask", "token_type_ids", "position_ids"})  # no content of its own
_MAX_CHANNELS = 16

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """One feature's values in a batch: numbers, names, lists of tokens, or vectors."""

    kind: str
    values: Any


def columns_of(
    batch: Any, task_spec: Any, kinds: Mapping[str, str]
) -> tuple[int, dict[str, Column]]:
    """The rows of a batch, and the columns to count.

    Args:
        batch: what :func:`~utils.training.drift_metrics.samples.fields_of` reads.
        task_spec: the task, for its modality.
        kinds: the kinds of the features that are known already, which their values are read as.
    """
    rows, fields = fields_of(batch)
    columns: dict[str, Column] = {}
    for name, values in fields.items():
        columns |= _field_columns(name, values, task_spec, kinds, fields)
    return rows, columns


def _field_columns(
    name: str, values: Any, task_spec: Any, kinds: Mapping[str, str], fields: Mapping[str, Any]
) -> dict[str, Column]:
    if name in _LABELS:
        return _label_columns(values, task_spec, kinds)
    if name in _EMBEDDINGS:
        return {"embedding": Column("embedding", _matrix(values))}
    if name in {"logits", "probabilities"}:
        return _prediction_columns(_matrix(values), name == "logits")
    if task_spec.modality == "vision" and name in _IMAGES:
        return _image_columns(values, task_spec.image_channels)
    if name in _LAYOUT and task_spec.modality == "text":
        return {}
    array = _regular(values)
    if array.ndim == 1:
        return {name: scalar_column(array, kinds.get(name))}
    if array.ndim == 2:  # noqa: PLR2004 - [rows, features]
        names = _feature_names(name, array.shape[1], task_spec.feature_names)
        ordered = np.ascontiguousarray(array.T)
        return {n: scalar_column(ordered[i], kinds.get(n)) for i, n in enumerate(names)}
    _logger.debug("Field '%s' has %d dimensions and is not profiled.", name, array.ndim)
    return {}


def scalar_column(values: NDArray[Any], kind: str | None) -> Column:
    """A column of one value a row: as the kind asked for, else numbers where all values are."""
    if values.dtype.kind in "fiu" and kind != "categorical":
        return Column("numeric", values)
    if values.dtype.kind in "mM":
        return Column("numeric", np.where(np.isnat(values), np.nan, values.astype(np.int64)))
    items = values.tolist()
    if kind is None:
        is_numeric = any(map(_is_number, items)) and all(
            _is_number(item) or is_missing(item) for item in items
        )
        kind = "numeric" if is_numeric else "categorical"
    if kind == "numeric":
        return Column(kind, np.array([_number(item) for item in items], dtype=float))
    return Column("categorical", items)


def is_missing(value: Any) -> bool:
    """True for None, NaN, and the missing values of pandas."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 - NaN alone differs from itself


def _label_columns(values: Any, task_spec: Any, kinds: Mapping[str, str]) -> dict[str, Column]:
    array = _regular(values)
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004 - a column
        array = array[:, 0]
    if array.ndim != 1 or any(isinstance(item, list | np.ndarray) for item in array[:1].tolist()):
        _logger.debug("Labels with several values a row are not profiled.")
        return {}
    is_amount = array.dtype.kind == "f" or "regression" in task_spec.task_type
    kind = kinds.get("label") or ("numeric" if is_amount else "categorical")
    return {"label": scalar_column(array, kind)}


def _prediction_columns(scores: NDArray[np.float64], are_logits: bool) -> dict[str, Column]:
    if are_logits:
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return {
        "prediction.confidence": Column("numeric", probabilities.max(axis=1)),
        "prediction.entropy": Column("numeric", -(probabilities * logs).sum(axis=1)),
        "prediction.class": Column("categorical", probabilities.argmax(axis=1).tolist()),
    }


def _image_columns(values: Any, channels: int) -> dict[str, Column]:
    """Brightness, contrast and size of each image, and the mean and deviation of its channels."""
    rows = [_image_row(to_array(image), channels) for image in values]
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: Column("numeric", np.array([row.get(name, np.nan) for row in rows])) for name in names
    }


def _image_row(image: NDArray[Any], channels: int) -> dict[str, float]:
    if image.ndim == 2:  # noqa: PLR2004 - [height, width]
        image = image[None]
    elif image.shape[0] != channels and image.shape[-1] == channels:
        image = np.moveaxis(image, -1, 0)
    pixels = image.reshape(image.shape[0], -1).astype(np.float64)
    row = {
        "brightness": float(pixels.mean()),
        "contrast": float(pixels.std()),
        "height": float(image.shape[1]),
        "width": float(image.shape[2]),
    }
    for number, channel in enumerate(pixels[:_MAX_CHANNELS]):
        row[f"channel_{number}.mean"] = float(channel.mean())
        row[f"channel_{number}.std"] = float(channel.std())
    return row


def _matrix(values: Any) -> NDArray[np.float64]:
    """Vectors [rows, width] in double precision."""
    if isinstance(values, list):
        values = np.stack([to_array(value) for value in values])
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _regular(values: Any) -> NDArray[Any]:
    """An array [rows, ...]; of objects where the rows are of different shapes or types."""
    if isinstance(values, np.ndarray):
        return values
    arrays = [to_array(v) if hasattr(v, "__array__") or hasattr(v, "detach") else v for v in values]
    if arrays and all(isinstance(a, np.ndarray) and a.shape == arrays[0].shape for a in arrays):
        return np.stack(arrays)
    if any(isinstance(a, str | bool | type(None)) for a in arrays):
        array = np.empty(len(arrays), dtype=object)
        array[:] = arrays
        return array
    try:
        return np.asarray(arrays)
    except ValueError:
        array = np.empty(len(arrays), dtype=object)
        array[:] = arrays
        return array


def _feature_names(field: str, width: int, names: tuple[str, ...]) -> list[str]:
    if len(names) == width:
        return list(names)
    prefix = "x" if field in {INPUT, "features"} else f"{field}."
    return [f"{prefix}{number}" for number in range(width)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
