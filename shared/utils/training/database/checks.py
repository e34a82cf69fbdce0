"""What callers give, checked before it reaches a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from utils.training.arguments import described
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


def check_id(field: str, value: Any) -> int:
    """A row's number, Python's or NumPy's, as a database takes it.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidArgumentError(f"{field} is {value!r}, allowed is a whole number.")
    return int(value)


def check_ids(field: str, values: Any) -> list[int]:
    """Several rows' numbers.

    Raises:
        ValueError: they are no list of whole numbers.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{field} is {values!r}, allowed is a list of whole numbers.")
    return [check_id(f"A number in {field}", value) for value in values]


def check_mapping(field: str, value: Any) -> dict[str, Any]:
    """Values by name, as a dict of their own; None is an empty one.

    Raises:
        ValueError: it is no mapping; an object with ``to_dict`` is told of it.
    """
    if value is not None and not isinstance(value, Mapping):
        hint = f"; give {field}.to_dict()" if hasattr(value, "to_dict") else ""
        raise InvalidArgumentError(f"{field} is {described(value)}, allowed is a dict{hint}.")
    return dict(value or {})


def check_number(field: str, value: Any) -> float:
    """A number as a float: Python's, NumPy's, or a tensor with one element.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not (isinstance(value, Real) or hasattr(value, "item")):
        raise InvalidArgumentError(f"{field} is {value!r}, allowed is a number.")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of several
        raise InvalidArgumentError(f"{field} is {value!r}, allowed is one number.") from error
