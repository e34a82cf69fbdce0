"""Logs as one JSON object a line, each with the trace id of the work it belongs to."""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


def new_trace_id() -> str:
    """A fresh trace id: 32 hexadecimal digits, as in W3C Trace Context."""
    return secrets.token_hex(16)


def current_trace_id() -> str | None:
    """The trace id of the work in hand, if it has one."""
    return _trace_id.get()


@contextmanager
def tracing(trace_id: str | None) -> Iterator[str]:
    """Give the work inside a trace id, a new one where none is given."""
    trace = trace_id or new_trace_id()
    token = _trace_id.set(trace)
    try:
        yield trace
    finally:
        _trace_id.reset(token)


def traceparent(trace_id: str) -> str:
    """The ``traceparent`` header that carries a trace id to another service."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def trace_id_of(header: str | None) -> str | None:
    """The trace id in a ``traceparent`` header, or None where there is none or it is malformed."""
    found = _TRACEPARENT.fullmatch(header or "")
    return found[1] if found else None


class _TraceFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = _trace_id.get()
        return True


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send every log record of this process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_TraceFilter())
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}{trace_id}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel("WARNING")
