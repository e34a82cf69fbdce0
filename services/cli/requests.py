"""What was typed, as a request that a service takes."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from utils.service.contracts.document import Request
from utils.service.contracts.faults import faults_of
from utils.training.errors import InvalidConfigError

R = TypeVar("R", bound=Request)


def request_of(kind: type[R], values: dict[str, Any]) -> R:
    """The request that has these values.

    Raises:
        InvalidConfigError: a ValueError; lists every fault.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InvalidConfigError(faults_of(error)) from error
