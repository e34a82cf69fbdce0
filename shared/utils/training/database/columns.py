"""The columns that SQLite and Postgres understand alike."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Integer, MetaData
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.types import TypeDecorator, TypeEngine

from utils.training.errors import TrainingError

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts up by itself there
Json = JSON(none_as_null=True)  # keeps the order of keys, and NaN and infinities (see `to_json`)

_NON_FINITE = "$float"


class NotJsonError(TrainingError, ValueError, DontWrapMixin):
    """A value that JSON has no form for; it comes out of a statement's execution as it is."""


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC with its zone, on both databases; a naive one is taken as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; SQLite keeps no zone."""
        if value is None:
            return None
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class _NanKeepingDouble(Double[float]):
    """SQLite makes a NaN NULL; as text it stays, and sorts above all numbers as on Postgres."""

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002 - the base class' signature
        return lambda value: "NaN" if value is not None and math.isnan(value) else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002 - as above
        return lambda value: None if value is None else float(value)


class Real(TypeDecorator[float]):
    """A double precision number that keeps NaN and infinities, and sorts NaN last."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose what the database needs for it."""
        return _NanKeepingDouble() if dialect.name == "sqlite" else Double()


def to_json(value: Any, *, sort_keys: bool = False) -> str:
    """Write JSON that both databases take.

    They have no NaN, so it is written as ``{"$float": "nan"}``, and infinities alike. Paths become
    strings; arrays and their scalars become lists and numbers.

    Raises:
        NotJsonError: a ValueError; a value has no such form.
    """
    write = partial(
        json.dumps, allow_nan=False, default=_plain, sort_keys=sort_keys, ensure_ascii=False
    )
    try:
        return write(value)
    except ValueError:
        return write(_tagged(value))
    except TypeError as error:
        raise NotJsonError(f"A value can't be written as JSON: {error}.") from error


def content_digest(value: Any) -> str:
    """SHA-256 of a value's JSON, equal for equal values: a retry is told from a conflict by it."""
    return hashlib.sha256(to_json(value, sort_keys=True).encode()).hexdigest()


def from_json(text: str | bytes) -> Any:
    """Read what :func:`to_json` wrote."""
    if isinstance(text, bytes):
        text = text.decode()
    return _DECODER.decode(text) if _NON_FINITE in text else json.loads(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # an array, or one of its scalars
        return value.tolist()
    raise NotJsonError(
        f"{value!r} is of type {type(value).__name__}, which JSON has not; "
        "give numbers, strings, lists and dictionaries."
    )


def _tagged(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {_NON_FINITE: str(float(value))}
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    return value if value is None or isinstance(value, str | int) else _tagged(_plain(value))


def _untagged(item: dict[str, Any]) -> Any:
    if len(item) == 1 and isinstance(item.get(_NON_FINITE), str):
        return float(item[_NON_FINITE])
    return item


_DECODER = json.JSONDecoder(object_hook=_untagged)
