"""The form that every request shares, and the bridge from the library's dataclasses to JSON."""

from __future__ import annotations

from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

T = TypeVar("T")

MAX_PAGE = 200


class Request(BaseModel):
    """A request's body or query: unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Request):
    """Where a list goes on, and how much of it."""

    cursor: str | None = Field(None, max_length=500)
    limit: int = Field(50, ge=1, le=MAX_PAGE)


class PageOf(BaseModel, Generic[T]):
    """Some of a list; ``next_cursor`` is null at its end."""

    items: list[T]
    next_cursor: str | None = None


def to_json(kind: Any, value: Any) -> bytes:
    """A dataclass (or a list of them) as JSON; times are RFC 3339, in UTC."""
    return _adapter(kind).dump_json(value)


def from_json(kind: Any, text: bytes | str) -> Any:
    """The inverse of :func:`to_json`."""
    return _adapter(kind).validate_json(text)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built once for each kind: building takes longer than a whole request."""
    return TypeAdapter(kind)
