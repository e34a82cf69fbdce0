"""What an error means for the job: how it is said, and whether another attempt could do better."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError

from utils.service.clients.registry import DigestError
from utils.service.http import RemoteError
from utils.training.errors import TrainingError

_MAX_CHARACTERS = 8000
_FOR_GOOD = (ArithmeticError, AttributeError, ImportError, LookupError, TypeError, ValueError)


def sentence_of(error: Exception) -> str:
    """The error's own sentence, with its kind where it is not one of ours, and its notes."""
    said = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    return " ".join([said, *getattr(error, "__notes__", ())])[:_MAX_CHARACTERS]


def is_worth_another_try(error: Exception) -> bool:
    """False where the same job would fail again: its config, its data or its model is at fault."""
    if isinstance(error, RemoteError):
        is_busy = error.status == HTTPStatus.TOO_MANY_REQUESTS
        return is_busy or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, OSError | DigestError):
        return True
    return not isinstance(error, (TrainingError, ValidationError, *_FOR_GOOD))
