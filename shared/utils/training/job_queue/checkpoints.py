"""The newest checkpoint of each job: where its next attempt goes on."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, String, Table, select

from utils.training.database import Id, Store, UtcDateTime, conflict_insert, metadata, utc_now
from utils.training.job_queue.job import JobCheckpoint

job_checkpoint = Table(
    "job_checkpoint",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("file_name", String(100), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)


class CheckpointStore(Store):
    """One row a job, replaced by each newer checkpoint."""

    def save(self, job_id: int, digest: str, file_name: str, step: int) -> None:
        """Note a job's checkpoint, unless a newer one (of more steps) is noted already."""
        values = {"digest": digest, "file_name": file_name, "step": step, "saved_at": utc_now()}
        with self._writing() as connection:
            statement = conflict_insert(connection, job_checkpoint).values(job_id=job_id, **values)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[job_checkpoint.c.job_id],
                    set_=values,
                    where=job_checkpoint.c.step <= step,
                )
            )

    def newest(self, job_id: int) -> JobCheckpoint | None:
        """A job's newest checkpoint, or None."""
        query = select(job_checkpoint).where(job_checkpoint.c.job_id == job_id)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else JobCheckpoint(**row._mapping)  # noqa: SLF001 - its documented mapping
