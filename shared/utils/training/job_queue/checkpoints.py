"""The newest checkpoints of each job, where its next attempt goes on, and what became of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    String,
    Table,
    delete,
    exists,
    select,
    update,
)

from utils.training.database import Id, Store, UtcDateTime, conflict_insert, metadata, utc_now
from utils.training.job_queue.job import FINISHED, JobCheckpoint
from utils.training.job_queue.tables import job

UNRECORDED_FOR = timedelta(days=1)
"""How long an upload may wait for its record; then it counts as forgotten by its trainer."""

job_checkpoint = Table(
    "job_checkpoint",
    metadata,
    Column("job_id", Id, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", String(64), primary_key=True, index=True),
    Column("file_name", String(100), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("saved_at", UtcDateTime, nullable=False),
)

# What came into the artifact store as a checkpoint: no other artifact is ever removed. A row is
# also the lock of its artifact, and outlives the records and jobs that refer to it.
checkpoint_artifact = Table(
    "checkpoint_artifact",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kept_until", UtcDateTime, nullable=False),  # whatever refers to it
)

# By time, and not by step: an attempt that passed over damaged ones goes on from an earlier step.
_NEWEST_FIRST = job_checkpoint.c.saved_at.desc(), job_checkpoint.c.step.desc()


class CheckpointStore(Store):
    """Some rows a job, the newest of its checkpoints, and one a removable artifact."""

    def save(
        self,
        job_id: int,
        digest: str,
        file_name: str,
        step: int,
        *,
        keep: int,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Note a job's checkpoint, and forget all but the newest.

        Args:
            job_id: whose it is.
            digest: of its artifact.
            file_name: under which a trainer finds it.
            step: at which it was made.
            keep: how many stay noted; 0 keeps all.
            check: raises where the artifact is not there; it can't go between this and the commit.
        """
        values = {"file_name": file_name, "step": step, "saved_at": utc_now()}
        with self._writing() as connection:
            _keep_until(connection, digest, utc_now())  # from here on the record keeps it
            check()
            connection.execute(
                conflict_insert(connection, job_checkpoint)
                .values(job_id=job_id, digest=digest, **values)
                .on_conflict_do_update(
                    index_elements=[job_checkpoint.c.job_id, job_checkpoint.c.digest], set_=values
                )
            )
            if keep:
                _forget_all_but(connection, job_id, keep)

    def newest(self, job_id: int) -> JobCheckpoint | None:
        """A job's newest checkpoint, or None."""
        return next(iter(self.of_job(job_id)), None)

    def of_job(self, job_id: int) -> tuple[JobCheckpoint, ...]:
        """A job's checkpoints, the newest first."""
        query = select(job_checkpoint).where(job_checkpoint.c.job_id == job_id)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(*_NEWEST_FIRST)).all()
        return tuple(JobCheckpoint(**row._mapping) for row in rows)  # noqa: SLF001 - its documented mapping

    def forget_finished(self, finished_before: datetime) -> int:
        """Forget the checkpoints of jobs that ended so long ago, and return how many those were."""
        ended = select(job.c.id).where(
            job.c.status.in_(FINISHED), job.c.finished_at < finished_before
        )
        with self._engine.begin() as connection:
            old = delete(job_checkpoint).where(job_checkpoint.c.job_id.in_(ended))
            return connection.execute(old).rowcount

    def expect(self, digest: str) -> None:
        """An artifact comes into the store as a checkpoint, whose record will follow."""
        until = {"kept_until": utc_now() + UNRECORDED_FOR}
        with self._engine.begin() as connection:
            connection.execute(
                conflict_insert(connection, checkpoint_artifact)
                .values(digest=digest, **until)
                .on_conflict_do_update(index_elements=[checkpoint_artifact.c.digest], set_=until)
            )

    def keep(self, digest: str) -> None:
        """Somebody relies on an artifact; it stays for a while, in which a record may follow."""
        with self._engine.begin() as connection:
            _keep_until(connection, digest, utc_now() + UNRECORDED_FOR)

    def keep_for_good(self, digest: str) -> None:
        """An artifact is something else than a checkpoint too: it is never removed."""
        with self._engine.begin() as connection:
            _drop(connection, digest)

    def unused(self) -> tuple[str, ...]:
        """The artifacts that no job goes on from, and nobody's record is awaited of."""
        query = select(checkpoint_artifact.c.digest).where(
            checkpoint_artifact.c.kept_until <= utc_now(), ~_is_recorded()
        )
        with self._reading() as connection:
            return tuple(connection.execute(query).scalars())

    def remove(self, digest: str, remove: Callable[[Connection], int]) -> int:
        """Remove an artifact that is still unused, and return what ``remove`` does.

        It is called with the artifact locked: nobody can note it, nor remove it too. Where it
        raises or the process dies, the artifact is unused as before, and removed another time.
        """
        row = checkpoint_artifact.c.digest == digest
        with self._engine.begin() as connection:
            lock = select(checkpoint_artifact.c.digest).where(row)
            locked = lock.with_for_update(skip_locked=True)
            if connection.execute(locked).one_or_none() is None:
                return 0
            # A statement of its own: it sees what was committed until the lock was there.
            unused = lock.where(checkpoint_artifact.c.kept_until <= utc_now(), ~_is_recorded())
            if connection.execute(unused).one_or_none() is None:
                return 0
            removed = remove(connection)
            _drop(connection, digest)
            return removed


def hold(connection: Connection, digests: Iterable[str]) -> None:
    """Keep artifacts from being removed until the transaction has ended."""
    rows = select(checkpoint_artifact.c.digest).where(checkpoint_artifact.c.digest.in_(digests))
    connection.execute(rows.order_by(checkpoint_artifact.c.digest).with_for_update(read=True))


def _is_recorded() -> ColumnElement[bool]:
    return exists().where(job_checkpoint.c.digest == checkpoint_artifact.c.digest)


def _forget_all_but(connection: Connection, job_id: int, keep: int) -> None:
    of_job = job_checkpoint.c.job_id == job_id
    newest = select(job_checkpoint.c.digest).where(of_job).order_by(*_NEWEST_FIRST).limit(keep)
    connection.execute(delete(job_checkpoint).where(of_job, job_checkpoint.c.digest.not_in(newest)))


def _keep_until(connection: Connection, digest: str, time: datetime) -> None:
    """Set a removable artifact's time, and lock it until the transaction has ended."""
    row = update(checkpoint_artifact).where(checkpoint_artifact.c.digest == digest)
    connection.execute(row.values(kept_until=time))


def _drop(connection: Connection, digest: str) -> None:
    connection.execute(delete(checkpoint_artifact).where(checkpoint_artifact.c.digest == digest))
