"""Pages of a long list, each continued by the next."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, false, or_

from utils.training.errors import InvalidArgumentError
from utils.training.page import Page

T = TypeVar("T")

MAX_PAGE = 1000


def encode_cursor(*keys: Any) -> str:
    """Make an opaque cursor of the last row's sort keys (numbers and strings)."""
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Read the keys of :func:`encode_cursor`, which must be of these types.

    Raises:
        ValueError: no such call gave this cursor.
    """
    try:
        keys = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fits = [type(key) for key in keys] == list(kinds)  # True is no number here
    except (binascii.Error, ValueError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise InvalidArgumentError(
            f"The cursor {cursor!r} is not one that a page of this list gave."
        )
    return tuple(keys)


def check_limit(limit: int) -> None:
    """See that a page has a size.

    Raises:
        ValueError: it has not, or too great a one.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidArgumentError(f"limit is {limit}, allowed is 1 to {MAX_PAGE}.")


def page_of(found: Sequence[T], limit: int, keys: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """A page of what a query with ``LIMIT limit + 1`` found; ``keys`` are an item's sort keys."""
    items = tuple(found[:limit])
    return Page(items, encode_cursor(*keys(items[-1])) if len(found) > limit else None)


def beyond(
    columns: Sequence[ColumnElement[Any]], keys: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """The condition that a row comes after the row with these keys, in the columns' order."""
    condition: ColumnElement[bool] = false()
    for column, key in reversed(list(zip(columns, keys, strict=True))):
        is_after = column < key if descending else column > key
        condition = or_(is_after, and_(column == key, condition))
    return condition
