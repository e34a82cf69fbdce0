"""The tables of jobs and schedules.

A trigger of the database writes a ``job_event`` for every new job and every change of a job's
status, so that a change is one statement and none goes unrecorded.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

from utils.training.database import Id, Json, UtcDateTime, metadata
from utils.training.job_queue.job import FINISHED, HELD, Job, JobStatus

NAME_LENGTH = 255
STATUSES = tuple(str(status) for status in JobStatus)
MISFIRES = ("skip", "once", "all")
OVERLAPS = ("forbid", "queue", "replace")

# The conditions of the partial indexes. They are written out, not bound, since a database uses such
# an index only where it can read that the query implies its condition. Each ends in a term that
# stands in the queries of one index only (and is mostly true of every row): so no other query can
# use the index. A queue's statistics are always old, and a planner that trusts them would choose
# any index, and sort.
_CLAIMABLE = "status = 'pending' AND unmet_dependencies = 0"
CLAIMABLE = text(f"{_CLAIMABLE} AND fencing_token >= 0")
CLAIMABLE_OF_TYPE = text(f"{_CLAIMABLE} AND max_attempts > 0")
TO_BE_NUDGED = text(f"{_CLAIMABLE} AND num_nudges = 0")
LEASED = text(f"status IN {tuple(map(str, HELD))} AND num_nudges >= 0")
LISTED = text("attempt > 0")
HAS_KEY = text("idempotency_key IS NOT NULL")
UNFINISHED = text(f"status NOT IN {tuple(map(str, FINISHED))} AND schedule_id IS NOT NULL")

schedule = Table(
    "schedule",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(NAME_LENGTH), nullable=False),
    Column("job_type", String(NAME_LENGTH), nullable=False),
    Column("config", Json, nullable=False),
    Column("schedule_expr", String(NAME_LENGTH), nullable=False),
    Column("timezone", String(NAME_LENGTH), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("model_name", String(NAME_LENGTH)),
    Column("resources", Json),
    Column("misfire", String(16), nullable=False),
    Column("max_catch_up", Integer, nullable=False),
    Column("misfire_grace_seconds", Double, nullable=False),
    Column("overlap", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("next_run_at", UtcDateTime, nullable=False),
    Column("last_run_at", UtcDateTime),
    Column("num_missed", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("name"),
    CheckConstraint(f"misfire IN {MISFIRES}", name="misfire"),
    CheckConstraint(f"overlap IN {OVERLAPS}", name="overlap"),
)
Index(None, schedule.c.next_run_at)

job = Table(
    "job",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_type", String(NAME_LENGTH), nullable=False),
    Column("config", Json, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_since", UtcDateTime, nullable=False),
    Column("status_reason", Text),
    Column("status_actor", String(NAME_LENGTH)),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("fencing_token", BigInteger, nullable=False),
    Column("worker_id", String(NAME_LENGTH)),
    Column("lease_expires_at", UtcDateTime),
    Column("heartbeat_at", UtcDateTime),
    Column("progress", Json),
    Column("result", Json),
    Column("error", Text),
    Column("run_after", UtcDateTime, nullable=False),
    Column("nudge_after", UtcDateTime, nullable=False),
    Column("num_nudges", Integer, nullable=False),
    Column("unmet_dependencies", Integer, nullable=False),
    Column("model_name", String(NAME_LENGTH)),
    Column("trace_id", String(NAME_LENGTH), nullable=False),
    Column("reason", Text),
    Column("resources", Json),
    Column("idempotency_key", String(NAME_LENGTH)),
    Column("content_digest", String(64), nullable=False),
    Column("schedule_id", Id, ForeignKey("schedule.id", ondelete="SET NULL")),
    Column("submitted_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    CheckConstraint(f"status IN {STATUSES}", name="status"),
    CheckConstraint("attempt BETWEEN 1 AND max_attempts", name="attempt"),
    CheckConstraint("unmet_dependencies >= 0", name="unmet_dependencies"),
    sqlite_autoincrement=True,  # the id of a deleted job is never given again
)

# A job as its value shows it: what a statement selects or returns.
_SHOWN = [job.c[field.name] for field in fields(Job) if field.name in job.c]
WHOLE_JOB = (job.c.id.label("job_id"), *_SHOWN)


def _partial_index(name: str, condition: TextClause, *columns: Any, unique: bool = False) -> None:
    Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


# A claim reads its job off the head of one of these: its cost does not grow with the queue.
_partial_index("ix_job_claim", CLAIMABLE, job.c.priority.desc(), job.c.id, job.c.run_after)
_partial_index(
    "ix_job_claim_of_type",
    CLAIMABLE_OF_TYPE,
    job.c.job_type,
    job.c.priority.desc(),
    job.c.id,
    job.c.run_after,
)
_partial_index("ix_job_nudge", TO_BE_NUDGED, job.c.nudge_after)
_partial_index("ix_job_lease", LEASED, job.c.lease_expires_at)
_partial_index("ix_job_status", LISTED, job.c.status, job.c.id)
_partial_index("ix_job_of_schedule", UNFINISHED, job.c.schedule_id)
Index(None, job.c.trace_id)
# A claim has to write an entry into every index that its job is in: these leave empty values out.
_partial_index("ix_job_model_name", text("model_name IS NOT NULL"), job.c.model_name, job.c.id)
_partial_index("ix_job_schedule", text("schedule_id IS NOT NULL"), job.c.schedule_id, job.c.id)
_partial_index("ix_job_finished_at", text("finished_at IS NOT NULL"), job.c.finished_at)
_partial_index("uq_job_idempotency_key", HAS_KEY, job.c.idempotency_key, unique=True)

job_dependency = Table(
    "job_dependency",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("depends_on", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    # False where any end of the other job will do, as for the runs of one schedule in a row.
    Column("must_complete", Boolean, nullable=False),
)
Index(None, job_dependency.c.depends_on)

job_event = Table(
    "job_event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", Text),
    Column("actor", String(NAME_LENGTH)),
    # Postgres gives ids before it commits them; with this, a reader can follow all jobs at once.
    Column("transaction_id", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index(None, job_event.c.job_id, job_event.c.id)
Index(None, job_event.c.transaction_id, job_event.c.id)

schedule_occurrence = Table(
    "schedule_occurrence",
    metadata,
    Column("schedule_id", Id, ForeignKey("schedule.id", ondelete="CASCADE"), primary_key=True),
    Column("occurrence", UtcDateTime, primary_key=True),
    Column("job_id", Id, ForeignKey("job.id", ondelete="SET NULL")),
    Column("note", Text),  # why nothing was submitted
    Column("decided_at", UtcDateTime, nullable=False),
)
Index(None, schedule_occurrence.c.job_id)
