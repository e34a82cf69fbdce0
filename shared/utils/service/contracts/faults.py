"""What is wrong with a document, a sentence for each fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from utils.service.contracts.jobs import FORMS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_LONGEST_SHOWN = 60  # characters of a value that is repeated to whoever gave it
_PLAIN = (str, int, float, bool, type(None))


def faults_of(error: ValidationError, place: str = "") -> list[str]:
    """Every fault: where it is, what was given, what is allowed.

    Args:
        error: what pydantic found.
        place: what the document is a part of, such as ``config``.
    """
    return [_sentence(fault, place) for fault in error.errors()]


def _sentence(fault: ErrorDetails, place: str) -> str:
    where = ".".join(str(part) for part in (place, *fault["loc"]) if part != "") or "the document"
    if fault["type"] == "extra_forbidden":
        return f"{where} is no field that is known here; leave it out."
    if fault["type"] == "missing":
        return f"{where} is missing."
    given = _shown(fault["input"])
    return f"{where}{given}: {_allowed(fault)}."


def _allowed(fault: ErrorDetails) -> str:
    context: dict[str, Any] = fault.get("ctx", {})
    if fault["type"] == "string_pattern_mismatch" and context["pattern"] in FORMS:
        return f"allowed is {FORMS[context['pattern']]}"
    if fault["type"] == "value_error":
        return str(context["error"])
    return fault["msg"]


def _shown(value: object) -> str:
    text = repr(value)
    return f" is {text}" if isinstance(value, _PLAIN) and len(text) <= _LONGEST_SHOWN else ""
