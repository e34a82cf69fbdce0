"""The tables of runs: what was tried, with what, and what came out."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from utils.training.database import Id, Json, Real, UtcDateTime, metadata
from utils.training.database.checks import NAME_LENGTH

STATUSES = ("running", "completed", "failed", "cancelled", "interrupted")

_NAME = String(NAME_LENGTH)


def _run_id() -> Column[int]:
    return Column("run_id", Id, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)


run = Table(
    "run",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("config", Json, nullable=False),
    Column("notes", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("idempotency_key", _NAME),
    Column("content_digest", String(64)),  # with an idempotency key
    UniqueConstraint("idempotency_key"),
    CheckConstraint(f"status IN {STATUSES}", name="status"),
)
Index(None, run.c.name)
Index(None, run.c.status)

run_param = Table(
    "run_param",
    metadata,
    _run_id(),
    Column("name", _NAME, primary_key=True),
    Column("value", Text, nullable=False),  # as JSON
)

run_tag = Table(
    "run_tag",
    metadata,
    _run_id(),
    Column("name", _NAME, primary_key=True),
    Column("value", Text, nullable=False),
)

run_metric = Table(
    "run_metric",
    metadata,
    _run_id(),
    Column("name", _NAME, primary_key=True),
    Column("axis", String(64), primary_key=True),  # where the point lies: a second one replaces it
    Column("step", BigInteger),
    Column("epoch", Integer),
    Column("value", Real, nullable=False),
    Column("time", UtcDateTime, nullable=False),
)

# A run's last value of each metric, so that search and comparison read no curves.
run_metric_last = Table(
    "run_metric_last",
    metadata,
    _run_id(),
    Column("name", _NAME, primary_key=True),
    Column("value", Real, nullable=False),
    Column("time", UtcDateTime, nullable=False),
)
Index(None, run_metric_last.c.name, run_metric_last.c.value)

run_artifact = Table(
    "run_artifact",
    metadata,
    _run_id(),
    Column("name", _NAME, primary_key=True),
    Column("path", Text, nullable=False),
    Column("digest", Text),
    Column("size_bytes", BigInteger),
    Column("created_at", UtcDateTime, nullable=False),
)
