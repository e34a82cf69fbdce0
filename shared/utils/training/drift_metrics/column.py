"""One feature's values in a batch, and how a field of single values becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Column:
    """One feature's values in a batch: numbers, names, lists of tokens, or vectors."""

    kind: str
    values: Any


def scalar_column(values: NDArray[Any], kind: str | None) -> Column:
    """A column of one value a row: as the kind asked for, else numbers where all values are."""
    if values.dtype.kind in "fiu" and kind != "categorical":
        return Column("numeric", values)
    if values.dtype.kind in "mM":
        micros = values.astype(f"{values.dtype.kind}8[us]").astype(np.int64)
        return Column("numeric", np.where(np.isnat(values), np.nan, micros / 1e6))
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
