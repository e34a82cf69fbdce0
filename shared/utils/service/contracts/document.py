"""The form that every request shares, and the bridge from the library's dataclasses to JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from utils.training.errors import TrainingError

T = TypeVar("T")

MAX_PAGE = 200


class UnreadableError(TrainingError, ValueError):
    """Another side sent something else than what was asked for."""


class Described(BaseModel):
    """What is read from a query or from headers.

    Its schema is made once: flask-openapi3 looks into it in every request, and making it takes
    longer than most answers.
    """

    @classmethod
    @cache
    def model_json_schema(  # type: ignore[override]  # a cached method is one all the same
        cls, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """As pydantic makes it; not to be changed."""
        return super().model_json_schema(*args, **kwargs)


class Request(Described):
    """A request's body or query: unknown fields are refused by name.

    A text that no database or file can hold is refused wherever it stands: with a zero byte, or
    with half a surrogate pair. So is a time that has no counterpart in UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _can_be_kept(cls, value: Any) -> Any:
        _check_texts(value)
        if isinstance(value, datetime):
            _check_time(value)
        return value


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
    """The inverse of :func:`to_json`.

    Raises:
        UnreadableError: a ValueError; the text is something else.
    """
    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise UnreadableError(
            f"What came can't be read ({error.errors()[0]['msg']}): see that the address is that "
            "of the service, and that both sides have the same version."
        ) from error


def _check_texts(value: Any) -> None:
    """See that all texts of a decoded JSON value can be kept, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if "\0" in one:
                raise ValueError("a text holds a zero byte; leave it out")
            if not one.isascii() and any("\ud800" <= sign <= "\udfff" for sign in one):
                raise ValueError("a text holds half a surrogate pair; send whole characters")
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one


def _check_time(value: datetime) -> None:
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is beyond the years 1 to 9999 in UTC") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built once for each kind: building takes longer than a whole request."""
    return TypeAdapter(kind)
