"""What callers give, checked before it reaches a database."""

from __future__ import annotations

from numbers import Real
from typing import Any

from utils.training.errors import InvalidArgumentError

NAME_LENGTH = 255


def check_name(field: str, value: Any) -> str:
    """A string that fits a column of names.

    Raises:
        ValueError: it is empty, too long, has a NUL, or is no string.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_LENGTH or "\0" in value:
        raise InvalidArgumentError(
            f"{field} is {value!r}, allowed is a string of 1 to {NAME_LENGTH} characters."
        )
    return value


def check_number(field: str, value: Any) -> float:
    """A number as a float: Python's, NumPy's, or a tensor with one element.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not (isinstance(value, Real) or hasattr(value, "item")):
        raise InvalidArgumentError(f"{field} is {value!r}, allowed is a number.")
    return float(value)
