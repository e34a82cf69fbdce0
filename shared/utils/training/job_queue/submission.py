"""How a job enters the table, within a transaction of the caller."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from utils.training.database import conflict_insert
from utils.training.job_queue.clock import DatabaseClock
from utils.training.job_queue.errors import IdempotencyConflictError, InvalidJobError
from utils.training.job_queue.job import JobStatus
from utils.training.job_queue.settlement import settle
from utils.training.job_queue.tables import HAS_KEY, NAME_LENGTH, job, job_dependency

_SMALLEST, _GREATEST = -(2**31), 2**31 - 1  # of the database's integer


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is asked for; its faults are found before the database sees it."""

    job_type: str
    config: dict[str, Any]
    priority: int = 0
    idempotency_key: str | None = None
    after: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()  # jobs that must have ended first, no matter how
    max_attempts: int = 3
    run_after: datetime | None = None
    model_name: str | None = None
    trace_id: str | None = None
    reason: str | None = None
    resources: dict[str, Any] | None = None
    schedule_id: int | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        faults = [*self._faults_of_names(), *self._faults_of_numbers(), *self._faults_of_values()]
        if faults:
            raise InvalidJobError(f"A job can't be submitted like this: {'; '.join(faults)}.")

    def digest(self) -> str:
        """A SHA-256 of what the job is, to tell a repeated request from a different one."""
        what = [self.job_type, self.config, self.priority, sorted(self.after), self.max_attempts]
        what += [self.model_name, self.resources]
        return digest(what)

    def _faults_of_names(self) -> list[str]:
        names = {
            "job_type": self.job_type,
            "idempotency_key": self.idempotency_key,
            "model_name": self.model_name,
            "trace_id": self.trace_id,
            "actor": self.actor,
        }
        return [
            f"{name} is {given!r}, a string of 1 to {NAME_LENGTH} printable characters is allowed"
            for name, given in names.items()
            if (given is not None or name == "job_type") and not is_name(given)
        ]

    def _faults_of_numbers(self) -> list[str]:
        faults = []
        if not is_integer(self.priority, _SMALLEST):
            faults.append(f"priority is {self.priority!r}, a whole number is allowed")
        if not is_integer(self.max_attempts, 1):
            faults.append(f"max_attempts is {self.max_attempts!r}, at least 1 is allowed")
        return faults

    def _faults_of_values(self) -> list[str]:
        return [
            f"{name} must be a dictionary that JSON can hold ({fault})"
            for name, value in (("config", self.config), ("resources", self.resources or {}))
            if (fault := fault_of_json(value))
        ]


def submit(connection: Connection, clock: DatabaseClock, wanted: Submission) -> int:
    """Insert the job, or find the one that the same idempotency key submitted before.

    Raises:
        InvalidJobError: it waits for a job that is not there.
        IdempotencyConflictError: the key belongs to a different job.
    """
    statement = (
        conflict_insert(connection.engine, job)
        .values(_row(clock, wanted))
        .on_conflict_do_nothing(index_elements=[job.c.idempotency_key], index_where=HAS_KEY)
        .returning(job.c.id)
    )
    job_id: int | None = connection.execute(statement).scalar()
    if job_id is None:
        return _submitted_before(connection, wanted)
    if wanted.after or wanted.behind:
        _depend(connection, clock, job_id, wanted)
    return job_id


def _row(clock: DatabaseClock, wanted: Submission) -> dict[str, Any]:
    now = clock.after()
    due = now if wanted.run_after is None else wanted.run_after
    return {
        "job_type": wanted.job_type,
        "config": wanted.config,
        "priority": wanted.priority,
        "status": JobStatus.PENDING,
        "status_since": now,
        "status_reason": wanted.reason,
        "status_actor": wanted.actor,
        "attempt": 1,
        "max_attempts": wanted.max_attempts,
        "fencing_token": 0,
        "run_after": due,
        "nudge_after": due,
        "num_nudges": 0,
        "unmet_dependencies": 0,
        "model_name": wanted.model_name,
        "trace_id": wanted.trace_id or uuid.uuid4().hex,
        "reason": wanted.reason,
        "resources": wanted.resources,
        "idempotency_key": wanted.idempotency_key,
        "content_digest": wanted.digest(),
        "schedule_id": wanted.schedule_id,
        "submitted_at": now,
    }


def _submitted_before(connection: Connection, wanted: Submission) -> int:
    found = connection.execute(
        select(job.c.id, job.c.content_digest).where(
            job.c.idempotency_key == wanted.idempotency_key
        )
    ).one()
    if found.content_digest != wanted.digest():
        raise IdempotencyConflictError(
            f"The idempotency key '{wanted.idempotency_key}' belongs to job {found.id}, which is "
            "not the job of this call; use one key for one job."
        )
    job_id: int = found.id
    return job_id


def _depend(connection: Connection, clock: DatabaseClock, job_id: int, wanted: Submission) -> None:
    """Record what the new job waits for, and settle at once what has ended already."""
    conditions = dict.fromkeys(wanted.behind, False) | dict.fromkeys(wanted.after, True)
    # The lock keeps these jobs from ending between this look at them and the end of the
    # transaction; taken in the order of ids, as everywhere.
    found = connection.execute(
        select(job.c.id, job.c.status)
        .where(job.c.id.in_(conditions), job.c.id != job_id)
        .order_by(job.c.id)
        .with_for_update(read=True)
    ).all()
    missing = sorted(conditions.keys() - {row.id for row in found})
    if missing:
        raise InvalidJobError(
            f"after names {', '.join(map(str, missing))}, and there is no such job; give the "
            "numbers of jobs that were submitted."
        )
    connection.execute(
        insert(job_dependency),
        [
            {"job_id": job_id, "depends_on": other, "must_complete": must_complete}
            for other, must_complete in conditions.items()
        ],
    )
    connection.execute(
        update(job).where(job.c.id == job_id).values(unmet_dependencies=len(conditions))
    )
    for row in found:
        settle(connection, clock, row.id, JobStatus(row.status), only=job_id)


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value, however its keys are ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def is_name(given: object) -> bool:
    """Whether a value can be a name in these tables."""
    return isinstance(given, str) and 0 < len(given) <= NAME_LENGTH and given.isprintable()


def is_integer(given: Any, smallest: int) -> bool:
    """Whether a value is a whole number from ``smallest`` that the database can hold."""
    is_whole = isinstance(given, int) and not isinstance(given, bool)
    return is_whole and smallest <= given <= _GREATEST


def fault_of_json(value: object) -> str:
    """Why a value is no JSON object; empty where it is one."""
    if not isinstance(value, dict):
        return f"given was a {type(value).__name__}"
    try:
        json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""
