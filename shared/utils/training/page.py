"""A page of a long list, as stores and services give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of the items, and the cursor that the next call takes; None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None = None
