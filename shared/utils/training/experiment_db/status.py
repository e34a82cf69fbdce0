"""How a run stands, and what may follow."""

from __future__ import annotations

from sqlalchemy import Connection, case, select, update

from utils.training.database import utc_now
from utils.training.errors import UnknownNameError
from utils.training.experiment_db.errors import RunConflictError
from utils.training.experiment_db.tables import STATUSES, run

_MAY_FOLLOW = {
    "running": ("running", "interrupted", "failed"),
    "completed": ("completed", "running"),
    "failed": ("failed", "running", "interrupted"),
    "cancelled": ("cancelled", "running", "interrupted"),
    "interrupted": ("interrupted", "running"),
}


def known_status(status: str) -> None:
    """See that there is such a status.

    Raises:
        UnknownNameError: there is not.
    """
    if status not in STATUSES:
        raise UnknownNameError("status", status, STATUSES)


def change_status(connection: Connection, run_id: int, status: str) -> str | None:
    """Set a run's status where its present one allows that, and give it; None without such a run.

    A status that is set again keeps the time when the run ended.

    Raises:
        RunConflictError: the present status does not allow it.
    """
    ended_at = None if status == "running" else utc_now()
    change = (
        update(run)
        .where(run.c.id == run_id, run.c.status.in_(_MAY_FOLLOW[status]))
        .values(
            status=status,
            ended_at=case((run.c.status == status, run.c.ended_at), else_=ended_at),
        )
    )
    if connection.execute(change).rowcount == 1:
        return status
    present: str | None = connection.scalar(select(run.c.status).where(run.c.id == run_id))
    if present is None:
        return None
    raise RunConflictError(
        f"Run {run_id} is {present} and can't become {status}; begin a new run instead."
    )
